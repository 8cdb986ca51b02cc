#include "arch/x86_64/smp.h"

#include "arch/x86_64/backtrace.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/gdt.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"

#define STOP_NS (NS_PER_SEC / 5)
#define LOOK_NS (NS_PER_SEC / 5)

/* What is made for one of the others, in one piece: its stacks first. */
struct cpu_area {
	struct main_stack stack;
	struct ist_stack ist[IST_SLOTS];
	struct cpu cpu;
	struct cpu_tables tables;
};

static struct cpu *cpus[CPU_MAX] = { &boot_cpu };
static unsigned nr_cpus = 1;

unsigned smp_count(void)
{
	return nr_cpus;
}

struct cpu *smp_cpu(unsigned id)
{
	return id < nr_cpus ? cpus[id] : NULL;
}

unsigned smp_online(void)
{
	unsigned n = 0;

	for (unsigned id = 0; id < nr_cpus; id++)
		n += cpus[id]->state == CPU_ONLINE;
	return n;
}

static_assert(IST_SLOTS == 3 && ARRAY_SIZE(((struct cpu_memory *)0)->guard) == 1 + IST_SLOTS,
	      "a guard page for each stack");

bool smp_add(uint32_t apic_id, struct cpu_memory *m)
{
	struct cpu_area *area;
	struct cpu *cpu;

	if (nr_cpus == CPU_MAX)
		return false;
	area = kalloc(sizeof(*area));
	if (!area)
		return false;
	cpu = &area->cpu;
	*cpu = (struct cpu){
		.self = cpu,
		.id = nr_cpus,
		.apic_id = apic_id,
		.stack = &area->stack,
		.stack_top = (uintptr_t)area->stack.body + STACK_SIZE,
		.ist = area->ist,
		.tables = &area->tables,
		.main = smp_idle_main,
	};
	*m = (struct cpu_memory){ .cpu = cpu, .guard = { area->stack.guard } };
	for (unsigned i = 0; i < IST_SLOTS; i++)
		m->guard[1 + i] = area->ist[i].guard;
	cpus[nr_cpus] = cpu;
	nr_cpus++;
	return true;
}

/* --- work --- */

void cpu_kick(struct cpu *cpu)
{
	/* One that is set already is going to be seen: whoever set it has sent the interrupt. */
	if (!__atomic_exchange_n(&cpu->work_pending, true, __ATOMIC_SEQ_CST) && cpu != this_cpu() &&
	    cpu->state == CPU_ONLINE)
		lapic_send(cpu->apic_id, TRAP_KICK);
}

bool smp_on_boot_cpu(void)
{
	return this_cpu() == &boot_cpu;
}

void cpu_interrupt(struct cpu *cpu)
{
	lapic_send(cpu->apic_id, TRAP_KICK);
}

void cpu_notify(struct cpu *cpu)
{
	lapic_send(cpu->apic_id, TRAP_POSTED);
}

bool smp_queue(struct cpu *cpu, struct cpu_work *w)
{
	struct cpu_work *last;

	if (__atomic_exchange_n(&w->queued, true, __ATOMIC_ACQ_REL))
		return false;
	last = __atomic_load_n(&cpu->work, __ATOMIC_RELAXED);
	do {
		w->next = last;
	} while (!__atomic_compare_exchange_n(&cpu->work, &last, w, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	cpu_kick(cpu);
	return true;
}

void smp_do_work(void)
{
	struct cpu_work *w = __atomic_exchange_n(&this_cpu()->work, NULL, __ATOMIC_ACQUIRE);
	struct cpu_work *first = NULL, *next;

	for (; w; w = next) {
		next = w->next;
		w->next = first;
		first = w;
	}
	for (w = first; w; w = next) {
		void (*fn)(void *ctx) = w->fn;
		void *ctx = w->ctx;

		next = w->next;
		__atomic_store_n(&w->queued, false, __ATOMIC_RELEASE);
		fn(ctx);
	}
}

void smp_idle_main(struct cpu *cpu)
{
	while (cpu->main == smp_idle_main) {
		cpu->work_pending = false;
		cpu->rounds++;
		if (cpu->timer_due)
			timer_run_expired();
		smp_do_work();
		irq_disable();
		if (cpu->main == smp_idle_main)
			cpu_idle();
		irq_enable();
	}
}

_Noreturn void smp_loop(void)
{
	struct cpu *cpu = this_cpu();

	for (;;)
		cpu->main(cpu);
}

static void kick_interrupt(void)
{
	/* It has ended a halt, or the run of a guest; who sent it has marked the work. */
}

/* The guest that it was for is left, or has been. */
static void posted_interrupt(void)
{
	this_cpu()->work_pending = true;
}

/* --- stopping --- */

static struct cpu *stopper; /* atomic; who has all others halted */
static const struct trap_frame *stopped_at[CPU_MAX];

const struct trap_frame *smp_stopped_at(const struct cpu *cpu)
{
	return stopped_at[cpu->id];
}

static bool to_stop(void)
{
	struct cpu *by = __atomic_load_n(&stopper, __ATOMIC_ACQUIRE);

	return by && by != this_cpu();
}

static _Noreturn void halt(const struct trap_frame *tf)
{
	stopped_at[this_cpu()->id] = tf;
	__atomic_store_n(&this_cpu()->state, CPU_STOPPED, __ATOMIC_RELEASE);
	cpu_halt();
}

static void send_all(bool nmi)
{
	for (unsigned id = 0; id < nr_cpus; id++) {
		if (cpus[id] == this_cpu() || cpus[id]->state != CPU_ONLINE)
			continue;
		if (nmi)
			lapic_send_nmi(cpus[id]->apic_id);
		else
			lapic_send(cpus[id]->apic_id, TRAP_CALL);
	}
}

static void wait_for_halts(void)
{
	uint64_t end = clock_ns() + STOP_NS;

	while (smp_online() > 1 && clock_ns() < end)
		cpu_relax();
}

void smp_stop_others(bool now)
{
	struct cpu *none = NULL;

	irq_disable();
	if (!__atomic_compare_exchange_n(&stopper, &none, this_cpu(), false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST) &&
	    none != this_cpu())
		halt(NULL);
	if (smp_online() < 2)
		return;
	if (!now) {
		send_all(false);
		wait_for_halts();
	}
	send_all(true);
	wait_for_halts();
}

/* --- calls --- */

/* Do what others ask of this CPU. Interrupts are off. */
static void serve(void)
{
	struct cpu *self = this_cpu();

	if (to_stop())
		halt(NULL);
	for (unsigned i = 0; i < CPU_SET_WORDS; i++) {
		uint64_t who = __atomic_load_n(&self->callers.word[i], __ATOMIC_RELAXED);

		if (who)
			who = __atomic_exchange_n(&self->callers.word[i], 0, __ATOMIC_ACQUIRE);
		for (; who; who &= who - 1) {
			struct cpu_call *c = &cpus[i * 64 + (unsigned)__builtin_ctzll(who)]->call;

			c->fn(c->ctx);
			__atomic_fetch_sub(&c->left, 1, __ATOMIC_RELEASE);
		}
	}
}

/* Ask these n, and wait. */
static void ask(const struct cpu_set *who, unsigned n, void (*fn)(void *ctx), void *ctx)
{
	struct cpu *self = this_cpu();

	kassert(!self->call.left && !self->locks_held);
	self->call.fn = fn;
	self->call.ctx = ctx;
	__atomic_store_n(&self->call.left, n, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < CPU_SET_WORDS; i++) {
		for (uint64_t left = who->word[i]; left; left &= left - 1) {
			struct cpu *to = cpus[i * 64 + (unsigned)__builtin_ctzll(left)];

			__atomic_fetch_or(&to->callers.word[self->id / 64], BIT(self->id % 64),
					  __ATOMIC_RELEASE);
			lapic_send(to->apic_id, TRAP_CALL);
		}
	}
	while (__atomic_load_n(&self->call.left, __ATOMIC_ACQUIRE)) {
		serve();
		cpu_relax();
	}
}

bool smp_call(struct cpu *cpu, void (*fn)(void *ctx), void *ctx)
{
	struct cpu_set who = cpu_set_of(cpu->id);
	uint64_t flags = irq_save();
	bool there = cpu->state == CPU_ONLINE;

	if (cpu == this_cpu())
		fn(ctx);
	else if (there)
		ask(&who, 1, fn, ctx);
	irq_restore(flags);
	return there;
}

void smp_call_others(void (*fn)(void *ctx), void *ctx)
{
	struct cpu_set who = { { 0 } };
	uint64_t flags = irq_save();
	unsigned n = 0;

	for (unsigned id = 0; id < nr_cpus; id++) {
		if (cpus[id] == this_cpu() || cpus[id]->state != CPU_ONLINE)
			continue;
		cpu_set_add(&who, id);
		n++;
	}
	if (n)
		ask(&who, n, fn, ctx);
	irq_restore(flags);
}

/* --- NMIs --- */

static struct cpu *looked_at;    /* atomic; who is to fill in the report */
static struct cpu_report report; /* of whoever took itself out of looked_at */
static bool report_done;         /* atomic */
static bool nmi_on_way[CPU_MAX]; /* atomic; one that comes late is not one that nobody sent */

bool smp_look_at(struct cpu *cpu, struct cpu_report *r)
{
	uint64_t end = clock_ns() + LOOK_NS;

	__atomic_store_n(&report_done, false, __ATOMIC_RELAXED);
	__atomic_store_n(&nmi_on_way[cpu->id], true, __ATOMIC_RELAXED);
	__atomic_store_n(&looked_at, cpu, __ATOMIC_RELEASE);
	lapic_send_nmi(cpu->apic_id);
	while (!__atomic_load_n(&report_done, __ATOMIC_ACQUIRE)) {
		/* Once it has begun to fill it in, it ends that too. */
		if (clock_ns() >= end && __atomic_exchange_n(&looked_at, NULL, __ATOMIC_ACQ_REL))
			return false;
		cpu_relax();
	}
	*r = report;
	return true;
}

static bool (*watch)(const struct trap_frame *tf);

void smp_set_nmi_watch(bool (*fn)(const struct trap_frame *tf))
{
	watch = fn;
}

/* Is it one that was sent, or the watch's? One that comes while another waits is lost, or not: who
 * has had one for two reasons may get a second one for none. Only the first CPU has a watch. */
static bool is_known(const struct cpu *self, const struct trap_frame *tf)
{
	static bool had_one_for_two;
	bool sent = __atomic_exchange_n(&nmi_on_way[self->id], false, __ATOMIC_ACQ_REL);
	bool watched = watch && watch(tf);

	if (watched) {
		had_one_for_two = sent;
	} else if (!sent && self == &boot_cpu && had_one_for_two) {
		had_one_for_two = false;
		return true;
	}
	return sent || watched;
}

static bool nmi(const struct trap_frame *tf)
{
	struct cpu *self = this_cpu(), *who = self;

	if (to_stop())
		halt(tf);
	if (__atomic_compare_exchange_n(&looked_at, &who, NULL, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED)) {
		report.rip = tf->rip;
		report.rsp = tf->rsp;
		report.rflags = tf->rflags;
		report.nr_calls = backtrace_take(tf->rip, tf->rbp, report.calls, SMP_REPORT_CALLS);
		__atomic_store_n(&report_done, true, __ATOMIC_RELEASE);
	}
	return is_known(self, tf);
}

void smp_init(void)
{
	trap_set_handler(TRAP_KICK, kick_interrupt);
	trap_set_handler(TRAP_CALL, serve);
	trap_set_handler(TRAP_POSTED, posted_interrupt);
	trap_set_nmi(nmi);
}
