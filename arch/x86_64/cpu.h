/* Per-CPU state, found through GS, and what the processor can do. */
#ifndef UMBRA_CPU_H
#define UMBRA_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

/* Touched by its own CPU; by interrupt handlers only where it says so. */
struct cpu {
	struct cpu *self; /* gs:0 */
	unsigned id;
	struct vcpu *current;       /* whose FPU, XCR0, DR0-3 and TSC_AUX are loaded */
	volatile bool timer_due;    /* set by the timer interrupt */
	volatile bool work_pending; /* set by any interrupt that the run loop must look at */
	uint64_t irq_count;         /* counted by the interrupts themselves */
	uint32_t apic_id;
	uint32_t locks_held; /* debug builds: bit n: a lock of rank n */
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
	bool apic, smep;
	bool pku;               /* protection keys, and XSAVE saves PKRU */
	bool x87_pointers_leak; /* FXRSTOR leaves FIP and FDP as they were */
};
/* All zero before cpu_init(). */
const struct cpu_features *cpu_features(void);

/* Read the features; set up CR4, XCR0, DR7, the PAT and what AMD's errata ask for on the
 * calling CPU. After trap_init(), before any other use. */
void cpu_init(void);

/*
 * Halt until an interrupt has been taken, unless this_cpu()->work_pending is set already.
 * Called with interrupts off and returns with them off.
 */
void cpu_idle(void);

/* As rdmsr and wrmsr, but an MSR that the processor refuses gives false, not a panic. */
bool rdmsr_safe(uint32_t msr, uint64_t *val);
bool wrmsr_safe(uint32_t msr, uint64_t val);

#endif
