/* What VM entry checks of the host's state. SDM vol. 3, 26.2.2 to 26.2.4. */
#include "vmx/check_rules.h"

#define SEL_TI_RPL BITS(2, 0)

static bool host64(const struct vmcs_image *v)
{
	return F(VMCS_EXIT_CONTROLS) & EXIT_CTL_HOST_LONG_MODE;
}

static bool exit_on(const struct vmcs_image *v, uint64_t bits)
{
	return F(VMCS_EXIT_CONTROLS) & bits;
}

static bool bad_efer_mode(const struct vmcs_image *v)
{
	const uint64_t both = EFER_LMA | EFER_LME;

	return (F(VMCS_HOST_EFER) & both) != (host64(v) ? both : 0);
}

#define SELECTOR(X, id, field) X(id, field, "TI or RPL is not zero", F(field) & SEL_TI_RPL)
#define CANONICAL(X, id, field) X(id, field, "not canonical", not_canonical(F(field), lim))

/* One row a rule: X(identifier, field, in words, broken when). */
#define RULES(X)                                                                                   \
	X(cr0, VMCS_HOST_CR0, "a bit that VMX fixes is another",                                   \
	  breaks_fixed(F(VMCS_HOST_CR0) & ~CR0_UNCHECKED, lim->caps->cr0_fixed0 & ~CR0_UNCHECKED,  \
		       lim->caps->cr0_fixed1))                                                     \
	X(cr4, VMCS_HOST_CR4, "a bit that VMX fixes is another",                                   \
	  breaks_fixed(F(VMCS_HOST_CR4), lim->caps->cr4_fixed0, lim->caps->cr4_fixed1))            \
	X(cet, VMCS_HOST_CR4, "CET without CR0.WP",                                                \
	  (F(VMCS_HOST_CR4) & CR4_CET) && !(F(VMCS_HOST_CR0) & CR0_WP))                            \
	X(cr3, VMCS_HOST_CR3, "beyond physical memory", beyond_phys(F(VMCS_HOST_CR3), lim))        \
	CANONICAL(X, sysenter_esp, VMCS_HOST_SYSENTER_ESP)                                         \
	CANONICAL(X, sysenter_eip, VMCS_HOST_SYSENTER_EIP)                                         \
	X(pat, VMCS_HOST_PAT, "an undefined type",                                                 \
	  exit_on(v, EXIT_CTL_LOAD_PAT) && !pat_is_valid(F(VMCS_HOST_PAT)))                        \
	X(efer, VMCS_HOST_EFER, "a reserved bit is set",                                           \
	  exit_on(v, EXIT_CTL_LOAD_EFER) && (F(VMCS_HOST_EFER) & ~EFER_VALID))                     \
	X(efer_mode, VMCS_HOST_EFER, "LMA or LME does not fit the host's address-space size",      \
	  exit_on(v, EXIT_CTL_LOAD_EFER) && bad_efer_mode(v))                                      \
	SELECTOR(X, es, VMCS_HOST_ES_SELECTOR)                                                     \
	SELECTOR(X, cs, VMCS_HOST_CS_SELECTOR)                                                     \
	SELECTOR(X, ss, VMCS_HOST_SS_SELECTOR)                                                     \
	SELECTOR(X, ds, VMCS_HOST_DS_SELECTOR)                                                     \
	SELECTOR(X, fs, VMCS_HOST_FS_SELECTOR)                                                     \
	SELECTOR(X, gs, VMCS_HOST_GS_SELECTOR)                                                     \
	SELECTOR(X, tr, VMCS_HOST_TR_SELECTOR)                                                     \
	X(cs_null, VMCS_HOST_CS_SELECTOR, "null", !F(VMCS_HOST_CS_SELECTOR))                       \
	X(tr_null, VMCS_HOST_TR_SELECTOR, "null", !F(VMCS_HOST_TR_SELECTOR))                       \
	X(ss_null, VMCS_HOST_SS_SELECTOR, "null, in a 32-bit host",                                \
	  !host64(v) && !F(VMCS_HOST_SS_SELECTOR))                                                 \
	CANONICAL(X, fs_base, VMCS_HOST_FS_BASE)                                                   \
	CANONICAL(X, gs_base, VMCS_HOST_GS_BASE)                                                   \
	CANONICAL(X, gdtr, VMCS_HOST_GDTR_BASE)                                                    \
	CANONICAL(X, idtr, VMCS_HOST_IDTR_BASE)                                                    \
	CANONICAL(X, tr_base, VMCS_HOST_TR_BASE)                                                   \
	X(host64, VMCS_EXIT_CONTROLS, "the host's address-space size is not that of long mode",    \
	  !host64(v))                                                                              \
	X(pae, VMCS_HOST_CR4, "PAE is clear in a 64-bit host",                                     \
	  host64(v) && !(F(VMCS_HOST_CR4) & CR4_PAE))                                              \
	CANONICAL(X, rip, VMCS_HOST_RIP)

RULES(RULE_FUNCTION)

static const struct vmx_rule rules[] = { RULES(RULE_ROW) };

const struct vmx_rules vmx_host_rules = { rules, ARRAY_SIZE(rules) };
