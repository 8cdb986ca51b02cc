/*
 * Guest memory by virtual address, on the guest's behalf: through its own tables,
 * judged as its own access, to RAM or to devices. With vm->lock held, where nothing else is said;
 * the guest's other vCPUs write to its memory all the time.
 */
#ifndef UMBRA_VMM_GMEM_H
#define UMBRA_VMM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/fault.h"
#include "paging/guest.h"

struct vcpu;
struct vm;

/*
 * Read or write size bytes (any number) at the linear address, as CPL access.user says;
 * may cross pages, RAM and MMIO. A write checks all pages before it changes any.
 * False: *fault.
 */
bool gmem_read(struct vcpu *vcpu, gva_t gva, void *dst, size_t size, struct guest_access access,
	       struct guest_fault *fault);
bool gmem_write(struct vcpu *vcpu, gva_t gva, const void *src, size_t size,
		struct guest_access access, struct guest_fault *fault);

/*
 * Instruction bytes at CS:RIP, at most max (<= 15): how many could be fetched without a
 * fault. No accessed bits are set. With 0, *fault is what the fetch would raise. With vm->lock
 * held or without.
 */
unsigned gmem_fetch(struct vcpu *vcpu, uint8_t *bytes, unsigned max, struct guest_fault *fault);

/* May the byte n behind CS:RIP be fetched? Sets accessed bits. False: *fault. With vm->lock held or
 * without. */
bool gmem_fetch_allowed(struct vcpu *vcpu, unsigned n, struct guest_fault *fault);

/* As the functions above, for the first address of a span that stays in its page. */
bool gmem_translate(struct vcpu *vcpu, gva_t gva, struct guest_access access, gpa_t *out,
		    struct guest_fault *fault);

/*
 * Guest-physical memory, by whatever lies there: RAM, ROM (writes are dropped), devices
 * (at most 8 bytes each time), or nothing (a master abort). Any address and size.
 */
void gmem_phys_read(struct vm *vm, gpa_t gpa, void *dst, size_t size);
void gmem_phys_write(struct vm *vm, gpa_t gpa, const void *src, size_t size);
/*
 * Write new over old in one locked access, as LOCK CMPXCHG does: 1, 2, 4, 8, or 16 aligned bytes,
 * within a page. False: something else is there by now, and nothing has changed. Where there is no
 * memory to be written it is gmem_phys_write().
 */
bool gmem_phys_replace(struct vm *vm, gpa_t gpa, const void *old, const void *new, size_t size);

/*
 * The pt_mem through which the engine reads and marks this VM's tables: RAM and ROM
 * (which ignores writes). It says that nothing is there for any other address.
 */
const struct pt_mem *gmem_pt_mem(struct vm *vm);
/* The same for the VM's shadow itself, which is told of what goes through the other one. */
const struct pt_mem *gmem_own_pt_mem(struct vm *vm);

#endif
