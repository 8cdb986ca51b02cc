#include "vmm/cpuid_hv.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "vmm/kvm_clock.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* So finely what a fraction is off is compared: one that is exact is zero, no other is. */
#define PARTS UINT64_C(1000000000000000)

static uint32_t four_chars(const char *c)
{
	return (uint32_t)(uint8_t)c[0] | (uint32_t)(uint8_t)c[1] << 8 |
	       (uint32_t)(uint8_t)c[2] << 16 | (uint32_t)(uint8_t)c[3] << 24;
}

struct cpuid_regs cpuid_hv(const struct vcpu *vcpu, uint32_t leaf)
{
	bool kvm = vcpu->vm->cfg->pv == PV_KVM;
	const char *name = kvm ? "KVMKVMKVM\0\0\0" : "UmbraUmbra  ";

	switch (leaf) {
	case CPUID_HV_BASE:
		return (struct cpuid_regs){ .eax = CPUID_HV_MAX,
					    .ebx = four_chars(name),
					    .ecx = four_chars(name + 4),
					    .edx = four_chars(name + 8) };
	case CPUID_HV_FEATURES:
		return (struct cpuid_regs){ .eax = kvm ? KVM_FEATURE_CLOCKSOURCE2 |
								   KVM_FEATURE_CLOCK_STABLE |
								   KVM_FEATURE_NOP_IO_DELAY
						       : 0 };
	case CPUID_HV_TIMING:
		return (struct cpuid_regs){ .eax = (uint32_t)(clock_tsc_hz() / 1000),
					    .ebx = vcpu->vm->cfg->apic ? LAPIC_TIMER_HZ / 1000
								       : 0 };
	default:
		return (struct cpuid_regs){ 0 };
	}
}

/* Linux multiplies the numerator with the APIC timer's kHz, in 32 bits if it has no more. */
struct cpuid_regs cpuid_tsc_ratio(uint64_t tsc_hz, uint64_t apic_hz)
{
	uint64_t most = UINT32_MAX / (apic_hz / 1000), best = PARTS;
	struct cpuid_regs r = { 0 };

	for (uint64_t den = 1; best; den++) {
		uint64_t num = (den * tsc_hz + apic_hz / 2) / apic_hz;
		uint64_t have = num * apic_hz, want = den * tsc_hz;
		uint64_t off = have > want ? have - want : want - have;

		if (num > most)
			break;
		if (mul_div64(off, PARTS, want) >= best)
			continue;
		best = mul_div64(off, PARTS, want);
		r = (struct cpuid_regs){ .eax = (uint32_t)den,
					 .ebx = (uint32_t)num,
					 .ecx = (uint32_t)apic_hz };
	}
	return r;
}

struct cpuid_regs cpuid_frequencies(uint64_t tsc_hz)
{
	uint32_t mhz = (uint32_t)((tsc_hz + 500000) / 1000000) & 0xffff;

	return (struct cpuid_regs){ .eax = mhz, .ebx = mhz, .ecx = 100 };
}
