"""Several guests, and the operator's hand on them: pause, reset, kill, start; no frame is lost."""
import re
import time

import lib
import test_guests

HASWELL = ["--cpu", "corei7_haswell_4770", "--ips", "100000000"]
TO_MONITOR = "\x1dm"  # Ctrl-] m; with a digit: to that guest


def monitor(machine):
    machine.type(TO_MONITOR)
    machine.expect(r"umbra> ")


def order(machine, command, answer):
    """Type a command at the monitor's prompt; the match of what is to come of it."""
    machine.type(command + "\n")
    return machine.expect(answer)


def states(machine):
    """NAME -> state, as `vms` has it."""
    machine.type("vms\n")
    machine.expect(r"^ # NAME ")
    table = {}
    while True:
        line = machine.expect(r"^(?: *\d+[ *](\S+) +(\S.*?) {2,}\d|umbra> )")
        if not line.group(1):
            return table
        table[line.group(1)] = line.group(2).strip()


def free_bytes(machine):
    machine.type("mem\n")
    return int(machine.expect(r"^free +\d+ +\d+ +\d+ +(\d+)$").group(1))


def test_linux(name):
    """A Linux guest is paused and goes on, hears its power button, is reset, killed."""
    with lib.boot(name, lib.linux("deb64") + lib.tiny("other", "cli_hlt", "memory=2M")) as m:
        m.expect_shell("deb64")
        m.command("deb64", "touch /tmp/before")
        monitor(m)
        order(m, "pause deb64", r"deb64: paused")
        order(m, "pause deb64", r"deb64 is paused: nothing done")
        order(m, "start deb64", r"deb64 is paused")
        lib.check(states(m) == {"deb64": "paused", "other": "running"}, "deb64 paused",
                  m.text[-500:])
        m.type("\x1d1\necho a''live\n")
        time.sleep(3)
        lib.check(not m.seen("^alive$"), "silence of the paused guest", m.text[-500:])
        monitor(m)
        order(m, "resume deb64", r"deb64: running again")
        order(m, "resume deb64", r"deb64 is running: nothing done")
        m.type("\x1d1")
        m.expect(r"^alive$", "command")
        m.ask_shell("deb64")
        monitor(m)
        order(m, "stop deb64", r"power button is pressed")
        m.type("\x1d1")
        m.ask_shell("deb64")
        # The status of PM1: the initrd has no driver that would clear it.
        out = m.command("deb64", "dd if=/dev/port bs=1 skip=1537 count=1 2>/dev/null | od -An -tx1")
        lib.check("01" in out, "PWRBTN set", out)
        monitor(m)
        order(m, "reset deb64", r"vm deb64: started")
        m.type("\x1d1")
        m.ask_shell("deb64")
        out = m.command("deb64", "ls /tmp; cut -d. -f1 /proc/uptime")
        lib.check("before" not in out, "an empty /tmp after the reset", out)
        monitor(m)
        order(m, "kill deb64", r"vm deb64: killed")
        order(m, "kill deb64", r"deb64 is killed: nothing done")
        order(m, "resume deb64", r"deb64 is killed: nothing done")
        lib.check(states(m)["deb64"] == "killed", "deb64 killed", m.text[-500:])
        order(m, "kill other", r"vm other: killed")
        m.still_runs()
        m.type("poweroff\n")
        m.expect_exit()


def four_kinds():
    """One spins, one changes its shadow, one crashes and restarts, one crashes and is kept."""
    return lib.tiny("a", "neighbour", "memory=2M paging=nested -- c") \
        + lib.tiny("b", "neighbour", "memory=16M paging=shadow -- r") \
        + lib.tiny("c", "neighbour", "memory=2M on-crash=restart -- x") \
        + lib.tiny("d", "triple_fault", "memory=2M")


def run_script(name, *options, **machine):
    """The boot line's commands in all states of a VM; what is free at the end was free before."""
    lives = "start a;start b;start c;start d;wait 1;pause a;reset a;reset b;pause b;vms;" \
        "kill a;kill b;kill c;kill d;mem;"
    run = "wait 1;kill a;kill b;kill c;kill d;mem;" + 3 * lives + "poweroff"
    iso = lib.make_iso(name, four_kinds(), lib.UMBRA_LINE + f' "run={run}"')
    with lib.Machine(name, iso, *options, **machine) as m:
        m.expect_exit()
        free = re.findall(r"^free +\d+ +\d+ +\d+ +(\d+)$", m.text, re.M)
        lib.check(len(free) == 4 and len(set(free)) == 1, "4 times the same bytes free", free)
        for state in ("(?:starting|running)", "paused", "triple fault"):
            lib.check(len(re.findall(rf"^ \d[ *][abcd] +{state} ", m.text, re.M)) >= 3,
                      f"3 VMs at least: {state}", m.text[-3000:])
        # c begins again a second after each start: which it is at when looked at is chance.
        lib.check(len(re.findall(r"^ \d[ *]c +(?:starting|running|restarting) ", m.text, re.M)) == 3,
                  "c between two lives or in one, 3 times", m.text[-3000:])
        lib.check(len(re.findall(r"vm c: triple fault.*, restarting", m.text)) >= 4,
                  "a crash of c in each of 4 seconds", m.text[-3000:])


def test_script(name):
    run_script(name)


def test_script_vmx(name):
    """With the deadlines of VMX's preemption timer."""
    run_script(name, *HASWELL, script="run-bochs")


def live(machine, commands, answers):
    """Give the monitor these commands at once; each of these lines comes of them, in their order."""
    machine.paste("".join(command + "\n" for command in commands))
    for answer in answers:
        machine.expect(answer, never="not started|nothing done")


def started(vms):
    return [rf"vm [{vms}]: started"] * len(vms)


def killed(vms):
    return [f"vm {vm}: killed" for vm in vms]


def all_at_once(machine):
    """The four kinds beside each other; who crashes is gone or about to start when the kill comes."""
    live(machine, [f"start {vm}" for vm in "abcd"], started("abcd"))
    live(machine, ["pause a", "resume a", "reset a", "pause b", "reset b"], started("ab"))
    live(machine, [f"kill {vm}" for vm in "abcd"], killed("abcd"))


def whole_life(machine, vm):
    live(machine, [f"start {vm}"], started(vm))
    live(machine, [f"pause {vm}", f"resume {vm}", f"reset {vm}"],
         [rf"vm {vm}: paused", rf"vm {vm}: running again", *started(vm)])
    live(machine, [f"kill {vm}"], killed(vm))


LIVES = 1000
AT_ONCE = 10  # once in so many lives all four kinds are there


def kill_restarting(machine, vm):
    """Start one that crashes, and end it while it waits for its restart."""
    order(machine, f"start {vm}", rf"vm {vm}: triple fault.*, restarting")
    for _ in range(10):
        if states(machine)[vm] == "restarting":
            order(machine, f"kill {vm}", rf"vm {vm}: killed")
            return
    raise lib.Failure(f"{vm} is never seen restarting: {machine.text[-3000:]}")


def test_frames(name):
    """Paused, resumed, reset, killed and started anew, each a thousand times: not one frame is lost.

    VMs that spin, that change a shadow; one with two processors, local APICs and KVM's clock; one with a disk.
    """
    umbra = lib.UMBRA_LINE.replace("on-idle=poweroff", "on-idle=monitor")
    modules = four_kinds() + lib.tiny("e", "neighbour", "memory=2M vcpus=2 apic=on pv=kvm -- i") \
        + lib.tiny("f", "disk_region", "memory=16M -- f")
    modules.append((lib.scratch(name + "-file", test_guests.disk_file()), "vm=f disk at=0x40000000"))
    with lib.boot(name, modules, umbra) as m:
        m.expect_vm("d", "triple fault", "umbra")
        monitor(m)
        for vm in "abcdef":
            order(m, f"kill {vm}", rf"vm {vm}: killed")
        before = free_bytes(m)
        for _ in range(3):
            kill_restarting(m, "c")
        for n in range(LIVES):
            if n % AT_ONCE == 0:
                all_at_once(m)
            whole_life(m, "abef"[n % 4])
        found = states(m)
        lib.check(found == {vm: "killed" for vm in "abcdef"}, "all killed", found)
        after = free_bytes(m)
        lib.check(after == before, f"{before} bytes free after {LIVES} lives", after)
        m.type("poweroff\n")
        m.expect_exit()


def test_idle(name):
    """With all guests halted the processor takes no interrupts but those of its own output."""
    modules = lib.tiny("a", "cli_hlt", "memory=2M") + lib.tiny("b", "cli_hlt", "memory=2M")
    iso = lib.make_iso(name, modules, lib.UMBRA_LINE + ' "run=wait 1;cpus;wait 4;cpus;poweroff"')
    with lib.Machine(name, iso) as m:
        m.expect_exit()
        counts = [int(n) for n in re.findall(r"^ +0 +0 online(?: +[\d.]+%){3} +(\d+) ", m.text, re.M)]
        lib.check(len(counts) == 2 and counts[1] - counts[0] < 100,
                  "two counts, less than 100 apart after 4 seconds", counts)


def run_many_small(name, *options, **machine):
    """32 guests at once, with different weights, each wakes as often as it should."""
    vms = [f"g{i}" for i in range(32)]
    modules = []
    for i, vm in enumerate(vms):
        words = f"memory=2M debug-exit weight={1 + 300 * i} cpus=0"
        modules += lib.tiny(vm, "neighbour", words + " -- t")
    with lib.Machine(name, lib.make_iso(name, modules), *options, **machine) as m:
        m.expect_umbra()
        m.expect_exit()
        m.expect_ends({vm: "debug-exit status 33" for vm in vms})


def test_many_small(name):
    run_many_small(name)


def test_many_small_vmx(name):
    run_many_small(name, *HASWELL, script="run-bochs")


WEIGHTS = {"light": 100, "heavy": 800}
PERIODS = 3  # of neighbour.asm's four: in the last one of the two may be alone already


def run_weights(name, *options, **machine):
    """Two that always have something to do share the processor as weight= says."""
    modules = [line for vm, weight in WEIGHTS.items()
               for line in lib.tiny(vm, "neighbour", f"memory=2M debug-exit cpus=0 weight={weight} -- w")]
    with lib.Machine(name, lib.make_iso(name, modules), *options, follow=False, **machine) as m:
        m.expect_umbra()
        m.expect_exit()
        done = {}
        for vm in WEIGHTS:
            counts = re.findall(rf"^{vm}\| worked ([0-9A-F]{{8}})$", m.text, re.M)
            lib.check(len(counts) > PERIODS, f"more than {PERIODS} counts of {vm}", m.text[-2000:])
            done[vm] = sum(int(n, 16) for n in counts[:PERIODS])
        ratio = done["heavy"] / done["light"]
        lib.check(4 < ratio < 16, "8 times as much, 4 to 16 times", (ratio, done))


def test_weights(name):
    run_weights(name, "--accel", "tcg", extra=["-icount", "shift=0,sleep=off"])


def test_weights_vmx(name):
    run_weights(name, *HASWELL, script="run-bochs")


def test_four_linux(name):
    """Two amd64, one PAE, one 686 come to their shells beside one another."""
    modules = lib.linux("one") + lib.linux("two") + lib.linux("pae", "vmlinux-686-pae") \
        + lib.linux("old", "vmlinux-686")
    with lib.boot(name, modules) as m:
        m.expect_umbra()
        for i, vm in enumerate(lib.vm_names(modules)):
            m.type(f"\x1d{i + 1}")
            m.ask_shell(vm)
            out = m.command(vm, "uname -m; hostname", "work")
            lib.check(vm in out, vm, out)
        monitor(m)
        for vm in lib.vm_names(modules):
            order(m, f"kill {vm}", rf"vm {vm}: killed")
        m.type("poweroff\n")
        m.expect_exit()
