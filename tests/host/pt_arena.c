#include "tests/host/pt_arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"

static void *arena_at(struct arena *a, uint64_t pa, unsigned size)
{
	uint64_t off = pa - ARENA_BASE;

	if (pa < ARENA_BASE || off >= sizeof(a->page))
		return NULL;
	assert_true(IS_ALIGNED(pa, size));
	assert_true(a->used[off / PAGE_SIZE]);
	return (char *)a->page + off;
}

static bool arena_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	void *p = arena_at(ctx, pa, size);

	if (p)
		*val = size == 8 ? *(uint64_t *)p : *(uint32_t *)p;
	return p;
}

static bool arena_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	struct arena *a = ctx;
	void *p = arena_at(a, pa, size);
	uint64_t seen;

	assert_non_null(p);
	if (a->before)
		a->before(a, p, size);
	arena_read(a, pa, size, &seen);
	if (seen != old)
		return false;
	if (size == 8)
		*(uint64_t *)p = val;
	else
		*(uint32_t *)p = (uint32_t)val;
	if (size == 4)
		assert_int_equal(val >> 32, 0);
	a->nr_writes++;
	if (a->after)
		a->after(a->after_ctx);
	return true;
}

static uint64_t arena_alloc(void *ctx)
{
	struct arena *a = ctx;

	if (a->nr_used >= a->limit)
		return 0;
	for (unsigned i = 0; i < ARENA_PAGES; i++) {
		if (a->used[i])
			continue;
		a->used[i] = true;
		a->nr_used++;
		memset(a->page[i], 0, PAGE_SIZE);
		return ARENA_BASE + i * PAGE_SIZE;
	}
	return 0;
}

static void arena_free(void *ctx, uint64_t pa)
{
	struct arena *a = ctx;
	uint64_t i = (pa - ARENA_BASE) / PAGE_SIZE;

	assert_true(i < ARENA_PAGES && IS_ALIGNED(pa, PAGE_SIZE));
	assert_true(a->used[i]); /* nothing is freed twice */
	memset(a->page[i], 0xdf, PAGE_SIZE);
	a->used[i] = false;
	a->nr_used--;
}

struct arena arena;
const struct pt_mem arena_mem = {
	.read = arena_read,
	.cmpxchg = arena_cmpxchg,
	.alloc = arena_alloc,
	.free = arena_free,
	.ctx = &arena,
};

const struct pt_caps full_caps = {
	.maxphyaddr = 46,
	.nx = true,
	.pse = true,
	.pse36 = true,
	.page_1g = true,
	.ept_exec_only = true,
	.ept_ad = true,
};

struct pt_format fmt;
struct pt_tree tree;

void make_tree(enum pt_kind kind, const struct pt_caps *caps)
{
	memset(&arena, 0, sizeof(arena));
	arena.limit = ARENA_PAGES;
	pt_format_init(&fmt, kind, caps);
	assert_int_equal(pt_create(&tree, &fmt, &arena_mem), PT_OK);
}

void drop_tree(void)
{
	pt_destroy(&tree);
	assert_int_equal(arena.nr_used, 0);
}
