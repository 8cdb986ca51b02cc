/*
 * The engine against the oracle: random trees, addresses, accesses and control states.
 * Memory is a pseudo-random function of its address, so every address leads to some tree.
 * Once with a fixed seed, once with a fresh one, which is printed; PT_SEED=n repeats it.
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
#include "paging/guest.h"
#include "paging/pt.h"
#include "tests/host/oracle.h"

#define FIXED_SEED UINT64_C(0x756d627261)
#define TREES 60000
#define TRIES_PER_TREE 12

static uint64_t splitmix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t rng;

static uint64_t next(void)
{
	return rng = splitmix(rng);
}

static bool one_in(unsigned n)
{
	return next() % n == 0;
}

/* --- memory --- */

struct memory {
	uint64_t seed;
	bool ept;
	unsigned maxphyaddr;
	unsigned nr_writes; /* by the engine */
	struct oracle_write write[8];
	bool lose_race; /* the next cmpxchg finds another value */
};

/* Mostly good entries: each flag that could end a walk early is rare. */
static uint64_t x86_entry(const struct memory *m, uint64_t h, unsigned size)
{
	uint64_t e = h & (BITS(6, 3) | BITS(11, 9));

	e |= h >> 20 & 31 ? BIT(0) : 0;
	e |= h >> 25 & 7 ? BIT(1) : 0;
	e |= h >> 28 & 3 ? BIT(2) : 0;
	e |= h >> 30 & 3 ? 0 : BIT(7);
	e |= h >> 32 & 7 ? 0 : BIT(8);
	h = splitmix(h);
	e |= h & BITS(m->maxphyaddr - 1, 12);
	/* Large pages have reserved address bits: leave them clear half of the time. */
	if ((e & BIT(7)) && (h & 1))
		e &= ~(size == 8 ? BITS(29, 13) : h & 2 ? BIT(21) : BITS(21, 13));
	h = splitmix(h);
	if (size == 4)
		return e & BITS(31, 0);
	e |= h & 15 ? 0 : BIT(63);
	e |= h >> 4 & 3 ? h & BITS(62, 59) : h & BITS(62, 52);
	if (h >> 6 & 1)
		e &= ~BITS(62, 52);
	return h >> 8 & 31 ? e : e | (h << 3 & BITS(51, m->maxphyaddr - 1));
}

static uint64_t ept_entry(const struct memory *m, uint64_t h)
{
	uint64_t e = h & (BITS(11, 8) | BITS(63, 52));

	e |= h >> 20 & 7 ? 7 : h >> 23 & 7;
	e |= h >> 26 & 3 ? 0 : BIT(7) | (h >> 28 & 15) << 3;
	if (!(h >> 32 & 15))
		e |= h >> 36 & BITS(6, 3);
	h = splitmix(h);
	e |= h & BITS(m->maxphyaddr - 1, 12);
	if ((e & BIT(7)) && (h & 1))
		e &= ~BITS(29, 12);
	h = splitmix(h);
	return h & 31 ? e : e | (h << 3 & BITS(51, m->maxphyaddr - 1));
}

static uint64_t value_at(const struct memory *m, uint64_t pa, unsigned size)
{
	uint64_t h = splitmix(m->seed ^ pa);

	for (unsigned i = m->nr_writes; i-- > 0;)
		if (m->write[i].pa == pa)
			return m->write[i].val;
	return m->ept ? ept_entry(m, h) : x86_entry(m, h, size);
}

static bool engine_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	*val = value_at(ctx, pa, size);
	return true;
}

static bool engine_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	struct memory *m = ctx;

	if (m->lose_race || value_at(m, pa, size) != old) {
		m->lose_race = false;
		return false;
	}
	assert_true(m->nr_writes < ARRAY_SIZE(m->write));
	m->write[m->nr_writes++] = (struct oracle_write){ pa, val };
	return true;
}

static uint64_t oracle_read(void *ctx, uint64_t pa, unsigned size)
{
	return value_at(ctx, pa, size);
}

/* --- one case --- */

typedef void oracle_fn(const struct oracle_cpu *, uint64_t, struct oracle_access,
		       struct oracle_result *);
static oracle_fn *const oracles[PT_KINDS] = {
	[PT_32] = oracle_32,         [PT_PAE] = oracle_pae, [PT_4LEVEL] = oracle_4level,
	[PT_5LEVEL] = oracle_5level, [PT_NPT] = oracle_npt, [PT_EPT] = oracle_ept,
};

struct trial {
	enum pt_kind kind;
	struct memory mem;
	struct oracle_cpu cpu;
	struct guest_paging gp;
	uint64_t addr;
	struct oracle_access access;
	uint64_t seed; /* of rng before this trial's tree */
};

static void choose_state(struct trial *t)
{
	struct oracle_cpu *c = &t->cpu;
	bool longmode = t->kind == PT_4LEVEL || t->kind == PT_5LEVEL;
	uint64_t r = next();

	*c = (struct oracle_cpu){
		.maxphyaddr = 32 + (unsigned)(next() % 21),
		.page_1g = r & 1,
		.pse36 = r & 2,
		.amd_bit8 = r & 4,
		.strict_pdpte = r & 8,
		.ept_exec_only = r & 16,
		.ept_ad = r & 32,
		.wp = r & 64,
		.pse = r & 128,
		.nxe = r & 0x300,
		.smep = r & 0x400,
		.smap = r & 0x800,
		.ac = r & 0x1000,
		.pke = r & 0x2000,
		.lma = longmode,
		.pae = longmode || t->kind == PT_PAE,
		.pkru = (uint32_t)(next() & next()),
		.cr3 = next(),
		.read = oracle_read,
		.ctx = &t->mem,
	};
	t->mem.maxphyaddr = c->maxphyaddr;
	c->cr3 &= BITS(c->maxphyaddr - 1, 0);
	for (unsigned i = 0; i < 4; i++) {
		c->pdpte[i] = next() & (BITS(c->maxphyaddr - 1, 9) | BITS(4, 3));
		c->pdpte[i] |= one_in(16) ? 0 : 1;
	}
}

static void choose_guest_paging(struct trial *t)
{
	const struct oracle_cpu *c = &t->cpu;

	t->gp = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | (c->wp ? CR0_WP : 0),
		.cr3 = c->cr3,
		.cr4 = (c->pse ? CR4_PSE : 0) | (c->pae ? CR4_PAE : 0) | (c->smep ? CR4_SMEP : 0) |
		       (c->smap ? CR4_SMAP : 0) | (c->pke ? CR4_PKE : 0) |
		       (t->kind == PT_5LEVEL ? CR4_LA57 : 0),
		.efer = (c->nxe ? EFER_NXE : 0) | (c->lma ? EFER_LMA | EFER_LME : 0),
		.rflags = RFLAGS_FIXED | (c->ac ? RFLAGS_AC : 0),
		.pkru = c->pkru,
		.caps = { .maxphyaddr = (uint8_t)c->maxphyaddr,
			  .page_1g = c->page_1g,
			  .pse36 = c->pse36,
			  .nonleaf_g_rsvd = c->amd_bit8,
			  .strict_pdpte = c->strict_pdpte },
	};
	memcpy(t->gp.pdpte, c->pdpte, sizeof(t->gp.pdpte));
}

static void choose_access(struct trial *t)
{
	uint64_t r = next();

	t->access = (struct oracle_access){
		.write = (r & 3) == 1,
		.fetch = (r & 3) == 2,
		.user = r & 4,
		.implicit = (r & 0x38) == 0 && (r & 3) != 2,
	};
	t->addr = next();
	if (t->kind == PT_32 || t->kind == PT_PAE)
		t->addr &= UINT32_MAX;
	else if (t->kind == PT_NPT || t->kind == PT_EPT)
		t->addr &= BITS(47, 0);
	else
		t->addr = (uint64_t)((int64_t)(t->addr << 7) >> (t->kind == PT_4LEVEL ? 16 : 7));
}

static void fail_trial(const struct trial *t, const char *what, uint64_t got, uint64_t want)
{
	fail_msg("kind %d, tree seed %#llx, address %#llx, w%d f%d u%d i%d: %s is %#llx, should be "
		 "%#llx",
		 t->kind, (unsigned long long)t->seed, (unsigned long long)t->addr, t->access.write,
		 t->access.fetch, t->access.user, t->access.implicit, what, (unsigned long long)got,
		 (unsigned long long)want);
}

static void check(const struct trial *t, const char *what, uint64_t got, uint64_t want)
{
	if (got != want)
		fail_trial(t, what, got, want);
}

/* What the engine wrote must be what hardware writes: the same entries, the same values. */
static void check_writes(const struct trial *t, const struct oracle_result *want)
{
	check(t, "number of entries written", t->mem.nr_writes, want->nr_writes);
	for (unsigned i = 0; i < want->nr_writes; i++) {
		check(t, "address of entry written", t->mem.write[i].pa, want->write[i].pa);
		check(t, "entry written", t->mem.write[i].val, want->write[i].val);
	}
}

static void run_guest(struct trial *t, const struct pt_mem *mem, const struct oracle_result *want)
{
	struct guest_access a = { .write = t->access.write,
				  .fetch = t->access.fetch,
				  .user = t->access.user,
				  .implicit = t->access.implicit };
	struct guest_fault fault = { 0 };
	struct guest_xlat x = { 0 }, peek = { 0 };
	bool ok;

	check(t, "peek", guest_peek(&t->gp, mem, GVA(t->addr), &peek), want->size != 0);
	check(t, "entries written by peek", t->mem.nr_writes, 0);
	if (want->size) {
		check(t, "peeked address", peek.gpa.v, want->pa);
		check(t, "peeked page size", peek.page_size, want->size);
	}
	ok = guest_translate(&t->gp, mem, GVA(t->addr), a, &x, &fault);
	check(t, "success", ok, want->ok);
	if (!ok) {
		check(t, "vector", fault.vector, VEC_PF);
		check(t, "has_error", fault.has_error, true);
		check(t, "error code", fault.error, want->error);
		check(t, "CR2", fault.cr2, t->addr);
		return;
	}
	check(t, "address", x.gpa.v, want->pa);
	check(t, "page size", x.page_size, want->size);
	check(t, "writable", x.writable, want->may_write && want->dirty);
}

static unsigned rights_of(const struct oracle_result *r)
{
	return (r->r ? PT_R : 0) | (r->w ? PT_W : 0) | (r->x ? PT_X : 0) | (r->u ? PT_U : 0);
}

/* NPT and EPT: the three steps by hand. */
static void run_nested(struct trial *t, const struct pt_mem *mem, const struct oracle_result *want)
{
	struct pt_caps caps = { .maxphyaddr = (uint8_t)t->cpu.maxphyaddr,
				.page_1g = t->cpu.page_1g,
				.nonleaf_g_rsvd = t->cpu.amd_bit8,
				.ept_exec_only = t->cpu.ept_exec_only,
				.ept_ad = t->cpu.ept_ad };
	unsigned a = t->access.fetch ? PT_ACC_FETCH : t->access.write ? PT_ACC_WRITE : 0;
	struct pt_tree tree = { .mem = mem, .root = t->cpu.cr3 & BITS(51, 12) };
	struct pt_policy policy;
	struct pt_format f;
	struct pt_walk w;
	uint32_t error = 0;
	bool ok;

	pt_format_init(&f, t->kind, &caps);
	tree.fmt = &f;
	pt_policy_init(&policy, CR0_WP, CR4_PAE, EFER_NXE, 0);
	pt_walk(&tree, t->addr, &w);
	check(t, "status is OK", w.status == PT_OK, want->size != 0);
	if (t->kind == PT_EPT)
		check(t, "misconfiguration", w.status == PT_RESERVED, want->misconfig);
	ok = pt_judge(&policy, &w, a | PT_ACC_USER, &error);
	check(t, "success", ok, want->ok);
	if (!ok && t->kind == PT_NPT)
		check(t, "error code", error, want->error);
	if (want->size) {
		check(t, "address", w.out, want->pa);
		check(t, "page size", BIT(w.page_shift), want->size);
		check(t, "rights", w.rights | (t->kind == PT_EPT ? PT_U : 0), rights_of(want));
	}
	if (ok)
		check(t, "mark", pt_mark(&tree, &w, a & PT_ACC_WRITE), true);
}

/* Outcomes seen, to know that the trials are worth something. */
static struct {
	unsigned ok, fault[64], size[64], writes, misconfig;
} seen;

static void run_trial(struct trial *t)
{
	const struct pt_mem mem = { .read = engine_read,
				    .cmpxchg = engine_cmpxchg,
				    .ctx = &t->mem };
	struct oracle_result want;

	t->mem.nr_writes = 0;
	oracles[t->kind](&t->cpu, t->addr, t->access, &want);
	if (t->kind == PT_NPT || t->kind == PT_EPT) {
		run_nested(t, &mem, &want);
	} else {
		t->mem.lose_race = one_in(8);
		run_guest(t, &mem, &want);
	}
	check_writes(t, &want);
	seen.writes += want.nr_writes;
	seen.misconfig += want.misconfig;
	if (want.ok) {
		seen.ok++;
		seen.size[__builtin_ctzll(want.size)]++;
	} else {
		seen.fault[want.error & 63]++;
	}
}

static void run_kind(enum pt_kind kind, uint64_t seed)
{
	struct trial t = { .kind = kind, .mem.ept = kind == PT_EPT };

	rng = seed ^ splitmix(kind);
	for (unsigned i = 0; i < TREES; i++) {
		t.seed = rng;
		t.mem.seed = next();
		choose_state(&t);
		choose_guest_paging(&t);
		for (unsigned j = 0; j < TRIES_PER_TREE; j++) {
			choose_access(&t);
			run_trial(&t);
		}
	}
}

static uint64_t fresh_seed;

static void run_seeds(enum pt_kind kind, unsigned rare)
{
	memset(&seen, 0, sizeof(seen));
	run_kind(kind, FIXED_SEED);
	run_kind(kind, fresh_seed);
	assert_true(seen.ok > 2 * TREES);
	assert_true(seen.writes > seen.ok / 2);
	/* Every page size, and every cause of a fault, must have come up often. */
	assert_true(seen.size[12] > rare && seen.size[kind == PT_32 ? 22 : 21] > rare);
	if (kind >= PT_4LEVEL)
		assert_true(seen.size[30] > rare);
	if (kind == PT_EPT) {
		assert_true(seen.misconfig > rare && seen.fault[0] > rare);
		return;
	}
	/* Not present, rights, reserved; each as read, write and fetch. */
	for (unsigned i = 0; i < 3; i++) {
		unsigned how = 4 | (i == 1 ? 2 : i == 2 ? 16 : 0);

		assert_true(seen.fault[how] > rare);
		assert_true(seen.fault[how | 9] > rare);
		assert_true(seen.fault[how | 1] > (kind == PT_NPT && !i ? 0 : rare));
	}
	if (kind == PT_4LEVEL || kind == PT_5LEVEL)
		assert_true(seen.fault[0x21] > rare && seen.fault[0x27] > rare);
}

static void test_32(void **state)
{
	(void)state;
	run_seeds(PT_32, 1000);
}

static void test_pae(void **state)
{
	(void)state;
	run_seeds(PT_PAE, 1000);
}

static void test_4level(void **state)
{
	(void)state;
	run_seeds(PT_4LEVEL, 1000);
}

static void test_5level(void **state)
{
	(void)state;
	run_seeds(PT_5LEVEL, 1000);
}

static void test_npt(void **state)
{
	(void)state;
	run_seeds(PT_NPT, 1000);
}

static void test_ept(void **state)
{
	(void)state;
	run_seeds(PT_EPT, 1000);
}

static uint64_t pdptes[4];

static bool pdpte_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	(void)ctx;
	assert_int_equal(size, 8);
	*val = pdptes[pa / 8 % 4];
	return pa / 32 == 0x1234560 / 32;
}

static void test_load_pdptes(void **state)
{
	const struct pt_mem mem = { .read = pdpte_read };
	struct trial t = { .kind = PT_PAE };
	unsigned accepted = 0;

	(void)state;
	rng = fresh_seed;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t got[4] = { 7, 7, 7, 7 };
		bool want = true, ok;

		t.seed = rng;
		choose_state(&t);
		choose_guest_paging(&t);
		for (unsigned j = 0; j < 4; j++) {
			pdptes[j] = t.cpu.pdpte[j] | (one_in(4) ? BIT(next() % 64) : 0);
			want = want && oracle_pdpte_ok(&t.cpu, pdptes[j]);
		}
		ok = guest_load_pdptes(&t.gp.caps, &mem, 0x123457f, got);
		check(&t, "PDPTEs accepted", ok, want);
		for (unsigned j = 0; j < 4; j++)
			check(&t, "PDPTE loaded", got[j], ok ? pdptes[j] : 7);
		accepted += ok;
	}
	assert_in_range(accepted, 50000, 190000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_32),          cmocka_unit_test(test_pae),
		cmocka_unit_test(test_4level),      cmocka_unit_test(test_5level),
		cmocka_unit_test(test_npt),         cmocka_unit_test(test_ept),
		cmocka_unit_test(test_load_pdptes),
	};
	const char *given = getenv("PT_SEED");

	fresh_seed = given ? strtoull(given, NULL, 0) : splitmix((uint64_t)time(NULL));
	printf("PT_SEED=%#llx\n", (unsigned long long)fresh_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
