/* Values and the names of their bits, as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/lib/printer.h"
#include "arch/x86_64/lib/reg_flags.h"
#include "tests/host/fakes.h"

static struct printer p;

static int setup(void **state)
{
	(void)state;
	p = fake_log_printer;
	p.name_width = 6;
	fake_log_reset();
	return 0;
}

static void expect(const char *text)
{
	if (strcmp(fake_log, text))
		fail_msg("seen \"%s\", expected \"%s\"", fake_log, text);
	fake_log_reset();
}

static void test_lines(void **state)
{
	char lots[400];

	(void)state;
	printer_line(&p, "%s %d", "seven", 7);
	expect("seven 7\n");
	memset(lots, 'x', sizeof(lots));
	lots[sizeof(lots) - 1] = '\0';
	printer_line(&p, "%s", lots);
	assert_int_equal(strlen(fake_log), 161);
}

static void test_flags(void **state)
{
	(void)state;
	printer_value(&p, "cr0", 8, CR0_PG | CR0_WP | CR0_PE, &flags_cr0);
	expect("  cr0    80010001          PE WP PG\n");
	printer_value(&p, "rip", 16, 0x1234, NULL);
	expect("  rip    0000000000001234\n");
	/* What must be so is no word; what has no name is a number. */
	printer_value(&p, "rflags", 8, 0x2, &flags_rflags);
	expect("  rflags 00000002\n");
	printer_value(&p, "rflags", 8, 0x3202, &flags_rflags);
	expect("  rflags 00003202          IF IOPL=3\n");
	printer_value(&p, "cr0", 16, BIT(63) | BIT(7) | CR0_ET, &flags_cr0);
	expect("  cr0    8000000000000090  ET bit7 bit63\n");
	printer_value(&p, "dr6", 8, DR6_INIT | DR6_BS | 1, &flags_dr6);
	expect("  dr6    ffff4ff1          B0 BS\n");
	printer_value(&p, "dr7", 8, DR7_INIT | 0xd0002, &flags_dr7);
	expect("  dr7    000d0402          G0 RW0=1 LEN0=3\n");
}

static void test_fields(void **state)
{
	static const struct flag flags[] = { FLAG_FIELD(7, 0, "vector"), FLAG(63, "top") };
	static const struct flag_set set = FLAG_SET(flags, 0);

	(void)state;
	printer_value(&p, "event", 16, BIT(63) | 0x2f, &set);
	expect("  event  800000000000002f  vector=0x2f top\n");
	printer_value(&p, "event", 16, 9, &set);
	expect("  event  0000000000000009  vector=9\n");
	printer_note(&p, "exit", 4, 0x78, "HLT");
	expect("  exit   0078              HLT\n");
}

/* A line is never wider than the screen. */
static void test_wraps(void **state)
{
	static const struct flag_set *const sets[] = { &flags_cr4, &flags_rflags,
						       &flags_exceptions };
	unsigned lines = 0;

	(void)state;
	for (p.name_width = 3; p.name_width < 24; p.name_width++) {
		for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
			printer_value(&p, "all", 8, UINT64_MAX, sets[i]);
		for (char *s = fake_log, *end; *s; s = end + 1, lines++) {
			end = strchr(s, '\n');
			assert_in_range(end - s, 20, 79);
		}
		assert_non_null(strstr(fake_log, " PKS "));
		assert_non_null(strstr(fake_log, " bit63\n"));
		fake_log_reset();
	}
	assert_true(lines > 21 * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_lines, setup),
		cmocka_unit_test_setup(test_flags, setup),
		cmocka_unit_test_setup(test_fields, setup),
		cmocka_unit_test_setup(test_wraps, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
