/*
 * GDB on a serial line: debugs guests, and, once Umbra has panicked, Umbra itself.
 */
#ifndef UMBRA_VMM_GDB_GDB_H
#define UMBRA_VMM_GDB_GDB_H

#include <stdbool.h>

struct vm;

/* Open the line that gdb= of Umbra's own line names ("": none yet) for the first VM. What is wrong
 * is logged. The VMs are there. */
void gdb_init(const char *spec);
/*
 * Let GDB debug this VM, on the line that spec names in com1='s words ("": the one that is open,
 * or COM2). A session with another VM ends. NULL, or what is wrong; then nothing has changed. GDB
 * itself cannot ask for another line.
 */
const char *gdb_attach(struct vm *vm, const char *spec);
/* End the session: no points any more, the VM goes on if GDB had stopped it. The line stays open,
 * for Umbra's own sake. */
void gdb_off(void);
/* The same, and give the line back: a panic ends in a halt then. NULL, or why not: GDB itself asks
 * for it. */
const char *gdb_close(void);
/* As it was named; NULL: none is open. */
const char *gdb_line(void);
/* The VM that a session begins with; NULL: none. */
struct vm *gdb_vm(void);
/* Has a session taken up this VM? */
bool gdb_is_attached(const struct vm *vm);

/* Carry bytes, do what GDB asks for. Run loop only. */
void gdb_work(void);

#endif
