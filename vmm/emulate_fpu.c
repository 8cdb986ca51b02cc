/*
 * The guest's FPU and vector registers, which are the processor's own while its vCPU is on it:
 * loads and stores, and the x87.
 */
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/include/x87.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/emulate_core.h"

#define XMM_SIZE 16u

/* --- x87 control --- */

/* An exception waits, and the instruction at hand looks. Without CR0.NE it would come as IRQ 13. */
static enum emulate_result exception_waits(struct emu *e)
{
	if (!(vcpu_hot_reg(e->vcpu, REG_CR0) & CR0_NE))
		return EMULATE_FAILED;
	emu_refuse(e, VEC_MF);
	return emu_fault(e);
}

enum emulate_result emu_fpu(struct emu *e)
{
	uint64_t cr0 = vcpu_hot_reg(e->vcpu, REG_CR0);
	bool wait = e->insn->op == INSN_FWAIT;
	struct emu_span span;

	if (wait ? (cr0 & CR0_MP) && (cr0 & CR0_TS) : cr0 & (CR0_EM | CR0_TS)) {
		emu_refuse(e, VEC_NM);
		return emu_fault(e);
	}
	switch (e->insn->op) {
	case INSN_FNINIT:
		fpu_init();
		break;
	case INSN_FNCLEX:
		fpu_clear_exceptions();
		break;
	case INSN_FWAIT:
		if (fpu_status() & X87_FSW_ES)
			return exception_waits(e);
		break;
	default:
		if (!emu_locate(e, 0, true, &span))
			return emu_fault(e);
		emu_operand_write(e, 0, &span,
				  e->insn->op == INSN_FNSTCW ? fpu_control() : fpu_status());
		break;
	}
	return emu_retire(e);
}

/* --- x87, an operand in memory --- */

static unsigned memory_operand(const struct emu *e)
{
	unsigned n = 0;

	while (e->insn->operand[n].kind != OPERAND_MEM)
		n++;
	return n;
}

/* Has the processor stored anything? Exceptions that are not masked prevent it, but for lost
 * precision. */
static bool has_stored(void)
{
	return !(fpu_status() & ~fpu_control() & X87_EXCEPTIONS & ~X87_PRECISION);
}

/* Loads, stores, arithmetic: the processor does them, with a copy of the operand. */
enum emulate_result emu_x87(struct emu *e)
{
	unsigned n = memory_operand(e), fop = e->insn->fop;
	bool stores = x87_stores(fop);
	uint8_t bytes[EMU_SPAN_MAX] = { 0 };
	struct emu_span span;

	if (vcpu_hot_reg(e->vcpu, REG_CR0) & (CR0_EM | CR0_TS)) {
		emu_refuse(e, VEC_NM);
		return emu_fault(e);
	}
	if (fpu_status() & X87_FSW_ES)
		return exception_waits(e);
	e->one_access = true;
	if (!emu_locate(e, n, stores, &span))
		return emu_fault(e);
	if (!stores)
		emu_span_load(e, &span, bytes);
	fpu_x87(fop, bytes, e->vcpu->regs.rip, emu_offset(e));
	if (stores && has_stored())
		emu_span_store(e, &span, bytes);
	return emu_retire(e);
}

/* --- x87, its whole environment --- */

/*
 * The four forms of it: SDM vol. 1, figures 8-9 to 8-12. In real and virtual-8086 mode the pointers
 * are linear addresses in two parts, the upper one from bit 12 on, with FOP below that of FIP. With
 * operands of 16 bits there are the lower halves of the words.
 */
#define REAL_HIGH BITS(27, 12)
#define REAL_FOP BITS(10, 0)

static uint32_t linear(uint32_t offset, uint32_t selector)
{
	return ((selector & 0xffffu) << 4) + offset;
}

static void to_real(uint32_t *env)
{
	uint32_t ip = linear(env[X87_FIP], env[X87_FCS_FOP]), fop = env[X87_FCS_FOP] >> 16;
	uint32_t dp = linear(env[X87_FDP], env[X87_FDS]);

	env[X87_FIP] = ip & 0xffffu;
	env[X87_FCS_FOP] = (ip >> 4 & (uint32_t)REAL_HIGH) | (fop & (uint32_t)REAL_FOP);
	env[X87_FDP] = dp & 0xffffu;
	env[X87_FDS] = dp >> 4 & (uint32_t)REAL_HIGH;
}

static void from_real(uint32_t *env)
{
	env[X87_FIP] = (env[X87_FIP] & 0xffffu) | (env[X87_FCS_FOP] & (uint32_t)REAL_HIGH) << 4;
	env[X87_FCS_FOP] = (env[X87_FCS_FOP] & (uint32_t)REAL_FOP) << 16;
	env[X87_FDP] = (env[X87_FDP] & 0xffffu) | (env[X87_FDS] & (uint32_t)REAL_HIGH) << 4;
	env[X87_FDS] = 0;
}

/* As memory is to have it. Returns the bytes of it. */
static unsigned store_env(const struct emu *e, uint32_t *env, uint8_t *bytes)
{
	if (!emu_protected(e))
		to_real(env);
	if (e->insn->op_size != 2) {
		memcpy(bytes, env, X87_ENV_BYTES);
		return X87_ENV_BYTES;
	}
	for (unsigned i = 0; i < X87_ENV_WORDS; i++)
		memcpy(bytes + 2 * i, &env[i], 2); /* the low bytes come first */
	return X87_ENV_BYTES / 2;
}

static unsigned load_env(const struct emu *e, uint32_t *env, const uint8_t *bytes)
{
	unsigned each = e->insn->op_size == 2 ? 2 : 4;

	memset(env, 0, X87_ENV_BYTES);
	for (unsigned i = 0; i < X87_ENV_WORDS; i++)
		memcpy(&env[i], bytes + (size_t)each * i, each);
	if (!emu_protected(e))
		from_real(env);
	return each * X87_ENV_WORDS;
}

/* FLDENV, FNSTENV, FRSTOR, FNSAVE. */
enum emulate_result emu_x87_state(struct emu *e)
{
	unsigned n = memory_operand(e), fop = e->insn->fop, env;
	bool stores = x87_stores(fop);
	uint8_t bytes[EMU_SPAN_MAX];
	struct x87_state s;
	struct emu_span span;

	if (vcpu_hot_reg(e->vcpu, REG_CR0) & (CR0_EM | CR0_TS)) {
		emu_refuse(e, VEC_NM);
		return emu_fault(e);
	}
	if (!stores && (fpu_status() & X87_FSW_ES))
		return exception_waits(e);
	e->one_access = true;
	if (!emu_locate(e, n, stores, &span))
		return emu_fault(e);
	if (stores) {
		fpu_x87_state(fop, &s);
		env = store_env(e, s.env, bytes);
		if (span.size > env)
			memcpy(bytes + env, s.st, sizeof(s.st));
		emu_span_store(e, &span, bytes);
	} else {
		emu_span_load(e, &span, bytes);
		env = load_env(e, s.env, bytes);
		if (span.size > env)
			memcpy(s.st, bytes + env, sizeof(s.st));
		fpu_x87_state(fop, &s);
	}
	return emu_retire(e);
}

/* --- vectors --- */

/* SDM vol. 3, 13.1: SSE wants CR4.OSFXSR; neither it nor MMX works with CR0.EM or TS. */
static bool vectors_usable(struct emu *e, bool sse)
{
	uint64_t cr0 = vcpu_hot_reg(e->vcpu, REG_CR0);

	if ((cr0 & CR0_EM) || (sse && !(vcpu_hot_reg(e->vcpu, REG_CR4) & CR4_OSFXSR)))
		return emu_refuse(e, VEC_UD);
	return !(cr0 & CR0_TS) || emu_refuse(e, VEC_NM);
}

/* The register, and whether it is loaded. False: it is no load or store. */
static bool find_register(const struct emu *e, unsigned kind, unsigned *reg, bool *load)
{
	const struct operand *op = e->insn->operand;

	*load = op[1].kind == OPERAND_MEM;
	*reg = op[*load ? 0 : 1].reg;
	return op[*load ? 0 : 1].kind == kind && op[*load ? 1 : 0].kind == OPERAND_MEM &&
	       op[*load ? 1 : 0].size <= XMM_SIZE;
}

/* A move of 4, 8 or 16 bytes between XMMn and memory. */
enum emulate_result emu_xmm(struct emu *e)
{
	unsigned at = e->insn->op == INSN_XMM_HIGH ? XMM_SIZE / 2 : 0, reg;
	uint8_t bytes[XMM_SIZE];
	struct emu_span span;
	bool load;

	if (!find_register(e, OPERAND_XMM, &reg, &load))
		return EMULATE_FAILED;
	e->one_access = true;
	if (!vectors_usable(e, true) || !emu_locate(e, load, !load, &span))
		return emu_fault(e);
	if (e->insn->aligned && (span.gpa[0].v & (XMM_SIZE - 1))) {
		emu_refuse_error(e, VEC_GP, 0);
		return emu_fault(e);
	}
	fpu_xmm_read(reg, bytes);
	if (!load) {
		emu_span_store(e, &span, bytes + at);
		return emu_retire(e);
	}
	if (e->insn->op == INSN_XMM)
		memset(bytes, 0, sizeof(bytes));
	emu_span_load(e, &span, bytes + at);
	fpu_xmm_write(reg, bytes);
	return emu_retire(e);
}

/* MOVD, MOVQ and MOVNTQ of MMn. */
enum emulate_result emu_mmx(struct emu *e)
{
	struct emu_span span;
	unsigned reg;
	bool load;

	if (!find_register(e, OPERAND_MMX, &reg, &load))
		return EMULATE_FAILED;
	if (!vectors_usable(e, false))
		return emu_fault(e);
	if (fpu_status() & X87_FSW_ES)
		return exception_waits(e);
	e->one_access = true;
	if (!emu_locate(e, load, !load, &span))
		return emu_fault(e);
	if (load)
		fpu_mmx_write(reg, emu_span_read(e, &span));
	else
		emu_span_write(e, &span, fpu_mmx_read(reg));
	return emu_retire(e);
}
