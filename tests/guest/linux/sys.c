#include "tests/guest/linux/sys.h"

#include <stdarg.h>

#define LINE_MAX 256

static char **arguments, **environment;

#ifdef __x86_64__

__asm__(".globl _start\n"
	"_start: xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start_c\n");

long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#else

__asm__(".globl _start\n"
	"_start: xor %ebp, %ebp\n"
	"	mov %esp, %eax\n"
	"	and $-16, %esp\n"
	"	sub $12, %esp\n"
	"	push %eax\n"
	"	call start_c\n");

/* The sixth argument is EBP's. */
long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
	long ret;

	__asm__ volatile("pushl %7\n\t"
			 "pushl %%ebp\n\t"
			 "movl 4(%%esp), %%ebp\n\t"
			 "int $0x80\n\t"
			 "popl %%ebp\n\t"
			 "addl $4, %%esp"
			 : "=a"(ret)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "m"(f)
			 : "memory");
	return ret;
}

#endif

void start_c(long *stack) __attribute__((used, noreturn));

/* What the kernel leaves on the stack: argc, argv, 0, the environment, 0. */
void start_c(long *stack)
{
	int argc = (int)stack[0];

	arguments = (char **)(stack + 1);
	environment = arguments + argc + 1;
	sys_exit(program(argc, arguments));
}

long sys_mmap(uintptr_t addr, unsigned long size, int prot, int flags)
{
	return sys_call(SYS_MMAP, (long)addr, (long)size, prot, flags | MAP_ANONYMOUS, -1, 0);
}

long sys_fork(void)
{
	return sys3(SYS_FORK, 0, 0, 0);
}

long sys_wait(long pid)
{
	int status = 0;
	long got = sys_call(SYS_WAIT4, pid, (long)&status, 0, 0, 0, 0);

	if (got < 0)
		return got;
	return status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff;
}

void sys_exit(int code)
{
	for (;;)
		sys3(SYS_EXIT, code, 0, 0);
}

unsigned long sys_seconds(void)
{
	long now[2] = { 0, 0 };

	sys3(SYS_CLOCK_GETTIME, 1, now, 0); /* CLOCK_MONOTONIC */
	return (unsigned long)now[0];
}

void sys_poweroff(void)
{
	sys_call(SYS_REBOOT, (long)0xfee1dead, 0x28121969, 0x4321fedc, 0, 0, 0);
	sys_exit(1);
}

static size_t put_number(char *to, unsigned long n, unsigned base)
{
	char digits[24];
	size_t count = 0, i;

	do {
		digits[count++] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	for (i = 0; i < count; i++)
		to[i] = digits[count - 1 - i];
	return count;
}

void say(const char *fmt, ...)
{
	char line[LINE_MAX];
	size_t n = 0;
	va_list args;

	va_start(args, fmt);
	for (; *fmt && n < LINE_MAX - 24; fmt++) {
		if (*fmt != '%') {
			line[n++] = *fmt;
			continue;
		}
		fmt++;
		if (*fmt == 'l')
			fmt++;
		if (*fmt == 's')
			for (const char *s = va_arg(args, const char *); *s && n < LINE_MAX - 24;
			     s++)
				line[n++] = *s;
		else
			n += put_number(line + n, va_arg(args, unsigned long),
					*fmt == 'x' ? 16 : 10);
	}
	va_end(args);
	sys3(SYS_WRITE, 1, line, n);
}

unsigned long parse_number(const char *text)
{
	unsigned long n = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		n = n * 10 + (unsigned long)(*text - '0');
	return n;
}

static const char *find_option(char **list, const char *name)
{
	for (; *list; list++) {
		const char *s = *list, *n = name;

		while (*n && *s == *n)
			s++, n++;
		if (!*n && *s == '=')
			return s + 1;
	}
	return NULL;
}

unsigned long option(const char *name, unsigned long otherwise)
{
	const char *value = find_option(arguments, name);

	if (!value)
		value = find_option(environment, name);
	return value ? parse_number(value) : otherwise;
}

bool same_text(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

void *memset(void *to, int c, size_t n)
{
	uint8_t *p = to;

	while (n--)
		*p++ = (uint8_t)c;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	const uint8_t *s = from;
	uint8_t *p = to;

	while (n--)
		*p++ = *s++;
	return to;
}
