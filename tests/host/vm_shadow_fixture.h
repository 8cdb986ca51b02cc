/*
 * For tests of a VM without nested paging: a shadow that is the test's own and keeps what it is
 * told, and a VM with 64 KiB of RAM, that shadow, and a device.
 */
#ifndef UMBRA_TESTS_VM_SHADOW_FIXTURE_H
#define UMBRA_TESTS_VM_SHADOW_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/frame.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "paging/shadow.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/gmem.h"
#include "vmm/vm_shadow.h"
#include "vmm/vm_tables.h"

#define PDPT 0x3000u
#define DEVICE 0xe0000000u

/* --- the shadow --- */

struct shadow {
	struct shadow_ops ops;
	struct pt_caps caps;
	uint64_t max_bytes;
};

static struct shadow core;
static struct {
	unsigned created, destroyed, loads, leaves, faults, invlpgs, forgets, writes, begins,
		audits, shared;
	bool shares; /* shadow_fault_shared() does what shadow_fault() would */
	void (*on_begin)(void);
	struct guest_paging gp;
	gva_t gva;
	uint32_t error;
	unsigned cpl;
	gpa_t gpa;
	uint64_t size;
	enum shadow_result result;
	struct shadow_outcome outcome;
	hpa_t root;
	bool wrong;
} seen;

int shadow_create(struct shadow **out, const struct shadow_ops *ops, const struct pt_caps *caps,
		  uint64_t max_bytes)
{
	core = (struct shadow){ *ops, *caps, max_bytes };
	seen.created++;
	*out = &core;
	return 0;
}

void shadow_destroy(struct shadow *s)
{
	seen.destroyed += s != NULL;
}

int shadow_vcpu_init(struct shadow_vcpu *sv, struct shadow *s)
{
	sv->s = s;
	return 0;
}

/* vm_tables_lock() */
static void check_alone(void)
{
	assert_true(owned_lock_held(&fake_vm.paging));
	assert_int_not_equal(fake_vm.paging_users.next, fake_vm.paging_users.exclude);
}

hpa_t shadow_load(struct shadow_vcpu *sv, const struct guest_paging *gp)
{
	(void)sv;
	check_alone();
	seen.loads++;
	seen.gp = *gp;
	return seen.root;
}

void shadow_leave(struct shadow_vcpu *sv)
{
	assert_ptr_equal(sv, &fake_vcpu.shadow);
	seen.leaves++;
}

static enum shadow_result fault(struct shadow_vcpu *sv, gva_t gva, uint32_t error, uint64_t rip,
				uint64_t rflags, unsigned cpl, uint32_t pkru,
				struct shadow_outcome *out)
{
	assert_ptr_equal(sv, &fake_vcpu.shadow);
	assert_int_equal(rip, fake_vcpu.regs.rip);
	assert_int_equal(rflags, fake_vcpu.regs.rflags);
	assert_int_equal(pkru, 0);
	seen.faults++;
	seen.gva = gva;
	seen.error = error;
	seen.cpl = cpl;
	*out = seen.outcome;
	return seen.result;
}

enum shadow_result shadow_fault(struct shadow_vcpu *sv, gva_t gva, uint32_t error, uint64_t rip,
				uint64_t rflags, unsigned cpl, uint32_t pkru,
				struct shadow_outcome *out)
{
	check_alone();
	return fault(sv, gva, error, rip, rflags, cpl, pkru, out);
}

enum shadow_result shadow_fault_shared(struct shadow_vcpu *sv, gva_t gva, uint32_t error,
				       uint64_t rip, uint64_t rflags, unsigned cpl, uint32_t pkru,
				       struct shadow_outcome *out)
{
	seen.shared++;
	assert_false(owned_lock_held(&fake_vm.paging));
	assert_int_not_equal(fake_vm.paging_users.next, fake_vm.paging_users.exclude);
	return seen.shares ? fault(sv, gva, error, rip, rflags, cpl, pkru, out) : SHADOW_ALONE;
}

void shadow_invlpg(struct shadow_vcpu *sv, gva_t gva)
{
	(void)sv;
	check_alone();
	seen.invlpgs++;
	seen.gva = gva;
}

void shadow_written(struct shadow *s, gpa_t gpa, uint64_t size)
{
	(void)s;
	seen.writes++;
	seen.gpa = gpa;
	seen.size = size;
}

void shadow_write_begins(struct shadow *s, gpa_t gpa, uint64_t size)
{
	(void)s;
	check_alone();
	seen.begins++;
	seen.gpa = gpa;
	seen.size = size;
	if (seen.on_begin)
		seen.on_begin();
}

void shadow_forget(struct shadow *s, gpa_t gpa, uint64_t size)
{
	(void)s;
	check_alone();
	seen.forgets++;
	seen.gpa = gpa;
	seen.size = size;
}

bool shadow_audit(struct shadow *s, char *why, size_t size)
{
	(void)s;
	check_alone();
	seen.audits++;
	strncpy(why, "entry 7", size);
	return !seen.wrong;
}

unsigned shadow_audit_all(struct shadow *s, void (*line)(void *ctx, const char *why), void *ctx)
{
	(void)s;
	if (seen.wrong)
		line(ctx, "entry 7");
	return seen.wrong;
}

bool shadow_tree(const struct shadow_vcpu *sv, const struct pt_mem *mem, struct pt_tree *out)
{
	(void)sv;
	(void)mem;
	(void)out;
	return false;
}

const struct shadow_stats *shadow_stats(const struct shadow *s)
{
	static const struct shadow_stats stats = { .faults = 12345, .emulated = 678 };

	(void)s;
	return &stats;
}

uint64_t shadow_bytes(const struct shadow *s)
{
	(void)s;
	return KIB(40);
}

/* --- fixture: a VM with 64 KiB of RAM, a shadow, and a device --- */

static struct vm_config cfg;
static uint64_t dev_value;

static inline uint64_t dev_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return dev_value;
}

static inline void dev_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)size;
	dev_value = val;
}

static inline int setup(void **state)
{
	static const struct mmio_ops ops = { dev_read, dev_write };

	(void)state;
	memset(&seen, 0, sizeof(seen));
	seen.root = HPA(0x1234000);
	dev_value = 0;
	fake_vm_reset();
	fake_log_reset();
	fake_has_nested = true;
	fake_invpcid_exits = true;
	fake_nested_unpaged = false;
	cpuid_init(fake_cpuid_amd, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	cfg = (struct vm_config){ .name = "test", .memory = MIB(16), .paging = PAGING_SHADOW };
	fake_vm.cfg = &cfg;
	assert_int_equal(bus_init(&fake_vm.bus), 0);
	assert_int_equal(bus_register_mmio(&fake_vm.bus, GPA(DEVICE), 0x1000, "test", &ops, NULL),
			 0);
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	assert_int_equal(vm_shadow_vcpu_init(&fake_vcpu), 0);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	vm_tables_destroy(&fake_vm);
	bus_destroy(&fake_vm.bus);
	assert_null(fake_vm.shadow);
	assert_int_equal(seen.created, seen.destroyed);
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static inline void expect_log(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("the log lacks \"%s\":\n%s", text, fake_log);
}

static inline bool loads_root(void)
{
	bool stale = fake_vcpu.stale & VCPU_STALE_ROOT;

	fake_vcpu.stale = 0;
	return stale;
}

static inline void pae(void)
{
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET | CR0_PG;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
