/*
 * Debugging a guest: break and watch points, single steps, and a listener that is told when the
 * guest has stopped at one. The guest sees none of it: its debug registers, RFLAGS.TF and DR6 are
 * its own. A VM that has stopped so is VM_PAUSED.
 */
#ifndef UMBRA_VMM_DEBUG_H
#define UMBRA_VMM_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

struct vcpu;
struct vm;

#define DEBUG_POINTS_MAX 64
#define DEBUG_HARDWARE_POINTS 4 /* DR0 to DR3 */

enum debug_kind {
	DEBUG_EXEC,      /* by a debug register */
	DEBUG_EXEC_INT3, /* by an INT3 in the guest's memory, in place while it runs */
	DEBUG_WRITE,
	DEBUG_ACCESS, /* reads or writes */
};

struct debug_point {
	enum debug_kind kind;
	gva_t at;
	unsigned size; /* of DEBUG_WRITE and DEBUG_ACCESS: 1, 2, 4, 8 bytes, aligned; else 1 */
};

enum debug_reason {
	DEBUG_ASKED, /* debug_pause() */
	DEBUG_STEPPED,
	DEBUG_POINT,
	DEBUG_VM_ENDED,   /* the VM has stopped: vm->stop_text says why; or could not be started */
	DEBUG_VM_STARTED, /* anew, and is at its first instruction */
};

struct debug_stop {
	enum debug_reason reason;
	struct vcpu *vcpu;        /* that it concerns; NULL: DEBUG_VM_ENDED with none left */
	struct debug_point point; /* of DEBUG_POINT */
	bool again;               /* of DEBUG_VM_ENDED: it is to be started anew */
};

/*
 * Set a point on all vCPUs of the VM. 0, -EINVAL (size or alignment), -EEXIST, -ENOSPC (too many,
 * or the debug registers are used up), -EFAULT (DEBUG_EXEC_INT3: no memory there now).
 */
int debug_set_point(struct vm *vm, const struct debug_point *point);
/* 0 or -ENOENT. */
int debug_clear_point(struct vm *vm, const struct debug_point *point);
/* The VM's points by number; NULL: no such one. */
const struct debug_point *debug_point(const struct vm *vm, unsigned index);

/* Who is told of the VM's stops, from the run loop; NULL: the operator, by a line. */
void debug_set_listener(struct vm *vm,
			void (*stopped)(struct vm *vm, const struct debug_stop *stop));
bool debug_has_listener(const struct vm *vm);
/* The operator's line; nothing for pauses and ends, of which he is told elsewhere. */
void debug_say_stop(struct vm *vm, const struct debug_stop *stop);
/* What the VM stopped for last. */
const struct debug_stop *debug_last_stop(const struct vm *vm);

/* Pause a running VM; the listener is told. 0 or -EINVAL (it does not run). */
int debug_pause(struct vm *vm);
/* Let a paused VM run on; a point at RIP does not stop it again. 0 or -EINVAL (not paused). */
int debug_continue(struct vm *vm);
/* One instruction of this vCPU of a paused VM, with interrupts held back; then DEBUG_STEPPED. 0 or
 * -EINVAL. */
int debug_step(struct vcpu *vcpu);

/* The VM's restart after its end waits as long as this is on. */
void debug_hold_restart(struct vm *vm, bool on);

/* All points gone, no listener, no step under way; the VM's state stays. */
void debug_clear(struct vm *vm);

#endif
