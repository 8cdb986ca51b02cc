/*
 * A guest that means harm, on its shadow: tables that refer to each other in any way, registers,
 * faults anywhere, memory that comes and goes, hardly any memory for shadow pages, and none at
 * times. After each step the auditor is content, no entry leads out of the VM's memory, the
 * bound holds, and the step took no longer than it may.
 */
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/shadow.h"
#include "paging/shadow_core.h"
#include "tests/fuzz/world.h"

/* The guest's memory: scattered frames, ROM, nothing, and 2 MiB in one piece. */
#define RAM 16u
#define ROM 16u
#define HOLE 17u
#define SMALL 18u
#define LARGE_FIRST 512u
#define PAGES 1024u
#define FRAMES_HPA UINT64_C(0x40000000)
#define TABLES_HPA UINT64_C(0x10000000)
#define TABLES 256u
#define STEPS 24
#define TRIES 64
#define MOST_CALLS 200000u

static struct {
	_Alignas(4096) uint8_t page[PAGES][PAGE_SIZE];
	bool written[PAGES], gone[PAGES], hooked[PAGES];
	uint64_t *table[TABLES];
	unsigned nr_tables, fail_after, calls;
	int64_t bytes;
	struct shadow *s;
	struct shadow_vcpu sv;
	struct guest_paging gp;
	hpa_t root;
	bool failed; /* an allocation did, in this step */
} v;

/* --- memory --- */

static bool is_there(uint64_t page)
{
	return (page < SMALL && page != HOLE) || page - LARGE_FIRST < PAGES - LARGE_FIRST;
}

/* The frame of a page; the small ones' lie apart. */
static uint64_t frame_of(uint64_t page)
{
	return page < SMALL ? page * 5 % 32 : page;
}

static uint64_t page_of(uint64_t frame)
{
	for (uint64_t page = 0; page < SMALL; page++)
		if (frame_of(page) == frame)
			return page;
	return frame >= LARGE_FIRST ? frame : PAGES;
}

static bool is_writable(uint64_t page)
{
	return page != ROM && !v.hooked[page];
}

/* The page of a frame that is the VM's now, or PAGES. */
static uint64_t page_at(uint64_t hpa)
{
	uint64_t page = hpa - FRAMES_HPA < PAGES * PAGE_SIZE
				? page_of((hpa - FRAMES_HPA) / PAGE_SIZE)
				: PAGES;

	return page < PAGES && is_there(page) && !v.gone[page] ? page : PAGES;
}

/* As the memory map does, ROM and what is hooked take the write and stay as they are. */
static void put(uint64_t gpa, unsigned size, uint64_t val)
{
	uint64_t page = gpa / PAGE_SIZE;

	if (page >= PAGES || !is_there(page) || v.gone[page] || !is_writable(page))
		return;
	v.written[page] = true;
	memcpy(&v.page[page][gpa % PAGE_SIZE], &val, size);
}

static bool guest_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	uint64_t page = pa / PAGE_SIZE;

	(void)ctx;
	v.calls++;
	expect(IS_ALIGNED(pa, size));
	if (page >= PAGES || !is_there(page) || v.gone[page])
		return false;
	*val = 0;
	memcpy(val, &v.page[page][pa % PAGE_SIZE], size);
	return true;
}

static bool guest_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	uint64_t is;

	if (!guest_read(ctx, pa, size, &is) || is != old)
		return false;
	put(pa, size, val);
	return true;
}

static bool resolve(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out)
{
	uint64_t page = gpa.v / PAGE_SIZE, first = page, last = page;

	(void)ctx;
	(void)touch;
	v.calls++;
	out->away = false;
	if (page >= PAGES || !is_there(page) || v.gone[page])
		return false;
	while (page >= LARGE_FIRST && first > LARGE_FIRST && !v.gone[first - 1] &&
	       v.hooked[first - 1] == v.hooked[page])
		first--;
	while (page >= LARGE_FIRST && last + 1 < PAGES && !v.gone[last + 1] &&
	       v.hooked[last + 1] == v.hooked[page])
		last++;
	*out = (struct shadow_target){
		.start = first * PAGE_SIZE,
		.size = (last - first + 1) * PAGE_SIZE,
		.pa = HPA(FRAMES_HPA + frame_of(first) * PAGE_SIZE),
		.writable = is_writable(page),
	};
	return true;
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	v.calls++;
	for (uint64_t i = 0; i < size; i += PAGE_SIZE)
		if (page_at(pa.v + i) == PAGES)
			return false;
	return true;
}

/* --- the hypervisor's memory --- */

static bool fails(void)
{
	v.failed |= !v.fail_after;
	return !v.fail_after || !v.fail_after--;
}

static hpa_t page_alloc(void *ctx, bool low)
{
	(void)ctx;
	(void)low;
	if (fails())
		return HPA(0);
	for (unsigned i = 0; i < TABLES; i++) {
		if (v.table[i])
			continue;
		v.table[i] = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
		memset(v.table[i], 0, PAGE_SIZE);
		v.nr_tables++;
		return HPA(TABLES_HPA + i * PAGE_SIZE);
	}
	return HPA(0);
}

static uint64_t *table_at(uint64_t hpa)
{
	return hpa - TABLES_HPA < TABLES * PAGE_SIZE ? v.table[(hpa - TABLES_HPA) / PAGE_SIZE]
						     : NULL;
}

static void page_free(void *ctx, hpa_t pa)
{
	(void)ctx;
	expect(table_at(pa.v));
	free(table_at(pa.v));
	v.table[(pa.v - TABLES_HPA) / PAGE_SIZE] = NULL;
	v.nr_tables--;
}

static void *get(void *ctx, size_t size)
{
	(void)ctx;
	if (fails())
		return NULL;
	v.bytes += (int64_t)size;
	return calloc(1, size);
}

static void give_back(void *ctx, void *p, size_t size)
{
	(void)ctx;
	v.bytes -= p ? (int64_t)size : 0;
	free(p);
}

static void *at_hpa(hpa_t pa)
{
	uint64_t *t = table_at(pa.v), page = page_at(pa.v);

	expect(t || page < PAGES);
	return t ? (uint8_t *)t + pa.v % PAGE_SIZE : &v.page[page][pa.v % PAGE_SIZE];
}

static void flush(void *ctx)
{
	(void)ctx;
}

static void flush_vcpu(struct shadow_vcpu *sv)
{
	(void)sv;
}

static void intercept_invlpg(void *ctx, bool on)
{
	(void)ctx;
	(void)on;
}

static const struct pt_mem guest_mem = { .read = guest_read, .cmpxchg = guest_cmpxchg };
static const struct shadow_ops ops = {
	.resolve = resolve,
	.may_map = may_map,
	.page_alloc = page_alloc,
	.page_free = page_free,
	.alloc = get,
	.free = give_back,
	.ptr = at_hpa,
	.flush = flush,
	.flush_vcpu = flush_vcpu,
	.intercept_invlpg = intercept_invlpg,
	.guest_mem = &guest_mem,
};

/* --- what the input says --- */

/* A few entries of each table are in use, at both ends. */
static unsigned take_slot(struct input *in)
{
	unsigned n = (unsigned)take(in, 1);

	return n & 4 ? 511 - (n & 3) : n & 3;
}

static uint64_t take_gpa(struct input *in)
{
	unsigned n = (unsigned)take(in, 1);

	return (n < 192 ? n % SMALL : n < 240 ? LARGE_FIRST + n % 4 : n * 31) * PAGE_SIZE;
}

static uint64_t take_entry(struct input *in)
{
	uint64_t flags = take(in, 2), e = (flags & BITS(11, 0)) | take_gpa(in);

	e |= flags & BIT(15) ? BIT(63) : 0;
	return flags & BIT(14) ? e ^ take(in, 8) : e;
}

static unsigned nr_levels(void)
{
	return !(v.gp.efer & EFER_LMA) ? 3 : v.gp.cr4 & CR4_LA57 ? 5 : 4;
}

static uint64_t take_address(struct input *in)
{
	uint64_t va = take(in, 2) & BITS(11, 0);

	for (unsigned level = 0; level < nr_levels(); level++)
		va |= (uint64_t)take_slot(in) << (12 + 9 * level);
	if (nr_levels() == 3)
		return va & UINT32_MAX;
	return va & BIT(11 + 9 * nr_levels()) ? va | ~BITS(11 + 9 * nr_levels(), 0) : va;
}

static void take_tables(struct input *in)
{
	unsigned n = (unsigned)take(in, 1) % 48;

	for (unsigned i = 0; i < n; i++) {
		unsigned page = (unsigned)take(in, 1);
		uint64_t at = (page % RAM) * PAGE_SIZE + take_slot(in) * 8;

		put(at, 8, take_entry(in));
	}
}

/* --- hardware --- */

/* The entry that maps the address; *table: there is the table for it. 0: none. */
static uint64_t walk(uint64_t va, unsigned *level)
{
	unsigned levels = nr_levels();
	uint64_t at = v.root.v;

	for (*level = levels - 1;; --*level) {
		const uint64_t *t = table_at(at);
		unsigned slot = (va >> (12 + 9 * *level)) & (levels == 3 && *level == 2 ? 3 : 511);

		expect(t);
		if (!(t[slot] & SPTE_P))
			return 0;
		at = t[slot] & SPTE_ADDR;
		if (!table_at(at))
			return t[slot];
		expect(*level);
	}
}

/* The write that has been let through. */
static void write_there(uint64_t va, uint64_t val)
{
	unsigned level;
	uint64_t e = walk(va, &level), mask = BIT(12 + 9 * level) - 1;
	uint64_t hpa = (e & SPTE_ADDR & ~mask) | (va & mask), page = page_at(hpa);

	expect(page < PAGES && is_writable(page));
	put(page * PAGE_SIZE + (hpa & (PAGE_SIZE - 8)), 8, val);
}

/* --- steps --- */

static void load(void)
{
	v.root = shadow_load(&v.sv, &v.gp);
	expect(table_at(v.root.v));
}

static void step_registers(struct input *in)
{
	unsigned how = (unsigned)take(in, 1), bits = (unsigned)take(in, 1);
	bool lm = (how & 7) > 2;

	v.gp.cr0 = CR0_PE | ((how & 7) ? CR0_PG : 0) | (how & 8 ? CR0_WP : 0);
	v.gp.cr4 = (bits & 1 ? CR4_PSE : 0) | (bits & 2 ? CR4_PGE : 0) | (bits & 4 ? CR4_SMEP : 0) |
		   (bits & 8 ? CR4_SMAP : 0) | (bits & 16 ? CR4_PKE : 0) |
		   ((how & 7) > 1 ? CR4_PAE : 0) | ((how & 7) > 5 ? CR4_LA57 : 0);
	v.gp.efer = (lm ? EFER_LMA | EFER_LME : 0) | (bits & 32 ? EFER_NXE : 0);
	v.gp.cr3 = take_gpa(in);
	for (unsigned i = 0; (how & 7) == 2 && i < 4; i++)
		v.gp.pdpte[i] = take_gpa(in) | (bits >> 6 & 1);
	load();
}

/* Half of them are given to the one for several vCPUs first. */
static enum shadow_result handle_fault(uint64_t va, uint32_t error, uint64_t rip, uint64_t rflags,
				       uint32_t pkru, struct shadow_outcome *o)
{
	unsigned cpl = error & PF_U ? 3 : 0;
	enum shadow_result result = SHADOW_ALONE;

	if (rip & 8)
		result = shadow_fault_shared(&v.sv, GVA(va), error, rip, rflags, cpl, pkru, o);
	if (result != SHADOW_ALONE)
		return result;
	return shadow_fault(&v.sv, GVA(va), error, rip, rflags, cpl, pkru, o);
}

static void step_fault(struct input *in)
{
	unsigned how = (unsigned)take(in, 1), again = how >> 4 & 3, tries = 0, level;
	uint32_t error = (how & 1 ? PF_W : how & 2 ? PF_I : 0) | (how & 4 ? PF_U : 0);
	uint64_t va = take_address(in), rip = 0x1000 + (how >> 6) * 8, val = take_entry(in);
	uint64_t rflags = RFLAGS_FIXED | (how & 8 ? RFLAGS_AC : 0), e;
	enum shadow_result result;

	do {
		struct shadow_outcome o = { 0 };

		e = walk(va, &level);
		result = handle_fault(va, error | (e ? PF_P : 0), rip, rflags,
				      (uint32_t)take(in, 1), &o);
		if (result == SHADOW_REFLECT)
			expect(o.fault.vector == VEC_PF && o.fault.cr2 == va);
		e = walk(va, &level);
		expect(tries++ < TRIES);
	} while (result == SHADOW_RESUME && (again-- % 4 || !e || (how & 1 && !(e & SPTE_W))) &&
		 !v.failed);
	if (result == SHADOW_RESUME && (how & 1) && (e & SPTE_W))
		write_there(va, val);
}

static void step_written(struct input *in)
{
	uint64_t gpa = take_gpa(in) + take_slot(in) * 8;

	shadow_write_begins(v.s, GPA(gpa), 8);
	put(gpa, 8, take_entry(in));
}

static void step_forget(struct input *in)
{
	uint64_t page = take_gpa(in) / PAGE_SIZE, n = take(in, 1);
	unsigned how = (unsigned)take(in, 1);

	n = how & 0x80 ? n * 9 : n % 2;
	for (uint64_t i = page; i < PAGES && i <= page + n; i++) {
		v.gone[i] = how & 1;
		v.hooked[i] = how & 2;
	}
	shadow_forget(v.s, GPA(page * PAGE_SIZE), (n + 1) * PAGE_SIZE);
	load();
}

static void step(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);

	v.calls = 0;
	v.failed = false;
	v.fail_after = how & 0x80 ? (how >> 3 & 15) : UINT32_MAX;
	switch (how & 7) {
	case 0:
		step_registers(in);
		break;
	case 1:
		step_written(in);
		break;
	case 2:
		step_forget(in);
		break;
	case 3:
		shadow_invlpg(&v.sv, GVA(take_address(in)));
		break;
	default:
		step_fault(in);
		break;
	}
}

/* --- after each --- */

static void check(void)
{
	char why[256];

	expect(v.calls < MOST_CALLS);
	expect(shadow_bytes(v.s) <= v.s->max_pages * PAGE_SIZE);
	if (!shadow_audit(v.s, why, sizeof(why)))
		world_fail(__FILE__, __LINE__, why);
	for (unsigned i = 0; i < TABLES; i++)
		for (unsigned slot = 0; v.table[i] && slot < SPTES; slot++) {
			uint64_t e = v.table[i][slot], page;

			if (!(e & SPTE_P) || table_at(e & SPTE_ADDR))
				continue;
			page = page_at(e & SPTE_ADDR);
			expect(page < PAGES && (is_writable(page) || !(e & SPTE_W)));
		}
	for (uint32_t i = 1; i < v.s->nr_sps; i++)
		expect(!v.s->sp[i].pins && (!v.s->sp[i].orphan || v.s->sp[i].roots));
}

static void clear(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (v.written[i])
			memset(v.page[i], 0, PAGE_SIZE);
	memset(v.written, 0, sizeof(v.written));
	memset(v.gone, 0, sizeof(v.gone));
	memset(v.hooked, 0, sizeof(v.hooked));
	v.fail_after = UINT32_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned caps = (unsigned)take(&in, 1);

	clear();
	v.gp = (struct guest_paging){
		.cr0 = CR0_PE,
		.caps = {
			.maxphyaddr = caps & 1 ? 36 : 40,
			.page_1g = caps & 2,
			.pse36 = caps & 4,
			.nonleaf_g_rsvd = caps & 8,
		},
	};
	expect(!shadow_create(&v.s, &ops, &v.gp.caps, SHADOW_MIN));
	expect(!shadow_vcpu_init(&v.sv, v.s));
	/* Room for two ways down, or for many. */
	v.s->max_pages = caps & 0x80 ? SHADOW_MIN / PAGE_SIZE : 32 + (caps >> 4 & 7);
	take_tables(&in);
	load();
	for (unsigned i = 0; i < STEPS && in.left; i++) {
		step(&in);
		check();
	}
	shadow_destroy(v.s);
	expect(!v.nr_tables && !v.bytes);
	return 0;
}
