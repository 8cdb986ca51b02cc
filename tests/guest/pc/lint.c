/* What LINT0 can be made to send: it is the 8259s' INT, which the 8254 raises and a poll of the
 * 8259 takes down again. ExtINT is pic.c's. To LINT1 no wire leads. SDM vol. 3, 11.5.1. */
#include "tests/guest/pc/pc.h"

#define VECTOR (VEC_FIRST + 1)
#define VEC_LEVEL 0x5a
#define VEC_NMI 2u
#define SMI 0x200u
#define NMI 0x400u
#define INIT 0x500u
#define PIC_POLL 0x0cu
#define PIC_EOI 0x20u

/* INT is low, and rises when the 8254 has counted. */
static void raise_int(void)
{
	outb(0x43, 0x30);
	outb(0x40, 0);
	outb(0x40, 4);
	do {
		outb(0x20, 0x0a);
	} while (!(inb(0x20) & 1));
}

static uint8_t lower_int(void)
{
	uint8_t found;

	outb(0x20, PIC_POLL);
	found = inb(0x20);
	outb(0x20, PIC_EOI);
	return found;
}

static bool in_irr(unsigned vector)
{
	return reg_read(REG_IRR + (vector >> 5) * 16) >> (vector & 31) & 1;
}

static uint32_t before[CPUS_MAX];

static void note(unsigned vector)
{
	for (unsigned i = 0; i < nr_cpus; i++)
		before[i] = came[i][vector];
}

static void expect_since(const char *what, unsigned cpu, unsigned vector, uint32_t n)
{
	while (came[cpu][vector] - before[cpu] < n)
		pass(10);
	pass(1000);
	expect(what, came[cpu][vector] - before[cpu], n);
}

/* --- edges --- */

static void edges(void)
{
	note(VECTOR);
	reg_write(REG_LVT_LINT0, VECTOR);
	raise_int();
	expect_since("interrupts by LINT0 as it rises", 0, VECTOR, 1);
	expect("the 8259's request", lower_int(), 0x80);
	expect_since("interrupts as it falls", 0, VECTOR, 1);
	raise_int();
	expect_since("interrupts as it rises again", 0, VECTOR, 2);
	expect("remote IRR of an edge", reg_read(REG_LVT_LINT0), VECTOR);
	lower_int();
	reg_write(REG_LVT_LINT0, ACTIVE_LOW | VECTOR);
	note(VECTOR);
	raise_int();
	expect_since("interrupts by an active low LINT0 as it rises", 0, VECTOR, 0);
	lower_int();
	expect_since("interrupts as it falls", 0, VECTOR, 1);
	reg_write(REG_LVT_LINT0, LVT_MASKED | VECTOR);
	note(VECTOR);
	raise_int();
	reg_write(REG_LVT_LINT0, VECTOR);
	expect_since("interrupts of an edge under the mask", 0, VECTOR, 0);
	reg_write(REG_LVT_LINT0, LVT_MASKED);
	lower_int();
}

/* --- by level --- */

static volatile uint32_t enough;

/* It comes again until the cause is gone, and that goes when it has come often enough. */
INTERRUPT static void on_level(struct interrupt_frame *frame)
{
	(void)frame;
	if (++came[cpu_number()][VEC_LEVEL] == enough)
		lower_int();
	apic_eoi();
}

static void by_level(void)
{
	uint32_t lvt = LEVEL | VEC_LEVEL;

	set_gate(VEC_LEVEL, on_level);
	note(VEC_LEVEL);
	enough = before[0] + 3;
	reg_write(REG_LVT_LINT0, lvt);
	raise_int();
	expect_since("interrupts while it is high", 0, VEC_LEVEL, 3);
	expect("remote IRR afterwards", reg_read(REG_LVT_LINT0), lvt);
	note(VEC_LEVEL);
	enough = before[0] + 1;
	reg_write(REG_LVT_LINT0, LVT_MASKED | lvt);
	raise_int();
	expect_since("interrupts under the mask", 0, VEC_LEVEL, 0);
	expect("remote IRR under the mask", reg_read(REG_LVT_LINT0), LVT_MASKED | lvt);
	reg_write(REG_LVT_LINT0, lvt);
	while (!in_irr(VEC_LEVEL))
		pause();
	expect("remote IRR", reg_read(REG_LVT_LINT0), REMOTE_IRR | lvt);
	reg_write(REG_LVT_LINT0, lvt);
	expect("remote IRR, written", reg_read(REG_LVT_LINT0), REMOTE_IRR | lvt);
	expect_since("interrupts without the mask", 0, VEC_LEVEL, 1);
	/* What it was raised for is gone before it is taken: once. */
	note(VEC_LEVEL);
	raise_int();
	while (!in_irr(VEC_LEVEL))
		pause();
	lower_int();
	expect_since("interrupts of what is gone", 0, VEC_LEVEL, 1);
	expect("remote IRR in the end", reg_read(REG_LVT_LINT0), lvt);
	reg_write(REG_LVT_LINT0, LVT_MASKED);
}

/* --- what is no interrupt --- */

static void mask(void)
{
	reg_write(REG_LVT_LINT0, LVT_MASKED);
}

static void to_nmi(void)
{
	reg_write(REG_LVT_LINT0, NMI);
}

static void to_smi(void)
{
	reg_write(REG_LVT_LINT0, SMI);
}

static void to_init(void)
{
	reg_write(REG_LVT_LINT0, INIT);
}

/* All processors have it on their LINT0. */
static void nmis(void)
{
	on_each(to_nmi);
	note(VEC_NMI);
	raise_int();
	for (unsigned i = 0; i < nr_cpus; i++)
		expect_since("NMIs as it rises", i, VEC_NMI, 1);
	lower_int();
	on_each(mask);
	raise_int();
	lower_int();
	for (unsigned i = 0; i < nr_cpus; i++)
		expect_since("NMIs in all", i, VEC_NMI, 1);
	to_smi();
	raise_int();
	pass(1000);
	lower_int();
	mask();
}

static volatile bool ran;

static void run(void)
{
	ran = true;
}

void expect_init(unsigned cpu)
{
	ran = false;
	pass(2000);
	begin_on(cpu, run);
	pass(20000);
	expect("what it does after INIT", ran, false);
	restart(cpu);
	end_on(cpu);
	expect("what it does after STARTUP", ran, true);
	check_after_init();
}

/* The last one is as after a message of INIT. */
static void init(void)
{
	unsigned cpu = nr_cpus - 1;

	if (!cpu)
		return;
	on_cpu(cpu, to_init);
	raise_int();
	expect_init(cpu);
	lower_int();
}

void lint(void)
{
	start_pic();
	edges();
	by_level();
	nmis();
	init();
	outb(0x21, 0xff);
	outb(0x43, 0x30);
}
