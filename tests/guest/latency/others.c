#include "tests/guest/latency/latency.h"

#define INTERRUPT __attribute__((interrupt))

volatile uint32_t stamps, pongs, flushes, expected, stale, beats[CPUS_MAX];
volatile uint64_t stamp;

static unsigned nr_cpus = 1;
static volatile uint32_t running; /* that have come to other_main() */
static volatile uint32_t wanted[CPUS_MAX], doing[CPUS_MAX];

void other_main(unsigned number) __attribute__((noreturn));

/* A halted one has let an interrupt in before it looks again: none comes between look and HLT. */
void other_main(unsigned number)
{
	apic_init();
	__atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		uint32_t job = wanted[number];

		doing[number] = job;
		beats[number]++;
		if (job == JOB_HALT) {
			halt();
			continue;
		}
		interrupts_on();
		while (wanted[number] == job)
			pause();
		interrupts_off();
	}
}

INTERRUPT static void on_ping(struct interrupt_frame *frame)
{
	(void)frame;
	apic_send(0, VEC_PONG);
	apic_eoi();
}

INTERRUPT static void on_pong(struct interrupt_frame *frame)
{
	(void)frame;
	pongs++;
	apic_eoi();
}

INTERRUPT static void on_stamp(struct interrupt_frame *frame)
{
	(void)frame;
	stamp = rdtsc();
	stamps++;
	apic_eoi();
}

INTERRUPT static void on_flush(struct interrupt_frame *frame)
{
	(void)frame;
	__asm__ volatile("invlpg (%0)" : : "r"((uintptr_t)WINDOW) : "memory");
	if (*(volatile uint32_t *)WINDOW != expected)
		__atomic_fetch_add(&stale, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&flushes, 1, __ATOMIC_SEQ_CST);
	apic_eoi();
}

INTERRUPT static void on_nothing(struct interrupt_frame *frame)
{
	(void)frame;
	apic_eoi();
}

INTERRUPT static void on_spurious(struct interrupt_frame *frame)
{
	(void)frame;
}

void others_start(unsigned cpus)
{
	set_gate(VEC_PING, on_ping);
	set_gate(VEC_PONG, on_pong);
	set_gate(VEC_STAMP, on_stamp);
	set_gate(VEC_TIMER, on_stamp);
	set_gate(VEC_FLUSH, on_flush);
	set_gate(VEC_NOTHING, on_nothing);
	set_gate(VEC_SPURIOUS, on_spurious);
	nr_cpus = cpus;
	for (unsigned i = 1; i < cpus; i++) {
		apic_start(i);
		while (running < i)
			pause();
	}
}

void others_set(unsigned first, unsigned last, enum job job)
{
	for (unsigned i = first; i <= last && i < nr_cpus; i++) {
		wanted[i] = job;
		if (doing[i] == JOB_HALT && job != JOB_HALT)
			apic_send(i, VEC_NOTHING);
		while (doing[i] != (uint32_t)job)
			pause();
	}
}
