#include "vmm/run.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/timer.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/dev/pc.h"
#include "vmm/gdb/gdb.h"
#include "vmm/kvm_clock.h"
#include "vmm/monitor/monitor.h"
#include "vmm/turns.h"
#include "vmm/vcpu.h"

/* How much of a new VM's memory is cleared at a time. */
#define CLEAR_BYTES KIB(256)
/* How often it is looked whether a restart may be that a debugger holds. */
#define HELD_NS (NS_PER_SEC / 10)

static const struct umbra_config *config;
static const struct vmm_backend *backend;
static struct vm *vms[VM_MAX];
static unsigned nr_vms;

static bool loop_runs;
static struct timer idle; /* no VM is left, and the operator has not gone yet */

/* --- VMs --- */

struct vm *vmm_vm(unsigned index)
{
	return index < nr_vms ? vms[index] : NULL;
}

static bool any_present(void)
{
	for (unsigned i = 0; i < nr_vms; i++)
		if (vms[i]->state != VM_STOPPED)
			return true;
	return false;
}

/* Its vCPUs run from now on, unless somebody holds it or it is paused. */
static void join(struct vm *vm)
{
	if (!vm->holds && vm->state == VM_RUNNING)
		turns_join(vm);
}

static unsigned nr_held;                     /* holds of all VMs */
static const struct vcpu *had_turn[CPU_MAX]; /* by CPU, when the first of them began */

const struct vcpu *vmm_turn(const struct cpu *cpu)
{
	return nr_held ? had_turn[cpu->id] : __atomic_load_n(&cpu->current, __ATOMIC_RELAXED);
}

/* While one VM is held the turns go on with the others. */
static void note_turns(void)
{
	const struct cpu *cpu;

	for (unsigned id = 0; id < CPU_MAX && (cpu = smp_cpu(id)); id++)
		had_turn[id] = __atomic_load_n(&cpu->current, __ATOMIC_RELAXED);
}

/* It is taken down while somebody holds it: nobody looks at its vCPUs any more. */
static void forget_turns(const struct vm *vm)
{
	for (unsigned id = 0; id < CPU_MAX; id++)
		if (had_turn[id] && had_turn[id]->vm == vm)
			had_turn[id] = NULL;
}

void vmm_hold_vm(struct vm *vm)
{
	if (!nr_held)
		note_turns();
	nr_held++;
	if (!vm->holds++)
		turns_leave(vm);
}

void vmm_let_vm(struct vm *vm)
{
	nr_held--;
	if (!--vm->holds)
		join(vm);
}

static void begin_life(struct vm *vm)
{
	if (debug_started(vm) || vm->cfg->paused)
		vmm_pause_vm(vm);
}

int vmm_start_vm_as(struct vm *vm, const struct vm_config *cfg)
{
	int err;

	if (vm->state != VM_STOPPED)
		return -EBUSY;
	vm->cfg_before = vm->cfg;
	vm->cfg = cfg;
	/* It is made in its own turns: its memory takes long, and the operator has an answer. */
	err = loop_runs ? vm_start_begin(vm) : vm_start(vm);
	if (err) {
		vm->cfg = vm->cfg_before;
		return err;
	}
	timer_cancel(&vm->restart);
	if (vm->vcpu[0]->state != VCPU_STARTING)
		begin_life(vm);
	join(vm);
	if (!console_front() && !console_operator_stays())
		console_set_front(vm);
	return 0;
}

int vmm_start_vm(struct vm *vm)
{
	return vmm_start_vm_as(vm, vm->cfg);
}

/* --- VMs that stop --- */

static struct vm *next_running(void)
{
	for (unsigned i = 0; i < nr_vms; i++)
		if (vms[i]->state == VM_RUNNING)
			return vms[i];
	return NULL;
}

static bool any_restarts(void)
{
	for (unsigned i = 0; i < nr_vms; i++)
		if (vms[i]->restart.armed)
			return true;
	return false;
}

/* Not under the hands of an operator who is at the monitor: when he has gone. */
static bool wait_for_operator(void)
{
	const char *what = config->on_idle == ON_IDLE_POWEROFF ? "poweroff" : "reboot";
	uint64_t until = console_operator_until();

	if (until && !idle.armed)
		log_info("no VM is left: on-idle=%s comes 10 minutes after the last key", what);
	if (until)
		timer_arm(&idle, until);
	return until != 0;
}

/* If no VM is there and none is going to be: what the configuration says. */
static void on_idle(void)
{
	if (any_present() || any_restarts() || monitor_idle())
		return;
	if (config->on_idle == ON_IDLE_MONITOR || wait_for_operator())
		return; /* the monitor is in front */
	console_flush();
	if (config->on_idle == ON_IDLE_POWEROFF)
		machine_poweroff();
	machine_reboot();
}

static void idle_over(void *ctx)
{
	(void)ctx;
	on_idle();
}

/* A VM that is out of service and stays so. */
static void leave_stopped(struct vm *vm)
{
	if (console_front() == vm || (!console_front() && !console_operator_stays()))
		console_set_front(next_running());
	on_idle();
}

/* The pause before a restart is over. */
static void restart_vm(void *ctx)
{
	struct vm *vm = ctx;

	if (vm->debug.held) {
		timer_arm(&vm->restart, clock_ns() + HELD_NS);
	} else if (vmm_start_vm(vm)) {
		debug_ended(vm, false);
		leave_stopped(vm);
	}
}

/* A VM in front that restarts stays there: what is typed waits for it. */
static void stop_vm(struct vm *vm)
{
	bool in_front = console_front() == vm, again = vm_wants_restart(vm);

	turns_leave(vm);
	vm_stop(vm);
	if (in_front)
		console_set_front(vm);
	if (again)
		timer_arm(&vm->restart, vm_restart_time(vm));
	else
		leave_stopped(vm);
}

static void pause_vm(struct vm *vm)
{
	turns_leave(vm);
	vm->pause_requested = false;
	vm->state = VM_PAUSED;
	debug_paused(vm);
}

/* What handlers of exits have asked for. */
static void stop_vms(void)
{
	for (unsigned i = 0; i < nr_vms; i++) {
		struct vm *vm = vms[i];

		if (vm->state != VM_STOPPED && vm->stop_reason != VM_STOP_NONE)
			stop_vm(vm);
		else if (vm->state == VM_RUNNING && vm->pause_requested)
			pause_vm(vm);
	}
}

/* Clearing memory takes long: it is the turn's work until there is something else to do. */
static void start_some(struct vcpu *vcpu, uint64_t end)
{
	const struct cpu *cpu = this_cpu();
	struct vm *vm = vcpu->vm;

	do {
		if (!vm_clear_memory(vm, CLEAR_BYTES))
			continue;
		turns_leave(vm);
		if (!vm_start_end(vm)) {
			begin_life(vm);
			join(vm);
			return;
		}
		vm_teardown(vm);
		vm->cfg = vm->cfg_before;
		debug_ended(vm, false);
		leave_stopped(vm);
		return;
	} while (!cpu->work_pending && (int64_t)(rdtsc() - end) < 0);
}

/* --- what the operator does with them --- */

int vmm_pause_vm(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return -EINVAL;
	pause_vm(vm);
	return 0;
}

/* Of a debugger's single steps a guest sees nothing: it is told when it goes on. */
static bool is_stepping(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i]->debug.step)
			return true;
	return false;
}

/* The timers of its devices go on meanwhile, on other CPUs as well. */
static void tell_resumed(struct vm *vm)
{
	owned_lock(&vm->lock);
	kvm_clock_resumed(vm);
	owned_unlock(&vm->lock);
}

int vmm_resume_vm(struct vm *vm)
{
	if (vm->state != VM_PAUSED)
		return -EINVAL;
	vm->pause_requested = false;
	vm->state = VM_RUNNING;
	if (!is_stepping(vm))
		tell_resumed(vm);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		sched_clear_lag(&vm->vcpu[i]->sched);
	join(vm);
	return 0;
}

/* Take down what there is of it, in whatever state. */
static void end_vm(struct vm *vm, const char *why)
{
	turns_leave(vm);
	forget_turns(vm);
	vm->stop_reason = VM_STOP_NONE; /* the operator's word counts */
	vm_request_stop(vm, VM_STOP_KILLED, 0, "%s", why);
	if (vm->state != VM_STOPPED) {
		vm_stop(vm);
		return;
	}
	log_info("vm %s: %s", vm->cfg->name, why);
	vm_teardown(vm);
	vm->stop_reason = VM_STOP_KILLED;
	debug_ended(vm, vm->debug.again);
}

int vmm_reset_vm(struct vm *vm)
{
	bool in_front = console_front() == vm;
	int err;

	if (vm->state == VM_STOPPED && !vm->restart.armed)
		return -EINVAL;
	timer_cancel(&vm->restart);
	vm->debug.again = true;
	end_vm(vm, "reset by the operator");
	if (in_front)
		console_set_front(vm);
	err = vmm_start_vm(vm);
	vm->debug.again = false;
	if (err)
		debug_ended(vm, false);
	if (err && in_front)
		console_set_front(next_running());
	return err;
}

int vmm_kill_vm(struct vm *vm)
{
	bool in_front = console_front() == vm;

	if (vm->state == VM_STOPPED && !vm->restart.armed && !vm->nr_vcpus)
		return -EINVAL;
	timer_cancel(&vm->restart);
	end_vm(vm, "killed");
	if (in_front)
		console_set_front(next_running());
	return 0;
}

int vmm_stop_vm(struct vm *vm)
{
	if (vm->state == VM_STOPPED)
		return -EINVAL;
	owned_lock(&vm->lock);
	pc_power_button(vm);
	owned_unlock(&vm->lock);
	return 0;
}

/* --- all of them --- */

static void say_turn(const struct cpu *cpu, void (*line)(const char *text))
{
	const struct vcpu *vcpu = cpu->current;
	char text[128];

	if (!vcpu)
		return;
	ksnprintf(text, sizeof(text), "cpu %u: vm %s vcpu %u, last exit %s, rip 0x%llx", cpu->id,
		  vcpu->vm->cfg->name, vcpu->id, vm_exit_name(vcpu->exit.kind),
		  (unsigned long long)vcpu->regs.rip);
	line(text);
	exit_trace_tail(&vcpu->exits->trace, line);
}

/* For a panic: whose turn it is on each CPU, what it was left for, and if that is traced, what for
 * before. Of the CPU that panics last, as that is what stays on a screen. */
static void say_last_exits(void (*line)(const char *text))
{
	const struct cpu *cpu;

	for (unsigned id = 0; id < CPU_MAX && (cpu = smp_cpu(id)); id++)
		if (cpu != this_cpu())
			say_turn(cpu, line);
	say_turn(this_cpu(), line);
}

static const struct console_operator monitor = {
	.enter = monitor_enter,
	.input = monitor_input,
	.redraw = monitor_enter,
	.behind = monitor_behind,
};

int vmm_init(const struct umbra_config *cfg, const struct vmm_backend *be)
{
	int err;

	config = cfg;
	backend = be;
	cpuid_init(cpuid, cpu_features()->xcr0_mask);
	console_set_operator(&monitor);
	console_show_log(cfg->log_always);
	console_follow(cfg->console_follow);
	panic_set_history(say_last_exits);
	timer_setup(&idle, idle_over, NULL, NULL);
	err = turns_init(be, start_some);
	if (!err)
		err = turns_start_others();
	if (err)
		return err;
	for (unsigned i = 0; i < cfg->nr_vms && i < VM_MAX; i++) {
		struct vm *vm = kalloc(sizeof(*vm));

		if (!vm)
			return trace_error(-ENOMEM);
		vm_init_locks(vm);
		vm->id = i;
		vm->cfg = &cfg->vm[i];
		vm->backend = be;
		vm->state = VM_STOPPED;
		memmap_init(&vm->mem);
		timer_setup(&vm->restart, restart_vm, vm, NULL);
		vms[nr_vms++] = vm;
		if (console_add(vm))
			return -ENOMEM;
		vmm_start_vm(vm);
	}
	return 0;
}

/* --- the loop --- */

/* What interrupts have left to be done. The mark is taken down first: what comes while
 * this runs makes it run again. */
static void do_work(struct cpu *cpu)
{
	cpu->work_pending = false;
	turns_messages(cpu);
	console_work();
	gdb_work();
	if (monitor_work())
		on_idle();
	while (vm_stop_requested()) {
		stop_vms();
		console_work(); /* another one is in front, maybe */
		if (monitor_work())
			on_idle();
	}
}

void vmm_run(void)
{
	struct cpu *cpu = this_cpu();

	monitor_script(config->run);
	on_idle();
	loop_runs = true;
	for (;;) {
		do_work(cpu);
		turns_round(cpu);
	}
}
