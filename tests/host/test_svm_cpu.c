/* SVM turned on on two processors, and a vCPU that goes from one to the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/mm.h"
#include "svm/exit.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fake_svm.h"
#include "tests/host/fakes.h"
#include "vmm/vm.h"

#define CPUS 2

static struct fake_svm processor[CPUS];
static struct vm vm;
static struct vcpu vcpu;
static struct svm_vcpu *sv;
static struct vm_exit exit_info;

static void on(unsigned i)
{
	fake_svm = &processor[i];
}

/* What VMRUN finds. */
static uint64_t entered_host, entered_clean;
static uint32_t entered_asid;
static uint8_t entered_tlb_control;

void svm_enter(struct vcpu_regs *regs, uint64_t guest_vmcb_pa, uint64_t host_vmcb_pa)
{
	struct vmcb *v = hpa_to_ptr(HPA(guest_vmcb_pa));

	(void)regs;
	entered_host = host_vmcb_pa;
	entered_clean = v->clean;
	entered_asid = v->asid;
	entered_tlb_control = v->tlb_control;
	v->exit_code = SVM_EXIT_INTR;
}

static unsigned cr2_writes;

void svm_write_cr2(uint64_t val)
{
	(void)val;
	cr2_writes++;
}

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		processor[i] = (struct fake_svm){ .cpu.id = i,
						  .cr4 = CR4_PAE | CR4_MCE,
						  .efer = EFER_LME | EFER_LMA };
		processor[i].svm = (struct cpuid_regs){ .eax = 1, .ebx = 8 };
		processor[i].svm.edx = SVM_FEATURE_NP | SVM_FEATURE_CLEAN;
	}
	on(0);
	svm_mask_features(UINT32_MAX);
	fake_log_reset();
	assert_int_equal(svm_backend.probe(), 0);
	assert_int_equal(svm_machine.host_cr4, CR4_MCE);
	return 0;
}

static void disable(unsigned i)
{
	struct svm_cpu *cpu;

	on(i);
	cpu = svm_this_cpu();
	frame_free(cpu->host_vmcb, 0, FRAME_HYPERVISOR);
	frame_free(cpu->hsave, 0, FRAME_HYPERVISOR);
	kfree(cpu, sizeof(*cpu));
}

static void test_enable(void **state)
{
	struct svm_cpu *cpu[CPUS];

	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		on(i);
		assert_int_equal(svm_backend.cpu_enable(), 0);
		cpu[i] = svm_this_cpu();
		assert_int_equal(processor[i].efer, EFER_LME | EFER_LMA | EFER_SVME);
		assert_int_equal(processor[i].hsave, cpu[i]->hsave.v);
		assert_int_equal(processor[i].vmsaved.v, cpu[i]->host_vmcb.v);
	}
	assert_ptr_not_equal(cpu[0], cpu[1]);
	assert_int_not_equal(cpu[0]->hsave.v, cpu[1]->hsave.v);
	assert_int_not_equal(cpu[0]->host_vmcb.v, cpu[1]->host_vmcb.v);
	disable(0);
	disable(1);
	assert_int_equal(fake_frame_bytes, 0);
}

/* What was chosen for the first would not do there. */
static void test_unlike_the_first(void **state)
{
	(void)state;
	on(1);
	processor[1].svm.edx &= ~(uint32_t)SVM_FEATURE_CLEAN;
	assert_int_equal(svm_backend.cpu_enable(), -ENODEV);
	processor[1].svm = processor[0].svm;
	processor[1].svm.ebx--;
	assert_int_equal(svm_backend.cpu_enable(), -ENODEV);
	processor[1].svm = processor[0].svm;
	processor[1].cr4 = CR4_PAE;
	assert_int_equal(svm_backend.cpu_enable(), -ENODEV);
	assert_false(processor[1].efer & EFER_SVME);
	assert_int_equal(fake_frame_bytes, 0);
}

static int setup_vcpu(void **state)
{
	setup(state);
	for (unsigned i = 0; i < CPUS; i++) {
		on(i);
		assert_int_equal(svm_backend.cpu_enable(), 0);
	}
	on(0);
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	vm.backend = &svm_backend;
	vcpu.vm = &vm;
	assert_int_equal(svm_backend.vm_init(&vm), 0);
	assert_int_equal(svm_backend.vcpu_init(&vcpu), 0);
	vcpu.regs.rflags = RFLAGS_FIXED;
	sv = vcpu.hw;
	return 0;
}

static int teardown_vcpu(void **state)
{
	(void)state;
	svm_backend.vcpu_destroy(&vcpu);
	svm_backend.vm_destroy(&vm);
	disable(0);
	disable(1);
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static void run_on(unsigned i)
{
	on(i);
	svm_backend.vcpu_load(&vcpu);
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_int_equal(entered_host, processor[i].vmsaved.v);
}

static void leave(void)
{
	svm_backend.vcpu_put(&vcpu);
	svm_backend.vcpu_release(&vcpu);
}

/* Nothing that one CPU has cached of it is taken for the other's, nor found again on the way
 * back, though both count the same generation and would give the same ASID. */
static void test_move(void **state)
{
	(void)state;
	run_on(0);
	assert_int_equal(entered_clean, 0);
	assert_int_equal(entered_asid, 1);
	assert_int_equal(entered_tlb_control, TLB_CONTROL_FLUSH_ALL);
	run_on(0);
	assert_int_equal(entered_clean, CLEAN_ALL);
	assert_int_equal(entered_tlb_control, TLB_CONTROL_NONE);
	leave();
	run_on(1);
	assert_int_equal(entered_clean, 0);
	assert_int_equal(entered_asid, 1);
	assert_int_equal(entered_tlb_control, TLB_CONTROL_FLUSH_ALL);
	leave();
	cr2_writes = 0;
	run_on(0);
	assert_int_equal(entered_clean, 0);
	assert_int_equal(entered_asid, 2);
	assert_int_equal(cr2_writes, 1);
	/* Where it has not left all counts still, released or not. */
	leave();
	run_on(0);
	assert_int_equal(entered_clean, CLEAN_ALL);
	assert_int_equal(entered_asid, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_enable, setup),
		cmocka_unit_test_setup(test_unlike_the_first, setup),
		cmocka_unit_test_setup_teardown(test_move, setup_vcpu, teardown_vcpu),
	};

	return cmocka_run_group_tests_name("svm_cpu", tests, NULL, NULL);
}
