/* Guest-visible paging: the tables a guest made, walked and judged as hardware would. */
#ifndef UMBRA_PAGING_GUEST_H
#define UMBRA_PAGING_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/fault.h"
#include "paging/pt.h"

/*
 * The paging state the guest thinks it has. Never written to hardware by the engine.
 * Filled in by vmm/ from the vCPU's registers.
 */
struct guest_paging {
	uint64_t cr0, cr3, cr4, efer;
	uint64_t rflags;   /* for EFLAGS.AC under SMAP */
	uint64_t pdpte[4]; /* PAE only: the cached PDPTEs */
	uint32_t pkru;
	struct pt_caps caps; /* of the virtual CPU: MAXPHYADDR, 1 GiB pages... */
};

/* What the access is. A read when neither write nor fetch is set. */
struct guest_access {
	bool write;
	bool fetch;
	bool user;     /* CPL == 3 */
	bool implicit; /* supervisor access made by the CPU itself (descriptor tables) */
};

struct guest_xlat {
	gpa_t gpa;
	uint64_t page_size; /* of the page that holds it; 4 KiB when paging is off */
	bool writable;      /* this mode may also write there, dirty already set */
};

/*
 * Translate gva for one access, with every check hardware makes (APM vol. 2, ch. 5;
 * SDM vol. 3, 4.6), and set accessed and dirty in the guest's tables as hardware would.
 * gva is already canonical (a non-canonical address is #GP or #SS: the caller's check).
 * The access must not cross a 4 KiB boundary. False: *fault says what to inject.
 */
bool guest_translate(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		     struct guest_access access, struct guest_xlat *out, struct guest_fault *fault);

/*
 * Translate without judging rights and without touching A/D: for debuggers and for
 * instruction fetch by the hypervisor on the guest's behalf. False: not mapped.
 */
bool guest_peek(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		struct guest_xlat *out);

/*
 * Memory that reads as all ones and forgets what is written where mem has nothing: a bus that
 * nobody answers on, which is where hardware finds tables that lie outside memory.
 */
void guest_open_bus(struct pt_mem *bus, const struct pt_mem *mem);

/*
 * The guest's tables as a tree for pt_walk, pt_find, pt_drill, pt_visit and the printers; it
 * can't be marked or changed. PAE's cached PDPTEs are its top table, at GUEST_PDPTES, where no
 * memory is. Points into itself: not to be copied.
 */
#define GUEST_PDPTES BIT(62)
struct guest_view {
	struct pt_tree tree;
	struct pt_format fmt;
	struct pt_mem mem;
	const struct pt_mem *under; /* the guest's memory */
	uint64_t pdpte[4];
};
/* False: paging is off, there is no tree. */
bool guest_view_init(struct guest_view *v, const struct guest_paging *gp, const struct pt_mem *mem);

/*
 * A translation together with the table entries that it was read from, from the top: in the same
 * mode it holds for as long as they read the same, but for accessed and dirty bits.
 */
struct guest_memo {
	gpa_t gpa;          /* of the 4 KiB page */
	uint64_t root_mask; /* entry[0] lies where CR3, under this mask, points; 0: n is 0 */
	uint8_t entry_size;
	uint8_t n; /* 0: paging is off */
	uint64_t entry[PT_MAX_LEVELS], entry_pa[PT_MAX_LEVELS];
};
/* As guest_peek, for the page that holds gva. PAE: entry[0] is the cached PDPTE, entry_pa[0]
 * where it was loaded from. False: not mapped. */
bool guest_remember(const struct guest_paging *gp, const struct pt_mem *mem, gva_t gva,
		    struct guest_memo *memo);

/* Which kind of tables these registers make hardware walk; paging is on. */
enum pt_kind guest_paging_kind(const struct guest_paging *gp);

#define PDPTE_P BIT(0)
/*
 * PAE paging: read the four PDPTEs that cr3 points at into pdpte[], as MOV to CR3 does; where no
 * memory is they are all ones. False: a present one has a reserved bit set (#GP; pdpte[] is not
 * changed).
 */
bool guest_load_pdptes(const struct pt_caps *caps, const struct pt_mem *mem, uint64_t cr3,
		       uint64_t pdpte[4]);

#endif
