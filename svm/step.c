#include "svm/step.h"

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "svm/event.h"
#include "svm/exit.h"

#define DR6_TRAPS BITS(3, 0) /* B0 to B3: a breakpoint of the guest's own */

void svm_step_begin(struct vcpu *vcpu, enum svm_step why)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;

	sv->step = why;
	sv->step_guest_tf = vcpu->regs.rflags & RFLAGS_TF;
	sv->step_rip = vcpu->regs.rip;
	sv->step_dr6 = v->dr6;
	vcpu->regs.rflags |= RFLAGS_TF;
	vmcb_set_exceptions(v, ~0u & ~(uint32_t)BIT(VEC_NMI));
	vmcb_set_intercept(v, INTERCEPT_IRET, false);
	if (why == STEP_SHADOW) {
		/* These two would save the step's TF where the guest sees it. */
		vmcb_set_intercept(v, INTERCEPT_PUSHF, true);
		vmcb_set_intercept(v, INTERCEPT_INTN, true);
		vmcb_set_intercept(v, INTERCEPT_VINTR, false);
		vmcb_set_v_intr(v, v->v_intr & ~V_IRQ);
	}
}

static void restore_intercepts(struct svm_vcpu *sv)
{
	struct vmcb *v = sv->vmcb;

	vmcb_set_exceptions(v, sv->exceptions);
	vmcb_set_intercept(v, INTERCEPT_PUSHF, false);
	svm_update_intn(sv);
	vmcb_set_intercept(v, INTERCEPT_VINTR, sv->intr_window);
	if (sv->intr_window)
		vmcb_set_v_intr(v, v->v_intr | V_IRQ);
	svm_update_iret(sv);
}

/* Is this #DB, which came with the step's trap, one that the guest has to see as well? */
static bool guest_debug_trap(struct svm_vcpu *sv)
{
	struct vmcb *v = sv->vmcb;

	if (sv->step_guest_tf)
		return true;
	vmcb_set_dr6(v, (v->dr6 & ~DR6_BS) | (sv->step_dr6 & DR6_BS));
	return (v->dr6 & ~sv->step_dr6) & DR6_TRAPS;
}

/*
 * Hand an exception that was intercepted only for the step on to the guest. False: the
 * exit is something else.
 */
static bool pass_exception(struct svm_vcpu *sv)
{
	struct vmcb *v = sv->vmcb;
	uint64_t vector = v->exit_code - SVM_EXIT_EXCEPTION;
	struct vm_event ev = { .kind = EVENT_EXCEPTION,
			       .vector = (uint8_t)vector,
			       .has_error = vector < 32 && fault_has_error((unsigned)vector),
			       .error = (uint32_t)v->exit_info1 };

	if (vector >= 32 || (sv->exceptions >> vector & 1))
		return false;
	/* INT3 and INTO: RIP is still at the instruction, which runs again. */
	if (vector == VEC_BP || vector == VEC_OF)
		return true;
	if (vector == VEC_PF) {
		vmcb_set_cr2(v, v->exit_info2);
		sv->cr2_changed = true;
	}
	v->event_inj = svm_event_encode(&ev, v->cr0 & CR0_PE);
	return true;
}

/* The window that the core waits for and that is open now; EXIT_KINDS: none. */
static enum vm_exit_kind open_window(const struct vcpu *vcpu)
{
	const struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (sv->nmi_window && svm_can_inject(vcpu, EVENT_NMI))
		return EXIT_NMI_WINDOW;
	if (sv->intr_window && svm_can_inject(vcpu, EVENT_INTR))
		return EXIT_INTR_WINDOW;
	return EXIT_KINDS;
}

bool svm_step_end(struct vcpu *vcpu, enum vm_exit_kind *kind)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;
	enum svm_step why = sv->step;
	uint64_t code = v->exit_code;
	bool trapped = code == SVM_EXIT_EXCEPTION + VEC_DB;
	/* An IRET that switches tasks leaves before it is done; the core does the rest. */
	bool task_iret = code == SVM_EXIT_TASK_SWITCH && (v->exit_info2 & SVM_TASK_IRET);
	bool done = trapped || vcpu->regs.rip != sv->step_rip;

	*kind = EXIT_KINDS;
	sv->step = STEP_NONE;
	if ((done || task_iret) && why == STEP_IRET)
		sv->nmi_blocked = false;
	restore_intercepts(sv);
	/* IRET has loaded the guest's own TF; anything else left the step's. */
	if (!sv->step_guest_tf && !(done && why == STEP_IRET))
		vcpu->regs.rflags &= ~RFLAGS_TF;
	if (trapped && guest_debug_trap(sv))
		return false;
	if (why == STEP_SHADOW && (code == SVM_EXIT_PUSHF || code == SVM_EXIT_SWINT))
		v->interrupt_shadow = 0; /* a window before this instruction is as good */
	else if (!trapped)
		return pass_exception(sv);
	*kind = open_window(vcpu);
	return *kind == EXIT_KINDS;
}
