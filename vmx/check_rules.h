/* How the rules of VM entry are written down: tables, one row a rule. For vmx/check*.c. */
#ifndef UMBRA_VMX_CHECK_RULES_H
#define UMBRA_VMX_CHECK_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/msr.h"
#include "vmx/check.h"
#include "vmx/vmcs.h"

struct vmx_rule {
	enum vmcs_index field;
	const char *words;
	bool (*broken)(const struct vmcs_image *v, const struct vmx_limits *lim);
};

struct vmx_rules {
	const struct vmx_rule *rule;
	unsigned n;
};

/* In the order in which the manual has them: 26.2.1; 26.2.2 to 26.2.4; 26.3.1. */
extern const struct vmx_rules vmx_control_rules, vmx_host_rules, vmx_guest_rules;

/* A rule for several segment registers, on one of the four fields that each has. */
enum seg_field { SEG_SELECTOR, SEG_BASE, SEG_LIMIT, SEG_RIGHTS };
struct vmx_seg_rule {
	unsigned regs; /* BIT(enum seg_reg) */
	enum seg_field field;
	const char *words;
	bool (*broken)(const struct vmcs_image *v, const struct vmx_limits *lim, unsigned reg);
};
struct vmx_seg_rules {
	const struct vmx_seg_rule *rule;
	unsigned n;
};
extern const struct vmx_seg_rules vmx_seg_rules;
/* That register's field. reg: SEG_ES to SEG_TR. */
enum vmcs_index vmx_seg_index(unsigned reg, enum seg_field field);

/* --- what rules are made of; v and lim are the arguments of each --- */

/* The value of a field. */
#define F(field_name) (v->field[INDEX_##field_name])

/* A list of X(identifier, field, in words, broken when) as functions, and as rows. */
#define RULE_FUNCTION(id, field, words, when)                                                      \
	static bool breaks_##id(const struct vmcs_image *v, const struct vmx_limits *lim)          \
	{                                                                                          \
		(void)v;                                                                           \
		(void)lim;                                                                         \
		return when;                                                                       \
	}
#define RULE_ROW(id, field, words, when) { INDEX_##field, words, breaks_##id },

/* CR0.NW and CD are not looked at: entry and exit do not change them. */
#define CR0_UNCHECKED (CR0_NW | CR0_CD)

/* EFER as Intel's processors have it. */
#define EFER_VALID (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

/* Bits that the CPU does not let be 0, or 1. */
static inline bool breaks_fixed(uint64_t val, uint64_t must, uint64_t may)
{
	return (must & ~val) || (val & ~may);
}

static inline bool beyond_phys(uint64_t addr, const struct vmx_limits *lim)
{
	return addr & BITS(63, lim->maxphyaddr);
}

static inline bool not_canonical(uint64_t addr, const struct vmx_limits *lim)
{
	return !addr_is_canonical(addr, lim->linear_bits);
}

static inline bool ia32e_guest(const struct vmcs_image *v)
{
	return F(VMCS_ENTRY_CONTROLS) & ENTRY_CTL_LONG_MODE;
}

/* A secondary control counts only if there are any. */
static inline bool proc2_on(const struct vmcs_image *v, uint64_t bits)
{
	return (F(VMCS_PROC_CONTROLS) & PROC_SECONDARY) && (F(VMCS_PROC2_CONTROLS) & bits);
}

static inline bool unrestricted(const struct vmcs_image *v)
{
	return proc2_on(v, PROC2_UNRESTRICTED_GUEST);
}

static inline bool v86(const struct vmcs_image *v)
{
	return F(VMCS_GUEST_RFLAGS) & RFLAGS_VM;
}

/* Is an event of this type injected? */
static inline bool injects(const struct vmcs_image *v, unsigned type)
{
	uint64_t info = F(VMCS_ENTRY_INTR_INFO);

	return (info & INTR_INFO_VALID) && (info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT == type;
}

#endif
