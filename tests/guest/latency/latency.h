/*
 * A guest that measures what interrupts, timers and other processors take, by the TSC. It runs
 * on a PC without a hypervisor as well. The words of its command line:
 *
 *   ROW...   measures these; main.c has the list
 *   cpus=N   has so many processors (1)
 *   n=N      takes so many samples of each row
 *   x2apic   uses its local APICs by MSRs
 *
 * For each row a line: "bench ROW samples least median most", in ticks of the TSC. A row's work
 * begins and ends with the nop that tests/bench/count.c knows.
 */
#ifndef UMBRA_TESTS_GUEST_LATENCY_H
#define UMBRA_TESTS_GUEST_LATENCY_H

#include "tests/guest/lib/guest.h"

#define CPUS_MAX 24u
#define TRAMPOLINE 0x70000u /* entry.asm has these two */
#define STACK_SIZE 4096u
#define SAMPLES_MAX 1000u

/* A page that row "shootdown" maps anew again and again. */
#define WINDOW 0x100000000u

/* machine.c: processors */
struct interrupt_frame;
typedef void (*interrupt_fn)(struct interrupt_frame *frame);

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* Let interrupts in, and halt until one comes. */
static inline void halt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

void set_gate(unsigned vector, interrupt_fn handler);
/* Tables that lead from WINDOW to a page; window_map() says to which of two. */
void window_init(void);
void window_map(unsigned which);

/* apic.c: this processor's local APIC */
#define VEC_TIMER 0x40
#define VEC_PING 0x41
#define VEC_PONG 0x42
#define VEC_STAMP 0x43 /* notes when it came */
#define VEC_FLUSH 0x44
#define VEC_NOTHING 0x45
#define VEC_SPURIOUS 0xff

enum timer_kind { TIMER_ONCE, TIMER_PERIODIC, TIMER_DEADLINE };

extern bool use_x2apic;
/* Switch this processor's on. */
void apic_init(void);
void apic_eoi(void);
void apic_send(unsigned cpu, unsigned vector);
void apic_send_self(unsigned vector);
void apic_send_others(unsigned vector);
/* INIT and STARTUP. */
void apic_start(unsigned cpu);
/* Find how fast the timer counts. Before the timer's first use. */
void timer_calibrate(void);
bool timer_has(enum timer_kind kind);
void timer_set_kind(enum timer_kind kind);
/* So many of the TSC's ticks from now on; with a deadline at from + ticks. */
void timer_arm(uint64_t from, uint64_t ticks);
void timer_stop(void);

/* others.c: the other processors, which halt until they are asked for something */
enum job { JOB_HALT, JOB_SPIN };
/* Start all, and wait until each halts. */
void others_start(unsigned cpus);
/* Have this one, or from here on all, spin or halt; waits until it does. */
void others_set(unsigned first, unsigned last, enum job job);
/* Up each time one of them has taken an interrupt and is about to halt again. */
extern volatile uint32_t beats[CPUS_MAX];
/* How often VEC_STAMP, VEC_PONG and VEC_FLUSH were taken, and when the last VEC_STAMP was. */
extern volatile uint32_t stamps, pongs, flushes;
extern volatile uint64_t stamp;
extern volatile uint32_t expected, stale; /* what WINDOW must read, and how often it did not */

#endif
