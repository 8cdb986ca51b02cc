/* The names of the flags in the processor's registers, for printer_value(). */
#ifndef UMBRA_REG_FLAGS_H
#define UMBRA_REG_FLAGS_H

#include "arch/x86_64/lib/printer.h"

extern const struct flag_set flags_rflags, flags_cr0, flags_cr4, flags_efer, flags_xcr0;
extern const struct flag_set flags_dr6, flags_dr7;
/* A page fault's error code; vectors as an intercept's bitmap. */
extern const struct flag_set flags_page_fault, flags_exceptions;

#endif
