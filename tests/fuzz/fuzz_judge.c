/* Guest accesses, judged and marked, against the reference walkers. */
#include <string.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "paging/guest.h"
#include "tests/fuzz/world.h"
#include "tests/host/oracle.h"

static struct world w;

static uint64_t oracle_read(void *ctx, uint64_t pa, unsigned size)
{
	const struct world *world = ctx;
	uint64_t v = 0, off = pa - WORLD_BASE;

	if (pa < WORLD_BASE || off >= sizeof(world->page) || !world->used[off / PAGE_SIZE])
		return size == 4 ? UINT32_MAX : UINT64_MAX;
	memcpy(&v, (const uint8_t *)world->page + off, size);
	return v;
}

static void take_state(struct input *in, struct guest_paging *gp, struct oracle_cpu *cpu)
{
	unsigned bits = (unsigned)take(in, 1);
	enum pt_kind kind = w.fmt.kind;
	bool lma = kind == PT_4LEVEL || kind == PT_5LEVEL, pae = kind != PT_32;

	*gp = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG | (bits & 1 ? CR0_WP : 0),
		.cr3 = w.tree.root,
		.cr4 = (pae ? CR4_PAE : 0) | (kind == PT_5LEVEL ? CR4_LA57 : 0) |
		       (w.caps.pse ? CR4_PSE : 0) | (bits & 2 ? CR4_SMEP : 0) |
		       (bits & 4 ? CR4_SMAP : 0) | (bits & 8 ? CR4_PKE : 0),
		.efer = (lma ? EFER_LMA | EFER_LME : 0) | (w.caps.nx ? EFER_NXE : 0),
		.rflags = bits & 16 ? RFLAGS_AC : 0,
		.pkru = (uint32_t)take(in, 4),
		.caps = w.caps,
	};
	*cpu = (struct oracle_cpu){
		.maxphyaddr = w.caps.maxphyaddr,
		.page_1g = w.caps.page_1g,
		.pse36 = w.caps.pse36,
		.amd_bit8 = w.caps.nonleaf_g_rsvd,
		.strict_pdpte = w.caps.strict_pdpte,
		.wp = bits & 1,
		.pse = w.caps.pse,
		.nxe = w.caps.nx,
		.smep = bits & 2,
		.smap = bits & 4,
		.ac = bits & 16,
		.pke = bits & 8,
		.pae = pae,
		.lma = lma,
		.pkru = gp->pkru,
		.cr3 = gp->cr3,
		.read = oracle_read,
		.ctx = &w,
	};
	for (unsigned i = 0; i < 4; i++)
		gp->pdpte[i] = cpu->pdpte[i] = oracle_read(&w, w.tree.root + 8 * i, 8);
}

/* What the processor would have refused to load cannot be cached. */
static void clean_pdptes(struct guest_paging *gp, struct oracle_cpu *cpu)
{
	for (unsigned i = 0; i < 4; i++)
		if ((gp->pdpte[i] & 1) && !oracle_pdpte_ok(cpu, gp->pdpte[i]))
			gp->pdpte[i] = cpu->pdpte[i] = 0;
}

static void check_access(struct input *in, const struct guest_paging *gp,
			 const struct oracle_cpu *cpu)
{
	static void (*const oracle[])(const struct oracle_cpu *, uint64_t, struct oracle_access,
				      struct oracle_result *) = { oracle_32, oracle_pae,
								  oracle_4level, oracle_5level };
	unsigned how = (unsigned)take(in, 1);
	struct guest_access a = { how % 3 == 1, how % 3 == 2, how & 0x40, how & 0x80 };
	struct oracle_access oa = { a.write, a.fetch, a.user, a.implicit };
	uint64_t gva = world_address(&w, in);
	struct oracle_result want;
	struct guest_xlat out;
	struct guest_fault fault = { 0 };
	bool ok;

	oracle[w.fmt.kind](cpu, gva, oa, &want);
	w.nr_writes = 0;
	ok = guest_translate(gp, &w.mem, GVA(gva), a, &out, &fault);
	expect(ok == want.ok);
	if (ok)
		expect(out.gpa.v == want.pa && out.page_size == want.size);
	else
		expect(fault.error == want.error && fault.cr2 == gva && !w.nr_writes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct guest_paging gp;
	struct oracle_cpu cpu;

	world_init(&w, &in, PT_5LEVEL);
	take_state(&in, &gp, &cpu);
	clean_pdptes(&gp, &cpu);
	do
		check_access(&in, &gp, &cpu);
	while (in.left);
	return 0;
}
