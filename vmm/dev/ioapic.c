#include "vmm/dev/ioapic.h"

#include "arch/x86_64/include/bits.h"

/* 82093AA data sheet (290566), 3.0 "Register Description"; the EOI register: 82801DB (ICH4),
 * 9.5 "APIC Memory Map". */
#define OFF_IOREGSEL 0x00
#define OFF_IOWIN 0x10
#define OFF_EOI 0x40

#define REG_ID 0x00
#define REG_VERSION 0x01
#define REG_ARB 0x02
#define REG_TABLE 0x10 /* two registers an input */

#define ID_SHIFT 24
#define ID_MASK (IOAPIC_IDS - 1)
#define VERSION_MAX_ENTRY_SHIFT 16

#define ENTRY_VECTOR(e) ((uint8_t)(e))
#define ENTRY_MODE(e) ((enum apic_delivery)((e) >> 8 & 7))
#define ENTRY_LOGICAL BIT(11)
#define ENTRY_SEND_PENDING BIT(12)
#define ENTRY_ACTIVE_LOW BIT(13)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_DEST(e) ((uint8_t)((e) >> 56))
#define ENTRY_WRITABLE                                                                             \
	(BITS(63, 56) | BITS(16, 15) | ENTRY_ACTIVE_LOW | ENTRY_LOGICAL | BITS(10, 0))

static bool pin_asserted(const struct ioapic *io, unsigned pin)
{
	return (io->lines >> pin & 1) != !!(io->entry[pin] & ENTRY_ACTIVE_LOW);
}

/* SMI, NMI, INIT and ExtINT are edges whatever the entry says (3.2.4, "Delivery Mode"). */
static bool entry_is_level(uint64_t e)
{
	return (e & ENTRY_LEVEL) && ENTRY_MODE(e) <= APIC_LOWEST;
}

/* A level-triggered input that is active and whose interrupt nobody serves yet. */
static bool pin_waits(const struct ioapic *io, unsigned pin)
{
	uint64_t e = io->entry[pin];

	return entry_is_level(e) && !(e & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) &&
	       pin_asserted(io, pin);
}

/* False: nobody took it. */
static bool pin_send(struct ioapic *io, unsigned pin)
{
	uint64_t e = io->entry[pin];
	struct apic_msg msg = {
		.dest = ENTRY_DEST(e),
		.logical = e & ENTRY_LOGICAL,
		.mode = ENTRY_MODE(e),
		.vector = ENTRY_VECTOR(e),
		.level = entry_is_level(e),
	};

	if (msg.mode == APIC_RESERVED || msg.mode == APIC_STARTUP)
		return false;
	if (!io->wire.send(io->wire.ctx, &msg))
		return false;
	io->taken[pin]++;
	return true;
}

/* What no local APIC takes stays pending, and is tried again when there is news of its input. */
static void pin_update(struct ioapic *io, unsigned pin)
{
	if (!pin_waits(io, pin))
		return;
	/* Before it is sent: it may be taken and ended at once. */
	io->entry[pin] |= ENTRY_REMOTE_IRR;
	if (!pin_send(io, pin))
		io->entry[pin] &= ~ENTRY_REMOTE_IRR;
}

static void ioapic_set_input(void *ctx, unsigned pin, bool level)
{
	struct ioapic *io = ctx;

	if ((io->lines >> pin & 1) == level)
		return;
	io->lines ^= (uint32_t)BIT(pin);
	io->raised[pin] += level;
	if (entry_is_level(io->entry[pin]))
		pin_update(io, pin);
	else if (pin_asserted(io, pin) && !(io->entry[pin] & ENTRY_MASKED))
		pin_send(io, pin);
}

struct irq_line ioapic_line(struct ioapic *io, unsigned pin)
{
	return (struct irq_line){ .set = ioapic_set_input, .ctx = io, .pin = pin };
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *e = &io->entry[pin];

		if (ENTRY_VECTOR(*e) != vector || !(*e & ENTRY_REMOTE_IRR))
			continue;
		*e &= ~ENTRY_REMOTE_IRR;
		pin_update(io, pin);
	}
}

static uint64_t entry_of(const struct ioapic *io, unsigned pin)
{
	return __atomic_load_n(&io->entry[pin], __ATOMIC_RELAXED);
}

bool ioapic_masked(const struct ioapic *io, unsigned pin)
{
	return entry_of(io, pin) & ENTRY_MASKED;
}

uint8_t ioapic_vector(const struct ioapic *io, unsigned pin)
{
	return ENTRY_VECTOR(entry_of(io, pin));
}

bool ioapic_look(const struct ioapic *io, unsigned pin, struct irq_state *state)
{
	if (pin >= IOAPIC_PINS)
		return false;
	*state = (struct irq_state){
		.vector = ENTRY_VECTOR(io->entry[pin]),
		.level_triggered = entry_is_level(io->entry[pin]),
		.high = io->lines >> pin & 1,
		.masked = io->entry[pin] & ENTRY_MASKED,
		.requested = pin_waits(io, pin),
		.in_service = io->entry[pin] & ENTRY_REMOTE_IRR,
		.raised = io->raised[pin],
		.taken = io->taken[pin],
	};
	return true;
}

/* --- registers --- */

static uint32_t ioapic_get(const struct ioapic *io)
{
	unsigned nr = io->index - REG_TABLE, pin = nr / 2;
	uint64_t e;

	switch (io->index) {
	case REG_ID:
		return (uint32_t)io->id << ID_SHIFT;
	case REG_VERSION:
		return IOAPIC_VERSION | (IOAPIC_PINS - 1) << VERSION_MAX_ENTRY_SHIFT;
	case REG_ARB:
		return (uint32_t)io->arb << ID_SHIFT;
	default:
		if (io->index < REG_TABLE || pin >= IOAPIC_PINS)
			return 0;
		e = io->entry[pin] | (pin_waits(io, pin) ? ENTRY_SEND_PENDING : 0);
		return (uint32_t)(nr & 1 ? e >> 32 : e);
	}
}

/* Turning an entry to edge ends what it has in service: how drivers without an EOI register do. */
static void entry_set(struct ioapic *io, unsigned pin, uint64_t val)
{
	uint64_t *e = &io->entry[pin];

	*e = (val & ENTRY_WRITABLE) | (*e & ENTRY_REMOTE_IRR);
	if (!entry_is_level(*e))
		*e &= ~ENTRY_REMOTE_IRR;
	pin_update(io, pin);
}

static void ioapic_put(struct ioapic *io, uint32_t val)
{
	unsigned nr = io->index - REG_TABLE, pin = nr / 2;

	if (io->index == REG_ID) {
		io->id = io->arb = val >> ID_SHIFT & ID_MASK;
		return;
	}
	if (io->index < REG_TABLE || pin >= IOAPIC_PINS)
		return;
	if (nr & 1)
		entry_set(io, pin, (uint64_t)val << 32 | (uint32_t)io->entry[pin]);
	else
		entry_set(io, pin, (io->entry[pin] & BITS(63, 32)) | val);
}

static uint64_t ioapic_read(void *dev, uint64_t off, unsigned size)
{
	const struct ioapic *io = dev;
	uint32_t val = 0;

	(void)size;
	if ((off & ~UINT64_C(3)) == OFF_IOREGSEL)
		val = io->index;
	else if ((off & ~UINT64_C(3)) == OFF_IOWIN)
		val = ioapic_get(io);
	return val >> (8 * (off & 3));
}

/* IOREGSEL and EOI are a byte wide; the window takes whole words only. */
static void ioapic_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct ioapic *io = dev;

	if (off == OFF_IOREGSEL)
		io->index = (uint8_t)val;
	else if (off == OFF_EOI)
		ioapic_eoi(io, (uint8_t)val);
	else if (off == OFF_IOWIN && size >= 4)
		ioapic_put(io, (uint32_t)val);
}

const struct mmio_ops ioapic_ops = { .read = ioapic_read, .write = ioapic_write };

void ioapic_setup(struct ioapic *io, uint8_t id, struct apic_wire wire)
{
	*io = (struct ioapic){ .wire = wire, .id = id & ID_MASK, .arb = id & ID_MASK };
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->entry[pin] = ENTRY_MASKED;
}
