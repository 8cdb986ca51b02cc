#include "arch/x86_64/uart.h"

#include <stddef.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/string.h"

/* Registers and bits. TI PC16550D, 8. */
#define UART_DATA 0
#define UART_DLL 0 /* with LCR_DLAB */
#define UART_IER 1
#define UART_DLM 1 /* with LCR_DLAB */
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
#define LSR_OVERRUN 0x02 /* until it is read */
#define LSR_TX_READY 0x20
#define LSR_TX_IDLE 0x40

#define REGISTERS 8
#define PORT_MAX (0x10000u - REGISTERS)
#define STRIDE_MAX 4
#define ADDR_MAX (BIT(52) - REGISTERS * STRIDE_MAX) /* no processor has more bits */
#define WORDS_MAX 4                                 /* pci,BDF,RATE and one more than that */
#define BAUD_SLOW 9600u                             /* what a UART of unknown rate is waited for */
#define FIFO_DEPTH 16
#define RX_CLEAR_MAX 64
/* Register reads, of about a microsecond, in the time of a byte at 1 baud. */
#define READS_A_BYTE_AT_1_BAUD 20000000u
#define MMIO_QUICKER 10 /* than a port */

static const struct {
	uint16_t port;
	int irq;
} com[] = { { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };

/* --- com1= --- */

static bool parse_port(const struct token *word, struct uart_config *cfg)
{
	unsigned nr = 0;

	if (word->len == 4 && !memcmp(word->text, "com", 3))
		nr = (unsigned)(word->text[3] - '0');
	if (nr >= 1 && nr <= ARRAY_SIZE(com)) {
		cfg->addr = com[nr - 1].port;
	} else if (word->len < 3 || word->text[1] != 'x' || !parse_u64(word, &cfg->addr) ||
		   !cfg->addr || cfg->addr > PORT_MAX) {
		return false;
	}
	cfg->space = UART_IO;
	cfg->irq = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(com); i++)
		if (com[i].port == cfg->addr)
			cfg->irq = com[i].irq;
	return true;
}

/* Hexadecimal, with 0x or without. */
static bool parse_hex(const struct token *word, uint64_t max, uint64_t *val)
{
	char text[2 + 16 + 1] = "0x";
	const struct token number = { text, 2 + word->len };

	if (word->len > 2 && word->text[0] == '0' && (word->text[1] | 0x20) == 'x')
		return parse_u64(word, val) && *val <= max;
	if (!word->len || word->len > 16)
		return false;
	memcpy(text + 2, word->text, word->len);
	return parse_u64(&number, val) && *val <= max;
}

static bool parse_mmio(const struct token *word, unsigned stride, struct uart_config *cfg)
{
	*cfg = (struct uart_config){ .space = UART_MMIO, .stride = stride, .irq = -1 };
	return parse_hex(word, ADDR_MAX, &cfg->addr) && cfg->addr && IS_ALIGNED(cfg->addr, stride);
}

/* BUS:DEVICE.FUNCTION, as everybody writes it. */
static bool parse_bdf(const struct token *word, struct uart_config *cfg)
{
	const char *colon = memchr(word->text, ':', word->len);
	const char *dot = memchr(word->text, '.', word->len);
	const char *end = word->text + word->len;
	uint64_t bus, dev, fn;

	if (!colon || !dot || dot < colon)
		return false;
	if (!parse_hex(&(struct token){ word->text, (size_t)(colon - word->text) }, 0xff, &bus) ||
	    !parse_hex(&(struct token){ colon + 1, (size_t)(dot - colon - 1) }, 0x1f, &dev) ||
	    !parse_hex(&(struct token){ dot + 1, (size_t)(end - dot - 1) }, 7, &fn))
		return false;
	cfg->pci = (int)(bus << 8 | dev << 3 | fn);
	return true;
}

static bool parse_baud(const struct token *rate, struct uart_config *cfg)
{
	uint64_t baud;

	if (memchr(rate->text, 'x', rate->len) || !parse_u64(rate, &baud) || !baud ||
	    baud > UART_BAUD_MAX)
		return false;
	cfg->baud = (uint32_t)baud;
	return true;
}

/* The place that the first words name: how many of them it takes, -1: what they name is none. */
static int parse_place(const struct token *word, unsigned n, struct uart_config *cfg)
{
	unsigned stride = token_is(&word[0], "mmio") ? 1 : token_is(&word[0], "mmio32") ? 4 : 0;

	if (stride)
		return n > 1 && parse_mmio(&word[1], stride, cfg) ? 2 : -1;
	if (token_is(&word[0], "pci")) {
		*cfg = (struct uart_config){ .space = UART_PCI, .pci = UART_PCI_ANY, .irq = -1 };
		return n > 1 && parse_bdf(&word[1], cfg) ? 2 : 1;
	}
	return parse_port(&word[0], cfg) ? 1 : 0;
}

/* What stands between the commas, n parts at most; how many there are. */
static unsigned split(const char *spec, struct token *word, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *comma = strchr(spec, ',');

		word[i] = (struct token){ spec, comma ? (size_t)(comma - spec) : strlen(spec) };
		if (!comma)
			return i + 1;
		spec = comma + 1;
	}
	return n;
}

static bool parse(const char *spec, struct uart_config *cfg)
{
	struct token word[WORDS_MAX];
	unsigned n = split(spec, word, WORDS_MAX);
	int place = parse_place(word, n, cfg);

	if (n == WORDS_MAX || place < 0)
		return false;
	if (place == (int)n)
		return true;
	return place + 1 == (int)n && parse_baud(&word[place], cfg);
}

bool uart_parse(const char *spec, struct uart_config *cfg)
{
	const struct uart_config standard = {
		.space = UART_IO,
		.addr = com[0].port,
		.irq = com[0].irq,
		.baud = UART_BAUD_MAX,
	};

	*cfg = standard;
	if (!strcmp(spec, "none")) {
		cfg->space = UART_NONE;
		return true;
	}
	if (!*spec || parse(spec, cfg))
		return true;
	*cfg = standard;
	return false;
}

bool uart_same_place(const struct uart_config *a, const struct uart_config *b)
{
	if (a->space != b->space || a->space == UART_NONE)
		return false;
	return a->space == UART_PCI ? a->pci == b->pci : a->addr == b->addr;
}

/* --- the device --- */

static volatile void *reg_at(const struct uart *u, unsigned reg)
{
	return (volatile uint8_t *)u->regs + (size_t)reg * u->stride;
}

static uint8_t uart_in(const struct uart *u, unsigned reg)
{
	if (!u->regs)
		return inb((uint16_t)(u->port + reg));
	if (u->stride == 4)
		return (uint8_t)mmio_read32(reg_at(u, reg));
	return mmio_read8(reg_at(u, reg));
}

static void uart_out(const struct uart *u, unsigned reg, uint8_t val)
{
	if (!u->regs)
		outb((uint16_t)(u->port + reg), val);
	else if (u->stride == 4)
		mmio_write32(reg_at(u, reg), val);
	else
		mmio_write8(reg_at(u, reg), val);
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

unsigned uart_mmio_bytes(const struct uart_config *cfg)
{
	return REGISTERS * (cfg->stride ? cfg->stride : STRIDE_MAX);
}

/* Memory and registers of another device may well keep what is written to them, as a scratch
 * register does; none but a UART answers for its modem lines. */
static bool answers(const struct uart *u)
{
	return u->regs ? loopback_works(u) : scratch_works(u) || loopback_works(u);
}

static bool find(struct uart *u, const struct uart_config *cfg, volatile void *regs)
{
	static const uint8_t strides[] = { STRIDE_MAX, 1 };

	if (cfg->space == UART_IO) {
		u->port = (uint16_t)cfg->addr;
		return answers(u);
	}
	if (cfg->space != UART_MMIO || !regs)
		return false;
	u->regs = regs;
	for (unsigned i = 0; i < ARRAY_SIZE(strides); i++) {
		u->stride = strides[i];
		if ((!cfg->stride || cfg->stride == u->stride) && answers(u))
			return true;
	}
	return false;
}

/* With LCR_DLAB on: the rate, or the standard one where the firmware has set none. */
static void set_divisor(const struct uart *u, uint32_t baud)
{
	uint16_t divisor = (uint16_t)(uart_in(u, UART_DLL) | uart_in(u, UART_DLM) << 8);

	if (!baud && divisor && divisor != 0xffff)
		return;
	divisor = 1;
	if (baud)
		divisor = (uint16_t)MIN((UART_BAUD_MAX + baud / 2) / baud, 0xffffu);
	uart_out(u, UART_DLL, (uint8_t)divisor);
	uart_out(u, UART_DLM, (uint8_t)(divisor >> 8));
}

void uart_init(struct uart *u, const struct uart_config *cfg, volatile void *regs)
{
	*u = (struct uart){ .baud_min = cfg->baud ? cfg->baud : BAUD_SLOW, .tx_depth = 1 };
	if (!find(u, cfg, regs))
		return;
	u->present = true;
	uart_out(u, UART_IER, 0);
	uart_out(u, UART_LCR, LCR_DLAB | LCR_8N1);
	set_divisor(u, cfg->baud);
	uart_out(u, UART_LCR, LCR_8N1);
	uart_out(u, UART_FCR, FCR_ON_CLEAR_8);
	uart_out(u, UART_MCR, MCR_DTR_RTS_OUT2);
	if ((uart_in(u, UART_IIR) & IIR_FIFO) == IIR_FIFO)
		u->tx_depth = FIFO_DEPTH;
	for (unsigned i = 0; i < RX_CLEAR_MAX && uart_rx(u) >= 0; i++)
		;
	u->overrun = false;
}

static uint8_t line_status(struct uart *u)
{
	uint8_t lsr = uart_in(u, UART_LSR);

	if (lsr & LSR_OVERRUN)
		u->overrun = true;
	return lsr;
}

int uart_rx(struct uart *u)
{
	if (!u->present || !(line_status(u) & LSR_RX))
		return -1;
	return uart_in(u, UART_DATA);
}

bool uart_tx_ready(struct uart *u)
{
	return line_status(u) & LSR_TX_READY;
}

bool uart_tx_idle(struct uart *u)
{
	return !u->present || (line_status(u) & LSR_TX_IDLE);
}

void uart_tx(const struct uart *u, uint8_t c)
{
	uart_out(u, UART_DATA, c);
}

void uart_tx_wait(struct uart *u, uint8_t c)
{
	/* What is in the FIFO goes first. */
	uint64_t reads = (FIFO_DEPTH + 1) * (READS_A_BYTE_AT_1_BAUD / u->baud_min + 1) *
			 (u->regs ? UINT64_C(1) * MMIO_QUICKER : 1);

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
