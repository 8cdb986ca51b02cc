"""On Bochs: SVM with NRIP save and flush-by-ASID, which QEMU has not; processors that do not do.

Bochs' clock counts instructions (TICKS of them make a second), so what it times is exact.
"""
import lib

TICKS = 100_000_000
HELLO = r"hello from a tiny guest"


def boot(name, modules, *options, umbra=lib.UMBRA_LINE):
    return lib.Machine(name, lib.make_iso(name, modules, umbra), *options, "--ips", str(TICKS),
                       script="run-bochs")


def test_linux(name):
    """Debian's kernel to its shell; what it computes, its clock, its end."""
    with boot(name, lib.linux("deb64")) as m:
        m.expect(r"SVM: \d+ ASIDs NP NRIPS FlushByAsid PauseFilter$", "umbra")
        m.expect_shell("deb64", "work")
        out = m.command("deb64", "echo $((6 * 7)) from the guest; date +%F")
        lib.check("42 from the guest" in out, "'42 from the guest'", out)
        lib.check("2000-01-01" in out, "the date of the machine's RTC, 2000-01-01", out)
        out = m.command("deb64", "seq 1 1000 | md5sum")
        lib.check("53d025127ae99ab79e8502aae2d9bea6" in out, "the md5sum of 1 to 1000", out)
        m.type("poweroff\n")
        m.expect_vm("deb64", "powered off")
        m.expect_exit()


def run_guests(name, features, umbra, *options, paging="auto"):
    # Bochs 2.7 comes to a stop in real_mode for good, with nested and with shadow paging.
    ends = {guest: end for guest, end in lib.TINY_ENDS.items() if guest != "real_mode"}
    modules = lib.tiny_guests(ends, f"memory=16M debug-exit paging={paging}")
    with boot(name, modules, *options, umbra=umbra) as m:
        m.expect(rf"SVM: \d+ ASIDs {features}$", "umbra")
        m.expect_exit()
        m.expect_ends(ends)


def test_guests(name):
    run_guests(name, "NP NRIPS FlushByAsid PauseFilter", lib.UMBRA_LINE)


def test_masked(name):
    """The same without any optional feature of SVM but nested paging."""
    run_guests(name, "NP", lib.UMBRA_LINE + " svm-features=0x1")


def test_isolation(name):
    """Two guests whose registers and memory stay their own (tests/guest/isolation.asm)."""
    options = "memory=16M debug-exit"
    modules = lib.tiny("a", "isolation", options + " -- A") \
        + lib.tiny("b", "isolation", options + " -- u")
    with boot(name, modules) as m:
        for vm in "abab":
            m.expect_vm(vm, "reset by the guest, restarting", "work",
                        never="WRONG|debug-exit status|stopped")


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


def test_shadow(name):
    run_guests(name, "NP NRIPS FlushByAsid PauseFilter", lib.UMBRA_LINE, paging="shadow")


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


def test_no_svm(name):
    """An Intel processor: one line, and the machine halts; Ctrl-A X leaves Bochs."""
    with boot(name, lib.tiny("tiny", "hello"), "--cpu", "corei7_haswell_4770") as m:
        m.expect_umbra()
        m.expect(r"umbra: cannot start: ")
        m.still_runs()
        lib.check(not m.seen(HELLO), "no guest", "a guest's line")
        m.type("\x01x")
        m.expect_exit()


def test_timeout(name):
    with boot(name, lib.tiny("tiny", "hello"), "--timeout", "0.5") as m:
        m.expect_exit(124)
