/* What the log says of a VMCS that was refused, and of any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/host/fake_vmx.h"
#include "tests/host/fakes.h"
#include "tests/host/vmx_image.h"
#include "vmx/state.h"
#include "vmx/vmx.h"

#define FAILED 0x80000000u

static struct vmx_vcpu vv;
static struct vcpu vcpu = { .hw = &vv };
static _Alignas(PAGE_SIZE) uint32_t region[PAGE_SIZE / 4];

/* A current VMCS that holds a sound image, with these features of a Haswell. */
static void start(uint32_t features)
{
	fake_vmx_start(features);
	vv = (struct vmx_vcpu){ .vmcs = HPA((uintptr_t)region), .cpu = vmx_this_cpu() };
	region[0] = vmx_machine.vmx.revision;
	assert_true(vmx_vmclear(vv.vmcs));
	vmx_use(&vcpu);
	long_mode();
	img.field[INDEX_VMCS_PIN_CONTROLS] &= 0x7f;
	memcpy(&fake_vmx.current->image, &img, sizeof(img));
	fake_log_reset();
}

static int setup(void **state)
{
	(void)state;
	start(UINT32_MAX);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vmx_stop();
	return 0;
}

static void expect_log(const char *text)
{
	if (strcmp(fake_log, text))
		fail_msg("logged \"%s\", expected \"%s\"", fake_log, text);
	fake_log_reset();
}

static void test_sound(void **state)
{
	(void)state;
	vmx_explain_failure(7, 0, 0);
	expect_log("VMX: VM entry failed: VM entry with invalid control field(s)\n"
		   "VMX: no field of the VMCS breaks a rule that Umbra knows\n");
}

static void test_names_the_field(void **state)
{
	(void)state;
	fake_vmcs_set(VMCS_GUEST_TR_RIGHTS, 0x89);
	vmx_explain_failure(0, FAILED | 33, 0);
	expect_log("VMX: VM entry failed: invalid guest state\n"
		   "VMX: VMCS_GUEST_TR_RIGHTS: no busy TSS (value 0x89)\n");
	fake_vmcs_set(VMCS_HOST_RIP, UINT64_C(0x8000000000000000));
	vmx_explain_failure(8, 0, 0);
	expect_log("VMX: VM entry failed: VM entry with invalid host-state field(s)\n"
		   "VMX: VMCS_HOST_RIP: not canonical (value 0x8000000000000000)\n");
}

/* Only the first line. */
static void expect_reason(uint32_t error, uint32_t reason, uint64_t qualification,
			  const char *words)
{
	const char *line = "VMX: VM entry failed: ";

	vmx_explain_failure(error, reason, qualification);
	*strchr(fake_log, '\n') = 0;
	assert_int_equal(strncmp(fake_log, line, strlen(line)), 0);
	assert_string_equal(fake_log + strlen(line), words);
	fake_log_reset();
}

static void test_reasons(void **state)
{
	(void)state;
	expect_reason(0, 0, 0, "no current VMCS");
	expect_reason(5, 0, 0, "VMRESUME with non-launched VMCS");
	expect_reason(26, 0, 0, "VM entry with events blocked by MOV SS");
	expect_reason(14, 0, 0, "an unknown error");
	expect_reason(1000, 0, 0, "an unknown error");
	expect_reason(0, FAILED | 33, 2, "invalid guest state: loading the PDPTEs");
	expect_reason(0, FAILED | 33, 3, "invalid guest state: an NMI is injected into a shadow");
	expect_reason(0, FAILED | 33, 4, "invalid guest state: the VMCS link pointer");
	expect_reason(0, FAILED | 34, 7, "loading of MSRs, entry 7 of the list");
	expect_reason(0, FAILED | 41, 0, "machine check");
	expect_reason(0, FAILED | 60, 0, "exit reason 0x8000003c");
}

static void expect(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("the dump lacks \"%s\":\n%s", text, fake_log);
}

static void test_dump(void **state)
{
	(void)state;
	fake_vmcs_set(VMCS_EXIT_REASON, 12);
	fake_vmcs_set(VMCS_EXCEPTION_BITMAP, BIT(1) | BIT(17) | BIT(18));
	fake_vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
	vmx_dump(&vcpu, &fake_log_printer);
	expect(": consistent\n");
	expect("\n  EXIT_REASON            0000000c          HLT\n");
	expect("\n  EXCEPTION_BITMAP       00060002          #DB #AC #MC\n");
	expect("\n  GUEST_INTERRUPTIBILITY 00000008          NMI\n");
	expect("\n  GUEST_RIP              ffffffff81000000\n");
	expect("\n  tr   0028  base 0000000000000000  limit 00000067  rights 0008b\n");
	fake_log_reset();
	fake_vmcs_set(VMCS_VPID, 0);
	fake_vmcs_set(VMCS_INSTRUCTION_ERROR, 7);
	fake_vmcs_set(VMCS_EXIT_REASON, FAILED | 33);
	vmx_dump(&vcpu, &fake_log_printer);
	expect("VMCS_VPID: zero\n");
	expect("VM entry with invalid control field(s)\n");
	expect("\n  EXIT_REASON            80000021          basic=0x21 entry-failed\n");
}

/* No field that the processor has is missing but the segments', which have their own lines. */
static void test_dump_is_whole(void **state)
{
	char line[64];

	(void)state;
	vmx_dump(&vcpu, &fake_log_printer);
	for (unsigned i = 0; i < VMCS_INDEXES; i++) {
		const char *name = vmx_field_info(i)->name + strlen("VMCS_");
		const char *end = strrchr(name, '_');
		bool segment = !strncmp(name, "GUEST_", 6) &&
			       (!strcmp(end, "_BASE") || !strcmp(end, "_LIMIT") ||
				!strcmp(end, "_RIGHTS") || !strcmp(end, "_SELECTOR"));

		snprintf(line, sizeof(line), "\n  %s ", name);
		if (!strstr(fake_log, line) != (segment || !vmx_field_there(i, &vmx_machine.vmx)))
			fail_msg("%s is %s", name, segment ? "there" : "missing");
	}
}

/* Nothing is read that the processor does not have. */
static void test_poor_cpu(void **state)
{
	struct vmcs_image image;

	teardown(state);
	start(0);
	fake_vmcs_set(VMCS_VPID, 0x55);
	fake_vmcs_set(VMCS_PREEMPTION_TIMER, 0x55);
	vmx_read_image(&image);
	assert_int_equal(image.field[INDEX_VMCS_VPID], 0);
	assert_int_equal(image.field[INDEX_VMCS_PREEMPTION_TIMER], 0);
	assert_int_equal(image.field[INDEX_VMCS_GUEST_RIP], GET(VMCS_GUEST_RIP));
	vmx_dump(&vcpu, &fake_log_printer);
	assert_null(strstr(fake_log, "VPID  "));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_sound), CASE(test_names_the_field), CASE(test_reasons),
		CASE(test_dump),  CASE(test_dump_is_whole),   CASE(test_poor_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
