/*
 * A 16550-style UART: its registers, no queues. They are at an I/O port or in memory; which,
 * and where, com1= says.
 */
#ifndef UMBRA_UART_H
#define UMBRA_UART_H

#include <stdbool.h>
#include <stdint.h>

#define UART_BAUD_MAX 115200u
#define UART_PCI_ANY -1

enum uart_space {
	UART_NONE,
	UART_IO,
	UART_MMIO,
	UART_PCI, /* wherever a PCI card has it: uart_pci_find() knows */
};

struct uart_config {
	enum uart_space space;
	uint64_t addr;   /* the first register: I/O port or physical address */
	unsigned stride; /* of UART_MMIO's registers: 1, or 4 read and written as 32 bits; 0: try */
	int pci;         /* UART_PCI: bus << 8 | device << 3 | function, or UART_PCI_ANY */
	int irq;         /* ISA interrupt, -1: not known */
	uint32_t baud;   /* 0: what the firmware has set */
};

struct uart {
	uint16_t port;
	volatile void *regs; /* NULL: at port */
	unsigned stride;
	uint32_t baud_min; /* not slower than this: how long a byte may take */
	unsigned tx_depth; /* bytes it takes when its transmitter is empty */
	bool present;
	bool overrun; /* it has lost input: a byte found no room in its FIFO. Cleared by its user */
};

/*
 * Read com1='s value: `none`, or a place and a rate separated by a comma, each of them
 * optional. Place: com1 to com4, an I/O port (0x...), mmio,ADDR (registers of a byte),
 * mmio32,ADDR (of four), pci or pci,BUS:DEVICE.FUNCTION, numbers hexadecimal; rate: 1 to
 * 115200 baud, 115200 without one; but a UART in memory keeps what the firmware has set.
 * False: cannot be read, *cfg is the default.
 */
bool uart_parse(const char *spec, struct uart_config *cfg);

/* Are both the same port, as far as their places tell? */
bool uart_same_place(const struct uart_config *a, const struct uart_config *b);

/* The bytes that a UART_MMIO's registers take. */
unsigned uart_mmio_bytes(const struct uart_config *cfg);

/*
 * Is there a UART? If so set it up: 8N1, FIFOs on, interrupts off. regs: UART_MMIO's
 * registers, where they are mapped. Of UART_PCI and UART_NONE there is none.
 */
void uart_init(struct uart *u, const struct uart_config *cfg, volatile void *regs);

/* Has it a byte for us, and which; -1: none. */
int uart_rx(struct uart *u);
/* Is the transmitter ready for tx_depth bytes? */
bool uart_tx_ready(struct uart *u);
/* Send one byte; there is room for it. */
void uart_tx(const struct uart *u, uint8_t c);
/* Send one byte, waiting for the transmitter no longer than a few bytes take. */
void uart_tx_wait(struct uart *u, uint8_t c);
/* Has the last bit left? */
bool uart_tx_idle(struct uart *u);

/* Which interrupts it raises. */
void uart_interrupts(const struct uart *u, bool rx, bool tx);
/* Read the cause of an interrupt, which ends a transmitter's; false: there is none. */
bool uart_interrupt_pending(const struct uart *u);

#endif
