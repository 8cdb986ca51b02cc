#include "vmm/run.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/dev/pc.h"
#include "vmm/dr.h"
#include "vmm/gdb/gdb.h"
#include "vmm/kvm_clock.h"
#include "vmm/monitor/monitor.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm_shadow.h"
#include "vmm/vm_tables.h"

/* How much of a new VM's memory is cleared at a time. */
#define CLEAR_BYTES KIB(256)
/* How often it is looked whether a restart may be that a debugger holds. */
#define HELD_NS (NS_PER_SEC / 10)

static const struct umbra_config *config;
static const struct vmm_backend *backend;
static struct vm *vms[VM_MAX];
static unsigned nr_vms;

/* The vCPUs of running VMs. */
static struct sched sched;
/* The end of a turn: the backend's deadline, or a timer where the processor has none. */
static struct timer slice;
static bool slice_runs, slice_over;
static bool loop_runs;
static struct timer idle; /* no VM is left, and the operator has not gone yet */

static void end_slice(void *ctx)
{
	(void)ctx;
	slice_runs = false;
}

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

static void queue_vm(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		sched_add(&sched, &vm->vcpu[i]->sched);
}

static void begin_life(struct vm *vm)
{
	if (debug_started(vm) || vm->cfg->paused)
		vmm_pause_vm(vm);
}

int vmm_start_vm(struct vm *vm)
{
	int err;

	if (vm->state != VM_STOPPED)
		return -EBUSY;
	/* It is made in its own turns: its memory takes long, and the operator has an answer. */
	err = loop_runs ? vm_start_begin(vm) : vm_start(vm);
	if (err)
		return err;
	timer_cancel(&vm->restart);
	queue_vm(vm);
	if (vm->vcpu[0]->state != VCPU_STARTING)
		begin_life(vm);
	if (!console_front() && !console_operator_stays())
		console_set_front(vm);
	return 0;
}

/* --- which vCPU's state is on this CPU --- */

static void load_stale(struct vcpu *vcpu)
{
	const struct cpu_features *cpu = cpu_features();

	if (cpu->xsave && (vcpu->stale & VCPU_STALE_XCR0))
		xsetbv(0, vcpu->xcr0);
	if (cpu->rdtscp && (vcpu->stale & VCPU_STALE_TSC_AUX))
		wrmsr(MSR_TSC_AUX, vcpu->msrs.tsc_aux);
	if (vcpu->stale & VCPU_STALE_DR) {
		const uint64_t *dr = dr_hardware(vcpu);

		write_dr0(dr[0]);
		write_dr1(dr[1]);
		write_dr2(dr[2]);
		write_dr3(dr[3]);
	}
	vcpu->stale &= ~(VCPU_STALE_XCR0 | VCPU_STALE_TSC_AUX | VCPU_STALE_DR);
}

/* QEMU: a guest's XSETBV does not exit. What counts is the register, which the guest leaves in
 * place. */
static void read_back_xcr0(struct vcpu *vcpu)
{
	if (cpu_features()->xsave && !(vcpu->stale & VCPU_STALE_XCR0))
		vcpu->xcr0 = xgetbv(0);
}

static void put_vcpu(struct cpu *cpu)
{
	struct vcpu *vcpu = cpu->current;

	if (!vcpu)
		return;
	backend->vcpu_put(vcpu);
	read_back_xcr0(vcpu);
	load_stale(vcpu);
	fpu_save(vcpu->fpu, vcpu->xcr0);
	if (!vcpu->debug.on) {
		vcpu->dr[0] = read_dr0();
		vcpu->dr[1] = read_dr1();
		vcpu->dr[2] = read_dr2();
		vcpu->dr[3] = read_dr3();
	}
	vcpu->loaded = false;
	cpu->current = NULL;
}

static void load_vcpu(struct cpu *cpu, struct vcpu *vcpu)
{
	if (cpu->current == vcpu)
		return;
	put_vcpu(cpu);
	fpu_load(vcpu->fpu, vcpu->xcr0);
	vcpu->stale |= VCPU_STALE_XCR0 | VCPU_STALE_TSC_AUX | VCPU_STALE_DR;
	load_stale(vcpu);
	backend->vcpu_load(vcpu);
	vcpu->loaded = true;
	cpu->current = vcpu;
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

/* Its vCPUs are on no CPU then, and in no queue. */
static void take_off(struct cpu *cpu, struct vm *vm)
{
	if (cpu->current && cpu->current->vm == vm)
		put_vcpu(cpu);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		sched_remove(&sched, &vm->vcpu[i]->sched);
}

/* A VM in front that restarts stays there: what is typed waits for it. */
static void stop_vm(struct cpu *cpu, struct vm *vm)
{
	bool in_front = console_front() == vm, again = vm_wants_restart(vm);

	take_off(cpu, vm);
	vm_stop(vm);
	if (in_front)
		console_set_front(vm);
	if (again)
		timer_arm(&vm->restart, vm_restart_time(vm));
	else
		leave_stopped(vm);
}

static void pause_vm(struct cpu *cpu, struct vm *vm)
{
	vm->pause_requested = false;
	take_off(cpu, vm);
	vm->state = VM_PAUSED;
	debug_paused(vm);
}

/* What handlers of exits have asked for. */
static void stop_vms(struct cpu *cpu)
{
	for (unsigned i = 0; i < nr_vms; i++) {
		struct vm *vm = vms[i];

		if (vm->state != VM_STOPPED && vm->stop_reason != VM_STOP_NONE)
			stop_vm(cpu, vm);
		else if (vm->state == VM_RUNNING && vm->pause_requested)
			pause_vm(cpu, vm);
	}
}

/* --- what the operator does with them --- */

int vmm_pause_vm(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return -EINVAL;
	pause_vm(this_cpu(), vm);
	return 0;
}

int vmm_resume_vm(struct vm *vm)
{
	if (vm->state != VM_PAUSED)
		return -EINVAL;
	vm->pause_requested = false;
	vm->state = VM_RUNNING;
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		kvm_clock_resumed(vm->vcpu[i]);
	queue_vm(vm);
	return 0;
}

/* Take down what there is of it, in whatever state. */
static void end_vm(struct vm *vm, const char *why)
{
	vm->stop_reason = VM_STOP_NONE; /* the operator's word counts */
	vm_request_stop(vm, VM_STOP_KILLED, 0, "%s", why);
	if (vm->state != VM_STOPPED) {
		take_off(this_cpu(), vm);
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
	pc_power_button(vm);
	return 0;
}

/* --- all of them --- */

/* For a panic: whose turn it is, what it was left for, and if that is traced, what for before. */
static void say_last_exits(void (*line)(const char *text))
{
	const struct vcpu *vcpu = this_cpu()->current;
	char text[128];

	if (!vcpu)
		return;
	ksnprintf(text, sizeof(text), "vm %s: last exit %s, rip 0x%llx", vcpu->vm->cfg->name,
		  vm_exit_name(vcpu->exit.kind), (unsigned long long)vcpu->regs.rip);
	line(text);
	exit_trace_tail(&vcpu->exits->trace, line);
}

static const struct console_operator monitor = {
	.enter = monitor_enter,
	.input = monitor_input,
	.redraw = monitor_enter,
};

int vmm_init(const struct umbra_config *cfg, const struct vmm_backend *be)
{
	config = cfg;
	backend = be;
	cpuid_init(cpuid, cpu_features()->xcr0_mask);
	console_set_operator(&monitor);
	console_show_log(cfg->log_always);
	console_follow(cfg->console_follow);
	panic_set_history(say_last_exits);
	timer_setup(&slice, end_slice, NULL, NULL);
	timer_setup(&idle, idle_over, NULL, NULL);
	sched_init(&sched, 0, clock_tsc_hz());
	for (unsigned i = 0; i < cfg->nr_vms && i < VM_MAX; i++) {
		struct vm *vm = kalloc(sizeof(*vm));

		if (!vm)
			return trace_error(-ENOMEM);
		owned_lock_init(&vm->lock, LOCK_VM);
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
	if (cpu->timer_due) {
		cpu->timer_due = false;
		timer_run_expired();
	}
	smp_do_work();
	console_work();
	gdb_work();
	if (monitor_work())
		on_idle();
	while (vm_stop_requested()) {
		stop_vms(cpu);
		console_work(); /* another one is in front, maybe */
		if (monitor_work())
			on_idle();
	}
}

static bool can_run(struct sched_entity *e)
{
	struct vcpu *vcpu = container_of(e, struct vcpu, sched);

	if (vcpu_is_signalled(vcpu))
		vcpu_take_signals(vcpu);
	if (vcpu->state == VCPU_HALTED && vcpu_has_wakeup(vcpu))
		vcpu->state = VCPU_RUNNABLE;
	return vcpu->state == VCPU_RUNNABLE || vcpu->state == VCPU_STARTING;
}

/* Have the turn ended when its slice is over, or not at all. */
static void set_slice(struct vcpu *vcpu, bool on)
{
	uint64_t left = sched_left(&sched);

	slice_runs = on;
	if (backend->caps()->preemption_timer)
		backend->set_deadline(vcpu, on ? rdtsc() + left : 0);
	else if (on)
		timer_arm(&slice, clock_ns() + mul_div64(left, NS_PER_SEC, clock_tsc_hz()));
	else
		timer_cancel(&slice);
}

/* With nobody else to run a turn has no end. */
static void take_turn(struct vcpu *vcpu, bool others)
{
	if (!sched.used) /* it is a new one */
		set_slice(vcpu, false);
	if (others != slice_runs)
		set_slice(vcpu, others);
}

/*
 * Enter and handle exits until there is something else to do. That is looked at with
 * interrupts off, so that what comes later makes the guest exit at once.
 */
static void run_vcpu(struct cpu *cpu, struct vcpu *vcpu, bool others)
{
	do {
		if ((vcpu->stale & VCPU_STALE_ROOT) && !vm_shadow_load(vcpu))
			return;
		if (vcpu->tables_seen != vcpu->vm->tables.count)
			vm_tables_catch_up(vcpu);
		irq_disable();
		if (cpu->work_pending) {
			irq_enable();
			return;
		}
		vcpu_inject_pending(vcpu);
		if (vcpu->stale)
			load_stale(vcpu);
		/* What the core delivers itself may be one fault too many, or a debugger's step. */
		if (vcpu->vm->stop_reason != VM_STOP_NONE || vcpu->vm->pause_requested) {
			irq_enable();
			return;
		}
		exit_stats_enter(vcpu->exits, rdtsc());
		backend->run(vcpu, &vcpu->exit);
		exit_stats_leave(vcpu->exits, rdtsc());
		irq_enable();
		if (vcpu->exit.kind == EXIT_CPUID)
			read_back_xcr0(vcpu);
		slice_over = vcpu->exit.kind == EXIT_TIMER;
		vm_exit_handle(vcpu);
	} while (vcpu->state == VCPU_RUNNABLE && vcpu->vm->stop_reason == VM_STOP_NONE &&
		 !vcpu->vm->pause_requested && !slice_over && !(vcpu->yield && others) &&
		 !vcpu_kicked());
}

/* Clearing memory takes long: it is the turn's work until there is something else to do. */
static void start_some(struct cpu *cpu, struct vm *vm, uint64_t end)
{
	do {
		if (vm_clear_memory(vm, CLEAR_BYTES)) {
			if (!vm_start_end(vm)) {
				begin_life(vm);
				return;
			}
			take_off(cpu, vm);
			vm_teardown(vm);
			debug_ended(vm, false);
			leave_stopped(vm);
			return;
		}
	} while (!cpu->work_pending && (int64_t)(rdtsc() - end) < 0);
}

/* All that it does to the machine from here on is on its own account. */
static void have_turn(struct cpu *cpu, struct vcpu *vcpu, bool others)
{
	uint64_t begin = rdtsc(), in_guest = vcpu->exits->guest_ticks;

	/* One that starts may go on as a guest in the same turn, which has to have its end then. */
	take_turn(vcpu, others);
	if (vcpu->state == VCPU_STARTING) {
		start_some(cpu, vcpu->vm, begin + sched_left(&sched));
		sched_charge(&sched, rdtsc() - begin);
		return;
	}
	load_vcpu(cpu, vcpu);
	slice_over = false;
	run_vcpu(cpu, vcpu, others);
	debug_lift(vcpu->vm);
	exit_stats_close(vcpu->exits, rdtsc());
	cpu->guest_ticks += vcpu->exits->guest_ticks - in_guest;
	if (slice_over)
		set_slice(vcpu, false);
	vcpu->sched.yields = vcpu->yield && others;
	vcpu->yield = false;
	sched_charge(&sched, rdtsc() - begin);
}

void vmm_run(void)
{
	struct cpu *cpu = this_cpu();

	monitor_script(config->run);
	on_idle();
	loop_runs = true;
	for (;;) {
		struct sched_entity *next;
		bool others;

		do_work(cpu);
		next = sched_pick(&sched, can_run, &others);
		if (!next) {
			irq_disable();
			cpu_idle();
			irq_enable();
			continue;
		}
		have_turn(cpu, container_of(next, struct vcpu, sched), others);
	}
}
