#include "arch/x86_64/serial_line.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/uart_pci.h"

#define LINES_MAX 16
#define POLL_MAX_NS (NS_PER_SEC / 100)
#define POLL_BYTES 8 /* half a FIFO: looked after so often, it neither overruns nor idles */
#define BITS_A_BYTE 10
#define RX_LOOKS_MAX 1000 /* at the receiver, while the transmitter is waited for */
#define IRQ_ROUNDS_MAX 64 /* causes looked at in one interrupt */
#define IRQ_PASSES_MAX 8  /* over all lines, which may share an interrupt */
#define PROOF_NS (NS_PER_SEC / 10)
#define PROOF_LOOKS 2 /* that find the UART waiting for an interrupt that does not come */
#define TELL_NOBODY UINT32_MAX

/* Every line that has a UART. Grows only, and the interrupt looks at what is counted. */
static struct serial_line *lines[LINES_MAX];
static unsigned nr_lines;
static void *(*map_registers)(hpa_t pa, uint64_t bytes);

static uint64_t line_lock(struct serial_line *l)
{
	uint64_t flags = irq_save();

	if (!l->panicked)
		spin_lock(&l->lock);
	return flags;
}

static void line_unlock(struct serial_line *l, uint64_t flags)
{
	if (!l->panicked)
		spin_unlock(&l->lock);
	irq_restore(flags);
}

/* --- moving bytes between rings and UART; with the lock held --- */

static void rx_move(struct serial_line *l)
{
	int c;

	/* With the ring full, the rest stays in the UART, or is lost there. */
	while (ring_space(&l->rx) && (c = uart_rx(&l->uart)) >= 0) {
		if (!l->owner)
			continue;
		ring_put(&l->rx, (uint8_t)c);
		cpu_kick(&boot_cpu);
	}
}

static void tx_move(struct serial_line *l)
{
	int c;

	if (ring_empty(&l->tx) || !uart_tx_ready(&l->uart))
		return;
	for (unsigned n = 0; n < l->uart.tx_depth && (c = ring_get(&l->tx)) >= 0; n++)
		uart_tx(&l->uart, (uint8_t)c);
	if (l->tx_tell != TELL_NOBODY && ring_used(&l->tx) <= l->tx_tell) {
		l->tx_tell = TELL_NOBODY;
		cpu_kick(&boot_cpu);
	}
}

/* The interrupts that the rings' state calls for. */
static void interrupts_update(struct serial_line *l)
{
	l->tx_interrupt = !ring_empty(&l->tx);
	uart_interrupts(&l->uart, ring_space(&l->rx) > 0, l->tx_interrupt);
}

/* Had the line anything for us? */
static bool serve(struct serial_line *l)
{
	uint64_t flags = line_lock(l);
	unsigned n = 0;

	for (; l->mode == SERIAL_INTERRUPTS && n < IRQ_ROUNDS_MAX; n++) {
		if (!uart_interrupt_pending(&l->uart))
			break;
		rx_move(l);
		tx_move(l);
		if (ring_empty(&l->tx) || !ring_space(&l->rx))
			interrupts_update(l);
	}
	/* With a cause left the line stays up: make the edge that comes next ourselves. */
	if (n == IRQ_ROUNDS_MAX) {
		uart_interrupts(&l->uart, false, false);
		interrupts_update(l);
	}
	l->irq_came |= n > 0;
	line_unlock(l, flags);
	return n > 0;
}

/* Lines that share an interrupt make an edge only once none of them asks for it any more. */
static void serial_interrupt(void)
{
	for (unsigned pass = 0; pass < IRQ_PASSES_MAX; pass++) {
		bool any = false;

		for (unsigned i = 0; i < nr_lines; i++)
			any |= serve(lines[i]);
		if (!any || nr_lines == 1)
			return;
	}
}

/* Before the receiver's FIFO is full at the line's rate. */
static uint64_t next_poll(const struct serial_line *l)
{
	uint32_t baud = l->config.baud ? l->config.baud : UART_BAUD_MAX;
	uint64_t ns = POLL_BYTES * BITS_A_BYTE * NS_PER_SEC / baud;

	return clock_ns() + MIN(ns, POLL_MAX_NS);
}

static void line_poll(void *ctx)
{
	struct serial_line *l = ctx;
	uint64_t flags = line_lock(l);

	rx_move(l);
	tx_move(l);
	line_unlock(l, flags);
	timer_arm(&l->timer, next_poll(l));
}

static void poll_by_timer(struct serial_line *l)
{
	timer_setup(&l->timer, line_poll, l, NULL);
	timer_arm(&l->timer, next_poll(l));
}

/*
 * Until the first interrupt is here, look whether one is due. QEMU, Bochs: a port has its usual
 * interrupt. A setup that gives it another one, or interrupt remapping left on, is not seen in
 * any table.
 */
static void line_prove(void *ctx)
{
	struct serial_line *l = ctx;
	uint64_t flags = line_lock(l);
	bool came = l->irq_came || l->mode != SERIAL_INTERRUPTS, lost;

	if (!came && l->tx_interrupt && uart_tx_ready(&l->uart))
		l->irq_missed++;
	lost = !came && l->irq_missed >= PROOF_LOOKS;
	if (lost) {
		uart_interrupts(&l->uart, false, false);
		l->mode = SERIAL_TIMER;
	}
	line_unlock(l, flags);
	if (lost) {
		log_warn("%s: interrupt %d does not come; the serial port is polled", l->name,
			 l->config.irq);
		poll_by_timer(l);
	} else if (!came) {
		timer_arm(&l->timer, clock_ns() + PROOF_NS);
	}
}

/* A CPU that waits for a slow line gets on all the same. Its rounds count from its loop's first. */
static void tx_wait(struct serial_line *l, uint8_t c)
{
	struct cpu *self = this_cpu();

	uart_tx_wait(&l->uart, c);
	self->rounds += self->rounds != 0;
}

/* Send what is queued by polling. What comes in meanwhile is not lost: interrupts are off. */
static void tx_drain(struct serial_line *l, size_t bytes)
{
	int c;

	while (bytes-- && (c = ring_get(&l->tx)) >= 0) {
		if (l->mode != SERIAL_POLLED)
			for (unsigned n = 0; n < RX_LOOKS_MAX && !uart_tx_ready(&l->uart); n++)
				rx_move(l);
		tx_wait(l, (uint8_t)c);
	}
}

static void put(struct serial_line *l, uint8_t c)
{
	if (!l->uart.present)
		return;
	if (l->mode == SERIAL_POLLED) {
		tx_wait(l, c);
		return;
	}
	if (!ring_space(&l->tx))
		tx_drain(l, l->uart.tx_depth);
	ring_put(&l->tx, c);
	if (l->mode == SERIAL_INTERRUPTS && !l->tx_interrupt) {
		interrupts_update(l);
		/* Some raise no interrupt for a transmitter that is ready already. */
		tx_move(l);
	}
}

/* --- for everybody --- */

bool serial_line_present(const struct serial_line *l)
{
	return l->uart.present;
}

bool serial_line_try_putc(struct serial_line *l, uint8_t c)
{
	uint64_t flags = line_lock(l);
	bool room = l->mode == SERIAL_POLLED || ring_space(&l->tx);

	if (room)
		put(l, c);
	else
		l->tx_tell = SERIAL_LINE_TX / 2;
	line_unlock(l, flags);
	return room;
}

void serial_line_write(struct serial_line *l, const void *bytes, size_t n)
{
	uint64_t flags = line_lock(l);

	for (const uint8_t *b = bytes; n--; b++)
		put(l, *b);
	line_unlock(l, flags);
}

size_t serial_line_queued(struct serial_line *l)
{
	uint64_t flags = line_lock(l);
	size_t used = ring_used(&l->tx);

	line_unlock(l, flags);
	return used;
}

void serial_line_tell(struct serial_line *l, size_t queued)
{
	uint64_t flags = line_lock(l);

	if (ring_used(&l->tx) <= queued)
		cpu_kick(&boot_cpu);
	else
		l->tx_tell = (uint32_t)queued;
	line_unlock(l, flags);
}

int serial_line_getc(struct serial_line *l)
{
	uint64_t flags = line_lock(l);
	bool was_full = !ring_space(&l->rx);
	int c = ring_get(&l->rx);

	if (c < 0 && l->mode == SERIAL_POLLED)
		c = uart_rx(&l->uart);
	if (l->mode == SERIAL_INTERRUPTS && was_full)
		interrupts_update(l);
	line_unlock(l, flags);
	return c;
}

bool serial_line_has_input(struct serial_line *l)
{
	return !ring_empty(&l->rx);
}

bool serial_line_may_hold(struct serial_line *l, uint8_t c)
{
	uint64_t flags = line_lock(l);
	const struct ring *rx = &l->rx;
	bool found = !ring_space(rx);

	for (uint32_t i = rx->tail; !found && i != rx->head; i++)
		found = rx->buf[i & (rx->size - 1)] == c;
	line_unlock(l, flags);
	return found;
}

bool serial_line_overrun(struct serial_line *l)
{
	uint64_t flags = line_lock(l);
	bool overrun = l->uart.overrun;

	l->uart.overrun = false;
	line_unlock(l, flags);
	return overrun;
}

void serial_line_flush(struct serial_line *l)
{
	uint64_t flags = line_lock(l);
	uint64_t end = clock_ns() + NS_PER_SEC;

	if (l->uart.present) {
		tx_drain(l, SERIAL_LINE_TX);
		while (!uart_tx_idle(&l->uart) && clock_ns() < end)
			cpu_relax();
	}
	line_unlock(l, flags);
}

void serial_line_panic(struct serial_line *l)
{
	l->panicked = true;
	l->mode = SERIAL_POLLED;
	if (!l->uart.present)
		return;
	uart_interrupts(&l->uart, false, false);
	tx_drain(l, SERIAL_LINE_TX);
}

/* --- opening --- */

void serial_line_set_mapper(void *(*map)(hpa_t pa, uint64_t bytes))
{
	map_registers = map;
}

void serial_line_setup(struct serial_line *l, const void *owner, const char *name)
{
	memset(l, 0, offsetof(struct serial_line, tx_bytes));
	l->owner = owner;
	l->name = name;
	l->lock.rank = LOCK_SERIAL;
	l->tx = (struct ring)RING_INIT(l->tx_bytes);
	l->rx = (struct ring)RING_INIT(l->rx_bytes);
	l->tx_tell = TELL_NOBODY;
}

bool serial_line_attach(struct serial_line *l, const struct uart_config *cfg, volatile void *regs)
{
	if (nr_lines == LINES_MAX)
		return false;
	l->config = *cfg;
	uart_init(&l->uart, cfg, regs);
	if (!l->uart.present)
		return false;
	lines[nr_lines] = l;
	nr_lines++;
	return true;
}

void serial_line_start_interrupts(struct serial_line *l)
{
	int irq = l->config.irq;
	uint64_t flags;

	if (!l->uart.present)
		return;
	if (irq >= 0 && !ioapic_route_isa((unsigned)irq, TRAP_ISA + (unsigned)irq)) {
		trap_set_handler(TRAP_ISA + (unsigned)irq, serial_interrupt);
		flags = line_lock(l);
		l->mode = SERIAL_INTERRUPTS;
		interrupts_update(l);
		line_unlock(l, flags);
		timer_setup(&l->timer, line_prove, l, NULL);
		timer_arm(&l->timer, clock_ns() + PROOF_NS);
		return;
	}
	log_line(irq < 0 ? LOG_INFO : LOG_WARN,
		 "%s: no interrupt for the serial port; it is polled", l->name);
	l->mode = SERIAL_TIMER;
	poll_by_timer(l);
}

/* Whose line is at that place? NULL: nobody's. */
static struct serial_line *line_at(const struct uart_config *cfg)
{
	for (unsigned i = 0; i < nr_lines; i++)
		if (uart_same_place(&lines[i]->config, cfg))
			return lines[i];
	return NULL;
}

/* A place that can be opened, or what is wrong with it. */
static const char *find_place(const char *spec, struct uart_config *cfg, volatile void **regs)
{
	const char *wrong;

	*regs = NULL;
	if (!uart_parse(spec, cfg) || cfg->space == UART_NONE)
		return "not a serial port and rate";
	if (cfg->space == UART_PCI) {
		wrong = uart_pci_find(cfg);
		if (wrong)
			return wrong;
	}
	if (cfg->space == UART_MMIO && !line_at(cfg)) {
		if (map_registers)
			*regs = map_registers(HPA(cfg->addr), uart_mmio_bytes(cfg));
		if (!*regs)
			return "not an address that a device can have";
	}
	return NULL;
}

/* One that was given back. */
static void take_over(struct serial_line *l, const struct uart_config *cfg, const void *owner,
		      const char *name)
{
	uint64_t flags;

	if (cfg->baud != l->config.baud)
		serial_line_flush(l);
	flags = line_lock(l);
	if (cfg->baud != l->config.baud) {
		l->config.baud = cfg->baud;
		uart_init(&l->uart, &l->config, l->uart.regs);
	}
	l->rx.tail = l->rx.head;
	l->uart.overrun = false;
	l->tx_tell = TELL_NOBODY;
	l->owner = owner;
	l->name = name;
	if (l->mode == SERIAL_INTERRUPTS)
		interrupts_update(l);
	line_unlock(l, flags);
}

void serial_line_close(struct serial_line *l)
{
	uint64_t flags = line_lock(l);

	l->owner = NULL;
	l->rx.tail = l->rx.head;
	l->tx_tell = TELL_NOBODY;
	if (l->mode == SERIAL_INTERRUPTS)
		interrupts_update(l);
	line_unlock(l, flags);
}

struct serial_line *serial_line_open(const char *spec, const void *owner, const char *name,
				     const char **why)
{
	struct uart_config cfg;
	struct serial_line *l;
	volatile void *regs;

	*why = find_place(spec, &cfg, &regs);
	if (*why)
		return NULL;
	l = line_at(&cfg);
	if (l) {
		if (!l->owner)
			take_over(l, &cfg, owner, name);
		if (l->owner == owner)
			return l;
		*why = "the port belongs to another";
		return NULL;
	}
	if (nr_lines == LINES_MAX) {
		*why = "too many serial ports";
		return NULL;
	}
	l = kalloc(sizeof(*l));
	if (!l) {
		*why = "not enough memory";
		return NULL;
	}
	serial_line_setup(l, owner, name);
	if (!serial_line_attach(l, &cfg, regs)) {
		kfree(l, sizeof(*l));
		*why = "no UART answers there";
		return NULL;
	}
	serial_line_start_interrupts(l);
	return l;
}
