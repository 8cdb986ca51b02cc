/* What VM entry checks of the controls. SDM vol. 3, 26.2.1. */
#include "arch/x86_64/include/fault.h"
#include "vmx/check_rules.h"

/* Controls that no other file names. 24.6.1 and 24.6.2. */
#define PROC2_PAGE_LOG BIT(17)
#define PROC2_MODE_BASED_EXECUTE BIT(22)
#define PROC2_SUB_PAGE_WRITE BIT(23)

#define TPR_THRESHOLD_RESERVED BITS(31, 4)
#define POSTED_VECTOR_RESERVED BITS(15, 8)
#define POSTED_DESCRIPTOR_RESERVED BITS(5, 0)
#define EPTP_TYPE BITS(2, 0)
#define EPTP_WALK BITS(5, 3)
#define EPTP_RESERVED BITS(11, 7)
#define MSR_ENTRY_SIZE 16
#define INTR_INFO_RESERVED BITS(30, 12)
#define ERROR_RESERVED BITS(31, 16)
#define INTR_TYPE_RESERVED 1
#define INTR_TYPE_OTHER 7 /* a pending monitor trap flag exit */
#define CR3_TARGETS 4

static bool must_be_one(uint64_t word, const struct vmx_control *c)
{
	return c->must & ~word;
}

static bool must_be_zero(uint64_t word, const struct vmx_control *c)
{
	return word & ~(uint64_t)c->may;
}

static bool pin_on(const struct vmcs_image *v, uint64_t bits)
{
	return F(VMCS_PIN_CONTROLS) & bits;
}

static bool proc_on(const struct vmcs_image *v, uint64_t bits)
{
	return F(VMCS_PROC_CONTROLS) & bits;
}

/* A 4 KiB page that the processor reads. */
static bool bad_page(uint64_t addr, const struct vmx_limits *lim)
{
	return (addr & BITS(11, 0)) || beyond_phys(addr, lim);
}

/* An MSR area of n entries. */
static bool bad_area(uint64_t addr, uint64_t n, const struct vmx_limits *lim)
{
	return n && ((addr & BITS(3, 0)) || beyond_phys(addr, lim) ||
		     beyond_phys(addr + n * MSR_ENTRY_SIZE - 1, lim));
}

static bool bad_eptp(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	uint64_t eptp = F(VMCS_EPT_POINTER), type = eptp & EPTP_TYPE;

	return (type != 0 && type != EPTP_WRITE_BACK) ||
	       (eptp & EPTP_WALK) != 3 << EPTP_WALK_SHIFT || (eptp & EPTP_RESERVED) ||
	       beyond_phys(eptp, lim);
}

/* --- the event to inject, 26.2.1.3 --- */

static unsigned event_type(const struct vmcs_image *v)
{
	return (F(VMCS_ENTRY_INTR_INFO) & INTR_INFO_TYPE) >> INTR_INFO_TYPE_SHIFT;
}

static bool event_valid(const struct vmcs_image *v)
{
	return F(VMCS_ENTRY_INTR_INFO) & INTR_INFO_VALID;
}

static bool bad_vector(const struct vmcs_image *v)
{
	uint64_t vector = F(VMCS_ENTRY_INTR_INFO) & INTR_INFO_VECTOR;

	if (!event_valid(v))
		return false;
	switch (event_type(v)) {
	case INTR_TYPE_NMI:
		return vector != VEC_NMI;
	case INTR_TYPE_HARDWARE_EXCEPTION:
		return vector > 31;
	case INTR_TYPE_OTHER:
		return vector != 0;
	default:
		return false;
	}
}

/* Vectors whose frame has an error code, and no choice; #CP has one where there is CET. */
static bool has_error_code(uint64_t vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static bool bad_error_bit(const struct vmcs_image *v)
{
	uint64_t info = F(VMCS_ENTRY_INTR_INFO), vector = info & INTR_INFO_VECTOR;
	bool want = event_type(v) == INTR_TYPE_HARDWARE_EXCEPTION && (F(VMCS_GUEST_CR0) & CR0_PE) &&
		    has_error_code(vector);

	if (!event_valid(v) || vector == VEC_CP)
		return false;
	return want != !!(info & INTR_INFO_ERROR);
}

static bool bad_error_code(const struct vmcs_image *v)
{
	return event_valid(v) && (F(VMCS_ENTRY_INTR_INFO) & INTR_INFO_ERROR) &&
	       (F(VMCS_ENTRY_EXCEPTION_ERROR) & ERROR_RESERVED);
}

static bool bad_event_len(const struct vmcs_image *v, const struct vmx_limits *lim)
{
	uint64_t len = F(VMCS_ENTRY_INSN_LEN);

	return event_valid(v) && event_type(v) >= INTR_TYPE_SOFT_INT &&
	       event_type(v) <= INTR_TYPE_SOFT_EXCEPTION &&
	       (len > 15 || (!len && !lim->caps->entry_len0));
}

/* One row a rule: X(identifier, field, in words, broken when) */
#define RULES(X)                                                                                   \
	X(pin_ones, VMCS_PIN_CONTROLS, "a bit that must be 1 is 0",                                \
	  must_be_one(F(VMCS_PIN_CONTROLS), &lim->caps->pin))                                      \
	X(pin_zeros, VMCS_PIN_CONTROLS, "a bit that must be 0 is 1",                               \
	  must_be_zero(F(VMCS_PIN_CONTROLS), &lim->caps->pin))                                     \
	X(proc_ones, VMCS_PROC_CONTROLS, "a bit that must be 1 is 0",                              \
	  must_be_one(F(VMCS_PROC_CONTROLS), &lim->caps->proc))                                    \
	X(proc_zeros, VMCS_PROC_CONTROLS, "a bit that must be 0 is 1",                             \
	  must_be_zero(F(VMCS_PROC_CONTROLS), &lim->caps->proc))                                   \
	X(proc2_ones, VMCS_PROC2_CONTROLS, "a bit that must be 1 is 0",                            \
	  proc_on(v, PROC_SECONDARY) && must_be_one(F(VMCS_PROC2_CONTROLS), &lim->caps->proc2))    \
	X(proc2_zeros, VMCS_PROC2_CONTROLS, "a bit that must be 0 is 1",                           \
	  proc_on(v, PROC_SECONDARY) && must_be_zero(F(VMCS_PROC2_CONTROLS), &lim->caps->proc2))   \
	X(cr3_targets, VMCS_CR3_TARGET_COUNT, "more than four CR3-target values",                  \
	  F(VMCS_CR3_TARGET_COUNT) > CR3_TARGETS)                                                  \
	X(io_bitmap_a, VMCS_IO_BITMAP_A, "not the address of a page",                              \
	  proc_on(v, PROC_IO_BITMAPS) && bad_page(F(VMCS_IO_BITMAP_A), lim))                       \
	X(io_bitmap_b, VMCS_IO_BITMAP_B, "not the address of a page",                              \
	  proc_on(v, PROC_IO_BITMAPS) && bad_page(F(VMCS_IO_BITMAP_B), lim))                       \
	X(msr_bitmap, VMCS_MSR_BITMAP, "not the address of a page",                                \
	  proc_on(v, PROC_MSR_BITMAPS) && bad_page(F(VMCS_MSR_BITMAP), lim))                       \
	X(virtual_apic, VMCS_VIRTUAL_APIC_ADDR, "not the address of a page",                       \
	  proc_on(v, PROC_TPR_SHADOW) && bad_page(F(VMCS_VIRTUAL_APIC_ADDR), lim))                 \
	X(apic_access, VMCS_APIC_ACCESS_ADDR, "not the address of a page",                         \
	  proc2_on(v, PROC2_APIC_ACCESSES) && bad_page(F(VMCS_APIC_ACCESS_ADDR), lim))             \
	X(tpr_threshold, VMCS_TPR_THRESHOLD, "bits 31:4 are not zero",                             \
	  proc_on(v, PROC_TPR_SHADOW) && !proc2_on(v, PROC2_VIRTUAL_INTERRUPTS) &&                 \
		  (F(VMCS_TPR_THRESHOLD) & TPR_THRESHOLD_RESERVED))                                \
	X(virtual_nmis, VMCS_PIN_CONTROLS, "virtual NMIs without NMI exiting",                     \
	  pin_on(v, PIN_VIRTUAL_NMIS) && !pin_on(v, PIN_NMI))                                      \
	X(nmi_window, VMCS_PROC_CONTROLS, "NMI-window exiting without virtual NMIs",               \
	  proc_on(v, PROC_NMI_WINDOW) && !pin_on(v, PIN_VIRTUAL_NMIS))                             \
	X(apic_tpr, VMCS_PROC2_CONTROLS, "APIC virtualization without TPR shadow",                 \
	  !proc_on(v, PROC_TPR_SHADOW) && proc2_on(v, PROC2_X2APIC_MODE | PROC2_APIC_REGISTERS |   \
							      PROC2_VIRTUAL_INTERRUPTS))           \
	X(apic_modes, VMCS_PROC2_CONTROLS, "x2APIC mode and APIC accesses both virtualized",       \
	  proc2_on(v, PROC2_X2APIC_MODE) && proc2_on(v, PROC2_APIC_ACCESSES))                      \
	X(virtual_interrupts, VMCS_PROC2_CONTROLS,                                                 \
	  "virtual-interrupt delivery without external-interrupt exiting",                         \
	  proc2_on(v, PROC2_VIRTUAL_INTERRUPTS) && !pin_on(v, PIN_EXTERNAL_INTERRUPT))             \
	X(posted_interrupts, VMCS_PIN_CONTROLS,                                                    \
	  "posted interrupts without virtual-interrupt delivery or acknowledgement on exit",       \
	  pin_on(v, PIN_POSTED_INTERRUPTS) && (!proc2_on(v, PROC2_VIRTUAL_INTERRUPTS) ||           \
					       !(F(VMCS_EXIT_CONTROLS) & EXIT_CTL_ACK_INTERRUPT))) \
	X(posted_vector, VMCS_POSTED_INTERRUPT_VECTOR, "bits 15:8 are not zero",                   \
	  pin_on(v, PIN_POSTED_INTERRUPTS) &&                                                      \
		  (F(VMCS_POSTED_INTERRUPT_VECTOR) & POSTED_VECTOR_RESERVED))                      \
	X(posted_descriptor, VMCS_POSTED_INTERRUPT_DESCRIPTOR,                                     \
	  "not aligned to 64 bytes, or no memory",                                                 \
	  pin_on(v, PIN_POSTED_INTERRUPTS) &&                                                      \
		  ((F(VMCS_POSTED_INTERRUPT_DESCRIPTOR) & POSTED_DESCRIPTOR_RESERVED) ||           \
		   beyond_phys(F(VMCS_POSTED_INTERRUPT_DESCRIPTOR), lim)))                         \
	X(vpid, VMCS_VPID, "zero", proc2_on(v, PROC2_VPID) && !F(VMCS_VPID))                       \
	X(eptp, VMCS_EPT_POINTER, "no type, walk length or address that EPT has",                  \
	  proc2_on(v, PROC2_EPT) && bad_eptp(v, lim))                                              \
	X(eptp_ad, VMCS_EPT_POINTER, "accessed and dirty flags, which EPT has not here",           \
	  proc2_on(v, PROC2_EPT) && !lim->caps->ept_accessed_dirty &&                              \
		  (F(VMCS_EPT_POINTER) & EPTP_ACCESSED_DIRTY))                                     \
	X(needs_ept, VMCS_PROC2_CONTROLS, "a control that needs EPT, without EPT",                 \
	  !proc2_on(v, PROC2_EPT) &&                                                               \
		  proc2_on(v, PROC2_UNRESTRICTED_GUEST | PROC2_PAGE_LOG |                          \
				      PROC2_MODE_BASED_EXECUTE | PROC2_SUB_PAGE_WRITE))            \
	X(exit_ones, VMCS_EXIT_CONTROLS, "a bit that must be 1 is 0",                              \
	  must_be_one(F(VMCS_EXIT_CONTROLS), &lim->caps->exit))                                    \
	X(exit_zeros, VMCS_EXIT_CONTROLS, "a bit that must be 0 is 1",                             \
	  must_be_zero(F(VMCS_EXIT_CONTROLS), &lim->caps->exit))                                   \
	X(save_timer, VMCS_EXIT_CONTROLS, "the preemption timer is saved but not on",              \
	  (F(VMCS_EXIT_CONTROLS) & EXIT_CTL_SAVE_TIMER) && !pin_on(v, PIN_PREEMPTION_TIMER))       \
	X(exit_store, VMCS_EXIT_MSR_STORE_ADDR, "no aligned area of physical memory",              \
	  bad_area(F(VMCS_EXIT_MSR_STORE_ADDR), F(VMCS_EXIT_MSR_STORE_COUNT), lim))                \
	X(exit_load, VMCS_EXIT_MSR_LOAD_ADDR, "no aligned area of physical memory",                \
	  bad_area(F(VMCS_EXIT_MSR_LOAD_ADDR), F(VMCS_EXIT_MSR_LOAD_COUNT), lim))                  \
	X(entry_ones, VMCS_ENTRY_CONTROLS, "a bit that must be 1 is 0",                            \
	  must_be_one(F(VMCS_ENTRY_CONTROLS), &lim->caps->entry))                                  \
	X(entry_zeros, VMCS_ENTRY_CONTROLS, "a bit that must be 0 is 1",                           \
	  must_be_zero(F(VMCS_ENTRY_CONTROLS), &lim->caps->entry))                                 \
	X(smm, VMCS_ENTRY_CONTROLS, "entry to SMM, or out of dual-monitor treatment",              \
	  F(VMCS_ENTRY_CONTROLS) & (ENTRY_CTL_SMM | ENTRY_CTL_DUAL_MONITOR))                       \
	X(event_type, VMCS_ENTRY_INTR_INFO, "a type of event that there is not",                   \
	  injects(v, INTR_TYPE_RESERVED) ||                                                        \
		  (injects(v, INTR_TYPE_OTHER) && !(lim->caps->proc.may & PROC_MONITOR_TRAP)))     \
	X(event_vector, VMCS_ENTRY_INTR_INFO, "a vector that its type has not", bad_vector(v))     \
	X(event_error, VMCS_ENTRY_INTR_INFO, "an error code where none is due, or the reverse",    \
	  bad_error_bit(v))                                                                        \
	X(event_reserved, VMCS_ENTRY_INTR_INFO, "bits 30:12 are not zero",                         \
	  event_valid(v) && (F(VMCS_ENTRY_INTR_INFO) & INTR_INFO_RESERVED))                        \
	X(error_code, VMCS_ENTRY_EXCEPTION_ERROR, "bits 31:16 are not zero", bad_error_code(v))    \
	X(event_len, VMCS_ENTRY_INSN_LEN, "no length of an instruction", bad_event_len(v, lim))    \
	X(entry_load, VMCS_ENTRY_MSR_LOAD_ADDR, "no aligned area of physical memory",              \
	  bad_area(F(VMCS_ENTRY_MSR_LOAD_ADDR), F(VMCS_ENTRY_MSR_LOAD_COUNT), lim))

RULES(RULE_FUNCTION)

static const struct vmx_rule rules[] = { RULES(RULE_ROW) };

const struct vmx_rules vmx_control_rules = { rules, ARRAY_SIZE(rules) };
