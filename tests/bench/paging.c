/*
 * What the paging engine costs: a walk of each format against a walker written for that mode
 * alone, and passthrough tables from 1 GiB to 1 TiB. Instructions are counted by single-stepping
 * a child, so they repeat exactly; times are the best of several runs. The special walkers are
 * as good as the compiler makes them: unrolled, with every mask and shift a constant.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86_64/include/bits.h"
#include "paging/nested.h"

#define AIM 1.3 /* at most this many times the special walker's instructions */
#define ARENA_BYTES MIB(64)
#define WALKS 20000
#define ROUNDS 301
#define MAPPED MIB(64)
#define PHYS_BITS 46

static uint8_t *arena;
static uint64_t arena_used;

static bool arena_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	const uint8_t *base = ctx;

	if (size == 8)
		*val = __atomic_load_n((const uint64_t *)(base + pa), __ATOMIC_RELAXED);
	else
		*val = __atomic_load_n((const uint32_t *)(base + pa), __ATOMIC_RELAXED);
	return true;
}

static bool arena_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	uint8_t *base = ctx;
	uint32_t old32 = (uint32_t)old;

	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)(base + pa), &old, val, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)(base + pa), &old32, (uint32_t)val, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static uint64_t arena_alloc(void *ctx)
{
	uint8_t *base = ctx;

	if (arena_used == ARENA_BYTES)
		return 0;
	arena_used += PAGE_SIZE;
	memset(base + arena_used - PAGE_SIZE, 0, PAGE_SIZE);
	return arena_used - PAGE_SIZE;
}

static void arena_free(void *ctx, uint64_t pa)
{
	(void)ctx;
	(void)pa;
}

static struct pt_mem mem = { arena_read, arena_cmpxchg, arena_alloc, arena_free, NULL };

/* --- one walker for each mode: all that is constant there is a constant here --- */

/* Each does what pt_walk() promises: the same results, checks and records, by the same memory. */
typedef enum pt_status walker(const struct pt_tree *t, uint64_t addr, struct pt_walk *w);

struct step {
	unsigned level, shift, index_bits, size;
	bool leaf, table_only_p; /* a page may be here; a PDPTE of PAE */
	uint64_t rsvd_table, rsvd_page, table_addr, page_addr;
};

#define RSVD (BITS(51, PHYS_BITS))
#define ADDR BITS(PHYS_BITS - 1, 12)
#define NX BIT(63)

static inline bool bad_arg(const struct pt_tree *t, unsigned top, uint64_t root_mask,
			   struct pt_walk *w)
{
	if (!t->mem->read || (t->root & root_mask)) {
		w->status = PT_BAD_ARG;
		w->top = w->level = 0;
		return true;
	}
	w->top = (uint8_t)top;
	return false;
}

/* True: the walk ends here, without a page. */
static inline bool ends(struct pt_walk *w, unsigned level, enum pt_status status)
{
	w->status = status;
	w->level = (uint8_t)level;
	w->rights = 0;
	w->unmarked = 0;
	return true;
}

/* True: the walk ends here. */
static inline __attribute__((always_inline)) bool x86_step(const struct pt_mem *m, uint64_t addr,
							   struct step s, uint64_t *table,
							   uint64_t *acc, struct pt_walk *w)
{
	uint64_t pa = *table + (addr >> s.shift & (BIT(s.index_bits) - 1)) * s.size, e, hi;
	bool leaf;

	w->entry_pa[s.level] = pa;
	if (!m->read(m->ctx, pa, s.size, &w->entry[s.level]))
		return ends(w, s.level, PT_BAD_TABLE);
	e = w->entry[s.level];
	if (!(e & 1))
		return ends(w, s.level, PT_NOT_PRESENT);
	leaf = !s.level || (s.leaf && (e & BIT(7)));
	if (e & (leaf ? s.rsvd_page : s.rsvd_table))
		return ends(w, s.level, PT_RESERVED);
	if (!s.table_only_p)
		*acc &= s.size == 8 ? e ^ NX : e;
	if (!leaf) {
		*table = e & s.table_addr;
		return false;
	}
	hi = s.size == 4 && s.level ? (e & BITS(20, 13)) << 19 : 0;
	w->status = PT_OK;
	w->level = (uint8_t)s.level;
	w->page_shift = (uint8_t)s.shift;
	w->rights = PT_R | (*acc & 2 ? PT_W : 0) | (s.size == 4 || (*acc & NX) ? PT_X : 0) |
		    (*acc & 4 ? PT_U : 0);
	w->unmarked = ~*acc & BIT(5);
	w->out = (e & s.page_addr) | hi | (addr & (BIT(s.shift) - 1));
	return true;
}

#define LONG_STEP(n, may_leaf, table_rsvd)                                                         \
	((struct step){ (n), 12 + 9 * (n), 9, 8, (may_leaf), false, RSVD | (table_rsvd),           \
			RSVD | ((n) ? BITS(11 + 9 * (n), 13) : 0), ADDR,                           \
			BITS(PHYS_BITS - 1, 12 + 9 * (n)) })

static enum pt_status walk_32(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	const struct step
		pde = { 1, 22, 10, 4, true, false, 0, BIT(21), BITS(31, 12), BITS(31, 22) },
		pte = { 0, 12, 10, 4, true, false, 0, 0, 0, BITS(31, 12) };
	const struct pt_mem *m = t->mem;
	uint64_t table = t->root, acc = ~UINT64_C(0);

	if (!bad_arg(t, 1, PAGE_SIZE - 1, w) && !x86_step(m, addr, pde, &table, &acc, w))
		x86_step(m, addr, pte, &table, &acc, w);
	return w->status;
}

static enum pt_status walk_pae(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	const uint64_t rsvd = BITS(62, PHYS_BITS);
	const struct step pdpte = { 2, 30,   2, 8, false, true, BITS(63, PHYS_BITS) | 0x1c6,
				    0, ADDR, 0 },
			  pde = { 1,    21,
				  9,    8,
				  true, false,
				  rsvd, rsvd | BITS(20, 13),
				  ADDR, BITS(PHYS_BITS - 1, 21) },
			  pte = { 0, 12, 9, 8, true, false, 0, rsvd, 0, ADDR };
	const struct pt_mem *m = t->mem;
	uint64_t table = t->root, acc = ~UINT64_C(0);

	if (!bad_arg(t, 2, 31, w) && !x86_step(m, addr, pdpte, &table, &acc, w) &&
	    !x86_step(m, addr, pde, &table, &acc, w))
		x86_step(m, addr, pte, &table, &acc, w);
	return w->status;
}

static inline __attribute__((always_inline)) enum pt_status long_steps(const struct pt_tree *t,
								       uint64_t addr,
								       struct pt_walk *w, bool five)
{
	const struct pt_mem *m = t->mem;
	uint64_t table = t->root, acc = ~UINT64_C(0);

	if (bad_arg(t, five ? 4 : 3, PAGE_SIZE - 1, w) ||
	    (five && x86_step(m, addr, LONG_STEP(4, false, BIT(7)), &table, &acc, w)))
		return w->status;
	if (!x86_step(m, addr, LONG_STEP(3, false, BIT(7)), &table, &acc, w) &&
	    !x86_step(m, addr, LONG_STEP(2, true, 0), &table, &acc, w) &&
	    !x86_step(m, addr, LONG_STEP(1, true, 0), &table, &acc, w))
		x86_step(m, addr, LONG_STEP(0, true, 0), &table, &acc, w);
	return w->status;
}

static enum pt_status walk_4level(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	return long_steps(t, addr, w, false);
}

static enum pt_status walk_5level(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	return long_steps(t, addr, w, true);
}

/* SDM vol. 3, 29.3.2; as x86_step(). */
static inline __attribute__((always_inline)) bool ept_step(const struct pt_mem *m, uint64_t addr,
							   unsigned level, uint64_t *table,
							   uint64_t *acc, struct pt_walk *w)
{
	unsigned shift = 12 + 9 * level;
	uint64_t pa = *table + (addr >> shift & 511) * 8, e, type;
	bool leaf;

	w->entry_pa[level] = pa;
	if (!m->read(m->ctx, pa, 8, &w->entry[level]))
		return ends(w, level, PT_BAD_TABLE);
	e = w->entry[level];
	if (!(e & 7))
		return ends(w, level, PT_NOT_PRESENT);
	leaf = !level || (level < 3 && (e & BIT(7)));
	type = e >> 3 & 7;
	if ((e & 3) == 2 ||
	    (e & (leaf ? RSVD | (level ? BITS(shift - 1, 12) : 0)
		       : RSVD | BITS(6, 3) | (level == 3 ? BIT(7) : 0))) ||
	    (leaf && (type == 2 || type == 3 || type == 7)))
		return ends(w, level, PT_RESERVED);
	*acc &= e;
	if (!leaf) {
		*table = e & ADDR;
		return false;
	}
	w->status = PT_OK;
	w->level = (uint8_t)level;
	w->page_shift = (uint8_t)shift;
	w->rights = (*acc & 7) | PT_U;
	w->unmarked = ~*acc & BIT(8);
	w->out = (e & BITS(PHYS_BITS - 1, shift)) | (addr & (BIT(shift) - 1));
	return true;
}

static enum pt_status walk_ept(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	const struct pt_mem *m = t->mem;
	uint64_t table = t->root, acc = ~UINT64_C(0);

	if (!bad_arg(t, 3, PAGE_SIZE - 1, w) && !ept_step(m, addr, 3, &table, &acc, w) &&
	    !ept_step(m, addr, 2, &table, &acc, w) && !ept_step(m, addr, 1, &table, &acc, w))
		ept_step(m, addr, 0, &table, &acc, w);
	return w->status;
}

/* What a measurement costs by itself. */
static enum pt_status walk_not(const struct pt_tree *t, uint64_t addr, struct pt_walk *w)
{
	(void)t;
	w->out = addr;
	return PT_OK;
}

/* --- do they do the same? --- */

static struct pt_format fmt;
static struct pt_tree tree;
static uint64_t addresses[4096];

static bool checked_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	return pa <= ARENA_BYTES - size && arena_read(ctx, pa, size, val);
}

static bool same(const struct pt_walk *a, const struct pt_walk *b)
{
	if (a->status != b->status || a->level != b->level || a->top != b->top)
		return false;
	if (a->status == PT_BAD_ARG)
		return true;
	if (a->rights != b->rights || a->unmarked != b->unmarked)
		return false;
	if (a->status == PT_OK && (a->out != b->out || a->page_shift != b->page_shift))
		return false;
	for (unsigned i = a->level; i <= a->top; i++) {
		if (a->entry_pa[i] != b->entry_pa[i] ||
		    (a->entry[i] != b->entry[i] && !(i == a->level && a->status == PT_BAD_TABLE)))
			return false;
	}
	return true;
}

static enum pt_status walk_both(const struct pt_tree *t, const char *name, walker *special,
				uint64_t addr, struct pt_walk *w)
{
	struct pt_walk by_hand;

	if (pt_walk(t, addr, w) == special(t, addr, &by_hand) && same(w, &by_hand))
		return w->status;
	fprintf(stderr, "%s: the two walkers differ at %#lx\n", name, (unsigned long)addr);
	exit(1);
}

/* On every address, and with every single bit of its path inverted, they must agree. */
static void check_same(const char *name, walker *special)
{
	struct pt_mem checked = mem;
	struct pt_tree t = { &fmt, &checked, tree.root };
	struct pt_walk w, wrong;

	checked.read = checked_read;
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		if (walk_both(&t, name, special, addresses[i], &w) != PT_OK)
			exit(1);
		for (unsigned bit = 0; bit < 8u * fmt.entry_size * (w.top + 1u - w.level); bit++) {
			unsigned level = w.level + bit / (8u * fmt.entry_size);
			uint64_t flip = BIT(bit % (8u * fmt.entry_size)), e = w.entry[level];

			arena_cmpxchg(arena, w.entry_pa[level], fmt.entry_size, e, e ^ flip);
			walk_both(&t, name, special, addresses[i], &wrong);
			arena_cmpxchg(arena, w.entry_pa[level], fmt.entry_size, e ^ flip, e);
		}
	}
	t.root++;
	if (walk_both(&t, name, special, addresses[0], &w) != PT_BAD_ARG)
		exit(1);
	t.root--;
	checked.read = NULL;
	if (walk_both(&t, name, special, addresses[0], &w) != PT_BAD_ARG)
		exit(1);
}

/* --- measuring --- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double nanoseconds(walker *walk)
{
	double start = now();
	struct pt_walk w;

	for (unsigned i = 0; i < WALKS; i++)
		walk(&tree, addresses[i % ARRAY_SIZE(addresses)], &w);
	return (now() - start) / WALKS;
}

struct times {
	double engine, special; /* the best */
	double ratio;           /* the median: what slows the machine slows both in a round */
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct times measure(walker *special)
{
	struct times best = { 1e30, 1e30, 0 };
	double ratios[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		double nothing = nanoseconds(walk_not);
		double engine = nanoseconds(pt_walk) - nothing;
		double by_hand = nanoseconds(special) - nothing;

		best.engine = MIN(best.engine, engine);
		best.special = MIN(best.special, by_hand);
		ratios[i] = engine / by_hand;
	}
	qsort(ratios, ROUNDS, sizeof(ratios[0]), compare);
	best.ratio = ratios[ROUNDS / 2];
	return best;
}

static void traced_child(walker *walk)
{
	struct pt_walk w;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	__asm__ volatile("int3" ::: "memory");
	walk(&tree, addresses[0], &w);
	__asm__ volatile("int3" ::: "memory");
	_exit(0);
}

/* Instructions between the child's two breakpoints; -1: it cannot be traced here. */
static long steps(walker *walk)
{
	pid_t child = fork();
	long n = 0;
	int status;

	if (!child)
		traced_child(walk);
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return -1;
	for (;;) {
		siginfo_t info;

		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) ||
		    waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
			return -1;
		if (!ptrace(PTRACE_GETSIGINFO, child, NULL, &info) && info.si_code != TRAP_TRACE)
			break;
		n++;
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return n;
}

static const struct pt_caps caps = {
	.maxphyaddr = PHYS_BITS,
	.nx = true,
	.pse = true,
	.pse36 = true,
	.page_1g = true,
	.strict_pdpte = false,
	.ept_exec_only = true,
	.ept_ad = true,
};

static void bench_walk(enum pt_kind kind, walker *special, bool large)
{
	struct pt_flush flush = PT_FLUSH_NONE;
	unsigned attrs = PT_R | PT_W | PT_X | PT_U | PT_A | PT_D;
	long nothing, engine, by_hand;
	struct times ns;
	double ratio;
	char name[32];

	arena_used = PAGE_SIZE;
	pt_format_init(&fmt, kind, &caps);
	if (pt_create(&tree, &fmt, &mem) != PT_OK ||
	    pt_map(&tree, 0, large ? MIB(64) : MIB(64) + PAGE_SIZE, MAPPED, attrs, &flush) != PT_OK)
		exit(1);
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
		addresses[i] = (i * UINT64_C(2654435761) * 64) % MAPPED;
	snprintf(name, sizeof(name), "%s %s", fmt.name, large ? "large" : "4K");
	check_same(name, special);
	nothing = steps(walk_not);
	engine = steps(pt_walk) - nothing;
	by_hand = steps(special) - nothing;
	ratio = (double)engine / (double)by_hand;
	ns = measure(special);
	printf("%-14s%10ld%10ld%8.2f%10.1f%10.1f%8.2f%s\n", name, engine, by_hand, ratio, ns.engine,
	       ns.special, ns.ratio, MAX(ratio, ns.ratio) > AIM ? "   over the aim" : "");
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	(void)pa;
	(void)size;
	return true;
}

/* pages: the largest that can be used; the target's alignment allows no larger. */
static void bench_passthrough(enum nested_kind kind, uint64_t size, const char *pages,
			      uint64_t align)
{
	struct pt_caps c = caps;
	double best = 1e30;
	uint64_t tables = 0;

	c.page_1g = align == GIB(1);
	for (unsigned run = 0; run < 3; run++) {
		struct nested n;
		double start;

		arena_used = PAGE_SIZE;
		start = now();
		if (nested_init(&n, kind, &c, &mem, may_map, NULL) ||
		    nested_map(&n, GPA(0), HPA(GIB(1024) + (align == GIB(1) ? 0 : align)), size,
			       PT_R | PT_W | PT_X))
			exit(1);
		best = MIN(best, now() - start);
		tables = arena_used / PAGE_SIZE - 1;
		nested_destroy(&n);
	}
	printf("%-6s%-6s%8lu%12.1f%14.2f%10lu%14.3f\n", kind == NESTED_EPT ? "ept" : "npt", pages,
	       (unsigned long)(size >> 30), best / 1e3, best / 1e3 / (double)(size >> 30),
	       (unsigned long)tables, (double)tables / (double)(size >> 30));
}

int main(void)
{
	static const struct {
		enum pt_kind kind;
		walker *walk;
	} modes[] = {
		{ PT_32, walk_32 },         { PT_PAE, walk_pae },    { PT_4LEVEL, walk_4level },
		{ PT_5LEVEL, walk_5level }, { PT_NPT, walk_4level }, { PT_EPT, walk_ept },
	};

	arena = aligned_alloc(PAGE_SIZE, ARENA_BYTES);
	if (!arena)
		return 1;
	memset(arena, 0, ARENA_BYTES);
	mem.ctx = arena;
	printf("A walk: instructions and ns, by the engine and by a walker for that mode alone\n\n");
	printf("%-14s%10s%10s%8s%10s%10s%8s\n", "format, page", "engine", "special", "ratio", "ns",
	       "special", "ratio");
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		bench_walk(modes[i].kind, modes[i].walk, false);
		bench_walk(modes[i].kind, modes[i].walk, true);
	}
	printf("\nPassthrough tables of a guest, by the largest page that its memory allows\n\n");
	printf("%-6s%-6s%8s%12s%14s%10s%14s\n", "kind", "page", "GiB", "us", "us/GiB", "tables",
	       "tables/GiB");
	for (unsigned kind = NESTED_NPT; kind <= NESTED_EPT; kind++) {
		for (uint64_t size = GIB(1); size <= GIB(1024); size *= 4)
			bench_passthrough(kind, size, "1G", GIB(1));
		for (uint64_t size = GIB(1); size <= GIB(1024); size *= 4)
			bench_passthrough(kind, size, "2M", MIB(2));
		for (uint64_t size = GIB(1); size <= GIB(16); size *= 4)
			bench_passthrough(kind, size, "4K", KIB(4));
	}
	return 0;
}
