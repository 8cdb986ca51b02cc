#include "vmx/event.h"

#include "arch/x86_64/include/fault.h"
#include "vmx/vmcs.h"

static uint32_t info_word(unsigned type, unsigned vector)
{
	return (uint32_t)INTR_INFO_VALID | type << INTR_INFO_TYPE_SHIFT | vector;
}

/* An event that is an instruction's doing: the frame has the address behind it. */
static struct vmx_entry_event software(unsigned type, const struct vm_event *ev)
{
	if (!ev->insn_len || ev->insn_len > VM_EXIT_MAX_INSN)
		return (struct vmx_entry_event){ 0 };
	return (struct vmx_entry_event){ .info = info_word(type, ev->vector),
					 .insn_len = ev->insn_len };
}

struct vmx_entry_event vmx_event_encode(const struct vm_event *ev, bool protected_mode)
{
	struct vmx_entry_event out = { 0 };

	switch (ev->kind) {
	case EVENT_NONE:
		break;
	case EVENT_INTR:
		out.info = info_word(INTR_TYPE_EXTERNAL, ev->vector);
		break;
	case EVENT_NMI:
		out.info = info_word(INTR_TYPE_NMI, VEC_NMI);
		break;
	case EVENT_EXCEPTION:
		out.info = info_word(INTR_TYPE_HARDWARE_EXCEPTION, ev->vector);
		if (ev->has_error && protected_mode) {
			out.info |= (uint32_t)INTR_INFO_ERROR;
			out.error = ev->error;
		}
		break;
	case EVENT_SOFT_INT:
		return software(INTR_TYPE_SOFT_INT, ev);
	case EVENT_SOFT_EXC:
		return software(ev->vector == VEC_DB ? INTR_TYPE_PRIVILEGED_SOFT_EXCEPTION
						     : INTR_TYPE_SOFT_EXCEPTION,
				ev);
	}
	return out;
}

struct vm_event vmx_event_decode(uint32_t info, uint32_t error, uint32_t insn_len)
{
	struct vm_event ev = { .vector = (uint8_t)(info & INTR_INFO_VECTOR) };

	if (!(info & INTR_INFO_VALID))
		return (struct vm_event){ .kind = EVENT_NONE };
	switch ((info & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT) {
	case INTR_TYPE_EXTERNAL:
		ev.kind = EVENT_INTR;
		return ev;
	case INTR_TYPE_NMI:
		ev.kind = EVENT_NMI;
		return ev;
	case INTR_TYPE_HARDWARE_EXCEPTION:
		ev.kind = EVENT_EXCEPTION;
		ev.has_error = info & INTR_INFO_ERROR;
		ev.error = ev.has_error ? error : 0;
		return ev;
	case INTR_TYPE_SOFT_INT:
		ev.kind = EVENT_SOFT_INT;
		break;
	case INTR_TYPE_PRIVILEGED_SOFT_EXCEPTION:
	case INTR_TYPE_SOFT_EXCEPTION:
		ev.kind = EVENT_SOFT_EXC;
		break;
	default:
		return (struct vm_event){ .kind = EVENT_NONE };
	}
	ev.insn_len = insn_len <= VM_EXIT_MAX_INSN ? (uint8_t)insn_len : 0;
	return ev;
}
