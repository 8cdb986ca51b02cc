/*
 * A guest that tries its PC: local APICs and what they send each other, 8254, RTC, TSC, PM timer,
 * MTRRs and PAT, how interrupts are taken, and what the ACPI and MP tables say of them. lapic.asm
 * and ioapic.asm have the rest. What is wrong it says, and stops; it starts as many processors as
 * the MADT names. With more than eight it tries messages between them and no more. Its ground is
 * latency's machine.c and entry.asm.
 */
#ifndef UMBRA_TESTS_GUEST_PC_H
#define UMBRA_TESTS_GUEST_PC_H

#include "tests/guest/latency/latency.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define INTERRUPT __attribute__((interrupt))

struct interrupt_frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

/* The end, unless the two are equal. */
void expect(const char *what, uint64_t seen, uint64_t want);
void expect_between(const char *what, uint64_t seen, uint64_t least, uint64_t most);

static inline uint32_t inl(uint16_t port)
{
	uint32_t val;

	__asm__ volatile("inl %w1, %0" : "=a"(val) : "Nd"(port));
	return val;
}

/* --- main.c --- */

/* Ticks of the TSC in a microsecond and the like, as leaf 40000010 says. */
uint64_t tsc_khz(void);
uint64_t us_since(uint64_t from);
/* So many us with interrupts on. */
void pass(uint64_t us);
/* RDMSR or WRMSR: is it #GP? */
bool read_faults(uint32_t msr, uint64_t *val);
bool write_faults(uint32_t msr, uint64_t val);
/* Which processor this is: 0 to nr_cpus - 1, which is its APIC's id as well. */
unsigned cpu_number(void);
extern unsigned nr_cpus;
/* Have a processor do something, this one too, and wait until it has. In between the others wait
 * with interrupts on. */
void on_cpu(unsigned cpu, void (*fn)(void));
void on_each(void (*fn)(void));
/* All at the same time. */
void on_all(void (*fn)(void));
/* The same without waiting; and wait for it. */
void begin_on(unsigned cpu, void (*fn)(void));
void end_on(unsigned cpu);
/* Who has nothing to do halts, and takes no work until an interrupt has come after this is false
 * again. */
extern volatile bool resting;
/* STARTUP for one that has had its INIT; returns when it waits for work. */
void restart(unsigned cpu);

/* Two processors read a clock by turns, each other one with this one: it must not go back. */
void expect_forward(const char *what, uint64_t (*clock)(void));

/* --- the interrupts of VEC_FIRST to VEC_LAST, NMIs as vector 2, and the spurious one; by processor
 * --- */
#define VEC_FIRST 0x50u
#define VEC_LAST 0x53u
extern volatile uint32_t came[CPUS_MAX][256];
/* What an NMI does beside being counted, or NULL. */
extern void (*volatile nmi_does)(void);
/* What an RTC's interrupt found in register C, ored. */
extern volatile uint8_t rtc_flags;
#define VEC_RTC 0x58u
#define VEC_PIC 0x38u

/* --- the chapters --- */
unsigned tables(void); /* how many processors there are */
void memory_types(void);
void tsc(void);
void kvm_clock(void);
void pm_timer(uint16_t port);
void pit(void);
void pic(void);
void lint(void);
void taking(void);
void apic_base(void);
void rtc(void);
void lapic_registers(void);
void lapic_timer(void);
void x2apic_on(void);
void x2apic_registers(void);
void ipis(void);
void ioapic(void);
void hpet_timers(void);
void x2apic_ipis(void);
/* Of more processors than a flat model has. */
void many_ipis(void);
void x2apic_clusters(void);
/* A processor's local APIC after an INIT, as other_main() has found it. */
void note_after_init(unsigned cpu);
void check_after_init(void);

/* --- pic.c --- */
/* The 8259s from the beginning: vectors from VEC_PIC on, all but IRQ 0 masked. */
void start_pic(void);

/* --- lint.c --- */
/* An INIT has come to this one, or comes now: it waits for STARTUP, and then is as new. */
void expect_init(unsigned cpu);

/* --- ioapic.c --- */
#define LEVEL 0x8000u
#define ACTIVE_LOW 0x2000u
#define REMOTE_IRR 0x4000u
/* The entry of an input of the I/O APIC. */
void input_set(unsigned input, uint32_t dest, uint32_t val);
uint32_t input_get(unsigned input);
/* Its EOI register. */
void input_eoi(unsigned vector);

/* --- hpet.c --- */
#define HPET_CONFIG 0x10u
#define HPET_STATUS 0x20u
#define HPET_COUNTER 0xf0u
#define HPET_TIMER(n) (0x100u + 0x20u * (n))
#define HPET_COMPARATOR(n) (0x108u + 0x20u * (n))
#define HPET_MESSAGE(n) (0x110u + 0x20u * (n))
#define TIMER_LEVEL 2u
#define TIMER_ON 4u
#define TIMER_PERIODIC 8u
#define TIMER_SETS 0x40u
#define TIMER_32 0x100u
#define TIMER_INPUT(input) ((uint32_t)(input) << 9)
static inline volatile uint64_t *hpet(uint32_t offset)
{
	return (volatile uint64_t *)(uintptr_t)(0xfed00000u + offset);
}

/* --- lapic.c --- */
#define REG_ID 0x20u
#define REG_VERSION 0x30u
#define REG_TPR 0x80u
#define REG_APR 0x90u
#define REG_PPR 0xa0u
#define REG_EOI 0xb0u
#define REG_RRD 0xc0u
#define REG_LDR 0xd0u
#define REG_DFR 0xe0u
#define REG_SVR 0xf0u
#define REG_ISR 0x100u
#define REG_TMR 0x180u
#define REG_IRR 0x200u
#define REG_ESR 0x280u
#define REG_ICR 0x300u
#define REG_ICR_HIGH 0x310u
#define REG_LVT_TIMER 0x320u
#define REG_LVT_THERMAL 0x330u
#define REG_LVT_PERF 0x340u
#define REG_LVT_LINT0 0x350u
#define REG_LVT_LINT1 0x360u
#define REG_LVT_ERROR 0x370u
#define REG_INITIAL 0x380u
#define REG_CURRENT 0x390u
#define REG_DIVIDE 0x3e0u
#define REG_SELF_IPI 0x3f0u
#define LVT_MASKED 0x10000u
#define SVR_ON 0x1ffu
#define SVR_NO_BROADCAST 0x1000u
uint32_t reg_read(uint32_t reg);
void reg_write(uint32_t reg, uint32_t val);

#endif
