/* The SVM instructions that C code executes. */
#ifndef UMBRA_SVM_INSN_H
#define UMBRA_SVM_INSN_H

#include "arch/x86_64/include/addr.h"

/* FS, GS, TR, LDTR and the syscall MSRs of now, into the page at vmcb. */
static inline void svm_vmsave(hpa_t vmcb)
{
	__asm__ volatile("vmsave" ::"a"(vmcb.v) : "memory");
}

/* Have the host's machine-check handler look at its banks. */
static inline void svm_take_machine_check(void)
{
	__asm__ volatile("int $18" ::: "memory");
}

#endif
