#include "arch/x86_64/log.h"

#include "arch/x86_64/console.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "arch/x86_64/lib/printf.h"
#include "arch/x86_64/lib/spinlock.h"
#include "arch/x86_64/lib/string.h"

#define KEPT_BYTES 65536 /* a power of two */
#define LINE_BYTES 512
#define HELD_MAX (KEPT_BYTES / 4)

static const char prefix[] = "umbra: ";
static const char cut[] = "...\n";

static struct spinlock lock = SPINLOCK_INIT(LOCK_LOG);
static char kept[KEPT_BYTES]; /* guarded by lock */
static uint64_t kept_end;     /* guarded by lock; bytes kept since boot */
static uint64_t sent;         /* guarded by lock; lines */
static unsigned unsent;       /* guarded by lock; lines */
static size_t held;           /* guarded by lock; the last bytes kept, which are to be sent yet */
static unsigned held_lines;   /* guarded by lock */
static bool hold;
static bool on_line = true;
static enum log_level level = LOG_INFO;

void log_set_level(enum log_level l)
{
	level = l;
}

enum log_level log_level(void)
{
	return level;
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
	sent += held_lines;
	held_lines = 0;
}

void log_send_held(void)
{
	uint64_t flags = irq_save();

	spin_lock(&lock);
	send_held();
	spin_unlock(&lock);
	irq_restore(flags);
}

void log_set_line(bool on)
{
	if (!on) /* what comes now does not go out, what waits does */
		log_send_held();
	on_line = on;
}

void log_hold(bool on)
{
	hold = on;
	if (!on)
		log_send_held();
}

bool log_held(void)
{
	return held;
}

void log_panic(void)
{
	hold = false;
	send_held();
}

uint64_t log_sent(void)
{
	return sent;
}

unsigned log_take_unsent(void)
{
	uint64_t flags = irq_save();
	unsigned n;

	spin_lock(&lock);
	n = unsent;
	unsent = 0;
	spin_unlock(&lock);
	irq_restore(flags);
	return n;
}

static void keep(const char *s, size_t n)
{
	while (n--)
		kept[kept_end++ % KEPT_BYTES] = *s++;
}

void log_vline(enum log_level l, const char *fmt, va_list ap)
{
	const size_t head = sizeof(prefix) - 1, tail = sizeof(cut) - 1;
	char line[LINE_BYTES];
	uint64_t flags;
	size_t n;

	if (l > level)
		return;
	memcpy(line, prefix, head);
	n = head + (size_t)kvsnprintf(line + head, sizeof(line) - head - tail, fmt, ap);
	if (n >= sizeof(line) - tail) {
		memcpy(line + sizeof(line) - tail - 1, cut, tail);
		n = sizeof(line) - 1;
	} else {
		line[n++] = '\n';
	}
	flags = irq_save();
	spin_lock(&lock);
	keep(line, n);
	if (on_line) {
		held += n;
		held_lines++;
		if (!hold || held > HELD_MAX)
			send_held();
		else
			this_cpu()->work_pending = true;
	} else {
		unsent++;
	}
	spin_unlock(&lock);
	irq_restore(flags);
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
	uint64_t flags = irq_save();
	size_t n = 0;

	spin_lock(&lock);
	if (kept_end > KEPT_BYTES && *pos < kept_end - KEPT_BYTES)
		*pos = kept_end - KEPT_BYTES;
	while (n < size && *pos < kept_end)
		buf[n++] = kept[(*pos)++ % KEPT_BYTES];
	spin_unlock(&lock);
	irq_restore(flags);
	return n;
}
