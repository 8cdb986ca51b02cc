/* Changes to slots, and what has to be true of A, D and the frames after each. */
#include "tests/guest/race/change.h"

static void wrong(const struct slot *slot, const char *what, uint64_t expected, uint64_t seen)
{
	wrong_begin(what);
	wrong_value("expected", expected);
	wrong_value("seen", seen);
	wrong_value("slot", slot->nr);
	wrong_value("version", slot->version);
	wrong_value("frame", slot->frame);
	wrong_value("gen", slot->gen);
	wrong_value("entry", slot->entry);
	for (unsigned i = 0; i < nr_cpus; i++)
		wrong_value("word", at(slot->frame)[WORD_CPU + i]);
	wrong_end();
}

void slot_begin(struct slot *slot)
{
	__atomic_fetch_add(&slot->version, 1, __ATOMIC_SEQ_CST);
}

void slot_end(struct slot *slot)
{
	slot->tried_before = false;
	__atomic_fetch_add(&slot->version, 1, __ATOMIC_SEQ_CST);
}

static volatile uint64_t *entry_of(const struct unit *unit, unsigned slot)
{
	return &at(unit->table)[slot_index[slot]];
}

uint64_t entry_exchange(volatile uint64_t *entry, uint64_t val)
{
	return __atomic_exchange_n(entry, val, __ATOMIC_SEQ_CST);
}

uint64_t entry_replace(struct cpu *me, volatile uint64_t *entry, uint64_t val)
{
	uint64_t old = *entry;

	if (options.plant == LOST_DIRTY && one_in(me, 4)) {
		for (unsigned i = 0; i < 20000; i++)
			pause();
		*entry = val | (old & PTE_AD);
		return old;
	}
	while (!__atomic_compare_exchange_n(entry, &old, val | (old & PTE_AD), false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	return old;
}

/* --- what must be true --- */

void slot_check_entry(const struct slot *slot, uint64_t expected, uint64_t seen)
{
	if ((expected ? seen & ~PTE_AD : seen) != expected)
		wrong(slot, "an entry of a page table", expected, seen);
}

bool slot_tried(const struct slot *slot)
{
	if (slot->tried || slot->tried_before)
		return true;
	for (unsigned i = 0; i < nr_cpus; i++)
		if (__atomic_load_n(&cpus[i].writing, __ATOMIC_SEQ_CST) == slot)
			return true;
	return slot->tried;
}

void slot_forget_tries(struct slot *slot)
{
	slot->tried_before = __atomic_exchange_n(&slot->tried, false, __ATOMIC_SEQ_CST);
}

/* QEMU: natively too, once in some ten millions of accesses. */
static void lost(const struct slot *slot, const char *what, uint64_t expected, uint64_t seen)
{
	static uint64_t count;

	if (__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) > options.lost)
		wrong(slot, what, expected, seen);
}

void slot_check_ad(const struct slot *slot, uint64_t seen)
{
	for (unsigned i = 0; i < nr_cpus; i++) {
		uint64_t word = at(slot->frame)[WORD_CPU + i];

		if (!(seen & PTE_A) && (int32_t)(slot->read_at[i] - slot->a_base) >= 0)
			lost(slot, "an access that left A clear", slot->a_base, slot->read_at[i]);
		if (!(seen & PTE_D) && word != slot->base[i])
			lost(slot, "a write that left D clear", slot->base[i], word);
	}
	if ((seen & PTE_D) && !slot->d_set && slot->entry && !slot_tried(slot))
		wrong(slot, "D without a write", 0, seen);
}

/* Nobody may write to these pages any more. */
static void check_silence(struct cpu *me, const struct slot *slot, uint64_t frame)
{
	uint64_t words[MAX_CPUS];

	for (unsigned i = 0; i < nr_cpus; i++)
		words[i] = at(frame)[WORD_CPU + i];
	for (uint32_t i = below(me, one_in(me, 8) ? 2000 : 100); i; i--)
		barrier();
	for (unsigned i = 0; i < nr_cpus; i++)
		if (at(frame)[WORD_CPU + i] != words[i])
			wrong(slot, "a write through what is gone", words[i],
			      at(frame)[WORD_CPU + i]);
}

static void set_a_base(struct slot *slot)
{
	slot->a_base = slot->version + 1;
}

static void set_d_base(struct slot *slot)
{
	slot->d_set = false;
	for (unsigned i = 0; i < nr_cpus; i++)
		slot->base[i] = at(slot->frame)[WORD_CPU + i];
}

/* --- pages --- */

uint64_t page_rights(bool w, bool x)
{
	return PTE_P | (w ? PTE_W : 0) | (x ? 0 : PTE_NX);
}

uint64_t page_fill(struct slot *slot, uint64_t frame)
{
	uint64_t gen = slot->top + 1;

	slot->top = gen;
	at(frame)[WORD_TAG] = at(frame)[WORD_TAG2] = tag_of(slot, gen);
	at(frame)[WORD_CODE] = 0xc3ull << 40 | (uint64_t)code_value(slot, gen) << 8 | 0xb8;
	for (unsigned i = 0; i < MAX_CPUS; i++)
		at(frame)[WORD_CPU + i] = 0;
	return gen;
}

void slot_take(struct slot *slot, uint64_t frame, uint64_t gen, uint64_t ad)
{
	slot->frame = frame;
	slot->gen = gen;
	slot->mapped = true;
	slot->lazy = false;
	set_a_base(slot);
	slot->d_set = ad & PTE_D;
	for (unsigned i = 0; i < MAX_CPUS; i++)
		slot->base[i] = 0;
}

uint64_t some_ad(struct cpu *me)
{
	return one_in(me, 3) ? rnd(me) & PTE_AD : 0;
}

static void choose_rights(struct cpu *me, struct slot *slot)
{
	slot->w = !one_in(me, 3);
	slot->x = !one_in(me, 3);
}

/* A frame for a slot that has none. */
static void map(struct cpu *me, struct unit *unit, unsigned nr)
{
	struct slot *slot = &unit->slots[nr];
	uint64_t frame = frame_alloc(), ad = some_ad(me), gen;

	if (!frame)
		return;
	slot_begin(slot);
	gen = page_fill(slot, frame);
	choose_rights(me, slot);
	slot_forget_tries(slot);
	slot->entry = frame | page_rights(slot->w, slot->x) | (unit->global ? PTE_G : 0);
	slot_check_entry(slot, 0, entry_exchange(entry_of(unit, nr), slot->entry | ad));
	slot_take(slot, frame, gen, ad);
	slot_end(slot);
}

/* Another frame, by one write of the entry. */
static void remap(struct cpu *me, struct unit *unit, unsigned nr)
{
	struct slot *slot = &unit->slots[nr];
	uint64_t frame = frame_alloc(), ad = some_ad(me), gen, seen, entry = slot->entry;

	if (!frame)
		return;
	slot_begin(slot);
	gen = page_fill(slot, frame);
	if (one_in(me, 2))
		choose_rights(me, slot);
	slot_forget_tries(slot);
	slot->entry = frame | page_rights(slot->w, slot->x) | (unit->global ? PTE_G : 0);
	seen = entry_exchange(entry_of(unit, nr), slot->entry | ad);
	shoot_down(me, unit, 1u << nr);
	slot_check_entry(slot, entry, seen);
	slot_check_ad(slot, seen);
	check_silence(me, slot, slot->frame);
	frame_free(slot->frame, true);
	slot_take(slot, frame, gen, ad);
	slot_end(slot);
}

void slot_lose(struct cpu *me, struct slot *slot, uint64_t seen)
{
	slot_check_ad(slot, seen);
	check_silence(me, slot, slot->frame);
	frame_free(slot->frame, true);
	slot->mapped = false;
	slot->entry = 0;
}

static void unmap(struct cpu *me, struct unit *unit, unsigned nr)
{
	struct slot *slot = &unit->slots[nr];
	uint64_t seen;

	slot_begin(slot);
	slot_forget_tries(slot);
	seen = entry_exchange(entry_of(unit, nr), 0);
	shoot_down(me, unit, 1u << nr);
	slot_check_entry(slot, slot->entry, seen);
	slot_lose(me, slot, seen);
	slot_end(slot);
}

/* Other rights; where they are only more, the TLBs need not know. */
static void protect(struct cpu *me, struct unit *unit, unsigned nr)
{
	struct slot *slot = &unit->slots[nr];
	volatile uint64_t *entry = entry_of(unit, nr);
	bool w = slot->w, x = slot->x, fewer;
	uint64_t seen, want;

	slot_begin(slot);
	choose_rights(me, slot);
	fewer = (w && !slot->w) || (x && !slot->x);
	want = (slot->entry & ~(PTE_W | PTE_NX)) | page_rights(slot->w, slot->x);
	if (one_in(me, 3)) { /* absent for a moment: so no processor can set A or D */
		seen = entry_exchange(entry, 0);
		slot_check_entry(slot, 0, entry_exchange(entry, want | (seen & PTE_AD)));
	} else {
		seen = entry_replace(me, entry, want);
	}
	slot_check_entry(slot, slot->entry, seen);
	slot->entry = want;
	if (fewer || one_in(me, 4)) {
		shoot_down(me, unit, 1u << nr);
		slot->lazy = false;
		if (!slot->w)
			check_silence(me, slot, slot->frame);
	} else {
		slot->lazy = true;
	}
	slot_end(slot);
}

uint64_t some_of_ad(struct cpu *me)
{
	return one_in(me, 3) ? PTE_AD : one_in(me, 2) ? PTE_A : PTE_D;
}

void slot_start_ad(struct slot *slot, uint64_t cleared, uint64_t seen)
{
	slot_check_ad(slot, seen);
	if (cleared & PTE_A)
		set_a_base(slot);
	if (cleared & PTE_D)
		set_d_base(slot);
}

static void clear_ad(struct cpu *me, struct unit *unit, unsigned nr)
{
	struct slot *slot = &unit->slots[nr];
	volatile uint64_t *entry = entry_of(unit, nr);
	uint64_t what = some_of_ad(me), seen;

	slot_begin(slot);
	if (what & PTE_D)
		slot_forget_tries(slot);
	seen = __atomic_fetch_and(entry, ~what, __ATOMIC_SEQ_CST);
	slot_check_entry(slot, slot->entry, seen);
	shoot_down(me, unit, 1u << nr);
	slot->lazy = false;
	slot_start_ad(slot, what, seen | *entry);
	slot_end(slot);
}

void change_slot(struct cpu *me, struct unit *unit, unsigned nr)
{
	static void (*const changes[])(struct cpu *, struct unit *, unsigned) = {
		unmap, remap, remap, protect, protect, protect, clear_ad, clear_ad,
	};
	struct slot *slot = &unit->slots[nr];

	if (!try_lock(&slot->lock))
		return;
	if (unit->table && !slot->mapped)
		map(me, unit, nr);
	else if (unit->table)
		changes[below(me, 8)](me, unit, nr);
	me->changes++;
	unlock(&slot->lock);
}
