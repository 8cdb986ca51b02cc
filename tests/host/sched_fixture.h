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

#endif
