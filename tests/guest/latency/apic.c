/* The local APIC, by its page or by MSRs, and its timer. */
#include "tests/guest/latency/latency.h"

#define PAGE_AT 0xfee00000u
#define MSR_BASE 0x1bu
#define BASE_ENABLE 0x800u
#define BASE_X2APIC 0x400u
#define MSR_X2APIC 0x800u
#define MSR_DEADLINE 0x6e0u

/* SDM vol. 3, table 11-1: offsets in the page; in x2APIC mode a sixteenth is the MSR. */
#define REG_EOI 0xb0u
#define REG_SVR 0xf0u
#define REG_ICR 0x300u
#define REG_ICR_HIGH 0x310u
#define REG_TIMER 0x320u
#define REG_LINT0 0x350u
#define REG_INITIAL 0x380u
#define REG_CURRENT 0x390u
#define REG_DIVIDE 0x3e0u

#define SVR_ENABLE 0x100u
#define ICR_INIT 0x4500u
#define ICR_STARTUP 0x4600u
#define ICR_SELF 0x40000u
#define ICR_OTHERS 0xc0000u
#define ICR_ASSERT 0x4000u
#define MASKED 0x10000u
#define DIVIDE_BY_1 0xbu
#define CALIBRATE (1u << 26) /* ticks of the TSC */

bool use_x2apic;
static enum timer_kind timer_kind;
static uint64_t counted, in_ticks; /* the timer's speed: so much in so many ticks of the TSC */

static uint32_t apic_read(uint32_t reg)
{
	if (use_x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(uintptr_t)(PAGE_AT + reg);
}

static void apic_write(uint32_t reg, uint32_t val)
{
	if (use_x2apic)
		wrmsr(MSR_X2APIC + reg / 16, val);
	else
		*(volatile uint32_t *)(uintptr_t)(PAGE_AT + reg) = val;
}

void apic_init(void)
{
	if (use_x2apic)
		wrmsr(MSR_BASE, rdmsr(MSR_BASE) | BASE_ENABLE | BASE_X2APIC);
	apic_write(REG_SVR, SVR_ENABLE | VEC_SPURIOUS);
	apic_write(REG_LINT0, MASKED);
	apic_write(REG_DIVIDE, DIVIDE_BY_1);
}

void apic_eoi(void)
{
	apic_write(REG_EOI, 0);
}

static void send(unsigned cpu, uint32_t command)
{
	if (use_x2apic) {
		wrmsr(MSR_X2APIC + REG_ICR / 16, (uint64_t)cpu << 32 | command);
		return;
	}
	apic_write(REG_ICR_HIGH, cpu << 24);
	apic_write(REG_ICR, command);
}

void apic_send(unsigned cpu, unsigned vector)
{
	send(cpu, ICR_ASSERT | vector);
}

void apic_send_self(unsigned vector)
{
	apic_write(REG_ICR, ICR_SELF | ICR_ASSERT | vector);
}

void apic_send_others(unsigned vector)
{
	apic_write(REG_ICR, ICR_OTHERS | ICR_ASSERT | vector);
}

void apic_start(unsigned cpu)
{
	send(cpu, ICR_INIT);
	send(cpu, ICR_STARTUP | TRAMPOLINE >> 12);
}

void timer_calibrate(void)
{
	uint32_t from;
	uint64_t since;

	apic_write(REG_TIMER, MASKED | VEC_TIMER);
	apic_write(REG_INITIAL, UINT32_MAX);
	since = rdtsc();
	from = apic_read(REG_CURRENT);
	while (rdtsc() - since < CALIBRATE)
		;
	in_ticks = rdtsc() - since;
	counted = from - apic_read(REG_CURRENT);
	apic_write(REG_INITIAL, 0);
}

bool timer_has(enum timer_kind kind)
{
	uint32_t reg[4];

	cpuid(1, reg);
	return kind != TIMER_DEADLINE || reg[2] & 1u << 24;
}

void timer_set_kind(enum timer_kind kind)
{
	timer_kind = kind;
	apic_write(REG_TIMER, (uint32_t)kind << 17 | VEC_TIMER);
}

void timer_arm(uint64_t from, uint64_t ticks)
{
	if (timer_kind == TIMER_DEADLINE)
		wrmsr(MSR_DEADLINE, from + ticks);
	else
		apic_write(REG_INITIAL, (uint32_t)((ticks * counted + in_ticks / 2) / in_ticks));
}

void timer_stop(void)
{
	apic_write(REG_TIMER, MASKED | VEC_TIMER);
	apic_write(REG_INITIAL, 0);
}
