#include "arch/x86_64/panic.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/backtrace.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/ksyms.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/trap.h"
#include "arch/x86_64/vga.h"

#define BACKTRACE_MAX 32

extern uintptr_t __stack_chk_guard;
uintptr_t __stack_chk_guard; /* boot.asm gives it its value */
_Noreturn void __stack_chk_fail(void);

static const char *const vector_name[] = {
	[VEC_DE] = "divide error",
	[VEC_DB] = "debug exception",
	[VEC_NMI] = "non-maskable interrupt",
	[VEC_BP] = "breakpoint",
	[VEC_OF] = "overflow",
	[VEC_BR] = "bound range",
	[VEC_UD] = "invalid opcode",
	[VEC_NM] = "device not available",
	[VEC_DF] = "double fault",
	[VEC_TS] = "invalid TSS",
	[VEC_NP] = "segment not present",
	[VEC_SS] = "stack fault",
	[VEC_GP] = "general protection",
	[VEC_PF] = "page fault",
	[VEC_MF] = "x87 error",
	[VEC_AC] = "alignment check",
	[VEC_MC] = "machine check",
	[VEC_XF] = "SIMD error",
};

static void put_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void put_vline(const char *prefix, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void put_vline(const char *prefix, const char *fmt, va_list ap)
{
	char buf[256];

	kvsnprintf(buf, sizeof(buf), fmt, ap);
	console_write(prefix, strlen(prefix));
	console_write(buf, strlen(buf));
	console_write("\n", 1);
	vga_line(prefix, buf);
}

static void put_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_vline("umbra: ", fmt, ap);
	va_end(ap);
}

static void (*debugger)(const struct trap_frame *tf);

void panic_set_debugger(void (*fn)(const struct trap_frame *tf))
{
	debugger = fn;
}

static void (*history)(void (*line)(const char *text));

void panic_set_history(void (*fn)(void (*line)(const char *text)))
{
	history = fn;
}

static void put_text(const char *text)
{
	put_line("%s", text);
}

/* Stop everything else; false: this is a panic inside a panic. */
static bool panic_begin(void)
{
	static unsigned depth;

	irq_disable();
	smp_stop_others(true); /* of two CPUs one goes on */
	if (depth++)
		return false;
	console_panic();
	log_panic();
	return true;
}

static _Noreturn void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* The last thing that a first panic does. */
static void debug(const struct trap_frame *tf)
{
	if (!debugger)
		return;
	put_line("stopped; a debugger may attach");
	debugger(tf);
}

static void put_address(uint64_t addr)
{
	uint64_t offset;
	const char *name = ksym_lookup(addr, &offset);

	put_line("  %016llx %s+0x%llx", (unsigned long long)addr, name, (unsigned long long)offset);
}

static void backtrace(uint64_t rip, uint64_t rbp)
{
	uint64_t at[BACKTRACE_MAX];
	unsigned n = backtrace_take(rip, rbp, at, BACKTRACE_MAX);

	put_line("backtrace:");
	for (unsigned i = 0; i < n; i++)
		put_address(at[i]);
}

/* Where the others were when they were stopped; of one that was idle that is no news. */
static void put_others(void)
{
	const struct cpu *cpu;

	for (unsigned id = 0; (cpu = smp_cpu(id)); id++) {
		const struct trap_frame *tf = smp_stopped_at(cpu);

		if (cpu == this_cpu())
			continue;
		if (cpu->state == CPU_ONLINE)
			put_line("cpu %u: does not stop, not even for an NMI", id);
		if (cpu->state != CPU_STOPPED)
			continue;
		if (cpu->idle_since || !tf) {
			put_line("cpu %u: %s", id, cpu->idle_since ? "idle" : "stopped");
			continue;
		}
		put_line("cpu %u: rip %016llx rsp %016llx rflags %08llx", id,
			 (unsigned long long)tf->rip, (unsigned long long)tf->rsp,
			 (unsigned long long)tf->rflags);
		backtrace(tf->rip, tf->rbp);
	}
}

static void put_control_registers(void)
{
	put_line("cr0 %016llx cr2 %016llx", (unsigned long long)read_cr0(),
		 (unsigned long long)read_cr2());
	put_line("cr3 %016llx cr4 %016llx cpu %u", (unsigned long long)read_cr3(),
		 (unsigned long long)read_cr4(), this_cpu()->id);
}

static void put_registers(const struct trap_frame *tf)
{
	const struct {
		const char *name;
		uint64_t val;
	} regs[] = {
		{ "rax", tf->rax }, { "rcx", tf->rcx }, { "rdx", tf->rdx }, { "rbx", tf->rbx },
		{ "rsp", tf->rsp }, { "rbp", tf->rbp }, { "rsi", tf->rsi }, { "rdi", tf->rdi },
		{ "r8 ", tf->r8 },  { "r9 ", tf->r9 },  { "r10", tf->r10 }, { "r11", tf->r11 },
		{ "r12", tf->r12 }, { "r13", tf->r13 }, { "r14", tf->r14 }, { "r15", tf->r15 },
	};

	put_line("rip %016llx rflags %08llx cs %04llx ss %04llx error %llx",
		 (unsigned long long)tf->rip, (unsigned long long)tf->rflags,
		 (unsigned long long)tf->cs, (unsigned long long)tf->ss,
		 (unsigned long long)tf->error);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i += 4)
		put_line("%s %016llx %s %016llx %s %016llx %s %016llx", regs[i].name,
			 (unsigned long long)regs[i].val, regs[i + 1].name,
			 (unsigned long long)regs[i + 1].val, regs[i + 2].name,
			 (unsigned long long)regs[i + 2].val, regs[i + 3].name,
			 (unsigned long long)regs[i + 3].val);
}

/* The registers of now, for a debugger to begin its way up the stack with. */
static inline __attribute__((always_inline)) void capture(struct trap_frame *tf)
{
	__asm__ volatile("mov %%r15, 0x00(%0)\n\t"
			 "mov %%r14, 0x08(%0)\n\t"
			 "mov %%r13, 0x10(%0)\n\t"
			 "mov %%r12, 0x18(%0)\n\t"
			 "mov %%rbp, 0x50(%0)\n\t"
			 "mov %%rbx, 0x58(%0)\n\t"
			 "mov %%rsp, 0xa0(%0)\n\t"
			 "lea 1f(%%rip), %%rcx\n"
			 "1:\tmov %%rcx, 0x88(%0)\n\t"
			 "mov %%cs, 0x90(%0)\n\t"
			 "mov %%ss, 0xa8(%0)\n\t"
			 "pushfq\n\t"
			 "pop 0x98(%0)"
			 :
			 : "a"(tf)
			 : "rcx", "memory");
}
static_assert(offsetof(struct trap_frame, rbp) == 0x50 &&
		      offsetof(struct trap_frame, rip) == 0x88 &&
		      offsetof(struct trap_frame, ss) == 0xa8,
	      "capture");

_Noreturn void panic(const char *fmt, ...)
{
	struct trap_frame tf = { 0 };
	va_list ap;

	capture(&tf);
	if (panic_begin()) {
		va_start(ap, fmt);
		put_vline("umbra: panic: ", fmt, ap);
		va_end(ap);
		put_control_registers();
		backtrace(0, (uintptr_t)__builtin_frame_address(0));
		put_others();
		if (history)
			history(put_text);
		debug(&tf);
	}
	stop();
}

_Noreturn void panic_trap(const struct trap_frame *tf)
{
	const char *name = tf->vector < ARRAY_SIZE(vector_name) ? vector_name[tf->vector] : NULL;
	uint64_t offset;
	const char *fn;

	if (panic_begin()) {
		fn = ksym_lookup(tf->rip, &offset);
		put_line("panic: %s (vector %llu, error 0x%llx) in %s+0x%llx",
			 name ? name : "exception", (unsigned long long)tf->vector,
			 (unsigned long long)tf->error, fn, (unsigned long long)offset);
		put_registers(tf);
		put_control_registers();
		backtrace(tf->rip, tf->rbp);
		put_others();
		if (history)
			history(put_text);
		debug(tf);
	}
	stop();
}

_Noreturn void __stack_chk_fail(void)
{
	panic("a function has overrun its stack frame");
}
