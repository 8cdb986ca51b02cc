/* For tests of emulate_step(): registers and memory by short names, and code to begin with. */
#ifndef UMBRA_TESTS_EMU_STEP_FIXTURE_H
#define UMBRA_TESTS_EMU_STEP_FIXTURE_H

#include "tests/host/emu_fixture.h"

#define GPR fx.vcpu.regs.gpr
#define RIP fx.vcpu.regs.rip
#define FLAGS fx.vcpu.regs.rflags

static inline uint32_t read32(uint64_t pa)
{
	uint32_t val;

	memcpy(&val, fx.ram + pa, 4);
	return val;
}

static inline uint16_t read16(uint64_t pa)
{
	return (uint16_t)read32(pa);
}

static inline void write32(uint64_t pa, uint32_t val)
{
	memcpy(fx.ram + pa, &val, 4);
}

/* Forget the exception, and begin with these bytes at RIP 0 (real mode) or CODE_PA. */
static inline void begin(const void *bytes, size_t n)
{
	fx.vcpu.events.pending.kind = EVENT_NONE;
	RIP = fx.seg[SEG_CS].base ? 0 : CODE_PA;
	fx_code(bytes, n);
}

#define BEGIN(...)                                                                                 \
	do {                                                                                       \
		static const uint8_t bytes_[] = { __VA_ARGS__ };                                   \
		begin(bytes_, sizeof(bytes_));                                                     \
	} while (0)

#endif
