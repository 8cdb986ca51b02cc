/* A virtual machine: memory, buses, vCPUs, and its life from start to stop. */
#ifndef UMBRA_VMM_VM_H
#define UMBRA_VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/lib/list.h"
#include "arch/x86_64/lib/rw_lock.h"
#include "arch/x86_64/owned_lock.h"
#include "arch/x86_64/timer.h"
#include "paging/nested.h"
#include "paging/shadow.h"
#include "vmm/backend.h"
#include "vmm/bus.h"
#include "vmm/config.h"
#include "vmm/debug_core.h"
#include "vmm/exit.h"
#include "vmm/exit_stats.h"
#include "vmm/irq_line.h"
#include "vmm/lapic.h"
#include "vmm/memmap.h"
#include "vmm/sched.h"
#include "vmm/touches.h"

#define VM_MAX 64
#define VM_MAX_VCPUS 64

/* Where a PC's memory has its gaps. */
#define VM_LOW_RAM_END UINT64_C(0xa0000) /* the legacy video window begins */
#define VM_BIOS_RAM UINT64_C(0xc0000)    /* RAM again, for option ROMs and tables */
#define VM_BIOS_ROM UINT64_C(0xf0000)    /* 64 KiB of ROM */
#define VM_HIGH_RAM UINT64_C(0x100000)   /* 1 MiB */
#define VM_PCI_HOLE UINT64_C(0xc0000000) /* no RAM from here to 4 GiB */
#define VM_ABOVE_4G (UINT64_C(1) << 32)

struct vcpu;
struct pc;

enum vm_state {
	VM_RUNNING,
	VM_PAUSED, /* all is there, its vCPUs on no CPU; the devices' time goes on */
	VM_STOPPED,
};

/* Why a VM stopped or is about to. */
enum vm_stop_reason {
	VM_STOP_NONE,
	VM_STOP_POWEROFF,   /* the guest turned itself off */
	VM_STOP_RESET,      /* the guest asked for a reset */
	VM_STOP_TRIPLE,     /* triple fault */
	VM_STOP_DEBUG_EXIT, /* wrote the debug-exit port; status in stop_status */
	VM_STOP_ERROR,      /* something Umbra cannot emulate */
	VM_STOP_KILLED,     /* by the operator */
};

/* The VM's 8259s, behind the local APICs. */
struct vm_intr_source {
	bool (*pending)(void *ctx);
	int (*ack)(void *ctx); /* the vector; the controller now counts it in service */
	/* What an operator wants to know of a line; false: there is none with that number. */
	bool (*look)(void *ctx, unsigned irq, struct irq_state *state);
	void *ctx;
};

/*
 * What has changed in the tables that translate for the vCPUs, by a count that grows with each
 * change that they must follow: before it is entered, a vCPU that is behind catches up.
 */
struct vm_tables_state {
	struct spinlock lock;   /* who writes to it */
	uint64_t count;         /* atomic, as what follows: vCPUs look without the lock */
	uint64_t guest, nested; /* the count of the last FLUSH_GUEST, FLUSH_NESTED */
	uint64_t roots;         /* and since which a shadow's roots are to be made anew */
	bool invlpg_exits;
	bool closed;         /* none is entered before it has waited for vm->lock */
	uint64_t driven_out; /* so often a vCPU has been made to leave the guest for that; atomic */
};

#define VM_NOTICE_HALT 0x1u  /* halted with interrupts off */
#define VM_NOTICE_FETCH 0x2u /* ran into an address with no memory */

/*
 * What its vCPUs share is guarded by its lock: memory map, tables, buses, devices and their timers,
 * and all that follows where nothing else is said. A vCPU's exits are handled with it held, but
 * for those that touch nothing but that vCPU.
 */
struct vm {
	struct owned_lock lock; /* LOCK_VM */
	/* vm_tables_lock(), vm_tables_share() */
	struct owned_lock paging;
	struct rw_lock paging_users;
	/* stop_* below. Whoever holds the others may wait for a vCPU to leave the guest, on the way
	 * out of which it may be found that the VM is to stop. */
	struct spinlock stop_lock;
	unsigned id; /* frames of this VM have owner FRAME_VM0 + id */
	const struct vm_config *cfg;
	const struct vm_config *cfg_before; /* run.c: of its last start, if that fails */
	enum vm_state state;
	enum vm_stop_reason stop_reason;
	bool pause_requested; /* vm_request_pause() */
	int stop_status;
	char stop_text[128];           /* the one line that says why */
	const struct vcpu *stopped_by; /* who was on the CPU then; may be another VM's, or gone */
	const struct vmm_backend *backend;
	struct memmap mem;
	struct bus bus;
	struct nested nested;
	gpa_t identity_map;      /* caps.identity_map: that page directory, in ROM; 0: none */
	bool virtual_interrupts; /* the backend may deliver what its local APICs have */
	hpa_t apic_page;         /* caps.apic_page: the frame of the local APICs' page; 0: none */
	struct shadow *shadow;   /* NULL: nested paging. With both see vm_shadow_translates() */
	struct vm_tables_state tables;
	uint64_t tsc_offset; /* of all its vCPUs, but for what each writes to its own TSC */
	uint64_t audit_left; /* exits to the shadow's next audit; 0: none; atomic */
	uint64_t clear_to;   /* vm_clear_memory() has come so far */
	struct pt_mem guest_tables, own_guest_tables; /* gmem.c alone uses them */
	struct vm_intr_source intr;
	struct lapic_set lapics; /* those of its vCPUs */
	struct pc *pc;
	/* turns.c: its vCPUs are to be on no CPU; atomic. run.c: how many want it so. */
	bool held;
	unsigned holds;
	bool together; /* turns.c: its vCPUs are on one CPU and stay there; set while they are off
			*/
	struct sched_share sched; /* its vCPUs' */
	unsigned nr_vcpus;
	struct vcpu *vcpu[VM_MAX_VCPUS];
	struct exit_stats *exits[VM_MAX_VCPUS]; /* by vCPU; of the last run, when it is stopped */
	struct touches touches;                 /* ports and addresses, in the same way */
	uint64_t start_ns;      /* when its last start was done, or begun if it is not yet */
	uint64_t start_cost_ns; /* and how long that took */
	struct timer restart;   /* armed while it waits to be started again: run.c's */
	void *hw;               /* the backend's own state */
	bool has_nested;        /* nested_init() was done: vm_tables.c's, others look */
	bool has_bus;           /* vm_life.c alone uses these two */
	bool has_hw;
	struct vm_debug debug;
	unsigned notices; /* VM_NOTICE_*: what was already said once of this guest */
};

/* Of a VM that has never been started: its locks, which nobody holds. */
void vm_init_locks(struct vm *vm);

/* Say that the VM is to stop, and why: the run loop stops it before it is entered again.
 * The first reason wins. Waits for nobody, whatever locks others hold. */
void vm_request_stop(struct vm *vm, enum vm_stop_reason reason, int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Counters for the exits of n vCPUs, all zero; those of more vCPUs go. 0 or -ENOMEM. */
int vm_exits_make(struct vm *vm, unsigned n);
/* The exits of all its vCPUs together, but for the trace, until the next call of this. CPU 0. */
const struct exit_stats *vm_exits(const struct vm *vm);
/* How many they are. On any CPU. */
uint64_t vm_exit_count(const struct vm *vm);
/* Forget them; the traces stay. */
void vm_exits_clear(struct vm *vm);

#ifdef UMBRA_DEBUG
/* What the backend is to spoil before it enters the guest now, as corrupt= on its line asks; NULL:
 * nothing. */
const struct vm_corrupt *vm_corrupt_now(const struct vm *vm);
#endif

/* Say that a running VM is to pause: the run loop pauses it before it is entered again. For exits'
 * handlers; who is not in one calls vmm_pause_vm(). */
void vm_request_pause(struct vm *vm);

/* Has any VM been asked to stop or to pause since the last call of this? */
bool vm_stop_requested(void);

/* --- vm_mem.c --- */

/*
 * Add a region to the guest's memory: memory map and tables together. Its frames are
 * the VM's own; a DISK region's page[] is made here. The guest may be running, but not now.
 * 0, as memmap_add(), -EACCES (foreign frames), -ENOMEM; then nothing has changed.
 */
int vm_add_region(struct vm *vm, const struct region *region);
/* Take a region away, and free its frames if it owns them. 0, -ENOENT, -EBUSY as
 * memmap_remove(), -ENOMEM. */
int vm_remove_region(struct vm *vm, gpa_t start);
/*
 * memmap_hook() and memmap_unhook(), in the tables too: large pages are split where
 * they must be, and whole again afterwards. -ENOMEM besides: a hook that finds no page for a
 * table changes nothing; if there is none to take a hook away with, the VM is to stop.
 */
int vm_hook(struct vm *vm, gpa_t start, uint64_t size, enum region_kind kind);
int vm_unhook(struct vm *vm, gpa_t start, uint64_t size);
/*
 * The guest was stopped at an address of a DISK region where the memory map gives what it tried:
 * bring the page in, or enter it again if it has come in before. When that cannot be done, the
 * VM is to stop.
 */
void vm_disk_fault(struct vm *vm, gpa_t gpa);

/* Everything that the VM's lines give it: RAM, ROM, disk regions. Its tables are there. 0,
 * -ENOMEM, -ENOSPC; what was added stays. The RAM has been somebody else's: it is to be cleared. */
int vm_make_memory(struct vm *vm);
/* Clear the next so many bytes of it. True: all is clear. */
bool vm_clear_memory(struct vm *vm, uint64_t bytes);
/* A vCPU's local APIC is not, or no longer, where the processor is to answer for it: every access
 * to that page exits from here on, whichever vCPU's it is. With vm->lock held. */
void vm_drop_apic_page(struct vm *vm);
/* Give back every frame; the tables are gone already. */
void vm_free_memory(struct vm *vm);

/* --- vm_life.c --- */

/*
 * Build everything of a VM that was at rest: RAM, ROM, nested table, devices, vCPU; it then is
 * VM_RUNNING, its vCPU VCPU_STARTING. 0, or a negative errno with what is wrong logged as one line:
 * when its line asks for what cannot be had, nothing has changed; else nothing is left allocated.
 */
int vm_start_begin(struct vm *vm);
/* Once vm_clear_memory() is done: load the kernel that its line names; the vCPU then is
 * VCPU_RUNNABLE. 0, or a negative errno with what is wrong logged as one line, and the VM to be
 * taken down. */
int vm_start_end(struct vm *vm);
/* All of it in one go. 0, or a negative errno as vm_start_begin(). */
int vm_start(struct vm *vm);
/*
 * Take a VM that has stop_reason set out of service and say why in one line. A crashed
 * VM keeps its memory and registers for whoever looks into them; any other gives all
 * back. The vCPU must not be loaded on a CPU.
 */
void vm_stop(struct vm *vm);
/* Give back every frame and structure but struct vm itself; harmless on an empty VM. */
void vm_teardown(struct vm *vm);
/* Did it stop in a way that its line's on-reset= or on-crash= answers with a new start? */
bool vm_wants_restart(const struct vm *vm);
/*
 * The clock_ns() at which such a VM may be started again: a second after its last start. Most of
 * the work of making it is done in its own turns, but not all.
 */
uint64_t vm_restart_time(const struct vm *vm);

#endif
