/*
 * The high precision event timers: a 64-bit counter of 100 MHz and three comparators, each
 * one-shot or periodic, 32 or 64 bits wide, on the I/O APIC's inputs 20 to 23, by message, or
 * (the first two) in the place of the 8254's and the RTC's interrupts.
 *
 * A host timer is armed only while a comparator's match would interrupt. Matches that the guest
 * did not see in time merge into one, but for those of a periodic timer 0 in the 8254's place: they
 * are owed, as the 8254's are, and come one for each interrupt that the guest takes.
 */
#ifndef UMBRA_VMM_DEV_HPET_H
#define UMBRA_VMM_DEV_HPET_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "vmm/apic_msg.h"
#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define HPET_BASE UINT64_C(0xfed00000)
#define HPET_SIZE 0x400
#define HPET_TIMERS 3
#define HPET_TICK_NS 10
/* Of a word that the ACPI table repeats: the low half of the capabilities. */
#define HPET_BLOCK_ID 0x8086a201u
/* A periodic comparator does not interrupt more often than this, whatever the guest asks. */
#define HPET_MIN_PERIOD_NS 100000
#define HPET_MAX_OWED 100

/* I/O APIC inputs that a timer can be routed to. */
#define HPET_PIN_FIRST 20
#define HPET_PINS 4

struct hpet;

/* Where its interrupts go. */
struct hpet_wires {
	struct irq_line legacy[2];        /* IRQ 0 and IRQ 8 */
	struct irq_line pin[HPET_PINS];   /* true: active */
	struct apic_wire msi;             /* send NULL: nowhere */
	void (*take)(void *ctx, bool on); /* the legacy wires are its own now; may be NULL */
	bool (*masked)(void *ctx);        /* nobody listens to IRQ 0; NULL: so it is */
	bool (*requested)(void *ctx);     /* IRQ 0 was raised and not yet taken */
	void *ctx;
};

struct hpet_timer {
	struct hpet *hpet;
	unsigned nr;
	uint64_t config;
	uint64_t comparator, period;
	uint64_t message; /* FSB interrupt route: address, value */
	bool set_accumulator;
	uint64_t seen; /* matches up to this count have been dealt with */
	uint64_t last_fire_ns;
	struct timer timer;
};

struct hpet {
	uint64_t config, status;
	bool legacy;     /* the wires are taken */
	unsigned owed;   /* by timer 0 on IRQ 0 */
	uint64_t offset; /* running: what the counter is ahead of the clock; else the counter */
	struct hpet_wires wires;
	struct hpet_timer t[HPET_TIMERS];
};

extern const struct mmio_ops hpet_ops; /* HPET_SIZE; dev: struct hpet */

/* Halted, at 0, no interrupts. guard: its timers'. */
void hpet_init(struct hpet *h, const struct hpet_wires *wires, struct owned_lock *guard);
/* The guest has taken IRQ 0: raise it again if ticks are owed. */
void hpet_irq_acked(struct hpet *h);
/* Disarm its timers. */
void hpet_destroy(struct hpet *h);

#endif
