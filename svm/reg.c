/* Registers and segments that live in the VMCB. */
#include "arch/x86_64/include/cr.h"
#include "svm/state.h"

/*
 * CR0 bits that the guest sees as it left them and the hardware never does: CD would make
 * all of the guest's memory uncached, and its devices are not real.
 */
#define CR0_HIDDEN (CR0_CD | CR0_NW)
/* Rights that depend on the guest's own U bits, of which there are none before paging. PKE does
 * nothing then but let RDPKRU through. */
#define CR4_PAGE_RIGHTS (CR4_SMEP | CR4_SMAP)
/* A change of these drops the guest's translations. APM vol. 2, 5.5.2. */
#define CR4_FLUSHES                                                                                \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

/* Registers that are a VMCB field and no more; the others have a case of their own. */
static const struct {
	uint16_t offset;
	uint16_t clean; /* clean bits that cover the field; VMLOAD's fields have none */
} plain[VCPU_REGS] = {
	[REG_CR2] = { offsetof(struct vmcb, cr2), CLEAN_CR2 },
	[REG_DR6] = { offsetof(struct vmcb, dr6), CLEAN_DRX },
	[REG_DR7] = { offsetof(struct vmcb, dr7), CLEAN_DRX },
	[REG_PAT] = { offsetof(struct vmcb, g_pat), CLEAN_NP },
	[REG_STAR] = { offsetof(struct vmcb, star), 0 },
	[REG_LSTAR] = { offsetof(struct vmcb, lstar), 0 },
	[REG_CSTAR] = { offsetof(struct vmcb, cstar), 0 },
	[REG_SFMASK] = { offsetof(struct vmcb, sfmask), 0 },
	[REG_KERNEL_GS_BASE] = { offsetof(struct vmcb, kernel_gs_base), 0 },
	[REG_SYSENTER_CS] = { offsetof(struct vmcb, sysenter_cs), 0 },
	[REG_SYSENTER_ESP] = { offsetof(struct vmcb, sysenter_esp), 0 },
	[REG_SYSENTER_EIP] = { offsetof(struct vmcb, sysenter_eip), 0 },
	[REG_TSC_OFFSET] = { offsetof(struct vmcb, tsc_offset), CLEAN_I },
};

static uint64_t *plain_field(struct vmcb *v, enum vcpu_reg reg)
{
	return (uint64_t *)((char *)v + plain[reg].offset);
}

/* QEMU: task switches, which set TS, do not exit. */
static uint64_t guest_cr0(const struct svm_vcpu *sv)
{
	return (sv->guest.cr0 & ~CR0_TS) | (sv->vmcb->cr0 & CR0_TS);
}

uint64_t svm_get_reg(const struct vcpu *vcpu, enum vcpu_reg reg)
{
	const struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct vmcb *v = sv->vmcb;

	switch (reg) {
	case REG_CR0:
		return guest_cr0(sv);
	case REG_CR3:
		return sv->shadow ? sv->guest.cr3 : v->cr3;
	case REG_CR4:
		return sv->guest.cr4;
	case REG_CR8:
		return v->v_intr & V_TPR;
	case REG_EFER:
		return sv->guest.efer;
	case REG_CPL:
		return v->cpl;
	case REG_CS_ATTR:
		return v->cs.attrib & 0xfff;
	case REG_INTR_SHADOW:
		return v->interrupt_shadow & VMCB_INTERRUPT_SHADOW;
	case REG_NMI_BLOCKED:
		return sv->nmi_blocked;
	default:
		return *plain_field(v, reg);
	}
}

/*
 * Under shadow paging the processor is always paging, through tables in PAE's format or, in
 * the guest's long mode, the 64-bit one; also for a guest that is not paging, in real mode too
 * (paged real mode: APM vol. 2, 15.19). Their rights are the shadow's own: it wants WP and NX.
 */
static void shadow_control(const struct svm_guest_cr *g, struct svm_guest_cr *hw)
{
	hw->cr0 |= CR0_PG | CR0_WP;
	hw->cr4 = (hw->cr4 | CR4_PAE) & ~CR4_PCIDE;
	hw->efer |= EFER_NXE;
	if (g->cr0 & CR0_PG)
		return;
	hw->cr4 &= ~CR4_PAGE_RIGHTS;
	hw->efer &= ~EFER_LME;
}

/* The VMCB's registers from the guest's, of which reads exit just while they differ. */
static void update_control(struct svm_vcpu *sv)
{
	struct svm_guest_cr *g = &sv->guest, hw;
	struct vmcb *v = sv->vmcb;

	/* LMA is the processor's own: LME and PG together. SVME the guest never sees. */
	g->efer &= ~EFER_LMA;
	if ((g->efer & EFER_LME) && (g->cr0 & CR0_PG))
		g->efer |= EFER_LMA;
	hw = *g;
	hw.cr0 &= ~CR0_HIDDEN;
	if (sv->shadow)
		shadow_control(g, &hw);
	/* A machine check that finds MCE clear shuts the processor down, whoever runs: it is the
	 * host's. APM vol. 2, 9.3.2. QEMU, Bochs: there are none. */
	hw.cr4 |= svm_machine.host_cr4;
	vmcb_set_cr0(v, hw.cr0);
	vmcb_set_cr4(v, hw.cr4);
	vmcb_set_efer(v, hw.efer | EFER_SVME);
	vmcb_set_intercept(v, INTERCEPT_CR_READ + 0, hw.cr0 != g->cr0);
	vmcb_set_intercept(v, INTERCEPT_CR_READ + 4, hw.cr4 != g->cr4);
}

static void set_cr3(struct svm_vcpu *sv, uint64_t val)
{
	sv->guest.cr3 = val;
	if (sv->shadow)
		return; /* the core makes a root of it */
	vmcb_set_cr3(sv->vmcb, val);
	sv->flush = true;
}

void svm_set_root(struct vcpu *vcpu, hpa_t root, enum root_kind kind)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);

	(void)kind; /* a VM has one of the two here */
	sv->root = root;
	if (sv->shadow)
		vmcb_set_cr3(sv->vmcb, root.v);
	else
		vmcb_set_n_cr3(sv->vmcb, root.v);
	sv->flush = true;
}

static void set_plain(struct svm_vcpu *sv, enum vcpu_reg reg, uint64_t val)
{
	*plain_field(sv->vmcb, reg) = val;
	vmcb_dirty(sv->vmcb, plain[reg].clean);
}

void svm_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	struct svm_vcpu *sv = svm_vcpu(vcpu);
	struct svm_guest_cr *g = &sv->guest;
	struct vmcb *v = sv->vmcb;

	switch (reg) {
	case REG_CR0:
		g->cr0 = guest_cr0(sv);
		if ((val ^ g->cr0) & CR0_PG)
			sv->flush = true;
		g->cr0 = val | CR0_ET;
		update_control(sv);
		break;
	case REG_CR2:
		sv->cr2_changed = true;
		set_plain(sv, reg, val);
		break;
	case REG_CR3:
		set_cr3(sv, val);
		break;
	case REG_CR4:
		if ((val ^ g->cr4) & CR4_FLUSHES)
			sv->flush = true;
		g->cr0 = guest_cr0(sv);
		g->cr4 = val;
		update_control(sv);
		break;
	case REG_CR8:
		vmcb_set_v_intr(v, (v->v_intr & ~V_TPR_MASK) | (val & V_TPR));
		break;
	case REG_EFER:
		if ((val ^ g->efer) & (EFER_NXE | EFER_LME))
			sv->flush = true;
		g->cr0 = guest_cr0(sv);
		g->efer = val;
		update_control(sv);
		break;
	case REG_CPL:
	case REG_CS_ATTR:
		break;
	case REG_INTR_SHADOW:
		v->interrupt_shadow = val ? VMCB_INTERRUPT_SHADOW : 0;
		break;
	case REG_NMI_BLOCKED:
		sv->nmi_blocked = val;
		svm_update_iret(sv);
		break;
	default:
		set_plain(sv, reg, val);
	}
}

static const uint16_t seg_offset[SEG_REGS] = {
	[SEG_ES] = offsetof(struct vmcb, es),     [SEG_CS] = offsetof(struct vmcb, cs),
	[SEG_SS] = offsetof(struct vmcb, ss),     [SEG_DS] = offsetof(struct vmcb, ds),
	[SEG_FS] = offsetof(struct vmcb, fs),     [SEG_GS] = offsetof(struct vmcb, gs),
	[SEG_LDTR] = offsetof(struct vmcb, ldtr), [SEG_TR] = offsetof(struct vmcb, tr),
	[SEG_GDTR] = offsetof(struct vmcb, gdtr), [SEG_IDTR] = offsetof(struct vmcb, idtr),
};

static struct vmcb_seg *seg_field(struct vmcb *v, enum seg_reg reg)
{
	return (struct vmcb_seg *)((char *)v + seg_offset[reg]);
}

#define TSS_TYPE_BUSY 0x2u

void svm_get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg)
{
	struct vmcb *v = svm_vcpu(vcpu)->vmcb;
	const struct vmcb_seg *s = seg_field(v, reg);

	seg->selector = s->selector;
	seg->attr = s->attrib & 0xfff;
	seg->limit = s->limit;
	seg->base = s->base;
	switch (reg) {
	case SEG_SS:
		/* CPL rules; a null SS may keep another DPL. */
		seg->attr = (uint16_t)((seg->attr & ~SEG_ATTR_DPL) | v->cpl << SEG_ATTR_DPL_SHIFT);
		break;
	case SEG_TR:
		seg->attr |= TSS_TYPE_BUSY;
		break;
	case SEG_GDTR:
	case SEG_IDTR:
		seg->selector = seg->attr = 0;
		break;
	default:
		break;
	}
}

void svm_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	struct vmcb *v = svm_vcpu(vcpu)->vmcb;
	struct vmcb_seg *s = seg_field(v, reg);

	s->selector = seg->selector;
	s->attrib = seg->attr & 0xfff;
	s->limit = seg->limit;
	s->base = seg->base;
	switch (reg) {
	case SEG_SS:
		v->cpl = (seg->attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
		vmcb_dirty(v, CLEAN_SEG);
		break;
	case SEG_ES:
	case SEG_CS:
	case SEG_DS:
		vmcb_dirty(v, CLEAN_SEG);
		break;
	case SEG_TR:
		/* QEMU: a busy TSS here aborts it at a change of rings; the processor does not
		 * care. */
		s->attrib &= (uint16_t)~TSS_TYPE_BUSY;
		break;
	case SEG_GDTR:
	case SEG_IDTR:
		s->selector = s->attrib = 0;
		vmcb_dirty(v, CLEAN_DT);
		break;
	default:
		break;
	}
}
