/* Following the tables, and marking what was followed. */
#include "paging/entry.h"
#include "paging/pt.h"

enum pt_status pt_walk_from(const struct pt_tree *t, unsigned top, uint64_t addr, struct pt_walk *w)
{
	const struct pt_format *f = t->fmt;
	const struct pt_mem *m = t->mem;
	const struct pt_level *l = &f->level[top];
	uint64_t table = t->root, acc = ~UINT64_C(0), e;
	enum pt_status status = PT_OK;
	unsigned level = top;

	if (__builtin_expect(!m || !m->read || (table & l->table_mask), 0)) {
		*w = (struct pt_walk){ .status = PT_BAD_ARG };
		return PT_BAD_ARG;
	}
	for (;; level--, l--) {
		uint64_t pa = table + ((addr >> l->shift & l->index_mask) << f->entry_shift);
		bool leaf;

		w->entry_pa[level] = pa;
		if (!m->read(m->ctx, pa, f->entry_size, &w->entry[level])) {
			status = PT_BAD_TABLE;
			break;
		}
		e = w->entry[level];
		if (!(e & f->present)) {
			status = PT_NOT_PRESENT;
			break;
		}
		leaf = e & l->leaf_bit;
		if ((e & l->rsvd[leaf]) || (f->bad_low6 && (f->bad_low6 >> (e & 63) & 1))) {
			status = PT_RESERVED;
			break;
		}
		acc &= (e ^ f->invert) | l->keep;
		/* A present entry of level 0 is always a leaf: the loop ends there. */
		if (leaf) {
			w->out = leaf_target(f, level, e) | (addr & (BIT(l->shift) - 1));
			break;
		}
		table = e & l->table_addr;
	}
	w->status = status;
	w->level = (uint8_t)level;
	w->top = (uint8_t)top;
	w->page_shift = l->shift;
	w->rights = status == PT_OK ? rights_decode(f, acc) : 0;
	w->unmarked = ~acc & f->accessed;
	return status;
}

enum pt_status pt_walk(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	if (!t || !t->fmt)
		return w->status = PT_BAD_ARG;
	return pt_walk_from(t, t->fmt->levels - 1u, addr, w);
}

enum pt_status pt_find(const struct pt_tree *t, uint64_t addr, unsigned level, uint64_t *pa)
{
	struct pt_walk w;

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

	return pt_walk(t, addr, &w) == PT_OK ? BIT(w.page_shift) : 0;
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
