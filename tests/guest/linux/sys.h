/*
 * What programs for a Linux guest stand on, for 64-bit and 32-bit kernels: system calls, the
 * console, options. No libc: a program is this, itself and nothing else.
 */
#ifndef UMBRA_TESTS_GUEST_LINUX_SYS_H
#define UMBRA_TESTS_GUEST_LINUX_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096ul
#define MIB(n) ((unsigned long)(n) << 20)

/* asm-generic and x86's uapi headers: the same for both widths. */
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 0x01
#define MAP_PRIVATE 0x02
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_NORESERVE 0x4000
#define MAP_HUGETLB 0x40000
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#define MADV_DONTNEED 4
#define MADV_DONTFORK 10
#define MADV_HUGEPAGE 14
#define MADV_NOHUGEPAGE 15
#define SIGBUS 7
#define SIGSEGV 11
#define EFAULT 14

/* The numbers of arch/x86/entry/syscalls/syscall_{64,32}.tbl. */
#ifdef __x86_64__
enum {
	SYS_READ = 0,
	SYS_WRITE = 1,
	SYS_OPEN = 2,
	SYS_CLOSE = 3,
	SYS_MMAP = 9,
	SYS_MPROTECT = 10,
	SYS_MUNMAP = 11,
	SYS_RT_SIGACTION = 13,
	SYS_PIPE = 22,
	SYS_MREMAP = 25,
	SYS_MADVISE = 28,
	SYS_NANOSLEEP = 35,
	SYS_GETPID = 39,
	SYS_FORK = 57,
	SYS_EXECVE = 59,
	SYS_EXIT = 60,
	SYS_WAIT4 = 61,
	SYS_MOUNT = 165,
	SYS_REBOOT = 169,
	SYS_CLOCK_GETTIME = 228,
};
#else
enum {
	SYS_EXIT = 1,
	SYS_FORK = 2,
	SYS_READ = 3,
	SYS_WRITE = 4,
	SYS_OPEN = 5,
	SYS_CLOSE = 6,
	SYS_EXECVE = 11,
	SYS_GETPID = 20,
	SYS_MOUNT = 21,
	SYS_PIPE = 42,
	SYS_REBOOT = 88,
	SYS_MUNMAP = 91,
	SYS_WAIT4 = 114,
	SYS_MPROTECT = 125,
	SYS_NANOSLEEP = 162,
	SYS_MREMAP = 163,
	SYS_RT_SIGACTION = 174,
	SYS_MMAP = 192, /* mmap2: the offset is in pages */
	SYS_MADVISE = 219,
	SYS_CLOCK_GETTIME = 265,
};
#endif

/* One system call; what it returned: below 0 a negative errno. */
long sys_call(long number, long a, long b, long c, long d, long e, long f);

#define sys3(n, a, b, c) sys_call((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys5(n, a, b, c, d, e)                                                                     \
	sys_call((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* Anonymous memory, at addr with MAP_FIXED in flags; an address or a negative errno. */
long sys_mmap(uintptr_t addr, unsigned long size, int prot, int flags);

long sys_fork(void);

/* Wait for a child (-1: any); its exit code, 128 + signal, or a negative errno: no such child. */
long sys_wait(long pid);

void sys_exit(int code) __attribute__((noreturn));

/* Seconds since boot. */
unsigned long sys_seconds(void);

/* Power the machine off; only init may. */
void sys_poweroff(void) __attribute__((noreturn));

/* Write to the console, at most a line: %s, %lu and %lx, nothing else. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* NAME=VALUE of the arguments, else of the environment (the kernel's command line gives init
 * what it does not know itself), else otherwise. */
unsigned long option(const char *name, unsigned long otherwise);

bool same_text(const char *a, const char *b);
unsigned long parse_number(const char *text);

void *memset(void *to, int c, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);

/* The program; what it returns is its exit code. */
int program(int argc, char **argv);

#endif
