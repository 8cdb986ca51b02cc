/* Debugging guests: points, steps, going on. */
#include "vmm/debug.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/gdb/gdb.h"
#include "vmm/monitor/command.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define STEPS_MAX 1000

typedef unsigned long long ull;

static const char *kind_name(enum debug_kind kind)
{
	static const char *const names[] = {
		[DEBUG_EXEC] = "break",
		[DEBUG_EXEC_INT3] = "break/s",
		[DEBUG_WRITE] = "watch",
		[DEBUG_ACCESS] = "watch/r",
	};

	return names[kind];
}

static void print_point(const struct vm *vm, unsigned i)
{
	const struct debug_point *p = debug_point(vm, i);

	monitor_printf("%3u  %-8s 0x%016llx  %u\n", i + 1, kind_name(p->kind), (ull)p->at.v,
		       p->size);
}

static unsigned count_points(const struct vm *vm)
{
	unsigned n = 0;

	while (debug_point(vm, n))
		n++;
	return n;
}

static bool set_point(struct vm *vm, const struct debug_point *point)
{
	switch (debug_set_point(vm, point)) {
	case 0:
		print_point(vm, count_points(vm) - 1);
		return true;
	case -EINVAL:
		return monitor_wrong("a size is 1, 2, 4 or 8, and the address a multiple of it");
	case -EEXIST:
		monitor_printf("there is such a point already\n");
		return true;
	case -EFAULT:
		monitor_printf("no memory is mapped at 0x%llx now\n", (ull)point->at.v);
		return true;
	default:
		monitor_printf("no room: %u debug registers, %u points in all\n",
			       DEBUG_HARDWARE_POINTS, DEBUG_POINTS_MAX);
		return true;
	}
}

static bool cmd_break(const struct monitor_args *args)
{
	struct debug_point point = { .kind = DEBUG_EXEC, .size = 1 };
	struct vm *vm = monitor_vm(args, 0);

	if (!vm || !monitor_number(args, 1, &point.at.v))
		return false;
	if (!strcmp(args->format, "s"))
		point.kind = DEBUG_EXEC_INT3;
	else if (args->format[0])
		return monitor_wrong("/s is all that break can have: by an INT3 in memory");
	return set_point(vm, &point);
}

static bool cmd_watch(const struct monitor_args *args)
{
	struct debug_point point = { .kind = DEBUG_WRITE };
	struct vm *vm = monitor_vm(args, 0);
	uint64_t size = 4;

	if (!vm || !monitor_number(args, 1, &point.at.v))
		return false;
	if (args->count > 2 && !monitor_number(args, 2, &size))
		return false;
	if (!strcmp(args->format, "r"))
		point.kind = DEBUG_ACCESS;
	else if (args->format[0] && strcmp(args->format, "w") != 0)
		return monitor_wrong("/w is for writes, /r for reads and writes");
	point.size = size <= 8 ? (unsigned)size : 0;
	return set_point(vm, &point);
}

static bool cmd_points(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);
	unsigned n;

	if (!vm)
		return false;
	n = count_points(vm);
	for (unsigned i = 0; i < n; i++)
		print_point(vm, i);
	if (!n)
		monitor_printf("none\n");
	return true;
}

static bool cmd_delete(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);
	struct debug_point point;
	uint64_t n;

	if (!vm || !monitor_number(args, 1, &n))
		return false;
	if (!n || n > count_points(vm))
		return monitor_wrong("no point %llu, see points", (ull)n);
	point = *debug_point(vm, (unsigned)n - 1);
	debug_clear_point(vm, &point);
	return true;
}

/* --- going on --- */

static unsigned steps_left[VM_MAX];

/* Of several steps the last one is told of. */
static void stepped(struct vm *vm, const struct debug_stop *stop)
{
	unsigned *left = &steps_left[vm->id];

	if (stop->reason == DEBUG_STEPPED && --*left && !debug_step(stop->vcpu))
		return;
	*left = 0;
	debug_set_listener(vm, NULL);
	debug_say_stop(vm, stop);
}

static bool is_paused(const struct vm *vm)
{
	if (vm->state != VM_PAUSED)
		monitor_printf("%s is not paused\n", vm->cfg->name);
	return vm->state == VM_PAUSED;
}

static bool cmd_step(const struct monitor_args *args)
{
	struct vcpu *vcpu = monitor_vcpu(args, 0);
	uint64_t count = 1;

	if (!vcpu || (args->count > 1 && !monitor_number(args, 1, &count)))
		return false;
	if (!count || count > STEPS_MAX)
		return monitor_wrong("1 to %u steps", STEPS_MAX);
	if (!is_paused(vcpu->vm))
		return true;
	if (count > 1 && debug_has_listener(vcpu->vm)) {
		monitor_printf("a debugger is attached: one step at a time\n");
		return true;
	}
	if (count > 1) {
		steps_left[vcpu->vm->id] = (unsigned)count;
		debug_set_listener(vcpu->vm, stepped);
	}
	debug_step(vcpu);
	return true;
}

static bool cmd_cont(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);

	if (!vm)
		return false;
	if (is_paused(vm))
		debug_continue(vm);
	return true;
}

/* --- GDB --- */

static void say_gdb(void)
{
	const char *line = gdb_line();
	bool attached = false;
	const struct vm *vm;

	if (!line) {
		monitor_printf("gdb has no line\n");
		return;
	}
	for (unsigned i = 0; (vm = vmm_vm(i)); i++) {
		if (!gdb_is_attached(vm))
			continue;
		monitor_printf("%s %s", attached ? "," : "gdb debugs", vm->cfg->name);
		attached = true;
	}
	if (attached)
		monitor_printf(" on %s\n", line);
	else if (gdb_vm())
		monitor_printf("gdb debugs %s once it attaches, on %s\n", gdb_vm()->cfg->name,
			       line);
	else
		monitor_printf("gdb debugs no guest; %s is kept for a panic\n", line);
}

static bool cmd_gdb(const struct monitor_args *args)
{
	const char *why;
	struct vm *vm;

	if (args->count == 1 && !strcmp(args->word[0], "off")) {
		gdb_off();
	} else if (args->count == 1 && !strcmp(args->word[0], "close")) {
		why = gdb_close();
		if (why)
			return monitor_wrong("%s", why);
	} else if (args->count) {
		vm = monitor_vm(args, 0);
		if (!vm)
			return false;
		why = gdb_attach(vm, args->count > 1 ? args->word[1] : "");
		if (why)
			return monitor_wrong("%s", why);
	}
	say_gdb();
	return true;
}

static const struct monitor_command commands[] = {
	{
		.name = "break",
		.args = "NAME ADDR",
		.help = "stop the guest before this instruction",
		.example = "break deb64 0xffffffff81000000",
		.words_min = 2,
		.words_max = 2,
		.word = { WORD_VM },
		.format = "s: by an INT3 in memory, for more than four",
		.run = cmd_break,
	},
	{
		.name = "watch",
		.args = "NAME ADDR [SIZE]",
		.help = "stop it after a write there; /r: a read too",
		.example = "watch/r deb64 0xffffffff82c00000 8",
		.words_min = 2,
		.words_max = 3,
		.word = { WORD_VM },
		.format = "w: writes, as without it; r: reads and writes",
		.run = cmd_watch,
	},
	{
		.name = "points",
		.args = "NAME",
		.help = "the points that are set",
		.example = "points deb64",
		.words_min = 1,
		.words_max = 1,
		.word = { WORD_VM },
		.run = cmd_points,
	},
	{
		.name = "delete",
		.args = "NAME N",
		.help = "take a point away",
		.example = "delete deb64 1",
		.words_min = 2,
		.words_max = 2,
		.word = { WORD_VM },
		.run = cmd_delete,
	},
	{
		.name = "step",
		.args = "NAME [COUNT]",
		.help = "run instructions of a paused guest",
		.example = "step deb64 10",
		.words_min = 1,
		.words_max = 2,
		.word = { WORD_VM },
		.run = cmd_step,
	},
	{
		.name = "cont",
		.args = "NAME",
		.help = "let a paused guest go on",
		.example = "cont deb64",
		.words_min = 1,
		.words_max = 1,
		.word = { WORD_VM },
		.run = cmd_cont,
	},
	{
		.name = "gdb",
		.args = "[NAME [LINE] | off | close]",
		.help = "let gdb on a serial line debug a guest",
		.example = "gdb deb64 com2",
		.words_max = 2,
		.word = { WORD_VM },
		.run = cmd_gdb,
	},
};

const struct monitor_family monitor_debug_family = {
	.title = "Debugging",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
