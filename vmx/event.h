/* Neutral events as VM-entry interruption information, and from IDT-vectoring information.
 * SDM vol. 3, 24.8.3 and 24.9.3. Pure. */
#ifndef UMBRA_VMX_EVENT_H
#define UMBRA_VMX_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/exit.h"

/* What the three VM-entry event fields are to hold. */
struct vmx_entry_event {
	uint32_t info;
	uint32_t error;
	uint32_t insn_len;
};

/*
 * The fields that deliver ev; info 0: entering the guest is all it takes, as RIP still points to
 * the instruction that raises it again (a software event whose length is not known).
 * protected_mode: CR0.PE; real mode has no error codes.
 */
struct vmx_entry_event vmx_event_encode(const struct vm_event *ev, bool protected_mode);

/* The event that IDT-vectoring information speaks of; EVENT_NONE when it is not valid. insn_len:
 * the exit's instruction length, which counts for software events. */
struct vm_event vmx_event_decode(uint32_t info, uint32_t error, uint32_t insn_len);

#endif
