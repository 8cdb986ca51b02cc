/* A wire from a device to an interrupt controller's input. */
#ifndef UMBRA_VMM_IRQ_LINE_H
#define UMBRA_VMM_IRQ_LINE_H

#include <stdbool.h>
#include <stdint.h>

struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

/* A line as its interrupt controller has it, for the operator. */
struct irq_state {
	const char *device; /* NULL: nobody drives it */
	bool ioapic;        /* else an 8259's */
	unsigned input;     /* its number there */
	uint8_t vector;
	bool level_triggered, high;
	bool masked, requested, in_service;
	uint64_t raised; /* how often it went high */
	uint64_t taken;  /* how often the guest took its interrupt */
};

/* Drive the wire; one that leads nowhere (set NULL) is let be. */
static inline void irq_line_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->ctx, l->pin, level);
}

#endif
