#include "tests/host/oracle.h"

#include <string.h>

/* Bits hi..lo of x, where they are. */
static uint64_t field(uint64_t x, unsigned hi, unsigned lo)
{
	uint64_t width = hi - lo + 1;

	return width == 64 ? x : x & (((1ULL << width) - 1) << lo);
}

static bool bit(uint64_t x, unsigned n)
{
	return x >> n & 1;
}

/* SDM vol. 3, 4.7: the bits that describe the access. */
static uint32_t access_code(const struct oracle_cpu *cpu, struct oracle_access a)
{
	uint32_t code = 0;

	if (a.write && !a.fetch)
		code += 2;
	if (a.user && !a.implicit)
		code += 4;
	if (a.fetch && (cpu->smep || (cpu->pae && cpu->nxe)))
		code += 16;
	return code;
}

static void not_present(const struct oracle_cpu *cpu, struct oracle_access a,
			struct oracle_result *res)
{
	res->ok = false;
	res->error = access_code(cpu, a);
}

static void reserved(const struct oracle_cpu *cpu, struct oracle_access a,
		     struct oracle_result *res)
{
	res->ok = false;
	res->error = access_code(cpu, a) + 1 + 8;
}

/* SDM vol. 3, 4.6.1: is the access allowed by the entries' flags? */
static bool flags_allow(const struct oracle_cpu *cpu, struct oracle_access a,
			const struct oracle_result *r)
{
	bool user_access = a.user && !a.implicit;

	if (user_access) {
		if (!r->u)
			return false;
		if (a.fetch)
			return r->x;
		if (a.write)
			return r->w;
		return true;
	}
	if (a.fetch) {
		if (r->u && cpu->smep)
			return false;
		return r->x;
	}
	if (r->u && cpu->smap) {
		if (a.implicit)
			return false;
		if (!cpu->ac)
			return false;
	}
	if (a.write && cpu->wp && !r->w)
		return false;
	return true;
}

/* SDM vol. 3, 4.6.2. */
static bool key_allows(const struct oracle_cpu *cpu, struct oracle_access a,
		       const struct oracle_result *r, unsigned key)
{
	bool ad = bit(cpu->pkru, 2 * key), wd = bit(cpu->pkru, 2 * key + 1);

	if (!cpu->pke || !cpu->lma || !r->u || a.fetch)
		return true;
	if (ad)
		return false;
	if (a.write && wd) {
		if (a.user && !a.implicit)
			return false;
		if (cpu->wp)
			return false;
	}
	return true;
}

/* The page was reached. key: protection key of its entry. */
static void decide(const struct oracle_cpu *cpu, struct oracle_access a, unsigned key,
		   struct oracle_result *res)
{
	bool flags = flags_allow(cpu, a, res), keys = key_allows(cpu, a, res, key);
	struct oracle_access w = { .write = true, .user = a.user, .implicit = a.implicit };

	res->ok = flags && keys;
	if (!res->ok)
		res->error = access_code(cpu, a) + 1 + (keys ? 0 : 32);
	res->may_write = flags_allow(cpu, w, res) && key_allows(cpu, w, res, key);
}

static void write_back(struct oracle_result *res, uint64_t pa, uint64_t old, uint64_t val)
{
	if (old == val)
		return;
	res->write[res->nr_writes].pa = pa;
	res->write[res->nr_writes].val = val;
	res->nr_writes++;
}

/* Entry of a table: accessed. Entry of the page: accessed, and dirty when written. */
static void mark_table(struct oracle_result *res, uint64_t pa, uint64_t e)
{
	write_back(res, pa, e, e | 0x20);
}

static void mark_page(struct oracle_result *res, uint64_t pa, uint64_t e, struct oracle_access a)
{
	res->dirty = (a.write && !a.fetch) || bit(e, 6);
	write_back(res, pa, e, e | 0x20 | (a.write && !a.fetch ? 0x40 : 0));
}

/* SDM vol. 3, 4.3 and figure 4-4. */
void oracle_32(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
	       struct oracle_result *res)
{
	uint64_t pde_pa = field(cpu->cr3, 31, 12) + 4 * (field(la, 31, 22) >> 22);
	uint64_t pde = cpu->read(cpu->ctx, pde_pa, 4), pte_pa, pte;

	memset(res, 0, sizeof(*res));
	if (!bit(pde, 0)) {
		not_present(cpu, a, res);
		return;
	}
	res->r = res->x = true;
	if (bit(pde, 7) && cpu->pse) {
		unsigned m = cpu->pse36 ? (cpu->maxphyaddr > 40 ? 40 : cpu->maxphyaddr) : 32;

		/* Bits 21:(M-19) are reserved; bits (M-20):13 are address bits (M-1):32. */
		if (field(pde, 21, m - 19)) {
			reserved(cpu, a, res);
			return;
		}
		res->w = bit(pde, 1);
		res->u = bit(pde, 2);
		res->size = 4 << 20;
		res->pa = field(pde, 31, 22) + field(la, 21, 0);
		if (m > 32)
			res->pa += field(pde, m - 20, 13) >> 13 << 32;
		decide(cpu, a, 0, res);
		if (res->ok)
			mark_page(res, pde_pa, pde, a);
		return;
	}
	pte_pa = field(pde, 31, 12) + 4 * (field(la, 21, 12) >> 12);
	pte = cpu->read(cpu->ctx, pte_pa, 4);
	if (!bit(pte, 0)) {
		not_present(cpu, a, res);
		return;
	}
	res->w = bit(pde, 1) && bit(pte, 1);
	res->u = bit(pde, 2) && bit(pte, 2);
	res->size = 4 << 10;
	res->pa = field(pte, 31, 12) + field(la, 11, 0);
	decide(cpu, a, 0, res);
	if (res->ok) {
		mark_table(res, pde_pa, pde);
		mark_page(res, pte_pa, pte, a);
	}
}

/* SDM vol. 3, table 4-8: bits 2:1, 8:5 and 63:M are reserved. */
bool oracle_pdpte_ok(const struct oracle_cpu *cpu, uint64_t pdpte)
{
	if (!bit(pdpte, 0))
		return true;
	if (bit(pdpte, 1) || bit(pdpte, 2) || bit(pdpte, 6) || bit(pdpte, 7) || bit(pdpte, 8))
		return false;
	if (bit(pdpte, 5) && cpu->strict_pdpte)
		return false;
	return pdpte >> cpu->maxphyaddr == 0;
}

/* Reserved in any PAE entry but the PDPTE: bits 62:M, and XD without NXE. */
static bool pae_high_bits(const struct oracle_cpu *cpu, uint64_t e)
{
	return field(e, 62, cpu->maxphyaddr) || (bit(e, 63) && !cpu->nxe);
}

/* SDM vol. 3, 4.4 and figure 4-7. */
void oracle_pae(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		struct oracle_result *res)
{
	uint64_t pdpte = cpu->pdpte[field(la, 31, 30) >> 30], pde, pde_pa, pte, pte_pa;
	unsigned top = cpu->maxphyaddr - 1;

	memset(res, 0, sizeof(*res));
	if (!bit(pdpte, 0)) {
		not_present(cpu, a, res);
		return;
	}
	res->r = true;
	pde_pa = field(pdpte, top, 12) + 8 * (field(la, 29, 21) >> 21);
	pde = cpu->read(cpu->ctx, pde_pa, 8);
	if (!bit(pde, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (pae_high_bits(cpu, pde) || (bit(pde, 7) && field(pde, 20, 13))) {
		reserved(cpu, a, res);
		return;
	}
	if (bit(pde, 7)) {
		res->w = bit(pde, 1);
		res->u = bit(pde, 2);
		res->x = !bit(pde, 63);
		res->size = 2 << 20;
		res->pa = field(pde, top, 21) + field(la, 20, 0);
		decide(cpu, a, 0, res);
		if (res->ok)
			mark_page(res, pde_pa, pde, a);
		return;
	}
	pte_pa = field(pde, top, 12) + 8 * (field(la, 20, 12) >> 12);
	pte = cpu->read(cpu->ctx, pte_pa, 8);
	if (!bit(pte, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (pae_high_bits(cpu, pte)) {
		reserved(cpu, a, res);
		return;
	}
	res->w = bit(pde, 1) && bit(pte, 1);
	res->u = bit(pde, 2) && bit(pte, 2);
	res->x = !bit(pde, 63) && !bit(pte, 63);
	res->size = 4 << 10;
	res->pa = field(pte, top, 12) + field(la, 11, 0);
	decide(cpu, a, 0, res);
	if (res->ok) {
		mark_table(res, pde_pa, pde);
		mark_page(res, pte_pa, pte, a);
	}
}

/* Reserved in any 64-bit entry: bits 51:M, and XD without NXE. */
static bool long_high_bits(const struct oracle_cpu *cpu, uint64_t e)
{
	if (cpu->maxphyaddr < 52 && field(e, 51, cpu->maxphyaddr))
		return true;
	return bit(e, 63) && !cpu->nxe;
}

/* The rights of the entry take away what they lack. */
static void restrict_to(struct oracle_result *res, uint64_t e)
{
	res->w = res->w && bit(e, 1);
	res->u = res->u && bit(e, 2);
	res->x = res->x && !bit(e, 63);
}

/*
 * SDM vol. 3, 4.5.4, table by table; the tables above have left their rights and
 * write-backs in *res. Write-backs only count when the access passes.
 */
static void walk_pt(const struct oracle_cpu *cpu, uint64_t pt, uint64_t la, struct oracle_access a,
		    struct oracle_result *res)
{
	uint64_t pa = pt + 8 * (field(la, 20, 12) >> 12), e = cpu->read(cpu->ctx, pa, 8);

	if (!bit(e, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (long_high_bits(cpu, e)) {
		reserved(cpu, a, res);
		return;
	}
	restrict_to(res, e);
	res->size = 4 << 10;
	res->pa = field(e, cpu->maxphyaddr - 1, 12) + field(la, 11, 0);
	decide(cpu, a, (unsigned)(field(e, 62, 59) >> 59), res);
	mark_page(res, pa, e, a);
}

static void walk_pd(const struct oracle_cpu *cpu, uint64_t pd, uint64_t la, struct oracle_access a,
		    struct oracle_result *res)
{
	uint64_t pa = pd + 8 * (field(la, 29, 21) >> 21), e = cpu->read(cpu->ctx, pa, 8);

	if (!bit(e, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (long_high_bits(cpu, e) || (bit(e, 7) && field(e, 20, 13))) {
		reserved(cpu, a, res);
		return;
	}
	restrict_to(res, e);
	if (!bit(e, 7)) {
		mark_table(res, pa, e);
		walk_pt(cpu, field(e, cpu->maxphyaddr - 1, 12), la, a, res);
		return;
	}
	res->size = 2 << 20;
	res->pa = field(e, cpu->maxphyaddr - 1, 21) + field(la, 20, 0);
	decide(cpu, a, (unsigned)(field(e, 62, 59) >> 59), res);
	mark_page(res, pa, e, a);
}

static void walk_pdpt(const struct oracle_cpu *cpu, uint64_t pdpt, uint64_t la,
		      struct oracle_access a, struct oracle_result *res)
{
	uint64_t pa = pdpt + 8 * (field(la, 38, 30) >> 30), e = cpu->read(cpu->ctx, pa, 8);

	if (!bit(e, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (long_high_bits(cpu, e) || (bit(e, 7) && !cpu->page_1g) ||
	    (bit(e, 7) && field(e, 29, 13)) || (!bit(e, 7) && bit(e, 8) && cpu->amd_bit8)) {
		reserved(cpu, a, res);
		return;
	}
	restrict_to(res, e);
	if (!bit(e, 7)) {
		mark_table(res, pa, e);
		walk_pd(cpu, field(e, cpu->maxphyaddr - 1, 12), la, a, res);
		return;
	}
	res->size = 1 << 30;
	res->pa = field(e, cpu->maxphyaddr - 1, 30) + field(la, 29, 0);
	decide(cpu, a, (unsigned)(field(e, 62, 59) >> 59), res);
	mark_page(res, pa, e, a);
}

static void walk_pml4(const struct oracle_cpu *cpu, uint64_t pml4, uint64_t la,
		      struct oracle_access a, struct oracle_result *res)
{
	uint64_t pa = pml4 + 8 * (field(la, 47, 39) >> 39), e = cpu->read(cpu->ctx, pa, 8);

	if (!bit(e, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (long_high_bits(cpu, e) || bit(e, 7) || (cpu->amd_bit8 && bit(e, 8))) {
		reserved(cpu, a, res);
		return;
	}
	restrict_to(res, e);
	mark_table(res, pa, e);
	walk_pdpt(cpu, field(e, cpu->maxphyaddr - 1, 12), la, a, res);
}

void oracle_4level(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		   struct oracle_result *res)
{
	memset(res, 0, sizeof(*res));
	res->r = res->w = res->x = res->u = true;
	walk_pml4(cpu, field(cpu->cr3, 51, 12), la, a, res);
	if (!res->ok)
		res->nr_writes = 0;
}

void oracle_5level(const struct oracle_cpu *cpu, uint64_t la, struct oracle_access a,
		   struct oracle_result *res)
{
	uint64_t pa = field(cpu->cr3, 51, 12) + 8 * (field(la, 56, 48) >> 48), e;

	memset(res, 0, sizeof(*res));
	res->r = res->w = res->x = res->u = true;
	e = cpu->read(cpu->ctx, pa, 8);
	if (!bit(e, 0)) {
		not_present(cpu, a, res);
		return;
	}
	if (long_high_bits(cpu, e) || bit(e, 7) || (cpu->amd_bit8 && bit(e, 8))) {
		reserved(cpu, a, res);
		return;
	}
	restrict_to(res, e);
	mark_table(res, pa, e);
	walk_pml4(cpu, field(e, cpu->maxphyaddr - 1, 12), la, a, res);
	if (!res->ok)
		res->nr_writes = 0;
}

/* APM vol. 2, 15.25.5: a user access, under the host's controls; NXE is on. */
void oracle_npt(const struct oracle_cpu *cpu, uint64_t gpa, struct oracle_access a,
		struct oracle_result *res)
{
	struct oracle_cpu host = *cpu;

	host.nxe = host.pae = host.wp = true;
	host.smep = host.smap = host.pke = false;
	a.user = true;
	a.implicit = false;
	oracle_4level(&host, gpa, a, res);
}

/* SDM vol. 3, 29.3.3.1. leaf: it maps a page. level: 1 (PTE) to 4. */
static bool ept_misconfigured(const struct oracle_cpu *cpu, uint64_t e, bool leaf, int level)
{
	bool r = bit(e, 0), w = bit(e, 1), x = bit(e, 2);
	unsigned type = (unsigned)(field(e, 5, 3) >> 3);

	if (w && !r)
		return true;
	if (x && !r && !cpu->ept_exec_only)
		return true;
	if (cpu->maxphyaddr < 52 && field(e, 51, cpu->maxphyaddr))
		return true;
	if (!leaf)
		return field(e, 6, 3) != 0 || (level == 4 && bit(e, 7));
	if (level == 3 && (!cpu->page_1g || field(e, 29, 12)))
		return true;
	if (level == 2 && field(e, 20, 12))
		return true;
	return type == 2 || type == 3 || type == 7;
}

static void walk_ept(const struct oracle_cpu *cpu, uint64_t gpa, struct oracle_access a,
		     struct oracle_result *res)
{
	uint64_t table = field(cpu->cr3, 51, 12);

	res->r = res->w = res->x = res->u = true;
	for (int level = 4; level >= 1; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t pa = table + 8 * ((gpa >> shift) % 512), e;
		bool leaf;

		e = cpu->read(cpu->ctx, pa, 8);
		if (field(e, 2, 0) == 0)
			return;
		leaf = level == 1 || (level <= 3 && bit(e, 7));
		if (ept_misconfigured(cpu, e, leaf, level)) {
			res->misconfig = true;
			return;
		}
		res->r = res->r && bit(e, 0);
		res->w = res->w && bit(e, 1);
		res->x = res->x && bit(e, 2);
		if (cpu->ept_ad)
			write_back(res, pa, e,
				   e | 0x100 | (leaf && a.write && !a.fetch ? 0x200 : 0));
		if (leaf) {
			res->size = 1ULL << shift;
			res->pa = field(e, cpu->maxphyaddr - 1, shift) + gpa % (1ULL << shift);
			break;
		}
		table = field(e, cpu->maxphyaddr - 1, 12);
	}
	res->ok = a.fetch ? res->x : a.write ? res->w : res->r;
}

void oracle_ept(const struct oracle_cpu *cpu, uint64_t gpa, struct oracle_access a,
		struct oracle_result *res)
{
	memset(res, 0, sizeof(*res));
	walk_ept(cpu, gpa, a, res);
	if (!res->ok)
		res->nr_writes = 0;
}
