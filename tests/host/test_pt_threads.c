/*
 * The same tables from two processors at once: two vCPUs fault on one address, and one walks
 * what the other changes and frees. Real threads, for a fixed number of rounds.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/guest.h"

#define ROUNDS 20000
#define CHANGES 400
#define PAGES 16
#define A BIT(5)
#define D BIT(6)
#define SOFT BIT(9) /* the guest's own use */

static uint64_t page[PAGES][512];
static bool used[PAGES];

static bool shared_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	(void)ctx;
	(void)size;
	if (pa < PAGE_SIZE || pa >= sizeof(page))
		return false;
	*val = __atomic_load_n(&page[pa / PAGE_SIZE][pa % PAGE_SIZE / 8], __ATOMIC_ACQUIRE);
	return true;
}

static bool shared_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	(void)ctx;
	(void)size;
	return __atomic_compare_exchange_n(&page[pa / PAGE_SIZE][pa % PAGE_SIZE / 8], &old, val,
					   false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint64_t shared_alloc(void *ctx)
{
	(void)ctx;
	for (unsigned i = 1; i < PAGES; i++) {
		if (used[i])
			continue;
		used[i] = true;
		memset(page[i], 0, PAGE_SIZE);
		return i * PAGE_SIZE;
	}
	return 0;
}

/* What is free holds entries that lead astray, to address 0xdead000. */
static void shared_free(void *ctx, uint64_t pa)
{
	(void)ctx;
	used[pa / PAGE_SIZE] = false;
	for (unsigned i = 0; i < 512; i++)
		page[pa / PAGE_SIZE][i] = 0xdead000 | 0x67;
}

static const struct pt_mem mem = {
	.read = shared_read,
	.cmpxchg = shared_cmpxchg,
	.alloc = shared_alloc,
	.free = shared_free,
};

static int setup(void **state)
{
	(void)state;
	memset(page, 0, sizeof(page));
	memset(used, 0, sizeof(used));
	return 0;
}

/* --- two vCPUs, one address --- */

static const struct guest_paging gp = {
	.cr0 = CR0_PE | CR0_PG | CR0_WP,
	.cr3 = 0x1000,
	.cr4 = CR4_PAE,
	.efer = EFER_LME | EFER_LMA,
	.caps = { .maxphyaddr = 40 },
};

/*
 * Counts the accesses that did not go where they should. One that lost too many races ends in
 * a page fault, and is made again, as a guest would.
 */
static void *writer(void *unused)
{
	uintptr_t wrong = 0;

	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct guest_xlat out;
		struct guest_fault fault;
		struct guest_access access = { .write = i & 1 };
		unsigned tries = 0;

		while (tries++ < 100 &&
		       !guest_translate(&gp, &mem, GVA(0x123), access, &out, &fault))
			wrong += fault.error & PF_P;
		wrong += tries > 100 || out.gpa.v != 0x9123;
	}
	return (void *)wrong;
}

/* The guest's kernel, which ages the page and keeps a flag of its own in the entry. */
static void *ager(void *unused)
{
	uintptr_t lost = 0;

	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t before = __atomic_fetch_xor(&page[4][0], SOFT, __ATOMIC_ACQ_REL);

		lost += !(before & SOFT) != !(i & 1);
		__atomic_fetch_and(&page[4][0], ~(A | D), __ATOMIC_ACQ_REL);
		__atomic_fetch_and(&page[2][0], ~A, __ATOMIC_ACQ_REL);
		for (unsigned j = 0; j < 100; j++)
			__builtin_ia32_pause();
	}
	return (void *)lost;
}

static void test_two_vcpus_fault_on_one_address(void **state)
{
	void *(*const work[])(void *) = { writer, writer, ager };
	pthread_t thread[ARRAY_SIZE(work)];

	(void)state;
	for (unsigned i = 1; i < 4; i++)
		page[i][0] = (i + 1) * PAGE_SIZE | 7;
	page[4][0] = 0x9000 | 7;
	for (unsigned i = 0; i < ARRAY_SIZE(work); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work[i], NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(work); i++) {
		void *wrong;

		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		if (wrong)
			fail_msg("thread %u: %lu times wrong", i, (unsigned long)wrong);
	}
	assert_int_equal(page[4][0] & ~(A | D | SOFT), 0x9000 | 7);
}

/* --- one walks what the other frees --- */

static bool changing;

/* A change that is going on between one entry and the next is over before the next is read. */
static bool slow_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	for (unsigned i = 0; i < 2000 && __atomic_load_n(&changing, __ATOMIC_ACQUIRE); i++)
		__builtin_ia32_pause();
	return shared_read(ctx, pa, size, val);
}

static const struct pt_mem slow_mem = { .read = slow_read };

static struct pt_format fmt;
static struct pt_tree tree;
static unsigned walks_done; /* with its lowest bit set while a walk goes on */
static bool stop;

/*
 * 0x1000 to 0x1fffff are identity-mapped at all times; 0 comes and goes. The first few pages are
 * looked at: if the list of freed tables lay in their entries, it would lie there.
 */
static void *walker(void *unused)
{
	const struct pt_tree slow = { &fmt, &slow_mem, tree.root };
	uintptr_t wrong = 0;

	(void)unused;
	for (uint64_t i = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); i++) {
		uint64_t addr = i % 4 * PAGE_SIZE;
		struct pt_walk w;

		__atomic_fetch_add(&walks_done, 1, __ATOMIC_SEQ_CST);
		pt_walk(&slow, addr, &w);
		__atomic_fetch_add(&walks_done, 1, __ATOMIC_SEQ_CST);
		if (w.status == PT_NOT_PRESENT)
			wrong += addr != 0;
		else
			wrong += w.status != PT_OK || w.out != addr;
	}
	return (void *)wrong;
}

/* What a flush of another processor's translations does: its walk of now has ended. */
static void flush_walker(void)
{
	unsigned now = __atomic_load_n(&walks_done, __ATOMIC_SEQ_CST);

	while ((now & 1) && __atomic_load_n(&walks_done, __ATOMIC_SEQ_CST) == now)
		sched_yield();
}

/* Until a walk is under way. */
static void await_walker(void)
{
	while (!(__atomic_load_n(&walks_done, __ATOMIC_SEQ_CST) & 1))
		sched_yield();
}

static void test_one_walks_what_another_frees(void **state)
{
	const unsigned attrs = PT_R | PT_W | PT_A | PT_D;
	struct pt_flush flush = PT_FLUSH_NONE;
	const struct pt_caps caps = { .maxphyaddr = 40 };
	pthread_t thread;
	void *wrong;
	unsigned freed = 0;

	(void)state;
	pt_format_init(&fmt, PT_4LEVEL, &caps);
	assert_int_equal(pt_create(&tree, &fmt, &mem), PT_OK);
	assert_int_equal(pt_map(&tree, 0, 0, MIB(2), attrs, &flush), PT_OK);
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, walker, NULL), 0);
	for (unsigned i = 0; i < CHANGES; i++) {
		assert_int_equal(pt_unmap(&tree, 0, PAGE_SIZE, &flush), PT_OK);
		await_walker();
		__atomic_store_n(&changing, true, __ATOMIC_RELEASE);
		/* One large page again: the table of small ones falls out of the tree. */
		assert_int_equal(pt_map(&tree, 0, 0, PAGE_SIZE, attrs, &flush), PT_OK);
		__atomic_store_n(&changing, false, __ATOMIC_RELEASE);
		freed += flush.freed != 0;
		flush_walker();
		assert_int_equal(pt_release(&tree, &flush), PT_OK);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, &wrong), 0);
	if (wrong)
		fail_msg("%lu walks saw neither the old nor the new", (unsigned long)wrong);
	assert_int_equal(freed, CHANGES);
	pt_destroy(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_two_vcpus_fault_on_one_address, setup),
		cmocka_unit_test_setup(test_one_walks_what_another_frees, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
