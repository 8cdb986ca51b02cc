#include "vmm/vm.h"

#include <stdarg.h>

#include "arch/x86_64/lib/printf.h"

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

#ifdef UMBRA_DEBUG
const struct vm_corrupt *vm_corrupt_now(const struct vm *vm)
{
	if (!vm->cfg->corrupt.field[0])
		return NULL;
	return exit_stats_summary(vm->exits, EXIT_KINDS).count >= vm->cfg->corrupt.exits
		       ? &vm->cfg->corrupt
		       : NULL;
}
#endif
