/* The ACPI tables that describe the PC to its guest. */
#ifndef UMBRA_VMM_DEV_ACPI_H
#define UMBRA_VMM_DEV_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

/* vmm/dev/dsdt.asl as iasl compiles it. */
extern const unsigned char dsdt_aml[];
extern const unsigned int dsdt_aml_size;

/* What they have to tell. */
struct acpi_machine {
	unsigned vcpus; /* their APIC ids are 0, 1... */
	bool apic;      /* there are local APICs, an I/O APIC, an HPET */
	uint8_t ioapic_id;
};

/*
 * Write all tables into area[size], which the guest sees at gpa (64-byte aligned, below
 * 4 GiB; below 1 MiB for guests that search). Returns the bytes used, 0 when they do not
 * fit. The RSDP is at gpa.
 */
size_t acpi_write_tables(uint8_t *area, size_t size, gpa_t gpa, const struct acpi_machine *m);

#endif
