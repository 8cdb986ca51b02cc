/* vmm/vm_shadow.c and vm_tables.c: what a VM without nested paging asks of its shadow and gives it.
 */
#include "tests/host/vm_shadow_fixture.h"
#include "vmm/desc.h"
#include "vmm/inspect.h"

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

/* The local APIC's page: for data, and nobody reads it but the processor. */
static void test_resolve_apic(void **state)
{
	const struct region page = { .start = GPA(LAPIC_BASE),
				     .size = PAGE_SIZE,
				     .kind = REGION_APIC,
				     .frames = HPA(0x9000) };
	struct shadow_target t;
	uint64_t avail;

	(void)state;
	assert_int_equal(memmap_add(&fake_vm.mem, &page), 0);
	assert_true(core.ops.resolve(&fake_vm, GPA(LAPIC_BASE + 0x30), true, &t));
	assert_int_equal(t.start, LAPIC_BASE);
	assert_int_equal(t.size, PAGE_SIZE);
	assert_int_equal(t.pa.v, 0x9000);
	assert_true(t.writable && t.device);
	assert_null(memmap_ptr(&fake_vm.mem, GPA(LAPIC_BASE), false, &avail));
	assert_null(memmap_peek(&fake_vm.mem, GPA(LAPIC_BASE), &avail));
	assert_true(core.ops.resolve(&fake_vm, GPA(0), true, &t));
	assert_false(t.device);
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
	vm_tables_catch_up(&fake_vcpu);
	assert_true(fake_hw.intercept_invlpg);
	core.ops.intercept_invlpg(&fake_vm, false);
	vm_tables_catch_up(&fake_vcpu);
	assert_false(fake_hw.intercept_invlpg);
	assert_int_equal(fake_hw.flushes, 0);
	core.ops.flush_vcpu(&fake_vcpu.shadow);
	assert_int_equal(fake_hw.flushes, 1);
	core.ops.flush(&fake_vm);
	vm_tables_catch_up(&fake_vcpu);
	vm_tables_catch_up(&fake_vcpu);
	assert_int_equal(fake_hw.flushes, 2);
}

/* Each vCPU does what has come since it was entered last: once, and the strongest of it. */
static void test_every_vcpu_catches_up(void **state)
{
	struct vcpu other = { .vm = &fake_vm };

	(void)state;
	assert_int_equal(fake_vm.tables.count, 0);
	core.ops.flush(&fake_vm);
	assert_true(fake_vcpu.tables_seen != fake_vm.tables.count);
	vm_tables_catch_up(&fake_vcpu);
	assert_true(fake_vcpu.tables_seen == fake_vm.tables.count);
	vm_tables_flush(&fake_vm, FLUSH_NESTED);
	core.ops.flush(&fake_vm);
	core.ops.intercept_invlpg(&fake_vm, true);
	vm_tables_catch_up(&fake_vcpu);
	assert_int_equal(fake_hw.flushes, 2);
	assert_int_equal(fake_hw.nested_flushes, 1);
	assert_true(other.tables_seen != fake_vm.tables.count);
	vm_tables_catch_up(&other);
	assert_int_equal(fake_hw.flushes, 3);
	assert_int_equal(fake_hw.nested_flushes, 2);
	assert_true(other.invlpg_exits);
}

static uint64_t at_begin;

/* What memory holds when the shadow is told that it will be written to. */
static void look_at_begin(void)
{
	gmem_phys_read(&fake_vm, GPA(0x6ff8), &at_begin, 8);
}

/* Its own marks in the guest's tables it knows of; others' it is told of, and of all else that is
 * written before it is. */
static void test_told_of_writes(void **state)
{
	const uint64_t zero = 0, val = 1, other = 2;

	(void)state;
	assert_true(core.ops.guest_mem->cmpxchg(core.ops.guest_mem->ctx, 0x5008, 8, 0, 7));
	assert_int_equal(seen.writes, 0);
	assert_true(gmem_pt_mem(&fake_vm)->cmpxchg(&fake_vm, 0x5008, 8, 7, 0x27));
	assert_int_equal(seen.writes, 1);
	assert_int_equal(seen.gpa.v, 0x5008);
	assert_int_equal(seen.size, 8);
	assert_false(gmem_pt_mem(&fake_vm)->cmpxchg(&fake_vm, 0x5008, 8, 7, 0x27));
	assert_int_equal(seen.writes, 1);
	seen.on_begin = look_at_begin;
	at_begin = 7;
	gmem_phys_write(&fake_vm, GPA(0x6ff8), &val, 8);
	assert_int_equal(seen.begins, 1);
	assert_int_equal(seen.gpa.v, 0x6ff8);
	assert_int_equal(at_begin, 0);
	assert_false(gmem_phys_replace(&fake_vm, GPA(0x6ff8), &zero, &other, 8));
	assert_true(gmem_phys_replace(&fake_vm, GPA(0x6ff8), &val, &other, 8));
	assert_int_equal(at_begin, 1);
	assert_int_equal(seen.begins, 3);
	seen.on_begin = NULL;
	gmem_phys_write(&fake_vm, GPA(DEVICE), &val, 8);
	assert_int_equal(seen.begins, 3);
	assert_int_equal(seen.writes, 1);
	assert_int_equal(inspect_write_gpa(&fake_vm, GPA(0x7ffd), &val, 5), 5);
	assert_int_equal(seen.writes, 2);
	assert_int_equal(seen.gpa.v, 0x7ffd);
	assert_int_equal(seen.size, 5);
	assert_int_equal(inspect_write_gpa(&fake_vm, GPA(DEVICE), &val, 8), 0);
	assert_int_equal(seen.writes, 2);
}

/* An accessed or busy bit in a descriptor table that shares its page with the guest's tables. */
static void test_told_of_descriptors(void **state)
{
	const uint64_t desc = UINT64_C(0x00cf92000000ffff);
	struct guest_fault fault;
	uint64_t now;

	(void)state;
	fake_hw.reg[REG_CR0] = CR0_PE | CR0_ET;
	gmem_phys_write(&fake_vm, GPA(0x6ff8), &desc, 8);
	seen.on_begin = look_at_begin;
	seen.begins = 0;
	at_begin = 0;
	assert_true(desc_change_type(&fake_vcpu, GVA(0x6ff8), DESC_TYPE_ACCESSED,
				     DESC_TYPE_WRITABLE, &fault));
	assert_int_equal(seen.begins, 1);
	assert_int_equal(seen.gpa.v, 0x6ffd);
	assert_int_equal(seen.size, 1);
	assert_int_equal(at_begin, desc);
	gmem_phys_read(&fake_vm, GPA(0x6ff8), &now, 8);
	assert_int_equal(now, UINT64_C(0x00cf91000000ffff));
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
	vm_tables_catch_up(&fake_vcpu);
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

/* --- a guest that does not page, where nested tables can run it --- */

/* The VM with both kinds of tables; its RAM is its own. */
static void both_tables(void)
{
	const struct region r = { .start = GPA(0), .size = 0x3000, .kind = REGION_MEM };
	struct region own = r;

	vm_tables_destroy(&fake_vm);
	fake_nested_unpaged = true;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	memmap_init(&fake_vm.mem);
	own.owned = true;
	own.order = 2;
	own.frames = frame_alloc_zeroed(2, FRAME_VM0);
	assert_int_equal(vm_add_region(&fake_vm, &own), 0);
	vm_tables_attach(&fake_vcpu);
}

static void done_with_both(void)
{
	vm_tables_destroy(&fake_vm);
	vm_free_memory(&fake_vm);
	assert_false(fake_vm.has_nested);
}

static void paging(bool on)
{
	fake_hw.reg[REG_EFER] = 0;
	fake_hw.seg[SEG_CS].attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | 0xb;
	fake_hw.reg[REG_CR4] = 0;
	assert_true(cr_write(&fake_vcpu, 0, CR0_PE | (on ? CR0_PG : 0)));
	if (fake_vcpu.stale & VCPU_STALE_ROOT)
		assert_true(vm_shadow_load(&fake_vcpu));
	assert_int_equal(fake_vcpu.stale & VCPU_STALE_ROOT, 0);
}

static void expect_root(enum root_kind kind)
{
	uint64_t root = kind == ROOT_SHADOW ? seen.root.v : fake_vm.nested.root.v;

	assert_int_equal(fake_hw.root_kind, kind);
	assert_int_equal(fake_hw.root.v, root);
	assert_int_equal(vm_shadow_translates(&fake_vcpu), kind == ROOT_SHADOW);
}

static void test_unpaged_on_nested(void **state)
{
	(void)state;
	both_tables();
	paging(false);
	expect_root(ROOT_NESTED);
	assert_int_equal(seen.leaves, 1);
	assert_int_equal(seen.loads, 0);
	/* What it writes meanwhile the shadow need not know; nor is it forgotten again. */
	fake_vcpu.stale |= VCPU_STALE_ROOT;
	assert_true(vm_shadow_load(&fake_vcpu));
	assert_int_equal(seen.leaves, 1);
	paging(true);
	expect_root(ROOT_SHADOW);
	assert_int_equal(seen.loads, 1);
	assert_int_equal(seen.leaves, 1);
	paging(false);
	expect_root(ROOT_NESTED);
	assert_int_equal(seen.leaves, 2);
	done_with_both();
}

/* No root, no nested table: the shadow is all there is. */
static void test_unpaged_on_shadow(void **state)
{
	(void)state;
	vm_tables_attach(&fake_vcpu);
	paging(false);
	expect_root(ROOT_SHADOW);
	assert_int_equal(seen.leaves, 0);
	assert_false(fake_vm.has_nested);
}

/* Nobody writes unseen what others run by: then the core delivers real mode's events. */
static void test_unpaged_beside_others(void **state)
{
	(void)state;
	vm_tables_destroy(&fake_vm);
	fake_nested_unpaged = true;
	cfg.vcpus = 2;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	assert_false(fake_vm.has_nested);
	assert_false(vm_tables_run_real_mode(&fake_vm));
	vm_tables_attach(&fake_vcpu);
	paging(false);
	expect_root(ROOT_SHADOW);
	assert_false(vcpu_core_delivers(&fake_vcpu));
	fake_hw.reg[REG_CR0] = 0;
	assert_true(vcpu_core_delivers(&fake_vcpu));
	vm_tables_destroy(&fake_vm);

	cfg.vcpus = 1;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	assert_true(fake_vm.has_nested && vm_tables_run_real_mode(&fake_vm));
	assert_false(vcpu_core_delivers(&fake_vcpu));
	vm_tables_destroy(&fake_vm);

	/* Under nested paging each vCPU has its own real mode, and no root of an earlier life. */
	cfg.vcpus = 2;
	cfg.paging = PAGING_NESTED;
	fake_vm.tables.roots = fake_vm.tables.count = 7;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	fake_vcpu.stale = 0;
	fake_vcpu.tables_seen = 0;
	vm_tables_catch_up(&fake_vcpu);
	assert_int_equal(fake_vcpu.stale, 0);
	assert_true(fake_vm.has_nested && vm_tables_run_real_mode(&fake_vm));
	vm_tables_destroy(&fake_vm);

	/* SVM has it in a shadow, too. */
	fake_nested_unpaged = false;
	cfg.paging = PAGING_SHADOW;
	assert_int_equal(vm_tables_create(&fake_vm), 0);
	assert_true(!fake_vm.has_nested && vm_tables_run_real_mode(&fake_vm));
	fake_real_mode = false;
	assert_false(vm_tables_run_real_mode(&fake_vm));
	fake_real_mode = true;
}

static bool nested_has(uint64_t gpa)
{
	unsigned rights;
	uint64_t size;
	hpa_t pa;

	return nested_lookup(&fake_vm.nested, GPA(gpa), &pa, &rights, &size);
}

/* The memory map's changes reach both, and the TLBs lose what the nested ones gave. */
static void test_both_follow_the_map(void **state)
{
	unsigned nested;

	(void)state;
	core.ops.flush(&fake_vm);
	assert_int_equal(fake_hw.nested_flushes, 0);
	assert_int_equal(vm_hook(&fake_vm, GPA(0x1000), 0x1000, REGION_HOOK), 0);
	assert_int_equal(fake_hw.nested_flushes, 0); /* there are none */
	assert_int_equal(vm_unhook(&fake_vm, GPA(0x1000), 0x1000), 0);
	both_tables();
	assert_true(nested_has(0x1000));
	vm_tables_catch_up(&fake_vcpu);
	nested = fake_hw.nested_flushes;
	seen.forgets = 0;
	assert_int_equal(vm_hook(&fake_vm, GPA(0x1000), 0x1000, REGION_HOOK), 0);
	assert_false(nested_has(0x1000));
	assert_true(nested_has(0x2000));
	assert_int_equal(seen.forgets, 1);
	vm_tables_catch_up(&fake_vcpu);
	assert_true(fake_hw.nested_flushes > nested);
	done_with_both();
}

static int read_sevens(void *ctx, uint64_t offset, void *page)
{
	(void)ctx;
	(void)offset;
	memset(page, 7, PAGE_SIZE);
	return 0;
}

/* Faults of the nested tables are hardware's while these are in force, and no others. */
static void test_faults_on_nested(void **state)
{
	struct region disk = { .start = GPA(MIB(1)),
			       .size = 0x2000,
			       .kind = REGION_DISK,
			       .source = { .read = read_sevens } };

	(void)state;
	both_tables();
	vm_free_memory(&fake_vm);
	cfg.memory = MIB(1);
	assert_int_equal(vm_make_memory(&fake_vm), 0);
	assert_int_equal(vm_add_region(&fake_vm, &disk), 0);
	paging(false);
	assert_false(nested_has(MIB(1) + 0x1000));
	fake_vcpu.exit = (struct vm_exit){
		.kind = EXIT_NESTED_FAULT,
		.nested = { .gpa = GPA(MIB(1) + 0x1008), .read = true },
	};
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_true(nested_has(MIB(1) + 0x1000));
	assert_int_equal(fake_vcpu.regs.rip, 0x1000);
	/* INVLPG and page faults have nothing to do with the shadow. */
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_INVLPG, .insn_len = 3 };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.invlpgs, 0);
	assert_int_equal(fake_vcpu.regs.rip, 0x1003);
	fake_vcpu.exit =
		(struct vm_exit){ .kind = EXIT_PAGE_FAULT, .page_fault = { GVA(0x5000), PF_W } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(seen.faults, 0);
	assert_int_equal(fake_vcpu.events.pending.vector, VEC_PF);
	/* A hole in the tables where there is memory; none any more, it is tried again. */
	fake_vcpu.exit = (struct vm_exit){ .kind = EXIT_NESTED_FAULT,
					   .nested = { .gpa = GPA(0x2000), .write = true } };
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_NONE);
	assert_int_equal(vm_tables_unmap(&fake_vm, GPA(0x2000), PAGE_SIZE), 0);
	vm_exit_handle(&fake_vcpu);
	assert_int_equal(fake_vm.stop_reason, VM_STOP_ERROR);
	done_with_both();
}

/* PAE paging begins behind the nested tables: PDPTEs are still those that were loaded. */
static void test_pdptes_after_nested(void **state)
{
	static const uint64_t pdpte[4] = { 0x1001, 0x2001, 0x2001, 0x1001 };
	struct guest_paging gp;

	(void)state;
	both_tables();
	fake_vm.backend = &fake_backend_pdptes_ops;
	paging(false);
	fake_hw.reg[REG_CR4] = CR4_PAE;
	fake_hw.reg[REG_CR3] = 0x2000;
	assert_true(memmap_write(&fake_vm.mem, GPA(0x2000), pdpte, sizeof(pdpte)));
	fake_hw.pdpte[1] = 0x7001;
	assert_true(cr_write(&fake_vcpu, 0, CR0_PE | CR0_PG));
	vcpu_guest_paging(&fake_vcpu, &gp); /* before the shadow has its root */
	assert_memory_equal(gp.pdpte, pdpte, sizeof(pdpte));
	assert_true(vm_shadow_load(&fake_vcpu));
	assert_memory_equal(seen.gp.pdpte, pdpte, sizeof(pdpte));
	done_with_both();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mode),
		TEST(test_limit),
		TEST(test_resolve),
		TEST(test_resolve_disk),
		TEST(test_resolve_apic),
		TEST(test_pages_and_owners),
		TEST(test_intercept_and_flush),
		TEST(test_every_vcpu_catches_up),
		TEST(test_told_of_writes),
		TEST(test_told_of_descriptors),
		TEST(test_forgets),
		TEST(test_load),
		TEST(test_unpaged_on_nested),
		TEST(test_unpaged_on_shadow),
		TEST(test_unpaged_beside_others),
		TEST(test_both_follow_the_map),
		TEST(test_faults_on_nested),
		TEST(test_pdptes_after_nested),
		TEST(test_what_changes_the_root),
		TEST(test_pdptes_are_kept),
		TEST(test_pcid_needs_the_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
