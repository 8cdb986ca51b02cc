"""Debian's kernel as a guest: to its shell, what works there, and how it ends."""
import hashlib
import os
import re
import time

import lib

def run_commands(machine, vm="deb64", mib=16):
    out = machine.command(vm, "echo $((6 * 7)) from the guest")
    lib.check("42 from the guest" in out, "'42 from the guest'", out)

    out = machine.command(vm, "cat /proc/cpuinfo")
    lib.check("hypervisor" in out, "the hypervisor flag in /proc/cpuinfo", out)
    lib.check("model name" in out, "a model name in /proc/cpuinfo", out)

    out = machine.command(vm, f"dd if=/dev/zero of=/tmp/z bs=64k count={mib * 16} && wc -c </tmp/z")
    lib.check(f"{mib << 20}" in out, f"{mib << 20} bytes written by dd", out)
    machine.command(vm, "rm /tmp/z")

    machine.begin("sleep 1000")
    machine.interrupt(vm)


def power_off(machine, vm="deb64"):
    """The last guest's `poweroff`: Umbra says so and powers the machine off."""
    machine.type("poweroff\n")
    machine.expect_vm(vm, "powered off")
    machine.expect_exit()


def computed(blocks, size):
    """So many blocks of numbers, and the command that makes and hashes the same in the guest."""
    last = size // 4
    block = "".join(f"{n}\n" for n in range(1, last + 1)).encode()[:size]
    data = b"".join(block + b"%d\n" % i for i in range(blocks))
    command = (f"seq 1 {last} | head -c {size} >/tmp/n; i=0; while [ $i -lt {blocks} ]; do "
               "cat /tmp/n; echo $i; i=$((i+1)); done | sha256sum")
    return data, command


def test_bios(name):
    """The product's own ISO, from BIOS."""
    iso = os.path.join(lib.BUILD, "umbra.iso")
    with lib.Machine(name, iso, "--bios", keep_iso=True) as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        run_commands(m)
        power_off(m)


def test_uefi(name):
    """The product's own ISO, from UEFI."""
    iso = os.path.join(lib.BUILD, "umbra.iso")
    with lib.Machine(name, iso, "--uefi", keep_iso=True) as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        run_commands(m)
        power_off(m)


def test_bzimage(name):
    """A kernel that unpacks itself."""
    with lib.boot(name, lib.linux("deb64", "vmlinuz-amd64")) as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        run_commands(m)
        power_off(m)


def test_bzimage_32(name):
    """One that is entered in 32-bit mode."""
    with lib.boot(name, lib.linux("deb32", "vmlinuz-686")) as m:
        m.expect_shell("deb32")
        run_commands(m, "deb32")
        power_off(m, "deb32")


def compute(machine, vm="deb64", blocks=64, size=1 << 20, forks=1000):
    """64 MiB computed and hashed as on the host; 1,000 fork/execs."""
    data, command = computed(blocks, size)
    want = hashlib.sha256(data).hexdigest()
    out = machine.command(vm, command, "work")
    lib.check(want in out, f"sha256 {want} as on the host", out)
    out = machine.command(vm, f"i=0; while [ $i -lt {forks} ]; do /bin/busybox true && "
                          "i=$((i+1)) || break; done; echo ran $i", "work")
    lib.check(f"ran {forks}" in out, f"'ran {forks}' fork/execs", out)


def uptime(machine, vm):
    """The guest's clock in seconds, and the host's before it was asked and after it answered."""
    asked = time.monotonic()
    out = machine.command(vm, "cat /proc/uptime")
    return float(out.split()[0]), asked, time.monotonic()


def sleep_20(machine):
    del machine
    time.sleep(20)


def keep_time(machine, vm="deb64", meanwhile=sleep_20):
    """The guest's clock against the host's, over what is done meanwhile: within 1%.

    When the guest reads its clock is known between two times of the host's only: the time that
    went by on the host lies between the shortest and the longest that these allow.
    """
    machine.command(vm, "true")
    first, asked_first, told_first = uptime(machine, vm)
    meanwhile(machine)
    second, asked_second, told_second = uptime(machine, vm)
    least, most = asked_second - told_first, told_second - asked_first
    lib.check(0.99 * least < second - first < 1.01 * most,
              "a guest's clock within 1% of the host's",
              f"{second - first:.2f} s in the guest, {least:.2f} to {most:.2f} s on the host")


def restart(machine, vm="deb64"):
    """`reboot` restarts the VM, which comes up anew; the machine stays."""
    machine.type("reboot\n")
    machine.expect_vm(vm, "reset by the guest, restarting")
    machine.expect_shell(vm)


def check_rtc(machine, vm):
    """The RTC and the kernel's clock, which was set by it at the start, have not come apart."""
    out = machine.command(vm, "cat /sys/class/rtc/rtc0/since_epoch; date +%s")
    rtc, clock = map(int, out.split())
    lib.check(abs(rtc - clock) <= 2, "the RTC within 2 s of the clock", out)


def pause(machine):
    """deb64, the first VM, stands for longer than its watchdogs wait."""
    machine.type("\x1dm\npause deb64\n")
    machine.expect("deb64: paused")
    time.sleep(25)
    machine.type("resume deb64\n")
    machine.expect("deb64: running again")
    machine.type("\x1d1")
    machine.ask_shell("deb64")


# What Linux says when it measures how fast the TSC runs: against the 8254 for long, and at all.
CALIBRATES_LONG = r"(PIT|HPET|PMTIMER) (reference )?calibration|calibrate against PIT|no reference"
CALIBRATES = CALIBRATES_LONG + "|Fast TSC calibration|Refined TSC"


def check_calibration(machine, vm, never):
    """It has not said so, some seconds after its start."""
    out = machine.command(vm, "dmesg | grep -iE 'tsc|calibrat'")
    lib.check("Calibrating delay loop (skipped)" in out, "no measured delay loop", out)
    lib.check(not re.search(never, out, re.I), f"no /{never}/", out)


def use_kvm_clock(machine, vm="deb64"):
    """It keeps time by KVM's clock from here on: of itself Linux prefers a TSC that is invariant."""
    out = machine.command(vm, "cd /sys/devices/system/clocksource/clocksource0; "
                          "echo kvm-clock >current_clocksource; cat current_clocksource; cd /")
    lib.check(out.strip() == "kvm-clock", "kvm-clock", out)


def time_over_pause(name, option=""):
    """Two vCPUs on one processor, beside a guest that never rests; and a pause."""
    modules = lib.linux("deb64", options=f"memory=256M vcpus=2 {option}") \
        + lib.tiny("spin", "cli_loop", "memory=2M")
    with lib.Machine(name, lib.make_iso(name, modules), "--smp", "1") as m:
        m.expect_shell("deb64")
        if option:
            use_kvm_clock(m)
        keep_time(m, meanwhile=pause)
        check_rtc(m, "deb64")
        keep_time(m)
        check_rtc(m, "deb64")
        bad = "unstable|Firmware Bug|mtrr: your|warp" + ("|lockup|stall" if option else "")
        out = m.command("deb64", f"dmesg | grep -E '{bad}'; true")
        lib.check(not out.strip(), "no complaints of the kernel's", out)


def test_time_over_pause(name):
    time_over_pause(name)


def test_time_over_pause_kvm(name):
    """By KVM's clock, of which the kernel's watchdogs are told of the pause as well."""
    time_over_pause(name, "pv=kvm")


@lib.each_entry()
def test_work(name, modules):
    vm, = lib.vm_names(modules)
    with lib.boot(name, modules) as m:
        m.expect_shell(vm)
        run_commands(m, vm)
        compute(m, vm)
        keep_time(m, vm)
        restart(m, vm)
        power_off(m, vm)


def test_uefi_work(name):
    """What the other tests do from BIOS, from UEFI."""
    iso = lib.make_iso(name, lib.linux("deb64"))
    with lib.Machine(name, iso, "--uefi") as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        keep_time(m)
        compute(m)
        restart(m)
        power_off(m)


def test_paste(name):
    """A page pasted at once arrives whole: nothing between the two UARTs drops a byte."""
    text = "".join(f"line {i:3} {'abcdefghij' * 5}\n" for i in range(150))
    with lib.boot(name, lib.linux("deb64")) as m:
        m.expect_shell("deb64")
        m.begin("stty -echo; echo ready; sha256sum; stty echo")
        m.expect(r"^ready$", "command")
        m.paste(text)
        time.sleep(2)
        m.type("\x04")
        m.expect(hashlib.sha256(text.encode()).hexdigest(), "command")
        m.expect_shell("deb64", "command")
        power_off(m)


def test_large_machine(name):
    """6 GiB, two processors, all that QEMU's CPU has; a guest with memory above 4 GiB."""
    iso = lib.make_iso(name, lib.linux("deb64", options="memory=4500M"))
    with lib.Machine(name, iso, "--accel", "tcg", "--cpu", "max", "--smp", "2",
                     "--memory", "6G") as m:
        m.expect_umbra()
        m.expect_shell("deb64")
        out = m.command("deb64", "grep MemTotal /proc/meminfo")
        total = int(out.split()[1]) >> 10
        lib.check(total > 4200, "more than 4200 MiB in the guest", f"{total} MiB")
        m.command("deb64", "dd if=/dev/zero of=/tmp/z bs=1M count=300 && rm /tmp/z", "work")
        power_off(m)


def test_reboot(name):
    """`reboot` restarts the VM, which comes up anew; the machine stays."""
    with lib.boot(name, lib.linux("deb64")) as m:
        m.expect_shell("deb64")
        m.command("deb64", "touch /tmp/before")
        for _ in range(2):
            m.type("reboot\n")
            m.expect_vm("deb64", "reset by the guest, restarting")
            m.expect_shell("deb64")
            out = m.command("deb64", "ls /tmp; cut -d. -f1 /proc/uptime")
            lib.check("before" not in out, "an empty /tmp after the reboot", out)
        power_off(m)


def test_kernel_panic(name):
    """A guest kernel that panics reboots, as its command line asks; nothing else suffers."""
    line = lib.LINUX_LINE + " panic=1"
    modules = lib.linux("deb64", options="memory=256M on-reset=stop", line=line)
    with lib.boot(name, modules) as m:
        m.expect_shell("deb64")
        m.type("echo c >/proc/sysrq-trigger\n")
        m.expect(r"sysrq triggered crash")
        m.expect_vm("deb64", "reset by the guest, stopped")
        m.expect_exit()


@lib.each_entry(["all"])
def test_together(name, modules):
    """Guests with different kernels reach their shells; one stops, the others go on."""
    vms = lib.vm_names(modules)
    with lib.boot(name, modules) as m:
        m.expect_umbra()
        for vm in vms[:-1]:
            m.ask_shell(vm)
            m.type("poweroff\n")
            m.expect_vm(vm, "powered off")
            m.still_runs()
        m.ask_shell(vms[-1])
        run_commands(m, vms[-1])
        power_off(m, vms[-1])
