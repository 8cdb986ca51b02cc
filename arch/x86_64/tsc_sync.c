#include "arch/x86_64/tsc_sync.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"

#define TEST_NS 2000000
#define LOOKS_MIN 16
#define WAIT_NS (5 * NS_PER_SEC) /* for the other one, which an emulator may run now and then */
#define ADJUSTMENTS 3
#define PINGS 64

enum side { FIRST, OTHER, NOBODY };

static const char no_step[] = "it does not keep step in the test of its TSC";
static const char no_tsc[] = "its TSC does not agree with the first one's";

/* Of the one meeting that there is at a time. All atomic. */
static unsigned step[2]; /* how many barriers each has reached */
static unsigned turn;    /* enum side: who looks next */
static uint64_t last;    /* what was read last; belongs to whose turn it is */
static uint64_t worst;   /* the largest step back; as last */
static unsigned ping, pong;
static uint64_t stamp;
static int64_t ahead; /* the other TSC less the first */

/* In program order, as far as other CPUs can tell. SDM vol. 2, RDTSC. */
static uint64_t read_tsc(void)
{
	__asm__ volatile("mfence; lfence" ::: "memory");
	return rdtsc();
}

static uint64_t ticks_of(uint64_t ns)
{
	return mul_div64(ns, clock_tsc_hz(), NS_PER_SEC);
}

/* Wait until *word is at least val. */
static bool wait_for(const unsigned *word, unsigned val)
{
	uint64_t from = rdtsc(), limit = ticks_of(WAIT_NS);

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < val) {
		if (rdtsc() - from > limit)
			return false;
		cpu_relax();
	}
	return true;
}

/* Neither goes on before both are here. */
static bool barrier(enum side side)
{
	unsigned n = step[side] + 1;

	__atomic_store_n(&step[side], n, __ATOMIC_RELEASE);
	return wait_for(&step[!side], n);
}

/* One after the other, so that each does follow the other one. False: that one does not go on. */
static bool look(enum side side)
{
	uint64_t from = rdtsc(), limit = ticks_of(TEST_NS);

	for (unsigned n = 0;; n++) {
		uint64_t asked = rdtsc(), now;
		unsigned whose;

		while ((whose = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) == !side) {
			if (rdtsc() - asked > ticks_of(WAIT_NS))
				return false;
			cpu_relax();
		}
		if (whose == NOBODY)
			return true;
		now = read_tsc();
		if (now < last && last - now > worst)
			worst = last - now;
		last = now;
		if (side == FIRST && n >= LOOKS_MIN && now - from >= limit) {
			__atomic_store_n(&turn, NOBODY, __ATOMIC_RELEASE);
			return true;
		}
		__atomic_store_n(&turn, (unsigned)!side, __ATOMIC_RELEASE);
	}
}

/* The quickest of several exchanges tells best: the answer came halfway between. */
static bool measure(enum side side)
{
	uint64_t best = UINT64_MAX;

	for (unsigned n = 1; n <= PINGS; n++) {
		uint64_t from, trip;

		if (side == OTHER) {
			if (!wait_for(&ping, n))
				return false;
			stamp = read_tsc();
			__atomic_store_n(&pong, n, __ATOMIC_RELEASE);
			continue;
		}
		from = read_tsc();
		__atomic_store_n(&ping, n, __ATOMIC_RELEASE);
		if (!wait_for(&pong, n))
			return false;
		trip = read_tsc() - from;
		if (trip < best) {
			best = trip;
			ahead = (int64_t)(stamp - (from + trip / 2));
		}
	}
	return true;
}

/*
 * Of a TSC that is written whole, the writing itself takes time: what it was wrong by the last time
 * is made good. QEMU: takes the write, and nothing changes.
 */
static void set_back(int64_t ticks, bool again)
{
	static int64_t lost;
	uint64_t val;

	if (cpu_features()->tsc_adjust && rdmsr_safe(MSR_TSC_ADJUST, &val)) {
		wrmsr_safe(MSR_TSC_ADJUST, val - (uint64_t)ticks);
		return;
	}
	lost = again ? lost - ticks : 0;
	wrmsr_safe(MSR_TSC, rdtsc() - (uint64_t)(ticks - lost));
}

/* What both do. *set: how often the other one was set. */
static const char *meet(enum side side, unsigned *set)
{
	for (*set = 0;; ++*set) {
		uint64_t back;

		if (!barrier(side) || !look(side) || !barrier(side))
			return no_step;
		back = worst;
		if (!back || *set == ADJUSTMENTS)
			return back ? no_tsc : NULL;
		if (!barrier(side) || !measure(side) || !barrier(side))
			return no_step;
		if (side == OTHER) {
			set_back(ahead, *set > 0);
			ping = pong = turn = 0;
			last = worst = 0;
		}
	}
}

void tsc_sync_prepare(void)
{
	step[FIRST] = step[OTHER] = 0;
	ping = pong = turn = 0;
	last = worst = 0;
}

void tsc_sync_meet(unsigned id)
{
	unsigned set;

	if (!__atomic_load_n(&step[OTHER], __ATOMIC_ACQUIRE) || step[FIRST]) {
		cpu_relax();
		return;
	}
	if (!meet(FIRST, &set) && set)
		log_info("cpu %u: its TSC was set by %lld ticks", id, -(long long)ahead);
}

const char *tsc_sync_other(void)
{
	unsigned set;

	return meet(OTHER, &set);
}
