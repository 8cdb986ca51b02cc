#include "vmm/dr.h"

#include "arch/x86_64/include/bits.h"
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "arch/x86_64/insn.h"
#include "vmm/backend.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

/* DR7: SDM vol. 3, 17.2.4. */
#define DR7_ENABLE_SHIFT(n) (2 * (n)) /* L, G */
#define DR7_GLOBAL(n) BIT(2 * (n) + 1)
#define DR7_TYPE_SHIFT(n) (16 + 4 * (n)) /* R/W, LEN */
#define DR7_EXACT BITS(9, 8)
#define LONGEST 8 /* bytes that one of them watches */

enum { TYPE_EXEC = 0, TYPE_WRITE = 1, TYPE_ACCESS = 3 };

/* DR0 to DR3 are in the processor while their vCPU is. */
static uint64_t read_address(const struct vcpu *vcpu, unsigned nr)
{
	if (!vcpu->loaded || vcpu->debug.on || (vcpu->stale & VCPU_STALE_DR))
		return vcpu->dr[nr];
	switch (nr) {
	case 0:
		return read_dr0();
	case 1:
		return read_dr1();
	case 2:
		return read_dr2();
	default:
		return read_dr3();
	}
}

static void keep_addresses(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < 4; i++)
		vcpu->dr[i] = read_address(vcpu, i);
}

uint64_t dr_read(const struct vcpu *vcpu, unsigned nr)
{
	if (nr < 4)
		return read_address(vcpu, nr);
	if (vcpu->debug.on)
		return nr == 6 ? vcpu->debug.dr6 : vcpu->debug.dr7;
	return vcpu->vm->backend->get_reg(vcpu, nr == 6 ? REG_DR6 : REG_DR7);
}

void dr_write(struct vcpu *vcpu, unsigned nr, uint64_t val)
{
	struct vcpu_debug *d = &vcpu->debug;

	if (nr < 4) {
		keep_addresses(vcpu);
		vcpu->dr[nr] = val;
		vcpu->stale |= VCPU_STALE_DR;
	} else if (!d->on) {
		vcpu->vm->backend->set_reg(vcpu, nr == 6 ? REG_DR6 : REG_DR7, val);
	} else if (nr == 6) {
		d->dr6 = val;
	} else {
		d->dr7 = val;
	}
	if (nr != 6)
		d->armed = false;
}

const uint64_t *dr_hardware(const struct vcpu *vcpu)
{
	return vcpu->debug.on ? vcpu->debug.hw_dr : vcpu->dr;
}

void dr_virtualize(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct vcpu_debug *d = &vcpu->debug;

	keep_addresses(vcpu);
	d->dr6 = backend->get_reg(vcpu, REG_DR6);
	d->dr7 = backend->get_reg(vcpu, REG_DR7);
	d->on = true;
	d->armed = false;
	backend->set_reg(vcpu, REG_DR6, DR6_INIT);
	backend->set_intercept_dr(vcpu, true);
	backend->set_intercept_exception(vcpu, VEC_BP, true);
}

void dr_restore(struct vcpu *vcpu)
{
	const struct vmm_backend *backend = vcpu->vm->backend;
	struct vcpu_debug *d = &vcpu->debug;

	d->on = false;
	vcpu->stale |= VCPU_STALE_DR;
	backend->set_reg(vcpu, REG_DR6, d->dr6);
	backend->set_reg(vcpu, REG_DR7, d->dr7);
	backend->set_intercept_dr(vcpu, false);
	backend->set_intercept_exception(vcpu, VEC_BP, false);
}

/* R/W and LEN of a point. */
static uint64_t point_type(const struct debug_point *p)
{
	static const uint8_t len[] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };

	if (p->kind == DEBUG_EXEC)
		return TYPE_EXEC;
	return (p->kind == DEBUG_WRITE ? TYPE_WRITE : TYPE_ACCESS) | len[p->size] << 2;
}

static bool guest_uses(const struct vcpu_debug *d, unsigned n)
{
	return d->dr7 >> DR7_ENABLE_SHIFT(n) & 3;
}

static void take(struct vcpu_debug *d, unsigned n, unsigned owner, uint64_t at, uint64_t type)
{
	d->owner[n] = (uint8_t)owner;
	d->hw_dr[n] = at;
	d->hw_dr7 &= ~(BITS(3, 0) << DR7_TYPE_SHIFT(n));
	d->hw_dr7 |= DR7_GLOBAL(n) | type << DR7_TYPE_SHIFT(n);
}

/* A register that nobody uses, or only the guest. */
static unsigned room(const struct vcpu_debug *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++)
		if (d->owner[i] == DEBUG_OWNER_NONE)
			return i;
	while (n < 3 && d->owner[n] < DEBUG_POINTS_MAX)
		n++;
	return n;
}

void dr_arm(struct vcpu *vcpu, bool code)
{
	const struct vm_debug *vd = &vcpu->vm->debug;
	struct vcpu_debug *d = &vcpu->debug;

	if (d->armed && d->armed_to_step == !code)
		return;
	d->hw_dr7 = DR7_INIT | (d->dr7 & DR7_EXACT);
	for (unsigned i = 0; i < 4; i++) {
		d->owner[i] = DEBUG_OWNER_NONE;
		if (guest_uses(d, i))
			take(d, i, DEBUG_OWNER_GUEST, vcpu->dr[i],
			     d->dr7 >> DR7_TYPE_SHIFT(i) & 15);
	}
	for (unsigned i = 0; i < vd->nr; i++) {
		const struct debug_point *p = &vd->slot[i].point;

		if (p->kind != DEBUG_EXEC_INT3 && (code || p->kind != DEBUG_EXEC))
			take(d, room(d), i, p->at.v, point_type(p));
	}
	d->armed = true;
	d->armed_to_step = !code;
	vcpu->stale |= VCPU_STALE_DR;
	vcpu->vm->backend->set_reg(vcpu, REG_DR7, d->hw_dr7);
}

uint64_t dr_without(const struct vcpu *vcpu, uint64_t dr7, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t at = vcpu->debug.on ? vcpu->debug.hw_dr[i] : read_address(vcpu, i);

		if (at < to && at + LONGEST > from)
			dr7 &= ~(UINT64_C(3) << DR7_ENABLE_SHIFT(i));
	}
	return dr7;
}
