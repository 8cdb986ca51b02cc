"""The virtual processor itself: what it refuses, and when it takes an interrupt."""
import lib


def expect_guest(name, guest, *lines):
    with lib.boot(name, lib.tiny("cpu", guest)) as m:
        for line in lines:
            m.expect(line, never="WRONG|refused the guest's state|cannot emulate")
        m.expect(r"vm cpu: debug-exit status 33")
        m.expect_exit()


def test_refused(name):
    """Instructions, MSRs and control register bits that this processor does not have."""
    expect_guest(name, "refused", r"32-bit: all refused", r"64-bit: all refused")


def test_sti_shadow(name):
    """No interrupt between STI and the next instruction; no tick lost in STI; HLT."""
    expect_guest(name, "sti_shadow", r"3000 ticks, none in the shadow")
