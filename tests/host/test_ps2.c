/* The 8042, its keyboard, A20 and the reset lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vmm/dev/ps2.h"

static struct ps2 ps2;
static bool level;
static unsigned rises, resets;

static void set_irq(void *ctx, unsigned pin, bool on)
{
	(void)ctx;
	(void)pin;
	rises += on && !level;
	level = on;
}

static void count_reset(void *ctx)
{
	(void)ctx;
	resets++;
}

static int setup(void **state)
{
	(void)state;
	level = false;
	rises = resets = 0;
	ps2_init(&ps2, (struct irq_line){ .set = set_irq }, count_reset, NULL);
	return 0;
}

static void out(uint16_t port, uint8_t val)
{
	ps2_ops.out(&ps2, port, 1, val);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)ps2_ops.in(&ps2, port, 1);
}

/* A byte that must be there. */
static uint8_t read_byte(void)
{
	assert_int_equal(in(0x64) & 1, 1);
	return in(0x60);
}

static void assert_no_byte(void)
{
	assert_int_equal(in(0x64) & 1, 0);
}

static uint8_t command(uint8_t cmd)
{
	out(0x64, cmd);
	return read_byte();
}

static void command_with(uint8_t cmd, uint8_t parameter)
{
	out(0x64, cmd);
	out(0x60, parameter);
}

static void test_after_reset(void **state)
{
	(void)state;
	assert_int_equal(in(0x64), 0x14);
	assert_int_equal(command(0x20), 0x65);
	assert_int_equal(in(0x64), 0x1c); /* the last write was a command */
}

/* The system flag is a bit of the command byte, shown in the status register too. */
static void test_system_flag(void **state)
{
	(void)state;
	command_with(0x60, 0x61);
	assert_int_equal(in(0x64) & 0x04, 0x00);
	command_with(0x60, 0x65);
	assert_int_equal(in(0x64) & 0x04, 0x04);
	command_with(0x60, 0x61);
	command(0xaa); /* the self test sets it */
	assert_int_equal(in(0x64) & 0x04, 0x04);
	assert_int_equal(command(0x20), 0x65);
}

/* Linux, i8042.c: flush, self test, command byte, no mouse port. */
static void test_linux_probe(void **state)
{
	uint8_t ctr;

	(void)state;
	assert_no_byte();
	assert_int_equal(command(0xaa), 0x55);
	ctr = command(0x20);
	assert_int_equal(command(0x20), ctr);
	assert_int_equal(in(0x64) & 0x10, 0x10); /* keylock open */
	assert_int_equal(ctr & 0x40, 0x40);      /* translated mode */
	ctr = (ctr | 0x10) & ~0x01;
	command_with(0x60, ctr);
	assert_int_equal(command(0x20), ctr);
	/* The mouse port's loop-back answers as keyboard data: refused. Its test fails. */
	command_with(0xd3, 0x5a);
	assert_int_equal(in(0x64) & 0x21, 0x01);
	in(0x60);
	assert_int_equal(command(0xa9), 0x01);
	/* Nor can it be turned on. */
	out(0x64, 0xa8);
	assert_int_equal(command(0x20) & 0x22, 0x20);
	command_with(0x60, 0x47);
	assert_int_equal(command(0x20), 0x65);
	assert_int_equal(command(0xab), 0x00);
}

/* Linux, atkbd.c: identify, LEDs, scan set, repeat rate, enable. */
static void test_linux_keyboard(void **state)
{
	(void)state;
	out(0x60, 0xf2);
	assert_int_equal(read_byte(), 0xfa);
	assert_int_equal(read_byte(), 0xab);
	assert_int_equal(read_byte(), 0x41); /* 83h, translated */
	assert_no_byte();
	out(0x60, 0xed);
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0x00);
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0xf3);
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0x00);
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0xf4);
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0xff);
	assert_int_equal(read_byte(), 0xfa);
	assert_int_equal(read_byte(), 0xaa);
	assert_no_byte();
}

static void test_keyboard_interrupts(void **state)
{
	(void)state;
	out(0x60, 0xf2);
	assert_int_equal(rises, 1);
	in(0x60);
	assert_int_equal(rises, 2); /* one for each byte */
	in(0x60);
	assert_int_equal(rises, 3);
	in(0x60);
	assert_false(level);
	command_with(0x60, 0x64); /* interrupt off */
	out(0x60, 0xee);
	assert_false(level);
	command_with(0x60, 0x65); /* on again, with a byte waiting */
	assert_true(level);
	assert_int_equal(read_byte(), 0xee);
	assert_false(level);
}

static void test_scan_sets(void **state)
{
	(void)state;
	command_with(0x60, 0x25); /* no translation */
	for (uint8_t set = 1; set <= 3; set++) {
		out(0x60, 0xf0);
		assert_int_equal(read_byte(), 0xfa);
		out(0x60, set);
		assert_int_equal(read_byte(), 0xfa);
		out(0x60, 0xf0);
		assert_int_equal(read_byte(), 0xfa);
		out(0x60, 0);
		assert_int_equal(read_byte(), 0xfa);
		assert_int_equal(read_byte(), set);
	}
	out(0x60, 0xf0);
	read_byte();
	out(0x60, 4); /* no such set */
	assert_int_equal(read_byte(), 0xfe);
	out(0x60, 0xf6); /* defaults: set 2 */
	read_byte();
	command_with(0x60, 0x65);
	out(0x60, 0xf0);
	read_byte();
	out(0x60, 0);
	assert_int_equal(read_byte(), 0xfa);
	assert_int_equal(read_byte(), 0x41); /* 2, translated */
}

static void test_other_keyboard_commands(void **state)
{
	(void)state;
	command_with(0x60, 0x25);
	for (unsigned cmd = 0xf4; cmd <= 0xfa; cmd++) {
		out(0x60, (uint8_t)cmd);
		assert_int_equal(read_byte(), 0xfa);
		assert_no_byte();
	}
	for (unsigned cmd = 0xfb; cmd <= 0xfd; cmd++) {
		out(0x60, (uint8_t)cmd);
		assert_int_equal(read_byte(), 0xfa);
		out(0x60, 0x1c);
		assert_int_equal(read_byte(), 0xfa);
	}
	for (unsigned cmd = 0; cmd < 0xed; cmd++) { /* unknown ones */
		out(0x60, (uint8_t)cmd);
		assert_int_equal(read_byte(), 0xfe);
	}
	out(0x60, 0xee);
	assert_int_equal(read_byte(), 0xee);
	out(0x60, 0xfe); /* once more, please */
	assert_int_equal(read_byte(), 0xee);
	out(0x60, 0xed);
	read_byte();
	out(0x60, 0xf4); /* a command in place of the parameter */
	assert_int_equal(read_byte(), 0xfa);
	out(0x60, 0x02);
	assert_int_equal(read_byte(), 0xfe);
}

static void test_keyboard_off(void **state)
{
	(void)state;
	out(0x60, 0xf2);
	out(0x64, 0xad);
	assert_int_equal(read_byte(), 0xfa); /* was in the buffer already */
	assert_no_byte();
	assert_int_equal(command(0x20), 0x75);
	out(0x64, 0xae);
	assert_int_equal(read_byte(), 0xab);
	out(0x64, 0xad);
	out(0x60, 0xee); /* a byte for the keyboard turns it on */
	in(0x60);
	assert_int_equal(read_byte(), 0xee);
}

/* The controller's own answers go before what the keyboard still has to send. */
static void test_controller_first(void **state)
{
	(void)state;
	out(0x60, 0xf2);
	out(0x64, 0x20);
	assert_int_equal(read_byte(), 0xfa);
	assert_int_equal(read_byte(), 0x65);
	assert_int_equal(read_byte(), 0xab);
	assert_int_equal(read_byte(), 0x41);
	assert_no_byte();
}

static void test_other_commands(void **state)
{
	(void)state;
	assert_int_equal(command(0xa4), 0xf1);
	assert_int_equal(command(0xc0), 0x80);
	command_with(0x61, 0x5a);
	assert_int_equal(command(0x21), 0x5a);
	command_with(0x7f, 0xa5);
	assert_int_equal(command(0x3f), 0xa5);
	command_with(0xd2, 0x77);
	assert_int_equal(read_byte(), 0x77);
	command_with(0xd4, 0xf2); /* a mouse: nobody answers */
	assert_int_equal(in(0x64) & 0x41, 0x41);
	assert_int_equal(read_byte(), 0xfe);
	assert_int_equal(in(0x64) & 0x40, 0x00);
	out(0x64, 0x00); /* unknown: nothing */
	out(0x64, 0xb7);
	assert_no_byte();
	assert_int_equal(resets, 0);
	out(0x64, 0x60); /* half a command, then another one */
	assert_int_equal(command(0xaa), 0x55);
	out(0x60, 0xee);
	assert_int_equal(read_byte(), 0xee);
}

static void test_a20(void **state)
{
	(void)state;
	assert_int_equal(command(0xd0) & 3, 3);
	out(0x64, 0xdd);
	assert_int_equal(command(0xd0) & 3, 1);
	assert_int_equal(ps2_port92_ops.in(&ps2, 0x92, 1), 0x00);
	ps2_port92_ops.out(&ps2, 0x92, 1, 0x02);
	assert_int_equal(command(0xd0) & 3, 3);
	command_with(0xd1, 0xdd);
	assert_int_equal(ps2_port92_ops.in(&ps2, 0x92, 1), 0x00);
	command_with(0xd1, 0xdf);
	assert_int_equal(ps2_port92_ops.in(&ps2, 0x92, 1), 0x02);
	out(0x64, 0xdf);
	assert_int_equal(resets, 0);
}

static void test_reset(void **state)
{
	(void)state;
	for (unsigned cmd = 0xf0; cmd <= 0xff; cmd++) {
		resets = 0;
		out(0x64, (uint8_t)cmd);
		assert_int_equal(resets, !(cmd & 1));
	}
	resets = 0;
	command_with(0xd1, 0xde);
	assert_int_equal(resets, 1);
	ps2_port92_ops.out(&ps2, 0x92, 1, 0x03);
	assert_int_equal(resets, 2);
	ps2_port92_ops.out(&ps2, 0x92, 1, 0x03); /* only the edge */
	assert_int_equal(resets, 2);
	assert_int_equal(ps2_port92_ops.in(&ps2, 0x92, 1), 0x03);
}

static void test_random(void **state)
{
	(void)state;
	srand(5);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned r = (unsigned)rand();

		if (r & 1)
			out(r & 2 ? 0x60 : 0x64, (uint8_t)(r >> 8));
		else if (r & 4)
			in(r & 2 ? 0x60 : 0x64);
		else
			ps2_port92_ops.out(&ps2, 0x92, 1, r >> 8);
		assert_true(ps2.count <= PS2_QUEUE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_after_reset, setup),
		cmocka_unit_test_setup(test_system_flag, setup),
		cmocka_unit_test_setup(test_linux_probe, setup),
		cmocka_unit_test_setup(test_linux_keyboard, setup),
		cmocka_unit_test_setup(test_keyboard_interrupts, setup),
		cmocka_unit_test_setup(test_scan_sets, setup),
		cmocka_unit_test_setup(test_other_keyboard_commands, setup),
		cmocka_unit_test_setup(test_keyboard_off, setup),
		cmocka_unit_test_setup(test_controller_first, setup),
		cmocka_unit_test_setup(test_other_commands, setup),
		cmocka_unit_test_setup(test_a20, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
