/* The memory and string functions of ISO C that Umbra uses; hosted builds take libc's. */
#ifndef UMBRA_STRING_H
#define UMBRA_STRING_H

#if __STDC_HOSTED__
#include <string.h>
#else
#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void *memchr(const void *s, int c, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
#endif

/*
 * Copy src into dst[size], always terminated when size > 0. Returns strlen(src):
 * a value >= size means that the copy was cut.
 */
size_t str_copy(char *dst, const char *src, size_t size);

#endif
