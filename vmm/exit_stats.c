#include "vmm/exit_stats.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"

void exit_stats_clear(struct exit_stats *s)
{
	struct exit_trace trace = s->trace;

	memset(s, 0, sizeof(*s));
	s->trace = trace;
}

void exit_stats_add(struct exit_stats *sum, const struct exit_stats *from)
{
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		sum->count[k] += from->count[k];
		sum->ticks[k] += from->ticks[k];
		sum->worst[k] = MAX(sum->worst[k], from->worst[k]);
		for (unsigned b = 0; b < EXIT_BUCKETS; b++)
			sum->bucket[k][b] += from->bucket[k][b];
	}
	sum->guest_ticks += from->guest_ticks;
}

struct exit_summary exit_stats_summary(const struct exit_stats *s, unsigned kind)
{
	unsigned from = kind < EXIT_KINDS ? kind : 0;
	unsigned to = kind < EXIT_KINDS ? kind + 1 : EXIT_KINDS;
	struct exit_summary sum = { 0 };

	for (unsigned k = from; k < to; k++) {
		sum.count += s->count[k];
		sum.ticks += s->ticks[k];
		sum.worst = MAX(sum.worst, s->worst[k]);
	}
	sum.mean = sum.count ? sum.ticks / sum.count : 0;
	return sum;
}

uint64_t exit_stats_bucket(const struct exit_stats *s, unsigned kind, unsigned b)
{
	uint64_t sum = 0;

	if (kind < EXIT_KINDS)
		return s->bucket[kind][b];
	for (unsigned k = 0; k < EXIT_KINDS; k++)
		sum += s->bucket[k][b];
	return sum;
}

unsigned exit_stats_order(const struct exit_stats *s, enum vm_exit_kind order[EXIT_KINDS])
{
	unsigned n = 0;

	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		unsigned at = n;

		if (!s->count[k])
			continue;
		for (; at && s->count[order[at - 1]] < s->count[k]; at--)
			order[at] = order[at - 1];
		order[at] = (enum vm_exit_kind)k;
		n++;
	}
	return n;
}

unsigned exit_stats_permille(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)((mul_div64(part, 2000, whole) + 1) / 2) : 0;
}
