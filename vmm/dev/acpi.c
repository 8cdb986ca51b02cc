#include "vmm/dev/acpi.h"

#include "arch/x86_64/include/acpi_tables.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/dev/acpi_pm.h"
#include "vmm/dev/hpet.h"
#include "vmm/dev/ioapic.h"
#include "vmm/dev/rtc.h"

#define OEM_ID "UMBRA "
#define OEM_TABLE "UMBRAPC "
#define CREATOR "UMBR"

#define ACPI_TABLES 4 /* that RSDT and XSDT list: FADT, MADT, SSDT, HPET */

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
#define LAST_XAPIC_ID 254
#define ALL_CPUS 0xff
#define ALL_X2APIC_CPUS 0xffffffff
#define LINT_NMI 1
#define ISA_PIT_PIN 2 /* of the I/O APIC: its input 0 is left to the 8259 */

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

static void fadt_write(struct acpi_fadt *f, uint32_t facs, uint32_t dsdt, bool apic)
{
	uint16_t msi = apic ? 0 : BOOT_NO_MSI;

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
		.boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA | msi,
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

/* --- MADT --- */

/* Above the ids of xAPICs there are x2APICs. */
static bool madt_lapic(struct acpi_area *a, uint32_t id)
{
	struct acpi_madt_x2apic *x2;
	struct acpi_madt_lapic *l;

	if (id <= LAST_XAPIC_ID) {
		l = area_take(a, sizeof(*l), 1);
		if (l)
			*l = (struct acpi_madt_lapic){ MADT_LAPIC, sizeof(*l), (uint8_t)id,
						       (uint8_t)id, MADT_ENABLED };
		return l;
	}
	x2 = area_take(a, sizeof(*x2), 1);
	if (x2)
		*x2 = (struct acpi_madt_x2apic){
			{ MADT_X2APIC, sizeof(*x2) }, 0, id, MADT_ENABLED, id
		};
	return x2;
}

/* NMI is on every processor's LINT1. */
static bool madt_nmi(struct acpi_area *a, bool x2apics)
{
	struct acpi_madt_lapic_nmi *n = area_take(a, sizeof(*n), 1);
	struct acpi_madt_x2apic_nmi *x2;

	if (n)
		*n = (struct acpi_madt_lapic_nmi){ .e = { MADT_LAPIC_NMI, sizeof(*n) },
						   .uid = ALL_CPUS,
						   .lint = LINT_NMI };
	if (!n || !x2apics)
		return n;
	x2 = area_take(a, sizeof(*x2), 1);
	if (x2)
		*x2 = (struct acpi_madt_x2apic_nmi){
			.e = { MADT_X2APIC_NMI, sizeof(*x2) },
			.uid = ALL_X2APIC_CPUS,
			.lint = LINT_NMI,
		};
	return x2;
}

static bool madt_override(struct acpi_area *a, uint8_t irq, uint32_t pin, uint16_t flags)
{
	struct acpi_madt_override *o = area_take(a, sizeof(*o), 1);

	if (o)
		*o = (struct acpi_madt_override){
			.e = { MADT_OVERRIDE, sizeof(*o) }, .irq = irq, .gsi = pin, .flags = flags
		};
	return o;
}

/* The I/O APIC, and where its ISA inputs are not as the bus has them. */
static bool madt_ioapic(struct acpi_area *a, uint8_t id)
{
	struct acpi_madt_ioapic *io = area_take(a, sizeof(*io), 1);

	if (io)
		*io = (struct acpi_madt_ioapic){ .e = { MADT_IOAPIC, sizeof(*io) },
						 .id = id,
						 .pa = IOAPIC_BASE };
	return io && madt_override(a, 0, ISA_PIT_PIN, 0) &&
	       madt_override(a, ACPI_SCI, ACPI_SCI, INTI_ACTIVE_HIGH | INTI_LEVEL);
}

static bool madt_apics(struct acpi_area *a, const struct acpi_machine *m)
{
	for (unsigned i = 0; i < m->vcpus; i++)
		if (!madt_lapic(a, i))
			return false;
	return madt_ioapic(a, m->ioapic_id) && madt_nmi(a, m->vcpus > LAST_XAPIC_ID + 1);
}

static void *madt_write(struct acpi_area *a, const struct acpi_machine *machine)
{
	struct acpi_madt *m = area_take(a, sizeof(*m), 8);

	if (!m || (machine->apic && !madt_apics(a, machine)))
		return NULL;
	m->lapic_address = LAPIC_ADDRESS;
	m->flags = MADT_PCAT_COMPAT;
	acpi_seal(&m->header, "APIC", (size_t)(a->base + a->used - (uint8_t *)m), 4);
	return m;
}

/* --- SSDT: the processors, as many as there are --- */

/* Device (Cnnn) { Name (_HID, "ACPI0007") Name (_UID, n) }; ACPI 6.4, 20.2 "AML Grammar". */
struct aml_cpu {
	uint8_t device[2], length; /* from length on */
	char name[4];
	uint8_t name_hid;
	char hid[4];
	uint8_t string;
	char acpi0007[9];
	uint8_t name_uid;
	char uid[4];
	uint8_t dword;
	uint32_t number;
} __attribute__((packed));
static_assert(sizeof(struct aml_cpu) == 32, "AML of a processor");

/* Scope (\_SB), with three bytes of length */
struct aml_scope {
	uint8_t scope, length[3];
	char root, name[4];
} __attribute__((packed));

#define AML_NAME 0x08
#define AML_DWORD 0x0c
#define AML_STRING 0x0d
#define AML_SCOPE 0x10
#define AML_EXT 0x5b
#define AML_EXT_DEVICE 0x82
#define AML_LENGTH_3 0x80 /* two bytes follow, and this one has the low four bits */

static struct aml_cpu aml_cpu(unsigned nr)
{
	static const char digit[] = "0123456789ABCDEF";

	return (struct aml_cpu){
		.device = { AML_EXT, AML_EXT_DEVICE },
		.length = sizeof(struct aml_cpu) - offsetof(struct aml_cpu, length),
		.name = { 'C', digit[nr >> 8 & 15], digit[nr >> 4 & 15], digit[nr & 15] },
		.name_hid = AML_NAME,
		.hid = { '_', 'H', 'I', 'D' },
		.string = AML_STRING,
		.acpi0007 = "ACPI0007",
		.name_uid = AML_NAME,
		.uid = { '_', 'U', 'I', 'D' },
		.dword = AML_DWORD,
		.number = nr,
	};
}

static void *ssdt_write(struct acpi_area *a, unsigned vcpus)
{
	struct acpi_header *h = area_take(a, sizeof(*h), 8);
	struct aml_scope *scope = area_take(a, sizeof(*scope), 1);
	struct aml_cpu *cpu = area_take(a, vcpus * sizeof(*cpu), 1);
	size_t cpus = vcpus * sizeof(*cpu);
	size_t length = sizeof(*scope) - offsetof(struct aml_scope, length) + cpus;

	if (!h || !scope || !cpu)
		return NULL;
	*scope = (struct aml_scope){
		.scope = AML_SCOPE,
		.length = { AML_LENGTH_3 | (length & 15), (uint8_t)(length >> 4),
			    (uint8_t)(length >> 12) },
		.root = '\\',
		.name = { '_', 'S', 'B', '_' },
	};
	for (unsigned i = 0; i < vcpus; i++)
		cpu[i] = aml_cpu(i);
	acpi_seal(h, "SSDT", sizeof(*h) + sizeof(*scope) + cpus, 2);
	return h;
}

/* --- HPET --- */

static void *hpet_write(struct acpi_area *a)
{
	struct acpi_hpet *h = area_take(a, sizeof(*h), 8);

	if (!h)
		return NULL;
	h->block_id = HPET_BLOCK_ID;
	h->base = (struct acpi_gas){ .space = GAS_MEMORY, .width = 64, .address = HPET_BASE };
	h->min_tick = HPET_MIN_PERIOD_NS / HPET_TICK_NS;
	acpi_seal(&h->header, "HPET", sizeof(*h), 1);
	return h;
}

/* --- what leads to them --- */

static void rsdp_write(struct acpi_rsdp *r, uint32_t rsdt, uint32_t xsdt)
{
	*r = (struct acpi_rsdp){ .revision = 2, .rsdt = rsdt, .length = sizeof(*r), .xsdt = xsdt };
	memcpy(r->signature, "RSD PTR ", sizeof(r->signature));
	memcpy(r->oem_id, OEM_ID, sizeof(r->oem_id));
	r->checksum = acpi_checksum(r, offsetof(struct acpi_rsdp, length));
	r->extended_checksum = acpi_checksum(r, sizeof(*r));
}

/* The tables that RSDT and XSDT list. False: they do not fit. */
static bool tables_write(struct acpi_area *a, const struct acpi_machine *m, void **table)
{
	struct acpi_facs *facs = area_take(a, sizeof(*facs), 64);
	struct acpi_fadt *fadt = area_take(a, sizeof(*fadt), 8);
	void *dsdt = area_take(a, dsdt_aml_size, 8);

	table[0] = fadt;
	table[1] = madt_write(a, m);
	table[2] = ssdt_write(a, m->vcpus);
	table[3] = m->apic ? hpet_write(a) : NULL;
	if (!facs || !fadt || !dsdt || !table[1] || !table[2] || (m->apic && !table[3]))
		return false;
	memcpy(facs->signature, "FACS", sizeof(facs->signature));
	facs->length = sizeof(*facs);
	facs->version = 2;
	memcpy(dsdt, dsdt_aml, dsdt_aml_size);
	fadt_write(fadt, area_address(a, facs), area_address(a, dsdt), m->apic);
	return true;
}

size_t acpi_write_tables(uint8_t *area, size_t size, gpa_t gpa, const struct acpi_machine *m)
{
	struct acpi_area a = { .base = area, .size = size, .gpa = gpa };
	struct acpi_rsdp *rsdp = area_take(&a, sizeof(*rsdp), 16);
	struct acpi_rsdt *rsdt = area_take(&a, sizeof(*rsdt), 8);
	struct acpi_xsdt *xsdt = area_take(&a, sizeof(*xsdt), 8);
	void *table[ACPI_TABLES];
	unsigned n = 0;

	if (!rsdp || !rsdt || !xsdt || !tables_write(&a, m, table))
		return 0;
	for (; n < ACPI_TABLES && table[n]; n++) {
		rsdt->table[n] = area_address(&a, table[n]);
		xsdt->table[n] = area_address(&a, table[n]);
	}
	acpi_seal(&rsdt->header, "RSDT", offsetof(struct acpi_rsdt, table[n]), 1);
	acpi_seal(&xsdt->header, "XSDT", offsetof(struct acpi_xsdt, table[n]), 1);
	rsdp_write(rsdp, area_address(&a, rsdt), area_address(&a, xsdt));
	return a.used;
}
