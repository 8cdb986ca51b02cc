/* Changes to whole units: what a directory's entries lead to. All slots are locked meanwhile. */
#include "tests/guest/race/change.h"

/* What this cell is to be: a large page has the rights of its slots, too. */
static uint64_t cell_entry(const struct unit *unit, const struct cell *cell)
{
	const struct slot *slot = &unit->slots[0];

	if (unit->table)
		return unit->table | page_rights(cell->w, cell->x);
	if (unit->large)
		return unit->home | page_rights(cell->w && slot->w, cell->x && slot->x) | PTE_PS |
		       (unit->global ? PTE_G : 0);
	return 0;
}

static void wrong_cell(const struct unit *unit, const struct cell *cell, uint64_t seen)
{
	wrong_begin("an entry of a page directory");
	wrong_value("unit", (uint64_t)(unit - units));
	wrong_value("cell", (uint64_t)(cell - unit->cells));
	wrong_value("expected", cell->entry);
	wrong_value("seen", seen);
	wrong_end();
}

static void check_cell(const struct unit *unit, const struct cell *cell, uint64_t seen)
{
	if ((cell->entry ? seen & ~PTE_AD : seen) != cell->entry)
		wrong_cell(unit, cell, seen);
}

/* Give all cells the entries that they are to have; the A and D that the old ones had in sum. */
static uint64_t set_cells(struct unit *unit, uint64_t ad)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < unit->nr_cells; i++) {
		struct cell *cell = &unit->cells[i];
		uint64_t entry = cell_entry(unit, cell), seen;

		seen = entry_exchange(cell->pde, entry ? entry | ad : 0);
		check_cell(unit, cell, seen);
		cell->entry = entry;
		all |= seen & PTE_AD;
	}
	return all;
}

/* D of a large page: somebody has written to one of the slots, or tried. */
static void check_large_d(const struct unit *unit, uint64_t seen)
{
	if (!(seen & PTE_D) || unit->slots[0].d_set)
		return;
	for (unsigned i = 0; i < NR_SLOTS; i++)
		if (slot_tried(&unit->slots[i]))
			return;
	wrong_cell(unit, &unit->cells[0], seen);
}

static void begin_all(struct unit *unit)
{
	for (unsigned i = 0; i < NR_SLOTS; i++)
		slot_begin(&unit->slots[i]);
}

static void end_all(struct unit *unit)
{
	for (unsigned i = 0; i < NR_SLOTS; i++)
		slot_end(&unit->slots[i]);
}

static uint64_t new_table(void)
{
	uint64_t table = frame_alloc();

	for (unsigned i = 0; table && i < WORDS; i++)
		at(table)[i] = 0;
	return table;
}

static void install_table(struct cpu *me, struct unit *unit)
{
	(void)me;
	unit->table = new_table();
	if (unit->table)
		set_cells(unit, 0);
}

static void install_large(struct cpu *me, struct unit *unit)
{
	uint64_t gens[NR_SLOTS], ad = some_ad(me);
	bool w = !one_in(me, 3), x = !one_in(me, 3);

	begin_all(unit);
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		uint64_t frame = unit->home + (uint64_t)slot_index[i] * PAGE;

		frame_check(frame);
		gens[i] = page_fill(&unit->slots[i], frame);
		unit->slots[i].w = w;
		unit->slots[i].x = x;
		slot_forget_tries(&unit->slots[i]);
	}
	unit->large = true;
	set_cells(unit, ad);
	for (unsigned i = 0; i < NR_SLOTS; i++)
		slot_take(&unit->slots[i], unit->home + (uint64_t)slot_index[i] * PAGE, gens[i],
			  ad);
	end_all(unit);
}

/* All of it goes. */
static void remove_unit(struct cpu *me, struct unit *unit)
{
	uint64_t table = unit->table, ad;

	begin_all(unit);
	for (unsigned i = 0; i < NR_SLOTS; i++)
		slot_forget_tries(&unit->slots[i]);
	unit->table = 0;
	unit->large = false;
	ad = set_cells(unit, 0);
	shoot_down(me, unit, ALL_SLOTS);
	if (!table)
		check_large_d(unit, ad);
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		struct slot *slot = &unit->slots[i];
		uint64_t seen = table ? at(table)[slot_index[i]] : ad;

		if (table)
			slot_check_entry(slot, slot->entry, seen);
		if (slot->mapped)
			slot_lose(me, slot, seen);
	}
	if (table)
		frame_free(table, false);
	end_all(unit);
}

/* The page table moves to another frame. */
static void move_table(struct cpu *me, struct unit *unit)
{
	uint64_t old = unit->table, table = frame_alloc();

	if (!table)
		return;
	begin_all(unit);
	unit->table = 0;
	set_cells(unit, 0);
	shoot_down(me, unit, ALL_SLOTS);
	for (unsigned i = 0; i < WORDS; i++)
		at(table)[i] = at(old)[i];
	unit->table = table;
	set_cells(unit, 0);
	frame_free(old, false);
	end_all(unit);
}

/* Other rights in one directory's entry. */
static void protect_cell(struct cpu *me, struct unit *unit)
{
	struct cell *cell = &unit->cells[below(me, unit->nr_cells)];
	uint64_t entry;

	begin_all(unit);
	cell->w = !one_in(me, 3);
	cell->x = !one_in(me, 3);
	entry = cell_entry(unit, cell);
	check_cell(unit, cell, entry_replace(me, cell->pde, entry));
	cell->entry = entry;
	shoot_down(me, unit, ALL_SLOTS);
	end_all(unit);
}

static void clear_large_ad(struct cpu *me, struct unit *unit)
{
	uint64_t what = some_of_ad(me), seen = 0;

	begin_all(unit);
	for (unsigned i = 0; i < NR_SLOTS && (what & PTE_D); i++)
		slot_forget_tries(&unit->slots[i]);
	for (unsigned i = 0; i < unit->nr_cells; i++) {
		const struct cell *cell = &unit->cells[i];
		uint64_t was = __atomic_fetch_and(cell->pde, ~what, __ATOMIC_SEQ_CST);

		check_cell(unit, cell, was);
		seen |= was;
	}
	/* All of it is one page: each of its addresses stands for it. */
	shoot_down(me, unit, 1u << below(me, NR_SLOTS));
	for (unsigned i = 0; i < unit->nr_cells; i++)
		seen |= *unit->cells[i].pde;
	check_large_d(unit, seen);
	for (unsigned i = 0; i < NR_SLOTS; i++)
		slot_start_ad(&unit->slots[i], what, seen);
	end_all(unit);
}

/*
 * A table of small pages in the large one's place, which leads to the same memory with the same
 * rights. Nobody must notice: the versions stay as they are. A and D may be set meanwhile, so they
 * are set in all.
 */
static void split(struct cpu *me, struct unit *unit)
{
	uint64_t table = new_table();

	if (!table)
		return;
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		struct slot *slot = &unit->slots[i];

		slot->entry =
			slot->frame | page_rights(slot->w, slot->x) | (unit->global ? PTE_G : 0);
		at(table)[slot_index[i]] = slot->entry | PTE_AD;
		slot->d_set = true;
	}
	unit->table = table;
	unit->large = false;
	set_cells(unit, 0);
	shoot_down(me, unit, one_in(me, 2) ? ALL_SLOTS : 1u << below(me, NR_SLOTS));
}

/* All slots are where the large page has them, and of the same rights. */
static bool is_whole(const struct unit *unit)
{
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		const struct slot *slot = &unit->slots[i];

		if (!slot->mapped || slot->w != unit->slots[0].w || slot->x != unit->slots[0].x ||
		    slot->frame != unit->home + (uint64_t)slot_index[i] * PAGE)
			return false;
	}
	return true;
}

/* The large page in the table's place; just as little to be noticed. */
static void collapse(struct cpu *me, struct unit *unit)
{
	uint64_t table = unit->table;

	for (unsigned i = 0; i < NR_SLOTS; i++)
		unit->slots[i].d_set = true;
	unit->table = 0;
	unit->large = true;
	set_cells(unit, PTE_AD);
	shoot_down(me, unit, ALL_SLOTS);
	for (unsigned i = 0; i < NR_SLOTS; i++) {
		slot_check_entry(&unit->slots[i], unit->slots[i].entry, at(table)[slot_index[i]]);
		unit->slots[i].entry = 0;
	}
	frame_free(table, false);
}

static void split_and_collapse(struct cpu *me, struct unit *unit)
{
	split(me, unit);
	for (uint32_t i = below(me, 200); i; i--)
		pause();
	if (unit->table)
		collapse(me, unit);
}

static void change_locked(struct cpu *me, struct unit *unit)
{
	static void (*const of_large[])(struct cpu *, struct unit *) = {
		split,       split,        split_and_collapse, split_and_collapse,
		remove_unit, protect_cell, clear_large_ad,     clear_large_ad,
	};
	static void (*const of_table[])(struct cpu *, struct unit *) = {
		remove_unit,  remove_unit,  move_table,   move_table,
		protect_cell, protect_cell, protect_cell, protect_cell,
	};

	if (unit->large)
		of_large[below(me, 8)](me, unit);
	else if (unit->table && is_whole(unit))
		collapse(me, unit);
	else if (unit->table)
		of_table[below(me, 8)](me, unit);
	else if (one_in(me, 3))
		install_large(me, unit);
	else
		install_table(me, unit);
}

void change_unit(struct cpu *me, struct unit *unit)
{
	unsigned nr = 0;

	while (nr < NR_SLOTS && try_lock(&unit->slots[nr].lock))
		nr++;
	if (nr == NR_SLOTS) {
		change_locked(me, unit);
		me->changes++;
	}
	while (nr)
		unlock(&unit->slots[--nr].lock);
}

void check_all(void)
{
	for (unsigned u = 0; u < NR_UNITS; u++) {
		struct unit *unit = &units[u];
		uint64_t ad = 0;

		for (unsigned i = 0; i < unit->nr_cells; i++) {
			check_cell(unit, &unit->cells[i], *unit->cells[i].pde);
			ad |= *unit->cells[i].pde;
		}
		for (unsigned i = 0; i < NR_SLOTS; i++) {
			const struct slot *slot = &unit->slots[i];
			uint64_t seen = unit->table ? at(unit->table)[slot_index[i]] : ad;

			if (unit->table)
				slot_check_entry(slot, slot->entry, seen);
			if (slot->mapped)
				slot_check_ad(slot, seen);
		}
	}
	frames_check();
}
