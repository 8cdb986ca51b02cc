/* From SVM's exit codes to neutral exits. Pure: reads the VMCB, touches nothing. */
#ifndef UMBRA_SVM_EXIT_H
#define UMBRA_SVM_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "svm/vmcb.h"
#include "vmm/exit.h"

/* Exit codes that code other than the table names. APM vol. 2, App. C. */
enum {
	SVM_EXIT_EXCEPTION = 0x040, /* + vector */
	SVM_EXIT_INTR = 0x060,
	SVM_EXIT_VINTR = 0x064,
	SVM_EXIT_PUSHF = 0x070,
	SVM_EXIT_IRET = 0x074,
	SVM_EXIT_SWINT = 0x075,
	SVM_EXIT_TASK_SWITCH = 0x07d,
	SVM_EXIT_RDPRU = 0x08e,
	SVM_EXIT_TABLE = 0x0a3, /* codes below it are in the table */
	SVM_EXIT_NPF = 0x400,
};

/* EXITINFO2 of a task switch that IRET makes. APM vol. 2, 15.14.1. */
#define SVM_TASK_IRET BIT(36)

/* The code that says that VMRUN was refused. QEMU: only its low 32 bits are ones. */
static inline bool svm_exit_is_invalid(uint64_t code)
{
	return (uint32_t)code == 0xffffffffu;
}

/* The manual's name of a code; "VMEXIT_?" for one that the table does not have. */
const char *svm_exit_name(uint64_t code);

/*
 * Fill *exit from the VMCB as the exit left it: every field that its kind gives a meaning
 * to, insn_len, bytes, raw and interrupted. features: SVM_FEATURE_* that are in use.
 */
void svm_exit_decode(const struct vmcb *v, uint32_t features, struct vm_exit *exit);

#endif
