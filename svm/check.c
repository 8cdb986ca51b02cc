#include "svm/check.h"

#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/msr.h"
#include "svm/perm.h"

/* EFER bits that some CPU with SVM defines. APM vol. 2, 3.1.7. */
#define EFER_DEFINED                                                                               \
	(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME | EFER_LMSLE | EFER_FFXSR |         \
	 EFER_TCE | BIT(17) | BIT(18) | BIT(20) | BIT(21))

static bool paged_long_mode(const struct vmcb *v)
{
	return (v->efer & EFER_LME) && (v->cr0 & CR0_PG);
}

static bool table_beyond(uint64_t base, uint64_t size, unsigned maxphyaddr)
{
	/* The low 12 bits are ignored. */
	base &= BITS(63, 12);
	return base > BIT(maxphyaddr) - size;
}

static bool bad_event(const struct vmcb *v)
{
	unsigned vector = v->event_inj & EVENT_VECTOR_MASK;

	if (!(v->event_inj & EVENT_V))
		return false;
	switch ((v->event_inj & EVENT_TYPE_MASK) >> EVENT_TYPE_SHIFT) {
	case EVENT_TYPE_INTR:
	case EVENT_TYPE_NMI:
	case EVENT_TYPE_SOFT:
		return false;
	case EVENT_TYPE_EXCEPTION:
		return vector == VEC_NMI || vector > 31;
	default:
		return true;
	}
}

static bool cr3_reserved(const struct vmcb *v, const struct svm_limits *lim)
{
	return (v->efer & EFER_LMA) && (v->cr3 & BITS(63, lim->maxphyaddr));
}

static bool np_enabled(const struct vmcb *v)
{
	return v->np_control & VMCB_NP_ENABLE;
}

/* One row a rule: X(identifier, in words, broken when). */
#define RULES(X)                                                                                   \
	X(svme, "EFER.SVME is clear", !(v->efer & EFER_SVME))                                      \
	X(cd_nw, "CR0.NW is set without CD", (v->cr0 & CR0_NW) && !(v->cr0 & CR0_CD))              \
	X(cr0_high, "CR0[63:32] are not zero", v->cr0 >> 32)                                       \
	X(cr3, "a reserved bit of CR3 is set", cr3_reserved(v, lim))                               \
	X(cr4, "a reserved bit of CR4 is set", v->cr4 & ~lim->cr4_valid)                           \
	X(dr6_high, "DR6[63:32] are not zero", v->dr6 >> 32)                                       \
	X(dr7_high, "DR7[63:32] are not zero", v->dr7 >> 32)                                       \
	X(efer, "a reserved bit of EFER is set", v->efer & ~(uint64_t)EFER_DEFINED)                \
	X(lme_pae, "EFER.LME and CR0.PG without CR4.PAE",                                          \
	  paged_long_mode(v) && !(v->cr4 & CR4_PAE))                                               \
	X(lme_pe, "EFER.LME and CR0.PG without CR0.PE", paged_long_mode(v) && !(v->cr0 & CR0_PE))  \
	X(cs_l_d, "CS.L and CS.D both set in long mode",                                           \
	  paged_long_mode(v) && (v->cr4 & CR4_PAE) &&                                              \
		  (v->cs.attrib & (SEG_ATTR_L | SEG_ATTR_DB)) == (SEG_ATTR_L | SEG_ATTR_DB))       \
	X(vmrun, "the VMRUN intercept is clear", !vmcb_intercepts(v, INTERCEPT_VMRUN))             \
	X(iopm, "the IOPM ends beyond physical memory",                                            \
	  table_beyond(v->iopm_base_pa, IOPM_SIZE, lim->maxphyaddr))                               \
	X(msrpm, "the MSRPM ends beyond physical memory",                                          \
	  table_beyond(v->msrpm_base_pa, MSRPM_SIZE, lim->maxphyaddr))                             \
	X(event, "EVENTINJ holds no valid event", bad_event(v))                                    \
	X(asid, "ASID is zero", !v->asid)                                                          \
	X(n_cr3, "a reserved bit of nCR3 is set",                                                  \
	  np_enabled(v) && (v->n_cr3 & BITS(63, lim->maxphyaddr)))                                 \
	X(g_pat, "G_PAT holds an undefined type", np_enabled(v) && !pat_is_valid(v->g_pat))        \
	X(cet, "CR4.CET is set without CR0.WP", (v->cr4 & CR4_CET) && !(v->cr0 & CR0_WP))

#define X(id, words, broken)                                                                       \
	static bool breaks_##id(const struct vmcb *v, const struct svm_limits *lim)                \
	{                                                                                          \
		(void)lim;                                                                         \
		return broken;                                                                     \
	}
RULES(X)
#undef X

static const struct {
	const char *words;
	bool (*broken)(const struct vmcb *v, const struct svm_limits *lim);
} rules[] = {
#define X(id, words, broken) { words, breaks_##id },
	RULES(X)
#undef X
};

const char *svm_check_vmcb(const struct vmcb *v, const struct svm_limits *lim)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].broken(v, lim))
			return rules[i].words;
	return NULL;
}
