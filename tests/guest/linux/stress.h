/*
 * The stress guest: many processes that map, unmap, move, protect and fork at random, and know
 * of each page what it must hold and what it must allow.
 */
#ifndef UMBRA_TESTS_GUEST_LINUX_STRESS_H
#define UMBRA_TESTS_GUEST_LINUX_STRESS_H

#include "tests/guest/linux/sys.h"

/* Blocks lie far apart, so that each has page tables of its own. */
#define BLOCKS 8
#define BLOCK_SIZE MIB(4)
#define BLOCK_PAGES (BLOCK_SIZE / PAGE_SIZE)
#define PAGES (BLOCKS * BLOCK_PAGES)
#ifdef __x86_64__
#define BLOCK_BASE 0x100000000000ul
#define BLOCK_STRIDE 0x8040400000ul /* another entry of every level */
#else
#define BLOCK_BASE 0x20000000ul
#define BLOCK_STRIDE 0x0c400000ul
#endif

#define MAPPED 8 /* beside PROT_* in a page's state */
#define RW (PROT_READ | PROT_WRITE)

/* A page of this process: stamp says what it holds (0: zeros), see pattern(). */
struct page {
	uint32_t stamp;
	uint8_t state;
};

extern struct page pages[PAGES];
extern bool is_hugetlb[BLOCKS]; /* one mapping with MAP_HUGETLB, treated as a whole */

/* Counted by all processes together. */
struct tally {
	unsigned long ops, faults, forks, moves, hugetlb, wrong;
};
extern struct tally *tally;

#define COUNT(what) __atomic_add_fetch(&tally->what, 1, __ATOMIC_RELAXED)

/* A number below n, the same for the same seed. */
uint32_t random_below(uint32_t n);
uint32_t random_word(void);

uintptr_t page_at(unsigned page);

/* Word i of a page with this stamp. The first byte of each is a RET. */
static inline uint32_t pattern(uint32_t stamp, uint32_t i)
{
	uint32_t x = (stamp + i * 0x9e3779b9u) * 0x85ebca6bu;

	if (!stamp)
		return 0;
	return i ? x ^ x >> 15 : (x & ~0xffu) | 0xc3;
}

/* Say what is wrong, once, and end this process. */
void wrong(uintptr_t addr, unsigned long expected, unsigned long got, const char *what)
	__attribute__((noreturn));

/* --- stress_probe.c: accesses that may fault --- */

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_EXEC,
};

/* Catch SIGSEGV and SIGBUS; find out whether pages without PROT_EXEC refuse to be executed. */
void probe_init(void);
bool probe_has_nx(void);

/* A child's own, after a fork: what it shares with its parent must not mix. */
void probe_forked(void);

/* Try an access to a random place; it must fault where the page does not allow it, with the
 * right address and error code, and else see what the page holds. */
void probe_page(unsigned page);

/* The kernel reads and writes this page, on this process' behalf: the same, with EFAULT. */
void probe_by_kernel(unsigned page);

/* --- stress_shared.c: pages that a process and its children share, each seen at two places --- */

void shared_init(void);

/* Check a page at one place, write it there and check it at the other. */
void shared_op(void);

/* Before a fork: the child gets the upper half. What it returns is for the other two: in the
 * child, and in the parent when the child has ended: what it wrote must be there. */
unsigned shared_lend(void);
void shared_borrow(unsigned old_end);
void shared_return(unsigned old_end);

#endif
