/* The processor and the tables under test: descriptors, controls, accesses. */
#include "tests/guest/paging/paging.h"

#define CODE 0x08
#define TSS 0x28
#define LDT 0x38

#define IOPL_3 0x3000u
#define CR0_PE 0x1u
#define CR0_ET 0x10u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define EFER 0xc0000080u
#define EFER_NXE 0x800u

#define MULTIBOOT_1 0x2badb002u
#define MULTIBOOT_2 0x36d76289u
#define PVH_MAGIC 0x336ec578u /* the first word of hvm_start_info */

#define NR_TABLES 64

struct features features;
struct oracle_cpu cpu;
struct probe_io io;

static entry_t tables[NR_TABLES][FRAME / sizeof(entry_t)] __attribute__((aligned(FRAME)));
static unsigned nr_tables;
static uint8_t ring0_stack[FRAME] __attribute__((aligned(16)));
static uint32_t tss[26];

void put_field(const char *name, uint64_t val)
{
	put_text(name);
	put_hex(val);
}

void stray(uintptr_t ip)
{
	put_text("WRONG: exception ");
	put_number((unsigned)io.vector);
	put_text(" outside of any test, error code ");
	put_hex(io.error);
	put_text(", CR2 ");
	put_hex(io.cr2);
	put_text(", at ");
	put_hex(ip);
	put_text("\n");
	stop(false);
}

/* What CPUID leaves in the array, by register. */
enum { EAX, EBX, ECX, EDX };

static bool bit(uint32_t word, unsigned nr)
{
	return word >> nr & 1;
}

/* The command line: of multiboot's information, in either version, or of PVH's. */
static const char *command_line(void)
{
	const uint32_t *info = (const uint32_t *)(uintptr_t)entry_ebx;

	if (entry_eax == MULTIBOOT_1)
		return info[0] & 4 ? (const char *)(uintptr_t)info[4] : "";
	if (entry_eax != MULTIBOOT_2)
		return info[0] == PVH_MAGIC && info[6] ? (const char *)(uintptr_t)info[6] : "";
	for (const uint32_t *tag = info + 2; tag[0]; tag += (tag[1] + 7) / 8 * 2)
		if (tag[0] == 1)
			return (const char *)(tag + 2);
	return "";
}

/* Copied before memory is put to other uses. */
static char line[256];

static void save_command_line(void)
{
	const char *from = command_line();

	for (unsigned i = 0; i + 1 < sizeof(line) && from[i]; i++)
		line[i] = from[i];
}

unsigned machine_option(const char *name, unsigned absent)
{
	unsigned len = 0;

	while (name[len])
		len++;
	for (const char *at = line; *at; at++) {
		unsigned same = 0;

		while (same < len && at[same] == name[same])
			same++;
		if (same < len || (at > line && at[-1] != ' '))
			continue;
		return (unsigned)parse_number(at + len);
	}
	return absent;
}

static void find_features(void)
{
	uint32_t max[4], max_ext[4], r[4];

	cpuid(0, max);
	cpuid(0x80000000, max_ext);
	cpuid(1, r);
	/* Auth(enticAMD), Hygo(n) */
	features.amd = max[EBX] == 0x68747541 || max[EBX] == 0x6f677948;
	features.pge = bit(r[EDX], 13);
	features.pse36 = bit(r[EDX], 17);
	features.maxphyaddr = 36;
	features.pcid = LONG && bit(r[ECX], 17);
	if (max[EAX] >= 7) {
		cpuid(7, r);
		features.smep = bit(r[EBX], 7);
		features.invpcid = LONG && bit(r[EBX], 10);
		features.smap = bit(r[EBX], 20);
		features.pku = LONG && bit(r[ECX], 3);
		features.la57 = LONG && bit(r[ECX], 16);
	}
	if (max_ext[EAX] >= 0x80000001) {
		cpuid(0x80000001, r);
		features.nx = HAS_NX && bit(r[EDX], 20);
		features.page_1g = bit(r[EDX], 26);
	}
	if (max_ext[EAX] >= 0x80000008) {
		cpuid(0x80000008, r);
		features.maxphyaddr = r[EAX] & 0xff;
	}
}

/* A system descriptor; in 64-bit mode it has a second half. */
static void set_system_descriptor(unsigned selector, unsigned type, const void *at, uint32_t limit)
{
	uint64_t base = (uintptr_t)at, word = limit;

	word |= (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56 | (uint64_t)(0x80 | type) << 40;
	gdt[selector / 8] = word;
	if (LONG)
		gdt[selector / 8 + 1] = base >> 32;
}

static void set_gate(uint32_t *idt, unsigned vector, uintptr_t handler, unsigned dpl)
{
	if (LONG)
		set_gate64(idt + (size_t)vector * 4, CODE, handler, GATE_INTERRUPT | GATE_DPL(dpl));
	else
		set_gate32(idt + (size_t)vector * 2, CODE, handler, GATE_INTERRUPT | GATE_DPL(dpl));
}

void machine_set_ldt(uintptr_t va)
{
	set_system_descriptor(LDT, 2, (void *)va, FRAME - 1);
	__asm__ volatile("lldt %w0" : : "r"(LDT));
}

static void load_descriptors(void)
{
	static uint32_t idt[(DONE + 1) * (LONG ? 4 : 2)] __attribute__((aligned(16)));
	uintptr_t stack = (uintptr_t)(ring0_stack + sizeof(ring0_stack));

	for (unsigned i = 0; i < 32; i++)
		set_gate(idt, i, vectors[i], 0);
	set_gate(idt, DONE, vectors[32], 3);
	load_idt(idt, sizeof(idt));
	tss[1] = (uint32_t)stack; /* RSP0; in 32-bit mode ESP0, and SS0 follows */
	tss[2] = LONG ? 0 : 0x10;
	set_system_descriptor(TSS, 9, tss, sizeof(tss) - 1);
	__asm__ volatile("ltr %w0" : : "r"(TSS));
	machine_set_ldt(TEST_VA);
}

entry_t *machine_new_table(void)
{
	if (nr_tables == NR_TABLES) {
		put_text("WRONG: out of tables\n");
		stop(false);
	}
	return tables[nr_tables++];
}

bool machine_is_table(uint64_t pa)
{
	return pa >= (uintptr_t)tables && pa < (uintptr_t)(tables + nr_tables);
}

entry_t machine_address_bits(unsigned level, bool large)
{
	unsigned low = large ? 12 + INDEX_BITS * (level - 1) : 12;
	unsigned high = HAS_NX ? features.maxphyaddr : 32;
	entry_t mask = (entry_t)(((uint64_t)1 << high) - ((uint64_t)1 << low));

	return PAGING == 33 && large && features.pse36 ? mask | 0x1fe000 : mask;
}

unsigned machine_index(uintptr_t va, unsigned level)
{
	return (unsigned)(va >> (12 + INDEX_BITS * (level - 1))) & ((1u << INDEX_BITS) - 1);
}

entry_t *machine_slot(uintptr_t va, unsigned level)
{
	entry_t *table = (entry_t *)(uintptr_t)cpu.cr3;

	for (unsigned at = TOP; at > level; at--)
		table = (entry_t *)(uintptr_t)(table[machine_index(va, at)] &
					       machine_address_bits(at, false));
	return table + machine_index(va, level);
}

void machine_map(uintptr_t va, uint32_t pa, unsigned flags)
{
	for (unsigned level = TOP; level > 1; level--) {
		entry_t *slot = machine_slot(va, level);

		if (!*slot)
			*slot = (uintptr_t)machine_new_table() |
				(PAGING == 36 && level == 3 ? P : P | W | U | A);
	}
	*machine_slot(va, 1) = pa | flags;
}

/* All memory at its own address for CPL 0, one page of it for CPL 3; the page under test. */
static void make_tables(void)
{
	cpu.cr3 = (uintptr_t)machine_new_table();
	for (uint32_t pa = 0; pa < MEMORY_END; pa += FRAME)
		machine_map(pa, pa, P | W | A | D | (pa == (uintptr_t)user_page ? U : 0));
	for (uint32_t pa = DATA_FRAMES; pa < DATA_END; pa += FRAME) {
		uint8_t *frame = (uint8_t *)(uintptr_t)pa;

		frame[0] = 0xcd; /* INT DONE */
		frame[1] = DONE;
		*(uint32_t *)(frame + READ_AT) = pa / FRAME;
		*(uint64_t *)(frame + LDT_AT) = 0x00cff3000000ffff; /* accessed */
	}
	machine_map(TEST_VA, DATA_FRAMES, P | W | U);
}

static uint64_t read_entry(void *ctx, uint64_t pa, unsigned size)
{
	(void)ctx;
	return size == 8 ? *(volatile uint64_t *)(uintptr_t)pa
			 : *(volatile uint32_t *)(uintptr_t)pa;
}

void machine_load_cr3(void)
{
	if (PAGING == 36)
		for (unsigned i = 0; i < 4; i++)
			cpu.pdpte[i] = ((entry_t *)(uintptr_t)cpu.cr3)[i];
	__asm__ volatile("mov %0, %%cr3" : : "r"((uintptr_t)cpu.cr3) : "memory");
}

uintptr_t machine_cr4(void)
{
	uintptr_t val;

	__asm__ volatile("mov %%cr4, %0" : "=r"(val));
	return val;
}

void machine_write_cr4(uintptr_t val)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(val) : "memory");
}

void machine_toggle_paging(void)
{
	uintptr_t cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 & ~(uintptr_t)CR0_PG) : "memory");
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

void machine_invlpg(uintptr_t va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

void machine_set_pkru(uint32_t pkru)
{
	cpu.pkru = pkru;
	if (cpu.pke)
		__asm__ volatile("wrpkru" : : "a"(pkru), "c"(0), "d"(0));
}

static void set_nxe(bool on)
{
	uint64_t efer;

	if (!features.nx)
		return;
	efer = rdmsr(EFER);
	wrmsr(EFER, on ? efer | EFER_NXE : efer & ~(uint64_t)EFER_NXE);
}

void machine_set_controls(bool load_cr3)
{
	uintptr_t cr0 = CR0_PE | CR0_ET | CR0_PG | (cpu.wp ? CR0_WP : 0);
	uintptr_t cr4 = (PAGING == 33 ? CR4_PSE : 0) | (HAS_NX ? CR4_PAE : 0);

	cr4 |= (features.pge ? CR4_PGE : 0) | (cpu.smep ? CR4_SMEP : 0) | (cpu.smap ? CR4_SMAP : 0);
	cr4 |= (cpu.pke ? CR4_PKE : 0) | (PAGING == 57 ? CR4_LA57 : 0);
	machine_write_cr4(cr4);
	set_nxe(cpu.nxe);
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
	if (load_cr3)
		machine_load_cr3();
}

void machine_init(void)
{
	save_command_line();
	find_features();
	if (PAGING == 57 && !(machine_cr4() & CR4_LA57)) {
		put_text("WRONG: this processor has no five levels\n");
		stop(false);
	}
	cpu.maxphyaddr = features.maxphyaddr;
	cpu.page_1g = features.page_1g;
	cpu.pse36 = features.pse36;
	cpu.amd_bit8 = features.amd;
	cpu.pse = PAGING == 33;
	cpu.pae = HAS_NX;
	cpu.lma = LONG;
	cpu.read = read_entry;
	make_tables();
	machine_load_cr3();
	load_descriptors();
	machine_set_controls(true);
}

void machine_say_entry(void)
{
	put_text("entered by ");
	if (entry_eax == MULTIBOOT_1)
		put_text("multiboot 1\n");
	else if (entry_eax == MULTIBOOT_2)
		put_text("multiboot 2\n");
	else if (*(volatile uint32_t *)(uintptr_t)entry_ebx == PVH_MAGIC)
		put_text("PVH\n");
	else
		put_text("nobody knows whom\n");
}

void machine_access(enum access_kind kind, bool user, bool ac, uintptr_t va)
{
	static void (*const stubs[2][ACCESS_KINDS])(void) = {
		{ kernel_read, kernel_write, kernel_fetch, kernel_implicit, kernel_outs, kernel_ins,
		  kernel_load_cr3, kernel_load_cr4 },
		{ user_read, user_write, user_fetch, user_implicit, user_outs, user_ins,
		  user_load_cr3, user_load_cr4 },
	};

	io.va = va;
	io.stub = (uintptr_t)stubs[user][kind];
	io.user = user;
	io.flags = 2 | (ac ? 1u << 18 : 0) | (kind == OUTS || kind == INS ? IOPL_3 : 0);
	probe();
}
