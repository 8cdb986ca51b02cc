#include "arch/x86_64/acpi.h"

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/include/acpi_tables.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"

#define RSDP_V1_BYTES 20
#define FADT_V1_BYTES offsetof(struct acpi_fadt, reset_reg)
#define HAS(f, member)                                                                             \
	((f)->header.length >= offsetof(struct acpi_fadt, member) + sizeof((f)->member))

#define TABLE_MAX_BYTES MIB(16)

static struct acpi_info info;
static const struct boot_info *boot;

const struct acpi_info *acpi_info(void)
{
	return &info;
}

/* --- finding tables --- */

/* Does the direct map hold [pa, pa + size)? It has the first 4 GiB and every range of
 * the memory map. */
static bool reachable(uint64_t pa, uint64_t size)
{
	if (!pa || pa + size < pa)
		return false;
	if (pa + size <= GIB(4))
		return true;
	for (unsigned i = 0; i < boot->nr_ranges; i++) {
		const struct boot_range *r = &boot->range[i];

		if (pa >= r->base && pa - r->base < r->size && size <= r->size - (pa - r->base))
			return true;
	}
	return false;
}

static bool sum_ok(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *b++);
	return !sum;
}

/* The table at pa when it is sound and at least min bytes long, else NULL. */
static const struct acpi_header *table_at(uint64_t pa, const char *signature, size_t min)
{
	const struct acpi_header *h;

	if (!reachable(pa, sizeof(*h)))
		return NULL;
	h = hpa_to_ptr(HPA(pa));
	if (memcmp(h->signature, signature, 4))
		return NULL;
	if (h->length < MAX(min, sizeof(*h)) || h->length > TABLE_MAX_BYTES ||
	    !reachable(pa, h->length) || !sum_ok(h, h->length)) {
		log_warn("ACPI: the %s table is broken and not used", signature);
		return NULL;
	}
	return h;
}

/* The first sound table of this name that the root table lists. */
static const struct acpi_header *find(const struct acpi_header *root, size_t ptr_bytes,
				      const char *signature, size_t min)
{
	const uint8_t *entry = (const uint8_t *)(root + 1);
	size_t n = (root->length - sizeof(*root)) / ptr_bytes;

	for (; n--; entry += ptr_bytes) {
		const struct acpi_header *h;
		uint64_t pa = 0;

		memcpy(&pa, entry, ptr_bytes);
		h = table_at(pa, signature, min);
		if (h)
			return h;
	}
	return NULL;
}

/* --- \_S5_ --- */

/* An integer constant at p: its value, *p after it. ACPI 6.4, 20.2.3. */
static bool aml_integer(const uint8_t **p, const uint8_t *end, uint8_t *val)
{
	enum { ZERO = 0x00, ONE = 0x01, BYTE = 0x0a, WORD = 0x0b, DWORD = 0x0c };
	unsigned bytes;

	if (*p >= end)
		return false;
	switch (**p) {
	case ZERO:
	case ONE:
		*val = *(*p)++;
		return true;
	case BYTE:
		bytes = 1;
		break;
	case WORD:
		bytes = 2;
		break;
	case DWORD:
		bytes = 4;
		break;
	default:
		return false;
	}
	if ((size_t)(end - *p) < 1 + bytes)
		return false;
	*val = (*p)[1];
	*p += 1 + bytes;
	return true;
}

/* Name (_S5_, Package () { a, b, ... }) whose name's last byte is before p. */
static bool s5_package(const uint8_t *p, const uint8_t *end)
{
	const uint8_t package_op = 0x12;
	uint8_t a, b;

	if (end - p < 3 || *p++ != package_op)
		return false;
	p += 1 + (*p >> 6);       /* PkgLength */
	if (p >= end || *p++ < 2) /* NumElements */
		return false;
	if (!aml_integer(&p, end, &a) || !aml_integer(&p, end, &b))
		return false;
	info.s5_typ_a = a & 7;
	info.s5_typ_b = b & 7;
	return true;
}

static void read_s5(const struct acpi_header *dsdt)
{
	const uint8_t *p = (const uint8_t *)(dsdt + 1);
	const uint8_t *end = (const uint8_t *)dsdt + dsdt->length;

	for (; !info.s5 && end - p > 4; p++)
		if (!memcmp(p, "_S5_", 4))
			info.s5 = s5_package(p + 4, end);
}

/* --- FADT, MADT, HPET --- */

/* The port of a register that has an old 32-bit field and a newer GAS. */
static uint16_t io_port(uint32_t old, const struct acpi_gas *gas)
{
	if (gas && gas->address) {
		if (gas->space != ACPI_SPACE_IO || gas->address > 0xffff)
			return 0;
		return (uint16_t)gas->address;
	}
	return old <= 0xffff ? (uint16_t)old : 0;
}

static void read_fadt(const struct acpi_fadt *f)
{
	const struct acpi_header *dsdt = NULL;

	info.fadt = true;
	info.sci_irq = f->sci;
	info.smi_cmd = f->smi_command;
	info.acpi_enable = f->acpi_enable;
	info.century = f->century;
	info.pm1a_cnt = io_port(f->pm1a_cnt, HAS(f, x_pm1a_cnt) ? &f->x_pm1a_cnt : NULL);
	info.pm1b_cnt = io_port(f->pm1b_cnt, HAS(f, x_pm1b_cnt) ? &f->x_pm1b_cnt : NULL);
	info.pm_timer = io_port(f->pm_tmr, HAS(f, x_pm_tmr) ? &f->x_pm_tmr : NULL);
	if (HAS(f, reset_value) && (f->flags & FADT_RESET_REG)) {
		info.reset_reg = true;
		info.reset_space = f->reset_reg.space;
		info.reset_addr = f->reset_reg.address;
		info.reset_value = f->reset_value;
	}
	if (HAS(f, x_dsdt))
		dsdt = table_at(f->x_dsdt, "DSDT", 0);
	if (!dsdt)
		dsdt = table_at(f->dsdt, "DSDT", 0);
	if (dsdt)
		read_s5(dsdt);
}

static void madt_ioapic(const struct acpi_madt_ioapic *e)
{
	if (info.nr_ioapics == ACPI_MAX_IOAPICS) {
		log_warn("ACPI: more than %u I/O APICs, the rest is not used", ACPI_MAX_IOAPICS);
		return;
	}
	info.ioapic[info.nr_ioapics++] = (struct acpi_ioapic){ e->pa, e->gsi_base };
}

static void madt_override(const struct acpi_madt_override *e)
{
	if (e->irq >= ACPI_ISA_IRQS)
		return;
	info.isa[e->irq] = (struct acpi_isa_irq){
		.gsi = e->gsi,
		.active_low = (e->flags & INTI_POLARITY) == INTI_ACTIVE_LOW,
		.level = (e->flags & INTI_TRIGGER) == INTI_LEVEL,
	};
}

/* A processor above 254 has an x2APIC entry; firmware may list the others in both ways. */
static void madt_cpu(uint32_t apic_id, uint32_t flags)
{
	if (!(flags & MADT_LAPIC_ENABLED))
		return;
	for (unsigned i = 0; i < info.nr_cpus; i++)
		if (info.cpu_apic_id[i] == apic_id)
			return;
	if (info.nr_cpus == ACPI_MAX_CPUS)
		info.cpus_dropped++;
	else
		info.cpu_apic_id[info.nr_cpus++] = apic_id;
}

static void madt_entry(const struct acpi_madt_entry *e)
{
	const struct acpi_madt_lapic *lapic = (const struct acpi_madt_lapic *)e;
	const struct acpi_madt_x2apic *x2apic = (const struct acpi_madt_x2apic *)e;

	if (e->type == MADT_LAPIC && e->length >= sizeof(*lapic) && lapic->apic_id != 0xff)
		madt_cpu(lapic->apic_id, lapic->flags);
	if (e->type == MADT_X2APIC && e->length >= sizeof(*x2apic) && x2apic->apic_id != UINT32_MAX)
		madt_cpu(x2apic->apic_id, x2apic->flags);
	if (e->type == MADT_IOAPIC && e->length >= sizeof(struct acpi_madt_ioapic))
		madt_ioapic((const struct acpi_madt_ioapic *)e);
	if (e->type == MADT_OVERRIDE && e->length >= sizeof(struct acpi_madt_override))
		madt_override((const struct acpi_madt_override *)e);
}

static void read_madt(const struct acpi_header *h)
{
	const uint8_t *p = (const uint8_t *)h + sizeof(struct acpi_madt);
	const uint8_t *end = (const uint8_t *)h + h->length;

	info.madt = true;
	while ((size_t)(end - p) >= sizeof(struct acpi_madt_entry)) {
		const struct acpi_madt_entry *e = (const struct acpi_madt_entry *)p;

		if (e->length < sizeof(*e) || e->length > end - p)
			break;
		madt_entry(e);
		p += e->length;
	}
}

/* --- the root --- */

static const struct acpi_header *root_table(size_t *ptr_bytes)
{
	const struct acpi_header *root = NULL;
	const struct acpi_rsdp *rsdp;

	if (!boot->rsdp.v)
		return NULL;
	rsdp = hpa_to_ptr(boot->rsdp);
	if (memcmp(rsdp->signature, "RSD PTR ", 8) || !sum_ok(rsdp, RSDP_V1_BYTES))
		return NULL;
	if (rsdp->revision >= 2 && rsdp->length >= sizeof(*rsdp) && rsdp->length <= PAGE_SIZE &&
	    sum_ok(rsdp, rsdp->length)) {
		root = table_at(rsdp->xsdt, "XSDT", 0);
		*ptr_bytes = 8;
	}
	if (!root) {
		root = table_at(rsdp->rsdt, "RSDT", 0);
		*ptr_bytes = 4;
	}
	return root;
}

void acpi_init(const struct boot_info *bi)
{
	const struct acpi_header *root, *h;
	size_t ptr_bytes = 0;

	boot = bi;
	for (unsigned i = 0; i < ACPI_ISA_IRQS; i++)
		info.isa[i].gsi = i;
	root = root_table(&ptr_bytes);
	if (!root) {
		log_warn("ACPI: no tables found; no power-off, serial input is polled");
		return;
	}
	h = find(root, ptr_bytes, "FACP", FADT_V1_BYTES);
	if (h)
		read_fadt((const struct acpi_fadt *)h);
	h = find(root, ptr_bytes, "APIC", sizeof(struct acpi_madt));
	if (h)
		read_madt(h);
	h = find(root, ptr_bytes, "HPET", offsetof(struct acpi_hpet, number));
	if (h) {
		const struct acpi_gas *base = &((const struct acpi_hpet *)h)->base;

		if (base->space == ACPI_SPACE_MEMORY && reachable(base->address, PAGE_SIZE))
			info.hpet_pa = base->address;
	}
	log_debug("ACPI: %u processors, %u I/O APICs, PM timer at 0x%x, HPET at 0x%llx, S5 %s",
		  info.nr_cpus + info.cpus_dropped, info.nr_ioapics, info.pm_timer,
		  (unsigned long long)info.hpet_pa, info.s5 ? "known" : "unknown");
}
