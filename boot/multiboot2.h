/* The boot information of a multiboot2 loader. Multiboot2 specification, 3.6. */
#ifndef UMBRA_BOOT_MULTIBOOT2_H
#define UMBRA_BOOT_MULTIBOOT2_H

#include <stddef.h>

#include "arch/x86_64/boot_info.h"

/*
 * Copy what the tags say into *bi. info: the boot information, readable for limit bytes
 * at least; info_pa: its physical address. Texts stay where they are, in place. Every
 * tag is checked against the sizes; what is outside *bi's tags (the image) is kept.
 * NULL, or what is wrong with it as a text.
 */
const char *multiboot2_parse(const void *info, size_t limit, hpa_t info_pa, struct boot_info *bi);

#endif
