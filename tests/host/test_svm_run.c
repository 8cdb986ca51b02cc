/* The SVM backend around VMRUN: exits, events and steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "svm/exit.h"
#include "svm/perm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fakes.h"
#include "tests/host/svm_fixture.h"

/* --- plays --- */

static void play_cpuid(struct vmcb *p)
{
	assert_int_equal(p->rax, 0x11);
	assert_int_equal(p->rsp, 0x22);
	assert_int_equal(p->rip, 0x1000);
	p->exit_code = 0x72;
	p->rax = p->cr3 = 0x33; /* no intercept tells of CR3 */
	p->rsp = 0x44;
	p->rip = 0x1002;
	p->rflags = RFLAGS_FIXED;
}

static void play_intr(struct vmcb *p)
{
	p->exit_code = SVM_EXIT_INTR;
}

static void play_vintr(struct vmcb *p)
{
	assert_true(p->v_intr & V_IRQ);
	assert_true(vmcb_intercepts(p, INTERCEPT_VINTR));
	p->exit_code = SVM_EXIT_VINTR;
}

static void play_iret_intercept(struct vmcb *p)
{
	assert_true(vmcb_intercepts(p, INTERCEPT_IRET));
	p->exit_code = SVM_EXIT_IRET;
}

/* The stepped instruction is an IRET: TF must be set, IRET must run, #DB follows. */
static void play_step_over_iret(struct vmcb *p)
{
	assert_true(p->rflags & RFLAGS_TF);
	assert_false(vmcb_intercepts(p, INTERCEPT_IRET));
	assert_true(vmcb_intercepts(p, INTERCEPT_EXCEPTION + VEC_DB));
	p->rip = 0x2000;
	p->rflags = RFLAGS_FIXED | RFLAGS_IF; /* as popped */
	p->dr6 |= DR6_BS;
	p->exit_code = SVM_EXIT_EXCEPTION + VEC_DB;
}

static void play_iret_faults(struct vmcb *p)
{
	assert_true(p->rflags & RFLAGS_TF);
	p->exit_code = SVM_EXIT_EXCEPTION + VEC_GP;
	p->exit_info1 = 0x18;
}

static void play_iret_switches_tasks(struct vmcb *p)
{
	assert_true(p->rflags & RFLAGS_TF);
	p->exit_code = SVM_EXIT_TASK_SWITCH;
	p->exit_info1 = 0x20;
	p->exit_info2 = SVM_TASK_IRET;
}

static void play_gp_delivered(struct vmcb *p)
{
	assert_int_equal(p->event_inj, 0x0000001880000b0d);
	assert_false(p->rflags & RFLAGS_TF);
	p->exit_code = SVM_EXIT_INTR;
}

/* --- tests --- */

static void test_reset_state(void **state)
{
	struct segment seg;

	(void)state;
	svm_backend.get_seg(&vcpu, SEG_CS, &seg);
	assert_int_equal(seg.selector, 0xf000);
	assert_int_equal(seg.base, 0xffff0000);
	assert_int_equal(seg.limit, 0xffff);
	assert_int_equal(seg.attr, 0x9b);
	svm_backend.get_seg(&vcpu, SEG_IDTR, &seg);
	assert_int_equal(seg.limit, 0xffff);
	svm_backend.get_seg(&vcpu, SEG_TR, &seg);
	assert_int_equal(seg.attr, 0x8b);
	assert_int_equal(svm_get_reg(&vcpu, REG_DR6), DR6_INIT);
	assert_int_equal(svm_get_reg(&vcpu, REG_DR7), DR7_INIT);
	assert_int_equal(svm_get_reg(&vcpu, REG_PAT), PAT_RESET);
	assert_int_equal(svm_get_reg(&vcpu, REG_EFER), 0);
	assert_int_equal(svm_get_reg(&vcpu, REG_CPL), 0);
	/* Everything but the ASID, which the first entry gives, is as VMRUN wants it. */
	assert_string_equal(svm_check_vmcb(v, &svm_machine.limits), "ASID is zero");
}

static void test_plain_exit(void **state)
{
	static const play_fn plays[] = { play_cpuid, NULL };

	(void)state;
	vcpu.regs.gpr[RAX] = 0x11;
	vcpu.regs.gpr[RSP] = 0x22;
	run(plays, 1);
	assert_ptr_equal(entered_regs, &vcpu.regs);
	assert_int_equal(exit_info.kind, EXIT_CPUID);
	assert_int_equal(vcpu.regs.gpr[RAX], 0x33);
	assert_int_equal(vcpu.regs.gpr[RSP], 0x44);
	assert_int_equal(vcpu.regs.rip, 0x1002);
	assert_int_equal(vcpu.regs.rflags, RFLAGS_FIXED);
}

static uint32_t seen_asid[16];
static uint8_t seen_tlb[16];

static void play_note_asid(struct vmcb *p)
{
	seen_asid[entries - 1] = p->asid;
	seen_tlb[entries - 1] = p->tlb_control;
	p->exit_code = SVM_EXIT_INTR;
}

/* One run; the ASID and TLB_CONTROL it was entered with. */
static void run_noting(unsigned *asid, unsigned *tlb)
{
	static const play_fn plays[] = { play_note_asid, NULL };

	run(plays, 1);
	*asid = seen_asid[0];
	*tlb = seen_tlb[0];
	assert_int_equal(v->tlb_control, TLB_CONTROL_NONE);
}

static void test_asids(void **state)
{
	unsigned asid, tlb;

	(void)state;
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 1);
	assert_int_equal(tlb, TLB_CONTROL_NONE);
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 1);
	/* Without flush-by-ASID each flush is another ASID, until they run out. */
	svm_backend.flush(&vcpu, FLUSH_GUEST);
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 2);
	assert_int_equal(tlb, TLB_CONTROL_NONE);
	svm_backend.flush(&vcpu, FLUSH_GUEST);
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 3);
	svm_backend.flush(&vcpu, FLUSH_GUEST);
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 1);
	assert_int_equal(tlb, TLB_CONTROL_FLUSH_ALL);
	/* Another vCPU of this CPU began a new generation: ours is stale. */
	cpu.asid_generation++;
	cpu.next_asid = 2;
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 2);
	assert_int_equal(tlb, TLB_CONTROL_NONE);
	/* With it the ASID stays. */
	svm_machine.features |= SVM_FEATURE_FLUSH_BY_ASID;
	svm_backend.flush(&vcpu, FLUSH_GUEST);
	run_noting(&asid, &tlb);
	assert_int_equal(asid, 2);
	assert_int_equal(tlb, TLB_CONTROL_FLUSH_ASID);
}

static uint32_t seen_clean;

static void play_note_clean(struct vmcb *p)
{
	seen_clean = p->clean;
	p->exit_code = SVM_EXIT_INTR;
}

static void test_clean_bits_over_runs(void **state)
{
	static const play_fn plays[] = { play_note_clean, NULL };

	(void)state;
	run(plays, 1);
	run(plays, 1);
	assert_int_equal(seen_clean, 0);
	svm_machine.clean_mask = CLEAN_ALL;
	run(plays, 1);
	run(plays, 1);
	assert_int_equal(seen_clean, CLEAN_ALL);
	svm_set_reg(&vcpu, REG_CR2, 1);
	svm_backend.set_intercept_io(&vm, 0x80, 1, false);
	run(plays, 1);
	assert_int_equal(seen_clean, CLEAN_ALL & ~(CLEAN_CR2 | CLEAN_IOPM));
	/* What was refused may have been cached in part. */
	v->clean = CLEAN_ALL;
	vmcb_set_intercept(v, INTERCEPT_VMRUN, false);
	assert_int_equal(v->clean, CLEAN_ALL & ~CLEAN_I);
}

/* QEMU: a task switch has run by itself. */
static void play_task_switch(struct vmcb *p)
{
	p->cr3 = 0x105000;
	p->cr0 |= CR0_TS;
	p->exit_code = SVM_EXIT_INTR;
}

static void test_shadow_root_lost(void **state)
{
	static const play_fn plays[] = { play_intr, play_task_switch, NULL };

	(void)state;
	svm_backend.set_root(&vcpu, HPA(0x7000), ROOT_SHADOW);
	script = plays;
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
	svm_backend.run(&vcpu, &exit_info);
	assert_int_equal(vm.stop_reason, VM_STOP_ERROR);
	assert_non_null(strstr(vm.stop_text, "cr3 0x105000"));
}

static void test_task_switched_is_seen(void **state)
{
	static const play_fn plays[] = { play_task_switch, NULL };

	(void)state;
	run(plays, 1);
	assert_int_equal(vcpu_hot_reg(&vcpu, REG_CR0), CR0_PE | CR0_ET | CR0_TS);
	svm_set_reg(&vcpu, REG_CR4, CR4_PAE);
	assert_true(v->cr0 & CR0_TS);
	svm_set_reg(&vcpu, REG_CR0, CR0_PE);
	assert_false(v->cr0 & CR0_TS);
	assert_int_equal(vm.stop_reason, VM_STOP_NONE);
}

/* #PF in a step is not the guest's, as the shadow may lack an entry. */
static void play_page_fault(struct vmcb *p)
{
	p->exit_code = SVM_EXIT_EXCEPTION + VEC_PF;
	p->exit_info1 = PF_W;
	p->exit_info2 = 0xabc000;
}

static void test_shadow_fault_in_a_step(void **state)
{
	static const play_fn plays[] = { play_page_fault, NULL };

	(void)state;
	svm_request_window(&vcpu, EVENT_NMI, true);
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	run(plays, 1);
	assert_int_equal(exit_info.kind, EXIT_PAGE_FAULT);
	assert_int_equal(exit_info.page_fault.gva.v, 0xabc000);
	assert_int_equal(svm_get_reg(&vcpu, REG_INTR_SHADOW), 1);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
}

static void test_exceptions(void **state)
{
	(void)state;
	svm_backend.set_intercept_exception(&vcpu, VEC_UD, true);
	assert_true(vmcb_intercepts(v, INTERCEPT_EXCEPTION + VEC_UD));
	svm_backend.set_intercept_exception(&vcpu, VEC_UD, false);
	svm_backend.set_intercept_exception(&vcpu, VEC_DB, false);
	/* A guest must not be able to loop in the delivery of these: never off. */
	assert_int_equal(v->intercept[INTERCEPT_EXCEPTION_WORD],
			 BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC));
}

static void test_windows(void **state)
{
	static const play_fn plays[] = { play_vintr, NULL };
	struct vm_event ud = { .kind = EVENT_EXCEPTION, .vector = VEC_UD };

	(void)state;
	assert_true(svm_can_inject(&vcpu, EVENT_INTR));
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	assert_false(svm_can_inject(&vcpu, EVENT_INTR));
	assert_false(svm_can_inject(&vcpu, EVENT_NMI));
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 0);
	vcpu.regs.rflags = RFLAGS_FIXED;
	assert_false(svm_can_inject(&vcpu, EVENT_INTR));
	assert_true(svm_can_inject(&vcpu, EVENT_NMI));
	svm_inject(&vcpu, &ud);
	svm_inject(&vcpu, &(struct vm_event){ .kind = EVENT_NONE }); /* withdrawn */
	assert_int_equal(v->event_inj, 0);
	svm_inject(&vcpu, &ud);
	assert_int_equal(v->event_inj, 0x80000306);
	assert_false(svm_can_inject(&vcpu, EVENT_NMI));
	v->event_inj = 0;

	svm_request_window(&vcpu, EVENT_INTR, true);
	run(plays, 1);
	assert_int_equal(exit_info.kind, EXIT_INTR_WINDOW);
	svm_request_window(&vcpu, EVENT_INTR, false);
	assert_false(v->v_intr & V_IRQ);
	assert_false(vmcb_intercepts(v, INTERCEPT_VINTR));
	assert_true(v->v_intr & V_INTR_MASKING);
}

/* QEMU loses what comes just when VMRUN takes note of V_IRQ; the APIC still has it. */
static void play_pause(struct vmcb *p)
{
	assert_true(vmcb_intercepts(p, INTERCEPT_PAUSE));
	p->exit_code = 0x77; /* PAUSE */
}

static void play_intr_no_pause(struct vmcb *p)
{
	assert_false(vmcb_intercepts(p, INTERCEPT_PAUSE));
	p->exit_code = SVM_EXIT_INTR;
}

/* Without a filter, who waits with IF clear for another vCPU is left at its PAUSEs. */
static void test_pause(void **state)
{
	(void)state;
	vcpu.regs.rflags = RFLAGS_FIXED;
	run((play_fn[]){ play_intr_no_pause, NULL }, 1); /* it is alone */
	vm.nr_vcpus = 2;
	run((play_fn[]){ play_pause, NULL }, 1);
	assert_int_equal(exit_info.kind, EXIT_PAUSE);
	assert_int_equal(vcpu.pauses_borne, 64);
	vcpu.regs.rflags |= RFLAGS_IF;
	run((play_fn[]){ play_intr_no_pause, NULL }, 1);
	svm_machine.features |= SVM_FEATURE_PAUSE_FILTER;
	vmcb_set_intercept(v, INTERCEPT_PAUSE, true);
	run((play_fn[]){ play_pause, NULL }, 1);
}

static void test_lost_interrupt(void **state)
{
	const play_fn plays[] = { play_intr };

	(void)state;
	fake_lapic_shown = 0;
	svm_request_window(&vcpu, EVENT_INTR, true);
	run(plays, 1);
	assert_int_equal(fake_lapic_shown, 0);
	svm_machine.loses_interrupts = true;
	run(plays, 1);
	assert_int_equal(fake_lapic_shown, 1);
	svm_request_window(&vcpu, EVENT_INTR, false);
	run(plays, 1);
	assert_int_equal(fake_lapic_shown, 1);
}

static void play_write_cr8(struct vmcb *p)
{
	assert_false(vmcb_intercepts(p, INTERCEPT_CR_WRITE + 8));
	p->v_intr = (p->v_intr & ~V_TPR) | 11;
	p->exit_code = SVM_EXIT_INTR;
}

/* CR8 is the guest's to write unless somebody waits: for it, or for a window. */
static void test_cr8(void **state)
{
	static const play_fn plays[] = { play_write_cr8, NULL };

	(void)state;
	vcpu.lapic.tpr = 0x05; /* the lower half is not CR8's */
	svm_set_reg(&vcpu, REG_CR8, 0);
	run(plays, 1);
	assert_int_equal(svm_get_reg(&vcpu, REG_CR8), 11);
	assert_int_equal(vcpu.lapic.tpr, 0xb0);
	vcpu.lapic.tpr = 0xb5;
	run(plays, 1);
	assert_int_equal(vcpu.lapic.tpr, 0xb5);
	svm_backend.set_tpr_threshold(&vcpu, 7);
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_WRITE + 8));
	svm_request_window(&vcpu, EVENT_INTR, true);
	svm_backend.set_tpr_threshold(&vcpu, 0);
	assert_true(vmcb_intercepts(v, INTERCEPT_CR_WRITE + 8));
	svm_request_window(&vcpu, EVENT_INTR, false);
	run(plays, 1);
}

/* The delivery finds no page for its stack. */
static void play_int3_cut_off(struct vmcb *p)
{
	assert_int_equal(p->event_inj, 0x80000303);
	assert_int_equal(p->rip, 0x2001);
	p->exit_int_info = p->event_inj;
	p->exit_code = SVM_EXIT_NPF;
}

static void play_int_delivered(struct vmcb *p)
{
	assert_int_equal(p->event_inj, 0x80000480);
	assert_int_equal(p->rip, 0x2002);
	p->rip = 0x3000;
	p->exit_int_info = 0;
	p->exit_code = 0x78;
}

/* Instructions' events, while a debugger has the instructions themselves exit. */
static void test_software_events(void **state)
{
	static const play_fn cut_off[] = { play_int3_cut_off, NULL };
	static const play_fn delivered[] = { play_int_delivered, NULL };
	struct vm_event int3 = { .kind = EVENT_SOFT_EXC, .vector = VEC_BP, .insn_len = 1 };
	struct vm_event int80 = { .kind = EVENT_SOFT_INT, .vector = 0x80, .insn_len = 2 };

	(void)state;
	vcpu.regs.rip = 0x2000;
	svm_inject(&vcpu, &int3);
	assert_int_equal(v->event_inj, 0);
	assert_int_equal(vcpu.regs.rip, 0x2000);

	svm_backend.set_intercept_exception(&vcpu, VEC_BP, true);
	assert_true(vmcb_intercepts(v, INTERCEPT_INTN));
	svm_inject(&vcpu, &int3);
	run(cut_off, 1);
	assert_int_equal(vcpu.regs.rip, 0x2000);
	assert_int_equal(exit_info.interrupted.kind, EVENT_SOFT_EXC);
	svm_inject(&vcpu, &int80);
	run(delivered, 1);
	assert_int_equal(vcpu.regs.rip, 0x3000);
	svm_backend.set_intercept_exception(&vcpu, VEC_BP, false);
	assert_false(vmcb_intercepts(v, INTERCEPT_INTN));
}

static void inject_nmi(void)
{
	static const play_fn plays[] = { play_intr, NULL };
	struct vm_event nmi = { .kind = EVENT_NMI, .vector = VEC_NMI };

	svm_inject(&vcpu, &nmi);
	assert_int_equal(v->event_inj, 0x80000202);
	run(plays, 1);
	assert_false(svm_can_inject(&vcpu, EVENT_NMI));
	assert_true(svm_can_inject(&vcpu, EVENT_INTR));
}

static void test_nmi_until_iret(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_step_over_iret, play_intr,
					 NULL };

	(void)state;
	inject_nmi();
	/* Nobody waits: the guest just goes on after its IRET. */
	run(plays, 3);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_int_equal(vcpu.regs.rip, 0x2000);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	assert_false(svm_get_reg(&vcpu, REG_DR6) & DR6_BS);
	assert_false(vmcb_intercepts(v, INTERCEPT_IRET));
	assert_true(svm_can_inject(&vcpu, EVENT_NMI));
}

/* An NMI's handler that is a task of its own ends with an IRET that the core emulates. */
static void test_nmi_task(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_iret_switches_tasks, NULL };

	(void)state;
	inject_nmi();
	run(plays, 2);
	assert_int_equal(exit_info.kind, EXIT_TASK_SWITCH);
	assert_true(exit_info.task.iret);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	assert_true(svm_can_inject(&vcpu, EVENT_NMI));
}

static void test_nmi_window(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_step_over_iret, NULL };
	static const play_fn at_iret[] = { play_iret_intercept, NULL };

	(void)state;
	inject_nmi();
	svm_request_window(&vcpu, EVENT_NMI, true);
	run(plays, 2);
	assert_int_equal(exit_info.kind, EXIT_NMI_WINDOW);
	assert_true(svm_can_inject(&vcpu, EVENT_NMI));
	/* Still wanted and not blocked: the next IRET is as good a moment as any. */
	run(at_iret, 1);
	assert_int_equal(exit_info.kind, EXIT_NMI_WINDOW);
	svm_request_window(&vcpu, EVENT_NMI, false);
	assert_false(vmcb_intercepts(v, INTERCEPT_IRET));
}

static void test_iret_that_faults(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_iret_faults, play_gp_delivered,
					 NULL };

	(void)state;
	inject_nmi();
	run(plays, 3);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	/* That IRET did not end the NMI. */
	assert_false(svm_can_inject(&vcpu, EVENT_NMI));
	assert_true(vmcb_intercepts(v, INTERCEPT_IRET));
}

static void test_interrupt_before_iret(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_intr, NULL };

	(void)state;
	inject_nmi();
	run(plays, 2);
	assert_int_equal(exit_info.kind, EXIT_INTR);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	assert_true(vmcb_intercepts(v, INTERCEPT_IRET));
	assert_false(svm_can_inject(&vcpu, EVENT_NMI));
}

static void test_guest_that_steps_itself(void **state)
{
	static const play_fn plays[] = { play_iret_intercept, play_step_over_iret, NULL };

	(void)state;
	inject_nmi();
	vcpu.regs.rflags |= RFLAGS_TF;
	run(plays, 2);
	/* Its own trap is reported, BS in place. */
	assert_int_equal(exit_info.kind, EXIT_EXCEPTION);
	assert_int_equal(exit_info.exception.vector, VEC_DB);
	assert_true(svm_get_reg(&vcpu, REG_DR6) & DR6_BS);
	assert_true(svm_can_inject(&vcpu, EVENT_NMI));
}

/* QEMU: VMRUN forgets the shadow, the VMCB's too. */
static void play_lost_shadow(struct vmcb *p)
{
	play_vintr(p);
	p->interrupt_shadow = 0;
}

static void play_hlt_in_step(struct vmcb *p)
{
	assert_true(p->rflags & RFLAGS_TF);
	assert_false(p->v_intr & V_IRQ);
	assert_int_equal(p->interrupt_shadow, 1);
	p->exit_code = 0x78;
	p->interrupt_shadow = 0;
}

static void play_nop_in_step(struct vmcb *p)
{
	assert_true(p->rflags & RFLAGS_TF);
	p->rip = 0x1001;
	p->interrupt_shadow = 0;
	p->dr6 |= DR6_BS;
	p->exit_code = SVM_EXIT_EXCEPTION + VEC_DB;
}

static void play_pushf_in_step(struct vmcb *p)
{
	assert_true(vmcb_intercepts(p, INTERCEPT_PUSHF));
	p->exit_code = SVM_EXIT_PUSHF;
}

static void test_shadow_lost_before_hlt(void **state)
{
	static const play_fn plays[] = { play_lost_shadow, play_hlt_in_step, NULL };

	(void)state;
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	svm_request_window(&vcpu, EVENT_INTR, true);
	run(plays, 2);
	/* STI; HLT is not split: the guest halts, then the interrupt wakes it. */
	assert_int_equal(exit_info.kind, EXIT_HLT);
	assert_int_equal(svm_get_reg(&vcpu, REG_INTR_SHADOW), 1);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
	assert_true(v->v_intr & V_IRQ);
}

static void test_shadow_lost_before_nop(void **state)
{
	static const play_fn plays[] = { play_lost_shadow, play_nop_in_step, NULL };

	(void)state;
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	svm_request_window(&vcpu, EVENT_INTR, true);
	run(plays, 2);
	assert_int_equal(exit_info.kind, EXIT_INTR_WINDOW);
	assert_int_equal(vcpu.regs.rip, 0x1001);
	assert_true(svm_can_inject(&vcpu, EVENT_INTR));
}

static void test_shadow_lost_before_pushf(void **state)
{
	static const play_fn plays[] = { play_lost_shadow, play_pushf_in_step, NULL };

	(void)state;
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	svm_request_window(&vcpu, EVENT_INTR, true);
	run(plays, 2);
	assert_int_equal(exit_info.kind, EXIT_INTR_WINDOW);
	assert_false(vcpu.regs.rflags & RFLAGS_TF);
}

static void test_nmi_in_shadow(void **state)
{
	static const play_fn plays[] = { play_nop_in_step, NULL };

	(void)state;
	svm_set_reg(&vcpu, REG_INTR_SHADOW, 1);
	svm_request_window(&vcpu, EVENT_NMI, true);
	run(plays, 1);
	assert_int_equal(exit_info.kind, EXIT_NMI_WINDOW);
}

static void test_no_memory(void **state)
{
	struct vm other = { 0 };
	struct vcpu none = { .vm = &vm };
	uint64_t used = fake_frame_bytes;

	(void)state;
	fake_frame_limit = used;
	assert_int_equal(svm_backend.vm_init(&other), -12);
	assert_null(other.hw);
	assert_int_equal(svm_backend.vcpu_init(&none), -12);
	/* Enough for the I/O map and not for the MSR map. */
	fake_frame_limit = used + 4 * PAGE_SIZE;
	assert_int_equal(svm_backend.vm_init(&other), -12);
	assert_int_equal(fake_frame_bytes, used);
	fake_frame_limit = UINT64_MAX;
}

/* 068h has a second bit, the guest's RFLAGS.IF, which is no shadow. APM vol. 2, table B-1. */
#define VMCB_GUEST_INTERRUPT_MASK BIT(1)

static void play_nothing_done(struct vmcb *p)
{
	assert_false(p->rflags & RFLAGS_TF);
	p->interrupt_shadow = VMCB_GUEST_INTERRUPT_MASK;
	p->exit_code = SVM_EXIT_INTR;
}

static void test_other_bit_is_no_shadow(void **state)
{
	static const play_fn plays[] = { play_nothing_done, NULL };

	(void)state;
	v->interrupt_shadow = VMCB_GUEST_INTERRUPT_MASK;
	svm_request_window(&vcpu, EVENT_NMI, true);
	run(plays, 1);
	assert_int_equal(svm_get_reg(&vcpu, REG_INTR_SHADOW), 0);
	assert_true(svm_can_inject(&vcpu, EVENT_INTR));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define SHADOW(fn) cmocka_unit_test_setup_teardown(fn, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_state),
		TEST(test_plain_exit),
		TEST(test_asids),
		TEST(test_cr8),
		TEST(test_clean_bits_over_runs),
		SHADOW(test_shadow_fault_in_a_step),
		SHADOW(test_shadow_root_lost),
		TEST(test_task_switched_is_seen),
		TEST(test_exceptions),
		TEST(test_software_events),
		TEST(test_windows),
		TEST(test_pause),
		TEST(test_lost_interrupt),
		TEST(test_nmi_until_iret),
		TEST(test_nmi_window),
		TEST(test_iret_that_faults),
		TEST(test_interrupt_before_iret),
		TEST(test_guest_that_steps_itself),
		TEST(test_nmi_task),
		TEST(test_shadow_lost_before_hlt),
		TEST(test_shadow_lost_before_nop),
		TEST(test_shadow_lost_before_pushf),
		TEST(test_nmi_in_shadow),
		TEST(test_other_bit_is_no_shadow),
		TEST(test_no_memory),
	};

	return cmocka_run_group_tests_name("svm_run", tests, NULL, NULL);
}
