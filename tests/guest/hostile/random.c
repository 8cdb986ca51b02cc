/* Numbers at random, those more often that mean something somewhere. */
#include "tests/guest/hostile/hostile.h"

void seed_random(struct cpu *cpu, uint64_t seed)
{
	cpu->random = (seed + ((uint64_t)cpu->nr << 32)) * 0x9e3779b97f4a7c15u + 1;
}

uint64_t rnd(void)
{
	uint64_t z = (this_cpu()->random += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint32_t below(uint32_t n)
{
	return (uint32_t)((rnd() >> 32) * n >> 32);
}

bool one_in(uint32_t n)
{
	return below(n) == 0;
}

uint64_t odd_number(void)
{
	switch (below(8)) {
	case 0:
		return below(16);
	case 1:
		return (uint64_t)1 << below(64);
	case 2:
		return ~((uint64_t)1 << below(64));
	case 3:
		return ((uint64_t)1 << below(64)) - 1;
	case 4:
		return (uint64_t)0 - below(16);
	case 5:
		return rnd() & 0xffffffff;
	case 6:
		return rnd() >> below(64);
	default:
		return rnd();
	}
}

static const struct {
	uint64_t start, size;
} places[] = {
	{ 0, 0x1000 },           /* real mode's vectors */
	{ LOW_CODE, 0x1000 },    /* the way out of real mode */
	{ 0x9f000, 0x2000 },     /* the end of low memory */
	{ 0xa0000, 0x20000 },    /* a screen that is not there */
	{ 0xc0000, 0x20000 },    /* option ROMs */
	{ 0xe0000, 0x20000 },    /* firmware */
	{ 0x100000, 0x40000 },   /* this program */
	{ WILD_CODE, 2 * PAGE }, /* what runs now */
	{ WILD_DATA, 0x10000 },  /* memory */
	{ WILD_TABLES, NR_WILD_TABLES *PAGE },
	{ MEMORY_END - PAGE, 2 * PAGE }, /* the end of memory */
	{ MEMORY_END, 0x40000000 },      /* other guests', and Umbra's, in the machine */
	{ 0x7ffff000, 0x2000 },          /* the sign */
	{ 0xb0000000, 0x10000000 },      /* PCI Express' configuration, on other machines */
	{ 0xe0000000, 0x1ec00000 },      /* PCI's hole */
	{ 0xfec00000, 0x100 },           /* I/O APIC */
	{ 0xfed00000, 0x400 },           /* HPET */
	{ 0xfed40000, 0x5000 },          /* TPM */
	{ 0xfee00000, 0x1000 },          /* local APIC */
	{ 0xffff0000, 0x10000 },         /* firmware */
	{ 0xfffff000, 0x2000 },          /* 4 GiB */
};

uint64_t odd_address(void)
{
	unsigned n = below(sizeof(places) / sizeof(places[0]) + 2);
	uint64_t at;

	if (n == sizeof(places) / sizeof(places[0]))
		return WINDOW + (rnd() & 0x7fffffffff);
	if (n > sizeof(places) / sizeof(places[0]))
		return odd_number();
	at = places[n].start + below((uint32_t)places[n].size);
	return one_in(3) ? at : one_in(8) ? (at | (PAGE - 1)) - below(16) : at & ~(uint64_t)7;
}
