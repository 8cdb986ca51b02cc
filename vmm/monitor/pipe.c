#include "vmm/monitor/pipe.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/monitor/text.h"

#define LINES_DEFAULT 10

static const char *const names[PIPE_KINDS] = {
	[PIPE_MORE] = "more", [PIPE_CAT] = "cat",   [PIPE_GREP] = "grep",
	[PIPE_HEAD] = "head", [PIPE_TAIL] = "tail",
};

const char *pipe_name(unsigned index)
{
	return index < PIPE_KINDS ? names[index] : NULL;
}

/* --- reading it --- */

/* The next '|' that is in no quotes, and not behind a word "--"; NULL: none. */
static char *find_bar(char *text)
{
	bool quoted = false;

	for (; *text; text++) {
		if (!strncmp(text, " -- ", 4))
			return NULL;
		if (*text == '"')
			quoted = !quoted;
		else if (*text == '|' && !quoted)
			return text;
	}
	return NULL;
}

/* Cut the blanks around a text, and then the quotes around that. */
static char *trim(char *text, bool quotes)
{
	size_t len;

	while (*text == ' ' || *text == '\t')
		text++;
	len = strlen(text);
	while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	if (quotes && len >= 2 && text[0] == '"' && text[len - 1] == '"') {
		text++;
		len -= 2;
	}
	text[len] = '\0';
	return text;
}

static const char *parse_grep(char *text, struct pipe_stage *stage)
{
	for (;;) {
		text = trim(text, false);
		if (*text != '-' || !text[1] || strchr(" \t", text[1]))
			break;
		for (text++; *text && *text != ' ' && *text != '\t'; text++) {
			if (*text == 'v')
				stage->invert = true;
			else if (*text == 'i')
				stage->fold = true;
			else if (*text == 'c')
				stage->count = true;
			else
				return "grep: it knows -v, -i and -c";
		}
	}
	stage->word = trim(text, true);
	return *stage->word ? NULL : "usage: COMMAND | grep [-v] [-i] [-c] WORD";
}

static const char *parse_lines(const char *text, struct pipe_stage *stage)
{
	struct token tok;
	uint64_t n = LINES_DEFAULT;

	if (parse_token(&text, &tok) && (!parse_u64(&tok, &n) || n > UINT32_MAX))
		return "head and tail want a number of lines";
	stage->lines = (unsigned)n;
	return NULL;
}

static const char *parse_stage(char *text, struct pipe_stage *stage)
{
	const char *p = text;
	struct token tok;

	memset(stage, 0, sizeof(*stage));
	if (!parse_token(&p, &tok))
		return "nothing stands behind |: more, cat, grep WORD, head N, tail N";
	text += p - text;
	for (unsigned kind = 0; kind < PIPE_KINDS; kind++) {
		if (!token_is(&tok, names[kind]))
			continue;
		stage->kind = (enum pipe_kind)kind;
		if (kind == PIPE_GREP)
			return parse_grep(text, stage);
		if (kind == PIPE_HEAD || kind == PIPE_TAIL)
			return parse_lines(text, stage);
		return NULL;
	}
	return "| goes to more, cat, grep WORD, head N or tail N";
}

const char *pipe_parse(char *line, struct pipeline *pipe)
{
	char *bar = find_bar(line);

	pipe->nr = 0;
	while (bar) {
		char *text = bar + 1;
		const char *wrong;

		*bar = '\0';
		bar = find_bar(text);
		if (bar)
			*bar = '\0';
		if (pipe->nr == PIPE_MAX)
			return "more than 8 times |";
		wrong = parse_stage(text, &pipe->stage[pipe->nr++]);
		if (wrong)
			return wrong;
	}
	return NULL;
}

bool pipe_has(const struct pipeline *pipe, enum pipe_kind kind)
{
	for (unsigned i = 0; i < pipe->nr; i++)
		if (pipe->stage[i].kind == kind)
			return true;
	return false;
}

/* --- carrying it out --- */

static bool line_has(const char *line, size_t len, const struct pipe_stage *stage)
{
	for (size_t at = 0; at <= len; at++)
		if (text_has_at(line, at, len, stage->word, stage->fold))
			return true;
	return false;
}

static unsigned count_lines(const char *text, size_t len)
{
	unsigned n = 0;

	for (size_t at = 0; at < len; at += text_line(text, at, len))
		n++;
	return n;
}

/* total: how many lines come, which only a tail wants to know. */
static bool stage_keeps(struct pipe_stage *stage, const char *line, size_t len, uint64_t total)
{
	uint64_t nr = stage->came++;
	bool keeps = true;

	if (stage->kind == PIPE_GREP)
		keeps = line_has(line, len - (line[len - 1] == '\n'), stage) != stage->invert;
	else if (stage->kind == PIPE_HEAD)
		keeps = nr < stage->lines;
	else if (stage->kind == PIPE_TAIL)
		keeps = total - nr <= stage->lines;
	stage->kept += keeps;
	return keeps;
}

/* Is it known of each line at once whether it stays? */
static bool goes_by_line(const struct pipe_stage *stage)
{
	return stage->kind != PIPE_TAIL && !stage->count;
}

void pipe_begin(struct pipeline *pipe)
{
	pipe->by_line = 0;
	while (pipe->by_line < pipe->nr && goes_by_line(&pipe->stage[pipe->by_line]))
		pipe->by_line++;
	for (unsigned i = 0; i < pipe->nr; i++)
		pipe->stage[i].came = pipe->stage[i].kept = 0;
}

bool pipe_take(struct pipeline *pipe, const char *line, size_t n)
{
	struct pipe_stage *last = &pipe->stage[pipe->by_line];

	for (unsigned i = 0; i < pipe->by_line; i++)
		if (!stage_keeps(&pipe->stage[i], line, n, 0))
			return false;
	if (pipe->by_line == pipe->nr || !last->count)
		return true;
	stage_keeps(last, line, n, 0); /* which counts it: its text is not wanted */
	return false;
}

unsigned pipe_last(const struct pipeline *pipe)
{
	const struct pipe_stage *last = &pipe->stage[pipe->by_line];

	return pipe->by_line < pipe->nr && last->kind == PIPE_TAIL ? last->lines : PIPE_ALL;
}

static size_t run_stage(struct pipe_stage *stage, char *text, size_t len, size_t size)
{
	unsigned total = count_lines(text, len);
	size_t to = 0, n;

	for (size_t at = 0; at < len; at += n) {
		n = text_line(text, at, len);
		if (!stage_keeps(stage, text + at, n, total))
			continue;
		memmove(text + to, text + at, n);
		to += n;
	}
	if (!stage->count)
		return to;
	n = (size_t)ksnprintf(text, size, "%llu\n", (unsigned long long)stage->kept);
	return MIN(n, size);
}

size_t pipe_end(struct pipeline *pipe, char *text, size_t len, size_t size)
{
	for (unsigned i = pipe->by_line; i < pipe->nr; i++)
		len = run_stage(&pipe->stage[i], text, len, size);
	return len;
}
