#include "svm/perm.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/lib/string.h"

void svm_iopm_set(uint8_t *iopm, uint16_t port, unsigned count, bool on)
{
	for (uint32_t p = port; count > 0 && p <= 0xffff; p++, count--) {
		if (on)
			iopm[p / 8] |= (uint8_t)(1u << (p % 8));
		else
			iopm[p / 8] &= (uint8_t) ~(1u << (p % 8));
	}
}

/* APM vol. 2, 15.11, table 15-8: 2 KiB of the map for each range of 2000h MSRs. */
static const uint32_t msrpm_ranges[] = { 0x00000000, 0xc0000000, 0xc0010000 };
#define MSRPM_RANGE_MSRS 0x2000u
#define MSRPM_RANGE_BYTES 0x800u

bool svm_msrpm_set(uint8_t *msrpm, uint32_t msr, bool read, bool write)
{
	for (unsigned i = 0; i < ARRAY_SIZE(msrpm_ranges); i++) {
		uint32_t n = msr - msrpm_ranges[i];
		uint8_t *byte = msrpm + i * MSRPM_RANGE_BYTES + n / 4;
		unsigned shift = n % 4 * 2;

		if (n >= MSRPM_RANGE_MSRS)
			continue;
		*byte &= (uint8_t) ~(3u << shift);
		*byte |= (uint8_t)((unsigned)read << shift | (unsigned)write << (shift + 1));
		return true;
	}
	return false;
}

/* What the entry code's VMLOAD and VMSAVE switch: the guest may have the real ones. */
static const uint32_t switched_msrs[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
	MSR_CSTAR,   MSR_SFMASK,  MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

void svm_iopm_init(uint8_t *iopm)
{
	memset(iopm, 0xff, IOPM_SIZE);
}

void svm_msrpm_init(uint8_t *msrpm)
{
	memset(msrpm, 0xff, MSRPM_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(switched_msrs); i++)
		svm_msrpm_set(msrpm, switched_msrs[i], false, false);
}
