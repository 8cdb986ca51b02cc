#include "vmm/run.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/timer.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/monitor/monitor.h"
#include "vmm/vcpu.h"
#include "vmm/vm_shadow.h"

/* How long a vCPU runs while another one could. */
#define SLICE_NS (10 * NS_PER_SEC / 1000)

static const struct umbra_config *config;
static const struct vmm_backend *backend;
static struct vm *vms[VM_MAX];
static unsigned nr_vms;

/* vCPUs of running VMs; the one that ran longest ago is first. */
static struct list_node run_queue = { &run_queue, &run_queue };
/* The end of a turn: the backend's deadline, or a timer where the processor has none. */
static struct timer slice;
static uint64_t slice_ticks;
static bool slice_runs, slice_over;

static void end_slice(void *ctx)
{
	(void)ctx;
	slice_over = true;
}

/* --- VMs --- */

struct vm *vmm_vm(unsigned index)
{
	return index < nr_vms ? vms[index] : NULL;
}

int vmm_start_vm(struct vm *vm)
{
	int err;

	if (vm->state == VM_RUNNING)
		return -EBUSY;
	timer_cancel(&vm->restart);
	err = vm_start(vm);
	if (err)
		return err;
	list_push_back(&run_queue, &vm->vcpu[0]->sched_node);
	if (!console_front())
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
	vcpu->stale &= ~(VCPU_STALE_XCR0 | VCPU_STALE_TSC_AUX);
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
	vcpu->dr[0] = read_dr0();
	vcpu->dr[1] = read_dr1();
	vcpu->dr[2] = read_dr2();
	vcpu->dr[3] = read_dr3();
	vcpu->loaded = false;
	cpu->current = NULL;
}

static void load_vcpu(struct cpu *cpu, struct vcpu *vcpu)
{
	if (cpu->current == vcpu)
		return;
	put_vcpu(cpu);
	fpu_load(vcpu->fpu, vcpu->xcr0);
	vcpu->stale |= VCPU_STALE_XCR0 | VCPU_STALE_TSC_AUX;
	load_stale(vcpu);
	write_dr0(vcpu->dr[0]);
	write_dr1(vcpu->dr[1]);
	write_dr2(vcpu->dr[2]);
	write_dr3(vcpu->dr[3]);
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

/* If no VM runs and none is going to: what the configuration says. */
static void on_idle(void)
{
	if (next_running() || any_restarts())
		return;
	if (config->on_idle == ON_IDLE_MONITOR) {
		monitor_enter();
		return;
	}
	console_flush();
	if (config->on_idle == ON_IDLE_POWEROFF)
		machine_poweroff();
	machine_reboot();
}

/* A VM that is out of service and stays so. */
static void leave_stopped(struct vm *vm)
{
	if (!console_front() || console_front() == vm)
		console_set_front(next_running());
	on_idle();
}

/* The pause before a restart is over. */
static void restart_vm(void *ctx)
{
	struct vm *vm = ctx;

	if (vmm_start_vm(vm))
		leave_stopped(vm);
}

/* A VM in front that restarts stays there: what is typed waits for it. */
static void stop_vm(struct cpu *cpu, struct vm *vm)
{
	bool in_front = console_front() == vm, again = vm_wants_restart(vm);

	if (cpu->current && cpu->current->vm == vm)
		put_vcpu(cpu);
	list_remove(&vm->vcpu[0]->sched_node);
	vm_stop(vm);
	if (in_front)
		console_set_front(vm);
	if (again)
		timer_arm(&vm->restart, vm_restart_time(vm));
	else
		leave_stopped(vm);
}

static void stop_vms(struct cpu *cpu)
{
	for (unsigned i = 0; i < nr_vms; i++)
		if (vms[i]->state == VM_RUNNING && vms[i]->stop_reason != VM_STOP_NONE)
			stop_vm(cpu, vms[i]);
}

/* --- all of them --- */

int vmm_init(const struct umbra_config *cfg, const struct vmm_backend *be)
{
	config = cfg;
	backend = be;
	cpuid_init(cpuid, cpu_features()->xcr0_mask);
	console_set_operator(monitor_input);
	timer_setup(&slice, end_slice, NULL);
	slice_ticks = mul_div64(SLICE_NS, clock_tsc_hz(), NS_PER_SEC);
	for (unsigned i = 0; i < cfg->nr_vms && i < VM_MAX; i++) {
		struct vm *vm = kalloc(sizeof(*vm));

		if (!vm)
			return trace_error(-ENOMEM);
		vm->id = i;
		vm->cfg = &cfg->vm[i];
		vm->backend = be;
		vm->state = VM_STOPPED;
		memmap_init(&vm->mem);
		timer_setup(&vm->restart, restart_vm, vm);
		vms[nr_vms++] = vm;
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
	console_work();
	while (vm_stop_requested())
		stop_vms(cpu);
}

static bool can_run(struct vcpu *vcpu)
{
	if (vcpu->state == VCPU_HALTED && vcpu_has_wakeup(vcpu))
		vcpu->state = VCPU_RUNNABLE;
	return vcpu->state == VCPU_RUNNABLE;
}

/*
 * The vCPU to run next: the current one until its slice is over, else the first of the
 * queue that can run. NULL: none. *others: could another one run as well?
 */
static struct vcpu *pick(struct vcpu *current, bool *others)
{
	struct vcpu *first = NULL;
	unsigned runnable = 0;

	list_for_each (n, &run_queue) {
		struct vcpu *vcpu = container_of(n, struct vcpu, sched_node);

		if (!can_run(vcpu))
			continue;
		runnable++;
		if (!first || (vcpu == current && !slice_over))
			first = vcpu;
	}
	*others = runnable > 1;
	return first;
}

/* From now on its turn ends a slice later, or lasts. */
static void set_slice(struct vcpu *vcpu, bool on)
{
	slice_runs = on;
	if (backend->caps()->preemption_timer)
		backend->set_deadline(vcpu, on ? rdtsc() + slice_ticks : 0);
	else if (on)
		timer_arm(&slice, clock_ns() + SLICE_NS);
	else
		timer_cancel(&slice);
}

static void take_turn(struct vcpu *vcpu, struct vcpu *last, bool others)
{
	if (vcpu != last || slice_over) {
		list_remove(&vcpu->sched_node);
		list_push_back(&run_queue, &vcpu->sched_node);
		set_slice(vcpu, false);
		slice_over = false;
	}
	vcpu->yield = false;
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
		irq_disable();
		if (cpu->work_pending) {
			irq_enable();
			return;
		}
		if (vcpu->stale)
			load_stale(vcpu);
		vcpu_inject_pending(vcpu);
		/* What the core delivers itself may be one fault too many. */
		if (vcpu->vm->stop_reason != VM_STOP_NONE) {
			irq_enable();
			return;
		}
		backend->run(vcpu, &vcpu->exit);
		irq_enable();
		if (vcpu->exit.kind == EXIT_CPUID)
			read_back_xcr0(vcpu);
		slice_over = vcpu->exit.kind == EXIT_TIMER;
		vm_exit_handle(vcpu);
		if (console_input_held())
			console_work();
	} while (vcpu->state == VCPU_RUNNABLE && vcpu->vm->stop_reason == VM_STOP_NONE &&
		 !slice_over && !(vcpu->yield && others));
	if (vcpu->yield)
		slice_over = true;
}

void vmm_run(void)
{
	struct cpu *cpu = this_cpu();
	struct vcpu *last = NULL;

	on_idle();
	for (;;) {
		struct vcpu *vcpu;
		bool others;

		do_work(cpu);
		vcpu = pick(last, &others);
		if (!vcpu) {
			irq_disable();
			cpu_idle();
			irq_enable();
			continue;
		}
		take_turn(vcpu, last, others);
		load_vcpu(cpu, vcpu);
		run_vcpu(cpu, vcpu, others);
		last = vcpu;
	}
}
