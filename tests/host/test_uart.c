/* com1='s grammar, and the UART driver on a pretended 16550. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The driver's port accesses come here instead of to the machine. */
#define UMBRA_INSN_H
static uint8_t inb(uint16_t port);
static void outb(uint16_t port, uint8_t val);
static void cpu_relax(void)
{
}
#include "arch/x86_64/uart.c"

#define BASE 0x2f8

/* --- the pretended device --- */

static struct {
	bool there, scratch, fifo, loop_only, stuck;
	uint8_t reg[8], dll, dlm, fcr;
	unsigned sent;
	uint8_t last;
	unsigned rx_left;
	unsigned reads;
} dev;

static uint8_t inb(uint16_t port)
{
	unsigned reg = port - BASE;

	dev.reads++;
	if (!dev.there || reg > 7)
		return 0xff;
	switch (reg) {
	case UART_DATA:
		dev.rx_left -= dev.rx_left > 0;
		return 'r';
	case UART_IIR:
		return (uint8_t)((dev.fifo && (dev.fcr & 1) ? IIR_FIFO : 0) | IIR_NONE);
	case UART_LSR:
		return (uint8_t)((dev.stuck ? 0 : LSR_TX_READY | LSR_TX_IDLE) |
				 (dev.rx_left ? LSR_RX : 0));
	case UART_MSR:
		if (dev.reg[UART_MCR] & MCR_LOOP)
			return (uint8_t)((dev.reg[UART_MCR] & 2 ? 0x10 : 0) |
					 (dev.reg[UART_MCR] & 8 ? 0x80 : 0));
		return 0xb0;
	case UART_SCR:
		return dev.scratch ? dev.reg[reg] : 0xff;
	default:
		return dev.reg[reg];
	}
}

static void outb(uint16_t port, uint8_t val)
{
	unsigned reg = port - BASE;

	if (!dev.there || reg > 7)
		return;
	if ((dev.reg[UART_LCR] & LCR_DLAB) && reg < 2) {
		*(reg ? &dev.dlm : &dev.dll) = val;
	} else if (reg == UART_DATA) {
		dev.sent++;
		dev.last = val;
	} else if (reg == UART_FCR) {
		dev.fcr = val;
	} else {
		dev.reg[reg] = val;
	}
}

static void device_new(void)
{
	memset(&dev, 0, sizeof(dev));
	dev.there = dev.scratch = dev.fifo = true;
	dev.reg[UART_IER] = 0x0f; /* as the firmware left it */
}

static struct uart open_at(uint32_t baud)
{
	struct uart u;

	uart_init(&u, &(struct uart_config){ BASE, 3, baud });
	return u;
}

/* --- com1= --- */

static void test_grammar(void **state)
{
	static const struct {
		const char *spec;
		bool good;
		uint16_t port;
		int irq;
		uint32_t baud;
	} rows[] = {
		{ "", true, 0x3f8, 4, 115200 },
		{ "115200", true, 0x3f8, 4, 115200 },
		{ "9600", true, 0x3f8, 4, 9600 },
		{ "1", true, 0x3f8, 4, 1 },
		{ "com1", true, 0x3f8, 4, 115200 },
		{ "com2", true, 0x2f8, 3, 115200 },
		{ "com3,57600", true, 0x3e8, 4, 57600 },
		{ "com4,300", true, 0x2e8, 3, 300 },
		{ "0x2f8,9600", true, 0x2f8, 3, 9600 },
		{ "0xe000", true, 0xe000, -1, 115200 },
		{ "0xfff8,110", true, 0xfff8, -1, 110 },
		{ "none", true, 0, 4, 115200 },
		{ "com0", false, 0x3f8, 4, 115200 },
		{ "com5", false, 0x3f8, 4, 115200 },
		{ "com", false, 0x3f8, 4, 115200 },
		{ "com2,", false, 0x3f8, 4, 115200 },
		{ "com2,0", false, 0x3f8, 4, 115200 },
		{ "com2,0x10", false, 0x3f8, 4, 115200 },
		{ "com2,230400", false, 0x3f8, 4, 115200 },
		{ "com2,9600,8n1", false, 0x3f8, 4, 115200 },
		{ ",9600", false, 0x3f8, 4, 115200 },
		{ "0", false, 0x3f8, 4, 115200 },
		{ "0x0", false, 0x3f8, 4, 115200 },
		{ "0x", false, 0x3f8, 4, 115200 },
		{ "0xfff9", false, 0x3f8, 4, 115200 },
		{ "0x100000000000003f8", false, 0x3f8, 4, 115200 },
		{ "9600x", false, 0x3f8, 4, 115200 },
		{ "fast", false, 0x3f8, 4, 115200 },
		{ "none,9600", false, 0x3f8, 4, 115200 },
	};
	struct uart_config cfg;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool good = uart_parse(rows[i].spec, &cfg);

		if (good != rows[i].good || cfg.port != rows[i].port || cfg.irq != rows[i].irq ||
		    cfg.baud != rows[i].baud)
			fail_msg("com1=%s: got %d, port 0x%x, irq %d, %u baud", rows[i].spec, good,
				 cfg.port, cfg.irq, cfg.baud);
	}
}

/* --- the driver --- */

static void test_sets_up(void **state)
{
	static const struct {
		uint32_t baud;
		uint16_t divisor;
	} rows[] = { { 115200, 1 }, { 57600, 2 },  { 9600, 12 },  { 300, 384 },
		     { 110, 1047 }, { 1, 0xffff }, { 100000, 1 }, { 14400, 8 } };
	struct uart u;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		device_new();
		u = open_at(rows[i].baud);
		assert_true(u.present);
		assert_int_equal(dev.dll | dev.dlm << 8, rows[i].divisor);
		assert_int_equal(dev.reg[UART_LCR], LCR_8N1);
		assert_int_equal(dev.reg[UART_MCR], MCR_DTR_RTS_OUT2);
		assert_int_equal(dev.reg[UART_IER], 0);
		assert_int_equal(u.tx_depth, 16);
	}
}

static void test_absent(void **state)
{
	struct uart u;

	(void)state;
	device_new();
	dev.there = false;
	u = open_at(9600);
	assert_false(u.present);
	assert_int_equal(uart_rx(&u), -1);
	assert_true(uart_tx_idle(&u));
	uart_tx_wait(&u, 'x');
	uart_init(&u, &(struct uart_config){ 0, 4, 9600 });
	assert_false(u.present);
}

static void test_old_8250(void **state)
{
	struct uart u;

	(void)state;
	device_new();
	dev.scratch = dev.fifo = false;
	u = open_at(9600);
	assert_true(u.present);
	assert_int_equal(u.tx_depth, 1);
}

static void test_bytes(void **state)
{
	struct uart u;

	(void)state;
	device_new();
	u = open_at(9600);
	assert_int_equal(uart_rx(&u), -1);
	dev.rx_left = 1;
	assert_int_equal(uart_rx(&u), 'r');
	assert_int_equal(uart_rx(&u), -1);
	uart_tx_wait(&u, 'y');
	assert_int_equal(dev.sent, 1);
	assert_int_equal(dev.last, 'y');
	uart_interrupts(&u, true, false);
	assert_int_equal(dev.reg[UART_IER], IER_RX);
	uart_interrupts(&u, true, true);
	assert_int_equal(dev.reg[UART_IER], IER_RX | IER_TX);
	assert_false(uart_interrupt_pending(&u));
}

/* A transmitter that never gets ready, and a receiver that never ends, stop nobody. */
static void test_stuck(void **state)
{
	struct uart u;

	(void)state;
	device_new();
	dev.rx_left = UINT32_MAX;
	u = open_at(115200);
	assert_true(u.present);
	dev.stuck = true;
	dev.reads = 0;
	uart_tx_wait(&u, 'x');
	assert_true(dev.reads > 100 && dev.reads < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar), cmocka_unit_test(test_sets_up),
		cmocka_unit_test(test_absent),  cmocka_unit_test(test_old_8250),
		cmocka_unit_test(test_bytes),   cmocka_unit_test(test_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
