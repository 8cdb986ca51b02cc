/* What can be counted, all of it or every so manieth, one after the other. */
#include "tests/guest/hostile/hostile.h"

#define STEPS 64 /* of one sweep(); an exception ends it before */

static void sweep_port(uint32_t n)
{
	uint16_t port = (uint16_t)(n / 2);
	unsigned size = 1u << below(3);
	uint32_t val = (uint32_t)odd_number();

	this_cpu()->devices_spoiled = true;
	if (n % 2)
		in(port, size);
	else if (!port_ends_it(port, size, val))
		out(port, size, val);
}

static void sweep_msr(uint32_t n)
{
	static const uint32_t starts[] = { 0, 0x40000000, 0xc0000000, 0xc0010000 };
	uint32_t nr = starts[n / 0x4000] + n % 0x4000 / 2, a, d;
	uint64_t val = odd_number();

	if (n % 2)
		__asm__ volatile("wrmsr"
				 :
				 : "c"(nr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32)));
	else
		__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(nr));
}

static void sweep_cpuid(uint32_t n)
{
	static const uint32_t starts[] = { 0, 0x40000000, 0x80000000, 0x8fffffc0, 0xc0000000 };
	uint32_t a = starts[n / 0x400] + n % 0x400 / 16, b, c = n % 16, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

/* A page of each 2 MiB below 4 GiB, then of each GiB below 2 TiB. */
static void sweep_memory(uint32_t n)
{
	uint64_t *pdpt = wild_table(0), *pd = wild_table(1);
	uint64_t pa = n < 0x800 ? (uint64_t)n << 21
				: ((uint64_t)(n - 0x800) << 30) + ((uint64_t)below(512) << 21);
	uint64_t page = below(512) * PAGE;

	pdpt[0] = (uintptr_t)pd | PTE_U | PTE_W | PTE_P;
	pd[0] = pa | PTE_PS | PTE_P;
	__asm__ volatile("mov %0, %%cr3" : : "r"((uint64_t)(uintptr_t)pml4) : "memory");
	look_at((void *)(WINDOW + page), pa + page);
}

static const struct {
	const char *name;
	void (*step)(uint32_t n);
	uint32_t count;
} phases[] = {
	{ "memory", sweep_memory, 0x1000 },
	{ "ports", sweep_port, 2 * 0x10000 },
	{ "MSRs", sweep_msr, 4 * 0x4000 },
	{ "CPUID", sweep_cpuid, 5 * 0x400 },
};

bool sweep(void)
{
	static unsigned phase;
	static uint32_t at;

	if (!at)
		at = below(options.sweep);
	for (unsigned n = 0; n < STEPS && at < phases[phase].count; n++) {
		uint32_t now = at;

		at += options.sweep;
		phases[phase].step(now);
	}
	if (at < phases[phase].count)
		return true;
	put_text("sweep: ");
	put_text(phases[phase].name);
	put_text("\n");
	at = 0;
	return ++phase < sizeof(phases) / sizeof(phases[0]);
}
