/* A VM's local APICs with processors that only take down what they are told. */
#ifndef UMBRA_TESTS_LAPIC_FIXTURE_H
#define UMBRA_TESTS_LAPIC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "tests/host/fakes.h"
#include "vmm/lapic.h"

#define CPUS 36

static struct fixture_cpu {
	struct lapic lapic;
	unsigned nmis, inits, kicks, notes, startups;
	int tpr; /* as told last; -1: not told */
	uint8_t page;
	int64_t tsc_offset;
} cpus[CPUS];
static struct lapic_set set;
static int eoi_vector; /* the last one on the bus; -1: none */
static unsigned eois;

static inline void cpu_nmi(void *ctx)
{
	((struct fixture_cpu *)ctx)->nmis++;
}

static inline void cpu_init(void *ctx)
{
	struct fixture_cpu *c = ctx;

	c->inits++;
	lapic_init_signal(&c->lapic);
}

static inline void cpu_startup(void *ctx, uint8_t page)
{
	struct fixture_cpu *c = ctx;

	c->startups++;
	c->page = page;
}

static inline void cpu_kick(void *ctx)
{
	((struct fixture_cpu *)ctx)->kicks++;
}

static inline void cpu_notify(void *ctx)
{
	((struct fixture_cpu *)ctx)->notes++;
}

static inline void cpu_tpr(void *ctx, uint8_t tpr)
{
	((struct fixture_cpu *)ctx)->tpr = tpr;
}

static inline uint64_t cpu_tsc(void *ctx)
{
	return clock_ns() + (uint64_t)((struct fixture_cpu *)ctx)->tsc_offset;
}

static const struct lapic_cpu cpu_ops = {
	.nmi = cpu_nmi,
	.init = cpu_init,
	.startup = cpu_startup,
	.kick = cpu_kick,
	.notify = cpu_notify,
	.tpr_changed = cpu_tpr,
	.tsc = cpu_tsc,
};

static inline void on_eoi(void *ctx, uint8_t vector)
{
	assert_ptr_equal(ctx, &set);
	eoi_vector = vector;
	eois++;
}

static inline int setup(void **state)
{
	(void)state;
	fake_timers_reset();
	fake_clock_advance(12345678);
	set = (struct lapic_set){ .eoi = on_eoi, .eoi_ctx = &set };
	eoi_vector = -1;
	eois = 0;
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i] = (struct fixture_cpu){ .tpr = -1 };
		lapic_setup(&cpus[i].lapic, &set, &cpu_ops, &cpus[i]);
	}
	return 0;
}

/* Registers by their offset in the page. */
static inline uint32_t rd(unsigned cpu, unsigned off)
{
	return (uint32_t)lapic_mmio_read(&cpus[cpu].lapic, off, 4);
}

static inline void wr(unsigned cpu, unsigned off, uint32_t val)
{
	lapic_mmio_write(&cpus[cpu].lapic, off, 4, val);
}

static inline void enable(unsigned cpu)
{
	wr(cpu, 0xf0, 0x1ff);
}

static inline void to_x2apic(unsigned cpu)
{
	struct lapic *l = &cpus[cpu].lapic;

	assert_true(lapic_write_base(l, l->base | APIC_BASE_X2APIC, 40));
	assert_int_equal(l->mode, LAPIC_X2APIC);
}

static inline bool msr_wr(unsigned cpu, uint32_t msr, uint64_t val)
{
	return lapic_msr_write(&cpus[cpu].lapic, msr, val);
}

/* UINT64_MAX: #GP. */
static inline uint64_t msr_rd(unsigned cpu, uint32_t msr)
{
	uint64_t val;

	return lapic_msr_read(&cpus[cpu].lapic, msr, &val) ? val : UINT64_MAX;
}

/* A pin, and the processor looks. */
static inline void lint(unsigned cpu, unsigned pin, bool level)
{
	lapic_set_lint(&cpus[cpu].lapic, pin, level);
	lapic_fold(&cpus[cpu].lapic);
}

static inline bool has_irr(unsigned cpu, unsigned vector)
{
	lapic_fold(&cpus[cpu].lapic);
	return cpus[cpu].lapic.irr.word[vector / 32] >> vector % 32 & 1;
}

static inline bool send(uint32_t dest, bool logical, enum apic_delivery mode, uint8_t vector,
			bool level)
{
	const struct apic_msg msg = {
		.dest = dest, .logical = logical, .mode = mode, .vector = vector, .level = level
	};

	return lapic_bus_send(&set, &msg);
}

#endif
