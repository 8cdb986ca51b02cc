/* Two threads as two CPUs, whose TSCs may differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>

#include "arch/x86_64/include/msr.h"
#include "tests/host/fakes.h"

/* The machine below: a TSC of a tick a nanosecond, and what a CPU's own differs from it by. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
static struct cpu_features {
	bool tsc_adjust;
} features;
static const struct cpu_features *cpu_features(void)
{
	return &features;
}
#define WRITE_TAKES 2000 /* ticks, where the TSC is written whole */
static _Thread_local bool is_other;
static _Thread_local uint64_t last_read;
static int64_t offset, adjust; /* of the other one */
static int64_t drift;          /* so much further at each look */
static bool sets, stuck;

static uint64_t rdtsc(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (is_other)
		offset += drift;
	last_read = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec +
		    (uint64_t)(is_other ? offset : 0);
	return last_read;
}

static bool rdmsr_safe(uint32_t msr, uint64_t *val)
{
	assert_int_equal(msr, MSR_TSC_ADJUST);
	*val = (uint64_t)adjust;
	return features.tsc_adjust;
}

static bool wrmsr_safe(uint32_t msr, uint64_t val)
{
	int64_t by;

	assert_true(is_other);
	assert_int_equal(msr, features.tsc_adjust ? MSR_TSC_ADJUST : MSR_TSC);
	by = msr == MSR_TSC ? (int64_t)(val - last_read) - WRITE_TAKES : (int64_t)val - adjust;
	adjust += by;
	if (sets)
		offset += by;
	return true;
}
static void cpu_relax(void)
{
}
#include "arch/x86_64/tsc_sync.c"

static const char *verdict;

static void *other(void *arg)
{
	(void)arg;
	is_other = true;
	verdict = stuck ? "" : tsc_sync_other();
	return NULL;
}

/* The first CPU's loop as boot/ap.c has it, for as long as the other one takes. */
static const char *run(int64_t other_offset)
{
	pthread_t thread;

	offset = other_offset;
	verdict = "no verdict";
	fake_log_reset();
	tsc_sync_prepare();
	assert_int_equal(pthread_create(&thread, NULL, other, NULL), 0);
	while (pthread_tryjoin_np(thread, NULL))
		tsc_sync_meet(1);
	return verdict;
}

static int setup_test(void **state)
{
	(void)state;
	features.tsc_adjust = true;
	adjust = drift = 0;
	sets = true;
	stuck = false;
	return 0;
}

static void test_agree(void **state)
{
	(void)state;
	assert_null(run(0));
	assert_int_equal(adjust, 0);
	assert_string_equal(fake_log, "");
}

/* Could it be set? A thread may lose its processor just between two readings: then again. */
static bool can_set(int64_t ahead_by)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		adjust = 0;
		if (!run(ahead_by) && offset > -20000 && offset < 20000)
			return true;
	}
	return false;
}

/* Behind or before: it is set by about as much, and agrees then. */
static void test_set(void **state)
{
	static const int64_t ahead_by[] = { 50000000, -50000000, INT64_C(3600000000000), -200000 };

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(ahead_by); i++) {
		features.tsc_adjust = i & 1;
		assert_true(can_set(ahead_by[i / 2]));
		assert_non_null(strstr(fake_log, "its TSC was set"));
	}
}

static void test_does_not_take_it(void **state)
{
	(void)state;
	sets = false;
	assert_string_equal(run(-50000000), no_tsc);
}

static void test_drifts(void **state)
{
	(void)state;
	drift = -10; /* and time still goes forward there */
	assert_string_equal(run(0), no_tsc);
}

/* One that never gets there costs the first one nothing. */
static void test_does_not_come(void **state)
{
	(void)state;
	stuck = true;
	assert_string_equal(run(0), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_agree, setup_test),
		cmocka_unit_test_setup(test_set, setup_test),
		cmocka_unit_test_setup(test_does_not_take_it, setup_test),
		cmocka_unit_test_setup(test_drifts, setup_test),
		cmocka_unit_test_setup(test_does_not_come, setup_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
