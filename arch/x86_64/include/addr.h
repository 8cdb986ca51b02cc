/*
 * The three kinds of address. One-member structs, so that mixing them does not
 * compile; the ABI passes them in a register like the number inside.
 */
#ifndef UMBRA_ADDR_H
#define UMBRA_ADDR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	uint64_t v;
} gva_t; /* guest-virtual (linear, after segmentation) */

typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical */

typedef struct {
	uint64_t v;
} hpa_t; /* host-physical: what goes on the bus */

#define GVA(x) ((gva_t){ (x) })
#define GPA(x) ((gpa_t){ (x) })
#define HPA(x) ((hpa_t){ (x) })

/* Are all bits above a linear address of so many (48, 57) copies of its highest? */
static inline bool addr_is_canonical(uint64_t addr, unsigned bits)
{
	return (uint64_t)((int64_t)(addr << (64 - bits)) >> (64 - bits)) == addr;
}

#endif
