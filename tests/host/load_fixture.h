/*
 * A VM for the loaders' tests: memory in the test's own heap, a vCPU, and a backend that
 * only keeps what is set, in order.
 */
#ifndef UMBRA_TESTS_LOAD_FIXTURE_H
#define UMBRA_TESTS_LOAD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/errno.h"
#include "arch/x86_64/mm.h"
#include "vmm/load/boot_params.h"
#include "vmm/load/linux.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

struct load_fixture {
	struct vm vm;
	struct vcpu vcpu;
	struct vmm_backend backend;
	struct load_source src;
	uint8_t *ram;
	uint64_t ram_size;
	char why[200];
};

/* What the backend was told; unset segments have attr 0xffff. */
static uint64_t fixture_reg[VCPU_REGS];
static enum vcpu_reg fixture_order[64];
static unsigned fixture_sets;
static struct segment fixture_seg[SEG_REGS];

static inline void fixture_set_reg(struct vcpu *vcpu, enum vcpu_reg reg, uint64_t val)
{
	(void)vcpu;
	fixture_reg[reg] = val;
	if (fixture_sets < 64)
		fixture_order[fixture_sets++] = reg;
}

static inline void fixture_set_seg(struct vcpu *vcpu, enum seg_reg reg, const struct segment *seg)
{
	(void)vcpu;
	fixture_seg[reg] = *seg;
}

/* Position of a register in the order of sets; 99: never set. */
static inline unsigned fixture_position(enum vcpu_reg reg)
{
	for (unsigned i = 0; i < fixture_sets; i++)
		if (fixture_order[i] == reg)
			return i;
	return 99;
}

static inline void fixture_map(struct load_fixture *f, uint64_t start, uint64_t size,
			       enum region_kind kind)
{
	const struct region r = { .start = GPA(start),
				  .size = size,
				  .kind = kind,
				  .frames = ptr_to_hpa(f->ram + start) };

	if (memmap_add(&f->vm.mem, &r))
		abort();
}

/* As a PC of this size: RAM to 640 KiB, the BIOS area, RAM from 1 MiB. The memory is not
 * zeroed: it holds 0xcc. */
static inline void fixture_init(struct load_fixture *f, uint64_t ram_size)
{
	memset(f, 0, sizeof(*f));
	memset(fixture_reg, 0xee, sizeof(fixture_reg));
	memset(fixture_seg, 0xff, sizeof(fixture_seg));
	fixture_sets = 0;
	f->backend.set_reg = fixture_set_reg;
	f->backend.set_seg = fixture_set_seg;
	f->ram_size = ram_size;
	f->ram = aligned_alloc(4096, ram_size);
	memset(f->ram, 0xcc, ram_size);
	memmap_init(&f->vm.mem);
	fixture_map(f, 0, 0xa0000, REGION_MEM);
	fixture_map(f, 0xf0000, 0x10000, REGION_ROM);
	if (ram_size > 0x100000)
		fixture_map(f, 0x100000, ram_size - 0x100000, REGION_MEM);
	f->vm.backend = &f->backend;
	f->vcpu.vm = &f->vm;
	f->vcpu.hot = fixture_reg;
	memset(&f->vcpu.regs, 0x77, sizeof(f->vcpu.regs));
}

static inline void fixture_free(struct load_fixture *f)
{
	free(f->ram);
	f->ram = NULL;
}

static inline int fixture_load(struct load_fixture *f)
{
	memset(f->why, '?', sizeof(f->why));
	return load_kernel(&f->vm, &f->vcpu, &f->src, f->why, sizeof(f->why));
}

/* The same with the file copied to a block of exactly its size, so that ASan sees a read
 * past its end. */
static inline int fixture_load_exact(struct load_fixture *f, const uint8_t *file, uint64_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	int err;

	memcpy(copy, file, size);
	f->src.kernel = copy;
	f->src.kernel_size = size;
	err = fixture_load(f);
	free(copy);
	f->src.kernel = NULL;
	return err;
}

/* For cmocka: *state is the fixture. */
static inline int fixture_teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

static inline void fixture_assert_loads(struct load_fixture *f, const uint8_t *file, uint64_t size)
{
	int err = fixture_load_exact(f, file, size);

	if (err)
		fail_msg("refused with %d: %s", err, f->why);
}

/* The reason given has this text in it. */
static inline void fixture_assert_refused(struct load_fixture *f, const uint8_t *file,
					  uint64_t size, int err, const char *text)
{
	int got = fixture_load_exact(f, file, size);

	if (got != err || !strstr(f->why, text))
		fail_msg("expected %d and \"%s\", got %d and \"%s\"", err, text, got,
			 got ? f->why : "");
}

/* Load file after file as make() spoils them: each loads, or is refused with a reason. */
static inline void fixture_fuzz(struct load_fixture *f, unsigned seed, void (*make)(void),
				const uint8_t *file, uint64_t size)
{
	unsigned good = 0;

	srand(seed);
	for (unsigned round = 0; round < 20000; round++) {
		int err;

		make();
		err = fixture_load_exact(f, file, size);
		if ((err && err != -ENOEXEC && err != -EINVAL && err != -EFBIG && err != -E2BIG) ||
		    (err && !f->why[0]))
			fail_msg("round %u: %d: %s", round, err, f->why);
		good += !err;
	}
	assert_true(good > 100);
}

/* A whole file in memory of malloc()'s; NULL: there is none. */
static inline uint8_t *fixture_read_file(const char *path, uint64_t *size)
{
	FILE *in = fopen(path, "rb");
	uint8_t *data;

	if (!in)
		return NULL;
	fseek(in, 0, SEEK_END);
	*size = (uint64_t)ftell(in);
	rewind(in);
	data = malloc(*size);
	assert_int_equal(fread(data, 1, *size, in), *size);
	fclose(in);
	return data;
}

static inline const struct boot_params *fixture_boot_params(const struct load_fixture *f)
{
	return (const struct boot_params *)(f->ram + f->vcpu.regs.gpr[RSI]);
}

/* The command line the zero page points to. */
static inline const char *fixture_cmdline(const struct load_fixture *f)
{
	return (const char *)f->ram + fixture_boot_params(f)->hdr.cmd_line_ptr;
}

#endif
