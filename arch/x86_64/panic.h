/* What happens when Umbra itself is wrong. A guest must never be able to get here. */
#ifndef UMBRA_PANIC_H
#define UMBRA_PANIC_H

#include <stdbool.h>

/* Print the message, registers and a symbolised backtrace; stop every CPU. */
_Noreturn void panic(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same for an exception in Umbra itself. */
struct trap_frame;
_Noreturn void panic_trap(const struct trap_frame *tf);

#define kassert(cond)                                                                              \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);           \
	} while (0)

#endif
