#include "vmm/dev/mptable.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/lib/string.h"
#include "vmm/dev/acpi_pm.h"
#include "vmm/dev/ioapic.h"

/* MultiProcessor Specification 1.4, chapter 4. */
#define MP_REVISION 4
#define LOCAL_APIC_ADDRESS 0xfee00000
#define LOCAL_APIC_VERSION 0x14
#define SIGNATURE_MASK 0xfff /* family, model, stepping */
#define MAX_XAPIC_ID 254
#define ALL_APICS 0xff
#define ISA_IRQS 16
#define PCI_WIRES 128 /* four of each slot */
#define PCI_PIN 16
#define ISA_CASCADE 2
#define ISA_PIT_PIN 2
#define BUS_PCI 0
#define BUS_ISA 1

/* 4.1 "MP Floating Pointer Structure". */
struct mp_floating {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum; /* length: in units of 16 bytes */
	uint8_t feature[5];                 /* 0: there is a configuration table; no IMCR */
} __attribute__((packed));
static_assert(sizeof(struct mp_floating) == 16, "MP floating pointer");

/* 4.2 "MP Configuration Table Header". */
struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t local_apic;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
} __attribute__((packed));
static_assert(sizeof(struct mp_header) == 44, "MP configuration table");

/* 4.3 "Base MP Configuration Table Entries". */
enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INTERRUPT, MP_LOCAL_INTERRUPT };
enum { MP_INT, MP_NMI, MP_SMI, MP_EXTINT };

#define CPU_ENABLED BIT(0)
#define CPU_BOOTSTRAP BIT(1)
struct mp_processor {
	uint8_t type, apic_id, apic_version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));
static_assert(sizeof(struct mp_processor) == 20, "MP processor");

struct mp_bus {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));
static_assert(sizeof(struct mp_bus) == 8, "MP bus");

#define IOAPIC_ENABLED BIT(0)
struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t address;
} __attribute__((packed));
static_assert(sizeof(struct mp_ioapic) == 8, "MP I/O APIC");

/* flags 0: as the bus has it */
#define ACTIVE_HIGH 0x1
#define LEVEL_TRIGGERED 0xc
struct mp_interrupt {
	uint8_t type, interrupt;
	uint16_t flags;
	uint8_t bus, irq, apic_id, pin;
} __attribute__((packed));
static_assert(sizeof(struct mp_interrupt) == 8, "MP interrupt");

static uint8_t mp_checksum(const void *table, size_t size)
{
	const uint8_t *byte = table;
	uint8_t sum = 0;

	while (size--)
		sum += *byte++;
	return -sum;
}

/* Where the next entry goes. */
struct mp_area {
	uint8_t *at;
	unsigned entries;
};

static void mp_add(struct mp_area *a, const void *entry, size_t size)
{
	memcpy(a->at, entry, size);
	a->at += size;
	a->entries++;
}

static void add_processors(struct mp_area *a, const struct mp_machine *m)
{
	for (unsigned i = 0; i < m->vcpus; i++)
		mp_add(a,
		       &(struct mp_processor){
			       .type = MP_PROCESSOR,
			       .apic_id = (uint8_t)i,
			       .apic_version = LOCAL_APIC_VERSION,
			       .flags = CPU_ENABLED | (i ? 0 : CPU_BOOTSTRAP),
			       .signature = m->signature & SIGNATURE_MASK,
			       .features = m->features,
		       },
		       sizeof(struct mp_processor));
}

static void add_interrupt(struct mp_area *a, const struct mp_interrupt *i)
{
	mp_add(a, i, sizeof(*i));
}

/* The same as the MADT tells. */
static void add_isa_interrupts(struct mp_area *a, uint8_t ioapic_id)
{
	for (uint8_t irq = 0; irq < ISA_IRQS; irq++) {
		if (irq == ISA_CASCADE)
			continue;
		add_interrupt(a,
			      &(struct mp_interrupt){
				      .type = MP_IO_INTERRUPT,
				      .interrupt = MP_INT,
				      .flags = irq == ACPI_SCI ? ACTIVE_HIGH | LEVEL_TRIGGERED : 0,
				      .bus = BUS_ISA,
				      .irq = irq,
				      .apic_id = ioapic_id,
				      .pin = irq ? irq : ISA_PIT_PIN,
			      });
	}
}

/* The same as _PRT: every slot's four turned by one against the one before. Appendix D.3: the
 * source is the slot in bits 6:2, the wire in 1:0. */
static void add_pci_interrupts(struct mp_area *a, uint8_t ioapic_id)
{
	for (unsigned i = 0; i < PCI_WIRES; i++)
		add_interrupt(a, &(struct mp_interrupt){
					 .type = MP_IO_INTERRUPT,
					 .interrupt = MP_INT,
					 .bus = BUS_PCI,
					 .irq = (uint8_t)i,
					 .apic_id = ioapic_id,
					 .pin = (uint8_t)(PCI_PIN + (((i >> 2) + i) & 3)),
				 });
}

static void add_local_interrupts(struct mp_area *a)
{
	add_interrupt(a, &(struct mp_interrupt){ .type = MP_LOCAL_INTERRUPT,
						 .interrupt = MP_EXTINT,
						 .bus = BUS_ISA,
						 .apic_id = ALL_APICS,
						 .pin = 0 });
	add_interrupt(a, &(struct mp_interrupt){ .type = MP_LOCAL_INTERRUPT,
						 .interrupt = MP_NMI,
						 .bus = BUS_ISA,
						 .apic_id = ALL_APICS,
						 .pin = 1 });
}

static void add_board(struct mp_area *a, uint8_t ioapic_id)
{
	mp_add(a, &(struct mp_bus){ MP_BUS, BUS_PCI, { 'P', 'C', 'I', ' ', ' ', ' ' } },
	       sizeof(struct mp_bus));
	mp_add(a, &(struct mp_bus){ MP_BUS, BUS_ISA, { 'I', 'S', 'A', ' ', ' ', ' ' } },
	       sizeof(struct mp_bus));
	mp_add(a,
	       &(struct mp_ioapic){ .type = MP_IOAPIC,
				    .id = ioapic_id,
				    .version = IOAPIC_VERSION,
				    .flags = IOAPIC_ENABLED,
				    .address = IOAPIC_BASE },
	       sizeof(struct mp_ioapic));
	add_isa_interrupts(a, ioapic_id);
	add_pci_interrupts(a, ioapic_id);
	add_local_interrupts(a);
}

static void mp_seal(struct mp_header *h, size_t size, unsigned entries)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->signature, "PCMP", sizeof(h->signature));
	memcpy(h->oem, "UMBRA   ", sizeof(h->oem));
	memcpy(h->product, "UMBRAPC     ", sizeof(h->product));
	h->length = (uint16_t)size;
	h->revision = MP_REVISION;
	h->entries = (uint16_t)entries;
	h->local_apic = LOCAL_APIC_ADDRESS;
	h->checksum = mp_checksum(h, size);
}

size_t mptable_write(uint8_t *area, size_t size, gpa_t gpa, const struct mp_machine *m)
{
	struct mp_floating *f = (struct mp_floating *)area;
	struct mp_header *h = (struct mp_header *)(f + 1);
	struct mp_area a = { .at = (uint8_t *)(h + 1) };
	size_t need = sizeof(*f) + sizeof(*h) + m->vcpus * sizeof(struct mp_processor) +
		      2 * sizeof(struct mp_bus) + sizeof(struct mp_ioapic) +
		      (ISA_IRQS - 1 + PCI_WIRES + 2) * sizeof(struct mp_interrupt);

	if (size < need || m->vcpus > MAX_XAPIC_ID + 1)
		return 0;
	add_processors(&a, m);
	add_board(&a, m->ioapic_id);
	mp_seal(h, need - sizeof(*f), a.entries);
	*f = (struct mp_floating){ .signature = { '_', 'M', 'P', '_' },
				   .table = (uint32_t)gpa.v + sizeof(*f),
				   .length = 1,
				   .revision = MP_REVISION };
	f->checksum = mp_checksum(f, sizeof(*f));
	return need;
}
