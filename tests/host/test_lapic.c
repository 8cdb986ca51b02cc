/* Taking the local APIC over from the firmware, in x2APIC mode, where accesses can be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/msr.h"
#include "tests/host/fakes.h"

/* The machine below the driver. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
static uint64_t rdmsr(uint32_t msr);
static void wrmsr(uint32_t msr, uint64_t val);
static void outb(uint16_t port, uint8_t val);
static uint64_t irq_save(void);
static void irq_restore(uint64_t flags);
#define cpu_relax() ((void)0)
static struct cpu {
	uint32_t apic_id;
} cpu;
static struct cpu *this_cpu(void)
{
	return &cpu;
}
#include "arch/x86_64/lapic.c"

#define LVT_SMI 0x200u

/* --- the pretended APIC and PICs --- */

static uint64_t apic_base;
static uint32_t reg[0x40]; /* by offset / 16 */
static uint8_t pic_mask[2];
static unsigned eois;
static uint64_t icr;
static bool irqs_off;

static uint64_t rdmsr(uint32_t msr)
{
	if (msr == MSR_APIC_BASE)
		return apic_base;
	assert_in_range(msr, MSR_X2APIC_BASE, MSR_X2APIC_BASE + 0x3f);
	return reg[msr - MSR_X2APIC_BASE];
}

/* The highest vector in service is done. */
static void end_of_interrupt(void)
{
	eois++;
	for (unsigned i = 8; i-- > 0;) {
		uint32_t *word = &reg[LAPIC_ISR(i) >> 4];

		if (*word) {
			*word &= ~(1u << (31 - __builtin_clz(*word)));
			return;
		}
	}
}

static void wrmsr(uint32_t msr, uint64_t val)
{
	if (msr == MSR_APIC_BASE) {
		/* What would be #GP: x2APIC mode from "disabled", and out of it but to that. */
		assert_false((val & APIC_BASE_X2APIC) && !(apic_base & APIC_BASE_ENABLE));
		assert_false((val & APIC_BASE_X2APIC) && !(val & APIC_BASE_ENABLE));
		assert_false((apic_base & APIC_BASE_X2APIC) && !(val & APIC_BASE_X2APIC) &&
			     (val & APIC_BASE_ENABLE));
		apic_base = val;
		return;
	}
	assert_in_range(msr, MSR_X2APIC_BASE, MSR_X2APIC_BASE + 0x3f);
	if (msr == MSR_X2APIC_BASE + (LAPIC_EOI >> 4)) {
		assert_int_equal(val, 0); /* else #GP, as for ESR */
		end_of_interrupt();
		return;
	}
	if (msr == MSR_X2APIC_BASE + (LAPIC_ESR >> 4))
		assert_int_equal(val, 0);
	if (msr == MSR_X2APIC_BASE + (LAPIC_ICR >> 4)) {
		assert_true(irqs_off);
		icr = val;
	}
	reg[msr - MSR_X2APIC_BASE] = (uint32_t)val;
}

static void outb(uint16_t port, uint8_t val)
{
	if (port & 1)
		pic_mask[port == 0xa1] = val;
}

static uint64_t irq_save(void)
{
	uint64_t was = irqs_off;

	irqs_off = true;
	return was;
}

static void irq_restore(uint64_t flags)
{
	irqs_off = flags;
}

static int setup_test(void **state)
{
	(void)state;
	memset(reg, 0, sizeof(reg));
	memset(pic_mask, 0, sizeof(pic_mask));
	eois = 0;
	apic_base = 0xfee00000 | APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	reg[LAPIC_ID >> 4] = 0x123;
	reg[LAPIC_VERSION >> 4] = 5 << 16 | 0x14;
	return 0;
}

/* --- tests --- */

static void test_takes_over(void **state)
{
	(void)state;
	reg[LAPIC_TPR >> 4] = 0xff;
	reg[LAPIC_LVT_PERF >> 4] = 0x400; /* NMI */
	reg[LAPIC_LVT_LINT0 >> 4] = 0x700;
	reg[LAPIC_LVT_TIMER >> 4] = BIT(17) | 0x20; /* periodic */
	lapic_init();
	assert_int_equal(cpu.apic_id, 0x123);
	assert_int_equal(reg[LAPIC_TPR >> 4], 0);
	assert_int_equal(reg[LAPIC_SVR >> 4], SVR_ENABLE | TRAP_SPURIOUS);
	assert_true(reg[LAPIC_LVT_PERF >> 4] & LVT_MASKED);
	assert_true(reg[LAPIC_LVT_THERMAL >> 4] & LVT_MASKED);
	assert_true(reg[LAPIC_LVT_LINT0 >> 4] & LVT_MASKED);
	assert_true(reg[LAPIC_LVT_ERROR >> 4] & LVT_MASKED);
	assert_int_equal(reg[LAPIC_LVT_TIMER >> 4], TRAP_TIMER);
	assert_int_equal(pic_mask[0], 0xff);
	assert_int_equal(pic_mask[1], 0xff);
	assert_int_equal(eois, 0);
}

/* What the firmware handles by SMI stays its own. */
static void test_leaves_smi(void **state)
{
	(void)state;
	reg[LAPIC_LVT_THERMAL >> 4] = LVT_SMI;
	reg[LAPIC_LVT_PERF >> 4] = LVT_SMI;
	lapic_init();
	assert_int_equal(reg[LAPIC_LVT_THERMAL >> 4], LVT_SMI);
	assert_int_equal(reg[LAPIC_LVT_PERF >> 4], LVT_SMI);
}

/* A CPU whose APIC ends with LVT entry 3 has no register there. */
static void test_few_lvts(void **state)
{
	(void)state;
	reg[LAPIC_VERSION >> 4] = 3 << 16 | 0x10;
	lapic_init();
	assert_int_equal(reg[LAPIC_LVT_PERF >> 4], 0);
	assert_int_equal(reg[LAPIC_LVT_THERMAL >> 4], 0);
}

static bool in_service(void)
{
	for (unsigned i = 0; i < 8; i++)
		if (reg[LAPIC_ISR(i) >> 4])
			return true;
	return false;
}

/* An interrupt that was taken and not ended would keep those below it out for ever. */
static void test_ends_stale_interrupts(void **state)
{
	(void)state;
	reg[LAPIC_ISR(7) >> 4] = BIT(31) | BIT(3);
	reg[LAPIC_ISR(1) >> 4] = BIT(0);
	lapic_init();
	assert_false(in_service());
	assert_int_equal(eois, 3);
}

/* Another CPU comes into the first one's mode, from whichever it is in. */
static void test_other_cpu(void **state)
{
	static const uint64_t from[] = {
		0,
		APIC_BASE_ENABLE,
		APIC_BASE_ENABLE | APIC_BASE_X2APIC,
	};

	(void)state;
	lapic_init();
	assert_true(lapic_is_x2apic());
	for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
		apic_base = 0xfee00000 | from[i];
		reg[LAPIC_LVT_LINT0 >> 4] = 0x700;
		reg[LAPIC_SVR >> 4] = 0xff;
		cpu.apic_id = 0x124; /* not the one that answers */
		assert_false(lapic_init_other());
		cpu.apic_id = 0x123;
		assert_true(lapic_init_other());
		assert_int_equal(apic_base, 0xfee00000 | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
		assert_int_equal(reg[LAPIC_SVR >> 4], SVR_ENABLE | TRAP_SPURIOUS);
		assert_true(reg[LAPIC_LVT_LINT0 >> 4] & LVT_MASKED);
	}
}

/* What is sent, and to whom: ids beyond eight bits too. */
static void test_sends(void **state)
{
	(void)state;
	lapic_init();
	lapic_send(0x1234, TRAP_KICK);
	assert_int_equal(icr, UINT64_C(0x1234) << 32 | 0x4000 | TRAP_KICK);
	lapic_send_nmi(7);
	assert_int_equal(icr, UINT64_C(7) << 32 | 0x4400);
	lapic_send_init(7);
	assert_int_equal(icr, UINT64_C(7) << 32 | 0x4500);
	lapic_send_startup(7, 0x9f);
	assert_int_equal(icr, UINT64_C(7) << 32 | 0x469f);
	assert_false(irqs_off);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_takes_over, setup_test),
		cmocka_unit_test_setup(test_leaves_smi, setup_test),
		cmocka_unit_test_setup(test_few_lvts, setup_test),
		cmocka_unit_test_setup(test_other_cpu, setup_test),
		cmocka_unit_test_setup(test_sends, setup_test),
		cmocka_unit_test_setup(test_ends_stale_interrupts, setup_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
