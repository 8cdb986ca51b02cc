/* Guest-visible paging: each rule, and each mistake that is easily made, by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/guest.h"

#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define PS BIT(7)
#define NX BIT(63)
#define PWU (P | W | U)

/* --- guest memory: 64 KiB of RAM at 0, ROM at 1 MiB, else nothing --- */

#define RAM_SIZE KIB(64)
#define ROM_BASE MIB(1)

static uint8_t ram[RAM_SIZE], rom[PAGE_SIZE];
static unsigned nr_reads, nr_swaps;
static void (*before_swap)(void);

static void *memory_at(uint64_t pa, unsigned size)
{
	assert_true(IS_ALIGNED(pa, size));
	if (pa < RAM_SIZE)
		return ram + pa;
	return pa - ROM_BASE < sizeof(rom) ? rom + (pa - ROM_BASE) : NULL;
}

static bool memory_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const void *p = memory_at(pa, size);

	(void)ctx;
	nr_reads++;
	*val = 0;
	if (p)
		memcpy(val, p, size);
	return p;
}

static bool memory_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	void *p = memory_at(pa, size);

	(void)ctx;
	assert_non_null(p);
	nr_swaps++;
	if (before_swap)
		before_swap();
	if (p >= (void *)rom && p < (void *)(rom + sizeof(rom)))
		return true;
	if (memcmp(p, &old, size))
		return false;
	memcpy(p, &val, size);
	return true;
}

static const struct pt_mem mem = { .read = memory_read, .cmpxchg = memory_cmpxchg };

static uint64_t *e64(uint64_t table, unsigned index)
{
	return (uint64_t *)(ram + table) + index;
}

static uint32_t *e32(uint64_t table, unsigned index)
{
	return (uint32_t *)(ram + table) + index;
}

/* --- one access --- */

static struct guest_paging gp;
static struct guest_xlat out;
static struct guest_fault fault;

static bool translate(uint64_t gva, const char *how)
{
	struct guest_access access = {
		.write = strchr(how, 'w'),
		.fetch = strchr(how, 'x'),
		.user = strchr(how, 'u'),
		.implicit = strchr(how, 'i'),
	};

	memset(&out, 0, sizeof(out));
	memset(&fault, 0, sizeof(fault));
	return guest_translate(&gp, &mem, GVA(gva), access, &out, &fault);
}

/* how: r, w or x, with u for user mode and i for implicit. */
static void expect_ok(uint64_t gva, const char *how, uint64_t gpa)
{
	if (!translate(gva, how))
		fail_msg("%s at %#llx: #PF(%x), should pass", how, (unsigned long long)gva,
			 fault.error);
	assert_int_equal(out.gpa.v, gpa);
}

static void expect_fault(uint64_t gva, const char *how, uint32_t error)
{
	unsigned swaps = nr_swaps;

	if (translate(gva, how))
		fail_msg("%s at %#llx passed, should be #PF(%x)", how, (unsigned long long)gva,
			 error);
	if (fault.error != error)
		fail_msg("%s at %#llx: #PF(%x), should be #PF(%x)", how, (unsigned long long)gva,
			 fault.error, error);
	assert_int_equal(fault.vector, VEC_PF);
	assert_true(fault.has_error);
	assert_int_equal(fault.cr2, gva);
	assert_int_equal(nr_swaps, swaps);
}

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	memset(rom, 0, sizeof(rom));
	nr_reads = nr_swaps = 0;
	before_swap = NULL;
	gp = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = 0x1000,
		.caps = { .maxphyaddr = 40, .page_1g = true, .pse36 = true },
	};
	return 0;
}

/* 4-level: 0x1000 -> 0x2000 -> 0x3000 -> 0x4000, all rights; page 0 of it at gpa 0x7000. */
static void long_mode(void)
{
	gp.cr4 = CR4_PAE;
	gp.efer = EFER_LME | EFER_LMA | EFER_NXE;
	*e64(0x1000, 0) = 0x2000 | PWU;
	*e64(0x2000, 0) = 0x3000 | PWU;
	*e64(0x3000, 0) = 0x4000 | PWU;
	*e64(0x4000, 0) = 0x7000 | PWU;
}

/* 32-bit: 0x1000 -> 0x2000; page 0 of it at gpa 0x7000. */
static void legacy(void)
{
	*e32(0x1000, 0) = 0x2000 | PWU;
	*e32(0x2000, 0) = 0x7000 | PWU;
}

static void pae(void)
{
	gp.cr4 = CR4_PAE;
	gp.efer = EFER_NXE;
	gp.pdpte[0] = 0x2000 | P;
	*e64(0x2000, 0) = 0x3000 | PWU;
	*e64(0x3000, 0) = 0x7000 | PWU;
}

/* --- formats --- */

static void test_paging_off(void **state)
{
	(void)state;
	gp.cr0 = CR0_PE;
	expect_ok(0xfffff123, "wu", 0xfffff123);
	assert_int_equal(out.page_size, PAGE_SIZE);
	assert_true(out.writable);
	assert_int_equal(nr_reads, 0);
	assert_true(guest_peek(&gp, &mem, GVA(0x1234), &out));
	assert_int_equal(out.gpa.v, 0x1234);
}

static void test_pse_off_ignores_large_bit(void **state)
{
	(void)state;
	legacy();
	*e32(0x1000, 0) |= PS;
	expect_ok(0x123, "r", 0x7123);
	gp.cr4 = CR4_PSE;
	*e32(0x1000, 0) = 0xc00000 | PWU | PS;
	expect_ok(0x123456, "r", 0xd23456);
	assert_int_equal(out.page_size, MIB(4));
}

static void test_pse36_address_bits(void **state)
{
	(void)state;
	gp.cr4 = CR4_PSE;
	/* Bits 20:13 are address bits 39:32; bit 21 is reserved. */
	*e32(0x1000, 0) = 0x400000 | PWU | PS | 0xa5 << 13;
	expect_ok(0x1234, "r", 0xa500401234);
	*e32(0x1000, 0) |= BIT(21);
	expect_fault(0x1234, "r", PF_P | PF_RSVD);
	/* With 36 address bits, 20:17 are reserved too. */
	gp.caps.maxphyaddr = 36;
	*e32(0x1000, 0) = 0x400000 | PWU | PS | 0xf << 13;
	expect_ok(0x1234, "r", 0xf00401234);
	*e32(0x1000, 0) |= BIT(17);
	expect_fault(0x1234, "r", PF_P | PF_RSVD);
	/* Without PSE-36 all are. */
	gp.caps.pse36 = false;
	*e32(0x1000, 0) = 0x400000 | PWU | PS | BIT(13);
	expect_fault(0x1234, "wu", PF_P | PF_RSVD | PF_W | PF_U);
}

static void test_pae_reaches_above_4g(void **state)
{
	(void)state;
	pae();
	*e64(0x3000, 5) = UINT64_C(0xab12345000) | PWU;
	expect_ok(0x5678, "r", UINT64_C(0xab12345678));
	*e64(0x2000, 1) = UINT64_C(0xab12200000) | PWU | PS;
	expect_ok(0x21f678, "r", UINT64_C(0xab1221f678));
	assert_int_equal(out.page_size, MIB(2));
}

static void test_pae_pdptes_are_cached(void **state)
{
	(void)state;
	pae();
	/* What memory at CR3 says now does not matter. */
	*e64(0x1000, 0) = 0;
	expect_ok(0, "wu", 0x7000);
	gp.pdpte[3] = gp.pdpte[0];
	expect_ok(0xc0000000, "wu", 0x7000);
	expect_fault(0x40000000, "wu", PF_W | PF_U);
	expect_fault(0x40000000, "xu", PF_I | PF_U);
	assert_false(guest_peek(&gp, &mem, GVA(0x40000000), &out));
}

static void test_pae_pdpte_has_no_rights(void **state)
{
	(void)state;
	pae(); /* pdpte[0] has W and U clear */
	expect_ok(0, "wu", 0x7000);
	assert_int_equal(gp.pdpte[0], 0x2000 | P);
}

static void test_load_pdptes(void **state)
{
	static const uint64_t bad[] = { BIT(1), BIT(2), BIT(6), BIT(7), BIT(8), BIT(40), BIT(63) };
	uint64_t got[4] = { 1, 2, 3, 4 };

	(void)state;
	pae();
	*e64(0x1020, 0) = 0x2000 | P | BIT(3) | BIT(4) | BIT(9) | BIT(11);
	*e64(0x1020, 1) = ~P; /* anything, as it is not present */
	assert_true(guest_load_pdptes(&gp.caps, &mem, 0x1020, got));
	assert_int_equal(got[0], *e64(0x1020, 0));
	assert_int_equal(got[1], ~P);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		*e64(0x1020, 3) = 0x2000 | P | bad[i];
		assert_false(guest_load_pdptes(&gp.caps, &mem, 0x1020, got));
		assert_int_equal(got[3], 0);
	}
	/* Nested walks of some processors set accessed there. */
	*e64(0x1020, 3) = 0x2000 | P | A;
	assert_true(guest_load_pdptes(&gp.caps, &mem, 0x1020, got));
	gp.caps.strict_pdpte = true;
	assert_false(guest_load_pdptes(&gp.caps, &mem, 0x1020, got));
	/* No memory there: all ones. */
	assert_false(guest_load_pdptes(&gp.caps, &mem, 0x200000, got));
}

static void test_pae_reserved_bits(void **state)
{
	(void)state;
	pae();
	for (unsigned bit = 40; bit < 63; bit++) {
		*e64(0x3000, 0) = 0x7000 | PWU | BIT(bit);
		expect_fault(0, "r", PF_P | PF_RSVD);
	}
	*e64(0x3000, 0) = 0x7000 | PWU;
	*e64(0x2000, 0) |= BIT(52);
	expect_fault(0, "r", PF_P | PF_RSVD);
}

static void test_sign_extended_addresses(void **state)
{
	(void)state;
	long_mode();
	*e64(0x1000, 511) = 0x2000 | PWU;
	*e64(0x2000, 510) = 0x3000 | PWU;
	expect_ok(UINT64_C(0xffffffff80000abc), "r", 0x7abc);
	expect_fault(UINT64_C(0xffffffff80001abc), "r", 0);
}

static void test_5level(void **state)
{
	(void)state;
	long_mode();
	gp.cr4 |= CR4_LA57;
	*e64(0x5000, 0x1fe) = 0x1000 | PWU;
	gp.cr3 = 0x5000 | CR3_PCD | 7;
	expect_ok(UINT64_C(0xfffe000000000def), "wu", 0x7def);
	*e64(0x5000, 0x1fe) |= PS;
	expect_fault(UINT64_C(0xfffe000000000def), "wu", PF_P | PF_RSVD | PF_W | PF_U);
}

static void test_1g_page_only_where_there_are(void **state)
{
	(void)state;
	long_mode();
	*e64(0x2000, 1) = GIB(5) | PWU | PS;
	expect_ok(GIB(1) + 0x1234567, "r", GIB(5) + 0x1234567);
	assert_int_equal(out.page_size, GIB(1));
	*e64(0x2000, 1) |= BIT(13);
	expect_fault(GIB(1), "r", PF_P | PF_RSVD);
	*e64(0x2000, 1) = GIB(5) | PWU | PS;
	gp.caps.page_1g = false;
	expect_fault(GIB(1), "r", PF_P | PF_RSVD);
}

static void test_reserved_address_bits(void **state)
{
	(void)state;
	long_mode();
	for (unsigned bit = 40; bit < 52; bit++) {
		*e64(0x4000, 0) = 0x7000 | PWU | BIT(bit);
		expect_fault(0, "r", PF_P | PF_RSVD);
	}
	*e64(0x4000, 0) = 0x7000 | PWU | BITS(62, 52) | BITS(11, 9);
	expect_ok(0, "r", 0x7000);
	gp.caps.maxphyaddr = 52;
	*e64(0x4000, 0) = BITS(51, 12) | PWU;
	expect_ok(0xabc, "r", BITS(51, 12) | 0xabc);
}

static void test_amd_reserves_bit_8(void **state)
{
	(void)state;
	long_mode();
	*e64(0x2000, 0) |= BIT(8);
	expect_ok(0, "r", 0x7000);
	gp.caps.nonleaf_g_rsvd = true;
	expect_fault(0, "r", PF_P | PF_RSVD);
	*e64(0x2000, 0) = 0x3000 | PWU;
	*e64(0x3000, 0) |= BIT(8);
	expect_ok(0, "r", 0x7000);
}

/* --- rights --- */

static void test_nx_needs_nxe(void **state)
{
	(void)state;
	long_mode();
	*e64(0x3000, 0) |= NX;
	expect_fault(0, "xu", PF_P | PF_U | PF_I);
	expect_ok(0, "r", 0x7000);
	/* Without NXE the bit is reserved, and fetches are not reported. */
	gp.efer &= ~EFER_NXE;
	expect_fault(0, "r", PF_P | PF_RSVD);
	expect_fault(0, "x", PF_P | PF_RSVD);
	*e64(0x3000, 0) &= ~NX;
	expect_ok(0, "xu", 0x7000);
}

static void test_error_code_of_absent_entry(void **state)
{
	(void)state;
	long_mode();
	*e64(0x3000, 0) = BITS(62, 12) | PS | W; /* reserved bits do not count */
	expect_fault(0, "r", 0);
	expect_fault(0, "w", PF_W);
	expect_fault(0, "ru", PF_U);
	expect_fault(0, "xu", PF_U | PF_I);
	gp.efer &= ~EFER_NXE;
	expect_fault(0, "xu", PF_U);
	gp.cr4 |= CR4_SMEP;
	expect_fault(0, "xu", PF_U | PF_I);
}

static void test_upper_levels_take_rights_from_large_page(void **state)
{
	(void)state;
	long_mode();
	*e64(0x3000, 1) = MIB(6) | PWU | PS;
	expect_ok(MIB(2), "wu", MIB(6));
	*e64(0x2000, 0) = 0x3000 | P | U;
	expect_fault(MIB(2), "wu", PF_P | PF_W | PF_U);
	expect_ok(MIB(2), "ru", MIB(6));
	*e64(0x2000, 0) = 0x3000 | P | W;
	expect_fault(MIB(2), "ru", PF_P | PF_U);
	*e64(0x2000, 0) = 0x3000 | PWU;
	*e64(0x1000, 0) |= NX;
	expect_fault(MIB(2), "xu", PF_P | PF_U | PF_I);
}

static void test_write_protect(void **state)
{
	(void)state;
	legacy();
	*e32(0x2000, 0) = 0x7000 | P | U;
	expect_fault(0, "w", PF_P | PF_W);
	expect_fault(0, "wu", PF_P | PF_W | PF_U);
	gp.cr0 &= ~CR0_WP;
	expect_ok(0, "w", 0x7000);
	assert_true(*e32(0x2000, 0) & D);
	expect_fault(0, "wu", PF_P | PF_W | PF_U);
}

static void test_smep(void **state)
{
	(void)state;
	long_mode();
	expect_ok(0, "x", 0x7000);
	gp.cr4 |= CR4_SMEP;
	expect_fault(0, "x", PF_P | PF_I);
	expect_ok(0, "xu", 0x7000);
	*e64(0x1000, 0) &= ~U; /* one level without U makes a supervisor page */
	expect_ok(0, "x", 0x7000);
	/* With the rights of CR0.WP=0 it still is not executable. */
	*e64(0x1000, 0) |= U;
	gp.cr0 &= ~CR0_WP;
	expect_fault(0, "x", PF_P | PF_I);
}

static void test_smap(void **state)
{
	(void)state;
	long_mode();
	gp.cr4 |= CR4_SMAP;
	expect_fault(0, "r", PF_P);
	expect_fault(0, "w", PF_P | PF_W);
	expect_ok(0, "wu", 0x7000);
	expect_ok(0, "x", 0x7000); /* fetches are SMEP's matter */
	gp.rflags = RFLAGS_AC;
	expect_ok(0, "w", 0x7000);
	/* AC does not count for what the CPU does by itself, even at CPL 3. */
	expect_fault(0, "ri", PF_P);
	expect_fault(0, "rui", PF_P);
	gp.cr4 &= ~CR4_SMAP;
	expect_ok(0, "rui", 0x7000);
	*e64(0x4000, 0) = 0x7000 | P | W;
	expect_ok(0, "rui", 0x7000);
	expect_fault(0, "ru", PF_P | PF_U);
}

static void test_protection_keys(void **state)
{
	(void)state;
	long_mode();
	*e64(0x4000, 0) |= (uint64_t)5 << 59;
	gp.pkru = 1u << (2 * 5); /* AD */
	expect_ok(0, "ru", 0x7000);
	gp.cr4 |= CR4_PKE;
	expect_fault(0, "ru", PF_P | PF_U | PF_PK);
	expect_fault(0, "r", PF_P | PF_PK);
	expect_ok(0, "xu", 0x7000);
	gp.pkru = 2u << (2 * 5); /* WD */
	expect_ok(0, "ru", 0x7000);
	expect_fault(0, "wu", PF_P | PF_W | PF_U | PF_PK);
	expect_fault(0, "w", PF_P | PF_W | PF_PK);
	gp.cr0 &= ~CR0_WP;
	expect_ok(0, "w", 0x7000);
	expect_fault(0, "wu", PF_P | PF_W | PF_U | PF_PK);
	gp.pkru = ~(3u << (2 * 5)); /* the other keys */
	expect_ok(0, "wu", 0x7000);
	/* Keys are for user pages. */
	gp.pkru = ~0u;
	*e64(0x4000, 0) &= ~U;
	expect_ok(0, "w", 0x7000);
}

static void test_keys_only_in_long_mode(void **state)
{
	(void)state;
	pae();
	gp.cr4 |= CR4_PKE;
	gp.pkru = ~0u;
	expect_ok(0, "wu", 0x7000);
}

/* --- accessed and dirty --- */

static void test_accessed_and_dirty(void **state)
{
	(void)state;
	long_mode();
	expect_ok(0, "r", 0x7000);
	assert_false(out.writable); /* dirty is not set yet */
	assert_int_equal(*e64(0x1000, 0), 0x2000 | PWU | A);
	assert_int_equal(*e64(0x2000, 0), 0x3000 | PWU | A);
	assert_int_equal(*e64(0x3000, 0), 0x4000 | PWU | A);
	assert_int_equal(*e64(0x4000, 0), 0x7000 | PWU | A);
	expect_ok(0, "w", 0x7000);
	assert_true(out.writable);
	assert_int_equal(*e64(0x3000, 0), 0x4000 | PWU | A);
	assert_int_equal(*e64(0x4000, 0), 0x7000 | PWU | A | D);
	nr_swaps = 0;
	expect_ok(0, "r", 0x7000); /* dirty stays, nothing is written again */
	assert_int_equal(*e64(0x4000, 0), 0x7000 | PWU | A | D);
	assert_true(out.writable);
	assert_int_equal(nr_swaps, 0);
}

/* expect_fault() checks that nothing is written. */
static void test_fault_marks_nothing(void **state)
{
	(void)state;
	long_mode();
	*e64(0x4000, 0) = 0x7000;
	expect_fault(0, "w", PF_W);
	*e64(0x4000, 0) = 0x7000 | P;
	expect_fault(0, "wu", PF_P | PF_W | PF_U);
	assert_int_equal(*e64(0x1000, 0), 0x2000 | PWU);
}

static void test_pae_pdpte_not_marked(void **state)
{
	(void)state;
	pae();
	expect_ok(0, "w", 0x7000);
	assert_int_equal(gp.pdpte[0], 0x2000 | P);
	assert_int_equal(*e64(0x2000, 0), 0x3000 | PWU | A);
	assert_int_equal(*e64(0x3000, 0), 0x7000 | PWU | A | D);
}

static void test_peek_marks_nothing(void **state)
{
	(void)state;
	long_mode();
	*e64(0x4000, 0) = 0x7000 | P | NX;
	assert_true(guest_peek(&gp, &mem, GVA(0x123), &out));
	assert_int_equal(out.gpa.v, 0x7123);
	assert_false(out.writable);
	assert_int_equal(nr_swaps, 0);
	*e64(0x4000, 0) = 0;
	assert_false(guest_peek(&gp, &mem, GVA(0x123), &out));
}

static void other_cpu_moves_page(void)
{
	*e64(0x4000, 0) = 0x9000 | PWU;
	before_swap = NULL;
}

static void other_cpu_unmaps(void)
{
	*e64(0x3000, 0) = 0;
	before_swap = NULL;
}

static void other_cpu_write_protects(void)
{
	*e64(0x4000, 0) &= ~W;
	before_swap = NULL;
}

/* The entries change between walk and mark: what is now there counts. */
static void test_lost_race_walks_again(void **state)
{
	(void)state;
	long_mode();
	before_swap = other_cpu_moves_page;
	expect_ok(0, "w", 0x9000);
	assert_int_equal(*e64(0x4000, 0), 0x9000 | PWU | A | D);

	long_mode();
	before_swap = other_cpu_write_protects;
	assert_false(translate(0, "w"));
	assert_int_equal(fault.error, PF_P | PF_W);
	assert_int_equal(*e64(0x4000, 0), 0x7000 | P | U);

	long_mode();
	before_swap = other_cpu_unmaps;
	assert_false(translate(0, "w"));
	assert_int_equal(fault.error, PF_W);
	assert_int_equal(*e64(0x3000, 0), 0);
}

static void always_other(void)
{
	*e64(0x4000, 0) ^= BIT(9);
}

static void test_endless_race_ends(void **state)
{
	(void)state;
	long_mode();
	*e64(0x1000, 0) |= A;
	*e64(0x2000, 0) |= A;
	*e64(0x3000, 0) |= A;
	before_swap = always_other;
	assert_false(translate(0, "w"));
	assert_int_equal(fault.error, PF_W);
	assert_in_range(nr_swaps, 2, 1000);
}

/* --- tables where none should be --- */

static void test_recursive_table(void **state)
{
	(void)state;
	long_mode();
	*e64(0x1000, 0) = 0x1000 | PWU;
	expect_ok(0x123, "w", 0x1123);
	assert_int_equal(*e64(0x1000, 0), 0x1000 | PWU | A | D);
	assert_in_range(nr_reads, 4, 32);
}

/* One table in two places, and as two levels at once: each place is its own path. */
static void test_table_mapped_twice(void **state)
{
	(void)state;
	long_mode();
	*e64(0x3000, 1) = 0x4000 | P | U;
	expect_ok(0, "wu", 0x7000);
	expect_ok(MIB(2), "ru", 0x7000);
	expect_fault(MIB(2), "wu", PF_P | PF_W | PF_U);
	/* 0x3000 as a page table too: its first entry then maps the page at 0x4000. */
	*e64(0x3000, 2) = 0x3000 | PWU;
	expect_ok(MIB(4), "wu", 0x4000);
	assert_int_equal(*e64(0x3000, 0), 0x4000 | PWU | A | D);
	expect_ok(MIB(4) + 0x2000, "ru", 0x3000);
}

static void test_absent_entry_is_not_marked(void **state)
{
	(void)state;
	long_mode();
	*e64(0x4000, 0) &= ~P;
	expect_fault(0, "w", PF_W);
	assert_int_equal(*e64(0x1000, 0), 0x2000 | PWU);
	assert_int_equal(*e64(0x3000, 0), 0x4000 | PWU);
	assert_int_equal(*e64(0x4000, 0), 0x7000 | W | U);
}

static void test_table_beyond_memory(void **state)
{
	(void)state;
	long_mode();
	/* All ones there: reserved bits. */
	*e64(0x2000, 0) = 0x900000 | PWU;
	expect_fault(0, "wu", PF_P | PF_RSVD | PF_W | PF_U);
	assert_false(guest_peek(&gp, &mem, GVA(0), &out));
	/* In 32-bit mode, all ones is a page with all rights, and no one keeps the D bit. */
	gp.efer = gp.cr4 = 0;
	legacy();
	*e32(0x1000, 0) = 0x900000 | PWU;
	expect_ok(0x123, "wu", 0xfffff123);
	gp.cr3 = 0x900000;
	expect_ok(0x123, "wu", 0xfffff123);
}

static void test_table_in_rom(void **state)
{
	uint64_t pte = 0x7000 | PWU;

	(void)state;
	long_mode();
	*e64(0x3000, 0) = ROM_BASE | PWU;
	memcpy(rom, &pte, sizeof(pte));
	expect_ok(0, "w", 0x7000);
	assert_memory_equal(rom, &pte, sizeof(pte));
}

/* More kinds of virtual CPU than are remembered. */
static void test_many_cpu_kinds(void **state)
{
	(void)state;
	long_mode();
	*e64(0x4000, 0) = 0x7000 | PWU | BIT(45);
	for (unsigned i = 0; i < 3 * 21 * 8; i++) {
		gp.caps = (struct pt_caps){ .maxphyaddr = (uint8_t)(32 + i / 8 % 21),
					    .page_1g = i & 1,
					    .nonleaf_g_rsvd = i & 2,
					    .pse36 = i & 4 };
		if (gp.caps.maxphyaddr > 45)
			expect_ok(0, "r", BIT(45) | 0x7000);
		else
			expect_fault(0, "r", PF_P | PF_RSVD);
	}
}

/* A translation comes with every entry that it was read from, from the top, and their places. */
static void test_memo(void **state)
{
	struct guest_memo memo;
	const uint64_t table[] = { 0x1000, 0x2000, 0x3000, 0x4000 };

	(void)state;
	long_mode();
	assert_true(guest_remember(&gp, &mem, GVA(0x123), &memo));
	assert_int_equal(nr_swaps, 0);
	assert_int_equal(memo.gpa.v, 0x7000);
	assert_int_equal(memo.n, 4);
	assert_int_equal(memo.entry_size, 8);
	assert_int_equal(memo.root_mask, BITS(51, 12));
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		assert_int_equal(memo.entry_pa[i], table[i]);
		assert_int_equal(memo.entry[i], *e64(table[i], 0));
	}

	/* In a large page, the page of 4 KiB that was asked for. */
	*e64(0x3000, 1) = 0x200000 | PWU | PS;
	assert_true(guest_remember(&gp, &mem, GVA(0x2f5123), &memo));
	assert_int_equal(memo.gpa.v, 0x2f5000);
	assert_int_equal(memo.n, 3);
	assert_int_equal(memo.entry_pa[2], 0x3008);

	assert_false(guest_remember(&gp, &mem, GVA(0x1000), &memo));
}

/* PAE's begins with the PDPTE that was loaded, whatever memory has now. */
static void test_memo_pae(void **state)
{
	struct guest_memo memo;

	(void)state;
	pae();
	assert_true(guest_remember(&gp, &mem, GVA(0x123), &memo));
	assert_int_equal(memo.gpa.v, 0x7000);
	assert_int_equal(memo.n, 3);
	assert_int_equal(memo.entry_size, 8);
	assert_int_equal(memo.root_mask, BITS(31, 5));
	assert_int_equal(memo.entry[0], 0x2000 | P);
	assert_int_equal(memo.entry_pa[0], gp.cr3 & BITS(31, 5));
	assert_int_equal(memo.entry_pa[1], 0x2000);
	assert_int_equal(memo.entry_pa[2], 0x3000);
	gp.pdpte[0] = 0;
	assert_false(guest_remember(&gp, &mem, GVA(0x123), &memo));
}

static void test_memo_legacy(void **state)
{
	struct guest_memo memo;

	(void)state;
	legacy();
	assert_true(guest_remember(&gp, &mem, GVA(0x123), &memo));
	assert_int_equal(memo.gpa.v, 0x7000);
	assert_int_equal(memo.n, 2);
	assert_int_equal(memo.entry_size, 4);
	assert_int_equal(memo.root_mask, BITS(31, 12));
	assert_int_equal(memo.entry_pa[0], 0x1000);
	assert_int_equal(memo.entry_pa[1], 0x2000);
	/* Without paging there are no entries. */
	gp.cr0 = CR0_PE;
	assert_true(guest_remember(&gp, &mem, GVA(0x12345678), &memo));
	assert_int_equal(memo.gpa.v, 0x12345000);
	assert_int_equal(memo.n, 0);
	assert_int_equal(memo.root_mask, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_paging_off),
		TEST(test_pse_off_ignores_large_bit),
		TEST(test_pse36_address_bits),
		TEST(test_pae_reaches_above_4g),
		TEST(test_pae_pdptes_are_cached),
		TEST(test_pae_pdpte_has_no_rights),
		TEST(test_load_pdptes),
		TEST(test_pae_reserved_bits),
		TEST(test_sign_extended_addresses),
		TEST(test_5level),
		TEST(test_1g_page_only_where_there_are),
		TEST(test_reserved_address_bits),
		TEST(test_amd_reserves_bit_8),
		TEST(test_nx_needs_nxe),
		TEST(test_error_code_of_absent_entry),
		TEST(test_upper_levels_take_rights_from_large_page),
		TEST(test_write_protect),
		TEST(test_smep),
		TEST(test_smap),
		TEST(test_protection_keys),
		TEST(test_keys_only_in_long_mode),
		TEST(test_accessed_and_dirty),
		TEST(test_fault_marks_nothing),
		TEST(test_pae_pdpte_not_marked),
		TEST(test_peek_marks_nothing),
		TEST(test_lost_race_walks_again),
		TEST(test_endless_race_ends),
		TEST(test_recursive_table),
		TEST(test_table_mapped_twice),
		TEST(test_absent_entry_is_not_marked),
		TEST(test_table_beyond_memory),
		TEST(test_table_in_rom),
		TEST(test_many_cpu_kinds),
		TEST(test_memo),
		TEST(test_memo_pae),
		TEST(test_memo_legacy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
