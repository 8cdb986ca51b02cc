/* A fault that the guest earned: what hardware would have delivered to it. */
#ifndef UMBRA_FAULT_H
#define UMBRA_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Exception vectors. APM vol. 2, 8.1; SDM vol. 3, 6.3.1. */
enum {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XF = 19,
	VEC_CP = 21,
	VEC_SX = 30,
};

/* Page-fault error code. APM vol. 2, 8.4.2; SDM vol. 3, 4.7. */
#define PF_P 0x01u /* the translation was present: a rights violation */
#define PF_W 0x02u
#define PF_U 0x04u
#define PF_RSVD 0x08u
#define PF_I 0x10u /* instruction fetch */
#define PF_PK 0x20u

struct guest_fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t cr2; /* VEC_PF only: the faulting linear address */
};

/* Does hardware push an error code for this exception? */
static inline bool fault_has_error(unsigned vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC ||
	       vector == VEC_CP || vector == VEC_SX;
}

#endif
