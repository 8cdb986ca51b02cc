/* Commands on virtual machines: what there are, and what they are to do. */
#include "vmm/vm.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "vmm/config.h"
#include "vmm/console.h"
#include "vmm/monitor/command.h"
#include "vmm/monitor/line.h"
#include "vmm/run.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm_tables.h"

/* What output has on a line, and where a text begins that takes several. */
#define WIDTH 80
#define INDENT 13

/* What `start NAME KEY=VALUE` makes of a VM's line: one that the VM has now, and one to be tried.
 */
struct changed {
	struct vm_config cfg;
	char cmdline[LINE_TEXT_MAX + 1];
};
static struct {
	const struct vm_config *line; /* NULL: it never had another */
	struct changed changed[2];
} lines[VM_MAX];

static bool is_changed(const struct vm *vm)
{
	return lines[vm->id].line && vm->cfg != lines[vm->id].line;
}

/* --- what there is --- */

static bool is_starting(const struct vm *vm)
{
	return vm->state != VM_STOPPED && vm->vcpu[0]->state == VCPU_STARTING;
}

static const char *state_name(const struct vm *vm)
{
	static const char *const why[] = {
		[VM_STOP_NONE] = "not started",      [VM_STOP_POWEROFF] = "powered off",
		[VM_STOP_RESET] = "reset",           [VM_STOP_TRIPLE] = "triple fault",
		[VM_STOP_DEBUG_EXIT] = "debug-exit", [VM_STOP_ERROR] = "error",
		[VM_STOP_KILLED] = "killed",
	};

	if (vm->restart.armed)
		return "restarting";
	switch (vm->state) {
	case VM_RUNNING:
		return is_starting(vm) ? "starting" : "running";
	case VM_PAUSED:
		return "paused";
	case VM_STOPPED:
		return why[vm->stop_reason];
	}
	return "?";
}

static const char *paging_name(const struct vm *vm)
{
	return vm_paging_mode(vm->cfg, vm->backend) == PAGING_SHADOW ? "shadow" : "nested";
}

/* H:MM:SS.m since its last start; "-" when it does not run. */
static const char *uptime(const struct vm *vm, char *buf, size_t size)
{
	uint64_t ms = (clock_ns() - vm->start_ns) / 1000000, s = ms / 1000;

	if (vm->state == VM_STOPPED)
		return "-";
	ksnprintf(buf, size, "%llu:%02llu:%02llu.%llu", (unsigned long long)(s / 3600),
		  (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60),
		  (unsigned long long)(ms / 100 % 10));
	return buf;
}

static bool cmd_vms(const struct monitor_args *args)
{
	struct vm *vm;
	char up[32];

	(void)args;
	monitor_printf(" # %-20s %-12s %7s %4s %-6s %11s %10s\n", "NAME", "STATE", "MEMORY", "CPUS",
		       "PAGING", "UPTIME", "EXITS");
	for (unsigned i = 0; (vm = vmm_vm(i)); i++) {
		monitor_printf("%2u%c", i + 1, vm == console_front() ? '*' : ' ');
		monitor_name(3, 20, vm->cfg->name);
		monitor_printf(" %-12s %6lluM %4u %-6s %11s %10llu\n", state_name(vm),
			       (unsigned long long)(vm->cfg->memory >> 20), vm->cfg->vcpus,
			       paging_name(vm), uptime(vm, up, sizeof(up)),
			       (unsigned long long)vm_exit_count(vm));
	}
	return true;
}

/* A text behind its name, on as many lines as it takes, broken at blanks where there are any. */
static void show_text(const char *what, const char *text)
{
	size_t room = WIDTH - INDENT, n;

	do {
		n = strlen(text);
		if (n > room) {
			n = room;
			while (n && text[n] != ' ')
				n--;
			n = n ? n : room;
		}
		monitor_printf("  %-10s %.*s\n", what, (int)n, text);
		text += n;
		text += *text == ' ';
		what = "";
	} while (*text);
}

static void show_file(const char *what, const struct boot_module *file)
{
	char text[LINE_TEXT_MAX + 64];

	ksnprintf(text, sizeof(text), "%llu KiB at 0x%llx: %s",
		  (unsigned long long)((file->size + 1023) >> 10),
		  (unsigned long long)file->start.v, file->cmdline ? file->cmdline : "");
	show_text(what, text);
}

/* cpus= as it may be written: 0,2-3. */
static void print_cpus(char *text, size_t size, const struct cpu_set *cpus)
{
	const char *before = " cpus=";
	size_t n = 0;

	for (unsigned first = 0; first < CPU_MAX && n < size; first++) {
		unsigned last = first;

		if (!cpu_set_has(cpus, first))
			continue;
		while (last < CPU_MAX - 1 && cpu_set_has(cpus, last + 1))
			last++;
		n += (size_t)ksnprintf(text + n, size - n, "%s%u", before, first);
		if (last > first && n < size)
			n += (size_t)ksnprintf(text + n, size - n, "-%u", last);
		before = ",";
		first = last;
	}
}

/* What the processors and the machine's ports are to it. */
static void show_shares(const struct vm_config *cfg)
{
	char cpus[5 * CPU_MAX / 2] = "", text[sizeof(cpus) + 128];

	print_cpus(cpus, sizeof(cpus), &cfg->cpus);
	ksnprintf(text, sizeof(text), "weight=%u%s apic=%s%s%s%s%s",
		  cfg->weight ? cfg->weight : SCHED_WEIGHT_DEFAULT, cpus, cfg->apic ? "on" : "off",
		  cfg->pv == PV_KVM ? " pv=kvm" : "", *cfg->com2 ? " com2=phys:" : "", cfg->com2,
		  cfg->paused ? " paused" : "");
	show_text("", text);
}

static void show_config(const struct vm_config *cfg, bool changed)
{
	static const char *const paging[] = {
		[PAGING_AUTO] = "auto", [PAGING_NESTED] = "nested", [PAGING_SHADOW] = "shadow"
	};

	char text[256];

	ksnprintf(text, sizeof(text), "memory=%lluM vcpus=%u paging=%s on-reset=%s on-crash=%s%s%s",
		  (unsigned long long)(cfg->memory >> 20), cfg->vcpus, paging[cfg->paging],
		  cfg->on_reset == ON_RESET_RESTART ? "restart" : "stop",
		  cfg->on_crash == ON_CRASH_RESTART ? "restart" : "stop",
		  cfg->debug_exit ? " debug-exit" : "", cfg->stats ? " stats" : "");
	show_text("line", text);
	show_shares(cfg);
	if (changed)
		monitor_printf("  %-10s as start was told: without words, GRUB's line again\n", "");
	if (cfg->shadow || cfg->audit)
		monitor_printf("  %-10s shadow=%lluK audit=%llu\n", "",
			       (unsigned long long)(cfg->shadow >> 10),
			       (unsigned long long)cfg->audit);
	show_text("command", *cfg->cmdline ? cfg->cmdline : "-");
	show_file("kernel", cfg->kernel);
	if (cfg->initrd)
		show_file("initrd", cfg->initrd);
	for (unsigned i = 0; i < cfg->nr_modules; i++)
		show_file("module", cfg->module[i].file);
	for (unsigned i = 0; i < cfg->nr_disks; i++)
		show_file("disk", cfg->disk[i].file);
}

/* How long each of its virtual CPUs has had a processor. */
static void show_ran(const struct vm *vm)
{
	static char text[VM_MAX_VCPUS * 24 + 8];
	size_t n = 0;

	for (unsigned i = 0; i < vm->nr_vcpus && n < sizeof(text); i++) {
		uint64_t ms = mul_div64(vm->vcpu[i]->sched.ran, 1000, clock_tsc_hz());

		n += (size_t)ksnprintf(text + n, sizeof(text) - n, "%s%llu", i ? " " : "",
				       (unsigned long long)ms);
	}
	if (n < sizeof(text))
		ksnprintf(text + n, sizeof(text) - n, " ms");
	if (n)
		show_text("ran", text);
}

static void show_exits(const struct vm *vm)
{
	const struct exit_stats *s = vm_exits(vm);
	static char text[EXIT_KINDS * 40 + 32];
	const char *between = ": ";
	size_t n;

	n = (size_t)ksnprintf(text, sizeof(text), "%llu", (unsigned long long)vm_exit_count(vm));
	for (unsigned kind = 0; kind < EXIT_KINDS && n < sizeof(text); kind++) {
		if (!s->count[kind])
			continue;
		n += (size_t)ksnprintf(text + n, sizeof(text) - n, "%s%s %llu", between,
				       vm_exit_name((enum vm_exit_kind)kind),
				       (unsigned long long)s->count[kind]);
		between = ", ";
	}
	show_text("exits", text);
}

static bool cmd_vm(const struct monitor_args *args)
{
	const struct vm *vm = monitor_vm(args, 0);
	char up[32];

	if (!vm)
		return false;
	monitor_printf("%s: %s%s\n", vm->cfg->name, state_name(vm),
		       vm == console_front() ? ", in front" : "");
	if (is_starting(vm))
		monitor_printf("  %-10s %s\n", "starts for", uptime(vm, up, sizeof(up)));
	else if (vm->state != VM_STOPPED)
		monitor_printf("  %-10s %s, started in %llu ms\n", "up for",
			       uptime(vm, up, sizeof(up)),
			       (unsigned long long)(vm->start_cost_ns / 1000000));
	else if (vm->stop_reason == VM_STOP_DEBUG_EXIT)
		monitor_printf("  %-10s debug-exit status %d\n", "stopped", vm->stop_status);
	else if (vm->stop_reason != VM_STOP_NONE && vm->stop_text[0])
		monitor_printf("  %-10s %s\n", "stopped", vm->stop_text);
	monitor_printf("  %-10s %llu KiB of its own, %s paging\n", "memory",
		       (unsigned long long)(frame_bytes_owned(FRAME_VM0 + vm->id) >> 10),
		       paging_name(vm));
	show_config(vm->cfg, is_changed(vm));
	show_ran(vm);
	show_exits(vm);
	if (vm->state == VM_STOPPED && vm->nr_vcpus)
		monitor_printf("It crashed: its registers and memory can be looked at.\n");
	return true;
}

/* Was it at work when the operator asked? Now it is held. */
static bool has_turn(const struct vcpu *vcpu)
{
	const struct cpu *cpu;

	for (unsigned id = 0; id < CPU_MAX && (cpu = smp_cpu(id)); id++)
		if (vmm_turn(cpu) == vcpu)
			return true;
	return false;
}

static const char *vcpu_state_name(const struct vcpu *vcpu)
{
	switch (vcpu->state) {
	case VCPU_STARTING:
		return "starting";
	case VCPU_RUNNABLE:
		if (vcpu->vm->state == VM_PAUSED)
			return "paused";
		return has_turn(vcpu) ? "running" : "runnable";
	case VCPU_HALTED:
		return "halted";
	case VCPU_STOPPED:
		return "stopped";
	case VCPU_WAIT_SIPI:
		return "offline";
	}
	return "?";
}

/* real, 16, 32 or 64 bits, and the paging that goes with it. */
static const char *mode_name(const struct vcpu *vcpu)
{
	uint64_t cr0 = vcpu_hot_reg(vcpu, REG_CR0), cr4 = vcpu_hot_reg(vcpu, REG_CR4);
	uint64_t efer = vcpu_hot_reg(vcpu, REG_EFER);

	if (!(cr0 & CR0_PE))
		return "real";
	if (!(cr0 & CR0_PG))
		return "unpaged";
	if (efer & EFER_LMA)
		return cr4 & CR4_LA57 ? "5-level" : "4-level";
	return cr4 & CR4_PAE ? "PAE" : "32-bit";
}

static bool cmd_vcpus(const struct monitor_args *args)
{
	const struct vm *only = args->count ? monitor_vm(args, 0) : NULL;
	struct vm *vm;

	if (args->count && !only)
		return false;
	monitor_printf("%-20s %-8s %3s %4s %-7s %-16s %-12s %3s\n", "VCPU", "STATE", "CPL", "BITS",
		       "PAGING", "RIP", "LAST EXIT", "CPU");
	for (unsigned i = 0; (vm = vmm_vm(i)); i++) {
		if (!only || only == vm)
			monitor_hold(vm);
		for (unsigned k = 0; k < vm->nr_vcpus && (!only || only == vm); k++) {
			const struct vcpu *vcpu = vm->vcpu[k];
			char name[VM_NAME_MAX + 8];

			ksnprintf(name, sizeof(name), "%s.%u", vm->cfg->name, vcpu->id);
			monitor_name(0, 20, name);
			monitor_printf(" %-8s %3u %4u %-7s %016llx %-12s %3u\n",
				       vcpu_state_name(vcpu), vcpu_cpl(vcpu),
				       vcpu_code_size(vcpu) * 8, mode_name(vcpu),
				       (unsigned long long)vcpu->regs.rip,
				       vm_exit_name(vcpu->exit.kind), vcpu->last_cpu);
		}
	}
	return true;
}

/* --- what they are to do --- */

/* What the line gives, but for what the words change. NULL: one of them is wrong, and said. */
static const struct vm_config *changed_config(const struct vm *vm, const struct monitor_args *args)
{
	const struct vm_config *line = lines[vm->id].line ? lines[vm->id].line : vm->cfg;
	struct changed *c = &lines[vm->id].changed[vm->cfg == &lines[vm->id].changed[0].cfg];
	char why[160];

	lines[vm->id].line = line;
	if (args->count == 1 && !args->rest)
		return line;
	c->cfg = *line;
	for (unsigned i = 1; i < args->count; i++) {
		if (!config_change(&c->cfg, args->word[i], why, sizeof(why))) {
			monitor_wrong("%s", why);
			return NULL;
		}
	}
	if (args->rest) {
		str_copy(c->cmdline, args->rest, sizeof(c->cmdline));
		c->cfg.cmdline = c->cmdline;
	}
	return &c->cfg;
}

static bool cmd_start(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);
	const struct vm_config *cfg;

	if (!vm)
		return false;
	if (vm->state != VM_STOPPED) {
		monitor_printf("%s is %s\n", vm->cfg->name, state_name(vm));
		return true;
	}
	cfg = changed_config(vm, args);
	if (!cfg)
		return false;
	if (is_changed(vm) && cfg == lines[vm->id].line)
		monitor_printf("%s: by GRUB's line again\n", cfg->name);
	if (vmm_start_vm_as(vm, cfg)) /* which says what is wrong */
		monitor_printf("%s could not be started: log | tail 3 says why\n", cfg->name);
	return true;
}

/* Not in the state for it. */
static bool nothing_done(const struct vm *vm)
{
	monitor_printf("%s is %s: nothing done\n", vm->cfg->name, state_name(vm));
	return true;
}

/* What was done to it is in the log: here too if that has not just been seen on the line. */
static void say_done(const struct vm *vm, uint64_t sent_before, const char *done)
{
	if (log_sent() == sent_before)
		monitor_printf("%s: %s\n", vm->cfg->name, done);
}

/* What it is asked of, and what the log says then. */
static bool act(const struct monitor_args *args, int (*action)(struct vm *vm), const char *done)
{
	struct vm *vm = monitor_vm(args, 0);
	uint64_t sent = log_sent();

	if (!vm)
		return false;
	if (action(vm))
		return nothing_done(vm);
	log_info("vm %s: %s", vm->cfg->name, done);
	say_done(vm, sent, done);
	return true;
}

static bool cmd_stop(const struct monitor_args *args)
{
	return act(args, vmm_stop_vm, "its power button is pressed");
}

static bool cmd_pause(const struct monitor_args *args)
{
	return act(args, vmm_pause_vm, "paused by the operator");
}

static bool cmd_resume(const struct monitor_args *args)
{
	return act(args, vmm_resume_vm, "running again");
}

static bool cmd_reset(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);
	uint64_t sent = log_sent();

	if (!vm)
		return false;
	if (vm->state == VM_STOPPED && !vm->restart.armed)
		return nothing_done(vm);
	if (vmm_reset_vm(vm))
		monitor_printf(
			"%s has been ended, and could not be started anew: log | tail 3 says "
			"why\n",
			vm->cfg->name);
	else
		say_done(vm, sent, "reset");
	return true;
}

static bool cmd_kill(const struct monitor_args *args)
{
	struct vm *vm = monitor_vm(args, 0);
	uint64_t sent = log_sent();

	if (!vm)
		return false;
	if (vmm_kill_vm(vm))
		return nothing_done(vm);
	say_done(vm, sent, "killed");
	return true;
}

static bool cmd_console(const struct monitor_args *args)
{
	bool follow = !strcmp(args->word[0], "-f");
	struct vm *vm = follow ? NULL : monitor_vm(args, 0);

	if (!follow && !vm)
		return false;
	console_follow(follow);
	if (vm)
		console_set_front(vm);
	else if (!console_front())
		monitor_printf("no VM runs that could be followed\n");
	return true;
}

static const struct monitor_command commands[] = {
	{ .name = "vms",
	  .args = "",
	  .help = "the virtual machines",
	  .example = "vms | grep running",
	  .run = cmd_vms },
	{ .name = "vm",
	  .args = "NAME",
	  .help = "one of them: its line, state and exits",
	  .example = "vm deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_vm },
	{ .name = "console",
	  .args = "NAME|-f",
	  .help = "to its console; -f: all VMs' output at once",
	  .example = "console deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_console },
	{ .name = "vcpus",
	  .args = "[NAME]",
	  .help = "the virtual CPUs: mode, RIP, last exit",
	  .example = "vcpus",
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_vcpus },
	{ .name = "start",
	  .args = "NAME [KEY=VALUE...] [-- COMMAND LINE]",
	  .help = "start a stopped VM, with its line so changed",
	  .example = "start deb64 memory=512M paging=shadow -- console=ttyS0 nosmp",
	  .words_min = 1,
	  .words_max = MONITOR_WORDS_MAX,
	  .word = { WORD_VM },
	  .takes_rest = true,
	  .run = cmd_start },
	{ .name = "stop",
	  .args = "NAME",
	  .help = "press its power button",
	  .example = "stop deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_stop },
	{ .name = "pause",
	  .args = "NAME",
	  .help = "take it off the processors",
	  .example = "pause deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_pause },
	{ .name = "resume",
	  .args = "NAME",
	  .help = "let a paused one go on",
	  .example = "resume deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_resume },
	{ .name = "reset",
	  .args = "NAME",
	  .help = "start it anew, as its reset button does",
	  .example = "reset deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_reset },
	{ .name = "kill",
	  .args = "NAME",
	  .help = "end it, without asking it",
	  .example = "kill deb64",
	  .words_min = 1,
	  .words_max = 1,
	  .word = { WORD_VM },
	  .run = cmd_kill },
};

const struct monitor_family monitor_vm_family = {
	.title = "Virtual machines",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
