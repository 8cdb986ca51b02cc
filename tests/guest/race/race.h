/*
 * Processors that change the same page tables at once, drop what they changed from each other's
 * TLBs, and use the pages all the while. See docs/testing.md, "Races in page tables".
 */
#ifndef UMBRA_TESTS_GUEST_RACE_H
#define UMBRA_TESTS_GUEST_RACE_H

#include "tests/guest/lib/guest.h"

#define PAGE 0x1000u
#define LARGE 0x200000u
#define WORDS (PAGE / 8)
#define MAX_CPUS 8u

/* Physical memory; all of it is mapped as it lies, too. */
#define LOW_CODE 0x8000u /* what leads out of real mode */
#define POOL 0x400000u   /* frames for pages and tables */
#define NR_FRAMES 88u
#define HOMES 0x800000u      /* 2 MiB for each unit's large page */
#define WINDOW 0x8000000000u /* the second entry of each PML4 */

#define PTE_P 1u
#define PTE_W 2u
#define PTE_A 0x20u
#define PTE_D 0x40u
#define PTE_PS 0x80u
#define PTE_G 0x100u
#define PTE_NX ((uint64_t)1 << 63)
#define PTE_FRAME 0xffffffffff000u

#define PF_P 1u
#define PF_W 2u
#define PF_FETCH 0x10u

/*
 * Free frames are full of it. As an instruction it is #UD; as an entry of a table it leads to a
 * frame that is full of it as well, with A and D clear: so who still uses a table that was freed
 * sees it too, or leaves A or D behind.
 */
#define TRAP POOL /* that frame */
#define POISON (0x2bd0000000000b0fu | TRAP)

/* Of a page, in words: what it holds is in few of them, the rest is poison. */
#define WORD_TAG 0
#define WORD_CODE 1
#define WORD_CPU 8 /* from here on, one for each processor */
#define WORD_TAG2 (WORDS - 1)

#define NR_SPACES 3u
#define NR_SLOTS 6u /* of a unit */
#define NR_UNITS 8u
#define MAX_CELLS (NR_SPACES + 1)
#define MAX_VIEWS (NR_SPACES + 1)
#define ALL_SPACES ((1u << NR_SPACES) - 1)

/*
 * A page of the window. Who changes it holds the lock, and has the version odd from the change's
 * begin until all processors have dropped what they knew of it. Whoever finds the version even and
 * the same before and after an access knows exactly what that had to see.
 */
struct slot {
	uint32_t nr;
	volatile uint32_t lock, version;
	volatile bool mapped, w, x;
	volatile bool lazy;         /* rights were added, and no TLB was told */
	volatile uint64_t frame;    /* its physical address */
	volatile uint64_t gen, top; /* of what it holds now, of what it may hold soon */
	uint64_t entry;             /* that leads to it, less A and D; 0 under a large page */
	/* What is known of A and D. */
	bool d_set;                          /* D was set from the start */
	uint32_t a_base;                     /* the version since which A is clear */
	uint64_t base[MAX_CPUS];             /* the processors' words when D was cleared */
	volatile uint32_t read_at[MAX_CPUS]; /* the version at the last access that was sure */
	volatile bool tried;                 /* a write was begun since D was cleared, */
	bool tried_before; /* or in the time before, which ends with this change */
};

/* An entry of a page directory that leads to a unit. */
struct cell {
	volatile uint64_t *pde;
	volatile bool w, x;
	uint64_t entry; /* what is there, less A and D */
};

/* Where a unit is seen, in some spaces, with the rights of the entries above the cell. */
struct view {
	uint64_t va;
	unsigned spaces, cell;
	bool above_w, above_x;
};

/* 2 MiB of linear addresses at one place or at several: nothing, a page table, or a large page. */
struct unit {
	struct slot slots[NR_SLOTS];
	struct cell cells[MAX_CELLS];
	struct view views[MAX_VIEWS];
	unsigned nr_cells, nr_views, spaces;
	bool global, large;
	uint64_t table; /* 0: none */
	uint64_t home;  /* the large page */
};

/* What one processor wants the others to drop. */
enum drop { DROP_PAGES, DROP_CR3, DROP_ALL };
struct request {
	volatile uint32_t pending; /* a bit for each processor that has not done it yet */
	enum drop drop;
	unsigned nr;
	uint64_t va[NR_SLOTS * MAX_VIEWS];
};

enum probe { PROBE_NONE, PROBE_READ, PROBE_WRITE, PROBE_FETCH };

struct cpu {
	struct cpu *self; /* GS leads here */
	unsigned nr, apic_id;
	uint64_t random;
	volatile unsigned space;
	volatile uint32_t spaces; /* bits: those that its CR3 may lead to */
	struct request request;
	/* It waits in HLT: who answers last takes this away, and wakes it. */
	volatile uint32_t asleep;
	volatile bool woken;
	/* The access that is under way, and the fault that ended it. */
	volatile enum probe probe;
	volatile uint64_t probe_va;
	volatile bool faulted;
	volatile uint32_t error;
	struct slot *volatile writing;
	/* What it wrote last into its word of each slot. */
	struct {
		uint64_t gen, value;
		bool known;
	} last[NR_UNITS * NR_SLOTS];
	uint64_t written;
	/* Counted. */
	volatile uint64_t accesses, sure, faults, changes, shootdowns, drops, sleeps;
};

enum plant { PLANT_NONE, NO_SHOOTDOWN, NO_LOCAL, LOST_DIRTY, OLD_ROOT, NR_PLANTS };
struct options {
	uint64_t seed, seconds;
	uint64_t lost; /* so many accesses may leave A or D clear: QEMU loses one in ten millions */
	unsigned cpus; /* 0: as many as come */
	enum plant plant;
};

/* main.c */
extern struct options options;
extern volatile bool stopped;
void guest_main(uint32_t start_info) __attribute__((noreturn));
void cpu_main(unsigned nr) __attribute__((noreturn));
/* For all that waits: seconds go by, and a wait without an end is told. */
struct wait {
	uint64_t since, spins;
};
void wait_more(struct wait *wait, const char *what);
#define LOOK_EVERY 0x3fffu /* spins of a wait between two looks at the clock */

/* machine.c */
extern struct cpu cpus[MAX_CPUS];
extern unsigned nr_cpus;
static inline struct cpu *this_cpu(void)
{
	struct cpu *me;

	__asm__("mov %%gs:0, %0" : "=r"(me));
	return me;
}
static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}
static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
void machine_init(void);
/* GS, descriptors, the local APIC; interrupts on. */
void cpu_init(unsigned nr);
/* Start the others; how many processors there are then. */
unsigned start_others(unsigned wanted);
/* By interrupt: look at the others' requests; wake up. */
void send_shootdown(struct cpu *me, uint32_t to);
void send_wake(const struct cpu *to);
/* One says what is wrong; all stop. More can be said between the two. */
void wrong_begin(const char *what);
void wrong_value(const char *name, uint64_t val);
void wrong_end(void) __attribute__((noreturn));

static inline uint64_t rnd(struct cpu *me)
{
	me->random ^= me->random >> 12;
	me->random ^= me->random << 25;
	me->random ^= me->random >> 27;
	return me->random * 0x2545f4914f6cdd1du >> 16;
}
static inline uint32_t below(struct cpu *me, uint32_t n)
{
	return (uint32_t)(rnd(me) % n);
}
static inline bool one_in(struct cpu *me, uint32_t n)
{
	return !below(me, n);
}

/* frames.c */
static inline volatile uint64_t *at(uint64_t pa)
{
	return (volatile uint64_t *)(uintptr_t)pa;
}
void frames_init(void);
/* A free frame, which must be full of poison; 0: there is none. */
uint64_t frame_alloc(void);
/* Fill it with poison, all of it or what a page uses; give it back, if it is the pool's. */
void frame_free(uint64_t frame, bool page);
/* It must be full of poison. */
void frame_check(uint64_t frame);
void frames_check(void);
void lock(volatile uint32_t *word);
bool try_lock(volatile uint32_t *word);
void unlock(volatile uint32_t *word);

/* spaces.c */
extern struct unit units[NR_UNITS];
extern volatile uint64_t roots[NR_SPACES];
extern const uint16_t slot_index[NR_SLOTS];
void spaces_init(void);
/* The processor's own: CR3 and what it says it has there. */
void enter_space(struct cpu *me, unsigned space);
/* A root's upper tables move to other frames. */
void renew_root(struct cpu *me);
/* Drop these slots (bits) of the unit from all TLBs that may have them. */
void shoot_down(struct cpu *me, const struct unit *unit, unsigned slots);
#define ALL_SLOTS ((1u << NR_SLOTS) - 1)
/* By interrupt: what the others want dropped. */
void serve(struct cpu *me);
/* Something that nobody asked for, and that changes nothing. */
void drop_at_random(struct cpu *me);

/* change.c */
/* Change a slot or a unit. */
void change_slot(struct cpu *me, struct unit *unit, unsigned slot);
void change_unit(struct cpu *me, struct unit *unit);
void check_all(void);

/* access.c */
void access(struct cpu *me, struct unit *unit, unsigned slot);
static inline uint64_t tag_of(const struct slot *slot, uint64_t gen)
{
	return (uint64_t)(slot->nr + 1) << 48 | gen;
}
/* What the code of a page gives back. */
static inline uint32_t code_value(const struct slot *slot, uint64_t gen)
{
	return slot->nr << 24 | (gen & 0xffffff);
}

/* entry.asm */
struct frame {
	uint64_t reg[15]; /* R15 first, RAX last */
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
void on_trap(struct frame *frame);
uint64_t probe_read(uint64_t va);
void probe_write(uint64_t va, uint64_t val);
uint32_t probe_fetch(uint64_t va);
extern const uint8_t probe_read_at[], probe_write_at[], probe_ret[];
extern const uint64_t idt_stubs[256];
extern const uint8_t low_code[], low_code_end[];

#endif
