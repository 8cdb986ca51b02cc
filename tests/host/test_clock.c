/* The clock: calibration against pretended timers, long uptimes, the CMOS clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fakes.h"

/* The machine below the clock; and the real functions beside the stand-ins of fakes.c. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
static uint64_t rdtsc(void);
static uint8_t inb(uint16_t port);
static void outb(uint16_t port, uint8_t val);
static uint32_t inl(uint16_t port);
struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};
static struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf);
static void cpu_relax(void)
{
}
struct cpu_features {
	bool invariant_tsc;
};
static const struct cpu_features *cpu_features(void)
{
	static const struct cpu_features features = { true };

	return &features;
}
#define clock_ns real_clock_ns
#define clock_tsc_hz real_clock_tsc_hz
#define clock_tsc_at real_clock_tsc_at
#define clock_delay_ns real_clock_delay_ns
#define clock_wall_seconds real_clock_wall_seconds
#define clock_wall_ns real_clock_wall_ns
#include "arch/x86_64/clock.c"

#define PM_PORT 0x808
#define ACCESS_NS 700
#define MS_NS (NS_PER_SEC / 1000)

/* --- the pretended machine --- */

static struct acpi_info acpi;
static struct {
	uint64_t now; /* ns since power-on */
	uint64_t hz;
	uint32_t pm_offset, pm_high;   /* what the PM timer begins with; above its 24 bits */
	uint64_t smi_every, smi_takes; /* the processor is away for so long; 0: never */
	uint64_t smi_next;
	uint64_t pit_start;
	uint16_t pit_latch;
	bool pit_high, pit_stands;
	uint32_t cpuid_leaves;
	struct cpuid_regs leaf_15;
	uint32_t mhz; /* leaf 16h */
	uint8_t cmos_index, cmos[128];
} pc;

static uint64_t ticks_at(uint64_t ns, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / NS_PER_SEC);
}

static void pass(uint64_t ns)
{
	pc.now += ns;
	if (pc.smi_every && pc.now >= pc.smi_next) {
		pc.now += pc.smi_takes;
		pc.smi_next = pc.now + pc.smi_every;
	}
}

const struct acpi_info *acpi_info(void)
{
	return &acpi;
}

static uint64_t rdtsc(void)
{
	pass(10);
	return ticks_at(pc.now, pc.hz);
}

static struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf)
{
	assert_int_equal(subleaf, 0);
	assert_true(leaf <= pc.cpuid_leaves);
	switch (leaf) {
	case 0:
		return (struct cpuid_regs){ .eax = pc.cpuid_leaves };
	case 0x15:
		return pc.leaf_15;
	default:
		assert_int_equal(leaf, 0x16);
		return (struct cpuid_regs){ .eax = 0xabcd0000 | pc.mhz };
	}
}

static uint32_t inl(uint16_t port)
{
	uint32_t val;

	assert_int_equal(port, PM_PORT);
	pass(ACCESS_NS / 2);
	val = (uint32_t)ticks_at(pc.now, PM_TIMER_HZ) + pc.pm_offset;
	pass(ACCESS_NS / 2);
	return (val & BITS(23, 0)) | pc.pm_high;
}

static uint8_t inb(uint16_t port)
{
	pass(ACCESS_NS);
	switch (port) {
	case PIT_CHANNEL_2:
		pc.pit_high = !pc.pit_high;
		return (uint8_t)(pc.pit_high ? pc.pit_latch : pc.pit_latch >> 8);
	case CMOS_DATA:
		return pc.cmos[pc.cmos_index];
	default:
		return 0;
	}
}

static void outb(uint16_t port, uint8_t val)
{
	pass(ACCESS_NS);
	switch (port) {
	case PIT_CONTROL:
		pc.pit_high = false;
		if (val == PIT_LATCH_CHANNEL_2 && !pc.pit_stands)
			pc.pit_latch =
				(uint16_t)(0xffffu - ticks_at(pc.now - pc.pit_start, PIT_HZ));
		break;
	case PIT_CHANNEL_2:
		pc.pit_start = pc.now;
		break;
	case CMOS_INDEX:
		pc.cmos_index = val & 0x7f;
		break;
	}
}

static void machine_new(uint64_t hz)
{
	memset(&pc, 0, sizeof(pc));
	memset(&acpi, 0, sizeof(acpi));
	fake_log_reset();
	pc.hz = hz;
	pc.now = 7 * NS_PER_SEC;
	pc.cmos[RTC_MONTH] = pc.cmos[RTC_DAY] = 1;
	acpi.pm_timer = PM_PORT;
}

static void assert_calibrated(const char *by)
{
	uint64_t off;

	assert_true(clock_init());
	assert_non_null(strstr(fake_log, by));
	off = tsc_hz > pc.hz ? tsc_hz - pc.hz : pc.hz - tsc_hz;
	if (off > pc.hz / 5000)
		fail_msg("%llu Hz by the %s, expected %llu", (unsigned long long)tsc_hz, by,
			 (unsigned long long)pc.hz);
}

/* --- tests --- */

static void test_by_pm_timer(void **state)
{
	static const uint64_t hz[] = { 800000000, 3393624000, 6000000000 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
		machine_new(hz[i]);
		assert_calibrated("ACPI PM timer");
		/* It wraps while it is looked at, and has only 24 bits of its 32. */
		machine_new(hz[i]);
		pc.pm_offset = (uint32_t)-ticks_at(pc.now + 25 * MS_NS, PM_TIMER_HZ);
		pc.pm_high = 0xab000000;
		assert_calibrated("ACPI PM timer");
	}
}

static void test_by_pit(void **state)
{
	(void)state;
	machine_new(2000000000);
	acpi.pm_timer = 0;
	assert_calibrated("PIT");
}

/* System management takes the processor away, longer than the PIT's slack might be. */
static void test_interrupted_by_firmware(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 60; at += 3) {
		machine_new(2500000000);
		acpi.pm_timer = 0;
		pc.smi_every = NS_PER_SEC;
		pc.smi_takes = 20 * MS_NS;
		pc.smi_next = pc.now + at * MS_NS;
		assert_calibrated("PIT");
	}
}

/* A timer that stands still is not waited for. */
static void test_dead_pm_timer(void **state)
{
	static uint8_t registers[PAGE_SIZE];

	(void)state;
	machine_new(2500000000);
	pc.hz = 2500000000;
	acpi.pm_timer = 0;
	/* An HPET whose counter stands, and then one with a nonsensical period. */
	direct_map_base = 0;
	acpi.hpet_pa = (uintptr_t)registers;
	*(uint32_t *)(registers + HPET_PERIOD) = 69841279;
	assert_calibrated("PIT");
	assert_true(registers[HPET_CONFIG] & 1);
	*(uint32_t *)(registers + HPET_PERIOD) = 0xffffffff;
	assert_calibrated("PIT");
}

/* No timer counts: the processor's own word is taken, and where it has none that is said. */
static void test_no_timer(void **state)
{
	(void)state;
	machine_new(2592000000);
	acpi.pm_timer = 0;
	pc.pit_stands = true;
	pc.cpuid_leaves = 0x16;
	pc.leaf_15 = (struct cpuid_regs){ .eax = 2, .ebx = 216, .ecx = 24000000 };
	pc.mhz = 2600;
	assert_calibrated("processor's own word");
	assert_int_equal(tsc_hz, 2592000000);
	pc.leaf_15.ecx = 0; /* the crystal's rate is not told: the base rate */
	assert_true(clock_init());
	assert_int_equal(tsc_hz, 2600000000);
	pc.mhz = 0;
	assert_false(clock_init());
	pc.cpuid_leaves = 0x0d;
	assert_false(clock_init());
}

/* Ten years on, nothing has overflowed and the clock is as right as its factor. */
static void test_long_uptime(void **state)
{
	const uint64_t year = UINT64_C(31557600) * NS_PER_SEC;
	uint64_t before, ns, exact, off;

	(void)state;
	machine_new(3393624000);
	assert_true(clock_init());
	before = clock_ns();
	for (unsigned years = 1; years <= 100; years *= 10) {
		pc.now += years * year - before;
		ns = clock_ns();
		assert_true(ns > before);
		exact = (uint64_t)((unsigned __int128)(rdtsc() - tsc_boot) * NS_PER_SEC / tsc_hz);
		off = exact > ns ? exact - ns : ns - exact;
		assert_true(off < exact / 100000000);
		assert_true(clock_wall_seconds() - wall_boot == ns / NS_PER_SEC);
		before = ns;
	}
}

static void test_delay(void **state)
{
	uint64_t from;

	(void)state;
	machine_new(1000000000);
	assert_true(clock_init());
	from = pc.now;
	clock_delay_ns(3 * MS_NS);
	assert_true(pc.now - from >= 3 * MS_NS - 1000 && pc.now - from < 4 * MS_NS);
}

static void set_cmos(uint8_t b, uint8_t hour, uint8_t year, uint8_t century)
{
	machine_new(1000000000);
	pc.cmos[RTC_B] = b;
	pc.cmos[RTC_SECOND] = b & RTC_B_BINARY ? 58 : 0x58;
	pc.cmos[RTC_MINUTE] = b & RTC_B_BINARY ? 59 : 0x59;
	pc.cmos[RTC_HOUR] = hour;
	pc.cmos[RTC_DAY] = b & RTC_B_BINARY ? 29 : 0x29;
	pc.cmos[RTC_MONTH] = 2;
	pc.cmos[RTC_YEAR] = year;
	if (century) {
		acpi.century = 0x32;
		pc.cmos[0x32] = century;
	}
	assert_true(clock_init());
}

/* 2024-02-29 23:59:58 and 2000-02-29 00:59:58 UTC, in every form that a CMOS clock has. */
static void test_wall_clock(void **state)
{
	(void)state;
	set_cmos(RTC_B_24H, 0x23, 0x24, 0);
	assert_int_equal(wall_boot, 1709251198);
	set_cmos(RTC_B_24H | RTC_B_BINARY, 23, 24, 20);
	assert_int_equal(wall_boot, 1709251198);
	set_cmos(0, 0x11 | RTC_HOUR_PM, 0x24, 0x20);
	assert_int_equal(wall_boot, 1709251198);
	set_cmos(0, 0x12, 0x00, 0x20);
	assert_int_equal(wall_boot, 951785998);
	set_cmos(RTC_B_BINARY, 12, 0, 0);
	assert_int_equal(wall_boot, 951785998);
}

/* Of one reading of the TSC it is one time: to the nanosecond, around the change of a second. */
static void test_wall_clock_at_tsc(void **state)
{
	uint64_t second;

	(void)state;
	set_cmos(RTC_B_24H, 0x23, 0x24, 0);
	second = clock_tsc_at(10 * NS_PER_SEC);
	assert_true(clock_wall_ns(second) >= (wall_boot + 10) * NS_PER_SEC);
	assert_true(clock_wall_ns(second) < (wall_boot + 10) * NS_PER_SEC + 10);
	assert_true(clock_wall_ns(second - 10) < (wall_boot + 10) * NS_PER_SEC);
	assert_true(clock_wall_ns(second - 10) >= (wall_boot + 10) * NS_PER_SEC - 20);
	assert_int_equal(clock_wall_ns(tsc_boot), wall_boot * NS_PER_SEC);
	pc.now = 11 * NS_PER_SEC;
	assert_int_equal(clock_wall_ns(rdtsc()) / NS_PER_SEC, clock_wall_seconds());
}

/* A machine without a CMOS clock, and one whose battery is empty. */
static void test_no_wall_clock(void **state)
{
	static const uint8_t wrong[][2] = { { RTC_MONTH, 0 },    { RTC_MONTH, 0x13 },
					    { RTC_DAY, 0 },      { RTC_DAY, 0x32 },
					    { RTC_HOUR, 0x24 },  { RTC_MINUTE, 0x60 },
					    { RTC_SECOND, 0xff } };

	(void)state;
	machine_new(1000000000);
	memset(pc.cmos, 0xff, sizeof(pc.cmos));
	assert_true(clock_init());
	assert_int_equal(wall_boot, 946684800);
	assert_non_null(strstr(fake_log, "the CMOS clock has no date"));
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		machine_new(1000000000);
		pc.cmos[RTC_B] = RTC_B_24H;
		pc.cmos[RTC_YEAR] = 0x24;
		pc.cmos[wrong[i][0]] = wrong[i][1];
		assert_true(clock_init());
		assert_int_equal(wall_boot, 946684800);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_pm_timer),
		cmocka_unit_test(test_by_pit),
		cmocka_unit_test(test_interrupted_by_firmware),
		cmocka_unit_test(test_dead_pm_timer),
		cmocka_unit_test(test_long_uptime),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_wall_clock),
		cmocka_unit_test(test_wall_clock_at_tsc),
		cmocka_unit_test(test_no_timer),
		cmocka_unit_test(test_no_wall_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
