/*
 * A VM's local APICs and its I/O APIC: registers, MSRs, messages, wires, ends and timers, in any
 * order. After each step the local APICs' state is what the manual says it can be. Of inputs whose
 * guest is well behaved more is asked: an input of the I/O APIC that waits for the end of its
 * interrupt has it on its way, and nothing that was sent is lost.
 */
#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "tests/fuzz/world.h"
#include "tests/host/fakes.h"
#include "vmm/dev/ioapic.h"
#include "vmm/lapic_core.h"

#define CPUS 3
/* Well behaved: a vector of its own for each input of the I/O APIC, those above for IPIs. */
#define PIN_VECTOR(pin) (0x30u + (pin))
#define IPI_VECTOR 0x60u
/* Every other one is triggered by level; to one processor, fixed. */
#define ENTRY_LOW 0x2000u
#define ENTRY_MASKED 0x10000u
#define PIN_ENTRY(pin) (PIN_VECTOR(pin) | ((pin)&1 ? 0x8000u : 0))

static struct processor {
	struct lapic lapic;
	bool kicked;
	uint8_t cr8;
	uint64_t tsc_offset;
} cpus[CPUS];
static struct lapic_set set;
static struct ioapic ioapic;
static bool tame;

/* --- the processors --- */

static void on_nmi(void *ctx)
{
	((struct processor *)ctx)->kicked = true;
}

/* At once, in whatever the local APIC is doing. */
static void on_init(void *ctx)
{
	struct processor *cpu = ctx;

	expect(!tame);
	lapic_init_signal(&cpu->lapic);
}

static void on_startup(void *ctx, uint8_t vector)
{
	(void)ctx;
	(void)vector;
}

static void on_kick(void *ctx)
{
	((struct processor *)ctx)->kicked = true;
}

static void on_tpr(void *ctx, uint8_t tpr)
{
	((struct processor *)ctx)->cr8 = tpr >> 4;
}

static uint64_t tsc(void *ctx)
{
	return fake_now_ns + ((struct processor *)ctx)->tsc_offset;
}

static const struct lapic_cpu processor = { on_nmi,  on_init, on_startup, on_kick,
					    on_kick, on_tpr,  tsc };

static void on_eoi(void *ctx, uint8_t vector)
{
	expect(vector >= VECTOR_MIN);
	ioapic_eoi(ctx, vector);
}

static void on_taken(void *ctx, uint8_t vector)
{
	(void)ctx;
	expect(vector >= VECTOR_MIN);
}

/* --- what must hold --- */

static unsigned highest(const struct lapic_vectors *v)
{
	for (unsigned i = 8; i-- > 0;)
		if (v->word[i])
			return 32 * i + 31 - (unsigned)__builtin_clz(v->word[i]);
	return 0;
}

static void check_vectors(const struct lapic_vectors *v)
{
	expect(!(v->word[0] & 0xffff));
	for (unsigned i = 0; i < 8; i++)
		expect(!v->word[i] == !(v->used >> i & 1));
}

/* An interrupt is served above those of lower classes only: one of a class. */
static void check_nesting(const struct lapic_vectors *isr)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned of_class = isr->word[i / 2] >> (i % 2 * 16) & 0xffff;

		expect(!(of_class & (of_class - 1)));
	}
}

static void check_priorities(const struct lapic *l)
{
	unsigned want = highest(&l->irr), busy = highest(&l->isr);
	unsigned ppr = (l->tpr & 0xf0) >= (busy & 0xf0) ? l->tpr : busy & 0xf0;

	expect(l->ppr == ppr);
	expect(l->next == ((want & 0xf0) > (ppr & 0xf0) ? want : 0));
}

static void check_lapic(const struct processor *cpu)
{
	const struct lapic *l = &cpu->lapic;

	check_vectors(&l->irr);
	check_vectors(&l->isr);
	check_vectors(&l->tmr);
	check_nesting(&l->isr);
	check_priorities(l);
	expect(!((l->inbox.posted[0] | l->inbox.vectors[0][0] | l->inbox.vectors[1][0]) & 0xffff));
	expect(cpu->cr8 == l->tpr >> 4);
	expect(!(l->inbox.news & (NEWS_KICKED | NEWS_POSTED)) || cpu->kicked);
	expect(l->mode == LAPIC_XAPIC ? l->last_byte : !l->last_byte);
	expect(!l->timer.timer.armed || !(l->lvt[LVT_TIMER] & LVT_MASKED));
	expect(!l->timer.timer.armed || l->timer.running || l->timer.deadline);
	for (unsigned i = 0; i < LVTS; i++)
		expect((l->svr & SVR_ENABLE) || (l->lvt[i] & LVT_MASKED));
}

static bool on_its_way(unsigned vector)
{
	for (unsigned i = 0; i < CPUS; i++) {
		const struct lapic *l = &cpus[i].lapic;

		if (l->inbox.vectors[1][vector / 32] >> vector % 32 & 1)
			return true;
		if (vectors_has(&l->tmr, vector) &&
		    (vectors_has(&l->irr, vector) || vectors_has(&l->isr, vector)))
			return true;
	}
	return false;
}

static void check_pins(void)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		struct irq_state s;

		expect(ioapic_look(&ioapic, pin, &s));
		expect(!s.in_service || s.level_triggered);
		if (tame)
			expect(s.in_service == on_its_way(PIN_VECTOR(pin)) || !s.level_triggered);
	}
}

static void check_all(void)
{
	for (unsigned i = 0; i < CPUS; i++)
		check_lapic(&cpus[i]);
	check_pins();
}

/* --- steps --- */

static void take_one(struct processor *cpu)
{
	struct lapic *l = &cpu->lapic;
	unsigned vector, ppr;

	cpu->kicked = false;
	vector = lapic_next(l);
	if (!vector)
		return;
	ppr = l->ppr;
	expect((vector & 0xf0) > (ppr & 0xf0));
	expect(lapic_ack(l) == vector);
	expect(vectors_has(&l->isr, vector) && l->ppr > ppr);
}

static void end_one(struct processor *cpu)
{
	struct lapic *l = &cpu->lapic;

	if (l->mode == LAPIC_X2APIC)
		expect(lapic_msr_write(l, MSR_X2APIC_BASE + APIC_EOI, 0));
	else if (l->mode == LAPIC_XAPIC)
		lapic_mmio_write(l, APIC_EOI << 4, 4, 0);
}

/* Any register but, of a well behaved guest, those that undo what is under way. */
static void write_register(struct processor *cpu, struct input *in)
{
	struct lapic *l = &cpu->lapic;
	unsigned reg = (unsigned)take(in, 1) % (APIC_REGS + 2);
	uint64_t val = take(in, 4);

	if (tame) {
		static const uint8_t harmless[] = { APIC_TPR,       APIC_EOI,
						    APIC_LDR,       APIC_ESR,
						    APIC_ICR_HIGH,  APIC_TIMER_INITIAL,
						    APIC_LVT_TIMER, APIC_TIMER_DIVIDE };

		reg = harmless[reg % ARRAY_SIZE(harmless)];
		if (reg == APIC_LVT_TIMER)
			val |= 0x80;
	}
	if (l->mode == LAPIC_X2APIC)
		lapic_msr_write(l, MSR_X2APIC_BASE + reg, reg == APIC_ICR ? val << 16 | val : val);
	else if (l->mode == LAPIC_XAPIC)
		lapic_mmio_write(l, reg << 4, 4, val);
}

static void read_register(struct processor *cpu, struct input *in)
{
	struct lapic *l = &cpu->lapic;
	unsigned off = (unsigned)take(in, 2), size = 1u << (off >> 12 & 3);
	uint64_t val;

	lapic_msr_read(l, MSR_X2APIC_BASE + (off & 0xff), &val);
	if (l->mode == LAPIC_XAPIC)
		lapic_mmio_read(l, off & 0xfff, size);
}

static void write_base(struct processor *cpu, struct input *in)
{
	static const uint64_t bits[] = { 0, APIC_BASE_ENABLE, APIC_BASE_ENABLE | APIC_BASE_X2APIC,
					 APIC_BASE_X2APIC };
	uint64_t val = take(in, 1);

	if (!tame)
		lapic_write_base(&cpu->lapic, LAPIC_BASE | bits[val & 3] | (val & 0x80) << 28, 40);
}

static void send_message(struct input *in)
{
	uint64_t how = take(in, 4);
	struct apic_msg msg = { .dest = how & 0xff,
				.logical = how >> 8 & 1,
				.mode = (enum apic_delivery)(how >> 9 & 7),
				.level = how >> 12 & 1,
				.vector = (uint8_t)(how >> 16) };
	bool taken;

	if (tame) {
		msg.vector = (uint8_t)(IPI_VECTOR + msg.vector % (0x100 - IPI_VECTOR));
		msg.mode = (enum apic_delivery)(msg.mode & 1);
		msg.level = false;
	}
	taken = lapic_bus_send(&set, &msg);
	if (taken && msg.mode <= APIC_LOWEST && msg.vector >= VECTOR_MIN)
		expect(lapic_bus_waits(&set, msg.vector));
	if (taken && msg.mode <= APIC_LOWEST)
		expect(cpus[0].kicked || cpus[1].kicked || cpus[2].kicked);
}

static void write_entry(struct input *in)
{
	unsigned pin = (unsigned)take(in, 1) % IOAPIC_PINS, half = (unsigned)take(in, 1) & 1;
	uint64_t val = take(in, 4);

	if (tame && half)
		val = val % (CPUS + 1) << 24; /* the last one is not there */
	else if (tame)
		val = (val & (ENTRY_MASKED | ENTRY_LOW)) | PIN_ENTRY(pin);
	ioapic_ops.write(&ioapic, 0, 4, 0x10 + 2 * pin + half);
	ioapic_ops.write(&ioapic, 0x10, 4, val);
	ioapic_ops.read(&ioapic, 0x10, 4);
}

static void set_wire(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);
	struct irq_line line = ioapic_line(&ioapic, (how & 0x7f) % IOAPIC_PINS);

	irq_line_set(&line, how >> 7);
}

static void set_pin(struct processor *cpu, struct input *in)
{
	unsigned how = (unsigned)take(in, 1);

	lapic_set_lint(&cpu->lapic, how & 1, how >> 1 & 1);
}

static void write_deadline(struct processor *cpu, struct input *in)
{
	uint64_t how = take(in, 3);

	if (how & 1)
		cpu->tsc_offset += how << (how >> 1 & 31);
	if (how & 1)
		lapic_tsc_changed(&cpu->lapic);
	else
		lapic_write_deadline(&cpu->lapic, how << (how >> 1 & 31));
	lapic_read_deadline(&cpu->lapic);
}

static void move(struct processor *cpu, struct input *in)
{
	lapic_leave(&cpu->lapic);
	expect(!cpu->lapic.timer.timer.armed);
	fake_clock_advance(take(in, 2));
	lapic_arrive(&cpu->lapic);
}

static void step(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);
	struct processor *cpu = &cpus[(how >> 4) % CPUS];

	switch (how & 15) {
	case 0:
	case 1:
		take_one(cpu);
		break;
	case 2:
		end_one(cpu);
		break;
	case 3:
	case 4:
		write_register(cpu, in);
		break;
	case 5:
		read_register(cpu, in);
		break;
	case 6:
		write_base(cpu, in);
		break;
	case 7:
		send_message(in);
		break;
	case 8:
		write_entry(in);
		break;
	case 9:
		set_wire(in);
		break;
	case 10:
		set_pin(cpu, in);
		break;
	case 11:
		write_deadline(cpu, in);
		break;
	case 12:
		fake_clock_advance(take(in, 3));
		break;
	case 13:
		move(cpu, in);
		break;
	case 14:
		if (!tame) /* the register of newer I/O APICs */
			ioapic_ops.write(&ioapic, 0x40, 4, take(in, 1));
		break;
	default:
		cpu->kicked = false;
		lapic_fold(&cpu->lapic);
		expect(!lapic_has_posted(&cpu->lapic));
		lapic_write_cr8(&cpu->lapic, how >> 4);
		cpu->cr8 = (uint8_t)(how >> 4);
		break;
	}
}

/* --- an input --- */

static void begin(void)
{
	fake_timers_reset();
	set = (struct lapic_set){ .eoi = on_eoi, .taken = on_taken, .eoi_ctx = &ioapic };
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i] = (struct processor){ 0 };
		lapic_setup(&cpus[i].lapic, &set, &processor, &cpus[i]);
		lapic_mmio_write(&cpus[i].lapic, APIC_SVR << 4, 4, SVR_ENABLE | 0xff);
		lapic_mmio_write(&cpus[i].lapic, APIC_LDR << 4, 4, 1u << (24 + i));
	}
	ioapic_setup(&ioapic, CPUS, (struct apic_wire){ lapic_bus_send, &set });
}

/* With no more to come, and everything taken to its end, nothing is left. */
static void drain(void)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		struct irq_line line = ioapic_line(&ioapic, pin);

		ioapic_ops.write(&ioapic, 0, 4, 0x10 + 2 * pin);
		ioapic_ops.write(&ioapic, 0x10, 4, ENTRY_MASKED | PIN_ENTRY(pin));
		irq_line_set(&line, false);
	}
	for (unsigned i = 0; i < CPUS; i++) {
		struct lapic *l = &cpus[i].lapic;

		lapic_mmio_write(l, APIC_TPR << 4, 4, 0);
		lapic_destroy(l);
		for (unsigned n = 0; n < 256 + LAPIC_MAX_OWED + 1; n++) {
			take_one(&cpus[i]);
			end_one(&cpus[i]);
		}
		expect(!l->irr.used && !l->isr.used && !lapic_has_posted(l));
	}
	check_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	tame = take(&in, 1) & 1;
	begin();
	check_all();
	while (in.left) {
		step(&in);
		check_all();
	}
	if (tame)
		drain();
	for (unsigned i = 0; i < CPUS; i++)
		lapic_destroy(&cpus[i].lapic);
	return 0;
}
