/* Going over a path or a whole tree, entry by entry. */
#include "paging/entry.h"
#include "paging/pt.h"

typedef bool visit_fn(void *ctx, const struct pt_visit *v);

static struct pt_visit root_visit(const struct pt_tree *t)
{
	return (struct pt_visit){
		.level = t->fmt->levels,
		.pa = t->root,
		.attrs = PT_RIGHTS,
	};
}

static void describe(const struct pt_format *f, unsigned level, uint64_t e, struct pt_visit *v)
{
	v->level = level;
	v->entry = e;
	v->leaf = entry_is_leaf(f, level, e);
	v->bad = entry_is_bad(f, level, e);
	v->pa = v->leaf ? leaf_target(f, level, e) : e & f->level[level].table_addr;
	v->attrs = entry_attrs(f, level, e);
}

/* addr without the bits that the format does not translate, sign-extended if it does so. */
static uint64_t canonical(const struct pt_format *f, uint64_t addr)
{
	if (f->sign_extend && (addr >> (f->addr_bits - 1) & 1))
		return addr | ~(BIT(f->addr_bits) - 1);
	return addr;
}

enum pt_status pt_drill(const struct pt_tree *t, uint64_t addr, visit_fn *fn, void *ctx)
{
	const struct pt_format *f;
	struct pt_visit v;
	struct pt_walk w;

	if (!fn || !tree_ok(t) || !pt_addr_ok(t->fmt, addr))
		return PT_BAD_ARG;
	f = t->fmt;
	v = root_visit(t);
	if (!fn(ctx, &v))
		return PT_STOPPED;
	pt_walk(t, addr, &w);
	for (unsigned i = w.top + 1u; i-- > w.level;) {
		if (i == w.level && (w.status == PT_NOT_PRESENT || w.status == PT_BAD_TABLE))
			break;
		describe(f, i, w.entry[i], &v);
		v.addr = ALIGN_DOWN(addr, level_span(f, i));
		v.entry_pa = w.entry_pa[i];
		if (!fn(ctx, &v))
			return PT_STOPPED;
	}
	return w.status;
}

struct visitor {
	const struct pt_tree *t;
	uint64_t *budget;
	visit_fn *fn;
	void *ctx;
};

/* Depth is bounded by the levels. */
static bool visit_table(const struct visitor *vis, unsigned level, uint64_t table, uint64_t base)
{
	const struct pt_format *f = vis->t->fmt;

	for (unsigned i = 0; i < table_entries(f, level); i++) {
		struct pt_visit v = {
			.addr = canonical(f, base + i * level_span(f, level)),
			.entry_pa = table + ((uint64_t)i << f->entry_shift),
		};
		uint64_t e;

		if (!*vis->budget)
			return false;
		--*vis->budget;
		if (!entry_read(vis->t, v.entry_pa, &e))
			return true;
		if (!entry_present(f, e))
			continue;
		describe(f, level, e, &v);
		if (!vis->fn(vis->ctx, &v))
			return false;
		if (!v.leaf && !v.bad && !visit_table(vis, level - 1, v.pa, v.addr))
			return false;
	}
	return true;
}

enum pt_status pt_visit(const struct pt_tree *t, uint64_t *budget, visit_fn *fn, void *ctx)
{
	const struct visitor vis = { .t = t, .budget = budget, .fn = fn, .ctx = ctx };
	struct pt_visit v;
	uint64_t e;

	if (!fn || !budget || !tree_ok(t))
		return PT_BAD_ARG;
	if (!entry_read(t, t->root, &e))
		return PT_BAD_TABLE;
	v = root_visit(t);
	if (!fn(ctx, &v) || !visit_table(&vis, t->fmt->levels - 1u, t->root, 0))
		return PT_STOPPED;
	return PT_OK;
}
