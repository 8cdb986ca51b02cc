/* Threads as CPUs: calls, kicks and work between them, looks by NMI, and stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"

/* The machine below: interrupts are flags of a CPU that its thread looks at. */
#define UMBRA_INSN_H
#define UMBRA_LAPIC_H
#define UMBRA_TIMER_H
static uint64_t irq_save(void);
static void irq_restore(uint64_t flags);
static void irq_disable(void);
static void irq_enable(void);
#define cpu_relax() relax()
static void relax(void);
static void lapic_send(uint32_t apic_id, unsigned vector);
static void lapic_send_nmi(uint32_t apic_id);
static void timer_run_expired(void);
#include "arch/x86_64/cpu.h"
static _Thread_local struct cpu *me;
#define this_cpu() me
static void fake_idle(void);
static uint64_t host_ns(void);
static _Noreturn void thread_ends(void);
#define cpu_idle fake_idle
#define clock_ns host_ns
#define smp_cpu real_smp_cpu
#define smp_do_work real_smp_do_work
#define smp_on_boot_cpu real_smp_on_boot_cpu
#define cpu_kick real_cpu_kick
#define cpu_notify real_cpu_notify
#define smp_call_others real_smp_call_others
#define smp_stopped_at real_smp_stopped_at
#define cpu_halt thread_ends
#include "arch/x86_64/smp.c"

#define CPUS 4
#define ROUNDS 2000

/* --- the pretended machine --- */

static struct {
	bool vector[256], nmi;
} apic[CPUS];
static void (*on_vector[256])(void);
static bool (*on_nmi)(const struct trap_frame *tf);
static _Thread_local bool irqs_off, in_nmi;
static bool deaf; /* CPU 1 takes no interrupts */
static bool over;

void trap_set_handler(unsigned vector, void (*fn)(void))
{
	on_vector[vector] = fn;
}

void trap_set_nmi(bool (*fn)(const struct trap_frame *tf))
{
	on_nmi = fn;
}

unsigned backtrace_take(uint64_t rip, uint64_t rbp, uint64_t *at, unsigned max)
{
	assert_true(max > 0);
	at[0] = rip;
	return rbp ? 2 : 1;
}

static uint64_t host_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void lapic_send(uint32_t apic_id, unsigned vector)
{
	__atomic_store_n(&apic[apic_id].vector[vector], true, __ATOMIC_SEQ_CST);
}

static void lapic_send_nmi(uint32_t apic_id)
{
	__atomic_store_n(&apic[apic_id].nmi, true, __ATOMIC_SEQ_CST);
}

static void take_nmi(void)
{
	static const struct trap_frame tf = { .rip = 0x1234, .rsp = 0x5678 };

	if (in_nmi || !__atomic_exchange_n(&apic[me->apic_id].nmi, false, __ATOMIC_SEQ_CST))
		return;
	in_nmi = true;
	assert_true(on_nmi(&tf));
	in_nmi = false;
}

static void relax(void)
{
	take_nmi();
	sched_yield();
}

static void take_interrupts(void)
{
	static const unsigned vectors[] = { TRAP_CALL, TRAP_KICK, TRAP_POSTED };

	take_nmi();
	if (irqs_off || (deaf && me->id == 1))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		bool *pending = &apic[me->apic_id].vector[vectors[i]];

		if (!__atomic_exchange_n(pending, false, __ATOMIC_SEQ_CST))
			continue;
		irqs_off = true;
		on_vector[vectors[i]]();
		irqs_off = false;
	}
}

static uint64_t irq_save(void)
{
	uint64_t was = irqs_off;

	irqs_off = true;
	return was;
}

static void irq_restore(uint64_t flags)
{
	irqs_off = flags;
	take_interrupts();
}

static void irq_disable(void)
{
	irqs_off = true;
}

static void irq_enable(void)
{
	irqs_off = false;
	take_interrupts();
}

static void timer_run_expired(void)
{
}

/* Halted until an interrupt comes, or the test is over. */
static void fake_idle(void)
{
	while (!me->work_pending && !__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
		irq_enable();
		irq_disable();
		usleep(10);
	}
}

static _Noreturn void thread_ends(void)
{
	pthread_exit(NULL);
}

/* --- the CPUs --- */

static pthread_t thread[CPUS];
static void *(*body)(void *arg);

static void *cpu_thread(void *arg)
{
	me = arg;
	return body(me);
}

static void *idle_body(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
		me->main = smp_idle_main;
		me->main(me);
	}
	return NULL;
}

static void leave_main(void *ctx)
{
	(void)ctx;
	me->main = NULL;
}

static void run_others(void *(*fn)(void *arg))
{
	body = fn;
	over = false;
	for (unsigned id = 1; id < CPUS; id++)
		real_smp_cpu(id)->state = CPU_ONLINE;
	for (unsigned id = 1; id < CPUS; id++) {
		assert_int_equal(pthread_create(&thread[id], NULL, cpu_thread, real_smp_cpu(id)),
				 0);
	}
}

static void join_others(void)
{
	static struct cpu_work leave[CPUS];

	__atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
	for (unsigned id = 1; id < CPUS; id++) {
		leave[id] = (struct cpu_work){ .fn = leave_main };
		smp_queue(real_smp_cpu(id), &leave[id]);
	}
	for (unsigned id = 1; id < CPUS; id++)
		pthread_join(thread[id], NULL);
}

static int setup(void **state)
{
	struct cpu_memory m;

	(void)state;
	me = &boot_cpu;
	boot_cpu = (struct cpu){ .self = &boot_cpu, .state = CPU_ONLINE };
	smp_init();
	for (unsigned id = 1; id < CPUS; id++) {
		assert_true(smp_add(id, &m));
		assert_int_equal(m.cpu->id, id);
		assert_ptr_equal(real_smp_cpu(id), m.cpu);
		for (unsigned i = 0; i < ARRAY_SIZE(m.guard); i++)
			assert_int_equal((m.guard[i] - m.guard[0]) % PAGE_SIZE, 0);
	}
	assert_int_equal(smp_online(), 1);
	return 0;
}

static int setup_test(void **state)
{
	(void)state;
	deaf = false;
	memset(apic, 0, sizeof(apic));
	alarm(120);
	return 0;
}

/* --- tests --- */

/* To a CPU that is in no guest it is a kick: its halt ends, and its loop looks. */
static void test_notify(void **state)
{
	struct cpu *to;

	(void)state;
	run_others(idle_body);
	to = real_smp_cpu(1);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t rounds = __atomic_load_n(&to->rounds, __ATOMIC_SEQ_CST);

		real_cpu_notify(to);
		while (__atomic_load_n(&to->rounds, __ATOMIC_SEQ_CST) == rounds)
			usleep(10);
	}
	join_others();
}

static unsigned done_on[CPUS], storms_over;

static void note(void *ctx)
{
	assert_true(irqs_off);
	__atomic_fetch_add(&done_on[me->id], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

/* Everybody asks everybody; nobody waits for ever, nothing is done twice or too late. */
static void *storm(void *arg)
{
	uint64_t seed = me->id + 1;

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned to = (unsigned)(fake_random64(&seed) % CPUS), n = 0;

		if (to == me->id) {
			smp_call_others(note, &n);
			assert_int_equal(n, CPUS - 1);
		} else {
			assert_true(smp_call(real_smp_cpu(to), note, &n));
			assert_int_equal(n, 1);
		}
		take_interrupts();
	}
	__atomic_fetch_add(&storms_over, 1, __ATOMIC_SEQ_CST);
	if (me->id)
		return idle_body(arg);
	while (__atomic_load_n(&storms_over, __ATOMIC_SEQ_CST) < CPUS) {
		take_interrupts();
		relax();
	}
	return NULL;
}

static void test_calls(void **state)
{
	unsigned n = 0, sum = 0;

	(void)state;
	run_others(storm);
	storm(NULL);
	assert_true(smp_call(me, note, &n)); /* itself */
	assert_int_equal(n, 1);
	join_others();
	for (unsigned id = 0; id < CPUS; id++)
		sum += done_on[id];
	assert_true(sum >= CPUS * ROUNDS);
	real_smp_cpu(3)->state = CPU_ABSENT;
	assert_false(smp_call(real_smp_cpu(3), note, &n));
	assert_int_equal(n, 1);
}

static unsigned order[64], nr_done;

static void note_order(void *ctx)
{
	assert_int_equal(me->id, 2);
	assert_false(irqs_off);
	order[nr_done] = (unsigned)(uintptr_t)ctx;
	__atomic_fetch_add(&nr_done, 1, __ATOMIC_RELEASE);
}

/* In the order in which it was queued, once each; a halted CPU wakes for it. */
static void test_work(void **state)
{
	struct cpu_work w[64];

	(void)state;
	run_others(idle_body);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct cpu_work){ .fn = note_order, .ctx = (void *)(uintptr_t)i };
		assert_true(smp_queue(real_smp_cpu(2), &w[i]));
		if (i % 16 == 15)
			usleep(2000);
	}
	while (__atomic_load_n(&nr_done, __ATOMIC_ACQUIRE) < ARRAY_SIZE(w))
		usleep(100);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		assert_int_equal(order[i], i);
	join_others();

	/* While it is not done it is not queued again. */
	assert_true(smp_queue(me, &w[0]));
	assert_false(smp_queue(me, &w[0]));
	assert_true(me->work_pending);
	me->work = NULL;
}

/* One that takes no interrupts is seen by NMI; one that is not there is not. */
static void test_look(void **state)
{
	struct cpu_report r;

	(void)state;
	deaf = true;
	run_others(idle_body);
	assert_true(smp_look_at(real_smp_cpu(1), &r));
	assert_int_equal(r.rip, 0x1234);
	assert_int_equal(r.nr_calls, 1);
	deaf = false;
	join_others();
	assert_false(smp_look_at(real_smp_cpu(1), &r));
	/* Its NMI comes late, and is still no stranger's. */
	me = real_smp_cpu(1);
	take_nmi();
	me = &boot_cpu;
}

static bool watch_has_one;

static bool watch_one(const struct trap_frame *tf)
{
	assert_int_equal(tf->rip, 0x1234);
	return watch_has_one;
}

/* An NMI that is for those; is it known? */
static bool nmi_for(bool sender, bool watcher)
{
	static const struct trap_frame tf = { .rip = 0x1234 };

	nmi_on_way[me->id] = sender;
	watch_has_one = watcher;
	return on_nmi(&tf);
}

/* An NMI may be for two, and the second of theirs comes or does not; one more is a stranger's. */
static void test_watch(void **state)
{
	(void)state;
	assert_false(nmi_for(false, false));
	smp_set_nmi_watch(watch_one);
	assert_false(nmi_for(false, false));
	assert_true(nmi_for(false, true));
	assert_false(nmi_for(false, false));
	assert_true(nmi_for(true, false));
	assert_false(nmi_for(false, false));

	assert_true(nmi_for(true, true));
	assert_true(nmi_for(false, false));
	assert_false(nmi_for(false, false));

	assert_true(nmi_for(true, true));
	assert_true(nmi_for(true, false));
	assert_true(nmi_for(false, true));
	assert_false(nmi_for(false, false));

	/* The second one of the first CPU's. */
	assert_true(nmi_for(true, true));
	me = real_smp_cpu(1);
	assert_false(nmi_for(false, false));
	me = &boot_cpu;
	assert_true(nmi_for(false, false));
	smp_set_nmi_watch(NULL);
}

/* Those that listen stop by themselves, the deaf one by NMI: then it is known where. */
static void test_stop(void **state)
{
	(void)state;
	deaf = true;
	run_others(idle_body);
	smp_stop_others(false);
	for (unsigned id = 1; id < CPUS; id++) {
		pthread_join(thread[id], NULL);
		assert_int_equal(real_smp_cpu(id)->state, CPU_STOPPED);
		assert_true(!smp_stopped_at(real_smp_cpu(id)) == (id != 1));
	}
	assert_int_equal(smp_online(), 1);
	smp_stop_others(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_notify, setup_test),
		cmocka_unit_test_setup(test_calls, setup_test),
		cmocka_unit_test_setup(test_work, setup_test),
		cmocka_unit_test_setup(test_look, setup_test),
		cmocka_unit_test_setup(test_watch, setup_test),
		cmocka_unit_test_setup(test_stop, setup_test),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
