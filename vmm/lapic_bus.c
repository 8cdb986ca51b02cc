/*
 * Messages to and between the local APICs of a VM: who is meant, and what becomes of them. All of
 * it on any CPU: of the local APIC that it is about, its registers are only read, a word at a time,
 * and the message goes into its inbox.
 */
#include "vmm/lapic_core.h"

/* The interrupt command register. SDM vol. 3, 11.6.1. */
#define ICR_VECTOR BITS(7, 0)
#define ICR_DELIVERY(icr) ((enum apic_delivery)((icr) >> 8 & 7))
#define ICR_LOGICAL BIT(11)
#define ICR_ASSERT BIT(14)
#define ICR_LEVEL BIT(15)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
enum { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

#define TO_EVERYBODY UINT32_MAX
#define XAPIC_EVERYBODY 0xffu
#define DFR_MODEL(dfr) ((dfr) >> 28)
#define MODEL_FLAT 0xfu
#define MODEL_CLUSTER 0u

/* Logical destinations: SDM vol. 3, 11.6.2.2, 11.12.10.2. Those of 8 bits are in x2APIC's cluster
 * 0. */
static bool matches_logical(const struct lapic *l, uint32_t dest)
{
	uint32_t ldr = __atomic_load_n(&l->ldr, __ATOMIC_RELAXED), id = ldr >> 24;
	uint32_t model = DFR_MODEL(__atomic_load_n(&l->dfr, __ATOMIC_RELAXED));

	if (lapic_mode(l) == LAPIC_X2APIC)
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	if (dest > 0xff)
		return false;
	if (model == MODEL_FLAT)
		return dest & id;
	return model == MODEL_CLUSTER && (dest >> 4 == id >> 4 || dest >> 4 == 0xf) &&
	       (dest & id & 0xf);
}

static bool matches(const struct lapic *l, const struct apic_msg *msg)
{
	if (msg->dest == TO_EVERYBODY)
		return true;
	return msg->logical ? matches_logical(l, msg->dest) : msg->dest == l->id;
}

/* False: this one does not take it. One that is off by software still takes what needs no vector.
 * from: who sends it, and need not be woken; NULL: none of them. */
static bool receive(struct lapic *l, const struct apic_msg *msg, const struct lapic *from)
{
	bool kick = l != from;

	if (lapic_mode(l) == LAPIC_OFF)
		return false;
	switch (msg->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (!lapic_is_enabled(l))
			return false;
		lapic_post(l, msg->vector, msg->level, kick);
		return true;
	case APIC_EXTINT:
		if (!lapic_is_enabled(l))
			return false;
		l->set->extint_sent = true;
		lapic_post_extint(l, kick);
		return true;
	case APIC_NMI:
		l->cpu->nmi(l->ctx);
		if (kick)
			l->cpu->kick(l->ctx);
		return true;
	case APIC_INIT:
		l->cpu->init(l->ctx);
		return true;
	case APIC_STARTUP:
		l->cpu->startup(l->ctx, msg->vector);
		return true;
	case APIC_SMI: /* there is no system management mode */
		return true;
	default:
		return false;
	}
}

/* Of those that are meant the one of lowest priority; among equals they take turns. */
static bool send_to_lowest(struct lapic_set *set, const struct apic_msg *msg,
			   const struct lapic *from, const struct lapic *but)
{
	unsigned turn = __atomic_load_n(&set->turn, __ATOMIC_RELAXED), lowest = 0;
	struct lapic *best = NULL;

	for (unsigned i = 0; i < set->nr; i++) {
		struct lapic *l = set->lapic[(turn + i) % set->nr];
		unsigned apr;

		if (l == but || !lapic_is_enabled(l) || !matches(l, msg))
			continue;
		apr = lapic_apr(l);
		if (best && apr >= lowest)
			continue;
		best = l;
		lowest = apr;
	}
	if (!best)
		return false;
	__atomic_store_n(&set->turn, (best->id + 1) % set->nr, __ATOMIC_RELAXED);
	return receive(best, msg, from);
}

/* but: who is left out, or NULL. */
static bool send(struct lapic_set *set, const struct apic_msg *msg, const struct lapic *from,
		 const struct lapic *but)
{
	bool taken = false;

	if (msg->mode == APIC_LOWEST)
		return send_to_lowest(set, msg, from, but);
	if (!msg->logical && msg->dest != TO_EVERYBODY)
		return msg->dest < set->nr && receive(set->lapic[msg->dest], msg, from);
	for (unsigned i = 0; i < set->nr; i++)
		if (set->lapic[i] != but && matches(set->lapic[i], msg))
			taken |= receive(set->lapic[i], msg, from);
	return taken;
}

bool lapic_bus_send(void *set, const struct apic_msg *msg)
{
	struct apic_msg m = *msg;

	if (m.dest == XAPIC_EVERYBODY)
		m.dest = TO_EVERYBODY;
	return send(set, &m, NULL, NULL);
}

void lapic_bus_extint_over(struct lapic_set *set)
{
	if (!set->extint_sent)
		return;
	set->extint_sent = false;
	for (unsigned i = 0; i < set->nr; i++)
		lapic_post_extint_over(set->lapic[i]);
}

static uint32_t icr_destination(const struct lapic *l)
{
	uint32_t dest = l->icr[1];

	if (l->mode == LAPIC_X2APIC)
		return dest;
	dest >>= 24;
	return dest == XAPIC_EVERYBODY ? TO_EVERYBODY : dest;
}

/* Which of the combinations exist: SDM vol. 3, tables 11-3 and 11-4. Trigger mode "level" counts
 * for INIT alone, whose de-assertion no processor since the Pentium 4 knows. */
static bool icr_is_valid(uint32_t icr)
{
	enum apic_delivery mode = ICR_DELIVERY(icr);
	unsigned to = ICR_SHORTHAND(icr);

	if (mode == APIC_RESERVED || mode == APIC_EXTINT)
		return false;
	if (mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return false;
	return mode == APIC_FIXED || (to != TO_SELF && to != TO_ALL);
}

void lapic_send_ipi(struct lapic *l)
{
	uint32_t icr = l->icr[0];
	struct apic_msg msg = {
		.dest = TO_EVERYBODY,
		.mode = ICR_DELIVERY(icr),
		.vector = icr & ICR_VECTOR,
	};

	if (!icr_is_valid(icr))
		return;
	if ((msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST) && msg.vector < VECTOR_MIN) {
		lapic_error(l, ESR_SEND_VECTOR);
		return;
	}
	switch (ICR_SHORTHAND(icr)) {
	case TO_SELF:
		receive(l, &msg, l);
		break;
	case TO_ALL:
		send(l->set, &msg, l, NULL);
		break;
	case TO_OTHERS:
		send(l->set, &msg, l, l);
		break;
	default:
		msg.dest = icr_destination(l);
		msg.logical = icr & ICR_LOGICAL;
		send(l->set, &msg, l, NULL);
		break;
	}
}

bool lapic_bus_waits(const struct lapic_set *set, uint8_t vector)
{
	for (unsigned i = 0; i < set->nr; i++)
		if (lapic_waits(set->lapic[i], vector))
			return true;
	return false;
}
