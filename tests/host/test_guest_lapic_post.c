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
	assert_int_equal(cpus[0].kicks, 2);
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
	assert_int_equal(cpus[0].kicks, 1);
	assert_true(has_irr(0, 0x51));
	assert_true(has_irr(0, 0x52));
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
static unsigned spread;                                        /* a sender has so many vectors */

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

	for (unsigned round = 0; round < ROUNDS; round++) {
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
	l->cpu = &waked;
	set.eoi = on_level_end;
	set.taken = on_begin;
	running = SENDERS;
	for (uintptr_t i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sender, (void *)i), 0);
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
		cmocka_unit_test_setup(test_lowest_counts_posted, setup_enabled),
		cmocka_unit_test_setup(test_many_at_once, setup_enabled),
		cmocka_unit_test_setup(test_few_at_once, setup_enabled),
		cmocka_unit_test_setup(test_unmasked_at_once, setup_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
