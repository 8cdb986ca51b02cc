/*
 * How VMX runs each state of a guest: as it is, real mode as a virtual-8086 task on a processor
 * that has no unrestricted guest, or not at all. The auditor sees each entry.
 */
#include "tests/host/vmx_fixture.h"

/* Shadow paging on a processor that has no EPT, and so no real mode. */
static int setup_shadow_alone(void **state)
{
	(void)state;
	return setup_vm(NO_EPT, (struct shadow *)&vm);
}

#define SHADOW_ALONE(fn) cmocka_unit_test_setup_teardown(fn, setup_shadow_alone, teardown)

static void runs_in(enum vmx_mode mode)
{
	static const play_fn plays[] = { play_intr, NULL };

	run_plays(plays, mode == MODE_EMULATE ? 0 : 1);
	assert_int_equal(vv->mode, mode);
	assert_int_equal(exit_info.kind, mode == MODE_EMULATE ? EXIT_EMULATE : EXIT_INTR);
}

/* --- virtual-8086 tasks --- */

static void play_v86(void)
{
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		assert_int_equal(fake_vmcs_get(VMCS_GUEST_ES_RIGHTS + 2 * i), 0xf3);
		assert_int_equal(fake_vmcs_get(VMCS_GUEST_ES_SELECTOR + 2 * i), 0x7c0 + i);
		assert_int_equal(fake_vmcs_get(VMCS_GUEST_ES_BASE + 2 * i), (0x7c0 + i) << 4);
	}
	/* A TSS with no room for an I/O map, so that each access leaves with #GP. */
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_TR_LIMIT), 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_TR_RIGHTS), 0x8b);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_LDTR_RIGHTS), RIGHTS_UNUSABLE);
	/* IOPL 0, so that CLI, PUSHF, INT and their like leave with #GP. */
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_VM | RFLAGS_AC);
	assert_int_equal(fake_vmcs_get(VMCS_EXCEPTION_BITMAP), UINT32_MAX);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_CS), 0);
	fake_vmcs_set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM | RFLAGS_CF);
	/* MOV FS, and a far jump. */
	fake_vmcs_set(VMCS_GUEST_FS_SELECTOR, 0x1234);
	fake_vmcs_set(VMCS_GUEST_FS_BASE, 0x12340);
	fake_vmcs_set(VMCS_GUEST_CS_SELECTOR, 0xf000);
	fake_vmcs_set(VMCS_GUEST_CS_BASE, 0xf0000);
}

static void segment_is(enum seg_reg reg, uint16_t selector, uint32_t attr, uint32_t limit,
		       uint64_t base)
{
	struct segment seg;

	vmx_backend.get_seg(&vcpu, reg, &seg);
	if (seg.selector != selector || seg.attr != attr || seg.limit != limit || seg.base != base)
		fail_msg("segment %d: %04x base %llx limit %x attr %x", (int)reg, seg.selector,
			 (unsigned long long)seg.base, seg.limit, seg.attr);
}

static void enter_real_mode(void)
{
	real_mode_at(0x7c0);
	set_segment(SEG_TR, 0x18, 0x8b, 0x67, 0x5000);
	set_segment(SEG_LDTR, 0x20, 0x82, 0x1f, 0x6000);
	set_segment(SEG_GDTR, 0, 0, 0x37, 0x8000);
	vmx_backend.set_reg(&vcpu, REG_SYSENTER_CS, 0x10);
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_AC | RFLAGS_IOPL;
	run_one(play_v86);
	assert_int_equal(vv->mode, MODE_V86);
}

/* To the core it is real mode all along. */
static void test_v86(void **state)
{
	(void)state;
	enter_real_mode();
	assert_int_equal(vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_CF | RFLAGS_IOPL);
	assert_int_equal(get(REG_CPL), 0);
	assert_int_equal(get(REG_CS_ATTR), 0x9b);
	assert_int_equal(get(REG_CR0), CR0_ET | CR0_CD | CR0_NW);
	segment_is(SEG_CS, 0xf000, 0x9b, 0xffff, 0xf0000);
	segment_is(SEG_FS, 0x1234, 0x93, 0xffff, 0x12340);
	segment_is(SEG_DS, 0x7c3, 0x93, 0xffff, 0x7c30);
	segment_is(SEG_TR, 0x18, 0x8b, 0x67, 0x5000);
	segment_is(SEG_LDTR, 0x20, 0x82, 0x1f, 0x6000);
	segment_is(SEG_GDTR, 0, 0, 0x37, 0x8000);
	assert_int_equal(get(REG_SYSENTER_CS), 0x10);
	assert_int_equal(fake_vmcs_get(VMCS_CR0_READ_SHADOW), CR0_ET | CR0_CD | CR0_NW);
}

/* What the core writes meanwhile is there when the task ends. */
static void test_v86_and_back(void **state)
{
	(void)state;
	enter_real_mode();
	set_segment(SEG_ES, 0x4000, 0x93, 0xffff, 0x40000);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_ES_SELECTOR), 0x4000);
	segment_is(SEG_ES, 0x4000, 0x93, 0xffff, 0x40000);
	set_segment(SEG_TR, 0x28, 0x83, 0x2b, 0x5100);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_TR_BASE), 0);
	set_segment(SEG_IDTR, 0, 0, 0x7ff, 0x9000);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_IDTR_LIMIT), 0x7ff);
	vmx_backend.set_reg(&vcpu, REG_SYSENTER_CS, 0x20);
	runs_in(MODE_V86);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_CS), 0);
	assert_int_equal(get(REG_SYSENTER_CS), 0x20);
	/* PE set, a far jump, and the data segments: the way of every boot sector. */
	set_cr(REG_CR0, CR0_PE);
	runs_in(MODE_EMULATE);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_SYSENTER_CS), 0x20);
	segment_is(SEG_CS, 0xf000, 0x9b, 0xffff, 0xf0000);
	segment_is(SEG_TR, 0x28, 0x83, 0x2b, 0x5100);
	segment_is(SEG_LDTR, 0x20, 0x82, 0x1f, 0x6000);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_TR_BASE), 0x5100);
	protected_mode();
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IOPL;
	runs_in(MODE_DIRECT);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_IOPL);
	assert_int_equal(fake_vmcs_get(VMCS_EXCEPTION_BITMAP),
			 BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC));
	/* And back: with the limits of protected mode not before they are loaded. */
	set_cr(REG_CR0, 0);
	runs_in(MODE_EMULATE);
	real_mode_at(0x7c0);
	runs_in(MODE_V86);
}

/* Ring 3 has what real mode has not: alignment checks, and interrupts that go by VIF. */
static void test_v86_control_registers(void **state)
{
	(void)state;
	set_cr(REG_CR0, CR0_AM);
	set_cr(REG_CR4, CR4_VME | CR4_PVI | CR4_DE);
	enter_real_mode();
	assert_false(fake_vmcs_get(VMCS_GUEST_CR0) & CR0_AM);
	assert_true(fake_vmcs_get(VMCS_GUEST_CR0) & CR0_PE);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR4), CR4_DE | CR4_PSE | CR4_VMXE);
	assert_int_equal(get(REG_CR0), CR0_AM | CR0_ET);
	assert_int_equal(get(REG_CR4), CR4_VME | CR4_PVI | CR4_DE);
	real_mode_at(0);
	protected_mode();
	runs_in(MODE_DIRECT);
	set_cr(REG_CR0, CR0_PE | CR0_AM);
	assert_true(fake_vmcs_get(VMCS_GUEST_CR0) & CR0_AM);
	assert_true(fake_vmcs_get(VMCS_GUEST_CR4) & CR4_VME);
}

/* --- its exits --- */

static unsigned play_vector, play_type;

static void play_exception(void)
{
	exception(play_type, play_vector, 0xabc000);
	fake_vmcs_set(VMCS_EXIT_INTR_INFO, fake_vmcs_get(VMCS_EXIT_INTR_INFO) | INTR_INFO_ERROR);
	fake_vmcs_set(VMCS_EXIT_INTR_ERROR, PF_U | PF_W);
}

static void exception_is(unsigned type, unsigned vector, enum vm_exit_kind kind)
{
	play_type = type;
	play_vector = vector;
	run_one(play_exception);
	assert_int_equal(exit_info.kind, kind);
}

static void play_ept_violation_at_13(void)
{
	set_exit(VMX_EXIT_EPT_VIOLATION, BIT(0));
	fake_vmcs_set(VMCS_GUEST_PHYSICAL_ADDRESS, 0xa000d);
}

/* What a task may not do real mode does; and some exceptions stand behind their instruction. */
static void test_v86_exits(void **state)
{
	(void)state;
	enter_real_mode();
	real_mode_at(0x7c0);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_GP, EXIT_EMULATE);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_SS, EXIT_EMULATE);
	exception_is(INTR_TYPE_SOFT_EXCEPTION, VEC_BP, EXIT_EMULATE);
	exception_is(INTR_TYPE_SOFT_EXCEPTION, VEC_OF, EXIT_EMULATE);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_UD, EXIT_EXCEPTION);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_DB, EXIT_EXCEPTION);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_DE, EXIT_EXCEPTION);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_MC, EXIT_INTR);
	exception_is(INTR_TYPE_NMI, VEC_NMI, EXIT_NMI);
	/* It is no user that has faulted. */
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_PF, EXIT_PAGE_FAULT);
	assert_int_equal(exit_info.page_fault.error, PF_W);
	/* Nor is an address a vector. */
	run_one(play_ept_violation_at_13);
	assert_int_equal(exit_info.kind, EXIT_NESTED_FAULT);
	/* All of which protected mode delivers. */
	protected_mode();
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_GP, EXIT_EXCEPTION);
	exception_is(INTR_TYPE_SOFT_EXCEPTION, VEC_BP, EXIT_EXCEPTION);
	exception_is(INTR_TYPE_HARDWARE_EXCEPTION, VEC_PF, EXIT_PAGE_FAULT);
	assert_int_equal(exit_info.page_fault.error, PF_W | PF_U);
}

/* --- what a task in virtual-8086 mode cannot be --- */

static void test_big_real_mode(void **state)
{
	(void)state;
	/* As after RESET: CS is not where its selector says. */
	runs_in(MODE_EMULATE);
	real_mode_at(0x7c0);
	runs_in(MODE_V86);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		uint32_t type = i == SEG_CS ? 0x9b : 0x93;

		set_segment((enum seg_reg)i, 0x100, type, 0xfffff, 0x1000);
		runs_in(MODE_EMULATE);
		segment_is((enum seg_reg)i, 0x100, type, 0xfffff, 0x1000);
		set_segment((enum seg_reg)i, 0x100, type | SEG_ATTR_DB, 0xffff, 0x1000);
		runs_in(MODE_EMULATE);
		set_segment((enum seg_reg)i, 0x100, type, 0xffff, 0x1001);
		runs_in(MODE_EMULATE);
		set_segment((enum seg_reg)i, 0x100, type, 0xffff, 0x1000);
		runs_in(MODE_V86);
	}
	vcpu.regs.rip = 0x10000;
	set_segment(SEG_ES, 0, 0x93, 0xffff, 0);
	runs_in(MODE_EMULATE);
}

/* --- protected mode: SDM vol. 3, 26.3.1.2, a rule at a time --- */

static void with(enum seg_reg reg, uint16_t selector, uint32_t attr, enum vmx_mode mode)
{
	struct segment saved;

	vmx_backend.get_seg(&vcpu, reg, &saved);
	set_segment(reg, selector, attr, 0xfffff, 0x1000);
	runs_in(mode);
	vmx_backend.set_seg(&vcpu, reg, &saved);
	runs_in(MODE_DIRECT);
}

static void test_code_rules(void **state)
{
	(void)state;
	protected_mode();
	runs_in(MODE_DIRECT);
	with(SEG_CS, 0x8, 0x99, MODE_DIRECT);
	with(SEG_CS, 0x8, 0x9f, MODE_DIRECT);
	with(SEG_CS, 0x8, 0x9d, MODE_DIRECT);
	with(SEG_CS, 0x8, 0x93, MODE_EMULATE); /* data */
	with(SEG_CS, 0x8, 0x9a, MODE_EMULATE); /* not accessed */
	with(SEG_CS, 0x8, 0x8b, MODE_EMULATE); /* no S */
	with(SEG_CS, 0x8, 0x1b, MODE_EMULATE); /* not present */
	with(SEG_CS, 0x8, 0xfb, MODE_EMULATE); /* DPL other than SS' */
	with(SEG_CS, 0x8, 0xff, MODE_EMULATE); /* conforming, above SS' */
	with(SEG_CS, 0xb, 0x9b, MODE_EMULATE); /* RPL other than SS' */
}

static void test_conforming_code(void **state)
{
	(void)state;
	protected_mode();
	set_segment(SEG_SS, 0x13, 0xcf3, UINT32_MAX, 0);
	set_segment(SEG_CS, 0xb, 0xc9f, UINT32_MAX, 0);
	runs_in(MODE_DIRECT);
	with(SEG_CS, 0xb, 0xc9b, MODE_EMULATE);
	with(SEG_CS, 0xb, 0xcfb, MODE_DIRECT);
}

static void test_stack_rules(void **state)
{
	(void)state;
	protected_mode();
	with(SEG_SS, 0x10, 0x97, MODE_DIRECT);
	with(SEG_SS, 0, 0, MODE_DIRECT);
	with(SEG_SS, 0x10, 0x91, MODE_EMULATE); /* not writable */
	with(SEG_SS, 0x10, 0x92, MODE_EMULATE); /* not accessed */
	with(SEG_SS, 0x10, 0x9b, MODE_EMULATE); /* code */
	with(SEG_SS, 0x10, 0x83, MODE_EMULATE); /* no S */
	with(SEG_SS, 0x13, 0x93, MODE_EMULATE); /* RPL */
	with(SEG_SS, 0x10, 0xf3, MODE_EMULATE); /* DPL */
	with(SEG_SS, 0x10, 0x60, MODE_EMULATE); /* unusable: its DPL is the CPL still */
	with(SEG_SS, 0x13, 0x60, MODE_EMULATE); /* and RPL CS' */
}

static void test_data_rules(void **state)
{
	static const enum seg_reg regs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	(void)state;
	protected_mode();
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		with(regs[i], 0x10, 0x91, MODE_DIRECT);
		with(regs[i], 0x13, 0xf3, MODE_DIRECT);
		with(regs[i], 0x10, 0x9b, MODE_DIRECT);
		with(regs[i], 3, 0, MODE_DIRECT);
		with(regs[i], 0x13, 0x9f, MODE_DIRECT);  /* conforming: any RPL */
		with(regs[i], 0x10, 0x92, MODE_EMULATE); /* not accessed */
		with(regs[i], 0x10, 0x83, MODE_EMULATE); /* no S */
		with(regs[i], 0x10, 0x99, MODE_EMULATE); /* code that can't be read */
		with(regs[i], 0x13, 0x93, MODE_EMULATE); /* DPL below RPL */
		with(regs[i], 0x13, 0x9b, MODE_EMULATE); /* and of code */
		with(regs[i], 0x11, 0xb3, MODE_DIRECT);
	}
}

static void test_system_rules(void **state)
{
	(void)state;
	protected_mode();
	with(SEG_TR, 0x18, 0x83, MODE_DIRECT);
	with(SEG_TR, 0x1c, 0x8b, MODE_EMULATE); /* in the LDT */
	with(SEG_TR, 0x18, 0x9b, MODE_EMULATE); /* S */
	with(SEG_TR, 0x18, 0x0b, MODE_EMULATE); /* not present */
	with(SEG_LDTR, 0x20, 0x82, MODE_DIRECT);
	with(SEG_LDTR, 0x24, 0, MODE_DIRECT);
	with(SEG_LDTR, 0x24, 0x82, MODE_EMULATE); /* in an LDT */
	with(SEG_LDTR, 0x20, 0x83, MODE_EMULATE); /* another type */
	with(SEG_LDTR, 0x20, 0x92, MODE_EMULATE); /* S */
}

/* A virtual-8086 task of the guest's own. */
static void test_v86_of_the_guest(void **state)
{
	(void)state;
	protected_mode();
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		set_segment((enum seg_reg)i, 0x100, 0xf3, 0xffff, 0x1000);
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_VM | RFLAGS_IOPL;
	runs_in(MODE_DIRECT);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_VM | RFLAGS_IOPL);
	assert_int_equal(vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_VM | RFLAGS_IOPL);
	assert_int_equal(get(REG_CPL), 3);
	set_segment(SEG_ES, 0x100, 0xf3, 0xffff, 0x1004);
	runs_in(MODE_EMULATE);
}

/* --- emulation --- */

static const struct vm_event intr = { .kind = EVENT_INTR, .vector = 0x31 };

static void between_modes(void)
{
	protected_mode();
	set_segment(SEG_SS, 0x13, 0x93, 0xffff, 0);
	runs_in(MODE_EMULATE);
}

/* An event waits for a state that it can be delivered in, and the window says when. */
static void test_events_wait(void **state)
{
	(void)state;
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR)); /* real mode: the core delivers */
	between_modes();
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	vmx_backend.request_window(&vcpu, EVENT_INTR, true);
	/* Before the next entry nobody knows whether this was the last thing missing. */
	set_segment(SEG_SS, 0x10, 0x93, 0xffff, 0);
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	runs_in(MODE_DIRECT);
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_true(fake_vmcs_get(VMCS_PROC_CONTROLS) & PROC_INTERRUPT_WINDOW);
}

/* One that was on its way already comes back. */
static void test_event_comes_back(void **state)
{
	(void)state;
	between_modes();
	vmx_backend.inject(&vcpu, &intr);
	runs_in(MODE_EMULATE);
	assert_int_equal(exit_info.interrupted.kind, EVENT_INTR);
	assert_int_equal(exit_info.interrupted.vector, 0x31);
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO), 0);
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
	runs_in(MODE_EMULATE);
	assert_int_equal(exit_info.interrupted.kind, EVENT_NONE);
}

static void test_exception_stops_the_vm(void **state)
{
	struct vm_event gp = {
		.kind = EVENT_EXCEPTION, .vector = VEC_GP, .has_error = true, .error = 0x18
	};

	(void)state;
	between_modes();
	vmx_backend.inject(&vcpu, &gp);
	runs_in(MODE_EMULATE);
	assert_int_equal(vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(vm.stop_text,
			    "exception 13 between real and protected mode, rip 0x1000");
}

/* No entry, no preemption timer: the turn ends all the same. */
static void test_deadline_without_entry(void **state)
{
	static const play_fn plays[] = { NULL };

	(void)state;
	between_modes();
	fake_cpu.tsc = 1000;
	vmx_backend.set_deadline(&vcpu, 1032);
	runs_in(MODE_EMULATE);
	fake_cpu.tsc = 1001; /* less than a tick of the timer is left */
	run_plays(plays, 0);
	assert_int_equal(exit_info.kind, EXIT_TIMER);
	vmx_backend.set_deadline(&vcpu, 0);
	runs_in(MODE_EMULATE);
}

/* --- with unrestricted guest nothing of all this --- */

static void test_unrestricted(void **state)
{
	(void)state;
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	runs_in(MODE_DIRECT); /* from RESET */
	real_mode_at(0x7c0);
	set_segment(SEG_FS, 0, 0x93, UINT32_MAX, 0);
	runs_in(MODE_DIRECT);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_IF);
	assert_false(fake_vmcs_get(VMCS_GUEST_CR0) & CR0_PE);
	set_cr(REG_CR0, CR0_PE);
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	runs_in(MODE_DIRECT);
}

/* Under a shadow the processor has no unrestricted guest, through the nested tables it has. */
static void test_root_kind_changes_the_mode(void **state)
{
	(void)state;
	runs_in(MODE_EMULATE);
	vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	runs_in(MODE_DIRECT);
	real_mode_at(0x7c0);
	runs_in(MODE_DIRECT);
	vmx_backend.set_root(&vcpu, HPA(SHADOW_ROOT), ROOT_SHADOW);
	runs_in(MODE_V86);
	vmx_backend.set_root(&vcpu, HPA(NESTED_ROOT), ROOT_NESTED);
	runs_in(MODE_DIRECT);
	segment_is(SEG_CS, 0x7c1, 0x9b, 0xffff, 0x7c10);
	assert_false(fake_vmcs_get(VMCS_EXCEPTION_BITMAP) & BIT(VEC_GP));
}

/* Without EPT: paged, through the shadow, in ring 3. */
static void test_v86_in_a_shadow(void **state)
{
	(void)state;
	enter_real_mode();
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR3), SHADOW_ROOT);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_CR4), CR4_PAE | CR4_VMXE);
	protected_mode();
	runs_in(MODE_DIRECT);
	assert_int_equal(fake_vmcs_get(VMCS_EXCEPTION_BITMAP),
			 BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC) | BIT(VEC_PF));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IDENTITY(test_v86),
		IDENTITY(test_v86_and_back),
		IDENTITY(test_v86_control_registers),
		IDENTITY(test_v86_exits),
		IDENTITY(test_big_real_mode),
		IDENTITY(test_code_rules),
		IDENTITY(test_conforming_code),
		IDENTITY(test_stack_rules),
		IDENTITY(test_data_rules),
		IDENTITY(test_system_rules),
		IDENTITY(test_v86_of_the_guest),
		IDENTITY(test_events_wait),
		IDENTITY(test_event_comes_back),
		IDENTITY(test_exception_stops_the_vm),
		IDENTITY(test_deadline_without_entry),
		TEST(test_unrestricted),
		SHADOW(test_root_kind_changes_the_mode),
		SHADOW_ALONE(test_v86_in_a_shadow),
	};

	return cmocka_run_group_tests_name("vmx_mode", tests, NULL, NULL);
}
