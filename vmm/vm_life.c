/* How a VM comes into being and goes. */
#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/serial_line.h"
#include "arch/x86_64/smp.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/dev/pc.h"
#include "vmm/load/linux.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_crash.h"
#include "vmm/vm_shadow.h"
#include "vmm/vm_tables.h"

#define WHY_SIZE 128
#define RESTART_PAUSE_NS NS_PER_SEC

/* --- start --- */

/* Where the processor's local and I/O interrupt controllers are, and the firmware. */
#define CHIPSET_START UINT64_C(0xfec00000)

static bool overlaps(uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
	return from < to && start < to && from < end;
}

/* What lies where the disk region is to be; NULL: nothing. */
static const char *disk_in_the_way(const struct vm_config *cfg, unsigned nr)
{
	uint64_t start = cfg->disk[nr].at;
	uint64_t end = start + ALIGN_UP(cfg->disk[nr].file->size, PAGE_SIZE);
	uint64_t low = MIN(cfg->memory, VM_PCI_HOLE), high = cfg->memory - low;
	uint64_t limit = UINT64_C(1) << cpu_features()->maxphyaddr;

	if (start >= limit || end < start || end > limit)
		return "the end of physical addresses";
	if (overlaps(start, end, 0, MAX(low, VM_HIGH_RAM)) ||
	    overlaps(start, end, VM_ABOVE_4G, VM_ABOVE_4G + high))
		return "the guest's RAM";
	if (overlaps(start, end, CHIPSET_START, VM_ABOVE_4G))
		return "the chipset";
	for (unsigned i = 0; i < nr; i++) {
		const struct vm_disk *d = &cfg->disk[i];

		if (overlaps(start, end, d->at, d->at + ALIGN_UP(d->file->size, PAGE_SIZE)))
			return "another disk";
	}
	return NULL;
}

static int check_disks(const struct vm_config *cfg, char *why)
{
	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		const char *what = disk_in_the_way(cfg, i);

		if (!cfg->disk[i].file->size)
			ksnprintf(why, WHY_SIZE, "disk at=0x%llx: the file is empty",
				  (unsigned long long)cfg->disk[i].at);
		else if (what)
			ksnprintf(why, WHY_SIZE, "disk at=0x%llx: %llu KiB from there meet %s",
				  (unsigned long long)cfg->disk[i].at,
				  (unsigned long long)(cfg->disk[i].file->size + 1023) >> 10, what);
		else
			continue;
		return -EINVAL;
	}
	return 0;
}

/* Is one of those CPUs there? None: all. */
static bool any_online(const struct cpu_set *cpus)
{
	for (unsigned i = 0; i < CPU_MAX; i++) {
		const struct cpu *cpu = cpu_set_has(cpus, i) ? smp_cpu(i) : NULL;

		if (cpu && cpu->state == CPU_ONLINE)
			return true;
	}
	return cpu_set_is_empty(cpus);
}

static int check_line(const struct vm *vm, char *why)
{
	uint64_t memory = vm->cfg->memory;
	/* What is left of its last life goes before it comes. */
	uint64_t free = frame_bytes_free() + frame_bytes_owned(FRAME_VM0 + vm->id);
	struct serial_line *line;
	const char *wrong;

	if (vm->cfg->paging == PAGING_NESTED && !vm->backend->caps()->nested_paging) {
		ksnprintf(why, WHY_SIZE, "paging=nested: this processor has no nested paging");
		return -EOPNOTSUPP;
	}
	if (!any_online(&vm->cfg->cpus)) {
		ksnprintf(why, WHY_SIZE, "cpus=: none of these processors is there");
		return -ENODEV;
	}
	if (vm->cfg->vcpus > 1 && !vm->cfg->apic) {
		ksnprintf(why, WHY_SIZE, "vcpus=%u: with apic=off there is one only",
			  vm->cfg->vcpus);
		return -EINVAL;
	}
	if (memory > free) {
		ksnprintf(why, WHY_SIZE, "memory=%lluM exceeds the %llu MiB that are free",
			  (unsigned long long)(memory >> 20), (unsigned long long)(free >> 20));
		return -ENOMEM;
	}
	if (vm->cfg->com2[0]) {
		line = serial_line_open(vm->cfg->com2, vm, vm->cfg->name, &wrong);
		if (!line) {
			ksnprintf(why, WHY_SIZE, "com2=phys:%s: %s", vm->cfg->com2, wrong);
			return -ENODEV;
		}
		serial_line_close(line); /* its devices take it, when they are made */
	}
	return check_disks(vm->cfg, why);
}

static int make_vcpus(struct vm *vm)
{
	int err = 0;

	sched_share_init(&vm->sched, vm->cfg->weight);
	for (unsigned i = 0; i < vm->cfg->vcpus && !err; i++) {
		err = vcpu_create(vm, i, &vm->vcpu[i]);
		if (err)
			break;
		vm->nr_vcpus = i + 1;
		vm_tables_attach(vm->vcpu[i]);
	}
	return err;
}

/* What a kernel's line is to tell. One that has leaf 0x15 takes that for known and final, unless
 * the line tells it: then it calibrates after all. */
static uint32_t told_tsc_khz(void)
{
	return cpuid_policy()->tells_tsc ? 0 : (uint32_t)(clock_tsc_hz() / 1000);
}

static int load(struct vm *vm, char *why)
{
	const struct boot_module *kernel = vm->cfg->kernel, *initrd = vm->cfg->initrd;
	struct load_module module[VM_CONFIG_MODULES];
	struct load_source src = {
		.module = module,
		.nr_modules = vm->cfg->nr_modules,
		.kernel = hpa_to_ptr(kernel->start),
		.kernel_size = kernel->size,
		.initrd = initrd ? hpa_to_ptr(initrd->start) : NULL,
		.initrd_size = initrd ? initrd->size : 0,
		.cmdline = vm->cfg->cmdline,
		.rsdp = pc_write_tables(vm),
		.tsc_khz = told_tsc_khz(),
	};

	static_assert(VM_CONFIG_MODULES <= LOAD_MODULES, "the loader takes as many modules");
	for (unsigned i = 0; i < vm->cfg->nr_modules; i++) {
		const struct vm_module *m = &vm->cfg->module[i];

		module[i] = (struct load_module){ hpa_to_ptr(m->file->start), m->file->size,
						  m->cmdline };
	}
	return load_kernel(vm, vm->vcpu[0], &src, why, WHY_SIZE);
}

/* Everything but the kernel. */
static int build(struct vm *vm)
{
	int err = vm_tables_create(vm);

	if (!err)
		err = vm_make_memory(vm);
	if (!err) {
		err = bus_init(&vm->bus);
		vm->has_bus = !err;
		vm->bus.touches = &vm->touches;
	}
	if (!err) {
		vm->virtual_interrupts = vm->cfg->apic && vm->backend->caps()->virtual_interrupts;
		err = vm->backend->vm_init(vm);
		vm->has_hw = !err;
	}
	if (!err)
		err = pc_create(vm);
	if (!err)
		err = make_vcpus(vm);
	return err;
}

static void say_not_started(const struct vm *vm, int err, const char *why)
{
	if (!why[0])
		why = err == -ENOSPC ? "free memory is in too many pieces"
				     : "not enough memory for its tables";
	log_err("vm %s: %s, not started", vm->cfg->name, why);
}

int vm_start_begin(struct vm *vm)
{
	char why[WHY_SIZE] = "";
	int err = check_line(vm, why);

	if (err) {
		say_not_started(vm, err, why);
		return err;
	}
	vm_teardown(vm);
	memset(&vm->touches, 0, sizeof(vm->touches));
	vm->start_ns = clock_ns();
	vm->tsc_offset = -rdtsc();
	err = vm_exits_make(vm, vm->cfg->vcpus);
	if (!err)
		err = build(vm);
	if (err) {
		say_not_started(vm, err, why);
		vm_teardown(vm);
		return err;
	}
	vm->state = VM_RUNNING;
	return 0;
}

int vm_start_end(struct vm *vm)
{
	char why[WHY_SIZE] = "";
	int err = load(vm, why);

	if (err) {
		console_forget(vm); /* what is wrong is seen, if it has the console already */
		say_not_started(vm, err, why);
		return err;
	}
	vm->vcpu[0]->state = VCPU_RUNNABLE;
	vm->start_cost_ns = clock_ns() - vm->start_ns;
	vm->start_ns = clock_ns();
	log_info("vm %s: started, %llu MiB%s", vm->cfg->name,
		 (unsigned long long)(vm->cfg->memory >> 20), vm->shadow ? ", shadow paging" : "");
	return 0;
}

int vm_start(struct vm *vm)
{
	int err = vm_start_begin(vm);

	if (err)
		return err;
	vm_clear_memory(vm, UINT64_MAX);
	err = vm_start_end(vm);
	if (err)
		vm_teardown(vm);
	return err;
}

/* --- stop --- */

static void destroy_devices(struct vm *vm)
{
	/* Their timers may be about to go off on any CPU. */
	owned_lock(&vm->lock);
	if (vm->pc)
		pc_destroy(vm);
	owned_unlock(&vm->lock);
	vm->pc = NULL;
	vm->intr = (struct vm_intr_source){ 0 };
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		lapic_destroy(&vm->vcpu[i]->lapic);
}

void vm_teardown(struct vm *vm)
{
	destroy_devices(vm);
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		vcpu_destroy(vm->vcpu[i]);
		vm->vcpu[i] = NULL;
	}
	vm->nr_vcpus = 0;
	vm->lapics = (struct lapic_set){ 0 };
	if (vm->has_hw)
		vm->backend->vm_destroy(vm);
	if (vm->has_bus)
		bus_destroy(&vm->bus);
	vm_tables_destroy(vm);
	vm->has_hw = vm->has_bus = false;
	vm_free_memory(vm);
	vm->stop_reason = VM_STOP_NONE;
	vm->stopped_by = NULL;
	vm->pause_requested = false;
	debug_forget(vm);
	vm->notices = 0;
	vm->state = VM_STOPPED;
}

bool vm_wants_restart(const struct vm *vm)
{
	return (vm->stop_reason == VM_STOP_RESET && vm->cfg->on_reset == ON_RESET_RESTART) ||
	       (vm->stop_reason == VM_STOP_TRIPLE && vm->cfg->on_crash == ON_CRASH_RESTART);
}

uint64_t vm_restart_time(const struct vm *vm)
{
	return vm->start_ns + RESTART_PAUSE_NS;
}

static void say_why(const struct vm *vm)
{
	const char *name = vm->cfg->name, *next = vm_wants_restart(vm) ? "restarting" : "stopped";

	switch (vm->stop_reason) {
	case VM_STOP_NONE:
	case VM_STOP_POWEROFF:
		log_info("vm %s: powered off", name);
		break;
	case VM_STOP_RESET:
		log_info("vm %s: reset by the guest, %s", name, next);
		break;
	case VM_STOP_DEBUG_EXIT:
		log_info("vm %s: debug-exit status %d", name, vm->stop_status);
		break;
	case VM_STOP_TRIPLE:
		log_warn("vm %s: %s, %s", name, vm->stop_text, next);
		break;
	case VM_STOP_ERROR:
		log_err("vm %s: %s, %s", name, vm->stop_text, next);
		break;
	case VM_STOP_KILLED:
		log_info("vm %s: %s", name, vm->stop_text);
		break;
	}
}

static void print_exits(const struct vm *vm, const char *kind, struct exit_summary sum)
{
	log_info("vm %s: exits %-12s %12llu  mean %8llu  worst %10llu ticks", vm->cfg->name, kind,
		 (unsigned long long)sum.count, (unsigned long long)sum.mean,
		 (unsigned long long)sum.worst);
}

static void print_stats(const struct vm *vm)
{
	const struct exit_stats *s = vm_exits(vm);

	for (unsigned i = 0; i < EXIT_KINDS; i++)
		if (s->count[i])
			print_exits(vm, vm_exit_name((enum vm_exit_kind)i),
				    exit_stats_summary(s, i));
	print_exits(vm, "total", exit_stats_summary(s, EXIT_KINDS));
	if (vm->shadow)
		vm_shadow_print(vm);
	log_info("vm %s: ran for %llu ms", vm->cfg->name,
		 (unsigned long long)((clock_ns() - vm->start_ns) / (NS_PER_SEC / 1000)));
}

void vm_stop(struct vm *vm)
{
	bool crashed = vm->stop_reason == VM_STOP_TRIPLE || vm->stop_reason == VM_STOP_ERROR;

	vm->state = VM_STOPPED;
	console_forget(vm);
	say_why(vm);
	if (crashed)
		vm_crash_tell(vm);
	if (vm->cfg->stats)
		print_stats(vm);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vm->vcpu[i]->state = VCPU_STOPPED;
	destroy_devices(vm);
	if (!crashed) {
		enum vm_stop_reason reason = vm->stop_reason;

		vm_teardown(vm);
		vm->stop_reason = reason; /* for whoever asks what became of it */
	}
	debug_ended(vm, vm->debug.again || vm_wants_restart(vm));
}
