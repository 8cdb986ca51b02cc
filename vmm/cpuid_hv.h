/* Of CPUID, what is the hypervisor's alone: who it is, and how fast the guest's clocks run. */
#ifndef UMBRA_VMM_CPUID_HV_H
#define UMBRA_VMM_CPUID_HV_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/insn.h"

struct vcpu;

/* "UmbraUmbra  ", or KVM's with pv=kvm; the interface; and how fast TSC and APIC timer run. */
#define CPUID_HV_BASE 0x40000000u
#define CPUID_HV_FEATURES 0x40000001u
#define CPUID_HV_TIMING 0x40000010u /* EAX, EBX: kHz */
#define CPUID_HV_MAX CPUID_HV_TIMING

/* Is it one of the leaves from 40000000 to 4fffffff? */
static inline bool cpuid_is_hv(uint32_t leaf)
{
	return leaf >> 28 == 4;
}
/* Such a leaf; zero when there is none of that number. */
struct cpuid_regs cpuid_hv(const struct vcpu *vcpu, uint32_t leaf);

/*
 * Intel's leaf 15: the TSC's frequency as a fraction of the APIC timer's, the nearest one that
 * operating systems of 32 bits can reckon with. They take it for exact. Of 25 MHz it is less than 3
 * ppm off for each TSC from 1 MHz to 100 GHz. Zero: there is none, as the TSC is too fast.
 */
struct cpuid_regs cpuid_tsc_ratio(uint64_t tsc_hz, uint64_t apic_hz);
/* Intel's leaf 16: in MHz. */
struct cpuid_regs cpuid_frequencies(uint64_t tsc_hz);

#endif
