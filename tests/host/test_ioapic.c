/* The I/O APIC: registers, edges, levels, who hears of what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/dev/ioapic.h"
#include "vmm/msi.h"

#define MASKED 0x10000u
#define LEVEL 0x8000u
#define REMOTE_IRR 0x4000u
#define ACTIVE_LOW 0x2000u
#define PENDING 0x1000u
#define LOGICAL 0x800u
#define MODE(m) ((uint32_t)(m) << 8)

static struct ioapic io;
static unsigned sent;
static struct apic_msg last;
static bool taken, ends_at_once;

static bool wire_send(void *ctx, const struct apic_msg *msg)
{
	assert_ptr_equal(ctx, &sent);
	if (!taken)
		return false;
	sent++;
	last = *msg;
	if (ends_at_once && sent < 4)
		ioapic_eoi(&io, msg->vector);
	return true;
}

static int setup(void **state)
{
	(void)state;
	sent = 0;
	taken = true;
	ends_at_once = false;
	last = (struct apic_msg){ 0 };
	ioapic_setup(&io, 5, (struct apic_wire){ wire_send, &sent });
	return 0;
}

static void mmio_out(uint64_t off, unsigned size, uint64_t val)
{
	ioapic_ops.write(&io, off, size, val);
}

static uint64_t mmio_in(uint64_t off, unsigned size)
{
	return ioapic_ops.read(&io, off, size) & (~UINT64_C(0) >> (64 - 8 * size));
}

static uint32_t get(uint8_t reg)
{
	mmio_out(0, 4, reg);
	return (uint32_t)mmio_in(0x10, 4);
}

static void put(uint8_t reg, uint32_t val)
{
	mmio_out(0, 4, reg);
	mmio_out(0x10, 4, val);
}

static uint32_t low(unsigned pin)
{
	return get((uint8_t)(0x10 + 2 * pin));
}

static void set_entry(unsigned pin, uint32_t high, uint32_t val)
{
	put((uint8_t)(0x11 + 2 * pin), high);
	put((uint8_t)(0x10 + 2 * pin), val);
}

static void drive(unsigned pin, bool level)
{
	struct irq_line l = ioapic_line(&io, pin);

	irq_line_set(&l, level);
}

static void test_after_reset(void **state)
{
	(void)state;
	assert_int_equal(get(0), 5u << 24);
	assert_int_equal(get(1), 0x00170020); /* 24 entries */
	assert_int_equal(get(2), 5u << 24);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(low(pin), MASKED);
		assert_int_equal(get((uint8_t)(0x11 + 2 * pin)), 0);
		assert_true(ioapic_masked(&io, pin));
	}
	assert_int_equal(mmio_in(0x40, 4), 0); /* EOI is written only */
}

static void test_bits_of_registers(void **state)
{
	(void)state;
	put(0, 0xffffffff);
	assert_int_equal(get(0), 0x0f000000);
	assert_int_equal(get(2), 0x0f000000); /* loaded with the id */
	put(1, 0);
	assert_int_equal(get(1), 0x00170020);
	put(2, 0x03000000);
	assert_int_equal(get(2), 0x0f000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		/* Delivery status and remote IRR cannot be written. */
		set_entry(pin, 0xffffffff, 0xffffffff);
		assert_int_equal(low(pin), 0x0001afff);
		assert_int_equal(get((uint8_t)(0x11 + 2 * pin)), 0xff000000);
		set_entry(pin, 0, 0x00010000);
		assert_int_equal(low(pin), 0x00010000);
	}
}

static void test_registers_that_are_not_there(void **state)
{
	(void)state;
	for (unsigned reg = 3; reg < 0x100; reg++) {
		if (reg >= 0x10 && reg < 0x40)
			continue;
		put((uint8_t)reg, 0xffffffff);
		assert_int_equal(get((uint8_t)reg), 0);
	}
	assert_int_equal(get(0), 5u << 24);
	assert_int_equal(sent, 0);
	for (uint64_t off = 4; off < IOAPIC_SIZE; off += 4) {
		if (off == 0x10 || off == 0x40)
			continue;
		mmio_out(off, 4, 0x55555555);
		assert_int_equal(mmio_in(off, 4), 0);
	}
}

static void test_widths_of_accesses(void **state)
{
	(void)state;
	mmio_out(0, 1, 0x01);
	assert_int_equal(mmio_in(0, 1), 0x01);
	assert_int_equal(mmio_in(0x10, 1), 0x20);
	assert_int_equal(mmio_in(0x12, 1), 0x17);
	assert_int_equal(mmio_in(0x12, 2), 0x17);
	assert_int_equal(mmio_in(0x10, 8), 0x00170020);
	mmio_out(0, 4, 0xffffff00); /* the index is a byte */
	assert_int_equal(mmio_in(0, 4), 0);
	mmio_out(0x13, 1, 9); /* less than the whole window: nothing */
	mmio_out(0x10, 2, 9);
	assert_int_equal(get(0), 5u << 24);
}

static void test_edge(void **state)
{
	struct irq_state s;

	(void)state;
	set_entry(4, 0x03000000, 0x31);
	drive(4, true);
	assert_int_equal(sent, 1);
	assert_int_equal(last.dest, 3);
	assert_false(last.logical);
	assert_int_equal(last.mode, APIC_FIXED);
	assert_int_equal(last.vector, 0x31);
	assert_false(last.level);
	assert_int_equal(low(4), 0x31); /* nothing pending, no remote IRR */
	drive(4, true);
	drive(4, false);
	assert_int_equal(sent, 1);
	drive(4, true);
	assert_int_equal(sent, 2); /* no EOI between */
	assert_true(ioapic_look(&io, 4, &s));
	assert_int_equal(s.vector, 0x31);
	assert_int_equal(s.raised, 2);
	assert_int_equal(s.taken, 2);
	assert_true(s.high);
	assert_false(s.level_triggered || s.masked || s.requested || s.in_service);
	assert_false(ioapic_look(&io, IOAPIC_PINS, &s));
}

static void test_edge_active_low(void **state)
{
	(void)state;
	drive(4, true);
	set_entry(4, 0, ACTIVE_LOW | 0x31);
	assert_int_equal(sent, 0);
	drive(4, false);
	assert_int_equal(sent, 1);
	drive(4, true);
	assert_int_equal(sent, 1);
}

/* 82093AA, "Interrupt Mask": edges on a masked input are neither delivered nor held pending. */
static void test_edge_under_mask_is_lost(void **state)
{
	(void)state;
	set_entry(1, 0, MASKED | 0x40);
	drive(1, true);
	set_entry(1, 0, 0x40);
	assert_int_equal(sent, 0);
	drive(1, false);
	drive(1, true);
	assert_int_equal(sent, 1);
}

/* An edge that nobody takes is gone. */
static void test_edge_not_taken(void **state)
{
	(void)state;
	set_entry(1, 0, 0x40);
	taken = false;
	drive(1, true);
	taken = true;
	assert_int_equal(low(1), 0x40);
	set_entry(1, 0, 0x40);
	assert_int_equal(sent, 0);
}

static void test_destination_and_mode(void **state)
{
	static const struct {
		uint32_t mode;
		unsigned sent;
	} modes[] = {
		{ APIC_FIXED, 1 }, { APIC_LOWEST, 1 },  { APIC_SMI, 1 },  { APIC_RESERVED, 0 },
		{ APIC_NMI, 1 },   { APIC_STARTUP, 0 }, { APIC_INIT, 1 }, { APIC_EXTINT, 1 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		sent = 0;
		drive(7, false);
		set_entry(7, 0xff000000, LOGICAL | MODE(modes[i].mode) | 0x77);
		drive(7, true);
		assert_int_equal(sent, modes[i].sent);
		if (!sent)
			continue;
		assert_int_equal(last.mode, modes[i].mode);
		assert_int_equal(last.dest, 0xff);
		assert_true(last.logical);
		assert_int_equal(last.vector, 0x77);
	}
}

/* SMI, NMI, INIT and ExtINT come once a rise, whatever the trigger mode says. */
static void test_modes_without_level(void **state)
{
	static const uint32_t modes[] = { APIC_SMI, APIC_NMI, APIC_INIT, APIC_EXTINT };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		sent = 0;
		drive(7, false);
		set_entry(7, 0, LEVEL | MODE(modes[i]) | 0x77);
		drive(7, true);
		assert_int_equal(sent, 1);
		assert_false(last.level);
		assert_int_equal(low(7) & REMOTE_IRR, 0);
		ioapic_eoi(&io, 0x77);
		assert_int_equal(sent, 1);
	}
}

static void test_level(void **state)
{
	struct irq_state s;

	(void)state;
	set_entry(9, 0, LEVEL | 0x91);
	drive(9, true);
	assert_int_equal(sent, 1);
	assert_true(last.level);
	assert_int_equal(low(9), LEVEL | REMOTE_IRR | 0x91);
	assert_true(ioapic_look(&io, 9, &s));
	assert_true(s.in_service && s.level_triggered && !s.requested);
	drive(9, false); /* served by one, raised by another, under the same remote IRR */
	drive(9, true);
	assert_int_equal(sent, 1);
	ioapic_eoi(&io, 0x90);
	assert_int_equal(sent, 1);
	ioapic_eoi(&io, 0x91); /* still active: again */
	assert_int_equal(sent, 2);
	assert_int_equal(low(9) & REMOTE_IRR, REMOTE_IRR);
	drive(9, false);
	assert_int_equal(low(9) & REMOTE_IRR, REMOTE_IRR);
	ioapic_eoi(&io, 0x91);
	assert_int_equal(sent, 2);
	assert_int_equal(low(9), LEVEL | 0x91);
	ioapic_eoi(&io, 0x91);
	assert_int_equal(sent, 2);
}

static void test_level_active_low(void **state)
{
	(void)state;
	drive(20, true);
	set_entry(20, 0, LEVEL | ACTIVE_LOW | 0x50);
	assert_int_equal(sent, 0);
	drive(20, false);
	assert_int_equal(sent, 1);
	drive(20, true);
	ioapic_eoi(&io, 0x50);
	assert_int_equal(sent, 1);
	/* The wrong polarity for a wire at rest: it asks at once, and ever again. */
	set_entry(20, 0, LEVEL | 0x50);
	assert_int_equal(sent, 2);
	ioapic_eoi(&io, 0x50);
	assert_int_equal(sent, 3);
}

static void test_level_under_mask(void **state)
{
	(void)state;
	set_entry(9, 0, MASKED | LEVEL | 0x91);
	drive(9, true);
	assert_int_equal(sent, 0);
	assert_int_equal(low(9), MASKED | LEVEL | 0x91);
	set_entry(9, 0, LEVEL | 0x91); /* it is active still */
	assert_int_equal(sent, 1);
	set_entry(9, 0, MASKED | LEVEL | 0x91);
	assert_int_equal(low(9) & REMOTE_IRR, REMOTE_IRR); /* what was taken stays in service */
	ioapic_eoi(&io, 0x91);
	assert_int_equal(sent, 1);
	assert_int_equal(low(9), MASKED | LEVEL | 0x91);
	set_entry(9, 0, LEVEL | 0x91);
	assert_int_equal(sent, 2);
	/* Masked, gone and unmasked: nothing. */
	set_entry(9, 0, MASKED | LEVEL | 0x91);
	ioapic_eoi(&io, 0x91);
	drive(9, false);
	set_entry(9, 0, LEVEL | 0x91);
	assert_int_equal(sent, 2);
}

/* What no local APIC takes shows as pending, and is sent when there is news. */
static void test_level_not_taken(void **state)
{
	struct irq_state s;

	(void)state;
	taken = false;
	set_entry(9, 0, LEVEL | 0x91);
	drive(9, true);
	assert_int_equal(low(9), LEVEL | PENDING | 0x91);
	assert_true(ioapic_look(&io, 9, &s) && s.requested);
	taken = true;
	put(0x11 + 2 * 9, 0x01000000);
	assert_int_equal(sent, 1);
	assert_int_equal(last.dest, 1);
	assert_int_equal(low(9), LEVEL | REMOTE_IRR | 0x91);
}

/* Drivers without an EOI register turn the entry to edge and back. */
static void test_edge_and_back_ends_service(void **state)
{
	(void)state;
	set_entry(9, 0, LEVEL | 0x91);
	drive(9, true);
	put(0x10 + 2 * 9, MASKED | 0x91);
	assert_int_equal(low(9), MASKED | 0x91);
	put(0x10 + 2 * 9, MASKED | LEVEL | 0x91);
	assert_int_equal(sent, 1);
	put(0x10 + 2 * 9, LEVEL | 0x91);
	assert_int_equal(sent, 2);
}

static void test_directed_eoi(void **state)
{
	(void)state;
	set_entry(9, 0, LEVEL | 0x91);
	set_entry(10, 0, LEVEL | 0x92);
	set_entry(11, 0, LEVEL | 0x91); /* shares the vector */
	drive(9, true);
	drive(10, true);
	drive(11, true);
	assert_int_equal(sent, 3);
	drive(11, false);
	mmio_out(0x40, 4, 0x91);
	assert_int_equal(sent, 4);
	assert_int_equal(low(9) & REMOTE_IRR, REMOTE_IRR);
	assert_int_equal(low(10) & REMOTE_IRR, REMOTE_IRR);
	assert_int_equal(low(11) & REMOTE_IRR, 0);
	mmio_out(0x40, 1, 0x92);
	assert_int_equal(sent, 5);
}

/* EOI of a vector that the entry has no more: the interrupt stays in service. */
static void test_eoi_after_vector_changed(void **state)
{
	(void)state;
	set_entry(9, 0, LEVEL | 0x91);
	drive(9, true);
	put(0x10 + 2 * 9, LEVEL | 0xa1);
	ioapic_eoi(&io, 0x91);
	assert_int_equal(low(9), LEVEL | REMOTE_IRR | 0xa1);
	assert_int_equal(sent, 1);
	ioapic_eoi(&io, 0xa1);
	assert_int_equal(sent, 2);
}

/* A local APIC may take an interrupt and end it before the I/O APIC's call has returned. */
static void test_ended_within_delivery(void **state)
{
	(void)state;
	ends_at_once = true;
	set_entry(9, 0, LEVEL | 0x91);
	drive(9, true);
	assert_int_equal(sent, 4);
	assert_int_equal(low(9) & REMOTE_IRR, REMOTE_IRR);
}

static void test_message_addresses(void **state)
{
	struct apic_msg m;

	(void)state;
	assert_true(msi_decode(0xfee03004, 0x8531, &m));
	assert_int_equal(m.dest, 3);
	assert_true(m.logical);
	assert_int_equal(m.mode, APIC_INIT);
	assert_int_equal(m.vector, 0x31);
	assert_true(m.level);
	assert_true(msi_decode(0xfeeff000, 0x31, &m));
	assert_int_equal(m.dest, 0xff);
	assert_false(m.logical || m.level);
	assert_false(msi_decode(0xfed00000, 0x31, &m));
	assert_false(msi_decode(0xfef00000, 0x31, &m));
	assert_false(msi_decode(0x1fee00000, 0x31, &m));
	assert_false(msi_decode(0, 0x31, &m));
}

static void test_hostile_accesses(void **state)
{
	uint64_t seed = 7;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = fake_random64(&seed);
		unsigned size = 1u << (r >> 8 & 3);
		uint64_t off = (r & 4 ? r >> 16 & 0x50 : r >> 16 & 0xfff) & ~(uint64_t)(size - 1);

		if (r & 1)
			mmio_out(off, size, fake_random64(&seed));
		else
			mmio_in(off, size);
		if (r & 2)
			drive((unsigned)(r >> 40) % IOAPIC_PINS, r >> 48 & 1);
		taken = r >> 50 & 1;
	}
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (!(low(pin) & LEVEL))
			assert_int_equal(low(pin) & (REMOTE_IRR | PENDING), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_after_reset, setup),
		cmocka_unit_test_setup(test_bits_of_registers, setup),
		cmocka_unit_test_setup(test_registers_that_are_not_there, setup),
		cmocka_unit_test_setup(test_widths_of_accesses, setup),
		cmocka_unit_test_setup(test_edge, setup),
		cmocka_unit_test_setup(test_edge_active_low, setup),
		cmocka_unit_test_setup(test_edge_under_mask_is_lost, setup),
		cmocka_unit_test_setup(test_edge_not_taken, setup),
		cmocka_unit_test_setup(test_destination_and_mode, setup),
		cmocka_unit_test_setup(test_modes_without_level, setup),
		cmocka_unit_test_setup(test_level, setup),
		cmocka_unit_test_setup(test_level_active_low, setup),
		cmocka_unit_test_setup(test_level_under_mask, setup),
		cmocka_unit_test_setup(test_level_not_taken, setup),
		cmocka_unit_test_setup(test_edge_and_back_ends_service, setup),
		cmocka_unit_test_setup(test_directed_eoi, setup),
		cmocka_unit_test_setup(test_eoi_after_vector_changed, setup),
		cmocka_unit_test_setup(test_ended_within_delivery, setup),
		cmocka_unit_test(test_message_addresses),
		cmocka_unit_test_setup(test_hostile_accesses, setup),
	};

	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
