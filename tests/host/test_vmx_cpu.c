/* Finding VMX and turning it on, on a processor whose MSRs the test makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_vmx.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

#define ENABLED_AND_LOCKED 5u

static int setup(void **state)
{
	(void)state;
	fake_vmx_reset();
	fake_cpu_features.maxphyaddr = 39;
	memset(&vmx_machine, 0, sizeof(vmx_machine));
	vmx_mask_features(UINT32_MAX);
	fake_log_reset();
	return 0;
}

static void assert_logged(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("not logged: \"%s\", but: \"%s\"", text, fake_log);
}

static struct cpuid_regs no_leaves(uint32_t leaf, uint32_t subleaf)
{
	(void)leaf;
	(void)subleaf;
	return (struct cpuid_regs){ 0 };
}

static void test_probe(void **state)
{
	const struct backend_caps *caps = vmx_caps();

	(void)state;
	assert_int_equal(vmx_probe(), 0);
	assert_string_equal(fake_log, "");
	assert_true(caps->nested_paging);
	assert_int_equal(caps->nested_kind, NESTED_EPT);
	assert_true(caps->nested_1g);
	assert_int_equal(caps->nested_phys_bits, 39);
	assert_true(caps->nested_unpaged);
	assert_false(caps->identity_map);
	assert_true(caps->preemption_timer);
	assert_true(caps->real_mode);
	assert_false(caps->invpcid_exits);
	assert_string_equal(caps->features,
			    "VMCS 12 EPT VPID UnrestrictedGuest PreemptionTimer EPT1G PauseLoop "
			    "InvVpidContext InvEptContext TrueControls TprShadow ApicAccesses "
			    "X2ApicMode");
	assert_int_equal(vmx_machine.vmx.proc.must, 0x04006172);
	assert_int_equal(vmx_machine.vmx.exit.must, 0x00036dfb);
	assert_int_equal(vmx_limits().maxphyaddr, 39);
	assert_int_equal(vmx_limits().linear_bits, 48);
	assert_ptr_equal(vmx_limits().caps, &vmx_machine.vmx);
}

/* A guest may have LA57 where the processor has it, and bases of 57 bits in any case. */
static void test_linear_width(void **state)
{
	(void)state;
	assert_int_equal(vmx_probe(), 0);
	cpuid_init(fake_cpuid_all_ones, XCR0_X87 | XCR0_SSE);
	assert_int_equal(vmx_limits().linear_bits, 57);
	cpuid_init(no_leaves, 0);
	assert_int_equal(vmx_limits().linear_bits, 48);
}

static void test_limits_of_nested_tables(void **state)
{
	(void)state;
	fake_cpu_features.maxphyaddr = 52;
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_caps()->nested_phys_bits, 48);
	assert_int_equal(vmx_limits().maxphyaddr, 52);
}

/* A processor that has less, by mask: EPT without unrestricted guest, then no EPT. */
static void test_less(void **state)
{
	const struct backend_caps *caps = vmx_caps();

	(void)state;
	vmx_mask_features(~(uint32_t)(VMX_FEATURE_UNRESTRICTED_GUEST | VMX_FEATURE_TRUE_CONTROLS |
				      VMX_FEATURE_PREEMPTION_TIMER));
	assert_int_equal(vmx_probe(), 0);
	assert_true(caps->nested_paging && caps->identity_map);
	assert_false(caps->nested_unpaged || caps->real_mode || caps->preemption_timer);
	assert_int_equal(vmx_machine.vmx.proc.must, 0x0401e172);
	vmx_mask_features(~(uint32_t)VMX_FEATURE_EPT);
	assert_int_equal(vmx_probe(), 0);
	assert_false(caps->nested_paging || caps->identity_map || caps->nested_unpaged);
	assert_false(caps->real_mode || caps->nested_1g);
	vmx_mask_features(0);
	assert_int_equal(vmx_probe(), 0);
	assert_string_equal(caps->features, "VMCS 12");
}

/* Bochs does not do virtual interrupts right: not there, unless they are asked for. */
static void test_bochs(void **state)
{
	static const struct {
		uint32_t mask, revision, microcode;
		bool msr, expected;
	} rows[] = {
		{ UINT32_MAX, 0x2b, 0, true, false },
		{ UINT32_MAX, 0x2b, 0, false, false },
		{ UINT32_MAX, 0x2b, 0x28, true, true },
		{ UINT32_MAX, 0x12, 0, true, true },
		{ VMX_FEATURE_TPR_SHADOW | VMX_FEATURE_VIRTUAL_INTERRUPTS, 0x2b, 0, true, true },
		{ VMX_FEATURE_TPR_SHADOW, 0x2b, 0, true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		setup(state);
		fake_msr_set(0x480, 0x00da040000000000 | rows[i].revision);
		fake_msr_set(0x48b, fake_msr(0x48b) | BIT(41));
		fake_cpu.microcode = rows[i].microcode;
		if (rows[i].msr)
			fake_msr_set(MSR_BIOS_SIGN_ID, UINT64_C(0x28) << 32);
		vmx_mask_features(rows[i].mask);
		assert_int_equal(vmx_probe(), 0);
		assert_int_equal(vmx_caps()->virtual_interrupts, rows[i].expected);
		assert_int_equal(!!strstr(vmx_caps()->features, " VirtualInterrupts"),
				 rows[i].expected);
	}
}

/* Without TRUE controls, EPT or VPID their MSRs are not there to be read. */
static void test_missing_msrs(void **state)
{
	(void)state;
	for (uint32_t msr = 0x48c; msr <= 0x490; msr++)
		fake_msr_remove(msr);
	fake_msr_set(0x480, 0x005a040000000012);
	fake_msr_set(0x48b, 0x0000004100000000);
	assert_int_equal(vmx_probe(), 0);
	assert_false(vmx_caps()->nested_paging);
	assert_int_equal(vmx_machine.vmx.proc.must, 0x0401e172);
	fake_msr_remove(0x48b);
	fake_msr_set(0x482, 0x7ff9fffe0401e172);
	assert_int_equal(vmx_probe(), 0);
}

static void test_not_offered(void **state)
{
	(void)state;
	fake_cpu_features.vmx = false;
	assert_int_equal(vmx_probe(), -ENODEV);
	assert_string_equal(fake_log, "VMX: CPUID does not offer it\n");
}

static void test_firmware(void **state)
{
	static const struct {
		uint64_t control;
		int expected;
	} rows[] = {
		{ 0, 0 },      /* left open */
		{ 1, -EPERM }, /* locked off */
		{ 3, -EPERM }, /* for SMX only */
		{ 4, 0 },      { 7, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_log_reset();
		fake_msr_set(0x3a, rows[i].control);
		assert_int_equal(vmx_probe(), rows[i].expected);
		if (rows[i].expected)
			assert_logged("VMX: turned off by the firmware (IA32_FEATURE_CONTROL)");
	}
	fake_msr_remove(0x3a);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(fake_cpu.msr_writes, 0);
}

static void test_too_little(void **state)
{
	(void)state;
	fake_msr_set(0x48d, 0x0000005f00000016);
	assert_int_equal(vmx_probe(), -ENODEV);
	assert_string_equal(fake_log, "VMX: the processor has no virtual NMIs\n");
}

static void test_enable(void **state)
{
	struct vmx_cpu *cpu;

	(void)state;
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	assert_true(fake_cpu.cr0 & CR0_NE);
	assert_true(fake_cpu.cr4 & CR4_VMXE);
	assert_true(fake_cpu.cr4 & CR4_PAE);
	cpu = vmx_this_cpu();
	assert_non_null(cpu);
	assert_int_equal(fake_vmx.vmxon.v, cpu->vmxon.v);
	assert_int_equal(*(uint32_t *)hpa_to_ptr(cpu->vmxon), 0x12);
	assert_int_equal(fake_frame_bytes, PAGE_SIZE);
	assert_int_equal(cpu->vpid_generation, 1);
	assert_int_equal(cpu->next_vpid, 1);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invvpid.count, 1);
	assert_int_equal(fake_cpu.msr_writes, 0);
	assert_int_equal(fake_msr(0x3a), ENABLED_AND_LOCKED);
	fake_vmx_stop();
}

/* Firmware that has not locked the MSR leaves it to be done here. */
static void test_enable_locks(void **state)
{
	(void)state;
	fake_msr_set(0x3a, 2);
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), 0);
	assert_int_equal(fake_msr(0x3a), 7);
	fake_vmx_stop();
	fake_msr_remove(0x3a);
	assert_int_equal(vmx_cpu_enable(), 0);
	fake_vmx_stop();
}

static void assert_not_enabled(int expected)
{
	assert_int_equal(vmx_probe(), 0);
	assert_int_equal(vmx_cpu_enable(), expected);
	assert_int_equal(fake_vmx.vmxon.v, 0);
	assert_int_equal(fake_frame_bytes, 0);
}

static void test_enable_fails(void **state)
{
	(void)state;
	fake_vmx.vmxon_fails = true;
	assert_not_enabled(-EIO);
	assert_logged("VMX: VMXON failed");
	fake_vmx.vmxon_fails = false;

	fake_frame_limit = 0;
	assert_not_enabled(-ENOMEM);
	fake_frame_limit = UINT64_MAX;
}

static void test_fixed_bits(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t val;
		const char *words;
	} rows[] = {
		{ 0x486, 0x80000023, "VMX: CR0 is 80010031," }, /* MP is 1 always */
		{ 0x487, 0xfffeffff, "VMX: CR0 is 80010031," }, /* WP is 0 always */
		{ 0x488, 0x2080, "VMX: CR4 is 2020," },
		{ 0x489, 0x1767df, "VMX: CR4 is 2020," },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		setup(state);
		fake_msr_set(rows[i].msr, rows[i].val);
		assert_not_enabled(-EIO);
		assert_logged(rows[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_probe, setup),
		cmocka_unit_test_setup(test_linear_width, setup),
		cmocka_unit_test_setup(test_limits_of_nested_tables, setup),
		cmocka_unit_test_setup(test_less, setup),
		cmocka_unit_test_setup(test_bochs, setup),
		cmocka_unit_test_setup(test_missing_msrs, setup),
		cmocka_unit_test_setup(test_not_offered, setup),
		cmocka_unit_test_setup(test_firmware, setup),
		cmocka_unit_test_setup(test_too_little, setup),
		cmocka_unit_test_setup(test_enable, setup),
		cmocka_unit_test_setup(test_enable_locks, setup),
		cmocka_unit_test_setup(test_enable_fails, setup),
		cmocka_unit_test_setup(test_fixed_bits, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
