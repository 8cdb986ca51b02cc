/* The monitor beside two VMs, and what it says: for the tests of its commands. */
#ifndef UMBRA_TESTS_MONITOR_FIXTURE_H
#define UMBRA_TESTS_MONITOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/machine.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/console.h"
#include "vmm/exit.h"
#include "vmm/monitor/command.h"
#include "vmm/monitor/dispatch.h"
#include "vmm/monitor/monitor.h"
#include "vmm/run.h"

#define SECOND UINT64_C(1000000000)

/* --- the VMs: a, with a vCPU, and b, at rest --- */

static struct boot_module module = { .size = 5000, .cmdline = "vm=alpha kernel" };
static struct vm_config cfg[2];
static struct vm second;
static char asked[256]; /* of run.c */

struct vm *vmm_vm(unsigned index)
{
	return index == 0 ? &fake_vm : index == 1 ? &second : NULL;
}

/* Held while a command is carried out, and let go of. */
void vmm_hold_vm(struct vm *vm)
{
	assert_int_equal(vm->holds++, 0);
}

void vmm_let_vm(struct vm *vm)
{
	assert_int_equal(--vm->holds, 0);
}

static int note(const char *what, const struct vm *vm, bool right)
{
	size_t at = strlen(asked);

	snprintf(asked + at, sizeof(asked) - at, "%s %s %llu %u;", what, vm->cfg->name,
		 (unsigned long long)(vm->cfg->memory >> 20), vm->cfg->paging);
	return right ? 0 : -EINVAL;
}

static bool takes_front; /* a VM that is started */

int vmm_start_vm_as(struct vm *vm, const struct vm_config *line)
{
	const struct vm_config *was = vm->cfg;

	vm->cfg = line;
	note("start", vm, true);
	if (takes_front)
		console_set_front(&fake_vm);
	if (line->memory <= GIB(1))
		return 0;
	vm->cfg = was;
	return -ENOMEM;
}

static const struct vcpu *turn;

const struct vcpu *vmm_turn(const struct cpu *cpu)
{
	assert_int_equal(cpu->id, 0);
	return turn;
}

int vmm_pause_vm(struct vm *vm)
{
	return note("pause", vm, vm->state == VM_RUNNING);
}

int vmm_resume_vm(struct vm *vm)
{
	return note("resume", vm, vm->state == VM_PAUSED);
}

static int reset_error;

int vmm_reset_vm(struct vm *vm)
{
	int err = note("reset", vm, vm->state != VM_STOPPED);

	if (!err && reset_error)
		vm->state = VM_STOPPED;
	return err ? err : reset_error;
}

int vmm_kill_vm(struct vm *vm)
{
	return note("kill", vm, vm->state != VM_STOPPED);
}

int vmm_stop_vm(struct vm *vm)
{
	return note("stop", vm, vm->state != VM_STOPPED);
}

static jmp_buf back;

void machine_poweroff(void)
{
	longjmp(back, 1);
}

void machine_reboot(void)
{
	longjmp(back, 2);
}

static int setup(void **state)
{
	(void)state;
	fake_vm_reset();
	fake_timers_reset();
	fake_log_reset();
	for (unsigned i = 0; i < 2; i++)
		cfg[i] = (struct vm_config){
			.memory = MIB(16), .vcpus = 1, .cmdline = "", .kernel = &module
		};
	strcpy(cfg[0].name, "alpha");
	strcpy(cfg[1].name, "beta");
	fake_vm.cfg = &cfg[0];
	second = (struct vm){
		.id = 1, .cfg = &cfg[1], .backend = fake_vm.backend, .state = VM_STOPPED
	};
	asked[0] = '\0';
	assert_int_equal(console_add(&fake_vm), 0);
	console_set_front(NULL);
	fake_console_room = sizeof(fake_console_out);
	fake_console_len = 0;
	fake_console_out[0] = '\0';
	return 0;
}

/* --- lines --- */

static char *said;

static void run(const char *line)
{
	size_t len;

	dispatch_line(line, &said, &len);
	said[len] = '\0';
}

static void expect_said(const char *line, const char *part)
{
	run(line);
	if (!strstr(said, part))
		fail_msg("%s: expected \"%s\", seen \"%s\"", line, part, said);
}

/* It says so and how it is used, and nothing is done. */
static void expect_wrong(const char *line, const char *part, const char *usage)
{
	expect_said(line, part);
	if (!strstr(said, usage))
		fail_msg("%s: expected \"%s\", seen \"%s\"", line, usage, said);
	assert_string_equal(asked, "");
}

#endif
