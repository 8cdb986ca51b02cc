/* A PCI card's UART: which one com1=pci means, and where its registers are. */
#ifndef UMBRA_UART_PCI_H
#define UMBRA_UART_PCI_H

#include "arch/x86_64/uart.h"

/*
 * Turn a UART_PCI into the UART_IO or UART_MMIO that its card's first address names, and let
 * the card answer. The card: the first of class 0700h (serial) that the firmware has given an
 * address, or the function that cfg->pci names, whatever it says it is. NULL, or what is
 * wrong, *cfg as it was.
 */
const char *uart_pci_find(struct uart_config *cfg);

#endif
