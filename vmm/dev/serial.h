/*
 * A 16550A UART. Baud rate, word length and parity have no effect: what is written to
 * the transmitter leaves at once as long as the other side takes it, and the receiver's
 * time-out interrupt comes without waiting four characters' time.
 */
#ifndef UMBRA_VMM_DEV_SERIAL_H
#define UMBRA_VMM_DEV_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define SERIAL_FIFO 16
#define SERIAL_PORTS 8

struct serial_fifo {
	uint8_t head, count;
	uint8_t byte[SERIAL_FIFO];
};

struct serial {
	/* Takes a byte; false: no room now, serial_tx_ready() will be called. */
	bool (*tx)(void *ctx, uint8_t byte);
	/* The receiver has room again, maybe; NULL: nobody needs to know. With tx's ctx. */
	void (*listens)(void *ctx);
	void *tx_ctx;
	struct irq_line irq;
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t lsr; /* the error bits; the others are made when read */
	uint8_t msr;
	uint8_t modem_inputs; /* MSR bits 7-4 of the far side */
	uint8_t divisor[2];
	bool thr_empty;                  /* the "transmitter empty" interrupt is pending */
	struct serial_fifo rx, tx_queue; /* tx_queue: bytes that tx refused */
};

extern const struct io_ops serial_ops; /* eight ports, aligned to eight; dev: struct serial */

/* tx NULL: no cable; what is sent is lost and the modem lines are down. */
void serial_init(struct serial *s, struct irq_line irq, bool (*tx)(void *ctx, uint8_t byte),
		 void *tx_ctx);
/* A byte from the far side; false: the receiver has no room for it now. */
bool serial_rx(struct serial *s, uint8_t byte);
/* Has the receiver room for a byte? */
bool serial_rx_room(const struct serial *s);
/* The far side has sent bytes that are lost: the guest learns of it. */
void serial_rx_lost(struct serial *s);
/* tx has room again. */
void serial_tx_ready(struct serial *s);

#endif
