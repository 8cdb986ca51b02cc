/* When a vCPU's translations are dropped, and by what instruction: VPIDs, INVVPID, INVEPT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fake_vmx.h"
#include "tests/host/fakes.h"
#include "vmx/state.h"

#define ROOT UINT64_C(0x123456000)

static struct vmx_cpu cpu;
static struct vmx_vcpu vcpu[2];
static hpa_t region[2];

static void use(unsigned i)
{
	assert_true(vmx_vmptrld(region[i]));
}

static void prepare(unsigned i)
{
	use(i);
	vmx_tlb_prepare(&vcpu[i]);
	assert_false(vcpu[i].flush_guest);
	assert_false(vcpu[i].flush_nested);
}

static int setup(void **state)
{
	(void)state;
	fake_vmx_start(UINT32_MAX);
	cpu = (struct vmx_cpu){ .vpid_generation = 1, .next_vpid = 1 };
	for (unsigned i = 0; i < 2; i++) {
		region[i] = frame_alloc_zeroed(0, FRAME_HYPERVISOR);
		*(uint32_t *)hpa_to_ptr(region[i]) = vmx_machine.vmx.revision;
		assert_true(vmx_vmclear(region[i]));
		vcpu[i] = (struct vmx_vcpu){
			.vmcs = region[i],
			.cpu = &cpu,
			.root = HPA(ROOT + i * PAGE_SIZE),
			.root_kind = ROOT_NESTED,
		};
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		frame_free(region[i], 0, FRAME_HYPERVISOR);
	fake_vmx_stop();
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static void test_eptp(void **state)
{
	(void)state;
	/* Write-back, a walk of four, neither accessed nor dirty flags. */
	assert_int_equal(vmx_eptp(HPA(ROOT)), ROOT | 0x1e);
}

/* Every vCPU its own, and none is 0; nothing is written or dropped again without need. */
static void test_vpids(void **state)
{
	(void)state;
	prepare(0);
	assert_int_equal(vcpu[0].vpid, 1);
	assert_int_equal(fake_vmcs_get(VMCS_VPID), 1);
	prepare(1);
	assert_int_equal(vcpu[1].vpid, 2);
	assert_int_equal(fake_vmcs_get(VMCS_VPID), 2);
	prepare(0);
	assert_int_equal(vcpu[0].vpid, 1);
	assert_int_equal(fake_vmx.vmwrites, 2);
	assert_int_equal(fake_vmx.invvpid.count, 0);
	assert_int_equal(fake_vmx.invept.count, 0);
}

/* A VPID that nobody had has nothing to drop. */
static void test_fresh_vpid_is_a_flush(void **state)
{
	(void)state;
	vcpu[0].flush_guest = true;
	prepare(0);
	assert_int_equal(fake_vmx.invvpid.count, 0);
}

static void test_run_out(void **state)
{
	(void)state;
	prepare(0);
	cpu.next_vpid = 0xffff;
	prepare(1);
	assert_int_equal(vcpu[1].vpid, 0xffff);
	assert_int_equal(fake_vmx.invvpid.count, 0);
	/* The next of them begins a generation. */
	vcpu[1].vpid_generation = 0;
	prepare(1);
	assert_int_equal(vcpu[1].vpid, 1);
	assert_int_equal(cpu.vpid_generation, 2);
	assert_int_equal(fake_vmx.invvpid.count, 1);
	assert_int_equal(fake_vmx.invvpid.type, INVVPID_ALL);
	/* Whoever had 1 may not keep it. */
	prepare(0);
	assert_int_equal(vcpu[0].vpid, 2);
	assert_int_equal(vcpu[0].vpid_generation, 2);
	assert_int_equal(fake_vmcs_get(VMCS_VPID), 2);
	assert_int_equal(fake_vmx.invvpid.count, 1);
}

static void test_flush_guest(void **state)
{
	(void)state;
	prepare(1);
	prepare(0);
	vcpu[0].flush_guest = true;
	prepare(1);
	assert_int_equal(fake_vmx.invvpid.count, 0);
	use(0);
	vmx_tlb_prepare(&vcpu[0]);
	assert_int_equal(fake_vmx.invvpid.count, 1);
	assert_int_equal(fake_vmx.invvpid.type, INVVPID_CONTEXT);
	assert_int_equal(fake_vmx.invvpid.first, 2);
	assert_int_equal(fake_vmx.invvpid.second, 0);
	assert_int_equal(fake_vmx.invept.count, 0);
	prepare(0);
	assert_int_equal(fake_vmx.invvpid.count, 1);
}

static void test_flush_nested(void **state)
{
	(void)state;
	prepare(0);
	prepare(1);
	vcpu[1].flush_nested = true;
	use(1);
	vmx_tlb_prepare(&vcpu[1]);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invept.type, INVEPT_CONTEXT);
	assert_int_equal(fake_vmx.invept.first, (ROOT + PAGE_SIZE) | 0x1e);
	assert_int_equal(fake_vmx.invvpid.count, 1);
	assert_int_equal(fake_vmx.invvpid.first, 2);
	prepare(1);
	assert_int_equal(fake_vmx.invept.count, 1);
}

/* The VPID is new, what the nested tables gave is not. */
static void test_flush_nested_with_fresh_vpid(void **state)
{
	(void)state;
	vcpu[0].flush_nested = true;
	prepare(0);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invvpid.count, 0);
}

/* While the shadow translates, the root is not the nested tables'. */
static void test_flush_nested_under_shadow(void **state)
{
	(void)state;
	prepare(0);
	vcpu[0].root_kind = ROOT_SHADOW;
	vcpu[0].flush_nested = true;
	prepare(0);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invept.type, INVEPT_ALL);
	assert_int_equal(fake_vmx.invept.first, 0);
}

static void test_only_all(void **state)
{
	(void)state;
	vmx_machine.vmx.invept_context = false;
	vmx_machine.vmx.invvpid_context = false;
	prepare(0);
	vcpu[0].flush_nested = true;
	prepare(0);
	assert_int_equal(fake_vmx.invept.type, INVEPT_ALL);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invvpid.type, INVVPID_ALL);
	assert_int_equal(fake_vmx.invvpid.count, 1);
}

static void test_without_vpid(void **state)
{
	(void)state;
	vmx_machine.vmx.vpid = vmx_machine.vmx.invvpid_context = false;
	vcpu[0].flush_guest = true;
	prepare(0);
	assert_int_equal(fake_vmx.invvpid.count, 0);
	assert_int_equal(fake_vmx.invept.count, 0);
	vcpu[0].flush_nested = true;
	prepare(0);
	assert_int_equal(fake_vmx.invvpid.count, 0);
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.vmwrites, 0);
}

static void test_without_ept(void **state)
{
	(void)state;
	vmx_machine.vmx.ept = vmx_machine.vmx.invept_context = false;
	prepare(0);
	vcpu[0].flush_nested = true;
	prepare(0);
	assert_int_equal(fake_vmx.invept.count, 0);
	assert_int_equal(fake_vmx.invvpid.count, 1);
}

static void test_forget_all(void **state)
{
	(void)state;
	vmx_tlb_forget_all();
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invept.type, INVEPT_ALL);
	assert_int_equal(fake_vmx.invvpid.count, 1);
	assert_int_equal(fake_vmx.invvpid.type, INVVPID_ALL);
	vmx_machine.vmx.ept = vmx_machine.vmx.vpid = false;
	vmx_tlb_forget_all();
	assert_int_equal(fake_vmx.invept.count, 1);
	assert_int_equal(fake_vmx.invvpid.count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_eptp),
		TEST(test_vpids),
		TEST(test_fresh_vpid_is_a_flush),
		TEST(test_run_out),
		TEST(test_flush_guest),
		TEST(test_flush_nested),
		TEST(test_flush_nested_with_fresh_vpid),
		TEST(test_flush_nested_under_shadow),
		TEST(test_only_all),
		TEST(test_without_vpid),
		TEST(test_without_ept),
		TEST(test_forget_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
