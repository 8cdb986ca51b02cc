/*
 * A processor's local APIC: xAPIC registers in memory or x2APIC MSRs, priorities, local interrupts,
 * the timer, and messages between the local APICs of a VM. SDM vol. 3, chapter 11. It knows
 * nothing of vCPUs: what it does to its processor goes through struct lapic_cpu.
 *
 * A local APIC belongs to the CPU that its processor is on: only that one calls what changes it.
 * What others have for it, messages and the levels of its pins, they put into its inbox, by atomic
 * operations; its own CPU folds that into the registers, before it looks at them.
 */
#ifndef UMBRA_VMM_LAPIC_H
#define UMBRA_VMM_LAPIC_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "vmm/apic_msg.h"

#define LAPIC_MAX 64 /* in a VM; their ids are 0 to 63 */
#define LAPIC_BASE UINT64_C(0xfee00000)
/* What the divide configuration register divides; CPUID tells it, and tells the TSC as a fraction
 * of it. At 25 MHz, as many processors' crystals have, each TSC has one that is near
 * (cpuid_tsc_ratio()). */
#define LAPIC_TIMER_HZ 25000000u
/* A periodic timer does not fire more often than this, whatever the guest asks. */
#define LAPIC_MIN_PERIOD_NS 100000
/* Periodic ticks that came while the one before them still waited; they are made up for. */
#define LAPIC_MAX_OWED 100

enum lapic_mode { LAPIC_OFF, LAPIC_XAPIC, LAPIC_X2APIC };
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

/* A bit a vector; 0 to 15 are never set. */
struct lapic_vectors {
	uint32_t word[8];
	uint8_t used; /* which words are not zero */
};

/* What it does to its processor, and asks of it. The first five are called on any CPU. */
struct lapic_cpu {
	void (*nmi)(void *ctx);
	/* These two see to it that it looks; lapic_init_signal() is for when it takes the INIT. */
	void (*init)(void *ctx);
	void (*startup)(void *ctx, uint8_t vector);
	/* It has something to take that it did not ask for itself. */
	void (*kick)(void *ctx);
	/* The same, of what is in inbox.posted alone. */
	void (*notify)(void *ctx);
	void (*tpr_changed)(void *ctx, uint8_t tpr); /* CR8 is its upper half */
	uint64_t (*tsc)(void *ctx);                  /* the guest's */
};

struct lapic_timer {
	struct timer timer;
	uint32_t initial;
	unsigned shift;    /* a count is 2^shift ticks of LAPIC_TIMER_HZ */
	bool running;      /* one-shot and periodic: it counts since start_ns */
	uint64_t start_ns; /* when it was at initial */
	uint64_t next_ns;  /* periodic: the tick that it is armed for */
	uint64_t last_fire_ns;
	uint64_t deadline; /* the guest's TSC; 0: not armed */
	unsigned owed;
	bool held; /* periodic: not armed, as a tick waits; next_ns is that of the first unreckoned
		    */
	uint64_t work_ns;  /* lapic_timer_work() */
	uint64_t rearm_ns; /* between lapic_leave() and lapic_arrive(), if it was armed; else 0 */
};

/*
 * What others have sent and its own CPU has not folded yet. All atomic. It begins with a
 * posted-interrupt descriptor, of which a processor that has such takes what is posted by itself
 * while it runs the guest, and clears NEWS_POSTED before that. SDM vol. 3, 29.6.
 */
struct lapic_inbox {
	alignas(64) uint32_t posted[8]; /* by edges, for it to take unseen; a bit each */
	uint32_t news;                  /* NEWS_*; where there is something. 0: nowhere */
	uint32_t unused[7];
	uint32_t vectors[2][8]; /* the others, by edges, by levels */
	uint32_t pins;          /* PIN_* */
};
static_assert(offsetof(struct lapic_inbox, news) == 32, "ON is bit 256");

struct lapic_set;

struct lapic {
	struct lapic_inbox inbox; /* first: what lies in a page of its own has it at its start */
	uint8_t next;             /* lapic_next(), when nothing has been posted since */
	bool extint_blocked;      /* the 8259 does not reach the processor */
	uint64_t last_byte;       /* of its registers' page; 0: they are nowhere */
	struct lapic_set *set;
	const struct lapic_cpu *cpu;
	void *ctx;
	unsigned id;
	bool bsp;
	enum lapic_mode mode;
	uint64_t base; /* IA32_APIC_BASE */
	struct lapic_vectors irr, isr, tmr;
	uint8_t tpr, ppr;
	const uint32_t
		*page;     /* while the guest runs: where TPR is, if the processor has it; atomic */
	bool page_vectors; /* IRR and ISR as well; atomic */
	bool has_taken;    /* lapic_page.c: some of taken are to be told of */
	uint32_t taken[8]; /* what the processor has taken, a bit each */
	uint8_t unshown;   /* lapic_page.c: LAPIC_SHOW_*: has changed since lapic_show() */
	uint32_t ldr, dfr, svr;
	uint32_t esr, errors; /* as last written; what has come since */
	bool error_told;      /* an interrupt has told of errors since then */
	uint32_t icr[2];
	uint32_t lvt[LVTS];
	uint32_t divide;
	bool lint[2];    /* the two pins */
	bool extint_msg; /* an I/O APIC has passed the 8259's interrupt on, which is still there */
	struct lapic_timer timer;
};

/* The local APICs of a VM, and the bus between them. */
struct lapic_set {
	unsigned nr;
	struct lapic *lapic[LAPIC_MAX]; /* by id */
	unsigned turn;                  /* lowest priority: among equals who comes next; atomic */
	bool extint_sent;               /* by an I/O APIC, since lapic_bus_extint_over() */
	/* A level-triggered vector has been ended, and the I/O APICs are to know. May be NULL. Both
	 * are called on the processors' own CPUs, several at a time. */
	void (*eoi)(void *ctx, uint8_t vector);
	/* A processor has taken an interrupt of its local APIC's. May be NULL. */
	void (*taken)(void *ctx, uint8_t vector);
	/* The vector whose taking is waited for; 0: none. May be NULL. */
	uint8_t (*awaited)(void *ctx);
	void *eoi_ctx;
};

/* The state after power-on, as number set->nr of the VM's; number 0 is the bootstrap processor's.
 */
void lapic_setup(struct lapic *l, struct lapic_set *set, const struct lapic_cpu *cpu, void *ctx);
/* Disarm its timer. */
void lapic_destroy(struct lapic *l);
/* As a PC's firmware leaves the bootstrap processor's: enabled, the 8259 on LINT0, NMI on LINT1. */
void lapic_virtual_wire(struct lapic *l);
/* The processor takes an INIT. What has been posted until now is lost. SDM vol. 3, 11.4.7.3. */
void lapic_init_signal(struct lapic *l);
/* It goes off its CPU, on which this is called; it comes onto another one, or the same. In between
 * its timer does not fire; what fell due then does at once. */
void lapic_leave(struct lapic *l);
void lapic_arrive(struct lapic *l);

/* --- by any CPU --- */

/* Has anything been put into the inbox since the last lapic_fold()? Whoever puts something there
 * that the processor is to look at kicks it after that. */
static inline bool lapic_has_posted(const struct lapic *l)
{
	return __atomic_load_n(&l->inbox.news, __ATOMIC_RELAXED);
}

/* One of the pins LINT0 and LINT1 changes. One CPU at a time. */
void lapic_set_lint(struct lapic *l, unsigned pin, bool level);
/* A message of an I/O APIC, a device or the like: struct apic_wire's send(); set: struct
 * lapic_set. */
bool lapic_bus_send(void *set, const struct apic_msg *msg);
/* The 8259 wants no interrupt any more: nobody may take it who was sent an ExtINT for it. One CPU
 * at a time, and none that sends an ExtINT. */
void lapic_bus_extint_over(struct lapic_set *set);
/* Has a processor this vector's interrupt still to take? */
bool lapic_bus_waits(const struct lapic_set *set, uint8_t vector);

/* --- by the processor's own CPU --- */

/* Take in what has been posted. */
void lapic_fold(struct lapic *l);

/* The vector that the processor would take now; 0: none. */
static inline uint8_t lapic_next(struct lapic *l)
{
	if (__builtin_expect(lapic_has_posted(l), 0))
		lapic_fold(l);
	return l->next;
}

/* Take lapic_next(), which counts as in service from now on; with none, the spurious vector. */
uint8_t lapic_ack(struct lapic *l);

/* TPR, by MOV to CR8; and all of it. Not told of by tpr_changed(). */
void lapic_write_cr8(struct lapic *l, uint64_t cr8);
void lapic_write_tpr(struct lapic *l, uint8_t tpr);
/* The priority class of an interrupt that TPR alone keeps from the processor; 0: there is none. */
unsigned lapic_held_class(const struct lapic *l);

/* WRMSR to IA32_APIC_BASE. False: refused. l->last_byte may have changed. */
bool lapic_write_base(struct lapic *l, uint64_t val, unsigned maxphyaddr);
/* The registers in memory; off lies in their page. Any size from 1 to 8; what lies in none is
 * zero, and writes but whole ones of 32 bits are lost. */
uint64_t lapic_mmio_read(struct lapic *l, unsigned off, unsigned size);
void lapic_mmio_write(struct lapic *l, unsigned off, unsigned size, uint64_t val);
/* MSRs 800 to 8ff. False: #GP. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *val);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val);

/*
 * Registers on a page of their own, each at its offset, for a processor that answers some accesses
 * from there by itself while it runs the guest. SDM vol. 3, 29.1.1. In between they are here.
 */

/* IRR, ISR and TMR, TPR and PPR; the others that can be read without anything being computed. */
#define LAPIC_SHOW_VECTORS 0x1u
#define LAPIC_SHOW_REGISTERS 0x2u

/* Bring the page up to date: what has changed since the last time. What that was. */
unsigned lapic_show(struct lapic *l, uint32_t *page);
/* The processor delivers interrupts and ends them on the page: take over IRR and ISR. If
 * l->has_taken is set then, lapic_tell_taken() is to follow, which others may be waited for in. */
void lapic_take_back(struct lapic *l, const uint32_t *page);
void lapic_tell_taken(struct lapic *l);
/* Is it switched on, by its SVR as well? */
bool lapic_takes_more(const struct lapic *l);
/* The processor lets the interrupt command register be written there. */
void lapic_take_back_icr(struct lapic *l, const uint32_t *page);
/* The guest has written the register at off, in its page, and the value is there. */
void lapic_written(struct lapic *l, const uint32_t *page, unsigned off);
/* The guest has ended this vector; ISR has been told already. */
void lapic_ended(struct lapic *l, uint8_t vector);
/* The vectors, a bit each, whose ends lapic_ended() is to be told of. */
void lapic_watched_ends(const struct lapic *l, uint64_t vectors[4]);
/* The highest vector of IRR, and of ISR; 0: none. */
uint8_t lapic_highest_waiting(const struct lapic *l);
uint8_t lapic_highest_served(const struct lapic *l);

/* How long the CPU has worked for its timer since it was asked last, in nanoseconds. */
uint64_t lapic_timer_work(struct lapic *l);

/* IA32_TSC_DEADLINE. */
uint64_t lapic_read_deadline(struct lapic *l);
void lapic_write_deadline(struct lapic *l, uint64_t tsc);
/* The guest's TSC was set: a deadline is nearer, or farther off. */
void lapic_tsc_changed(struct lapic *l);

#endif
