#include "arch/x86_64/log.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"
#include "arch/x86_64/smp.h"

#define KEPT_BYTES 65536 /* a power of two */
#define LINE_BYTES 512
#define HELD_MAX (KEPT_BYTES / 4)

static const char prefix[] = "umbra: ";
static const char cut[] = "...\n";

static struct spinlock lock = SPINLOCK_INIT(LOCK_LOG);
static char kept[KEPT_BYTES]; /* guarded by lock */
static uint64_t kept_end;     /* guarded by lock; bytes kept since boot */
static uint64_t sent;         /* written with lock, read by any CPU; lines */
static unsigned unsent;       /* guarded by lock; lines */
static size_t held;           /* guarded by lock; the last bytes kept, which are to be sent yet */
static unsigned held_lines;   /* written with lock, read by any CPU */
static bool hold;             /* guarded by lock */
static bool on_line = true;   /* guarded by lock */
static bool panicked;         /* all is sent at once, by whichever CPU */
static enum log_level level = LOG_INFO; /* atomic */

void log_set_level(enum log_level l)
{
	__atomic_store_n(&level, l, __ATOMIC_RELAXED);
}

enum log_level log_level(void)
{
	return __atomic_load_n(&level, __ATOMIC_RELAXED);
}

static uint64_t log_lock(void)
{
	uint64_t flags = irq_save();

	spin_lock(&lock);
	return flags;
}

static void log_unlock(uint64_t flags)
{
	spin_unlock(&lock);
	irq_restore(flags);
}

/* What waits goes out. With the lock. */
static void send_held(void)
{
	char piece[128];

	if (!held)
		return;
	console_fresh_line();
	while (held) {
		size_t n = 0;

		for (uint64_t at = kept_end - held; n < sizeof(piece) && n < held; n++)
			piece[n] = kept[at++ % KEPT_BYTES];
		console_write(piece, n);
		held -= n;
	}
	__atomic_store_n(&sent, sent + held_lines, __ATOMIC_RELAXED);
	__atomic_store_n(&held_lines, 0, __ATOMIC_RELAXED);
}

void log_send_held(void)
{
	uint64_t flags = log_lock();

	send_held();
	log_unlock(flags);
}

void log_set_line(bool on)
{
	uint64_t flags = log_lock();

	if (!on) /* what comes now does not go out, what waits does */
		send_held();
	on_line = on;
	log_unlock(flags);
}

void log_hold(bool on)
{
	uint64_t flags = log_lock();

	hold = on;
	if (!on)
		send_held();
	log_unlock(flags);
}

unsigned log_held(void)
{
	return __atomic_load_n(&held_lines, __ATOMIC_ACQUIRE);
}

void log_panic(void)
{
	panicked = true;
	send_held();
}

bool log_is_panicked(void)
{
	return panicked;
}

bool log_nmi_may(void)
{
	return !panicked && !spin_is_locked(&lock) && !console_is_locked();
}

uint32_t log_turns(void)
{
	return spin_is_locked(&lock) ? spin_turns(&lock) : console_turns();
}

#ifdef UMBRA_DEBUG
void log_with_lock(void (*fn)(void *ctx), void *ctx)
{
	uint64_t flags = log_lock();

	fn(ctx);
	log_unlock(flags);
}
#endif

uint64_t log_sent(void)
{
	return __atomic_load_n(&sent, __ATOMIC_RELAXED);
}

unsigned log_take_unsent(void)
{
	uint64_t flags = log_lock();
	unsigned n = unsent;

	unsent = 0;
	log_unlock(flags);
	return n;
}

static void keep(const char *s, size_t n)
{
	while (n--)
		kept[kept_end++ % KEPT_BYTES] = *s++;
}

/* A line of n bytes, which have been kept, is to go out. With the lock. True: the first CPU is to
 * come by. */
static bool send_line(size_t n)
{
	held += n;
	__atomic_store_n(&held_lines, held_lines + 1, __ATOMIC_RELEASE);
	if (!panicked && held <= HELD_MAX && (hold || this_cpu() != &boot_cpu))
		return true;
	send_held();
	return false;
}

void log_vline(enum log_level l, const char *fmt, va_list ap)
{
	const size_t head = sizeof(prefix) - 1, tail = sizeof(cut) - 1;
	char line[LINE_BYTES];
	uint64_t flags;
	bool kick = false;
	size_t n;

	if (l > log_level())
		return;
	memcpy(line, prefix, head);
	n = head + (size_t)kvsnprintf(line + head, sizeof(line) - head - tail, fmt, ap);
	if (n >= sizeof(line) - tail) {
		memcpy(line + sizeof(line) - tail - 1, cut, tail);
		n = sizeof(line) - 1;
	} else {
		line[n++] = '\n';
	}
	flags = log_lock();
	keep(line, n);
	if (on_line)
		kick = send_line(n);
	else
		unsent++;
	log_unlock(flags);
	if (kick)
		cpu_kick(&boot_cpu);
}

void log_line(enum log_level l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vline(l, fmt, ap);
	va_end(ap);
}

int trace_error_at(int err, const char *file, int line)
{
	log_debug("error %d at %s:%d", err, file, line);
	return err;
}

size_t log_read(uint64_t *pos, char *buf, size_t size)
{
	uint64_t flags = log_lock();
	size_t n = 0;

	if (kept_end > KEPT_BYTES && *pos < kept_end - KEPT_BYTES)
		*pos = kept_end - KEPT_BYTES;
	while (n < size && *pos < kept_end)
		buf[n++] = kept[(*pos)++ % KEPT_BYTES];
	log_unlock(flags);
	return n;
}
