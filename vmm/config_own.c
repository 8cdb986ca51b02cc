/* Umbra's own line. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "vmm/config_core.h"

static const struct token_choice idle_actions[] = {
	{ "monitor", ON_IDLE_MONITOR },
	{ "poweroff", ON_IDLE_POWEROFF },
	{ "reboot", ON_IDLE_REBOOT },
};
static const struct token_choice log_levels[] = {
	{ "err", LOG_ERR },
	{ "warn", LOG_WARN },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
};

/* NULL, or what is wrong with the value. */
static const char *take_mask(const struct token *val, uint32_t *mask)
{
	uint64_t v;

	if (!parse_u64(val, &v) || v > UINT32_MAX)
		return "not a mask of 32 bits";
	*mask = (uint32_t)v;
	return NULL;
}

/*
 * run=COMMANDS at *line, in the forms that it has behind GRUB, which takes quotes away and puts
 * its own around a word with blanks: "run=vms; exits deb64", with \ before a quote, or
 * run=vms,mem, where a comma parts commands too. False: there is none.
 */
static bool take_run(struct umbra_config *cfg, const char **line, const char **wrong)
{
	const char *p = *line;
	bool quoted;
	size_t n = 0;

	while (*p == ' ' || *p == '\t')
		p++;
	quoted = *p == '"';
	p += quoted;
	if (strncmp(p, "run=", 4) != 0)
		return false;
	p += 4;
	if (!quoted && *p == '"') {
		quoted = true;
		p++;
	}
	for (; *p && (quoted ? *p != '"' : *p != ' ' && *p != '\t'); p++) {
		if (*p == '\\' && p[1])
			p++;
		if (n == CONFIG_RUN_MAX)
			*wrong = "run=: longer than 511 characters";
		else
			cfg->run[n++] = *p == ',' && !quoted ? ';' : *p;
	}
	if (quoted && !*p)
		*wrong = "run=: the quote has no end";
	cfg->run[*wrong ? 0 : n] = '\0';
	*line = p + (*p == '"');
	return true;
}

/* Whether there is such a port is seen when it is opened. */
static const char *take_gdb(const struct token *val, char *gdb)
{
	if (!val->len || val->len >= CONFIG_GDB_MAX)
		return "not a serial port";
	memcpy(gdb, val->text, val->len);
	gdb[val->len] = '\0';
	return NULL;
}

static const char *take_count(const struct token *val, unsigned max, unsigned *count)
{
	uint64_t v;

	if (!parse_u64(val, &v) || !v || v > max)
		return "not a number of processors";
	*count = (unsigned)v;
	return NULL;
}

/* Words on the machine's processors. False: it is none. */
static bool take_cpu_word(struct umbra_config *cfg, const struct token *tok, const char **wrong)
{
	struct token val;

	if (token_value(tok, "maxcpus", &val)) {
		*wrong = take_count(&val, CPU_MAX, &cfg->maxcpus);
	} else if (token_value(tok, "x2apic", &val)) {
		cfg->x2apic = token_is(&val, "on");
		*wrong = cfg->x2apic ? NULL : "not on";
#ifdef UMBRA_DEBUG
	} else if (token_value(tok, "absent-cpu", &val)) {
		*wrong = take_mask(&val, &cfg->absent_cpu);
#endif
	} else {
		return false;
	}
	return true;
}

void config_own_line(struct umbra_config *cfg, const char *line)
{
	struct token tok, val;
	int v;

	for (;;) {
		const char *wrong = NULL;

		if (take_run(cfg, &line, &wrong)) {
			if (wrong)
				log_err("error: Umbra's line: %s; ignored", wrong);
			continue;
		}
		if (!parse_token(&line, &tok))
			return;
		if (token_value(&tok, "loglevel", &val)) {
			if (token_choose(&val, log_levels, ARRAY_SIZE(log_levels), &v))
				cfg->loglevel = (enum log_level)v;
			else
				wrong = "not err, warn, info or debug";
		} else if (token_value(&tok, "on-idle", &val)) {
			if (token_choose(&val, idle_actions, ARRAY_SIZE(idle_actions), &v))
				cfg->on_idle = (enum on_idle)v;
			else
				wrong = "not poweroff, reboot or monitor";
		} else if (token_value(&tok, "gdb", &val)) {
			wrong = take_gdb(&val, cfg->gdb);
		} else if (token_value(&tok, "log", &val)) {
			cfg->log_always = token_is(&val, "line");
			wrong = cfg->log_always ? NULL : "not line";
		} else if (token_value(&tok, "console", &val)) {
			cfg->console_follow = token_is(&val, "follow");
			wrong = cfg->console_follow ? NULL : "not follow";
		} else if (token_value(&tok, "svm-features", &val)) {
			wrong = take_mask(&val, &cfg->svm_features);
		} else if (token_value(&tok, "vmx-features", &val)) {
			wrong = take_mask(&val, &cfg->vmx_features);
		} else if (!take_cpu_word(cfg, &tok, &wrong) &&
			   !token_value(&tok, "com1", &val)) { /* the console reads that early */
			wrong = "unknown token";
		}
		if (wrong)
			log_err("error: Umbra's line: \"%.*s\": %s; ignored", config_quoted(&tok),
				tok.text, wrong);
	}
}
