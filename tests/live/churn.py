#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coming and going: probes attached and detached again and again while a guest runs leave nothing
behind; of two guests at once each recording has what its own guest did, and nothing of the other's."""
import json
import os
import re
import subprocess
import time

from live import (BUILD, GUESTS, OK, SLOW, VMBLAME, Tap, back_end, expect, info, ledger, qemu,
                  ranges, record_args, rows, run, sized, truth, watch)

tap = Tap()
MADE = os.path.join(BUILD, "tests", "live")
# By four at once; LOADS=5 makes it 200 times, which takes some eight minutes: the kernel waits for a
# grace period at the end of each uprobe. A nested host, which patches its text by emulation, takes as long for one
# as this machine for four.
JOBS, ATTACHES = sized((4, 10), (1, 4))
LOADS = int(os.environ.get("LOADS", "1"))
TIMES = JOBS * LOADS * ATTACHES
RSS_SLACK_KB = 2048


class Told:
    """The guest that does what it is told on its serial port (cli_guest.S), recorded or not."""

    def __init__(self, recorder=()):
        firmware = os.path.join(MADE, "cli_guest.bin")
        args = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m",
                "16", "-bios", firmware, "-device", "isa-debug-exit,iobase=0x501,iosize=2",
                "-serial", "stdio"]
        with open(tap.path("guest.err"), "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([*recorder, *args], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log)
        self.says("ready")

    def says(self, want):
        line = self.process.stdout.readline().decode().strip()
        expect(line == want, f"the guest said {line!r}, not {want!r}")

    def told(self, what, answer=None):
        self.process.stdin.write(what.encode())
        self.process.stdin.flush()
        if answer:
            self.says(answer)

    def ends(self):
        self.told("q")
        status = self.process.wait(60 * SLOW)
        self.process.stdout.close()
        self.process.stdin.close()
        expect(status == OK, f"status {status}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def left_by(process):
    """What churn_attach found; the number of times that it attached."""
    out = process.stdout.read().decode().strip()
    expect(process.wait() == 0, f"status {process.returncode}")
    found = re.match(r"attached (\d+) events (\d+) fds (\d+) (\d+) rss (\d+) (\d+) "
                     r"objects (\d+) left (\d+)$", out)
    expect(found, out)
    attached, events, fds, fds_end, rss, rss_end, objects, left = map(int, found.groups())
    print(f"# {out}")
    expect(events >= attached and objects > 20 * attached, "it looked at too little")
    expect(fds == fds_end, f"{fds_end - fds} descriptors leaked")
    expect(left == 0, f"{left} BPF objects are still there")
    expect(rss_end - rss < RSS_SLACK_KB, f"{rss} kB became {rss_end} kB")
    return attached


def churn():
    guest, jobs = Told(), []
    try:
        begin = time.monotonic()
        for _ in range(JOBS):
            jobs.append(subprocess.Popen([os.path.join(MADE, "churn_attach"),
                                          str(guest.process.pid), str(LOADS), str(ATTACHES)],
                                         stdout=subprocess.PIPE))
        while any(job.poll() is None for job in jobs):  # it answers all along
            guest.told("w", "wrote")
        attached = sum(left_by(job) for job in jobs)
        print(f"# {time.monotonic() - begin:.0f} s")
        expect(attached == TIMES, attached)
        guest.told("m", "milestone 42")
        guest.ends()
    finally:
        guest.kill()
        for job in jobs:
            job.kill()
            job.wait()
            job.stdout.close()


def image(name, gpa, count):
    """mmioloop's image with another address and count (tests/guests/README.md)."""
    path = tap.path(name + ".img")
    with open(f"{GUESTS}/mmioloop.img", "rb") as plain:
        data = bytearray(plain.read())
    data[0x1f0:0x1fc] = (gpa.to_bytes(4, "little") + count.to_bytes(4, "little") + bytes(4))
    with open(path, "wb") as patched:
        patched.write(data)
    return path


def at_once(commands):
    """Runs them side by side; all must say that all is well."""
    running = [subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for c in commands]
    try:
        for process in running:
            out, err = process.communicate(timeout=240 * SLOW)
            expect(process.returncode == OK, (out + err).decode(errors="replace"))
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()


def kinds_of_threads(trace):
    """The host threads of the events that vCPUs caused, and the vCPUs' numbers."""
    done = run([VMBLAME, "export", trace, "--format", "json", "--kinds",
                "mmio,pio,page_fault,fast_fault"])
    expect(done.status == 0, done.err)
    seen = [json.loads(line) for line in done.out.splitlines()]
    seen = [row for row in seen if row["event"] in ("mmio", "pio", "page_fault", "fast_fault")]
    return {row["tid"] for row in seen}, {row["vcpu"] for row in seen}


def apart(traces):
    """Each VM has one vCPU, number 0, and a thread for it that is in no other trace."""
    threads = []
    for trace in traces:
        tids, vcpus = kinds_of_threads(trace)
        expect(len(tids) == 1 and vcpus == {0}, f"threads {tids}, vCPUs {vcpus}")
        threads += tids
    expect(len(set(threads)) == len(traces), f"one thread in two traces: {threads}")


def two_mmio():
    """The same loop at two addresses: each trace has all of its own stores, and only those."""
    machines = {0xd0000000: sized(20000, 3000), 0xd8000000: sized(15000, 2000)}
    traces, commands = {}, []
    for gpa, count in machines.items():
        path = image(f"{gpa:x}", gpa, count)
        traces[gpa] = tap.path(f"{gpa:x}.vmb")
        args = [a.replace(f"{GUESTS}/mmioloop.img", path) for a in qemu("mmioloop")]
        commands.append(record_args(traces[gpa], "--mode", "events", "--with", "mmu") + args)
    at_once(commands)
    for gpa, count in machines.items():
        expect(info(traces[gpa])["lost"] == 0, "events were lost")
        done = run([VMBLAME, "export", traces[gpa], "--format", "json", "--kinds", "mmio"])
        mmio = [json.loads(line) for line in done.out.splitlines()]
        for other, stores in machines.items():
            n = sum(m.get("gpa") == f"{other:#x}" for m in mmio)
            expect(n == (stores if other == gpa else 0), f"{gpa:#x}: {n} stores to {other:#x}")
        fired = {p["name"]: p["fired"] for p in rows("info", traces[gpa])[0].get("probes", [])}
        expect(fired.get("exits__kvm_mmio", count) >= count, fired)
    apart(traces.values())


def two_watched():
    """Two tables of stores to the same addresses: each ledger is its own guest's truth."""
    traces = {guest: tap.path(guest + ".vmb") for guest in ("stores", "stores-small")}
    if sized(False, True):
        traces = {"stores-small": tap.path("a.vmb"), "vq": tap.path("b.vmb")}
    at_once([record_args(trace, "--with", "mmu", *watch(guest.removesuffix("-small"))) + qemu(guest)
             for guest, trace in traces.items()])
    for guest, trace in traces.items():
        expect(info(trace)["lost"] == 0, "events were lost")
        if guest.startswith("stores"):
            got = ledger(trace, ranges("stores").values())
            expect(got == truth(guest), f"{guest}: {len(got)} writes, not its truth")
    apart(traces.values())


def foreign_zap():
    """This process makes KVM drop one guest's mappings: that is the one that it is told of."""
    traces = [tap.path("zapped.vmb"), tap.path("spared.vmb")]
    guests = [Told(record_args(trace, "--mode", "events", "--with", "mmu")) for trace in traces]
    try:
        for guest in guests:
            guest.told("w", "wrote")
        children = run(["pgrep", "-P", str(guests[0].process.pid)]).out.split()
        expect(len(children) == 1, children)
        with open(f"/proc/{children[0]}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("4")
        for guest in guests:
            guest.told("w", "wrote")
            guest.ends()
    finally:
        for guest in guests:
            guest.kill()
    mine = []
    for trace in traces:
        done = run([VMBLAME, "export", trace, "--format", "json", "--kinds", "zap"])
        zaps = [json.loads(line) for line in done.out.splitlines()]
        mine.append([z for z in zaps if z["event"] == "zap" and z["tid"] == os.getpid()])
    expect(not mine[1], f"the other guest's: {mine[1]}")
    expect(mine[0], "none was told")
    expect(all("vcpu" not in z and z["rip"] == "0x0" for z in mine[0]), mine[0])
    expect(sum(int(z["size"], 16) for z in mine[0]) >= 16 << 20, mine[0])


tap.attempt(f"attached and detached {TIMES} times: nothing is left, the guest is unharmed", churn)
tap.attempt("two guests at once: accesses to devices", two_mmio)
tap.attempt("two guests at once: stores to watched memory", two_watched)
if back_end() == "pvm":
    tap.not_applicable("mappings dropped by another process",
                       "without fentry and kprobes it is not told whose they were")
else:
    tap.attempt("mappings dropped by another process are told of their VM alone", foreign_zap)
tap.end()
