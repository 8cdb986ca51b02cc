/* The log's way onto the line: at once, or held back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/fakes.h"

/* The machine below the log; and the real functions beside the stand-ins of fakes.c. */
#define UMBRA_INSN_H
#define UMBRA_CPU_H
static struct cpu {
	bool work_pending;
} cpu;
static struct cpu *this_cpu(void)
{
	return &cpu;
}
static uint64_t irq_save(void)
{
	return 0;
}
static void irq_restore(uint64_t flags)
{
	(void)flags;
}
#define log_set_level real_log_set_level
#define log_level real_log_level
#define log_set_line real_log_set_line
#define log_hold real_log_hold
#define log_held real_log_held
#define log_send_held real_log_send_held
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
	cpu.work_pending = false;
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
	assert_false(cpu.work_pending);
}

static void test_held(void **state)
{
	uint64_t before = log_sent();

	(void)state;
	console_write("deb64:", 6);
	log_hold(true);
	assert_false(log_held());
	log_info("first");
	log_info("second");
	assert_true(log_held());
	assert_true(cpu.work_pending); /* whoever looks after the line comes by */
	assert_int_equal(log_sent(), before);
	assert_out("deb64:");
	log_send_held();
	assert_out("deb64:\numbra: first\numbra: second\n");
	assert_false(log_held());
	assert_int_equal(log_sent() - before, 2);
	log_send_held();
	assert_int_equal(log_sent() - before, 2);
	log_info("third");
	assert_true(log_held());
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
	lock.locked = 1;
	log_panic();
	lock.locked = 0;
	assert_out("umbra: the last words\n");
	log_info("at once");
	assert_out("umbra: the last words\numbra: at once\n");
}

#define TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_at_once),   TEST(test_held),  TEST(test_held_and_off),
		TEST(test_many_held), TEST(test_panic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
