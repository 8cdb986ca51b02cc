/*
 * The emulator against this machine's own processor: the same instruction bytes, the
 * same random registers, flags and memory; everything must come out the same. The
 * emulator sees the two pages of memory as devices, RAM, or one of each.
 */
#include "tests/host/emu_fixture.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"

#include <asm/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/emulate_alu.h"

#define ROUNDS 400
#define GS_BASE 0x40
#define RAM_0 UINT64_C(0x200000) /* where a window page is RAM */
#define RAM_1 UINT64_C(0x203000)

enum kind {
	PLAIN,
	BITS_,  /* RDX is a bit number, not too far away */
	ACC,    /* RAX is often what lies in memory */
	ADDR32, /* only the low halves of address registers count */
	COUNT,  /* RCX is any number */
	DIVIDE, /* RDX:RAX is often a little more than RAX */
	POPS,   /* on top of the stack lie flags */
};

#define LOGIC RFLAGS_AF
#define BIT_OP (RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF)

/* One form a line, which the formatter would undo. */
/* clang-format off */
#define MOVES(X)                                                \
	X("movb %al,(%rbx)", 0, PLAIN)                          \
	X("movb %ah,(%rbx)", 0, PLAIN)                          \
	X("movb %sil,(%rbx)", 0, PLAIN)                         \
	X("movb %r9b,8(%rbx)", 0, PLAIN)                        \
	X("movw %r9w,-300(%rbx)", 0, PLAIN)                     \
	X("movl %r10d,(%rbx,%rcx,4)", 0, PLAIN)                 \
	X("movq %r11,(%rbx,%rcx,8)", 0, PLAIN)                  \
	X("movq %rbx,(%rbx)", 0, PLAIN)                         \
	X("movb (%rbx),%dh", 0, PLAIN)                          \
	X("movb (%rbx),%bpl", 0, PLAIN)                         \
	X("movw (%rbx),%ax", 0, PLAIN)                          \
	X("movl (%rbx),%eax", 0, PLAIN)                         \
	X("movl (%rbx),%ebx", 0, PLAIN)                         \
	X("movq 17(%rbx),%r15", 0, PLAIN)                       \
	X("movb $0x81,(%rbx)", 0, PLAIN)                        \
	X("movw $0x8123,(%rbx)", 0, PLAIN)                      \
	X("movl $0x81234567,(%rbx)", 0, PLAIN)                  \
	X("movq $-5,(%rbx)", 0, PLAIN)                          \
	X("movabs 0x40000ffe,%al", 0, PLAIN)                    \
	X("movabs 0x40000ffe,%eax", 0, PLAIN)                   \
	X("movabs %ax,0x40000ffe", 0, PLAIN)                    \
	X("movabs %rax,0x40000ffe", 0, PLAIN)                   \
	X("movl -0x100000(%rip),%r8d", 0, PLAIN)                \
	X("movl $0x1234,-0x100000(%rip)", 0, PLAIN)             \
	X("movl %gs:(%rbx),%edx", 0, PLAIN)                     \
	X("movl %edx,%gs:4(%rbx)", 0, PLAIN)                    \
	X("movl (%ebx),%edx", 0, ADDR32)                        \
	X("movw %dx,6(%ebx,%ecx,2)", 0, ADDR32)                 \
	X("movnti %edx,(%rbx)", 0, PLAIN)                       \
	X("movnti %rdx,(%rbx)", 0, PLAIN)                       \
	X("movzbw (%rbx),%r8w", 0, PLAIN)                       \
	X("movzbl (%rbx),%edx", 0, PLAIN)                       \
	X("movzbq (%rbx),%rdx", 0, PLAIN)                       \
	X("movzwl (%rbx),%edx", 0, PLAIN)                       \
	X("movzwq (%rbx),%r12", 0, PLAIN)                       \
	X("movsbw (%rbx),%ax", 0, PLAIN)                        \
	X("movsbl (%rbx),%eax", 0, PLAIN)                       \
	X("movsbq (%rbx),%rax", 0, PLAIN)                       \
	X("movswl (%rbx),%eax", 0, PLAIN)                       \
	X("movswq (%rbx),%rax", 0, PLAIN)                       \
	X("movslq (%rbx),%rax", 0, PLAIN)                       \
	X("xchgb %ah,(%rbx)", 0, PLAIN)                         \
	X("xchgw %dx,(%rbx)", 0, PLAIN)                         \
	X("xchgl %edx,(%rbx)", 0, PLAIN)                        \
	X("xchgq %rbx,(%rbx)", 0, PLAIN)

#define ALU(X, op, undef)                                       \
	X(op "b %dl,(%rbx)", undef, PLAIN)                      \
	X(op "w %dx,(%rbx)", undef, PLAIN)                      \
	X(op "l %edx,(%rbx)", undef, PLAIN)                     \
	X(op "q %r11,(%rbx)", undef, PLAIN)                     \
	X(op "b $0x7f,(%rbx)", undef, PLAIN)                    \
	X(op "w $0x1234,(%rbx)", undef, PLAIN)                  \
	X(op "l $0x12345678,(%rbx)", undef, PLAIN)              \
	X(op "q $-0x12345678,(%rbx)", undef, PLAIN)

#define ALU_LOADS(X, op, undef)                                 \
	X(op "b (%rbx),%ah", undef, PLAIN)                      \
	X(op "w (%rbx),%r8w", undef, PLAIN)                     \
	X(op "l (%rbx),%esi", undef, PLAIN)                     \
	X(op "q (%rbx),%rax", undef, PLAIN)                     \
	X(op "w $-3,(%rbx)", undef, PLAIN)                      \
	X(op "l $-3,(%rbx)", undef, PLAIN)                      \
	X(op "q $-3,(%rbx)", undef, PLAIN)

#define ALU_LOCKED(X, op, undef)                                \
	X("lock " op "b %dl,(%rbx)", undef, PLAIN)              \
	X("lock " op "l $3,(%rbx)", undef, PLAIN)               \
	X("lock " op "q %rdx,(%rbx)", undef, PLAIN)

#define BINARY(X, op, undef)                                    \
	ALU(X, op, undef)                                       \
	ALU_LOADS(X, op, undef) ALU_LOCKED(X, op, undef)

#define UNARY(X, op)                                            \
	X(op "b (%rbx)", 0, PLAIN)                              \
	X(op "w (%rbx)", 0, PLAIN)                              \
	X(op "l (%rbx)", 0, PLAIN)                              \
	X(op "q (%rbx)", 0, PLAIN)                              \
	X("lock " op "l (%rbx)", 0, PLAIN)

#define BIT_FORMS(X, op)                                        \
	X(op "w %dx,(%rbx)", BIT_OP, BITS_)                     \
	X(op "l %edx,(%rbx)", BIT_OP, BITS_)                    \
	X(op "q %rdx,(%rbx)", BIT_OP, BITS_)                    \
	X(op "w $5,(%rbx)", BIT_OP, PLAIN)                      \
	X(op "l $200,(%rbx)", BIT_OP, PLAIN)                    \
	X(op "q $63,(%rbx)", BIT_OP, PLAIN)

#define EXCHANGES(X)                                            \
	X("cmpxchgb %dl,(%rbx)", 0, ACC)                        \
	X("cmpxchgw %dx,(%rbx)", 0, ACC)                        \
	X("cmpxchgl %edx,(%rbx)", 0, ACC)                       \
	X("cmpxchgq %rdx,(%rbx)", 0, ACC)                       \
	X("lock cmpxchgl %edx,(%rbx)", 0, ACC)                  \
	X("xaddb %dl,(%rbx)", 0, PLAIN)                         \
	X("xaddw %dx,(%rbx)", 0, PLAIN)                         \
	X("xaddl %edx,(%rbx)", 0, PLAIN)                        \
	X("lock xaddq %rdx,(%rbx)", 0, PLAIN)

#define STRING(X, op)                                           \
	X(op "b", 0, ACC)                                       \
	X(op "w", 0, ACC)                                       \
	X(op "l", 0, ACC)                                       \
	X(op "q", 0, ACC)                                       \
	X("addr32 " op "l", 0, ADDR32)

#define OF_TOO (RFLAGS_AF | RFLAGS_OF)
#define SHIFT(X, op, undef)                                     \
	X(op "b %cl,(%rbx)", undef | RFLAGS_OF, COUNT)          \
	X(op "w %cl,(%rbx)", undef | RFLAGS_OF, COUNT)          \
	X(op "l %cl,(%rbx)", undef | RFLAGS_OF, COUNT)          \
	X(op "q %cl,(%rbx)", undef | RFLAGS_OF, COUNT)          \
	X(op "b %cl,%dh", undef | RFLAGS_OF, COUNT)             \
	X(op "w %cl,%r9w", undef | RFLAGS_OF, COUNT)            \
	X(op "l %cl,%edx", undef | RFLAGS_OF, COUNT)            \
	X(op "b $1,(%rbx)", undef, PLAIN)                       \
	X(op "w $1,(%rbx)", undef, PLAIN)                       \
	X(op "l $1,%eax", undef, PLAIN)                         \
	X(op "q $1,(%rbx)", undef, PLAIN)                       \
	X(op "b $5,(%rbx)", undef | RFLAGS_OF, PLAIN)           \
	X(op "w $11,(%rbx)", undef | RFLAGS_OF, PLAIN)          \
	X(op "l $31,(%rbx)", undef | RFLAGS_OF, PLAIN)          \
	X(op "q $63,(%rbx)", undef | RFLAGS_OF, PLAIN)          \
	X(op "q $0,(%rbx)", 0, PLAIN)

#define SHIFT_DOUBLE(X, op)                                     \
	X(op "w $1,%dx,(%rbx)", LOGIC, PLAIN)                   \
	X(op "w $16,%dx,(%rbx)", OF_TOO, PLAIN)                 \
	X(op "l $1,%edx,(%rbx)", LOGIC, PLAIN)                  \
	X(op "l %cl,%edx,(%rbx)", OF_TOO, COUNT)                \
	X(op "q %cl,%rdx,(%rbx)", OF_TOO, COUNT)                \
	X(op "q $63,%rdx,%rax", OF_TOO, PLAIN)

#define MUL_UNDEF (RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF)
#define PRODUCT(X, op, undef, kind)                             \
	X(op "b (%rbx)", undef, kind)                           \
	X(op "w (%rbx)", undef, kind)                           \
	X(op "l (%rbx)", undef, kind)                           \
	X(op "q (%rbx)", undef, kind)                           \
	X(op "b %ch", undef, kind)                              \
	X(op "l %r9d", undef, kind)

#define CONDITION(X, cc)                                        \
	X("set" cc " (%rbx)", 0, PLAIN)                         \
	X("set" cc " %dh", 0, PLAIN)                            \
	X("cmov" cc " (%rbx),%dx", 0, PLAIN)                    \
	X("cmov" cc " (%rbx),%edx", 0, PLAIN)                   \
	X("cmov" cc " (%rbx),%r10", 0, PLAIN)

#define CONDITIONS(X)                                           \
	CONDITION(X, "o") CONDITION(X, "no") CONDITION(X, "b")  \
	CONDITION(X, "ae") CONDITION(X, "e") CONDITION(X, "ne") \
	CONDITION(X, "be") CONDITION(X, "a") CONDITION(X, "s")  \
	CONDITION(X, "ns") CONDITION(X, "p") CONDITION(X, "np") \
	CONDITION(X, "l") CONDITION(X, "ge") CONDITION(X, "le") \
	CONDITION(X, "g")

#define SCAN_UNDEF (RFLAGS_CF | RFLAGS_OF | RFLAGS_SF | RFLAGS_AF | RFLAGS_PF)
#define OTHERS(X)                                               \
	X("imulw (%rbx),%dx", MUL_UNDEF, PLAIN)                 \
	X("imull (%rbx),%edx", MUL_UNDEF, PLAIN)                \
	X("imulq (%rbx),%rdx", MUL_UNDEF, PLAIN)                \
	X("imulw $-3,(%rbx),%dx", MUL_UNDEF, PLAIN)             \
	X("imull $0x12345,(%rbx),%edx", MUL_UNDEF, PLAIN)       \
	X("imulq $-0x12345,(%rbx),%rdx", MUL_UNDEF, PLAIN)      \
	X("bsfw (%rbx),%dx", SCAN_UNDEF, PLAIN)                 \
	X("bsfq (%rbx),%rdx", SCAN_UNDEF, PLAIN)                \
	X("bsrw (%rbx),%dx", SCAN_UNDEF, PLAIN)                 \
	X("bsrq (%rbx),%rdx", SCAN_UNDEF, PLAIN)                \
	X("cmpxchg8b (%rbx)", 0, ACC)                           \
	X("lock cmpxchg8b (%rbx)", 0, ACC)                      \
	X("bswap %edx", 0, PLAIN)                               \
	X("bswap %r9", 0, PLAIN)                                \
	X("lea 0x12(%rbx,%rcx,4),%dx", 0, PLAIN)                \
	X("lea 0x12(%rbx,%rcx,8),%edx", 0, PLAIN)               \
	X("lea -3(%ebx),%rdx", 0, PLAIN)                        \
	X("cbtw", 0, PLAIN)                                     \
	X("cwtl", 0, PLAIN)                                     \
	X("cltq", 0, PLAIN)                                     \
	X("cwtd", 0, PLAIN)                                     \
	X("cltd", 0, PLAIN)                                     \
	X("cqto", 0, PLAIN)                                     \
	X("lahf", 0, PLAIN)                                     \
	X("sahf", 0, PLAIN)                                     \
	X("clc", 0, PLAIN)                                      \
	X("stc", 0, PLAIN)                                      \
	X("cmc", 0, PLAIN)                                      \
	X("cld", 0, PLAIN)                                      \
	X("std", 0, PLAIN)                                      \
	X("xlat", 0, ACC)                                       \
	X("nopw 16(%rbx)", 0, PLAIN)                            \
	X("movl %edx,%ecx", 0, PLAIN)                           \
	X("xchgb %dh,%cl", 0, PLAIN)                            \
	X("addw $0x1234,%ax", 0, PLAIN)                         \
	X("sbbb $0x12,%al", 0, PLAIN)                           \
	X("cmpl %esi,%ecx", 0, PLAIN)

#define STACK(X)                                                \
	X("push %rdx", 0, PLAIN)                                \
	X("push %dx", 0, PLAIN)                                 \
	X("push %rsp", 0, PLAIN)                                \
	X("push $-3", 0, PLAIN)                                 \
	X("pushw $0x1234", 0, PLAIN)                            \
	X("push $0x12345678", 0, PLAIN)                         \
	X("push (%rbx)", 0, PLAIN)                              \
	X("pushw (%rbx)", 0, PLAIN)                             \
	X("push 8(%rsp)", 0, PLAIN)                             \
	X("pop %rdx", 0, PLAIN)                                 \
	X("pop %dx", 0, PLAIN)                                  \
	X("pop %rsp", 0, PLAIN)                                 \
	X("pop (%rbx)", 0, PLAIN)                               \
	X("popw (%rbx)", 0, PLAIN)                              \
	X("pop 8(%rsp)", 0, PLAIN)                              \
	X("pushf", 0, PLAIN)                                    \
	X("pushfw", 0, PLAIN)                                   \
	X("popf", 0, POPS)                                      \
	X("popfw", 0, POPS)                                     \
	X("enter $32,$0", 0, PLAIN)                             \
	X("enter $0,$1", 0, PLAIN)                              \
	X("enter $40,$5", 0, PLAIN)                             \
	X("leave", 0, PLAIN)                                    \
	X("leavew", 0, PLAIN)

#define FORMS(X)                                                \
	SHIFT(X, "rol", 0)                                      \
	SHIFT(X, "ror", 0)                                      \
	SHIFT(X, "rcl", 0)                                      \
	SHIFT(X, "rcr", 0)                                      \
	SHIFT(X, "shl", LOGIC)                                  \
	SHIFT(X, "shr", LOGIC)                                  \
	SHIFT(X, "sar", LOGIC)                                  \
	SHIFT_DOUBLE(X, "shld")                                 \
	SHIFT_DOUBLE(X, "shrd")                                 \
	PRODUCT(X, "mul", MUL_UNDEF, PLAIN)                     \
	PRODUCT(X, "imul", MUL_UNDEF, PLAIN)                    \
	PRODUCT(X, "div", ALU_FLAGS, DIVIDE)                    \
	PRODUCT(X, "idiv", ALU_FLAGS, DIVIDE)                   \
	CONDITIONS(X)                                           \
	OTHERS(X)                                               \
	STACK(X)                                                \
	MOVES(X)                                                \
	BINARY(X, "add", 0)                                     \
	BINARY(X, "adc", 0)                                     \
	BINARY(X, "sub", 0)                                     \
	BINARY(X, "sbb", 0)                                     \
	BINARY(X, "and", LOGIC)                                 \
	BINARY(X, "or", LOGIC)                                  \
	BINARY(X, "xor", LOGIC)                                 \
	ALU(X, "cmp", 0)                                        \
	ALU_LOADS(X, "cmp", 0)                                  \
	ALU(X, "test", LOGIC)                                   \
	UNARY(X, "not")                                         \
	UNARY(X, "neg")                                         \
	UNARY(X, "inc")                                         \
	UNARY(X, "dec")                                         \
	BIT_FORMS(X, "bt")                                      \
	BIT_FORMS(X, "bts")                                     \
	BIT_FORMS(X, "btr")                                     \
	BIT_FORMS(X, "btc")                                     \
	X("lock btsl %edx,(%rbx)", BIT_OP, BITS_)               \
	EXCHANGES(X)                                            \
	STRING(X, "movs")                                       \
	STRING(X, "stos")                                       \
	STRING(X, "lods")                                       \
	STRING(X, "cmps")                                       \
	STRING(X, "scas")                                       \
	STRING(X, "rep movs")                                   \
	STRING(X, "rep stos")                                   \
	STRING(X, "rep lods")                                   \
	STRING(X, "repe cmps")                                  \
	STRING(X, "repne cmps")                                 \
	STRING(X, "repe scas")                                  \
	STRING(X, "repne scas")                                 \
	X("rep movsb %gs:(%rsi),%es:(%rdi)", 0, PLAIN)

#define MOVBE_FORMS(X)                                          \
	X("movbew (%rbx),%dx", 0, PLAIN)                        \
	X("movbel (%rbx),%edx", 0, PLAIN)                       \
	X("movbeq (%rbx),%rdx", 0, PLAIN)                       \
	X("movbew %dx,(%rbx)", 0, PLAIN)                        \
	X("movbel %edx,(%rbx)", 0, PLAIN)                       \
	X("movbeq %rdx,(%rbx)", 0, PLAIN)
/* clang-format on */

/* The code of all forms, each behind a byte with its length. */
#define CODE_OF(text, undef, kind) ".byte 9912f-9911f\n9911: " text "\n9912:\n"
__asm__(".pushsection .rodata\n"
	"forms_code:\n" FORMS(CODE_OF) "movbe_code:\n" MOVBE_FORMS(CODE_OF) ".popsection\n");
extern const uint8_t forms_code[], movbe_code[];

struct form {
	const char *text;
	uint64_t undef; /* flags that the manuals leave undefined */
	enum kind kind;
};
#define ENTRY_OF(text, undef, kind) { text, undef, kind },
static const struct form forms[] = { FORMS(ENTRY_OF) };
static const struct form movbe_forms[] = { MOVBE_FORMS(ENTRY_OF) };

/* Load native_gpr and native_flags, run CODE, which jumps to native_back, and store them again. */
uint64_t native_gpr[16], native_flags, native_stack;
void native_run(void);
void native_back(void);
__asm__(".pushsection .text\n"
	"native_run:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"pushq native_flags(%rip)\n"
	"mov native_gpr+0(%rip),%rax; mov native_gpr+8(%rip),%rcx\n"
	"mov native_gpr+16(%rip),%rdx; mov native_gpr+24(%rip),%rbx\n"
	"mov native_gpr+40(%rip),%rbp; mov native_gpr+48(%rip),%rsi\n"
	"mov native_gpr+56(%rip),%rdi; mov native_gpr+64(%rip),%r8\n"
	"mov native_gpr+72(%rip),%r9; mov native_gpr+80(%rip),%r10\n"
	"mov native_gpr+88(%rip),%r11; mov native_gpr+96(%rip),%r12\n"
	"mov native_gpr+104(%rip),%r13; mov native_gpr+112(%rip),%r14\n"
	"mov native_gpr+120(%rip),%r15\n"
	"popfq\n"
	"mov %rsp,native_stack(%rip); mov native_gpr+32(%rip),%rsp\n"
	"jmp *native_entry(%rip)\n"
	"native_back:\n"
	"mov %rsp,native_gpr+32(%rip); mov native_stack(%rip),%rsp\n"
	"pushfq; cld\n"
	"mov %rax,native_gpr+0(%rip); mov %rcx,native_gpr+8(%rip)\n"
	"mov %rdx,native_gpr+16(%rip); mov %rbx,native_gpr+24(%rip)\n"
	"mov %rbp,native_gpr+40(%rip); mov %rsi,native_gpr+48(%rip)\n"
	"mov %rdi,native_gpr+56(%rip); mov %r8,native_gpr+64(%rip)\n"
	"mov %r9,native_gpr+72(%rip); mov %r10,native_gpr+80(%rip)\n"
	"mov %r11,native_gpr+88(%rip); mov %r12,native_gpr+96(%rip)\n"
	"mov %r13,native_gpr+104(%rip); mov %r14,native_gpr+112(%rip)\n"
	"mov %r15,native_gpr+120(%rip)\n"
	"popq native_flags(%rip)\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"ret\n"
	".popsection\n"
	".pushsection .data.rel.ro,\"aw\"\n"
	"native_entry: .quad 0x40100000\n"
	".popsection\n");
static_assert(CODE == 0x40100000, "native_entry");

static uint8_t *window; /* WINDOW, two pages, natively */
static uint8_t *code;   /* CODE, one page */

static uint64_t random64(void)
{
	static uint64_t s = 0x9e3779b97f4a7c15;

	return fake_random64(&s);
}

/* An address in the window with room on both sides, often where the pages meet. */
static uint64_t random_address(void)
{
	uint64_t r = random64();

	if (r & 1)
		return WINDOW + 4096 - 12 + (r >> 8) % 16;
	return WINDOW + 1024 + (r >> 8) % 6144;
}

/* Values at the edges are where flags go wrong. */
static uint64_t random_value(void)
{
	static const uint64_t edges[] = { 0,
					  1,
					  0x7f,
					  0x80,
					  0xff,
					  0x7fff,
					  0x8000,
					  0xffff,
					  0x7fffffff,
					  0x80000000,
					  0xffffffff,
					  0x7fffffffffffffff,
					  0x8000000000000000,
					  ~UINT64_C(0) };
	uint64_t r = random64();

	return r & 3 ? random64() : edges[(r >> 8) % ARRAY_SIZE(edges)];
}

static void random_state(enum kind kind)
{
	for (unsigned i = 0; i < 16; i++)
		native_gpr[i] = random_value();
	native_gpr[RBX] = random_address();
	native_gpr[RSI] = random_address();
	native_gpr[RDI] = random_address();
	native_gpr[RCX] = kind == COUNT || kind == DIVIDE ? random64() : random64() % 20;
	native_gpr[RSP] = random_address();
	native_gpr[RBP] = random_address();
	native_flags = RFLAGS_FIXED | RFLAGS_IF | (random64() & (ALU_FLAGS | RFLAGS_DF));
	for (unsigned i = 0; i < 8192; i += 8) {
		uint64_t v = random64();

		/* Long runs of equal bytes, so that comparisons go on for a while. */
		if (kind == ACC && (v & 7))
			v = 0x5a5a5a5a5a5a5a5a;
		memcpy(window + i, &v, 8);
	}
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v = random_value();

		memcpy(window + (native_gpr[RBX] - WINDOW) + 8 * i - 16, &v, 8);
	}
	if (kind == BITS_)
		native_gpr[RDX] = (uint64_t)((int64_t)(random64() % 8192) - 4096);
	if (kind == ACC && random64() & 1)
		memcpy(&native_gpr[RAX], window + (native_gpr[RBX] - WINDOW), 8);
	else if (kind == ACC)
		native_gpr[RAX] = 0x5a5a5a5a5a5a5a5a;
	if (kind == DIVIDE && random64() % 4)
		native_gpr[RDX] = random64() & 1 ? random64() % 16 : -(native_gpr[RAX] >> 63);
	if (kind == DIVIDE && random64() % 4)
		native_gpr[RAX] = (uint64_t)(int16_t)native_gpr[RAX] >> (random64() & 8);
	if (kind == POPS) {
		uint64_t v = random64() & (ALU_FLAGS | RFLAGS_DF);

		memcpy(window + (native_gpr[RSP] - WINDOW), &v, 8);
	}
	if (kind == ADDR32) {
		native_gpr[RBX] |= random64() << 32;
		native_gpr[RSI] |= random64() << 32;
		native_gpr[RDI] |= random64() << 32;
		/* With a count of 0 processors differ in what becomes of the upper half. */
		native_gpr[RCX] = (native_gpr[RCX] + 1) | random64() << 32;
	}
}

/* Where the emulator's guest finds the two pages this time. */
static uint8_t *back_page(unsigned page, bool device)
{
	window_map(page, device ? (page ? DEVICE_B : DEVICE_A) : (page ? RAM_1 : RAM_0),
		   PTE_P | PTE_W | PTE_U);
	return device ? fx.dev[page].mem : fx.ram + (page ? RAM_1 : RAM_0);
}

/* What came of it; DIVIDE: it may have been refused. */
enum outcome { AS_WANTED, REFUSED, WRONG };

static enum outcome emulate_once(const struct form *form, unsigned len, uint8_t *const page[2])
{
	enum emulate_result result;

	for (unsigned i = 0; i < 2; i++)
		memcpy(page[i], window + i * 4096, 4096);
	memcpy(fx.vcpu.regs.gpr, native_gpr, sizeof(native_gpr));
	fx.vcpu.regs.rflags = native_flags;
	fx.vcpu.regs.rip = CODE;
	fx.vcpu.events.pending.kind = EVENT_NONE;
	result = emulate_mmio(&fx.vcpu);
	if (form->kind == DIVIDE && result == EMULATE_FAULT &&
	    fx.vcpu.events.pending.vector == VEC_DE)
		return REFUSED;
	if (result != EMULATE_DONE || fx.vcpu.regs.rip != CODE + len) {
		print_error("%s: expected done and length %u, seen result %d, length %lld\n",
			    form->text, len, result, (long long)(fx.vcpu.regs.rip - CODE));
		return WRONG;
	}
	return AS_WANTED;
}

static bool same(const struct form *form, uint8_t *const page[2], uint64_t flags_in)
{
	uint64_t mask = (ALU_FLAGS | RFLAGS_DF) & ~form->undef;
	bool ok = true;

	for (unsigned i = 0; i < 16; i++) {
		if (fx.vcpu.regs.gpr[i] == native_gpr[i])
			continue;
		print_error("%s: register %u: expected %016llx, seen %016llx\n", form->text, i,
			    (unsigned long long)native_gpr[i],
			    (unsigned long long)fx.vcpu.regs.gpr[i]);
		ok = false;
	}
	if ((fx.vcpu.regs.rflags ^ native_flags) & mask) {
		print_error("%s: flags from %llx: expected %llx, seen %llx\n", form->text,
			    (unsigned long long)flags_in, (unsigned long long)(native_flags & mask),
			    (unsigned long long)(fx.vcpu.regs.rflags & mask));
		ok = false;
	}
	for (unsigned i = 0; i < 8192; i++) {
		if (window[i] == page[i / 4096][i % 4096])
			continue;
		print_error("%s: memory at +%x: expected %02x, seen %02x\n", form->text, i,
			    window[i], page[i / 4096][i % 4096]);
		return false;
	}
	return ok;
}

static void check_form(const struct form *form, const uint8_t *bytes, unsigned len)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* to the address behind it */
	const uint64_t back = (uint64_t)native_back;
	unsigned refused = 0;

	memcpy(code, bytes, len);
	memcpy(code + len, jump, sizeof(jump));
	memcpy(code + len + sizeof(jump), &back, sizeof(back));
	fx.vcpu.regs.rip = CODE;
	fx_code(bytes, len);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint8_t *page[2] = { back_page(0, !(i & 1)), back_page(1, !(i & 2)) };
		uint64_t flags_in;

		random_state(form->kind);
		flags_in = native_flags;
		switch (emulate_once(form, len, page)) {
		case AS_WANTED:
			native_run();
			break;
		case REFUSED:
			refused++;
			continue;
		case WRONG:
			fail_msg("%s is not emulated", form->text);
		}
		if (!same(form, page, flags_in))
			fail_msg("%s differs from the processor", form->text);
	}
	if (refused > ROUNDS * 9 / 10)
		fail_msg("%s is refused %u times of %u", form->text, refused, ROUNDS);
}

static void check_forms(const struct form *form, unsigned n, const uint8_t *bytes)
{
	for (unsigned i = 0; i < n; i++) {
		check_form(&form[i], bytes + 1, bytes[0]);
		bytes += 1 + bytes[0];
	}
}

static void test_forms(void **state)
{
	(void)state;
	check_forms(forms, ARRAY_SIZE(forms), forms_code);
}

static void test_movbe(void **state)
{
	(void)state;
	if (!__builtin_cpu_supports("movbe"))
		skip();
	check_forms(movbe_forms, ARRAY_SIZE(movbe_forms), movbe_code);
}

static int setup(void **state)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	if (fx_setup(state))
		return -1;
	fx.seg[SEG_GS].base = GS_BASE;
	window = mmap((void *)WINDOW, 8192, PROT_READ | PROT_WRITE, flags, -1, 0);
	code = mmap((void *)CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0);
	if (window != (void *)WINDOW || code != (void *)CODE)
		return -1;
	return syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE) ? -1 : 0;
}

static int teardown(void **state)
{
	munmap(window, 8192);
	munmap(code, 4096);
	return fx_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_movbe, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
