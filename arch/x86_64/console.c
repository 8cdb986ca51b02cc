#include "arch/x86_64/console.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/serial_line.h"
#include "arch/x86_64/uart.h"
#include "arch/x86_64/uart_pci.h"
#include "arch/x86_64/vga.h"

static struct serial_line line;
static struct uart_config place;     /* where com1= says that it is */
static const char *config_spec = ""; /* com1= */

/* Keeps what several CPUs say in whole pieces. Taken with interrupts off. */
static struct spinlock lock = SPINLOCK_INIT(LOCK_CONSOLE);
static bool line_open; /* written with lock, read by any CPU: the last byte was no newline */
static bool panicked;  /* the lock no longer counts */

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

bool console_is_locked(void)
{
	return spin_is_locked(&lock) || spin_is_locked(&line.lock);
}

uint32_t console_turns(void)
{
	return spin_turns(spin_is_locked(&lock) ? &lock : &line.lock);
}

/* With the lock held. */
static void set_line_open(bool open)
{
	__atomic_store_n(&line_open, open, __ATOMIC_RELAXED);
}

bool console_try_putc(uint8_t c)
{
	uint64_t flags = console_lock();
	bool taken = serial_line_try_putc(&line, c);

	if (taken)
		set_line_open(c != '\n');
	console_unlock(flags);
	return taken;
}

size_t console_queued(void)
{
	return serial_line_queued(&line);
}

void console_tell(size_t queued)
{
	serial_line_tell(&line, queued);
}

/* With the lock held. */
static void send(const char *s, size_t n)
{
	for (const char *end = s + n, *from = s; from < end; from = s) {
		while (s < end && *s != '\n')
			s++;
		serial_line_write(&line, from, (size_t)(s - from));
		set_line_open(s == end);
		if (s == end)
			return;
		serial_line_write(&line, "\r\n", 2);
		s++;
	}
}

void console_write(const char *s, size_t n)
{
	uint64_t flags = console_lock();

	send(s, n);
	console_unlock(flags);
}

bool console_line_open(void)
{
	return __atomic_load_n(&line_open, __ATOMIC_RELAXED);
}

void console_fresh_line(void)
{
	uint64_t flags = console_lock();

	if (line_open)
		send("\n", 1);
	console_unlock(flags);
}

int console_getc(void)
{
	return serial_line_getc(&line);
}

bool console_may_hold(uint8_t c)
{
	return serial_line_may_hold(&line, c);
}

void console_flush(void)
{
	log_send_held();
	serial_line_flush(&line);
}

void console_panic(void)
{
	panicked = true;
	serial_line_panic(&line);
	console_fresh_line();
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

	uart_parse("", &place);
	serial_line_attach(&line, &place, NULL);
	send_log();
	ksnprintf(text, sizeof(text), "com1=%s: %s; using COM1 at 115200", config_spec, why);
	log_err("%s", text);
	vga_line("umbra: ", text);
}

static void open_uart(volatile void *regs)
{
	struct uart_config com1;

	uart_parse("", &com1);
	if (serial_line_attach(&line, &place, regs))
		send_log();
	else if (place.space == UART_MMIO ||
		 (place.space == UART_IO && !uart_same_place(&place, &com1)))
		take_com1("no UART answers there");
}

void console_init(const char *spec)
{
	const char *wrong = NULL;

	serial_line_setup(&line, &line, "console");
	config_spec = spec;
	if (!uart_parse(spec, &place))
		wrong = "not a serial port and rate";
	else if (place.space == UART_PCI)
		wrong = uart_pci_find(&place);
	if (wrong)
		take_com1(wrong);
	else if (place.space != UART_MMIO)
		open_uart(NULL);
}

bool console_wants_mmio(hpa_t *pa, uint64_t *bytes)
{
	*pa = HPA(place.addr);
	*bytes = uart_mmio_bytes(&place);
	return place.space == UART_MMIO && !serial_line_present(&line);
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
	serial_line_start_interrupts(&line);
}
