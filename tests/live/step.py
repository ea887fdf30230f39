#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What KVM cannot emulate, and what stores much: each instruction of the `wide` guest into a watched
page ends as on a machine that nobody watches, and the ledger has its bytes and its RIP."""
import os
import re
import subprocess

from live import (GUESTS, Qmp, SLOW, TOP, Tap, VMBLAME, back_end, expect, info, qemu, ranges,
                  record_args, rows)

# What KVM's emulator cannot do although nothing is watched: there it emulates all of a guest.
PVM_LACKS = """movq movd movsd movlps movhps maskmovdqu pextrd stmxcsr fstpt fxsave64
    cmpxchg16b enter_nested int int_up irq_up movq_wu movq_uw int_wu int_uw c_enter_nested c_int
    c_int_up""".split()
# Where KVM itself writes an interrupt's frame, which fails on a read-only slot; and what cannot be
# stepped there at CPL 3, so that the range is opened.
PVM_LACKS += "irq fxsave fxsave_ww fxsave_wu fxsave_uw c_fxsave".split()
# An interrupt's frame cannot be had without opening its page: these come last.
OPENING = ("irq", "irq_up")
PLAIN = 95  # the bit that means: neither AVX nor XSAVE
AVX = 1  # of what the guest says it has
FORCED = "/sys/module/kvm/parameters/force_emulation_prefix"
XSAVE_CLEARS = "f348ab"  # `rep stosq` before it

tap = Tap()
PVM = back_end() == "pvm"
trace = tap.path("wide.vmb")
saved = tap.path("ram")
watched = ranges("wide")["watched"]
GPA, SIZE = (int(x, 0) for x in watched.split("+"))
told = {}


def image():
    with open(os.path.join(TOP, "tests/guests/wide_ops.def"), encoding="ascii") as table:
        names = re.findall(r"^STEP\((\w+)", table.read(), re.M)
    with open(f"{GUESTS}/wide.img", "rb") as original:
        data = bytearray(original.read())
    for number in [names.index(n) for n in PVM_LACKS] + [PLAIN] if PVM else []:
        data[0x1f0 + number // 8] |= 1 << number % 8
    path = tap.path("wide.img")
    with open(path, "wb") as changed:
        changed.write(data)
    return path


class Forced:
    """Under an emulated host the guest needs KVM's emulator to turn AVX on: XSETBV does not trap."""

    def __enter__(self):
        self.was = None
        if not PVM and os.access(FORCED, os.W_OK):
            with open(FORCED, "r+", encoding="ascii") as parameter:
                self.was = parameter.read()
                parameter.write("1")

    def __exit__(self, *_):
        if self.was is not None:
            with open(FORCED, "w", encoding="ascii") as parameter:
                parameter.write(self.was)


def steps(out):
    """[(name, cpl, rip, [(gpa, len, sum)])] in the order in which the guest did them."""
    found = []
    for line in out.splitlines():
        step = re.match(r"wide: step \d+ (\w+) cpl (\d) rip (\w+)", line)
        put = re.match(r"wide: put (\w+) (\d+) (\w+)", line)
        if step:
            found.append((step.group(1), int(step.group(2)), int(step.group(3), 0), []))
        elif put:
            found[-1][3].append((int(put.group(1), 0), int(put.group(2)), int(put.group(3), 0)))
    return found


def checksum(data):
    """payload_sum() of tests/guests/payload.h"""
    total = 0
    for at in range(0, len(data), 4):
        word = int.from_bytes(data[at:at + 4], "little")
        total = ((total << 1 | total >> 31) + word) & 0xffffffff
    return total


def record():
    """The guest stays stopped at its end, so that QEMU can say what its RAM holds."""
    sock = tap.path("qmp")
    # QEMU wants to set that MSR on AMD's processors, too, where not every KVM has it.
    cpu = "host,arch-capabilities=off"
    args = qemu("wide", "-cpu", cpu, "-no-shutdown", "-qmp", f"unix:{sock},server=on,wait=off",
                exit_device=False)
    args = [a.replace(f"{GUESTS}/wide.img", image()) for a in args]
    with Forced(), subprocess.Popen(
            record_args(trace, "--watch", watched) + args, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # Its output is small enough for a pipe that nobody reads until the end.
        qmp = Qmp(sock, process)
        qmp.socket.settimeout(240 * SLOW)
        try:
            qmp.wait("SHUTDOWN", "STOP")
            qmp("pmemsave", val=GPA, size=SIZE, filename=saved)
        finally:
            qmp("quit")
            out, err = process.communicate(timeout=60 * SLOW)
            told["out"], told["err"] = out, err
    expect("all good" in out, out[-2000:] + err[-2000:])
    expect(process.returncode == 0, err)


def segments(fill_rip):
    """What the ledger has between the guest's own preparations: one list of rows for each step."""
    found, filling = [], False
    for row in rows("history", trace, watched):
        if row.get("origin") != "vcpu" or "bytes" not in row:
            continue
        if int(row["rip"], 16) == fill_rip:
            if not filling:
                found.append([])
            filling = True
        elif found:
            found[-1].append(row)
            filling = False
    return found


def compare_step(step, writes):
    name, cpl, rip, puts = step
    what = f"{name} at CPL {cpl}"
    memory = {}
    for row in writes:
        at, data = int(row["gpa"], 16), bytes.fromhex(row["bytes"])
        prelude = name.startswith("xsave") and row.get("insn", "").startswith(XSAVE_CLEARS)
        expect(int(row["rip"], 16) == rip or prelude, f"{what}, rip {rip:#x}: {row}")
        expect(row["cpl"] == cpl or "int" in name or "irq" in name, f"{what}: {row}")
        for i, byte in enumerate(data):
            memory[at + i] = byte
    for gpa, length, total in puts:
        if not GPA <= gpa < GPA + SIZE:
            continue
        data = [memory.pop(gpa + i, None) for i in range(length)]
        expect(None not in data, f"{what}: {gpa:#x}+{length}: {data.count(None)} bytes are not there")
        expect(checksum(bytes(data)) == total, f"{what}: {gpa:#x}+{length} is {bytes(data).hex()}")
    old = {int(r["gpa"], 16) + i: b for r in writes
           for i, b in enumerate(bytes.fromhex(r.get("old", "")))}
    stray = {f"{at:#x}": byte for at, byte in memory.items() if old.get(at) != byte}
    expect(not stray, f"{what}: it did not store {stray}")


def compare_ledger():
    fill_rip = int(re.search(r"filled by rip (\w+)", told["out"]).group(1), 0)
    did, found = steps(told["out"]), segments(fill_rip)
    opening = [step[0] for step in did if step[0] in OPENING]
    did = did[:len(did) - len(opening)]
    expect(not any(step[0] in OPENING for step in did), "what opens pages is not last")
    expect(len(did) > 90, f"{len(did)} steps only")
    expect(len(did) <= len(found) <= len(did) + len(opening),
           f"{len(did)} steps, {len(found)} in the ledger")
    wrong = []
    for step, writes in zip(did, found):
        try:
            compare_step(step, writes)
        except AssertionError as error:
            wrong.append(str(error))
    expect(not wrong, f"{len(wrong)} of {len(did)} steps:\n" + "\n".join(wrong[:20]))


def opened():
    """The page that took an interrupt's frame, and it alone."""
    for gpa, want in (GPA, "emulation"), (GPA + 4096, None):
        why = {row.get("why") for row in rows("who", trace, f"{gpa:#x}+4096")}
        expect(why == {want}, f"{gpa:#x}: {why}")


def compare_show():
    out = subprocess.run([VMBLAME, "show", trace, watched, "--raw"], stdout=subprocess.PIPE,
                         check=True).stdout
    with open(saved, "rb") as ram:
        expect(out == ram.read(), "show differs from pmemsave")


def count_stepped():
    """As many as were recorded, and some: KVM's emulator cannot do all of them."""
    facts = info(trace)
    stepped = [int(row["count"]) for row in facts["changes"] if "stepped" in row["what"]]
    print(f"# stepped over: {stepped}")
    expect(facts["lost"] == 0, f"{facts['lost']} lost")
    if not PVM:
        expect(sum(stepped) > 40, f"{stepped} stepped over")


tap.attempt("all that the guest stores arrives, and it sees no trap", record)
if "out" in told and "features" in told["out"]:
    features = int(re.search(r"features (\w+)", told["out"]).group(1), 16)
    if PVM:
        tap.not_applicable(f"{len(PVM_LACKS)} instructions, AVX and XSAVE", "KVM's emulator, which "
                           "runs all of a guest here, lacks them")
    elif not features & AVX:
        tap.not_applicable("AVX", "the guest cannot turn it on here: no forced emulation of XSETBV")
    tap.attempt("the ledger has every byte, and the right RIP", compare_ledger)
    if not PVM:
        tap.attempt("the page that took an interrupt's frame was opened", opened)
    tap.attempt("show at the end is what pmemsave says", compare_show)
    tap.attempt("instructions stepped over are counted", count_stepped)
tap.end()
