/* Events into the guest, and the windows for them. */
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "svm/event.h"
#include "svm/state.h"

bool svm_can_inject(const struct vcpu *vcpu, enum vm_event_kind kind)
{
	const struct svm_vcpu *sv = svm_vcpu(vcpu);
	const struct vmcb *v = sv->vmcb;

	if (v->event_inj & EVENT_V)
		return false;
	switch (kind) {
	case EVENT_INTR:
		return (vcpu->regs.rflags & RFLAGS_IF) &&
		       !(v->interrupt_shadow & VMCB_INTERRUPT_SHADOW);
	case EVENT_NMI:
		return !sv->nmi_blocked && !(v->interrupt_shadow & VMCB_INTERRUPT_SHADOW);
	default:
		return true;
	}
}

void svm_update_iret(struct svm_vcpu *sv)
{
	vmcb_set_intercept(sv->vmcb, INTERCEPT_IRET, sv->nmi_blocked || sv->nmi_window);
}

void svm_update_intn(struct svm_vcpu *sv)
{
	vmcb_set_intercept(sv->vmcb, INTERCEPT_INTN, sv->exceptions & BIT(VEC_BP));
}

/* Is it an instruction's event, and would the instruction only exit again? */
static bool must_inject_soft(const struct svm_vcpu *sv, const struct vm_event *ev)
{
	return (ev->kind == EVENT_SOFT_INT || ev->kind == EVENT_SOFT_EXC) && ev->insn_len &&
	       (sv->exceptions & BIT(VEC_BP));
}

/* The frame is to have the address behind the instruction. */
static uint64_t inject_soft(struct vcpu *vcpu, const struct vm_event *ev)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	unsigned type = ev->kind == EVENT_SOFT_INT ? EVENT_TYPE_SOFT : EVENT_TYPE_EXCEPTION;

	sv->soft_len = ev->insn_len;
	vcpu->regs.rip += ev->insn_len;
	sv->vmcb->nrip = vcpu->regs.rip;
	return EVENT_V | (uint64_t)type << EVENT_TYPE_SHIFT | ev->vector;
}

void svm_undo_soft(struct vcpu *vcpu)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	if (sv->vmcb->exit_int_info & EVENT_V)
		vcpu->regs.rip -= sv->soft_len;
	sv->soft_len = 0;
}

void svm_inject(struct vcpu *vcpu, const struct vm_event *ev)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;

	v->event_inj = must_inject_soft(sv, ev) ? inject_soft(vcpu, ev)
						: svm_event_encode(ev, v->cr0 & CR0_PE);
	if (ev->kind == EVENT_NONE)
		sv->soft_len = 0;
	if (ev->kind == EVENT_NMI) {
		sv->nmi_blocked = true;
		svm_update_iret(sv);
	}
	/* The processor clears GD when it raises #DB, not when it is told to deliver one. */
	if (ev->kind == EVENT_EXCEPTION && ev->vector == VEC_DB && (v->dr7 & DR7_GD))
		vmcb_set_dr7(v, v->dr7 & ~DR7_GD);
}

/* The guest's TPR is V_TPR, which no interrupt of ours goes by: a lower one is to be seen when one
 * waits for it. QEMU: a CR8 write with V_IRQ pending can abort it. */
static void update_cr8(struct svm_vcpu *sv)
{
	vmcb_set_intercept(sv->vmcb, INTERCEPT_CR_WRITE + 8,
			   sv->intr_window || sv->tpr_held || svm_machine.loose_cr8);
}

void svm_set_tpr_threshold(struct vcpu *vcpu, unsigned class)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	sv->tpr_held = class;
	update_cr8(sv);
}

/*
 * For an interrupt: a virtual one of the highest priority waits for the guest to be able
 * to take it, and its intercept reports that. For an NMI there is no such thing: the
 * next IRET ends what is in its way (run.c), and every other exit is a chance too.
 */
void svm_request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;

	if (kind == EVENT_NMI) {
		sv->nmi_window = on;
		svm_update_iret(sv);
		return;
	}
	sv->intr_window = on;
	update_cr8(sv);
	vmcb_set_intercept(v, INTERCEPT_VINTR, on);
	if (on)
		vmcb_set_v_intr(v, v->v_intr | V_IRQ | V_IGN_TPR | V_INTR_PRIO_MASK);
	else
		vmcb_set_v_intr(v, v->v_intr & ~(V_IRQ | V_IGN_TPR | V_INTR_PRIO_MASK));
}
