/* The HPET: registers, the counter, each comparator's modes, where its interrupts go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/dev/hpet.h"

#define CONFIG 0x10
#define STATUS 0x20
#define COUNTER 0xf0
#define TN(n) (0x100 + 0x20 * (unsigned)(n))
#define CMP(n) (TN(n) + 8)
#define MSG(n) (TN(n) + 16)

#define ENABLE 1u
#define LEGACY 2u
#define TN_LEVEL 0x2u
#define TN_INT 0x4u
#define TN_PERIODIC 0x8u
#define TN_VAL_SET 0x40u
#define TN_32 0x100u
#define TN_PIN(p) ((uint32_t)(p) << 9)
#define TN_FSB 0x4000u
#define TN_FIXED UINT64_C(0x00f0000000008030)

#define TICKS(n) ((uint64_t)(n)*HPET_TICK_NS)

static struct hpet h;
/* Wires 0, 1: legacy; then the pins. */
static bool wire[2 + HPET_PINS];
static unsigned rises[2 + HPET_PINS], messages;
static struct apic_msg last;
static int legacy; /* -1: never said */

static void set_wire(void *ctx, unsigned pin, bool level)
{
	(void)ctx;
	rises[pin] += level && !wire[pin];
	wire[pin] = level;
}

static bool send(void *ctx, const struct apic_msg *msg)
{
	(void)ctx;
	messages++;
	last = *msg;
	return true;
}

static void take(void *ctx, bool on)
{
	(void)ctx;
	legacy = on;
}

static int setup(void **state)
{
	struct hpet_wires w = { .msi = { send, NULL }, .take = take };

	(void)state;
	fake_timers_reset();
	memset(wire, 0, sizeof(wire));
	memset(rises, 0, sizeof(rises));
	messages = 0;
	legacy = -1;
	for (unsigned i = 0; i < 2; i++)
		w.legacy[i] = (struct irq_line){ .set = set_wire, .pin = i };
	for (unsigned i = 0; i < HPET_PINS; i++)
		w.pin[i] = (struct irq_line){ .set = set_wire, .pin = 2 + i };
	fake_clock_advance(12345678);
	hpet_init(&h, &w, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hpet_destroy(&h);
	return 0;
}

static uint64_t get(unsigned off)
{
	return hpet_ops.read(&h, off, 8);
}

static uint32_t get32(unsigned off)
{
	return (uint32_t)hpet_ops.read(&h, off, 4);
}

static void put(unsigned off, uint64_t val)
{
	hpet_ops.write(&h, off, 8, val);
}

static void put32(unsigned off, uint32_t val)
{
	hpet_ops.write(&h, off, 4, val);
}

static void advance(uint64_t ticks)
{
	fake_clock_advance(TICKS(ticks));
}

static bool armed(unsigned n)
{
	return h.t[n].timer.armed;
}

static void test_after_reset(void **state)
{
	(void)state;
	assert_int_equal(get(0), UINT64_C(0x009896808086a201));
	assert_int_equal(get32(4), 10000000); /* femtoseconds: 10 ns */
	assert_int_equal(get32(0), HPET_BLOCK_ID);
	assert_int_equal(get(CONFIG), 0);
	assert_int_equal(get(STATUS), 0);
	assert_int_equal(get(COUNTER), 0);
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		assert_int_equal(get(TN(i)), TN_FIXED);
		assert_true(get(CMP(i)) == UINT64_MAX);
		assert_int_equal(get(MSG(i)), 0);
		assert_false(armed(i));
	}
	assert_int_equal(get(TN(3)), 0);
	assert_int_equal(get(8), 0);
	assert_int_equal(get(0x28), 0);
	assert_int_equal(get(0x118), 0);
}

static void test_reserved_bits(void **state)
{
	(void)state;
	put(0, 0);
	assert_int_equal(get(0), UINT64_C(0x009896808086a201));
	put(CONFIG, ~UINT64_C(1));
	assert_int_equal(get(CONFIG), 2);
	for (unsigned i = 0; i < HPET_TIMERS; i++) {
		put(TN(i), ~UINT64_C(0)); /* there is no input 31 */
		assert_int_equal(get(TN(i)), TN_FIXED | 0x410e);
		for (unsigned p = 0; p < 32; p++) {
			put(TN(i), TN_PIN(21));
			put(TN(i), TN_PIN(p));
			assert_int_equal(get(TN(i)), TN_FIXED | TN_PIN(p >= 20 && p < 24 ? p : 21));
		}
		put(TN(i), 0);
		put(MSG(i), UINT64_C(0xfee0100000000041));
		assert_int_equal(get32(MSG(i)), 0x41);
		assert_int_equal(get32(MSG(i) + 4), 0xfee01000);
	}
	put(TN(3), ~UINT64_C(0));
	assert_int_equal(get(TN(3)), 0);
}

static void test_counter(void **state)
{
	(void)state;
	put(COUNTER, 1000);
	advance(50);
	assert_int_equal(get(COUNTER), 1000);
	put(CONFIG, ENABLE);
	advance(50);
	assert_int_equal(get(COUNTER), 1050);
	put(CONFIG, 0);
	advance(50);
	assert_int_equal(get(COUNTER), 1050);
	put(CONFIG, ENABLE);
	advance(1);
	assert_int_equal(get(COUNTER), 1051);
	/* By halves, and over the end of the lower one. */
	put(CONFIG, 0);
	put32(COUNTER, 0xffffffff);
	put32(COUNTER + 4, 6);
	put(CONFIG, ENABLE);
	advance(2);
	assert_int_equal(get32(COUNTER), 1);
	assert_int_equal(get32(COUNTER + 4), 7);
	put(COUNTER, 5); /* while it runs */
	advance(5);
	assert_int_equal(get(COUNTER), 10);
}

static void test_widths_of_accesses(void **state)
{
	(void)state;
	put(COUNTER, UINT64_C(0x1122334455667788));
	assert_int_equal(hpet_ops.read(&h, COUNTER + 3, 1) & 0xff, 0x55);
	assert_int_equal(hpet_ops.read(&h, COUNTER + 6, 2) & 0xffff, 0x1122);
	hpet_ops.write(&h, COUNTER, 1, 0);
	hpet_ops.write(&h, COUNTER + 2, 2, 0);
	hpet_ops.write(&h, COUNTER + 2, 4, 0);
	hpet_ops.write(&h, COUNTER + 4, 8, 0);
	assert_int_equal(get(COUNTER), UINT64_C(0x1122334455667788));
}

static void test_one_shot(void **state)
{
	(void)state;
	put(TN(2), TN_INT | TN_PIN(22));
	put(CMP(2), 1000);
	assert_false(armed(2)); /* it stands still */
	put(CONFIG, ENABLE);
	assert_true(armed(2));
	advance(999);
	assert_int_equal(rises[4], 0);
	advance(1);
	assert_int_equal(rises[4], 1);
	assert_false(wire[4]); /* a pulse: rises and falls */
	assert_int_equal(get(STATUS), 0);
	assert_false(armed(2)); /* 64 bits do not come round again */
	advance(UINT64_C(1) << 33);
	assert_int_equal(rises[4], 1);
	put(CMP(2), get(COUNTER)); /* what is over does not match */
	advance(100);
	assert_int_equal(rises[4], 1);
	put(CMP(2), get(COUNTER) + 10);
	advance(10);
	assert_int_equal(rises[4], 2);
	assert_int_equal(rises[0] + rises[1] + rises[2] + rises[3] + rises[5] + messages, 0);
}

static void test_one_shot_off(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	put(TN(0), TN_PIN(20));
	put(CMP(0), 100);
	assert_false(armed(0));
	advance(200);
	put(TN(0), TN_PIN(20) | TN_INT); /* too late */
	advance(200);
	assert_int_equal(rises[2], 0);
	put(CMP(0), 500);
	put(CONFIG, 0);
	assert_false(armed(0));
	advance(200);
	assert_int_equal(rises[2], 0);
	put(CONFIG, ENABLE);
	advance(100);
	assert_int_equal(rises[2], 1);
}

/* 32 bits: the upper half reads as 0, and the counter comes round. */
static void test_32_bits(void **state)
{
	(void)state;
	put(COUNTER, UINT64_C(0x5fffffff0));
	put(TN(1), TN_INT | TN_32 | TN_PIN(21));
	put(CMP(1), UINT64_C(0x700000010));
	assert_int_equal(get(CMP(1)), 0x10);
	put(CONFIG, ENABLE);
	advance(0x1f);
	assert_int_equal(rises[3], 0);
	advance(1);
	assert_int_equal(rises[3], 1);
	advance(UINT64_C(0xffffffff));
	assert_int_equal(rises[3], 1);
	advance(1);
	assert_int_equal(rises[3], 2);
	put(TN(1), 0);
	put(CMP(1), UINT64_C(0x700000010));
	assert_int_equal(get(CMP(1)), UINT64_C(0x700000010));
	put(TN(1), TN_32);
	assert_int_equal(get(CMP(1)), 0x10);
}

static void test_level(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	put(TN(0), TN_INT | TN_LEVEL | TN_PIN(20));
	put(TN(1), TN_INT | TN_LEVEL | TN_PIN(20));
	put(CMP(0), 100);
	put(CMP(1), 200);
	advance(100);
	assert_true(wire[2]);
	assert_int_equal(get(STATUS), 1);
	advance(100);
	assert_int_equal(get(STATUS), 3);
	put(STATUS, 0); /* ones clear, zeros do not */
	assert_int_equal(get(STATUS), 3);
	put32(STATUS + 4, 3);
	assert_int_equal(get(STATUS), 3);
	put(STATUS, 1);
	assert_true(wire[2]); /* the other's */
	put(STATUS, 2);
	assert_false(wire[2]);
	assert_int_equal(rises[2], 1);
	assert_int_equal(get(STATUS), 0);
}

/* The status says so without an interrupt; turned on later, the wire follows. */
static void test_level_status_alone(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	put(TN(0), TN_LEVEL | TN_PIN(23));
	put(CMP(0), 100);
	assert_false(armed(0));
	advance(100);
	assert_int_equal(get(STATUS), 1);
	assert_false(wire[5]);
	put(TN(0), TN_LEVEL | TN_INT | TN_PIN(23));
	assert_true(wire[5]);
	put(CONFIG, 0);
	assert_false(wire[5]);
	put(CONFIG, ENABLE);
	assert_true(wire[5]);
	put(TN(0), TN_LEVEL | TN_INT | TN_PIN(22));
	assert_false(wire[5]);
	assert_true(wire[4]);
	put(TN(0), TN_INT | TN_PIN(22)); /* an edge has no status */
	assert_false(wire[4]);
	assert_int_equal(get(STATUS), 0);
}

/* As Linux starts it: the accumulator, then the period. */
static void start_periodic(unsigned n, uint32_t config, uint64_t first, uint64_t period)
{
	put32(TN(n), config | TN_PERIODIC | TN_VAL_SET);
	put(CMP(n), first);
	put(CMP(n), period);
}

static void test_periodic(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	start_periodic(0, TN_INT | TN_PIN(20), 30000, 20000);
	assert_int_equal(get32(TN(0)) & TN_VAL_SET, 0);
	assert_int_equal(get(CMP(0)), 30000);
	advance(29999);
	assert_int_equal(rises[2], 0);
	advance(1);
	assert_int_equal(rises[2], 1);
	assert_int_equal(get(CMP(0)), 50000);
	for (unsigned i = 1; i <= 1000; i++)
		advance(20000);
	assert_int_equal(rises[2], 1001);
	assert_int_equal(get(CMP(0)), 30000 + 1001 * 20000);
	put(CMP(0), 40000); /* another period, from the next match on */
	assert_int_equal(get(CMP(0)), 30000 + 1001 * 20000);
	advance(20000);
	assert_int_equal(rises[2], 1002);
	advance(39999);
	assert_int_equal(rises[2], 1002);
	advance(1);
	assert_int_equal(rises[2], 1003);
}

/* Each half of the accumulator has to be asked for; 2.3.9.2.2. */
static void test_periodic_by_halves(void **state)
{
	(void)state;
	put(COUNTER, UINT64_C(0x200000000));
	put32(TN(0), TN_INT | TN_PERIODIC | TN_VAL_SET | TN_PIN(20));
	put32(CMP(0), 0x100);
	put32(TN(0), TN_INT | TN_PERIODIC | TN_VAL_SET | TN_PIN(20));
	put32(CMP(0) + 4, 2);
	assert_int_equal(get(CMP(0)), UINT64_C(0x200000100));
	put32(CMP(0) + 4, 0);
	put32(CMP(0), 50000);
	assert_int_equal(get(CMP(0)), UINT64_C(0x200000100));
	put(CONFIG, ENABLE);
	advance(0x100);
	assert_int_equal(rises[2], 1);
	assert_int_equal(get(CMP(0)), UINT64_C(0x200000100) + 50000);
}

static void test_periodic_32_bits(void **state)
{
	(void)state;
	put(COUNTER, 0xfffffff0);
	start_periodic(0, TN_INT | TN_32 | TN_PIN(20), 0xfffffffe, 30000);
	put(CONFIG, ENABLE);
	advance(0xe);
	assert_int_equal(rises[2], 1);
	assert_int_equal(get(CMP(0)), 29998);
	advance(30000);
	assert_int_equal(rises[2], 2);
}

/* However short the period, the host's timer comes at most every HPET_MIN_PERIOD_NS, and what is
 * behind is skipped. */
static void test_periodic_is_bounded(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	start_periodic(0, TN_INT | TN_PIN(20), 10, 1);
	fake_clock_advance(100 * HPET_MIN_PERIOD_NS);
	assert_in_range(rises[2], 90, 101);
	assert_in_range(get(CMP(0)), get(COUNTER), get(COUNTER) + 2);
	start_periodic(0, TN_INT | TN_PIN(20), 0, 0); /* no period at all */
	fake_clock_advance(NS_PER_SEC);
	assert_in_range(rises[2], 90, 101);
}

/* Nobody ran for a while: one interrupt, and the next in its place. */
static void test_periodic_late(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	start_periodic(0, TN_INT | TN_PIN(20), 20000, 20000);
	fake_now_ns += TICKS(20000 * 50 + 7);
	fake_clock_advance(1);
	assert_int_equal(rises[2], 1);
	assert_int_equal(get(CMP(0)), 51 * 20000);
	advance(20000);
	assert_int_equal(rises[2], 2);
}

/* Without its interrupt a periodic comparator goes on all the same, unseen. */
static void test_periodic_unseen(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	start_periodic(0, TN_PIN(20), 20000, 20000);
	assert_false(armed(0));
	advance(20000 * 10 + 5);
	assert_int_equal(get(CMP(0)), 11 * 20000);
	put32(TN(0), TN_PERIODIC | TN_INT | TN_PIN(20));
	advance(20000);
	assert_int_equal(rises[2], 1);
}

static void test_message(void **state)
{
	(void)state;
	put(CONFIG, ENABLE);
	put(MSG(1), UINT64_C(0xfee0200400000155));
	put(TN(1), TN_INT | TN_FSB | TN_PIN(20));
	put(CMP(1), 50);
	advance(50);
	assert_int_equal(messages, 1);
	assert_int_equal(last.vector, 0x55);
	assert_int_equal(last.mode, APIC_LOWEST);
	assert_int_equal(last.dest, 2);
	assert_true(last.logical);
	assert_int_equal(rises[2], 0);
	/* An address where no local APIC is: nothing is written there. */
	put(MSG(1), UINT64_C(0x0010000000000055));
	put(CMP(1), get(COUNTER) + 50);
	advance(50);
	assert_int_equal(messages, 1);
	put(TN(1), TN_FSB | TN_PIN(20));
	put(MSG(1), UINT64_C(0xfee0200400000155));
	put(CMP(1), get(COUNTER) + 50);
	advance(50);
	assert_int_equal(messages, 1);
}

static void test_legacy(void **state)
{
	(void)state;
	put(CONFIG, LEGACY);
	assert_int_equal(legacy, -1); /* not as long as it stands still */
	put(CONFIG, LEGACY | ENABLE);
	assert_int_equal(legacy, 1);
	start_periodic(0, TN_INT | TN_PIN(20), 30000, 20000);
	put(MSG(1), UINT64_C(0xfee0200400000155));
	put(TN(1), TN_INT | TN_FSB | TN_PIN(21)); /* neither counts now */
	put(CMP(1), 25000);
	put(TN(2), TN_INT | TN_PIN(22)); /* this one has no legacy wire */
	put(CMP(2), 25000);
	advance(30000);
	assert_int_equal(rises[0], 1);
	assert_true(wire[0]); /* stays up for the 8259 */
	assert_int_equal(rises[1], 1);
	assert_int_equal(rises[2] + rises[3] + messages, 0);
	assert_int_equal(rises[4], 1);
	advance(20000);
	assert_int_equal(rises[0], 2);
	put(CONFIG, LEGACY);
	assert_int_equal(legacy, 0);
	put(CONFIG, ENABLE);
	assert_int_equal(legacy, 0);
	advance(20000);
	assert_int_equal(rises[0], 2);
	assert_int_equal(rises[2], 1);
}

static bool irq0_masked, irq0_waits;

static bool is_masked(void *ctx)
{
	(void)ctx;
	return irq0_masked;
}

static bool is_waiting(void *ctx)
{
	(void)ctx;
	return irq0_waits;
}

/* In the 8254's place ticks are owed, as by the 8254. */
static void test_legacy_owes(void **state)
{
	(void)state;
	h.wires.masked = is_masked;
	h.wires.requested = is_waiting;
	irq0_masked = irq0_waits = false;
	put(CONFIG, LEGACY | ENABLE);
	start_periodic(0, TN_INT, 20000, 20000);
	advance(20000);
	assert_int_equal(rises[0], 1);
	irq0_waits = true; /* the CPU is others': the timer finds the one before still there */
	advance(3 * 20000);
	assert_int_equal(h.owed, 3);
	irq0_waits = false;
	fake_now_ns += TICKS(10 * 20000); /* nobody ran at all */
	fake_clock_advance(1);
	assert_int_equal(h.owed, 3 + 9);
	rises[0] = 0;
	for (unsigned i = 0; i < 20; i++)
		hpet_irq_acked(&h);
	assert_int_equal(rises[0], 12);
	assert_int_equal(h.owed, 0);
	irq0_waits = true;
	advance(300 * 20000);
	assert_int_equal(h.owed, HPET_MAX_OWED);
	put(CMP(0), 20000); /* programmed anew */
	assert_int_equal(h.owed, 0);
	irq0_masked = true;
	advance(5 * 20000);
	assert_int_equal(h.owed, 0);
	irq0_masked = false;
	start_periodic(0, TN_INT, get(COUNTER) + 100, 100); /* faster than can be kept */
	advance(100000);
	assert_int_equal(h.owed, 0);
}

static void test_legacy_level(void **state)
{
	(void)state;
	put(CONFIG, LEGACY | ENABLE);
	put(TN(1), TN_INT | TN_LEVEL);
	put(CMP(1), 100);
	advance(100);
	assert_true(wire[1]);
	put(STATUS, 2);
	assert_false(wire[1]);
}

/* hpet_clkevt_set_next_event() of Linux, a thousand times. */
static void test_as_linux_uses_it(void **state)
{
	(void)state;
	put(CONFIG, ENABLE | LEGACY);
	put32(TN(0), get32(TN(0)) | TN_INT | TN_32);
	for (unsigned i = 1; i <= 1000; i++) {
		put32(CMP(0), get32(COUNTER) + 400000);
		advance(399999);
		assert_int_equal(rises[0], i - 1);
		advance(1);
		assert_int_equal(rises[0], i);
	}
}

static void test_hostile_accesses(void **state)
{
	static const uint16_t regs[] = { 0x10,  0x20,  0xf0,  0x100, 0x108, 0x10c, 0x110,
					 0x120, 0x128, 0x130, 0x140, 0x148, 0x14c, 0x160 };
	uint64_t seed = 11;
	unsigned before;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t r = fake_random64(&seed), val = fake_random64(&seed);
		unsigned off = r & 1 ? regs[(r >> 8) % ARRAY_SIZE(regs)] : r >> 8 & 0x3ff;
		unsigned size = 1u << (r >> 20 & 3);

		val >>= r >> 32 & 63;
		if (r & 2)
			hpet_ops.write(&h, off & ~(size - 1), size, val);
		else
			hpet_ops.read(&h, off & ~(size - 1), size);
		fake_clock_advance(r >> 40 & 0xfff);
	}
	put(CONFIG, 0);
	before = rises[0] + rises[1] + rises[2] + rises[3] + rises[4] + rises[5] + messages;
	fake_clock_advance(NS_PER_SEC);
	assert_int_equal(rises[0] + rises[1] + rises[2] + rises[3] + rises[4] + rises[5] + messages,
			 before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_after_reset),
		TEST(test_reserved_bits),
		TEST(test_counter),
		TEST(test_widths_of_accesses),
		TEST(test_one_shot),
		TEST(test_one_shot_off),
		TEST(test_32_bits),
		TEST(test_level),
		TEST(test_level_status_alone),
		TEST(test_periodic),
		TEST(test_periodic_by_halves),
		TEST(test_periodic_32_bits),
		TEST(test_periodic_is_bounded),
		TEST(test_periodic_late),
		TEST(test_periodic_unseen),
		TEST(test_message),
		TEST(test_legacy),
		TEST(test_legacy_owes),
		TEST(test_legacy_level),
		TEST(test_as_linux_uses_it),
		TEST(test_hostile_accesses),
	};

	return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
