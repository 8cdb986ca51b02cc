/* A wire from a device to an interrupt controller's input. */
#ifndef UMBRA_VMM_IRQ_LINE_H
#define UMBRA_VMM_IRQ_LINE_H

#include <stdbool.h>

struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

/* Drive the wire; one that leads nowhere (set NULL) is let be. */
static inline void irq_line_set(const struct irq_line *l, bool level)
{
	if (l->set)
		l->set(l->ctx, l->pin, level);
}

#endif
