/* The virtual-machine control structure: fields by name and width, and their bits. SDM vol. 3,
 * ch. 24 and appendix B. */
#ifndef UMBRA_VMX_VMCS_H
#define UMBRA_VMX_VMCS_H

#include <stdint.h>

#include "arch/x86_64/include/bits.h"

/*
 * The fields, by width: X(constant, encoding). Four lists make four enums, so that the compiler
 * refuses a field that is read or written at another width. SDM vol. 3, appendix B.
 */
#define VMCS_FIELDS_16(X)                                                                          \
	X(VMCS_VPID, 0x0000)                                                                       \
	X(VMCS_POSTED_INTERRUPT_VECTOR, 0x0002)                                                    \
	X(VMCS_GUEST_ES_SELECTOR, 0x0800)                                                          \
	X(VMCS_GUEST_CS_SELECTOR, 0x0802)                                                          \
	X(VMCS_GUEST_SS_SELECTOR, 0x0804)                                                          \
	X(VMCS_GUEST_DS_SELECTOR, 0x0806)                                                          \
	X(VMCS_GUEST_FS_SELECTOR, 0x0808)                                                          \
	X(VMCS_GUEST_GS_SELECTOR, 0x080a)                                                          \
	X(VMCS_GUEST_LDTR_SELECTOR, 0x080c)                                                        \
	X(VMCS_GUEST_TR_SELECTOR, 0x080e)                                                          \
	X(VMCS_GUEST_INTERRUPT_STATUS, 0x0810)                                                     \
	X(VMCS_HOST_ES_SELECTOR, 0x0c00)                                                           \
	X(VMCS_HOST_CS_SELECTOR, 0x0c02)                                                           \
	X(VMCS_HOST_SS_SELECTOR, 0x0c04)                                                           \
	X(VMCS_HOST_DS_SELECTOR, 0x0c06)                                                           \
	X(VMCS_HOST_FS_SELECTOR, 0x0c08)                                                           \
	X(VMCS_HOST_GS_SELECTOR, 0x0c0a)                                                           \
	X(VMCS_HOST_TR_SELECTOR, 0x0c0c)

/* All 64 bits are read and written with the one access that the encoding names. */
#define VMCS_FIELDS_64(X)                                                                          \
	X(VMCS_IO_BITMAP_A, 0x2000)                                                                \
	X(VMCS_IO_BITMAP_B, 0x2002)                                                                \
	X(VMCS_MSR_BITMAP, 0x2004)                                                                 \
	X(VMCS_EXIT_MSR_STORE_ADDR, 0x2006)                                                        \
	X(VMCS_EXIT_MSR_LOAD_ADDR, 0x2008)                                                         \
	X(VMCS_ENTRY_MSR_LOAD_ADDR, 0x200a)                                                        \
	X(VMCS_TSC_OFFSET, 0x2010)                                                                 \
	X(VMCS_VIRTUAL_APIC_ADDR, 0x2012)                                                          \
	X(VMCS_APIC_ACCESS_ADDR, 0x2014)                                                           \
	X(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x2016)                                                \
	X(VMCS_EPT_POINTER, 0x201a)                                                                \
	X(VMCS_EOI_EXIT_BITMAP0, 0x201c)                                                           \
	X(VMCS_EOI_EXIT_BITMAP1, 0x201e)                                                           \
	X(VMCS_EOI_EXIT_BITMAP2, 0x2020)                                                           \
	X(VMCS_EOI_EXIT_BITMAP3, 0x2022)                                                           \
	X(VMCS_GUEST_PHYSICAL_ADDRESS, 0x2400)                                                     \
	X(VMCS_LINK_POINTER, 0x2800)                                                               \
	X(VMCS_GUEST_DEBUGCTL, 0x2802)                                                             \
	X(VMCS_GUEST_PAT, 0x2804)                                                                  \
	X(VMCS_GUEST_EFER, 0x2806)                                                                 \
	X(VMCS_GUEST_PDPTE0, 0x280a)                                                               \
	X(VMCS_GUEST_PDPTE1, 0x280c)                                                               \
	X(VMCS_GUEST_PDPTE2, 0x280e)                                                               \
	X(VMCS_GUEST_PDPTE3, 0x2810)                                                               \
	X(VMCS_HOST_PAT, 0x2c00)                                                                   \
	X(VMCS_HOST_EFER, 0x2c02)

#define VMCS_FIELDS_32(X)                                                                          \
	X(VMCS_PIN_CONTROLS, 0x4000)                                                               \
	X(VMCS_PROC_CONTROLS, 0x4002)                                                              \
	X(VMCS_EXCEPTION_BITMAP, 0x4004)                                                           \
	X(VMCS_PF_ERROR_MASK, 0x4006)                                                              \
	X(VMCS_PF_ERROR_MATCH, 0x4008)                                                             \
	X(VMCS_CR3_TARGET_COUNT, 0x400a)                                                           \
	X(VMCS_EXIT_CONTROLS, 0x400c)                                                              \
	X(VMCS_EXIT_MSR_STORE_COUNT, 0x400e)                                                       \
	X(VMCS_EXIT_MSR_LOAD_COUNT, 0x4010)                                                        \
	X(VMCS_ENTRY_CONTROLS, 0x4012)                                                             \
	X(VMCS_ENTRY_MSR_LOAD_COUNT, 0x4014)                                                       \
	X(VMCS_ENTRY_INTR_INFO, 0x4016)                                                            \
	X(VMCS_ENTRY_EXCEPTION_ERROR, 0x4018)                                                      \
	X(VMCS_ENTRY_INSN_LEN, 0x401a)                                                             \
	X(VMCS_TPR_THRESHOLD, 0x401c)                                                              \
	X(VMCS_PROC2_CONTROLS, 0x401e)                                                             \
	X(VMCS_PLE_GAP, 0x4020)                                                                    \
	X(VMCS_PLE_WINDOW, 0x4022)                                                                 \
	X(VMCS_INSTRUCTION_ERROR, 0x4400)                                                          \
	X(VMCS_EXIT_REASON, 0x4402)                                                                \
	X(VMCS_EXIT_INTR_INFO, 0x4404)                                                             \
	X(VMCS_EXIT_INTR_ERROR, 0x4406)                                                            \
	X(VMCS_IDT_VECTORING_INFO, 0x4408)                                                         \
	X(VMCS_IDT_VECTORING_ERROR, 0x440a)                                                        \
	X(VMCS_EXIT_INSN_LEN, 0x440c)                                                              \
	X(VMCS_EXIT_INSN_INFO, 0x440e)                                                             \
	X(VMCS_GUEST_ES_LIMIT, 0x4800)                                                             \
	X(VMCS_GUEST_CS_LIMIT, 0x4802)                                                             \
	X(VMCS_GUEST_SS_LIMIT, 0x4804)                                                             \
	X(VMCS_GUEST_DS_LIMIT, 0x4806)                                                             \
	X(VMCS_GUEST_FS_LIMIT, 0x4808)                                                             \
	X(VMCS_GUEST_GS_LIMIT, 0x480a)                                                             \
	X(VMCS_GUEST_LDTR_LIMIT, 0x480c)                                                           \
	X(VMCS_GUEST_TR_LIMIT, 0x480e)                                                             \
	X(VMCS_GUEST_GDTR_LIMIT, 0x4810)                                                           \
	X(VMCS_GUEST_IDTR_LIMIT, 0x4812)                                                           \
	X(VMCS_GUEST_ES_RIGHTS, 0x4814)                                                            \
	X(VMCS_GUEST_CS_RIGHTS, 0x4816)                                                            \
	X(VMCS_GUEST_SS_RIGHTS, 0x4818)                                                            \
	X(VMCS_GUEST_DS_RIGHTS, 0x481a)                                                            \
	X(VMCS_GUEST_FS_RIGHTS, 0x481c)                                                            \
	X(VMCS_GUEST_GS_RIGHTS, 0x481e)                                                            \
	X(VMCS_GUEST_LDTR_RIGHTS, 0x4820)                                                          \
	X(VMCS_GUEST_TR_RIGHTS, 0x4822)                                                            \
	X(VMCS_GUEST_INTERRUPTIBILITY, 0x4824)                                                     \
	X(VMCS_GUEST_ACTIVITY, 0x4826)                                                             \
	X(VMCS_GUEST_SYSENTER_CS, 0x482a)                                                          \
	X(VMCS_PREEMPTION_TIMER, 0x482e)                                                           \
	X(VMCS_HOST_SYSENTER_CS, 0x4c00)

#define VMCS_FIELDS_N(X)                                                                           \
	X(VMCS_CR0_MASK, 0x6000)                                                                   \
	X(VMCS_CR4_MASK, 0x6002)                                                                   \
	X(VMCS_CR0_READ_SHADOW, 0x6004)                                                            \
	X(VMCS_CR4_READ_SHADOW, 0x6006)                                                            \
	X(VMCS_EXIT_QUALIFICATION, 0x6400)                                                         \
	X(VMCS_GUEST_LINEAR_ADDRESS, 0x640a)                                                       \
	X(VMCS_GUEST_CR0, 0x6800)                                                                  \
	X(VMCS_GUEST_CR3, 0x6802)                                                                  \
	X(VMCS_GUEST_CR4, 0x6804)                                                                  \
	X(VMCS_GUEST_ES_BASE, 0x6806)                                                              \
	X(VMCS_GUEST_CS_BASE, 0x6808)                                                              \
	X(VMCS_GUEST_SS_BASE, 0x680a)                                                              \
	X(VMCS_GUEST_DS_BASE, 0x680c)                                                              \
	X(VMCS_GUEST_FS_BASE, 0x680e)                                                              \
	X(VMCS_GUEST_GS_BASE, 0x6810)                                                              \
	X(VMCS_GUEST_LDTR_BASE, 0x6812)                                                            \
	X(VMCS_GUEST_TR_BASE, 0x6814)                                                              \
	X(VMCS_GUEST_GDTR_BASE, 0x6816)                                                            \
	X(VMCS_GUEST_IDTR_BASE, 0x6818)                                                            \
	X(VMCS_GUEST_DR7, 0x681a)                                                                  \
	X(VMCS_GUEST_RSP, 0x681c)                                                                  \
	X(VMCS_GUEST_RIP, 0x681e)                                                                  \
	X(VMCS_GUEST_RFLAGS, 0x6820)                                                               \
	X(VMCS_GUEST_PENDING_DEBUG, 0x6822)                                                        \
	X(VMCS_GUEST_SYSENTER_ESP, 0x6824)                                                         \
	X(VMCS_GUEST_SYSENTER_EIP, 0x6826)                                                         \
	X(VMCS_HOST_CR0, 0x6c00)                                                                   \
	X(VMCS_HOST_CR3, 0x6c02)                                                                   \
	X(VMCS_HOST_CR4, 0x6c04)                                                                   \
	X(VMCS_HOST_FS_BASE, 0x6c06)                                                               \
	X(VMCS_HOST_GS_BASE, 0x6c08)                                                               \
	X(VMCS_HOST_TR_BASE, 0x6c0a)                                                               \
	X(VMCS_HOST_GDTR_BASE, 0x6c0c)                                                             \
	X(VMCS_HOST_IDTR_BASE, 0x6c0e)                                                             \
	X(VMCS_HOST_SYSENTER_ESP, 0x6c10)                                                          \
	X(VMCS_HOST_SYSENTER_EIP, 0x6c12)                                                          \
	X(VMCS_HOST_RSP, 0x6c14)                                                                   \
	X(VMCS_HOST_RIP, 0x6c16)

#define X(constant, encoding) constant = (encoding),
enum vmcs_field16 { VMCS_FIELDS_16(X) };
enum vmcs_field32 { VMCS_FIELDS_32(X) };
enum vmcs_field64 { VMCS_FIELDS_64(X) };
enum vmcs_fieldn { VMCS_FIELDS_N(X) };
#undef X

/* Pin-based controls. SDM vol. 3, 24.6.1. */
#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI BIT(3)
#define PIN_VIRTUAL_NMIS BIT(5)
#define PIN_PREEMPTION_TIMER BIT(6)
#define PIN_POSTED_INTERRUPTS BIT(7)

/* Primary processor-based controls. SDM vol. 3, 24.6.2. */
#define PROC_INTERRUPT_WINDOW BIT(2)
#define PROC_TSC_OFFSETTING BIT(3)
#define PROC_HLT BIT(7)
#define PROC_INVLPG BIT(9)
#define PROC_MWAIT BIT(10)
#define PROC_RDPMC BIT(11)
#define PROC_RDTSC BIT(12)
#define PROC_CR3_LOAD BIT(15)
#define PROC_CR3_STORE BIT(16)
#define PROC_CR8_LOAD BIT(19)
#define PROC_CR8_STORE BIT(20)
#define PROC_TPR_SHADOW BIT(21)
#define PROC_NMI_WINDOW BIT(22)
#define PROC_MOV_DR BIT(23)
#define PROC_UNCONDITIONAL_IO BIT(24)
#define PROC_IO_BITMAPS BIT(25)
#define PROC_MONITOR_TRAP BIT(27)
#define PROC_MSR_BITMAPS BIT(28)
#define PROC_MONITOR BIT(29)
#define PROC_PAUSE BIT(30)
#define PROC_SECONDARY BIT(31)

/* On the virtual-APIC page, by words: TPR, of which bits 7:4 are CR8. SDM vol. 3, 29.1.1. */
#define VIRTUAL_APIC_TPR (0x80 / 4)

/* Guest interrupt status: the vector that waits, and the one in service. SDM vol. 3, 24.4.2. */
#define INTERRUPT_STATUS_SVI_SHIFT 8

/* Secondary processor-based controls. SDM vol. 3, 24.6.2. */
#define PROC2_APIC_ACCESSES BIT(0)
#define PROC2_EPT BIT(1)
#define PROC2_DESCRIPTOR_TABLE BIT(2)
#define PROC2_RDTSCP BIT(3)
#define PROC2_X2APIC_MODE BIT(4)
#define PROC2_VPID BIT(5)
#define PROC2_WBINVD BIT(6)
#define PROC2_UNRESTRICTED_GUEST BIT(7)
#define PROC2_APIC_REGISTERS BIT(8)
#define PROC2_VIRTUAL_INTERRUPTS BIT(9)
#define PROC2_PAUSE_LOOP BIT(10)
#define PROC2_RDRAND BIT(11)
#define PROC2_INVPCID BIT(12)
#define PROC2_RDSEED BIT(16)
#define PROC2_XSAVES BIT(20)

/* VM-exit controls. SDM vol. 3, 24.7.1. */
#define EXIT_CTL_SAVE_DEBUG BIT(2)
#define EXIT_CTL_HOST_LONG_MODE BIT(9)
#define EXIT_CTL_ACK_INTERRUPT BIT(15)
#define EXIT_CTL_SAVE_PAT BIT(18)
#define EXIT_CTL_LOAD_PAT BIT(19)
#define EXIT_CTL_SAVE_EFER BIT(20)
#define EXIT_CTL_LOAD_EFER BIT(21)
#define EXIT_CTL_SAVE_TIMER BIT(22)

/* VM-entry controls. SDM vol. 3, 24.8.1. */
#define ENTRY_CTL_LOAD_DEBUG BIT(2)
#define ENTRY_CTL_LONG_MODE BIT(9) /* "IA-32e mode guest" */
#define ENTRY_CTL_SMM BIT(10)
#define ENTRY_CTL_DUAL_MONITOR BIT(11)
#define ENTRY_CTL_LOAD_PAT BIT(14)
#define ENTRY_CTL_LOAD_EFER BIT(15)

/* A segment's access rights beyond the SEG_ATTR_* bits, which stand at 7:0 and 15:12 here.
 * SDM vol. 3, 24.4.1. */
#define RIGHTS_UNUSABLE BIT(16)

/* Guest interruptibility state. SDM vol. 3, 24.4.2. */
#define INTERRUPTIBILITY_STI BIT(0)
#define INTERRUPTIBILITY_MOV_SS BIT(1)
#define INTERRUPTIBILITY_SMI BIT(2)
#define INTERRUPTIBILITY_NMI BIT(3)
#define INTERRUPTIBILITY_SHADOW (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)

/* Pending debug exceptions. SDM vol. 3, 24.4.2. */
#define PENDING_DEBUG_ENABLED_BREAKPOINT BIT(12)
#define PENDING_DEBUG_BS BIT(14)

/* VM-entry and VM-exit interruption information, IDT-vectoring information. SDM vol. 3,
 * 24.8.3, 24.9.2, 24.9.3. */
#define INTR_INFO_VECTOR BITS(7, 0)
#define INTR_INFO_TYPE_SHIFT 8
#define INTR_INFO_TYPE BITS(10, 8)
#define INTR_INFO_ERROR BIT(11)
#define INTR_INFO_NMI_UNBLOCKED BIT(12) /* exit information only: by IRET */
#define INTR_INFO_VALID BIT(31)
enum {
	INTR_TYPE_EXTERNAL = 0,
	INTR_TYPE_NMI = 2,
	INTR_TYPE_HARDWARE_EXCEPTION = 3,
	INTR_TYPE_SOFT_INT = 4,
	INTR_TYPE_PRIVILEGED_SOFT_EXCEPTION = 5, /* INT1 */
	INTR_TYPE_SOFT_EXCEPTION = 6,            /* INT3, INTO */
};

/* EPT pointer. SDM vol. 3, 24.6.11. */
#define EPTP_WRITE_BACK 6u
#define EPTP_WALK_SHIFT 3 /* page-walk length minus 1 */
#define EPTP_ACCESSED_DIRTY BIT(6)

/* INVEPT's and INVVPID's types. SDM vol. 3, 30.3. */
enum { INVEPT_CONTEXT = 1, INVEPT_ALL = 2 };
enum { INVVPID_ADDRESS = 0, INVVPID_CONTEXT = 1, INVVPID_ALL = 2, INVVPID_KEEP_GLOBAL = 3 };

/* The exit reason field. SDM vol. 3, 24.9.1. */
#define EXIT_REASON_BASIC BITS(15, 0)
#define EXIT_REASON_ENTRY_FAILED BIT(31)

#endif
