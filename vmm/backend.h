/*
 * The boundary to the hardware: what SVM and VMX both implement, every entry of it.
 * Chosen once at boot. Nothing above this line knows which one it is.
 */
#ifndef UMBRA_VMM_BACKEND_H
#define UMBRA_VMM_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/desc.h"
#include "paging/nested.h"
#include "vmm/exit.h"

struct printer;
struct vm;
struct vcpu;

/* Registers that the backend keeps; the general ones, RIP and RFLAGS are in vcpu->regs. */
enum vcpu_reg {
	/* Looked at in every other exit: the backend keeps them where vcpu->hot points, current
	 * at all times but while the guest runs; to be read there by vcpu_hot_reg(). */
	REG_CR0,
	REG_CR3,
	REG_CR4,
	REG_EFER,
	VCPU_HOT_REGS,
	REG_CR2 = VCPU_HOT_REGS,
	REG_CR8,
	REG_DR6,
	REG_DR7,
	REG_PAT,
	REG_STAR,
	REG_LSTAR,
	REG_CSTAR,
	REG_SFMASK,
	REG_KERNEL_GS_BASE,
	REG_SYSENTER_CS,
	REG_SYSENTER_ESP,
	REG_SYSENTER_EIP,
	REG_TSC_OFFSET,
	REG_CPL,         /* read only */
	REG_CS_ATTR,     /* read only: SEG_ATTR_* of CS */
	REG_INTR_SHADOW, /* 1: in the shadow of STI or MOV SS */
	REG_NMI_BLOCKED, /* 1: from an NMI's delivery to the end of its IRET */
	VCPU_REGS,
};

/* How much of a vCPU's translations to drop. */
enum flush_scope {
	FLUSH_GUEST,  /* all that it has of linear addresses, global pages too */
	FLUSH_NESTED, /* that, and what the nested tables gave */
};

/* What set_root()'s tables translate. */
enum root_kind {
	ROOT_NESTED, /* guest-physical addresses */
	ROOT_SHADOW, /* the guest's linear addresses */
};

struct backend_caps {
	bool nested_paging;
	enum nested_kind nested_kind;
	bool nested_1g; /* 1 GiB pages in nested tables */
	unsigned nested_phys_bits;
	/* A guest that does not page can run through nested tables under shadow paging too: the
	 * core keeps both for it, if it has one vCPU. */
	bool nested_unpaged;
	/* A guest that does not page needs a page directory in its own memory that leads each
	 * address to itself: vm->identity_map. */
	bool identity_map;
	bool preemption_timer; /* set_deadline() is there */
	/* The processor answers for a local APIC whose page lies at vm->apic_page, as far as it
	 * can. */
	bool apic_page;
	/* set_virtual_interrupts() is there, for VMs that are made with vm->virtual_interrupts. */
	bool virtual_interrupts;
	/* And it takes what is in vcpu->lapic.inbox.posted while it runs the guest, when
	 * cpu_notify() says so. */
	bool posted_interrupts;
	bool invpcid_exits; /* INVPCID can exit, with its operands known */
	/* The processor runs real mode, and delivers events there; with nested_unpaged, through
	 * nested tables only. Else it leaves with EXIT_EMULATE, and the core delivers:
	 * vm_tables_run_real_mode(). */
	bool real_mode;
	/* Guests are safe on the CPU that booted only while no other CPU is at work: unless their
	 * line names it, they are to run on the others. */
	bool spares_boot_cpu;
	const char *features; /* one line for the boot log: what the CPU offers */
};

struct vmm_backend {
	const char *name; /* "SVM", "VMX" */

	/* Is it there and not locked off by firmware? 0, or a negative errno with the
	 * reason logged in one line. */
	int (*probe)(void);
	/* Turn it on on the calling CPU; call once a CPU, when its GDT, TSS, GS, control registers
	 * and MSRs are as they stay. 0 or negative errno, one of them for a CPU that differs from
	 * the one that probe() was called on. */
	int (*cpu_enable)(void);
	/* Valid after probe(). */
	const struct backend_caps *(*caps)(void);

	/* Per-VM state (permission maps). Every port and MSR starts intercepted but the
	 * MSRs that the backend switches itself. 0 or -ENOMEM. */
	int (*vm_init)(struct vm *vm);
	void (*vm_destroy)(struct vm *vm);
	/* Per-vCPU state, in the state after RESET (APM vol. 2, 14.1.3). Shadow paging if
	 * vm->shadow is there: then the hardware pages from its tables, always, and page
	 * faults, CR3, CR0 and CR4 writes and INVPCID exit. */
	int (*vcpu_init)(struct vcpu *vcpu);
	void (*vcpu_destroy)(struct vcpu *vcpu);

	/* Make this vCPU the one whose hardware state is on this CPU, and take it off. */
	void (*vcpu_load)(struct vcpu *vcpu);
	void (*vcpu_put)(struct vcpu *vcpu);
	/*
	 * A vCPU is held by one CPU: the one that has made it, or the first since its last release
	 * that has loaded it, looked at it or set anything of it by one of these entries. Until
	 * that CPU lets go of it, by this, no other may call any of them for it, vcpu_destroy()
	 * neither. It is off then (vcpu_put()), and its state all in memory.
	 */
	void (*vcpu_release)(struct vcpu *vcpu);

	/*
	 * Enter the guest with vcpu->regs and leave again with *exit filled in and
	 * vcpu->regs current. Called with interrupts off; a pending host interrupt ends
	 * the run with EXIT_INTR and is taken when the caller enables them. Takes no lock of the
	 * VM's: who holds it may wait for the end of this.
	 */
	void (*run)(struct vcpu *vcpu, struct vm_exit *exit);

	uint64_t (*get_reg)(const struct vcpu *vcpu, enum vcpu_reg reg);
	/* The value is one the guest may have: the caller has checked it. Setting CR0, CR3,
	 * CR4 or EFER does what follows for hardware (LMA, hidden bits, TLB). Under shadow
	 * paging these four are the guest's own always, whatever hardware has. */
	void (*set_reg)(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val);
	void (*get_seg)(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg);
	void (*set_seg)(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg);

	/* Could an event of this kind be injected at the next entry? EVENT_INTR: IF set, no
	 * shadow; EVENT_NMI: not blocked; and nothing else is queued in hardware. */
	bool (*can_inject)(const struct vcpu *vcpu, enum vm_event_kind kind);
	/* Deliver the event at the next entry; EVENT_NONE: none, not even one asked for before. */
	void (*inject)(struct vcpu *vcpu, const struct vm_event *ev);
	/* Ask for, or withdraw, an exit as soon as can_inject(kind) would be true;
	 * kind: EVENT_INTR or EVENT_NMI. */
	void (*request_window)(struct vcpu *vcpu, enum vm_event_kind kind, bool on);
	/*
	 * The guest may write CR8 without an exit: run() passes on what it has written, by
	 * lapic_write_cr8(). From now on a write that takes it below class exits (EXIT_CR_WRITE),
	 * or ends the run behind it (EXIT_INTR_WINDOW). 0: none. class is at most CR8 at the next
	 * entry.
	 */
	void (*set_tpr_threshold)(struct vcpu *vcpu, unsigned class);

	/*
	 * With caps.virtual_interrupts. On: run() delivers what vcpu->lapic has for the vCPU, by
	 * IRR, ISR and TPR, which are up to date whenever the guest does not run; nobody else
	 * does, there are no windows and no threshold for it, and only those ends of interrupts
	 * exit (EXIT_APIC_EOI) that lapic_watched_ends() names. The 8259's interrupts are
	 * injected as ever.
	 */
	void (*set_virtual_interrupts)(struct vcpu *vcpu, bool on);

	/* While no CPU runs a vCPU of the VM. */
	void (*set_intercept_io)(struct vm *vm, uint16_t port, unsigned count, bool on);
	void (*set_intercept_msr)(struct vm *vm, uint32_t msr, bool read, bool write);
	void (*set_intercept_exception)(struct vcpu *vcpu, unsigned vector, bool on);

	/* MOV to and from debug registers, all of them. Off at first; for debugging, as is the
	 * intercept of #BP, with which INT n may exit too. */
	void (*set_intercept_dr)(struct vcpu *vcpu, bool on);

	/* INVLPG, which the guest does itself, or exits. Off at first; for shadow paging. */
	void (*set_intercept_invlpg)(struct vcpu *vcpu, bool on);

	/* Root of the tables that translate for this vCPU from now on: the nested table, or the
	 * shadow. ROOT_NESTED for a VM with a shadow: only while the guest is not paging, and with
	 * caps.nested_unpaged. */
	void (*set_root)(struct vcpu *vcpu, hpa_t root, enum root_kind kind);
	/* The PDPTEs that the processor has loaded for the guest, which is in PAE paging under
	 * ROOT_NESTED. NULL: it may read them in the guest's memory at any time. */
	void (*get_pdptes)(const struct vcpu *vcpu, uint64_t pdpte[4]);
	/* With caps.preemption_timer: the run ends with EXIT_TIMER at this TSC of the host, or
	 * at once if it is past. 0: never. */
	void (*set_deadline)(struct vcpu *vcpu, uint64_t tsc);
	void (*flush)(struct vcpu *vcpu, enum flush_scope scope);

	/* The hardware's own control and state words (VMCB, VMCS), field by field. */
	void (*dump)(const struct vcpu *vcpu, const struct printer *p);
};

#endif
