#include "vmm/monitor/examine.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/decode.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define COLUMNS 79
#define STRING_COLUMNS 56
#define STRING_MAX 1024 /* characters of one string */
#define CODE_BYTES 7    /* of an instruction that are shown */

/* --- the format --- */

static bool set_letter(struct examine_format *f, char c)
{
	switch (c) {
	case 'b':
		f->size = 1;
		return true;
	case 'h':
		f->size = 2;
		return true;
	case 'w':
		f->size = 4;
		return true;
	case 'g':
		f->size = 8;
		return true;
	default:
		if (!strchr("xduocsi", c))
			return false;
		f->letter = c;
		return true;
	}
}

bool examine_parse(const char *text, struct examine_format *out)
{
	const char *p = text;
	uint64_t count = 0;

	*out = (struct examine_format){ .count = 1, .letter = 'x' };
	for (; *p >= '0' && *p <= '9'; p++)
		count = MIN(count * 10 + (unsigned)(*p - '0'), EXAMINE_MAX + 1);
	if (p != text && (!count || count > EXAMINE_MAX))
		return monitor_wrong("a COUNT is from 1 to %u", EXAMINE_MAX);
	if (p != text)
		out->count = (unsigned)count;
	for (; *p; p++)
		if (!set_letter(out, *p))
			return monitor_wrong("/%s is no FMT: [COUNT][x d u o c s i][b h w g]",
					     text);
	if (!out->size)
		out->size = out->letter == 'c' || out->letter == 's' ? 1 : 4;
	return true;
}

static void say_lack(const struct address *a)
{
	monitor_printf("%0*llx: %s\n", (int)address_digits(a), (unsigned long long)a->at,
		       address_lack(a));
}

/* --- numbers and characters --- */

static unsigned escape(char *buf, size_t size, uint8_t c)
{
	static const char plain[] = "\a\b\t\n\v\f\r", letter[] = "abtnvfr";
	const char *at = c ? strchr(plain, c) : NULL;

	if (at)
		return (unsigned)ksnprintf(buf, size, "\\%c", letter[at - plain]);
	if (c < ' ' || c > '~')
		return (unsigned)ksnprintf(buf, size, "\\%03o", c);
	return (unsigned)ksnprintf(buf, size, c == '"' || c == '\\' ? "\\%c" : "%c", c);
}

static int64_t sign_extend(uint64_t val, unsigned size)
{
	return (int64_t)(val << (64 - 8 * size)) >> (64 - 8 * size);
}

static void print_unit(const struct examine_format *f, uint64_t val)
{
	static const uint8_t decimals[9] = { [1] = 4, [2] = 6, [4] = 11, [8] = 20 };
	unsigned size = f->size;
	char c[8];

	switch (f->letter) {
	case 'd':
		monitor_printf(" %*lld", decimals[size], (long long)sign_extend(val, size));
		break;
	case 'u':
		monitor_printf(" %*llu", decimals[size], (unsigned long long)val);
		break;
	case 'o':
		monitor_printf(" 0%0*llo", (int)(8 * size + 2) / 3, (unsigned long long)val);
		break;
	case 'c':
		escape(c, sizeof(c), (uint8_t)val);
		monitor_printf(" %4d %c%s%c%*s", (int)(int8_t)val, '\'', c, '\'',
			       (int)(4 - strlen(c)), "");
		break;
	default:
		monitor_printf(" 0x%0*llx", (int)(2 * size), (unsigned long long)val);
	}
}

/* As many on a line as fit, a power of two. */
static unsigned units_of_line(const struct examine_format *f, unsigned digits)
{
	static const uint8_t decimals[9] = { [1] = 5, [2] = 7, [4] = 12, [8] = 21 };
	unsigned width = 2 * f->size + 3, n = 1;

	if (f->letter == 'd' || f->letter == 'u')
		width = decimals[f->size];
	else if (f->letter == 'o')
		width = (8 * f->size + 2) / 3 + 2;
	else if (f->letter == 'c')
		width = 12;
	while (2 * n * width + digits + 1 <= COLUMNS && 2 * n * f->size <= 16)
		n *= 2;
	return n;
}

static void print_numbers(struct address a, const struct examine_format *f)
{
	unsigned in_line = units_of_line(f, address_digits(&a));

	for (unsigned i = 0; i < f->count; i++, a.at += f->size) {
		uint64_t val = 0;

		if (address_read(&a, &val, f->size) < f->size) {
			if (i % in_line)
				monitor_printf("\n");
			say_lack(&a);
			return;
		}
		if (i % in_line == 0)
			monitor_printf("%s%0*llx:", i ? "\n" : "", (int)address_digits(&a),
				       (unsigned long long)a.at);
		print_unit(f, val);
	}
	monitor_printf("\n");
}

/* --- strings --- */

/* One line of a string; false: it ends here. */
static bool print_piece(struct address *a, unsigned *left)
{
	char text[STRING_COLUMNS + 8];
	uint8_t bytes[STRING_COLUMNS];
	size_t n = address_read(a, bytes, MIN((size_t)*left, sizeof(bytes))), i = 0;
	unsigned len = 0;
	bool goes_on = false;
	uint64_t start = a->at;
	unsigned digits = address_digits(a);
	uint8_t c = 0;

	while (i < n) {
		c = bytes[i++];
		if (!c)
			break;
		len += escape(text + len, sizeof(text) - len, c);
		goes_on = len > STRING_COLUMNS - 4;
		if (goes_on)
			break;
	}
	a->at += i;
	*left -= (unsigned)i;
	text[len] = '\0';
	monitor_printf("%0*llx: \"%s\"%s\n", (int)digits, (unsigned long long)start, text,
		       c ? "..." : "");
	return goes_on;
}

static void print_strings(struct address a, unsigned count)
{
	while (count--) {
		unsigned left = STRING_MAX;
		uint8_t c;

		if (!address_read(&a, &c, 1)) {
			say_lack(&a);
			return;
		}
		while (print_piece(&a, &left))
			;
	}
}

/* --- instructions --- */

/* What branches in it count from: the code segment's base. */
static uint64_t code_base(const struct address *a, unsigned code_size)
{
	return a->space == SPACE_VIRTUAL && code_size != 8 ? vcpu_seg_base(a->vcpu, SEG_CS) : 0;
}

/* Its length; 0: there is no memory. */
static unsigned print_insn(const struct address *a)
{
	unsigned code_size = a->vcpu ? vcpu_code_size(a->vcpu) : 8, len = 1;
	bool here = a->space == SPACE_VIRTUAL && a->at == address_pc(a->vcpu);
	uint8_t bytes[VM_EXIT_MAX_INSN];
	unsigned n = (unsigned)address_read(a, bytes, sizeof(bytes));
	char hex[2 * CODE_BYTES + 2] = "", text[96] = "(bad)";
	struct insn insn;

	if (!n)
		return 0;
	if (decode_insn(&insn, bytes, n, code_size) == DECODE_OK &&
	    decode_format(bytes, n, code_size, a->at - code_base(a, code_size), text, sizeof(text)))
		len = insn.len;
	for (unsigned i = 0; i < MIN(len, CODE_BYTES); i++)
		ksnprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	if (len > CODE_BYTES)
		str_copy(hex + 2 * CODE_BYTES, "+", 2);
	monitor_printf("%s %0*llx  %-15s  %s\n", here ? "=>" : "  ", (int)address_digits(a),
		       (unsigned long long)a->at, hex, text);
	return len;
}

void examine_code(const struct address *from, unsigned count)
{
	struct address a = *from;

	while (count--) {
		unsigned len = print_insn(&a);

		if (!len) {
			say_lack(&a);
			return;
		}
		a.at += len;
	}
}

void examine(const struct address *from, const struct examine_format *fmt)
{
	if (fmt->letter == 'i')
		examine_code(from, fmt->count);
	else if (fmt->letter == 's')
		print_strings(*from, fmt->count);
	else
		print_numbers(*from, fmt);
}
