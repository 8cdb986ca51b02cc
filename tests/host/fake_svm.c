#include "tests/host/fake_svm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/msr.h"

static struct fake_svm first;
struct fake_svm *fake_svm = &first;

struct cpuid_regs fake_svm_cpuid(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	return leaf == 0x8000000a ? fake_svm->svm : (struct cpuid_regs){ 0 };
}

uint64_t fake_svm_rdmsr(uint32_t msr)
{
	if (msr != MSR_EFER)
		fail_msg("MSR 0x%x is read", msr);
	return fake_svm->efer;
}

void fake_svm_wrmsr(uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_EFER:
		fake_svm->efer = val;
		break;
	case MSR_VM_HSAVE_PA:
		fake_svm->hsave = val;
		break;
	default:
		fail_msg("MSR 0x%x is written", msr);
	}
}
