/*
 * One-shot timers on the CPU's own timer. The hardware interrupt only marks that time
 * has come; timer_run_expired(), called by the run loop, calls the functions. So a
 * timer function never runs inside an interrupt handler or another device's code.
 */
#ifndef UMBRA_TIMER_H
#define UMBRA_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/list.h"

/* Armed and cancelled by the run loop and what it calls, never by an interrupt handler. */
struct timer {
	struct list_node node; /* sorted by deadline while armed */
	uint64_t deadline;     /* clock_ns() value */
	void (*fn)(void *ctx);
	void *ctx;
	bool armed;
};

/* Calibrate the CPU's timer and take its interrupt. After clock_init(), lapic_init(). */
void timer_init(void);

/* Before anything else is done with t; it is not armed. */
void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx);
/* Call fn once clock_ns() >= deadline_ns; moves a timer already armed. */
void timer_arm(struct timer *t, uint64_t deadline_ns);
/* Harmless on a timer that is not armed. */
void timer_cancel(struct timer *t);
/* Call the function of every timer that is due. Run loop only. */
void timer_run_expired(void);

#endif
