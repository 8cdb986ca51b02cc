/* The ACPI and MP tables: their sums, that both say the same, and that it is so. */
#include "tests/guest/pc/pc.h"

#define ROM 0xf0000u
#define ROM_END 0x100000u
#define IOAPIC 0xfec00000u
#define LAPIC 0xfee00000u
#define HPET 0xfed00000u
#define PM_HZ 3579545u

struct __attribute__((packed)) acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
};

/* What is said of an interrupt of the ISA bus. Flags 0: as the bus has it. */
struct isa_irq {
	uint32_t pin;
	uint16_t flags;
};

struct found {
	uint64_t cpus; /* a bit each, by APIC id */
	unsigned nr_cpus;
	uint8_t ioapic_id;
	struct isa_irq irq[16];
	bool extint, nmi; /* on all processors' LINT0 and LINT1 */
};

static bool same(const void *at, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (((const char *)at)[i] != text[i])
			return false;
	return true;
}

static const uint8_t *find_in_rom(const char *signature, size_t size)
{
	for (uintptr_t at = ROM; at < ROM_END; at += 16)
		if (same((const void *)at, signature, size))
			return (const uint8_t *)at;
	return NULL;
}

static void check_sum(const char *what, const uint8_t *table, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum += *table++;
	expect(what, sum, 0);
}

static uint64_t field(const uint8_t *at, unsigned size)
{
	uint64_t val = 0;

	while (size--)
		val = val << 8 | at[size];
	return val;
}

/* --- ACPI --- */

static const uint8_t *xsdt;

static const uint8_t *acpi_table(const char *signature)
{
	for (unsigned at = sizeof(struct acpi_header); at < field(xsdt + 4, 4); at += 8) {
		const uint8_t *table = (const uint8_t *)(uintptr_t)field(xsdt + at, 8);

		if (same(table, signature, 4)) {
			check_sum("an ACPI table's sum", table, field(table + 4, 4));
			return table;
		}
	}
	expect("an ACPI table that is there", 0, 1);
	return NULL;
}

static void read_madt(struct found *f)
{
	const uint8_t *madt = acpi_table("APIC"), *end = madt + field(madt + 4, 4);

	expect("the MADT's local APICs' address", field(madt + 36, 4), LAPIC);
	expect("the MADT's 8259s", madt[40], 1);
	for (const uint8_t *e = madt + 44; e < end; e += e[1]) {
		expect_between("length of an entry of the MADT", e[1], 4, (uint64_t)(end - e));
		switch (e[0]) {
		case 0:
			expect("a processor that is enabled", e[4], 1);
			f->cpus |= 1ull << e[3];
			f->nr_cpus++;
			break;
		case 1:
			f->ioapic_id = e[2];
			expect("the MADT's I/O APIC's address", field(e + 4, 4), IOAPIC);
			expect("its first input", field(e + 8, 4), 0);
			break;
		case 2:
			f->irq[e[3]] = (struct isa_irq){ (uint32_t)field(e + 4, 4),
							 (uint16_t)field(e + 8, 2) };
			break;
		case 4:
			expect("NMI's processors", e[2], 0xff);
			f->nmi = e[5] == 1;
			break;
		}
	}
	/* The 8259 is on LINT0 of the processor that boots, without a word. */
	f->extint = true;
}

/* --- MP --- */

static void read_mp_entries(struct found *f, const uint8_t *e, unsigned n)
{
	for (; n--; e += e[0] ? 8 : 20) {
		switch (e[0]) {
		case 0:
			f->cpus |= 1ull << e[1];
			expect("the bootstrap processor", e[3], e[1] ? 1 : 3);
			f->nr_cpus++;
			break;
		case 2:
			f->ioapic_id = e[1];
			expect("the MP table's I/O APIC", field(e + 4, 4), IOAPIC);
			break;
		case 3:
			expect("an interrupt of type INT", e[1], 0);
			if (e[4] == 0) { /* PCI's, as _PRT turns them */
				expect("a slot's wire", e[7], 16 + ((e[5] >> 2) + e[5]) % 4);
				break;
			}
			f->irq[e[5]] = (struct isa_irq){ e[7], (uint16_t)field(e + 2, 2) };
			break;
		case 4:
			expect("local interrupts' processors", e[6], 0xff);
			f->extint |= e[1] == 3 && e[7] == 0;
			f->nmi |= e[1] == 1 && e[7] == 1;
			break;
		}
	}
}

static void read_mp(struct found *f)
{
	const uint8_t *floating = find_in_rom("_MP_", 4), *table;

	if (!floating)
		expect("MP tables", 0, 1);
	check_sum("the MP floating pointer's sum", floating, 16);
	table = (const uint8_t *)(uintptr_t)field(floating + 4, 4);
	expect("the MP table", same(table, "PCMP", 4), true);
	check_sum("the MP table's sum", table, field(table + 4, 2));
	expect("the MP table's local APICs' address", field(table + 36, 4), LAPIC);
	read_mp_entries(f, table + 44, (unsigned)field(table + 34, 2));
}

static void compare(const struct found *a, const struct found *m)
{
	volatile uint32_t *ioapic = (volatile uint32_t *)(uintptr_t)IOAPIC;
	uint32_t reg[4];

	expect("the processors of both tables", a->cpus, m->cpus);
	expect("their number", a->nr_cpus, m->nr_cpus);
	expect("ids from 0 on", a->cpus, a->nr_cpus == 64 ? ~0ull : (1ull << a->nr_cpus) - 1);
	expect("the I/O APICs' ids", a->ioapic_id, m->ioapic_id);
	*ioapic = 0;
	expect("the I/O APIC's id", ioapic[4] >> 24, a->ioapic_id);
	for (unsigned irq = 0; irq < 16; irq++) {
		if (irq == 2)
			continue;
		expect("an interrupt's input", a->irq[irq].pin, m->irq[irq].pin);
		expect("an interrupt's kind", a->irq[irq].flags, m->irq[irq].flags);
	}
	expect("IRQ 0's input", a->irq[0].pin, 2);
	expect("the SCI: active high, by level", a->irq[9].flags, 0xd);
	expect("the 8259 on LINT0", a->extint && m->extint, true);
	expect("NMI on LINT1", a->nmi && m->nmi, true);
	cpuid(1, reg);
	expect("its own id", reg[1] >> 24, 0);
	expect("APIC, MTRR, PAT", reg[3] & (1u << 9 | 1u << 12 | 1u << 16),
	       1u << 9 | 1u << 12 | 1u << 16);
}

/* As fast as it is to be, over 20 ms; the processor may be others' between two readings. */
void pm_timer(uint16_t port)
{
	uint64_t us = 0, error = 1000;

	for (unsigned tries = 0; tries < 10 && error * 100 > us; tries++) {
		uint32_t start = inl(port), ticks;
		uint64_t from = rdtsc();

		while (us_since(from) < 20000)
			pause();
		ticks = inl(port) - start;
		us = us_since(from);
		error = (uint64_t)ticks * 1000000 / PM_HZ;
		error = error > us ? error - us : us - error;
	}
	expect_between("the PM timer's error in us", error, 0, us / 100);
}

unsigned tables(void)
{
	const uint8_t *rsdp = find_in_rom("RSD PTR ", 8), *fadt, *hpet;
	static struct found acpi, mp;

	if (!rsdp)
		expect("an RSDP", 0, 1);
	check_sum("the RSDP's first sum", rsdp, 20);
	check_sum("the RSDP's sum", rsdp, 36);
	xsdt = (const uint8_t *)(uintptr_t)field(rsdp + 24, 8);
	check_sum("the XSDT's sum", xsdt, field(xsdt + 4, 4));
	fadt = acpi_table("FACP");
	check_sum("the DSDT's sum", (const uint8_t *)(uintptr_t)field(fadt + 40, 4),
		  field((const uint8_t *)(uintptr_t)field(fadt + 40, 4) + 4, 4));
	acpi_table("SSDT");
	hpet = acpi_table("HPET");
	expect("the HPET's address", field(hpet + 44, 8), HPET);
	expect("the HPET's first word", field(hpet + 36, 4), *(volatile uint32_t *)(uintptr_t)HPET);
	for (unsigned irq = 0; irq < 16; irq++)
		acpi.irq[irq].pin = irq;
	read_madt(&acpi);
	read_mp(&mp);
	compare(&acpi, &mp);
	pm_timer((uint16_t)field(fadt + 76, 4));
	return acpi.nr_cpus;
}
