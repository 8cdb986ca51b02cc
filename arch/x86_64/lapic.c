#include "arch/x86_64/lapic.h"

#include <stdbool.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/trap.h"

/* Registers. APM vol. 2, 16.3; SDM vol. 3, 10.4.1. In x2APIC mode: MSR 800h + offset / 16. */
#define LAPIC_ID 0x20u
#define LAPIC_TPR 0x80u
#define LAPIC_EOI 0xb0u
#define LAPIC_SVR 0xf0u
#define LAPIC_ISR(n) (0x100u + 0x10 * (n)) /* vectors 32n to 32n + 31 in service */
#define LAPIC_ESR 0x280u
#define LAPIC_ICR 0x300u
#define LAPIC_ICR_HIGH 0x310u
#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_LVT_THERMAL 0x330u
#define LAPIC_LVT_PERF 0x340u
#define LAPIC_LVT_LINT0 0x350u
#define LAPIC_LVT_ERROR 0x370u
#define LAPIC_TIMER_INITIAL 0x380u
#define LAPIC_TIMER_CURRENT 0x390u
#define LAPIC_TIMER_DIVIDE 0x3e0u
#define LAPIC_VERSION 0x30u

#define SVR_ENABLE BIT(8)
#define LVT_MASKED BIT(16)
#define LVT_DELIVERY BITS(10, 8)
#define LVT_DELIVERY_SMI (UINT64_C(2) << 8)
#define LVT_TSC_DEADLINE BIT(18)
#define ICR_PENDING BIT(12)
#define ICR_ASSERT BIT(14)
#define ICR_INIT (5u << 8)
#define ICR_SELF BIT(18)
#define ICR_STARTUP (6u << 8)
#define ICR_NMI (4u << 8)
#define ICR_LOOKS_MAX 1000000u
#define DIVIDE_BY_1 0xbu
#define MAX_LVT(version) ((version) >> 16 & 0xff)

static bool x2apic;
static uint64_t base; /* virtual */

static uint32_t lapic_read(uint32_t reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC_BASE + (reg >> 4));
	return *(volatile uint32_t *)(base + reg);
}

static void lapic_write(uint32_t reg, uint32_t val)
{
	if (x2apic)
		wrmsr(MSR_X2APIC_BASE + (reg >> 4), val);
	else
		*(volatile uint32_t *)(base + reg) = val;
}

/* Vectors 20h to 2fh, everything masked. Intel 8259A, initialization command words. */
static void pic_disable(void)
{
	const uint16_t pic[2] = { 0x20, 0xa0 };
	const uint8_t icw3[2] = { 1 << 2, 2 };

	for (unsigned i = 0; i < 2; i++) {
		outb(pic[i], 0x11); /* ICW1: edge, cascade, ICW4 follows */
		outb(pic[i] + 1, (uint8_t)(TRAP_PIC + 8 * i));
		outb(pic[i] + 1, icw3[i]);
		outb(pic[i] + 1, 0x01); /* ICW4: 8086 mode */
		outb(pic[i] + 1, 0xff);
	}
}

/* But one that the firmware wants as an SMI is its own. QEMU, Bochs: theirs wants none. */
static void lvt_mask(uint32_t reg)
{
	if ((lapic_read(reg) & LVT_DELIVERY) != LVT_DELIVERY_SMI)
		lapic_write(reg, LVT_MASKED);
}

/* What firmware took and did not end would keep everything below it out for ever. QEMU, Bochs:
 * nothing is in service. */
static void end_stale(void)
{
	for (unsigned vectors = 0; vectors < 256; vectors++) {
		uint32_t in_service = 0;

		for (unsigned i = 0; i < 8; i++)
			in_service |= lapic_read(LAPIC_ISR(i));
		if (!in_service)
			return;
		lapic_eoi();
	}
}

/* The registers of a local APIC that is on, but for the 8259's input. */
static void set_up(void)
{
	unsigned max_lvt = MAX_LVT(lapic_read(LAPIC_VERSION));

	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	if (max_lvt >= 4)
		lvt_mask(LAPIC_LVT_PERF);
	if (max_lvt >= 5)
		lvt_mask(LAPIC_LVT_THERMAL);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED | TRAP_APIC_ERROR);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_SVR, SVR_ENABLE | TRAP_SPURIOUS);
	lapic_write(LAPIC_ESR, 0);
	end_stale();
	lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, TRAP_TIMER);
}

static uint32_t own_id(void)
{
	return x2apic ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

void lapic_init(void)
{
	uint64_t apic_base = rdmsr(MSR_APIC_BASE);

	pic_disable();
	if (!(apic_base & APIC_BASE_ENABLE)) {
		apic_base = (apic_base & ~APIC_BASE_X2APIC) | APIC_BASE_ENABLE;
		wrmsr(MSR_APIC_BASE, apic_base);
	}
	x2apic = apic_base & APIC_BASE_X2APIC;
	base = (uintptr_t)hpa_to_ptr(HPA(apic_base & BITS(51, 12)));
	this_cpu()->apic_id = own_id();
	set_up();
}

bool lapic_is_x2apic(void)
{
	return x2apic;
}

void lapic_enter_x2apic(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
	x2apic = true;
	this_cpu()->apic_id = own_id();
}

/* From x2APIC mode the way back is through "disabled". SDM vol. 3, 11.12.5. */
bool lapic_init_other(void)
{
	uint64_t val = rdmsr(MSR_APIC_BASE) & (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE);
	uint64_t where = ptr_to_hpa((void *)(uintptr_t)base).v;

	if ((val & APIC_BASE_X2APIC) && !x2apic) {
		val &= APIC_BASE_BSP;
		wrmsr(MSR_APIC_BASE, val | where);
	}
	val |= APIC_BASE_ENABLE;
	wrmsr(MSR_APIC_BASE, val | where);
	if (x2apic)
		wrmsr(MSR_APIC_BASE, val | where | APIC_BASE_X2APIC);
	if (own_id() != this_cpu()->apic_id)
		return false;
	set_up();
	return true;
}

/* --- interrupts for other CPUs --- */

/* SDM vol. 3, 11.6.1. In x2APIC mode there is no waiting, and a WRMSR may overtake the stores
 * that the other CPU is to find (11.12.3). */
static void send(uint32_t apic_id, uint64_t low)
{
	uint64_t flags = irq_save();

	if (x2apic) {
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC_BASE + (LAPIC_ICR >> 4), (uint64_t)apic_id << 32 | low);
	} else {
		for (unsigned n = 0; (lapic_read(LAPIC_ICR) & ICR_PENDING) && n < ICR_LOOKS_MAX;
		     n++)
			cpu_relax();
		lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
		lapic_write(LAPIC_ICR, (uint32_t)low);
	}
	irq_restore(flags);
}

void lapic_send(uint32_t apic_id, unsigned vector)
{
	send(apic_id, ICR_ASSERT | vector);
}

void lapic_send_nmi(uint32_t apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_NMI);
}

void lapic_send_init(uint32_t apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_INIT);
}

void lapic_send_startup(uint32_t apic_id, unsigned page)
{
	send(apic_id, ICR_ASSERT | ICR_STARTUP | page);
}

/* By the shorthand, which leaves alone what the code that the NMI has cut off has written. */
void lapic_send_self(unsigned vector)
{
	lapic_write(LAPIC_ICR, (uint32_t)(ICR_SELF | ICR_ASSERT | vector));
}

void lapic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

/* The priority is judged at each write of the TPR. */
void lapic_show_pending(void)
{
	lapic_write(LAPIC_TPR, 0);
}

void lapic_timer_start(uint32_t ticks)
{
	lapic_write(LAPIC_TIMER_INITIAL, ticks);
}

uint32_t lapic_timer_left(void)
{
	return lapic_read(LAPIC_TIMER_CURRENT);
}

/* The first deadline must not overtake the change of mode. SDM vol. 3, 11.5.4.1. */
void lapic_timer_use_deadline(void)
{
	lapic_write(LAPIC_LVT_TIMER, (uint32_t)(LVT_TSC_DEADLINE | TRAP_TIMER));
	__asm__ volatile("mfence" ::: "memory");
}

void lapic_timer_deadline(uint64_t tsc)
{
	wrmsr(MSR_TSC_DEADLINE, tsc);
}
