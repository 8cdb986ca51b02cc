/* What happens when Umbra itself is wrong. A guest must never be able to get here. */
#ifndef UMBRA_PANIC_H
#define UMBRA_PANIC_H

#include <stdbool.h>

/* Print the message, registers and a symbolised backtrace; stop every CPU. */
_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

struct trap_frame;
/* Who takes over once all that is printed: it gets the registers, and the CPU with interrupts off,
 * and does not return. */
void panic_set_debugger(void (*debugger)(const struct trap_frame *tf));

/* Who knows what the machine did last: called once after the backtrace, to say it line by line. */
void panic_set_history(void (*history)(void (*line)(const char *text)));

/* The same as panic() for an exception in Umbra itself. */
_Noreturn void panic_trap(const struct trap_frame *tf);

#define kassert(cond)                                                                              \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);           \
	} while (0)

#endif
