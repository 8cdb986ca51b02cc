#include "vmm/dev/rtc.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "vmm/dev/split.h"

/* Motorola MC146818 data sheet, "Registers". */
enum {
	REG_SECONDS,
	REG_SECONDS_ALARM,
	REG_MINUTES,
	REG_MINUTES_ALARM,
	REG_HOURS,
	REG_HOURS_ALARM,
	REG_WEEKDAY,
	REG_DAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
};

#define A_UIP BIT(7)
#define A_DV_RESET BITS(6, 5)
#define A_RS BITS(3, 0)
#define B_SET BIT(7)
#define B_DM_BINARY BIT(2)
#define B_24H BIT(1)
#define C_IRQF BIT(7)
#define C_PF BIT(6) /* B has the enable of each flag at the same bit */
#define C_AF BIT(5)
#define C_UF BIT(4)
#define C_FLAGS (C_PF | C_AF | C_UF)
#define D_VRT BIT(7)
#define HOUR_PM BIT(7)
#define ALARM_ANY BITS(7, 6)

#define UPDATE_NS 2228000           /* UIP: t_BUC + t_UC with a 32 kHz crystal */
#define RELEASE_NS (NS_PER_SEC / 2) /* the first update after the divider was reset */
#define CRYSTAL_HZ 32768

/* CMOS bytes that firmware fills in. */
#define CMOS_EQUIPMENT 0x14
#define CMOS_BASE_KIB 0x15
#define CMOS_EXT_KIB 0x17
#define CMOS_CHECKED 0x10 /* to 2d */
#define CMOS_CHECKSUM 0x2e
#define CMOS_EXT_KIB_POST 0x30
#define CMOS_EXT_64KIB 0x34
#define CMOS_HIGH_64KIB 0x5b
#define EQUIPMENT_FPU BIT(1)

#define DAY_SECONDS UINT64_C(86400)
#define UNIX_EPOCH_DAYS 719468 /* from 0000-03-01 to 1970-01-01 */
#define WEEKDAY_0 3            /* 0000-03-01 was a Wednesday */
#define NEVER UINT64_MAX

/* --- numbers in registers --- */

static uint8_t rtc_encode(const struct rtc *rtc, unsigned val)
{
	if (rtc->cmos[REG_B] & B_DM_BINARY)
		return (uint8_t)val;
	return (uint8_t)(val / 10 % 10 << 4 | val % 10);
}

static unsigned rtc_decode(const struct rtc *rtc, uint8_t raw)
{
	if (rtc->cmos[REG_B] & B_DM_BINARY)
		return raw;
	return (raw >> 4) * 10u + (raw & 15u);
}

static uint8_t rtc_encode_hour(const struct rtc *rtc, unsigned hour)
{
	if (rtc->cmos[REG_B] & B_24H)
		return rtc_encode(rtc, hour);
	return rtc_encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned rtc_decode_hour(const struct rtc *rtc, uint8_t raw)
{
	if (rtc->cmos[REG_B] & B_24H)
		return rtc_decode(rtc, raw);
	return rtc_decode(rtc, raw & ~HOUR_PM) % 12 + (raw & HOUR_PM ? 12 : 0);
}

/* --- the calendar: years that begin in March, so that the leap day is the last --- */

/* Days from 0000-03-01. year >= 1, month 1-12, day >= 1. */
static uint64_t days_of_date(uint64_t year, unsigned month, unsigned day)
{
	unsigned march = (month + 9) % 12; /* months since March */

	year -= month < 3;
	return year * 365 + year / 4 - year / 100 + year / 400 + (153 * march + 2) / 5 + day - 1;
}

static void rtc_show_date(struct rtc *rtc, uint64_t days)
{
	uint64_t left = days % 146097; /* in 400 years */
	uint64_t year = (left - left / 1460 + left / 36524 - left / 146096) / 365;
	unsigned in_year = (unsigned)(left - (365 * year + year / 4 - year / 100));
	unsigned march = (5 * in_year + 2) / 153;

	year += days / 146097 * 400 + (march >= 10);
	rtc->cmos[REG_DAY] = rtc_encode(rtc, in_year - (153 * march + 2) / 5 + 1);
	rtc->cmos[REG_MONTH] = rtc_encode(rtc, (march + 2) % 12 + 1);
	rtc->cmos[REG_YEAR] = rtc_encode(rtc, (unsigned)(year % 100));
	rtc->cmos[RTC_CENTURY] = rtc_encode(rtc, (unsigned)(year / 100 % 100));
	rtc->cmos[REG_WEEKDAY] = (uint8_t)((days + WEEKDAY_0 + rtc->weekday_shift) % 7 + 1);
}

/* --- the time --- */

static bool rtc_divider_runs(const struct rtc *rtc)
{
	return (rtc->cmos[REG_A] & A_DV_RESET) != A_DV_RESET;
}

static bool rtc_runs(const struct rtc *rtc)
{
	return !(rtc->cmos[REG_B] & B_SET) && rtc_divider_runs(rtc);
}

static uint64_t rtc_seconds(const struct rtc *rtc)
{
	return rtc->base_s + (clock_ns() - rtc->base_ns) / NS_PER_SEC;
}

/* The clock_ns() at which second s begins. */
static uint64_t rtc_second_ns(const struct rtc *rtc, uint64_t s)
{
	return rtc->base_ns + (s - rtc->base_s) * NS_PER_SEC;
}

/* Bring the time registers up to date. */
static void rtc_show_time(struct rtc *rtc)
{
	uint64_t s;

	if (!rtc_runs(rtc))
		return;
	s = rtc_seconds(rtc);
	rtc->cmos[REG_SECONDS] = rtc_encode(rtc, (unsigned)(s % 60));
	rtc->cmos[REG_MINUTES] = rtc_encode(rtc, (unsigned)(s / 60 % 60));
	rtc->cmos[REG_HOURS] = rtc_encode_hour(rtc, (unsigned)(s / 3600 % 24));
	rtc_show_date(rtc, s / DAY_SECONDS);
}

/* Go on from what the registers say; values out of range become the nearest in range.
 * phase: how many ns of the second they name have passed. */
static void rtc_take_time(struct rtc *rtc, uint64_t phase)
{
	unsigned sec = MIN(rtc_decode(rtc, rtc->cmos[REG_SECONDS]), 59u);
	unsigned min = MIN(rtc_decode(rtc, rtc->cmos[REG_MINUTES]), 59u);
	unsigned hour = MIN(rtc_decode_hour(rtc, rtc->cmos[REG_HOURS]), 23u);
	unsigned day = rtc_decode(rtc, rtc->cmos[REG_DAY]);
	unsigned month = rtc_decode(rtc, rtc->cmos[REG_MONTH]);
	unsigned year = MIN(rtc_decode(rtc, rtc->cmos[REG_YEAR]), 99u) +
			100 * MIN(rtc_decode(rtc, rtc->cmos[RTC_CENTURY]), 99u);
	uint64_t days =
		days_of_date(MAX(year, 1u), MAX(1u, MIN(month, 12u)), MAX(1u, MIN(day, 31u)));
	unsigned weekday = (unsigned)((days + WEEKDAY_0) % 7);

	rtc->weekday_shift = (rtc->cmos[REG_WEEKDAY] + 6u + 7 - weekday) % 7;
	rtc->base_s = days * DAY_SECONDS + hour * 3600u + min * 60u + sec;
	rtc->base_ns = clock_ns() - phase;
	rtc->flags_s = rtc->base_s;
}

/* --- flags and the interrupt --- */

static int alarm_field(const struct rtc *rtc, unsigned reg)
{
	uint8_t raw = rtc->cmos[reg];

	if ((raw & ALARM_ANY) == ALARM_ANY)
		return -1;
	return (int)(reg == REG_HOURS_ALARM ? rtc_decode_hour(rtc, raw) : rtc_decode(rtc, raw));
}

/* The first second after s that the alarm matches, or NEVER. */
static uint64_t rtc_next_alarm(const struct rtc *rtc, uint64_t s)
{
	int hour = alarm_field(rtc, REG_HOURS_ALARM);
	int min = alarm_field(rtc, REG_MINUTES_ALARM);
	int sec = alarm_field(rtc, REG_SECONDS_ALARM);
	uint64_t end = s + DAY_SECONDS;

	if (hour > 23 || min > 59 || sec > 59)
		return NEVER;
	/* Skip hours, then minutes, then seconds that do not match: 24 + 60 + 60 steps,
	 * and once more for what is left of the ones that s is in. */
	for (s++; s <= end;) {
		if (hour >= 0 && (int)(s / 3600 % 24) != hour)
			s = (s / 3600 + 1) * 3600;
		else if (min >= 0 && (int)(s / 60 % 60) != min)
			s = (s / 60 + 1) * 60;
		else if (sec >= 0 && (int)(s % 60) != sec)
			s++;
		else
			return s;
	}
	return NEVER;
}

/* Crystal cycles in one period of the rate in register A; 0: none. */
static uint64_t rtc_period(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[REG_A] & A_RS;

	if (!rate || !rtc_divider_runs(rtc))
		return 0;
	return BIT(rate < 3 ? rate + 6 : rate - 1);
}

static uint64_t rtc_cycles(void)
{
	return mul_div64(clock_ns(), CRYSTAL_HZ, NS_PER_SEC);
}

/* Set the flags of what has happened since the last look. */
static void rtc_update_flags(struct rtc *rtc)
{
	uint64_t period = rtc_period(rtc), n;

	if (period) {
		n = rtc_cycles() / period;
		if (n > rtc->periods)
			rtc->cmos[REG_C] |= C_PF;
		rtc->periods = n;
	}
	if (!rtc_runs(rtc))
		return;
	n = rtc_seconds(rtc);
	if (n <= rtc->flags_s)
		return;
	rtc->cmos[REG_C] |= C_UF;
	if (rtc_next_alarm(rtc, rtc->flags_s) <= n)
		rtc->cmos[REG_C] |= C_AF;
	rtc->flags_s = n;
}

static void rtc_update_irq(struct rtc *rtc)
{
	bool on = rtc->cmos[REG_C] & rtc->cmos[REG_B] & C_FLAGS;

	rtc->cmos[REG_C] = (uint8_t)((rtc->cmos[REG_C] & C_FLAGS) | (on ? C_IRQF : 0));
	irq_line_set(&rtc->irq, on);
}

/* Enabled, and its flag is not up: worth a timer? */
static bool rtc_wants(const struct rtc *rtc, uint8_t flag)
{
	return (rtc->cmos[REG_B] & flag) && !(rtc->cmos[REG_C] & flag);
}

static void rtc_arm(struct rtc *rtc)
{
	uint64_t period = rtc_period(rtc), next = NEVER;

	if (period && rtc_wants(rtc, C_PF))
		timer_arm(&rtc->periodic_timer,
			  mul_div64((rtc->periods + 1) * period, NS_PER_SEC, CRYSTAL_HZ) + 1);
	else
		timer_cancel(&rtc->periodic_timer);

	if (rtc_runs(rtc) && rtc_wants(rtc, C_UF))
		next = rtc->flags_s + 1;
	else if (rtc_runs(rtc) && rtc_wants(rtc, C_AF))
		next = rtc_next_alarm(rtc, rtc->flags_s);
	if (next != NEVER)
		timer_arm(&rtc->update_timer, rtc_second_ns(rtc, next));
	else
		timer_cancel(&rtc->update_timer);
}

static void rtc_refresh(void *ctx)
{
	struct rtc *rtc = ctx;

	rtc_update_flags(rtc);
	rtc_update_irq(rtc);
	rtc_arm(rtc);
}

/* --- registers --- */

static void rtc_write_a(struct rtc *rtc, uint8_t val)
{
	bool ran = rtc_runs(rtc), divided = rtc_divider_runs(rtc);
	uint64_t period;

	rtc_show_time(rtc);
	rtc_update_flags(rtc);
	rtc->cmos[REG_A] = val & ~A_UIP;
	if (!divided && rtc_divider_runs(rtc))
		rtc_take_time(rtc, RELEASE_NS);
	else if (!ran && rtc_runs(rtc))
		rtc_take_time(rtc, 0);
	period = rtc_period(rtc);
	rtc->periods = period ? rtc_cycles() / period : 0;
	rtc_refresh(rtc);
}

static void rtc_write_b(struct rtc *rtc, uint8_t val)
{
	bool ran = rtc_runs(rtc);
	uint64_t phase = (clock_ns() - rtc->base_ns) % NS_PER_SEC;

	rtc_show_time(rtc);
	rtc_update_flags(rtc);
	if (val & B_SET)
		val &= ~C_UF; /* SET clears UIE */
	rtc->cmos[REG_B] = val;
	if (!ran && rtc_runs(rtc))
		rtc_take_time(rtc, phase);
	rtc_refresh(rtc);
}

static void rtc_write_time(struct rtc *rtc, unsigned reg, uint8_t val)
{
	uint64_t phase = (clock_ns() - rtc->base_ns) % NS_PER_SEC;

	rtc_show_time(rtc);
	rtc_update_flags(rtc);
	rtc->cmos[reg] = val;
	if (rtc_runs(rtc))
		rtc_take_time(rtc, phase);
	rtc_refresh(rtc);
}

static void rtc_write(struct rtc *rtc, uint8_t val)
{
	unsigned reg = rtc->index;

	switch (reg) {
	case REG_A:
		rtc_write_a(rtc, val);
		break;
	case REG_B:
		rtc_write_b(rtc, val);
		break;
	case REG_C:
	case REG_D:
		break;
	case REG_SECONDS_ALARM:
	case REG_MINUTES_ALARM:
	case REG_HOURS_ALARM:
		rtc_update_flags(rtc);
		rtc->cmos[reg] = val;
		rtc_refresh(rtc);
		break;
	default:
		if (reg < REG_A || reg == RTC_CENTURY)
			rtc_write_time(rtc, reg, val);
		else
			rtc->cmos[reg] = val;
	}
}

static uint8_t rtc_read_a(const struct rtc *rtc)
{
	uint64_t phase = (clock_ns() - rtc->base_ns) % NS_PER_SEC;
	bool updating = rtc_runs(rtc) && phase >= NS_PER_SEC - UPDATE_NS;

	return rtc->cmos[REG_A] | (updating ? A_UIP : 0);
}

/* The wire falls in any case: what comes as it is read is another edge. */
static uint8_t rtc_read_c(struct rtc *rtc)
{
	uint8_t val;

	rtc_update_flags(rtc);
	rtc_update_irq(rtc);
	val = rtc->cmos[REG_C];
	rtc->cmos[REG_C] = 0;
	rtc_update_irq(rtc);
	rtc_refresh(rtc);
	return val;
}

static void rtc_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct rtc *rtc = dev;

	if (size != 1) {
		io_split_out(&rtc_ops, dev, port, size, val);
	} else if (port & 1) {
		rtc_write(rtc, (uint8_t)val);
	} else {
		rtc->index = val & (RTC_CMOS_SIZE - 1);
		rtc->nmi_masked = val & BIT(7);
	}
}

static uint32_t rtc_in(void *dev, uint16_t port, unsigned size)
{
	struct rtc *rtc = dev;

	if (size != 1)
		return io_split_in(&rtc_ops, dev, port, size);
	if (!(port & 1))
		return 0xff; /* the index cannot be read */
	if (rtc->index == REG_A)
		return rtc_read_a(rtc);
	if (rtc->index == REG_C)
		return rtc_read_c(rtc);
	if (rtc->index < REG_A || rtc->index == RTC_CENTURY)
		rtc_show_time(rtc);
	return rtc->cmos[rtc->index];
}

static void rtc_describe(const void *dev, char *text, size_t size)
{
	const struct rtc *rtc = dev;

	ksnprintf(text, size, "index %02x, a %02x b %02x c %02x", rtc->index, rtc->cmos[REG_A],
		  rtc->cmos[REG_B], rtc->cmos[REG_C]);
}

const struct io_ops rtc_ops = { .in = rtc_in, .out = rtc_out, .describe = rtc_describe };

static void cmos_set(struct rtc *rtc, unsigned at, unsigned bytes, uint64_t val)
{
	for (unsigned i = 0; i < bytes; i++)
		rtc->cmos[at + i] = (uint8_t)(val >> (8 * i));
}

/* What a BIOS leaves about memory. */
static void cmos_set_memory(struct rtc *rtc, uint64_t low, uint64_t high)
{
	uint64_t ext_kib = MIN((low - MIN(low, MIB(1))) >> 10, UINT64_C(0xffff));
	uint64_t ext_64kib = MIN((low - MIN(low, MIB(16))) >> 16, UINT64_C(0xffff));
	unsigned sum = 0;

	rtc->cmos[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
	cmos_set(rtc, CMOS_BASE_KIB, 2, 640);
	cmos_set(rtc, CMOS_EXT_KIB, 2, ext_kib);
	cmos_set(rtc, CMOS_EXT_KIB_POST, 2, ext_kib);
	cmos_set(rtc, CMOS_EXT_64KIB, 2, ext_64kib);
	cmos_set(rtc, CMOS_HIGH_64KIB, 3, MIN(high >> 16, UINT64_C(0xffffff)));
	for (unsigned i = CMOS_CHECKED; i < CMOS_CHECKSUM; i++)
		sum += rtc->cmos[i];
	rtc->cmos[CMOS_CHECKSUM] = (uint8_t)(sum >> 8);
	rtc->cmos[CMOS_CHECKSUM + 1] = (uint8_t)sum;
}

void rtc_init(struct rtc *rtc, struct irq_line irq, uint64_t low, uint64_t high,
	      struct owned_lock *guard)
{
	*rtc = (struct rtc){ .irq = irq };
	rtc->cmos[REG_A] = 0x26; /* 32 kHz crystal, 1024 Hz */
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VRT;
	rtc->base_s = UNIX_EPOCH_DAYS * DAY_SECONDS + clock_wall_seconds();
	rtc->base_ns = clock_ns();
	rtc->flags_s = rtc->base_s;
	rtc->periods = rtc_cycles() / rtc_period(rtc);
	cmos_set_memory(rtc, low, high);
	timer_setup(&rtc->update_timer, rtc_refresh, rtc, guard);
	timer_setup(&rtc->periodic_timer, rtc_refresh, rtc, guard);
}

void rtc_destroy(struct rtc *rtc)
{
	timer_cancel(&rtc->update_timer);
	timer_cancel(&rtc->periodic_timer);
}
