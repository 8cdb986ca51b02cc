/* What the firmware's ACPI tables say of this machine. Every table's checksum is checked. */
#ifndef UMBRA_ACPI_H
#define UMBRA_ACPI_H

#include <stdbool.h>
#include <stdint.h>

#define ACPI_MAX_IOAPICS 8
#define ACPI_ISA_IRQS 16
#define ACPI_MAX_CPUS 256

struct boot_info;

struct acpi_ioapic {
	uint32_t pa;
	uint32_t gsi_base;
};

/* How an ISA interrupt reaches the I/O APICs. */
struct acpi_isa_irq {
	uint32_t gsi;
	bool active_low, level;
};

enum acpi_space { ACPI_SPACE_MEMORY, ACPI_SPACE_IO, ACPI_SPACE_PCI };

struct acpi_info {
	bool fadt, madt; /* the table was there and sound */

	/* FADT; a port of 0: not there */
	uint16_t sci_irq;
	uint32_t smi_cmd;
	uint8_t acpi_enable;
	uint16_t pm1a_cnt, pm1b_cnt;
	uint16_t pm_timer;
	uint8_t century; /* CMOS register, 0: none */
	bool reset_reg;
	uint8_t reset_space; /* enum acpi_space */
	uint64_t reset_addr;
	uint8_t reset_value;
	bool s5; /* \_S5_ found in the DSDT */
	uint8_t s5_typ_a, s5_typ_b;

	/* MADT */
	unsigned nr_ioapics;
	struct acpi_ioapic ioapic[ACPI_MAX_IOAPICS];
	struct acpi_isa_irq isa[ACPI_ISA_IRQS];
	/* Processors that are enabled, each once, in the MADT's order. One that is "online
	 * capable" only has to be plugged in first: it is not there. */
	unsigned nr_cpus, cpus_dropped;
	uint32_t cpu_apic_id[ACPI_MAX_CPUS];

	uint64_t hpet_pa; /* 0: none */
};

/* Read the tables. Without any, or with broken ones, the fields say "not there". */
void acpi_init(const struct boot_info *bi);
/* What acpi_init() found; all zero before it. */
const struct acpi_info *acpi_info(void);

#endif
