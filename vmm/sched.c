#include "vmm/sched.h"

#include <stddef.h>

#include "arch/x86_64/include/bits.h"

/* Is a less far on than b? */
static bool before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

void sched_init(struct sched *s, unsigned cpu, uint64_t ticks_per_second)
{
	*s = (struct sched){ .cpu = cpu, .ms = MAX(ticks_per_second / 1000, UINT64_C(1)) };
	list_init(&s->queue);
}

void sched_group_init(struct sched_group *g, uint32_t weight)
{
	*g = (struct sched_group){ .weight = weight ? weight : SCHED_WEIGHT_DEFAULT };
}

void sched_entity_init(struct sched_entity *e, struct sched_group *group, uint64_t cpus)
{
	*e = (struct sched_entity){ .group = group, .cpus = cpus ? cpus : ~UINT64_C(0) };
	list_init(&e->node);
}

static void set_awake(struct sched_entity *e, bool awake)
{
	if (awake && !e->awake)
		e->group->awake++;
	else if (!awake && e->awake)
		e->group->awake--;
	e->awake = awake;
}

/* Who shares a group's weight now: whose turn it is, too, whatever has become of it since. */
static unsigned sharers(const struct sched_entity *e)
{
	return MAX(e->group->awake, 1u);
}

void sched_add(struct sched *s, struct sched_entity *e)
{
	struct sched_group *g = e->group;

	if (!g->members++)
		g->vtime = s->vtime;
	e->vtime = g->inner;
	set_awake(e, false);
	e->yields = false;
	list_push_back(&s->queue, &e->node);
}

void sched_remove(struct sched *s, struct sched_entity *e)
{
	if (!list_empty(&e->node))
		e->group->members--;
	list_remove(&e->node);
	list_init(&e->node);
	set_awake(e, false);
	if (s->current == e)
		s->current = NULL;
}

void sched_charge(struct sched *s, uint64_t ticks)
{
	struct sched_entity *e = s->current;
	struct sched_group *g;

	if (!e)
		return;
	g = e->group;
	e->ran += ticks;
	e->vtime += ticks;
	g->vtime += ticks * SCHED_WEIGHT_DEFAULT / g->weight;
	s->used += ticks;
	/* Its turn has no end: the others are to wake where it is, not where it was. */
	if (s->alone && before(s->vtime, g->vtime))
		s->vtime = g->vtime;
}

static uint64_t slice_of(const struct sched *s, const struct sched_entity *e)
{
	uint64_t whole = SCHED_SLICE_MS * s->ms;
	uint64_t slice = whole * MIN(e->group->weight, (uint32_t)SCHED_WEIGHT_DEFAULT);

	return MAX(slice / SCHED_WEIGHT_DEFAULT / sharers(e), SCHED_SLICE_MIN_MS * s->ms);
}

/* No further behind than its credit. */
static void limit(uint64_t *vtime, uint64_t others, uint64_t credit)
{
	if (before(*vtime, others - credit))
		*vtime = others - credit;
}

/* Can it run? Whoever sleeps, or wakes, is taken along; so is a group all of whom do. */
static bool look_at(struct sched *s, struct sched_entity *e, bool (*can_run)(struct sched_entity *))
{
	struct sched_group *g = e->group;
	uint64_t credit = SCHED_CREDIT_MS * s->ms;
	bool awake = (e->cpus & BIT(s->cpu)) && can_run(e);

	if (!awake || !e->awake) {
		limit(&e->vtime, g->inner, credit);
		if (g->awake == (e->awake ? 1 : 0)) /* no other one of it can run */
			limit(&g->vtime, s->vtime, credit);
	}
	set_awake(e, awake);
	return awake;
}

/* Has a had less than b? */
static bool is_behind(const struct sched_entity *a, const struct sched_entity *b, uint64_t margin)
{
	if (a->group == b->group)
		return before(a->vtime + margin, b->vtime);
	return before(a->group->vtime + margin, b->group->vtime);
}

/* Is e to be preferred to the best one so far? One that yields is the last choice. */
static bool better(const struct sched_entity *e, const struct sched_entity *best)
{
	if (!best || e->yields != best->yields)
		return !best || best->yields;
	return is_behind(e, best, 0);
}

/*
 * Who yields most often waits for another vCPU of the same VM, which holds a lock or is to answer
 * an interrupt: such a one goes first, unless it is so far on that others would pay for it.
 */
static bool is_awaited(const struct sched *s, const struct sched_entity *e)
{
	const struct sched_entity *yields = s->current;

	return yields && yields->yields && e != yields && e->group == yields->group && !e->yields &&
	       before(e->group->vtime, s->vtime + SCHED_CREDIT_MS * s->ms);
}

/* A timer may end a turn a little early: a rest not worth a turn of its own is given up. */
static bool keeps_turn(const struct sched *s, const struct sched_entity *woken)
{
	const struct sched_entity *e = s->current;
	uint64_t slice;

	if (!e || !e->awake || e->yields)
		return false;
	slice = slice_of(s, e);
	return s->used < slice - slice / 8 &&
	       !(woken && is_behind(woken, e, SCHED_MARGIN_MS * s->ms));
}

struct sched_entity *sched_pick(struct sched *s, bool (*can_run)(struct sched_entity *e),
				bool *others)
{
	struct sched_entity *best = NULL, *least = NULL, *woken = NULL, *awaited = NULL;
	unsigned runnable = 0;

	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);
		bool slept = !e->awake;

		if (!look_at(s, e, can_run))
			continue;
		runnable++;
		if (better(e, best))
			best = e;
		if (is_awaited(s, e) && (!awaited || is_behind(e, awaited, 0)))
			awaited = e;
		if (!least || is_behind(e, least, 0))
			least = e;
		if (slept && (!woken || is_behind(e, woken, 0)))
			woken = e;
	}
	*others = runnable > 1;
	s->alone = !*others;
	if (least && before(s->vtime, least->group->vtime))
		s->vtime = least->group->vtime;
	if (best && keeps_turn(s, woken))
		return s->current;
	if (s->current)
		s->current->yields = false;
	if (awaited)
		best = awaited;
	if (best) {
		best->group->inner = best->vtime;
		list_remove(&best->node);
		list_push_back(&s->queue, &best->node);
	}
	s->current = best;
	s->used = 0;
	return best;
}

uint64_t sched_left(const struct sched *s)
{
	uint64_t slice = s->current ? slice_of(s, s->current) : 0;

	return s->used < slice ? slice - s->used : 1;
}
