/* IA32_APIC_BASE while several processors run: its ways, and pages that each has elsewhere. SDM
 * vol. 3, 11.4.3 to 11.4.5, 11.12.5. */
#include "tests/guest/pc/pc.h"

#define MSR_BASE 0x1bu
#define BASE_AT 0xfee00000u
#define BASE_BSP 0x100u
#define BASE_X2APIC 0x400u
#define BASE_ENABLE 0x800u
#define MSR_X2APIC 0x800u
#define PAGE 4096u
#define ROUNDS 30u
#define VECTOR VEC_FIRST

static uint64_t ram[CPUS_MAX][PAGE / 8] __attribute__((aligned(PAGE)));
static uint32_t version;

static volatile uint32_t *at(uintptr_t page, uint32_t reg)
{
	return (volatile uint32_t *)(page + reg);
}

static void move_to(uintptr_t page)
{
	wrmsr(MSR_BASE, (rdmsr(MSR_BASE) & (BASE_BSP | BASE_ENABLE)) | page);
}

static uint32_t own_id(void)
{
	return cpu_number() << 24;
}

/* --- its bits, and what leads where --- */

static bool told_of_apic(void)
{
	uint32_t r[4];

	cpuid(1, r);
	return r[3] >> 9 & 1;
}

static void refused(uint64_t base)
{
	uint32_t r[4];

	cpuid(0x80000008, r);
	for (unsigned bit = 0; bit < 64; bit++)
		if (bit < 8 || bit == 9 || bit >= (r[0] & 0xff))
			expect("#GP for a reserved bit", write_faults(MSR_BASE, base | 1ull << bit),
			       true);
	expect("#GP for x2APIC alone",
	       write_faults(MSR_BASE, (base & ~(uint64_t)BASE_ENABLE) | BASE_X2APIC), true);
	expect("the base after all that", rdmsr(MSR_BASE), base);
}

static void expect_reset(const char *what)
{
	expect(what, reg_read(REG_ID), own_id());
	expect(what, reg_read(REG_SVR), 0xff);
	expect(what, reg_read(REG_TPR), 0);
	expect(what, reg_read(REG_LDR), 0);
	expect(what, reg_read(REG_DFR), UINT32_MAX);
	for (uint32_t reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg += 16)
		expect(what, reg_read(reg), LVT_MASKED);
}

static void expect_off(uint64_t on)
{
	uint64_t val;

	expect("CPUID's bit while it is off", told_of_apic(), false);
	expect("its page while it is off", *at(BASE_AT, REG_VERSION), UINT32_MAX);
	expect("#GP for its MSRs while it is off", read_faults(MSR_X2APIC + REG_ID / 16, &val),
	       true);
	expect("#GP from off to x2APIC", write_faults(MSR_BASE, on | BASE_X2APIC), true);
	expect("#GP for x2APIC while it is off",
	       write_faults(MSR_BASE, (on & ~(uint64_t)BASE_ENABLE) | BASE_X2APIC), true);
}

/* xAPIC, off, xAPIC, x2APIC, off, xAPIC. */
static void ways(void)
{
	uint64_t on = rdmsr(MSR_BASE), off = on & ~(uint64_t)BASE_ENABLE;

	interrupts_off();
	expect("the base", on, BASE_AT | BASE_ENABLE | (cpu_number() ? 0 : BASE_BSP));
	expect("CPUID's bit", told_of_apic(), true);
	refused(on);
	reg_write(REG_TPR, 0x30);
	reg_write(REG_LVT_PERF, VECTOR);
	wrmsr(MSR_BASE, off);
	expect_off(on);
	wrmsr(MSR_BASE, on);
	expect("CPUID's bit", told_of_apic(), true);
	expect_reset("a register after off and on");
	wrmsr(MSR_BASE, on | BASE_X2APIC);
	refused(on | BASE_X2APIC);
	expect("#GP for a way back", write_faults(MSR_BASE, on), true);
	expect("the page in x2APIC mode", *at(BASE_AT, REG_VERSION), UINT32_MAX);
	expect("the id", rdmsr(MSR_X2APIC + REG_ID / 16), cpu_number());
	wrmsr(MSR_BASE, off);
	expect_off(on);
	wrmsr(MSR_BASE, on);
	expect_reset("a register after x2APIC and off");
	apic_init();
	if (cpu_number())
		interrupts_on();
}

/* --- the others, meanwhile --- */

static volatile uint32_t step;

static void await_step(uint32_t n)
{
	while (step < n)
		pause();
}

static void off_for_a_while(void)
{
	uint64_t on = rdmsr(MSR_BASE);

	wrmsr(MSR_BASE, on & ~(uint64_t)BASE_ENABLE);
	step = 1;
	await_step(2);
	wrmsr(MSR_BASE, on);
	apic_init();
	step = 3;
}

/* One that is off has neither interrupts nor NMIs, not afterwards either. */
static void messages_to_off(unsigned cpu)
{
	uint32_t had = came[cpu][VECTOR], nmis = came[cpu][2];

	step = 0;
	begin_on(cpu, off_for_a_while);
	await_step(1);
	apic_send(cpu, VECTOR);
	apic_send(cpu, 0x400);
	step = 2;
	end_on(cpu);
	pass(2000);
	expect("what came to one that was off", came[cpu][VECTOR] - had, 0);
	expect("what NMIs did", came[cpu][2] - nmis, 0);
	apic_send(cpu, VECTOR);
	while (came[cpu][VECTOR] == had)
		pause();
}

static bool in_x2_irr(unsigned vector)
{
	return rdmsr(MSR_X2APIC + REG_IRR / 16 + (vector >> 5)) >> (vector & 31) & 1;
}

static void x2apic_for_a_while(void)
{
	uint64_t on = rdmsr(MSR_BASE);

	interrupts_off();
	wrmsr(MSR_BASE, on | BASE_X2APIC);
	step = 1;
	while (!in_x2_irr(VECTOR))
		pause();
	wrmsr(MSR_X2APIC + REG_ICR / 16, VECTOR); /* to the first one */
	await_step(2);
	wrmsr(MSR_BASE, on & ~(uint64_t)BASE_ENABLE);
	wrmsr(MSR_BASE, on);
	apic_init();
	interrupts_on();
}

/* One of each mode can reach the other. */
static void both_modes(unsigned cpu)
{
	uint32_t had = came[0][VECTOR];

	step = 0;
	begin_on(cpu, x2apic_for_a_while);
	await_step(1);
	apic_send(cpu, VECTOR);
	while (came[0][VECTOR] == had)
		pass(10);
	step = 2;
	end_on(cpu);
}

/* --- pages that are elsewhere --- */

static volatile uint32_t arrived;

/* Until all are here. */
static void meet(void)
{
	uint32_t want = (__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST) / nr_cpus + 1) * nr_cpus;

	while (arrived < want)
		pause();
}

/* Each in the place of its own page of memory, which the others see and use meanwhile. */
static void apart(void)
{
	unsigned me = cpu_number(), next = (me + 1) % nr_cpus;
	uintptr_t mine = (uintptr_t)ram[me], others = (uintptr_t)ram[next];

	interrupts_off();
	meet();
	for (uint32_t round = 0; round < ROUNDS; round++) {
		move_to(mine);
		expect("its version, elsewhere", *at(mine, REG_VERSION), version);
		expect("its id, elsewhere", *at(mine, REG_ID), own_id());
		*at(mine, REG_TPR) = 0x10;
		expect("its TPR, elsewhere", *at(mine, REG_TPR), 0x10);
		*at(mine, REG_TPR) = 0;
		expect("where it was", *at(BASE_AT, REG_VERSION), UINT32_MAX);
		expect("memory in another's place", *at(others, REG_VERSION), next);
		*at(others, REG_TPR) = round;
		expect("such memory, written", *at(others, REG_TPR), round);
		move_to(BASE_AT);
		expect("its version, in its place", *at(BASE_AT, REG_VERSION), version);
		expect("its id, in its place", *at(BASE_AT, REG_ID), own_id());
		expect("memory where it was", *at(mine, REG_VERSION), me);
	}
	meet();
	expect("what the other one wrote", *at(mine, REG_TPR), ROUNDS - 1);
	if (me)
		interrupts_on();
}

/* All in the place of one. */
static void together(void)
{
	uintptr_t page = (uintptr_t)ram[0];

	interrupts_off();
	meet();
	move_to(page);
	meet();
	for (unsigned i = 0; i < ROUNDS; i++)
		expect("its id, in one place for all", *at(page, REG_ID), own_id());
	meet();
	move_to(BASE_AT);
	expect("its id, in its place", *at(BASE_AT, REG_ID), own_id());
	meet();
	expect("the memory", *at(page, REG_VERSION), 0);
	if (cpu_number())
		interrupts_on();
}

void apic_base(void)
{
	version = reg_read(REG_VERSION);
	for (unsigned i = 0; i < nr_cpus; i++)
		*at((uintptr_t)ram[i], REG_VERSION) = i;
	on_each(ways);
	for (unsigned i = 1; i < nr_cpus; i++) {
		messages_to_off(i);
		both_modes(i);
	}
	on_all(apart);
	on_all(together);
}
