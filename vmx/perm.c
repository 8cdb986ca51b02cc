#include "vmx/perm.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/lib/string.h"

static void set_bit(uint8_t *map, uint32_t n, bool on)
{
	if (on)
		map[n / 8] |= (uint8_t)(1u << (n % 8));
	else
		map[n / 8] &= (uint8_t) ~(1u << (n % 8));
}

void vmx_io_bitmaps_set(uint8_t *bitmaps, uint16_t port, unsigned count, bool on)
{
	for (uint32_t p = port; count > 0 && p <= 0xffff; p++, count--)
		set_bit(bitmaps, p, on);
}

/* SDM vol. 3, 24.6.9: two ranges of 2000h MSRs, 1 KiB of the map each; writes behind reads. */
static const uint32_t msr_ranges[] = { 0x00000000, 0xc0000000 };
#define MSR_RANGE_MSRS 0x2000u
#define MSR_RANGE_BYTES 0x400u
#define MSR_WRITES_AT (MSR_BITMAP_SIZE / 2)

bool vmx_msr_bitmap_set(uint8_t *bitmap, uint32_t msr, bool read, bool write)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msr_ranges); i++) {
		uint32_t n = msr - msr_ranges[i];
		uint8_t *range = bitmap + i * MSR_RANGE_BYTES;

		if (n >= MSR_RANGE_MSRS)
			continue;
		set_bit(range, n, read);
		set_bit(range + MSR_WRITES_AT, n, write);
		return true;
	}
	return false;
}

/* What the VMCS and vmx_vcpu_load() switch: the guest may have the real ones. */
static const uint32_t switched_msrs[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
	MSR_CSTAR,   MSR_SFMASK,  MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

void vmx_io_bitmaps_init(uint8_t *bitmaps)
{
	memset(bitmaps, 0xff, IO_BITMAPS_SIZE);
}

void vmx_msr_bitmap_init(uint8_t *bitmap)
{
	memset(bitmap, 0xff, MSR_BITMAP_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(switched_msrs); i++)
		vmx_msr_bitmap_set(bitmap, switched_msrs[i], false, false);
}

/* From 800h on; SDM vol. 3, table 11-6. PPR is as old as the page, the current count not there, and
 * ICR two registers of it. */
#define X2APIC_TPR 0x808
#define X2APIC_EOI 0x80b
#define X2APIC_SELF_IPI 0x83f
static const struct {
	uint16_t first, last;
} x2apic_readable[] = {
	{ 0x802, 0x803 }, /* ID, version */
	{ 0x80d, 0x80d }, /* LDR */
	{ 0x80f, 0x828 }, /* SVR, ISR, TMR, IRR, ESR */
	{ 0x832, 0x838 }, /* local vector table, initial count */
	{ 0x83e, 0x83e }, /* divide configuration */
};

void vmx_msr_bitmap_pass_x2apic(uint8_t *bitmap, bool registers, bool interrupts)
{
	vmx_msr_bitmap_set(bitmap, X2APIC_TPR, false, false);
	for (unsigned i = 0; registers && i < ARRAY_SIZE(x2apic_readable); i++)
		for (uint32_t msr = x2apic_readable[i].first; msr <= x2apic_readable[i].last; msr++)
			vmx_msr_bitmap_set(bitmap, msr, false, true);
	if (!interrupts)
		return;
	vmx_msr_bitmap_set(bitmap, X2APIC_EOI, true, false);
	vmx_msr_bitmap_set(bitmap, X2APIC_SELF_IPI, true, false);
}
