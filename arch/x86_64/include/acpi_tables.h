/* ACPI tables, as firmware writes them for us and we for guests. ACPI 6.4, chapter 5. */
#ifndef UMBRA_ACPI_TABLES_H
#define UMBRA_ACPI_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/bits.h"

/* 5.2.5.3 "RSDP Structure". */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP of ACPI 2.0");

/* 5.2.6 "System Description Table Header". */
struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));
static_assert(sizeof(struct acpi_header) == 36, "table header");

/* 5.2.3.1 "Generic Address Structure". */
struct acpi_gas {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));
#define GAS_MEMORY 0
#define GAS_IO 1
#define GAS_BYTE 1
#define GAS_WORD 2
#define GAS_DWORD 3

/* 5.2.9 "Fixed ACPI Description Table". */
struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved0, pm_profile;
	uint16_t sci;
	uint32_t smi_command;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len;
	uint8_t gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr;
	struct acpi_gas x_gpe0, x_gpe1, sleep_control, sleep_status;
} __attribute__((packed));
static_assert(sizeof(struct acpi_fadt) == 268, "FADT revision 5");
static_assert(offsetof(struct acpi_fadt, flags) == 112, "FADT flags");
static_assert(offsetof(struct acpi_fadt, x_pm1a_evt) == 148, "FADT X_PM1a_EVT_BLK");

#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* no fixed sleep button */
#define FADT_FIX_RTC BIT(6)    /* the RTC cannot wake */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG BIT(10)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_8042 BIT(1)
#define BOOT_NO_VGA BIT(2)
#define BOOT_NO_MSI BIT(3)

/* 5.2.10 "Firmware ACPI Control Structure". */
struct acpi_facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));
static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* 5.2.12 "Multiple APIC Description Table". */
struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags;
} __attribute__((packed));
#define MADT_PCAT_COMPAT BIT(0)

/* 5.2.12.x: its entries. */
struct acpi_madt_entry {
	uint8_t type, length;
} __attribute__((packed));
enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};

struct acpi_madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_lapic) == 8, "MADT local APIC");
#define MADT_LAPIC_ENABLED BIT(0)
#define MADT_LAPIC_ONLINE_CAPABLE BIT(1) /* not enabled now; it can be plugged in */

struct acpi_madt_x2apic {
	struct acpi_madt_entry e;
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_x2apic) == 16, "MADT local x2APIC");

struct acpi_madt_ioapic {
	struct acpi_madt_entry e;
	uint8_t id, reserved;
	uint32_t pa, gsi_base;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_ioapic) == 12, "MADT I/O APIC");

struct acpi_madt_override {
	struct acpi_madt_entry e;
	uint8_t bus, irq;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_override) == 10, "MADT override");
#define INTI_POLARITY 0x3
#define INTI_ACTIVE_HIGH 0x1
#define INTI_ACTIVE_LOW 0x3
#define INTI_TRIGGER 0xc
#define INTI_LEVEL 0xc

struct acpi_madt_lapic_nmi {
	struct acpi_madt_entry e;
	uint8_t uid; /* 0xff: of all */
	uint16_t flags;
	uint8_t lint;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_lapic_nmi) == 6, "MADT local APIC NMI");

struct acpi_madt_x2apic_nmi {
	struct acpi_madt_entry e;
	uint16_t flags;
	uint32_t uid; /* 0xffffffff: of all */
	uint8_t lint, reserved[3];
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_x2apic_nmi) == 12, "MADT local x2APIC NMI");

/* IA-PC HPET 1.0a, 3.2.4. */
struct acpi_hpet {
	struct acpi_header header;
	uint32_t block_id;
	struct acpi_gas base;
	uint8_t number;
	uint16_t min_tick; /* of a periodic comparator */
	uint8_t protection;
} __attribute__((packed));
static_assert(sizeof(struct acpi_hpet) == 56, "HPET");

#endif
