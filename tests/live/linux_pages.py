#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Linux in pages mode, with disks behind virtio and AHCI, an e1000, a balloon and a VGA: all of RAM is
what QEMU saved at marks and at the end, devices' writes are told, and nothing is that did not happen. Where
KVM emulates its guests the guest runs on a nested host, and what it leaves is looked at here.

	linux_pages.py [record DIRECTORY]	the guest alone: to DIRECTORY/linux.*"""
import collections
import glob
import json
import os
import random
import shutil
import subprocess
import sys

from live import HOST, TOP, NESTED, Tap, VMBLAME, Whole, back_end, expect, rows, run, sized

ON = "6.12"
GUEST = "6.1-amd64"
MIB = 1 << 20
PAGE = 4096
RAM = 0, 160 * MIB
VGA = 0xa0000, 0xc0000  # no RAM, as offsets
SMALLER = 124 * MIB
MODULES = "virtio_pci virtio_blk virtio_balloon ahci sd_mod e1000"
LIMIT_S = 1200
DEVICES = {  # how they write, and how much at least
    "AHCI": ("address_space_map", "wrote, and may no longer", 4096),
    "e1000": ("address_space_rw", "about to write", 500),
    "balloon": ("ram_block_discard_range", "about to write", 4096),
}


def kernel():
    """Debian's, with the drivers of real machines."""
    done = run([f"{TOP}/tests/vm/kernel.sh", GUEST], timeout=300)
    return done.out.strip() if not done.status else None


def prepare(directory, guest_kernel):
    """The initrd, two disks and what comes over the network."""
    subprocess.run([f"{TOP}/tests/guests/linux/mkinitrd.sh", f"{directory}/initrd", guest_kernel,
                    *MODULES.split()], check=True)
    data = random.Random(1).randbytes(MIB // 2)
    os.mkdir(f"{directory}/net")
    for name in ("net/data", "vda"):
        with open(f"{directory}/{name}", "wb") as out:
            out.write(data)
    with open(f"{directory}/sda", "wb") as out:
        out.truncate(4 * MIB)
    found, = glob.glob(f"{guest_kernel}/boot/vmlinuz-*")
    os.symlink(found, f"{directory}/kernel")


def command(directory):
    return ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", str(RAM[1] // MIB), "-no-reboot",
            "-serial", "stdio", "-vga", "std", "-kernel", f"{directory}/kernel", "-initrd",
            f"{directory}/initrd", "-append",
            "console=tty0 console=ttyS0 quiet nokaslr nohz=off panic=-1 vmblame.load",
            "-drive", f"if=none,id=v,format=raw,file={directory}/vda", "-device", "virtio-blk-pci,drive=v",
            "-drive", f"if=none,id=s,format=raw,file={directory}/sda", "-device", "ahci,id=a",
            "-device", "ide-hd,drive=s,bus=a.0", "-device", "virtio-balloon-pci",
            "-netdev", f"user,id=n,tftp={directory}/net", "-device", "e1000,netdev=n"]


def record(directory):
    """On a nested host the recorder shares the one emulated processor with the guest: fewer epochs."""
    options = ("--epoch", sized("10ms", "50ms"))
    with Whole(f"{directory}/linux", command(directory), RAM, VGA, mode="pages", options=options) as running:
        running.console.wait("@load begins", 120)
        running.mark()
        running.qmp("balloon", value=SMALLER)
        running.console.wait("@load shrunk", 120)
        running.mark()
        running.qmp("balloon", value=RAM[1])
        running.console.wait("@load ends", 120)
        running.end_linux()
        with open(f"{directory}/linux.said", "w", encoding="utf-8") as out:
            out.write(running.err.text())


def boot(directory):
    guest_kernel = kernel()
    expect(guest_kernel, f"no Debian kernel {GUEST}: tests/vm/kernel.sh {GUEST} fetches it")
    prepare(directory, guest_kernel)
    if back_end() != "pvm":
        record(directory)
        return
    done = run([f"{TOP}/tests/vm/run", "-t", str(LIMIT_S), "-o", directory, ON, "--", "python3",
                "tests/live/linux_pages.py", "record", directory], LIMIT_S + 100)
    expect(done.status == 0, (done.out + done.err)[-3000:])


def exact(directory, name):
    """All that is known is as it was saved, and what is not is the hole."""
    at = [] if name == "end" else ["--at", name]
    done = run([VMBLAME, "verify", f"{directory}/linux.vmb", "--ram", f"{directory}/linux.{name}", *at])
    hole = VGA[1] - VGA[0]
    expect(done.status in (0, 3) and f"{RAM[1] - hole} bytes are equal, 0 differ, {hole} are not known" in done.out,
           done.out + done.err)


def whole(directory):
    done = run([VMBLAME, "verify", f"{directory}/linux.vmb"])
    expect(done.status == 0 and "all agree" in done.out, done.out + done.err)
    print("# " + done.out.strip())


def exported(directory, kind):
    done = run([VMBLAME, "export", f"{directory}/linux.vmb", "--format", "json", "--kinds", kind])
    expect(done.status == 0, done.err)
    return [row for row in map(json.loads, done.out.splitlines()) if row["event"] == kind]


def nothing_silent(directory):
    found = exported(directory, "version")
    silent = [row for row in found if row["how"] == "scrub"]
    with open(f"{directory}/linux.said", encoding="utf-8") as text:
        said = text.read()
    expect(len(found) > 1000, f"{len(found)} versions")
    expect(not silent and "nobody was seen" not in said, f"{len(silent)} of {len(found)} versions: {silent[:3]} {said}")


def device_told(directory, writes, versions, site, phase, size):
    """Of some of its writes that a window of a version of the page has: it is among the candidates."""
    windows = collections.defaultdict(list)
    for row in versions:
        windows[int(row["gpa"], 16)].append((row["t0_ns"], row["t_ns"], row["seq"]))
    found = []
    for row in writes:
        page = int(row["gpa"], 16) // PAGE * PAGE
        if (row["site"], row["phase"]) == (site, phase) and row["placed"] and row["len"] >= size:
            found += [(page, seq) for t0_ns, t_ns, seq in windows[page] if t0_ns < row["t_ns"] <= t_ns]
    expect(len(found) > 10, f"{len(found)} versions in whose window it wrote")
    for page, seq in random.Random(1).sample(found, 10):
        changes = [row for row in rows("history", f"{directory}/linux.vmb", f"{page:#x}+{PAGE}") if row["seq"] == seq]
        expect(changes, f"{page:#x}: no version #{seq}")
        for row in changes:
            expect([one for one in row["candidates"] if one.get("site") == site], row)


def main():
    tap = Tap()
    if NESTED:
        tap.not_applicable("a Linux guest in pages mode", f"{HOST}: it is recorded on {ON}, and looked at outside")
        tap.end()
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        tap.not_applicable("a Linux guest in pages mode", "Debian's kernels come by apt-get")
        tap.end()
    directory = tap.tmp
    if tap.attempt("Linux boots, loads its disks, its card and its balloon, and powers off", boot, directory):
        tap.attempt("verify finds all as it is recorded", whole, directory)
        for name in ("mark-1", "mark-2", "end"):
            tap.attempt(f"{name}: all of RAM is what pmemsave says", exact, directory, name)
        tap.attempt("nothing is reported that nobody did", nothing_silent, directory)
        seen = exported(directory, "vmm_write"), exported(directory, "version")
        for name, how in DEVICES.items():
            tap.attempt(f"what the {name} wrote is told", device_told, directory, *seen, *how)
    tap.end()


if sys.argv[1:2] == ["record"]:
    record(sys.argv[2])
else:
    main()
