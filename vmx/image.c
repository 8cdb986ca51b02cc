/* The fields of a VMCS: their names, their encodings, and which this processor has. */
#include "arch/x86_64/include/bits.h"
#include "vmx/check.h"

static const struct vmcs_field_info infos[VMCS_INDEXES] = {
#define X(constant, encoding) { #constant, encoding },
	VMCS_FIELDS_16(X) VMCS_FIELDS_32(X) VMCS_FIELDS_64(X) VMCS_FIELDS_N(X)
#undef X
};

const struct vmcs_field_info *vmx_field_info(unsigned index)
{
	return &infos[index];
}

/* Fields that are there only if a control may be 1 (SDM vol. 3, appendix B): those of a feature
 * that is not made use of are left alone, too. */
bool vmx_field_there(unsigned index, const struct vmx_caps *caps)
{
	switch (index) {
	case INDEX_VMCS_VPID:
		return caps->vpid;
	case INDEX_VMCS_EPT_POINTER:
	case INDEX_VMCS_GUEST_PHYSICAL_ADDRESS:
	case INDEX_VMCS_GUEST_PDPTE0:
	case INDEX_VMCS_GUEST_PDPTE1:
	case INDEX_VMCS_GUEST_PDPTE2:
	case INDEX_VMCS_GUEST_PDPTE3:
		return caps->ept;
	case INDEX_VMCS_PLE_GAP:
	case INDEX_VMCS_PLE_WINDOW:
		return caps->pause_loop;
	case INDEX_VMCS_PREEMPTION_TIMER:
		return caps->preemption_timer;
	case INDEX_VMCS_GUEST_PAT:
	case INDEX_VMCS_HOST_PAT:
		return caps->load_pat;
	case INDEX_VMCS_GUEST_EFER:
	case INDEX_VMCS_HOST_EFER:
		return caps->load_efer;
	case INDEX_VMCS_PROC2_CONTROLS:
		return caps->proc.may & PROC_SECONDARY;
	case INDEX_VMCS_MSR_BITMAP:
		return caps->proc.may & PROC_MSR_BITMAPS;
	case INDEX_VMCS_TPR_THRESHOLD:
	case INDEX_VMCS_VIRTUAL_APIC_ADDR:
		return caps->tpr_shadow;
	case INDEX_VMCS_APIC_ACCESS_ADDR:
		return caps->apic_accesses;
	case INDEX_VMCS_GUEST_INTERRUPT_STATUS:
	case INDEX_VMCS_EOI_EXIT_BITMAP0:
	case INDEX_VMCS_EOI_EXIT_BITMAP1:
	case INDEX_VMCS_EOI_EXIT_BITMAP2:
	case INDEX_VMCS_EOI_EXIT_BITMAP3:
		return caps->virtual_interrupts;
	case INDEX_VMCS_POSTED_INTERRUPT_VECTOR:
	case INDEX_VMCS_POSTED_INTERRUPT_DESCRIPTOR:
		return caps->posted_interrupts;
	default:
		return true;
	}
}
