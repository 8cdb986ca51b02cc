/*
 * Random maps, unmaps and protects, with memory running out, against a plain array that says
 * what each page should be; and what a hardware walk could see after each single write.
 * Once with a fixed seed, once with a fresh one, which is printed; PT_SEED=n repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "paging/pt.h"
#include "tests/host/pt_arena.h"

#define RW (PT_R | PT_W)
#define AD (PT_A | PT_D)

/* --- the model --- */

#define MODEL_MAX 3072

struct model_page {
	bool present;
	uint64_t pa;
	unsigned attrs;
};

static struct {
	uint64_t base, large;
	unsigned nr;
	struct model_page old[MODEL_MAX], new[MODEL_MAX], seen[MODEL_MAX];
	unsigned tables; /* seen */
} model;

static uint64_t rng;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* What is left of attrs in a format that lacks some of them. */
static unsigned normal(unsigned attrs)
{
	attrs |= (fmt.r ? 0 : PT_R) | (fmt.x ? 0 : PT_X) | (fmt.u ? 0 : PT_U);
	attrs &= fmt.accessed ? ~0u : ~PT_A;
	attrs &= fmt.dirty ? ~0u : ~PT_D;
	return attrs & (fmt.global ? ~0u : ~PT_G);
}

static bool same(const struct model_page *a, const struct model_page *b)
{
	return a->present == b->present &&
	       (!a->present || (a->pa == b->pa && a->attrs == b->attrs));
}

static bool see_entry(void *ctx, const struct pt_visit *v)
{
	uint64_t first = (v->addr - model.base) >> PAGE_SHIFT, n;

	(void)ctx;
	assert_false(v->bad);
	if (!v->leaf) {
		model.tables++;
		return true;
	}
	n = BIT(fmt.level[v->level].shift) >> PAGE_SHIFT;
	assert_true(first < model.nr && n <= model.nr - first);
	for (uint64_t i = 0; i < n; i++)
		model.seen[first + i] =
			(struct model_page){ true, v->pa + i * PAGE_SIZE, v->attrs };
	return true;
}

static void see_tree(void)
{
	uint64_t budget = UINT64_MAX;

	memset(model.seen, 0, sizeof(model.seen));
	model.tables = 0;
	assert_int_equal(pt_visit(&tree, &budget, see_entry, NULL), PT_OK);
}

/* After each write to a table: some pages, as a hardware walk would find them now. */
static void walk_some(void *ctx)
{
	(void)ctx;
	for (unsigned i = 0; i < 3; i++) {
		unsigned n = (unsigned)(next() % model.nr);
		const struct model_page *o = &model.old[n], *w = &model.new[n];
		struct pt_walk walk;
		bool present;

		pt_walk(&tree, model.base + n * PAGE_SIZE, &walk);
		assert_true(walk.status == PT_OK || walk.status == PT_NOT_PRESENT);
		present = walk.status == PT_OK;
		if (present == o->present &&
		    (!present || (walk.out == o->pa && walk.rights == (o->attrs & PT_RIGHTS))))
			continue;
		if (present == w->present &&
		    (!present || (walk.out == w->pa && walk.rights == (w->attrs & PT_RIGHTS))))
			continue;
		fail_msg("%s: page %u is neither old nor new: %d %#llx rights %x", fmt.name, n,
			 present, (unsigned long long)walk.out, walk.rights);
	}
}

/* Bounds of how many tables the model needs: a uniform block may or may not need its own when
 * hardware could still set a bit in it. */
static void count_tables(unsigned *min, unsigned *max)
{
	unsigned per = (unsigned)(model.large >> PAGE_SHIFT);
	bool any[PT_MAX_LEVELS][MODEL_MAX / 512] = { { false } };

	*min = *max = 1;
	for (unsigned b = 0; b < model.nr / per; b++) {
		const struct model_page *p = &model.new[b * per];
		bool uniform = p->present && IS_ALIGNED(p->pa, model.large), some = p->present;
		uint64_t addr = model.base + b * model.large;

		for (unsigned i = 1; i < per; i++) {
			some |= p[i].present;
			uniform = uniform && p[i].present && p[i].attrs == p->attrs &&
				  p[i].pa == p->pa + i * PAGE_SIZE;
		}
		if (!some)
			continue;
		if (!uniform)
			++*min;
		if (!uniform ||
		    (fmt.dirty && (~p->attrs & PT_A || (p->attrs & PT_W && ~p->attrs & PT_D))))
			++*max;
		/* The tables above that of large pages, one for each distinct address. */
		for (unsigned l = 2; l < fmt.levels; l++) {
			unsigned slot = (unsigned)((addr >> fmt.level[l].shift) -
						   (model.base >> fmt.level[l].shift));

			*min += !any[l][slot];
			*max += !any[l][slot];
			any[l][slot] = true;
		}
	}
}

static void check_flush(const struct pt_flush *flush)
{
	for (unsigned i = 0; i < model.nr; i++) {
		uint64_t addr = model.base + i * PAGE_SIZE;

		if (!model.old[i].present || same(&model.old[i], &model.seen[i]))
			continue;
		if (addr < flush->start || addr > flush->last)
			fail_msg("%s: %#llx changed, not in the flush range %#llx-%#llx", fmt.name,
				 (unsigned long long)addr, (unsigned long long)flush->start,
				 (unsigned long long)flush->last);
	}
	if (flush->freed)
		assert_true(flush->start <= flush->last);
}

static void compare(enum pt_status status)
{
	for (unsigned i = 0; i < model.nr; i++) {
		const struct model_page *s = &model.seen[i], *n = &model.new[i];

		if (same(s, n) || (status == PT_NO_MEMORY && same(s, &model.old[i])))
			continue;
		fail_msg("%s: page %u is %d %#llx %x, should be %d %#llx %x", fmt.name, i,
			 s->present, (unsigned long long)s->pa, s->attrs, n->present,
			 (unsigned long long)n->pa, n->attrs);
	}
}

/* A range with a liking for large pages' borders. */
static void choose_range(unsigned *first, unsigned *n)
{
	unsigned per = (unsigned)(model.large >> PAGE_SHIFT), end;

	*first = (unsigned)(next() % model.nr);
	end = *first + 1 + (unsigned)(next() % (next() % 2 ? 16 : model.nr));
	if (next() % 2)
		*first -= *first % per;
	if (next() % 2)
		end += per - end % per;
	*n = MIN(end, model.nr) - *first;
}

static unsigned choose_attrs(void)
{
	static const unsigned rights[] = { PT_R,      RW,        PT_R | PT_X,
					   RW | PT_X, RW | PT_U, PT_R | PT_X | PT_U };
	unsigned attrs = rights[next() % ARRAY_SIZE(rights)];

	attrs |= next() % 8 ? AD : next() % 2 ? PT_A : 0;
	return attrs | (next() % 8 ? 0 : PT_G) | (next() % 8 ? 0 : PT_UC);
}

static enum pt_status random_map(unsigned first, unsigned n, struct pt_flush *flush)
{
	uint64_t addr = model.base + first * PAGE_SIZE, pa = first * PAGE_SIZE;
	unsigned attrs = choose_attrs();

	/* Mostly one of two targets, so that neighbours fit together again. */
	pa += next() % 8 ? (next() % 2 + 1) * MIB(64) : next() % 4096 * PAGE_SIZE;
	for (unsigned i = 0; i < n; i++)
		model.new[first + i] =
			(struct model_page){ true, pa + i * PAGE_SIZE, normal(attrs) };
	return pt_map(&tree, addr, pa, n * PAGE_SIZE, attrs, flush);
}

static enum pt_status random_protect(unsigned first, unsigned n, struct pt_flush *flush)
{
	unsigned mask = PT_RIGHTS | AD, attrs = choose_attrs() & mask;

	if (next() % 4 == 0) {
		mask = PT_W;
		attrs = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		struct model_page *p = &model.new[first + i];

		p->attrs = normal((p->attrs & ~mask) | attrs);
	}
	return pt_protect(&tree, model.base + first * PAGE_SIZE, n * PAGE_SIZE, mask, attrs, flush);
}

static void random_step(void)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	unsigned first, n, min, max;
	enum pt_status status;

	memcpy(model.new, model.old, sizeof(model.new));
	choose_range(&first, &n);
	arena.limit = next() % 4 ? ARENA_PAGES : arena.nr_used + (unsigned)(next() % 3);
	arena.after = walk_some;
	switch (next() % 4) {
	case 0:
		memset(&model.new[first], 0, n * sizeof(model.new[0]));
		status = pt_unmap(&tree, model.base + first * PAGE_SIZE, n * PAGE_SIZE, &flush);
		break;
	case 1:
		status = random_protect(first, n, &flush);
		break;
	default:
		status = random_map(first, n, &flush);
		break;
	}
	arena.after = NULL;
	assert_true(status == PT_OK || (status == PT_NO_MEMORY && arena.limit < ARENA_PAGES));
	see_tree();
	compare(status);
	check_flush(&flush);
	pt_release(&tree, &flush);
	assert_int_equal(arena.nr_used, model.tables);
	memcpy(model.old, model.seen, sizeof(model.old));
	memcpy(model.new, model.seen, sizeof(model.new));
	count_tables(&min, &max);
	if (model.tables < min || model.tables > max)
		fail_msg("%s: %u tables, should be %u to %u", fmt.name, model.tables, min, max);
}

static uint64_t fresh_seed;

static void run_model(enum pt_kind kind, uint64_t base, uint64_t seed)
{
	rng = seed;
	make_tree(kind, &full_caps);
	memset(&model, 0, sizeof(model));
	model.base = base;
	model.large = BIT(fmt.level[1].shift);
	model.nr = kind == PT_32 ? 3072 : 2048;
	for (unsigned i = 0; i < 400; i++)
		random_step();
	arena.limit = ARENA_PAGES;
	drop_tree();
}

static void run_model_seeds(enum pt_kind kind, uint64_t base)
{
	run_model(kind, base, 0x756d627261);
	run_model(kind, base, fresh_seed);
}

static void test_model_32(void **state)
{
	(void)state;
	run_model_seeds(PT_32, GIB(1) - MIB(8));
}

static void test_model_pae(void **state)
{
	(void)state;
	run_model_seeds(PT_PAE, GIB(1) - MIB(4));
}

static void test_model_4level(void **state)
{
	(void)state;
	run_model_seeds(PT_4LEVEL, BIT(39) - MIB(4));
	run_model_seeds(PT_4LEVEL, UINT64_C(0xffff800000000000));
}

static void test_model_5level(void **state)
{
	(void)state;
	run_model_seeds(PT_5LEVEL, UINT64_C(0xffff000000000000) - MIB(2));
}

static void test_model_npt(void **state)
{
	(void)state;
	run_model_seeds(PT_NPT, GIB(3) - MIB(2));
}

static void test_model_ept(void **state)
{
	(void)state;
	run_model_seeds(PT_EPT, GIB(512) - MIB(6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_32),     cmocka_unit_test(test_model_pae),
		cmocka_unit_test(test_model_4level), cmocka_unit_test(test_model_5level),
		cmocka_unit_test(test_model_npt),    cmocka_unit_test(test_model_ept),
	};
	const char *given = getenv("PT_SEED");

	fresh_seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15;
	printf("PT_SEED=%#llx\n", (unsigned long long)fresh_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
