/* The auditor: every entry is derived again, and compared. */
#include "arch/x86_64/lib/printf.h"
#include "paging/entry.h"
#include "paging/shadow_core.h"

struct audit {
	struct shadow *s;
	/* What differs, in words; does the audit go on? */
	bool (*wrong)(struct audit *a, const char *why);
	char *why; /* shadow_audit()'s */
	size_t size;
	void (*line)(void *ctx, const char *why); /* shadow_audit_all()'s */
	void *ctx;
	unsigned count;
	const struct sp *p;
	unsigned slot;
	uint64_t spte;
};

static bool differs(struct audit *a, const char *what, uint64_t want)
{
	unsigned long long table = a->p->gfn * PAGE_SIZE;
	char why[160];

	ksnprintf(why, sizeof(why),
		  "shadow of table 0x%llx role 0x%x entry %u is 0x%llx: %s (0x%llx)", table,
		  a->p->role, a->slot, (unsigned long long)a->spte, what, (unsigned long long)want);
	return a->wrong(a, why);
}

/* --- lists --- */

/* Is the entry on the list that begins at head, by its own neighbours' word? */
static bool check_neighbours(struct audit *a)
{
	struct shadow *s = a->s;
	uint32_t id = sp_number(s, a->p) * SPTES + a->slot;
	const struct sp_link *l = &a->p->link[a->slot];

	if (l->next && entry_sp(s, l->next)->link[l->next % SPTES].prev != id)
		return differs(a, "the next of its list does not know it", l->next);
	if (!(l->prev & REF_KIND) && entry_sp(s, l->prev)->link[l->prev % SPTES].next != id)
		return differs(a, "the one before it on its list does not know it", l->prev);
	return true;
}

/* --- links --- */

static bool check_link(struct audit *a, uint64_t gfn, uint32_t role)
{
	const struct sp *child = sp_child(a->s, a->spte);

	if (!child)
		return differs(a, "leads to no shadow page", 0);
	if (!(a->spte & SPTE_P) != (child->state == SP_OPEN))
		return differs(a, "hardware's way is not as open or closed as the table",
			       child->state);
	if (a->p->role & ROLE_LOW_ROOT)
		return true;
	if (child->gfn != gfn)
		return differs(a, "should lead to the shadow of", gfn << PAGE_SHIFT);
	if (child->role != role)
		return differs(a, "should lead to one of role", role);
	return true;
}

/* --- pages --- */

/* May memory at gpa be entered like this at all? */
static bool check_page(struct audit *a, uint64_t gpa, unsigned rights)
{
	const struct pt_format *hw = a->p->hw;
	unsigned level = role_level(a->p->role);
	uint64_t span = BIT(hw->level[level].shift), pa = leaf_target(hw, level, a->spte);
	unsigned has = entry_attrs(hw, level, a->spte) & PT_RIGHTS;
	struct sp_chunk *c = sp_chunk_find(a->s, gpa >> PAGE_SHIFT);
	struct shadow_target t;

	a->s->last.size = 0;
	if (!sp_resolve(a->s, gpa, false, &t) || gpa + span > t.start + t.size)
		return differs(a, "maps what is no memory, gpa", gpa);
	if (pa != t.pa.v + (gpa - t.start))
		return differs(a, "maps another frame than", t.pa.v + (gpa - t.start));
	if (!a->s->ops.may_map(a->s->ops.ctx, HPA(pa), span))
		return differs(a, "maps a frame that is not the VM's, gpa", gpa);
	if (has & ~rights)
		return differs(a, "gives more rights than", rights);
	if ((a->spte & (SPTE_W | SPTE_MAY_W)) && !t.writable)
		return differs(a, "lets writes through to gpa", gpa);
	if (level && c && c->tables)
		return differs(a, "is large, and holds tables", c->tables);
	if ((a->spte & SPTE_W) && sp_frame_closed(a->s, gpa >> PAGE_SHIFT))
		return differs(a, "lets writes through to a table in use, gpa", gpa);
	return true;
}

/* With CR0.WP clear the kernel's write may have made a page its own, and writable. */
static unsigned possible_rights(const struct sp *p, unsigned rights, unsigned has)
{
	if ((p->role & (ROLE_WP | ROLE_DIRECT)) || (has & PT_U))
		return rights;
	return rights | PT_W;
}

/* --- entries --- */

static bool check_direct(struct audit *a)
{
	const struct sp *p = a->p;
	unsigned level = role_level(p->role);
	uint64_t gpa = (p->gfn << PAGE_SHIFT) + ((uint64_t)a->slot << (PAGE_SHIFT + 9 * level));

	if (!(a->spte & SPTE_LINK))
		return check_page(a, gpa, role_rights(p->role));
	return check_link(a, gpa >> PAGE_SHIFT, p->role - 1);
}

/* A large page of the guest's, by an entry or split. */
static bool check_leaf(struct audit *a, uint64_t e)
{
	const struct sp *p = a->p;
	const struct pt_format *f = p->fmt;
	const struct pt_format *hw = p->hw;
	unsigned level = role_level(p->role), has = 0, rights;
	uint64_t gpa = leaf_target(f, level, e);

	if (role_kind(p->role) == PT_32 && level)
		gpa += (a->slot & 1) * BIT(LARGE_SHIFT);
	if (a->spte & SPTE_LINK) {
		const struct sp *child = sp_child(a->s, a->spte);

		if (!child)
			return differs(a, "leads to no shadow page", 0);
		has = role_rights(child->role);
	} else {
		has = entry_attrs(hw, level, a->spte) & PT_RIGHTS;
	}
	rights = rights_decode(f, e ^ f->invert) & role_rights(p->role);
	rights &= e & f->dirty || p->rom ? PT_RIGHTS : ~PT_W & PT_RIGHTS;
	rights = possible_rights(p, rights, has);
	if (!(a->spte & SPTE_LINK))
		return check_page(a, gpa, rights);
	if (has & ~rights)
		return differs(a, "leads to more rights than", rights);
	return check_link(a, gpa >> PAGE_SHIFT, sp_child(a->s, a->spte)->role);
}

static bool check_table_entry(struct audit *a)
{
	const struct sp *p = a->p;
	const struct pt_format *f = p->fmt;
	unsigned level = role_level(p->role);
	uint64_t e = sp_guest_entry(p, a->slot);

	if (p->state != SP_CLOSED)
		return true;
	if (!(e & f->present) || entry_is_bad(f, level, e))
		return differs(a, "is there, and the guest's is not", e);
	if (!(e & f->accessed) && !p->rom)
		return differs(a, "is there, and the guest's was not accessed", e);
	if (entry_is_leaf(f, level, e))
		return check_leaf(a, e);
	if (!(a->spte & SPTE_LINK))
		return differs(a, "should be a link", e);
	return check_link(a, (e & f->level[level].table_addr) >> PAGE_SHIFT,
			  sp_table_role(p, a->slot, e));
}

static bool check_entry(struct audit *a)
{
	if (!check_neighbours(a))
		return false;
	if (a->p->role & ROLE_LOW_ROOT)
		return check_link(a, 0, 0);
	if (a->p->role & ROLE_DIRECT)
		return check_direct(a);
	return check_table_entry(a);
}

static bool check_sp(struct audit *a)
{
	const struct sp *p = a->p;

	for (a->slot = 0; a->slot < SPTES; a->slot++) {
		bool used = p->used[a->slot / 64] >> (a->slot % 64) & 1;

		a->spte = p->spt[a->slot];
		if (used != (a->spte != 0)) {
			if (!differs(a, "is not counted right", used))
				return false;
		} else if (used && !check_entry(a)) {
			return false;
		}
	}
	a->spte = 0;
	if (p->state == SP_UNSYNC && !a->s->invlpg_exits)
		return differs(a, "the table is out of sync, and INVLPG does not exit", 0);
	return true;
}

static bool audit(struct audit *a)
{
	for (uint32_t i = 1; i < a->s->nr_sps; i++) {
		a->p = &a->s->sp[i];
		a->slot = 0;
		if (a->p->state != SP_FREE && a->p->state != SP_DEAD && !a->p->orphan &&
		    !check_sp(a))
			return false;
	}
	return true;
}

static bool stop_at(struct audit *a, const char *why)
{
	ksnprintf(a->why, a->size, "%s", why);
	return false;
}

bool shadow_audit(struct shadow *s, char *why, size_t size)
{
	struct audit a = { .s = s, .wrong = stop_at, .why = why, .size = size };

	return audit(&a);
}

static bool tell(struct audit *a, const char *why)
{
	a->count++;
	a->line(a->ctx, why);
	return true;
}

unsigned shadow_audit_all(struct shadow *s, void (*line)(void *ctx, const char *why), void *ctx)
{
	struct audit a = { .s = s, .wrong = tell, .line = line, .ctx = ctx };

	audit(&a);
	return a.count;
}
