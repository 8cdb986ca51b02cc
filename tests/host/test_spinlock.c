/* The checks of debug builds' spinlocks, and the byte ring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#define UMBRA_DEBUG
#include "arch/x86_64/lib/ring.h"
#include "arch/x86_64/lib/rw_lock.h"
#include "arch/x86_64/lib/spinlock.c"

static unsigned in_both, in_inner; /* guarded by outer and inner, and by inner */
static unsigned alone;             /* guarded by shared */
static uint32_t cpu[2];
static _Thread_local uint32_t *current = &cpu[0];

static uint32_t *held(void)
{
	return current;
}

static void said(const char *what)
{
	mock_assert(0, what, __FILE__, __LINE__);
	abort();
}

static bool handles, interruptible;

static bool in_handler(void)
{
	return handles;
}

static bool takes_interrupts(void)
{
	return interruptible;
}

static int setup_test(void **state)
{
	(void)state;
	cpu[0] = cpu[1] = 0;
	current = &cpu[0];
	spin_debug.held = held;
	spin_debug.misuse = said;
	spin_debug.in_handler = in_handler;
	spin_debug.takes_interrupts = takes_interrupts;
	handles = interruptible = false;
	memset(taken, 0, sizeof(taken));
	spin_looks = 0;
	in_both = in_inner = alone = 0;
	return 0;
}

/* With processors that need not be running. */
static int setup_looks(void **state)
{
	setup_test(state);
	spin_looks = 10;
	return 0;
}

static void test_nesting_in_order(void **state)
{
	struct spinlock a = SPINLOCK_INIT(LOCK_FRAME), b = SPINLOCK_INIT(LOCK_LOG);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		spin_lock(&a);
		spin_lock(&b);
		assert_true(spin_is_locked(&a) && spin_is_locked(&b));
		spin_unlock(&a); /* any order of release */
		spin_unlock(&b);
		assert_false(spin_is_locked(&a) || spin_is_locked(&b));
	}
	assert_int_equal(cpu[0], 0);
}

static void test_misuse(void **state)
{
	struct spinlock a = SPINLOCK_INIT(LOCK_FRAME), b = SPINLOCK_INIT(LOCK_LOG);
	struct spinlock same = SPINLOCK_INIT(LOCK_LOG);

	(void)state;
	expect_assert_failure(spin_unlock(&a));
	spin_lock(&b);
	expect_assert_failure(spin_lock(&a));
	expect_assert_failure(spin_lock(&b));
	expect_assert_failure(spin_lock(&same));
	current = &cpu[1]; /* the other CPU has nothing to do with that */
	spin_lock(&a);
	expect_assert_failure(spin_unlock(&b));
	spin_unlock(&a);
	current = &cpu[0];
	spin_unlock(&b);
}

/* --- two threads as two CPUs --- */

#define ROUNDS 20000
#define SHARED_ROUNDS 1000
static struct spinlock outer = SPINLOCK_INIT(LOCK_FRAME), inner = SPINLOCK_INIT(LOCK_LOG);

static void *contend(void *arg)
{
	current = arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i & 1)
			spin_lock(&outer);
		spin_lock(&inner);
		in_inner++;
		if (i & 1)
			in_both++;
		spin_unlock(&inner);
		if (i & 1)
			spin_unlock(&outer);
		if (!(i % 64))
			sched_yield();
	}
	return NULL;
}

/* What one holds is not held against the other, and nothing is counted twice or lost. */
static void test_contention(void **state)
{
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, contend, &cpu[1]), 0);
	contend(&cpu[0]);
	pthread_join(other, NULL);
	assert_int_equal(in_inner, 2 * ROUNDS);
	assert_int_equal(in_both, ROUNDS);
	assert_int_equal(cpu[0] | cpu[1], 0);
}

static bool was_there; /* guarded by outer */

static void *come_once(void *arg)
{
	current = arg;
	spin_lock(&outer);
	was_there = true;
	spin_unlock(&outer);
	return NULL;
}

/* Who wants it again has to wait until those have had it who came before. */
static void test_order_of_coming(void **state)
{
	pthread_t other;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		was_there = false;
		spin_lock(&outer);
		assert_int_equal(pthread_create(&other, NULL, come_once, &cpu[1]), 0);
		while (__atomic_load_n(&outer.next, __ATOMIC_RELAXED) - outer.serving < 2)
			sched_yield();
		spin_unlock(&outer);
		spin_lock(&outer);
		assert_true(was_there);
		spin_unlock(&outer);
		pthread_join(other, NULL);
	}
}

/* --- who waits looks before it draws a ticket --- */

static void *come_and_go(void *arg)
{
	current = arg;
	for (unsigned i = 0; i < 100; i++) {
		spin_lock(&outer);
		spin_unlock(&outer);
	}
	return NULL;
}

/* A free lock waits for nobody: who has it again and again keeps it while the other only looks. */
static void test_looks(void **state)
{
	pthread_t other;

	(void)state;
	spin_looks = UINT32_MAX;
	spin_lock(&outer);
	assert_int_equal(pthread_create(&other, NULL, come_and_go, &cpu[1]), 0);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(__atomic_load_n(&outer.next, __ATOMIC_RELAXED), outer.serving + 1);
		spin_unlock(&outer);
		sched_yield();
		spin_lock(&outer);
	}
	spin_unlock(&outer);
	pthread_join(other, NULL);
	assert_false(spin_is_locked(&outer));
}

static void test_ring(void **state)
{
	uint8_t bytes[8];
	struct ring r = RING_INIT(bytes);

	(void)state;
	r.head = r.tail = UINT32_MAX - 3; /* the counts wrap */
	assert_int_equal(ring_get(&r), -1);
	for (unsigned round = 0; round < 5; round++) {
		for (uint8_t i = 0; i < 8; i++) {
			assert_int_equal(ring_space(&r), 8 - i);
			assert_true(ring_put(&r, (uint8_t)(0xf8 + i)));
		}
		assert_false(ring_put(&r, 0));
		assert_int_equal(ring_used(&r), 8);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(ring_get(&r), 0xf8 + i);
		assert_true(ring_empty(&r));
		assert_int_equal(ring_get(&r), -1);
		ring_put(&r, 1); /* go on from another place */
		ring_get(&r);
	}
}

/* --- shared --- */

static struct rw_lock shared = RW_LOCK_INIT(LOCK_FRAME);
static unsigned together, most;

static void *share_and_exclude(void *arg)
{
	current = arg;
	for (unsigned i = 0; i < SHARED_ROUNDS; i++) {
		if (i % 3) {
			unsigned n;

			rw_lock_shared(&shared);
			n = __atomic_add_fetch(&together, 1, __ATOMIC_RELAXED);
			if (n > __atomic_load_n(&most, __ATOMIC_RELAXED))
				__atomic_store_n(&most, n, __ATOMIC_RELAXED);
			if (!(i % 64))
				sched_yield();
			__atomic_sub_fetch(&together, 1, __ATOMIC_RELAXED);
			rw_unlock_shared(&shared);
		} else {
			rw_lock(&shared);
			assert_int_equal(__atomic_load_n(&together, __ATOMIC_RELAXED), 0);
			alone++;
			rw_unlock(&shared);
		}
		if (!(i % 64))
			sched_yield();
	}
	return NULL;
}

static void test_shared_or_alone(void **state)
{
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, share_and_exclude, &cpu[1]), 0);
	share_and_exclude(&cpu[0]);
	pthread_join(other, NULL);
	assert_int_equal(alone, 2 * ((SHARED_ROUNDS + 2) / 3));
	assert_int_equal(shared.share, shared.next);
	assert_int_equal(shared.exclude, shared.next);
	assert_int_equal(cpu[0] | cpu[1], 0);
}

static void *share_once(void *arg)
{
	current = arg;
	rw_lock_shared(&shared);
	__atomic_store_n(&was_there, true, __ATOMIC_RELEASE);
	rw_unlock_shared(&shared);
	return NULL;
}

static void *exclude_once(void *arg)
{
	current = arg;
	rw_lock(&shared);
	__atomic_store_n(&was_there, true, __ATOMIC_RELEASE);
	rw_unlock(&shared);
	return NULL;
}

static void wait_for_two(void)
{
	uint32_t begin = shared.exclude;

	while (__atomic_load_n(&shared.next, __ATOMIC_RELAXED) - begin < 2)
		sched_yield();
}

/* Two share it at the same time; who wants it alone waits, and who comes behind him waits for him.
 */
static void test_who_waits(void **state)
{
	pthread_t other;

	(void)state;
	was_there = false;
	rw_lock_shared(&shared);
	assert_int_equal(pthread_create(&other, NULL, share_once, &cpu[1]), 0);
	pthread_join(other, NULL);
	assert_true(was_there);
	rw_unlock_shared(&shared);

	was_there = false;
	rw_lock_shared(&shared);
	assert_int_equal(pthread_create(&other, NULL, exclude_once, &cpu[1]), 0);
	wait_for_two();
	assert_false(__atomic_load_n(&was_there, __ATOMIC_ACQUIRE));
	rw_unlock_shared(&shared);
	rw_lock_shared(&shared);
	assert_true(__atomic_load_n(&was_there, __ATOMIC_ACQUIRE));
	rw_unlock_shared(&shared);
	pthread_join(other, NULL);

	was_there = false;
	rw_lock(&shared);
	assert_int_equal(pthread_create(&other, NULL, share_once, &cpu[1]), 0);
	wait_for_two();
	assert_false(__atomic_load_n(&was_there, __ATOMIC_ACQUIRE));
	rw_unlock(&shared);
	pthread_join(other, NULL);
	assert_true(was_there);
}

/* Not twice, not against the ranks, and not given back by who has not got it. */
static void test_shared_misuse(void **state)
{
	struct spinlock inner_one = SPINLOCK_INIT(LOCK_LOG);

	(void)state;
	current = &cpu[0];
	rw_lock_shared(&shared);
	expect_assert_failure(rw_lock_shared(&shared));
	expect_assert_failure(rw_lock(&shared));
	rw_unlock_shared(&shared);
	expect_assert_failure(rw_unlock_shared(&shared));
	expect_assert_failure(rw_unlock(&shared));
	spin_lock(&inner_one);
	expect_assert_failure(rw_lock_shared(&shared));
	spin_unlock(&inner_one);
	assert_int_equal(cpu[0], 0);
}

/* Those who share it do not give it back for who has it alone, nor he for them. */
static void test_shared_owner(void **state)
{
	static struct rw_lock other = RW_LOCK_INIT(LOCK_FRAME);

	(void)state;
	current = &cpu[0];
	rw_lock(&shared);
	expect_assert_failure(rw_unlock_shared(&shared));
	expect_assert_failure(rw_unlock(&other));
	expect_assert_failure(rw_unlock_shared(&other));
	current = &cpu[1];
	expect_assert_failure(rw_unlock(&shared));
	rw_lock_shared(&other);
	expect_assert_failure(rw_unlock(&shared));
	expect_assert_failure(rw_unlock(&other));
	rw_unlock_shared(&other);
	current = &cpu[0];
	rw_unlock(&shared);
	rw_lock_shared(&shared);
	expect_assert_failure(rw_unlock(&shared));
	rw_unlock_shared(&shared);
	assert_int_equal(cpu[0] | cpu[1], 0);
}

/* In a handler and with interrupts on, in either order; by rank. */
static void test_interrupts(void **state)
{
	struct spinlock a = SPINLOCK_INIT(LOCK_LOG), b = SPINLOCK_INIT(LOCK_LOG);
	struct spinlock other = SPINLOCK_INIT(LOCK_SERIAL);

	(void)state;
	handles = true;
	spin_lock(&a);
	spin_unlock(&a);
	handles = false;
	spin_lock(&b);
	spin_unlock(&b);
	interruptible = true;
	spin_lock(&other);
	spin_unlock(&other);
	rw_lock_shared(&shared);
	rw_unlock_shared(&shared);
	expect_assert_failure(spin_lock(&b));
	interruptible = false;
	spin_lock(&other);
	spin_unlock(&other);
	handles = true;
	expect_assert_failure(spin_lock(&other));
	expect_assert_failure(rw_lock(&shared));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nesting_in_order, setup_test),
		cmocka_unit_test_setup(test_misuse, setup_test),
		cmocka_unit_test_setup(test_contention, setup_test),
		cmocka_unit_test_setup(test_order_of_coming, setup_test),
		cmocka_unit_test_setup(test_shared_or_alone, setup_test),
		cmocka_unit_test_setup(test_who_waits, setup_test),
		cmocka_unit_test_setup(test_shared_misuse, setup_test),
		cmocka_unit_test_setup(test_shared_owner, setup_test),
		cmocka_unit_test_setup(test_interrupts, setup_test),
		cmocka_unit_test_setup(test_looks, setup_looks),
		cmocka_unit_test_setup(test_misuse, setup_looks),
		cmocka_unit_test_setup(test_contention, setup_looks),
		cmocka_unit_test_setup(test_order_of_coming, setup_looks),
		cmocka_unit_test_setup(test_shared_or_alone, setup_looks),
		cmocka_unit_test_setup(test_who_waits, setup_looks),
		cmocka_unit_test_setup(test_shared_misuse, setup_looks),
		cmocka_unit_test(test_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
