/*
 * The machine's own PCI configuration space, through ports cf8h and cfch (mechanism #1): the
 * first 256 bytes of each function of segment 0. What is not there reads as all ones.
 */
#ifndef UMBRA_PCICFG_H
#define UMBRA_PCICFG_H

#include <stdbool.h>
#include <stdint.h>

/* PCI Local Bus 3.0, 6.1; PCI-to-PCI Bridge 1.2, 3.2. */
#define PCICFG_COMMAND 0x04 /* status in the upper half: ones written there clear it */
#define PCICFG_COMMAND_IO 0x0001u
#define PCICFG_COMMAND_MEMORY 0x0002u
#define PCICFG_COMMAND_NO_INTX 0x0400u
#define PCICFG_CLASS 0x08 /* class, subclass, interface, revision */
#define PCICFG_BAR(n) (0x10 + 4 * (n))
#define PCICFG_BARS 6 /* of a function that is no bridge */

/* bdf: bus << 8 | device << 3 | function. reg: a multiple of 4 below 256. */
#define PCICFG_BDF_MAX 0xffff
uint32_t pcicfg_read(unsigned bdf, unsigned reg);

/* Is there a function, and is it a device, no bridge? */
bool pcicfg_device(unsigned bdf);
/* The first function after bdf (-1: of all) that is there, behind bridges too; -1: none. */
int pcicfg_next(int bdf);

/* Let the device, and every bridge on the way to it, answer to its I/O and memory addresses; and
 * let it raise no interrupt by its pin. */
void pcicfg_decode(unsigned bdf);

#endif
