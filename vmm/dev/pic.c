#include "vmm/dev/pic.h"

#include "arch/x86_64/include/bits.h"
#include "vmm/dev/split.h"

/* Intel 8259A data sheet (231468), "Programming the 8259A". */
#define CASCADE 2
#define SPURIOUS 7

#define ICW1_INIT BIT(4)
#define ICW1_LTIM BIT(3)
#define ICW1_SNGL BIT(1)
#define ICW1_IC4 BIT(0)
#define ICW2_VECTOR BITS(7, 3)
#define ICW4_SFNM BIT(4)
#define ICW4_AEOI BIT(1)

#define OCW2_LEVEL BITS(2, 0)
#define OCW2_COMMAND(val) ((val) >> 5) /* R, SL, EOI */
enum {
	OCW2_ROTATE_AEOI_CLEAR,
	OCW2_EOI,
	OCW2_NOP,
	OCW2_EOI_SPECIFIC,
	OCW2_ROTATE_AEOI_SET,
	OCW2_ROTATE_EOI,
	OCW2_SET_PRIORITY,
	OCW2_ROTATE_EOI_SPECIFIC,
};

#define OCW3_SELECT BIT(3)
#define OCW3_ESMM BIT(6)
#define OCW3_SMM BIT(5)
#define OCW3_POLL BIT(2)
#define OCW3_RR BIT(1)
#define OCW3_RIS BIT(0)
#define POLL_INT 0x80

/* Inputs that PCI chipsets let be level-triggered: not 0, 1, 2, 8, 13 (82371SB, ELCR1/2). */
static const uint8_t elcr_writable[2] = { 0xf8, 0xde };

static uint8_t chip_level_inputs(const struct pic_chip *c)
{
	return c->level_all ? 0xff : c->elcr;
}

/* Turn the eight inputs so that bit 0 is the one of highest priority. */
static unsigned chip_by_priority(const struct pic_chip *c, uint8_t inputs)
{
	unsigned top = (c->lowest + 1u) & 7;

	return ((inputs >> top) | (inputs << (8 - top))) & 0xff;
}

/* The in-service bits that hold others back. */
static uint8_t chip_blocking(const struct pic_chip *c)
{
	return c->special_mask ? c->isr & ~c->imr : c->isr;
}

/* The input that the chip requests an interrupt for now, or -1. */
static int chip_request(const struct pic_chip *c)
{
	uint8_t ready = c->irr & ~c->imr, blocking;
	unsigned want, busy, input;

	if (!ready)
		return -1;
	want = (unsigned)__builtin_ctz(chip_by_priority(c, ready));
	input = (want + c->lowest + 1u) & 7;
	blocking = chip_blocking(c);
	if (!blocking)
		return (int)input;
	busy = (unsigned)__builtin_ctz(chip_by_priority(c, blocking));
	if (want < busy)
		return (int)input;
	/* The slave may come again while it is in service: it has priorities of its own. */
	return want == busy && c->fully_nested_special && input == CASCADE ? CASCADE : -1;
}

static void chip_set_input(struct pic_chip *c, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)BIT(input);

	if (!level) {
		c->lines &= ~bit;
		c->irr &= ~bit; /* a request must stay until it is acknowledged */
	} else if (!(c->lines & bit)) {
		c->lines |= bit;
		c->irr |= bit;
	}
}

/* INTA, or a poll that found a request. */
static void chip_ack(struct pic_chip *c, unsigned input)
{
	uint8_t bit = (uint8_t)BIT(input);

	if (!(chip_level_inputs(c) & bit))
		c->irr &= ~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_on_auto_eoi)
		c->lowest = (uint8_t)input;
}

static void pic_update_master(struct pic *pic)
{
	bool intr = chip_request(&pic->chip[0]) >= 0;

	if (intr == pic->intr)
		return;
	pic->intr = intr;
	irq_line_set(&pic->out, intr);
}

static void pic_update(struct pic *pic)
{
	chip_set_input(&pic->chip[0], CASCADE, chip_request(&pic->chip[1]) >= 0);
	pic_update_master(pic);
}

static void pic_set_input(void *ctx, unsigned pin, bool level)
{
	struct pic *pic = ctx;
	struct pic_chip *c = &pic->chip[pin >> 3 & 1];

	if ((c->lines >> (pin & 7) & 1) == level)
		return;
	chip_set_input(c, pin & 7, level);
	pic->raised[pin & 15] += level;
	if (pin & 8)
		pic_update(pic);
	else
		pic_update_master(pic);
}

/* The slave's INT goes low at its INTA, so that a request still there makes a new edge. */
static unsigned slave_ack(struct pic *pic)
{
	int input = chip_request(&pic->chip[1]);

	chip_set_input(&pic->chip[0], CASCADE, false);
	if (input < 0)
		return 8 + SPURIOUS;
	chip_ack(&pic->chip[1], (unsigned)input);
	return 8 + (unsigned)input;
}

int pic_ack(void *ctx)
{
	struct pic *pic = ctx;
	struct pic_chip *master = &pic->chip[0];
	int input = chip_request(master);
	unsigned irq;

	if (input < 0)
		return master->vector + SPURIOUS;
	irq = (unsigned)input;
	chip_ack(master, irq);
	if (irq == CASCADE)
		irq = slave_ack(pic);
	/* So does the master's own. */
	pic->intr = false;
	irq_line_set(&pic->out, false);
	pic_update(pic);
	pic->taken[irq]++;
	if (pic->acked)
		pic->acked(pic->acked_ctx, irq);
	return pic->chip[irq >> 3].vector + (irq & 7);
}

bool pic_pending(void *ctx)
{
	const struct pic *pic = ctx;

	return pic->intr;
}

bool pic_masked(const struct pic *pic, unsigned irq)
{
	if (pic->chip[irq >> 3 & 1].imr & BIT(irq & 7))
		return true;
	return (irq & 8) && (pic->chip[0].imr & BIT(CASCADE));
}

bool pic_requested(const struct pic *pic, unsigned irq)
{
	return pic->chip[irq >> 3 & 1].irr & BIT(irq & 7);
}

bool pic_look(const struct pic *pic, unsigned irq, struct irq_state *state)
{
	const struct pic_chip *c = &pic->chip[irq >> 3 & 1];
	unsigned bit = irq & 7;

	if (irq >= PIC_PINS)
		return false;
	*state = (struct irq_state){
		.vector = (uint8_t)(c->vector + bit),
		.level_triggered = chip_level_inputs(c) & BIT(bit),
		.high = c->lines & BIT(bit),
		.masked = c->imr & BIT(bit),
		.requested = c->irr & BIT(bit),
		.in_service = c->isr & BIT(bit),
		.raised = pic->raised[irq],
		.taken = pic->taken[irq],
	};
	return true;
}

struct irq_line pic_line(struct pic *pic, unsigned pin)
{
	return (struct irq_line){ .set = pic_set_input, .ctx = pic, .pin = pin & 15 };
}

static uint32_t chip_poll(struct pic *pic, unsigned nr)
{
	struct pic_chip *c = &pic->chip[nr];
	int input = chip_request(c);

	c->poll = false;
	if (input < 0)
		return 0;
	chip_ack(c, (unsigned)input);
	if (nr == 1)
		chip_set_input(&pic->chip[0], CASCADE, false);
	pic_update(pic);
	pic->taken[nr * 8 + (unsigned)input]++;
	if (pic->acked && !(nr == 0 && input == CASCADE))
		pic->acked(pic->acked_ctx, nr * 8 + (unsigned)input);
	return POLL_INT | (uint32_t)input;
}

static void chip_icw1(struct pic_chip *c, uint8_t val)
{
	c->level_all = val & ICW1_LTIM;
	c->single = val & ICW1_SNGL;
	c->icw4_follows = val & ICW1_IC4;
	c->irr = c->lines & chip_level_inputs(c); /* the edge detectors are reset */
	c->isr = c->imr = 0;
	c->lowest = 7;
	c->special_mask = c->read_isr = c->poll = false;
	c->auto_eoi = c->rotate_on_auto_eoi = c->fully_nested_special = false;
	c->expect = PIC_ICW2;
}

/* End the service of the input of highest priority that is in service; -1: none was. */
static int chip_eoi(struct pic_chip *c)
{
	uint8_t in_service = chip_blocking(c);
	unsigned input;

	if (!in_service)
		return -1;
	input = ((unsigned)__builtin_ctz(chip_by_priority(c, in_service)) + c->lowest + 1u) & 7;
	c->isr &= ~BIT(input);
	return (int)input;
}

static void chip_ocw2(struct pic_chip *c, uint8_t val)
{
	uint8_t level = val & OCW2_LEVEL;
	int ended;

	switch (OCW2_COMMAND(val)) {
	case OCW2_EOI:
		chip_eoi(c);
		break;
	case OCW2_ROTATE_EOI:
		ended = chip_eoi(c);
		if (ended >= 0)
			c->lowest = (uint8_t)ended;
		break;
	case OCW2_EOI_SPECIFIC:
		c->isr &= ~BIT(level);
		break;
	case OCW2_ROTATE_EOI_SPECIFIC:
		c->isr &= ~BIT(level);
		c->lowest = level;
		break;
	case OCW2_SET_PRIORITY:
		c->lowest = level;
		break;
	case OCW2_ROTATE_AEOI_SET:
		c->rotate_on_auto_eoi = true;
		break;
	case OCW2_ROTATE_AEOI_CLEAR:
		c->rotate_on_auto_eoi = false;
		break;
	}
}

static void chip_ocw3(struct pic_chip *c, uint8_t val)
{
	if (val & OCW3_ESMM)
		c->special_mask = val & OCW3_SMM;
	if (val & OCW3_POLL)
		c->poll = true;
	else if (val & OCW3_RR)
		c->read_isr = val & OCW3_RIS;
}

/* The odd port: the next initialization word, or the mask. */
static void chip_data(struct pic_chip *c, uint8_t val)
{
	switch (c->expect) {
	case PIC_READY:
		c->imr = val;
		break;
	case PIC_ICW2:
		c->vector = val & ICW2_VECTOR;
		c->expect = !c->single ? PIC_ICW3 : c->icw4_follows ? PIC_ICW4 : PIC_READY;
		break;
	case PIC_ICW3: /* the wiring is what it is */
		c->expect = c->icw4_follows ? PIC_ICW4 : PIC_READY;
		break;
	case PIC_ICW4:
		c->auto_eoi = val & ICW4_AEOI;
		c->fully_nested_special = val & ICW4_SFNM;
		c->expect = PIC_READY;
		break;
	}
}

static void pic_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct pic *pic = dev;
	struct pic_chip *c = &pic->chip[port >> 7 & 1];
	uint8_t byte = (uint8_t)val;

	if (size != 1) {
		io_split_out(&pic_ops, dev, port, size, val);
		return;
	}
	if (port & 1)
		chip_data(c, byte);
	else if (byte & ICW1_INIT)
		chip_icw1(c, byte);
	else if (byte & OCW3_SELECT)
		chip_ocw3(c, byte);
	else
		chip_ocw2(c, byte);
	if (c == &pic->chip[0])
		pic_update_master(pic);
	else
		pic_update(pic);
}

static uint32_t pic_in(void *dev, uint16_t port, unsigned size)
{
	struct pic *pic = dev;
	unsigned nr = port >> 7 & 1;
	struct pic_chip *c = &pic->chip[nr];

	if (size != 1)
		return io_split_in(&pic_ops, dev, port, size);
	if (c->poll)
		return chip_poll(pic, nr);
	if (port & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void elcr_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct pic *pic = dev;
	struct pic_chip *c = &pic->chip[port & 1];
	uint8_t level = (uint8_t)val & elcr_writable[port & 1];

	if (size != 1) {
		io_split_out(&pic_elcr_ops, dev, port, size, val);
		return;
	}
	c->irr |= c->lines & level & ~c->elcr;
	c->irr &= ~(c->elcr & ~level); /* an edge detector starts clear */
	c->elcr = level;
	pic_update(pic);
}

static uint32_t elcr_in(void *dev, uint16_t port, unsigned size)
{
	const struct pic *pic = dev;

	if (size != 1)
		return io_split_in(&pic_elcr_ops, dev, port, size);
	return pic->chip[port & 1].elcr;
}

const struct io_ops pic_ops = { .in = pic_in, .out = pic_out };
const struct io_ops pic_elcr_ops = { .in = elcr_in, .out = elcr_out };

void pic_init(struct pic *pic)
{
	*pic = (struct pic){ 0 };
	for (unsigned i = 0; i < 2; i++) {
		pic->chip[i].imr = 0xff;
		pic->chip[i].lowest = 7;
	}
}
