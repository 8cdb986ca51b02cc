/* vmm/msr.c: what is there, what values it takes, and that the rest is #GP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_random.h"
#include "vmm/cpuid.h"
#include "vmm/msr.h"

#define NON_CANONICAL UINT64_C(0x0100000000000000) /* with LA57 too */
#define CANONICAL UINT64_C(0xffff800012345678)

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	fake_vm.tsc_offset = -rdtsc();
	msr_reset(&fake_vcpu);
	return 0;
}

static struct cpuid_regs intel_cpu(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 0)
		r = (struct cpuid_regs){ 0xd, 0x756e6547, 0x6c65746e, 0x49656e69 };
	return r;
}

static void takes(uint32_t msr, uint64_t val)
{
	uint64_t got = ~val;

	if (!msr_write(&fake_vcpu, msr, val))
		fail_msg("MSR %x refused %llx", msr, (unsigned long long)val);
	assert_true(msr_read(&fake_vcpu, msr, &got));
	assert_int_equal(got, val);
}

static void refuses(uint32_t msr, uint64_t val)
{
	uint64_t before = 0, after = 1;
	bool readable = msr_read(&fake_vcpu, msr, &before);

	if (msr_write(&fake_vcpu, msr, val))
		fail_msg("MSR %x took %llx", msr, (unsigned long long)val);
	if (readable) {
		assert_true(msr_read(&fake_vcpu, msr, &after));
		assert_int_equal(before, after);
	}
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
}

static void reads(uint32_t msr, uint64_t want)
{
	uint64_t got = ~want;

	assert_true(msr_read(&fake_vcpu, msr, &got));
	assert_int_equal(got, want);
}

static void absent(uint32_t msr)
{
	uint64_t val;

	if (msr_read(&fake_vcpu, msr, &val))
		fail_msg("MSR %x can be read", msr);
	refuses(msr, 0);
}

static void test_unknown(void **state)
{
	static const uint32_t none[] = {
		0,
		MSR_APIC_BASE,
		MSR_FEATURE_CONTROL,
		MSR_SPEC_CTRL,
		MSR_PRED_CMD,
		0xc1,
		MSR_ARCH_CAPABILITIES,
		0x17b,
		0x186,
		0x210,
		0x251,
		0x26f + 1,
		0x400,
		0x480,
		0x6e0,
		MSR_X2APIC_BASE,
		MSR_XSS,
		0x40000000,
		0xc0000085,
		0xc0010000,
		MSR_VM_CR,
		MSR_VM_HSAVE_PA,
		0xc0010140,
		0xffffffff,
		0xc0010117,
		0xc0000104,
		0x1ff,
		0x300,
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
		absent(none[i]);
}

static void test_vendors(void **state)
{
	(void)state;
	reads(MSR_HWCR, BIT(24));
	reads(MSR_SYSCFG, 0);
	absent(MSR_MISC_ENABLE);
	absent(MSR_PLATFORM_ID);
	cpuid_init(intel_cpu, XCR0_X87);
	absent(MSR_HWCR);
	absent(MSR_SYSCFG);
	absent(0xc0011029);
	reads(MSR_MISC_ENABLE, BIT(0) | BIT(11) | BIT(12));
	reads(MSR_PLATFORM_ID, 0);
	refuses(MSR_PLATFORM_ID, 0);
}

/*
 * What Linux touches on Intel's processors: without expecting a fault; and to see whether it is
 * there, which it must not be when CPUID does not offer what it belongs to.
 */
static void test_intel(void **state)
{
	static const uint32_t probed[] = {
		MSR_APIC_BASE,
		MSR_FEATURE_CONTROL,
		0x4e /* PPIN_CTL */,
		0xcd /* FSB_FREQ */,
		0xce /* PLATFORM_INFO */,
		0xcf /* CORE_CAPABILITIES */,
		0xe2 /* PKG_CST_CONFIG_CONTROL */,
		0xe7 /* MPERF */,
		MSR_ARCH_CAPABILITIES,
		0x10f /* TSX_FORCE_ABORT */,
		0x122 /* TSX_CTRL */,
		0x123 /* MCU_OPT_CTRL */,
		0x140 /* MISC_FEATURES_ENABLES */,
		0x198 /* PERF_STATUS */,
		0x199 /* PERF_CTL */,
		0x19b /* THERM_INTERRUPT */,
		0x19c /* THERM_STATUS */,
		0x1a4 /* MISC_FEATURE_CONTROL */,
		0x1b0 /* ENERGY_PERF_BIAS */,
		0x280 /* MC0_CTL2 */,
		0x345 /* PERF_CAPABILITIES */,
		0x38f /* PERF_GLOBAL_CTRL */,
		0x480 /* VMX_BASIC */,
		0x570 /* RTIT_CTL */,
		0x600 /* DS_AREA */,
		0x606 /* RAPL_POWER_UNIT */,
		0x6e0 /* TSC_DEADLINE */,
		0x770 /* PM_ENABLE */,
		0xc80 /* DEBUG_INTERFACE */,
		MSR_XSS,
	};

	(void)state;
	cpuid_init(intel_cpu, XCR0_X87);
	for (unsigned i = 0; i < ARRAY_SIZE(probed); i++)
		absent(probed[i]);
	/* The microcode's revision is asked for by a write of 0. */
	assert_true(msr_write(&fake_vcpu, MSR_BIOS_SIGN_ID, 0));
	reads(MSR_BIOS_SIGN_ID, 0);
	assert_true(msr_write(&fake_vcpu, MSR_BIOS_UPDT_TRIG, 0x1000));
	/* No leaf of CPUID is cut off, NX is there, and no branch or event recorded. */
	assert_true(msr_write(&fake_vcpu, MSR_MISC_ENABLE, ~UINT64_C(0)));
	reads(MSR_MISC_ENABLE, BIT(0) | BITS(12, 11));
	assert_true(msr_write(&fake_vcpu, MSR_MISC_ENABLE, 0));
	reads(MSR_MISC_ENABLE, BITS(12, 11));
}

static struct cpuid_regs cpu_with_48_bits(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 7)
		r.ecx &= ~(uint32_t)BIT(16); /* LA57 */
	return r;
}

/* What is canonical goes by the processor's width, CR4.LA57 or not. */
static void test_wide_addresses(void **state)
{
	const uint64_t wide = UINT64_C(0xff00000000000000);

	(void)state;
	assert_false(fake_hw.reg[REG_CR4] & CR4_LA57);
	takes(MSR_LSTAR, wide);
	takes(MSR_GS_BASE, wide);
	refuses(MSR_LSTAR, NON_CANONICAL);
	refuses(MSR_GS_BASE, NON_CANONICAL);
	cpuid_init(cpu_with_48_bits, XCR0_X87);
	refuses(MSR_LSTAR, wide);
	refuses(MSR_GS_BASE, wide);
}

static void test_registers(void **state)
{
	(void)state;
	takes(MSR_STAR, UINT64_C(0x0023001000000000));
	takes(MSR_LSTAR, CANONICAL);
	assert_int_equal(fake_hw.reg[REG_LSTAR], CANONICAL);
	refuses(MSR_LSTAR, NON_CANONICAL);
	refuses(MSR_CSTAR, NON_CANONICAL);
	refuses(MSR_KERNEL_GS_BASE, NON_CANONICAL);
	refuses(MSR_SYSENTER_EIP, NON_CANONICAL);
	refuses(MSR_SYSENTER_ESP, NON_CANONICAL);
	takes(MSR_FS_BASE, CANONICAL);
	assert_int_equal(fake_hw.seg[SEG_FS].base, CANONICAL);
	takes(MSR_GS_BASE, 0x1234);
	refuses(MSR_GS_BASE, NON_CANONICAL);
	assert_true(msr_write(&fake_vcpu, MSR_SFMASK, UINT64_C(0xffffffff00047700)));
	reads(MSR_SFMASK, 0x47700);
}

static void test_efer(void **state)
{
	(void)state;
	refuses(MSR_EFER, EFER_SVME | EFER_LME | EFER_LMA);
	refuses(MSR_EFER, 0);
	takes(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
}

static void test_pat(void **state)
{
	(void)state;
	takes(MSR_PAT, UINT64_C(0x0407050600070106));
	for (unsigned i = 0; i < 64; i += 8) {
		refuses(MSR_PAT, UINT64_C(2) << i);
		refuses(MSR_PAT, UINT64_C(3) << i);
		refuses(MSR_PAT, UINT64_C(8) << i);
		refuses(MSR_PAT, UINT64_C(0x80) << i);
	}
}

static void test_mtrr_reset(void **state)
{
	(void)state;
	reads(MSR_MTRRCAP, 8 | BIT(8) | BIT(10));
	refuses(MSR_MTRRCAP, 0);
	reads(MSR_MTRR_DEF_TYPE, BIT(11) | BIT(10) | 6);
	reads(MSR_MTRR_PHYSBASE0, 0xc0000000);
	reads(MSR_MTRR_PHYSBASE0 + 1, UINT64_C(0xffc0000800)); /* 40 physical bits */
	reads(MSR_MTRR_PHYSBASE0 + 2, 0);
	reads(MSR_MTRR_FIX64K_00000, UINT64_C(0x0606060606060606));
	reads(MSR_MTRR_FIX16K_80000, UINT64_C(0x0606060606060606));
	reads(MSR_MTRR_FIX16K_A0000, 0);
	reads(MSR_MTRR_FIX4K_C0000, UINT64_C(0x0505050505050505));
	reads(MSR_MTRR_FIX4K_F8000, UINT64_C(0x0505050505050505));
}

static void test_mtrr_writes(void **state)
{
	(void)state;
	takes(MSR_MTRR_DEF_TYPE, BIT(11) | 0);
	refuses(MSR_MTRR_DEF_TYPE, 2);
	refuses(MSR_MTRR_DEF_TYPE, 7);
	refuses(MSR_MTRR_DEF_TYPE, BIT(9) | 6);
	refuses(MSR_MTRR_DEF_TYPE, BIT(12));
	for (uint32_t msr = MSR_MTRR_PHYSBASE0; msr < MSR_MTRR_PHYSBASE0 + 16; msr += 2) {
		takes(msr, msr << 20 | 6);
		refuses(msr, 2);
		refuses(msr, BIT(8));
		refuses(msr, BIT(40));
		takes(msr + 1, (uint64_t)msr << 20 | BIT(11));
		refuses(msr + 1, BIT(10));
		refuses(msr + 1, BIT(40));
		reads(msr, msr << 20 | 6);
	}
	takes(MSR_MTRR_FIX4K_C0000 + 3, UINT64_C(0x0001040506000104));
	refuses(MSR_MTRR_FIX4K_C0000, UINT64_C(0x0200000000000000));
	refuses(MSR_MTRR_FIX64K_00000, 7);
	reads(MSR_MTRR_FIX4K_C0000 + 2, UINT64_C(0x0505050505050505));
}

/* What the guest's TSC reads, within the time that a test may take. */
static void tsc_near(uint64_t want)
{
	uint64_t val = 0;

	assert_true(msr_read(&fake_vcpu, MSR_TSC, &val));
	assert_in_range(val, want, want + UINT64_C(100000000000));
}

static void test_tsc(void **state)
{
	uint64_t adjust;

	(void)state;
	tsc_near(0);
	assert_true(msr_write(&fake_vcpu, MSR_TSC, UINT64_C(1) << 50));
	tsc_near(UINT64_C(1) << 50);
	assert_true(msr_read(&fake_vcpu, MSR_TSC_ADJUST, &adjust));
	assert_in_range((UINT64_C(1) << 50) - adjust, 0, UINT64_C(100000000000));
	assert_true(msr_write(&fake_vcpu, MSR_TSC_ADJUST, 0));
	tsc_near(0);
}

static void test_tsc_aux(void **state)
{
	(void)state;
	fake_vcpu.stale = 0;
	takes(MSR_TSC_AUX, 0x12345678);
	assert_int_equal(fake_vcpu.stale, VCPU_STALE_TSC_AUX);
	refuses(MSR_TSC_AUX, BIT(32));
}

static void test_machine_check(void **state)
{
	(void)state;
	reads(MSR_MCG_CAP, 0);
	refuses(MSR_MCG_CAP, 0);
	takes(MSR_MCG_STATUS, 0);
	refuses(MSR_MCG_STATUS, BIT(3));
}

static void test_no_effect(void **state)
{
	(void)state;
	assert_true(msr_write(&fake_vcpu, MSR_HWCR, 0));
	reads(MSR_HWCR, BIT(24));
	assert_true(msr_write(&fake_vcpu, MSR_DEBUGCTL, 2));
	reads(MSR_DEBUGCTL, 0);
	refuses(MSR_DEBUGCTL, BIT(6));
	reads(MSR_PATCH_LEVEL, 0);
	assert_true(msr_write(&fake_vcpu, MSR_PATCH_LEVEL, 0));
}

/* Any number and value: an answer, no crash, and no write outside the vCPU's words. */
static void test_any_number(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (uint32_t msr = 0; msr < 0x2000; msr++) {
		for (unsigned base = 0; base < 3; base++) {
			uint32_t n = msr + (const uint32_t[]){ 0, 0xc0000000, 0xc0010000 }[base];
			uint64_t val;

			msr_write(&fake_vcpu, n, fake_random64(&seed));
			msr_read(&fake_vcpu, n, &val);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_vendors, setup),
		cmocka_unit_test_setup(test_intel, setup),
		cmocka_unit_test_setup(test_wide_addresses, setup),
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_efer, setup),
		cmocka_unit_test_setup(test_pat, setup),
		cmocka_unit_test_setup(test_mtrr_reset, setup),
		cmocka_unit_test_setup(test_mtrr_writes, setup),
		cmocka_unit_test_setup(test_tsc, setup),
		cmocka_unit_test_setup(test_tsc_aux, setup),
		cmocka_unit_test_setup(test_machine_check, setup),
		cmocka_unit_test_setup(test_no_effect, setup),
		cmocka_unit_test_setup(test_any_number, setup),
	};

	return cmocka_run_group_tests_name("msr", tests, NULL, NULL);
}
