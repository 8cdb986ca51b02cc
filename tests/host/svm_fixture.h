/*
 * A vCPU on SVM for hosted tests. svm_enter() is the test's own: each world switch runs the next of
 * a list of functions that play the processor.
 */
#ifndef UMBRA_TESTS_SVM_FIXTURE_H
#define UMBRA_TESTS_SVM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/mm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fakes.h"
#include "vmm/vm.h"

/* --- the processor --- */

typedef void (*play_fn)(struct vmcb *v);

static const play_fn *script;
static unsigned entries;
static struct vcpu_regs *entered_regs;

void svm_enter(struct vcpu_regs *regs, uint64_t guest_vmcb_pa, uint64_t host_vmcb_pa)
{
	struct vmcb *v = hpa_to_ptr(HPA(guest_vmcb_pa));

	assert_int_equal(host_vmcb_pa, 0x5000);
	assert_non_null(script[entries]);
	entered_regs = regs;
	v->exit_info1 = v->exit_info2 = v->exit_int_info = 0;
	script[entries++](v);
}

static uint64_t cr2_now;
static unsigned cr2_writes;

void svm_write_cr2(uint64_t val)
{
	cr2_now = val;
	cr2_writes++;
}

/* --- fixture: one vCPU, loaded --- */

static struct vm vm;
static struct vcpu vcpu;
static struct svm_cpu cpu;
static struct svm_vcpu *sv;
static struct vmcb *v;
static struct vm_exit exit_info;

static int setup_vm(struct shadow *shadow)
{
	svm_machine = (struct svm_machine){
		.features = SVM_FEATURE_NP,
		.nr_asids = 4,
		.limits = { .maxphyaddr = 47, .cr4_valid = BITS(24, 0) },
		.caps.nested_paging = true,
	};
	cpu = (struct svm_cpu){ .asid_generation = 1, .next_asid = 1, .host_vmcb = HPA(0x5000) };
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&exit_info, 0xa5, sizeof(exit_info));
	vcpu.vm = &vm;
	vm.shadow = shadow;
	assert_int_equal(svm_backend.vm_init(&vm), 0);
	assert_int_equal(svm_backend.vcpu_init(&vcpu), 0);
	vm.vcpu[0] = &vcpu;
	vm.nr_vcpus = 1;
	sv = vcpu.hw;
	sv->cpu = &cpu;
	v = sv->vmcb;
	vcpu.regs.rip = 0x1000;
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IF;
	svm_set_reg(&vcpu, REG_CR0, CR0_PE | CR0_ET);
	entries = 0;
	fake_log_reset();
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_vm(NULL);
}

static int setup_shadow(void **state)
{
	(void)state;
	return setup_vm((struct shadow *)&vm); /* nobody here looks into it */
}

static int teardown(void **state)
{
	(void)state;
	svm_backend.vcpu_destroy(&vcpu);
	svm_backend.vm_destroy(&vm);
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static void run(const play_fn *plays, unsigned expected_entries)
{
	script = plays;
	entries = 0;
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(entries, expected_entries);
	/* Whatever a step changed is undone, and nothing is left to be injected twice. */
	assert_int_equal(sv->step, STEP_NONE);
	assert_int_equal(v->event_inj, 0);
	assert_int_equal(v->intercept[INTERCEPT_EXCEPTION_WORD], sv->exceptions);
	assert_false(vmcb_intercepts(v, INTERCEPT_PUSHF));
	assert_int_equal(vmcb_intercepts(v, INTERCEPT_INTN),
			 vmcb_intercepts(v, INTERCEPT_EXCEPTION + VEC_BP));
	assert_int_equal(vmcb_intercepts(v, INTERCEPT_VINTR), sv->intr_window);
	assert_int_equal(vcpu_hot_reg(&vcpu, REG_CR3), svm_get_reg(&vcpu, REG_CR3));
}

#endif
