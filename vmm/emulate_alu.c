#include "vmm/emulate_alu.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"

/* Flags from here on are as APM vol. 1, 3.1.4 and SDM vol. 1, 3.4.3.1 define them. */

static uint64_t sign_bit(unsigned size)
{
	return BIT(8 * size - 1);
}

/* SF, ZF and PF of a result that is cut to size. */
static uint64_t result_flags(uint64_t r, unsigned size)
{
	uint64_t flags = 0;

	if (!r)
		flags |= RFLAGS_ZF;
	if (r & sign_bit(size))
		flags |= RFLAGS_SF;
	if (!__builtin_parity((unsigned)(r & 0xff)))
		flags |= RFLAGS_PF;
	return flags;
}

/* carries: the carry (or borrow) out of each bit; overflow: its sign bit says so. */
static uint64_t arith_flags(uint64_t r, uint64_t carries, uint64_t overflow, unsigned size)
{
	uint64_t flags = result_flags(r, size);

	if (carries & sign_bit(size))
		flags |= RFLAGS_CF;
	if (carries & BIT(3))
		flags |= RFLAGS_AF;
	if (overflow & sign_bit(size))
		flags |= RFLAGS_OF;
	return flags;
}

static uint64_t alu_add(uint64_t a, uint64_t b, uint64_t carry, unsigned size, uint64_t *flags)
{
	uint64_t r = alu_cut(a + b + carry, size);

	*flags = (*flags & ~ALU_FLAGS) |
		 arith_flags(r, (a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), size);
	return r;
}

static uint64_t alu_sub(uint64_t a, uint64_t b, uint64_t borrow, unsigned size, uint64_t *flags)
{
	uint64_t r = alu_cut(a - b - borrow, size);

	*flags = (*flags & ~ALU_FLAGS) |
		 arith_flags(r, (~a & b) | ((~a | b) & r), (a ^ b) & (a ^ r), size);
	return r;
}

static uint64_t alu_logic(uint64_t r, unsigned size, uint64_t *flags)
{
	*flags = (*flags & ~ALU_FLAGS) | result_flags(r, size);
	return r;
}

uint64_t alu_binary(enum insn_op op, uint64_t dst, uint64_t src, unsigned size, uint64_t *flags)
{
	uint64_t carry = *flags & RFLAGS_CF; /* bit 0: a number as it stands */

	dst = alu_cut(dst, size);
	src = alu_cut(src, size);
	switch (op) {
	case INSN_ADD:
		return alu_add(dst, src, 0, size, flags);
	case INSN_ADC:
		return alu_add(dst, src, carry, size, flags);
	case INSN_SUB:
		return alu_sub(dst, src, 0, size, flags);
	case INSN_SBB:
		return alu_sub(dst, src, carry, size, flags);
	case INSN_CMP:
		alu_sub(dst, src, 0, size, flags);
		return dst;
	case INSN_AND:
		return alu_logic(dst & src, size, flags);
	case INSN_OR:
		return alu_logic(dst | src, size, flags);
	case INSN_XOR:
		return alu_logic(dst ^ src, size, flags);
	case INSN_TEST:
		alu_logic(dst & src, size, flags);
		return dst;
	default:
		return dst;
	}
}

uint64_t alu_unary(enum insn_op op, uint64_t dst, unsigned size, uint64_t *flags)
{
	uint64_t carry = *flags & RFLAGS_CF;

	dst = alu_cut(dst, size);
	switch (op) {
	case INSN_NOT:
		return alu_cut(~dst, size);
	case INSN_NEG:
		return alu_sub(0, dst, 0, size, flags);
	case INSN_INC:
		dst = alu_add(dst, 1, 0, size, flags);
		break;
	case INSN_DEC:
		dst = alu_sub(dst, 1, 0, size, flags);
		break;
	default:
		return dst;
	}
	*flags = (*flags & ~RFLAGS_CF) | carry;
	return dst;
}

uint64_t alu_bit(enum insn_op op, uint64_t dst, uint64_t bit, unsigned size, uint64_t *flags)
{
	uint64_t mask = BIT(bit % (8 * size));

	*flags &= ~RFLAGS_CF;
	if (dst & mask)
		*flags |= RFLAGS_CF;
	switch (op) {
	case INSN_BTS:
		return dst | mask;
	case INSN_BTR:
		return dst & ~mask;
	case INSN_BTC:
		return dst ^ mask;
	default:
		return dst;
	}
}
