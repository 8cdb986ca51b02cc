/* The I/O and MSR permission maps. APM vol. 2, 15.10.1 and 15.11. Pure. */
#ifndef UMBRA_SVM_PERM_H
#define UMBRA_SVM_PERM_H

#include <stdbool.h>
#include <stdint.h>

#define IOPM_SIZE 12288 /* a bit a port, and what an access across ffffh reads */
#define MSRPM_SIZE 8192 /* two bits an MSR: read, then write */

/* Intercept, or let through, count ports from port on; those past ffffh are ignored. */
void svm_iopm_set(uint8_t *iopm, uint16_t port, unsigned count, bool on);

/* False: the map has no bits for this MSR, which is then always intercepted. */
bool svm_msrpm_set(uint8_t *msrpm, uint32_t msr, bool read, bool write);

/*
 * The maps of a new VM: everything intercepted but the MSRs that VMLOAD and VMSAVE
 * switch.
 */
void svm_iopm_init(uint8_t *iopm);
void svm_msrpm_init(uint8_t *msrpm);

#endif
