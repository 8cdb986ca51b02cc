/*
 * Shadow paging: the tables that hardware walks while a guest runs without nested paging,
 * made from the guest's own tables and its memory map. docs/shadow.md tells how.
 *
 * A VM has one struct shadow; each of its vCPUs a struct shadow_vcpu. The shadow's hardware
 * state is always: CR0.PG and WP set, EFER.NXE set, CR4.PAE set, no PCIDs; and CR4.SMEP and
 * SMAP as the guest has them while its paging is on, else clear.
 */
#ifndef UMBRA_PAGING_SHADOW_H
#define UMBRA_PAGING_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/fault.h"
#include "paging/guest.h"

/* Memory around a guest-physical address. */
struct shadow_target {
	uint64_t start, size; /* a guest-physical range of pages, contiguous and alike */
	hpa_t pa;             /* of start */
	bool writable;        /* false: ROM, or writes are hooked */
	bool device;          /* registers that the processor answers for: no code, no tables */
	bool away;            /* resolve() has failed, and would not with touch */
};

struct shadow_vcpu;

/* What the shadow asks of the VM. Every one is mandatory. */
struct shadow_ops {
	/* What lies at gpa; a page that is elsewhere is brought in if touch says so. False: no
	 * memory, or none now (out->away; all else of it means nothing then). Without touch, as the
	 * next one, also by several at a time. */
	bool (*resolve)(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out);
	/* May [pa, pa + size) be entered in this VM's tables? Asked for each entry. */
	bool (*may_map)(void *ctx, hpa_t pa, uint64_t size);
	/* A zeroed page for tables, below 4 GiB when low; HPA(0): none. */
	hpa_t (*page_alloc)(void *ctx, bool low);
	void (*page_free)(void *ctx, hpa_t pa);
	/* Zeroed memory for what no hardware walks; NULL: none. */
	void *(*alloc)(void *ctx, size_t size);
	void (*free)(void *ctx, void *p, size_t size); /* p: also NULL */
	/* Where the hypervisor sees the memory at pa. */
	void *(*ptr)(hpa_t pa);
	/* Drop every translation of the VM's vCPUs: back when none of them runs with what it knew
	 * before. Also by several at a time, as alloc(). */
	void (*flush)(void *ctx);
	/* Of one, which is not in the guest, before it is entered again. */
	void (*flush_vcpu)(struct shadow_vcpu *sv);
	/* Let INVLPG exit: back when no vCPU runs without that. Or run in the guest by itself, for
	 * each vCPU from an entry on. */
	void (*intercept_invlpg)(void *ctx, bool on);
	/* The guest's memory, for walking and marking its tables. */
	const struct pt_mem *guest_mem;
	void *ctx;
};

/* Counters, since the VM started. */
#define SHADOW_COUNTERS(X)                                                                         \
	X(faults, "faults")         /* page faults that came here */                               \
	X(shared, "shared")         /* of these, beside those of other vCPUs */                    \
	X(reflected, "reflected")   /* of these, the guest's own */                                \
	X(fills, "fills")           /* misses: an entry was made from the guest's */               \
	X(prefetched, "prefetched") /* entries made along with one that was missed */              \
	X(devices, "devices")       /* accesses to no memory */                                    \
	X(roots, "roots")           /* loads of a root */                                          \
	X(hits, "hits")             /* a shadow page wanted was there */                           \
	X(misses, "misses")         /* it had to be made */                                        \
	X(opened, "opened")         /* tables let go because the guest wrote, or will */           \
	X(unsynced, "unsynced")     /* tables written to while they stay in use */                 \
	X(resynced, "resynced")     /* tables compared with the guest's and protected again */     \
	X(zapped, "zapped")         /* entries taken out */                                        \
	X(splintered, "splintered") /* large guest pages made of small ones */                     \
	X(reclaimed, "reclaimed")   /* shadow pages given up for their memory */                   \
	X(emulated, "emulated")     /* writes that no entry could let through */                   \
	X(flushes, "flushes")

struct shadow_stats {
#define X(field, name) uint64_t field;
	SHADOW_COUNTERS(X)
#undef X
};

struct shadow;

/* A vCPU's side of it; shadow*.c alone touches what is inside. */
struct shadow_vcpu {
	struct shadow *s;
	struct guest_paging gp; /* what the root was made for */
	struct pt_policy policy;
	uint32_t role;                     /* what that makes of its shadow pages */
	uint32_t root, low_root;           /* shadow pages' numbers */
	uint32_t opened_for;               /* the table that a write opened last */
	uint64_t opened_gva, opened_rip;   /* and by which instruction */
	bool reused;                       /* it was taken into use again before that got on */
	unsigned refused;                  /* hardware did not let through what the entry did, */
	uint64_t refused_gva, refused_rip; /* so often when it faulted last, here; */
	uint64_t refused_grants;           /* and no entry had come to let more through */
};

/*
 * All functions but the looking ones at the end and shadow_fault_shared() want to be called by one
 * CPU at a time, whichever it is; the VM's other vCPUs may run meanwhile. What a function is given
 * of a vCPU is of one that is not in the guest.
 */

/* A shadow with room for max_bytes of shadow pages (at least SHADOW_MIN), for a guest whose
 * processor has these capabilities. caps->maxphyaddr is the machine's too: the bits above it are
 * reserved in the guest's tables as in hardware's. 0, -EINVAL, -ENOMEM. */
#define SHADOW_MIN (UINT64_C(1) << 20)
int shadow_create(struct shadow **out, const struct shadow_ops *ops, const struct pt_caps *caps,
		  uint64_t max_bytes);
/* Give back all its memory; its vCPUs are gone. NULL: nothing. */
void shadow_destroy(struct shadow *s);
/* 0 or -ENOMEM; of SHADOW_VCPUS at most. */
#define SHADOW_VCPUS 64
int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow *s);

/*
 * The vCPU has these registers now (after MOV to CR0, CR3, CR4, WRMSR EFER, INVPCID, a task
 * switch): everything that hardware would drop is dropped, of this vCPU's translations, and what
 * comes back is the root for hardware's CR3. PAE: gp->pdpte are the PDPTEs that the processor
 * holds.
 */
hpa_t shadow_load(struct shadow_vcpu *sv, const struct guest_paging *gp);

/*
 * The vCPU runs without the shadow until its next shadow_load(), and writes to the guest's memory
 * unseen: everything that was made from its tables is forgotten. Cheap when that is nothing; else
 * it takes about as long as giving back the memory. Do other vCPUs have roots, what was made stays,
 * to be compared with the guest's tables before it is used again: none of them may run meanwhile,
 * nor before it has been given its root anew by shadow_load(). To be called again each time that
 * they have run.
 */
void shadow_leave(struct shadow_vcpu *sv);

enum shadow_result {
	SHADOW_RESUME,    /* the shadow lets the access through now */
	SHADOW_REFLECT,   /* the guest's own fault: out->fault */
	SHADOW_DEVICE,    /* no memory, or not to be written: out->gpa, emulate the access */
	SHADOW_NO_MEMORY, /* none for shadow pages: the VM can't go on */
	SHADOW_ALONE,     /* shadow_fault_shared(): that is shadow_fault()'s */
};

struct shadow_outcome {
	struct guest_fault fault;
	gpa_t gpa;
};

/*
 * A page fault that hardware took with this error code at gva, while the instruction at rip ran.
 * rflags and cpl are the guest's. gp: registers as shadow_load() was given them, but for pkru.
 */
enum shadow_result shadow_fault(struct shadow_vcpu *sv, gva_t gva, uint32_t error, uint64_t rip,
				uint64_t rflags, unsigned cpl, uint32_t pkru,
				struct shadow_outcome *out);

/*
 * The same for several vCPUs at a time: each on a CPU of its own, none while a CPU is in one of the
 * other functions. It does what needs only tables of level 0, which most faults are about: of the
 * guest's own, tables that are opened and closed again, entries of these; and data that no entry
 * may lead to (SHADOW_DEVICE). Else it is SHADOW_ALONE, and shadow_fault() is to be called for the
 * same fault.
 */
enum shadow_result shadow_fault_shared(struct shadow_vcpu *sv, gva_t gva, uint32_t error,
				       uint64_t rip, uint64_t rflags, unsigned cpl, uint32_t pkru,
				       struct shadow_outcome *out);

/* The vCPU's INVLPG of gva, when it exits. What other vCPUs have of gva is theirs to drop. */
void shadow_invlpg(struct shadow_vcpu *sv, gva_t gva);

/*
 * The hypervisor is about to write to [gpa, gpa + size) in the guest's place. To be called before
 * it does: vCPUs that run see the write, and expect their INVLPG to do, at once. What the guest
 * can't write to (resolve() says so) does not change by such a write; shadow_written() is for that.
 */
void shadow_write_begins(struct shadow *s, gpa_t gpa, uint64_t size);

/*
 * It has set accessed and dirty bits there, or has written anything while no vCPU ran: tables that
 * lie there have changed.
 */
void shadow_written(struct shadow *s, gpa_t gpa, uint64_t size);

/* The memory map of [gpa, gpa + size) has changed: no entry leads there now, and no vCPU knows of
 * one. All are to be given their roots anew by shadow_load() before they are entered again; a
 * fault that one has had before is SHADOW_RESUME. */
void shadow_forget(struct shadow *s, gpa_t gpa, uint64_t size);

/*
 * Derive every entry again from the guest's tables and the memory map. False: *why says what
 * the first one that differs is, and how.
 */
bool shadow_audit(struct shadow *s, char *why, size_t size);

/* The same with every entry that differs, by line(); how many there were. */
unsigned shadow_audit_all(struct shadow *s, void (*line)(void *ctx, const char *why), void *ctx);

/*
 * What hardware walks for this vCPU as a tree, for looking at it only; mem: the machine's memory.
 * False: no root has been loaded.
 */
bool shadow_tree(const struct shadow_vcpu *sv, const struct pt_mem *mem, struct pt_tree *out);

const struct shadow_stats *shadow_stats(const struct shadow *s);
/* Bytes of shadow pages in use now, and at most. */
uint64_t shadow_bytes(const struct shadow *s);

#endif
