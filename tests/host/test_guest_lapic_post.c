/*
 * What other CPUs put into a local APIC's inbox, and its own CPU takes in: one thing after the
 * other, and from several threads at once.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "tests/host/fake_random.h"
#include "tests/host/lapic_fixture.h"
#include "vmm/lapic_core.h"

static int setup_enabled(void **state)
{
	setup(state);
	for (unsigned i = 0; i < CPUS; i++)
		enable(i);
	return 0;
}

static bool post(uint8_t vector, bool level)
{
	return send(0, false, APIC_FIXED, vector, level);
}

static void eoi(void)
{
	wr(0, 0xb0, 0);
}

/* --- one after the other --- */

/* Its registers are its own CPU's, which is told once. */
static void test_waits_in_the_inbox(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	assert_true(post(0x51, false));
	assert_true(post(0x92, true));
	assert_true(lapic_has_posted(l));
	assert_int_equal(l->irr.used | l->tmr.used | l->next, 0);
	assert_int_equal(cpus[0].notes, 1);
	assert_int_equal(cpus[0].kicks, 1);
	assert_true(lapic_bus_waits(&set, 0x51));
	assert_true(lapic_bus_waits(&set, 0x92));
	assert_false(lapic_bus_waits(&set, 0x52));
	assert_int_equal(lapic_next(l), 0x92);
	assert_false(lapic_has_posted(l));
	assert_true(lapic_bus_waits(&set, 0x51));
	assert_int_equal(rd(0, 0x1c0), 0x40000); /* TMR */
	assert_int_equal(rd(0, 0x1a0), 0);
	assert_int_equal(lapic_ack(l), 0x92);
	assert_false(lapic_bus_waits(&set, 0x92));
	assert_true(post(0x51, false)); /* it has looked: it is told again */
	assert_int_equal(cpus[0].notes, 2);
	assert_int_equal(cpus[0].kicks, 1);
	eoi();
	assert_int_equal(lapic_ack(l), 0x51);
	eoi();
	assert_int_equal(lapic_next(l), 0);
}

/* Registers that are read, and what is acknowledged, count what has come. */
static void test_reads_look(void **state)
{
	(void)state;
	post(0x51, true);
	assert_int_equal(rd(0, 0x220), 0x20000);
	post(0x52, true);
	assert_int_equal(rd(0, 0x1a0), 0x60000);
	post(0x05, false);
	wr(0, 0x280, 0);
	assert_int_equal(rd(0, 0x280), 0x40);
	post(0x63, false);
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x63);
	to_x2apic(0);
	post(0x84, false);
	assert_int_equal(msr_rd(0, 0x824), 0x10);
	post(0x85, false);
	assert_int_equal(lapic_ack(&cpus[0].lapic), 0x85);
}

/* Two inputs of an I/O APIC that share a vector, and an edge of the same: the I/O APIC hears of the
 * end. */
static void test_level_wins(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	post(0x51, true);
	post(0x51, false);
	assert_int_equal(lapic_ack(l), 0x51);
	eoi();
	assert_int_equal(eois, 1);
	post(0x51, false);
	assert_int_equal(lapic_ack(l), 0x51);
	eoi();
	assert_int_equal(eois, 1);
}

/* One that is off by software takes none, and one that goes off loses what was on its way. */
static void test_lost_by_reset(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	post(0x51, true);
	lapic_set_lint(l, 0, true);
	lapic_init_signal(l);
	assert_int_equal(lapic_next(l), 0);
	assert_int_equal(l->irr.used | l->tmr.used, 0);
	assert_false(post(0x51, true));
	enable(0);
	assert_int_equal(lapic_next(l), 0);
	wr(0, 0x350, 0x8031); /* the pin is still up */
	assert_int_equal(lapic_next(l), 0x31);
	post(0x51, false);
	assert_true(lapic_write_base(l, LAPIC_BASE | APIC_BASE_BSP, 40));
	assert_false(lapic_bus_waits(&set, 0x51));
	/* Sent by one that had seen it on. */
	__atomic_fetch_or(&l->inbox.vectors[0][2], 2, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&l->inbox.news, 4, __ATOMIC_SEQ_CST);
	assert_int_equal(lapic_next(l), 0);
	assert_true(lapic_write_base(l, LAPIC_BASE | APIC_BASE_BSP | APIC_BASE_ENABLE, 40));
	assert_int_equal(lapic_next(l), 0);
}

/* A pin that was up and down again in between has had its edge, and no level. */
static void test_pins(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	wr(0, 0x350, 0x31);
	lapic_set_lint(l, 0, true);
	lapic_set_lint(l, 0, false);
	lapic_set_lint(l, 0, true);
	assert_int_equal(cpus[0].kicks, 1);
	assert_int_equal(lapic_ack(l), 0x31);
	eoi();
	assert_int_equal(lapic_next(l), 0);
	lapic_set_lint(l, 0, false);
	wr(0, 0x350, 0x8031);
	lapic_set_lint(l, 0, true);
	lapic_set_lint(l, 0, false);
	assert_int_equal(lapic_next(l), 0);
	/* Masked: nobody is woken, and the edge is lost. */
	wr(0, 0x350, 0x10031);
	cpus[0].kicks = 0;
	lapic_set_lint(l, 0, true);
	assert_int_equal(cpus[0].kicks, 0);
	wr(0, 0x350, 0x31);
	assert_int_equal(lapic_next(l), 0);
	/* The 8259's pin: it is asked itself, but has to be looked at. */
	wr(0, 0x350, 0x700);
	lapic_set_lint(l, 0, false);
	assert_int_equal(cpus[0].kicks, 0);
	lapic_set_lint(l, 0, true);
	assert_int_equal(cpus[0].kicks, 1);
}

/* Who has kicked nobody keeps no other from it. */
static void test_kick_after_own(void **state)
{
	(void)state;
	wr(0, 0x350, 0x10031);
	lapic_set_lint(&cpus[0].lapic, 0, true);
	wr(0, 0x300, 0x40051);
	assert_int_equal(cpus[0].kicks, 0);
	post(0x52, false);
	assert_int_equal(cpus[0].notes, 1);
	post(0x53, true);
	assert_int_equal(cpus[0].kicks, 1);
	assert_true(has_irr(0, 0x51));
	assert_true(has_irr(0, 0x52));
	assert_true(has_irr(0, 0x53));
}

static uint8_t awaits_61(void *ctx)
{
	assert_ptr_equal(ctx, &set);
	return 0x61;
}

static bool is_posted(uint8_t vector)
{
	return cpus[0].lapic.inbox.posted[vector / 32] >> vector % 32 & 1;
}

/* What the processor may take unseen: no levels, no edge that TMR has as a level still, none whose
 * taking is waited for. */
static void test_unseen(void **state)
{
	struct lapic *l = &cpus[0].lapic;

	(void)state;
	set.awaited = awaits_61;
	post(0x51, true);
	post(0x61, false);
	assert_false(is_posted(0x51) || is_posted(0x61));
	assert_int_equal(cpus[0].kicks, 1);
	assert_int_equal(cpus[0].notes, 0);
	post(0x62, false); /* it is kicked already */
	assert_true(is_posted(0x62));
	assert_int_equal(cpus[0].notes, 0);
	lapic_fold(l);
	assert_false(is_posted(0x62));
	assert_int_equal(l->inbox.news, 0);
	post(0x51, false);
	assert_false(is_posted(0x51));
	assert_int_equal(cpus[0].kicks, 2);
	lapic_fold(l);
	post(0x51, false);
	assert_true(is_posted(0x51));
	assert_int_equal(cpus[0].notes, 1);
	post(0x62, false); /* it has been told, and has not looked */
	assert_int_equal(cpus[0].notes, 1);
	assert_true(lapic_bus_waits(&set, 0x51));
	post(0x92, true);
	assert_int_equal(cpus[0].kicks, 3);
	assert_int_equal(lapic_next(l), 0x92);
	assert_true(has_irr(0, 0x51));
	post(0x51, false);
	lapic_init_signal(l);
	assert_false(is_posted(0x51) || lapic_has_posted(l));
}

/* What is posted counts as much as what is in IRR. */
static void test_lowest_counts_posted(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		wr(i, 0xd0, 1u << (24 + i));
	for (unsigned i = 0; i < 4; i++)
		if (i != 2)
			assert_true(send(i, false, APIC_FIXED, 0x99, false));
	for (unsigned n = 0; n < 3; n++)
		assert_true(send(0xf, true, APIC_LOWEST, 0x41, false));
	assert_true(lapic_has_posted(&cpus[2].lapic));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(has_irr(i, 0x41), i == 2);
}

/* --- at once --- */

#define SENDERS 3
#define ROUNDS 60000
#define PATIENCE_S 60

/* Vectors are dealt out in turn, so that all senders meet in the same words. */
static bool is_level(unsigned vector)
{
	return vector % 2;
}

static unsigned sent[256], begun[256], taken[256], ended[256]; /* by vector; atomic */
static bool awake;                                             /* atomic: kicked since it looked */
static unsigned running;                                       /* senders; atomic */
static bool gave_up;                                           /* atomic */
static unsigned rounds = ROUNDS;
static bool processor_takes; /* run_owner() */
static unsigned spread;      /* a sender has so many vectors */

static void wake(void *ctx)
{
	(void)ctx;
	__atomic_store_n(&awake, true, __ATOMIC_SEQ_CST);
}

static void on_level_end(void *ctx, uint8_t vector)
{
	(void)ctx;
	__atomic_fetch_add(&ended[vector], 1, __ATOMIC_RELAXED);
}

static bool out_of_patience(time_t since)
{
	if (time(NULL) - since > PATIENCE_S)
		__atomic_store_n(&gave_up, true, __ATOMIC_RELAXED);
	return __atomic_load_n(&gave_up, __ATOMIC_RELAXED);
}

static void on_begin(void *ctx, uint8_t vector)
{
	(void)ctx;
	__atomic_fetch_add(&begun[vector], 1, __ATOMIC_RELEASE);
}

/* Whoever looks sees it waiting or being served, until that has begun. */
static bool waits_or_begun(unsigned vector)
{
	const uint32_t *isr = &cpus[0].lapic.isr.word[vector / 32];

	return lapic_bus_waits(&set, (uint8_t)vector) ||
	       (__atomic_load_n(isr, __ATOMIC_ACQUIRE) >> vector % 32 & 1) ||
	       __atomic_load_n(&begun[vector], __ATOMIC_ACQUIRE) == sent[vector];
}

static void look(unsigned vector)
{
	/* On its way from the one to the other it is nowhere to be seen. */
	if (processor_takes)
		return;
	for (unsigned i = 0; i < 20; i++)
		if (!waits_or_begun(vector))
			__atomic_store_n(&gave_up, true, __ATOMIC_RELAXED);
}

/* Some of its vectors at a time, each of them again only when it has been taken. */
static void *sender(void *ctx)
{
	unsigned who = (unsigned)(uintptr_t)ctx;
	uint64_t seed = who + 1;
	time_t since = time(NULL);

	for (unsigned round = 0; round < rounds; round++) {
		unsigned vector = 16 + who + SENDERS * (unsigned)(fake_random64(&seed) % spread);

		while (__atomic_load_n(&taken[vector], __ATOMIC_ACQUIRE) != sent[vector]) {
			if (out_of_patience(since))
				return NULL;
			look(vector);
			sched_yield();
		}
		sent[vector]++;
		if (!post((uint8_t)vector, is_level(vector)))
			__atomic_store_n(&gave_up, true, __ATOMIC_RELAXED);
		look(vector);
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Take what there is, to its end. */
static void serve(struct lapic *l)
{
	while (lapic_next(l)) {
		unsigned vector = lapic_ack(l);

		if ((l->tmr.word[vector / 32] >> vector % 32 & 1) != is_level(vector))
			__atomic_store_n(&gave_up, true, __ATOMIC_RELAXED);
		eoi();
		__atomic_fetch_add(&taken[vector], 1, __ATOMIC_RELEASE);
	}
}

/* It looks when it is kicked, and not else: a kick that is missing is a hang. */
static void owner(struct lapic *l)
{
	time_t since = time(NULL);
	bool last;

	do {
		last = !__atomic_load_n(&running, __ATOMIC_SEQ_CST);
		if (__atomic_exchange_n(&awake, false, __ATOMIC_SEQ_CST))
			serve(l);
		else
			sched_yield();
	} while (!last && !out_of_patience(since));
}

static void notify(void *ctx);
static void run_owner(struct lapic *l);

static void send_at_once(unsigned vectors)
{
	static struct lapic_cpu waked;
	pthread_t threads[SENDERS];
	struct lapic *l = &cpus[0].lapic;

	spread = vectors;
	memset(sent, 0, sizeof(sent));
	memset(begun, 0, sizeof(begun));
	memset(taken, 0, sizeof(taken));
	memset(ended, 0, sizeof(ended));
	waked = cpu_ops;
	waked.kick = wake;
	waked.notify = processor_takes ? notify : wake;
	l->cpu = &waked;
	set.eoi = on_level_end;
	set.taken = on_begin;
	running = SENDERS;
	for (uintptr_t i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sender, (void *)i), 0);
	if (processor_takes)
		run_owner(l);
	else
		owner(l);
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(gave_up);
	for (unsigned vector = 0; vector < 256; vector++) {
		if (taken[vector] != sent[vector] ||
		    ended[vector] != (is_level(vector) ? sent[vector] : 0))
			fail_msg("%02x: sent %u times, taken %u, the end told of %u", vector,
				 sent[vector], taken[vector], ended[vector]);
	}
	assert_false(lapic_has_posted(l));
	assert_int_equal(l->irr.used | l->isr.used, 0);
}

static void test_many_at_once(void **state)
{
	(void)state;
	send_at_once(80);
}

/* --- and with a processor that takes what is posted by itself --- */

static uint32_t page[LAPIC_PAGE_STRIDE * APIC_REGS];
static bool in_guest, notified; /* atomic */

static void notify(void *ctx)
{
	if (__atomic_load_n(&in_guest, __ATOMIC_SEQ_CST))
		__atomic_store_n(&notified, true, __ATOMIC_SEQ_CST);
	else
		wake(ctx);
}

/* The interrupt that is not the guest's to take is a kick. */
static void take_note(void)
{
	if (__atomic_exchange_n(&notified, false, __ATOMIC_SEQ_CST))
		wake(NULL);
}

static uint32_t *on_page(unsigned reg, unsigned vector)
{
	return &page[LAPIC_PAGE_STRIDE * (reg + vector / 32)];
}

/* SDM vol. 3, 29.6. */
static void process_posted(struct lapic_inbox *inbox)
{
	__atomic_fetch_and(&inbox->news, ~1u, __ATOMIC_SEQ_CST);
	for (unsigned n = 0; n < 8; n++)
		*on_page(APIC_IRR, 32 * n) |=
			__atomic_exchange_n(&inbox->posted[n], 0, __ATOMIC_SEQ_CST);
}

/* The highest one has its handler, and its end. The vector; 0: none waits. */
static unsigned deliver_one(void)
{
	for (unsigned vector = 255; vector >= VECTOR_MIN; vector--) {
		uint32_t bit = 1u << vector % 32;

		if (!(*on_page(APIC_IRR, vector) & bit))
			continue;
		*on_page(APIC_IRR, vector) &= ~bit;
		if (!!(*on_page(APIC_TMR, vector) & bit) != is_level(vector))
			__atomic_store_n(&gave_up, true, __ATOMIC_RELAXED);
		return vector;
	}
	return 0;
}

/* The vector whose end it exits for; 0: a kick, or that there is nothing left to do. */
static unsigned run_guest(struct lapic *l, time_t since)
{
	uint64_t watched[4];

	lapic_show(l, page);
	lapic_watched_ends(l, watched);
	while (!__atomic_exchange_n(&awake, false, __ATOMIC_SEQ_CST) && !out_of_patience(since)) {
		unsigned vector;

		if (__atomic_exchange_n(&notified, false, __ATOMIC_SEQ_CST))
			process_posted(&l->inbox);
		vector = deliver_one();
		if (vector && (watched[vector / 64] >> vector % 64 & 1))
			return vector;
		if (vector)
			__atomic_fetch_add(&taken[vector], 1, __ATOMIC_RELEASE);
		else if (!__atomic_load_n(&running, __ATOMIC_SEQ_CST) &&
			 !__atomic_load_n(&notified, __ATOMIC_SEQ_CST))
			return 0;
		else
			sched_yield();
	}
	return 0;
}

/* As the run loop: the last look is one at what has come until then. */
static void run_owner(struct lapic *l)
{
	time_t since = time(NULL);
	bool last;

	do {
		unsigned ended_vector;

		last = !__atomic_load_n(&running, __ATOMIC_SEQ_CST);
		take_note();
		__atomic_store_n(&awake, false, __ATOMIC_SEQ_CST);
		while (lapic_has_posted(l))
			lapic_fold(l);
		__atomic_store_n(&in_guest, true, __ATOMIC_SEQ_CST);
		ended_vector = run_guest(l, since);
		lapic_take_back(l, page);
		__atomic_store_n(&in_guest, false, __ATOMIC_RELEASE);
		if (l->has_taken)
			lapic_tell_taken(l);
		last &= !l->irr.used && !lapic_has_posted(l);
		if (!ended_vector)
			continue;
		lapic_fold(l);
		lapic_ended(l, (uint8_t)ended_vector);
		__atomic_fetch_add(&taken[ended_vector], 1, __ATOMIC_RELEASE);
		last = false;
	} while (!last && !out_of_patience(since));
}

static uint8_t awaits_first(void *ctx)
{
	(void)ctx;
	return VECTOR_MIN;
}

/* Of levels, and of the edge that is waited for, everybody is told. */
static void test_processor_takes(void **state)
{
	(void)state;
	set.awaited = awaits_first;
	processor_takes = true;
	rounds = ROUNDS / 4;
	send_at_once(80);
	send_at_once(3);
	processor_takes = false;
	rounds = ROUNDS;
	for (unsigned vector = 0; vector < 256; vector++)
		if (is_level(vector) || vector == VECTOR_MIN)
			assert_int_equal(begun[vector], sent[vector]);
}

/* All in one word, and one that is lost is soon missed by all. */
static void test_few_at_once(void **state)
{
	(void)state;
	send_at_once(3);
}

/* --- a pin is set while it is unmasked --- */

#define MEETINGS 100000

static unsigned arrived; /* at the meetings, of both; atomic */

/* Both leave at about the same time. */
static bool meet(unsigned n, time_t since)
{
	__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 1; __atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2 * n; i++) {
		if (i % 1024)
			continue;
		sched_yield();
		if (out_of_patience(since))
			return false;
	}
	return true;
}

static void *set_pin(void *ctx)
{
	unsigned pin = (unsigned)(uintptr_t)ctx;
	time_t since = time(NULL);

	for (unsigned i = 0; i < MEETINGS && meet(2 * i + 1, since); i++) {
		lapic_set_lint(&cpus[0].lapic, pin, true);
		if (!meet(2 * i + 2, since))
			break;
	}
	return NULL;
}

/* How often nobody has noticed: no look of its own saw it, and no kick told of it. */
static unsigned unmask_at_once(unsigned pin)
{
	struct lapic *l = &cpus[0].lapic;
	unsigned unnoticed = 0;
	time_t since = time(NULL);

	for (unsigned i = 0; i < MEETINGS && meet(2 * i + 1, since); i++) {
		bool saw;

		msr_wr(0, 0x835 + pin, 0x700);
		saw = lapic_has_posted(l) || l->lint[pin];
		if (!meet(2 * i + 2, since))
			break;
		unnoticed += !saw && !cpus[0].kicks;
		msr_wr(0, 0x835 + pin, 0x10700);
		lapic_set_lint(l, pin, false);
		lapic_fold(l);
		cpus[0].kicks = 0;
	}
	return unnoticed;
}

/* By WRMSR, which takes no lock. */
static void test_unmasked_at_once(void **state)
{
	(void)state;
	to_x2apic(0);
	for (uintptr_t pin = 0; pin < 2; pin++) {
		pthread_t thread;
		unsigned unnoticed;

		arrived = 0;
		gave_up = false;
		assert_int_equal(pthread_create(&thread, NULL, set_pin, (void *)pin), 0);
		unnoticed = unmask_at_once((unsigned)pin);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_false(gave_up);
		assert_int_equal(unnoticed, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_waits_in_the_inbox, setup_enabled),
		cmocka_unit_test_setup(test_reads_look, setup_enabled),
		cmocka_unit_test_setup(test_level_wins, setup_enabled),
		cmocka_unit_test_setup(test_lost_by_reset, setup_enabled),
		cmocka_unit_test_setup(test_pins, setup_enabled),
		cmocka_unit_test_setup(test_kick_after_own, setup_enabled),
		cmocka_unit_test_setup(test_unseen, setup_enabled),
		cmocka_unit_test_setup(test_lowest_counts_posted, setup_enabled),
		cmocka_unit_test_setup(test_many_at_once, setup_enabled),
		cmocka_unit_test_setup(test_few_at_once, setup_enabled),
		cmocka_unit_test_setup(test_processor_takes, setup_enabled),
		cmocka_unit_test_setup(test_unmasked_at_once, setup_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
