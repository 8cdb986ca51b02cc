#include "arch/x86_64/mtrr.h"

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/string.h"

#define CPUID_1_EDX_MTRR BIT(12)
#define MTRRCAP_VARIABLE BITS(7, 0)
#define MTRRCAP_FIXED BIT(8)
#define MTRR_DEF_ENABLE BIT(11)
#define VARIABLE_MAX 32

/* SDM vol. 3, 12.11.2.2. */
static const uint32_t fixed[] = { MSR_MTRR_FIX64K_00000,
				  MSR_MTRR_FIX16K_80000,
				  MSR_MTRR_FIX16K_A0000,
				  0x268,
				  0x269,
				  0x26a,
				  0x26b,
				  0x26c,
				  0x26d,
				  0x26e,
				  0x26f };

struct mtrrs {
	uint64_t cap, def_type;
	uint64_t fixed[ARRAY_SIZE(fixed)];
	uint64_t variable[VARIABLE_MAX * 2]; /* bases and masks */
};

static struct mtrrs first, other;

static void read_all(struct mtrrs *m)
{
	unsigned variable;

	*m = (struct mtrrs){ 0 };
	if (!(cpuid(1, 0).edx & CPUID_1_EDX_MTRR))
		return;
	m->cap = rdmsr(MSR_MTRRCAP);
	m->def_type = rdmsr(MSR_MTRR_DEF_TYPE);
	for (unsigned i = 0; (m->cap & MTRRCAP_FIXED) && i < ARRAY_SIZE(fixed); i++)
		m->fixed[i] = rdmsr(fixed[i]);
	variable = 2 * MIN((unsigned)(m->cap & MTRRCAP_VARIABLE), VARIABLE_MAX);
	for (unsigned i = 0; i < variable; i++)
		m->variable[i] = rdmsr(MSR_MTRR_PHYSBASE0 + i);
}

void mtrr_note(void)
{
	read_all(&first);
}

static bool same(const struct mtrrs *a, const struct mtrrs *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static void write_all(const struct mtrrs *m)
{
	unsigned variable = 2 * MIN((unsigned)(m->cap & MTRRCAP_VARIABLE), VARIABLE_MAX);

	wrmsr(MSR_MTRR_DEF_TYPE, m->def_type & ~MTRR_DEF_ENABLE);
	for (unsigned i = 0; (m->cap & MTRRCAP_FIXED) && i < ARRAY_SIZE(fixed); i++)
		wrmsr(fixed[i], m->fixed[i]);
	for (unsigned i = 0; i < variable; i++)
		wrmsr(MSR_MTRR_PHYSBASE0 + i, m->variable[i]);
	wrmsr(MSR_MTRR_DEF_TYPE, m->def_type);
}

/* Nothing is cached while the types change. SDM vol. 3, 12.11.8. */
static void take_over(const struct mtrrs *m)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();

	write_cr0(cr0 | CR0_CD);
	wbinvd();
	write_cr4(cr4 & ~CR4_PGE);
	write_cr3(read_cr3());
	write_all(m);
	wbinvd();
	write_cr3(read_cr3());
	write_cr0(cr0);
	write_cr4(cr4);
}

bool mtrr_init_other(void)
{
	read_all(&other); /* one comes at a time */
	if (same(&other, &first))
		return true;
	if (other.cap != first.cap)
		return false;
	take_over(&first);
	read_all(&other);
	return same(&other, &first);
}
