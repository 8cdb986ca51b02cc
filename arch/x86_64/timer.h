/*
 * One-shot timers, on each CPU's own timer. The hardware interrupt only marks that time
 * has come; timer_run_expired(), called by the CPU's loop, calls the functions. So a
 * timer function never runs inside an interrupt handler or another device's code, and always
 * on the CPU that armed the timer.
 *
 * A timer that several CPUs arm and cancel has a guard: the lock of what its function works on. The
 * function is called with the guard held, and not at all if the timer was cancelled before that:
 * after timer_cancel() its memory may go. The guard's own memory stays for as long as the machine
 * runs.
 */
#ifndef UMBRA_TIMER_H
#define UMBRA_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/list.h"
#include "arch/x86_64/owned_lock.h"

struct timer_queue;

/* Armed and cancelled by a CPU's loop and what it calls, never by an interrupt handler. */
struct timer {
	struct list_node node; /* sorted by deadline while armed; guarded by the queue's lock */
	uint64_t deadline;     /* clock_ns() value */
	void (*fn)(void *ctx);
	void *ctx;
	struct owned_lock *guard;
	bool armed;                /* guarded by the queue's lock */
	struct timer_queue *queue; /* of the CPU that armed it last; guarded by the guard */
};

/* Calibrate the timer of the CPU that booted and take its interrupt. After clock_init(),
 * lapic_init(). */
void timer_init(void);
/* The same on another CPU, whose timer is of the same rate. After timer_init() on the first. */
void timer_init_other(void);

/* Before anything else is done with t; it is not armed. guard NULL: whoever arms and cancels it
 * sees to it that no two CPUs do, or are in fn, at once. */
void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx, struct owned_lock *guard);
/* Call fn on this CPU once clock_ns() >= deadline_ns; moves a timer already armed, on whichever
 * CPU. */
void timer_arm(struct timer *t, uint64_t deadline_ns);
/* Harmless on a timer that is not armed. Of one without a guard that is armed on another CPU the
 * function may be about to be called there. */
void timer_cancel(struct timer *t);
/* Call the function of every timer of this CPU that is due. The CPU's loop only. */
void timer_run_expired(void);

#endif
