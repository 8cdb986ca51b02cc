/*
 * A guest that tries every door: ports, MSRs, CPUID, control registers, page tables, device
 * registers and instructions at random, in every mode, on one processor or on several at once. What
 * it breaks of itself it mends, as far as it can, and goes on.
 */
#ifndef UMBRA_TESTS_GUEST_HOSTILE_H
#define UMBRA_TESTS_GUEST_HOSTILE_H

#include "tests/guest/lib/guest.h"

#define PAGE 0x1000u
#define MEMORY_END 0x1000000u /* of the guest: 16 MiB */

/* Where things are, physical and virtual alike. */
#define LOW_CODE 0x8000u   /* what leads out of real mode */
#define START_CODE 0x9000u /* where processors start */
#define REAL_CODE 0x10000u /* real mode's wild code, and V86's */
#define REAL_DATA 0x20000u
#define WILD_CODE 0x400000u   /* of user and supervisor; mapped by pages of 4 KiB */
#define WILD_DATA 0x600000u   /* 2 MiB of both's */
#define WILD_TABLES 0x800000u /* page tables that nobody trusts */
#define NR_WILD_TABLES 16u
#define MINE 0xe00000u       /* the first 2 MiB again, to change what is read-only there */
#define WINDOW 0x8000000000u /* what the wild tables map: the second entry of the PML4 */

/* Selectors of machine.c's descriptors, those of CPL 3 without it. */
#define CODE64 0x08
#define DATA 0x10
#define CODE32 0x18
#define CODE16 0x20
#define UCODE64 0x28
#define UDATA 0x30
#define UCODE32 0x38
#define UCODE16 0x40
#define TSS64 0x48
#define TSS32 0x58
#define TSS_DF 0x60
#define WILD_CODE16 0x68
#define WILD_DESC 0x70 /* from here on: at random */
#define NR_DESC 32

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_PS 0x80u

#define CR0_PE 1u
#define CR0_WP 0x10000u
#define CR0_PG 0x80000000u
#define CR0_GOOD 0x80010033u /* PG, WP, NE, ET, MP, PE */
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u
#define CR4_GOOD 0x620u  /* OSXMMEXCPT, OSFXSR, PAE */
#define EFER_GOOD 0x501u /* LMA, LME, SCE */
#define FLAG_TF 0x100u
#define FLAG_IF 0x200u
#define FLAG_VM 0x20000u

enum wild_mode { WILD_64, WILD_COMPAT32, WILD_COMPAT16, WILD_32, WILD_16, WILD_V86, WILD_REAL };

/* What wild_run() enters; entry.asm knows the layout. */
struct wild {
	uint64_t reg[16]; /* in ModRM's order; RSP too */
	uint64_t rip, cs, rflags, ss;
	uint64_t steps;               /* so many single steps are let pass */
	uint64_t vector, error, from; /* what ended it */
	uint32_t mode, cr0, cr3, cr4; /* mode, and the controls of the modes without EFER.LME */
};

#define MAX_CPUS 8
#define CPU_SIZE 0x8000u
#define CPU_STACK 0x4000u   /* tops, from the start of struct cpu */
#define CPU_STACK32 0x7000u /* of the modes without EFER.LME */

/* What a processor has to itself; page tables, IDTs and all that is wild are everybody's. entry.asm
 * knows the layout, and finds it by CPUID's APIC id. */
struct __attribute__((aligned(CPU_SIZE))) cpu {
	uint8_t stack[CPU_STACK];
	struct wild wild;
	uint64_t gdt[NR_DESC];
	uint32_t tss64[26], tss32[26], tss_df[26];
	struct table_register gdtr;
	/* Of devices, of the MSRs, of the local APIC: may they not be as they should be? */
	bool devices_spoiled, msrs_spoiled, apic_spoiled;
	unsigned nr;
	uint64_t random;
	uint64_t tries;          /* the others look whether that grows */
	uint64_t seen[MAX_CPUS]; /* so many tries the others had made at the last look */
	uint8_t missed[MAX_CPUS];
	/* To its end there are two more stacks. */
};
extern struct cpu cpus[MAX_CPUS];

/* C code runs on its processor's own stack. */
static inline struct cpu *this_cpu(void)
{
	return (struct cpu *)((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(CPU_SIZE - 1));
}

static inline struct wild *wild(void)
{
	return &this_cpu()->wild;
}

/* Options of the command line. */
struct options {
	uint64_t seed;
	uint32_t sweep; /* just try every so manieth of all that can be counted, once; 0: no */
	bool exact;     /* this life has just this seed */
	bool on_qemu;   /* what ends QEMU itself is left out */
	bool no_tasks;  /* neither task gates nor TSS descriptors */
	uint32_t cpus;  /* processors */
};
extern struct options options;

/* main.c */
void guest_main(uint32_t start_info) __attribute__((noreturn));
/* The next thing to try; whatever ends it, this is called again. */
void next_try(void) __attribute__((noreturn));

/* machine.c */
void machine_init(void);
/* After whatever happened: registers, descriptors, devices as they should be. */
void machine_mend(void);
/* The way of processors into the program, of which wild code may have changed something. */
void make_start_code(void);
extern uint64_t pml4[512], code_pt[512];
extern uint32_t pd32[1024];
extern uint64_t pdpt_pae[4];
/* Where this page table, or what else is read-only, can be written. */
#define mine(p) ((__typeof__(&(p)[0]))((uintptr_t)(p) + MINE))
uint32_t in(uint16_t port, unsigned size);
void out(uint16_t port, unsigned size, uint32_t val);

/* random.c */
uint64_t rnd(void);
/* 0 to n - 1. */
uint32_t below(uint32_t n);
/* Once in n. */
bool one_in(uint32_t n);
/* Numbers of all sizes, those with meaning more often. */
uint64_t odd_number(void);
/* An address where something is, or just is not: physical, and below 4 GiB virtual too. */
uint64_t odd_address(void);
void seed_random(struct cpu *cpu, uint64_t seed);

/* code.c */
/* Instructions at random, for `bits` wide code, at to; at most room bytes. */
void make_code(uint8_t *to, unsigned room, unsigned bits);

/* doors.c */
struct door {
	const char *name;
	void (*run)(void);
	unsigned weight;
};
extern const struct door doors[];
extern const unsigned nr_doors;
/* A port, an MSR, an entry for a page table: one that means something, or any. */
uint16_t odd_port(void);
uint32_t odd_msr(void);
uint64_t odd_entry(void);
uint64_t *wild_table(unsigned n);
/* Would the OUT end this life? */
bool port_ends_it(uint16_t port, unsigned size, uint32_t val);

/* modes.c */
void try_code64(void);
void try_compat(void);
void try_legacy(void);
void try_v86(void);
void try_real(void);
void try_descriptors(void);
void try_hypercalls(void);
/* Run what lies there in 64-bit mode, with registers at random. */
void run_at(uint64_t rip) __attribute__((noreturn));
/* Code at random whose operands are device registers. */
void try_device_code(void);
uint64_t odd_descriptor(void);

/* apic.c */
void try_ipis(void);
void try_apic(void);
void try_apic_base(void);
void try_ioapic(void);
void try_timers(void);
void try_resets(void);
/* Its registers as they should be, and a timer that ends what hangs. */
void mend_apic(struct cpu *me);
/* An interrupt command for this processor, by the APIC as it should be. */
void send_ipi(unsigned to, uint32_t command);

/* others.c */
/* Change, all the time, what the other processors use just now. */
void try_spoil(void);
/* Start them. */
void start_others(void);
/* Wake, or start anew, one that does not get on. */
void look_after_others(void);

/* sweep.c */
/* A few more of all the ports, MSRs, CPUID leaves and addresses, in their order. False: that was
 * all of them. */
bool sweep(void);

/* canary.c */
/* Say so if this page holds another guest's memory (what tests/guest/witness.asm fills its own
 * with), or a frame that nobody owns (which a debug build poisons). */
void look_at(const volatile void *page, uint64_t pa);

/* entry.asm */
void wild_run(void) __attribute__((noreturn));
void load_tables(struct cpu *me);
void syscall_entry(void);
extern uint32_t idt64[256][4], idt32[256][2];
extern const uint8_t low_code[], low_back[], low_frame[],
	low_code_end[]; /* real mode's, for LOW_CODE */
void stub_df32(void);
extern const uint64_t idt_stubs[256];
extern const uint32_t idt32_stubs[256];

#endif
