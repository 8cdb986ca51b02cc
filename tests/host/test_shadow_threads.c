/*
 * One shadow and several CPUs, each a thread: it runs a vCPU that walks the shadow's tables as
 * hardware does, remembers what it found until it is told to drop it, has its faults handled beside
 * the others', and changes the guest's tables all the while. The tables are shared by all; each
 * entry for a page is one vCPU's, which alone changes and uses it. So it knows how every access has
 * to end. Built with the thread sanitizer, which tells of what is used at the same time without
 * order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/rw_lock.h"
#include "paging/shadow_core.h"
#include "tests/host/fake_random.h"

#define CPUS 3u
#define STEPS 12000u

/* --- the guest's memory: frame n is page n, and lies at the machine's MEMORY --- */

#define MEMORY UINT64_C(0x40000000)
#define NR_TABLES 48u /* of level 0, each for 2 MiB */
#define NR_ROOTS 16u  /* with two tables of their own each, that lead to all of these */
#define ROOTS 0u
#define TABLES (3 * NR_ROOTS)
#define WINDOWS (TABLES + NR_TABLES) /* a table by which the kernel sees all frames */
#define DATA (WINDOWS + 1)
#define NR_DATA 64u
#define NR_FRAMES 192u
static_assert(DATA + NR_DATA <= NR_FRAMES, "frames for all");

#define WINDOW_GVA ((uint64_t)NR_TABLES << 21)
#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define FRAME BITS(51, 12)

static uint64_t (*memory)[512];

static uint64_t *guest_word(uint64_t gpa)
{
	return &memory[gpa / PAGE_SIZE][gpa % PAGE_SIZE / 8];
}

static void wrong(const char *what, uint64_t a, uint64_t b, uint64_t c)
{
	fprintf(stderr, "WRONG: %s: %#llx %#llx %#llx\n", what, (unsigned long long)a,
		(unsigned long long)b, (unsigned long long)c);
	abort();
}

/* --- what the shadow asks for --- */

#define POOL UINT64_C(0x100000) /* pages for its tables */
#define NR_POOL 1024u
static uint64_t (*pool)[512];
static bool in_use[NR_POOL];
static unsigned next_page;
static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;

static bool resolve(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out)
{
	(void)ctx;
	(void)touch;
	*out = (struct shadow_target){ 0, NR_FRAMES * PAGE_SIZE, HPA(MEMORY), true, false, false };
	return gpa.v < NR_FRAMES * PAGE_SIZE;
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	return pa.v - MEMORY <= NR_FRAMES * PAGE_SIZE - size;
}

static hpa_t page_alloc(void *ctx, bool low)
{
	unsigned n;

	(void)ctx;
	(void)low;
	pthread_mutex_lock(&alloc_lock);
	do
		n = next_page++ % NR_POOL;
	while (in_use[n]);
	in_use[n] = true;
	pthread_mutex_unlock(&alloc_lock);
	memset(pool[n], 0, PAGE_SIZE);
	return HPA(POOL + n * PAGE_SIZE);
}

/* Who still walks it finds entries that lead nowhere. */
static void page_free(void *ctx, hpa_t pa)
{
	uint64_t n = (pa.v - POOL) / PAGE_SIZE;

	(void)ctx;
	memset(pool[n], 0xff, PAGE_SIZE);
	pthread_mutex_lock(&alloc_lock);
	in_use[n] = false;
	pthread_mutex_unlock(&alloc_lock);
}

static void *alloc(void *ctx, size_t size)
{
	(void)ctx;
	return calloc(1, size);
}

static void free_memory(void *ctx, void *p, size_t size)
{
	(void)ctx;
	(void)size;
	free(p);
}

static void *ptr(hpa_t pa)
{
	if (pa.v - MEMORY < NR_FRAMES * PAGE_SIZE)
		return (char *)memory + (pa.v - MEMORY);
	return (char *)pool + (pa.v - POOL);
}

static bool mem_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	(void)ctx;
	(void)size;
	if (pa >= NR_FRAMES * PAGE_SIZE)
		return false;
	*val = __atomic_load_n(guest_word(pa), __ATOMIC_RELAXED);
	return true;
}

static bool mem_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	(void)ctx;
	(void)size;
	return __atomic_compare_exchange_n(guest_word(pa), &old, val, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

static const struct pt_mem guest_mem = { .read = mem_read, .cmpxchg = mem_cmpxchg };

/* --- the vCPUs --- */

#define TLB 64u
struct translation {
	uint64_t va, pa; /* va: with bit 0 set; 0: none */
	bool w, u;
};

static struct cpu {
	struct shadow_vcpu sv;
	struct guest_paging gp;
	uint64_t root, rng, seen;
	unsigned id;
	bool in_guest;
	bool invlpg_exits;
	struct translation tlb[TLB];
	uint64_t pte[NR_TABLES * SPTES]; /* what its entries should be */
	unsigned faults, reflected, passes;
} cpus[CPUS];

static struct shadow *shadow;
static struct rw_lock paging = RW_LOCK_INIT(LOCK_PAGING_USERS);
static uint64_t count;
static bool invlpg_exits;

/* As vm_tables_flush() does it. */
static void flush(void *ctx)
{
	uint64_t to = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);

	(void)ctx;
	for (unsigned i = 0; i < CPUS; i++)
		while (__atomic_load_n(&cpus[i].in_guest, __ATOMIC_SEQ_CST) &&
		       __atomic_load_n(&cpus[i].seen, __ATOMIC_ACQUIRE) < to)
			sched_yield();
}

static void flush_vcpu(struct shadow_vcpu *sv)
{
	struct cpu *c = container_of(sv, struct cpu, sv);

	memset(c->tlb, 0, sizeof(c->tlb));
}

static void intercept_invlpg(void *ctx, bool on)
{
	__atomic_store_n(&invlpg_exits, on, __ATOMIC_RELAXED);
	flush(ctx);
}

static const struct shadow_ops ops = {
	.resolve = resolve,
	.may_map = may_map,
	.page_alloc = page_alloc,
	.page_free = page_free,
	.alloc = alloc,
	.free = free_memory,
	.ptr = ptr,
	.flush = flush,
	.flush_vcpu = flush_vcpu,
	.intercept_invlpg = intercept_invlpg,
	.guest_mem = &guest_mem,
};

static uint64_t next(struct cpu *c)
{
	return fake_random64(&c->rng);
}

/* --- its hardware --- */

/* Interrupted for a flush, or not yet in: it enters anew with nothing remembered. */
static void enter(struct cpu *c)
{
	uint64_t now;

	while (now = __atomic_load_n(&count, __ATOMIC_SEQ_CST), !c->in_guest || c->seen != now) {
		__atomic_store_n(&c->in_guest, false, __ATOMIC_SEQ_CST);
		/* As of now, and not of what comes after the look. */
		if (c->seen != now)
			memset(c->tlb, 0, sizeof(c->tlb));
		__atomic_store_n(&c->seen, now, __ATOMIC_RELEASE);
		c->invlpg_exits = __atomic_load_n(&invlpg_exits, __ATOMIC_RELAXED);
		__atomic_store_n(&c->in_guest, true, __ATOMIC_SEQ_CST);
	}
}

static void leave(struct cpu *c)
{
	__atomic_store_n(&c->in_guest, false, __ATOMIC_SEQ_CST);
}

static bool hw_walk(const struct cpu *c, uint64_t va, struct translation *t)
{
	uint64_t table = c->root, e = 0;

	*t = (struct translation){ .va = (va & FRAME) | 1, .w = true, .u = true };
	for (int level = 3; level >= 0; level--) {
		uint64_t n = (table - POOL) / PAGE_SIZE;

		if (n >= NR_POOL)
			wrong("a walk leads out of the shadow's pages", table, va, (uint64_t)level);
		e = __atomic_load_n(&pool[n][va >> (12 + 9 * level) & 511], __ATOMIC_ACQUIRE);
		if (!(e & P))
			return false;
		t->w &= (e & W) != 0;
		t->u &= (e & U) != 0;
		table = e & FRAME;
	}
	t->pa = table;
	if (!may_map(NULL, HPA(table), PAGE_SIZE))
		wrong("an entry leads out of the VM's memory", e, va, c->id);
	return true;
}

static struct translation *translate(struct cpu *c, uint64_t va, bool write, bool user)
{
	struct translation *t = &c->tlb[va / PAGE_SIZE % TLB];

	if (t->va != ((va & FRAME) | 1) || (write && !t->w) || (user && !t->u)) {
		if (!hw_walk(c, va, t)) {
			t->va = 0;
			return NULL;
		}
	}
	return (write && !t->w) || (user && !t->u) ? NULL : t;
}

/* --- its exits --- */

static enum shadow_result handle(struct cpu *c, uint64_t va, bool write, bool user, uint64_t rip,
				 struct shadow_outcome *o)
{
	uint32_t error = (write ? PF_W : 0) | (user ? PF_U : 0);
	unsigned cpl = user ? 3 : 0;
	enum shadow_result result;

	c->faults++;
	rw_lock_shared(&paging);
	result = shadow_fault_shared(&c->sv, GVA(va), error, rip, RFLAGS_FIXED, cpl, 0, o);
	rw_unlock_shared(&paging);
	if (result != SHADOW_ALONE)
		return result;
	rw_lock(&paging);
	result = shadow_fault(&c->sv, GVA(va), error, rip, RFLAGS_FIXED, cpl, 0, o);
	rw_unlock(&paging);
	return result;
}

/* The access, by an instruction at rip: what it read, or has replaced. False: *error. */
static bool access(struct cpu *c, uint64_t va, bool write, bool user, uint64_t *val, uint64_t rip,
		   uint32_t *error)
{
	for (unsigned tries = 0; tries < 10000; tries++) {
		struct translation *t;
		struct shadow_outcome o;

		enter(c);
		t = translate(c, va, write, user);
		if (t) {
			uint64_t *p = guest_word(t->pa - MEMORY + va % PAGE_SIZE);

			*val = write ? __atomic_exchange_n(p, *val, __ATOMIC_SEQ_CST)
				     : __atomic_load_n(p, __ATOMIC_SEQ_CST);
			leave(c);
			return true;
		}
		leave(c);
		switch (handle(c, va, write, user, rip, &o)) {
		case SHADOW_RESUME:
			break;
		case SHADOW_REFLECT:
			*error = o.fault.error;
			c->reflected++;
			return false;
		default:
			wrong("no device is there, and memory enough", va, c->id, 0);
		}
	}
	wrong("no end of faults", va, c->id, rip);
	return false;
}

static void load_root(struct cpu *c, unsigned root)
{
	c->gp.cr3 = (ROOTS + 3 * root) * PAGE_SIZE;
	rw_lock(&paging);
	c->root = shadow_load(&c->sv, &c->gp).v;
	rw_unlock(&paging);
}

static void invlpg(struct cpu *c, uint64_t va)
{
	enter(c);
	c->tlb[va / PAGE_SIZE % TLB].va = 0;
	leave(c);
	if (!c->invlpg_exits)
		return;
	rw_lock(&paging);
	shadow_invlpg(&c->sv, GVA(va));
	rw_unlock(&paging);
}

/* --- what it does --- */

static uint64_t entry_gpa(unsigned page)
{
	return (TABLES + page / SPTES) * PAGE_SIZE + page % SPTES * 8;
}

/* Few tables at a time, for many to meet there. */
static unsigned own_page(struct cpu *c)
{
	unsigned table = next(c) % 8 ? next(c) % 4 : next(c) % NR_TABLES;
	unsigned slot = (unsigned)(next(c) % (SPTES / CPUS / 4)) * CPUS + c->id;

	return table * SPTES + slot;
}

/* Give the page another entry, through the window, as the guest's kernel. */
static void edit(struct cpu *c, unsigned page)
{
	uint64_t r = next(c), e = (DATA + r % NR_DATA) * PAGE_SIZE, old, at = entry_gpa(page);
	uint32_t error;

	e |= (r >> 8 & 7 ? P : 0) | (r >> 11 & 1 ? W : 0) | (r >> 12 & 3 ? U : 0);
	e |= (r >> 14 & 1 ? A : 0) | (r >> 14 & 3 ? 0 : D);
	old = e;
	if (!access(c, WINDOW_GVA + at, true, false, &old, 0x1000 + c->rng % 64, &error))
		wrong("a fault in the window", at, error, c->id);
	if (old != c->pte[page])
		wrong("an entry is not as it was left (page, is, should be)", page, old,
		      c->pte[page]);
	c->pte[page] = e;
	invlpg(c, (uint64_t)page * PAGE_SIZE);
}

/* Does the access end as the entry says, where it says, with the bits set that it sets? */
static void use(struct cpu *c, unsigned page)
{
	bool write = next(c) & 1, user = next(c) & 1, ok, should;
	uint64_t e = c->pte[page], is, word = 8 + c->id, val = next(c), old = val;
	uint32_t error = 0, want = (e & P ? PF_P : 0) | (write ? PF_W : 0) | (user ? PF_U : 0);

	should = (e & P) && (!write || (e & W)) && (!user || (e & U));
	ok = access(c, (uint64_t)page * PAGE_SIZE + (write ? word * 8 : 0), write, user, &old,
		    0x2000, &error);
	if (ok != should || (!ok && error != want))
		wrong("an access ends otherwise (entry, error, should be)", e, error, want);
	if (ok) {
		uint64_t frame = (e & FRAME) / PAGE_SIZE;

		if (!write && old != frame)
			wrong("another page is read (is, should be)", old, frame, page);
		if (write && memory[frame][word] != val)
			wrong("a write went elsewhere", frame, page, val);
		e |= A | (write ? D : 0);
		c->passes++;
	}
	is = __atomic_load_n(guest_word(entry_gpa(page)), __ATOMIC_SEQ_CST);
	if (is != e)
		wrong("an access leaves the entry otherwise (is, should be)", is, e, page);
	c->pte[page] = e;
}

static void audit(void)
{
	char why[256];

	rw_lock(&paging);
	if (!shadow_audit(shadow, why, sizeof(why))) {
		fprintf(stderr, "WRONG: the shadow is wrong: %s\n", why);
		abort();
	}
	rw_unlock(&paging);
}

static void *run(void *arg)
{
	struct cpu *c = arg;

	for (unsigned i = 0; i < STEPS; i++) {
		unsigned page = own_page(c);

		if (!(next(c) % 64))
			load_root(c, next(c) % NR_ROOTS);
		if (!(next(c) % 512))
			audit();
		if (!(next(c) % 3))
			edit(c, page);
		use(c, page);
	}
	return NULL;
}

/* --- the test --- */

static void make_tables(void)
{
	const uint64_t rights = P | W | U | A | D;

	memory = calloc(NR_FRAMES, PAGE_SIZE);
	pool = calloc(NR_POOL, PAGE_SIZE);
	assert_non_null(memory);
	assert_non_null(pool);
	for (unsigned i = 0; i < NR_ROOTS; i++) {
		unsigned root = ROOTS + 3 * i;

		memory[root][0] = (root + 1) * PAGE_SIZE | rights;
		memory[root + 1][0] = (root + 2) * PAGE_SIZE | rights;
		for (unsigned k = 0; k <= NR_TABLES; k++)
			memory[root + 2][k] = (TABLES + k) * PAGE_SIZE | rights;
	}
	for (unsigned i = 0; i < NR_FRAMES; i++)
		memory[WINDOWS][i] = i * PAGE_SIZE | P | W | A | D;
	for (unsigned i = 0; i < NR_DATA; i++)
		memory[DATA + i][0] = DATA + i;
}

static void test_threads(void **state)
{
	const struct pt_caps caps = { .maxphyaddr = 40 };
	const struct shadow_stats *stats;
	pthread_t thread[CPUS];
	unsigned faults = 0;

	(void)state;
	make_tables();
	assert_int_equal(shadow_create(&shadow, &ops, &caps, SHADOW_MIN), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		struct cpu *c = &cpus[i];

		c->id = i;
		c->rng = i + 1;
		c->gp = (struct guest_paging){ .cr0 = CR0_PE | CR0_PG | CR0_WP,
					       .cr4 = CR4_PAE,
					       .efer = EFER_LME | EFER_LMA,
					       .caps = caps };
		assert_int_equal(shadow_vcpu_init(&c->sv, shadow), 0);
		load_root(c, i);
	}
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run, &cpus[i]), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		pthread_join(thread[i], NULL);
		faults += cpus[i].faults;
		assert_true(cpus[i].passes > 100 && cpus[i].reflected > 100);
	}
	audit();
	stats = shadow_stats(shadow);
	printf("faults %llu, shared %llu, opened %llu, reclaimed %llu, flushes %llu\n",
	       (unsigned long long)stats->faults, (unsigned long long)stats->shared,
	       (unsigned long long)stats->opened, (unsigned long long)stats->reclaimed,
	       (unsigned long long)stats->flushes);
	assert_int_equal(stats->faults, faults);
	assert_true(stats->shared > faults / 2);
	assert_true(stats->opened > 100 && stats->reclaimed > 10);
	shadow_destroy(shadow);
	for (unsigned i = 0; i < NR_POOL; i++)
		assert_false(in_use[i]);
	free(memory);
	free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
