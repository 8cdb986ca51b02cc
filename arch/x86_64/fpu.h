/* Extended (FPU, SSE, AVX...) state of guests. Umbra itself uses none of it. */
#ifndef UMBRA_FPU_H
#define UMBRA_FPU_H

#include <stdint.h>

struct x87_state;

/* An area for fpu_save(), in the state after RESET; NULL: no memory. */
void *fpu_area_alloc(void);
/* Give back what fpu_area_alloc() gave. */
void fpu_area_free(void *area);
/*
 * Save or load every component that Umbra switches, those that the guest's xcr0 has
 * off too: a guest that turns one on again finds it as it left it.
 */
void fpu_save(void *area, uint64_t xcr0);       /* xcr0: the guest's, in force; leaves the host's */
void fpu_load(const void *area, uint64_t xcr0); /* leaves the guest's XCR0 */

/* PKRU, on a processor that has it (cpu_features()->pku): the loaded guest's, an area's. */
uint32_t fpu_pkru(void);
uint32_t fpu_area_pkru(const void *area);

/* XMM0 to XMM15 and MM0 to MM7 of the guest that is on the CPU. MMX: no x87 exception waits. */
void fpu_xmm_read(unsigned reg, uint8_t bytes[16]);
void fpu_xmm_write(unsigned reg, const uint8_t bytes[16]);
uint64_t fpu_mmx_read(unsigned reg);
void fpu_mmx_write(unsigned reg, uint64_t val);

/* FXSAVE's image, in its 64-bit form, of the guest that is on the CPU, and of an area; and back.
 * MXCSR is one that the processor takes. */
void fpu_image_read(uint8_t image[512]);
void fpu_image_write(const uint8_t image[512]);
void fpu_area_image_read(const void *area, uint8_t image[512]);
void fpu_area_image_write(void *area, const uint8_t image[512]);

/* The x87 of the guest that is on the CPU: FNINIT, FNCLEX, FNSTCW, FNSTSW. None of them waits, or
 * raises anything. */
void fpu_init(void);
void fpu_clear_exceptions(void);
uint16_t fpu_control(void);
uint16_t fpu_status(void);
/*
 * An instruction of x87.h's on that x87, with a copy of its operand. No exception waits; one that
 * it raises does then. The x87's pointers are the guest's afterwards: its instruction's offset, and
 * its operand's.
 */
void fpu_x87(unsigned fop, void *operand, uint64_t ip, uint64_t dp);
/* One of those that load or store its whole environment, or state. Before a load no exception
 * waits. */
void fpu_x87_state(unsigned fop, struct x87_state *state);

#endif
