/* The timer of a guest's local APIC. */
#include "tests/host/lapic_fixture.h"

#define VECTOR 0x60u
#define ONE_SHOT VECTOR
#define PERIODIC (0x20000u | VECTOR)
#define BY_TSC (0x40000u | VECTOR)
#define MASKED 0x10000u
#define COUNT_NS 40u /* at 25 MHz, divided by 1 */
#define MS 25000u    /* so many counts */

static int setup_timer(void **state)
{
	setup(state);
	enable(0);
	wr(0, 0x3e0, 0xb);
	return 0;
}

/* Take the interrupt, if there is one, to its end. */
static bool took(void)
{
	if (!lapic_next(&cpus[0].lapic))
		return false;
	assert_int_equal(lapic_ack(&cpus[0].lapic), VECTOR);
	wr(0, 0xb0, 0);
	return true;
}

static unsigned take_all(void)
{
	unsigned n = 0;

	while (took())
		n++;
	return n;
}

static void test_one_shot(void **state)
{
	(void)state;
	wr(0, 0x320, ONE_SHOT);
	wr(0, 0x380, MS);
	assert_int_equal(rd(0, 0x390), MS);
	fake_clock_advance(400000);
	assert_int_equal(rd(0, 0x390), MS / 10 * 6);
	fake_clock_advance(599999);
	assert_false(took());
	fake_clock_advance(1);
	assert_int_equal(cpus[0].kicks, 1);
	assert_true(took());
	assert_int_equal(rd(0, 0x390), 0);
	assert_int_equal(rd(0, 0x380), MS);
	fake_clock_advance(10000000);
	assert_false(took());
	wr(0, 0x380, 5000);
	wr(0, 0x380, 0); /* stopped */
	fake_clock_advance(10000000);
	assert_false(took());
}

static void test_divide(void **state)
{
	static const struct {
		uint32_t dcr;
		unsigned by;
	} rates[] = { { 0, 2 },  { 1, 4 },  { 2, 8 },    { 3, 16 },
		      { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		wr(0, 0x320, ONE_SHOT);
		wr(0, 0x3e0, rates[i].dcr);
		wr(0, 0x380, 1000);
		fake_clock_advance(500 * COUNT_NS * rates[i].by);
		assert_int_equal(rd(0, 0x390), 500);
		fake_clock_advance(500 * COUNT_NS * rates[i].by - 1);
		assert_false(took());
		fake_clock_advance(1);
		assert_true(took());
	}
	/* In mid-count: what is counted stays. */
	wr(0, 0x3e0, 11);
	wr(0, 0x380, 100000);
	fake_clock_advance(40000 * COUNT_NS);
	wr(0, 0x3e0, 3);
	assert_int_equal(rd(0, 0x390), 60000);
	fake_clock_advance(16 * 60000 * COUNT_NS - 1);
	assert_false(took());
	fake_clock_advance(1);
	assert_true(took());
}

/* A count lasts 40 ns: what is begun counts as it was before, and the interrupt comes with the last
 * one's end. */
static void test_within_counts(void **state)
{
	static const unsigned initial[] = { 1, 2, 3 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(initial); i++) {
		wr(0, 0x320, ONE_SHOT);
		wr(0, 0x380, initial[i]);
		for (unsigned ns = 0; ns < initial[i] * COUNT_NS; ns++) {
			assert_int_equal(rd(0, 0x390), initial[i] - ns / COUNT_NS);
			assert_false(took());
			fake_clock_advance(1);
		}
		assert_int_equal(rd(0, 0x390), 0);
		assert_true(took());
	}
	wr(0, 0x320, PERIODIC | MASKED);
	wr(0, 0x380, 2);
	for (unsigned ns = 0; ns < 10 * COUNT_NS; ns++) {
		assert_int_equal(rd(0, 0x390), 2 - ns / COUNT_NS % 2);
		fake_clock_advance(1);
	}
	/* The count that is begun begins anew with another rate. */
	wr(0, 0x320, ONE_SHOT);
	wr(0, 0x380, 3);
	fake_clock_advance(COUNT_NS + 39);
	wr(0, 0x3e0, 0); /* by 2 */
	assert_int_equal(rd(0, 0x390), 2);
	fake_clock_advance(4 * COUNT_NS - 1);
	assert_int_equal(rd(0, 0x390), 1);
	assert_false(took());
	fake_clock_advance(1);
	assert_int_equal(rd(0, 0x390), 0);
	assert_true(took());
}

/* Six hours. */
static void test_longest(void **state)
{
	const uint64_t ns = (uint64_t)UINT32_MAX * COUNT_NS * 128;

	(void)state;
	wr(0, 0x3e0, 10);
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, UINT32_MAX);
	fake_clock_advance(ns - 1);
	assert_int_equal(rd(0, 0x390), 1);
	assert_false(took());
	fake_clock_advance(1);
	assert_int_equal(rd(0, 0x390), UINT32_MAX);
	assert_true(took());
	fake_clock_advance(3 * ns);
	assert_int_equal(take_all(), 3);
}

static void test_periodic(void **state)
{
	(void)state;
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, MS);
	for (unsigned i = 0; i < 50; i++) {
		fake_clock_advance(999999);
		assert_false(took());
		fake_clock_advance(1);
		assert_true(took());
	}
	fake_clock_advance(300000);
	assert_int_equal(rd(0, 0x390), MS / 10 * 7);
	wr(0, 0x320, ONE_SHOT); /* with what is left of the period */
	assert_int_equal(rd(0, 0x390), MS / 10 * 7);
	fake_clock_advance(699999);
	assert_false(took());
	fake_clock_advance(1);
	assert_true(took());
	fake_clock_advance(100000000);
	assert_int_equal(take_all(), 0);
	wr(0, 0x320, PERIODIC); /* at 0 it stays */
	fake_clock_advance(100000000);
	assert_int_equal(take_all(), 0);
}

/* Ticks that nobody takes are made up for, in their number, to a bound. */
static void test_owed(void **state)
{
	(void)state;
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, MS);
	fake_clock_advance(10000000);
	assert_int_equal(take_all(), 10);
	assert_int_equal(take_all(), 0);
	fake_clock_advance(1000000000);
	assert_int_equal(take_all(), 1 + LAPIC_MAX_OWED);
	fake_clock_advance(10000000);
	wr(0, 0x380, MS); /* what was before does not count */
	assert_int_equal(take_all(), 1);
	fake_clock_advance(10000000);
	wr(0, 0x320, PERIODIC | MASKED);
	wr(0, 0x320, PERIODIC);
	assert_int_equal(take_all(), 1);
	/* One that comes late brings all that have passed. */
	fake_now_ns += 5000000;
	fake_clock_advance(0);
	assert_int_equal(take_all(), 5);
}

/* While a tick waits the second one is the last that the host works for. */
static void test_held(void **state)
{
	const struct timer *host = &cpus[0].lapic.timer.timer;
	unsigned kicks = cpus[0].kicks;

	(void)state;
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, MS);
	fake_clock_advance(1000000);
	assert_true(host->armed);
	fake_clock_advance(1000000);
	assert_false(host->armed);
	fake_clock_advance(7300000);
	assert_int_equal(cpus[0].kicks - kicks, 1);
	assert_int_equal(rd(0, 0x390), MS / 10 * 7); /* it counts on */
	assert_int_equal(take_all(), 9);
	assert_true(host->armed);
	fake_clock_advance(699999);
	assert_false(took());
	fake_clock_advance(1);
	assert_int_equal(take_all(), 1);
	/* Each of the two rates in its time. */
	fake_clock_advance(5000000);
	wr(0, 0x3e0, 0); /* by 2 */
	fake_clock_advance(4000000);
	assert_int_equal(take_all(), 7);
	/* What it is set to anew while it is held, it does. */
	fake_clock_advance(10000000);
	assert_false(host->armed);
	wr(0, 0x380, 4 * MS);
	assert_true(host->armed);
	assert_int_equal(take_all(), 1);
	fake_clock_advance(8000000);
	assert_int_equal(take_all(), 1);
}

/* An illegal vector never waits, but says no more once its error is known. */
static void test_held_by_its_error(void **state)
{
	const struct timer *host = &cpus[0].lapic.timer.timer;

	(void)state;
	wr(0, 0x370, MASKED | 0x70);
	wr(0, 0x320, 0x20005);
	wr(0, 0x380, MS);
	fake_clock_advance(10000000);
	assert_false(host->armed);
	wr(0, 0x370, 0x70);
	assert_true(host->armed);
	fake_clock_advance(1000000);
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x70);
	wr(0, 0xb0, 0);
	fake_clock_advance(10000000);
	assert_int_equal(lapic_next(&cpus[0].lapic), 0);
	assert_false(host->armed);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0x40);
	fake_clock_advance(1000000);
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x70);
}

static void kick_slowly(void *ctx)
{
	fake_now_ns += 700;
	cpu_kick(ctx);
}

/* For whoever is to be charged. */
static void test_work(void **state)
{
	static struct lapic_cpu slow;
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	slow = cpu_ops;
	slow.kick = kick_slowly;
	l->cpu = &slow;
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, MS);
	assert_int_equal(lapic_timer_work(l), 0);
	fake_clock_advance(1000000);
	assert_true(took());
	fake_clock_advance(1000000);
	assert_int_equal(lapic_timer_work(l), 1400);
	assert_int_equal(lapic_timer_work(l), 0);
}

static void test_no_storm(void **state)
{
	unsigned kicks;

	(void)state;
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, 1);
	kicks = cpus[0].kicks;
	for (unsigned i = 0; i < 1000; i++) {
		fake_clock_advance(LAPIC_MIN_PERIOD_NS / 10);
		take_all();
	}
	assert_in_range(cpus[0].kicks - kicks, 99, 101);
}

static void test_masked(void **state)
{
	(void)state;
	wr(0, 0x320, ONE_SHOT | MASKED);
	wr(0, 0x380, 1000);
	fake_clock_advance(500 * COUNT_NS);
	assert_int_equal(rd(0, 0x390), 500);
	fake_clock_advance(500 * COUNT_NS);
	assert_int_equal(rd(0, 0x390), 0);
	wr(0, 0x320, ONE_SHOT); /* it has passed */
	fake_clock_advance(100000);
	assert_false(took());
	wr(0, 0x320, ONE_SHOT | MASKED);
	wr(0, 0x380, 1000);
	wr(0, 0x320, ONE_SHOT);
	fake_clock_advance(1000 * COUNT_NS);
	assert_true(took());
	wr(0, 0x320, PERIODIC | MASKED);
	wr(0, 0x380, MS);
	fake_clock_advance(1500000);
	wr(0, 0x320, PERIODIC);
	assert_false(took());
	fake_clock_advance(500000);
	assert_true(took());
	wr(0, 0xf0, 0xff); /* off by software */
	fake_clock_advance(5000000);
	assert_false(took());
}

static void test_deadline(void **state)
{
	struct lapic *l = &cpus[0].lapic;
	uint64_t tsc;

	(void)state;
	cpus[0].tsc_offset = -5000;
	tsc = cpu_tsc(&cpus[0]);
	lapic_write_deadline(l, tsc + 1000); /* another mode: ignored */
	assert_int_equal(lapic_read_deadline(l), 0);
	wr(0, 0x320, BY_TSC);
	lapic_write_deadline(l, tsc + 1000);
	assert_int_equal(lapic_read_deadline(l), tsc + 1000);
	wr(0, 0x380, 77); /* ignored as well */
	assert_int_equal(rd(0, 0x380), 0);
	assert_int_equal(rd(0, 0x390), 0);
	fake_clock_advance(999);
	assert_false(took());
	fake_clock_advance(2);
	assert_true(took());
	assert_int_equal(lapic_read_deadline(l), 0);
	lapic_write_deadline(l, tsc); /* long past: at once */
	assert_true(took());
	assert_int_equal(lapic_read_deadline(l), 0);
	lapic_write_deadline(l, UINT64_MAX);
	fake_clock_advance(NS_PER_SEC);
	assert_false(took());
	lapic_write_deadline(l, 0);
	assert_int_equal(lapic_read_deadline(l), 0);
	lapic_write_deadline(l, cpu_tsc(&cpus[0]) + 1000);
	wr(0, 0x320, ONE_SHOT);
	wr(0, 0x320, BY_TSC);
	fake_clock_advance(5000);
	assert_false(took());
}

/* The guest sets its TSC: the deadline is at the same count, which comes at another time. */
static void test_deadline_moves(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x320, BY_TSC);
	lapic_write_deadline(l, cpu_tsc(&cpus[0]) + 1000000);
	cpus[0].tsc_offset += 999000;
	lapic_tsc_changed(l);
	fake_clock_advance(1001);
	assert_true(took());
	lapic_write_deadline(l, cpu_tsc(&cpus[0]) + 1000);
	cpus[0].tsc_offset -= 1000000;
	fake_clock_advance(1001); /* the host's timer comes too early then */
	assert_false(took());
	fake_clock_advance(1000000);
	assert_true(took());
}

static void test_deadline_masked(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x320, BY_TSC | MASKED);
	lapic_write_deadline(l, cpu_tsc(&cpus[0]) + 1000);
	fake_clock_advance(2000);
	assert_int_equal(lapic_read_deadline(l), 0);
	wr(0, 0x320, BY_TSC);
	fake_clock_advance(2000);
	assert_false(took());
}

/* On its way from one CPU to another it does not fire; then as if it had never left. */
static void test_moves(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x320, ONE_SHOT);
	wr(0, 0x380, 1000 / COUNT_NS);
	fake_clock_advance(400);
	lapic_leave(l);
	assert_false(l->timer.timer.armed);
	lapic_arrive(l);
	fake_clock_advance(599);
	assert_false(took());
	fake_clock_advance(1);
	assert_true(took());
	wr(0, 0x320, PERIODIC);
	wr(0, 0x380, MS);
	lapic_leave(l);
	fake_clock_advance(3500000);
	assert_false(took());
	lapic_arrive(l);
	fake_clock_advance(0);
	assert_int_equal(take_all(), 3);
	fake_clock_advance(500000);
	assert_int_equal(take_all(), 1);
	wr(0, 0x320, BY_TSC);
	lapic_write_deadline(l, clock_ns() + 5000);
	lapic_leave(l);
	lapic_leave(l);
	lapic_arrive(l);
	fake_clock_advance(5001);
	assert_int_equal(take_all(), 1);
	/* One that is not armed stays so. */
	lapic_leave(l);
	lapic_arrive(l);
	assert_false(l->timer.timer.armed);
	lapic_write_deadline(l, clock_ns() + 5000);
	lapic_leave(l);
	lapic_destroy(l);
	fake_clock_advance(10000);
	assert_false(took());
}

static void test_destroyed(void **state)
{
	(void)state;
	wr(0, 0x320, ONE_SHOT);
	wr(0, 0x380, 1000 / COUNT_NS);
	lapic_destroy(&cpus[0].lapic);
	fake_clock_advance(2000);
	assert_false(took());
	wr(0, 0x380, 1000 / COUNT_NS);
	assert_true(lapic_write_base(&cpus[0].lapic, LAPIC_BASE, 40));
	fake_clock_advance(2000);
	assert_int_equal(cpus[0].lapic.irr.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_shot, setup_timer),
		cmocka_unit_test_setup(test_divide, setup_timer),
		cmocka_unit_test_setup(test_within_counts, setup_timer),
		cmocka_unit_test_setup(test_longest, setup_timer),
		cmocka_unit_test_setup(test_periodic, setup_timer),
		cmocka_unit_test_setup(test_owed, setup_timer),
		cmocka_unit_test_setup(test_held, setup_timer),
		cmocka_unit_test_setup(test_held_by_its_error, setup_timer),
		cmocka_unit_test_setup(test_work, setup_timer),
		cmocka_unit_test_setup(test_no_storm, setup_timer),
		cmocka_unit_test_setup(test_masked, setup_timer),
		cmocka_unit_test_setup(test_deadline, setup_timer),
		cmocka_unit_test_setup(test_deadline_moves, setup_timer),
		cmocka_unit_test_setup(test_deadline_masked, setup_timer),
		cmocka_unit_test_setup(test_moves, setup_timer),
		cmocka_unit_test_setup(test_destroyed, setup_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
