/* CPUID as guests see it: the machine's own answers through an allow-list. */
#ifndef UMBRA_VMM_CPUID_H
#define UMBRA_VMM_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/insn.h"

struct vcpu;

/*
 * Work the table out, once, from what `host` answers (the CPUID instruction) and the
 * XCR0 bits that Umbra can switch. Before the first vCPU exists.
 */
void cpuid_init(struct cpuid_regs (*host)(uint32_t leaf, uint32_t subleaf), uint64_t xcr0_mask);

/* What CPUID gives this vCPU now. */
struct cpuid_regs cpuid_guest(const struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf);

/* The CR4 bits that it may set. */
uint64_t cpuid_cr4(const struct vcpu *vcpu);

/* What follows from the table for others who check what a guest does. */
struct cpuid_policy {
	uint64_t xcr0; /* XCR0 bits a guest may set; 0: no XSAVE */
	uint64_t cr4;  /* CR4 bits some guest may set: cpuid_cr4() */
	uint64_t efer; /* EFER bits a guest may set */
	unsigned maxphyaddr;
	bool amd, intel; /* whose MSRs to offer */
	bool page_1g, nx, pse36, rdtscp, tsc_adjust, la57;
	bool tells_tsc; /* leaf 0x15 has the TSC's frequency */
};
/* After cpuid_init(); constant. */
const struct cpuid_policy *cpuid_policy(void);

#endif
