/*
 * Reference walkers, one plain function per paging mode, written from the manuals and
 * sharing nothing with paging/: what hardware does with one access.
 */
#ifndef UMBRA_TESTS_ORACLE_H
#define UMBRA_TESTS_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

struct oracle_cpu {
	unsigned maxphyaddr;
	bool page_1g, pse36, amd_bit8, strict_pdpte; /* AMD reserves bit 8 in PML4E and PDPE */
	bool ept_exec_only, ept_ad;
	bool wp, pse, nxe, smep, smap, ac, pke;
	bool pae, lma;
	uint32_t pkru;
	uint64_t cr3;      /* or nCR3, or the address in EPTP */
	uint64_t pdpte[4]; /* PAE */
	/* size: 4 or 8 */
	uint64_t (*read)(void *ctx, uint64_t pa, unsigned size);
	void *ctx;
};

struct oracle_access {
	bool write, fetch, user, implicit;
};

/* An entry that hardware writes back. */
struct oracle_write {
	uint64_t pa, val;
};

struct oracle_result {
	bool ok;
	bool misconfig;  /* EPT only */
	uint32_t error;  /* !ok: the error code (EPT: none) */
	uint64_t pa;     /* ok: where the access goes */
	uint64_t size;   /* ok: of the page */
	bool r, w, x, u; /* a page was reached: what all its entries together allow */
	bool may_write;  /* ok: a write of the same privilege would pass too */
	bool dirty;      /* ok: the page's entry is dirty now */
	unsigned nr_writes;
	struct oracle_write write[5];
};

void oracle_32(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
	       struct oracle_result *res);
void oracle_pae(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		struct oracle_result *res);
void oracle_4level(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		   struct oracle_result *res);
void oracle_5level(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		   struct oracle_result *res);
/* The nested walk of SVM, for a guest access to guest-physical gpa. */
void oracle_npt(const struct oracle_cpu *cpu, uint64_t gpa, struct oracle_access a,
		struct oracle_result *res);
void oracle_ept(const struct oracle_cpu *cpu, uint64_t gpa, struct oracle_access a,
		struct oracle_result *res);

/* Would MOV to CR3 (or CR0, CR4) take this PDPTE, or raise #GP? */
bool oracle_pdpte_ok(const struct oracle_cpu *cpu, uint64_t pdpte);

#endif
