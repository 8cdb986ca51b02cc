/* Taking entries apart and putting them together, for the engine's own files. */
#ifndef UMBRA_PAGING_ENTRY_H
#define UMBRA_PAGING_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/pt.h"

/* Where an entry has its protection key, and the two bits for each key in PKRU. */
#define PKEY_SHIFT 59
#define PKRU_AD 1u
#define PKRU_WD 2u

/* Entries of a table of the level. */
static inline unsigned table_entries(const struct pt_format *f, unsigned level)
{
	return f->level[level].index_mask + 1u;
}

/* Bytes that one entry of the level spans. */
static inline uint64_t level_span(const struct pt_format *f, unsigned level)
{
	return BIT(f->level[level].shift);
}

/* Where the entry for addr lies in a table of the level. */
static inline uint64_t entry_address(const struct pt_format *f, unsigned level, uint64_t table,
				     uint64_t addr)
{
	const struct pt_level *l = &f->level[level];

	return table + ((addr >> l->shift & l->index_mask) << f->entry_shift);
}

/* Would a walk follow it? */
static inline bool entry_present(const struct pt_format *f, uint64_t e)
{
	return e & f->present;
}

/* Does a present entry map a page? */
static inline bool entry_is_leaf(const struct pt_format *f, unsigned level, uint64_t e)
{
	return e & f->level[level].leaf_bit;
}

/* Has a present entry a reserved bit set? EPT: is it misconfigured? */
static inline bool entry_is_bad(const struct pt_format *f, unsigned level, uint64_t e)
{
	return (e & f->level[level].rsvd[entry_is_leaf(f, level, e)]) ||
	       (f->bad_low6 >> (e & 63) & 1);
}

/* Rights from an entry, or from an AND over entries, with NX already inverted. */
static inline unsigned rights_decode(const struct pt_format *f, uint64_t acc)
{
	return (!f->r || (acc & f->r) ? PT_R : 0) | (!f->w || (acc & f->w) ? PT_W : 0) |
	       (!f->x || (acc & f->x) ? PT_X : 0) | (!f->u || (acc & f->u) ? PT_U : 0);
}

/* The same as an index to rights[] of the format: all rights are in bits 2:0 and 63. */
static inline unsigned rights_index(uint64_t acc)
{
	return (acc << 1 | acc >> 63) & 15;
}

/* The first byte of the page that the entry maps. */
static inline uint64_t leaf_target(const struct pt_format *f, unsigned level, uint64_t e)
{
	const struct pt_level *l = &f->level[level];

	return (e & l->leaf_addr) | (e & l->leaf_hi) << l->leaf_hi_shift;
}

/* PT_* of a present entry, by itself; D, G and UC of pages only. */
static inline unsigned entry_attrs(const struct pt_format *f, unsigned level, uint64_t e)
{
	const struct pt_level *l = &f->level[level];
	unsigned a = rights_decode(f, (e ^ f->invert) | l->keep);

	a |= e & f->accessed & ~l->keep ? PT_A : 0;
	if (!entry_is_leaf(f, level, e))
		return a;
	a |= (e & f->dirty ? PT_D : 0) | (e & f->global ? PT_G : 0);
	return a | ((e & f->type_mask) == f->type_uc ? PT_UC : 0);
}

/* The entry that maps the page at pa with attrs. */
static inline uint64_t make_leaf(const struct pt_format *f, unsigned level, uint64_t pa,
				 unsigned attrs)
{
	const struct pt_level *l = &f->level[level];
	uint64_t e = (attrs & PT_R ? f->r : 0) | (attrs & PT_W ? f->w : 0) |
		     (attrs & PT_X ? f->x : 0) | (attrs & PT_U ? f->u : 0);

	e ^= f->invert;
	e |= (attrs & PT_A ? f->accessed & ~l->keep : 0) | (attrs & PT_D ? f->dirty : 0) |
	     (attrs & PT_G ? f->global : 0) | (attrs & PT_UC ? f->type_uc : f->type_wb);
	return e | l->leaf_set | (pa & l->leaf_addr) | (pa >> l->leaf_hi_shift & l->leaf_hi);
}

/* The entry that leads to the table at pa. */
static inline uint64_t make_table(const struct pt_format *f, unsigned level, uint64_t pa)
{
	return pa | f->level[level].table_set;
}

/* Can it be looked at? Nothing in it is null, and the root is where a table may lie. */
static inline bool tree_ok(const struct pt_tree *t)
{
	return t && t->fmt && t->mem && t->mem->read &&
	       !(t->root & t->fmt->level[t->fmt->levels - 1].table_mask);
}

/* Can it be changed? */
static inline bool tree_changeable(const struct pt_tree *t)
{
	return tree_ok(t) && t->mem->cmpxchg && t->mem->alloc && t->mem->free &&
	       IS_ALIGNED(t->root, PAGE_SIZE) && !(t->root & ~t->fmt->root_addr);
}

/* Through the tree's memory, see struct pt_mem. */
static inline bool entry_read(const struct pt_tree *t, uint64_t at, uint64_t *e)
{
	return t->mem->read(t->mem->ctx, at, t->fmt->entry_size, e);
}

/* The same, compare-and-exchange. */
static inline bool entry_swap(const struct pt_tree *t, uint64_t at, uint64_t old, uint64_t e)
{
	return t->mem->cmpxchg(t->mem->ctx, at, t->fmt->entry_size, old, e);
}

#endif
