/*
 * Processors with SVM for hosted tests. Put before svm/ when it is compiled hosted, and included by
 * its tests: what svm/cpu.c asks them, and does to their MSRs, is done to fake_svm. The world
 * switch, svm_enter(), is each test's own.
 */
#ifndef UMBRA_TESTS_FAKE_SVM_H
#define UMBRA_TESTS_FAKE_SVM_H

#define UMBRA_SVM_INSN_H /* instead of svm/insn.h */

#include <stdint.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/insn.h"

struct fake_svm {
	struct cpu cpu; /* this_cpu() */
	uint64_t cr4, efer, hsave;
	hpa_t vmsaved;         /* where VMSAVE has written last */
	struct cpuid_regs svm; /* Fn8000_000A */
};
/* The one that runs. */
extern struct fake_svm *fake_svm;

struct cpuid_regs fake_svm_cpuid(uint32_t leaf, uint32_t subleaf);
uint64_t fake_svm_rdmsr(uint32_t msr);
void fake_svm_wrmsr(uint32_t msr, uint64_t val);

#define this_cpu() (&fake_svm->cpu)
#define cpuid(leaf, subleaf) fake_svm_cpuid(leaf, subleaf)
#define rdmsr(msr) fake_svm_rdmsr(msr)
#define wrmsr(msr, val) fake_svm_wrmsr(msr, val)
#define read_cr4() (fake_svm->cr4)

static inline void svm_vmsave(hpa_t vmcb)
{
	fake_svm->vmsaved = vmcb;
}

static inline void svm_take_machine_check(void)
{
}

#endif
