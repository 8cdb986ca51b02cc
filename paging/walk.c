/* Following the tables, and marking what was followed. */
#include "paging/entry.h"
#include "paging/pt.h"

/* From an entry of struct pt_walk to its address, and to the whole. */
#define SLOT_PA PT_MAX_LEVELS
#define SLOT_WALK(slot, l) container_of((slot) - (l)->number, struct pt_walk, entry)
static_assert(offsetof(struct pt_walk, entry_pa) - offsetof(struct pt_walk, entry) ==
		      SLOT_PA * sizeof(uint64_t),
	      "entry_pa[] lies right behind entry[]");

/* How a walk ends that reaches no page. */
static enum pt_status walk_ends(struct pt_walk *w, const struct pt_level *l, enum pt_status status)
{
	w->status = status;
	w->level = l->number;
	w->rights = 0;
	w->unmarked = 0;
	return status;
}

/*
 * The walk of every format, made twice: with EPT's misconfigurations and without. What it needs
 * at a level is in l, and slot is w's entry of that level: few registers survive a read.
 */
static inline __attribute__((always_inline)) enum pt_status walk(const struct pt_tree *t,
								 const struct pt_level *l,
								 uint64_t addr, struct pt_walk *w,
								 bool ept)
{
	const struct pt_mem *m = t->mem;
	uint64_t table = t->root, acc = ~UINT64_C(0), *slot = &w->entry[l->number], e;

	for (;; l--, slot--) {
		uint64_t pa = table + (addr >> l->offset_shift & l->offset_mask);

		slot[SLOT_PA] = pa;
		if (!m->read(m->ctx, pa, l->entry_size, slot))
			return walk_ends(SLOT_WALK(slot, l), l, PT_BAD_TABLE);
		e = *slot;
		if (!(e & l->present))
			return walk_ends(SLOT_WALK(slot, l), l, PT_NOT_PRESENT);
		acc &= e ^ l->invert;
		if (ept && (l->bad_low6 >> (e & 63) & 1))
			return walk_ends(SLOT_WALK(slot, l), l, PT_RESERVED);
		/* A present entry of level 0 is always a leaf: the loop ends there. */
		if (e & l->stop)
			break;
		table = e & l->table_addr;
	}
	w = SLOT_WALK(slot, l);
	if (!(e & l->leaf_bit) || (e & l->rsvd[1]))
		return walk_ends(w, l, PT_RESERVED);
	w->status = PT_OK;
	w->level = l->number;
	w->page_shift = l->shift;
	w->rights = t->fmt->rights[(acc & 7) | acc >> 63 << 3];
	w->unmarked = ~acc & t->fmt->accessed;
	w->out = (e & l->leaf_addr) | (e & l->leaf_hi) << l->leaf_hi_shift | (addr & l->page_mask);
	return PT_OK;
}

enum pt_status pt_walk_from(const struct pt_tree *t, unsigned top, uint64_t addr, struct pt_walk *w)
{
	const struct pt_level *l = &t->fmt->level[top];

	if (__builtin_expect(!t->mem->read || (t->root & l->table_mask), 0)) {
		w->top = w->level = 0;
		return w->status = PT_BAD_ARG;
	}
	w->top = (uint8_t)top;
	return l->bad_low6 ? walk(t, l, addr, w, true) : walk(t, l, addr, w, false);
}

enum pt_status pt_walk(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	return pt_walk_from(t, t->fmt->levels - 1u, addr, w);
}

enum pt_status pt_find(const struct pt_tree *t, uint64_t addr, unsigned level, uint64_t *pa)
{
	struct pt_walk w = { 0 };

	if (!pa || !tree_ok(t) || (level >= t->fmt->levels && level != PT_DATA))
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

	return tree_ok(t) && pt_walk(t, addr, &w) == PT_OK ? BIT(w.page_shift) : 0;
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
