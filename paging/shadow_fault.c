/* A page fault: whose it is, and the entry that it asks for. */
#include "arch/x86_64/include/cr.h"
#include "paging/entry.h"
#include "paging/shadow_core.h"

#define MARK_TRIES 64
#define SHARED_TRIES 4
#define REFUSALS 8

/* One fault, as far as it has been followed. */
struct fault {
	struct shadow_vcpu *sv;
	struct shadow *s;
	uint64_t gva, rip;
	unsigned access;      /* PT_ACC_* */
	struct sp *at;        /* where the shadow is to be gone on with */
	unsigned level;       /* at's */
	bool table;           /* at was made from a table, with which the guest's walk begins */
	const void *table_at; /* and which is here */
	unsigned rights;      /* that the levels above leave */
	bool changed;         /* the guest's tables have, since they were walked */
	struct pt_mem near, bus;
	struct pt_tree tree;
	struct pt_walk w;
};

/* The table that the walk begins with lies at hand; others are the memory map's affair. */
static bool near_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const struct fault *f = ctx;
	const struct pt_mem *mem = f->s->ops.guest_mem;
	const void *at = (const char *)f->table_at + pa % PAGE_SIZE;

	if (pa / PAGE_SIZE != f->at->gfn)
		return mem->read(mem->ctx, pa, size, val);
	*val = size == 4 ? __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED)
			 : __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
	return true;
}

static bool near_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	const struct fault *f = ctx;
	const struct pt_mem *mem = f->s->ops.guest_mem;

	return mem->cmpxchg(mem->ctx, pa, size, old, val);
}

/* Who shares the shadow marks only entries of a table at hand, which is no ROM. */
static bool here_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	const struct fault *f = ctx;
	char *at = (char *)(uintptr_t)f->table_at + pa % PAGE_SIZE;
	uint32_t old32 = (uint32_t)old;

	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)at, &old, val, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)at, &old32, (uint32_t)val, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static unsigned slot_of(uint64_t gva, unsigned level)
{
	return (unsigned)(gva >> (PAGE_SHIFT + 9 * level)) % SPTES;
}

/* The entry of p for the address. The low root has four, at the address's two highest bits. */
static unsigned fault_slot(const struct fault *f, const struct sp *p)
{
	return slot_of(f->gva, role_level(p->role)) &
	       (p->role & ROLE_LOW_ROOT ? LOW_ENTRIES - 1 : SPTES - 1);
}

/*
 * Follow the shadow as far down as it is known to agree with the guest's tables. What is not
 * closed may differ: the guest's own table there is the truth.
 */
static void descend(struct fault *f)
{
	struct shadow *s = f->s;
	struct sp *p = &s->sp[f->sv->root];

	f->at = p;
	for (;;) {
		uint64_t e;

		if (p->role & ROLE_DIRECT)
			break;
		f->at = p;
		if (sp_state(p) != SP_CLOSED || role_level(p->role) == 0)
			break;
		e = sp_entry(p, fault_slot(f, p));
		if (!(e & SPTE_LINK))
			break;
		p = sp_child(s, e);
	}
	f->level = role_level(f->at->role);
	f->table = sp_is_table(f->at);
	f->rights = f->table ? role_rights(f->at->role) : PT_RIGHTS;
	f->table_at = (const void *)ALIGN_DOWN((uintptr_t)f->at->guest, PAGE_SIZE);
}

/* Without paging an address is its own translation. */
static void walk_unpaged(struct fault *f)
{
	f->w = (struct pt_walk){
		.status = PT_OK,
		.level = LOW_LEVEL,
		.top = LOW_LEVEL,
		.page_shift = 32,
		.rights = PT_RIGHTS,
		.out = f->gva & UINT32_MAX,
	};
}

/* Walk the guest's tables from where the shadow ends. */
static void walk_guest(struct fault *f)
{
	struct shadow_vcpu *sv = f->sv;
	unsigned top = f->level;
	uint64_t gfn = 0;

	if (role_kind(sv->role) == ROLE_UNPAGED) {
		walk_unpaged(f);
		return;
	}
	f->tree.fmt = f->table ? f->at->fmt : sp_format(f->s, sv->role);
	f->tree.mem = f->s->ops.guest_mem;
	f->w.status = PT_NOT_PRESENT;
	f->w.level = PT_MAX_LEVELS;
	if (f->table) {
		gfn = f->at->gfn;
		f->tree.mem = &f->near;
	} else if (role_is_long(sv->role)) {
		gfn = sp_long_root(sv);
		top = f->tree.fmt->levels - 1u;
	} else {
		top = LOW_LEVEL - 1;
		if (!sp_low_table(sv, fault_slot(f, f->at), &gfn))
			return;
	}
	f->tree.root = gfn << PAGE_SHIFT;
	if (pt_walk_from(&f->tree, top, f->gva, &f->w) == PT_BAD_TABLE) {
		guest_open_bus(&f->bus, f->tree.mem);
		f->tree.mem = &f->bus;
		pt_walk_from(&f->tree, top, f->gva, &f->w);
	}
	f->w.rights &= f->rights;
}

/*
 * The guest is to handle the fault, for which it is likely to change the entry that failed: let
 * it. Not so at the root, nor where only the kernel comes.
 */
static bool wants_open(const struct fault *f)
{
	const struct sp *p = f->at;

	return f->table && sp_state(p) == SP_CLOSED && !p->roots && (f->rights & PT_U) &&
	       f->w.level == f->level;
}

static enum shadow_result guests_own(const struct fault *f, uint32_t error,
				     struct shadow_outcome *out)
{
	out->fault = (struct guest_fault){
		.vector = VEC_PF,
		.has_error = true,
		.error = error,
		.cr2 = f->gva,
	};
	sp_count(f->s, &f->s->stats.reflected);
	return SHADOW_REFLECT;
}

static enum shadow_result reflect(struct fault *f, uint32_t error, struct shadow_outcome *out)
{
	if (wants_open(f))
		sp_open_frame(f->s, f->at->gfn, false, f->rip);
	return guests_own(f, error, out);
}

/* An access that no entry may let through, now or ever. */
static enum shadow_result emulate(struct fault *f, struct shadow_outcome *out)
{
	out->gpa = GPA(f->w.out);
	sp_count(f->s, &f->s->stats.devices);
	return SHADOW_DEVICE;
}

/* The shadow page below p, for the way that the guest's walk took. NULL: see sp_get(). */
static struct sp *below(struct fault *f, struct sp *p, unsigned slot, const struct sp_leaf *leaf)
{
	struct shadow *s = f->s;
	unsigned level = role_level(p->role);
	uint64_t span = BIT(PAGE_SHIFT + 9 * level), gfn;

	if (level <= f->w.level && !(p->role & ROLE_LOW_ROOT))
		return sp_get(s, ALIGN_DOWN(leaf->gpa, span) >> PAGE_SHIFT,
			      sp_direct_role(p, leaf));
	if ((p->role & ROLE_LOW_ROOT) && role_is_long(f->sv->role)) {
		/* When CR3 was loaded, there was none for the root. */
		s->no_memory = true;
		return NULL;
	}
	if (p->role & ROLE_LOW_ROOT)
		return sp_low_table(f->sv, slot, &gfn)
			       ? sp_get(s, gfn, sp_low_role(f->sv->role, slot))
			       : NULL;
	return sp_get(s, f->w.entry_pa[level - 1] >> PAGE_SHIFT,
		      sp_table_role(p, slot, f->w.entry[level]));
}

/* What can be had along with the entry that is missed. */
static void prefetch_around(struct shadow *s, struct sp *p, unsigned slot)
{
	if (!sp_is_table(p))
		for (unsigned i = 0; i < SPTES; i++)
			sp_prefetch_direct(s, p, i);
	else if (role_level(p->role))
		sp_mirror_all(s, p);
	else
		sp_mirror(s, p, slot);
}

/* Does the instruction need again what it has written to itself? */
static void note_reused(struct fault *f, const struct sp *p)
{
	if (f->sv->opened_for == p->gfn && f->sv->opened_rip == f->rip)
		f->sv->reused = true;
}

/* Take the shadow page into use on the way of this fault. */
static void use(struct fault *f, struct sp *p)
{
	if (p->state == SP_OPEN) {
		note_reused(f, p);
		sp_close(f->s, p, fault_slot(f, p));
	}
	p->pins++;
}

/*
 * The instruction writes to a table in use. It stays in use, and INVLPG exits, when the
 * instruction can't do without: when the table is on its own way, or was needed again before
 * the instruction got through.
 */
static bool is_written_again(const struct fault *f, uint64_t gfn)
{
	const struct shadow_vcpu *sv = f->sv;

	return sv->opened_for == gfn && sv->opened_rip == f->rip &&
	       (sv->reused || sv->opened_gva == f->gva);
}

static void note_written(struct fault *f, uint64_t gfn, bool again)
{
	struct shadow_vcpu *sv = f->sv;

	if (!again)
		sv->reused = false;
	sv->opened_for = gfn;
	sv->opened_gva = f->gva;
	sv->opened_rip = f->rip;
}

static void table_written(struct fault *f, uint64_t gfn, bool on_the_way)
{
	uint64_t unsynced = f->s->stats.unsynced;
	bool again = is_written_again(f, gfn);

	sp_open_frame(f->s, gfn, on_the_way || again, f->rip);
	if (f->s->stats.unsynced != unsynced)
		f->s->unsync_by = f->sv;
	note_written(f, gfn, again);
}

/* The shadow pages in use for one fault: not to be reclaimed meanwhile. */
struct way {
	unsigned n;
	struct sp *page[PT_MAX_LEVELS + 1];
};

/*
 * The walk was before the table was protected: another vCPU may have changed the entry in between,
 * and nobody would look at it again. One out of sync will be compared.
 */
static void add_to_way(struct fault *f, struct way *way, struct sp *p)
{
	use(f, p);
	way->page[way->n++] = p;
	if (sp_is_table(p) && p->state == SP_CLOSED && !p->rom &&
	    sp_guest_entry(p, fault_slot(f, p)) != f->w.entry[role_level(p->role)])
		f->changed = true;
}

/* Does the last page of the way hold the page that is accessed? */
static bool at_leaf(struct fault *f, const struct sp *p, const struct sp_leaf *leaf,
		    const struct shadow_target *t)
{
	unsigned level = role_level(p->role);

	return level == 0 ||
	       (level == 1 && f->w.page_shift >= LARGE_SHIFT && sp_large_fits(f->s, leaf, t));
}

/* Make the way down to the page that holds the entry. */
static enum shadow_result make_way(struct fault *f, const struct sp_leaf *leaf,
				   const struct shadow_target *t, struct way *way)
{
	struct shadow *s = f->s;
	struct sp *p = f->at, *child;

	add_to_way(f, way, p);
	while (!f->changed && !at_leaf(f, p, leaf, t)) {
		unsigned slot = fault_slot(f, p);
		bool fresh;
		uint64_t e, misses = s->stats.misses;

		child = below(f, p, slot, leaf);
		if (!child)
			return s->no_memory ? SHADOW_NO_MEMORY : SHADOW_DEVICE;
		fresh = s->stats.misses != misses;
		e = p->spt[slot];
		if (!(e & SPTE_LINK) || sp_child(s, e) != child)
			sp_set_link(s, p, slot, child);
		if (sp_is_table(p))
			sp_made_from(s, p, slot, f->w.entry[role_level(p->role)]);
		s->stats.splintered += child->role & ROLE_DIRECT && fresh;
		add_to_way(f, way, child);
		p = child;
		if (fresh)
			prefetch_around(s, p, fault_slot(f, p));
	}
	return SHADOW_RESUME;
}

/* The shadow pages from the root to above f->at, which is where make_way() begins. */
static void way_above(struct fault *f, struct way *above)
{
	struct sp *p = &f->s->sp[f->sv->root];

	for (above->n = 0; p && p != f->at && above->n < PT_MAX_LEVELS;) {
		above->page[above->n++] = p;
		p = sp_child(f->s, sp_entry(p, fault_slot(f, p)));
	}
}

static bool is_on_way(const struct way *way, uint64_t gfn)
{
	for (unsigned i = 0; i < way->n; i++)
		if (sp_is_table(way->page[i]) && way->page[i]->gfn == gfn)
			return true;
	return false;
}

static void touch_way(struct shadow *s, const struct way *way)
{
	for (unsigned i = way->n; i-- > 0;)
		sp_touch(s, way->page[i]);
}

/* Has the access's entry come with others, when the table was closed? */
static bool is_filled(const struct fault *f, const struct sp *p, unsigned slot)
{
	uint64_t e = sp_entry(p, slot);

	return (e & SPTE_P) && !(e & SPTE_LINK) && (p->role & ROLE_WP) && sp_is_table(p) &&
	       ((e & SPTE_W) || !(f->access & PT_ACC_WRITE)) &&
	       sp_get_snap(p, slot) == f->w.entry[f->w.level];
}

/* The way is there: make its last entry. */
static bool enter_last(struct fault *f, struct sp *p, const struct sp_leaf *leaf,
		       const struct shadow_target *t)
{
	unsigned slot = fault_slot(f, p);

	p->asked = (uint16_t)slot;
	sp_count(f->s, &f->s->stats.fills);
	if (is_filled(f, p, slot))
		return true;
	if (sp_is_table(p))
		sp_made_from(f->s, p, slot, f->w.entry[role_level(p->role)]);
	return sp_enter(f->s, p, slot, leaf, t);
}

/* What was given up meanwhile has waited for this. */
static void unpin(struct shadow *s, struct sp *p)
{
	if (!--p->pins && p->orphan && !p->roots)
		sp_free(s, p);
}

static enum shadow_result fill(struct fault *f, const struct sp_leaf *leaf,
			       const struct shadow_target *t)
{
	struct shadow *s = f->s;
	struct way above, way = { .n = 0 };
	uint64_t gfn = leaf->gpa >> PAGE_SHIFT;
	enum shadow_result result = make_way(f, leaf, t, &way);

	if (result == SHADOW_RESUME && !f->changed) {
		if ((f->access & PT_ACC_WRITE) && sp_frame_closed(s, gfn)) {
			way_above(f, &above);
			table_written(f, gfn, is_on_way(&way, gfn) || is_on_way(&above, gfn));
		}
		if (!enter_last(f, way.page[way.n - 1], leaf, t))
			result = SHADOW_NO_MEMORY;
	}
	if (sp_order_counts(s)) {
		/* Only now: what lay above may have been given up since. */
		way_above(f, &above);
		touch_way(s, &way);
		touch_way(s, &above);
	}
	for (unsigned i = 0; i < way.n; i++)
		unpin(s, way.page[i]);
	return result;
}

/*
 * CR0.WP is clear, and the kernel writes to a page that is read-only: an entry that lets it
 * must keep users out. That also hides the page from SMAP and protection keys. False: where those
 * are on there is no such entry.
 */
static bool write_anyway(const struct fault *f, struct sp_leaf *leaf)
{
	uint64_t cr4 = f->sv->gp.cr4;

	if (!(leaf->rights & PT_U)) {
		leaf->rights |= PT_W;
		return true;
	}
	if ((cr4 & CR4_SMAP) || f->sv->policy.pkeys)
		return false;
	leaf->rights = (leaf->rights | PT_W) & ~PT_U;
	if (cr4 & CR4_SMEP)
		leaf->rights &= ~PT_X;
	return true;
}

/* CR0.WP is clear, and hardware's is not: a key that forbids writes binds the kernel there. */
static bool key_stops(const struct fault *f, const struct sp_leaf *leaf)
{
	const struct shadow_vcpu *sv = f->sv;

	return sv->policy.pkeys && !(sv->gp.cr0 & CR0_WP) && !(f->access & PT_ACC_USER) &&
	       (leaf->rights & PT_U) && (sv->policy.pkru >> (2 * leaf->pkey) & PKRU_WD);
}

static struct sp_leaf walked_leaf(const struct fault *f)
{
	const struct pt_format *fmt = f->tree.fmt;
	bool paged = role_kind(f->sv->role) != ROLE_UNPAGED;
	uint64_t e = f->w.entry[f->w.level];

	return (struct sp_leaf){
		.gpa = f->w.out,
		.rights = f->w.rights,
		.dirty = !paged || (e & fmt->dirty),
		.global = paged && (e & fmt->global),
		.pkey = paged ? (unsigned)((e & fmt->pkey) >> PKEY_SHIFT) : 0,
	};
}

/* Is it a write that the guest lets pass and no entry may? */
static bool writes_past_entry(const struct fault *f, struct sp_leaf *leaf)
{
	return (f->access & PT_ACC_WRITE) &&
	       (key_stops(f, leaf) || (!(leaf->rights & PT_W) && !write_anyway(f, leaf)));
}

/* Code is not executed from a device's page. */
static bool target_allows(const struct fault *f, const struct shadow_target *t)
{
	return !((f->access & PT_ACC_WRITE) && !t->writable) &&
	       !((f->access & PT_ACC_FETCH) && t->device);
}

/* The guest lets the access pass. */
static enum shadow_result allowed(struct fault *f, struct shadow_outcome *out)
{
	struct sp_leaf leaf = walked_leaf(f);
	struct shadow_target t;
	enum shadow_result result;

	if (!sp_resolve(f->s, f->w.out, true, &t) || !target_allows(f, &t))
		return emulate(f, out);
	if (writes_past_entry(f, &leaf)) {
		f->s->stats.emulated++;
		return emulate(f, out);
	}
	result = fill(f, &leaf, &t);
	return result == SHADOW_DEVICE ? emulate(f, out) : result;
}

static unsigned access_of(uint32_t error, uint64_t rflags, unsigned cpl)
{
	unsigned a = error & PF_I ? PT_ACC_FETCH : error & PF_W ? PT_ACC_WRITE : 0;

	if (error & PF_U)
		return a | PT_ACC_USER;
	/* At CPL 3 a supervisor's access is the processor's own, which AC does not excuse. */
	return a | (cpl != 3 && (rflags & RFLAGS_AC) ? PT_ACC_NO_SMAP : 0);
}

/* Would hardware find an entry that lets the access through? */
static bool is_let_through(const struct fault *f)
{
	const struct sp *p = &f->s->sp[f->sv->root];
	uint64_t e = p->spt[fault_slot(f, p)];

	while ((e & SPTE_P) && (e & SPTE_LINK)) {
		p = sp_child(f->s, e);
		e = p->spt[fault_slot(f, p)];
	}
	return (e & SPTE_P) && ((e & SPTE_W) || !(f->access & PT_ACC_WRITE));
}

/*
 * The processor's own accesses (to descriptor tables, say) can't be told from the kernel's, but AC
 * does not excuse them: hardware refuses what the entry lets through. So it may when it knows of
 * the entry as it was before; therefore it is to try once more, and know nothing. Where another
 * vCPU has come to something between the two, that may have been what hardware missed.
 */
static bool is_implicit(struct fault *f, uint32_t error)
{
	struct shadow_vcpu *sv = f->sv;
	bool same = sv->refused && sv->refused_gva == f->gva && sv->refused_rip == f->rip;
	bool again = same && (sv->refused_grants == f->s->grants || sv->refused >= REFUSALS);
	bool refused = (error & PF_P) && !(error & PF_I) && (f->access & PT_ACC_NO_SMAP) &&
		       (sv->gp.cr4 & CR4_SMAP) && f->w.status == PT_OK && (f->w.rights & PT_U) &&
		       is_let_through(f);

	sv->refused = refused && !again ? (same ? sv->refused : 0) + 1 : 0;
	if (!sv->refused)
		return refused;
	sv->refused_gva = f->gva;
	sv->refused_rip = f->rip;
	sp_flush_vcpu(sv);
	return false;
}

/* What another instruction has begun is through, if this vCPU began it. */
static void new_instruction(struct shadow_vcpu *sv, uint64_t rip)
{
	struct shadow *s = sv->s;

	if (rip != sv->opened_rip)
		sv->opened_rip = NO_RIP;
	if (s->nr_unsync && rip != s->unsync_rip && (!s->unsync_by || s->unsync_by == sv))
		sp_sync_all(s);
}

/* Not all of it is needed, nor cleared, each time. */
static void begin(struct fault *f, struct shadow_vcpu *sv, gva_t gva, uint64_t rip, unsigned access)
{
	f->sv = sv;
	f->s = sv->s;
	f->gva = gva.v;
	f->rip = rip;
	f->access = access;
	f->tree.fmt = NULL;
	f->w = (struct pt_walk){ .status = PT_NOT_PRESENT };
}

/* --- beside others --- */

/* The access writes to a table in use, which a walk of its own does not need. */
static bool open_written(struct fault *f, uint64_t gfn)
{
	if (f->at->gfn == gfn || is_written_again(f, gfn) || !sp_open_shared(f->s, gfn))
		return false;
	note_written(f, gfn, false);
	return true;
}

static void touch_shared(struct fault *f)
{
	struct way above;

	if (!sp_order_counts(f->s))
		return;
	way_above(f, &above);
	above.page[above.n++] = f->at;
	while (above.n-- > 0)
		__atomic_store_n(&above.page[above.n]->touched, true, __ATOMIC_RELAXED);
}

/* The table's lock is held: make its entry. Has the guest's changed since it was walked, the fault
 * begins anew. */
static enum shadow_result fill_at(struct fault *f, const struct sp_leaf *leaf,
				  const struct shadow_target *t)
{
	struct sp *p = f->at;
	unsigned slot = fault_slot(f, p);

	if (sp_state(p) == SP_OPEN) {
		note_reused(f, p);
		sp_close_shared(f->s, p, slot);
	}
	f->changed = sp_guest_entry(p, slot) != f->w.entry[0];
	if (f->changed)
		return SHADOW_RESUME;
	return enter_last(f, p, leaf, t) ? SHADOW_RESUME : SHADOW_ALONE;
}

/* Data that no entry may lead to. Code is for one who keeps the memory map as it is. */
static enum shadow_result emulate_shared(struct fault *f, struct shadow_outcome *out)
{
	return f->access & PT_ACC_FETCH ? SHADOW_ALONE : emulate(f, out);
}

static enum shadow_result allowed_shared(struct fault *f, struct shadow_outcome *out)
{
	struct sp_leaf leaf = walked_leaf(f);
	uint64_t gfn = leaf.gpa >> PAGE_SHIFT;
	bool write = f->access & PT_ACC_WRITE;
	struct shadow_target t;
	enum shadow_result result;

	if (!sp_resolve(f->s, leaf.gpa, false, &t))
		return t.away ? SHADOW_ALONE : emulate_shared(f, out);
	if (!target_allows(f, &t))
		return emulate_shared(f, out);
	if (f->level || writes_past_entry(f, &leaf) ||
	    (write && sp_frame_closed(f->s, gfn) && !open_written(f, gfn)))
		return SHADOW_ALONE;
	sp_lock_table(f->s, f->at->gfn);
	result = fill_at(f, &leaf, &t);
	sp_unlock_table(f->s, f->at->gfn);
	touch_shared(f);
	return result;
}

static enum shadow_result reflect_shared(struct fault *f, uint32_t error,
					 struct shadow_outcome *out)
{
	if (f->level || (wants_open(f) && !sp_open_shared(f->s, f->at->gfn)))
		return SHADOW_ALONE;
	return guests_own(f, error, out);
}

/* Does the way end in the table at hand? Above level 0 it does in a large page, which may be a
 * device's; only then is it worth the walk. */
static bool ends_here(const struct fault *f)
{
	const struct sp *p = f->at;

	return f->table && !p->rom && !p->orphan &&
	       (!f->level || entry_is_leaf(p->fmt, f->level, sp_guest_entry(p, fault_slot(f, p))));
}

static enum shadow_result follow_shared(struct fault *f, struct shadow_outcome *out)
{
	const struct shadow_vcpu *sv = f->sv;
	uint32_t code = 0;

	for (unsigned i = 0; i < SHARED_TRIES; i++) {
		enum shadow_result result;

		descend(f);
		if (!ends_here(f))
			return SHADOW_ALONE;
		walk_guest(f);
		/* It has become a table's entry since, and what is to be marked lies elsewhere. */
		if (f->w.level != f->level)
			return SHADOW_ALONE;
		if (!pt_judge(&sv->policy, &f->w, f->access, &code))
			return reflect_shared(f, code, out);
		if (!pt_mark(&f->tree, &f->w, f->access & PT_ACC_WRITE))
			continue;
		result = allowed_shared(f, out);
		if (result != SHADOW_RESUME || !f->changed)
			return result;
	}
	return SHADOW_ALONE;
}

/* Are these registers, and the state of the shadow, such that only tables of level 0 count? Out of
 * sync the tables are to be closed, and hardware's refusal under SMAP is to be compared with what
 * others have granted (is_implicit()). */
static bool may_share(const struct shadow_vcpu *sv, unsigned access)
{
	const struct shadow *s = sv->s;

	return sv->root && !s->sp[sv->root].orphan && !s->nr_unsync &&
	       role_kind(sv->role) == s->kind &&
	       !((access & PT_ACC_NO_SMAP) && (sv->gp.cr4 & CR4_SMAP));
}

enum shadow_result shadow_fault_shared(struct shadow_vcpu *sv, gva_t gva, uint32_t error,
				       uint64_t rip, uint64_t rflags, unsigned cpl, uint32_t pkru,
				       struct shadow_outcome *out)
{
	struct shadow *s = sv->s;
	struct fault f;
	enum shadow_result result;

	begin(&f, sv, gva, rip, access_of(error, rflags, cpl));
	f.near = (struct pt_mem){ .read = near_read, .cmpxchg = here_cmpxchg, .ctx = &f };
	if (!may_share(sv, f.access))
		return SHADOW_ALONE;
	sv->policy.pkru = pkru;
	sv->refused = 0;
	if (rip != sv->opened_rip)
		sv->opened_rip = NO_RIP;
	result = follow_shared(&f, out);
	if (result != SHADOW_ALONE) {
		sp_count(s, &s->stats.faults);
		sp_count(s, &s->stats.shared);
	}
	return result;
}

/* --- alone --- */

enum shadow_result shadow_fault(struct shadow_vcpu *sv, gva_t gva, uint32_t error, uint64_t rip,
				uint64_t rflags, unsigned cpl, uint32_t pkru,
				struct shadow_outcome *out)
{
	struct shadow *s = sv->s;
	struct fault f;
	enum shadow_result result = SHADOW_RESUME;
	uint32_t code = 0;

	begin(&f, sv, gva, rip, access_of(error, rflags, cpl));
	f.near = (struct pt_mem){ .read = near_read, .cmpxchg = near_cmpxchg, .ctx = &f };
	s->stats.faults++;
	/* Another vCPU has changed the memory map meanwhile: there is a new root to come. */
	if (!sv->root || s->sp[sv->root].orphan)
		return SHADOW_RESUME;
	s->no_memory = false;
	sv->policy.pkru = pkru;
	sp_use_kind(s, role_kind(sv->role));
	new_instruction(sv, rip);
	for (unsigned i = 0; i < MARK_TRIES; i++) {
		f.changed = false;
		descend(&f);
		walk_guest(&f);
		if (role_kind(sv->role) == ROLE_UNPAGED)
			return allowed(&f, out);
		if (i == 0 && is_implicit(&f, error))
			f.access &= ~PT_ACC_NO_SMAP;
		if (!pt_judge(&sv->policy, &f.w, f.access, &code)) {
			result = reflect(&f, code, out);
			break;
		}
		if (pt_mark(&f.tree, &f.w, f.access & PT_ACC_WRITE)) {
			result = allowed(&f, out);
			if (!f.changed)
				break;
		}
	}
	/* What has been done for the guest, or is its own fault, is not tried again: the next time
	 * is another. */
	if (result != SHADOW_RESUME)
		sv->refused = 0;
	sv->refused_grants = s->grants;
	return result;
}
