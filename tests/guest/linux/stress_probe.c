#include "tests/guest/linux/stress.h"

#define SA_SIGINFO 4ul
#define SA_NODEFER 0x40000000ul
#define SA_RESTORER 0x04000000ul

/* Error code bits of #PF (APM vol. 2, 8.4.2; SDM vol. 3, 4.7). */
#define PF_P 0x01
#define PF_W 0x02
#define PF_U 0x04
#define PF_RSVD 0x08
#define PF_I 0x10

/* Indices into ucontext's words where the registers are, and si_addr's in siginfo. */
#ifdef __x86_64__
enum {
	SI_ADDR = 2,
	UC_SP = 5 + 15,
	UC_IP = 5 + 16,
	UC_ERR = 5 + 19,
	UC_CR2 = 5 + 22,
};
#define WORD_SUFFIX "q"
#define SYS_RT_SIGRETURN "15"
#define SYSCALL "syscall"
#else
enum {
	SI_ADDR = 3,
	UC_SP = 5 + 7,
	UC_ERR = 5 + 13,
	UC_IP = 5 + 14,
	UC_CR2 = 5 + 21,
};
#define WORD_SUFFIX "l"
#define SYS_RT_SIGRETURN "173"
#define SYSCALL "int $0x80"
#endif

struct kernel_sigaction {
	void (*handler)(int sig, unsigned long *info, unsigned long *context);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

void signal_return(void);
__asm__("signal_return: mov $" SYS_RT_SIGRETURN ", %eax\n"
	"	" SYSCALL "\n");

static struct {
	bool armed, caught;
	uintptr_t resume; /* where to go on after the fault */
	uintptr_t addr, cr2, ip;
	unsigned long err;
} probe;

static bool has_nx;
static int pipe_ends[2] = { -1, -1 };

static void on_fault(int sig, unsigned long *info, unsigned long *context)
{
	probe.addr = info[SI_ADDR];
	probe.cr2 = context[UC_CR2];
	probe.ip = context[UC_IP];
	probe.err = context[UC_ERR];
	if (!probe.armed || sig != SIGSEGV)
		wrong(probe.addr, 0, probe.err,
		      sig == SIGSEGV ? "a fault where none was to be" : "SIGBUS");
	probe.caught = true;
	if (probe.ip == probe.addr) /* at the target of the call: take its return address off */
		context[UC_SP] += sizeof(long);
	context[UC_IP] = probe.resume;
}

static uint8_t probe_read(uintptr_t addr)
{
	uint8_t val = 0;

	__asm__ volatile("mov" WORD_SUFFIX " $1f, %0\n\t"
			 "movb %2, %1\n"
			 "1:"
			 : "=m"(probe.resume), "+q"(val)
			 : "m"(*(volatile uint8_t *)addr)
			 : "memory");
	return val;
}

static void probe_write(uintptr_t addr, uint8_t val)
{
	__asm__ volatile("mov" WORD_SUFFIX " $1f, %0\n\t"
			 "movb %2, %1\n"
			 "1:"
			 : "=m"(probe.resume), "=m"(*(volatile uint8_t *)addr)
			 : "q"(val)
			 : "memory");
}

static void probe_exec(uintptr_t addr)
{
	__asm__ volatile("mov" WORD_SUFFIX " $1f, %0\n\t"
			 "call *%1\n"
			 "1:"
			 : "=m"(probe.resume)
			 : "r"(addr)
			 : "memory");
}

/* Was there a fault at the access between arm() and this? */
static bool disarm(void)
{
	probe.armed = false;
	return probe.caught;
}

static void arm(void)
{
	probe.caught = false;
	probe.armed = true;
}

void probe_init(void)
{
	struct kernel_sigaction action = { on_fault, SA_SIGINFO | SA_NODEFER | SA_RESTORER,
					   signal_return, 0 };
	uint8_t *code = (uint8_t *)sys_mmap(0, PAGE_SIZE, RW, MAP_PRIVATE);

	sys5(SYS_RT_SIGACTION, SIGSEGV, &action, 0, sizeof(action.mask), 0);
	sys5(SYS_RT_SIGACTION, SIGBUS, &action, 0, sizeof(action.mask), 0);
	probe_forked();
	*code = 0xc3;
	arm();
	probe_exec((uintptr_t)code);
	has_nx = disarm();
	sys3(SYS_MUNMAP, code, PAGE_SIZE, 0);
}

void probe_forked(void)
{
	sys3(SYS_CLOSE, pipe_ends[0], 0, 0);
	sys3(SYS_CLOSE, pipe_ends[1], 0, 0);
	sys3(SYS_PIPE, pipe_ends, 0, 0);
}

bool probe_has_nx(void)
{
	return has_nx;
}

static bool allows(uint8_t state, enum access access)
{
	switch (access) {
	case ACCESS_READ:
		return state & PROT_READ;
	case ACCESS_WRITE:
		return state & PROT_WRITE;
	case ACCESS_EXEC:
		return state & PROT_EXEC || (!has_nx && state & PROT_READ);
	}
	return false;
}

/*
 * The fault that was caught. P is only known where nothing is: an entry comes late. A fetch shows
 * as one with NX, or with SMEP alone.
 */
static void check_fault(uintptr_t addr, uint8_t state, enum access access)
{
	bool fetch = access == ACCESS_EXEC;
	unsigned long err =
		PF_U | (access == ACCESS_WRITE ? PF_W : 0) | (fetch && has_nx ? PF_I : 0);
	unsigned long known =
		PF_W | PF_U | PF_RSVD | (fetch && !has_nx ? 0 : PF_I) | (state & MAPPED ? 0 : PF_P);

	COUNT(faults);
	if (probe.addr != addr)
		wrong(addr, addr, probe.addr, "si_addr of a fault");
	if (probe.cr2 != addr)
		wrong(addr, addr, probe.cr2, "CR2 of a fault");
	if ((probe.err & known) != err)
		wrong(addr, err, probe.err, "error code of a fault");
}

void probe_page(unsigned page)
{
	enum access access = random_below(3);
	struct page p = pages[page];
	bool allowed = allows(p.state, access);
	uint32_t offset = random_below(PAGE_SIZE);
	uint8_t want = (uint8_t)(pattern(p.stamp, offset / 4) >> offset % 4 * 8), got = want;
	uintptr_t addr;

	if (access == ACCESS_EXEC && allowed) {
		if (!p.stamp) /* zeros are no code */
			return;
		offset = 0;
	}
	addr = page_at(page) + offset;
	arm();
	if (access == ACCESS_READ)
		got = probe_read(addr);
	else if (access == ACCESS_WRITE)
		probe_write(addr, want);
	else
		probe_exec(addr);
	if (disarm() == allowed)
		wrong(addr, !allowed, allowed,
		      allowed ? "a fault where the page allows it" : "no fault where it was due");
	if (!allowed)
		check_fault(addr, p.state, access);
	else if (got != want)
		wrong(addr, want, got, "a byte");
}

static uint8_t in_pipe[64];

/* What is at addr goes through a pipe, where the page allows reading. */
static void kernel_reads(uintptr_t addr, uint8_t state, const uint8_t *expected)
{
	long want = state & PROT_READ ? (long)sizeof(in_pipe) : -EFAULT;
	long got = sys3(SYS_WRITE, pipe_ends[1], addr, sizeof(in_pipe));

	if (got != want)
		wrong(addr, (unsigned long)want, (unsigned long)got, "write() from a page");
	if (got < 0)
		return;
	sys3(SYS_READ, pipe_ends[0], in_pipe, sizeof(in_pipe));
	for (unsigned i = 0; i < sizeof(in_pipe); i++)
		if (in_pipe[i] != expected[i])
			wrong(addr + i, expected[i], in_pipe[i], "what write() took from a page");
}

/* What is at addr already is put there from a pipe, where the page allows writing. */
static void kernel_writes(uintptr_t addr, uint8_t state, const uint8_t *expected)
{
	long want = state & PROT_WRITE ? (long)sizeof(in_pipe) : -EFAULT, got;

	sys3(SYS_WRITE, pipe_ends[1], expected, sizeof(in_pipe));
	got = sys3(SYS_READ, pipe_ends[0], addr, sizeof(in_pipe));
	if (got != want)
		wrong(addr, (unsigned long)want, (unsigned long)got, "read() into a page");
	if (got < 0) /* it is still in the pipe */
		sys3(SYS_READ, pipe_ends[0], in_pipe, sizeof(in_pipe));
}

void probe_by_kernel(unsigned page)
{
	const struct page p = pages[page];
	uint32_t word = random_below(PAGE_SIZE / 4 - 15), expected[16];
	uintptr_t addr = page_at(page) + word * 4;

	for (uint32_t i = 0; i < 16; i++)
		expected[i] = pattern(p.stamp, word + i);
	if (random_below(2))
		kernel_reads(addr, p.state, (const uint8_t *)expected);
	else
		kernel_writes(addr, p.state, (const uint8_t *)expected);
}
