#include "vmm/vm.h"

#include <stdarg.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"

static bool stop_requested;

void vm_request_stop(struct vm *vm, enum vm_stop_reason reason, int status, const char *fmt, ...)
{
	va_list ap;

	if (vm->stop_reason != VM_STOP_NONE)
		return;
	vm->stop_reason = reason;
	vm->stop_status = status;
	va_start(ap, fmt);
	kvsnprintf(vm->stop_text, sizeof(vm->stop_text), fmt, ap);
	va_end(ap);
	stop_requested = true;
}

void vm_request_pause(struct vm *vm)
{
	vm->pause_requested = true;
	stop_requested = true;
}

bool vm_stop_requested(void)
{
	bool requested = stop_requested;

	stop_requested = false;
	return requested;
}

int vm_exits_make(struct vm *vm, unsigned n)
{
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++) {
		struct exit_stats *s = vm->exits[i];

		if (i < n && !s)
			s = vm->exits[i] = kalloc(sizeof(*s));
		if (i < n && !s)
			return trace_error(-ENOMEM);
		if (i < n) {
			exit_stats_clear(s);
		} else if (s) {
			exit_trace_off(&s->trace);
			kfree(s, sizeof(*s));
			vm->exits[i] = NULL;
		}
	}
	return 0;
}

const struct exit_stats *vm_exits(const struct vm *vm)
{
	static struct exit_stats sum;

	memset(&sum, 0, sizeof(sum));
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		if (vm->exits[i])
			exit_stats_add(&sum, vm->exits[i]);
	return &sum;
}

void vm_exits_clear(struct vm *vm)
{
	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		if (vm->exits[i])
			exit_stats_clear(vm->exits[i]);
}

#ifdef UMBRA_DEBUG
const struct vm_corrupt *vm_corrupt_now(const struct vm *vm)
{
	if (!vm->cfg->corrupt.field[0])
		return NULL;
	return exit_stats_summary(vm_exits(vm), EXIT_KINDS).count >= vm->cfg->corrupt.exits
		       ? &vm->cfg->corrupt
		       : NULL;
}
#endif
