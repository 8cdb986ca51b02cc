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

/* No 4 KiB pages reach what such a page maps: it changes as a whole, or not at all. */
static void test_pse36_page_is_not_split(void **state)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	struct pt_walk w;
	unsigned writes;

	(void)state;
	make_tree(PT_32, &full_caps);
	assert_int_equal(map(0, GIB(8), MIB(4), PT_RIGHTS | AD), PT_OK);
	assert_int_equal(map(MIB(4), MIB(4), MIB(4), PT_RIGHTS | AD), PT_OK);
	writes = arena.nr_writes;
	assert_int_equal(unmap(KIB(20), KIB(4)), PT_BAD_ARG);
	assert_int_equal(unmap(MIB(2), MIB(4)), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, KIB(20), KIB(4), PT_W, 0, &flush), PT_BAD_ARG);
	assert_int_equal(map(KIB(20), KIB(28), KIB(4), PT_RIGHTS | AD), PT_BAD_ARG);
	/* All of it, but in pages of 4 KiB: they would stand there one after the other. */
	assert_int_equal(map(0, KIB(4), MIB(4), PT_RIGHTS | AD), PT_BAD_ARG);
	assert_int_equal(arena.nr_writes, writes);
	assert_true(flush.start > flush.last);
	assert_int_equal(pt_walk(&tree, KIB(4), &w), PT_OK);
	assert_int_equal(w.out, GIB(8) + KIB(4));

	assert_int_equal(pt_protect(&tree, 0, MIB(4), PT_W, 0, &flush), PT_OK);
	assert_int_equal(map(0, GIB(12), MIB(4), PT_RIGHTS | AD), PT_OK);
	assert_int_equal(unmap(0, MIB(4)), PT_OK);
	/* The last one that can be split. */
	assert_int_equal(map(0, GIB(4) - MIB(4), MIB(4), PT_RIGHTS | AD), PT_OK);
	assert_int_equal(unmap(0, KIB(4)), PT_OK);
	assert_int_equal(pt_walk(&tree, MIB(4) - 1, &w), PT_OK);
	assert_int_equal(w.out, GIB(4) - 1);
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

/* Three changes that take tables out of the tree; all that is mapped is identity-mapped. */
static void drop_tables(unsigned how, struct pt_flush *flush)
{
	unsigned top = fmt.levels - 1u, large = top;
	enum pt_status status;

	while (!fmt.level[large].leaf)
		large--;
	if (how == 0)
		status = pt_map(&tree, KIB(20), KIB(20), KIB(4), PT_RIGHTS | AD, flush);
	else if (how == 1)
		status = pt_map(&tree, 0, 0, BIT(fmt.level[large].shift), PT_RIGHTS | AD, flush);
	else
		status = pt_unmap(&tree, 0, BIT(fmt.level[top].shift), flush);
	assert_int_equal(status, PT_OK);
	assert_true(flush->freed);
}

/*
 * Until the caller has flushed, hardware may be in a table that is no longer linked, or come to
 * it through a cache: each address then has the translation that it had.
 */
static void test_unlinked_tables_keep_translations(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * PT_KINDS; i++) {
		struct pt_flush flush = PT_FLUSH_NONE;
		uint64_t table[PT_MAX_LEVELS], size;

		make_tree(i / 3, &full_caps);
		size = BIT(fmt.level[1].shift);
		assert_int_equal(map(0, 0, size, PT_RIGHTS | AD), PT_OK);
		assert_int_equal(pt_protect(&tree, KIB(20), KIB(4), PT_W, 0, &flush), PT_OK);
		for (unsigned level = 0; level + 1 < fmt.levels; level++)
			assert_int_equal(pt_find(&tree, 0, level, &table[level]), PT_OK);
		drop_tables(i % 3, &flush);
		for (unsigned level = 0; level + 1 < fmt.levels; level++) {
			struct pt_tree below = { &fmt, &arena_mem, table[level] };
			struct pt_walk w;

			for (uint64_t addr = 0; addr < size; addr += PAGE_SIZE)
				if (pt_walk_from(&below, level, addr, &w) != PT_OK || w.out != addr)
					fail_msg("%s, change %u: from level %u, %#llx: status %d",
						 fmt.name, i % 3, level, (unsigned long long)addr,
						 w.status);
		}
		assert_int_equal(pt_release(&tree, &flush), PT_OK);
		drop_tree();
	}
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

/* Memory whose pages lie above 4 GiB, but for the first one given if low_first. */
static bool low_first;

static uint64_t low(uint64_t pa)
{
	return pa >= GIB(5) ? pa - GIB(4) : pa;
}

static bool high_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	return arena_mem.read(ctx, low(pa), size, val);
}

static bool high_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	return arena_mem.cmpxchg(ctx, low(pa), size, old, val);
}

static uint64_t high_alloc(void *ctx)
{
	uint64_t pa = arena_mem.alloc(ctx);

	return low_first && arena.nr_used == 1 ? pa : pa + GIB(4);
}

static void high_free(void *ctx, uint64_t pa)
{
	arena_mem.free(ctx, low(pa));
}

static void high_tree(enum pt_kind kind, const struct pt_caps *caps, enum pt_status want)
{
	static const struct pt_mem mem = {
		.read = high_read,
		.cmpxchg = high_cmpxchg,
		.alloc = high_alloc,
		.free = high_free,
		.ctx = &arena,
	};

	make_tree(kind, caps);
	drop_tree();
	assert_int_equal(pt_create(&tree, &fmt, &mem), want);
	assert_int_equal(arena.nr_used, want == PT_OK);
	assert_int_equal(!tree.root, want != PT_OK);
}

/* A page where no entry, or CR3, can lead is no page for a table. */
static void test_tables_out_of_reach(void **state)
{
	struct pt_caps caps = full_caps;
	struct pt_walk w;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		low_first = i;
		for (enum pt_kind kind = 0; kind < PT_KINDS; kind++) {
			bool root_ok = i || (kind != PT_32 && kind != PT_PAE);

			high_tree(kind, &full_caps, root_ok ? PT_OK : PT_NO_MEMORY);
			if (!root_ok)
				continue;
			assert_int_equal(map(0, 0, KIB(4), PT_RIGHTS | AD),
					 kind == PT_32 ? PT_NO_MEMORY : PT_OK);
			if (kind == PT_32)
				assert_int_equal(arena.nr_used, 1);
			drop_tree();
		}
	}
	/* Nor is a large page split then. */
	high_tree(PT_32, &full_caps, PT_OK);
	assert_int_equal(map(0, MIB(4), MIB(4), PT_RIGHTS | AD), PT_OK);
	assert_int_equal(unmap(0, KIB(4)), PT_NO_MEMORY);
	assert_int_equal(pt_walk(&tree, 0, &w), PT_OK);
	assert_int_equal(w.out, MIB(4));
	/* Somebody else's root, where the format can't have one. */
	tree.root += GIB(4);
	assert_int_equal(unmap(0, KIB(4)), PT_BAD_ARG);
	tree.root -= GIB(4);
	drop_tree();
	low_first = false;
	caps.maxphyaddr = 32;
	for (enum pt_kind kind = 0; kind < PT_KINDS; kind++)
		high_tree(kind, &caps, PT_NO_MEMORY);
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
		cmocka_unit_test(test_pse36_page_is_not_split),
		cmocka_unit_test(test_hook_splits_and_merges),
		cmocka_unit_test(test_write_hook_merges),
		cmocka_unit_test(test_split_flushes_the_whole_page),
		cmocka_unit_test(test_unlinked_tables_keep_translations),
		cmocka_unit_test(test_no_merge_before_marked),
		cmocka_unit_test(test_split_keeps_dirty),
		cmocka_unit_test(test_endless_race),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_tables_out_of_reach),
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
