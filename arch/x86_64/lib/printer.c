#include "arch/x86_64/lib/printer.h"

#include <stdarg.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"

#define LINE_MAX 160
#define COLUMNS 79
#define VALUE_DIGITS 16

void printer_line(const struct printer *p, const char *fmt, ...)
{
	char text[LINE_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->line(p->ctx, text);
}

/* A line of words that goes on in the next one when it is full. */
struct words {
	const struct printer *p;
	size_t len, indent;
	char text[LINE_MAX + 1];
};

static void add_word(struct words *w, const char *word)
{
	size_t n = strlen(word);

	if (w->len > w->indent && w->len + 1 + n > COLUMNS) {
		w->p->line(w->p->ctx, w->text);
		memset(w->text, ' ', w->indent);
		w->len = w->indent;
	}
	w->text[w->len++] = ' ';
	w->len += str_copy(w->text + w->len, word, sizeof(w->text) - w->len);
	w->len = MIN(w->len, sizeof(w->text) - 1);
}

static void add_flag(struct words *w, const struct flag *f, uint64_t val)
{
	uint64_t field = val >> f->bit & BITS(f->width - 1, 0);
	char word[48];

	if (!field)
		return;
	if (f->width == 1)
		ksnprintf(word, sizeof(word), "%s", f->name);
	else
		ksnprintf(word, sizeof(word), field < 10 ? "%s=%llx" : "%s=0x%llx", f->name,
			  (unsigned long long)field);
	add_word(w, word);
}

void printer_value(const struct printer *p, const char *name, unsigned digits, uint64_t val,
		   const struct flag_set *set)
{
	struct words w = { .p = p };
	uint64_t rest = set ? val & ~set->silent : 0;
	char word[16];

	w.len = (size_t)ksnprintf(w.text, sizeof(w.text), "  %-*s %0*llx", (int)p->name_width, name,
				  (int)digits, (unsigned long long)val);
	w.indent = MAX(w.len, p->name_width + 3u + VALUE_DIGITS) + 1;
	if (rest) {
		memset(w.text + w.len, ' ', w.indent - w.len);
		w.len = w.indent;
	}
	for (unsigned i = 0; set && i < set->count; i++) {
		add_flag(&w, &set->flag[i], val);
		rest &= ~(BITS(set->flag[i].width - 1, 0) << set->flag[i].bit);
	}
	for (unsigned bit = 0; rest && bit < 64; bit++) {
		if (!(rest >> bit & 1))
			continue;
		ksnprintf(word, sizeof(word), "bit%u", bit);
		add_word(&w, word);
	}
	p->line(p->ctx, w.text);
}

void printer_note(const struct printer *p, const char *name, unsigned digits, uint64_t val,
		  const char *words)
{
	printer_line(p, "  %-*s %0*llx%*s%s", (int)p->name_width, name, (int)digits,
		     (unsigned long long)val, (int)(VALUE_DIGITS + 2 - MIN(digits, VALUE_DIGITS)),
		     "", words);
}
