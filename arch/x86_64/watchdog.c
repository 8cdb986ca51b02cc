#include "arch/x86_64/watchdog.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ksyms.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"

#define PERIOD_NS (4 * NS_PER_SEC)

/* A CPU that looks after another one. Touched by itself alone. */
struct watch {
	struct timer timer;
	struct cpu_work begin;
	struct cpu *of;
	uint64_t seen;  /* of's irq_count when it was looked at last */
	uint64_t asked; /* clock_ns() when it was sent an interrupt; 0: it need not answer */
	bool reported;
};

static struct watch watches[CPU_MAX];
static bool asking; /* atomic; one at a time looks at another by NMI */

/* The CPU that is stuck may be the one that sends what is said, and shows it. */
static void show_all_the_same(const struct watch *w)
{
	if (w->of != &boot_cpu) {
		cpu_kick(&boot_cpu);
		return;
	}
	log_set_line(true);
	log_send_held();
	console_flush();
}

static void report(const struct watch *w, uint64_t seconds)
{
	struct cpu_report r;
	uint64_t offset;

	while (__atomic_exchange_n(&asking, true, __ATOMIC_ACQUIRE))
		cpu_relax();
	if (!smp_look_at(w->of, &r)) {
		log_err("watchdog: cpu %u has taken no interrupt for %llu s, and no NMI", w->of->id,
			(unsigned long long)seconds);
		r.nr_calls = 0;
	} else {
		log_err("watchdog: cpu %u has taken no interrupt for %llu s: rip %016llx rsp "
			"%016llx rflags %08llx",
			w->of->id, (unsigned long long)seconds, (unsigned long long)r.rip,
			(unsigned long long)r.rsp, (unsigned long long)r.rflags);
	}
	for (unsigned i = 0; i < r.nr_calls; i++) {
		const char *name = ksym_lookup(r.calls[i], &offset);

		log_err("watchdog:   %016llx %s+0x%llx", (unsigned long long)r.calls[i], name,
			(unsigned long long)offset);
	}
	show_all_the_same(w);
	__atomic_store_n(&asking, false, __ATOMIC_RELEASE);
}

static void look(void *ctx)
{
	struct watch *w = ctx;
	uint64_t now = clock_ns(), count = __atomic_load_n(&w->of->irq_count, __ATOMIC_RELAXED);

	if (count != w->seen || w->of->idle_since) {
		if (w->reported)
			log_err("watchdog: cpu %u takes interrupts again, after %llu s", w->of->id,
				(unsigned long long)((now - w->asked) / NS_PER_SEC));
		w->asked = 0;
		w->reported = false;
	} else if (!w->asked) {
		w->asked = now;
		cpu_interrupt(w->of);
	} else if (!w->reported) {
		report(w, (now - w->asked) / NS_PER_SEC);
		w->reported = true;
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

void watchdog_start(void)
{
	struct cpu *cpu;

	if (smp_online() < 2)
		return;
	for (unsigned id = 0; (cpu = smp_cpu(id)); id++) {
		struct watch *w = &watches[id];

		if (cpu->state != CPU_ONLINE)
			continue;
		w->of = next_online(cpu);
		w->begin = (struct cpu_work){ .fn = begin, .ctx = w };
		smp_queue(cpu, &w->begin);
	}
}
