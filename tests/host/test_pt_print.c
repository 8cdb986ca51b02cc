/* The printers: the words for every format, folding, and bounds on hostile trees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/guest.h"
#include "paging/print.h"
#include "tests/host/pt_arena.h"

#define RW (PT_R | PT_W)
#define AD (PT_A | PT_D)

static char lines[16][200];
static unsigned nr_lines;

static void take(void *ctx, const char *text)
{
	assert_ptr_equal(ctx, lines);
	assert_true(strlen(text) < sizeof(lines[0]));
	assert_null(strchr(text, '\n'));
	if (nr_lines < ARRAY_SIZE(lines))
		strcpy(lines[nr_lines], text);
	nr_lines++;
}

static void expect_line(unsigned i, const char *want)
{
	if (i >= nr_lines)
		fail_msg("%u lines; line %u should be \"%s\"", nr_lines, i, want);
	assert_string_equal(lines[i], want);
}

static void expect_entry(unsigned level, uint64_t e, const char *want)
{
	nr_lines = 0;
	assert_int_equal(pt_print_entry(&fmt, level, e, take, lines), PT_OK);
	assert_int_equal(nr_lines, 1);
	expect_line(0, want);
}

static enum pt_status print_tree(uint64_t budget, unsigned max_lines)
{
	nr_lines = 0;
	return pt_print_tree(&tree, &budget, max_lines, take, lines);
}

static void map(uint64_t addr, uint64_t pa, uint64_t size, unsigned attrs)
{
	struct pt_flush flush = PT_FLUSH_NONE;

	assert_int_equal(pt_map(&tree, addr, pa, size, attrs, &flush), PT_OK);
	pt_release(&tree, &flush);
}

static void test_names(void **state)
{
	(void)state;
	pt_format_init(&fmt, PT_5LEVEL, &full_caps);
	assert_string_equal(pt_table_name(&fmt, 0), "pt");
	assert_string_equal(pt_table_name(&fmt, 1), "pd");
	assert_string_equal(pt_table_name(&fmt, 2), "pdp");
	assert_string_equal(pt_table_name(&fmt, 3), "pml4");
	assert_string_equal(pt_table_name(&fmt, 4), "pml5");
	assert_string_equal(pt_table_name(&fmt, 5), "none");
	pt_format_init(&fmt, PT_32, &full_caps);
	assert_string_equal(pt_table_name(&fmt, 2), "none");
	assert_string_equal(pt_page_name(12), "4K");
	assert_string_equal(pt_page_name(21), "2M");
	assert_string_equal(pt_page_name(22), "4M");
	assert_string_equal(pt_page_name(30), "1G");
	assert_string_equal(pt_page_name(0), "none");
}

static void test_entries_32(void **state)
{
	struct pt_caps caps = full_caps;

	(void)state;
	pt_format_init(&fmt, PT_32, &caps);
	expect_entry(0, 0, "pt 00000000 absent");
	expect_entry(0, 0x1234567e, "pt 1234567e absent");
	expect_entry(0, 0x12345167, "pt 12345167 -> 4K page 12345000 rwxu ADG wb");
	expect_entry(1, 0x12345027, "pd 12345027 -> pt 12345000 rwxu A");
	/* PSE-36: bits 20:13 are address bits 39:32. */
	expect_entry(1, 0x004020f9, "pd 004020f9 -> 4M page 100400000 r-x- AD- uc");
	expect_entry(1, 0x00600081, "pd 00600081 reserved bits 200000");
	caps.pse = false;
	pt_format_init(&fmt, PT_32, &caps);
	expect_entry(1, 0x00400081, "pd 00400081 -> pt 400000 r-x- -");
}

static void test_entries_64(void **state)
{
	(void)state;
	pt_format_init(&fmt, PT_4LEVEL, &full_caps);
	expect_entry(0, BIT(63) | BITS(62, 59) | 0x7067,
		     "pt f800000000007067 -> 4K page 7000 rw-u AD- wb key 15");
	expect_entry(1, BIT(63) | 0x2000e3, "pd 80000000002000e3 -> 2M page 200000 rw-- AD- wb");
	expect_entry(2, 0x400001a1, "pdp 00000000400001a1 -> 1G page 40000000 r-x- A-G wb");
	expect_entry(3, 0x5003, "pml4 0000000000005003 -> pdp 5000 rwx- -");
	expect_entry(3, 0x5083, "pml4 0000000000005083 reserved bits 80");
	expect_entry(0, 0x7011, "pt 0000000000007011 -> 4K page 7000 r-x- --- type 2");
	pt_format_init(&fmt, PT_NPT, &full_caps);
	expect_entry(0, BIT(59) | 0x7067, "pt 0800000000007067 -> 4K page 7000 rwxu AD- wb");
	pt_format_init(&fmt, PT_PAE, &full_caps);
	expect_entry(2, 0x5001, "pdp 0000000000005001 -> pd 5000 rwxu");
	expect_entry(2, 0x5003, "pdp 0000000000005003 reserved bits 2");
	expect_entry(0, BIT(59) | 0x7067, "pt 0800000000007067 reserved bits 800000000000000");
}

static void test_entries_ept(void **state)
{
	struct pt_caps caps = full_caps;

	(void)state;
	pt_format_init(&fmt, PT_EPT, &caps);
	expect_entry(0, 0x7337, "pt 0000000000007337 -> 4K page 7000 rwx AD wb");
	expect_entry(0, 0x7004, "pt 0000000000007004 -> 4K page 7000 --x -- uc");
	expect_entry(0, 0x7029, "pt 0000000000007029 -> 4K page 7000 r-- -- type 5");
	expect_entry(0, 0x7002, "pt 0000000000007002 misconfigured");
	expect_entry(3, 0x5107, "pml4 0000000000005107 -> pdp 5000 rwx A");
	caps.ept_ad = false;
	pt_format_init(&fmt, PT_EPT, &caps);
	expect_entry(0, 0x7337, "pt 0000000000007337 -> 4K page 7000 rwx wb");
	assert_int_equal(pt_print_entry(&fmt, 4, 1, take, lines), PT_BAD_ARG);
	assert_int_equal(pt_print_entry(&fmt, 0, 1, NULL, lines), PT_BAD_ARG);
	assert_int_equal(pt_print_entry(NULL, 0, 1, take, lines), PT_BAD_ARG);
}

static void test_path(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	map(UINT64_C(0xffffffff80200000), MIB(6), MIB(2), PT_R | PT_X | AD);
	nr_lines = 0;
	assert_int_equal(pt_print_path(&tree, UINT64_C(0xffffffff80201234), take, lines), PT_OK);
	assert_int_equal(nr_lines, 5);
	expect_line(0, "ffffffff80201234 by 4level, root 40000000");
	expect_line(1, "  pml4[511] 0000000040001027 -> pdp 40001000 rwxu A");
	expect_line(2, "  pdp[510] 0000000040002027 -> pd 40002000 rwxu A");
	expect_line(3, "  pd[1] 00000000006000e1 -> 2M page 600000 r-x- AD- wb");
	expect_line(4, "= 601234 r-x- in a 2M page");

	nr_lines = 0;
	assert_int_equal(pt_print_path(&tree, 0x1000, take, lines), PT_NOT_PRESENT);
	assert_int_equal(nr_lines, 3);
	expect_line(1, "  pml4[0] 0000000000000000 absent");
	expect_line(2, "= absent in the pml4");

	arena.page[0][0] = BIT(7) | BIT(0);
	nr_lines = 0;
	assert_int_equal(pt_print_path(&tree, 0x1000, take, lines), PT_RESERVED);
	expect_line(1, "  pml4[0] 0000000000000081 reserved bits 80");
	expect_line(2, "= reserved bits set in the pml4");

	arena.page[0][0] = BIT(45) | BIT(0);
	nr_lines = 0;
	assert_int_equal(pt_print_path(&tree, 0x1000, take, lines), PT_BAD_TABLE);
	assert_int_equal(nr_lines, 3);
	expect_line(1, "  pml4[0] 0000200000000001 -> pdp 200000000000 r-x- -");
	expect_line(2, "= no memory at the pdp");
	arena.page[0][0] = 0;
	drop_tree();
}

static void test_tree_folds(void **state)
{
	(void)state;
	make_tree(PT_NPT, &full_caps);
	map(0, GIB(1), GIB(2), RW | PT_X | PT_U | AD);
	map(KIB(640), KIB(640), KIB(128), RW | PT_X | PT_U | AD | PT_UC);
	map(MIB(4), GIB(1) + MIB(4), MIB(2), PT_R | PT_X | PT_U | AD);
	assert_int_equal(print_tree(UINT64_MAX, 100), PT_OK);
	assert_int_equal(nr_lines, 6);
	expect_line(0, "npt, root 40000000");
	expect_line(1, "  0000000000000000-000000000009ffff -> 40000000 rwxu- wb 4K");
	expect_line(2, "  00000000000a0000-00000000000bffff -> a0000 rwxu- uc 4K");
	expect_line(3, "  00000000000c0000-00000000003fffff -> 400c0000 rwxu- wb 2M 4K");
	expect_line(4, "  0000000000400000-00000000005fffff -> 40400000 r-xu- wb 2M");
	expect_line(5, "  0000000000600000-000000007fffffff -> 40600000 rwxu- wb 1G 2M");
	drop_tree();
}

/* Pages that differ in nothing but their memory type are two lines, on either side of it. */
static void test_tree_types(void **state)
{
	static const struct {
		enum pt_kind kind;
		const char *first, *second, *third;
	} want[] = {
		{ PT_4LEVEL, "  0000000000000000-0000000000000fff -> 1000000 rwx-- wb 4K",
		  "  0000000000001000-0000000000001fff -> 1001000 rwx-- uc 4K",
		  "  0000000000002000-0000000000002fff -> 1002000 rwx-- wb 4K" },
		{ PT_EPT, "  0000000000000000-0000000000000fff -> 1000000 rwx wb 4K",
		  "  0000000000001000-0000000000001fff -> 1001000 rwx uc 4K",
		  "  0000000000002000-0000000000002fff -> 1002000 rwx wb 4K" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		make_tree(want[i].kind, &full_caps);
		map(0, MIB(16), KIB(12), RW | PT_X | AD);
		map(KIB(4), MIB(16) + KIB(4), KIB(4), RW | PT_X | AD | PT_UC);
		assert_int_equal(print_tree(UINT64_MAX, 100), PT_OK);
		assert_int_equal(nr_lines, 4);
		expect_line(1, want[i].first);
		expect_line(2, want[i].second);
		expect_line(3, want[i].third);
		drop_tree();
	}
}

/* What a page allows is what its whole path allows; ranges break where targets jump. */
static void test_tree_rights_of_path(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	map(0, MIB(16), KIB(8), RW | PT_U | PT_X | AD);
	map(KIB(8), MIB(32), KIB(4), RW | PT_U | PT_X | AD | PT_G);
	map(KIB(16), MIB(32) + KIB(8), KIB(4), RW | PT_U | PT_X | AD | PT_G); /* after a hole */
	map(UINT64_C(0xfffffffffffff000), 0, KIB(4), PT_R | AD);
	arena.page[0][0] &= ~(BIT(1) | BIT(2)); /* the lower half: neither W nor U */
	assert_int_equal(print_tree(UINT64_MAX, 100), PT_OK);
	assert_int_equal(nr_lines, 5);
	expect_line(1, "  0000000000000000-0000000000001fff -> 1000000 r-x-- wb 4K");
	expect_line(2, "  0000000000002000-0000000000002fff -> 2000000 r-x-G wb 4K");
	expect_line(3, "  0000000000004000-0000000000004fff -> 2002000 r-x-G wb 4K");
	expect_line(4, "  fffffffffffff000-ffffffffffffffff -> 0 r---- wb 4K");
	drop_tree();
}

static void test_tree_wrong_entries(void **state)
{
	(void)state;
	make_tree(PT_32, &full_caps);
	((uint32_t *)arena.page[0])[0] = 0x00000083;
	((uint32_t *)arena.page[0])[1] = 0x00600083;
	((uint32_t *)arena.page[0])[2] = 0x00800083;
	((uint32_t *)arena.page[0])[3] = 0x10000003;
	assert_int_equal(print_tree(UINT64_MAX, 100), PT_OK);
	assert_int_equal(nr_lines, 5);
	expect_line(1, "  0000000000000000-00000000003fffff -> 0 rwx-- wb 4M");
	expect_line(2, "  0000000000400000 pd entry 00600083 reserved bits 200000");
	expect_line(3, "  0000000000800000-0000000000bfffff -> 800000 rwx-- wb 4M");
	expect_line(4,
		    "  0000000000c00000 pd entry 10000003 -> pt 10000000 rwx- -: no memory there");
	memset(arena.page[0], 0, PAGE_SIZE);
	drop_tree();
}

/* 2^36 paths, and no two pages that fold. */
static void test_tree_is_bounded(void **state)
{
	struct pt_tree lost;
	uint64_t budget = 100;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	for (unsigned i = 0; i < 512; i++)
		arena.page[0][i] = tree.root | 7;
	assert_int_equal(print_tree(100000, 1000000), PT_STOPPED);
	assert_in_range(nr_lines, 90000, 100002);
	assert_int_equal(print_tree(100000, 5), PT_STOPPED);
	assert_int_equal(nr_lines, 1 + 5 + 1);
	expect_line(6, "  ... stopped here");
	assert_int_equal(print_tree(0, 5), PT_STOPPED);
	assert_int_equal(nr_lines, 2);
	memset(arena.page[0], 0, PAGE_SIZE);
	/* The last range counts as well. */
	map(0, 0, KIB(4), RW | AD);
	assert_int_equal(print_tree(UINT64_MAX, 1), PT_OK);
	assert_int_equal(print_tree(UINT64_MAX, 0), PT_STOPPED);
	/* A wrong entry's line, and that of the range before it, too. */
	arena.page[0][1] = BIT(7) | BIT(0);
	assert_int_equal(print_tree(UINT64_MAX, 0), PT_STOPPED);
	assert_int_equal(print_tree(UINT64_MAX, 1), PT_STOPPED);
	assert_int_equal(print_tree(UINT64_MAX, 2), PT_OK);
	arena.page[0][1] = 0;

	lost = tree;
	lost.root = GIB(64);
	nr_lines = 0;
	assert_int_equal(pt_print_tree(&lost, &budget, 5, take, lines), PT_BAD_TABLE);
	assert_int_equal(nr_lines, 1);
	expect_line(0, "4level, root 1000000000: no memory there");
	assert_int_equal(pt_print_path(&lost, 0, take, lines), PT_BAD_TABLE);
	expect_line(2, "= no memory at the pml4");
	drop_tree();
}

/* --- a guest's tables, through its view --- */

static void test_guest_view(void **state)
{
	struct guest_paging gp = {
		.cr0 = CR0_PE | CR0_PG,
		.cr3 = ARENA_BASE | 0x18,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA | EFER_NXE,
		.caps = full_caps,
	};
	struct guest_view v;
	uint64_t pa = 0;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	map(0, MIB(2), MIB(2), RW | AD);
	assert_true(guest_view_init(&v, &gp, &arena_mem));
	assert_int_equal(v.fmt.kind, PT_4LEVEL);
	assert_int_equal(pt_find(&v.tree, 0x1234, PT_DATA, &pa), PT_OK);
	assert_int_equal(pa, MIB(2));
	gp.cr4 |= CR4_LA57;
	assert_true(guest_view_init(&v, &gp, &arena_mem));
	assert_int_equal(v.fmt.kind, PT_5LEVEL);
	gp.cr0 = CR0_PE;
	assert_false(guest_view_init(&v, &gp, &arena_mem));
	drop_tree();
}

/* PAE: the PDPTEs that count are the cached ones, not those in memory. */
static void test_pae_view(void **state)
{
	struct guest_paging gp = {
		.cr0 = CR0_PE | CR0_PG,
		.cr3 = 0x20,
		.cr4 = CR4_PAE,
		.pdpte = { 0, 0, 0, ARENA_BASE | 1 },
		.caps = full_caps,
	};
	struct guest_view v;
	uint64_t budget = UINT64_MAX, pa = 0;

	(void)state;
	make_tree(PT_PAE, &full_caps);
	arena.page[0][511] = 0x2000e3;
	assert_true(guest_view_init(&v, &gp, &arena_mem));
	assert_int_equal(v.fmt.kind, PT_PAE);
	nr_lines = 0;
	assert_int_equal(pt_print_tree(&v.tree, &budget, 9, take, lines), PT_OK);
	assert_int_equal(nr_lines, 2);
	expect_line(0, "pae, from the PDPTEs");
	expect_line(1, "  00000000ffe00000-00000000ffffffff -> 200000 rwx-- wb 2M");
	assert_int_equal(pt_find(&v.tree, 0xffffffff, 1, &pa), PT_OK);
	assert_int_equal(pa, ARENA_BASE);
	gp.cr4 = 0;
	gp.cr3 = ARENA_BASE;
	assert_true(guest_view_init(&v, &gp, &arena_mem));
	assert_int_equal(v.fmt.kind, PT_32);
	assert_int_equal(v.tree.root, ARENA_BASE);
	arena.page[0][511] = 0;
	drop_tree();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_entries_32),
		cmocka_unit_test(test_entries_64),
		cmocka_unit_test(test_entries_ept),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_tree_folds),
		cmocka_unit_test(test_tree_types),
		cmocka_unit_test(test_tree_rights_of_path),
		cmocka_unit_test(test_tree_wrong_entries),
		cmocka_unit_test(test_tree_is_bounded),
		cmocka_unit_test(test_guest_view),
		cmocka_unit_test(test_pae_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
