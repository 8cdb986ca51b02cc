/* From VMX's exit reasons to neutral exits. Pure. */
#ifndef UMBRA_VMX_EXIT_H
#define UMBRA_VMX_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "vmm/exit.h"

/* Basic exit reasons that code other than the table names. SDM vol. 3, appendix C. */
enum {
	VMX_EXIT_EXCEPTION_NMI = 0,
	VMX_EXIT_EXTERNAL_INTERRUPT = 1,
	VMX_EXIT_IO = 30,
	VMX_EXIT_INVALID_GUEST_STATE = 33,
	VMX_EXIT_MSR_LOADING = 34,
	VMX_EXIT_MACHINE_CHECK_ON_ENTRY = 41,
	VMX_EXIT_TPR_BELOW_THRESHOLD = 43,
	VMX_EXIT_EPT_VIOLATION = 48,
	VMX_EXIT_EPT_MISCONFIGURATION = 49,
};

/* The exit information fields as the processor left them; those that the reason gives no meaning
 * to need not be read, and are 0. */
struct vmx_exit_info {
	uint32_t reason; /* all 32 bits */
	uint32_t intr_info, intr_error;
	uint32_t vectoring_info, vectoring_error;
	uint32_t insn_len, insn_info;
	uint64_t qualification;
	uint64_t gpa; /* guest-physical address */
	bool rf;      /* of the guest's RFLAGS, which a task switch keeps */
};

/* Which fields beside reason, vectoring_info and insn_len this reason gives a meaning to. */
#define VMX_NEEDS_QUALIFICATION 0x1u
#define VMX_NEEDS_INTR_INFO 0x2u
#define VMX_NEEDS_GPA 0x4u
#define VMX_NEEDS_INSN_INFO 0x8u
unsigned vmx_exit_needs(uint32_t reason);

/* The manual's name of a basic reason; "?" for one that the table does not have. */
const char *vmx_exit_name(uint32_t reason);

/*
 * Fill *exit: every field that its kind gives a meaning to, insn_len, raw and interrupted. *exit's
 * kind is EXIT_INVALID_STATE for every failed entry. insn_info_io: INS and OUTS come with
 * instruction information.
 */
void vmx_exit_decode(const struct vmx_exit_info *info, bool insn_info_io, struct vm_exit *exit);

/* The qualification of a debug exception, as DR6 shows it: B0 to B3, BD, BS. SDM vol. 3, 27.2.1. */
#define QUAL_DEBUG_DR6 (BITS(3, 0) | BITS(14, 13))

#endif
