/*
 * Stand-ins for the machine (floor 1), so that floors 0, 2 and 3 run in a hosted test:
 * a clock that moves when told, timers on it, frames from the host's heap, a log kept
 * in a buffer, a console.
 */
#ifndef UMBRA_TESTS_FAKES_H
#define UMBRA_TESTS_FAKES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Clock: starts at 0. Advancing calls each timer that comes due, in order, at its time. */
extern uint64_t fake_now_ns;
void fake_clock_advance(uint64_t ns);
extern uint64_t fake_wall_seconds; /* what clock_wall_seconds() says at clock 0 */
extern uint64_t fake_clock_step;   /* the clock moves on by so much when it is read; default 0 */
extern uint64_t fake_tsc_hz;       /* what clock_tsc_hz() says; default 1 GHz */
extern void (*fake_tsc_hz_asked)(void); /* called by it; default NULL */
void fake_timers_reset(void);           /* forget all armed timers; the clock as at first */

/* Log: the text of all lines since the last reset, newline after each. */
extern char fake_log[65536];
extern int fake_log_level; /* of the last line: enum log_level */
extern bool fake_log_on_line;
extern bool fake_log_shown; /* lines that are sent are written to the console; default not */
void fake_log_reset(void);
/* Its lines go there. */
struct printer;
extern const struct printer fake_log_printer;

/* The CPU: what cpu_features() says; every MSR is #GP to the *_safe functions. */
struct cpu_features;
extern struct cpu_features fake_cpu_features; /* SVM, NX, 48 physical address bits */
extern uint32_t fake_pkru, fake_area_pkru;    /* the processor's, every saved vCPU's */
extern uint16_t fake_fpu_control, fake_fpu_status;
extern uint64_t fake_fpu_ip, fake_fpu_dp; /* of the last fpu_x87() */
extern uint8_t fake_xmm[16][16];
extern uint64_t fake_mmx[8];

/* A thread is a CPU: is it another than the one that booted? */
extern _Thread_local bool fake_other_cpu;

/* Frames: how many bytes are out now, over all owners; and a limit to make them run out. */
extern uint64_t fake_frame_bytes;
extern uint64_t fake_frame_limit; /* default UINT64_MAX */

/* Console: what was written, what will be read. */
/* Interrupts of the vectors that somebody takes. */
extern uint64_t fake_trap_count[256];
extern unsigned fake_lapic_shown; /* how often lapic_show_pending() was called */

extern char fake_console_out[65536];
extern size_t fake_console_len;
extern size_t fake_console_room; /* bytes that it takes; default a lot */
void fake_console_type(const char *text);

/* The one line that serial_line_open() gives: what was sent, what will be read. */
extern char fake_line_out[4096];
extern size_t fake_line_len;
extern size_t fake_line_queued;
extern bool fake_line_overrun;
extern const char *fake_line_why; /* why it cannot be opened; NULL: it can */
const void *fake_line_owner(void);
void fake_line_type(const char *text);

/* How often cpu_kick() and cpu_interrupt() were called. */
extern unsigned fake_cpu_kicks;
/* The same of cpu_notify(). */
extern unsigned fake_cpu_notes;

#endif
