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

struct gdb_stop {
	bool ended;      /* it is gone */
	uint8_t signal;  /* GDB_SIG*; 0: it has ended by itself */
	unsigned thread; /* that it concerns */
	bool at_point;
	enum gdb_point point; /* the one that it came to */
	uint64_t at;          /* a watch point's address */
};

/* What is debugged. Threads have the numbers from 1. Errors: negative errno. */
struct gdb_target {
	unsigned (*process)(void); /* its number: not 0 */
	unsigned (*threads)(void); /* how many; 0: it is gone */
	void (*thread_name)(unsigned thread, char *buf, size_t size);
	enum gdb_arch (*arch)(void); /* as it is now */
	bool (*running)(void);
	/* False: it has no such register, or not that value. */
	bool (*get_reg)(unsigned thread, enum gdb_reg reg, uint8_t val[GDB_REG_BYTES]);
	bool (*set_reg)(unsigned thread, enum gdb_reg reg, const uint8_t val[GDB_REG_BYTES]);
	/* Bytes copied, up to the first address with nothing there. */
	size_t (*read)(unsigned thread, uint64_t at, void *buf, size_t n);
	size_t (*write)(unsigned thread, uint64_t at, const void *buf, size_t n);
	int (*set_point)(enum gdb_point kind, uint64_t at, unsigned size);
	int (*clear_point)(enum gdb_point kind, uint64_t at, unsigned size);
	/* A new session begins: it knows of no points. */
	void (*begin)(void);
	/* Go on, all threads or one instruction of one. gdb_stub_stopped() tells of the end. */
	int (*resume)(void);
	int (*step)(unsigned thread);
	/* Stop it; gdb_stub_stopped() tells when it has. */
	void (*interrupt)(void);
	void (*detach)(void); /* and let it run on */
	int (*kill)(void);
	/* GDB's `monitor`: put the answer into buf, cut to its size. False: there are none. */
	bool (*command)(const char *line, char *buf, size_t size);
};

struct gdb_stub {
	struct gdb_link link;
	const struct gdb_target *target;
	enum gdb_arch arch;    /* as GDB was told */
	unsigned thread;       /* that registers and memory are of */
	bool answer_stop;      /* GDB waits for the next stop */
	bool multiprocess;     /* it writes threads as pPROCESS.THREAD */
	bool swbreak, hwbreak; /* it knows these reasons of a stop */
	struct gdb_stop last;
};

/* No session yet. */
void gdb_stub_init(struct gdb_stub *s, const struct gdb_target *target);
/* A byte from the line: may carry out a command. */
void gdb_stub_take(struct gdb_stub *s, uint8_t c);
/* The next byte for the line; -1: none now. */
int gdb_stub_next(struct gdb_stub *s);
/* The target has stopped. GDB is told if it waits for that. */
void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop);
/* Does GDB wait for the target to stop? */
static inline bool gdb_stub_waits(const struct gdb_stub *s)
{
	return s->answer_stop;
}

#endif
