/* The run loop of a physical CPU, and the VMs that it runs. */
#ifndef UMBRA_VMM_RUN_H
#define UMBRA_VMM_RUN_H

#include "vmm/backend.h"
#include "vmm/config.h"
#include "vmm/vm.h"

/*
 * Make and start the VMs that cfg names; the backend is probed and enabled. A VM that
 * cannot start is logged in one line and the others still start. 0, or -ENOMEM when not
 * even the table of VMs could be made.
 */
int vmm_init(const struct umbra_config *cfg, const struct vmm_backend *backend);

/* Run guests, for ever. Interrupts must be on. */
_Noreturn void vmm_run(void);

/* The VMs, running or stopped, in the order of their lines; NULL from the count on. */
struct vm *vmm_vm(unsigned index);
/* Start a stopped VM anew. 0, -EBUSY (it runs), or what vm_start() says. */
int vmm_start_vm(struct vm *vm);

#endif
