/* The 8254 in each mode: channel 2, whose gate and output port 61 has, and channel 0, whose gate is
 * always high and whose output rises for an interrupt. */
#include "tests/guest/pc/pc.h"

#define PIT_HZ 1193182u
#define CHANNEL2 0x42
#define INPUT 2u
#define VECTOR (VEC_FIRST + 2)
#define CONTROL 0x43
#define PORT61 0x61
#define GATE 1u
#define OUT 0x20u
#define BOTH 0x30u
#define STATUS_NULL 0x40u
#define STATUS_OUT 0x80u

static void gate(bool high)
{
	outb(PORT61, high ? GATE : 0);
}

static bool out(void)
{
	return inb(PORT61) & OUT;
}

/* Which one the following are about. */
static unsigned channel;

static uint16_t channel_port(void)
{
	return (uint16_t)(0x40 + channel);
}

static uint8_t status(void)
{
	outb(CONTROL, (uint8_t)(0xe0 | 2 << channel)); /* read back */
	return inb(channel_port());
}

static uint16_t count(void)
{
	uint8_t low = inb(channel_port());

	return (uint16_t)(low | inb(channel_port()) << 8);
}

static void set_mode(unsigned mode, bool bcd)
{
	outb(CONTROL, (uint8_t)(channel << 6 | BOTH | mode << 1 | bcd));
}

static void load(uint16_t val)
{
	outb(channel_port(), (uint8_t)val);
	outb(channel_port(), (uint8_t)(val >> 8));
}

static uint64_t us_of(uint32_t ticks)
{
	return (uint64_t)ticks * 1000000 / PIT_HZ;
}

static void rest(uint64_t us)
{
	uint64_t from = rdtsc();

	while (us_since(from) < us)
		pause();
}

/* Until the output rises, which must not be before so many ticks. */
static void await_rise(uint64_t from, uint32_t ticks)
{
	while (!out())
		pause();
	expect_between("us until the output rises", us_since(from),
		       us_of(ticks) - us_of(ticks) / 50, ~0ull);
}

/* Low, if so many ticks are not over yet. */
static void expect_low(const char *what, uint64_t from, uint32_t ticks)
{
	bool high = out();

	if (us_since(from) < us_of(ticks) - us_of(ticks) / 50)
		expect(what, high, false);
}

static void mode0(void)
{
	uint64_t from;
	uint16_t paused;

	gate(true);
	set_mode(0, false);
	expect("mode 0's output, without a count", out(), false);
	expect("null count", status(), STATUS_NULL | BOTH);
	from = rdtsc();
	load(60000);
	while (status() & STATUS_NULL)
		pause();
	expect_between("its count", count(), 1, 60000);
	await_rise(from, 60000);
	expect("its status at the end", status(), STATUS_OUT | BOTH);
	from = rdtsc();
	load(60000);
	expect_low("its output, with a new count", from, 60000);
	gate(false);
	paused = count();
	rest(2000);
	expect("its count, without the gate", count(), paused);
	gate(true);
	await_rise(from, 60000);
}

/* A shot each time that the gate rises, and a new one before the end begins again. */
static void mode1(void)
{
	uint64_t from;

	gate(false);
	set_mode(1, false);
	load(60000);
	rest(1000);
	expect("mode 1's output, before the gate rises", out(), true);
	from = rdtsc();
	gate(true);
	expect_low("its output, after that", from, 60000);
	rest(2000);
	gate(false);
	expect_low("its output when the gate falls", from, 60000);
	from = rdtsc();
	gate(true);
	await_rise(from, 60000);
	gate(false);
	rest(100);
	expect("its output after the shot", out(), true);
}

/* What it counts down from and comes back to; by twos in mode 3. */
static void periodic(unsigned mode)
{
	uint32_t downs = 0, ups = 0;
	uint16_t before, now;

	gate(true);
	set_mode(mode, false);
	expect("the output without a count", out(), true);
	load(5000);
	while (status() & STATUS_NULL)
		pause();
	before = count();
	while (ups < 3) {
		now = count();
		expect_between("a count", now, mode == 2, 5000);
		if (mode == 3)
			expect("an even count", now & 1, 0);
		downs += now < before;
		ups += now > before;
		before = now;
	}
	expect_between("steps down", downs, 3, ~0ull);
	gate(false);
	expect("the output without the gate", out(), true);
	gate(true);
	expect("the status", status() & ~(STATUS_OUT | STATUS_NULL), BOTH | mode << 1);
}

static void square(void)
{
	unsigned changes = 0;
	bool before = out();

	while (changes < 6) {
		bool now = out();

		changes += now != before;
		before = now;
	}
}

/* Modes 4 and 5: one low tick, too short to be seen; the count goes on below 0. */
static void strobe(unsigned mode)
{
	gate(mode == 4);
	set_mode(mode, false);
	load(3000);
	if (mode == 5) {
		rest(500);
		expect("null count before the gate rises", status() & STATUS_NULL, STATUS_NULL);
		gate(true);
	}
	while (status() & STATUS_NULL)
		pause();
	while (count() <= 3000)
		pause();
	expect("its output", out(), true);
}

static void formats(void)
{
	uint16_t latched;

	gate(true);
	set_mode(2, true);
	load(0x9999);
	for (unsigned i = 0; i < 100; i++) {
		uint16_t val = count();

		for (unsigned shift = 0; shift < 16; shift += 4)
			expect_between("a decimal digit", val >> shift & 15, 0, 9);
	}
	expect("the status", status() & 0x3f, BOTH | 2 << 1 | 1);
	outb(CONTROL, 0x94); /* mode 2, low byte alone */
	outb(CHANNEL2, 200);
	while (status() & STATUS_NULL)
		pause();
	expect_between("a count of one byte", inb(CHANNEL2), 1, 200);
	outb(CONTROL, 0xa4); /* high byte alone */
	outb(CHANNEL2, 0x80);
	while (status() & STATUS_NULL)
		pause();
	expect_between("the high byte", inb(CHANNEL2), 0, 0x80);
	set_mode(2, false);
	load(0);
	while (status() & STATUS_NULL)
		pause();
	outb(CONTROL, 0x80); /* latch */
	rest(1000);
	outb(CONTROL, 0x80); /* nothing: it is latched */
	latched = count();
	expect_between("ticks since the latch", (uint16_t)(latched - count()), 1000, 0xffff);
	outb(CONTROL, 0xc8); /* read back, count and status of channel 2: the status comes first */
	expect("the status", inb(CHANNEL2) & 0x3f, BOTH | 2 << 1);
	latched = count();
	rest(100);
	expect_between("ticks since it was read back", (uint16_t)(latched - count()), 100, 0xffff);
}

/* --- channel 0 --- */

static uint32_t before;

static void note(void)
{
	before = came[0][VECTOR];
}

static uint32_t since(void)
{
	return came[0][VECTOR] - before;
}

/* So many since note(), which are not there before so many ticks. */
static void await(uint64_t from, uint32_t n, uint32_t ticks)
{
	while (since() < n)
		pass(10);
	expect_between("us until the interrupt", us_since(from), us_of(ticks) - us_of(ticks) / 50,
		       ~0ull);
}

/* Modes 0 and 4: one for each count. Where the output rises as the mode is set, that is one, too.
 */
static void interrupt_once(unsigned mode)
{
	uint64_t from;

	set_mode(mode, false);
	pass(1000);
	expect("the status without a count", status(),
	       (mode == 4 ? STATUS_OUT : 0) | STATUS_NULL | BOTH | mode << 1);
	for (unsigned i = 0; i < 2; i++) {
		note();
		from = rdtsc();
		load(20000);
		await(from, 1, 20000);
		pass(5000);
		expect("interrupts of one count", since(), 1);
		expect("the status after it", status(), STATUS_OUT | BOTH | mode << 1);
	}
}

/* The first byte of a new count stops the one before. */
static void first_byte(void)
{
	uint16_t stopped;

	set_mode(0, false);
	load(20000);
	outb(channel_port(), 0);
	pass(100); /* what has come by now */
	note();
	stopped = count();
	pass(20000);
	expect("interrupts of half a count", since(), 0);
	expect("the count", count(), stopped);
	expect("the status of half a count", status() & STATUS_OUT, 0);
	outb(channel_port(), 0x10);
	await(rdtsc(), 1, 0);
}

/* Modes 1 and 5: nothing without a gate that rises. */
static void interrupt_never(unsigned mode)
{
	set_mode(mode, false);
	pass(1000);
	note();
	load(1000);
	pass(5000);
	expect("interrupts without the gate", since(), 0);
	expect("the status", status(), STATUS_OUT | STATUS_NULL | BOTH | mode << 1);
}

static void interrupt_again(unsigned mode, bool bcd)
{
	uint64_t from;

	set_mode(mode, bcd);
	pass(1000);
	note();
	from = rdtsc();
	load(bcd ? 0x6000 : 6000);
	await(from, 10, 60000);
	expect("the status", status() & ~STATUS_OUT, BOTH | mode << 1 | bcd);
}

static void channel0(void)
{
	channel = 0;
	input_set(INPUT, 0, VECTOR);
	interrupt_once(0);
	first_byte();
	interrupt_never(1);
	interrupt_again(2, false);
	interrupt_again(3, false);
	interrupt_again(2, true);
	interrupt_again(3, true);
	interrupt_once(4);
	interrupt_never(5);
	set_mode(0, false);
	input_set(INPUT, 0, LVT_MASKED);
}

void pit(void)
{
	channel = 2;
	mode0();
	mode1();
	periodic(2);
	periodic(3);
	square();
	strobe(4);
	strobe(5);
	formats();
	gate(false);
	channel0();
}
