/* The VMX instructions that C code executes. SDM vol. 3, ch. 30. */
#ifndef UMBRA_VMX_INSN_H
#define UMBRA_VMX_INSN_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/include/addr.h"
#include "vmx/vmcs.h"

/* VMfailInvalid sets CF, VMfailValid ZF: false for both. */
#define VMX_INSN_PA(name)                                                                          \
	static inline bool vmx_##name(hpa_t pa)                                                    \
	{                                                                                          \
		bool ok;                                                                           \
                                                                                                   \
		__asm__ volatile(#name " %1" : "=@cca"(ok) : "m"(pa.v) : "memory");                \
		return ok;                                                                         \
	}
VMX_INSN_PA(vmxon)
VMX_INSN_PA(vmclear)
VMX_INSN_PA(vmptrld)

/* The fields are those of the current VMCS, and ones that the processor has: neither fails. */
static inline uint64_t vmx_vmread(uint32_t field)
{
	uint64_t val = 0;

	__asm__ volatile("vmread %1, %0" : "+rm"(val) : "r"((uint64_t)field) : "cc");
	return val;
}

static inline void vmx_vmwrite(uint32_t field, uint64_t val)
{
	__asm__ volatile("vmwrite %1, %0" ::"r"((uint64_t)field), "rm"(val) : "cc");
}

struct vmx_inv_descriptor {
	uint64_t first, second; /* EPTP, 0; or VPID, linear address */
};

static inline bool vmx_invept(uint64_t type, const struct vmx_inv_descriptor *d)
{
	bool ok;

	__asm__ volatile("invept %1, %2" : "=@cca"(ok) : "m"(*d), "r"(type) : "memory");
	return ok;
}

static inline bool vmx_invvpid(uint64_t type, const struct vmx_inv_descriptor *d)
{
	bool ok;

	__asm__ volatile("invvpid %1, %2" : "=@cca"(ok) : "m"(*d), "r"(type) : "memory");
	return ok;
}

/* Where the GDT and the IDT are. */
struct vmx_table_ptr {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static inline uint64_t vmx_gdt_base(void)
{
	struct vmx_table_ptr ptr;

	__asm__ volatile("sgdt %0" : "=m"(ptr));
	return ptr.base;
}

static inline uint64_t vmx_idt_base(void)
{
	struct vmx_table_ptr ptr;

	__asm__ volatile("sidt %0" : "=m"(ptr));
	return ptr.base;
}

/* Have the host's handlers look at what has ended a guest's run: an NMI, a machine check. */
static inline void vmx_take_nmi(void)
{
	__asm__ volatile("int $2" ::: "memory");
}

static inline void vmx_take_machine_check(void)
{
	__asm__ volatile("int $18" ::: "memory");
}

/* --- one function for each width of field --- */

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
