/* Registers: those of the VMCS, and those that stay on the CPU while a vCPU is
 * loaded. */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "vmx/insn.h"
#include "vmx/state.h"

/* A change of these drops the guest's translations. SDM vol. 3, 4.10.4.1. */
#define CR4_FLUSHES                                                                                \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

static const uint32_t kept_msr[KEPT_MSRS] = {
	[KEPT_STAR] = MSR_STAR,
	[KEPT_LSTAR] = MSR_LSTAR,
	[KEPT_CSTAR] = MSR_CSTAR,
	[KEPT_SFMASK] = MSR_SFMASK,
	[KEPT_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
};

void vmx_load_kept(struct vmx_vcpu *vv)
{
	for (unsigned i = 0; i < KEPT_MSRS; i++)
		wrmsr(kept_msr[i], vv->kept[i]);
	write_cr2(vv->cr2);
	write_dr6(vv->dr6);
}

void vmx_save_kept(struct vmx_vcpu *vv)
{
	for (unsigned i = 0; i < KEPT_MSRS; i++)
		vv->kept[i] = rdmsr(kept_msr[i]);
	vv->cr2 = read_cr2();
	vv->dr6 = read_dr6();
}

static unsigned kept_index(enum vcpu_reg reg)
{
	static_assert(REG_KERNEL_GS_BASE - REG_STAR == KEPT_KERNEL_GS_BASE, "the same order");
	return (unsigned)(reg - REG_STAR);
}

static uint64_t get_kept(const struct vmx_vcpu *vv, unsigned i)
{
	return vv->loaded ? rdmsr(kept_msr[i]) : vv->kept[i];
}

static unsigned cpl(const struct vcpu *vcpu)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	if (vv->mode == MODE_V86)
		return 0;
	return (vmread32(VMCS_GUEST_SS_RIGHTS) & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

static uint64_t cs_attr(const struct vcpu *vcpu)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint32_t rights;

	if (vv->mode == MODE_V86)
		return vv->seg[SEG_CS].attr;
	rights = vmread32(VMCS_GUEST_CS_RIGHTS);
	return (rights & BITS(7, 0)) | (rights >> 4 & BITS(11, 8));
}

uint64_t vmx_get_reg(const struct vcpu *vcpu, enum vcpu_reg reg)
{
	const struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	switch (reg) {
	case REG_CR0:
	case REG_CR3:
	case REG_CR4:
	case REG_EFER:
		return (&vv->guest.cr0)[reg];
	case REG_CR2:
		return vv->loaded ? read_cr2() : vv->cr2;
	case REG_CR8:
		return vv->tpr >> 4;
	case REG_DR6:
		return vv->loaded ? read_dr6() : vv->dr6;
	case REG_DR7:
		return vmreadn(VMCS_GUEST_DR7);
	case REG_PAT:
		return vv->pat;
	case REG_SYSENTER_CS:
		return vv->mode == MODE_V86 ? vv->sysenter_cs : vmread32(VMCS_GUEST_SYSENTER_CS);
	case REG_SYSENTER_ESP:
		return vmreadn(VMCS_GUEST_SYSENTER_ESP);
	case REG_SYSENTER_EIP:
		return vmreadn(VMCS_GUEST_SYSENTER_EIP);
	case REG_TSC_OFFSET:
		return vmread64(VMCS_TSC_OFFSET);
	case REG_CPL:
		return cpl(vcpu);
	case REG_CS_ATTR:
		return cs_attr(vcpu);
	case REG_INTR_SHADOW:
		return (vv->interruptibility & INTERRUPTIBILITY_SHADOW) != 0;
	case REG_NMI_BLOCKED:
		return (vv->interruptibility & INTERRUPTIBILITY_NMI) != 0;
	default:
		return get_kept(vv, kept_index(reg));
	}
}

/* A shadow goes, and so does the trap that waited for its end: who sets this
 * has done the instruction in it, and raises what it finds itself. */
static void set_intr_shadow(struct vcpu *vcpu, bool on)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint32_t old = vv->interruptibility, state = old & ~INTERRUPTIBILITY_SHADOW;

	/* The one of STI needs IF set. SDM vol. 3, 26.3.1.5. */
	if (on)
		state |= vcpu->regs.rflags & RFLAGS_IF ? INTERRUPTIBILITY_STI
						       : INTERRUPTIBILITY_MOV_SS;
	else if ((old & INTERRUPTIBILITY_SHADOW) || (vcpu->regs.rflags & RFLAGS_TF))
		vmwriten(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx_set_interruptibility(vv, state);
}

static void set_nmi_blocked(struct vmx_vcpu *vv, bool on)
{
	uint32_t state = vv->interruptibility & ~(uint32_t)INTERRUPTIBILITY_NMI;

	vmx_set_interruptibility(vv, on ? state | (uint32_t)INTERRUPTIBILITY_NMI : state);
}

static void set_control(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);
	uint64_t *guest = &(&vv->guest.cr0)[reg], changed = *guest ^ val;

	switch (reg) {
	case REG_CR0:
		val |= CR0_ET;
		vv->flush_guest |= (changed & CR0_PG) != 0;
		vv->mode_stale |= (changed & CR0_PE) != 0;
		break;
	case REG_CR3:
		vv->flush_guest = true;
		break;
	case REG_CR4:
		vv->flush_guest |= (changed & CR4_FLUSHES) != 0;
		break;
	default:
		vv->flush_guest |= (changed & (EFER_NXE | EFER_LME)) != 0;
	}
	*guest = val;
	vmx_update_control(vcpu);
}

static void set_pat(struct vmx_vcpu *vv, uint64_t val)
{
	vv->pat = val;
	if (vmx_machine.vmx.load_pat && vv->root_kind == ROOT_NESTED)
		vmwrite64(VMCS_GUEST_PAT, val);
}

static void set_kept(struct vmx_vcpu *vv, unsigned i, uint64_t val)
{
	if (vv->loaded)
		wrmsr(kept_msr[i], val);
	else
		vv->kept[i] = val;
}

static void set_sysenter_cs(struct vmx_vcpu *vv, uint32_t val)
{
	if (vv->mode == MODE_V86)
		vv->sysenter_cs = val;
	else
		vmwrite32(VMCS_GUEST_SYSENTER_CS, val);
}

static void set_cr2(struct vmx_vcpu *vv, uint64_t val)
{
	if (vv->loaded)
		write_cr2(val);
	else
		vv->cr2 = val;
}

static void set_dr6(struct vmx_vcpu *vv, uint64_t val)
{
	if (vv->loaded)
		write_dr6(val);
	else
		vv->dr6 = val;
}

void vmx_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	switch (reg) {
	case REG_CR0:
	case REG_CR3:
	case REG_CR4:
	case REG_EFER:
		set_control(vcpu, reg, val);
		break;
	case REG_CR2:
		set_cr2(vv, val);
		break;
	case REG_CR8:
		vv->tpr = (uint8_t)(val << 4);
		if (vv->virtual_apic)
			vv->virtual_apic[VIRTUAL_APIC_TPR] = vv->tpr;
		break;
	case REG_DR6:
		set_dr6(vv, val);
		break;
	case REG_DR7:
		vmwriten(VMCS_GUEST_DR7, val);
		break;
	case REG_PAT:
		set_pat(vv, val);
		break;
	case REG_SYSENTER_CS:
		set_sysenter_cs(vv, (uint32_t)val);
		break;
	case REG_SYSENTER_ESP:
		vmwriten(VMCS_GUEST_SYSENTER_ESP, val);
		break;
	case REG_SYSENTER_EIP:
		vmwriten(VMCS_GUEST_SYSENTER_EIP, val);
		break;
	case REG_TSC_OFFSET:
		vmwrite64(VMCS_TSC_OFFSET, val);
		break;
	case REG_CPL:
	case REG_CS_ATTR:
		break;
	case REG_INTR_SHADOW:
		set_intr_shadow(vcpu, val);
		break;
	case REG_NMI_BLOCKED:
		set_nmi_blocked(vv, val);
		break;
	default:
		set_kept(vv, kept_index(reg), val);
	}
}

void vmx_set_root(struct vcpu *vcpu, hpa_t root, enum root_kind kind)
{
	struct vmx_vcpu *vv = vmx_vcpu(vcpu);

	vmx_use(vcpu);
	vv->mode_stale |= kind != vv->root_kind;
	vv->root = root;
	vv->root_kind = kind;
	vv->flush_guest = true;
	if (kind == ROOT_NESTED) {
		vmwrite64(VMCS_EPT_POINTER, vmx_eptp(root));
		vv->flush_nested = true;
	}
	vmx_update_control(vcpu);
	vmx_update_exceptions(vv);
}

void vmx_get_pdptes(const struct vcpu *vcpu, uint64_t pdpte[4])
{
	vmx_use(vcpu);
	pdpte[0] = vmread64(VMCS_GUEST_PDPTE0);
	pdpte[1] = vmread64(VMCS_GUEST_PDPTE1);
	pdpte[2] = vmread64(VMCS_GUEST_PDPTE2);
	pdpte[3] = vmread64(VMCS_GUEST_PDPTE3);
}
