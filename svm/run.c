/* Into the guest and out again. */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/log.h"
#include "svm/exit.h"
#include "svm/insn.h"
#include "svm/state.h"
#include "svm/step.h"
#include "vmm/dr.h"
#include "vmm/vm.h"

/*
 * A breakpoint of the guest's that stands in Umbra's own image would be met on the way in or out,
 * and again in what handles that, without end: it is not armed. Nor is GD, which would stop the
 * host's own MOV to DR7; the guest's all exit.
 */
static uint64_t dr7_to_arm(const struct vcpu *vcpu, const struct vmcb *v)
{
	if (!svm_machine.arms_dr7 || !(v->dr7 & DR7_ENABLED))
		return 0;
	return dr_without(vcpu, v->dr7 & ~DR7_GD, svm_machine.image_start, svm_machine.image_end);
}

/* One entry and exit, with the registers that the VMCB holds carried over. */
static inline void enter_once(struct vcpu *vcpu, struct svm_vcpu *sv, struct vmcb *v)
{
	struct vcpu_regs *regs = &vcpu->regs;
	uint64_t dr7 = dr7_to_arm(vcpu, v), tpr = v->v_intr & V_TPR;
	bool may_lose = svm_machine.loses_interrupts && (v->v_intr & V_IRQ);

	if (sv->asid_generation != sv->cpu->asid_generation || sv->flush)
		svm_asid_renew(sv);
	/* Bochs: VMRUN does not load CR2; what the guest finds is what is there. */
	if (sv->cr2_changed) {
		svm_write_cr2(v->cr2);
		sv->cr2_changed = false;
	}
	v->rax = regs->gpr[RAX];
	v->rsp = regs->gpr[RSP];
	v->rip = regs->rip;
	v->rflags = regs->rflags;
	svm_last_look(vcpu);
	if (dr7 & DR7_ENABLED)
		write_dr7(dr7);
	svm_enter(regs, sv->vmcb_pa.v, sv->cpu->host_vmcb.v);
	if (dr7 & DR7_ENABLED)
		write_dr7(DR7_INIT);
	if (may_lose)
		lapic_show_pending();
	regs->gpr[RAX] = v->rax;
	regs->gpr[RSP] = v->rsp;
	regs->rip = v->rip;
	regs->rflags = v->rflags;
	/* What the guest, or a task switch that does not exit, may have changed. */
	sv->guest.cr0 = (sv->guest.cr0 & ~CR0_TS) | (v->cr0 & CR0_TS);
	if (!sv->shadow)
		sv->guest.cr3 = v->cr3;
	if ((v->v_intr & V_TPR) != tpr)
		lapic_write_cr8(&vcpu->lapic, v->v_intr & V_TPR);
	v->clean = svm_machine.clean_mask;
	v->tlb_control = TLB_CONTROL_NONE;
}

/*
 * QEMU: VMRUN forgets the VMCB's interrupt shadow. The guest has left at the very
 * instruction that stood in the shadow: put it back. True: the window was reported in
 * spite of the shadow, and that instruction has to run first. A processor that keeps
 * the shadow has it in the VMCB here already.
 */
static bool shadow_was_lost(struct vmcb *v)
{
	v->interrupt_shadow |= VMCB_INTERRUPT_SHADOW;
	return v->exit_code == SVM_EXIT_VINTR;
}

/*
 * Exits that are the backend's own affair. True: enter again. *kind: what to report in
 * place of what the exit code says, or EXIT_KINDS.
 */
static bool own_exit(struct vcpu *vcpu, bool shadow_lost, enum vm_exit_kind *kind)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	*kind = EXIT_KINDS;
	if (sv->step != STEP_NONE && svm_step_end(vcpu, kind))
		return true;
	if (*kind != EXIT_KINDS)
		return false;
	if (shadow_lost) {
		svm_step_begin(vcpu, STEP_SHADOW);
		return true;
	}
	if (sv->vmcb->exit_code == SVM_EXIT_IRET && sv->nmi_blocked) {
		svm_step_begin(vcpu, STEP_IRET);
		return true;
	}
	return false;
}

/*
 * QEMU, for CR0 and CR4, and Bochs: a VMRUN that is refused leaves the host's registers in the
 * VMCB; RIP is that of VMRUN itself. Both take away an event that was no valid one.
 */
static bool holds_host(const struct vmcb *v)
{
	return v->rip - (uintptr_t)svm_enter < SVM_ENTER_MAX;
}

/* VMRUN was refused, or so the exit code says. */
static void invalid_exit(const struct svm_vcpu *sv, struct vm_exit *exit)
{
	struct vmcb *v = sv->vmcb;
	const char *why = svm_check_vmcb(v, &svm_machine.limits);

	v->clean = 0;
	v->event_inj = 0;
	if (!why)
		why = sv->broken;
	if (!why && holds_host(v))
		why = "the VMCB is overwritten, what was wrong is lost";
	if (!why && !svm_machine.vague_cr3)
		why = "by none of the rules that are known";
	if (why) {
		log_err("SVM: VMRUN refused: %s", why);
		return;
	}
	exit->kind = EXIT_CR_WRITE;
	exit->cr.nr = 3;
	exit->cr.gpr = VM_EXIT_GPR_UNKNOWN;
	exit->cr.clts = false;
}

/* The word's other bit is the guest's RFLAGS.IF, where the processor writes it. */
static bool in_shadow(const struct vmcb *v)
{
	return v->interrupt_shadow & VMCB_INTERRUPT_SHADOW;
}

/* Is there an NMI that only an interrupt shadow keeps out? */
static bool nmi_waits_for_shadow(const struct svm_vcpu *sv)
{
	return sv->nmi_window && !sv->nmi_blocked;
}

/*
 * QEMU: task switches do not exit, and load the new task's CR3 in place of the shadow's root.
 * There the switch ends half way, with no tables to go on with.
 */
static void root_was_lost(struct vcpu *vcpu)
{
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0,
			"a task switch that did not exit has loaded cr3 0x%llx over the shadow's",
			(unsigned long long)svm_vcpu(vcpu)->vmcb->cr3);
}

#define DR6_CAUSES (BITS(3, 0) | BITS(15, 13))
#define DR7_TYPE(dr7, n) ((dr7) >> (16 + 4 * (n)) & 3) /* 0: of code */

/* The breakpoints of the guest's that are enabled, and, if asked for, stand at this address. */
static uint64_t enabled_breakpoints(const struct vcpu *vcpu, bool code, uint64_t at)
{
	const struct vmcb *v = svm_vcpu(vcpu)->vmcb;
	const uint64_t *hw = dr_hardware(vcpu);
	uint64_t hits = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (!(v->dr7 >> (2 * i) & 3) || (DR7_TYPE(v->dr7, i) == 0) != code)
			continue;
		if (!code || (vcpu->debug.on ? hw[i] : dr_read(vcpu, i)) == at)
			hits |= BIT(i);
	}
	return hits;
}

/* Bochs: #DB leaves before DR6 says why: it is what it can be. before: RFLAGS at the entry, as IRET
 * may have loaded others. */
static void explain_debug_exception(struct vcpu *vcpu, uint64_t before)
{
	struct vmcb *v = svm_vcpu(vcpu)->vmcb;
	uint64_t why = (v->rflags | before) & RFLAGS_TF ? DR6_BS : 0;

	if (v->dr6 & DR6_CAUSES)
		return;
	why |= enabled_breakpoints(vcpu, true, v->cs.base + v->rip);
	if (!why)
		why = enabled_breakpoints(vcpu, false, 0);
	vmcb_set_dr6(v, v->dr6 | why);
}

/*
 * Bochs: a guest that is entered with IF clear, and leaves it so, is not left for host interrupts,
 * by which it may have to answer for its translations. Each PAUSE with which it waits for another
 * vCPU exits, where there is no filter that looks after these.
 */
static void intercept_pause(const struct vcpu *vcpu, struct vmcb *v)
{
	if (!(svm_machine.features & SVM_FEATURE_PAUSE_FILTER) && vcpu->vm->nr_vcpus > 1)
		vmcb_set_intercept(v, INTERCEPT_PAUSE, !(vcpu->regs.rflags & RFLAGS_IF));
}

void svm_run(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;
	enum vm_exit_kind kind = EXIT_KINDS;

	for (;;) {
		bool shadow = in_shadow(v) && !(v->event_inj & EVENT_V), lost = false;
		uint64_t rip = vcpu->regs.rip, rflags;

		if (shadow && sv->step == STEP_NONE && nmi_waits_for_shadow(sv))
			svm_step_begin(vcpu, STEP_SHADOW);
		rflags = vcpu->regs.rflags;
		intercept_pause(vcpu, v);
		enter_once(vcpu, sv, v);
		if (svm_exit_is_invalid(v->exit_code))
			break;
		v->event_inj = 0;
		if (sv->soft_len)
			svm_undo_soft(vcpu);
		if (v->exit_code == SVM_EXIT_EXCEPTION + VEC_DB)
			explain_debug_exception(vcpu, rflags);
		if (shadow && vcpu->regs.rip == rip)
			lost = shadow_was_lost(v);
		if (sv->step == STEP_NONE && !lost && v->exit_code != SVM_EXIT_IRET)
			break;
		if (!own_exit(vcpu, lost, &kind))
			break;
	}
	svm_exit_decode(v, svm_machine.features, exit);
	if (kind != EXIT_KINDS)
		exit->kind = kind;
	if (exit->kind == EXIT_INVALID_STATE)
		invalid_exit(sv, exit);
	if (sv->shadow && v->cr3 != sv->root.v)
		root_was_lost(vcpu);
	if (exit->kind == EXIT_EXCEPTION && exit->exception.vector == VEC_MC) {
		svm_take_machine_check();
		exit->kind = EXIT_INTR;
	}
}
