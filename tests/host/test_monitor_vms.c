/* vmm/monitor: the families of commands of VMs and of the machine. */
#include "tests/host/monitor_fixture.h"

/* A debugger's command leaves what the operator reads, and what he waits for. */
static void test_aside(void **state)
{
	struct dispatch_wait waits;
	char text[DISPATCH_ASIDE_MIN], was[64];

	(void)state;
	run("version");
	snprintf(was, sizeof(was), "%s", said);
	dispatch_aside("vms", text, sizeof(text));
	assert_non_null(strstr(text, "NAME"));
	dispatch_aside("help", text, sizeof(text));
	assert_non_null(strstr(text, "do not fit"));
	dispatch_aside("nothing", text, sizeof(text));
	assert_non_null(strstr(text, "no such command"));
	if (strncmp(said, was, strlen(was)) != 0)
		fail_msg("expected \"%s\", seen \"%s\"", was, said);
	dispatch_aside("wait idle", text, sizeof(text));
	assert_false(dispatch_waits(&waits));
}

static void test_vms(void **state)
{
	(void)state;
	fake_now_ns = 3725 * SECOND + SECOND / 2;
	fake_vm.exits[0]->count[EXIT_IO] = 41;
	fake_vm.exits[0]->count[EXIT_HLT] = 1;
	second.stop_reason = VM_STOP_TRIPLE;
	expect_said("vms | grep alpha",
		    " 1 alpha                running          16M    1 nested ");
	assert_non_null(strstr(said, " 1:02:05.5         42\n"));
	expect_said("vms | grep beta", "triple fault");
	fake_vcpu.state = VCPU_STARTING;
	expect_said("vms | grep alpha", " 1 alpha                starting ");
	expect_said("vm alpha", "  starts for 1:02:05.5\n");
	fake_vcpu.state = VCPU_RUNNABLE;
	fake_vm.state = VM_PAUSED;
	expect_said("vms", "paused");
	second.restart.armed = true;
	expect_said("vms", "restarting");
	for (const char *p = said; *p; p = strchr(p, '\n') + 1)
		assert_true(strchr(p, '\n') - p <= 80);
}

static void test_vm(void **state)
{
	(void)state;
	cfg[0].cmdline = "console=ttyS0 quiet";
	fake_vm.exits[0]->count[EXIT_IO] = 41;
	expect_said("vm alpha", "alpha: running");
	expect_said("vm alpha", "  ran        0 ms\n");
	expect_said("vm alpha", "             weight=256 apic=off\n");
	cfg[0].weight = 40;
	cfg[0].apic = true;
	cfg[0].pv = PV_KVM;
	cfg[0].cpus =
		(struct cpu_set){ { BIT(0) | BIT(2) | BIT(3) | BIT(63), BIT(0), 0, BIT(63) } };
	cfg[0].paused = true;
	strcpy(cfg[0].com2, "com2,9600");
	expect_said("vm alpha",
		    "weight=40 cpus=0,2-3,63-64,255 apic=on pv=kvm com2=phys:com2,9600\n"
		    "             paused\n");
	assert_non_null(strstr(said, "console=ttyS0 quiet"));
	assert_non_null(strstr(said, "memory=16M vcpus=1 paging=auto on-reset=restart"));
	assert_non_null(strstr(said, "io 41"));
	assert_non_null(strstr(said, "5 KiB"));
	second.stop_reason = VM_STOP_ERROR;
	strcpy(second.stop_text, "cannot emulate 0f 0b");
	expect_said("vm 2", "cannot emulate 0f 0b");
}

static void expect_80_columns(void)
{
	for (const char *p = said; *p; p = strchr(p, '\n') + 1)
		if (strchr(p, '\n') - p > 80)
			fail_msg("expected 80 columns: %.*s", (int)(strchr(p, '\n') - p), p);
}

/* Long lines of the menu's are broken, and whole. */
static void test_vm_width(void **state)
{
	static char line[400], module_line[300];

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "word%02u=value ", i);
	memset(module_line, 'm', sizeof(module_line) - 1);
	cfg[0].cmdline = line;
	cfg[0].debug_exit = cfg[0].stats = true;
	module.cmdline = module_line;
	memset(cfg[0].name, 'n', VM_NAME_MAX - 1);
	for (unsigned i = 0; i < EXIT_KINDS; i++)
		fake_vm.exits[0]->count[i] = UINT64_C(9999999999);
	run("vm 1");
	expect_80_columns();
	for (unsigned i = 0; i < 20; i++) {
		char word[16];

		snprintf(word, sizeof(word), "word%02u=value", i);
		assert_non_null(strstr(said, word));
	}
	module.cmdline = "vm=alpha kernel";
}

static void test_vcpus(void **state)
{
	(void)state;
	fake_vcpu.regs.rip = 0xffffffff81234567;
	expect_said("vcpus", " ffffffff81234567 ");
	assert_non_null(strstr(said, "alpha.0"));
	assert_non_null(strstr(said, "4-level"));
	assert_non_null(strstr(said, " runnable "));
	/* Of those that can run, the one that does. */
	turn = &fake_vcpu;
	boot_cpu.state = CPU_ONLINE;
	expect_said("vcpus", "alpha.0              running ");
	expect_said("cpus | grep alpha", " alpha.0\n");
	fake_vm.state = VM_PAUSED;
	expect_said("vcpus", "alpha.0              paused ");
	fake_vm.state = VM_RUNNING;
	fake_vcpu.state = VCPU_HALTED;
	expect_said("vcpus", "alpha.0              halted ");
	fake_vcpu.state = VCPU_RUNNABLE;
	turn = NULL;
	expect_said("vcpus beta", "VCPU");
	assert_null(strstr(said, "alpha"));
	expect_wrong("vcpus gamma", "no VM", "usage: vcpus");
}

/* A name that is too long for its column has a line of its own, the others stay in theirs. */
static void test_long_names(void **state)
{
	(void)state;
	memset(cfg[0].name, 'n', VM_NAME_MAX - 1);
	fake_vcpu.regs.rip = 0x100;
	run("vms | grep nested");
	assert_memory_equal(said, " 1 nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\n", 35);
	assert_string_equal(said + 35,
			    "                        running          16M    1 nested   0:00:00.0"
			    "          0\n"
			    " 2 beta                 not started      16M    1 nested           -"
			    "          0\n");
	run("vcpus | tail 1");
	assert_string_equal(said, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.0\n"
				  "                     runnable   0   64 4-level 0000000000000100"
				  " unknown        0\n");
}

static void test_life(void **state)
{
	(void)state;
	run("pause alpha");
	run("resume alpha");
	assert_non_null(strstr(said, "alpha is running: nothing done"));
	run("stop alpha");
	run("reset 1");
	run("kill 1");
	assert_string_equal(asked, "pause alpha 16 0;resume alpha 16 0;stop alpha 16 0;"
				   "reset alpha 16 0;kill alpha 16 0;");
	expect_said("kill beta", "beta is not started: nothing done");
	expect_said("reset beta", "beta is not started: nothing done");
	expect_said("start alpha", "alpha is running");
	/* What was done is in the log, and said when that is not seen. */
	if (!strstr(fake_log, "vm alpha: paused by the operator\n"))
		fail_msg("expected a line of the log, seen:\n%s", fake_log);
	run("pause alpha");
	assert_string_equal(said, "");
	log_set_line(false);
	expect_said("pause alpha", "alpha: paused by the operator\n");
	expect_said("kill alpha", "alpha: killed\n");
	log_set_line(true);
	fake_vm.state = VM_PAUSED;
	run("resume alpha");
	if (!strstr(fake_log, "vm alpha: running again\n"))
		fail_msg("expected a line of the log, seen:\n%s", fake_log);
	/* One that is ended and cannot be made again. */
	reset_error = -EINVAL;
	expect_said("reset alpha", "alpha has been ended, and could not be started anew");
	reset_error = 0;
}

static void test_start_changed(void **state)
{
	(void)state;
	cfg[1].cmdline = "from the line";
	run("start beta memory=64M paging=shadow stats -- console=ttyS0  a | b");
	assert_string_equal(asked, "start beta 64 2;");
	assert_string_equal(second.cfg->cmdline, "console=ttyS0  a | b");
	assert_true(second.cfg->stats);
	assert_string_equal(second.cfg->name, "beta");
	/* The line itself has not changed, and counts again. */
	assert_int_equal(cfg[1].memory, MIB(16));
	expect_said("vm beta", "without words, GRUB's line again");
	asked[0] = '\0';
	expect_said("start beta", "beta: by GRUB's line again\n");
	run("vm beta");
	assert_null(strstr(said, "again"));
	asked[0] = '\0';
	run("start beta");
	assert_string_equal(said, "");
	assert_string_equal(asked, "start beta 16 0;");
	assert_string_equal(second.cfg->cmdline, "from the line");
	/* From the line, not from what was changed before. */
	asked[0] = '\0';
	run("start beta memory=32M");
	assert_string_equal(asked, "start beta 32 0;");
	assert_string_equal(second.cfg->cmdline, "from the line");
	/* A word that is wrong, and one that cannot be had, change nothing. */
	asked[0] = '\0';
	run("start beta memory=8M paging=both");
	assert_string_equal(asked, "");
	assert_int_equal(second.cfg->memory, MIB(32));
	run("start beta memory=2G -- x");
	assert_string_equal(asked, "start beta 2048 0;");
	assert_int_equal(second.cfg->memory, MIB(32));
	assert_string_equal(second.cfg->cmdline, "from the line");
}

static void test_machine(void **state)
{
	hpa_t pa = frame_alloc(3, FRAME_VM0 + 1);

	(void)state;
	expect_said("mem | grep beta", "beta                              8         0      0");
	assert_non_null(strstr(said, "32768\n"));
	expect_said("mem | grep all", "all                               8         0      0");
	frame_free(pa, 3, FRAME_VM0 + 1);
	expect_said("mem | grep -c beta", "0\n");
	fake_now_ns = 90061 * SECOND;
	expect_said("uptime", "up 1 days 01:01:01\n");
	expect_said("version", "Umbra 0.1");
	expect_said("cpus", "APIC");
	log_info("a line of the log");
	expect_said("log", "a line of the log\n");
	run("log warn");
	assert_int_equal(log_level(), LOG_WARN);
	log_set_level(LOG_DEBUG);
	switch (setjmp(back)) {
	case 0:
		run("reboot");
		fail();
		break;
	case 2:
		run("poweroff");
		fail();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_aside, setup),
		cmocka_unit_test_setup(test_vms, setup),
		cmocka_unit_test_setup(test_vm, setup),
		cmocka_unit_test_setup(test_vm_width, setup),
		cmocka_unit_test_setup(test_vcpus, setup),
		cmocka_unit_test_setup(test_long_names, setup),
		cmocka_unit_test_setup(test_life, setup),
		cmocka_unit_test_setup(test_start_changed, setup),
		cmocka_unit_test_setup(test_machine, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
