#include "vmm/sched.h"

#include <stddef.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"

#define LOAD_ONE UINT64_C(1024)       /* a weight of 1 */
#define SPEED_ONE (UINT64_C(1) << 20) /* virtual time goes as fast as the clock */
#define WINDOW_MS 10
#define NO_TURN 0 /* of its own yet, on this CPU */
/* No turn lasts so long; and one that seems to has not all its virtual time charged. */
#define CHARGE_MAX_MS 10000

static unsigned word(const unsigned *w)
{
	return __atomic_load_n(w, __ATOMIC_RELAXED);
}

static uint64_t word64(const uint64_t *w)
{
	return __atomic_load_n(w, __ATOMIC_RELAXED);
}

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

void sched_share_init(struct sched_share *share, uint32_t weight)
{
	*share = (struct sched_share){ .weight = weight ? weight : SCHED_WEIGHT_DEFAULT };
}

void sched_entity_init(struct sched_entity *e, struct sched_share *share,
		       const struct cpu_set *cpus)
{
	*e = (struct sched_entity){ .share = share,
				    .cpus = cpu_set_is_empty(cpus) ? cpu_set_all() : *cpus };
	list_init(&e->node);
}

static void set_current(struct sched *s, struct sched_entity *e)
{
	__atomic_store_n(&s->current, e, __ATOMIC_RELAXED);
}

static void set_awake(struct sched_entity *e, bool awake)
{
	if (awake && !e->awake) {
		e->group->awake++;
		__atomic_fetch_add(&e->share->awake, 1, __ATOMIC_RELAXED);
	} else if (!awake && e->awake) {
		e->group->awake--;
		__atomic_fetch_sub(&e->share->awake, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&e->awake, awake, __ATOMIC_RELAXED);
}

/* Who shares a group's weight now: whose turn it is, too, whatever has become of it since. */
static unsigned sharers(const struct sched_entity *e)
{
	return MAX(e->group->awake, 1u);
}

/* And its VM's, everywhere. */
static unsigned all_sharers(const struct sched_entity *e)
{
	return MAX(word(&e->share->awake), sharers(e));
}

static void send_to(struct sched_entity *e, struct sched *to)
{
	e->to = to;
	__atomic_fetch_add(&to->coming, 1, __ATOMIC_RELAXED);
}

static void has_come(struct sched_entity *e)
{
	if (e->to)
		__atomic_fetch_sub(&e->to->coming, 1, __ATOMIC_RELAXED);
	e->to = NULL;
}

static void count_members(struct sched *s, int more)
{
	__atomic_store_n(&s->members, s->members + (unsigned)more, __ATOMIC_RELAXED);
}

/* Behind those who had their turns before its own; who is new has had his now. */
static void line_up(struct sched *s, struct sched_entity *e)
{
	struct list_node *before = s->queue.prev;

	if (e->turn == NO_TURN)
		e->turn = s->turns;
	while (before != &s->queue &&
	       container_of(before, struct sched_entity, node)->turn > e->turn)
		before = before->prev;
	list_insert_before(before->next, &e->node);
}

void sched_add(struct sched *s, struct sched_entity *e)
{
	struct sched_group *g = &e->share->group[s->cpu];

	has_come(e);
	e->group = g;
	if (!g->members++)
		g->vtime = s->vtime + (uint64_t)e->group_ahead;
	e->vtime = g->inner + (uint64_t)e->ahead;
	e->ahead = e->group_ahead = 0;
	e->yields = false;
	e->came = s->clock;
	e->left = s->clock - SCHED_WARM_MS * s->ms;
	line_up(s, e);
	count_members(s, 1);
}

void sched_remove(struct sched *s, struct sched_entity *e)
{
	has_come(e);
	e->ahead = e->group_ahead = 0;
	e->turn = NO_TURN;
	if (list_empty(&e->node))
		return;
	e->group->members--;
	count_members(s, -1);
	list_remove(&e->node);
	list_init(&e->node);
	set_awake(e, false);
	if (s->current == e)
		set_current(s, NULL);
}

/* What part of the machine it is to have, beside the other loads. */
static uint64_t load_of(const struct sched_entity *e)
{
	return e->share->weight * LOAD_ONE / all_sharers(e);
}

/* An average that fades: the virtual time of all who can run goes as fast as their loads let it. */
static void reckon_speed(struct sched *s, uint64_t ticks)
{
	uint64_t now, ms;

	s->window += ticks;
	s->progress += mul_div64(ticks, SCHED_WEIGHT_DEFAULT * LOAD_ONE, MAX(s->load, UINT64_C(1)));
	if (s->window < WINDOW_MS * s->ms)
		return;
	now = mul_div64(s->progress, SPEED_ONE, s->window);
	ms = MIN(s->window / s->ms, (uint64_t)SCHED_PACE_MS);
	if (s->speed)
		now = s->speed +
		      (uint64_t)((int64_t)(now - s->speed) * (int64_t)ms / SCHED_PACE_MS);
	__atomic_store_n(&s->speed, now, __ATOMIC_RELAXED);
	s->window = s->progress = 0;
}

void sched_charge(struct sched *s, uint64_t ticks)
{
	struct sched_entity *e = s->current;
	struct sched_group *g;

	if (!e || (int64_t)ticks < 0)
		return;
	g = e->group;
	e->ran += ticks;
	s->used += ticks;
	ticks = MIN(ticks, CHARGE_MAX_MS * s->ms);
	s->clock += ticks;
	e->left = s->clock;
	e->vtime += ticks;
	g->vtime += mul_div64(ticks, (uint64_t)SCHED_WEIGHT_DEFAULT * all_sharers(e),
			      (uint64_t)e->share->weight * sharers(e));
	reckon_speed(s, ticks);
	/* Its turn has no end: the others are to come, or wake, where it is, not where it was. */
	if (s->alone) {
		g->inner = e->vtime;
		if (before(s->vtime, g->vtime))
			s->vtime = g->vtime;
	}
}

static uint64_t slice_of(const struct sched *s, const struct sched_entity *e)
{
	uint64_t whole = SCHED_SLICE_MS * s->ms;
	uint64_t weight = (uint64_t)e->share->weight * sharers(e) / all_sharers(e);
	uint64_t slice = whole * MIN(weight, (uint64_t)SCHED_WEIGHT_DEFAULT);

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
	bool awake = cpu_set_has(&e->cpus, s->cpu) && can_run(e);

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
 * an interrupt: such a one goes first, unless it is so far on that others would pay for it. They
 * take turns, whoever has had least: that would be the others who spin, again and again.
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

void sched_look(struct sched *s, bool (*can_run)(struct sched_entity *e))
{
	unsigned runnable = 0;
	uint64_t load = 0;

	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);
		bool slept = !e->awake, awake = look_at(s, e, can_run);

		e->woke = awake && slept;
		s->woke |= e->woke;
		if (!awake)
			continue;
		runnable++;
		load += load_of(e);
	}
	__atomic_store_n(&s->runnable, runnable, __ATOMIC_RELAXED);
	__atomic_store_n(&s->load, load, __ATOMIC_RELAXED);
}

/* Who can run, as they are now. NULL: there is none. */
struct choice {
	struct sched_entity *best, *least;
	struct sched_entity *woken;   /* the least of those who woke */
	struct sched_entity *awaited; /* by one who yields */
};

static struct choice survey(const struct sched *s)
{
	struct choice c = { NULL };

	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (!e->awake)
			continue;
		if (better(e, c.best))
			c.best = e;
		if (!c.awaited && is_awaited(s, e))
			c.awaited = e;
		if (!c.least || is_behind(e, c.least, 0))
			c.least = e;
		if (e->woke && (!c.woken || is_behind(e, c.woken, 0)))
			c.woken = e;
	}
	return c;
}

/* Where those could run who can't here, for now. */
static void count_waiters(struct sched *s)
{
	struct cpu_set cpus = { { 0 } };

	list_for_each (n, &s->queue) {
		const struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (e->awake && e != s->current)
			cpu_set_unite(&cpus, &e->cpus);
	}
	for (unsigned i = 0; i < CPU_SET_WORDS; i++)
		__atomic_store_n(&s->waiters.word[i], cpus.word[i], __ATOMIC_RELAXED);
}

static void begin_turn(struct sched *s, struct sched_entity *e)
{
	if (s->current)
		s->current->yields = false;
	if (e) {
		e->group->inner = e->vtime;
		e->turn = ++s->turns;
		list_remove(&e->node);
		list_push_back(&s->queue, &e->node);
	}
	set_current(s, e);
	s->used = 0;
}

struct sched_entity *sched_pick(struct sched *s, bool *others)
{
	struct choice c = survey(s);

	*others = s->runnable > 1;
	s->alone = !*others;
	if (c.least && before(s->vtime, c.least->group->vtime))
		s->vtime = c.least->group->vtime;
	if (!c.best || !keeps_turn(s, c.woken))
		begin_turn(s, c.awaited ? c.awaited : c.best);
	count_waiters(s);
	return s->current;
}

uint64_t sched_left(const struct sched *s)
{
	uint64_t slice = s->current ? slice_of(s, s->current) : 0;
	uint64_t left = s->used < slice ? slice - s->used : 1;

	return s->hurry ? MIN(left, SCHED_WARM_MS * s->ms) : left;
}

/* --- which CPU --- */

unsigned sched_runnable(const struct sched *s)
{
	return word(&s->runnable);
}

struct sched *sched_place(struct sched *const *all, unsigned nr, struct sched_entity *e)
{
	struct sched *best = NULL;
	unsigned fewest = 0;

	for (unsigned i = 0; i < MIN(nr, (unsigned)CPU_MAX); i++) {
		unsigned n;

		if (!all[i] || !cpu_set_has(&e->cpus, i))
			continue;
		n = word(&all[i]->members) + word(&all[i]->coming);
		if (best &&
		    (n > fewest || (n == fewest && word64(&all[i]->load) >= word64(&best->load))))
			continue;
		best = all[i];
		fewest = n;
	}
	if (best)
		send_to(e, best);
	return best;
}

/* Could one who waits here run there? */
static bool is_waited_for(const struct sched *s, unsigned cpu)
{
	return word64(&s->waiters.word[cpu / 64]) >> (cpu % 64) & 1;
}

struct sched *sched_busiest(struct sched *const *all, unsigned nr, const struct sched *idle)
{
	struct sched *best = NULL;

	if (word(&idle->coming))
		return NULL;
	for (unsigned i = 0; i < MIN(nr, (unsigned)CPU_MAX); i++) {
		struct sched *s = all[i];

		if (!s || !is_waited_for(s, idle->cpu) ||
		    __atomic_load_n(&s->hurry, __ATOMIC_RELAXED))
			continue;
		if (!best || word64(&s->load) > word64(&best->load))
			best = s;
	}
	return best;
}

static bool is_idle(const struct sched *s)
{
	return !sched_runnable(s) && !word(&s->coming);
}

static bool is_warm(const struct sched *s, const struct sched_entity *e)
{
	return s->clock - e->left < SCHED_WARM_MS * s->ms;
}

static int64_t within_debt(const struct sched *s, uint64_t ahead)
{
	int64_t most = (int64_t)(SCHED_DEBT_MS * s->ms),
		least = -(int64_t)(SCHED_CREDIT_MS * s->ms);

	return MAX(MIN((int64_t)ahead, most), least);
}

void sched_set_aside(struct sched *s, struct sched_entity *e)
{
	int64_t ahead = within_debt(s, e->vtime - e->group->inner);
	int64_t group_ahead = within_debt(s, e->group->vtime - s->vtime);
	uint64_t turn = e->turn;

	sched_remove(s, e);
	e->ahead = ahead;
	e->group_ahead = group_ahead;
	e->turn = turn;
}

void sched_clear_lag(struct sched_entity *e)
{
	e->ahead = e->group_ahead = 0;
}

static void set_hurry(struct sched *s, bool hurry)
{
	__atomic_store_n(&s->hurry, hurry, __ATOMIC_RELAXED);
}

static void send_away(struct sched *s, struct sched_entity *e, struct sched *to)
{
	__atomic_store_n(&s->runnable, s->runnable - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&s->load, s->load - MIN(load_of(e), s->load), __ATOMIC_RELAXED);
	sched_set_aside(s, e);
	count_waiters(s);
	e->turn = NO_TURN;
	s->leaver = NULL;
	send_to(e, to);
}

bool sched_waits(const struct sched *s, const struct sched_entity *e)
{
	return __atomic_load_n(&e->awake, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&s->current, __ATOMIC_RELAXED) != e;
}

struct sched_entity *sched_give_sought(struct sched *s, const struct sched_entity *sought,
				       struct sched *to)
{
	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (e != sought)
			continue;
		if (e == s->current || !e->awake || !cpu_set_has(&e->cpus, to->cpu) || to == s ||
		    s->clock - e->came < SCHED_STAY_MS * s->ms)
			return NULL;
		send_away(s, e, to);
		return e;
	}
	return NULL;
}

/*
 * Is one of such a load to go to a CPU that has so much less to do? At once, if that has hardly
 * more to do afterwards than this one: the difference is an eighth of what it was, at most. Else
 * the two only change places: that is for when those over there have got on faster for a while, and
 * are to be the ones among many.
 */
static bool evens_out(uint64_t load, uint64_t less, bool faster)
{
	return 2 * load <= less + less / 8 || faster;
}

/* Has the one CPU got on so much faster than the other? */
static bool is_faster(uint64_t speed, uint64_t than)
{
	return speed > than + than / 8;
}

/* Who was here longest; but rather one that does not tip the scales. */
static bool goes_before(const struct sched_entity *e, const struct sched_entity *best,
			uint64_t less)
{
	bool tips = load_of(e) > less;

	if (!best || tips != (load_of(best) > less))
		return !best || !tips;
	return before(e->came, best->came);
}

/* Whoever can go at once, to a CPU that has nothing to do. */
static struct sched_entity *give_to_idle(struct sched *s, const struct sched *to)
{
	struct sched_entity *best = NULL;

	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (e == s->current || !e->awake || !cpu_set_has(&e->cpus, to->cpu))
			continue;
		if (is_warm(s, e))
			set_hurry(s, true);
		else if (goes_before(e, best, word64(&s->load)))
			best = e;
	}
	return best;
}

/*
 * Whose turn it is cannot go now. Of two who are always busy each has his turn, or had it just now:
 * did he go who waits whenever something happens to interrupt the other, it might be the same one
 * each time. But one who mostly sleeps has his turn whenever he is awake: he is waited for once.
 */
static bool is_waited_out(struct sched *s, const struct sched_entity *e)
{
	if (s->leaver != e) {
		s->leaver = e;
		s->leaves_by = s->clock + SCHED_STAY_MS * s->ms;
	}
	return !before(s->clock, s->leaves_by);
}

/* To one that has less to do. Whoever was here longest is to go, and nobody in his place: when his
 * turn here has ended, and his cache is cold. */
static struct sched_entity *give_to_busy(struct sched *s, const struct sched *to)
{
	uint64_t load = word64(&s->load), there = word64(&to->load);
	uint64_t less = load > there ? load - there : 0;
	bool faster = is_faster(word64(&to->speed), word64(&s->speed));
	struct sched_entity *best = NULL;

	if (!less)
		return NULL;
	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (!e->awake || !cpu_set_has(&e->cpus, to->cpu) ||
		    s->clock - e->came < SCHED_STAY_MS * s->ms ||
		    !evens_out(load_of(e), less, faster) ||
		    (e == s->current && is_waited_out(s, e)))
			continue;
		if (goes_before(e, best, less))
			best = e;
	}
	if (!best || best == s->current)
		return NULL;
	if (!is_warm(s, best))
		return best;
	set_hurry(s, true);
	return NULL;
}

static struct sched_entity *give(struct sched *s, struct sched *to)
{
	struct sched_entity *e;

	if (s->runnable < 2 || to == s || word(&to->coming))
		return NULL;
	e = is_idle(to) ? give_to_idle(s, to) : give_to_busy(s, to);
	if (e)
		send_away(s, e, to);
	return e;
}

/* Could whose turn it is go there, and none but those who came just now in his place? */
static bool has_newcomers_only(const struct sched *s, const struct sched *to)
{
	const struct sched_entity *runs = s->current;
	bool waits = false;

	if (!runs || !runs->awake || !cpu_set_has(&runs->cpus, to->cpu) ||
	    s->clock - runs->came < SCHED_STAY_MS * s->ms)
		return false;
	list_for_each (n, &s->queue) {
		const struct sched_entity *e = container_of(n, struct sched_entity, node);

		if (e == runs || !e->awake || !cpu_set_has(&e->cpus, to->cpu))
			continue;
		waits = true;
		if (s->clock - e->came >= SCHED_STAY_MS * s->ms)
			return false;
	}
	return waits;
}

struct sched_entity *sched_give(struct sched *s, struct sched *to)
{
	/* Did a newcomer go, it could be the same one's lot again and again to be sent about. */
	if (is_idle(to) && !word(&to->coming) && has_newcomers_only(s, to)) {
		s->current->yields = true;
		set_hurry(s, true);
		return NULL;
	}
	return give(s, to);
}

/* Where e finds nobody. */
static struct sched *free_for(const struct sched *s, struct sched *const *all, unsigned nr,
			      const struct sched_entity *e)
{
	for (unsigned i = 1; i < nr; i++) {
		struct sched *to = all[(s->cpu + i) % nr];

		if (to && cpu_set_has(&e->cpus, to->cpu) && is_idle(to))
			return to;
	}
	return NULL;
}

struct sched_entity *sched_spread(struct sched *s, struct sched *const *all, unsigned nr)
{
	const struct sched_entity *runs = s->current;

	if (!runs || !runs->awake || s->runnable < 2)
		return NULL;
	nr = MIN(nr, (unsigned)CPU_MAX);
	list_for_each (n, &s->queue) {
		struct sched_entity *e = container_of(n, struct sched_entity, node);
		struct sched *to = e->woke && e != runs ? free_for(s, all, nr, e) : NULL;

		if (!to || (is_warm(s, e) && cpu_set_has(&runs->cpus, to->cpu)))
			continue;
		send_away(s, e, to);
		return e;
	}
	return NULL;
}

/* To one of those that have nothing to do. */
static struct sched_entity *to_idle(struct sched *s, struct sched *const *all, unsigned nr)
{
	struct sched_entity *e = NULL;

	for (unsigned i = 1; i < nr && !e; i++) {
		struct sched *to = all[(s->cpu + i) % nr];

		if (to && is_idle(to))
			e = give(s, to);
	}
	return e;
}

/* To one of those that have something: to the fastest, so that each CPU has its turn of having more
 * to do than it can. */
static struct sched_entity *to_busy(struct sched *s, struct sched *const *all, unsigned nr)
{
	struct sched_entity *e = NULL;
	struct sched *fastest = NULL;

	for (unsigned i = 1; i < nr; i++) {
		struct sched *to = all[(s->cpu + i) % nr];

		if (to && !is_idle(to) && is_waited_for(s, to->cpu) &&
		    word64(&to->load) < word64(&s->load) &&
		    (!fastest || word64(&to->speed) > word64(&fastest->speed)))
			fastest = to;
	}
	if (fastest)
		e = give(s, fastest);
	for (unsigned i = 1; i < nr && !e; i++) {
		struct sched *to = all[(s->cpu + i) % nr];

		if (to && to != fastest && !is_idle(to))
			e = give(s, to);
	}
	return e;
}

struct sched_entity *sched_balance(struct sched *s, struct sched *const *all, unsigned nr)
{
	struct sched_entity *e;
	bool woke = s->woke;

	s->woke = false;
	if (s->runnable >= 2 && !woke && before(s->clock, s->next_look))
		return NULL; /* with what hurry there is, of one that has asked */
	set_hurry(s, false);
	if (s->runnable < 2)
		return NULL;
	s->next_look = s->clock + s->ms;
	nr = MIN(nr, (unsigned)CPU_MAX);
	e = to_idle(s, all, nr);
	if (e)
		s->next_look = s->clock; /* for the next one that has nothing to do */
	else
		e = to_busy(s, all, nr);
	return e;
}

struct sched *sched_outdated(struct sched *s, struct sched *const *all, unsigned nr)
{
	if (s->runnable < 2 || before(s->clock, s->next_ask))
		return NULL;
	s->next_ask = s->clock + s->ms;
	nr = MIN(nr, (unsigned)CPU_MAX);
	for (unsigned i = 0; i < nr; i++) {
		struct sched *to = all[s->asked = (s->asked + 1) % nr];

		if (!to || to == s || sched_runnable(to) != 1 || !is_waited_for(s, to->cpu) ||
		    is_faster(word64(&to->speed), s->speed))
			continue;
		s->next_ask = s->clock + SCHED_ASK_MS * s->ms;
		return to;
	}
	return NULL;
}
