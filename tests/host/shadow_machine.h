/*
 * A processor that runs a guest on its shadow: it walks the tables at the root that the
 * shadow gave, caches what it found until it is told not to, and takes its page faults
 * to the shadow. Beside it, a model runs the same accesses on its own copy of memory as
 * the oracle says; the two must agree.
 */
#ifndef UMBRA_TESTS_SHADOW_MACHINE_H
#define UMBRA_TESTS_SHADOW_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/guest.h"
#include "paging/shadow.h"
#include "tests/host/oracle.h"

/* One access of an instruction; naturally aligned. */
struct mc_access {
	uint64_t va;
	bool write, fetch, implicit;
	unsigned size;
	uint64_t val; /* to be written; then: what was read */
	uint64_t gpa; /* then: where it went */
};

#define MC_PARTS 3

/* What an instruction came to. */
enum mc_end { MC_DONE, MC_FAULT, MC_DEVICE };
struct mc_result {
	enum mc_end end;
	unsigned part;  /* the access that ended it */
	uint32_t error; /* MC_FAULT */
	uint64_t gpa;   /* MC_DEVICE */
	unsigned retries;
};

/* One entry of a guest table that the model read. */
struct mc_entry {
	uint64_t gpa;
	unsigned size;
};

extern struct mc {
	struct shadow *s;
	uint64_t s_max; /* the bound it was given */
	struct shadow_vcpu sv;
	struct guest_paging gp; /* the guest's registers, as they were loaded */
	unsigned cpl;
	bool ac;
	bool refetch;   /* a TLB entry that denies the access is looked up again before a fault */
	bool forgetful; /* nothing stays cached over a fault */
	unsigned maxphyaddr; /* the processor's own */
	uint64_t rip;
	hpa_t root;
	unsigned faults;                /* taken so far */
	const char *what;               /* the step, for messages */
	void (*on_entry)(uint64_t gpa); /* the model has read an entry there */
	void (*on_flush)(void);         /* all vCPUs are about to lose what they have cached */
	/* Is the frame a table that must not be written to? May be NULL. */
	bool (*is_closed)(struct shadow *s, uint64_t gfn);
	/* The entries of the last model walk, top first, and of all of one instruction. */
	unsigned nr_walk, nr_read;
	struct mc_entry walk[8], read[64];
	bool walk_leaf;            /* the last of walk[] maps a page */
	struct oracle_result last; /* of the model's last walk */
} mc;

/* Are faults given to shadow_fault_shared() first? For the tests that are to come. */
extern bool mc_shares;

/* fail_msg, with the step that it happened in. */
void mc_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A shadow of that size on fresh memory, and a vCPU with paging off. */
void mc_start(const struct pt_caps *caps, uint64_t max_bytes);
/* Destroy it; nothing may be left. */
void mc_stop(void);
/* From now on all is about this vCPU of the VM, with its own registers and caches. The first one is
 * 0; another that comes for the first time has paging off. */
#define MC_VCPUS 3
void mc_switch(unsigned vcpu);
/* What the vCPU has of translations in its TLB. */
unsigned mc_tlb_entries(void);
/* Would a write of another vCPU to va pass without a look at the tables? */
bool mc_other_may_write(unsigned vcpu, uint64_t va);
/* What another vCPU's hardware would find for va in its tables now. */
enum pt_status mc_other_walk(unsigned vcpu, uint64_t va, struct pt_walk *w);

/* The guest has the registers in mc.gp now. */
void mc_load(void);
/* Registers for paging of that kind, under these tables; bits of CR4, EFER besides. */
void mc_registers(enum pt_kind kind, uint64_t cr3, uint64_t cr4, bool nxe);
/* PAE: load the PDPTEs that cr3 points at. False: #GP. */
bool mc_load_pdptes(uint64_t cr3);
/* INVLPG: by itself, or through the shadow when it exits. */
void mc_invlpg(uint64_t va);

/* What the oracle says of one access to the model's memory; nothing is marked. */
void mc_oracle(uint64_t va, bool write, bool fetch, bool user, struct oracle_result *res);

/*
 * Run one instruction of n accesses, the write last, in the processor and in the model, and
 * compare: where it ended and how, what was read, the guest's tables on the way.
 */
void mc_run(struct mc_access *a, unsigned n, struct mc_result *out);

/* No entry of the tree at the root, nor of any other table page, may lead where it must not. */
void mc_check_tables(void);
/* shadow_audit() must be content, memory as the model has it, and no vCPU know how to write to a
 * table in use. */
void mc_audit(void);
/* The entry of the shadow's that maps va, or NULL; *level as the engine counts. */
uint64_t *mc_shadow_entry(uint64_t va, unsigned *level);

#endif
