/*
 * A guest that tries what its processor's paging does: each combination of flags in its
 * tables against each access, judged by the oracle (tests/host/oracle.h). Built once per
 * mode: PAGING is 32, 33 (32-bit with PSE), 36 (PAE), 64 or 57 (64-bit with five levels).
 */
#ifndef UMBRA_TESTS_GUEST_PAGING_H
#define UMBRA_TESTS_GUEST_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/guest/lib/guest.h"
#include "tests/host/oracle.h"

#define LONG (PAGING == 64 || PAGING == 57)

#if LONG
#define MODE (PAGING == 57 ? "LA57" : "64-bit")
#define TOP (PAGING == 57 ? 5 : 4) /* the root's level */
#define TESTED_TOP TOP             /* the highest level whose entries take flags */
#define INDEX_BITS 9
typedef uint64_t entry_t;
#elif PAGING == 36
#define MODE "PAE"
#define TOP 3
#define TESTED_TOP 2
#define INDEX_BITS 9
typedef uint64_t entry_t;
#else
#define MODE (PAGING == 33 ? "32-bit PSE" : "32-bit")
#define TOP 2
#define TESTED_TOP 2
#define INDEX_BITS 10
typedef uint32_t entry_t;
#endif
#define HAS_NX (sizeof(entry_t) == 8)

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define PS 0x80u
#define G 0x100u
#define NX ((entry_t)1 << (sizeof(entry_t) * 8 - 1)) /* HAS_NX only */
#define FRAME 0x1000u

#define PF 14u
#define GP 13u
#define DONE 0x80u /* no exception: the access passed */

#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_PGE 0x80u
#define CR4_LA57 0x1000u
#define CR4_PCIDE 0x20000u
#define CR4_SMEP 0x100000u
#define CR4_SMAP 0x200000u
#define CR4_PKE 0x400000u

#define MEMORY_END 0x1000000u /* of the guest */

/* What the test's page maps: frames from here, with their number at READ_AT. */
#define DATA_FRAMES 0x800000u
#define DATA_END MEMORY_END
#define READ_AT 0x808u
#define WRITE_AT 0x810u
#define LDT_AT 0x900u

/* The page under test: its offset in 1 GiB is the data frames' address, so that a page of
 * any size can map them there. */
#if PAGING == 57
#define TEST_VA 0xff34965540800000u
#elif PAGING == 64
#define TEST_VA 0xffff965540800000u
#elif PAGING == 36
#define TEST_VA 0x80800000u
#else
#define TEST_VA 0x40800000u
#endif

/*
 * IMPLICIT: a descriptor at LDT_AT is read. OUTS, INS: a byte at READ_AT, at WRITE_AT.
 * LOAD_CR3, LOAD_CR4: MOV with the address.
 */
enum access_kind { READ, WRITE, FETCH, IMPLICIT, OUTS, INS, LOAD_CR3, LOAD_CR4, ACCESS_KINDS };

/* The processor as CPUID describes it, and its control registers now. */
struct features {
	bool amd, nx, smep, smap, pku, page_1g, pse36, pge, la57, pcid, invpcid;
	unsigned maxphyaddr;
};
extern struct features features;
extern struct oracle_cpu cpu;

/* One access, done by probe(); entry.asm knows the layout. */
struct probe_io {
	uintptr_t va;   /* of the page */
	uintptr_t stub; /* the access, in entry.asm */
	uintptr_t user; /* at CPL 3 */
	uintptr_t flags;
	uintptr_t vector, error, cr2; /* what came of it */
	uintptr_t value;              /* READ: what was read */
};
extern struct probe_io io;

void guest_main(void) __attribute__((noreturn));

/* machine.c */
void machine_init(void);
/* The number behind name, which ends with =, on the command line; absent: it is not there. */
unsigned machine_option(const char *name, unsigned absent);
/* Says who has started this kernel. */
void machine_say_entry(void);
/* Set the control registers to what cpu says; load_cr3: flush too. */
void machine_set_controls(bool load_cr3);
void machine_set_pkru(uint32_t pkru);
/* MOV CR3 with the present root. */
void machine_load_cr3(void);
uintptr_t machine_cr4(void);
void machine_write_cr4(uintptr_t val);
/* CR0.PG off and on again; not if LONG. */
void machine_toggle_paging(void);
void machine_invlpg(uintptr_t va);
/* Where IMPLICIT reads its descriptor: in the page at va. */
void machine_set_ldt(uintptr_t va);
/* A new table, empty. */
entry_t *machine_new_table(void);
/* Is this frame a table of machine_new_table()'s? */
bool machine_is_table(uint64_t pa);
/* Map one frame, making tables on the way. */
void machine_map(uintptr_t va, uint32_t pa, unsigned flags);
/* Where va is in a table of that level. */
unsigned machine_index(uintptr_t va, unsigned level);
/* Do the access to the page at va; the outcome is in io. */
void machine_access(enum access_kind kind, bool user, bool ac, uintptr_t va);
/* The entry of this level on va's path in the tables as they are. */
entry_t *machine_slot(uintptr_t va, unsigned level);
/* Bits that are an address in an entry of this level (large: that maps a page). */
entry_t machine_address_bits(unsigned level, bool large);

/* A text and a hexadecimal number. */
void put_field(const char *name, uint64_t val);
void stray(uintptr_t ip) __attribute__((noreturn));

/* entry.asm */
void probe(void);
extern const uintptr_t vectors[33]; /* 0 to 31, DONE */
extern uint64_t gdt[9];
extern uint8_t user_page[];
extern uint32_t entry_eax, entry_ebx; /* as the first instruction found them */
void kernel_read(void), kernel_write(void), kernel_fetch(void), kernel_implicit(void);
void kernel_outs(void), kernel_ins(void), kernel_load_cr3(void), kernel_load_cr4(void);
void user_read(void), user_write(void), user_fetch(void), user_implicit(void);
void user_outs(void), user_ins(void), user_load_cr3(void), user_load_cr4(void);

/*
 * judge.c. Where this processor departs from the manuals, or does what they leave open:
 * each is looked for at the start and said, and all else is expected of it.
 */
struct deviations {
	/* Open: a walk that faults sets A above the fault. QEMU: it does. */
	bool walk_sets_a;
	/* QEMU: the error code of a reserved bit has P clear. */
	bool rsvd_without_p;
	/* QEMU, Bochs: bit 8 of PML4E and PDPE is not reserved on an AMD processor. */
	bool bit8_ignored;
	/* QEMU: A is set in a 1 GiB page's entry before it is looked at whole. */
	bool eager_a_1g;
	/* Bochs: under SMAP, AC allows an implicit access of CPL 3; */
	bool implicit_honours_ac;
	bool cached_honours_ac; /* or only where the TLB has the page */
	/* Open with nested paging: each PAE walk reads the PDPTE. QEMU, Bochs: under SVM it
	 * does; */
	bool late_pdptes;
	bool unchecked_pdptes; /* and MOV CR3 takes any */
};
extern struct deviations deviation;
extern unsigned nr_cases, nr_wrong; /* tried; of these, with another outcome */

/* The entries of TEST_VA's path by their level, as they are to be. */
struct tree {
	entry_t entry[TESTED_TOP + 1];
	unsigned leaf;   /* the level that maps the page */
	unsigned defect; /* a level whose entry may have reserved bits; 0: none, but for NX */
	unsigned offset; /* of the access' frame in a large page */
};
extern entry_t *slots[TESTED_TOP + 1]; /* where they are */

/* What the oracle says of an access to va, by the tables as they are. */
void ask_oracle(uintptr_t va, struct oracle_access a, struct oracle_result *res);
/* Is this one of the trees that every= on the command line leaves out? Asked once for each. */
bool left_out(void);
/* All rights everywhere; the page is mapped by this level. */
struct tree open_tree(unsigned leaf);
bool leaf_possible(unsigned level);
/* Count a case; if it went wrong say so and true: the caller may describe it. */
bool count_case(const char *wrong);
/* Put the tree's entries into the tables. */
void place(const struct tree *t);
/* Place the tree, do the access to TEST_VA's page, judge it by the oracle and count it. */
void try_access(const struct tree *t, enum access_kind kind, bool user, bool ac);
/* The same on what an access before left in the tables and in the TLB. */
void try_next(struct tree *t, enum access_kind kind, bool user, bool ac);
/* A supervisor's access to the page at va: this must come of it; of a page fault, cr2 too. */
void expect_at(const char *what, enum access_kind kind, uintptr_t va, unsigned vector,
	       unsigned error, uintptr_t cr2);
/* The same with the address of the access itself in CR2. */
void expect(const char *what, enum access_kind kind, uintptr_t va, unsigned vector, unsigned error);
/* A supervisor's read of the page at va must find this word at READ_AT. */
void expect_word(const char *what, uintptr_t va, uint32_t word);

/* tables.c: tables in uncommon uses. */
void try_tables(void);
/* random.c: at random, in tables that the kernel itself stands on. */
void try_random(void);

#endif
