/* vmm/sched.c: shares by weight, sleepers, turns; a CPU that is simulated tick by tick. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "tests/host/sched_fixture.h"
#include "vmm/sched.h"

#define HZ 1000000u /* a tick is a microsecond */
#define MS 1000u
#define SLICE (SCHED_SLICE_MS * MS)
#define SLEEPS_FOR_EVER UINT64_MAX

/* --- the simulation --- */

/* One that works for a while, sleeps for a while, and so on. work 0: it never sleeps. */
struct task {
	struct sched_entity e;
	struct sched_share own;
	uint64_t work, sleep;
	uint64_t left;    /* of its work */
	uint64_t wake_at; /* 0: it is awake */
	uint64_t woke_at; /* and has waited since; 0: no */
	uint64_t longest_wait;
};

static struct sched s;
static uint64_t now;

static bool can_run(struct sched_entity *e)
{
	struct task *t = container_of(e, struct task, e);

	if (t->wake_at && t->wake_at <= now) {
		t->woke_at = t->wake_at;
		t->wake_at = 0;
	}
	return !t->wake_at;
}

/* share NULL: it has its own. */
static void task_add_to(struct task *t, struct sched_share *share, uint32_t weight, uint64_t work,
			uint64_t sleep)
{
	*t = (struct task){ .work = work, .sleep = sleep, .left = work, .woke_at = now };
	sched_share_init(&t->own, weight);
	sched_entity_init(&t->e, share ? share : &t->own, &(struct cpu_set){ { 0 } });
	sched_add(&s, &t->e);
}

static void task_add(struct task *t, uint32_t weight, uint64_t work, uint64_t sleep)
{
	task_add_to(t, NULL, weight, work, sleep);
}

static void start(void)
{
	now = 1;
	sched_init(&s, 0, HZ);
}

/* When the next sleeper wakes, before end. */
static uint64_t next_wake(uint64_t end)
{
	list_for_each (n, &s.queue) {
		const struct task *t = container_of(n, struct task, e.node);

		if (t->wake_at && t->wake_at > now)
			end = MIN(end, t->wake_at);
	}
	return end;
}

/* As the run loop does it: until the turn ends, somebody wakes, or who runs goes to sleep. */
static void simulate(uint64_t ticks)
{
	uint64_t end = now + ticks;

	while (now < end) {
		bool others;
		struct sched_entity *e = look_and_pick(&s, can_run, &others);
		uint64_t until = next_wake(end);
		struct task *t;

		if (!e) {
			now = until;
			continue;
		}
		t = container_of(e, struct task, e);
		if (t->woke_at) {
			t->longest_wait = MAX(t->longest_wait, now - t->woke_at);
			t->woke_at = 0;
		}
		if (others)
			until = MIN(until, now + sched_left(&s));
		if (t->work)
			until = MIN(until, now + t->left);
		sched_charge(&s, until - now);
		t->left -= t->work ? until - now : 0;
		now = until;
		if (t->work && !t->left) {
			t->left = t->work;
			t->wake_at = t->sleep == SLEEPS_FOR_EVER ? t->sleep : now + t->sleep;
		}
	}
}

/* Its part of the time, in thousandths. */
static void expect_share(const struct task *t, uint64_t of, unsigned least, unsigned most)
{
	uint64_t share = t->e.ran * 1000 / of;

	if (share < least || share > most)
		fail_msg("weight %u: expected %u to %u thousandths, seen %llu", t->e.share->weight,
			 least, most, (unsigned long long)share);
}

/* --- shares --- */

static void test_equal(void **state)
{
	struct task t[4];

	(void)state;
	start();
	for (unsigned i = 0; i < 4; i++)
		task_add(&t[i], 0, 0, 0);
	simulate(10 * HZ);
	for (unsigned i = 0; i < 4; i++)
		expect_share(&t[i], 10 * HZ, 248, 252);
}

static void test_weights(void **state)
{
	static const struct {
		uint32_t a, b;
		unsigned share; /* of a, in thousandths */
	} cases[] = {
		{ 256, 256, 500 },     { 512, 256, 667 }, { 128, 256, 333 },
		{ 100, 300, 250 },     { 1, 256, 4 },     { 10000, 256, 975 },
		{ 10000, 10000, 500 }, { 1, 1, 500 },     { 10000, 1, 1000 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct task a, b;

		start();
		task_add(&a, cases[i].a, 0, 0);
		task_add(&b, cases[i].b, 0, 0);
		simulate(UINT64_C(100) * HZ);
		expect_share(&a, UINT64_C(100) * HZ, cases[i].share - MIN(cases[i].share, 3u),
			     cases[i].share + 3);
		assert_true(b.e.ran > 0);
		assert_int_equal(a.e.ran + b.e.ran, UINT64_C(100) * HZ);
	}
}

/* Who comes later begins where the others are: it is owed nothing. */
static void test_late_comer(void **state)
{
	struct task a, b;

	(void)state;
	start();
	task_add(&a, 0, 0, 0);
	simulate(100 * HZ);
	task_add(&b, 0, 0, 0);
	simulate(HZ);
	expect_share(&b, HZ, 490, 510);
}

/* --- sleepers --- */

/* One that sleeps nearly always has its turn when it wakes, however many do not sleep. */
/* Who is looked at again and again, in the middle of turns, has neither more nor less for it. */
static void test_set_aside(void **state)
{
	static struct task a, b;

	(void)state;
	start();
	task_add(&a, 0, 0, 0);
	task_add(&b, 0, 0, 0);
	for (unsigned i = 0; i < 400; i++) {
		simulate(SLICE / 4);
		sched_set_aside(&s, &a.e);
		sched_set_aside(&s, &b.e);
		sched_add(&s, &a.e);
		sched_add(&s, &b.e);
	}
	assert_true(a.e.ran > 480 * SLICE / 10 && a.e.ran < 520 * SLICE / 10);
}

/* Nor has he who is added first each time, when neither has had anything for long. */
static void test_set_aside_in_order(void **state)
{
	static struct task a, b, other;
	uint64_t first;

	(void)state;
	start();
	task_add(&other, 0, 0, 0);
	task_add(&a, 0, 0, 0);
	task_add(&b, 0, 0, 0);
	for (unsigned i = 0; i < 40; i++) {
		a.wake_at = b.wake_at = now + 100 * MS;
		simulate(100 * MS);
		sched_set_aside(&s, &a.e);
		sched_set_aside(&s, &b.e);
		if (i & 1) {
			sched_clear_lag(&a.e);
			sched_clear_lag(&b.e);
		}
		sched_add(&s, &a.e);
		sched_add(&s, &b.e);
		first = a.e.ran + b.e.ran;
		while (a.e.ran + b.e.ran == first)
			simulate(MS);
	}
	assert_true(a.e.ran > 0 && b.e.ran > 0);
	assert_true(a.e.ran < 2 * b.e.ran && b.e.ran < 2 * a.e.ran);
}

static void test_sleeper_is_not_kept_waiting(void **state)
{
	struct task busy[31], sleeper;

	(void)state;
	start();
	for (unsigned i = 0; i < 31; i++)
		task_add(&busy[i], 0, 0, 0);
	task_add(&sleeper, 0, MS / 10, 20 * MS);
	simulate(20 * HZ);
	if (sleeper.longest_wait > 400 * MS) /* the first time: it has come last */
		fail_msg("expected less than 400 ms, seen %llu us",
			 (unsigned long long)sleeper.longest_wait);
	sleeper.longest_wait = 0;
	simulate(20 * HZ);
	assert_int_equal(sleeper.longest_wait, 0);
	for (unsigned i = 0; i < 31; i++)
		expect_share(&busy[i], 40 * HZ, 30, 34);
}

/* Sleep as they may, they get no more than their share, and nobody is left out. */
static void test_sleepers_cannot_starve(void **state)
{
	uint64_t random = 7;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct task busy, t[3];

		start();
		task_add(&busy, 0, 0, 0);
		for (unsigned i = 0; i < 3; i++)
			task_add(&t[i], 0, 1 + fake_random64(&random) % (20 * MS),
				 1 + fake_random64(&random) % (20 * MS));
		simulate(10 * HZ);
		expect_share(&busy, 10 * HZ, 248, 1000);
		for (unsigned i = 0; i < 3; i++)
			assert_true(t[i].e.ran > 0);
	}
}

/* After a day of sleep a guest has its credit, and then its share. */
static void test_long_sleep(void **state)
{
	struct task a, b;
	uint64_t ran;

	(void)state;
	start();
	task_add(&a, 0, 0, 0);
	task_add(&b, 0, MS, 86400ull * HZ);
	simulate(86400ull * HZ);
	b.work = 0;
	ran = a.e.ran;
	simulate(HZ);
	ran = a.e.ran - ran;
	assert_in_range(ran, HZ / 2 - SLICE - SCHED_CREDIT_MS * MS, HZ / 2 + SLICE);
}

/* Virtual time wraps at 2^64: of weight 1 that takes a while. */
static void test_wrap(void **state)
{
	struct task a, b, c;

	(void)state;
	start();
	s.vtime = 0 - (uint64_t)HZ;
	task_add(&a, 0, 0, 0);
	task_add(&b, 0, 0, 0);
	task_add(&c, 1, MS, SLEEPS_FOR_EVER);
	simulate(10 * HZ);
	assert_true(s.vtime < UINT64_C(10) * HZ); /* it has wrapped */
	expect_share(&a, 10 * HZ, 490, 510);
	expect_share(&b, 10 * HZ, 490, 510);
}

/* --- turns --- */

static bool awake(struct sched_entity *e)
{
	(void)e;
	return true;
}

static void test_turn(void **state)
{
	struct sched_share of_a, of_b;
	struct sched_entity a, b;
	bool others;

	(void)state;
	sched_init(&s, 0, HZ);
	sched_share_init(&of_a, 0);
	sched_share_init(&of_b, 0);
	sched_entity_init(&a, &of_a, &(struct cpu_set){ { 0 } });
	sched_entity_init(&b, &of_b, &(struct cpu_set){ { 0 } });
	assert_null(look_and_pick(&s, awake, &others));
	sched_add(&s, &a);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	assert_false(others);
	sched_add(&s, &b);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	assert_true(others);
	assert_int_equal(sched_left(&s), SLICE);
	sched_charge(&s, SLICE / 10);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	assert_int_equal(sched_left(&s), SLICE - SLICE / 10);
	sched_charge(&s, SLICE / 2); /* and beyond: b has not slept */
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	a.yields = true;
	assert_ptr_equal(look_and_pick(&s, awake, &others), &b);
	assert_int_equal(sched_left(&s), SLICE);
	sched_remove(&s, &b);
	sched_remove(&s, &b);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	a.yields = true;
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	assert_false(a.yields);
	sched_remove(&s, &a);
	assert_null(look_and_pick(&s, awake, &others));
	assert_false(others);
	sched_charge(&s, 5); /* nobody's */
	assert_true(sched_left(&s) > 0);
}

/* A TSC that went back counts as one that stood, one that leapt as a long turn: nobody pays for it
 * for ever. */
static void test_clock_that_leaps(void **state)
{
	static const uint64_t leaps[] = {
		0,         0 - (uint64_t)1,  0 - (uint64_t)HZ * 3600, UINT64_C(1) << 63,
		INT64_MAX, UINT64_C(1) << 60
	};
	uint64_t ran;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(leaps); i++) {
		struct sched_entity *e;
		struct task a, b;
		bool others;

		start();
		task_add(&a, 0, 0, 0);
		task_add(&b, 0, 0, 0);
		simulate(HZ);
		e = look_and_pick(&s, can_run, &others);
		ran = e->ran;
		sched_charge(&s, leaps[i]);
		assert_int_equal(e->ran, ran + ((int64_t)leaps[i] < 0 ? 0 : leaps[i]));
		ran = e->ran;
		simulate(60 * HZ);
		assert_true(e->ran - ran > 20 * HZ);
	}
}

/* A turn of a guest of little weight is short, but not too short to be worth it. */
static void test_slices(void **state)
{
	static const struct {
		uint32_t weight;
		uint64_t slice;
	} cases[] = {
		{ 1, MS }, { 25, MS }, { 128, 5 * MS }, { 256, 10 * MS }, { 10000, 10 * MS }
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sched_share group;
		struct sched_entity e;
		bool others;

		sched_init(&s, 0, HZ);
		sched_share_init(&group, cases[i].weight);
		sched_entity_init(&e, &group, &(struct cpu_set){ { 0 } });
		sched_add(&s, &e);
		assert_ptr_equal(look_and_pick(&s, awake, &others), &e);
		assert_int_equal(sched_left(&s), cases[i].slice);
	}
}

static void test_pinning(void **state)
{
	struct sched_share group;
	struct sched_entity e;
	bool others;

	(void)state;
	sched_init(&s, 1, HZ);
	sched_share_init(&group, 0);
	sched_entity_init(&e, &group, &(struct cpu_set){ { BIT(0) | BIT(2) } });
	sched_add(&s, &e);
	assert_null(look_and_pick(&s, awake, &others));
	e.cpus = cpu_set_of(1);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &e);
}

/* --- groups --- */

/* A VM has its weight, however many vCPUs it has; and all of it when one alone of them is busy. */
static void test_group_shares_weight(void **state)
{
	struct sched_share many, few;
	struct task a[8], b, lone, asleep[7];

	(void)state;
	start();
	sched_share_init(&many, 0);
	for (unsigned i = 0; i < 8; i++)
		task_add_to(&a[i], &many, 0, 0, 0);
	task_add(&b, 0, 0, 0);
	sched_share_init(&few, 0);
	task_add_to(&lone, &few, 0, 0, 0);
	for (unsigned i = 0; i < 7; i++)
		task_add_to(&asleep[i], &few, 0, 1, SLEEPS_FOR_EVER);
	simulate(UINT64_C(100) * HZ);
	for (unsigned i = 0; i < 8; i++)
		expect_share(&a[i], UINT64_C(100) * HZ, 40, 43);
	expect_share(&b, UINT64_C(100) * HZ, 330, 336);
	expect_share(&lone, UINT64_C(100) * HZ, 330, 336);
	assert_int_equal(many.awake, 8);
	assert_int_equal(few.awake, 1);
	sched_remove(&s, &a[0].e);
	sched_remove(&s, &a[0].e);
	assert_int_equal(many.awake, 7);
}

/* The vCPUs of one VM have their turns within the time of one turn. */
static void test_group_shares_turn(void **state)
{
	struct sched_share group;
	struct sched_entity e[4];
	bool others;

	(void)state;
	sched_init(&s, 0, HZ);
	sched_share_init(&group, 0);
	for (unsigned i = 0; i < 4; i++) {
		sched_entity_init(&e[i], &group, &(struct cpu_set){ { 0 } });
		sched_add(&s, &e[i]);
	}
	look_and_pick(&s, awake, &others);
	assert_int_equal(sched_left(&s), SLICE / 4);
}

/* Who spins waits for a vCPU of its own VM: that one is next, though others are less far on; but
 * not when they would have to pay for it. */
static void test_yield_to_sibling(void **state)
{
	struct sched_share vm, of_other;
	struct sched_entity a, b, other;
	bool others;

	(void)state;
	sched_init(&s, 0, HZ);
	sched_share_init(&vm, 0);
	sched_share_init(&of_other, 0);
	sched_entity_init(&a, &vm, &(struct cpu_set){ { 0 } });
	sched_entity_init(&b, &vm, &(struct cpu_set){ { 0 } });
	sched_entity_init(&other, &of_other, &(struct cpu_set){ { 0 } });
	sched_add(&s, &a);
	sched_add(&s, &other);
	sched_add(&s, &b);
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	b.vtime += MS;
	a.yields = true;
	assert_ptr_equal(look_and_pick(&s, awake, &others), &b);
	assert_false(a.yields);
	sched_charge(&s, MS);
	b.yields = true;
	assert_ptr_equal(look_and_pick(&s, awake, &others), &a);
	vm.group[0].vtime = of_other.group[0].vtime + SCHED_CREDIT_MS * MS;
	a.yields = true;
	assert_ptr_equal(look_and_pick(&s, awake, &others), &other);
}

/* Two that do nothing but yield to each other get no more than their VM's share. */
static void test_yields_cannot_starve(void **state)
{
	struct sched_share vm;
	struct task t[2], busy;

	(void)state;
	start();
	sched_share_init(&vm, 0);
	task_add_to(&t[0], &vm, 0, 0, 0);
	task_add_to(&t[1], &vm, 0, 0, 0);
	task_add(&busy, 0, 0, 0);
	for (unsigned i = 0; i < 100000; i++) {
		bool others;
		struct sched_entity *e = look_and_pick(&s, awake, &others);

		sched_charge(&s, MS / 10);
		now += MS / 10;
		if (e != &busy.e)
			e->yields = true;
	}
	expect_share(&busy, now, 490, 1000);
	expect_share(&t[0], now, 200, 260);
}

/* vCPUs that wake one after the other, each alone, get their VM's share together, not one each. */
static void test_relay_cannot_starve(void **state)
{
	struct sched_share vm;
	struct task t[16], busy;
	uint64_t ran = 0;

	(void)state;
	start();
	sched_share_init(&vm, 0);
	task_add(&busy, 0, 0, 0);
	for (unsigned i = 0; i < 16; i++)
		task_add_to(&t[i], &vm, 0, 5 * MS, 35 * MS);
	simulate(UINT64_C(20) * HZ);
	expect_share(&busy, UINT64_C(20) * HZ, 495, 1000);
	for (unsigned i = 0; i < 16; i++)
		ran += t[i].e.ran;
	assert_in_range(ran * 1000 / (UINT64_C(20) * HZ), 490, 505);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_late_comer),
		cmocka_unit_test(test_set_aside),
		cmocka_unit_test(test_set_aside_in_order),
		cmocka_unit_test(test_sleeper_is_not_kept_waiting),
		cmocka_unit_test(test_sleepers_cannot_starve),
		cmocka_unit_test(test_long_sleep),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_clock_that_leaps),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_pinning),
		cmocka_unit_test(test_group_shares_weight),
		cmocka_unit_test(test_group_shares_turn),
		cmocka_unit_test(test_yield_to_sibling),
		cmocka_unit_test(test_yields_cannot_starve),
		cmocka_unit_test(test_relay_cannot_starve),
	};

	return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
