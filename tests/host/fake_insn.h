/*
 * Put before paging/host.c when it is compiled hosted: its few privileged instructions are
 * functions of test_pt_host_tables.c, which keep what they are told.
 */
#ifndef UMBRA_TESTS_FAKE_INSN_H
#define UMBRA_TESTS_FAKE_INSN_H

#define UMBRA_INSN_H /* instead of arch/x86_64/insn.h */

#include <stdint.h>

/* The C library's start code has one of its own. */
#define __data_start image_data_start

uint64_t read_cr0(void);
void write_cr0(uint64_t v);
uint64_t read_cr3(void);
void write_cr3(uint64_t v);
void invlpg(uint64_t va);

#endif
