"""KVM as a peer: an initrd for Debian's amd64 kernel whose init runs one guest in QEMU with KVM.

QEMU and its libraries are this machine's, KVM's modules those of the kernel's package, which
scripts/fetch-guests keeps in deps/debs.
"""
import glob
import os
import re
import shutil
import subprocess

MODULES = ["virt/lib/irqbypass", "arch/x86/kvm/kvm", "drivers/crypto/ccp/ccp",
           "arch/x86/kvm/kvm-amd"]
FIRMWARE = ["/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/linuxboot_dma.bin",
            "/usr/share/qemu/kvmvapic.bin"]
QEMU = "/usr/bin/qemu-system-x86_64"
NODES = ["console 5 1", "null 1 3", "zero 1 5", "random 1 8", "urandom 1 9", "kvm 10 232"]

INIT = """#!/bin/busybox sh
for m in {modules}; do
	case $m in
	kvm-amd) /bin/busybox insmod /$m.ko npt={npt} || /bin/busybox poweroff -f ;;
	*) /bin/busybox insmod /$m.ko || /bin/busybox poweroff -f ;;
	esac
done
{qemu} -M q35 -accel kvm -cpu host -m {memory} -display none -vga none -net none -nodefaults \\
	-L /firmware -serial stdio -monitor none -no-reboot -kernel /kernel -initrd /initrd \\
	-append "{line}" </dev/null
/bin/busybox poweroff -f
"""


def unpack_modules(top, into):
    debs = glob.glob(os.path.join(top, "deps", "debs", "linux-image-*_amd64.deb"))
    paths = []
    if not debs:
        raise SystemExit("bench: no package of the kernel in deps/debs: run make distclean guests")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", debs[0]], stdout=subprocess.PIPE) as tar:
        subprocess.run(["tar", "-x", "-C", into, "--wildcards", "--strip-components=3"] +
                       [f"./lib/modules/*/kernel/{m}.ko" for m in MODULES],
                       stdin=tar.stdout, check=True)
    for module in MODULES:
        paths += glob.glob(os.path.join(into, "**", os.path.basename(module) + ".ko"),
                           recursive=True)
    return paths


def libraries():
    """Where QEMU looks for each of its libraries, the loader among them."""
    said = subprocess.run(["ldd", QEMU], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", said)))


def make_initrd(top, work, kernel, initrd, npt, memory, line):
    """Write the initrd into the folder work, made anew; its path."""
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    modules = unpack_modules(top, work)
    init = os.path.join(work, "init")
    with open(init, "w", encoding="ascii") as f:
        f.write(INIT.format(modules=" ".join(os.path.basename(m) for m in MODULES), npt=npt,
                            qemu=QEMU, memory=memory, line=line))
    files = {"/bin/busybox": os.path.join(top, "deps", "guests", "busybox-amd64"), "/init": init,
             "/kernel": kernel, "/initrd": initrd, QEMU: QEMU}
    files.update({"/" + os.path.basename(m): m for m in modules})
    files.update({"/firmware/" + os.path.basename(f): f for f in FIRMWARE})
    files.update({path: path for path in libraries()})
    folders = {"/dev"}
    for path in files:
        while (path := os.path.dirname(path)) != "/":
            folders.add(path)
    listing = os.path.join(work, "list")
    with open(listing, "w", encoding="ascii") as f:
        f.writelines(f"dir {path} 755 0 0\n" for path in sorted(folders))
        f.writelines("nod /dev/{} 666 0 0 c {} {}\n".format(*node.split()) for node in NODES)
        f.writelines(f"file {name} {path} 755 0 0\n" for name, path in sorted(files.items()))
    out = os.path.join(work, "initrd")
    subprocess.run([os.path.join(top, "scripts", "mkinitrd"), "-o", out, listing], check=True)
    return out
