/* The I/O and MSR bitmaps. SDM vol. 3, 24.6.4 and 24.6.9. Pure. */
#ifndef UMBRA_VMX_PERM_H
#define UMBRA_VMX_PERM_H

#include <stdbool.h>
#include <stdint.h>

#define IO_BITMAPS_SIZE 8192 /* A: ports 0 to 7fffh; B, right behind it: 8000h to ffffh */
#define MSR_BITMAP_SIZE 4096 /* read low, read high, write low, write high */

/* Exit at, or let through, count ports from port on; those past ffffh are ignored. */
void vmx_io_bitmaps_set(uint8_t *bitmaps, uint16_t port, unsigned count, bool on);

/* False: the map has no bits for this MSR, which then exits always. */
bool vmx_msr_bitmap_set(uint8_t *bitmap, uint32_t msr, bool read, bool write);

/* The maps of a new VM: everything exits but the MSRs that the backend switches. */
void vmx_io_bitmaps_init(uint8_t *bitmaps);
void vmx_msr_bitmap_init(uint8_t *bitmap);
/* And the registers of an x2APIC that the processor reads and writes on the virtual-APIC page: TPR;
 * those that it can read there, if registers; EOI and SELF IPI, if interrupts. */
void vmx_msr_bitmap_pass_x2apic(uint8_t *bitmap, bool registers, bool interrupts);

#endif
