#include "vmm/dev/serial.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "vmm/dev/split.h"

/* National Semiconductor PC16550D data sheet, section 8 "Registers". */
enum {
	REG_DATA, /* RBR, THR; divisor low with LCR.DLAB */
	REG_IER,  /* divisor high with LCR.DLAB */
	REG_IIR,  /* written: FCR */
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,
};

#define IER_RX BIT(0)
#define IER_THRE BIT(1)
#define IER_LINE BIT(2)
#define IER_MODEM BIT(3)
#define IER_WRITABLE BITS(3, 0)

#define IIR_NONE 0x01
#define IIR_MODEM 0x00
#define IIR_THRE 0x02
#define IIR_RX 0x04
#define IIR_RX_TIMEOUT 0x0c
#define IIR_LINE 0x06
#define IIR_FIFOS 0xc0

#define FCR_ENABLE BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define FCR_CLEAR_TX BIT(2)
#define FCR_TRIGGER(fcr) ((fcr) >> 6)

#define LCR_BREAK BIT(6)
#define LCR_DLAB BIT(7)

#define MCR_DTR BIT(0)
#define MCR_RTS BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3)
#define MCR_LOOP BIT(4)
#define MCR_WRITABLE BITS(4, 0)

#define LSR_READY BIT(0)
#define LSR_OVERRUN BIT(1)
#define LSR_FRAMING BIT(3)
#define LSR_BREAK BIT(4)
#define LSR_THRE BIT(5)
#define LSR_TEMT BIT(6)
#define LSR_ERRORS BITS(4, 1)
#define LSR_FIFO_ERROR BIT(7)

#define MSR_INPUTS BITS(7, 4)
#define MSR_DELTAS BITS(3, 0)
#define MSR_TERI BIT(2)
#define MSR_CTS BIT(4)
#define MSR_DSR BIT(5)
#define MSR_RI BIT(6)
#define MSR_DCD BIT(7)

static const uint8_t rx_trigger[4] = { 1, 4, 8, 14 };

static void fifo_clear(struct serial_fifo *f)
{
	f->head = f->count = 0;
}

static void fifo_push(struct serial_fifo *f, uint8_t byte)
{
	f->byte[(f->head + f->count++) % SERIAL_FIFO] = byte;
}

static uint8_t fifo_pop(struct serial_fifo *f)
{
	uint8_t byte = f->byte[f->head];

	f->head = (f->head + 1) % SERIAL_FIFO;
	f->count--;
	return byte;
}

/* How many bytes a FIFO holds; one, the holding register, when they are off. */
static unsigned serial_depth(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

/* The cause of highest priority, as IIR bits 3-0. */
static uint8_t serial_cause(const struct serial *s)
{
	if ((s->ier & IER_LINE) && (s->lsr & LSR_ERRORS))
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx.count) {
		if (!(s->fcr & FCR_ENABLE) || s->rx.count >= rx_trigger[FCR_TRIGGER(s->fcr)])
			return IIR_RX;
		return IIR_RX_TIMEOUT;
	}
	if ((s->ier & IER_THRE) && s->thr_empty)
		return IIR_THRE;
	if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC, OUT2 connects the interrupt to the bus; in loopback its pin is off. */
static void serial_update_irq(struct serial *s)
{
	bool wired = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_line_set(&s->irq, wired && serial_cause(s) != IIR_NONE);
}

/* What caused the interrupt went away and came again: an edge for the controller. */
static void serial_pulse_irq(struct serial *s)
{
	irq_line_set(&s->irq, false);
	serial_update_irq(s);
}

/* --- receiver --- */

static void serial_receive(struct serial *s, uint8_t byte)
{
	if (s->rx.count < serial_depth(s)) {
		fifo_push(&s->rx, byte);
		return;
	}
	s->lsr |= LSR_OVERRUN;
	if (!(s->fcr & FCR_ENABLE)) /* the new character overwrites the holding register */
		s->rx.byte[s->rx.head] = byte;
}

bool serial_rx_room(const struct serial *s)
{
	return !(s->mcr & MCR_LOOP) && s->rx.count < serial_depth(s);
}

void serial_rx_lost(struct serial *s)
{
	s->lsr |= LSR_OVERRUN;
	serial_update_irq(s);
}

bool serial_rx(struct serial *s, uint8_t byte)
{
	if (!serial_rx_room(s))
		return false;
	fifo_push(&s->rx, byte);
	serial_update_irq(s);
	return true;
}

static void serial_tell_room(struct serial *s)
{
	if (s->listens && serial_rx_room(s))
		s->listens(s->tx_ctx);
}

static uint8_t serial_read_data(struct serial *s)
{
	uint8_t byte;

	if (!s->rx.count)
		return 0;
	byte = fifo_pop(&s->rx);
	serial_tell_room(s);
	if (s->rx.count)
		serial_pulse_irq(s); /* the time-out starts anew for what is left */
	else
		serial_update_irq(s);
	return byte;
}

/* --- transmitter --- */

/* The other side had no room: the byte waits, and what does not fit is lost. */
static void serial_hold(struct serial *s, uint8_t byte)
{
	if (s->tx_queue.count < serial_depth(s))
		fifo_push(&s->tx_queue, byte);
	s->thr_empty = false;
	serial_update_irq(s);
}

static void serial_transmit(struct serial *s, uint8_t byte)
{
	bool again = s->thr_empty;

	if (s->mcr & MCR_LOOP) {
		serial_receive(s, byte);
	} else if (s->tx && (s->tx_queue.count || !s->tx(s->tx_ctx, byte))) {
		serial_hold(s, byte);
		return;
	}
	s->thr_empty = true;
	if (!(s->ier & IER_THRE))
		return;
	if (again)
		serial_pulse_irq(s);
	else
		serial_update_irq(s);
}

void serial_tx_ready(struct serial *s)
{
	if (!s->tx_queue.count)
		return;
	while (s->tx_queue.count && s->tx(s->tx_ctx, s->tx_queue.byte[s->tx_queue.head]))
		fifo_pop(&s->tx_queue);
	if (s->tx_queue.count)
		return;
	s->thr_empty = true;
	serial_update_irq(s);
}

/* --- modem lines --- */

static void serial_update_modem(struct serial *s)
{
	uint8_t now = s->modem_inputs, changed;

	if (s->mcr & MCR_LOOP)
		now = (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) |
				(s->mcr & MCR_DTR ? MSR_DSR : 0) |
				(s->mcr & MCR_OUT1 ? MSR_RI : 0) |
				(s->mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = (now ^ s->msr) & MSR_INPUTS;
	if (now & MSR_RI)
		changed &= ~MSR_RI; /* only the trailing edge of RI counts */
	s->msr = (uint8_t)((s->msr & MSR_DELTAS) | changed >> 4 | now);
}

/* --- registers --- */

static void serial_write_ier(struct serial *s, uint8_t val)
{
	bool thre_enabled = ~s->ier & val & IER_THRE;

	s->ier = val & IER_WRITABLE;
	if (thre_enabled && !s->tx_queue.count)
		s->thr_empty = true;
	serial_update_irq(s);
}

static void serial_write_fcr(struct serial *s, uint8_t val)
{
	uint8_t clear = val;

	if ((s->fcr ^ val) & FCR_ENABLE)
		clear |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	else if (!(val & FCR_ENABLE))
		return; /* the other bits count only while the FIFOs are on */
	if (clear & FCR_CLEAR_RX) {
		fifo_clear(&s->rx);
		s->lsr = 0;
	}
	if ((clear & FCR_CLEAR_TX) && s->tx_queue.count) {
		fifo_clear(&s->tx_queue);
		s->thr_empty = true;
	}
	s->fcr = val & FCR_ENABLE ? val & (BITS(7, 6) | FCR_ENABLE) : 0;
	serial_tell_room(s);
	serial_update_irq(s);
}

static void serial_write_lcr(struct serial *s, uint8_t val)
{
	bool begin_break = ~s->lcr & val & LCR_BREAK;

	s->lcr = val;
	if (begin_break && (s->mcr & MCR_LOOP)) {
		serial_receive(s, 0);
		s->lsr |= LSR_BREAK | LSR_FRAMING;
		serial_update_irq(s);
	}
}

static uint8_t serial_read_iir(struct serial *s)
{
	uint8_t cause = serial_cause(s);

	if (cause == IIR_THRE) {
		s->thr_empty = false;
		serial_update_irq(s);
	}
	return cause | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t serial_read_lsr(struct serial *s)
{
	uint8_t val = s->lsr;

	if (s->rx.count)
		val |= LSR_READY;
	if (!s->tx_queue.count)
		val |= LSR_THRE | LSR_TEMT;
	if (s->lsr) {
		if (s->fcr & FCR_ENABLE)
			val |= s->lsr & LSR_BREAK ? LSR_FIFO_ERROR : 0;
		s->lsr = 0;
		serial_update_irq(s);
	}
	return val;
}

static uint8_t serial_read_msr(struct serial *s)
{
	uint8_t val = s->msr;

	if (val & MSR_DELTAS) {
		s->msr &= MSR_INPUTS;
		serial_update_irq(s);
	}
	return val;
}

static void serial_write(struct serial *s, unsigned reg, uint8_t val)
{
	switch (reg) {
	case REG_IER:
		if (s->lcr & LCR_DLAB)
			s->divisor[1] = val;
		else
			serial_write_ier(s, val);
		break;
	case REG_IIR:
		serial_write_fcr(s, val);
		break;
	case REG_LCR:
		serial_write_lcr(s, val);
		break;
	case REG_MCR:
		s->mcr = val & MCR_WRITABLE;
		serial_tell_room(s);
		serial_update_modem(s);
		serial_update_irq(s);
		break;
	case REG_SCR:
		s->scr = val;
		break;
	}
}

static void serial_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct serial *s = dev;
	unsigned reg = port % SERIAL_PORTS;

	if (__builtin_expect(size != 1, 0))
		io_split_out(&serial_ops, dev, port, size, val);
	else if (reg != REG_DATA)
		serial_write(s, reg, (uint8_t)val);
	else if (s->lcr & LCR_DLAB)
		s->divisor[0] = (uint8_t)val;
	else
		serial_transmit(s, (uint8_t)val);
}

static uint32_t serial_in(void *dev, uint16_t port, unsigned size)
{
	struct serial *s = dev;

	if (__builtin_expect(size != 1, 0))
		return io_split_in(&serial_ops, dev, port, size);
	switch (port % SERIAL_PORTS) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? s->divisor[0] : serial_read_data(s);
	case REG_IER:
		return s->lcr & LCR_DLAB ? s->divisor[1] : s->ier;
	case REG_IIR:
		return serial_read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return serial_read_lsr(s);
	case REG_MSR:
		return serial_read_msr(s);
	default:
		return s->scr;
	}
}

static void serial_describe(const void *dev, char *text, size_t size)
{
	const struct serial *s = dev;
	unsigned divisor = s->divisor[0] | (unsigned)s->divisor[1] << 8;

	ksnprintf(text, size, "%u baud, ier %02x lcr %02x mcr %02x, %s", 115200 / MAX(divisor, 1u),
		  s->ier, s->lcr, s->mcr, s->tx ? "connected" : "no cable");
}

const struct io_ops serial_ops = { .in = serial_in,
				   .out = serial_out,
				   .describe = serial_describe };

void serial_init(struct serial *s, struct irq_line irq, bool (*tx)(void *ctx, uint8_t byte),
		 void *tx_ctx)
{
	*s = (struct serial){ .tx = tx, .tx_ctx = tx_ctx, .irq = irq };
	s->modem_inputs = tx ? MSR_DCD | MSR_DSR | MSR_CTS : 0;
	s->msr = s->modem_inputs;
	s->divisor[0] = 12; /* 9600 baud, as a BIOS leaves it */
	s->thr_empty = true;
}
