/* A 16550-style UART at an I/O port: its registers, no queues. */
#ifndef UMBRA_UART_H
#define UMBRA_UART_H

#include <stdbool.h>
#include <stdint.h>

struct uart_config {
	uint16_t port; /* 0: no UART is wanted */
	int irq;       /* ISA interrupt, -1: not known */
	uint32_t baud;
};

struct uart {
	uint16_t port;
	uint32_t baud;
	unsigned tx_depth; /* bytes it takes when its transmitter is empty */
	bool present;
};

/*
 * Read com1='s value: `none`, or a place and a rate separated by a comma, each of them
 * optional. Place: com1 to com4 or an I/O port (0x...); rate: 1 to 115200 baud. "" gives
 * COM1 at 115200. False: cannot be read, *cfg is the default.
 */
bool uart_parse(const char *spec, struct uart_config *cfg);

/* Is there a UART? If so set it up: 8N1, FIFOs on, interrupts off. */
void uart_init(struct uart *u, const struct uart_config *cfg);

/* Has it a byte for us, and which; -1: none. */
int uart_rx(const struct uart *u);
/* Is the transmitter ready for tx_depth bytes? */
bool uart_tx_ready(const struct uart *u);
/* Send one byte; there is room for it. */
void uart_tx(const struct uart *u, uint8_t c);
/* Send one byte, waiting for the transmitter no longer than a few bytes take. */
void uart_tx_wait(const struct uart *u, uint8_t c);
/* Has the last bit left? */
bool uart_tx_idle(const struct uart *u);

/* Which interrupts it raises. */
void uart_interrupts(const struct uart *u, bool rx, bool tx);
/* Read the cause of an interrupt, which ends a transmitter's; false: there is none. */
bool uart_interrupt_pending(const struct uart *u);

#endif
