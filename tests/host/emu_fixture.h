/*
 * A guest without hardware, for the tests of guest memory and of the emulator: 4 MiB of
 * RAM, 64 KiB of ROM, two devices that behave as RAM and count, and a window of guest
 * pages that a test maps as it likes.
 *
 *   virtual               physical
 *   0x00000000 - 4 MiB    the same: RAM; page tables from TABLES on
 *   WINDOW, 8 pages       as window_map() says; first DEVICE_A, DEVICE_B
 *   CODE, 2 pages         RAM at CODE_PA
 */
#ifndef UMBRA_TESTS_EMU_FIXTURE_H
#define UMBRA_TESTS_EMU_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/desc.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/mm.h"
#include "tests/host/fakes.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/emulate.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define RAM_SIZE MIB(4)
#define ROM_PA UINT64_C(0xfff0000)
#define DEVICE_A UINT64_C(0xe0000000)
#define DEVICE_B UINT64_C(0xe0002000)
#define NOWHERE UINT64_C(0xd0000000)
#define WINDOW UINT64_C(0x40000000)
#define CODE UINT64_C(0x40100000)
#define CODE_PA UINT64_C(0x100000)
#define TABLES UINT64_C(0x10000)
#define PT_WINDOW (TABLES + 0x4000)

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_KEY(k) ((uint64_t)(k) << 59)

struct fake_device {
	uint8_t mem[4096];
	unsigned reads, writes;
	unsigned last_size;
	uint64_t last_off, last_val;
};

static struct fixture {
	struct vm vm;
	struct exit_stats exits;
	struct vcpu vcpu;
	struct vm_config cfg;
	struct fake_device dev[2];
	uint64_t reg[VCPU_REGS];
	struct segment seg[SEG_REGS];
	uint8_t *ram, *rom;
	unsigned injected; /* events that the backend was given */
	bool intercept_dr;
	uint32_t intercepted; /* exceptions */
} fx;

/* --- the backend's registers --- */

static uint64_t fx_get_reg(const struct vcpu *vcpu, enum vcpu_reg reg)
{
	(void)vcpu;
	return reg == REG_CS_ATTR ? fx.seg[SEG_CS].attr : fx.reg[reg];
}

static void fx_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	(void)vcpu;
	fx.reg[reg] = val;
}

static void fx_get_seg(const struct vcpu *vcpu, enum seg_reg reg, struct segment *seg)
{
	(void)vcpu;
	*seg = fx.seg[reg];
}

static void fx_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	(void)vcpu;
	fx.seg[reg] = *seg;
}

static void fx_flush(struct vcpu *vcpu, enum flush_scope scope)
{
	(void)vcpu;
	(void)scope;
}

/* A processor without real mode; what goes to it is counted, and no more. */
static const struct backend_caps *fx_caps(void)
{
	static const struct backend_caps caps = { .real_mode = false, .features = "" };

	return &caps;
}

static bool fx_can_inject(const struct vcpu *vcpu, enum vm_event_kind kind)
{
	return kind == EVENT_NMI ? !fx.reg[REG_NMI_BLOCKED]
				 : (vcpu->regs.rflags & RFLAGS_IF) && !fx.reg[REG_INTR_SHADOW];
}

static void fx_inject(struct vcpu *vcpu, const struct vm_event *ev)
{
	(void)vcpu;
	(void)ev;
	fx.injected++;
}

static void fx_request_window(struct vcpu *vcpu, enum vm_event_kind kind, bool on)
{
	(void)vcpu;
	(void)kind;
	(void)on;
}

static void fx_set_intercept_dr(struct vcpu *vcpu, bool on)
{
	(void)vcpu;
	fx.intercept_dr = on;
}

static void fx_set_intercept_exception(struct vcpu *vcpu, unsigned vector, bool on)
{
	(void)vcpu;
	fx.intercepted &= ~(uint32_t)BIT(vector);
	if (on)
		fx.intercepted |= (uint32_t)BIT(vector);
}

static const struct vmm_backend fx_backend = {
	.name = "none",
	.caps = fx_caps,
	.can_inject = fx_can_inject,
	.inject = fx_inject,
	.request_window = fx_request_window,
	.set_intercept_dr = fx_set_intercept_dr,
	.set_intercept_exception = fx_set_intercept_exception,
	.flush = fx_flush,
	.get_reg = fx_get_reg,
	.set_reg = fx_set_reg,
	.get_seg = fx_get_seg,
	.set_seg = fx_set_seg,
};

/* --- devices --- */

static uint64_t dev_read(void *ctx, uint64_t off, unsigned size)
{
	struct fake_device *d = ctx;
	uint64_t val = 0;

	assert_in_range(size, 1, 8);
	assert_in_range(off, 0, sizeof(d->mem) - size);
	memcpy(&val, d->mem + off, size);
	d->reads++;
	d->last_off = off;
	d->last_size = size;
	d->last_val = val;
	return val;
}

static void dev_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
	struct fake_device *d = ctx;

	assert_in_range(size, 1, 8);
	assert_in_range(off, 0, sizeof(d->mem) - size);
	memcpy(d->mem + off, &val, size);
	d->writes++;
	d->last_off = off;
	d->last_size = size;
	d->last_val = val;
}

static const struct mmio_ops dev_ops = { dev_read, dev_write };

/* --- the guest's tables --- */

static inline void pte_set(uint64_t pa, unsigned index, uint64_t val)
{
	memcpy(fx.ram + pa + 8 * index, &val, 8);
}

static inline uint64_t pte_get(uint64_t pa, unsigned index)
{
	uint64_t val;

	memcpy(&val, fx.ram + pa + 8 * index, 8);
	return val;
}

/* Window page n leads to pa, with these bits; bits 0: not present. */
static inline void window_map(unsigned n, uint64_t pa, uint64_t bits)
{
	pte_set(PT_WINDOW, n, bits ? pa | bits : 0);
}

static void make_tables(void)
{
	const uint64_t all = PTE_P | PTE_W | PTE_U;

	pte_set(TABLES, 0, (TABLES + 0x1000) | all);          /* PML4 */
	pte_set(TABLES + 0x1000, 0, (TABLES + 0x2000) | all); /* PDPT */
	pte_set(TABLES + 0x1000, 1, (TABLES + 0x3000) | all);
	pte_set(TABLES + 0x2000, 0, all | PTE_PS); /* PD: RAM */
	pte_set(TABLES + 0x2000, 1, MIB(2) | all | PTE_PS);
	pte_set(TABLES + 0x3000, 0, PT_WINDOW | all); /* PD: window and code */
	window_map(0, DEVICE_A, all);
	window_map(1, DEVICE_B, all);
	pte_set(PT_WINDOW, 256, CODE_PA | all);
	pte_set(PT_WINDOW, 257, (CODE_PA + PAGE_SIZE) | all);
}

/* --- modes --- */

static void fx_segments(uint16_t code, uint16_t data, uint32_t limit)
{
	for (unsigned i = 0; i < SEG_REGS; i++)
		fx.seg[i] = (struct segment){ .attr = i == SEG_CS ? code : data, .limit = limit };
}

static inline void fx_mode_64(void)
{
	fx.reg[REG_CR0] = CR0_PE | CR0_PG | CR0_WP;
	fx.reg[REG_CR3] = TABLES;
	fx.reg[REG_CR4] = CR4_PAE;
	fx.reg[REG_EFER] = EFER_LME | EFER_LMA | EFER_NXE;
	fx_segments(0xa9b, 0xc93, 0xffffffff);
	fx.vcpu.regs.rip = CODE;
}

/* Flat segments, no paging. RIP is at CODE_PA. */
static inline void fx_mode_32(void)
{
	fx.reg[REG_CR0] = CR0_PE;
	fx.reg[REG_CR3] = fx.reg[REG_CR4] = fx.reg[REG_EFER] = 0;
	fx_segments(0xc9b, 0xc93, 0xffffffff);
	fx.vcpu.regs.rip = CODE_PA;
}

/* Real mode; CS is based at CODE_PA, RIP 0. */
static inline void fx_mode_16(void)
{
	fx.reg[REG_CR0] = fx.reg[REG_CR3] = fx.reg[REG_CR4] = fx.reg[REG_EFER] = 0;
	fx_segments(0x09b, 0x093, 0xffff);
	fx.seg[SEG_CS].base = CODE_PA;
	fx.vcpu.regs.rip = 0;
}

static inline void fx_user(void)
{
	fx.reg[REG_CPL] = 3;
}

/* Put an instruction at RIP (which is in CODE or CODE_PA), rest of the page int3. */
static inline void fx_code(const void *bytes, size_t n)
{
	uint64_t off = fx.vcpu.regs.rip & 0xfff;

	memset(fx.ram + CODE_PA, 0xcc, 2 * PAGE_SIZE);
	memcpy(fx.ram + CODE_PA + off, bytes, n);
}

#define FX_CODE(...)                                                                               \
	do {                                                                                       \
		static const uint8_t code_[] = { __VA_ARGS__ };                                    \
		fx_code(code_, sizeof(code_));                                                     \
	} while (0)

/* --- life --- */

static struct cpuid_regs fx_cpuid(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	switch (leaf) {
	case 0:
		return (struct cpuid_regs){ 1, 0x68747541, 0x444d4163, 0x69746e65 };
	case 0x80000000:
		return (struct cpuid_regs){ 0x80000008, 0, 0, 0 };
	case 0x80000001:
		return (struct cpuid_regs){ 0, 0, 0, BIT(29) | BIT(26) | BIT(20) };
	case 0x80000008:
		return (struct cpuid_regs){ 0x3028, 0, 0, 0 };
	default:
		return (struct cpuid_regs){ 0 };
	}
}

/* The guest has CR4.PKE on and is on the CPU, with this PKRU. */
static inline void fx_pkru(uint32_t pkru)
{
	fx.reg[REG_CR4] |= CR4_PKE;
	fx.vcpu.loaded = true;
	fake_pkru = pkru;
	fake_area_pkru = ~pkru;
}

static int fx_setup(void **state)
{
	struct region r;
	hpa_t ram, rom;

	(void)state;
	memset(&fx, 0, sizeof(fx));
	fake_log_reset();
	cpuid_init(fx_cpuid, 0);
	fx.vm.backend = &fx_backend;
	fx.vm.cfg = &fx.cfg;
	fx.vcpu.vm = &fx.vm;
	fx.vcpu.exits = fx.vm.exits[0] = &fx.exits;
	fx.vcpu.hot = fx.reg;
	fx.vm.vcpu[0] = &fx.vcpu;
	fx.vcpu.regs.rflags = RFLAGS_FIXED;
	fx.reg[REG_DR6] = DR6_INIT;
	memmap_init(&fx.vm.mem);
	if (bus_init(&fx.vm.bus))
		return -1;
	ram = frame_alloc_zeroed(10, FRAME_VM0);
	rom = frame_alloc_zeroed(4, FRAME_VM0);
	if (!ram.v || !rom.v)
		return -1;
	fx.ram = hpa_to_ptr(ram);
	fx.rom = hpa_to_ptr(rom);
	r = (struct region){ .start = GPA(0), .size = RAM_SIZE, .kind = REGION_MEM, .frames = ram };
	if (memmap_add(&fx.vm.mem, &r))
		return -1;
	r = (struct region){
		.start = GPA(ROM_PA), .size = KIB(64), .kind = REGION_ROM, .frames = rom
	};
	if (memmap_add(&fx.vm.mem, &r))
		return -1;
	if (bus_register_mmio(&fx.vm.bus, GPA(DEVICE_A), 4096, "a", &dev_ops, &fx.dev[0]) ||
	    bus_register_mmio(&fx.vm.bus, GPA(DEVICE_B), 4096, "b", &dev_ops, &fx.dev[1]))
		return -1;
	make_tables();
	fx_mode_64();
	return 0;
}

static int fx_teardown(void **state)
{
	(void)state;
	bus_destroy(&fx.vm.bus);
	frame_free(ptr_to_hpa(fx.ram), 10, FRAME_VM0);
	frame_free(ptr_to_hpa(fx.rom), 4, FRAME_VM0);
	return 0;
}

/* The exception that waits, or a failure of the test. */
static inline void assert_raised(unsigned vector, unsigned error)
{
	const struct vm_event *ev = &fx.vcpu.events.pending;

	if (ev->kind != EVENT_EXCEPTION)
		fail_msg("expected exception %u, none was raised", vector);
	if (ev->vector != vector || ev->error != error)
		fail_msg("expected exception %u error 0x%x, seen %u error 0x%x", vector, error,
			 ev->vector, ev->error);
}

static inline void assert_nothing_raised(void)
{
	const struct vm_event *ev = &fx.vcpu.events.pending;

	if (ev->kind != EVENT_NONE)
		fail_msg("expected no exception, seen %u error 0x%x cr2 0x%llx", ev->vector,
			 ev->error, (unsigned long long)fx.reg[REG_CR2]);
}

/* Let the instruction at RIP be interpreted: this is what comes of it. */
static inline void steps(enum emulate_result want)
{
	enum emulate_result result;

	fx.vcpu.exit = (struct vm_exit){ .kind = EXIT_EMULATE };
	result = emulate_step(&fx.vcpu);
	if (result != want)
		fail_msg("expected result %d, seen %d", want, result);
}

/* Let the instruction at RIP be emulated: this is what comes of it, and how far RIP goes on. */
static inline void emulates(enum emulate_result want, unsigned len)
{
	uint64_t rip = fx.vcpu.regs.rip;
	enum emulate_result result = emulate_mmio(&fx.vcpu);

	if (result != want)
		fail_msg("expected result %d, seen %d", want, result);
	assert_int_equal(fx.vcpu.regs.rip - rip, len);
}

#endif
