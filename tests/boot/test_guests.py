"""Guests that do what no guest should: a PC's answer, one line from Umbra, no harm to others."""
import lib


def expect_guest(name, guest, *lines):
    """The guest alone says and causes these lines, and the machine ends as usual."""
    with lib.boot(name, lib.tiny("odd", guest)) as m:
        for line in lines:
            m.expect(line, never="WRONG|still alive|woken")
        m.expect_exit()


def test_hello(name):
    """Debug exit: the VM stops with (value << 1) | 1."""
    expect_guest(name, "hello", r"hello from a tiny guest", r"vm odd: debug-exit status 33")


def expect_multiboot(name, guest):
    """The kernel is told its own line and its modules, in order and with their lines."""
    modules = lib.tiny("odd", guest, "memory=16M debug-exit -- line of the kernel")
    modules += [(lib.scratch(name + "-one", b"\x11" * 5000), "vm=odd module -- first one"),
                (lib.scratch(name + "-two", b"\x22\x33\x44"), "vm=odd module")]
    with lib.boot(name, modules) as m:
        m.expect(r"multiboot \d: all as it should be", never="WRONG|not started")
        m.expect(r"vm odd: debug-exit status 33")
        m.expect_exit()


def test_multiboot1(name):
    expect_multiboot(name, "multiboot1")


def test_multiboot2(name):
    expect_multiboot(name, "multiboot2")


def test_bad_opcode_first(name):
    expect_guest(name, "bad_opcode", r"vm odd: .*(?i:triple).*, stopped")


def test_bad_opcode_handled(name):
    expect_guest(name, "bad_opcode_handled", r"invalid opcode handled", r"vm odd: debug-exit status 33")


def test_triple_fault(name):
    expect_guest(name, "triple_fault", r"about to triple-fault", r"vm odd: .*(?i:triple).*, stopped")


def test_idt_nowhere(name):
    expect_guest(name, "idt_nowhere", r"about to triple-fault", r"vm odd: triple fault.*, stopped")


def test_cr3_nowhere(name):
    expect_guest(name, "cr3_nowhere", r"about to triple-fault", r"vm odd: triple fault.*, stopped")


def test_triple_fault_restart(name):
    """on-crash=restart: it comes up again, and again."""
    with lib.boot(name, lib.tiny("odd", "triple_fault", "memory=16M on-crash=restart")) as m:
        for _ in range(3):
            m.expect(r"about to triple-fault")
        m.still_runs()


def test_reset_loop(name):
    """A guest that resets itself at once and for ever leaves Linux beside it its time."""
    modules = lib.linux("deb64") + lib.tiny("loop", "reset_loop", "memory=512M")
    with lib.boot(name, modules) as m:
        m.expect_vm("loop", "reset by the guest, restarting", "umbra")
        m.expect_vm("loop", "started")
        m.expect_shell("deb64", "work")
        out = m.command("deb64", "seq 1 1000 | wc -l", "work")
        lib.check("1000" in out, "1000", out)


def test_isolation(name):
    """Registers and memory are new at each start, and each VM's own while two take turns."""
    options = "memory=16M debug-exit"
    modules = lib.tiny("a", "isolation", options + " -- A") \
        + lib.tiny("b", "isolation", options + " -- u")
    with lib.boot(name, modules) as m:
        for vm in "abab":
            m.expect_vm(vm, "reset by the guest, restarting", "work",
                        never="WRONG|debug-exit status|stopped")


def test_jump_unmapped(name):
    expect_guest(name, "jump_unmapped", r"about to jump",
                 r"invalid opcode at the unmapped address|vm odd: .*d0000000")


def test_rom_write(name):
    expect_guest(name, "rom_write", r"the ROM did not change", r"vm odd: debug-exit status 33")


def test_absent_device(name):
    expect_guest(name, "absent_device", r"absent devices read as ones", r"vm odd: debug-exit status 33")


def test_task_switch(name):
    """TCG does them itself, without an exit: what the guest expects is what a PC does."""
    expect_guest(name, "task_switch", r"INT through a task gate", r"a virtual-8086 task",
                 r"all task switches done", r"vm odd: debug-exit status 33")


def test_no_debug_exit(name):
    """Without `debug-exit` on its line, port 0xf4 is a port that nobody answers."""
    with lib.boot(name, lib.tiny("odd", "hello", "memory=16M")) as m:
        m.expect(r"hello from a tiny guest")
        m.still_runs()
        lib.check(not m.seen(r"vm odd: debug-exit status 33"), "no debug exit", "one")


def many_guests():
    return lib.linux("deb64") + lib.tiny("loops", "cli_loop") + lib.tiny("halts", "cli_hlt") \
        + lib.tiny("crashes", "triple_fault") + lib.tiny("opcode", "bad_opcode")


def run_many(machine):
    """One guest loops with interrupts off, one halts so, two crash: Linux does its work."""
    machine.expect_umbra()
    machine.expect_shell("deb64", "work")
    for vm in ("crashes", "opcode"):
        lib.check(machine.seen(rf"vm {vm}: .*(?i:triple)"), f"a line on {vm}'s triple fault",
                  machine.text[-300:])
    out = machine.command("deb64", "seq 1 1000 | wc -l", "work")
    lib.check("1000" in out, "1000", out)
    machine.type("poweroff\n")
    machine.expect_vm("deb64", "powered off")
    machine.still_runs()


def test_beside_linux(name):
    with lib.boot(name, many_guests()) as m:
        run_many(m)


def test_debug_build(name):
    """The same with UBSan's traps and the lock-order checks built in."""
    with lib.Machine(name, lib.make_iso(name, many_guests(), build="debug")) as m:
        run_many(m)
