/* The doors that any code can try; those that want a mode of their own are in modes.c, interrupts
 * and clocks in apic.c. */
#include "tests/guest/hostile/hostile.h"

/* --- ports --- */

static const struct {
	uint16_t start, count;
} devices[] = {
	{ 0x20, 2 },   { 0xa0, 2 },   { 0x4d0, 2 },  { 0x40, 4 }, { 0x61, 1 },  { 0x70, 2 },
	{ 0x60, 1 },   { 0x64, 1 },   { 0x60, 5 },   { 0x92, 1 }, { 0x3f8, 8 }, { 0x2f8, 8 },
	{ 0xcf8, 8 },  { 0x600, 12 }, { 0x80, 1 },   { 0xe9, 1 }, { 0xf0, 16 }, { 0x3c0, 32 },
	{ 0x1f0, 16 }, { 0xb2, 2 },   { 0x510, 12 }, { 0, 16 },   { 0xc0, 32 }, { 0xfffc, 4 },
};

uint16_t odd_port(void)
{
	unsigned n = below(sizeof(devices) / sizeof(devices[0]) * 4 / 3);

	if (n >= sizeof(devices) / sizeof(devices[0]))
		return (uint16_t)rnd();
	return (uint16_t)(devices[n].start + below(devices[n].count) - one_in(16));
}

bool port_ends_it(uint16_t port, unsigned size, uint32_t val)
{
	for (unsigned i = 0; i < size; i++, val >>= 8) {
		uint16_t at = (uint16_t)(port + i);

		if (at == 0xcf9 || at == 0x92 || (at == 0x605 && (val & 0x20)) ||
		    (at == 0x64 && (val & 0xf0) == 0xf0))
			return true;
	}
	return false;
}

static void touch_port(uint16_t port)
{
	unsigned size = 1u << below(3);
	uint32_t val = (uint32_t)odd_number();

	if (one_in(2))
		in(port, size);
	else if (!port_ends_it(port, size, val) || one_in(100))
		out(port, size, val);
}

static void try_ports(void)
{
	this_cpu()->devices_spoiled = true;
	for (unsigned n = 1 + below(8); n; n--)
		touch_port(odd_port());
}

/* One device gets one command after the other. */
static void try_device(void)
{
	unsigned n = below(sizeof(devices) / sizeof(devices[0]));

	this_cpu()->devices_spoiled = true;
	for (unsigned k = 2 + below(20); k; k--)
		touch_port((uint16_t)(devices[n].start + below(devices[n].count)));
}

/* PCI's configuration space, through its two windows. */
static void try_pci(void)
{
	for (unsigned n = 1 + below(8); n; n--) {
		uint32_t bus = one_in(4) ? below(256) : 0;

		out(0xcf8, 4,
		    1u << 31 | bus << 16 | below(256) << 8 | (below(256) & ~3u) |
			    (one_in(8) ? (uint32_t)rnd() : 0));
		touch_port((uint16_t)(0xcfc + below(4)));
	}
}

static void try_string_ports(void)
{
	uint64_t at = one_in(3) ? odd_address() : WILD_DATA, count = below(64);
	uint16_t port = odd_port();

	if (one_in(8) && port > 0xff) /* not what makes the watchdog */
		count = odd_number();
	/* Too much would only fill the line. */
	if ((port & 0xfff8) == 0x3f8 || port == 0xe9)
		count &= 15;
	this_cpu()->devices_spoiled = true;
	if (one_in(8))
		__asm__ volatile("std");
	/* The PIT's interrupt ends what takes too long. */
	if (one_in(2)) {
		at = at >= 0x100000 && at < WILD_CODE ? WILD_DATA : at;
		if (one_in(2))
			__asm__ volatile("sti; nop; rep insb"
					 : "+D"(at), "+c"(count)
					 : "d"(port)
					 : "memory");
		else
			__asm__ volatile("sti; nop; rep insl"
					 : "+D"(at), "+c"(count)
					 : "d"(port)
					 : "memory");
	} else if (!port_ends_it(port, 1, 0xff)) {
		if (one_in(2))
			__asm__ volatile("sti; nop; rep outsb" : "+S"(at), "+c"(count) : "d"(port));
		else
			__asm__ volatile("sti; nop; rep outsl" : "+S"(at), "+c"(count) : "d"(port));
	}
}

/* --- MSRs, CPUID --- */

uint32_t odd_msr(void)
{
	static const uint32_t known[] = {
		0x10,       0x1b,       0x3a,       0x3b,       0x79,       0x8b,       0xc1,
		0xe7,       0xfe,       0x140,      0x174,      0x175,      0x176,      0x179,
		0x17a,      0x186,      0x1a0,      0x1d9,      0x200,      0x201,      0x250,
		0x258,      0x26f,      0x277,      0x2ff,      0x38f,      0x400,      0x480,
		0x482,      0x48b,      0x491,      0x6e0,      0x800,      0x808,      0x80b,
		0x830,      0xda0,      0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
		0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0xc0010004, 0xc0010010, 0xc0010015,
		0xc0010058, 0xc0010111, 0xc0010114, 0xc0010115, 0xc0010117, 0xc001011f, 0xc0010140,
		0xc001102c, 0x40000000, 0x4b564d00, 0x4b564d01,
	};

	switch (below(8)) {
	case 0:
		return (uint32_t)rnd();
	case 1:
		return below(0x2001);
	case 2:
		return 0xc0000000 + below(0x2001);
	case 3:
		return 0xc0010000 + below(0x2001);
	case 4:
		return 0x40000000 + below(0x200);
	default:
		return known[below(sizeof(known) / sizeof(known[0]))] + (one_in(4) ? below(8) : 0);
	}
}

static void try_rdmsr(void)
{
	for (unsigned n = 1 + below(4); n; n--) {
		uint32_t a, d;

		__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(odd_msr()));
	}
}

static void try_wrmsr(void)
{
	uint32_t nr = odd_msr(), a = 0, d = 0;
	uint64_t val = odd_number();

	this_cpu()->msrs_spoiled = this_cpu()->apic_spoiled = true;
	if (one_in(2)) { /* a bit of what it holds */
		__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(nr));
		val = ((uint64_t)d << 32 | a) ^ (uint64_t)1 << below(64);
	} else if (one_in(2)) {
		val = odd_address();
	}
	__asm__ volatile("wrmsr" : : "c"(nr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32)));
}

#define MSR_TSC 0x10
#define MSR_KVM_WALL_CLOCK 0x4b564d00
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

/* With pv=kvm on the line: Umbra writes the time to any place, once or again and again. */
static void try_clock(void)
{
	uint64_t at = one_in(8) ? (uint64_t)1 << below(64) | odd_address() : odd_address();

	if (at >= 0x100000 && at < 0x200000 && !one_in(64))
		at = WILD_TABLES + at % (NR_WILD_TABLES * PAGE); /* not this program */
	if (!one_in(8))
		at &= ~(uint64_t)3;
	if (one_in(3))
		wrmsr(MSR_KVM_WALL_CLOCK, at);
	wrmsr(MSR_KVM_SYSTEM_TIME, at | !one_in(8));
	for (unsigned n = below(4); n; n--)
		wrmsr(MSR_TSC, odd_number());
}

static void try_cpuid(void)
{
	static const uint32_t starts[] = { 0,          0,          0x80000000, 0x80000000,
					   0x40000000, 0x8fffffff, 0xc0000000, 0x20000000 };

	for (unsigned n = 1 + below(8); n; n--) {
		uint32_t a = starts[below(8)] + below(64), b,
			 c = below(4) ? below(32) : (uint32_t)rnd(), d;

		a = one_in(8) ? (uint32_t)odd_number() : a;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	}
}

/* --- control and debug registers --- */

#define FLIP(reg)                                                                                  \
	do {                                                                                       \
		uint64_t val;                                                                      \
		__asm__ volatile("mov %%" reg ", %0" : "=r"(val));                                 \
		for (unsigned bits = 1 + below(3); bits; bits--)                                   \
			val ^= (uint64_t)1 << below(one_in(4) ? 64 : 32);                          \
		__asm__ volatile("mov %0, %%" reg : : "r"(val) : "memory");                        \
	} while (0)
#define LOAD(reg, val) __asm__ volatile("mov %0, %%" reg : : "r"(val) : "memory")

static void load_debug(void)
{
	uint64_t val = one_in(2) ? odd_address() : odd_number();

	switch (below(8)) {
	case 0:
		LOAD("dr0", val);
		break;
	case 1:
		LOAD("dr1", val);
		break;
	case 2:
		LOAD("dr2", val);
		break;
	case 3:
		LOAD("dr3", val);
		break;
	case 4:
		LOAD("dr4", val);
		break;
	case 5:
		LOAD("dr6", val);
		break;
	default:
		LOAD("dr7", val & (one_in(4) ? ~(uint64_t)0 : 0xffffdfff));
	}
}

static void load_xcr0(void)
{
	uint64_t cr4, val = odd_number();

	if (one_in(2))
		val &= 0x2e7;
	if (one_in(2))
		val |= 3;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	LOAD("cr4", cr4 | 0x40000); /* OSXSAVE */
	__asm__ volatile("xsetbv"
			 :
			 : "c"(one_in(8) ? below(4) : 0), "d"((uint32_t)(val >> 32)),
			   "a"((uint32_t)val));
}

#define MSR_EFER 0xc0000080

static void flip_efer(void)
{
	static const uint8_t bits[] = { 0, 8, 11, 12, 13, 14, 15 };

	this_cpu()->msrs_spoiled = true;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) ^ (uint64_t)1 << (one_in(8) ? below(64) : bits[below(7)]));
}

static void try_controls(void)
{
	for (unsigned n = 1 + below(4); n; n--) {
		switch (below(9)) {
		case 0:
			FLIP("cr0");
			break;
		case 1:
		case 2:
			FLIP("cr4");
			break;
		case 3:
			LOAD("cr8", one_in(4) ? odd_number() : below(16));
			break;
		case 4:
			LOAD("cr2", odd_number());
			break;
		case 5:
			load_xcr0();
			break;
		case 6:
			__asm__ volatile("lmsw %w0; clts" : : "r"(rnd() | 1));
			break;
		case 7:
			flip_efer();
			break;
		default:
			load_debug();
		}
	}
}

/* --- paging --- */

uint64_t *wild_table(unsigned n)
{
	return (uint64_t *)(uintptr_t)(WILD_TABLES + n * PAGE);
}

uint64_t odd_entry(void)
{
	uint64_t at, flags = rnd() & (one_in(4) ? 0xfff : 0x67);

	if (one_in(16))
		return odd_number();
	if (one_in(2))
		return (WILD_TABLES + below(NR_WILD_TABLES) * PAGE) | flags | PTE_U | PTE_W | PTE_P;
	at = one_in(4) ? rnd() & 0xfffffff000 : odd_address();
	if (at >= 0x100000 && at < 0x200000 && !one_in(64))
		flags &= ~(uint64_t)PTE_W; /* this program */
	else
		flags |= PTE_W;
	if (one_in(16))
		at |= (uint64_t)1 << (40 + below(23));
	return (at & 0x7ffffffffffff000) | flags | PTE_P;
}

/* An address that the wild tables translate, or mean to. */
static uint64_t window_address(void)
{
	uint64_t at = WINDOW;

	for (unsigned shift = 12; shift < 39; shift += 9)
		at |= (uint64_t)below(one_in(8) ? 512 : 8) << shift;
	return at | (one_in(4) ? PAGE - 1 - below(8) : rnd() & 0xff8);
}

static void edit_tables(void)
{
	for (unsigned n = 1 + below(16); n; n--)
		wild_table(below(NR_WILD_TABLES))[below(one_in(8) ? 512 : 8)] = odd_entry();
}

static void touch(uint64_t at)
{
	volatile uint64_t *p = (volatile uint64_t *)at;

	switch (below(6)) {
	case 0:
		(void)*p;
		look_at((void *)(at & ~(uint64_t)(PAGE - 1)), at);
		break;
	case 1:
		*p = odd_entry();
		break;
	case 2:
		__asm__ volatile("lock addq %1, (%0)" : : "r"(p), "r"(rnd()) : "memory");
		break;
	case 3:
		__asm__ volatile("movups (%0), %%xmm0; movups %%xmm0, 3(%0)" : : "r"(p) : "memory");
		break;
	case 4:
		run_at(at);
		break;
	default:
		__asm__ volatile("invlpg (%0)" : : "r"(p) : "memory");
		*(volatile uint8_t *)p = (uint8_t)rnd();
	}
}

static void try_tables(void)
{
	edit_tables();
	if (one_in(3))
		LOAD("cr3", (uint64_t)(uintptr_t)pml4);
	for (unsigned n = 1 + below(6); n; n--)
		touch(window_address());
}

/* Roots that are changed under way; one that is nothing at all is mostly the end. */
static void try_roots(void)
{
	unsigned n = below(NR_WILD_TABLES);
	uint64_t *root = wild_table(n), val = (uintptr_t)root;

	edit_tables();
	root[0] = pml4[0];
	root[1] = odd_entry();
	if (one_in(4))
		val |= below(0x1000);
	if (one_in(100))
		val |= (uint64_t)1 << below(64);
	if (one_in(200))
		val = odd_number();
	LOAD("cr3", val);
	for (unsigned k = 1 + below(4); k; k--) {
		if (one_in(4))
			root[one_in(2) ? 1 : below(512)] = odd_entry();
		root[0] = pml4[0];
		touch(window_address());
	}
}

/* What lies at any address of the machine: nothing of anybody else's. */
static void try_look(void)
{
	static const uint64_t spaces[] = { 0x3ffff000, 0xfffff000, 0xfffffff000 };
	uint64_t *pdpt = wild_table(0), *pd = wild_table(1), *pt = wild_table(2);

	pdpt[0] = (uintptr_t)pd | PTE_U | PTE_W | PTE_P;
	pd[0] = (uintptr_t)pt | PTE_U | PTE_W | PTE_P;
	for (unsigned i = 0; i < 8; i++)
		pt[i] = (rnd() & spaces[below(3)]) | PTE_U | PTE_P;
	LOAD("cr3", (uint64_t)(uintptr_t)pml4);
	for (unsigned i = 0; i < 8; i++)
		look_at((void *)(WINDOW + i * PAGE), pt[i] & ~(uint64_t)(PAGE - 1));
}

const struct door doors[] = {
	{ "ports", try_ports, 4 },
	{ "devices", try_device, 4 },
	{ "PCI", try_pci, 2 },
	{ "string ports", try_string_ports, 3 },
	{ "RDMSR", try_rdmsr, 4 },
	{ "WRMSR", try_wrmsr, 6 },
	{ "KVM's clock", try_clock, 2 },
	{ "CPUID", try_cpuid, 2 },
	{ "control registers", try_controls, 6 },
	{ "page tables", try_tables, 10 },
	{ "roots", try_roots, 6 },
	{ "foreign memory", try_look, 5 },
	{ "64-bit code", try_code64, 20 },
	{ "compatibility mode", try_compat, 10 },
	{ "protected mode", try_legacy, 10 },
	{ "virtual-8086 mode", try_v86, 6 },
	{ "real mode", try_real, 6 },
	{ "descriptors", try_descriptors, 6 },
	{ "hypercalls", try_hypercalls, 2 },
	{ "device registers", try_device_code, 6 },
	{ "IPIs", try_ipis, 6 },
	{ "local APIC", try_apic, 5 },
	{ "local APIC's place", try_apic_base, 3 },
	{ "I/O APIC", try_ioapic, 4 },
	{ "clocks", try_timers, 4 },
	{ "resets", try_resets, 1 },
	{ "others", try_spoil, 8 },
};
const unsigned nr_doors = sizeof(doors) / sizeof(doors[0]);
