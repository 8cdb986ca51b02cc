/*
 * Edits at random of tables that are in use, and an access after each that the oracle judges.
 *
 * A dozen pages serve as tables of any level. Their entries lead to each other and to
 * themselves, to memory, ROM, devices and nowhere; the root leads to itself too, and it is the
 * kernel's own. Edits go by the kernel's map of memory or through the tables themselves. The
 * tables that the kernel's own code lies behind are edited as well, in ways that leave it there.
 *
 * On the command line: seed=, else the time stamp counter; steps=, or seconds=.
 */
#include "tests/guest/paging/paging.h"

#include <stddef.h>

#define NR_POOL 12
#define NR_VAS 48
#define NR_CHOICES 8
#define PER_TABLE (FRAME / sizeof(entry_t))
#define SELF (PER_TABLE - 2)
#define STORED 0x5a5a5a5au /* by a WRITE, see entry.asm */

/* The level of the tables that a root entry of the random part leads to, less what PAE's root
 * can't take; how a VA of it begins. */
#define ARENA_TOP (PAGING == 36 ? 2 : TOP)

static uint64_t state;
static unsigned seed;
static entry_t *pool[NR_POOL], *root; /* root: the table of level ARENA_TOP */
static entry_t before[NR_POOL + 1][PER_TABLE];
static bool rom_is_rom, global_used, merged;

/* Addresses, and which change of a present entry they were flushed after. */
static struct {
	uintptr_t va;
	unsigned flushed;
} vas[NR_VAS];
static unsigned changes;

/* xorshift64* */
static unsigned rnd(unsigned below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (unsigned)((state * 0x2545f4914f6cdd1dull) >> 40) % below;
}

/* Indices that the random part uses: one is overwritten by WRITE, one is the table's own. */
static unsigned random_index(void)
{
	static const unsigned choices[NR_CHOICES] = {
		1, 2, 160, 240, WRITE_AT / sizeof(entry_t), 300, SELF, SELF,
	};

	return choices[rnd(NR_CHOICES)];
}

/* The root's entries for it: where nothing of the kernel's is. */
static unsigned random_root_index(void)
{
	static const unsigned choices[4] = { PER_TABLE - 12, PER_TABLE - 11, PER_TABLE - 40, SELF };

	return choices[rnd(4)];
}

static uintptr_t canonical(uintptr_t va)
{
#if LONG
	return (uintptr_t)((intptr_t)(va << (52 - INDEX_BITS * TOP)) >> (52 - INDEX_BITS * TOP));
#else
	return PAGING == 36 ? (va & 0x3fffffff) | 0x40000000 : va;
#endif
}

static uintptr_t random_va(void)
{
	uintptr_t va = random_root_index();

	if (rnd(8) == 0) /* the kernel's own map: data, or its code */
		return rnd(2) ? DATA_FRAMES + rnd(2048) * FRAME
			      : ((uintptr_t)guest_main & -(uintptr_t)FRAME);
	for (unsigned level = ARENA_TOP - 1; level > 0; level--)
		va = va << INDEX_BITS | random_index();
	return canonical(va << 12);
}

/* What an access may do where it goes. */
enum place { DATA, TABLE, ROM, DEVICE, NOTHING, KERNEL };

static bool in_pool(uint64_t pa)
{
	for (unsigned i = 0; i < NR_POOL; i++)
		if (pa - (uintptr_t)pool[i] < FRAME)
			return true;
	return false;
}

static enum place place_of(uint64_t pa)
{
	if (pa >= MEMORY_END)
		return NOTHING;
	if (pa >= DATA_FRAMES)
		return DATA;
	if (pa >= 0xa0000 && pa < 0x100000)
		return pa >= 0xf0000 && rom_is_rom ? ROM : DEVICE;
	return in_pool(pa) ? TABLE : KERNEL;
}

/* The entries that a walk of va reads. False: it comes to a table that is none. */
struct path {
	unsigned nr;
	entry_t *slot[TOP], was[TOP];
};

static bool find_path(uintptr_t va, struct path *p)
{
	entry_t *table = (entry_t *)(uintptr_t)cpu.cr3;

	p->nr = 0;
	for (unsigned level = TOP; level > 0; level--) {
		entry_t *slot = table + machine_index(va, level), e = *slot;
		uint64_t next = e & machine_address_bits(level, false);

		p->slot[p->nr] = slot;
		p->was[p->nr++] = e;
		if (!(e & P) || level == 1 || ((e & PS) && level < TOP && PAGING != 32))
			return true;
		if (!machine_is_table(next) && place_of(next) != DATA)
			return false;
		table = (entry_t *)(uintptr_t)next;
	}
	return true;
}

static uint64_t random_target(void)
{
	switch (rnd(10)) {
	case 0:
		return 0xf0000 + rnd(16) * FRAME;
	case 1:
		return rnd(2) ? 0xa0000 : 0;
	case 2:
		return HAS_NX && rnd(2) ? 1ull << 32 : 0x2000000 + rnd(4) * FRAME;
	case 3:
		return DATA_FRAMES + rnd(4) * 0x200000;
	case 4:
	case 5:
		return DATA_FRAMES + rnd(2048) * FRAME;
	default:
		return (uintptr_t)pool[rnd(NR_POOL)];
	}
}

/* What an entry becomes: of that level mostly, but as each page is a table of any level, of others
 * too. */
static entry_t random_entry(entry_t old, unsigned level)
{
	const entry_t flags[] = { W, U, A, D, PS, A, W, U };
	entry_t e = old;

	if (rnd(3) || !(e & P)) {
		e = level > 1 && rnd(5) ? (uintptr_t)pool[rnd(NR_POOL)] : (entry_t)random_target();
		e |= P | W | U;
		if (level > 1 && level < TOP && !in_pool(e))
			e |= PS;
	}
	for (unsigned n = rnd(3); n > 0; n--)
		e ^= flags[rnd(8)];
	if (rnd(12) == 0)
		e ^= P;
	if (rnd(16) == 0)
		e ^= (entry_t)1 << (9 + rnd(3));
	if (HAS_NX && features.nx && rnd(12) == 0)
		e ^= NX;
	if (HAS_NX && rnd(40) == 0)
		e ^= (entry_t)((uint64_t)1 << (46 + rnd(17)));
	if (global_used && rnd(6) == 0)
		e ^= G;
	return e;
}

/* An entry's new value, by one instruction: it may be what the store itself goes by. */
static void store(entry_t *at, entry_t e)
{
#if PAGING == 36
	while (!__sync_bool_compare_and_swap(at, *at, e))
		;
#else
	*(volatile entry_t *)at = e;
#endif
}

/* Through the tables: where va, an address in the tables' map of themselves, leads to slot and may
 * be written. */
static bool store_through(uintptr_t va, entry_t *slot, entry_t e)
{
	struct oracle_access a = { .write = true };
	struct oracle_result res;
	struct path p;

	cpu.ac = false;
	if (!find_path(va, &p))
		return false;
	ask_oracle(va, a, &res);
	if (!res.ok || res.pa != (uintptr_t)slot)
		return false;
	machine_invlpg(va);
	store((entry_t *)va, e);
	return true;
}

/* Change an entry of the path of an address, or any of the pool's. */
static void edit_table(void)
{
	uintptr_t va = vas[rnd(NR_VAS)].va, self;
	entry_t *slot = pool[rnd(NR_POOL)] + random_index(), e;
	struct path p;
	unsigned level = 0;

	if (va >= MEMORY_END && rnd(3) && find_path(va, &p)) {
		unsigned nr = rnd(p.nr);

		level = TOP - nr;
		if (in_pool((uintptr_t)p.slot[nr]) ||
		    (p.slot[nr] >= root && p.slot[nr] < root + PER_TABLE &&
		     (unsigned)(p.slot[nr] - root) >= PER_TABLE - 40 && p.slot[nr] != root + SELF))
			slot = p.slot[nr];
		else
			level = 0;
	}
	if (*slot & P)
		changes++;
	e = random_entry(*slot, level ? level : 1 + rnd(ARENA_TOP));
	if (level && rnd(2)) {
		/* SELF as often as the level says, then the indices of va down to it. */
		unsigned shift = INDEX_BITS * level;

		self = 0;
		for (unsigned n = 0; n < level; n++)
			self = self << INDEX_BITS | SELF;
		self = self << (12 + INDEX_BITS * (ARENA_TOP - level));
		if (level < ARENA_TOP)
			self |= (va &
				 (((uintptr_t)1 << (12 + INDEX_BITS * ARENA_TOP - 1) << 1) - 1)) >>
					shift &
				-(uintptr_t)FRAME;
		self = canonical(self) | ((uintptr_t)slot & (FRAME - 1));
		if (store_through(self, slot, e))
			return;
	}
	store(slot, e);
}

static void flush_all(void)
{
	if (global_used) {
		machine_write_cr4(machine_cr4() ^ CR4_PGE);
		machine_write_cr4(machine_cr4() ^ CR4_PGE);
	}
	if (!global_used || PAGING == 36) /* for the PDPTEs */
		machine_load_cr3();
	for (unsigned i = 0; i < NR_VAS; i++)
		vas[i].flushed = changes;
}

/* A and D, and bits that are software's, of the entries that this kernel runs by. */
static void mark_own(void)
{
	uintptr_t va = (uintptr_t)guest_main + rnd(8) * FRAME;
	unsigned level = 1 + rnd(TESTED_TOP < TOP ? TESTED_TOP : TOP);

	if (merged && level == 1)
		level = 2;
	*machine_slot(va, level) ^= (entry_t)1 << (rnd(2) ? 5 + rnd(2) : 9 + rnd(3));
	if (!(*machine_slot(va, level) & A) || rnd(2))
		machine_invlpg(va);
	changes++;
}

/* The table of that level that this kernel runs by goes to another page, and is no more. */
static void move_own(void)
{
	static entry_t *spare[TESTED_TOP + 1];
	uintptr_t va = (uintptr_t)guest_main;
	unsigned level = 1 + rnd(TESTED_TOP < TOP ? TESTED_TOP : TOP - 1);
	entry_t *link, *old, *new;

	if (merged || level >= TOP)
		return;
	link = machine_slot(va, level + 1);
	old = (entry_t *)(uintptr_t)(*link & machine_address_bits(level + 1, false));
	if (!spare[level])
		spare[level] = machine_new_table();
	new = spare[level];
	for (unsigned i = 0; i < PER_TABLE; i++)
		new[i] = old[i];
	store(link, (uintptr_t) new | (*link & (PAGING == 36 && level == 2 ? P : FRAME - 1)));
	changes++;
	flush_all();
	for (unsigned i = 0; i < PER_TABLE; i++)
		old[i] = 0;
	spare[level] = old;
}

/* The page of 4 or 2 MiB that this kernel lies in comes and goes. */
static void split_own(void)
{
	static entry_t table;
	entry_t *link = machine_slot((uintptr_t)guest_main, 2);

	if (PAGING == 32)
		return;
	if (!merged)
		table = *link;
	store(link, merged ? table : (entry_t)(P | W | A | D | PS));
	merged = !merged;
	changes++;
	flush_all();
}

#if PAGING == 36
/* Another table of level 2, or none, until the next time. */
static void change_pdpte(void)
{
	entry_t *pdpte = (entry_t *)(uintptr_t)cpu.cr3 + 1;

	store(pdpte, rnd(4) ? (uintptr_t)root | P : rnd(2) ? (uintptr_t)pool[0] | P : 0);
	changes++;
	flush_all();
}
#endif

static void edit(void)
{
	switch (rnd(40)) {
	case 0:
		split_own();
		break;
	case 1:
		move_own();
		break;
	case 2:
	case 3:
		mark_own();
		break;
#if PAGING == 36
	case 4:
		change_pdpte();
		break;
#endif
	default:
		edit_table();
	}
}

static void describe(uintptr_t va, const struct path *p, enum access_kind kind, bool user,
		     const struct oracle_result *res)
{
	put_field(" at ", va);
	put_text(", seed ");
	put_number(seed);
	put_field(", kind ", kind);
	put_text(user ? ", user" : ", supervisor");
	put_text(cpu.ac ? ", AC" : "");
	put_text(cpu.wp ? ", WP" : "");
	put_text(cpu.nxe ? ", NXE" : "");
	put_text(cpu.smep ? ", SMEP" : "");
	put_text(cpu.smap ? ", SMAP" : "");
	put_field("; cr3 ", cpu.cr3);
	for (unsigned i = 0; i < p->nr; i++) {
		put_field(" [", (uintptr_t)p->slot[i]);
		put_field("] ", p->was[i]);
		put_field("->", *p->slot[i]);
	}
	put_field("; expected vector ", res->ok ? DONE : PF);
	put_field(" code ", res->error);
	put_field(" pa ", res->pa);
	put_field("; seen ", io.vector);
	put_field(" code ", io.error);
	put_field(" CR2 ", io.cr2);
	put_field(" value ", io.value);
	put_text("\n");
}

static const entry_t *page_of(unsigned i)
{
	return i < NR_POOL ? pool[i] : root;
}

static void remember(void)
{
	for (unsigned i = 0; i <= NR_POOL; i++)
		for (unsigned n = 0; n < PER_TABLE; n++)
			before[i][n] = page_of(i)[n];
}

/* Does the access write to this entry, and what becomes of it then? */
static entry_t expected_entry(const entry_t *at, entry_t was, enum access_kind kind,
			      const struct oracle_result *res)
{
	uint64_t pa = (uintptr_t)at;

	for (unsigned i = 0; i < res->nr_writes; i++)
		if (res->write[i].pa == pa)
			was = (entry_t)res->write[i].val;
	if (res->ok && kind == WRITE && (res->pa & -(uint64_t)sizeof(entry_t)) == pa)
		was = (entry_t)((was & ~(entry_t)0xffffffff) | STORED);
	return was;
}

/* A that a walk which faults may set: is this entry on it? */
static bool may_mark(const struct path *p, const entry_t *at, const struct oracle_result *res)
{
	if (res->ok || !(deviation.walk_sets_a || deviation.eager_a_1g))
		return false;
	for (unsigned i = 0; i < p->nr; i++)
		if (p->slot[i] == at && (p->was[i] & P))
			return true;
	return false;
}

/* One that this kernel runs by: it sets A and D at any time. */
static bool is_own(const entry_t *at)
{
	if (in_pool((uintptr_t)at))
		return false;
	return at < root + PER_TABLE - 40 || at >= root + PER_TABLE;
}

static bool entry_good(const struct path *p, const entry_t *at, entry_t was, enum access_kind kind,
		       const struct oracle_result *res)
{
	entry_t want = expected_entry(at, was, kind, res);

	if (is_own(at))
		return ((*at ^ want) & ~(entry_t)(A | D)) == 0;
	return *at == want || (may_mark(p, at, res) && *at == (want | A));
}

static const char *wrong_tables(const struct path *p, enum access_kind kind,
				const struct oracle_result *res)
{
	for (unsigned i = 0; i < p->nr; i++)
		if (!entry_good(p, p->slot[i], p->was[i], kind, res))
			return "an entry of the path";
	for (unsigned i = 0; i <= NR_POOL; i++)
		for (unsigned n = 0; n < PER_TABLE; n++)
			if (page_of(i)[n] != before[i][n] &&
			    !entry_good(p, page_of(i) + n, before[i][n], kind, res))
				return "another entry";
	return NULL;
}

static uint32_t word_at(uint64_t pa)
{
	return *(volatile uint32_t *)(uintptr_t)pa;
}

/* What is wrong with the outcome in io; NULL: nothing. was: the word there before. */
static const char *wrong_outcome(uintptr_t at, enum access_kind kind, uint32_t was,
				 const struct oracle_result *res)
{
	enum place place = place_of(res->pa);

	if (!res->ok) {
		if (io.vector != PF)
			return "the fault";
		return io.error != res->error ? "the error code" : io.cr2 != at ? "CR2" : NULL;
	}
	if (io.vector != DONE)
		return "the fault";
	if (place == NOTHING || place == DEVICE)
		return NULL;
	if (kind == READ && (uint32_t)io.value != word_at(res->pa))
		return "what was read";
	if (kind == WRITE && word_at(res->pa) != (place == ROM ? was : STORED))
		return "what was written";
	return NULL;
}

/* A hypervisor does INS and OUTS by the manuals, also where this processor departs from them. */
static bool not_the_processors(enum access_kind kind, const struct oracle_result *res)
{
	if (kind != OUTS && kind != INS)
		return false;
	return (deviation.rsvd_without_p && !res->ok && (res->error & 8)) ||
	       (deviation.bit8_ignored && global_used);
}

/* What may be done there without harm. */
static bool harmless(enum access_kind kind, const struct oracle_result *res)
{
	enum place place = place_of(res->pa);

	if (!res->ok || kind == READ || place == DATA)
		return true;
	if (place == TABLE)
		return kind == WRITE || kind == OUTS;
	return kind == WRITE && place != KERNEL;
}

static unsigned offset_of(enum access_kind kind)
{
	return kind == FETCH                  ? 0
	       : kind == IMPLICIT             ? LDT_AT
	       : kind == READ || kind == OUTS ? READ_AT
					      : WRITE_AT;
}

/* One access to the page at va, judged. */
static void try_one(uintptr_t va)
{
	enum access_kind kind = rnd(2) ? rnd(2) : rnd(LOAD_CR3);
	bool user = !merged && (kind == IMPLICIT || rnd(2));
	struct oracle_access a = { .user = user };
	struct oracle_result res = { .ok = false };
	const char *wrong = NULL;
	struct path p;
	uint32_t was = 0;

	if (!find_path(va, &p) || (kind == IMPLICIT && !user)) {
		count_case(NULL);
		return;
	}
	cpu.ac = cpu.smap && kind != IMPLICIT && rnd(4) == 0;
	for (unsigned tries = 0; tries < 2; tries++) {
		a.write = kind == WRITE || kind == INS;
		a.fetch = kind == FETCH;
		a.implicit = kind == IMPLICIT;
		ask_oracle(va + offset_of(kind), a, &res);
		if (harmless(kind, &res) && !not_the_processors(kind, &res))
			break;
		kind = READ;
	}
	if (res.ok && res.pa < MEMORY_END)
		was = word_at(res.pa & ~3ull);
	if (res.ok && kind == WRITE && place_of(res.pa) == TABLE && (was & P))
		changes++;
	remember();
	if (kind == IMPLICIT)
		machine_set_ldt(va);
	machine_access(kind, user, cpu.ac, va);
	wrong = wrong_outcome(va + offset_of(kind), kind, was, &res);
	if (!wrong)
		wrong = wrong_tables(&p, kind, &res);
	if (count_case(wrong))
		describe(va, &p, kind, user, &res);
}

/* Some edits, what is to be flushed after them, and an access. */
static void step(void)
{
	unsigned i = rnd(NR_VAS);
	struct path p;

	for (unsigned n = rnd(4); n > 0; n--)
		edit();
	if (rnd(16) == 0)
		flush_all();
	if (rnd(16) == 0) {
		vas[i].va = random_va();
		vas[i].flushed = changes - 1;
	}
	for (unsigned tries = 0; tries < 8 && !find_path(vas[i].va, &p); tries++)
		i = rnd(NR_VAS);
	if (vas[i].flushed != changes || rnd(16) == 0) {
		machine_invlpg(vas[i].va);
		vas[i].flushed = changes;
	}
	try_one(vas[i].va);
}

/* New tables under other controls. */
static void begin(void)
{
	cpu.wp = rnd(4);
	cpu.smep = features.smep && rnd(2);
	cpu.smap = features.smap && rnd(2);
	cpu.nxe = features.nx && rnd(4);
	cpu.pke = features.pku && rnd(2);
	machine_set_controls(true);
	machine_set_pkru(cpu.pke ? rnd(1u << 24) << 2 : 0);
	global_used = features.pge; /* by what was before */
	flush_all();
	global_used = features.pge && rnd(2);
	for (unsigned i = 0; i < NR_POOL; i++)
		for (unsigned n = 0; n < PER_TABLE; n++)
			store(pool[i] + n, 0);
	for (unsigned i = 0; i < NR_POOL; i++)
		for (unsigned n = 0; n < 12; n++)
			store(pool[i] + random_index(), random_entry(0, 1 + rnd(ARENA_TOP)));
	for (unsigned i = PER_TABLE - 40; i < PER_TABLE; i++)
		if (i == PER_TABLE - 12 || i == PER_TABLE - 11 || i == PER_TABLE - 40)
			store(root + i, (uintptr_t)pool[rnd(NR_POOL)] | P | W | U);
	store(root + SELF, (uintptr_t)root | P | W | A);
	changes++;
	for (unsigned i = 0; i < NR_VAS; i++) {
		vas[i].va = random_va();
		vas[i].flushed = changes - 1;
	}
}

static void set_up(void)
{
	volatile uint32_t *rom = (volatile uint32_t *)(uintptr_t)(0xf0000 + WRITE_AT);
	uint32_t was = *rom;

	*rom = ~was;
	rom_is_rom = *rom == was;
	for (unsigned i = 0; i < NR_POOL; i++)
		pool[i] = machine_new_table();
#if PAGING == 36
	root = machine_new_table();
	((entry_t *)(uintptr_t)cpu.cr3)[1] = (uintptr_t)root | P;
	machine_load_cr3();
#else
	root = (entry_t *)(uintptr_t)cpu.cr3;
#endif
}

void try_random(void)
{
	unsigned steps = machine_option("steps=", 20000), seconds = machine_option("seconds=", 0);
	unsigned long long stamp = __builtin_ia32_rdtsc();
	unsigned second = rtc_read(0);

	seed = machine_option("seed=", (unsigned)stamp % 1000000000u);
	state = seed * 0x9e3779b97f4a7c15ull + 1;
	put_text("seed ");
	put_number(seed);
	put_text("\n");
	set_up();
	for (unsigned n = 0; seconds || n < steps; n++) {
		if (n % 200 == 0)
			begin();
		step();
		if (seconds && n % 64 == 0 && rtc_read(0) != second) {
			second = rtc_read(0);
			if (--seconds == 0)
				return;
		}
	}
}
