#include "arch/x86_64/cpu.h"

#include "arch/x86_64/gdt.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/panic.h"

/* CPUID bits. APM vol. 3, appendix E; SDM vol. 2, CPUID. */
#define CPUID_1_EAX_FAMILY(eax) (((eax) >> 8 & 0xf) + ((eax) >> 20 & 0xff)) /* AMD: from 0fh */
#define CPUID_1_EAX_MODEL(eax) (((eax) >> 4 & 0xf) | ((eax) >> 12 & 0xf0))
#define CPUID_1_ECX_VMX BIT(5)
#define CPUID_1_ECX_X2APIC BIT(21)
#define CPUID_1_ECX_TSC_DEADLINE BIT(24)
#define CPUID_1_ECX_XSAVE BIT(26)
#define CPUID_1_ECX_HYPERVISOR BIT(31)
#define CPUID_1_EDX_APIC BIT(9)
#define CPUID_7_EBX_TSC_ADJUST BIT(1)
#define CPUID_7_EBX_SMEP BIT(7)
#define CPUID_7_ECX_PKU BIT(3)
#define CPUID_EXT1_ECX_SVM BIT(2)
#define CPUID_EXT1_EDX_NX BIT(20)
#define CPUID_EXT1_EDX_PAGE_1G BIT(26)
#define CPUID_EXT1_EDX_RDTSCP BIT(27)
#define CPUID_EXT8_EBX_X87_POINTERS BIT(2)
#define CPUID_EXT7_EDX_INVARIANT_TSC BIT(8)

#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
/* MPX is not offered to guests. QEMU: one that turns it on nevertheless does not exit. */
#define XCR0_MPX (XCR0_BNDREG | XCR0_BNDCSR)
#define XCR0_SWITCHED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_MPX | XCR0_AVX512 | XCR0_PKRU)
#define FXSAVE_BYTES 512
#define XSAVE_HEADER_BYTES 64

struct cpu boot_cpu = {
	.self = &boot_cpu,
	.state = CPU_ONLINE,
	.stack = &boot_stack,
	.ist = boot_ist_stack,
	.tables = &boot_tables,
};
static struct cpu_features features;

const struct cpu_features *cpu_features(void)
{
	return &features;
}

/* Bytes of a standard-form XSAVE area. APM vol. 2, 11.5; CPUID leaf 0dh. */
static unsigned xsave_bytes(uint64_t xcr0)
{
	unsigned size = FXSAVE_BYTES + XSAVE_HEADER_BYTES;

	for (unsigned i = 2; i < 63; i++) {
		struct cpuid_regs r;

		if (!(xcr0 & BIT(i)))
			continue;
		r = cpuid(0xd, i);
		size = MAX(size, r.ebx + r.eax);
	}
	return size;
}

static void read_xsave(struct cpu_features *f)
{
	struct cpuid_regs r = cpuid(0xd, 0);

	f->xcr0_mask = ((uint64_t)r.edx << 32 | r.eax) & XCR0_SWITCHED;
	if ((f->xcr0_mask & XCR0_AVX512) != XCR0_AVX512 || !(f->xcr0_mask & XCR0_AVX))
		f->xcr0_mask &= ~XCR0_AVX512;
	f->xsave_size = xsave_bytes(f->xcr0_mask);
}

static void read_vendor(struct cpu_features *f, const struct cpuid_regs *leaf0)
{
	memcpy(f->vendor, &leaf0->ebx, 4);
	memcpy(f->vendor + 4, &leaf0->edx, 4);
	memcpy(f->vendor + 8, &leaf0->ecx, 4);
	f->amd = !strcmp(f->vendor, "AuthenticAMD") || !strcmp(f->vendor, "HygonGenuine");
	f->intel = !strcmp(f->vendor, "GenuineIntel");
}

static void read_features(struct cpu_features *f)
{
	struct cpuid_regs leaf0 = cpuid(0, 0), ext0 = cpuid(0x80000000, 0), r;

	read_vendor(f, &leaf0);
	r = cpuid(1, 0);
	f->vmx = r.ecx & CPUID_1_ECX_VMX;
	f->x2apic = r.ecx & CPUID_1_ECX_X2APIC;
	f->tsc_deadline = r.ecx & CPUID_1_ECX_TSC_DEADLINE;
	f->apic = r.edx & CPUID_1_EDX_APIC;
	f->xsave = (r.ecx & CPUID_1_ECX_XSAVE) && leaf0.eax >= 0xd;
	f->xcr0_mask = XCR0_X87 | XCR0_SSE;
	f->xsave_size = FXSAVE_BYTES;
	if (f->xsave)
		read_xsave(f);
	if (leaf0.eax >= 7) {
		r = cpuid(7, 0);
		f->smep = r.ebx & CPUID_7_EBX_SMEP;
		f->tsc_adjust = r.ebx & CPUID_7_EBX_TSC_ADJUST;
		f->pku = (r.ecx & CPUID_7_ECX_PKU) && (f->xcr0_mask & XCR0_PKRU);
	}

	r = cpuid(0x80000001, 0); /* there: boot.asm has looked for long mode in it */
	f->svm = r.ecx & CPUID_EXT1_ECX_SVM;
	f->nx = r.edx & CPUID_EXT1_EDX_NX;
	f->page_1g = r.edx & CPUID_EXT1_EDX_PAGE_1G;
	f->rdtscp = r.edx & CPUID_EXT1_EDX_RDTSCP;
	if (ext0.eax >= 0x80000007)
		f->invariant_tsc = cpuid(0x80000007, 0).edx & CPUID_EXT7_EDX_INVARIANT_TSC;
	r = (struct cpuid_regs){ .eax = 36 };
	if (ext0.eax >= 0x80000008)
		r = cpuid(0x80000008, 0);
	f->maxphyaddr = r.eax & 0xff;
	f->x87_pointers_leak = f->amd && !(r.ebx & CPUID_EXT8_EBX_X87_POINTERS);
}

#ifdef UMBRA_DEBUG
static uint32_t *locks_held(void)
{
	return &this_cpu()->locks_held;
}

static bool in_handler(void)
{
	return this_cpu()->in_handler;
}

static void lock_misuse(const char *what)
{
	panic("%s", what);
}
#endif

/* The host's tables count on it, and the nested ones, whose types it gives as well
 * (APM vol. 2, 15.25.8). QEMU, Bochs: it is as after reset; caches, and so memory types, are not
 * modelled at all. */
static void pat_init(void)
{
	if (rdmsr(MSR_PAT) == PAT_RESET)
		return;
	wbinvd();
	wrmsr(MSR_PAT, PAT_RESET);
	wbinvd();
	write_cr3(read_cr3());
}

static void msr_change(uint32_t msr, uint64_t clear, uint64_t set)
{
	uint64_t val;

	if (rdmsr_safe(msr, &val) && val != ((val & ~clear) | set))
		wrmsr_safe(msr, (val & ~clear) | set);
}

static bool is_zen2(unsigned family, unsigned model)
{
	return family == 0x17 &&
	       ((model >= 0x30 && model <= 0x4f) || (model >= 0x60 && model <= 0x7f) ||
		(model >= 0x90 && model <= 0x91) || (model >= 0xa0 && model <= 0xaf));
}

/*
 * QEMU, Bochs: none of this is modelled.
 * C1E, which families 0fh and 10h enter by HLT alone, stops the local APIC's timer (erratum
 * 400). LFENCE waits for what is before it once DE_CFG says so, as guests are told it does;
 * families 0fh and 11h have no DE_CFG and always wait. Zen 2 shows one guest the vector
 * registers of another (CVE-2023-20593) unless its microcode, or this bit, forbids it.
 */
static void amd_init(void)
{
	uint32_t eax = cpuid(1, 0).eax;
	unsigned family = CPUID_1_EAX_FAMILY(eax);

	if (family == 0xf || family == 0x10)
		msr_change(MSR_INT_PENDING, INT_PENDING_C1E, 0);
	if (family != 0xf && family != 0x11)
		msr_change(MSR_DE_CFG, 0, DE_CFG_LFENCE_SERIALIZE);
	if (is_zen2(family, CPUID_1_EAX_MODEL(eax)))
		msr_change(MSR_DE_CFG, 0, DE_CFG_ZEN2_FP_BACKUP_FIX);
}

/* --- what the processors have in common --- */

#define CPUID_1_ECX_OSXSAVE BIT(27)
#define CPUID_7_ECX_OSPKE BIT(4)
#define CPUID_7_EDX_HYBRID BIT(15)

/* Leaves of feature bits, that guests are told of as well, and the bits that say what else than
 * the processor can do. */
static const struct {
	uint32_t leaf, subleaf;
	struct cpuid_regs features, ignore;
} common_leaf[] = {
	{ 0x1, 0, { .ecx = ~0u, .edx = ~0u }, { .ecx = CPUID_1_ECX_OSXSAVE } },
	{ 0x7,
	  0,
	  { .ebx = ~0u, .ecx = ~0u, .edx = ~0u },
	  { .ecx = CPUID_7_ECX_OSPKE, .edx = CPUID_7_EDX_HYBRID } },
	{ 0x7, 1, { .eax = ~0u }, { 0 } },
	{ 0xd, 0, { .eax = ~0u, .edx = ~0u }, { 0 } },
	{ 0xd, 1, { .eax = ~0u }, { 0 } },
	{ 0x80000001, 0, { .ecx = ~0u, .edx = ~0u }, { 0 } },
	{ 0x80000007, 0, { .edx = ~0u }, { 0 } },
	{ 0x80000008, 0, { .ebx = ~0u }, { 0 } },
	{ 0x8000000a, 0, { .edx = ~0u }, { 0 } },
};
static struct cpuid_regs common[ARRAY_SIZE(common_leaf)];

static struct cpuid_regs common_read(unsigned i)
{
	uint32_t leaf = common_leaf[i].leaf, max = cpuid(leaf & 0x80000000, 0).eax;
	const struct cpuid_regs *f = &common_leaf[i].features, *not = &common_leaf[i].ignore;
	struct cpuid_regs r = { 0 };

	if (leaf <= max)
		r = cpuid(leaf, common_leaf[i].subleaf);
	return (struct cpuid_regs){ r.eax & f->eax & ~not ->eax, r.ebx & f->ebx & ~not ->ebx,
				    r.ecx & f->ecx & ~not ->ecx, r.edx & f->edx & ~not ->edx };
}

/* Does the calling CPU lack a feature of the one that booted? */
static bool lacks_feature(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common); i++) {
		struct cpuid_regs r = common_read(i), *c = &common[i];

		if ((c->eax & ~r.eax) || (c->ebx & ~r.ebx) || (c->ecx & ~r.ecx) ||
		    (c->edx & ~r.edx))
			return true;
	}
	return false;
}

static const char *differs(void)
{
	struct cpu_features f = { 0 };

	read_features(&f);
	if (strcmp(f.vendor, features.vendor))
		return "it is of another vendor";
	if (f.maxphyaddr < features.maxphyaddr)
		return "its physical addresses have fewer bits";
	if ((features.xcr0_mask & ~f.xcr0_mask) || f.xsave_size != features.xsave_size)
		return "its XSAVE area differs";
	if (f.x87_pointers_leak != features.x87_pointers_leak)
		return "its FXRSTOR differs";
	return lacks_feature() ? "it lacks a feature that CPUID shows on the first one" : NULL;
}

/* --- setting up --- */

/* What firmware may have left otherwise, and what the features ask for. */
static void set_up(void)
{
	uint64_t cr4 = read_cr4();

	if (features.smep)
		cr4 |= CR4_SMEP;
	if (features.xsave)
		cr4 |= CR4_OSXSAVE;
	/* For RDPKRU alone: no page of Umbra's is a user page, so no key counts. */
	if (features.pku)
		cr4 |= CR4_PKE;
	write_cr4(cr4);
	if (features.xsave)
		xsetbv(0, features.xcr0_mask);
	/* Guests' breakpoints stay in DR0 to DR3; every #VMEXIT turns them off as this does. */
	write_dr7(DR7_INIT);
	pat_init();
	if (features.amd)
		amd_init();
}

void cpu_init(void)
{
#ifdef UMBRA_DEBUG
	spin_debug.held = locks_held;
	spin_debug.misuse = lock_misuse;
	spin_debug.in_handler = in_handler;
	spin_debug.takes_interrupts = irq_is_on;
#endif
	if (cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR)
		spin_looks = SPIN_LOOKS_VIRTUAL;
	read_features(&features);
	for (unsigned i = 0; i < ARRAY_SIZE(common); i++)
		common[i] = common_read(i);
	set_up();
	this_cpu()->online_tsc = rdtsc();
}

const char *cpu_init_other(void)
{
	const char *why = differs();

	if (!why)
		set_up();
	return why;
}

void cpu_idle(void)
{
	struct cpu *cpu = this_cpu();

	if (cpu->work_pending)
		return;
	cpu->idle_since = rdtsc();
	irq_enable_and_halt();
	irq_disable();
	cpu->idle_ticks += rdtsc() - cpu->idle_since;
	cpu->idle_since = 0;
}
