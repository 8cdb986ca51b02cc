#include "arch/x86_64/uart.h"

#include <stddef.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/string.h"

/* Registers and bits. TI PC16550D, 8. */
#define UART_DATA 0
#define UART_IER 1
#define UART_IIR 2
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define UART_MSR 6
#define UART_SCR 7

#define IER_RX 0x01
#define IER_TX 0x02
#define IIR_NONE 0x01
#define IIR_FIFO 0xc0
#define FCR_ON_CLEAR_8 0x87 /* on, both cleared, interrupt at 8 bytes or a pause */
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 lets the interrupt through */
#define MCR_LOOP 0x10
#define LSR_RX 0x01
#define LSR_TX_READY 0x20
#define LSR_TX_IDLE 0x40

#define BAUD_MAX 115200u
#define PORT_MAX 0xfff8u /* eight registers */
#define FIFO_DEPTH 16
#define RX_CLEAR_MAX 64
/* Register reads, of about a microsecond, in the time of a byte at 1 baud. */
#define READS_A_BYTE_AT_1_BAUD 20000000u

static const struct {
	uint16_t port;
	int irq;
} com[] = { { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };

/* --- com1= --- */

static bool parse_place(const struct token *place, struct uart_config *cfg)
{
	uint64_t port;

	if (place->len == 4 && !memcmp(place->text, "com", 3) && place->text[3] >= '1' &&
	    place->text[3] <= '4') {
		cfg->port = com[place->text[3] - '1'].port;
		cfg->irq = com[place->text[3] - '1'].irq;
		return true;
	}
	if (place->len < 3 || place->text[1] != 'x' || !parse_u64(place, &port) || !port ||
	    port > PORT_MAX)
		return false;
	cfg->port = (uint16_t)port;
	cfg->irq = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(com); i++)
		if (com[i].port == port)
			cfg->irq = com[i].irq;
	return true;
}

static bool parse_baud(const struct token *rate, struct uart_config *cfg)
{
	uint64_t baud;

	if (memchr(rate->text, 'x', rate->len) || !parse_u64(rate, &baud) || !baud ||
	    baud > BAUD_MAX)
		return false;
	cfg->baud = (uint32_t)baud;
	return true;
}

static bool parse(const char *spec, struct uart_config *cfg)
{
	const char *comma = strchr(spec, ',');
	struct token first = { spec, comma ? (size_t)(comma - spec) : strlen(spec) };

	if (!*spec)
		return true;
	if (comma) {
		struct token second = { comma + 1, strlen(comma + 1) };

		return parse_place(&first, cfg) && parse_baud(&second, cfg);
	}
	return parse_place(&first, cfg) || parse_baud(&first, cfg);
}

bool uart_parse(const char *spec, struct uart_config *cfg)
{
	const struct uart_config standard = {
		.port = com[0].port,
		.irq = com[0].irq,
		.baud = BAUD_MAX,
	};

	*cfg = standard;
	if (!strcmp(spec, "none")) {
		cfg->port = 0;
		return true;
	}
	if (parse(spec, cfg))
		return true;
	*cfg = standard;
	return false;
}

/* --- the device --- */

static uint8_t uart_in(const struct uart *u, unsigned reg)
{
	return inb((uint16_t)(u->port + reg));
}

static void uart_out(const struct uart *u, unsigned reg, uint8_t val)
{
	outb((uint16_t)(u->port + reg), val);
}

static bool scratch_works(const struct uart *u)
{
	const uint8_t pattern[] = { 0x5a, 0xa5 };

	for (unsigned i = 0; i < ARRAY_SIZE(pattern); i++) {
		uart_out(u, UART_SCR, pattern[i]);
		if (uart_in(u, UART_SCR) != pattern[i])
			return false;
	}
	return true;
}

/* An 8250 has no scratch register, but it loops its modem lines back. */
static bool loopback_works(const struct uart *u)
{
	uint8_t mcr = uart_in(u, UART_MCR);
	bool works;

	uart_out(u, UART_MCR, MCR_LOOP | 0x0a); /* RTS and OUT2 come back as CTS and DCD */
	works = (uart_in(u, UART_MSR) & 0xf0) == 0x90;
	uart_out(u, UART_MCR, mcr);
	return works;
}

void uart_init(struct uart *u, const struct uart_config *cfg)
{
	uint16_t divisor;

	*u = (struct uart){ .port = cfg->port, .baud = cfg->baud, .tx_depth = 1 };
	if (!cfg->port || (!scratch_works(u) && !loopback_works(u)))
		return;
	u->present = true;
	divisor = (uint16_t)MIN((BAUD_MAX + cfg->baud / 2) / cfg->baud, 0xffffu);
	uart_out(u, UART_IER, 0);
	uart_out(u, UART_LCR, LCR_DLAB | LCR_8N1);
	uart_out(u, 0, (uint8_t)divisor);
	uart_out(u, 1, (uint8_t)(divisor >> 8));
	uart_out(u, UART_LCR, LCR_8N1);
	uart_out(u, UART_FCR, FCR_ON_CLEAR_8);
	uart_out(u, UART_MCR, MCR_DTR_RTS_OUT2);
	if ((uart_in(u, UART_IIR) & IIR_FIFO) == IIR_FIFO)
		u->tx_depth = FIFO_DEPTH;
	for (unsigned i = 0; i < RX_CLEAR_MAX && uart_rx(u) >= 0; i++)
		;
}

int uart_rx(const struct uart *u)
{
	if (!u->present || !(uart_in(u, UART_LSR) & LSR_RX))
		return -1;
	return uart_in(u, UART_DATA);
}

bool uart_tx_ready(const struct uart *u)
{
	return uart_in(u, UART_LSR) & LSR_TX_READY;
}

bool uart_tx_idle(const struct uart *u)
{
	return !u->present || (uart_in(u, UART_LSR) & LSR_TX_IDLE);
}

void uart_tx(const struct uart *u, uint8_t c)
{
	uart_out(u, UART_DATA, c);
}

void uart_tx_wait(const struct uart *u, uint8_t c)
{
	/* What is in the FIFO goes first. */
	uint32_t reads = (FIFO_DEPTH + 1) * (READS_A_BYTE_AT_1_BAUD / u->baud + 1);

	if (!u->present)
		return;
	while (!uart_tx_ready(u) && reads--)
		cpu_relax();
	uart_tx(u, c);
}

void uart_interrupts(const struct uart *u, bool rx, bool tx)
{
	uart_out(u, UART_IER, (uint8_t)((rx ? IER_RX : 0) | (tx ? IER_TX : 0)));
}

bool uart_interrupt_pending(const struct uart *u)
{
	return !(uart_in(u, UART_IIR) & IIR_NONE);
}
