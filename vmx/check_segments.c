/* What VM entry checks of the guest's segment registers. SDM vol. 3, 26.3.1.2. */
#include "vmx/check_rules.h"

/* A register's four fields. */
#define SEG_FIELDS(name)                                                                           \
	{                                                                                          \
		INDEX_VMCS_GUEST_##name##_SELECTOR, INDEX_VMCS_GUEST_##name##_BASE,                \
			INDEX_VMCS_GUEST_##name##_LIMIT, INDEX_VMCS_GUEST_##name##_RIGHTS          \
	}
static const enum vmcs_index fields[SEG_TR + 1][SEG_RIGHTS + 1] = {
	[SEG_ES] = SEG_FIELDS(ES),     [SEG_CS] = SEG_FIELDS(CS), [SEG_SS] = SEG_FIELDS(SS),
	[SEG_DS] = SEG_FIELDS(DS),     [SEG_FS] = SEG_FIELDS(FS), [SEG_GS] = SEG_FIELDS(GS),
	[SEG_LDTR] = SEG_FIELDS(LDTR), [SEG_TR] = SEG_FIELDS(TR),
};

enum vmcs_index vmx_seg_index(unsigned reg, enum seg_field field)
{
	return fields[reg][field];
}

#define DATA (BIT(SEG_ES) | BIT(SEG_DS) | BIT(SEG_FS) | BIT(SEG_GS))
#define SIX (DATA | BIT(SEG_CS) | BIT(SEG_SS))
#define ALL (SIX | BIT(SEG_LDTR) | BIT(SEG_TR))

/* Access rights beyond SEG_ATTR_TYPE to SEG_ATTR_P. 24.4.1. */
#define RIGHTS_RESERVED_LOW BITS(11, 8)
#define RIGHTS_L BIT(13)
#define RIGHTS_DB BIT(14)
#define RIGHTS_G BIT(15)
#define RIGHTS_RESERVED_HIGH BITS(31, 17)
#define RIGHTS_V86 0xf3 /* present, DPL 3, writable, accessed */

#define TYPE_ACCESSED 1u
#define TYPE_WRITABLE 2u /* of data; code: readable */
#define TYPE_CONFORMING 4u
#define TYPE_CODE 8u
#define TYPE_LDT 2u
#define TYPE_TSS16_BUSY 3u
#define TYPE_TSS_BUSY 11u
/* Read and write, accessed: CS has it in real mode. */
#define TYPE_DATA 3u

#define SEL_RPL 3u
#define SEL_TI 4u

static uint64_t part(const struct vmcs_image *v, unsigned reg, enum seg_field field)
{
	return v->field[fields[reg][field]];
}

static uint64_t rights(const struct vmcs_image *v, unsigned reg)
{
	return part(v, reg, SEG_RIGHTS);
}

static unsigned type(const struct vmcs_image *v, unsigned reg)
{
	return rights(v, reg) & SEG_ATTR_TYPE;
}

static unsigned dpl(const struct vmcs_image *v, unsigned reg)
{
	return (rights(v, reg) & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}

static unsigned rpl(const struct vmcs_image *v, unsigned reg)
{
	return part(v, reg, SEG_SELECTOR) & SEL_RPL;
}

/* CS and TR are looked at whatever bit 16 says. */
static bool usable(const struct vmcs_image *v, unsigned reg)
{
	return reg == SEG_CS || reg == SEG_TR || !(rights(v, reg) & RIGHTS_UNUSABLE);
}

/* One of the six, outside virtual-8086 mode, where they have what descriptors give. */
static bool described(const struct vmcs_image *v, unsigned reg)
{
	return !v86(v) && usable(v, reg);
}

/* Of the six and of LDTR and TR, which virtual-8086 mode leaves alone. */
static bool looked_at(const struct vmcs_image *v, unsigned reg)
{
	return reg >= SEG_LDTR ? usable(v, reg) : described(v, reg);
}

static bool bad_code_type(const struct vmcs_image *v)
{
	unsigned t = type(v, SEG_CS);

	if (v86(v) || (t & (TYPE_CODE | TYPE_ACCESSED)) == (TYPE_CODE | TYPE_ACCESSED))
		return false;
	return !(t == TYPE_DATA && unrestricted(v));
}

static bool bad_data_type(const struct vmcs_image *v, unsigned reg)
{
	unsigned t = type(v, reg);

	return described(v, reg) &&
	       (!(t & TYPE_ACCESSED) || ((t & TYPE_CODE) && !(t & TYPE_WRITABLE)));
}

static bool bad_code_dpl(const struct vmcs_image *v)
{
	unsigned t = type(v, SEG_CS);

	if (v86(v))
		return false;
	if (!(t & TYPE_CODE))
		return dpl(v, SEG_CS) != 0;
	return t & TYPE_CONFORMING ? dpl(v, SEG_CS) > dpl(v, SEG_SS)
				   : dpl(v, SEG_CS) != dpl(v, SEG_SS);
}

static bool bad_stack_dpl(const struct vmcs_image *v)
{
	if (v86(v))
		return false;
	if (!unrestricted(v) && dpl(v, SEG_SS) != rpl(v, SEG_SS))
		return true;
	return dpl(v, SEG_SS) && (type(v, SEG_CS) == TYPE_DATA || !(F(VMCS_GUEST_CR0) & CR0_PE));
}

static bool bad_data_dpl(const struct vmcs_image *v, unsigned reg)
{
	unsigned conforming = TYPE_CODE | TYPE_CONFORMING;

	return !unrestricted(v) && described(v, reg) && (type(v, reg) & conforming) != conforming &&
	       dpl(v, reg) < rpl(v, reg);
}

/* A limit of pages ends with ones; one of bytes is less than a megabyte. */
static bool bad_granularity(const struct vmcs_image *v, unsigned reg)
{
	uint64_t limit = part(v, reg, SEG_LIMIT);
	bool pages = rights(v, reg) & RIGHTS_G;

	return looked_at(v, reg) && (pages ? (limit & 0xfff) != 0xfff : limit >> 20 != 0);
}

static bool bad_tss_type(const struct vmcs_image *v)
{
	unsigned t = type(v, SEG_TR);

	return t != TYPE_TSS_BUSY && (ia32e_guest(v) || t != TYPE_TSS16_BUSY);
}

/* One row a rule: X(identifier, registers, field, in words, broken when). */
#define RULES(X)                                                                                   \
	X(ti, BIT(SEG_TR) | BIT(SEG_LDTR), SEG_SELECTOR, "TI is set",                              \
	  usable(v, reg) && (part(v, reg, SEG_SELECTOR) & SEL_TI))                                 \
	X(ss_rpl, BIT(SEG_SS), SEG_SELECTOR, "RPL is not that of CS",                              \
	  !v86(v) && !unrestricted(v) && rpl(v, SEG_SS) != rpl(v, SEG_CS))                         \
	X(v86_base, SIX, SEG_BASE, "not 16 times the selector in virtual-8086 mode",               \
	  v86(v) && part(v, reg, SEG_BASE) != part(v, reg, SEG_SELECTOR) << 4)                     \
	X(canonical, BIT(SEG_TR) | BIT(SEG_FS) | BIT(SEG_GS) | BIT(SEG_LDTR), SEG_BASE,            \
	  "not canonical",                                                                         \
	  (usable(v, reg) || reg == SEG_FS || reg == SEG_GS) &&                                    \
		  not_canonical(part(v, reg, SEG_BASE), lim))                                      \
	X(base, BIT(SEG_CS) | BIT(SEG_SS) | BIT(SEG_DS) | BIT(SEG_ES), SEG_BASE,                   \
	  "bits 63:32 are not zero", usable(v, reg) && part(v, reg, SEG_BASE) >> 32)               \
	X(v86_limit, SIX, SEG_LIMIT, "not 64 KiB in virtual-8086 mode",                            \
	  v86(v) && part(v, reg, SEG_LIMIT) != 0xffff)                                             \
	X(v86_rights, SIX, SEG_RIGHTS, "not those of virtual-8086 mode",                           \
	  v86(v) && rights(v, reg) != RIGHTS_V86)                                                  \
	X(cs_type, BIT(SEG_CS), SEG_RIGHTS, "a type that CS cannot have", bad_code_type(v))        \
	X(ss_type, BIT(SEG_SS), SEG_RIGHTS, "a type that SS cannot have",                          \
	  described(v, reg) && (type(v, reg) & ~TYPE_CONFORMING) != TYPE_DATA)                     \
	X(data_type, DATA, SEG_RIGHTS, "not accessed, or not readable", bad_data_type(v, reg))     \
	X(s, SIX, SEG_RIGHTS, "S is clear", described(v, reg) && !(rights(v, reg) & SEG_ATTR_S))   \
	X(cs_dpl, BIT(SEG_CS), SEG_RIGHTS, "a DPL that does not fit the type and SS",              \
	  bad_code_dpl(v))                                                                         \
	X(ss_dpl, BIT(SEG_SS), SEG_RIGHTS, "a DPL that does not fit the RPL, CS or CR0.PE",        \
	  bad_stack_dpl(v))                                                                        \
	X(data_dpl, DATA, SEG_RIGHTS, "a DPL less than the RPL", bad_data_dpl(v, reg))             \
	X(tr_type, BIT(SEG_TR), SEG_RIGHTS, "no busy TSS", bad_tss_type(v))                        \
	X(ldtr_type, BIT(SEG_LDTR), SEG_RIGHTS, "no LDT",                                          \
	  usable(v, reg) && type(v, reg) != TYPE_LDT)                                              \
	X(system, BIT(SEG_TR) | BIT(SEG_LDTR), SEG_RIGHTS, "S is set",                             \
	  usable(v, reg) && (rights(v, reg) & SEG_ATTR_S))                                         \
	X(tr_usable, BIT(SEG_TR), SEG_RIGHTS, "unusable", rights(v, reg) & RIGHTS_UNUSABLE)        \
	X(present, ALL, SEG_RIGHTS, "P is clear",                                                  \
	  looked_at(v, reg) && !(rights(v, reg) & SEG_ATTR_P))                                     \
	X(reserved, ALL, SEG_RIGHTS, "a reserved bit is set",                                      \
	  looked_at(v, reg) && (rights(v, reg) & (RIGHTS_RESERVED_LOW | RIGHTS_RESERVED_HIGH)))    \
	X(l_d, BIT(SEG_CS), SEG_RIGHTS, "L and D/B both set in IA-32e mode",                       \
	  !v86(v) && ia32e_guest(v) && (rights(v, reg) & RIGHTS_L) &&                              \
		  (rights(v, reg) & RIGHTS_DB))                                                    \
	X(granularity, ALL, SEG_RIGHTS, "G does not fit the limit", bad_granularity(v, reg))

#define X(id, regs, field, words, when)                                                            \
	static bool breaks_##id(const struct vmcs_image *v, const struct vmx_limits *lim,          \
				unsigned reg)                                                      \
	{                                                                                          \
		(void)lim;                                                                         \
		(void)reg;                                                                         \
		return when;                                                                       \
	}
RULES(X)
#undef X

#define X(id, regs, field, words, when) { regs, field, words, breaks_##id },
static const struct vmx_seg_rule rules[] = { RULES(X) };
#undef X

const struct vmx_seg_rules vmx_seg_rules = { rules, ARRAY_SIZE(rules) };
