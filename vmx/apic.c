/*
 * What the processor does of a guest's local APIC by itself: on the vCPU's virtual-APIC page, which
 * holds what vcpu->lapic has for as long as the guest runs. SDM vol. 3, ch. 29.
 */
#include "vmm/vm.h"
#include "vmx/insn.h"
#include "vmx/state.h"

static uint32_t controls_for(const struct vcpu *vcpu, const struct vmx_vcpu *vv)
{
	const struct vmx_caps *caps = &vmx_machine.vmx;
	enum lapic_mode mode = vcpu->lapic.mode;
	uint32_t on = 0;

	if (mode == LAPIC_XAPIC && vcpu->vm->apic_page.v)
		on = PROC2_APIC_ACCESSES;
	else if (mode == LAPIC_X2APIC && caps->x2apic_mode)
		on = PROC2_X2APIC_MODE;
	if (on && caps->apic_registers)
		on |= PROC2_APIC_REGISTERS;
	if (vv->virtual_interrupts)
		on |= PROC2_VIRTUAL_INTERRUPTS;
	return on;
}

/* WRMSR to an x2APIC's EOI would go to the processor's own while it delivers no virtual
 * interrupts. */
static bool may_have_x2apic_msrs(const struct vcpu *vcpu, uint32_t controls)
{
	return (controls & PROC2_X2APIC_MODE) &&
	       (!vcpu->vm->virtual_interrupts || (controls & PROC2_VIRTUAL_INTERRUPTS));
}

/* Translations to the APIC-access page may be kept as what they were before. SDM vol. 3, 29.4.5.
 */
static void set_controls(struct vcpu *vcpu, struct vmx_vcpu *vv, uint32_t controls)
{
	const struct vmx_vm *vm = vcpu->vm->hw;
	bool x2apic = may_have_x2apic_msrs(vcpu, controls);

	vmx_set_proc2(vv, vv->apic_controls & ~controls, false);
	vmx_set_proc2(vv, controls, true);
	if (vmx_machine.vmx.posted_interrupts)
		vmx_set_pin(vv, PIN_POSTED_INTERRUPTS, controls & PROC2_VIRTUAL_INTERRUPTS);
	vmwrite64(VMCS_MSR_BITMAP, x2apic ? vm->x2apic_msr_bitmap.v : vm->msr_bitmap.v);
	vv->flush_nested |= (vv->apic_controls ^ controls) & PROC2_APIC_ACCESSES;
	vv->apic_controls = controls;
	vcpu->lapic.unshown = LAPIC_SHOW_VECTORS | LAPIC_SHOW_REGISTERS;
}

static void write_interrupt_status(struct lapic *l, struct vmx_vcpu *vv)
{
	uint64_t ends[ARRAY_SIZE(vv->eoi_exits)];

	vmwrite16(VMCS_GUEST_INTERRUPT_STATUS,
		  (uint16_t)(lapic_highest_served(l) << INTERRUPT_STATUS_SVI_SHIFT |
			     lapic_highest_waiting(l)));
	lapic_watched_ends(l, ends);
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends[i] != vv->eoi_exits[i])
			vmwrite64((enum vmcs_field64)(VMCS_EOI_EXIT_BITMAP0 + 2 * i),
				  vv->eoi_exits[i] = ends[i]);
}

void vmx_apic_before_entry(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	struct lapic *l = &vcpu->lapic;
	uint32_t controls;

	if (!vv->virtual_apic)
		return;
	controls = controls_for(vcpu, vv);
	if (controls != vv->apic_controls)
		set_controls(vcpu, vv, controls);
	if (!controls)
		return;
	if ((controls & (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS)) && l->unshown &&
	    (lapic_show(l, vv->virtual_apic) & LAPIC_SHOW_VECTORS) &&
	    (controls & PROC2_VIRTUAL_INTERRUPTS))
		write_interrupt_status(l, vv);
	vv->virtual_apic[VIRTUAL_APIC_TPR] = vv->tpr = l->tpr;
	__atomic_store_n(&l->page_vectors, !!(controls & PROC2_VIRTUAL_INTERRUPTS),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&l->page, vv->virtual_apic, __ATOMIC_RELEASE);
}

void vmx_apic_after_exit(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint32_t on = vv->apic_controls;

	if (!vv->virtual_apic)
		return;
	__atomic_store_n(&vcpu->lapic.page, NULL, __ATOMIC_RELAXED);
	/* The guest has written TPR, unseen. */
	if (vv->virtual_apic[VIRTUAL_APIC_TPR] != vv->tpr) {
		vv->tpr = (uint8_t)vv->virtual_apic[VIRTUAL_APIC_TPR];
		lapic_write_tpr(&vcpu->lapic, vv->tpr);
	}
	if (on & PROC2_VIRTUAL_INTERRUPTS)
		lapic_take_back(&vcpu->lapic, vv->virtual_apic);
	if (on & (PROC2_APIC_REGISTERS | PROC2_VIRTUAL_INTERRUPTS))
		lapic_take_back_icr(&vcpu->lapic, vv->virtual_apic);
}

void vmx_set_virtual_interrupts(struct vcpu *vcpu, bool on)
{
	vmx_vcpu(vcpu)->virtual_interrupts = on;
}
