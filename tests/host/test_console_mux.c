/* The console that VMs and the monitor share, on a line whose room the test gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/log.h"
#include "tests/host/fakes.h"
#include "vmm/console.h"
#include "vmm/console_kept.h"
#include "vmm/console_view.h"
#include "vmm/dev/pc.h"
#include "vmm/vm.h"

#define VMS 3

static struct vm_config cfg[VMS] = { { .name = "one" }, { .name = "two" }, { .name = "three" } };
static struct vm vm[VMS];

/* --- what the devices would do --- */

static char got[VMS][16384];
static size_t got_len[VMS];
static size_t listens[VMS]; /* bytes that its port takes */
static unsigned readies[VMS];

bool pc_console_input(struct vm *v, uint8_t c)
{
	if (!listens[v->id])
		return false;
	listens[v->id]--;
	got[v->id][got_len[v->id]++] = (char)c;
	got[v->id][got_len[v->id]] = '\0';
	return true;
}

void pc_console_ready(struct vm *v)
{
	readies[v->id]++;
}

void pc_line_work(struct vm *v)
{
	(void)v;
}

/* --- the monitor --- */

static char typed[1024];
static unsigned enters, redraws;

static void enter(void)
{
	enters++;
}

static void input(uint8_t c)
{
	snprintf(typed + strlen(typed), 2, "%c", c);
}

static void redraw(void)
{
	redraws++;
}

static uint64_t behind_since;

static uint64_t behind(void)
{
	return behind_since;
}

static const struct console_operator mon = { enter, input, redraw, behind };

/* --- fixture --- */

static void forget_output(void)
{
	fake_console_len = 0;
	fake_console_out[0] = '\0';
}

static void keys(const char *text)
{
	fake_console_type(text);
	console_work();
}

static void say(unsigned n, const char *text)
{
	for (; *text; text++)
		assert_true(console_vm_tx(&vm[n], (uint8_t)*text));
}

#define assert_out(text) assert_string_equal(fake_console_out, text)

/* One is in front, and nothing has been said. */
static int setup(void **state)
{
	static bool once;

	(void)state;
	fake_timers_reset();
	fake_clock_advance(10 * NS_PER_SEC);
	fake_console_room = SIZE_MAX;
	fake_console_type("");
	if (!once)
		console_set_operator(&mon);
	for (unsigned i = 0; i < VMS; i++) {
		vm[i].id = i;
		vm[i].cfg = &cfg[i];
		vm[i].state = VM_RUNNING;
		listens[i] = SIZE_MAX;
		got_len[i] = 0;
		got[i][0] = '\0';
		readies[i] = 0;
		assert_int_equal(console_add(&vm[i]), 0);
	}
	once = true;
	console_show_log(false);
	console_follow(false);
	console_set_front(NULL);
	console_work();
	console_set_front(&vm[0]);
	console_work();
	fake_log_shown = false;
	typed[0] = '\0';
	enters = redraws = 0;
	behind_since = 0;
	forget_output();
	return 0;
}

/* --- tests --- */

static void test_switching(void **state)
{
	(void)state;
	say(0, "front\r\n");
	say(1, "behind\r\nnot whole");
	assert_out("front\r\n");
	forget_output();
	keys("a\x1d"
	     "2b");
	assert_string_equal(got[0], "a");
	assert_string_equal(got[1], "b");
	assert_out("--- two (2, running); Ctrl-] ?: help ---\nbehind\r\nnot whole");
	forget_output();
	say(1, "!\r\n");
	say(0, "later\r\n");
	assert_out("!\r\n");
	keys("\x1dn\x1d");
	assert_int_equal(console_front()->id, 2);
	keys("n");
	forget_output();
	keys("\x1d]\x1d\x1d");
	assert_string_equal(got[0], "a\x1d\x1d");
	vm[1].state = VM_STOPPED;
	keys("\x1dn");
	assert_int_equal(console_front()->id, 2);
	keys("\x1d"
	     "2x");
	assert_string_equal(got[1], "b"); /* it is not there to take it */
	assert_non_null(strstr(fake_console_out, "--- two (2, stopped)"));
	keys("\x1d"
	     "9");
	assert_non_null(strstr(fake_console_out, "there is no VM 9"));
	keys("\x1d?");
	assert_non_null(strstr(fake_console_out, "Ctrl-] m: the monitor"));
}

static void test_monitor(void **state)
{
	(void)state;
	assert_false(fake_log_on_line);
	log_info("a message");
	keys("\x1dmx");
	assert_true(fake_log_on_line);
	assert_true(console_operator_stays());
	assert_int_equal(enters, 1);
	assert_string_equal(typed, "x");
	assert_non_null(strstr(fake_console_out, "--- monitor;"));
	assert_non_null(strstr(fake_console_out, "1 new messages"));
	assert_int_equal(redraws, 0);
	log_info("another");
	console_work();
	assert_int_equal(redraws, 1);
	console_work();
	assert_int_equal(redraws, 1);
	forget_output();
	assert_int_equal(console_monitor_write("a\nb", 3), 3);
	assert_out("a\nb");
	console_monitor_fresh_line();
	assert_out("a\nb\n");
	console_monitor_fresh_line();
	assert_out("a\nb\n");
	/* The line is slow: what there is room for says so, and nothing waits. */
	fake_console_room = 0;
	for (unsigned i = 0; i < 4096; i++)
		console_monitor_write("x", 1);
	assert_int_equal(console_monitor_space(), 0);
	keys("\x1d"
	     "1");
	assert_int_equal(console_front()->id, 0);
	assert_false(console_operator_stays());
}

/* What was typed at the monitor comes before a Ctrl-] that was typed behind it, and what follows
 * that goes where it leads. */
static void test_order_at_the_monitor(void **state)
{
	(void)state;
	keys("\x1dmx");
	behind_since = clock_ns();
	keys("y\x1d"
	     "1z");
	assert_null(console_front());
	assert_string_equal(typed, "xy");
	fake_clock_advance(NS_PER_SEC / 2);
	console_work();
	assert_null(console_front());
	behind_since = 0;
	boot_cpu.work_pending = false;
	console_monitor_ready();
	assert_true(boot_cpu.work_pending);
	console_work();
	assert_int_equal(console_front()->id, 0);
	assert_string_equal(typed, "xy");
	assert_string_equal(got[0], "z");
	boot_cpu.work_pending = false;
	console_monitor_ready(); /* nothing waits for that */
	assert_false(boot_cpu.work_pending);
}

/* But no command keeps the operator for longer than a second. */
static void test_kept_at_the_monitor(void **state)
{
	(void)state;
	keys("\x1dm");
	behind_since = clock_ns();
	keys("y\x1d"
	     "1");
	fake_clock_advance(NS_PER_SEC * 3 / 4);
	behind_since = clock_ns(); /* that was the next one */
	fake_clock_advance(NS_PER_SEC * 3 / 4);
	console_work();
	assert_null(console_front());
	fake_clock_advance(NS_PER_SEC / 2);
	console_work();
	assert_int_equal(console_front()->id, 0);
	/* One that has been at it for long keeps him for a second from now. */
	keys("\x1dm");
	fake_clock_advance(5 * NS_PER_SEC);
	keys("y\x1d"
	     "2");
	assert_null(console_front());
	fake_clock_advance(NS_PER_SEC + 1);
	console_work();
	assert_int_equal(console_front()->id, 1);
}

/* Who is seen waits for the line; the others do not, and lose what is too old only. */
static void test_slow_line(void **state)
{
	unsigned long long gone;
	char *text;

	(void)state;
	fake_console_room = 3;
	say(0, "abcd");
	for (unsigned i = 0; i < SAID_AHEAD; i++)
		say(0, "e");
	assert_false(console_vm_tx(&vm[0], 'f'));
	assert_out("abc");
	for (unsigned i = 0; i < 10000; i++) {
		char line[16];

		snprintf(line, sizeof(line), "%07u\r\n", i);
		say(1, line);
	}
	assert_int_equal(readies[0], 0);
	fake_console_room = 5;
	console_work();
	assert_out("abcdeeee");
	assert_int_equal(readies[0], 0); /* it would soon be refused again */
	fake_console_room = SAID_AHEAD / 2;
	console_work();
	assert_int_equal(readies[0], 1);
	fake_console_room = SIZE_MAX;
	console_work();
	assert_int_equal(fake_console_len, 4 + SAID_AHEAD);
	assert_int_equal(readies[0], 1);
	forget_output();
	keys("\x1d"
	     "2");
	text = strstr(fake_console_out, "--- ");
	assert_non_null(text);
	assert_int_equal(sscanf(strchr(text, '\n'), "\n--- %llu bytes before", &gone), 1);
	assert_int_equal(gone, 90000 - KEPT_BYTES);
	text = strchr(strchr(text, '\n') + 1, '\n') + 1;
	for (unsigned i = (unsigned)gone / 9 + 1; i < 7000; i++, text += 9)
		if ((unsigned)atoi(text) != i)
			fail_msg("expected line %u, seen \"%.9s\"", i, text);
}

/* A terminal that is asked in a replay would answer into the guest. */
static void test_replay_is_safe(void **state)
{
	(void)state;
	say(1, "lost\r\n\x1b[1mbold\x1b[6n\x1b[c\x1b]0;title\a\x1bZ\x05 end\x1b[");
	keys("\x1d"
	     "2");
	assert_out("--- two (2, running); Ctrl-] ?: help ---\nlost\r\n\x1b[1mbold end\x1b[");
	forget_output();
	say(1, "6n\r\n"); /* now there is somebody to answer */
	assert_out("6n\r\n");
	forget_output();
	keys("\x1d"
	     "1");
	assert_out("\x18\x1b[0m\x1b(B\x0f--- one (1, running); Ctrl-] ?: help ---\n");
}

static void test_replay_asks_nothing(void **state)
{
	(void)state;
	say(1, "a\x1b[21tb\x1b[?2026$pc\x1b[>qd\x1b[?ue\x1b[xf\x1b[ug\r\n");
	keys("\x1d"
	     "2");
	assert_non_null(strstr(fake_console_out, "abcdef\x1b[ug\r\n"));
}

/* What a program has made of the terminal is not left to who comes next, and is there again when it
 * comes back, but for its place on the screen. */
static void test_modes(void **state)
{
	static const char *const modes[][3] = {
		{ "\x1b[?1049h\x1b[?1h\x1b=", "\x1b[?1049l\x1b[?1l\x1b>", "\x1b[?1h\x1b=" },
		{ "\x1b[?1000;1006h\x1b[?2004h", "\x1b[?1000l\x1b[?1006l\x1b[?2004l",
		  "\x1b[?1000h\x1b[?1006h\x1b[?2004h" },
		{ "\x1b[?25l\x1b[?7l\x1b[2;10r\x1b[4h", "\x1b[4l\x1b[?7h\x1b[?25h\x1b[r\x1b[999;1H",
		  "\x1b[?7l\x1b[?25l" },
		/* Nothing is left of these. */
		{ "\x1b[?25l\x1b[?25h\x1b[2;10r\x1b[r\x1b=\x1b>", "", "" },
		{ "\x1b[?25l\x1b[?1h\x1b[1;5r\x1b=\x1b[!p", "", "" },
		{ "\x1b[?1049h\x1b[?1003h\x1b"
		  "c",
		  "", "" },
		{ "\x1b[?99999999999h\x1b[?1$h\x1b[?1\x18h\x1b[>4;1m\x1b[1h", "", "" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		char text[256];

		say(0, modes[i][0]);
		say(0, "\r\n");
		forget_output();
		keys("\x1d"
		     "2");
		snprintf(text, sizeof(text),
			 "\x18\x1b[0m\x1b(B\x0f%s--- two (2, running); "
			 "Ctrl-] ?: help ---\n",
			 modes[i][1]);
		assert_out(text);
		forget_output();
		keys("\x1d"
		     "1");
		snprintf(text, sizeof(text), "--- one (1, running); Ctrl-] ?: help ---\n%s",
			 modes[i][2]);
		if (strncmp(fake_console_out, text, strlen(text)) != 0)
			fail_msg("%u: seen %s", i, fake_console_out);
		say(0, "\x1b"
		       "c\r\n");
	}
	/* Its next life begins with a terminal as it is. */
	say(0, "\x1b[?25l");
	forget_output();
	console_forget(&vm[0]);
	console_set_front(&vm[0]);
	console_work();
	assert_out("\x18\x1b[0m\x1b(B\x0f\x1b[?25h--- one (1, running); Ctrl-] ?: help ---\n");
}

/* Followed, it can forge no other's name, and gives the terminal no orders. */
static void test_follow_is_plain(void **state)
{
	(void)state;
	console_follow(true);
	console_work();
	forget_output();
	say(1, "\b\b\b\b\bone| \xc2\x9b\x9b"
	       "6n\x9b"
	       "c \xe2\x94\x80\r\n");
	assert_out("two| one| \xc2"
		   "6nc \xe2\x94\x80\n");
}

/* What was typed for it waits for a VM, and is its own; the operator's keys do not. */
static void test_deaf(void **state)
{
	char text[6000];

	(void)state;
	listens[0] = 2;
	keys("abc");
	assert_string_equal(got[0], "ab");
	boot_cpu.work_pending = false;
	keys("\x1d"
	     "2d");
	assert_string_equal(got[1], "d");
	console_vm_listens(&vm[1]);
	assert_false(boot_cpu.work_pending); /* nothing is left for that one */
	listens[0] = 1;
	console_vm_listens(&vm[0]);
	assert_true(boot_cpu.work_pending);
	console_work();
	assert_string_equal(got[0], "abc");
	boot_cpu.work_pending = false;
	console_vm_listens(&vm[0]);
	assert_false(boot_cpu.work_pending);

	keys("\x1d"
	     "1");
	listens[0] = 0;
	memset(text, 'x', 5000);
	strcpy(text + 5000, "\x1d"
			    "2e");
	keys(text);
	assert_int_equal(console_front()->id, 0); /* it may only be slow */
	fake_clock_advance(NS_PER_SEC + 1);
	console_work();
	assert_int_equal(console_front()->id, 1);
	assert_string_equal(got[1], "de");
	listens[0] = SIZE_MAX;
	console_work();
	assert_int_equal(got_len[0], 3 + 4096);
}

/* A slow one that goes on reading loses nothing. */
static void test_slow_reader(void **state)
{
	static char text[9001];

	(void)state;
	for (unsigned i = 0; i < 9000; i++)
		text[i] = (char)('a' + i % 26);
	listens[0] = 0;
	keys(text);
	for (unsigned i = 0; i < 9000; i++) {
		fake_clock_advance(NS_PER_SEC / 2);
		listens[0] = 1;
		console_work();
	}
	assert_int_equal(got_len[0], 9000);
	assert_string_equal(got[0], text);
}

/* One that takes a byte now and then does not keep the operator's keys from him. */
static void test_dripping(void **state)
{
	static char text[9004];

	(void)state;
	memset(text, 'x', 9000);
	strcpy(text + 9000, "\x1d"
			    "2e");
	listens[0] = 0;
	keys(text);
	for (unsigned i = 0; i < 4; i++) {
		fake_clock_advance(NS_PER_SEC / 2);
		listens[0] = 1;
		console_work();
	}
	assert_int_equal(console_front()->id, 1);
	assert_string_equal(got[1], "e");
}

/* The VM in front ends: its last words, the log's, and who comes after it. */
static void test_end(void **state)
{
	(void)state;
	fake_console_room = 2;
	say(0, "abc");
	fake_console_room = SIZE_MAX;
	console_forget(&vm[0]);
	assert_int_equal(readies[0], 1);
	assert_out("abc");
	assert_null(console_front());
	assert_true(fake_log_on_line);
	console_set_front(&vm[1]);
	assert_true(fake_log_on_line);
	console_work();
	assert_false(fake_log_on_line);
	assert_out("abc\n--- two (2, running); Ctrl-] ?: help ---\n");
	assert_int_equal(enters, 0);
	/* One that restarts goes on where it was. */
	say(1, "x\r\n");
	forget_output();
	console_forget(&vm[1]);
	console_set_front(&vm[1]);
	say(1, "y\r\n");
	console_work();
	assert_out("--- two (2, running); Ctrl-] ?: help ---\ny\r\n");
}

static void test_follow(void **state)
{
	(void)state;
	console_follow(true);
	console_work();
	assert_out("--- all VMs; keys go to one (1, running); Ctrl-] ?: help ---\n");
	forget_output();
	say(0, "prompt");
	say(1, "hel");
	say(2, "w\x1b[1mor\x1b");
	assert_out("one| prompt");
	say(1, "lo\r\n");
	assert_out("one| prompt"); /* it may go on at once */
	say(0, "> ");
	fake_clock_advance(NS_PER_SEC);
	console_work();
	assert_out("one| prompt> \ntwo| hello\nthree| wor");
	say(0, "x\r\n");
	say(2, "[0mld\r\n");
	assert_out("one| prompt> \ntwo| hello\nthree| wor\none| x\nthree| ld\n");
	forget_output();
	say(0, "10%\r20%\r\n");
	assert_out("one| 10%\rone| 20%\n");
	/* All share the line, and are held back before anything is lost. */
	fake_console_room = 0;
	for (unsigned i = 0; i < KEPT_BYTES; i++)
		assert_true(console_vm_tx(&vm[1], i % 64 == 63 ? '\n' : 'x'));
	for (unsigned i = 0; i < SAID_AHEAD; i++)
		say(1, "x");
	assert_false(console_vm_tx(&vm[1], 'x'));
	assert_true(console_vm_tx(&vm[2], 'x'));
	keys("\x1d"
	     "3");
	assert_int_equal(console_front()->id, 2);
	keys("\x1d"
	     "f");
	fake_console_room = SIZE_MAX;
	console_work();
	assert_int_equal(readies[1], 1);
}

/* --- Umbra's lines between guests' --- */

/* All are followed, and Umbra's lines are on the line too. */
static void follow_all(void)
{
	console_show_log(true);
	console_follow(true);
	console_work();
	fake_log_shown = true;
	forget_output();
}

static void pass(uint64_t ns)
{
	fake_clock_advance(ns);
	console_work();
}

/* A prompt is whole, whatever Umbra has to say meanwhile. */
static void test_log_waits_for_line(void **state)
{
	(void)state;
	follow_all();
	say(0, "deb64:");
	log_info("first");
	log_info("second");
	console_work();
	assert_out("one| deb64:");
	say(0, "/# ");
	console_work();
	assert_out("one| deb64:/# ");
	pass(NS_PER_SEC / 4);
	assert_out("one| deb64:/# \numbra: first\numbra: second\n");
	/* Now the line is quiet: at once. */
	forget_output();
	say(0, "> ");
	pass(NS_PER_SEC / 4);
	log_info("third");
	console_work();
	assert_out("one| > \numbra: third\n");
	/* The line's end is as good. */
	forget_output();
	say(0, "a");
	log_info("fourth");
	say(0, "b\r\nc");
	assert_out("one| ab\numbra: fourth\none| c");
}

/* One VM that is seen alone is not torn apart either. */
static void test_log_waits_for_one(void **state)
{
	(void)state;
	console_show_log(true);
	fake_log_shown = true;
	say(0, "one:");
	log_info("first");
	console_work();
	say(0, "/# ");
	assert_out("one:/# ");
	pass(NS_PER_SEC / 4);
	assert_out("one:/# \numbra: first\n");
	say(0, "x");
	log_info("second");
	say(0, "y\nz");
	assert_out("one:/# \numbra: first\nxy\numbra: second\nz");
}

/* A guest that never ends its line has Umbra's wait for no more than a second. */
static void test_log_waits_no_longer(void **state)
{
	unsigned n = 0;

	(void)state;
	follow_all();
	say(0, "x");
	log_info("at last");
	for (; n < 100 && !strstr(fake_console_out, "umbra: at last"); n++) {
		pass(NS_PER_SEC / 10);
		say(0, "\rx");
	}
	if (n < 5 || n > 11)
		fail_msg("expected Umbra's line after 0.5 to 1.1 s, seen after %u/10 s", n);
}

/* What is on its way to a slow line is not cut off from its end. */
static void test_log_waits_for_slow_line(void **state)
{
	(void)state;
	follow_all();
	fake_console_room = 7;
	say(0, "abc");
	assert_out("one| ab");
	pass(NS_PER_SEC / 2);
	log_info("after it");
	fake_console_room = SIZE_MAX;
	pass(0);
	say(0, "de\n");
	assert_out("one| abcde\numbra: after it\n");
}

/* What a VM said last comes before what Umbra says of its end, and tears no other's line. */
static void test_log_of_end(void **state)
{
	(void)state;
	follow_all();
	say(0, "one:");
	say(1, "last words");
	assert_out("one| one:");
	console_forget(&vm[1]);
	log_info("vm two: stopped");
	console_work();
	say(0, "/# ");
	assert_out("one| one:/# ");
	pass(NS_PER_SEC / 4);
	assert_out("one| one:/# \ntwo| last words\numbra: vm two: stopped\n");
	/* The one whose line is open: nothing more will come of that. */
	forget_output();
	say(2, "half a line");
	pass(NS_PER_SEC / 4);
	say(2, ", and");
	assert_out("three| half a line, and");
	console_forget(&vm[2]);
	log_info("vm three: stopped");
	console_work();
	assert_out("three| half a line, and\numbra: vm three: stopped\n");
	/* The one in front, which restarts; others' lines have not been passed over. */
	forget_output();
	say(0, "bye");
	console_forget(&vm[0]);
	log_info("vm one: restarting");
	console_set_front(&vm[0]);
	console_work();
	assert_out("one| bye\numbra: vm one: restarting\n"
		   "--- all VMs; keys go to one (1, running); Ctrl-] ?: help ---\n");
	log_info("and so on");
	console_work();
	assert_non_null(strstr(fake_console_out, "umbra: and so on\n"));
}

/* Who writes the same line over and over has it for two seconds, then the others have their turn.
 */
static void test_follow_progress_bar(void **state)
{
	unsigned n = 0;

	(void)state;
	console_follow(true);
	console_work();
	say(0, "0%");
	say(1, "patient\n");
	for (; n < 100 && !strstr(fake_console_out, "two| patient"); n++) {
		pass(NS_PER_SEC / 10);
		say(0, "\r0%");
	}
	if (n < 10 || n > 21)
		fail_msg("expected the other's line after 1 to 2.1 s, seen after %u/10 s", n);
}

/* --- VMs on other CPUs --- */

static void say_afar(unsigned n, const char *text)
{
	fake_other_cpu = true;
	say(n, text);
	fake_other_cpu = false;
}

static bool is_kicked(void)
{
	bool was = boot_cpu.work_pending;

	boot_cpu.work_pending = false;
	return was;
}

/* The first CPU shows it, and is kicked for that once, not again while the line has no room; for
 * one that is not seen when it has said much. */
static void test_other_cpu(void **state)
{
	(void)state;
	is_kicked();
	say_afar(0, "a");
	assert_true(is_kicked());
	assert_out("");
	say_afar(0, "bc");
	assert_false(is_kicked());
	console_work();
	assert_out("abc");
	fake_console_room = 0;
	say_afar(0, "d");
	assert_true(is_kicked());
	console_work();
	say_afar(0, "e");
	assert_true(is_kicked());
	console_work();
	assert_false(is_kicked());
	for (unsigned i = 1; i < SAID_AHEAD; i++)
		say_afar(0, "f");
	assert_false(is_kicked());
	fake_other_cpu = true;
	assert_false(console_vm_tx(&vm[0], 'g'));
	fake_other_cpu = false;
	fake_console_room = SIZE_MAX;
	console_work();
	assert_int_equal(fake_console_len, 4 + SAID_AHEAD);
	assert_int_equal(readies[0], 1);
	is_kicked();

	for (unsigned i = 0; i < SAID_BYTES / 2; i++) {
		assert_false(is_kicked());
		say_afar(1, "x");
	}
	assert_true(is_kicked());
	console_work();
	forget_output();
	say_afar(1, "more\n");
	say_afar(2, "last words");
	console_forget(&vm[2]);
	keys("\x1d"
	     "2");
	assert_non_null(strstr(fake_console_out, "xxxmore\n"));
	forget_output();
	keys("\x1d"
	     "3");
	assert_non_null(strstr(fake_console_out, "\nlast words"));
}

/* What a guest has said before Umbra's line is shown before it. */
static void test_log_from_other_cpu(void **state)
{
	(void)state;
	console_show_log(true);
	fake_log_shown = true;
	say_afar(0, "one\ntwo\n");
	log_info("after two");
	say_afar(0, "three\n");
	log_info("after three");
	console_work();
	assert_out("one\ntwo\nthree\numbra: after two\numbra: after three\n");
	/* Not what it says later. */
	forget_output();
	fake_console_room = 1;
	say_afar(0, "x\n");
	console_work();
	say_afar(0, "y\n");
	log_info("after y");
	console_work();
	say_afar(0, "z\n");
	fake_console_room = SIZE_MAX;
	console_work();
	assert_out("x\ny\numbra: after y\nz\n");
	/* Nor what is shown again, for a long time. */
	for (unsigned i = 0; i < 5000; i++)
		say(1, "old line\n");
	fake_console_room = 1000;
	keys("\x1d"
	     "2");
	say_afar(1, "new\n");
	log_info("in time");
	fake_console_room = 100;
	console_work();
	assert_non_null(strstr(fake_console_out, "umbra: in time\nold line\n"));
}

#define TEST(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_switching),
		TEST(test_monitor),
		TEST(test_order_at_the_monitor),
		TEST(test_kept_at_the_monitor),
		TEST(test_slow_line),
		TEST(test_replay_is_safe),
		TEST(test_replay_asks_nothing),
		TEST(test_modes),
		TEST(test_follow_is_plain),
		TEST(test_deaf),
		TEST(test_slow_reader),
		TEST(test_dripping),
		TEST(test_end),
		TEST(test_follow),
		TEST(test_log_waits_for_line),
		TEST(test_log_waits_for_one),
		TEST(test_log_waits_no_longer),
		TEST(test_log_waits_for_slow_line),
		TEST(test_log_of_end),
		TEST(test_follow_progress_bar),
		TEST(test_other_cpu),
		TEST(test_log_from_other_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
