/*
 * vmm/vm_shadow.c and vm_tables.c: what a VM without nested paging asks of its shadow and gives
 * it. The shadow is the test's own.
 */
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
	unsigned created, destroyed, loads, faults, invlpgs, forgets, writes, audits;
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

hpa_t shadow_load(struct shadow_vcpu *sv, const struct guest_paging *gp)
{
	(void)sv;
	seen.loads++;
	seen.gp = *gp;
	return seen.root;
}

enum shadow_result shadow_fault(struct shadow_vcpu *sv, gva_t gva, uint32_t error, uint64_t rip,
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

void shadow_invlpg(struct shadow_vcpu *sv, gva_t gva)
{
	(void)sv;
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

void shadow_forget(struct shadow *s, gpa_t gpa, uint64_t size)
{
	(void)s;
	seen.forgets++;
	seen.gpa = gpa;
	seen.size = size;
}

bool shadow_audit(struct shadow *s, char *why, size_t size)
{
	(void)s;
	seen.audits++;
	strncpy(why, "entry 7", size);
	return !seen.wrong;
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

static uint64_t dev_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return dev_value;
}

static void dev_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)dev;
	(void)off;
	(void)size;
	dev_value = val;
}

static int setup(void **state)
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

static int teardown(void **state)
{
	(void)state;
	vm_tables_destroy(&fake_vm);
	bus_destroy(&fake_vm.bus);
	assert_null(fake_vm.shadow);
	assert_int_equal(seen.created, seen.destroyed);
	assert_int_equal(fake_frame_bytes, 0);
	return 0;
}

static void expect_log(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("the log lacks \"%s\":\n%s", text, fake_log);
}

/* --- which, and how large --- */

static void test_mode(void **state)
{
	static const struct {
		enum paging_mode asked;
		bool nested;
		enum paging_mode got;
	} cases[] = {
		{ PAGING_AUTO, true, PAGING_NESTED },   { PAGING_AUTO, false, PAGING_SHADOW },
		{ PAGING_SHADOW, true, PAGING_SHADOW }, { PAGING_SHADOW, false, PAGING_SHADOW },
		{ PAGING_NESTED, true, PAGING_NESTED },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cfg.paging = cases[i].asked;
		fake_has_nested = cases[i].nested;
		assert_int_equal(vm_paging_mode(&cfg, &fake_backend_ops), cases[i].got);
	}
}

static void test_limit(void **state)
{
	(void)state;
	assert_int_equal(core.max_bytes, MIB(4));
	cfg.memory = GIB(1);
	assert_int_equal(vm_shadow_limit(&cfg), ALIGN_DOWN(GIB(1) / 50, PAGE_SIZE));
	cfg.shadow = MIB(1);
	assert_int_equal(vm_shadow_limit(&cfg), MIB(1));
	assert_int_equal(core.caps.maxphyaddr, cpuid_policy()->maxphyaddr);
}

/* --- what it is given --- */

static void test_resolve(void **state)
{
	struct shadow_target t;
	struct memmap *m = &fake_vm.mem;
	const hpa_t frames = m->region[0].frames;

	(void)state;
	assert_true(core.ops.resolve(&fake_vm, GPA(0x5123), true, &t));
	assert_int_equal(t.start, 0);
	assert_int_equal(t.size, FAKE_RAM_SIZE);
	assert_int_equal(t.pa.v, frames.v);
	assert_true(t.writable);
	assert_false(core.ops.resolve(&fake_vm, GPA(FAKE_RAM_SIZE), true, &t));
	assert_false(core.ops.resolve(&fake_vm, GPA(DEVICE), true, &t));
	assert_int_equal(memmap_hook(m, GPA(0x4000), 0x1000, REGION_HOOK_WRITE), 0);
	assert_int_equal(memmap_hook(m, GPA(0x6000), 0x1000, REGION_HOOK), 0);
	assert_true(core.ops.resolve(&fake_vm, GPA(0x4fff), true, &t));
	assert_int_equal(t.start, 0x4000);
	assert_int_equal(t.size, 0x1000);
	assert_int_equal(t.pa.v, frames.v + 0x4000);
	assert_false(t.writable);
	assert_false(core.ops.resolve(&fake_vm, GPA(0x6000), true, &t));
	assert_true(core.ops.resolve(&fake_vm, GPA(0x7000), true, &t));
	assert_int_equal(t.pa.v - t.start, frames.v);
	m->region[0].kind = REGION_ROM;
	assert_true(core.ops.resolve(&fake_vm, GPA(0), true, &t));
	assert_false(t.writable);
}

static bool bring_in(void *ctx, struct region *r, uint64_t page)
{
	(void)ctx;
	r->page[page] = 0x7000 + (page << PAGE_SHIFT);
	return page != 2;
}

/* A disk's page by page, brought in when the shadow says so. */
static void test_resolve_disk(void **state)
{
	uint64_t page[3] = { 0 };
	struct region disk = { .start = GPA(MIB(1)), .size = 0x3000, .kind = REGION_DISK };
	struct shadow_target t;

	(void)state;
	disk.page = page;
	fake_vm.mem.bring_in = bring_in;
	assert_int_equal(memmap_add(&fake_vm.mem, &disk), 0);
	assert_false(core.ops.resolve(&fake_vm, GPA(MIB(1) + 0x1010), false, &t));
	assert_int_equal(page[1], 0);
	for (unsigned touch = 2; touch--;) {
		assert_true(core.ops.resolve(&fake_vm, GPA(MIB(1) + 0x1010), touch, &t));
		assert_int_equal(t.start, MIB(1) + 0x1000);
		assert_int_equal(t.size, PAGE_SIZE);
		assert_int_equal(t.pa.v, 0x8000);
		assert_true(t.writable);
	}
	assert_false(core.ops.resolve(&fake_vm, GPA(MIB(1) + 0x2000), true, &t));
}

static void test_pages_and_owners(void **state)
{
	hpa_t page = core.ops.page_alloc(&fake_vm, true), own, foreign;

	(void)state;
	assert_int_equal(frame_owner_of(page), FRAME_PAGE_TABLE);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_int_equal(((uint8_t *)core.ops.ptr(page))[i], 0);
	assert_false(core.ops.may_map(&fake_vm, page, PAGE_SIZE));
	core.ops.page_free(&fake_vm, page);
	fake_vm.id = 5;
	own = frame_alloc(1, FRAME_VM0 + 5);
	foreign = frame_alloc(0, FRAME_VM0 + 4);
	assert_true(core.ops.may_map(&fake_vm, own, 2 * PAGE_SIZE));
	assert_false(core.ops.may_map(&fake_vm, own, 4 * PAGE_SIZE));
	assert_false(core.ops.may_map(&fake_vm, foreign, PAGE_SIZE));
	frame_free(own, 1, FRAME_VM0 + 5);
	frame_free(foreign, 0, FRAME_VM0 + 4);
}

static void test_intercept_and_flush(void **state)
{
	(void)state;
	core.ops.intercept_invlpg(&fake_vm, true);
	assert_true(fake_hw.intercept_invlpg);
	core.ops.intercept_invlpg(&fake_vm, false);
	assert_false(fake_hw.intercept_invlpg);
	assert_int_equal(fake_hw.flushes, 0);
	core.ops.flush(&fake_vm);
	assert_int_equal(fake_hw.flushes, 1);
}

/* Its own marks in the guest's tables it knows of; others' it is told of. */
static void test_told_of_writes(void **state)
{
	const uint64_t val = 1;

	(void)state;
	assert_true(core.ops.guest_mem->cmpxchg(core.ops.guest_mem->ctx, 0x5008, 8, 0, 7));
	assert_int_equal(seen.writes, 0);
	assert_true(gmem_pt_mem(&fake_vm)->cmpxchg(&fake_vm, 0x5008, 8, 7, 0x27));
	assert_int_equal(seen.writes, 1);
	assert_int_equal(seen.gpa.v, 0x5008);
	assert_int_equal(seen.size, 8);
	assert_false(gmem_pt_mem(&fake_vm)->cmpxchg(&fake_vm, 0x5008, 8, 7, 0x27));
	assert_int_equal(seen.writes, 1);
	gmem_phys_write(&fake_vm, GPA(0x6ffc), &val, 8);
	assert_int_equal(seen.writes, 2);
	assert_int_equal(seen.gpa.v, 0x6ffc);
	gmem_phys_write(&fake_vm, GPA(DEVICE), &val, 8);
	assert_int_equal(seen.writes, 2);
}

/* The memory map's changes reach it, and the root is made anew. */
static void test_forgets(void **state)
{
	(void)state;
	fake_vcpu.stale = 0;
	assert_int_equal(vm_hook(&fake_vm, GPA(0x2000), 0x3000, REGION_HOOK), 0);
	assert_int_equal(seen.forgets, 1);
	assert_int_equal(seen.gpa.v, 0x2000);
	assert_int_equal(seen.size, 0x3000);
	assert_true(fake_vcpu.stale & VCPU_STALE_ROOT);
	assert_int_equal(vm_unhook(&fake_vm, GPA(0x2000), 0x3000), 0);
	assert_int_equal(seen.forgets, 2);
	assert_int_equal(seen.gpa.v, 0x2000);
	assert_int_equal(seen.size, 0x3000);
	assert_int_equal(vm_remove_region(&fake_vm, GPA(0)), 0);
	assert_int_equal(seen.forgets, 3);
	assert_int_equal(seen.size, FAKE_RAM_SIZE);
}

/* --- roots --- */

static bool loads_root(void)
{
	bool stale = fake_vcpu.stale & VCPU_STALE_ROOT;

	fake_vcpu.stale = 0;
	return stale;
}

static void test_load(void **state)
{
	(void)state;
	vm_tables_attach(&fake_vcpu);
	assert_int_equal(fake_hw.root.v, 0);
	assert_true(fake_vcpu.stale & VCPU_STALE_ROOT);
	fake_hw.reg[REG_CR3] = 0x5000;
	assert_true(vm_shadow_load(&fake_vcpu));
	assert_int_equal(seen.gp.cr3, 0x5000);
	assert_int_equal(seen.gp.cr0, fake_hw.reg[REG_CR0]);
	assert_int_equal(seen.gp.efer, fake_hw.reg[REG_EFER]);
	assert_int_equal(fake_hw.root.v, 0x1234000);
	assert_false(loads_root());
	seen.root = HPA(0);
	assert_false(vm_shadow_load(&fake_vcpu));
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(fake_vm.stop_text, "no free memory for its shadow, rip 0x1000");
}

/* Just what translations depend on makes a root anew, and every write to CR3. */
static void test_what_changes_the_root(void **state)
{
	const uint64_t cr0 = fake_hw.reg[REG_CR0], cr4 = fake_hw.reg[REG_CR4];
	const uint64_t cr4_bits[] = { CR4_PSE, CR4_PGE, CR4_SMEP, CR4_SMAP, CR4_PCIDE };

	(void)state;
	loads_root();
	assert_true(cr_write(&fake_vcpu, 0, cr0 | CR0_TS | CR0_MP) && !loads_root());
	assert_true(cr_clts(&fake_vcpu) && !loads_root());
	assert_true(cr_write_lmsw(&fake_vcpu, 9) && !loads_root());
	assert_true(cr_write(&fake_vcpu, 0, cr0 & ~CR0_WP) && loads_root());
	assert_true(cr_write(&fake_vcpu, 0, cr0 & ~CR0_WP) && !loads_root());
	assert_true(cr_write(&fake_vcpu, 4, cr4 | CR4_OSFXSR | CR4_TSD) && !loads_root());
	for (unsigned i = 0; i < ARRAY_SIZE(cr4_bits); i++) {
		assert_true(cr_write(&fake_vcpu, 4, cr4 | cr4_bits[i]) && loads_root());
		assert_true(cr_write(&fake_vcpu, 4, cr4) && loads_root());
	}
	assert_true(cr_write(&fake_vcpu, 3, fake_hw.reg[REG_CR3]) && loads_root());
	assert_true(cr_write_efer(&fake_vcpu, EFER_LME | EFER_SCE | EFER_NXE) && loads_root());
	assert_true(cr_write_efer(&fake_vcpu, EFER_LME | EFER_NXE) && !loads_root());
}

static void pae(void)
{
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET | CR0_PG;
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = PDPT;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
}

static void set_pdpte(unsigned i, uint64_t val)
{
	memcpy(fake_ram + PDPT + 8 * i, &val, 8);
}

/* PAE: the four that MOV CR3 loaded count, not those in memory. */
static void test_pdptes_are_kept(void **state)
{
	struct guest_paging gp;

	(void)state;
	pae();
	set_pdpte(1, 0x5001);
	assert_true(cr_write(&fake_vcpu, 3, PDPT));
	set_pdpte(1, 0x6001);
	vcpu_guest_paging(&fake_vcpu, &gp);
	assert_int_equal(gp.pdpte[1], 0x5001);
	loads_root();
	/* CR0.CD loads them, and then the root is another. */
	assert_true(cr_write(&fake_vcpu, 0, CR0_PE | CR0_PG | CR0_CD) && loads_root());
	vcpu_guest_paging(&fake_vcpu, &gp);
	assert_int_equal(gp.pdpte[1], 0x6001);
	set_pdpte(1, 0x6003);
	assert_false(cr_write(&fake_vcpu, 0, CR0_PE | CR0_PG));
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_GP);
	/* Nobody but the guest sets bit 5 here. */
	fake_vcpu.events.pending.kind = EVENT_NONE;
	set_pdpte(1, 0x6021);
	assert_false(cr_write(&fake_vcpu, 3, PDPT));
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_GP);
}

static void test_pcid_needs_the_exit(void **state)
{
	(void)state;
	assert_true(cpuid_guest(&fake_vcpu, 1, 0).ecx & BIT(17));
	assert_true(cpuid_guest(&fake_vcpu, 7, 0).ebx & BIT(10));
	assert_true(cpuid_cr4(&fake_vcpu) & CR4_PCIDE);
	fake_invpcid_exits = false;
	assert_false(cpuid_guest(&fake_vcpu, 1, 0).ecx & BIT(17));
	assert_false(cpuid_guest(&fake_vcpu, 7, 0).ebx & BIT(10));
	assert_false(cr_write(&fake_vcpu, 4, CR4_PAE | CR4_PCIDE));
	vm_tables_destroy(&fake_vm);
	assert_true(cpuid_guest(&fake_vcpu, 1, 0).ecx & BIT(17)); /* nested paging */
}

/* --- exits --- */

static void code(const char *bytes, size_t n)
{
	fake_hw.reg[REG_CR0] &= ~CR0_PG;
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.seg[SEG_CS] = (struct segment){ .attr = 0xc9b, .limit = UINT32_MAX };
	fake_hw.seg[SEG_DS] = (struct segment){ .attr = 0xc93, .limit = UINT32_MAX };
	memcpy(fake_ram + 0x1000, bytes, n);
}

static void page_fault(uint64_t gva, uint32_t error)
{
	fake_vcpu.exit =
		(struct vm_exit){ .kind = EXIT_PAGE_FAULT, .page_fault = { GVA(gva), error } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.gva.v, gva);
	assert_int_equal(seen.error, error);
}

static void test_fault_is_filled(void **state)
{
	(void)state;
	fake_hw.reg[REG_CPL] = 3;
	page_fault(0x7fff0000, PF_U | PF_W);
	assert_int_equal(seen.cpl, 3);
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.events.pending.kind, EVENT_NONE);
	assert_int_equal(fake_vm.exits[EXIT_PAGE_FAULT], 1);
}

static void test_fault_is_the_guests(void **state)
{
	(void)state;
	seen.result = SHADOW_REFLECT;
	seen.outcome.fault = (struct guest_fault){
		.vector = VEC_PF, .has_error = true, .error = PF_U, .cr2 = 0x7fff0000
	};
	page_fault(0x7fff0000, PF_U | PF_P);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_PF);
	assert_int_equal(fake_vcpu.events.pending.error, PF_U);
	assert_int_equal(fake_hw.reg[REG_CR2], 0x7fff0000);
}

static void test_fault_on_a_device(void **state)
{
	(void)state;
	code("\xa3\x10\x00\x00\xe0", 5); /* mov [e0000010h], eax */
	fake_vcpu.regs.gpr[RAX] = 0x12345678;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(DEVICE + 0x10);
	page_fault(DEVICE + 0x10, PF_W);
	assert_int_equal(dev_value, 0x12345678);
	assert_int_equal(fake_vcpu.regs.rip, 0x1005);
	assert_int_equal(fake_vm.exits[EXIT_NESTED_FAULT], 0);
}

/* No entry lets it through, and it is memory nevertheless. */
static void test_fault_is_emulated_on_memory(void **state)
{
	(void)state;
	code("\xa3\x10\x50\x00\x00", 5); /* mov [5010h], eax */
	fake_vcpu.regs.gpr[RAX] = 0x12345678;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(0x5010);
	page_fault(0x5010, PF_W | PF_P);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_memory_equal(fake_ram + 0x5010, "\x78\x56\x34\x12", 4);
	assert_int_equal(fake_vcpu.regs.rip, 0x1005);
	assert_int_equal(seen.writes, 1);
}

static void test_fault_on_a_fetch_from_nowhere(void **state)
{
	(void)state;
	seen.result = SHADOW_DEVICE;
	seen.outcome.gpa = GPA(DEVICE);
	page_fault(0x1000, PF_I);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_UD);
}

static void test_no_memory_stops(void **state)
{
	(void)state;
	seen.result = SHADOW_NO_MEMORY;
	page_fault(0x1000, PF_W);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(fake_vm.stop_text, "no free memory for its shadow, rip 0x1000");
}

static void test_invlpg(void **state)
{
	(void)state;
	code("\x0f\x01\x7b\x10", 4); /* invlpg [ebx+10h] */
	fake_vcpu.regs.gpr[RBX] = 0xfffffff8;
	fake_hw.seg[SEG_DS].base = 0x300000;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVLPG };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.invlpgs, 1);
	assert_int_equal(seen.gva.v, 0x300008);
	assert_int_equal(fake_vcpu.regs.rip, 0x1004);
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVLPG,
					   .insn_len = 3,
					   .invlpg = { GVA(0x7000), true } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.invlpgs, 2);
	assert_int_equal(seen.gva.v, 0x7000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1007);
}

/* 0: done; else the vector that was raised. */
static unsigned invpcid(uint64_t type, uint64_t pcid, uint64_t gva)
{
	const uint64_t descriptor[2] = { pcid, gva };

	code("", 0);
	memcpy(fake_ram + 0x2000, descriptor, sizeof(descriptor));
	fake_vcpu.regs.rip = 0x1000;
	fake_vcpu.stale = 0;
	fake_vcpu.events.pending.kind = EVENT_NONE;
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVPCID,
					   .insn_len = 5,
					   .invpcid = { GVA(0x2000), type } };
	vm_exit_handle(&fake_vcpu);
	if (fake_vcpu.regs.rip == 0x1005 && (fake_vcpu.stale & VCPU_STALE_ROOT))
		return 0;
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	assert_int_equal(fake_vcpu.stale, 0);
	return fake_vcpu.events.pending.vector;
}

static void test_invpcid(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 4; type++)
		assert_int_equal(invpcid(type, 0, 0x5000), 0);
	assert_int_equal(invpcid(4, 0, 0x5000), VEC_GP);
	assert_int_equal(invpcid(UINT64_MAX, 0, 0x5000), VEC_GP);
	assert_int_equal(invpcid(0, 7, 0x5000), VEC_GP);
	assert_int_equal(invpcid(1, 7, 0x5000), VEC_GP);
	assert_int_equal(invpcid(2, 7, 0x5000), 0);
	assert_int_equal(invpcid(3, BIT(12), 0x5000), VEC_GP);
	assert_int_equal(invpcid(0, 0, BIT(47)), VEC_GP);
	assert_int_equal(invpcid(1, 0, BIT(47)), 0);
	fake_hw.reg[REG_CR4] |= CR4_PCIDE;
	assert_int_equal(invpcid(0, 7, 0x5000), 0);
	fake_hw.reg[REG_CPL] = 3;
	assert_int_equal(invpcid(2, 0, 0), VEC_GP);
	fake_hw.reg[REG_CPL] = 0;
	fake_invpcid_exits = false;
	assert_int_equal(invpcid(2, 0, 0), VEC_UD);
}

/* --- CR3 read and written back --- */

static void cr3_read(void)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_CR_READ,
					   .cr = { .nr = 3, .gpr = VM_EXIT_GPR_UNKNOWN } };
	fake_vcpu.regs.rip = 0x1000;
	vm_exit_handle(&fake_vcpu);
}

static void test_cr3_written_back_in_one_exit(void **state)
{
	(void)state;
	fake_hw.reg[REG_CR3] = 0x5000;
	code("\x0f\x20\xd8\x0f\x22\xd8\x90\x90\x90\x90", 10); /* mov eax, cr3; mov cr3, eax */
	loads_root();
	cr3_read();
	assert_int_equal(fake_vcpu.regs.gpr[RAX], 0x5000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1006);
	assert_true(loads_root());
	/* Something else behind it, TF, an interrupt that is due: the read alone. */
	fake_hw.intr_pending = true;
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	fake_hw.intr_pending = false;
	fake_vcpu.regs.rflags |= RFLAGS_TF;
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	fake_vcpu.regs.rflags &= ~RFLAGS_TF;
	fake_vcpu.events.pending.kind = EVENT_NONE;
	memcpy(fake_ram + 0x1003, "\x0f\x22\xe0", 3); /* mov cr4, eax */
	cr3_read();
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	assert_false(loads_root());
}

/* Another register, and what it holds is refused: the fault is the second instruction's. */
static void test_cr3_write_ahead_faults(void **state)
{
	(void)state;
	code("\x0f\x20\xd8\x0f\x22\xd9\x90\x90\x90\x90", 10); /* mov eax, cr3; mov cr3, ecx */
	pae();
	fake_hw.reg[REG_CR0] &= ~CR0_PG;
	fake_hw.seg[SEG_CS].limit = UINT32_MAX;
	fake_vcpu.regs.gpr[RCX] = 0x4000;
	cr3_read();
	assert_int_equal(fake_hw.reg[REG_CR3], 0x4000);
	assert_int_equal(fake_vcpu.regs.rip, 0x1006);
}

/* --- audits, counters --- */

static void exit_once(void)
{
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INTR };
	vm_exit_handle(&fake_vcpu);
}

static void test_audit(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		exit_once();
	assert_int_equal(seen.audits, 0);
	vm_tables_destroy(&fake_vm);
	cfg.audit = 3;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	for (unsigned i = 0; i < 10; i++)
		exit_once();
	assert_int_equal(seen.audits, 3);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	seen.wrong = true;
	exit_once();
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	exit_once();
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	assert_string_equal(fake_vm.stop_text, "the shadow is wrong: entry 7");
}

static void test_counters(void **state)
{
	(void)state;
	vm_shadow_print(&fake_vm);
	expect_log("vm test: shadow faults             12345\n");
	expect_log("vm test: shadow emulated             678\n");
	expect_log("vm test: shadow KiB                   40\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mode),
		TEST(test_limit),
		TEST(test_resolve),
		TEST(test_resolve_disk),
		TEST(test_pages_and_owners),
		TEST(test_intercept_and_flush),
		TEST(test_told_of_writes),
		TEST(test_forgets),
		TEST(test_load),
		TEST(test_what_changes_the_root),
		TEST(test_pdptes_are_kept),
		TEST(test_pcid_needs_the_exit),
		TEST(test_fault_is_filled),
		TEST(test_fault_is_the_guests),
		TEST(test_fault_on_a_device),
		TEST(test_fault_is_emulated_on_memory),
		TEST(test_fault_on_a_fetch_from_nowhere),
		TEST(test_no_memory_stops),
		TEST(test_invlpg),
		TEST(test_invpcid),
		TEST(test_cr3_written_back_in_one_exit),
		TEST(test_cr3_write_ahead_faults),
		TEST(test_audit),
		TEST(test_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
