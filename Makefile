# Umbra. `make help` says what there is to make.
#
#   build/            what is made; BUILD=debug (or DEBUG=1) puts its own into build/debug/
#   build/host/       the same sources, compiled hosted, and the tests linked with them
#   deps/             what is fetched: guests' kernels, Zydis' source (kept by `make clean`)

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:

# As many jobs as processors; a -j on the command line wins.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif

BUILD ?= release
ifeq ($(DEBUG),1)
override BUILD := debug
endif
ifeq ($(filter $(BUILD),release debug),)
$(error BUILD is release or debug, not "$(BUILD)")
endif

B := build
O := $(B)$(if $(filter debug,$(BUILD)),/debug)
H := $(B)/host
D := deps

CC := gcc
LD := ld
NM := nm
NASM := nasm
IASL := iasl
PYTHON := python3

# --- what there is to compile -------------------------------------------------------------

CORE_DIRS := arch/x86_64/lib paging vmm vmm/dev vmm/gdb vmm/load vmm/monitor
KERNEL_DIRS := boot arch/x86_64 $(CORE_DIRS) svm vmx

KERNEL_C := $(sort $(wildcard $(KERNEL_DIRS:=/*.c)))
KERNEL_ASM := $(sort $(wildcard $(KERNEL_DIRS:=/*.asm)))
# svm/ and vmx/ too: all of them but the entry code, for which their tests stand in.
CORE_C := $(sort $(wildcard $(CORE_DIRS:=/*.c) svm/*.c vmx/*.c))
HOST_TESTS := $(sort $(wildcard tests/host/test_*.c))
# What the tests share: stand-ins, reference models.
HOST_SHARED := $(filter-out $(HOST_TESTS),$(sort $(wildcard tests/host/*.c)))
GUEST_ASM := $(sort $(wildcard tests/guest/*.asm))
GUEST_LIB_C := $(sort $(wildcard tests/guest/lib/*.c))
PAGING_C := $(sort $(wildcard tests/guest/paging/*.c)) $(GUEST_LIB_C) tests/host/oracle.c
HEADERS := $(sort $(wildcard $(KERNEL_DIRS:=/*.h) arch/x86_64/include/*.h tests/host/*.h \
	tests/guest/*/*.h))

ZYDIS := $(D)/zydis-src
ZYDIS_FETCHED := $(ZYDIS)/.fetched
ZYDIS_C := $(addprefix $(ZYDIS)/src/,Decoder.c DecoderData.c Formatter.c FormatterATT.c \
	FormatterBase.c FormatterBuffer.c FormatterIntel.c Mnemonic.c Register.c Segment.c \
	SharedData.c String.c Utils.c)

# --- flags --------------------------------------------------------------------------------

WARN := -Wall -Wextra -Werror -Wshadow -Wmissing-prototypes -Wvla
ZYDIS_DEFS := -DZYAN_NO_LIBC -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD \
	-DZYDIS_DISABLE_ENCODER -DZYDIS_DISABLE_AVX512 -DZYDIS_DISABLE_KNC
INCLUDES := -I. -isystem $(ZYDIS)/include $(ZYDIS_DEFS)

KERNEL_MACHINE := -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only \
	-mcmodel=kernel
DEBUG_FLAGS := $(if $(filter debug,$(BUILD)),-DUMBRA_DEBUG -fsanitize=undefined \
	-fsanitize-undefined-trap-on-error)
KERNEL_CFLAGS := -std=gnu11 -O2 -g $(KERNEL_MACHINE) -fstack-protector-strong \
	-mstack-protector-guard=global -fno-strict-aliasing -fno-omit-frame-pointer -fno-common \
	-fno-asynchronous-unwind-tables \
	$(WARN) -Wstrict-prototypes $(INCLUDES) $(DEBUG_FLAGS) $(EXTRA_CFLAGS)
KERNEL_LDFLAGS := -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
	--build-id=none
ZYDIS_CFLAGS := -std=gnu11 -O2 -g -w -I$(ZYDIS)/include -I$(ZYDIS)/src $(ZYDIS_DEFS)

HOST_CFLAGS := -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-D_GNU_SOURCE $(WARN) $(INCLUDES) $(EXTRA_CFLAGS)

# Programs for a Linux guest: no libc.
LINUX_CFLAGS := -std=gnu11 -O2 -ffreestanding -fno-pic -mgeneral-regs-only \
	-fno-strict-aliasing -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-tree-loop-distribute-patterns -fomit-frame-pointer $(WARN) -I.
LINUX_LDFLAGS := -nostdlib -static -no-pie -Wl,-z,noexecstack,--build-id=none

NASM_FLAGS := -f elf64 -Werror

DEPFLAGS = -MMD -MP -MF $(@:.o=.d)

quiet = @printf '  %-7s %s\n' $(1) '$(subst $(B)/,,$@)';
ifeq ($(V),1)
quiet =
endif

# --- targets for people -------------------------------------------------------------------

.PHONY: all objects host run gdb test test-matrix check format check-format check-tidy check-layers check-headers \
	check-functions check-faults check-differences bench fuzz fuzz-corpus mutate coverage \
	setup guests clean distclean help FORCE

all: $(O)/umbra.elf $(O)/umbra.iso

help:
	@echo 'make            build/umbra.elf and build/umbra.iso (boots from BIOS and UEFI)'
	@echo 'make run        install what is missing, build, boot the ISO in QEMU (leave: Ctrl-A X)'
	@echo 'make test       checks, host tests, boot tests; ends with a line that counts them'
	@echo '                TESTS="boot -k uefi": only these (see tests/run)'
	@echo 'make test-matrix   a table: guests of every kind under SVM and VMX, nested and shadow;'
	@echo '                CELLS="vmx-nested-pae shadow-64", MODELS=haswell,penryn: only these'
	@echo '                (tests/matrix --help)'
	@echo 'make check      format, clang-tidy, layers, headers, function lengths, planted faults'
	@echo 'make format     put the C sources into the form that make check wants'
	@echo 'make host       build and run the host tests only'
	@echo 'make fuzz       the fuzzers of tests/fuzz/, FUZZ_SECONDS=60 each; make fuzz-corpus: keep'
	@echo '                what they found new; make mutate: do the tests find planted faults?'
	@echo 'make coverage   how much of paging/ the host tests run; COVERAGE_FLAGS=-v: what they miss'
	@echo 'make gdb        QEMU waiting at its reset vector, gdb attached with symbols'
	@echo 'make bench      what guests cost (exits, instructions, time) and paging/ by itself;'
	@echo '                BENCH_FLAGS=--help: how to choose a part of it'
	@echo 'make objects    compile only, no link'
	@echo 'make setup      install missing Debian packages; make guests: fetch the guests'
	@echo 'make clean      remove build/; make distclean: deps/ too'
	@echo
	@echo 'DEBUG=1         UBSan traps, poisoned pages, lock-order checks (build/debug/)'
	@echo 'EXTRA_CFLAGS=   more compiler flags;  V=1: show the commands'
	@echo 'BACKEND=        svm or vmx, MACHINE=qemu or bochs: where make run starts it'
	@echo 'RUN_FLAGS=      options of scripts/run-qemu or run-bochs for make run, such as --uefi'
	@echo 'GUEST=          amd64, 686-pae, 686 or all, PAGING=nested or shadow: what make run and'
	@echo '                make gdb start; ENTRY=: any entry of the menu, by its --id in iso/grub.cfg'

setup:
	@scripts/setup

# The menu entry to start, and the ISO that starts it.
ENTRY ?= $(if $(GUEST)$(PAGING),debian-$(or $(GUEST),amd64)-$(or $(PAGING),nested))
RUN_ISO := $(O)/umbra$(ENTRY:%=-%).iso

# The machine that it starts on. QEMU emulates SVM alone, and with KVM has what this machine has;
# Bochs has processors with either.
MACHINE ?= $(if $(filter vmx,$(BACKEND)),bochs,qemu)
NO_SVM_HERE = $(if $(filter svm,$(BACKEND)),$(shell grep -qw svm /proc/cpuinfo || echo yes))
run_machine = $(or $(run-$(BACKEND)-$(MACHINE)),$(error BACKEND is svm or vmx, MACHINE qemu or \
	bochs, but QEMU emulates no VMX))
run--qemu = scripts/run-qemu
run-svm-qemu = scripts/run-qemu $(if $(NO_SVM_HERE),--accel tcg)
run--bochs = $(run-svm-bochs)
run-svm-bochs = scripts/run-bochs --clock real --cpu ryzen
run-vmx-bochs = scripts/run-bochs --clock real --cpu corei7_haswell_4770

run: RUN = $(run_machine)
run: setup
	@$(MAKE) $(RUN_ISO)
	@$(RUN) $(RUN_ISO) $(RUN_FLAGS)

gdb: setup
	@$(MAKE) $(O)/umbra.elf $(RUN_ISO)
	@scripts/gdb $(O)/umbra.elf $(RUN_ISO) $(RUN_FLAGS)

test-matrix: setup
	@$(MAKE) all tests
	@$(PYTHON) tests/matrix $(MATRIX_FLAGS) $(if $(MODELS),--models $(MODELS)) $(CELLS)

test: setup
	@BUILD=$(BUILD) $(PYTHON) tests/run $(TESTS)

host: host-tests
	@$(PYTHON) tests/run host

bench: setup
	@$(MAKE) $(O)/umbra.elf bench-parts
	@$(PYTHON) tests/bench/run $(BENCH_FLAGS)

FUZZ_SECONDS ?= 60
fuzz: setup
	@$(MAKE) fuzz-targets
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTHON) tests/run fuzz

mutate: setup
	@scripts/mutate-paging

coverage: setup
	@scripts/coverage $(COVERAGE_FLAGS)

guests: $(D)/guests/.fetched

clean:
	rm -rf $(B)

distclean: clean
	rm -rf $(D)

# --- a changed flag, or a source that came or went, makes anew ------------------------------

# $(1): file, $(2): what it holds. Touched only when that changes.
define stamp
$(1): FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' '$(2)' "$$$$($$(CC) --version | head -n 1)" | cmp -s - $$@ || \
		printf '%s\n' '$(2)' "$$$$($$(CC) --version | head -n 1)" >$$@
endef
$(eval $(call stamp,$(O)/flags,$(CC) $(KERNEL_CFLAGS) / $(ZYDIS_CFLAGS) / $(NASM) $(NASM_FLAGS)))
$(eval $(call stamp,$(B)/guest/flags,$(NASM) $(NASM_FLAGS) / $(LD)))
$(eval $(call stamp,$(B)/guest/linux/flags,$(CC) $(LINUX_CFLAGS) / $(LINUX_LDFLAGS)))
$(eval $(call stamp,$(B)/gen/flags,$(IASL)))
$(eval $(call stamp,$(O)/sources,$(KERNEL_LDFLAGS) $(KERNEL_C) $(KERNEL_ASM)))
$(eval $(call stamp,$(H)/flags,$(CC) $(HOST_CFLAGS) / $(ZYDIS_CFLAGS)))
$(eval $(call stamp,$(H)/sources,$(CORE_C)))

# --- the hypervisor -----------------------------------------------------------------------

KERNEL_OBJS := $(KERNEL_C:%.c=$(O)/obj/%.o) $(KERNEL_ASM:%.asm=$(O)/obj/%.asm.o)
ifneq ($(wildcard vmm/dev/dsdt.asl),)
DSDT_C := $(B)/gen/dsdt_aml.c
KERNEL_OBJS += $(O)/obj/gen/dsdt_aml.o
CORE_GEN_OBJS := $(H)/obj/gen/dsdt_aml.o
endif

objects: $(KERNEL_OBJS)

$(O)/obj/%.o: %.c $(O)/flags | $(ZYDIS_FETCHED)
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) $(KERNEL_CFLAGS) $(DEPFLAGS) -c $< -o $@

$(O)/obj/%.asm.o: %.asm $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,NASM) $(NASM) $(NASM_FLAGS) -g -F dwarf -I./ -MD $(@:.o=.d) -MP $< -o $@

$(O)/obj/gen/%.o: $(B)/gen/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) $(KERNEL_CFLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/gen/dsdt.aml: vmm/dev/dsdt.asl $(B)/gen/flags
	@mkdir -p $(@D)
	$(call quiet,IASL) $(IASL) -we -vs -p $(@:.aml=) $< >$(@:.aml=.log) 2>&1 || \
		{ cat $(@:.aml=.log); exit 1; }

$(B)/gen/dsdt_aml.c: $(B)/gen/dsdt.aml scripts/bin2c
	$(call quiet,GEN) scripts/bin2c dsdt_aml vmm/dev/acpi.h $< >$@

# Linked twice: the symbol table for backtraces is made from the first link. It lies behind the
# code, so that the second link moves no function.
link = $(LD) $(KERNEL_LDFLAGS) -T linker.ld -o $@ $(KERNEL_OBJS) $(1) --start-group \
	$(O)/libzydis.a --end-group
LINK_DEPS = $(KERNEL_OBJS) $(O)/libzydis.a linker.ld $(O)/sources

$(O)/umbra.pass1.elf: $(LINK_DEPS) $(O)/obj/gen/ksyms0.o
	$(call quiet,LD) $(call link,$(O)/obj/gen/ksyms0.o)

$(O)/umbra.elf: $(O)/umbra.pass1.elf $(O)/obj/gen/ksyms1.o
	$(call quiet,LD) $(call link,$(O)/obj/gen/ksyms1.o)

$(O)/gen/ksyms0.c: scripts/ksyms
	@mkdir -p $(@D)
	@scripts/ksyms </dev/null >$@

$(O)/gen/ksyms1.c: $(O)/umbra.pass1.elf scripts/ksyms
	$(call quiet,KSYMS) $(NM) -n $< | scripts/ksyms >$@

$(O)/obj/gen/ksyms%.o: $(O)/gen/ksyms%.c $(O)/flags arch/x86_64/ksyms.h
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) $(KERNEL_CFLAGS) -c $< -o $@

# --- Zydis, from its Debian source package --------------------------------------------------

$(ZYDIS_FETCHED): scripts/fetch-zydis scripts/apt-private.sh
	@scripts/fetch-zydis
	@touch $@

$(ZYDIS_C): $(ZYDIS_FETCHED) ;

$(O)/libzydis.a: $(ZYDIS_C:$(ZYDIS)/src/%.c=$(O)/obj/zydis/%.o)
	@rm -f $@
	$(call quiet,AR) ar rcs $@ $^
$(H)/libzydis.a: $(ZYDIS_C:$(ZYDIS)/src/%.c=$(H)/obj/zydis/%.o)
	@rm -f $@
	$(call quiet,AR) ar rcs $@ $^

$(O)/obj/zydis/%.o: $(ZYDIS)/src/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) $(ZYDIS_CFLAGS) $(KERNEL_MACHINE) -c $< -o $@
$(H)/obj/zydis/%.o: $(ZYDIS)/src/%.c $(H)/flags
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) $(ZYDIS_CFLAGS) -c $< -o $@

# --- the ISO --------------------------------------------------------------------------------

ISO_GUESTS := $(addprefix $(D)/guests/,vmlinux-amd64 vmlinuz-amd64 initrd-amd64 \
	vmlinux-686-pae vmlinux-686 initrd-i386)
GUEST_FILES := $(ISO_GUESTS) $(addprefix $(D)/guests/,vmlinuz-686-pae vmlinuz-686 \
	busybox-amd64 busybox-i386)

$(D)/guests/.fetched: scripts/fetch-guests scripts/apt-private.sh scripts/extract-vmlinux scripts/mkinitrd $(wildcard iso/initrd/*)
	@scripts/fetch-guests $(D)
	@touch $@
# One that is missing although they were fetched is fetched again.
$(GUEST_FILES): $(D)/guests/.fetched
	@[ -e $@ ] || scripts/fetch-guests $(D)

ISO_DEPS := $(O)/umbra.elf iso/grub.cfg scripts/mkiso $(ISO_GUESTS)
MKISO := scripts/mkiso -e $(O)/umbra.elf -c iso/grub.cfg

$(O)/umbra.iso: $(ISO_DEPS)
	$(call quiet,ISO) $(MKISO) -o $@ $(ISO_GUESTS)
# With another entry of the menu to start by itself.
$(O)/umbra-%.iso: $(ISO_DEPS)
	$(call quiet,ISO) $(MKISO) -o $@ -d $* $(ISO_GUESTS)

# --- host tests -----------------------------------------------------------------------------

CORE_OBJS := $(CORE_C:%.c=$(H)/obj/%.o) $(CORE_GEN_OBJS)
HOST_BINS := $(HOST_TESTS:tests/host/%.c=$(H)/tests/%)

$(H)/obj/%.o: %.c $(H)/flags | $(ZYDIS_FETCHED)
	@mkdir -p $(@D)
	$(call quiet,HOSTCC) $(CC) $(HOST_CFLAGS) $(DEPFLAGS) -c $< -o $@

# Their tests stand in for the image and for what only CPL 0 may do.
$(H)/obj/paging/host.o: HOST_CFLAGS += -include tests/host/fake_insn.h
$(addprefix $(H)/obj/vmm/,run.o turns.o vcpu_kick.o vm.o): HOST_CFLAGS += -include tests/host/fake_run.h
# Processors with SVM and with VMX, which are none of this machine's.
$(H)/obj/svm/%.o: HOST_CFLAGS += -include tests/host/fake_svm.h
$(H)/obj/vmx/%.o: HOST_CFLAGS += -include tests/host/fake_vmx.h

# It runs guests.
$(H)/obj/tests/host/test_emulate_guest.o: $(addprefix $(B)/guest/,hello.elf bad_opcode_handled.elf \
	real_mode.elf rom_write.elf)

$(H)/obj/gen/%.o: $(B)/gen/%.c $(H)/flags
	@mkdir -p $(@D)
	$(call quiet,HOSTCC) $(CC) $(HOST_CFLAGS) $(DEPFLAGS) -c $< -o $@

$(H)/libumbra.a: $(CORE_OBJS) $(H)/sources
	@rm -f $@
	$(call quiet,AR) ar rcs $@ $(CORE_OBJS)

$(H)/tests/%: $(H)/obj/tests/host/%.o $(HOST_SHARED:%.c=$(H)/obj/%.o) $(H)/libumbra.a $(H)/libzydis.a
	@mkdir -p $(@D)
	$(call quiet,HOSTLD) $(CC) -fsanitize=address,undefined -o $@ $^ -lcmocka

# The sanitizer of threads goes with no other. Who waits for a lock lets the others run: there may be
# fewer processors than threads.
THREADS_C := tests/host/test_shadow_threads.c arch/x86_64/lib/printf.c arch/x86_64/lib/spinlock.c \
	$(filter-out paging/host%,$(sort $(wildcard paging/*.c)))
$(H)/tests/test_shadow_threads: $(THREADS_C) $(HEADERS) $(H)/flags
	@mkdir -p $(@D)
	$(call quiet,HOSTCC) $(CC) -std=gnu11 -O1 -g -fsanitize=thread -D_GNU_SOURCE -include sched.h \
		-D__builtin_ia32_pause=sched_yield $(WARN) -I. -o $@ $(THREADS_C) -lcmocka -lpthread

.PHONY: host-tests tests guest-tests bench-parts
host-tests: $(HOST_BINS)
tests: host-tests guest-tests fuzz-targets
	@$(MAKE) BUILD=debug $(B)/debug/umbra.elf

# --- fuzzers --------------------------------------------------------------------------------

FUZZ_CFLAGS := -std=gnu11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=undefined -D_GNU_SOURCE $(WARN) -I.
FUZZ_BINS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SHARED := tests/fuzz/world.c tests/host/oracle.c arch/x86_64/lib/printf.c \
	arch/x86_64/lib/spinlock.c \
	$(addprefix vmm/gdb/,packet.c reader.c regs.c stub.c stub_data.c) \
	$(filter-out paging/host%,$(sort $(wildcard paging/*.c)))
FUZZ_OBJS := $(FUZZ_SHARED:%.c=$(B)/fuzz/obj/%.o)
# What one of them has beside that.
FUZZ_LAPIC := $(sort $(wildcard vmm/lapic*.c)) vmm/dev/ioapic.c tests/host/fakes.c
FUZZ_LAPIC_OBJS := $(FUZZ_LAPIC:%.c=$(B)/fuzz/obj/%.o)
$(eval $(call stamp,$(B)/fuzz/flags,clang $(FUZZ_CFLAGS) $(FUZZ_SHARED) $(FUZZ_LAPIC)))

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_BINS)

$(B)/fuzz/obj/%.o: %.c $(B)/fuzz/flags
	@mkdir -p $(@D)
	$(call quiet,CLANG) clang $(FUZZ_CFLAGS) $(DEPFLAGS) -c $< -o $@

$(B)/fuzz/fuzz_%: $(B)/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_OBJS)
	$(call quiet,LD) clang -fsanitize=fuzzer,address,undefined -o $@ $^

$(B)/fuzz/fuzz_lapic: $(FUZZ_LAPIC_OBJS)

# The smallest set of inputs that reaches all that the kept ones and those in build/ reach.
fuzz-corpus: $(FUZZ_BINS)
	@for f in $(FUZZ_BINS); do name=$${f##*/}; old=tests/fuzz/corpus/$$name; \
		new=$(B)/fuzz/corpus.$$name; rm -rf $$new; mkdir -p $$new $$old $(B)/fuzz/corpus/$$name && \
		$$f -set_cover_merge=1 -use_counters=0 -max_len=256 $$new $$old $(B)/fuzz/corpus/$$name 2>/dev/null && \
		rm -rf $$old && mv $$new $$old || exit 1; done

# --- tiny guests ----------------------------------------------------------------------------

GUEST_ELFS := $(GUEST_ASM:tests/guest/%.asm=$(B)/guest/%.elf)
PAGING_ELFS := $(patsubst %,$(B)/guest/paging_%.elf,32 pse pae 64 la57)
guest-tests: $(GUEST_ELFS) $(PAGING_ELFS) $(B)/guest/hostile.elf $(B)/guest/race.elf $(B)/guest/latency.elf $(B)/guest/pc.elf

# Debian 12's NASM leaves out included files when it assembles and writes dependencies at once.
$(B)/guest/%.o: tests/guest/%.asm $(B)/guest/flags
	@mkdir -p $(@D)
	$(call quiet,NASM) $(NASM) $(NASM_FLAGS) -I tests/guest/ $< -o $@
	@$(NASM) -f elf64 -I tests/guest/ -M -MP -MT $@ $< >$(@:.o=.d)

$(B)/guest/%.elf: $(B)/guest/%.o tests/guest/guest.ld
	$(call quiet,LD) $(LD) -nostdlib -static -z noexecstack --no-warn-rwx-segments \
		--build-id=none -T tests/guest/guest.ld -o $@ $<

# The paging test: one source, a kernel for each paging mode.
PAGING_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -fno-pic -fno-pie -mgeneral-regs-only \
	-fno-strict-aliasing -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-tree-loop-distribute-patterns -ffunction-sections $(WARN) -I. -Iarch/x86_64/lib
PAGING_OBJS := $(PAGING_C:.c=.o) tests/guest/paging/entry.asm.o

# $(1): the kernel, $(2): PAGING in its source, $(3): its width in bits, $(4): gcc's flags for it
define paging_guest
$(B)/guest/$(1)/%.o: %.c $(H)/flags
	@mkdir -p $$(@D)
	$$(call quiet,CC) $(CC) $(PAGING_CFLAGS) -m$(3) $(4) -DPAGING=$(2) $$(DEPFLAGS) -c $$< -o $$@

$(B)/guest/$(1)/%.asm.o: %.asm
	@mkdir -p $$(@D)
	$$(call quiet,NASM) $(NASM) -f elf$(3) -Werror -DPAGING=$(2) -I tests/guest/ $$< -o $$@
	@$(NASM) -f elf$(3) -DPAGING=$(2) -I tests/guest/ -M -MP -MT $$@ $$< >$$(@:.o=.d)

$(B)/guest/$(1).elf: $(PAGING_OBJS:%=$(B)/guest/$(1)/%) tests/guest/paging/paging.ld
	$$(call quiet,LD) $(LD) -m $(if $(filter 64,$(3)),elf_x86_64,elf_i386) -nostdlib -static \
		-z noexecstack --no-warn-rwx-segments --gc-sections --build-id=none \
		-T tests/guest/paging/paging.ld -o $$@ $$(filter %.o,$$^)

-include $(PAGING_OBJS:%.o=$(B)/guest/$(1)/%.d)
endef
$(eval $(call paging_guest,paging_32,32,32,-march=i686))
$(eval $(call paging_guest,paging_pse,33,32,-march=i686))
$(eval $(call paging_guest,paging_pae,36,32,-march=i686))
$(eval $(call paging_guest,paging_64,64,64,-mno-red-zone))
$(eval $(call paging_guest,paging_la57,57,64,-mno-red-zone))

# Guests in C of their own: each folder is one.
C_GUESTS := hostile race latency

define c_guest
$(B)/guest/$(1)/%.o: %.c $(H)/flags
	@mkdir -p $$(@D)
	$$(call quiet,CC) $(CC) $(PAGING_CFLAGS) -m64 -mno-red-zone -fno-delete-null-pointer-checks \
		$$(DEPFLAGS) -c $$< -o $$@

$(B)/guest/$(1)/entry.asm.o: tests/guest/$(1)/entry.asm tests/guest/guest.inc tests/guest/lib/long.inc \
		$(B)/guest/flags
	@mkdir -p $$(@D)
	$$(call quiet,NASM) $(NASM) $(NASM_FLAGS) -I tests/guest/ $$< -o $$@

$(B)/guest/$(1).elf: $(patsubst %.c,$(B)/guest/$(1)/%.o,$(sort $(wildcard tests/guest/$(1)/*.c)) $(GUEST_LIB_C)) \
		$(B)/guest/$(1)/entry.asm.o tests/guest/$(1)/$(1).ld
	$$(call quiet,LD) $(LD) -m elf_x86_64 -nostdlib -static -z noexecstack --no-warn-rwx-segments \
		--build-id=none -T tests/guest/$(1)/$(1).ld -o $$@ $$(filter %.o,$$^)

-include $(patsubst %.c,$(B)/guest/$(1)/%.d,$(wildcard tests/guest/$(1)/*.c) $(GUEST_LIB_C))
endef
$(foreach guest,$(C_GUESTS),$(eval $(call c_guest,$(guest))))

# One on the ground of another.
PC_OBJS := $(patsubst %.c,$(B)/guest/latency/%.o,$(sort $(wildcard tests/guest/pc/*.c)) \
	tests/guest/latency/machine.c tests/guest/latency/apic.c $(GUEST_LIB_C))
$(B)/guest/pc.elf: $(PC_OBJS) $(B)/guest/latency/entry.asm.o tests/guest/latency/latency.ld
	$(call quiet,LD) $(LD) -m elf_x86_64 -nostdlib -static -z noexecstack --no-warn-rwx-segments \
		--build-id=none -T tests/guest/latency/latency.ld -o $@ $(filter %.o,$^)

-include $(PC_OBJS:.o=.d)

# Programs for a Linux guest, for 64-bit and 32-bit kernels.
# $(1): its width in bits, $(2): gcc's flags for it
define linux_program
$(B)/guest/linux/stress-$(1): tests/guest/linux/stress_probe.c tests/guest/linux/stress_shared.c
$(B)/guest/linux/%-$(1): tests/guest/linux/%.c tests/guest/linux/sys.c $(wildcard tests/guest/linux/*.h) \
		$(B)/guest/linux/flags
	@mkdir -p $$(@D)
	$$(call quiet,CC) $(CC) $(LINUX_CFLAGS) -m$(1) $(2) $(LINUX_LDFLAGS) -o $$@ $$(filter %.c,$$^)

$(B)/guest/initrd-stress-$(1): tests/guest/linux/stress.list $(B)/guest/linux/stress-$(1) scripts/mkinitrd
	$$(call quiet,INITRD) scripts/mkinitrd -o $$@ -D STRESS=$(CURDIR)/$(B)/guest/linux/stress-$(1) $$<

$(B)/bench/initrd-$(1): $(B)/guest/linux/micro-$(1) $(wildcard tests/bench/initrd/*) scripts/mkinitrd \
		$(D)/guests/.fetched
	@mkdir -p $$(@D)
	$$(call quiet,INITRD) scripts/mkinitrd -o $$@ -D MICRO=$(CURDIR)/$(B)/guest/linux/micro-$(1) \
		-D BUSYBOX=$(CURDIR)/$(D)/guests/busybox-$(if $(filter 32,$(1)),i386,amd64) tests/bench/initrd/list
endef
$(eval $(call linux_program,64,-mno-red-zone))
$(eval $(call linux_program,32,-march=i686))
guest-tests: $(B)/guest/initrd-stress-64 $(B)/guest/initrd-stress-32

# --- bench ----------------------------------------------------------------------------------

bench-parts: $(B)/bench/count.so $(B)/bench/paging $(B)/bench/initrd-64 $(B)/bench/initrd-32 \
	$(B)/guest/neighbour.elf $(B)/guest/latency.elf $(GUEST_FILES)

$(B)/bench/count.so: tests/bench/count.c $(H)/flags
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) -std=gnu11 -O2 $(WARN) -fPIC -shared -o $@ $<

# The engine as it is in the kernel, but for what only a kernel can have.
BENCH_C := tests/bench/paging.c $(filter-out paging/host% paging/shadow% paging/print.c,$(sort $(wildcard paging/*.c)))
$(B)/bench/paging: $(BENCH_C) $(HEADERS) $(O)/flags
	@mkdir -p $(@D)
	$(call quiet,CC) $(CC) -std=gnu11 -O2 -fno-strict-aliasing -fno-omit-frame-pointer \
		-fstack-protector-strong -D_GNU_SOURCE $(WARN) -I. -o $@ $(BENCH_C)

# --- checks -----------------------------------------------------------------------------------

CHECKED_C := $(KERNEL_C) $(HEADERS) \
	$(sort $(wildcard tests/host/*.c tests/fuzz/*.[ch] tests/bench/*.[ch] \
	tests/guest/*/*.c))

check: check-format check-layers check-headers check-functions check-faults check-differences check-tidy

format:
	@clang-format -i $(CHECKED_C)
check-format:
	@clang-format --dry-run -Werror $(CHECKED_C)
check-layers:
	@scripts/check-layers
check-headers: | $(ZYDIS_FETCHED)
	@scripts/check-headers '$(CC) $(KERNEL_CFLAGS)' '$(CC) $(HOST_CFLAGS)' $(HEADERS)
check-functions:
	@scripts/check-functions $(CHECKED_C)
# The faults of `make mutate` still fit the sources.
check-faults:
	@scripts/mutate-paging -n
check-differences:
	@scripts/check-differences
# clang has no flag for the guard's kind, and not all of gcc's warnings.
TIDY_FLAGS := $(filter-out -mstack-protector-guard=global,$(KERNEL_CFLAGS))
TIDY_STAMPS := $(KERNEL_C:%.c=$(B)/tidy/%.ok)
check-tidy: $(TIDY_STAMPS)
$(B)/tidy/%.ok: %.c .clang-tidy $(O)/flags $(HEADERS) | $(ZYDIS_FETCHED)
	@mkdir -p $(@D)
	$(call quiet,TIDY) clang-tidy --quiet --warnings-as-errors='*' $< -- $(TIDY_FLAGS) 2>$@.log \
		|| { cat $@.log; exit 1; }
	@touch $@

# Made on the way, and kept. (A bare .SECONDARY would let a header that is gone pass for made.)
.SECONDARY: $(GUEST_ELFS:.elf=.o) $(HOST_TESTS:%.c=$(H)/obj/%.o) $(HOST_SHARED:%.c=$(H)/obj/%.o)

-include $(KERNEL_OBJS:.o=.d) $(CORE_OBJS:.o=.d) $(GUEST_ELFS:.elf=.d) \
	$(HOST_TESTS:%.c=$(H)/obj/%.d) $(HOST_SHARED:%.c=$(H)/obj/%.d) $(FUZZ_OBJS:.o=.d) \
	$(FUZZ_LAPIC_OBJS:.o=.d) \
	$(FUZZ_BINS:$(B)/fuzz/%=$(B)/fuzz/obj/tests/fuzz/%.d)
