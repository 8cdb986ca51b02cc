/*
 * The host's console: a serial line (serial_line.h) with what texts need. Before interrupts are
 * on (and in a panic) output is sent by polling. With no UART present, output is dropped and
 * input never comes.
 */
#ifndef UMBRA_CONSOLE_H
#define UMBRA_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

struct serial_line;

/* Queue one byte; false: the ring is full now (the byte was not taken). */
bool console_try_putc(uint8_t c);
/* Bytes that are queued and have not left yet. */
size_t console_queued(void);
/* Mark work for the run loop as soon as no more than so many bytes are queued, once. */
void console_tell(size_t queued);
/* Queue a text of the hypervisor's own; waits for room when the ring is full. */
void console_write(const char *s, size_t n);
/* Next input byte, or -1. */
int console_getc(void);
/* Does that byte wait among the input, or is there no room for it to? */
bool console_may_hold(uint8_t c);
/* Wait until all queued output has left, the log's that is held back too. Before power-off or
 * reset. */
void console_flush(void);

/* Is the output in the middle of a line? */
bool console_line_open(void);
/* If the last output byte was no newline, put one. */
void console_fresh_line(void);

/* Is anybody saying something, by console or line? */
bool console_is_locked(void);
/* How often that had ended when the one who does began; it wraps. */
uint32_t console_turns(void);

/*
 * Open the UART that spec names: com1= of Umbra's line, "" for its default; it is kept. Output
 * is polled from here on. A spec that cannot be read, or with no UART behind it, is logged and
 * the default taken. A UART in memory is opened later.
 */
void console_init(const char *spec);
/* Does the console wait for registers in memory, and which? */
bool console_wants_mmio(hpa_t *pa, uint64_t *bytes);
/* Open them: they are mapped at regs, uncached, or (NULL) cannot be. What was logged is sent. */
void console_open_mmio(volatile void *regs);
/*
 * Go over to interrupts, or without a way for them (logged) to a timer. After
 * interrupts and timers work.
 */
void console_start_interrupts(void);
/* Back to polling for good, whatever state the console is in. For panic(). */
void console_panic(void);

#endif
