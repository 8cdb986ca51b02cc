/* Segment and system descriptors, neutral form. APM vol. 2, 4.7; SDM vol. 3, 3.4.5. */
#ifndef UMBRA_DESC_H
#define UMBRA_DESC_H

#include <stdbool.h>
#include <stdint.h>

/* Segment registers in ModRM order, then the system ones. */
enum seg_reg {
	SEG_ES,
	SEG_CS,
	SEG_SS,
	SEG_DS,
	SEG_FS,
	SEG_GS,
	SEG_LDTR,
	SEG_TR,
	SEG_GDTR, /* base and limit only */
	SEG_IDTR, /* base and limit only */
	SEG_REGS,
};

/*
 * Attributes as the descriptor's bits 55:52,47:40 packed to 12 bits (the VMCB's
 * form): type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D/B 10, G 11.
 */
#define SEG_ATTR_TYPE 0x00fu
#define SEG_ATTR_S 0x010u
#define SEG_ATTR_DPL_SHIFT 5
#define SEG_ATTR_DPL 0x060u
#define SEG_ATTR_P 0x080u
#define SEG_ATTR_AVL 0x100u
#define SEG_ATTR_L 0x200u
#define SEG_ATTR_DB 0x400u
#define SEG_ATTR_G 0x800u

struct segment {
	uint16_t selector;
	uint16_t attr;
	uint32_t limit; /* in bytes, granularity already applied */
	uint64_t base;
};

#endif
