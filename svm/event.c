#include "svm/event.h"

#include "arch/x86_64/include/fault.h"
#include "svm/vmcb.h"

static uint64_t event_word(unsigned type, unsigned vector)
{
	return EVENT_V | (uint64_t)type << EVENT_TYPE_SHIFT | vector;
}

uint64_t svm_event_encode(const struct vm_event *ev, bool protected_mode)
{
	uint64_t word;

	switch (ev->kind) {
	case EVENT_INTR:
		return event_word(EVENT_TYPE_INTR, ev->vector);
	case EVENT_NMI:
		return event_word(EVENT_TYPE_NMI, VEC_NMI);
	case EVENT_EXCEPTION:
		word = event_word(EVENT_TYPE_EXCEPTION, ev->vector);
		if (ev->has_error && protected_mode)
			word |= EVENT_EV | (uint64_t)ev->error << EVENT_ERROR_SHIFT;
		return word;
	case EVENT_NONE:
	case EVENT_SOFT_INT:
	case EVENT_SOFT_EXC:
		break;
	}
	return 0;
}

struct vm_event svm_event_decode(uint64_t word)
{
	struct vm_event ev = { .vector = (uint8_t)(word & EVENT_VECTOR_MASK) };

	if (!(word & EVENT_V))
		return (struct vm_event){ .kind = EVENT_NONE };
	switch ((word & EVENT_TYPE_MASK) >> EVENT_TYPE_SHIFT) {
	case EVENT_TYPE_INTR:
		ev.kind = EVENT_INTR;
		break;
	case EVENT_TYPE_NMI:
		ev.kind = EVENT_NMI;
		break;
	case EVENT_TYPE_EXCEPTION:
		/* INT3 and INTO count as exceptions here: CC and CE, one byte. */
		if (ev.vector == VEC_BP || ev.vector == VEC_OF) {
			ev.kind = EVENT_SOFT_EXC;
			ev.insn_len = 1;
			break;
		}
		ev.kind = EVENT_EXCEPTION;
		ev.has_error = word & EVENT_EV;
		ev.error = ev.has_error ? (uint32_t)(word >> EVENT_ERROR_SHIFT) : 0;
		break;
	case EVENT_TYPE_SOFT:
		ev.kind = EVENT_SOFT_INT;
		ev.insn_len = 2; /* CD ib; prefixes, if any, are not known */
		break;
	}
	return ev;
}
