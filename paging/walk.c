/* Following the tables, and marking what was followed. */
#include "paging/entry.h"
#include "paging/pt.h"

/* For what is compiled again for each shape, to have its constants folded. */
#ifdef __OPTIMIZE__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* What is constant in a walk. All else that tells formats apart is in the descriptor. */
struct shape {
	unsigned levels; /* at most */
	unsigned entry_shift;
	bool ept; /* entries may be misconfigured in bits 5:0 */
};

/* A walk under way: the next table, and what all entries so far allow. */
struct path {
	const struct pt_format *f;
	const struct pt_mem *m;
	uint64_t addr, table, acc;
	struct pt_walk *w;
};

INLINE unsigned level_shift(struct shape s, unsigned level)
{
	return PAGE_SHIFT + (PAGE_SHIFT - s.entry_shift) * level;
}

/* The walk ends here, at no page. */
static bool walk_ends(struct pt_walk *w, unsigned level, enum pt_status status)
{
	w->status = status;
	w->level = (uint8_t)level;
	w->rights = 0;
	w->unmarked = 0;
	return true;
}

/* The walk does not begin. */
static enum pt_status walk_refused(struct pt_walk *w)
{
	w->top = 0;
	walk_ends(w, 0, PT_BAD_ARG);
	return PT_BAD_ARG;
}

/* The walk ends here, at a page unless the entry is reserved. */
INLINE bool walk_leaf(const struct path *p, struct shape s, unsigned level, uint64_t e)
{
	const struct pt_level *l = &p->f->level[level];
	struct pt_walk *w = p->w;
	uint64_t out;

	if ((e ^ l->leaf_flip) & l->leaf_rsvd)
		return walk_ends(w, level, PT_RESERVED);
	out = (e & l->leaf_addr) | (p->addr & (BIT(level_shift(s, level)) - 1));
	/* PSE-36. Entries of 8 bytes have all address bits in their places. */
	if (s.entry_shift == 2 && level)
		out |= (e & l->leaf_hi) << l->leaf_hi_shift;
	w->status = PT_OK;
	w->level = (uint8_t)level;
	w->page_shift = (uint8_t)level_shift(s, level);
	w->rights = p->f->rights[rights_index(p->acc)];
	w->unmarked = ~p->acc & p->f->accessed;
	w->out = out;
	return true;
}

/* Read one entry and judge its form. True: the walk ends here. */
INLINE bool walk_step(struct path *p, struct shape s, unsigned level)
{
	const struct pt_level *l = &p->f->level[level];
	uint64_t offset = p->addr >> (level_shift(s, level) - s.entry_shift) & l->offset_mask;
	uint64_t *slot = &p->w->entry[level], pa = p->table + offset, e;

	p->w->entry_pa[level] = pa;
	if (!p->m->read(p->m->ctx, pa, 1u << s.entry_shift, slot))
		return walk_ends(p->w, level, PT_BAD_TABLE);
	e = *slot;
	if (!(e & p->f->present))
		return walk_ends(p->w, level, PT_NOT_PRESENT);
	if (s.ept && (p->f->bad_low6 >> (e & 63) & 1))
		return walk_ends(p->w, level, PT_RESERVED);
	/* In 4 bytes no right is inverted, and none is missing at any level. */
	p->acc &= s.entry_shift == 2 ? e : (e ^ p->f->invert) | l->keep;
	if (!level || (e & l->stop))
		return walk_leaf(p, s, level, e);
	p->table = e & l->table_addr;
	return false;
}

INLINE enum pt_status walk(const struct pt_tree *t, uint64_t addr, struct pt_walk *w, unsigned top,
			   uint64_t root_mask, struct shape s)
{
	struct path p = { t->fmt, t->mem, addr, t->root, ~UINT64_C(0), w };

	if (__builtin_expect(!p.m->read || (p.table & root_mask), 0))
		return walk_refused(w);
	w->top = (uint8_t)top;
	/* From level to level; those that the shape does not have fold away. */
	switch (top) {
	default:
		if (s.levels > 4 && walk_step(&p, s, 4))
			break;
		__attribute__((fallthrough));
	case 3:
		if (s.levels > 3 && walk_step(&p, s, 3))
			break;
		__attribute__((fallthrough));
	case 2:
		if (s.levels > 2 && walk_step(&p, s, 2))
			break;
		__attribute__((fallthrough));
	case 1:
		if (walk_step(&p, s, 1))
			break;
		__attribute__((fallthrough));
	case 0:
		walk_step(&p, s, 0);
	}
	return w->status;
}

static enum pt_status walk_4byte(const struct pt_tree *t, uint64_t addr, struct pt_walk *w,
				 unsigned top, uint64_t root_mask)
{
	return walk(t, addr, w, top, root_mask, (struct shape){ .levels = 2, .entry_shift = 2 });
}

static enum pt_status walk_8byte(const struct pt_tree *t, uint64_t addr, struct pt_walk *w,
				 unsigned top, uint64_t root_mask)
{
	return walk(t, addr, w, top, root_mask, (struct shape){ .levels = 5, .entry_shift = 3 });
}

static enum pt_status walk_ept(const struct pt_tree *t, uint64_t addr, struct pt_walk *w,
			       unsigned top, uint64_t root_mask)
{
	const struct shape s = { .levels = 4, .entry_shift = 3, .ept = true };

	return walk(t, addr, w, top, root_mask, s);
}

static enum pt_status walk_any(const struct pt_tree *t, uint64_t addr, struct pt_walk *w,
			       unsigned top, uint64_t root_mask)
{
	if (t->fmt->entry_shift == 2)
		return walk_4byte(t, addr, w, top, root_mask);
	if (t->fmt->bad_low6)
		return walk_ept(t, addr, w, top, root_mask);
	return walk_8byte(t, addr, w, top, root_mask);
}

enum pt_status pt_walk_from(const struct pt_tree *t, unsigned top, uint64_t addr, struct pt_walk *w)
{
	if (top >= t->fmt->levels)
		return walk_refused(w);
	return walk_any(t, addr, w, top, t->fmt->level[top].table_mask);
}

enum pt_status pt_walk(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	return walk_any(t, addr, w, t->fmt->levels - 1u, t->fmt->root_mask);
}

enum pt_status pt_find(const struct pt_tree *t, uint64_t addr, unsigned level, uint64_t *pa)
{
	struct pt_walk w = { 0 };

	if (!pa || !tree_ok(t) || !pt_addr_ok(t->fmt, addr) ||
	    (level >= t->fmt->levels && level != PT_DATA))
		return PT_BAD_ARG;
	pt_walk(t, addr, &w);
	if (level == PT_DATA) {
		if (w.status == PT_OK)
			*pa = ALIGN_DOWN(w.out, BIT(w.page_shift));
		return w.status;
	}
	if (level < w.level)
		return w.status == PT_OK ? PT_LARGER : w.status;
	if (level == w.level && w.status == PT_BAD_TABLE)
		return PT_BAD_TABLE;
	*pa = ALIGN_DOWN(w.entry_pa[level], t->fmt->level[level].table_mask + 1u);
	return PT_OK;
}

uint64_t pt_page_size(const struct pt_tree *t, uint64_t addr)
{
	struct pt_walk w;

	if (!tree_ok(t) || !pt_addr_ok(t->fmt, addr) || pt_walk(t, addr, &w) != PT_OK)
		return 0;
	return BIT(w.page_shift);
}

bool pt_mark(const struct pt_tree *t, struct pt_walk *w, bool write)
{
	const struct pt_format *f = t->fmt;

	if (w->status != PT_OK || !t->mem->cmpxchg)
		return false;
	if (!w->unmarked && (!write || (w->entry[w->level] & f->dirty) == f->dirty))
		return true;
	for (unsigned i = w->top + 1u; i-- > w->level;) {
		uint64_t old = w->entry[i], e = old | (f->accessed & ~f->level[i].keep);

		if (i == w->level && write)
			e |= f->dirty;
		if (e == old)
			continue;
		if (!entry_swap(t, w->entry_pa[i], old, e))
			return false;
		w->entry[i] = e;
	}
	return true;
}
