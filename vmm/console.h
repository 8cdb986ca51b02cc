/*
 * The host's console, shared by the operator's monitor and every VM's first serial port. One of
 * them is in front: it gets what is typed, and is seen. What the others say is kept, and shown
 * when they come to the front; or all are seen, a line at a time (follow). Ctrl-] and a key is
 * for the console itself, whatever is in front and whatever state it is in: soon, if not at once.
 *
 * All of it belongs to the loop of the first CPU, but for the functions under "devices", which the
 * CPUs that VMs run on call. The first CPU takes the VMs' locks here, and holds none when it comes
 * but one whose VM speaks or ends.
 */
#ifndef UMBRA_VMM_CONSOLE_H
#define UMBRA_VMM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;

/* --- VMs --- */

/* A VM that there is from now on, at rest or not: room for what it says. Its number, which
 * follows Ctrl-], is its id + 1. 0 or -ENOMEM. */
int console_add(struct vm *vm);
/* Who is in front from now on; NULL: the monitor. It is told with a banner line. */
void console_set_front(struct vm *vm);
/* The VM in front; NULL: the monitor. */
struct vm *console_front(void);
/*
 * A VM stops: what its port still holds is said, what was typed for it is forgotten. If it is in
 * front, the monitor takes its place, so that the log's lines about its end are seen; who comes
 * to the front is for the caller to say. Its devices are still there.
 */
void console_forget(struct vm *vm);
/* The VM's second port leads to one of the machine's: pc_line_work() is called for it now. */
void console_tie(struct vm *vm);
/* Has the operator come to the monitor by himself, and wants to stay there whatever VMs do? */
bool console_operator_stays(void);
/* Until when he is taken to be there: he went to the monitor by himself, and has typed something at
 * it not long ago. 0: he is not. */
uint64_t console_operator_until(void);

/* --- devices --- */

/*
 * A byte from the VM's first serial port, with vm->lock held. False: there is no room now, and
 * pc_console_ready(vm) will be called when there is: the line is slow and the VM is seen, or the
 * first CPU has not come by for long.
 */
bool console_vm_tx(struct vm *vm, uint8_t c);
/* That port may take a byte again, with vm->lock held: what was typed for it is carried soon. */
void console_vm_listens(struct vm *vm);

/* --- the operator --- */

struct console_operator {
	void (*enter)(void);      /* the monitor has come to the front: show the prompt */
	void (*input)(uint8_t c); /* a byte typed while it is in front */
	void (*redraw)(void);     /* a line of the log has come between: show what was typed */
	/* Since when the command at hand keeps it from what was typed behind that; 0: it has looked
	 * at all. */
	uint64_t (*behind)(void);
};

/* Who the monitor is. */
void console_set_operator(const struct console_operator *op);
/*
 * Text of the monitor's; \n becomes a line's end. Shown while the monitor is in front, at the
 * line's speed. Never waits: returns how many bytes were taken, fewer when there is no more room.
 */
size_t console_monitor_write(const char *s, size_t n);
/* So many bytes are taken and shown soon. When it is less than it
 * could be, work is marked as that changes. */
size_t console_monitor_space(void);
/* If what the monitor writes would not begin a line, end the one that is open. */
void console_monitor_fresh_line(void);
/* The monitor has looked at all that was typed: a Ctrl-] that waits for that is looked at soon. */
void console_monitor_ready(void);
/* See all VMs, each line with `name|` before it; keys go to the VM in front. On: the monitor gives
 * way to a VM, if one runs. */
void console_follow(bool on);
/* Umbra's log goes onto the line always, not only while the monitor is in front. */
void console_show_log(bool always);

/* --- run loop --- */

/* Carry what is typed to who is in front and what is said to the line. */
void console_work(void);

#endif
