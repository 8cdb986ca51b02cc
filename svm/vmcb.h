/* The virtual machine control block: layout, bits, clean-bit discipline. APM vol. 2, App. B. */
#ifndef UMBRA_SVM_VMCB_H
#define UMBRA_SVM_VMCB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/desc.h"

/* Intercepts as bit numbers over vmcb.intercept[]. APM vol. 2, table B-1, 000h to 014h. */
enum {
	INTERCEPT_CR_READ = 0 * 32, /* + CR number */
	INTERCEPT_CR_WRITE = 0 * 32 + 16,
	INTERCEPT_DR_READ = 1 * 32,
	INTERCEPT_DR_WRITE = 1 * 32 + 16,
	INTERCEPT_EXCEPTION = 2 * 32, /* + vector */
	INTERCEPT_INTR = 3 * 32,
	INTERCEPT_NMI,
	INTERCEPT_SMI,
	INTERCEPT_INIT,
	INTERCEPT_VINTR,
	INTERCEPT_CR0_SEL_WRITE,
	INTERCEPT_RDPMC = 3 * 32 + 15,
	INTERCEPT_PUSHF,
	INTERCEPT_POPF,
	INTERCEPT_CPUID,
	INTERCEPT_RSM,
	INTERCEPT_IRET,
	INTERCEPT_INTN,
	INTERCEPT_INVD,
	INTERCEPT_PAUSE,
	INTERCEPT_HLT,
	INTERCEPT_INVLPG,
	INTERCEPT_INVLPGA,
	INTERCEPT_IOIO_PROT,
	INTERCEPT_MSR_PROT,
	INTERCEPT_TASK_SWITCH,
	INTERCEPT_FERR_FREEZE,
	INTERCEPT_SHUTDOWN,
	INTERCEPT_VMRUN = 4 * 32,
	INTERCEPT_VMMCALL,
	INTERCEPT_VMLOAD,
	INTERCEPT_VMSAVE,
	INTERCEPT_STGI,
	INTERCEPT_CLGI,
	INTERCEPT_SKINIT,
	INTERCEPT_RDTSCP,
	INTERCEPT_ICEBP,
	INTERCEPT_WBINVD,
	INTERCEPT_MONITOR,
	INTERCEPT_MWAIT,
	INTERCEPT_MWAIT_ARMED,
	INTERCEPT_XSETBV,
	INTERCEPT_RDPRU,
	INTERCEPT_INVPCID = 5 * 32 + 2,
	INTERCEPT_BITS = 6 * 32,
};
static_assert(INTERCEPT_SHUTDOWN == 3 * 32 + 31, "vector 3 ends with SHUTDOWN");
static_assert(INTERCEPT_RDPRU == 4 * 32 + 14, "RDPRU is bit 14 of vector 4");
#define INTERCEPT_EXCEPTION_WORD 2

/* TLB_CONTROL. APM vol. 2, 15.16.1. QEMU: acts on FLUSH_ALL only. */
enum { TLB_CONTROL_NONE = 0, TLB_CONTROL_FLUSH_ALL = 1, TLB_CONTROL_FLUSH_ASID = 3 };

/* Virtual interrupt control, 060h. APM vol. 2, 15.21. */
#define V_TPR_MASK BITS(7, 0)
#define V_TPR BITS(3, 0) /* what of it there is: CR8 */
#define V_IRQ BIT(8)
#define V_INTR_PRIO_SHIFT 16
#define V_INTR_PRIO_MASK BITS(19, 16)
#define V_IGN_TPR BIT(20)
#define V_INTR_MASKING BIT(24)
#define V_INTR_VECTOR_MASK BITS(39, 32)

#define VMCB_INTERRUPT_SHADOW BIT(0) /* 068h */
#define VMCB_NP_ENABLE BIT(0)        /* 090h */

/* EVENTINJ and EXITINTINFO. APM vol. 2, 15.20 and 15.7.2. */
#define EVENT_VECTOR_MASK BITS(7, 0)
#define EVENT_TYPE_SHIFT 8
#define EVENT_TYPE_MASK BITS(10, 8)
#define EVENT_EV BIT(11) /* an error code comes with it */
#define EVENT_V BIT(31)
#define EVENT_ERROR_SHIFT 32
enum {
	EVENT_TYPE_INTR = 0,
	EVENT_TYPE_NMI = 2,
	EVENT_TYPE_EXCEPTION = 3,
	EVENT_TYPE_SOFT = 4,
};

/* Clean bits, 0C0h: set, the processor may use what it cached. APM vol. 2, 15.15.3. */
#define CLEAN_I BIT(0)    /* intercepts, TSC_OFFSET, pause filter */
#define CLEAN_IOPM BIT(1) /* IOPM and MSRPM */
#define CLEAN_ASID BIT(2)
#define CLEAN_TPR BIT(3) /* all of 060h */
#define CLEAN_NP BIT(4)  /* N_CR3, G_PAT, NP_ENABLE */
#define CLEAN_CRX BIT(5) /* CR0, CR3, CR4, EFER */
#define CLEAN_DRX BIT(6) /* DR6, DR7 */
#define CLEAN_DT BIT(7)  /* GDTR, IDTR */
#define CLEAN_SEG BIT(8) /* ES, CS, SS, DS, CPL */
#define CLEAN_CR2 BIT(9)
#define CLEAN_LBR BIT(10)
#define CLEAN_ALL BITS(10, 0)

struct vmcb_seg {
	uint16_t selector;
	uint16_t attrib; /* 12 bits packed, SEG_ATTR_* */
	uint32_t limit;  /* in bytes */
	uint64_t base;
};

struct vmcb {
	/* Control area, APM vol. 2, table B-1. */
	uint32_t intercept[6];
	uint8_t rsvd_018[0x3c - 0x18];
	uint16_t pause_filter_threshold;
	uint16_t pause_filter_count;
	uint64_t iopm_base_pa;
	uint64_t msrpm_base_pa;
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t rsvd_05d[3];
	uint64_t v_intr; /* V_TPR, V_IRQ... */
	uint64_t interrupt_shadow;
	uint64_t exit_code;
	uint64_t exit_info1;
	uint64_t exit_info2;
	uint64_t exit_int_info;
	uint64_t np_control;
	uint64_t avic_apic_bar;
	uint64_t ghcb;
	uint64_t event_inj;
	uint64_t n_cr3;
	uint64_t lbr_control;
	uint32_t clean;
	uint32_t rsvd_0c4;
	uint64_t nrip;
	uint8_t nr_bytes; /* of the instruction, in bytes[]; decode assists */
	uint8_t bytes[15];
	uint8_t rsvd_0e0[0x400 - 0xe0];

	/* State save area, APM vol. 2, table B-2. */
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t rsvd_4a0[0x4cb - 0x4a0];
	uint8_t cpl;
	uint8_t rsvd_4cc[4];
	uint64_t efer;
	uint8_t rsvd_4d8[0x548 - 0x4d8];
	uint64_t cr4;
	uint64_t cr3;
	uint64_t cr0;
	uint64_t dr7;
	uint64_t dr6;
	uint64_t rflags;
	uint64_t rip;
	uint8_t rsvd_580[0x5d8 - 0x580];
	uint64_t rsp;
	uint64_t s_cet;
	uint64_t ssp;
	uint64_t isst_addr;
	uint64_t rax;
	uint64_t star;
	uint64_t lstar;
	uint64_t cstar;
	uint64_t sfmask;
	uint64_t kernel_gs_base;
	uint64_t sysenter_cs;
	uint64_t sysenter_esp;
	uint64_t sysenter_eip;
	uint64_t cr2;
	uint8_t rsvd_648[0x668 - 0x648];
	uint64_t g_pat;
	uint64_t dbgctl;
	uint64_t br_from;
	uint64_t br_to;
	uint64_t last_excp_from;
	uint64_t last_excp_to;
	uint8_t rsvd_698[0x1000 - 0x698];
};

#define VMCB_AT(field, offset)                                                                     \
	static_assert(offsetof(struct vmcb, field) == (offset), "VMCB." #field)
static_assert(sizeof(struct vmcb_seg) == 16, "VMCB segment");
static_assert(sizeof(struct vmcb) == 4096, "VMCB");
VMCB_AT(pause_filter_threshold, 0x03c);
VMCB_AT(pause_filter_count, 0x03e);
VMCB_AT(iopm_base_pa, 0x040);
VMCB_AT(msrpm_base_pa, 0x048);
VMCB_AT(tsc_offset, 0x050);
VMCB_AT(asid, 0x058);
VMCB_AT(tlb_control, 0x05c);
VMCB_AT(v_intr, 0x060);
VMCB_AT(interrupt_shadow, 0x068);
VMCB_AT(exit_code, 0x070);
VMCB_AT(exit_info1, 0x078);
VMCB_AT(exit_info2, 0x080);
VMCB_AT(exit_int_info, 0x088);
VMCB_AT(np_control, 0x090);
VMCB_AT(event_inj, 0x0a8);
VMCB_AT(n_cr3, 0x0b0);
VMCB_AT(lbr_control, 0x0b8);
VMCB_AT(clean, 0x0c0);
VMCB_AT(nrip, 0x0c8);
VMCB_AT(nr_bytes, 0x0d0);
VMCB_AT(bytes, 0x0d1);
VMCB_AT(es, 0x400);
VMCB_AT(gdtr, 0x460);
VMCB_AT(ldtr, 0x470);
VMCB_AT(idtr, 0x480);
VMCB_AT(tr, 0x490);
VMCB_AT(cpl, 0x4cb);
VMCB_AT(efer, 0x4d0);
VMCB_AT(cr4, 0x548);
VMCB_AT(cr3, 0x550);
VMCB_AT(cr0, 0x558);
VMCB_AT(dr7, 0x560);
VMCB_AT(dr6, 0x568);
VMCB_AT(rflags, 0x570);
VMCB_AT(rip, 0x578);
VMCB_AT(rsp, 0x5d8);
VMCB_AT(rax, 0x5f8);
VMCB_AT(star, 0x600);
VMCB_AT(kernel_gs_base, 0x620);
VMCB_AT(sysenter_eip, 0x638);
VMCB_AT(cr2, 0x640);
VMCB_AT(g_pat, 0x668);
VMCB_AT(dbgctl, 0x670);
VMCB_AT(last_excp_to, 0x690);

/* The processor must read these fields again at the next VMRUN. */
static inline void vmcb_dirty(struct vmcb *v, uint64_t clean_bits)
{
	v->clean &= (uint32_t)~clean_bits;
}

/* One setter per control field that a clean bit covers. */
#define VMCB_SETTER(field, type, clean_bit)                                                        \
	static inline void vmcb_set_##field(struct vmcb *v, type val)                              \
	{                                                                                          \
		v->field = val;                                                                    \
		vmcb_dirty(v, clean_bit);                                                          \
	}
VMCB_SETTER(iopm_base_pa, uint64_t, CLEAN_IOPM)
VMCB_SETTER(msrpm_base_pa, uint64_t, CLEAN_IOPM)
VMCB_SETTER(tsc_offset, uint64_t, CLEAN_I)
VMCB_SETTER(pause_filter_count, uint16_t, CLEAN_I)
VMCB_SETTER(pause_filter_threshold, uint16_t, CLEAN_I)
VMCB_SETTER(asid, uint32_t, CLEAN_ASID)
VMCB_SETTER(v_intr, uint64_t, CLEAN_TPR)
VMCB_SETTER(np_control, uint64_t, CLEAN_NP)
VMCB_SETTER(n_cr3, uint64_t, CLEAN_NP)
VMCB_SETTER(g_pat, uint64_t, CLEAN_NP)
VMCB_SETTER(cr0, uint64_t, CLEAN_CRX)
VMCB_SETTER(cr3, uint64_t, CLEAN_CRX)
VMCB_SETTER(cr4, uint64_t, CLEAN_CRX)
VMCB_SETTER(efer, uint64_t, CLEAN_CRX)
VMCB_SETTER(dr6, uint64_t, CLEAN_DRX)
VMCB_SETTER(dr7, uint64_t, CLEAN_DRX)
VMCB_SETTER(cr2, uint64_t, CLEAN_CR2)
#undef VMCB_SETTER

/* Is this intercept (INTERCEPT_*) set? */
static inline bool vmcb_intercepts(const struct vmcb *v, unsigned bit)
{
	return v->intercept[bit / 32] >> (bit % 32) & 1;
}

/* Set or clear it; the clean bit goes only when that changes something. */
static inline void vmcb_set_intercept(struct vmcb *v, unsigned bit, bool on)
{
	if (vmcb_intercepts(v, bit) == on)
		return;
	v->intercept[bit / 32] ^= 1u << (bit % 32);
	vmcb_dirty(v, CLEAN_I);
}

/* All 32 exception intercepts at once. */
static inline void vmcb_set_exceptions(struct vmcb *v, uint32_t vectors)
{
	if (v->intercept[INTERCEPT_EXCEPTION_WORD] == vectors)
		return;
	v->intercept[INTERCEPT_EXCEPTION_WORD] = vectors;
	vmcb_dirty(v, CLEAN_I);
}

#endif
