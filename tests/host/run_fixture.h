/* vmm/run.c and two VMs, on a processor that does as it is told. */
#ifndef UMBRA_TESTS_RUN_FIXTURE_H
#define UMBRA_TESTS_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/timer.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_run.h"
#include "tests/host/fakes.h"
#include "tests/host/kernel_image.h"
#include "vmm/console.h"
#include "vmm/cpuid.h"
#include "vmm/run.h"
#include "vmm/vm_tables.h"

#define KERNEL_AT 0x100000u
#define MS UINT64_C(1000000)
#define SLICE (10 * MS)

/* --- the machine --- */

static uint64_t dr[4];
static jmp_buf back;

struct cpu *fake_run_cpu(void)
{
	return &boot_cpu;
}

/* The steps say themselves what interrupts come. */
void fake_run_irq_enable(void)
{
}

static uint64_t tsc_tick; /* by which time goes on at each look */

uint64_t fake_run_tsc(void)
{
	return fake_now_ns += tsc_tick; /* fakes.c: 1 GHz */
}

uint64_t *fake_run_dr(unsigned n)
{
	return &dr[n];
}

void cpu_idle(void)
{
	longjmp(back, 2);
}

void machine_poweroff(void)
{
	longjmp(back, 3);
}

void machine_reboot(void)
{
	longjmp(back, 3);
}

void fpu_save(void *area, uint64_t xcr0)
{
	(void)area;
	(void)xcr0;
}

void fpu_load(const void *area, uint64_t xcr0)
{
	(void)area;
	(void)xcr0;
}

/* --- the backend --- */

/* What the guest does each time that it is entered; it ends with NULL. */
typedef void (*step_fn)(struct vcpu *vcpu, struct vm_exit *exit);
static const step_fn *script;
static unsigned ran[64];  /* by which VM each step was done, */
static uint64_t ends[64]; /* its deadline then, */
static unsigned nrs[64];  /* and by which of its vCPUs */
static unsigned nr_ran;
static uint64_t deadline[2]; /* of each VM's vCPU */

static inline void run(struct vcpu *vcpu, struct vm_exit *exit)
{
	if (!*script)
		longjmp(back, 1);
	assert_true(nr_ran < ARRAY_SIZE(ran));
	ran[nr_ran] = vcpu->vm->id;
	nrs[nr_ran] = vcpu->id;
	ends[nr_ran++] = deadline[vcpu->vm->id];
	*exit = (struct vm_exit){ .kind = EXIT_INTR };
	(*script++)(vcpu, exit);
}

static inline void set_deadline(struct vcpu *vcpu, uint64_t tsc)
{
	deadline[vcpu->vm->id] = tsc;
}

static inline void nothing(struct vcpu *vcpu)
{
	(void)vcpu;
}

static struct vmm_backend backend;

/* --- steps --- */

/* A host's interrupt ends the run, at once or after a while. */
static inline void interrupt(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	boot_cpu.timer_due = boot_cpu.work_pending = true;
}

static inline void interrupt_1ms(struct vcpu *vcpu, struct vm_exit *exit)
{
	fake_now_ns += MS;
	interrupt(vcpu, exit);
}

/* The guest's own. */
static inline void pause_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	exit->kind = EXIT_WBINVD;
	exit->insn_len = 2;
}

static inline void timer_exit(struct vcpu *vcpu, struct vm_exit *exit)
{
	fake_now_ns = deadline[vcpu->vm->id];
	exit->kind = EXIT_TIMER;
}

static inline void interrupt_10ms(struct vcpu *vcpu, struct vm_exit *exit)
{
	fake_now_ns += SLICE;
	interrupt(vcpu, exit);
}

static inline void halt(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	exit->kind = EXIT_HLT;
	exit->insn_len = 1;
}

/* What an interrupt has brought for the other one ends its HLT. */
static inline void wake_other(struct vcpu *vcpu, struct vm_exit *exit)
{
	vcpu_raise_nmi(vmm_vm(!vcpu->vm->id)->vcpu[0]);
	interrupt_1ms(vcpu, exit);
}

static inline void stop(struct vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	vm_request_stop(vcpu->vm, VM_STOP_POWEROFF, 0, "powered off");
}

static inline void start_other(struct vcpu *vcpu, struct vm_exit *exit)
{
	assert_int_equal(vmm_start_vm(vmm_vm(!vcpu->vm->id)), 0);
	interrupt(vcpu, exit);
}

/* --- fixture --- */

static struct kernel_image kernel;
static struct boot_module module;
static struct umbra_config cfg;

/* vmm_init() is for once: the VMs are made there, and later started anew. */
static inline void make_vms(void)
{
	kernel_image_make(&kernel, KERNEL_AT);
	module = (struct boot_module){ ptr_to_hpa(&kernel), sizeof(kernel), "" };
	backend = fake_backend_ops;
	backend.run = run;
	backend.vcpu_load = backend.vcpu_put = backend.vcpu_release = nothing;
	cfg.nr_vms = 2;
	for (unsigned i = 0; i < 2; i++) {
		cfg.vm[i] = (struct vm_config){
			.memory = MIB(2), .vcpus = 1, .cmdline = "", .kernel = &module
		};
		cfg.vm[i].name[0] = i ? 'b' : 'a';
	}
	assert_int_equal(vmm_init(&cfg, &backend), 0);
}

static inline int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	fake_log_reset();
	fake_timers_reset();
	fake_has_nested = true;
	nr_ran = 0;
	memset(deadline, 0, sizeof(deadline));
	if (!vmm_vm(0))
		make_vms();
	for (unsigned i = 0; i < 2; i++)
		if (vmm_vm(i)->state != VM_RUNNING)
			assert_int_equal(vmm_start_vm(vmm_vm(i)), 0);
	return 0;
}

static inline void by_backend(bool on)
{
	fake_preemption_timer = on;
	backend.set_deadline = on ? set_deadline : NULL;
}

static inline void run_steps(const step_fn *steps)
{
	int why;

	script = steps;
	why = setjmp(back);
	if (!why)
		vmm_run();
	assert_int_equal(why, 1);
}

/* Run these steps, then take both VMs out of service. */
static inline void play(const step_fn *steps)
{
	static const step_fn stops[] = { stop, stop, NULL };

	run_steps(steps);
	script = stops;
	cfg.on_idle = ON_IDLE_POWEROFF;
	if (!setjmp(back))
		vmm_run();
	assert_int_equal(vmm_vm(0)->state, VM_STOPPED);
	assert_int_equal(vmm_vm(1)->state, VM_STOPPED);
}

static inline void expect_ran(const char *who)
{
	char text[sizeof(ran) / sizeof(ran[0]) + 1] = "";

	for (unsigned i = 0; i < nr_ran; i++)
		text[i] = (char)('a' + ran[i]);
	text[strlen(who)] = '\0'; /* behind that, the end */
	assert_string_equal(text, who);
}

static const step_fn nothing_more[] = { NULL };

#endif
