/* Into the guest and out again under VMX: registers, events, windows, deadlines, refusals. */
#include "arch/x86_64/mm.h"
#include "tests/host/vmx_fixture.h"

/* --- registers --- */

static void play_cpuid(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RSP), 0x22);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RIP), 0x1000);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_IF);
	entered_regs->gpr[RAX] = 0x33;
	fake_vmcs_set(VMCS_GUEST_RSP, 0x44);
	fake_vmcs_set(VMCS_GUEST_RIP, 0x1002);
	fake_vmcs_set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_ZF | RFLAGS_RF);
	set_exit(10, 0);
	fake_vmcs_set(VMCS_EXIT_INSN_LEN, 2);
}

static void test_plain_exit(void **state)
{
	(void)state;
	vcpu.regs.gpr[RAX] = 0x11;
	vcpu.regs.gpr[RSP] = 0x22;
	run_one(play_cpuid);
	assert_ptr_equal(entered_regs, &vcpu.regs);
	assert_int_equal(exit_info.kind, EXIT_CPUID);
	assert_int_equal(exit_info.insn_len, 2);
	assert_int_equal(exit_info.interrupted.kind, EVENT_NONE);
	assert_int_equal(vcpu.regs.gpr[RAX], 0x33);
	assert_int_equal(vcpu.regs.gpr[RSP], 0x44);
	assert_int_equal(vcpu.regs.rip, 0x1002);
	assert_int_equal(vcpu.regs.rflags, RFLAGS_FIXED | RFLAGS_ZF | RFLAGS_RF);
}

static void test_launch_then_resume(void **state)
{
	(void)state;
	run_one(play_intr);
	assert_false(entered_by_resume);
	run_one(play_intr);
	assert_true(entered_by_resume);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_string_equal(exit_info.hw_name, "EXTERNAL_INTERRUPT");
}

static void play_triple_fault(void)
{
	play_intr();
	set_exit(2, 0);
}

/* The exit has acknowledged it: nobody else tells of it. */
static void test_interrupt_taken(void **state)
{
	(void)state;
	assert_true(fake_vmcs_get(VMCS_EXIT_CONTROLS) & EXIT_CTL_ACK_INTERRUPT);
	run_one(play_triple_fault);
	assert_int_equal(fake_vmx.interrupts, 0);
	run_one(play_intr);
	assert_int_equal(fake_vmx.interrupts, 1);
	assert_int_equal(fake_vmx.vector, PLAYED_VECTOR);
}

/* --- what the decoder is given --- */

static void play_ept_violation(void)
{
	set_exit(VMX_EXIT_EPT_VIOLATION, BIT(1) | BIT(7) | BIT(8));
	fake_vmcs_set(VMCS_GUEST_PHYSICAL_ADDRESS, 0xfee00000);
	fake_vmcs_set(VMCS_EXIT_INSN_LEN, 3);
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0x80000b0e);
	fake_vmcs_set(VMCS_IDT_VECTORING_ERROR, 2);
}

static void play_outs(void)
{
	set_exit(VMX_EXIT_IO, UINT64_C(0x3f8) << 16 | BIT(4));
	fake_vmcs_set(VMCS_EXIT_INSN_INFO, 1 << 7 | SEG_FS << 15);
	fake_vmcs_set(VMCS_EXIT_INSN_LEN, 2);
}

static void play_soft_int_cut_off(void)
{
	play_ept_violation();
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0x80000480);
	fake_vmcs_set(VMCS_IDT_VECTORING_ERROR, 0x77);
}

static void test_exit_information(void **state)
{
	(void)state;
	protected_mode();
	run_one(play_ept_violation);
	assert_int_equal(exit_info.kind, EXIT_NESTED_FAULT);
	assert_int_equal(exit_info.nested.gpa.v, 0xfee00000);
	assert_true(exit_info.nested.write);
	assert_int_equal(exit_info.interrupted.kind, EVENT_EXCEPTION);
	assert_int_equal(exit_info.interrupted.vector, VEC_PF);
	assert_true(exit_info.interrupted.has_error);
	assert_int_equal(exit_info.interrupted.error, 2);
	run_one(play_soft_int_cut_off);
	assert_int_equal(exit_info.interrupted.kind, EVENT_SOFT_INT);
	assert_int_equal(exit_info.interrupted.vector, 0x80);
	assert_int_equal(exit_info.interrupted.insn_len, 3);
	run_one(play_outs);
	assert_int_equal(exit_info.kind, EXIT_IO);
	assert_int_equal(exit_info.io.port, 0x3f8);
	assert_int_equal(exit_info.io.addr_size, 4);
	assert_int_equal(exit_info.io.seg, SEG_FS);
	vmx_machine.vmx.insn_info_io = false;
	run_one(play_outs);
	assert_int_equal(exit_info.io.addr_size, 0);
}

/* What the reason gives no meaning to is left over from another exit. */
static void play_left_over(void)
{
	set_exit(2, 0x1234);
	fake_vmcs_set(VMCS_EXIT_INTR_INFO, 0x5678);
	fake_vmcs_set(VMCS_EXIT_INSN_INFO, 0x9abc);
}

static void test_nothing_left_over(void **state)
{
	(void)state;
	run_one(play_left_over);
	assert_int_equal(exit_info.raw[0], 2);
	for (unsigned i = 1; i < VM_EXIT_RAW_WORDS; i++)
		assert_int_equal(exit_info.raw[i], 0);
}

static void play_task_gate(void)
{
	set_exit(9, 0x28 | UINT64_C(3) << 30);
	fake_vmcs_set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_RF);
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0x80000b0d);
	fake_vmcs_set(VMCS_IDT_VECTORING_ERROR, 0x18);
}

static void play_task_call(void)
{
	set_exit(9, 0x28);
	fake_vmcs_set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
}

static void test_task_switch_keeps_rf(void **state)
{
	(void)state;
	protected_mode();
	run_one(play_task_gate);
	assert_int_equal(exit_info.kind, EXIT_TASK_SWITCH);
	assert_true(exit_info.task.rf);
	assert_int_equal(exit_info.task.error, 0x18);
	run_one(play_task_call);
	assert_false(exit_info.task.rf);
}

static uint64_t task_source; /* exit qualification 31:30 */

static void play_task_switch(void)
{
	fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
	set_exit(9, task_source << 30 | 0x28);
}

/* An NMI's task ends with IRET, and with it the block; no other switch ends that. */
static void test_task_switch_unblocks_nmis(void **state)
{
	enum { CALL, IRET, JMP, GATE };

	(void)state;
	for (task_source = CALL; task_source <= GATE; task_source++) {
		run_one(play_task_switch);
		assert_int_equal(exit_info.kind, EXIT_TASK_SWITCH);
		assert_int_equal(get(REG_NMI_BLOCKED), task_source != IRET);
	}
}

/* --- the host's own exceptions --- */

static void play_nmi(void)
{
	exception(INTR_TYPE_NMI, VEC_NMI, 0);
}

static void play_machine_check(void)
{
	hardware_exception(VEC_MC, 0);
}

static void test_host_exceptions(void **state)
{
	(void)state;
	run_one(play_nmi);
	assert_int_equal(exit_info.kind, EXIT_NMI);
	assert_int_equal(fake_vmx.nmis, 1);
	run_one(play_machine_check);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_int_equal(fake_vmx.machine_checks, 1);
	assert_int_equal(fake_vmx.nmis, 1);
	run_one(play_intr);
	assert_int_equal(fake_vmx.nmis + fake_vmx.machine_checks, 2);
}

/* --- debug exceptions --- */

static void play_debug(void)
{
	hardware_exception(VEC_DB, BIT(1) | BIT(14) | BIT(12));
}

static void play_int1(void)
{
	exception(INTR_TYPE_PRIVILEGED_SOFT_EXCEPTION, VEC_DB, 0);
	fake_vmcs_set(VMCS_EXIT_INSN_LEN, 1);
}

/* The exit leaves DR6 as it was: SDM vol. 3, 27.1. Its B bits are those of now, BS and BD stay. */
static void test_debug_exception(void **state)
{
	(void)state;
	fake_cpu.dr6 = DR6_INIT | BIT(0) | BIT(13);
	run_one(play_debug);
	assert_int_equal(exit_info.kind, EXIT_EXCEPTION);
	assert_int_equal(exit_info.exception.vector, VEC_DB);
	assert_int_equal(get(REG_DR6), DR6_INIT | BIT(1) | BIT(13) | BIT(14));
	assert_int_equal(fake_cpu.dr6, DR6_INIT | BIT(1) | BIT(13) | BIT(14));
	/* INT1 is no debug exception, though it has its vector. */
	run_one(play_int1);
	assert_int_equal(exit_info.insn_len, 1);
	assert_int_equal(fake_cpu.dr6, DR6_INIT | BIT(1) | BIT(13) | BIT(14));
	assert_string_equal(fake_log, "");
}

/* --- injection --- */

static uint32_t want_info, want_error, want_len;

static void play_injected(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO), want_info);
	if (want_info & INTR_INFO_ERROR)
		assert_int_equal(fake_vmcs_get(VMCS_ENTRY_EXCEPTION_ERROR), want_error);
	if (want_len)
		assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INSN_LEN), want_len);
}

static void inject_as(struct vm_event ev, uint32_t info, uint32_t error, uint32_t len)
{
	want_info = info;
	want_error = error;
	want_len = len;
	vmx_backend.inject(&vcpu, &ev);
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_EXCEPTION));
	run_one(play_injected);
	/* Once. */
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_EXCEPTION));
	want_info &= ~INTR_INFO_VALID;
	run_one(play_injected);
	/* Asked for, and withdrawn. */
	vmx_backend.inject(&vcpu, &ev);
	vmx_backend.inject(&vcpu, &(struct vm_event){ .kind = EVENT_NONE });
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO) & INTR_INFO_VALID, 0);
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_EXCEPTION));
}

static const struct vm_event nmi = { .kind = EVENT_NMI, .vector = VEC_NMI };
static const struct vm_event gp = {
	.kind = EVENT_EXCEPTION, .vector = VEC_GP, .has_error = true, .error = 0x18
};
static const struct vm_event db = { .kind = EVENT_EXCEPTION, .vector = VEC_DB };
static const struct vm_event intr = { .kind = EVENT_INTR, .vector = 0x31 };

static void test_inject(void **state)
{
	(void)state;
	protected_mode();
	inject_as(intr, 0x80000031, 0, 0);
	inject_as(nmi, 0x80000202, 0, 0);
	inject_as(gp, 0x80000b0d, 0x18, 0);
	inject_as((struct vm_event){ .kind = EVENT_SOFT_INT, .vector = 0x80, .insn_len = 2 },
		  0x80000480, 0, 2);
	inject_as((struct vm_event){ .kind = EVENT_SOFT_EXC, .vector = VEC_BP, .insn_len = 1 },
		  0x80000603, 0, 1);
	inject_as((struct vm_event){ .kind = EVENT_SOFT_EXC, .vector = VEC_DB, .insn_len = 1 },
		  0x80000501, 0, 1);
}

/* Real mode pushes no error codes, and VM entry refuses them there: SDM vol. 3, 26.2.1.3. */
static void test_inject_in_real_mode(void **state)
{
	(void)state;
	inject_as(gp, 0x8000030d, 0, 0);
}

/* An INT n of unknown length is done again by the guest. */
static void test_inject_by_going_on(void **state)
{
	struct vm_event soft = { .kind = EVENT_SOFT_INT, .vector = 0x80 };

	(void)state;
	protected_mode();
	vmx_backend.inject(&vcpu, &soft);
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	want_info = 0;
	run_one(play_injected);
}

/* The processor clears GD when it raises #DB, not when VM entry delivers one. */
static void test_debug_exception_clears_gd(void **state)
{
	(void)state;
	protected_mode();
	vmx_set_reg(&vcpu, REG_DR7, DR7_INIT | BIT(13));
	vmx_backend.inject(&vcpu, &gp);
	run_one(play_intr);
	assert_int_equal(get(REG_DR7), DR7_INIT | BIT(13));
	vmx_backend.inject(&vcpu, &db);
	assert_int_equal(get(REG_DR7), DR7_INIT);
	run_one(play_intr);
}

/* --- what blocks them --- */

static void test_can_inject(void **state)
{
	(void)state;
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	assert_int_equal(get(REG_INTR_SHADOW), 1);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_STI);
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_EXCEPTION));
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), 0);
	vcpu.regs.rflags = RFLAGS_FIXED;
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	/* With IF clear there is no shadow of STI. */
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_MOV_SS);
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	vmx_set_reg(&vcpu, REG_NMI_BLOCKED, 1);
	assert_int_equal(get(REG_NMI_BLOCKED), 1);
	assert_int_equal(get(REG_INTR_SHADOW), 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
	assert_false(vmx_backend.can_inject(&vcpu, EVENT_NMI));
	vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IF;
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_INTR));
	vmx_set_reg(&vcpu, REG_NMI_BLOCKED, 0);
	assert_true(vmx_backend.can_inject(&vcpu, EVENT_NMI));
}

static void play_ends_in_shadow(void)
{
	fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI);
}

/* What the guest did to it is seen, and what any event does: it ends the shadow. */
static void test_shadow_of_the_guest(void **state)
{
	(void)state;
	protected_mode();
	run_one(play_ends_in_shadow);
	assert_int_equal(get(REG_INTR_SHADOW), 1);
	assert_int_equal(get(REG_NMI_BLOCKED), 1);
	vmx_backend.inject(&vcpu, &gp);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
	run_one(play_intr);
	/* One that was cut off is injected again, and makes its own block. */
	vmx_backend.inject(&vcpu, &nmi);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), 0);
	run_one(play_intr);
}

static void play_nothing_blocks(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

/* IF was cleared on the guest's behalf in STI's shadow. */
static void test_sti_shadow_without_if(void **state)
{
	(void)state;
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	vcpu.regs.rflags = RFLAGS_FIXED;
	run_one(play_nothing_blocks);
}

static uint64_t want_pending;

static void play_pending_debug(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PENDING_DEBUG), want_pending);
}

/* In a shadow BS must say whether TF is set; SDM vol. 3, 26.3.1.5. */
static void test_pending_debug(void **state)
{
	(void)state;
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	vcpu.regs.rflags |= RFLAGS_TF;
	want_pending = BIT(14);
	run_one(play_pending_debug);
	/* A breakpoint that waits stays; so it does when there is no shadow. */
	fake_vmcs_set(VMCS_GUEST_PENDING_DEBUG, BIT(14) | BIT(12) | BIT(2));
	vcpu.regs.rflags &= ~RFLAGS_TF;
	want_pending = BIT(12) | BIT(2);
	run_one(play_pending_debug);
	vmx_set_interruptibility(vv, 0);
	vcpu.regs.rflags |= RFLAGS_TF;
	run_one(play_pending_debug);
	vcpu.regs.rflags &= ~RFLAGS_TF;
	/* Whoever ends the shadow has done the instruction in it. */
	vmx_set_interruptibility(vv, INTERRUPTIBILITY_MOV_SS);
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PENDING_DEBUG), 0);
	/* As does an instruction that is stepped and was in none. */
	fake_vmcs_set(VMCS_GUEST_PENDING_DEBUG, BIT(14));
	vcpu.regs.rflags |= RFLAGS_TF;
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PENDING_DEBUG), 0);
	vcpu.regs.rflags &= ~RFLAGS_TF;
	fake_vmcs_set(VMCS_GUEST_PENDING_DEBUG, BIT(12));
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_PENDING_DEBUG), BIT(12));
}

/* --- NMIs and IRET --- */

static void play_iret_ept_violation(void)
{
	set_exit(VMX_EXIT_EPT_VIOLATION, BIT(0) | BIT(7) | BIT(8) | BIT(12));
	fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, 0);
}

static void play_delivery_ept_violation(void)
{
	play_iret_ept_violation();
	fake_vmcs_set(VMCS_IDT_VECTORING_INFO, 0x80000031);
}

static void play_plain_ept_violation(void)
{
	play_iret_ept_violation();
	set_exit(VMX_EXIT_EPT_VIOLATION, BIT(0) | BIT(7) | BIT(8));
}

static void play_iret_page_fault(void)
{
	hardware_exception(VEC_PF, 0xabc001);
	fake_vmcs_set(VMCS_EXIT_INTR_INFO,
		      fake_vmcs_get(VMCS_EXIT_INTR_INFO) | INTR_INFO_ERROR | BIT(12));
	fake_vmcs_set(VMCS_EXIT_INTR_ERROR, PF_W);
	fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, 0);
}

/* An IRET whose stack was not there is done again, and until then the NMI lasts: 27.2.3. */
static void test_iret_that_faults(void **state)
{
	(void)state;
	protected_mode();
	run_one(play_iret_ept_violation);
	assert_int_equal(get(REG_NMI_BLOCKED), 1);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
	/* That bit means nothing in the course of a delivery. */
	run_one(play_delivery_ept_violation);
	assert_int_equal(get(REG_NMI_BLOCKED), 0);
	run_one(play_plain_ept_violation);
	assert_int_equal(get(REG_NMI_BLOCKED), 0);
}

static void test_iret_that_page_faults(void **state)
{
	(void)state;
	protected_mode();
	run_one(play_iret_page_fault);
	assert_int_equal(exit_info.kind, EXIT_PAGE_FAULT);
	assert_int_equal(exit_info.page_fault.gva.v, 0xabc001);
	assert_int_equal(exit_info.page_fault.error, PF_W);
	assert_int_equal(get(REG_NMI_BLOCKED), 1);
	assert_int_equal(get(REG_DR6), DR6_INIT);
}

/* --- windows --- */

static uint32_t want_windows;

static void play_windows(void)
{
	assert_int_equal(fake_vmcs_get(VMCS_PROC_CONTROLS) &
				 (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW),
			 want_windows);
	set_exit(want_windows == PROC_NMI_WINDOW ? 8 : 7, 0);
}

static void test_windows(void **state)
{
	(void)state;
	vmx_backend.request_window(&vcpu, EVENT_INTR, true);
	want_windows = PROC_INTERRUPT_WINDOW;
	run_one(play_windows);
	assert_int_equal(exit_info.kind, EXIT_INTR_WINDOW);
	vmx_backend.request_window(&vcpu, EVENT_NMI, true);
	want_windows = PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW;
	run_one(play_windows);
	vmx_backend.request_window(&vcpu, EVENT_INTR, false);
	want_windows = PROC_NMI_WINDOW;
	run_one(play_windows);
	assert_int_equal(exit_info.kind, EXIT_NMI_WINDOW);
	vmx_backend.request_window(&vcpu, EVENT_NMI, false);
	want_windows = 0;
	run_one(play_windows);
}

static uint8_t *tpr_byte(void)
{
	return (uint8_t *)hpa_to_ptr(HPA(fake_vmcs_get(VMCS_VIRTUAL_APIC_ADDR))) + 0x80;
}

static void play_lower_cr8(void)
{
	assert_int_equal(*tpr_byte(), 0x90);
	assert_int_equal(fake_vmcs_get(VMCS_TPR_THRESHOLD), 6);
	*tpr_byte() = 0x30;
	set_exit(VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
}

/* The guest writes CR8 by itself; the core learns of it when it leaves, or is asked to. */
static void test_tpr_shadow(void **state)
{
	unsigned writes;

	(void)state;
	vmx_backend.set_reg(&vcpu, REG_CR8, 9);
	lapic_write_cr8(&vcpu.lapic, 9);
	vmx_backend.set_tpr_threshold(&vcpu, 6);
	run_one(play_lower_cr8);
	assert_int_equal(exit_info.kind, EXIT_INTR_WINDOW);
	assert_int_equal(get(REG_CR8), 3);
	assert_int_equal(vcpu.lapic.tpr, 0x30);
	/* Bits 3:0 that the local APIC has got otherwise stay, as long as CR8 does. */
	vcpu.lapic.tpr = 0x35;
	run_one(play_intr);
	assert_int_equal(vcpu.lapic.tpr, 0x35);
	writes = fake_vmcs_writes(VMCS_TPR_THRESHOLD);
	vmx_backend.set_tpr_threshold(&vcpu, 6);
	assert_int_equal(fake_vmcs_writes(VMCS_TPR_THRESHOLD), writes);
	vmx_backend.set_tpr_threshold(&vcpu, 0);
	assert_int_equal(fake_vmcs_get(VMCS_TPR_THRESHOLD), 0);
}

static int setup_no_tpr_shadow(void **state)
{
	(void)state;
	return setup_vm(~(uint32_t)VMX_FEATURE_TPR_SHADOW, NULL);
}

static void test_no_tpr_shadow(void **state)
{
	uint64_t proc = fake_vmcs_get(VMCS_PROC_CONTROLS);

	(void)state;
	assert_int_equal(proc & (PROC_CR8_LOAD | PROC_CR8_STORE | PROC_TPR_SHADOW),
			 PROC_CR8_LOAD | PROC_CR8_STORE);
	vmx_backend.set_tpr_threshold(&vcpu, 6);
	vmx_backend.set_reg(&vcpu, REG_CR8, 9);
	run_one(play_intr);
	assert_int_equal(get(REG_CR8), 9);
}

/* The window for NMIs may be open in STI's shadow, where none is delivered: with it the guest
 * would not come out of the shadow. */
static void test_nmi_window_after_sti(void **state)
{
	(void)state;
	vmx_backend.request_window(&vcpu, EVENT_NMI, true);
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	want_windows = PROC_INTERRUPT_WINDOW;
	run_one(play_windows);
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	want_windows = PROC_NMI_WINDOW;
	run_one(play_windows);
	vmx_set_interruptibility(vv, INTERRUPTIBILITY_MOV_SS);
	run_one(play_windows);
	vmx_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	vmx_backend.request_window(&vcpu, EVENT_NMI, false);
	want_windows = 0;
	run_one(play_windows);
}

/* --- the deadline --- */

static uint32_t want_ticks;

static void play_timer(void)
{
	assert_true(fake_vmcs_get(VMCS_PIN_CONTROLS) & PIN_PREEMPTION_TIMER);
	assert_int_equal(fake_vmcs_get(VMCS_PREEMPTION_TIMER), want_ticks);
	fake_cpu.tsc += want_ticks * 32; /* as the Haswell of fake_vmx.c counts */
	set_exit(52, 0);
}

static void deadline_gives(uint64_t tsc, uint32_t ticks, enum vm_exit_kind kind)
{
	vmx_backend.set_deadline(&vcpu, tsc);
	want_ticks = ticks;
	run_one(play_timer);
	assert_int_equal(exit_info.kind, kind);
}

static void test_deadline(void **state)
{
	(void)state;
	fake_cpu.tsc = 1000000;
	deadline_gives(0, UINT32_MAX, EXIT_INTR);
	fake_cpu.tsc = 1000000;
	deadline_gives(1003200, 100, EXIT_TIMER);
	fake_cpu.tsc = 1000000;
	deadline_gives(1003231, 100, EXIT_TIMER);
	fake_cpu.tsc = 1001600;
	deadline_gives(1003231, 50, EXIT_TIMER);
	deadline_gives(1000000, 0, EXIT_TIMER);
	deadline_gives(1, 0, EXIT_TIMER);
	deadline_gives(UINT64_MAX, UINT32_MAX, EXIT_INTR);
	deadline_gives(0, UINT32_MAX, EXIT_INTR);
}

/* With IF clear it is left every millisecond, of 1 GHz here; the core is told when its own time has
 * come. */
static void test_deaf(void **state)
{
	unsigned writes;

	(void)state;
	assert_int_equal(vmx_machine.deaf_ticks, 1000000 / 32);
	vcpu.regs.rflags = RFLAGS_FIXED;
	fake_cpu.tsc = 1000000;
	deadline_gives(0, 31250, EXIT_INTR);
	deadline_gives(4000000, 31250, EXIT_INTR);
	fake_cpu.tsc = 3996800;
	deadline_gives(4000000, 100, EXIT_TIMER);
	deadline_gives(0, 31250, EXIT_INTR);
	/* The field is written when it is to change. */
	writes = fake_vmcs_writes(VMCS_PREEMPTION_TIMER);
	deadline_gives(0, 31250, EXIT_INTR);
	assert_int_equal(fake_vmcs_writes(VMCS_PREEMPTION_TIMER), writes);
	vcpu.regs.rflags |= RFLAGS_IF;
	deadline_gives(0, UINT32_MAX, EXIT_INTR);
}

/* --- refusals --- */

static int setup_no_timer(void **state)
{
	(void)state;
	return setup_vm(~(uint32_t)VMX_FEATURE_PREEMPTION_TIMER, NULL);
}

/* A processor without the timer has no field for it either: fake_vmx.c sees who touches it. */
static void test_no_timer(void **state)
{
	(void)state;
	run_one(play_intr);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	/* Who waits for another with interrupts off leaves at each PAUSE. */
	vcpu.regs.rflags = RFLAGS_FIXED;
	run_one(play_intr);
	assert_false(fake_vmcs_get(VMCS_PROC_CONTROLS) & PROC_PAUSE);
	vm.nr_vcpus = 2;
	run_one(play_intr);
	assert_true(fake_vmcs_get(VMCS_PROC_CONTROLS) & PROC_PAUSE);
	vcpu.regs.rflags |= RFLAGS_IF;
	run_one(play_intr);
	assert_false(fake_vmcs_get(VMCS_PROC_CONTROLS) & PROC_PAUSE);
}

static void assert_logged(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("not logged: \"%s\", but: \"%s\"", text, fake_log);
}

static const play_fn no_plays[] = { play_intr, NULL };

/* What it was to deliver is not left for another time. */
static void test_instruction_fails(void **state)
{
	(void)state;
	protected_mode();
	vmx_backend.inject(&vcpu, &gp);
	instruction_error = 7;
	run_plays(no_plays, 0);
	assert_int_equal(exit_info.kind, EXIT_INVALID_STATE);
	assert_int_equal(exit_info.raw[0], 7);
	assert_int_equal(exit_info.interrupted.kind, EVENT_NONE);
	assert_logged("VM entry with invalid control field(s)");
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO), 0);
	assert_false(vv->launched);
	/* Its state is as it was: RIP and all. */
	assert_int_equal(vcpu.regs.rip, 0x1000);
	instruction_error = 0;
	run_one(play_intr);
	assert_false(entered_by_resume);
}

static void play_invalid_guest_state(void)
{
	set_exit(EXIT_REASON_ENTRY_FAILED | VMX_EXIT_INVALID_GUEST_STATE, 0);
}

static void test_guest_state_is_refused(void **state)
{
	(void)state;
	vmx_backend.inject(&vcpu, &intr);
	fake_vmcs_set(VMCS_LINK_POINTER, 0x123);
	entry_is_bad = true;
	run_one(play_invalid_guest_state);
	assert_int_equal(exit_info.kind, EXIT_INVALID_STATE);
	assert_logged("VM entry failed: invalid guest state");
	assert_logged("VMCS_LINK_POINTER");
	assert_int_equal(fake_vmcs_get(VMCS_ENTRY_INTR_INFO), 0);
	assert_int_equal(fake_vmx.machine_checks, 0);
	/* It was not launched. */
	fake_vmcs_set(VMCS_LINK_POINTER, UINT64_MAX);
	entry_is_bad = false;
	run_one(play_intr);
	assert_false(entered_by_resume);
}

static void play_machine_check_on_entry(void)
{
	set_exit(EXIT_REASON_ENTRY_FAILED | VMX_EXIT_MACHINE_CHECK_ON_ENTRY, 0);
}

static void test_machine_check_on_entry(void **state)
{
	(void)state;
	run_one(play_machine_check_on_entry);
	assert_int_equal(exit_info.kind, EXIT_INVALID_STATE);
	assert_int_equal(fake_vmx.machine_checks, 1);
}

/* --- two of them --- */

static uint64_t want_vmcs, want_rip;

static void play_other(void)
{
	assert_int_equal(fake_vmx.current->pa.v, want_vmcs);
	assert_int_equal(fake_vmcs_get(VMCS_GUEST_RIP), want_rip);
}

static void switch_to(struct vcpu *from, struct vcpu *to)
{
	static const play_fn plays[] = { play_other, NULL };

	vmx_backend.vcpu_put(from);
	vmx_backend.vcpu_load(to);
	want_vmcs = vmx_vcpu(to)->vmcs.v;
	want_rip = to->regs.rip;
	script = plays;
	entries = 0;
	vmx_backend.run(to, &exit_info);
	assert_int_equal(entries, 1);
}

static void test_two(void **state)
{
	struct vcpu other;
	unsigned loads;

	(void)state;
	run_one(play_intr);
	make_vcpu(&vm, &other);
	other.regs.rip = 0x2000;
	vmx_backend.set_root(&other, HPA(NESTED_ROOT), ROOT_NESTED);
	switch_to(&vcpu, &other);
	assert_false(entered_by_resume);
	assert_int_equal(vmx_vcpu(&other)->vpid, vv->vpid + 1);
	switch_to(&other, &vcpu);
	assert_true(entered_by_resume);
	/* Looking at one that is not on the CPU does not put it there. */
	assert_int_equal(vmx_backend.get_reg(&other, REG_DR7), DR7_INIT);
	loads = fake_vmx.vmptrlds;
	run_one(play_intr);
	assert_ptr_equal(entered_regs, &vcpu.regs);
	assert_int_equal(fake_vmx.vmptrlds, loads + 1);
	run_one(play_intr);
	assert_int_equal(fake_vmx.vmptrlds, loads + 1);
	/* The processor is told to let go of the memory of one that ends. */
	loads = fake_vmx.vmclears;
	vmx_backend.get_reg(&other, REG_DR7);
	vmx_backend.vcpu_destroy(&other);
	assert_null(other.hw);
	assert_int_equal(fake_vmx.vmclears, loads + 1);
	assert_null(fake_vmx.current);
	assert_int_equal(vmx_this_cpu()->current.v, 0);
	run_one(play_intr);
	assert_int_equal(vmx_this_cpu()->current.v, vv->vmcs.v);
}

/* The backend's entries for a vCPU whose VMCS is not the current one. */
static void use_each(struct vcpu *of)
{
	const struct vmm_backend *b = &vmx_backend;
	struct vm_event gp_event = gp;
	struct segment seg = { 0x10, 0x93, 0xffff, 0x100 };
	uint64_t pdpte[4];

#define FROM_ANOTHER(call)                                                                         \
	do {                                                                                       \
		vmx_use(&vcpu);                                                                    \
		call;                                                                              \
		assert_int_equal(fake_vmx.current->pa.v, vmx_vcpu(of)->vmcs.v);                    \
	} while (0)
	FROM_ANOTHER(b->get_reg(of, REG_DR7));
	FROM_ANOTHER(b->set_reg(of, REG_DR7, DR7_INIT));
	FROM_ANOTHER(b->get_seg(of, SEG_ES, &seg));
	FROM_ANOTHER(b->set_seg(of, SEG_ES, &seg));
	FROM_ANOTHER(b->inject(of, &gp_event));
	FROM_ANOTHER(b->request_window(of, EVENT_NMI, true));
	FROM_ANOTHER(b->set_intercept_exception(of, VEC_UD, true));
	FROM_ANOTHER(b->set_intercept_invlpg(of, true));
	FROM_ANOTHER(b->set_root(of, HPA(NESTED_ROOT), ROOT_NESTED));
	FROM_ANOTHER(b->get_pdptes(of, pdpte));
	FROM_ANOTHER(b->dump(of, &fake_log_printer));
	FROM_ANOTHER(b->vcpu_load(of));
#undef FROM_ANOTHER
}

static void test_whose_vmcs(void **state)
{
	struct vcpu other;
	struct vmcs_image before;

	(void)state;
	run_one(play_intr);
	make_vcpu(&vm, &other);
	vmx_backend.vcpu_put(&vcpu);
	vmx_use(&vcpu);
	before = fake_vmx.current->image;
	use_each(&other);
	vmx_use(&vcpu);
	assert_memory_equal(&before, &fake_vmx.current->image, sizeof(before));
	vmx_backend.vcpu_put(&other);
	vmx_backend.vcpu_destroy(&other);
	/* A VMCS that is not the current one can go as well. */
	assert_int_equal(vmx_this_cpu()->current.v, vv->vmcs.v);
	vmx_backend.vcpu_load(&vcpu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_plain_exit),
		TEST(test_launch_then_resume),
		TEST(test_interrupt_taken),
		TEST(test_exit_information),
		TEST(test_nothing_left_over),
		TEST(test_task_switch_keeps_rf),
		TEST(test_task_switch_unblocks_nmis),
		TEST(test_host_exceptions),
		TEST(test_debug_exception),
		TEST(test_inject),
		TEST(test_inject_in_real_mode),
		TEST(test_inject_by_going_on),
		TEST(test_debug_exception_clears_gd),
		TEST(test_can_inject),
		TEST(test_shadow_of_the_guest),
		TEST(test_sti_shadow_without_if),
		TEST(test_pending_debug),
		TEST(test_iret_that_faults),
		SHADOW(test_iret_that_page_faults),
		TEST(test_windows),
		TEST(test_tpr_shadow),
		cmocka_unit_test_setup_teardown(test_no_tpr_shadow, setup_no_tpr_shadow, teardown),
		TEST(test_nmi_window_after_sti),
		TEST(test_deadline),
		TEST(test_deaf),
		cmocka_unit_test_setup_teardown(test_no_timer, setup_no_timer, teardown),
		TEST(test_instruction_fails),
		TEST(test_guest_state_is_refused),
		TEST(test_machine_check_on_entry),
		TEST(test_two),
		TEST(test_whose_vmcs),
	};

	return cmocka_run_group_tests_name("vmx_run", tests, NULL, NULL);
}
