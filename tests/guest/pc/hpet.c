/* The HPET: what each register keeps, timers of 64 bits and of 32 where their counter wraps, one
 * that holds its input, and timer 1 in the RTC's place. IA-PC HPET 1.0a, 2.3. ioapic.asm has the
 * other modes. */
#include "tests/guest/pc/pc.h"

#define TIMERS 3u
#define INPUT 20u
#define LEVEL_INPUT 21u
#define RTC_INPUT 8u
#define VECTOR (VEC_FIRST + 1)
#define PERIOD 100000u /* 1 ms */
#define CAPABILITIES 0x009896808086a201ull
#define CONFIG_ON 1u
#define CONFIG_LEGACY 2u
/* Inputs 20 to 23, messages, both widths, periodic. */
#define TIMER_FIXED 0x00f0000000008030ull
#define TIMER_WRITABLE 0x410eull
#define TIMER_ROUTE 0x3e00ull
#define ONES UINT64_MAX
#define SOME 0x123456789abcdef0ull

/* --- registers --- */

static void expect_kept(const char *what, uint32_t offset, uint64_t write, uint64_t read)
{
	*hpet(offset) = write;
	expect(what, *hpet(offset), read);
}

static void set_half(uint32_t offset, uint32_t val)
{
	*(volatile uint32_t *)hpet(offset) = val;
}

static void timer_registers(unsigned n)
{
	static const uint32_t other_inputs[] = { 0, 2, 19, 24, 31 };
	uint32_t config = HPET_TIMER(n), comparator = HPET_COMPARATOR(n);

	expect_kept("ones in a timer's configuration", config, ONES & ~TIMER_ROUTE,
		    TIMER_FIXED | TIMER_WRITABLE | (*hpet(config) & TIMER_ROUTE));
	for (uint32_t input = 20; input < 24; input++)
		expect_kept("a timer's input", config, TIMER_INPUT(input),
			    TIMER_FIXED | TIMER_INPUT(input));
	for (unsigned i = 0; i < ARRAY_SIZE(other_inputs); i++)
		expect_kept("an input that it has not", config, TIMER_INPUT(other_inputs[i]),
			    TIMER_FIXED | TIMER_INPUT(23));
	expect_kept("a comparator", comparator, SOME, SOME);
	set_half(comparator + 4, 5);
	expect("its upper half, written alone", *hpet(comparator), 5ull << 32 | (uint32_t)SOME);
	*hpet(config) = TIMER_32 | TIMER_INPUT(23);
	expect("one of 32 bits", *hpet(comparator), (uint32_t)SOME);
	expect_kept("ones in one of 32 bits", comparator, ONES, UINT32_MAX);
	expect_kept("a message", HPET_MESSAGE(n), SOME, SOME);
	expect_kept("a register that is not there", HPET_MESSAGE(n) + 8, ONES, 0);
	expect_kept("zero in a timer's configuration", config, 0, TIMER_FIXED | TIMER_INPUT(23));
	expect_kept("no message", HPET_MESSAGE(n), 0, 0);
}

static void registers(void)
{
	*hpet(HPET_CONFIG) = 0;
	expect_kept("capabilities", 0, ONES, CAPABILITIES);
	expect_kept("ones in the configuration", HPET_CONFIG, ONES, CONFIG_ON | CONFIG_LEGACY);
	expect_kept("zero in the configuration", HPET_CONFIG, 0, 0);
	expect_kept("the counter, halted", HPET_COUNTER, SOME, SOME);
	set_half(HPET_COUNTER + 4, 7);
	expect("its upper half, written alone", *hpet(HPET_COUNTER), 7ull << 32 | (uint32_t)SOME);
	expect_kept("ones in a status of zero", HPET_STATUS, ONES, 0);
	for (unsigned n = 0; n < TIMERS; n++)
		timer_registers(n);
	for (uint32_t offset = 8; offset < 0x400; offset += 8) {
		bool timer = offset >= HPET_TIMER(0) && offset < HPET_TIMER(TIMERS);

		if (!timer && offset != HPET_CONFIG && offset != HPET_STATUS &&
		    offset != HPET_COUNTER)
			expect_kept("no register", offset, ONES, 0);
	}
}

/* --- matches --- */

static uint32_t before, run = CONFIG_ON;

/* What was sent before comes now, and does not count. */
static void note(void)
{
	pass(100);
	before = came[0][VECTOR];
}

static uint32_t since(void)
{
	return came[0][VECTOR] - before;
}

static void await(uint32_t n)
{
	while (since() < n)
		pass(10);
}

/* Timer n from now on, with the counter there; period 0: one shot. */
static void start(unsigned n, uint32_t config, uint64_t counter, uint64_t comparator,
		  uint64_t period)
{
	note();
	*hpet(HPET_CONFIG) = 0;
	*hpet(HPET_COUNTER) = counter;
	if (period)
		config |= TIMER_PERIODIC | TIMER_SETS;
	*hpet(HPET_TIMER(n)) = config | TIMER_ON;
	*hpet(HPET_COMPARATOR(n)) = comparator;
	if (period)
		*hpet(HPET_COMPARATOR(n)) = period;
	*hpet(HPET_CONFIG) = run;
}

static void stop_timer(unsigned n)
{
	*hpet(HPET_CONFIG) = 0;
	*hpet(HPET_TIMER(n)) = 0;
	*hpet(HPET_STATUS) = ONES;
	*hpet(HPET_CONFIG) = run;
}

/* 10 ms before the lower half's end, and a match soon after that. */
#define NEAR_END 0xfff00000ull
#define AFTER_END 0x1000u

static void one_shot(unsigned n, uint32_t width, uint64_t comparator)
{
	start(n, TIMER_INPUT(INPUT) | width, 7ull << 32 | NEAR_END, comparator, 0);
	await(1);
	expect_between("the counter at the match", *hpet(HPET_COUNTER), 8ull << 32 | AFTER_END,
		       9ull << 32);
	expect("the comparator after it", *hpet(HPET_COMPARATOR(n)), comparator);
	pass(2000);
	expect("matches of one shot", since(), 1);
	expect("the status of an edge", *hpet(HPET_STATUS), 0);
	stop_timer(n);
}

/* Where only the lower half is the same, 64 bits do not match. */
static void other_half(void)
{
	start(0, TIMER_INPUT(INPUT), 7ull << 32, 9ull << 32 | PERIOD, 0);
	pass(5000);
	expect("matches of half of it", since(), 0);
	stop_timer(0);
	start(0, TIMER_INPUT(INPUT) | TIMER_32, 7ull << 32, 9ull << 32 | PERIOD, 0);
	await(1);
	stop_timer(0);
}

/* It goes over the end of the lower half, in even steps. */
static void periodic(unsigned n, uint32_t width)
{
	uint64_t first = (width ? 0 : 7ull << 32) | (NEAR_END + PERIOD), counter, comparator;

	start(n, TIMER_INPUT(INPUT) | width, 7ull << 32 | NEAR_END, first, PERIOD);
	await(20);
	counter = *hpet(HPET_COUNTER);
	comparator = *hpet(HPET_COMPARATOR(n));
	expect_between("the counter after so many", counter, (7ull << 32 | NEAR_END) + 20 * PERIOD,
		       ONES);
	if (width) {
		expect("the upper half of 32 bits", comparator >> 32, 0);
		expect("whole periods", (uint32_t)(comparator - first) % PERIOD, 0);
	} else {
		expect("whole periods", (comparator - first) % PERIOD, 0);
		expect_between("the next match", comparator, counter + 1, ONES);
	}
	stop_timer(n);
	note();
	pass(2000);
	expect("matches of a timer that is off", since(), 0);
}

/* --- by level --- */

/* Its input is held until the status is cleared, however many periods that takes. By the EOI
 * register, for else there would be nothing but interrupts. */
static void level(unsigned input, uint32_t trigger)
{
	reg_write(REG_SVR, SVR_ON | SVR_NO_BROADCAST);
	input_set(input, 0, trigger | LEVEL | VECTOR);
	start(1, TIMER_INPUT(LEVEL_INPUT) | TIMER_LEVEL, 0, 2 * PERIOD, PERIOD);
	for (unsigned n = 1; n <= 5; n++) {
		await(n);
		expect("the status", *hpet(HPET_STATUS), 2);
		expect_kept("the status, with zero written", HPET_STATUS, 0, 2);
		expect_kept("with the others' ones", HPET_STATUS, ~2ull, 2);
		pass(3000);
		expect("how often it has come", since(), n);
		expect("remote IRR", input_get(input) & REMOTE_IRR, REMOTE_IRR);
		*hpet(HPET_STATUS) = 2;
		input_eoi(VECTOR);
	}
	expect_between("the comparator", *hpet(HPET_COMPARATOR(1)), 15 * PERIOD, ONES);
	stop_timer(1);
	input_eoi(VECTOR);
	pass(1000);
	input_eoi(VECTOR);
	expect("remote IRR in the end", input_get(input) & REMOTE_IRR, 0);
	input_set(input, 0, LVT_MASKED);
	reg_write(REG_SVR, SVR_ON);
}

/* --- in the place of others --- */

static void rtc_set(uint8_t reg, uint8_t val)
{
	outb(0x70, reg);
	outb(0x71, val);
}

static uint8_t rtc_get(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

/* The RTC is not heard until it has its wire back. */
static void legacy_rtc(void)
{
	rtc_set(10, 0x26);
	rtc_set(11, 0x42);
	rtc_get(12);
	await(since() + 1);
	rtc_get(12);
	*hpet(HPET_CONFIG) = CONFIG_ON | CONFIG_LEGACY;
	rtc_get(12);
	pass(1000);
	note();
	for (unsigned i = 0; i < 10; i++) {
		rtc_get(12);
		pass(2000);
	}
	expect("the RTC's interrupts in legacy mode", since(), 0);
	*hpet(HPET_CONFIG) = CONFIG_ON;
	await(1);
	rtc_set(11, 0x02);
	rtc_get(12);
	pass(1000);
}

static void legacy(void)
{
	uint32_t elsewhere = came[0][VEC_FIRST + 3];

	input_set(RTC_INPUT, 0, VECTOR);
	input_set(LEVEL_INPUT, 0, VEC_FIRST + 3);
	legacy_rtc();
	run = CONFIG_ON | CONFIG_LEGACY;
	start(1, TIMER_INPUT(LEVEL_INPUT), 0, PERIOD, 0);
	await(1);
	pass(2000);
	expect("one shot on IRQ 8", since(), 1);
	stop_timer(1);
	start(1, TIMER_INPUT(LEVEL_INPUT), 0, PERIOD, PERIOD);
	await(5);
	expect_between("the counter after five", *hpet(HPET_COUNTER), 5 * PERIOD, ONES);
	stop_timer(1);
	level(RTC_INPUT, 0);
	run = CONFIG_ON;
	*hpet(HPET_CONFIG) = run;
	expect("interrupts on its input", came[0][VEC_FIRST + 3], elsewhere);
	input_set(LEVEL_INPUT, 0, LVT_MASKED);
}

void hpet_timers(void)
{
	registers();
	input_set(INPUT, 0, VECTOR);
	for (unsigned n = 0; n < TIMERS; n++) {
		one_shot(n, 0, 8ull << 32 | AFTER_END);
		one_shot(n, TIMER_32, AFTER_END);
		periodic(n, 0);
		periodic(n, TIMER_32);
	}
	other_half();
	input_set(INPUT, 0, LVT_MASKED);
	level(LEVEL_INPUT, ACTIVE_LOW);
	legacy();
}
