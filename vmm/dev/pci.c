#include "vmm/dev/pci.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/log.h"
#include "vmm/dev/split.h"

/* PCI Local Bus 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions". */
#define PORT_ADDRESS 0xcf8
#define PORT_RESET 0xcf9
#define PORT_DATA 0xcfc

#define ADDRESS_ENABLE BIT(31)
#define ADDRESS_BUS(addr) ((addr) >> 16 & 0xff)
#define ADDRESS_DEVFN(addr) ((addr) >> 8 & 0xff)
#define ADDRESS_REG(addr) (0xfc & (addr))
#define ADDRESS_WRITABLE (BIT(31) | BITS(23, 2))

/* Reset control register (82371SB, 2.5.4): a reset when RST_CPU goes from 0 to 1. */
#define RESET_CPU BIT(2)
#define RESET_WRITABLE BITS(3, 1)

/* The host bridge of Intel's 440FX. */
#define HOST_VENDOR 0x8086
#define HOST_DEVICE 0x1237
#define CLASS_HOST_BRIDGE 0x0600
#define COMMAND_ON 0x0006 /* memory, bus master */

static uint32_t ones(unsigned size)
{
	return size == 4 ? UINT32_MAX : (UINT32_C(1) << (8 * size)) - 1;
}

void pci_set16(uint8_t *space, unsigned off, uint16_t val)
{
	space[off] = (uint8_t)val;
	space[off + 1] = (uint8_t)(val >> 8);
}

void pci_set32(uint8_t *space, unsigned off, uint32_t val)
{
	pci_set16(space, off, (uint16_t)val);
	pci_set16(space, off + 2, (uint16_t)(val >> 16));
}

/* The function that CONFIG_ADDRESS points at, or NULL. */
static struct pci_function *pci_selected(const struct pci *pci)
{
	if (!(pci->address & ADDRESS_ENABLE) || ADDRESS_BUS(pci->address))
		return NULL;
	return pci->function[ADDRESS_DEVFN(pci->address)];
}

static uint32_t pci_config_read(const struct pci *pci, unsigned byte, unsigned size)
{
	const struct pci_function *fn = pci_selected(pci);
	unsigned off = ADDRESS_REG(pci->address) + byte;
	uint32_t val = 0;

	if (!fn)
		return ones(size);
	for (unsigned i = 0; i < size; i++)
		val |= (uint32_t)fn->config[off + i] << (8 * i);
	return val;
}

static void pci_config_write(struct pci *pci, unsigned byte, unsigned size, uint32_t val)
{
	struct pci_function *fn = pci_selected(pci);
	unsigned off = ADDRESS_REG(pci->address) + byte;

	if (!fn)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = fn->writable[off + i];

		fn->config[off + i] =
			(uint8_t)((fn->config[off + i] & ~mask) | ((val >> (8 * i)) & mask));
	}
	if (fn->written)
		fn->written(fn->dev, off, size);
}

static void pci_reset_control(struct pci *pci, uint8_t val)
{
	bool rises = ~pci->reset_control & val & RESET_CPU;

	pci->reset_control = val & RESET_WRITABLE;
	if (rises)
		pci->reset(pci->reset_ctx);
}

/* CONFIG_ADDRESS is there for whole doublewords only; smaller accesses pass it by. */
static void pci_out(void *dev, uint16_t port, unsigned size, uint32_t val)
{
	struct pci *pci = dev;

	if (port == PORT_ADDRESS && size == 4)
		pci->address = val & (uint32_t)ADDRESS_WRITABLE;
	else if (port == PORT_RESET && size == 1)
		pci_reset_control(pci, (uint8_t)val);
	else if (port >= PORT_DATA)
		pci_config_write(pci, port & 3, size, val);
	else if ((port & 3u) + size > 4)
		io_split_out(&pci_ops, dev, port, size, val);
}

static uint32_t pci_in(void *dev, uint16_t port, unsigned size)
{
	struct pci *pci = dev;

	if (port == PORT_ADDRESS && size == 4)
		return pci->address;
	if (port == PORT_RESET && size == 1)
		return pci->reset_control;
	if (port >= PORT_DATA)
		return pci_config_read(pci, port & 3, size);
	if ((port & 3u) + size > 4)
		return io_split_in(&pci_ops, dev, port, size);
	return ones(size);
}

const struct io_ops pci_ops = { .in = pci_in, .out = pci_out };

int pci_add_function(struct pci *pci, unsigned devfn, struct pci_function *fn)
{
	if (devfn >= PCI_FUNCTIONS)
		return trace_error(-EINVAL);
	if (pci->function[devfn])
		return trace_error(-EEXIST);
	pci->function[devfn] = fn;
	return 0;
}

void pci_init(struct pci *pci, void (*reset)(void *ctx), void *reset_ctx)
{
	uint8_t *config = pci->host_bridge.config;

	*pci = (struct pci){ .reset = reset, .reset_ctx = reset_ctx };
	pci_set16(config, PCI_VENDOR_ID, HOST_VENDOR);
	pci_set16(config, PCI_DEVICE_ID, HOST_DEVICE);
	pci_set16(config, PCI_COMMAND, COMMAND_ON);
	pci_set16(config, PCI_CLASS_DEVICE, CLASS_HOST_BRIDGE);
	config[PCI_REVISION] = 2;
	pci->function[0] = &pci->host_bridge;
}
