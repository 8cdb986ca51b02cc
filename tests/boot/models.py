"""The machines that Umbra is tried on: QEMU's and Bochs' processor models, and what each can."""
import dataclasses

import lib

MODES = ("32", "pse", "pae", "64")

# Where a processor's own paging departs from the manuals, by the guest's mode: the names are
# tests/guest/paging's, docs/testing.md explains them.
EXACT = {mode: set() for mode in MODES}
TCG = {
    "32": {"walk-sets-a"},
    "pse": {"walk-sets-a", "rsvd-without-p"},
    "pae": {"walk-sets-a", "rsvd-without-p", "late-pdptes", "unchecked-pdptes"},
    "64": {"walk-sets-a", "rsvd-without-p", "bit8-ignored", "eager-a-1g"},
    "la57": {"walk-sets-a", "rsvd-without-p", "bit8-ignored", "eager-a-1g"},
}
BOCHS_AMD = {
    "32": {"implicit-honours-ac"},
    "pse": {"implicit-honours-ac"},
    "pae": {"implicit-honours-ac", "late-pdptes", "unchecked-pdptes"},
    "64": {"implicit-honours-ac", "bit8-ignored"},
}
BOCHS_SMAP = {mode: {"implicit-honours-ac"} for mode in MODES}


# For a Linux kernel's line: Bochs' XSAVEC is wrong, see docs/testing.md.
NO_XSAVEC = "clearcpuid=xsavec"


@dataclasses.dataclass(frozen=True)
class Model:
    """A machine with one of the backends.

    has: the features that Umbra's line on the backend names, all of them.
    """
    backend: str
    script: str
    cpu: str
    has: str
    departs: dict
    nested: bool = True

    @property
    def pagings(self):
        return lib.PAGINGS if self.nested else ("shadow",)

    def boot(self, name, modules, *options, umbra=lib.UMBRA_LINE, build="."):
        """Boot with these modules; Umbra names the backend and its features first."""
        cpu = ("--cpu", self.cpu) if self.cpu else ()
        return lib.Machine(name, lib.make_iso(name, modules, umbra, build), *cpu, *options,
                           script=self.script)

    def expect_backend(self, machine):
        machine.expect_umbra()
        found = machine.expect(r"^umbra: (SVM|VMX): (?:\d+ ASIDs|VMCS \w+)(.*)\n", "umbra",
                               never="cannot start")
        lib.check(found[1] == self.backend.upper(), f"the backend {self.backend}", found[0])
        if self.emulated(machine):
            lib.check(found[2].strip() == self.has, f"the features '{self.has}'", found[0])

    def emulated(self, machine):
        """Is the processor one that an emulator made (and not KVM's)?"""
        return self.script != "run-qemu" or bool(machine.seen("accelerator TCG"))


def _bochs(backend, cpu, has, departs=None, **more):
    return Model(backend, "run-bochs", cpu, has, departs or EXACT, **more)


# What newer processors do of it, and Bochs does right.
LOCAL_APIC = "TprShadow ApicAccesses X2ApicMode ApicRegisters"

MODELS = {
    "tcg": Model("svm", "run-qemu", "", "NP", TCG),
    "max": Model("svm", "run-qemu", "max", "NP", TCG),
    "ryzen": _bochs("svm", "ryzen", "NP NRIPS FlushByAsid PauseFilter", BOCHS_AMD),
    "turion": _bochs("svm", "turion64_tyler", "", nested=False),
    "penryn": _bochs("vmx", "core2_penryn_t9600", "TrueControls TprShadow ApicAccesses",
                     nested=False),
    "lynnfield": _bochs("vmx", "corei5_lynnfield_750",
                        "EPT VPID PreemptionTimer InvVpidContext InvEptContext TrueControls "
                        "TprShadow ApicAccesses X2ApicMode"),
    "sandy": _bochs("vmx", "corei7_sandy_bridge_2600k",
                    "EPT VPID UnrestrictedGuest PreemptionTimer InvVpidContext InvEptContext "
                    "TrueControls TprShadow ApicAccesses X2ApicMode"),
    "haswell": _bochs("vmx", "corei7_haswell_4770",
                      "EPT VPID UnrestrictedGuest PreemptionTimer EPT1G PauseLoop "
                      f"InvVpidContext InvEptContext TrueControls {LOCAL_APIC}"),
    "skylake": _bochs("vmx", "corei7_skylake_x",
                      "EPT VPID UnrestrictedGuest PreemptionTimer EPT1G PauseLoop "
                      f"InvVpidContext InvEptContext TrueControls {LOCAL_APIC}", BOCHS_SMAP),
}
