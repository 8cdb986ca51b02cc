#include "vmm/dev/acpi.h"

#include "arch/x86_64/include/acpi_tables.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/dev/acpi_pm.h"
#include "vmm/dev/rtc.h"

#define OEM_ID "UMBRA "
#define OEM_TABLE "UMBRAPC "
#define CREATOR "UMBR"

#define ACPI_TABLES 2 /* that RSDT and XSDT list: FADT, MADT */

struct acpi_rsdt {
	struct acpi_header header;
	uint32_t table[ACPI_TABLES];
} __attribute__((packed));

struct acpi_xsdt {
	struct acpi_header header;
	uint64_t table[ACPI_TABLES];
} __attribute__((packed));

#define PROFILE_DESKTOP 1
#define LATENCY_NO_C2 101
#define LATENCY_NO_C3 1001
#define RESET_PORT 0xcf9
#define RESET_VALUE 6

#define LAPIC_ADDRESS 0xfee00000

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
