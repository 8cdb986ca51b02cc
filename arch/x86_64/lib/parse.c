#include "arch/x86_64/lib/parse.h"

#include "arch/x86_64/lib/string.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool parse_token(const char **line, struct token *tok)
{
	const char *p = *line;

	while (is_blank(*p))
		p++;
	tok->text = p;
	while (*p && !is_blank(*p))
		p++;
	tok->len = (size_t)(p - tok->text);
	*line = p;
	return tok->len > 0;
}

bool token_is(const struct token *tok, const char *text)
{
	return tok->len == strlen(text) && !memcmp(tok->text, text, tok->len);
}

bool token_value(const struct token *tok, const char *key, struct token *value)
{
	size_t n = strlen(key);

	if (tok->len <= n || memcmp(tok->text, key, n) || tok->text[n] != '=')
		return false;
	value->text = tok->text + n + 1;
	value->len = tok->len - n - 1;
	return true;
}

bool token_cut(struct token *tok, char c, struct token *rest)
{
	for (size_t i = 0; i < tok->len; i++) {
		if (tok->text[i] == c) {
			*rest = (struct token){ tok->text + i + 1, tok->len - i - 1 };
			tok->len = i;
			return true;
		}
	}
	return false;
}

bool token_choose(const struct token *tok, const struct token_choice *list, size_t n, int *value)
{
	for (size_t i = 0; i < n; i++) {
		if (token_is(tok, list[i].word)) {
			*value = list[i].value;
			return true;
		}
	}
	return false;
}

/* The digit's value, or base when c is no digit of that base. */
static unsigned digit(char c, unsigned base)
{
	unsigned d = base;

	if (c >= '0' && c <= '9')
		d = (unsigned)(c - '0');
	else if (c >= 'a' && c <= 'f')
		d = (unsigned)(c - 'a') + 10;
	else if (c >= 'A' && c <= 'F')
		d = (unsigned)(c - 'A') + 10;
	return d < base ? d : base;
}

bool parse_u64(const struct token *tok, uint64_t *out)
{
	unsigned base = 10;
	size_t i = 0;
	uint64_t v = 0;

	if (tok->len > 2 && tok->text[0] == '0' && (tok->text[1] | 0x20) == 'x') {
		base = 16;
		i = 2;
	}
	if (i == tok->len)
		return false;
	for (; i < tok->len; i++) {
		unsigned d = digit(tok->text[i], base);

		if (d == base || __builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, d, &v))
			return false;
	}
	*out = v;
	return true;
}

bool parse_size(const struct token *tok, uint64_t *out)
{
	struct token number = *tok;
	unsigned shift = 0;
	uint64_t v;

	if (!tok->len)
		return false;
	switch (tok->text[tok->len - 1] | 0x20) {
	case 'k':
		shift = 10;
		break;
	case 'm':
		shift = 20;
		break;
	case 'g':
		shift = 30;
		break;
	case 't':
		shift = 40;
		break;
	}
	if (shift)
		number.len--;
	if (!parse_u64(&number, &v) || v > UINT64_MAX >> shift)
		return false;
	*out = v << shift;
	return true;
}
