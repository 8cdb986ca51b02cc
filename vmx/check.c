#include "vmx/check.h"

#include "vmx/check_rules.h"

static struct vmx_violation violation(const struct vmcs_image *v, enum vmcs_index field,
				      const char *words)
{
	return (struct vmx_violation){ vmx_field_info(field)->name, words, v->field[field] };
}

static struct vmx_violation check(const struct vmx_rules *set, const struct vmcs_image *v,
				  const struct vmx_limits *lim)
{
	for (unsigned i = 0; i < set->n; i++)
		if (set->rule[i].broken(v, lim))
			return violation(v, set->rule[i].field, set->rule[i].words);
	return (struct vmx_violation){ 0 };
}

static struct vmx_violation check_segments(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	for (unsigned i = 0; i < vmx_seg_rules.n; i++) {
		const struct vmx_seg_rule *rule = &vmx_seg_rules.rule[i];

		for (unsigned reg = SEG_ES; reg <= SEG_TR; reg++)
			if ((rule->regs & BIT(reg)) && rule->broken(v, lim, reg))
				return violation(v, vmx_seg_index(reg, rule->field), rule->words);
	}
	return (struct vmx_violation){ 0 };
}

struct vmx_violation vmx_check_vmcs(const struct vmcs_image *image, const struct vmx_limits *lim)
{
	struct vmx_violation found = check(&vmx_control_rules, image, lim);

	if (!found.field)
		found = check(&vmx_host_rules, image, lim);
	if (!found.field)
		found = check_segments(image, lim);
	if (!found.field)
		found = check(&vmx_guest_rules, image, lim);
	return found;
}
