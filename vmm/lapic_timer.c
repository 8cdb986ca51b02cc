/*
 * The local APIC's timer: one-shot, periodic, by the TSC. What it shows is arithmetic on the
 * clock; a host timer is armed only while its interrupt is not masked. SDM vol. 3, 11.5.4.
 *
 * Periodic ticks that come while the one before still waits are owed, and come one for each that
 * the processor takes, as the 8254's do. The first of these is the last that costs anything: no
 * host timer is armed until the processor takes one, and how many have passed is reckoned then.
 */
#include "arch/x86_64/clock.h"
#include "vmm/lapic_core.h"

#define TICK_NS (NS_PER_SEC / LAPIC_TIMER_HZ)
static_assert(NS_PER_SEC % LAPIC_TIMER_HZ == 0, "a tick is whole nanoseconds");

static uint64_t count_ns(const struct lapic_timer *t)
{
	return TICK_NS << t->shift;
}

static enum lapic_timer_mode mode_of(uint32_t lvt)
{
	return (enum lapic_timer_mode)((lvt & LVT_TIMER_MODE) >> LVT_TIMER_MODE_SHIFT);
}

static enum lapic_timer_mode timer_mode(const struct lapic *l)
{
	return mode_of(l->lvt[LVT_TIMER]);
}

/* Whole counts; the first one begins at start_ns. */
static uint64_t elapsed(const struct lapic_timer *t, uint64_t now)
{
	return (now - t->start_ns) / count_ns(t);
}

static uint64_t period_ns(const struct lapic_timer *t)
{
	return t->initial * count_ns(t);
}

uint32_t lapic_timer_current(const struct lapic *l)
{
	const struct lapic_timer *t = &l->timer;
	uint64_t done;

	if (!t->running)
		return 0;
	done = elapsed(t, clock_ns());
	if (timer_mode(l) == TIMER_PERIODIC)
		return t->initial - (uint32_t)(done % t->initial);
	return done < t->initial ? t->initial - (uint32_t)done : 0;
}

/* What has passed unseen, as the interrupt was masked, does not come any more. */
static void forget_past(struct lapic *l, uint64_t now)
{
	struct lapic_timer *t = &l->timer;

	if (t->running && timer_mode(l) == TIMER_ONE_SHOT && elapsed(t, now) >= t->initial)
		t->running = false;
	if (t->deadline && l->cpu->tsc(l->ctx) >= t->deadline)
		t->deadline = 0;
}

/* --- the host's timer --- */

/* It may be so far off that no clock will see it. */
static uint64_t deadline_ns(const struct lapic *l, uint64_t now)
{
	uint64_t tsc = l->cpu->tsc(l->ctx), left;

	if (tsc >= l->timer.deadline)
		return now;
	left = mul_div64(l->timer.deadline - tsc, NS_PER_SEC, clock_tsc_hz());
	return now + MIN(left, UINT64_MAX - now - 1) + 1;
}

static uint64_t next_tick_ns(const struct lapic_timer *t, uint64_t now)
{
	uint64_t period = period_ns(t);

	return now + period - (now - t->start_ns) % period;
}

static void arm(struct lapic *l, uint64_t now)
{
	struct lapic_timer *t = &l->timer;

	timer_cancel(&t->timer);
	t->held = false;
	if (l->lvt[LVT_TIMER] & LVT_MASKED)
		return;
	if (t->deadline) {
		timer_arm(&t->timer, deadline_ns(l, now));
	} else if (t->running && timer_mode(l) == TIMER_ONE_SHOT) {
		timer_arm(&t->timer, t->start_ns + period_ns(t));
	} else if (t->running && timer_mode(l) == TIMER_PERIODIC) {
		t->next_ns = next_tick_ns(t, now);
		timer_arm(&t->timer, MAX(t->next_ns, t->last_fire_ns + LAPIC_MIN_PERIOD_NS));
	}
}

static void fire(struct lapic *l)
{
	lapic_local(l, LVT_TIMER, false);
	l->cpu->kick(l->ctx);
}

/* Would another tick change nothing? One whose vector is illegal is an error, which is told of
 * once. */
static bool tick_waits(const struct lapic *l)
{
	unsigned vector = l->lvt[LVT_TIMER] & LVT_VECTOR;

	if (vector < VECTOR_MIN)
		return (l->errors & ESR_RECEIVE_VECTOR) &&
		       (l->error_told || (l->lvt[LVT_ERROR] & LVT_MASKED));
	return vectors_has(&l->irr, vector);
}

/* So many ticks have come that are to come again. Of a rate too high to keep, what does not fit is
 * lost. */
static void owe(struct lapic_timer *t, uint64_t ticks)
{
	if (period_ns(t) >= LAPIC_MIN_PERIOD_NS)
		t->owed = (unsigned)MIN(t->owed + ticks, (uint64_t)LAPIC_MAX_OWED);
}

/* True: the next one is to be armed for. */
static bool tick(struct lapic *l, uint64_t now)
{
	struct lapic_timer *t = &l->timer;

	t->last_fire_ns = now;
	if (tick_waits(l)) {
		t->held = true;
		l->unshown |= LAPIC_SHOW_VECTORS; /* whose end is watched */
		return false;
	}
	owe(t, (now - t->next_ns) / period_ns(t));
	fire(l);
	return true;
}

/* What has passed while it was held counts, at the rate of until now. */
static void reckon(struct lapic_timer *t, uint64_t now)
{
	if (t->held && now >= t->next_ns)
		owe(t, (now - t->next_ns) / period_ns(t) + 1);
}

static void expired(void *ctx)
{
	struct lapic *l = ctx;
	struct lapic_timer *t = &l->timer;
	uint64_t now = clock_ns();
	bool again = true;

	if (t->deadline) {
		if (l->cpu->tsc(l->ctx) >= t->deadline) {
			t->deadline = 0;
			fire(l);
		}
	} else if (timer_mode(l) == TIMER_ONE_SHOT) {
		t->running = false;
		fire(l);
	} else if (now >= t->next_ns) {
		again = tick(l, now);
	}
	if (again)
		arm(l, now);
	t->work_ns += clock_ns() - now;
}

uint64_t lapic_timer_work(struct lapic *l)
{
	uint64_t ns = l->timer.work_ns;

	l->timer.work_ns = 0;
	return ns;
}

/* It is not held any more. */
static void go_on(struct lapic *l)
{
	uint64_t now = clock_ns();

	reckon(&l->timer, now);
	arm(l, now);
}

void lapic_timer_acked(struct lapic *l, uint8_t vector)
{
	struct lapic_timer *t = &l->timer;

	if (vector != (l->lvt[LVT_TIMER] & LVT_VECTOR))
		return;
	if (t->held)
		go_on(l);
	if (t->owed) {
		t->owed--;
		lapic_take(l, vector, false);
	}
}

void lapic_timer_errors_changed(struct lapic *l)
{
	if (l->timer.held && !tick_waits(l))
		go_on(l);
}

/* --- registers --- */

void lapic_timer_write_initial(struct lapic *l, uint32_t val)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now = clock_ns();

	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	t->initial = val;
	t->running = val;
	t->start_ns = now;
	t->owed = 0;
	arm(l, now);
}

/* Counts that are done are done, at whatever rate those to come pass. */
void lapic_timer_write_divide(struct lapic *l, uint32_t val)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now = clock_ns(), done = elapsed(t, now);

	l->divide = val;
	reckon(t, now);
	forget_past(l, now);
	if (t->running && timer_mode(l) == TIMER_PERIODIC)
		done %= t->initial;
	/* Bits 3, 1 and 0: 0 divides by 2, 6 by 128, 7 by 1. */
	t->shift = (((val >> 1 & 4) | (val & 3)) + 1) & 7;
	if (t->running)
		t->start_ns = now - done * count_ns(t);
	arm(l, now);
}

void lapic_timer_lvt_changed(struct lapic *l, uint32_t old)
{
	struct lapic_timer *t = &l->timer;
	uint64_t now = clock_ns();
	uint32_t changed = old ^ l->lvt[LVT_TIMER];

	/* Between the two kinds of timers nothing is carried over. */
	if ((changed & LVT_TIMER_MODE) &&
	    (mode_of(old) == TIMER_DEADLINE || timer_mode(l) == TIMER_DEADLINE)) {
		t->running = false;
		t->initial = 0;
		t->deadline = 0;
	}
	if (!changed)
		return;
	t->owed = 0;
	/* What is left of the period is left of the one shot. */
	if (t->running && mode_of(old) == TIMER_PERIODIC)
		t->start_ns += (now - t->start_ns) / period_ns(t) * period_ns(t);
	if (old & LVT_MASKED)
		forget_past(l, now);
	arm(l, now);
}

uint64_t lapic_read_deadline(struct lapic *l)
{
	uint64_t deadline = l->timer.deadline;

	return deadline && l->cpu->tsc(l->ctx) < deadline ? deadline : 0;
}

void lapic_write_deadline(struct lapic *l, uint64_t tsc)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	l->timer.deadline = tsc;
	if (tsc && l->cpu->tsc(l->ctx) >= tsc) {
		l->timer.deadline = 0;
		lapic_local(l, LVT_TIMER, false);
	}
	arm(l, clock_ns());
}

void lapic_tsc_changed(struct lapic *l)
{
	if (l->timer.deadline)
		arm(l, clock_ns());
}

void lapic_timer_reset(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	timer_cancel(&t->timer);
	t->initial = 0;
	t->shift = 1;
	t->running = false;
	t->deadline = 0;
	t->owed = 0;
	t->held = false;
	t->rearm_ns = 0;
	l->divide = 0;
}

void lapic_timer_setup(struct lapic *l)
{
	timer_setup(&l->timer.timer, expired, l, NULL);
}

void lapic_leave(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	if (t->timer.armed)
		t->rearm_ns = MAX(t->timer.deadline, UINT64_C(1));
	timer_cancel(&t->timer);
}

void lapic_arrive(struct lapic *l)
{
	struct lapic_timer *t = &l->timer;

	if (t->rearm_ns)
		timer_arm(&t->timer, t->rearm_ns);
	t->rearm_ns = 0;
}

void lapic_destroy(struct lapic *l)
{
	if (l->timer.timer.fn)
		timer_cancel(&l->timer.timer);
}
