/* The boot information's tags, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/multiboot2.c"
#include "tests/host/fake_random.h"

#define INFO_PA 0x123000

/* Boot information under construction. */
static _Alignas(8) uint8_t buf[65536];
static size_t len;
static uint8_t *exact; /* the copy that was parsed last */
static struct boot_info bi;

static void put(const void *p, size_t n)
{
	assert_true(len + n <= sizeof(buf));
	memcpy(buf + len, p, n);
	len += n;
}

static void put32(uint32_t v)
{
	put(&v, sizeof(v));
}

static void put64(uint64_t v)
{
	put(&v, sizeof(v));
}

static void info_begin(void)
{
	memset(buf, 0xcc, sizeof(buf));
	memset(&bi, 0xa5, sizeof(bi));
	len = 0;
	put64(0);
}

static void tag_begin(uint32_t type, uint32_t payload)
{
	put32(type);
	put32(8 + payload);
}

static void tag_pad(void)
{
	len = ALIGN_UP(len, 8);
}

static void tag_put_text(uint32_t type, const char *text)
{
	tag_begin(type, (uint32_t)strlen(text) + 1);
	put(text, strlen(text) + 1);
	tag_pad();
}

static void tag_put_module(uint32_t start, uint32_t end, const char *text)
{
	tag_begin(3, 8 + (uint32_t)strlen(text) + 1);
	put32(start);
	put32(end);
	put(text, strlen(text) + 1);
	tag_pad();
}

static void put_range(uint64_t base, uint64_t size, uint32_t type)
{
	put64(base);
	put64(size);
	put32(type);
	put32(0);
}

static void tag_put_mmap(void)
{
	tag_begin(6, 8 + 24);
	put32(24);
	put32(0);
	put_range(0, 0x100000, 1);
}

/* Parse a copy of exactly these bytes, so that reading past them is seen. */
static const char *parse_bytes(size_t bytes, size_t limit)
{
	free(exact);
	exact = aligned_alloc(8, ALIGN_UP(bytes, 8));
	assert_non_null(exact);
	memcpy(exact, buf, bytes);
	return multiboot2_parse(exact, limit, HPA(INFO_PA), &bi);
}

static void set_total(uint32_t total)
{
	memcpy(buf, &total, sizeof(total));
}

static const char *info_end(void)
{
	tag_begin(0, 0);
	set_total((uint32_t)len);
	return parse_bytes(len, len);
}

static void assert_wrong(const char *wrong, const char *expected)
{
	if (!wrong || !strstr(wrong, expected))
		fail_msg("expected an error with \"%s\", got %s", expected, wrong ? wrong : "none");
}

static void assert_good(const char *wrong)
{
	if (wrong)
		fail_msg("expected no error, got \"%s\"", wrong);
}

/* --- good --- */

static void test_everything(void **state)
{
	char rsdp[36] = "RSD PTR ";
	size_t rsdp_at;

	(void)state;
	info_begin();
	tag_put_text(1, "com1=115200 loglevel=debug");
	tag_put_text(2, "GRUB 2.06");
	tag_put_module(0x1000000, 0x1234567, "vm=a kernel -- console=ttyS0");
	tag_put_module(0xfff00000, 0xffffffff, "");
	tag_begin(6, 8 + 4 * 24);
	put32(24);
	put32(0);
	put_range(0, 0x9fc00, 1);
	put_range(0x9fc00, 0x400, 2);
	put_range(0x100000, 0x3ff00000, 1);
	put_range(UINT64_C(0x100000000), UINT64_C(0x80000000), 3);
	rsdp_at = len + 8;
	tag_begin(15, sizeof(rsdp));
	put(rsdp, sizeof(rsdp));
	tag_pad();
	tag_begin(14, 20); /* the older one does not win */
	put(rsdp, 20);
	tag_pad();
	tag_begin(0x7777, 3); /* not known: passed over */
	put("abc", 3);
	tag_pad();
	assert_good(info_end());

	assert_string_equal(bi.cmdline, "com1=115200 loglevel=debug");
	assert_string_equal(bi.loader, "GRUB 2.06");
	assert_int_equal(bi.nr_modules, 2);
	assert_int_equal(bi.module[0].start.v, 0x1000000);
	assert_int_equal(bi.module[0].size, 0x234567);
	assert_string_equal(bi.module[0].cmdline, "vm=a kernel -- console=ttyS0");
	assert_int_equal(bi.module[1].start.v, 0xfff00000);
	assert_int_equal(bi.module[1].size, 0xfffff);
	assert_string_equal(bi.module[1].cmdline, "");
	assert_int_equal(bi.nr_ranges, 4);
	assert_int_equal(bi.range[0].size, 0x9fc00);
	assert_true(bi.range[0].available);
	assert_int_equal(bi.range[1].base, 0x9fc00);
	assert_false(bi.range[1].available);
	assert_int_equal(bi.range[3].base, UINT64_C(0x100000000));
	assert_false(bi.range[3].available);
	assert_int_equal(bi.rsdp.v, INFO_PA + rsdp_at);
	assert_int_equal(bi.info_start.v, INFO_PA);
	assert_int_equal(bi.info_end.v, INFO_PA + len);
	assert_true(bi.vga_text);
}

static void test_nothing_but_memory(void **state)
{
	(void)state;
	info_begin();
	tag_put_mmap();
	assert_good(info_end());
	assert_string_equal(bi.cmdline, "");
	assert_string_equal(bi.loader, "");
	assert_int_equal(bi.nr_modules, 0);
	assert_int_equal(bi.rsdp.v, 0);
}

/* Neighbours of one kind become one range; larger entries than we know are stepped over. */
static void test_memory_map_form(void **state)
{
	(void)state;
	info_begin();
	tag_begin(6, 8 + 4 * 32);
	put32(32);
	put32(1);
	put_range(0x100000, 0x100000, 1);
	put64(1);
	put_range(0x200000, 0x100000, 1);
	put64(1);
	put_range(0x300000, 0, 1);
	put64(1);
	put_range(UINT64_MAX - 5, 0x1000, 2); /* wraps: cut at the top */
	put64(1);
	assert_good(info_end());
	assert_int_equal(bi.nr_ranges, 2);
	assert_int_equal(bi.range[0].base, 0x100000);
	assert_int_equal(bi.range[0].size, 0x200000);
	assert_int_equal(bi.range[1].base, UINT64_MAX - 5);
	assert_int_equal(bi.range[1].size, 5);
}

static void put_framebuffer(uint8_t type)
{
	tag_begin(8, 24);
	put64(0xb8000);
	put32(160);
	put32(80);
	put32(25);
	put(&type, 1); /* bits a pixel: any */
	put(&type, 1);
	put("\0\0", 2);
}

static void test_text_screen(void **state)
{
	(void)state;
	info_begin();
	tag_put_mmap();
	put_framebuffer(2);
	assert_good(info_end());
	assert_true(bi.vga_text);

	info_begin();
	tag_put_mmap();
	put_framebuffer(1);
	assert_good(info_end());
	assert_false(bi.vga_text);

	info_begin(); /* EFI has none unless it says so */
	tag_put_mmap();
	tag_begin(12, 8);
	put64(0x1234);
	assert_good(info_end());
	assert_false(bi.vga_text);
}

static void test_long_line(void **state)
{
	static char text[20000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	info_begin();
	tag_put_text(1, text);
	tag_put_mmap();
	tag_put_module(0x1000, 0x2000, text);
	assert_good(info_end());
	assert_string_equal(bi.cmdline, text);
	assert_string_equal(bi.module[0].cmdline, text);
}

/* --- bad --- */

static void test_bad_total_size(void **state)
{
	(void)state;
	info_begin();
	tag_put_mmap();
	tag_begin(0, 0);
	for (uint32_t total = 0; total < 8; total++) {
		set_total(total);
		assert_wrong(parse_bytes(len, len), "wrong size");
	}
	set_total((uint32_t)len + 1);
	assert_wrong(parse_bytes(len, len), "wrong size");
	set_total(UINT32_MAX);
	assert_wrong(parse_bytes(len, len), "wrong size");
	set_total((uint32_t)len);
	assert_wrong(parse_bytes(8, 7), "wrong size");
	assert_string_equal(bi.cmdline, ""); /* usable all the same */
}

static void test_no_memory_map(void **state)
{
	(void)state;
	info_begin();
	tag_put_text(1, "x");
	assert_wrong(info_end(), "no memory map");
	assert_string_equal(bi.cmdline, "x");
}

/* Cut anywhere, with or without its end tag, it is parsed without a look outside. */
static void test_cut_anywhere(void **state)
{
	size_t whole;

	(void)state;
	info_begin();
	tag_put_text(1, "com1=none");
	tag_put_module(0x1000, 0x2000, "vm=a kernel");
	tag_put_mmap();
	put_framebuffer(2);
	tag_begin(0, 0);
	whole = len;
	for (size_t cut = 8; cut <= whole; cut++) {
		set_total((uint32_t)cut);
		parse_bytes(cut, cut);
		assert_true(bi.nr_modules <= 1);
		assert_true(bi.nr_ranges <= 1);
	}
	assert_int_equal(bi.nr_ranges, 1);
}

static void bad_tag(uint32_t type, uint32_t size, const char *expected)
{
	info_begin();
	put32(type);
	put32(size);
	put64(0x4141414141414141);
	put64(0x4141414141414141);
	tag_put_mmap();
	assert_wrong(info_end(), expected);
}

static void test_bad_tags(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 8; size++)
		bad_tag(1, size, "a tag of the boot information has a wrong size");
	bad_tag(1, 4096, "a tag of the boot information has a wrong size");
	bad_tag(1, UINT32_MAX, "a tag of the boot information has a wrong size");
	bad_tag(1, 8, "a text has no end");
	bad_tag(1, 24, "a text has no end");
	bad_tag(2, 24, "a text has no end");
	bad_tag(3, 12, "a module's line has no end");
	bad_tag(3, 16, "a module's line has no end");
	bad_tag(3, 24, "a module's line has no end");
	bad_tag(6, 8, "entries have a wrong size");
	bad_tag(6, 15, "entries have a wrong size");
	bad_tag(6, 24, "entries have a wrong size"); /* of 0x41414141 bytes */
}

static void test_bad_module(void **state)
{
	(void)state;
	info_begin();
	tag_put_mmap();
	tag_put_module(0x2000, 0x1fff, "vm=a kernel");
	assert_wrong(info_end(), "ends before it begins");
}

static void test_bad_entry_size(void **state)
{
	const uint32_t sizes[] = { 0, 8, 16, 23, 25, 28 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		info_begin();
		tag_begin(6, 8 + 48);
		put32(sizes[i]);
		put32(0);
		put_range(0, 0x100000, 1);
		put_range(0x100000, 0x100000, 2);
		assert_wrong(info_end(), "entries have a wrong size");
	}
	info_begin();
	tag_put_mmap();
	tag_put_mmap();
	assert_wrong(info_end(), "a second memory map");
}

static void test_too_many(void **state)
{
	(void)state;
	info_begin();
	tag_put_mmap();
	for (unsigned i = 0; i < BOOT_MAX_MODULES; i++)
		tag_put_module(0x1000 * i, 0x1000 * i + 1, "");
	assert_good(info_end());
	assert_int_equal(bi.nr_modules, BOOT_MAX_MODULES);
	len -= 8; /* over the end tag */
	tag_put_module(0, 1, "");
	tag_put_module(0, 1, "");
	assert_good(info_end());
	assert_int_equal(bi.nr_modules, BOOT_MAX_MODULES);
	assert_int_equal(bi.modules_dropped, 2);

	info_begin();
	tag_begin(6, 8 + (BOOT_MAX_RANGES + 1) * 24);
	put32(24);
	put32(0);
	for (unsigned i = 0; i <= BOOT_MAX_RANGES; i++)
		put_range(0x10000 * i, 0x1000, 1);
	assert_wrong(info_end(), "more than 128 ranges");
	assert_int_equal(bi.nr_ranges, BOOT_MAX_RANGES);
}

/* Noise of every kind: no crash, no look outside (ASan), counts within bounds. */
static void test_noise(void **state)
{
	uint64_t seed = 99;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		info_begin();
		tag_put_text(1, "a");
		tag_put_mmap();
		tag_put_module(1, 2, "b");
		tag_begin(0, 0);
		set_total((uint32_t)len);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t r = fake_random64(&seed);

			buf[8 + (r >> 33) % (len - 8)] = (uint8_t)(r >> 55);
		}
		parse_bytes(len, len);
		assert_true(bi.nr_ranges <= BOOT_MAX_RANGES && bi.nr_modules <= BOOT_MAX_MODULES);
		assert_true(strlen(bi.cmdline) < len);
	}
}

static int teardown(void **state)
{
	(void)state;
	free(exact);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything),      cmocka_unit_test(test_nothing_but_memory),
		cmocka_unit_test(test_memory_map_form), cmocka_unit_test(test_text_screen),
		cmocka_unit_test(test_long_line),       cmocka_unit_test(test_bad_total_size),
		cmocka_unit_test(test_no_memory_map),   cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_bad_tags),        cmocka_unit_test(test_bad_module),
		cmocka_unit_test(test_bad_entry_size),  cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
