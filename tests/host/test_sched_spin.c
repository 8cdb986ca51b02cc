/* vmm/sched.c when vCPUs of a VM contend for a lock, and its holder, or who is to have it next, is
 * off the CPU: how much time they spin away, how often they exit, what is left to others. */
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
#define PAUSE_EXIT 50u /* so long it spins before it exits */
#define SECONDS 10

#define CPUS_MAX 2
#define VCPUS_MAX 8

/* It works, takes the lock, holds it for a while, and so on. work 0: it never takes it. */
struct vcpu {
	struct sched_entity e;
	uint64_t work, hold;
	uint64_t left; /* of the one or the other */
	unsigned ticket;
	bool waits, holds;
	uint64_t spins; /* without an exit */
	unsigned sought;
};

/* With tickets the lock is given to who has waited longest, running or not. */
static struct lock {
	bool by_ticket, held;
	unsigned next, serves;
} lock;

static struct sched cpu[CPUS_MAX];
static unsigned nr_cpus;
static struct sched_share vm, of_others;
static struct vcpu vcpu[VCPUS_MAX], other[CPUS_MAX];
static unsigned nr_vcpus, nr_others;
static bool seeks; /* on other CPUs */
static uint64_t rounds, spun, exits, moves;

static bool can_run(struct sched_entity *e)
{
	(void)e;
	return true;
}

static void begin(unsigned cpus, bool by_ticket)
{
	memset(vcpu, 0, sizeof(vcpu));
	memset(other, 0, sizeof(other));
	lock = (struct lock){ .by_ticket = by_ticket };
	nr_cpus = cpus;
	nr_vcpus = nr_others = 0;
	rounds = spun = exits = moves = 0;
	for (unsigned i = 0; i < cpus; i++)
		sched_init(&cpu[i], i, HZ);
	sched_share_init(&vm, 0);
	sched_share_init(&of_others, 0);
}

static void add(unsigned at, uint64_t work, uint64_t hold)
{
	struct vcpu *v = &vcpu[nr_vcpus++];

	*v = (struct vcpu){ .work = work, .hold = hold, .left = work };
	sched_entity_init(&v->e, &vm, &(struct cpu_set){ { 0 } });
	sched_add(&cpu[at], &v->e);
}

static void add_other(unsigned at)
{
	struct vcpu *v = &other[nr_others++];

	sched_entity_init(&v->e, &of_others, &(struct cpu_set){ { BIT(at) } });
	sched_add(&cpu[at], &v->e);
}

static unsigned cpu_of(const struct vcpu *v)
{
	return (unsigned)(v->e.group - v->e.share->group);
}

static bool takes_lock(struct vcpu *v)
{
	if (!v->waits && lock.by_ticket)
		v->ticket = lock.next++;
	v->waits = lock.by_ticket ? v->ticket != lock.serves : lock.held;
	if (v->waits)
		return false;
	lock.held = v->holds = true;
	v->left = v->hold;
	return true;
}

static void lets_go(struct vcpu *v)
{
	lock.serves++;
	lock.held = v->holds = false;
	v->left = v->work;
	rounds++;
}

/* As turns.c does it. */
static void seek(struct sched *s, struct vcpu *spins)
{
	for (unsigned i = 1; i <= nr_vcpus; i++) {
		struct vcpu *v = &vcpu[(spins->sought + i) % nr_vcpus];

		if (v->e.to || cpu_of(v) == s->cpu || !sched_waits(&cpu[cpu_of(v)], &v->e))
			continue;
		spins->sought = (unsigned)(v - vcpu);
		if (sched_give_sought(&cpu[cpu_of(v)], &v->e, s)) {
			assert_ptr_equal(v->e.to, s);
			moves++;
		}
		return;
	}
}

static void spin(struct sched *s, struct vcpu *v, bool others)
{
	spun += STEP;
	v->spins += STEP;
	if (v->spins < PAUSE_EXIT)
		return;
	v->spins = 0;
	exits++;
	if (seeks && !others)
		seek(s, v);
	v->e.yields = others;
}

static void step(struct sched *s)
{
	bool others;
	struct sched_entity *e = look_and_pick(s, can_run, &others);
	struct vcpu *v = container_of(e, struct vcpu, e);

	assert_non_null(e);
	sched_charge(s, STEP);
	if (!v->work)
		return;
	if (v->waits && !takes_lock(v)) {
		spin(s, v, others);
		return;
	}
	v->spins = 0;
	v->left -= MIN(v->left, STEP);
	if (v->left)
		return;
	if (v->holds)
		lets_go(v);
	else
		takes_lock(v);
}

static void simulate(void)
{
	for (uint64_t now = 0; now < (uint64_t)SECONDS * HZ; now += STEP) {
		for (unsigned i = 0; i < nr_vcpus; i++)
			if (vcpu[i].e.to)
				sched_add(vcpu[i].e.to, &vcpu[i].e);
		for (unsigned i = 0; i < nr_cpus; i++)
			step(&cpu[i]);
	}
}

static unsigned percent(uint64_t ticks)
{
	return (unsigned)(ticks * 100 / (nr_cpus * (uint64_t)SECONDS * HZ));
}

/* One CPU, and a VM of which one has the lock when its turn ends: those who spin have it go on, not
 * each other. */
static void test_holder_goes_first(void **state)
{
	(void)state;
	begin(1, false);
	for (unsigned i = 0; i < 6; i++)
		add(0, 300, 2 * MS);
	simulate();
	if (percent(spun) > 15)
		fail_msg("expected at most 15%% of the time to be spun away, seen %u%%, %llu exits",
			 percent(spun), (unsigned long long)exits);
}

/* Nor has who is to have the lock next to wait for long. */
static void test_next_holder_has_his_turn(void **state)
{
	(void)state;
	begin(1, true);
	for (unsigned i = 0; i < 6; i++)
		add(0, 300, 1 * MS);
	simulate();
	if (percent(spun) > 15)
		fail_msg("expected at most 15%% of the time to be spun away, seen %u%%, %llu exits",
			 percent(spun), (unsigned long long)exits);
}

/* One spins on a CPU of his own; who is to have the lock next waits behind another VM. */
static uint64_t spin_alone(bool also_seeks, uint64_t cpus)
{
	begin(2, true);
	add(0, 130, 470);
	add(1, 110, 490);
	vcpu[1].e.cpus = (struct cpu_set){ { cpus } };
	add_other(1);
	seeks = also_seeks;
	simulate();
	/* That one has its share. */
	assert_in_range(other[0].e.ran, SECONDS * UINT64_C(490) * MS,
			SECONDS * UINT64_C(1000) * MS);
	return rounds;
}

static void test_sought_one_comes(void **state)
{
	uint64_t without = spin_alone(false, 3), with = spin_alone(true, 3);

	(void)state;
	if (with < 4 * without || moves > 2)
		fail_msg("expected four times %llu rounds, seen %llu, and %llu moves",
			 (unsigned long long)without, (unsigned long long)with,
			 (unsigned long long)moves);
	assert_int_equal(spin_alone(true, BIT(1)), without);
	assert_int_equal(moves, 0);
}

/* Three of whom each waits for the next: they are not sent about at each exit. */
static void test_sent_about_seldom(void **state)
{
	(void)state;
	begin(2, true);
	for (unsigned i = 0; i < 3; i++)
		add(i % 2, 10, 1 * MS);
	seeks = true;
	simulate();
	if (moves > SECONDS * 200 || rounds < SECONDS * 700)
		fail_msg("expected few moves, seen %llu in %llu rounds with %llu exits",
			 (unsigned long long)moves, (unsigned long long)rounds,
			 (unsigned long long)exits);
}

static void test_who_is_given(void **state)
{
	struct sched_entity *e = &vcpu[0].e;
	bool others;

	(void)state;
	begin(2, false);
	add(0, 1, 1);
	add(0, 1, 1);
	assert_false(sched_waits(&cpu[0], e)); /* it is not known to be awake */
	assert_ptr_equal(look_and_pick(&cpu[0], can_run, &others), e);
	assert_false(sched_waits(&cpu[0], e)); /* it is its turn */
	assert_true(sched_waits(&cpu[0], &vcpu[1].e));
	e->yields = true;
	assert_ptr_equal(look_and_pick(&cpu[0], can_run, &others), &vcpu[1].e);
	assert_true(sched_waits(&cpu[0], e));
	assert_null(sched_give_sought(&cpu[0], e, &cpu[1])); /* it came just now */
	sched_charge(&cpu[0], SCHED_STAY_MS * MS);
	assert_null(sched_give_sought(&cpu[0], &vcpu[1].e, &cpu[1])); /* it is its turn */
	assert_null(sched_give_sought(&cpu[1], e, &cpu[0]));          /* it is not there */
	assert_ptr_equal(sched_give_sought(&cpu[0], e, &cpu[1]), e);
	assert_ptr_equal(e->to, &cpu[1]);
	assert_int_equal(sched_runnable(&cpu[0]), 1);
	sched_add(&cpu[1], e);
	assert_false(sched_waits(&cpu[1], e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holder_goes_first),
		cmocka_unit_test(test_next_holder_has_his_turn),
		cmocka_unit_test(test_sought_one_comes),
		cmocka_unit_test(test_sent_about_seldom),
		cmocka_unit_test(test_who_is_given),
	};

	return cmocka_run_group_tests_name("sched_spin", tests, NULL, NULL);
}
