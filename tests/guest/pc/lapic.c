/* One local APIC's registers and timer, in memory and as MSRs. SDM vol. 3, chapter 11. */
#include "tests/guest/pc/pc.h"

#define PAGE_AT 0xfee00000u
#define MSR_BASE 0x1bu
#define MSR_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u
#define BASE_X2APIC 0x400u
#define ESR_SEND 0x20u
#define ESR_RECEIVE 0x40u
#define ESR_REGISTER 0x80u
#define TO_SELF 0x40000u

uint32_t reg_read(uint32_t reg)
{
	if (use_x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(uintptr_t)(PAGE_AT + reg);
}

void reg_write(uint32_t reg, uint32_t val)
{
	if (use_x2apic)
		wrmsr(MSR_X2APIC + reg / 16, val);
	else
		*(volatile uint32_t *)(uintptr_t)(PAGE_AT + reg) = val;
}

/* Bits that can be written, and those that always read as ones. An entry of the LVT is masked in
 * what is written. */
static const struct {
	uint32_t reg, writable, ones;
} kept[] = {
	{ REG_TPR, 0xff, 0 },
	{ REG_LDR, 0xff000000, 0 },
	{ REG_DFR, 0xf0000000, 0x0fffffff },
	{ REG_SVR, 0x13ff, 0 },
	{ REG_ICR_HIGH, 0xff000000, 0 },
	{ REG_LVT_TIMER, 0x700ff, 0 },
	{ REG_LVT_THERMAL, 0x107ff, 0 },
	{ REG_LVT_PERF, 0x107ff, 0 },
	{ REG_LVT_LINT0, 0x1a7ff, 0 },
	{ REG_LVT_LINT1, 0x1a7ff, 0 },
	{ REG_LVT_ERROR, 0x100ff, 0 },
	{ REG_DIVIDE, 0xb, 0 },
};

static const uint32_t read_only[] = { REG_ID,  REG_VERSION, REG_APR, REG_PPR,    REG_RRD,
				      REG_ISR, REG_TMR,     REG_IRR, REG_CURRENT };

/* Let in what waits. */
static void let_in(void)
{
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
}

static uint32_t errors(void)
{
	reg_write(REG_ESR, 0);
	return reg_read(REG_ESR);
}

static void bits(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
		uint32_t reg = kept[i].reg, old = reg_read(reg);
		uint32_t on = reg == REG_SVR ? 0x100 : 0;

		if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR)
			on = LVT_MASKED;
		reg_write(reg, UINT32_MAX);
		expect("all ones in a register", reg_read(reg), kept[i].writable | kept[i].ones);
		reg_write(reg, on);
		expect("zero in a register", reg_read(reg), on | kept[i].ones);
		reg_write(reg, old);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
		uint32_t old = reg_read(read_only[i]);

		reg_write(read_only[i], ~old);
		expect("a register that is read only", reg_read(read_only[i]), old);
	}
	expect("EOI, read", reg_read(REG_EOI), 0);
	expect("errors of all that", errors(), 0);
}

/* Offsets with no register: reads are zero, and both ways are errors. */
static void holes(void)
{
	static const uint32_t none[] = { 0x00,  0x10,  0x40,  0x70,  0x290,
					 0x2f0, 0x3a0, 0x3f0, 0x400, 0xff0 };

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		expect("no register", reg_read(none[i]), 0);
		expect("its error", errors(), ESR_REGISTER);
		reg_write(none[i], 1);
		expect("its error, written", errors(), ESR_REGISTER);
	}
	expect("errors that were looked at", errors(), 0);
}

/* Errors of several kinds at once, told of by one interrupt; and each entry's illegal vector. */
static void bad_vectors(void)
{
	uint32_t before = came[0][VEC_FIRST];

	reg_write(REG_LVT_ERROR, VEC_FIRST);
	for (uint32_t vector = 0; vector < 16; vector++)
		reg_write(REG_ICR, TO_SELF | vector);
	reg_read(0x10);
	expect("ESR before it is written", reg_read(REG_ESR), 0);
	let_in();
	expect("the error's interrupt", came[0][VEC_FIRST] - before, 1);
	expect("errors", errors(), ESR_SEND | ESR_REGISTER);
	reg_write(REG_LVT_TIMER, 7);
	reg_write(REG_INITIAL, 1);
	while (reg_read(REG_CURRENT))
		pause();
	while (!(errors() & ESR_RECEIVE))
		pause();
	reg_write(REG_LVT_TIMER, LVT_MASKED);
	let_in();
	expect("the second error's interrupt", came[0][VEC_FIRST] - before, 2);
	reg_write(REG_LVT_ERROR, LVT_MASKED);
}

/* SVR's bit 8 off: all entries are masked and stay so, what waits is still taken, what comes is
 * not. */
static void switched_off(void)
{
	uint32_t before = came[0][VEC_FIRST];

	for (uint32_t reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg += 16)
		reg_write(reg, reg == REG_LVT_LINT0 ? LVT_MASKED : VEC_FIRST);
	reg_write(REG_ICR, TO_SELF | VEC_FIRST);
	reg_write(REG_SVR, SVR_ON & ~0x100u);
	for (uint32_t reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg += 16) {
		expect("an entry's mask", reg_read(reg) & LVT_MASKED, LVT_MASKED);
		reg_write(reg, VEC_FIRST);
		expect("its mask, cleared", reg_read(reg), LVT_MASKED | VEC_FIRST);
	}
	reg_write(REG_ICR, TO_SELF | (VEC_FIRST + 1));
	let_in();
	expect("what had come before", came[0][VEC_FIRST] - before, 1);
	expect("what came while it was off", came[0][VEC_FIRST + 1], 0);
	reg_write(REG_SVR, SVR_ON);
	for (uint32_t reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg += 16) {
		expect("its mask afterwards", reg_read(reg), LVT_MASKED | VEC_FIRST);
		reg_write(reg, LVT_MASKED);
	}
}

/* IRR, ISR, PPR and APR with TPR at different heights. */
static void priorities(void)
{
	reg_write(REG_ICR, TO_SELF | VEC_FIRST);
	expect("IRR", reg_read(REG_IRR + (VEC_FIRST >> 5) * 16), 1u << (VEC_FIRST & 31));
	for (uint32_t tpr = 0; tpr < 0x100; tpr += 0x13) {
		uint32_t class = VEC_FIRST & 0xf0;

		reg_write(REG_TPR, tpr);
		expect("PPR", reg_read(REG_PPR), tpr);
		expect("APR", reg_read(REG_APR), (tpr & 0xf0) >= class ? tpr : class);
	}
	reg_write(REG_TPR, VEC_FIRST & 0xf0);
	let_in();
	expect("IRR under TPR", reg_read(REG_IRR + (VEC_FIRST >> 5) * 16), 1u << (VEC_FIRST & 31));
	__asm__ volatile("mov %0, %%cr8" : : "r"((uint64_t)(VEC_FIRST >> 4) - 1));
	expect("TPR by CR8", reg_read(REG_TPR), (VEC_FIRST & 0xf0) - 0x10);
	let_in();
	expect("IRR after CR8", reg_read(REG_IRR + (VEC_FIRST >> 5) * 16), 0);
	reg_write(REG_TPR, 0);
	reg_write(REG_EOI, 0); /* of nothing */
}

void lapic_registers(void)
{
	bits();
	holes();
	bad_vectors();
	switched_off();
	priorities();
}

/* --- the timer --- */

/* Counts in 2 ms; the processor may be others' between two readings. */
static void divides(void)
{
	static const uint8_t codes[] = { 0xb, 0, 1, 2, 3, 8, 9, 0xa };

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		uint64_t us = 0, counted, error = 1000;

		reg_write(REG_DIVIDE, codes[i]);
		for (unsigned tries = 0; tries < 20 && error * 50 > us; tries++) {
			uint64_t from, counts;

			reg_write(REG_INITIAL, UINT32_MAX);
			from = rdtsc();
			while (us_since(from) < 2000)
				pause();
			counts = (uint64_t)(UINT32_MAX - reg_read(REG_CURRENT)) << i;
			us = us_since(from);
			counted = counts * 1000 / apic_counts(1000);
			error = counted > us ? counted - us : us - counted;
		}
		expect_between("the timer's error in us", error, 0, us / 50);
	}
	reg_write(REG_INITIAL, 0);
	reg_write(REG_DIVIDE, 0xb);
}

/* How many of the timer's come in so long. */
static uint32_t come_in(uint64_t us)
{
	uint32_t before = came[0][VEC_FIRST];

	pass(us);
	return came[0][VEC_FIRST] - before;
}

static void modes(void)
{
	uint32_t before;

	/* A mask keeps the interrupt away, for good. */
	reg_write(REG_LVT_TIMER, LVT_MASKED | VEC_FIRST);
	reg_write(REG_INITIAL, apic_counts(100));
	while (reg_read(REG_CURRENT))
		pause();
	reg_write(REG_LVT_TIMER, VEC_FIRST);
	expect("one shot that was over under the mask", come_in(500), 0);
	/* The least there is comes too, and once. */
	before = came[0][VEC_FIRST];
	reg_write(REG_INITIAL, 1);
	expect_between("the count of one that has just begun", reg_read(REG_CURRENT), 0, 1);
	while (came[0][VEC_FIRST] == before)
		pass(100);
	expect("one shot of one count, once more", come_in(500), 0);
	expect("its count", reg_read(REG_CURRENT), 0);
	/* From periodic to one shot while it counts: what is left of the period, and no more. */
	reg_write(REG_LVT_TIMER, 0x20000 | VEC_FIRST);
	reg_write(REG_INITIAL, apic_counts(100000));
	before = came[0][VEC_FIRST];
	reg_write(REG_LVT_TIMER, VEC_FIRST);
	while (came[0][VEC_FIRST] == before)
		pass(100);
	expect("one shot out of a period, once more", come_in(150000), 0);
	expect("its count", reg_read(REG_CURRENT), 0);
	/* Deadlines: no count beside them, none in another mode. */
	wrmsr(MSR_DEADLINE, rdtsc() + 1000);
	expect("a deadline in another mode", rdmsr(MSR_DEADLINE), 0);
	reg_write(REG_LVT_TIMER, 0x40000 | VEC_FIRST);
	reg_write(REG_INITIAL, 1000);
	expect("a count beside deadlines", reg_read(REG_INITIAL), 0);
	expect("interrupts of it", come_in(500), 0);
	wrmsr(MSR_DEADLINE, rdtsc() + 50 * tsc_khz());
	expect_between("a deadline that waits", rdmsr(MSR_DEADLINE), 1, ~0ull);
	wrmsr(MSR_DEADLINE, 0);
	expect("interrupts of one taken back", come_in(70000), 0);
	wrmsr(MSR_DEADLINE, rdtsc() + 50 * tsc_khz());
	reg_write(REG_LVT_TIMER, VEC_FIRST);
	expect("interrupts of one left by the mode", come_in(70000), 0);
	reg_write(REG_LVT_TIMER, 0x40000 | VEC_FIRST);
	expect("a deadline after the mode has gone and come", rdmsr(MSR_DEADLINE), 0);
	wrmsr(MSR_DEADLINE, rdtsc() - 1);
	expect("interrupts of one that is past", come_in(500), 1);
	expect("it, afterwards", rdmsr(MSR_DEADLINE), 0);
	reg_write(REG_LVT_TIMER, LVT_MASKED);
}

/* Fifty periods of 1 ms, which none of others' turns may take away: they are made up for. */
static void period(void)
{
	uint32_t n = 0;
	uint64_t from;

	reg_write(REG_LVT_TIMER, 0x20000 | VEC_FIRST);
	from = rdtsc();
	reg_write(REG_INITIAL, apic_counts(1000));
	while (n < 50)
		n += come_in(100);
	expect_between("us of fifty periods", us_since(from), 49900, ~0ull);
	reg_write(REG_LVT_TIMER, LVT_MASKED);
	reg_write(REG_INITIAL, 0);
}

void lapic_timer(void)
{
	divides();
	modes();
	period();
}

/* --- after INIT --- */

static const struct {
	uint32_t reg, val;
} after_init[] = {
	{ REG_TPR, 0 },
	{ REG_LDR, 0 },
	{ REG_DFR, UINT32_MAX },
	{ REG_SVR, 0xff },
	{ REG_ISR, 0 },
	{ REG_IRR, 0 },
	{ REG_ESR, 0 },
	{ REG_ICR, 0 },
	{ REG_LVT_TIMER, LVT_MASKED },
	{ REG_LVT_THERMAL, LVT_MASKED },
	{ REG_LVT_PERF, LVT_MASKED },
	{ REG_LVT_LINT0, LVT_MASKED },
	{ REG_LVT_LINT1, LVT_MASKED },
	{ REG_LVT_ERROR, LVT_MASKED },
	{ REG_INITIAL, 0 },
	{ REG_CURRENT, 0 },
	{ REG_DIVIDE, 0 },
};
static uint32_t found[CPUS_MAX][ARRAY_SIZE(after_init)];

void note_after_init(unsigned cpu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(after_init); i++)
		found[cpu][i] = reg_read(after_init[i].reg);
}

void check_after_init(void)
{
	for (unsigned cpu = 1; cpu < nr_cpus; cpu++)
		for (unsigned i = 0; i < ARRAY_SIZE(after_init); i++)
			expect("a register after INIT", found[cpu][i], after_init[i].val);
}

/* --- x2APIC --- */

static void to_x2apic(void)
{
	uint32_t tpr = 0x20;

	reg_write(REG_TPR, tpr);
	wrmsr(MSR_BASE, rdmsr(MSR_BASE) | BASE_X2APIC);
	expect("TPR on the way to x2APIC", rdmsr(MSR_X2APIC + REG_TPR / 16), tpr);
	wrmsr(MSR_X2APIC + REG_TPR / 16, 0);
}

/* Which registers there are: bit 0: may be read, bit 1: written, with zero. */
static unsigned rights(uint32_t reg)
{
	switch (reg) {
	case REG_ID:
	case REG_VERSION:
	case REG_PPR:
	case REG_LDR:
	case REG_ISR ... REG_IRR + 0x70:
	case REG_CURRENT:
		return 1;
	case REG_TPR:
	case REG_SVR:
	case REG_ESR:
	case REG_ICR:
	case REG_LVT_TIMER ... REG_LVT_ERROR:
	case REG_INITIAL:
	case REG_DIVIDE:
		return 3;
	case REG_EOI:
	case REG_SELF_IPI:
		return 2;
	default:
		return 0;
	}
}

static void x2apic_bits(void)
{
	for (uint32_t msr = MSR_X2APIC; msr < MSR_X2APIC + 0x100; msr++) {
		uint32_t reg = (msr - MSR_X2APIC) * 16;
		uint64_t val;

		expect("#GP for a read", read_faults(msr, &val), !(rights(reg) & 1));
		/* Zero into SVR or an entry of the LVT means something, to ICR and SELF IPI too. */
		if (!(rights(reg) & 2) || reg == REG_EOI)
			expect("#GP for a write", write_faults(msr, 0), !(rights(reg) & 2));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
		uint32_t reg = kept[i].reg, msr = MSR_X2APIC + reg / 16;
		uint64_t fixed = reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR ? LVT_MASKED : 0;
		uint64_t read_only_bits = fixed ? 0x1000 : 0, old;

		if (rights(reg) != 3)
			continue;
		old = rdmsr(msr);
		fixed |= reg == REG_SVR ? 0x1ff : 0;
		if (reg == REG_LVT_LINT0 || reg == REG_LVT_LINT1)
			read_only_bits |= 0x4000;
		for (unsigned bit = 0; bit < 64; bit++) {
			uint64_t val = fixed | 1ull << bit;
			bool may = (kept[i].writable | read_only_bits) >> bit & 1;

			expect("#GP for a reserved bit", write_faults(msr, val), !may);
		}
		wrmsr(msr, old);
	}
	expect("#GP for ESR", write_faults(MSR_X2APIC + REG_ESR / 16, 1), true);
	expect("#GP for EOI", write_faults(MSR_X2APIC + REG_EOI / 16, 1), true);
	expect("#GP for SELF IPI", write_faults(MSR_X2APIC + REG_SELF_IPI / 16, 0x150), true);
	for (unsigned bit = 13; bit < 32; bit++)
		if (!(0xcc000u >> bit & 1))
			expect("#GP for ICR", write_faults(MSR_X2APIC + REG_ICR / 16, 1u << bit),
			       true);
	expect("#GP for a way back", write_faults(MSR_BASE, rdmsr(MSR_BASE) & ~0x400ull), true);
	expect("LDR", rdmsr(MSR_X2APIC + REG_LDR / 16), 1u << cpu_number());
	expect("the page that is no more", *(volatile uint32_t *)(uintptr_t)(PAGE_AT + REG_VERSION),
	       UINT32_MAX);
}

/* apic_eoi() of the others goes by use_x2apic as well: nothing may come between. */
void x2apic_on(void)
{
	on_all(to_x2apic);
	use_x2apic = true;
}

/* SELF IPI and ICR with vectors that there are not. */
static void x2apic_bad_vectors(void)
{
	errors();
	for (uint32_t vector = 0; vector < 16; vector++) {
		wrmsr(MSR_X2APIC + REG_SELF_IPI / 16, vector);
		expect("errors of SELF IPI", errors(), ESR_SEND);
		wrmsr(MSR_X2APIC + REG_ICR / 16, TO_SELF | vector);
		expect("errors of ICR", errors(), ESR_SEND);
	}
	expect("errors that were looked at", errors(), 0);
}

void x2apic_registers(void)
{
	x2apic_on();
	on_each(x2apic_bits);
	x2apic_bad_vectors();
}
