/* The address spaces: what leads to the units, and how all processors drop what they know. */
#include "tests/guest/race/race.h"

#define PAGES(n) [n] __attribute__((aligned(PAGE)))
#define PTE_PCD 0x10u
#define CR4_PGE 0x80u
#define WINDOW_SLOT (WINDOW >> 39)

struct unit units[NR_UNITS];
volatile uint64_t roots[NR_SPACES];
const uint16_t slot_index[NR_SLOTS] = { 0, 1, 2, 255, 510, 511 };
static uint64_t low_pdpt PAGES(512), low_pd PAGES(512), apic_pd PAGES(512);
static uint64_t shared_pd PAGES(512), own_pd[NR_SPACES] PAGES(512);
static volatile uint32_t root_locks[NR_SPACES];

static struct cell *add_cell(struct unit *unit, uint64_t *pd, unsigned index)
{
	struct cell *cell = &unit->cells[unit->nr_cells++];

	cell->pde = &pd[index];
	cell->w = cell->x = true;
	return cell;
}

static void add_view(struct unit *unit, unsigned pdpte, unsigned pde, unsigned spaces, bool w,
		     bool x)
{
	struct view *view = &unit->views[unit->nr_views++];

	view->va = WINDOW + ((uint64_t)pdpte << 30) + ((uint64_t)pde << 21);
	view->spaces = spaces;
	view->cell = unit->nr_cells - 1;
	view->above_w = w;
	view->above_x = x;
	unit->spaces |= spaces;
}

/* The entries of all PDPTs that lead to the shared directory have rights, or not. */
static bool shared_w(unsigned space)
{
	return space != 1;
}

static bool shared_x(unsigned space)
{
	return space != 2;
}

/*
 * Three units are in a directory that all spaces share, each at two places, but for the last: its
 * pages are global, so that its rights must be the same everywhere. Two units have an entry in each
 * space's own directory, one more in the first. The others are each in one space.
 */
static void make_units(void)
{
	for (unsigned u = 0; u < NR_UNITS; u++) {
		struct unit *unit = &units[u];

		unit->home = HOMES + (uint64_t)u * LARGE;
		for (unsigned i = 0; i < NR_SLOTS; i++)
			unit->slots[i].nr = u * NR_SLOTS + i;
		if (u < 3) {
			unit->global = u == 2;
			add_cell(unit, shared_pd, u);
			add_view(unit, 0, u, ALL_SPACES, true, true);
			for (unsigned s = 0; s < NR_SPACES && !unit->global; s++)
				add_view(unit, 3, u, 1u << s, shared_w(s), shared_x(s));
		} else if (u < 5) {
			for (unsigned s = 0; s < NR_SPACES; s++) {
				add_cell(unit, own_pd[s], u);
				add_view(unit, 1, u, 1u << s, true, true);
			}
			add_cell(unit, own_pd[0], 200 + u);
			add_view(unit, 1, 200 + u, 1, true, true);
		} else {
			add_cell(unit, own_pd[u - 5], 300);
			add_view(unit, 1, 300, 1u << (u - 5), true, true);
		}
	}
}

/* Tables above the directories, in frames of their own. */
static void make_root(unsigned space)
{
	uint64_t root = frame_alloc(), pdpt = frame_alloc();
	uint64_t rights = PTE_P | (shared_w(space) ? PTE_W : 0) | (shared_x(space) ? 0 : PTE_NX);

	for (unsigned i = 0; i < WORDS; i++)
		at(root)[i] = at(pdpt)[i] = 0;
	at(pdpt)[0] = (uintptr_t)shared_pd | PTE_W | PTE_P;
	at(pdpt)[1] = (uintptr_t)own_pd[space] | PTE_W | PTE_P;
	at(pdpt)[3] = (uintptr_t)shared_pd | rights;
	at(root)[0] = (uintptr_t)low_pdpt | PTE_W | PTE_P;
	at(root)[WINDOW_SLOT] = pdpt | PTE_W | PTE_P;
	roots[space] = root;
}

void spaces_init(void)
{
	for (uint64_t i = 0; i < 16; i++)
		low_pd[i] = i * LARGE | PTE_PS | PTE_W | PTE_P;
	apic_pd[0xfee00000u / LARGE % 512] = 0xfee00000u | PTE_PS | PTE_PCD | PTE_W | PTE_P;
	low_pdpt[0] = (uintptr_t)low_pd | PTE_W | PTE_P;
	low_pdpt[3] = (uintptr_t)apic_pd | PTE_W | PTE_P;
	make_units();
	for (unsigned s = 0; s < NR_SPACES; s++)
		make_root(s);
}

/* --- what a processor drops --- */

static void invlpg(uint64_t va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static void load_cr3(const struct cpu *me)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(roots[me->space]) : "memory");
}

static void flip_pge(void)
{
	uint64_t cr4;

	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 & ~(uint64_t)CR4_PGE) : "memory");
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

/* With interrupts off: else one could change the root that is about to be loaded. */
static void drop(const struct cpu *me, const struct request *request)
{
	if (request->drop == DROP_PAGES) {
		for (unsigned i = 0; i < request->nr; i++)
			invlpg(request->va[i]);
	} else {
		load_cr3(me);
		if (request->drop == DROP_ALL)
			flip_pge();
	}
}

void enter_space(struct cpu *me, unsigned space)
{
	__asm__ volatile("cli" : : : "memory");
	/*
	 * Told before it is so: who changes a table after this asks this processor. The old one is
	 * told until it is gone: until then its tables are walked, were it for the MOV CR3 alone.
	 */
	__atomic_fetch_or(&me->spaces, 1u << space, __ATOMIC_SEQ_CST);
	me->space = space;
	load_cr3(me);
	__atomic_store_n(&me->spaces, 1u << space, __ATOMIC_SEQ_CST);
	__asm__ volatile("sti" : : : "memory");
}

void serve(struct cpu *me)
{
	for (unsigned i = 0; i < nr_cpus; i++) {
		struct request *request = &cpus[i].request;

		if (!(__atomic_load_n(&request->pending, __ATOMIC_SEQ_CST) >> me->nr & 1))
			continue;
		drop(me, request);
		me->drops++;
		if (__atomic_and_fetch(&request->pending, ~(1u << me->nr), __ATOMIC_SEQ_CST) == 0 &&
		    __atomic_exchange_n(&cpus[i].asleep, 0, __ATOMIC_SEQ_CST))
			send_wake(&cpus[i]);
	}
}

void drop_at_random(struct cpu *me)
{
	uint32_t which = below(me, 8);

	__asm__ volatile("cli" : : : "memory");
	if (!which)
		flip_pge();
	else if (which == 1)
		load_cr3(me);
	else
		invlpg(WINDOW + (rnd(me) & 0xffffffff));
	__asm__ volatile("sti" : : : "memory");
}

/* --- what all processors drop --- */

/* In HLT, until the last answer or any other interrupt. */
static void sleep(struct cpu *me)
{
	struct wait wait = { 0 };

	__asm__ volatile("cli" : : : "memory");
	me->woken = false;
	__atomic_store_n(&me->asleep, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&me->request.pending, __ATOMIC_SEQ_CST))
		__asm__ volatile("sti; hlt" : : : "memory");
	else
		__asm__ volatile("sti" : : : "memory");
	me->sleeps++;
	if (!__atomic_exchange_n(&me->asleep, 0, __ATOMIC_SEQ_CST))
		while (!me->woken)
			wait_more(&wait, "an interrupt to wake up that does not come");
}

static void wait_for_all(struct cpu *me)
{
	struct wait wait = { 0 };
	uint32_t spins = below(me, 500);

	while (__atomic_load_n(&me->request.pending, __ATOMIC_SEQ_CST)) {
		if (spins) {
			spins--;
			pause();
			continue;
		}
		sleep(me);
		wait.spins = LOOK_EVERY;
		wait_more(&wait, "a processor that does not answer");
	}
}

static bool planted(struct cpu *me, enum plant plant)
{
	return options.plant == plant && one_in(me, 8);
}

/* Ask all others that have one of these spaces. */
static void ask_others(struct cpu *me, unsigned spaces)
{
	uint32_t to = 0;

	for (unsigned i = 0; i < nr_cpus; i++)
		if (&cpus[i] != me && spaces & cpus[i].spaces)
			to |= 1u << i;
	me->shootdowns++;
	__atomic_store_n(&me->request.pending, to, __ATOMIC_SEQ_CST);
	send_shootdown(me, to);
}

static void drop_here(const struct cpu *me)
{
	__asm__ volatile("cli" : : : "memory");
	drop(me, &me->request);
	__asm__ volatile("sti" : : : "memory");
}

void shoot_down(struct cpu *me, const struct unit *unit, unsigned slots)
{
	struct request *request = &me->request;

	wait_for_all(me);
	request->drop = DROP_PAGES;
	if (one_in(me, 4))
		request->drop = unit->global || one_in(me, 4) ? DROP_ALL : DROP_CR3;
	request->nr = 0;
	for (unsigned v = 0; v < unit->nr_views; v++)
		for (unsigned i = 0; i < NR_SLOTS; i++)
			if (slots >> i & 1)
				request->va[request->nr++] =
					unit->views[v].va + (uint64_t)slot_index[i] * PAGE;
	if (!planted(me, NO_LOCAL))
		drop_here(me);
	if (!planted(me, NO_SHOOTDOWN))
		ask_others(me, unit->spaces);
	wait_for_all(me);
}

void renew_root(struct cpu *me)
{
	unsigned space = below(me, NR_SPACES);
	uint64_t old, old_pdpt, root, pdpt;

	if (!try_lock(&root_locks[space]))
		return;
	old = roots[space];
	old_pdpt = at(old)[WINDOW_SLOT] & PTE_FRAME;
	root = frame_alloc();
	pdpt = frame_alloc();
	if (root && pdpt) {
		for (unsigned i = 0; i < WORDS; i++) {
			at(root)[i] = at(old)[i];
			at(pdpt)[i] = at(old_pdpt)[i];
		}
		at(root)[WINDOW_SLOT] = pdpt | PTE_W | PTE_P;
		__atomic_store_n(&roots[space], root, __ATOMIC_SEQ_CST);
		wait_for_all(me);
		me->request.drop = DROP_CR3;
		drop_here(me);
		if (options.plant != OLD_ROOT)
			ask_others(me, 1u << space);
		wait_for_all(me);
		root = old;
		pdpt = old_pdpt;
	}
	if (root)
		frame_free(root, false);
	if (pdpt)
		frame_free(pdpt, false);
	unlock(&root_locks[space]);
}
