/* vmm/cr.c: every value that the manuals refuse gets #GP and changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_backend.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"

#define LONG_CR0 (CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP)
#define PDPT 0x3000u

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU);
	return 0;
}

/* 32-bit protected mode, paging off. */
static void flat32(void)
{
	fake_vm_reset();
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET;
	fake_hw.reg[REG_CR4] = 0;
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
}

static void expect_gp(bool ok, const char *what)
{
	if (ok || fake_vcpu.events.pending.kind != EVENT_EXCEPTION ||
	    fake_vcpu.events.pending.vector != VEC_GP || fake_vcpu.events.pending.error != 0)
		fail_msg("%s: expected #GP(0)", what);
	fake_vcpu.events.pending.kind = EVENT_NONE;
}

static void refuses(unsigned nr, uint64_t val, const char *what)
{
	uint64_t before[VCPU_REGS];

	memcpy(before, fake_hw.reg, sizeof(before));
	expect_gp(cr_write(&fake_vcpu, nr, val), what);
	assert_memory_equal(before, fake_hw.reg, sizeof(before));
}

static void takes(unsigned nr, enum vcpu_reg reg, uint64_t val, uint64_t want)
{
	assert_true(cr_write(&fake_vcpu, nr, val));
	assert_int_equal(fake_hw.reg[reg], want);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
}

static void test_cr0(void **state)
{
	(void)state;
	refuses(0, LONG_CR0 | BIT(32), "CR0 bit 32");
	refuses(0, BIT(63) | LONG_CR0, "CR0 bit 63");
	refuses(0, CR0_PG | CR0_ET, "PG without PE");
	refuses(0, LONG_CR0 | CR0_NW, "NW without CD");
	refuses(0, LONG_CR0 & ~CR0_PG, "PG off in 64-bit mode");
	takes(0, REG_CR0, LONG_CR0 | CR0_NW | CR0_CD, LONG_CR0 | CR0_NW | CR0_CD);
	takes(0, REG_CR0, (LONG_CR0 & ~CR0_ET) | BIT(6) | BIT(17), LONG_CR0);
	takes(0, REG_CR0, LONG_CR0 | CR0_TS, LONG_CR0 | CR0_TS);
}

static void test_cr0_unchanged_is_not_set(void **state)
{
	(void)state;
	takes(0, REG_CR0, LONG_CR0, LONG_CR0);
	assert_int_equal(fake_hw.sets[REG_CR0], 0);
}

static void test_cr0_leaves_long_mode_from_compatibility(void **state)
{
	(void)state;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
	fake_hw.reg[REG_CR4] |= CR4_PCIDE;
	refuses(0, CR0_PE | CR0_ET, "PG off with PCIDE");
	fake_hw.reg[REG_CR4] &= ~CR4_PCIDE;
	takes(0, REG_CR0, CR0_PE, CR0_PE | CR0_ET);
}

static void test_cr0_enters_long_mode(void **state)
{
	(void)state;
	flat32();
	fake_hw.reg[REG_EFER] = EFER_LME;
	refuses(0, CR0_PE | CR0_PG, "PG with LME and no PAE");
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.seg[SEG_CS].attr |= SEG_ATTR_L;
	refuses(0, CR0_PE | CR0_PG, "PG with LME and CS.L");
	fake_hw.seg[SEG_CS].attr &= (uint16_t)~SEG_ATTR_L;
	takes(0, REG_CR0, CR0_PE | CR0_PG, CR0_PE | CR0_PG | CR0_ET);
}

static struct cpuid_regs like_intel(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 0) {
		r.ebx = 'G' | 'e' << 8 | 'n' << 16 | 'u' << 24;
		r.edx = 'i' | 'n' << 8 | 'e' << 16 | 'I' << 24;
		r.ecx = 'n' | 't' << 8 | 'e' << 16 | 'l' << 24;
	}
	return r;
}

static void test_cr0_16_bit_tss(void **state)
{
	(void)state;
	flat32();
	fake_hw.reg[REG_EFER] = EFER_LME;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.seg[SEG_TR].attr = SEG_ATTR_P | 0x3;
	cpuid_init(like_intel, XCR0_X87);
	refuses(0, CR0_PE | CR0_PG, "PG with LME and a TSS of 16 bits");
	fake_hw.seg[SEG_TR].attr = SEG_ATTR_P | 0xb;
	takes(0, REG_CR0, CR0_PE | CR0_PG, CR0_PE | CR0_PG | CR0_ET);
	flat32();
	fake_hw.reg[REG_EFER] = EFER_LME;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.seg[SEG_TR].attr = SEG_ATTR_P | 0x3;
	cpuid_init(fake_cpuid_amd, XCR0_X87);
	takes(0, REG_CR0, CR0_PE | CR0_PG, CR0_PE | CR0_PG | CR0_ET);
}

static void set_pdpte(unsigned i, uint64_t val)
{
	memcpy(fake_ram + PDPT + 8 * i, &val, 8);
}

static void test_pae_loads_pdptes(void **state)
{
	(void)state;
	flat32();
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	set_pdpte(0, 0x4001);
	set_pdpte(1, 0x5000 | BITS(8, 1)); /* not present: any bits */
	set_pdpte(2, 0x6001 | BIT(5));     /* accessed, as some CPUs leave it */
	set_pdpte(3, BIT(39) | 1 | CR3_PWT | CR3_PCD);
	takes(0, REG_CR0, CR0_PE | CR0_PG, CR0_PE | CR0_PG | CR0_ET);
	assert_int_equal(fake_vcpu.pdpte[0], 0x4001);
	assert_int_equal(fake_vcpu.pdpte[3], BIT(39) | 1 | CR3_PWT | CR3_PCD);
}

/* A processor that holds them writes none to memory: bit 5 is reserved there. */
static void test_pae_accessed_where_they_are_held(void **state)
{
	(void)state;
	flat32();
	fake_vm.backend = &fake_backend_pdptes_ops;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	set_pdpte(2, 0x6001 | BIT(5));
	refuses(0, CR0_PE | CR0_PG, "PG with bit 5 of a PDPTE");
}

/* The backend finds them loaded when it is told of the register that loads them. */
static void test_pae_loaded_before_the_register(void **state)
{
	(void)state;
	flat32();
	fake_vm.backend = &fake_backend_pdptes_ops;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	set_pdpte(2, 0x6001);
	takes(0, REG_CR0, CR0_PE | CR0_PG, CR0_PE | CR0_PG | CR0_ET);
	assert_int_equal(fake_hw.pdpte_when_set[2], 0x6001);
	set_pdpte(2, 0x7001);
	takes(3, REG_CR3, PDPT, PDPT);
	assert_int_equal(fake_hw.pdpte_when_set[2], 0x7001);
	set_pdpte(2, 0x8001);
	takes(4, REG_CR4, CR4_PAE | CR4_PGE, CR4_PAE | CR4_PGE);
	assert_int_equal(fake_hw.pdpte_when_set[2], 0x8001);
	set_pdpte(2, 0x9001);
	takes(0, REG_CR0, CR0_PE | CR0_PG | CR0_CD, CR0_PE | CR0_PG | CR0_ET | CR0_CD);
	assert_int_equal(fake_hw.pdpte_when_set[2], 0x9001);
	takes(4, REG_CR4, 0, 0);
	set_pdpte(2, 0xa001);
	takes(4, REG_CR4, CR4_PAE, CR4_PAE);
	assert_int_equal(fake_hw.pdpte_when_set[2], 0xa001);
}

/* And tells of those that the guest has loaded unseen. */
static void test_pae_asks_the_processor(void **state)
{
	struct guest_paging gp;

	(void)state;
	flat32();
	fake_hw.reg[REG_CR0] |= CR0_PG;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	set_pdpte(1, 0x4001);
	fake_hw.pdpte[1] = 0x5001;
	vcpu_guest_paging(&fake_vcpu, &gp);
	assert_int_equal(gp.pdpte[1], 0x4001);
	fake_vm.backend = &fake_backend_pdptes_ops;
	vcpu_guest_paging(&fake_vcpu, &gp);
	assert_int_equal(gp.pdpte[1], 0x5001);
}

static void test_pae_refuses_reserved(void **state)
{
	static const uint64_t bad[] = { BIT(1), BIT(2), BIT(6), BIT(7), BIT(8), BIT(40), BIT(63) };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		flat32();
		fake_hw.reg[REG_CR4] = CR4_PAE;
		fake_hw.reg[REG_CR3] = PDPT;
		set_pdpte(i % 4, 0x4001 | bad[i]);
		refuses(0, CR0_PE | CR0_PG, "PG with a bad PDPTE");
		fake_hw.reg[REG_CR0] |= CR0_PG;
		refuses(3, PDPT, "CR3 to bad PDPTEs");
		refuses(4, CR4_PAE | CR4_PGE, "CR4.PGE over bad PDPTEs");
		fake_hw.reg[REG_CR4] = 0;
		refuses(4, CR4_PAE, "CR4.PAE over bad PDPTEs");
		fake_hw.reg[REG_CR4] = CR4_PAE;
		takes(4, REG_CR4, CR4_PAE | CR4_TSD, CR4_PAE | CR4_TSD); /* loads none */
	}
	fake_hw.reg[REG_CR0] |= CR0_PG;
	refuses(3, 0xfffff000, "CR3 to no memory");
}

static void test_cr3(void **state)
{
	(void)state;
	takes(3, REG_CR3, 0x1000 | CR3_PWT, 0x1000 | CR3_PWT);
	takes(3, REG_CR3, BITS(39, 12), BITS(39, 12));
	refuses(3, BIT(40), "CR3 bit 40 with 40 physical bits");
	refuses(3, CR3_NOFLUSH | 0x1000, "CR3 bit 63 without PCIDE");
	fake_hw.reg[REG_CR4] |= CR4_PCIDE;
	takes(3, REG_CR3, CR3_NOFLUSH | 0x1005, 0x1005);
	flat32();
	takes(3, REG_CR3, 0xfffff018, 0xfffff018);
}

static void test_cr4(void **state)
{
	(void)state;
	refuses(4, CR4_PAE | CR4_VMXE, "VMXE");
	refuses(4, CR4_PAE | CR4_SMXE, "SMXE");
	refuses(4, CR4_PAE | CR4_LA57, "LA57 in long mode");
	refuses(4, CR4_PAE | CR4_CET, "CET");
	refuses(4, CR4_PAE | BIT(15), "bit 15");
	refuses(4, CR4_PAE | BIT(31), "bit 31");
	refuses(4, CR4_PAE | BIT(40), "bit 40");
	refuses(4, CR4_PGE, "PAE off in long mode");
	takes(4, REG_CR4, CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_OSXSAVE | CR4_FSGSBASE,
	      CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_OSXSAVE | CR4_FSGSBASE);
	takes(4, REG_CR4, CR4_PAE | CR4_PKE, CR4_PAE | CR4_PKE);
}

/* LA57 is set and cleared outside long mode only; what was remembered of the tables goes. */
static void test_cr4_la57(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR4] |= CR4_LA57;
	fake_vcpu.io_barren[3] = 0x1000;
	refuses(4, CR4_PAE, "LA57 off in long mode");
	takes(4, REG_CR4, CR4_PAE | CR4_LA57 | CR4_PGE, CR4_PAE | CR4_LA57 | CR4_PGE);
	assert_int_equal(fake_vcpu.io_barren[3], 0x1000);
	flat32();
	fake_vcpu.lookahead.page[0].code = fake_ram;
	takes(4, REG_CR4, CR4_PAE | CR4_LA57, CR4_PAE | CR4_LA57);
	assert_null(fake_vcpu.lookahead.page[0].code);
	fake_vcpu.lookahead.page[0].code = fake_ram;
	takes(4, REG_CR4, CR4_PAE, CR4_PAE);
	assert_null(fake_vcpu.lookahead.page[0].code);
}

static void test_cr4_pcide(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR3] = 0x1001;
	refuses(4, CR4_PAE | CR4_PCIDE, "PCIDE with PCID bits in CR3");
	fake_hw.reg[REG_CR3] = 0x1000;
	takes(4, REG_CR4, CR4_PAE | CR4_PCIDE, CR4_PAE | CR4_PCIDE);
	fake_hw.reg[REG_CR3] = 0x1001;
	takes(4, REG_CR4, CR4_PAE | CR4_PCIDE | CR4_PGE, CR4_PAE | CR4_PCIDE | CR4_PGE);
	flat32();
	refuses(4, CR4_PCIDE, "PCIDE outside long mode");
}

static struct cpuid_regs bare_cpu(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = fake_cpuid_amd(leaf, subleaf);

	if (leaf == 1)
		r.ecx = 0;
	if (leaf == 7 || leaf == 0x80000001)
		r = (struct cpuid_regs){ 0 };
	return r;
}

/* What CPUID does not offer is reserved. */
static void test_bits_follow_cpuid(void **state)
{
	(void)state;
	cpuid_init(bare_cpu, 0);
	refuses(4, CR4_PAE | CR4_SMEP, "SMEP");
	refuses(4, CR4_PAE | CR4_SMAP, "SMAP");
	refuses(4, CR4_PAE | CR4_FSGSBASE, "FSGSBASE");
	refuses(4, CR4_PAE | CR4_UMIP, "UMIP");
	refuses(4, CR4_PAE | CR4_OSXSAVE, "OSXSAVE");
	refuses(4, CR4_PAE | CR4_PCIDE, "PCIDE");
	refuses(4, CR4_PAE | CR4_PKE, "PKE");
	flat32();
	refuses(4, CR4_LA57, "LA57");
	fake_hw.reg[REG_EFER] = 0;
	assert_false(cr_write_efer(&fake_vcpu, EFER_NXE));
	assert_false(cr_write_efer(&fake_vcpu, EFER_FFXSR));
	assert_false(cr_write_efer(&fake_vcpu, EFER_SCE));
}

static void test_cr8(void **state)
{
	(void)state;
	takes(8, REG_CR8, 15, 15);
	refuses(8, 16, "CR8 = 16");
	refuses(8, BIT(63), "CR8 bit 63");
}

static void test_no_such_register(void **state)
{
	(void)state;
	assert_false(cr_write(&fake_vcpu, 1, 0));
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
}

static void test_lmsw_clts(void **state)
{
	(void)state;
	assert_true(cr_write_lmsw(&fake_vcpu, 0xfff0 | CR0_TS | CR0_MP));
	assert_int_equal(fake_hw.reg[REG_CR0], LONG_CR0 | CR0_TS | CR0_MP);
	assert_true(cr_write_lmsw(&fake_vcpu, CR0_TS));
	assert_int_equal(fake_hw.reg[REG_CR0], LONG_CR0 | CR0_TS);
	assert_true(cr_clts(&fake_vcpu));
	assert_int_equal(fake_hw.reg[REG_CR0], LONG_CR0);
	fake_hw.reg[REG_CR0] = CR0_ET;
	assert_true(cr_write_lmsw(&fake_vcpu, CR0_PE));
	assert_int_equal(fake_hw.reg[REG_CR0], CR0_ET | CR0_PE);
}

static void test_efer(void **state)
{
	const uint64_t lm = EFER_LME | EFER_LMA;

	(void)state;
	assert_false(cr_write_efer(&fake_vcpu, lm | BIT(1)));
	assert_false(cr_write_efer(&fake_vcpu, lm | EFER_SVME));
	assert_false(cr_write_efer(&fake_vcpu, lm | EFER_LMSLE));
	assert_false(cr_write_efer(&fake_vcpu, lm | BIT(32)));
	assert_false(cr_write_efer(&fake_vcpu, EFER_SCE)); /* LME off while paging */
	assert_int_equal(fake_hw.sets[REG_EFER], 0);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_true(cr_write_efer(&fake_vcpu, EFER_LME | EFER_NXE)); /* LMA is not software's */
	assert_int_equal(fake_hw.reg[REG_EFER], lm | EFER_NXE);
	flat32();
	assert_true(cr_write_efer(&fake_vcpu, EFER_LME | EFER_LMA));
	assert_int_equal(fake_hw.reg[REG_EFER], EFER_LME);
}

static void test_xsetbv(void **state)
{
	static const uint64_t bad[] = { 0, XCR0_SSE, XCR0_X87 | XCR0_AVX,
					XCR0_X87 | XCR0_SSE | XCR0_OPMASK, XCR0_X87 | BIT(62) };

	(void)state;
	assert_false(cr_write_xcr(&fake_vcpu, 0, XCR0_X87));
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
	setup(NULL);
	fake_hw.reg[REG_CR4] |= CR4_OSXSAVE;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		expect_gp(cr_write_xcr(&fake_vcpu, 0, bad[i]), "XCR0 value");
	expect_gp(cr_write_xcr(&fake_vcpu, 1, XCR0_X87), "XCR1");
	assert_int_equal(fake_vcpu.stale, 0);
	assert_true(cr_write_xcr(&fake_vcpu, 0, XCR0_X87 | XCR0_SSE | XCR0_AVX));
	assert_int_equal(fake_vcpu.xcr0, 7);
	assert_int_equal(fake_vcpu.stale, VCPU_STALE_XCR0);
	assert_true(cr_write_xcr(&fake_vcpu, 0, XCR0_X87 | XCR0_PKRU));
	fake_hw.reg[REG_CPL] = 3;
	expect_gp(cr_write_xcr(&fake_vcpu, 0, XCR0_X87), "XSETBV at CPL 3");
}

/* AVX-512 needs its three parts together, and AVX. */
static void test_xsetbv_avx512(void **state)
{
	const uint64_t avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	const uint64_t avx = XCR0_X87 | XCR0_SSE | XCR0_AVX;

	(void)state;
	cpuid_init(fake_cpuid_amd, avx | avx512);
	fake_hw.reg[REG_CR4] |= CR4_OSXSAVE;
	expect_gp(cr_write_xcr(&fake_vcpu, 0, avx | XCR0_OPMASK), "opmask alone");
	expect_gp(cr_write_xcr(&fake_vcpu, 0, XCR0_X87 | XCR0_PKRU), "no PKRU");
	expect_gp(cr_write_xcr(&fake_vcpu, 0, XCR0_X87 | XCR0_SSE | avx512), "no AVX");
	assert_true(cr_write_xcr(&fake_vcpu, 0, avx | avx512));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cr0, setup),
		cmocka_unit_test_setup(test_cr0_unchanged_is_not_set, setup),
		cmocka_unit_test_setup(test_cr0_leaves_long_mode_from_compatibility, setup),
		cmocka_unit_test_setup(test_cr0_enters_long_mode, setup),
		cmocka_unit_test_setup(test_cr0_16_bit_tss, setup),
		cmocka_unit_test_setup(test_pae_loads_pdptes, setup),
		cmocka_unit_test_setup(test_pae_accessed_where_they_are_held, setup),
		cmocka_unit_test_setup(test_pae_loaded_before_the_register, setup),
		cmocka_unit_test_setup(test_pae_asks_the_processor, setup),
		cmocka_unit_test_setup(test_pae_refuses_reserved, setup),
		cmocka_unit_test_setup(test_cr3, setup),
		cmocka_unit_test_setup(test_cr4, setup),
		cmocka_unit_test_setup(test_cr4_la57, setup),
		cmocka_unit_test_setup(test_cr4_pcide, setup),
		cmocka_unit_test_setup(test_bits_follow_cpuid, setup),
		cmocka_unit_test_setup(test_cr8, setup),
		cmocka_unit_test_setup(test_no_such_register, setup),
		cmocka_unit_test_setup(test_lmsw_clts, setup),
		cmocka_unit_test_setup(test_efer, setup),
		cmocka_unit_test_setup(test_xsetbv, setup),
		cmocka_unit_test_setup(test_xsetbv_avx512, setup),
	};

	return cmocka_run_group_tests_name("cr", tests, NULL, NULL);
}
