#include "arch/x86_64/ioapic.h"

#include <stdint.h>

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/mm.h"

/* Registers, reached through a window. Intel 82093AA, 3.1 and 3.2. */
#define IOREGSEL 0x00
#define IOWIN 0x10
#define IOAPICVER 0x01u
#define IOREDTBL(pin) (0x10u + 2 * (pin))

#define RTE_DELIVERY BITS(10, 8)
#define RTE_DELIVERY_SMI (UINT64_C(2) << 8)
#define RTE_DELIVERY_NMI (UINT64_C(4) << 8)
#define RTE_ACTIVE_LOW BIT(13)
#define RTE_LEVEL BIT(15)
#define RTE_MASKED BIT(16)
#define RTE_DEST_SHIFT 24 /* in the high word */
#define RTE_DEST_MAX 0xffu

static struct spinlock lock = SPINLOCK_INIT(LOCK_IOAPIC); /* of every window; interrupts off */

static volatile uint32_t *reg_at(const struct acpi_ioapic *io, unsigned offset)
{
	return (volatile uint32_t *)((uint8_t *)hpa_to_ptr(HPA(io->pa)) + offset);
}

/* With the lock held, as all that follows. */
static uint32_t ioapic_read(const struct acpi_ioapic *io, uint32_t reg)
{
	*reg_at(io, IOREGSEL) = reg;
	return *reg_at(io, IOWIN);
}

static void ioapic_write(const struct acpi_ioapic *io, uint32_t reg, uint32_t val)
{
	*reg_at(io, IOREGSEL) = reg;
	*reg_at(io, IOWIN) = val;
}

static unsigned pins(const struct acpi_ioapic *io)
{
	return (ioapic_read(io, IOAPICVER) >> 16 & 0xff) + 1;
}

void ioapic_init(void)
{
	const struct acpi_info *acpi = acpi_info();
	uint64_t flags = irq_save();

	spin_lock(&lock);
	for (unsigned i = 0; i < acpi->nr_ioapics; i++) {
		const struct acpi_ioapic *io = &acpi->ioapic[i];

		for (unsigned pin = 0; pin < pins(io); pin++)
			if ((ioapic_read(io, IOREDTBL(pin)) & RTE_DELIVERY) != RTE_DELIVERY_SMI)
				ioapic_write(io, IOREDTBL(pin), RTE_MASKED);
	}
	spin_unlock(&lock);
	irq_restore(flags);
}

/* The whole destination before the mask falls. */
static int route(uint32_t gsi, uint32_t apic_id, uint32_t low)
{
	const struct acpi_info *acpi = acpi_info();

	for (unsigned i = 0; i < acpi->nr_ioapics; i++) {
		const struct acpi_ioapic *io = &acpi->ioapic[i];
		uint32_t pin = gsi - io->gsi_base;

		if (gsi < io->gsi_base || pin >= pins(io))
			continue;
		ioapic_write(io, IOREDTBL(pin) + 1, apic_id << RTE_DEST_SHIFT);
		ioapic_write(io, IOREDTBL(pin), low);
		return 0;
	}
	return -ENODEV;
}

static int route_isa(const struct acpi_isa_irq *isa, uint32_t low)
{
	uint64_t flags;
	int err;

	if (boot_cpu.apic_id > RTE_DEST_MAX)
		return -ENODEV;
	if (isa->active_low)
		low |= RTE_ACTIVE_LOW;
	flags = irq_save();
	spin_lock(&lock);
	err = route(isa->gsi, boot_cpu.apic_id, low);
	spin_unlock(&lock);
	irq_restore(flags);
	return err;
}

int ioapic_route_isa(unsigned irq, unsigned vector)
{
	const struct acpi_isa_irq *isa = &acpi_info()->isa[irq];

	return route_isa(isa, vector | (isa->level ? (uint32_t)RTE_LEVEL : 0));
}

int ioapic_route_isa_nmi(unsigned irq)
{
	return route_isa(&acpi_info()->isa[irq], RTE_DELIVERY_NMI);
}
