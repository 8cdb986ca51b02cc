#include "tests/host/shadow_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "tests/host/shadow_fixture.h"

struct mc mc;
bool mc_shares;

#define RETRIES 20u

void mc_fail(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fail_msg("%s: %s", mc.what ? mc.what : "", text);
	abort();
}

static bool paged(void)
{
	return mc.gp.cr0 & CR0_PG;
}

static bool long_mode(void)
{
	return paged() && (mc.gp.efer & EFER_LMA);
}

/* --- the processor's caches --- */

struct tlb {
	bool valid, w, u, x, dirty;
	unsigned key;
	uint64_t va, size, pa;
};
#define TLB_SETS 256
static const uint64_t tlb_sizes[3] = { KIB(4), MIB(2), GIB(1) };
static struct tlb tlb[3][TLB_SETS];

/* Entries that lead to tables, as they were when they were read. */
#define PSC_SETS 128
static struct psc {
	uint64_t pa, entry; /* pa 0: free */
} psc[PSC_SETS];

static uint64_t hw_pdpte[4];
static bool hw_pdpte_stale;

static struct tlb *tlb_at(unsigned size, uint64_t va)
{
	return &tlb[size][va / tlb_sizes[size] % 251];
}

static struct tlb *tlb_find(uint64_t va)
{
	for (unsigned i = 0; i < 3; i++) {
		struct tlb *t = tlb_at(i, va);

		if (t->valid && va - t->va < t->size)
			return t;
	}
	return NULL;
}

static void tlb_drop(uint64_t va)
{
	for (struct tlb *t; (t = tlb_find(va));)
		t->valid = false;
}

static void drop_own(void)
{
	memset(tlb, 0, sizeof(tlb));
	memset(psc, 0, sizeof(psc));
	hw_pdpte_stale = true;
}

/* --- the vCPUs that are not on now --- */

static struct {
	bool made;
	struct shadow_vcpu sv;
	struct guest_paging gp;
	unsigned cpl;
	bool ac;
	uint64_t rip;
	hpa_t root;
	struct tlb tlb[3][TLB_SETS];
	struct psc psc[PSC_SETS];
} others[MC_VCPUS];
static unsigned current;

static void drop_all(void)
{
	drop_own();
	for (unsigned i = 0; i < MC_VCPUS; i++) {
		memset(others[i].tlb, 0, sizeof(tlb));
		memset(others[i].psc, 0, sizeof(psc));
	}
}

static void flush_all(void)
{
	if (mc.on_flush)
		mc.on_flush();
	drop_all();
}

static void drop_vcpu(const struct shadow_vcpu *sv)
{
	if (sv == &mc.sv)
		drop_own();
}

void mc_switch(unsigned vcpu)
{
	typeof(others[0]) *from = &others[current], *to = &others[vcpu];

	if (vcpu == current)
		return;
	from->made = true;
	from->sv = mc.sv;
	from->gp = mc.gp;
	from->cpl = mc.cpl;
	from->ac = mc.ac;
	from->rip = mc.rip;
	from->root = mc.root;
	memcpy(from->tlb, tlb, sizeof(tlb));
	memcpy(from->psc, psc, sizeof(psc));
	current = vcpu;
	memcpy(tlb, to->tlb, sizeof(tlb));
	memcpy(psc, to->psc, sizeof(psc));
	hw_pdpte_stale = true;
	if (!to->made) {
		assert_int_equal(shadow_vcpu_init(&mc.sv, mc.s), 0);
		mc.gp = (struct guest_paging){ .cr0 = CR0_PE, .caps = mc.gp.caps };
		mc.rip = 0x1000;
		mc_load();
		return;
	}
	mc.sv = to->sv;
	mc.gp = to->gp;
	mc.cpl = to->cpl;
	mc.ac = to->ac;
	mc.rip = to->rip;
	mc.root = to->root;
}

unsigned mc_tlb_entries(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < TLB_SETS; k++)
			n += tlb[i][k].valid;
	return n;
}

/* --- its walk --- */

struct hw_read {
	uint64_t pa, entry;
};
static struct hw_read hw_path[PT_MAX_LEVELS];
static unsigned hw_reads, hw_levels;

static uint64_t hw_entry(void *ctx, uint64_t pa, unsigned size)
{
	struct psc *c = &psc[pa / 8 % 127];
	uint64_t *t = fx_table(pa), e;

	(void)ctx;
	assert_int_equal(size, 8);
	if (c->pa == pa) {
		e = c->entry;
	} else {
		if (!t)
			mc_fail("hardware walks a table at %#llx, which is no page of the shadow's",
				(unsigned long long)pa);
		e = t[pa % PAGE_SIZE / 8];
	}
	if (hw_reads < PT_MAX_LEVELS)
		hw_path[hw_reads++] = (struct hw_read){ pa, e };
	return e;
}

static void hw_cpu(struct oracle_cpu *c)
{
	*c = (struct oracle_cpu){
		.maxphyaddr = mc.maxphyaddr,
		.page_1g = fx.caps.page_1g,
		.amd_bit8 = fx.caps.nonleaf_g_rsvd,
		.strict_pdpte = true,
		.wp = true,
		.nxe = true,
		.pae = true,
		.ac = mc.ac,
		.smep = paged() && (mc.gp.cr4 & CR4_SMEP),
		.smap = paged() && (mc.gp.cr4 & CR4_SMAP),
		.pke = paged() && (mc.gp.cr4 & CR4_PKE),
		.lma = long_mode(),
		.pkru = mc.gp.pkru,
		.cr3 = mc.root.v,
		.read = hw_entry,
	};
	memcpy(c->pdpte, hw_pdpte, sizeof(hw_pdpte));
}

static void hw_load_pdptes(void)
{
	struct oracle_cpu c;
	uint64_t *t = fx_table(mc.root.v);

	hw_cpu(&c);
	if (!t)
		mc_fail("the root %#llx is no page of the shadow's", (unsigned long long)mc.root.v);
	for (unsigned i = 0; i < 4; i++) {
		hw_pdpte[i] = t[mc.root.v % PAGE_SIZE / 8 + i];
		if (!oracle_pdpte_ok(&c, hw_pdpte[i]))
			mc_fail("hardware refuses the PDPTE %#llx",
				(unsigned long long)hw_pdpte[i]);
	}
	hw_pdpte_stale = false;
}

static void hw_walk(uint64_t va, struct oracle_access a, struct oracle_result *res)
{
	struct oracle_cpu c;

	if (hw_pdpte_stale && !long_mode())
		hw_load_pdptes();
	hw_cpu(&c);
	hw_reads = 0;
	hw_levels = !long_mode() ? 2 : mc.gp.cr4 & CR4_LA57 ? 5 : 4;
	if (hw_levels == 5)
		oracle_5level(&c, va, a, res);
	else if (hw_levels == 4)
		oracle_4level(&c, va, a, res);
	else
		oracle_pae(&c, va, a, res);
}

/* What a good walk leaves behind: the caches. */
static struct tlb *hw_remember(uint64_t va, const struct oracle_result *res)
{
	unsigned size = res->size == KIB(4) ? 0 : res->size == MIB(2) ? 1 : 2;
	struct tlb *t = tlb_at(size, va);

	/* The shadow changes its entries at any time, and loses no mark that way. */
	if (res->nr_writes)
		mc_fail("hardware has to mark the shadow's entry at %#llx",
			(unsigned long long)res->write[0].pa);
	for (unsigned i = 0; i + 1 < hw_reads; i++)
		psc[hw_path[i].pa / 8 % 127] =
			(struct psc){ hw_path[i].pa, hw_path[i].entry | BIT(5) };
	*t = (struct tlb){
		.valid = true,
		.w = res->w,
		.u = res->u,
		.x = res->x,
		.dirty = res->dirty,
		.key = hw_path[hw_reads - 1].entry >> 59 & 15,
		.va = ALIGN_DOWN(va, res->size),
		.size = res->size,
		.pa = ALIGN_DOWN(res->pa, res->size),
	};
	return t;
}

/* A fault drops what was cached on its way. */
static void hw_forget(uint64_t va)
{
	tlb_drop(va);
	for (unsigned i = 0; i < hw_reads; i++)
		psc[hw_path[i].pa / 8 % 127].pa = 0;
}

/* Does a cached translation let the access pass? Else the bits of the error code. */
static bool tlb_passes(const struct tlb *t, struct oracle_access a, uint32_t *error)
{
	bool user = a.user && !a.implicit, ok, key = true;
	unsigned denied = mc.gp.pkru >> (2 * t->key) & 3;

	ok = a.fetch ? t->x : !a.write || t->w;
	if (user)
		ok = ok && t->u;
	else if (t->u && a.fetch)
		ok = ok && !(mc.gp.cr4 & CR4_SMEP && paged());
	else if (t->u && (mc.gp.cr4 & CR4_SMAP) && paged())
		ok = ok && mc.ac && !a.implicit;
	if (long_mode() && (mc.gp.cr4 & CR4_PKE) && t->u && !a.fetch)
		key = !(denied & 1) && !(a.write && (denied & 2));
	*error = PF_P | (a.write ? PF_W : 0) | (user ? PF_U : 0) | (a.fetch ? PF_I : 0) |
		 (key ? 0 : PF_PK);
	return ok && key;
}

/* False: *error is the page fault's. */
static bool hw_translate(uint64_t va, struct oracle_access a, uint64_t *pa, uint32_t *error)
{
	struct tlb *t = tlb_find(va);
	struct oracle_result res;

	hw_reads = 0;
	if (t && !tlb_passes(t, a, error)) {
		if (!mc.refetch) {
			hw_walk(va, (struct oracle_access){ 0 }, &res);
			hw_forget(va);
			return false;
		}
		t = NULL;
	}
	if (t && a.write && !t->dirty)
		t = NULL;
	if (!t) {
		hw_walk(va, a, &res);
		if (!res.ok) {
			*error = res.error;
			hw_forget(va);
			return false;
		}
		tlb_drop(va);
		t = hw_remember(va, &res);
	}
	*pa = t->pa + (va - t->va);
	return true;
}

/* --- the guest's processor --- */

void mc_load(void)
{
	mc.gp.rflags = RFLAGS_FIXED | (mc.ac ? RFLAGS_AC : 0);
	mc.root = shadow_load(&mc.sv, &mc.gp);
	if (!fx_table(mc.root.v))
		mc_fail("the root %#llx is no page of the shadow's", (unsigned long long)mc.root.v);
	if (!long_mode() && mc.root.v > UINT32_MAX)
		mc_fail("the root %#llx does not fit into a 32-bit CR3",
			(unsigned long long)mc.root.v);
	hw_pdpte_stale = true;
}

void mc_registers(enum pt_kind kind, uint64_t cr3, uint64_t cr4, bool nxe)
{
	bool lm = kind == PT_4LEVEL || kind == PT_5LEVEL;

	mc.gp = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | CR0_WP,
		.cr3 = cr3,
		.cr4 = cr4 | (kind == PT_32 ? 0 : CR4_PAE) | (kind == PT_5LEVEL ? CR4_LA57 : 0),
		.efer = (lm ? EFER_LME | EFER_LMA : 0) | (nxe ? EFER_NXE : 0),
		.caps = fx.caps,
	};
	if (kind == PT_PAE)
		mc_load_pdptes(cr3);
}

static void guest_cpu(struct oracle_cpu *c);

bool mc_load_pdptes(uint64_t cr3)
{
	struct oracle_cpu c;
	uint64_t e[4];

	guest_cpu(&c);
	for (unsigned i = 0; i < 4; i++) {
		e[i] = fx_model_get((cr3 & BITS(31, 5)) + 8 * i, 8);
		if (!oracle_pdpte_ok(&c, e[i]))
			return false;
	}
	memcpy(mc.gp.pdpte, e, sizeof(e));
	return true;
}

void mc_invlpg(uint64_t va)
{
	if (fx.invlpg_exits) {
		shadow_invlpg(&mc.sv, GVA(va));
	} else {
		tlb_drop(va);
		memset(psc, 0, sizeof(psc));
	}
}

static bool leads_to_page(const struct psc *p, uint64_t hpa)
{
	for (unsigned i = 0; i < PSC_SETS; i++)
		if (p[i].pa && (p[i].entry & BITS(51, 12)) == hpa)
			return true;
	return false;
}

/* A table page is given back: does a vCPU know a way to it? */
static void page_goes(uint64_t hpa)
{
	if (!mc.s)
		return;
	for (unsigned i = 0; i < MC_VCPUS; i++)
		if (i == current ? leads_to_page(psc, hpa)
				 : leads_to_page(others[i].psc, hpa) ||
					   (others[i].made && others[i].sv.root &&
					    others[i].root.v == hpa))
			mc_fail("table page %#llx is given back, and vCPU %u knows a way to it",
				(unsigned long long)hpa, i);
}

void mc_start(const struct pt_caps *caps, uint64_t max_bytes)
{
	fx_reset(caps);
	memset(&mc, 0, sizeof(mc));
	drop_all();
	memset(others, 0, sizeof(others));
	current = 0;
	fx.on_flush = flush_all;
	fx.on_flush_vcpu = drop_vcpu;
	fx.on_page_free = page_goes;
	mc.maxphyaddr = MAX(caps->maxphyaddr, 40u);
	mc.rip = 0x1000;
	mc.s_max = max_bytes;
	assert_int_equal(shadow_create(&mc.s, &fx_ops, caps, max_bytes), 0);
	assert_int_equal(shadow_vcpu_init(&mc.sv, mc.s), 0);
	mc.gp = (struct guest_paging){ .cr0 = CR0_PE, .caps = *caps };
	mc_load();
}

void mc_stop(void)
{
	struct shadow *s = mc.s;

	mc.s = NULL;
	shadow_destroy(s);
	fx_check_empty();
}

/* --- the model --- */

static uint64_t model_entry(void *ctx, uint64_t pa, unsigned size)
{
	(void)ctx;
	if (mc.nr_walk < ARRAY_SIZE(mc.walk))
		mc.walk[mc.nr_walk++] = (struct mc_entry){ pa, size };
	if (mc.on_entry)
		mc.on_entry(pa);
	return fx_model_get(pa, size);
}

static void guest_cpu(struct oracle_cpu *c)
{
	*c = (struct oracle_cpu){
		.maxphyaddr = fx.caps.maxphyaddr,
		.page_1g = fx.caps.page_1g,
		.pse36 = fx.caps.pse36,
		.amd_bit8 = fx.caps.nonleaf_g_rsvd,
		.strict_pdpte = fx.caps.strict_pdpte,
		.wp = mc.gp.cr0 & CR0_WP,
		.pse = mc.gp.cr4 & CR4_PSE,
		.nxe = mc.gp.efer & EFER_NXE,
		.smep = mc.gp.cr4 & CR4_SMEP,
		.smap = mc.gp.cr4 & CR4_SMAP,
		.pke = mc.gp.cr4 & CR4_PKE,
		.pae = mc.gp.cr4 & CR4_PAE,
		.lma = mc.gp.efer & EFER_LMA,
		.ac = mc.ac,
		.pkru = mc.gp.pkru,
		.cr3 = mc.gp.cr3,
		.read = model_entry,
	};
	memcpy(c->pdpte, mc.gp.pdpte, sizeof(c->pdpte));
}

static void oracle(uint64_t va, struct oracle_access a, struct oracle_result *res)
{
	struct oracle_cpu c;

	mc.nr_walk = 0;
	guest_cpu(&c);
	if (!paged())
		*res = (struct oracle_result){ .ok = true,
					       .pa = va & UINT32_MAX,
					       .size = PAGE_SIZE };
	else if (c.lma && (mc.gp.cr4 & CR4_LA57))
		oracle_5level(&c, va, a, res);
	else if (c.lma)
		oracle_4level(&c, va, a, res);
	else if (c.pae)
		oracle_pae(&c, va, a, res);
	else
		oracle_32(&c, va, a, res);
	mc.walk_leaf = res->size != 0;
	mc.last = *res;
}

void mc_oracle(uint64_t va, bool write, bool fetch, bool user, struct oracle_result *res)
{
	oracle(va, (struct oracle_access){ .write = write, .fetch = fetch, .user = user }, res);
}

static struct oracle_access access_of(const struct mc_access *a)
{
	return (struct oracle_access){
		.write = a->write,
		.fetch = a->fetch,
		.user = mc.cpl == 3,
		.implicit = a->implicit,
	};
}

static bool device_at(uint64_t gpa, bool write)
{
	enum fx_kind k = fx_kind_at(gpa);

	return k == FX_NOTHING || (write && (k == FX_IS_ROM || fx_hooks(gpa)));
}

/* What should come of the instruction; the model's memory is changed so. */
static void run_model(struct mc_access *a, unsigned n, struct mc_result *out)
{
	unsigned entry_size = paged() && !(mc.gp.cr4 & CR4_PAE) ? 4 : 8;

	mc.nr_read = 0;
	*out = (struct mc_result){ .end = MC_DONE };
	for (unsigned i = 0; i < n; i++) {
		struct oracle_result res;

		oracle(a[i].va, access_of(&a[i]), &res);
		for (unsigned j = 0; j < mc.nr_walk; j++)
			mc.read[mc.nr_read++] = mc.walk[j];
		if (!res.ok) {
			*out = (struct mc_result){ MC_FAULT, .part = i, .error = res.error };
			return;
		}
		for (unsigned j = 0; j < res.nr_writes; j++)
			fx_model_put(res.write[j].pa, entry_size, res.write[j].val);
		if (device_at(res.pa, a[i].write) && out->end == MC_DONE)
			*out = (struct mc_result){ MC_DEVICE, .part = i, .gpa = res.pa };
		mc.read[mc.nr_read++] = (struct mc_entry){ res.pa, a[i].size };
		a[i].gpa = res.pa;
		if (a[i].write)
			fx_model_put(res.pa, a[i].size, a[i].val);
		else
			a[i].val = fx_model_get(res.pa, a[i].size);
	}
}

/* --- the guest on its shadow --- */

/* The hypervisor does the rest of the instruction, through the guest's tables. */
static void emulate(const struct mc_access *a, unsigned from, unsigned n, struct mc_result *out)
{
	struct guest_paging gp = mc.gp;

	gp.rflags = RFLAGS_FIXED | (mc.ac ? RFLAGS_AC : 0);
	for (unsigned i = from; i < n; i++) {
		struct guest_access how = { .write = a[i].write,
					    .fetch = a[i].fetch,
					    .user = mc.cpl == 3,
					    .implicit = a[i].implicit };
		struct guest_xlat x;
		struct guest_fault fault;

		if (!guest_translate(&gp, fx_ops.guest_mem, GVA(a[i].va), how, &x, &fault)) {
			*out = (struct mc_result){ MC_FAULT, .part = i, .error = fault.error };
			return;
		}
		if (!a[i].write)
			continue;
		shadow_write_begins(mc.s, x.gpa, a[i].size);
		fx_put(x.gpa.v, a[i].size, a[i].val);
		/* A device behind a hook may have written to memory that the guest can't. */
		shadow_written(mc.s, x.gpa, a[i].size);
	}
}

static void check_fault(const struct mc_access *a, const struct shadow_outcome *o)
{
	if (o->fault.vector != VEC_PF || !o->fault.has_error || o->fault.cr2 != a->va)
		mc_fail("reflected vector %u, has_error %d, CR2 %#llx instead of a page fault at "
			"%#llx",
			o->fault.vector, o->fault.has_error, (unsigned long long)o->fault.cr2,
			(unsigned long long)a->va);
}

static enum shadow_result handle(uint64_t va, uint32_t error, struct shadow_outcome *o)
{
	uint64_t rflags = RFLAGS_FIXED | (mc.ac ? RFLAGS_AC : 0);
	enum shadow_result result = SHADOW_ALONE;

	if (mc_shares)
		result = shadow_fault_shared(&mc.sv, GVA(va), error, mc.rip, rflags, mc.cpl,
					     mc.gp.pkru, o);
	if (result != SHADOW_ALONE)
		return result;
	return shadow_fault(&mc.sv, GVA(va), error, mc.rip, rflags, mc.cpl, mc.gp.pkru, o);
}

/* A page fault goes to the shadow. False: the instruction ends, as *out says. */
static bool take_fault(struct mc_access *a, unsigned part, unsigned n, uint32_t error,
		       const struct mc_result *want, struct mc_result *out)
{
	struct shadow_outcome o = { 0 };

	mc.faults++;
	/* What loads CR3, and with it the PDPTEs: every entry to the guest. */
	hw_pdpte_stale = true;
	if (mc.forgetful)
		drop_all();
	switch (handle(a[part].va, error, &o)) {
	case SHADOW_RESUME:
		return true;
	case SHADOW_REFLECT:
		check_fault(&a[part], &o);
		out->end = MC_FAULT;
		out->error = o.fault.error;
		return false;
	case SHADOW_DEVICE:
		if (!device_at(o.gpa.v, a[part].write) && !a[part].write)
			mc_fail("a read of memory at %#llx is given to a device",
				(unsigned long long)o.gpa.v);
		/* Writes that no entry can let through are emulated too: no device's. */
		if (device_at(o.gpa.v, a[part].write)) {
			out->end = MC_DEVICE;
			out->gpa = o.gpa.v;
		} else if (want->end != MC_DONE || o.gpa.v != mc.last.pa) {
			mc_fail("access %u of %#llx: a write to memory at %#llx is to be emulated",
				part, (unsigned long long)a[part].va, (unsigned long long)o.gpa.v);
		}
		emulate(a, part, n, out);
		return false;
	default:
		mc_fail("no memory for the shadow");
	}
}

/* The access reached pa: is that where it may go, and what is there? */
static void do_access(const struct mc_access *a, uint64_t pa, bool marked)
{
	uint64_t gpa = 0, marks = 0, val;

	if (!fx_may_reach(pa, a->write))
		mc_fail("%s of %#llx reaches %#llx, where it must not",
			a->write ? "a write" : "an access", (unsigned long long)a->va,
			(unsigned long long)pa);
	fx_frame_gpa(pa, &gpa);
	if (gpa != a->gpa)
		mc_fail("%s of %#llx reaches guest-physical %#llx instead of %#llx",
			a->write ? "a write" : "an access", (unsigned long long)a->va,
			(unsigned long long)gpa, (unsigned long long)a->gpa);
	if (a->write) {
		fx_put(gpa, a->size, a->val);
		return;
	}
	val = fx_get(gpa, a->size);
	/* Of a table's entry, or two: a later access of the instruction may have marked it. */
	if (marked)
		marks = 0x6000000060;
	if ((val ^ a->val) & ~marks)
		mc_fail("%#llx reads as %#llx (from %#llx) instead of %#llx",
			(unsigned long long)a->va, (unsigned long long)val, (unsigned long long)gpa,
			(unsigned long long)a->val);
}

static void run_guest(struct mc_access *a, unsigned n, const struct mc_result *want,
		      struct mc_result *out)
{
	uint64_t pa[MC_PARTS] = { 0 };
	unsigned i = 0;

	*out = (struct mc_result){ .end = MC_DONE };
	while (i < n) {
		uint32_t error = 0;

		if (hw_translate(a[i].va, access_of(&a[i]), &pa[i], &error)) {
			/* Past the point where it should have ended: compare() will tell. */
			if (want->end == MC_FAULT && i >= want->part)
				return;
			if (!a[i].write)
				do_access(&a[i], pa[i], n > 1);
			i++;
			continue;
		}
		out->part = i;
		if (!take_fault(a, i, n, error, want, out))
			return;
		if (++out->retries > RETRIES * n)
			mc_fail("no end of faults at %#llx, error %#x, access %u of %u",
				(unsigned long long)a[i].va, error, i + 1, n);
		i = 0;
	}
	for (i = 0; i < n; i++)
		if (a[i].write)
			do_access(&a[i], pa[i], n > 1);
	out->part = 0;
}

static const char *const end_names[] = { "success", "fault", "device" };

static void compare(const struct mc_access *a, const struct mc_result *want,
		    const struct mc_result *got)
{
	const struct mc_access *p = &a[want->part];

	if (got->end != want->end || (want->end != MC_DONE && got->part != want->part) ||
	    (want->end == MC_FAULT && got->error != want->error) ||
	    (want->end == MC_DEVICE && got->gpa != want->gpa))
		mc_fail("w%d f%d cpl%u i%d ac%d %#llx (access %u): %s, error %#x, gpa %#llx; should "
			"be %s (access %u), error %#x, gpa %#llx",
			p->write, p->fetch, mc.cpl, p->implicit, mc.ac, (unsigned long long)p->va,
			got->part, end_names[got->end], got->error, (unsigned long long)got->gpa,
			end_names[want->end], want->part, want->error,
			(unsigned long long)want->gpa);
	for (unsigned i = 0; i < mc.nr_read; i++) {
		uint64_t is = fx_get(mc.read[i].gpa, mc.read[i].size);
		uint64_t should = fx_model_get(mc.read[i].gpa, mc.read[i].size);

		if (is != should)
			mc_fail("after w%d f%d cpl%u %#llx: guest memory at %#llx holds %#llx instead "
				"of %#llx",
				p->write, p->fetch, mc.cpl, (unsigned long long)p->va,
				(unsigned long long)mc.read[i].gpa, (unsigned long long)is,
				(unsigned long long)should);
	}
}

void mc_run(struct mc_access *a, unsigned n, struct mc_result *out)
{
	struct mc_result want;

	assert_in_range(n, 1, MC_PARTS);
	run_model(a, n, &want);
	run_guest(a, n, &want, out);
	compare(a, &want, out);
	if (shadow_bytes(mc.s) > mc.s_max)
		mc_fail("%llu bytes of shadow pages, the bound is %llu",
			(unsigned long long)shadow_bytes(mc.s), (unsigned long long)mc.s_max);
}

/* --- the shadow's own tables --- */

static bool check_entry(void *ctx, const struct pt_visit *v)
{
	const struct pt_format *f = ctx;

	if (v->level == f->levels || v->bad)
		return true;
	if (!v->leaf) {
		if (!fx_table(v->pa))
			mc_fail("the shadow's entry %#llx at %#llx leads to no table of its own",
				(unsigned long long)v->entry, (unsigned long long)v->addr);
		return true;
	}
	/* Of a page of 1 GiB the first 2 MiB will do. */
	for (uint64_t at = v->pa; at < v->pa + MIN(BIT(f->level[v->level].shift), MIB(2));
	     at += PAGE_SIZE)
		if (!fx_may_reach(at, v->attrs & PT_W))
			mc_fail("the shadow's entry %#llx at %#llx lets %s %#llx",
				(unsigned long long)v->entry, (unsigned long long)v->addr,
				v->attrs & PT_W ? "writes to" : "anyone see",
				(unsigned long long)at);
	return true;
}

/* Tables of other roots: at least what each entry leads to at first. */
static void check_table(uint64_t hpa, uint64_t *t)
{
	for (unsigned i = 0; i < 512; i++) {
		uint64_t pa = t[i] & BITS(51, 12);

		if (!(t[i] & 1) || pa >> mc.maxphyaddr || fx_table(pa))
			continue;
		if (!fx_may_reach(pa, t[i] & 2))
			mc_fail("entry %u of the shadow's page %#llx, %#llx, leads where it must not",
				i, (unsigned long long)hpa, (unsigned long long)t[i]);
	}
}

static void hw_format(struct pt_format *f)
{
	struct pt_caps caps = { .maxphyaddr = (uint8_t)mc.maxphyaddr,
				.nx = true,
				.page_1g = fx.caps.page_1g };

	pt_format_init(f,
		       !long_mode()           ? PT_PAE
		       : mc.gp.cr4 & CR4_LA57 ? PT_5LEVEL
					      : PT_4LEVEL,
		       &caps);
}

void mc_check_tables(void)
{
	struct pt_format f;
	struct pt_tree t = { .fmt = &f, .mem = &fx_table_mem, .root = mc.root.v };
	uint64_t budget = 4000000;

	hw_format(&f);
	pt_visit(&t, &budget, check_entry, &f);
	fx_for_each_table(check_table);
}

/* Nor does a vCPU's TLB let through what its entry must not any more. */
static void check_tlb(unsigned vcpu, const struct tlb *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (uint64_t off = 0; t[i].valid && t[i].w && off < t[i].size; off += PAGE_SIZE) {
			uint64_t gpa;

			if (fx_frame_gpa(t[i].pa + off, &gpa) &&
			    mc.is_closed(mc.s, gpa / PAGE_SIZE))
				mc_fail("vCPU %u may write to the table in use at %#llx, by %#llx",
					vcpu, (unsigned long long)gpa, (unsigned long long)t[i].va);
		}
}

bool mc_other_may_write(unsigned vcpu, uint64_t va)
{
	for (unsigned i = 0; i < 3; i++) {
		const struct tlb *t = &others[vcpu].tlb[i][va / tlb_sizes[i] % 251];

		if (t->valid && va - t->va < t->size)
			return t->w && t->dirty;
	}
	return false;
}

enum pt_status mc_other_walk(unsigned vcpu, uint64_t va, struct pt_walk *w)
{
	const struct guest_paging *gp = &others[vcpu].gp;
	struct pt_caps caps = { .maxphyaddr = (uint8_t)mc.maxphyaddr, .nx = true };
	struct pt_format f;
	struct pt_tree t = { .fmt = &f, .mem = &fx_table_mem, .root = others[vcpu].root.v };

	pt_format_init(&f,
		       !(gp->efer & EFER_LMA) ? PT_PAE
		       : gp->cr4 & CR4_LA57   ? PT_5LEVEL
					      : PT_4LEVEL,
		       &caps);
	return pt_walk(&t, va, w);
}

void mc_audit(void)
{
	char why[256] = "";
	uint64_t at = fx_first_difference();

	for (unsigned i = 0; mc.is_closed && i < MC_VCPUS; i++)
		check_tlb(i, i == current ? tlb[0] : others[i].tlb[0], 3 * TLB_SETS);
	if (!shadow_audit(mc.s, why, sizeof(why)))
		mc_fail("the auditor says: %s", why);
	if (at != UINT64_MAX)
		mc_fail("guest memory at %#llx holds %#llx instead of %#llx",
			(unsigned long long)at, (unsigned long long)fx_get(at & ~7ull, 8),
			(unsigned long long)fx_model_get(at & ~7ull, 8));
}

uint64_t *mc_shadow_entry(uint64_t va, unsigned *level)
{
	struct pt_format f;
	struct pt_tree t = { .fmt = &f, .mem = &fx_table_mem, .root = mc.root.v };
	struct pt_walk w;

	hw_format(&f);
	if (pt_walk(&t, va, &w) != PT_OK)
		return NULL;
	*level = w.level;
	return &fx_table(w.entry_pa[w.level])[w.entry_pa[w.level] % PAGE_SIZE / 8];
}
