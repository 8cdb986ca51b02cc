/*
 * Looking at the guest's code: the bytes at RIP, for exits whose hardware does not tell the
 * operands, and for what stands right behind the exiting instruction and would exit as well.
 */
#ifndef UMBRA_VMM_LOOKAHEAD_H
#define UMBRA_VMM_LOOKAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "paging/guest.h"

struct vcpu;

/* An entry of the guest's tables, and what it was when it was followed. */
struct lookahead_entry {
	const void *at;
	uint64_t val;
};

/*
 * Code pages that a vCPU remembers, each with the walk that found it. A page is taken from here
 * when the memory map is the same and all the entries read the same again: a walk would read
 * nothing else. The top one is read where CR3 points now. All zero: none.
 */
#define LOOKAHEAD_PAGES 4
struct lookahead {
	struct lookahead_page {
		uint64_t page; /* its linear address */
		const uint8_t *code;
		uint64_t cr3;       /* that entry[0].at was found under */
		uint64_t root_mask; /* CR3's bits that lead to entry[0]; 0: none do */
		uint16_t root_offset;
		uint8_t n;        /* entries */
		bool wide;        /* of 8 bytes */
		bool loaded;      /* entry[0] is a PDPTE that the processor has loaded */
		uint64_t changes; /* of the memory map, when this was found */
		struct lookahead_entry entry[PT_MAX_LEVELS];
	} page[LOOKAHEAD_PAGES];
};

/* Nothing that is remembered counts: CR0, CR4 or EFER make walks go another way now. */
void lookahead_forget(struct vcpu *vcpu);
/*
 * The code at RIP to the end of its page, and of its segment, through the guest's tables as
 * they are now; *avail: how many bytes. NULL: none that can be read.
 */
const uint8_t *lookahead_code(struct vcpu *vcpu, uint64_t *avail);
/* Is it 32- or 64-bit code at the kernel's privilege that nobody debugs? What comes after an
 * instruction may then be done for it in the same exit. */
bool lookahead_allowed(const struct vcpu *vcpu);
/* Would the processor go on with just the next instruction? Nothing waits to be delivered. */
bool lookahead_may_go_on(struct vcpu *vcpu);

#endif
