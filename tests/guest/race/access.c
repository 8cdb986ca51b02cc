/* One access to a slot, and whether what came of it is what had to come. */
#include "tests/guest/race/race.h"

/* What was known of the slot before the access, and what came of it. */
struct look {
	struct unit *unit;
	struct slot *slot;
	const struct view *view;
	enum probe probe;
	unsigned word;
	uint32_t version;
	bool mapped, allowed, lazy;
	uint64_t frame, gen, va, val;
};

static void wrong(const struct look *look, const char *what, uint64_t expected, uint64_t seen)
{
	const struct cpu *me = this_cpu();

	wrong_begin(what);
	wrong_value("access", look->probe);
	wrong_value("va", look->va);
	wrong_value("expected", expected);
	wrong_value("seen", seen);
	wrong_value("faulted", me->faulted);
	wrong_value("error", me->error);
	wrong_value("slot", look->slot->nr);
	wrong_value("version", look->version);
	wrong_value("version_now", look->slot->version);
	wrong_value("mapped", look->mapped);
	wrong_value("allowed", look->allowed);
	wrong_value("frame", look->frame);
	wrong_value("gen", look->gen);
	wrong_value("top", look->slot->top);
	wrong_value("table", look->unit->table);
	wrong_value("large", look->unit->large);
	wrong_end();
}

static bool choose_view(struct cpu *me, struct look *look)
{
	unsigned first = below(me, look->unit->nr_views);

	for (unsigned i = 0; i < look->unit->nr_views; i++) {
		look->view = &look->unit->views[(first + i) % look->unit->nr_views];
		if (look->view->spaces >> me->space & 1)
			return true;
	}
	return false;
}

static void choose_access(struct cpu *me, struct look *look)
{
	static const uint16_t words[] = { WORD_TAG, WORD_TAG2, WORD_CPU, WORD_CPU };
	uint32_t which = below(me, 16);

	look->probe = which < 8 ? PROBE_READ : which < 15 ? PROBE_WRITE : PROBE_FETCH;
	look->word = look->probe == PROBE_READ ? words[below(me, 4)] : WORD_CPU;
	if (look->word == WORD_CPU)
		look->word += me->nr;
	if (look->probe == PROBE_FETCH)
		look->word = WORD_CODE;
}

/* What must be if the version stays as it is. */
static void look_first(struct look *look, unsigned index)
{
	const struct cell *cell = &look->unit->cells[look->view->cell];
	const struct slot *slot = look->slot;

	look->va = look->view->va + (uint64_t)slot_index[index] * PAGE + look->word * 8;
	look->version = __atomic_load_n(&slot->version, __ATOMIC_SEQ_CST);
	look->mapped = look->allowed = slot->mapped;
	if (look->probe == PROBE_WRITE)
		look->allowed &= slot->w && cell->w && look->view->above_w;
	else if (look->probe == PROBE_FETCH)
		look->allowed &= slot->x && cell->x && look->view->above_x;
	look->lazy = slot->lazy;
	look->frame = slot->frame;
	look->gen = slot->gen;
	barrier();
}

static bool steady(const struct look *look)
{
	return !(look->version & 1) &&
	       __atomic_load_n(&look->slot->version, __ATOMIC_SEQ_CST) == look->version;
}

static void probe(struct cpu *me, struct look *look)
{
	me->faulted = false;
	me->error = 0;
	me->probe_va = look->va;
	me->probe = look->probe;
	if (look->probe == PROBE_READ) {
		look->val = probe_read(look->va);
	} else if (look->probe == PROBE_FETCH) {
		look->val = probe_fetch(look->va);
	} else {
		look->val = (uint64_t)(me->nr + 1) << 56 | ++me->written;
		__atomic_store_n(&me->writing, look->slot, __ATOMIC_SEQ_CST);
		look->slot->tried = true;
		probe_write(look->va, look->val);
		look->slot->tried = true;
		__atomic_store_n(&me->writing, NULL, __ATOMIC_SEQ_CST);
	}
	me->probe = PROBE_NONE;
	me->accesses++;
	me->faults += me->faulted;
}

/* What no time at which it was could explain. */
static void check_any(struct cpu *me, struct look *look)
{
	uint32_t kind = look->probe == PROBE_WRITE   ? PF_W
			: look->probe == PROBE_FETCH ? PF_FETCH
						     : 0;
	uint64_t gen = look->val & 0xffffffffffff;

	if (me->faulted) {
		if ((me->error & ~PF_P) != kind)
			wrong(look, "an error code", kind, me->error);
		return;
	}
	if (look->probe == PROBE_WRITE)
		return;
	if (look->probe == PROBE_FETCH) {
		if (look->val >> 24 != look->slot->nr)
			wrong(look, "a fetch", look->slot->nr, look->val);
	} else if (look->word >= WORD_CPU && look->word < WORD_CPU + MAX_CPUS) {
		if (look->val && look->val >> 56 != me->nr + 1)
			wrong(look, "what another wrote", me->nr + 1, look->val);
	} else if (look->val >> 48 != look->slot->nr + 1 || gen < look->gen ||
		   gen > look->slot->top) {
		wrong(look, "a page that is not here any more", tag_of(look->slot, look->gen),
		      look->val);
	}
}

/* Nothing was changed meanwhile, so it must be just this. */
static void check_exact(struct cpu *me, struct look *look)
{
	unsigned nr = look->slot->nr;
	uint64_t want = tag_of(look->slot, look->gen);

	if (me->faulted != !look->allowed)
		wrong(look, me->faulted ? "a fault" : "no fault", !look->allowed, me->faulted);
	if (me->faulted) {
		if ((me->error & PF_P) != (look->mapped ? PF_P : 0))
			wrong(look, "P in the error code", look->mapped, me->error);
		return;
	}
	if (look->probe == PROBE_FETCH)
		want = code_value(look->slot, look->gen);
	else if (look->word == WORD_CPU + me->nr)
		want = me->last[nr].gen == look->gen ? me->last[nr].value : 0;
	if (look->probe != PROBE_WRITE && (look->word != WORD_CPU + me->nr || me->last[nr].known) &&
	    look->val != want)
		wrong(look, "what is read", want, look->val);
	look->slot->read_at[me->nr] = look->version;
}

/* Where the write went to, if that is known. */
static void check_write(struct cpu *me, struct look *look)
{
	uint64_t seen = at(look->frame)[look->word];
	unsigned nr = look->slot->nr;

	barrier();
	me->last[nr].known = steady(look);
	if (!me->last[nr].known)
		return;
	me->last[nr].gen = look->gen;
	me->last[nr].value = look->val;
	if (seen != look->val)
		wrong(look, "a write that is not there", look->val, seen);
}

void access(struct cpu *me, struct unit *unit, unsigned slot)
{
	struct look look = { .unit = unit, .slot = &unit->slots[slot] };

	if (!choose_view(me, &look))
		return;
	choose_access(me, &look);
	look_first(&look, slot);
	probe(me, &look);
	check_any(me, &look);
	if (me->faulted && look.lazy && look.allowed && steady(&look)) {
		probe(me, &look); /* a TLB may have had fewer rights, till this fault */
		check_any(me, &look);
	}
	if (steady(&look)) {
		me->sure++;
		check_exact(me, &look);
	}
	if (look.probe == PROBE_WRITE && !me->faulted)
		check_write(me, &look);
}
