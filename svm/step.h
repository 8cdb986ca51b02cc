/*
 * Running a single guest instruction under RFLAGS.TF, for the two moments that the
 * hardware does not report: the end of the IRET that ends an NMI, and the end of an
 * interrupt shadow. QEMU: VMRUN forgets the shadow, so its end is stepped to. A step lasts
 * for one entry, whatever ends it.
 */
#ifndef UMBRA_SVM_STEP_H
#define UMBRA_SVM_STEP_H

#include <stdbool.h>

#include "svm/state.h"

/* The next entry runs one instruction. Every exception is intercepted meanwhile. */
void svm_step_begin(struct vcpu *vcpu, enum svm_step why);

/*
 * An exit has come during a step: undo what the step changed. True: the exit was the
 * step's own and the guest is to be entered again; false: report it, as *kind (which
 * is EXIT_KINDS when it is what the exit code says).
 */
bool svm_step_end(struct vcpu *vcpu, enum vm_exit_kind *kind);

#endif
