/*
 * The host's console, shared: the VM in front gets what is typed; the first serial port
 * of every VM is heard.
 */
#ifndef UMBRA_VMM_CONSOLE_H
#define UMBRA_VMM_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

struct vm;

/*
 * A byte from the VM's first serial port. False: there is no room now, and
 * pc_console_ready(vm) will be called when there is.
 */
bool console_vm_tx(struct vm *vm, uint8_t c);

/* Who gets what is typed while no VM is in front. */
void console_set_operator(void (*input)(uint8_t c));
/* Who gets the input from now on; NULL: the operator. */
void console_set_front(struct vm *vm);
/* The VM in front, or NULL. */
struct vm *console_front(void);
/* Forget a VM that stops: it neither waits for room nor is in front. */
void console_forget(struct vm *vm);

/* Carry input to the VM in front, and tell VMs that wait for room when there is some.
 * Run loop only. */
void console_work(void);
/* Is there an input byte that the VM in front had no room for? */
bool console_input_held(void);

#endif
