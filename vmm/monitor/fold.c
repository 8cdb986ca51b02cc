#include "vmm/monitor/fold.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/monitor/text.h"

#define INDENT 4
#define INDENT_MAX 24 /* that is taken over from a line */

/* From a text at the end of a buffer, where there is room for that, to one at its beginning. */
struct folder {
	char *text;             /* NULL: nothing is written, it is only measured */
	size_t to;              /* how long it is so far */
	size_t ahead;           /* so much of it at most was there before it had been read */
	const char *begin;      /* of what there was */
	const char *from, *end; /* what is left */
};

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && *at == ' ')
		at++;
	return at;
}

/* How many of n characters go on a line with so much room. */
static size_t fitting(const char *at, size_t n, size_t room)
{
	size_t blank = room, lead = (size_t)(skip_blanks(at, at + n) - at);

	if (n <= room)
		return n;
	while (blank > lead && at[blank] != ' ')
		blank--;
	return blank > lead ? blank : room;
}

/* Put out n characters behind an indentation, and a newline where there is to be one. */
static void put_piece(struct folder *f, size_t indent, size_t n, bool newline)
{
	if (f->text) {
		memmove(f->text + f->to + indent, f->from, n);
		memset(f->text + f->to, ' ', indent);
		if (newline)
			f->text[f->to + indent + n] = '\n';
	}
	f->to += indent + n + newline;
}

/* The line that ends at `end`, where its newline stands if it has one. */
static void put_line(struct folder *f, const char *end)
{
	size_t lead = (size_t)(skip_blanks(f->from, end) - f->from), indent = 0;
	bool newline = end < f->end;

	for (;;) {
		size_t n = fitting(f->from, (size_t)(end - f->from), FOLD_COLUMNS - indent);
		const char *rest = skip_blanks(f->from + n, end);
		bool last = rest == end;

		put_piece(f, indent, n, !last || newline);
		f->from = last && newline ? rest + 1 : rest;
		if (f->to > (size_t)(f->from - f->begin) + f->ahead)
			f->ahead = f->to - (size_t)(f->from - f->begin);
		if (last)
			return;
		indent = MIN(lead, (size_t)INDENT_MAX) + INDENT;
	}
}

static const char *line_end(const struct folder *f)
{
	const char *at = f->from;

	while (at < f->end && *at != '\n' && *at != FOLD_HERE)
		at++;
	return at;
}

/* Of text[0, len) so much as can be folded from the end of size bytes to their beginning, where
 * nothing is written over before it has been read: whole lines, but for FOLD_HERE. */
static size_t that_fits(const char *text, size_t len, size_t size, unsigned *missing)
{
	struct folder f = { .begin = text, .from = text, .end = text + len };
	size_t fits = 0;

	while (f.from < f.end) {
		put_line(&f, line_end(&f));
		if ((size_t)(f.from - text) + f.ahead > size)
			break;
		fits = (size_t)(f.from - text);
	}
	for (size_t at = fits; at < len; at += text_line(text, at, len))
		++*missing;
	return fits;
}

size_t fold_text(char *text, size_t len, size_t size, unsigned *missing)
{
	struct folder f = { .text = text, .end = text + size };

	len = that_fits(text, len, size, missing);
	f.begin = f.from = memmove(text + size - len, text, len);
	while (f.from < f.end)
		put_line(&f, line_end(&f));
	return f.to;
}
