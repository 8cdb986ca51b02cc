/*
 * What the families of the monitor's commands share: how a command is described, its words, and
 * where its output goes. A family is one file, with one table of its commands.
 */
#ifndef UMBRA_VMM_MONITOR_COMMAND_H
#define UMBRA_VMM_MONITOR_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct vm;

#define MONITOR_WORDS_MAX 16

/* A line as it was typed, less the command's name: `x/4gx deb64 0x1000` has the format "4gx" and
 * two words. */
struct monitor_args {
	const char *format; /* what stood behind the name and a '/'; "": nothing */
	unsigned count;
	const char *word[MONITOR_WORDS_MAX];
	const char *text; /* all words as they were typed, one line */
	const char *rest; /* what follows a word "--", as it was typed; NULL: no such word */
};

/* What a word of a command completes to. */
enum monitor_word {
	WORD_OTHER,
	WORD_VM,
	WORD_COMMAND,
};

struct monitor_command {
	const char *name;
	const char *args;              /* "NAME ADDR [COUNT]"; "": none */
	const char *help;              /* what it does, in a line of at most 50 characters */
	const char *example;           /* a line that can be typed so */
	unsigned words_min, words_max; /* looked at before run() */
	enum monitor_word word[2];     /* the first ones */
	const char *format;            /* NAME/FORMAT: what help says of it; NULL: it takes none */
	bool takes_rest;               /* "--" and any text */
	/*
	 * Carry it out. False: a word is not what it should be, which monitor_wrong() has said;
	 * the usage is shown then. Nothing has been changed.
	 */
	bool (*run)(const struct monitor_args *args);
};

struct monitor_family {
	const char *title; /* "Virtual machines": in help's list */
	const struct monitor_command *commands;
	unsigned count;
};

/* The families, one a file; monitor.c lists them. */
extern const struct monitor_family monitor_vm_family;      /* vm.c: vms vm vcpus start stop... */
extern const struct monitor_family monitor_machine_family; /* machine.c: cpus mem uptime log... */
extern const struct monitor_family monitor_inspect_family; /* inspect.c: regs x dis bt vmcb */
extern const struct monitor_family monitor_paging_family;  /* paging.c: maps walk tables paging */
extern const struct monitor_family monitor_exits_family;   /* exits.c: exits trace irqs devs io */
extern const struct monitor_family monitor_debug_family;   /* debug.c: break watch step cont gdb */

/* --- for commands --- */

/* Put text into the command's output; lines end with \n. Those of more than 80 characters are
 * broken at blanks. What does not fit in its buffer is counted and said to be missing. A line may
 * come in many calls; one of them prints 2,047 bytes at most, what is beyond is lost. */
void monitor_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A name in a column of this width behind `indent` characters of its line. When it is longer the
 * row goes on below it, in its column. */
void monitor_name(unsigned indent, unsigned width, const char *name);
/* A line of it, for what prints by struct printer or pt_print_*(). */
static inline void monitor_print_line(void *ctx, const char *text)
{
	(void)ctx;
	monitor_printf("%s\n", text);
}
/* Say what is wrong with the command's words: that, and what is printed after it, no filter takes
 * away. Always false. */
bool monitor_wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Hold the VM (vmm_hold_vm()) until the command is done; NULL is harmless. The VM itself. */
struct vm *monitor_hold(struct vm *vm);
/* The VM that word i names, by its name or its number in vms (from 1), held; NULL: none, and said.
 */
struct vm *monitor_vm(const struct monitor_args *args, unsigned i);
/* The same, and *nr: of NAME.N the N, below VM_MAX_VCPUS, whether there is such a virtual CPU or
 * not; VM_MAX_VCPUS: NAME stands alone. */
struct vm *monitor_vm_nr(const struct monitor_args *args, unsigned i, unsigned *nr);
/* The same with a virtual CPU: NAME is its first, NAME.N its N-th (from 0). NULL also when the VM
 * has none now, as it is stopped and has been taken down; that is said. */
struct vcpu *monitor_vcpu(const struct monitor_args *args, unsigned i);
/* The number that word i is: decimal, 0x... or with K, M, G behind it. False: none, and said. */
bool monitor_number(const struct monitor_args *args, unsigned i, uint64_t *val);

#endif
