#include "tests/host/fakes.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/image.h"
#include "arch/x86_64/include/x87.h"
#include "arch/x86_64/lapic.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/log.h"
#include "arch/x86_64/mm.h"
#include "arch/x86_64/owned_lock.h"
#include "arch/x86_64/panic.h"
#include "arch/x86_64/serial_line.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/timer.h"
#include "arch/x86_64/trap.h"
#include "tests/host/fake_run.h"

/* --- the image, of which hosted programs have none; a test may bring its own --- */

__attribute__((weak)) char __image_start[1], __image_end[1];

/* --- clock and timers --- */

uint64_t fake_now_ns;
uint64_t fake_wall_seconds = 1700000000;
uint64_t fake_clock_step;
uint64_t fake_tsc_hz = NS_PER_SEC;
void (*fake_tsc_hz_asked)(void);
static struct list_node timers = { &timers, &timers };

uint64_t clock_ns(void)
{
	uint64_t now = fake_now_ns;

	fake_now_ns += fake_clock_step;
	return now;
}

uint64_t clock_tsc_at(uint64_t ns)
{
	return ns;
}

uint64_t clock_tsc_hz(void)
{
	if (fake_tsc_hz_asked)
		fake_tsc_hz_asked();
	return fake_tsc_hz;
}

uint64_t clock_wall_seconds(void)
{
	return fake_wall_seconds + clock_ns() / NS_PER_SEC;
}

uint64_t clock_wall_ns(uint64_t tsc)
{
	(void)tsc;
	return fake_wall_seconds * NS_PER_SEC + clock_ns();
}

void timer_setup(struct timer *t, void (*fn)(void *ctx), void *ctx, struct owned_lock *guard)
{
	*t = (struct timer){ .fn = fn, .ctx = ctx, .guard = guard };
	list_init(&t->node);
}

void timer_cancel(struct timer *t)
{
	if (t->armed)
		list_remove(&t->node);
	t->armed = false;
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	struct list_node *at;

	timer_cancel(t);
	t->deadline = deadline_ns;
	for (at = timers.next; at != &timers; at = at->next)
		if (container_of(at, struct timer, node)->deadline > deadline_ns)
			break;
	list_insert_before(at, &t->node);
	t->armed = true;
}

void timer_run_expired(void)
{
	while (!list_empty(&timers)) {
		struct timer *t = container_of(timers.next, struct timer, node);
		struct owned_lock *guard = t->guard;

		if (t->deadline > fake_now_ns)
			return;
		timer_cancel(t);
		if (guard)
			owned_lock(guard);
		t->fn(t->ctx);
		if (guard)
			owned_unlock(guard);
	}
}

void fake_clock_advance(uint64_t ns)
{
	uint64_t end = fake_now_ns + ns;

	while (!list_empty(&timers)) {
		struct timer *t = container_of(timers.next, struct timer, node);

		if (t->deadline > end)
			break;
		if (t->deadline > fake_now_ns)
			fake_now_ns = t->deadline;
		timer_run_expired();
	}
	fake_now_ns = end;
}

void fake_timers_reset(void)
{
	while (!list_empty(&timers))
		timer_cancel(container_of(timers.next, struct timer, node));
	fake_now_ns = fake_clock_step = 0;
	fake_tsc_hz = NS_PER_SEC;
	fake_tsc_hz_asked = NULL;
}

/* --- CPU --- */

struct cpu boot_cpu;

/* A test with several CPUs brings its own. */
__attribute__((weak)) struct cpu *fake_run_cpu(void)
{
	return &boot_cpu;
}

__attribute__((weak)) unsigned smp_count(void)
{
	return 1;
}

__attribute__((weak)) bool smp_queue(struct cpu *cpu, struct cpu_work *w)
{
	(void)cpu;
	(void)w;
	abort();
}

unsigned fake_cpu_kicks;

__attribute__((weak)) void cpu_interrupt(struct cpu *cpu)
{
	(void)cpu;
	fake_cpu_kicks++;
}

unsigned fake_cpu_notes;

__attribute__((weak)) void cpu_notify(struct cpu *cpu)
{
	(void)cpu;
	fake_cpu_notes++;
}

/* A thread is a CPU. */
static _Thread_local char thread_cpu;

void owned_lock_init(struct owned_lock *l, enum lock_rank rank)
{
	*l = (struct owned_lock){ .lock = SPINLOCK_INIT(rank) };
}

bool owned_lock_held(const struct owned_lock *l)
{
	return __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == &thread_cpu;
}

void owned_lock(struct owned_lock *l)
{
	if (!owned_lock_held(l)) {
		while (__atomic_exchange_n(&l->lock.next, 1, __ATOMIC_ACQUIRE))
			sched_yield();
		__atomic_store_n(&l->holder, &thread_cpu, __ATOMIC_RELAXED);
	}
	l->depth++;
}

void owned_unlock(struct owned_lock *l)
{
	if (!owned_lock_held(l))
		abort();
	if (--l->depth)
		return;
	__atomic_store_n(&l->holder, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&l->lock.next, 0, __ATOMIC_RELEASE);
}

struct cpu_features fake_cpu_features = { .svm = true, .nx = true, .maxphyaddr = 48 };

const struct cpu_features *cpu_features(void)
{
	return &fake_cpu_features;
}

struct cpu *smp_cpu(unsigned id)
{
	return id ? NULL : &boot_cpu;
}

const struct trap_frame *smp_stopped_at(const struct cpu *cpu)
{
	(void)cpu;
	return NULL;
}

_Thread_local bool fake_other_cpu;

bool smp_on_boot_cpu(void)
{
	return !fake_other_cpu;
}

void cpu_kick(struct cpu *cpu)
{
	__atomic_store_n(&cpu->work_pending, true, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&fake_cpu_kicks, 1, __ATOMIC_RELAXED);
}

void smp_do_work(void)
{
}

void smp_call_others(void (*fn)(void *ctx), void *ctx)
{
	(void)fn;
	(void)ctx;
}

bool rdmsr_safe(uint32_t msr, uint64_t *val)
{
	(void)msr;
	(void)val;
	return false;
}

bool wrmsr_safe(uint32_t msr, uint64_t val)
{
	(void)msr;
	(void)val;
	return false;
}

/* --- log, panic --- */

char fake_log[65536];
static enum log_level level = LOG_DEBUG;

void fake_log_reset(void)
{
	fake_log[0] = '\0';
}

bool fake_log_on_line = true;
int fake_log_level;
bool fake_log_shown;
static bool log_holds;
static char log_waiting[4096];
static uint64_t log_sent_lines;
static unsigned log_unsent_lines;

void log_set_line(bool on)
{
	if (!on)
		log_send_held();
	fake_log_on_line = on;
}

void log_send_held(void)
{
	if (fake_log_shown && log_waiting[0]) {
		console_fresh_line();
		console_write(log_waiting, strlen(log_waiting));
	}
	log_waiting[0] = '\0';
}

void log_hold(bool on)
{
	log_holds = on;
	if (!on)
		log_send_held();
}

unsigned log_held(void)
{
	unsigned n = 0;

	for (const char *at = log_waiting; (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

uint64_t log_sent(void)
{
	return log_sent_lines;
}

unsigned log_take_unsent(void)
{
	unsigned n = log_unsent_lines;

	log_unsent_lines = 0;
	return n;
}

void log_set_level(enum log_level l)
{
	level = l;
}

enum log_level log_level(void)
{
	return level;
}

void log_vline(enum log_level l, const char *fmt, va_list ap)
{
	size_t at = strlen(fake_log), from = at, used = strlen(log_waiting);

	fake_log_level = l;
	vsnprintf(fake_log + at, sizeof(fake_log) - at, fmt, ap);
	at = strlen(fake_log);
	if (at + 1 < sizeof(fake_log))
		strcpy(fake_log + at, "\n");
	if (!fake_log_on_line) {
		log_unsent_lines++;
		return;
	}
	log_sent_lines++;
	snprintf(log_waiting + used, sizeof(log_waiting) - used, "umbra: %s", fake_log + from);
	if (!log_holds)
		log_send_held();
}

void log_line(enum log_level l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vline(l, fmt, ap);
	va_end(ap);
}

size_t log_read(uint64_t *pos, char *buf, size_t size)
{
	size_t len = strlen(fake_log), n = *pos < len ? MIN(len - *pos, size) : 0;

	memcpy(buf, fake_log + *pos, n);
	*pos += n;
	return n;
}

static void log_text(void *ctx, const char *text)
{
	(void)ctx;
	log_line(LOG_INFO, "%s", text);
}

const struct printer fake_log_printer = { .line = log_text };

int trace_error_at(int err, const char *file, int line)
{
	(void)file;
	(void)line;
	return err;
}

void panic_set_history(void (*history)(void (*line)(const char *text)))
{
	(void)history;
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("panic: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

/* --- frames: host memory, found by its address (the direct map is at 0 if no test moves it) --- */

uint64_t direct_map_base;
uint64_t fake_frame_bytes;
uint64_t fake_frame_limit = UINT64_MAX;

#define FAKE_BLOCKS 8192
static struct {
	uint64_t pa, size;
	unsigned owner;
} blocks[FAKE_BLOCKS];

hpa_t frame_alloc(unsigned order, unsigned owner)
{
	uint64_t size = PAGE_SIZE << order;
	void *p;

	if (fake_frame_bytes + size > fake_frame_limit)
		return HPA(0);
	for (size_t i = 0; i < FAKE_BLOCKS; i++) {
		if (blocks[i].size)
			continue;
		p = aligned_alloc(size, size);
		if (!p)
			return HPA(0);
		memset(p, 0xa5, size);
		blocks[i].pa = ptr_to_hpa(p).v;
		blocks[i].size = size;
		blocks[i].owner = owner;
		fake_frame_bytes += size;
		return HPA(blocks[i].pa);
	}
	return HPA(0);
}

hpa_t frame_alloc_zeroed(unsigned order, unsigned owner)
{
	hpa_t pa = frame_alloc(order, owner);

	if (pa.v)
		memset(hpa_to_ptr(pa), 0, PAGE_SIZE << order);
	return pa;
}

/* The host gives no address below 4 GiB: it counts as one. */
hpa_t frame_alloc_low(unsigned order, unsigned owner)
{
	return frame_alloc_zeroed(order, owner);
}

void frame_free(hpa_t pa, unsigned order, unsigned owner)
{
	for (size_t i = 0; i < FAKE_BLOCKS; i++) {
		if (blocks[i].pa != pa.v || blocks[i].size != PAGE_SIZE << order ||
		    blocks[i].owner != owner)
			continue;
		free(hpa_to_ptr(pa));
		fake_frame_bytes -= blocks[i].size;
		blocks[i].size = blocks[i].pa = 0;
		return;
	}
	panic("frame_free: %llx order %u owner %u was not given", (unsigned long long)pa.v, order,
	      owner);
}

unsigned frame_owner_of(hpa_t pa)
{
	for (size_t i = 0; i < FAKE_BLOCKS; i++)
		if (blocks[i].size && pa.v >= blocks[i].pa && pa.v - blocks[i].pa < blocks[i].size)
			return blocks[i].owner;
	return FRAME_NONE;
}

bool frame_range_owned(hpa_t pa, uint64_t size, unsigned owner)
{
	for (uint64_t off = 0; off < size; off += PAGE_SIZE)
		if (frame_owner_of(HPA(pa.v + off)) != owner)
			return false;
	return size > 0;
}

uint64_t frame_bytes_total(void)
{
	return GIB(4);
}

uint64_t frame_bytes_free(void)
{
	return MIN(fake_frame_limit, GIB(4)) - fake_frame_bytes;
}

uint64_t frame_bytes_owned(unsigned owner)
{
	uint64_t n = 0;

	for (size_t i = 0; i < FAKE_BLOCKS; i++)
		if (blocks[i].size && blocks[i].owner == owner)
			n += blocks[i].size;
	return n;
}

uint64_t frame_pages_owned(unsigned owner, enum frame_size size)
{
	uint64_t n = 0;

	for (size_t i = 0; i < FAKE_BLOCKS; i++)
		if (blocks[i].size && blocks[i].owner == owner &&
		    size == (blocks[i].size >= GIB(1)   ? FRAME_1G
			     : blocks[i].size >= MIB(2) ? FRAME_2M
							: FRAME_4K))
			n += blocks[i].size >> (size == FRAME_1G ? 30 : size == FRAME_2M ? 21 : 12);
	return n;
}

void *kalloc(size_t size)
{
	return size > fake_frame_limit ? NULL : calloc(1, size);
}

void kfree(void *p, size_t size)
{
	(void)size;
	free(p);
}

/* --- FPU areas: never loaded, only owned --- */

uint32_t fake_pkru, fake_area_pkru;

void *fpu_area_alloc(void)
{
	return calloc(1, 512);
}

void fpu_area_free(void *area)
{
	free(area);
}

uint16_t fake_fpu_control, fake_fpu_status;
uint8_t fake_xmm[16][16];
uint64_t fake_mmx[8];

void fpu_xmm_read(unsigned reg, uint8_t bytes[16])
{
	memcpy(bytes, fake_xmm[reg], 16);
}

void fpu_xmm_write(unsigned reg, const uint8_t bytes[16])
{
	memcpy(fake_xmm[reg], bytes, 16);
}

uint64_t fpu_mmx_read(unsigned reg)
{
	return fake_mmx[reg];
}

void fpu_mmx_write(unsigned reg, uint64_t val)
{
	fake_mmx[reg] = val;
}

void fpu_init(void)
{
	fake_fpu_control = 0x37f;
	fake_fpu_status = 0;
}

void fpu_clear_exceptions(void)
{
	fake_fpu_status &= 0x7f00;
}

uint16_t fpu_control(void)
{
	return fake_fpu_control;
}

uint16_t fpu_status(void)
{
	return fake_fpu_status;
}

uint64_t fake_fpu_ip, fake_fpu_dp;

/* On the x87 of the test itself. */
void fpu_x87(unsigned fop, void *operand, uint64_t ip, uint64_t dp)
{
	__asm__ volatile("fnclex"); /* of another test's instructions */
	x87_run(fop, operand);
	__asm__ volatile("fnstsw %0; fnstcw %1" : "=m"(fake_fpu_status), "=m"(fake_fpu_control));
	fake_fpu_ip = ip;
	fake_fpu_dp = dp;
}

void fpu_x87_state(unsigned fop, struct x87_state *state)
{
	x87_run_state(fop, state);
}

uint32_t fpu_pkru(void)
{
	return fake_pkru;
}

uint32_t fpu_area_pkru(const void *area)
{
	(void)area;
	return fake_area_pkru;
}

/* --- interrupts --- */

uint64_t fake_trap_count[256];
unsigned fake_lapic_shown;

__attribute__((weak)) void lapic_show_pending(void)
{
	fake_lapic_shown++;
}

uint64_t trap_count(unsigned vector)
{
	return fake_trap_count[vector];
}

bool trap_is_handled(unsigned vector)
{
	return vector == TRAP_TIMER || vector == TRAP_ISA + 4;
}

/* --- console --- */

char fake_console_out[65536];
size_t fake_console_len;
size_t fake_console_room = sizeof(fake_console_out);
static const char *typed = "";

static bool console_putc(uint8_t c)
{
	if (fake_console_len + 1 >= sizeof(fake_console_out))
		return false;
	fake_console_room -= fake_console_room > 0;
	fake_console_out[fake_console_len++] = (char)c;
	fake_console_out[fake_console_len] = '\0';
	return true;
}

bool console_try_putc(uint8_t c)
{
	return fake_console_room && console_putc(c);
}

bool console_line_open(void)
{
	return fake_console_len && fake_console_out[fake_console_len - 1] != '\n';
}

size_t console_queued(void)
{
	return fake_console_room ? 0 : SERIAL_LINE_TX;
}

void console_tell(size_t queued)
{
	(void)queued;
}

void console_write(const char *s, size_t n)
{
	while (n--)
		console_putc((uint8_t)*s++); /* the real one waits for room */
}

void console_fresh_line(void)
{
	if (console_line_open())
		console_write("\n", 1);
}

int console_getc(void)
{
	return *typed ? (uint8_t)*typed++ : -1;
}

bool console_may_hold(uint8_t c)
{
	return strchr(typed, c);
}

void console_flush(void)
{
}

void fake_console_type(const char *text)
{
	typed = text;
}

/* --- another serial line, of whoever asks --- */

char fake_line_out[4096];
size_t fake_line_len;
size_t fake_line_queued;
bool fake_line_overrun;
const char *fake_line_why;
static const char *line_typed = "";
static struct serial_line fake_line;

void fake_line_type(const char *text)
{
	line_typed = text;
}

static const void *line_owner; /* the real one has many lines */

struct serial_line *serial_line_open(const char *spec, const void *owner, const char *name,
				     const char **why)
{
	(void)spec;
	(void)name;
	*why = fake_line_why;
	if (fake_line_why)
		return NULL;
	line_owner = owner;
	return &fake_line;
}

void serial_line_close(struct serial_line *l)
{
	(void)l;
	line_owner = NULL;
}

const void *fake_line_owner(void)
{
	return line_owner;
}

bool serial_line_try_putc(struct serial_line *l, uint8_t c)
{
	(void)l;
	if (fake_line_len + 1 >= sizeof(fake_line_out))
		return false;
	fake_line_out[fake_line_len++] = (char)c;
	fake_line_out[fake_line_len] = '\0';
	return true;
}

size_t serial_line_queued(struct serial_line *l)
{
	(void)l;
	return fake_line_queued;
}

void serial_line_tell(struct serial_line *l, size_t queued)
{
	(void)l;
	(void)queued;
}

int serial_line_getc(struct serial_line *l)
{
	(void)l;
	return *line_typed ? (uint8_t)*line_typed++ : -1;
}

bool serial_line_has_input(struct serial_line *l)
{
	(void)l;
	return *line_typed;
}

bool serial_line_overrun(struct serial_line *l)
{
	bool overrun = fake_line_overrun;

	(void)l;
	fake_line_overrun = false;
	return overrun;
}

/* --- what a debugger has of floor 1 --- */

void panic_set_debugger(void (*debugger)(const struct trap_frame *tf))
{
	(void)debugger;
}

size_t trap_copy(void *dst, const void *src, size_t n)
{
	memcpy(dst, src, n);
	return n;
}

void serial_line_panic(struct serial_line *l)
{
	(void)l;
}

static uint8_t fpu_image[512];

void fpu_image_read(uint8_t image[512])
{
	memcpy(image, fpu_image, sizeof(fpu_image));
}

void fpu_image_write(const uint8_t image[512])
{
	memcpy(fpu_image, image, sizeof(fpu_image));
}

void fpu_area_image_read(const void *area, uint8_t image[512])
{
	(void)area;
	fpu_image_read(image);
}

void fpu_area_image_write(void *area, const uint8_t image[512])
{
	(void)area;
	fpu_image_write(image);
}
