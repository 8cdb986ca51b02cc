"""Guests that do what no guest should: a PC's answer, one line from Umbra, no harm to others."""
import struct

import lib


def expect_guest(name, guest, *lines):
    """The guest alone says and causes these lines, and the machine ends as usual."""
    with lib.boot(name, lib.tiny("odd", guest)) as m:
        for line in lines:
            m.expect(line, never="WRONG|still alive|woken")
        m.expect_exit()


def expect_lapic(name, options):
    guest = lib.tiny("odd", "lapic", "memory=16M debug-exit apic=on " + options)
    with lib.boot(name, guest) as m:
        m.expect(r"the local APIC is right", never="WRONG")
        m.expect(r"vm odd: debug-exit status 33")
        m.expect_exit()


def test_lapic_nested(name):
    """Every kind of interrupt that a local APIC gives its processor, in both of its modes."""
    expect_lapic(name, "paging=nested")


def test_lapic_shadow(name):
    expect_lapic(name, "paging=shadow")


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


def disk_file():
    """What tests/guest/disk_region.asm expects of its file."""
    pages = [bytearray(struct.pack("<I", 0x5a5a0000 + p) * 1024) for p in range(13)]
    pages[2][:6] = b"\xb8\x0d\x60\0\0\xc3"
    pages[4][:4] = struct.pack("<I", 0x83)
    pages[4][0x400:0x404] = struct.pack("<I", 0x40000083)
    text = b"text in the file\n\0"
    pages[5][:len(text)] = text
    return b"".join(pages)[:12 * 4096 + 100]


def test_disk_region(name):
    """Two guests, one file: each reads all of it and writes to it, and the other sees nothing."""
    path = lib.scratch(name + "-file", disk_file())
    modules = []
    for vm in "ab":
        modules += lib.tiny(vm, "disk_region", f"memory=16M debug-exit -- {vm}")
        modules += [(path, f"vm={vm} disk at=0x40000000")]
    with lib.boot(name, modules) as m:
        m.expect_exit()
        lib.check(not m.seen("WRONG"), "all right", m.text[-400:])
        for vm in "ab":
            lib.check(m.seen(rf"vm {vm}: debug-exit status 33"), f"{vm} is done", m.text[-400:])
        for line in ("text in the file", "the disk region is right"):
            lib.check(m.text.count(line) >= 1, line, m.text[-400:])


def test_disk_in_linux(name):
    """Linux keeps off the region, and finds the file there."""
    path = lib.scratch(name + "-file", disk_file())
    modules = lib.linux("deb64") + [(path, "vm=deb64 disk at=0x40000000")]
    with lib.boot(name, modules) as m:
        m.expect_shell("deb64")
        out = m.command("deb64", "dmesg | grep e820")
        lib.check("[mem 0x0000000040000000-0x000000004000cfff] reserved" in out, "a range", out)
        out = m.command("deb64", "devmem 0x40001004; devmem 0x40000010 32 7; devmem 0x40000010")
        lib.check("0x5A5A0001" in out and "0x00000007" in out, "the file's and the new word", out)


def test_disk_in_the_way(name):
    """A disk that would lie in RAM: that guest is not started."""
    path = lib.scratch(name + "-file", disk_file())
    modules = lib.tiny("bad", "hello") + [(path, "vm=bad disk at=0xfff000")]
    with lib.boot(name, modules + lib.tiny("good", "hello")) as m:
        m.expect(r"vm bad: disk at=0xfff000: 49 KiB from there meet the guest's RAM, not started")
        m.expect(r"hello from a tiny guest")
        m.expect_exit()


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
        m.ask_shell("deb64", "work")
        out = m.command("deb64", "seq 1 1000 | wc -l", "work")
        lib.check("1000" in out, "1000", out)


def test_isolation(name):
    """Registers and memory are new at each start, and each VM's own while two take turns."""
    options = "memory=16M debug-exit"
    modules = lib.tiny("a", "isolation", options + " -- A") \
        + lib.tiny("b", "isolation", options + " -- u")
    iso = lib.make_iso(name, modules)
    with lib.Machine(name, iso, "--accel", "tcg", "--cpu", "max") as m:  # it has PKRU
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


def test_real_mode(name):
    expect_guest(name, "real_mode", r"real mode: segments, INT, a fault, 4 GiB limits",
                 r"paging on and off", r"vm odd: debug-exit status 33")


def test_shadow(name):
    """All of them at once without nested paging, and each shadow audited at each 50th exit. TCG
    does task switches without an exit, with which no shadow can live."""
    ends = {guest: end for guest, end in lib.TINY_ENDS.items() if guest != "task_switch"}
    modules = lib.tiny_guests(ends, "memory=16M debug-exit paging=shadow audit=50")
    with lib.boot(name, modules) as m:
        m.expect_umbra()
        m.expect_exit()
        m.expect_ends(ends)
        lib.check(not m.seen("the shadow is wrong"), "audits that find nothing", m.text[-3000:])


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
