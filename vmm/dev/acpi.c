#include "vmm/dev/acpi.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/dev/acpi_pm.h"
#include "vmm/dev/rtc.h"

#define OEM_ID "UMBRA "
#define OEM_TABLE "UMBRAPC "
#define CREATOR "UMBR"

/* ACPI 5.1, 5.2.5.3 "RSDP Structure". */
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

#define ACPI_TABLES 2 /* that RSDT and XSDT list: FADT, MADT */

struct acpi_rsdt {
	struct acpi_header header;
	uint32_t table[ACPI_TABLES];
} __attribute__((packed));

struct acpi_xsdt {
	struct acpi_header header;
	uint64_t table[ACPI_TABLES];
} __attribute__((packed));

/* 5.2.3.1 "Generic Address Structure". */
struct acpi_gas {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));
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
#define PROFILE_DESKTOP 1
#define LATENCY_NO_C2 101
#define LATENCY_NO_C3 1001
#define RESET_PORT 0xcf9
#define RESET_VALUE 6

/* 5.2.10 "Firmware ACPI Control Structure". */
struct acpi_facs {
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));
static_assert(sizeof(struct acpi_facs) == 64, "FACS");

/* 5.2.12 "Multiple APIC Description Table" with its type 0 entry. */
struct acpi_madt {
	struct acpi_header header;
	uint32_t lapic_address;
	uint32_t flags;
} __attribute__((packed));
#define MADT_PCAT_COMPAT BIT(0)
#define LAPIC_ADDRESS 0xfee00000

struct acpi_madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_lapic) == 8, "MADT local APIC");
#define MADT_LAPIC 0
#define MADT_ENABLED BIT(0)

/* Where the next table goes. */
struct acpi_area {
	uint8_t *base;
	size_t size, used;
	gpa_t gpa;
};

/* Room for a table of size bytes, or NULL. */
static void *area_take(struct acpi_area *a, size_t size, size_t align)
{
	size_t at = ALIGN_UP(a->used, align);

	if (at > a->size || size > a->size - at)
		return NULL;
	a->used = at + size;
	return memset(a->base + at, 0, size);
}

static uint32_t area_address(const struct acpi_area *a, const void *table)
{
	return (uint32_t)(a->gpa.v + (uint64_t)((const uint8_t *)table - a->base));
}

/* What makes the bytes add up to 0. */
static uint8_t acpi_checksum(const void *table, size_t size)
{
	const uint8_t *byte = table;
	uint8_t sum = 0;

	while (size--)
		sum += *byte++;
	return -sum;
}

/* Fill in the header of a table whose content is complete. */
static void acpi_seal(struct acpi_header *h, const char *signature, size_t size, uint8_t revision)
{
	memcpy(h->signature, signature, sizeof(h->signature));
	h->length = (uint32_t)size;
	h->revision = revision;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table, OEM_TABLE, sizeof(h->oem_table));
	h->oem_revision = 1;
	memcpy(h->creator, CREATOR, sizeof(h->creator));
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = acpi_checksum(h, size);
}

static struct acpi_gas gas_io(uint16_t port, uint8_t bytes, uint8_t access)
{
	return (struct acpi_gas){
		.space = GAS_IO, .width = bytes * 8, .access = access, .address = port
	};
}

static void fadt_write(struct acpi_fadt *f, uint32_t facs, uint32_t dsdt)
{
	*f = (struct acpi_fadt){
		.facs = facs,
		.dsdt = dsdt,
		.x_dsdt = dsdt,
		.pm_profile = PROFILE_DESKTOP,
		.sci = ACPI_SCI,
		.pm1a_evt = ACPI_PM_BASE,
		.pm1a_cnt = ACPI_PM_BASE + 4,
		.pm_tmr = ACPI_PM_BASE + 8,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.p_lvl2_lat = LATENCY_NO_C2,
		.p_lvl3_lat = LATENCY_NO_C3,
		.century = RTC_CENTURY,
		.boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA | BOOT_NO_MSI,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_TMR_VAL_EXT | FADT_RESET_REG,
		.reset_reg = gas_io(RESET_PORT, 1, GAS_BYTE),
		.reset_value = RESET_VALUE,
		.minor = 1,
		.x_pm1a_evt = gas_io(ACPI_PM_BASE, 4, GAS_WORD),
		.x_pm1a_cnt = gas_io(ACPI_PM_BASE + 4, 2, GAS_WORD),
		.x_pm_tmr = gas_io(ACPI_PM_BASE + 8, 4, GAS_DWORD),
	};
	acpi_seal(&f->header, "FACP", sizeof(*f), 5);
}

static void *madt_write(struct acpi_area *a, unsigned vcpus)
{
	size_t size = sizeof(struct acpi_madt) + vcpus * sizeof(struct acpi_madt_lapic);
	struct acpi_madt *m = area_take(a, size, 8);
	struct acpi_madt_lapic *lapic;

	if (!m)
		return NULL;
	lapic = (struct acpi_madt_lapic *)(m + 1);
	m->lapic_address = LAPIC_ADDRESS;
	m->flags = MADT_PCAT_COMPAT;
	for (unsigned i = 0; i < vcpus; i++)
		lapic[i] = (struct acpi_madt_lapic){
			.type = MADT_LAPIC,
			.length = sizeof(*lapic),
			.uid = (uint8_t)i,
			.apic_id = (uint8_t)i,
			.flags = MADT_ENABLED,
		};
	acpi_seal(&m->header, "APIC", size, 3);
	return m;
}

static void rsdp_write(struct acpi_rsdp *r, uint32_t rsdt, uint32_t xsdt)
{
	*r = (struct acpi_rsdp){ .revision = 2, .rsdt = rsdt, .length = sizeof(*r), .xsdt = xsdt };
	memcpy(r->signature, "RSD PTR ", sizeof(r->signature));
	memcpy(r->oem_id, OEM_ID, sizeof(r->oem_id));
	r->checksum = acpi_checksum(r, offsetof(struct acpi_rsdp, length));
	r->extended_checksum = acpi_checksum(r, sizeof(*r));
}

size_t acpi_write_tables(uint8_t *area, size_t size, gpa_t gpa, unsigned vcpus)
{
	struct acpi_area a = { .base = area, .size = size, .gpa = gpa };
	struct acpi_rsdp *rsdp = area_take(&a, sizeof(*rsdp), 16);
	struct acpi_rsdt *rsdt = area_take(&a, sizeof(*rsdt), 8);
	struct acpi_xsdt *xsdt = area_take(&a, sizeof(*xsdt), 8);
	struct acpi_facs *facs = area_take(&a, sizeof(*facs), 64);
	struct acpi_fadt *fadt = area_take(&a, sizeof(*fadt), 8);
	void *dsdt = area_take(&a, dsdt_aml_size, 8);
	void *madt = madt_write(&a, vcpus);

	if (!rsdp || !rsdt || !xsdt || !facs || !fadt || !dsdt || !madt)
		return 0;
	memcpy(facs->signature, "FACS", sizeof(facs->signature));
	facs->length = sizeof(*facs);
	facs->version = 2;
	memcpy(dsdt, dsdt_aml, dsdt_aml_size);
	fadt_write(fadt, area_address(&a, facs), area_address(&a, dsdt));

	rsdt->table[0] = area_address(&a, fadt);
	rsdt->table[1] = area_address(&a, madt);
	acpi_seal(&rsdt->header, "RSDT", sizeof(*rsdt), 1);
	xsdt->table[0] = area_address(&a, fadt);
	xsdt->table[1] = area_address(&a, madt);
	acpi_seal(&xsdt->header, "XSDT", sizeof(*xsdt), 1);
	rsdp_write(rsdp, area_address(&a, rsdt), area_address(&a, xsdt));
	return a.used;
}
