/* Rights against access: one table look-up, and the error code of what fails. */
#include "arch/x86_64/include/cr.h"
#include "arch/x86_64/include/fault.h"
#include "paging/entry.h"
#include "paging/pt.h"

/* Sets of rights, as a bitmap over the 16 values of PT_R | PT_W | PT_X | PT_U. */
#define HAVE_R 0xaaaau
#define HAVE_W 0xccccu
#define HAVE_X 0xf0f0u
#define HAVE_U 0xff00u
#define HAVE_ANY 0xffffu

/* Index of a permission table. */
#define TABLE_WP 1u
#define TABLE_SMEP 2u
#define TABLE_SMAP 4u

/* The rights with which access a passes under table t. SDM vol. 3, 4.6.1. */
#define KIND_PASSES(t, a)                                                                          \
	((a)&PT_ACC_FETCH                    ? HAVE_X                                              \
	 : !((a)&PT_ACC_WRITE)               ? HAVE_R                                              \
	 : ((a)&PT_ACC_USER) || (t)&TABLE_WP ? HAVE_W                                              \
					     : HAVE_R)
#define MODE_PASSES(t, a)                                                                          \
	((a)&PT_ACC_USER    ? HAVE_U                                                               \
	 : (a)&PT_ACC_FETCH ? ((t)&TABLE_SMEP ? HAVE_ANY & ~HAVE_U : HAVE_ANY)                     \
	 : (t)&TABLE_SMAP && !((a)&PT_ACC_NO_SMAP) ? HAVE_ANY & ~HAVE_U                            \
						   : HAVE_ANY)
#define PASS(t, a) ((uint16_t)(KIND_PASSES(t, a) & MODE_PASSES(t, a)))
#define PASS4(t, a) PASS(t, a), PASS(t, (a) + 1u), PASS(t, (a) + 2u), PASS(t, (a) + 3u)
#define TABLE(t)                                                                                   \
	{                                                                                          \
		PASS4(t, 0u), PASS4(t, 4u), PASS4(t, 8u), PASS4(t, 12u)                            \
	}

static const uint16_t passes[8][PT_ACC_KINDS] = {
	TABLE(0u), TABLE(1u), TABLE(2u), TABLE(3u), TABLE(4u), TABLE(5u), TABLE(6u), TABLE(7u),
};

/* Protection keys: data accesses to user pages, whoever makes them. SDM vol. 3, 4.6.2. */

void pt_policy_init(struct pt_policy *p, uint64_t cr0, uint64_t cr4, uint64_t efer, uint32_t pkru)
{
	p->table = (uint8_t)((cr0 & CR0_WP ? TABLE_WP : 0) | (cr4 & CR4_SMEP ? TABLE_SMEP : 0) |
			     (cr4 & CR4_SMAP ? TABLE_SMAP : 0));
	p->report_fetch = (cr4 & CR4_SMEP) || ((cr4 & CR4_PAE) && (efer & EFER_NXE));
	p->pkeys = (cr4 & CR4_PKE) && (efer & EFER_LMA);
	p->pkru = pkru;
}

static bool pkey_denies(const struct pt_policy *p, const struct pt_walk *w, unsigned access)
{
	unsigned key, denied;

	if (!(w->rights & PT_U) || (access & PT_ACC_FETCH))
		return false;
	key = w->entry[w->level] >> PKEY_SHIFT & 15;
	denied = p->pkru >> (2 * key);
	if (denied & PKRU_AD)
		return true;
	return (denied & PKRU_WD) && (access & PT_ACC_WRITE) &&
	       ((access & PT_ACC_USER) || (p->table & TABLE_WP));
}

bool pt_judge(const struct pt_policy *p, const struct pt_walk *w, unsigned access, uint32_t *error)
{
	uint32_t code = 0;

	if (w->status == PT_OK) {
		bool pass = passes[p->table][access] >> w->rights & 1;
		bool denied = p->pkeys && pkey_denies(p, w, access);

		if (pass && !denied)
			return true;
		code = PF_P | (denied ? PF_PK : 0);
	} else if (w->status == PT_RESERVED) {
		code = PF_P | PF_RSVD;
	}
	code |= access & PT_ACC_WRITE ? PF_W : 0;
	code |= access & PT_ACC_USER ? PF_U : 0;
	code |= access & PT_ACC_FETCH && p->report_fetch ? PF_I : 0;
	*error = code;
	return false;
}
