/* The GDT and the task state segment with its interrupt stacks. */
#ifndef UMBRA_GDT_H
#define UMBRA_GDT_H

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS 0x18

/* Load this CPU's GDT, segment registers and TR. GS base is kept. */
void gdt_init(void);

#endif
