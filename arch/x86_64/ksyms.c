#include "arch/x86_64/ksyms.h"

const char *ksym_lookup(uint64_t addr, uint64_t *offset)
{
	unsigned lo = 0, hi = ksyms_count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (ksyms[mid].addr <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo) {
		*offset = 0;
		return "?";
	}
	*offset = addr - ksyms[lo - 1].addr;
	return ksyms[lo - 1].name;
}
