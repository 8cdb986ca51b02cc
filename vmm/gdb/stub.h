/*
 * GDB's remote protocol: what its commands do to a target. Whoever has the line passes its bytes
 * in and out; nothing here waits.
 */
#ifndef UMBRA_VMM_GDB_STUB_H
#define UMBRA_VMM_GDB_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/gdb/packet.h"
#include "vmm/gdb/regs.h"

enum gdb_point {
	GDB_POINT_SOFTWARE, /* the protocol's numbers */
	GDB_POINT_HARDWARE,
	GDB_POINT_WRITE,
	GDB_POINT_READ,
	GDB_POINT_ACCESS,
	GDB_POINTS,
};

/* Signals, as GDB numbers them. */
#define GDB_SIGINT 2
#define GDB_SIGTRAP 5
#define GDB_SIGABRT 6
#define GDB_SIGSEGV 11

#define GDB_COMMAND_MAX 511 /* characters of a line for `monitor` */

/* A thread of a process: both have numbers from 1. */
#define GDB_PROCESSES 128 /* all numbers are below */
#define GDB_THREAD(process, number) ((process) << 8 | (number))
#define GDB_PROCESS_OF(thread) ((thread) >> 8)
#define GDB_NUMBER_OF(thread) ((thread)&0xff)

struct gdb_stop {
	bool ended;      /* the process is gone */
	uint8_t signal;  /* GDB_SIG*; 0: it has ended by itself */
	unsigned thread; /* that it concerns: a GDB_THREAD() */
	bool at_point;
	enum gdb_point point; /* the one that it came to */
	uint64_t at;          /* a watch point's address */
};

/*
 * What is debugged: processes, of which GDB is attached to some. `thread` is a GDB_THREAD(). When
 * gdb_stub_stopped() is called, none that GDB is attached to runs any more. Errors: negative errno.
 */
struct gdb_target {
	/* A process, attached to or not, by its name and state; false: there is none. */
	bool (*look)(unsigned process, const char **name, const char **state);
	/* The next that GDB is attached to, after this one; 0: none. */
	unsigned (*attached)(unsigned process);
	unsigned (*threads)(unsigned process); /* how many; 0: it is gone or not attached to */
	void (*thread_name)(unsigned thread, char *buf, size_t size);
	enum gdb_arch (*arch)(unsigned process); /* as it is now */
	bool (*running)(unsigned process);
	/* False: it has no such register, or not that value. */
	bool (*get_reg)(unsigned thread, enum gdb_reg reg, uint8_t val[GDB_REG_BYTES]);
	bool (*set_reg)(unsigned thread, enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES]);
	/* Bytes copied, up to the first address with nothing there. */
	size_t (*read)(unsigned thread, uint64_t at, void *buf, size_t n);
	size_t (*write)(unsigned thread, uint64_t at, const void *buf, size_t n);
	int (*set_point)(unsigned process, enum gdb_point kind, uint64_t at, unsigned size);
	int (*clear_point)(unsigned process, enum gdb_point kind, uint64_t at, unsigned size);
	/* A new session begins: it knows of no points, and is attached to one process at most. */
	void (*begin)(void);
	int (*attach)(unsigned process); /* to one more */
	/* Go on, all threads or one instruction of one. gdb_stub_stopped() tells of the end.
	 * -ENODEV: it is gone, and no longer attached to. */
	int (*resume)(unsigned process);
	int (*step)(unsigned thread);
	/* Stop it, or with 0 any of them; gdb_stub_stopped() tells when it has. */
	void (*interrupt)(unsigned process);
	void (*detach)(unsigned process); /* and let it run on */
	int (*kill)(unsigned process);
	/* GDB's `monitor`: put the answer into buf, cut to its size. False: there are none. */
	bool (*command)(const char *line, char *buf, size_t size);
};

struct gdb_stub {
	struct gdb_link link;
	enum gdb_event event; /* of the byte that came last */
	const struct gdb_target *target;
	enum gdb_arch arch[GDB_PROCESSES]; /* as GDB was told */
	bool had[GDB_PROCESSES];           /* it was attached to it, and has not let it go */
	unsigned thread;                   /* that registers and memory are of; 0: none */
	bool answer_stop;                  /* GDB waits for the next stop */
	bool multiprocess;                 /* it writes threads as pPROCESS.THREAD */
	bool swbreak, hwbreak;             /* it knows these reasons of a stop */
	struct gdb_stop last;
	const char *said; /* by a command of `monitor`; so much is still to be sent */
	size_t said_left;
};

/* No session yet, on a line that is new. */
void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target);
/* No session any more; what was to be sent still is, and a GDB that waits hears of an end. */
void gdb_stub_leave(struct gdb_stub *s);
/* A byte from the line. True: with it GDB asks for something, which gdb_stub_run() is to carry out
 * before the next byte; noise and acknowledgements ask for nothing. */
bool gdb_stub_take(struct gdb_stub *s, uint8_t c);
void gdb_stub_run(struct gdb_stub *s);
/* The next byte for the line; -1: none now. */
int gdb_stub_next(struct gdb_stub *s);
/* A process has stopped. GDB is told if it waits for that. */
void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop);
/* Does GDB wait for the target to stop? */
static inline bool gdb_stub_waits(const struct gdb_stub *s)
{
	return s->answer_stop;
}

#endif
