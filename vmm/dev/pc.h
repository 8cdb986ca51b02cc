/* The board: which devices a guest finds, at which ports, on which wires. */
#ifndef UMBRA_VMM_DEV_PC_H
#define UMBRA_VMM_DEV_PC_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"

struct vm;
struct pc;

/* Make the devices, put them on vm->bus, set vm->intr and vm->pc. 0 or a negative errno. */
int pc_create(struct vm *vm);
/* Take them off the bus and free them; harmless when there are none. */
void pc_destroy(struct vm *vm);
/* Write the ACPI tables into the guest's BIOS area; the RSDP's address. Call once its memory is
 * mapped. */
gpa_t pc_write_tables(struct vm *vm);

/* What follows is for the first CPU's loop, and takes vm->lock. */

/* Somebody presses the power button: a guest that listens to ACPI shuts itself down. */
void pc_power_button(struct vm *vm);

/* A byte typed at the console for the VM's first serial port; false: its FIFO is full, or it
 * has none now. */
bool pc_console_input(struct vm *vm, uint8_t c);
/* The host's console has room again: go on sending. */
void pc_console_ready(struct vm *vm);

/* A second serial port that is tied to one of the machine's (com2=): carry bytes both ways. */
void pc_line_work(struct vm *vm);

#endif
