/* Model-specific registers that the hypervisor or a guest may touch. */
#ifndef UMBRA_MSR_H
#define UMBRA_MSR_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

#define MSR_TSC 0x10u
#define MSR_PLATFORM_ID 0x17u
#define MSR_APIC_BASE 0x1bu
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define MSR_FEATURE_CONTROL 0x3au
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX_SMX BIT(1)
#define FEATURE_CONTROL_VMX BIT(2)
#define MSR_TSC_ADJUST 0x3bu
#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u
#define MSR_BIOS_UPDT_TRIG 0x79u
#define MSR_BIOS_SIGN_ID 0x8bu
#define MSR_MTRRCAP 0xfeu
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_MCG_CAP 0x179u
#define MSR_MCG_STATUS 0x17au
#define MSR_MISC_ENABLE 0x1a0u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_MTRR_PHYSBASE0 0x200u
#define MSR_MTRR_FIX64K_00000 0x250u
#define MSR_MTRR_FIX16K_80000 0x258u
#define MSR_MTRR_FIX16K_A0000 0x259u
#define MSR_MTRR_FIX4K_C0000 0x268u
#define MSR_MTRR_FIX4K_F8000 0x26fu
#define MSR_PAT 0x277u
#define PAT_RESET UINT64_C(0x0007040600070406)
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_VMX_BASIC 0x480u
#define VMX_BASIC_TRUE_CONTROLS BIT(55)
#define MSR_VMX_PIN_CONTROLS 0x481u
#define MSR_VMX_PROC_CONTROLS 0x482u
#define MSR_VMX_EXIT_CONTROLS 0x483u
#define MSR_VMX_ENTRY_CONTROLS 0x484u
#define MSR_VMX_MISC 0x485u
#define MSR_VMX_CR0_FIXED0 0x486u
#define MSR_VMX_CR0_FIXED1 0x487u
#define MSR_VMX_CR4_FIXED0 0x488u
#define MSR_VMX_CR4_FIXED1 0x489u
#define MSR_VMX_PROC2_CONTROLS 0x48bu
#define MSR_VMX_EPT_VPID_CAP 0x48cu
#define MSR_VMX_TRUE_PIN_CONTROLS 0x48du
#define MSR_VMX_TRUE_PROC_CONTROLS 0x48eu
#define MSR_VMX_TRUE_EXIT_CONTROLS 0x48fu
#define MSR_VMX_TRUE_ENTRY_CONTROLS 0x490u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_BASE 0x800u
#define MSR_XSS 0xda0u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_SYSCFG 0xc0010010u
#define MSR_HWCR 0xc0010015u
#define MSR_NB_CFG 0xc001001fu
#define MSR_INT_PENDING 0xc0010055u
#define INT_PENDING_C1E BITS(28, 27) /* all cores halted: C1E, or an SMI that makes it so */
#define MSR_DE_CFG 0xc0011029u
#define DE_CFG_LFENCE_SERIALIZE BIT(1)
#define DE_CFG_ZEN2_FP_BACKUP_FIX BIT(9)
#define MSR_PATCH_LEVEL 0x8bu
#define MSR_VM_CR 0xc0010114u
#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)
#define MSR_VM_HSAVE_PA 0xc0010117u

/* Memory types of MTRRs and PAT: UC 0, WC 1, WT 4, WP 5, WB 6; PAT adds UC- 7. APM vol.
 * 2, 7.7, 7.8; SDM vol. 3, 11.11, 11.12. */
#define MTRR_TYPES (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6))
#define PAT_TYPES (MTRR_TYPES | BIT(7))

/* Is each of the eight bytes one of these types? */
static inline bool memory_types_valid(uint64_t bytes, uint64_t types)
{
	for (unsigned i = 0; i < 64; i += 8)
		if ((bytes >> i & 0xff) > 7 || !(types & BIT(bytes >> i & 0xff)))
			return false;
	return true;
}

static inline bool pat_is_valid(uint64_t pat)
{
	return memory_types_valid(pat, PAT_TYPES);
}

#endif
