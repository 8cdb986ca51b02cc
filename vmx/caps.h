/* What VMX a processor has, from its capability MSRs. SDM vol. 3, appendix A. Pure. */
#ifndef UMBRA_VMX_CAPS_H
#define UMBRA_VMX_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

/* The capability MSRs as they read; 0 for one that this processor does not have. */
struct vmx_cap_msrs {
	uint64_t basic;
	uint64_t pin, proc, exit, entry; /* the TRUE ones where basic[55] says so */
	uint64_t proc2;                  /* if proc allows PROC_SECONDARY */
	uint64_t misc;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint64_t ept_vpid; /* if proc2 allows EPT or VPID */
};

/* A control word: what Umbra always wants, and what is allowed. */
struct vmx_control {
	uint32_t must, may; /* allowed-0 bits, which are 1 always; allowed-1 bits */
};

struct vmx_caps {
	uint32_t revision; /* of the VMCS and the VMXON region */
	bool insn_info_io; /* INS and OUTS exits tell segment and address size */
	struct vmx_control pin, proc, proc2, exit, entry;
	/* Bits that must be 1; that may be. Unrestricted guest lifts CR0.PE and PG from a guest. */
	uint64_t cr0_fixed0, cr0_fixed1;
	uint64_t cr4_fixed0, cr4_fixed1;
	unsigned timer_shift; /* the preemption timer counts TSC ticks >> this */
	bool ept, ept_1g, ept_accessed_dirty;
	bool invept_context; /* else INVEPT_ALL */
	bool vpid;
	bool invvpid_address, invvpid_context; /* else INVVPID_ALL */
	bool unrestricted_guest;
	bool preemption_timer;
	bool pause_loop;
	bool tpr_shadow;
	/* What goes with it: a page that the guest's local APIC is on; RDMSR and WRMSR of its
	 * registers; reads that the virtual-APIC page answers; interrupts that are delivered, and
	 * ended, without an exit; and that other CPUs post without one. */
	bool apic_accesses, x2apic_mode, apic_registers, virtual_interrupts, posted_interrupts;
	bool rdtscp, invpcid, wbinvd;
	/* Entry loads the guest's; exit saves it and loads the host's. */
	bool load_efer, load_pat;
	bool entry_len0;   /* MISC[30]: a software event of instruction length 0 */
	uint32_t features; /* VMX_FEATURE_*: there, and made use of */
};

/*
 * Fold the MSRs into *caps. NULL, or in words what Umbra needs and the processor does not
 * have. features_mask: the VMX_FEATURE_* to make use of, where they are there.
 */
const char *vmx_caps_fold(const struct vmx_cap_msrs *msrs, uint32_t features_mask,
			  struct vmx_caps *caps);

/* The control word: wanted bits, and those that must be 1. Every wanted bit must be allowed. */
uint32_t vmx_control_word(const struct vmx_control *c, uint32_t wanted);

/* What is optional; vmx-features=MASK leaves out what the mask does not have. */
#define VMX_FEATURE_EPT BIT(0)
#define VMX_FEATURE_VPID BIT(1)
#define VMX_FEATURE_UNRESTRICTED_GUEST BIT(2)
#define VMX_FEATURE_PREEMPTION_TIMER BIT(3)
#define VMX_FEATURE_EPT_1G BIT(4)
#define VMX_FEATURE_PAUSE_LOOP BIT(5)
#define VMX_FEATURE_INVVPID_CONTEXT BIT(6)
#define VMX_FEATURE_INVEPT_CONTEXT BIT(7)
#define VMX_FEATURE_TRUE_CONTROLS BIT(8)
#define VMX_FEATURE_TPR_SHADOW BIT(9)
#define VMX_FEATURE_APIC_ACCESSES BIT(10)
#define VMX_FEATURE_X2APIC_MODE BIT(11)
#define VMX_FEATURE_APIC_REGISTERS BIT(12)
#define VMX_FEATURE_VIRTUAL_INTERRUPTS BIT(13)
#define VMX_FEATURE_POSTED_INTERRUPTS BIT(14)

/* Constant of the bit, name in the boot log. */
#define VMX_FEATURES(X)                                                                            \
	X(VMX_FEATURE_EPT, "EPT")                                                                  \
	X(VMX_FEATURE_VPID, "VPID")                                                                \
	X(VMX_FEATURE_UNRESTRICTED_GUEST, "UnrestrictedGuest")                                     \
	X(VMX_FEATURE_PREEMPTION_TIMER, "PreemptionTimer")                                         \
	X(VMX_FEATURE_EPT_1G, "EPT1G")                                                             \
	X(VMX_FEATURE_PAUSE_LOOP, "PauseLoop")                                                     \
	X(VMX_FEATURE_INVVPID_CONTEXT, "InvVpidContext")                                           \
	X(VMX_FEATURE_INVEPT_CONTEXT, "InvEptContext")                                             \
	X(VMX_FEATURE_TRUE_CONTROLS, "TrueControls")                                               \
	X(VMX_FEATURE_TPR_SHADOW, "TprShadow")                                                     \
	X(VMX_FEATURE_APIC_ACCESSES, "ApicAccesses")                                               \
	X(VMX_FEATURE_X2APIC_MODE, "X2ApicMode")                                                   \
	X(VMX_FEATURE_APIC_REGISTERS, "ApicRegisters")                                             \
	X(VMX_FEATURE_VIRTUAL_INTERRUPTS, "VirtualInterrupts")                                     \
	X(VMX_FEATURE_POSTED_INTERRUPTS, "PostedInterrupts")

#endif
