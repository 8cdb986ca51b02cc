/* pt_drill and pt_visit: order, bounds, and what they say of each entry. */
#include "arch/x86_64/include/bits.h"
#include "tests/fuzz/world.h"

static struct world w;

struct seen {
	unsigned n, stop_at;
	struct pt_visit last;
};

static bool check_entry(const struct pt_visit *v)
{
	const struct pt_format *f = &w.fmt;

	expect(v->level < f->levels && (v->entry & f->present));
	expect(pt_addr_ok(f, v->addr) && IS_ALIGNED(v->addr, BIT(f->level[v->level].shift)));
	expect(!(v->attrs & ~PT_ATTRS) && v->pa < BIT(52) && IS_ALIGNED(v->pa, PAGE_SIZE));
	return v->level || v->leaf;
}

static bool on_drill(void *ctx, const struct pt_visit *v)
{
	struct seen *s = ctx;

	if (!s->n)
		expect(v->level == w.fmt.levels && v->pa == w.tree.root);
	else
		expect(check_entry(v) && v->level == s->last.level - 1 && !s->last.leaf);
	s->last = *v;
	return ++s->n != s->stop_at;
}

static bool on_visit(void *ctx, const struct pt_visit *v)
{
	struct seen *s = ctx;

	if (!s->n)
		expect(v->level == w.fmt.levels && !v->leaf);
	else
		expect(check_entry(v));
	/* Down one level, or on in the same or in one above, ascending. */
	if (s->n > 1 && v->level < s->last.level)
		expect(v->level == s->last.level - 1 && !s->last.leaf && !s->last.bad &&
		       v->addr >= s->last.addr);
	else if (s->n > 1)
		expect(v->addr > s->last.addr);
	s->last = *v;
	return ++s->n != s->stop_at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct seen s = { 0 };
	struct pt_walk walk;
	uint64_t addr, budget, given;
	enum pt_status status;

	world_init(&w, &in, PT_EPT);
	addr = world_address(&w, &in);
	s.stop_at = (unsigned)take(&in, 1) % 8;
	pt_walk(&w.tree, addr, &walk);
	status = pt_drill(&w.tree, addr, on_drill, &s);
	expect(status == (s.n && s.n == s.stop_at ? PT_STOPPED : walk.status));
	if (status == PT_OK)
		expect(s.last.leaf && s.last.pa == ALIGN_DOWN(walk.out, BIT(walk.page_shift)));

	s = (struct seen){ .stop_at = (unsigned)take(&in, 2) };
	budget = given = take(&in, 2);
	w.nr_reads = 0;
	status = pt_visit(&w.tree, &budget, on_visit, &s);
	expect(budget <= given && w.nr_reads <= given - budget + 1);
	expect(status == PT_OK || status == PT_STOPPED);
	return 0;
}
