/* SVM's optional features, CPUID Fn8000_000A EDX. APM vol. 3, App. E.4.9. */
#ifndef UMBRA_SVM_FEATURES_H
#define UMBRA_SVM_FEATURES_H

#include "arch/x86_64/include/bits.h"

#define SVM_FEATURE_NP BIT(0)    /* nested paging */
#define SVM_FEATURE_NRIPS BIT(3) /* the next RIP is saved */
#define SVM_FEATURE_CLEAN BIT(5) /* VMCB clean bits */
#define SVM_FEATURE_FLUSH_BY_ASID BIT(6)
#define SVM_FEATURE_DECODE_ASSISTS BIT(7)
#define SVM_FEATURE_PAUSE_FILTER BIT(10)
#define SVM_FEATURE_PAUSE_THRESHOLD BIT(12)

/* Those that Umbra makes use of: constant of the bit, name. */
#define SVM_FEATURES(X)                                                                            \
	X(SVM_FEATURE_NP, "NP")                                                                    \
	X(SVM_FEATURE_NRIPS, "NRIPS")                                                              \
	X(SVM_FEATURE_CLEAN, "VmcbClean")                                                          \
	X(SVM_FEATURE_FLUSH_BY_ASID, "FlushByAsid")                                                \
	X(SVM_FEATURE_DECODE_ASSISTS, "DecodeAssists")                                             \
	X(SVM_FEATURE_PAUSE_FILTER, "PauseFilter")                                                 \
	X(SVM_FEATURE_PAUSE_THRESHOLD, "PauseThreshold")

#endif
