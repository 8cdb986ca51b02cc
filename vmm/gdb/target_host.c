#include <stddef.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/trap.h"
#include "vmm/gdb/target.h"

/* The CPU that panicked is thread 1; the others that are known to stand somewhere follow. */
static const struct trap_frame *frame;

void gdb_host_choose(const struct trap_frame *tf)
{
	frame = tf;
}

static const struct trap_frame *frame_of(const struct cpu *cpu)
{
	return cpu == this_cpu() ? frame : smp_stopped_at(cpu);
}

/* The CPU that is thread number n; NULL: there are not so many. */
static const struct cpu *cpu_of(unsigned n)
{
	const struct cpu *cpu;

	if (n <= 1)
		return this_cpu();
	for (unsigned id = 0; (cpu = smp_cpu(id)); id++)
		if (cpu != this_cpu() && frame_of(cpu) && n-- == 2)
			return cpu;
	return NULL;
}

static bool host_look(unsigned process, const char **name, const char **state)
{
	*name = "Umbra";
	*state = "panicked";
	return process == 1;
}

static unsigned host_attached(unsigned process)
{
	return process ? 0 : 1;
}

static unsigned host_threads(unsigned process)
{
	unsigned n = 0;

	while (process == 1 && n < GDB_NUMBER_OF(UINT32_MAX) && cpu_of(n + 1))
		n++;
	return n;
}

static void host_thread_name(unsigned thread, char *buf, size_t size)
{
	const struct cpu *cpu = cpu_of(GDB_NUMBER_OF(thread));

	ksnprintf(buf, size, "CPU %u%s", cpu->id, cpu->idle_since ? ", idle" : "");
}

static enum gdb_arch host_arch(unsigned process)
{
	(void)process;
	return GDB_AMD64;
}

static bool host_running(unsigned process)
{
	(void)process;
	return false;
}

static uint64_t host_gpr(const struct trap_frame *tf, unsigned reg)
{
	/* ModRM order. */
	const uint64_t gpr[] = { tf->rax, tf->rcx, tf->rdx, tf->rbx, tf->rsp, tf->rbp,
				 tf->rsi, tf->rdi, tf->r8,  tf->r9,  tf->r10, tf->r11,
				 tf->r12, tf->r13, tf->r14, tf->r15 };

	return gpr[reg];
}

/* The FPU is a guest's; what is not alike on all CPUs and not kept, nobody knows. */
static bool host_get_reg(unsigned thread, enum gdb_reg reg, uint8_t val[GDB_REG_BYTES])
{
	const struct cpu *cpu = cpu_of(GDB_NUMBER_OF(thread));
	const struct trap_frame *tf = frame_of(cpu);
	uint64_t word = 0;

	if (reg < GDB_RIP)
		word = host_gpr(tf, reg);
	else if (reg == GDB_RIP)
		word = tf->rip;
	else if (reg == GDB_RFLAGS)
		word = tf->rflags;
	else if (reg == GDB_ES + 1)
		word = tf->cs;
	else if (reg == GDB_ES + 2)
		word = tf->ss;
	else if (reg == GDB_GS_BASE)
		word = (uintptr_t)cpu;
	else if (reg == GDB_CR3)
		word = read_cr3();
	else if (cpu != this_cpu())
		return false;
	else if (reg == GDB_CR0)
		word = read_cr0();
	else if (reg == GDB_CR2)
		word = read_cr2();
	else if (reg == GDB_CR4)
		word = read_cr4();
	else if (reg == GDB_EFER)
		word = rdmsr(MSR_EFER);
	else
		return false;
	memset(val, 0, GDB_REG_BYTES);
	memcpy(val, &word, sizeof(word));
	return true;
}

static bool host_set_reg(unsigned thread, enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES])
{
	(void)thread;
	(void)reg;
	(void)val;
	return false;
}

static size_t host_read(unsigned thread, uint64_t at, void *buf, size_t n)
{
	(void)thread;
	return trap_copy(buf, (const void *)(uintptr_t)at, n);
}

static size_t host_write(unsigned thread, uint64_t at, const void *buf, size_t n)
{
	(void)thread;
	return trap_copy((void *)(uintptr_t)at, buf, n);
}

static int host_no_point(unsigned process, enum gdb_point kind, uint64_t at, unsigned size)
{
	(void)process;
	(void)kind;
	(void)at;
	(void)size;
	return -EOPNOTSUPP;
}

static int host_refuse(unsigned which)
{
	(void)which;
	return -EOPNOTSUPP;
}

static void host_begin(void)
{
}

static void host_nothing(unsigned process)
{
	(void)process;
}

static bool host_command(const char *line, char *buf, size_t size)
{
	if (!strcmp(line, "reboot"))
		machine_reboot();
	if (!strcmp(line, "poweroff"))
		machine_poweroff();
	ksnprintf(buf, size, "Umbra has panicked: only `reboot` and `poweroff` are left.\n");
	return true;
}

const struct gdb_target gdb_host_target = {
	.look = host_look,
	.attached = host_attached,
	.threads = host_threads,
	.thread_name = host_thread_name,
	.arch = host_arch,
	.running = host_running,
	.get_reg = host_get_reg,
	.set_reg = host_set_reg,
	.read = host_read,
	.write = host_write,
	.set_point = host_no_point,
	.clear_point = host_no_point,
	.begin = host_begin,
	.attach = host_refuse,
	.resume = host_refuse,
	.step = host_refuse,
	.interrupt = host_nothing,
	.detach = host_nothing,
	.kill = host_refuse,
	.command = host_command,
};
