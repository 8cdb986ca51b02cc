/*
 * What a vCPU's exits were and what they cost: by kind how many, the TSC ticks from leaving the
 * guest to entering it again, the worst, and a histogram. Time in which the vCPU waits (halted,
 * or while others run) is nobody's cost. The processor counts ticks always; what is done for it at
 * each exit is here, inline, in about thirty instructions.
 */
#ifndef UMBRA_VMM_EXIT_STATS_H
#define UMBRA_VMM_EXIT_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"
#include "vmm/exit_trace.h"

/* Bucket b counts the exits that cost 2^b to 2^(b+1) - 1 ticks; the last one has no upper end. */
#define EXIT_BUCKETS 32

struct exit_stats {
	uint64_t count[EXIT_KINDS]; /* the bench finds them here, at the start */
	uint64_t ticks[EXIT_KINDS];
	uint64_t worst[EXIT_KINDS];
	uint64_t bucket[EXIT_KINDS][EXIT_BUCKETS];
	uint64_t guest_ticks; /* spent in the guest */
	uint64_t since;       /* TSC when the guest was entered or left last */
	enum vm_exit_kind kind;
	bool open; /* the exit of this kind has been counted, and its cost not yet */
	struct exit_trace trace;
};

/* The exit that is under way is over now: with the entry, or as the vCPU has to wait. */
static inline void exit_stats_close(struct exit_stats *s, uint64_t tsc)
{
	uint64_t ticks = tsc - s->since;
	unsigned kind = s->kind, log2 = 63 - (unsigned)__builtin_clzll(ticks | 1);

	if (!s->open)
		return;
	s->open = false;
	s->ticks[kind] += ticks;
	if (ticks > s->worst[kind])
		s->worst[kind] = ticks;
	s->bucket[kind][log2 < EXIT_BUCKETS ? log2 : EXIT_BUCKETS - 1]++;
	if (__builtin_expect(s->trace.records != NULL, 0))
		exit_trace_cost(&s->trace, ticks);
}

/* The guest is entered. */
static inline void exit_stats_enter(struct exit_stats *s, uint64_t tsc)
{
	exit_stats_close(s, tsc);
	s->since = tsc;
}

/* The guest has been left. */
static inline void exit_stats_leave(struct exit_stats *s, uint64_t tsc)
{
	s->guest_ticks += tsc - s->since;
	s->since = tsc;
}

/* Count the exit; its cost begins where the guest was left. */
static inline void exit_stats_count(struct exit_stats *s, enum vm_exit_kind kind)
{
	s->count[kind]++;
	s->kind = kind;
	s->open = true;
}

/* All counts are zero again; the trace stays. */
void exit_stats_clear(struct exit_stats *s);

/* Add what from has counted to what sum has; the trace is left out. */
void exit_stats_add(struct exit_stats *sum, const struct exit_stats *from);

/* A kind's figures, or with kind EXIT_KINDS those of all kinds together. */
struct exit_summary {
	uint64_t count, ticks, mean, worst;
};
struct exit_summary exit_stats_summary(const struct exit_stats *s, unsigned kind);
/* Its exits that cost 2^b ticks up to less than twice that, summed in the same way. */
uint64_t exit_stats_bucket(const struct exit_stats *s, unsigned kind, unsigned b);
/* The kinds that have exits, those with most of them first; how many. */
unsigned exit_stats_order(const struct exit_stats *s, enum vm_exit_kind order[EXIT_KINDS]);
/* part of whole in thousandths, rounded; 0 when there is no whole. */
unsigned exit_stats_permille(uint64_t part, uint64_t whole);

#endif
