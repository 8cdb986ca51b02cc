/*
 * The MC146818 real-time clock with 128 bytes of CMOS memory.
 *
 * It ticks on the host's clock: nothing is armed unless the guest asked for an
 * interrupt, and after one nothing is until the guest has read register C. Flags and
 * registers are brought up to date when the guest looks.
 */
#ifndef UMBRA_VMM_DEV_RTC_H
#define UMBRA_VMM_DEV_RTC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "vmm/bus.h"
#include "vmm/irq_line.h"

#define RTC_CMOS_SIZE 128
#define RTC_CENTURY 0x32 /* for the FADT */

struct rtc {
	uint8_t cmos[RTC_CMOS_SIZE]; /* time registers: as of the last look */
	uint8_t index;
	bool nmi_masked;        /* port 70, bit 7 */
	uint64_t base_s;        /* seconds since 0000-03-01 that were shown ... */
	uint64_t base_ns;       /* ... at this clock_ns() */
	uint64_t flags_s;       /* UF and AF are right up to this second */
	uint64_t periods;       /* PF is right up to this period */
	unsigned weekday_shift; /* what the guest made it, less what the date says */
	struct irq_line irq;
	struct timer update_timer, periodic_timer;
};

extern const struct io_ops rtc_ops; /* ports 70-71; dev: struct rtc */

/* The time is clock_wall_seconds(). low, high: RAM bytes below and from 4 GiB on. guard: its
 * timers'. */
void rtc_init(struct rtc *rtc, struct irq_line irq, uint64_t low, uint64_t high,
	      struct owned_lock *guard);
/* Disarm its timers. */
void rtc_destroy(struct rtc *rtc);

#endif
