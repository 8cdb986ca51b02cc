/* The cases: which flags, controls and accesses are tried. */
#include "tests/guest/paging/paging.h"

/* To the next table, with all rights; of level 1: to the data. */
static entry_t pointer[TESTED_TOP + 1];

/* The accesses. An implicit one at CPL < 3 with AC set is left out: the vendors differ. */
static const struct {
	enum access_kind kind;
	bool user, ac;
} accesses[] = {
	{ READ, false, false }, { WRITE, false, false },   { FETCH, false, false },
	{ READ, true, false },  { WRITE, true, false },    { FETCH, true, false },
	{ READ, false, true },  { IMPLICIT, true, false }, { WRITE, false, true },
	{ FETCH, false, true }, { IMPLICIT, true, true },
};
#define NR_ACCESSES (sizeof(accesses) / sizeof(accesses[0]))

bool left_out(void)
{
	static unsigned every = ~0u, turn;

	if (every == ~0u)
		every = machine_option("every=", 1);
	return every == 0 || ++turn % every;
}

/* Every access; those with AC where it matters. */
static void try_accesses(const struct tree *t)
{
	for (unsigned i = 0; i < NR_ACCESSES; i++)
		if (!accesses[i].ac || cpu.smap)
			try_access(t, accesses[i].kind, accesses[i].user, accesses[i].ac);
}

/* INS and OUTS, which a hypervisor may do in the processor's stead. */
static void try_strings(const struct tree *t)
{
	for (unsigned i = 0; i < (cpu.smap ? 6 : 4); i++)
		try_access(t, i & 1 ? INS : OUTS, i & 2, i & 4);
}

/* Run this under every value of WP, SMEP, SMAP and NXE. */
static void under_all_controls(void (*run)(void))
{
	for (unsigned i = 0; i < 16; i++) {
		if (((i & 2) && !features.smep) || ((i & 4) && !features.smap) ||
		    ((i & 8) && !features.nx))
			continue;
		cpu.wp = i & 1;
		cpu.smep = i & 2;
		cpu.smap = i & 4;
		cpu.nxe = i & 8;
		machine_set_controls(true);
		run();
	}
}

bool leaf_possible(unsigned level)
{
	return level == 1 || (level == 2 && PAGING != 32) ||
	       (level == 3 && LONG && features.page_1g);
}

struct tree open_tree(unsigned leaf)
{
	struct tree t = { .leaf = leaf };

	for (unsigned level = leaf; level <= TESTED_TOP; level++)
		t.entry[level] = pointer[level];
	if (leaf > 1)
		t.entry[leaf] = P | W | U | PS | (DATA_FRAMES & machine_address_bits(leaf, true));
	return t;
}

/* Bits of n, from bit *at on: which of the flags this entry gets. */
static entry_t pick(unsigned n, unsigned *at, const entry_t *flags, unsigned nr)
{
	entry_t picked = 0;

	for (unsigned i = 0; i < nr; i++, ++*at)
		if (n >> *at & 1)
			picked |= flags[i];
	return picked;
}

/*
 * W, U and NX of all levels at once; A and D of them: all patterns for each where there are
 * two levels, else patterns in turn; of five levels a seventh, in which any two levels still
 * meet in every way. Here is what upper levels deny a large page, NX with NXE off, WP, SMEP,
 * SMAP with AC.
 */
static void try_rights(void)
{
	const entry_t rights[] = { W, U, NX }, marks[] = { A, D };
	const unsigned nr = HAS_NX ? 3 : 2;

	for (unsigned leaf = 1; leaf <= TESTED_TOP; leaf++) {
		unsigned levels = TESTED_TOP - leaf + 1, patterns = 1u << (levels + 1);
		unsigned step = levels > 2 ? patterns : 1, turn = 0;

		if (!leaf_possible(leaf))
			continue;
		for (unsigned n = 0; n<1u << nr * levels; n += levels> 4 ? 7 : 1, turn += 7)
			for (unsigned m = 0; m < patterns; m += step) {
				struct tree t = open_tree(leaf);
				unsigned at = 0, pattern = (m + (step > 1 ? turn : 0)) % patterns;

				if (left_out())
					continue;
				for (unsigned level = leaf; level <= TESTED_TOP; level++) {
					t.entry[level] &= ~(entry_t)(W | U);
					t.entry[level] |= pick(n, &at, rights, nr);
				}
				at = 0;
				for (unsigned level = leaf; level <= TESTED_TOP; level++)
					t.entry[level] |=
						pick(pattern, &at, marks, level == leaf ? 2 : 1);
				try_accesses(&t);
			}
	}
}

/* W and U of the page and of the level above, A and D of the page, for INS and OUTS. */
static void try_string_io(void)
{
	const entry_t flags[] = { W, U, A, D };

	for (unsigned n = 0; n < TESTED_TOP * 64; n++) {
		unsigned leaf = 1 + n / 64, at = 0;
		struct tree t;

		if (!leaf_possible(leaf) || left_out())
			continue;
		t = open_tree(leaf);
		t.entry[leaf] &= ~(entry_t)(W | U);
		t.entry[leaf] |= pick(n, &at, flags, 4);
		if (leaf < TESTED_TOP) {
			t.entry[leaf + 1] &= ~(entry_t)(W | U);
			t.entry[leaf + 1] |= pick(n, &at, flags, 2);
		}
		try_strings(&t);
	}
}

/* A and D: all patterns against all rights of the page, the levels above having all. */
static void try_marks(void)
{
	const entry_t rights[] = { W, U, NX }, marks[] = { A, D };
	const unsigned nr = HAS_NX ? 3 : 2;

	for (unsigned leaf = 1; leaf <= TESTED_TOP; leaf++) {
		unsigned patterns = 1u << (TESTED_TOP - leaf + 2);

		if (!leaf_possible(leaf))
			continue;
		for (unsigned n = 0; n < patterns << nr; n++) {
			struct tree t = open_tree(leaf);
			unsigned at = 0;

			if (left_out())
				continue;
			t.entry[leaf] &= ~(entry_t)(W | U);
			t.entry[leaf] |= pick(n, &at, rights, nr);
			for (unsigned level = leaf; level <= TESTED_TOP; level++)
				t.entry[level] |= pick(n, &at, marks, level == leaf ? 2 : 1);
			try_accesses(&t);
		}
	}
}

/*
 * Each access after each other with nothing flushed between: D set by the first write,
 * however the page was read before; no rights gained from what went before. A supervisor's
 * write with WP off must not open the page to CPL 3, or to a fetch with SMEP.
 */
static void try_pairs(void)
{
	const entry_t rights[] = { W, U, NX };
	const unsigned nr = HAS_NX ? 3 : 2;

	for (unsigned n = 0; n < TESTED_TOP << nr; n++) {
		unsigned leaf = 1 + (n >> nr), at = 0;
		struct tree open = open_tree(leaf);

		if (!leaf_possible(leaf) || left_out())
			continue;
		open.entry[leaf] &= ~(entry_t)(W | U);
		open.entry[leaf] |= pick(n, &at, rights, nr);
		for (unsigned i = 0; i < NR_ACCESSES; i++)
			for (unsigned k = 0; k < NR_ACCESSES; k++) {
				struct tree t = open;

				try_access(&t, accesses[i].kind, accesses[i].user, accesses[i].ac);
				try_next(&t, accesses[k].kind, accesses[k].user, accesses[k].ac);
			}
	}
}

static bool set_controls_of(unsigned n)
{
	if (((n & 2) && !features.smep) || ((n & 4) && !features.smap))
		return false;
	cpu.wp = n & 1;
	cpu.smep = n & 2;
	cpu.smap = n & 4;
	machine_set_controls(false);
	return true;
}

/* Each access, then all of them under other WP, SMEP and SMAP, with nothing else flushed. */
static void try_toggles(void)
{
	const entry_t rights[] = { W, U };

	for (unsigned n = 0; n < TESTED_TOP * 4 * NR_ACCESSES * 64; n++) {
		unsigned first = n / 64 % NR_ACCESSES, more = n / 64 / NR_ACCESSES, at = 0;
		struct tree t;

		if (!leaf_possible(1 + more / 4) || left_out() || !set_controls_of(n & 7))
			continue;
		t = open_tree(1 + more / 4);
		t.entry[t.leaf] &= ~(entry_t)(W | U);
		t.entry[t.leaf] |= pick(more % 4, &at, rights, 2);
		try_access(&t, accesses[first].kind, accesses[first].user, accesses[first].ac);
		if (!set_controls_of(n >> 3 & 7))
			continue;
		for (unsigned i = 0; i < NR_ACCESSES; i++)
			try_next(&t, accesses[i].kind, accesses[i].user, accesses[i].ac);
	}
}

/* This defect, alone and with an entry below it absent, for all rights and no rights. */
static void try_defect(const struct tree *t, unsigned level)
{
	for (unsigned absent = 0; absent < level; absent++) {
		struct tree bad = *t;

		if ((absent && absent < t->leaf) || left_out())
			continue;
		if (absent)
			bad.entry[absent] &= ~(entry_t)P;
		bad.defect = level;
		try_accesses(&bad);
		bad.entry[level] ^= W | U;
		try_accesses(&bad);
	}
}

/*
 * Each bit that is no address flipped, in each entry: absent, reserved (above MAXPHYADDR, in
 * large pages, of PML4E and PDPE), ignored. Then an absent entry with all other bits set.
 */
static void try_defects(void)
{
	for (unsigned leaf = 1; leaf <= TESTED_TOP; leaf++) {
		if (!leaf_possible(leaf))
			continue;
		for (unsigned level = leaf; level <= TESTED_TOP; level++) {
			bool large = level == leaf && leaf > 1;
			struct tree t = open_tree(leaf);

			for (unsigned nr = 0; nr < sizeof(entry_t) * 8; nr++) {
				entry_t flag = (entry_t)1 << nr;

				if (flag & machine_address_bits(level, large))
					continue;
				/* Another kind of entry, whose address would be anywhere. */
				if (flag == PS && (large || (level == 2 && PAGING == 33)))
					continue;
				t.entry[level] ^= flag;
				try_defect(&t, level);
				t.entry[level] ^= flag;
			}
			t.entry[level] = ~(entry_t)P;
			try_defect(&t, level);
		}
	}
}

/* Protection keys: each key, AD and WD of its own and of its neighbours, the page's rights. */
static void try_keys(void)
{
	const entry_t rights[] = { W, U, NX };

	cpu.pke = true;
	machine_set_controls(true);
	for (unsigned n = 0; n < 16 * 8; n++) {
		unsigned key = n / 8;

		for (unsigned pkru = 0; pkru < 8; pkru++) {
			struct tree t = open_tree(1 + n % 2);
			unsigned at = 0;
			uint32_t own = (pkru & 3) << 2 * key;

			if (left_out())
				continue;
			machine_set_pkru(pkru & 4 ? own | ~(3u << 2 * key) : own);
			t.entry[t.leaf] &= ~(entry_t)(W | U);
			t.entry[t.leaf] |= pick(n, &at, rights, 3) | (entry_t)((uint64_t)key << 59);
			try_accesses(&t);
			if (key % 5 == 0 && !(t.entry[t.leaf] & NX))
				try_strings(&t);
		}
	}
	machine_set_pkru(0);
	cpu.pke = false;
}

/* Addresses at the edges of what is canonical: #GP beyond them, #PF with all of CR2 within. */
static void try_canonical(void)
{
#if LONG
	const uintptr_t half = 1ull << (11 + INDEX_BITS * TOP); /* the lower half ends here */
	const uintptr_t bad[] = {
		half, -half - FRAME, 2 * half, 1ull << 63, TEST_VA ^ 1ull << 63, TEST_VA ^ 2 * half,
	};
	/* With five levels the last two are good too. */
	const uintptr_t good[] = { half - FRAME, -half, -(uintptr_t)FRAME, 1ull << 47,
				   0xffff7ffffffff000 };
	const unsigned nr_good = PAGING == 57 ? 5 : 3;

	for (unsigned kind = READ; kind <= FETCH; kind++) {
		unsigned error = kind == WRITE ? 2 : kind == FETCH ? 0x10 : 0;

		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			expect("a non-canonical address", kind, bad[i], GP, 0);
		for (unsigned i = 0; i < nr_good; i++)
			expect("an absent address at the edge", kind, good[i], PF, error);
	}
#endif
}

/*
 * All of a page of any size; then pages elsewhere, by one bit of the address, beyond 4 GiB too:
 * PSE-36's bits 13 to 20, PAE's and 64-bit's upper half. Where no memory is, what is read must
 * not be the data.
 */
static void try_addresses(void)
{
	for (unsigned leaf = 1; leaf <= TESTED_TOP; leaf++) {
		struct tree t;

		if (!leaf_possible(leaf))
			continue;
		t = open_tree(leaf);
		for (unsigned i = 0; i < 1u << INDEX_BITS && leaf > 1; i++) {
			t.offset = i * FRAME;
			try_access(&t, READ, false, false);
		}
		t.offset = 0;
		for (unsigned nr = 12; nr < sizeof(entry_t) * 8; nr++) {
			entry_t flag = (entry_t)1 << nr;

			if (!(flag & machine_address_bits(leaf, leaf > 1)))
				continue;
			t.entry[leaf] = open_tree(leaf).entry[leaf] ^ flag;
			try_access(&t, READ, false, false);
			try_access(&t, READ, true, false);
		}
	}
}

enum flush { BY_INVLPG, BY_CR3, BY_PGE, BY_PG, NR_FLUSHES };

static void flush(enum flush how, uintptr_t va)
{
	if (how == BY_INVLPG)
		machine_invlpg(va);
	else if (how == BY_CR3)
		machine_load_cr3();
	else if (how == BY_PGE)
		machine_write_cr4(machine_cr4() ^ CR4_PGE);
	else
		machine_toggle_paging();
}

/*
 * What drops translations does: INVLPG anywhere in a large page drops all of it, however a
 * hypervisor may have splintered it; MOV CR3; CR4.PGE changed and CR0.PG cleared drop global
 * ones too.
 */
static void try_flushes(void)
{
	for (unsigned n = 0; n < (1 + TESTED_TOP) * NR_FLUSHES * 2; n++) {
		unsigned leaf = n % (1 + TESTED_TOP), how = n / (1 + TESTED_TOP) % NR_FLUSHES;
		bool global = n / (1 + TESTED_TOP) / NR_FLUSHES;
		unsigned pages = leaf > 1 ? 32 : 1;
		struct tree t;

		if (leaf == 0 || !leaf_possible(leaf) || (how == BY_CR3 && global) ||
		    (how == BY_PGE && !features.pge) || (how == BY_PG && LONG))
			continue;
		t = open_tree(leaf);
		t.entry[leaf] |= global ? G : 0;
		for (unsigned at = 0; at < pages; at++) {
			place(&t);
			for (unsigned i = 0; i < pages; i++)
				expect("a mapped page", READ, TEST_VA + i * 11 * FRAME, DONE, 0);
			*slots[leaf] &= ~(entry_t)P;
			flush(how, TEST_VA + at * 11 * FRAME);
			for (unsigned i = 0; i < pages; i++)
				expect("a page unmapped and flushed", WRITE,
				       TEST_VA + i * 11 * FRAME, PF, 2);
		}
	}
	machine_set_controls(true);
}

/* An access that reaches into a second page faults with that page's address. */
static void try_straddling(void)
{
	struct tree t = open_tree(1);
	entry_t *next;

	place(&t);
	next = machine_slot(TEST_VA + FRAME, 1);
	for (unsigned write = 0; write < 2; write++) {
		uintptr_t va = TEST_VA + FRAME - 2 - (write ? WRITE_AT : READ_AT);

		place(&t);
		*next = (pointer[1] + FRAME) & ~(entry_t)W;
		machine_invlpg(TEST_VA + FRAME);
		expect_at("a second page that is read-only", write ? WRITE : READ, va,
			  write ? PF : DONE, 3, TEST_VA + FRAME);
		*next = 0;
		machine_invlpg(TEST_VA + FRAME);
		expect_at("a second page that is absent", write ? WRITE : READ, va, PF,
			  write ? 2 : 0, TEST_VA + FRAME);
		*slots[1] = 0;
		machine_invlpg(TEST_VA);
		expect_at("both pages absent", write ? WRITE : READ, va, PF, write ? 2 : 0,
			  TEST_VA + FRAME - 2);
	}
	*next = 0;
	place(&t);
}

/* A table that is its own entry: the tables themselves are read and written through it. */
static void try_self_reference(void)
{
	unsigned self = (1u << INDEX_BITS) - 2, level = PAGING == 36 ? 2 : TOP;
	entry_t *table = machine_slot(TEST_VA, level);
	uintptr_t va = 0, first = TEST_VA >> (12 + INDEX_BITS * level);
	entry_t now;

	table -= (TEST_VA >> (12 + INDEX_BITS * (level - 1))) & ((1u << INDEX_BITS) - 1);
	for (unsigned i = 0; i < level; i++)
		va |= (uintptr_t)self << (12 + INDEX_BITS * i);
	if (LONG)
		va |= ~0ull << (11 + INDEX_BITS * TOP);
	else if (PAGING == 36)
		va |= first << (12 + INDEX_BITS * level);
	for (unsigned write = 0; write < 2; write++) {
		table[self] = (uintptr_t)table | P | W;
		table[WRITE_AT / sizeof(entry_t)] = 0;
		machine_invlpg(va);
		expect("a table that is its own page", write ? WRITE : READ, va, DONE, 0);
		now = table[self];
		nr_cases++;
		if (now != ((uintptr_t)table | P | W | A | (write ? D : 0)) ||
		    (write && table[WRITE_AT / sizeof(entry_t)] != 0x5a5a5a5a)) {
			nr_wrong++;
			put_field("WRONG: a table's entry for itself is ", now);
			put_text("\n");
		}
		table[WRITE_AT / sizeof(entry_t)] = 0;
	}
	table[self] = (uintptr_t)table | P;
	machine_invlpg(va);
	expect("a read-only table that is its own page", WRITE, va, PF, 3);
	table[self] = 0;
	machine_invlpg(va);
}

#if PAGING == 36
/*
 * PDPTEs are loaded by MOV CR3, which raises #GP for their reserved bits (R/W, U/S, 5 to 8,
 * above MAXPHYADDR): a change in memory does nothing before.
 */
static void try_pdptes(void)
{
	entry_t *pdpte = machine_slot(TEST_VA, 3), good = *pdpte;

	*slots[1] = pointer[1];
	machine_load_cr3();
	*pdpte = 0;
	machine_invlpg(TEST_VA);
	expect("a PDPTE changed in memory only", READ, TEST_VA, deviation.late_pdptes ? PF : DONE,
	       0);
	machine_load_cr3();
	expect("an absent PDPTE", WRITE, TEST_VA, PF, 2);
	*pdpte = good;
	machine_load_cr3();
	expect("a PDPTE that is back", WRITE, TEST_VA, DONE, 0);
	pdpte = machine_slot(cpu.cr3 | 0xc0000000, 3);
	for (unsigned nr = 0; nr < 64; nr++) {
		unsigned vector;

		*pdpte = P | (entry_t)1 << nr;
		vector = oracle_pdpte_ok(&cpu, *pdpte) || deviation.unchecked_pdptes ? DONE : GP;
		expect("MOV CR3 with a PDPTE that has one more bit", LOAD_CR3, cpu.cr3, vector, 0);
	}
	*pdpte = 0;
	machine_load_cr3();
}
#endif

static void say_deviations(void)
{
	static const struct {
		const bool *found;
		const char *name;
	} names[] = {
		{ &deviation.walk_sets_a, "allowed: walk-sets-a" },
		{ &deviation.rsvd_without_p, "deviation: rsvd-without-p" },
		{ &deviation.bit8_ignored, "deviation: bit8-ignored" },
		{ &deviation.eager_a_1g, "deviation: eager-a-1g" },
		{ &deviation.implicit_honours_ac, "deviation: implicit-honours-ac" },
		{ &deviation.cached_honours_ac, "deviation: cached-honours-ac" },
		{ &deviation.late_pdptes, "deviation: late-pdptes" },
		{ &deviation.unchecked_pdptes, "deviation: unchecked-pdptes" },
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!*names[i].found)
			continue;
		put_text(names[i].name);
		put_text("\n");
	}
}

/* Finds out and says where this processor departs from the manuals. */
static void find_deviations(void)
{
	struct tree t = open_tree(1);

	cpu.wp = cpu.nxe = cpu.smep = cpu.smap = false;
	machine_set_controls(true);
	t.entry[1] = 0;
	place(&t);
	machine_access(READ, false, false, TEST_VA);
	deviation.walk_sets_a = *slots[2] & A;
	if (PAGING != 32) {
		t = open_tree(2);
		t.entry[2] |= HAS_NX ? NX : 1u << 21; /* NXE is off */
		place(&t);
		machine_access(READ, false, false, TEST_VA);
		deviation.rsvd_without_p = io.vector == PF && io.error == 8;
	}
#if LONG
	t = open_tree(1);
	t.entry[4] |= 1u << 8;
	place(&t);
	machine_access(READ, false, false, TEST_VA);
	deviation.bit8_ignored = features.amd && io.vector == DONE;
	cpu.amd_bit8 = cpu.amd_bit8 && !deviation.bit8_ignored;
	if (features.page_1g) {
		t = open_tree(3);
		t.entry[3] &= ~(entry_t)U;
		place(&t);
		machine_access(READ, true, false, TEST_VA);
		deviation.eager_a_1g = io.vector == PF && (*slots[3] & A);
	}
#elif PAGING == 36
	entry_t *pdpte = machine_slot(TEST_VA, 3), good = *pdpte;

	t = open_tree(1);
	place(&t);
	*pdpte = 0;
	machine_invlpg(TEST_VA);
	machine_access(READ, false, false, TEST_VA);
	deviation.late_pdptes = io.vector == PF;
	*pdpte = good | W;
	machine_access(LOAD_CR3, false, false, cpu.cr3);
	deviation.unchecked_pdptes = io.vector == DONE;
	*pdpte = good;
	machine_load_cr3();
	cpu.strict_pdpte = true;
#endif
	if (features.smap) {
		cpu.smap = true;
		machine_set_controls(true);
		t = open_tree(1);
		place(&t);
		machine_access(IMPLICIT, true, true, TEST_VA);
		deviation.implicit_honours_ac = io.vector == DONE;
		machine_access(READ, true, false, TEST_VA);
		machine_access(IMPLICIT, true, true, TEST_VA);
		deviation.cached_honours_ac = io.vector == DONE && !deviation.implicit_honours_ac;
	}
	say_deviations();
}

/* Says how many cases came since *before. */
static void part(const char *name, unsigned *before)
{
	put_text(name);
	put_text(": ");
	put_number(nr_cases - *before);
	put_text(" cases\n");
	*before = nr_cases;
}

void guest_main(void)
{
	unsigned before = 0;

	machine_init();
	machine_say_entry();
	for (unsigned level = 1; level <= TESTED_TOP; level++) {
		slots[level] = machine_slot(TEST_VA, level);
		pointer[level] = (*slots[level] & ~(entry_t)(A | D)) | P | W | U;
	}
	find_deviations();
	under_all_controls(try_rights);
	part("rights", &before);
	under_all_controls(try_marks);
	part("accessed and dirty", &before);
	under_all_controls(try_string_io);
	part("string input and output", &before);
	under_all_controls(try_pairs);
	try_toggles();
	part("one after the other", &before);
	under_all_controls(try_defects);
	part("absent, reserved, ignored", &before);
	if (features.pku)
		under_all_controls(try_keys);
	part("protection keys", &before);
	if (features.la57)
		expect("CR4.LA57 changed in long mode", LOAD_CR4, machine_cr4() ^ CR4_LA57, GP, 0);
	part("five levels on and off", &before);
	cpu.smep = cpu.smap = false;
	cpu.wp = true;
	cpu.nxe = features.nx;
	machine_set_controls(true);
	try_canonical();
	try_addresses();
	try_flushes();
	try_straddling();
	try_self_reference();
#if PAGING == 36
	try_pdptes();
#endif
	try_tables();
	part("addresses, flushes, tables as data", &before);
	try_random();
	part("edits at random", &before);
	put_text("paging ");
	put_text(MODE);
	put_text(": ");
	put_number(nr_cases);
	put_text(" cases, ");
	put_number(nr_wrong);
	put_text(" wrong\n");
	stop(nr_wrong == 0);
}
