/* A VM exit in neutral form: what the guest did, not how one vendor encodes it. */
#ifndef UMBRA_VMM_EXIT_H
#define UMBRA_VMM_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/desc.h"

/*
 * One list, from which the enum, the names and the counters are made.
 * X(constant, name)
 */
#define VM_EXIT_KINDS(X)                                                                           \
	X(EXIT_UNKNOWN, "unknown")         /* a code the backend's table does not have */          \
	X(EXIT_INVALID_STATE, "invalid")   /* the hardware refused to enter */                     \
	X(EXIT_INTR, "intr")               /* a host interrupt; the host takes it */               \
	X(EXIT_NMI, "nmi")                 /* a host NMI */                                        \
	X(EXIT_INTR_WINDOW, "intr-window") /* the guest can take an interrupt now */               \
	X(EXIT_NMI_WINDOW, "nmi-window")                                                           \
	X(EXIT_TIMER, "timer") /* its deadline: set_deadline() */                                  \
	X(EXIT_IO, "io")                                                                           \
	X(EXIT_NESTED_FAULT, "nested-fault") /* NPT fault, EPT violation */                        \
	X(EXIT_PAGE_FAULT, "page-fault")     /* under shadow paging only */                        \
	X(EXIT_EXCEPTION, "exception")       /* any other */                                       \
	X(EXIT_CPUID, "cpuid")                                                                     \
	X(EXIT_RDMSR, "rdmsr")                                                                     \
	X(EXIT_APIC_WRITE, "apic-write") /* one that the processor has done: lapic_written() */    \
	X(EXIT_APIC_EOI, "apic-eoi")     /* the same: lapic_ended() */                             \
	X(EXIT_WRMSR, "wrmsr")                                                                     \
	X(EXIT_CR_READ, "cr-read")                                                                 \
	X(EXIT_CR_WRITE, "cr-write") /* MOV to CR, LMSW, CLTS */                                   \
	X(EXIT_DR, "dr")             /* MOV to or from DR */                                       \
	X(EXIT_SOFT_INT, "soft-int") /* INT n; INT3 too, where both leave alike */                 \
	X(EXIT_HLT, "hlt")                                                                         \
	X(EXIT_PAUSE, "pause")                                                                     \
	X(EXIT_MONITOR, "monitor")                                                                 \
	X(EXIT_MWAIT, "mwait")                                                                     \
	X(EXIT_INVD, "invd")                                                                       \
	X(EXIT_WBINVD, "wbinvd")                                                                   \
	X(EXIT_XSETBV, "xsetbv")                                                                   \
	X(EXIT_RDTSC, "rdtsc")                                                                     \
	X(EXIT_RDPMC, "rdpmc")                                                                     \
	X(EXIT_INVLPG, "invlpg")                                                                   \
	X(EXIT_INVPCID, "invpcid")                                                                 \
	X(EXIT_TASK_SWITCH, "task-switch")                                                         \
	X(EXIT_HYPERCALL, "hypercall") /* VMMCALL, VMCALL */                                       \
	X(EXIT_VIRT_INSN, "virt-insn") /* VMRUN, VMXON...: #UD for the guest */                    \
	X(EXIT_SHUTDOWN, "shutdown")   /* triple fault */                                          \
	X(EXIT_EMULATE, "emulate")     /* the processor can't run what stands at RIP */            \
	X(EXIT_INIT, "init")                                                                       \
	X(EXIT_SMI, "smi")

enum vm_exit_kind {
#define X(constant, name) constant,
	VM_EXIT_KINDS(X) EXIT_KINDS,
#undef X
};

/* The kind's name, from the list above; "?" out of range. */
const char *vm_exit_name(enum vm_exit_kind kind);

struct vcpu;
/*
 * Do what vcpu->exit asks for, after putting back the event whose delivery it cut off.
 * Counts the exit. The vCPU may be halted, or its VM asked to stop, afterwards.
 */
void vm_exit_handle(struct vcpu *vcpu);
/* The part of it that vcpu->exit.kind alone decides. */
void vm_exit_dispatch(struct vcpu *vcpu);
/* EXIT_IO: the access, and those that stand right behind it when the guest polls. */
void vm_exit_io(struct vcpu *vcpu);
/* EXIT_NESTED_FAULT: an access that the tables did not let through. */
void vm_exit_nested_fault(struct vcpu *vcpu);
/* Stop the VM with a line that names the instruction at RIP. */
void vm_exit_cannot_emulate(struct vcpu *vcpu);

/* An event on its way into the guest. */
enum vm_event_kind {
	EVENT_NONE,
	EVENT_INTR, /* external interrupt */
	EVENT_NMI,
	EVENT_EXCEPTION, /* hardware exception */
	EVENT_SOFT_INT,  /* INT n */
	EVENT_SOFT_EXC,  /* INT3, INTO */
};

struct vm_event {
	enum vm_event_kind kind;
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint8_t insn_len; /* EVENT_SOFT_*: length of the instruction, 0 unknown */
};

#define VM_EXIT_MAX_INSN 15
#define VM_EXIT_RAW_WORDS 5
/* cr.gpr, when the hardware does not tell which register: decode the instruction. */
#define VM_EXIT_GPR_UNKNOWN 0xff

struct vm_exit {
	enum vm_exit_kind kind;
	uint8_t insn_len; /* 0: unknown; only for exits that an instruction causes */
	uint8_t nr_bytes; /* decode assist: how many of bytes[] are valid */
	uint8_t bytes[VM_EXIT_MAX_INSN];
	uint64_t raw[VM_EXIT_RAW_WORDS]; /* exit code and information words, for dumps */
	const char *hw_name;             /* the manual's name of the code */
	struct vm_event interrupted;     /* the event whose delivery this exit cut off */
	union {
		struct {
			uint16_t port;
			uint8_t size; /* 1, 2, 4 */
			bool in, string, rep;
			uint8_t addr_size; /* string: 2, 4, 8 bytes; 0 unknown */
			uint8_t seg;       /* string: enum seg_reg; 0xff unknown */
		} io;
		struct {
			gpa_t gpa;
			bool read, write, fetch; /* what the access was */
			bool present;            /* a translation was there: a rights fault */
			bool table_walk;         /* while walking the guest's own tables */
		} nested;
		struct {
			uint16_t off;         /* EXIT_APIC_WRITE: of the register */
			uint8_t vector;       /* EXIT_APIC_EOI */
			const uint32_t *page; /* EXIT_APIC_WRITE: what has been written is here */
		} apic;
		struct {
			gva_t gva;
			uint32_t error; /* PF_*, as hardware found it in the shadow */
		} page_fault;
		struct {
			uint8_t vector;
			uint32_t error;
			uint64_t cr2;
		} exception;
		struct {
			uint8_t nr;  /* 0, 3, 4, 8 */
			uint8_t gpr; /* ModRM order, or VM_EXIT_GPR_UNKNOWN */
			bool clts;   /* CR0, known: CLTS, and no register */
		} cr;
		struct {
			gva_t gva;
			bool known;
		} invlpg;
		struct {
			gva_t gva; /* of the descriptor */
			uint64_t type;
		} invpcid;
		struct {
			uint16_t selector;
			bool iret, jmp; /* neither: CALL or an event through a task gate */
			bool rf;        /* RFLAGS.RF as the old task is to have it */
			bool has_error;
			uint32_t error;
		} task;
	};
};

#endif
