/*
 * The processors of this machine, and what they ask of each other. CPU 0 is the one that booted;
 * boot/ap.c starts the others. Each has its loop (cpu->main), which looks at its work whenever
 * work_pending is set.
 */
#ifndef UMBRA_SMP_H
#define UMBRA_SMP_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/cpu.h"

/* How many are known, used or not, and each by its number; NULL from the count on. Both grow only,
 * while the first CPU starts the machine. */
unsigned smp_count(void);
struct cpu *smp_cpu(unsigned id);
/* How many are CPU_ONLINE. */
unsigned smp_online(void);

/* Take what the others send. On the CPU that booted, once it has its local APIC. */
void smp_init(void);

struct cpu_memory {
	struct cpu *cpu;
	const uint8_t *guard[4]; /* pages at whose place nothing may be mapped any more */
};
/* Make what another processor needs: stacks, tables, its struct cpu, with the next number. False:
 * no memory, or there are CPU_MAX. */
bool smp_add(uint32_t apic_id, struct cpu_memory *m);
/* The loop of a CPU that came: does its cpu->main, for ever. Interrupts are on. */
_Noreturn void smp_loop(void);
/* What a CPU does that has nothing else: its work and its timers, halted between. */
void smp_idle_main(struct cpu *cpu);

/* --- work --- */

/* Make that CPU's loop look at its work. Ends its halt, and the run of its guest. From any
 * context but an NMI's. */
void cpu_kick(struct cpu *cpu);

/* Does the CPU that booted ask? Its loop is the operator's too. */
bool smp_on_boot_cpu(void);

/* Interrupt it, whatever is marked there: it counts one more (irq_count). */
void cpu_interrupt(struct cpu *cpu);

/* Tell its guest of posted interrupts, which the processor looks at by itself if it is in the guest
 * and can do that; else it is as cpu_kick(). */
void cpu_notify(struct cpu *cpu);

/* Something to do for a CPU's loop: in no interrupt, with interrupts on. */
struct cpu_work {
	struct cpu_work *next;
	void (*fn)(void *ctx);
	void *ctx;
	bool queued; /* atomic: from smp_queue() until just before fn is called */
};
/* Have the CPU do it, in the order of the calls. False: it is queued already. w stays in place
 * until fn is called. */
bool smp_queue(struct cpu *cpu, struct cpu_work *w);
/* Do what is queued for this CPU. For its loop. */
void smp_do_work(void);

/* --- calls --- */

/*
 * Have fn(ctx) done there, in an interrupt, with interrupts off, and wait until it is. While it
 * waits the caller does what others ask of it, so two may ask each other. The rules that keep all
 * of them moving: the caller holds no lock (debug builds check), and is in no interrupt handler and
 * no such call; fn takes only locks that are taken with interrupts off, and is short. False: that
 * CPU is not online.
 */
bool smp_call(struct cpu *cpu, void (*fn)(void *ctx), void *ctx);
/* The same on every other CPU that is online, at once. */
void smp_call_others(void (*fn)(void *ctx), void *ctx);

/* --- stopping --- */

/*
 * Halt all others for good. Politely first: each where it takes interrupts, so that it holds no
 * lock that is taken with them off; who does not come gets an NMI. now: an NMI at once, for a
 * panic. If another CPU is at it already, this one is halted by that. Interrupts are off from here
 * on.
 */
void smp_stop_others(bool now);

/* Where a CPU was when it was stopped; NULL: not known. */
struct trap_frame;
const struct trap_frame *smp_stopped_at(const struct cpu *cpu);

/* --- looking at one that runs --- */

#define SMP_REPORT_CALLS 16
struct cpu_report {
	uint64_t rip, rsp, rflags;
	unsigned nr_calls;
	uint64_t calls[SMP_REPORT_CALLS]; /* the backtrace */
};
/* Interrupt another CPU by an NMI, whatever it does, and see where it is. False: it does not answer
 * even that. One CPU at a time asks. */
bool smp_look_at(struct cpu *cpu, struct cpu_report *r);
/* Who looks at each NMI, as two may have become one. fn: true if it was for it. NULL: nobody. */
void smp_set_nmi_watch(bool (*fn)(const struct trap_frame *tf));

#endif
