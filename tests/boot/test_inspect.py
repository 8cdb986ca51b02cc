"""The monitor's commands that look inside a guest, beside what the guest says of itself.

tests/guest/known_state.asm has registers, a stack and page tables with known values. Linux is
looked into after its end by a triple fault, which leaves all of it in place.
"""
import re

import lib

# What Umbra says of known_state, whatever translates for it: command, then lines of its output.
KNOWN = {
    "regs {}": [
        r"\w vcpu 0: running, 32-bit code, cpl 0, last exit ",
        "  rax 0000000011111111  rbx 0000000022222222  rcx 0000000033333333",
        "  rdx 0000000044444444  rsi 0000000055555555  rdi 0000000066666666",
        "  rflags 00000047          CF PF ZF",
        "  cs     0010  base 0000000000000000  limit ffffffff  attr c9b rx 32 dpl0",
        "  cr0    80010011          PE ET WP PG",
        "  cr4    00000010          PSE",
        r"  dr7    00000400",
    ],
    "x/3wx {} 0x400010": ["00400010: 0x12345678 0x776f6e6b 0x0000006e"],
    "x/s {} gpa:0x200014": [r'00200014: "known"'],
    "dis {} $pc 1": ["=> 0010[0-9a-f]{4}  ebfe             jmp 0x0010"],
    "bt {}": ["#0   0010[0-9a-f]{4}", "#1   0010[0-9a-f]{4}   call 0x0010",
              "#2   0010[0-9a-f]{4}   call 0x0010"],
    "tables {}": ["32, root 102000", "  0{16}-00000000003fffff -> 0 rwx-- wb 4M",
                  "  0000000000400000-0000000000400fff -> 200000 r-xu- wb 4K"],
    "walk {} 0x400010": [
        "400010 by 32, root 102000",
        r"  pd\[1\] 00103027 -> pt 103000 rwxu A",
        r"  pt\[0\] 00200025 -> 4K page 200000 r-xu A-- wb",
        "= 200010 r-xu in a 4K page",
        "  read    supervisor: passes; user: passes",
        "  write   supervisor: #PF error 0x3 P W; user: #PF error 0x7 P W U",
        "  execute supervisor: passes; user: passes",
        "gpa 200010 is memory at hpa [0-9a-f]+",
    ],
}


def outputs(text):
    """What came of each command of run=, by the command as it was echoed."""
    parts = re.split(r"^umbra> (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def expect_output(said, command, lines):
    seen = said.get(command, "")
    for line in lines:
        lib.check(re.search("^" + line, seen, re.MULTILINE), f"{command}: /{line}/", seen)


def known_state(name, more, *options, script="run-qemu"):
    """more: further commands, with a line of each one's output."""
    modules, commands = [], []
    for paging in ("nested", "shadow"):
        vm = paging[0]
        modules += lib.tiny(vm, "known_state", f"memory=16M debug-exit paging={paging}")
        commands += [command.format(vm) for command in KNOWN]
    commands += more
    # GRUB would take $pc for a variable of its own.
    run = "; ".join(["wait 2", *commands, "poweroff"]).replace("$", r"\$")
    iso = lib.make_iso(name, modules, f'com1=115200 loglevel=info "run={run}"')
    with lib.Machine(name, iso, *options, script=script) as m:
        m.expect(r"^umbra> poweroff", "work")
        said = outputs(m.text)
    for vm in "ns":
        for command, lines in KNOWN.items():
            expect_output(said, command.format(vm), lines)
    for command, line in more.items():
        expect_output(said, command, [line])


SHADOW = {
    "paging n": "n: hardware walks the nested tables",
    "paging s": "s: hardware walks the shadow's tables",
    "paging audit s": r"OK: all \d+K of the shadow",
    "paging audit n": "n has no shadow",
    "tables s shadow": r"  0000000000400000-0000000000400fff -> [0-9a-f]+ r-xu- wb 4K",
    "tables n nested": r"  0000000000000000-[0-9a-f]{16} -> [0-9a-f]+ rwx",
    "maps n": r"00000000000f0000-00000000000fffff        64K  ROM at ",
    "tables host": r"  ffffffff80200000-[0-9a-f]{16} -> 200000 r-x-",
}


def test_known_state_svm(name):
    known_state(name, {
        **SHADOW,
        "vmcb n": r"  np_control         0000000000000001  NP_ENABLE",
        "vmcb s": r"  cr0                0000000080010011  PE ET WP PG",
        "vmcs n": "this machine has SVM: vmcb shows",
    })


def test_known_state_vmx(name):
    known_state(name, {
        **SHADOW,
        "vmcs n": r"  PROC2_CONTROLS +[0-9a-f]{8} .*EPT",
        "vmcs s": r"  GUEST_CR0 +[0-9a-f]{16}  PE .*PG",
        "vmcb n": "this machine has VMX: vmcs shows",
    }, "--cpu", "corei7_haswell_4770", script="run-bochs")


def ask(m, command):
    """Type a command at the monitor's prompt; what it says."""
    m.type(command + " | cat\n")
    m.expect(re.escape(command) + r" \| cat\n", "command")
    start = m.at
    end = m.expect(r"^umbra> ", "command").start()
    return m.text[start:end]


def symbols(m):
    """Some of the kernel's, and where each ends."""
    wanted = "linux_banner|vfs_write|native_machine_emergency_restart|ksys_write"
    lines = m.command("deb64", "sort /proc/kallsyms | grep -A1 -E "
                      f"' ({wanted})$'").splitlines()
    found = {}
    for i, line in enumerate(lines[:-1]):
        words = line.split()
        if len(words) > 2 and words[2] in wanted.split("|"):
            found[words[2]] = (int(words[0], 16), int(lines[i + 1].split()[0], 16))
    lib.check(len(found) == 4, wanted, lines)
    return found


@lib.each_entry(("amd64",))
def test_linux(name, modules):
    """A Linux that has crashed: its own symbols lead to what is there."""
    modules = [(path, line.replace(" -- ", " -- reboot=t ") if " kernel " in line else line)
               for path, line in modules]
    with lib.boot(name, modules, "com1=115200 loglevel=info") as m:
        m.expect_shell("deb64")
        known = symbols(m)
        m.type("echo b >/proc/sysrq-trigger\n")
        m.expect_vm("deb64", "(?i:triple fault)")
        m.type("\n")
        m.expect(r"^umbra> ")
        banner = known["linux_banner"][0]
        out = ask(m, f"x/s deb64 {banner:x}")
        lib.check(f'{banner:x}: "Linux version ' in out, "the banner", out)
        out = ask(m, f"walk deb64 {banner:x}")
        lib.check(re.search(rf"^{banner:x} by 4level, root ", out, re.M), "a walk", out)
        lib.check(re.search(r"^  write   supervisor: #PF error 0x3 P W; user: #PF error 0x7",
                            out, re.M), "memory that is read-only", out)
        lib.check(re.search(r"^gpa [0-9a-f]+ is memory at hpa ", out, re.M), "memory", out)
        out = ask(m, "regs deb64")
        rip = int(re.search(r" rip ([0-9a-f]{16})", out).group(1), 16)
        start, end = known["native_machine_emergency_restart"]
        lib.check(start <= rip < end, f"rip from {start:x} to {end:x}", out)
        calls = [int(at, 16) for at in re.findall(r"^#\d+ +([0-9a-f]{16})",
                                                  ask(m, "bt deb64"), re.M)]
        for name_of in ("vfs_write", "ksys_write"):
            start, end = known[name_of]
            lib.check(any(start < at < end for at in calls), f"a caller in {name_of}", calls)
        if "shadow" in modules[0][1]:
            lib.check("OK: all" in ask(m, "paging audit deb64"), "a good shadow", "a wrong one")
        m.type("poweroff\n")
        m.expect_exit()
