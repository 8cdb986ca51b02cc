/* The 8254 and port 61. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "tests/host/fakes.h"
#include "vmm/dev/pit.h"

static struct pit pit;
static bool level, is_masked, is_requested, auto_ack;
static unsigned rises;

/* Where IRQ 0's wire ends. */
static void set_irq(void *ctx, unsigned pin, bool on)
{
	(void)ctx;
	assert_int_equal(pin, 0);
	if (on && !level)
		rises++;
	is_requested = on && !auto_ack && (is_requested || !level);
	level = on;
	if (on && auto_ack)
		pit_irq_acked(&pit);
}

static bool requested(void *ctx)
{
	(void)ctx;
	return is_requested;
}

static void ack(void)
{
	is_requested = false;
	pit_irq_acked(&pit);
}

static bool masked(void *ctx)
{
	(void)ctx;
	return is_masked;
}

static int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	level = is_masked = is_requested = false;
	auto_ack = true;
	pit_init(&pit, (struct irq_line){ .set = set_irq },
		 (struct pit_controller){ masked, requested, NULL }, NULL);
	rises = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pit_destroy(&pit);
	return 0;
}

static void out(uint16_t port, uint8_t val)
{
	pit_ops.out(&pit, port, 1, val);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)pit_ops.in(&pit, port, 1);
}

static void program(unsigned channel, unsigned mode, uint16_t count)
{
	out(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	out((uint16_t)(0x40 + channel), (uint8_t)count);
	out((uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

/* Move the clock to the beginning of PIT tick `tick`. */
static void to_tick(uint64_t tick)
{
	uint64_t ns = mul_div64(tick, NS_PER_SEC, PIT_HZ) + 1;

	assert_true(ns >= fake_now_ns);
	fake_clock_advance(ns - fake_now_ns);
}

static uint16_t count_of(unsigned channel)
{
	uint16_t low;

	out(0x43, (uint8_t)(channel << 6));
	low = in((uint16_t)(0x40 + channel));
	return (uint16_t)(low | in((uint16_t)(0x40 + channel)) << 8);
}

static void gate2(bool on)
{
	pit_port61_ops.out(&pit, 0x61, 1, on);
}

static bool out2(void)
{
	return pit_port61_ops.in(&pit, 0x61, 1) & 0x20;
}

/* --- what channels show --- */

static void test_idle(void **state)
{
	(void)state;
	fake_clock_advance(10 * NS_PER_SEC);
	assert_int_equal(rises, 0);
	assert_int_equal(count_of(0), 0);
	assert_int_equal(in(0x43), 0xff);
	assert_false(pit.timer.armed);
}

static void test_mode0(void **state)
{
	(void)state;
	gate2(true);
	program(2, 0, 1000);
	assert_false(out2());
	to_tick(1 + 400); /* loaded by the tick after the write */
	assert_int_equal(count_of(2), 600);
	to_tick(1 + 999);
	assert_false(out2());
	assert_int_equal(count_of(2), 1);
	to_tick(1 + 1000);
	assert_true(out2());
	assert_int_equal(count_of(2), 0);
	to_tick(1 + 1010); /* it counts on, around */
	assert_int_equal(count_of(2), 65526);
	assert_true(out2());
	to_tick(1 + 1000 + 65536 + 5);
	assert_true(out2());
}

static void test_mode0_gate(void **state)
{
	(void)state;
	gate2(true);
	program(2, 0, 1000);
	to_tick(1 + 100);
	gate2(false);
	to_tick(50000);
	assert_int_equal(count_of(2), 900);
	assert_false(out2());
	gate2(true);
	to_tick(50000 + 899);
	assert_false(out2());
	to_tick(50000 + 900);
	assert_true(out2());
}

static void test_mode1(void **state)
{
	(void)state;
	program(2, 1, 100);
	to_tick(1000);
	assert_true(out2()); /* waits for the gate */
	gate2(true);
	to_tick(1001 + 99);
	assert_false(out2());
	gate2(false); /* level does not matter */
	gate2(true);  /* the edge starts it again */
	to_tick(1100 + 1 + 99);
	assert_false(out2());
	to_tick(1100 + 1 + 100);
	assert_true(out2());
}

static void test_mode2(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 10);
	for (unsigned t = 0; t < 40; t++) {
		to_tick(1 + t);
		assert_int_equal(count_of(2), 10 - t % 10);
		assert_int_equal(out2(), t % 10 != 9);
	}
	gate2(false);
	assert_true(out2());
	to_tick(1000);
	gate2(true); /* starts anew */
	to_tick(1001 + 3);
	assert_int_equal(count_of(2), 7);
}

/* A count written during a period counts from the next one on. */
static void test_mode2_reload(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 100);
	to_tick(1 + 250);
	out(0x42, 40);
	out(0x42, 0);
	assert_int_equal(count_of(2), 50);
	to_tick(1 + 299);
	assert_int_equal(count_of(2), 1);
	to_tick(1 + 300);
	assert_int_equal(count_of(2), 40);
	to_tick(1 + 300 + 45);
	assert_int_equal(count_of(2), 35);
}

static void test_mode3(void **state)
{
	(void)state;
	gate2(true);
	program(2, 3, 8);
	for (unsigned t = 0; t < 32; t++) {
		to_tick(1 + t);
		assert_int_equal(count_of(2), 8 - 2 * (t % 4));
		assert_int_equal(out2(), t % 8 < 4);
	}
	setup(NULL);
	gate2(true);
	program(2, 3, 5);
	for (unsigned t = 0; t < 20; t++) {
		unsigned p = t % 5;

		to_tick(1 + t);
		assert_int_equal(count_of(2), 4 - 2 * (p < 3 ? p : p - 3));
		assert_int_equal(out2(), p < 3);
	}
}

static void test_mode4(void **state)
{
	(void)state;
	gate2(true);
	program(2, 4, 10);
	assert_true(out2());
	to_tick(1 + 10);
	assert_false(out2()); /* one clock */
	to_tick(1 + 11);
	assert_true(out2());
}

static void test_mode5(void **state)
{
	(void)state;
	program(2, 5, 10);
	to_tick(100);
	assert_true(out2());
	gate2(true);
	to_tick(101 + 10);
	assert_false(out2());
	to_tick(101 + 11);
	assert_true(out2());
}

static void test_count_zero(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 0);
	to_tick(1);
	assert_int_equal(count_of(2), 0);
	to_tick(2);
	assert_int_equal(count_of(2), 0xffff);
	to_tick(1 + 65536 + 1);
	assert_int_equal(count_of(2), 0xffff);
}

static void test_bcd(void **state)
{
	(void)state;
	gate2(true);
	out(0x43, 0xb5); /* channel 2, both bytes, mode 2, BCD */
	out(0x42, 0x34);
	out(0x42, 0x12);
	to_tick(1 + 34);
	assert_int_equal(count_of(2), 0x1200);
	out(0x43, 0xb1); /* mode 0, BCD, 0: 10000 */
	out(0x42, 0);
	out(0x42, 0);
	to_tick(1 + 34 + 1 + 1);
	assert_int_equal(count_of(2), 0x9999);
	out(0x43, 0xb5);
	out(0x42, 0xff); /* no BCD digits */
	out(0x42, 0xff);
	fake_clock_advance(NS_PER_SEC);
	count_of(2);
}

static void test_access_modes(void **state)
{
	(void)state;
	gate2(true);
	out(0x43, 0x94); /* low byte only, mode 2 */
	out(0x42, 0x20);
	to_tick(1 + 1);
	assert_int_equal(in(0x42), 0x1f);
	assert_int_equal(in(0x42), 0x1f);
	out(0x43, 0xa4); /* high byte only */
	out(0x42, 0x20);
	to_tick(2 + 1 + 1);
	assert_int_equal(in(0x42), 0x1f);
	out(0x43, 0xb4); /* modes 6 and 7 are 2 and 3 */
	assert_int_equal(pit.ch[2].mode, 2);
	out(0x43, 0xbc);
	assert_int_equal(pit.ch[2].mode, 2);
	out(0x43, 0xbe);
	assert_int_equal(pit.ch[2].mode, 3);
}

static void test_latch(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 0x1234);
	to_tick(1 + 0x34);
	out(0x43, 0x80);
	to_tick(1 + 0x100);
	out(0x43, 0x80); /* the first latch stays until read */
	assert_int_equal(in(0x42), 0x00);
	assert_int_equal(in(0x42), 0x12);
	assert_int_equal(in(0x42), 0x34); /* and now it runs again */
	assert_int_equal(in(0x42), 0x11);
}

static void test_read_back(void **state)
{
	(void)state;
	gate2(true);
	program(2, 2, 100);
	out(0x43, 0xe8);                  /* status of channel 2 */
	assert_int_equal(in(0x42), 0xf4); /* OUT, null count: not loaded yet */
	to_tick(1 + 10);
	out(0x43, 0xc8); /* count and status */
	to_tick(1 + 50);
	assert_int_equal(in(0x42), 0xb4);
	assert_int_equal(in(0x42), 90);
	assert_int_equal(in(0x42), 0);
	out(0x42, 50);
	out(0x42, 0);
	out(0x43, 0xe8);
	assert_int_equal(in(0x42), 0xf4); /* the new count is not in yet */
	out(0x43, 0xee);                  /* all three */
	assert_int_equal(in(0x40) & 0x3f, 0x36);
	assert_int_equal(in(0x41) & 0x3f, 0x36);
	assert_int_equal(in(0x42) & 0x3f, 0x34);
}

static void test_word_access(void **state)
{
	(void)state;
	out(0x43, 0x34);
	pit_ops.out(&pit, 0x40, 1, 0x10);
	pit_ops.out(&pit, 0x40, 1, 0x27);
	assert_int_equal(pit.ch[0].reload, 0x2710);
	assert_int_equal(pit_ops.in(&pit, 0x42, 2) >> 8, 0xff);
}

static void test_port61(void **state)
{
	uint8_t first;
	unsigned changes = 0;

	(void)state;
	pit_port61_ops.out(&pit, 0x61, 1, 0xfe);
	assert_int_equal(pit_port61_ops.in(&pit, 0x61, 1) & 0xcf, 0x0e);
	first = pit_port61_ops.in(&pit, 0x61, 1) & 0x10;
	for (unsigned i = 0; i < 100; i++) {
		fake_clock_advance(15086);
		changes += (pit_port61_ops.in(&pit, 0x61, 1) & 0x10) != first;
		first = pit_port61_ops.in(&pit, 0x61, 1) & 0x10;
	}
	assert_in_range(changes, 98, 100);
}

/*
 * Linux, quick_pit_calibrate(): channel 2, mode 0, count ffff; each value of the high
 * byte is seen, going down, and lasts 256 ticks.
 */
static void test_linux_quick_calibrate(void **state)
{
	uint8_t val = 0xff;
	uint64_t began = 0;

	(void)state;
	pit_port61_ops.out(&pit, 0x61, 1, 0x01);
	out(0x43, 0xb0);
	out(0x42, 0xff);
	out(0x42, 0xff);
	in(0x42);
	fake_clock_advance(2000);
	assert_int_equal(in(0x42), 0xff);
	for (unsigned i = 0; i < 100000 && val > 0xf0; i++) {
		uint8_t now;

		fake_clock_advance(2000);
		in(0x42);
		now = in(0x42);
		if (now == val)
			continue;
		assert_int_equal(now, val - 1);
		if (val < 0xff)
			assert_in_range(fake_now_ns - began, 212000, 217000); /* 256 ticks */
		began = fake_now_ns;
		val = now;
	}
	assert_int_equal(val, 0xf0);
}

/* Linux, pit_calibrate_tsc(): 10 ms in mode 0; OUT at port 61 ends it. */
static void test_linux_calibrate(void **state)
{
	(void)state;
	pit_port61_ops.out(&pit, 0x61, 1, 0x01);
	program(2, 0, 11931);
	while (!out2())
		fake_clock_advance(1000);
	assert_in_range(fake_now_ns, 9998000, 10003000);
}

/* --- interrupt 0 --- */

static void test_periodic(void **state)
{
	(void)state;
	program(0, 2, 11932); /* 100 Hz */
	rises = 0;
	fake_clock_advance(10 * NS_PER_SEC);
	assert_in_range(rises, 999, 1000);
	program(0, 3, 11932);
	rises = 0;
	fake_clock_advance(10 * NS_PER_SEC);
	assert_in_range(rises, 999, 1000);
}

/* Linux's periodic tick, an hour of it: 1193182 / 4773 a second, to one tick. */
static void test_no_drift(void **state)
{
	(void)state;
	program(0, 2, 4773);
	rises = 0;
	fake_clock_advance(3600 * NS_PER_SEC);
	assert_in_range(rises, UINT64_C(3600) * PIT_HZ / 4773 - 1, UINT64_C(3600) * PIT_HZ / 4773);
}

static void test_mode0_interrupt(void **state)
{
	(void)state;
	auto_ack = false;
	program(0, 0, 1000);
	assert_false(level);
	to_tick(1000);
	assert_false(level);
	to_tick(1001);
	assert_true(level);
	assert_int_equal(rises, 1);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises, 1);
	assert_false(pit.timer.armed);
	out(0x40, 1); /* the first byte of a new count: low, and no more counting */
	assert_false(level);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises, 1);
	out(0x40, 0);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises, 2);
}

/* Half a new count stops a mode 0 count under way. */
static void test_mode0_first_byte_stops(void **state)
{
	(void)state;
	program(0, 0, 1000);
	to_tick(500);
	out(0x40, 5);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises, 0);
	assert_false(pit.timer.armed);
}

/* Linux's one-shot clock event: mode 4, counts written without a control word. */
static void test_linux_oneshot(void **state)
{
	(void)state;
	out(0x43, 0x38);
	rises = 0;
	for (unsigned i = 1; i <= 50; i++) {
		uint64_t began = fake_now_ns;

		out(0x40, 0xa9);
		out(0x40, 0x04); /* 1193 ticks: 1 ms */
		assert_true(pit.timer.armed);
		while (rises < i)
			fake_clock_advance(1000);
		assert_in_range(fake_now_ns - began, 1000000, 1004000);
		assert_false(pit.timer.armed);
	}
	out(0x40, 0xa9);
	out(0x40, 0x04);
	fake_clock_advance(500000);
	out(0x40, 0xa9); /* again before it came: the first is forgotten */
	out(0x40, 0x04);
	fake_clock_advance(900000);
	assert_int_equal(rises, 50);
	fake_clock_advance(200000);
	assert_int_equal(rises, 51);
}

/* Linux, pit_shutdown(): mode 0 with count 0, then nothing comes. */
static void test_linux_shutdown(void **state)
{
	(void)state;
	program(0, 2, 4773);
	fake_clock_advance(NS_PER_SEC);
	out(0x43, 0x30);
	out(0x40, 0);
	out(0x40, 0);
	rises = 0;
	fake_clock_advance(50000000);
	assert_int_equal(rises, 0);
	fake_clock_advance(10 * NS_PER_SEC);
	assert_in_range(rises, 0, 1); /* its one terminal count, after 55 ms */
}

static void test_channel0_mode1_never(void **state)
{
	(void)state;
	program(0, 1, 100);
	fake_clock_advance(NS_PER_SEC);
	program(0, 5, 100);
	fake_clock_advance(NS_PER_SEC);
	assert_false(pit.timer.armed);
}

/* Ticks that come while an earlier one was not taken are owed: one at each taking. */
static void test_late_ticks(void **state)
{
	(void)state;
	auto_ack = false;
	program(0, 2, 11932);
	rises = 0;
	fake_clock_advance(55 * NS_PER_SEC / 1000); /* five ticks */
	assert_int_equal(pit.owed, 4);
	rises = 1;
	for (unsigned i = 2; i <= 5; i++) {
		ack();
		assert_int_equal(rises, i);
	}
	ack();
	assert_int_equal(rises, 5);
	assert_int_equal(pit.owed, 0);
}

/* The timer function itself may come late. */
static void test_late_timer(void **state)
{
	(void)state;
	program(0, 2, 11932);
	rises = 0;
	fake_now_ns += 55 * NS_PER_SEC / 1000; /* nobody ran the timers */
	timer_run_expired();
	assert_int_equal(rises, 5);
	fake_clock_advance(5 * NS_PER_SEC / 1000 + 10000);
	assert_int_equal(rises, 6); /* the phase is kept */
}

static void test_owed_is_bounded(void **state)
{
	(void)state;
	auto_ack = false;
	program(0, 2, 11932);
	fake_clock_advance(1000 * NS_PER_SEC);
	assert_int_equal(pit.owed, PIT_MAX_OWED);
	fake_now_ns += 1000 * NS_PER_SEC;
	timer_run_expired();
	assert_int_equal(pit.owed, PIT_MAX_OWED);
	out(0x43, 0x34); /* a new control word: nothing is owed any more */
	assert_int_equal(pit.owed, 0);
}

static void test_masked_ticks_merge(void **state)
{
	(void)state;
	auto_ack = false;
	is_masked = true;
	program(0, 2, 11932);
	fake_clock_advance(NS_PER_SEC);
	fake_now_ns += NS_PER_SEC; /* a late timer function makes no difference */
	timer_run_expired();
	assert_int_equal(pit.owed, 0);
	is_masked = false;
	rises = 0;
	ack();
	assert_int_equal(rises, 0);
}

/* The controller forgot a request, as ICW1 makes it do: the next tick comes all the same. */
static void test_forgotten_request(void **state)
{
	(void)state;
	auto_ack = false;
	program(0, 2, 11932);
	fake_clock_advance(15 * NS_PER_SEC / 1000);
	assert_true(is_requested);
	is_requested = false;
	fake_clock_advance(10 * NS_PER_SEC / 1000);
	assert_true(is_requested);
	assert_int_equal(pit.owed, 0);
}

/* Counts too small to keep up with do not fire the host's timer without end. */
static void test_rate_is_bounded(void **state)
{
	static const uint16_t counts[] = { 1, 2, 3, 10, 118 };

	(void)state;
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (unsigned mode = 2; mode <= 3; mode++) {
			program(0, mode, counts[i]);
			rises = 0;
			fake_clock_advance(NS_PER_SEC);
			assert_in_range(rises, 9000, NS_PER_SEC / PIT_MIN_PERIOD_NS + 1);
		}
	}
	auto_ack = false;
	program(0, 2, 1);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(pit.owed, 0);
}

/* Whatever a guest writes, nothing breaks, and time goes on. */
static void test_random(void **state)
{
	(void)state;
	srand(2);
	for (unsigned i = 0; i < 50000; i++) {
		unsigned r = (unsigned)rand();

		if (r % 8 < 4)
			out((uint16_t)(0x40 + (r >> 4 & 3)), (uint8_t)(r >> 8));
		else if (r % 8 == 4)
			in((uint16_t)(0x40 + (r >> 4 & 3)));
		else if (r % 8 == 5)
			pit_port61_ops.out(&pit, 0x61, 1, (uint8_t)(r >> 8));
		else if (r % 8 == 6)
			pit_port61_ops.in(&pit, 0x61, 1);
		else
			fake_clock_advance((uint64_t)r % 3000000);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_idle),
		TEST(test_mode0),
		TEST(test_mode0_gate),
		TEST(test_mode1),
		TEST(test_mode2),
		TEST(test_mode2_reload),
		TEST(test_mode3),
		TEST(test_mode4),
		TEST(test_mode5),
		TEST(test_count_zero),
		TEST(test_bcd),
		TEST(test_access_modes),
		TEST(test_latch),
		TEST(test_read_back),
		TEST(test_word_access),
		TEST(test_port61),
		TEST(test_linux_quick_calibrate),
		TEST(test_linux_calibrate),
		TEST(test_periodic),
		TEST(test_no_drift),
		TEST(test_mode0_interrupt),
		TEST(test_mode0_first_byte_stops),
		TEST(test_linux_oneshot),
		TEST(test_linux_shutdown),
		TEST(test_channel0_mode1_never),
		TEST(test_late_ticks),
		TEST(test_late_timer),
		TEST(test_owed_is_bounded),
		TEST(test_masked_ticks_merge),
		TEST(test_forgotten_request),
		TEST(test_rate_is_bounded),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
