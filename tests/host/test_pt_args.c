/*
 * Bad input, function by function: a null callback, an unaligned root, a range that wraps, a
 * table outside memory. Each is told apart from the others' results, and changes nothing.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "paging/nested.h"
#include "paging/print.h"
#include "tests/host/pt_arena.h"

#define RW (PT_R | PT_W)
#define AD (PT_A | PT_D)
#define WRAPS UINT64_C(0xfffffffffffff000)

/* --- every function that takes a tree, as one call that would do its work on a good one --- */

static struct pt_flush flush;
static struct pt_walk walk;
static uint64_t found, budget;
static enum pt_status expected;
static unsigned nr_calls;

static bool visit(void *ctx, const struct pt_visit *v)
{
	(void)ctx;
	(void)v;
	nr_calls++;
	return true;
}

static void line(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
	nr_calls++;
}

static enum pt_status call_walk(struct pt_tree *t)
{
	return pt_walk(t, 0, &walk);
}

static enum pt_status call_walk_from(struct pt_tree *t)
{
	return pt_walk_from(t, 3, 0, &walk);
}

static enum pt_status call_find(struct pt_tree *t)
{
	return pt_find(t, 0, PT_DATA, &found);
}

static enum pt_status call_page_size(struct pt_tree *t)
{
	/* It has but one way to say no. */
	return pt_page_size(t, 0) ? PT_OK : expected;
}

static enum pt_status call_drill(struct pt_tree *t)
{
	return pt_drill(t, 0, visit, NULL);
}

static enum pt_status call_visit(struct pt_tree *t)
{
	return pt_visit(t, &budget, visit, NULL);
}

static enum pt_status call_print_path(struct pt_tree *t)
{
	return pt_print_path(t, 0, line, NULL);
}

static enum pt_status call_print_tree(struct pt_tree *t)
{
	return pt_print_tree(t, &budget, 100, line, NULL);
}

static enum pt_status call_map(struct pt_tree *t)
{
	return pt_map(t, 0, MIB(8), MIB(2), RW | AD, &flush);
}

static enum pt_status call_unmap(struct pt_tree *t)
{
	return pt_unmap(t, 0, KIB(4), &flush);
}

static enum pt_status call_protect(struct pt_tree *t)
{
	return pt_protect(t, 0, KIB(4), PT_W, 0, &flush);
}

static enum pt_status call_release(struct pt_tree *t)
{
	return pt_release(t, &flush);
}

static enum pt_status call_destroy(struct pt_tree *t)
{
	return pt_destroy(t);
}

static const struct operation {
	const char *name;
	enum pt_status (*call)(struct pt_tree *t);
	bool looks;   /* takes trees without cmpxchg, alloc and free */
	bool no_null; /* the tree itself is the caller's promise */
	bool no_walk; /* does not read the root */
} operations[] = {
	{ .name = "pt_walk", .call = call_walk, .looks = true, .no_null = true },
	{ .name = "pt_walk_from", .call = call_walk_from, .looks = true, .no_null = true },
	{ .name = "pt_find", .call = call_find, .looks = true },
	{ .name = "pt_page_size", .call = call_page_size, .looks = true },
	{ .name = "pt_drill", .call = call_drill, .looks = true },
	{ .name = "pt_visit", .call = call_visit, .looks = true },
	{ .name = "pt_print_path", .call = call_print_path, .looks = true },
	{ .name = "pt_print_tree", .call = call_print_tree, .looks = true },
	{ .name = "pt_map", .call = call_map },
	{ .name = "pt_unmap", .call = call_unmap },
	{ .name = "pt_protect", .call = call_protect },
	{ .name = "pt_release", .call = call_release, .no_walk = true },
	{ .name = "pt_destroy", .call = call_destroy },
};

static struct arena before;

static int setup(void **state)
{
	(void)state;
	make_tree(PT_4LEVEL, &full_caps);
	flush = PT_FLUSH_NONE;
	assert_int_equal(pt_map(&tree, 0, MIB(4), MIB(2), RW | AD, &flush), PT_OK);
	flush = PT_FLUSH_NONE;
	budget = 100000;
	before = arena;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	drop_tree();
	return 0;
}

/* The operation says want about the tree, and memory is as it was before. */
static void expect(const struct operation *op, struct pt_tree *t, const char *what,
		   enum pt_status want)
{
	enum pt_status got;

	flush = PT_FLUSH_NONE;
	walk.status = PT_STOPPED;
	expected = want == PT_OK ? PT_STOPPED : want;
	got = op->call(t);
	if (got != want)
		fail_msg("%s, %s: status %d, should be %d", op->name, what, got, want);
	assert_memory_equal(&arena, &before, sizeof(arena));
	assert_true(flush.start > flush.last && !flush.freed);
}

static void test_null_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];
		struct pt_mem mem = arena_mem;
		struct pt_tree t = tree;

		t.mem = &mem;
		nr_calls = 0;
		mem.read = NULL;
		expect(op, &t, "no read", PT_BAD_ARG);
		if (!op->no_null) {
			t.mem = NULL;
			expect(op, &t, "no memory", PT_BAD_ARG);
		}
		assert_int_equal(nr_calls, 0);
		mem = arena_mem;
		t.mem = &mem;
		if (!op->no_null) {
			t.fmt = NULL;
			expect(op, &t, "no format", PT_BAD_ARG);
			expect(op, NULL, "no tree", PT_BAD_ARG);
			t.fmt = &fmt;
		}
		mem.cmpxchg = NULL;
		expect(op, &t, "no cmpxchg", op->looks ? PT_OK : PT_BAD_ARG);
		mem = arena_mem;
		mem.alloc = NULL;
		expect(op, &t, "no alloc", op->looks ? PT_OK : PT_BAD_ARG);
		mem = arena_mem;
		mem.free = NULL;
		expect(op, &t, "no free", op->looks ? PT_OK : PT_BAD_ARG);
	}
}

static void test_unaligned_root(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		for (unsigned bit = 0; bit < PAGE_SHIFT; bit++) {
			struct pt_tree t = tree;

			t.root |= BIT(bit);
			nr_calls = 0;
			expect(&operations[i], &t, "unaligned root", PT_BAD_ARG);
			assert_int_equal(nr_calls, 0);
		}
	}
}

/* A PAE root is 32 bytes long. */
static void test_unaligned_pae_root(void **state)
{
	struct pt_tree t = tree;

	(void)state;
	pt_format_init(&fmt, PT_PAE, &full_caps);
	t.root += 16;
	assert_int_equal(pt_walk(&t, 0, &walk), PT_BAD_ARG);
	t.root += 16;
	assert_int_equal(pt_walk(&t, 0, &walk), PT_NOT_PRESENT);
	assert_int_equal(pt_walk_from(&t, 1, 0, &walk), PT_BAD_ARG);
	/* Changes would not know where such a root's page begins. */
	assert_int_equal(pt_map(&t, 0, 0, KIB(4), RW, &flush), PT_BAD_ARG);
	pt_format_init(&fmt, PT_4LEVEL, &full_caps);
}

static void test_root_outside_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		struct pt_tree t = tree;

		t.root = ARENA_BASE + sizeof(arena.page);
		expect(&operations[i], &t, "root outside memory",
		       operations[i].no_walk ? PT_OK : PT_BAD_TABLE);
	}
}

/* A link to a table where no memory is, on the way. */
static void test_table_outside_memory(void **state)
{
	uint64_t saved = arena.page[1][0];

	(void)state;
	arena.page[1][0] = GIB(64) | 7;
	before = arena;
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];
		bool passes_over = op->call == call_visit || op->call == call_print_tree;

		if (op->call == call_destroy)
			continue;
		expect(op, &tree, "table outside memory",
		       op->no_walk || passes_over ? PT_OK : PT_BAD_TABLE);
	}
	arena.page[1][0] = saved;
}

/* A tree that leads out of memory is not freed in part. */
static void test_destroy_with_table_outside_memory(void **state)
{
	(void)state;
	for (unsigned page = 0; page < 3; page++) {
		uint64_t saved = arena.page[page][511];

		arena.page[page][511] = page == 2 ? GIB(64) | 7 : GIB(64) | 0x27;
		before = arena;
		assert_int_equal(pt_destroy(&tree), PT_BAD_TABLE);
		assert_memory_equal(&arena, &before, sizeof(arena));
		arena.page[page][511] = saved;
	}
	assert_int_equal(pt_destroy(&tree), PT_OK);
	assert_int_equal(arena.nr_used, 0);
	assert_int_equal(pt_destroy(&tree), PT_OK);
}

/* Three tables of 4 KiB pages that no larger page could stand for, in a tree of the kind. */
static uint64_t make_three_tables(enum pt_kind kind)
{
	uint64_t size;

	make_tree(kind, &full_caps);
	size = 3 * BIT(fmt.level[1].shift);
	flush = PT_FLUSH_NONE;
	assert_int_equal(pt_map(&tree, 0, KIB(4), size, PT_RIGHTS | AD, &flush), PT_OK);
	assert_int_equal(arena.nr_used, fmt.levels - 1u + 3);
	return size;
}

/* All three changes, of the range and of it but its first and last page, say want. */
static void expect_no_change(uint64_t size, enum pt_status want)
{
	before = arena;
	for (uint64_t edge = 0; edge <= KIB(4); edge += KIB(4)) {
		flush = PT_FLUSH_NONE;
		assert_int_equal(
			pt_map(&tree, edge, MIB(8) + edge, size - 2 * edge, PT_RIGHTS | AD, &flush),
			want);
		assert_int_equal(pt_unmap(&tree, edge, size - 2 * edge, &flush), want);
		assert_int_equal(pt_protect(&tree, edge, size - 2 * edge, PT_W, 0, &flush), want);
		assert_true(flush.start > flush.last && !flush.freed);
		assert_memory_equal(&arena, &before, sizeof(arena));
	}
}

static uint64_t *entry_at(uint64_t pa)
{
	return (uint64_t *)((char *)arena.page + (pa - ARENA_BASE));
}

/* The entry of the level for addr becomes e; what it was. */
static uint64_t put_entry(uint64_t addr, unsigned level, uint64_t e)
{
	uint64_t old = 0;

	assert_int_equal(pt_walk(&tree, addr, &walk), PT_OK);
	memcpy(&old, entry_at(walk.entry_pa[level]), fmt.entry_size);
	memcpy(entry_at(walk.entry_pa[level]), &e, fmt.entry_size);
	return old;
}

/* A link that leads out of memory in the middle of a range: what lies before it stays too. */
static void test_table_outside_memory_mid_range(void **state)
{
	(void)state;
	drop_tree();
	for (enum pt_kind kind = 0; kind < PT_KINDS; kind++) {
		for (unsigned nr = 0; nr < 3; nr++) {
			uint64_t size = make_three_tables(kind), addr = nr * size / 3, old;

			assert_int_equal(pt_walk(&tree, addr, &walk), PT_OK);
			old = put_entry(addr, 1, walk.entry[1] + GIB(1));
			expect_no_change(size, PT_BAD_TABLE);
			memcpy(entry_at(walk.entry_pa[1]), &old, fmt.entry_size);
			drop_tree();
		}
	}
	setup(state);
}

/* The same of a wrong entry, in a table or for a page. */
static void test_reserved_mid_range(void **state)
{
	(void)state;
	drop_tree();
	for (enum pt_kind kind = PT_PAE; kind < PT_KINDS; kind++) {
		for (unsigned level = 0; level < 2; level++) {
			uint64_t size = make_three_tables(kind), addr = size / 2;

			assert_int_equal(pt_walk(&tree, addr, &walk), PT_OK);
			put_entry(addr, level, walk.entry[level] | BIT(50));
			expect_no_change(size, PT_RESERVED);
			/* It can be thrown away all the same. */
			assert_int_equal(pt_destroy(&tree), PT_OK);
			assert_int_equal(arena.nr_used, 0);
		}
	}
	setup(state);
}

static uint64_t turns_bad; /* the entry there has a reserved bit when read for the second time */
static unsigned nr_looks;

static bool turning_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	if (!arena_mem.read(ctx, pa, size, val))
		return false;
	if (pa == turns_bad && nr_looks++)
		*val |= BIT(50);
	return true;
}

/* An entry that goes wrong after it was looked at is not taken for a good one. */
static void test_reserved_in_the_meantime(void **state)
{
	struct pt_mem m = arena_mem;

	(void)state;
	m.read = turning_read;
	tree.mem = &m;
	turns_bad = ARENA_BASE + 2 * PAGE_SIZE;
	nr_looks = 0;
	assert_int_equal(pt_unmap(&tree, 0, MIB(2), &flush), PT_RESERVED);
	assert_true(nr_looks >= 2);
	tree.mem = &arena_mem;
	assert_memory_equal(&arena, &before, sizeof(arena));
}

static void test_ranges_that_wrap(void **state)
{
	(void)state;
	flush = PT_FLUSH_NONE;
	assert_int_equal(pt_map(&tree, WRAPS, 0, KIB(8), RW, &flush), PT_BAD_ARG);
	assert_int_equal(pt_map(&tree, 0, WRAPS, KIB(8), RW, &flush), PT_BAD_ARG);
	assert_int_equal(pt_map(&tree, KIB(4), 0, WRAPS, RW, &flush), PT_BAD_ARG);
	/* Both ends would be lower-half addresses. */
	assert_int_equal(pt_map(&tree, KIB(8), 0, WRAPS, RW, &flush), PT_BAD_ARG);
	assert_int_equal(pt_unmap(&tree, KIB(8), WRAPS, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, KIB(8), WRAPS, PT_W, 0, &flush), PT_BAD_ARG);
	assert_int_equal(pt_unmap(&tree, WRAPS, KIB(8), &flush), PT_BAD_ARG);
	assert_int_equal(pt_unmap(&tree, KIB(4), WRAPS, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, WRAPS, KIB(8), PT_W, 0, &flush), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, KIB(4), WRAPS, PT_W, 0, &flush), PT_BAD_ARG);
	assert_memory_equal(&arena, &before, sizeof(arena));
	assert_true(flush.start > flush.last);
}

static void test_null_callbacks(void **state)
{
	uint64_t pa = 7;

	(void)state;
	assert_int_equal(pt_drill(&tree, 0, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(pt_visit(&tree, &budget, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(pt_visit(&tree, NULL, visit, NULL), PT_BAD_ARG);
	assert_int_equal(pt_print_path(&tree, 0, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(pt_print_tree(&tree, &budget, 9, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(pt_print_tree(&tree, NULL, 9, line, NULL), PT_BAD_ARG);
	assert_int_equal(pt_print_entry(&fmt, 0, 0, NULL, NULL), PT_BAD_ARG);
	assert_int_equal(budget, 100000);
	assert_int_equal(pt_find(&tree, 0, 0, NULL), PT_BAD_ARG);
	assert_int_equal(pt_find(&tree, 0, 4, &pa), PT_BAD_ARG);
	assert_int_equal(pa, 7);
	assert_int_equal(pt_map(&tree, 0, 0, KIB(4), RW, NULL), PT_BAD_ARG);
	assert_int_equal(pt_unmap(&tree, 0, KIB(4), NULL), PT_BAD_ARG);
	assert_int_equal(pt_protect(&tree, 0, KIB(4), PT_W, 0, NULL), PT_BAD_ARG);
	assert_int_equal(pt_release(&tree, NULL), PT_BAD_ARG);
	assert_memory_equal(&arena, &before, sizeof(arena));
}

static void test_create(void **state)
{
	struct pt_tree t;

	(void)state;
	memset(&t, 0x5a, sizeof(t));
	for (unsigned i = 0; i < 7; i++) {
		struct pt_mem m = arena_mem;

		m.read = i == 0 ? NULL : m.read;
		m.cmpxchg = i == 1 ? NULL : m.cmpxchg;
		m.alloc = i == 2 ? NULL : m.alloc;
		m.free = i == 3 ? NULL : m.free;
		assert_int_equal(
			pt_create(i == 4 ? NULL : &t, i == 5 ? NULL : &fmt, i == 6 ? NULL : &m),
			PT_BAD_ARG);
	}
	assert_int_equal(t.root, UINT64_C(0x5a5a5a5a5a5a5a5a));
	assert_memory_equal(&arena, &before, sizeof(arena));
}

/* Marking is for walks that ended well, through memory that can be written. */
static void test_mark(void **state)
{
	struct pt_mem m = arena_mem;
	struct pt_tree t = tree;

	(void)state;
	arena.page[0][0] &= ~BIT(5);
	before = arena;
	assert_int_equal(pt_walk(&tree, MIB(2), &walk), PT_NOT_PRESENT);
	assert_false(pt_mark(&tree, &walk, true));
	m.cmpxchg = NULL;
	t.mem = &m;
	assert_int_equal(pt_walk(&t, 0, &walk), PT_OK);
	assert_false(pt_mark(&t, &walk, true));
	assert_memory_equal(&arena, &before, sizeof(arena));
	assert_true(pt_mark(&tree, &walk, true));
	assert_true(arena.page[0][0] & BIT(5));
}

/* A list of freed pages that leads out of memory is not followed. */
static void test_release_outside_memory(void **state)
{
	struct pt_flush bad = { .start = 1, .freed = GIB(64) };

	(void)state;
	assert_int_equal(pt_release(&tree, &bad), PT_BAD_TABLE);
	assert_int_equal(bad.freed, GIB(64));
	assert_memory_equal(&arena, &before, sizeof(arena));
}

static unsigned nr_freed;

static void keeping_free(void *ctx, uint64_t pa)
{
	(void)ctx;
	(void)pa;
	nr_freed++;
}

/* Nor is a page freed that was written to since, or for a second time. */
static void test_release_of_what_is_in_use(void **state)
{
	struct pt_flush bad = PT_FLUSH_NONE;
	struct pt_mem m = arena_mem;
	struct pt_tree t = tree;
	uint64_t pdpt, *entry;

	(void)state;
	assert_int_equal(pt_unmap(&tree, 0, MIB(2), &bad), PT_OK);
	pdpt = bad.freed;
	entry = arena.page[(pdpt - ARENA_BASE) / PAGE_SIZE];
	for (unsigned i = 40; i < 80; i++) {
		entry[i] ^= BIT(11);
		assert_int_equal(pt_release(&tree, &bad), PT_BAD_TABLE);
		assert_int_equal(bad.freed, pdpt);
		entry[i] ^= BIT(11);
	}
	assert_int_equal(arena.nr_used, 3);

	m.free = keeping_free;
	t.mem = &m;
	/* The next one on the list is looked for at an address with bit 40 set. */
	entry[40 - 12] ^= BIT(11);
	assert_int_equal(pt_release(&t, &bad), PT_BAD_TABLE);
	assert_int_equal(nr_freed, 1);
	bad.freed ^= BIT(40);
	assert_int_equal(pt_release(&t, &bad), PT_OK);
	assert_int_equal(nr_freed, 2);
	bad.freed = pdpt;
	assert_int_equal(pt_release(&t, &bad), PT_BAD_TABLE);
	assert_int_equal(nr_freed, 2);
	arena_mem.free(&arena, ARENA_BASE + PAGE_SIZE);
	arena_mem.free(&arena, ARENA_BASE + 2 * PAGE_SIZE);
}

/* A level that the format does not have is not walked from. */
static void test_walk_from_nowhere(void **state)
{
	struct pt_mem m = { 0 };
	struct pt_tree t = tree;

	(void)state;
	for (enum pt_kind kind = 0; kind < PT_KINDS; kind++) {
		pt_format_init(&fmt, kind, &full_caps);
		for (unsigned top = fmt.levels; top < 300; top++) {
			walk.rights = PT_RIGHTS;
			assert_int_equal(pt_walk_from(&tree, top, 0, &walk), PT_BAD_ARG);
			assert_int_equal(walk.status, PT_BAD_ARG);
			assert_int_equal(walk.rights, 0);
		}
		assert_int_equal(pt_walk_from(&tree, UINT_MAX, 0, &walk), PT_BAD_ARG);
		t.mem = &m;
		assert_int_equal(pt_walk_from(&t, fmt.levels, 0, &walk), PT_BAD_ARG);
	}
	pt_format_init(&fmt, PT_4LEVEL, &full_caps);
}

/* What is asked about an address is not answered for another, whose low bits are the same. */
static void test_addresses_out_of_range(void **state)
{
	(void)state;
	drop_tree();
	for (enum pt_kind kind = 0; kind < PT_KINDS; kind++) {
		uint64_t addr, pa = 7;

		make_tree(kind, &full_caps);
		addr = BIT(fmt.addr_bits);
		flush = PT_FLUSH_NONE;
		assert_int_equal(pt_map(&tree, 0, MIB(4), KIB(4), PT_RIGHTS | AD, &flush), PT_OK);
		assert_int_equal(pt_walk(&tree, addr, &walk), PT_OK);
		nr_calls = 0;
		assert_int_equal(pt_find(&tree, addr, PT_DATA, &pa), PT_BAD_ARG);
		assert_int_equal(pt_find(&tree, addr, 0, &pa), PT_BAD_ARG);
		assert_int_equal(pa, 7);
		assert_int_equal(pt_page_size(&tree, addr), 0);
		assert_int_equal(pt_drill(&tree, addr, visit, NULL), PT_BAD_ARG);
		assert_int_equal(pt_print_path(&tree, addr, line, NULL), PT_BAD_ARG);
		assert_int_equal(nr_calls, 0);
		assert_int_equal(pt_page_size(&tree, 0), KIB(4));
		drop_tree();
	}
	setup(state);
}

/* --- the page of a level, and the data page --- */

static void test_find(void **state)
{
	uint64_t pa = 7;

	(void)state;
	assert_int_equal(pt_map(&tree, GIB(1), MIB(6), KIB(4), RW | AD, &flush), PT_OK);
	for (unsigned level = 0; level < 4; level++) {
		assert_int_equal(pt_find(&tree, GIB(1) + 0x123, level, &pa), PT_OK);
		assert_true(IS_ALIGNED(pa, PAGE_SIZE));
		/* The page found is the one that holds the entry. */
		assert_int_equal(pt_walk(&tree, GIB(1) + 0x123, &walk), PT_OK);
		assert_int_equal(pa, ALIGN_DOWN(walk.entry_pa[level], PAGE_SIZE));
	}
	assert_int_equal(pt_find(&tree, GIB(1) + 0x123, PT_DATA, &pa), PT_OK);
	assert_int_equal(pa, MIB(6));
	assert_int_equal(pt_find(&tree, 0x12345, PT_DATA, &pa), PT_OK);
	assert_int_equal(pa, MIB(4));
	/* No table of level 0 below a 2 MiB page: told from one that is absent. */
	pa = 7;
	assert_int_equal(pt_find(&tree, 0x12345, 0, &pa), PT_LARGER);
	assert_int_equal(pt_find(&tree, MIB(2), 0, &pa), PT_NOT_PRESENT);
	assert_int_equal(pt_find(&tree, MIB(2), PT_DATA, &pa), PT_NOT_PRESENT);
	assert_int_equal(pa, 7);
	assert_int_equal(pt_find(&tree, MIB(2), 1, &pa), PT_OK);
	assert_int_equal(pa, ARENA_BASE + 2 * PAGE_SIZE);
	/* A table that the path names but that lies nowhere, and one behind a wrong entry. */
	arena.page[0][1] = GIB(64) | 7;
	arena.page[0][2] = BIT(7) | 7;
	pa = 7;
	assert_int_equal(pt_find(&tree, GIB(512), 2, &pa), PT_BAD_TABLE);
	assert_int_equal(pt_find(&tree, GIB(1024), 2, &pa), PT_RESERVED);
	assert_int_equal(pa, 7);
	assert_int_equal(pt_find(&tree, GIB(1024), 3, &pa), PT_OK);
	arena.page[0][1] = arena.page[0][2] = 0;
}

static void test_page_sizes(void **state)
{
	(void)state;
	assert_int_equal(pt_map(&tree, GIB(1), GIB(1), GIB(1), RW | AD, &flush), PT_OK);
	assert_int_equal(pt_map(&tree, GIB(2), MIB(6), KIB(4), RW | AD, &flush), PT_OK);
	assert_int_equal(pt_page_size(&tree, 0x1fffff), MIB(2));
	assert_int_equal(pt_page_size(&tree, GIB(2) - 1), GIB(1));
	assert_int_equal(pt_page_size(&tree, GIB(2) + 1), KIB(4));
	assert_int_equal(pt_page_size(&tree, GIB(2) + KIB(4)), 0);
}

/* --- trees that no one should have: changes end, and free a page once --- */

static void test_shared_table_is_freed_once(void **state)
{
	(void)state;
	arena.page[0][1] = arena.page[0][0];
	arena.page[1][7] = arena.page[1][0];
	assert_int_equal(pt_destroy(&tree), PT_OK);
	assert_int_equal(arena.nr_used, 0);
}

static unsigned nr_reads;

static bool counted_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	nr_reads++;
	return arena_mem.read(ctx, pa, size, val);
}

/*
 * Tables that share all that is below them: 512 ways to each from above. What is looked over
 * beforehand has an end, and so has a change that cuts the links.
 */
static void test_many_ways_to_a_table(void **state)
{
	struct pt_mem m = arena_mem;

	(void)state;
	m.read = counted_read;
	tree.mem = &m;
	for (unsigned i = 1; i < 512; i++) {
		arena.page[0][i] = arena.page[0][0];
		arena.page[1][i] = arena.page[1][0];
	}
	nr_reads = 0;
	assert_int_equal(pt_destroy(&tree), PT_OK);
	tree.mem = &arena_mem;
	assert_in_range(nr_reads, BIT(20), BIT(20) + 3 * 512 * 512);
	assert_int_equal(arena.nr_used, 0);
}

static void test_recursive_tree_is_freed_once(void **state)
{
	struct pt_mem m = arena_mem;

	(void)state;
	m.read = counted_read;
	tree.mem = &m;
	for (unsigned i = 1; i < 512; i++)
		arena.page[0][i] = tree.root | 7;
	nr_reads = 0;
	assert_int_equal(pt_destroy(&tree), PT_OK);
	tree.mem = &arena_mem;
	/* Not 512 times 512 times 512: each link is followed once. */
	assert_in_range(nr_reads, 511, 512 * 600);
	/* The rest was linked from entries that were read as another level's. */
	memset(arena.used, 0, sizeof(arena.used));
	arena.nr_used = 0;
}

/* --- memory that goes away, or refuses, after so many accesses --- */

static unsigned reads_left, swaps_left;

static bool failing_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	return reads_left && reads_left-- && arena_mem.read(ctx, pa, size, val);
}

static bool failing_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	return swaps_left && swaps_left-- && arena_mem.cmpxchg(ctx, pa, size, old, val);
}

/* Split a 1 GiB page down to 4 KiB, make it one again, and throw the tree away. */
static enum pt_status work(struct pt_tree *t)
{
	enum pt_status status = pt_map(t, 0, 0, GIB(1), RW | AD, &flush);

	if (status == PT_OK)
		status = pt_unmap(t, MIB(4) + KIB(4), KIB(4), &flush);
	if (status == PT_OK)
		status = pt_release(t, &flush);
	if (status == PT_OK)
		status = pt_map(t, MIB(4) + KIB(4), MIB(4) + KIB(4), KIB(4), RW | AD, &flush);
	if (status == PT_OK)
		status = pt_release(t, &flush);
	return status == PT_OK ? pt_destroy(t) : status;
}

static void test_memory_goes_away(void **state)
{
	struct pt_mem m = arena_mem;
	unsigned nr_ok = 0;

	(void)state;
	m.read = failing_read;
	m.cmpxchg = failing_cmpxchg;
	for (unsigned i = 0; i < 12000; i++) {
		struct pt_tree t;
		enum pt_status status;

		teardown(state);
		setup(state);
		t = tree;
		t.mem = &m;
		flush = PT_FLUSH_NONE;
		/* One after the other: the n-th read, or the n-th write, is the last. */
		reads_left = i & 1 ? UINT32_MAX : i / 2;
		swaps_left = i & 1 ? i / 2 : UINT32_MAX;
		status = work(&t);
		if (status != PT_OK && status != PT_BAD_TABLE && status != PT_RACE)
			fail_msg("%u accesses: status %d", i / 2, status);
		nr_ok += status == PT_OK;
		/* Whatever was lost, a page is free or not: drop_tree() would find more. */
		memset(&arena, 0, sizeof(arena));
		make_tree(PT_4LEVEL, &full_caps);
	}
	assert_true(nr_ok > 0);
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	(void)pa;
	(void)size;
	return true;
}

/* A nested table that is not as Umbra made it, or whose memory is null: an error of its own. */
static void test_nested_errors(void **state)
{
	struct nested n;

	(void)state;
	assert_int_equal(nested_init(&n, NESTED_NPT, &full_caps, NULL, may_map, NULL), -EINVAL);
	assert_int_equal(nested_init(&n, NESTED_NPT, &full_caps, &arena_mem, NULL, NULL), -EINVAL);
	assert_int_equal(nested_init(&n, NESTED_NPT, &full_caps, &arena_mem, may_map, NULL), 0);
	assert_int_equal(nested_tree(&n).root, n.root.v);
	arena.page[(n.root.v - ARENA_BASE) / PAGE_SIZE][0] = BIT(7) | BIT(0);
	before = arena;
	assert_int_equal(nested_map(&n, GPA(0), HPA(0), KIB(4), PT_R), -EIO);
	assert_int_equal(nested_unmap(&n, GPA(0), KIB(4)), -EIO);
	assert_int_equal(nested_protect(&n, GPA(0), KIB(4), PT_R), -EIO);
	assert_memory_equal(&arena, &before, sizeof(arena));
	arena.page[(n.root.v - ARENA_BASE) / PAGE_SIZE][0] = 0;
	n.root.v += 8;
	assert_int_equal(nested_map(&n, GPA(0), HPA(0), KIB(4), PT_R), -EINVAL);
	n.root.v -= 8;
	nested_destroy(&n);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_null_memory),
		TEST(test_unaligned_root),
		TEST(test_unaligned_pae_root),
		TEST(test_root_outside_memory),
		TEST(test_table_outside_memory),
		TEST(test_destroy_with_table_outside_memory),
		TEST(test_table_outside_memory_mid_range),
		TEST(test_reserved_mid_range),
		TEST(test_reserved_in_the_meantime),
		TEST(test_ranges_that_wrap),
		TEST(test_null_callbacks),
		TEST(test_create),
		TEST(test_mark),
		TEST(test_release_outside_memory),
		TEST(test_release_of_what_is_in_use),
		TEST(test_walk_from_nowhere),
		TEST(test_addresses_out_of_range),
		TEST(test_find),
		TEST(test_page_sizes),
		TEST(test_shared_table_is_freed_once),
		TEST(test_many_ways_to_a_table),
		TEST(test_recursive_tree_is_freed_once),
		TEST(test_memory_goes_away),
		TEST(test_nested_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
