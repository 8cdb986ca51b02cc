/*
 * Locked instructions: what they store goes where the value that it was made from still is. Where
 * another processor has been quicker nothing happens, and the guest tries again.
 */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/emulate_core.h"

/* XCHG is locked with or without the prefix. */
bool emu_is_locked(const struct emu *e)
{
	return e->insn->lock || e->insn->op == INSN_XCHG;
}

bool emu_write_locked(struct emu *e, unsigned n, const struct emu_span *span, uint64_t was,
		      uint64_t val)
{
	uint8_t old[8], bytes[8];

	if (e->insn->operand[n].kind != OPERAND_MEM) {
		emu_operand_write(e, n, span, val);
		return true;
	}
	memcpy(old, &was, sizeof(old));
	memcpy(bytes, &val, sizeof(bytes));
	return emu_span_replace(e, span, old, bytes);
}

/* CMPXCHG8B, and CMPXCHG16B, which wants its operand aligned. */
enum emulate_result emu_cmpxchg8b(struct emu *e)
{
	unsigned size = e->insn->operand[0].size, half = size / 2;
	uint64_t low = 0, high = 0, ebx = emu_reg(e, RBX, half), ecx = emu_reg(e, RCX, half);
	uint8_t bytes[EMU_SPAN_MAX], old[EMU_SPAN_MAX];
	struct emu_span span;

	if (!emu_locate(e, 0, true, &span))
		return emu_fault(e);
	if (size == 16 && (span.gpa[0].v & 15)) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	emu_span_load(e, &span, bytes);
	memcpy(old, bytes, size);
	memcpy(&low, bytes, half);
	memcpy(&high, bytes + half, half);
	e->flags &= ~RFLAGS_ZF;
	if (low == emu_reg(e, RAX, half) && high == emu_reg(e, RDX, half)) {
		e->flags |= RFLAGS_ZF;
		memcpy(bytes, &ebx, half);
		memcpy(bytes + half, &ecx, half);
	}
	if (!emu_span_replace(e, &span, old, bytes))
		return EMULATE_DONE; /* and again: RIP stays */
	if (!(e->flags & RFLAGS_ZF)) {
		emu_set_reg(e, RAX, half, low);
		emu_set_reg(e, RDX, half, high);
	}
	return emu_retire(e);
}
