/* What VM entry checks of the guest's state but its segments. SDM vol. 3, 26.3.1. */
#include "arch/x86_64/include/fault.h"
#include "vmx/check_rules.h"

#define DEBUGCTL_DEFINED (BITS(15, 6) | BITS(2, 0))
#define DEBUGCTL_BTF BIT(1)
#define RFLAGS_RESERVED (BITS(63, 22) | BIT(15) | BIT(5) | BIT(3))
#define CS_L BIT(13) /* in the access rights */
#define RIGHTS_DPL BITS(6, 5)

/* 24.4.2. */
enum { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_FOR_SIPI };
#define INTERRUPTIBILITY_RESERVED BITS(31, 5)
#define INTERRUPTIBILITY_SHADOW (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)
#define PENDING_RESERVED (BITS(63, 17) | BIT(15) | BIT(13) | BITS(11, 4))
#define PENDING_RTM BIT(16)
#define PENDING_WITH_RTM (PENDING_RTM | PENDING_DEBUG_ENABLED_BREAKPOINT)

#define LINK_NONE UINT64_MAX

#define PDPTE_P BIT(0)
#define PDPTE_RESERVED (BITS(8, 5) | BITS(2, 1))

static bool entry_on(const struct vmcs_image *v, uint64_t bits)
{
	return F(VMCS_ENTRY_CONTROLS) & bits;
}

static bool bad_cr0(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	uint64_t free = CR0_UNCHECKED | (unrestricted(v) ? CR0_PE | CR0_PG : 0);

	return breaks_fixed(F(VMCS_GUEST_CR0) & ~CR0_UNCHECKED, lim->caps->cr0_fixed0 & ~free,
			    lim->caps->cr0_fixed1);
}

static bool efer_without(const struct vmcs_image *v)
{
	return !(F(VMCS_GUEST_EFER) & EFER_LMA) != !ia32e_guest(v);
}

static bool lme_differs(const struct vmcs_image *v)
{
	return (F(VMCS_GUEST_CR0) & CR0_PG) &&
	       !(F(VMCS_GUEST_EFER) & EFER_LMA) != !(F(VMCS_GUEST_EFER) & EFER_LME);
}

static bool code64(const struct vmcs_image *v)
{
	return ia32e_guest(v) && (F(VMCS_GUEST_CS_RIGHTS) & CS_L);
}

/* Bits from the width of linear addresses on must be alike; they need not be canonical. */
static bool bad_rip(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	uint64_t high = BITS(63, lim->linear_bits), rip = F(VMCS_GUEST_RIP);

	return code64(v) && (rip & high) && (rip & high) != high;
}

static bool shadowed(const struct vmcs_image *v)
{
	return F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_SHADOW;
}

/* May an event come in this state of activity? 26.3.1.5. */
static bool cannot_wake(const struct vmcs_image *v)
{
	uint64_t info = F(VMCS_ENTRY_INTR_INFO), vector = info & INTR_INFO_VECTOR;
	bool machine_check = injects(v, INTR_TYPE_HARDWARE_EXCEPTION) && vector == VEC_MC;
	bool debug = injects(v, INTR_TYPE_HARDWARE_EXCEPTION) && vector == VEC_DB;

	if (!(info & INTR_INFO_VALID))
		return false;
	switch (F(VMCS_GUEST_ACTIVITY)) {
	case ACTIVITY_HLT:
		return !(injects(v, INTR_TYPE_EXTERNAL) || injects(v, INTR_TYPE_NMI) ||
			 machine_check || debug || (!vector && injects(v, 7)));
	case ACTIVITY_SHUTDOWN:
		return !(injects(v, INTR_TYPE_NMI) || machine_check);
	case ACTIVITY_WAIT_FOR_SIPI:
		return true;
	default:
		return false;
	}
}

/* In a shadow or halted, a pending single-step trap and RFLAGS.TF go together. */
static bool bad_pending_step(const struct vmcs_image *v)
{
	bool steps = (F(VMCS_GUEST_RFLAGS) & RFLAGS_TF) && !(F(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

	if (!shadowed(v) && F(VMCS_GUEST_ACTIVITY) != ACTIVITY_HLT)
		return false;
	return steps != !!(F(VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS);
}

static bool bad_pending_rtm(const struct vmcs_image *v)
{
	uint64_t pending = F(VMCS_GUEST_PENDING_DEBUG);

	return (pending & PENDING_RTM) &&
	       (pending != PENDING_WITH_RTM ||
		(F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS));
}

static bool bad_link(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	uint64_t link = F(VMCS_LINK_POINTER);

	return link != LINK_NONE && ((link & BITS(11, 0)) || beyond_phys(link, lim));
}

/* PAE paging under EPT: the PDPTEs come from the VMCS. 26.3.1.6. */
static bool bad_pdpte(const struct vmcs_image *v, uint64_t pdpte, const struct vmx_limits *lim)
{
	return (F(VMCS_GUEST_CR0) & CR0_PG) && (F(VMCS_GUEST_CR4) & CR4_PAE) && !ia32e_guest(v) &&
	       proc2_on(v, PROC2_EPT) && (pdpte & PDPTE_P) &&
	       ((pdpte & PDPTE_RESERVED) || beyond_phys(pdpte, lim));
}

#define CANONICAL(X, id, field) X(id, field, "not canonical", not_canonical(F(field), lim))
#define PDPTE(X, id, field) X(id, field, "a reserved bit is set", bad_pdpte(v, F(field), lim))

/* Control registers, debug registers and MSRs, 26.3.1.1; descriptor tables, 26.3.1.3.
 * X(identifier, field, in words, broken when). */
#define REGISTER_RULES(X)                                                                          \
	X(cr0, VMCS_GUEST_CR0, "a bit that VMX fixes is another", bad_cr0(v, lim))                 \
	X(pg_pe, VMCS_GUEST_CR0, "PG without PE",                                                  \
	  (F(VMCS_GUEST_CR0) & CR0_PG) && !(F(VMCS_GUEST_CR0) & CR0_PE))                           \
	X(cr4, VMCS_GUEST_CR4, "a bit that VMX fixes is another",                                  \
	  breaks_fixed(F(VMCS_GUEST_CR4), lim->caps->cr4_fixed0, lim->caps->cr4_fixed1))           \
	X(cet, VMCS_GUEST_CR4, "CET without CR0.WP",                                               \
	  (F(VMCS_GUEST_CR4) & CR4_CET) && !(F(VMCS_GUEST_CR0) & CR0_WP))                          \
	X(debugctl, VMCS_GUEST_DEBUGCTL, "a reserved bit is set",                                  \
	  entry_on(v, ENTRY_CTL_LOAD_DEBUG) && (F(VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_DEFINED))       \
	X(long_pg, VMCS_GUEST_CR0, "no PG in an IA-32e mode guest",                                \
	  ia32e_guest(v) && !(F(VMCS_GUEST_CR0) & CR0_PG))                                         \
	X(long_pae, VMCS_GUEST_CR4, "no PAE in an IA-32e mode guest",                              \
	  ia32e_guest(v) && !(F(VMCS_GUEST_CR4) & CR4_PAE))                                        \
	X(pcide, VMCS_GUEST_CR4, "PCIDE outside IA-32e mode",                                      \
	  !ia32e_guest(v) && (F(VMCS_GUEST_CR4) & CR4_PCIDE))                                      \
	X(cr3, VMCS_GUEST_CR3, "beyond physical memory", beyond_phys(F(VMCS_GUEST_CR3), lim))      \
	X(dr7, VMCS_GUEST_DR7, "bits 63:32 are not zero",                                          \
	  entry_on(v, ENTRY_CTL_LOAD_DEBUG) && F(VMCS_GUEST_DR7) >> 32)                            \
	CANONICAL(X, sysenter_esp, VMCS_GUEST_SYSENTER_ESP)                                        \
	CANONICAL(X, sysenter_eip, VMCS_GUEST_SYSENTER_EIP)                                        \
	X(pat, VMCS_GUEST_PAT, "an undefined type",                                                \
	  entry_on(v, ENTRY_CTL_LOAD_PAT) && !pat_is_valid(F(VMCS_GUEST_PAT)))                     \
	X(efer, VMCS_GUEST_EFER, "a reserved bit is set",                                          \
	  entry_on(v, ENTRY_CTL_LOAD_EFER) && (F(VMCS_GUEST_EFER) & ~EFER_VALID))                  \
	X(lma, VMCS_GUEST_EFER, "LMA is not the IA-32e mode guest control",                        \
	  entry_on(v, ENTRY_CTL_LOAD_EFER) && efer_without(v))                                     \
	X(lme, VMCS_GUEST_EFER, "LME is not LMA, with paging on",                                  \
	  entry_on(v, ENTRY_CTL_LOAD_EFER) && lme_differs(v))                                      \
	CANONICAL(X, gdtr, VMCS_GUEST_GDTR_BASE)                                                   \
	CANONICAL(X, idtr, VMCS_GUEST_IDTR_BASE)                                                   \
	X(gdtr_limit, VMCS_GUEST_GDTR_LIMIT, "bits 31:16 are not zero",                            \
	  F(VMCS_GUEST_GDTR_LIMIT) >> 16)                                                          \
	X(idtr_limit, VMCS_GUEST_IDTR_LIMIT, "bits 31:16 are not zero",                            \
	  F(VMCS_GUEST_IDTR_LIMIT) >> 16)

/* RIP and RFLAGS, 26.3.1.4. */
#define FLAG_RULES(X)                                                                              \
	X(rip_high, VMCS_GUEST_RIP, "bits 63:32 are not zero outside 64-bit code",                 \
	  !code64(v) && F(VMCS_GUEST_RIP) >> 32)                                                   \
	X(rip, VMCS_GUEST_RIP, "beyond linear addresses", bad_rip(v, lim))                         \
	X(rflags, VMCS_GUEST_RFLAGS, "a reserved bit is another",                                  \
	  (F(VMCS_GUEST_RFLAGS) & RFLAGS_RESERVED) || !(F(VMCS_GUEST_RFLAGS) & RFLAGS_FIXED))      \
	X(vm, VMCS_GUEST_RFLAGS, "VM in IA-32e mode or without CR0.PE",                            \
	  v86(v) && (ia32e_guest(v) || !(F(VMCS_GUEST_CR0) & CR0_PE)))                             \
	X(if_event, VMCS_GUEST_RFLAGS, "an external interrupt is injected with IF clear",          \
	  injects(v, INTR_TYPE_EXTERNAL) && !(F(VMCS_GUEST_RFLAGS) & RFLAGS_IF))

/* Non-register state, 26.3.1.5, and PDPTEs. */
#define STATE_RULES(X)                                                                             \
	X(activity, VMCS_GUEST_ACTIVITY, "an undefined state",                                     \
	  F(VMCS_GUEST_ACTIVITY) > ACTIVITY_WAIT_FOR_SIPI)                                         \
	X(halted_dpl, VMCS_GUEST_ACTIVITY, "halted with a DPL of SS that is not 0",                \
	  F(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT && (F(VMCS_GUEST_SS_RIGHTS) & RIGHTS_DPL))        \
	X(idle_shadow, VMCS_GUEST_ACTIVITY, "not active, in the shadow of STI or MOV SS",          \
	  F(VMCS_GUEST_ACTIVITY) && shadowed(v))                                                   \
	X(idle_event, VMCS_GUEST_ACTIVITY, "an event is injected that does not end this state",    \
	  cannot_wake(v))                                                                          \
	X(blocking, VMCS_GUEST_INTERRUPTIBILITY, "a reserved bit is set",                          \
	  F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_RESERVED)                              \
	X(both_shadows, VMCS_GUEST_INTERRUPTIBILITY, "blocking by STI and by MOV SS",              \
	  (F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_SHADOW) == INTERRUPTIBILITY_SHADOW)   \
	X(sti_if, VMCS_GUEST_INTERRUPTIBILITY, "blocking by STI with IF clear",                    \
	  (F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI) &&                               \
		  !(F(VMCS_GUEST_RFLAGS) & RFLAGS_IF))                                             \
	X(shadow_event, VMCS_GUEST_INTERRUPTIBILITY, "an interrupt is injected into a shadow",     \
	  shadowed(v) && injects(v, INTR_TYPE_EXTERNAL))                                           \
	X(mov_ss_nmi, VMCS_GUEST_INTERRUPTIBILITY, "an NMI is injected behind MOV SS",             \
	  (F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS) && injects(v, INTR_TYPE_NMI)) \
	X(smi, VMCS_GUEST_INTERRUPTIBILITY, "blocking by SMI outside SMM",                         \
	  F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_SMI)                                   \
	X(sti_nmi, VMCS_GUEST_INTERRUPTIBILITY,                                                    \
	  "an NMI is injected behind STI, which some processors refuse",                           \
	  (F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI) && injects(v, INTR_TYPE_NMI))    \
	X(nmi_nmi, VMCS_GUEST_INTERRUPTIBILITY, "an NMI is injected while NMIs are blocked",       \
	  (F(VMCS_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI) &&                               \
		  (F(VMCS_PIN_CONTROLS) & PIN_VIRTUAL_NMIS) && injects(v, INTR_TYPE_NMI))          \
	X(pending, VMCS_GUEST_PENDING_DEBUG, "a reserved bit is set",                              \
	  F(VMCS_GUEST_PENDING_DEBUG) & PENDING_RESERVED)                                          \
	X(pending_step, VMCS_GUEST_PENDING_DEBUG, "BS is not what RFLAGS.TF says, in a shadow",    \
	  bad_pending_step(v))                                                                     \
	X(pending_rtm, VMCS_GUEST_PENDING_DEBUG, "RTM with other bits than bit 12",                \
	  bad_pending_rtm(v))                                                                      \
	X(link, VMCS_LINK_POINTER, "neither all ones nor the address of a VMCS", bad_link(v, lim)) \
	PDPTE(X, pdpte0, VMCS_GUEST_PDPTE0)                                                        \
	PDPTE(X, pdpte1, VMCS_GUEST_PDPTE1)                                                        \
	PDPTE(X, pdpte2, VMCS_GUEST_PDPTE2)                                                        \
	PDPTE(X, pdpte3, VMCS_GUEST_PDPTE3)

REGISTER_RULES(RULE_FUNCTION)
FLAG_RULES(RULE_FUNCTION)
STATE_RULES(RULE_FUNCTION)

static const struct vmx_rule rules[] = { REGISTER_RULES(RULE_ROW) FLAG_RULES(RULE_ROW)
						 STATE_RULES(RULE_ROW) };

const struct vmx_rules vmx_guest_rules = { rules, ARRAY_SIZE(rules) };
