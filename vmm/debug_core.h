/*
 * What debugging keeps of a VM and of a vCPU, and what the core asks of it. Of no concern to
 * debuggers, which use debug.h.
 *
 * While a VM has points, or one of its vCPUs steps, the vCPU's debug registers are not the guest's:
 * its accesses to them leave, and so do #DB and #BP. INT3s are in memory just while the guest runs.
 */
#ifndef UMBRA_VMM_DEBUG_CORE_H
#define UMBRA_VMM_DEBUG_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmm/debug.h"

struct debug_slot {
	struct debug_point point;
	gpa_t gpa;        /* DEBUG_EXEC_INT3: where it is in memory */
	uint8_t original; /* and what is the guest's there, while it is */
	bool planted;
};

/* Part of struct vm; debug.c's, but for the planted INT3s. */
struct vm_debug {
	unsigned nr;
	struct debug_slot slot[DEBUG_POINTS_MAX];
	bool planted;   /* the INT3s are in memory */
	bool to_report; /* the stop in last is to be told once the VM is paused */
	bool again;     /* a start follows the VM's end at once: run.c's */
	bool held;      /* debug_hold_restart() */
	struct debug_stop last;
	void (*stopped)(struct vm *vm, const struct debug_stop *stop);
};

/* Instructions that show RFLAGS.TF to the guest, or change it. */
enum debug_insn {
	DEBUG_INSN_PLAIN,
	DEBUG_INSN_PUSHF,
	DEBUG_INSN_LOADS_FLAGS, /* POPF, IRET */
	DEBUG_INSN_INT,         /* INT n */
	DEBUG_INSN_SYSCALL,
	DEBUG_INSN_SYSRET,
};

#define DEBUG_OWNER_NONE 0xffu
#define DEBUG_OWNER_GUEST 0xfeu /* of DRn: DRn is its own */

/* Part of struct vcpu. */
struct vcpu_debug {
	bool on; /* DR0 to DR3 are vcpu->dr[], and DR6 and DR7 these, not the processor's */
	uint64_t dr6, dr7;
	uint64_t hw_dr[4], hw_dr7; /* the processor's */
	uint8_t owner[4];          /* of these: an index of slot[], or these */
	bool armed;                /* they are as the points and dr7 say, with or without code's: */
	bool armed_to_step;
	bool fresh; /* the VM was paused: a point at RIP does not stop it */
	bool step;  /* one instruction, then a stop */
	bool over;  /* one instruction, then on */
	/* The entry that is one of a step. */
	bool entered, tf, guest_tf, shadow;
	enum debug_insn insn;
	uint64_t r11, sfmask;
	bool aimed; /* an event is on its way to its handler, at: */
	gva_t target;
	bool target_planted;
	gpa_t target_gpa;
	uint8_t target_original;
	/* What the exit brought. */
	bool trapped, retired;
	bool watched;
	struct debug_point watch;
};

/* --- debug.c --- */

/* The VM is VM_PAUSED now; it is VM_STOPPED, again: to be started anew; its memory and vCPUs are
 * about to go. */
void debug_paused(struct vm *vm);
void debug_ended(struct vm *vm, bool again);
void debug_forget(struct vm *vm);
/* A new life is about to begin. True: the VM is to pause before, of which the listener is told. */
bool debug_started(struct vm *vm);
/* A new vCPU of a VM that may have points. */
void debug_attach(struct vcpu *vcpu);
/* The VM is to pause, for this reason; point: of DEBUG_POINT. */
void debug_stop(struct vcpu *vcpu, enum debug_reason reason, const struct debug_point *point);
/* The points or a step have come or gone. */
void debug_update(struct vcpu *vcpu);
/* Put the INT3s into memory, or take them out. */
void debug_plant(struct vm *vm);
void debug_lift(struct vm *vm);

/* --- debug_run.c: around each run of a vCPU whose debug.on is set --- */

/* Before events are injected. False: no interrupt is to be; what is pending is. */
bool debug_before_entry(struct vcpu *vcpu);
/* The core has delivered the pending event itself. */
void debug_delivered(struct vcpu *vcpu);
/* Before the exit is handled, and after. */
void debug_after_exit(struct vcpu *vcpu);
void debug_handled(struct vcpu *vcpu);
/* #DB has left the guest: raise what of it is the guest's own. */
void debug_trap(struct vcpu *vcpu);
/* An INT3 has. True: it is not the guest's. */
bool debug_breakpoint(struct vcpu *vcpu);
/* The instruction at RIP is about to be emulated. True: it has a point, and is not to be. */
bool debug_stops_at(struct vcpu *vcpu);
/* The emulator has accessed memory. */
void debug_access(struct vcpu *vcpu, gva_t gva, unsigned size, bool write);

/* --- debug_code.c: the guest's code, looked at --- */

/* The linear address of RIP. */
gva_t debug_rip(const struct vcpu *vcpu);
enum debug_insn debug_insn_at_rip(const struct vcpu *vcpu);
/* The length of the INT3 at RIP, with its prefixes. */
unsigned debug_int3_len(const struct vcpu *vcpu);
/* Is the vector's gate none for instructions of the guest's privilege level? */
bool debug_gate_refuses(const struct vcpu *vcpu, unsigned vector);
/* Where the vector's handler begins. False: cannot be said. */
bool debug_handler(const struct vcpu *vcpu, unsigned vector, gva_t *handler);
/* The same of the INT n at RIP. */
bool debug_int_handler(const struct vcpu *vcpu, gva_t *handler);

#endif
