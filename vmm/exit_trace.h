/*
 * A ring of a vCPU's last exits: when, where, what, and what it cost. Memory is taken while the
 * trace is on, and only then does an exit do anything for it.
 */
#ifndef UMBRA_VMM_EXIT_TRACE_H
#define UMBRA_VMM_EXIT_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/exit.h"

struct vcpu;

#define EXIT_TRACE_RECORDS 4096
/* Room for what exit_trace_detail() writes. */
#define EXIT_TRACE_DETAIL 32

struct exit_record {
	uint64_t kind_tsc; /* the kind in the top byte, TSC bits 55-0 of when the guest was left */
	uint64_t rip;
	uint64_t detail; /* a value or an address, by kind */
	uint32_t info;   /* port, MSR, error code..., by kind */
	uint32_t ticks;  /* its cost, or UINT32_MAX if that is more */
};

struct exit_trace {
	struct exit_record *records; /* [EXIT_TRACE_RECORDS]; NULL: off */
	uint64_t total;              /* exits recorded since it was turned on */
};

/* Begin an empty trace. 0, -EBUSY (it is on), -ENOMEM. */
int exit_trace_on(struct exit_trace *t);
/* Forget it all, and give the memory back; harmless when it is off. */
void exit_trace_off(struct exit_trace *t);

/* The trace is on: record vcpu->exit, of which nothing has been handled yet. */
void exit_trace_add(struct exit_trace *t, const struct vcpu *vcpu, uint64_t tsc);
/* The cost of the exit recorded last. */
void exit_trace_cost(struct exit_trace *t, uint64_t ticks);

/* How many records there are. */
unsigned exit_trace_count(const struct exit_trace *t);
/* Of these the one with that index, the oldest is 0. */
const struct exit_record *exit_trace_record(const struct exit_trace *t, unsigned index);
enum vm_exit_kind exit_record_kind(const struct exit_record *r);
uint64_t exit_record_tsc(const struct exit_record *r);
/* What was done, in a few words: "out 3f8 1 41". At most 25 characters. */
void exit_trace_detail(const struct exit_record *r, char *text, size_t size);
/* The whole record as a line without its end: TSC, RIP, kind, ticks, detail; 80 characters while
 * the TSC has no more than EXIT_TRACE_TSC digits and the cost no more than 8. */
#define EXIT_TRACE_TSC 15
void exit_trace_line(const struct exit_record *r, char *text, size_t size);
/* The last EXIT_TRACE_TAIL of them, if it is on, handed to line() one by one, without their costs:
 * the log's lines begin with a word of its own. */
#define EXIT_TRACE_TAIL 16
void exit_trace_tail(const struct exit_trace *t, void (*line)(const char *text));
/* What stands over such lines, behind "TSC". */
#define EXIT_TRACE_HEAD "RIP              KIND            TICKS DETAIL"

#endif
