/*
 * A processor with VMX for hosted tests. Put before vmx/ when it is compiled hosted, and included
 * before vmx/ by its tests: the instructions of vmx/insn.h are functions here, on a few VMCSs that
 * keep their fields by name, and what arch/x86_64/insn.h and cpu.h do to MSRs, control and debug
 * registers is done to fake_cpu. The world switch, vmx_enter(), is each test's own.
 */
#ifndef UMBRA_TESTS_FAKE_VMX_H
#define UMBRA_TESTS_FAKE_VMX_H

#define UMBRA_VMX_INSN_H /* instead of vmx/insn.h */

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/addr.h"
#include "arch/x86_64/insn.h"
#include "vmx/check.h"
#include "vmx/vmcs.h"

/* --- the processor --- */

struct fake_cpu {
	uint64_t cr0, cr2, cr3, cr4, dr6;
	uint64_t tsc;
	uint32_t microcode; /* CPUID puts it into IA32_BIOS_SIGN_ID, if that is there */
	unsigned cr2_writes, cr4_writes, dr6_writes, msr_writes;
};
extern struct fake_cpu fake_cpu;

/* Processors that are alike, and start so: fake_cpu, the MSRs, VMXON and the current VMCS are those
 * of the one that runs, number 0 at first. */
#define FAKE_CPUS 2
void fake_cpu_switch(unsigned id);

/* Give the processor an MSR, which wrmsr() then may write, or take it away. To the *_safe
 * functions one that it does not have is #GP; rdmsr() and wrmsr() fail the test. */
void fake_msr_set(uint32_t msr, uint64_t val);
void fake_msr_remove(uint32_t msr);
/* What it holds; fails the test if the processor does not have it. */
uint64_t fake_msr(uint32_t msr);

struct cpu *fake_this_cpu(void);
struct cpuid_regs fake_vmx_cpuid(uint32_t leaf, uint32_t subleaf);
bool fake_rdmsr_safe(uint32_t msr, uint64_t *val);
bool fake_wrmsr_safe(uint32_t msr, uint64_t val);
void fake_wrmsr(uint32_t msr, uint64_t val);
void fake_write_cr2(uint64_t val);
void fake_write_cr4(uint64_t val);
void fake_write_dr6(uint64_t val);

#define this_cpu() fake_this_cpu()
#define cpuid(leaf, subleaf) fake_vmx_cpuid(leaf, subleaf)
#define rdmsr(msr) fake_msr(msr)
#define wrmsr(msr, val) fake_wrmsr(msr, val)
#define rdmsr_safe(msr, val) fake_rdmsr_safe(msr, val)
#define wrmsr_safe(msr, val) fake_wrmsr_safe(msr, val)
#define rdtsc() (fake_cpu.tsc)
#define read_cr0() (fake_cpu.cr0)
#define read_cr2() (fake_cpu.cr2)
#define read_cr3() (fake_cpu.cr3)
#define read_cr4() (fake_cpu.cr4)
#define read_dr6() (fake_cpu.dr6)
#define write_cr0(val) ((void)(fake_cpu.cr0 = (val)))
#define write_cr2(val) fake_write_cr2(val)
#define write_cr4(val) fake_write_cr4(val)
#define write_dr6(val) fake_write_dr6(val)

/* --- VMX --- */

struct fake_vmcs {
	hpa_t pa; /* 0: this one is not in use */
	bool launched;
	bool active; /* since a VMPTRLD */
	unsigned active_on;
	struct vmcs_image image; /* a field that was never written holds garbage */
};

struct fake_inv {
	unsigned count; /* since the last reset */
	uint64_t type;  /* of the last one */
	uint64_t first, second;
};

struct fake_vmx {
	hpa_t vmxon;               /* 0: VMX is off */
	struct fake_vmcs *current; /* NULL: none */
	bool vmxon_fails, vmclear_fails;
	unsigned vmclears, vmptrlds, vmreads, vmwrites;
	unsigned writes[VMCS_INDEXES]; /* by field */
	struct fake_inv invept, invvpid;
	unsigned nmis, machine_checks; /* taken */
	unsigned interrupts, vector;   /* the same, and which was the last one */
};
extern struct fake_vmx fake_vmx;

/*
 * A Haswell as Umbra has set it up, VMX off, in fake_cpu, fake_cpu_features and the MSRs; no VMCS,
 * all counters 0. The instructions go by vmx_machine.vmx: a field that only a missing feature has
 * fails the test, as does writing a read-only one.
 */
void fake_vmx_reset(void);
/* That, and vmx_probe() and vmx_cpu_enable() with vmx-features=mask. */
void fake_vmx_start(uint32_t mask);
/* Give back what vmx_cpu_enable() has taken. */
void fake_vmx_stop(void);

/* A field of the current VMCS, as the processor itself reads and writes it. */
uint64_t fake_vmcs_get(uint32_t field);
void fake_vmcs_set(uint32_t field, uint64_t val);
/* How often vmwrite() has written it since the reset. */
unsigned fake_vmcs_writes(uint32_t field);

/* What each vmx_enter() of a test calls first: VMLAUNCH and VMRESUME ask for a VMCS that has not,
 * or has, been launched since its VMCLEAR; fails the test if they would fail. */
void fake_vmx_entered(bool resume);

bool vmx_vmxon(hpa_t pa);
bool vmx_vmclear(hpa_t pa);
bool vmx_vmptrld(hpa_t pa);
uint64_t vmx_vmread(uint32_t field);
void vmx_vmwrite(uint32_t field, uint64_t val);

struct vmx_inv_descriptor {
	uint64_t first, second;
};
bool vmx_invept(uint64_t type, const struct vmx_inv_descriptor *d);
bool vmx_invvpid(uint64_t type, const struct vmx_inv_descriptor *d);

/* What the host has in its GDT's place, and its TSS. */
extern const uint64_t fake_gdt[8];
#define FAKE_TSS_BASE UINT64_C(0xffffa98765432108)
#define FAKE_IDT_BASE UINT64_C(0xffffffff80a02000)
static inline uint64_t vmx_gdt_base(void)
{
	return (uintptr_t)fake_gdt;
}

static inline uint64_t vmx_idt_base(void)
{
	return FAKE_IDT_BASE;
}

void trap_take(unsigned vector);
void vmx_take_nmi(void);
void vmx_take_machine_check(void);

static inline uint16_t vmread16(enum vmcs_field16 field)
{
	return (uint16_t)vmx_vmread(field);
}

static inline uint32_t vmread32(enum vmcs_field32 field)
{
	return (uint32_t)vmx_vmread(field);
}

static inline uint64_t vmread64(enum vmcs_field64 field)
{
	return vmx_vmread(field);
}

static inline uint64_t vmreadn(enum vmcs_fieldn field)
{
	return vmx_vmread(field);
}

static inline void vmwrite16(enum vmcs_field16 field, uint16_t val)
{
	vmx_vmwrite(field, val);
}

static inline void vmwrite32(enum vmcs_field32 field, uint32_t val)
{
	vmx_vmwrite(field, val);
}

static inline void vmwrite64(enum vmcs_field64 field, uint64_t val)
{
	vmx_vmwrite(field, val);
}

static inline void vmwriten(enum vmcs_fieldn field, uint64_t val)
{
	vmx_vmwrite(field, val);
}

#endif
