/* The monitor's commands that look inside a guest, with a monitor of the test's own around them. */
#include <stdio.h>
#include <stdlib.h>

#include "arch/x86_64/lib/printer.h"
#include "paging/host.h"
#include "paging/nested.h"
#include "tests/host/emu_fixture.h"
#include "vmm/monitor/address.h"
#include "vmm/monitor/command.h"

static char out[262144];
static struct vmm_backend backend;
static const uint64_t rw = PTE_P | PTE_W | PTE_U;

/* --- the monitor --- */

static void append(const char *fmt, va_list ap)
{
	size_t len = strlen(out);

	vsnprintf(out + len, sizeof(out) - len, fmt, ap);
}

void monitor_printf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(fmt, ap);
	va_end(ap);
}

bool monitor_wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(fmt, ap);
	va_end(ap);
	return false;
}

struct vm *monitor_vm(const struct monitor_args *args, unsigned i)
{
	return strcmp(args->word[i], "g") ? NULL : &fx.vm;
}

struct vcpu *monitor_vcpu(const struct monitor_args *args, unsigned i)
{
	return strcmp(args->word[i], "g") ? NULL : &fx.vcpu;
}

bool monitor_number(const struct monitor_args *args, unsigned i, uint64_t *val)
{
	char *end;

	*val = strtoull(args->word[i], &end, 0);
	return *end ? monitor_wrong("no number") : true;
}

/* Carry out a line; false: its words are wrong. */
static bool run(const char *line)
{
	static char words[256];
	const struct monitor_family *families[] = { &monitor_inspect_family,
						    &monitor_paging_family };
	struct monitor_args args = { .format = "" };
	char *name, *slash, *word;

	out[0] = '\0';
	strcpy(words, line);
	name = strtok(words, " ");
	while ((word = strtok(NULL, " ")))
		args.word[args.count++] = word;
	slash = strchr(name, '/');
	if (slash) {
		*slash = '\0';
		args.format = slash + 1;
	}
	for (unsigned f = 0; f < ARRAY_SIZE(families); f++) {
		for (unsigned i = 0; i < families[f]->count; i++) {
			const struct monitor_command *c = &families[f]->commands[i];

			if (strcmp(c->name, name))
				continue;
			assert_in_range(args.count, c->words_min, c->words_max);
			assert_true(c->format || !*args.format);
			return c->run(&args);
		}
	}
	fail_msg("no command %s", name);
	return false;
}

static void expect(const char *line, const char *text)
{
	assert_true(run(line));
	if (strcmp(out, text))
		fail_msg("%s says\n%sinstead of\n%s", line, out, text);
}

static void expect_part(const char *line, const char *text)
{
	assert_true(run(line));
	if (!strstr(out, text))
		fail_msg("%s says\n%swithout\n%s", line, out, text);
	for (const char *s = out, *end; (end = strchr(s, '\n')); s = end + 1)
		if (end - s > 80)
			fail_msg("%s: a line of %u columns: %.*s", line, (unsigned)(end - s),
				 (int)(end - s), s);
}

static void expect_wrong(const char *line, const char *text)
{
	assert_false(run(line));
	if (!strstr(out, text))
		fail_msg("%s says \"%s\" without \"%s\"", line, out, text);
}

/* --- the guest --- */

static void dump(const struct vcpu *vcpu, const struct printer *p)
{
	assert_ptr_equal(vcpu, &fx.vcpu);
	printer_line(p, "the control block");
}

static int setup(void **state)
{
	if (fx_setup(state))
		return -1;
	backend = fx_backend;
	backend.name = "SVM";
	backend.dump = dump;
	fx.vm.backend = &backend;
	strcpy(fx.cfg.name, "g");
	for (unsigned i = 0; i < GPRS; i++)
		fx.vcpu.regs.gpr[i] = UINT64_C(0x1111111111111111) * i;
	return 0;
}

static int teardown(void **state)
{
	return fx_teardown(state);
}

/* --- regs --- */

static void test_regs(void **state)
{
	(void)state;
	fx.seg[SEG_CS] = (struct segment){ 0x10, 0xa9b, 0xffffffff, 0 };
	fx.seg[SEG_TR] = (struct segment){ 0x28, 0x08b, 0x67, 0x5000 };
	fx.seg[SEG_GDTR] = (struct segment){ 0, 0, 0x7f, UINT64_C(0xfffffe0000001000) };
	fx.reg[REG_DR7] = 0x402;
	fx.vcpu.regs.rflags = RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF;
	expect_part("regs g", "g vcpu 0: running, 64-bit code, cpl 0");
	expect_part("regs g",
		    "  rax 0000000000000000  rbx 3333333333333333  rcx 1111111111111111\n");
	expect_part("regs g", "  r15 ffffffffffffffff  rip 0000000040100000\n");
	expect_part("regs g", "  rflags 00000242          ZF IF\n");
	expect_part("regs g",
		    "  cs     0010  base 0000000000000000  limit ffffffff  attr a9b rx 64 "
		    "dpl0\n");
	expect_part("regs g", "  tr     0028  base 0000000000005000  limit 00000067  attr 08b tss "
			      "busy\n");
	expect_part("regs g", "  gdtr         base fffffe0000001000  limit 0000007f\n");
	expect_part("regs g", "  cr0    80010001          PE WP PG\n");
	expect_part("regs g", "  efer   00000d00          LME LMA NXE\n");
	expect_part("regs g", "  dr7    00000402          G0\n");
	fx.vcpu.dr[3] = 0x300000;
	expect_part("regs g", "  dr2    0000000000000000  dr3    0000000000300000\n");
	expect("x/xb g $dr3", "0000000000300000: 0x00\n");
	assert_false(run("regs nobody"));
}

/* --- x --- */

static void test_x_numbers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 64; i++)
		fx.ram[0x300000 + i] = (uint8_t)(0xf8 + i);
	expect("x g 0x300000", "0000000000300000: 0xfbfaf9f8\n");
	expect("x/4gx g 0x300000", "0000000000300000: 0xfffefdfcfbfaf9f8 0x0706050403020100\n"
				   "0000000000300010: 0x0f0e0d0c0b0a0908 0x1716151413121110\n");
	expect("x/9xb g 0x300000", "0000000000300000: 0xf8 0xf9 0xfa 0xfb 0xfc 0xfd 0xfe 0xff\n"
				   "0000000000300008: 0x00\n");
	expect("x/2db g 0x300007", "0000000000300007:   -1    0\n");
	expect("x/1ub g 0x300007", "0000000000300007:  255\n");
	expect("x/oh g 0x300000", "0000000000300000: 0174770\n");
	expect("x/dg g 0x300000", "0000000000300000:     -283686952306184\n");
	expect_part("x/64dg g 0x300000", ":");
	expect_part("x/64uw g 0x300000", ":");
	expect_part("x/64oh g 0x300000", ":");
	expect_part("x/64c g 0x300000", "   0 '\\000'");
}

static void test_x_spaces(void **state)
{
	char line[80];

	(void)state;
	window_map(0, 0x300000, rw);
	window_map(1, 0, 0);
	memcpy(fx.ram + 0x300ffc, "abcd", 4);
	fx.vcpu.regs.gpr[RSP] = WINDOW + 0xff0;
	expect("x/2wx g $rsp+0xc", "0000000040000ffc: 0x64636261\n"
				   "0000000040001000: not mapped\n");
	expect("x/wx g $rsp+16-4", "0000000040000ffc: 0x64636261\n");
	expect("x/wx g gpa:0x300ffc", "00300ffc: 0x64636261\n");
	expect("x/wx g gpa:0xd0000000", "d0000000: no memory\n");
	snprintf(line, sizeof(line), "x/4c g hpa:0x%llx",
		 (unsigned long long)ptr_to_hpa(fx.ram).v + 0x300ffc);
	assert_true(run(line));
	assert_non_null(strstr(out, ":   97 'a'      98 'b'      99 'c'     100 'd'"));
	expect("x g hpa:0x10", "00000010: no RAM of this machine\n");
	/* It is no VM's, so that none need be named. */
	expect("x hpa:0x10", "00000010: no RAM of this machine\n");
	snprintf(line, sizeof(line), "x/s hpa:0x%llx+4-4",
		 (unsigned long long)ptr_to_hpa(fx.ram).v + 0x300ffc);
	expect_part(line, ": \"abcd");
	memcpy(fx.ram + 0x301ffc, "\x48\x89\xd8\xc3", 4);
	snprintf(line, sizeof(line), "dis hpa:0x%llx 2",
		 (unsigned long long)ptr_to_hpa(fx.ram).v + 0x301ffc);
	expect_part(line, "mov rax, rbx\n");
	expect_part(line, "ret\n");
	fx_mode_32();
	expect_part(line, "mov rax, rbx\n");
	fx.seg[SEG_SS].base = 0x300000;
	fx.vcpu.regs.gpr[RSP] = 0xffc;
	expect("x/wx g $sp", "00300ffc: 0x64636261\n");
	expect("x/wx g $ss+$esp", "00300ffc: 0x64636261\n");
}

static void test_x_strings(void **state)
{
	(void)state;
	strcpy((char *)fx.ram + 0x300000, "Linux\t\"6.1\"\n");
	strcpy((char *)fx.ram + 0x30000d, "next");
	expect("x/2s g 0x300000", "0000000000300000: \"Linux\\t\\\"6.1\\\"\\n\"\n"
				  "000000000030000d: \"next\"\n");
	memset(fx.ram + 0x300000, 'x', 5000);
	expect_part("x/s g 0x300000", "xxxxx\"...\n");
	assert_in_range(strlen(out), 1024, 2048);
}

static void test_bad_words(void **state)
{
	(void)state;
	expect_wrong("x/0x g 0", "COUNT");
	expect_wrong("x/5000x g 0", "COUNT");
	expect_wrong("x/99999999999999999999x g 0", "COUNT");
	expect_wrong("x/4z g 0", "/4z is no FMT");
	expect_wrong("x/x4 g 0", "no FMT");
	expect_wrong("x g $nothing", "$nothing is no register");
	expect_wrong("x g $", "$ is no register");
	expect_wrong("x g 12+", "lacks");
	expect_wrong("x g gpa:", "lacks");
	expect_wrong("x g bogus", "no number");
	expect_wrong("x g 0000000000000000000000000000000000000000000000000000000001", "too long");
	expect_wrong("x g", "an address is missing");
	expect_wrong("x hpa:0 0", "too many words");
	expect_wrong("x hpa:$rsp", "its name is missing");
	expect_wrong("x hpa:", "lacks");
	expect_wrong("dis hpa:0 1 1", "too many words");
	expect_wrong("dis hpa:0 x", "no number");
	expect_wrong("dis g 0 0", "COUNT");
	expect_wrong("dis g 0 4097", "COUNT");
	expect_wrong("walk g hpa:0", "hpa:");
	expect_wrong("tables g all", "guest, shadow and nested");
	expect_wrong("paging check g", "check is not audit");
	assert_false(run("x nobody 0"));
	assert_false(run("walk nobody 0"));
	assert_false(run("maps nobody"));
	assert_false(run("paging audit nobody"));
}

/* --- dis, bt --- */

static void test_dis(void **state)
{
	(void)state;
	FX_CODE(0x55, 0x48, 0x89, 0xe5, 0xe8, 0x10, 0, 0, 0, 0x06, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7,
		8);
	expect("dis g $pc 5", "=> 0000000040100000  55               push rbp\n"
			      "   0000000040100001  4889e5           mov rbp, rsp\n"
			      "   0000000040100004  e810000000       call 0x0000000040100019\n"
			      "   0000000040100009  06               (bad)\n"
			      "   000000004010000a  48b80102030405+  mov rax, 0x807060504030201\n");
	assert_true(run("dis g"));
	expect_part("x/2i g gpa:0x100000", "   00100001  4889e5");
	expect_part("dis g 0xd0000000", "not mapped");
	fx_mode_16();
	FX_CODE(0xeb, 0xfe);
	expect_part("dis g $pc 1", "=> 00100000  ebfe             jmp 0x0000\n");
}

/* Frames of three callers; the third's return address follows no CALL. */
static void test_bt_frames(void **state)
{
	uint64_t *stack = (uint64_t *)(fx.ram + 0x300000);
	const uint64_t at = 0x300000;

	(void)state;
	FX_CODE(0xe8, 0, 0, 0, 0, 0x90, 0x90, 0xe8, 0xf4, 0xff, 0xff, 0xff, 0x90, 0xff, 0xd0, 0x90);
	stack[0] = CODE + 5; /* left from before: no frame's */
	stack[2] = at + 8 * 6;
	stack[3] = CODE + 12;
	stack[6] = at + 8 * 10;
	stack[7] = CODE + 15;
	stack[10] = at + 8 * 14;
	stack[11] = CODE + 1;
	fx.vcpu.regs.rip = CODE + 0x40;
	fx.vcpu.regs.gpr[RSP] = at;
	fx.vcpu.regs.gpr[RBP] = at + 8 * 2;
	expect("bt g", "#0   0000000040100040\n"
		       "#1   000000004010000c   call 0x0000000040100000\n"
		       "#2   000000004010000f   call rax\n");
	/* A loop of frames ends. */
	stack[6] = at + 8 * 2;
	assert_true(run("bt g"));
	assert_null(strstr(out, "#3 "));
	/* No frame pointer: what the stack holds. */
	fx.vcpu.regs.gpr[RBP] = 1;
	expect_part("bt g", "#1   0000000040100005 ? call");
	expect_part("bt g", "#2   000000004010000c ? call");
	expect_part("bt g", "#3   000000004010000f ? call rax\n");
	assert_null(strstr(out, "#4 "));
	fx.vcpu.regs.gpr[RSP] = NOWHERE;
	expect("bt g", "#0   0000000040100040\n");
	/* However many there are. */
	for (unsigned i = 0; i < 4096; i++)
		stack[i] = CODE + 5;
	fx.vcpu.regs.gpr[RSP] = at;
	expect_part("bt g", "#63  0000000040100005 ?");
	assert_null(strstr(out, "#64 "));
}

static void test_vmcb(void **state)
{
	(void)state;
	expect("vmcb g", "the control block\n");
	expect("vmcs g", "this machine has SVM: vmcb shows the state of its guests\n");
	backend.name = "VMX";
	expect("vmcs g", "the control block\n");
	expect("vmcb g", "this machine has VMX: vmcs shows the state of its guests\n");
}

/* --- paging --- */

static void test_maps(void **state)
{
	char line[80];

	(void)state;
	snprintf(line, sizeof(line),
		 "0000000000000000-00000000003fffff      4096K  memory at %llx\n",
		 (unsigned long long)ptr_to_hpa(fx.ram).v);
	expect_part("maps g", line);
	expect_part("maps g", "000000000fff0000-000000000fffffff        64K  ROM at ");
	assert_int_equal(memmap_hook(&fx.vm.mem, GPA(0x1000), 0x1000, REGION_HOOK), 0);
	assert_int_equal(memmap_hook(&fx.vm.mem, GPA(0x2000), 0x1000, REGION_HOOK), 0);
	expect_part("maps g", "0000000000001000-0000000000002fff         8K  device\n");
	expect_part("maps g", "0000000000003000-00000000003fffff      4084K  memory at ");
}

static bool may_map(void *ctx, hpa_t pa, uint64_t size)
{
	(void)ctx;
	(void)pa;
	(void)size;
	return true;
}

static void test_walk(void **state)
{
	static const struct pt_caps caps = { .maxphyaddr = 48, .page_1g = true };

	(void)state;
	assert_int_equal(
		nested_init(&fx.vm.nested, NESTED_NPT, &caps, host_pt_mem(), may_map, NULL), 0);
	fx.vm.has_nested = true;
	assert_int_equal(nested_map(&fx.vm.nested, GPA(0x300000), ptr_to_hpa(fx.ram + 0x300000),
				    0x1000, PT_R | PT_X),
			 0);
	window_map(0, 0x300000, PTE_P | PTE_U);
	expect_part("walk g 0x40000123",
		    "the guest's tables:\n"
		    "40000123 by 4level, root 10000\n"
		    "  pml4[0] 0000000000011007 -> pdp 11000 rwxu -\n"
		    "  pdp[1] 0000000000013007 -> pd 13000 rwxu -\n"
		    "  pd[0] 0000000000014007 -> pt 14000 rwxu -\n"
		    "  pt[0] 0000000000300005 -> 4K page 300000 r-xu --- wb\n"
		    "= 300123 r-xu in a 4K page\n"
		    "  read    supervisor: passes; user: passes\n"
		    "  write   supervisor: #PF error 0x3 P W; user: #PF error 0x7 P W U\n"
		    "  execute supervisor: passes; user: passes\n"
		    "the nested tables, which hardware walks:\n"
		    "300123 by npt, root ");
	expect_part("walk g 0x40000123", "  read passes; write exits; execute passes\n"
					 "gpa 300123 is memory at hpa ");
	expect_part("walk g gpa:0x400000", "= absent in the");
	expect_part("walk g gpa:0x400000", "gpa 400000 is nothing in the memory map\n");
	window_map(2, 0, 0);
	expect_part("walk g 0x40002000",
		    "= absent in the pt\n"
		    "  read    supervisor: #PF error 0x0; user: #PF error 0x4 U\n"
		    "  write   supervisor: #PF error 0x2 W; user: #PF error 0x6 W U\n"
		    "  execute supervisor: #PF error 0x10 I; user: #PF error 0x14 U I\n");
	assert_null(strstr(out, "nested"));
	expect_part("walk g 0x8000000000000000", "not canonical");
	/* A table where nothing is: hardware reads ones. */
	pte_set(TABLES + 0x3000, 1, NOWHERE | rw);
	expect_part("walk g 0x40200000",
		    "= no memory at the pt\n"
		    "  read    supervisor: #PF error 0x9 P RSVD; user: #PF error "
		    "0xd P U RSVD\n");
	expect_part("tables g nested", "0000000000300000-0000000000300fff -> ");
	expect_part("paging g", "guest: pages by 4level, root 10000, 40 physical bits");
	expect_part("paging g", "nested: npt, root ");
	fx_mode_32();
	expect_part("walk g 0x300001", "the guest does not page: linear addresses are physical\n"
				       "the nested tables, which hardware walks:\n");
	nested_destroy(&fx.vm.nested);
}

static void test_tables(void **state)
{
	(void)state;
	memset(fx.ram + PT_WINDOW, 0, PAGE_SIZE);
	window_map(0, 0x300000, rw);
	window_map(1, 0x301000, rw);
	window_map(2, 0x303000, PTE_P);
	expect("tables g", "4level, root 10000\n"
			   "  0000000000000000-00000000003fffff -> 0 rwxu- wb 2M\n"
			   "  0000000040000000-0000000040001fff -> 300000 rwxu- wb 4K\n"
			   "  0000000040002000-0000000040002fff -> 303000 r-x-- wb 4K\n");
	expect("tables g shadow", "g has no shadow\n");
	expect("tables g nested", "g has no nested tables\n");
	expect_part("paging audit g", "no shadow");
	/* One that refers to itself ends. */
	for (unsigned i = 1; i < 512; i++)
		pte_set(TABLES, i, TABLES | rw);
	expect_part("tables g guest", "... stopped here");
	fx_mode_32();
	expect("tables g", "the guest does not page\n");
}

static void test_pae(void **state)
{
	(void)state;
	fx_mode_32();
	fx.reg[REG_CR0] |= CR0_PG;
	fx.reg[REG_CR4] = CR4_PAE;
	fx.reg[REG_CR3] = TABLES + 0x1020;
	pte_set(TABLES + 0x1020, 1, (TABLES + 0x3000) | PTE_P);
	expect_part("paging g", "guest: pages by pae, from the PDPTEs, ");
	assert_null(strstr(out, "1G"));
	expect_part("paging g", "  pdpte1   0000000000013001\n");
	expect_part("walk g 0x40100000", "by pae, from the PDPTEs\n  pdp[1] 0000000000013001");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_regs),      TEST(test_x_numbers), TEST(test_x_spaces),
		TEST(test_x_strings), TEST(test_bad_words), TEST(test_dis),
		TEST(test_bt_frames), TEST(test_vmcb),      TEST(test_maps),
		TEST(test_walk),      TEST(test_tables),    TEST(test_pae),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
