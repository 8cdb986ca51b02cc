/* What the backend keeps for the machine, a CPU, a VM and a vCPU. For vmx/ only. */
#ifndef UMBRA_VMX_STATE_H
#define UMBRA_VMX_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/fault.h"
#include "vmm/backend.h"
#include "vmm/vcpu.h"
#include "vmx/caps.h"
#include "vmx/check.h"
#include "vmx/vmcs.h"

/* The machine, as probe() found it; constant afterwards. */
struct vmx_machine {
	struct vmx_caps vmx;
	struct backend_caps caps;
	uint32_t deaf_ticks; /* of the preemption timer: how long a guest may be with IF clear */
};
extern struct vmx_machine vmx_machine;

/* One CPU; touched only by that CPU. */
struct vmx_cpu {
	unsigned id;
	hpa_t vmxon;              /* the VMXON region */
	hpa_t current;            /* the current VMCS; 0: none */
	uint64_t vpid_generation; /* from 1; an older one's VPIDs are stale */
	uint32_t next_vpid;
};

struct vmx_vm {
	hpa_t io_bitmaps, msr_bitmap;
	hpa_t x2apic_msr_bitmap; /* of vCPUs whose local APIC is one, and the processor's to do */
};

/*
 * The registers that the VMCS may hold otherwise than the guest knows them; control.c alone
 * writes them but for what run.c carries over.
 */
struct vmx_guest_cr {
	uint64_t cr0, cr3, cr4, efer; /* as the core reads them: enum vcpu_reg */
};
#define VMX_HOT_AT(field, reg)                                                                     \
	static_assert(offsetof(struct vmx_guest_cr, field) == 8 * (reg), "vcpu->hot: " #field)
VMX_HOT_AT(cr0, REG_CR0);
VMX_HOT_AT(cr3, REG_CR3);
VMX_HOT_AT(cr4, REG_CR4);
VMX_HOT_AT(efer, REG_EFER);
static_assert(sizeof(struct vmx_guest_cr) == 8 * VCPU_HOT_REGS, "vcpu->hot");

/* How the processor is to run the guest's state of now. */
enum vmx_mode {
	MODE_DIRECT,  /* as it is */
	MODE_V86,     /* real mode without unrestricted guest: as a virtual-8086 task */
	MODE_EMULATE, /* not at all: EXIT_EMULATE */
};

/* MSRs that VM entry and exit do not switch: the guest's stay on the CPU while it is loaded. */
enum { KEPT_STAR, KEPT_LSTAR, KEPT_CSTAR, KEPT_SFMASK, KEPT_KERNEL_GS_BASE, KEPT_MSRS };

struct vmx_vcpu {
	hpa_t vmcs;
	struct vmx_cpu *holder;   /* where its VMCS is active; NULL: nowhere, all is in memory */
	struct vmx_cpu *cpu;      /* where it is loaded, or was last; NULL: never was */
	bool loaded;              /* kept[], cr2 and dr6 are the CPU's now */
	bool launched;            /* since the last VMCLEAR */
	uint64_t vpid_generation; /* cpu's when vpid was given; 0: none yet */
	uint16_t vpid;
	bool flush_guest;  /* drop its translations at the next entry */
	bool flush_nested; /* those that the nested tables have made, too */
	bool mode_stale;   /* what the mode depends on has changed */
	enum vmx_mode mode;
	enum root_kind root_kind;
	hpa_t root;
	struct vmx_guest_cr guest;
	uint64_t kept[KEPT_MSRS];
	uint64_t cr2, dr6;         /* as kept[] */
	uint64_t pat;              /* the VMCS has it not always */
	uint8_t tpr;               /* CR8 is its upper half; the virtual-APIC page has it too */
	uint8_t tpr_threshold;     /* the VMCS's */
	uint32_t *virtual_apic;    /* the page; NULL: no TPR shadow */
	bool virtual_interrupts;   /* the core asks for it */
	uint32_t apic_controls;    /* of proc2: those that apic.c has set */
	uint64_t eoi_exits[4];     /* the VMCS's bitmaps */
	uint32_t interruptibility; /* the VMCS's */
	uint32_t pin, proc, proc2; /* the control words in the VMCS */
	uint32_t entry;
	uint32_t own_exceptions;        /* exit whatever the core asks */
	uint32_t core_exceptions;       /* what the core asks for */
	bool intercept_invlpg;          /* the core asks for it */
	bool injecting;                 /* VM entry is to deliver an event */
	bool intr_window, nmi_window;   /* asked for by the core */
	uint64_t cr4_owned;             /* bits that the guest changes without an exit */
	uint64_t deadline;              /* TSC at which its run is to end; 0: none */
	uint32_t timer;                 /* the VMCS's */
	struct segment seg[SEG_TR + 1]; /* MODE_V86: as the guest knows them, but for selector
					 * and base of the first six */
	uint32_t sysenter_cs;           /* MODE_V86: the guest's; the VMCS's is 0 */
};

/* CR0 bits of no concern to anybody but the guest, which changes them without an exit. */
#define VMX_CR0_OWNED (CR0_TS | CR0_MP | CR0_EM)

#define VMX_OWN_EXCEPTIONS ((uint32_t)(BIT(VEC_DB) | BIT(VEC_AC) | BIT(VEC_MC)))

/* The backend's part of a vCPU. */
static inline struct vmx_vcpu *vmx_vcpu(const struct vcpu *vcpu)
{
	return vcpu->hw;
}

/*
 * Functions without a comment of their own are entries of the backend table: they do what
 * vmm/backend.h promises.
 */

/* --- cpu.c --- */

int vmx_probe(void);
int vmx_cpu_enable(void);
const struct backend_caps *vmx_caps(void);
/* The calling CPU's state; NULL before vmx_cpu_enable(). */
struct vmx_cpu *vmx_this_cpu(void);
/* What vmx_check_vmcs() is to go by here. */
struct vmx_limits vmx_limits(void);

/* --- tlb.c --- */

/* Give the vCPU, loaded on vv->cpu, a VPID if it has none that counts, and drop the translations
 * that it must not see: what vv->flush_guest and flush_nested ask for. Its VMCS is current. */
void vmx_tlb_prepare(struct vmx_vcpu *vv);
/* Drop every guest's translations on the calling CPU. */
void vmx_tlb_forget_all(void);
/* The EPT pointer for tables at root. */
uint64_t vmx_eptp(hpa_t root);

/* --- vcpu.c --- */

int vmx_vcpu_init(struct vcpu *vcpu);
void vmx_vcpu_destroy(struct vcpu *vcpu);
void vmx_vcpu_load(struct vcpu *vcpu);
void vmx_vcpu_put(struct vcpu *vcpu);
void vmx_vcpu_release(struct vcpu *vcpu);
/* Make the vCPU's VMCS the current one of the calling CPU: before any vmread() or vmwrite(). No
 * other CPU holds it. */
void vmx_use(const struct vcpu *vcpu);

/* --- host.c --- */

/* The host's state of now into the current VMCS; what is the same for all of this CPU's runs. */
void vmx_write_host_state(void);

/* --- control.c: what the VMCS holds of control registers, and the controls that follow --- */

/* After a change of vv->guest, of the root, or of the mode. The VMCS is current. */
void vmx_update_control(struct vcpu *vcpu);
/* EFER where no control switches it: LMA and LME follow the entry's and the exit's mode; SCE alone
 * is to be the guest's while it is loaded, and does nothing for the host. SDM vol.
 * 3, 26.3.2.1, 27.5.1. */
void vmx_switch_efer(const struct vmx_vcpu *vv);
void vmx_update_exceptions(struct vmx_vcpu *vv);
/* Set or clear pin-based controls, primary processor-based ones, and secondary ones. */
void vmx_set_pin(struct vmx_vcpu *vv, uint32_t bits, bool on);
void vmx_set_proc(struct vmx_vcpu *vv, uint32_t bits, bool on);
void vmx_set_proc2(struct vmx_vcpu *vv, uint32_t bits, bool on);

/* --- mode.c --- */

/* Decide how the guest's state can be run, and bring the VMCS to it. The VMCS is current. */
void vmx_update_mode(struct vcpu *vcpu);

/* --- reg.c --- */

uint64_t vmx_get_reg(const struct vcpu *vcpu, enum vcpu_reg reg);
void vmx_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val);
void vmx_set_root(struct vcpu *vcpu, hpa_t root, enum root_kind kind);
void vmx_get_pdptes(const struct vcpu *vcpu, uint64_t pdpte[4]);
/* What the CPU keeps of the guest between runs, onto it and back into *vv. */
void vmx_load_kept(struct vmx_vcpu *vv);
void vmx_save_kept(struct vmx_vcpu *vv);

/* --- seg.c --- */

void vmx_get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg);
void vmx_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg);
/* The same for what the VMCS itself holds, whatever the mode. */
void vmx_read_seg(enum seg_reg reg, struct segment *seg);
void vmx_write_seg(enum seg_reg reg, const struct segment *seg);

/* --- inject.c --- */

bool vmx_can_inject(const struct vcpu *vcpu, enum vm_event_kind kind);
void vmx_inject(struct vcpu *vcpu, const struct vm_event *ev);
void vmx_request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on);
void vmx_set_interruptibility(struct vmx_vcpu *vv, uint32_t bits);
void vmx_set_tpr_threshold(struct vcpu *vcpu, unsigned class);
/* The windows that are asked for, as the shadow of now has them. The VMCS is current. */
void vmx_set_windows(struct vmx_vcpu *vv);

/* --- apic.c --- */

/* The virtual-APIC page, and the controls that go with it, as the local APIC is now; and back. The
 * VMCS is current. */
void vmx_apic_before_entry(struct vcpu *vcpu);
void vmx_apic_after_exit(struct vcpu *vcpu);
void vmx_set_virtual_interrupts(struct vcpu *vcpu, bool on);

/* --- run.c --- */

void vmx_run(struct vcpu *vcpu, struct vm_exit *exit);

/* --- dump.c --- */

/* Read the whole current VMCS. */
void vmx_read_image(struct vmcs_image *image);
/* Say why an entry failed: the instruction error, or the exit reason, and what the auditor finds.
 * error: VMCS_INSTRUCTION_ERROR, or 0 when reason tells. */
void vmx_explain_failure(uint32_t error, uint32_t reason, uint64_t qualification);
/* What VMCS_INSTRUCTION_ERROR says. */
const char *vmx_error_text(uint32_t error);
#ifdef UMBRA_DEBUG
/* Right before an entry: write to the current VMCS what corrupt= on the guest's line asks for; else
 * the VM is to stop if the VMCS breaks a rule, whether the processor minds or not. */
void vmx_last_look(struct vcpu *vcpu);
#else
static inline void vmx_last_look(struct vcpu *vcpu)
{
	(void)vcpu;
}
#endif

/* --- print.c --- */

void vmx_dump(const struct vcpu *vcpu, const struct printer *p);

/* --- enter.asm --- */

/*
 * One world switch: VMLAUNCH, or VMRESUME if resume, with the guest's general registers (but RSP,
 * which the VMCS holds) in, and those it left with out. False: the instruction failed, and
 * RFLAGS.CF or ZF was set; no register of the guest has changed. Interrupts must be off and are off
 * afterwards.
 */
bool vmx_enter(struct vcpu_regs *regs, bool resume);
/* Where VM exits go on, for VMCS_HOST_RIP. */
void vmx_exit_point(void);

#endif
