/*
 * Put before vmm/run.c when it is compiled hosted: what only CPL 0 may do is done by functions of
 * test_run.c.
 */
#ifndef UMBRA_TESTS_FAKE_RUN_H
#define UMBRA_TESTS_FAKE_RUN_H

#include <stdint.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/insn.h"

/* The CPU's state. */
struct cpu *fake_run_cpu(void);
/* Interrupts are on: what is due is taken. */
void fake_run_irq_enable(void);
uint64_t fake_run_tsc(void);
/* A debug register, as the processor has it. */
uint64_t *fake_run_dr(unsigned n);

#define this_cpu() fake_run_cpu()
#define irq_disable() ((void)0)
#define irq_enable() fake_run_irq_enable()
#define rdtsc() fake_run_tsc()
#define read_dr0() (*fake_run_dr(0))
#define read_dr1() (*fake_run_dr(1))
#define read_dr2() (*fake_run_dr(2))
#define read_dr3() (*fake_run_dr(3))
#define write_dr0(val) ((void)(*fake_run_dr(0) = (val)))
#define write_dr1(val) ((void)(*fake_run_dr(1) = (val)))
#define write_dr2(val) ((void)(*fake_run_dr(2) = (val)))
#define write_dr3(val) ((void)(*fake_run_dr(3) = (val)))

#endif
