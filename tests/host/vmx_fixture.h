/*
 * The VMX backend around the world switch, for the tests of vmx/run.c and of what it goes by: one
 * vCPU, loaded, on the processor of fake_vmx.h. vmx_enter() is here: each world switch asks the
 * auditor whether VM entry would take the VMCS, and runs the next of a list of functions that play
 * the guest and its processor.
 */
#ifndef UMBRA_TESTS_VMX_FIXTURE_H
#define UMBRA_TESTS_VMX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_vmx.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"
#include "vmx/event.h"
#include "vmx/exit.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

#define IDENTITY_MAP UINT64_C(0xfeffc000)
#define NESTED_ROOT UINT64_C(0x7000)
#define SHADOW_ROOT UINT64_C(0x9000)
#define PLAYED_VECTOR 0xf1u /* play_intr()'s */

#define NO_EPT (~(uint32_t)VMX_FEATURE_EPT)
#define NO_UNRESTRICTED (~(uint32_t)VMX_FEATURE_UNRESTRICTED_GUEST)

static struct vm vm;
static struct vcpu vcpu;
static struct vmx_vcpu *vv;
static struct vm_exit exit_info;

/* --- the processor --- */

typedef void (*play_fn)(void);

static const play_fn *script;
static unsigned entries;
static bool entered_by_resume;
static struct vcpu_regs *entered_regs;
static uint32_t instruction_error; /* not 0: VMLAUNCH and VMRESUME fail with it */
static bool entry_is_bad;          /* what the auditor would not let pass is meant */

static void audit_entry(void)
{
	struct vmx_limits lim = vmx_limits();
	struct vmcs_image image;
	struct vmx_violation found;

	vmx_read_image(&image);
	found = vmx_check_vmcs(&image, &lim);
	if (found.field)
		fail_msg("VM entry would fail: %s: %s (0x%llx)", found.field, found.words,
			 (unsigned long long)found.value);
}

/* What is the same for every exit: SDM vol. 3, 27.2. */
static void set_exit(uint32_t reason, uint64_t qualification)
{
	fake_vmcs_set(VMCS_EXIT_REASON, reason);
	fake_vmcs_set(VMCS_EXIT_QUALIFICATION, qualification);
}

bool vmx_enter(struct vcpu_regs *regs, bool resume)
{
	assert_true(script && script[entries]);
	fake_vmcs_set(VMCS_HOST_RSP, UINT64_C(0xffffffff80051000));
	entered_regs = regs;
	entered_by_resume = resume;
	if (!entry_is_bad)
		audit_entry();
	if (instruction_error) {
		fake_vmcs_set(VMCS_INSTRUCTION_ERROR, instruction_error);
		return false;
	}
	fake_vmx_entered(resume);
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0);
	fake_vmcs_set(VMCS_EXIT_INSN_LEN, 0);
	fake_vmcs_set(VMCS_EXIT_INTR_INFO, 0);
	set_exit(VMX_EXIT_EXTERNAL_INTERRUPT, 0);
	script[entries++]();
	if (fake_vmcs_get(VMCS_EXIT_REASON) & EXIT_REASON_ENTRY_FAILED)
		fake_vmx.current->launched = resume;
	else
		fake_vmcs_set(VMCS_ENTRY_INTR_INFO,
			      fake_vmcs_get(VMCS_ENTRY_INTR_INFO) & ~INTR_INFO_VALID);
	return true;
}

/* --- plays --- */

/* A host interrupt at once. */
static inline void play_intr(void)
{
	fake_vmcs_set(VMCS_EXIT_INTR_INFO, INTR_INFO_VALID | PLAYED_VECTOR);
}

static inline void exception(unsigned type, unsigned vector, uint64_t qualification)
{
	set_exit(VMX_EXIT_EXCEPTION_NMI, qualification);
	fake_vmcs_set(VMCS_EXIT_INTR_INFO, INTR_INFO_VALID | type << INTR_INFO_TYPE_SHIFT | vector);
}

static inline void hardware_exception(unsigned vector, uint64_t qualification)
{
	exception(INTR_TYPE_HARDWARE_EXCEPTION, vector, qualification);
}

static inline void run_plays(const play_fn *plays, unsigned expected_entries)
{
	script = plays;
	entries = 0;
	memset(&exit_info, 0xa5, sizeof(exit_info));
	vmx_backend.run(&vcpu, &exit_info);
	assert_int_equal(entries, expected_entries);
	/* Nothing is left to be delivered twice. */
	assert_false(fake_vmcs_get(VMCS_ENTRY_INTR_INFO) & INTR_INFO_VALID);
	assert_false(vv->injecting);
}

/* One world switch, which this plays. */
static inline void run_one(play_fn play)
{
	const play_fn plays[] = { play, NULL };

	run_plays(plays, 1);
}

/* --- the vCPU --- */

static inline void set_cr(enum vcpu_reg reg, uint64_t val)
{
	vmx_backend.set_reg(&vcpu, reg, val);
}

static inline uint64_t get(enum vcpu_reg reg)
{
	return vmx_backend.get_reg(&vcpu, reg);
}

static inline void set_segment(enum seg_reg reg, uint16_t selector, uint32_t attr, uint32_t limit,
			       uint64_t base)
{
	struct segment seg = { selector, (uint16_t)attr, limit, base };

	vmx_backend.set_seg(&vcpu, reg, &seg);
}

/* Ring 0's flat segments, CR0.PE set. */
static inline void protected_mode(void)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		set_segment((enum seg_reg)i, 0x10, 0xc93, UINT32_MAX, 0);
	set_segment(SEG_CS, 0x8, 0xc9b, UINT32_MAX, 0);
	set_cr(REG_CR0, CR0_PE | CR0_ET);
}

/* Real mode's as a boot sector finds them: selectors and bases from CS on. */
static inline void real_mode_at(uint16_t cs)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		set_segment((enum seg_reg)i, (uint16_t)(cs + i), i == SEG_CS ? 0x9b : 0x93, 0xffff,
			    (uint64_t)(cs + i) << 4);
	vcpu.regs.rip = 0x7c00;
}

static inline void make_vcpu(struct vm *of, struct vcpu *made)
{
	memset(made, 0, sizeof(*made));
	made->vm = of;
	assert_int_equal(vmx_backend.vcpu_init(made), 0);
	made->regs.rip = 0x1000;
	made->regs.rflags = RFLAGS_FIXED | RFLAGS_IF;
}

/* On the processor that is there, probed and enabled. */
static inline int make_vm(struct shadow *shadow)
{
	static struct vm_config config = { .name = "test" };

	cpuid_init(fake_cpuid_all_ones, XCR0_X87 | XCR0_SSE);
	memset(&vm, 0, sizeof(vm));
	vm.cfg = &config;
	vm.backend = &vmx_backend;
	vm.shadow = shadow;
	vm.virtual_interrupts = vmx_caps()->virtual_interrupts;
	if (vmx_caps()->identity_map && !shadow)
		vm.identity_map = GPA(IDENTITY_MAP);
	assert_int_equal(vmx_backend.vm_init(&vm), 0);
	make_vcpu(&vm, &vcpu);
	vm.vcpu[0] = &vcpu;
	vm.nr_vcpus = 1;
	vv = vcpu.hw;
	instruction_error = 0;
	entry_is_bad = false;
	vmx_backend.vcpu_load(&vcpu);
	if (shadow)
		vmx_backend.set_root(&vcpu, HPA(SHADOW_ROOT), ROOT_SHADOW);
	else
		vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	fake_log_reset();
	return 0;
}

static inline int setup_vm(uint32_t features, struct shadow *shadow)
{
	fake_vmx_start(features);
	return make_vm(shadow);
}

static inline int setup(void **state)
{
	(void)state;
	return setup_vm(UINT32_MAX, NULL);
}

/* EPT, but no real mode. */
static inline int setup_identity(void **state)
{
	(void)state;
	return setup_vm(NO_UNRESTRICTED, NULL);
}

/* Nobody here looks into the shadow. */
static inline int setup_shadow(void **state)
{
	(void)state;
	return setup_vm(UINT32_MAX, (struct shadow *)&vm);
}

static inline int teardown(void **state)
{
	(void)state;
	vmx_backend.vcpu_put(&vcpu);
	vmx_backend.vcpu_destroy(&vcpu);
	vmx_backend.vm_destroy(&vm);
	fake_vmx_stop();
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define IDENTITY(fn) cmocka_unit_test_setup_teardown(fn, setup_identity, teardown)
#define SHADOW(fn) cmocka_unit_test_setup_teardown(fn, setup_shadow, teardown)

#endif
