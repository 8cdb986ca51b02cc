/* A local APIC's registers on a page that a processor reads, and writes, for the guest. */
#include <string.h>

#include "tests/host/lapic_fixture.h"
#include "vmm/lapic_core.h"

static uint32_t page[1024];
static uint8_t awaited_vector;
static uint8_t taken[8];
static unsigned nr_taken;

static uint32_t *at(unsigned off)
{
	return &page[off / 4];
}

static void on_taken(void *ctx, uint8_t vector)
{
	assert_ptr_equal(ctx, &set);
	assert_true(nr_taken < ARRAY_SIZE(taken));
	taken[nr_taken++] = vector;
}

static uint8_t awaited(void *ctx)
{
	assert_ptr_equal(ctx, &set);
	return awaited_vector;
}

static int setup_page(void **state)
{
	setup(state);
	memset(page, 0, sizeof(page));
	set.taken = on_taken;
	set.awaited = awaited;
	awaited_vector = 0;
	nr_taken = 0;
	enable(0);
	return 0;
}

static unsigned show(void)
{
	lapic_next(&cpus[0].lapic);
	return lapic_show(&cpus[0].lapic, page);
}

/* What a processor does that delivers a vector, and that ends it. */
static void deliver(uint8_t vector)
{
	*at(0x200 + vector / 32 * 16) &= ~(1u << vector % 32);
	*at(0x100 + vector / 32 * 16) |= 1u << vector % 32;
}

static void end(uint8_t vector)
{
	*at(0x100 + vector / 32 * 16) &= ~(1u << vector % 32);
}

static void take_back(void)
{
	unsigned before = nr_taken;

	lapic_take_back(&cpus[0].lapic, page);
	assert_int_equal(nr_taken, before); /* not yet */
	if (cpus[0].lapic.has_taken)
		lapic_tell_taken(&cpus[0].lapic);
}

static bool watches(uint8_t vector)
{
	uint64_t ends[4];

	lapic_watched_ends(&cpus[0].lapic, ends);
	return ends[vector / 64] >> vector % 64 & 1;
}

/* Every register that is on the page reads there as it does otherwise. */
static void check_page(void)
{
	static const uint16_t offs[] = { 0x20,  0x30,  0x80,  0xa0,  0xb0,  0xd0,  0xe0,
					 0xf0,  0x280, 0x300, 0x310, 0x320, 0x330, 0x340,
					 0x350, 0x360, 0x370, 0x380, 0x3e0 };

	for (size_t i = 0; i < ARRAY_SIZE(offs); i++)
		assert_int_equal(*at(offs[i]), rd(0, offs[i]));
	for (unsigned off = 0x100; off < 0x280; off += 16)
		assert_int_equal(*at(off), rd(0, off));
}

static void test_registers(void **state)
{
	(void)state;
	assert_int_equal(show(), LAPIC_SHOW_VECTORS | LAPIC_SHOW_REGISTERS);
	check_page();
	assert_int_equal(show(), 0);
	wr(0, 0xd0, 0xff000000);
	wr(0, 0xe0, 0x0fffffff);
	wr(0, 0x280, 0);
	wr(0, 0x310, 0x07000000);
	for (unsigned off = 0x320; off <= 0x370; off += 16)
		wr(0, off, 0x10000 + off);
	wr(0, 0x380, 77777);
	wr(0, 0x3e0, 0xb);
	assert_true(show() & LAPIC_SHOW_REGISTERS);
	check_page();
	wr(0, 0x80, 0x35);
	wr(0, 0x300, 0x40000 | 0x61);
	wr(0, 0x300, 0x40000 | 0x92);
	assert_true(show() & LAPIC_SHOW_VECTORS);
	check_page();
	assert_int_equal(*at(0xa0), 0x35);
	assert_int_equal(lapic_highest_waiting(&cpus[0].lapic), 0x92);
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x92);
	assert_int_equal(show(), LAPIC_SHOW_VECTORS);
	check_page();
	assert_int_equal(lapic_highest_served(&cpus[0].lapic), 0x92);
	assert_int_equal(lapic_highest_waiting(&cpus[0].lapic), 0x61);
	to_x2apic(0);
	assert_true(show() & LAPIC_SHOW_REGISTERS);
	assert_int_equal(*at(0x20), 0);
	assert_int_equal(*at(0xd0), 1);
	lapic_init_signal(&cpus[0].lapic);
	assert_int_equal(show(), LAPIC_SHOW_VECTORS | LAPIC_SHOW_REGISTERS);
	assert_int_equal(*at(0xf0), 0xff);
	assert_int_equal(*at(0x200 + 0x30), 0);
}

/* Two are delivered, the first one ended; a third the guest has sent to itself. */
static void test_take_back(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x300, 0x40000 | 0x61);
	wr(0, 0x300, 0x40000 | 0x92);
	lapic_post(l, 0x53, true, false);
	lapic_fold(l);
	assert_int_equal(rd(0, 0x180 + 0x20), 1 << 19);
	show();
	take_back();
	assert_int_equal(nr_taken, 0);
	deliver(0x92);
	end(0x92);
	deliver(0x61);
	*at(0x200 + 0x10) |= 1u << 5;
	take_back();
	assert_int_equal(nr_taken, 2);
	assert_int_equal(taken[0], 0x61);
	assert_int_equal(taken[1], 0x92);
	assert_int_equal(rd(0, 0x100 + 0x30), 1 << 1);
	assert_int_equal(rd(0, 0x100 + 0x40), 0);
	assert_int_equal(rd(0, 0x200 + 0x10), 1 << 5);
	assert_int_equal(rd(0, 0x200 + 0x20), 1 << 19);
	assert_int_equal(rd(0, 0xa0), 0x60);
	assert_int_equal(lapic_next(l), 0);
	/* The 61 is ended as ever, and what waited is next; its edge has made the level's an
	 * edge's.
	 */
	wr(0, 0xb0, 0);
	assert_int_equal(lapic_next(l), 0x53);
	show();
	*at(0x200 + 0x20) = 0;
	take_back();
	show();
	*at(0x200 + 0x20) = 1u << 19;
	take_back();
	assert_int_equal(rd(0, 0x180 + 0x20), 0);
	assert_false(watches(0x53));
}

/* Ticks that are owed come one for each that has been taken, and their ends are watched for. */
static void test_timer(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x3e0, 0xb);
	wr(0, 0x320, 0x20070);
	wr(0, 0x380, 25000);
	fake_clock_advance(1000000);
	assert_int_equal(lapic_highest_waiting(l), 0x70);
	assert_false(watches(0x70));
	show();
	fake_clock_advance(1000000);
	assert_true(lapic_timer_waits(l));
	assert_true(watches(0x70));
	assert_int_equal(lapic_show(l, page) & LAPIC_SHOW_VECTORS, LAPIC_SHOW_VECTORS);
	deliver(0x70);
	take_back();
	assert_false(lapic_timer_waits(l));
	assert_int_equal(lapic_highest_waiting(l), 0x70);
	assert_false(watches(0x70));
}

static void test_ends(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	assert_false(watches(0));
	lapic_post(l, 0xe5, true, false);
	lapic_post(l, 0x35, false, false);
	lapic_fold(l);
	assert_true(watches(0xe5));
	assert_false(watches(0x35));
	awaited_vector = 0x35;
	assert_true(watches(0x35));
	show();
	deliver(0xe5);
	take_back();
	end(0xe5);
	take_back();
	assert_int_equal(eois, 0);
	lapic_ended(l, 0xe5);
	assert_int_equal(eois, 1);
	assert_int_equal(eoi_vector, 0xe5);
	lapic_ended(l, 0x35);
	assert_int_equal(eois, 1);
}

/* The processor writes whatever the guest does; what it may not is as it was. */
static void test_written(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	show();
	*at(0x350) = 0xffffffff;
	lapic_written(l, page, 0x350);
	assert_int_equal(rd(0, 0x350), 0x1a7ff);
	show();
	check_page();
	*at(0x20) = 0x12000000;
	lapic_written(l, page, 0x20);
	show();
	assert_int_equal(*at(0x20), 0);
	/* Part of a register. */
	*at(0xd0) = 0x12345678;
	lapic_written(l, page, 0xd3);
	show();
	assert_int_equal(*at(0xd0), 0);
	/* What it has sent to itself. */
	*at(0x300) = 0xfff7ffff;
	lapic_take_back_icr(l, page);
	assert_int_equal(rd(0, 0x300), 0x4cfff);
	*at(0x300) = 0;
	/* The upper half of ICR alone tells nobody. */
	*at(0x310) = 0x01ffffff;
	lapic_take_back_icr(l, page);
	*at(0x300) = 0x45;
	lapic_written(l, page, 0x300);
	assert_int_equal(lapic_next(&cpus[1].lapic), 0);
	enable(1);
	lapic_written(l, page, 0x300);
	assert_int_equal(lapic_next(&cpus[1].lapic), 0x45);
	to_x2apic(0);
	show();
	*at(0x310) = 0x55000000;
	lapic_take_back_icr(l, page);
	*at(0x3f0) = 0x46;
	lapic_written(l, page, 0x3f0);
	assert_int_equal(lapic_next(l), 0x46);
	*at(0x3f0) = 3;
	lapic_written(l, page, 0x3f0);
	assert_true(msr_wr(0, MSR_X2APIC_BASE + APIC_ESR, 0));
	assert_int_equal(msr_rd(0, MSR_X2APIC_BASE + APIC_ESR), ESR_SEND_VECTOR);
	assert_int_equal(msr_rd(0, MSR_X2APIC_BASE + APIC_ICR), UINT64_C(0x0100000000000045));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_registers, setup_page),
		cmocka_unit_test_setup(test_take_back, setup_page),
		cmocka_unit_test_setup(test_timer, setup_page),
		cmocka_unit_test_setup(test_ends, setup_page),
		cmocka_unit_test_setup(test_written, setup_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
