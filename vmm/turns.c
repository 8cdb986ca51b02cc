#include "vmm/turns.h"

#include "arch/x86_64/clock.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "vmm/dr.h"
#include "vmm/sched.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"
#include "vmm/vm_shadow.h"
#include "vmm/vm_tables.h"

/* A CPU's; its loop alone touches it, but for what is atomic. */
struct turns {
	struct cpu *cpu;
	struct sched sched;
	/* The end of a turn: the backend's deadline, or a timer where the processor has none. */
	struct timer slice;
	bool slice_runs, slice_over;
	bool hurries;                /* it runs for as long as sched's hurry lets it */
	struct cpu_work leave;       /* CPU 0's message: take `leaving` off */
	struct cpu_work ask;         /* its own, to a CPU that has much to do: give it one */
	struct cpu_work seek;        /* the same, to the one where `sought` waits: give that one */
	struct sched_entity *sought; /* the other one reads it: atomic */
	uint64_t next_seek;          /* not before this TSC */
};

static const struct vmm_backend *backend;
static void (*start_some)(struct vcpu *vcpu, uint64_t end);
static struct turns *turns[CPU_MAX];  /* by the CPU's number; NULL: it runs no guests */
static struct sched *scheds[CPU_MAX]; /* theirs */
static unsigned nr_turns;             /* those beyond have none */

static struct turns *own_turns(void)
{
	return turns[this_cpu()->id];
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

/* --- who is at home where --- */

/* What cpus= on its line says, or all. */
static struct cpu_set line_cpus(const struct vm *vm)
{
	struct cpu_set all = cpu_set_all();

	if (!cpu_set_is_empty(&vm->cfg->cpus))
		return vm->cfg->cpus;
	if (backend->caps()->spares_boot_cpu && nr_turns > 1)
		cpu_set_remove(&all, 0);
	return all;
}

/* A message to the vCPU's home, or its own doing. */
static void arrive(void *ctx)
{
	struct vcpu *vcpu = ctx;

	if (__atomic_load_n(&vcpu->vm->held, __ATOMIC_ACQUIRE)) {
		sched_remove(&own_turns()->sched, &vcpu->sched);
		__atomic_store_n(&vcpu->home, NULL, __ATOMIC_RELEASE);
		return;
	}
	vcpu->sched.cpus = vcpu->vm->together ? cpu_set_of(vcpu->last_cpu) : line_cpus(vcpu->vm);
	sched_add(&own_turns()->sched, &vcpu->sched);
	lapic_arrive(&vcpu->lapic);
}

static void send_home(struct vcpu *vcpu, struct cpu *cpu)
{
	vcpu->last_cpu = cpu->id;
	__atomic_store_n(&vcpu->home, cpu, __ATOMIC_RELEASE);
	vcpu->arrive.fn = arrive;
	vcpu->arrive.ctx = vcpu;
	if (cpu == this_cpu())
		arrive(vcpu);
	else
		smp_queue(cpu, &vcpu->arrive);
}

/* All of its state is in memory then, and the next CPU may load it. It is in no queue. */
static void go_off(const struct turns *t, struct vcpu *vcpu)
{
	if (t->cpu->current == vcpu)
		put_vcpu(t->cpu);
	lapic_leave(&vcpu->lapic);
	backend->vcpu_release(vcpu);
}

static struct cpu *choose_home(struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;
	struct sched *s;

	if (vm->vcpu[0]->state == VCPU_STARTING)
		return this_cpu();
	if (vm->together && vcpu->id)
		return vcpu_home(vm->vcpu[0]);
	/* Whom somebody has only had a look at goes back. */
	if (vcpu->placed)
		return turns[vcpu->last_cpu]->cpu;
	vcpu->placed = true;
	vcpu->sched.cpus = line_cpus(vm);
	s = sched_place(scheds, nr_turns, &vcpu->sched);
	return s ? turns[s->cpu]->cpu : this_cpu();
}

/* A breakpoint, or the end of a step, lies in memory that all of them execute. */
static bool is_debugged(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i]->debug.on)
			return true;
	return false;
}

void turns_join(struct vm *vm)
{
	bool starts = vm->vcpu[0]->state == VCPU_STARTING;

	vm->together = starts || is_debugged(vm);
	__atomic_store_n(&vm->held, false, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < vm->nr_vcpus && (!i || !starts); i++) {
		struct vcpu *vcpu = vm->vcpu[i];

		if (vcpu_home(vcpu))
			continue;
		/* The operator may have had a look at it here. */
		backend->vcpu_release(vcpu);
		send_home(vcpu, choose_home(vcpu));
	}
}

/* It is in no queue any more, and e->to says where it is to be. */
static void send_away(const struct turns *t, struct sched_entity *e)
{
	struct vcpu *vcpu = container_of(e, struct vcpu, sched);

	go_off(t, vcpu);
	send_home(vcpu, turns[e->to->cpu]->cpu);
}

/* A CPU that has nothing to do asks for something. */
static void give(void *ctx)
{
	struct turns *t = own_turns(), *asks = ctx;
	struct sched_entity *e = sched_give(&t->sched, &asks->sched);

	if (e)
		send_away(t, e);
}

static void ask(struct turns *t)
{
	struct sched *s = nr_turns > 1 ? sched_busiest(scheds, nr_turns, &t->sched) : NULL;

	if (!s || s == &t->sched)
		return;
	t->ask.fn = give;
	t->ask.ctx = t;
	smp_queue(turns[s->cpu]->cpu, &t->ask);
}

/* One spins on another CPU, and waits for one of this CPU's, it seems. */
static void give_sought(void *ctx)
{
	struct turns *t = own_turns(), *asks = ctx;
	struct sched_entity *sought = __atomic_load_n(&asks->sought, __ATOMIC_RELAXED);
	struct sched_entity *e = sched_give_sought(&t->sched, sought, &asks->sched);

	if (e)
		send_away(t, e);
}

/* It spins where nobody else can run: who waits elsewhere, and it may wait for, is better off here.
 * Each time another one of them is asked for, and once a millisecond: others' turns are interrupted
 * for it. */
static void seek(struct turns *t, struct vcpu *spins)
{
	struct vm *vm = spins->vm;
	uint64_t now = rdtsc();

	if (nr_turns < 2 || now < t->next_seek ||
	    __atomic_load_n(&t->seek.queued, __ATOMIC_ACQUIRE))
		return;
	t->next_seek = now + t->sched.ms;
	for (unsigned i = 1; i <= vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpu[(spins->sought + i) % vm->nr_vcpus];
		struct cpu *home = vcpu_home(v);

		if (!home || home == t->cpu || !sched_waits(scheds[home->id], &v->sched))
			continue;
		spins->sought = v->id;
		__atomic_store_n(&t->sought, &v->sched, __ATOMIC_RELAXED);
		t->seek.fn = give_sought;
		t->seek.ctx = t;
		smp_queue(home, &t->seek);
		return;
	}
}

static struct vm *leaving;   /* CPU 0's: whose vCPUs are to go */
static unsigned still_to_go; /* how many CPUs have not answered; atomic */

static void leave_here(struct vm *vm)
{
	struct turns *t = own_turns();

	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		if (vcpu_home(vm->vcpu[i]) != t->cpu || list_empty(&vm->vcpu[i]->sched.node))
			continue;
		sched_set_aside(&t->sched, &vm->vcpu[i]->sched);
		go_off(t, vm->vcpu[i]);
		__atomic_store_n(&vm->vcpu[i]->home, NULL, __ATOMIC_RELEASE);
	}
}

static void leave(void *ctx)
{
	(void)ctx;
	leave_here(leaving);
	__atomic_sub_fetch(&still_to_go, 1, __ATOMIC_RELEASE);
}

static bool any_home(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		if (vcpu_home(vm->vcpu[i]))
			return true;
	return false;
}

/* One that is being given to another CPU is in neither's queue: it finds the VM held when it
 * arrives. */
void turns_leave(struct vm *vm)
{
	kassert(!owned_lock_held(&vm->lock));
	__atomic_store_n(&vm->held, true, __ATOMIC_SEQ_CST);
	leave_here(vm);
	if (!any_home(vm))
		return;
	leaving = vm;
	for (unsigned i = 1; i < nr_turns; i++) {
		if (!turns[i])
			continue;
		__atomic_add_fetch(&still_to_go, 1, __ATOMIC_RELAXED);
		turns[i]->leave.fn = leave;
		smp_queue(turns[i]->cpu, &turns[i]->leave);
	}
	/* One of them may be on its way to this CPU. */
	while (__atomic_load_n(&still_to_go, __ATOMIC_ACQUIRE) || any_home(vm)) {
		smp_do_work();
		cpu_relax();
	}
}

/* --- turns --- */

/* Is the VM to be taken off, or to stop? */
static bool is_wanted(const struct vm *vm)
{
	return __atomic_load_n(&vm->held, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&vm->stop_reason, __ATOMIC_RELAXED) != VM_STOP_NONE ||
	       __atomic_load_n(&vm->pause_requested, __ATOMIC_RELAXED);
}

static bool can_run(struct sched_entity *e)
{
	struct vcpu *vcpu = container_of(e, struct vcpu, sched);

	if (vcpu_is_signalled(vcpu))
		vcpu_take_signals(vcpu);
	if (vcpu->state == VCPU_HALTED && vcpu_has_wakeup(vcpu))
		vcpu->state = VCPU_RUNNABLE;
	return (vcpu->state == VCPU_RUNNABLE || vcpu->state == VCPU_STARTING) &&
	       !is_wanted(vcpu->vm);
}

static void end_slice(void *ctx)
{
	struct turns *t = ctx;

	t->slice_runs = false;
}

/* Have the turn ended when its slice is over, or not at all. */
static void set_slice(struct turns *t, struct vcpu *vcpu, bool on)
{
	uint64_t left = sched_left(&t->sched);

	t->slice_runs = on;
	t->hurries = on && t->sched.hurry;
	if (backend->caps()->preemption_timer)
		backend->set_deadline(vcpu, on ? rdtsc() + left : 0);
	else if (on)
		timer_arm(&t->slice, clock_ns() + mul_div64(left, NS_PER_SEC, clock_tsc_hz()));
	else
		timer_cancel(&t->slice);
}

/* With nobody else to run a turn has no end; who has just been asked for one ends it sooner. */
static void take_turn(struct turns *t, struct vcpu *vcpu, bool others)
{
	if (!t->sched.used) { /* it is a new one */
		set_slice(t, vcpu, false);
		vcpu->pauses = 0;
	}
	if (others != t->slice_runs || (others && t->sched.hurry && !t->hurries))
		set_slice(t, vcpu, others);
}

/* Has something come that is to be looked at first? */
static bool has_news(const struct vcpu *vcpu)
{
	return vcpu_is_signalled(vcpu) || lapic_has_posted(&vcpu->lapic);
}

/* Are its tables the ones of now? */
static bool follow_tables(struct vcpu *vcpu)
{
	const struct vm *vm = vcpu->vm;

	if (vcpu->tables_seen != __atomic_load_n(&vm->tables.count, __ATOMIC_SEQ_CST))
		vm_tables_catch_up(vcpu);
	if (!(vcpu->stale & VCPU_STALE_ROOT))
		return true;
	return vm_shadow_load(vcpu);
}

/*
 * Enter the guest and leave it again. Interrupts are off. False: its tables have changed meanwhile.
 * Whoever changes them sees either that it is in the guest, and drives it out, or that it is not:
 * then it sees here what has changed.
 */
static bool enter(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->in_guest, true, __ATOMIC_SEQ_CST);
	if (vcpu->tables_seen != __atomic_load_n(&vcpu->vm->tables.count, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&vcpu->in_guest, false, __ATOMIC_RELEASE);
		return false;
	}
	exit_stats_enter(vcpu->exits, rdtsc());
	backend->run(vcpu, &vcpu->exit);
	__atomic_store_n(&vcpu->in_guest, false, __ATOMIC_RELEASE);
	exit_stats_leave(vcpu->exits, rdtsc());
	return true;
}

/*
 * Enter and handle exits until there is something else to do. That is looked at with
 * interrupts off, so that what comes later makes the guest exit at once.
 */
static void run_vcpu(struct turns *t, struct vcpu *vcpu, bool others)
{
	struct cpu *cpu = t->cpu;
	bool entered;

	do {
		if (!follow_tables(vcpu))
			return;
		irq_disable();
		if (cpu->work_pending) {
			irq_enable();
			return;
		}
		vcpu_inject_pending(vcpu);
		if (vcpu->stale)
			load_stale(vcpu);
		/*
		 * What the core delivers itself may be one fault too many, or a debugger's step; an
		 * interrupt that is taken may bring the next one, for it or for another vCPU here.
		 */
		if (is_wanted(vcpu->vm) || cpu->work_pending || has_news(vcpu)) {
			irq_enable();
			return;
		}
		entered = enter(vcpu);
		cpu->rounds++;
		irq_enable();
		/* Its turn may have ended: what tells of that may want the guest to be entered. */
		if (!entered)
			return;
		if (vcpu->lapic.has_taken)
			lapic_tell_taken(&vcpu->lapic);
		if (vcpu->exit.kind == EXIT_CPUID)
			read_back_xcr0(vcpu);
		t->slice_over = vcpu->exit.kind == EXIT_TIMER;
		vm_exit_handle(vcpu);
		if (vcpu->yield && !others) {
			vcpu->yield = false;
			seek(t, vcpu);
		}
	} while (vcpu->state == VCPU_RUNNABLE && !is_wanted(vcpu->vm) && !t->slice_over &&
		 !vcpu->yield && !vcpu_is_signalled(vcpu));
}

/* What its local APIC's timer has cost since its last turn, in others' turns as well. */
static uint64_t timer_work(struct vcpu *vcpu)
{
	return mul_div64(lapic_timer_work(&vcpu->lapic), clock_tsc_hz(), NS_PER_SEC);
}

/* All that it does to the machine from here on is on its own account. */
static void have_turn(struct turns *t, struct vcpu *vcpu, bool others)
{
	uint64_t begin = rdtsc(), in_guest = vcpu->exits->guest_ticks;

	/* One that starts may go on as a guest in the same turn, which has to have its end then. */
	take_turn(t, vcpu, others);
	if (vcpu->state == VCPU_STARTING) {
		start_some(vcpu, begin + sched_left(&t->sched));
		sched_charge(&t->sched, rdtsc() - begin);
		return;
	}
	load_vcpu(t->cpu, vcpu);
	t->slice_over = false;
	run_vcpu(t, vcpu, others);
	if (vcpu->debug.on) {
		owned_lock(&vcpu->vm->lock);
		debug_lift(vcpu->vm);
		owned_unlock(&vcpu->vm->lock);
	}
	exit_stats_close(vcpu->exits, rdtsc());
	t->cpu->guest_ticks += vcpu->exits->guest_ticks - in_guest;
	if (t->slice_over)
		set_slice(t, vcpu, false);
	vcpu->sched.yields = vcpu->yield;
	vcpu->yield = false;
	sched_charge(&t->sched, rdtsc() - begin + timer_work(vcpu));
}

void turns_messages(struct cpu *cpu)
{
	cpu->rounds++;
	if (cpu->timer_due) {
		cpu->timer_due = false;
		timer_run_expired();
	}
	smp_do_work();
}

static void balance(struct turns *t)
{
	struct sched_entity *away;
	struct sched *outdated;

	if (nr_turns < 2)
		return;
	while ((away = sched_balance(&t->sched, scheds, nr_turns)))
		send_away(t, away);
	outdated = sched_outdated(&t->sched, scheds, nr_turns);
	if (outdated)
		cpu_kick(turns[outdated->cpu]->cpu);
}

void turns_round(struct cpu *cpu)
{
	struct turns *t = turns[cpu->id];
	struct sched_entity *next, *away;
	bool others;

	sched_look(&t->sched, can_run);
	while ((away = sched_spread(&t->sched, scheds, nr_turns)))
		send_away(t, away);
	next = sched_pick(&t->sched, &others);
	balance(t);
	if (next) {
		have_turn(t, container_of(next, struct vcpu, sched), others);
		return;
	}
	ask(t);
	irq_disable();
	cpu_idle();
	irq_enable();
}

/* The loop of a CPU other than CPU 0. */
static void others_main(struct cpu *cpu)
{
	cpu->work_pending = false;
	turns_messages(cpu);
	turns_round(cpu);
}

static int make_turns(struct cpu *cpu)
{
	struct turns *t = kalloc(sizeof(*t));

	if (!t)
		return trace_error(-ENOMEM);
	t->cpu = cpu;
	timer_setup(&t->slice, end_slice, t, NULL);
	sched_init(&t->sched, cpu->id, clock_tsc_hz());
	scheds[cpu->id] = &t->sched;
	turns[cpu->id] = t;
	nr_turns = MAX(nr_turns, cpu->id + 1);
	return 0;
}

int turns_init(const struct vmm_backend *be, void (*start)(struct vcpu *vcpu, uint64_t end))
{
	backend = be;
	start_some = start;
	return make_turns(this_cpu());
}

int turns_start_others(void)
{
	for (unsigned id = 1; id < smp_count(); id++) {
		struct cpu *cpu = smp_cpu(id);
		int err = cpu->state == CPU_ONLINE ? make_turns(cpu) : 0;

		if (err)
			return err;
	}
	for (unsigned id = 1; id < nr_turns; id++) {
		if (!turns[id])
			continue;
		turns[id]->cpu->main = others_main;
		cpu_kick(turns[id]->cpu);
	}
	return 0;
}
