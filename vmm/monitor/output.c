#include "vmm/monitor/output.h"

#include <stdbool.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/monitor/command.h"
#include "vmm/monitor/fold.h"
#include "vmm/monitor/pipe.h"
#include "vmm/monitor/text.h"

#define LINE_BYTES 2048 /* of a line that is not at its end yet */
#define WRONG_BYTES 1024

static char *text;
static size_t text_size, text_len;
static unsigned nr_lines; /* in text */
static uint64_t nr_taken; /* that the stages let through */
static unsigned missing;  /* of these, and after the first of them all */

static struct pipeline *pipe; /* NULL: none */

static char line[LINE_BYTES];
static size_t line_len;

static char wrong[WRONG_BYTES];
static size_t wrong_len;
static bool says_wrong;

void output_begin(char *buf, size_t size)
{
	text = buf;
	text_size = size;
	text_len = nr_lines = missing = 0;
	nr_taken = 0;
	pipe = NULL;
	line_len = wrong_len = 0;
	says_wrong = false;
}

void output_filter(struct pipeline *p)
{
	pipe = p;
	pipe_begin(p);
}

/* For a tail: make room for n bytes more by forgetting the first lines. Those that it does not want
 * go, and then so many that this is not done for every line. */
static void forget_first(size_t n, unsigned last)
{
	size_t at = 0, room = text_size - OUTPUT_NOTE;

	while (at < text_len && (nr_lines >= last || text_len - at + n > room - room / 8)) {
		at += text_line(text, at, text_len);
		nr_lines--;
	}
	memmove(text, text + at, text_len - at);
	text_len -= at;
}

static void keep_line(const char *s, size_t n)
{
	size_t room = text_size - OUTPUT_NOTE;
	unsigned last = pipe ? pipe_last(pipe) : PIPE_ALL;

	nr_taken++;
	if (text_len + n > room && last != PIPE_ALL)
		forget_first(n, last);
	if (text_len + n > room || (missing && last == PIPE_ALL)) {
		missing++;
		return;
	}
	memcpy(text + text_len, s, n);
	text_len += n;
	nr_lines++;
}

static void take_line(const char *s, size_t n)
{
	if (!says_wrong) {
		if (!pipe || pipe_take(pipe, s, n))
			keep_line(s, n);
		return;
	}
	n = MIN(n, sizeof(wrong) - wrong_len);
	memcpy(wrong + wrong_len, s, n);
	wrong_len += n;
}

static void end_line(void)
{
	if (line_len)
		take_line(line, line_len);
	line_len = 0;
}

void output_wrong(void)
{
	end_line();
	says_wrong = true;
}

void output_print(const char *fmt, va_list ap)
{
	size_t room = sizeof(line) - line_len, at = 0, n;
	int want = kvsnprintf(line + line_len, room, fmt, ap);

	if (want <= 0)
		return;
	if (line_len && (size_t)want >= room) { /* what was there is a line of its own, too */
		end_line();
		room = sizeof(line);
		kvsnprintf(line, room, fmt, ap);
	}
	line_len += MIN((size_t)want, room - 1);
	while ((n = text_line(line, at, line_len)) && line[at + n - 1] == '\n') {
		take_line(line + at, n);
		at += n;
	}
	memmove(line, line + at, line_len - at);
	line_len -= at;
	if (line_len == sizeof(line) - 1) /* what follows is as good as a line of its own */
		end_line();
}

void monitor_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	output_print(fmt, ap);
	va_end(ap);
}

void monitor_name(unsigned indent, unsigned width, const char *name)
{
	size_t n = strlen(name);

	if (n <= width)
		monitor_printf("%-*s", (int)width, name);
	else
		monitor_printf("%s%c%*s", name, FOLD_HERE, (int)(indent + width), "");
}

/* The next line begins, if there is none yet, in what is kept for the note. */
static void begin_line(void)
{
	if (text_len && text[text_len - 1] != '\n')
		text[text_len++] = '\n';
}

static void append_wrong(size_t room)
{
	size_t n;

	begin_line();
	n = MIN(wrong_len, room - MIN(room, text_len));
	if (n < wrong_len)
		missing++;
	memcpy(text + text_len, wrong, n);
	if (n)
		text_len += fold_text(text + text_len, n, room - text_len, &missing);
}

size_t output_end(void)
{
	size_t room = text_size - OUTPUT_NOTE;

	end_line();
	if (pipe && pipe_last(pipe) != PIPE_ALL) {
		uint64_t wanted = MIN(nr_taken, (uint64_t)pipe_last(pipe));

		missing = wanted > nr_lines ? (unsigned)(wanted - nr_lines) : 0;
	}
	if (pipe)
		text_len = pipe_end(pipe, text, text_len, room);
	text_len = fold_text(text, text_len, room, &missing);
	if (wrong_len)
		append_wrong(room);
	pipe = NULL;
	if (missing) {
		begin_line();
		text_len += (size_t)ksnprintf(text + text_len, text_size - text_len,
					      "... and %u lines more, which do not fit\n", missing);
	}
	return text_len;
}
