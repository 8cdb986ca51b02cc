/* Per-CPU state, found through GS, and what the processor can do. */
#ifndef UMBRA_CPU_H
#define UMBRA_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/lib/cpu_set.h"

struct cpu_tables;
struct cpu_work;
struct ist_stack;
struct main_stack;
struct vcpu;

enum cpu_state {
	CPU_UNUSED,   /* the firmware names it; it was not to be started */
	CPU_STARTING, /* asked to come */
	CPU_ABSENT,   /* it did not come */
	CPU_ONLINE,
	CPU_LEFT_OUT, /* it came, and is not used: cpu->why */
	CPU_STOPPED,  /* halted for good: smp_stop_others() */
};

/* What a CPU asks others to do, one thing at a time (smp_call()). */
struct cpu_call {
	void (*fn)(void *ctx);
	void *ctx;
	unsigned left; /* how many have not done it yet; atomic */
};

/*
 * Touched by its own CPU alone, but where it says otherwise. "Atomic": by any CPU, with atomic
 * operations.
 */
struct cpu {
	struct cpu *self;   /* gs:0 */
	uint64_t stack_top; /* gs:8, for boot/ap.asm */
	unsigned id;
	uint32_t apic_id;
	volatile enum cpu_state state; /* CPU_ONLINE and what follows: by the CPU itself */
	const char *why;               /* CPU_LEFT_OUT */
	struct main_stack *stack;
	struct ist_stack *ist; /* IST_SLOTS of them */
	struct cpu_tables *tables;

	struct vcpu *current;       /* whose FPU, XCR0, DR0-3 and TSC_AUX are loaded */
	volatile bool timer_due;    /* set by the timer interrupt */
	volatile bool work_pending; /* the loop has something to look at; atomic: cpu_kick() */
	uint64_t irq_count;         /* counted by the interrupts themselves; any CPU reads */
	uint64_t rounds;     /* of its loop, and exits of its guests: it gets on; any CPU reads */
	uint32_t locks_held; /* debug builds: bit n: a lock of rank n */
	bool in_handler;     /* an interrupt's */

	/* Its loop: what it does from now on. Returns when this pointer has another value. Set by
	 * any CPU. */
	void (*volatile main)(struct cpu *cpu);
	struct cpu_work *work; /* atomic: the last one queued first */
	struct cpu_call call;
	struct cpu_set callers; /* atomic, by words: their calls are to be done here */

	uint64_t online_tsc;          /* since when it is used; any CPU reads, as the next three */
	uint64_t idle_ticks;          /* halted in cpu_idle(), up to its last end */
	volatile uint64_t idle_since; /* TSC when it went idle; 0: it is not */
	uint64_t guest_ticks;         /* in guests */
};

/* The processor that booted; its GS base is set before the first line of C. */
extern struct cpu boot_cpu;

/* The calling CPU's state; valid from the first line of C. */
static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__("mov %%gs:0, %0" : "=r"(c));
	return c;
}

/* What CPUID says of the machine that Umbra runs on, read once at boot. */
struct cpu_features {
	char vendor[13];
	bool amd;   /* AuthenticAMD or HygonGenuine */
	bool intel; /* GenuineIntel */
	unsigned maxphyaddr;
	bool nx, page_1g, xsave, svm, vmx, x2apic, invariant_tsc, rdtscp;
	uint64_t xcr0_mask;  /* XCR0 bits the processor supports, of those Umbra switches */
	unsigned xsave_size; /* bytes of an XSAVE area for xcr0_mask; 512 without XSAVE */
	bool apic, smep, tsc_deadline, tsc_adjust;
	bool pku;               /* protection keys, and XSAVE saves PKRU */
	bool x87_pointers_leak; /* FXRSTOR leaves FIP and FDP as they were */
};
/* All zero before cpu_init(). */
const struct cpu_features *cpu_features(void);

/* Read the features; set up CR4, XCR0, DR7, the PAT and what AMD's errata ask for on the
 * calling CPU. After trap_init(), before any other use. */
void cpu_init(void);

/*
 * The same on another CPU than the one that booted, which has all that was found there, and may
 * have more. NULL, or what it lacks: nothing has been set up then.
 */
const char *cpu_init_other(void);

/*
 * Halt until an interrupt has been taken, unless this_cpu()->work_pending is set already.
 * Called with interrupts off and returns with them off.
 */
void cpu_idle(void);

/* As rdmsr and wrmsr, but an MSR that the processor refuses gives false, not a panic. */
bool rdmsr_safe(uint32_t msr, uint64_t *val);
bool wrmsr_safe(uint32_t msr, uint64_t val);

#endif
