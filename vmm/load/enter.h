/* The states of the processor in which kernels are entered. */
#ifndef UMBRA_VMM_LOAD_ENTER_H
#define UMBRA_VMM_LOAD_ENTER_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/*
 * Both write a GDT into the guest's low memory, clear the general registers and set
 * flat segments (code 0x10, data 0x18), RFLAGS with interrupts off, and RIP. False: no
 * RAM where the tables belong (see place.h).
 */

/* 64-bit mode, the first 4 GiB mapped to themselves (Linux's 64-bit boot protocol). */
bool enter_long(struct vcpu *vcpu, uint64_t rip);
/* 32-bit protected mode, paging off (Linux's 32-bit boot protocol, PVH). */
bool enter_protected(struct vcpu *vcpu, uint32_t eip);

#endif
