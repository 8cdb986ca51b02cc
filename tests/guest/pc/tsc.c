/* The TSC: how fast, its two MSRs, and that all processors have one. */
#include "tests/guest/pc/pc.h"

#define MSR_TSC 0x10u
#define MSR_TSC_ADJUST 0x3bu
#define MSR_DEADLINE 0x6e0u
#define MSR_TSC_AUX 0xc0000103u
#define AHEAD (1ull << 40)
#define ROUNDS 20000u

static bool has(uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t max[4], r[4];

	cpuid(leaf & 0x80000000, max);
	cpuid(leaf, r);
	return max[0] >= leaf && (r[reg] >> bit & 1);
}

/* Leaves 15 and 16, where they are, agree with 40000010 to 3 ppm and 1 MHz. */
static void told(void)
{
	uint32_t max[4], r[4];
	uint64_t khz = tsc_khz(), leaf;

	expect_between("leaf 40000010", khz, 1000, 100000000);
	expect("an invariant TSC", has(0x80000007, 3, 8), true);
	cpuid(0, max);
	cpuid(0x15, r);
	if (max[0] >= 0x15) {
		expect_between("leaf 15", r[0], 1, UINT32_MAX);
		leaf = (uint64_t)r[2] * r[1] / r[0] / 1000;
		expect_between("leaf 15", leaf, khz - khz / 333333 - 1, khz + khz / 333333 + 1);
		expect("the APIC timer in leaf 15", r[2], apic_counts(1000000));
	}
	cpuid(0x16, r);
	if (max[0] >= 0x16)
		expect_between("leaf 16", r[0], khz / 1000 - 1, khz / 1000 + 1);
}

/* Each moves the other by as much. Between two steps others may have their turns. */
static void moves(void)
{
	uint64_t later = tsc_khz() * 10000, from = rdtsc(), val;

	if (!has(7, 1, 1)) {
		expect("#GP for TSC_ADJUST", read_faults(MSR_TSC_ADJUST, &val), true);
		expect("#GP for TSC_ADJUST", write_faults(MSR_TSC_ADJUST, 0), true);
		return;
	}
	expect("TSC_ADJUST at first", rdmsr(MSR_TSC_ADJUST), 0);
	wrmsr(MSR_TSC_ADJUST, AHEAD);
	expect("TSC_ADJUST", rdmsr(MSR_TSC_ADJUST), AHEAD);
	expect_between("the TSC, put on", rdtsc() - from, AHEAD, AHEAD + later);
	expect_between("its MSR", rdmsr(MSR_TSC) - from, AHEAD, AHEAD + later);
	wrmsr(MSR_TSC, rdmsr(MSR_TSC) - AHEAD);
	expect_between("TSC_ADJUST, by the TSC", rdmsr(MSR_TSC_ADJUST) + later, 0, later);
	wrmsr(MSR_TSC_ADJUST, -AHEAD);
	expect_between("the TSC, put back", from - rdtsc(), AHEAD - later, AHEAD);
	wrmsr(MSR_TSC, 5);
	expect_between("the TSC, set", rdtsc(), 5, 5 + later);
	expect_between("TSC_ADJUST of that", rdmsr(MSR_TSC_ADJUST), 5 - from - later, 5 - from);
	wrmsr(MSR_TSC_ADJUST, 0);
	expect_between("the TSC as it was", rdtsc() - from, 1, later);
}

/* What waits for a deadline waits for the TSC as it is set, by either of its MSRs. */
static void deadlines(void)
{
	unsigned me = cpu_number();
	uint32_t before;

	if (!has(7, 1, 1))
		return;
	pass(100); /* an interrupt that was sent before comes now */
	before = came[me][VEC_FIRST];
	reg_write(REG_LVT_TIMER, 0x40000 | VEC_FIRST);
	for (unsigned i = 0; i < 2; i++) {
		wrmsr(MSR_DEADLINE, rdtsc() + AHEAD / 2);
		pass(1000);
		expect("interrupts before the TSC is there", came[me][VEC_FIRST], before + i);
		if (i)
			wrmsr(MSR_TSC, rdmsr(MSR_TSC) + AHEAD);
		else
			wrmsr(MSR_TSC_ADJUST, AHEAD);
		while (came[me][VEC_FIRST] == before + i)
			pass(10);
		expect("a deadline that is past", rdmsr(MSR_DEADLINE), 0);
		wrmsr(MSR_TSC_ADJUST, 0);
	}
	reg_write(REG_LVT_TIMER, LVT_MASKED);
	if (me)
		interrupts_on();
}

static void aux(void)
{
	uint32_t low, high, number;

	if (!has(0x80000001, 3, 27))
		return;
	wrmsr(MSR_TSC_AUX, 100 + cpu_number());
	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(number));
	expect("RDTSCP's number", number, 100 + cpu_number());
	expect("#GP for TSC_AUX", write_faults(MSR_TSC_AUX, 1ull << 32), true);
}

/* Two look by turns: none may read less than the other one has. */
static uint64_t (*volatile read_clock)(void);
static volatile uint64_t last;
static volatile uint32_t lock, warps, busy;

static void race(void)
{
	__atomic_fetch_add(&busy, 1, __ATOMIC_SEQ_CST);
	while (busy < 2)
		pause();
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t now;

		while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
			pause();
		now = read_clock();
		if (now < last)
			warps++;
		last = now;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	}
}

void expect_forward(const char *what, uint64_t (*clock)(void))
{
	read_clock = clock;
	last = 0;
	for (unsigned i = 1; i < nr_cpus; i++) {
		busy = 0;
		begin_on(i, race);
		race();
		end_on(i);
		expect(what, warps, 0);
	}
}

void tsc(void)
{
	on_each(told);
	on_each(moves);
	on_each(deadlines);
	on_each(aux);
	expect_forward("times that the TSC went back", rdtsc);
}
