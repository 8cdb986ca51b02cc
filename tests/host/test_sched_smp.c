/* vmm/sched.c on several CPUs, whose loops are simulated in steps: shares by weight, who waits
 * while another CPU is idle, how often vCPUs are sent about. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "tests/host/sched_fixture.h"
#include "vmm/sched.h"

#define HZ 1000000u /* a tick is a microsecond */
#define MS 1000u
#define STEP 100u

#define CPUS_MAX 4
#define VMS_MAX 8
#define TASKS_MAX 64

/* A vCPU that works for a while, sleeps for a while, and so on. work 0: it never sleeps. */
struct task {
	struct sched_entity e;
	uint64_t work, sleep;
	uint64_t left;    /* of its work */
	uint64_t wake_at; /* 0: it is awake */
	uint64_t waits_since, longest_wait;
	unsigned moves;
};

/* A CPU's loop, as turns.c has it: it looks around when a turn ends, or something has come. */
struct loop {
	struct task *runs;
	uint64_t turn; /* ticks of it that are not charged yet */
	struct slice slice;
	bool kicked;
};

static struct sched cpu[CPUS_MAX];
static struct loop loop[CPUS_MAX];
static struct sched *all[CPUS_MAX];
static unsigned nr_cpus;
static struct sched_share vm[VMS_MAX];
static struct task task[TASKS_MAX];
static unsigned nr_tasks;
static unsigned asked; /* CPUs were for their speed */
static uint64_t now, idle_while_waiting;
static bool pulls; /* a CPU that has nothing to do asks for something */

static struct task *task_of(struct sched_entity *e)
{
	return container_of(e, struct task, e);
}

static bool can_run(struct sched_entity *e)
{
	return task_of(e)->wake_at <= now;
}

static void start(unsigned cpus)
{
	now = 1;
	nr_cpus = cpus;
	nr_tasks = asked = 0;
	idle_while_waiting = 0;
	pulls = true;
	memset(vm, 0, sizeof(vm));
	memset(all, 0, sizeof(all));
	memset(loop, 0, sizeof(loop));
	for (unsigned i = 0; i < cpus; i++) {
		sched_init(&cpu[i], i, HZ);
		all[i] = &cpu[i];
	}
}

static struct task *task_add(unsigned of, uint64_t cpus, uint64_t work, uint64_t sleep)
{
	struct task *t = &task[nr_tasks++];

	assert_true(nr_tasks <= TASKS_MAX);
	*t = (struct task){ .work = work, .sleep = sleep, .left = work, .waits_since = now };
	sched_entity_init(&t->e, &vm[of], &(struct cpu_set){ { cpus } });
	assert_non_null(sched_place(all, nr_cpus, &t->e));
	loop[t->e.to->cpu].kicked = true;
	sched_add(t->e.to, &t->e);
	return t;
}

/* vCPUs that never sleep, on whatever CPU. */
static void vm_add(unsigned n, uint32_t weight, unsigned vcpus)
{
	sched_share_init(&vm[n], weight);
	for (unsigned i = 0; i < vcpus; i++)
		task_add(n, 0, 0, 0);
}

/* All VMs' vCPUs, wherever they were put, are on CPU 0 now. */
static void heap_up(void)
{
	for (unsigned i = 0; i < nr_tasks; i++) {
		sched_remove(all[task[i].e.group - task[i].e.share->group], &task[i].e);
		sched_add(&cpu[0], &task[i].e);
	}
	loop[0].kicked = true;
}

static void run(struct loop *l)
{
	struct task *t = l->runs;
	uint64_t ticks = t->work ? MIN(t->left, STEP) : STEP;

	t->longest_wait = MAX(t->longest_wait, now - t->waits_since);
	l->turn += ticks;
	l->slice.left -= MIN(l->slice.left, ticks);
	t->waits_since = now + STEP;
	if (!t->work)
		return;
	t->left -= ticks;
	if (!t->left) {
		t->left = t->work;
		t->waits_since = t->wake_at = now + MAX(t->sleep, STEP);
	}
}

/* Nothing makes the guest exit. */
static bool goes_on(const struct loop *l)
{
	return l->runs && !l->kicked && l->runs->wake_at <= now &&
	       (!l->slice.runs || l->slice.left);
}

/* One for whom another CPU has nothing to do does not wait. */
static bool somebody_waits(const struct sched *idle)
{
	for (unsigned i = 0; i < nr_tasks; i++)
		if (task[i].waits_since + 2 * MS < now && cpu_set_has(&task[i].e.cpus, idle->cpu))
			return true;
	return false;
}

static void send(struct sched_entity *e)
{
	assert_non_null(e->to);
	assert_true(cpu_set_has(&e->cpus, e->to->cpu));
	task_of(e)->moves++;
}

/* What makes a CPU's guest exit. */
static void kicks(void)
{
	for (unsigned i = 0; i < nr_tasks; i++) {
		struct task *t = &task[i];

		if (t->e.to)
			loop[t->e.to->cpu].kicked = true;
		else if (t->wake_at <= now && t->wake_at + STEP > now)
			loop[t->e.group - t->e.share->group].kicked = true;
	}
}

static void end_turn(unsigned n)
{
	sched_charge(&cpu[n], loop[n].turn);
	loop[n].turn = 0;
}

/* The one that is asked is interrupted. */
static void pull(struct sched *idle)
{
	struct sched *busy = sched_busiest(all, nr_cpus, idle);
	struct sched_entity *e;

	if (!busy)
		return;
	end_turn(busy->cpu);
	loop[busy->cpu].kicked = true;
	e = sched_give(busy, idle);
	if (e)
		send(e);
}

static void make_round(unsigned n)
{
	bool others;
	struct sched *s = &cpu[n], *outdated;
	struct sched_entity *e, *away;

	loop[n].kicked = false;
	if (loop[n].slice.runs && !loop[n].slice.left)
		set_slice(&loop[n].slice, s, false);
	sched_look(s, can_run);
	while ((away = sched_spread(s, all, nr_cpus)))
		send(away);
	e = sched_pick(s, &others);
	loop[n].runs = e ? task_of(e) : NULL;
	if (!e) {
		if (pulls)
			pull(s);
		return;
	}
	while ((away = sched_balance(s, all, nr_cpus))) {
		assert_ptr_not_equal(away, e);
		send(away);
	}
	outdated = sched_outdated(s, all, nr_cpus);
	if (outdated) {
		loop[outdated->cpu].kicked = true;
		asked++;
	}
	take_turn(&loop[n].slice, s, others);
}

static void arrivals(unsigned n)
{
	for (unsigned i = 0; i < nr_tasks; i++)
		if (task[i].e.to == &cpu[n])
			sched_add(&cpu[n], &task[i].e);
}

static void step(unsigned n)
{
	if (!goes_on(&loop[n])) {
		if (loop[n].runs)
			end_turn(n);
		arrivals(n);
		make_round(n);
	}
	if (loop[n].runs)
		run(&loop[n]);
	else
		idle_while_waiting += somebody_waits(&cpu[n]);
}

static void simulate(uint64_t ticks)
{
	uint64_t end = now + ticks;

	for (; now < end; now += STEP) {
		kicks();
		for (unsigned i = 0; i < nr_cpus; i++)
			step(i);
	}
	for (unsigned i = 0; i < nr_cpus; i++)
		end_turn(i);
}

static uint64_t vm_ran(unsigned n)
{
	uint64_t ran = 0;

	for (unsigned i = 0; i < nr_tasks; i++)
		if (task[i].e.share == &vm[n])
			ran += task[i].e.ran;
	return ran;
}

static unsigned moves(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr_tasks; i++)
		n += task[i].moves;
	return n;
}

/* --- shares --- */

#define SECONDS 20

struct share_case {
	unsigned cpus;
	struct {
		uint32_t weight;
		unsigned vcpus;
		unsigned share; /* of a CPU, in thousandths */
	} vm[VMS_MAX];
	unsigned moves; /* at most, each second */
};

/* What no arrangement makes even goes round, a few times a second; what one does stays. */
static const struct share_case share_cases[] = {
	{ 1, { { 256, 8, 200 }, { 256, 4, 200 }, { 256, 1, 200 }, { 512, 2, 400 } }, 0 },
	{ 2, { { 256, 1, 667 }, { 256, 1, 667 }, { 256, 1, 667 } }, 10 },
	{ 2, { { 300, 1, 739 }, { 256, 1, 630 }, { 256, 1, 630 } }, 10 },
	{ 2, { { 512, 1, 1000 }, { 256, 1, 500 }, { 256, 1, 500 } }, 1 },
	{ 2, { { 256, 1, 1000 }, { 256, 8, 1000 } }, 1 },
	{ 2, { { 256, 2, 1000 }, { 256, 1, 1000 } }, 1 },
	{ 2, { { 256, 3, 2000 } }, 10 },
	{ 2, { { 256, 5, 2000 } }, 10 },
	{ 2, { { 1, 1, 4 }, { 256, 1, 1000 }, { 256, 1, 996 } }, 1 },
	{ 2, { { 10000, 1, 1000 }, { 1, 1, 3 }, { 256, 1, 718 }, { 100, 1, 280 } }, 1 },
	{ 3, { { 256, 2, 1500 }, { 256, 2, 1500 } }, 10 },
	{ 4, { { 256, 5, 4000 } }, 15 },
	{ 4, { { 256, 4, 2000 }, { 256, 4, 2000 } }, 1 },
	{ 4, { { 256, 8, 800 }, { 256, 4, 800 }, { 256, 1, 800 }, { 512, 2, 1600 } }, 10 },
	{ 4,
	  { { 256, 1, 571 },
	    { 256, 1, 571 },
	    { 256, 1, 571 },
	    { 256, 1, 571 },
	    { 256, 1, 571 },
	    { 256, 1, 571 },
	    { 256, 1, 571 } },
	  15 },
	{ 4, { { 256, 2, 2000 }, { 100, 2, 2000 } }, 1 },
};

/* Whether of the whole time or of its second half: nothing of it is made up for late. */
static void expect_shares(const struct share_case *c, unsigned nr, const uint64_t *before,
			  unsigned seconds)
{
	uint64_t all_ran = 0, ran, share;

	for (unsigned v = 0; v < VMS_MAX && c->vm[v].vcpus; v++) {
		ran = vm_ran(v) - (before ? before[v] : 0);
		share = ran * 1000 / (seconds * (uint64_t)HZ);
		all_ran += ran;
		if (share + 2 + c->vm[v].share / 16 < c->vm[v].share ||
		    share > c->vm[v].share + 2 + c->vm[v].share / 16)
			fail_msg("case %u, VM %u: expected %u thousandths of a CPU, seen %llu", nr,
				 v, c->vm[v].share, (unsigned long long)share);
	}
	assert_in_range(all_ran, (seconds * 1000 - 20) * (uint64_t)c->cpus * MS,
			seconds * (uint64_t)HZ * c->cpus);
}

static void try_case(const struct share_case *c, unsigned nr, bool heaped)
{
	uint64_t before[VMS_MAX] = { 0 };
	unsigned moved;

	start(c->cpus);
	for (unsigned v = 0; v < VMS_MAX && c->vm[v].vcpus; v++)
		vm_add(v, c->vm[v].weight, c->vm[v].vcpus);
	if (heaped)
		heap_up();
	simulate((uint64_t)SECONDS * HZ);
	expect_shares(c, nr, NULL, SECONDS);
	for (unsigned v = 0; v < VMS_MAX; v++)
		before[v] = vm_ran(v);
	moved = moves();
	assert_int_equal(idle_while_waiting, 0);
	simulate((uint64_t)SECONDS * HZ);
	expect_shares(c, nr, before, SECONDS);
	moved = moves() - moved;
	if (moved > c->moves * SECONDS)
		fail_msg("case %u: expected at most %u moves a second, seen %u in %u", nr, c->moves,
			 moved, SECONDS);
	if (c->moves <= 1 && moved > 2)
		fail_msg("case %u: all had found their places, but there were %u moves", nr, moved);
}

static void test_shares(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(share_cases); i++) {
		try_case(&share_cases[i], i, false);
		try_case(&share_cases[i], i, true);
	}
}

/* Each vCPU of a VM, too, has as much as its siblings. */
static void test_siblings_are_equals(void **state)
{
	static const unsigned vcpus[] = { 3, 5, 7 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(vcpus); i++) {
		start(i == 2 ? 4 : 2);
		vm_add(0, 0, vcpus[i]);
		heap_up();
		simulate(UINT64_C(40) * HZ);
		for (unsigned v = 0; v < vcpus[i]; v++)
			assert_in_range(task[v].e.ran * vcpus[i] / nr_cpus,
					UINT64_C(40) * HZ * 92 / 100,
					UINT64_C(40) * HZ * 108 / 100);
	}
}

/* --- sleepers --- */

/* They come and go as they like: each runs, and who never sleeps has his share. */
static void sleepers(unsigned round, uint64_t *random)
{
	unsigned most = round & 1 ? 20 * MS : 2 * MS;

	start(2 + round % 3);
	pulls = round & 2;
	for (unsigned v = 0; v < 3; v++) {
		sched_share_init(&vm[v], 0);
		for (unsigned i = 0; i < 4; i++)
			task_add(v, 0, STEP + fake_random64(random) % most,
				 STEP + fake_random64(random) % most);
	}
	vm_add(3, 0, 1);
	simulate(UINT64_C(4) * HZ);
	for (unsigned i = 0; i < nr_tasks; i++) {
		assert_true(task[i].e.ran > 0);
		if (task[i].longest_wait > 200 * MS)
			fail_msg("round %u, vCPU %u: has waited %llu us", round, i,
				 (unsigned long long)task[i].longest_wait);
	}
	assert_in_range(moves(), 0, 4 * 300 * nr_cpus);
}

/* What he has depends on whom the dice send to him: at times three tenths less than his share, on
 * the whole not a sixth. */
static void test_sleepers(void **state)
{
	uint64_t random = 7, had[CPUS_MAX + 1] = { 0 }, due[CPUS_MAX + 1] = { 0 }, share;

	(void)state;
	for (unsigned round = 0; round < 48; round++) {
		sleepers(round, &random);
		share = UINT64_C(4) * HZ * nr_cpus / 4;
		if (vm_ran(3) < share * 7 / 10)
			fail_msg("round %u: who never sleeps had %llu us of %llu", round,
				 (unsigned long long)vm_ran(3), (unsigned long long)share);
		had[nr_cpus] += vm_ran(3);
		due[nr_cpus] += share;
	}
	for (unsigned n = 2; n <= CPUS_MAX; n++)
		if (had[n] < due[n] * 5 / 6)
			fail_msg("%u CPUs: who never sleeps had %llu us of %llu", n,
				 (unsigned long long)had[n], (unsigned long long)due[n]);
}

/* One that sleeps nearly always has its turn when it wakes, though no CPU is free. */
static void test_sleeper_wakes_soon(void **state)
{
	struct task *sleeper;

	(void)state;
	start(4);
	for (unsigned v = 0; v < 7; v++)
		vm_add(v, 0, 1);
	sched_share_init(&vm[7], 0);
	sleeper = task_add(7, 0, MS / 10, 20 * MS);
	simulate(HZ);
	sleeper->longest_wait = 0;
	simulate(UINT64_C(10) * HZ);
	assert_in_range(sleeper->longest_wait, 0, STEP);
}

/* --- each one's share --- */

#define TASKS 5

/* vCPUs of VMs of one weight on two CPUs, and what each has of a CPU, in thousandths. */
struct fair_case {
	struct {
		unsigned vm;
		uint64_t cpus, work, sleep;
		unsigned share;
	} task[TASKS]; /* those with a share */
	unsigned within;
};

static const struct fair_case fair_cases[] = {
	/* Three that are always busy, of one VM and of three. */
	{ { { 0, 0, 0, 0, 667 }, { 0, 0, 0, 0, 667 }, { 0, 0, 0, 0, 667 } }, 20 },
	{ { { 0, 0, 0, 0, 667 }, { 1, 0, 0, 0, 667 }, { 2, 0, 0, 0, 667 } }, 30 },
	/* One is pinned; two are, to the same CPU; two, to one each: whoever is sent round between
	 * these has half of each. */
	{ { { 0, 1, 0, 0, 667 }, { 1, 0, 0, 0, 667 }, { 2, 0, 0, 0, 667 } }, 85 },
	{ { { 0, 1, 0, 0, 500 }, { 0, 1, 0, 0, 500 }, { 0, 0, 0, 0, 1000 } }, 2 },
	{ { { 0, 1, 0, 0, 750 }, { 0, 2, 0, 0, 750 }, { 0, 0, 0, 0, 500 } }, 10 },
	/* Four of one VM and one of another: as much for the one as for the four. */
	{ { { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 1, 0, 0, 0, 1000 } },
	  3 },
	{ { { 0, 1, 0, 0, 250 },
	    { 0, 1, 0, 0, 250 },
	    { 0, 1, 0, 0, 250 },
	    { 0, 1, 0, 0, 250 },
	    { 1, 0, 0, 0, 1000 } },
	  3 },
	{ { { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 0, 0, 0, 0, 250 },
	    { 1, 1, 0, 0, 1000 } },
	  3 },
	{ { { 0, 1, 0, 0, 200 },
	    { 0, 2, 0, 0, 333 },
	    { 0, 2, 0, 0, 333 },
	    { 0, 2, 0, 0, 333 },
	    { 1, 1, 0, 0, 800 } },
	  3 },
	{ { { 0, 0, 0, 0, 500 }, { 0, 0, 0, 0, 500 }, { 0, 0, 0, 0, 500 }, { 0, 0, 0, 0, 500 } },
	  3 },
	/* One that sleeps half of its time, and has all that it wants when it wakes, ... */
	{ { { 0, 0, 5 * MS, 5 * MS, 500 }, { 1, 0, 0, 0, 1000 } }, 10 },
	{ { { 0, 0, 5 * MS, 5 * MS, 500 }, { 1, 1, 0, 0, 1000 } }, 10 },
	{ { { 0, 1, 5 * MS, 5 * MS, 500 }, { 1, 0, 0, 0, 1000 } }, 10 },
	{ { { 0, 0, 5 * MS, 5 * MS, 500 }, { 1, 0, 0, 0, 750 }, { 2, 0, 0, 0, 750 } }, 40 },
	{ { { 0, 0, 5 * MS, 5 * MS, 500 }, { 0, 0, 0, 0, 750 }, { 0, 0, 0, 0, 750 } }, 40 },
	{ { { 0, 0, 5 * MS, 5 * MS, 500 }, { 1, 1, 0, 0, 750 }, { 2, 2, 0, 0, 750 } }, 10 },
	/* ... but not for as long as it is awake here: two thirds then. */
	{ { { 0, 0, 50 * MS, 50 * MS, 400 }, { 1, 0, 0, 0, 800 }, { 2, 0, 0, 0, 800 } }, 50 },
};

static void test_each_ones_share(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(fair_cases); i++) {
		const struct fair_case *c = &fair_cases[i];

		start(2);
		for (unsigned v = 0; v < TASKS; v++)
			sched_share_init(&vm[v], 0);
		for (unsigned k = 0; k < TASKS && c->task[k].share; k++)
			task_add(c->task[k].vm, c->task[k].cpus, c->task[k].work, c->task[k].sleep);
		simulate((uint64_t)SECONDS * HZ);
		for (unsigned k = 0; k < nr_tasks; k++) {
			uint64_t share = task[k].e.ran * 1000 / ((uint64_t)SECONDS * HZ);

			if (share + c->within < c->task[k].share ||
			    share > c->task[k].share + c->within)
				fail_msg("case %u, vCPU %u: expected %u thousandths of a CPU, seen "
					 "%llu",
					 i, k, c->task[k].share, (unsigned long long)share);
		}
	}
}

/* --- who is asked how fast he is --- */

/* Turns without an end are interrupted for it where one who waits could come, and by none of two
 * CPUs too often. */
static void test_asks_seldom(void **state)
{
	static const struct {
		unsigned tasks;
		uint64_t cpus[3];
		unsigned least, most; /* in ten seconds */
	} cases[] = {
		{ 3, { 0, 0, 0 }, 10, 2 * 10 * 1000 / SCHED_ASK_MS },
		{ 2, { 0, 0 }, 0, 0 },
		{ 3, { BIT(0), BIT(0), BIT(1) }, 0, 0 },
		{ 3, { BIT(0), BIT(1), BIT(0) | BIT(2) }, 0, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		start(2);
		sched_share_init(&vm[0], 0);
		for (unsigned k = 0; k < cases[i].tasks; k++)
			task_add(0, cases[i].cpus[k], 0, 0);
		simulate(UINT64_C(10) * HZ);
		assert_in_range(asked, cases[i].least, cases[i].most);
	}
}

/* --- free CPUs --- */

/* Two on one CPU, and another gets free: one of them goes there, asked for or not. */
static void test_free_cpu(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		start(2);
		pulls = i;
		vm_add(0, 0, 2);
		heap_up();
		simulate(20 * MS);
		assert_int_equal(moves(), 1);
		assert_in_range(vm_ran(0), (40 - (i ? 2 : 12)) * MS, 40 * MS);
	}
}

/* Who was cut off by one that woke has a warm cache, and stays that long; then he goes. */
static void test_warm_ones_stay(void **state)
{
	struct sched_entity *e;
	bool others;

	(void)state;
	start(2);
	vm_add(0, 0, 2);
	heap_up();
	e = look_and_pick(&cpu[0], can_run, &others);
	sched_charge(&cpu[0], 5 * MS);
	e->yields = true;
	assert_ptr_not_equal(look_and_pick(&cpu[0], can_run, &others), e);
	assert_null(sched_give(&cpu[0], &cpu[1]));
	cpu[0].next_look = cpu[0].clock;
	assert_null(sched_balance(&cpu[0], all, 2));
	assert_int_equal(sched_left(&cpu[0]), SCHED_WARM_MS * MS); /* to look again */
	sched_charge(&cpu[0], SCHED_WARM_MS * MS);
	assert_ptr_not_equal(look_and_pick(&cpu[0], can_run, &others), e);
	assert_ptr_equal(sched_balance(&cpu[0], all, 2), e);
	assert_ptr_equal(e->to, &cpu[1]);
	assert_int_equal(sched_runnable(&cpu[0]), 1);
	assert_in_range(sched_left(&cpu[0]), SCHED_WARM_MS * MS + 1, SCHED_SLICE_MS * MS);
	/* It is on its way: nobody else is sent there meanwhile. */
	cpu_set_add(&task_add(0, BIT(0), 0, 0)->e.cpus, 1);
	look_and_pick(&cpu[0], can_run, &others);
	assert_int_equal(sched_runnable(&cpu[0]), 2);
	assert_null(sched_give(&cpu[0], &cpu[1]));
}

/* Those who may not go elsewhere stay, and their turns are no shorter for it. */
static void test_pinned(void **state)
{
	(void)state;
	start(3);
	sched_share_init(&vm[0], 0);
	sched_share_init(&vm[1], 0);
	task_add(0, BIT(1), 0, 0);
	task_add(0, BIT(1), 0, 0);
	task_add(1, BIT(1), 0, 0);
	simulate(100 * MS);
	assert_int_equal(moves(), 0);
	assert_false(cpu[1].hurry);
	assert_int_equal(task[0].e.ran + task[1].e.ran + task[2].e.ran, 100 * MS);
	task_add(1, BIT(1) | BIT(2), 0, 0);
	simulate(HZ);
	assert_in_range(moves(), 0, 1);
	assert_in_range(task[3].e.ran, HZ * 98 / 100, HZ);
	assert_int_equal(cpu[0].clock, 0);
}

/* --- the way there --- */

static void test_place(void **state)
{
	struct sched_entity e[6], nowhere;

	(void)state;
	start(4);
	all[3] = NULL;
	sched_share_init(&vm[0], 0);
	for (unsigned i = 0; i < 6; i++) {
		sched_entity_init(&e[i], &vm[0],
				  &(struct cpu_set){ { i == 5 ? BIT(2) | BIT(3) : 0 } });
		assert_ptr_equal(sched_place(all, 4, &e[i]), &cpu[i == 5 ? 2 : i % 3]);
		assert_int_equal(e[i].to->coming, 1 + i / 3);
	}
	sched_entity_init(&nowhere, &vm[0], &(struct cpu_set){ { BIT(3) | BIT(5) } });
	assert_null(sched_place(all, 4, &nowhere));
	assert_null(nowhere.to);
	sched_add(&cpu[0], &e[0]);
	assert_null(e[0].to);
	assert_int_equal(cpu[0].coming, 1);
	assert_int_equal(cpu[0].members, 1);
	sched_remove(&cpu[0], &e[3]); /* its VM ends before it comes */
	sched_remove(&cpu[0], &e[3]);
	assert_int_equal(cpu[0].coming, 0);
	sched_remove(&cpu[0], &e[0]);
	assert_int_equal(cpu[0].members, 0);
	assert_int_equal(vm[0].awake, 0);
}

/* What one had too much, or too little, goes along with it: within bounds. */
static void test_owed(void **state)
{
	static const struct {
		int64_t ahead, kept;
	} cases[] = {
		{ 0, 0 },
		{ 7 * MS, 7 * MS },
		{ -3 * (int64_t)MS, -3 * (int64_t)MS },
		{ -10 * (int64_t)MS, -(int64_t)(SCHED_CREDIT_MS * MS) },
		{ 100000 * (int64_t)MS, SCHED_DEBT_MS * MS },
	};
	bool others;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sched_entity *e, *other;

		start(2);
		cpu[0].vtime = 0 - (uint64_t)MS;
		cpu[1].vtime = 1234 * MS;
		vm_add(0, 0, 1);
		vm_add(1, 0, 1);
		heap_up();
		e = look_and_pick(&cpu[0], can_run, &others);
		other = e == &task[0].e ? &task[1].e : &task[0].e;
		other->group->vtime = cpu[0].vtime + (uint64_t)cases[i].ahead;
		assert_ptr_equal(sched_give(&cpu[0], &cpu[1]), other);
		sched_add(&cpu[1], other);
		assert_int_equal(other->group->vtime, cpu[1].vtime + (uint64_t)cases[i].kept);
		/* Once only. */
		sched_remove(&cpu[1], other);
		sched_add(&cpu[1], other);
		assert_int_equal(other->group->vtime, cpu[1].vtime);
	}
}

static void test_busiest(void **state)
{
	bool others;

	(void)state;
	start(3);
	vm_add(0, 0, 1);
	vm_add(1, 512, 1);
	heap_up();
	look_and_pick(&cpu[0], can_run, &others);
	assert_ptr_equal(sched_busiest(all, 3, &cpu[2]), &cpu[0]);
	for (unsigned v = 2; v < 5; v++)
		vm_add(v, 128, 1);
	look_and_pick(&cpu[0], can_run, &others);
	look_and_pick(&cpu[1], can_run, &others);
	look_and_pick(&cpu[2], can_run, &others);
	assert_ptr_equal(sched_busiest(all, 3, &cpu[2]),
			 &cpu[0]); /* others have more, but of less weight */
	all[0] = NULL;
	assert_ptr_not_equal(sched_busiest(all, 3, &cpu[2]), &cpu[0]);
}

/* --- threads as CPUs --- */

static _Thread_local bool asleep;

static bool can_run_now(struct sched_entity *e)
{
	(void)e;
	return !asleep;
}

static void *turn_about(void *ctx)
{
	bool others;

	for (unsigned i = 0; i < 200000; i++) {
		asleep = i & 1;
		look_and_pick(ctx, can_run_now, &others);
	}
	return NULL;
}

/* Nobody is lost from the count of those who are awake. */
static void test_threads(void **state)
{
	pthread_t thread[2];

	(void)state;
	start(2);
	vm_add(0, 0, 4);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, turn_about, &cpu[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(vm[0].awake, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares),      cmocka_unit_test(test_siblings_are_equals),
		cmocka_unit_test(test_sleepers),    cmocka_unit_test(test_sleeper_wakes_soon),
		cmocka_unit_test(test_free_cpu),    cmocka_unit_test(test_warm_ones_stay),
		cmocka_unit_test(test_pinned),      cmocka_unit_test(test_place),
		cmocka_unit_test(test_owed),        cmocka_unit_test(test_busiest),
		cmocka_unit_test(test_threads),     cmocka_unit_test(test_each_ones_share),
		cmocka_unit_test(test_asks_seldom),
	};

	return cmocka_run_group_tests_name("sched_smp", tests, NULL, NULL);
}
