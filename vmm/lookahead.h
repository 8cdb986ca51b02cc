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

/* Code pages that a vCPU remembers, each with the walk that found it. All zero: none. */
#define LOOKAHEAD_PAGES 4
struct lookahead {
	struct lookahead_page {
		struct guest_memo memo;
		uint64_t changes;                     /* of the memory map, when this was found: */
		const uint64_t *entry[PT_MAX_LEVELS]; /* where memo.entry[] are */
		const uint8_t *code;
	} page[LOOKAHEAD_PAGES];
};

/*
 * The code at RIP to the end of its page, and of its segment, through the guest's tables as
 * they are now; *avail: how many bytes. NULL: none that can be read.
 */
const uint8_t *lookahead_code(struct vcpu *vcpu, uint64_t *avail);
/* Is it 32- or 64-bit code at the kernel's privilege that nobody debugs? What comes after an
 * instruction may then be done for it in the same exit. */
bool lookahead_allowed(const struct vcpu *vcpu);
/* Would the processor go on with just the next instruction? Nothing waits to be delivered. */
bool lookahead_may_go_on(const struct vcpu *vcpu);

#endif
