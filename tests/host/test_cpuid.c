/* vmm/cpuid.c: what a guest sees of the machine, and that it sees no more. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "vmm/cpuid.h"
#include "vmm/cpuid_hv.h"

#define XCR0_AVX_MASK (XCR0_X87 | XCR0_SSE | XCR0_AVX)

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	cpuid_init(fake_cpuid_amd, XCR0_AVX_MASK | XCR0_PKRU);
	return 0;
}

static struct cpuid_regs ask(uint32_t leaf, uint32_t subleaf)
{
	return cpuid_guest(&fake_vcpu, leaf, subleaf);
}

static void expect_zero(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = ask(leaf, subleaf);

	if (r.eax | r.ebx | r.ecx | r.edx)
		fail_msg("leaf %x.%x leaks %08x %08x %08x %08x", leaf, subleaf, r.eax, r.ebx, r.ecx,
			 r.edx);
}

static void test_signature(void **state)
{
	struct cpuid_regs r = ask(0x40000000, 0);
	char text[13] = "";

	(void)state;
	memcpy(text, &r.ebx, 4);
	memcpy(text + 4, &r.ecx, 4);
	memcpy(text + 8, &r.edx, 4);
	assert_string_equal(text, "UmbraUmbra  ");
	assert_int_equal(r.eax, 0x40000010);
	assert_true(ask(1, 0).ecx & BIT(31));
	r = ask(0x40000000, 7); /* not a leaf with subleaves */
	assert_int_equal(r.eax, 0x40000010);
	expect_zero(0x40000001, 0);
	expect_zero(0x4fffffff, 0);
	r = ask(0x40000010, 0); /* the tests' clock says that the TSC runs at 1 GHz */
	assert_int_equal(r.eax, 1000000);
	assert_int_equal(r.ebx, 0); /* no APIC, no APIC timer */
	assert_int_equal(r.ecx | r.edx, 0);
}

/* pv=kvm: as Linux, arch/x86/kernel/kvm.c, looks for it. */
static void test_kvm_signature(void **state)
{
	static const struct vm_config kvm = { .name = "kvm", .pv = PV_KVM, .apic = true };
	struct cpuid_regs r;
	char text[12];

	(void)state;
	fake_vm.cfg = &kvm;
	r = ask(0x40000000, 0);
	memcpy(text, &r.ebx, 4);
	memcpy(text + 4, &r.ecx, 4);
	memcpy(text + 8, &r.edx, 4);
	assert_memory_equal(text, "KVMKVMKVM\0\0\0", 12);
	assert_int_equal(r.eax, 0x40000010);
	r = ask(0x40000001, 0);
	assert_int_equal(r.eax, BIT(1) | BIT(3) | BIT(24)); /* NOP_IO_DELAY, the clock, stable */
	assert_int_equal(r.ebx | r.ecx | r.edx, 0);
	assert_int_equal(ask(0x40000010, 0).ebx, 25000);
}

#define CRYSTAL 25000000u

/* What Linux makes of leaf 15: crystal kHz * numerator / denominator, in 32 bits if need be. It is
 * less than 3 ppm off, and cut to whole kHz. */
static void check_ratio(uint64_t hz)
{
	struct cpuid_regs r = cpuid_tsc_ratio(hz, CRYSTAL);
	uint64_t khz;

	if (!r.eax)
		fail_msg("no fraction for %" PRIu64 " Hz", hz);
	assert_int_equal(r.ecx, CRYSTAL);
	assert_true(UINT64_C(25000) * r.ebx <= UINT32_MAX);
	khz = UINT64_C(25000) * r.ebx / r.eax;
	if (khz * 1000 > hz + hz / 333333 || khz * 1000 + 1000 < hz - hz / 333333)
		fail_msg("%" PRIu64 " Hz is told as %" PRIu64 " kHz", hz, khz);
}

static void test_tsc_ratio(void **state)
{
	/* Near simple fractions the next ones are far. */
	static const uint64_t near[] = { 1000000,    100000000,  100001000,    1000000000,
					 1999999000, 2000100000, 3000100000,   3000300000,
					 2400001234, 2593906000, 100000000000, 99999999999 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(near); i++)
		check_ratio(near[i]);
	for (uint64_t hz = 40000000; hz < 6000000000; hz += hz / 2000 + 12347)
		check_ratio(hz);
	for (uint64_t off = 1; off < 3000000; off += off / 8 + 1) {
		check_ratio(2000000000 + off);
		check_ratio(3000000000 - off);
	}
	assert_int_equal(cpuid_tsc_ratio(100001000, CRYSTAL).eax, 25000);
	assert_int_equal(cpuid_tsc_ratio(100001000, CRYSTAL).ebx, 100001);
	assert_int_equal(cpuid_tsc_ratio(2412500000, CRYSTAL).eax, 2);
	assert_int_equal(cpuid_tsc_ratio(2412500000, CRYSTAL).ebx, 193);
	assert_int_equal(cpuid_tsc_ratio(UINT64_C(5000000000000), CRYSTAL).ecx, 0); /* 5 THz */
	assert_int_equal(cpuid_frequencies(2593906000).eax, 2594);
}

/* From a machine that says yes to everything, only what is listed comes through. */
static void test_nothing_unknown_leaks(void **state)
{
	static const uint32_t known[] = { 0x0,        0x1,        0x2,        0x4,
					  0x7,        0xd,        0x80000000, 0x80000001,
					  0x80000002, 0x80000003, 0x80000004, 0x80000005,
					  0x80000006, 0x80000007, 0x80000008, 0x40000000,
					  0x40000010 };
	static const uint32_t bases[] = { 0, 0x40000000, 0x80000000, 0x80860000, 0xc0000000 };

	(void)state;
	cpuid_init(fake_cpuid_all_ones, ~UINT64_C(0));
	for (unsigned b = 0; b < ARRAY_SIZE(bases); b++) {
		for (uint32_t leaf = bases[b]; leaf < bases[b] + 0x200; leaf++) {
			bool listed = false;

			for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
				listed |= known[i] == leaf;
			if (!listed)
				expect_zero(leaf, 0);
		}
	}
	expect_zero(0x7, 1);
	expect_zero(0x7, 0xffffffff);
	expect_zero(0x4, 8);
	expect_zero(0xd, 8);
	expect_zero(0xd, 10);
	expect_zero(0xd, 63);
	expect_zero(0xd, 64);
	expect_zero(0xffffffff, 0xffffffff);
}

static struct cpuid_regs no_invariant_tsc(uint32_t leaf, uint32_t subleaf)
{
	return leaf == 0x80000007 ? (struct cpuid_regs){ 0 } : fake_cpuid_amd(leaf, subleaf);
}

/* Umbra's clock is the TSC: where it goes on at one rate, it does so for guests. */
static void test_tsc_is_invariant(void **state)
{
	(void)state;
	cpuid_init(no_invariant_tsc, 0);
	assert_int_equal(ask(0x80000007, 0).edx, BIT(8));
}

static struct cpuid_regs no_tsc_adjust(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 7)
		r.ebx &= (uint32_t)~BIT(1);
	return r;
}

/* TSC_ADJUST needs nothing of the machine. */
static void test_tsc_adjust(void **state)
{
	(void)state;
	cpuid_init(no_tsc_adjust, 0);
	assert_true(ask(7, 0).ebx & BIT(1));
	assert_true(cpuid_policy()->tsc_adjust);
	expect_zero(7, 1);
}

static void test_hidden_features(void **state)
{
	struct cpuid_regs r;

	(void)state;
	cpuid_init(fake_cpuid_all_ones, ~UINT64_C(0));
	fake_hw.reg[REG_CR4] &= ~(CR4_OSXSAVE | CR4_PKE);
	r = ask(1, 0);
	/* DTES64 MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID SDBG xTPR PDCM DCA x2APIC
	 * TSC-deadline OSXSAVE */
	assert_int_equal(r.ecx & (BITS(8, 2) | BITS(11, 10) | BITS(15, 14) | BIT(18) | BIT(21) |
				  BIT(24) | BIT(27)),
			 0);
	assert_int_equal(r.edx & (BIT(9) | BIT(18) | BITS(22, 20) | BITS(31, 28)), 0);
	assert_int_equal(r.ebx >> 24, 0); /* APIC ID */
	r = ask(7, 0);
	assert_int_equal(r.eax, 0);
	assert_int_equal(r.ebx & (BIT(2) | BIT(4) | BIT(11) | BIT(12) | BITS(15, 14)), 0);
	assert_int_equal(r.ecx & (BITS(5, 4) | BIT(7) | BIT(13)), 0); /* OSPKE WAITPKG CET TME */
	assert_int_equal(r.edx & ~(BIT(4) | BIT(10) | BIT(14)), 0);
	r = ask(0x80000001, 0);
	assert_int_equal(r.ebx, 0);
	assert_int_equal(r.ecx & (BITS(4, 1) | BITS(10, 9) | BITS(15, 12) | BIT(17) | BIT(22) |
				  BITS(31, 23)),
			 0);
	assert_int_equal(r.edx & BIT(9), 0);
	assert_int_equal(ask(0x80000007, 0).edx, BIT(8));
	assert_int_equal(ask(0xd, 1).eax, 7); /* no XSAVES */
}

static void test_ranges(void **state)
{
	(void)state;
	assert_int_equal(ask(0, 0).eax, 0xd);
	assert_int_equal(ask(0, 0).ebx, 0x68747541);
	assert_int_equal(ask(0x80000000, 0).eax, 0x80000008);
	assert_int_equal(ask(0x80000008, 0).eax, 0x3928); /* fake_cpuid_amd has LA57 */
	assert_int_equal(ask(0x80000008, 0).ecx, 0);      /* one core */
	assert_int_equal(ask(1, 0).eax, 0x800f12);
	assert_int_equal(ask(1, 0).ebx, 0x0800);
}

static void test_osxsave_mirrors_cr4(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	assert_false(ask(1, 0).ecx & BIT(27));
	fake_hw.reg[REG_CR4] |= CR4_OSXSAVE;
	assert_true(ask(1, 0).ecx & BIT(27));
}

static struct cpuid_regs cpu_without_pku(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 7)
		r.ecx &= ~(uint32_t)BIT(3);
	return r;
}

/* Protection keys: with all that belongs to them, or not at all. */
static void test_protection_keys(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	assert_int_equal(ask(7, 0).ecx & BITS(4, 3), BIT(3));
	fake_hw.reg[REG_CR4] |= CR4_PKE;
	assert_int_equal(ask(7, 0).ecx & BITS(4, 3), BITS(4, 3)); /* OSPKE mirrors CR4.PKE */
	expect_zero(7, 1);
	assert_true(cpuid_policy()->cr4 & CR4_PKE);
	assert_true(cpuid_policy()->xcr0 & XCR0_PKRU);
	fake_hw.reg[REG_CR4] = CR4_PAE;
	cpuid_init(cpu_without_pku, XCR0_AVX_MASK | XCR0_PKRU);
	assert_int_equal(ask(7, 0).ecx & BITS(4, 3), 0);
	assert_false(cpuid_policy()->cr4 & CR4_PKE);
	assert_int_equal(cpuid_policy()->xcr0, XCR0_AVX_MASK);
	expect_zero(0xd, 9);
	/* PKRU that could not be switched with the rest: not offered. */
	cpuid_init(fake_cpuid_amd, XCR0_AVX_MASK);
	assert_int_equal(ask(7, 0).ecx & BITS(4, 3), 0);
	assert_false(cpuid_policy()->cr4 & CR4_PKE);
}

static struct cpuid_regs cpu_without_la57(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 7)
		r.ecx &= ~(uint32_t)BIT(16);
	return r;
}

static void test_la57(void **state)
{
	(void)state;
	assert_true(ask(7, 0).ecx & BIT(16));
	assert_true(cpuid_policy()->cr4 & CR4_LA57);
	assert_int_equal(ask(0x80000008, 0).eax >> 8 & 0xff, 57);
	cpuid_init(cpu_without_la57, XCR0_AVX_MASK);
	assert_false(ask(7, 0).ecx & BIT(16));
	assert_false(cpuid_policy()->cr4 & CR4_LA57);
	assert_int_equal(ask(0x80000008, 0).eax >> 8 & 0xff, 48);
}

static void test_xsave_leaf(void **state)
{
	struct cpuid_regs r;

	(void)state;
	fake_vcpu.xcr0 = XCR0_X87;
	r = ask(0xd, 0);
	assert_int_equal(r.eax, 0x207);
	assert_int_equal(r.ebx, 576);
	assert_int_equal(r.ecx, 2696);
	assert_int_equal(r.edx, 0);
	fake_vcpu.xcr0 = XCR0_AVX_MASK;
	assert_int_equal(ask(0xd, 0).ebx, 832);
	assert_int_equal(ask(0xd, 1).ebx, 832);
	assert_int_equal(ask(0xd, 2).eax, 256);
	assert_int_equal(ask(0xd, 2).ebx, 576);
	expect_zero(0xd, 3);
	assert_int_equal(ask(0xd, 9).eax, 8);
	assert_int_equal(ask(0xd, 9).ebx, 2688);
	fake_vcpu.xcr0 = XCR0_X87 | XCR0_PKRU;
	assert_int_equal(ask(0xd, 0).ebx, 2696); /* the standard form: where PKRU is */
	assert_int_equal(ask(0xd, 1).ebx, 584);  /* compacted: right behind the header */
}

static void test_no_xsave(void **state)
{
	(void)state;
	cpuid_init(fake_cpuid_amd, 0);
	assert_int_equal(cpuid_policy()->xcr0, 0);
	assert_int_equal(ask(1, 0).ecx & (BIT(12) | BIT(26) | BIT(28) | BIT(29)), 0);
	assert_int_equal(ask(7, 0).ebx & (BIT(5) | BIT(16)), 0);
	assert_int_equal(ask(0x80000001, 0).ecx & (BIT(11) | BIT(16)), 0);
	expect_zero(0xd, 0);
	expect_zero(0xd, 1);
	expect_zero(0xd, 2);
	assert_false(cpuid_policy()->cr4 & CR4_OSXSAVE);
}

static void test_policy(void **state)
{
	const struct cpuid_policy *p = cpuid_policy();

	(void)state;
	assert_int_equal(p->xcr0, XCR0_AVX_MASK | XCR0_PKRU);
	assert_int_equal(p->maxphyaddr, 40);
	assert_true(p->amd);
	assert_false(p->intel);
	assert_int_equal(p->efer, EFER_SCE | EFER_LME | EFER_NXE | EFER_FFXSR);
	assert_int_equal(p->cr4 & (CR4_VMXE | CR4_SMXE | CR4_CET | CR4_PKS), 0);
	assert_true(p->cr4 & CR4_SMEP);
}

/* --- an Intel processor --- */

/* As a Skylake server's core answers, to what is asked here; every thread it has, two a core. */
static struct cpuid_regs intel_skylake(uint32_t leaf, uint32_t subleaf)
{
	switch (leaf) {
	case 0: /* GenuineIntel */
		return (struct cpuid_regs){ 0x16, 0x756e6547, 0x6c65746e, 0x49656e69 };
	case 1:
		return (struct cpuid_regs){ 0x50654, 0x02200800, 0x7ffefbff, 0xbfebfbff };
	case 2:
		return (struct cpuid_regs){ 0x76036301, 0xf0b5ff, 0, 0xc30000 };
	case 4:
		if (subleaf == 0)
			return (struct cpuid_regs){ 0x3c004121, 0x01c0003f, 0x3f, 0 };
		if (subleaf == 3)
			return (struct cpuid_regs){ 0x3c07c163, 0x0280003f, 0x4bff, 4 };
		return (struct cpuid_regs){ 0 };
	case 5: /* MONITOR */
		return (struct cpuid_regs){ 0x40, 0x40, 3, 0x2020 };
	case 6: /* thermal, APERF, ARAT, HWP */
		return (struct cpuid_regs){ 0xff7, 2, 9, 0 };
	case 7: /* TSX, MPX, PT, RDT; SPEC_CTRL, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, SSBD */
		return (struct cpuid_regs){ 0, 0xd39ffffb, 0x18, 0xbc000e00 };
	case 0xa: /* performance counters, version 4 */
		return (struct cpuid_regs){ 0x07300404, 0, 0, 0x603 };
	case 0xb: /* threads, cores */
		return (struct cpuid_regs){ subleaf ? 6 : 1, subleaf ? 0x20 : 2,
					    subleaf | (subleaf + 1) << 8, 0x22 };
	case 0xd:
		if (subleaf == 0)
			return (struct cpuid_regs){ 0x2ff, 2696, 2696, 0 };
		if (subleaf == 1)
			return (struct cpuid_regs){ 0xf, 2568, 0x100, 0 };
		if (subleaf == 2)
			return (struct cpuid_regs){ 256, 576, 0, 0 };
		return (struct cpuid_regs){ 0 };
	case 0x10: /* RDT */
	case 0x14: /* PT */
		return (struct cpuid_regs){ 1, 0xf, 7, 2 };
	case 0x15: /* the TSC's clock */
		return (struct cpuid_regs){ 2, 0xa8, 0, 0 };
	case 0x16: /* MHz */
		return (struct cpuid_regs){ 0x834, 0xe74, 0x64, 0 };
	case 0x80000000:
		return (struct cpuid_regs){ 0x80000008, 0, 0, 0 };
	case 0x80000001: /* SYSCALL, as 64-bit code is told */
		return (struct cpuid_regs){ 0, 0, 0x121, 0x2c100800 };
	case 0x80000006:
		return (struct cpuid_regs){ 0, 0, 0x01006040, 0 };
	case 0x80000007:
		return (struct cpuid_regs){ 0, 0, 0, 0x100 };
	case 0x80000008:
		return (struct cpuid_regs){ 0x302e, 0, 0, 0 };
	default:
		return (struct cpuid_regs){ 0 };
	}
}

static void test_intel(void **state)
{
	static const uint32_t none[] = { 0x3,  0x5,  0x6,  0x9,  0xa,  0xb,  0x10,
					 0x12, 0x14, 0x17, 0x18, 0x19, 0x1c, 0x1f };
	struct cpuid_regs r;

	(void)state;
	cpuid_init(intel_skylake, XCR0_AVX_MASK);
	assert_true(cpuid_policy()->intel);
	assert_false(cpuid_policy()->amd);
	assert_int_equal(cpuid_policy()->maxphyaddr, 46);
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
		for (unsigned sub = 0; sub < 3; sub++)
			expect_zero(none[i], sub);
	assert_int_equal(ask(0, 0).eax, 0x16);
	assert_int_equal(ask(0x15, 0).eax, 1); /* APIC timer at 25 MHz, TSC at 1 GHz */
	assert_int_equal(ask(0x15, 0).ebx, 40);
	assert_int_equal(ask(0x15, 0).ecx, 25000000);
	assert_int_equal(ask(0x16, 0).eax, 1000);
	assert_true(cpuid_policy()->tells_tsc);
	fake_hw.reg[REG_CR4] &= ~CR4_OSXSAVE;
	r = ask(1, 0);
	assert_int_equal(r.eax, 0x50654);
	assert_int_equal(r.ebx, 0x0800);     /* CLFLUSH; APIC ID 0 of one */
	assert_int_equal(r.ecx, 0xf6da3203); /* no x2APIC, TSC deadline */
	assert_int_equal(r.edx, 0x0f8bf9ff); /* no APIC */
	assert_int_equal(ask(2, 0).eax, 0x76036301);
	assert_int_equal(ask(4, 0).eax, 0x121); /* for one thread, of one core */
	assert_int_equal(ask(4, 3).eax, 0x163);
	assert_int_equal(ask(4, 3).edx, 4);
	r = ask(7, 0);
	assert_int_equal(
		r.ebx & (BIT(2) | BIT(4) | BIT(11) | BITS(12, 12) | BITS(15, 14) | BIT(25)),
		0);                       /* SGX HLE RTM RDT MPX PT */
	assert_true(r.ebx & BIT(10));     /* INVPCID */
	assert_int_equal(r.edx, BIT(10)); /* MD_CLEAR, and nothing that an MSR belongs to */
	assert_int_equal(ask(0xd, 0).eax, XCR0_AVX_MASK);
	assert_int_equal(ask(0xd, 1).eax, 7); /* no XSAVES */
	assert_int_equal(ask(0x80000008, 0).eax, 0x302e);
	assert_int_equal(ask(0x80000007, 0).edx, BIT(8));
	assert_true(cpuid_policy()->rdtscp && cpuid_policy()->page_1g);
	cpuid_init(fake_cpuid_amd, XCR0_AVX_MASK);
	assert_false(cpuid_policy()->tells_tsc);
}

/* SYSCALL is there in 64-bit mode; EFER.SCE can be set before. */
static void test_intel_syscall(void **state)
{
	(void)state;
	cpuid_init(intel_skylake, XCR0_AVX_MASK);
	assert_true(ask(0x80000001, 0).edx & BIT(11));
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
	assert_false(ask(0x80000001, 0).edx & BIT(11));
	assert_true(ask(0x80000001, 0).edx & BIT(29));
	assert_true(cpuid_policy()->efer & EFER_SCE);
	cpuid_init(fake_cpuid_amd, XCR0_AVX_MASK);
	assert_true(ask(0x80000001, 0).edx & BIT(11));
}

/* A Lynnfield's highest leaf lies below XSAVE's. */
static struct cpuid_regs intel_lynnfield(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = intel_skylake(leaf, subleaf);

	if (leaf == 0)
		r.eax = 0xb;
	else if (leaf == 1)
		r.ecx = 0x0098e3fd;
	return r;
}

static void test_intel_without_xsave(void **state)
{
	(void)state;
	cpuid_init(intel_lynnfield, XCR0_AVX_MASK);
	assert_int_equal(ask(0, 0).eax, 0x16); /* for the TSC's leaves */
	expect_zero(0xb, 0);
	expect_zero(0xd, 0);
	assert_int_equal(cpuid_policy()->xcr0, 0);
	assert_false(cpuid_policy()->cr4 & CR4_OSXSAVE);
	assert_false(ask(7, 0).ebx & BIT(5)); /* AVX2 */
}

/* Whatever is asked for, however often: no crash, and the same answer twice. */
static void test_any_question(void **state)
{
	uint64_t x = 88172645463325252u;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct cpuid_regs a, b;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		a = ask((uint32_t)(x >> 32), (uint32_t)x);
		b = ask((uint32_t)(x >> 32), (uint32_t)x);
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_signature, setup),
		cmocka_unit_test_setup(test_kvm_signature, setup),
		cmocka_unit_test_setup(test_tsc_ratio, setup),
		cmocka_unit_test_setup(test_nothing_unknown_leaks, setup),
		cmocka_unit_test_setup(test_hidden_features, setup),
		cmocka_unit_test_setup(test_tsc_adjust, setup),
		cmocka_unit_test_setup(test_tsc_is_invariant, setup),
		cmocka_unit_test_setup(test_ranges, setup),
		cmocka_unit_test_setup(test_osxsave_mirrors_cr4, setup),
		cmocka_unit_test_setup(test_protection_keys, setup),
		cmocka_unit_test_setup(test_la57, setup),
		cmocka_unit_test_setup(test_xsave_leaf, setup),
		cmocka_unit_test_setup(test_no_xsave, setup),
		cmocka_unit_test_setup(test_policy, setup),
		cmocka_unit_test_setup(test_intel, setup),
		cmocka_unit_test_setup(test_intel_syscall, setup),
		cmocka_unit_test_setup(test_intel_without_xsave, setup),
		cmocka_unit_test_setup(test_any_question, setup),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
