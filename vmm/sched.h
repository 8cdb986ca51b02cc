/*
 * Whose turn it is on a CPU: VMs share it as their weights say. Pure arithmetic: who calls this
 * has the clock, in ticks of whatever length.
 *
 * A VM is a group, its vCPUs are those who have turns. Each group has a virtual time, which goes on
 * while one of it runs, the slower the greater its weight; the one that is least far on is next. So
 * a VM gets no more for having more vCPUs, however they take turns, and no less while one alone of
 * them is busy. One that slept comes back at most SCHED_CREDIT_MS behind the others: that is enough
 * to have its turn at once, and no more than it can be owed.
 *
 * In a group its members share in the same way, as equals.
 */
#ifndef UMBRA_VMM_SCHED_H
#define UMBRA_VMM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/list.h"

/* Those CPUs that run guests. */
#define SCHED_CPUS 1

#define SCHED_WEIGHT_MIN 1
#define SCHED_WEIGHT_MAX 10000
#define SCHED_WEIGHT_DEFAULT 256 /* as Xen's credit scheduler has it */

#define SCHED_SLICE_MS 10    /* a turn while others wait; less below the default weight, */
#define SCHED_SLICE_MIN_MS 1 /* but not less than this */
#define SCHED_CREDIT_MS 5    /* of virtual time */
#define SCHED_MARGIN_MS 1    /* who wakes so far behind cuts off the turn of another */

struct sched_group {
	uint32_t weight;
	uint64_t vtime;   /* ticks at the default weight; it wraps */
	uint64_t inner;   /* the virtual time of the member that was picked last */
	unsigned members; /* in the queue */
	unsigned awake;   /* of them, when they were looked at last */
};

/* One of those who share. Touched by the run loop alone. */
struct sched_entity {
	struct list_node node; /* in the queue while its VM runs */
	struct sched_group *group;
	uint64_t cpus;  /* bit n: it may run on CPU n */
	uint64_t vtime; /* ticks, among those of its group; it wraps */
	uint64_t ran;   /* ticks in all */
	bool awake;     /* when it was looked at last */
	bool yields;    /* the rest of its turn is for the others, its group's first */
};

struct sched {
	unsigned cpu;
	uint64_t ms;            /* ticks */
	struct list_node queue; /* who had its turn longest ago is first */
	uint64_t vtime;         /* of the group that is least far on; never goes back */
	struct sched_entity *current;
	uint64_t used; /* ticks of its turn */
	bool alone;    /* nobody else could run when it began */
};

void sched_init(struct sched *s, unsigned cpu, uint64_t ticks_per_second);
/* Before it has a member. weight 0: the default. */
void sched_group_init(struct sched_group *g, uint32_t weight);
/* Before anything else is done with e. cpus 0: all. */
void sched_entity_init(struct sched_entity *e, struct sched_group *group, uint64_t cpus);
/* From now on it has its share, beginning where the others are. */
void sched_add(struct sched *s, struct sched_entity *e);
/* Harmless on one that is not there. */
void sched_remove(struct sched *s, struct sched_entity *e);

/* Whose turn it is has had the CPU for so long. */
void sched_charge(struct sched *s, uint64_t ticks);
/*
 * Whose turn it is now: the same one's until it has had its slice, yields, cannot run, or is to
 * give way to one that woke; NULL: nobody can run. *others: is there somebody else who can?
 */
struct sched_entity *sched_pick(struct sched *s, bool (*can_run)(struct sched_entity *e),
				bool *others);
/* Ticks that are left of the turn, at least one. */
uint64_t sched_left(const struct sched *s);

#endif
