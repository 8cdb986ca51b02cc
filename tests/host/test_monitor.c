/* vmm/monitor: from typed bytes to commands, their words, the prompt and scripts. */
#include "tests/host/monitor_fixture.h"

static void test_wrong_words(void **state)
{
	(void)state;
	expect_wrong("frob", "frob: no such command; help lists them", "");
	expect_wrong("vm", "vm: a word is missing", "\nusage: vm NAME\n");
	expect_wrong("vm alpha beta", "vm: too many words", "\nusage: vm NAME\n");
	expect_wrong("vms/4x", "vms: it takes no /FORMAT", "\nusage: vms\n");
	expect_wrong("vms -- x", "vms: it takes no --", "usage: vms");
	expect_wrong("kill gamma", "kill: no VM has the name or number \"gamma\"", "usage: kill");
	expect_wrong("kill 0", "\"0\"", "usage: kill");
	expect_wrong("kill 3", "\"3\"", "usage: kill");
	expect_wrong("log loud", "log: the level is err, warn, info or debug", "usage: log");
	expect_wrong("start beta memory=1T2", "not a size", "usage: start");
	expect_wrong("start beta nice=1", "unknown token \"nice=1\"", "usage: start");
	expect_wrong("start beta vm=c", "unknown token", "usage: start");
	expect_wrong("start 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "too many words", "usage");
	expect_wrong("vms | sort", "| goes to more", "");
	expect_wrong("wait long", "\"long\" is not a number", "usage: wait SECONDS|idle");
	run("");
	assert_string_equal(said, "");
	run("   \t ");
	assert_string_equal(said, "");
}

/* Every command says how it is used when there are too many words or too few, a VM that there is
 * not, or words that it has no use for. */
static void test_wrong_words_of_all(void **state)
{
	const char *name;

	(void)state;
	for (unsigned i = 0; (name = dispatch_candidate("", 0, i)); i++) {
		char line[256], usage[128], args[96];
		bool of_vm;

		snprintf(line, sizeof(line), "help %s", name);
		run(line);
		assert_int_equal(sscanf(said, "usage: %95[^\n]", args), 1);
		snprintf(usage, sizeof(usage), "\nusage: %s\n", args);
		snprintf(line, sizeof(line), "%s 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", name);
		expect_wrong(line, "too many words", usage);
		snprintf(line, sizeof(line), "%s alpha 1 2 3 4 5 6 7", name);
		if (strcmp(name, "start") != 0)
			expect_wrong(line, "too many words", usage);
		if (!strstr(args, "[/FORMAT]")) {
			snprintf(line, sizeof(line), "%s/zz alpha", name);
			expect_wrong(line, "it takes no /FORMAT", usage);
		}
		if (!strstr(args, "--")) {
			snprintf(line, sizeof(line), "%s -- alpha", name);
			expect_wrong(line, "it takes no --", usage);
		}
		of_vm = strstr(args, " NAME") != NULL;
		if (of_vm)
			expect_wrong(name, "a word is missing", usage);
		for (unsigned words = 1; of_vm && words <= 4; words++) {
			snprintf(line, sizeof(line), "%s nosuch%.*s", name, 2 * (int)(words - 1),
				 " 1 1 1");
			run(line);
			if (!strstr(said, usage))
				fail_msg("%s: expected \"%s\", seen \"%s\"", line, usage, said);
		}
	}
}

/* Tab knows the words that a usage names, wherever they stand. */
static void test_words_to_complete(void **state)
{
	static const struct {
		const char *before, *want;
	} lines[] = {
		{ "trace alpha ", "on off dump " },
		{ "tables alpha ", "guest shadow nested " },
		{ "log ", "err warn info debug " },
		{ "wait ", "idle " },
		{ "trace ", "alpha beta " },
		{ "trace alpha on ", "" },
		{ "mem ", "" },
		{ "x alpha ", "" },
		{ "start alpha ", "" },
		{ "nosuch ", "" },
	};
	const char *word, *first;
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		char all[200] = "";

		for (unsigned k = 0;
		     (word = dispatch_candidate(lines[i].before, strlen(lines[i].before), k));
		     k++) {
			strcat(all, word);
			strcat(all, " ");
		}
		if (strcmp(all, lines[i].want))
			fail_msg("%s: expected \"%s\", seen \"%s\"", lines[i].before, lines[i].want,
				 all);
	}
	/* One stays as it was while the next is asked for. */
	first = dispatch_candidate("trace alpha ", 12, 0);
	dispatch_candidate("trace alpha ", 12, 2);
	assert_string_equal(first, "on");
	/* Kinds of exits, and what else stands there. */
	for (i = 0; (word = dispatch_candidate("exits alpha ", 12, i)); i++)
		assert_string_equal(word,
				    i < EXIT_KINDS ? vm_exit_name((enum vm_exit_kind)i) : "clear");
	assert_int_equal(i, EXIT_KINDS + 1);
}

/* What each wants of its other words. */
static void test_wrong_values(void **state)
{
	static const struct {
		const char *line, *part;
	} wrong[] = {
		{ "console -x", "no VM" },
		{ "wait -1", "not a number" },
		{ "wait 99999999", "at most" },
		{ "log 7", "err, warn, info or debug" },
		{ "exits alpha nothing", "nothing" },
		{ "trace alpha maybe", "maybe" },
		{ "trace alpha dump many", "many" },
		{ "trace alpha on 3", "only dump takes a number" },
		{ "x/4zz alpha 0", "zz" },
		{ "x/0000000000000004gx alpha 0", "a FORMAT has 15 characters at most" },
		{ "x/000000000000gx alpha 0", "COUNT is from 1" },
		{ "x alpha nowhere", "nowhere" },
		{ "dis alpha nowhere", "nowhere" },
		{ "dis alpha 0 0", "COUNT" },
		{ "dis alpha 0 x", "\"x\"" },
		{ "regs alpha.7", "no virtual CPU \"7\"" },
		{ "walk alpha nowhere", "nowhere" },
		{ "tables alpha upside", "upside" },
		{ "paging nobody", "nobody" },
		{ "break alpha nowhere", "nowhere" },
		{ "break/q alpha 0x1000", "/s is all" },
		{ "watch alpha 0x1000 3", "watch: " },
		{ "watch alpha nowhere", "nowhere" },
		{ "watch/q alpha 0x1000", "/w is for writes" },
		{ "step alpha many", "many" },
		{ "step alpha 0", "1 to " },
		{ "gdb nobody", "nobody" },
		{ "gdb off off", "\"off\"" },
		{ "delete alpha 5", "no point 5" },
		{ "delete alpha x", "not a number" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		expect_wrong(wrong[i].line, wrong[i].part, "\nusage: ");
}

static void test_long_words(void **state)
{
	char line[600];

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	expect_said(line, "no such command");
	memcpy(line, "vm ", 3);
	expect_said(line, "no VM has the name");
	memcpy(line, "x/4", 3);
	run(line);
	memset(line, '/', sizeof(line) - 1);
	run(line);
	memset(line, '|', sizeof(line) - 1);
	run(line);
}

static void test_help(void **state)
{
	(void)state;
	run("help");
	for (const char *p = said, *end; *p; p = end + 1) {
		end = strchr(p, '\n');
		assert_non_null(end);
		if (end - p > 80)
			fail_msg("expected 80 columns: %.*s", (int)(end - p), p);
	}
	assert_non_null(strstr(said, "\nVirtual machines\n"));
	assert_non_null(strstr(said, "\n  vm NAME "));
	expect_said("? vm", "usage: vm NAME\n");
	assert_non_null(strstr(said, "\nexample: vm "));
	expect_wrong("help frob", "no such command", "usage: help [COMMAND]");
}

/* Each command has what help shows, in its width. */
static void test_descriptions(void **state)
{
	const char *name;
	char line[80];

	(void)state;
	for (unsigned i = 0; (name = dispatch_candidate("", 0, i)); i++) {
		snprintf(line, sizeof(line), "help %s", name);
		run(line);
		/* A /FORMAT is explained. */
		assert_int_equal(!strstr(said, "[/FORMAT]"), !strstr(said, "\n  FORMAT: "));
		assert_non_null(strstr(said, "example: "));
		/* The example is one of it. */
		assert_int_equal(strncmp(strstr(said, "example: ") + 9, name, strlen(name)), 0);
		for (const char *p = said; *p; p = strchr(p, '\n') + 1)
			assert_true(strchr(p, '\n') - p <= 80);
	}
}

static struct monitor_args args_of(const char *word)
{
	return (struct monitor_args){ .format = "", .count = 1, .word = { word } };
}

static void test_numbers(void **state)
{
	static const struct {
		const char *word;
		uint64_t val;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "0x1000", 0x1000 },
		{ "4K", 4096 },
		{ "0x10k", 0x4000 },
		{ "2M", 2 << 20 },
		{ "1G", 1 << 30 },
		{ "18446744073709551615", UINT64_MAX },
		{ "ffffffff81000000", 0xffffffff81000000 },
		{ "c1000000", 0xc1000000 },
	};
	static const char *const bad[] = {
		"",    "x",  "0x", "-1", "1.5", "18446744073709551616", "abc", "fffffffff81000000",
		"1KK", "0xg"
	};
	struct monitor_args args;
	uint64_t val;

	(void)state;
	run(""); /* no command is being carried out */
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		args = args_of(good[i].word);
		val = 1;
		if (!monitor_number(&args, 0, &val) || val != good[i].val)
			fail_msg("%s: seen 0x%llx", good[i].word, (unsigned long long)val);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		args = args_of(bad[i]);
		if (monitor_number(&args, 0, &val))
			fail_msg("expected \"%s\" to be refused", bad[i]);
	}
	assert_false(monitor_number(&args, 1, &val));
}

static void test_names(void **state)
{
	struct monitor_args args = args_of("alpha.0");

	(void)state;
	run("");
	assert_ptr_equal(monitor_vcpu(&args, 0), &fake_vcpu);
	args = args_of("1");
	assert_ptr_equal(monitor_vcpu(&args, 0), &fake_vcpu);
	assert_ptr_equal(monitor_vm(&args, 0), &fake_vm);
	args = args_of("alpha");
	assert_ptr_equal(monitor_vcpu(&args, 0), &fake_vcpu);
	/* A name that is a number is a name. */
	strcpy(cfg[0].name, "2");
	args = args_of("2");
	assert_ptr_equal(monitor_vm(&args, 0), &fake_vm);
	args = args_of("beta");
	assert_ptr_equal(monitor_vm(&args, 0), &second);
	assert_null(monitor_vcpu(&args, 0)); /* it has none now */
	static const char *const bad[] = { "2.1", "2.", "2.x", ".0", "", "99999999999", "al" };
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		args = args_of(bad[i]);
		if (monitor_vcpu(&args, 0))
			fail_msg("expected \"%s\" to be refused", bad[i]);
	}
}

/* More than the buffer holds is counted. */
static void test_overflow(void **state)
{
	char text[1001];

	(void)state;
	run("");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	text[sizeof(text) - 2] = '\n';
	for (unsigned i = 0; i < 1000; i++)
		monitor_printf("%s", text);
	assert_true(strlen(said) > 200000);
	assert_true(strlen(said) < 800000);
	/* The next line's output is whole again. */
	expect_said("vms", "alpha");
}

/* --- the prompt --- */

/* What has been shown since the last time, less carriage returns. */
static const char *shown(void)
{
	static char text[sizeof(fake_console_out)];
	size_t n = 0;

	console_work();
	for (size_t i = 0; i < fake_console_len; i++)
		if (fake_console_out[i] != '\r')
			text[n++] = fake_console_out[i];
	text[n] = '\0';
	fake_console_len = 0;
	return text;
}

static void type(const char *keys)
{
	for (; *keys; keys++)
		monitor_input((uint8_t)*keys);
}

static void test_prompt(void **state)
{
	(void)state;
	monitor_enter();
	assert_string_equal(shown(), "umbra> ");
	type("upt\t\r\n");
	assert_string_equal(shown(), "uptime \nup 0 days 00:00:00\numbra> ");
	/* Every Enter is one line, and the second byte of CR LF none. */
	type("\r\n\r\n\n\r");
	assert_string_equal(shown(), "\numbra> \numbra> \numbra> \numbra> ");
	type("vms | grep al\x03");
	assert_string_equal(shown(), "vms | grep al^C\numbra> ");
	type("x");
	shown();
	monitor_enter(); /* something else was written */
	assert_non_null(strstr(shown(), "umbra> x"));
	type("\x15");
	shown();
}

/* Whoever comes back from a VM finds an empty line, not what was entered before he went. */
static void test_away_and_back(void **state)
{
	(void)state;
	takes_front = true;
	type("start beta\r");
	takes_front = false;
	assert_ptr_equal(console_front(), &fake_vm);
	shown();
	console_set_front(NULL);
	monitor_enter();
	const char *text = shown();
	assert_string_equal(strrchr(text, '\n'), "\numbra> ");
	type("uptime\r");
	assert_non_null(strstr(shown(), "uptime\nup 0 days"));
}

static void test_completion(void **state)
{
	(void)state;
	type("kill be\t");
	assert_string_equal(shown(), "kill beta ");
	type("\x15he\tki\t");
	assert_non_null(strstr(shown(), "help kill "));
	type("\x15vms | gr\t");
	assert_non_null(strstr(shown(), "vms | grep "));
	type("\x15vms \t");
	assert_null(strstr(shown(), "alpha"));
	type("\x15vm alpha \t");
	assert_null(strstr(shown(), "beta"));
	type("\x15");
	shown();
	assert_string_equal(asked, "");
}

static void test_paging(void **state)
{
	(void)state;
	type("help\r");
	assert_non_null(strstr(shown(), "--more-- "));
	type("q");
	assert_non_null(strstr(shown(), "umbra> "));
	type("help | cat\r");
	assert_null(strstr(shown(), "--more--"));
	type("help\rquptime\r");
	assert_non_null(strstr(shown(), "up 0 days"));
}

/* A line with little room: nothing is lost, and nothing waits in a command. */
static void test_slow_line(void **state)
{
	static char all[65536], help[16384];

	(void)state;
	run("help");
	snprintf(help, sizeof(help), "%s", said);
	fake_console_room = 300;
	type("help | cat\ruptime\r");
	all[0] = '\0';
	for (unsigned i = 0; i < 1000 && !strstr(all, "up 0 days"); i++) {
		strcat(all, shown());
		fake_console_room = 300;
		monitor_work();
	}
	strcat(all, shown());
	assert_non_null(strstr(all, help));
	assert_non_null(strstr(all, "up 0 days 00:00:00\numbra> "));
	/* ^C ends it. */
	fake_console_room = 300;
	type("help | cat\r");
	shown();
	fake_console_room = sizeof(fake_console_out);
	type("\x03");
	assert_non_null(strstr(shown(), "^C\numbra> "));
	type("uptime\r");
	assert_string_equal(shown(), "uptime\nup 0 days 00:00:00\numbra> ");
}

/* Has it looked at all that was typed? If not, since when is it at the command that keeps it? */
static void test_behind(void **state)
{
	uint64_t begun;

	(void)state;
	assert_int_equal(monitor_behind(), 0);
	fake_clock_advance(SECOND);
	begun = clock_ns();
	type("wait 5\r");
	assert_int_equal(monitor_behind(), 0);
	fake_clock_advance(SECOND);
	type("wait 3\r");
	assert_int_equal(monitor_behind(), begun);
	fake_clock_advance(4 * SECOND);
	monitor_work();
	assert_int_equal(monitor_behind(), 0); /* the next one is being done */
	type("upt");
	assert_int_equal(monitor_behind(), begun + 5 * SECOND);
	type("\x03"); /* it forgets what was typed */
	assert_int_equal(monitor_behind(), 0);
	shown();
}

/* Pasted, and the line is slow: each command is done before the Ctrl-] behind it. */
static void test_paste(void **state)
{
	static const struct console_operator operator= { .enter = monitor_enter,
							 .input = monitor_input,
							 .behind = monitor_behind };

	(void)state;
	fake_clock_advance(SECOND);
	console_set_operator(&operator);
	fake_console_room = 300;
	asked[0] = '\0';
	fake_console_type("help | cat\rpause alpha\r\x1d"
			  "1");
	for (unsigned i = 0; i < 1000 && !console_front(); i++) {
		shown();
		monitor_work();
		if (strstr(asked, "pause"))
			continue;
		assert_null(console_front());
		fake_console_room = 300;
	}
	assert_ptr_equal(console_front(), &fake_vm);
	assert_string_equal(asked, "pause alpha 16 0;");
	fake_console_type("");
	fake_console_room = sizeof(fake_console_out);
	shown();
	console_set_front(NULL);
	shown();
}

/* --- scripts and waiting --- */

static void test_wait(void **state)
{
	(void)state;
	type("wait 5\ruptime\r");
	assert_string_equal(shown(), "wait 5\n");
	fake_clock_advance(4 * SECOND);
	monitor_work();
	assert_string_equal(shown(), "");
	fake_clock_advance(SECOND);
	monitor_work();
	assert_string_equal(shown(), "umbra> uptime\nup 0 days 00:00:05\numbra> ");
	type("wait 5\r");
	shown();
	type("\x03");
	assert_string_equal(shown(), "^C\numbra> ");
	fake_clock_advance(10 * SECOND);
	monitor_work();
	assert_string_equal(shown(), "");
	type("wait idle\r");
	assert_string_equal(shown(), "wait idle\n");
	fake_vm.state = VM_STOPPED;
	assert_false(monitor_idle());
	monitor_work();
	assert_string_equal(shown(), "umbra> ");
	type("wait idle\r"); /* it is so already */
	assert_string_equal(shown(), "wait idle\numbra> ");
}

static void test_script(void **state)
{
	(void)state;
	console_set_front(&fake_vm);
	shown();
	monitor_script("uptime; kill beta;;bad;wait 2; wait idle;uptime | grep up ");
	assert_true(monitor_idle());
	assert_false(monitor_work());
	const char *text = shown();
	assert_non_null(strstr(text, "umbra> uptime\nup 0 days 00:00:00\n"));
	assert_non_null(strstr(text, "umbra> kill beta\nbeta is not started: nothing done\n"));
	assert_non_null(strstr(text, "umbra> bad\nbad: no such command; help lists them\n"));
	assert_non_null(strstr(text, "umbra> wait 2\n"));
	/* While it waits, the console is whose it was. */
	assert_ptr_equal(console_front(), &fake_vm);
	fake_clock_advance(2 * SECOND);
	assert_false(monitor_work());
	assert_non_null(strstr(shown(), "umbra> wait idle\n"));
	fake_vm.state = VM_STOPPED;
	assert_true(monitor_idle());
	assert_true(monitor_work()); /* that was the end */
	/* The VM has ended: the operator stays. */
	assert_non_null(strstr(shown(), "umbra> uptime | grep up \nup 0 days 00:00:02\numbra> "));
	assert_null(console_front());
	assert_false(monitor_idle());
	assert_false(monitor_work());
	monitor_script("");
	assert_false(monitor_idle());
}

/* The operator is not locked out by a script that waits. */
static void test_script_broken_off(void **state)
{
	(void)state;
	monitor_script("wait idle; poweroff");
	assert_false(monitor_work());
	shown();
	type("uptime\r");
	assert_string_equal(shown(), "");
	type("\x03uptime\r");
	assert_non_null(strstr(shown(), "^C\numbra> uptime\nup "));
	assert_false(monitor_idle());
	fake_vm.state = VM_STOPPED;
	assert_false(monitor_work());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_wrong_words, setup),
		cmocka_unit_test_setup(test_wrong_words_of_all, setup),
		cmocka_unit_test_setup(test_wrong_values, setup),
		cmocka_unit_test_setup(test_words_to_complete, setup),
		cmocka_unit_test_setup(test_long_words, setup),
		cmocka_unit_test_setup(test_help, setup),
		cmocka_unit_test_setup(test_descriptions, setup),
		cmocka_unit_test_setup(test_numbers, setup),
		cmocka_unit_test_setup(test_names, setup),
		cmocka_unit_test_setup(test_overflow, setup),
		cmocka_unit_test_setup(test_prompt, setup),
		cmocka_unit_test_setup(test_away_and_back, setup),
		cmocka_unit_test_setup(test_completion, setup),
		cmocka_unit_test_setup(test_paging, setup),
		cmocka_unit_test_setup(test_slow_line, setup),
		cmocka_unit_test_setup(test_behind, setup),
		cmocka_unit_test_setup(test_paste, setup),
		cmocka_unit_test_setup(test_wait, setup),
		cmocka_unit_test_setup(test_script, setup),
		cmocka_unit_test_setup(test_script_broken_off, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
