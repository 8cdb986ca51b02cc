#include "vmm/cr.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
/* Bits whose change reloads the PDPTEs under PAE paging: SDM vol. 3, 4.4.1. */
#define CR0_PDPTE_BITS (CR0_PG | CR0_CD | CR0_NW)
#define CR4_PDPTE_BITS (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)
/* Bits that translations depend on, or whose change drops them. */
#define CR0_ROOT_BITS (CR0_PG | CR0_WP)
#define CR4_ROOT_BITS                                                                              \
	(CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PCIDE | CR4_LA57)
#define EFER_ROOT_BITS EFER_NXE
/* And those that change how tables are walked. */
#define CR0_WALK_BITS CR0_PG
#define CR4_WALK_BITS (CR4_PAE | CR4_PSE | CR4_LA57)
#define EFER_WALK_BITS EFER_NXE /* LME cannot while paging is on */

static uint64_t get(const struct vcpu *vcpu, enum vcpu_reg reg)
{
	return vcpu->vm->backend->get_reg(vcpu, reg);
}

static void set(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	vcpu->vm->backend->set_reg(vcpu, reg, val);
}

static bool refuse(struct vcpu *vcpu)
{
	vcpu_raise_error(vcpu, VEC_GP, 0);
	return false;
}

/* The shadow's root was made for another state than the guest now has. */
static void root_changed(struct vcpu *vcpu)
{
	if (vcpu->vm->shadow)
		vcpu->stale |= VCPU_STALE_ROOT;
}

/*
 * Load the four PDPTEs that PAE paging keeps in the CPU, or find that one is refused. Where the
 * processor may read them in the guest's memory at any time, bit 5 is let pass, though reserved:
 * there are CPUs that set it there as an accessed bit, after which the guest's next load must not
 * fail.
 */
static bool load_pdptes(struct vcpu *vcpu, uint64_t cr3)
{
	struct pt_caps caps = vcpu_pt_caps();

	caps.strict_pdpte = vcpu->vm->shadow || vcpu->vm->backend->get_pdptes;
	if (!guest_load_pdptes(&caps, gmem_pt_mem(vcpu->vm), cr3, vcpu->pdpte))
		return false;
	root_changed(vcpu);
	return true;
}

#define TSS_TYPE_32BIT 0x8u

/* What MOV CR0 checks before PG goes from 0 to 1. An Intel processor takes no TSS of 16 bits into
 * long mode (SDM vol. 3, 9.8.5), and VM entry none that is there. */
static bool paging_may_start(struct vcpu *vcpu)
{
	struct segment cs, tr;

	if (!(vcpu_hot_reg(vcpu, REG_EFER) & EFER_LME))
		return true;
	vcpu->vm->backend->get_seg(vcpu, SEG_CS, &cs);
	vcpu->vm->backend->get_seg(vcpu, SEG_TR, &tr);
	if (cpuid_policy()->intel && !(tr.attr & TSS_TYPE_32BIT))
		return false;
	return (vcpu_hot_reg(vcpu, REG_CR4) & CR4_PAE) && !(cs.attr & SEG_ATTR_L);
}

/* Does MOV CR0 load the PDPTEs, and is one of them refused? */
static bool pdptes_refused(struct vcpu *vcpu, uint64_t val, uint64_t changed)
{
	return (val & CR0_PG) && (changed & CR0_PDPTE_BITS) &&
	       (vcpu_hot_reg(vcpu, REG_CR4) & CR4_PAE) &&
	       !(vcpu_hot_reg(vcpu, REG_EFER) & EFER_LME) &&
	       !load_pdptes(vcpu, vcpu_hot_reg(vcpu, REG_CR3));
}

static bool write_cr0_checked(struct vcpu *vcpu, uint64_t val)
{
	uint64_t old = vcpu_hot_reg(vcpu, REG_CR0);

	if (val >> 32)
		return refuse(vcpu);
	val = (val & CR0_DEFINED) | CR0_ET;
	if ((val & CR0_PG) && !(val & CR0_PE))
		return refuse(vcpu);
	if ((val & CR0_NW) && !(val & CR0_CD))
		return refuse(vcpu);
	if ((val & CR0_PG) && !(old & CR0_PG) && !paging_may_start(vcpu))
		return refuse(vcpu);
	if (!(val & CR0_PG) && (old & CR0_PG) &&
	    (vcpu_code_size(vcpu) == 8 || (vcpu_hot_reg(vcpu, REG_CR4) & CR4_PCIDE)))
		return refuse(vcpu);
	if (pdptes_refused(vcpu, val, val ^ old))
		return refuse(vcpu);
	if ((val ^ old) & CR0_WALK_BITS)
		lookahead_forget(vcpu);
	if (val != old)
		set(vcpu, REG_CR0, val);
	if ((val ^ old) & CR0_ROOT_BITS)
		root_changed(vcpu);
	return true;
}

static bool write_cr3_checked(struct vcpu *vcpu, uint64_t val)
{
	uint64_t cr4 = vcpu_hot_reg(vcpu, REG_CR4);

	if (vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA) {
		if (cr4 & CR4_PCIDE)
			val &= ~CR3_NOFLUSH;
		if (val & BITS(63, cpuid_policy()->maxphyaddr))
			return refuse(vcpu);
	} else if ((vcpu_hot_reg(vcpu, REG_CR0) & CR0_PG) && (cr4 & CR4_PAE)) {
		if (!load_pdptes(vcpu, val))
			return refuse(vcpu);
	}
	set(vcpu, REG_CR3, val);
	root_changed(vcpu);
	return true;
}

static bool write_cr4_checked(struct vcpu *vcpu, uint64_t val)
{
	uint64_t old = vcpu_hot_reg(vcpu, REG_CR4), changed = val ^ old;
	bool long_mode = vcpu_hot_reg(vcpu, REG_EFER) & EFER_LMA;

	if (val & ~cpuid_cr4(vcpu))
		return refuse(vcpu);
	if (long_mode && (!(val & CR4_PAE) || (changed & CR4_LA57)))
		return refuse(vcpu);
	if ((changed & val & CR4_PCIDE) &&
	    (!long_mode || (vcpu_hot_reg(vcpu, REG_CR3) & CR3_PCID_MASK)))
		return refuse(vcpu);
	if (!long_mode && (val & CR4_PAE) && (vcpu_hot_reg(vcpu, REG_CR0) & CR0_PG) &&
	    (changed & CR4_PDPTE_BITS) && !load_pdptes(vcpu, vcpu_hot_reg(vcpu, REG_CR3)))
		return refuse(vcpu);
	if (changed & CR4_WALK_BITS)
		lookahead_forget(vcpu);
	if (changed)
		set(vcpu, REG_CR4, val);
	if (changed & CR4_ROOT_BITS)
		root_changed(vcpu);
	return true;
}

static bool write_cr8_checked(struct vcpu *vcpu, uint64_t val)
{
	if (val > 15)
		return refuse(vcpu);
	set(vcpu, REG_CR8, val);
	lapic_write_cr8(&vcpu->lapic, val);
	return true;
}

bool cr_write(struct vcpu *vcpu, unsigned nr, uint64_t val)
{
	switch (nr) {
	case 0:
		return write_cr0_checked(vcpu, val);
	case 2:
		set(vcpu, REG_CR2, val);
		return true;
	case 3:
		return write_cr3_checked(vcpu, val);
	case 4:
		return write_cr4_checked(vcpu, val);
	case 8:
		return write_cr8_checked(vcpu, val);
	default:
		vcpu_raise_vector(vcpu, VEC_UD);
		return false;
	}
}

bool cr_write_lmsw(struct vcpu *vcpu, uint16_t val)
{
	const uint64_t msw = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
	uint64_t old = vcpu_hot_reg(vcpu, REG_CR0);

	return write_cr0_checked(vcpu, (old & ~(msw & ~CR0_PE)) | (val & msw));
}

bool cr_clts(struct vcpu *vcpu)
{
	set(vcpu, REG_CR0, vcpu_hot_reg(vcpu, REG_CR0) & ~CR0_TS);
	return true;
}

uint64_t cr_read(const struct vcpu *vcpu, unsigned nr)
{
	switch (nr) {
	case 0:
		return vcpu_hot_reg(vcpu, REG_CR0);
	case 2:
		return get(vcpu, REG_CR2);
	case 3:
		return vcpu_hot_reg(vcpu, REG_CR3);
	case 4:
		return vcpu_hot_reg(vcpu, REG_CR4);
	default:
		return get(vcpu, REG_CR8);
	}
}

bool cr_write_efer(struct vcpu *vcpu, uint64_t val)
{
	uint64_t old = vcpu_hot_reg(vcpu, REG_EFER);

	/* LMA is the CPU's own: what software writes there counts for nothing. */
	val = (val & ~EFER_LMA) | (old & EFER_LMA);
	if (val & ~(cpuid_policy()->efer | EFER_LMA))
		return false;
	if (((val ^ old) & EFER_LME) && (vcpu_hot_reg(vcpu, REG_CR0) & CR0_PG))
		return false;
	if ((val ^ old) & EFER_WALK_BITS)
		lookahead_forget(vcpu);
	if (val != old)
		set(vcpu, REG_EFER, val);
	if ((val ^ old) & EFER_ROOT_BITS)
		root_changed(vcpu);
	return true;
}

/* XCR0's rules: APM vol. 2, 11.5.2; SDM vol. 1, 13.3. */
static bool xcr0_valid(uint64_t val)
{
	const uint64_t avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	const uint64_t mpx = XCR0_BNDREG | XCR0_BNDCSR;

	if (!(val & XCR0_X87) || (val & ~cpuid_policy()->xcr0))
		return false;
	if ((val & XCR0_AVX) && !(val & XCR0_SSE))
		return false;
	if ((val & avx512) && ((val & avx512) != avx512 || !(val & XCR0_AVX)))
		return false;
	return !(val & mpx) || (val & mpx) == mpx;
}

bool cr_write_xcr(struct vcpu *vcpu, uint32_t nr, uint64_t val)
{
	if (!(vcpu_hot_reg(vcpu, REG_CR4) & CR4_OSXSAVE)) {
		vcpu_raise_vector(vcpu, VEC_UD);
		return false;
	}
	if (nr != 0 || vcpu_cpl(vcpu) != 0 || !xcr0_valid(val))
		return refuse(vcpu);
	vcpu->xcr0 = val;
	vcpu->stale |= VCPU_STALE_XCR0;
	return true;
}
