"""Guests with several vCPUs, on two processors and in turns on one: all of them come up, and work
together."""
import functools
import hashlib
import re
import time

import lib
import test_linux
from models import MODELS, NO_XSAVEC

ALONE = True
CPUS = 2    # that guests run on
BOOTS = 5   # in a row; `tests/soak` does more
# What a kernel says of processors that it waits for in vain, and of any other fault of its own.
BAD = (r"Kernel panic|BUG:|WARNING: CPU|lockup|rcu.*stall|APIC error|No irq handler|not responding|Oops|"
       r"clocksource:.*(watchdog|unstable|skew)")
HZ = 250    # Debian's
# What each process of the load does; its number and how many lines.
JOB = "seq $1 $2 | gzip | gunzip | sort -r | sha256sum"


def machine(name, model, modules, cpus=CPUS, build="."):
    return MODELS[model].boot(name, modules, *lib.guest_cpus(cpus, MODELS[model].script), build=build)


def check_tiny(name, options, cpus, build=".", vcpus=4):
    guest = lib.tiny("smp", "smp" if vcpus == 4 else f"smp{vcpus}",
                     f"memory=16M vcpus={vcpus} debug-exit apic=on {options}")
    with machine(name, "tcg", guest, cpus, build) as m:
        m.expect(r"all processors work together", "shell", never="WRONG")
        m.expect(r"vm smp: debug-exit status 33")
        m.expect_exit()


def test_tiny_nested(name):
    """INIT, STARTUP, locks, interrupts and NMIs between processors, pages that move under all."""
    check_tiny(name, "paging=nested", CPUS)


def test_tiny_shadow(name):
    check_tiny(name, "paging=shadow", CPUS)


def test_tiny_nested_in_turns(name):
    check_tiny(name, "paging=nested", 1)


def test_tiny_shadow_in_turns(name):
    check_tiny(name, "paging=shadow", 1)


def check_init(name, model, pagings):
    guests = [line for vm in pagings
              for line in lib.tiny(vm, "init", f"memory=16M vcpus=2 debug-exit paging={vm}")]
    with machine(name, model, guests) as m:
        m.expect_exit()
        m.expect_ends({vm: "debug-exit status 33" for vm in pagings})


def test_init(name):
    """What INIT and STARTUP make of a processor, whatever it was doing."""
    check_init(name, "tcg", lib.PAGINGS)


def test_init_vmx(name):
    check_init(name, "haswell", lib.PAGINGS)


def test_tiny_nested_64(name):
    """As many as a VM may have."""
    check_tiny(name, "paging=nested", CPUS, vcpus=64)


def test_tiny_last_of_72(name):
    """On the last processors of a machine that has more than a word has bits."""
    guest = lib.tiny("smp", "smp", "memory=16M vcpus=4 debug-exit apic=on cpus=70-71")
    with MODELS["tcg"].boot(name, guest, "--smp", "72") as m:
        m.expect(r"all processors work together", "shell", never="WRONG")
        m.expect(r"vm smp: debug-exit status 33")
        m.expect_exit()


def check_held(name, model, options):
    guest = lib.tiny("held", "held", f"memory=16M vcpus=2 debug-exit apic=on {options}")
    with machine(name, model, guest) as m:
        m.expect(r"interrupts have waited", "work", never="WRONG|IF clear")
        m.expect(r"vm held: debug-exit status 33")
        m.expect_exit()


def test_held_nested(name):
    """No interrupt comes while IF is clear, though another processor sends one after the other."""
    check_held(name, "tcg", "paging=nested")


def test_held_shadow(name):
    check_held(name, "tcg", "paging=shadow")


def test_held_bochs_nested(name):
    """What Bochs' virtual interrupts would not do."""
    check_held(name, "haswell", "paging=nested")


def test_held_bochs_shadow(name):
    check_held(name, "skylake", "paging=shadow")


def check_online(m, vm, vcpus):
    """All of its processors are there."""
    out = m.command(vm, "nproc; grep -c ^processor /proc/cpuinfo; cat /sys/devices/system/cpu/online")
    lib.check(out.split() == [str(vcpus), str(vcpus), f"0-{vcpus - 1}"],
              f"{vcpus} processors online", out)


@functools.lru_cache(None)
def job_sum(number, lines):
    """What JOB prints, in this machine's own words."""
    text = sorted((f"{n}\n" for n in range(number, lines + 1)), reverse=True)
    return hashlib.sha256("".join(text).encode()).hexdigest()


def load(m, vm, vcpus, lines=10000, rounds=2):
    """Twice as many jobs as processors, at once, again and again; each has its sum right."""
    jobs = range(1, 2 * vcpus + 1)
    m.command(vm, f"job() {{ {JOB}; }}")
    out = m.command(vm, f"for r in {' '.join(map(str, range(rounds)))}; do for i in {' '.join(map(str, jobs))}; do "
                        f"job $i {lines} >/tmp/sum.$r.$i & done; wait; done; "
                        "for f in /tmp/sum.*; do echo $f $(cat $f); done; rm /tmp/sum.*", "work")
    sums = {(int(r), int(i)): found for r, i, found in re.findall(r"sum\.(\d+)\.(\d+) (\w{64})\b", out)}
    want = {(r, i): job_sum(i, lines) for r in range(rounds) for i in jobs}
    lib.check(sums == want, "the sums that the jobs have here", out)


def check_shared(m, vm, vcpus):
    """Each processor has run processes, has had ticks, and interrupts from others."""
    out = m.command(vm, "cat /proc/stat")
    busy = [int(n) for n in re.findall(r"^cpu\d+ (\d+)", out, re.M)]
    lib.check(len(busy) == vcpus and all(busy), "work done by each processor", out)
    out = m.command(vm, "cat /proc/interrupts")
    counts = {found[1]: [int(n) for n in found[2].split()]
              for found in re.finditer(rf"^ *(\w+):((?: +\d+){{{vcpus}}})", out, re.M)}
    lib.check(all(counts.get("LOC", [0])), "timer interrupts on each processor", out)
    from_others = [sum(counts.get(kind, [0] * vcpus)[n] for kind in ("RES", "CAL", "TLB"))
                   for n in range(vcpus)]
    lib.check(all(from_others), "interrupts from one processor to another, on each", out)


def check_log(m, vm):
    """The kernel has nothing to complain about."""
    out = m.command(vm, f"dmesg | grep -E '{BAD}'; true")
    lib.check(not re.search(BAD, out), "no such lines in the kernel's log", out)


def ticks(m, vm):
    """Timer interrupts so far, on all processors, and the seconds since the boot."""
    out = m.command(vm, "grep LOC: /proc/interrupts; cat /proc/uptime")
    return (sum(map(int, re.search(r"LOC:((?: +\d+)+)", out)[1].split())),
            float(re.search(r"^(\d+\.\d+) ", out, re.M)[1]))


def check_idle(m, vm, vcpus, seconds=5):
    """After all that its processors do without their ticks again, most of the time."""
    before, since = ticks(m, vm)
    time.sleep(seconds)
    after, now = ticks(m, vm)
    most = vcpus * HZ * (now - since) / 4
    lib.check(after - before < most, f"fewer than {most:.0f} timer interrupts while idle", str(after - before))


def linux(kernel, options, vcpus, line=lib.LINUX_LINE):
    memory = max(256, 128 + 8 * vcpus)  # MiB
    return lib.linux("smp", kernel, f"memory={memory}M vcpus={vcpus} apic=on {options}", line)


def check_linux(name, kernel, options, vcpus):
    with machine(name, "tcg", linux(kernel, options, vcpus)) as m:
        m.expect_shell("smp", "work")
        check_online(m, "smp", vcpus)
        if "shadow" in options:
            load(m, "smp", vcpus, lines=4000, rounds=1)
        else:
            load(m, "smp", vcpus)
        check_shared(m, "smp", vcpus)
        check_log(m, "smp")
        m.type("poweroff\n")
        m.expect_vm("smp", "powered off")
        m.expect_exit()


def test_amd64_nested_2(name):
    check_linux(name, "vmlinux-amd64", "paging=nested", 2)


def test_amd64_nested_4(name):
    check_linux(name, "vmlinux-amd64", "paging=nested", 4)


def test_amd64_nested_8(name):
    """Four times as many as the machine has."""
    with machine(name, "tcg", linux("vmlinux-amd64", "paging=nested", 8)) as m:
        m.expect_shell("smp", "work")
        check_online(m, "smp", 8)
        load(m, "smp", 8, lines=1000, rounds=1)
        check_shared(m, "smp", 8)
        check_idle(m, "smp", 8)
        check_log(m, "smp")
        m.type("poweroff\n")
        m.expect_vm("smp", "powered off")
        m.expect_exit()


def test_amd64_shadow_2(name):
    check_linux(name, "vmlinux-amd64", "paging=shadow", 2)


def test_amd64_shadow_4(name):
    check_linux(name, "vmlinux-amd64", "paging=shadow", 4)


def test_686_pae_nested_2(name):
    check_linux(name, "vmlinuz-686-pae", "paging=nested", 2)


def test_686_pae_shadow_2(name):
    check_linux(name, "vmlinuz-686-pae", "paging=shadow", 2)


def check_briefly(name, model, options, vcpus=2):
    """On any model; less of everything."""
    modules = linux("vmlinux-amd64", options, vcpus, f"{lib.LINUX_LINE} cryptomgr.notests {NO_XSAVEC}")
    with machine(name, model, modules) as m:
        m.expect_shell("smp", "work")
        check_online(m, "smp", vcpus)
        load(m, "smp", vcpus, lines=1000, rounds=1)
        check_shared(m, "smp", vcpus)
        check_log(m, "smp")
        if MODELS[model].backend == "vmx":
            test_linux.check_calibration(m, "smp", test_linux.CALIBRATES)
        m.type("poweroff\n")
        m.expect_vm("smp", "powered off")
        m.expect_exit()


def test_bochs_nested(name):
    check_briefly(name, "haswell", "paging=nested")


def test_bochs_nested_x2apic(name):
    """x2APICs."""
    check_briefly(name, "haswell", "paging=nested pv=kvm")


def test_bochs_shadow(name):
    """With SMAP."""
    check_briefly(name, "skylake", "paging=shadow")


def test_bochs_svm(name):
    """SVM with a pause filter and as many ASIDs as one likes."""
    check_briefly(name, "ryzen", "paging=nested")


def check_tiny_bochs(name, model, options):
    guest = lib.tiny("smp", "smp", f"memory=16M vcpus=4 debug-exit apic=on {options}")
    with machine(name, model, guest) as m:
        m.expect(r"all processors work together", "work", never="WRONG")
        m.expect(r"vm smp: debug-exit status 33")
        m.expect_exit()


def test_bochs_no_timer(name):
    """Where a guest with interrupts off is left at its PAUSEs alone."""
    check_tiny_bochs(name, "penryn", "paging=shadow")


def test_bochs_no_filter(name):
    """The same on AMD's: where no filter of PAUSEs is, and no timer."""
    check_tiny_bochs(name, "turion", "paging=shadow")


def test_bochs_pause_loops(name):
    """Where spinning exits, whoever spins alone asks for one of the other CPU's."""
    check_tiny_bochs(name, "haswell", "paging=nested")


def check_boot(m, vm, vcpus):
    """It comes up with all processors."""
    m.expect_shell(vm, "work")
    check_online(m, vm, vcpus)
    load(m, vm, vcpus, lines=1000, rounds=1)
    check_log(m, vm)


def boot_again(m, vm, vcpus):
    """It resets itself, as a kernel does that has no time, and comes up again."""
    m.type("reboot -f\n")
    m.expect_vm(vm, "restarting", never=BAD)
    check_boot(m, vm, vcpus)


def boots(name, options, vcpus):
    umbra = lib.UMBRA_LINE + ' "run=trace smp on"'  # a crash shows what came before it
    with MODELS["tcg"].boot(name, linux("vmlinux-amd64", options, vcpus), *lib.guest_cpus(CPUS), umbra=umbra) as m:
        check_boot(m, "smp", vcpus)
        for _ in range(BOOTS - 1):
            boot_again(m, "smp", vcpus)


def test_boots_nested(name):
    """Some boots in a row, none of which fails."""
    boots(name, "paging=nested", 4)


def test_boots_shadow(name):
    boots(name, "paging=shadow", 2)
