/*
 * stress [seconds=N] [procs=N] [seed=N]: N processes change their memory at random and check
 * all of it, for that long. As the init of a guest it takes the same from the kernel's command
 * line, and powers off at the end. Its last line begins with "stress: OK" or "stress: WRONG".
 */
#include "tests/guest/linux/stress.h"

#define MAX_DEPTH 2 /* children's children */

struct page pages[PAGES];
bool is_hugetlb[BLOCKS];
struct tally *tally;

static uint32_t rng;
static unsigned depth;
static unsigned long seed, deadline;

uint32_t random_word(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng * 0x9e3779b1u;
}

uint32_t random_below(uint32_t n)
{
	return (uint32_t)((uint64_t)random_word() * n >> 32);
}

static void seed_random(uint32_t with)
{
	rng = with * 0x9e3779b9u + 0x7f4a7c15u;
	rng = rng ? rng : 1;
	for (unsigned i = 0; i < 8; i++)
		random_word();
}

uintptr_t page_at(unsigned page)
{
	return BLOCK_BASE + page / BLOCK_PAGES * BLOCK_STRIDE + page % BLOCK_PAGES * PAGE_SIZE;
}

void wrong(uintptr_t addr, unsigned long expected, unsigned long got, const char *what)
{
	if (COUNT(wrong) == 1)
		say("stress: WRONG %s at 0x%lx: expected 0x%lx, got 0x%lx; pid=%lu ops=%lu "
		    "seed=%lu\n",
		    what, (unsigned long)addr, expected, got,
		    (unsigned long)sys3(SYS_GETPID, 0, 0, 0), tally->ops, seed);
	sys_exit(1);
}

/* A system call that must succeed. */
static void must(long ret, uintptr_t addr, const char *what)
{
	if (ret < 0 && ret > -4096)
		wrong(addr, 0, (unsigned long)-ret, what);
}

/* --- what pages hold --- */

static void fill_page(unsigned page)
{
	volatile uint32_t *word = (volatile uint32_t *)page_at(page);
	uint32_t stamp = random_word() | 1;

	pages[page].stamp = stamp;
	for (uint32_t i = 0; i < PAGE_SIZE / 4; i++)
		word[i] = pattern(stamp, i);
}

static void check_page(unsigned page)
{
	const volatile uint32_t *word = (const volatile uint32_t *)page_at(page);
	uint32_t stamp = pages[page].stamp;

	if (!(pages[page].state & PROT_READ))
		return;
	for (uint32_t i = 0; i < PAGE_SIZE / 4; i++) {
		uint32_t got = word[i], want = pattern(stamp, i);

		if (got != want)
			wrong((uintptr_t)&word[i], want, got, stamp ? "a word" : "a word of zeros");
	}
}

/* One page in so many, from a random one on. */
static void check_every(unsigned nth)
{
	for (unsigned page = random_below(nth); page < PAGES; page += nth)
		check_page(page);
}

/* --- ranges --- */

struct range {
	unsigned first, n;
};

static unsigned block_of(struct range r)
{
	return r.first / BLOCK_PAGES;
}

static unsigned long bytes_of(struct range r)
{
	return r.n * PAGE_SIZE;
}

/* Some pages of one block: mostly few, now and then a 2 MiB page's worth or all. */
static struct range pick(void)
{
	static const unsigned most[] = { 4, 16, 16, 64, 64, 64, 512, BLOCK_PAGES };
	struct range r;

	r.first = random_below(PAGES);
	r.n = 1 + random_below(most[random_below(8)]);
	if (r.n > 256 && random_below(2)) { /* on a large page's bounds */
		r.first &= ~511u;
		r.n = 512;
	}
	if (r.n > BLOCK_PAGES - r.first % BLOCK_PAGES)
		r.n = BLOCK_PAGES - r.first % BLOCK_PAGES;
	return r;
}

/* The mapped pages of such a range that lie at its begin; n is 0 when the first is not. */
static struct range pick_mapped(void)
{
	struct range r = pick();
	unsigned n = 0;

	while (n < r.n && pages[r.first + n].state)
		n++;
	r.n = n;
	if (n && is_hugetlb[block_of(r)])
		r = (struct range){ r.first - r.first % BLOCK_PAGES, BLOCK_PAGES };
	return r;
}

static void set_state(struct range r, uint8_t state)
{
	for (unsigned i = 0; i < r.n; i++)
		pages[r.first + i].state = state;
}

static void set_zero(struct range r)
{
	for (unsigned i = 0; i < r.n; i++)
		pages[r.first + i].stamp = 0;
}

static void unmap(struct range r)
{
	must(sys3(SYS_MUNMAP, page_at(r.first), bytes_of(r), 0), page_at(r.first), "munmap");
	set_state(r, 0);
	set_zero(r);
	if (r.n == BLOCK_PAGES)
		is_hugetlb[block_of(r)] = false;
}

/* Nothing is mapped in the range afterwards; of a block with MAP_HUGETLB in none of it. */
static void make_room(struct range r)
{
	if (is_hugetlb[block_of(r)])
		r = (struct range){ r.first - r.first % BLOCK_PAGES, BLOCK_PAGES };
	unmap(r);
}

/* --- operations --- */

static void op_map(void)
{
	struct range r = pick();
	uintptr_t at = page_at(r.first);

	make_room(r);
	must(sys_mmap(at, bytes_of(r), RW, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE), at, "mmap");
	if (random_below(2))
		sys3(SYS_MADVISE, at, bytes_of(r), MADV_NOHUGEPAGE);
	set_state(r, MAPPED | RW);
	for (unsigned i = 0; i < r.n && i < 64; i++)
		if (random_below(4))
			fill_page(r.first + i);
}

static void op_unmap(void)
{
	make_room(pick());
}

/* A block of its own, in large pages: the kernel's choice (transparent), or ours. */
static void op_map_large(void)
{
	struct range r = { random_below(BLOCKS) * BLOCK_PAGES, BLOCK_PAGES };
	uintptr_t at = page_at(r.first);
	bool hugetlb = random_below(2);
	long ret;

	make_room(r);
	ret = sys_mmap(at, BLOCK_SIZE, RW,
		       MAP_PRIVATE | MAP_FIXED | (hugetlb ? MAP_HUGETLB : MAP_NORESERVE));
	if (hugetlb && ret < 0 && ret > -4096)
		return; /* none left */
	must(ret, at, "mmap");
	is_hugetlb[block_of(r)] = hugetlb;
	/* A child that shares these may find none left when it writes, and is killed. */
	if (hugetlb) {
		must(sys3(SYS_MADVISE, at, BLOCK_SIZE, MADV_DONTFORK), at, "madvise");
		COUNT(hugetlb);
	} else {
		sys3(SYS_MADVISE, at, BLOCK_SIZE, MADV_HUGEPAGE);
	}
	set_state(r, MAPPED | RW);
	for (unsigned i = 0; i < 32; i++)
		fill_page(r.first + random_below(BLOCK_PAGES));
}

static void op_write(void)
{
	struct range r = pick_mapped();

	for (unsigned i = 0; i < r.n && i < 64; i++)
		if (pages[r.first + i].state & PROT_WRITE)
			fill_page(r.first + i);
}

static void op_check(void)
{
	struct range r = pick_mapped();

	for (unsigned i = 0; i < r.n && i < 128; i++)
		check_page(r.first + i);
}

static void op_protect(void)
{
	static const uint8_t prots[] = { 0,  PROT_READ, PROT_READ, PROT_READ | PROT_EXEC,
					 RW, RW,        RW,        RW | PROT_EXEC };
	struct range r = pick_mapped();
	uint8_t prot = prots[random_below(8)];

	if (!r.n)
		return;
	must(sys3(SYS_MPROTECT, page_at(r.first), bytes_of(r), prot), page_at(r.first), "mprotect");
	set_state(r, MAPPED | prot);
}

/* Pages move elsewhere, and keep what they hold and allow. */
static void op_move(void)
{
	struct range from = pick_mapped(), to = pick();
	long ret;

	if (from.n > to.n)
		from.n = to.n;
	to.n = from.n;
	if (!from.n || is_hugetlb[block_of(from)] || block_of(from) == block_of(to))
		return;
	make_room(to);
	ret = sys5(SYS_MREMAP, page_at(from.first), bytes_of(from), bytes_of(to),
		   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(to.first));
	if (ret == -EFAULT) /* the pages are not of one mapping */
		return;
	must(ret, page_at(from.first), "mremap");
	for (unsigned i = 0; i < from.n; i++)
		pages[to.first + i] = pages[from.first + i];
	set_state(from, 0);
	set_zero(from);
	COUNT(moves);
}

/* A mapping is made shorter where it is. */
static void op_shrink(void)
{
	struct range r = pick_mapped(), cut;

	if (r.n < 2 || is_hugetlb[block_of(r)])
		return;
	cut = (struct range){ r.first + r.n / 2, r.n - r.n / 2 };
	must(sys5(SYS_MREMAP, page_at(r.first), bytes_of(r), r.n / 2 * PAGE_SIZE, 0, 0),
	     page_at(r.first), "mremap to less");
	set_state(cut, 0);
	set_zero(cut);
}

static void op_drop(void)
{
	struct range r = pick_mapped();

	if (!r.n || is_hugetlb[block_of(r)])
		return;
	must(sys3(SYS_MADVISE, page_at(r.first), bytes_of(r), MADV_DONTNEED), page_at(r.first),
	     "madvise");
	set_zero(r);
}

static void op_probe(void)
{
	for (unsigned i = 0; i < 8; i++)
		probe_page(random_below(PAGES));
}

static void op_kernel(void)
{
	for (unsigned i = 0; i < 4; i++)
		probe_by_kernel(random_below(PAGES));
}

static void run_ops(unsigned n);

static void child(uint32_t with, unsigned shared) __attribute__((noreturn));

static void child(uint32_t with, unsigned shared)
{
	depth++;
	seed_random(with);
	probe_forked();
	shared_borrow(shared);
	for (unsigned b = 0; b < BLOCKS; b++)
		if (is_hugetlb[b]) { /* not inherited */
			struct range r = { b * BLOCK_PAGES, BLOCK_PAGES };

			set_state(r, 0);
			set_zero(r);
			is_hugetlb[b] = false;
		}
	check_every(8);
	run_ops(8 + random_below(48));
	check_every(4);
	sys_exit(0);
}

/* Both sides write to what they share, and see only their own. */
static void op_fork(void)
{
	uint32_t with = random_word();
	unsigned shared;
	long pid, status;

	if (depth == MAX_DEPTH)
		return;
	shared = shared_lend();
	pid = sys_fork();
	must(pid, 0, "fork");
	if (!pid)
		child(with, shared);
	COUNT(forks);
	for (unsigned i = 0; i < 6; i++) {
		op_write();
		op_protect();
		shared_op();
	}
	status = sys_wait(pid);
	if (status)
		wrong(0, 0, (unsigned long)status, "a child's exit status");
	shared_return(shared);
	check_every(4);
}

/* As often as each stands there. */
static void (*const operations[])(void) = {
	op_map,     op_map,     op_map,    op_map_large, op_unmap, op_write,  op_write,
	op_write,   op_write,   op_check,  op_check,     op_check, op_check,  op_protect,
	op_protect, op_protect, op_move,   op_move,      op_drop,  op_shrink, op_probe,
	op_probe,   op_kernel,  shared_op, shared_op,    op_fork,
};

static void run_ops(unsigned n)
{
	while (n--) {
		operations[random_below(sizeof(operations) / sizeof(operations[0]))]();
		COUNT(ops);
		if (__atomic_load_n(&tally->wrong, __ATOMIC_RELAXED))
			sys_exit(1);
	}
}

static void worker(uint32_t with) __attribute__((noreturn));

static void worker(uint32_t with)
{
	seed_random(with);
	probe_forked();
	shared_init();
	while (sys_seconds() < deadline)
		run_ops(16);
	check_every(1);
	sys_exit(0);
}

/* The number behind a name in /proc/vmstat; 0: no /proc, or no such name. */
static unsigned long vmstat(const char *name)
{
	static char text[16384];
	long n = 0, got, fd;

	sys5(SYS_MOUNT, "proc", "/proc", "proc", 0, 0);
	fd = sys3(SYS_OPEN, "/proc/vmstat", 0, 0);
	while (fd >= 0 && (got = sys3(SYS_READ, fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += got;
	for (const char *line = text; *line;) {
		const char *s = line, *t = name;

		while (*t && *s == *t)
			s++, t++;
		if (!*t && *s == ' ')
			return parse_number(s + 1);
		while (*line && *line++ != '\n')
			;
	}
	return 0;
}

static void start(unsigned long procs)
{
	for (unsigned long i = 0; i < procs; i++) {
		long pid = sys_fork();

		if (!pid)
			worker((uint32_t)(seed * 64 + i));
		must(pid, 0, "fork");
	}
	for (unsigned long i = 0; i < procs; i++) {
		long status = sys_wait(-1);

		if (status && COUNT(wrong) == 1)
			say("stress: WRONG a process ended with status %lu; seed=%lu\n",
			    (unsigned long)status, seed);
	}
}

static bool stress(void)
{
	unsigned long seconds = option("seconds", 60), procs = option("procs", 4);

	seed = option("seed", 1);
	deadline = sys_seconds() + seconds;
	tally = (struct tally *)sys_mmap(0, PAGE_SIZE, RW, MAP_SHARED);
	probe_init();
	say("stress: %lu s, %lu processes, seed %lu, %s\n", seconds, procs, seed,
	    probe_has_nx() ? "NX" : "no NX");
	start(procs);
	if (tally->wrong)
		return false;
	say("stress: OK ops=%lu faults=%lu forks=%lu moves=%lu hugetlb=%lu thp=%lu seed=%lu\n",
	    tally->ops, tally->faults, tally->forks, tally->moves, tally->hugetlb,
	    vmstat("thp_fault_alloc"), seed);
	return true;
}

int program(int argc, char **argv)
{
	long pid;

	(void)argc;
	(void)argv;
	if (sys3(SYS_GETPID, 0, 0, 0) != 1)
		return stress() ? 0 : 1;
	/* Linux speaks of every signal of init's: let another do it. */
	pid = sys_fork();
	if (!pid)
		return stress() ? 0 : 1;
	sys_wait(pid);
	sys_poweroff();
}
