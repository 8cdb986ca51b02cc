#include "vmm/monitor/monitor.h"

#include <stdbool.h>
#include <stddef.h>

#include "arch/x86_64/console.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/machine.h"
#include "vmm/console.h"
#include "vmm/run.h"
#include "vmm/vm.h"

#define LINE_MAX 80
#define BACKSPACE 0x08
#define DELETE 0x7f
#define CTRL_U 0x15

static char line[LINE_MAX + 1];
static size_t length;
static bool after_cr; /* an LF that follows a CR is the same key */

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	console_write(text, strlen(text));
	console_write("\n", 1);
}

static void prompt(void)
{
	static const char text[] = "umbra> ";

	length = 0;
	console_write(text, sizeof(text) - 1);
}

void monitor_enter(void)
{
	prompt();
}

/* --- commands; arg is "" when none was typed --- */

static void cmd_help(const char *arg);

static const char *state_name(const struct vm *vm)
{
	static const char *const why[] = {
		[VM_STOP_NONE] = "not started",      [VM_STOP_POWEROFF] = "powered off",
		[VM_STOP_RESET] = "reset",           [VM_STOP_TRIPLE] = "triple fault",
		[VM_STOP_DEBUG_EXIT] = "debug-exit", [VM_STOP_ERROR] = "error",
	};

	return vm->state == VM_RUNNING ? "running" : why[vm->stop_reason];
}

static void cmd_vms(const char *arg)
{
	struct vm *vm;

	(void)arg;
	say("%-20s %8s  %s", "NAME", "MIB", "STATE");
	for (unsigned i = 0; (vm = vmm_vm(i)); i++)
		say("%-20s %8llu  %s", vm->cfg->name, (unsigned long long)(vm->cfg->memory >> 20),
		    state_name(vm));
	say("%llu of %llu MiB free", (unsigned long long)(frame_bytes_free() >> 20),
	    (unsigned long long)(frame_bytes_total() >> 20));
}

static void cmd_start(const char *arg)
{
	struct vm *vm;

	for (unsigned i = 0; (vm = vmm_vm(i)); i++) {
		if (strcmp(vm->cfg->name, arg) != 0)
			continue;
		if (vm->state == VM_RUNNING)
			say("start: %s is running", arg);
		else
			vmm_start_vm(vm); /* says itself what is wrong */
		return;
	}
	say("start: wants the name of a VM, see vms");
}

static void cmd_reboot(const char *arg)
{
	(void)arg;
	console_flush();
	machine_reboot();
}

static void cmd_poweroff(const char *arg)
{
	(void)arg;
	console_flush();
	machine_poweroff();
}

static const struct {
	const char *name, *args, *help;
	void (*run)(const char *arg);
} commands[] = {
	{ "help", "", "this list", cmd_help },
	{ "vms", "", "the virtual machines and free memory", cmd_vms },
	{ "start", "NAME", "start a stopped VM anew", cmd_start },
	{ "reboot", "", "restart this machine", cmd_reboot },
	{ "poweroff", "", "turn this machine off", cmd_poweroff },
};

static void cmd_help(const char *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		say("%-9s %-5s %s", commands[i].name, commands[i].args, commands[i].help);
}

/* --- the line --- */

/* Cut text at its first blank; returns what follows the blanks. */
static char *split(char *text)
{
	while (*text && *text != ' ')
		text++;
	if (*text)
		*text++ = '\0';
	while (*text == ' ')
		text++;
	return text;
}

static void run_line(void)
{
	char *name = line, *arg;

	line[length] = '\0';
	while (*name == ' ')
		name++;
	if (!*name)
		return;
	arg = split(name);
	split(arg);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0) {
			commands[i].run(arg);
			return;
		}
	}
	say("%s: no such command; help lists them", name);
}

static void erase(size_t count)
{
	for (; count && length; count--) {
		length--;
		console_write("\b \b", 3);
	}
}

void monitor_input(uint8_t c)
{
	bool second = after_cr && c == '\n';

	after_cr = c == '\r';
	if (second)
		return;
	if (c == '\r' || c == '\n') {
		console_write("\n", 1);
		run_line();
		if (!console_front())
			prompt();
	} else if (c == BACKSPACE || c == DELETE) {
		erase(1);
	} else if (c == CTRL_U) {
		erase(length);
	} else if (c >= ' ' && c < DELETE && length < LINE_MAX) {
		line[length++] = (char)c;
		console_write((const char *)&c, 1);
	}
}
