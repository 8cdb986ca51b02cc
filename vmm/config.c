#include "vmm/config.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

#define MEMORY_DEFAULT MIB(256)
#define MEMORY_STEP MIB(1)
#define MEMORY_MAX (GIB(1) << 14)
#ifdef UMBRA_DEBUG
#define AUDIT_DEFAULT 1000
#else
#define AUDIT_DEFAULT 0
#endif

/* How much of a line or token a message quotes. */
#define QUOTE_LINE 100
#define QUOTE_TOKEN 60

/* What a module line's file is to its guest. */
enum role { ROLE_KERNEL, ROLE_INITRD, ROLE_MODULE, ROLE_DISK, ROLES };

static const char *const role_names[ROLES] = { "kernel", "initrd", "module", "disk" };

/* One module line while it is read. */
struct line {
	unsigned number; /* 1: the first module line of the menu entry */
	const struct boot_module *module;
	unsigned roles; /* what the file is, a set of BIT(enum role): one, if the line is right */
	bool has_name, has_at;
	uint64_t at;            /* disk */
	bool only_kernel_token; /* a token was there that only a kernel's line may have */
	struct vm_config vm;
	char why[192]; /* what is wrong; "": nothing */
};

/* A value that is one word of a list. */
struct choice {
	const char *word;
	int value;
};

static bool choose(const struct choice *list, size_t n, const struct token *tok, int *value)
{
	for (size_t i = 0; i < n; i++) {
		if (token_is(tok, list[i].word)) {
			*value = list[i].value;
			return true;
		}
	}
	return false;
}

static const struct choice paging_modes[] = {
	{ "auto", PAGING_AUTO },
	{ "nested", PAGING_NESTED },
	{ "shadow", PAGING_SHADOW },
};
static const struct choice reset_actions[] = {
	{ "restart", ON_RESET_RESTART },
	{ "stop", ON_RESET_STOP },
};
static const struct choice crash_actions[] = {
	{ "stop", ON_CRASH_STOP },
	{ "restart", ON_CRASH_RESTART },
};
static const struct choice idle_actions[] = {
	{ "monitor", ON_IDLE_MONITOR },
	{ "poweroff", ON_IDLE_POWEROFF },
	{ "reboot", ON_IDLE_REBOOT },
};
static const struct choice log_levels[] = {
	{ "err", LOG_ERR },
	{ "warn", LOG_WARN },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
};

/* Cut the token before its first c; *rest is what follows. False: there is none. */
static bool cut_at(struct token *tok, char c, struct token *rest)
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

/* --- tokens of a kernel's line: each returns NULL, or what is wrong with the value --- */

static const char *set_name(struct vm_config *vm, const struct token *val)
{
	if (!val->len)
		return "the name is empty";
	if (val->len >= VM_NAME_MAX)
		return "the name is longer than 31 characters";
	for (size_t i = 0; i < val->len; i++) {
		char c = val->text[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      c == '_' || c == '-'))
			return "a name has letters, digits, _ and - only";
	}
	memcpy(vm->name, val->text, val->len);
	vm->name[val->len] = '\0';
	return NULL;
}

static const char *set_memory(struct vm_config *vm, const struct token *val)
{
	uint64_t size;

	if (!parse_size(val, &size))
		return "not a size (such as 256M or 1G)";
	if (size < MEMORY_STEP)
		return "less than 1M";
	if (size > MEMORY_MAX)
		return "more than 16T";
	if (size % MEMORY_STEP)
		return "not a multiple of 1M";
	vm->memory = size;
	return NULL;
}

static const char *set_vcpus(struct vm_config *vm, const struct token *val)
{
	uint64_t n;

	if (!parse_u64(val, &n))
		return "not a number";
	static_assert(VM_MAX_VCPUS == 64, "as the message says");
	if (n < 1)
		return "less than 1";
	if (n > VM_MAX_VCPUS)
		return "more than 64";
	vm->vcpus = (unsigned)n;
	return NULL;
}

static const char *set_pv(struct vm_config *vm, const struct token *val)
{
	if (token_is(val, "kvm"))
		vm->pv = PV_KVM;
	else if (token_is(val, "none"))
		vm->pv = PV_NONE;
	else
		return "not kvm or none";
	return NULL;
}

static const char *set_weight(struct vm_config *vm, const struct token *val)
{
	uint64_t n;

	if (!parse_u64(val, &n))
		return "not a number";
	if (n < SCHED_WEIGHT_MIN || n > SCHED_WEIGHT_MAX)
		return "not from 1 to 10000";
	vm->weight = (unsigned)n;
	return NULL;
}

/* One CPU, or FIRST-LAST. */
static const char *add_cpus(uint64_t *cpus, struct token first)
{
	struct token last = first, behind;
	uint64_t from, to;

	if (cut_at(&first, '-', &behind))
		last = behind;
	if (!parse_u64(&first, &from) || !parse_u64(&last, &to) || from > to)
		return "not a list of CPUs (such as 0 or 0,2-3)";
	static_assert(SCHED_CPUS == 64, "as the message says");
	if (to >= SCHED_CPUS)
		return "guests run on CPUs 0 to 63 only";
	*cpus |= BITS((unsigned)to, (unsigned)from);
	return NULL;
}

static const char *set_cpus(struct vm_config *vm, const struct token *val)
{
	struct token part = *val, rest = part;
	const char *what = NULL;
	bool more = true;

	vm->cpus = 0;
	while (more && !what) {
		more = cut_at(&part, ',', &rest);
		what = add_cpus(&vm->cpus, part);
		part = rest;
	}
	return what;
}

static const char *set_paging(struct vm_config *vm, const struct token *val)
{
	int v;

	if (!choose(paging_modes, ARRAY_SIZE(paging_modes), val, &v))
		return "not nested, shadow or auto";
	vm->paging = (enum paging_mode)v;
	return NULL;
}

static const char *set_apic(struct vm_config *vm, const struct token *val)
{
	bool on = token_is(val, "on");

	if (!on && !token_is(val, "off"))
		return "not on or off";
	vm->apic = on;
	return NULL;
}

static const char *set_shadow(struct vm_config *vm, const struct token *val)
{
	uint64_t size;

	if (!parse_size(val, &size))
		return "not a size (such as 16M)";
	if (size < SHADOW_MIN)
		return "less than 1M";
	if (size > MEMORY_MAX)
		return "more than 16T";
	if (!IS_ALIGNED(size, PAGE_SIZE))
		return "not a multiple of 4K";
	vm->shadow = size;
	return NULL;
}

static const char *set_audit(struct vm_config *vm, const struct token *val)
{
	return parse_u64(val, &vm->audit) ? NULL : "not a number";
}

static const char *set_on_reset(struct vm_config *vm, const struct token *val)
{
	int v;

	if (!choose(reset_actions, ARRAY_SIZE(reset_actions), val, &v))
		return "not restart or stop";
	vm->on_reset = (enum on_reset)v;
	return NULL;
}

static const char *set_on_crash(struct vm_config *vm, const struct token *val)
{
	int v;

	if (!choose(crash_actions, ARRAY_SIZE(crash_actions), val, &v))
		return "not stop or restart";
	vm->on_crash = (enum on_crash)v;
	return NULL;
}

/* Whether there is such a port, and nobody else's, is seen when it is opened. */
static const char *set_com2(struct vm_config *vm, const struct token *val)
{
	struct token port = { val->text + 5, val->len - 5 };

	vm->com2[0] = '\0';
	if (token_is(val, "none"))
		return NULL;
	if (val->len <= 5 || memcmp(val->text, "phys:", 5) != 0 || port.len >= sizeof(vm->com2))
		return "not none or phys:PORT";
	memcpy(vm->com2, port.text, port.len);
	vm->com2[port.len] = '\0';
	return NULL;
}

#ifdef UMBRA_DEBUG
/* FIELD:VALUE or FIELD:VALUE@EXITS. Whether there is such a field the backend says. */
static const char *set_corrupt(struct vm_config *vm, const struct token *val)
{
	struct vm_corrupt *c = &vm->corrupt;
	struct token field = *val, value, exits;

	if (!cut_at(&field, ':', &value) || !field.len || field.len >= sizeof(c->field))
		return "not FIELD:VALUE";
	c->exits = 1;
	if (cut_at(&value, '@', &exits) && !parse_u64(&exits, &c->exits))
		return "not a number of exits";
	if (!parse_u64(&value, &c->value))
		return "not a number";
	memcpy(c->field, field.text, field.len);
	c->field[field.len] = 0;
	return NULL;
}
#endif

static const struct {
	const char *key;
	const char *(*set)(struct vm_config *vm, const struct token *val);
} kernel_values[] = {
	{ "memory", set_memory },
	{ "vcpus", set_vcpus },
	{ "weight", set_weight },
	{ "cpus", set_cpus },
	{ "paging", set_paging },
	{ "shadow", set_shadow },
	{ "audit", set_audit },
	{ "on-reset", set_on_reset },
	{ "on-crash", set_on_crash },
	{ "com2", set_com2 },
	{ "pv", set_pv },
	{ "apic", set_apic },
#ifdef UMBRA_DEBUG
	{ "corrupt", set_corrupt },
#endif
};

/* --- module lines --- */

static int quoted_len(const struct token *tok)
{
	return (int)MIN(tok->len, (size_t)QUOTE_TOKEN);
}

static void complain(struct line *l, const struct token *tok, const char *what)
{
	ksnprintf(l->why, sizeof(l->why), "\"%.*s\": %s", quoted_len(tok), tok->text, what);
}

/* Was it a token of a kernel's line, good or bad? */
static bool take_kernel_token(struct line *l, const struct token *tok)
{
	struct token val;

	for (size_t i = 0; i < ARRAY_SIZE(kernel_values); i++) {
		const char *what;

		if (!token_value(tok, kernel_values[i].key, &val))
			continue;
		what = kernel_values[i].set(&l->vm, &val);
		if (what)
			complain(l, tok, what);
		return true;
	}
	if (token_is(tok, "debug-exit"))
		l->vm.debug_exit = true;
	else if (token_is(tok, "stats"))
		l->vm.stats = true;
	else if (token_is(tok, "paused"))
		l->vm.paused = true;
	else
		return false;
	return true;
}

static bool take_role(struct line *l, const struct token *tok)
{
	for (unsigned i = 0; i < ROLES; i++) {
		if (!token_is(tok, role_names[i]))
			continue;
		l->roles |= 1u << i;
		return true;
	}
	return false;
}

static void take_token(struct line *l, const struct token *tok)
{
	struct token val;

	if (token_value(tok, "vm", &val)) {
		const char *what = l->has_name ? "a second name" : set_name(&l->vm, &val);

		l->has_name = true;
		if (what)
			complain(l, tok, what);
	} else if (token_value(tok, "at", &val)) {
		l->has_at = true;
		if (!parse_size(&val, &l->at))
			complain(l, tok, "not an address (such as 0x40000000 or 1G)");
		else if (!IS_ALIGNED(l->at, PAGE_SIZE))
			complain(l, tok, "not a multiple of 4K");
	} else if (take_kernel_token(l, tok)) {
		l->only_kernel_token = true;
	} else if (!take_role(l, tok)) {
		ksnprintf(l->why, sizeof(l->why), "unknown token \"%.*s\"", quoted_len(tok),
			  tok->text);
	}
}

static bool is_role(const struct line *l, enum role role)
{
	return l->roles == 1u << role;
}

/* What the tokens of a line, each good by itself, lack together. */
static const char *line_lacks(const struct line *l)
{
	if (!l->has_name)
		return "vm=NAME is missing";
	if (!l->roles)
		return "neither kernel, initrd, module nor disk";
	if (l->roles & (l->roles - 1))
		return "it can be one only of kernel, initrd, module and disk";
	if (!is_role(l, ROLE_KERNEL) && l->only_kernel_token)
		return "the line of an initrd, module or disk takes no tokens of a kernel's";
	if (is_role(l, ROLE_DISK) != l->has_at)
		return l->has_at ? "at= is for a disk's line" : "at=ADDRESS is missing";
	if ((is_role(l, ROLE_INITRD) || is_role(l, ROLE_DISK)) && *l->vm.cmdline)
		return "the command line belongs on the kernel's line";
	return NULL;
}

/* Read the line up to its first mistake. vm= and what the file is are looked for beyond it,
 * so that a message can say whose line it was. */
static void parse_line(struct line *l, unsigned number, const struct boot_module *m)
{
	const char *p = m->cmdline ? m->cmdline : "";
	struct token tok, val;
	const char *lacks;

	memset(l, 0, sizeof(*l));
	l->number = number;
	l->module = m;
	l->vm.memory = MEMORY_DEFAULT;
	l->vm.vcpus = 1;
	l->vm.apic = true;
	l->vm.weight = SCHED_WEIGHT_DEFAULT;
	l->vm.audit = AUDIT_DEFAULT;
	l->vm.cmdline = "";
	while (parse_token(&p, &tok)) {
		if (token_is(&tok, "--")) {
			while (*p == ' ' || *p == '\t')
				p++;
			l->vm.cmdline = p;
			break;
		}
		if (!l->why[0] || token_value(&tok, "vm", &val))
			take_token(l, &tok);
		else
			take_role(l, &tok);
	}
	lacks = line_lacks(l);
	if (!l->why[0] && lacks)
		str_copy(l->why, lacks, sizeof(l->why));
}

static void report(const struct line *l, const char *consequence)
{
	const char *text = l->module->cmdline ? l->module->cmdline : "";

	log_err("error: module %u \"%.*s%s\": %s; %s", l->number, QUOTE_LINE, text,
		strnlen(text, QUOTE_LINE + 1) > QUOTE_LINE ? "..." : "", l->why, consequence);
}

static struct vm_config *find_vm(struct umbra_config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->nr_vms; i++)
		if (!strcmp(cfg->vm[i].name, name))
			return &cfg->vm[i];
	return NULL;
}

static void remove_vm(struct umbra_config *cfg, struct vm_config *vm)
{
	unsigned i = (unsigned)(vm - cfg->vm);

	cfg->nr_vms--;
	memmove(vm, vm + 1, (cfg->nr_vms - i) * sizeof(*vm));
}

static void take_kernel_line(struct umbra_config *cfg, struct line *l)
{
	if (!l->why[0] && find_vm(cfg, l->vm.name))
		ksnprintf(l->why, sizeof(l->why), "\"vm=%s\": another kernel has this name",
			  l->vm.name);
	if (!l->why[0] && cfg->nr_vms == VM_CONFIG_MAX)
		ksnprintf(l->why, sizeof(l->why), "more than %d guests", VM_CONFIG_MAX);
	if (l->why[0]) {
		report(l, "this guest is left out");
		return;
	}
	l->vm.kernel = l->module;
	cfg->vm[cfg->nr_vms++] = l->vm;
}

static void add_initrd(struct vm_config *vm, struct line *l)
{
	if (!vm->initrd) {
		vm->initrd = l->module;
		return;
	}
	ksnprintf(l->why, sizeof(l->why), "\"%s\" has an initrd already", l->vm.name);
	report(l, "this initrd is left out");
}

/* A kernel that counts its modules would take the next one for this. */
static void add_module(struct umbra_config *cfg, struct vm_config *vm, struct line *l)
{
	if (vm->nr_modules < VM_CONFIG_MODULES) {
		vm->module[vm->nr_modules++] = (struct vm_module){ l->module, l->vm.cmdline };
		return;
	}
	ksnprintf(l->why, sizeof(l->why), "\"%s\" has %d modules already", l->vm.name,
		  VM_CONFIG_MODULES);
	remove_vm(cfg, vm);
	report(l, "this guest is left out");
}

static void add_disk(struct umbra_config *cfg, struct vm_config *vm, struct line *l)
{
	if (vm->nr_disks < VM_CONFIG_DISKS) {
		vm->disk[vm->nr_disks++] = (struct vm_disk){ l->module, l->at };
		return;
	}
	ksnprintf(l->why, sizeof(l->why), "\"%s\" has %d disks already", l->vm.name,
		  VM_CONFIG_DISKS);
	remove_vm(cfg, vm);
	report(l, "this guest is left out");
}

/* The line of a file that a guest has besides its kernel. */
static void take_file_line(struct umbra_config *cfg, struct line *l)
{
	struct vm_config *vm = l->has_name ? find_vm(cfg, l->vm.name) : NULL;
	char left_out[40];

	if (l->why[0]) {
		if (vm)
			remove_vm(cfg, vm);
		report(l, vm ? "this guest is left out" : "this line is left out");
	} else if (!vm) {
		ksnprintf(l->why, sizeof(l->why), "no guest \"%s\" has a good kernel line",
			  l->vm.name);
		ksnprintf(left_out, sizeof(left_out), "this %s is left out",
			  role_names[is_role(l, ROLE_INITRD)   ? ROLE_INITRD
				     : is_role(l, ROLE_MODULE) ? ROLE_MODULE
							       : ROLE_DISK]);
		report(l, left_out);
	} else if (is_role(l, ROLE_INITRD)) {
		add_initrd(vm, l);
	} else if (is_role(l, ROLE_MODULE)) {
		add_module(cfg, vm, l);
	} else {
		add_disk(cfg, vm, l);
	}
}

/* Is it a file that belongs to some kernel, not a kernel or nothing? */
static bool is_file_line(const struct line *l)
{
	return l->roles && !(l->roles & 1u << ROLE_KERNEL);
}

/* Kernels first, so that a file's line may stand before its kernel's. */
static void parse_modules(struct umbra_config *cfg, const struct boot_info *bi)
{
	struct line l;

	for (unsigned i = 0; i < bi->nr_modules; i++) {
		parse_line(&l, i + 1, &bi->module[i]);
		if (!is_file_line(&l))
			take_kernel_line(cfg, &l);
	}
	for (unsigned i = 0; i < bi->nr_modules; i++) {
		parse_line(&l, i + 1, &bi->module[i]);
		if (is_file_line(&l))
			take_file_line(cfg, &l);
	}
}

/* --- Umbra's own line --- */

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

static void parse_own_line(struct umbra_config *cfg, const char *line)
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
			if (choose(log_levels, ARRAY_SIZE(log_levels), &val, &v))
				cfg->loglevel = (enum log_level)v;
			else
				wrong = "not err, warn, info or debug";
		} else if (token_value(&tok, "on-idle", &val)) {
			if (choose(idle_actions, ARRAY_SIZE(idle_actions), &val, &v))
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
			log_err("error: Umbra's line: \"%.*s\": %s; ignored", quoted_len(&tok),
				tok.text, wrong);
	}
}

void config_parse(struct umbra_config *cfg, const struct boot_info *bi)
{
	memset(cfg, 0, sizeof(*cfg));
	cfg->loglevel = LOG_INFO;
	cfg->on_idle = ON_IDLE_MONITOR;
	cfg->svm_features = UINT32_MAX;
	cfg->vmx_features = UINT32_MAX;
	cfg->maxcpus = CPU_MAX;
	parse_own_line(cfg, bi->cmdline ? bi->cmdline : "");
	parse_modules(cfg, bi);
	if (bi->modules_dropped)
		log_err("error: more than %u modules: the last %u are left out", BOOT_MAX_MODULES,
			bi->modules_dropped);
	if (cfg->nr_vms)
		return;
	if (bi->nr_modules)
		log_err("error: no guest is left to start");
	else
		log_err("error: no guest: the menu entry has no line such as "
			"\"module2 /guests/vmlinuz vm=NAME kernel memory=256M -- console=ttyS0\"");
}

bool config_change(struct vm_config *vm, const char *word, char *why, size_t size)
{
	struct token tok = { word, strlen(word) };
	struct line l = { .vm = *vm };

	if (!take_kernel_token(&l, &tok))
		ksnprintf(l.why, sizeof(l.why), "unknown token \"%.*s\"", quoted_len(&tok), word);
	if (l.why[0]) {
		str_copy(why, l.why, size);
		return false;
	}
	*vm = l.vm;
	return true;
}

bool config_early_value(const char *cmdline, const char *key, char *buf, size_t size)
{
	struct token tok, val;
	bool found = false;

	while (cmdline && parse_token(&cmdline, &tok)) {
		if (!token_value(&tok, key, &val) || !size)
			continue;
		val.len = MIN(val.len, size - 1);
		memcpy(buf, val.text, val.len);
		buf[val.len] = '\0';
		found = true;
	}
	return found;
}
