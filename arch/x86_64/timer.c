#include "arch/x86_64/timer.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/trap.h"

#define CALIBRATE_NS (NS_PER_SEC / 50)
#define TICKS_SHIFT 32

/* Of the one CPU there is; touched by its run loop only, never by the interrupt. */
static struct list_node timers = { &timers, &timers };
static uint64_t ticks_mul;                /* ticks = ns * ticks_mul >> TICKS_SHIFT */
static uint64_t hw_deadline = UINT64_MAX; /* what the hardware is armed for */

static void timer_interrupt(void)
{
	this_cpu()->timer_due = true;
	this_cpu()->work_pending = true;
}

/* Make the hardware fire at the deadline, or as far towards it as it can count. */
static void hw_arm(uint64_t deadline)
{
	uint64_t now = clock_ns(), ticks = 1;

	if (deadline > now) {
		unsigned __int128 t = (unsigned __int128)(deadline - now) * ticks_mul;

		t = (t >> TICKS_SHIFT) + 1;
		ticks = t > UINT32_MAX ? UINT32_MAX : (uint64_t)t;
	}
	hw_deadline = deadline;
	lapic_timer_start((uint32_t)ticks);
}

static uint64_t first_deadline(void)
{
	if (list_empty(&timers))
		return UINT64_MAX;
	return container_of(timers.next, struct timer, node)->deadline;
}

void timer_init(void)
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
	trap_set_handler(TRAP_TIMER, timer_interrupt);
}

void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx)
{
	*t = (struct timer){ .fn = fn, .ctx = ctx };
	list_init(&t->node);
}

void timer_cancel(struct timer *t)
{
	/* The hardware may fire once for nothing: cheaper than to program it again. */
	if (t->armed)
		list_remove(&t->node);
	t->armed = false;
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	struct list_node *at;

	timer_cancel(t);
	t->deadline = deadline_ns;
	for (at = timers.next; at != &timers; at = at->next)
		if (container_of(at, struct timer, node)->deadline > deadline_ns)
			break;
	list_insert_before(at, &t->node);
	t->armed = true;
	if (deadline_ns < hw_deadline)
		hw_arm(deadline_ns);
}

void timer_run_expired(void)
{
	uint64_t now;
	struct list_node due;

	/* Before the clock is read: an interrupt from here on is not forgotten. */
	this_cpu()->timer_due = false;
	now = clock_ns();
	list_init(&due);
	while (first_deadline() <= now) {
		struct list_node *n = timers.next;

		list_remove(n);
		list_push_back(&due, n);
	}
	/* What these arm anew waits for the next call, however early it is due. */
	hw_deadline = 0;
	while (!list_empty(&due)) {
		struct timer *t = container_of(due.next, struct timer, node);

		timer_cancel(t);
		t->fn(t->ctx);
	}
	hw_deadline = UINT64_MAX;
	if (!list_empty(&timers))
		hw_arm(first_deadline());
}
