/*
 * The log: lines with a level, kept in a ring and, while that is wanted, sent to the host's
 * console. Any CPU logs, in any context (an NMI's: log_nmi_may()); the CPU that booted sends.
 * Boot option loglevel=err|warn|info|debug. No guest may decide how often a line is
 * logged: what it can cause is said once in its VM's life (vm->notices), or ends that.
 */
#ifndef UMBRA_LOG_H
#define UMBRA_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above this level are dropped, neither sent nor kept. LOG_INFO at first. */
void log_set_level(enum log_level level);
enum log_level log_level(void);

/* Are lines sent to the console, or kept only? Sent at first. */
void log_set_line(bool on);
/*
 * Hold back what is to be sent: the lines wait, in their order, for log_send_held(), and the first
 * CPU is kicked. Off: what waits is sent, and each line of that CPU's is at once again; the others'
 * lines still wait for it, as it alone knows what is being written on the line.
 */
void log_hold(bool on);
/* How many lines wait? */
unsigned log_held(void);
/* Send those that wait. */
void log_send_held(void);
/* The same, whatever state the log is in, and hold no CPU's lines from now on. For panic(). */
void log_panic(void);
/* Has log_panic() been called? */
bool log_is_panicked(void);
/* May one log who must not wait: an NMI's handler, the watchdog? Not where somebody else does, who
 * may be cut off, or in a panic. */
bool log_nmi_may(void);
/* Which turn it is of the lock for which log_nmi_may() says no; it wraps. While it stays so, that
 * is one and the same. */
uint32_t log_turns(void);
#ifdef UMBRA_DEBUG
/* For tests of the watchdog: have its lock, and do this. */
void log_with_lock(void (*fn)(void *ctx), void *ctx);
#endif
/* How many have been sent so far. */
uint64_t log_sent(void);
/* How many have been kept and not sent since the last call of this. */
unsigned log_take_unsent(void);

/* Log one line of at most 500 characters; fmt carries no newline at its end. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vline(enum log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

#define log_err(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* Returns err after logging at debug level where it was born. err < 0. */
#define trace_error(err) trace_error_at((err), __FILE__, __LINE__)
int trace_error_at(int err, const char *file, int line);

/*
 * The kept text: its first bytes from position pos on, at most size. Positions count
 * from boot; one older than what is kept is moved up to it. Returns the bytes copied;
 * *pos becomes the position after them.
 */
size_t log_read(uint64_t *pos, char *buf, size_t size);

#endif
