/* Time since boot, from the TSC calibrated against a timer of known frequency. */
#ifndef UMBRA_CLOCK_H
#define UMBRA_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SEC UINT64_C(1000000000)

/* Nanoseconds since boot; monotonic. */
uint64_t clock_ns(void);
/* TSC ticks a second, as calibrated at boot. */
uint64_t clock_tsc_hz(void);
/* The first TSC at which clock_ns() >= ns; the largest number if that is never. */
uint64_t clock_tsc_at(uint64_t ns);
/* Calibrate the TSC. After acpi_init(). False: by nothing that this machine has. */
bool clock_init(void);
/* Wait by the TSC; works after clock_init(). */
void clock_delay_ns(uint64_t ns);
/* Seconds since 1970-01-01 UTC from the machine's CMOS clock, carried on by clock_ns(). */
uint64_t clock_wall_seconds(void);
/* The same in nanoseconds, as it was or is at that TSC, which is one since boot. Until 2554. */
uint64_t clock_wall_ns(uint64_t tsc);

/*
 * x * mul / div without losing the high bits; UINT64_MAX when the result does not fit.
 * div > 0. In two instructions: the compiler would call libgcc, which no kernel flag built.
 */
static inline uint64_t mul_div64(uint64_t x, uint64_t mul, uint64_t div)
{
	uint64_t hi, lo;

	__asm__("mulq %3" : "=d"(hi), "=a"(lo) : "a"(x), "rm"(mul) : "cc");
	if (hi >= div)
		return UINT64_MAX;
	__asm__("divq %2" : "+a"(lo), "+d"(hi) : "rm"(div) : "cc");
	return lo;
}

#endif
