/*
 * Guests as GRUB's own lines describe them:
 *
 *   module2 FILE vm=NAME kernel [memory=SIZE] [vcpus=N] [paging=...] ... [-- command line]
 *   module2 FILE vm=NAME initrd
 *   module2 FILE vm=NAME module [-- its command line]
 *   module2 FILE vm=NAME disk at=ADDRESS
 *
 * and the options of Umbra's own line.
 */
#ifndef UMBRA_VMM_CONFIG_H
#define UMBRA_VMM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/boot_info.h"
#include "arch/x86_64/lib/cpu_set.h"
#include "arch/x86_64/log.h"

#define VM_NAME_MAX 32
#define VM_CONFIG_MAX 64
#define VM_CONFIG_MODULES 16
#define VM_CONFIG_DISKS 8
#define VM_COM2_MAX 40
#define CONFIG_GDB_MAX 64
#define CONFIG_RUN_MAX 511

enum paging_mode { PAGING_AUTO, PAGING_NESTED, PAGING_SHADOW };
enum pv_mode { PV_NONE, PV_KVM };
enum on_idle { ON_IDLE_MONITOR, ON_IDLE_POWEROFF, ON_IDLE_REBOOT };
enum on_reset { ON_RESET_RESTART, ON_RESET_STOP };
enum on_crash { ON_CRASH_STOP, ON_CRASH_RESTART };

/* A file for the guest's kernel besides its initrd. */
struct vm_module {
	const struct boot_module *file;
	const char *cmdline; /* as the kernel's */
};

/* A file that appears in guest-physical memory. */
struct vm_disk {
	const struct boot_module *file;
	uint64_t at; /* a multiple of 4 KiB */
};

/* A word of the hardware's control block to be spoiled, so that the processor refuses it: for
 * tests, in debug builds. */
#define VM_CORRUPT_FIELD_MAX 40
struct vm_corrupt {
	char field[VM_CORRUPT_FIELD_MAX]; /* as the backend names it; "": none */
	uint64_t value;
	uint64_t exits; /* not before the VM's so manieth exit */
};

struct vm_config {
	char name[VM_NAME_MAX];
	uint64_t memory; /* bytes; a multiple of 1 MiB */
	unsigned vcpus;
	unsigned weight;     /* its share of a CPU (sched.h); 0: the default */
	struct cpu_set cpus; /* it may run on these; none: on all */
	enum paging_mode paging;
	uint64_t shadow;        /* bytes for shadow pages; 0: what suits the memory */
	uint64_t audit;         /* every so many exits the shadow is audited; 0: never */
	enum on_reset on_reset; /* on-reset=restart|stop */
	enum on_crash on_crash; /* on-crash=stop|restart: triple fault */
	bool apic;              /* apic=on|off: local APICs, I/O APIC, HPET */
	enum pv_mode pv;        /* pv=kvm: KVM's signature and clock */
	bool debug_exit;        /* debug-exit: port 0xf4 stops the VM */
	bool paused;            /* whenever it starts, it waits to be resumed */
	char com2[VM_COM2_MAX]; /* com2=phys:...: where the machine's port is; "": no cable */
	bool stats;             /* print the exit counters when the VM stops */
	struct vm_corrupt corrupt;
	const char *cmdline; /* what follows " -- ", in GRUB's memory; "" if none */
	const struct boot_module *kernel;
	const struct boot_module *initrd; /* NULL: none */
	unsigned nr_modules;
	struct vm_module module[VM_CONFIG_MODULES]; /* in the order of their lines */
	unsigned nr_disks;
	struct vm_disk disk[VM_CONFIG_DISKS];
};

struct umbra_config {
	enum log_level loglevel;
	enum on_idle on_idle;
	bool log_always;          /* log=line: onto the line whoever is in front */
	bool console_follow;      /* console=follow: all VMs' output is seen */
	char gdb[CONFIG_GDB_MAX]; /* gdb=: the debugger's line, in com1='s words; "": none */
	/* Those that may be used; all ones if the line does not say. */
	uint32_t svm_features, vmx_features;
	unsigned maxcpus;    /* processors to use */
	bool x2apic;         /* x2apic=on: although no processor's id needs it */
	uint32_t absent_cpu; /* debug builds: start this APIC id as well, where there is none */
	char run[CONFIG_RUN_MAX + 1]; /* the monitor's commands of run=, parted by ';' */
	unsigned nr_vms;
	struct vm_config vm[VM_CONFIG_MAX];
};

/*
 * What a line got wrong is logged as one line naming the line and the token; that guest
 * is left out and the others stay. An error in Umbra's own line is logged and that
 * token ignored.
 */
void config_parse(struct umbra_config *cfg, const struct boot_info *bi);

/*
 * Change what a word of a kernel's line sets (memory=, paging=, stats...). False: it is none, or
 * its value is wrong: why[size] says so and nothing has changed.
 */
bool config_change(struct vm_config *vm, const char *word, char *why, size_t size);

/*
 * The value of `key=` in Umbra's own line, for those who need it before config_parse()
 * (com1=, loglevel=). Copies at most size bytes, terminated. False: not there.
 */
bool config_early_value(const char *cmdline, const char *key, char *buf, size_t size);

#endif
