"""What the monitor shows of exits is what a tiny guest (tests/guest/exits.asm) has provably done."""
import os
import re
import subprocess

import lib

CPUIDS, POSTS, READS = 1000, 300, 5  # as in the guest
NOWHERE = "d0000040"


def symbols(path):
    said = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return {name: int(at, 16) for at, name in re.findall(r"^(\w+) . (\w+)$", said, re.M)}


def ask(m, line):
    """What the monitor answers to a line."""
    m.type(line + "\n")
    start = m.at
    end = m.expect(r"^umbra> ", "command").start()
    return m.text[start:end].split("\n", 1)[1]


def free_bytes(m):
    return int(re.search(r"^free .* (\d+)$", ask(m, "mem"), re.M).group(1))


def check_trace(m, fault, at):
    """All exits of the loops are in the trace, at their instructions."""
    text = ask(m, "trace tiny dump | cat")
    rows = re.findall(r"^ *(\d+) ([0-9a-f]{16}) (\S+) +(\d+) (.*)$", text, re.M)
    lib.check(len(rows) >= CPUIDS + POSTS + READS, "more than a thousand lines", text[:300])
    times = [int(row[0]) for row in rows]
    lib.check(times == sorted(times), "rising TSCs", text[:300])
    lib.check(all(int(row[3]) > 0 for row in rows), "costs above 0", text[:300])
    wanted = {("cpuid_here", "cpuid", "leaf 0.0"): CPUIDS,
              ("read_here", fault, NOWHERE): READS}
    wanted.update({("post_here", "io", f"out 80 1 {n & 0xff:x}"): 1 + (n + 256 <= POSTS)
                   for n in range(1, 257)})
    for (name, kind, detail), times in wanted.items():
        found = sum(int(row[1], 16) == at[name] and row[2] == kind and row[4].startswith(detail)
                    and (kind != "io" or row[4] == detail) for row in rows)
        lib.check(found == times, f"{times} times {kind} '{detail}' at {at[name]:#x}", found)


def check_plot(name, vm, text, exits, traced):
    """What the monitor has shown becomes a picture of so many exits, by its table and by its traces."""
    plot = os.path.join(lib.TOP, "scripts", "plot-exits")
    out = os.path.join(lib.WORK, name + ".svg")
    subprocess.run([plot, "-o", out, "--vm", vm], input=text, text=True, check=True)
    with open(out, encoding="utf-8") as f:
        svg = f.read()
    os.unlink(out)
    for title in (f"{vm}: {exits} exits by kind", f"{vm}: its last {traced} exits"):
        lib.check(f">{title}<" in svg, f"'{title}' in the picture", re.findall(rf">{vm}: [^<]*<", svg))
    return svg


def counts(name, paging, *options, script="run-qemu"):
    fault = "nested-fault" if paging == "nested" else "page-fault"
    modules = lib.tiny("tiny", "exits", f"memory=16M debug-exit paging={paging}")
    iso = lib.make_iso(name, modules, 'on-idle=monitor "run=trace tiny on"')
    with lib.Machine(name, iso, *options, script=script) as m:
        m.expect(r"^exits: send g", "umbra")
        m.type("g")
        m.expect_vm("tiny", "debug-exit status 33", never="WRONG")
        m.expect(r"^umbra> ")
        table = ask(m, "exits tiny | cat")
        kinds = {kind: int(n) for kind, n in re.findall(r"^(\S+) +(\d+) +[\d.]+% ", table, re.M)}
        lib.check(kinds.get("cpuid") == CPUIDS, f"{CPUIDS} exits cpuid", table)
        lib.check(kinds.get(fault, 0) >= READS, f"at least {READS} exits {fault}", table)
        lib.check(kinds.pop("total") == sum(kinds.values()), "the sum", table)
        bars = re.findall(r"^ +\d+ +(\d+)  #", table, re.M)
        lib.check(sum(map(int, bars)) == sum(kinds.values()), "as many in the histogram", table)
        io = ask(m, "io tiny | cat")
        for row in (rf"port +80 +post +0 +{POSTS}", rf"memory +{NOWHERE} +- +{READS} +0",
                    "port +f4 +debug-exit +0 +1"):
            lib.check(re.search(f"^{row}$", io, re.M), row, io)
        check_trace(m, fault, symbols(lib.guest_file("exits.elf")))
        traces = ask(m, "trace tiny dump | cat")
        svg = check_plot(name, "tiny", f"{table}{traces}umbra> ", sum(kinds.values()), traces.count("\n") - 2)
        for kind in kinds:
            lib.check(f">{kind}<" in svg, f"bars for {kind}", svg[:500])
        held = free_bytes(m)
        ask(m, "trace tiny off")
        lib.check(free_bytes(m) == held + (128 << 10), "128 KiB back", free_bytes(m) - held)
        m.type("poweroff\n")
        m.expect_exit()


def test_nested(name):
    counts(name, "nested")


def test_shadow(name):
    counts(name, "shadow")


def test_bochs_vmx(name):
    counts(name, "nested", "--cpu", "corei7_haswell_4770", script="run-bochs")


def test_plot_smp(name):
    """The traces of all virtual CPUs are one time line, and each of them is one by its own name."""
    modules = lib.tiny("smp", "smp", "memory=16M vcpus=4 debug-exit apic=on")
    iso = lib.make_iso(name, modules, 'on-idle=monitor "run=trace smp on"')
    with lib.Machine(name, iso) as m:
        m.expect_vm("smp", "debug-exit status 33", "umbra")
        m.expect(r"^umbra> ")
        text = ask(m, "exits 1 | cat") + ask(m, "trace 1 dump | cat") + ask(m, "exits 1.2 | cat")
        rows = {n: 0 for n in range(4)}
        for part in text.split("\ntrace smp.")[1:]:
            rows[int(part[0])] = len(re.findall(r"^ *\d+ [0-9a-f]{16} \S+ +\d+ ", part, re.M))
        lib.check(all(rows.values()), "a trace of each of them", rows)
        total = [int(n) for n in re.findall(r"^total +(\d+)", text, re.M)]
        check_plot(name, "smp", text, total[0], sum(rows.values()))
        check_plot(name, "smp.2", text, total[1], rows[2])
        m.type("poweroff\n")
        m.expect_exit()


def test_crash(name):
    """The registers and events of a crashed guest are in the log, and its last exits when they are traced."""
    modules = lib.tiny("odd", "triple_fault")
    iso = lib.make_iso(name, modules, lib.UMBRA_LINE + ' "run=trace odd on"')
    with lib.Machine(name, iso) as m:
        m.expect_vm("odd", "(?i:triple).*, stopped", "umbra")
        m.expect_vm("odd", "vCPU 0, exit shutdown, cpl 0$")
        m.expect(r"^umbra:   rip 0000000000100")
        m.expect(r"^umbra:   idt 0000000000000000 limit 00000000, at gpa 0x0$")
        m.expect_vm("odd", "its last exits:")
        m.expect(r" [0-9a-f]{16} shutdown +code ")
        m.expect_exit()


def test_panic(name):
    """And so are those before a panic, behind its backtrace."""
    iso = lib.make_iso(name, lib.tiny("tiny", "exits"), '"run=trace tiny on;wait 1;panic"')
    with lib.Machine(name, iso) as m:
        m.expect(r"umbra: panic: ", "umbra")
        m.expect(r"backtrace:")
        m.expect(r"umbra: cpu 0: vm tiny vcpu 0, last exit \S+, rip 0x1000")
        for _ in range(16):
            m.expect(r"umbra: +\d+ 00000000001000[0-9a-f]{2} (io|intr) ")


def test_plot(name):
    """A capture becomes a picture; a text without tables is refused."""
    plot = os.path.join(lib.TOP, "scripts", "plot-exits")
    out = os.path.join(lib.WORK, name + ".svg")
    capture = os.path.join(lib.TOP, "tests", "boot", "exits.txt")
    os.makedirs(lib.WORK, exist_ok=True)
    subprocess.run([plot, "-o", out, capture], check=True)
    with open(out, encoding="utf-8") as f:
        svg = f.read()
    for text in ("deb64: its last 40 exits", "deb64: 1234 exits by kind", ">page-fault<",
                 ">wbinvd<", ">of their cost<"):
        lib.check(text in svg, f"'{text}' in the picture", svg[:500])
    os.unlink(out)
    for words, text in ((["-o", out], "umbra> vms\n 1 tiny  running\n"),
                        (["-o", out, "--vm", "other", capture], "")):
        run = subprocess.run([plot, *words], input=text, capture_output=True, text=True, check=False)
        lib.check(run.returncode != 0 and "no table of `exits`" in run.stderr, "a complaint",
                  run.stderr)
        lib.check(not os.path.exists(out), "no picture", out)


CHANGES = 1000  # of CR8 up and down, twice; as in tests/guest/tpr.asm


def cr8(name, paging, most, *options, script="run-qemu"):
    """What CR8 keeps out and lets in (tests/guest/tpr.asm), with at most so many exits for it."""
    modules = lib.tiny("tpr", "tpr", f"memory=16M debug-exit apic=on paging={paging}")
    iso = lib.make_iso(name, modules, lib.UMBRA_LINE + " on-idle=monitor")
    with lib.Machine(name, iso, *options, script=script) as m:
        m.expect_vm("tpr", "debug-exit status 33", never="WRONG")
        m.expect(r"^umbra> ")
        table = ask(m, "exits tpr | cat")
        found = sum(int(n) for n in re.findall(r"^cr-(?:read|write) +(\d+) ", table, re.M))
        lib.check(found <= most, f"at most {most} exits for control registers", table)
        m.type("poweroff\n")
        m.expect_exit()


def test_cr8_svm(name):
    """QEMU takes reserved bits: each write exits."""
    cr8(name, "nested", 4 * CHANGES + 80)


def test_cr8_svm_bochs(name):
    """It exits while somebody waits for it: in one of the two loops."""
    cr8(name, "nested", 2 * CHANGES + 30, "--cpu", "ryzen", script="run-bochs")


def test_cr8_vmx(name):
    cr8(name, "nested", 10, "--cpu", "corei7_haswell_4770", script="run-bochs")


def test_cr8_vmx_shadow(name):
    cr8(name, "shadow", 10, "--cpu", "core2_penryn_t9600", script="run-bochs")


def apic(name, paging, most, umbra=""):
    """Exits of the same guest by kind, of which there are at most so many: TPR on the local APIC's page, EOIs, and
    interrupts to itself."""
    modules = lib.tiny("tpr", "tpr", f"memory=16M debug-exit apic=on paging={paging}")
    iso = lib.make_iso(name, modules, f"{lib.UMBRA_LINE} on-idle=monitor {umbra}")
    with lib.Machine(name, iso, "--cpu", "corei7_skylake_x", script="run-bochs") as m:
        m.expect_vm("tpr", "debug-exit status 33", never="WRONG")
        m.expect(r"^umbra> ")
        table = ask(m, "exits tpr | cat")
        found = {kind: int(n) for kind, n in re.findall(r"^([a-z-]+) +(\d+) ", table, re.M)}
        for kind in ("nested-fault", "apic-write", "apic-eoi", "intr-window"):
            lib.check(found.get(kind, 0) <= most.get(kind, 0), f"at most {most.get(kind, 0)} exits {kind}", table)
        m.type("poweroff\n")
        m.expect_exit()


def emulated(name, umbra=""):
    """How many instructions of real mode and of code without paging, in a shadow, are left for Umbra to do."""
    modules = lib.tiny("real", "real_mode", "memory=16M debug-exit paging=shadow") \
        + lib.tiny("setup", "linux16", "memory=32M debug-exit paging=shadow")
    modules.append((lib.guest_file("vmlinuz-amd64"), "vm=setup initrd"))
    iso = lib.make_iso(name, modules, f"{lib.UMBRA_LINE} on-idle=monitor {umbra}")
    found = {}
    with lib.Machine(name, iso, "--cpu", "corei7_haswell_4770", script="run-bochs") as m:
        m.expect(r"^umbra> ", "umbra")
        m.expect_ends({vm: "debug-exit status 33" for vm in ("real", "setup")})
        for vm in ("real", "setup"):
            table = ask(m, f"exits {vm} | cat")
            lib.check(re.search(r"^total +[1-9]\d* ", table, re.M), "exits", table)
            found[vm] = sum(int(n) for n in re.findall(r"^emulate +(\d+) ", table, re.M))
        m.type("poweroff\n")
        m.expect_exit()
    return found


def test_unpaged_vmx_shadow(name):
    """A processor with EPT and unrestricted guest runs it all by itself."""
    found = emulated(name)
    lib.check(not any(found.values()), "no exits `emulate`", found)


def test_unpaged_vmx_restricted(name):
    """Without unrestricted guest some are left."""
    found = emulated(name, "vmx-features=0x3ffb")
    lib.check(all(found.values()), "exits `emulate`", found)


ONE_READ = {"nested-fault": 1}  # of PPR, which the processor leaves to Umbra


def test_apic_vmx(name):
    """The processor does it all, where it is told to: Bochs errs in what this guest does not do."""
    apic(name, "nested", ONE_READ, "vmx-features=0x3fff")


def test_apic_vmx_shadow(name):
    """EOIs and interrupts to itself are for Umbra, the reads are not."""
    apic(name, "shadow", {**ONE_READ, "apic-write": 16, "intr-window": 14})
