/*
 * Random guests on their shadow, against the oracle: small worlds of tables that refer to each
 * other in any way, edited by the guest through whatever maps them, while it switches roots,
 * modes and control bits, and memory changes under it. After an edit that takes something away
 * the guest invalidates what it must, and no more; then every access has to end as the oracle
 * says, with the same marks in the guest's tables.
 * Once with a fixed seed, once with a fresh one, which is printed; SHADOW_SEED=n repeats it,
 * SHADOW_TRACE=1 prints every step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "tests/host/fake_random.h"
#include "tests/host/shadow_fixture.h"
#include "tests/host/shadow_machine.h"

#define FIXED_SEED UINT64_C(0x736861646f77)
#define WORLDS 6
#define STEPS 1500

static uint64_t rng;

static uint64_t next(void)
{
	return fake_random64(&rng);
}

static unsigned below(unsigned n)
{
	return (unsigned)(next() % n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

static bool tracing;

static void trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void trace(const char *fmt, ...)
{
	va_list ap;

	if (!tracing)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fflush(stdout);
}

/* --- the world --- */

/* Frames that tables lie in. The last two have no memory. */
static const uint64_t tables[] = {
	FX_SCATTERED,
	FX_SCATTERED + PAGE_SIZE,
	FX_SCATTERED + 17 * PAGE_SIZE,
	FX_SCATTERED + 77 * PAGE_SIZE,
	FX_SCATTERED + 255 * PAGE_SIZE,
	FX_SCATTERED + 256 * PAGE_SIZE,
	FX_SCATTERED + 300 * PAGE_SIZE,
	FX_SCATTERED + 511 * PAGE_SIZE,
	FX_LARGE,
	FX_LARGE + 256 * PAGE_SIZE,
	FX_LARGE4 + 511 * PAGE_SIZE,
	FX_SKEWED + PAGE_SIZE,
	FX_DISK,
	FX_AFTER + 3 * PAGE_SIZE,
	FX_HIGH + PAGE_SIZE,
	FX_ROM,
	FX_DEVICE,
	FX_HOLE,
};
#define NR_REAL (ARRAY_SIZE(tables) - 2)

/* Other pages that an entry may map. */
static const uint64_t data[] = {
	FX_SCATTERED + 2 * PAGE_SIZE,
	FX_SCATTERED + 3 * PAGE_SIZE,
	FX_LARGE + PAGE_SIZE,
	FX_LARGE + 2 * PAGE_SIZE,
	FX_LARGE4 + 256 * PAGE_SIZE,
	FX_ROM + PAGE_SIZE,
	FX_DEVICE + PAGE_SIZE,
	FX_DISK + PAGE_SIZE,
	FX_DISK + 2 * PAGE_SIZE,
	FX_AFTER,
	FX_AFTER + PAGE_SIZE,
	FX_SKEWED,
	FX_SKEWED + 511 * PAGE_SIZE,
	FX_HOLE + PAGE_SIZE,
	FX_HIGH,
	FX_HIGH + MIB(2),
};
static const uint64_t large[] = {
	0,         FX_LARGE, FX_LARGE4, MIB(6),           MIB(8),
	FX_SKEWED, FX_HOLE,  FX_HIGH,   FX_HIGH + MIB(2), FX_GIB,
};
static const uint64_t huge[] = { 0, FX_GIB, GIB(3), FX_HIGH };

static struct world {
	uint64_t seed;
	unsigned number, step;
	uint64_t max_bytes;
	enum pt_kind kinds[3];
	enum pt_kind kind;
	/* The only entries of tables that are ever not 0, as 8-byte ones: nr_slots that are
	 * written, and behind them what only the seed of PDPTEs has filled. */
	unsigned slots[6 + 3], nr_slots, nr_filled;
	uint8_t walked[GIB(5) / PAGE_SIZE / 8]; /* frames that have been walked as tables */
	/* Pages that were reached lately; pages that let the kernel write to tables. */
	uint64_t recent[16], window[8];
	unsigned nr_recent, nr_window;
	bool neat; /* hardly a reserved bit is set */
	char where[160];
} world;

static struct {
	unsigned done, fault[64], device, large, huge, edits, flushes, pages, exits, low;
	uint64_t reclaimed, unsynced, emulated, splintered;
} seen;

static bool has_long_mode(void)
{
	return world.kind == PT_4LEVEL || world.kind == PT_5LEVEL;
}

static unsigned entry_size(void)
{
	return world.kind == PT_32 ? 4 : 8;
}

#define PICK(list) ((list)[below(ARRAY_SIZE(list))])

static unsigned some_slot(void)
{
	return world.slots[below(world.nr_slots)];
}

static bool is_slot(unsigned index)
{
	for (unsigned i = 0; i < world.nr_slots; i++)
		if (world.slots[i] == index)
			return true;
	return false;
}

static uint64_t leaf_target(unsigned how)
{
	switch (how) {
	case 0:
		return PICK(large);
	case 1:
		return PICK(huge);
	default:
		return one_in(3) ? PICK(tables) : PICK(data);
	}
}

/* An entry of any level, mostly a good one. */
static uint64_t some_entry(unsigned size)
{
	uint64_t e = BIT(0), to;

	if (one_in(6))
		return one_in(2) ? 0 : next() & (size == 8 ? ~UINT64_C(1) : BITS(31, 1));
	e |= one_in(5) ? 0 : BIT(1);
	e |= one_in(4) ? 0 : BIT(2);
	e |= next() & (BIT(5) | BIT(6) | BITS(11, 9));
	e |= one_in(16) ? next() & BITS(4, 3) : 0;
	e |= one_in(world.neat ? 60 : 5) ? BIT(8) : 0;
	if (one_in(world.neat ? 6 : 3)) {
		e |= one_in(12) ? 0 : BIT(7);
		to = leaf_target(size == 8 && one_in(5));
	} else {
		to = one_in(4) ? leaf_target(2)
			       : tables[below(one_in(6) ? ARRAY_SIZE(tables) : NR_REAL)];
		e |= one_in(world.neat ? 100 : 24) ? BIT(7) : 0;
	}
	if (size == 4) {
		e |= to & BITS(31, 12);
		return to >> 32 && (e & BIT(7)) ? e | (to >> 32 & 0xff) << 13 : e;
	}
	e |= to;
	e |= one_in(8) ? BIT(63) : 0;
	if (has_long_mode())
		e |= one_in(3) ? (uint64_t)below(3) << 59 : 0;
	return one_in(world.neat ? 200 : 40) ? e | BIT(12 + below(40)) : e;
}

static void note_walk(uint64_t gpa)
{
	uint64_t page = gpa / PAGE_SIZE;

	if (page / 8 < sizeof(world.walked))
		world.walked[page / 8] |= (uint8_t)BIT(page % 8);
}

static bool was_walked(uint64_t gpa)
{
	uint64_t page = gpa / PAGE_SIZE;

	return page / 8 < sizeof(world.walked) && (world.walked[page / 8] >> (page % 8) & 1);
}

/* Fill the tables, before anyone looks at them. */
static void seed_tables(void)
{
	unsigned size = entry_size();

	for (unsigned i = 0; i < NR_REAL; i++) {
		for (unsigned j = 0; j < world.nr_slots; j++)
			for (unsigned k = 0; k < 8; k += size)
				fx_set(tables[i] + world.slots[j] * 8 + k, size, some_entry(size));
		/* PDPTEs. */
		for (unsigned j = 0; world.kind == PT_PAE && j < 4 && i < 3; j++)
			fx_set(tables[i] + 8 * j, 8, PICK(tables) | (one_in(6) ? 0 : 1));
	}
}

/* --- addresses --- */

static unsigned nr_levels(void)
{
	return world.kind == PT_5LEVEL   ? 5
	       : world.kind == PT_4LEVEL ? 4
	       : world.kind == PT_PAE    ? 3
					 : 2;
}

/* The number of indices of that level that some_page() may take and that lead to anything, and the
 * i-th of them. */
static unsigned nr_indices(unsigned level)
{
	if (world.kind == PT_PAE && level == 2)
		return 4;
	if (world.kind == PT_32)
		return 2 * world.nr_filled;
	return level < 2 ? world.nr_filled : world.nr_slots;
}

static unsigned index_of(unsigned level, unsigned i)
{
	if (world.kind == PT_PAE && level == 2)
		return i;
	return world.kind == PT_32 ? 2 * world.slots[i / 2] + i % 2 : world.slots[i];
}

static unsigned shift_of(unsigned level)
{
	return 12 + (world.kind == PT_32 ? 10 : 9) * level;
}

/* As the mode has it: an address kept from another one may be none in this. */
static uint64_t canonical(uint64_t va)
{
	unsigned bits = world.kind == PT_5LEVEL ? 57 : has_long_mode() ? 48 : 32;

	va &= BIT(bits) - 1;
	return has_long_mode() && (va >> (bits - 1) & 1) ? va | ~(BIT(bits) - 1) : va;
}

/* The page that these indices lead to, counted through. False: that was all. */
static bool nth_page(unsigned n, uint64_t *va)
{
	*va = 0;
	for (unsigned level = 0; level < nr_levels(); level++) {
		*va |= (uint64_t)index_of(level, n % nr_indices(level)) << shift_of(level);
		n /= nr_indices(level);
	}
	*va = canonical(*va);
	return n == 0;
}

static bool paging(void)
{
	return mc.gp.cr0 & CR0_PG;
}

static uint64_t some_page(void)
{
	uint64_t va = 0;

	if (paging() && world.nr_recent && one_in(2))
		return canonical(
			world.recent[below(MIN(world.nr_recent, ARRAY_SIZE(world.recent)))]);

	if (!paging())
		return (one_in(3) ? PICK(data) : PICK(tables)) & UINT32_MAX;
	for (unsigned level = 0; level < nr_levels(); level++)
		va |= (uint64_t)index_of(level, below(nr_indices(level))) << shift_of(level);
	/* Elsewhere in a large page. */
	if (one_in(4)) {
		uint64_t low = (one_in(3) ? PICK(data) : PICK(tables)) & BITS(20, 12);

		va = (va & ~BITS(20, 12)) | low;
		if (one_in(4))
			va = (va & ~BITS(29, 21)) | ((uint64_t)below(6) << 21);
	}
	return canonical(va);
}

/* Only the entries that may be other than 0 are ever written. */
static uint64_t some_address(unsigned size)
{
	return some_page() + some_slot() * 8 + below(8 / size) * size;
}

/* --- what the guest has to invalidate --- */

/* Does e stand for all that old stood for? */
static bool takes_away(uint64_t old, uint64_t e)
{
	if (!(old & 1) || e == old)
		return false;
	return (old ^ e) & ~((e & BIT(1)) | (e & BITS(6, 5)) | (old & BIT(63)));
}

static void flush_all(void)
{
	bool pge = mc.gp.cr4 & CR4_PGE;

	trace("  flush\n");
	seen.flushes++;
	if (pge) {
		mc.gp.cr4 &= ~CR4_PGE;
		mc_load();
		mc.gp.cr4 |= CR4_PGE;
	}
	mc_load();
}

/* What is to be invalidated once the entry at gpa has changed. */
struct stale {
	bool all;
	unsigned n;
	uint64_t va[8], size[8];
};

/* Every way by which an entry may be cached: as the last of a walk, or on it. */
static void find_stale(uint64_t gpa, struct stale *st)
{
	unsigned size = entry_size();
	uint64_t va;

	gpa = ALIGN_DOWN(gpa, size);
	for (unsigned n = 0; nth_page(n, &va); n++) {
		struct oracle_result res;

		mc_oracle(va, false, false, false, &res);
		for (unsigned i = 0; i < mc.nr_walk; i++) {
			if (ALIGN_DOWN(mc.walk[i].gpa, size) != gpa)
				continue;
			if (i + 1 < mc.nr_walk || st->n == ARRAY_SIZE(st->va)) {
				st->all = true;
				return;
			}
			if (mc.walk_leaf) {
				st->size[st->n] = res.size;
				st->va[st->n++] = va;
			}
		}
	}
}

/* The value that an entry will have when val is written over a part of it. */
static uint64_t merged(uint64_t old, uint64_t gpa, unsigned size, uint64_t val)
{
	unsigned at = 8 * (gpa % entry_size());
	uint64_t mask = size == 8 ? ~UINT64_C(0) : (BIT(8 * size) - 1) << at;

	return (old & ~mask) | (val << at & mask);
}

/* The entry at gpa once the walk for the write has marked its own entries. */
static uint64_t marked_entry(const struct oracle_result *walk, uint64_t gpa)
{
	uint64_t e = fx_model_get(gpa, entry_size());

	for (unsigned i = 0; i < walk->nr_writes; i++)
		if (walk->write[i].pa == gpa)
			e = walk->write[i].val;
	return e;
}

/* Before a write of val to gpa: what will have to go then? */
static void plan_flush(uint64_t gpa, unsigned size, uint64_t val, struct stale *st)
{
	const struct oracle_result walk = mc.last;
	unsigned es = entry_size();

	*st = (struct stale){ 0 };
	if (!paging() || !was_walked(gpa))
		return;
	for (unsigned i = 0; i < size; i += es) {
		uint64_t at = ALIGN_DOWN(gpa, es) + i, old = marked_entry(&walk, at);
		uint64_t e = size >= es ? val >> (8 * i) : merged(old, gpa, size, val);

		if (es == 4)
			e &= UINT32_MAX;
		if (takes_away(old, e))
			find_stale(at, st);
	}
	if (one_in(8) && st->n)
		st->all = true;
}

static void invalidate(const struct stale *st)
{
	if (st->all) {
		flush_all();
		return;
	}
	for (unsigned i = 0; i < st->n; i++) {
		uint64_t va = ALIGN_DOWN(st->va[i], st->size[i]) + next() % st->size[i];

		trace("  invlpg %#llx%s\n", (unsigned long long)va,
		      fx.invlpg_exits ? " (exits)" : "");
		seen.exits += fx.invlpg_exits;
		seen.pages++;
		mc_invlpg(va);
	}
}

/* --- steps --- */

static void choose_privilege(void)
{
	mc.cpl = one_in(2) ? 3 : 0;
	mc.ac = one_in(2);
	mc.rip = 0x1000 + below(8);
	if (one_in(20)) {
		mc.gp.pkru = (uint32_t)next() & 0x3f;
		mc.gp.pkru &= (uint32_t)next();
	}
}

static void choose_access(struct mc_access *a, bool write)
{
	static const unsigned sizes[] = { 4, 8, 8 };
	unsigned size = PICK(sizes);

	*a = (struct mc_access){ .va = some_address(size), .size = size, .write = write };
	if (write)
		a->val = one_in(5) ? next() : some_entry(size);
	else
		a->fetch = one_in(3);
	/* With AC set and at CPL 0 nobody could tell it from an explicit one. */
	a->implicit = !a->fetch && one_in(8) && (mc.cpl == 3 || !mc.ac);
	if (size == 4)
		a->val &= UINT32_MAX;
}

static void note_result(const struct mc_access *a, const struct mc_result *r)
{
	seen.done += r->end == MC_DONE;
	seen.device += r->end == MC_DEVICE;
	if (r->end == MC_FAULT)
		seen.fault[r->error & 63]++;
	if (r->end == MC_DONE && paging()) {
		world.recent[world.nr_recent++ % ARRAY_SIZE(world.recent)] =
			ALIGN_DOWN(a->va, PAGE_SIZE);
		seen.large += mc.last.size == MIB(2) || mc.last.size == MIB(4);
		seen.huge += mc.last.size == GIB(1);
	}
}

static void run(struct mc_access *a, unsigned n)
{
	struct mc_access *w = &a[n - 1];
	struct oracle_result res;
	struct stale st = { 0 };
	struct mc_result r;

	if (w->write) {
		mc_oracle(w->va, true, false, mc.cpl == 3 && !w->implicit, &res);
		if (mc.last.ok)
			plan_flush(mc.last.pa, w->size, w->val, &st);
	}
	for (unsigned i = 0; i < n; i++)
		trace("  %c%u %#llx = %#llx cpl%u ac%d i%d\n",
		      a[i].write   ? 'w'
		      : a[i].fetch ? 'x'
				   : 'r',
		      a[i].size, (unsigned long long)a[i].va, (unsigned long long)a[i].val, mc.cpl,
		      mc.ac, a[i].implicit);
	mc_run(a, n, &r);
	trace("  -> %u error %#x gpa %#llx retries %u\n", r.end, r.error,
	      (unsigned long long)mc.last.pa, r.retries);
	note_result(w, &r);
	invalidate(&st);
}

static void step_access(void)
{
	struct mc_access a;

	choose_privilege();
	choose_access(&a, one_in(3));
	run(&a, 1);
}

static void step_instruction(void)
{
	struct mc_access a[MC_PARTS];
	unsigned n = 2 + below(MC_PARTS - 1);

	choose_privilege();
	for (unsigned i = 0; i < n; i++) {
		choose_access(&a[i], i == n - 1 && !one_in(4));
		a[i].fetch = i == 0;
		a[i].implicit = false;
		if (i && one_in(2))
			a[i].va = (a[i].va & (PAGE_SIZE - 1)) | ALIGN_DOWN(a[0].va, PAGE_SIZE);
	}
	run(a, n);
}

/* A page by which the kernel may write to a table that has been walked. */
static bool find_window(uint64_t *va)
{
	struct oracle_result res;

	for (unsigned i = 0; i < 60; i++) {
		*va = some_page();
		if (i < 8 && world.nr_window && paging())
			*va = canonical(world.window[below(
				MIN(world.nr_window, ARRAY_SIZE(world.window)))]);
		mc_oracle(*va, true, false, false, &res);
		if (!res.ok || !was_walked(res.pa))
			continue;
		if (paging())
			world.window[world.nr_window++ % ARRAY_SIZE(world.window)] = *va;
		return true;
	}
	return false;
}

/* Write an entry, through whatever maps a table. */
static void step_edit(void)
{
	struct mc_access a = { .size = entry_size(), .write = true };
	struct oracle_result res;

	mc.cpl = 0;
	mc.ac = true;
	mc.rip = 0x2000 + below(4);
	if (!find_window(&a.va))
		return;
	a.va += some_slot() * 8 + below(8 / a.size) * a.size;
	a.val = some_entry(a.size);
	/* Often just one bit of what is there. */
	mc_oracle(a.va, true, false, false, &res);
	if (one_in(3))
		a.val = fx_model_get(res.pa, a.size) ^ BIT(below(9));
	seen.edits++;
	run(&a, 1);
}

static void step_cr3(void)
{
	uint64_t cr3 = PICK(tables), pge = mc.gp.cr4 & CR4_PGE;

	if (!paging())
		return;
	if (world.kind == PT_PAE) {
		cr3 = tables[below(one_in(8) ? ARRAY_SIZE(tables) : 3)];
		if (cr3 > UINT32_MAX || !mc_load_pdptes(cr3))
			return;
	}
	if (world.kind == PT_32)
		cr3 &= UINT32_MAX;
	trace("  cr3 %#llx\n", (unsigned long long)cr3);
	mc.gp.cr3 = cr3 | (one_in(4) ? next() & 0x18 : 0);
	mc.gp.cr4 &= ~CR4_PGE;
	mc_load();
	if (pge) {
		mc.gp.cr4 |= CR4_PGE;
		mc_load();
	}
}

static void step_control(void)
{
	static const uint64_t cr4[] = { CR4_PSE, CR4_PGE, CR4_SMEP, CR4_SMAP, CR4_PKE };

	if (!paging())
		return;
	switch (below(4)) {
	case 0:
		mc.gp.cr0 ^= CR0_WP;
		break;
	case 1:
		mc.gp.efer ^= EFER_NXE;
		break;
	default:
		mc.gp.cr4 ^= PICK(cr4);
		break;
	}
	trace("  cr0 %#llx cr4 %#llx efer %#llx\n", (unsigned long long)mc.gp.cr0,
	      (unsigned long long)mc.gp.cr4, (unsigned long long)mc.gp.efer);
	mc_load();
}

static void start_paging(void)
{
	uint64_t cr4 = next() & (CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE);

	world.kind = world.kinds[below(ARRAY_SIZE(world.kinds))];
	mc_registers(world.kind, PICK(tables) & UINT32_MAX, cr4, !one_in(3));
	trace("  kind %u cr3 %#llx cr4 %#llx\n", world.kind, (unsigned long long)mc.gp.cr3,
	      (unsigned long long)mc.gp.cr4);
	if (world.kind == PT_PAE)
		for (unsigned i = 0; i < 4; i++)
			mc.gp.pdpte[i] = PICK(tables) | !one_in(6);
	if (one_in(3))
		mc.gp.cr0 &= ~CR0_WP;
	mc_load();
}

static void step_paging(void)
{
	if (!paging()) {
		start_paging();
		return;
	}
	trace("  paging off\n");
	mc.gp.cr0 &= ~CR0_PG;
	mc.gp.efer &= ~EFER_LMA;
	mc_load();
}

static void change_memory(uint64_t gpa)
{
	unsigned was = fx_hooks(gpa), how = was ? 0 : one_in(3) ? FX_HOOK_ALL : FX_HOOK_WRITES;

	if (fx_kind_at(gpa) == FX_IS_DISK && one_in(2)) {
		trace("  out %#llx\n", (unsigned long long)gpa);
		shadow_forget(mc.s, GPA(gpa), PAGE_SIZE);
		fx_swap_out(gpa);
		return;
	}
	if (gpa == FX_HOLE + PAGE_SIZE || gpa - FX_DEVICE < KIB(64))
		return;
	trace("  hook %#llx %u\n", (unsigned long long)gpa, how);
	if (one_in(2)) {
		shadow_forget(mc.s, GPA(gpa), PAGE_SIZE);
		fx_hook(gpa, how);
	} else {
		fx_hook(gpa, how);
		shadow_forget(mc.s, GPA(gpa), PAGE_SIZE);
	}
}

static void step_memory(void)
{
	uint64_t gpa = one_in(2) ? PICK(data) : tables[below(NR_REAL)];

	change_memory(gpa);
	/* A root that comes and goes is loaded anew. */
	if (ALIGN_DOWN(mc.gp.cr3, PAGE_SIZE) == gpa)
		mc_load();
}

static void step_check(void)
{
	mc_check_tables();
	if (one_in(3))
		mc_audit();
}

static const struct {
	void (*fn)(void);
	unsigned weight;
	const char *name;
} steps[] = {
	{ step_access, 50, "access" },  { step_instruction, 12, "instruction" },
	{ step_edit, 20, "edit" },      { step_cr3, 4, "cr3" },
	{ step_control, 3, "control" }, { step_paging, 1, "paging" },
	{ step_memory, 2, "memory" },   { step_check, 2, "check" },
};

static void one_step(void)
{
	unsigned total = 0, n, i;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		total += steps[i].weight;
	n = below(total);
	for (i = 0; n >= steps[i].weight; i++)
		n -= steps[i].weight;
	snprintf(world.where, sizeof(world.where),
		 "SHADOW_SEED=%#llx, world %u (kind %u), step %u (%s)",
		 (unsigned long long)world.seed, world.number, world.kind, world.step,
		 steps[i].name);
	trace("%u %s\n", world.step, steps[i].name);
	steps[i].fn();
}

static void start_world(const enum pt_kind *kinds, unsigned nr_slots, uint64_t max_bytes)
{
	static const unsigned slots[6] = { 0, 511, 256, 1, 255, 510 };
	static const uint8_t widths[] = { 36, 40, 46, 52 };
	uint64_t r = next();
	struct pt_caps caps = { .maxphyaddr = PICK(widths),
				.page_1g = r & 1,
				.pse36 = r & 2,
				.nonleaf_g_rsvd = r & 4,
				.strict_pdpte = r & 8 };

	mc_start(&caps, max_bytes);
	mc.what = world.where;
	mc.on_entry = note_walk;
	mc.refetch = r & 16;
	mc.forgetful = (r & 0xc00) == 0;
	fx.cut_targets = (r & 0x60) == 0;
	memcpy(world.kinds, kinds, sizeof(world.kinds));
	memcpy(world.slots, slots, sizeof(slots));
	memset(world.walked, 0, sizeof(world.walked));
	world.nr_slots = world.nr_filled = nr_slots;
	for (unsigned i = 1; kinds[0] == PT_PAE && i < 4; i++)
		if (!is_slot(i))
			world.slots[world.nr_filled++] = i;
	world.nr_recent = world.nr_window = 0;
	world.neat = r & 0x300;
	world.kind = kinds[0];
	seed_tables();
	start_paging();
}

static void run_worlds(uint64_t seed, const enum pt_kind *kinds, unsigned nr_slots,
		       uint64_t max_bytes)
{
	for (world.number = 0; world.number < WORLDS; world.number++) {
		const struct shadow_stats *st;

		world.seed = seed;
		rng = seed ^ ((uint64_t)world.number << 32) ^ kinds[0];
		start_world(kinds, nr_slots, max_bytes);
		for (world.step = 0; world.step < STEPS; world.step++)
			one_step();
		mc_check_tables();
		mc_audit();
		st = shadow_stats(mc.s);
		seen.reclaimed += st->reclaimed;
		seen.unsynced += st->unsynced;
		seen.emulated += st->emulated;
		seen.splintered += st->splintered;
		mc_stop();
	}
}

static uint64_t fresh_seed;

static void run_seeds(enum pt_kind a, enum pt_kind b, enum pt_kind c, unsigned nr_slots)
{
	const enum pt_kind kinds[3] = { a, b, c };

	memset(&seen, 0, sizeof(seen));
	run_worlds(FIXED_SEED, kinds, nr_slots, MIB(4));
	run_worlds(fresh_seed, kinds, nr_slots, SHADOW_MIN);
	if (getenv("SHADOW_SEEN")) {
		printf("done %u device %u large %u huge %u edits %u flushes %u invlpg %u exits %u "
		       "reclaimed %llu unsynced %llu emulated %llu splintered %llu\n",
		       seen.done, seen.device, seen.large, seen.huge, seen.edits, seen.flushes,
		       seen.pages, seen.exits, (unsigned long long)seen.reclaimed,
		       (unsigned long long)seen.unsynced, (unsigned long long)seen.emulated,
		       (unsigned long long)seen.splintered);
		for (unsigned i = 0; i < 64; i++)
			if (seen.fault[i])
				printf(" %#x:%u", i, seen.fault[i]);
		printf("\n");
	}
}

static void test_32(void **state)
{
	(void)state;
	run_seeds(PT_32, PT_32, PT_32, 5);
}

static void test_pae(void **state)
{
	(void)state;
	run_seeds(PT_PAE, PT_PAE, PT_PAE, 5);
}

static void test_4level(void **state)
{
	(void)state;
	run_seeds(PT_4LEVEL, PT_4LEVEL, PT_4LEVEL, 4);
}

static void test_5level(void **state)
{
	(void)state;
	run_seeds(PT_5LEVEL, PT_5LEVEL, PT_4LEVEL, 3);
}

static void test_mixed(void **state)
{
	(void)state;
	run_seeds(PT_PAE, PT_32, PT_4LEVEL, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_32),     cmocka_unit_test(test_pae),
		cmocka_unit_test(test_4level), cmocka_unit_test(test_5level),
		cmocka_unit_test(test_mixed),
	};
	const char *given = getenv("SHADOW_SEED");

	tracing = getenv("SHADOW_TRACE");
	fresh_seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
	printf("SHADOW_SEED=%#llx\n", (unsigned long long)fresh_seed);
	for (unsigned i = 0; i < 2; i++) {
		mc_shares = i;
		if (cmocka_run_group_tests(tests, NULL, NULL))
			return 1;
	}
	return 0;
}
