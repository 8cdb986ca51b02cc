/* Guest memory by virtual and physical address. */
#include <pthread.h>

#include "tests/host/emu_fixture.h"

#define ADDS 200000u
#define COUNTER 0x300000u

static const struct guest_access as_read = { 0 };
static const struct guest_access as_user = { .user = true };
static const uint64_t rw = PTE_P | PTE_W | PTE_U;

static void test_read_write_ram(void **state)
{
	struct guest_fault fault;
	char back[16] = "";

	(void)state;
	assert_true(gmem_write(&fx.vcpu, GVA(0x300000), "umbra", 6, as_read, &fault));
	assert_string_equal((char *)fx.ram + 0x300000, "umbra");
	assert_true(gmem_read(&fx.vcpu, GVA(0x300000), back, 6, as_read, &fault));
	assert_string_equal(back, "umbra");
}

/* Over the border of two pages that lie apart, one a device. */
static void test_cross_ram_and_device(void **state)
{
	const uint8_t in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t out[8];
	struct guest_fault fault;

	(void)state;
	window_map(0, 0x200000, rw);
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW + 4096 - 3), in, 8, as_read, &fault));
	assert_memory_equal(fx.ram + 0x200ffd, in, 3);
	assert_memory_equal(fx.dev[1].mem, in + 3, 5);
	assert_int_equal(fx.dev[1].writes, 2); /* 4 bytes and 1 */
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW + 4096 - 3), out, 8, as_read, &fault));
	assert_memory_equal(in, out, 8);
	assert_int_equal(fx.dev[0].reads + fx.dev[0].writes, 0);
}

static void test_many_pages(void **state)
{
	uint8_t in[3 * 4096], out[3 * 4096];
	struct guest_fault fault;

	(void)state;
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + (i >> 8));
	for (unsigned i = 0; i < 4; i++)
		window_map(i, 0x280000 - i * 4096, rw); /* in descending order */
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW + 100), in, sizeof(in), as_read, &fault));
	assert_memory_equal(fx.ram + 0x280000 + 100, in, 3996);
	assert_memory_equal(fx.ram + 0x27f000, in + 3996, 4096);
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW + 100), out, sizeof(out), as_read, &fault));
	assert_memory_equal(in, out, sizeof(in));
}

/* Nothing is changed when a later page cannot be written. */
static void test_write_is_checked_first(void **state)
{
	struct guest_fault fault;

	(void)state;
	window_map(0, 0x200000, rw);
	window_map(1, 0x201000, PTE_P | PTE_U);
	assert_false(gmem_write(&fx.vcpu, GVA(WINDOW + 4094), "abcd", 4, as_read, &fault));
	assert_int_equal(fault.vector, VEC_PF);
	assert_int_equal(fault.error, PF_P | PF_W);
	assert_int_equal(fault.cr2, WINDOW + 4096);
	assert_int_equal(fx.ram[0x200ffe], 0);

	window_map(2, 0, 0);
	window_map(1, 0x201000, rw);
	assert_false(gmem_write(&fx.vcpu, GVA(WINDOW), fx.ram, 2 * 4096 + 1, as_user, &fault));
	assert_int_equal(fault.error, PF_W | PF_U);
	assert_int_equal(fault.cr2, WINDOW + 8192);
	assert_int_equal(fx.ram[0x201000], 0);
}

static void test_rights(void **state)
{
	struct guest_fault fault;
	uint8_t b;

	(void)state;
	window_map(0, 0x200000, PTE_P);
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
	assert_false(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_user, &fault));
	assert_int_equal(fault.error, PF_P | PF_U);
	/* CR0.WP off: the supervisor writes where it may not. */
	fx.reg[REG_CR0] &= ~CR0_WP;
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW), "x", 1, as_read, &fault));
	assert_int_equal(fx.ram[0x200000], 'x');
}

/* PKRU is the one on the CPU while the vCPU is, else the one saved with its other state. */
static void test_protection_keys(void **state)
{
	struct guest_access implicit = { .implicit = true };
	struct guest_fault fault;
	uint8_t b;

	(void)state;
	window_map(0, 0x200000, PTE_P | PTE_W | PTE_U | PTE_KEY(15));
	fx_pkru(0);
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
	fx.vcpu.loaded = false; /* all keys denied there */
	assert_false(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_user, &fault));
	assert_int_equal(fault.error, PF_P | PF_U | PF_PK);
	fx_pkru(1u << 2 * 15);
	assert_false(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
	assert_int_equal(fault.error, PF_P | PF_PK);
	/* A descriptor in a user page is an access like another. */
	assert_false(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, implicit, &fault));
	assert_int_equal(fault.error, PF_P | PF_PK);
	fx_pkru(~(3u << 2 * 15));
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, implicit, &fault));
	fx_pkru(~0u);
	fx.reg[REG_CR4] &= ~CR4_PKE;
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_user, &fault));
	/* Supervisor pages have no keys. */
	fx_pkru(~0u);
	window_map(0, 0x200000, PTE_P | PTE_W | PTE_KEY(15));
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW), "x", 1, as_read, &fault));
}

static void test_accessed_and_dirty(void **state)
{
	struct guest_fault fault;
	uint8_t b;

	(void)state;
	window_map(0, 0x200000, rw);
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
	assert_int_equal(pte_get(PT_WINDOW, 0) & (PTE_A | PTE_D), PTE_A);
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
	assert_int_equal(pte_get(PT_WINDOW, 0) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

static void test_rom_and_nowhere(void **state)
{
	struct guest_fault fault;
	uint64_t val = 0;

	(void)state;
	memcpy(fx.rom + 0x1008, "romrom!", 8);
	window_map(0, ROM_PA + 0x1000, rw);
	window_map(1, NOWHERE, rw);
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW + 8), "writing", 8, as_read, &fault));
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW + 8), &val, 8, as_read, &fault));
	assert_string_equal((char *)&val, "romrom!");
	assert_true(gmem_write(&fx.vcpu, GVA(WINDOW + 4096), "writing", 8, as_read, &fault));
	assert_true(gmem_read(&fx.vcpu, GVA(WINDOW + 4096), &val, 8, as_read, &fault));
	assert_int_equal(val, UINT64_MAX);
}

/* A device is asked for at most 8 bytes, and for odd sizes in aligned pieces. */
static void test_phys_pieces(void **state)
{
	uint8_t buf[40];

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		fx.dev[0].mem[i] = (uint8_t)(i + 1);
	memset(buf, 0, sizeof(buf));
	gmem_phys_read(&fx.vm, GPA(DEVICE_A + 1), buf, 31);
	for (unsigned i = 0; i < 31; i++)
		assert_int_equal(buf[i], i + 2);
	assert_int_equal(buf[31], 0);
	assert_int_equal(fx.dev[0].reads, 6); /* 1 2 4 8 8 8 */
	gmem_phys_write(&fx.vm, GPA(DEVICE_A + 6), "abc", 3);
	assert_memory_equal(fx.dev[0].mem + 6, "abc", 3);
	assert_int_equal(fx.dev[0].mem[9], 10);
	gmem_phys_read(&fx.vm, GPA(DEVICE_A + 2), buf, 4); /* a size a CPU uses: as it is */
	assert_int_equal(fx.dev[0].reads, 7);
	assert_int_equal(fx.dev[0].last_size, 4);
	/* Past the last region, over the border of RAM, and at the end of all addresses. */
	memset(buf, 0, sizeof(buf));
	fx.ram[RAM_SIZE - 1] = 0x11;
	gmem_phys_read(&fx.vm, GPA(RAM_SIZE - 1), buf, 5);
	assert_memory_equal(buf, "\x11\xff\xff\xff\xff", 5);
	gmem_phys_write(&fx.vm, GPA(UINT64_MAX - 3), buf, 8);
	assert_int_equal(fx.ram[0], 0xff); /* wraps; what matters is that it ends */
}

static void test_wrap_at_4g(void **state)
{
	struct guest_fault fault;
	uint8_t buf[4];

	(void)state;
	fx_mode_32();
	memcpy(fx.ram, "xy", 2);
	assert_true(gmem_read(&fx.vcpu, GVA(0xfffffffe), buf, 4, as_read, &fault));
	assert_memory_equal(buf, "\xff\xffxy", 4);
}

/* --- code --- */

static void test_fetch(void **state)
{
	uint8_t bytes[15];
	struct guest_fault fault;

	(void)state;
	FX_CODE(1, 2, 3);
	fx.seg[SEG_CS].base = 0x1000; /* means nothing in 64-bit code */
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 15);
	assert_memory_equal(bytes, "\x01\x02\x03\xcc", 4);
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 2, &fault), 2);
	assert_int_equal(pte_get(PT_WINDOW, 256) & PTE_A, 0);
}

static void test_fetch_ends_at_absent_page(void **state)
{
	uint8_t bytes[15];
	struct guest_fault fault;

	(void)state;
	fx.vcpu.regs.rip = CODE + 2 * 4096 - 5; /* the page behind is absent */
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 5);
	fx.vcpu.regs.rip = CODE + 4096 - 5;
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 15);

	fx.vcpu.regs.rip = CODE + 2 * 4096;
	fx_user();
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 0);
	assert_int_equal(fault.vector, VEC_PF);
	assert_int_equal(fault.error, PF_I | PF_U);
	assert_int_equal(fault.cr2, CODE + 2 * 4096);
}

static void test_fetch_limit(void **state)
{
	uint8_t bytes[15];
	struct guest_fault fault;

	(void)state;
	fx_mode_16();
	fx.seg[SEG_CS].limit = 0xff;
	fx.vcpu.regs.rip = 0xfe;
	FX_CODE(0xaa, 0xbb);
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 2);
	assert_memory_equal(bytes, "\xaa\xbb", 2);
	fx.vcpu.regs.rip = 0x100;
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 0);
	assert_int_equal(fault.vector, VEC_GP);
	assert_true(fault.has_error);
	assert_int_equal(fault.error, 0);
}

/* Code in a device's registers reads as all ones, and the device does not notice. */
static void test_fetch_from_device(void **state)
{
	uint8_t bytes[15];
	struct guest_fault fault;

	(void)state;
	fx.vcpu.regs.rip = WINDOW;
	assert_int_equal(gmem_fetch(&fx.vcpu, bytes, 15, &fault), 15);
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(bytes[i], 0xff);
	assert_int_equal(fx.dev[0].reads, 0);
}

/* --- tables --- */

static void test_pt_mem(void **state)
{
	const struct pt_mem *mem = gmem_pt_mem(&fx.vm);
	uint64_t val = 0;

	(void)state;
	assert_ptr_equal(gmem_pt_mem(&fx.vm), mem);
	memcpy(fx.ram + 0x8000, "\1\2\3\4\5\6\7\10", 8);
	assert_true(mem->read(mem->ctx, 0x8000, 8, &val));
	assert_int_equal(val, 0x0807060504030201);
	assert_true(mem->read(mem->ctx, 0x8004, 4, &val));
	assert_int_equal(val, 0x08070605);
	assert_false(mem->cmpxchg(mem->ctx, 0x8000, 4, 0x04030200, 1));
	assert_true(mem->cmpxchg(mem->ctx, 0x8000, 4, 0x04030201, 0x44));
	assert_false(mem->cmpxchg(mem->ctx, 0x8000, 8, 0x0807060504030201, 1));
	assert_true(mem->cmpxchg(mem->ctx, 0x8000, 8, 0x0807060500000044, 1));
	assert_memory_equal(fx.ram + 0x8000, "\1\0\0\0\0\0\0\0", 8);
	assert_false(mem->read(mem->ctx, NOWHERE, 8, &val));
	assert_false(mem->read(mem->ctx, DEVICE_A, 8, &val));
	assert_int_equal(fx.dev[0].reads, 0);
	/* ROM swallows it: a caller that tries again would do so for ever. */
	assert_true(mem->read(mem->ctx, ROM_PA, 8, &val));
	assert_true(mem->cmpxchg(mem->ctx, ROM_PA, 8, val, val + 1));
	assert_int_equal(fx.rom[0], 0);
}

/* CR3 at a device or at nothing: reserved bits are set in all ones, as on a PC. */
static void test_tables_nowhere(void **state)
{
	const uint64_t roots[] = { NOWHERE, DEVICE_A };
	struct guest_fault fault;
	uint8_t b;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(roots); i++) {
		fx.reg[REG_CR3] = roots[i];
		memset(&fault, 0, sizeof(fault));
		assert_false(gmem_read(&fx.vcpu, GVA(WINDOW), &b, 1, as_read, &fault));
		assert_int_equal(fault.vector, VEC_PF);
		assert_int_equal(fault.error, PF_P | PF_RSVD);
	}
	assert_int_equal(fx.dev[0].reads, 0);
}

/* Another processor's, meanwhile. */
static void *add_ones(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ADDS; i++)
		__atomic_fetch_add((uint32_t *)(fx.ram + COUNTER), 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_replace(void **state)
{
	uint32_t old = 0, sum = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, add_ones, NULL), 0);
	for (unsigned i = 0; i < ADDS; i++) {
		do {
			gmem_phys_read(&fx.vm, GPA(COUNTER), &old, 4);
			sum = old + 1;
		} while (!gmem_phys_replace(&fx.vm, GPA(COUNTER), &old, &sum, 4));
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	gmem_phys_read(&fx.vm, GPA(COUNTER), &sum, 4);
	assert_int_equal(sum, 2 * ADDS);
}

/* Each size, aligned or not; a device just gets what is written. */
static void test_replace_sizes(void **state)
{
	static const size_t sizes[] = { 1, 2, 4, 8, 16 };
	uint8_t old[16], new[16], now[18];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (unsigned off = 0; off < (sizes[i] == 16 ? 1 : 4); off++) {
			uint8_t *at = fx.ram + COUNTER + off;

			memset(fx.ram + COUNTER, 0x33, 32);
			memset(old, 0x33, sizeof(old));
			memset(new, 0x44, sizeof(new));
			assert_true(
				gmem_phys_replace(&fx.vm, GPA(COUNTER + off), old, new, sizes[i]));
			assert_memory_equal(at, new, sizes[i]);
			memcpy(now, at, sizeof(now));
			assert_int_equal(now[sizes[i]], 0x33);
			assert_false(
				gmem_phys_replace(&fx.vm, GPA(COUNTER + off), old, new, sizes[i]));
			assert_memory_equal(at, now, sizeof(now));
		}
	}
	assert_true(gmem_phys_replace(&fx.vm, GPA(DEVICE_A), old, new, 4));
	assert_int_equal(fx.dev[0].writes, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		T(test_read_write_ram),
		T(test_cross_ram_and_device),
		T(test_many_pages),
		T(test_write_is_checked_first),
		T(test_rights),
		T(test_protection_keys),
		T(test_accessed_and_dirty),
		T(test_rom_and_nowhere),
		T(test_phys_pieces),
		T(test_replace),
		T(test_replace_sizes),
		T(test_wrap_at_4g),
		T(test_fetch),
		T(test_fetch_ends_at_absent_page),
		T(test_fetch_limit),
		T(test_fetch_from_device),
		T(test_pt_mem),
		T(test_tables_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
