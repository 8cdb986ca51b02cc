/* What VM entry checks before it enters a guest. SDM vol. 3, ch. 26. Pure. */
#ifndef UMBRA_VMX_CHECK_H
#define UMBRA_VMX_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "vmx/caps.h"
#include "vmx/vmcs.h"

/* Every field of a VMCS as it was read, by vmx_read_image(). */
enum vmcs_index {
#define X(constant, encoding) INDEX_##constant,
	VMCS_FIELDS_16(X) VMCS_FIELDS_32(X) VMCS_FIELDS_64(X) VMCS_FIELDS_N(X) VMCS_INDEXES,
#undef X
};

struct vmcs_image {
	uint64_t field[VMCS_INDEXES];
};

struct vmcs_field_info {
	const char *name; /* VMCS_... */
	uint32_t encoding;
};
/* index: below VMCS_INDEXES. */
const struct vmcs_field_info *vmx_field_info(unsigned index);
/* Does this processor have the field? Reading one that it has not fails. */
bool vmx_field_there(unsigned index, const struct vmx_caps *caps);

/* What the rules depend on of this CPU. */
struct vmx_limits {
	const struct vmx_caps *caps;
	unsigned maxphyaddr;
	unsigned linear_bits; /* 48 or 57 */
};

struct vmx_violation {
	const char *field; /* the field, as vmx_field_info() names it */
	const char *words; /* what is wrong with it */
	uint64_t value;    /* what it holds */
};

/* The first rule that the VMCS breaks; field NULL: none, VM entry should go through. */
struct vmx_violation vmx_check_vmcs(const struct vmcs_image *image, const struct vmx_limits *lim);

#endif
