/* Reading the firmware's ACPI tables: sound ones, and every way to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/x86_64/acpi.c"
#include "tests/host/fakes.h"

#define RSDP_PA 0x1000
#define RSDT_PA 0x2000
#define XSDT_PA 0x3000
#define FADT_PA 0x4000
#define MADT_PA 0x5000
#define HPET_PA 0x6000
#define DSDT_PA 0x7000

static struct boot_info bi;

static void *at(uint64_t pa)
{
	return hpa_to_ptr(HPA(pa));
}

/* The value of a checksum byte, now zero, that makes the bytes add up to zero. */
static uint8_t checksum(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum - b[i]);
	return sum;
}

static void table_sum(uint64_t pa)
{
	struct acpi_header *h = at(pa);

	h->checksum = 0;
	h->checksum = checksum(h, h->length);
}

static void table_new(uint64_t pa, const char *signature, const void *body, size_t n)
{
	struct acpi_header *h = at(pa);

	memset(h, 0, sizeof(*h));
	memcpy(h->signature, signature, 4);
	h->length = (uint32_t)(sizeof(*h) + n);
	memcpy(h + 1, body, n);
	table_sum(pa);
}

static void rsdp_sum(void)
{
	struct acpi_rsdp *r = at(RSDP_PA);

	r->checksum = r->extended_checksum = 0;
	r->checksum = checksum(r, RSDP_V1_BYTES);
	r->extended_checksum = checksum(r, sizeof(*r));
}

static void fadt_new(void)
{
	struct acpi_fadt *f = at(FADT_PA);

	memset(f, 0, sizeof(*f));
	memcpy(f->header.signature, "FACP", 4);
	f->header.length = sizeof(*f);
	f->dsdt = DSDT_PA;
	f->sci = 9;
	f->smi_command = 0xb2;
	f->acpi_enable = 2;
	f->pm1a_cnt = 0x604;
	f->pm_tmr = 0x608;
	f->century = 0x32;
	f->flags = FADT_RESET_REG;
	f->reset_reg = (struct acpi_gas){ ACPI_SPACE_IO, 8, 0, 1, 0xcf9 };
	f->reset_value = 0xf;
	table_sum(FADT_PA);
}

static const uint8_t madt_body[] = {
	0x00, 0x00, 0xe0, 0xfe, 1,  0, 0,    0,                  /* local APIC address, flags */
	0,    8,    0,    5,    1,  0, 0,    0,                  /* a processor */
	1,    12,   0,    0,    0,  0, 0xc0, 0xfe, 0,   0, 0, 0, /* I/O APIC */
	1,    12,   1,    0,    0,  0, 0xc1, 0xfe, 24,  0, 0, 0, /* another, from 24 on */
	2,    10,   0,    0,    2,  0, 0,    0,    0,   0,       /* IRQ 0 is input 2 */
	2,    10,   0,    4,    20, 0, 0,    0,    0xf, 0,       /* IRQ 4: 20, low, level */
	2,    10,   0,    99,   1,  0, 0,    0,    0,   0,       /* no ISA interrupt */
};

/* Name (_S5_, Package (4) {5, One, 0, 0}) with something before and after. */
static const uint8_t dsdt_body[] = { 0x10, 0x20, 8, '_', 'S', '5', '_',  0x12, 0x08,
				     4,    0x0a, 5, 1,   0,   0,   0xa3, 0xa3 };

static void machine_new(void)
{
	const uint32_t rsdt[] = { FADT_PA, MADT_PA, HPET_PA };
	const uint64_t xsdt[] = { FADT_PA, MADT_PA, HPET_PA };
	struct acpi_rsdp *r = at(RSDP_PA);
	struct {
		uint32_t id;
		struct acpi_gas base;
	} __attribute__((packed)) hpet = { 0, { ACPI_SPACE_MEMORY, 64, 0, 0, 0xfed00000 } };

	memset(at(0), 0, 0x10000);
	memset(&info, 0, sizeof(info));
	memset(&bi, 0, sizeof(bi));
	fake_log_reset();
	memcpy(r->signature, "RSD PTR ", 8);
	r->revision = 2;
	r->rsdt = RSDT_PA;
	r->length = sizeof(*r);
	r->xsdt = XSDT_PA;
	rsdp_sum();
	table_new(RSDT_PA, "RSDT", rsdt, sizeof(rsdt));
	table_new(XSDT_PA, "XSDT", xsdt, sizeof(xsdt));
	fadt_new();
	table_new(MADT_PA, "APIC", madt_body, sizeof(madt_body));
	table_new(HPET_PA, "HPET", &hpet, sizeof(hpet));
	table_new(DSDT_PA, "DSDT", dsdt_body, sizeof(dsdt_body));
	bi.rsdp = HPA(RSDP_PA);
}

static int setup(void **state)
{
	void *low = mmap(NULL, GIB(4), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	direct_map_base = (uintptr_t)low;
	return low == MAP_FAILED ? -1 : 0;
}

static int setup_test(void **state)
{
	(void)state;
	machine_new();
	return 0;
}

static void assert_all_there(void)
{
	const struct acpi_info *a = acpi_info();

	assert_true(a->fadt && a->madt);
	assert_int_equal(a->sci_irq, 9);
	assert_int_equal(a->smi_cmd, 0xb2);
	assert_int_equal(a->pm1a_cnt, 0x604);
	assert_int_equal(a->pm1b_cnt, 0);
	assert_int_equal(a->pm_timer, 0x608);
	assert_int_equal(a->century, 0x32);
	assert_true(a->reset_reg);
	assert_int_equal(a->reset_addr, 0xcf9);
	assert_int_equal(a->reset_value, 0xf);
	assert_true(a->s5);
	assert_int_equal(a->s5_typ_a, 5);
	assert_int_equal(a->s5_typ_b, 1);
	assert_int_equal(a->nr_ioapics, 2);
	assert_int_equal(a->ioapic[0].pa, 0xfec00000);
	assert_int_equal(a->ioapic[1].gsi_base, 24);
	assert_int_equal(a->isa[0].gsi, 2);
	assert_false(a->isa[0].level || a->isa[0].active_low);
	assert_int_equal(a->isa[4].gsi, 20);
	assert_true(a->isa[4].level && a->isa[4].active_low);
	assert_int_equal(a->isa[3].gsi, 3);
	assert_int_equal(a->nr_cpus, 1);
	assert_int_equal(a->cpu_apic_id[0], 5);
	assert_int_equal(a->hpet_pa, 0xfed00000);
}

static void test_xsdt(void **state)
{
	(void)state;
	((struct acpi_header *)at(RSDT_PA))->length = 0; /* must not matter */
	acpi_init(&bi);
	assert_all_there();
}

static void test_rsdt(void **state)
{
	struct acpi_rsdp *r = at(RSDP_PA);

	(void)state;
	r->revision = 0;
	rsdp_sum();
	acpi_init(&bi);
	assert_all_there();
}

static void test_rsdt_when_xsdt_is_broken(void **state)
{
	(void)state;
	((struct acpi_header *)at(XSDT_PA))->checksum++;
	acpi_init(&bi);
	assert_all_there();
	assert_non_null(strstr(fake_log, "XSDT table is broken"));
}

static void test_old_fadt(void **state)
{
	struct acpi_fadt *f = at(FADT_PA);

	(void)state;
	f->header.length = FADT_V1_BYTES;
	table_sum(FADT_PA);
	acpi_init(&bi);
	assert_true(acpi_info()->fadt && acpi_info()->s5);
	assert_int_equal(acpi_info()->pm_timer, 0x608);
	assert_false(acpi_info()->reset_reg);
}

static void test_newer_fields_win(void **state)
{
	struct acpi_fadt *f = at(FADT_PA);

	(void)state;
	f->x_pm_tmr = (struct acpi_gas){ ACPI_SPACE_IO, 32, 0, 3, 0x1808 };
	f->x_pm1a_cnt = (struct acpi_gas){ ACPI_SPACE_MEMORY, 16, 0, 2, 0xfed80804 };
	f->dsdt = 0;
	f->x_dsdt = DSDT_PA;
	table_sum(FADT_PA);
	acpi_init(&bi);
	assert_int_equal(acpi_info()->pm_timer, 0x1808);
	assert_int_equal(acpi_info()->pm1a_cnt, 0); /* no port: cannot be used */
	assert_true(acpi_info()->s5);
}

static void assert_nothing_there(void)
{
	assert_false(acpi_info()->fadt || acpi_info()->madt || acpi_info()->hpet_pa);
	assert_int_equal(acpi_info()->isa[4].gsi, 4);
	assert_non_null(strstr(fake_log, "no tables found"));
}

static void test_no_rsdp(void **state)
{
	(void)state;
	bi.rsdp = HPA(0);
	acpi_init(&bi);
	assert_nothing_there();
}

static void test_broken_rsdp(void **state)
{
	(void)state;
	((struct acpi_rsdp *)at(RSDP_PA))->oem_id[0]++;
	acpi_init(&bi);
	assert_nothing_there();
	machine_new();
	((struct acpi_rsdp *)at(RSDP_PA))->signature[0] = 'X';
	rsdp_sum();
	acpi_init(&bi);
	assert_nothing_there();
}

/* One broken table is left out and named; the others are read. */
static void test_broken_tables(void **state)
{
	(void)state;
	((struct acpi_header *)at(MADT_PA))->oem_id[0]++;
	acpi_init(&bi);
	assert_false(acpi_info()->madt);
	assert_int_equal(acpi_info()->nr_ioapics, 0);
	assert_true(acpi_info()->fadt);
	assert_non_null(strstr(fake_log, "APIC table is broken"));

	machine_new();
	((struct acpi_header *)at(FADT_PA))->length = UINT32_MAX;
	acpi_init(&bi);
	assert_false(acpi_info()->fadt);
	assert_true(acpi_info()->madt);
}

/* Pointers to where there is no memory map entry: not followed (a read would fault). */
static void test_wild_pointers(void **state)
{
	const uint64_t xsdt[] = {
		0, GIB(4) - 4, GIB(5), UINT64_MAX - 8, FADT_PA, MADT_PA, HPET_PA
	};

	(void)state;
	table_new(XSDT_PA, "XSDT", xsdt, sizeof(xsdt));
	acpi_init(&bi);
	assert_all_there();

	machine_new();
	((struct acpi_rsdp *)at(RSDP_PA))->xsdt = GIB(1000);
	((struct acpi_rsdp *)at(RSDP_PA))->rsdt = 0;
	rsdp_sum();
	acpi_init(&bi);
	assert_nothing_there();
}

static void test_high_tables_in_map(void **state)
{
	(void)state;
	bi.nr_ranges = 1;
	bi.range[0] = (struct boot_range){ GIB(5), 0x1000, false };
	boot = &bi;
	assert_true(reachable(GIB(5), 0x1000));
	assert_true(reachable(GIB(5) + 0xff0, 16));
	assert_false(reachable(GIB(5) + 0xff0, 17));
	assert_false(reachable(GIB(5) - 1, 16));
	assert_false(reachable(GIB(4) - 8, 16));
	assert_false(reachable(UINT64_MAX - 3, 16));
	assert_true(reachable(GIB(4) - 16, 16));
	assert_false(reachable(0, 16));
}

static void test_madt_entries_of_wrong_length(void **state)
{
	uint8_t body[sizeof(madt_body)];

	(void)state;
	for (unsigned length = 0; length < 256; length++) {
		machine_new();
		memcpy(body, madt_body, sizeof(body));
		body[17] = (uint8_t)length; /* the first I/O APIC's */
		table_new(MADT_PA, "APIC", body, sizeof(body));
		acpi_init(&bi);
		assert_true(acpi_info()->nr_ioapics <= ACPI_MAX_IOAPICS);
		if (length < 2 || length > sizeof(body) - 16)
			assert_int_equal(acpi_info()->nr_ioapics, 0);
	}
}

static void test_many_ioapics(void **state)
{
	uint8_t body[8 + 12 * 20] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		body[8 + 12 * i] = 1;
		body[9 + 12 * i] = 12;
	}
	table_new(MADT_PA, "APIC", body, sizeof(body));
	acpi_init(&bi);
	assert_int_equal(acpi_info()->nr_ioapics, ACPI_MAX_IOAPICS);
}

static size_t put_cpu(uint8_t *at, bool x2apic, uint32_t id, uint32_t flags)
{
	const struct acpi_madt_lapic lapic = { MADT_LAPIC, 8, 0, (uint8_t)id, flags };
	const struct acpi_madt_x2apic x = { { MADT_X2APIC, 16 }, 0, id, flags, 0 };

	memcpy(at, x2apic ? (const void *)&x : &lapic, x2apic ? sizeof(x) : sizeof(lapic));
	return x2apic ? sizeof(x) : sizeof(lapic);
}

/* Enabled ones, once each, by either kind of entry. */
static void test_processors(void **state)
{
	static const uint32_t expected[] = { 0, 2, 300 };
	uint8_t body[256] = { 0 };
	size_t n = 8;

	(void)state;
	n += put_cpu(body + n, false, 0, MADT_LAPIC_ENABLED);
	n += put_cpu(body + n, false, 1, 0);
	n += put_cpu(body + n, false, 3, MADT_LAPIC_ONLINE_CAPABLE);
	n += put_cpu(body + n, true, 2, MADT_LAPIC_ENABLED);
	n += put_cpu(body + n, false, 0xff, MADT_LAPIC_ENABLED);
	n += put_cpu(body + n, true, UINT32_MAX, MADT_LAPIC_ENABLED);
	n += put_cpu(body + n, false, 2, MADT_LAPIC_ENABLED);
	n += put_cpu(body + n, true, 300, MADT_LAPIC_ENABLED | MADT_LAPIC_ONLINE_CAPABLE);
	n += put_cpu(body + n, true, 301, 0);
	n += put_cpu(body + n, true, 302, MADT_LAPIC_ENABLED);
	body[n - 15] = 12; /* shorter than such an entry is */
	body[n - 4] = 99;  /* and what is behind it */
	body[n - 3] = 4;
	table_new(MADT_PA, "APIC", body, n);
	acpi_init(&bi);
	assert_int_equal(acpi_info()->nr_cpus, ARRAY_SIZE(expected));
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(acpi_info()->cpu_apic_id[i], expected[i]);
	assert_int_equal(acpi_info()->cpus_dropped, 0);
}

static void test_many_processors(void **state)
{
	static uint8_t body[8 + 16 * 300];
	size_t n = 8;

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		n += put_cpu(body + n, true, i * 2, MADT_LAPIC_ENABLED);
	table_new(MADT_PA, "APIC", body, n);
	acpi_init(&bi);
	assert_int_equal(acpi_info()->nr_cpus, ACPI_MAX_CPUS);
	assert_int_equal(acpi_info()->cpus_dropped, 300 - ACPI_MAX_CPUS);
	assert_int_equal(acpi_info()->cpu_apic_id[ACPI_MAX_CPUS - 1], 2 * (ACPI_MAX_CPUS - 1));
}

static void test_s5_forms(void **state)
{
	static const struct {
		uint8_t aml[16];
		bool good;
		uint8_t a, b;
	} rows[] = {
		{ { '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0 }, true, 0, 0 },
		{ { '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, 7, 0x0a, 6, 0, 0 }, true, 7, 6 },
		{ { '_', 'S', '5', '_', 0x12, 0x4a, 0, 2, 0x0b, 3, 0, 0x0a, 4 }, true, 3, 4 },
		{ { '_', 'S', '5', '_', 0x12, 4, 1, 0x0a, 5, 0 }, false, 0, 0 },
		{ { '_', 'S', '5', '_', 0x11, 6, 4, 0, 0, 0, 0 }, false, 0, 0 },
		{ { '_', 'S', '5', '_', 0x12, 6, 4, 0x0d, 'x', 0, 0 }, false, 0, 0 },
		{ { 0, 0, 0, 0, 0, 0, 0, 0, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a }, false, 0, 0 },
		{ { 0, 0, 0, 0, 0, 0, 0, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0x0a }, false, 0, 0 },
		{ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '_', 'S', '5', '_', 0x12, 0xff }, false, 0, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		machine_new();
		table_new(DSDT_PA, "DSDT", rows[i].aml, sizeof(rows[i].aml));
		acpi_init(&bi);
		if (acpi_info()->s5 != rows[i].good)
			fail_msg("row %u: expected S5 %sfound", i, rows[i].good ? "" : "not ");
		if (!rows[i].good)
			continue;
		assert_int_equal(acpi_info()->s5_typ_a, rows[i].a);
		assert_int_equal(acpi_info()->s5_typ_b, rows[i].b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_xsdt, setup_test),
		cmocka_unit_test_setup(test_rsdt, setup_test),
		cmocka_unit_test_setup(test_rsdt_when_xsdt_is_broken, setup_test),
		cmocka_unit_test_setup(test_old_fadt, setup_test),
		cmocka_unit_test_setup(test_newer_fields_win, setup_test),
		cmocka_unit_test_setup(test_no_rsdp, setup_test),
		cmocka_unit_test_setup(test_broken_rsdp, setup_test),
		cmocka_unit_test_setup(test_broken_tables, setup_test),
		cmocka_unit_test_setup(test_wild_pointers, setup_test),
		cmocka_unit_test_setup(test_high_tables_in_map, setup_test),
		cmocka_unit_test_setup(test_madt_entries_of_wrong_length, setup_test),
		cmocka_unit_test_setup(test_processors, setup_test),
		cmocka_unit_test_setup(test_many_processors, setup_test),
		cmocka_unit_test_setup(test_many_ioapics, setup_test),
		cmocka_unit_test_setup(test_s5_forms, setup_test),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
