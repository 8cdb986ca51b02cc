/*
 * One-shot timers, on each CPU's own timer. The hardware interrupt only marks that time
 * has come; timer_run_expired(), called by the CPU's loop, calls the functions. So a
 * timer function never runs inside an interrupt handler or another device's code, and always
 * on the CPU that armed the timer.
 */
#ifndef UMBRA_TIMER_H
#define UMBRA_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/list.h"

struct timer_queue;

/* Armed and cancelled by a CPU's loop and what it calls, never by an interrupt handler. Who
 * does it on several CPUs keeps them from doing it at once (its own lock). */
struct timer {
	struct list_node node; /* sorted by deadline while armed; guarded by the queue's lock */
	uint64_t deadline;     /* clock_ns() value */
	void (*fn)(void *ctx);
	void *ctx;
	bool armed;                /* guarded by the queue's lock */
	struct timer_queue *queue; /* of the CPU that armed it last */
};

/* Calibrate the timer of the CPU that booted and take its interrupt. After clock_init(),
 * lapic_init(). */
void timer_init(void);
/* The same on another CPU, whose timer is of the same rate. After timer_init() on the first. */
void timer_init_other(void);

/* Before anything else is done with t; it is not armed. */
void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx);
/* Call fn on this CPU once clock_ns() >= deadline_ns; moves a timer already armed, on whichever
 * CPU. */
void timer_arm(struct timer *t, uint64_t deadline_ns);
/* Harmless on a timer that is not armed. One that is armed on another CPU may be about to call its
 * function there. */
void timer_cancel(struct timer *t);
/* Call the function of every timer of this CPU that is due. The CPU's loop only. */
void timer_run_expired(void);

#endif
