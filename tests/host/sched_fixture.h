/* What the tests of the scheduler have in common. */
#ifndef UMBRA_TESTS_SCHED_FIXTURE_H
#define UMBRA_TESTS_SCHED_FIXTURE_H

#include "vmm/sched.h"

/* A round of a CPU's loop that sends nobody away. */
static inline struct sched_entity *look_and_pick(struct sched *s,
						 bool (*can_run)(struct sched_entity *e),
						 bool *others)
{
	sched_look(s, can_run);
	return sched_pick(s, others);
}

/* What ends a turn, as turns.c has it. */
struct slice {
	uint64_t left; /* ticks, */
	bool runs;     /* if it does */
	bool hurries;
};

static inline void set_slice(struct slice *slice, const struct sched *s, bool on)
{
	slice->runs = on;
	slice->hurries = on && s->hurry;
	slice->left = sched_left(s);
}

static inline void take_turn(struct slice *slice, const struct sched *s, bool others)
{
	if (!s->used)
		set_slice(slice, s, false);
	if (others != slice->runs || (others && s->hurry && !slice->hurries))
		set_slice(slice, s, others);
}

#endif
