/* The tables of the MultiProcessor Specification 1.4, for guests that do not read ACPI's. */
#ifndef UMBRA_VMM_DEV_MPTABLE_H
#define UMBRA_VMM_DEV_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

/* What they have to tell. */
struct mp_machine {
	unsigned vcpus; /* their APIC ids are 0, 1... */
	uint8_t ioapic_id;
	uint32_t signature, features; /* of each: CPUID leaf 1, EAX and EDX */
};

/*
 * Write the floating pointer and the configuration table into area[size], which the guest sees at
 * gpa, a multiple of 16 between f0000 and fffff, where it is searched for. The bytes used, or 0
 * when they do not fit.
 */
size_t mptable_write(uint8_t *area, size_t size, gpa_t gpa, const struct mp_machine *m);

#endif
