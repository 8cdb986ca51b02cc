#include "arch/x86_64/timer.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/trap.h"

#define CALIBRATE_NS (NS_PER_SEC / 50)
#define TICKS_SHIFT 32

/*
 * A CPU's timers. Its lock is for others who take one of them away; it is not for interrupt
 * handlers, which do not touch timers. hw_deadline belongs to the CPU alone: what its hardware is
 * armed for.
 */
struct timer_queue {
	struct spinlock lock;
	struct list_node timers; /* guarded by lock */
	struct list_node due;    /* those whose functions are being called; guarded by lock */
	uint64_t hw_deadline;
};

static struct timer_queue queues[CPU_MAX];
static uint64_t ticks_mul; /* ticks = ns * ticks_mul >> TICKS_SHIFT */
static bool by_tsc;        /* the hardware is armed with a TSC, not with ticks */

static struct timer_queue *own_queue(void)
{
	return &queues[this_cpu()->id];
}

static void timer_interrupt(void)
{
	this_cpu()->timer_due = true;
	this_cpu()->work_pending = true;
}

/* Make the hardware fire at the deadline, or as far towards it as it can count. */
static void hw_arm(struct timer_queue *q, uint64_t deadline)
{
	uint64_t now, ticks = 1;

	q->hw_deadline = deadline;
	if (by_tsc) {
		lapic_timer_deadline(clock_tsc_at(deadline));
		return;
	}
	now = clock_ns();
	if (deadline > now) {
		unsigned __int128 t = (unsigned __int128)(deadline - now) * ticks_mul;

		t = (t >> TICKS_SHIFT) + 1;
		ticks = t > UINT32_MAX ? UINT32_MAX : (uint64_t)t;
	}
	lapic_timer_start((uint32_t)ticks);
}

/* With the lock held. */
static uint64_t first_deadline(const struct timer_queue *q)
{
	if (list_empty(&q->timers))
		return UINT64_MAX;
	return container_of(q->timers.next, struct timer, node)->deadline;
}

static void calibrate(void)
{
	uint64_t from, ns;
	uint32_t ticks;

	lapic_timer_start(UINT32_MAX);
	from = clock_ns();
	clock_delay_ns(CALIBRATE_NS);
	ticks = UINT32_MAX - lapic_timer_left();
	ns = clock_ns() - from;
	lapic_timer_start(0);
	ticks_mul = mul_div64(ticks, UINT64_C(1) << TICKS_SHIFT, ns);
	log_debug("timer: local APIC at %llu kHz",
		  (unsigned long long)mul_div64(ticks, NS_PER_SEC / 1000, ns));
}

/* QEMU: no TSC deadlines. Bochs, from sandy_bridge on: there. */
void timer_init_other(void)
{
	struct timer_queue *q = own_queue();

	q->lock.rank = LOCK_TIMER;
	list_init(&q->timers);
	list_init(&q->due);
	q->hw_deadline = UINT64_MAX;
	if (by_tsc)
		lapic_timer_use_deadline();
}

void timer_init(void)
{
	by_tsc = cpu_features()->tsc_deadline;
	if (by_tsc)
		log_debug("timer: local APIC by TSC deadlines");
	else
		calibrate();
	timer_init_other();
	trap_set_handler(TRAP_TIMER, timer_interrupt);
}

void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx, struct owned_lock *guard)
{
	*t = (struct timer){ .fn = fn, .ctx = ctx, .guard = guard };
	list_init(&t->node);
}

static void guard_take(struct owned_lock *guard)
{
	if (guard)
		owned_lock(guard);
}

static void guard_release(struct owned_lock *guard)
{
	if (guard)
		owned_unlock(guard);
}

/* With its guard held. */
static void take_off(struct timer *t)
{
	struct timer_queue *q = t->queue;

	if (!q)
		return;
	/* The hardware may fire once for nothing: cheaper than to program it again. */
	spin_lock(&q->lock);
	if (t->armed)
		list_remove(&t->node);
	t->armed = false;
	spin_unlock(&q->lock);
}

void timer_cancel(struct timer *t)
{
	struct owned_lock *guard = t->guard;

	guard_take(guard);
	take_off(t);
	guard_release(guard);
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	struct timer_queue *q = own_queue();
	struct list_node *at;

	guard_take(t->guard);
	take_off(t);
	spin_lock(&q->lock);
	t->queue = q;
	t->deadline = deadline_ns;
	for (at = q->timers.next; at != &q->timers; at = at->next)
		if (container_of(at, struct timer, node)->deadline > deadline_ns)
			break;
	list_insert_before(at, &t->node);
	t->armed = true;
	spin_unlock(&q->lock);
	guard_release(t->guard);
	if (deadline_ns < q->hw_deadline)
		hw_arm(q, deadline_ns);
}

/* With the lock held: the first of those that are due; NULL: none is left. */
static struct timer *first_due(struct timer_queue *q)
{
	if (list_empty(&q->due))
		return NULL;
	return container_of(q->due.next, struct timer, node);
}

/*
 * Call the function of one that is due; false: none is left. Its guard is outside the queue's lock,
 * which has to go before the guard can be waited for; meanwhile another CPU may cancel the timer
 * and give its memory away. So t is looked into only while it is in the queue; as nobody else puts
 * any there, one that is there has been all the time.
 */
static bool run_one_due(struct timer_queue *q)
{
	struct owned_lock *guard = NULL;
	struct timer *t;
	bool same;

	spin_lock(&q->lock);
	t = first_due(q);
	if (t)
		guard = t->guard;
	spin_unlock(&q->lock);
	if (!t)
		return false;
	guard_take(guard);
	spin_lock(&q->lock);
	same = first_due(q) == t;
	if (same) {
		list_remove(&t->node);
		t->armed = false;
	}
	spin_unlock(&q->lock);
	if (same)
		t->fn(t->ctx);
	guard_release(guard);
	return true;
}

void timer_run_expired(void)
{
	struct timer_queue *q = own_queue();
	uint64_t now, first;

	/* Before the clock is read: an interrupt from here on is not forgotten. */
	this_cpu()->timer_due = false;
	now = clock_ns();
	spin_lock(&q->lock);
	while (first_deadline(q) <= now) {
		struct list_node *n = q->timers.next;

		list_remove(n);
		list_push_back(&q->due, n);
	}
	spin_unlock(&q->lock);
	/* What these arm anew waits for the next call, however early it is due. */
	q->hw_deadline = 0;
	while (run_one_due(q))
		;
	q->hw_deadline = UINT64_MAX;
	spin_lock(&q->lock);
	first = first_deadline(q);
	spin_unlock(&q->lock);
	if (first != UINT64_MAX)
		hw_arm(q, first);
}
