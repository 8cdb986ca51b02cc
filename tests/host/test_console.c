/* The console on a pretended 16550A that takes a byte's time for each byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/trap.h"
#include "tests/host/fakes.h"

/* The machine below the console; and the real functions beside the stand-ins of fakes.c. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
#define UMBRA_SMP_H
#define UMBRA_IOAPIC_H
static uint8_t inb(uint16_t port);
static void outb(uint16_t port, uint8_t val);
static uint64_t irq_save(void);
static void irq_restore(uint64_t flags);
static void cpu_relax(void)
{
}
static struct cpu {
	bool work_pending;
	uint64_t rounds;
} cpu;
#define boot_cpu cpu
static struct cpu *this_cpu(void)
{
	return &cpu;
}
static void cpu_kick(struct cpu *c)
{
	c->work_pending = true;
}
static int ioapic_route_isa(unsigned irq, unsigned vector);
static uint8_t mmio_read8(const volatile void *reg);
static uint32_t mmio_read32(const volatile void *reg);
static void mmio_write8(volatile void *reg, uint8_t val);
static void mmio_write32(volatile void *reg, uint32_t val);
#define console_try_putc real_console_try_putc
#define console_line_open real_console_line_open
#define console_write real_console_write
#define console_getc real_console_getc
#define console_flush real_console_flush
#define console_fresh_line real_console_fresh_line
#define serial_line_open real_serial_line_open
#define serial_line_close real_serial_line_close
#define serial_line_try_putc real_serial_line_try_putc
#define serial_line_queued real_serial_line_queued
#define serial_line_tell real_serial_line_tell
#define serial_line_getc real_serial_line_getc
#define serial_line_has_input real_serial_line_has_input
#define serial_line_overrun real_serial_line_overrun
#define serial_line_panic real_serial_line_panic
#define console_queued real_console_queued
#define console_tell real_console_tell
#define console_may_hold real_console_may_hold
#include "arch/x86_64/uart.c"

/* After it: the line's own names hide some of the driver's. */
#include "arch/x86_64/serial_line.c"

#include "arch/x86_64/console.c"

#define BASE 0x3f8
#define MMIO ((volatile void *)0x7000) /* of 32-bit registers; never touched */
#define ACCESS_NS 1000                 /* a port access on the LPC bus */
#define BYTE_NS (10 * NS_PER_SEC / 115200)

/* --- the pretended device --- */

static struct {
	uint8_t ier, lcr, mcr, scr;
	uint8_t rx_fifo[16];
	unsigned rx_count, lost;
	unsigned tx_count; /* in the FIFO, without the one that is being shifted out */
	uint64_t tx_end;   /* when the shifted one is out; 0: idle */
	bool thre;         /* the transmitter's interrupt */
	bool lazy;         /* turning its interrupt on raises none for an idle transmitter */
	uint64_t rx_next;  /* when the other side's next byte is here */
	unsigned rx_to_come;
	uint8_t rx_byte;
	char out[65536];
	size_t nr_out;
	bool irq_routed, irq_lost, line, edge, overrun;
	bool in_memory;
} dev;

/* What com1=pci finds, and what the text screen shows. */
static struct uart_config pci_place;
static const char *pci_wrong;
static char screen[256];

static void (*handler)(void);
static bool irqs_on;

static void transmitter(void)
{
	while (dev.tx_end && dev.tx_end <= fake_now_ns) {
		if (!dev.tx_count) {
			dev.tx_end = 0;
			return;
		}
		dev.tx_end += BYTE_NS;
		if (!--dev.tx_count)
			dev.thre = true;
	}
}

static void receiver(void)
{
	while (dev.rx_to_come && dev.rx_next <= fake_now_ns) {
		if (dev.rx_count == sizeof(dev.rx_fifo)) {
			dev.lost++;
			dev.overrun = true;
		} else
			dev.rx_fifo[dev.rx_count++] = dev.rx_byte;
		dev.rx_byte++;
		dev.rx_to_come--;
		dev.rx_next += BYTE_NS;
	}
}

static bool cause_rx(void)
{
	return (dev.ier & IER_RX) && dev.rx_count;
}

static bool cause_tx(void)
{
	return (dev.ier & IER_TX) && dev.thre;
}

/* Let time pass at the device; note edges of its interrupt line. */
static void device_step(uint64_t ns)
{
	bool asks;

	fake_now_ns += ns;
	transmitter();
	receiver();
	asks = (dev.mcr & 8) && (cause_rx() || cause_tx());
	dev.edge |= asks && !dev.line;
	dev.line = asks;
}

static uint8_t device_in(unsigned reg)
{
	uint8_t val;

	switch (reg) {
	case UART_DATA:
		if (!dev.rx_count)
			return 0;
		val = dev.rx_fifo[0];
		memmove(dev.rx_fifo, dev.rx_fifo + 1, --dev.rx_count);
		return val;
	case UART_IER:
		return dev.ier;
	case UART_IIR:
		if (cause_rx())
			return IIR_FIFO | 4;
		if (!cause_tx())
			return IIR_FIFO | IIR_NONE;
		dev.thre = false;
		return IIR_FIFO | 2;
	case UART_LSR:
		val = dev.overrun ? LSR_OVERRUN : 0;
		dev.overrun = false;
		return (uint8_t)(val | (dev.rx_count ? LSR_RX : 0) |
				 (dev.tx_count ? 0 : LSR_TX_READY) |
				 (dev.tx_end ? 0 : LSR_TX_IDLE));
	case UART_SCR:
		return dev.scr;
	case UART_MCR:
		return dev.mcr;
	case UART_MSR:
		return (uint8_t)(dev.mcr & MCR_LOOP ? (dev.mcr & 2) << 3 | (dev.mcr & 8) << 4 : 0);
	default:
		return 0;
	}
}

static void device_out(unsigned reg, uint8_t val)
{
	if (reg < 2 && (dev.lcr & LCR_DLAB))
		return;
	switch (reg) {
	case UART_DATA:
		dev.thre = false;
		assert_true(dev.tx_count < 16); /* else a byte is lost */
		dev.out[dev.nr_out++] = (char)val;
		if (dev.tx_end) {
			dev.tx_count++;
		} else {
			dev.tx_end = fake_now_ns + BYTE_NS;
			dev.thre = true;
		}
		break;
	case UART_IER:
		if ((val & ~dev.ier & IER_TX) && !dev.tx_count)
			dev.thre = !dev.lazy;
		dev.ier = val;
		break;
	case UART_LCR:
		dev.lcr = val;
		break;
	case UART_MCR:
		dev.mcr = val;
		break;
	case UART_SCR:
		dev.scr = val;
		break;
	}
}

static uint8_t access_in(unsigned reg, bool in_memory)
{
	uint8_t val = dev.in_memory == in_memory ? device_in(reg) : 0xff;

	device_step(ACCESS_NS);
	return val;
}

static void access_out(unsigned reg, uint8_t val, bool in_memory)
{
	if (dev.in_memory == in_memory)
		device_out(reg, val);
	device_step(ACCESS_NS);
}

static uint8_t inb(uint16_t port)
{
	return access_in(port - BASE, false);
}

static void outb(uint16_t port, uint8_t val)
{
	access_out(port - BASE, val, false);
}

static uint32_t mmio_read32(const volatile void *reg)
{
	return access_in((unsigned)((uintptr_t)reg - (uintptr_t)MMIO) / 4, true);
}

static void mmio_write32(volatile void *reg, uint32_t val)
{
	access_out((unsigned)((uintptr_t)reg - (uintptr_t)MMIO) / 4, (uint8_t)val, true);
}

static uint8_t mmio_read8(const volatile void *reg)
{
	(void)reg;
	return 0xff;
}

static void mmio_write8(volatile void *reg, uint8_t val)
{
	(void)reg;
	(void)val;
}

const char *uart_pci_find(struct uart_config *cfg)
{
	if (!pci_wrong)
		*cfg = pci_place;
	return pci_wrong;
}

void vga_line(const char *before, const char *text)
{
	snprintf(screen, sizeof(screen), "%s%s", before, text);
}

/* --- the pretended processor --- */

static void take_interrupt(void)
{
	while (irqs_on && dev.irq_routed && !dev.irq_lost && dev.edge) {
		dev.edge = false;
		irqs_on = false;
		handler();
		irqs_on = true;
	}
}

static uint64_t irq_save(void)
{
	bool was = irqs_on;

	irqs_on = false;
	return was;
}

static void irq_restore(uint64_t flags)
{
	irqs_on = flags;
	take_interrupt();
}

void trap_set_handler(unsigned vector, void (*fn)(void))
{
	assert_int_equal(vector, TRAP_ISA + 4);
	handler = fn;
}

static int ioapic_route_isa(unsigned irq, unsigned vector)
{
	assert_int_equal(irq, 4);
	assert_int_equal(vector, TRAP_ISA + 4);
	return dev.irq_routed ? 0 : -19;
}

/* The guests run, or the processor is halted: interrupts and timers come when they do. */
static void idle(uint64_t ns)
{
	for (uint64_t end = fake_now_ns + ns; fake_now_ns < end;) {
		device_step(ACCESS_NS);
		take_interrupt();
		fake_clock_advance(0);
	}
}

/* --- fixture --- */

static void *map_at_mmio(hpa_t pa, uint64_t bytes)
{
	(void)bytes;
	return pa.v == 0x1fe034000 ? (void *)(uintptr_t)MMIO : NULL;
}

static void reset(void)
{
	fake_timers_reset();
	fake_log_reset();
	memset(&dev, 0, sizeof(dev));
	nr_lines = 0;
	line_open = false;
	map_registers = map_at_mmio;
	cpu = (struct cpu){ 0 };
	irqs_on = false;
	pci_wrong = NULL;
	screen[0] = '\0';
}

static void start(bool irq_routed)
{
	reset();
	dev.irq_routed = irq_routed;
	console_init("");
	assert_true(line.uart.present);
	console_start_interrupts();
	irqs_on = true;
}

static void other_side_sends(unsigned n)
{
	dev.rx_to_come = n;
	dev.rx_next = fake_now_ns;
	dev.rx_byte = 0;
}

/* All n bytes that were sent are in the ring, in order. */
static void assert_received(unsigned n)
{
	if (dev.lost)
		fail_msg("%u of %u bytes were lost in the UART", dev.lost, n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(console_getc(), i & 0xff);
	assert_int_equal(console_getc(), -1);
}

/* n bytes of text, and after waiting what came out must be that text. */
static void write_lines(unsigned n)
{
	static const char text[] = "0123456789abcdef\n";

	for (unsigned i = 0; i < n; i++)
		console_write(text, sizeof(text) - 1);
}

static void assert_sent(unsigned count)
{
	static const char text[] = "0123456789abcdef\r\n";

	assert_int_equal(dev.nr_out, count * (sizeof(text) - 1));
	for (unsigned i = 0; i < count; i++)
		assert_memory_equal(dev.out + i * (sizeof(text) - 1), text, sizeof(text) - 1);
}

/* --- tests --- */

static void test_output_by_interrupts(void **state)
{
	(void)state;
	for (unsigned lazy = 0; lazy < 2; lazy++) {
		start(true);
		dev.lazy = lazy;
		write_lines(100);
		idle(110 * 18 * BYTE_NS);
		assert_sent(100);
		/* And once more from rest: a UART that raises no interrupt when asked to. */
		write_lines(1);
		idle(20 * BYTE_NS);
		assert_sent(101);
		assert_false(dev.ier & IER_TX);
	}
}

/* More than the ring holds: it is drained by polling, and nothing that comes in is lost. */
static void test_input_while_the_ring_is_full(void **state)
{
	(void)state;
	start(true);
	write_lines(SERIAL_LINE_TX / 18);
	other_side_sends(2000);
	write_lines(200);
	idle(2000 * BYTE_NS);
	assert_received(2000);
	idle(SERIAL_LINE_TX * BYTE_NS);
	assert_sent(SERIAL_LINE_TX / 18 + 200);
}

static void test_input_by_interrupts(void **state)
{
	(void)state;
	start(true);
	other_side_sends(4000);
	idle(4010 * BYTE_NS);
	assert_true(cpu.work_pending);
	assert_received(4000);
}

/* The ring is full: the UART's interrupt is off until somebody reads. */
static void test_input_that_nobody_reads(void **state)
{
	(void)state;
	start(true);
	other_side_sends(SERIAL_LINE_RX + 10);
	idle((SERIAL_LINE_RX + 20) * BYTE_NS);
	assert_false(dev.ier & IER_RX);
	assert_int_equal(dev.lost, 0); /* ten wait in its FIFO */
	for (unsigned i = 0; i < SERIAL_LINE_RX + 10; i++) {
		assert_int_equal(console_getc(), i & 0xff);
		idle(ACCESS_NS);
	}
	assert_int_equal(console_getc(), -1);
}

/* No interrupt is known for the port: the timer must be quick enough for the line. */
static void test_polled_by_timer(void **state)
{
	(void)state;
	start(false);
	assert_non_null(strstr(fake_log, "it is polled"));
	other_side_sends(2000);
	idle(2020 * BYTE_NS);
	assert_received(2000);
	write_lines(200);
	idle(200 * 18 * BYTE_NS * 3 / 2);
	assert_sent(200);
}

/* Routed, and it never comes: another one is the port's. One that comes is not doubted. */
static void test_interrupt_that_does_not_come(void **state)
{
	(void)state;
	start(true);
	dev.irq_lost = true;
	idle(NS_PER_SEC);
	assert_string_equal(fake_log, ""); /* none was due */
	write_lines(100);
	idle(NS_PER_SEC);
	assert_non_null(strstr(fake_log, "interrupt 4 does not come"));
	assert_sent(100);
	assert_int_equal(dev.ier, 0);
	other_side_sends(2000);
	idle(2020 * BYTE_NS);
	assert_received(2000);

	for (unsigned lazy = 0; lazy < 2; lazy++) {
		start(true);
		dev.lazy = lazy;
		write_lines(1000);
		idle(NS_PER_SEC * 2);
		assert_string_equal(fake_log, "");
		assert_sent(1000);
		assert_false(line.timer.armed);
	}
}

static void test_flush_and_panic(void **state)
{
	(void)state;
	start(true);
	write_lines(50);
	console_flush();
	assert_sent(50);
	assert_int_equal(dev.tx_end, 0);

	write_lines(2);
	console_write("half a line", 11);
	irqs_on = false;
	line.lock.next++; /* whoever had it will not come back */
	console_panic();
	console_write("panic\n", 6);
	assert_int_equal(dev.ier, 0);
	assert_memory_equal(dev.out + dev.nr_out - 20, "half a line\r\npanic\r\n", 20);
}

/* What found no room in the UART either is lost there, and that is known, once. */
static void test_overrun(void **state)
{
	(void)state;
	start(true);
	other_side_sends(SERIAL_LINE_RX + 16);
	idle((SERIAL_LINE_RX + 20) * BYTE_NS);
	assert_false(serial_line_overrun(&line));
	other_side_sends(1);
	idle(2 * BYTE_NS);
	assert_int_equal(dev.lost, 1);
	assert_int_equal(console_getc(), 0);
	assert_true(serial_line_overrun(&line));
	assert_false(serial_line_overrun(&line));
}

/* Work is marked when no more than so many bytes wait, and once only. */
static void test_tell(void **state)
{
	(void)state;
	start(true);
	write_lines(100);
	console_tell(900);
	idle(700 * BYTE_NS);
	assert_true(console_queued() > 900);
	assert_false(cpu.work_pending);
	idle(300 * BYTE_NS);
	assert_true(cpu.work_pending);
	cpu.work_pending = false;
	idle(1000 * BYTE_NS);
	assert_false(cpu.work_pending);
	console_tell(900);
	assert_true(cpu.work_pending);
}

/* A second port, and whose it is. */
static void test_other_lines(void **state)
{
	static const char guest, namesake;
	struct serial_line *other;
	const char *why;

	(void)state;
	start(true);
	assert_null(serial_line_open("com1", &guest, "console", &why));
	assert_null(serial_line_open("com1,9600", &guest, "a guest", &why));
	assert_string_equal(why, "the port belongs to another");
	assert_ptr_equal(serial_line_open("0x3f8", &line, "console", &why), &line);
	assert_null(serial_line_open("mmio32,100000", &guest, "a guest", &why));
	assert_string_equal(why, "not an address that a device can have");
	assert_null(serial_line_open("none", &guest, "a guest", &why));
	assert_string_equal(why, "not a serial port and rate");

	reset();
	dev.in_memory = true;
	irqs_on = true;
	assert_null(serial_line_open("com2", &guest, "a guest", &why));
	assert_string_equal(why, "no UART answers there");
	other = serial_line_open("mmio32,0x1fe034000", &guest, "a guest", &why);
	assert_non_null(other);
	assert_ptr_equal(serial_line_open("mmio32,0x1fe034000", &guest, "a guest", &why), other);
	other_side_sends(2);
	idle(20 * BYTE_NS);
	assert_true(serial_line_has_input(other));
	assert_int_equal(serial_line_getc(other), 0);
	assert_int_equal(serial_line_getc(other), 1);
	assert_false(serial_line_has_input(other));
	assert_true(serial_line_try_putc(other, 'x'));
	idle(20 * BYTE_NS);
	assert_int_equal(dev.out[dev.nr_out - 1], 'x');
	/* Another with the same name is another. */
	assert_null(serial_line_open("mmio32,0x1fe034000", &namesake, "a guest", &why));
	assert_string_equal(why, "the port belongs to another");
	/* It is given back: what was to be sent still is, what comes is nobody's. */
	assert_true(serial_line_try_putc(other, 'y'));
	serial_line_close(other);
	other_side_sends(2);
	idle(20 * BYTE_NS);
	assert_int_equal(dev.out[dev.nr_out - 1], 'y');
	assert_ptr_equal(serial_line_open("mmio32,0x1fe034000", &namesake, "a guest", &why), other);
	assert_false(serial_line_has_input(other));
	other_side_sends(1);
	idle(20 * BYTE_NS);
	assert_true(serial_line_has_input(other));
	assert_null(serial_line_open("mmio32,0x1fe034000", &guest, "a guest", &why));
	timer_cancel(&other->timer);
	nr_lines = 0;
	kfree(other, sizeof(*other));
}

/* The console is a UART in memory: what was said before it is mapped comes then. */
static void test_in_memory(void **state)
{
	uint64_t bytes;
	hpa_t pa;

	(void)state;
	reset();
	dev.in_memory = true;
	console_init("mmio32,0x1fe034000");
	assert_false(line.uart.present);
	assert_true(console_wants_mmio(&pa, &bytes));
	assert_int_equal(pa.v, 0x1fe034000);
	assert_int_equal(bytes, 32);
	log_info("said early");
	console_write("lost\n", 5);
	assert_int_equal(dev.nr_out, 0);
	console_open_mmio(MMIO);
	assert_true(line.uart.present);
	assert_false(console_wants_mmio(&pa, &bytes));
	assert_memory_equal(dev.out, "said early\r\n", 12);
	assert_string_equal(screen, "");

	console_start_interrupts();
	assert_int_equal(line.mode, SERIAL_TIMER);
	irqs_on = true;
	other_side_sends(2000); /* at 115200, although the rate is not known */
	idle(2020 * BYTE_NS);
	assert_received(2000);
	dev.nr_out = 0;
	write_lines(100);
	idle(100 * 18 * BYTE_NS * 3 / 2);
	assert_sent(100);
	write_lines(10);
	console_panic();
	assert_sent(110);
}

/* What is asked for is not there: one line says so, on COM1 and on the text screen. */
static void test_falls_back(void **state)
{
	static const struct {
		const char *spec, *pci_wrong, *said;
		volatile void *mapped;
	} rows[] = {
		{ "pci", "no card", "com1=pci: no card; using COM1 at 115200", NULL },
		{ "mmio32,100000", NULL,
		  "com1=mmio32,100000: not an address that a device can have; using COM1 at 115200",
		  NULL },
		{ "mmio32,fe000000,9600", NULL,
		  "com1=mmio32,fe000000,9600: no UART answers there; using COM1 at 115200", MMIO },
		{ "0x2e8", NULL, "com1=0x2e8: no UART answers there; using COM1 at 115200", NULL },
		{ "rubbish", NULL, "com1=rubbish: not a serial port and rate; using COM1 at 115200",
		  NULL },
	};
	uint64_t bytes;
	hpa_t pa;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		reset();
		pci_wrong = rows[i].pci_wrong;
		console_init(rows[i].spec);
		if (console_wants_mmio(&pa, &bytes))
			console_open_mmio(rows[i].mapped);
		assert_true(line.uart.present);
		assert_int_equal(line.config.addr, BASE);
		assert_non_null(strstr(fake_log, rows[i].said));
		assert_ptr_equal(strchr(fake_log, '\n'), fake_log + strlen(fake_log) - 1);
		assert_string_equal(screen + strlen("umbra: "), rows[i].said);
	}
}

/* com1=pci, its card at a port and in memory. */
static void test_pci(void **state)
{
	uint64_t bytes;
	hpa_t pa;

	(void)state;
	reset();
	pci_place = (struct uart_config){ .space = UART_IO, .addr = BASE, .irq = -1, .baud = 9600 };
	console_init("pci");
	assert_true(line.uart.present);
	assert_false(console_wants_mmio(&pa, &bytes));
	console_start_interrupts();
	assert_int_equal(line.mode, SERIAL_TIMER);

	reset();
	dev.in_memory = true;
	pci_place = (struct uart_config){
		.space = UART_MMIO, .addr = 0xfe000000, .irq = -1, .baud = 9600
	};
	console_init("pci");
	assert_true(console_wants_mmio(&pa, &bytes));
	console_open_mmio(MMIO);
	assert_true(line.uart.present);
	assert_int_equal(line.uart.stride, 4);
}

/* None is there at all, or none is wanted: nothing is said, and nothing is touched. */
static void test_none(void **state)
{
	uint64_t bytes;
	hpa_t pa;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		reset();
		dev.in_memory = true; /* so not at COM1 */
		console_init(i ? "none" : "9600");
		assert_false(line.uart.present);
		assert_false(console_wants_mmio(&pa, &bytes));
		assert_string_equal(fake_log, "");
		assert_string_equal(screen, "");
		console_start_interrupts();
		console_write("x\n", 2);
		assert_int_equal(console_getc(), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_by_interrupts),
		cmocka_unit_test(test_input_while_the_ring_is_full),
		cmocka_unit_test(test_input_by_interrupts),
		cmocka_unit_test(test_input_that_nobody_reads),
		cmocka_unit_test(test_polled_by_timer),
		cmocka_unit_test(test_interrupt_that_does_not_come),
		cmocka_unit_test(test_flush_and_panic),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_tell),
		cmocka_unit_test(test_other_lines),
		cmocka_unit_test(test_in_memory),
		cmocka_unit_test(test_falls_back),
		cmocka_unit_test(test_pci),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
