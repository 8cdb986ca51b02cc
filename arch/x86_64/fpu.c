#include "arch/x86_64/fpu.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/x87.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/string.h"

/* The legacy part of the area. APM vol. 2, 11.4.4; SDM vol. 1, 10.5.1. */
struct fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved0; /* abridged: bit n: register n is not empty */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st_xmm[480];
} __attribute__((aligned(16)));
static_assert(sizeof(struct fxsave) == 512, "FXSAVE area");
static_assert(offsetof(struct fxsave, mxcsr) == 24, "FXSAVE.MXCSR");

#define XSTATE_BV_OFFSET 512
#define XSTATE_PKRU 9 /* its component: CPUID leaf 0dh, subleaf 9 has the offset */

/* After RESET. APM vol. 2, 14.1.3; SDM vol. 3, table 9-1. */
#define FCW_RESET 0x40
#define FCW_INIT 0x37f /* what XRSTOR gives an x87 that the area leaves out */
#define ST_BYTES 128
#define FSW_IE BIT(0)
#define FTW_RESET 0xff /* the tags say zero, not empty */
#define MXCSR_RESET 0x1f80

static void area_reset(void *area)
{
	struct fxsave *fx = area;
	uint64_t xstate_bv = XCR0_X87 | XCR0_SSE;

	memset(area, 0, cpu_features()->xsave_size);
	fx->fcw = FCW_RESET;
	fx->ftw = FTW_RESET;
	fx->mxcsr = MXCSR_RESET;
	if (cpu_features()->xsave)
		memcpy((uint8_t *)area + XSTATE_BV_OFFSET, &xstate_bv, sizeof(xstate_bv));
}

void *fpu_area_alloc(void)
{
	void *area = kalloc(cpu_features()->xsave_size);

	if (area)
		area_reset(area);
	return area;
}

void fpu_area_free(void *area)
{
	kfree(area, cpu_features()->xsave_size);
}

void fpu_save(void *area, uint64_t xcr0)
{
	uint64_t mask = cpu_features()->xcr0_mask;

	if (!cpu_features()->xsave) {
		__asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
		return;
	}
	if (xcr0 != mask)
		xsetbv(0, mask);
	__asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)mask),
			 "d"((uint32_t)(mask >> 32))
			 : "memory");
}

/*
 * Older AMD processors restore the x87's last instruction and data pointers only with an
 * exception pending, so what another guest left there would show. Overwrite it.
 * APM vol. 2, 11.4.4 (FXRSTOR); CPUID Fn8000_0008 EBX[2] says it is cured.
 */
static void x87_pointers_forget(void)
{
	static const uint32_t any;

	if (cpu_features()->x87_pointers_leak)
		__asm__ volatile("fnclex; emms; fildl %0" ::"m"(any));
}

void fpu_load(const void *area, uint64_t xcr0)
{
	uint64_t mask = cpu_features()->xcr0_mask;

	x87_pointers_forget();
	if (!cpu_features()->xsave) {
		__asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
		return;
	}
	__asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)mask),
			 "d"((uint32_t)(mask >> 32))
			 : "memory");
	if (xcr0 != mask)
		xsetbv(0, xcr0);
}

uint32_t fpu_pkru(void)
{
	uint32_t pkru;

	__asm__ volatile("rdpkru" : "=a"(pkru) : "c"(0) : "edx");
	return pkru;
}

uint32_t fpu_area_pkru(const void *area)
{
	const uint8_t *bytes = area;
	uint64_t xstate_bv;
	uint32_t pkru;

	memcpy(&xstate_bv, bytes + XSTATE_BV_OFFSET, sizeof(xstate_bv));
	if (!(xstate_bv & XCR0_PKRU))
		return 0; /* as after RESET; the area holds anything */
	memcpy(&pkru, bytes + cpuid(0xd, XSTATE_PKRU).ebx, sizeof(pkru));
	return pkru;
}

void fpu_image_read(uint8_t image[512])
{
	struct fxsave fx;

	__asm__ volatile("fxsave64 %0" : "=m"(fx));
	memcpy(image, &fx, sizeof(fx));
}

void fpu_image_write(const uint8_t image[512])
{
	struct fxsave fx;

	memcpy(&fx, image, sizeof(fx));
	__asm__ volatile("fxrstor64 %0" ::"m"(fx));
}

/* A component that XSTATE_BV leaves out is as after RESET, whatever the area holds. */
static uint64_t area_components(const void *area)
{
	uint64_t bv = XCR0_X87 | XCR0_SSE;

	if (cpu_features()->xsave)
		memcpy(&bv, (const uint8_t *)area + XSTATE_BV_OFFSET, sizeof(bv));
	return bv;
}

void fpu_area_image_read(const void *area, uint8_t image[512])
{
	uint64_t bv = area_components(area);
	struct fxsave fx;

	memcpy(&fx, area, sizeof(fx));
	if (!(bv & XCR0_X87)) {
		memset(&fx, 0, offsetof(struct fxsave, mxcsr));
		memset(fx.st_xmm, 0, ST_BYTES);
		fx.fcw = FCW_INIT;
	}
	if (!(bv & XCR0_SSE))
		memset(fx.st_xmm + ST_BYTES, 0, sizeof(fx.st_xmm) - ST_BYTES);
	memcpy(image, &fx, sizeof(fx));
}

void fpu_area_image_write(void *area, const uint8_t image[512])
{
	uint64_t bv = area_components(area) | XCR0_X87 | XCR0_SSE;

	memcpy(area, image, sizeof(struct fxsave));
	if (cpu_features()->xsave)
		memcpy((uint8_t *)area + XSTATE_BV_OFFSET, &bv, sizeof(bv));
}

void fpu_init(void)
{
	__asm__ volatile("fninit");
}

void fpu_clear_exceptions(void)
{
	__asm__ volatile("fnclex");
}

uint16_t fpu_control(void)
{
	uint16_t word;

	__asm__ volatile("fnstcw %0" : "=m"(word));
	return word;
}

uint16_t fpu_status(void)
{
	uint16_t word;

	__asm__ volatile("fnstsw %0" : "=m"(word));
	return word;
}

/* An AMD processor loads the pointers only if an exception waits in the image, and keeps them when
 * that is cleared. APM vol. 2, 11.4.4. */
void fpu_x87(unsigned fop, void *operand, uint64_t ip, uint64_t dp)
{
	struct fxsave fx, waits;

	x87_run(fop, operand);
	if (x87_controls(fop))
		return;
	__asm__ volatile("fxsave64 %0" : "=m"(fx));
	fx.fop = (uint16_t)fop;
	fx.fip = ip;
	fx.fdp = dp;
	waits = fx;
	waits.fcw &= (uint16_t)~FSW_IE;
	waits.fsw |= FSW_IE | X87_FSW_ES;
	__asm__ volatile("fxrstor64 %0" ::"m"(waits));
	fpu_clear_exceptions();
	__asm__ volatile("fxrstor64 %0" ::"m"(fx));
}

void fpu_x87_state(unsigned fop, struct x87_state *state)
{
	x87_run_state(fop, state);
}

#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define SIXTEEN(X) EIGHT(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

void fpu_xmm_read(unsigned reg, uint8_t bytes[16])
{
	switch (reg) {
#define X(n)                                                                                       \
	case n:                                                                                    \
		__asm__ volatile("movups %%xmm" #n ",(%0)" ::"r"(bytes) : "memory");               \
		break;
		SIXTEEN(X)
#undef X
	}
}

void fpu_xmm_write(unsigned reg, const uint8_t bytes[16])
{
	switch (reg) {
#define X(n)                                                                                       \
	case n:                                                                                    \
		__asm__ volatile("movups (%0),%%xmm" #n ::"r"(bytes) : "memory");                  \
		break;
		SIXTEEN(X)
#undef X
	}
}

uint64_t fpu_mmx_read(unsigned reg)
{
	uint64_t val = 0;

	switch (reg) {
#define X(n)                                                                                       \
	case n:                                                                                    \
		__asm__ volatile("movq %%mm" #n ",%0" : "=m"(val));                                \
		break;
		EIGHT(X)
#undef X
	}
	return val;
}

void fpu_mmx_write(unsigned reg, uint64_t val)
{
	switch (reg) {
#define X(n)                                                                                       \
	case n:                                                                                    \
		__asm__ volatile("movq %0,%%mm" #n ::"m"(val));                                    \
		break;
		EIGHT(X)
#undef X
	}
}
