/* com1=pci on pretended configuration spaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/fakes.h"

/* The machine's ports. */
#define UMBRA_INSN_H
static uint32_t inl(uint16_t port);
static void outl(uint16_t port, uint32_t val);
#include "arch/x86_64/pcicfg.c"

/* After it: what they call. */
#include "arch/x86_64/uart_pci.c"

#define BDF(bus, dev, fn) ((bus) << 8 | (dev) << 3 | (fn))
#define SERIAL 0x07000200u
#define ETHERNET 0x02000000u
#define BRIDGE 0x06040000u

/* --- the pretended machine --- */

static struct function {
	unsigned bdf;
	uint32_t reg[64];
	bool everywhere; /* answers for all eight functions */
} machine[8];
static unsigned nr_functions;
static uint32_t address;
static unsigned nr_writes;

static struct function *at(void)
{
	unsigned bdf = address >> 8 & 0xffff;

	assert_true(address & 0x80000000);
	assert_int_equal(address & 3, 0);
	for (unsigned i = 0; i < nr_functions; i++)
		if (machine[i].bdf == (machine[i].everywhere ? bdf & ~7u : bdf))
			return &machine[i];
	return NULL;
}

static uint32_t inl(uint16_t port)
{
	assert_int_equal(port, 0xcfc);
	return at() ? at()->reg[(address & 0xfc) / 4] : 0xffffffff;
}

static void outl(uint16_t port, uint32_t val)
{
	if (port == 0xcf8) {
		address = val;
		return;
	}
	assert_int_equal(port, 0xcfc);
	assert_non_null(at());
	assert_int_equal(address & 0xfc, PCICFG_COMMAND);
	nr_writes++;
	/* The status word: ones clear. */
	at()->reg[1] = (at()->reg[1] & 0xffff0000 & ~val) | (val & 0xffff);
}

static void machine_new(void)
{
	memset(machine, 0, sizeof(machine));
	nr_functions = nr_writes = 0;
	fake_log_reset();
}

static struct function *add(unsigned bdf, uint32_t class)
{
	struct function *f = &machine[nr_functions++];

	f->bdf = bdf;
	f->reg[0] = 0x10001b36;
	f->reg[1] = 0x02900000;
	f->reg[2] = class;
	return f;
}

static struct function *add_bridge(unsigned bdf, unsigned secondary, unsigned subordinate)
{
	struct function *f = add(bdf, BRIDGE);

	f->reg[3] = 1 << 16;
	f->reg[6] = subordinate << 16 | secondary << 8 | bdf >> 8;
	return f;
}

static struct uart_config wanted(int bdf)
{
	return (struct uart_config){ .space = UART_PCI, .pci = bdf, .irq = -1, .baud = 9600 };
}

static void assert_found(int bdf, enum uart_space space, uint64_t addr, int found)
{
	struct uart_config cfg = wanted(bdf);
	const char *wrong = uart_pci_find(&cfg);

	if (wrong)
		fail_msg("expected %x, got: %s", (unsigned)found, wrong);
	assert_int_equal(cfg.space, space);
	assert_int_equal(cfg.addr, addr);
	assert_int_equal(cfg.pci, found);
	assert_int_equal(cfg.irq, -1);
	assert_int_equal(cfg.baud, 9600);
	assert_int_equal(cfg.stride, 0);
}

static void assert_none(int bdf, const char *said)
{
	struct uart_config cfg = wanted(bdf), before = cfg;
	const char *wrong = uart_pci_find(&cfg);

	assert_non_null(wrong);
	assert_string_equal(wrong, said);
	assert_memory_equal(&cfg, &before, sizeof(cfg));
	assert_int_equal(nr_writes, 0);
}

/* --- tests --- */

static void test_no_card(void **state)
{
	(void)state;
	machine_new();
	assert_none(UART_PCI_ANY, "no PCI serial card is there");
	assert_none(BDF(0, 3, 0), "no PCI device is there");
	add(BDF(0, 3, 0), ETHERNET)->reg[4] = 0xc001;
	add(BDF(0, 4, 0), 0x07010000)->reg[4] = 0xc101; /* a parallel port */
	add(BDF(0, 5, 0), SERIAL)->reg[3] = 1 << 16;    /* says it is a bridge */
	assert_none(UART_PCI_ANY, "no PCI serial card is there");
	assert_none(BDF(0, 5, 0), "no PCI device is there");
	add(BDF(0, 6, 0), SERIAL);
	assert_none(UART_PCI_ANY, "the firmware gave that card no address");
	assert_none(BDF(0, 6, 0), "the firmware gave that card no address");
	/* A device of one function, which answers for the others too, is not eight. */
	machine_new();
	add(BDF(0, 3, 0), ETHERNET)->everywhere = true;
	assert_int_equal(pcicfg_next(-1), BDF(0, 3, 0));
	assert_int_equal(pcicfg_next(BDF(0, 3, 0)), -1);
}

static void test_addresses(void **state)
{
	static const struct {
		uint32_t bar[6];
		enum uart_space space;
		uint64_t addr;
	} rows[] = {
		{ { 0xc041 }, UART_IO, 0xc040 },
		{ { 0, 0, 0xe001, 0xfe000000 }, UART_IO, 0xe000 },
		{ { 1, 0xfe0a0000 }, UART_MMIO, 0xfe0a0000 },
		{ { 0xfe0a0008, 0xc001 }, UART_MMIO, 0xfe0a0000 },
		{ { 0xfe0a0004, 0x3f, 0xc001 }, UART_MMIO, 0x3ffe0a0000 },
		{ { 0x00000004, 0x10, 0xc001 }, UART_MMIO, 0x1000000000 },
		{ { 0x00000004, 0, 0xc001 }, UART_IO, 0xc000 },
		{ { 0x10000001, 0xd001 }, UART_IO, 0xd000 },
		{ { 0, 0, 0, 0, 0, 0xfe0a0004 }, UART_MMIO, 0xfe0a0000 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct function *f;

		machine_new();
		f = add(BDF(0, 31, 0), SERIAL);
		memcpy(&f->reg[4], rows[i].bar, sizeof(rows[i].bar));
		f->reg[10] = 0xdead0000; /* behind the last: no upper half of an address */
		assert_found(UART_PCI_ANY, rows[i].space, rows[i].addr, BDF(0, 31, 0));
		assert_int_equal(f->reg[1], 0x02900403); /* the status is as it was */
	}
}

/* The first that has an address; another one by its place, whatever its class. */
static void test_which_card(void **state)
{
	(void)state;
	machine_new();
	add(BDF(0, 2, 0), SERIAL);
	add(BDF(0, 22, 0), ETHERNET)->reg[3] = 1 << 23;
	add(BDF(0, 22, 3), SERIAL)->reg[4] = 0xf0a1;
	add(BDF(0, 30, 0), 0x11800000)->reg[4] = 0xfe0a0004;
	add(BDF(3, 0, 0), SERIAL)->reg[4] = 0xc001;
	assert_found(UART_PCI_ANY, UART_IO, 0xf0a0, BDF(0, 22, 3));
	assert_non_null(strstr(fake_log, "PCI 00:16.3, port 0xf0a0"));
	assert_found(BDF(3, 0, 0), UART_IO, 0xc000, BDF(3, 0, 0));
	assert_found(BDF(0, 30, 0), UART_MMIO, 0xfe0a0000, BDF(0, 30, 0));
}

/* No rate is asked for: the usual one, which a UART in memory has from the firmware. */
static void test_rate(void **state)
{
	struct uart_config cfg = wanted(UART_PCI_ANY);
	struct function *f;

	(void)state;
	machine_new();
	f = add(BDF(0, 4, 0), SERIAL);
	f->reg[4] = 0xc001;
	cfg.baud = 0;
	assert_null(uart_pci_find(&cfg));
	assert_int_equal(cfg.baud, 115200);
	f->reg[4] = 0xfe0a0000;
	cfg = wanted(UART_PCI_ANY);
	cfg.baud = 0;
	assert_null(uart_pci_find(&cfg));
	assert_int_equal(cfg.baud, 0);
}

/* Bridges on the way are opened, others are not; those that decode already are not written. */
static void test_behind_bridges(void **state)
{
	struct function *far, *near, *other, *open;

	(void)state;
	machine_new();
	far = add_bridge(BDF(0, 1, 0), 1, 4);
	other = add_bridge(BDF(0, 2, 0), 5, 9);
	near = add_bridge(BDF(1, 0, 0), 2, 2);
	open = add_bridge(BDF(1, 7, 0), 2, 2);
	open->reg[1] = 0x02900107;
	add(BDF(2, 9, 0), SERIAL)->reg[4] = 0xc001;
	assert_found(UART_PCI_ANY, UART_IO, 0xc000, BDF(2, 9, 0));
	assert_int_equal(far->reg[1], 0x02900003);
	assert_int_equal(near->reg[1], 0x02900003);
	assert_int_equal(open->reg[1], 0x02900107);
	assert_int_equal(other->reg[1], 0x02900000);
	assert_int_equal(nr_writes, 3);
}

/* A root of its own, to which no bridge leads. */
static void test_second_root(void **state)
{
	(void)state;
	machine_new();
	add(BDF(0, 0, 0), 0x06000000);
	add(BDF(0xff, 31, 0), SERIAL)->reg[4] = 0xfff9;
	assert_found(UART_PCI_ANY, UART_IO, 0xfff8, BDF(0xff, 31, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_card),     cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_which_card),  cmocka_unit_test(test_behind_bridges),
		cmocka_unit_test(test_second_root), cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
