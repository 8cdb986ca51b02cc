"""On Bochs: its exact clock, features masked, processors that do not do, scripts/run-bochs.

What guests do there, on each backend: test_matrix.py.
Bochs' clock counts instructions (TICKS of them make a second), so what it times is exact.
"""
import os
import re
import subprocess

import lib
from models import MODELS

TICKS = 100_000_000
HELLO = r"hello from a tiny guest"


def boot(name, modules, *options, umbra=lib.UMBRA_LINE):
    return lib.Machine(name, lib.make_iso(name, modules, umbra), *options, "--ips", str(TICKS),
                       script="run-bochs")


def make_run(*words):
    """What `make run` with these words would do."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "-n", "-C", lib.TOP, "run", *words], env=env, check=False,
                          capture_output=True, text=True, errors="replace")


def test_product(name):
    """The product's ISO where `make run BACKEND=vmx` boots it: it chooses VMX by itself, and its first guest runs."""
    options = re.search(r"^scripts/run-bochs (.*) \S+/umbra.iso", make_run("BACKEND=vmx").stdout, re.M).group(1)
    options = options.replace("--clock real", "").split()
    with lib.Machine(name, os.path.join(lib.BUILD, "umbra.iso"), *options, keep_iso=True, script="run-bochs") as m:
        m.expect(r"VMX: VMCS .* EPT", "umbra")
        m.type("\x1dm")
        m.expect(r"^umbra> ")
        m.type("wait 3\nvms | cat\n")
        m.expect(r"^ *1[ *]deb64 +running ")
        m.type("exits deb64 | cat\n")
        m.expect(r"^total +[1-9]")
        m.type("poweroff\n")
        m.expect_exit()


def test_masked(name):
    """The tiny guests without any optional feature of SVM but nested paging."""
    modules = lib.tiny_guests(lib.TINY_ENDS, "memory=16M debug-exit")
    with boot(name, modules, umbra=lib.UMBRA_LINE + " svm-features=0x1") as m:
        m.expect(r"SVM: \d+ ASIDs NP\n", "umbra")
        m.expect_exit()
        m.expect_ends(lib.TINY_ENDS)


def masked_vmx(name, mask, features, paging="nested"):
    """The tiny guests with only these features of VMX, some of which no model lacks."""
    modules = lib.tiny_guests(lib.TINY_ENDS, f"memory=16M debug-exit paging={paging}")
    with boot(name, modules, "--cpu", "corei7_haswell_4770",
              umbra=f"{lib.UMBRA_LINE} vmx-features={mask}") as m:
        m.expect(rf"VMX: VMCS \w+{features}\n", "umbra")
        m.expect_exit()
        m.expect_ends(lib.TINY_ENDS)


def test_vmx_true_controls(name):
    """Neither them nor unrestricted guest: CR3's exits cannot be turned off."""
    masked_vmx(name, "0x0fb", " EPT VPID PreemptionTimer EPT1G PauseLoop InvVpidContext "
                              "InvEptContext")


def test_vmx_contexts(name):
    """INVVPID and INVEPT that drop everything."""
    masked_vmx(name, "0x13f", " EPT VPID UnrestrictedGuest PreemptionTimer EPT1G PauseLoop "
                              "TrueControls")


def test_vmx_vpid_and_timer(name):
    """EPT without VPIDs and without the preemption timer."""
    masked_vmx(name, "0x1f5", " EPT UnrestrictedGuest EPT1G PauseLoop InvEptContext TrueControls")


def test_vmx_nothing(name):
    """None of what is optional: shadow paging."""
    masked_vmx(name, "0", "", "shadow")


def linux_setup(name, cpu):
    """Linux' 16-bit setup code, nested where that is there, and in a shadow."""
    modules = []
    for paging in MODELS[cpu].pagings:
        modules += lib.tiny(paging, "linux16", f"memory=32M debug-exit paging={paging}")
        modules.append((lib.guest_file("vmlinuz-amd64"), f"vm={paging} initrd"))
    with boot(name, modules, "--cpu", MODELS[cpu].cpu) as m:
        m.expect_exit()
        m.expect_ends({paging: "debug-exit status 33" for paging in MODELS[cpu].pagings})


def test_linux_setup_v86(name):
    """In virtual-8086 mode, with an identity map and in a shadow."""
    linux_setup(name, "lynnfield")


def test_linux_setup_no_ept(name):
    linux_setup(name, "penryn")


def test_linux_setup_unrestricted(name):
    linux_setup(name, "haswell")


def isolation(name, *options):
    """Two guests whose registers and memory stay their own (tests/guest/isolation.asm)."""
    line = "memory=16M debug-exit"
    modules = lib.tiny("a", "isolation", line + " -- A") \
        + lib.tiny("b", "isolation", line + " -- u")
    with boot(name, modules, *options) as m:
        for vm in "abab":
            m.expect_vm(vm, "reset by the guest, restarting", "work",
                        never="WRONG|debug-exit status|stopped")


def test_isolation_svm(name):
    isolation(name)


def test_isolation_vmx(name):
    isolation(name, "--cpu", "corei7_haswell_4770")


def test_isolation_vmx_shadow(name):
    isolation(name, "--cpu", "core2_penryn_t9600")


def lapic(name, cpu, paging):
    guest = lib.tiny("odd", "lapic", f"memory=16M debug-exit apic=on paging={paging}")
    with boot(name, guest, "--cpu", cpu) as m:
        m.expect(r"the local APIC is right", never="WRONG")
        m.expect_exit()


def test_lapic_svm(name):
    lapic(name, "ryzen", "nested")


# What the processor does of a local APIC by itself, by its bit of vmx-features=.
LOCAL_APIC = {10: "ApicAccesses", 11: "X2ApicMode", 12: "ApicRegisters", 13: "VirtualInterrupts"}
VIRTUAL_INTERRUPTS = 1 << 13


def masked_apic(name, mask):
    """Virtual interrupts: for guests that keep off what Bochs does wrong of them (docs/vmx.md)."""
    line = "memory=16M debug-exit apic=on"
    modules = lib.tiny("lapic", "lapic", line) + lib.tiny("tpr", "tpr", line)
    if not mask & VIRTUAL_INTERRUPTS:
        modules += lib.tiny("shadow", "tpr", line + " paging=shadow") + lib.tiny("smp", "smp", line + " vcpus=4")
    has = "".join(" " + word for bit, word in LOCAL_APIC.items() if mask >> bit & 1)
    with boot(name, modules, "--cpu", "corei7_skylake_x",
              umbra=f"{lib.UMBRA_LINE} vmx-features={mask:#x}") as m:
        m.expect(rf"VMX: VMCS .*TprShadow{has}\n", "umbra")
        m.expect_exit()
        m.expect_ends({line.split()[0].removeprefix("vm="): "debug-exit status 33" for _, line in modules})


def masked_apic_twice(name, mask):
    for each in mask, mask & ~VIRTUAL_INTERRUPTS:
        masked_apic(name, each)


def test_lapic_vmx_all(name):
    masked_apic(name, 0x3fff)


def posted_interrupts(name, paging):
    """Processors that interrupt each other: what one posts another one's guest takes without an exit."""
    line = f"memory=16M debug-exit apic=on paging={paging}"
    modules = lib.tiny("smp", "smp", line + " vcpus=4") + lib.tiny("tpr", "tpr", line)
    with boot(name, modules, "--cpu", "corei7_skylake_x", *lib.guest_cpus(2, "run-bochs"),
              umbra=f"{lib.UMBRA_LINE} vmx-features=0x7fff") as m:
        there = "PostedInterrupts" in m.expect(r"VMX: VMCS .*VirtualInterrupts(.*)\n", "umbra")[1]
        if there:
            m.expect_exit()
            m.expect_ends({"smp": "debug-exit status 33", "tpr": "debug-exit status 33"})
    if not there:
        raise lib.Skip("this Bochs has no posted interrupts")


def test_posted_interrupts(name):
    posted_interrupts(name, "nested")


def test_posted_interrupts_shadow(name):
    posted_interrupts(name, "shadow")


def test_lapic_vmx_no_accesses(name):
    masked_apic_twice(name, 0x3bff)


def test_lapic_vmx_no_x2apic(name):
    masked_apic_twice(name, 0x37ff)


def test_lapic_vmx_no_registers(name):
    masked_apic_twice(name, 0x2fff)


def test_lapic_vmx_no_interrupts(name):
    masked_apic(name, 0x1fff)


def test_lapic_vmx(name):
    lapic(name, "corei7_haswell_4770", "nested")


def test_lapic_vmx_shadow(name):
    lapic(name, "core2_penryn_t9600", "shadow")


def test_smp_vmx_shadow(name):
    """Several vCPUs in a shadow where one would be unpaged through EPT: real mode as a task."""
    guest = lib.tiny("smp", "smp", "memory=16M vcpus=4 debug-exit apic=on paging=shadow") \
        + lib.tiny("real", "real_mode", "memory=16M vcpus=2 debug-exit apic=on paging=shadow")
    with boot(name, guest, "--cpu", "corei7_haswell_4770") as m:
        m.expect(r"all processors work together", never="WRONG")
        m.expect_exit()
        m.expect_ends({vm: "debug-exit status 33" for vm in ("smp", "real")})


def test_interrupts_off(name):
    """A guest that loops with them off does not have the machine, alone on it as it is."""
    with boot(name, lib.tiny("spin", "cli_loop", "memory=16M"), "--cpu", "corei7_haswell_4770") as m:
        m.expect(r"looping with interrupts off", "umbra")
        m.type("\x1dm")
        m.expect(r"^umbra> ")
        m.type("kill spin\r")
        m.expect_vm("spin", "killed")


def test_clocks(name):
    """Umbra's clock and timer against the machine's, to 0.1%; a reboot of the machine."""
    umbra = "com1=115200 loglevel=debug on-idle=reboot"
    with boot(name, lib.tiny("tiny", "hello"), umbra=umbra) as m:
        for _ in range(2):
            m.expect_umbra()
            for clock in (r"clock: TSC", r"timer: local APIC at"):
                khz = int(m.expect(rf"{clock} (\d+) kHz").group(1))
                lib.check(abs(khz * 1000 / TICKS - 1) < 0.001, f"{TICKS // 1000} kHz", khz)
            m.expect(HELLO)


def test_no_nested_paging(name):
    """Where there is none a shadow does, and paging=nested says why it can't be."""
    modules = lib.tiny("tiny", "hello") \
        + lib.tiny("wants", "hello", "memory=16M debug-exit paging=nested")
    with boot(name, modules, "--cpu", "turion64_tyler") as m:
        m.expect_umbra()
        m.expect_vm("tiny", "started, 16 MiB, shadow paging")
        m.expect_vm("wants", "paging=nested: this processor has no nested paging, not started")
        m.expect_vm("tiny", "debug-exit status 33")
        m.expect_exit()


def test_no_virtualization(name):
    """A processor with neither: one line, and the machine halts; Ctrl-A X leaves Bochs."""
    with boot(name, lib.tiny("tiny", "hello"), "--cpu", "athlon64_venice") as m:
        m.expect_umbra()
        m.expect(r"umbra: cannot start: ")
        m.still_runs()
        lib.check(not m.seen(HELLO), "no guest", "a guest's line")
        m.type("\x01x")
        m.expect_exit()


def test_make_run(name):
    """`make run`: BACKEND and MACHINE choose the script and the processor."""
    del name
    for words, expected in ((["BACKEND=vmx"], "run-bochs .*--cpu corei7_haswell_4770 "),
                            (["BACKEND=svm", "MACHINE=bochs"], "run-bochs .*--cpu ryzen "),
                            (["BACKEND=svm"], "run-qemu "), ([], "run-qemu ")):
        run = make_run(*words)
        lib.check(re.search(rf"^scripts/{expected}.*umbra\.iso", run.stdout, re.MULTILINE),
                  f"{expected}for make run {' '.join(words)}", run.stdout[-300:] + run.stderr)


def test_no_model(name):
    """What Bochs does not have is named, with what it has."""
    with boot(name, lib.tiny("tiny", "hello"), "--cpu", "ryzen9") as m:
        m.expect(r"^run-bochs: no CPU model ryzen9; Bochs has .*\bryzen .*\bcorei7_skylake_x ")
        m.expect_exit(1)


def test_file(name):
    """COM1 in a file; a folder that is not there is an error at once."""
    path = os.path.join(lib.WORK, name + "-com1")
    with boot(name, lib.tiny("tiny", "hello"), "--serial", path) as m:
        m.expect_exit()
    with open(path, encoding="latin-1") as f:
        lib.check(HELLO in f.read(), HELLO, "another text in the file")
    with boot(name, lib.tiny("tiny", "hello"), "--serial", path + "/com1") as m:
        m.expect(r"^run-bochs: --serial: cannot write ")
        m.expect_exit(1)


def test_timeout(name):
    with boot(name, lib.tiny("tiny", "hello"), "--timeout", "0.5") as m:
        m.expect_exit(124)
