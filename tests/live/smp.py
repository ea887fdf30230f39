#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs under --watch: locked instructions on one word end at exactly the right sum, the ledger
holds every store in order, nobody starves, and what QEMU itself does to vCPUs still works."""
import json
import os
import re
import signal
import socket
import struct
import subprocess

from live import (GUESTS, NESTED, OK, SMP_OPS, Gdb, Qmp, SLOW, Tap, VMBLAME, back_end, expect, info,
                  ranges, record_args, run, sized, smp_command, smp_image)

OPS = SMP_OPS
COUNTERS = OPS[:5]
WORD, FLAG = ranges("smp")["word"], ranges("smp")["flag"]
WORD_GPA = int(WORD.split("+")[0], 0)
# A host that is busy with other things may leave the recorder alone for a second: 50,000 stores.
WATCH = ["--watch", WORD, "--watch", FLAG, "--ring-size", "64M"]
UNFAIR = 4  # in no window has one vCPU so many times fewer turns than the average

tap = Tap()
PVM = back_end() == "pvm"
ALL = [op for op in OPS if op != "cmpxchg16b" or not PVM]


def image(name, ops, count, vcpus, rounds=20, parked=0):
    return smp_image(tap.path(name + ".img"), ops, count, vcpus, rounds, parked)


def command(path, vcpus, *more, reboots=False):
    args = smp_command(path, vcpus, *more)
    return [a for a in args if not reboots or a != "-no-reboot"]


class Told:
    """What the guest said: {op: rip}, {op: {vcpu: retries}} of the last time that it booted."""

    def __init__(self, out):
        expect("smp: all good" in out, out)
        out = out[out.rindex("smp: vcpus"):]
        self.rip = {op: int(rip, 0) for op, rip in re.findall(r"smp: (\w+) started, rip (\w+)", out)}
        self.ops = list(self.rip)
        self.retries = {op: {} for op in self.ops}
        for op, vcpu, retries in re.findall(r"smp: (\w+) vcpu (\d+) retries (\d+)", out):
            self.retries[op][int(vcpu)] = int(retries)
        self.words = dict(re.findall(r"smp: (\w+) word (0x\w+ 0x\w+): ok", out))


def history(trace, text):
    """Rows of what vCPUs stored, one at a time: there may be millions."""
    with subprocess.Popen([VMBLAME, "history", trace, text, "--json"], stdout=subprocess.PIPE,
                          text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if row.get("origin") == "vcpu" and "bytes" in row:
                yield row
    expect(process.returncode in (0, 3), f"history: status {process.returncode}")


def step_of(op):
    """How much each half of the word goes up."""
    return {"cmpxchg8b": 1 | 3 << 32, "cmpxchg16b": 1 | 3 << 64}.get(op, 1)


class Ledger:
    """Replays the ledger's stores to the word in their order, and counts."""

    def __init__(self, order="exact"):
        self.order = order
        self.runs = []  # of the first operation: [vcpu, stores, t_ns of the first, of the last]
        self.begin_boot(None)

    def begin_boot(self, boot):
        self.boot = boot
        self.ops = []  # of each operation: [{vcpu: counted}, {vcpu: tried in vain}, rips, value]
        self.value = bytearray(16)
        self.last = 0
        self.seq = -1

    def replay(self, trace, told):
        for row in history(trace, WORD):
            expect(row["seq"] > self.seq, f"not in order: {row}")
            expect(row["order"] == self.order, row)
            if row["boot"] != self.boot:
                self.begin_boot(row["boot"])
            self.seq = row["seq"]
            self.store(row, told)
        return self

    def store(self, row, told):
        at, data, rip = int(row["gpa"], 16) - WORD_GPA, bytes.fromhex(row["bytes"]), int(
            row["rip"], 16)
        expect(at >= 0 and at + len(data) <= 16 and len(data) == row["len"], row)
        self.value[at:at + len(data)] = data
        if rip not in (told.rip[op] for op in told.ops if "spin" not in op):
            # The first vCPU clears the word.
            expect(not any(data), row)
            if at == 0:
                self.ops.append([{}, {}, set()])
                self.last = 0
            return
        if not self.ops:
            return
        counted, vain, rips = self.ops[-1]
        rips.add(rip)
        op, vcpu = told.ops[len(self.ops) - 1], row["vcpu"]
        now = int.from_bytes(self.value, "little")
        expect(rip == told.rip[op], f"{op}: {row}")
        if now == self.last:
            vain[vcpu] = vain.get(vcpu, 0) + 1
        elif now == self.last + step_of(op):
            counted[vcpu] = counted.get(vcpu, 0) + 1
            self.last = now
        else:
            # Sixteen bytes may come in two pieces, one behind the other.
            expect(op == "cmpxchg16b" and now in (self.last + 1, self.last + (3 << 64)),
                   f"{op}: after {self.last:#x} {now:#x}: {row}")
        if len(self.ops) == 1:
            self.run_add(vcpu, row["t_ns"])

    def run_add(self, vcpu, t_ns):
        if not self.runs or self.runs[-1][0] != vcpu:
            self.runs.append([vcpu, 0, t_ns, t_ns])
        self.runs[-1][1] += 1
        self.runs[-1][3] = t_ns

    def check(self, told, vcpus, count, rounds=20):
        expect(len(self.ops) == len(told.ops), f"{len(self.ops)} operations of {told.ops}")
        for op, (counted, vain, _) in zip(told.ops, self.ops):
            if op in COUNTERS:
                want = {vcpu: count for vcpu in range(vcpus)}
            elif op == "ipi":
                want = {vcpu: rounds for vcpu in range(1, vcpus)}
            else:
                want = {}
            expect(counted == want, f"{op}: the guest counted {want}, the ledger {counted}")
            for vcpu, retries in told.retries[op].items():
                # One that KVM does not emulate stores nothing when it fails.
                expect(vain.get(vcpu, 0) == retries or
                       (op == "cmpxchg16b" and vain.get(vcpu, 0) <= retries),
                       f"{op}: vCPU {vcpu} tried {retries} times in vain, the ledger has {vain}")


def check_flag(trace, told, vcpus, rounds):
    if "spin" not in told.ops:
        return
    values = [(int.from_bytes(bytes.fromhex(row["bytes"]), "little"), row["vcpu"])
              for row in history(trace, FLAG)]
    want = [(n + 1, n % vcpus) for n in range(vcpus * rounds)]
    expect(values[1:] == want and values[0][0] == 0, f"the flag: {values}")


def check_lost(trace):
    expect(info(trace)["lost"] == 0, f"{info(trace)['lost']} lost")


def exact(name, ops, count, vcpus, smp=0, parked=0, rounds=20, timeout=600):
    """A whole run, compared store by store. Returns the ledger."""
    trace = tap.path(name + ".vmb")
    path = image(name, ops, count, vcpus, rounds, parked)
    done = run(record_args(trace, *WATCH) + command(path, smp or vcpus), timeout=timeout)
    expect(done.status == OK, f"status {done.status}: {done.out}{done.err}")
    told = Told(done.out)
    check_lost(trace)
    ledger = Ledger().replay(trace, told)
    ledger.check(told, vcpus, count, rounds)
    check_flag(trace, told, vcpus, rounds)
    os.unlink(trace)
    return ledger


def fair(ledger, vcpus):
    """While all are at work, none is left behind: of so many turns in a row each has its share. Not by the
    clock, since a host that is busy may give a second to one thread."""
    first = {v: min(r[2] for r in ledger.runs if r[0] == v) for v in range(vcpus)}
    last = {v: max(r[3] for r in ledger.runs if r[0] == v) for v in range(vcpus)}
    begin, end = max(first.values()), min(last.values())
    turns = [vcpu for vcpu, _, t0, t1 in ledger.runs if begin <= t0 and t1 <= end]
    size = sized(50, 10) * vcpus
    whole = [turns[n:n + size] for n in range(0, len(turns) - size + 1, size)]
    expect(whole, f"they were all at work for {len(turns)} turns only")
    print(f"# {vcpus} vCPUs: {len(whole)} windows of {size} turns")
    for window in whole:
        shares = [window.count(vcpu) for vcpu in range(vcpus)]
        expect(min(shares) * UNFAIR >= size / vcpus, f"shares of {size} turns: {shares}")


class Live:
    """A recorded guest that is talked to while it runs."""

    def __init__(self, name, count, ops=("inc",), options=(), more=(), **settings):
        self.trace = tap.path(name + ".vmb")
        self.count = count
        sock = tap.path(name + ".qmp")
        path = image(name, ops, count, 2)
        self.process = subprocess.Popen(
            record_args(self.trace, *WATCH, *options) +
            command(path, 2, "-qmp", f"unix:{sock},server=on,wait=off", *more, **settings),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.qmp = Qmp(sock, self.process)
        except BaseException:
            self.process.terminate()
            raise
        credentials = self.qmp.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("3i", credentials)[0]

    def word(self):
        path = tap.path("word")
        self.qmp("pmemsave", val=WORD_GPA, size=8, filename=path)
        with open(path, "rb") as saved:
            return int.from_bytes(saved.read(), "little")

    def wait_above(self, floor):
        """Until the guest is in the middle of it."""
        now = self.word()
        while now <= floor:
            expect(self.process.poll() is None, "the VM ended")
            now = self.word()
        expect(now < 2 * self.count, "the guest was done before it could be disturbed")
        return now

    def end(self):
        out, err = self.process.communicate(timeout=300 * SLOW)
        expect(self.process.returncode == OK, f"{self.process.returncode}: {out}{err}")
        told = Told(out)
        check_lost(self.trace)
        Ledger().replay(self.trace, told).check(told, 2, self.count)
        os.unlink(self.trace)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """The recorder's end is not the VM's: a test that failed ends that itself."""
        if self.process.poll() is None:
            self.qmp.socket.settimeout(10)
            try:
                self.qmp("quit")
            except (OSError, ValueError, AssertionError):
                os.kill(self.pid, signal.SIGKILL)
            self.process.communicate()


def stop_and_cont():
    with Live("stop", sized(30000, 1500)) as live:
        at = 0
        for _ in range(3):
            live.wait_above(at)
            live.qmp("stop")
            expect(live.qmp("query-status")["status"] == "paused", "not paused")
            at = live.word()
            expect(all(live.word() == at for _ in range(20)), "it stores while it is paused")
            live.qmp("cont")
        live.end()


def system_reset():
    with Live("reset", sized(30000, 1500), reboots=True) as live:
        live.wait_above(sized(2000, 300))
        live.qmp("system_reset")
        live.qmp.wait("RESET")
        live.end()


def debugger():
    """Attached in the middle of it, stopped at the store itself, taken over it, let go."""
    rip = int(re.search(r"^(\w+) \w smp_rip_inc$", run(["nm", f"{GUESTS}/smp.elf"]).out,
                        re.M).group(1), 16)
    path = tap.path("gdb")
    with Live("gdb", 30000, more=["-gdb", f"unix:{path},server=on,wait=off"]) as live:
        live.wait_above(2000)
        gdb = Gdb(path)
        expect(gdb("?")[0] in "TS", "not stopped")
        at = live.word()
        expect(all(live.word() == at for _ in range(20)), "it stores while it is stopped")
        expect(gdb(f"Z1,{rip:x},1") == "OK", "no breakpoint")
        for _ in range(5):
            stop = gdb("c")
            expect(stop.startswith("T05thread:"), f"not stopped again: {stop}")
            expect(gdb.rip() == rip, f"stopped at {gdb.rip():#x}, not {rip:#x}")
        at = live.word()
        expect(gdb(f"z1,{rip:x},1") == "OK", "the breakpoint stays")
        thread = stop[len("T05thread:"):].rstrip(";")
        expect(gdb(f"vCont;s:{thread}")[0] in "TS" and gdb.rip() != rip, "no single step")
        expect(live.word() == at + 1, f"one step over the store made {at} {live.word()}")
        gdb("D")
        live.end()


def racy():
    """Without turns no sum is promised; every row says so."""
    trace = tap.path("racy.vmb")
    path = image("racy", ("inc",), sized(20000, 1000), 2)
    done = run(record_args(trace, "--racy", *WATCH) + command(path, 2), timeout=300)
    expect(done.status in (OK, 35), f"status {done.status}: {done.out}{done.err}")
    orders = {row["order"] for row in history(trace, WORD)}
    expect(orders == {"racy"}, orders)


def two_guests():
    """Each with its own recorder, at the same time."""
    size = sized(20000, 800)
    with Live("one", size, ops=("xadd",)) as one, Live("two", size + 7, ops=("cmpxchg",)) as two:
        one.end()
        two.end()


million, big = sized(10**6, 3000), {}


def lock_inc(vcpus):
    big[vcpus] = exact(f"inc{vcpus}", ("inc",), million, vcpus, timeout=1200)


if PVM:
    tap.not_applicable("lock cmpxchg16b", "KVM's emulator, which runs all of a guest here, lacks it")
for n in (2, 4):
    tap.attempt(f"{n} vCPUs, {million} times lock inc each: the sum and every store", lock_inc, n)
    if n in big:
        tap.attempt(f"{n} vCPUs: each has its turns", fair, big.pop(n), n)
for n in (2, 4):
    tap.attempt(f"{n} vCPUs: xadd, cmpxchg, hlt and interrupts, waiting loops", exact, f"all{n}", ALL,
                sized(20000, 300), n)
tap.attempt("one vCPU at work, three asleep", exact, "one4", ("inc", "xadd"), sized(20000, 800), 1, 4)
tap.attempt("one vCPU at work, one put to sleep, two never woken", exact, "parked",
            ("inc", "cmpxchg"), sized(20000, 800), 1, 4, 1)
tap.attempt("QMP stop and cont in the middle of it", stop_and_cont)
tap.attempt("system_reset in the middle of it", system_reset)
if NESTED:
    tap.not_applicable("a debugger in the middle of it", "QEMU's SVM heeds no DR7 of a guest's "
                       "(helper_vmrun()), nor traps its INT3 (raise_interrupt2())")
else:
    tap.attempt("a debugger in the middle of it", debugger)
tap.attempt("--racy marks the order", racy)
tap.attempt("two guests at once", two_guests)
tap.end()
