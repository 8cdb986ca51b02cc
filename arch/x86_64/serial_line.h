/*
 * A serial port of this machine: interrupt-driven both ways, or looked after by a timer. Output
 * goes through a ring that the UART's transmit interrupt drains; before interrupts are on (and
 * in a panic) it is sent by polling. With no UART present, output is dropped and input never
 * comes. The console has one; a guest's second serial port or a debugger can have others. Any CPU
 * uses a line that is open; the first one opens and closes it, has its interrupts, and is the one
 * for whom work is marked.
 */
#ifndef UMBRA_SERIAL_LINE_H
#define UMBRA_SERIAL_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/lib/ring.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/uart.h"

#define SERIAL_LINE_TX 16384
#define SERIAL_LINE_RX 4096

enum serial_line_mode {
	SERIAL_POLLED,     /* bytes go straight to the UART */
	SERIAL_INTERRUPTS, /* through the rings, the UART's interrupt moves them */
	SERIAL_TIMER,      /* through the rings, a timer moves them */
};

/* serial_line.c alone looks inside. All guarded by lock, which is taken with interrupts off. */
struct serial_line {
	const void *owner; /* NULL: nobody's; what comes is dropped, what was to go still does */
	const char *name;  /* its owner's, in messages */
	struct spinlock lock;
	enum serial_line_mode mode;
	struct uart uart;
	struct uart_config config;
	struct ring tx, rx;
	bool tx_interrupt; /* the UART's is on */
	uint32_t tx_tell;  /* mark work when no more bytes are queued, once */
	bool panicked;     /* locks no longer count */
	bool irq_came;
	unsigned irq_missed; /* looks that found it due */
	struct timer timer;
	uint8_t tx_bytes[SERIAL_LINE_TX], rx_bytes[SERIAL_LINE_RX];
};

/* --- opening --- */

/* How registers in memory are mapped, uncached (NULL: they cannot be), once that is possible. */
void serial_line_set_mapper(void *(*map)(hpa_t pa, uint64_t bytes));

/*
 * Open the port that spec names (in the words of com1=, uart_parse()), for its only owner, to
 * whom it belongs until it is closed: any address that is his alone. What comes in and room for
 * output mark work for the run loop. An owner gets the same line again. NULL: *why says what is
 * wrong. name is kept; for the run loop, once the timers work.
 */
struct serial_line *serial_line_open(const char *spec, const void *owner, const char *name,
				     const char **why);
/* Its owner gives it back. What is queued still leaves; the memory is kept for who opens it next.
 */
void serial_line_close(struct serial_line *l);

/* What open does, a step at a time, for the one that is needed before there is memory. */
void serial_line_setup(struct serial_line *l, const void *owner, const char *name);
/* Take the UART at that place, whose registers in memory are mapped at regs. False: none
 * answers. Output is polled from here on. */
bool serial_line_attach(struct serial_line *l, const struct uart_config *cfg, volatile void *regs);
/* Go over to interrupts, or without a way for them (logged) to a timer. */
void serial_line_start_interrupts(struct serial_line *l);

/* --- using --- */

/* Is a UART there? */
bool serial_line_present(const struct serial_line *l);
/* Queue one byte; false: the ring is full now (the byte was not taken), and work is marked once
 * half of it is free. */
bool serial_line_try_putc(struct serial_line *l, uint8_t c);
/* Queue bytes, waiting for room when the ring is full. */
void serial_line_write(struct serial_line *l, const void *bytes, size_t n);
/* Bytes queued and not yet given to the UART. */
size_t serial_line_queued(struct serial_line *l);
/* Mark work as soon as no more than so many bytes are queued, once. */
void serial_line_tell(struct serial_line *l, size_t queued);
/* Next input byte, or -1. */
int serial_line_getc(struct serial_line *l);
/* Is an input byte there? */
bool serial_line_has_input(struct serial_line *l);
/* Does that byte wait among the input, or is there no room for it to? */
bool serial_line_may_hold(struct serial_line *l, uint8_t c);
/* Has the UART lost input since the last call of this? */
bool serial_line_overrun(struct serial_line *l);
/* Wait until all queued output has left, no longer than it takes. */
void serial_line_flush(struct serial_line *l);
/* Send what is queued, and go back to polling for good, whatever state the line is in: then
 * serial_line_write() sends and serial_line_getc() asks the UART. For panic(). */
void serial_line_panic(struct serial_line *l);

#endif
