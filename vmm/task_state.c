#include "vmm/task_state.h"

void task_state_save32(const struct task_state *s, struct tss32 *tss)
{
	tss->eip = s->eip;
	tss->eflags = s->eflags;
	for (unsigned i = 0; i < TSS_GPRS; i++)
		tss->gpr[i] = s->gpr[i];
	for (unsigned i = 0; i < TSS_SEGS; i++)
		tss->seg[i].selector = s->seg[i];
}

void task_state_save16(const struct task_state *s, struct tss16 *tss)
{
	tss->ip = (uint16_t)s->eip;
	tss->flags = (uint16_t)s->eflags;
	for (unsigned i = 0; i < TSS_GPRS; i++)
		tss->gpr[i] = (uint16_t)s->gpr[i];
	for (unsigned i = 0; i < ARRAY_SIZE(tss->seg); i++)
		tss->seg[i] = s->seg[i];
}

void task_state_load32(struct task_state *s, const struct tss32 *tss)
{
	*s = (struct task_state){ .eip = tss->eip,
				  .eflags = tss->eflags,
				  .has_cr3 = true,
				  .cr3 = tss->cr3,
				  .ldt = tss->ldt,
				  .trap = tss->trap & TSS_TRAP_T };
	for (unsigned i = 0; i < TSS_GPRS; i++)
		s->gpr[i] = tss->gpr[i];
	for (unsigned i = 0; i < TSS_SEGS; i++)
		s->seg[i] = tss->seg[i].selector;
}

void task_state_load16(struct task_state *s, const struct tss16 *tss)
{
	*s = (struct task_state){ .eip = tss->ip, .eflags = tss->flags, .ldt = tss->ldt };
	for (unsigned i = 0; i < TSS_GPRS; i++)
		s->gpr[i] = UINT32_C(0xffff0000) | tss->gpr[i];
	for (unsigned i = 0; i < ARRAY_SIZE(tss->seg); i++)
		s->seg[i] = tss->seg[i];
}
