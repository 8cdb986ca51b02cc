/* Where the linker put Umbra's own image, and the stacks in it. */
#ifndef UMBRA_IMAGE_H
#define UMBRA_IMAGE_H

#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/include/bits.h"

/*
 * linker.ld: each of the three parts starts and ends on a 4 KiB boundary, in this order,
 * with no holes between __image_start and __image_end. Physically the image is one
 * contiguous block from boot_info.image_start, which is 2 MiB aligned.
 *
 *   __text_start   .. __text_end     RX
 *   __rodata_start .. __rodata_end   R
 *   __data_start   .. __bss_end      RW; holds the stacks and their guard pages
 */
extern char __image_start[], __image_end[];
extern char __text_start[], __text_end[];
extern char __rodata_start[], __rodata_end[];
extern char __data_start[], __bss_end[];

/* Physical address of __image_start; set by boot.asm before the first line of C. */
extern uint64_t image_load_base;

/* p must point into the image. */
static inline hpa_t image_to_hpa(const void *p)
{
	return HPA((uintptr_t)p - (uintptr_t)__image_start + image_load_base);
}

/* boot.asm knows the main stack's size as BOOT_STACK_BYTES. */
#define STACK_SIZE KIB(32)
#define IST_STACK_SIZE KIB(8)

/* Each stack grows down to a guard page, which host_paging_init() leaves unmapped. */
struct main_stack {
	uint8_t guard[PAGE_SIZE];
	uint8_t body[STACK_SIZE];
};

struct ist_stack {
	uint8_t guard[PAGE_SIZE];
	uint8_t body[IST_STACK_SIZE];
};

/* Interrupt stack table slots. APM vol. 2, 8.9.4. */
enum { IST_DF = 1, IST_NMI, IST_MC, IST_SLOTS = IST_MC };

/* Of the processor that booted; the second by IST slot less one. */
extern struct main_stack boot_stack;
extern struct ist_stack boot_ist_stack[IST_SLOTS];

/* The guard pages of all stacks in the image: 4 KiB each, 4 KiB aligned. */
#define IMAGE_GUARD_PAGES (1 + IST_SLOTS)
extern const uint8_t *const image_guard_page[IMAGE_GUARD_PAGES];

#endif
