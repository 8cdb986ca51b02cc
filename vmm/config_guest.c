/* The tokens of a kernel's line that say what the guest gets. */
#include <stddef.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/config_core.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

#define MEMORY_STEP MIB(1)
#define MEMORY_MAX (GIB(1) << 14)

/* --- values: each returns NULL, or what is wrong with it --- */

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
static const char *add_cpus(struct cpu_set *cpus, struct token first)
{
	struct token last = first, behind;
	uint64_t from, to;

	if (token_cut(&first, '-', &behind))
		last = behind;
	if (!parse_u64(&first, &from) || !parse_u64(&last, &to) || from > to)
		return "not a list of CPUs (such as 0 or 0,2-3)";
	static_assert(CPU_MAX == 256, "as the message says");
	if (to >= CPU_MAX)
		return "CPUs have the numbers 0 to 255";
	for (; from <= to; from++)
		cpu_set_add(cpus, (unsigned)from);
	return NULL;
}

static const char *set_cpus(struct vm_config *vm, const struct token *val)
{
	struct token part = *val, rest = part;
	const char *what = NULL;
	bool more = true;

	vm->cpus = (struct cpu_set){ { 0 } };
	while (more && !what) {
		more = token_cut(&part, ',', &rest);
		what = add_cpus(&vm->cpus, part);
		part = rest;
	}
	return what;
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

	if (!token_cut(&field, ':', &value) || !field.len || field.len >= sizeof(c->field))
		return "not FIELD:VALUE";
	c->exits = 1;
	if (token_cut(&value, '@', &exits) && !parse_u64(&exits, &c->exits))
		return "not a number of exits";
	if (!parse_u64(&value, &c->value))
		return "not a number";
	memcpy(c->field, field.text, field.len);
	c->field[field.len] = 0;
	return NULL;
}
#endif

/* --- one of some words --- */

static const struct token_choice paging_modes[] = {
	{ "auto", PAGING_AUTO },
	{ "nested", PAGING_NESTED },
	{ "shadow", PAGING_SHADOW },
};
static const struct token_choice reset_actions[] = {
	{ "restart", ON_RESET_RESTART },
	{ "stop", ON_RESET_STOP },
};
static const struct token_choice crash_actions[] = {
	{ "stop", ON_CRASH_STOP },
	{ "restart", ON_CRASH_RESTART },
};
static const struct token_choice pv_modes[] = {
	{ "kvm", PV_KVM },
	{ "none", PV_NONE },
};
static const struct token_choice switches[] = {
	{ "on", true },
	{ "off", false },
};

#define FIELD(field) offsetof(struct vm_config, field), sizeof(((struct vm_config *)0)->field)
#define WORDS(list) list, ARRAY_SIZE(list)

static const struct kernel_choice {
	const char *key;
	size_t at, size; /* of what it sets, in struct vm_config: an enumeration, or a bool */
	const struct token_choice *word;
	size_t nr;
	const char *wrong;
} kernel_choices[] = {
	{ "paging", FIELD(paging), WORDS(paging_modes), "not nested, shadow or auto" },
	{ "on-reset", FIELD(on_reset), WORDS(reset_actions), "not restart or stop" },
	{ "on-crash", FIELD(on_crash), WORDS(crash_actions), "not stop or restart" },
	{ "pv", FIELD(pv), WORDS(pv_modes), "not kvm or none" },
	{ "apic", FIELD(apic), WORDS(switches), "not on or off" },
};

/* As the values' functions. */
static const char *set_choice(struct vm_config *vm, const struct kernel_choice *c,
			      const struct token *val)
{
	int v;

	if (!token_choose(val, c->word, c->nr, &v))
		return c->wrong;
	/* The low bytes come first. */
	memcpy((uint8_t *)vm + c->at, &v, c->size);
	return NULL;
}

/* --- tokens --- */

static const struct {
	const char *key;
	const char *(*set)(struct vm_config *vm, const struct token *val);
} kernel_values[] = {
	{ "memory", set_memory },   { "vcpus", set_vcpus },   { "weight", set_weight },
	{ "cpus", set_cpus },       { "shadow", set_shadow }, { "audit", set_audit },
	{ "com2", set_com2 },
#ifdef UMBRA_DEBUG
	{ "corrupt", set_corrupt },
#endif
};

bool config_guest_token(struct vm_config *vm, const struct token *tok, const char **wrong)
{
	struct token val;

	*wrong = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(kernel_values); i++) {
		if (!token_value(tok, kernel_values[i].key, &val))
			continue;
		*wrong = kernel_values[i].set(vm, &val);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kernel_choices); i++) {
		if (!token_value(tok, kernel_choices[i].key, &val))
			continue;
		*wrong = set_choice(vm, &kernel_choices[i], &val);
		return true;
	}
	if (token_is(tok, "debug-exit"))
		vm->debug_exit = true;
	else if (token_is(tok, "stats"))
		vm->stats = true;
	else if (token_is(tok, "paused"))
		vm->paused = true;
	else
		return false;
	return true;
}
