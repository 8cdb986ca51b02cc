#include "tests/host/shadow_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>

#include <cmocka.h>

struct fx fx;

/* Frames of the small regions, in one arena: what is where in it. */
#define FRAMES_HPA UINT64_C(0x240000000)
#define AT_SCATTERED MIB(0)
#define AT_LARGE MIB(2)
#define AT_LARGE4 MIB(4)
#define AT_ROM MIB(8)
#define AT_SKEWED (MIB(10) + KIB(4))
#define AT_DISK MIB(14)
#define AT_HIGH MIB(16)
#define FRAMES_SIZE MIB(20)
#define NR_FRAMES (FRAMES_SIZE / PAGE_SIZE)
#define DISK_FRAMES 64u
#define NO_GPA UINT64_MAX

#define GIB_HPA GIB(16)

/* Pages of the guest's memory, by number: the small regions, the high one, the GiB. */
#define HIGH_PAGE (FX_SMALL_END / PAGE_SIZE)
#define GIB_PAGE (HIGH_PAGE + FX_HIGH_SIZE / PAGE_SIZE)
#define NR_PAGES (GIB_PAGE + GIB(1) / PAGE_SIZE)
#define NO_PAGE UINT64_MAX

#define DISK_PAGE (FX_DISK / PAGE_SIZE)
#define NR_DISK (KIB(64) / PAGE_SIZE)

static uint8_t *frames, *gib, *model, *model_gib;
static uint8_t hooks[NR_PAGES];
static uint64_t frame_of[GIB_PAGE]; /* the frame in the arena; NR_FRAMES: none */
static uint64_t gpa_of[NR_FRAMES];
static unsigned disk_next;
static int gib_hooks;
static bool runs_known;
static uint64_t run_start[GIB_PAGE], run_end[GIB_PAGE];
static uint8_t swapped[NR_DISK][PAGE_SIZE];

static uint64_t page_number(uint64_t gpa)
{
	if (gpa < FX_SMALL_END)
		return gpa / PAGE_SIZE;
	if (gpa - FX_HIGH < FX_HIGH_SIZE)
		return HIGH_PAGE + (gpa - FX_HIGH) / PAGE_SIZE;
	if (gpa - FX_GIB < GIB(1))
		return GIB_PAGE + (gpa - FX_GIB) / PAGE_SIZE;
	return NO_PAGE;
}

/* Of the small regions and the high one. */
static uint64_t page_gpa(uint64_t page)
{
	return page * PAGE_SIZE + (page < HIGH_PAGE ? 0 : FX_HIGH - FX_SMALL_END);
}

enum fx_kind fx_kind_at(uint64_t gpa)
{
	if (page_number(gpa) == NO_PAGE || gpa - FX_DEVICE < KIB(64) ||
	    (hooks[page_number(gpa)] & FX_HOOK_ALL))
		return FX_NOTHING;
	if (gpa - FX_ROM < KIB(64))
		return FX_IS_ROM;
	return gpa - FX_DISK < KIB(64) ? FX_IS_DISK : FX_RAM;
}

static void place(uint64_t gpa, uint64_t at, uint64_t size)
{
	for (uint64_t i = 0; i < size; i += PAGE_SIZE) {
		frame_of[page_number(gpa + i)] = (at + i) / PAGE_SIZE;
		gpa_of[(at + i) / PAGE_SIZE] = gpa + i;
	}
}

static void place_all(void)
{
	for (uint64_t i = 0; i < GIB_PAGE; i++)
		frame_of[i] = NR_FRAMES;
	for (uint64_t i = 0; i < NR_FRAMES; i++)
		gpa_of[i] = NO_GPA;
	for (uint64_t i = 0; i < 512; i++)
		place(FX_SCATTERED + i * PAGE_SIZE, AT_SCATTERED + i * 77 % 512 * PAGE_SIZE,
		      PAGE_SIZE);
	place(FX_LARGE, AT_LARGE, MIB(2));
	place(FX_LARGE4, AT_LARGE4, MIB(4));
	place(FX_ROM, AT_ROM, KIB(64));
	place(FX_AFTER, AT_ROM + (FX_AFTER - FX_ROM), MIB(2) - (FX_AFTER - FX_ROM));
	place(FX_SKEWED, AT_SKEWED, MIB(2));
	place(FX_HIGH, AT_HIGH, FX_HIGH_SIZE);
}

static uint8_t *fresh(uint8_t *old, uint64_t size)
{
	if (old)
		munmap(old, size);
	old = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	assert_true(old != MAP_FAILED);
	return old;
}

/* --- table pages --- */

#define LOW_HPA UINT64_C(0x10000000)
#define HIGH_HPA UINT64_C(0x500000000)
#define SLOTS 16384u

static uint64_t *table[2][SLOTS]; /* [0] low */
static unsigned next_slot[2];

uint64_t *fx_table(uint64_t hpa)
{
	uint64_t low = (hpa - LOW_HPA) / PAGE_SIZE, high = (hpa - HIGH_HPA) / PAGE_SIZE;

	return low < SLOTS ? table[0][low] : high < SLOTS ? table[1][high] : NULL;
}

void fx_for_each_table(void (*fn)(uint64_t hpa, uint64_t *t))
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (table[0][i])
			fn(LOW_HPA + i * PAGE_SIZE, table[0][i]);
		if (table[1][i])
			fn(HIGH_HPA + i * PAGE_SIZE, table[1][i]);
	}
}

static bool allowed_to_fail(void)
{
	if (fx.fail_after == UINT32_MAX)
		return false;
	return !fx.fail_after || !fx.fail_after--;
}

static hpa_t fx_page_alloc(void *ctx, bool low)
{
	unsigned slot;

	assert_ptr_equal(ctx, &fx);
	if (allowed_to_fail())
		return HPA(0);
	do
		slot = next_slot[!low]++ % SLOTS;
	while (table[!low][slot]);
	table[!low][slot] = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	memset(table[!low][slot], 0, PAGE_SIZE);
	fx.nr_pages++;
	fx.nr_low += low;
	fx.max_pages = MAX(fx.max_pages, fx.nr_pages);
	return HPA((low ? LOW_HPA : HIGH_HPA) + slot * PAGE_SIZE);
}

static void fx_page_free(void *ctx, hpa_t pa)
{
	bool low = pa.v < HIGH_HPA;

	assert_ptr_equal(ctx, &fx);
	assert_true(IS_ALIGNED(pa.v, PAGE_SIZE));
	assert_non_null(fx_table(pa.v));
	if (fx.on_page_free)
		fx.on_page_free(pa.v);
	free(fx_table(pa.v));
	table[!low][(pa.v - (low ? LOW_HPA : HIGH_HPA)) / PAGE_SIZE] = NULL;
	fx.nr_pages--;
	fx.nr_low -= low;
}

static void *fx_alloc(void *ctx, size_t size)
{
	assert_ptr_equal(ctx, &fx);
	if (allowed_to_fail())
		return NULL;
	fx.bytes += (int64_t)size;
	return calloc(1, size);
}

static void fx_free(void *ctx, void *p, size_t size)
{
	assert_ptr_equal(ctx, &fx);
	if (!p)
		return;
	fx.bytes -= (int64_t)size;
	free(p);
}

static bool table_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	uint64_t *t = fx_table(pa);

	(void)ctx;
	assert_int_equal(size, 8);
	if (t)
		*val = t[pa % PAGE_SIZE / 8];
	return t;
}

const struct pt_mem fx_table_mem = { .read = table_read };

/* --- the guest's memory --- */

static bool is_out(uint64_t gpa)
{
	return fx_kind_at(gpa) == FX_IS_DISK && frame_of[page_number(gpa)] == NR_FRAMES;
}

static void bring_in(uint64_t gpa)
{
	uint64_t page = page_number(gpa), frame;

	if (!is_out(gpa))
		return;
	do
		frame = AT_DISK / PAGE_SIZE + disk_next++ % DISK_FRAMES;
	while (gpa_of[frame] != NO_GPA);
	runs_known = false;
	frame_of[page] = frame;
	gpa_of[frame] = ALIGN_DOWN(gpa, PAGE_SIZE);
	memcpy(frames + frame * PAGE_SIZE, swapped[page - DISK_PAGE], PAGE_SIZE);
}

void fx_swap_out(uint64_t gpa)
{
	uint64_t page = page_number(gpa), frame = frame_of[page];

	if (frame == NR_FRAMES)
		return;
	memcpy(swapped[page - DISK_PAGE], frames + frame * PAGE_SIZE, PAGE_SIZE);
	/* What another makes of it would pass for a table. */
	for (unsigned i = 0; i < 512; i++)
		((uint64_t *)(frames + frame * PAGE_SIZE))[i] = FX_LARGE | 0xe7;
	frame_of[page] = NR_FRAMES;
	gpa_of[frame] = NO_GPA;
	runs_known = false;
}

static uint8_t *memory_at(uint64_t gpa)
{
	if (fx_kind_at(gpa) == FX_NOTHING)
		return NULL;
	if (gpa - FX_GIB < GIB(1))
		return gib + (gpa - FX_GIB);
	bring_in(gpa);
	return frames + frame_of[page_number(gpa)] * PAGE_SIZE + gpa % PAGE_SIZE;
}

static uint8_t *model_at(uint64_t gpa)
{
	if (fx_kind_at(gpa) == FX_NOTHING)
		return NULL;
	if (gpa - FX_GIB < GIB(1))
		return model_gib + (gpa - FX_GIB);
	return model + page_number(gpa) * PAGE_SIZE + gpa % PAGE_SIZE;
}

static uint64_t load(const uint8_t *p, unsigned size)
{
	uint64_t val = UINT64_MAX;

	if (p)
		val = 0;
	memcpy(&val, p ? p : (uint8_t *)&val, size);
	return size == 8 ? val : val & (BIT(8 * size) - 1);
}

uint64_t fx_get(uint64_t gpa, unsigned size)
{
	return load(memory_at(gpa), size);
}

uint64_t fx_model_get(uint64_t gpa, unsigned size)
{
	return load(model_at(gpa), size);
}

void fx_put(uint64_t gpa, unsigned size, uint64_t val)
{
	if (fx_kind_at(gpa) == FX_RAM || fx_kind_at(gpa) == FX_IS_DISK)
		memcpy(memory_at(gpa), &val, size);
}

void fx_model_put(uint64_t gpa, unsigned size, uint64_t val)
{
	if (fx_kind_at(gpa) == FX_RAM || fx_kind_at(gpa) == FX_IS_DISK)
		memcpy(model_at(gpa), &val, size);
}

void fx_set(uint64_t gpa, unsigned size, uint64_t val)
{
	assert_int_not_equal(fx_kind_at(gpa), FX_NOTHING);
	memcpy(memory_at(gpa), &val, size);
	memcpy(model_at(gpa), &val, size);
}

static const uint8_t *content(uint64_t page)
{
	if (page - DISK_PAGE < NR_DISK && frame_of[page] == NR_FRAMES)
		return swapped[page - DISK_PAGE];
	return frame_of[page] == NR_FRAMES ? NULL : frames + frame_of[page] * PAGE_SIZE;
}

uint64_t fx_first_difference(void)
{
	for (uint64_t page = 0; page < GIB_PAGE; page++) {
		const uint8_t *is = content(page), *should = model + page * PAGE_SIZE;

		for (unsigned i = 0; is && memcmp(is, should, PAGE_SIZE) && i < PAGE_SIZE; i++)
			if (is[i] != should[i])
				return page_gpa(page) + i;
	}
	return UINT64_MAX;
}

void fx_hook(uint64_t gpa, unsigned how)
{
	uint8_t *h = &hooks[page_number(gpa)];

	if (gpa - FX_GIB < GIB(1))
		gib_hooks += (!!how) - (!!*h);
	*h = (uint8_t)how;
	runs_known = false;
}

unsigned fx_hooks(uint64_t gpa)
{
	return page_number(gpa) == NO_PAGE ? 0 : hooks[page_number(gpa)];
}

bool fx_frame_gpa(uint64_t hpa, uint64_t *gpa)
{
	if (hpa - GIB_HPA < GIB(1)) {
		*gpa = hpa - GIB_HPA + FX_GIB;
		return true;
	}
	if (hpa - FRAMES_HPA >= FRAMES_SIZE || gpa_of[(hpa - FRAMES_HPA) / PAGE_SIZE] == NO_GPA)
		return false;
	*gpa = gpa_of[(hpa - FRAMES_HPA) / PAGE_SIZE] + hpa % PAGE_SIZE;
	return true;
}

bool fx_may_reach(uint64_t hpa, bool write)
{
	uint64_t gpa;

	if (!fx_frame_gpa(hpa, &gpa) || fx_kind_at(gpa) == FX_NOTHING)
		return false;
	return !write || (fx_kind_at(gpa) != FX_IS_ROM && !fx_hooks(gpa));
}

/* --- what the shadow asks for --- */

static bool alike(uint64_t a, uint64_t b)
{
	return frame_of[b] == frame_of[a] + 1 && hooks[a] == hooks[b] &&
	       fx_kind_at(page_gpa(a)) == fx_kind_at(page_gpa(b)) && a + 1 != HIGH_PAGE;
}

/* Where the pages of one kind that lie side by side with this one begin and end. */
static void find_runs(void)
{
	for (uint64_t i = 0; i < GIB_PAGE; i++)
		run_start[i] = i && alike(i - 1, i) ? run_start[i - 1] : i;
	for (uint64_t i = GIB_PAGE; i-- > 0;)
		run_end[i] = i + 1 < GIB_PAGE && alike(i, i + 1) ? run_end[i + 1] : i + 1;
	runs_known = true;
}

hpa_t fx_hpa(uint64_t gpa)
{
	if (gpa - FX_GIB < GIB(1))
		return HPA(GIB_HPA + gpa - FX_GIB);
	return HPA(FRAMES_HPA + frame_of[page_number(gpa)] * PAGE_SIZE + gpa % PAGE_SIZE);
}

uint64_t fx_answered;

static bool fx_resolve(void *ctx, gpa_t gpa, bool touch, struct shadow_target *out)
{
	uint64_t start = ALIGN_DOWN(gpa.v, PAGE_SIZE), end = start + PAGE_SIZE;
	enum fx_kind kind = fx_kind_at(gpa.v);

	assert_ptr_equal(ctx, &fx);
	/* What it says means nothing when it fails. */
	*out = (struct shadow_target){
		.size = UINT64_MAX,
		.pa = HPA(LOW_HPA),
		.writable = true,
		.away = kind != FX_NOTHING,
	};
	if (kind == FX_NOTHING || (!touch && is_out(gpa.v)))
		return false;
	bring_in(gpa.v);
	*out = (struct shadow_target){
		.writable = kind != FX_IS_ROM && !fx_hooks(gpa.v),
		.device = fx_answered && start == fx_answered,
	};
	if (gpa.v - FX_GIB < GIB(1) && !gib_hooks) {
		start = FX_GIB;
		end = FX_GIB + GIB(1);
	} else if (gpa.v - FX_GIB >= GIB(1) && !fx.cut_targets) {
		uint64_t page = page_number(gpa.v);

		if (!runs_known)
			find_runs();
		start = page_gpa(run_start[page]);
		end = page_gpa(run_end[page] - 1) + PAGE_SIZE;
	}
	out->start = start;
	out->size = end - start;
	out->pa = fx_hpa(start);
	return true;
}

static bool fx_may_map(void *ctx, hpa_t pa, uint64_t size)
{
	assert_ptr_equal(ctx, &fx);
	fx.nr_asked++;
	for (uint64_t i = 0; i < size; i += PAGE_SIZE) {
		uint64_t gpa;

		if (fx.forbidden.v && ALIGN_DOWN(pa.v + i, PAGE_SIZE) == fx.forbidden.v)
			return false;
		if (!fx_frame_gpa(pa.v + i, &gpa))
			return false;
		if (pa.v >= GIB_HPA)
			break;
	}
	return true;
}

static void *fx_ptr(hpa_t pa)
{
	uint64_t *t = fx_table(pa.v), gpa = 0;

	if (t)
		return (uint8_t *)t + pa.v % PAGE_SIZE;
	if (!fx_frame_gpa(pa.v, &gpa) || fx_kind_at(gpa) == FX_NOTHING)
		fail_msg("the shadow looks at %#llx, which is not the guest's now",
			 (unsigned long long)pa.v);
	return memory_at(gpa);
}

static void fx_flush(void *ctx)
{
	assert_ptr_equal(ctx, &fx);
	fx.nr_flushes++;
	if (fx.on_flush)
		fx.on_flush();
}

static void fx_flush_vcpu(struct shadow_vcpu *sv)
{
	fx.nr_flushes++;
	if (fx.on_flush_vcpu)
		fx.on_flush_vcpu(sv);
}

static void fx_intercept_invlpg(void *ctx, bool on)
{
	assert_ptr_equal(ctx, &fx);
	if (fx.on_intercept)
		fx.on_intercept(on);
	fx.invlpg_exits = on;
}

static bool guest_read(void *ctx, uint64_t pa, unsigned size, uint64_t *val)
{
	uint8_t *p = memory_at(pa);

	assert_ptr_equal(ctx, &fx);
	assert_true(IS_ALIGNED(pa, size));
	if (p)
		*val = load(p, size);
	return p;
}

static bool guest_cmpxchg(void *ctx, uint64_t pa, unsigned size, uint64_t old, uint64_t val)
{
	uint8_t *p = memory_at(pa);

	assert_ptr_equal(ctx, &fx);
	assert_true(IS_ALIGNED(pa, size));
	assert_non_null(p);
	if (fx_kind_at(pa) == FX_IS_ROM)
		return true;
	if (load(p, size) != old)
		return false;
	memcpy(p, &val, size);
	return true;
}

static const struct pt_mem guest_mem = {
	.read = guest_read,
	.cmpxchg = guest_cmpxchg,
	.ctx = &fx,
};

const struct shadow_ops fx_ops = {
	.resolve = fx_resolve,
	.may_map = fx_may_map,
	.page_alloc = fx_page_alloc,
	.page_free = fx_page_free,
	.alloc = fx_alloc,
	.free = fx_free,
	.ptr = fx_ptr,
	.flush = fx_flush,
	.flush_vcpu = fx_flush_vcpu,
	.intercept_invlpg = fx_intercept_invlpg,
	.guest_mem = &guest_mem,
	.ctx = &fx,
};

/* Of a test that failed. */
static void drop_tables(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		free(table[0][i]);
		free(table[1][i]);
	}
	memset(table, 0, sizeof(table));
}

void fx_reset(const struct pt_caps *caps)
{
	drop_tables();
	fx = (struct fx){ .caps = *caps, .fail_after = UINT32_MAX };
	frames = fresh(frames, FRAMES_SIZE);
	gib = fresh(gib, GIB(1));
	model = fresh(model, GIB_PAGE * PAGE_SIZE);
	model_gib = fresh(model_gib, GIB(1));
	memset(hooks, 0, sizeof(hooks));
	memset(swapped, 0, sizeof(swapped));
	disk_next = 0;
	gib_hooks = 0;
	runs_known = false;
	place_all();
}

void fx_check_empty(void)
{
	assert_int_equal(fx.nr_pages, 0);
	assert_int_equal(fx.bytes, 0);
}
