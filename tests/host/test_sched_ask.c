/* vmm/sched.c when a CPU that has nothing to do asks another one for a vCPU: how soon one comes,
 * and how often the other's turns are interrupted for it. The CPUs' loops are simulated in steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "tests/host/fakes.h"
#include "tests/host/sched_fixture.h"
#include "vmm/sched.h"

#define HZ 1000000u /* a tick is a microsecond */
#define MS 1000u
#define STEP 10u

#define CPUS 3
#define TASKS_MAX 5

/* A vCPU that sleeps until some time, and for ever once it has worked so long. work 0: it never
 * sleeps again. */
struct task {
	struct sched_entity e;
	struct sched_share vm;
	uint64_t work, wakes;
	uint64_t moved_at; /* last; 0: never */
};

/* A CPU's loop, as turns.c has it. */
struct loop {
	struct sched s;
	struct task *runs;
	uint64_t turn; /* ticks of it that are not charged yet */
	struct slice slice;
	struct sched *asks; /* who has asked it, and is to have its answer */
	unsigned interrupted;
	bool kicked; /* somebody there has been woken */
};

static struct loop loop[CPUS];
static struct sched *all[CPUS];
static struct task task[TASKS_MAX];
static unsigned nr_tasks, moves;
static uint64_t now, moved_at;
static uint64_t interrupts; /* a CPU that has nothing to do is woken so often; 0: never */

static bool can_run(struct sched_entity *e)
{
	const struct task *t = container_of(e, struct task, e);

	return now >= t->wakes && (!t->work || e->ran < t->work);
}

static void begin(uint64_t interrupts_every)
{
	memset(loop, 0, sizeof(loop));
	memset(task, 0, sizeof(task));
	nr_tasks = moves = 0;
	now = moved_at = 0;
	interrupts = interrupts_every;
	for (unsigned i = 0; i < CPUS; i++) {
		sched_init(&loop[i].s, i, HZ);
		all[i] = &loop[i].s;
	}
}

static struct task *add(unsigned at, uint64_t cpus, uint64_t work)
{
	struct task *t = &task[nr_tasks++];

	t->work = work;
	sched_share_init(&t->vm, 0);
	sched_entity_init(&t->e, &t->vm, &(struct cpu_set){ { cpus } });
	sched_add(&loop[at].s, &t->e);
	return t;
}

static void send(struct sched_entity *e)
{
	moves++;
	moved_at = container_of(e, struct task, e)->moved_at = now;
	assert_true(cpu_set_has(&e->cpus, e->to->cpu));
}

static void ask(struct loop *l)
{
	struct sched *busy = sched_busiest(all, CPUS, &l->s);

	if (!busy)
		return;
	loop[busy->cpu].asks = &l->s;
	loop[busy->cpu].interrupted++;
}

static void make_round(struct loop *l)
{
	bool others;
	struct sched_entity *next, *away;
	bool was_idle = !l->runs;

	sched_look(&l->s, can_run);
	while ((away = sched_spread(&l->s, all, CPUS)))
		send(away);
	next = sched_pick(&l->s, &others);
	while ((away = sched_balance(&l->s, all, CPUS)))
		send(away);
	l->runs = next ? container_of(next, struct task, e) : NULL;
	if (!next) {
		if (!was_idle || (interrupts && now % interrupts == 0))
			ask(l);
		return;
	}
	take_turn(&l->slice, &l->s, others);
}

static void step(struct loop *l)
{
	bool slice_over;

	if (l->runs) {
		l->turn += STEP;
		l->slice.left -= MIN(l->slice.left, STEP);
		slice_over = l->slice.runs && !l->slice.left;
		if (!slice_over && !l->asks && !l->kicked &&
		    (!l->runs->work || l->runs->e.ran + l->turn < l->runs->work))
			return;
		if (slice_over)
			set_slice(&l->slice, &l->s, false);
		sched_charge(&l->s, l->turn);
		l->turn = 0;
	}
	if (l->asks) {
		struct sched_entity *e = sched_give(&l->s, l->asks);

		l->asks = NULL;
		if (e)
			send(e);
	}
	l->kicked = false;
	make_round(l);
}

static void simulate(uint64_t ticks)
{
	for (uint64_t end = now + ticks; now < end; now += STEP) {
		for (unsigned i = 0; i < nr_tasks; i++)
			if (task[i].e.to)
				sched_add(task[i].e.to, &task[i].e);
			else if (task[i].wakes == now)
				loop[task[i].e.group - task[i].vm.group].kicked = true;
		for (unsigned i = 0; i < CPUS; i++)
			step(&loop[i]);
	}
}

/* Those who wait there may not go where nothing is to do: nobody is interrupted to say so. */
static void test_nobody_to_give(void **state)
{
	(void)state;
	begin(100);
	add(0, BIT(0), 0);
	add(0, BIT(0), 0);
	simulate(100 * MS);
	assert_int_equal(loop[0].interrupted, 0);
	assert_int_equal(moves, 0);
	/* One more, who may go to one of the two others. */
	add(0, BIT(0) | BIT(2), 0);
	simulate(100 * MS);
	assert_int_equal(moves, 1);
	assert_ptr_equal(task[2].e.group, &task[2].vm.group[2]);
	assert_in_range(loop[0].interrupted, 0, 1);
	assert_in_range(task[2].e.ran + loop[2].turn, 85 * MS, 100 * MS);
}

/* One who waits there, but has had the CPU just now: he comes when that is a millisecond ago, not
 * when the turn that has just begun ends, and is asked for once. */
static void test_comes_when_cold(void **state)
{
	static const uint64_t every[] = { 0, 100, 250 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(every); i++) {
		begin(every[i]);
		add(1, BIT(1), SCHED_SLICE_MS * MS + 300);
		simulate(STEP);
		add(0, BIT(0) | BIT(1), 0);
		add(0, BIT(0) | BIT(1), 0);
		simulate(2 * SCHED_SLICE_MS * MS - MS);
		if (moves != 1 || moved_at > (SCHED_SLICE_MS + 2) * MS || loop[0].interrupted != 1)
			fail_msg("interrupts every %u us: expected one move within 2 ms, seen %u, "
				 "at %u us, and %u interruptions",
				 (unsigned)every[i], moves, (unsigned)moved_at,
				 loop[0].interrupted);
	}
}

/* Nor does one ask for another while the first is on its way to it. */
static void test_one_at_a_time(void **state)
{
	bool others;

	(void)state;
	begin(0);
	for (unsigned i = 0; i < 3; i++)
		add(0, 0, 0);
	assert_non_null(look_and_pick(&loop[0].s, can_run, &others));
	assert_ptr_equal(sched_busiest(all, CPUS, &loop[1].s), &loop[0].s);
	assert_non_null(sched_give(&loop[0].s, &loop[1].s));
	assert_null(sched_busiest(all, CPUS, &loop[1].s));
	assert_ptr_equal(sched_busiest(all, CPUS, &loop[2].s), &loop[0].s);
	assert_non_null(sched_give(&loop[0].s, &loop[2].s));
	sched_add(&loop[1].s, task[1].e.to == &loop[1].s ? &task[1].e : &task[2].e);
	assert_null(sched_busiest(all, CPUS, &loop[1].s)); /* nobody waits there any more */
}

/* Two wake at once where one more runs, and two CPUs have nothing to do: both are sent at once. */
static void test_two_wake(void **state)
{
	const uint64_t wake = 5 * MS;

	(void)state;
	begin(0);
	add(0, 0, 0);
	for (unsigned i = 1; i <= 2; i++)
		add(0, 0, 0)->wakes = wake;
	simulate(30 * MS);
	assert_int_equal(moves, 2);
	for (unsigned i = 1; i <= 2; i++)
		assert_int_equal(task[i].moved_at, wake);
	assert_int_equal(task[0].e.ran + loop[0].turn, 30 * MS - STEP);
}

/* Neither is to have his turn first: both go at once. */
static void test_two_wake_behind(void **state)
{
	struct sched_entity *e;
	bool others;

	(void)state;
	begin(0);
	add(0, 0, 0);
	assert_ptr_equal(look_and_pick(&loop[0].s, can_run, &others), &task[0].e);
	for (unsigned i = 1; i <= 2; i++)
		add(0, 0, 0);
	assert_ptr_equal(look_and_pick(&loop[0].s, can_run, &others), &task[0].e);
	for (unsigned i = 1; i <= 2; i++) {
		e = sched_balance(&loop[0].s, all, CPUS);
		assert_non_null(e);
		assert_ptr_not_equal(e, &task[0].e);
		assert_ptr_equal(e->to, &loop[i].s);
	}
	assert_null(sched_balance(&loop[0].s, all, CPUS));
}

/* One wakes where another has his turn, and a CPU has nothing to do where he may go: that one's
 * turn goes on, whether he could have gone there or not, and no matter how long it has been. */
static void test_woken_goes(void **state)
{
	static const struct {
		uint64_t cpus, cpus_woken, wakes;
		unsigned to;
	} cases[] = {
		{ BIT(0), 0, 5 * MS, 1 },
		{ BIT(0), 0, 100 * MS, 1 },
		{ BIT(0), BIT(0) | BIT(2), 100 * MS, 2 },
		{ 0, 0, 5 * MS, 1 },
		{ 0, BIT(0) | BIT(2), 100 * MS, 2 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(0);
		add(0, cases[i].cpus, 0);
		add(0, cases[i].cpus_woken, 0)->wakes = cases[i].wakes;
		simulate(cases[i].wakes + 30 * MS);
		assert_int_equal(moves, 1);
		assert_int_equal(task[1].moved_at, cases[i].wakes);
		assert_int_equal(task[1].e.group - task[1].vm.group, cases[i].to);
		assert_int_equal(task[0].e.ran + loop[0].turn, now - STEP);
		assert_in_range(task[1].e.ran + loop[cases[i].to].turn, 30 * MS - 3 * STEP,
				30 * MS);
	}
}

/* He stays where no other CPU is his, or has nothing to do: then he cuts off who runs, pinned or
 * not. */
static void test_woken_stays(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		begin(0);
		add(0, BIT(0), 0);
		add(1, BIT(1), 0);
		add(0, i ? BIT(0) : BIT(0) | BIT(1), 0)->wakes = 100 * MS;
		simulate(105 * MS);
		assert_int_equal(moves, 0);
		assert_in_range(task[2].e.ran + loop[0].turn, 5 * MS - STEP, 5 * MS);
	}
}

/* He has had the CPU just now: he goes at once only if the other one cannot, else when he is cold.
 */
static void test_warm_woken(void **state)
{
	static const struct {
		uint64_t cpus, moved, until;
	} cases[] = { { BIT(0), 5200, 5200 }, { 0, 5800, 6300 } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(0);
		add(0, cases[i].cpus, 0)->wakes = 5 * MS;
		add(0, BIT(0) | BIT(1), 0);
		simulate(5 * MS - STEP);
		task[1].wakes = 5200;
		loop[0].kicked = true;
		simulate(5 * MS);
		assert_int_equal(moves, 1);
		assert_in_range(moved_at, cases[i].moved, cases[i].until);
	}
}

/* Two CPUs have nothing to do at once, where both who wait have run just now: both come as soon as
 * they are cold. */
static void test_two_come_when_cold(void **state)
{
	const uint64_t idle = 2 * SCHED_SLICE_MS * MS + 300;

	(void)state;
	begin(0);
	add(1, BIT(1), idle);
	add(2, BIT(2), idle);
	simulate(STEP);
	for (unsigned i = 0; i < 3; i++)
		add(0, 0, 0);
	simulate(4 * SCHED_SLICE_MS * MS);
	assert_int_equal(moves, 2);
	for (unsigned i = 2; i < nr_tasks; i++)
		if (task[i].moved_at > idle + 2 * SCHED_WARM_MS * MS)
			fail_msg("two CPUs had nothing to do at %u us; one was sent there at %u us",
				 (unsigned)idle, (unsigned)task[i].moved_at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_to_give),  cmocka_unit_test(test_comes_when_cold),
		cmocka_unit_test(test_one_at_a_time),   cmocka_unit_test(test_two_wake),
		cmocka_unit_test(test_two_wake_behind), cmocka_unit_test(test_two_come_when_cold),
		cmocka_unit_test(test_woken_goes),      cmocka_unit_test(test_woken_stays),
		cmocka_unit_test(test_warm_woken),
	};

	return cmocka_run_group_tests_name("sched_ask", tests, NULL, NULL);
}
