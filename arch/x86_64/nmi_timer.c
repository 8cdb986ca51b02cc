#include "arch/x86_64/nmi_timer.h"

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ioapic.h"
#include "arch/x86_64/mm.h"

/* IA-PC HPET 1.0a, 2.3 "Register Definitions". */
#define REG_CAPABILITIES 0x000
#define REG_PERIOD 0x004
#define REG_CONFIG 0x010
#define REG_COUNTER 0x0f0
#define REG_TIMER0_CONFIG 0x100
#define REG_TIMER0_COMPARATOR 0x108
#define CAP_LEGACY BIT(15)
#define CONFIG_ENABLE BIT(0)
#define CONFIG_LEGACY BIT(1)
#define TN_INT_ENABLE BIT(2)
#define TN_32MODE BIT(8)
#define PERIOD_FS_MAX 100000000u
#define FS_PER_NS 1000000u
#define COUNTER_BEGIN 1u

#define IRQ_PIT 0
/* Channel 0 in mode 0, whose output stays low without a count. Intel 8254. */
#define PIT_CONTROL 0x43
#define PIT_QUIET 0x30

static uint32_t ticks; /* from one NMI to the next */

static volatile uint32_t *reg(unsigned offset)
{
	return (volatile uint32_t *)((uint8_t *)hpa_to_ptr(HPA(acpi_info()->hpet_pa)) + offset);
}

/* Once, from a counter that begins anew, which keeps the comparator ahead of it and clear of a
 * wrap. Not periodic: QEMU's and Bochs's fires a second time where its clock stands at the
 * comparator, to the tick, as it does when the clock is virtual. Not from 0: what Bochs's has seen
 * there is a wrap, for which it fires a tick early, and then again. Halves of registers, as not
 * every HPET takes whole ones. */
static void set_timer(void)
{
	*reg(REG_CONFIG) &= (uint32_t)~CONFIG_ENABLE;
	*reg(REG_COUNTER) = COUNTER_BEGIN;
	*reg(REG_COUNTER + 4) = 0;
	*reg(REG_TIMER0_CONFIG) = TN_INT_ENABLE | TN_32MODE;
	*reg(REG_TIMER0_COMPARATOR) = COUNTER_BEGIN + ticks;
	*reg(REG_CONFIG) |= CONFIG_ENABLE | CONFIG_LEGACY;
}

bool nmi_timer_again(void)
{
	/* Emulated ones are early by a tick, some of them. */
	if (!*reg(REG_COUNTER + 4) && *reg(REG_COUNTER) < ticks - ticks / 64)
		return false;
	set_timer();
	return true;
}

bool nmi_timer_start(uint64_t period_ns)
{
	uint32_t fs;

	if (!acpi_info()->hpet_pa)
		return false;
	fs = *reg(REG_PERIOD);
	if (!fs || fs > PERIOD_FS_MAX || !(*reg(REG_CAPABILITIES) & CAP_LEGACY) ||
	    mul_div64(period_ns, FS_PER_NS, fs) > UINT32_MAX - COUNTER_BEGIN)
		return false;
	outb(PIT_CONTROL, PIT_QUIET);
	ticks = (uint32_t)mul_div64(period_ns, FS_PER_NS, fs);
	set_timer();
	return !ioapic_route_isa_nmi(IRQ_PIT);
}
