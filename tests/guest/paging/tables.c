/* Tables in uncommon uses: large pages made of parts, shared, data too, of two levels at once. */
#include "tests/guest/paging/paging.h"

#define NR_PARTS 9
#define DATA_NUMBER (DATA_FRAMES / FRAME)
#define ALL (P | W | U | A | D)

/* Pages in the first 2 MiB: memory, device registers (0xa0 on), ROM (0xf0 on), memory. */
static const unsigned parts[NR_PARTS] = { 1, 0x20, 0x9f, 0xa0, 0xb8, 0xf0, 0xff, 0x100, 0x1ff };

static bool part_is_memory(unsigned i)
{
	return parts[i] < 0xa0 || parts[i] >= 0x100;
}

/* An entry that maps the data frame of this number. */
static entry_t pointer_to(unsigned nr)
{
	return (DATA_FRAMES + nr * FRAME) | P | W | U;
}

static uint32_t word_at(uint64_t pa)
{
	return *(volatile uint32_t *)(uintptr_t)(pa + READ_AT);
}

/*
 * Splintered large pages. A page over devices and ROM can't be entered whole by a hypervisor;
 * INVLPG of any address in it drops all of its parts. slot: the page's entry; over: what makes it
 * map memory from 0 at va; data: the data frames.
 */
static void try_splintered(uintptr_t va, entry_t *slot, entry_t over, entry_t data)
{
	for (unsigned at = 0; at < NR_PARTS; at++) {
		*slot = over;
		machine_invlpg(va);
		for (unsigned i = 0; i < NR_PARTS; i++)
			expect("a part of a page over devices", READ, va + parts[i] * FRAME, DONE,
			       0);
		*slot = data;
		machine_invlpg(va + parts[at] * FRAME);
		for (unsigned i = 0; i < NR_PARTS; i++)
			expect_word("a splintered page has moved", va + parts[i] * FRAME,
				    DATA_NUMBER + parts[i]);
		*slot = over;
		machine_invlpg(va + parts[at] * FRAME);
		for (unsigned i = 0; i < NR_PARTS; i++)
			if (part_is_memory(i))
				expect_word("a splintered page is back", va + parts[i] * FRAME,
					    word_at(parts[i] * FRAME));
	}
}

static void try_all_splintered(void)
{
	struct tree t = open_tree(1);

	place(&t);
	if (leaf_possible(2)) {
		entry_t old = *slots[2];

		try_splintered(TEST_VA, slots[2], ALL | PS, ALL | PS | DATA_FRAMES);
		*slots[2] = old;
		machine_invlpg(TEST_VA);
	}
#if LONG
	if (leaf_possible(3)) { /* the page becomes a table, with a page of 2 MiB */
		uintptr_t va = TEST_VA - DATA_FRAMES;
		entry_t *large = machine_slot(va, 2), old = *slots[3];

		*large = ALL | PS | DATA_FRAMES;
		try_splintered(va, slots[3], ALL | PS, old);
		*slots[3] = old;
		*large = 0;
		machine_invlpg(va);
	}
#endif
}

static void load_root(const entry_t *root)
{
	cpu.cr3 = (uintptr_t)root;
	machine_load_cr3();
}

/*
 * Tables shared between processes: two roots with one table below; what one of them changes the
 * other sees, and each keeps what is its own.
 */
static void try_shared(void)
{
	const uintptr_t own = TEST_VA + ((uintptr_t)1 << (12 + INDEX_BITS * (TOP - 1)));
	entry_t *root[2] = { (entry_t *)(uintptr_t)cpu.cr3, machine_new_table() };
	struct tree t = open_tree(1);

	place(&t);
	for (unsigned i = 0; i < FRAME / sizeof(entry_t); i++)
		root[1][i] = root[0][i];
	for (unsigned i = 0; i < 2; i++) {
		load_root(root[i]);
		machine_map(own, DATA_FRAMES + (100 + i) * FRAME, P | W | U);
		load_root(root[i]);
	}
	for (unsigned n = 0; n < 16; n++) {
		load_root(root[n & 1]);
		expect_word("a process' own page", own, DATA_NUMBER + 100 + (n & 1));
		expect_word("a page by a table shared", TEST_VA, DATA_NUMBER + n);
		*slots[1] = pointer_to(n + 1);
		machine_invlpg(TEST_VA);
		expect_word("a page by a table shared, changed", TEST_VA, DATA_NUMBER + n + 1);
	}
	load_root(root[0]);
	root[0][machine_index(own, TOP)] = 0;
	machine_load_cr3();
}

/*
 * A table that is also data: mapped for CPL 3 and read-only for CPL 0 elsewhere. What is written
 * there maps what it says, from the next INVLPG on if it was present.
 */
static void try_table_as_data(void)
{
	const uintptr_t nr = WRITE_AT / sizeof(entry_t);
	const uintptr_t written = TEST_VA + nr * FRAME, alias = TEST_VA + 3 * FRAME;
	const uintptr_t ro = TEST_VA + 5 * FRAME;
	uintptr_t table = (uintptr_t)slots[1] & -(uintptr_t)FRAME;
	entry_t *entry = (entry_t *)table + nr, *through = (entry_t *)alias + nr;
	struct tree t = open_tree(1);

	place(&t);
	machine_map(alias, (uint32_t)table, P | W | U);
	machine_map(ro, (uint32_t)table, P);
	for (unsigned n = 0; n < 8; n++) {
		*(volatile entry_t *)through = pointer_to(n);
		expect_word("an entry written as data", written, DATA_NUMBER + n);
		if (n & 1)
			machine_access(WRITE, true, false, alias);
		else
			*(volatile uint32_t *)through = 0x5a5a5a5a;
		if (n & 2)
			machine_load_cr3();
		else
			machine_invlpg(written);
		expect("an entry overwritten as data", READ, written, PF, 0);
		if ((uint32_t)*entry != 0x5a5a5a5a)
			count_case("a table that was written as data\n");
		*entry = pointer_to(n);
		expect("a table that is read-only data", WRITE, ro, PF, 3);
		expect_word("the page that it maps", written, DATA_NUMBER + n);
		cpu.wp = false;
		machine_set_controls(false);
		expect("the same with WP off", WRITE, ro, DONE, 0);
		machine_invlpg(written);
		expect("an entry overwritten with WP off", READ, written, PF, 0);
		cpu.wp = true;
		machine_set_controls(false);
	}
	*machine_slot(alias, 1) = *machine_slot(ro, 1) = *entry = 0;
	machine_load_cr3();
}

#if TOP > 2
/*
 * A page that is a table of level 1 and of level 2: each of its entries maps a data frame, and
 * leads to the same frame as a table. A change of one is a change of both.
 */
static void try_two_levels(void)
{
	const uintptr_t gib = (uintptr_t)1 << 30, low = (TEST_VA & -gib) - gib,
			high = low + 2 * gib;
	const unsigned nr = 7, in_frame = 9;
	uintptr_t page = low + nr * FRAME;
	uintptr_t below = high + nr * ((uintptr_t)1 << (12 + INDEX_BITS)) + in_frame * FRAME;
	entry_t *table, *top;

	machine_map(page, DATA_FRAMES, P | W | U);
	machine_load_cr3();
	table = machine_slot(low, 1);
	top = machine_slot(high, 3);
	*top = (uintptr_t)table | (PAGING == 36 ? P : P | W | U);
	machine_load_cr3();
	for (unsigned n = 0; n < 8; n++) {
		uint32_t frame = DATA_FRAMES + (20 + n) * FRAME;
		entry_t *entry = (entry_t *)(uintptr_t)frame + in_frame;

		*entry = pointer_to(40 + n);
		table[nr] = frame | P | W | U;
		machine_invlpg(page);
		machine_invlpg(below);
		expect_word("a table as one of level 1", page, DATA_NUMBER + 20 + n);
		expect_word("a table as one of level 2", below, DATA_NUMBER + 40 + n);
		*(volatile entry_t *)(page + in_frame * sizeof(entry_t)) = pointer_to(60 + n);
		machine_invlpg(below);
		expect_word("a table of both levels", below, DATA_NUMBER + 60 + n);
		*entry = 0;
		machine_invlpg(below);
		expect("a table of both levels, emptied", WRITE, below, PF, 2);
		expect_word("what it maps as one of level 1", page, DATA_NUMBER + 20 + n);
	}
	*machine_slot(low, 3) = *top = 0;
	machine_load_cr3();
}
#endif

#if LONG
static void invpcid(unsigned long type, unsigned long pcid, uintptr_t va)
{
	const uint64_t descriptor[2] = { pcid, va };

	__asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

/*
 * PCID: loads of CR3 that flush nothing, INVPCID of each type for an address space that is not the
 * present one, and CR4.PCIDE, which needs PCID 0 in CR3.
 */
static void try_pcid(void)
{
	const uintptr_t cr3 = cpu.cr3, cr4 = machine_cr4(), keep = (uintptr_t)1 << 63;
	struct tree t = open_tree(1);

	put_text(features.pcid ? "PCID\n" : "PCID: this processor has none\n");
	if (!features.pcid)
		return;
	place(&t);
	expect("MOV CR3 with bits that are no PCID yet", LOAD_CR3, cr3 | 1, DONE, 0);
	expect("CR4.PCIDE set with them there", LOAD_CR4, cr4 | CR4_PCIDE, GP, 0);
	machine_load_cr3();
	machine_write_cr4(cr4 | CR4_PCIDE);
	for (unsigned n = 0; n < (features.invpcid ? 16 : 0); n++) {
		expect("MOV CR3 to PCID 1", LOAD_CR3, cr3 | 1, DONE, 0);
		*slots[1] = pointer_to(n) | (n % 4 == 2 ? G : 0);
		machine_invlpg(TEST_VA);
		expect_word("a page by PCID 1", TEST_VA, DATA_NUMBER + n);
		expect("MOV CR3 that flushes nothing", LOAD_CR3, keep | cr3 | 2, DONE, 0);
		*slots[1] = pointer_to(n + 1);
		invpcid(n % 4, n % 4 < 2 ? 1 : 0, TEST_VA);
		expect("MOV CR3 back, flushing nothing", LOAD_CR3, keep | cr3 | 1, DONE, 0);
		expect_word("a page that INVPCID dropped", TEST_VA, DATA_NUMBER + n + 1);
		*slots[1] = 0;
		expect("MOV CR3 that flushes", LOAD_CR3, cr3 | 1, DONE, 0);
		expect("a page that MOV CR3 dropped", WRITE, TEST_VA, PF, 2);
	}
	machine_load_cr3();
	machine_write_cr4(cr4);
}
#endif

void try_tables(void)
{
	try_all_splintered();
	try_shared();
	try_table_as_data();
#if TOP > 2
	try_two_levels();
#endif
#if LONG
	try_pcid();
#endif
}
