/* Words and numbers in text lines of any length: boot lines and monitor commands. */
#ifndef UMBRA_PARSE_H
#define UMBRA_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A stretch of text inside a longer one; not terminated. */
struct token {
	const char *text;
	size_t len;
};

/*
 * The next word at *line, parted by spaces or tabs, and *line moved past it. False:
 * none is left (*line is then at the terminator).
 */
bool parse_token(const char **line, struct token *tok);
/* Is the token exactly this text? */
bool token_is(const struct token *tok, const char *text);
/* If the token reads KEY=..., cut the key and return true: *value is what follows. */
bool token_value(const struct token *tok, const char *key, struct token *value);

/* Cut the token before its first c; *rest is what follows. False: there is none. */
bool token_cut(struct token *tok, char c, struct token *rest);

/* Words that stand for values. */
struct token_choice {
	const char *word;
	int value;
};
/* Is the token one of them? Then *value is what it stands for. */
bool token_choose(const struct token *tok, const struct token_choice *list, size_t n, int *value);

/*
 * The whole token as a number: decimal, or hexadecimal after 0x. False: it is not one,
 * or it does not fit in 64 bits.
 */
bool parse_u64(const struct token *tok, uint64_t *out);
/* As parse_u64, with an optional suffix K, M, G or T (binary, either case). */
bool parse_size(const struct token *tok, uint64_t *out);

#endif
