/*
 * Changing a tree that the hypervisor owns: map, unmap, protect. Each looks its range over
 * before it changes anything. All three go down the tree in the same way; they differ in what
 * one entry is to become.
 */
#include <stddef.h>

#include "paging/entry.h"
#include "paging/pt.h"

/* Hardware sets accessed and dirty in an entry at most once each; more means a bug. */
#define SWAP_TRIES 8

/* Entries that are looked over: a tree in which tables lead to each other has no end. */
#define CHECK_ENTRIES BIT(20)

enum change_kind { CHANGE_MAP, CHANGE_UNMAP, CHANGE_PROTECT };

struct change {
	const struct pt_tree *t;
	enum change_kind kind;
	uint64_t delta;       /* map: pa - addr, modulo 2^64 */
	unsigned mask, attrs; /* protect: which attributes, to what; map: attrs */
	struct pt_flush *flush;
};

static void flush_add(struct pt_flush *flush, uint64_t start, uint64_t last)
{
	flush->start = MIN(flush->start, start);
	flush->last = MAX(flush->last, last);
}

/*
 * A table that falls out of the tree keeps its translations until the caller has flushed: a walk
 * that came in by the old link, or comes by a cached one, finds what was there. So the list of
 * such tables has but one bit of each entry to be written in, one that hardware ignores in all
 * formats, in tables' and in pages' entries: 11. (Bit 10 is a right in EPT, under mode-based
 * execute control.) A page number takes 40 entries.
 */
#define NOTE_BIT BIT(11)
#define NOTE_ENTRIES 40u
#define NOTE_NEXT 0u           /* first entry of: the next table on the list */
#define NOTE_SELF NOTE_ENTRIES /* the table itself: it is on the list */

static bool note_read(const struct pt_tree *t, uint64_t table, unsigned first, uint64_t *page)
{
	uint64_t e;

	*page = 0;
	for (unsigned i = 0; i < NOTE_ENTRIES; i++) {
		if (!entry_read(t, table + ((uint64_t)(first + i) << t->fmt->entry_shift), &e))
			return false;
		*page |= e & NOTE_BIT ? BIT(PAGE_SHIFT + i) : 0;
	}
	return true;
}

/* Hardware may be marking the entry. */
static bool note_bit_write(const struct pt_tree *t, uint64_t at, uint64_t bit)
{
	uint64_t e;

	for (unsigned i = 0; i < SWAP_TRIES; i++) {
		if (!entry_read(t, at, &e))
			return false;
		if ((e & NOTE_BIT) == bit || entry_swap(t, at, e, e ^ NOTE_BIT))
			return true;
	}
	return false;
}

static bool note_write(const struct pt_tree *t, uint64_t table, unsigned first, uint64_t page)
{
	for (unsigned i = 0; i < NOTE_ENTRIES; i++) {
		uint64_t at = table + ((uint64_t)(first + i) << t->fmt->entry_shift);

		if (!note_bit_write(t, at, page & BIT(PAGE_SHIFT + i) ? NOTE_BIT : 0))
			return false;
	}
	return true;
}

/*
 * Put an unlinked table on the list. False: it is there already, as a tree may hold a table
 * twice; or memory refuses, and the table is lost.
 */
static bool chain_freed(const struct pt_tree *t, struct pt_flush *flush, uint64_t table)
{
	uint64_t self;

	if (!note_read(t, table, NOTE_SELF, &self) || self == table ||
	    !note_write(t, table, NOTE_NEXT, flush->freed) ||
	    !note_write(t, table, NOTE_SELF, table))
		return false;
	flush->freed = table;
	return true;
}

/*
 * Chain the table at level and all tables below it. Each goes on the list before its entries are
 * followed, so that a tree that leads back to itself ends too. Depth is bounded by the levels.
 */
static void chain_subtree(const struct pt_tree *t, struct pt_flush *flush, unsigned level,
			  uint64_t table)
{
	const struct pt_format *f = t->fmt;

	if (!chain_freed(t, flush, table))
		return;
	for (unsigned i = 0; level && i < table_entries(f, level); i++) {
		uint64_t at = table + ((uint64_t)i << f->entry_shift), e;

		if (!entry_read(t, at, &e))
			return;
		if (entry_present(f, e) && !entry_is_leaf(f, level, e))
			chain_subtree(t, flush, level - 1, e & f->level[level].table_addr);
	}
}

/* Entry i of the table that says the same as leaf e of the level above. */
static uint64_t split_entry(const struct pt_format *f, unsigned level, uint64_t e, unsigned i)
{
	uint64_t pa = leaf_target(f, level, e) + i * level_span(f, level - 1);

	return make_leaf(f, level - 1, pa, entry_attrs(f, level, e));
}

/* A page for a table, where a field of these bits can name it; 0: none. */
static uint64_t table_alloc(const struct pt_mem *m, uint64_t field)
{
	uint64_t table = m->alloc(m->ctx);

	if (!(table & ~field))
		return table;
	m->free(m->ctx, table);
	return 0;
}

/*
 * A new table to stand in the place of entry e: empty when e is absent, with e's own
 * mapping one level finer when it is a leaf. It is not linked yet.
 */
static enum pt_status make_child(const struct pt_tree *t, unsigned level, uint64_t e,
				 uint64_t *child)
{
	const struct pt_format *f = t->fmt;
	uint64_t table = table_alloc(t->mem, f->level[level].table_addr);

	if (!table)
		return PT_NO_MEMORY;
	*child = table;
	if (!entry_present(f, e))
		return PT_OK;
	for (unsigned i = 0; i < table_entries(f, level - 1); i++) {
		if (!entry_swap(t, table + ((uint64_t)i << f->entry_shift), 0,
				split_entry(f, level, e, i))) {
			t->mem->free(t->mem->ctx, table);
			return PT_BAD_TABLE;
		}
	}
	return PT_OK;
}

/*
 * The one entry that could stand for all of the table, of level - 1: a leaf when it maps
 * one contiguous range alike, 0 when it maps nothing. Entries on which hardware may still
 * set a bit are left alone, so that no such bit gets lost. False: there is none.
 */
static bool merged_entry(const struct pt_tree *t, unsigned level, uint64_t table, uint64_t *out)
{
	const struct pt_format *f = t->fmt;
	unsigned n = table_entries(f, level - 1), attrs;
	uint64_t first, e;

	if (!entry_read(t, table, &first))
		return false;
	*out = 0;
	if (entry_present(f, first)) {
		attrs = entry_attrs(f, level - 1, first);
		if (!f->level[level].leaf || !entry_is_leaf(f, level - 1, first))
			return false;
		if ((f->accessed && !(attrs & PT_A)) ||
		    (f->dirty && (attrs & PT_W) && !(attrs & PT_D)))
			return false;
		*out = make_leaf(f, level, leaf_target(f, level - 1, first), attrs);
	}
	/* Downwards: a table that is being filled or emptied mostly differs at its end. */
	for (unsigned i = n; i-- > 0;) {
		if (!entry_read(t, table + ((uint64_t)i << f->entry_shift), &e))
			return false;
		if (*out ? e != split_entry(f, level, *out, i) : entry_present(f, e))
			return false;
	}
	return true;
}

/* Replace the table that the entry at leads to by one entry, if it can be. */
static void try_merge(const struct change *c, unsigned level, uint64_t at, uint64_t addr)
{
	const struct pt_format *f = c->t->fmt;
	uint64_t e, merged, table, start = ALIGN_DOWN(addr, level_span(f, level));

	if (!entry_read(c->t, at, &e) || !entry_present(f, e) || entry_is_leaf(f, level, e))
		return;
	table = e & f->level[level].table_addr;
	if (!merged_entry(c->t, level, table, &merged) || !entry_swap(c->t, at, e, merged))
		return;
	flush_add(c->flush, start, start + (level_span(f, level) - 1));
	chain_freed(c->t, c->flush, table);
}

/*
 * What entry e of the level is to become so that [start, start + size) is as wanted.
 * False: one entry cannot say it; the answer is in the tables below.
 */
static bool wanted_entry(const struct change *c, unsigned level, uint64_t start, bool whole,
			 uint64_t e, uint64_t *want)
{
	const struct pt_format *f = c->t->fmt;
	bool present = entry_present(f, e), leaf = present && entry_is_leaf(f, level, e);
	uint64_t span = level_span(f, level), pa;

	*want = e;
	switch (c->kind) {
	case CHANGE_MAP:
		pa = ALIGN_DOWN(start, span) + c->delta;
		if (!f->level[level].leaf || !IS_ALIGNED(pa, span))
			return false;
		*want = make_leaf(f, level, pa, c->attrs);
		return whole || *want == e;
	case CHANGE_UNMAP:
		if (!present)
			return true;
		*want = 0;
		return whole;
	default:
		if (!present)
			return true;
		if (!leaf)
			return false;
		*want = make_leaf(f, level, leaf_target(f, level, e),
				  (entry_attrs(f, level, e) & ~c->mask) | c->attrs);
		return whole || *want == e;
	}
}

static enum pt_status change_range(const struct change *c, unsigned level, uint64_t table,
				   uint64_t start, uint64_t last);

/* Go into the table below entry e, making it first if need be. PT_RACE: e has changed. */
static enum pt_status change_below(const struct change *c, unsigned level, uint64_t at, uint64_t e,
				   uint64_t start, uint64_t last)
{
	const struct pt_format *f = c->t->fmt;
	uint64_t child = e & f->level[level].table_addr, span = level_span(f, level);
	enum pt_status status;

	if (!entry_present(f, e) || entry_is_leaf(f, level, e)) {
		status = make_child(c->t, level, e, &child);
		if (status != PT_OK)
			return status;
		if (!entry_swap(c->t, at, e, make_table(f, level, child))) {
			c->t->mem->free(c->t->mem->ctx, child);
			return PT_RACE;
		}
		if (entry_present(f, e))
			flush_add(c->flush, ALIGN_DOWN(start, span), start | (span - 1));
	}
	status = change_range(c, level - 1, child, start, last);
	try_merge(c, level, at, start);
	return status;
}

/* Bring the part [start, last] of what one entry spans to what is wanted. */
static enum pt_status change_entry(const struct change *c, unsigned level, uint64_t table,
				   uint64_t start, uint64_t last)
{
	const struct pt_format *f = c->t->fmt;
	uint64_t at = entry_address(f, level, table, start), e, want;
	bool whole = last - start == level_span(f, level) - 1;

	for (unsigned i = 0; i < SWAP_TRIES; i++) {
		if (!entry_read(c->t, at, &e))
			return PT_BAD_TABLE;
		if (entry_present(f, e) && entry_is_bad(f, level, e))
			return PT_RESERVED;
		if (!wanted_entry(c, level, start, whole, e, &want)) {
			enum pt_status status = change_below(c, level, at, e, start, last);

			if (status == PT_RACE)
				continue;
			return status;
		}
		if (want == e)
			return PT_OK;
		if (!entry_swap(c->t, at, e, want))
			continue;
		if (!entry_present(f, e))
			return PT_OK;
		flush_add(c->flush, start, last);
		if (!entry_is_leaf(f, level, e))
			chain_subtree(c->t, c->flush, level - 1, e & f->level[level].table_addr);
		return PT_OK;
	}
	return PT_RACE;
}

static enum pt_status change_range(const struct change *c, unsigned level, uint64_t table,
				   uint64_t start, uint64_t last)
{
	uint64_t span = level_span(c->t->fmt, level);

	for (;;) {
		uint64_t upto = MIN(last, start | (span - 1));
		enum pt_status status = change_entry(c, level, table, start, upto);

		if (status != PT_OK || upto == last)
			return status;
		start = upto + 1;
	}
}

/* What is to be looked over. */
struct check {
	const struct pt_tree *t;
	const struct change *change;  /* NULL: links count, not what the entries say otherwise */
	unsigned budget;              /* entries that are still read */
	uint64_t path[PT_MAX_LEVELS]; /* the tables above, by level */
};

/* Does the table lie on the way to itself? level: of the entry that leads to it. */
static bool leads_back(const struct check *c, unsigned level, uint64_t table)
{
	for (unsigned i = level; i < c->t->fmt->levels; i++)
		if (c->path[i] == table)
			return true;
	return false;
}

/* Can pages of the level hold addresses up to last? */
static bool target_fits(const struct pt_format *f, unsigned level, uint64_t last)
{
	const struct pt_level *l = &f->level[level];
	uint64_t reach = l->leaf_addr | l->leaf_hi << l->leaf_hi_shift | (BIT(l->shift) - 1);

	return l->leaf && !(last & ~reach);
}

/* Would the change split a page that smaller ones can't stand for: above 4 GiB, by PSE-36? */
static bool splits_too_far(const struct change *c, unsigned level, uint64_t e, uint64_t start,
			   uint64_t last)
{
	const struct pt_format *f = c->t->fmt;
	uint64_t rest = level_span(f, level) - 1;

	if (last - start == rest && (c->kind != CHANGE_MAP || !(c->delta & rest)))
		return false;
	return level && entry_is_leaf(f, level, e) &&
	       !target_fits(f, level - 1, leaf_target(f, level, e) + rest);
}

/* Is a present entry of [start, last] as it should be for the change? */
static enum pt_status check_entry(const struct change *c, unsigned level, uint64_t e,
				  uint64_t start, uint64_t last)
{
	if (entry_is_bad(c->t->fmt, level, e))
		return PT_RESERVED;
	return splits_too_far(c, level, e, start, last) ? PT_BAD_ARG : PT_OK;
}

/*
 * Is every table of [start, last] in memory, and every entry as it should be? Each table is
 * looked at once on each way to it, none of them below itself.
 */
static enum pt_status check_range(struct check *c, unsigned level, uint64_t table, uint64_t start,
				  uint64_t last)
{
	const struct pt_format *f = c->t->fmt;
	uint64_t span = level_span(f, level), upto, e;
	enum pt_status status = PT_OK;

	c->path[level] = table;
	for (; status == PT_OK && c->budget; start = upto + 1) {
		c->budget--;
		upto = MIN(last, start | (span - 1));
		if (!entry_read(c->t, entry_address(f, level, table, start), &e))
			return PT_BAD_TABLE;
		if (entry_present(f, e) && c->change)
			status = check_entry(c->change, level, e, start, upto);
		if (status == PT_OK && entry_present(f, e) && !entry_is_leaf(f, level, e)) {
			uint64_t child = e & f->level[level].table_addr;

			if (!leads_back(c, level, child))
				status = check_range(c, level - 1, child, start, upto);
		}
		if (upto == last)
			break;
	}
	return status;
}

/* Look the range over, then change it. */
static enum pt_status change_checked(const struct change *c, uint64_t addr, uint64_t size)
{
	struct check check = { .t = c->t, .change = c, .budget = CHECK_ENTRIES };
	unsigned top = c->t->fmt->levels - 1u;
	enum pt_status status = check_range(&check, top, c->t->root, addr, addr + size - 1);

	return status == PT_OK ? change_range(c, top, c->t->root, addr, addr + size - 1) : status;
}

static bool range_ok(const struct pt_tree *t, uint64_t addr, uint64_t size)
{
	uint64_t last = addr + size - 1;

	if (!tree_changeable(t) || !size || !IS_ALIGNED(addr | size, PAGE_SIZE) || last < addr)
		return false;
	/* Both ends on the same side of the hole between the canonical halves. */
	return pt_addr_ok(t->fmt, addr) && pt_addr_ok(t->fmt, last) && (addr ^ last) >> 63 == 0;
}

/* Is there a page size that reaches the whole target and fits its alignment? */
static bool target_ok(const struct pt_format *f, uint64_t addr, uint64_t pa, uint64_t size)
{
	uint64_t last = pa + size - 1;

	if (last < pa)
		return false;
	for (unsigned i = 0; i < f->levels; i++)
		if (target_fits(f, i, last) && IS_ALIGNED(addr | pa | size, level_span(f, i)))
			return true;
	return false;
}

/* Would a leaf with these attributes be one that hardware takes? */
static bool attrs_ok(const struct pt_format *f, unsigned attrs)
{
	uint64_t e = make_leaf(f, 0, 0, attrs);

	return !(attrs & ~PT_ATTRS) && entry_present(f, e) && !entry_is_bad(f, 0, e);
}

enum pt_status pt_map(const struct pt_tree *t, uint64_t addr, uint64_t pa, uint64_t size,
		      unsigned attrs, struct pt_flush *flush)
{
	struct change c = {
		.t = t,
		.kind = CHANGE_MAP,
		.delta = pa - addr,
		.attrs = attrs,
		.flush = flush,
	};

	if (!flush || !range_ok(t, addr, size) || !IS_ALIGNED(pa, PAGE_SIZE) ||
	    !target_ok(t->fmt, addr, pa, size) || !attrs_ok(t->fmt, attrs))
		return PT_BAD_ARG;
	return change_checked(&c, addr, size);
}

enum pt_status pt_unmap(const struct pt_tree *t, uint64_t addr, uint64_t size,
			struct pt_flush *flush)
{
	struct change c = { .t = t, .kind = CHANGE_UNMAP, .flush = flush };

	if (!flush || !range_ok(t, addr, size))
		return PT_BAD_ARG;
	return change_checked(&c, addr, size);
}

/* Will the new attributes make a good entry, whatever the old ones are? */
static bool protect_ok(const struct pt_format *f, unsigned mask, unsigned attrs)
{
	unsigned rights = mask & PT_RIGHTS;

	if ((mask & ~PT_ATTRS) || (attrs & ~mask))
		return false;
	if (rights == PT_RIGHTS)
		return attrs_ok(f, attrs);
	return !f->r || !rights || (rights == PT_W && !(attrs & PT_W));
}

enum pt_status pt_protect(const struct pt_tree *t, uint64_t addr, uint64_t size, unsigned mask,
			  unsigned attrs, struct pt_flush *flush)
{
	struct change c = {
		.t = t,
		.kind = CHANGE_PROTECT,
		.mask = mask,
		.attrs = attrs,
		.flush = flush,
	};

	if (!flush || !range_ok(t, addr, size) || !protect_ok(t->fmt, mask, attrs))
		return PT_BAD_ARG;
	return change_checked(&c, addr, size);
}

/*
 * The link of a table on the list, which then no longer says that it is on one. False: it lies
 * nowhere, or has been written to since: a tree that held it twice still uses it.
 */
static bool freed_link(const struct pt_tree *t, uint64_t table, uint64_t *next)
{
	uint64_t self;

	return note_read(t, table, NOTE_SELF, &self) && self == table &&
	       note_read(t, table, NOTE_NEXT, next) && note_write(t, table, NOTE_SELF, 0);
}

enum pt_status pt_release(const struct pt_tree *t, struct pt_flush *flush)
{
	if (!flush || !tree_changeable(t))
		return PT_BAD_ARG;
	while (flush->freed) {
		uint64_t table = flush->freed, next;

		if (!freed_link(t, table, &next))
			return PT_BAD_TABLE;
		flush->freed = next;
		t->mem->free(t->mem->ctx, table);
	}
	return PT_OK;
}

enum pt_status pt_create(struct pt_tree *t, const struct pt_format *f, const struct pt_mem *m)
{
	if (!t || !f || !m || !m->read || !m->cmpxchg || !m->alloc || !m->free)
		return PT_BAD_ARG;
	*t = (struct pt_tree){ .fmt = f, .mem = m, .root = table_alloc(m, f->root_addr) };
	return t->root ? PT_OK : PT_NO_MEMORY;
}

enum pt_status pt_destroy(struct pt_tree *t)
{
	struct check check = { .t = t, .budget = CHECK_ENTRIES };
	struct pt_flush flush = PT_FLUSH_NONE;
	enum pt_status status;
	unsigned top;

	if (!tree_changeable(t))
		return PT_BAD_ARG;
	if (!t->root)
		return PT_OK;
	top = t->fmt->levels - 1u;
	status = check_range(&check, top, t->root, 0,
			     table_entries(t->fmt, top) * level_span(t->fmt, top) - 1);
	if (status != PT_OK)
		return status;
	chain_subtree(t, &flush, top, t->root);
	t->root = 0;
	return pt_release(t, &flush);
}
