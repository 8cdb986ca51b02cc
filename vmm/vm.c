#include "vmm/vm.h"

#include <stdarg.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/smp.h"

static bool stop_requested; /* atomic */
/* CPU 0's loop does it. */
static void tell_operator(void)
{
	__atomic_store_n(&stop_requested, true, __ATOMIC_RELEASE);
	cpu_kick(smp_cpu(0));
}

void vm_init_locks(struct vm *vm)
{
	owned_lock_init(&vm->lock, LOCK_VM);
	owned_lock_init(&vm->paging, LOCK_PAGING);
	vm->paging_users = (struct rw_lock)RW_LOCK_INIT(LOCK_PAGING_USERS);
	vm->stop_lock = (struct spinlock)SPINLOCK_INIT(LOCK_STOP);
}

void vm_request_stop(struct vm *vm, enum vm_stop_reason reason, int status, const char *fmt, ...)
{
	va_list ap;

	spin_lock(&vm->stop_lock);
	if (vm->stop_reason == VM_STOP_NONE) {
		vm->stop_status = status;
		vm->stopped_by = this_cpu()->current;
		va_start(ap, fmt);
		kvsnprintf(vm->stop_text, sizeof(vm->stop_text), fmt, ap);
		va_end(ap);
		__atomic_store_n(&vm->stop_reason, reason, __ATOMIC_RELEASE);
		tell_operator();
	}
	spin_unlock(&vm->stop_lock);
}

void vm_request_pause(struct vm *vm)
{
	__atomic_store_n(&vm->pause_requested, true, __ATOMIC_RELEASE);
	tell_operator();
}

bool vm_stop_requested(void)
{
	return __atomic_exchange_n(&stop_requested, false, __ATOMIC_ACQUIRE);
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

uint64_t vm_exit_count(const struct vm *vm)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < VM_MAX_VCPUS; i++)
		if (vm->exits[i])
			n += exit_stats_summary(vm->exits[i], EXIT_KINDS).count;
	return n;
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
	return vm_exit_count(vm) >= vm->cfg->corrupt.exits ? &vm->cfg->corrupt : NULL;
}
#endif
