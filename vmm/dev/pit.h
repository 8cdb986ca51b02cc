/*
 * The 8254 programmable interval timer and its port 61. Channel 0 drives IRQ 0 through
 * a host timer that is armed only when its output will rise; channels 1 and 2 exist as
 * arithmetic on the clock, done when the guest looks.
 *
 * Ticks of channel 0 that could not be delivered in time, because the VM's CPU was busy
 * with others, are owed and come one for each interrupt that the guest takes, so that
 * its clock does not lose time. At most PIT_MAX_OWED are; what falls due while IRQ 0 is
 * masked merges into one, as on a PC.
 */
#ifndef UMBRA_VMM_DEV_PIT_H
#define UMBRA_VMM_DEV_PIT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define PIT_HZ 1193182
#define PIT_CHANNELS 3
#define PIT_MAX_OWED 100
/* A periodic channel 0 does not fire more often than this, whatever the guest asks. */
#define PIT_MIN_PERIOD_NS 100000

struct pit_channel {
	uint8_t mode;   /* 0-5 */
	uint8_t access; /* control word's RW: 1 low byte, 2 high byte, 3 both */
	bool bcd;
	bool gate;
	bool loaded;                /* a count was written since the control word */
	bool triggered;             /* the counting element has a count: start, count are valid */
	bool reload_due;            /* modes 2, 3: reload replaces count at the end of the period */
	bool write_high, read_high; /* access 3: the high byte is next */
	uint8_t write_low;
	bool status_latched, count_latched;
	uint8_t status;
	uint16_t latch;
	uint32_t reload; /* count register, 1-65536 */
	uint32_t count;  /* what the running period started from */
	uint64_t start;  /* the PIT tick at which it started */
	uint64_t paused; /* gate low: ticks done before */
};

/* What channel 0 must know of the interrupt controller to judge whether a tick was lost. */
struct pit_controller {
	bool (*masked)(void *ctx);    /* IRQ 0 is masked */
	bool (*requested)(void *ctx); /* IRQ 0 was raised and not yet taken */
	void *ctx;
};

struct pit {
	struct pit_channel ch[PIT_CHANNELS];
	uint8_t port61; /* bits 3-0 as written */
	struct irq_line irq;
	struct pit_controller controller;
	struct timer timer;
	uint64_t next_edge; /* PIT tick of channel 0's next rise; PIT_NEVER: none */
	uint64_t last_fire_ns;
	unsigned owed;
};

#define PIT_NEVER UINT64_MAX

extern const struct io_ops pit_ops;        /* ports 40-43; dev: struct pit */
extern const struct io_ops pit_port61_ops; /* port 61; dev: struct pit */

/* No channel counts until the guest programs it. irq: channel 0's output. guard: its timer's. */
void pit_init(struct pit *pit, struct irq_line irq, struct pit_controller controller,
	      struct owned_lock *guard);
/* Disarm its timer. */
void pit_destroy(struct pit *pit);
/* The guest has taken IRQ 0: raise it again if ticks are owed. */
void pit_irq_acked(struct pit *pit);

#endif
