/* What VMRUN checks before it enters a guest. APM vol. 2, 15.5.1. Pure. */
#ifndef UMBRA_SVM_CHECK_H
#define UMBRA_SVM_CHECK_H

#include <stdint.h>

#include "svm/vmcb.h"

/* What the rules depend on of this CPU. */
struct svm_limits {
	unsigned maxphyaddr;
	uint64_t cr4_valid;
};

/* The first rule that the VMCB breaks, in words; NULL: none, VMRUN should take it. */
const char *svm_check_vmcb(const struct vmcb *v, const struct svm_limits *lim);

#endif
