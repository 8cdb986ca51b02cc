"""What the processor refuses to enter with, and the auditor that says why: one word of a running
guest's control block is spoiled (corrupt=, debug builds), and that word is named.
"""
import lib

REFUSED = "the processor refused the guest's state, rip 0x[0-9a-f]+, stopped"


def run_spoiled(name, expected, *options, script="run-qemu"):
    """A VM for each word: its kernel's line has corrupt=WORD. expected: by guest, the lines that
    stand before the one that says that the VM was refused, by word."""
    modules, patterns = [], []
    for guest, words in expected.items():
        for word, lines in words.items():
            vm = f"r{len(patterns)}"
            modules += lib.tiny(vm, guest, f"memory=8M debug-exit corrupt={word}")
            patterns.append(rf"umbra: {lines}\numbra: vm {vm}: {REFUSED}")
    iso = lib.make_iso(name, modules, build="debug")
    with lib.Machine(name, iso, *options, script=script) as m:
        m.expect_umbra()
        m.expect_exit()
        for pattern, (_, line) in zip(patterns, modules):
            lib.check(m.seen(pattern), f"of {line} /{pattern}/", m.text[-6000:])


def vmrun(words):
    return "SVM: VMRUN refused: " + words


# A word of the VMCB, and what the auditor says of it; of a guest in 32-bit mode without paging, and
# of one in 64-bit mode, where it is by the exit behind the @.
VMCB = {
    "efer:0": vmrun("EFER.SVME is clear"),
    "efer:0x1200": vmrun("a reserved bit of EFER is set"),
    "dr6:0x1ffff0ff0": vmrun(r"DR6\[63:32\] are not zero"),
    "dr7:0x100000400": vmrun(r"DR7\[63:32\] are not zero"),
    "intercept4:0": vmrun("the VMRUN intercept is clear"),
    "iopm_base_pa:0xfffffffff000": vmrun("the IOPM ends beyond physical memory"),
    "msrpm_base_pa:0xfffffffff000": vmrun("the MSRPM ends beyond physical memory"),
    "asid:0": vmrun("ASID is zero"),
    "cr0:0x20000011": vmrun("CR0.NW is set without CD"),
    "cr0:0x100000011": vmrun(r"CR0\[63:32\] are not zero"),
    "cr4:0x80000000": vmrun("a reserved bit of CR4 is set"),
    "event_inj:0x8000010d": vmrun("EVENTINJ holds no valid event"),
}
VMCB_64 = {
    "cs.attrib:0xe9b@20": vmrun("CS.L and CS.D both set in long mode"),
    "cr4:0x10@20": vmrun("EFER.LME and CR0.PG without CR4.PAE"),
}
# What the one takes and the other refuses.
BOCHS = {
    "n_cr3:0x8000000000000000": vmrun("a reserved bit of nCR3 is set"),
    "g_pat:2": vmrun("G_PAT holds an undefined type"),
}
QEMU_64 = {
    "cr0:0x80000010@20": vmrun("EFER.LME and CR0.PG without CR0.PE"),
    "cr3:0x8000000000000000@20": vmrun("a reserved bit of CR3 is set"),
}


def test_svm_qemu(name):
    run_spoiled(name, {"hello": VMCB, "paging_64": VMCB_64 | QEMU_64})


def test_svm_bochs(name):
    run_spoiled(name, {"hello": VMCB | BOCHS, "paging_64": VMCB_64}, script="run-bochs")


def test_line(name):
    """What corrupt= does not take: a word without a value at once, one that there is not when its
    time has come."""
    modules = [line for vm, word in (("a", "efer"), ("b", "efer:x"), ("c", "rip:1"))
               for line in lib.tiny(vm, "hello", f"memory=4M debug-exit corrupt={word}")]
    with lib.Machine(name, lib.make_iso(name, modules, build="debug")) as m:
        m.expect_umbra()
        m.expect('"corrupt=efer": not FIELD:VALUE')
        m.expect('"corrupt=efer:x": not a number')
        m.expect_vm("c", "corrupt=: no word rip of the VMCB, stopped")
        m.expect_exit()


def refused(why, field, words):
    return rf"VMX: VM entry failed: {why}\numbra: VMX: VMCS_{field}: {words} \(value 0x[0-9a-f]+\)"


def control(field, words):
    return refused(r"VM entry with invalid control field\(s\)", field, words)


def host(field, words):
    return refused(r"VM entry with invalid host-state field\(s\)", field, words)


def guest(field, words):
    return refused("invalid guest state", field, words)


# A field of the VMCS, of a guest in 32-bit mode without paging.
CONTROLS = {
    "PIN_CONTROLS:0": control("PIN_CONTROLS", "a bit that must be 1 is 0"),
    "PROC_CONTROLS:0xffffffff": control("PROC_CONTROLS", "a bit that must be 0 is 1"),
    "EXIT_CONTROLS:0": control("EXIT_CONTROLS", "a bit that must be 1 is 0"),
    "ENTRY_CONTROLS:0xffffffff": control("ENTRY_CONTROLS", "a bit that must be 0 is 1"),
    "CR3_TARGET_COUNT:5": control("CR3_TARGET_COUNT", "more than four CR3-target values"),
    "IO_BITMAP_A:1": control("IO_BITMAP_A", "not the address of a page"),
    "MSR_BITMAP:0x800": control("MSR_BITMAP", "not the address of a page"),
    "VPID:0": control("VPID", "zero"),
    "EPT_POINTER:0x1005": control("EPT_POINTER", "no type, .*"),
    "ENTRY_INTR_INFO:0x80000130": control("ENTRY_INTR_INFO", "a type of event that there is not"),
}
HOST = {
    "HOST_CR0:0": host("HOST_CR0", "a bit that VMX fixes is another"),
    "HOST_CR4:0": host("HOST_CR4", "a bit that VMX fixes is another"),
    "HOST_CR3:0x8000000000000000": host("HOST_CR3", "beyond physical memory"),
    "HOST_CS_SELECTOR:0": host("HOST_CS_SELECTOR", "null"),
    "HOST_TR_SELECTOR:0x1b": host("HOST_TR_SELECTOR", "TI or RPL is not zero"),
    "HOST_RIP:0x8000000000000000": host("HOST_RIP", "not canonical"),
    "HOST_GDTR_BASE:0x8000000000000000": host("HOST_GDTR_BASE", "not canonical"),
}
GUEST = {
    "GUEST_CR0:0x80000030": guest("GUEST_CR0", "PG without PE"),
    "GUEST_CR4:0": guest("GUEST_CR4", "a bit that VMX fixes is another"),
    "GUEST_CS_RIGHTS:0xc092": guest("GUEST_CS_RIGHTS", "a type that CS cannot have"),
    "GUEST_SS_RIGHTS:0xc083": guest("GUEST_SS_RIGHTS", "S is clear"),
    "GUEST_DS_RIGHTS:0xc013": guest("GUEST_DS_RIGHTS", "P is clear"),
    "GUEST_TR_RIGHTS:0x89": guest("GUEST_TR_RIGHTS", "no busy TSS"),
    "GUEST_ES_LIMIT:0xffff0000": guest("GUEST_ES_RIGHTS", "G does not fit the limit"),
    "GUEST_GDTR_LIMIT:0x10000": guest("GUEST_GDTR_LIMIT", "bits 31:16 are not zero"),
    "GUEST_RFLAGS:0": guest("GUEST_RFLAGS", "a reserved bit is another"),
    "GUEST_RIP:0x100000000": guest("GUEST_RIP", "bits 63:32 .*"),
    "GUEST_ACTIVITY:4": guest("GUEST_ACTIVITY", "an undefined state"),
    "GUEST_INTERRUPTIBILITY:3": guest("GUEST_INTERRUPTIBILITY", ".*"),
    "LINK_POINTER:1": refused("invalid guest state: the VMCS link pointer", "LINK_POINTER",
                              "neither all ones nor the address of a VMCS"),
}


# In 64-bit mode.
GUEST_64 = {
    "GUEST_CS_RIGHTS:0xe09b@20": guest("GUEST_CS_RIGHTS", "L and D/B both set in IA-32e mode"),
    "GUEST_EFER:0x900@20": guest("GUEST_EFER", "LMA is not the IA-32e mode guest control"),
    "GUEST_CR4:0x2010@20": guest("GUEST_CR4", "no PAE in an IA-32e mode guest"),
    "GUEST_TR_RIGHTS:0x83@20": guest("GUEST_TR_RIGHTS", "no busy TSS"),
    "GUEST_FS_BASE:0x8000000000000000@20": guest("GUEST_FS_BASE", "not canonical"),
    "GUEST_RFLAGS:0x20002@20": guest("GUEST_.*", ".*"),
}
# In PAE paging.
GUEST_PAE = {
    "GUEST_PDPTE3:0x3@20": refused("invalid guest state: loading the PDPTEs", "GUEST_PDPTE3",
                                   "a reserved bit is set"),
}


def test_vmx(name):
    expected = {"hello": CONTROLS | HOST | GUEST, "paging_64": GUEST_64, "paging_pae": GUEST_PAE}
    expected = {kernel: {"VMCS_" + field: lines for field, lines in fields.items()}
                for kernel, fields in expected.items()}
    run_spoiled(name, expected, "--cpu", "corei7_haswell_4770", script="run-bochs")
