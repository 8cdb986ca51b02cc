#include "vmm/monitor/monitor.h"

#include <stddef.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/ring.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/timer.h"
#include "vmm/console.h"
#include "vmm/monitor/dispatch.h"
#include "vmm/monitor/line.h"
#include "vmm/monitor/pager.h"
#include "vmm/run.h"
#include "vmm/vm.h"

#define CTRL_C 0x03
#define ROOM_WORTH_WRITING 256

static const char prompt[] = "umbra> ";

enum state {
	PROMPT, /* the line is being typed */
	OUTPUT, /* of a command, while there is room */
	PAGING, /* of a command, by the screen */
	WAIT,   /* a command's, for a time or for all VMs to stop */
};

static enum state state;
static struct line line;
static struct pager pager;
static const char *left; /* OUTPUT: what has not been written yet */
static size_t left_len;
static struct dispatch_wait waiting;
static struct timer wake;
static uint64_t begun_ns; /* the last command */

/* Typed, and not yet looked at. */
static uint8_t typed_bytes[1024];
static struct ring typed = RING_INIT(typed_bytes);
static bool after_cr; /* an LF that follows a CR is the same key */

/* What is left of run=, and who had the console before its command; NULL: no script. */
static const char *script;
static struct vm *script_front;
static bool script_has_front;
static size_t room_at_rest; /* of the console for the monitor, when all has been shown */

static bool line_open; /* what was written last was no newline */

static void put(const char *s, size_t n)
{
	if (!n)
		return;
	console_monitor_write(s, n);
	line_open = s[n - 1] != '\n';
}

static const struct line_host line_host = { put, dispatch_candidate };

static void set_up(void)
{
	if (!line.host)
		line_init(&line, &line_host, prompt);
}

/* --- a command's output --- */

static void begin_prompt(void)
{
	state = PROMPT;
	line_empty(&line);
	if (!console_front() && !script)
		line_show(&line);
}

static bool has_ended(const struct vm *vm)
{
	return vm->state == VM_STOPPED && !vm->restart.armed;
}

/* Is there one that has not come to its end? */
static bool any_vm(void)
{
	const struct vm *vm;

	for (unsigned i = 0; (vm = vmm_vm(i)); i++)
		if (!has_ended(vm))
			return true;
	return false;
}

static void wake_up(void *ctx)
{
	(void)ctx;
	state = OUTPUT;
}

/* What the command that was carried out asked for: nothing, mostly. */
static void end_output(void)
{
	if (!dispatch_waits(&waiting)) {
		begin_prompt();
		return;
	}
	if (waiting.idle && !any_vm()) {
		begin_prompt();
		return;
	}
	state = WAIT;
	timer_setup(&wake, wake_up, NULL, NULL);
	if (!waiting.idle)
		timer_arm(&wake, clock_ns() + waiting.ns);
}

/* False: there is no room for the rest now, or another one is in front. */
static bool write_output(void)
{
	while (left_len) {
		size_t room = console_front() ? 0 : console_monitor_space(), n;

		if (room < ROOM_WORTH_WRITING)
			return false;
		n = MIN(left_len, room / 2); /* a newline takes two */
		put(left, n);
		left += n;
		left_len -= n;
	}
	return true;
}

static void run_line(const char *text, bool paged)
{
	char *output;
	size_t len;

	paged &= dispatch_line(text, &output, &len);
	left = output;
	left_len = paged ? 0 : len;
	state = OUTPUT;
	begun_ns = clock_ns();
	if (paged && pager_begin(&pager, put, output, len))
		state = PAGING;
}

/* --- run= --- */

void monitor_script(const char *commands)
{
	set_up();
	script = *commands ? commands : NULL;
	room_at_rest = console_monitor_space();
}

/* The next command; false: that was the last. */
static bool script_next(void)
{
	char text[LINE_TEXT_MAX + 1];
	size_t n = 0;

	while (*script == ';' || *script == ' ')
		script++;
	if (!*script)
		return false;
	while (script[n] && script[n] != ';')
		n++;
	memcpy(text, script, MIN(n, (size_t)LINE_TEXT_MAX));
	text[MIN(n, (size_t)LINE_TEXT_MAX)] = '\0';
	script += n;
	if (!script_has_front)
		script_front = console_front();
	script_has_front = true;
	console_set_front(NULL);
	console_monitor_fresh_line();
	put(prompt, sizeof(prompt) - 1);
	put(text, strlen(text));
	put("\n", 1);
	run_line(text, false);
	return true;
}

/* When all that was said is on the line, the console goes back to whom it was taken from, unless a
 * command has given it to another, or that VM has ended meanwhile. False: it is not, yet. */
static bool script_give_back(void)
{
	if (script_has_front && script_front && !console_front() && !has_ended(script_front)) {
		if (console_monitor_space() < room_at_rest)
			return false;
		console_set_front(script_front);
	}
	script_has_front = false;
	return true;
}

/* --- keys --- */

static void key(uint8_t c)
{
	bool second = after_cr && c == '\n';

	after_cr = c == '\r';
	if (second)
		return;
	if (state == PAGING) {
		if (!pager_input(&pager, c))
			state = OUTPUT;
	} else if (line_input(&line, c)) {
		run_line(line.text, true);
	}
}

/* ^C while a command's output is on its way, or it waits: one of a script is the script's last. */
static void break_off(void)
{
	script = NULL;
	script_has_front = false;
	left_len = 0;
	typed.tail = typed.head;
	timer_cancel(&wake);
	if (line_open)
		put("\n", 1);
	put("^C\n", 3);
	begin_prompt();
}

void monitor_enter(void)
{
	set_up();
	if (script || state == OUTPUT || state == WAIT)
		return;
	console_monitor_fresh_line();
	if (state == PAGING)
		pager_show(&pager);
	else
		line_show(&line);
}

void monitor_input(uint8_t c)
{
	set_up();
	if (c == CTRL_C && (state == OUTPUT || state == WAIT))
		break_off();
	else
		ring_put(&typed, c);
	monitor_work();
}

uint64_t monitor_behind(void)
{
	return ring_empty(&typed) ? 0 : begun_ns;
}

bool monitor_work(void)
{
	for (;;) {
		int c;

		if (state == OUTPUT) {
			if (!write_output())
				return false;
			end_output();
		}
		if (state == WAIT) {
			script_give_back();
			return false;
		}
		if (script && state == PROMPT) {
			if (script_next())
				continue;
			if (!script_give_back())
				return false;
			script = NULL;
			begin_prompt();
			return true;
		}
		c = console_front() ? -1 : ring_get(&typed);
		if (c < 0)
			return false;
		key((uint8_t)c);
		if (ring_empty(&typed))
			console_monitor_ready();
	}
}

bool monitor_idle(void)
{
	if (state == WAIT && waiting.idle)
		state = OUTPUT;
	return script;
}
