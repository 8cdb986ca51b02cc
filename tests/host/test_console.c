/* The console on a pretended 16550A that takes a byte's time for each byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/trap.h"
#include "tests/host/fakes.h"

/* The machine below the console; and the real functions beside the stand-ins of fakes.c. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
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
} cpu;
static struct cpu *this_cpu(void)
{
	return &cpu;
}
static int ioapic_route_isa(unsigned irq, unsigned vector);
#define console_try_putc real_console_try_putc
#define console_space real_console_space
#define console_line_open real_console_line_open
#define console_write real_console_write
#define console_getc real_console_getc
#define console_flush real_console_flush
#include "arch/x86_64/uart.c"

/* After it: the console's own names hide some of the driver's. */
#include "arch/x86_64/console.c"

#define BASE 0x3f8
#define ACCESS_NS 1000 /* a port access on the LPC bus */
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
	bool irq_routed, line, edge;
} dev;

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
		if (dev.rx_count == sizeof(dev.rx_fifo))
			dev.lost++;
		else
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
	bool line;

	fake_now_ns += ns;
	transmitter();
	receiver();
	line = (dev.mcr & 8) && (cause_rx() || cause_tx());
	dev.edge |= line && !dev.line;
	dev.line = line;
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
		return (uint8_t)((dev.rx_count ? LSR_RX : 0) | (dev.tx_count ? 0 : LSR_TX_READY) |
				 (dev.tx_end ? 0 : LSR_TX_IDLE));
	case UART_SCR:
		return dev.scr;
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

static uint8_t inb(uint16_t port)
{
	uint8_t val = device_in(port - BASE);

	device_step(ACCESS_NS);
	return val;
}

static void outb(uint16_t port, uint8_t val)
{
	device_out(port - BASE, val);
	device_step(ACCESS_NS);
}

/* --- the pretended processor --- */

static void take_interrupt(void)
{
	while (irqs_on && dev.irq_routed && dev.edge) {
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

static void start(bool irq_routed)
{
	fake_timers_reset();
	fake_log_reset();
	memset(&dev, 0, sizeof(dev));
	dev.irq_routed = irq_routed;
	tx.head = tx.tail = rx.head = rx.tail = 0;
	tx_interrupt = tx_wanted = line_open = panicked = false;
	mode = POLLED;
	lock.locked = 0;
	cpu = (struct cpu){ 0 };
	irqs_on = false;
	console_init("");
	assert_true(uart.present);
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
	static const char line[] = "0123456789abcdef\n";

	for (unsigned i = 0; i < n; i++)
		console_write(line, sizeof(line) - 1);
}

static void assert_sent(unsigned lines)
{
	static const char line[] = "0123456789abcdef\r\n";

	assert_int_equal(dev.nr_out, lines * (sizeof(line) - 1));
	for (unsigned i = 0; i < lines; i++)
		assert_memory_equal(dev.out + i * (sizeof(line) - 1), line, sizeof(line) - 1);
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
	write_lines(TX_BYTES / 18);
	other_side_sends(2000);
	write_lines(200);
	idle(2000 * BYTE_NS);
	assert_received(2000);
	idle(TX_BYTES * BYTE_NS);
	assert_sent(TX_BYTES / 18 + 200);
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
	other_side_sends(RX_BYTES + 10);
	idle((RX_BYTES + 20) * BYTE_NS);
	assert_false(dev.ier & IER_RX);
	assert_int_equal(dev.lost, 0); /* ten wait in its FIFO */
	for (unsigned i = 0; i < RX_BYTES + 10; i++) {
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
	lock.locked = 1; /* whoever had it will not come back */
	console_panic();
	console_write("panic\n", 6);
	assert_int_equal(dev.ier, 0);
	assert_memory_equal(dev.out + dev.nr_out - 20, "half a line\r\npanic\r\n", 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_by_interrupts),
		cmocka_unit_test(test_input_while_the_ring_is_full),
		cmocka_unit_test(test_input_by_interrupts),
		cmocka_unit_test(test_input_that_nobody_reads),
		cmocka_unit_test(test_polled_by_timer),
		cmocka_unit_test(test_flush_and_panic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
