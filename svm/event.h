/* Neutral events as EVENTINJ and EXITINTINFO words. APM vol. 2, 15.20 and 15.7.2. */
#ifndef UMBRA_SVM_EVENT_H
#define UMBRA_SVM_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

/*
 * The EVENTINJ word that delivers ev, or 0 when entering the guest is all it takes: a
 * software interrupt's RIP still points to its instruction, which raises it again.
 * protected_mode: CR0.PE; real mode has no error codes.
 */
uint64_t svm_event_encode(const struct vm_event *ev, bool protected_mode);

/* The event that an EXITINTINFO word speaks of; EVENT_NONE when it is not valid. */
struct vm_event svm_event_decode(uint64_t word);

#endif
