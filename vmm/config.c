#include "vmm/config.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/parse.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/config_core.h"
#include "vmm/sched.h"

#define MEMORY_DEFAULT MIB(256)
#ifdef UMBRA_DEBUG
#define AUDIT_DEFAULT 1000
#else
#define AUDIT_DEFAULT 0
#endif

#define QUOTE_LINE 100 /* so much of a line a message quotes */

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

/* --- module lines --- */

static void complain(struct line *l, const struct token *tok, const char *what)
{
	ksnprintf(l->why, sizeof(l->why), "\"%.*s\": %s", config_quoted(tok), tok->text, what);
}

/* Was it a token of a kernel's line, good or bad? */
static bool take_kernel_token(struct line *l, const struct token *tok)
{
	const char *wrong;

	if (!config_guest_token(&l->vm, tok, &wrong))
		return false;
	if (wrong)
		complain(l, tok, wrong);
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

/* NULL, or what is wrong with it. */
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
		ksnprintf(l->why, sizeof(l->why), "unknown token \"%.*s\"", config_quoted(tok),
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
			  role_names[__builtin_ctz(l->roles)]);
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

void config_parse(struct umbra_config *cfg, const struct boot_info *bi)
{
	memset(cfg, 0, sizeof(*cfg));
	cfg->loglevel = LOG_INFO;
	cfg->on_idle = ON_IDLE_MONITOR;
	cfg->svm_features = UINT32_MAX;
	cfg->vmx_features = UINT32_MAX;
	cfg->maxcpus = CPU_MAX;
	config_own_line(cfg, bi->cmdline ? bi->cmdline : "");
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
		ksnprintf(l.why, sizeof(l.why), "unknown token \"%.*s\"", config_quoted(&tok),
			  word);
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
