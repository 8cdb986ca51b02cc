#include "vmm/cpuid.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "vmm/backend.h"
#include "vmm/cpuid_hv.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* Feature bits by their register: APM vol. 3, appendix E; SDM vol. 2, CPUID. */
#define F1C_SSE3 BIT(0)
#define F1C_PCLMUL BIT(1)
#define F1C_SSSE3 BIT(9)
#define F1C_FMA BIT(12)
#define F1C_CX16 BIT(13)
#define F1C_PCID BIT(17)
#define F1C_SSE41 BIT(19)
#define F1C_SSE42 BIT(20)
#define F1C_X2APIC BIT(21)
#define F1C_MOVBE BIT(22)
#define F1C_POPCNT BIT(23)
#define F1C_TSC_DEADLINE BIT(24)
#define F1C_AES BIT(25)
#define F1C_XSAVE BIT(26)
#define F1C_OSXSAVE BIT(27)
#define F1C_AVX BIT(28)
#define F1C_F16C BIT(29)
#define F1C_RDRAND BIT(30)
#define F1C_HYPERVISOR BIT(31)
#define F1C_ALLOWED                                                                                \
	(F1C_SSE3 | F1C_PCLMUL | F1C_SSSE3 | F1C_FMA | F1C_CX16 | F1C_PCID | F1C_SSE41 |           \
	 F1C_SSE42 | F1C_MOVBE | F1C_POPCNT | F1C_AES | F1C_XSAVE | F1C_AVX | F1C_F16C |           \
	 F1C_RDRAND)

/* FPU VME DE PSE TSC MSR PAE MCE CX8; APIC is the guest's own */
#define F1D_COMMON (BITS(8, 0) | BITS(17, 12) | BITS(24, 23))
#define F1D_VME BIT(1)
#define F1D_DE BIT(2)
#define F1D_PSE BIT(3)
#define F1D_PAE BIT(6)
#define F1D_MCE BIT(7)
#define F1D_APIC BIT(9)
#define F1D_PGE BIT(13)
#define F1D_PSE36 BIT(17)
#define F1D_FXSR BIT(24)
#define F1D_HTT BIT(28)
/* + SEP, CLFLUSH, SSE, SSE2, self snoop; no PSN, DS, ACPI, HTT, TM, PBE */
#define F1D_ALLOWED (F1D_COMMON | BIT(11) | BIT(19) | BITS(27, 25))

#define F7B_FSGSBASE BIT(0)
#define F7B_TSC_ADJUST BIT(1)
#define F7B_AVX2 BIT(5)
#define F7B_SMEP BIT(7)
#define F7B_INVPCID BIT(10)
#define F7B_SMAP BIT(20)
#define F7B_AVX512 (BITS(17, 16) | BIT(21) | BIT(28) | BITS(31, 30))
/* FSGSBASE TSC_ADJUST BMI1 AVX2 FDP SMEP BMI2 ERMS INVPCID FCSDS RDSEED ADX SMAP CLFLUSHOPT
 * CLWB SHA; no SGX, HLE, RTM, PQM, MPX, PQE, PT */
#define F7B_ALLOWED                                                                                \
	(F7B_FSGSBASE | F7B_TSC_ADJUST | BIT(3) | F7B_AVX2 | BIT(6) | F7B_SMEP | BIT(8) | BIT(9) | \
	 F7B_INVPCID | BIT(13) | BIT(18) | BIT(19) | F7B_SMAP | BITS(24, 23) | BIT(29) |           \
	 F7B_AVX512)
#define F7C_UMIP BIT(2)
#define F7C_PKU BIT(3)
#define F7C_OSPKE BIT(4)
#define F7C_LA57 BIT(16)
#define F7C_RDPID BIT(22)
#define F7C_AVX (BITS(10, 9)) /* VAES, VPCLMULQDQ */
#define F7C_AVX512 (BIT(1) | BIT(6) | BITS(12, 11) | BIT(14))
/* UMIP PKU GFNI LA57 RDPID; no CET */
#define F7C_ALLOWED (F7C_UMIP | F7C_PKU | BIT(8) | F7C_LA57 | F7C_RDPID | F7C_AVX | F7C_AVX512)
/* FSRM, MD_CLEAR, SERIALIZE; none whose MSR is not offered */
#define F7D_ALLOWED (BIT(4) | BIT(10) | BIT(14))

#define E7D_INVARIANT_TSC BIT(8)
#define E1C_CMP_LEGACY BIT(1)
#define E1C_XOP BIT(11)
#define E1C_FMA4 BIT(16)
/* LAHF ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM */
#define E1C_ALLOWED (BIT(0) | BITS(8, 5) | E1C_XOP | E1C_FMA4 | BIT(21))
#define E1D_SYSCALL BIT(11)
#define E1D_NX BIT(20)
#define E1D_FFXSR BIT(25)
#define E1D_1G BIT(26)
#define E1D_RDTSCP BIT(27)
#define E1D_LM BIT(29)
/* + MMXEXT, 3DNowExt, 3DNow; leaf 1's common bits only where AMD repeats them */
#define E1D_ALLOWED                                                                                \
	(F1D_COMMON | E1D_SYSCALL | E1D_NX | BIT(22) | E1D_FFXSR | E1D_1G | E1D_RDTSCP | E1D_LM |  \
	 BITS(31, 30))

#define XSAVE_OPT_C_XGETBV1 BITS(2, 0) /* leaf 0xd, 1: not XSAVES */
#define MAX_BASIC 0xdu
#define MAX_BASIC_INTEL 0x16u
#define GENUINE_INTEL 0x756e6547u /* "Genu" */
#define MAX_EXTENDED 0x80000008u
#define ALL 0xffffffffu
#define MAXPHYADDR_MAX 52u /* of the architecture: APM vol. 2, 5.1 */

struct entry {
	uint32_t leaf, subleaf;
	struct cpuid_regs regs;
};

/*
 * What the machine may tell a guest. A register's bits outside its mask are zero; a leaf
 * that is not here is zero altogether.
 */
static const struct {
	uint32_t leaf, last_sub; /* subleaves 0 to last_sub are looked at */
	uint32_t eax, ebx, ecx, edx;
} allowed[] = {
	{ 0x0, 0, ALL, ALL, ALL, ALL },
	{ 0x1, 0, ALL, BITS(15, 0), F1C_ALLOWED, F1D_ALLOWED },
	{ 0x2, 0, ALL, ALL, ALL, ALL },               /* caches and TLBs, Intel */
	{ 0x4, 7, BITS(9, 0), ALL, ALL, BITS(2, 0) }, /* caches; one core, one thread */
	{ 0x7, 0, 0, F7B_ALLOWED, F7C_ALLOWED, F7D_ALLOWED },
	{ 0xd, 62, ALL, ALL, ALL, ALL }, /* cut down by fix_xsave() */
	{ 0x80000000, 0, ALL, ALL, ALL, ALL },
	{ 0x80000001, 0, ALL, 0, E1C_ALLOWED, E1D_ALLOWED },
	{ 0x80000002, 0, ALL, ALL, ALL, ALL }, /* the processor's name */
	{ 0x80000003, 0, ALL, ALL, ALL, ALL },
	{ 0x80000004, 0, ALL, ALL, ALL, ALL },
	{ 0x80000005, 0, ALL, ALL, ALL, ALL }, /* L1 caches and TLBs, AMD */
	{ 0x80000006, 0, ALL, ALL, ALL, ALL }, /* L2, L3 */
	{ 0x80000007, 0, 0, 0, 0, E7D_INVARIANT_TSC },
	{ 0x80000008, 0, BITS(15, 0), BIT(0) | BIT(2), 0, 0 }, /* sizes; CLZERO, XSAVEERPTR */
};

#define MAX_ENTRIES 96
static struct entry table[MAX_ENTRIES];
static unsigned nr_entries;
static struct cpuid_policy policy;

const struct cpuid_policy *cpuid_policy(void)
{
	return &policy;
}

static struct entry *find(uint32_t leaf, uint32_t subleaf)
{
	unsigned lo = 0, hi = nr_entries;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		struct entry *e = &table[mid];

		if (e->leaf == leaf && e->subleaf == subleaf)
			return e;
		if (e->leaf < leaf || (e->leaf == leaf && e->subleaf < subleaf))
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static struct cpuid_regs stored(uint32_t leaf, uint32_t subleaf)
{
	const struct entry *e = find(leaf, subleaf);

	return e ? e->regs : (struct cpuid_regs){ 0 };
}

/* Bytes that XSAVE (or XSAVEC: compacted) writes for these components; subleaf i of leaf
 * 0xd has component i's size, offset and alignment. */
static uint32_t xsave_size(uint64_t xcr0, bool compacted)
{
	uint32_t end = 576; /* legacy region and header */

	for (unsigned i = 2; i < 63; i++) {
		struct cpuid_regs c;

		if (!(xcr0 & BIT(i)))
			continue;
		c = stored(0xd, i);
		if (!compacted)
			end = MAX(end, c.ebx + c.eax);
		else
			end = (uint32_t)((c.ecx & BIT(1)) ? ALIGN_UP(end, 64) : end) + c.eax;
	}
	return end;
}

/* Leaf 0xd: only the components that policy.xcr0 has; no supervisor state. */
static void fix_xsave(uint32_t subleaf, struct cpuid_regs *r)
{
	if (!policy.xcr0) {
		*r = (struct cpuid_regs){ 0 };
	} else if (subleaf == 0) {
		*r = (struct cpuid_regs){ .eax = (uint32_t)policy.xcr0,
					  .edx = (uint32_t)(policy.xcr0 >> 32) };
	} else if (subleaf == 1) {
		*r = (struct cpuid_regs){ .eax = r->eax & XSAVE_OPT_C_XGETBV1 };
	} else if (policy.xcr0 & BIT(subleaf)) {
		r->ecx &= (uint32_t)BIT(1);
		r->edx = 0;
	} else {
		*r = (struct cpuid_regs){ 0 };
	}
}

/* Bits that are taken away because what they need is not there. */
static void fix_dependent(uint32_t leaf, struct cpuid_regs *r)
{
	bool avx = policy.xcr0 & XCR0_AVX, avx512 = policy.xcr0 & XCR0_OPMASK;

	switch (leaf) {
	case 0x1:
		r->ecx |= (uint32_t)F1C_HYPERVISOR;
		if (!policy.xcr0)
			r->ecx &= (uint32_t)~F1C_XSAVE;
		if (!avx)
			r->ecx &= (uint32_t) ~(F1C_AVX | F1C_FMA | F1C_F16C);
		break;
	case 0x7:
		/* It is the core's own, as the TSC's offset is. Linux, told of it, neither watches
		 * the TSC by another clock nor compares the vCPUs'. */
		r->ebx |= (uint32_t)F7B_TSC_ADJUST;
		if (!avx) {
			r->ebx &= (uint32_t)~F7B_AVX2;
			r->ecx &= (uint32_t)~F7C_AVX;
		}
		if (!avx512) {
			r->ebx &= (uint32_t)~F7B_AVX512;
			r->ecx &= (uint32_t)~F7C_AVX512;
		}
		if (!policy.rdtscp)
			r->ecx &= (uint32_t)~F7C_RDPID;
		if (!(policy.xcr0 & XCR0_PKRU))
			r->ecx &= (uint32_t)~F7C_PKU;
		break;
	case 0x80000001:
		if (!avx)
			r->ecx &= (uint32_t) ~(E1C_XOP | E1C_FMA4);
		break;
	case 0x80000007:
		/* Umbra's own clock is the TSC: it is as good for a guest, all of whose vCPUs have
		 * the same. */
		r->edx |= (uint32_t)E7D_INVARIANT_TSC;
		break;
	default:
		break;
	}
}

/* An Intel processor's TSC tells its frequency, whether the machine's does or not. */
static void fix_ranges(uint32_t leaf, struct cpuid_regs *r)
{
	if (leaf == 0)
		r->eax = r->ebx == GENUINE_INTEL ? MAX_BASIC_INTEL : MIN(r->eax, MAX_BASIC);
	else if (leaf == 0x80000000)
		r->eax = MIN(r->eax, MAX_EXTENDED);
	else if (leaf == 0x80000008)
		r->eax = (r->eax & (uint32_t)BITS(7, 0)) | (policy.la57 ? 57u : 48u) << 8;
}

static void add(uint32_t leaf, uint32_t subleaf, struct cpuid_regs r)
{
	if (nr_entries < MAX_ENTRIES)
		table[nr_entries++] = (struct entry){ leaf, subleaf, r };
}

static void add_tsc_leaves(void)
{
	if (stored(0, 0).ebx != GENUINE_INTEL)
		return;
	add(0x15, 0, cpuid_tsc_ratio(clock_tsc_hz(), LAPIC_TIMER_HZ));
	add(0x16, 0, cpuid_frequencies(clock_tsc_hz()));
}

static uint64_t cr4_from_features(struct cpuid_regs one, struct cpuid_regs seven)
{
	const struct {
		uint32_t have;
		uint64_t feature, cr4;
	} map[] = {
		{ one.edx, F1D_VME, CR4_VME | CR4_PVI },
		{ one.edx, F1D_DE, CR4_DE },
		{ one.edx, F1D_PSE, CR4_PSE },
		{ one.edx, F1D_PAE, CR4_PAE },
		{ one.edx, F1D_MCE, CR4_MCE },
		{ one.edx, F1D_PGE, CR4_PGE },
		{ one.edx, F1D_FXSR, CR4_OSFXSR | CR4_OSXMMEXCPT },
		{ one.ecx, F1C_PCID, CR4_PCIDE },
		{ one.ecx, F1C_XSAVE, CR4_OSXSAVE },
		{ seven.ebx, F7B_FSGSBASE, CR4_FSGSBASE },
		{ seven.ebx, F7B_SMEP, CR4_SMEP },
		{ seven.ebx, F7B_SMAP, CR4_SMAP },
		{ seven.ecx, F7C_UMIP, CR4_UMIP },
		{ seven.ecx, F7C_PKU, CR4_PKE },
		{ seven.ecx, F7C_LA57, CR4_LA57 },
	};
	uint64_t cr4 = CR4_TSD | CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].have & map[i].feature)
			cr4 |= map[i].cr4;
	return cr4;
}

/* The part of the policy that the table's masks depend on. */
static void policy_before(struct cpuid_regs (*host)(uint32_t, uint32_t), uint64_t xcr0_mask)
{
	uint64_t offered =
		XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	uint32_t max = host(0, 0).eax, seven_c = max >= 7 ? host(7, 0).ecx : 0;
	bool xsave = (host(1, 0).ecx & F1C_XSAVE) && max >= 0xd;

	policy = (struct cpuid_policy){ 0 };
	if (seven_c & F7C_PKU)
		offered |= XCR0_PKRU;
	policy.xcr0 = xsave ? xcr0_mask & offered : 0;
	policy.la57 = seven_c & F7C_LA57;
	policy.rdtscp = host(0x80000001, 0).edx & E1D_RDTSCP;
}

/* The part that is read off the finished table. */
static void policy_after(void)
{
	struct cpuid_regs zero = stored(0, 0), one = stored(1, 0), seven = stored(7, 0);
	struct cpuid_regs ext = stored(0x80000001, 0);

	/* "Auth", "Hygo" of AuthenticAMD, HygonGenuine */
	policy.amd = zero.ebx == 0x68747541 || zero.ebx == 0x6f677948;
	policy.intel = zero.ebx == GENUINE_INTEL;
	policy.cr4 = cr4_from_features(one, seven);
	policy.efer = (ext.edx & E1D_SYSCALL ? EFER_SCE : 0) | (ext.edx & E1D_LM ? EFER_LME : 0) |
		      (ext.edx & E1D_NX ? EFER_NXE : 0) | (ext.edx & E1D_FFXSR ? EFER_FFXSR : 0);
	policy.maxphyaddr = MIN(stored(0x80000008, 0).eax & 0xff, MAXPHYADDR_MAX);
	if (!policy.maxphyaddr)
		policy.maxphyaddr = 36;
	policy.page_1g = ext.edx & E1D_1G;
	policy.nx = ext.edx & E1D_NX;
	policy.pse36 = one.edx & F1D_PSE36;
	policy.tsc_adjust = seven.ebx & F7B_TSC_ADJUST;
	policy.tells_tsc = stored(0x15, 0).eax;
}

void cpuid_init(struct cpuid_regs (*host)(uint32_t leaf, uint32_t subleaf), uint64_t xcr0_mask)
{
	uint32_t max_basic = host(0, 0).eax, max_ext = host(0x80000000, 0).eax;
	bool tsc_added = false;

	nr_entries = 0;
	policy_before(host, xcr0_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++) {
		uint32_t leaf = allowed[i].leaf;

		if (leaf >= 0x80000000 && !tsc_added) {
			add_tsc_leaves();
			tsc_added = true;
		}
		if (leaf > (leaf >= 0x80000000 ? max_ext : max_basic))
			continue;
		for (uint32_t sub = 0; sub <= allowed[i].last_sub; sub++) {
			struct cpuid_regs r = host(leaf, sub);

			r.eax &= allowed[i].eax;
			r.ebx &= allowed[i].ebx;
			r.ecx &= allowed[i].ecx;
			r.edx &= allowed[i].edx;
			fix_dependent(leaf, &r);
			fix_ranges(leaf, &r);
			if (leaf == 0xd)
				fix_xsave(sub, &r);
			if (!sub || r.eax | r.ebx | r.ecx | r.edx)
				add(leaf, sub, r);
		}
	}
	policy_after();
}

/*
 * Without nested paging what INVPCID drops is the core's to know: a guest has it, and PCIDs,
 * where it can be told of.
 */
static bool has_pcid(const struct vm *vm)
{
	return !vm->shadow || vm->backend->caps()->invpcid_exits;
}

uint64_t cpuid_cr4(const struct vcpu *vcpu)
{
	return has_pcid(vcpu->vm) ? policy.cr4 : policy.cr4 & ~CR4_PCIDE;
}

/* --- one package, a core a vCPU, numbered from 0 as their APICs --- */

/* How many low bits of an APIC id say which core. */
static unsigned core_bits(const struct vm *vm)
{
	return vm->nr_vcpus > 1 ? 32u - (unsigned)__builtin_clz(vm->nr_vcpus - 1) : 0;
}

/* Leaf 1: the local APIC, as IA32_APIC_BASE has it now, and how many there may be. */
static void fix_apic(const struct vcpu *vcpu, struct cpuid_regs *r)
{
	const struct vm *vm = vcpu->vm;

	r->ebx |= vcpu->id << 24;
	if (vm->nr_vcpus > 1) {
		r->ebx |= 1u << core_bits(vm) << 16;
		r->edx |= (uint32_t)F1D_HTT;
	}
	if (!vm->cfg->apic)
		return;
	r->ecx |= (uint32_t)(F1C_X2APIC | F1C_TSC_DEADLINE);
	if (vcpu->lapic.mode != LAPIC_OFF)
		r->edx |= (uint32_t)F1D_APIC;
}

/* Leaf 4: the cores of the package, and who shares a cache: all the third level, none the others.
 */
static void fix_caches(const struct vm *vm, struct cpuid_regs *r)
{
	uint32_t others = (1u << core_bits(vm)) - 1;

	if (!(r->eax & BITS(4, 0)))
		return;
	r->eax |= others << 26;
	if ((r->eax >> 5 & 7) >= 3)
		r->eax |= others << 14;
}

/* Leaf 0xb: SDM vol. 2, CPUID, "Extended Topology Enumeration". */
static struct cpuid_regs topology(const struct vcpu *vcpu, uint32_t subleaf)
{
	enum { NO_LEVEL, THREADS, CORES };
	struct cpuid_regs r = { .ecx = subleaf & 0xff, .edx = vcpu->id };

	if (subleaf == 0) {
		r.ebx = 1;
		r.ecx |= THREADS << 8;
	} else if (subleaf == 1) {
		r.eax = core_bits(vcpu->vm);
		r.ebx = vcpu->vm->nr_vcpus;
		r.ecx |= CORES << 8;
	}
	return r;
}

static bool has_subleaves(uint32_t leaf)
{
	return leaf == 0x4 || leaf == 0x7 || leaf == 0xd;
}

struct cpuid_regs cpuid_guest(const struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r;

	if (cpuid_is_hv(leaf))
		return cpuid_hv(vcpu, leaf);
	r = stored(leaf, has_subleaves(leaf) ? subleaf : 0);
	if (leaf == 0x1) {
		fix_apic(vcpu, &r);
		if (vcpu_hot_reg(vcpu, REG_CR4) & CR4_OSXSAVE)
			r.ecx |= (uint32_t)F1C_OSXSAVE;
		if (!has_pcid(vcpu->vm))
			r.ecx &= (uint32_t)~F1C_PCID;
	} else if (leaf == 0x4) {
		fix_caches(vcpu->vm, &r);
	} else if (leaf == 0xb && vcpu->vm->cfg->apic && stored(0, 0).eax >= 0xb) {
		r = topology(vcpu, subleaf);
	} else if (leaf == 0x7 && subleaf == 0) {
		if (vcpu_hot_reg(vcpu, REG_CR4) & CR4_PKE)
			r.ecx |= (uint32_t)F7C_OSPKE;
		if (!has_pcid(vcpu->vm))
			r.ebx &= (uint32_t)~F7B_INVPCID;
	} else if (leaf == 0x80000001) {
		/* Intel's have SYSCALL in 64-bit mode only, and say so there only. */
		if (policy.intel && vcpu_code_size(vcpu) != 8)
			r.edx &= (uint32_t)~E1D_SYSCALL;
		if (policy.amd && vcpu->vm->nr_vcpus > 1)
			r.ecx |= (uint32_t)E1C_CMP_LEGACY;
	} else if (leaf == 0x80000008) {
		if (policy.amd)
			r.ecx |= core_bits(vcpu->vm) << 12 | (vcpu->vm->nr_vcpus - 1);
	} else if (leaf == 0xd && policy.xcr0) {
		if (subleaf == 0) {
			r.ebx = xsave_size(vcpu->xcr0, false);
			r.ecx = xsave_size(policy.xcr0, false);
		} else if (subleaf == 1 && (r.eax & BIT(1))) {
			r.ebx = xsave_size(vcpu->xcr0, true);
		}
	}
	return r;
}
