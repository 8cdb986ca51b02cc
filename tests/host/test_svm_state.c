/*
 * Whatever a guest writes to its control registers and MSRs, in whatever order: what gets
 * through the core's checks into the VMCB is a state that VMRUN takes (APM vol. 2, 15.5.1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/msr.h"
#include "arch/x86_64/mm.h"
#include "svm/state.h"
#include "svm/svm.h"
#include "tests/host/fake_backend.h"
#include "tests/host/fake_random.h"
#include "tests/host/fakes.h"
#include "vmm/cpuid.h"
#include "vmm/cr.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

#define ROUNDS 300000
#define RAM 0x10000u

void svm_enter(struct vcpu_regs *regs, uint64_t guest_vmcb_pa, uint64_t host_vmcb_pa)
{
	(void)regs;
	(void)guest_vmcb_pa;
	(void)host_vmcb_pa;
	fail_msg("nothing is entered here");
}

void svm_write_cr2(uint64_t val)
{
	(void)val;
}

static uint64_t random64(void)
{
	static uint64_t s = 0x452821e638d01377;

	return fake_random64(&s);
}

static struct vm vm;
static struct vcpu vcpu;
static struct svm_cpu cpu;
static _Alignas(4096) uint8_t ram[RAM];
static struct vm_config config = { .name = "test" };
static struct shadow *made_with;

static void make_vcpu(void)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	vm.cfg = &config;
	vm.shadow = made_with;
	vm.backend = &svm_backend;
	vm.mem.nr = 1;
	vm.mem.region[0] =
		(struct region){ .size = RAM, .kind = REGION_MEM, .frames = ptr_to_hpa(ram) };
	vcpu.vm = &vm;
	assert_int_equal(svm_backend.vm_init(&vm), 0);
	assert_int_equal(svm_backend.vcpu_init(&vcpu), 0);
	vm.vcpu[0] = &vcpu;
	vm.nr_vcpus = 1;
	svm_vcpu(&vcpu)->cpu = &cpu;
	vmcb_set_asid(svm_vcpu(&vcpu)->vmcb, 1);
	msr_reset(&vcpu);
}

static void destroy_vcpu(void)
{
	svm_backend.vcpu_destroy(&vcpu);
	svm_backend.vm_destroy(&vm);
	assert_int_equal(fake_frame_bytes, 0);
}

static void setup_machine(struct cpuid_regs (*host)(uint32_t, uint32_t))
{
	cpuid_init(host, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	svm_machine = (struct svm_machine){
		.features = SVM_FEATURE_NP,
		.nr_asids = 4,
		.limits = { .maxphyaddr = cpuid_policy()->maxphyaddr,
			    .cr4_valid = cpuid_policy()->cr4 },
		.caps.nested_paging = true,
	};
}

/* A few bits turned in what is there now, or anything. */
static uint64_t near(uint64_t now)
{
	uint64_t r = random64();

	if (r % 16 == 0)
		return random64();
	now ^= UINT64_C(1) << (r >> 8 & 31);
	if (r & BIT(6))
		now ^= UINT64_C(1) << (r >> 16 & 63);
	if (r & BIT(7))
		now ^= UINT64_C(1) << (r >> 24 & 31);
	return now;
}

/* The code segment of another mode; none has L and D both set, which cannot be loaded. */
static void any_code_segment(void)
{
	static const uint16_t attrs[] = { 0x09b, 0xc9b, 0xa9b };
	struct segment cs = { 8, attrs[random64() % 3], UINT32_MAX, 0 };

	svm_set_seg(&vcpu, SEG_CS, &cs);
}

static void write_something(void)
{
	static const uint32_t msrs[] = { MSR_EFER,         MSR_EFER,  MSR_PAT,     MSR_STAR,
					 MSR_LSTAR,        MSR_CSTAR, MSR_SFMASK,  MSR_FS_BASE,
					 MSR_GS_BASE,      MSR_TSC,   MSR_TSC_AUX, MSR_SYSENTER_EIP,
					 MSR_MTRR_DEF_TYPE };
	static const unsigned crs[] = { 0, 0, 3, 4, 4, 8 };
	uint32_t msr = msrs[random64() % ARRAY_SIZE(msrs)];
	unsigned nr = crs[random64() % ARRAY_SIZE(crs)];
	uint64_t mask = vcpu_code_size(&vcpu) == 8 ? UINT64_MAX : UINT32_MAX, val = 0;

	switch (random64() % 8) {
	case 0:
		any_code_segment();
		break;
	case 1:
	case 2:
		msr_read(&vcpu, msr, &val);
		msr_write(&vcpu, msr, near(val));
		break;
	case 3:
		cr_write_lmsw(&vcpu, (uint16_t)random64());
		break;
	case 4:
		cr_clts(&vcpu);
		break;
	case 5:
		cr_write_xcr(&vcpu, (uint32_t)(random64() % 2), near(vcpu.xcr0));
		break;
	default:
		cr_write(&vcpu, nr, near(cr_read(&vcpu, nr)) & mask);
	}
}

static void hammer(struct cpuid_regs (*host)(uint32_t, uint32_t), struct shadow *shadow)
{
	static struct vmcb v;
	unsigned long_mode = 0;

	setup_machine(host);
	made_with = shadow;
	make_vcpu();
	for (unsigned i = 0; i < ROUNDS; i++) {
		const char *why;

		if (i % 2000 == 0) {
			destroy_vcpu();
			make_vcpu();
		}
		vcpu.events.pending.kind = EVENT_NONE;
		write_something();
		v = *svm_vcpu(&vcpu)->vmcb;
		v.iopm_base_pa = v.msrpm_base_pa = 0; /* the test's own memory lies anywhere */
		why = svm_check_vmcb(&v, &svm_machine.limits);
		if (why)
			fail_msg("round %u: %s: cr0 %llx cr3 %llx cr4 %llx efer %llx cs %x", i, why,
				 (unsigned long long)v.cr0, (unsigned long long)v.cr3,
				 (unsigned long long)v.cr4, (unsigned long long)v.efer,
				 v.cs.attrib);
		long_mode += v.efer & EFER_LMA ? 1 : 0;
	}
	destroy_vcpu();
	/* It was not all refused. */
	assert_true(long_mode > ROUNDS / 100);
}

static void test_like_zen(void **state)
{
	(void)state;
	hammer(fake_cpuid_amd, NULL);
}

static void test_all_features(void **state)
{
	(void)state;
	hammer(fake_cpuid_all_ones, NULL);
}

/* Nobody here looks into the shadow. */
static void test_with_a_shadow(void **state)
{
	(void)state;
	hammer(fake_cpuid_amd, (struct shadow *)&vm);
	hammer(fake_cpuid_all_ones, (struct shadow *)&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_zen),
		cmocka_unit_test(test_all_features),
		cmocka_unit_test(test_with_a_shadow),
	};

	return cmocka_run_group_tests_name("svm_state", tests, NULL, NULL);
}
