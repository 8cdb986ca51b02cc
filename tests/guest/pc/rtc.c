/* The RTC: its time over midnight and the like, formats, flags, interrupts on input 8. */
#include "tests/guest/pc/pc.h"

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR
};
#define REG_A 10u
#define REG_B 11u
#define REG_C 12u
#define REG_D 13u
#define CENTURY 0x32u
#define A_NORMAL 0x26u /* 1024 Hz */
#define A_STOPPED 0x66u
#define A_UIP 0x80u
#define B_SET 0x80u
#define B_PERIODIC 0x40u
#define B_ALARM 0x20u
#define B_UPDATE 0x10u
#define B_BINARY 4u
#define B_24H 2u
#define IRQF 0x80u
#define ANY 0xff

static uint8_t get(unsigned reg)
{
	outb(0x70, (uint8_t)reg);
	return inb(0x71);
}

static void set(unsigned reg, uint8_t val)
{
	outb(0x70, (uint8_t)reg);
	outb(0x71, val);
}

/* Where the registers stand together. */
static void read_time(uint8_t time[YEAR + 1])
{
	uint8_t second;

	do {
		while (get(REG_A) & A_UIP)
			pause();
		second = get(SECONDS);
		for (unsigned reg = 0; reg <= YEAR; reg++)
			time[reg] = get(reg);
	} while (get(SECONDS) != second || (get(REG_A) & A_UIP));
}

struct moment {
	uint8_t b, second, minute, hour, weekday, day, month, year, century;
};

/* The divider stands until all is written: the next second is half of one off. */
static void start_at(const struct moment *m)
{
	set(REG_A, A_STOPPED);
	set(REG_B, B_SET | m->b);
	set(SECONDS, m->second);
	set(MINUTES, m->minute);
	set(HOURS, m->hour);
	set(WEEKDAY, m->weekday);
	set(DAY, m->day);
	set(MONTH, m->month);
	set(YEAR, m->year);
	set(CENTURY, m->century);
	set(REG_B, m->b);
	set(REG_A, A_NORMAL);
}

static void expect_moment(const struct moment *m)
{
	uint8_t time[YEAR + 1];

	read_time(time);
	expect("the minute", time[MINUTES], m->minute);
	expect("the hour", time[HOURS], m->hour);
	expect("the weekday", time[WEEKDAY], m->weekday);
	expect("the day", time[DAY], m->day);
	expect("the month", time[MONTH], m->month);
	expect("the year", time[YEAR], m->year);
	expect("the century", get(CENTURY), m->century);
}

/* The second before, and the one that comes. */
static const struct moment midnights[][2] = {
	{ { B_24H, 0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19 },
	  { B_24H, 0x00, 0x00, 0x00, 7, 0x01, 0x01, 0x00, 0x20 } },
	{ { 0, 0x59, 0x59, 0x91, 7, 0x28, 0x02, 0x04, 0x20 }, /* 11 PM */
	  { 0, 0x00, 0x00, 0x12, 1, 0x29, 0x02, 0x04, 0x20 } },
	{ { B_24H | B_BINARY, 59, 59, 23, 1, 28, 2, 0, 21 },
	  { B_24H | B_BINARY, 0, 0, 0, 2, 1, 3, 0, 21 } },
	{ { B_BINARY, 59, 59, 11, 3, 30, 4, 26, 20 }, /* AM: noon comes */
	  { B_BINARY, 0, 0, 0x8c, 3, 30, 4, 26, 20 } },
};

static void midnight(const struct moment m[2])
{
	uint64_t from;

	from = rdtsc();
	start_at(&m[0]);
	while (get(SECONDS) == m[0].second)
		pause();
	expect_between("us until a second after the divider's reset", us_since(from), 450000,
		       ~0ull);
	expect_moment(&m[1]);
}

static void standing(void)
{
	uint8_t second;
	uint64_t from;

	expect("register D", get(REG_D), 0x80);
	set(REG_D, 0);
	expect("register D", get(REG_D), 0x80);
	set(REG_A, 0xff & ~A_UIP);
	expect("register A", get(REG_A), 0xff & ~A_UIP);
	set(REG_A, A_NORMAL);
	set(REG_B, B_SET | B_24H | B_UPDATE);
	expect("SET takes the update's interrupt away", get(REG_B), B_SET | B_24H);
	second = get(SECONDS);
	from = rdtsc();
	while (us_since(from) < 1100000)
		expect("UIP under SET", get(REG_A) & A_UIP, 0);
	expect("the second under SET", get(SECONDS), second);
	set(REG_B, B_24H);
}

/* Its input of the I/O APIC: edges, or none. */
static void route(bool on)
{
	input_set(8, 0, on ? VEC_RTC : LVT_MASKED);
}

static uint32_t rtc_interrupts(void)
{
	return came[0][VEC_RTC];
}

/* So many interrupts, with no other flags than these, and in no less time. */
static void await_interrupts(uint8_t b, uint32_t n, uint8_t flags, uint64_t us)
{
	uint32_t before;
	uint64_t from;

	set(REG_B, B_24H);
	pass(100); /* an interrupt that was sent before comes now */
	/* A flag that rises after it has been read is one of them at once. */
	from = rdtsc();
	get(REG_C);
	before = rtc_interrupts();
	rtc_flags = 0;
	set(REG_B, B_24H | b);
	interrupts_on();
	while (rtc_interrupts() - before < n)
		pause();
	interrupts_off();
	set(REG_B, B_24H);
	expect("the flags of its interrupts", rtc_flags & (IRQF | b), IRQF | flags);
	expect_between("us for them", us_since(from), us, ~0ull);
}

/* --- the rates --- */

#define PERIODS_LEAST 3u
#define LONG_ENOUGH 8000u /* us */

/* When it was not up yet, or just looked at. */
static uint64_t await_flag(void)
{
	uint64_t when;

	do {
		when = rdtsc();
	} while (!(get(REG_C) & B_PERIODIC));
	return when;
}

/* us that so many periods take, from some time in the one before. One that is looked at late may be
 * lost. */
static uint64_t periods(unsigned n)
{
	uint64_t from;

	get(REG_C);
	from = await_flag();
	while (n--)
		await_flag();
	return us_since(from);
}

/* MC146818, table 5: of a crystal of 32,768 Hz. */
static void rates(void)
{
	for (unsigned rate = 1; rate < 16; rate++) {
		uint64_t crystal = 1u << (rate < 3 ? rate + 6 : rate - 1);
		uint64_t us = crystal * 1000000 / 32768;
		unsigned n = (unsigned)(LONG_ENOUGH / us);

		n = n < PERIODS_LEAST ? PERIODS_LEAST : n;
		set(REG_A, (uint8_t)(0x20 | rate));
		expect_between("us of some periods", periods(n), (n - 1) * us - us / 50, ~0ull);
		pass(us + us / 20 + 100);
		expect("a flag after one more", get(REG_C) & B_PERIODIC, B_PERIODIC);
	}
	set(REG_A, 0x20);
	get(REG_C);
	pass(20000);
	expect("flags without a rate", get(REG_C) & B_PERIODIC, 0);
	set(REG_A, A_NORMAL);
}

static void alarm(uint8_t second, uint8_t minute, uint8_t hour)
{
	static const struct moment noon = { B_24H, 0x10, 0x00, 0x12, 3, 0x23, 0x11, 0x26, 0x20 };

	set(SECONDS_ALARM, second);
	set(MINUTES_ALARM, minute);
	set(HOURS_ALARM, hour);
	start_at(&noon);
	get(REG_C);
}

static void interrupts(void)
{
	uint32_t before;
	uint8_t flags;

	route(true);
	set(REG_A, 0x26); /* 1024 Hz */
	await_interrupts(B_PERIODIC, 50, B_PERIODIC, 47000);
	set(REG_A, 0x2f); /* 2 Hz */
	await_interrupts(B_PERIODIC, 2, B_PERIODIC, 490000);
	set(REG_A, 0x20); /* none */
	pass(100);
	get(REG_C);
	set(REG_B, B_24H | B_PERIODIC);
	before = rtc_interrupts();
	pass(20000);
	expect("interrupts at no rate", rtc_interrupts(), before);
	set(REG_A, A_NORMAL);
	await_interrupts(B_UPDATE, 2, B_UPDATE, 900000);
	alarm(0x12, 0x00, 0x12);
	await_interrupts(B_ALARM, 1, B_ALARM, 0);
	alarm(ANY, 0x00, ANY);
	await_interrupts(B_ALARM, 2, B_ALARM, 900000);
	/* One that does not come, under flags that nobody has asked for. */
	pass(100);
	alarm(0x11, 0x01, 0x12);
	set(REG_B, B_24H | B_ALARM);
	before = rtc_interrupts();
	pass(700000);
	expect("interrupts of another minute's alarm", rtc_interrupts(), before);
	flags = get(REG_C);
	expect("its flags", flags & (IRQF | B_ALARM | B_UPDATE), B_UPDATE);
	expect("flags that were read", get(REG_C) & ~B_PERIODIC, 0);
	set(REG_B, B_24H);
	route(false);
}

void rtc(void)
{
	struct moment now = { .b = B_24H };
	uint8_t time[YEAR + 1];

	set(REG_B, B_24H);
	read_time(time);
	now.century = get(CENTURY);
	for (unsigned i = 0; i < ARRAY_SIZE(midnights); i++)
		midnight(midnights[i]);
	standing();
	rates();
	interrupts();
	now.second = time[SECONDS];
	now.minute = time[MINUTES];
	now.hour = time[HOURS];
	now.weekday = time[WEEKDAY];
	now.day = time[DAY];
	now.month = time[MONTH];
	now.year = time[YEAR];
	start_at(&now);
}
