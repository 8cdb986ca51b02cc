#include "vmm/kvm_clock.h"

#include <stddef.h>

#include "arch/x86_64/clock.h"
#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/insn.h"
#include "vmm/cpuid.h"
#include "vmm/gmem.h"
#include "vmm/memmap.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define SYSTEM_TIME_ENABLE BIT(0)
#define SYSTEM_TIME_RESERVED BIT(1)
#define WALL_CLOCK_RESERVED BITS(1, 0)

#define FLAG_TSC_STABLE BIT(0)
#define FLAG_GUEST_STOPPED BIT(1)

#define KVM_EPERM 1
#define KVM_ENOSYS 1000

/* Odd versions say that the rest is being written. */
struct pvclock_time {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};
static_assert(sizeof(struct pvclock_time) == 32, "pvclock_vcpu_time_info");

struct pvclock_wall {
	uint32_t version, sec, nsec;
};
static_assert(sizeof(struct pvclock_wall) == 12, "pvclock_wall_clock");

/* ns = (ticks << shift) * mul / 2^32, with mul as large as it can be. */
static void set_scale(struct pvclock_time *t, uint64_t hz)
{
	while (hz > 2 * NS_PER_SEC) {
		hz >>= 1;
		t->tsc_shift--;
	}
	while (hz <= NS_PER_SEC) {
		hz <<= 1;
		t->tsc_shift++;
	}
	t->tsc_to_system_mul = (uint32_t)((NS_PER_SEC << 32) / hz);
}

/* No device is asked. Regions are of whole pages: with both ends all of it is memory. */
static bool is_memory(struct vm *vm, gpa_t at, size_t size)
{
	uint64_t avail;

	return memmap_ptr(&vm->mem, at, true, &avail) &&
	       memmap_ptr(&vm->mem, GPA(at.v + size - 1), true, &avail);
}

/* A guest that has not taken it away yet still has it. */
static uint8_t guest_stopped(struct vm *vm, gpa_t at)
{
	struct pvclock_time t;

	if (!is_memory(vm, at, sizeof(t)))
		return 0;
	gmem_phys_read(vm, at, &t, sizeof(t));
	return t.flags & FLAG_GUEST_STOPPED;
}

/* The version is written by itself, before and after. Size: of the rest. */
static void write_versioned(struct vm *vm, gpa_t at, uint32_t *version, const void *rest,
			    size_t size)
{
	uint32_t before;

	if (!is_memory(vm, at, sizeof(before) + size))
		return;
	gmem_phys_read(vm, at, &before, sizeof(before));
	*version = before | 1;
	gmem_phys_write(vm, at, version, sizeof(*version));
	gmem_phys_write(vm, GPA(at.v + sizeof(*version)), rest, size);
	++*version;
	gmem_phys_write(vm, at, version, sizeof(*version));
}

/* May a vCPU read another one's page by its own TSC? Linux' vDSO does, with what all tell. */
static bool one_tsc(const struct vm *vm)
{
	for (unsigned i = 1; i < vm->nr_vcpus; i++)
		if (vm->vcpu[i]->msrs.tsc_adjust != vm->vcpu[0]->msrs.tsc_adjust)
			return false;
	return true;
}

/*
 * All the pages of a VM count from one time: its start, when its TSC and its clock were 0. What the
 * multiplier's rounding takes is so the same in each of them, and in one that is written anew.
 */
static void write_system_time(struct vcpu *vcpu, gpa_t at, uint8_t flags)
{
	struct pvclock_time t = {
		.tsc_timestamp = vcpu->msrs.tsc_adjust,
		.system_time = 0,
		.flags = (one_tsc(vcpu->vm) ? FLAG_TSC_STABLE : 0) | flags,
	};

	set_scale(&t, clock_tsc_hz());
	write_versioned(vcpu->vm, at, &t.version, &t.pad0,
			sizeof(t) - offsetof(struct pvclock_time, pad0));
}

/* What a vCPU reads in its page, when the VM's TSC is that. */
static uint64_t system_time_at(uint64_t tsc)
{
	struct pvclock_time t = { 0 };

	set_scale(&t, clock_tsc_hz());
	tsc = t.tsc_shift < 0 ? tsc >> -t.tsc_shift : tsc << t.tsc_shift;
	return mul_div64(tsc, t.tsc_to_system_mul, UINT64_C(1) << 32);
}

static void write_wall_clock(struct vm *vm, gpa_t at)
{
	uint64_t tsc = rdtsc();
	uint64_t up = system_time_at(tsc + vm->tsc_offset), now = clock_wall_ns(tsc);
	uint64_t start = now - MIN(up, now);
	struct pvclock_wall w = { .sec = (uint32_t)(start / NS_PER_SEC),
				  .nsec = (uint32_t)(start % NS_PER_SEC) };

	write_versioned(vm, at, &w.version, &w.sec, sizeof(w) - offsetof(struct pvclock_wall, sec));
}

static bool has_clock(const struct vcpu *vcpu)
{
	return vcpu->vm->cfg->pv == PV_KVM;
}

bool kvm_clock_read_msr(const struct vcpu *vcpu, uint32_t msr, uint64_t *val)
{
	const struct vcpu_msrs *m = &vcpu->msrs;

	*val = msr == MSR_KVM_WALL_CLOCK_NEW ? m->kvm_wall_clock : m->kvm_system_time;
	return has_clock(vcpu);
}

bool kvm_clock_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t val)
{
	struct vcpu_msrs *m = &vcpu->msrs;

	if (!has_clock(vcpu) || (val & BITS(63, cpuid_policy()->maxphyaddr)))
		return false;
	if (msr == MSR_KVM_WALL_CLOCK_NEW) {
		if (val & WALL_CLOCK_RESERVED)
			return false;
		m->kvm_wall_clock = val;
		write_wall_clock(vcpu->vm, GPA(val));
		return true;
	}
	if (val & SYSTEM_TIME_RESERVED)
		return false;
	m->kvm_system_time = val;
	if (val & SYSTEM_TIME_ENABLE)
		write_system_time(vcpu, GPA(val & ~SYSTEM_TIME_ENABLE), 0);
	return true;
}

static void renew(struct vcpu *vcpu, uint8_t flags)
{
	uint64_t val = vcpu->msrs.kvm_system_time;
	gpa_t at = GPA(val & ~SYSTEM_TIME_ENABLE);

	if (val & SYSTEM_TIME_ENABLE)
		write_system_time(vcpu, at, flags | guest_stopped(vcpu->vm, at));
}

void kvm_clock_tsc_changed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		renew(vm->vcpu[i], 0);
}

void kvm_clock_resumed(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		renew(vm->vcpu[i], FLAG_GUEST_STOPPED);
}

int64_t kvm_hypercall(unsigned cpl)
{
	return cpl ? -KVM_EPERM : -KVM_ENOSYS;
}
