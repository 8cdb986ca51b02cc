/* What the backend keeps for the machine, a CPU, a VM and a vCPU. For svm/ only. */
#ifndef UMBRA_SVM_STATE_H
#define UMBRA_SVM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/fault.h"
#include "svm/check.h"
#include "svm/features.h"
#include "svm/vmcb.h"
#include "vmm/backend.h"
#include "vmm/vcpu.h"

/* The machine, as probe() found it; constant afterwards. */
struct svm_machine {
	uint32_t features;   /* SVM_FEATURE_* in use */
	uint32_t clean_mask; /* clean bits after a run: CLEAN_ALL, or 0 without them */
	uint32_t nr_asids;   /* ASIDs 1 to nr_asids - 1 are for guests */
	/* QEMU: VMRUN loads DR7, but only MOV to DR7 arms breakpoints, and keeps books of them that
	 * go by the DR7 of before: the host does it for the guest, always. */
	bool arms_dr7;
	bool loose_cr8; /* QEMU: MOV to CR8 takes reserved bits, where it does not exit */
	/* QEMU: MOV to CR3 of a reserved bit leaves the guest as if VMRUN had been refused. */
	bool vague_cr3;
	/* QEMU: VMRUN with V_IRQ notes it in the word of what waits for the CPU, not atomically: an
	 * interrupt that another of QEMU's threads notes there at that moment is lost. */
	bool loses_interrupts;
	uint64_t image_start, image_end; /* Umbra's own addresses, where it arms none */
	bool rdpru;                      /* the CPU has RDPRU, and its intercept */
	bool invpcid;                    /* the CPU has INVPCID, and its intercept */
	uint64_t host_cr4; /* bits of CR4 that are the host's while a guest runs: MCE */
	struct svm_limits limits;
	struct backend_caps caps;
};
extern struct svm_machine svm_machine;

/* One CPU; touched only by that CPU, with interrupts off. */
struct svm_cpu {
	unsigned id;
	uint64_t asid_generation; /* from 1; an older one's ASIDs are stale */
	uint32_t next_asid;
	hpa_t host_vmcb; /* VMSAVE's copy of the host's FS, GS, TR, LDTR and syscall MSRs */
	hpa_t hsave;     /* what VMRUN keeps the rest of the host in */
};

struct svm_vm {
	hpa_t iopm, msrpm;
};

/* Why the guest runs a single instruction. See svm/step.h. */
enum svm_step { STEP_NONE, STEP_IRET, STEP_SHADOW };

/*
 * The registers that the VMCB may hold otherwise than the guest knows them; reg.c alone
 * touches it. cr3 counts under shadow paging only: else the guest writes the VMCB's.
 */
struct svm_guest_cr {
	uint64_t cr0, cr3, cr4, efer; /* as the core reads them: enum vcpu_reg */
};
#define SVM_HOT_AT(field, reg)                                                                     \
	static_assert(offsetof(struct svm_guest_cr, field) == 8 * (reg), "vcpu->hot: " #field)
SVM_HOT_AT(cr0, REG_CR0);
SVM_HOT_AT(cr3, REG_CR3);
SVM_HOT_AT(cr4, REG_CR4);
SVM_HOT_AT(efer, REG_EFER);
static_assert(sizeof(struct svm_guest_cr) == 8 * VCPU_HOT_REGS, "vcpu->hot");

struct svm_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_pa;
	struct svm_cpu *holder;       /* between load and release */
	struct svm_cpu *cpu;          /* where it is loaded, or was last; NULL: never was */
	uint64_t asid_generation;     /* cpu's when vmcb->asid was given; 0: none yet */
	bool flush;                   /* drop its translations at the next entry */
	bool nmi_blocked;             /* from an NMI's injection to the end of its IRET */
	bool intr_window, nmi_window; /* asked for by the core */
	bool tpr_held;                /* so is a lower CR8 */
	enum svm_step step;
	bool step_guest_tf; /* the guest's own TF when the step began */
	uint64_t step_rip, step_dr6;
	uint8_t soft_len; /* RIP was moved so far to inject a software event */
	bool cr2_changed; /* the CPU's own CR2 is not the VMCB's */
	bool shadow;      /* the VM has no nested table: the VMCB's CR3 is the core's */
	hpa_t root;       /* its CR3 then */
	struct svm_guest_cr guest;
	const char *broken;      /* debug builds: what the auditor has found right before VMRUN */
	uint32_t own_exceptions; /* intercepted whatever the core asks */
	uint32_t exceptions;     /* intercepts: the core's and own_exceptions */
};

/*
 * Vectors that are intercepted whatever the core asks: #MC is the host's; with #DB or
 * #AC a guest can make the processor deliver the same exception for ever, without an
 * instruction boundary at which a host interrupt would be taken. Under shadow paging #PF
 * besides.
 */
#define SVM_OWN_EXCEPTIONS ((uint32_t)(BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC)))

/* The backend's part of a vCPU. */
static inline struct svm_vcpu *svm_vcpu(const struct vcpu *vcpu)
{
	return vcpu->hw;
}

/*
 * Functions without a comment of their own are entries of the backend table: they do what
 * vmm/backend.h promises.
 */

/* --- cpu.c --- */

int svm_probe(void);
int svm_cpu_enable(void);
const struct backend_caps *svm_caps(void);
/* The calling CPU's state; NULL before svm_cpu_enable(). */
struct svm_cpu *svm_this_cpu(void);
/* Give the vCPU, loaded on sv->cpu, an ASID with none of the translations it must not see. */
void svm_asid_renew(struct svm_vcpu *sv);

/* --- vcpu.c --- */

int svm_vcpu_init(struct vcpu *vcpu);
void svm_vcpu_destroy(struct vcpu *vcpu);
/* All MOVs to and from debug registers, if asked for or the machine wants it so. */
void svm_set_intercept_dr(struct svm_vcpu *sv, bool on);

/* --- reg.c --- */

uint64_t svm_get_reg(const struct vcpu *vcpu, enum vcpu_reg reg);
void svm_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val);
/* The root of the tables that hardware walks: the nested ones, or the shadow. */
void svm_set_root(struct vcpu *vcpu, hpa_t root, enum root_kind kind);
void svm_get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg);
void svm_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg);

/* --- inject.c --- */

bool svm_can_inject(const struct vcpu *vcpu, enum vm_event_kind kind);
void svm_inject(struct vcpu *vcpu, const struct vm_event *ev);
void svm_request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on);
void svm_set_tpr_threshold(struct vcpu *vcpu, unsigned class);
/* QEMU: INT3's exception intercept does nothing, but that of INT n takes it too. */
void svm_update_intn(struct svm_vcpu *sv);
/* Move RIP back to the INT whose delivery was cut off. */
void svm_undo_soft(struct vcpu *vcpu);
/* Intercept IRET just when it ends an NMI, or when the core waits to inject one. */
void svm_update_iret(struct svm_vcpu *sv);

/* --- run.c --- */

void svm_run(struct vcpu *vcpu, struct vm_exit *exit);

/* --- dump.c --- */

void svm_dump(const struct vcpu *vcpu, const struct printer *p);

/* --- corrupt.c --- */

#ifdef UMBRA_DEBUG
/* Right before VMRUN: write to the VMCB what corrupt= on the guest's line asks for, and have the
 * auditor look at it. */
void svm_last_look(struct vcpu *vcpu);
#else
static inline void svm_last_look(struct vcpu *vcpu)
{
	(void)vcpu;
}
#endif

/* --- enter.asm --- */

/*
 * One world switch: host registers out, the guest's (but RAX, RSP, RIP and RFLAGS, which
 * the VMCB holds) in, VMRUN, and back. Interrupts must be off and are off afterwards.
 */
void svm_enter(struct vcpu_regs *regs, uint64_t guest_vmcb_pa, uint64_t host_vmcb_pa);
#define SVM_ENTER_MAX 256 /* bytes of code, at most */
/* MOV to CR2. */
void svm_write_cr2(uint64_t val);

#endif
