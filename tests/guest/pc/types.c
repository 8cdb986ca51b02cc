/* MTRRs and PAT: SDM vol. 3, 11.11, 11.12. */
#include "tests/guest/pc/pc.h"

#define MSR_MTRRCAP 0xfeu
#define MSR_VAR 0x200u
#define MSR_PAT 0x277u
#define MSR_DEF_TYPE 0x2ffu
#define NR_VAR 8u
#define PAT_RESET 0x0007040600070406u

static const uint32_t fixed[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
				  0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

struct types {
	uint64_t cap, def, pat, fixed[ARRAY_SIZE(fixed)], var[2 * NR_VAR];
};
static struct types first, own;

static void read_types(struct types *t)
{
	t->cap = rdmsr(MSR_MTRRCAP);
	t->def = rdmsr(MSR_DEF_TYPE);
	t->pat = rdmsr(MSR_PAT);
	for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
		t->fixed[i] = rdmsr(fixed[i]);
	for (unsigned i = 0; i < 2 * NR_VAR; i++)
		t->var[i] = rdmsr(MSR_VAR + i);
}

static void compare(void)
{
	const uint64_t *a = (const uint64_t *)&first, *b = (const uint64_t *)&own;

	read_types(&own);
	for (unsigned i = 0; i < sizeof(own) / 8; i++)
		expect("the same MTRRs and PAT as the first processor's", b[i], a[i]);
}

/* The type that the variable ranges and the default give this address of RAM or a device. */
static unsigned type_of(uint64_t pa)
{
	for (unsigned i = 0; i < NR_VAR; i++) {
		uint64_t base = first.var[2 * i], mask = first.var[2 * i + 1];

		if (mask & 1u << 11 && !((pa ^ base) & mask & ~0xfffull))
			return base & 0xff;
	}
	return first.def & 0xff;
}

static void refused(uint32_t msr, uint64_t val)
{
	if (!write_faults(msr, val))
		expect("what WRMSR does not refuse", val, ~val);
}

/* It is kept, and the one before is put back. */
static void allowed(uint32_t msr, uint64_t val)
{
	uint64_t old = rdmsr(msr);

	if (write_faults(msr, val))
		expect("what WRMSR refuses", val, ~val);
	expect("what was written", rdmsr(msr), val);
	wrmsr(msr, old);
}

static void try_types(void)
{
	static const uint8_t types[] = { 0, 1, 4, 5, 6 };
	uint32_t reg[4];
	uint64_t above;

	cpuid(0x80000008, reg);
	above = ~0ull << (reg[0] & 0xff);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		allowed(MSR_VAR + 2, 0x80000000 | types[i]);
		allowed(0x26f, 0x0101010101010101u * types[i]);
		allowed(MSR_DEF_TYPE, 0xc00 | types[i]);
		allowed(MSR_PAT, 0x0101010101010101u * types[i]);
	}
	allowed(MSR_PAT, 0x0707070707070707u);
	for (unsigned type = 0; type < 256; type++) {
		bool good = type <= 6 && type != 2 && type != 3;

		if (good)
			continue;
		refused(MSR_VAR + 2, 0x80000000 | type);
		refused(0x250, (uint64_t)type << 56);
		refused(MSR_DEF_TYPE, 0xc00 | type);
		if (type != 7)
			refused(MSR_PAT, (uint64_t)type << 32);
	}
	for (unsigned bit = 8; bit < 12; bit++)
		refused(MSR_VAR + 2, 1u << bit);
	for (unsigned bit = 0; bit < 11; bit++)
		refused(MSR_VAR + 3, 1u << bit);
	allowed(MSR_VAR + 3, ~above & ~0xfffull);
	allowed(MSR_VAR + 3, (~above & ~0xfffull) | 0x800);
	refused(MSR_VAR + 3, above & -above);
	refused(MSR_VAR + 2, above & -above);
	refused(MSR_DEF_TYPE, 0x1006);
	refused(MSR_DEF_TYPE, 0x106);
	refused(MSR_MTRRCAP, first.cap);
	refused(MSR_VAR + 2 * NR_VAR, 0);
}

void memory_types(void)
{
	read_types(&first);
	expect("MTRRCAP", first.cap, 0x508);
	expect("the default type", first.def, 0xc06);
	expect("PAT", first.pat, PAT_RESET);
	expect("the type of RAM", type_of(0x100000), 6);
	expect("the type of RAM above", type_of(0x100000000), 6);
	expect("the type of the APICs", type_of(0xfee00000), 0);
	expect("the type of the PCI hole", type_of(0xe0000000), 0);
	expect("the type of low memory", first.fixed[0], 0x0606060606060606);
	expect("the type of the video window", first.fixed[2], 0);
	on_each(compare);
	on_each(try_types);
	on_each(compare);
}
