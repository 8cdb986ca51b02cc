/* PCI configuration space and the reset control register. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/errno.h"
#include "vmm/dev/pci.h"

static struct pci pci;
static unsigned resets;

static void count_reset(void *ctx)
{
	(void)ctx;
	resets++;
}

static int setup(void **state)
{
	(void)state;
	resets = 0;
	pci_init(&pci, count_reset, NULL);
	return 0;
}

static void out(uint16_t port, unsigned size, uint32_t val)
{
	pci_ops.out(&pci, port, size, val);
}

static uint32_t in(uint16_t port, unsigned size)
{
	return pci_ops.in(&pci, port, size);
}

static uint32_t config(unsigned bus, unsigned devfn, unsigned reg, unsigned size)
{
	out(0xcf8, 4, 0x80000000u | bus << 16 | devfn << 8 | (reg & 0xfc));
	return in((uint16_t)(0xcfc + (reg & 3)), size);
}

/* Linux, pci_check_type1(). */
static void test_linux_probe(void **state)
{
	uint32_t saved;

	(void)state;
	out(0xcfb, 1, 0x01);
	saved = in(0xcf8, 4);
	out(0xcf8, 4, 0x80000000);
	assert_int_equal(in(0xcf8, 4), 0x80000000);
	out(0xcf8, 4, saved);
	assert_int_equal(saved, 0);
	assert_int_equal(config(0, 0, PCI_CLASS_DEVICE, 2), 0x0600);
}

static void test_host_bridge(void **state)
{
	(void)state;
	assert_int_equal(config(0, 0, 0, 4), 0x12378086);
	assert_int_equal(config(0, 0, 0, 2), 0x8086);
	assert_int_equal(config(0, 0, 2, 2), 0x1237);
	assert_int_equal(config(0, 0, 1, 1), 0x80);
	assert_int_equal(config(0, 0, 3, 1), 0x12);
	assert_int_equal(config(0, 0, 8, 4), 0x06000002);
	assert_int_equal(config(0, 0, PCI_HEADER_TYPE, 1), 0x00);
	config(0, 0, 0, 4);
	out(0xcfc, 4, 0xdeadbeef);
	assert_int_equal(config(0, 0, 0, 4), 0x12378086);
}

static void test_absent(void **state)
{
	(void)state;
	for (unsigned devfn = 1; devfn < 256; devfn++)
		assert_int_equal(config(0, devfn, 0, 4), 0xffffffff);
	assert_int_equal(config(1, 0, 0, 4), 0xffffffff);
	assert_int_equal(config(255, 255, 0xfc, 4), 0xffffffff);
	assert_int_equal(config(0, 8, 0, 2), 0xffff);
	assert_int_equal(config(0, 8, 0, 1), 0xff);
	out(0xcfc, 4, 0x1234);
	out(0xcf8, 4, 0x00000000); /* not enabled */
	assert_int_equal(in(0xcfc, 4), 0xffffffff);
}

static void test_address_register(void **state)
{
	(void)state;
	out(0xcf8, 4, 0xffffffff);
	assert_int_equal(in(0xcf8, 4), 0x80fffffc);
	out(0xcf8, 2, 0); /* only doublewords reach it */
	out(0xcf8, 1, 0);
	out(0xcfa, 2, 0);
	assert_int_equal(in(0xcf8, 4), 0x80fffffc);
	assert_int_equal(in(0xcf8, 2), 0xffff);
	assert_int_equal(in(0xcfa, 1), 0xff);
}

static struct {
	unsigned off, size, calls;
} last;

static void written(void *dev, unsigned off, unsigned size)
{
	assert_ptr_equal(dev, &last);
	last.off = off;
	last.size = size;
	last.calls++;
}

static void test_device(void **state)
{
	static struct pci_function fn;

	(void)state;
	memset(&fn, 0, sizeof(fn));
	memset(&last, 0, sizeof(last));
	fn.written = written;
	fn.dev = &last;
	pci_set32(fn.config, PCI_VENDOR_ID, 0x10411af4);
	pci_set16(fn.writable, PCI_COMMAND, 0x0407);
	pci_set32(fn.writable, PCI_BAR0, 0xfffff000);
	fn.writable[PCI_INTERRUPT_LINE] = 0xff;
	assert_int_equal(pci_add_function(&pci, PCI_DEVFN(3, 0), &fn), 0);
	assert_int_equal(pci_add_function(&pci, PCI_DEVFN(3, 0), &fn), -EEXIST);
	assert_int_equal(pci_add_function(&pci, 0, &fn), -EEXIST);
	assert_int_equal(pci_add_function(&pci, 256, &fn), -EINVAL);
	assert_int_equal(config(0, 0x18, 0, 4), 0x10411af4);
	assert_int_equal(config(0, 0x19, 0, 4), 0xffffffff);

	config(0, 0x18, PCI_BAR0, 4);
	out(0xcfc, 4, 0xffffffff); /* how the size of a BAR is found */
	assert_int_equal(in(0xcfc, 4), 0xfffff000);
	assert_int_equal(last.off, PCI_BAR0);
	assert_int_equal(last.size, 4);
	out(0xcfe, 2, 0xc123);
	assert_int_equal(in(0xcfc, 4), 0xc123f000);
	assert_int_equal(last.off, PCI_BAR0 + 2);
	out(0xcfd, 1, 0x5f);
	assert_int_equal(in(0xcfc, 4), 0xc1235000);
	config(0, 0x18, PCI_COMMAND, 2);
	out(0xcfc, 2, 0xffff);
	assert_int_equal(in(0xcfc, 2), 0x0407);
	config(0, 0x18, PCI_INTERRUPT_LINE, 1);
	out(0xcfc, 1, 11);
	assert_int_equal(in(0xcfc, 4), 11);
	assert_int_equal(last.calls, 5);
	config(0, 0x18, 0xfc, 4); /* the last doubleword */
	out(0xcff, 1, 0xff);
	assert_int_equal(in(0xcfc, 4), 0);
}

static void test_reset_control(void **state)
{
	(void)state;
	out(0xcf9, 1, 0x02);
	assert_int_equal(resets, 0);
	assert_int_equal(in(0xcf9, 1), 0x02);
	out(0xcf9, 1, 0x06);
	assert_int_equal(resets, 1);
	out(0xcf9, 1, 0x06); /* only when the bit rises */
	assert_int_equal(resets, 1);
	out(0xcf9, 1, 0x00);
	out(0xcf9, 1, 0x0e);
	assert_int_equal(resets, 2);
	out(0xcf8, 4, 0x80000600); /* an address, not this register */
	assert_int_equal(resets, 2);
}

static void test_random(void **state)
{
	(void)state;
	srand(6);
	for (unsigned i = 0; i < 100000; i++) {
		unsigned r = (unsigned)rand(), port = 0xcf8 + (r & 7);
		unsigned size = 1u << (r >> 3 & 3);

		if (size > 4 || (port & 7) + size > 8)
			continue;
		if (r & 64)
			out((uint16_t)port, size, (uint32_t)rand() * 2u);
		else
			in((uint16_t)port, size);
	}
	assert_int_equal(config(0, 0, 0, 4), 0x12378086);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_linux_probe, setup),
		cmocka_unit_test_setup(test_host_bridge, setup),
		cmocka_unit_test_setup(test_absent, setup),
		cmocka_unit_test_setup(test_address_register, setup),
		cmocka_unit_test_setup(test_device, setup),
		cmocka_unit_test_setup(test_reset_control, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
