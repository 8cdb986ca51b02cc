/* Entries: what they are made from, and how. */
#include "paging/entry.h"
#include "paging/shadow_core.h"

#define LARGE_SIZE (UINT64_C(1) << LARGE_SHIFT)

/* --- roles --- */

static uint32_t rights_role(unsigned rights)
{
	return rights << ROLE_RIGHTS_SHIFT;
}

uint32_t sp_low_role(uint32_t mode, unsigned slot)
{
	uint32_t role = mode | 1 | rights_role(PT_RIGHTS);

	if (role_kind(mode) == ROLE_UNPAGED)
		return (role & ~(ROLE_MODE & ~ROLE_KIND)) | ROLE_DIRECT;
	return role_kind(mode) == PT_32 ? role | slot << ROLE_QUADRANT_SHIFT : role;
}

uint32_t sp_table_role(const struct sp *p, unsigned slot, uint64_t e)
{
	const struct pt_format *f = p->fmt;
	unsigned level = role_level(p->role);
	unsigned rights = rights_decode(f, (e ^ f->invert) | f->level[level].keep);
	uint32_t role = (p->role & ROLE_MODE) | (level - 1);

	if (role_kind(role) == PT_32)
		role |= (slot & 1) << ROLE_QUADRANT_SHIFT;
	return role | rights_role(rights & role_rights(p->role));
}

uint32_t sp_direct_role(const struct sp *p, const struct sp_leaf *leaf)
{
	unsigned rights = leaf->dirty ? leaf->rights : leaf->rights & ~PT_W;

	return (p->role & ROLE_KIND) | (role_level(p->role) - 1) | ROLE_DIRECT |
	       rights_role(rights) | (leaf->global ? ROLE_GLOBAL : 0) |
	       leaf->pkey << ROLE_PKEY_SHIFT;
}

/* --- entries --- */

bool sp_large_fits(struct shadow *s, const struct sp_leaf *leaf, const struct shadow_target *t)
{
	uint64_t base = ALIGN_DOWN(leaf->gpa, LARGE_SIZE);
	struct sp_chunk *c;

	if (base < t->start || base + LARGE_SIZE > t->start + t->size ||
	    !IS_ALIGNED(t->pa.v + (base - t->start), LARGE_SIZE))
		return false;
	c = sp_chunk_find(s, base >> PAGE_SHIFT);
	return !c || !c->tables;
}

bool sp_enter(struct shadow *s, struct sp *p, unsigned slot, const struct sp_leaf *leaf,
	      const struct shadow_target *t)
{
	const struct pt_format *hw = p->hw;
	unsigned level = role_level(p->role);
	uint64_t gpa = ALIGN_DOWN(leaf->gpa, BIT(hw->level[level].shift));
	bool may_write = (leaf->rights & PT_W) && leaf->dirty && t->writable;
	unsigned attrs = (leaf->rights & (PT_R | PT_X | PT_U)) | PT_A | PT_D;
	uint64_t e;

	attrs &= t->device ? ~PT_X : ~0u;
	attrs |= leaf->global ? PT_G : 0;
	e = make_leaf(hw, level, t->pa.v + (gpa - t->start), attrs);
	e |= (may_write ? SPTE_MAY_W : 0) | ((uint64_t)leaf->pkey << PKEY_SHIFT & hw->pkey);
	return sp_set_page(s, p, slot, gpa >> PAGE_SHIFT, e);
}

/* The leaf that the guest's entry e is, for this entry of p. */
static void leaf_of(const struct sp *p, unsigned slot, uint64_t e, struct sp_leaf *leaf)
{
	const struct pt_format *f = p->fmt;
	unsigned level = role_level(p->role);

	leaf->gpa = leaf_target(f, level, e);
	if (role_kind(p->role) == PT_32 && level)
		leaf->gpa += (slot & 1) * LARGE_SIZE;
	leaf->rights = rights_decode(f, e ^ f->invert) & role_rights(p->role);
	leaf->dirty = e & f->dirty;
	leaf->global = e & f->global;
	leaf->pkey = (unsigned)((e & f->pkey) >> PKEY_SHIFT);
}

/* Link to what is there already. False: it is not. */
static bool try_link(struct shadow *s, struct sp *p, unsigned slot, uint64_t gfn, uint32_t role)
{
	struct sp *child = sp_find(s, gfn, role);

	if (!child)
		return false;
	sp_set_link(s, p, slot, child);
	return true;
}

static bool try_page(struct shadow *s, struct sp *p, unsigned slot, const struct sp_leaf *leaf)
{
	unsigned level = role_level(p->role);
	struct shadow_target t;

	if (level > 1)
		return try_link(s, p, slot, leaf->gpa >> PAGE_SHIFT, sp_direct_role(p, leaf));
	if (!sp_resolve(s, leaf->gpa, false, &t))
		return false;
	if (level && !sp_large_fits(s, leaf, &t))
		return try_link(s, p, slot, leaf->gpa >> PAGE_SHIFT, sp_direct_role(p, leaf));
	return sp_enter(s, p, slot, leaf, &t);
}

void sp_prefetch_direct(struct shadow *s, struct sp *p, unsigned slot)
{
	struct sp_leaf leaf = {
		.gpa = (p->gfn << PAGE_SHIFT) +
		       ((uint64_t)slot << (PAGE_SHIFT + 9 * role_level(p->role))),
		.rights = role_rights(p->role),
		.dirty = true,
		.global = p->role & ROLE_GLOBAL,
		.pkey = (p->role & ROLE_PKEY) >> ROLE_PKEY_SHIFT,
	};

	if (!p->spt[slot] && try_page(s, p, slot, &leaf))
		sp_count(s, &s->stats.prefetched);
}

/* False: there is nothing to be made of e without an access. */
static bool try_entry(struct shadow *s, struct sp *p, unsigned slot, uint64_t e)
{
	const struct pt_format *f = p->fmt;
	unsigned level = role_level(p->role);
	struct sp_leaf leaf;

	if (!(e & f->present) || !(e & f->accessed) || entry_is_bad(f, level, e))
		return false;
	if (!entry_is_leaf(f, level, e))
		return try_link(s, p, slot, (e & f->level[level].table_addr) >> PAGE_SHIFT,
				sp_table_role(p, slot, e));
	leaf_of(p, slot, e, &leaf);
	return try_page(s, p, slot, &leaf);
}

bool sp_remake(struct shadow *s, struct sp *p, unsigned slot, uint64_t e)
{
	bool had = sp_entry(p, slot) != 0;

	if (try_entry(s, p, slot, e))
		sp_count(s, &s->stats.prefetched);
	else if (had)
		sp_zap(s, p, slot);
	return had;
}
