/*
 * Segment and system descriptors in the guest's own tables: 8 bytes each, as all are but the
 * system descriptors of long mode, of which these are the first half. APM vol. 2, 4.7 and 4.8; SDM
 * vol. 3, 3.4.5 and 3.5.
 */
#ifndef UMBRA_VMM_DESC_H
#define UMBRA_VMM_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/fault.h"

struct vcpu;

/* Selector fields. */
#define SEL_RPL 0x0003u
#define SEL_TI 0x0004u /* the LDT's */
#define SEL_INDEX 0xfff8u

/* Types, S clear: APM vol. 2, table 4-6. S set: table 4-3. */
#define DESC_TYPE_LDT 2u
#define DESC_TYPE_TSS16 1u
#define DESC_TYPE_TSS32 9u
#define DESC_TYPE_32BIT 8u /* the bit that tells them apart */
#define DESC_TYPE_BUSY 2u  /* of a TSS */
#define DESC_TYPE_ACCESSED 1u
#define DESC_TYPE_WRITABLE 2u    /* data */
#define DESC_TYPE_EXPAND_DOWN 4u /* data */
#define DESC_TYPE_READABLE 2u    /* code */
#define DESC_TYPE_CONFORMING 4u  /* code */
#define DESC_TYPE_CODE 8u

struct desc {
	gva_t at; /* where it lies */
	struct segment seg;
};

enum desc_result {
	DESC_FOUND,
	DESC_OUTSIDE, /* a null selector, beyond the table's limit, or there is no LDT */
	DESC_FAULT,   /* *fault: the table is not mapped there */
};

/* Where the GDT has the selector's descriptor, whatever its limit says. */
gva_t desc_gdt_address(struct vcpu *vcpu, uint16_t selector);

/* The descriptor that the selector names in the GDT or LDT of now; nothing is judged. */
enum desc_result desc_read(struct vcpu *vcpu, uint16_t selector, struct desc *out,
			   struct guest_fault *fault);

/*
 * What a processor at this privilege has against loading the descriptor into DS, ES, FS or GS; into
 * SS; or into CS, without a change of privilege: 0, or the exception, which is wrong but for
 * segments that are not present.
 */
unsigned desc_judge_data(const struct segment *seg, unsigned cpl, unsigned rpl, unsigned wrong);
unsigned desc_judge_stack(const struct segment *seg, unsigned cpl, unsigned rpl, unsigned wrong);
unsigned desc_judge_code(const struct segment *seg, unsigned cpl, unsigned wrong);
/* Mark a segment's descriptor accessed, in its table and in *d. False: *fault. */
bool desc_mark_accessed(struct vcpu *vcpu, struct desc *d, struct guest_fault *fault);

/* May the type of the descriptor there be changed? False: *fault. */
bool desc_probe_type(struct vcpu *vcpu, gva_t at, struct guest_fault *fault);
/* Set and clear bits of its type, as a locked access does. False: *fault. */
bool desc_change_type(struct vcpu *vcpu, gva_t at, uint8_t set, uint8_t clear,
		      struct guest_fault *fault);

#endif
