/*
 * Whose turn it is on a CPU, and which CPU is a vCPU's: VMs share the machine as their weights say.
 * Pure arithmetic: who calls this has the clock, in ticks of whatever length.
 *
 * Each CPU has its queue, which its own loop alone touches; of another's only a few words are read.
 * What a VM has on a CPU is a group there, its vCPUs are those who have turns. Each group has a
 * virtual time, which goes on while one of it runs, the slower the greater its weight; the one that
 * is least far on is next. A VM's weight is divided by its vCPUs that can run, on whichever CPUs: a
 * group has as much of it as it has of them. So a VM gets no more for having more vCPUs, however
 * they take turns, and no less while one alone of them is busy. One that slept comes back at most
 * SCHED_CREDIT_MS behind the others: that is enough to have its turn at once, and no more than it
 * can be owed.
 *
 * In a group its members share in the same way, as equals.
 *
 * A CPU with more to do sends some to one with less. Where the numbers do not come out even (three
 * vCPUs on two CPUs) they are sent round, so that in the long run each has had the same.
 */
#ifndef UMBRA_VMM_SCHED_H
#define UMBRA_VMM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/cpu_set.h"
#include "arch/x86_64/lib/list.h"

#define SCHED_WEIGHT_MIN 1
#define SCHED_WEIGHT_MAX 10000
#define SCHED_WEIGHT_DEFAULT 256 /* as Xen's credit scheduler has it */

#define SCHED_SLICE_MS 10    /* a turn while others wait; less below the default weight, */
#define SCHED_SLICE_MIN_MS 1 /* but not less than this */
#define SCHED_CREDIT_MS 5    /* of virtual time */
#define SCHED_DEBT_MS 1000   /* of it: the most that one takes along to another CPU */
#define SCHED_MARGIN_MS 1    /* who wakes so far behind cuts off the turn of another */

#define SCHED_WARM_MS 1 /* while others ran no longer than this a cache is still one's own */
#define SCHED_STAY_MS                                                                              \
	20                /* who came to a CPU stays so long, unless another one has nothing to do \
			   */
#define SCHED_PACE_MS 500 /* of a CPU's past: what its speed is judged by */
#define SCHED_ASK_MS 50   /* so often another one is asked what its speed is */

/* A VM's part of a CPU. That CPU's loop alone touches it. */
struct sched_group {
	uint64_t vtime;   /* ticks at the default weight; it wraps */
	uint64_t inner;   /* the virtual time of the member that was picked last */
	unsigned members; /* in the queue */
	unsigned awake;   /* of them, when they were looked at last */
};

/* What a VM's vCPUs share. */
struct sched_share {
	uint32_t weight;
	unsigned awake; /* of the vCPUs, on all CPUs: atomic */
	struct sched_group group[CPU_MAX];
};

/* One of those who share. Touched by the loop of the CPU that it belongs to. */
struct sched_entity {
	struct list_node node; /* in the queue while its VM runs */
	struct sched_share *share;
	struct sched_group *group; /* where it is, or was last */
	struct sched *to;    /* where it is on its way to; NULL: it is in a queue, or in none */
	struct cpu_set cpus; /* it may run on these */
	uint64_t vtime;      /* ticks, among those of its group; it wraps */
	uint64_t ran;        /* ticks in all */
	uint64_t came, left; /* to this CPU; its last turn here: by the CPU's clock */
	int64_t ahead;       /* of its group when it left a CPU, */
	int64_t group_ahead; /* and that of the others */
	uint64_t turn;       /* the number of its last one on this CPU, or of the one it came in */
	bool awake;          /* when it was looked at last: others read it, atomic */
	bool woke;           /* it was not, the time before */
	bool yields;         /* the rest of its turn is for the others, its group's first */
};

struct sched {
	unsigned cpu;
	uint64_t ms;                       /* ticks */
	struct list_node queue;            /* who had its turn longest ago is first */
	uint64_t vtime;                    /* of the group that is least far on; never goes back */
	uint64_t turns;                    /* how many have begun */
	uint64_t used;                     /* ticks of its turn */
	bool alone;                        /* nobody else could run when it began */
	uint64_t clock;                    /* ticks of all turns */
	uint64_t next_look;                /* at the other CPUs, by the clock */
	const struct sched_entity *leaver; /* is to leave when his turn ends, */
	uint64_t leaves_by;                /* or somebody else may, by the clock */
	uint64_t next_ask;                 /* for the speed of one of them, */
	unsigned asked;                    /* which was this one's the last time */
	bool woke;                         /* somebody did: look at them now */
	uint64_t window, progress;         /* since speed was reckoned: ticks, virtual ones */

	/* What others read: atomic. */
	struct sched_entity *current;
	unsigned runnable;      /* who can run, by the last pick */
	unsigned members;       /* in the queue */
	unsigned coming;        /* on their way here: others count them */
	uint64_t load;          /* the weights of those who can run */
	uint64_t speed;         /* how fast its virtual time went of late */
	struct cpu_set waiters; /* those who wait here may run on these CPUs; by words */
	bool hurry; /* somebody does only because his cache is warm: the turn is short */
};

void sched_init(struct sched *s, unsigned cpu, uint64_t ticks_per_second);
/* Before it has a member. weight 0: the default. */
void sched_share_init(struct sched_share *share, uint32_t weight);
/* Before anything else is done with e. No CPU: on all. */
void sched_entity_init(struct sched_entity *e, struct sched_share *share,
		       const struct cpu_set *cpus);
/* From now on it has its share, beginning where the others are; or, of one that came from another
 * CPU, as far from them as it was there. */
void sched_add(struct sched *s, struct sched_entity *e);
/* Harmless on one that is not there. One that is on its way will not come. */
void sched_remove(struct sched *s, struct sched_entity *e);
/* Take one out of the queue for a while: when it is added again, here or elsewhere, it is as far
 * from the others as it was. */
void sched_set_aside(struct sched *s, struct sched_entity *e);
/* One that was set aside, for long, begins where the others are. */
void sched_clear_lag(struct sched_entity *e);

/* Whose turn it is has had the CPU for so long. A clock that went back counts as one that stood. */
void sched_charge(struct sched *s, uint64_t ticks);
/* Who can run, and who of them could not when they were looked at last: before each pick. */
void sched_look(struct sched *s, bool (*can_run)(struct sched_entity *e));
/*
 * Whose turn it is now: the same one's until it has had its slice, yields, cannot run, or is to
 * give way to one that woke; NULL: nobody can run. *others: is there somebody else who can?
 */
struct sched_entity *sched_pick(struct sched *s, bool *others);
/* Ticks that are left of the turn, at least one; SCHED_WARM_MS at most in a hurry. */
uint64_t sched_left(const struct sched *s);

/*
 * Who spins yields, which is its loop's to say (e->yields), most often waits for another one of its
 * group: one that was taken off the CPU while it had a lock, or that is to answer an interrupt. One
 * who can run here has the rest of the turn. When nobody here can, one of another CPU's is asked
 * for.
 */

/* Could e, who is at s, run if he had his turn? From any CPU; it may be otherwise by now. */
bool sched_waits(const struct sched *s, const struct sched_entity *e);
/* Take him off this CPU's queue for the one that asks: not if he came just now. NULL: he stays. He
 * may be in no queue at all, and is not looked into then. */
struct sched_entity *sched_give_sought(struct sched *s, const struct sched_entity *sought,
				       struct sched *to);

/*
 * Which CPU: all[n] is CPU n's of the first nr, NULL where none runs guests. Who is chosen is on
 * its way (e->to) until sched_add() there, or sched_remove(), counts it.
 */

/* How many can run there, as that CPU knew last. From any CPU. */
unsigned sched_runnable(const struct sched *s);
/* Where one that is in no queue is to begin: of those CPUs that it may run on the one with the
 * fewest. NULL: there is none. From any CPU. */
struct sched *sched_place(struct sched *const *all, unsigned nr, struct sched_entity *e);
/* Whom this CPU, which has nothing to do, asks for one: who has most to do, of those where somebody
 * waits who may come here. One in a hurry is left alone, and sends him by itself soon. NULL:
 * nobody, or one is on his way already. */
struct sched *sched_busiest(struct sched *const *all, unsigned nr, const struct sched *idle);
/*
 * Take off this CPU's queue one that is better off there, of which the CPU that has nothing to do
 * asks: never whose turn it is, nor one that ran just now. Where none waits but who came here just
 * now, whose turn it is gives way to him, and is sent by sched_balance() soon. NULL: there is none.
 */
struct sched_entity *sched_give(struct sched *s, struct sched *to);
/*
 * Take off this CPU's queue, after sched_look(), one of those who woke while another one has his
 * turn here: to a CPU that has nothing to do, e->to. So neither is in the other's way. One who ran
 * just now stays, if whose turn it is could go there in his place. Call it until it gives none.
 */
struct sched_entity *sched_spread(struct sched *s, struct sched *const *all, unsigned nr);
/* The same for whichever CPU it is, e->to: to one that has nothing to do, else to one that has
 * less. Call it after each sched_pick(), and again until it gives none, as several CPUs may have
 * nothing to do: it looks once a millisecond, and when somebody woke. */
struct sched_entity *sched_balance(struct sched *s, struct sched *const *all, unsigned nr);
/*
 * Whose loop is to be interrupted, so that its turn, which has no end, is charged and others see
 * how fast it has got on: one of those where one who waits here may be to go for it. NULL: nobody's
 * now. Call it when sched_balance() gives none.
 */
struct sched *sched_outdated(struct sched *s, struct sched *const *all, unsigned nr);

#endif
