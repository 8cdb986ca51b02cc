/* The log's way onto the line: at once, or held back; and threads as CPUs that log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "tests/host/fakes.h"

/* The machine below the log; and the real functions beside the stand-ins of fakes.c. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
#define UMBRA_SMP_H
static struct cpu {
	bool work_pending;
} boot_cpu, other_cpu;
static _Thread_local struct cpu *me = &boot_cpu;
static struct cpu *this_cpu(void)
{
	return me;
}
static void mark_work(struct cpu *cpu)
{
	__atomic_store_n(&cpu->work_pending, true, __ATOMIC_RELEASE);
}
#define cpu_kick mark_work
static uint64_t irq_save(void)
{
	return 0;
}
static void irq_restore(uint64_t flags)
{
	(void)flags;
}
static uint32_t console_turns(void)
{
	return 7;
}
static bool console_busy;
static bool console_is_locked(void)
{
	return console_busy;
}
#define log_set_level real_log_set_level
#define log_level real_log_level
#define log_set_line real_log_set_line
#define log_hold real_log_hold
#define log_held real_log_held
#define log_send_held real_log_send_held
#define log_is_panicked real_log_is_panicked
#define log_nmi_may real_log_nmi_may
#define log_turns real_log_turns
#define log_with_lock real_log_with_lock
#define log_sent real_log_sent
#define log_take_unsent real_log_take_unsent
#define log_line real_log_line
#define log_vline real_log_vline
#define log_read real_log_read
#define trace_error_at real_trace_error_at
#include "arch/x86_64/log.c"

#define assert_out(text) assert_string_equal(fake_console_out, text)

static int setup(void **state)
{
	(void)state;
	log_hold(false);
	log_set_line(true);
	log_take_unsent();
	boot_cpu.work_pending = other_cpu.work_pending = panicked = false;
	me = &boot_cpu;
	fake_console_room = SIZE_MAX;
	fake_console_len = 0;
	fake_console_out[0] = '\0';
	return 0;
}

static void test_at_once(void **state)
{
	uint64_t before = log_sent();

	(void)state;
	console_write("open", 4);
	log_info("one %d", 1);
	assert_out("open\numbra: one 1\n");
	log_set_line(false);
	log_err("not seen");
	assert_int_equal(log_sent() - before, 1);
	assert_int_equal(log_take_unsent(), 1);
	assert_int_equal(log_take_unsent(), 0);
	assert_out("open\numbra: one 1\n");
	assert_false(boot_cpu.work_pending);
}

static void test_held(void **state)
{
	uint64_t before = log_sent();

	(void)state;
	console_write("deb64:", 6);
	log_hold(true);
	assert_int_equal(log_held(), 0);
	log_info("first");
	log_info("second");
	assert_int_equal(log_held(), 2);
	assert_true(boot_cpu.work_pending); /* whoever looks after the line comes by */
	assert_int_equal(log_sent(), before);
	assert_out("deb64:");
	log_send_held();
	assert_out("deb64:\numbra: first\numbra: second\n");
	assert_int_equal(log_held(), 0);
	assert_int_equal(log_sent() - before, 2);
	log_send_held();
	assert_int_equal(log_sent() - before, 2);
	log_info("third");
	assert_int_equal(log_held(), 1);
	log_hold(false);
	log_info("fourth");
	assert_out("deb64:\numbra: first\numbra: second\numbra: third\numbra: fourth\n");
}

/* What was for the line goes there, what was not does not, whatever comes between. */
static void test_held_and_off(void **state)
{
	(void)state;
	log_hold(true);
	log_info("for the line");
	log_set_line(false);
	log_info("not for it");
	log_set_line(true);
	log_info("again");
	log_send_held();
	assert_out("umbra: for the line\numbra: again\n");
}

/* The lines that wait are never so many that the log's ring forgets some before they are seen. */
static void test_many_held(void **state)
{
	unsigned next = 0;

	(void)state;
	log_hold(true);
	for (unsigned i = 0; i < 4000; i++) {
		log_info("line %04u", i);
		if (fake_console_len + 20000 < sizeof(fake_console_out) && i != 3999)
			continue;
		log_send_held();
		for (char *at = fake_console_out; *at; at = strchr(at, '\n') + 1, next++)
			if (strtoul(at + strlen("umbra: line "), NULL, 10) != next)
				fail_msg("expected line %u, seen %.20s", next, at);
		fake_console_len = 0;
		fake_console_out[0] = '\0';
	}
	assert_int_equal(next, 4000);
}

/* A panic takes no lock, and has all that was said before it. */
static void test_panic(void **state)
{
	(void)state;
	log_hold(true);
	log_info("the last words");
	lock.next++;
	log_panic();
	lock.next--;
	assert_out("umbra: the last words\n");
	log_info("at once");
	assert_out("umbra: the last words\numbra: at once\n");
}

/* Another CPU's is sent by the first one, which knows what it is writing there; that comes by. */
static void test_other_cpu(void **state)
{
	(void)state;
	console_write("umbra> vm", 9);
	me = &other_cpu;
	log_info("from afar");
	assert_out("umbra> vm");
	assert_int_equal(log_held(), 1);
	assert_true(boot_cpu.work_pending);
	assert_false(other_cpu.work_pending);
	me = &boot_cpu;
	log_info("after it");
	assert_out("umbra> vm\numbra: from afar\numbra: after it\n");
	/* In a panic that CPU has the line. */
	me = &other_cpu;
	log_info("the last words");
	log_panic();
	log_info("at once");
	assert_non_null(strstr(fake_console_out, "umbra: the last words\numbra: at once\n"));
}

#define WRITERS 4
#define WRITER_LINES 300

static void *write_lines(void *arg)
{
	static struct cpu cpu[WRITERS];
	unsigned n = (unsigned)(uintptr_t)arg;

	me = &cpu[n];
	for (unsigned i = 0; i < WRITER_LINES; i++)
		log_info("writer %u line %04u of them all", n, i);
	return NULL;
}

/* Several at once, while the first CPU changes what becomes of the lines: none is torn or lost, and
 * each one's are in order. */
static void test_writers(void **state)
{
	unsigned seen[WRITERS] = { 0 }, writer, line, own = 0;
	pthread_t thread[WRITERS];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(
			pthread_create(&thread[i], NULL, write_lines, (void *)(uintptr_t)i), 0);
	while (own < 200) {
		log_hold(own % 3);
		log_send_held();
		log_info("own %u", own++);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	log_hold(false);
	assert_int_equal(log_held(), 0);
	for (char *at = fake_console_out, *next; *at; at = next + 1) {
		next = strchr(at, '\n');
		assert_non_null(next);
		if (sscanf(at, "umbra: writer %u line %u of them all\n", &writer, &line) == 2) {
			assert_in_range(writer, 0, WRITERS - 1);
			if (line != seen[writer] || next - at != 37)
				fail_msg("writer %u: expected line %u, seen %.50s", writer,
					 seen[writer], at);
			seen[writer]++;
		} else if (sscanf(at, "umbra: own %u\n", &line) != 1) {
			fail_msg("a torn line: %.50s", at);
		}
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(seen[i], WRITER_LINES);
}

/* An NMI's handler must not wait for whom it has cut off. */
static void test_nmi(void **state)
{
	uint64_t flags;
	uint32_t turns;

	(void)state;
	assert_true(log_nmi_may());
	console_busy = true;
	assert_false(log_nmi_may());
	console_busy = false;
	flags = log_lock();
	assert_false(log_nmi_may());
	turns = log_turns();
	log_unlock(flags);
	assert_true(log_nmi_may());
	flags = log_lock();
	assert_int_equal(log_turns(), turns + 1);
	log_unlock(flags);
	assert_int_equal(log_turns(), console_turns());
	log_panic();
	assert_false(log_nmi_may());
}

#define TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_at_once),   TEST(test_held),  TEST(test_held_and_off),
		TEST(test_many_held), TEST(test_panic), TEST(test_other_cpu),
		TEST(test_writers),   TEST(test_nmi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
