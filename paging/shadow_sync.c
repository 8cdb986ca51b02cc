/*
 * Tables that the guest writes to. A table that shadow pages in use were made from is
 * write-protected. The write that finds this out opens it: hardware's way to those shadow pages
 * is cut, and the guest writes on undisturbed; the next access that needs them closes the table
 * again, and what has changed meanwhile is found by comparing. As no hardware walk comes by an
 * open table, the guest's INVLPG can run by itself. Only where the writing instruction itself
 * needs what it writes to do they stay in use; then INVLPG exits until they have been closed.
 */
#include "paging/entry.h"
#include "paging/shadow_core.h"

/* --- formats and the guest's entries --- */

const struct pt_format *sp_format(struct shadow *s, uint32_t role)
{
	unsigned kind = role_kind(role) & 3;
	unsigned i = kind | (role & ROLE_NXE ? 4 : 0) | (role & ROLE_PSE ? 8 : 0);
	struct pt_caps caps = s->caps;

	if (!s->guest_fmt_made[i]) {
		caps.nx = role & ROLE_NXE;
		caps.pse = role & ROLE_PSE;
		pt_format_init(&s->guest_fmt[i], (enum pt_kind)kind, &caps);
		s->guest_fmt_made[i] = true;
	}
	return &s->guest_fmt[i];
}

const struct pt_format *sp_hw_format(const struct shadow *s, uint32_t role)
{
	switch (role_kind(role)) {
	case PT_4LEVEL:
	case PT_5LEVEL:
		return &s->hw_fmt[role_kind(role)];
	default:
		return &s->hw_fmt[PT_PAE];
	}
}

/* --- comparing --- */

static void set_snap(struct sp *p, unsigned i, uint64_t e)
{
	if (p->fmt->entry_size == 4)
		((uint32_t *)p->snap)[i] = (uint32_t)e;
	else
		((uint64_t *)p->snap)[i] = e;
}

static void mirror_block(struct shadow *s, struct sp *p, unsigned block)
{
	unsigned shift = sp_slots_shift(p);
	uint64_t wanted = p->fmt->present | p->fmt->accessed;

	for (unsigned i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
		uint64_t e = sp_table_entry(p, p->guest, i);

		set_snap(p, i, e);
		if ((e & wanted) != wanted)
			continue;
		for (unsigned slot = i << shift; slot < (i + 1) << shift; slot++)
			if (!sp_entry(p, slot))
				sp_remake(s, p, slot, e);
	}
	p->mirrored |= (uint8_t)BIT(block);
}

void sp_mirror(struct shadow *s, struct sp *p, unsigned slot)
{
	unsigned block = (slot >> sp_slots_shift(p)) / BLOCK;

	if (!(p->mirrored >> block & 1))
		mirror_block(s, p, block);
}

void sp_mirror_all(struct shadow *s, struct sp *p)
{
	for (unsigned slot = 0; slot < SPTES; slot += BLOCK)
		sp_mirror(s, p, slot);
}

/* Where two of ours stand for one of the guest's, the other one is to be made from the same. */
void sp_made_from(struct shadow *s, struct sp *p, unsigned slot, uint64_t e)
{
	sp_mirror(s, p, slot);
	if (sp_slots_shift(p) && sp_get_snap(p, slot) != e)
		sp_remake(s, p, slot ^ 1, e);
	set_snap(p, slot >> sp_slots_shift(p), e);
}

/* The guest's entry i has changed: make ours again. Did they hold something? */
static bool resync_entry(struct shadow *s, struct sp *p, unsigned i)
{
	unsigned shift = sp_slots_shift(p);
	uint64_t e = sp_table_entry(p, p->guest, i);
	bool changed = false;

	if (e == sp_table_entry(p, p->snap, i))
		return false;
	set_snap(p, i, e);
	for (unsigned slot = i << shift; slot < (i + 1) << shift; slot++)
		changed |= sp_remake(s, p, slot, e);
	return changed;
}

#define WORDS_PER_TURN 8

static uint64_t differs(const uint64_t *guest, const uint64_t *snap)
{
	return __atomic_load_n(guest, __ATOMIC_RELAXED) ^ *snap;
}

/* The table is protected, or will be compared once more when it is, and who marks an entry of it
 * meanwhile comes to the entry himself; the loop is what a resync costs. */
static bool resync_block(struct shadow *s, struct sp *p, unsigned block)
{
	unsigned per_word = 8u / p->fmt->entry_size, words = BLOCK / per_word;
	unsigned first = block * words;
	const uint64_t *a = (const uint64_t *)p->guest + first;
	const uint64_t *b = (const uint64_t *)p->snap + first;
	bool changed = false;

	for (unsigned w = 0; w < words;
	     w += WORDS_PER_TURN, a += WORDS_PER_TURN, b += WORDS_PER_TURN) {
		uint64_t low = differs(a, b) | differs(a + 1, b + 1) | differs(a + 2, b + 2) |
			       differs(a + 3, b + 3);
		uint64_t high = differs(a + 4, b + 4) | differs(a + 5, b + 5) |
				differs(a + 6, b + 6) | differs(a + 7, b + 7);

		if (__builtin_expect(!(low | high), 1))
			continue;
		for (unsigned i = 0; i < WORDS_PER_TURN * per_word; i++)
			changed |= resync_entry(s, p, (first + w) * per_word + i);
	}
	return changed;
}

/* --- protection --- */

bool sp_frame_closed(struct shadow *s, uint64_t gfn)
{
	struct sp_frame *f = sp_frame_find(s, gfn);

	for (uint32_t i = f ? f->pages : 0; i; i = s->sp[i].next_same)
		if (sp_state(&s->sp[i]) == SP_CLOSED && sp_is_table(&s->sp[i]))
			return true;
	return false;
}

/* Give, or take away, the right to write to the frame in all entries that map it. Has one lost it?
 */
static bool set_protected(struct shadow *s, uint64_t gfn, bool on)
{
	struct sp_frame *f = sp_frame_find(s, gfn);
	bool lost = false;

	for (uint32_t id = f ? f->rmap : 0; id;) {
		struct sp *p = entry_sp(s, id);
		unsigned slot = id % SPTES;
		uint64_t e = sp_entry(p, slot), want = e & ~SPTE_W;

		if (!on && (e & SPTE_MAY_W))
			want |= SPTE_W;
		lost |= e & ~want & SPTE_W;
		if (want & ~e)
			sp_count(s, &s->grants);
		if (want != e)
			__atomic_store_n(&p->spt[slot], want, __ATOMIC_RELEASE);
		id = p->link[slot].next;
	}
	return lost;
}

/* Has an entry gone that let writes through, and may a vCPU know of it still? */
static bool has_lost_writes(const struct shadow *s)
{
	return __atomic_load_n(&s->lost_writes, __ATOMIC_RELAXED) !=
	       __atomic_load_n(&s->flushed_writes, __ATOMIC_ACQUIRE);
}

/* Protected it is believed to be when no vCPU knows of an entry any more that lets writes through,
 * nor of one that has gone before. */
static void protect(struct shadow *s, uint64_t gfn, bool on)
{
	bool lost = set_protected(s, gfn, on);

	if (on && (lost || has_lost_writes(s)))
		sp_flush(s);
}

void sp_unprotect(struct shadow *s, uint64_t gfn)
{
	if (!sp_frame_closed(s, gfn))
		protect(s, gfn, false);
}

/* Let hardware follow the links to p, or not. */
static void set_linked(struct shadow *s, struct sp *p, bool on)
{
	if (on)
		sp_count(s, &s->grants);
	for (uint32_t id = p->parents; id;) {
		struct sp *parent = entry_sp(s, id);
		uint64_t *e = &parent->spt[id % SPTES];

		__atomic_store_n(e, on ? *e | SPTE_P : *e & ~SPTE_P, __ATOMIC_RELEASE);
		id = parent->link[id % SPTES].next;
	}
}

/* --- open, close --- */

void sp_update_invlpg(struct shadow *s)
{
	bool on = s->nr_unsync > 0;

	if (on != s->invlpg_exits)
		s->ops.intercept_invlpg(s->ops.ctx, on);
	s->invlpg_exits = on;
}

/* Room for one more: the one that has been there longest, and is no root, is given up. */
static void unsync_room(struct shadow *s)
{
	unsigned i = 0;

	if (s->nr_unsync < MAX_UNSYNC)
		return;
	while (s->sp[s->unsync[i]].roots)
		i++;
	sp_free(s, &s->sp[s->unsync[i]]);
	sp_flush(s);
}

static void unsync_add(struct shadow *s, struct sp *p)
{
	unsync_room(s);
	s->unsync[s->nr_unsync++] = sp_number(s, p);
	p->state = SP_UNSYNC;
	s->stats.unsynced++;
	sp_update_invlpg(s);
}

void sp_unsync_drop(struct shadow *s, const struct sp *p)
{
	for (unsigned i = 0; i < s->nr_unsync; i++)
		if (s->unsync[i] == sp_number(s, p))
			s->unsync[i--] = s->unsync[--s->nr_unsync];
}

/* Entries of ours that hold something, in the block. */
static uint64_t used_in(const struct sp *p, unsigned block, bool *second)
{
	*second = false;
	if (!sp_slots_shift(p))
		return p->used[block];
	*second = p->used[2 * block + 1];
	return p->used[2 * block];
}

/* Few enough that looking at each is quicker than comparing the block. */
#define FEW 6

static bool are_few(uint64_t bits)
{
	unsigned n = 0;

	for (; bits && n <= FEW; n++)
		bits &= bits - 1;
	return n <= FEW;
}

/* One block that no access asks for. */
static bool resync_other(struct shadow *s, struct sp *p, unsigned block)
{
	bool second, changed = false;
	uint64_t used = used_in(p, block, &second);

	if (second || !are_few(used))
		return resync_block(s, p, block);
	if (!used)
		p->mirrored &= (uint8_t)~BIT(block);
	for (; used; used &= used - 1) {
		unsigned slot =
			((block * BLOCK) << sp_slots_shift(p)) + (unsigned)__builtin_ctzll(used);

		changed |= resync_entry(s, p, slot >> sp_slots_shift(p));
	}
	return changed;
}

/* Has it taken away something that hardware may know of, and that is more than one page? */
static bool resync(struct shadow *s, struct sp *p, unsigned slot)
{
	unsigned asked = (slot >> sp_slots_shift(p)) / BLOCK;
	bool changed = false;

	for (unsigned left = p->mirrored; left; left &= left - 1) {
		unsigned block = (unsigned)__builtin_ctz(left);

		changed |= block == asked ? resync_block(s, p, block) : resync_other(s, p, block);
	}
	sp_count(s, &s->stats.resynced);
	return changed && role_level(p->role);
}

void sp_resync(struct shadow *s, struct sp *p, unsigned slot)
{
	/* One INVLPG of the guest's has to drop all pieces of a large page. */
	if (resync(s, p, slot))
		sp_flush(s);
}

/*
 * Protected on all vCPUs, then compared, then linked, or INVLPG let run. Nobody has come by one
 * that was open since the flush when it was opened: what it loses no vCPU knows.
 */
void sp_close(struct shadow *s, struct sp *p, unsigned slot)
{
	enum sp_state was = p->state;
	bool protected, lost;

	if (was == SP_CLOSED)
		return;
	protected = p->rom || sp_frame_closed(s, p->gfn);
	p->state = SP_CLOSED;
	if (!protected)
		protect(s, p->gfn, true);
	lost = resync(s, p, slot);
	if (was == SP_OPEN) {
		set_linked(s, p, true);
	} else {
		if (lost || (role_level(p->role) && s->lost_way))
			sp_flush(s);
		sp_unsync_drop(s, p);
		sp_update_invlpg(s);
	}
	sp_touch(s, p);
}

static void set_state(struct sp *p, enum sp_state state)
{
	__atomic_store_n(&p->state, state, __ATOMIC_RELAXED);
}

/* Only who has the shadow alone looks at what was opened lately. */
static void note_opened(struct shadow *s, const struct sp *p)
{
	unsigned n = __atomic_load_n(&s->nr_opened, __ATOMIC_RELAXED);

	while (n < MAX_OPENED && !__atomic_compare_exchange_n(&s->nr_opened, &n, n + 1, false,
							      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	if (n == MAX_OPENED)
		return;
	s->opened[n].page = sp_number(s, p);
	s->opened[n].loads = 0;
}

static void open_page(struct shadow *s, struct sp *p)
{
	p->state = SP_OPEN;
	set_linked(s, p, false);
	sp_count(s, &s->stats.opened);
	note_opened(s, p);
}

/*
 * Before the guest may write, the ways are cut on all vCPUs, or their INVLPG exits. Of a way to a
 * table of level 0 that a vCPU remembers its INVLPG drops all that matters.
 */
void sp_open_frame(struct shadow *s, uint64_t gfn, bool unsync, uint64_t rip)
{
	struct sp_frame *f = sp_frame_find(s, gfn);
	bool flush = false;

	for (uint32_t i = f ? f->pages : 0; i; i = s->sp[i].next_same) {
		struct sp *p = &s->sp[i];

		if (p->state != SP_CLOSED || !sp_is_table(p) || p->rom)
			continue;
		if (unsync || p->roots) {
			unsync_add(s, p);
			s->unsync_rip = rip;
			s->unsync_by = NULL;
		} else {
			open_page(s, p);
			flush |= role_level(p->role) > 0;
		}
	}
	/* See sp_resync(). */
	if (flush)
		sp_flush(s);
	protect(s, gfn, false);
}

/*
 * While its table's lock is held nobody fills, opens or closes it; from the frame's lock on nobody
 * enters the frame as one to be written to. The flush is waited for without the frame's lock, as
 * what is compared then takes others.
 */
void sp_close_shared(struct shadow *s, struct sp *p, unsigned slot)
{
	bool protected, lost = false;

	sp_lock_frame(s, p->frame);
	protected = p->rom || sp_frame_closed(s, p->gfn);
	set_state(p, SP_CLOSED);
	if (!protected)
		lost = set_protected(s, p->gfn, true);
	sp_unlock_frame(s, p->frame);
	if (!protected && (lost || has_lost_writes(s)))
		sp_flush_writes(s);
	resync(s, p, slot);
	set_linked(s, p, true);
}

/* Nothing but tables of level 0, as no flush is due for these, that are closed or open. */
static bool may_open_shared(struct shadow *s, const struct sp_frame *f)
{
	for (uint32_t i = f->pages; i; i = s->sp[i].next_same) {
		const struct sp *p = &s->sp[i];

		if (sp_is_table(p) &&
		    (role_level(p->role) || p->roots || sp_state(p) == SP_UNSYNC || p->rom))
			return false;
	}
	return true;
}

bool sp_open_shared(struct shadow *s, uint64_t gfn)
{
	struct sp_frame *f = sp_frame_find(s, gfn);
	uint64_t frame = 0;

	if (!f || !may_open_shared(s, f))
		return false;
	sp_lock_table(s, gfn);
	for (uint32_t i = f->pages; i; i = s->sp[i].next_same) {
		struct sp *p = &s->sp[i];

		if (!sp_is_table(p))
			continue;
		frame = p->frame;
		if (sp_state(p) != SP_CLOSED)
			continue;
		set_linked(s, p, false);
		sp_count(s, &s->stats.opened);
		note_opened(s, p);
	}
	/* The ways are cut: now the guest may write. */
	sp_lock_frame(s, frame);
	for (uint32_t i = f->pages; i; i = s->sp[i].next_same)
		if (sp_is_table(&s->sp[i]))
			set_state(&s->sp[i], SP_OPEN);
	set_protected(s, gfn, false);
	sp_unlock_frame(s, frame);
	sp_unlock_table(s, gfn);
	return true;
}

static bool leads_to(struct shadow *s, const struct sp *root, const struct sp *p)
{
	while (p != root && p->parents)
		p = entry_sp(s, p->parents);
	return p == root;
}

/* Entries that a table may have changed by, to be closed before anybody asks for it. */
#define CHANGES_AHEAD 64

static bool changed_little(const struct sp *p)
{
	unsigned n = 0;

	for (unsigned left = p->mirrored; left && n <= CHANGES_AHEAD; left &= left - 1) {
		unsigned first = (unsigned)__builtin_ctz(left) * BLOCK;

		for (unsigned i = first; i < first + BLOCK; i++)
			n += sp_table_entry(p, p->guest, i) != sp_table_entry(p, p->snap, i);
	}
	return n <= CHANGES_AHEAD;
}

void sp_close_opened(struct shadow *s, const struct sp *root)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->nr_opened; i++) {
		struct sp *p = &s->sp[s->opened[i].page];

		if (p->state != SP_OPEN || p->orphan)
			continue;
		if (leads_to(s, root, p) && changed_little(p))
			sp_close(s, p, p->asked);
		else if (++s->opened[i].loads < OPENED_LOADS)
			s->opened[kept++] = s->opened[i];
	}
	s->nr_opened = kept;
}

void sp_sync_all(struct shadow *s)
{
	while (s->nr_unsync)
		sp_close(s, &s->sp[s->unsync[s->nr_unsync - 1]], SPTES);
}
