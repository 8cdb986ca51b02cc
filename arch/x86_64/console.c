#include "arch/x86_64/console.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/ring.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/uart.h"
#include "arch/x86_64/uart_pci.h"
#include "arch/x86_64/vga.h"

#define TX_BYTES 16384
#define RX_BYTES 4096
#define POLL_MAX_NS (NS_PER_SEC / 100)
#define POLL_BYTES 8 /* half a FIFO: looked after so often, it neither overruns nor idles */
#define BITS_A_BYTE 10
#define RX_LOOKS_MAX 1000 /* at the receiver, while the transmitter is waited for */
#define IRQ_ROUNDS_MAX 64 /* causes looked at in one interrupt */
#define PROOF_NS (NS_PER_SEC / 10)
#define PROOF_LOOKS 2 /* that find the UART waiting for an interrupt that does not come */

enum console_mode {
	POLLED,     /* bytes go straight to the UART */
	INTERRUPTS, /* through the rings, the UART's interrupt moves them */
	TIMER,      /* through the rings, a timer moves them */
};

static uint8_t tx_bytes[TX_BYTES], rx_bytes[RX_BYTES];

/* All guarded by lock, which is taken with interrupts off. */
static struct spinlock lock = SPINLOCK_INIT(LOCK_CONSOLE);
static enum console_mode mode = POLLED;
static struct uart uart;
static struct uart_config config;
static const char *config_spec = ""; /* com1= */
static struct ring tx = RING_INIT(tx_bytes);
static struct ring rx = RING_INIT(rx_bytes);
static bool tx_interrupt; /* the UART's is on */
static bool tx_wanted;    /* somebody found the ring with little room */
static bool line_open;    /* the last byte was no newline */
static bool panicked;     /* locks no longer count */
static bool irq_came;
static unsigned irq_missed; /* looks that found it due */
static struct timer poll_timer;

static uint64_t console_lock(void)
{
	uint64_t flags = irq_save();

	if (!panicked)
		spin_lock(&lock);
	return flags;
}

static void console_unlock(uint64_t flags)
{
	if (!panicked)
		spin_unlock(&lock);
	irq_restore(flags);
}

/* --- moving bytes between rings and UART; with the lock held --- */

static void rx_move(void)
{
	int c;

	/* With the ring full, the rest stays in the UART, or is lost there. */
	while (ring_space(&rx) && (c = uart_rx(&uart)) >= 0) {
		ring_put(&rx, (uint8_t)c);
		this_cpu()->work_pending = true;
	}
}

static void tx_move(void)
{
	int c;

	if (ring_empty(&tx) || !uart_tx_ready(&uart))
		return;
	for (unsigned n = 0; n < uart.tx_depth && (c = ring_get(&tx)) >= 0; n++)
		uart_tx(&uart, (uint8_t)c);
	if (tx_wanted && ring_used(&tx) <= TX_BYTES / 2) {
		tx_wanted = false;
		this_cpu()->work_pending = true;
	}
}

/* The interrupts that the rings' state calls for. */
static void interrupts_update(void)
{
	tx_interrupt = !ring_empty(&tx);
	uart_interrupts(&uart, ring_space(&rx) > 0, tx_interrupt);
}

static void console_interrupt(void)
{
	uint64_t flags = console_lock();
	unsigned n;

	irq_came = true;
	for (n = 0; n < IRQ_ROUNDS_MAX && uart_interrupt_pending(&uart); n++) {
		rx_move();
		tx_move();
		if (ring_empty(&tx) || !ring_space(&rx))
			interrupts_update();
	}
	/* With a cause left the line stays up: make the edge that comes next ourselves. */
	if (n == IRQ_ROUNDS_MAX) {
		uart_interrupts(&uart, false, false);
		interrupts_update();
	}
	console_unlock(flags);
}

/* Before the receiver's FIFO is full at the line's rate. */
static uint64_t next_poll(void)
{
	uint32_t baud = config.baud ? config.baud : UART_BAUD_MAX;
	uint64_t ns = POLL_BYTES * BITS_A_BYTE * NS_PER_SEC / baud;

	return clock_ns() + MIN(ns, POLL_MAX_NS);
}

static void console_poll(void *ctx)
{
	uint64_t flags = console_lock();

	rx_move();
	tx_move();
	console_unlock(flags);
	timer_arm(ctx, next_poll());
}

/*
 * Until the first interrupt is here, look whether one is due. QEMU, Bochs: a port has its usual
 * interrupt. A setup that gives it another one, or interrupt remapping left on, is not seen in
 * any table.
 */
static void console_prove(void *ctx)
{
	uint64_t flags = console_lock();
	bool came = irq_came || mode != INTERRUPTS, lost;

	if (!came && tx_interrupt && uart_tx_ready(&uart))
		irq_missed++;
	lost = !came && irq_missed >= PROOF_LOOKS;
	if (lost) {
		uart_interrupts(&uart, false, false);
		mode = TIMER;
	}
	console_unlock(flags);
	if (lost) {
		log_warn("console: interrupt %d does not come; the serial port is polled",
			 config.irq);
		timer_setup(ctx, console_poll, ctx);
		timer_arm(ctx, next_poll());
	} else if (!came) {
		timer_arm(ctx, clock_ns() + PROOF_NS);
	}
}

/* Send what is queued by polling. What comes in meanwhile is not lost: interrupts are off. */
static void tx_drain(size_t bytes)
{
	int c;

	while (bytes-- && (c = ring_get(&tx)) >= 0) {
		if (mode != POLLED)
			for (unsigned n = 0; n < RX_LOOKS_MAX && !uart_tx_ready(&uart); n++)
				rx_move();
		uart_tx_wait(&uart, (uint8_t)c);
	}
}

static void put(uint8_t c)
{
	line_open = c != '\n';
	if (!uart.present)
		return;
	if (mode == POLLED) {
		uart_tx_wait(&uart, c);
		return;
	}
	if (!ring_space(&tx))
		tx_drain(uart.tx_depth);
	ring_put(&tx, c);
	if (mode == INTERRUPTS && !tx_interrupt) {
		interrupts_update();
		/* Some raise no interrupt for a transmitter that is ready already. */
		tx_move();
	}
}

/* --- for everybody --- */

bool console_try_putc(uint8_t c)
{
	uint64_t flags = console_lock();
	bool room = mode == POLLED || ring_space(&tx);

	if (room)
		put(c);
	else
		tx_wanted = true;
	console_unlock(flags);
	return room;
}

size_t console_space(void)
{
	uint64_t flags = console_lock();
	size_t space = ring_space(&tx);

	if (space < TX_BYTES / 2)
		tx_wanted = true;
	console_unlock(flags);
	return space;
}

void console_write(const char *s, size_t n)
{
	uint64_t flags = console_lock();

	for (; n--; s++) {
		if (*s == '\n')
			put('\r');
		put((uint8_t)*s);
	}
	console_unlock(flags);
}

bool console_line_open(void)
{
	return line_open;
}

void console_fresh_line(void)
{
	if (line_open)
		console_write("\n", 1);
}

int console_getc(void)
{
	uint64_t flags = console_lock();
	bool was_full = !ring_space(&rx);
	int c = mode == POLLED ? uart_rx(&uart) : ring_get(&rx);

	if (mode == INTERRUPTS && was_full)
		interrupts_update();
	console_unlock(flags);
	return c;
}

void console_flush(void)
{
	uint64_t flags = console_lock();
	uint64_t end = clock_ns() + NS_PER_SEC;

	if (uart.present) {
		tx_drain(TX_BYTES);
		while (!uart_tx_idle(&uart) && clock_ns() < end)
			cpu_relax();
	}
	console_unlock(flags);
}

/* --- opening --- */

/* What was said before there was a console to say it on. */
static void send_log(void)
{
	char text[256];
	uint64_t pos = 0;
	size_t n;

	while ((n = log_read(&pos, text, sizeof(text))))
		console_write(text, n);
}

/* What com1= asks for is not to be had; say it where it may be seen, on the text screen too. */
static void take_com1(const char *why)
{
	char text[160];

	uart_parse("", &config);
	uart_init(&uart, &config, NULL);
	send_log();
	ksnprintf(text, sizeof(text), "com1=%s: %s; using COM1 at 115200", config_spec, why);
	log_err("%s", text);
	vga_line("umbra: ", text);
}

static void open_uart(volatile void *regs)
{
	const struct uart_config place = config;
	struct uart_config com1;

	uart_init(&uart, &config, regs);
	uart_parse("", &com1);
	if (uart.present)
		send_log();
	else if (place.space == UART_MMIO || (place.space == UART_IO && place.addr != com1.addr))
		take_com1("no UART answers there");
}

void console_init(const char *spec)
{
	const char *wrong = NULL;

	config_spec = spec;
	if (!uart_parse(spec, &config))
		wrong = "not a serial port and rate";
	else if (config.space == UART_PCI)
		wrong = uart_pci_find(&config);
	if (wrong)
		take_com1(wrong);
	else if (config.space != UART_MMIO)
		open_uart(NULL);
}

bool console_wants_mmio(hpa_t *pa, uint64_t *bytes)
{
	*pa = HPA(config.addr);
	*bytes = uart_mmio_bytes(&config);
	return config.space == UART_MMIO && !uart.present;
}

void console_open_mmio(volatile void *regs)
{
	if (regs)
		open_uart(regs);
	else
		take_com1("not an address that a device can have");
}

void console_start_interrupts(void)
{
	int irq = config.irq;

	if (!uart.present)
		return;
	if (irq >= 0 && !ioapic_route_isa((unsigned)irq, TRAP_ISA + (unsigned)irq)) {
		trap_set_handler(TRAP_ISA + (unsigned)irq, console_interrupt);
		mode = INTERRUPTS;
		interrupts_update();
		timer_setup(&poll_timer, console_prove, &poll_timer);
		timer_arm(&poll_timer, clock_ns() + PROOF_NS);
		return;
	}
	log_line(irq < 0 ? LOG_INFO : LOG_WARN,
		 "console: no interrupt for the serial port; it is polled");
	mode = TIMER;
	timer_setup(&poll_timer, console_poll, &poll_timer);
	timer_arm(&poll_timer, next_poll());
}

void console_panic(void)
{
	panicked = true;
	mode = POLLED;
	if (!uart.present)
		return;
	uart_interrupts(&uart, false, false);
	tx_drain(TX_BYTES);
	if (line_open)
		console_write("\n", 1);
}
