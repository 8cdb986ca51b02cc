/* Commands on the machine that Umbra runs on, and on Umbra itself. */
#include "arch/x86_64/machine.h"
#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/version.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/smp.h"
#include "vmm/monitor/command.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* --- processors --- */

/* CPUID's brand string, or the vendor's name where there is none. */
static const char *brand(char text[49])
{
	const char *p = text;

	str_copy(text, cpu_features()->vendor, 49);
	if (cpuid(0x80000000, 0).eax < 0x80000004)
		return text;
	for (unsigned i = 0; i < 3; i++) {
		struct cpuid_regs r = cpuid(0x80000002 + i, 0);

		memcpy(text + (size_t)16 * i, &r.eax, 4);
		memcpy(text + (size_t)16 * i + 4, &r.ebx, 4);
		memcpy(text + (size_t)16 * i + 8, &r.ecx, 4);
		memcpy(text + (size_t)16 * i + 12, &r.edx, 4);
	}
	text[48] = '\0';
	while (*p == ' ')
		p++;
	return p;
}

static const char *const cpu_states[] = {
	[CPU_UNUSED] = "unused", [CPU_STARTING] = "stuck",    [CPU_ONLINE] = "online",
	[CPU_ABSENT] = "absent", [CPU_LEFT_OUT] = "left out", [CPU_STOPPED] = "stopped",
};

/* Where its time goes, in thousandths; an idle one's present halt counts too. */
static void show_cpu(const struct cpu *cpu)
{
	const struct vcpu *runs = vmm_turn(cpu);
	uint64_t since = cpu->idle_since, now = rdtsc(), all = now - cpu->online_tsc;
	uint64_t idle = cpu->idle_ticks + (since && now > since ? now - since : 0);
	unsigned in_idle = exit_stats_permille(idle, all);
	unsigned in_guest = exit_stats_permille(cpu->guest_ticks, all);
	unsigned in_host = in_idle + in_guest < 1000 ? 1000 - in_idle - in_guest : 0;
	char name[VM_NAME_MAX + 8] = "-";

	if (runs)
		ksnprintf(name, sizeof(name), "%s.%u", runs->vm->cfg->name, runs->id);
	monitor_printf("%3u %4u %-8s", cpu->id, cpu->apic_id, cpu_states[cpu->state]);
	if (cpu->state == CPU_ONLINE)
		monitor_printf(" %3u.%u%% %3u.%u%% %3u.%u%% %11llu %s", in_idle / 10, in_idle % 10,
			       in_guest / 10, in_guest % 10, in_host / 10, in_host % 10,
			       (unsigned long long)cpu->irq_count, name);
	else if (cpu->state == CPU_LEFT_OUT)
		monitor_printf(" %s", cpu->why);
	monitor_printf("\n");
}

static bool cmd_cpus(const struct monitor_args *args)
{
	const struct cpu_features *f = cpu_features();
	const struct vm *vm = vmm_vm(0);
	const struct cpu *cpu;
	char text[49];

	(void)args;
	monitor_printf("CPU APIC STATE      IDLE   GUEST    HOST  INTERRUPTS VCPU\n");
	for (unsigned id = 0; (cpu = smp_cpu(id)); id++)
		show_cpu(cpu);
	monitor_printf("\n%s, TSC %llu MHz, %u physical address bits\n", brand(text),
		       (unsigned long long)(clock_tsc_hz() / 1000000), f->maxphyaddr);
	monitor_printf("features:%s%s%s%s%s%s%s%s\n", f->svm ? " SVM" : "", f->vmx ? " VMX" : "",
		       f->nx ? " NX" : "", f->page_1g ? " 1G-pages" : "", f->xsave ? " XSAVE" : "",
		       f->x2apic ? " x2APIC" : "", f->invariant_tsc ? " invariant-TSC" : "",
		       f->smep ? " SMEP" : "");
	if (vm)
		monitor_printf("%s: %s\n", vm->backend->name, vm->backend->caps()->features);
	return true;
}

/* --- memory --- */

static void show_pages(const char *name, const uint64_t *pages, uint64_t bytes)
{
	monitor_name(0, 24, name);
	monitor_printf(" %10llu %9llu %6llu %16llu\n", (unsigned long long)pages[FRAME_4K],
		       (unsigned long long)pages[FRAME_2M], (unsigned long long)pages[FRAME_1G],
		       (unsigned long long)bytes);
}

static void show_owner(const char *name, unsigned owner, uint64_t *all)
{
	uint64_t pages[FRAME_SIZES];

	for (unsigned size = 0; size < FRAME_SIZES; size++) {
		pages[size] = frame_pages_owned(owner, (enum frame_size)size);
		all[size] += pages[size];
	}
	show_pages(name, pages, frame_bytes_owned(owner));
}

static bool cmd_mem(const struct monitor_args *args)
{
	uint64_t all[FRAME_SIZES] = { 0 };
	const struct vm *vm;

	(void)args;
	monitor_printf("%-24s %10s %9s %6s %16s\n", "OWNER", "4K", "2M", "1G", "BYTES");
	show_owner("free", FRAME_FREE, all);
	show_owner("hypervisor", FRAME_HYPERVISOR, all);
	show_owner("page tables", FRAME_PAGE_TABLE, all);
	show_owner("boot modules", FRAME_MODULE, all);
	for (unsigned i = 0; (vm = vmm_vm(i)); i++)
		if (frame_bytes_owned(FRAME_VM0 + vm->id))
			show_owner(vm->cfg->name, FRAME_VM0 + vm->id, all);
	show_pages("all", all, frame_bytes_total());
	return true;
}

/* --- Umbra --- */

static bool cmd_uptime(const struct monitor_args *args)
{
	uint64_t s = clock_ns() / NS_PER_SEC;

	(void)args;
	monitor_printf("up %llu days %02llu:%02llu:%02llu\n", (unsigned long long)(s / 86400),
		       (unsigned long long)(s / 3600 % 24), (unsigned long long)(s / 60 % 60),
		       (unsigned long long)(s % 60));
	return true;
}

static bool cmd_version(const struct monitor_args *args)
{
#ifdef UMBRA_DEBUG
	static const char build[] = "debug";
#else
	static const char build[] = "release";
#endif
	const struct vm *vm = vmm_vm(0);

	(void)args;
	monitor_printf("Umbra " UMBRA_VERSION ", %s build, compiled by gcc " __VERSION__ "%s%s\n",
		       build, vm ? ", on " : "", vm ? vm->backend->name : "");
	return true;
}

static const char *const levels[] = {
	[LOG_ERR] = "err",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

static void show_log(void)
{
	char text[513];
	uint64_t pos = 0;
	size_t n;

	while ((n = log_read(&pos, text, sizeof(text) - 1))) {
		text[n] = '\0';
		monitor_printf("%s", text);
	}
	monitor_printf("(level %s)\n", levels[log_level()]);
}

static bool cmd_log(const struct monitor_args *args)
{
	if (!args->count) {
		show_log();
		return true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(args->word[0], levels[i])) {
			log_set_level((enum log_level)i);
			return true;
		}
	}
	return monitor_wrong("the level is err, warn, info or debug");
}

static bool cmd_reboot(const struct monitor_args *args)
{
	(void)args;
	console_flush();
	machine_reboot();
}

static bool cmd_poweroff(const struct monitor_args *args)
{
	(void)args;
	console_flush();
	machine_poweroff();
}

static bool cmd_panic(const struct monitor_args *args)
{
	(void)args;
	panic("asked for by the operator");
}

#ifdef UMBRA_DEBUG
static struct cpu_work hang_work;

static void hang(void *ctx)
{
	clock_delay_ns((uint64_t)(uintptr_t)ctx * NS_PER_SEC);
	cpu_relax(); /* so that this is no jump, and the way to it can be seen */
}

static void hang_irqs_off(void *ctx)
{
	irq_disable();
	hang(ctx);
	irq_enable();
}

static void hang_log(void *ctx)
{
	log_with_lock(hang, ctx);
}

/* For tests of the watchdog. */
static bool cmd_hang(const struct monitor_args *args)
{
	const char *how = args->count > 2 ? args->word[2] : "";
	uint64_t id, seconds = 30;
	void (*fn)(void *ctx);
	struct cpu *cpu;

	fn = !*how                  ? hang_irqs_off
	     : !strcmp(how, "irqs") ? hang
	     : !strcmp(how, "log")  ? hang_log
				    : NULL;
	if (!fn || !monitor_number(args, 0, &id) ||
	    (args->count > 1 && !monitor_number(args, 1, &seconds)))
		return false;
	cpu = id < CPU_MAX ? smp_cpu((unsigned)id) : NULL;
	if (!cpu || cpu->state != CPU_ONLINE)
		return monitor_wrong("there is no such processor");
	if (seconds > 600)
		return monitor_wrong("up to 600 seconds");
	hang_work.ctx = (void *)(uintptr_t)seconds;
	if (hang_work.queued)
		return monitor_wrong("another one is about to hang");
	hang_work.fn = fn;
	smp_queue(cpu, &hang_work);
	return true;
}
#endif

#ifdef UMBRA_DEBUG
#define PINGS 100

static struct cpu_work ping_work[CPU_MAX];
static unsigned pings, pingers; /* atomic: answers; CPUs that have not done yet */

static void answer(void *ctx)
{
	__atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

static void ping_others(void *ctx)
{
	for (unsigned i = 0; i < PINGS; i++)
		smp_call_others(answer, ctx);
	__atomic_fetch_sub(&pingers, 1, __ATOMIC_RELEASE);
}

/* All CPUs call all others at once: for tests. */
static bool cmd_ping(const struct monitor_args *args)
{
	unsigned n = smp_online();
	uint64_t begin = rdtsc();
	struct cpu *cpu;

	(void)args;
	pings = 0;
	pingers = n;
	for (unsigned id = 0; (cpu = smp_cpu(id)); id++) {
		if (cpu == this_cpu() || cpu->state != CPU_ONLINE)
			continue;
		ping_work[id].fn = ping_others;
		ping_work[id].ctx = &pings;
		smp_queue(cpu, &ping_work[id]);
	}
	ping_others(&pings);
	while (__atomic_load_n(&pingers, __ATOMIC_ACQUIRE))
		cpu_relax();
	monitor_printf("%u calls of %u answered, a call every %llu ticks\n", pings,
		       n * (n - 1) * PINGS, (unsigned long long)((rdtsc() - begin) / (n * PINGS)));
	return true;
}
#endif

static const struct monitor_command commands[] = {
	{ .name = "cpus",
	  .args = "",
	  .help = "the processors, and what they can do",
	  .example = "cpus",
	  .run = cmd_cpus },
	{ .name = "mem",
	  .args = "",
	  .help = "who owns the memory, by size of page",
	  .example = "mem | grep free",
	  .run = cmd_mem },
	{ .name = "uptime",
	  .args = "",
	  .help = "the time since Umbra was started",
	  .example = "uptime",
	  .run = cmd_uptime },
	{ .name = "version",
	  .args = "",
	  .help = "which Umbra this is",
	  .example = "version",
	  .run = cmd_version },
	{ .name = "log",
	  .args = "[err|warn|info|debug]",
	  .help = "Umbra's messages; or how much is kept of them",
	  .example = "log | tail 20",
	  .words_max = 1,
	  .run = cmd_log },
	{ .name = "reboot",
	  .args = "",
	  .help = "restart this machine, now",
	  .example = "reboot",
	  .run = cmd_reboot },
	{ .name = "poweroff",
	  .args = "",
	  .help = "turn this machine off, now",
	  .example = "poweroff",
	  .run = cmd_poweroff },
	{ .name = "panic",
	  .args = "",
	  .help = "stop Umbra with a panic, to see one",
	  .example = "panic",
	  .run = cmd_panic },
#ifdef UMBRA_DEBUG
	{ .name = "hang",
	  .args = "CPU [SECONDS [irqs|log]]",
	  .help = "stop a processor for a while, to see the watchdog",
	  .example = "hang 1 30",
	  .words_min = 1,
	  .words_max = 3,
	  .run = cmd_hang },
	{ .name = "ping",
	  .args = "",
	  .help = "have all processors call all others at once",
	  .example = "ping",
	  .run = cmd_ping },
#endif
};

const struct monitor_family monitor_machine_family = {
	.title = "The machine",
	.commands = commands,
	.count = ARRAY_SIZE(commands),
};
