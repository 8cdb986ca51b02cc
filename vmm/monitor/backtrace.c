#include "vmm/monitor/backtrace.h"

#include "arch/x86_64/include/bits.h"
#include "vmm/decode.h"
#include "vmm/monitor/address.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define FRAMES_MAX 64
#define FRAME_REACH KIB(64) /* a caller's frame lies within that */
#define SCAN_BYTES KIB(16)
#define CALL_MAX 7 /* bytes of a near CALL, less what prefixes do not matter to it */

struct backtrace {
	const struct vcpu *vcpu;
	unsigned word;         /* bytes of a return address: 2, 4, 8 */
	uint64_t cs, ss, mask; /* bases, and how wide offsets are */
	unsigned frames;
};

static size_t read_virtual(const struct backtrace *b, uint64_t at, void *buf, size_t n)
{
	const struct address a = { .vcpu = b->vcpu, .at = at };

	return address_read(&a, buf, n);
}

/* The word at an offset in the stack segment; false: no memory. */
static bool read_stack(const struct backtrace *b, uint64_t offset, uint64_t *val)
{
	*val = 0;
	return read_virtual(b, b->ss + (offset & b->mask), val, b->word) == b->word;
}

static void print_frame(struct backtrace *b, uint64_t at, const char *how, const char *insn)
{
	const struct address a = { .vcpu = b->vcpu, .at = at };

	monitor_printf("#%-3u %0*llx%s%s\n", b->frames++, (int)address_digits(&a),
		       (unsigned long long)at, how, insn);
}

/* The bytes before an address, as many as a CALL may have; fewer at the start of what is mapped. */
static unsigned read_before(const struct backtrace *b, uint64_t at, uint8_t *bytes)
{
	unsigned n = CALL_MAX;

	if (read_virtual(b, at - n, bytes, n) == n)
		return n;
	n = (unsigned)MIN(at & (PAGE_SIZE - 1), CALL_MAX);
	return read_virtual(b, at - n, bytes, n) == n ? n : 0;
}

/* Print a return address if a CALL stands before it; false: none does. */
static bool print_caller(struct backtrace *b, uint64_t ret, const char *how)
{
	uint64_t at = b->cs + (ret & b->mask);
	uint8_t bytes[CALL_MAX];
	struct insn insn;
	char text[64];
	unsigned n = ret < CALL_MAX ? 0 : read_before(b, at, bytes);

	for (unsigned len = n; len >= 2; len--) {
		const uint8_t *code = bytes + n - len;

		if (decode_insn(&insn, code, len, b->word) != DECODE_OK || insn.len != len ||
		    insn.op != INSN_CALL ||
		    !decode_format(code, len, b->word, ret - len, text, sizeof(text)))
			continue;
		print_frame(b, at, how, text);
		return true;
	}
	return false;
}

static void follow_frames(struct backtrace *b, uint64_t sp)
{
	uint64_t fp = b->vcpu->regs.gpr[RBP] & b->mask, next, ret;

	while (b->frames < FRAMES_MAX && IS_ALIGNED(fp, b->word) && fp >= sp &&
	       fp - sp < FRAME_REACH && read_stack(b, fp, &next) &&
	       read_stack(b, fp + b->word, &ret) && print_caller(b, ret, "   ")) {
		sp = fp + 2u * b->word;
		fp = next;
	}
}

static void scan_stack(struct backtrace *b, uint64_t sp)
{
	uint64_t val;

	sp = ALIGN_UP(sp, b->word);
	for (uint64_t off = 0; off < SCAN_BYTES && b->frames < FRAMES_MAX; off += b->word) {
		if (!read_stack(b, sp + off, &val))
			return;
		print_caller(b, val, " ? ");
	}
}

void backtrace_print(const struct vcpu *vcpu)
{
	struct backtrace b = { .vcpu = vcpu, .word = vcpu_code_size(vcpu), .mask = UINT64_MAX };
	uint64_t sp;

	if (b.word < 8) {
		b.cs = vcpu_seg_base(vcpu, SEG_CS);
		b.ss = vcpu_seg_base(vcpu, SEG_SS);
		b.mask = BITS(8 * b.word - 1, 0);
	}
	sp = vcpu->regs.gpr[RSP] & b.mask;
	print_frame(&b, address_pc(vcpu), "", "");
	follow_frames(&b, sp);
	if (b.frames == 1)
		scan_stack(&b, sp);
	if (b.frames == FRAMES_MAX)
		monitor_printf("... and maybe more\n");
}
