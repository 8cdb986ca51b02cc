#include "arch/x86_64/backtrace.h"

#include <stdbool.h>

#include "arch/x86_64/image.h"
#include "arch/x86_64/smp.h"

static bool in_stack(uint64_t at, const uint8_t *body, uint64_t size)
{
	return at >= (uintptr_t)body && at <= (uintptr_t)body + size - 16;
}

/* Could a frame be at this address: two readable words? */
static bool frame_ok(uint64_t rbp)
{
	const struct cpu *cpu;

	if (rbp & 7)
		return false;
	for (unsigned id = 0; (cpu = smp_cpu(id)); id++) {
		if (in_stack(rbp, cpu->stack->body, STACK_SIZE))
			return true;
		for (unsigned i = 0; i < IST_SLOTS; i++)
			if (in_stack(rbp, cpu->ist[i].body, IST_STACK_SIZE))
				return true;
	}
	return false;
}

unsigned backtrace_take(uint64_t rip, uint64_t rbp, uint64_t *at, unsigned max)
{
	unsigned n = 0;

	if (rip && n < max)
		at[n++] = rip;
	while (n < max && frame_ok(rbp)) {
		const uint64_t *frame = (const uint64_t *)rbp;

		if (frame[1] < (uintptr_t)__text_start || frame[1] >= (uintptr_t)__text_end)
			break;
		if (frame[1] != rip)
			at[n++] = frame[1];
		rbp = frame[0];
	}
	return n;
}
