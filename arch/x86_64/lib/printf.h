/* Formatted output: %d %i %u %x %X %o %c %s %p %%, flags "-0+ #", width, precision, hh h l ll z. */
#ifndef UMBRA_PRINTF_H
#define UMBRA_PRINTF_H

#include <stdarg.h>
#include <stddef.h>

/*
 * As C99's snprintf: writes at most size bytes with the terminator and returns
 * the length the whole text has.
 */
int ksnprintf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int kvsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

#endif
