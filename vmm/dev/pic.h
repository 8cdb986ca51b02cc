/*
 * Two cascaded 8259A interrupt controllers with the edge/level control registers of
 * PCI chipsets. The slave's output is the master's input 2.
 */
#ifndef UMBRA_VMM_DEV_PIC_H
#define UMBRA_VMM_DEV_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define PIC_PINS 16

/* Which byte of the initialization sequence the chip waits for. */
enum pic_expect { PIC_READY, PIC_ICW2, PIC_ICW3, PIC_ICW4 };

struct pic_chip {
	uint8_t irr, isr, imr;
	uint8_t lines;  /* the inputs as they are now */
	uint8_t elcr;   /* 1: level-triggered */
	uint8_t vector; /* ICW2 */
	uint8_t lowest; /* the input of lowest priority; the next one has the highest */
	enum pic_expect expect;
	bool icw4_follows, single;
	bool level_all; /* ICW1.LTIM */
	bool auto_eoi, rotate_on_auto_eoi;
	bool fully_nested_special; /* ICW4.SFNM */
	bool special_mask;
	bool read_isr, poll;
};

struct pic {
	bool intr;           /* the master's INT output */
	struct irq_line out; /* which leads there, or nowhere */
	struct pic_chip chip[2];
	void (*acked)(void *ctx, unsigned irq); /* called after each INTA or poll; may be NULL */
	void *acked_ctx;
	uint64_t raised[PIC_PINS], taken[PIC_PINS]; /* for pic_look() alone */
};

extern const struct io_ops pic_ops;      /* ports 20-21 and a0-a1; dev: struct pic */
extern const struct io_ops pic_elcr_ops; /* ports 4d0-4d1; dev: struct pic */

/* The state after power-on: everything masked until the guest initializes the chips. */
void pic_init(struct pic *pic);
/* The wire to input `pin` (0-15, not 2). */
struct irq_line pic_line(struct pic *pic, unsigned pin);
/* Is input irq masked, at its own chip or, for 8-15, at the cascade? */
bool pic_masked(const struct pic *pic, unsigned irq);
/* Was input irq raised, and has nobody taken it yet? */
bool pic_requested(const struct pic *pic, unsigned irq);
/* All of input irq but its device's name. False: there is no such input. */
bool pic_look(const struct pic *pic, unsigned irq, struct irq_state *state);

/* For struct vm_intr_source. ack gives the vector; with nothing pending, that of the
 * spurious interrupt (input 7). */
bool pic_pending(void *pic);
int pic_ack(void *pic);

#endif
