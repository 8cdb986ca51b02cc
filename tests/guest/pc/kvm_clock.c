/* KVM's clock, with pv=kvm: each processor's page, and that together they are one clock. Linux'
 * Documentation/virt/kvm/x86/msr.rst. */
#include "tests/guest/pc/pc.h"

#define LEAF_NAME 0x40000000u
#define LEAF_FEATURES 0x40000001u
#define CLOCKSOURCE2 (1u << 3)
#define CLOCK_STABLE (1u << 24)
#define MSR_WALL_CLOCK 0x4b564d00u
#define MSR_SYSTEM_TIME 0x4b564d01u
#define MSR_TSC 0x10u
#define SYSTEM_TIME_ON 1u
#define TSC_STABLE 1u
#define NS_PER_S 1000000000ull
#define AHEAD (1ull << 40)

static volatile struct page {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
} page[CPUS_MAX] __attribute__((aligned(64)));
static volatile struct {
	uint32_t version, sec, nsec;
} wall;

static bool is_kvm(void)
{
	uint32_t r[4];

	cpuid(LEAF_NAME, r);
	return r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d;
}

/* ns */
static uint64_t now(void)
{
	const volatile struct page *p = &page[cpu_number()];
	uint64_t ticks, base;
	uint32_t version, mul;
	int8_t shift;

	do {
		version = p->version;
		ticks = rdtsc() - p->tsc_timestamp;
		base = p->system_time;
		mul = p->tsc_to_system_mul;
		shift = p->tsc_shift;
	} while ((version & 1) || version != p->version);
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return base + (uint64_t)((unsigned __int128)ticks * mul >> 32);
}

static void absent(void)
{
	uint64_t val;

	expect("#GP for KVM's MSRs, read", read_faults(MSR_SYSTEM_TIME, &val), true);
	expect("#GP for KVM's MSRs", write_faults(MSR_SYSTEM_TIME, 0), true);
	expect("#GP for KVM's wall clock", write_faults(MSR_WALL_CLOCK, 0), true);
}

static void start(void)
{
	volatile struct page *p = &page[cpu_number()];
	uint64_t at = (uintptr_t)p | SYSTEM_TIME_ON;

	expect("#GP for a reserved bit", write_faults(MSR_SYSTEM_TIME, at | 2), true);
	wrmsr(MSR_SYSTEM_TIME, at);
	expect("the MSR", rdmsr(MSR_SYSTEM_TIME), at);
	expect("an even version", p->version & 1, 0);
	expect_between("a version", p->version, 1, UINT32_MAX);
	expect("its flags", p->flags, TSC_STABLE);
	/* To the last bit: what is rounded is so the same on each. */
	expect("its TSC and the first one's", p->tsc_timestamp, page[0].tsc_timestamp);
	expect("its time and the first one's", p->system_time, page[0].system_time);
	expect("its multiplier and the first one's", p->tsc_to_system_mul,
	       page[0].tsc_to_system_mul);
	expect("its shift and the first one's", (uint8_t)p->tsc_shift, (uint8_t)page[0].tsc_shift);
}

static void end(void)
{
	volatile struct page *p = &page[cpu_number()];
	uint32_t version = p->version;

	wrmsr(MSR_SYSTEM_TIME, 0);
	wrmsr(MSR_TSC, rdmsr(MSR_TSC));
	expect("the version of a page that is no more", p->version, version);
}

/* Over 20 ms, by the HPET; the processor may be others' between two readings. */
static void rate(void)
{
	uint64_t passed = 0, error = 1000;

	for (unsigned tries = 0; tries < 10 && error * 100 > passed; tries++) {
		uint64_t counter = *hpet(HPET_COUNTER), from = now(), by_hpet;

		while (now() - from < 20000000)
			pause();
		by_hpet = (*hpet(HPET_COUNTER) - counter) * 10;
		passed = now() - from;
		error = by_hpet > passed ? by_hpet - passed : passed - by_hpet;
	}
	expect_between("the clock's error in ns", error, 0, passed / 100);
}

static void expect_flags(uint8_t flags)
{
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++)
		expect("its flags beside a TSC that was moved", page[cpu].flags, flags);
}

/* Its own TSC is not the clock; and nobody may read another one's page by it. */
static void moved(void)
{
	uint64_t before = now();

	wrmsr(MSR_TSC, rdmsr(MSR_TSC) + AHEAD);
	expect_between("ns while the TSC is moved", now() - before, 0, 10 * NS_PER_S);
	expect_flags(nr_cpus > 1 ? 0 : TSC_STABLE);
}

static void move_back(void)
{
	wrmsr(MSR_TSC, rdmsr(MSR_TSC) - AHEAD);
}

static void wall_clock(void)
{
	uint64_t second;
	uint8_t rtc, ahead;

	expect("#GP for a reserved bit", write_faults(MSR_WALL_CLOCK, (uintptr_t)&wall | 1), true);
	wrmsr(MSR_WALL_CLOCK, (uintptr_t)&wall);
	expect("an even version", wall.version & 1, 0);
	expect_between("ns of the wall clock", wall.nsec, 0, NS_PER_S - 1);
	rtc = rtc_read(0);
	second = (wall.sec + (wall.nsec + now()) / NS_PER_S) % 60;
	ahead = (uint8_t)(((rtc >> 4) * 10u + (rtc & 15u) + 62u - second) % 60);
	expect_between("the RTC's seconds beside the wall clock's, and 2", ahead, 0, 4);
}

void kvm_clock(void)
{
	uint32_t r[4];

	if (!is_kvm()) {
		absent();
		return;
	}
	cpuid(LEAF_FEATURES, r);
	expect("KVM's clock among its features", r[0] & (CLOCKSOURCE2 | CLOCK_STABLE),
	       CLOCKSOURCE2 | CLOCK_STABLE);
	*hpet(HPET_CONFIG) = 1;
	on_each(start);
	on_each(rate);
	expect_forward("times that the clock went back", now);
	on_cpu(nr_cpus - 1, moved);
	expect_forward("times that it went back, with a TSC ahead", now);
	on_cpu(nr_cpus - 1, move_back);
	expect_forward("times that it went back, with one set back", now);
	wall_clock();
	on_each(end);
}
