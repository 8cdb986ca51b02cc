/* What a stub can debug: a guest, and Umbra itself after a panic. */
#ifndef UMBRA_VMM_GDB_TARGET_H
#define UMBRA_VMM_GDB_TARGET_H

#include "vmm/gdb/stub.h"

struct trap_frame;
struct vm;

/* Send what the stub has to say. */
void gdb_send(void);

/* The VM that was chosen; its vCPUs are the threads. Each stop is told to the stub. */
extern const struct gdb_target gdb_guest_target;
void gdb_guest_choose(struct gdb_stub *stub, struct vm *vm);
/* End a session, as detaching does; nothing if there is none. */
void gdb_guest_leave(void);
struct vm *gdb_guest_vm(void);
bool gdb_guest_is_attached(const struct vm *vm);

/* The CPU that has panicked, to be looked at only; nothing runs any more. */
extern const struct gdb_target gdb_host_target;
void gdb_host_choose(const struct trap_frame *tf);

#endif
