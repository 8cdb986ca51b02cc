/* Who called the guest's code of now, as far as its stack tells. */
#ifndef UMBRA_VMM_MONITOR_BACKTRACE_H
#define UMBRA_VMM_MONITOR_BACKTRACE_H

struct vcpu;

/*
 * Print where the vCPU is and its callers: by frame pointers, or where there are none, every word
 * of the stack that is the address behind a CALL, marked '?'. Of those some are left from calls
 * that have returned.
 */
void backtrace_print(const struct vcpu *vcpu);

#endif
