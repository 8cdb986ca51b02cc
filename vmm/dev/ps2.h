/*
 * The 8042 keyboard controller with a keyboard that nobody types on, the A20 gate and
 * reset lines, and port 92. There is no mouse port: its commands are answered as a
 * controller with only a keyboard answers them. The A20 line is kept as the guest sets
 * it and masks nothing.
 */
#ifndef UMBRA_VMM_DEV_PS2_H
#define UMBRA_VMM_DEV_PS2_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define PS2_QUEUE 16

struct ps2 {
	struct irq_line irq;      /* IRQ 1 */
	void (*reset)(void *ctx); /* the CPU's reset line was pulled */
	void *reset_ctx;
	uint8_t status;     /* status register less OBF and TO, which follow */
	bool full, timeout; /* the output buffer */
	uint8_t data;
	bool reply_waiting, reply_timeout; /* the controller's own next byte */
	uint8_t reply;
	uint8_t command; /* the controller command that waits for a byte; 0: none */
	uint8_t ram[32]; /* ram[0] is the command byte */
	uint8_t output_port, port92;
	uint8_t kbd_command; /* the keyboard command that waits for a byte; 0: none */
	uint8_t scan_set, last_sent;
	uint8_t head, count; /* bytes that the keyboard has to send */
	uint8_t queue[PS2_QUEUE];
};

extern const struct io_ops ps2_ops; /* ports 60 and 64, registered one by one */
extern const struct io_ops ps2_port92_ops;

/* The state that a BIOS leaves: tested, keyboard on, interrupts on, A20 open. */
void ps2_init(struct ps2 *ps2, struct irq_line irq, void (*reset)(void *ctx), void *reset_ctx);

#endif
