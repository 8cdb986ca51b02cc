/* Instructions at random: of those with which a hypervisor has to do, or just bytes. */
#include "tests/guest/hostile/hostile.h"

/* What is often more than a prefix and a ModRM byte: those that exit, or touch memory. */
static const struct {
	uint8_t bytes[4];
	uint8_t len;
	uint8_t weight;
} opcodes[] = {
	/* Descriptors, control and debug registers, MSRs. */
	{ { 0x0f, 0x00 }, 2, 4 },
	{ { 0x0f, 0x01 }, 2, 6 },
	{ { 0x0f, 0x02 }, 2, 1 },
	{ { 0x0f, 0x03 }, 2, 1 },
	{ { 0x0f, 0x06 }, 2, 1 },
	{ { 0x0f, 0x20 }, 2, 3 },
	{ { 0x0f, 0x21 }, 2, 2 },
	{ { 0x0f, 0x22 }, 2, 3 },
	{ { 0x0f, 0x23 }, 2, 3 },
	{ { 0x0f, 0x30 }, 2, 3 },
	{ { 0x0f, 0x31 }, 2, 1 },
	{ { 0x0f, 0x32 }, 2, 3 },
	{ { 0x0f, 0x33 }, 2, 2 },
	{ { 0x0f, 0xa2 }, 2, 3 },
	{ { 0x0f, 0x08 }, 2, 1 },
	{ { 0x0f, 0x09 }, 2, 1 },
	{ { 0x8e }, 1, 4 },
	{ { 0x8c }, 1, 1 },
	{ { 0x0f, 0xb2 }, 2, 1 },
	{ { 0x0f, 0xb4 }, 2, 1 },
	{ { 0x0f, 0xb5 }, 2, 1 },
	{ { 0xc4 }, 1, 2 },
	{ { 0xc5 }, 1, 2 },
	{ { 0x07 }, 1, 1 },
	{ { 0x1f }, 1, 1 },
	{ { 0x17 }, 1, 1 },
	{ { 0x63 }, 1, 1 },
	/* SVM, VMX, hypercalls, and what exits beside them. */
	{ { 0x0f, 0x01, 0xc1 }, 3, 3 },
	{ { 0x0f, 0x01, 0xc2 }, 3, 1 },
	{ { 0x0f, 0x01, 0xc3 }, 3, 1 },
	{ { 0x0f, 0x01, 0xc4 }, 3, 1 },
	{ { 0x0f, 0x01, 0xc8 }, 3, 1 },
	{ { 0x0f, 0x01, 0xc9 }, 3, 1 },
	{ { 0x0f, 0x01, 0xd0 }, 3, 1 },
	{ { 0x0f, 0x01, 0xd1 }, 3, 3 },
	{ { 0x0f, 0x01, 0xd4 }, 3, 1 },
	{ { 0x0f, 0x01, 0xd8 }, 3, 2 },
	{ { 0x0f, 0x01, 0xd9 }, 3, 3 },
	{ { 0x0f, 0x01, 0xda }, 3, 1 },
	{ { 0x0f, 0x01, 0xdb }, 3, 1 },
	{ { 0x0f, 0x01, 0xdc }, 3, 1 },
	{ { 0x0f, 0x01, 0xdd }, 3, 1 },
	{ { 0x0f, 0x01, 0xde }, 3, 1 },
	{ { 0x0f, 0x01, 0xdf }, 3, 2 },
	{ { 0x0f, 0x01, 0xee }, 3, 1 },
	{ { 0x0f, 0x01, 0xef }, 3, 1 },
	{ { 0x0f, 0x01, 0xf8 }, 3, 1 },
	{ { 0x0f, 0x01, 0xf9 }, 3, 1 },
	{ { 0x0f, 0x01, 0xfa }, 3, 1 },
	{ { 0x0f, 0x01, 0xfb }, 3, 1 },
	{ { 0x0f, 0x01, 0xfc }, 3, 1 },
	{ { 0x0f, 0x78 }, 2, 2 },
	{ { 0x0f, 0x79 }, 2, 2 },
	{ { 0x0f, 0xc7 }, 2, 4 },
	{ { 0x66, 0x0f, 0x38, 0x80 }, 4, 1 },
	{ { 0x66, 0x0f, 0x38, 0x81 }, 4, 1 },
	{ { 0x66, 0x0f, 0x38, 0x82 }, 4, 2 },
	{ { 0x0f, 0xaa }, 2, 1 },
	{ { 0x0f, 0x37 }, 2, 1 },
	{ { 0xf3, 0x90 }, 2, 1 },
	{ { 0x0f, 0xae }, 2, 3 },
	{ { 0x0f, 0x0b }, 2, 1 },
	/* Control flow, flags, stacks. */
	{ { 0x0f, 0x05 }, 2, 1 },
	{ { 0x0f, 0x07 }, 2, 1 },
	{ { 0x0f, 0x34 }, 2, 1 },
	{ { 0x0f, 0x35 }, 2, 1 },
	{ { 0x9a }, 1, 1 },
	{ { 0xea }, 1, 2 },
	{ { 0xca }, 1, 1 },
	{ { 0xcb }, 1, 1 },
	{ { 0xcf }, 1, 3 },
	{ { 0xcd }, 1, 3 },
	{ { 0xce }, 1, 1 },
	{ { 0xf1 }, 1, 1 },
	{ { 0xcc }, 1, 1 },
	{ { 0x9c }, 1, 2 },
	{ { 0x9d }, 1, 2 },
	{ { 0xff }, 1, 5 },
	{ { 0xfe }, 1, 1 },
	{ { 0xc8 }, 1, 1 },
	{ { 0xc9 }, 1, 1 },
	{ { 0x60 }, 1, 1 },
	{ { 0x61 }, 1, 1 },
	{ { 0x62 }, 1, 1 },
	{ { 0xfb }, 1, 2 },
	{ { 0xe8 }, 1, 1 },
	{ { 0xc3 }, 1, 1 },
	{ { 0x8f }, 1, 1 },
	{ { 0x68 }, 1, 1 },
	{ { 0xe2 }, 1, 1 },
	{ { 0x0f, 0x80 }, 2, 1 },
	/* Ports. */
	{ { 0xe4 }, 1, 1 },
	{ { 0xe5 }, 1, 1 },
	{ { 0xe6 }, 1, 1 },
	{ { 0xe7 }, 1, 1 },
	{ { 0xec }, 1, 2 },
	{ { 0xed }, 1, 2 },
	{ { 0xee }, 1, 2 },
	{ { 0xef }, 1, 2 },
	{ { 0x6c }, 1, 2 },
	{ { 0x6d }, 1, 2 },
	{ { 0x6e }, 1, 2 },
	{ { 0x6f }, 1, 2 },
	/* Memory. */
	{ { 0x88 }, 1, 3 },
	{ { 0x89 }, 1, 3 },
	{ { 0x8a }, 1, 3 },
	{ { 0x8b }, 1, 3 },
	{ { 0x86 }, 1, 2 },
	{ { 0x87 }, 1, 2 },
	{ { 0xa0 }, 1, 1 },
	{ { 0xa1 }, 1, 1 },
	{ { 0xa2 }, 1, 1 },
	{ { 0xa3 }, 1, 1 },
	{ { 0xa4 }, 1, 3 },
	{ { 0xa5 }, 1, 3 },
	{ { 0xa6 }, 1, 1 },
	{ { 0xa7 }, 1, 1 },
	{ { 0xaa }, 1, 2 },
	{ { 0xab }, 1, 2 },
	{ { 0xac }, 1, 1 },
	{ { 0xad }, 1, 1 },
	{ { 0xae }, 1, 1 },
	{ { 0xaf }, 1, 1 },
	{ { 0x00 }, 1, 1 },
	{ { 0x01 }, 1, 2 },
	{ { 0x03 }, 1, 1 },
	{ { 0x11 }, 1, 1 },
	{ { 0x21 }, 1, 1 },
	{ { 0x31 }, 1, 1 },
	{ { 0x39 }, 1, 1 },
	{ { 0x80 }, 1, 2 },
	{ { 0x81 }, 1, 2 },
	{ { 0x83 }, 1, 2 },
	{ { 0x85 }, 1, 1 },
	{ { 0xc6 }, 1, 2 },
	{ { 0xc7 }, 1, 2 },
	{ { 0xd1 }, 1, 1 },
	{ { 0xd3 }, 1, 1 },
	{ { 0xf6 }, 1, 2 },
	{ { 0xf7 }, 1, 3 },
	{ { 0x0f, 0xb0 }, 2, 1 },
	{ { 0x0f, 0xb1 }, 2, 2 },
	{ { 0x0f, 0xc0 }, 2, 1 },
	{ { 0x0f, 0xc1 }, 2, 2 },
	{ { 0x0f, 0xab }, 2, 1 },
	{ { 0x0f, 0xb3 }, 2, 1 },
	{ { 0x0f, 0xba }, 2, 1 },
	{ { 0x0f, 0xa5 }, 2, 1 },
	{ { 0x0f, 0xb6 }, 2, 1 },
	{ { 0x0f, 0xbf }, 2, 1 },
	{ { 0x0f, 0x10 }, 2, 2 },
	{ { 0x0f, 0x11 }, 2, 2 },
	{ { 0x0f, 0x28 }, 2, 1 },
	{ { 0x0f, 0x29 }, 2, 2 },
	{ { 0x66, 0x0f, 0x6f }, 3, 1 },
	{ { 0x66, 0x0f, 0x7f }, 3, 2 },
	{ { 0x0f, 0xd6 }, 2, 1 },
	{ { 0x0f, 0x2b }, 2, 1 },
	{ { 0x0f, 0xe7 }, 2, 1 },
	{ { 0x0f, 0xc3 }, 2, 1 },
	{ { 0xd8 }, 1, 1 },
	{ { 0xd9 }, 1, 1 },
	{ { 0xdb }, 1, 1 },
	{ { 0xdd }, 1, 2 },
	{ { 0xdf }, 1, 1 },
	{ { 0x0f, 0x18 }, 2, 1 },
	{ { 0x0f, 0x0d }, 2, 1 },
	{ { 0x0f, 0x38, 0xf0 }, 3, 1 },
	{ { 0x0f, 0x38, 0xf1 }, 3, 1 },
	{ { 0x69 }, 1, 1 },
	{ { 0x0f, 0x44 }, 2, 1 },
	{ { 0x0f, 0x94 }, 2, 1 },
	{ { 0xd7 }, 1, 1 },
	/* Rarely, as they can end it all. */
	{ { 0xfa }, 1, 1 },
	{ { 0xf4 }, 1, 1 },
};

static const uint8_t prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf3, 0xf0, 0xf0,
				    0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65 };

static const uint8_t *choose_opcode(unsigned *len)
{
	static unsigned total;
	unsigned at, i = 0;

	if (!total)
		for (unsigned k = 0; k < sizeof(opcodes) / sizeof(opcodes[0]); k++)
			total += opcodes[k].weight;
	for (at = below(total); at >= opcodes[i].weight; i++)
		at -= opcodes[i].weight;
	*len = opcodes[i].len;
	return opcodes[i].bytes;
}

/* Loads of CR3, GDTR and IDTR with anything are mostly the end. */
static bool is_deadly(const uint8_t *opcode, unsigned len, uint8_t modrm)
{
	unsigned reg = modrm >> 3 & 7;

	if (len != 2 || opcode[0] != 0x0f)
		return false;
	return (opcode[1] == 0x22 && reg == 3) ||
	       (opcode[1] == 1 && (reg == 2 || reg == 3) && modrm < 0xc0);
}

/* One instruction, or what looks like one: its length, at most 15. */
static unsigned make_insn(uint8_t *to, unsigned bits)
{
	unsigned n = 0, len;
	const uint8_t *opcode = choose_opcode(&len);
	uint8_t modrm = (uint8_t)rnd();

	while (n < 4 && one_in(4))
		to[n++] = prefixes[below(sizeof(prefixes))];
	if (bits == 64 && one_in(3))
		to[n++] = (uint8_t)(0x40 | below(16));
	if (one_in(2)) /* a plain address in a register */
		modrm = (modrm & 0x38) | (one_in(2) ? 3 : one_in(2) ? 6 : 7);
	if (one_in(64))
		len = 1 + below(len); /* cut off */
	while (is_deadly(opcode, len, modrm) && !one_in(32))
		modrm = (uint8_t)rnd();
	for (unsigned i = 0; i < len; i++)
		to[n++] = opcode[i];
	to[n++] = modrm;
	if (one_in(2) && n < 14)
		to[n++] = (uint8_t)rnd();
	return n;
}

/* What runs writes what is to run next: MOV BYTE [address], imm8. */
static unsigned make_patch(uint8_t *to, unsigned bits)
{
	uint8_t ahead = (uint8_t)below(24);

	if (bits != 64)
		return 0;
	to[0] = 0xc6; /* [RIP + ahead] */
	to[1] = 0x05;
	to[2] = ahead;
	to[3] = to[4] = to[5] = 0;
	to[6] = (uint8_t)rnd();
	return 7;
}

/* QEMU: LTR takes a null selector, and the next exception ends QEMU itself. */
static void leave_out_ltr(uint8_t *code, unsigned len)
{
	for (unsigned i = 0; i + 2 < len; i++)
		if (code[i] == 0x0f && code[i + 1] == 0 && (code[i + 2] >> 3 & 7) == 3)
			code[i + 2] ^= 0x20;
}

void make_code(uint8_t *to, unsigned room, unsigned bits)
{
	unsigned at = 0, count = 1 + below(5);

	if (one_in(5)) {
		for (unsigned n = 1 + below(20); at < n && at < room; at++)
			to[at] = (uint8_t)rnd();
		count = 0;
	}
	while (count-- && at + 16 < room) {
		if (one_in(8))
			at += make_patch(to + at, bits);
		else
			at += make_insn(to + at, bits);
	}
	if (options.on_qemu)
		leave_out_ltr(to, at);
	for (unsigned n = 0; n < 64 && at + 2 < room; n += 2) {
		to[at++] = 0x0f; /* UD2 */
		to[at++] = 0x0b;
	}
}
