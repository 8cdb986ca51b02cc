/* Bytes to neutral instructions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/desc.h"
#include "vmm/decode.h"

#define NO INSN_NO_REG
enum { AX, CX, DX, BX, SP, BP, SI, DI };

/* Operand shorthands. */
#define R(n, sz) ((struct operand){ OPERAND_REG, sz, n })
#define H(n) ((struct operand){ OPERAND_HIGH8, 1, n })
#define M(sz) ((struct operand){ OPERAND_MEM, sz, 0 })
#define I(sz) ((struct operand){ OPERAND_IMM, sz, 0 })
#define C(n, sz) ((struct operand){ OPERAND_CR, sz, n })
#define S(n) ((struct operand){ OPERAND_SEG, 2, SEG_##n })
#define D(n, sz) ((struct operand){ OPERAND_DR, sz, n })
#define NONE_ ((struct operand){ OPERAND_NONE, 0, 0 })

struct sample {
	const char *text;
	unsigned code_size;
	const char *bytes;
	unsigned n;
	struct insn want;
};

#define B(s) (s), sizeof(s) - 1
/* An instruction with a memory operand: seg, base, index, scale, disp. */
#define MEM_AT(sg, b, i, s, d) .seg = SEG_##sg, .base = b, .index = i, .scale = s, .disp = d
#define NO_MEM .seg = SEG_DS, .base = NO, .index = NO, .scale = 1

static const struct sample samples[] = {
	{ "mov [rbx+8], eax",
	  8,
	  B("\x89\x43\x08"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(4), R(AX, 4) }, MEM_AT(DS, BX, NO, 1, 8) } },
	{ "mov r9b, [rbp-1]",
	  8,
	  B("\x44\x8a\x4d\xff"),
	  { INSN_MOV, .addr_size = 8, .operand = { R(9, 1), M(1) }, MEM_AT(SS, BP, NO, 1, -1) } },
	{ "mov [rsp+rcx*4], bh",
	  8,
	  B("\x88\x3c\x8c"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(1), H(BX) }, MEM_AT(SS, SP, CX, 4, 0) } },
	{ "mov [rax], dil",
	  8,
	  B("\x40\x88\x38"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(1), R(DI, 1) }, MEM_AT(DS, AX, NO, 1, 0) } },
	{ "mov qword [rax], -5",
	  8,
	  B("\x48\xc7\x00\xfb\xff\xff\xff"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(8), I(8) }, MEM_AT(DS, AX, NO, 1, 0),
	    .imm = (uint64_t)-5 } },
	{ "mov eax, [rip+0x10]",
	  8,
	  B("\x8b\x05\x10\x00\x00\x00"),
	  { INSN_MOV, .addr_size = 8, .operand = { R(AX, 4), M(4) },
	    MEM_AT(DS, INSN_RIP, NO, 1, 0x10) } },
	{ "mov eax, [eip-1]",
	  8,
	  B("\x67\x8b\x05\xff\xff\xff\xff"),
	  { INSN_MOV, .addr_size = 4, .operand = { R(AX, 4), M(4) },
	    MEM_AT(DS, INSN_RIP, NO, 1, -1) } },
	{ "mov al, [moffs64]",
	  8,
	  B("\xa0\x88\x77\x66\x55\x44\x33\x22\x81"),
	  { INSN_MOV, .addr_size = 8, .operand = { R(AX, 1), M(1) },
	    MEM_AT(DS, NO, NO, 1, (int64_t)0x8122334455667788) } },
	{ "mov [moffs32], ax",
	  4,
	  B("\x66\xa3\x00\x00\xe0\xfe"),
	  { INSN_MOV, .addr_size = 4, .operand = { M(2), R(AX, 2) },
	    MEM_AT(DS, NO, NO, 1, (int32_t)0xfee00000) } },
	{ "mov [moffs16], al",
	  2,
	  B("\xa2\x00\x80"),
	  { INSN_MOV, .addr_size = 2, .operand = { M(1), R(AX, 1) },
	    MEM_AT(DS, NO, NO, 1, (int16_t)0x8000) } },
	{ "mov fs:[rax], ecx",
	  8,
	  B("\x64\x89\x08"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(4), R(CX, 4) }, MEM_AT(FS, AX, NO, 1, 0) } },
	{ "mov es:[bx+si-2], cx",
	  2,
	  B("\x26\x89\x48\xfe"),
	  { INSN_MOV, .addr_size = 2, .operand = { M(2), R(CX, 2) }, MEM_AT(ES, BX, SI, 1, -2) } },
	{ "mov [bp+di], cl",
	  2,
	  B("\x88\x0b"),
	  { INSN_MOV, .addr_size = 2, .operand = { M(1), R(CX, 1) }, MEM_AT(SS, BP, DI, 1, 0) } },
	{ "mov [eax+eax*8+4], edx in 16-bit code",
	  2,
	  B("\x66\x67\x89\x54\xc0\x04"),
	  { INSN_MOV, .addr_size = 4, .operand = { M(4), R(DX, 4) }, MEM_AT(DS, AX, AX, 8, 4) } },
	{ "mov [r13+r12*2+0], r15",
	  8,
	  B("\x4f\x89\x7c\x65\x00"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(8), R(15, 8) }, MEM_AT(DS, 13, 12, 2, 0) } },
	{ "movnti [rax], rcx",
	  8,
	  B("\x48\x0f\xc3\x08"),
	  { INSN_MOV, .addr_size = 8, .operand = { M(8), R(CX, 8) }, MEM_AT(DS, AX, NO, 1, 0) } },
	{ "movzx r8d, word [rdi]",
	  8,
	  B("\x44\x0f\xb7\x07"),
	  { INSN_MOVZX, .addr_size = 8, .operand = { R(8, 4), M(2) }, MEM_AT(DS, DI, NO, 1, 0) } },
	{ "movsxd rax, dword [rdi]",
	  8,
	  B("\x48\x63\x07"),
	  { INSN_MOVSX, .addr_size = 8, .operand = { R(AX, 8), M(4) }, MEM_AT(DS, DI, NO, 1, 0) } },
	{ "lock or byte [rdi], 0xf0",
	  8,
	  B("\xf0\x80\x0f\xf0"),
	  { INSN_OR, .addr_size = 8, .lock = true, .operand = { M(1), I(1) },
	    MEM_AT(DS, DI, NO, 1, 0), .imm = (uint64_t)-0x10 } },
	{ "and word [rdi], -2",
	  8,
	  B("\x66\x83\x27\xfe"),
	  { INSN_AND, .addr_size = 8, .operand = { M(2), I(2) }, MEM_AT(DS, DI, NO, 1, 0),
	    .imm = (uint64_t)-2 } },
	{ "xchg [rdi], ecx",
	  8,
	  B("\x87\x0f"),
	  { INSN_XCHG, .addr_size = 8, .operand = { M(4), R(CX, 4) }, MEM_AT(DS, DI, NO, 1, 0) } },
	{ "bts [rdi], rax",
	  8,
	  B("\x48\x0f\xab\x07"),
	  { INSN_BTS, .addr_size = 8, .operand = { M(8), R(AX, 8) }, MEM_AT(DS, DI, NO, 1, 0) } },
	{ "not dword [rdi]",
	  8,
	  B("\xf7\x17"),
	  { INSN_NOT, .addr_size = 8, .operand = { M(4), NONE_ }, MEM_AT(DS, DI, NO, 1, 0) } },
	{ "rep stosd",
	  8,
	  B("\xf3\xab"),
	  { INSN_STOS, .addr_size = 8, .size = 4, .rep = true, NO_MEM } },
	{ "rep movsb fs:, addr32",
	  8,
	  B("\x67\x64\xf3\xa4"),
	  { INSN_MOVS, .addr_size = 4, .size = 1, .rep = true, .seg = SEG_FS, .base = NO,
	    .index = NO, .scale = 1 } },
	{ "repne scasw, after an ignored rep",
	  8,
	  B("\xf3\xf2\x66\xaf"),
	  { INSN_SCAS, .addr_size = 8, .size = 2, .repne = true, NO_MEM } },
	{ "repe cmpsq",
	  8,
	  B("\xf3\x48\xa7"),
	  { INSN_CMPS, .addr_size = 8, .size = 8, .rep = true, NO_MEM } },
	{ "movsd (string)", 4, B("\xa5"), { INSN_MOVS, .addr_size = 4, .size = 4, NO_MEM } },
	{ "lodsb ss: in 16-bit code",
	  2,
	  B("\x36\xac"),
	  { INSN_LODS, .addr_size = 2, .size = 1, .seg = SEG_SS, .base = NO, .index = NO,
	    .scale = 1 } },
	{ "rep insw",
	  4,
	  B("\xf3\x66\x6d"),
	  { INSN_INS, .addr_size = 4, .size = 2, .rep = true, NO_MEM } },
	{ "rep outsb gs:",
	  8,
	  B("\xf3\x65\x6e"),
	  { INSN_OUTS, .addr_size = 8, .size = 1, .rep = true, .seg = SEG_GS, .base = NO,
	    .index = NO, .scale = 1 } },
	{ "mov cr8, rax",
	  8,
	  B("\x44\x0f\x22\xc0"),
	  { INSN_MOV_TO_CR, .addr_size = 8, .operand = { C(8, 8), R(AX, 8) }, NO_MEM } },
	{ "mov ebx, cr4",
	  4,
	  B("\x0f\x20\xe3"),
	  { INSN_MOV_FROM_CR, .addr_size = 4, .operand = { R(BX, 4), C(4, 4) }, NO_MEM } },
	{ "mov r12, cr0",
	  8,
	  B("\x41\x0f\x20\xc4"),
	  { INSN_MOV_FROM_CR, .addr_size = 8, .operand = { R(12, 8), C(0, 8) }, NO_MEM } },
	{ "clts", 8, B("\x0f\x06"), { INSN_CLTS, .addr_size = 8, NO_MEM } },
	{ "lmsw ax",
	  8,
	  B("\x0f\x01\xf0"),
	  { INSN_LMSW, .addr_size = 8, .operand = { R(AX, 2), NONE_ }, NO_MEM } },
	{ "smsw ecx",
	  8,
	  B("\x0f\x01\xe1"),
	  { INSN_SMSW, .addr_size = 8, .operand = { R(CX, 4), NONE_ }, NO_MEM } },
	/* What takes another path: conditions, far pointers, segments, two immediates. */
	{ "jmp 0x5678:0x1234",
	  2,
	  B("\xea\x34\x12\x78\x56"),
	  { INSN_JMP_FAR, .addr_size = 2, .op_size = 2, .operand = { I(4) }, NO_MEM, .imm = 0x1234,
	    .imm2 = 0x5678 } },
	{ "call 0x5678:0x80001234, in 16-bit code",
	  2,
	  B("\x66\x9a\x34\x12\x00\x80\x78\x56"),
	  { INSN_CALL_FAR, .addr_size = 2, .op_size = 4, .operand = { I(6) }, NO_MEM,
	    .imm = 0x80001234, .imm2 = 0x5678 } },
	{ "call far [bx]",
	  2,
	  B("\xff\x1f"),
	  { INSN_CALL_FAR, .addr_size = 2, .op_size = 2, .operand = { M(4) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "call [bx]",
	  2,
	  B("\xff\x17"),
	  { INSN_CALL, .addr_size = 2, .op_size = 2, .operand = { M(2) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "retf 4",
	  4,
	  B("\xca\x04\x00"),
	  { INSN_RET_FAR, .addr_size = 4, .op_size = 4, .operand = { I(2) }, NO_MEM, .imm = 4 } },
	{ "ret", 8, B("\xc3"), { INSN_RET, .addr_size = 8, .op_size = 8, NO_MEM } },
	{ "jc -2",
	  2,
	  B("\x72\xfe"),
	  { INSN_JCC, .addr_size = 2, .op_size = 2, .operand = { I(1) }, NO_MEM,
	    .imm = (uint64_t)-2 } },
	{ "jecxz -2",
	  2,
	  B("\x67\xe3\xfe"),
	  { INSN_JCXZ, .addr_size = 4, .op_size = 2, .operand = { I(1) }, NO_MEM,
	    .imm = (uint64_t)-2 } },
	{ "enter 0x110, 3",
	  2,
	  B("\xc8\x10\x01\x03"),
	  { INSN_ENTER, .addr_size = 2, .op_size = 2, .operand = { I(2), I(1) }, NO_MEM,
	    .imm = 0x110, .imm2 = 3 } },
	{ "push dword -1, in 16-bit code",
	  2,
	  B("\x66\x6a\xff"),
	  { INSN_PUSH, .addr_size = 2, .op_size = 4, .operand = { I(1) }, NO_MEM,
	    .imm = (uint64_t)-1 } },
	{ "push fs",
	  4,
	  B("\x0f\xa0"),
	  { INSN_PUSH, .addr_size = 4, .op_size = 4, .operand = { S(FS) }, NO_MEM } },
	{ "mov ds, ax",
	  2,
	  B("\x8e\xd8"),
	  { INSN_MOV_TO_SEG, .addr_size = 2, .operand = { S(DS), R(AX, 2) }, NO_MEM } },
	{ "mov [bx], es",
	  2,
	  B("\x8c\x07"),
	  { INSN_MOV_FROM_SEG, .addr_size = 2, .operand = { M(2), S(ES) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "mov dr7, eax",
	  4,
	  B("\x0f\x23\xf8"),
	  { INSN_MOV_TO_DR, .addr_size = 4, .operand = { D(7, 4), R(AX, 4) }, NO_MEM } },
	{ "lgs eax, [bx]",
	  2,
	  B("\x66\x0f\xb5\x07"),
	  { INSN_LGS, .addr_size = 2, .op_size = 4, .operand = { R(AX, 4), M(6) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "xlat with cs",
	  2,
	  B("\x2e\xd7"),
	  { INSN_XLAT, .addr_size = 2, .seg = SEG_CS, .base = NO, .index = NO, .scale = 1 } },
	{ "imul ax, cx, -1",
	  2,
	  B("\x6b\xc1\xff"),
	  { INSN_IMUL3, .addr_size = 2, .operand = { R(AX, 2), R(CX, 2), I(1) }, NO_MEM,
	    .imm = (uint64_t)-1 } },
	{ "imul cx, [bx]",
	  2,
	  B("\x0f\xaf\x0f"),
	  { INSN_IMUL2, .addr_size = 2, .operand = { R(CX, 2), M(2) }, MEM_AT(DS, BX, NO, 1, 0) } },
	{ "imul cx",
	  2,
	  B("\xf7\xe9"),
	  { INSN_IMUL, .addr_size = 2, .operand = { R(CX, 2) }, NO_MEM } },
	{ "shl word [bx], cl",
	  2,
	  B("\xd3\x27"),
	  { INSN_SHL, .addr_size = 2, .operand = { M(2), R(CX, 1) }, MEM_AT(DS, BX, NO, 1, 0) } },
	{ "shl ax, 1",
	  2,
	  B("\xd1\xe0"),
	  { INSN_SHL, .addr_size = 2, .operand = { R(AX, 2), I(1) }, NO_MEM, .imm = 1 } },
	{ "lea eax, [ecx+edx*4]",
	  4,
	  B("\x8d\x04\x91"),
	  { INSN_LEA, .addr_size = 4, .operand = { R(AX, 4), M(4) }, MEM_AT(DS, CX, DX, 4, 0) } },
	{ "movsd xmm1, [rbx], not the string operation",
	  8,
	  B("\xf2\x0f\x10\x0b"),
	  { INSN_XMM, .addr_size = 8, .repne = true, .operand = { { OPERAND_XMM, 16, 1 }, M(8) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "movdqa [rbx], xmm9",
	  8,
	  B("\x66\x44\x0f\x7f\x0b"),
	  { INSN_XMM, .addr_size = 8, .aligned = true, .operand = { M(16), { OPERAND_XMM, 16, 9 } },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "movhps xmm1, [rbx]",
	  8,
	  B("\x0f\x16\x0b"),
	  { INSN_XMM_HIGH, .addr_size = 8, .operand = { { OPERAND_XMM, 8, 1 }, M(8) },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "movq [rbx], mm3",
	  8,
	  B("\x0f\x7f\x1b"),
	  { INSN_MMX, .addr_size = 8, .operand = { M(8), { OPERAND_MMX, 8, 3 } },
	    MEM_AT(DS, BX, NO, 1, 0) } },
	{ "vmcall", 8, B("\x0f\x01\xc1"), { INSN_UD, .addr_size = 8, NO_MEM } },
};

static void check_operand(const struct sample *s, unsigned i, const struct operand *got)
{
	const struct operand *want = &s->want.operand[i];

	if (got->kind != want->kind || got->reg != want->reg ||
	    (want->kind != OPERAND_NONE && want->kind != OPERAND_IMM && got->size != want->size))
		fail_msg("%s: operand %u: expected kind %u size %u reg %u, seen %u %u %u", s->text,
			 i, want->kind, want->size, want->reg, got->kind, got->size, got->reg);
}

static void check_sample(const struct sample *s)
{
	const struct insn *w = &s->want;
	struct insn got;
	uint8_t bytes[15];

	memset(bytes, 0x90, sizeof(bytes));
	memcpy(bytes, s->bytes, s->n);
	if (decode_insn(&got, bytes, sizeof(bytes), s->code_size) != DECODE_OK)
		fail_msg("%s: does not decode", s->text);
	if (got.op != w->op || got.len != s->n || got.addr_size != w->addr_size ||
	    got.size != w->size)
		fail_msg("%s: expected op %u len %u addr %u size %u, seen %u %u %u %u", s->text,
			 w->op, s->n, w->addr_size, w->size, got.op, got.len, got.addr_size,
			 got.size);
	if (got.lock != w->lock || got.rep != w->rep || got.repne != w->repne)
		fail_msg("%s: expected lock %d rep %d repne %d, seen %d %d %d", s->text, w->lock,
			 w->rep, w->repne, got.lock, got.rep, got.repne);
	if (got.seg != w->seg || got.base != w->base || got.index != w->index ||
	    got.scale != w->scale || got.disp != w->disp)
		fail_msg("%s: expected address %u:%u+%u*%u%+lld, seen %u:%u+%u*%u%+lld", s->text,
			 w->seg, w->base, w->index, w->scale, (long long)w->disp, got.seg, got.base,
			 got.index, got.scale, (long long)got.disp);
	if (got.imm != w->imm)
		fail_msg("%s: expected immediate %llx, seen %llx", s->text,
			 (unsigned long long)w->imm, (unsigned long long)got.imm);
	check_operand(s, 0, &got.operand[0]);
	check_operand(s, 1, &got.operand[1]);
	check_operand(s, 2, &got.operand[2]);
	if (w->op_size && got.op_size != w->op_size)
		fail_msg("%s: expected operands of %u bytes, seen %u", s->text, w->op_size,
			 got.op_size);
	if (got.aligned != w->aligned)
		fail_msg("%s: expected aligned %d, seen %d", s->text, w->aligned, got.aligned);
	if (got.imm2 != w->imm2)
		fail_msg("%s: expected second immediate %x, seen %x", s->text, w->imm2, got.imm2);
}

static void test_samples(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
		check_sample(&samples[i]);
}

/* The condition is the opcode's low half, wherever that stands. */
static void test_conditions(void **state)
{
	static const struct {
		const char *bytes;
		enum insn_op op;
		unsigned cond;
	} cases[] = {
		{ "\x77\x00\x90\x90", INSN_JCC, 7 },
		{ "\x0f\x8c\x00\x00\x90\x90", INSN_JCC, 12 },
		{ "\x0f\x95\xc0\x90", INSN_SETCC, 5 },
		{ "\x0f\x4f\xc1\x90", INSN_CMOV, 15 },
	};
	struct insn insn;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(decode_insn(&insn, (const uint8_t *)cases[i].bytes, 4, 2),
				 DECODE_OK);
		assert_int_equal(insn.op, cases[i].op);
		assert_int_equal(insn.cond, cases[i].cond);
	}
}

/* Valid, but nothing that the emulator may take for one of its own. */
static void test_others(void **state)
{
	static const char *const others[] = {
		"\x0f\x58\x00\x90\x90", /* addps xmm0, [rax] */
		"\xf2\x0f\xc2\x00\x01", /* cmpsd xmm0, [rax], 1 */
		"\x0f\xae\x00\x90\x90", /* fxsave [rax] */
		"\xc5\xf8\x91\x00\x90", /* kmovw [rax], k0: an opcode of SETcc's */
		"\xc5\xfc\x4a\xc1\x90", /* kaddw k0, k0, k1: of CMOVcc's */
		"\xf3\x0f\xbc\x00\x90", /* tzcnt eax, [rax]: BSF but for F3 */
	};
	struct insn insn;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(decode_insn(&insn, (const uint8_t *)others[i], 5, 8), DECODE_OK);
		if (insn.op != INSN_OTHER)
			fail_msg("sample %u: expected INSN_OTHER, seen op %u", i, insn.op);
	}
}

static void test_invalid(void **state)
{
	static const uint8_t ones[15] = { 255, 255, 255, 255, 255, 255, 255, 255,
					  255, 255, 255, 255, 255, 255, 255 };
	static const uint8_t lock_mov[] = { 0xf0, 0x89, 0x00 };
	static const uint8_t prefixes[15] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
					      0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66 };
	static const uint8_t mov[] = { 0x48, 0xc7, 0x00, 0xfb, 0xff, 0xff, 0xff };
	/* vmovups zmm0, gs:[rbx] */
	static const uint8_t evex[] = { 0x65, 0x62, 0xf1, 0x7c, 0x48, 0x10, 0x03 };
	static const unsigned sizes[] = { 2, 4, 8 };
	struct insn insn;

	(void)state;
	assert_int_equal(decode_insn(&insn, evex, sizeof(evex), 8), DECODE_UNKNOWN);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(decode_insn(&insn, ones, 15, sizes[i]), DECODE_INVALID);
		assert_int_equal(decode_insn(&insn, lock_mov, 3, sizes[i]), DECODE_INVALID);
		assert_int_equal(decode_insn(&insn, prefixes, 15, sizes[i]), DECODE_TOO_LONG);
	}
	for (unsigned n = 0; n < sizeof(mov); n++)
		assert_int_equal(decode_insn(&insn, mov, n, 8), DECODE_TRUNCATED);
	assert_int_equal(decode_insn(&insn, mov, sizeof(mov), 8), DECODE_OK);
}

/* Any bytes: an answer within bounds, the same from the cache, and text that fits. */
static void test_random_bytes(void **state)
{
	static struct decode_cache cache;
	static const unsigned sizes[] = { 2, 4, 8 };
	struct insn plain;
	const struct insn *cached;
	uint8_t bytes[15];
	char text[40];

	(void)state;
	srand(1);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned code_size = sizes[rand() % 3], n = (unsigned)(rand() % 16);
		enum decode_status a, b;

		for (unsigned k = 0; k < 15; k++)
			bytes[k] = (uint8_t)(rand() >> 8);
		memset(&plain, 0, sizeof(plain));
		a = decode_insn(&plain, bytes, n, code_size);
		b = decode_cached(&cache, (uint64_t)(rand() % 64), bytes, n, code_size, &cached);
		assert_int_equal(a, b);
		memset(text, 'x', sizeof(text));
		assert_int_equal(decode_format(bytes, n, code_size, 0x1000, text, 20),
				 a == DECODE_OK);
		assert_int_equal(text[20], 'x');
		if (a != DECODE_OK)
			continue;
		assert_in_range(plain.len, 1, n);
		assert_true(plain.op < INSN_OPS);
		assert_true(plain.seg <= SEG_GS);
		assert_memory_equal(&plain, cached, sizeof(plain));
	}
}

/* The same address with other bytes, or in another mode, is another instruction. */
static void test_cache(void **state)
{
	static const uint8_t inc_or_rex[] = { 0x40, 0x89, 0x00 };
	static const uint8_t mov[] = { 0x89, 0x00, 0x90 };
	static struct decode_cache cache;
	const struct insn *insn;

	(void)state;
	memset(&cache, 0, sizeof(cache));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(decode_cached(&cache, 0x10, mov, 3, 8, &insn), DECODE_OK);
		assert_int_equal(insn->len, 2);
		assert_int_equal(decode_cached(&cache, 0x10, inc_or_rex, 3, 8, &insn), DECODE_OK);
		assert_int_equal(insn->len, 3);
		assert_int_equal(decode_cached(&cache, 0x10, inc_or_rex, 3, 4, &insn), DECODE_OK);
		assert_int_equal(insn->op, INSN_INC);
		/* It is not answered from more bytes than there are. */
		assert_int_equal(decode_cached(&cache, 0x10, mov, 3, 8, &insn), DECODE_OK);
		assert_int_equal(decode_cached(&cache, 0x10, mov, 1, 8, &insn), DECODE_TRUNCATED);
	}
	/* A hit does not decode: what is in the entry is what comes out. */
	assert_int_equal(decode_cached(&cache, 0x20, mov, 3, 8, &insn), DECODE_OK);
	((struct insn *)insn)->imm = 77;
	assert_int_equal(decode_cached(&cache, 0x20, mov, 3, 8, &insn), DECODE_OK);
	assert_int_equal(insn->imm, 77);
}

static void test_format(void **state)
{
	static const uint8_t mov[] = { 0x89, 0x43, 0x08 };
	static const uint8_t jmp[] = { 0xeb, 0xfe };
	char buf[64];

	(void)state;
	assert_true(decode_format(mov, 3, 8, 0, buf, sizeof(buf)));
	assert_string_equal(buf, "mov [rbx+0x08], eax");
	assert_true(decode_format(jmp, 2, 8, 0xffffffff81000000, buf, sizeof(buf)));
	assert_string_equal(buf, "jmp 0xffffffff81000000");
	assert_true(decode_format(mov, 3, 8, 0, buf, 8));
	assert_string_equal(buf, "mov [rb");
	assert_false(decode_format(mov, 2, 8, 0, buf, sizeof(buf)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),      cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_others),       cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_cache),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
