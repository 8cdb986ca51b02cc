/* What the files of the configuration share. For vmm/config*.c only. */
#ifndef UMBRA_VMM_CONFIG_CORE_H
#define UMBRA_VMM_CONFIG_CORE_H

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/parse.h"
#include "vmm/config.h"

/* So much of a token a message quotes: for printf's %.*s. */
#define CONFIG_QUOTE 60
static inline int config_quoted(const struct token *tok)
{
	return (int)MIN(tok->len, (size_t)CONFIG_QUOTE);
}

/* config_guest.c: a token of a kernel's line that says what the guest gets. *wrong: what is wrong
 * with its value; NULL: nothing. False: it is none. */
bool config_guest_token(struct vm_config *vm, const struct token *tok, const char **wrong);

/* config_own.c: Umbra's own line. */
void config_own_line(struct umbra_config *cfg, const char *line);

#endif
