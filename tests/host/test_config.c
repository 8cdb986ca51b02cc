/* GRUB's lines: what they mean, and what is said of the wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/include/bits.h"
#include "tests/host/fakes.h"
#include "vmm/config.h"

static struct boot_info bi;
static struct umbra_config cfg;

static int setup(void **state)
{
	(void)state;
	memset(&bi, 0, sizeof(bi));
	bi.cmdline = "";
	fake_log_reset();
	return 0;
}

static void module(const char *line)
{
	bi.module[bi.nr_modules++] = (struct boot_module){ HPA(0x1000), 4096, line };
}

static void assert_logged(const char *text)
{
	if (!strstr(fake_log, text))
		fail_msg("expected in the log: %s\nthe log is:\n%s", text, fake_log);
}

static void assert_quiet(void)
{
	assert_string_equal(fake_log, "");
}

static void test_defaults(void **state)
{
	(void)state;
	module("vm=a kernel");
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(cfg.loglevel, LOG_INFO);
	assert_int_equal(cfg.on_idle, ON_IDLE_MONITOR);
	assert_int_equal(cfg.svm_features, UINT32_MAX);
	assert_int_equal(cfg.vmx_features, UINT32_MAX);
	assert_int_equal(cfg.nr_vms, 1);
	assert_string_equal(cfg.vm[0].name, "a");
	assert_int_equal(cfg.vm[0].memory, MIB(256));
	assert_int_equal(cfg.vm[0].vcpus, 1);
	assert_int_equal(cfg.vm[0].paging, PAGING_AUTO);
	assert_int_equal(cfg.vm[0].shadow, 0);
	assert_int_equal(cfg.vm[0].audit, 0);
	assert_int_equal(cfg.vm[0].on_reset, ON_RESET_RESTART);
	assert_int_equal(cfg.vm[0].on_crash, ON_CRASH_STOP);
	assert_false(cfg.vm[0].debug_exit);
	assert_false(cfg.vm[0].stats);
	assert_string_equal(cfg.vm[0].cmdline, "");
	assert_ptr_equal(cfg.vm[0].kernel, &bi.module[0]);
	assert_null(cfg.vm[0].initrd);
}

static void test_everything(void **state)
{
	(void)state;
	bi.cmdline = "com1=115200 loglevel=debug svm-features=0x1f vmx-features=0xfffffffe "
		     "on-idle=poweroff log=line console=follow";
	module("vm=deb64 initrd"); /* before its kernel */
	module("  vm=deb64 kernel memory=1G vcpus=1 paging=nested on-reset=stop "
	       "on-crash=restart debug-exit com2=phys:pci,9600 stats weight=10000 cpus=0-3,5,63-66,255 apic=off pv=kvm --  console=ttyS0 vm=x -- y");
	module("kernel vm=Two_2-b paging=shadow memory=0x100000 shadow=16M audit=7");
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(cfg.loglevel, LOG_DEBUG);
	assert_int_equal(cfg.on_idle, ON_IDLE_POWEROFF);
	assert_int_equal(cfg.svm_features, 0x1f);
	assert_int_equal(cfg.vmx_features, 0xfffffffe);
	assert_int_equal(cfg.nr_vms, 2);
	assert_string_equal(cfg.vm[0].name, "deb64");
	assert_int_equal(cfg.vm[0].memory, GIB(1));
	assert_int_equal(cfg.vm[0].paging, PAGING_NESTED);
	assert_int_equal(cfg.vm[0].on_reset, ON_RESET_STOP);
	assert_int_equal(cfg.vm[0].on_crash, ON_CRASH_RESTART);
	assert_true(cfg.vm[0].debug_exit);
	assert_true(cfg.vm[0].stats);
	assert_string_equal(cfg.vm[0].com2, "pci,9600");
	assert_false(cfg.vm[0].apic);
	assert_true(cfg.vm[1].apic);
	assert_int_equal(cfg.vm[0].pv, PV_KVM);
	assert_int_equal(cfg.vm[1].pv, PV_NONE);
	assert_string_equal(cfg.vm[1].com2, "");
	assert_true(cfg.log_always);
	assert_true(cfg.console_follow);
	assert_int_equal(cfg.vm[0].weight, 10000);
	assert_int_equal(cfg.vm[0].cpus.word[0], BITS(3, 0) | BIT(5) | BIT(63));
	assert_int_equal(cfg.vm[0].cpus.word[1], BITS(2, 0)); /* 64 to 66 */
	assert_int_equal(cfg.vm[0].cpus.word[2], 0);
	assert_int_equal(cfg.vm[0].cpus.word[3], BIT(63));
	assert_int_equal(cfg.vm[1].weight, 256);
	assert_true(cpu_set_is_empty(&cfg.vm[1].cpus)); /* all */
	assert_string_equal(cfg.vm[0].cmdline, "console=ttyS0 vm=x -- y");
	assert_ptr_equal(cfg.vm[0].kernel, &bi.module[1]);
	assert_ptr_equal(cfg.vm[0].initrd, &bi.module[0]);
	assert_string_equal(cfg.vm[1].name, "Two_2-b");
	assert_int_equal(cfg.vm[1].memory, MIB(1));
	assert_int_equal(cfg.vm[1].paging, PAGING_SHADOW);
	assert_int_equal(cfg.vm[1].shadow, MIB(16));
	assert_int_equal(cfg.vm[1].audit, 7);
}

/* Each line is left out with its reason; the guest beside it stays. */
static const char *const bad_lines[][2] = {
	{ "vm=x kernel memoy=256M", "unknown token \"memoy=256M\"" },
	{ "vm=x kernel memory", "unknown token \"memory\"" },
	{ "vm=x kernel KERNEL", "unknown token \"KERNEL\"" },
	{ "vmlinuz vm=x kernel", "unknown token \"vmlinuz\"" },
	{ "vm=x kernel stats=1", "unknown token \"stats=1\"" },
	{ "kernel memory=256M", "vm=NAME is missing" },
	{ "vm= kernel", "\"vm=\": the name is empty" },
	{ "vm=a/b kernel", "\"vm=a/b\": a name has letters" },
	{ "vm=\xc3\xa9 kernel", "a name has letters" },
	{ "vm=x vm=y kernel", "\"vm=y\": a second name" },
	{ "vm=abcdefghijklmnopqrstuvwxyz123456 kernel", "longer than 31" },
	{ "vm=x", "neither kernel, initrd, module nor disk" },
	{ "vm=x kernel initrd", "one only of kernel, initrd, module and disk" },
	{ "vm=x module kernel", "one only of kernel, initrd, module and disk" },
	{ "", "vm=NAME is missing" },
	{ "-- vm=x kernel", "vm=NAME is missing" },
	{ "vm=x kernel memory=", "\"memory=\": not a size" },
	{ "vm=x kernel memory=lots", "\"memory=lots\": not a size" },
	{ "vm=x kernel memory=0", "\"memory=0\": less than 1M" },
	{ "vm=x kernel memory=1023K", "less than 1M" },
	{ "vm=x kernel memory=1025K", "not a multiple of 1M" },
	{ "vm=x kernel memory=17T", "more than 16T" },
	{ "vm=x kernel memory=99999999999999999999", "not a size" },
	{ "vm=x kernel vcpus=0", "\"vcpus=0\": less than 1" },
	{ "vm=x kernel vcpus=two", "not a number" },
	{ "vm=x kernel vcpus=4294967297", "more than 64" },
	{ "vm=x kernel weight=0", "\"weight=0\": not from 1 to 10000" },
	{ "vm=x kernel weight=10001", "not from 1 to 10000" },
	{ "vm=x kernel weight=much", "\"weight=much\": not a number" },
	{ "vm=x kernel cpus=", "\"cpus=\": not a list of CPUs" },
	{ "vm=x kernel cpus=0,", "not a list of CPUs" },
	{ "vm=x kernel cpus=,0", "not a list of CPUs" },
	{ "vm=x kernel cpus=0-", "not a list of CPUs" },
	{ "vm=x kernel cpus=0-0-0", "not a list of CPUs" },
	{ "vm=x kernel cpus=all", "not a list of CPUs" },
	{ "vm=x kernel cpus=1-0", "not a list of CPUs" },
	{ "vm=x kernel cpus=256", "\"cpus=256\": CPUs have the numbers 0 to 255" },
	{ "vm=x kernel cpus=0,0-256", "\"cpus=0,0-256\": CPUs have the numbers 0 to 255" },
	{ "vm=x kernel cpus=18446744073709551615", "CPUs have the numbers 0 to 255" },
	{ "vm=x kernel paging=ept", "\"paging=ept\": not nested, shadow or auto" },
	{ "vm=x kernel paging=", "not nested, shadow or auto" },
	{ "vm=x kernel shadow=lots", "\"shadow=lots\": not a size" },
	{ "vm=x kernel shadow=1023K", "\"shadow=1023K\": less than 1M" },
	{ "vm=x kernel shadow=0", "less than 1M" },
	{ "vm=x kernel shadow=17T", "more than 16T" },
	{ "vm=x kernel shadow=0x100001", "not a multiple of 4K" },
	{ "vm=x kernel audit=often", "\"audit=often\": not a number" },
	{ "vm=x kernel on-reset=halt", "not restart or stop" },
	{ "vm=x kernel com2=com2", "not none or phys:PORT" },
	{ "vm=x kernel com2=phys:", "not none or phys:PORT" },
	{ "vm=x kernel com2=none com2=phys", "not none or phys:PORT" },
	{ "vm=x kernel on-crash=reboot", "not stop or restart" },
	{ "vm=x kernel apic=x2", "not on or off" },
	{ "vm=x kernel pv=xen", "not kvm or none" },
};

static void test_bad_kernel_lines(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_lines); i++) {
		char line[256];

		setup(state);
		module("vm=good kernel");
		module(bad_lines[i][0]);
		config_parse(&cfg, &bi);
		assert_int_equal(cfg.nr_vms, 1);
		assert_string_equal(cfg.vm[0].name, "good");
		assert_logged(bad_lines[i][1]);
		snprintf(line, sizeof(line), "module 2 \"%s\": ", bad_lines[i][0]);
		assert_logged(line);
		assert_logged("left out");
	}
}

/* The very line that the documentation shows. */
static void test_message(void **state)
{
	(void)state;
	module("vm=other kernel");
	module("vm=deb64 kernel memoy=256M");
	config_parse(&cfg, &bi);
	assert_string_equal(fake_log,
			    "error: module 2 \"vm=deb64 kernel memoy=256M\": unknown token "
			    "\"memoy=256M\"; this guest is left out\n");
}

static void test_duplicate_name(void **state)
{
	(void)state;
	module("vm=a kernel memory=64M");
	module("vm=a kernel memory=128M");
	module("vm=a initrd");
	module("vm=a initrd");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 1);
	assert_int_equal(cfg.vm[0].memory, MIB(64));
	assert_ptr_equal(cfg.vm[0].initrd, &bi.module[2]);
	assert_logged(
		"module 2 \"vm=a kernel memory=128M\": \"vm=a\": another kernel has this name; "
		"this guest is left out");
	assert_logged("module 4 \"vm=a initrd\": \"a\" has an initrd already");
}

static void test_initrd_without_guest(void **state)
{
	(void)state;
	module("vm=a kernel");
	module("vm=b initrd");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 1);
	assert_null(cfg.vm[0].initrd);
	assert_logged("module 2 \"vm=b initrd\": no guest \"b\" has a good kernel line");
}

/* A guest whose initrd line is wrong does not start without its initrd. */
static void test_bad_initrd_line(void **state)
{
	static const char *const bad[][2] = {
		{ "vm=a initrd memory=1G", "takes no tokens of a kernel's" },
		{ "vm=a initrd at=1G", "at= is for a disk's line" },
		{ "vm=a disk", "at=ADDRESS is missing" },
		{ "vm=a disk at=", "\"at=\": not an address" },
		{ "vm=a disk at=everywhere", "not an address" },
		{ "vm=a disk at=0x1001", "\"at=0x1001\": not a multiple of 4K" },
		{ "vm=a disk at=1G stats", "takes no tokens of a kernel's" },
		{ "vm=a disk at=1G -- x", "the command line belongs on the kernel's line" },
		{ "vm=a initrd -- console=ttyS0", "the command line belongs on the kernel's line" },
		{ "compressed vm=a initrd", "unknown token \"compressed\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(state);
		module("vm=z kernel");
		module("vm=a kernel");
		module("vm=b kernel");
		module(bad[i][0]);
		config_parse(&cfg, &bi);
		assert_int_equal(cfg.nr_vms, 2);
		assert_string_equal(cfg.vm[0].name, "z");
		assert_string_equal(cfg.vm[1].name, "b");
		assert_logged(bad[i][1]);
		assert_logged("this guest is left out");
	}
}

/* Each with its own line, in order, also around its kernel's line. */
static void test_modules(void **state)
{
	(void)state;
	module("vm=a module -- one two  three");
	module("vm=a kernel -- line");
	module("vm=b kernel");
	module("vm=a module");
	module("vm=b module -- vm=a");
	module("module vm=a -- four");
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(cfg.nr_vms, 2);
	assert_string_equal(cfg.vm[0].cmdline, "line");
	assert_int_equal(cfg.vm[0].nr_modules, 3);
	assert_ptr_equal(cfg.vm[0].module[0].file, &bi.module[0]);
	assert_string_equal(cfg.vm[0].module[0].cmdline, "one two  three");
	assert_ptr_equal(cfg.vm[0].module[1].file, &bi.module[3]);
	assert_string_equal(cfg.vm[0].module[1].cmdline, "");
	assert_string_equal(cfg.vm[0].module[2].cmdline, "four");
	assert_int_equal(cfg.vm[1].nr_modules, 1);
	assert_string_equal(cfg.vm[1].module[0].cmdline, "vm=a");
}

static void test_disks(void **state)
{
	(void)state;
	module("vm=a disk at=0x40000000");
	module("vm=a kernel");
	module("at=2G disk vm=a");
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(cfg.vm[0].nr_disks, 2);
	assert_ptr_equal(cfg.vm[0].disk[0].file, &bi.module[0]);
	assert_int_equal(cfg.vm[0].disk[0].at, GIB(1));
	assert_int_equal(cfg.vm[0].disk[1].at, GIB(2));
	setup(state);
	module("vm=a kernel");
	for (unsigned i = 0; i < VM_CONFIG_DISKS + 1; i++)
		module("vm=a disk at=1G");
	module("vm=b disk at=1G");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 0);
	assert_logged("module 10 \"vm=a disk at=1G\": \"a\" has 8 disks already; this guest is "
		      "left out");
	assert_logged("no guest \"b\" has a good kernel line; this disk is left out");
}

static void test_bad_module_lines(void **state)
{
	(void)state;
	module("vm=a kernel");
	module("vm=b kernel");
	module("vm=c module");
	module("vm=b module stats");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 1);
	assert_logged("module 3 \"vm=c module\": no guest \"c\" has a good kernel line; "
		      "this module is left out");
	assert_logged("module 4 \"vm=b module stats\": the line of an initrd, module or disk "
		      "takes no tokens of a kernel's; this guest is left out");
	/* One too many: its guest would count wrong. */
	setup(state);
	module("vm=a kernel");
	module("vm=b kernel");
	for (unsigned i = 0; i < VM_CONFIG_MODULES + 1; i++)
		module("vm=a module");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 1);
	assert_string_equal(cfg.vm[0].name, "b");
	assert_logged("module 19 \"vm=a module\": \"a\" has 16 modules already; this guest is "
		      "left out");
}

static void test_no_guests(void **state)
{
	(void)state;
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 0);
	assert_logged("error: no guest: ");
	assert_logged("vm=NAME kernel");
	setup(state);
	bi.cmdline = NULL;
	module(NULL);
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 0);
	assert_logged("vm=NAME is missing");
	assert_logged("no guest is left to start");
}

static void test_debugging(void **state)
{
	(void)state;
	bi.cmdline = "gdb=com2,9600";
	module("vm=a kernel paused");
	module("vm=b kernel");
	module("vm=b initrd paused");
	config_parse(&cfg, &bi);
	assert_string_equal(cfg.gdb, "com2,9600");
	assert_int_equal(cfg.nr_vms, 1);
	assert_true(cfg.vm[0].paused);
	bi.cmdline =
		"gdb= "
		"gdb=mmio32,0x0000000000000000000000000000000000000000000000000000000000000001";
	config_parse(&cfg, &bi);
	assert_string_equal(cfg.gdb, "");
	assert_logged("\"gdb=\": not a serial port; ignored");
	assert_logged("not a serial port; ignored");
}

static void test_own_line_errors(void **state)
{
	(void)state;
	bi.cmdline = "loglevel=loud on-idle=sleep onidle=poweroff on-idle=reboot quiet com2=1 "
		     "com1=0x2f8,9600 svm-features=1 svm-features=0x100000000 svm-features=all "
		     "vmx-features=2 vmx-features=-1 log=ring console=one";
	module("vm=a kernel");
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 1);
	assert_int_equal(cfg.loglevel, LOG_INFO);
	assert_logged("\"log=ring\": not line; ignored");
	assert_logged("\"console=one\": not follow; ignored");
	assert_false(cfg.log_always);
	assert_false(cfg.console_follow);
	assert_int_equal(cfg.on_idle, ON_IDLE_REBOOT);
	assert_int_equal(cfg.svm_features, 1);
	assert_int_equal(cfg.vmx_features, 2);
	assert_logged("\"svm-features=0x100000000\": not a mask of 32 bits; ignored");
	assert_logged("\"svm-features=all\": not a mask of 32 bits; ignored");
	assert_logged("\"vmx-features=-1\": not a mask of 32 bits; ignored");
	assert_logged("\"loglevel=loud\": not err, warn, info or debug; ignored");
	assert_logged("\"on-idle=sleep\": not poweroff, reboot or monitor; ignored");
	assert_logged("\"onidle=poweroff\": unknown token");
	assert_logged("\"quiet\": unknown token");
	assert_logged("error: Umbra's line: \"com2=1\": unknown token; ignored");
	assert_null(strstr(fake_log, "com1"));
}

/* run= as it comes through GRUB, and as other loaders may hand it on. */
static void test_run(void **state)
{
	static const struct {
		const char *line, *run;
	} good[] = {
		{ "", "" },
		{ "run=vms", "vms" },
		{ "run=vms,mem on-idle=reboot", "vms;mem" },
		{ "run=vms;mem,log", "vms;mem;log" },
		{ "\"run=vms; exits deb64\" on-idle=reboot", "vms; exits deb64" },
		{ "on-idle=reboot \"run=start a -- x=1,2\"", "start a -- x=1,2" },
		{ "  run=\"vms; mem\" on-idle=reboot", "vms; mem" },
		{ "\"run=log | grep \\\"a b\\\"\"", "log | grep \"a b\"" },
		{ "run=vms run=mem", "mem" },
		{ "run=", "" },
	};

	(void)state;
	module("vm=a kernel");
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		bi.cmdline = good[i].line;
		config_parse(&cfg, &bi);
		assert_string_equal(cfg.run, good[i].run);
		if (strstr(bi.cmdline, "on-idle"))
			assert_int_equal(cfg.on_idle, ON_IDLE_REBOOT);
		assert_quiet();
	}
	bi.cmdline = "\"run=vms on-idle=reboot";
	config_parse(&cfg, &bi);
	assert_string_equal(cfg.run, "");
	assert_logged("error: Umbra's line: run=: the quote has no end; ignored");
}

static void test_run_too_long(void **state)
{
	static char line[600] = "run=";

	(void)state;
	memset(line + 4, 'x', CONFIG_RUN_MAX);
	bi.cmdline = line;
	module("vm=a kernel");
	config_parse(&cfg, &bi);
	assert_int_equal(strlen(cfg.run), CONFIG_RUN_MAX);
	assert_quiet();
	line[4 + CONFIG_RUN_MAX] = 'x';
	config_parse(&cfg, &bi);
	assert_string_equal(cfg.run, "");
	assert_logged("run=: longer than 511 characters; ignored");
}

/* The monitor's way to change what a kernel's line says. */
static void test_change(void **state)
{
	struct vm_config vm;
	char why[100];

	(void)state;
	module("vm=a kernel memory=16M -- x");
	config_parse(&cfg, &bi);
	vm = cfg.vm[0];
	assert_true(config_change(&vm, "memory=1G", why, sizeof(why)));
	assert_true(config_change(&vm, "stats", why, sizeof(why)));
	assert_true(config_change(&vm, "paging=shadow", why, sizeof(why)));
	assert_int_equal(vm.memory, GIB(1));
	assert_true(vm.stats);
	assert_int_equal(vm.paging, PAGING_SHADOW);
	assert_string_equal(vm.cmdline, "x");
	assert_ptr_equal(vm.kernel, &bi.module[0]);
	assert_false(config_change(&vm, "memory=1", why, sizeof(why)));
	assert_string_equal(why, "\"memory=1\": less than 1M");
	assert_int_equal(vm.memory, GIB(1));
	assert_false(config_change(&vm, "vm=b", why, sizeof(why)));
	assert_string_equal(why, "unknown token \"vm=b\"");
	assert_false(config_change(&vm, "initrd", why, sizeof(why)));
	assert_false(config_change(&vm, "", why, sizeof(why)));
	assert_quiet();
}

static void test_long_lines(void **state)
{
	size_t n = 100000;
	char *line = malloc(n + 64);

	(void)state;
	/* A long command line is taken whole. */
	strcpy(line, "vm=a kernel -- ");
	memset(line + strlen(line), 'x', n);
	line[15 + n] = '\0';
	module(line);
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(strlen(cfg.vm[0].cmdline), n);
	/* A long wrong token makes a message of moderate length. */
	memset(line, 'y', n);
	line[n] = '\0';
	setup(state);
	module(line);
	bi.cmdline = line;
	config_parse(&cfg, &bi);
	assert_int_equal(cfg.nr_vms, 0);
	assert_logged("yyy...\": unknown token \"yyy");
	assert_true(strlen(fake_log) < 800);
	free(line);
}

static void test_many_modules(void **state)
{
	static char lines[VM_CONFIG_MAX][32];

	(void)state;
	for (unsigned i = 0; i < VM_CONFIG_MAX; i++) {
		snprintf(lines[i], sizeof(lines[i]), "vm=g%u kernel", i);
		module(lines[i]);
	}
	config_parse(&cfg, &bi);
	assert_quiet();
	assert_int_equal(cfg.nr_vms, VM_CONFIG_MAX);
	assert_string_equal(cfg.vm[63].name, "g63");
}

static void test_early_value(void **state)
{
	char buf[8] = "before";

	(void)state;
	assert_true(config_early_value("com1=115200 x", "com1", buf, sizeof(buf)));
	assert_string_equal(buf, "115200");
	assert_true(config_early_value("com1=1152001", "com1", buf, sizeof(buf)));
	assert_string_equal(buf, "1152001");
	assert_true(config_early_value("com1=11520012", "com1", buf, sizeof(buf)));
	assert_string_equal(buf, "1152001");
	assert_true(config_early_value("com1=", "com1", buf, sizeof(buf)));
	assert_string_equal(buf, "");
	assert_true(config_early_value("a=1 a=2", "a", buf, sizeof(buf)));
	assert_string_equal(buf, "2");
	strcpy(buf, "keep");
	assert_false(config_early_value("xcom1=1 com1 com11=2", "com1", buf, sizeof(buf)));
	assert_false(config_early_value("", "com1", buf, sizeof(buf)));
	assert_false(config_early_value(NULL, "com1", buf, sizeof(buf)));
	assert_false(config_early_value("com1=1", "com1", buf, 0));
	assert_string_equal(buf, "keep");
}

/* Random lines from the grammar's own pieces: nothing is read or written out of bounds, and
 * what comes out is in range. */
static void test_fuzz(void **state)
{
	static const char *const piece[] = {
		"vm=",        "a",         "b",      "kernel",    "initrd",  " ",     "  ",
		"\t",         "--",        "-",      "memory=",   "1",       "G",     "256M",
		"vcpus=",     "paging=",   "nested", "on-reset=", "stop",    "=",     "stats",
		"debug-exit", "\xff",      "0x",     "module",    "disk",    "at=",   "9999999999",
		"on-idle=",   "loglevel=", "debug",  "on-crash=", "weight=", "cpus=", ",",
	};
	char *line[9];

	(void)state;
	srand(1);
	for (unsigned round = 0; round < 3000; round++) {
		setup(state);
		for (size_t i = 0; i < ARRAY_SIZE(line); i++) {
			char text[512] = "";
			int n = rand() % 14;

			while (n-- > 0)
				strcat(text, piece[(size_t)rand() % ARRAY_SIZE(piece)]);
			line[i] = strdup(text); /* exact size: ASan sees a byte too many */
			if (i)
				module(line[i]);
		}
		bi.cmdline = line[0];
		config_parse(&cfg, &bi);
		assert_true(cfg.nr_vms < ARRAY_SIZE(line));
		for (unsigned i = 0; i < cfg.nr_vms; i++) {
			assert_true(cfg.vm[i].name[0] != '\0');
			assert_true(cfg.vm[i].memory >= MIB(1) && cfg.vm[i].memory % MIB(1) == 0);
			assert_int_equal(cfg.vm[i].vcpus, 1);
			assert_in_range(cfg.vm[i].weight, 1, 10000);
			assert_non_null(cfg.vm[i].kernel);
			for (unsigned j = 0; j < i; j++)
				assert_string_not_equal(cfg.vm[i].name, cfg.vm[j].name);
		}
		for (size_t i = 0; i < ARRAY_SIZE(line); i++)
			free(line[i]);
	}
}

static void test_modules_dropped(void **state)
{
	(void)state;
	bi.modules_dropped = 3;
	config_parse(&cfg, &bi);
	assert_logged("error: more than 256 modules: the last 3 are left out");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_defaults),
		T(test_everything),
		T(test_bad_kernel_lines),
		T(test_message),
		T(test_duplicate_name),
		T(test_initrd_without_guest),
		T(test_bad_initrd_line),
		T(test_modules),
		T(test_disks),
		T(test_bad_module_lines),
		T(test_no_guests),
		T(test_debugging),
		T(test_own_line_errors),
		T(test_run),
		T(test_run_too_long),
		T(test_change),
		T(test_long_lines),
		T(test_many_modules),
		T(test_early_value),
		T(test_fuzz),
		T(test_modules_dropped),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
