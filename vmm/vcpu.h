/* A virtual CPU: its registers, what it is waiting for, and what waits for it. */
#ifndef UMBRA_VMM_VCPU_H
#define UMBRA_VMM_VCPU_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/smp.h"
#include "paging/guest.h"
#include "paging/shadow.h"
#include "vmm/debug_core.h"
#include "vmm/emulate.h"
#include "vmm/exit.h"
#include "vmm/lapic.h"
#include "vmm/lookahead.h"
#include "vmm/sched.h"

struct vm;
struct exit_stats;

/* General registers in ModRM order. */
enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, GPRS };

/* The layout that the backends' entry code knows: gpr[] first, ModRM order. */
struct vcpu_regs {
	uint64_t gpr[GPRS];
	uint64_t rip;
	uint64_t rflags;
};

enum vcpu_state {
	VCPU_RUNNABLE,
	VCPU_HALTED,    /* HLT: waits for an interrupt */
	VCPU_STOPPED,   /* its VM has stopped */
	VCPU_STARTING,  /* between vm_start_begin() and vm_start_end() */
	VCPU_WAIT_SIPI, /* no BSP, after RESET or INIT: waits for a STARTUP */
};

/* An event that was handed over for delivery, and where the guest was. */
#define VCPU_EVENTS_KEPT 4
struct given_event {
	uint64_t rip;
	struct vm_event event;
};

/* What waits to be delivered; vmm/event.c alone touches it. */
struct vcpu_events {
	struct vm_event pending;  /* an exception, or an event to deliver again */
	bool nmi;                 /* set by any CPU: atomic */
	bool window_requested[2]; /* interrupt, NMI: asked of the backend */
	uint8_t tpr_threshold;    /* what the backend has */
	bool virtual_interrupts;  /* what the backend has been told */
	unsigned nr_given;        /* in all; the last ones are kept: */
	struct given_event given[VCPU_EVENTS_KEPT];
};

/* MSRs that the hypervisor keeps for the guest; vmm/msr.c alone touches it. */
#define VCPU_MTRR_VAR 8
struct vcpu_msrs {
	uint64_t mtrr_def_type;
	uint64_t mtrr_fixed[11];
	uint64_t mtrr_var[2 * VCPU_MTRR_VAR];
	uint64_t tsc_aux;
	uint64_t tsc_adjust;                      /* kvm_clock.c reads it */
	uint64_t kvm_wall_clock, kvm_system_time; /* kvm_clock.c's */
	uint64_t mcg_status;
	uint64_t misc[8]; /* further read/write words that have no effect here */
};

/* RIPs of port accesses with no further one behind them: vmm/exit_io.c's. */
#define VCPU_IO_BARREN 16

/* Registers that Umbra has changed on the guest's behalf while they are on the CPU. */
#define VCPU_STALE_XCR0 0x1u
#define VCPU_STALE_TSC_AUX 0x2u
#define VCPU_STALE_ROOT 0x4u /* shadow paging: what the root was made for has changed */
#define VCPU_STALE_DR 0x8u   /* dr_hardware() */

/*
 * Touched by its home's loop alone (turns.h), or by CPU 0 while it has none, but for what is
 * atomic.
 */
struct vcpu {
	struct lapic lapic;
	struct vcpu_regs regs;
	struct vm *vm;
	unsigned id;
	struct cpu *home;       /* atomic; NULL: none */
	struct cpu_work arrive; /* on its way home */
	unsigned last_cpu;      /* the number of its home, or of the last one */
	bool placed;            /* which was chosen among all, not for its start */
	bool in_guest;          /* atomic: between the last look at vm->tables and its exit */
	enum vcpu_state state;
	uint32_t signals; /* startup.c: what has come of INIT and STARTUP; 0: nothing */
	struct vcpu_events events;
	struct vcpu_msrs msrs;
	uint64_t xcr0;
	uint64_t dr[4]; /* the guest's; current while it is not loaded, and while debug.on */
	struct vcpu_debug debug;
	/* PAE: as cr.c loaded them last, before it set CR0, CR3 or CR4. Under nested paging the
	 * guest loads CR3 unseen: ask vcpu_guest_paging(). */
	uint64_t pdpte[4];
	void *fpu; /* fpu_area_alloc() */
	uint64_t io_barren[VCPU_IO_BARREN];
	struct lookahead lookahead; /* lookahead.c alone touches it */
	struct shadow_vcpu shadow;  /* when vm->shadow is there */
	bool nested_root;           /* and this set, it runs through the nested tables for now */
	uint64_t tables_seen; /* vm_tables.c: of vm->tables, what it has caught up with; atomic */
	bool invlpg_exits;
	unsigned pauses;       /* exits for PAUSE in this turn; */
	unsigned pauses_borne; /* so many of them are no spinning yet: 0 or VCPU_PAUSES_BORNE */
	unsigned sought;       /* turns.c: the vCPU that it was taken to spin for last */
	unsigned code_lost;    /* exit.c: so often in a row RIP's code was not what had exited */
	struct sched_entity sched;
	bool yield;                   /* it spins (PAUSE): its turn is over when another can run */
	bool loaded;                  /* run.c: its PKRU, XCR0... are on the CPU */
	unsigned stale;               /* VCPU_STALE_*: the CPU gets these before the next entry */
	struct emulate_cache emulate; /* emulate.c alone touches it */
	struct vm_exit exit;          /* the last one */
	struct exit_stats *exits;     /* vm->exits[id] */
	void *hw;                     /* the backend's own state */
	const uint64_t *hot;          /* VCPU_HOT_REGS registers, in the backend's keeping */
};

/* Where no count of the processor's, but each PAUSE makes an exit: that many take about as long as
 * what such a processor takes for spinning. The backend says which it is. */
#define VCPU_PAUSES_BORNE 64

/* kalloc() gives pages. Bochs 3.0 wants a posted-interrupt descriptor at the start of one. */
static_assert(offsetof(struct vcpu, lapic.inbox) == 0, "a posted-interrupt descriptor");

/* The same as the backend's get_reg; reg is below VCPU_HOT_REGS. */
static inline uint64_t vcpu_hot_reg(const struct vcpu *vcpu, unsigned reg)
{
	return vcpu->hot[reg];
}

/* --- vcpu.c --- */

/* The vCPU with this id, which is free in vm->vcpu[]: 0 or -ENOMEM. It is in the state after RESET:
 * the first one, the VM's BSP, VCPU_STARTING, the others VCPU_WAIT_SIPI. vm->exits[id] is there. */
int vcpu_create(struct vm *vm, unsigned id, struct vcpu **out);
/* A segment register, or descriptor table, after RESET. APM vol. 2, table 14-1; SDM vol. 3,
 * table 9-1. */
const struct segment *vcpu_reset_seg(enum seg_reg reg);
/* Free it; not while it is loaded on a CPU or in the run queue. */
void vcpu_destroy(struct vcpu *vcpu);

/*
 * The exiting instruction is done: advance RIP by len, end the shadow of STI or MOV
 * SS, raise #DB when RFLAGS.TF was set. len > 0.
 */
void vcpu_retire_insn(struct vcpu *vcpu, unsigned len);
/* The same for an instruction that goes on at rip. */
void vcpu_retire_jump(struct vcpu *vcpu, uint64_t rip);
/* Iterations of a repeated instruction are done, and RIP stays at it for those to come: as
 * above, but that RFLAGS.RF goes into #DB's image (SDM vol. 3, 17.3.1.1). */
void vcpu_retire_iteration(struct vcpu *vcpu);
/* Write the low size bytes of a register: 1 and 2 keep the rest, 4 clear the upper half. */
void vcpu_set_gpr(struct vcpu *vcpu, enum gpr reg, uint64_t val, unsigned size);

/* Fill *gp with the vCPU's paging state of now. */
void vcpu_guest_paging(const struct vcpu *vcpu, struct guest_paging *gp);
/* The same for whoever looks from outside: PDPTEs in a page that is still on its disk are absent,
 * and it stays there. */
void vcpu_peek_paging(const struct vcpu *vcpu, struct guest_paging *gp);
/* Its PKRU, when protection keys are on; else 0, which takes no right away. */
uint32_t vcpu_pkru(const struct vcpu *vcpu);
/* What of paging a guest's processor has. */
struct pt_caps vcpu_pt_caps(void);

/* 2, 4 or 8: the size of the code segment's default operands. */
unsigned vcpu_code_size(const struct vcpu *vcpu);
/* 0 to 3. */
unsigned vcpu_cpl(const struct vcpu *vcpu);

/* The base of a segment register, or of a descriptor table. */
uint64_t vcpu_seg_base(const struct vcpu *vcpu, enum seg_reg reg);

/* "rax" and so on, by enum gpr. */
extern const char vcpu_gpr_names[GPRS][4];

/* One line per register group at info level. */
void vcpu_dump(const struct vcpu *vcpu);

/* The CPU that it is at home on; NULL: none. Not for long, but for that CPU's own loop. */
static inline struct cpu *vcpu_home(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->home, __ATOMIC_ACQUIRE);
}

/* --- startup.c, vcpu_kick.c: what other processors do to it; from any vCPU's exit, its own too ---
 */

/* INIT: it is reset and waits for a STARTUP, whatever it was doing. Of the BSP: the VM is reset. */
void vcpu_init_signal(struct vcpu *vcpu);
/* STARTUP: one that waits for it begins in real mode at vector * 4 KiB; for others it is nothing.
 */
void vcpu_startup(struct vcpu *vcpu, uint8_t vector);
/* An NMI is due; a second one before it is delivered merges with it. One that waits for a STARTUP
 * loses it, but not behind the STARTUP. */
void vcpu_raise_nmi(struct vcpu *vcpu);
/* It has something to look at: an interrupt, an NMI, an INIT... that a device or another vCPU has
 * sent it. It leaves the guest for it, or its HLT. From any CPU. */
void vcpu_kick(struct vcpu *vcpu);
/* The same, for what is in lapic.inbox.posted: one that is in the guest takes that there, if its
 * processor can. */
void vcpu_notify(struct vcpu *vcpu);
/* The vCPUs that are in the guest on other CPUs with vm->tables from before the count `seen` leave
 * it; when this returns they have. How many were interrupted for that. */
unsigned vcpus_drive_out(const struct vm *vm, uint64_t seen);
/* Do what has been signalled: the run loop, between two runs. */
void vcpu_take_signals(struct vcpu *vcpu);
/* Has something been? */
static inline bool vcpu_is_signalled(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->signals, __ATOMIC_RELAXED);
}

/* --- event.c: injection, re-injection, double and triple faults --- */

/* Raise an exception for the instruction at hand; a second one makes #DF or shutdown
 * by the rules of APM vol. 2, 8.2.9. */
void vcpu_raise(struct vcpu *vcpu, const struct guest_fault *fault);
void vcpu_raise_vector(struct vcpu *vcpu, unsigned vector); /* no error code */
void vcpu_raise_error(struct vcpu *vcpu, unsigned vector, uint32_t error);
/* An exit cut off the delivery of ev: it is due again. First thing after an exit. */
void vcpu_requeue(struct vcpu *vcpu, const struct vm_event *ev);
/* The event that the exit cut off has been delivered after all, by the exit's handler. */
void vcpu_event_delivered(struct vcpu *vcpu);
/* Does the core deliver events now: in real mode, which the processor does not run for this VM? */
bool vcpu_core_delivers(const struct vcpu *vcpu);
/* Hand at most one event to the backend, ask for windows. Last thing before entry. */
void vcpu_inject_pending(struct vcpu *vcpu);
/* Is there an interrupt for it, of its local APIC or of the 8259 behind that? */
bool vcpu_intr_pending(struct vcpu *vcpu);
/* Take it: its vector; the controller now counts it in service. Takes vm->lock, if that is one of
 * the VM's devices: another vCPU may have been quicker, or have masked it. */
int vcpu_intr_ack(struct vcpu *vcpu);
#define VCPU_INTR_GONE (-1)
/* Is there an event that would end a HLT? */
bool vcpu_has_wakeup(struct vcpu *vcpu);
/* Stop the VM as after a triple fault. */
void vcpu_triple_fault(struct vcpu *vcpu);

#endif
