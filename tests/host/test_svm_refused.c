/* What is made of a VMRUN that was refused, or of one that only looks so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/mm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fakes.h"
#include "vmm/vm.h"

static struct vm vm;
static struct vcpu vcpu;
static struct svm_cpu cpu;
static struct vmcb *v;
static struct vm_exit exit_info;
static uint64_t rip_of_refusal; /* what VMRUN leaves there; 0: what it found */

/* The processor: every VMRUN is refused. */
void svm_enter(struct vcpu_regs *regs, uint64_t guest_vmcb_pa, uint64_t host_vmcb_pa)
{
	(void)regs;
	(void)host_vmcb_pa;
	assert_ptr_equal(hpa_to_ptr(HPA(guest_vmcb_pa)), v);
	v->exit_code = 0xffffffff;
	if (rip_of_refusal)
		v->rip = rip_of_refusal;
}

void svm_write_cr2(uint64_t val)
{
	(void)val;
}

static int setup(void **state)
{
	(void)state;
	svm_machine = (struct svm_machine){
		.features = SVM_FEATURE_NP,
		.nr_asids = 4,
		.limits = { .maxphyaddr = 47, .cr4_valid = BITS(24, 0) },
		.caps.nested_paging = true,
	};
	cpu = (struct svm_cpu){ .asid_generation = 1, .next_asid = 1, .host_vmcb = HPA(0x5000) };
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	vm.backend = &svm_backend;
	vcpu.vm = &vm;
	assert_int_equal(svm_backend.vm_init(&vm), 0);
	assert_int_equal(svm_backend.vcpu_init(&vcpu), 0);
	svm_vcpu(&vcpu)->cpu = &cpu;
	v = svm_vcpu(&vcpu)->vmcb;
	vcpu.regs.rip = 0x1000;
	vcpu.regs.rflags = RFLAGS_FIXED;
	rip_of_refusal = 0;
	fake_log_reset();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	svm_backend.vcpu_destroy(&vcpu);
	svm_backend.vm_destroy(&vm);
	return 0;
}

static void expect_refused(const char *words)
{
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(exit_info.kind, EXIT_INVALID_STATE);
	if (!strstr(fake_log, words))
		fail_msg("expected \"%s\" in the log, which is: %s", words, fake_log);
	assert_int_equal(v->event_inj, 0);
	assert_int_equal(v->clean, 0);
}

/* A sound VMCB: QEMU's way to refuse a MOV CR3, and nobody else's. */
static void test_mov_cr3(void **state)
{
	(void)state;
	svm_machine.vague_cr3 = false;
	expect_refused("SVM: VMRUN refused: by none of the rules that are known");
	svm_machine.vague_cr3 = true;
	/* What the exit before has left. */
	memset(&exit_info, 0xff, sizeof(exit_info));
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(exit_info.kind, EXIT_CR_WRITE);
	assert_int_equal(exit_info.cr.nr, 3);
	assert_int_equal(exit_info.cr.gpr, VM_EXIT_GPR_UNKNOWN);
	assert_false(exit_info.cr.clts);
	assert_int_equal(v->clean, 0);
}

/* One that breaks a rule; an event that was to be delivered counts too. */
static void test_broken_rule(void **state)
{
	(void)state;
	v->event_inj = EVENT_V | EVENT_TYPE_EXCEPTION << 8 | 40;
	expect_refused("SVM: VMRUN refused: EVENTINJ holds no valid event");
}

/* QEMU, Bochs: the host's registers in the VMCB, which are sound. It is no MOV CR3. */
static void test_overwritten(void **state)
{
	(void)state;
	rip_of_refusal = (uintptr_t)svm_enter + SVM_ENTER_MAX - 1;
	expect_refused("SVM: VMRUN refused: the VMCB is overwritten");
	rip_of_refusal++;
	svm_machine.vague_cr3 = true;
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(exit_info.kind, EXIT_CR_WRITE);
}

/* Debug builds have looked before, and know what the exit has taken away. */
static void test_seen_before(void **state)
{
	(void)state;
	svm_vcpu(&vcpu)->broken = "what it was";
	expect_refused("SVM: VMRUN refused: what it was");
	rip_of_refusal = (uintptr_t)svm_enter + SVM_ENTER_MAX - 1;
	fake_log_reset();
	expect_refused("SVM: VMRUN refused: what it was");
}

static void expect(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("the dump lacks \"%s\":\n%s", text, fake_log);
}

static void test_dump(void **state)
{
	(void)state;
	v->exit_code = 0x78;
	v->cr0 = CR0_PE | CR0_ET | CR0_PG;
	v->clean = 0x21;
	v->v_intr = V_INTR_MASKING | V_IRQ | UINT64_C(0x41) << 32;
	svm_backend.dump(&vcpu, &fake_log_printer);
	expect("ASID is zero\n");
	expect("\n  exit_code          0000000000000078  VMEXIT_HLT\n");
	expect("\n  cr0                0000000080000011  PE ET PG\n");
	expect("\n  clean              00000021          I CRX\n");
	expect("V_IRQ V_INTR_MASKING");
	expect(" V_INTR_VECTOR=0x41\n");
	expect("\n  n_cr3 ");
	expect("\n  last_excp_to ");
}

/* What EXITINFO1 means is the exit's business. */
static void test_dump_of_faults(void **state)
{
	(void)state;
	v->exit_code = 0x400;
	v->exit_info1 = BIT(32) | 7;
	svm_backend.dump(&vcpu, &fake_log_printer);
	expect("\n  exit_info1         0000000100000007  P W U final\n");
	fake_log_reset();
	v->exit_code = 0x40 + VEC_PF;
	v->exit_info1 = 0x12;
	svm_backend.dump(&vcpu, &fake_log_printer);
	expect("\n  exit_info1         0000000000000012  W I\n");
	fake_log_reset();
	v->exit_code = 0x7b;
	svm_backend.dump(&vcpu, &fake_log_printer);
	expect("\n  exit_info1         0000000000000012\n");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mov_cr3),     TEST(test_broken_rule), TEST(test_overwritten),
		TEST(test_seen_before), TEST(test_dump),        TEST(test_dump_of_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
