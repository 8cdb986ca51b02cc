"""The I/O APIC, the HPET and the clocks that a guest's PC has: by a tiny guest, and by Linux."""
import re

import lib
import test_linux


def board(name, *options, script="run-qemu"):
    """tests/guest/ioapic.asm tries every register and mode; nested and shadow."""
    modules = [line for paging in ("nested", "shadow")
               for line in lib.tiny(paging, "ioapic", f"memory=16M debug-exit paging={paging}")]
    iso = lib.make_iso(name, modules)
    with lib.Machine(name, iso, *options, script=script) as m:
        m.expect_exit()
        m.expect_ends({"nested": "debug-exit status 33", "shadow": "debug-exit status 33"})


def test_ioapic_svm(name):
    board(name)


def test_ioapic_vmx(name):
    board(name, "--cpu", "corei7_haswell_4770", script="run-bochs")


def whole_pc(name, line, *options, vcpus=4, script="run-qemu"):
    """tests/guest/pc: what the tables name, register by register and mode by mode."""
    guest = lib.tiny("pc", "pc", f"memory=16M vcpus={vcpus} debug-exit {line}")
    with lib.Machine(name, lib.make_iso(name, guest), *options, *lib.guest_cpus(2, script), script=script) as m:
        m.expect(r"the PC is right", "work", never="WRONG.*\n")
        m.expect_vm("pc", "debug-exit status 33")
        m.expect_exit()


def test_pc_nested(name):
    whole_pc(name, "paging=nested")


def test_pc_nested_20(name):
    """More processors than a flat model and one of x2APIC's clusters have."""
    whole_pc(name, "paging=nested", vcpus=20)


def test_pc_shadow(name):
    whole_pc(name, "paging=shadow pv=kvm")


def test_pc_vmx(name):
    whole_pc(name, "paging=nested pv=kvm", "--cpu", "corei7_haswell_4770", script="run-bochs")


def interrupts(m, vm):
    """What /proc/interrupts calls each line: number: (controller, trigger and device)."""
    out = m.command(vm, "cat /proc/interrupts")
    return {int(irq): rest for irq, rest in re.findall(r"^ *(\d+): +\d+ +(.*?)\r?$", out, re.M)}


@lib.each_entry()
def test_apic(name, modules):
    """Linux uses what there is, by itself."""
    vm, = lib.vm_names(modules)
    with lib.boot(name, modules) as m:
        m.expect_shell(vm)
        lines = interrupts(m, vm)
        for irq, want in ((0, "IO-APIC +2-edge +timer"), (4, "IO-APIC +4-edge +ttyS0"),
                          (8, "IO-APIC +8-edge +rtc0"), (9, "IO-APIC +9-fasteoi +acpi")):
            lib.check(re.fullmatch(want, lines.get(irq, "")), f"{irq}: {want}", str(lines))
        out = m.command(vm, "cat /sys/devices/system/clocksource/*/available_clocksource")
        lib.check("hpet" in out and "tsc" in out, "hpet and tsc among the clocks", out)
        test_linux.check_calibration(m, vm, test_linux.CALIBRATES_LONG)
        m.type("poweroff\n")
        m.expect_vm(vm, "powered off")


def with_option(modules, option):
    return [(path, line.replace(" kernel ", f" kernel {option} ")) for path, line in modules]


def test_apic_off(name):
    """The old PC: 8259s, and nobody misses anything."""
    with lib.boot(name, with_option(lib.linux("deb64"), "apic=off")) as m:
        m.expect_shell("deb64")
        lines = interrupts(m, "deb64")
        lib.check(re.match("XT-PIC", lines.get(0, "")), "IRQ 0 on the 8259", str(lines))
        lib.check(not any("IO-APIC" in line for line in lines.values()), "no I/O APIC", str(lines))
        out = m.command("deb64", "cat /sys/devices/system/clocksource/*/available_clocksource")
        lib.check("hpet" not in out, "no HPET", out)
        m.type("reboot\n")
        m.expect_vm("deb64", "reset by the guest, restarting")
        m.expect_shell("deb64")
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")


def test_mp_table(name):
    """Without ACPI the MP tables say the same; 32 bits, under shadow paging."""
    modules = lib.linux("deb32", "vmlinux-686", "memory=256M paging=shadow",
                        lib.LINUX_LINE + " acpi=off")
    with lib.boot(name, modules) as m:
        m.expect_shell("deb32")
        lines = interrupts(m, "deb32")
        for irq, want in ((0, "IO-APIC +2-edge +timer"), (4, "IO-APIC +4-edge +ttyS0")):
            lib.check(re.fullmatch(want, lines.get(irq, "")), f"{irq}: {want}", str(lines))


def test_kvm_clock(name):
    """pv=kvm: Linux finds KVM's clock and keeps time by it, across `reboot` too."""
    with lib.boot(name, with_option(lib.linux("deb64"), "pv=kvm")) as m:
        m.expect_shell("deb64")
        test_linux.use_kvm_clock(m)
        m.command("deb64", "sleep 1")
        out = m.command("deb64", "dmesg | grep -i kvm")
        lib.check("Hypervisor detected: KVM" in out, "KVM detected", out)
        lib.check("using sched offset" in out, "a sched_clock by it", out)
        m.command("deb64", "sleep 2")
        test_linux.check_calibration(m, "deb64", test_linux.CALIBRATES)
        m.type("reboot\n")
        m.expect_vm("deb64", "reset by the guest, restarting")
        m.expect_shell("deb64")
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")
