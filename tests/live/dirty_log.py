#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own use of KVM's log of dirty pages while pages mode reads it: a guest that moves takes along what it
stored behind the copy's back, calc-dirty-rate finds what there is to be found, VGA and another migration may
follow; and the recording is exact all the while."""
import json
import signal
import subprocess
import time

from live import GUESTS, SLOW, Lines, Qmp, Tap, VMBLAME, Whole, expect, info, run, sized

tap = Tap()
MIB = 1 << 20
PAGE = 4096
RAM = 0, 64 * MIB
VGA = 0xa0000, 0xc0000  # no RAM, as offsets
# tests/guests/dirty.c: so many pages a turn, so long an empty loop after it
PACE = sized("64 20000", "64 5000") + " 1000000\n"
ROMS = 0xc0000, 0x100000  # kvmvapic's is the new QEMU's own
SLOWLY, FAST = 8 * MIB, 2000 * MIB
SYNCS = 3  # how often QEMU reads the log, at least


def command(*more):
    return ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "64", "-vga", "std",
            "-drive", f"if=none,id=d,format=raw,readonly=on,file={GUESTS}/dirty.img",
            "-device", "virtio-blk-pci,drive=d", *more]


def migrate(qmp, path):
    """Slowly, until the log was read some times; to its end then, at which the guest stands still."""
    qmp("migrate-set-parameters", **{"max-bandwidth": SLOWLY, "downtime-limit": 1})
    qmp("migrate", uri=f"exec:cat >{path}")
    while (status := qmp("query-migrate")).get("ram", {}).get("dirty-sync-count", 0) < SYNCS:
        expect(status["status"] not in ("completed", "failed"), status)
        time.sleep(0.05)
    qmp("migrate-set-parameters", **{"max-bandwidth": FAST, "downtime-limit": 5000})
    while (status := qmp("query-migrate"))["status"] != "completed":
        expect(status["status"] != "failed", status)
        time.sleep(0.05)
    return status["ram"]["dirty-sync-count"]


def arrived(path, saved):
    """What a QEMU that takes it in has for memory."""
    sock = tap.path("arrived.qmp")
    with subprocess.Popen(command("-serial", "null", "-S", "-incoming", f"exec:cat {path}", "-qmp",
                                  f"unix:{sock},server=on,wait=off")) as process:
        try:
            qmp = Qmp(sock, process)
            while qmp("query-status")["status"] == "inmigrate":
                time.sleep(0.05)
            qmp("pmemsave", val=RAM[0], size=RAM[1], filename=saved)
            qmp("quit")
            process.wait(60 * SLOW)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def same(one, other):
    with open(one, "rb") as a, open(other, "rb") as b:
        a, b = a.read(), b.read()
    pages = [n for n in range(0, RAM[1], PAGE) if a[n:n + PAGE] != b[n:n + PAGE] and not VGA[0] <= n < ROMS[1]]
    expect(not pages, f"{len(pages)} pages did not arrive as they were: {[hex(n) for n in pages[:8]]}")


def dirty_rate(qmp, seconds):
    """In MiB a second, as QEMU finds it by the log; and the time in which it did."""
    began = time.monotonic_ns()
    qmp("calc-dirty-rate", **{"calc-time": seconds, "mode": "dirty-bitmap"})
    while (found := qmp("query-dirty-rate"))["status"] != "measured":
        time.sleep(0.05)
    return found["dirty-rate"], began, time.monotonic_ns()


def rates_true(guest):
    """As many as there are pages with versions: however often it is stored to, QEMU counts a page once."""
    start = info(guest.trace)["start_mono_ns"]
    done = run([VMBLAME, "export", guest.trace, "--format", "json", "--kinds", "version"])
    expect(done.status == 0, done.err)
    found = [row for row in map(json.loads, done.out.splitlines()) if row["event"] == "version"]
    times = [(row["t_ns"] + start, row["gpa"]) for row in found]
    for rate, began, ended in guest.rates:
        pages = {gpa for t_ns, gpa in times if began <= t_ns < ended}
        told = len(pages) * PAGE / MIB / ((ended - began) / 1e9)
        print(f"# {rate} MiB/s, by versions {told:.1f}")
        expect(told / 2 - 1 < rate < told * 2 + 1, f"{rate} MiB/s, not {told:.1f}")


def scenario(store):
    sock = tap.path("console")
    console = ["-chardev", f"socket,id=s,path={sock},server=on,wait=off", "-serial", "chardev:s"]
    with Whole(tap.path("log"), command(*console), RAM, VGA, mode="pages") as guest:
        store.append(guest)
        line = Qmp.connect(sock, guest.process)
        said = Lines(line.makefile("rb"))
        said.wait("dirty: ready", 120)
        line.sendall(PACE.encode())
        guest.rates = [dirty_rate(guest.qmp, 2) for _ in range(2)]
        guest.moved = []
        for name in ("one", "two"):
            guest.mark()
            syncs = migrate(guest.qmp, tap.path(name + ".state"))
            guest.save(name)
            guest.moved.append((name, syncs))
            guest.qmp("cont")
        guest.rates.append(dirty_rate(guest.qmp, 2))
        guest.qmp("stop")
        guest.mark_stopped()
        guest.qmp("quit")
        expect(guest.process.wait(60 * SLOW) == 0, guest.err.text())
        guest.err.thread.join()
        expect("lost 0" in guest.err.text(), guest.err.text())


done = []
if tap.attempt("a guest that is recorded moves twice, and is measured", scenario, done):
    running = done[0]
    for moved, count in running.moved:
        print(f"# {moved}: {count} dirty syncs")
        tap.attempt(f"{moved}: arrives", arrived, tap.path(moved + ".state"), tap.path(moved + ".arrived"))
        tap.attempt(f"{moved}: all of memory as it was", same, running.saved.pop(moved), tap.path(moved + ".arrived"))
    tap.attempt("calc-dirty-rate finds as much as is dirtied", rates_true, running)
    tap.attempt("verify finds all as it is recorded, and as pmemsave says", running.verify)
tap.end()
