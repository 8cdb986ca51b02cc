/* A guest's local APIC: registers, priorities, local interrupts, modes. */
#include "tests/host/fake_random.h"
#include "tests/host/lapic_fixture.h"

/* --- registers --- */

/* SDM vol. 3, 11.4.7.1. */
static void test_reset(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rd(i, 0x20), i << 24);
		assert_int_equal(rd(i, 0x30), 0x01050014);
		assert_int_equal(rd(i, 0x80), 0);
		assert_int_equal(rd(i, 0xd0), 0);
		assert_int_equal(rd(i, 0xe0), 0xffffffff);
		assert_int_equal(rd(i, 0xf0), 0xff);
		for (unsigned off = 0x100; off < 0x290; off += 0x10)
			assert_int_equal(rd(i, off), 0);
		for (unsigned off = 0x320; off < 0x380; off += 0x10)
			assert_int_equal(rd(i, off), 0x10000);
		assert_int_equal(rd(i, 0x380), 0);
		assert_int_equal(rd(i, 0x390), 0);
		assert_int_equal(rd(i, 0x3e0), 0);
		assert_int_equal(cpus[i].lapic.last_byte, 0xfee00fff);
		assert_true(cpus[i].lapic.extint_blocked);
	}
	assert_int_equal(cpus[0].lapic.base, 0xfee00900);
	assert_int_equal(cpus[1].lapic.base, 0xfee00800);
}

/* Which bits stay of all ones, and of all zeros, in xAPIC mode. */
static const struct {
	unsigned off;
	uint32_t ones, zeros;
} written[] = {
	{ 0x80, 0xff, 0 },        { 0xd0, 0xff000000, 0 },  { 0xe0, 0xffffffff, 0x0fffffff },
	{ 0x310, 0xff000000, 0 }, { 0x320, 0x700ff, 0 },    { 0x330, 0x107ff, 0 },
	{ 0x340, 0x107ff, 0 },    { 0x350, 0x1a7ff, 0 },    { 0x360, 0x1a7ff, 0 },
	{ 0x370, 0x100ff, 0 },    { 0x380, 0xffffffff, 0 }, { 0x3e0, 0xb, 0 },
	{ 0xf0, 0x13ff, 0 }, /* last: off by software all entries are masked */
};

static void test_writable_bits(void **state)
{
	(void)state;
	enable(0);
	for (unsigned i = 0; i < ARRAY_SIZE(written); i++) {
		unsigned off = written[i].off;

		if (off == 0x380)
			wr(0, 0x320, 0x10020); /* not by the TSC, where it cannot be written */
		wr(0, off, 0xffffffff);
		if (rd(0, off) != written[i].ones)
			fail_msg("%03x: ones give %08x", off, rd(0, off));
		wr(0, off, 0);
		if (rd(0, off) != written[i].zeros)
			fail_msg("%03x: zeros give %08x", off, rd(0, off));
	}
}

static void test_read_only(void **state)
{
	static const unsigned only[] = { 0x20, 0x30, 0x90, 0xa0, 0xc0, 0x390 };

	(void)state;
	enable(0);
	lapic_bus_send(&set, &(struct apic_msg){ .vector = 0x61, .level = true });
	for (unsigned i = 0; i < ARRAY_SIZE(only); i++) {
		uint32_t was = rd(0, only[i]);

		wr(0, only[i], ~was);
		assert_int_equal(rd(0, only[i]), was);
	}
	for (unsigned off = 0x100; off < 0x280; off += 0x10) {
		uint32_t was = rd(0, off);

		wr(0, off, ~was);
		assert_int_equal(rd(0, off), was);
	}
	assert_int_equal(rd(0, 0x230), 2);
	assert_int_equal(rd(0, 0x1b0), 2);
	assert_int_equal(rd(0, 0xb0), 0);
}

static void test_access_sizes(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	assert_int_equal(lapic_mmio_read(l, 0x30, 1), 0x14);
	assert_int_equal(lapic_mmio_read(l, 0x32, 1), 5);
	assert_int_equal(lapic_mmio_read(l, 0x32, 2), 0x105);
	assert_int_equal(lapic_mmio_read(l, 0x30, 8), 0x01050014);
	assert_int_equal(lapic_mmio_read(l, 0x34, 4), 0);
	assert_int_equal(lapic_mmio_read(l, 0x3f, 1), 0);
	lapic_mmio_write(l, 0x80, 1, 0x20);
	lapic_mmio_write(l, 0x84, 4, 0x20);
	lapic_mmio_write(l, 0x80, 8, 0x20);
	assert_int_equal(rd(0, 0x80), 0);
	lapic_mmio_write(l, 0x80, 4, 0x20);
	assert_int_equal(rd(0, 0x80), 0x20);
	for (unsigned off = 0; off < 0x1000; off++)
		for (unsigned size = 1; size <= 8; size *= 2) {
			lapic_mmio_read(l, off, size);
			lapic_mmio_write(l, off, size, 0x5a5a5a5a5a5a5a5a);
		}
}

/* What is no register sets a bit of ESR, which shows when ESR is written. */
static void test_errors(void **state)
{
	(void)state;
	enable(0);
	wr(0, 0x370, 0xfe);
	assert_int_equal(rd(0, 0x40), 0);
	assert_true(has_irr(0, 0xfe));
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0xfe);
	wr(0, 0x3f0, 0x41);             /* SELF IPI is an MSR alone */
	assert_false(has_irr(0, 0xfe)); /* once, until ESR is written */
	assert_false(has_irr(0, 0x41));
	assert_int_equal(rd(0, 0x280), 0);
	wr(0, 0x280, 0xffffffff);
	assert_int_equal(rd(0, 0x280), 0x80);
	assert_int_equal(rd(0, 0x280), 0x80);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0);
	rd(0, 0x2f0); /* there is no CMCI */
	assert_true(has_irr(0, 0xfe));
	rd(0, 0xff0);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0x80);
}

static void test_illegal_vectors(void **state)
{
	(void)state;
	enable(0);
	for (unsigned vector = 0; vector < 16; vector++) {
		wr(0, 0x300, 0x40000 | vector);
		wr(0, 0x280, 0);
		assert_int_equal(rd(0, 0x280), 0x20);
		wr(0, 0x300, 0x80100 | vector); /* no such combination: nothing is sent */
		wr(0, 0x280, 0);
		assert_int_equal(rd(0, 0x280), 0);
		send(0, false, APIC_FIXED, (uint8_t)vector, false);
		wr(0, 0x280, 0);
		assert_int_equal(rd(0, 0x280), 0x40);
	}
	wr(0, 0x370, 0x05); /* the error's own vector is none: it is not told of, and that is all */
	rd(0, 0x00);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0xc0);
	assert_int_equal(cpus[0].lapic.irr.used, 0);
	assert_int_equal(lapic_next(&cpus[0].lapic), 0);
}

/* --- priorities --- */

static void fixed(uint8_t vector)
{
	assert_true(send(0, false, APIC_FIXED, vector, false));
}

static void eoi(void)
{
	wr(0, 0xb0, 0);
}

static void test_nesting(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	assert_int_equal(lapic_next(l), 0);
	assert_int_equal(lapic_ack(l), 0xff); /* nothing there: the spurious vector */
	assert_int_equal(rd(0, 0x170), 0);
	fixed(0x41);
	fixed(0x43);
	fixed(0x52);
	assert_int_equal(lapic_next(l), 0x52);
	assert_int_equal(lapic_ack(l), 0x52);
	assert_int_equal(rd(0, 0xa0), 0x50);
	assert_int_equal(lapic_next(l), 0);
	fixed(0x5f); /* of the same class */
	assert_int_equal(lapic_next(l), 0);
	fixed(0x60);
	assert_int_equal(lapic_ack(l), 0x60);
	eoi();
	assert_int_equal(rd(0, 0xa0), 0x50);
	assert_int_equal(lapic_next(l), 0);
	eoi();
	assert_int_equal(lapic_ack(l), 0x5f);
	eoi();
	assert_int_equal(lapic_ack(l), 0x43);
	eoi();
	assert_int_equal(lapic_ack(l), 0x41);
	fixed(0x41); /* again while in service */
	assert_int_equal(lapic_next(l), 0);
	eoi();
	assert_int_equal(lapic_ack(l), 0x41);
	eoi();
	eoi(); /* one too many */
	assert_int_equal(rd(0, 0xa0), 0);
	assert_int_equal(eois, 0);
}

static void test_tpr(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	fixed(0x7f);
	wr(0, 0x80, 0x70);
	assert_int_equal(cpus[0].tpr, 0x70);
	assert_int_equal(lapic_next(l), 0);
	wr(0, 0x80, 0x6f);
	assert_int_equal(rd(0, 0xa0), 0x6f);
	assert_int_equal(lapic_next(l), 0x7f);
	cpus[0].tpr = -1;
	lapic_write_cr8(l, 15);
	assert_int_equal(rd(0, 0x80), 0xf0);
	assert_int_equal(cpus[0].tpr, -1);
	assert_int_equal(lapic_next(l), 0);
	lapic_write_cr8(l, 2);
	assert_int_equal(lapic_ack(l), 0x7f);
	assert_int_equal(rd(0, 0xa0), 0x70);
	wr(0, 0x80, 0x75);
	assert_int_equal(rd(0, 0xa0), 0x75);
}

/* What waits for TPR alone: not for an EOI too, and not when it waits no more. */
static void test_held_class(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	lapic_write_cr8(l, 9);
	assert_int_equal(lapic_held_class(l), 0);
	fixed(0x35);
	lapic_next(l);
	assert_int_equal(lapic_held_class(l), 3);
	fixed(0x94);
	lapic_next(l);
	assert_int_equal(lapic_held_class(l), 9);
	fixed(0xa1);
	lapic_next(l);
	assert_int_equal(lapic_held_class(l), 0);
	assert_int_equal(lapic_ack(l), 0xa1);
	assert_int_equal(lapic_held_class(l), 0); /* a1 is in service */
	wr(0, 0xb0, 0);
	assert_int_equal(lapic_held_class(l), 9);
	lapic_write_cr8(l, 8);
	assert_int_equal(lapic_held_class(l), 0);
	assert_int_equal(lapic_ack(l), 0x94);
	wr(0, 0xb0, 0);
	assert_int_equal(lapic_held_class(l), 3);
}

/* Against the manual's own words, on random states. */
static void test_random_priorities(void **state)
{
	struct lapic *l = &cpus[0].lapic;
	uint64_t seed = 7;

	(void)state;
	enable(0);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = fake_random64(&seed);
		unsigned isrv = 0, irrv = 0, tpr, ppr;

		switch (r & 3) {
		case 0:
			fixed((uint8_t)(16 + (r >> 8) % 240));
			break;
		case 1:
			eoi();
			break;
		case 2:
			wr(0, 0x80, r >> 8 & 0xff);
			break;
		default:
			if (lapic_next(l))
				lapic_ack(l);
			break;
		}
		for (unsigned v = 0; v < 256; v++) {
			if (rd(0, 0x100 + v / 32 * 16) >> v % 32 & 1)
				isrv = v;
			if (rd(0, 0x200 + v / 32 * 16) >> v % 32 & 1)
				irrv = v;
		}
		tpr = rd(0, 0x80);
		ppr = (tpr & 0xf0) >= (isrv & 0xf0) ? tpr : isrv & 0xf0;
		assert_int_equal(rd(0, 0xa0), ppr);
		assert_int_equal(lapic_next(l), (irrv & 0xf0) > (ppr & 0xf0) ? irrv : 0);
	}
}

static void test_level_eoi(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	send(0, false, APIC_FIXED, 0x51, true);
	assert_int_equal(rd(0, 0x1a0), 0x20000);
	lapic_ack(l);
	assert_int_equal(eois, 0);
	eoi();
	assert_int_equal(eoi_vector, 0x51);
	assert_int_equal(eois, 1);
	fixed(0x51); /* by an edge now */
	assert_int_equal(rd(0, 0x1a0), 0);
	lapic_ack(l);
	eoi();
	assert_int_equal(eois, 1);
	wr(0, 0xf0, 0x11ff); /* the EOI stays off the bus */
	send(0, false, APIC_FIXED, 0x51, true);
	lapic_ack(l);
	eoi();
	assert_int_equal(eois, 1);
}

/* --- off by software --- */

static void test_software_disable(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	assert_false(send(0, false, APIC_FIXED, 0x40, false));
	wr(0, 0x350, 0x700);
	assert_int_equal(rd(0, 0x350), 0x10700);
	enable(0);
	assert_int_equal(rd(0, 0x350), 0x10700);
	wr(0, 0x350, 0x700);
	wr(0, 0x320, 0x40);
	assert_false(l->extint_blocked);
	fixed(0x80);
	wr(0, 0xf0, 0xff);
	assert_int_equal(rd(0, 0x350), 0x10700);
	assert_int_equal(rd(0, 0x320), 0x10040);
	assert_true(l->extint_blocked);
	assert_int_equal(lapic_next(l), 0x80); /* what waits is still to be taken */
	assert_true(send(0, false, APIC_NMI, 0, false));
	assert_int_equal(cpus[0].nmis, 1);
}

/* --- LINT0, LINT1 --- */

static void test_lint_edges(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	wr(0, 0x350, 0x31);
	lint(0, 0, true);
	lint(0, 0, true);
	assert_int_equal(lapic_ack(l), 0x31);
	assert_int_equal(lapic_next(l), 0);
	assert_false(has_irr(0, 0x31));
	lint(0, 0, false);
	eoi();
	assert_false(has_irr(0, 0x31));
	wr(0, 0x350, 0x2031); /* active low */
	lint(0, 0, true);
	assert_false(has_irr(0, 0x31));
	lint(0, 0, false);
	assert_true(has_irr(0, 0x31));
	wr(0, 0x360, 0x400);
	lint(0, 1, true);
	lint(0, 1, true);
	assert_int_equal(cpus[0].nmis, 1);
	lint(0, 1, false);
	wr(0, 0x360, 0x10400);
	lint(0, 1, true);
	assert_int_equal(cpus[0].nmis, 1);
	lint(0, 1, false);
	wr(0, 0x360, 0x200); /* SMI: nothing there */
	lint(0, 1, true);
	lint(0, 1, false);
	wr(0, 0x360, 0x500);
	lint(0, 1, true);
	assert_int_equal(cpus[0].inits, 1);
	assert_int_equal(rd(0, 0x360), 0x10000);
}

static void test_lint_level(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	enable(0);
	lint(0, 0, true);
	wr(0, 0x350, 0x8031);
	assert_int_equal(rd(0, 0x350), 0xc031);
	assert_int_equal(lapic_ack(l), 0x31);
	lint(0, 0, false);
	lint(0, 0, true);
	assert_int_equal(l->irr.used, 0);
	eoi();
	assert_int_equal(lapic_ack(l), 0x31);
	lint(0, 0, false);
	eoi();
	assert_int_equal(l->irr.used, 0);
	assert_int_equal(rd(0, 0x350), 0x8031);
	assert_int_equal(eois, 2);
}

static void test_extint(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	lapic_virtual_wire(l);
	assert_int_equal(rd(0, 0xf0), 0x1ff);
	assert_int_equal(rd(0, 0x350), 0x700);
	assert_int_equal(rd(0, 0x360), 0x400);
	assert_false(l->extint_blocked);
	wr(0, 0x350, 0x10700);
	assert_true(l->extint_blocked);
	assert_true(send(0, false, APIC_EXTINT, 0, false));
	assert_int_equal(lapic_next(l), 0);
	assert_false(l->extint_blocked);
	lapic_bus_extint_over(&set);
	assert_int_equal(lapic_next(l), 0);
	assert_true(l->extint_blocked);
	/* Of those that nobody has looked at the last counts. */
	send(0, false, APIC_EXTINT, 0, false);
	lapic_bus_extint_over(&set);
	lapic_fold(l);
	assert_true(l->extint_blocked);
	send(0, false, APIC_EXTINT, 0, false);
	lapic_bus_extint_over(&set);
	send(0, false, APIC_EXTINT, 0, false);
	lapic_fold(l);
	assert_false(l->extint_blocked);
	lapic_bus_extint_over(&set);
	wr(0, 0x350, 0x40);
	assert_true(l->extint_blocked);
	assert_true(lapic_write_base(l, LAPIC_BASE | APIC_BASE_BSP, 40));
	assert_false(l->extint_blocked); /* off: the pins are INTR and NMI */
	lint(0, 1, true);
	assert_int_equal(cpus[0].nmis, 1);
	assert_true(lapic_write_base(&cpus[1].lapic, LAPIC_BASE, 40));
	assert_true(cpus[1].lapic.extint_blocked);
}

/* --- INIT --- */

static void test_init(void **state)
{
	struct lapic *l = &cpus[1].lapic;

	(void)state;
	enable(1);
	wr(1, 0xd0, 0x02000000);
	wr(1, 0x80, 0x20);
	wr(1, 0x320, 0x20040);
	wr(1, 0x380, 1000000);
	send(1, false, APIC_FIXED, 0x77, true);
	lapic_ack(l);
	lapic_init_signal(l);
	assert_int_equal(cpus[1].tpr, 0);
	assert_int_equal(rd(1, 0x20), 0x01000000);
	assert_int_equal(rd(1, 0xf0), 0xff);
	assert_int_equal(rd(1, 0xd0), 0);
	assert_int_equal(rd(1, 0x320), 0x10000);
	assert_int_equal(rd(1, 0x390), 0);
	assert_int_equal(l->irr.used | l->isr.used | l->tmr.used, 0);
	assert_int_equal(l->base, LAPIC_BASE | APIC_BASE_ENABLE);
	to_x2apic(1);
	lapic_init_signal(l);
	assert_int_equal(l->mode, LAPIC_X2APIC);
	assert_int_equal(msr_rd(1, 0x80d), 2);
}

/* --- IA32_APIC_BASE --- */

static void test_transitions(void **state)
{
	/* From off, xAPIC, x2APIC (rows) to EN, EXTD = 00, 01, 10, 11. */
	static const bool allowed[3][4] = { { true, false, true, false },
					    { true, false, true, true },
					    { true, false, false, true } };
	static const uint64_t bits[4] = { 0, APIC_BASE_X2APIC, APIC_BASE_ENABLE,
					  APIC_BASE_ENABLE | APIC_BASE_X2APIC };

	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 0; to < 4; to++) {
			struct lapic *l = &cpus[0].lapic;
			uint64_t was;

			setup(state);
			if (from == 0)
				assert_true(lapic_write_base(l, LAPIC_BASE, 40));
			if (from == 2)
				to_x2apic(0);
			was = l->base;
			if (lapic_write_base(l, LAPIC_BASE | bits[to], 40) != allowed[from][to])
				fail_msg("from %u to %u", from, to);
			if (!allowed[from][to])
				assert_int_equal(l->base, was);
		}
}

static void test_base(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	assert_false(lapic_write_base(l, l->base | BIT(0), 40));
	assert_false(lapic_write_base(l, l->base | BIT(9), 40));
	assert_false(lapic_write_base(l, l->base | BIT(40), 40));
	assert_true(lapic_write_base(l, UINT64_C(0xff12345000) | APIC_BASE_ENABLE, 40));
	assert_int_equal(l->last_byte, UINT64_C(0xff12345fff));
	enable(0);
	wr(0, 0x80, 0x30);
	assert_true(lapic_write_base(l, LAPIC_BASE | APIC_BASE_ENABLE, 40));
	assert_int_equal(rd(0, 0x80), 0x30); /* moved, no more */
	to_x2apic(0);
	assert_int_equal(l->last_byte, 0);
	assert_int_equal(msr_rd(0, 0x808), 0x30);
	assert_int_equal(msr_rd(0, 0x80f), 0x1ff);
	assert_true(lapic_write_base(l, LAPIC_BASE, 40));
	assert_int_equal(cpus[0].tpr, 0);
	assert_int_equal(msr_rd(0, 0x808), UINT64_MAX);
	assert_false(send(0, false, APIC_NMI, 0, false));
	assert_true(lapic_write_base(l, LAPIC_BASE | APIC_BASE_ENABLE, 40));
	assert_int_equal(rd(0, 0x80), 0);
	assert_int_equal(rd(0, 0xf0), 0xff);
}

/* --- x2APIC --- */

/* What may be read, what may be written, and which bits of it. All else is #GP. */
static const struct {
	uint32_t first, last;
	bool read, write;
	uint64_t allowed;
} msrs[] = {
	{ 0x802, 0x803, true, false, 0 },
	{ 0x808, 0x808, true, true, 0xff },
	{ 0x80a, 0x80a, true, false, 0 },
	{ 0x80b, 0x80b, false, true, 0 },
	{ 0x80d, 0x80d, true, false, 0 },
	{ 0x80f, 0x80f, true, true, 0x13ff },
	{ 0x810, 0x827, true, false, 0 },
	{ 0x828, 0x828, true, true, 0 },
	{ 0x830, 0x830, true, true, 0xffffffff000cdfff },
	{ 0x832, 0x832, true, true, 0x710ff },
	{ 0x833, 0x834, true, true, 0x117ff },
	{ 0x835, 0x836, true, true, 0x1f7ff },
	{ 0x837, 0x837, true, true, 0x110ff },
	{ 0x838, 0x838, true, true, 0xffffffff },
	{ 0x839, 0x839, true, false, 0 },
	{ 0x83e, 0x83e, true, true, 0xb },
	{ 0x83f, 0x83f, false, true, 0xff },
};

static void test_x2apic_access(void **state)
{
	(void)state;
	for (uint32_t msr = 0x800; msr < 0x900; msr++) {
		bool read = false, write = false;
		uint64_t allowed = 0;

		setup(NULL);
		enable(0);
		assert_int_equal(msr_rd(0, msr), UINT64_MAX); /* in xAPIC mode */
		assert_false(msr_wr(0, msr, 0));
		to_x2apic(0);
		for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
			if (msr >= msrs[i].first && msr <= msrs[i].last) {
				read = msrs[i].read;
				write = msrs[i].write;
				allowed = msrs[i].allowed;
			}
		if ((msr_rd(0, msr) != UINT64_MAX) != read)
			fail_msg("RDMSR %x should %s", msr, read ? "work" : "be #GP");
		if (msr_wr(0, msr, 0) != write)
			fail_msg("WRMSR %x should %s", msr, write ? "work" : "be #GP");
		for (unsigned bit = 0; bit < 64; bit++)
			if (msr_wr(0, msr, BIT(bit)) != (write && (allowed >> bit & 1)))
				fail_msg("WRMSR %x, bit %u: should be %s", msr, bit,
					 allowed >> bit & 1 ? "allowed" : "#GP");
	}
}

static void test_x2apic_registers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		to_x2apic(i);
		assert_int_equal(msr_rd(i, 0x802), i);
		assert_int_equal(msr_rd(i, 0x80d), (i / 16) << 16 | 1 << i % 16);
	}
	assert_true(msr_wr(0, 0x80f, 0x1ff));
	assert_true(msr_wr(0, 0x830, 0x0000000500000045));
	assert_int_equal(msr_rd(0, 0x830), 0x0000000500000045);
	assert_true(msr_wr(0, 0x83f, 0x52));
	assert_true(has_irr(0, 0x52));
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x52);
	assert_int_equal(msr_rd(0, 0x812), 0x40000);
	assert_false(msr_wr(0, 0x80b, 1));
	assert_true(msr_wr(0, 0x80b, 0));
	assert_int_equal(msr_rd(0, 0x812), 0);
	assert_true(msr_wr(0, 0x83f, 0x0f));
	assert_true(msr_wr(0, 0x828, 0));
	assert_int_equal(msr_rd(0, 0x828), 0x20);
	assert_true(msr_wr(0, 0x808, 0x40));
	assert_int_equal(cpus[0].tpr, 0x40);
}

/* --- whatever comes --- */

static void test_random_accesses(void **state)
{
	uint64_t seed = 99;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = fake_random64(&seed), val = fake_random64(&seed);
		struct lapic *l = &cpus[r % 4].lapic;

		switch (r >> 8 & 7) {
		case 0:
			lapic_write_base(l, (val & 0xfffffff000) | (val >> 40 & 0xd00), 40);
			break;
		case 1:
			lapic_msr_write(l, 0x800 + (r >> 16 & 0xff), val >> (r >> 24 & 63));
			break;
		case 2:
			lapic_mmio_read(l, r >> 16 & 0xfff, 1u << (r >> 32 & 3));
			break;
		case 3:
			lapic_set_lint(l, r >> 16 & 1, r >> 17 & 1);
			break;
		case 4:
			send((uint32_t)(r >> 16 & 0xff), r >> 24 & 1, r >> 25 & 7, (uint8_t)val,
			     r >> 29 & 1);
			break;
		case 5:
			lapic_write_deadline(l, val >> (r >> 24 & 63));
			fake_clock_advance(r >> 32 & 0xfffff);
			break;
		default:
			if (l->mode == LAPIC_XAPIC)
				lapic_mmio_write(l, r >> 16 & 0xff0, 4, val >> (r >> 32 & 31));
			break;
		}
		if (lapic_next(l))
			assert_in_range(lapic_ack(l), 16, 255);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_writable_bits, setup),
		cmocka_unit_test_setup(test_read_only, setup),
		cmocka_unit_test_setup(test_access_sizes, setup),
		cmocka_unit_test_setup(test_errors, setup),
		cmocka_unit_test_setup(test_illegal_vectors, setup),
		cmocka_unit_test_setup(test_nesting, setup),
		cmocka_unit_test_setup(test_tpr, setup),
		cmocka_unit_test_setup(test_held_class, setup),
		cmocka_unit_test_setup(test_random_priorities, setup),
		cmocka_unit_test_setup(test_level_eoi, setup),
		cmocka_unit_test_setup(test_software_disable, setup),
		cmocka_unit_test_setup(test_lint_edges, setup),
		cmocka_unit_test_setup(test_lint_level, setup),
		cmocka_unit_test_setup(test_extint, setup),
		cmocka_unit_test_setup(test_init, setup),
		cmocka_unit_test_setup(test_transitions, setup),
		cmocka_unit_test_setup(test_base, setup),
		cmocka_unit_test_setup(test_x2apic_access, setup),
		cmocka_unit_test_setup(test_x2apic_registers, setup),
		cmocka_unit_test_setup(test_random_accesses, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
