/* vmm/run.c: a VM of several vCPUs, and another of one. */
#include "tests/host/run_fixture.h"

#include <pthread.h>
#include <time.h>

/* The VM as new, alone or beside the other one, with three of them. */
static struct vm *start_smp(bool alone)
{
	struct vm *a = vmm_vm(0);

	by_backend(true);
	assert_int_equal(vmm_pause_vm(vmm_vm(1)), 0);
	assert_int_equal(vmm_kill_vm(a), 0);
	cfg.vm[0].vcpus = 3;
	cfg.vm[0].apic = true;
	assert_int_equal(vmm_start_vm(a), 0);
	while (a->vcpu[0]->state == VCPU_STARTING)
		run_steps((const step_fn[]){ interrupt, NULL });
	nr_ran = 0;
	if (!alone)
		assert_int_equal(vmm_resume_vm(vmm_vm(1)), 0);
	return a;
}

static void end_smp(void)
{
	if (vmm_vm(1)->state == VM_PAUSED)
		assert_int_equal(vmm_resume_vm(vmm_vm(1)), 0);
	play(nothing_more);
	cfg.vm[0].vcpus = 1;
	cfg.vm[0].apic = false;
}

static void expect_nrs(const char *who)
{
	char text[ARRAY_SIZE(nrs) + 1] = "";

	for (unsigned i = 0; i < nr_ran; i++)
		text[i] = (char)(ran[i] ? 'b' : '0' + nrs[i]);
	assert_string_equal(text, who);
}

static void start_1(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu_init_signal(vcpu->vm->vcpu[1]);
	vcpu_startup(vcpu->vm->vcpu[1], 0x9a);
	pause_exit(vcpu, exit);
}

static void spin(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	exit->kind = EXIT_PAUSE;
	exit->insn_len = 2;
}

static void nmi_to_1(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu_raise_nmi(vcpu->vm->vcpu[1]);
	vcpu_kick(vcpu->vm->vcpu[1]);
	pause_exit(vcpu, exit);
}

static void init_1(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu_init_signal(vcpu->vm->vcpu[1]);
	pause_exit(vcpu, exit);
}

/* One that starts another shares with it from then on, though its turn had no end before. */
static void test_startup(void **state)
{
	static const step_fn steps[] = { pause_exit, start_1,    pause_exit, timer_exit,
					 pause_exit, timer_exit, pause_exit, NULL };
	struct vm *a = start_smp(true);

	(void)state;
	assert_int_equal(a->nr_vcpus, 3);
	assert_int_equal(a->vcpu[1]->state, VCPU_WAIT_SIPI);
	run_steps(steps);
	expect_nrs("0000110");
	assert_int_equal(ends[1], 0);
	assert_int_not_equal(ends[2], 0);
	assert_int_equal(a->vcpu[1]->state, VCPU_RUNNABLE);
	assert_int_equal(a->vcpu[2]->state, VCPU_WAIT_SIPI);
	end_smp();
}

/* Who is woken by another vCPU has its turn at once; with no kick the first one would go on. */
static void test_kick(void **state)
{
	static const step_fn steps[] = { start_1,        timer_exit, halt,       pause_exit,
					 interrupt_10ms, nmi_to_1,   pause_exit, NULL };

	(void)state;
	start_smp(true);
	run_steps(steps);
	expect_nrs("0010001");
	end_smp();
}

/* Its own doing, too: the exit is done with first. */
static void test_init_ends_turn(void **state)
{
	static const step_fn steps[] = { start_1, timer_exit, init_1, pause_exit, NULL };
	struct vm *a = start_smp(true);

	(void)state;
	run_steps(steps);
	expect_nrs("0010");
	assert_int_equal(a->vcpu[1]->state, VCPU_WAIT_SIPI);
	assert_int_equal(a->vcpu[1]->regs.rip, 0xfff0);
	end_smp();
}

/* A vCPU that spins gives its turn to one of its own VM. */
static void test_yield_to_sibling(void **state)
{
	static const step_fn steps[] = { start_1, spin, spin, pause_exit, NULL };

	(void)state;
	start_smp(false);
	for (unsigned i = 0; i < 2; i++) /* whose turn it is now does not matter */
		run_steps((const step_fn[]){ timer_exit, NULL });
	if (ran[nr_ran - 1] == 0)
		run_steps((const step_fn[]){ timer_exit, NULL });
	nr_ran = 0;
	run_steps(steps);
	expect_nrs("0101"); /* who is started has its turn at once */
	end_smp();
}

/* What Umbra changes in the tables reaches each vCPU before it is entered again. */
static void change_tables(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct vm *vm = vcpu->vm;

	assert_int_equal(vcpu->tables_seen, vm->tables.count);
	vm_tables_flush(vm, FLUSH_NESTED);
	pause_exit(vcpu, exit);
}

static void test_tables_followed(void **state)
{
	static const step_fn steps[] = { start_1,       change_tables, change_tables, timer_exit,
					 change_tables, timer_exit,    change_tables, NULL };

	(void)state;
	start_smp(true);
	run_steps(steps);
	expect_nrs("0000110");
	end_smp();
}

static struct vm *flushed;
static bool flushing, was_left; /* atomic */

/* Another CPU, which changes the tables: the vCPU has to leave the guest for that. */
static void *flush(void *arg)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	(void)arg;
	owned_lock(&flushed->lock);
	__atomic_store_n(&flushing, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 50000; i++) {
		if (!__atomic_load_n(&flushed->vcpu[0]->in_guest, __ATOMIC_SEQ_CST)) {
			__atomic_store_n(&was_left, true, __ATOMIC_SEQ_CST);
			break;
		}
		nanosleep(&pause, NULL);
	}
	owned_unlock(&flushed->lock);
	return NULL;
}

/* What the backend finds cannot go on. */
static void stop_in_guest(struct vcpu *vcpu, struct vm_exit *exit)
{
	assert_true(vcpu->in_guest);
	while (!__atomic_load_n(&flushing, __ATOMIC_SEQ_CST))
		;
	vm_request_stop(vcpu->vm, VM_STOP_ERROR, 0, "a task switch that did not exit");
	interrupt(vcpu, exit);
}

static void test_stop_during_flush(void **state)
{
	struct vm *a = start_smp(true);
	pthread_t other;

	(void)state;
	flushed = a;
	flushing = was_left = false;
	assert_int_equal(pthread_create(&other, NULL, flush, NULL), 0);
	script = (const step_fn[]){ stop_in_guest, NULL };
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2); /* the CPU idles */
	assert_int_equal(pthread_join(other, NULL), 0);
	assert_true(was_left);
	assert_int_equal(a->state, VM_STOPPED);
	assert_string_equal(a->stop_text, "a task switch that did not exit");
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(vmm_start_vm(a), 0);
	end_smp();
}

/* All of them come off, and go. */
static void test_smp_life(void **state)
{
	static const step_fn steps[] = { start_1, timer_exit, pause_exit, NULL };
	struct vm *a = start_smp(true);

	(void)state;
	run_steps(steps);
	assert_true(a->vcpu[1]->loaded);
	assert_int_equal(vmm_pause_vm(a), 0);
	assert_false(a->vcpu[1]->loaded);
	script = nothing_more;
	assert_int_equal(setjmp(back) ? 2 : (vmm_run(), 0), 2); /* the CPU idles */
	assert_int_equal(vmm_resume_vm(a), 0);
	run_steps((const step_fn[]){ timer_exit, timer_exit, NULL });
	expect_nrs("00101");
	assert_int_equal(vmm_kill_vm(a), 0);
	assert_int_equal(a->nr_vcpus, 0);
	assert_int_equal(fake_hw.vcpus, 1);
	assert_int_equal(frame_bytes_owned(FRAME_VM0 + a->id), 0);
	assert_int_equal(vmm_start_vm(a), 0);
	end_smp();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_startup, setup),
		cmocka_unit_test_setup(test_kick, setup),
		cmocka_unit_test_setup(test_init_ends_turn, setup),
		cmocka_unit_test_setup(test_yield_to_sibling, setup),
		cmocka_unit_test_setup(test_tables_followed, setup),
		cmocka_unit_test_setup(test_stop_during_flush, setup),
		cmocka_unit_test_setup(test_smp_life, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
