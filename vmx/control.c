/*
 * Control registers: what the VMCS holds of them, from what the guest has, and
 * the controls that follow. The guest reads its own through the read shadows;
 * bits that it may change without an exit are those that are the same in both.
 * SDM vol. 3, 24.6.6, 25.3.
 */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"
#include "vmx/insn.h"
#include "vmx/state.h"

/*
 * CR0 bits that the guest sees as it left them and the hardware never does: CD
 * would make all of the guest's memory uncached, and its devices are not real.
 */
#define CR0_HIDDEN (CR0_CD | CR0_NW)
/* CR4 bits of no concern to anybody but the guest. */
#define CR4_OWNED (CR4_TSD | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT)
/* And while the guest's tables are the processor's. */
#define CR4_OWNED_NESTED CR4_PGE
/* Rights that depend on the guest's own U bits, of which there are none before
 * paging. */
#define CR4_PAGE_RIGHTS (CR4_SMEP | CR4_SMAP)

void vmx_set_pin(struct vmx_vcpu *vv, uint32_t bits, bool on)
{
	uint32_t pin = on ? vv->pin | bits : vv->pin & ~bits;

	if (pin != vv->pin)
		vmwrite32(VMCS_PIN_CONTROLS, vv->pin = pin);
}

void vmx_set_proc(struct vmx_vcpu *vv, uint32_t bits, bool on)
{
	uint32_t proc = on ? vv->proc | bits : vv->proc & ~bits;

	/* CR3's exits cannot be off where there are no TRUE controls. SDM vol. 3, A.3.2. */
	proc |= vmx_machine.vmx.proc.must;
	if (proc != vv->proc)
		vmwrite32(VMCS_PROC_CONTROLS, vv->proc = proc);
}

void vmx_set_proc2(struct vmx_vcpu *vv, uint32_t bits, bool on)
{
	uint32_t proc2 = on ? vv->proc2 | bits : vv->proc2 & ~bits;

	if (proc2 != vv->proc2)
		vmwrite32(VMCS_PROC2_CONTROLS, vv->proc2 = proc2);
}

void vmx_update_exceptions(struct vmx_vcpu *vv)
{
	uint32_t bits = vv->core_exceptions | VMX_OWN_EXCEPTIONS;

	if (vv->root_kind == ROOT_SHADOW)
		bits |= (uint32_t)BIT(VEC_PF);
	/* They would be delivered through the IDT, as protected mode does. */
	if (vv->mode == MODE_V86)
		bits = ~0u;
	vmwrite32(VMCS_EXCEPTION_BITMAP, bits);
}

/*
 * Under shadow paging the processor is always paging, through tables in PAE's
 * format or, in the guest's long mode, the 64-bit one; also for a guest that is
 * not paging. Their rights are the shadow's own: it wants WP and NX.
 */
static void through_shadow(const struct vmx_vcpu *vv, struct vmx_guest_cr *hw)
{
	hw->cr0 |= CR0_PG | CR0_WP;
	hw->cr3 = vv->root.v;
	hw->cr4 = (hw->cr4 | CR4_PAE) & ~CR4_PCIDE;
	hw->efer |= EFER_NXE;
	if (vv->guest.cr0 & CR0_PG)
		return;
	hw->cr4 &= ~CR4_PAGE_RIGHTS;
	hw->efer &= ~EFER_LME;
}

/* Without unrestricted guest the processor pages, and the guest does not. */
static void through_identity_map(const struct vm *vm, struct vmx_guest_cr *hw)
{
	hw->cr0 |= CR0_PG;
	hw->cr3 = vm->identity_map.v;
	hw->cr4 &= ~(CR4_PAE | CR4_PCIDE | CR4_LA57 | CR4_PAGE_RIGHTS);
	hw->cr4 |= CR4_PSE;
	hw->efer &= ~EFER_LME;
}

static bool uses_identity_map(const struct vmx_vcpu *vv)
{
	return vv->root_kind == ROOT_NESTED && !vmx_machine.vmx.unrestricted_guest &&
	       !(vv->guest.cr0 & CR0_PG);
}

static void hardware_registers(const struct vcpu *vcpu, struct vmx_guest_cr *hw)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	const struct vmx_caps *vmx = &vmx_machine.vmx;
	uint64_t must = vmx->cr0_fixed0;

	*hw = vv->guest;
	if (vv->root_kind == ROOT_SHADOW)
		through_shadow(vv, hw);
	else if (uses_identity_map(vv))
		through_identity_map(vcpu->vm, hw);
	if (vv->root_kind == ROOT_NESTED && vmx->unrestricted_guest)
		must &= ~(CR0_PE | CR0_PG);
	hw->cr0 = ((hw->cr0 & ~CR0_HIDDEN) | must) & vmx->cr0_fixed1;
	/* A machine check that finds MCE clear shuts the processor down, whoever runs: it is the
	 * host's. SDM vol. 3, 6.15. QEMU, Bochs: there are none. */
	hw->cr4 |= read_cr4() & CR4_MCE;
	hw->cr4 = (hw->cr4 | vmx->cr4_fixed0) & vmx->cr4_fixed1;
	if (vv->mode == MODE_V86) {
		/* It runs in ring 3, where real mode has no such things. */
		hw->cr0 &= ~CR0_AM;
		hw->cr4 &= ~(CR4_VME | CR4_PVI);
	}
}

/* The guest's PDPTEs are the processor's, as the core has loaded them.
 * SDM vol. 3, 26.3.2.4. */
static void write_pdptes(const struct vcpu *vcpu)
{
	vmwrite64(VMCS_GUEST_PDPTE0, vcpu->pdpte[0]);
	vmwrite64(VMCS_GUEST_PDPTE1, vcpu->pdpte[1]);
	vmwrite64(VMCS_GUEST_PDPTE2, vcpu->pdpte[2]);
	vmwrite64(VMCS_GUEST_PDPTE3, vcpu->pdpte[3]);
}

void vmx_switch_efer(const struct vmx_vcpu *vv)
{
	uint64_t efer = rdmsr(MSR_EFER), want = (efer & ~EFER_SCE) | (vv->guest.efer & EFER_SCE);

	if (vv->loaded && efer != want)
		wrmsr(MSR_EFER, want);
}

static void write_efer(struct vmx_vcpu *vv, uint64_t efer)
{
	uint32_t entry = vv->entry & ~ENTRY_CTL_LONG_MODE;

	if (efer & EFER_LMA)
		entry |= ENTRY_CTL_LONG_MODE;
	if (entry != vv->entry)
		vmwrite32(VMCS_ENTRY_CONTROLS, vv->entry = entry);
	if (vmx_machine.vmx.load_efer)
		vmwrite64(VMCS_GUEST_EFER, efer);
	else
		vmx_switch_efer(vv);
}

static void write_masks(const struct vcpu *vcpu, struct vmx_vcpu *vv)
{
	uint64_t own = CR4_OWNED;

	if (vv->root_kind == ROOT_NESTED && (vv->guest.cr0 & CR0_PG))
		own |= CR4_OWNED_NESTED;
	vv->cr4_owned = own & cpuid_cr4(vcpu);
	vmwriten(VMCS_CR0_MASK, ~(uint64_t)VMX_CR0_OWNED);
	vmwriten(VMCS_CR0_READ_SHADOW, vv->guest.cr0);
	vmwriten(VMCS_CR4_MASK, ~vv->cr4_owned);
	vmwriten(VMCS_CR4_READ_SHADOW, vv->guest.cr4);
}

void vmx_update_control(struct vcpu *vcpu)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	struct vmx_guest_cr *g = &vv->guest, hw;
	const struct vmx_caps *vmx = &vmx_machine.vmx;
	bool nested = vv->root_kind == ROOT_NESTED;

	/* LMA is the processor's own: LME and PG together. */
	g->efer &= ~EFER_LMA;
	if ((g->efer & EFER_LME) && (g->cr0 & CR0_PG))
		g->efer |= EFER_LMA;
	hardware_registers(vcpu, &hw);
	vmwriten(VMCS_GUEST_CR0, hw.cr0);
	vmwriten(VMCS_GUEST_CR3, hw.cr3);
	vmwriten(VMCS_GUEST_CR4, hw.cr4);
	write_efer(vv, hw.efer);
	write_masks(vcpu, vv);
	if (vmx->load_pat)
		vmwrite64(VMCS_GUEST_PAT, nested ? vv->pat : PAT_RESET);
	vmx_set_proc(vv, PROC_CR3_LOAD | PROC_CR3_STORE, !nested || uses_identity_map(vv));
	vmx_set_proc(vv, PROC_INVLPG, !nested && vv->intercept_invlpg);
	if (vmx->ept)
		vmx_set_proc2(vv, PROC2_EPT, nested);
	if (vmx->unrestricted_guest)
		vmx_set_proc2(vv, PROC2_UNRESTRICTED_GUEST, nested);
	if (nested && (hw.cr0 & CR0_PG) && (hw.cr4 & CR4_PAE) && !(hw.efer & EFER_LMA))
		write_pdptes(vcpu);
}
