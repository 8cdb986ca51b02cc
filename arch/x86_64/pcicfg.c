#include "arch/x86_64/pcicfg.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/spinlock.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define ADDRESS_ENABLE BIT(31)

#define ID 0x00
#define HEADER 0x0c /* header type in bits 23:16 */
#define HEADER_MANY BIT(23)
#define HEADER_TYPE(h) ((h) >> 16 & 0x7f)
#define TYPE_DEVICE 0
#define TYPE_BRIDGE 1
#define BUSES 0x18 /* of a bridge: primary, secondary, subordinate */
#define SECONDARY(b) ((b) >> 8 & 0xff)
#define SUBORDINATE(b) ((b) >> 16 & 0xff)

#define BUS(bdf) ((unsigned)(bdf) >> 8)
#define FUNCTION(bdf) ((unsigned)(bdf)&7)
#define FUNCTIONS 8

/* Of the two ports, from the address to the data. */
static struct spinlock lock = SPINLOCK_INIT(LOCK_PCI);

uint32_t pcicfg_read(unsigned bdf, unsigned reg)
{
	uint32_t val;

	spin_lock(&lock);
	outl(CONFIG_ADDRESS, (uint32_t)(ADDRESS_ENABLE | bdf << 8 | reg));
	val = inl(CONFIG_DATA);
	spin_unlock(&lock);
	return val;
}

static void pcicfg_write(unsigned bdf, unsigned reg, uint32_t val)
{
	spin_lock(&lock);
	outl(CONFIG_ADDRESS, (uint32_t)(ADDRESS_ENABLE | bdf << 8 | reg));
	outl(CONFIG_DATA, val);
	spin_unlock(&lock);
}

/* A bridge whose bus is still being looked for says 0001h for a vendor. */
static bool present(unsigned bdf)
{
	uint16_t vendor = (uint16_t)pcicfg_read(bdf, ID);

	return vendor != 0xffff && vendor != 0x0000 && vendor != 0x0001;
}

bool pcicfg_device(unsigned bdf)
{
	return present(bdf) && HEADER_TYPE(pcicfg_read(bdf, HEADER)) == TYPE_DEVICE;
}

/* Every bus is looked at, not those alone that a bridge names: a machine may have more than
 * one that no bridge leads to. */
int pcicfg_next(int bdf)
{
	for (bdf++; bdf <= PCICFG_BDF_MAX; bdf++) {
		unsigned first = (unsigned)bdf & ~(FUNCTIONS - 1u);

		/* A device of one function may answer for all eight. */
		if (present((unsigned)bdf) &&
		    (!FUNCTION(bdf) || (pcicfg_read(first, HEADER) & HEADER_MANY)))
			return bdf;
		if (!FUNCTION(bdf))
			bdf += FUNCTIONS - 1; /* there are no others without it */
	}
	return -1;
}

static void command_set(unsigned bdf, unsigned bits)
{
	uint32_t command = pcicfg_read(bdf, PCICFG_COMMAND) & 0xffff;

	if ((command & bits) != bits)
		pcicfg_write(bdf, PCICFG_COMMAND, command | bits);
}

static bool leads_to(unsigned bdf, unsigned bus)
{
	uint32_t buses;

	if (HEADER_TYPE(pcicfg_read(bdf, HEADER)) != TYPE_BRIDGE)
		return false;
	buses = pcicfg_read(bdf, BUSES);
	return SECONDARY(buses) && SECONDARY(buses) <= bus && bus <= SUBORDINATE(buses);
}

void pcicfg_decode(unsigned bdf)
{
	const unsigned both = PCICFG_COMMAND_IO | PCICFG_COMMAND_MEMORY;

	for (int at = pcicfg_next(-1); at >= 0 && BUS(at) < BUS(bdf); at = pcicfg_next(at))
		if (leads_to((unsigned)at, BUS(bdf)))
			command_set((unsigned)at, both);
	command_set(bdf, both | PCICFG_COMMAND_NO_INTX);
}
