/* Changing trees: sizes, splitting and merging, races, bad arguments; visiting them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "paging/pt.h"
#include "tests/host/pt_arena.h"

#define RW (PT_R | PT_W)
#define AD (PT_A | PT_D)

static enum pt_status map(uint64_t addr, uint64_t pa, uint64_t size, unsigned attrs)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status = pt_map(&tree, addr, pa, size, attrs, &flush);

	pt_release(&tree, &flush);
	return status;
}

static enum pt_status unmap(uint64_t addr, uint64_t size)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status = pt_unmap(&tree, addr, size, &flush);

	pt_release(&tree, &flush);
	return status;
}

/* --- sizes --- */

static unsigned walk_shift(uint64_t addr)
{
	struct pt_walk w;

	return pt_walk(&tree, addr, &w) == PT_OK ? w.page_shift : 0;
}

static void test_largest_pages(void **state)
{
	struct pt_caps caps = full_caps;

	(void)state;
	make_tree(PT_4LEVEL, &caps);
	assert_int_equal(map(0, 0, GIB(4), RW | AD), PT_OK);
	assert_int_equal(arena.nr_used, 2);
	assert_int_equal(arena.nr_writes, 1 + 4);
	assert_int_equal(walk_shift(GIB(3)), 30);
	/* A target that is only 2 MiB aligned, a range that begins and ends at 4 KiB. */
	assert_int_equal(map(GIB(8) - KIB(4), GIB(9) + MIB(2) - KIB(4), GIB(1) + KIB(8), RW | AD),
			 PT_OK);
	assert_int_equal(walk_shift(GIB(8) - KIB(4)), 12);
	assert_int_equal(walk_shift(GIB(8)), 21);
	assert_int_equal(walk_shift(GIB(9)), 12);
	drop_tree();

	caps.page_1g = false;
	make_tree(PT_EPT, &caps);
	assert_int_equal(map(0, 0, GIB(4), RW | AD), PT_OK);
	assert_int_equal(arena.nr_used, 2 + 4);
	assert_int_equal(walk_shift(GIB(3)), 21);
	drop_tree();

	make_tree(PT_PAE, &caps);
	assert_int_equal(map(0, GIB(5), GIB(4), RW | AD), PT_OK);
	assert_int_equal(arena.nr_used, 1 + 4);
	assert_int_equal(walk_shift(GIB(4) - 1), 21);
	drop_tree();
}

static void test_32_sizes(void **state)
{
	struct pt_caps caps = full_caps;

	(void)state;
	make_tree(PT_32, &caps);
	assert_int_equal(map(0, 0, GIB(4), RW | AD), PT_OK);
	assert_int_equal(arena.nr_used, 1);
	assert_int_equal(walk_shift(0), 22);
	drop_tree();

	caps.pse = false;
	make_tree(PT_32, &caps);
	assert_int_equal(map(MIB(4), 0, MIB(8), RW | AD), PT_OK);
	assert_int_equal(walk_shift(MIB(4)), 12);
	assert_int_equal(arena.nr_used, 1 + 2);
	drop_tree();
}

static void test_pse36_targets(void **state)
{
	struct pt_caps caps = full_caps;
	struct pt_walk w;

	(void)state;
	make_tree(PT_32, &caps);
	/* 4 MiB pages reach 40 bits, 4 KiB pages 32. */
	assert_int_equal(map(MIB(8), GIB(37), MIB(4), RW | AD), PT_OK);
	assert_int_equal(pt_walk(&tree, MIB(8) + 5, &w), PT_OK);
	assert_int_equal(w.out, GIB(37) + 5);
	assert_int_equal(map(MIB(16), GIB(37), KIB(4), RW | AD), PT_BAD_ARG);
	assert_int_equal(map(MIB(16), GIB(37) + KIB(4), MIB(4), RW | AD), PT_BAD_ARG);
	assert_int_equal(map(MIB(16), BIT(40), MIB(4), RW | AD), PT_BAD_ARG);
	assert_int_equal(arena.nr_writes, 1);
	drop_tree();

	caps.maxphyaddr = 36;
	make_tree(PT_32, &caps);
	assert_int_equal(map(0, BIT(36), MIB(4), RW | AD), PT_BAD_ARG);
	assert_int_equal(map(0, BIT(36) - MIB(4), MIB(4), RW | AD), PT_OK);
	drop_tree();

	caps.pse36 = false;
	make_tree(PT_32, &caps);
	assert_int_equal(map(0, GIB(4), MIB(4), RW | AD), PT_BAD_ARG);
	drop_tree();
}

/* A hole in a 1 GiB page splits that one page, and each piece only where it must. */
static void test_hook_splits_and_merges(void **state)
{
	(void)state;
	make_tree(PT_NPT, &full_caps);
	assert_int_equal(map(0, GIB(16), GIB(4), RW | PT_X | PT_U | AD), PT_OK);
	assert_int_equal(arena.nr_used, 2);
	assert_int_equal(unmap(GIB(1) + MIB(7), KIB(4)), PT_OK);
	assert_int_equal(arena.nr_used, 4);
	assert_int_equal(walk_shift(GIB(1) + MIB(7)), 0);
	assert_int_equal(walk_shift(GIB(1) + MIB(7) + KIB(4)), 12);
	assert_int_equal(walk_shift(GIB(1) + MIB(8)), 21);
	assert_int_equal(walk_shift(0), 30);
	assert_int_equal(walk_shift(GIB(2)), 30);
	/* Not with other rights... */
	assert_int_equal(map(GIB(1) + MIB(7), GIB(17) + MIB(7), KIB(4), PT_R | PT_X | PT_U | AD),
			 PT_OK);
	assert_int_equal(arena.nr_used, 4);
	/* ...but with the same it is one page again. */
	assert_int_equal(map(GIB(1) + MIB(7), GIB(17) + MIB(7), KIB(4), RW | PT_X | PT_U | AD),
			 PT_OK);
	assert_int_equal(arena.nr_used, 2);
	assert_int_equal(walk_shift(GIB(1) + MIB(7)), 30);
	drop_tree();
}

static void test_write_hook_merges(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;

	(void)state;
	make_tree(PT_EPT, &full_caps);
	assert_int_equal(map(0, 0, GIB(2), RW | PT_X | AD), PT_OK);
	assert_int_equal(pt_protect(&tree, MIB(4), MIB(2), PT_W, 0, &flush), PT_OK);
	assert_int_equal(arena.nr_used, 3);
	/* All of the page that was split: it may be cached as one. */
	assert_true(flush.start == 0 && flush.last == GIB(1) - 1);
	assert_int_equal(walk_shift(MIB(4)), 21);
	flush = PT_FLUSH_NONE;
	assert_int_equal(pt_protect(&tree, MIB(4), MIB(2), PT_RIGHTS, RW | PT_X, &flush), PT_OK);
	/* The table page is not free before the caller says that nothing is cached of it. */
	assert_int_equal(arena.nr_used, 3);
	assert_true(flush.freed && flush.start == 0 && flush.last == GIB(1) - 1);
	pt_release(&tree, &flush);
	assert_int_equal(arena.nr_used, 2);
	assert_int_equal(walk_shift(MIB(4)), 30);
	drop_tree();
}

/* What was cached of a large page is stale in all of it once a part has changed. */
static void test_split_flushes_the_whole_page(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;

	(void)state;
	make_tree(PT_NPT, &full_caps);
	assert_int_equal(map(0, 0, GIB(2), RW | PT_X | PT_U | AD), PT_OK);
	assert_int_equal(pt_unmap(&tree, GIB(1) + MIB(3), KIB(4), &flush), PT_OK);
	assert_int_equal(flush.start, GIB(1));
	assert_int_equal(flush.last, GIB(2) - 1);
	assert_int_equal(flush.freed, 0);
	/* A page that was absent is cached nowhere. */
	flush = PT_FLUSH_NONE;
	assert_int_equal(pt_map(&tree, GIB(1) + MIB(3), 0, KIB(4), RW | AD, &flush), PT_OK);
	assert_true(flush.start > flush.last);
	drop_tree();
}

/* A page that hardware has yet to mark stays as it is: merging could lose the mark. */
static void test_no_merge_before_marked(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(map(i * KIB(4), i * KIB(4), KIB(4), RW | PT_A), PT_OK);
	assert_int_equal(walk_shift(0), 12);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(map(i * KIB(4), i * KIB(4), KIB(4), RW | PT_D), PT_OK);
	assert_int_equal(walk_shift(0), 12);
	/* A page that is not writable will not become dirty. */
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(map(i * KIB(4), i * KIB(4), KIB(4), PT_R | PT_A), PT_OK);
	assert_int_equal(walk_shift(0), 21);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(map(i * KIB(4), i * KIB(4), KIB(4), RW | AD), PT_OK);
	assert_int_equal(walk_shift(0), 21);
	drop_tree();
}

static void set_dirty_once(struct arena *a, void *entry, unsigned size)
{
	uint64_t *e = entry;

	assert_int_equal(size, 8);
	if (!(*e & BIT(7)) || !(*e & BIT(0)))
		return;
	*e |= BIT(6);
	a->before = NULL;
}

/* Hardware marks a large page between the moment it was read and its replacement. */
static void test_split_keeps_dirty(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_walk w;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	assert_int_equal(map(0, 0, MIB(2), RW | PT_A), PT_OK);
	arena.before = set_dirty_once;
	assert_int_equal(pt_unmap(&tree, KIB(4), KIB(4), &flush), PT_OK);
	assert_null(arena.before);
	pt_release(&tree, &flush);
	assert_int_equal(pt_walk(&tree, KIB(8), &w), PT_OK);
	assert_int_equal(w.page_shift, 12);
	assert_true(w.entry[0] & BIT(6));
	drop_tree();
}

static void set_accessed_always(struct arena *a, void *entry, unsigned size)
{
	(void)a;
	(void)size;
	if (*(uint64_t *)entry & BIT(0))
		*(uint64_t *)entry ^= BIT(5);
}

/* Entries that never hold still end the operation; it does not hang. */
static void test_endless_race(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	assert_int_equal(map(0, 0, MIB(2), RW | PT_A), PT_OK);
	arena.before = set_accessed_always;
	assert_int_equal(unmap(0, KIB(4)), PT_RACE);
	assert_int_equal(unmap(0, MIB(2)), PT_RACE);
	arena.before = NULL;
	drop_tree();
}

static void test_out_of_memory(void **state)
{
	(void)state;
	for (unsigned limit = 1; limit < 7; limit++) {
		enum pt_status status;

		make_tree(PT_4LEVEL, &full_caps);
		arena.limit = limit;
		/* PDPT, then PD and PT for each end: the one below and the one above 1 GiB. */
		status = map(MIB(2) - KIB(4), MIB(2) - KIB(4), GIB(1), RW | AD);
		assert_int_equal(status, limit < 6 ? PT_NO_MEMORY : PT_OK);
		assert_true(arena.nr_used <= limit);
		arena.limit = ARENA_PAGES;
		assert_int_equal(map(MIB(2) - KIB(4), MIB(2) - KIB(4), GIB(1), RW | AD), PT_OK);
		assert_int_equal(arena.nr_used, 6);
		drop_tree();
	}
	arena.limit = 0;
	pt_format_init(&fmt, PT_EPT, &full_caps);
	assert_int_equal(pt_create(&tree, &fmt, &arena_mem), PT_NO_MEMORY);
}

/* --- bad arguments: a distinct error, and nothing is written --- */

static void expect_bad(uint64_t addr, uint64_t pa, uint64_t size, unsigned attrs)
{
	unsigned writes = arena.nr_writes;

	if (map(addr, pa, size, attrs) != PT_BAD_ARG)
		fail_msg("%s: map %#llx to %#llx, %#llx bytes, attrs %x was taken", fmt.name,
			 (unsigned long long)addr, (unsigned long long)pa, (unsigned long long)size,
			 attrs);
	assert_int_equal(arena.nr_writes, writes);
	assert_int_equal(arena.nr_used, 1);
}

static void test_bad_ranges(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	expect_bad(0, 0, 0, RW);
	expect_bad(1, 0, KIB(4), RW);
	expect_bad(0, 8, KIB(4), RW);
	expect_bad(0, 0, KIB(4) + 1, RW);
	expect_bad(UINT64_C(0xfffffffffffff000), 0, KIB(8), RW);
	expect_bad(UINT64_C(0x800000000000), 0, KIB(4), RW); /* not canonical */
	expect_bad(UINT64_C(0x7ffffffff000), 0, KIB(8), RW); /* runs into the hole */
	expect_bad(UINT64_C(0x7ffffffff000), 0, UINT64_C(0xffff000000002000), RW); /* over it */
	expect_bad(0, BIT(46), KIB(4), RW);
	expect_bad(0, BIT(46) - KIB(4), KIB(8), RW);
	expect_bad(0, UINT64_C(0xfffffffffffff000), KIB(8), RW);
	expect_bad(0, 0, KIB(4), RW | 0x100);
	assert_int_equal(unmap(1, KIB(4)), PT_BAD_ARG);
	assert_int_equal(unmap(UINT64_C(0x7ffffffff000), UINT64_C(0xffff000000002000)), PT_BAD_ARG);
	assert_int_equal(map(UINT64_C(0xfffffffffffff000), 0, KIB(4), RW | AD), PT_OK);
	assert_int_equal(walk_shift(UINT64_MAX), 12);
	drop_tree();

	make_tree(PT_PAE, &full_caps);
	expect_bad(GIB(4), 0, KIB(4), RW);
	expect_bad(GIB(4) - KIB(4), 0, KIB(8), RW);
	drop_tree();

	make_tree(PT_NPT, &full_caps);
	expect_bad(BIT(48), 0, KIB(4), RW);
	expect_bad(UINT64_C(0xffff800000000000), 0, KIB(4), RW);
	drop_tree();
}

static void test_bad_rights(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_caps caps = full_caps;

	(void)state;
	caps.ept_exec_only = false;
	make_tree(PT_EPT, &caps);
	expect_bad(0, 0, KIB(4), 0);
	expect_bad(0, 0, KIB(4), PT_W);
	expect_bad(0, 0, KIB(4), PT_W | PT_X);
	expect_bad(0, 0, KIB(4), PT_X);
	assert_int_equal(map(0, 0, KIB(4), PT_R), PT_OK);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_RIGHTS, PT_W, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_R, 0, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_W, PT_W, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_W, PT_R, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_RIGHTS, PT_R, NULL), PT_BAD_ARG);
	drop_tree();

	caps.ept_exec_only = true;
	make_tree(PT_EPT, &caps);
	assert_int_equal(map(0, 0, KIB(4), PT_X), PT_OK);
	drop_tree();
}

static void test_bad_trees(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_mem partial = arena_mem;
	struct pt_tree bad, none;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	bad = tree;
	bad.root += 8;
	assert_int_equal(pt_map(&bad, 0, 0, KIB(4), RW, &flush), PT_BAD_ARG);
	bad.root = ARENA_BASE + sizeof(arena.page);
	assert_int_equal(pt_map(&bad, 0, 0, KIB(4), RW, &flush), PT_BAD_TABLE);
	assert_int_equal(pt_map(NULL, 0, 0, KIB(4), RW, &flush), PT_BAD_ARG);
	assert_int_equal(pt_unmap(&tree, 0, KIB(4), NULL), PT_BAD_ARG);
	partial.cmpxchg = NULL;
	bad = tree;
	bad.mem = &partial;
	assert_int_equal(pt_map(&bad, 0, 0, KIB(4), RW, &flush), PT_BAD_ARG);
	assert_int_equal(pt_create(&none, &fmt, &partial), PT_BAD_ARG);
	assert_int_equal(pt_create(&none, NULL, &arena_mem), PT_BAD_ARG);
	assert_int_equal(arena.nr_writes, 0);
	/* An entry that nobody here wrote: the change stops at it. */
	arena.page[0][0] = BIT(0) | BIT(7);
	assert_int_equal(map(0, 0, KIB(4), RW), PT_RESERVED);
	assert_int_equal(unmap(0, KIB(4)), PT_RESERVED);
	arena.page[0][0] = 0;
	drop_tree();
}

/* Without NXE every page is executable, and bit 63 stays clear. */
static void test_map_without_nx(void **state)
{
	struct pt_caps caps = full_caps;
	struct pt_walk w;

	(void)state;
	caps.nx = false;
	make_tree(PT_4LEVEL, &caps);
	assert_int_equal(map(0, 0, KIB(4), PT_R | AD), PT_OK);
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_int_equal(w.rights, PT_R | PT_X);
	drop_tree();
}

/* A PDPTE has no accessed bit to set. */
static void test_mark_pae_tree(void **state)
{
	struct pt_walk w;

	(void)state;
	make_tree(PT_PAE, &full_caps);
	assert_int_equal(map(0, 0, KIB(4), RW), PT_OK);
	arena.page[1][0] &= ~BIT(5);
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_true(pt_mark(&tree, &w, true));
	assert_int_equal(arena.page[0][0], (ARENA_BASE + PAGE_SIZE) | 1);
	assert_int_equal(arena.page[1][0], (ARENA_BASE + 2 * PAGE_SIZE) | 0x27);
	assert_int_equal(arena.page[2][0], BIT(63) | 0x63);
	/* An accessed bit that the processor's nested walk has set there says nothing. */
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_true(!w.unmarked);
	arena.page[0][0] |= BIT(5);
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_true(!w.unmarked);
	arena.page[1][0] &= ~BIT(5);
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_true(w.unmarked);
	drop_tree();
}

/* --- visiting --- */

static unsigned nr_visits;
static struct pt_visit visits[16];

static bool record(void *ctx, const struct pt_visit *v)
{
	const unsigned *stop_at = ctx;

	assert_true(nr_visits < ARRAY_SIZE(visits));
	visits[nr_visits++] = *v;
	return !stop_at || nr_visits != *stop_at;
}

static void test_drill_order(void **state)
{
	unsigned stop_at = 2;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	assert_int_equal(map(UINT64_C(0xffffffff80200000), MIB(6), MIB(2), PT_R | PT_X | AD),
			 PT_OK);
	nr_visits = 0;
	assert_int_equal(pt_drill(&tree, UINT64_C(0xffffffff80201234), record, NULL), PT_OK);
	/* Root, two entries to tables, then the page's: with its address, not its number. */
	assert_int_equal(nr_visits, 4);
	assert_int_equal(visits[0].level, 4);
	assert_int_equal(visits[0].pa, tree.root);
	assert_int_equal(visits[1].level, 3);
	assert_int_equal(visits[1].addr, UINT64_C(0xffffff8000000000));
	assert_int_equal(visits[2].level, 2);
	assert_int_equal(visits[3].level, 1);
	assert_true(visits[3].leaf && !visits[2].leaf);
	assert_int_equal(visits[3].addr, UINT64_C(0xffffffff80200000));
	assert_int_equal(visits[3].pa, MIB(6));
	assert_int_equal(visits[3].attrs, PT_R | PT_X | AD);
	/* A stop asked for is told from a path that ended. */
	nr_visits = 0;
	assert_int_equal(pt_drill(&tree, UINT64_C(0xffffffff80201234), record, &stop_at),
			 PT_STOPPED);
	assert_int_equal(nr_visits, 2);
	nr_visits = 0;
	stop_at = 1;
	assert_int_equal(pt_drill(&tree, 0, record, &stop_at), PT_STOPPED);
	assert_int_equal(nr_visits, 1);
	nr_visits = 0;
	assert_int_equal(pt_drill(&tree, 0, record, NULL), PT_NOT_PRESENT);
	assert_int_equal(nr_visits, 1);
	assert_int_equal(pt_drill(&tree, 0, NULL, NULL), PT_BAD_ARG);
	drop_tree();
}

static void test_visit_order(void **state)
{
	uint64_t budget = UINT64_MAX;

	(void)state;
	make_tree(PT_5LEVEL, &full_caps);
	assert_int_equal(map(KIB(8), MIB(4), KIB(4), RW | AD), PT_OK);
	assert_int_equal(map(UINT64_C(0xff80000040000000), GIB(1), GIB(1), RW | AD), PT_OK);
	nr_visits = 0;
	assert_int_equal(pt_visit(&tree, &budget, record, NULL), PT_OK);
	assert_int_equal(nr_visits, 1 + 5 + 3);
	assert_true(visits[5].leaf && visits[5].addr == KIB(8) && visits[5].pa == MIB(4));
	assert_int_equal(visits[6].level, 4);
	assert_int_equal(visits[6].addr, UINT64_C(0xff80000000000000));
	assert_int_equal(visits[8].addr, UINT64_C(0xff80000040000000));
	assert_int_equal(visits[8].pa, GIB(1));
	assert_int_equal(budget, UINT64_MAX - 7 * 512);
	assert_int_equal(pt_visit(&tree, &budget, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(pt_visit(&tree, NULL, record, NULL), PT_BAD_ARG);
	drop_tree();
}

static bool count(void *ctx, const struct pt_visit *v)
{
	(void)v;
	++*(uint64_t *)ctx;
	return true;
}

/* What has reserved bits set is reported, not followed. */
static void test_visit_bad_entry(void **state)
{
	uint64_t budget = UINT64_MAX;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	assert_int_equal(map(0, 0, KIB(4), RW), PT_OK);
	arena.page[1][0] |= BIT(50);
	nr_visits = 0;
	assert_int_equal(pt_visit(&tree, &budget, record, NULL), PT_OK);
	assert_int_equal(nr_visits, 3);
	assert_true(visits[2].bad && visits[2].level == 2);
	nr_visits = 0;
	assert_int_equal(pt_drill(&tree, 0, record, NULL), PT_RESERVED);
	assert_int_equal(nr_visits, 3);
	assert_true(visits[2].bad);
	arena.page[1][0] &= ~BIT(50);
	drop_tree();
}

/* A root that refers to itself 512 times: 2^36 paths, but only as much work as allowed. */
static void test_visit_is_bounded(void **state)
{
	uint64_t budget = 10000, n = 0;

	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	for (unsigned i = 0; i < 512; i++)
		arena.page[0][i] = tree.root | 7;
	assert_int_equal(pt_visit(&tree, &budget, count, &n), PT_STOPPED);
	assert_int_equal(budget, 0);
	assert_int_equal(n, 10001);
	memset(arena.page[0], 0, PAGE_SIZE);
	drop_tree();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_largest_pages),
		cmocka_unit_test(test_32_sizes),
		cmocka_unit_test(test_pse36_targets),
		cmocka_unit_test(test_hook_splits_and_merges),
		cmocka_unit_test(test_write_hook_merges),
		cmocka_unit_test(test_split_flushes_the_whole_page),
		cmocka_unit_test(test_no_merge_before_marked),
		cmocka_unit_test(test_split_keeps_dirty),
		cmocka_unit_test(test_endless_race),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_bad_rights),
		cmocka_unit_test(test_bad_trees),
		cmocka_unit_test(test_map_without_nx),
		cmocka_unit_test(test_mark_pae_tree),
		cmocka_unit_test(test_visit_bad_entry),
		cmocka_unit_test(test_drill_order),
		cmocka_unit_test(test_visit_order),
		cmocka_unit_test(test_visit_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
