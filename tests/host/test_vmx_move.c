/* A vCPU that goes from one processor with VMX to another. */
#include "tests/host/vmx_fixture.h"

#define OTHER_GS UINT64_C(0xffffffff80b03000)

static int setup_two_cpus(void **state)
{
	int err = setup(state);

	fake_cpu_switch(1);
	fake_msr_set(MSR_GS_BASE, OTHER_GS);
	assert_int_equal(vmx_cpu_enable(), 0);
	fake_cpu_switch(0);
	memset(&fake_vmx.invept, 0, sizeof(fake_vmx.invept));
	return err;
}

static int teardown_two_cpus(void **state)
{
	int err;

	fake_cpu_switch(1);
	fake_vmx_stop();
	fake_cpu_switch(0);
	err = teardown(state);
	return err;
}

static void move_to(unsigned id)
{
	vmx_backend.vcpu_put(&vcpu);
	vmx_backend.vcpu_release(&vcpu);
	assert_int_equal(vmx_this_cpu()->current.v, 0);
	assert_null(fake_vmx.current);
	fake_cpu_switch(id);
	vmx_backend.vcpu_load(&vcpu);
}

/* The processor's own rules are fake_vmx.c's: active on one only, launched once a VMCLEAR. */
static void test_move(void **state)
{
	uint64_t gs = fake_msr(MSR_GS_BASE);

	(void)state;
	vmx_backend.set_reg(&vcpu, REG_LSTAR, 0x1234);
	run_one(play_intr);
	run_one(play_intr);
	assert_true(entered_by_resume);
	assert_int_equal(vv->vpid, 1);
	move_to(1);
	assert_int_equal(fake_msr(MSR_LSTAR), 0x1234);
	assert_int_equal(fake_vmx.invept.count, 1);
	run_one(play_intr);
	assert_false(entered_by_resume);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_GS_BASE), OTHER_GS);
	assert_int_equal(fake_vmx.invept.count, 2);
	assert_int_equal(vv->vpid, 1); /* this CPU's first */
	move_to(0);
	run_one(play_intr);
	assert_false(entered_by_resume);
	assert_int_equal(fake_vmcs_get(VMCS_HOST_GS_BASE), gs);
	assert_int_equal(fake_vmx.invept.count, 3);
	assert_int_equal(vv->vpid, 2);
	/* Where it was last its translations count. */
	move_to(0);
	run_one(play_intr);
	assert_false(entered_by_resume);
	assert_int_equal(fake_vmx.invept.count, 3);
	assert_int_equal(vv->vpid, 2);
}

/* Who looks at it, or has made it, holds it until the release; and may end it where it likes. */
static void test_look_from_another(void **state)
{
	struct vcpu other;

	(void)state;
	make_vcpu(&vm, &other);
	vmx_backend.set_reg(&other, REG_DR7, DR7_INIT | 1);
	vmx_backend.vcpu_release(&other);
	vmx_backend.vcpu_release(&other);
	fake_cpu_switch(1);
	assert_int_equal(vmx_backend.get_reg(&other, REG_DR7), DR7_INIT | 1);
	vmx_backend.vcpu_release(&other);
	fake_cpu_switch(0);
	assert_int_equal(vmx_backend.get_reg(&other, REG_DR7), DR7_INIT | 1);
	vmx_backend.vcpu_release(&other);
	fake_cpu_switch(1);
	vmx_backend.vcpu_destroy(&other);
	fake_cpu_switch(0);
	run_one(play_intr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_move, setup_two_cpus, teardown_two_cpus),
		cmocka_unit_test_setup_teardown(test_look_from_another, setup_two_cpus,
						teardown_two_cpus),
	};

	return cmocka_run_group_tests_name("vmx_move", tests, NULL, NULL);
}
