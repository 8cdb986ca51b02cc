#include "arch/x86_64/clock.h"

#include <stdbool.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"

/* ns = (tsc - tsc_boot) * ns_mul >> NS_SHIFT */
#define NS_SHIFT 32

static uint64_t tsc_boot, tsc_hz, ns_mul;
static uint64_t wall_boot; /* seconds since 1970 at clock_ns() == 0 */

static uint64_t ns_at(uint64_t tsc)
{
	return (uint64_t)((unsigned __int128)(tsc - tsc_boot) * ns_mul >> NS_SHIFT);
}

uint64_t clock_ns(void)
{
	return ns_at(rdtsc());
}

uint64_t clock_tsc_at(uint64_t ns)
{
	uint64_t ticks = mul_div64(ns, UINT64_C(1) << NS_SHIFT, ns_mul);

	return ticks >= UINT64_MAX - tsc_boot ? UINT64_MAX : tsc_boot + ticks + 1;
}

uint64_t clock_tsc_hz(void)
{
	return tsc_hz;
}

uint64_t clock_wall_ns(uint64_t tsc)
{
	return wall_boot * NS_PER_SEC + ns_at(tsc);
}

uint64_t clock_wall_seconds(void)
{
	return wall_boot + clock_ns() / NS_PER_SEC;
}

void clock_delay_ns(uint64_t ns)
{
	uint64_t end = clock_ns() + ns;

	while (clock_ns() < end)
		cpu_relax();
}

/* --- timers of known frequency --- */

/* A counter that counts up and wraps: what to compare the TSC with. */
struct reference {
	const char *name;
	uint64_t hz, mask;
	uint32_t (*read)(void);
};

#define PM_TIMER_HZ 3579545u
#define PIT_HZ 1193182u
#define CALIBRATE_MS 50
#define SAMPLES 16

static volatile uint8_t *hpet;

static uint32_t pm_timer_read(void)
{
	return inl(acpi_info()->pm_timer);
}

/* IA-PC HPET 2.3: period in fs, enable, counter. */
#define HPET_PERIOD 0x004
#define HPET_CONFIG 0x010
#define HPET_COUNTER 0x0f0
#define FS_PER_SEC UINT64_C(1000000000000000)
#define HPET_PERIOD_MAX 0x05f5e100u

static uint32_t hpet_read(void)
{
	return *(volatile uint32_t *)(hpet + HPET_COUNTER);
}

/* Intel 8254, channel 2 with its gate and speaker in port 61h. */
#define PIT_CHANNEL_2 0x42
#define PIT_CONTROL 0x43
#define PIT_MODE_0_CHANNEL_2 0xb0
#define PIT_LATCH_CHANNEL_2 0x80
#define PORT_61 0x61
#define PORT_61_GATE 0x01
#define PORT_61_KEPT 0x0c /* NMI sources off; the upper half only reads */

static uint32_t pit_read(void)
{
	uint8_t lo;

	outb(PIT_CONTROL, PIT_LATCH_CHANNEL_2);
	lo = inb(PIT_CHANNEL_2);
	return 0xffffu - (uint32_t)(lo | inb(PIT_CHANNEL_2) << 8);
}

static void pit_start(void)
{
	outb(PORT_61, (uint8_t)((inb(PORT_61) & PORT_61_KEPT) | PORT_61_GATE)); /* no speaker */
	outb(PIT_CONTROL, PIT_MODE_0_CHANNEL_2);
	outb(PIT_CHANNEL_2, 0xff);
	outb(PIT_CHANNEL_2, 0xff);
}

/* Does it count at all? */
static bool counts(const struct reference *ref)
{
	uint32_t first = ref->read();

	for (unsigned i = 0; i < 10000; i++)
		if (ref->read() != first)
			return true;
	return false;
}

static bool hpet_find(struct reference *ref)
{
	uint32_t period;

	if (!acpi_info()->hpet_pa)
		return false;
	hpet = hpa_to_ptr(HPA(acpi_info()->hpet_pa));
	period = *(volatile uint32_t *)(hpet + HPET_PERIOD);
	if (!period || period > HPET_PERIOD_MAX)
		return false;
	*(volatile uint32_t *)(hpet + HPET_CONFIG) |= 1;
	*ref = (struct reference){ "HPET", FS_PER_SEC / period, BITS(31, 0), hpet_read };
	return counts(ref);
}

/* QEMU, Bochs: all three are there and count. A PC may have the PIT's clock gated, no HPET in its
 * tables, and, with hardware-reduced ACPI, no PM timer. */
static bool reference_find(struct reference *ref)
{
	*ref = (struct reference){ "ACPI PM timer", PM_TIMER_HZ, BITS(23, 0), pm_timer_read };
	if (acpi_info()->pm_timer && counts(ref))
		return true;
	if (hpet_find(ref))
		return true;
	pit_start();
	*ref = (struct reference){ "PIT", PIT_HZ, BITS(15, 0), pit_read };
	return counts(ref);
}

/* What the processor says of its own TSC, 0: nothing. SDM vol. 2, CPUID, leaves 15h and 16h. */
static uint64_t cpuid_hz(void)
{
	uint32_t leaves = cpuid(0, 0).eax;

	if (leaves >= 0x15) {
		struct cpuid_regs r = cpuid(0x15, 0);

		if (r.eax && r.ebx && r.ecx)
			return mul_div64(r.ecx, r.ebx, r.eax);
	}
	return leaves >= 0x16 ? (cpuid(0x16, 0).eax & 0xffff) * UINT64_C(1000000) : 0;
}

/* --- calibration --- */

struct sample {
	uint64_t tsc;
	uint32_t count;
};

/* Read both counters close together: the quickest of several tries. */
static struct sample sample_take(const struct reference *ref)
{
	struct sample best = { 0 };
	uint64_t best_gap = UINT64_MAX;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t before = rdtsc();
		uint32_t n = ref->read();
		uint64_t gap = rdtsc() - before;

		if (gap < best_gap) {
			best_gap = gap;
			best = (struct sample){ before + gap / 2, n };
		}
	}
	return best;
}

static uint64_t calibrate(const struct reference *ref)
{
	/* Half a round at most: system management may keep the processor for the other half. */
	const uint64_t ticks = MIN(ref->hz * CALIBRATE_MS / 1000, ref->mask / 2);
	struct sample from = sample_take(ref), to;

	while (((ref->read() - from.count) & ref->mask) < ticks)
		cpu_relax();
	to = sample_take(ref);
	return mul_div64(to.tsc - from.tsc, ref->hz, (to.count - from.count) & ref->mask);
}

/* --- the CMOS clock: MC146818 --- */

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
enum {
	RTC_SECOND = 0,
	RTC_MINUTE = 2,
	RTC_HOUR = 4,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_A = 0xa,
	RTC_B = 0xb
};
#define RTC_A_UPDATING 0x80
#define RTC_B_BINARY 0x04
#define RTC_B_24H 0x02
#define RTC_HOUR_PM 0x80
#define SECONDS_TO_2000 UINT64_C(946684800)
#define RTC_UPDATE_NS 3000000 /* longer than any update takes */

struct rtc_time {
	uint8_t second, minute, hour, day, month, year, century;
};

static uint8_t cmos_read(uint8_t reg)
{
	outb(CMOS_INDEX, reg);
	return inb(CMOS_DATA);
}

static unsigned from_bcd(uint8_t v)
{
	return (v >> 4) * 10u + (v & 15u);
}

static struct rtc_time rtc_read(void)
{
	uint64_t end = clock_ns() + RTC_UPDATE_NS;

	while ((cmos_read(RTC_A) & RTC_A_UPDATING) && clock_ns() < end)
		cpu_relax();
	return (struct rtc_time){
		.second = cmos_read(RTC_SECOND),
		.minute = cmos_read(RTC_MINUTE),
		.hour = cmos_read(RTC_HOUR),
		.day = cmos_read(RTC_DAY),
		.month = cmos_read(RTC_MONTH),
		.year = cmos_read(RTC_YEAR),
		.century = acpi_info()->century ? cmos_read(acpi_info()->century & 0x7f) : 0,
	};
}

static bool rtc_same(const struct rtc_time *a, const struct rtc_time *b)
{
	return a->second == b->second && a->minute == b->minute && a->hour == b->hour &&
	       a->day == b->day && a->month == b->month && a->year == b->year &&
	       a->century == b->century;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; month 1 to 12. */
static int64_t days_from_1970(int64_t year, unsigned month, unsigned day)
{
	/* Years that begin in March, so that the leap day is a year's last. */
	int64_t y = year - (month < 3), march = (month + 9) % 12;
	int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + (march * 153 + 2) / 5 + day - 1;

	return days - 719468;
}

static uint64_t rtc_seconds(void)
{
	struct rtc_time t = rtc_read(), again = rtc_read();
	uint8_t b = cmos_read(RTC_B);
	unsigned second, minute, hour, day, month, year, century;

	for (unsigned i = 0; i < 4 && !rtc_same(&t, &again); i++) {
		t = again;
		again = rtc_read();
	}
#define FIELD(v) ((b & RTC_B_BINARY) ? (v) : from_bcd(v))
	hour = FIELD((uint8_t)(t.hour & ~RTC_HOUR_PM));
	if (!(b & RTC_B_24H))
		hour = hour % 12 + (t.hour & RTC_HOUR_PM ? 12 : 0);
	century = FIELD(t.century);
	year = FIELD(t.year) + 100 * (century >= 19 && century < 100 ? century : 20);
	month = FIELD(t.month);
	day = FIELD(t.day);
	minute = FIELD(t.minute);
	second = FIELD(t.second);
#undef FIELD
	if (!month || month > 12 || !day || day > 31 || hour > 23 || minute > 59 || second > 59) {
		log_warn("clock: the CMOS clock has no date; it is taken to be 2000-01-01");
		return SECONDS_TO_2000;
	}
	return (uint64_t)(days_from_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 +
			  second);
}

bool clock_init(void)
{
	struct reference ref;

	if (reference_find(&ref)) {
		tsc_hz = calibrate(&ref);
	} else {
		ref.name = "processor's own word";
		tsc_hz = cpuid_hz();
	}
	if (!tsc_hz)
		return false;
	ns_mul = mul_div64(NS_PER_SEC, UINT64_C(1) << NS_SHIFT, tsc_hz);
	tsc_boot = rdtsc();
	wall_boot = rtc_seconds();
	log_debug("clock: TSC %llu kHz by the %s%s", (unsigned long long)(tsc_hz / 1000), ref.name,
		  cpu_features()->invariant_tsc ? "" : "; not said to be invariant");
	return true;
}
