/* Messages between a guest's local APICs: destinations, shorthands, delivery modes. */
#include "tests/host/lapic_fixture.h"

/* Who has vector 0x55 of the first ten; then nobody has. */
static uint64_t takers(void)
{
	uint64_t who = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (has_irr(i, 0x55))
			who |= BIT(i);
		cpus[i].lapic.irr = (struct lapic_vectors){ 0 };
	}
	return who;
}

static uint64_t all(void)
{
	return BITS(CPUS - 1, 0);
}

static int setup_enabled(void **state)
{
	setup(state);
	for (unsigned i = 0; i < CPUS; i++)
		enable(i);
	return 0;
}

static uint64_t ipi(unsigned from, uint32_t dest, uint32_t low)
{
	wr(from, 0x310, dest << 24);
	wr(from, 0x300, low | 0x55);
	assert_int_equal(rd(from, 0x300), low | 0x55);
	return takers();
}

static void test_physical(void **state)
{
	(void)state;
	assert_int_equal(ipi(0, 3, 0), BIT(3));
	assert_int_equal(ipi(0, 0, 0), BIT(0));
	assert_int_equal(ipi(0, 200, 0), 0);
	assert_int_equal(ipi(0, 0xff, 0), all());
	assert_int_equal(cpus[0].kicks + cpus[0].notes, 0);
	assert_int_equal(cpus[3].notes, 2);
	assert_true(send(2, false, APIC_FIXED, 0x55, false));
	assert_int_equal(takers(), BIT(2));
	assert_false(send(CPUS, false, APIC_FIXED, 0x55, false));
	assert_true(send(0xff, false, APIC_FIXED, 0x55, false));
	assert_int_equal(takers(), all());
	wr(2, 0xf0, 0xff); /* off by software */
	assert_false(send(2, false, APIC_FIXED, 0x55, false));
	assert_int_equal(ipi(0, 0xff, 0), all() & ~BIT(2));
}

static void test_logical_flat(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		wr(i, 0xd0, 1u << (24 + i));
	assert_int_equal(ipi(0, 0x15, 0x800), BIT(0) | BIT(2) | BIT(4));
	assert_int_equal(ipi(0, 0, 0x800), 0);
	assert_int_equal(ipi(0, 0xff, 0x800), all());
	assert_true(send(0x80, true, APIC_FIXED, 0x55, false));
	assert_int_equal(takers(), BIT(7));
}

static void test_logical_cluster(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, 0xe0, 0);
		wr(i, 0xd0, ((i / 4) << 4 | 1u << i % 4) << 24);
	}
	assert_int_equal(ipi(0, 0x13, 0x800), BIT(4) | BIT(5));
	assert_int_equal(ipi(0, 0xf2, 0x800), UINT64_C(0x222222222));
	assert_int_equal(ipi(0, 0xff, 0x800), all());
	assert_int_equal(ipi(0, 0x20, 0x800), 0);
	wr(4, 0xe0, 0x30000000); /* no model */
	assert_int_equal(ipi(0, 0x13, 0x800), BIT(5));
}

static void test_x2apic_destinations(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(i);
	assert_true(msr_wr(1, 0x830, UINT64_C(20) << 32 | 0x55));
	assert_int_equal(takers(), BIT(20));
	assert_true(msr_wr(1, 0x830, UINT64_C(0xff) << 32 | 0x55));
	assert_int_equal(takers(), 0);
	assert_true(msr_wr(1, 0x830, UINT64_C(0xffffffff) << 32 | 0x55));
	assert_int_equal(takers(), all());
	assert_true(msr_wr(1, 0x830, UINT64_C(0x00018001) << 32 | 0x855));
	assert_int_equal(takers(), BIT(16) | BIT(31));
	assert_true(msr_wr(1, 0x830, UINT64_C(0xffffffff) << 32 | 0x855));
	assert_int_equal(takers(), all());
	assert_true(send(0x81, true, APIC_FIXED, 0x55, false)); /* an I/O APIC's */
	assert_int_equal(takers(), BIT(0) | BIT(7));
	assert_true(send(0xff, false, APIC_FIXED, 0x55, false));
	assert_int_equal(takers(), all());
}

static void test_shorthands(void **state)
{
	(void)state;
	assert_int_equal(ipi(5, 9, 0x40000), BIT(5));
	assert_int_equal(ipi(5, 9, 0x80000), all());
	assert_int_equal(ipi(5, 9, 0xc0000), all() & ~BIT(5));
	/* Level is taken for an edge. */
	assert_int_equal(ipi(5, 9, 0x4c000), BIT(5));
	assert_int_equal(cpus[5].lapic.tmr.used, 0);
	/* To itself and to all go fixed ones only. */
	for (unsigned to = 0x40000; to <= 0x80000; to += 0x40000)
		for (unsigned mode = 1; mode < 8; mode++)
			assert_int_equal(ipi(5, 9, to | mode << 8), 0);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(cpus[i].nmis + cpus[i].inits + cpus[i].startups, 0);
	/* No shorthand: reserved and ExtINT are sent by nobody. */
	assert_int_equal(ipi(5, 9, 0x300), 0);
	ipi(5, 9, 0x700);
	assert_false(lapic_has_posted(&cpus[9].lapic));
	assert_true(cpus[9].lapic.extint_blocked);
}

static void test_signals(void **state)
{
	(void)state;
	wr(0, 0x310, 4u << 24);
	wr(0, 0x300, 0x400);
	assert_int_equal(cpus[4].nmis, 1);
	wr(0, 0x300, 0x4500);
	assert_int_equal(cpus[4].inits, 1);
	assert_int_equal(rd(4, 0xf0), 0xff);
	wr(0, 0x300, 0x8500); /* de-asserted: of old */
	assert_int_equal(cpus[4].inits, 1);
	wr(0, 0x300, 0xc500);
	assert_int_equal(cpus[4].inits, 2);
	wr(0, 0x300, 0x4600 | 0x9a);
	assert_int_equal(cpus[4].startups, 1);
	assert_int_equal(cpus[4].page, 0x9a);
	wr(0, 0x300, 0xc0600 | 0x12);
	assert_int_equal(cpus[0].startups, 0);
	assert_int_equal(cpus[4].startups, 2);
	assert_int_equal(cpus[CPUS - 1].page, 0x12);
	assert_true(send(4, false, APIC_SMI, 0, false));
	assert_false(send(4, false, APIC_RESERVED, 0x55, false));
	assert_true(lapic_write_base(&cpus[4].lapic, LAPIC_BASE, 40));
	wr(0, 0x300, 0x4500);
	assert_int_equal(cpus[4].inits, 2); /* off: no bus to hear it on */
}

static void test_lowest_priority(void **state)
{
	unsigned count[4] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		wr(i, 0xd0, 1u << (24 + i));
	/* Equals take turns. */
	for (unsigned n = 0; n < 8; n++) {
		uint64_t who;

		assert_true(send(0xf, true, APIC_LOWEST, 0x55, false));
		who = takers();
		assert_int_equal(__builtin_popcountll(who), 1);
		count[__builtin_ctzll(who)]++;
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(count[i], 2);
	for (unsigned i = 0; i < 4; i++)
		wr(i, 0x80, i == 2 ? 0x20 : 0x50);
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(ipi(0, 0xf, 0x900), BIT(2));
	wr(2, 0xf0, 0xff);
	wr(1, 0x80, 0x40);
	assert_int_equal(ipi(0, 0xf, 0x900), BIT(1));
	assert_false(send(0x40, true, APIC_LOWEST, 0x55, false));
	/* To all but itself. */
	for (unsigned i = 0; i < CPUS; i++)
		wr(i, 0x80, i == 0 ? 0 : i == 7 ? 0x30 : 0x60);
	assert_int_equal(ipi(0, 0, 0xc0100), BIT(7));
}

static void test_arbitration(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x80, 0x57);
	assert_int_equal(rd(0, 0x90), 0x57);
	send(0, false, APIC_FIXED, 0x81, false);
	assert_int_equal(rd(0, 0x90), 0x80);
	lapic_ack(l);
	assert_int_equal(rd(0, 0x90), 0x50 & 0x80);
	wr(0, 0x80, 0xc0);
	assert_int_equal(rd(0, 0x90), 0xc0);
}

/* An I/O APIC that sends again at once finds the local APIC done with the EOI. */
static unsigned left_to_send;

static void send_again(void *ctx, uint8_t vector)
{
	(void)ctx;
	if (left_to_send) {
		left_to_send--;
		send(0, false, APIC_FIXED, vector, true);
	}
}

static void test_eoi_sends_again(void **state)
{
	(void)state;
	set.eoi = send_again;
	left_to_send = 3;
	send(0, false, APIC_FIXED, 0x61, true);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(lapic_ack(&cpus[0].lapic), 0x61);
		wr(0, 0xb0, 0);
	}
	assert_int_equal(lapic_next(&cpus[0].lapic), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_physical, setup_enabled),
		cmocka_unit_test_setup(test_logical_flat, setup_enabled),
		cmocka_unit_test_setup(test_logical_cluster, setup_enabled),
		cmocka_unit_test_setup(test_x2apic_destinations, setup_enabled),
		cmocka_unit_test_setup(test_shorthands, setup_enabled),
		cmocka_unit_test_setup(test_signals, setup_enabled),
		cmocka_unit_test_setup(test_lowest_priority, setup_enabled),
		cmocka_unit_test_setup(test_arbitration, setup_enabled),
		cmocka_unit_test_setup(test_eoi_sends_again, setup_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
