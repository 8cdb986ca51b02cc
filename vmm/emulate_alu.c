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

/* --- shifts: APM vol. 3, ROL to SHRD --- */

static void set_flag(uint64_t *flags, uint64_t flag, bool on)
{
	*flags = on ? *flags | flag : *flags & ~flag;
}

static bool top_bit(uint64_t val, unsigned size)
{
	return val & sign_bit(size);
}

/* Through the carry flag, a bit at a time: at most 63. */
static uint64_t rotate_carry(bool left, uint64_t v, unsigned count, unsigned size, uint64_t *flags)
{
	uint64_t carry = *flags & RFLAGS_CF, out;

	for (count %= 8 * size + 1; count; count--) {
		if (left) {
			out = top_bit(v, size);
			v = alu_cut(v << 1 | carry, size);
		} else {
			out = v & 1;
			v = v >> 1 | (carry ? sign_bit(size) : 0);
		}
		carry = out;
	}
	set_flag(flags, RFLAGS_CF, carry);
	return v;
}

static uint64_t rotate(bool left, uint64_t v, unsigned count, unsigned size)
{
	unsigned bits = 8 * size, n = count % bits;

	if (!n)
		return v;
	if (!left)
		n = bits - n;
	return alu_cut(v << n | v >> (bits - n), size);
}

static uint64_t alu_rotate(enum insn_op op, uint64_t v, unsigned count, unsigned size,
			   uint64_t *flags)
{
	bool left = op == INSN_ROL || op == INSN_RCL, second;

	if (op == INSN_RCL || op == INSN_RCR) {
		v = rotate_carry(left, v, count, size, flags);
	} else {
		v = rotate(left, v, count, size);
		set_flag(flags, RFLAGS_CF, left ? v & 1 : top_bit(v, size));
	}
	second = left ? *flags & RFLAGS_CF : v & sign_bit(size) >> 1;
	set_flag(flags, RFLAGS_OF, top_bit(v, size) != second);
	return v;
}

/* A count beyond the operand's width shifts all of it out. */
static uint64_t shift_left(uint64_t v, unsigned count, unsigned size, bool *carry)
{
	unsigned bits = 8 * size;

	*carry = count <= bits && (v >> (bits - count) & 1);
	return count < bits ? alu_cut(v << count, size) : 0;
}

static uint64_t shift_right(uint64_t v, unsigned count, bool *carry)
{
	*carry = v >> (count - 1) & 1;
	return count < 64 ? v >> count : 0;
}

uint64_t alu_shift(enum insn_op op, uint64_t dst, unsigned count, unsigned size, uint64_t *flags)
{
	uint64_t v = alu_cut(dst, size), r;
	bool carry, overflow = false;

	count &= size == 8 ? 63 : 31;
	if (!count)
		return v;
	switch (op) {
	case INSN_SHL:
		r = shift_left(v, count, size, &carry);
		overflow = top_bit(r, size) != carry;
		break;
	case INSN_SHR:
		r = shift_right(v, count, &carry);
		overflow = top_bit(v, size);
		break;
	case INSN_SAR:
		r = alu_sign_extend(v, size);
		carry = (int64_t)r >> (count - 1) & 1;
		r = alu_cut((uint64_t)((int64_t)r >> count), size);
		break;
	default:
		return alu_rotate(op, v, count, size, flags);
	}
	*flags = (*flags & ~ALU_FLAGS) | result_flags(r, size);
	set_flag(flags, RFLAGS_CF, carry);
	set_flag(flags, RFLAGS_OF, overflow);
	return r;
}

/* Counts beyond 16 of 16-bit operands give an undefined result: here dst:src:dst is shifted. */
uint64_t alu_shift_double(enum insn_op op, uint64_t dst, uint64_t src, unsigned count,
			  unsigned size, uint64_t *flags)
{
	unsigned bits = 8 * size;
	uint64_t d = alu_cut(dst, size), s = alu_cut(src, size), r;
	bool carry;

	count &= size == 8 ? 63 : 31;
	if (!count)
		return d;
	if (count > bits) {
		uint64_t t = d;

		d = s;
		s = t;
		count -= bits;
	}
	if (op == INSN_SHLD) {
		r = shift_left(d, count, size, &carry) | s >> (bits - count);
	} else {
		r = shift_right(d, count, &carry);
		r |= count == bits ? s : alu_cut(s << (bits - count), size);
	}
	*flags = (*flags & ~ALU_FLAGS) | result_flags(r, size);
	set_flag(flags, RFLAGS_CF, carry);
	set_flag(flags, RFLAGS_OF, top_bit(r ^ alu_cut(dst, size), size));
	return r;
}

/* --- multiplication and division --- */

uint64_t alu_mul(uint64_t a, uint64_t b, unsigned size, bool is_signed, uint64_t *high,
		 uint64_t *flags)
{
	unsigned __int128 product;
	bool more;
	uint64_t low;

	if (is_signed)
		product = (unsigned __int128)((__int128)(int64_t)alu_sign_extend(a, size) *
					      (int64_t)alu_sign_extend(b, size));
	else
		product = (unsigned __int128)alu_cut(a, size) * alu_cut(b, size);
	low = alu_cut((uint64_t)product, size);
	*high = alu_cut((uint64_t)(product >> 8 * size), size);
	if (is_signed)
		more = *high != alu_cut(top_bit(low, size) ? ~UINT64_C(0) : 0, size);
	else
		more = *high;
	*flags = (*flags & ~ALU_FLAGS) | result_flags(low, size);
	if (more)
		*flags |= RFLAGS_CF | RFLAGS_OF;
	return low;
}

/* high < divisor: the quotient fits. Bit by bit: there is no 128-bit division to call. */
static uint64_t divide(uint64_t high, uint64_t low, uint64_t divisor, unsigned size,
		       uint64_t *remainder)
{
	uint64_t quotient = 0;
	unsigned bit = 8 * size;

	do {
		bool carry = high >> 63;

		bit--;
		high = high << 1 | (low >> bit & 1);
		if (carry || high >= divisor) {
			high -= divisor;
			quotient |= BIT(bit);
		}
	} while (bit);
	*remainder = high;
	return quotient;
}

/* high:low, of twice size bytes, negated. */
static void negate(uint64_t *high, uint64_t *low, unsigned size)
{
	*low = alu_cut(-*low, size);
	*high = alu_cut(~*high + !*low, size);
}

bool alu_div(uint64_t high, uint64_t low, uint64_t divisor, unsigned size, bool is_signed,
	     uint64_t *quotient, uint64_t *remainder)
{
	bool negative, odd;
	uint64_t q, r, limit = alu_cut(~UINT64_C(0), size);

	high = alu_cut(high, size);
	low = alu_cut(low, size);
	divisor = alu_cut(divisor, size);
	negative = is_signed && top_bit(high, size);
	odd = negative != (is_signed && top_bit(divisor, size));
	if (negative)
		negate(&high, &low, size);
	if (is_signed && top_bit(divisor, size))
		divisor = alu_cut(-divisor, size);
	if (is_signed)
		limit = odd ? sign_bit(size) : sign_bit(size) - 1;
	if (high >= divisor) /* by zero too */
		return false;
	q = divide(high, low, divisor, size, &r);
	if (q > limit)
		return false;
	*quotient = alu_cut(odd ? -q : q, size);
	*remainder = alu_cut(negative ? -r : r, size);
	return true;
}

/* --- decimal: APM vol. 3, AAA to DAS --- */

static uint16_t adjust_ascii(bool add, uint16_t ax, uint64_t *flags)
{
	bool adjust = (ax & 0xf) > 9 || (*flags & RFLAGS_AF);

	if (adjust)
		ax = (uint16_t)(add ? ax + 0x106 : ax - 0x106);
	ax &= 0xff0f;
	*flags &= ~ALU_FLAGS;
	alu_result_flags(ax, 1, flags);
	if (adjust)
		*flags |= RFLAGS_AF | RFLAGS_CF;
	return ax;
}

static uint16_t adjust_packed(bool add, uint16_t ax, uint64_t *flags)
{
	uint8_t old = (uint8_t)ax, al = old;
	bool carry = *flags & RFLAGS_CF, half = (old & 0xf) > 9 || (*flags & RFLAGS_AF);
	bool high = old > 0x99 || carry;

	carry = high;
	if (half) {
		carry = carry || (!add && al < 6);
		al = (uint8_t)(add ? al + 6 : al - 6);
	}
	if (high)
		al = (uint8_t)(add ? al + 0x60 : al - 0x60);
	*flags &= ~ALU_FLAGS;
	alu_result_flags(al, 1, flags);
	set_flag(flags, RFLAGS_AF, half);
	set_flag(flags, RFLAGS_CF, carry);
	return (uint16_t)((ax & 0xff00) | al);
}

uint16_t alu_decimal(enum insn_op op, uint16_t ax, uint64_t *flags)
{
	if (op == INSN_AAA || op == INSN_AAS)
		return adjust_ascii(op == INSN_AAA, ax, flags);
	return adjust_packed(op == INSN_DAA, ax, flags);
}

/* --- flags --- */

void alu_result_flags(uint64_t val, unsigned size, uint64_t *flags)
{
	const uint64_t set = RFLAGS_SF | RFLAGS_ZF | RFLAGS_PF;

	*flags = (*flags & ~set) | result_flags(alu_cut(val, size), size);
}

/* APM vol. 3, table 1-10 and the like: bit 0 negates. */
bool alu_condition(unsigned cond, uint64_t flags)
{
	bool less = !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF);
	bool met = false;

	switch (cond >> 1) {
	case 0:
		met = flags & RFLAGS_OF;
		break;
	case 1:
		met = flags & RFLAGS_CF;
		break;
	case 2:
		met = flags & RFLAGS_ZF;
		break;
	case 3:
		met = flags & (RFLAGS_CF | RFLAGS_ZF);
		break;
	case 4:
		met = flags & RFLAGS_SF;
		break;
	case 5:
		met = flags & RFLAGS_PF;
		break;
	case 6:
		met = less;
		break;
	default:
		met = less || (flags & RFLAGS_ZF);
		break;
	}
	return met != (cond & 1);
}
