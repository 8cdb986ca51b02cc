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
static uint8_t mmio_read8(const volatile void *reg);
static uint32_t mmio_read32(const volatile void *reg);
static void mmio_write8(volatile void *reg, uint8_t val);
static void mmio_write32(volatile void *reg, uint32_t val);
static void cpu_relax(void)
{
}
#include "arch/x86_64/uart.c"

#define BASE 0x2f8
#define MMIO ((volatile void *)0x7000) /* never touched */

/* --- the pretended device --- */

static struct {
	bool there, scratch, fifo, loop_only, stuck;
	unsigned stride; /* in memory: 1 or 4; 0: at ports */
	bool memory;     /* no UART: keeps what is written, whatever the register */
	uint8_t reg[8], dll, dlm, fcr;
	unsigned sent;
	uint8_t last;
	unsigned rx_left;
	unsigned reads;
	uint8_t kept[64];
} dev;

static uint8_t device_in(unsigned reg)
{
	dev.reads++;
	if (!dev.there || reg > 7)
		return 0xff;
	switch (reg) {
	case UART_DATA:
	case UART_IER:
		if (dev.reg[UART_LCR] & LCR_DLAB)
			return reg ? dev.dlm : dev.dll;
		if (reg == UART_IER)
			return dev.reg[reg];
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

static void device_out(unsigned reg, uint8_t val)
{
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

static uint8_t inb(uint16_t port)
{
	return dev.stride ? 0xff : device_in(port - BASE);
}

static void outb(uint16_t port, uint8_t val)
{
	if (!dev.stride)
		device_out(port - BASE, val);
}

/* The register at an address; 8: none, as a device with another stride has it. */
static unsigned mmio_reg(const volatile void *reg, unsigned width)
{
	uintptr_t offset = (uintptr_t)reg - (uintptr_t)MMIO;

	assert_true(offset + width <= 32); /* what uart_mmio_bytes() says */
	return width == dev.stride && offset % width == 0 ? (unsigned)(offset / width) : 8;
}

static uint8_t mmio_read8(const volatile void *reg)
{
	if (dev.memory)
		return dev.kept[(uintptr_t)reg - (uintptr_t)MMIO];
	return device_in(mmio_reg(reg, 1));
}

static uint32_t mmio_read32(const volatile void *reg)
{
	uint32_t val;

	if (dev.memory) {
		memcpy(&val, &dev.kept[(uintptr_t)reg - (uintptr_t)MMIO], sizeof(val));
		return val;
	}
	return 0xabcdef00 | device_in(mmio_reg(reg, 4)); /* only the low byte is the register's */
}

static void mmio_write8(volatile void *reg, uint8_t val)
{
	if (dev.memory)
		dev.kept[(uintptr_t)reg - (uintptr_t)MMIO] = val;
	else
		device_out(mmio_reg(reg, 1), val);
}

static void mmio_write32(volatile void *reg, uint32_t val)
{
	assert_int_equal(val & 0xffffff00, 0);
	if (dev.memory)
		memcpy(&dev.kept[(uintptr_t)reg - (uintptr_t)MMIO], &val, sizeof(val));
	else
		device_out(mmio_reg(reg, 4), (uint8_t)val);
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

	uart_init(&u,
		  &(struct uart_config){ .space = UART_IO, .addr = BASE, .irq = 3, .baud = baud },
		  NULL);
	return u;
}

static struct uart open_mmio(unsigned stride, uint32_t baud)
{
	struct uart u;

	uart_init(&u,
		  &(struct uart_config){
			  .space = UART_MMIO, .addr = 0xfe034000, .stride = stride, .baud = baud },
		  MMIO);
	return u;
}

/* --- com1= --- */

static void test_grammar(void **state)
{
	static const struct {
		const char *spec;
		enum uart_space space;
		uint64_t addr;
		int irq;
		uint32_t baud;
		unsigned stride;
		int pci;
	} rows[] = {
		{ "", UART_IO, 0x3f8, 4, 115200, 0, 0 },
		{ "115200", UART_IO, 0x3f8, 4, 115200, 0, 0 },
		{ "9600", UART_IO, 0x3f8, 4, 9600, 0, 0 },
		{ "1", UART_IO, 0x3f8, 4, 1, 0, 0 },
		{ "com1", UART_IO, 0x3f8, 4, 115200, 0, 0 },
		{ "com2", UART_IO, 0x2f8, 3, 115200, 0, 0 },
		{ "com3,57600", UART_IO, 0x3e8, 4, 57600, 0, 0 },
		{ "com4,300", UART_IO, 0x2e8, 3, 300, 0, 0 },
		{ "0x2f8,9600", UART_IO, 0x2f8, 3, 9600, 0, 0 },
		{ "0xe000", UART_IO, 0xe000, -1, 115200, 0, 0 },
		{ "0xfff8,110", UART_IO, 0xfff8, -1, 110, 0, 0 },
		{ "none", UART_NONE, 0x3f8, 4, 115200, 0, 0 },
		{ "mmio32,0xfe034000", UART_MMIO, 0xfe034000, -1, 0, 4, 0 },
		{ "mmio32,fe034000", UART_MMIO, 0xfe034000, -1, 0, 4, 0 },
		{ "mmio32,10000000", UART_MMIO, 0x10000000, -1, 0, 4, 0 },
		{ "mmio32,0x1fe034000,9600", UART_MMIO, 0x1fe034000, -1, 9600, 4, 0 },
		{ "mmio32,0xfffffffffffe0", UART_MMIO, 0xfffffffffffe0, -1, 0, 4, 0 },
		{ "mmio,0xfed00001,57600", UART_MMIO, 0xfed00001, -1, 57600, 1, 0 },
		{ "pci", UART_PCI, 0, -1, 0, 0, UART_PCI_ANY },
		{ "pci,19200", UART_PCI, 0, -1, 19200, 0, UART_PCI_ANY },
		{ "pci,00:1f.3", UART_PCI, 0, -1, 0, 0, 0x00fb },
		{ "pci,ff:1F.7,1200", UART_PCI, 0, -1, 1200, 0, 0xffff },
	};
	struct uart_config cfg;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool good = uart_parse(rows[i].spec, &cfg);

		if (!good || cfg.space != rows[i].space || cfg.addr != rows[i].addr ||
		    cfg.irq != rows[i].irq || cfg.baud != rows[i].baud ||
		    cfg.stride != rows[i].stride || cfg.pci != rows[i].pci)
			fail_msg(
				"com1=%s: got %d, space %d, 0x%llx, irq %d, %u baud, stride %u, PCI %x",
				rows[i].spec, good, cfg.space, (unsigned long long)cfg.addr,
				cfg.irq, cfg.baud, cfg.stride, (unsigned)cfg.pci);
	}
}

static void test_grammar_wrong(void **state)
{
	static const char *const specs[] = { "com0",
					     "com5",
					     "com",
					     "com2,",
					     "com2,0",
					     "com2,0x10",
					     "com2,230400",
					     "com2,9600,8n1",
					     ",9600",
					     "0",
					     "0x0",
					     "0x",
					     "0xfff9",
					     "0x100000000000003f8",
					     "9600x",
					     "fast",
					     "none,9600",
					     "mmio",
					     "mmio32",
					     "mmio32,",
					     "mmio32,0",
					     "mmio32,9600x",
					     "mmio16,0xfe034000",
					     "mmio32,0xfe034002",
					     "mmio32,0xfffffffffffe4",
					     "mmio32,0x10000000000000000",
					     "mmio32,11111111111111111",
					     "mmio,-1",
					     "mmio32,0xfe034000,",
					     "mmio32,0xfe034000,0",
					     "mmio32,0xfe034000,9600,8n1",
					     "115200,mmio32,0xfe034000",
					     "pci,",
					     "pci,00:1f",
					     "pci,100:00.0",
					     "pci,00:20.0",
					     "pci,00:00.8",
					     "pci,00.00:0",
					     "pci,:.",
					     "pci,00:1f.3,",
					     "pci,00:1f.3,fast",
					     "pci,9600,00:1f.3",
					     "pci,00:1f.3,9600,1",
					     "pcie",
					     ",,,,,," };
	struct uart_config cfg;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++)
		if (uart_parse(specs[i], &cfg) || cfg.space != UART_IO || cfg.addr != 0x3f8 ||
		    cfg.irq != 4 || cfg.baud != 115200 || cfg.stride || cfg.pci)
			fail_msg("com1=%s: expected a refusal and COM1", specs[i]);
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
	dev.there = true;
	uart_init(&u, &(struct uart_config){ .space = UART_NONE, .addr = BASE, .baud = 9600 },
		  NULL);
	assert_false(u.present);
	uart_init(&u, &(struct uart_config){ .space = UART_PCI, .addr = BASE, .baud = 9600 }, NULL);
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

/* In memory: the same device, a register every byte or every four. */
static void test_in_memory(void **state)
{
	(void)state;
	for (unsigned stride = 1; stride <= 4; stride += 3) {
		struct uart u;

		device_new();
		dev.stride = stride;
		assert_int_equal(uart_mmio_bytes(&(struct uart_config){ .stride = stride }),
				 8 * stride);
		u = open_mmio(stride, 9600);
		assert_true(u.present);
		assert_int_equal(dev.dll | dev.dlm << 8, 12);
		assert_int_equal(dev.reg[UART_LCR], LCR_8N1);
		assert_int_equal(dev.reg[UART_IER], 0);
		assert_int_equal(u.tx_depth, 16);
		dev.rx_left = 1;
		assert_int_equal(uart_rx(&u), 'r');
		assert_int_equal(uart_rx(&u), -1);
		uart_tx_wait(&u, 'y');
		assert_int_equal(dev.last, 'y');
		assert_true(uart_tx_idle(&u));
		/* The wrong stride, the right one found by trying. */
		assert_false(open_mmio(5 - stride, 9600).present);
		u = open_mmio(0, 9600);
		assert_true(u.present);
		assert_int_equal(u.stride, stride);
	}
	assert_int_equal(uart_mmio_bytes(&(struct uart_config){ 0 }), 32);
}

/* Without a rate, what the firmware has set stays; where it set none, the standard one. */
static void test_kept_rate(void **state)
{
	static const uint16_t rows[][2] = { { 26, 26 }, { 0, 1 }, { 0xffff, 1 }, { 0x123, 0x123 } };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		device_new();
		dev.stride = 4;
		dev.dll = (uint8_t)rows[i][0];
		dev.dlm = (uint8_t)(rows[i][0] >> 8);
		assert_true(open_mmio(4, 0).present);
		assert_int_equal(dev.dll | dev.dlm << 8, rows[i][1]);
		assert_int_equal(dev.reg[UART_LCR], LCR_8N1);
	}
}

/* Addresses where no UART is: nothing at all, and memory that keeps what is written to it. */
static void test_no_uart_in_memory(void **state)
{
	uint8_t before[sizeof(dev.kept)];
	struct uart u;

	(void)state;
	device_new();
	dev.stride = 4;
	dev.there = false;
	assert_false(open_mmio(4, 0).present);
	assert_false(open_mmio(0, 0).present);
	uart_init(&u, &(struct uart_config){ .space = UART_MMIO, .stride = 4 }, NULL);
	assert_false(u.present);

	dev.memory = true;
	for (unsigned i = 0; i < sizeof(dev.kept); i++)
		before[i] = dev.kept[i] = (uint8_t)(i * 5);
	assert_false(open_mmio(1, 9600).present);
	assert_memory_equal(dev.kept, before, sizeof(before));
	assert_false(open_mmio(0, 9600).present);
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

	device_new();
	dev.stride = 4;
	u = open_mmio(4, 0);
	assert_true(u.present);
	dev.stuck = true;
	dev.reads = 0;
	uart_tx_wait(&u, 'x');
	assert_true(dev.reads > 10000 && dev.reads < 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),           cmocka_unit_test(test_grammar_wrong),
		cmocka_unit_test(test_sets_up),           cmocka_unit_test(test_absent),
		cmocka_unit_test(test_old_8250),          cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_in_memory),         cmocka_unit_test(test_kept_rate),
		cmocka_unit_test(test_no_uart_in_memory), cmocka_unit_test(test_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
