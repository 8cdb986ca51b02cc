#include "arch/x86_64/uart_pci.h"

#include <stdbool.h>
#include <stddef.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/pcicfg.h"

/* PCI Code and ID Assignment 1.11, 1.8; any interface. */
#define CLASS(c) ((c) >> 16)
#define CLASS_SERIAL 0x0700u

/* PCI Local Bus 3.0, 6.2.5.1. */
#define BAR_IO BIT(0)
#define BAR_IO_ADDR 0xfffcu
#define BAR_MEMORY_ADDR BITS(31, 4)
#define BAR_64 0x4u
#define BAR_TYPE 0x6u

/* The place that BAR n names, and in *n the number of the next; false: it has no address. */
static bool bar_place(unsigned bdf, unsigned *n, struct uart_config *place)
{
	uint32_t bar = pcicfg_read(bdf, PCICFG_BAR(*n));

	++*n;
	place->stride = 0;
	if (bar & BAR_IO) {
		place->space = UART_IO;
		place->addr = bar & BAR_IO_ADDR;
		return place->addr && bar <= 0xffff;
	}
	place->space = UART_MMIO;
	place->addr = bar & BAR_MEMORY_ADDR;
	if ((bar & BAR_TYPE) == BAR_64 && *n < PCICFG_BARS)
		place->addr |= (uint64_t)pcicfg_read(bdf, PCICFG_BAR((*n)++)) << 32;
	return place->addr;
}

static bool first_place(unsigned bdf, struct uart_config *cfg)
{
	struct uart_config place = *cfg;

	for (unsigned n = 0; n < PCICFG_BARS;) {
		if (bar_place(bdf, &n, &place)) {
			if (place.space == UART_IO && !place.baud)
				place.baud = UART_BAUD_MAX;
			*cfg = place;
			return true;
		}
	}
	return false;
}

static const char *open_card(unsigned bdf, struct uart_config *cfg)
{
	if (!first_place(bdf, cfg))
		return "the firmware gave that card no address";
	pcicfg_decode(bdf);
	cfg->pci = (int)bdf;
	log_info("console: PCI %02x:%02x.%x, %s 0x%llx", bdf >> 8, bdf >> 3 & 0x1f, bdf & 7,
		 cfg->space == UART_IO ? "port" : "memory at", (unsigned long long)cfg->addr);
	return NULL;
}

const char *uart_pci_find(struct uart_config *cfg)
{
	const char *wrong = "no PCI serial card is there";

	if (cfg->pci != UART_PCI_ANY)
		return pcicfg_device((unsigned)cfg->pci) ? open_card((unsigned)cfg->pci, cfg)
							 : "no PCI device is there";
	for (int bdf = pcicfg_next(-1); bdf >= 0; bdf = pcicfg_next(bdf)) {
		if (!pcicfg_device((unsigned)bdf) ||
		    CLASS(pcicfg_read((unsigned)bdf, PCICFG_CLASS)) != CLASS_SERIAL)
			continue;
		wrong = open_card((unsigned)bdf, cfg);
		if (!wrong)
			break;
	}
	return wrong;
}
