/*
 * A backend without hardware: registers in an array, and a record of what the core asked
 * for. One vCPU of one VM, in 64-bit mode at CPL 0, with 64 KiB of RAM at address 0.
 */
#ifndef UMBRA_TESTS_FAKE_BACKEND_H
#define UMBRA_TESTS_FAKE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/insn.h"
#include "vmm/backend.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define FAKE_RAM_SIZE 0x10000u

struct fake_backend {
	uint64_t reg[VCPU_REGS];
	unsigned sets[VCPU_REGS]; /* how often each was set */
	struct segment seg[SEG_REGS];
	bool can_inject_intr, can_inject_nmi;
	struct vm_event injected[8];
	unsigned nr_injected;
	bool window_intr, window_nmi; /* asked for now */
	unsigned window_calls;
	unsigned tpr_threshold, tpr_threshold_calls;
	bool virtual_interrupts; /* asked for now */
	unsigned virtual_interrupts_calls;
	unsigned flushes, nested_flushes; /* all; those that were FLUSH_NESTED */
	unsigned vms, vcpus, dumps;       /* made and not yet destroyed; dumped */
	hpa_t root;
	enum root_kind root_kind;
	unsigned roots_set;
	uint64_t pdpte[4];          /* what get_pdptes() says */
	uint64_t pdpte_when_set[4]; /* vcpu->pdpte as a register was set last */
	bool intercept_invlpg, intercept_dr;
	uint32_t intercept_exceptions;
	int vm_init_error, vcpu_init_error; /* what these give; 0: they succeed */
	/* interrupt controller */
	bool intr_pending;
	int intr_vector;
	unsigned acks;
};

extern struct fake_backend fake_hw;
extern const struct vmm_backend fake_backend_ops;
extern const struct vmm_backend fake_backend_pdptes_ops; /* and it has get_pdptes() */
/* What its caps() say; default true. */
extern bool fake_has_nested, fake_invpcid_exits, fake_real_mode;
extern bool fake_nested_unpaged, fake_identity_map, fake_preemption_timer;   /* default false */
extern bool fake_apic_page, fake_virtual_interrupts, fake_posted_interrupts; /* the same */
extern struct vm fake_vm;
extern struct vcpu fake_vcpu;
extern uint8_t fake_ram[FAKE_RAM_SIZE];

/* All of the above as new: long mode, paging on, interrupts on, RIP 0x1000. */
void fake_vm_reset(void);

/* Machines for cpuid_init(): one that answers all ones to everything, up to leaf
 * 0xffff and 0x8000ffff; and one like an AMD Zen with AVX. */
struct cpuid_regs fake_cpuid_all_ones(uint32_t leaf, uint32_t subleaf);
struct cpuid_regs fake_cpuid_amd(uint32_t leaf, uint32_t subleaf);

#endif
