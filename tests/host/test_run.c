/* vmm/run.c: whose turn it is and when it ends, and what the operator does with VMs. */
#include "tests/host/run_fixture.h"
#include "vmm/kvm_clock.h"
#include "vmm/msr.h"

/* --- turns --- */

/* Each turn has its deadline, and lasts until the exit for it: nothing else ends it. */
static void test_turn_ends_by_backend(void **state)
{
	static const step_fn steps[] = { pause_exit, interrupt_1ms, interrupt_1ms, timer_exit,
					 pause_exit, timer_exit,    interrupt,     NULL };

	(void)state;
	by_backend(true);
	play(steps);
	expect_ran("aaaabba");
	assert_int_equal(ends[0], SLICE);
	assert_int_equal(ends[3], SLICE);
	assert_int_equal(ends[4], 2 * SLICE);
	assert_int_equal(ends[6], 3 * SLICE);
}

static unsigned changes;

/* Each time that a is about to be entered another vCPU changes its tables, for a while. */
static bool change_tables(void *ctx)
{
	(void)ctx;
	if (changes) {
		changes--;
		fake_now_ns += SLICE / 10;
		vmm_vm(0)->tables.count++;
	}
	return false;
}

/* The backend's deadline ends the turn of one that is in the guest: one that is not let in has none
 * longer for it. */
static void test_turn_ends_outside(void **state)
{
	static const step_fn steps[] = { pause_exit, timer_exit, interrupt, NULL };

	(void)state;
	by_backend(true);
	vmm_vm(0)->intr.pending = change_tables;
	changes = 50;
	play(steps);
	expect_ran("bb");
	assert_in_range(changes, 0, 40);
}

/* Without it a timer ends it. */
static void test_turn_ends_by_timer(void **state)
{
	static const step_fn steps[] = { pause_exit, interrupt,      interrupt_10ms,
					 interrupt,  interrupt_10ms, interrupt,
					 NULL };

	(void)state;
	by_backend(false);
	play(steps);
	expect_ran("aaabba");
}

static void timer_worked(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu->lapic.timer.work_ns = SLICE;
	interrupt(vcpu, exit);
}

/* What a guest's timer has cost, in whose turn ever, is the guest's. */
static void test_pays_for_its_timer(void **state)
{
	static const step_fn steps[] = { timer_worked, interrupt_1ms, NULL };

	(void)state;
	by_backend(true);
	play(steps);
	expect_ran("ab");
}

/* With nobody else to run there is no end; who wakes after a while has its turn at once. */
static void test_alone(void **state)
{
	static const step_fn steps[] = { timer_exit,    halt,       interrupt,
					 interrupt_1ms, wake_other, interrupt,
					 timer_exit,    interrupt,  NULL };

	(void)state;
	by_backend(true);
	play(steps);
	expect_ran("abaaabba");
	assert_int_equal(ends[0], SLICE);
	assert_int_equal(ends[1], 2 * SLICE);
	assert_int_equal(ends[2], 0);
	assert_int_equal(ends[4], 0);
	assert_int_equal(ends[5], SLICE + 2 * MS + SLICE);
	assert_int_equal(ends[7], SLICE + 2 * MS + 2 * SLICE);
}

/* One that goes takes its turn with it; who is made in its place has its own. */
static void test_stopped_and_started(void **state)
{
	static const step_fn steps[] = { stop,       interrupt_1ms, start_other, interrupt,
					 timer_exit, timer_exit,    interrupt,   NULL };

	(void)state;
	by_backend(true);
	play(steps);
	expect_ran("abbbbab"); /* a new one queues behind the one that runs */
	assert_int_equal(ends[0], SLICE);
	assert_int_equal(ends[1], 0);
	assert_int_equal(ends[3], SLICE);
	assert_int_equal(ends[4], SLICE);
	assert_int_equal(ends[5], 2 * SLICE);
	assert_int_equal(ends[6], 3 * SLICE);
}

/* --- what the operator does --- */

static void pause_me(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	vm_request_pause(vcpu->vm);
}

static void stop_and_pause_me(struct vcpu *vcpu, struct vm_exit *exit)
{
	stop(vcpu, exit);
	vm_request_pause(vcpu->vm);
}

static void triple(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	vcpu_triple_fault(vcpu);
}

static void reset(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	vm_request_stop(vcpu->vm, VM_STOP_RESET, 0, "reset by the guest");
}

static void test_pause(void **state)
{
	static const step_fn steps[] = { interrupt_10ms, interrupt_10ms, NULL };
	struct vm *a = vmm_vm(0);

	(void)state;
	by_backend(true);
	assert_int_equal(vmm_resume_vm(a), -EINVAL);
	assert_int_equal(vmm_pause_vm(a), 0);
	assert_int_equal(a->state, VM_PAUSED);
	assert_int_equal(vmm_pause_vm(a), -EINVAL);
	assert_int_equal(vmm_start_vm(a), -EBUSY);
	run_steps(steps);
	assert_int_equal(vmm_resume_vm(a), 0);
	assert_int_equal(a->state, VM_RUNNING);
	run_steps(steps);
	expect_ran("bbba");
	assert_int_equal(ends[1], 0); /* it was alone */
	play(nothing_more);
	assert_int_equal(vmm_pause_vm(a), -EINVAL);
	assert_int_equal(vmm_resume_vm(a), -EINVAL);
	assert_int_equal(vmm_stop_vm(a), -EINVAL);
}

#define CLOCK_PAGE 0x3000
#define CLOCK_FLAGS (CLOCK_PAGE + 29)
#define CLOCK_STOPPED 2

static unsigned looks;

/* Its page is written beside the timers of the VM's devices. */
static void look_locked(void)
{
	looks++;
	assert_true(owned_lock_held(&vmm_vm(0)->lock));
}

static uint64_t clock_word(struct vm *vm, uint64_t at, size_t size)
{
	uint64_t val = 0;

	assert_true(memmap_read(&vm->mem, GPA(at), &val, size));
	return val;
}

/* A guest with KVM's clock is told of a pause, and not of a debugger's steps. */
static void test_pause_with_clock(void **state)
{
	struct vm *a = vmm_vm(0);
	uint64_t version;

	(void)state;
	cfg.vm[0].pv = PV_KVM;
	assert_true(msr_write(a->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_PAGE | 1));
	looks = 0;
	assert_int_equal(vmm_pause_vm(a), 0);
	assert_int_equal(clock_word(a, CLOCK_FLAGS, 1) & CLOCK_STOPPED, 0);
	fake_tsc_hz_asked = look_locked;
	assert_int_equal(vmm_resume_vm(a), 0);
	fake_tsc_hz_asked = NULL;
	assert_int_equal(clock_word(a, CLOCK_FLAGS, 1) & CLOCK_STOPPED, CLOCK_STOPPED);
	assert_int_equal(looks, 1);
	version = clock_word(a, CLOCK_PAGE, 4);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vmm_pause_vm(a), 0);
		a->vcpu[0]->debug.step = i < 2;
		assert_int_equal(vmm_resume_vm(a), 0);
		assert_int_equal(clock_word(a, CLOCK_PAGE, 4), i < 2 ? version : version + 2);
	}
	cfg.vm[0].pv = PV_NONE;
	play(nothing_more);
}

/* Before it is entered again; an end of the guest's own comes first. */
static void test_pause_requested(void **state)
{
	static const step_fn steps[] = { pause_me, stop_and_pause_me, NULL };
	struct vm *a = vmm_vm(0);

	(void)state;
	run_steps((const step_fn[]){ pause_me, interrupt, NULL });
	expect_ran("ab");
	assert_int_equal(a->state, VM_PAUSED);
	assert_false(a->vcpu[0]->loaded);
	script = steps;
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2); /* b too: the CPU idles */
	assert_int_equal(vmm_vm(1)->state, VM_PAUSED);
	assert_int_equal(vmm_resume_vm(a), 0);
	cfg.on_idle = ON_IDLE_POWEROFF;
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2); /* and does not power off */
	assert_int_equal(a->state, VM_STOPPED);
	assert_int_equal(vmm_resume_vm(vmm_vm(1)), 0);
	play(nothing_more);
}

/* An end that was asked for before the pause comes although it does not run. */
static void test_stop_while_paused(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	assert_int_equal(vmm_pause_vm(a), 0);
	vm_request_stop(a, VM_STOP_POWEROFF, 0, "powered off");
	run_steps((const step_fn[]){ interrupt, NULL });
	assert_int_equal(a->state, VM_STOPPED);
	play(nothing_more);
}

static void expect_gone(struct vm *vm)
{
	assert_int_equal(vm->state, VM_STOPPED);
	assert_int_equal(vm->stop_reason, VM_STOP_KILLED);
	assert_int_equal(frame_bytes_owned(FRAME_VM0 + vm->id), 0);
	assert_false(vm->restart.armed);
	assert_int_equal(vmm_kill_vm(vm), -EINVAL);
}

/* In whatever state: nothing of it stays. */
static void test_kill(void **state)
{
	struct vm *a = vmm_vm(0), *b = vmm_vm(1);

	(void)state;
	assert_int_equal(vmm_kill_vm(a), 0);
	expect_gone(a);
	if (!strstr(fake_log, "vm a: killed\n"))
		fail_msg("expected a line, seen:\n%s", fake_log);
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(vmm_pause_vm(a), 0);
	assert_int_equal(vmm_kill_vm(a), 0);
	expect_gone(a);
	/* Crashed, and kept. */
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(vmm_pause_vm(b), 0);
	script = (const step_fn[]){ triple, NULL };
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2);
	assert_int_equal(a->stop_reason, VM_STOP_TRIPLE);
	assert_true(frame_bytes_owned(FRAME_VM0 + a->id) > 0);
	assert_int_equal(vmm_kill_vm(a), 0);
	expect_gone(a);
	/* On its way to a restart; with b paused the machine does not go down. */
	assert_int_equal(vmm_start_vm(a), 0);
	script = (const step_fn[]){ reset, NULL };
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2);
	assert_true(a->restart.armed);
	cfg.vm[0].memory = GIB(64);
	assert_int_equal(vmm_start_vm(a), -ENOMEM);
	assert_true(a->restart.armed); /* as if nobody had asked */
	cfg.vm[0].memory = MIB(16);
	assert_int_equal(vmm_kill_vm(a), 0);
	expect_gone(a);
	fake_clock_advance(10000 * MS);
	assert_int_equal(a->state, VM_STOPPED);
	assert_int_equal(vmm_kill_vm(b), 0);
	expect_gone(b);
}

static void test_reset(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	cfg.vm[0].on_reset = ON_RESET_STOP;
	a->vcpu[0]->regs.gpr[RBX] = 1;
	assert_int_equal(vmm_reset_vm(a), 0);
	assert_int_equal(a->state, VM_RUNNING);
	assert_int_equal(a->vcpu[0]->regs.gpr[RBX], 0);
	assert_int_equal(vmm_pause_vm(a), 0);
	assert_int_equal(vmm_reset_vm(a), 0);
	assert_int_equal(a->state, VM_RUNNING);
	cfg.vm[0].on_reset = ON_RESET_RESTART;
	assert_int_equal(vmm_pause_vm(vmm_vm(1)), 0);
	script = (const step_fn[]){ reset, NULL };
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2);
	assert_int_equal(a->state, VM_STOPPED);
	assert_int_equal(vmm_reset_vm(a), 0); /* it does not wait */
	assert_int_equal(a->state, VM_RUNNING);
	assert_false(a->restart.armed);
	assert_int_equal(vmm_resume_vm(vmm_vm(1)), 0);
	play(nothing_more);
	assert_int_equal(vmm_reset_vm(a), -EINVAL);
}

/* Beside others a VM is made in its own turns: what is wrong with it comes out there. */
static void test_start_beside_others(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	by_backend(true);
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(a->state, VM_RUNNING);
	assert_int_equal(a->vcpu[0]->state, VCPU_STARTING);
	run_steps((const step_fn[]){ timer_exit, interrupt, NULL });
	assert_int_equal(a->vcpu[0]->state, VCPU_RUNNABLE);
	expect_ran("ba");
	assert_int_equal(vmm_kill_vm(a), 0);
	kernel.ehdr.e_machine = EM_ARM;
	assert_int_equal(vmm_start_vm(a), 0);
	run_steps((const step_fn[]){ timer_exit, interrupt, interrupt, NULL });
	kernel.ehdr.e_machine = EM_X86_64;
	assert_int_equal(a->state, VM_STOPPED);
	assert_int_equal(frame_bytes_owned(FRAME_VM0 + a->id), 0);
	if (!strstr(fake_log, ", not started\n"))
		fail_msg("expected a line, seen:\n%s", fake_log);
	play(nothing_more);
}

/* One that cannot be started by another line has its own again, be that seen at once or when its
 * kernel is loaded. */
static void test_start_by_another_line(void **state)
{
	static struct vm_config other;
	struct vm *a = vmm_vm(0);

	(void)state;
	by_backend(true);
	run_steps((const step_fn[]){ timer_exit, interrupt, NULL });
	assert_int_equal(vmm_kill_vm(a), 0);
	other = *a->cfg;
	other.memory = MIB(4);
	kernel.ehdr.e_machine = EM_ARM;
	assert_int_equal(vmm_start_vm_as(a, &other), 0);
	assert_ptr_equal(a->cfg, &other);
	run_steps((const step_fn[]){ timer_exit, interrupt, interrupt, NULL });
	kernel.ehdr.e_machine = EM_X86_64;
	assert_int_equal(a->state, VM_STOPPED);
	assert_ptr_equal(a->cfg, &cfg.vm[0]);
	other.memory = ALIGN_DOWN(UINT64_MAX, MIB(1));
	assert_int_equal(vmm_start_vm_as(a, &other), -ENOMEM);
	assert_ptr_equal(a->cfg, &cfg.vm[0]);
	/* One that is started keeps it for what it restarts into. */
	other.memory = MIB(4);
	assert_int_equal(vmm_start_vm_as(a, &other), 0);
	run_steps((const step_fn[]){ timer_exit, NULL });
	assert_int_equal(a->vcpu[0]->state, VCPU_RUNNABLE);
	assert_int_equal(vmm_reset_vm(a), 0);
	assert_ptr_equal(a->cfg, &other);
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(vmm_start_vm_as(a, &cfg.vm[0]), 0);
	play(nothing_more);
}

/* One that is ended by who looks at it had its turn: it is gone. */
static void test_turn_of_the_dead(void **state)
{
	(void)state;
	by_backend(true);
	run_steps((const step_fn[]){ interrupt, NULL });
	assert_ptr_equal(vmm_turn(&boot_cpu), vmm_vm(0)->vcpu[0]);
	vmm_hold_vm(vmm_vm(0));
	vmm_hold_vm(vmm_vm(1));
	assert_int_equal(vmm_kill_vm(vmm_vm(0)), 0);
	assert_null(vmm_turn(&boot_cpu));
	vmm_let_vm(vmm_vm(1));
	vmm_let_vm(vmm_vm(0));
	play(nothing_more);
}

/* Who is looked at is off its CPU: whose turn it was is known all the same. */
static void test_turn_of_whom(void **state)
{
	struct vcpu *a = vmm_vm(0)->vcpu[0];

	(void)state;
	by_backend(true);
	run_steps((const step_fn[]){ interrupt, NULL });
	assert_ptr_equal(boot_cpu.current, a);
	assert_ptr_equal(vmm_turn(&boot_cpu), a);
	vmm_hold_vm(a->vm);
	assert_null(boot_cpu.current);
	assert_ptr_equal(vmm_turn(&boot_cpu), a);
	/* The other one has its turn meanwhile. */
	run_steps((const step_fn[]){ interrupt, NULL });
	vmm_hold_vm(vmm_vm(1));
	assert_ptr_equal(vmm_turn(&boot_cpu), a);
	vmm_let_vm(vmm_vm(1));
	vmm_let_vm(a->vm);
	run_steps((const step_fn[]){ interrupt, NULL });
	assert_ptr_equal(vmm_turn(&boot_cpu), boot_cpu.current);
	play(nothing_more);
}

/* The loop runs until the machine idles (2) or is off (3). */
static int go_on(void)
{
	int why = setjmp(back);

	if (!why)
		vmm_run();
	return why;
}

/* One that is alone is so too: the operator is heard meanwhile. */
static void test_start_alone(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	by_backend(true);
	run_steps(nothing_more);
	fake_log_shown = true;
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(vmm_kill_vm(vmm_vm(1)), 0);
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(a->vcpu[0]->state, VCPU_STARTING);
	run_steps((const step_fn[]){ interrupt, NULL });
	assert_int_equal(a->vcpu[0]->state, VCPU_RUNNABLE);
	expect_ran("a");
	assert_int_equal(vmm_reset_vm(a), 0);
	assert_int_equal(a->vcpu[0]->state, VCPU_STARTING);
	run_steps(nothing_more);
	/* What is wrong with its kernel is seen, though it has the console already. */
	assert_int_equal(vmm_kill_vm(a), 0);
	kernel.ehdr.e_machine = EM_ARM;
	assert_int_equal(vmm_start_vm(a), 0);
	assert_ptr_equal(console_front(), a);
	cfg.on_idle = ON_IDLE_MONITOR;
	assert_int_equal(go_on(), 2);
	kernel.ehdr.e_machine = EM_X86_64;
	assert_int_equal(a->state, VM_STOPPED);
	if (!strstr(fake_console_out, ", not started\n"))
		fail_msg("expected a line, seen:\n%s", fake_console_out);
	fake_log_shown = false;
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(vmm_start_vm(vmm_vm(1)), 0);
	play(nothing_more);
}

static void yield_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	pause_exit(vcpu, exit);
	vcpu->yield = true;
}

/* The turn in which a VM is made goes on as its guest's, and ends though the one before did not
 * come to its own end. */
static void test_start_turn_ends(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	by_backend(true);
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(vmm_start_vm(a), 0);
	assert_int_equal(a->vcpu[0]->state, VCPU_STARTING);
	tsc_tick = 1000;
	run_steps((const step_fn[]){ yield_exit, interrupt, NULL });
	tsc_tick = 0;
	expect_ran("ba");
	assert_int_not_equal(ends[1], 0);
	play(nothing_more);
}

static int stop_both(void)
{
	script = (const step_fn[]){ stop, stop, NULL };
	cfg.on_idle = ON_IDLE_POWEROFF;
	return go_on();
}

/* The machine does not go down under the hands of an operator who is at the monitor. */
static void test_operator_is_there(void **state)
{
	(void)state;
	fake_console_type("\x1dm");
	assert_int_equal(stop_both(), 2);
	if (!strstr(fake_log, "no VM is left: on-idle=poweroff comes 10 minutes after the last"))
		fail_msg("expected a line, seen:\n%s", fake_log);
	fake_clock_advance(599 * NS_PER_SEC);
	fake_console_type("v");
	assert_int_equal(go_on(), 2);
	fake_clock_advance(599 * NS_PER_SEC);
	assert_int_equal(go_on(), 2);
	fake_clock_advance(2 * NS_PER_SEC);
	assert_int_equal(go_on(), 3);
	/* One who is at a VM's console is not there. */
	setup(NULL);
	fake_console_type("\x1dm\x1d"
			  "1");
	assert_int_equal(stop_both(), 3);
	/* Nor is one who has left it to itself for long. */
	setup(NULL);
	fake_console_type("\x1dm");
	run_steps((const step_fn[]){ interrupt, NULL });
	fake_clock_advance(601 * NS_PER_SEC);
	assert_int_equal(stop_both(), 3);
	fake_console_type("\x1d"
			  "1");
	go_on();
}

#define PM1_STATUS 0x600
#define PM1_PWRBTN BIT(8)

static void test_power_button(void **state)
{
	struct vm *a = vmm_vm(0);

	(void)state;
	assert_false(bus_in(&a->bus, PM1_STATUS, 2) & PM1_PWRBTN);
	assert_int_equal(vmm_stop_vm(a), 0);
	assert_true(bus_in(&a->bus, PM1_STATUS, 2) & PM1_PWRBTN);
	assert_false(bus_in(&vmm_vm(1)->bus, PM1_STATUS, 2) & PM1_PWRBTN);
	play(nothing_more);
}

/* --- many lives --- */

/* Pages come into the shadow, where there is one. */
static void touch(struct vcpu *vcpu, struct vm_exit *exit)
{
	static uint64_t gva;

	(void)vcpu;
	exit->kind = vcpu->vm->shadow ? EXIT_PAGE_FAULT : EXIT_WBINVD;
	exit->insn_len = 2;
	exit->page_fault.gva = GVA(gva);
	exit->page_fault.error = 2;
	gva = (gva + 0x1000) % MIB(3);
}

/* A thousand lives of two VMs, ended in all ways, cost no frame. */
static void test_thousand_lives(void **state)
{
	static const step_fn turns[] = { touch, touch, touch,     timer_exit, touch,
					 touch, touch, interrupt, NULL };
	uint64_t bytes = 0;

	(void)state;
	by_backend(true);
	cfg.vm[0].paging = PAGING_SHADOW;
	assert_int_equal(vmm_kill_vm(vmm_vm(0)), 0);
	assert_int_equal(vmm_kill_vm(vmm_vm(1)), 0);
	for (unsigned life = 0; life < 500; life++) {
		if (life == 2)
			bytes = fake_frame_bytes;
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(vmm_start_vm(vmm_vm(i)), 0);
		fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET;
		fake_hw.reg[REG_EFER] = 0;
		nr_ran = 0;
		run_steps(turns);
		if (life % 2)
			assert_int_equal(vmm_pause_vm(vmm_vm(life % 4 == 1)), 0);
		if (life % 3 == 0)
			assert_int_equal(vmm_reset_vm(vmm_vm(0)), 0);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(vmm_kill_vm(vmm_vm(i)), 0);
		if (life > 2 && fake_frame_bytes != bytes)
			fail_msg("life %u: expected %llu bytes in use, seen %llu", life,
				 (unsigned long long)bytes, (unsigned long long)fake_frame_bytes);
		assert_int_equal(fake_hw.vms, 0);
		assert_int_equal(fake_hw.vcpus, 0);
		fake_log_reset();
	}
	cfg.vm[0].paging = PAGING_AUTO;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_turn_ends_by_backend, setup),
		cmocka_unit_test_setup(test_turn_ends_outside, setup),
		cmocka_unit_test_setup(test_turn_ends_by_timer, setup),
		cmocka_unit_test_setup(test_pays_for_its_timer, setup),
		cmocka_unit_test_setup(test_alone, setup),
		cmocka_unit_test_setup(test_stopped_and_started, setup),
		cmocka_unit_test_setup(test_pause, setup),
		cmocka_unit_test_setup(test_pause_with_clock, setup),
		cmocka_unit_test_setup(test_pause_requested, setup),
		cmocka_unit_test_setup(test_stop_while_paused, setup),
		cmocka_unit_test_setup(test_kill, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_start_beside_others, setup),
		cmocka_unit_test_setup(test_start_by_another_line, setup),
		cmocka_unit_test_setup(test_turn_of_whom, setup),
		cmocka_unit_test_setup(test_turn_of_the_dead, setup),
		cmocka_unit_test_setup(test_start_alone, setup),
		cmocka_unit_test_setup(test_start_turn_ends, setup),
		cmocka_unit_test_setup(test_operator_is_there, setup),
		cmocka_unit_test_setup(test_power_button, setup),
		cmocka_unit_test_setup(test_thousand_lives, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
