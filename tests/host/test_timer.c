/* The timer queue on a pretended local APIC timer that counts at 1 GHz; threads as CPUs. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/owned_lock.h"
#include "arch/x86_64/trap.h"
#include "tests/host/fakes.h"

/* The machine below the queue: this CPU, its timer; and the real functions beside the
 * stand-ins of fakes.c. */
#define UMBRA_CPU_H
#define UMBRA_LAPIC_H
#define CPU_MAX 2
static struct cpu {
	unsigned id;
	bool timer_due, work_pending;
} cpus[CPU_MAX] = { { 0 }, { .id = 1 } };
static _Thread_local struct cpu *runs = cpus;
static struct cpu *this_cpu(void)
{
	return runs;
}
static struct cpu_features {
	bool tsc_deadline;
} features;
static const struct cpu_features *cpu_features(void)
{
	return &features;
}
static _Thread_local uint32_t hw_ticks;
static _Thread_local unsigned hw_starts;
static void lapic_timer_start(uint32_t ticks)
{
	hw_ticks = ticks;
	hw_starts++;
}
static uint32_t lapic_timer_left(void)
{
	return hw_ticks - (uint32_t)fake_now_ns;
}
static bool hw_by_deadline;
static uint64_t hw_deadline_tsc;
static void lapic_timer_use_deadline(void)
{
	hw_by_deadline = true;
}
static void lapic_timer_deadline(uint64_t tsc)
{
	hw_deadline_tsc = tsc;
	hw_starts++;
}
/* The TSC counts at 3 GHz. */
static uint64_t tsc_at(uint64_t ns)
{
	return ns > UINT64_MAX / 3 ? UINT64_MAX : ns * 3;
}
/* What another CPU does directly before this one takes a guard. */
static void (*meanwhile)(void);
static void guard_lock(struct owned_lock *l)
{
	void (*fn)(void) = meanwhile;

	if (fn) {
		meanwhile = NULL;
		fn();
	}
	owned_lock(l);
}

#define owned_lock(l) guard_lock(l)
#define clock_tsc_at tsc_at
#define timer_init real_timer_init
#define timer_init_other real_timer_init_other
#define timer_setup real_timer_setup
#define timer_arm real_timer_arm
#define timer_cancel real_timer_cancel
#define timer_run_expired real_timer_run_expired
#define clock_delay_ns(ns) ((void)(fake_now_ns += (ns)))
static void (*irq)(void);
void trap_set_handler(unsigned vector, void (*fn)(void))
{
	assert_int_equal(vector, TRAP_TIMER);
	irq = fn;
}
#include "arch/x86_64/timer.c"

#define MAX_CALLS 16

static struct timer t[3];
static unsigned calls[MAX_CALLS], nr_calls;
static uint64_t again_at; /* what t[2] arms itself for when it is called; 0: not */

static void note(void *ctx)
{
	struct timer *self = ctx;

	assert_true(nr_calls < MAX_CALLS);
	assert_false(self->armed);
	calls[nr_calls++] = (unsigned)(self - t);
	if (self == &t[2] && again_at)
		timer_arm(self, again_at);
}

static void cancel_first(void *ctx)
{
	note(ctx);
	timer_cancel(&t[0]);
}

static int setup_test(void **state)
{
	(void)state;
	fake_now_ns = 0;
	features = (struct cpu_features){ 0 };
	hw_by_deadline = false;
	runs = &cpus[1];
	timer_init_other();
	runs = &cpus[0];
	timer_init();
	fake_now_ns = 1000000;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		timer_setup(&t[i], note, &t[i], NULL);
	nr_calls = 0;
	again_at = 0;
	hw_starts = 0;
	for (unsigned i = 0; i < CPU_MAX; i++)
		cpus[i] = (struct cpu){ .id = i };
	return 0;
}

/* The timer must fire at the deadline or a tick or two behind it. */
static void assert_fires_at(uint64_t deadline)
{
	uint64_t at = fake_now_ns + hw_ticks;

	if (at < deadline || at > deadline + 2)
		fail_msg("hardware fires at %llu, expected %llu", (unsigned long long)at,
			 (unsigned long long)deadline);
}

static void test_in_order(void **state)
{
	(void)state;
	timer_arm(&t[1], 3000000);
	assert_fires_at(3000000);
	timer_arm(&t[0], 2000000);
	assert_fires_at(2000000);
	timer_arm(&t[2], 3000000);
	assert_int_equal(hw_starts, 2); /* a later one leaves the hardware alone */

	irq();
	assert_true(cpus[0].timer_due && cpus[0].work_pending);
	timer_run_expired(); /* too early */
	assert_false(cpus[0].timer_due);
	assert_int_equal(nr_calls, 0);
	assert_fires_at(2000000);

	fake_now_ns = 2000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_int_equal(calls[0], 0);
	assert_fires_at(3000000);

	fake_now_ns = 9000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 3);
	assert_int_equal(calls[1], 1); /* equal deadlines: first armed, first called */
	assert_int_equal(calls[2], 2);
	timer_run_expired();
	assert_int_equal(nr_calls, 3);
}

static void test_past_and_far(void **state)
{
	(void)state;
	timer_arm(&t[0], 5); /* long ago: at once */
	assert_int_equal(hw_ticks, 1);
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	timer_arm(&t[0], fake_now_ns + 3600 * NS_PER_SEC); /* beyond what it counts */
	assert_int_equal(hw_ticks, UINT32_MAX);
	fake_now_ns += UINT32_MAX;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_int_equal(hw_ticks, UINT32_MAX);
	timer_arm(&t[1], UINT64_MAX);
	assert_true(t[1].armed);
}

/* One that is always due does not keep the run loop for ever. */
static void test_arms_itself_in_the_past(void **state)
{
	(void)state;
	again_at = 1;
	timer_arm(&t[2], 1);
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_true(t[2].armed);
	assert_int_equal(hw_ticks, 1);
	timer_run_expired();
	assert_int_equal(nr_calls, 2);
}

static void test_cancel(void **state)
{
	(void)state;
	timer_cancel(&t[0]);
	timer_arm(&t[0], 2000000);
	timer_cancel(&t[0]);
	timer_cancel(&t[0]);
	fake_now_ns = 3000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 0);

	/* By another that is called in the same run. */
	timer_setup(&t[1], cancel_first, &t[1], NULL);
	timer_arm(&t[1], 3500000);
	timer_arm(&t[0], 3600000);
	fake_now_ns = 4000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_int_equal(calls[0], 1);
	assert_false(t[0].armed);
}

static void test_move(void **state)
{
	(void)state;
	timer_arm(&t[0], 2000000);
	timer_arm(&t[0], 5000000);
	fake_now_ns = 2000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 0);
	assert_fires_at(5000000);
	timer_arm(&t[0], 3000000);
	assert_fires_at(3000000);
	fake_now_ns = 5000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
}

/* Each CPU has its own, and may take away or move what another one has armed. */
static void test_two_cpus(void **state)
{
	(void)state;
	timer_arm(&t[0], 2000000);
	timer_arm(&t[1], 2000000);
	timer_arm(&t[2], 2000000);
	runs = &cpus[1];
	fake_now_ns = 2000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 0);
	timer_cancel(&t[1]);
	timer_arm(&t[2], 3000000);
	assert_fires_at(3000000);
	runs = &cpus[0];
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_int_equal(calls[0], 0);
	fake_now_ns = 3000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	runs = &cpus[1];
	timer_run_expired();
	assert_int_equal(nr_calls, 2);
	assert_int_equal(calls[1], 2);
}

/* --- guards --- */

static struct owned_lock guard, other_guard;

/* A device: its timer, and whether it may be called. */
struct thing {
	struct timer timer;
	unsigned *calls;
	bool armed;
};

static struct thing *thing; /* guarded by guard */
static unsigned thing_calls;

static void thing_called(void *ctx)
{
	struct thing *th = ctx;

	if (!th->armed || !owned_lock_held(th->timer.guard))
		abort();
	th->armed = false;
	++*th->calls;
}

static void thing_setup(struct thing *th, struct owned_lock *its_guard)
{
	*th = (struct thing){ .calls = &thing_calls };
	timer_setup(&th->timer, thing_called, th, its_guard);
}

static void thing_new(void)
{
	thing = malloc(sizeof(*thing));
	assert_non_null(thing);
	thing_setup(thing, &guard);
}

static void thing_arm(void)
{
	thing->armed = true;
	timer_arm(&thing->timer, 0);
}

static void thing_cancel(void)
{
	timer_cancel(&thing->timer);
	thing->armed = false;
}

static int setup_guarded(void **state)
{
	setup_test(state);
	owned_lock_init(&guard, LOCK_VM);
	owned_lock_init(&other_guard, LOCK_VM);
	thing_calls = 0;
	thing_new();
	return 0;
}

static int teardown_guarded(void **state)
{
	(void)state;
	free(thing);
	return 0;
}

static void test_guard_is_held(void **state)
{
	(void)state;
	thing_arm();
	timer_run_expired();
	assert_int_equal(thing_calls, 1);
	assert_false(owned_lock_held(&guard));
	assert_false(spin_is_locked(&guard.lock));
}

static void cancel_and_free(void)
{
	thing_cancel();
	free(thing);
	thing = NULL;
}

static void cancel_and_reuse(void)
{
	thing_cancel();
	thing_setup(thing, &other_guard); /* the same memory, for another VM */
	thing->armed = true;
	timer_arm(&thing->timer, fake_now_ns + 1);
}

static void move_to_other(void)
{
	runs = &cpus[1];
	thing_arm();
	runs = &cpus[0];
}

/* The loop has seen that a timer is due, and waits for its guard: nothing of what it has seen need
 * be there any more. */
static void test_changed_meanwhile(void **state)
{
	(void)state;
	thing_arm();
	meanwhile = cancel_and_free;
	timer_run_expired();
	assert_null(meanwhile);
	assert_int_equal(thing_calls, 0);

	thing_new();
	thing_arm();
	timer_arm(&t[0], 1); /* behind it: is called all the same */
	meanwhile = cancel_and_reuse;
	timer_run_expired();
	assert_int_equal(thing_calls, 0);
	assert_int_equal(nr_calls, 1);
	fake_now_ns++;
	timer_run_expired();
	assert_int_equal(thing_calls, 1);

	thing_setup(thing, &guard);
	thing_arm();
	meanwhile = move_to_other;
	timer_run_expired();
	assert_int_equal(thing_calls, 1);
	runs = &cpus[1];
	timer_run_expired();
	assert_int_equal(thing_calls, 2);
	runs = &cpus[0];
}

#define ROUNDS 200000

/* The other CPU: it has the thing's timer run out here, too. */
static void *other_cpu(void *stop)
{
	runs = &cpus[1];
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
		owned_lock(&guard);
		if (thing)
			thing_arm();
		owned_unlock(&guard);
		timer_run_expired();
		sched_yield();
	}
	return NULL;
}

/* Each with the guard held, one arms, both call what is due, and one frees what it has cancelled.
 */
static void test_threads(void **state)
{
	bool stop = false;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, other_cpu, &stop), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 16 == 0)
			sched_yield();
		owned_lock(&guard);
		if (thing && i % 3)
			thing_arm();
		else if (thing)
			cancel_and_free();
		else
			thing_new();
		owned_unlock(&guard);
		timer_run_expired();
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(thing_calls > 0);
}

/* A processor that takes a TSC gets one, on each CPU, and no ticks. */
static void test_by_tsc(void **state)
{
	(void)state;
	features.tsc_deadline = true;
	timer_init();
	assert_true(hw_by_deadline);
	hw_by_deadline = false;
	runs = &cpus[1];
	timer_init_other();
	assert_true(hw_by_deadline);
	hw_ticks = 0;
	timer_arm(&t[0], 5000000);
	assert_int_equal(hw_deadline_tsc, 15000000);
	timer_arm(&t[1], 2000000);
	assert_int_equal(hw_deadline_tsc, 6000000);
	fake_now_ns = 2000000;
	timer_run_expired();
	assert_int_equal(nr_calls, 1);
	assert_int_equal(hw_deadline_tsc, 15000000);
	timer_arm(&t[1], 5); /* long ago: its TSC is past, and not 0 */
	assert_int_equal(hw_deadline_tsc, 15);
	assert_int_equal(hw_ticks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_in_order, setup_test),
		cmocka_unit_test_setup(test_past_and_far, setup_test),
		cmocka_unit_test_setup(test_arms_itself_in_the_past, setup_test),
		cmocka_unit_test_setup(test_cancel, setup_test),
		cmocka_unit_test_setup(test_move, setup_test),
		cmocka_unit_test_setup(test_two_cpus, setup_test),
		cmocka_unit_test_setup(test_by_tsc, setup_test),
		cmocka_unit_test_setup_teardown(test_guard_is_held, setup_guarded,
						teardown_guarded),
		cmocka_unit_test_setup_teardown(test_changed_meanwhile, setup_guarded,
						teardown_guarded),
		cmocka_unit_test_setup_teardown(test_threads, setup_guarded, teardown_guarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
