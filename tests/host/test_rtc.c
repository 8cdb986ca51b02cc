/* The MC146818 and its CMOS memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "tests/host/fakes.h"
#include "vmm/dev/rtc.h"

#define MS UINT64_C(1000000)

static struct rtc rtc;
static bool level;
static unsigned rises;
static uint64_t wire_delay; /* passes while it is driven high */

static void set_irq(void *ctx, unsigned pin, bool on)
{
	uint64_t delay = on ? wire_delay : 0;

	(void)ctx;
	(void)pin;
	rises += on && !level;
	level = on;
	wire_delay = 0;
	if (delay)
		fake_clock_advance(delay);
}

static void start_at(uint64_t unix_seconds)
{
	rtc_destroy(&rtc);
	fake_wall_seconds = unix_seconds - fake_now_ns / NS_PER_SEC;
	rtc_init(&rtc, (struct irq_line){ .set = set_irq }, MIB(256), 0, NULL);
}

static int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	level = false;
	rises = 0;
	fake_wall_seconds = 1700000000; /* Tuesday 2023-11-14 22:13:20 UTC */
	rtc_init(&rtc, (struct irq_line){ .set = set_irq }, MIB(256), 0, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rtc_destroy(&rtc);
	return 0;
}

static uint8_t get(uint8_t reg)
{
	rtc_ops.out(&rtc, 0x70, 1, reg);
	return (uint8_t)rtc_ops.in(&rtc, 0x71, 1);
}

static void set(uint8_t reg, uint8_t val)
{
	rtc_ops.out(&rtc, 0x70, 1, reg);
	rtc_ops.out(&rtc, 0x71, 1, val);
}

static void assert_time(unsigned h, unsigned m, unsigned s)
{
	assert_int_equal(get(4), h);
	assert_int_equal(get(2), m);
	assert_int_equal(get(0), s);
}

static void assert_date(unsigned century, unsigned y, unsigned m, unsigned d, unsigned weekday)
{
	assert_int_equal(get(0x32), century);
	assert_int_equal(get(9), y);
	assert_int_equal(get(8), m);
	assert_int_equal(get(7), d);
	assert_int_equal(get(6), weekday);
}

static void test_time(void **state)
{
	(void)state;
	assert_int_equal(get(0x0a), 0x26);
	assert_int_equal(get(0x0b), 0x02);
	assert_int_equal(get(0x0d), 0x80);
	assert_time(0x22, 0x13, 0x20);
	assert_date(0x20, 0x23, 0x11, 0x14, 3);
	fake_clock_advance(3600 * NS_PER_SEC + NS_PER_SEC / 2);
	assert_time(0x23, 0x13, 0x20);
	fake_clock_advance(NS_PER_SEC / 2);
	assert_time(0x23, 0x13, 0x21);
	assert_int_equal(rises, 0);
	assert_false(rtc.update_timer.armed);
}

/* Every day from 1970 to 2105, against the C library. */
static void test_calendar(void **state)
{
	(void)state;
	set(0x0b, 0x06); /* binary */
	for (uint64_t day = 0; day < 49400; day += 1) {
		time_t t = (time_t)(day * 86400 + day % 86400);
		struct tm tm;

		gmtime_r(&t, &tm);
		start_at((uint64_t)t);
		set(0x0b, 0x06);
		assert_time((unsigned)tm.tm_hour, (unsigned)tm.tm_min, (unsigned)tm.tm_sec);
		assert_date((unsigned)(tm.tm_year + 1900) / 100,
			    (unsigned)(tm.tm_year + 1900) % 100, (unsigned)tm.tm_mon + 1,
			    (unsigned)tm.tm_mday, (unsigned)tm.tm_wday + 1);
		/* What is read can be written, and is the same. */
		set(7, get(7));
		assert_date((unsigned)(tm.tm_year + 1900) / 100,
			    (unsigned)(tm.tm_year + 1900) % 100, (unsigned)tm.tm_mon + 1,
			    (unsigned)tm.tm_mday, (unsigned)tm.tm_wday + 1);
	}
}

/* 23:59:59 and the second after, at each kind of day's end. */
static void test_over_midnight(void **state)
{
	static const struct {
		uint64_t at;                                /* of 23:59:59 */
		uint8_t weekday, day, month, year, century; /* of the next day */
	} nights[] = {
		{ 946684799, 7, 0x01, 0x01, 0x00, 0x20 },  /* 1999-12-31, a Friday */
		{ 951782399, 3, 0x29, 0x02, 0x00, 0x20 },  /* 2000-02-28: a leap year, as by 400 */
		{ 951868799, 4, 0x01, 0x03, 0x00, 0x20 },  /* 2000-02-29 */
		{ 1677628799, 4, 0x01, 0x03, 0x23, 0x20 }, /* 2023-02-28 */
		{ 1704067199, 2, 0x01, 0x01, 0x24, 0x20 }, /* 2023-12-31 */
		{ 1714521599, 4, 0x01, 0x05, 0x24, 0x20 }, /* 2024-04-30 */
		{ 4102444799, 6, 0x01, 0x01, 0x00, 0x21 }, /* 2099-12-31 */
		{ 4107542399, 2, 0x01, 0x03, 0x00, 0x21 }, /* 2100-02-28: none, as by 100 */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(nights); i++) {
		start_at(nights[i].at);
		assert_int_equal(get(4), 0x23);
		assert_int_equal(get(2), 0x59);
		assert_int_equal(get(0), 0x59);
		fake_clock_advance(NS_PER_SEC - 1);
		assert_int_equal(get(0), 0x59);
		fake_clock_advance(1);
		assert_int_equal(get(0) | get(2) | get(4), 0);
		assert_int_equal(get(6), nights[i].weekday);
		assert_int_equal(get(7), nights[i].day);
		assert_int_equal(get(8), nights[i].month);
		assert_int_equal(get(9), nights[i].year);
		assert_int_equal(get(0x32), nights[i].century);
	}
}

/* An alarm that lies behind midnight, and one that is due at it; 12 hours: 12 AM. */
static void test_alarm_over_midnight(void **state)
{
	static const uint8_t seconds[] = { 0x00, 0x05 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		start_at(1704067190); /* 23:59:50 */
		rises = 0;
		level = false;
		set(0x0b, i ? 0x20 : 0x22);
		set(5, i ? 0x12 : 0x00); /* 12 AM is midnight */
		set(3, 0x00);
		set(1, seconds[i]);
		fake_clock_advance((10 + 5 * i) * NS_PER_SEC - 1);
		assert_int_equal(rises, 0);
		fake_clock_advance(1);
		assert_int_equal(rises, 1);
		assert_int_equal(get(4), i ? 0x12 : 0x00);
		assert_int_equal(get(0x0c) & 0xa0, 0xa0);
		fake_clock_advance(3600 * NS_PER_SEC);
		assert_int_equal(rises, 1);
	}
}

static void test_formats(void **state)
{
	(void)state;
	set(0x0b, 0x06);
	assert_time(22, 13, 20);
	assert_int_equal(get(9), 23);
	set(0x0b, 0x04);
	assert_int_equal(get(4), 0x80 | 10); /* 10 pm */
	set(0x0b, 0x00);
	assert_int_equal(get(4), 0x90);
	start_at(1700000000 - 10 * 3600); /* noon */
	set(0x0b, 0x00);
	assert_int_equal(get(4), 0x92);
	start_at(1700000000 - 22 * 3600); /* midnight */
	set(0x0b, 0x00);
	assert_int_equal(get(4), 0x12);
	set(4, 0x92); /* 12 pm */
	set(0x0b, 0x02);
	assert_int_equal(get(4), 0x12);
}

/* Linux, mc146818_set_time(). */
static void test_linux_set_time(void **state)
{
	uint8_t b = get(0x0b), a = get(0x0a);

	(void)state;
	set(0x0b, b | 0x80);
	set(0x0a, a | 0x70);
	set(9, 0x99);
	set(8, 0x12);
	set(7, 0x31);
	set(4, 0x23);
	set(2, 0x59);
	set(0, 0x58);
	set(0x32, 0x20);
	fake_clock_advance(100 * NS_PER_SEC); /* stands still */
	assert_time(0x23, 0x59, 0x58);
	set(0x0b, b);
	fake_clock_advance(100 * NS_PER_SEC);
	assert_time(0x23, 0x59, 0x58);
	set(0x0a, a);
	assert_time(0x23, 0x59, 0x58);
	fake_clock_advance(499 * MS);
	assert_time(0x23, 0x59, 0x58);
	fake_clock_advance(2 * MS); /* the first update comes half a second after the start */
	assert_time(0x23, 0x59, 0x59);
	fake_clock_advance(NS_PER_SEC);
	assert_time(0x00, 0x00, 0x00);
	assert_int_equal(get(9), 0x00);
	assert_int_equal(get(0x32), 0x21);
	assert_int_equal(get(7), 0x01);
}

static void test_set_keeps_phase(void **state)
{
	(void)state;
	fake_clock_advance(300 * MS);
	set(0x0b, 0x82);
	set(0, 0x40);
	fake_clock_advance(2500 * MS);
	assert_int_equal(get(0), 0x40);
	set(0x0b, 0x02);
	fake_clock_advance(150 * MS);
	assert_int_equal(get(0), 0x40);
	fake_clock_advance(100 * MS);
	assert_int_equal(get(0), 0x41);
}

/* A new rate does not shift the seconds. */
static void test_rate_keeps_phase(void **state)
{
	(void)state;
	fake_clock_advance(700 * MS);
	set(0x0a, 0x2a);
	fake_clock_advance(299 * MS);
	assert_int_equal(get(0), 0x20);
	fake_clock_advance(2 * MS);
	assert_int_equal(get(0), 0x21);
}

static void test_weekday_is_the_guests(void **state)
{
	(void)state;
	set(6, 7);
	assert_int_equal(get(6), 7);
	fake_clock_advance(86400 * NS_PER_SEC);
	assert_int_equal(get(6), 1);
}

/* Nonsense in the time registers is read back while SET holds, then made sense of. */
static void test_nonsense(void **state)
{
	(void)state;
	set(0x0b, 0x82);
	for (uint8_t reg = 0; reg < 10; reg++)
		set(reg, 0xff);
	set(0x32, 0xff);
	assert_int_equal(get(0), 0xff);
	set(0x0b, 0x02);
	assert_time(0x23, 0x59, 0x59);
	fake_clock_advance(2 * NS_PER_SEC);
	assert_time(0x00, 0x00, 0x01);
	set(0x0b, 0x86);
	for (uint8_t reg = 0; reg < 10; reg++)
		set(reg, 0);
	set(0x32, 0);
	set(0x0b, 0x06);
	assert_time(0, 0, 0);
	assert_int_equal(get(7), 1);
	assert_int_equal(get(8), 1);
}

static void test_uip(void **state)
{
	(void)state;
	fake_clock_advance(990 * MS);
	assert_int_equal(get(0x0a), 0x26);
	fake_clock_advance(9 * MS);
	assert_int_equal(get(0x0a), 0xa6);
	assert_int_equal(get(0), 0x20);
	fake_clock_advance(1 * MS);
	assert_int_equal(get(0x0a), 0x26);
	assert_int_equal(get(0), 0x21);
	set(0x0b, 0x82); /* no updates, no UIP */
	fake_clock_advance(999 * MS);
	assert_int_equal(get(0x0a), 0x26);
	set(0x0a, 0xa6); /* UIP cannot be written */
	assert_int_equal(get(0x0a), 0x26);
}

static void test_update_interrupt(void **state)
{
	(void)state;
	get(0x0c);
	set(0x0b, 0x12);
	fake_clock_advance(999 * MS);
	assert_false(level);
	fake_clock_advance(2 * MS);
	assert_true(level);
	fake_clock_advance(10 * NS_PER_SEC);
	assert_int_equal(rises, 1); /* none until register C is read */
	assert_int_equal(get(0x0c) & 0xb0, 0x90);
	assert_false(level);
	assert_int_equal(get(0x0c) & 0x90, 0x00);
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises, 2);
	get(0x0c);
	set(0x0b, 0x92); /* SET clears UIE */
	assert_int_equal(get(0x0b), 0x82);
}

/* Without the enable, the flag comes all the same. */
static void test_flags_by_polling(void **state)
{
	(void)state;
	get(0x0c);
	fake_clock_advance(500 * MS);
	assert_int_equal(get(0x0c) & 0x90, 0x00);
	fake_clock_advance(600 * MS);
	assert_int_equal(get(0x0c) & 0x90, 0x10);
	assert_false(level);
}

static void test_alarm(void **state)
{
	(void)state;
	set(1, 0x25);
	set(3, 0x13);
	set(5, 0x22);
	get(0x0c);
	set(0x0b, 0x22);
	fake_clock_advance(4900 * MS);
	assert_false(level);
	fake_clock_advance(200 * MS);
	assert_true(level);
	assert_int_equal(get(0x0c) & 0xa0, 0xa0);
	fake_clock_advance(86390 * NS_PER_SEC);
	assert_false(level);
	fake_clock_advance(20 * NS_PER_SEC);
	assert_true(level); /* every day */
	assert_int_equal(rises, 2);
}

static void test_alarm_any(void **state)
{
	(void)state;
	set(1, 0x05);
	set(3, 0xc0);
	set(5, 0xff);
	set(0x0b, 0x22);
	for (unsigned i = 1; i <= 5; i++) {
		fake_clock_advance(60 * NS_PER_SEC);
		assert_int_equal(rises, i);
		get(0x0c);
	}
	set(1, 0xff); /* every second */
	for (unsigned i = 6; i <= 10; i++) {
		fake_clock_advance(NS_PER_SEC);
		assert_int_equal(rises, i);
		get(0x0c);
	}
	set(3, 0x77); /* no such minute */
	fake_clock_advance(86400 * NS_PER_SEC);
	assert_int_equal(rises, 10);
	assert_false(rtc.update_timer.armed);
}

/* Zero is a time like any other. */
static void test_alarm_zero(void **state)
{
	(void)state;
	get(0x0c);
	set(1, 0x00);
	set(3, 0x00);
	set(5, 0x00);
	set(0x0b, 0x22);
	while (!level)
		fake_clock_advance(NS_PER_SEC);
	assert_time(0, 0, 0);
	get(0x0c);
	set(3, 0xff);
	set(5, 0xff);
	while (!level)
		fake_clock_advance(NS_PER_SEC);
	assert_time(0, 0x01, 0);
}

/* Alarm times one by one: the timer that is armed is the right second. */
static void test_alarm_every_hour_form(void **state)
{
	(void)state;
	for (unsigned h = 0; h < 24; h++) {
		start_at(1700000000);
		get(0x0c);
		set(0x0b, 0x26); /* binary, 24 hours, AIE */
		set(1, 59);
		set(3, 0);
		set(5, (uint8_t)h);
		while (!level)
			fake_clock_advance(NS_PER_SEC);
		assert_time(h, 0, 59);
		get(0x0c);
	}
	set(0x0b, 0x20); /* BCD, 12 hours */
	set(1, 0);
	set(3, 0);
	set(5, 0x81); /* 1 pm */
	fake_clock_advance(86400 * NS_PER_SEC);
	assert_true(level);
	get(0x0c);
	set(0x0b, 0x02);
	fake_clock_advance(2 * 86400 * NS_PER_SEC);
	assert_int_equal(get(0x0c) & 0x20, 0); /* 81h is no hour in 24-hour form */
}

static void test_periodic(void **state)
{
	(void)state;
	get(0x0c);
	set(0x0b, 0x42); /* 1024 Hz */
	for (unsigned i = 0; i < 20480; i++) {
		while (!level)
			fake_clock_advance(10000);
		assert_int_equal(get(0x0c) & 0xc0, 0xc0);
		assert_false(level);
	}
	assert_in_range(fake_now_ns, 19999 * MS, 20001 * MS);
	set(0x0a, 0x2f); /* 2 Hz */
	rises = 0;
	for (unsigned i = 0; i < 100; i++) {
		fake_clock_advance(100 * MS);
		get(0x0c);
	}
	assert_in_range(rises, 19, 21);
	set(0x0a, 0x20); /* none */
	get(0x0c);
	rises = 0;
	fake_clock_advance(10 * NS_PER_SEC);
	assert_int_equal(rises, 0);
	assert_int_equal(get(0x0c) & 0x40, 0);
}

/* One that is due as the flags of the one before are read makes an edge of its own. */
static void test_periodic_while_read(void **state)
{
	(void)state;
	get(0x0c);
	set(0x0b, 0x42);
	fake_clock_advance(MS);
	assert_true(level);
	rises = 0;
	wire_delay = MS;
	assert_int_equal(get(0x0c) & 0xc0, 0xc0);
	assert_true(level);
	assert_int_equal(rises, 1);
	assert_int_equal(get(0x0c) & 0xc0, 0xc0);
	assert_false(level);
}

/* 1 and 2 are 256 and 128 Hz, not 32 and 16 kHz. */
static void test_periodic_fast_codes(void **state)
{
	(void)state;
	set(0x0b, 0x42);
	for (unsigned rs = 1; rs <= 2; rs++) {
		set(0x0a, (uint8_t)(0x20 | rs));
		get(0x0c);
		rises = 0;
		for (unsigned i = 0; i < 10000; i++) {
			fake_clock_advance(100000);
			get(0x0c);
		}
		assert_in_range(rises, 256 / rs - 1, 256 / rs + 1);
	}
}

static void test_periodic_fastest(void **state)
{
	(void)state;
	set(0x0a, 0x23);
	get(0x0c);
	set(0x0b, 0x42);
	for (unsigned i = 0; i < 100000; i++) {
		fake_clock_advance(10000);
		get(0x0c);
	}
	assert_in_range(rises, 8190, 8193);
}

/* A guest that never reads register C costs no timer. */
static void test_unread_flags_arm_nothing(void **state)
{
	(void)state;
	set(0x0a, 0x23);
	set(1, 0xff);
	set(3, 0xff);
	set(5, 0xff);
	set(0x0b, 0x72);
	fake_clock_advance(2 * NS_PER_SEC);
	assert_true(level);
	assert_false(rtc.periodic_timer.armed);
	assert_false(rtc.update_timer.armed);
	assert_int_equal(get(0x0c), 0xf0);
}

static unsigned cmos16(uint8_t at)
{
	return get(at) | (unsigned)get(at + 1) << 8;
}

static void test_cmos(void **state)
{
	unsigned sum = 0;

	(void)state;
	assert_int_equal(cmos16(0x15), 640);
	assert_int_equal(cmos16(0x17), 255 * 1024 > 65535 ? 65535 : 255 * 1024);
	assert_int_equal(cmos16(0x30), 65535);
	assert_int_equal(cmos16(0x34), 240 * 16);
	assert_int_equal(cmos16(0x5b), 0);
	for (uint8_t i = 0x10; i <= 0x2d; i++)
		sum += get(i);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), sum & 0xffff);
	set(0x0f, 0x5a);
	assert_int_equal(get(0x0f), 0x5a);
	set(0x7f, 0xa5);
	assert_int_equal(get(0xff), 0xa5); /* bit 7 of the index is the NMI mask */
	assert_true(rtc.nmi_masked);
	get(0x00);
	assert_false(rtc.nmi_masked);
	set(0x0d, 0);
	set(0x0c, 0xff);
	assert_int_equal(get(0x0d), 0x80);
	assert_int_equal(rtc_ops.in(&rtc, 0x70, 1), 0xff);
	rtc_destroy(&rtc);
	rtc_init(&rtc, (struct irq_line){ 0 }, GIB(3), GIB(5), NULL);
	assert_int_equal(cmos16(0x34), (3 * 1024 - 16) * 16);
	assert_int_equal(cmos16(0x5b), 5 * 1024 * 16 & 0xffff);
	assert_int_equal(get(0x5d), 5 * 1024 * 16 >> 16);
	rtc_destroy(&rtc);
	rtc_init(&rtc, (struct irq_line){ 0 }, MIB(1), 0, NULL);
	assert_int_equal(cmos16(0x30), 0);
	assert_int_equal(cmos16(0x34), 0);
}

static void test_random(void **state)
{
	(void)state;
	srand(3);
	for (unsigned i = 0; i < 50000; i++) {
		unsigned r = (unsigned)rand();

		if (r % 4 < 2)
			set((uint8_t)(r >> 4 & 15), (uint8_t)(r >> 8));
		else if (r % 4 == 2)
			get((uint8_t)(r >> 4));
		else
			fake_clock_advance((uint64_t)r % (2 * NS_PER_SEC));
		if (r % 64 == 0)
			rtc_ops.out(&rtc, 0x70, 2, r >> 8);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_time),
		TEST(test_calendar),
		TEST(test_over_midnight),
		TEST(test_alarm_over_midnight),
		TEST(test_formats),
		TEST(test_linux_set_time),
		TEST(test_set_keeps_phase),
		TEST(test_rate_keeps_phase),
		TEST(test_weekday_is_the_guests),
		TEST(test_nonsense),
		TEST(test_uip),
		TEST(test_update_interrupt),
		TEST(test_flags_by_polling),
		TEST(test_alarm),
		TEST(test_alarm_any),
		TEST(test_alarm_zero),
		TEST(test_alarm_every_hour_form),
		TEST(test_periodic),
		TEST(test_periodic_while_read),
		TEST(test_periodic_fast_codes),
		TEST(test_periodic_fastest),
		TEST(test_unread_flags_arm_nothing),
		TEST(test_cmos),
		TEST(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
