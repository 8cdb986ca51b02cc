/*
 * What a command says, on its way to who reads it: line by line through what the line put behind a
 * '|', so that this sees all of it; what that lets through is kept in a buffer, and no line of it
 * is longer than the terminal is wide.
 */
#ifndef UMBRA_VMM_MONITOR_OUTPUT_H
#define UMBRA_VMM_MONITOR_OUTPUT_H

#include <stdarg.h>
#include <stddef.h>

struct pipeline;

/* Room for a note that something does not fit. */
#define OUTPUT_NOTE 80

/* Nothing is said yet; it is to be in buf, size > OUTPUT_NOTE bytes. */
void output_begin(char *buf, size_t size);
/* All that is said from now on goes through these stages. */
void output_filter(struct pipeline *pipe);
/* And what comes from now on does not: it tells what is wrong, and stands behind the rest. */
void output_wrong(void);
void output_print(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
/* All is said. How many bytes it is; what did not fit into the buffer is counted in its last line.
 */
size_t output_end(void);

#endif
