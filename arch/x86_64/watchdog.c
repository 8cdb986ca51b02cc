#include "arch/x86_64/watchdog.h"

#include "arch/x86_64/backtrace.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ksyms.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/nmi_timer.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"

#define PERIOD_NS (4 * NS_PER_SEC)

/* Looks in a row at which one and the same had a lock that who says something needs. */
#define MUTE_LOOKS 8

struct mute {
	uint32_t turns;
	unsigned looks;
};

/* A CPU that looks after another one. Touched by itself alone. */
struct watch {
	struct timer timer;
	struct cpu_work begin;
	struct cpu *of;
	uint64_t seen;  /* of's progress() when it was looked at last */
	uint64_t irqs;  /* of's irq_count when it was sent an interrupt */
	uint64_t asked; /* clock_ns() when it was sent an interrupt; 0: it need not answer */
	struct mute mute;
	bool reported; /* atomic: the first CPU, which looks after itself too, looks at it */
};

static struct watch watches[CPU_MAX];
static bool asking; /* atomic; one at a time looks at another by NMI */

/* The CPU that is stuck may be the one that sends what is said, and shows it. */
static void show_all_the_same(const struct cpu *stuck)
{
	if (stuck != &boot_cpu) {
		cpu_kick(&boot_cpu);
		return;
	}
	log_set_line(true);
	log_send_held();
	console_flush();
}

/* Its loop goes round, and its guests exit. Before it has begun interrupts are what there is. */
static uint64_t progress(const struct cpu *cpu)
{
	uint64_t rounds = __atomic_load_n(&cpu->rounds, __ATOMIC_RELAXED);

	return rounds ? rounds : __atomic_load_n(&cpu->irq_count, __ATOMIC_RELAXED);
}

/* r: where it is; NULL: it does not say. irqs: its irq_count before it was sent an interrupt. */
static void report(const struct cpu *stuck, const struct cpu_report *r, uint64_t irqs,
		   uint64_t seconds)
{
	bool took = __atomic_load_n(&stuck->irq_count, __ATOMIC_RELAXED) != irqs;
	const char *what =
		took ? "takes interrupts, and has not come round" : "has taken no interrupt";
	uint64_t offset;

	if (!r)
		log_err("watchdog: cpu %u %s for %llu s, and no NMI", stuck->id, what,
			(unsigned long long)seconds);
	else
		log_err("watchdog: cpu %u %s for %llu s: rip %016llx rsp %016llx rflags %08llx",
			stuck->id, what, (unsigned long long)seconds, (unsigned long long)r->rip,
			(unsigned long long)r->rsp, (unsigned long long)r->rflags);
	for (unsigned i = 0; r && i < r->nr_calls; i++) {
		const char *name = ksym_lookup(r->calls[i], &offset);

		log_err("watchdog:   %016llx %s+0x%llx", (unsigned long long)r->calls[i], name,
			(unsigned long long)offset);
	}
	show_all_the_same(stuck);
}

/* May it be said? One who is stuck with the log's or the console's lock leaves nothing but a panic,
 * which needs neither. */
static bool may_say(const struct cpu *stuck, struct mute *mute)
{
	uint32_t turns = log_turns();

	if (log_is_panicked())
		return false;
	if (log_nmi_may()) {
		mute->looks = 0;
		return true;
	}
	if (turns != mute->turns)
		mute->looks = 0;
	mute->turns = turns;
	if (++mute->looks >= MUTE_LOOKS)
		panic("watchdog: cpu %u is stuck, and somebody who has the log's lock", stuck->id);
	return false;
}

static void report_again(const struct cpu *cpu, uint64_t seconds)
{
	log_err("watchdog: cpu %u goes on, after %llu s", cpu->id, (unsigned long long)seconds);
}

/* --- each looks after the next one --- */

static void ask_and_report(const struct watch *w, uint64_t seconds)
{
	struct cpu_report r;

	while (__atomic_exchange_n(&asking, true, __ATOMIC_ACQUIRE))
		cpu_relax();
	report(w->of, smp_look_at(w->of, &r) ? &r : NULL, w->irqs, seconds);
	__atomic_store_n(&asking, false, __ATOMIC_RELEASE);
}

static void look(void *ctx)
{
	struct watch *w = ctx;
	uint64_t now = clock_ns(), count = progress(w->of);

	if (count != w->seen || w->of->idle_since) {
		if (w->reported)
			report_again(w->of, (now - w->asked) / NS_PER_SEC);
		w->asked = 0;
		__atomic_store_n(&w->reported, false, __ATOMIC_RELAXED);
	} else if (!w->asked) {
		w->asked = now;
		w->irqs = __atomic_load_n(&w->of->irq_count, __ATOMIC_RELAXED);
		cpu_interrupt(w->of);
	} else if (!w->reported && may_say(w->of, &w->mute)) {
		ask_and_report(w, (now - w->asked) / NS_PER_SEC);
		__atomic_store_n(&w->reported, true, __ATOMIC_RELAXED);
	}
	w->seen = count;
	timer_arm(&w->timer, now + PERIOD_NS);
}

/* On the CPU that is to look: its timer. */
static void begin(void *ctx)
{
	struct watch *w = ctx;

	timer_setup(&w->timer, look, w, NULL);
	timer_arm(&w->timer, clock_ns() + PERIOD_NS);
}

static struct cpu *next_online(const struct cpu *cpu)
{
	struct cpu *next;
	unsigned id = cpu->id;

	do {
		id = (id + 1) % smp_count();
		next = smp_cpu(id);
	} while (next->state != CPU_ONLINE);
	return next;
}

/* --- the first looks after itself, by NMI --- */

static struct {
	uint64_t seen;  /* progress() at the last NMI */
	uint64_t irqs;  /* irq_count when it was sent an interrupt */
	uint64_t asked; /* when it was sent an interrupt; 0: it need not answer */
	uint64_t stuck; /* how long it was, in seconds */
	struct mute mute;
	bool reported;
	const struct watch *other; /* who looks after it; NULL: it is alone */
	struct cpu_work again;
} own;

static void goes_on(void *ctx)
{
	report_again(ctx, own.stuck);
}

/* Another one says it, a period before this one would, if it can. */
static bool is_for_other(uint64_t now)
{
	if (!own.other)
		return false;
	return now - own.asked < PERIOD_NS + PERIOD_NS / 2 ||
	       __atomic_load_n(&own.other->reported, __ATOMIC_RELAXED);
}

static void look_at_itself(struct cpu *cpu, const struct trap_frame *tf, uint64_t now)
{
	uint64_t seconds = (now - own.asked) / NS_PER_SEC;
	struct cpu_report r = { .rip = tf->rip, .rsp = tf->rsp, .rflags = tf->rflags };

	if (progress(cpu) != own.seen || cpu->idle_since) {
		own.stuck = seconds;
		if (own.reported)
			smp_queue(cpu, &own.again);
		own.asked = 0;
		own.reported = false;
	} else if (!own.asked) {
		own.asked = now;
		own.irqs = cpu->irq_count;
		lapic_send_self(TRAP_KICK);
	} else if (!own.reported && !is_for_other(now) && may_say(cpu, &own.mute)) {
		r.nr_calls = backtrace_take(tf->rip, tf->rbp, r.calls, SMP_REPORT_CALLS);
		report(cpu, &r, own.irqs, seconds);
		own.reported = true;
	}
}

/* One that comes before its time is somebody else's. */
static bool own_nmi(const struct trap_frame *tf)
{
	struct cpu *cpu = this_cpu();

	if (cpu != &boot_cpu || !nmi_timer_again())
		return false;
	look_at_itself(cpu, tf, clock_ns());
	own.seen = progress(cpu);
	return true;
}

static void start_own(void)
{
	own.again = (struct cpu_work){ .fn = goes_on, .ctx = this_cpu() };
	smp_set_nmi_watch(own_nmi);
	if (nmi_timer_start(PERIOD_NS))
		return;
	smp_set_nmi_watch(NULL);
	log_debug("watchdog: no HPET, by which the first CPU could look after itself");
}

void watchdog_start(void)
{
	struct cpu *cpu;

	for (unsigned id = 0; smp_online() > 1 && (cpu = smp_cpu(id)); id++) {
		struct watch *w = &watches[id];

		if (cpu->state != CPU_ONLINE)
			continue;
		w->of = next_online(cpu);
		if (w->of == &boot_cpu)
			own.other = w;
		w->begin = (struct cpu_work){ .fn = begin, .ctx = w };
		smp_queue(cpu, &w->begin);
	}
	start_own();
}
