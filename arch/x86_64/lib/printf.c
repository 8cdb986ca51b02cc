#include "arch/x86_64/lib/printf.h"

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/lib/string.h"

/* Where the text goes: bytes past the buffer's end are counted, not stored. */
struct out {
	char *buf;
	size_t size, len;
};

struct spec {
	bool left, zero, plus, space, alt;
	int width;
	int precision;                                          /* -1: none given */
	enum { LEN_INT, LEN_CHAR, LEN_SHORT, LEN_LONG } length; /* l, ll and z are all 64 bits */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_repeated(struct out *o, char c, int n)
{
	for (; n > 0; n--)
		put(o, c);
}

/* s[n] in a field of the given width. */
static void put_text(struct out *o, const struct spec *sp, const char *s, int n)
{
	if (!sp->left)
		put_repeated(o, ' ', sp->width - n);
	for (int i = 0; i < n; i++)
		put(o, s[i]);
	if (sp->left)
		put_repeated(o, ' ', sp->width - n);
}

static void put_string(struct out *o, const struct spec *sp, const char *s)
{
	size_t max = sp->precision < 0 ? INT32_MAX : (size_t)sp->precision;

	if (!s)
		s = "(null)";
	put_text(o, sp, s, (int)strnlen(s, max));
}

/* The sign or base prefix, then zeros, then digits, in that order in the field. */
static void put_number(struct out *o, const struct spec *sp, uint64_t v, unsigned base, bool upper,
		       const char *prefix)
{
	const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char digits[24];
	int n = 0, zeros, pad, prefix_len = (int)strlen(prefix);

	while (v) {
		digits[n++] = set[v % base];
		v /= base;
	}
	zeros = (sp->precision < 0 ? 1 : sp->precision) - n;
	if (zeros < 0)
		zeros = 0;
	if (base == 8 && sp->alt && !zeros)
		zeros = 1;
	pad = sp->width - prefix_len - zeros - n;
	if (sp->zero && !sp->left && sp->precision < 0 && pad > 0) {
		zeros += pad;
		pad = 0;
	}
	if (!sp->left)
		put_repeated(o, ' ', pad);
	for (int i = 0; i < prefix_len; i++)
		put(o, prefix[i]);
	put_repeated(o, '0', zeros);
	while (n)
		put(o, digits[--n]);
	if (sp->left)
		put_repeated(o, ' ', pad);
}

static void put_signed(struct out *o, const struct spec *sp, int64_t v)
{
	uint64_t magnitude = v < 0 ? -(uint64_t)v : (uint64_t)v;
	const char *sign = v < 0 ? "-" : sp->plus ? "+" : sp->space ? " " : "";

	put_number(o, sp, magnitude, 10, false, sign);
}

static void put_pointer(struct out *o, const struct spec *sp, const void *p)
{
	put_number(o, sp, (uintptr_t)p, 16, false, "0x");
}

static int parse_count(const char **fmt, va_list *ap)
{
	int n = 0;

	if (**fmt == '*') {
		(*fmt)++;
		return va_arg(*ap, int);
	}
	while (**fmt >= '0' && **fmt <= '9' && n < 100000)
		n = n * 10 + (*(*fmt)++ - '0');
	return n;
}

/* Flags, width, precision and length; *fmt is left at the conversion letter. */
static struct spec parse_spec(const char **fmt, va_list *ap)
{
	struct spec sp = { .precision = -1 };

	for (;; (*fmt)++) {
		switch (**fmt) {
		case '-':
			sp.left = true;
			continue;
		case '0':
			sp.zero = true;
			continue;
		case '+':
			sp.plus = true;
			continue;
		case ' ':
			sp.space = true;
			continue;
		case '#':
			sp.alt = true;
			continue;
		}
		break;
	}
	sp.width = parse_count(fmt, ap);
	if (sp.width < 0) {
		sp.left = true;
		sp.width = -sp.width;
	}
	if (**fmt == '.') {
		(*fmt)++;
		sp.precision = parse_count(fmt, ap);
	}
	for (;; (*fmt)++) {
		if (**fmt == 'h')
			sp.length = sp.length == LEN_SHORT ? LEN_CHAR : LEN_SHORT;
		else if (**fmt == 'l' || **fmt == 'z' || **fmt == 'j' || **fmt == 't')
			sp.length = LEN_LONG;
		else
			return sp;
	}
}

static int64_t arg_signed(const struct spec *sp, va_list *ap)
{
	switch (sp->length) {
	case LEN_LONG:
		return va_arg(*ap, int64_t);
	case LEN_CHAR:
		return (signed char)va_arg(*ap, int);
	case LEN_SHORT:
		return (short)va_arg(*ap, int);
	default:
		return va_arg(*ap, int);
	}
}

static uint64_t arg_unsigned(const struct spec *sp, va_list *ap)
{
	switch (sp->length) {
	case LEN_LONG:
		return va_arg(*ap, uint64_t);
	case LEN_CHAR:
		return (unsigned char)va_arg(*ap, unsigned);
	case LEN_SHORT:
		return (unsigned short)va_arg(*ap, unsigned);
	default:
		return va_arg(*ap, unsigned);
	}
}

static void put_conversion(struct out *o, const struct spec *sp, char conv, va_list *ap)
{
	uint64_t v;
	char c;

	switch (conv) {
	case 'd':
	case 'i':
		put_signed(o, sp, arg_signed(sp, ap));
		break;
	case 'u':
		put_number(o, sp, arg_unsigned(sp, ap), 10, false, "");
		break;
	case 'o':
		put_number(o, sp, arg_unsigned(sp, ap), 8, false, "");
		break;
	case 'x':
	case 'X':
		v = arg_unsigned(sp, ap);
		put_number(o, sp, v, 16, conv == 'X',
			   !sp->alt || !v ? ""
			   : conv == 'X'  ? "0X"
					  : "0x");
		break;
	case 'c':
		c = (char)va_arg(*ap, int);
		put_text(o, sp, &c, 1);
		break;
	case 's':
		put_string(o, sp, va_arg(*ap, const char *));
		break;
	case 'p':
		put_pointer(o, sp, va_arg(*ap, const void *));
		break;
	case '%':
		put(o, '%');
		break;
	default:
		/* Not a conversion that is known: shown, and no argument is taken for it. */
		put(o, '%');
		put(o, conv);
	}
}

int kvsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out o = { buf, size, 0 };
	va_list ap;

	va_copy(ap, args);
	for (; *fmt; fmt++) {
		struct spec sp;

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt++;
		sp = parse_spec(&fmt, &ap);
		if (!*fmt)
			break;
		put_conversion(&o, &sp, *fmt, &ap);
	}
	va_end(ap);
	if (size)
		buf[o.len < size ? o.len : size - 1] = '\0';
	return (int)o.len;
}

int ksnprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = kvsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
