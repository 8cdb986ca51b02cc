/* The 16550A. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/dev/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct serial uart;
static bool level;
static unsigned rises;
static char sent[4096];
static size_t nr_sent, room;

static void set_irq(void *ctx, unsigned pin, bool on)
{
	(void)ctx;
	(void)pin;
	rises += on && !level;
	level = on;
}

static bool send(void *ctx, uint8_t byte)
{
	(void)ctx;
	if (!room || nr_sent + 1 >= sizeof(sent))
		return false;
	room--;
	sent[nr_sent++] = (char)byte;
	sent[nr_sent] = '\0';
	return true;
}

static int setup(void **state)
{
	(void)state;
	level = false;
	rises = 0;
	nr_sent = 0;
	sent[0] = '\0';
	room = sizeof(sent);
	serial_init(&uart, (struct irq_line){ .set = set_irq }, send, NULL);
	return 0;
}

static void out(unsigned reg, uint8_t val)
{
	serial_ops.out(&uart, (uint16_t)(0x3f8 + reg), 1, val);
}

static uint8_t in(unsigned reg)
{
	return (uint8_t)serial_ops.in(&uart, (uint16_t)(0x3f8 + reg), 1);
}

static void write_text(const char *s)
{
	while (*s)
		out(DATA, (uint8_t)*s++);
}

static void test_after_reset(void **state)
{
	(void)state;
	assert_int_equal(in(IER), 0x00);
	assert_int_equal(in(IIR), 0x01);
	assert_int_equal(in(LCR), 0x00);
	assert_int_equal(in(MCR), 0x00);
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(MSR), 0xb0);
	assert_false(level);
}

static void test_registers(void **state)
{
	(void)state;
	out(SCR, 0xa5);
	assert_int_equal(in(SCR), 0xa5);
	out(IER, 0xff);
	assert_int_equal(in(IER), 0x0f);
	out(MCR, 0xff);
	assert_int_equal(in(MCR), 0x1f);
	out(LCR, 0x83);
	out(DATA, 0x34);
	out(IER, 0x12);
	assert_int_equal(in(DATA), 0x34);
	assert_int_equal(in(IER), 0x12);
	assert_int_equal(nr_sent, 0);
	out(LCR, 0x03);
	assert_int_equal(in(IER), 0x0f);
	out(LSR, 0xff);
	out(MSR, 0xff);
	assert_int_equal(in(LSR)&0x9f, 0x00);
	serial_ops.out(&uart, 0x3fe, 2, 0x7700); /* a word: MSR and SCR */
	assert_int_equal(in(SCR), 0x77);
	assert_int_equal(serial_ops.in(&uart, 0x3fe, 2) >> 8, 0x77);
}

static void test_transmit(void **state)
{
	(void)state;
	write_text("hello");
	assert_string_equal(sent, "hello");
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(rises, 0);
}

static void test_thre_interrupt(void **state)
{
	(void)state;
	out(MCR, 0x0b);
	assert_false(level);
	out(IER, 0x02); /* the holding register is empty: an interrupt at once */
	assert_true(level);
	assert_int_equal(in(IIR), 0x02);
	assert_false(level); /* reading IIR ends it */
	assert_int_equal(in(IIR), 0x01);
	out(DATA, 'a');
	assert_true(level);
	assert_int_equal(rises, 2);
	out(DATA, 'b'); /* without a look at IIR: writing ends it, and it comes again */
	assert_int_equal(rises, 3);
	out(IER, 0x00);
	assert_false(level);
	out(IER, 0x02);
	assert_true(level);
	assert_int_equal(in(IIR), 0x02);
	out(IER, 0x02); /* it was on already */
	assert_false(level);
	assert_string_equal(sent, "ab");
}

/* The far side has no room: THR stays full, then everything comes in order. */
static void test_back_pressure(void **state)
{
	(void)state;
	out(MCR, 0x08);
	out(FCR, 0x01);
	out(IER, 0x02);
	in(IIR);
	room = 3;
	write_text("abc");
	in(IIR);
	assert_false(level);
	write_text("defgh");
	assert_int_equal(in(LSR)&0x60, 0x00);
	assert_int_equal(in(IIR), 0xc1);
	assert_false(level);
	room = 2;
	serial_tx_ready(&uart);
	assert_int_equal(in(LSR)&0x60, 0x00);
	assert_false(level);
	room = 100;
	serial_tx_ready(&uart);
	assert_int_equal(in(LSR)&0x60, 0x60);
	assert_true(level);
	assert_string_equal(sent, "abcdefgh");
	serial_tx_ready(&uart);
	assert_string_equal(sent, "abcdefgh");
}

/* What is written to a full FIFO is lost; nothing else is harmed. */
static void test_transmit_overrun(void **state)
{
	(void)state;
	out(FCR, 0x01);
	room = 0;
	for (unsigned i = 0; i < 100; i++)
		out(DATA, (uint8_t)('A' + i % 26));
	room = 100;
	serial_tx_ready(&uart);
	assert_string_equal(sent, "ABCDEFGHIJKLMNOP");
	out(FCR, 0x00);
	room = 0;
	write_text("xyz");
	room = 100;
	serial_tx_ready(&uart);
	assert_string_equal(sent, "ABCDEFGHIJKLMNOPx");
	out(FCR, 0x01);
	room = 0;
	write_text("xyz");
	out(FCR, 0x05); /* clears the transmitter's FIFO */
	assert_int_equal(in(LSR), 0x60);
	room = 100;
	serial_tx_ready(&uart);
	assert_int_equal(nr_sent, 17);
}

static void test_no_cable(void **state)
{
	(void)state;
	serial_init(&uart, (struct irq_line){ 0 }, NULL, NULL);
	assert_int_equal(in(MSR), 0x00);
	out(DATA, 'x');
	assert_int_equal(in(LSR), 0x60);
	serial_tx_ready(&uart);
}

static void test_receive_without_fifo(void **state)
{
	(void)state;
	out(MCR, 0x08);
	out(IER, 0x01);
	assert_true(serial_rx(&uart, 'a'));
	assert_true(level);
	assert_int_equal(in(IIR), 0x04);
	assert_int_equal(in(LSR), 0x61);
	assert_false(serial_rx(&uart, 'b')); /* it waits outside */
	assert_int_equal(in(DATA), 'a');
	assert_false(level);
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(IIR), 0x01);
	assert_true(serial_rx(&uart, 'b'));
	assert_int_equal(in(DATA), 'b');
}

static unsigned told;

static void tell(void *ctx)
{
	(void)ctx;
	assert_true(serial_rx_room(&uart));
	told++;
}

/* Whoever was refused is told whatever it is that makes room. */
static void test_receiver_has_room(void **state)
{
	(void)state;
	told = 0;
	uart.listens = tell;
	while (serial_rx(&uart, 'a'))
		;
	in(LSR);
	assert_int_equal(told, 0);
	in(DATA);
	assert_int_equal(told, 1);
	out(FCR, 0x01);
	told = 0;
	while (serial_rx(&uart, 'a'))
		;
	out(FCR, 0x03);
	assert_int_equal(told, 1);
	out(MCR, 0x10);
	out(DATA, 'a');
	in(DATA);
	assert_int_equal(told, 1); /* no way in */
	out(MCR, 0x00);
	assert_int_equal(told, 2);
}

static void test_receive_interrupt_off(void **state)
{
	(void)state;
	out(MCR, 0x08);
	out(IER, 0x08);
	assert_true(serial_rx(&uart, 'a'));
	assert_false(level);
	assert_int_equal(in(IIR), 0x01);
	out(IER, 0x01); /* now it is wanted */
	assert_true(level);
}

static void test_receive_trigger(void **state)
{
	static const uint8_t trigger[] = { 1, 4, 8, 14 };

	(void)state;
	out(MCR, 0x08);
	out(IER, 0x01);
	for (unsigned t = 0; t < 4; t++) {
		out(FCR, (uint8_t)(t << 6 | 0x03));
		for (unsigned i = 1; i <= 16; i++) {
			assert_true(serial_rx(&uart, (uint8_t)i));
			assert_true(level);
			assert_int_equal(in(IIR), i >= trigger[t] ? 0xc4 : 0xcc);
		}
		assert_false(serial_rx(&uart, 17));
		for (unsigned i = 1; i <= 16; i++) {
			unsigned before = rises;

			assert_int_equal(in(LSR)&1, 1);
			assert_int_equal(in(DATA), i);
			assert_int_equal(rises, before + (i < 16)); /* an edge for what is left */
		}
		assert_int_equal(in(LSR)&1, 0);
		assert_false(level);
	}
}

static void test_fifo_clear(void **state)
{
	(void)state;
	out(FCR, 0x01);
	serial_rx(&uart, 'a');
	serial_rx(&uart, 'b');
	out(FCR, 0x01); /* unchanged: nothing is lost */
	assert_int_equal(in(LSR)&1, 1);
	out(FCR, 0x03);
	assert_int_equal(in(LSR)&1, 0);
	serial_rx(&uart, 'a');
	out(FCR, 0x00); /* a change of the enable bit clears too */
	assert_int_equal(in(LSR)&1, 0);
	assert_int_equal(in(IIR), 0x01);
	serial_rx(&uart, 'a');
	out(FCR, 0x02); /* without FIFOs the other bits mean nothing */
	assert_int_equal(in(LSR)&1, 1);
}

static void test_out2_connects_the_interrupt(void **state)
{
	(void)state;
	out(IER, 0x02);
	assert_false(level);
	out(MCR, 0x08);
	assert_true(level);
	out(MCR, 0x18); /* loopback takes OUT2 off its pin */
	assert_false(level);
	out(MCR, 0x08);
	assert_true(level);
	out(MCR, 0x00);
	assert_false(level);
}

static void test_loopback(void **state)
{
	(void)state;
	out(MCR, 0x10);
	out(DATA, 'z');
	assert_int_equal(nr_sent, 0);
	assert_int_equal(in(LSR), 0x61);
	assert_false(serial_rx(&uart, 'x')); /* the line in is cut */
	assert_int_equal(in(DATA), 'z');
	assert_int_equal(in(LSR), 0x60);
	write_text("12");
	assert_int_equal(in(LSR), 0x63); /* overrun */
	assert_int_equal(in(LSR), 0x61); /* reading cleared it */
	assert_int_equal(in(DATA), '2');
	out(MCR, 0x00);
	assert_true(serial_rx(&uart, 'x'));
}

static void test_loopback_modem_lines(void **state)
{
	static const uint8_t msr_of[16] = { 0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70,
					    0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0 };

	(void)state;
	for (unsigned m = 0; m < 16; m++) {
		out(MCR, (uint8_t)(0x10 | m));
		assert_int_equal(in(MSR)&0xf0, msr_of[m]);
	}
	out(MCR, 0x10);
	in(MSR);
	out(MCR, 0x16);                  /* RTS, OUT1 */
	assert_int_equal(in(MSR), 0x51); /* delta CTS; RI's leading edge is none */
	assert_int_equal(in(MSR), 0x50);
	out(MCR, 0x10);
	assert_int_equal(in(MSR), 0x05); /* delta CTS, trailing edge of RI */
	out(MCR, 0x00);
	assert_int_equal(in(MSR)&0xf0, 0xb0);
}

static void test_line_and_modem_interrupts(void **state)
{
	(void)state;
	out(IER, 0x0f);
	in(IIR);
	out(MCR, 0x10);
	write_text("12"); /* overrun, data, holding register empty, modem deltas: all four */
	assert_int_equal(in(IIR), 0x06);
	in(LSR);
	assert_int_equal(in(IIR), 0x04);
	in(DATA);
	assert_int_equal(in(IIR), 0x02);
	assert_int_equal(in(IIR), 0x00);
	in(MSR);
	assert_int_equal(in(IIR), 0x01);
	out(LCR, 0x40); /* a break, to ourselves */
	assert_int_equal(in(IIR), 0x06);
	assert_int_equal(in(LSR), 0x79);
	assert_int_equal(in(DATA), 0x00);
	assert_int_equal(in(LSR), 0x60);
	out(MCR, 0x08);
	in(MSR);
	assert_false(level);
}

/* Linux 6.1, size_fifo(). */
static unsigned linux_size_fifo(void)
{
	unsigned count;

	out(FCR, 0x07);
	out(MCR, 0x10);
	out(LCR, 0x80);
	out(DATA, 1);
	out(IER, 0);
	out(LCR, 0x03);
	for (count = 0; count < 256; count++)
		out(DATA, (uint8_t)count);
	for (count = 0; (in(LSR)&1) && count < 256; count++)
		assert_int_equal(in(DATA), count);
	out(MCR, 0);
	out(FCR, 0);
	out(LCR, 0);
	return count;
}

/* Linux 6.1, autoconfig(): it must find a 16550A, and no other relative of it. */
static void test_linux_autoconfig(void **state)
{
	uint8_t status1, status2;

	(void)state;
	out(IER, 0);
	assert_int_equal(in(IER)&0x0f, 0);
	out(IER, 0x0f);
	assert_int_equal(in(IER)&0x0f, 0x0f);
	out(IER, 0);
	out(MCR, 0x1a); /* loopback, OUT2, RTS */
	assert_int_equal(in(MSR)&0xf0, 0x90);
	out(MCR, 0);
	out(LCR, 0xbf);
	out(FCR, 0); /* EFR of others */
	out(LCR, 0);
	out(FCR, 0x01);
	assert_int_equal(in(IIR) >> 6, 3); /* 16550A */
	out(LCR, 0x80);
	assert_int_not_equal(in(IIR), 0); /* no 16650 */
	out(LCR, 0xbf);
	assert_int_not_equal(in(IIR), 0);
	out(LCR, 0);
	status1 = in(MCR);
	out(LCR, 0xe0);
	status2 = in(IIR);
	if (!((status2 ^ status1) & 0x10)) { /* no NatSemi: bit 4 does not follow MCR */
		out(LCR, 0);
		out(MCR, status1 ^ 0x10);
		out(LCR, 0xe0);
		status2 = in(IIR);
		out(LCR, 0);
		out(MCR, status1);
		assert_int_equal((status2 ^ status1) & 0x10, 0);
	}
	out(LCR, 0);
	out(FCR, 0x21); /* no 16750 */
	assert_int_equal(in(IIR) >> 5, 6);
	out(FCR, 0x01);
	out(LCR, 0x80);
	out(FCR, 0x21);
	assert_int_equal(in(IIR) >> 5, 6);
	out(LCR, 0);
	out(IER, 0x40); /* no XScale */
	assert_int_equal(in(IER)&0x40, 0);
	assert_int_equal(linux_size_fifo(), 16);
}

/* Linux 6.1, serial8250_do_startup(): neither the THRE nor the TXEN bug. */
static void test_linux_startup(void **state)
{
	(void)state;
	out(FCR, 0x01);
	out(FCR, 0x07);
	out(FCR, 0x00);
	in(LSR);
	in(DATA);
	in(IIR);
	in(MSR);
	out(LCR, 0x03);
	assert_int_equal(in(LSR)&0x60, 0x60);
	out(IER, 0x02);
	assert_int_equal(in(IIR)&1, 0);
	out(IER, 0);
	out(IER, 0x02);
	assert_int_equal(in(IIR)&1, 0); /* asserted again */
	out(IER, 0);
	out(MCR, 0x0b);
	out(IER, 0x02);
	assert_int_equal(in(LSR)&0x40, 0x40);
	assert_int_equal(in(IIR)&1, 0);
	out(IER, 0);
	assert_false(level);
}

static void test_random(void **state)
{
	(void)state;
	srand(4);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned r = (unsigned)rand();

		if (r % 4 < 2)
			out(r >> 4 & 7, (uint8_t)(r >> 8));
		else if (r % 4 == 2)
			in(r >> 4 & 7);
		else if (r & 16)
			serial_rx(&uart, (uint8_t)(r >> 8));
		else {
			nr_sent = 0;
			room = r >> 8 & 31;
			serial_tx_ready(&uart);
		}
		assert_true(uart.rx.count <= SERIAL_FIFO);
		assert_true(uart.tx_queue.count <= SERIAL_FIFO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_after_reset, setup),
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_transmit, setup),
		cmocka_unit_test_setup(test_thre_interrupt, setup),
		cmocka_unit_test_setup(test_back_pressure, setup),
		cmocka_unit_test_setup(test_transmit_overrun, setup),
		cmocka_unit_test_setup(test_no_cable, setup),
		cmocka_unit_test_setup(test_receive_without_fifo, setup),
		cmocka_unit_test_setup(test_receiver_has_room, setup),
		cmocka_unit_test_setup(test_receive_interrupt_off, setup),
		cmocka_unit_test_setup(test_receive_trigger, setup),
		cmocka_unit_test_setup(test_fifo_clear, setup),
		cmocka_unit_test_setup(test_out2_connects_the_interrupt, setup),
		cmocka_unit_test_setup(test_loopback, setup),
		cmocka_unit_test_setup(test_loopback_modem_lines, setup),
		cmocka_unit_test_setup(test_line_and_modem_interrupts, setup),
		cmocka_unit_test_setup(test_linux_autoconfig, setup),
		cmocka_unit_test_setup(test_linux_startup, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
