/* Integer arithmetic with flags, as the processor does it. Pure. */
#ifndef UMBRA_VMM_EMULATE_ALU_H
#define UMBRA_VMM_EMULATE_ALU_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/decode.h"

/* The status flags that arithmetic sets. */
#define ALU_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* The low size bytes of val, size 1 to 8. */
static inline uint64_t alu_cut(uint64_t val, unsigned size)
{
	return val & (~UINT64_C(0) >> (64 - 8 * size));
}

/* The low size bytes of val as a signed number. */
static inline uint64_t alu_sign_extend(uint64_t val, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (uint64_t)((int64_t)(val << shift) >> shift);
}

/*
 * dst op src on operands of size bytes (1, 2, 4, 8), for INSN_ADD to INSN_TEST; the
 * result, cut to size; of CMP and TEST, dst. *flags gets the new status flags; AF, which
 * logic leaves undefined, becomes 0.
 */
uint64_t alu_binary(enum insn_op op, uint64_t dst, uint64_t src, unsigned size, uint64_t *flags);

/* INSN_NOT, INSN_NEG, INSN_INC, INSN_DEC. */
uint64_t alu_unary(enum insn_op op, uint64_t dst, unsigned size, uint64_t *flags);

/* INSN_BT, INSN_BTS, INSN_BTR, INSN_BTC on bit (bit modulo the width) of dst: CF alone. */
uint64_t alu_bit(enum insn_op op, uint64_t dst, uint64_t bit, unsigned size, uint64_t *flags);

/* INSN_ROL to INSN_SAR. A count of 0, cut to 5 bits (6 for 8 bytes), changes no flag. */
uint64_t alu_shift(enum insn_op op, uint64_t dst, unsigned count, unsigned size, uint64_t *flags);
/* INSN_SHLD, INSN_SHRD: what is shifted in comes from src. */
uint64_t alu_shift_double(enum insn_op op, uint64_t dst, uint64_t src, unsigned count,
			  unsigned size, uint64_t *flags);

/* The product's low half, *high its high one, cut to size; CF and OF say that that counts. */
uint64_t alu_mul(uint64_t a, uint64_t b, unsigned size, bool is_signed, uint64_t *high,
		 uint64_t *flags);
/* high:low by divisor. False: #DE. Flags are undefined, and stay. */
bool alu_div(uint64_t high, uint64_t low, uint64_t divisor, unsigned size, bool is_signed,
	     uint64_t *quotient, uint64_t *remainder);

/* INSN_AAA, INSN_AAS, INSN_DAA, INSN_DAS: AX before and after. */
uint16_t alu_decimal(enum insn_op op, uint16_t ax, uint64_t *flags);

/* SF, ZF and PF as the low size bytes of val have them, into *flags. */
void alu_result_flags(uint64_t val, unsigned size, uint64_t *flags);

/* Is the condition (the opcode's low four bits) met? */
bool alu_condition(unsigned cond, uint64_t flags);

#endif
