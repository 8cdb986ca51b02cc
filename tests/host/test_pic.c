/* The 8259 pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vmm/dev/pic.h"

static struct pic pic;
static unsigned acked[16];

static void count_ack(void *ctx, unsigned irq)
{
	(void)ctx;
	acked[irq]++;
}

static void out(uint16_t port, uint8_t val)
{
	pic_ops.out(&pic, port, 1, val);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)pic_ops.in(&pic, port, 1);
}

static void line(unsigned pin, bool level)
{
	struct irq_line l = pic_line(&pic, pin);

	irq_line_set(&l, level);
}

static void pulse(unsigned pin)
{
	line(pin, true);
	line(pin, false);
}

/* As operating systems do: vectors 20h and 28h, everything open, ICW4 as given. */
static void initialize(uint8_t icw4)
{
	out(0x20, 0x11);
	out(0x21, 0x20);
	out(0x21, 0x04);
	out(0x21, icw4);
	out(0xa0, 0x11);
	out(0xa1, 0x28);
	out(0xa1, 0x02);
	out(0xa1, icw4);
	out(0x21, 0x00);
	out(0xa1, 0x00);
}

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 16; i++)
		acked[i] = 0;
	pic_init(&pic);
	pic.acked = count_ack;
	initialize(0x01);
	return 0;
}

static void assert_next(int vector)
{
	assert_true(pic_pending(&pic));
	assert_int_equal(pic_ack(&pic), vector);
}

static void test_masked_until_initialized(void **state)
{
	(void)state;
	pic_init(&pic);
	for (unsigned pin = 0; pin < 16; pin++)
		if (pin != 2)
			line(pin, true);
	assert_false(pic_pending(&pic));
	assert_int_equal(in(0x21), 0xff);
	/* ICW1 forgets edges that came before it. */
	initialize(0x01);
	assert_false(pic_pending(&pic));
	assert_int_equal(in(0x20), 0);
}

/* Linux, probe_8259A(): the mask register reads back what was written. */
static void test_linux_probe(void **state)
{
	(void)state;
	out(0xa1, 0xff);
	out(0x21, 0xfb);
	assert_int_equal(in(0x21), 0xfb);
	assert_int_equal(in(0xa1), 0xff);
}

static void test_edge(void **state)
{
	(void)state;
	line(4, true);
	assert_int_equal(in(0x20), 0x10);
	assert_next(0x24);
	assert_false(pic_pending(&pic));
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x10);
	out(0x20, 0x20);
	assert_int_equal(in(0x20), 0);
	assert_false(pic_pending(&pic)); /* still high: no new edge */
	line(4, true);
	assert_false(pic_pending(&pic));
	pulse(4);
	line(4, true);
	assert_next(0x24);
	assert_int_equal(acked[4], 2);
}

static void expect_look(unsigned irq, uint8_t vector, const char *state, uint64_t raised,
			uint64_t taken)
{
	struct irq_state s;
	char seen[8] = "-----";

	assert_true(pic_look(&pic, irq, &s));
	if (s.level_triggered)
		seen[0] = 'l';
	if (s.high)
		seen[1] = 'h';
	if (s.masked)
		seen[2] = 'm';
	if (s.requested)
		seen[3] = 'r';
	if (s.in_service)
		seen[4] = 's';
	assert_string_equal(seen, state);
	assert_int_equal(s.vector, vector);
	assert_int_equal(s.raised, raised);
	assert_int_equal(s.taken, taken);
}

static void test_look(void **state)
{
	struct irq_state s;

	(void)state;
	expect_look(5, 0x25, "-----", 0, 0);
	line(5, true);
	line(5, true); /* no change */
	expect_look(5, 0x25, "-h-r-", 1, 0);
	assert_int_equal(pic_ack(&pic), 0x25);
	expect_look(5, 0x25, "-h--s", 1, 1);
	line(5, false);
	out(0x20, 0x20);
	out(0x21, 0x20);
	pulse(5);
	expect_look(5, 0x25, "--m--", 2, 1);
	out(0xa1, 0x00);
	pic_elcr_ops.out(&pic, 0x4d1, 1, 0x08);
	line(11, true);
	expect_look(11, 0x2b, "lh-r-", 1, 0);
	assert_int_equal(pic_ack(&pic), 0x2b);
	expect_look(11, 0x2b, "lh-rs", 1, 1);
	expect_look(2, 0x22, "----s", 0, 0);
	assert_false(pic_look(&pic, PIC_PINS, &s));
}

/* A request that goes away before INTA is a spurious interrupt 7. */
static void test_spurious(void **state)
{
	(void)state;
	line(4, true);
	line(4, false);
	assert_false(pic_pending(&pic));
	assert_int_equal(pic_ack(&pic), 0x27);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0); /* nothing in service */
	assert_int_equal(acked[7], 0);
}

/* The slave withdraws between the master's request and INTA: interrupt 15, and the
 * master has its input 2 in service. */
static void test_spurious_slave(void **state)
{
	(void)state;
	line(9, true);
	pic.chip[1].irr = 0; /* as if it went between the two INTA pulses */
	assert_int_equal(pic_ack(&pic), 0x2f);
	out(0xa0, 0x0b);
	out(0x20, 0x0b);
	assert_int_equal(in(0xa0), 0);
	assert_int_equal(in(0x20), 0x04);
}

static void test_priority(void **state)
{
	(void)state;
	line(7, true);
	line(3, true);
	line(0, true);
	line(12, true);
	assert_next(0x20);
	assert_false(pic_pending(&pic)); /* lower ones wait for EOI */
	out(0x20, 0x20);
	assert_next(0x2c); /* the slave is at input 2, above 3 */
	assert_false(pic_pending(&pic));
	line(8, true); /* above 12 inside the slave, but the master's input 2 is in service */
	assert_false(pic_pending(&pic));
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_next(0x28);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_next(0x23);
	line(1, true); /* a higher one interrupts the service */
	assert_next(0x21);
	out(0x20, 0x20);
	assert_false(pic_pending(&pic));
	out(0x20, 0x20);
	assert_next(0x27);
}

static void test_special_fully_nested(void **state)
{
	(void)state;
	initialize(0x11);
	line(12, true);
	assert_next(0x2c);
	line(3, true);
	assert_false(pic_pending(&pic)); /* below the slave */
	line(14, true);
	assert_false(pic_pending(&pic)); /* below 12 in the slave */
	line(9, true);
	assert_next(0x29); /* above 12 in the slave */
	out(0xa0, 0x20);
	out(0xa0, 0x20);
	assert_next(0x2e);
}

static void test_slave_requests_in_a_row(void **state)
{
	(void)state;
	line(8, true);
	line(9, true);
	assert_next(0x28);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_next(0x29);
	assert_int_equal(acked[8], 1);
	assert_int_equal(acked[9], 1);
}

static void test_mask(void **state)
{
	(void)state;
	out(0x21, 0x10);
	line(4, true);
	assert_false(pic_pending(&pic));
	assert_int_equal(in(0x20), 0x10); /* it waits */
	assert_true(pic_masked(&pic, 4));
	assert_false(pic_masked(&pic, 3));
	out(0x21, 0x00);
	assert_next(0x24);
	out(0x21, 0x04); /* the cascade */
	line(10, true);
	assert_false(pic_pending(&pic));
	assert_true(pic_masked(&pic, 10));
	assert_false(pic_masked(&pic, 3)); /* the cascade is only the slave's way */
	out(0x20, 0x20);
	out(0x21, 0x00);
	assert_next(0x2a);
}

static void test_eoi(void **state)
{
	(void)state;
	line(5, true);
	assert_next(0x25);
	line(1, true);
	assert_next(0x21);
	out(0x20, 0x65); /* specific: 5 */
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x02);
	out(0x20, 0x20);
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x20); /* with nothing in service */
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x40); /* no operation */
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0);
}

static void test_rotation(void **state)
{
	(void)state;
	out(0x20, 0xc3); /* 3 is the lowest: 4 is the highest */
	line(3, true);
	line(4, true);
	line(0, true);
	assert_next(0x24);
	out(0x20, 0xa0); /* rotate on EOI: 4 is the lowest now */
	assert_next(0x20);
	out(0x20, 0x20);
	pulse(4);
	line(4, true);
	assert_next(0x23);
	out(0x20, 0xe3); /* rotate on specific EOI */
	assert_int_equal(pic.chip[0].lowest, 3);
	assert_next(0x24);
}

static void test_rotate_past_input_0(void **state)
{
	(void)state;
	line(0, true);
	assert_next(0x20);
	out(0x20, 0xa0);
	assert_int_equal(pic.chip[0].lowest, 0);
	line(1, true);
	line(7, true);
	pulse(0);
	line(0, true);
	assert_next(0x21); /* 1 is the highest, 0 the lowest */
	out(0x20, 0x20);
	assert_next(0x27);
	out(0x20, 0x20);
	assert_next(0x20);
}

/* What the even port reads is chosen by RR and RIS, and stays. */
static void test_read_register_select(void **state)
{
	(void)state;
	line(4, true);
	assert_next(0x24);
	line(6, true);
	assert_int_equal(in(0x20), 0x40);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x10);
	out(0x20, 0x08); /* neither: no change */
	assert_int_equal(in(0x20), 0x10);
	out(0x20, 0x09);
	assert_int_equal(in(0x20), 0x10);
	out(0x20, 0x0a);
	assert_int_equal(in(0x20), 0x40);
}

static void test_auto_eoi(void **state)
{
	(void)state;
	initialize(0x03);
	line(4, true);
	assert_next(0x24);
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0);
	line(5, true);
	assert_next(0x25);
	out(0x20, 0x80); /* rotate in automatic EOI */
	pulse(4);
	line(4, true);
	assert_next(0x24);
	assert_int_equal(pic.chip[0].lowest, 4);
	out(0x20, 0x00);
	pulse(5);
	line(5, true);
	assert_next(0x25);
	assert_int_equal(pic.chip[0].lowest, 4);
	line(11, true);
	line(12, true);
	assert_next(0x2b);
	assert_next(0x2c);
}

static void test_special_mask(void **state)
{
	(void)state;
	line(2 + 1, true);
	assert_next(0x23);
	line(6, true);
	assert_false(pic_pending(&pic));
	out(0x21, 0x08); /* mask the one in service */
	assert_false(pic_pending(&pic));
	out(0x20, 0x68); /* special mask mode: others come through */
	assert_next(0x26);
	out(0x20, 0x20); /* EOI passes the masked one by */
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x08);
	out(0x20, 0x48); /* mode off */
	line(7, true);
	assert_false(pic_pending(&pic));
	out(0x20, 0x63);
	assert_next(0x27);
}

static void test_poll(void **state)
{
	(void)state;
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x00);
	line(4, true);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x84);
	assert_int_equal(acked[4], 1);
	assert_false(pic_pending(&pic));
	assert_int_equal(in(0x20), 0x00); /* only one read: IRR again */
	out(0x20, 0x0b);
	assert_int_equal(in(0x20), 0x10);
	out(0x20, 0x20);
	line(13, true);
	out(0x20, 0x0c);
	assert_int_equal(in(0x20), 0x82);
	out(0xa0, 0x0c);
	assert_int_equal(in(0xa0), 0x85);
	assert_int_equal(acked[13], 1);
	assert_int_equal(acked[2], 0);
	out(0x20, 0x20);
	line(9, true); /* above 13: the slave's output has been down in between */
	assert_next(0x29);
}

static void elcr(uint16_t port, uint8_t val)
{
	pic_elcr_ops.out(&pic, port, 1, val);
}

static void test_level(void **state)
{
	(void)state;
	elcr(0x4d0, 0xff);
	elcr(0x4d1, 0xff);
	assert_int_equal(pic_elcr_ops.in(&pic, 0x4d0, 1), 0xf8);
	assert_int_equal(pic_elcr_ops.in(&pic, 0x4d1, 1), 0xde);
	assert_int_equal(pic_elcr_ops.in(&pic, 0x4d0, 2), 0xdef8);
	line(9, true);
	assert_next(0x29);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_next(0x29); /* still high: again */
	line(9, false);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_false(pic_pending(&pic));
	line(5, true);
	out(0x20, 0x11); /* a level is there after ICW1 too */
	assert_int_equal(in(0x20), 0x20);
}

static void test_elcr_change(void **state)
{
	(void)state;
	line(10, true);
	assert_next(0x2a);
	out(0xa0, 0x20);
	out(0x20, 0x20);
	assert_false(pic_pending(&pic));
	elcr(0x4d1, 0x04); /* now level: it is high */
	assert_true(pic_pending(&pic));
	elcr(0x4d1, 0x00);
	assert_false(pic_pending(&pic));
}

static void test_ltim(void **state)
{
	(void)state;
	out(0x20, 0x19); /* all level-triggered */
	out(0x21, 0x40);
	out(0x21, 0x04);
	out(0x21, 0x01);
	line(0, true);
	assert_next(0x40);
	out(0x20, 0x20);
	assert_next(0x40);
}

/* ICW2's low bits are not the vector's; SNGL skips ICW3, no IC4 skips ICW4. */
static void test_icw_sequence(void **state)
{
	(void)state;
	out(0x20, 0x12);
	out(0x21, 0x57);
	out(0x21, 0x0f); /* already the mask */
	assert_int_equal(in(0x21), 0x0f);
	line(4, true);
	assert_next(0x54);
	out(0x20, 0x10);
	out(0x21, 0x60);
	out(0x21, 0x04);
	out(0x21, 0xa5);
	assert_int_equal(in(0x21), 0xa5);
}

static void test_word_access(void **state)
{
	(void)state;
	pic_ops.out(&pic, 0x20, 2, 0x5a0b); /* OCW3 and the mask */
	assert_int_equal(in(0x21), 0x5a);
	assert_int_equal(pic_ops.in(&pic, 0x20, 2), 0x5a00);
}

/* Whatever a guest writes: pending and ack agree, vectors are the chip's own. */
static void test_random(void **state)
{
	(void)state;
	srand(1);
	for (unsigned i = 0; i < 300000; i++) {
		static const uint16_t ports[] = { 0x20, 0x21, 0xa0, 0xa1 };
		unsigned r = (unsigned)rand(), pin = r >> 4 & 15;

		if (r % 4 == 0)
			out(ports[r >> 8 & 3], (uint8_t)(r >> 16));
		else if (r % 4 == 1)
			in(ports[r >> 8 & 3]);
		else if (r % 4 == 2 && pin != 2)
			line(pin, r >> 8 & 1);
		else if (pic_pending(&pic)) {
			int vector = pic_ack(&pic);

			assert_in_range(vector, 0, 255);
			assert_true((vector & 0xf8) == pic.chip[0].vector ||
				    (vector & 0xf8) == pic.chip[1].vector);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_masked_until_initialized, setup),
		cmocka_unit_test_setup(test_linux_probe, setup),
		cmocka_unit_test_setup(test_edge, setup),
		cmocka_unit_test_setup(test_look, setup),
		cmocka_unit_test_setup(test_spurious, setup),
		cmocka_unit_test_setup(test_spurious_slave, setup),
		cmocka_unit_test_setup(test_priority, setup),
		cmocka_unit_test_setup(test_special_fully_nested, setup),
		cmocka_unit_test_setup(test_slave_requests_in_a_row, setup),
		cmocka_unit_test_setup(test_mask, setup),
		cmocka_unit_test_setup(test_eoi, setup),
		cmocka_unit_test_setup(test_rotation, setup),
		cmocka_unit_test_setup(test_rotate_past_input_0, setup),
		cmocka_unit_test_setup(test_read_register_select, setup),
		cmocka_unit_test_setup(test_auto_eoi, setup),
		cmocka_unit_test_setup(test_special_mask, setup),
		cmocka_unit_test_setup(test_poll, setup),
		cmocka_unit_test_setup(test_level, setup),
		cmocka_unit_test_setup(test_elcr_change, setup),
		cmocka_unit_test_setup(test_ltim, setup),
		cmocka_unit_test_setup(test_icw_sequence, setup),
		cmocka_unit_test_setup(test_word_access, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
