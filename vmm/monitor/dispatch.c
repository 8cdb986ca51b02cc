#include "vmm/monitor/dispatch.h"

#include <stdarg.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/panic.h"
#include "vmm/exit.h"
#include "vmm/monitor/command.h"
#include "vmm/monitor/line.h"
#include "vmm/monitor/output.h"
#include "vmm/monitor/pipe.h"
#include "vmm/run.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define OUTPUT_SIZE (384u << 10) /* a whole trace */
#define WAIT_MAX 1000000u
#define USAGE_WORD 16 /* of the words that a usage names, and their number */
#define USAGE_WORDS 8

static const struct monitor_family monitor_own_family;

static const struct monitor_family *const families[] = {
	&monitor_vm_family,     &monitor_machine_family, &monitor_inspect_family,
	&monitor_paging_family, &monitor_exits_family,   &monitor_debug_family,
	&monitor_own_family,
};

/* The line being carried out, and what it has said. */
static char typed[LINE_TEXT_MAX + 1], words[LINE_TEXT_MAX + 1];
static const struct monitor_command *current;
static char for_operator[OUTPUT_SIZE];
static char *output = for_operator;
static size_t output_size = sizeof(for_operator);

static struct dispatch_wait wait;
static bool wait_wanted;

bool monitor_wrong(const char *fmt, ...)
{
	va_list ap;

	output_wrong();
	if (current)
		monitor_printf("%s: ", current->name);
	va_start(ap, fmt);
	output_print(fmt, ap);
	va_end(ap);
	monitor_printf("\n");
	return false;
}

/* --- words --- */

static uint64_t held; /* bit n: VM n, by the command that is carried out */
static_assert(VM_MAX <= 64, "one bit a VM");

struct vm *monitor_hold(struct vm *vm)
{
	if (vm && !(held & BIT(vm->id))) {
		held |= BIT(vm->id);
		vmm_hold_vm(vm);
	}
	return vm;
}

static void let_all(void)
{
	for (; held; held &= held - 1)
		vmm_let_vm(vmm_vm((unsigned)__builtin_ctzll(held)));
}

static struct vm *find_vm(const char *name, size_t len)
{
	struct token tok = { name, len };
	struct vm *vm;
	uint64_t nr;

	for (unsigned i = 0; (vm = vmm_vm(i)); i++)
		if (token_is(&tok, vm->cfg->name))
			return monitor_hold(vm);
	if (!parse_u64(&tok, &nr) || !nr || nr > VM_MAX)
		return NULL;
	return monitor_hold(vmm_vm((unsigned)nr - 1));
}

struct vm *monitor_vm(const struct monitor_args *args, unsigned i)
{
	const char *word = i < args->count ? args->word[i] : "";
	struct vm *vm = find_vm(word, strlen(word));

	if (!vm)
		monitor_wrong("no VM has the name or number \"%s\"; vms lists them", word);
	return vm;
}

struct vm *monitor_vm_nr(const struct monitor_args *args, unsigned i, unsigned *nr)
{
	const char *word = i < args->count ? args->word[i] : "", *dot = strchr(word, '.');
	struct token number = { dot ? dot + 1 : "", dot ? strlen(dot + 1) : 0 };
	struct vm *vm = find_vm(word, dot ? (size_t)(dot - word) : strlen(word));
	uint64_t n = VM_MAX_VCPUS;

	if (!vm) {
		monitor_wrong("no VM has the name or number \"%s\"; vms lists them", word);
	} else if (dot && (!parse_u64(&number, &n) || n >= VM_MAX_VCPUS)) {
		monitor_wrong("%s has no virtual CPU \"%s\"", vm->cfg->name, dot + 1);
		vm = NULL;
	}
	*nr = (unsigned)n;
	return vm;
}

struct vcpu *monitor_vcpu(const struct monitor_args *args, unsigned i)
{
	unsigned nr;
	struct vm *vm = monitor_vm_nr(args, i, &nr);

	if (!vm)
		return NULL;
	if (nr == VM_MAX_VCPUS)
		nr = 0;
	if (nr < vm->nr_vcpus)
		return vm->vcpu[nr];
	if (vm->nr_vcpus)
		monitor_wrong("%s has no virtual CPU \"%u\"", vm->cfg->name, nr);
	else
		monitor_wrong("%s has stopped and been taken down", vm->cfg->name);
	return NULL;
}

/* 8 or 16 hexadecimal digits with a letter among them, as in System.map. */
static bool parse_bare_hex(const char *word, uint64_t *val)
{
	char hex[19];
	struct token tok = { hex, (size_t)ksnprintf(hex, sizeof(hex), "0x%s", word) };

	return (tok.len == 10 || tok.len == 18) && parse_u64(&tok, val);
}

bool monitor_number(const struct monitor_args *args, unsigned i, uint64_t *val)
{
	const char *word = i < args->count ? args->word[i] : "";
	struct token tok = { word, strlen(word) };

	if (parse_size(&tok, val) || parse_bare_hex(word, val))
		return true;
	return monitor_wrong("\"%s\" is not a number (such as 4096, 0x1000, 4K)", word);
}

/* --- commands by name --- */

static const struct monitor_command *command_at(unsigned index)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (index < families[i]->count)
			return &families[i]->commands[index];
		index -= families[i]->count;
	}
	return NULL;
}

/* By its name with or without a /FORMAT. */
static const struct monitor_command *find_command(const struct token *name)
{
	const char *slash = memchr(name->text, '/', name->len);
	struct token tok = { name->text, slash ? (size_t)(slash - name->text) : name->len };
	const struct monitor_command *c;

	for (unsigned i = 0; (c = command_at(i)); i++)
		if (token_is(&tok, c->name))
			return c;
	return NULL;
}

static void show_usage(const struct monitor_command *c)
{
	monitor_printf("usage: %s%s%s%s\n", c->name, c->format ? "[/FORMAT]" : "",
		       *c->args ? " " : "", c->args);
}

/* --- a line --- */

/* Fill *args with the words of text, which stay in words[]. NULL, or what is wrong. */
static const char *split_words(const char *text, struct monitor_args *args)
{
	struct token tok;
	char *to = words;

	while (*text == ' ' || *text == '\t')
		text++;
	args->text = text;
	while (parse_token(&text, &tok)) {
		if (token_is(&tok, "--")) {
			while (*text == ' ' || *text == '\t')
				text++;
			args->rest = text;
			break;
		}
		if (args->count == MONITOR_WORDS_MAX)
			return "too many words";
		memcpy(to, tok.text, tok.len);
		to[tok.len] = '\0';
		args->word[args->count++] = to;
		to += tok.len + 1;
	}
	return NULL;
}

static const char *check_words(const struct monitor_command *c, const struct monitor_args *args)
{
	if (*args->format && !c->format)
		return "it takes no /FORMAT";
	if (args->rest && !c->takes_rest)
		return "it takes no --";
	if (args->count < c->words_min)
		return "a word is missing";
	return args->count > c->words_max ? "too many words" : NULL;
}

static void run_command(const char *text)
{
	struct monitor_args args = { .format = "" };
	char format[16] = "";
	const char *wrong, *slash;
	bool format_fits = true;
	struct token name;

	if (!parse_token(&text, &name))
		return;
	if (token_is(&name, "?"))
		name = (struct token){ "help", 4 };
	current = find_command(&name);
	if (!current) {
		monitor_wrong("%.*s: no such command; help lists them", (int)MIN(name.len, 40u),
			      name.text);
		return;
	}
	slash = memchr(name.text, '/', name.len);
	if (slash) {
		size_t len = name.len - (size_t)(slash + 1 - name.text);

		format_fits = len < sizeof(format);
		memcpy(format, slash + 1, MIN(len, sizeof(format) - 1));
		args.format = format;
	}
	wrong = split_words(text, &args);
	if (!wrong)
		wrong = check_words(current, &args);
	if (!wrong && !format_fits)
		wrong = "a FORMAT has 15 characters at most";
	if (wrong)
		monitor_wrong("%s", wrong);
	if (wrong || !current->run(&args))
		show_usage(current);
}

bool dispatch_line(const char *line, char **text, size_t *len)
{
	struct pipeline pipe;
	uint64_t were_held = held;
	const char *wrong;

	held = 0;
	current = NULL;
	wait_wanted = false;
	output_begin(output, output_size);
	str_copy(typed, line, sizeof(typed));
	wrong = pipe_parse(typed, &pipe);
	if (wrong) {
		monitor_wrong("%s", wrong);
	} else {
		output_filter(&pipe);
		run_command(typed);
	}
	let_all();
	held = were_held;
	*text = output;
	*len = output_end();
	return wrong || !pipe_has(&pipe, PIPE_CAT);
}

void dispatch_aside(const char *line, char *buf, size_t size)
{
	struct dispatch_wait was = wait;
	bool was_wanted = wait_wanted;
	size_t len;
	char *text;

	static_assert(OUTPUT_NOTE < DISPATCH_ASIDE_MIN, "room for more than the note");
	kassert(size >= DISPATCH_ASIDE_MIN);
	output = buf;
	output_size = size - 1;
	dispatch_line(line, &text, &len);
	buf[len] = '\0';
	output = for_operator;
	output_size = sizeof(for_operator);
	wait = was;
	wait_wanted = was_wanted;
}

bool dispatch_waits(struct dispatch_wait *out)
{
	bool wanted = wait_wanted;

	*out = wait;
	wait_wanted = false;
	return wanted;
}

/* --- completion --- */

static const char *command_name(unsigned index)
{
	const struct monitor_command *c = command_at(index);

	return c ? c->name : NULL;
}

static const char *vm_name(unsigned index)
{
	const struct vm *vm = vmm_vm(index);

	return vm ? vm->cfg->name : NULL;
}

static bool is_literal(const struct token *tok)
{
	if (!tok->len || tok->len >= USAGE_WORD || tok->text[0] == '-')
		return false;
	for (size_t i = 0; i < tok->len; i++)
		if ((tok->text[i] < 'a' || tok->text[i] > 'z') && tok->text[i] != '-')
			return false;
	return true;
}

/*
 * The index-th of what may be typed as the nr-th word, where the usage has words to choose from
 * (on|off|dump) or a KIND of exit. NULL: there are no more.
 */
static const char *usage_word(const char *usage, unsigned nr, unsigned index)
{
	static char word[USAGE_WORDS][USAGE_WORD]; /* each stays while the others are asked for */
	static const char around[] = "[]|";
	unsigned literals = 0;
	struct token tok;

	do {
		if (!parse_token(&usage, &tok))
			return NULL;
	} while (nr--);
	while (tok.len) {
		struct token part = { tok.text, 0 };

		while (part.len < tok.len && !strchr(around, part.text[part.len]))
			part.len++;
		if (token_is(&part, "KIND")) {
			if (index < EXIT_KINDS)
				return vm_exit_name((enum vm_exit_kind)index);
			index -= EXIT_KINDS;
		} else if (is_literal(&part) && literals < USAGE_WORDS) {
			if (literals == index) {
				memcpy(word[index], part.text, part.len);
				word[index][part.len] = '\0';
				return word[index];
			}
			literals++;
		}
		part.len = MIN(part.len + 1, tok.len);
		tok.text += part.len;
		tok.len -= part.len;
	}
	return NULL;
}

const char *dispatch_candidate(const char *before, size_t len, unsigned index)
{
	char text[LINE_TEXT_MAX + 1];
	const struct monitor_command *c;
	const char *p = text;
	struct token tok;
	unsigned nr = 0;
	char *bar;

	len = MIN(len, sizeof(text) - 1);
	memcpy(text, before, len);
	text[len] = '\0';
	bar = strchr(text, '|');
	if (bar) {
		while (strchr(bar + 1, '|'))
			bar = strchr(bar + 1, '|');
		p = bar + 1;
		return parse_token(&p, &tok) ? NULL : pipe_name(index);
	}
	if (!parse_token(&p, &tok))
		return command_name(index);
	c = find_command(&tok);
	while (parse_token(&p, &tok))
		nr++;
	if (!c)
		return NULL;
	if (nr < ARRAY_SIZE(c->word) && c->word[nr] == WORD_COMMAND)
		return command_name(index);
	if (nr < ARRAY_SIZE(c->word) && c->word[nr] == WORD_VM)
		return vm_name(index);
	return usage_word(c->args, nr, index);
}

/* --- help --- */

/* What a command's name and words take in help's list. */
#define HELP_LEFT 27

static void help_list(void)
{
	monitor_printf("help COMMAND says more of one; Tab completes, Up brings back.\n");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		monitor_printf("\n%s\n", families[i]->title);
		for (unsigned k = 0; k < families[i]->count; k++) {
			const struct monitor_command *c = &families[i]->commands[k];
			char left[80];
			int n = ksnprintf(left, sizeof(left), "%s%s%s%s", c->name,
					  c->format ? "/FMT" : "", *c->args ? " " : "", c->args);

			if (n > HELP_LEFT)
				monitor_printf("  %s\n  %-*s %s\n", left, HELP_LEFT, "", c->help);
			else
				monitor_printf("  %-*s %s\n", HELP_LEFT, left, c->help);
		}
	}
	monitor_printf("\nCOMMAND | grep [-v] [-i] [-c] WORD, | head N, | tail N, | more, | cat "
		       "(no pager)\n");
}

static bool cmd_help(const struct monitor_args *args)
{
	const struct monitor_command *c;

	if (!args->count) {
		help_list();
		return true;
	}
	c = find_command(&(struct token){ args->word[0], strlen(args->word[0]) });
	if (!c)
		return monitor_wrong("%s: no such command; help lists them", args->word[0]);
	show_usage(c);
	monitor_printf("  %s\n", c->help);
	if (c->format)
		monitor_printf("  FORMAT: %s\n", c->format);
	monitor_printf("example: %s\n", c->example);
	return true;
}

static bool cmd_wait(const struct monitor_args *args)
{
	uint64_t seconds = 0;
	bool idle = !strcmp(args->word[0], "idle");

	if (!idle && !monitor_number(args, 0, &seconds))
		return false;
	if (seconds > WAIT_MAX)
		return monitor_wrong("at most %u seconds", WAIT_MAX);
	wait = (struct dispatch_wait){ idle, seconds * NS_PER_SEC };
	wait_wanted = true;
	return true;
}

static const struct monitor_command own_commands[] = {
	{ .name = "help",
	  .args = "[COMMAND]",
	  .help = "the commands; one of them with an example",
	  .example = "help vm",
	  .words_max = 1,
	  .word = { WORD_COMMAND },
	  .run = cmd_help },
	{ .name = "wait",
	  .args = "SECONDS|idle",
	  .help = "do nothing so long, or until no VM runs",
	  .example = "wait idle",
	  .words_min = 1,
	  .words_max = 1,
	  .run = cmd_wait },
};

static const struct monitor_family monitor_own_family = {
	.title = "The monitor",
	.commands = own_commands,
	.count = ARRAY_SIZE(own_commands),
};
