#include "vmm/msr.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "vmm/backend.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/kvm_clock.h"
#include "vmm/vcpu.h"
#include "vmm/vcpu_apic.h"
#include "vmm/vm.h"

/* Who has the register; the two vendors' own share the numbers of nobody else. */
enum vendor { ANY, AMD, INTEL };

struct msr_range {
	uint32_t first, last;
	enum vendor vendor;
	bool (*read)(struct vcpu *vcpu, const struct msr_range *r, uint32_t msr, uint64_t *val);
	bool (*write)(struct vcpu *vcpu, const struct msr_range *r, uint32_t msr, uint64_t val);
	uint64_t arg; /* what it means is up to the two functions */
};

/* What a register's reader and writer look like; few of them need every argument. */
#define MAYBE __attribute__((unused))
#define READER(name)                                                                               \
	static bool name(MAYBE struct vcpu *vcpu, MAYBE const struct msr_range *r,                 \
			 MAYBE uint32_t msr, uint64_t *val)
#define WRITER(name)                                                                               \
	static bool name(MAYBE struct vcpu *vcpu, MAYBE const struct msr_range *r,                 \
			 MAYBE uint32_t msr, MAYBE uint64_t val)

#define MTRR_UC 0
#define MTRR_WP 5
#define MTRR_WB 6
#define MTRRCAP_WC BIT(10)
#define MTRRCAP_FIX BIT(8)
#define MTRR_DEF_FE BIT(10)
#define MTRR_DEF_E BIT(11)
#define MTRR_MASK_VALID BIT(11)
#define MISC_ENABLE_FAST_STRING BIT(0)
#define MISC_ENABLE_BTS_UNAVAILABLE BIT(11)
#define MISC_ENABLE_PEBS_UNAVAILABLE BIT(12)
#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at the P0 frequency */

/* Words of vcpu_msrs.misc[] with no effect here, by what they are. */
enum { MISC_HWCR, MISC_SYSCFG, MISC_ENABLE, MISC_DE_CFG, MISC_NB_CFG };

/* As wide as the processor's addresses can be, whatever CR4.LA57 says now. */
static bool canonical(uint64_t val)
{
	return addr_is_canonical(val, cpuid_policy()->la57 ? 57 : 48);
}

static uint64_t above_maxphyaddr(void)
{
	return BITS(63, cpuid_policy()->maxphyaddr);
}

/* --- constants, and words that have no effect --- */

READER(read_const)
{
	*val = r->arg;
	return true;
}

WRITER(write_ignore)
{
	return true;
}

WRITER(write_refuse)
{
	return false;
}

READER(read_misc)
{
	*val = vcpu->msrs.misc[r->arg];
	return true;
}

WRITER(write_misc)
{
	vcpu->msrs.misc[r->arg] = val;
	return true;
}

/* HWCR: the bit that says how fast the TSC counts is not the guest's to clear. */
WRITER(write_hwcr)
{
	vcpu->msrs.misc[MISC_HWCR] = val | HWCR_TSC_FREQ_SEL;
	return true;
}

/* MISC_ENABLE: of what can be turned on there a guest has fast strings; and it cannot hide leaves
 * of CPUID or NX. */
WRITER(write_misc_enable)
{
	vcpu->msrs.misc[MISC_ENABLE] = (val & MISC_ENABLE_FAST_STRING) |
				       MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE;
	return true;
}

/* --- registers that the backend keeps; arg: enum vcpu_reg --- */

READER(read_reg)
{
	*val = vcpu->vm->backend->get_reg(vcpu, (enum vcpu_reg)r->arg);
	return true;
}

WRITER(write_reg)
{
	vcpu->vm->backend->set_reg(vcpu, (enum vcpu_reg)r->arg, val);
	return true;
}

WRITER(write_reg32)
{
	return write_reg(vcpu, r, msr, val & BITS(31, 0));
}

/* Addresses: a non-canonical one is #GP (APM vol. 3, WRMSR). */
WRITER(write_reg_canonical)
{
	return canonical(val) && write_reg(vcpu, r, msr, val);
}

WRITER(write_efer)
{
	return cr_write_efer(vcpu, val);
}

WRITER(write_pat)
{
	return pat_is_valid(val) && write_reg(vcpu, r, msr, val);
}

/* arg: enum seg_reg */
READER(read_seg_base)
{
	struct segment seg;

	vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)r->arg, &seg);
	*val = seg.base;
	return true;
}

WRITER(write_seg_base)
{
	struct segment seg;

	if (!canonical(val))
		return false;
	vcpu->vm->backend->get_seg(vcpu, (enum seg_reg)r->arg, &seg);
	seg.base = val;
	vcpu->vm->backend->set_seg(vcpu, (enum seg_reg)r->arg, &seg);
	return true;
}

/* --- time --- */

READER(read_tsc)
{
	*val = rdtsc() + vcpu->vm->backend->get_reg(vcpu, REG_TSC_OFFSET);
	return true;
}

static void add_to_tsc(struct vcpu *vcpu, uint64_t delta)
{
	const struct vmm_backend *backend = vcpu->vm->backend;

	backend->set_reg(vcpu, REG_TSC_OFFSET, backend->get_reg(vcpu, REG_TSC_OFFSET) + delta);
	vcpu->msrs.tsc_adjust += delta;
	lapic_tsc_changed(&vcpu->lapic);
	kvm_clock_tsc_changed(vcpu->vm);
}

/* Writing the TSC shows in TSC_ADJUST, and the other way round: SDM vol. 3, 17.17.3. */
WRITER(write_tsc)
{
	uint64_t now = 0;

	read_tsc(vcpu, r, msr, &now);
	add_to_tsc(vcpu, val - now);
	return true;
}

READER(read_tsc_adjust)
{
	*val = vcpu->msrs.tsc_adjust;
	return cpuid_policy()->tsc_adjust;
}

WRITER(write_tsc_adjust)
{
	if (!cpuid_policy()->tsc_adjust)
		return false;
	add_to_tsc(vcpu, val - vcpu->msrs.tsc_adjust);
	return true;
}

READER(read_tsc_aux)
{
	*val = vcpu->msrs.tsc_aux;
	return cpuid_policy()->rdtscp;
}

WRITER(write_tsc_aux)
{
	if (!cpuid_policy()->rdtscp || val >> 32)
		return false;
	vcpu->msrs.tsc_aux = val;
	vcpu->stale |= VCPU_STALE_TSC_AUX;
	return true;
}

READER(read_kvm_clock)
{
	return kvm_clock_read_msr(vcpu, msr, val);
}

WRITER(write_kvm_clock)
{
	return kvm_clock_write_msr(vcpu, msr, val);
}

/* --- MTRRs: kept, with no effect; memory types come from the nested table and PAT --- */

READER(read_mtrr_var)
{
	*val = vcpu->msrs.mtrr_var[msr - r->first];
	return true;
}

WRITER(write_mtrr_var)
{
	bool is_mask = msr & 1;

	if (val & above_maxphyaddr())
		return false;
	if (is_mask ? val & BITS(10, 0) : val & BITS(11, 8))
		return false;
	if (!is_mask && !memory_types_valid(val & 0xff, MTRR_TYPES))
		return false;
	vcpu->msrs.mtrr_var[msr - r->first] = val;
	return true;
}

/* arg: index of the range's first register in mtrr_fixed[] */
READER(read_mtrr_fixed)
{
	*val = vcpu->msrs.mtrr_fixed[r->arg + msr - r->first];
	return true;
}

WRITER(write_mtrr_fixed)
{
	if (!memory_types_valid(val, MTRR_TYPES))
		return false;
	vcpu->msrs.mtrr_fixed[r->arg + msr - r->first] = val;
	return true;
}

READER(read_mtrr_def)
{
	*val = vcpu->msrs.mtrr_def_type;
	return true;
}

WRITER(write_mtrr_def)
{
	if ((val & ~(MTRR_DEF_E | MTRR_DEF_FE | 0xff)) ||
	    !memory_types_valid(val & 0xff, MTRR_TYPES))
		return false;
	vcpu->msrs.mtrr_def_type = val;
	return true;
}

/* --- machine check: no banks, so nothing but the two global registers --- */

READER(read_mcg_status)
{
	*val = vcpu->msrs.mcg_status;
	return true;
}

WRITER(write_mcg_status)
{
	if (val & ~BITS(2, 0))
		return false;
	vcpu->msrs.mcg_status = val;
	return true;
}

/* --- the local APIC --- */

READER(read_apic_base)
{
	return vcpu_apic_read_base(vcpu, val);
}

WRITER(write_apic_base)
{
	return vcpu_apic_write_base(vcpu, val);
}

READER(read_x2apic)
{
	return lapic_msr_read(&vcpu->lapic, msr, val);
}

WRITER(write_x2apic)
{
	return lapic_msr_write(&vcpu->lapic, msr, val);
}

READER(read_tsc_deadline)
{
	*val = lapic_read_deadline(&vcpu->lapic);
	return vcpu->vm->cfg->apic;
}

WRITER(write_tsc_deadline)
{
	lapic_write_deadline(&vcpu->lapic, val);
	return vcpu->vm->cfg->apic;
}

/* LBR and BTF may be asked for and are not there, as in a CPU that records no branches. */
WRITER(write_debugctl)
{
	return !(val & ~BITS(1, 0));
}

/* Sorted by number. APM vol. 2, appendix A; SDM vol. 4. */
static const struct msr_range ranges[] = {
	{ MSR_TSC, MSR_TSC, ANY, read_tsc, write_tsc, 0 },
	{ MSR_PLATFORM_ID, MSR_PLATFORM_ID, INTEL, read_const, write_refuse, 0 },
	{ MSR_APIC_BASE, MSR_APIC_BASE, ANY, read_apic_base, write_apic_base, 0 },
	{ MSR_TSC_ADJUST, MSR_TSC_ADJUST, ANY, read_tsc_adjust, write_tsc_adjust, 0 },
	{ MSR_BIOS_UPDT_TRIG, MSR_BIOS_UPDT_TRIG, INTEL, NULL, write_ignore, 0 },
	{ MSR_BIOS_SIGN_ID, MSR_BIOS_SIGN_ID, ANY, read_const, write_ignore, 0 },
	{ MSR_MTRRCAP, MSR_MTRRCAP, ANY, read_const, write_refuse,
	  VCPU_MTRR_VAR | MTRRCAP_FIX | MTRRCAP_WC },
	{ MSR_SYSENTER_CS, MSR_SYSENTER_CS, ANY, read_reg, write_reg32, REG_SYSENTER_CS },
	{ MSR_SYSENTER_ESP, MSR_SYSENTER_ESP, ANY, read_reg, write_reg_canonical,
	  REG_SYSENTER_ESP },
	{ MSR_SYSENTER_EIP, MSR_SYSENTER_EIP, ANY, read_reg, write_reg_canonical,
	  REG_SYSENTER_EIP },
	{ MSR_MCG_CAP, MSR_MCG_CAP, ANY, read_const, write_refuse, 0 },
	{ MSR_MCG_STATUS, MSR_MCG_STATUS, ANY, read_mcg_status, write_mcg_status, 0 },
	{ MSR_MISC_ENABLE, MSR_MISC_ENABLE, INTEL, read_misc, write_misc_enable, MISC_ENABLE },
	{ MSR_DEBUGCTL, MSR_DEBUGCTL, ANY, read_const, write_debugctl, 0 },
	{ MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 2 * VCPU_MTRR_VAR - 1, ANY, read_mtrr_var,
	  write_mtrr_var, 0 },
	{ MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX64K_00000, ANY, read_mtrr_fixed, write_mtrr_fixed, 0 },
	{ MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, ANY, read_mtrr_fixed, write_mtrr_fixed, 1 },
	{ MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_F8000, ANY, read_mtrr_fixed, write_mtrr_fixed, 3 },
	{ MSR_PAT, MSR_PAT, ANY, read_reg, write_pat, REG_PAT },
	{ MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, ANY, read_mtrr_def, write_mtrr_def, 0 },
	{ MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, ANY, read_tsc_deadline, write_tsc_deadline, 0 },
	{ MSR_X2APIC_BASE, MSR_X2APIC_BASE + 0xff, ANY, read_x2apic, write_x2apic, 0 },
	{ MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, ANY, read_kvm_clock, write_kvm_clock,
	  0 },
	{ MSR_EFER, MSR_EFER, ANY, read_reg, write_efer, REG_EFER },
	{ MSR_STAR, MSR_STAR, ANY, read_reg, write_reg, REG_STAR },
	{ MSR_LSTAR, MSR_LSTAR, ANY, read_reg, write_reg_canonical, REG_LSTAR },
	{ MSR_CSTAR, MSR_CSTAR, ANY, read_reg, write_reg_canonical, REG_CSTAR },
	{ MSR_SFMASK, MSR_SFMASK, ANY, read_reg, write_reg32, REG_SFMASK },
	{ MSR_FS_BASE, MSR_FS_BASE, ANY, read_seg_base, write_seg_base, SEG_FS },
	{ MSR_GS_BASE, MSR_GS_BASE, ANY, read_seg_base, write_seg_base, SEG_GS },
	{ MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, ANY, read_reg, write_reg_canonical,
	  REG_KERNEL_GS_BASE },
	{ MSR_TSC_AUX, MSR_TSC_AUX, ANY, read_tsc_aux, write_tsc_aux, 0 },
	{ MSR_SYSCFG, MSR_SYSCFG, AMD, read_misc, write_misc, MISC_SYSCFG },
	{ MSR_HWCR, MSR_HWCR, AMD, read_misc, write_hwcr, MISC_HWCR },
	{ MSR_NB_CFG, MSR_NB_CFG, AMD, read_misc, write_misc, MISC_NB_CFG },
	{ MSR_INT_PENDING, MSR_INT_PENDING, AMD, read_const, write_ignore, 0 },
	{ MSR_DE_CFG, MSR_DE_CFG, AMD, read_misc, write_misc, MISC_DE_CFG },
};

static const struct msr_range *find(uint32_t msr)
{
	unsigned lo = 0, hi = ARRAY_SIZE(ranges);

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct msr_range *r = &ranges[mid];

		if (msr < r->first)
			hi = mid;
		else if (msr > r->last)
			lo = mid + 1;
		else if (r->vendor == ANY || (r->vendor == AMD && cpuid_policy()->amd) ||
			 (r->vendor == INTEL && cpuid_policy()->intel))
			return r;
		else
			return NULL;
	}
	return NULL;
}

bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *val)
{
	const struct msr_range *r = find(msr);

	return r && r->read && r->read(vcpu, r, msr, val);
}

bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	const struct msr_range *r = find(msr);

	return r && r->write && r->write(vcpu, r, msr, val);
}

void msr_reset(struct vcpu *vcpu)
{
	struct vcpu_msrs *m = &vcpu->msrs;

	*m = (struct vcpu_msrs){ 0 };
	/* As a BIOS leaves them: write-back but the video window, ROM and the PCI hole. */
	m->mtrr_def_type = MTRR_DEF_E | MTRR_DEF_FE | MTRR_WB;
	m->mtrr_fixed[0] = m->mtrr_fixed[1] = UINT64_C(0x0101010101010101) * MTRR_WB;
	m->mtrr_fixed[2] = UINT64_C(0x0101010101010101) * MTRR_UC;
	for (unsigned i = 3; i < ARRAY_SIZE(m->mtrr_fixed); i++)
		m->mtrr_fixed[i] = UINT64_C(0x0101010101010101) * MTRR_WP;
	m->mtrr_var[0] = VM_PCI_HOLE | MTRR_UC;
	m->mtrr_var[1] = (~above_maxphyaddr() & ~(VM_ABOVE_4G - VM_PCI_HOLE - 1)) | MTRR_MASK_VALID;
	m->misc[MISC_HWCR] = HWCR_TSC_FREQ_SEL;
	m->misc[MISC_ENABLE] = MISC_ENABLE_FAST_STRING | MISC_ENABLE_BTS_UNAVAILABLE |
			       MISC_ENABLE_PEBS_UNAVAILABLE;
	m->misc[MISC_DE_CFG] = DE_CFG_LFENCE_SERIALIZE;
	vcpu->stale |= VCPU_STALE_TSC_AUX;
	vcpu->vm->backend->set_reg(vcpu, REG_TSC_OFFSET, vcpu->vm->tsc_offset);
}
