/* Events into the guest, and the windows for them. SDM vol. 3, 26.6, 26.7.5, 26.7.6. */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "vmx/event.h"
#include "vmx/insn.h"
#include "vmx/state.h"

void vmx_set_interruptibility(struct vmx_vcpu *vv, uint32_t bits)
{
	if (vv->interruptibility != bits)
		vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, vv->interruptibility = bits);
}

/* In protected mode, but in a state that VM entry does not take, or may not: what waits goes
 * through the window when it does. */
static bool may_not_enter(const struct vmx_vcpu *vv)
{
	return (vv->guest.cr0 & CR0_PE) && !(vv->proc2 & PROC2_UNRESTRICTED_GUEST) &&
	       (vv->mode == MODE_EMULATE || vv->mode_stale);
}

bool vmx_can_inject(const struct vcpu *vcpu, enum vm_event_kind kind)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint32_t state = vv->interruptibility;

	if (vv->injecting || may_not_enter(vv))
		return false;
	switch (kind) {
	case EVENT_INTR:
		return (vcpu->regs.rflags & RFLAGS_IF) && !(state & INTERRUPTIBILITY_SHADOW);
	case EVENT_NMI:
		return !(state & (INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_SHADOW));
	default:
		return true;
	}
}

/* Delivery of whatever event ends the shadow that it comes in; that of an NMI
 * makes the block which must not be there before. */
void vmx_inject(struct vcpu *vcpu, const struct vm_event *ev)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	struct vmx_entry_event fields = vmx_event_encode(ev, vv->guest.cr0 & CR0_PE);
	uint32_t state = vv->interruptibility & ~INTERRUPTIBILITY_SHADOW;

	vmx_use(vcpu);
	vmwrite32(VMCS_ENTRY_INTR_INFO, fields.info);
	vv->injecting = fields.info;
	if (!fields.info)
		return;
	if (fields.info & INTR_INFO_ERROR)
		vmwrite32(VMCS_ENTRY_EXCEPTION_ERROR, fields.error);
	if (fields.insn_len)
		vmwrite32(VMCS_ENTRY_INSN_LEN, fields.insn_len);
	if (ev->kind == EVENT_NMI)
		state &= ~INTERRUPTIBILITY_NMI;
	vmx_set_interruptibility(vv, state);
	/* The processor clears GD when it raises #DB, not when it is told to deliver
	 * one. */
	if (ev->kind == EVENT_EXCEPTION && ev->vector == VEC_DB)
		vmwriten(VMCS_GUEST_DR7, vmreadn(VMCS_GUEST_DR7) & ~DR7_GD);
}

/*
 * An NMI is not delivered in STI's shadow, but its window may be open there, for ever: until the
 * shadow is gone it is the window for interrupts, as IF is set. SDM vol. 3, 25.2.
 */
void vmx_set_windows(struct vmx_vcpu *vv)
{
	bool sti = vv->interruptibility & INTERRUPTIBILITY_STI;

	vmx_set_proc(vv, PROC_NMI_WINDOW, vv->nmi_window && !sti);
	vmx_set_proc(vv, PROC_INTERRUPT_WINDOW, vv->intr_window || (vv->nmi_window && sti));
}

void vmx_request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	if (kind == EVENT_NMI)
		vv->nmi_window = on;
	else
		vv->intr_window = on;
	vmx_use(vcpu);
	vmx_set_windows(vv);
}

/* Without a TPR shadow all writes to CR8 exit. SDM vol. 3, 29.1.2. */
void vmx_set_tpr_threshold(struct vcpu *vcpu, unsigned class)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	if (!vv->virtual_apic || vv->tpr_threshold == class)
		return;
	vmx_use(vcpu);
	vmwrite32(VMCS_TPR_THRESHOLD, vv->tpr_threshold = (uint8_t) class);
}
