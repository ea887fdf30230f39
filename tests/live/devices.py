#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices and processor in turns on one page: each write in its order, by its writer; pages that do
not bear watching are opened; what several stores of one instruction did is all there."""
import os
import subprocess

from live import (GUESTS, OK, TOP, Tap, VMBLAME, expect, info, ranges, record, rows,
                  watch, who)

tap = Tap()


def told(out):
    """[(who, gpa, len, value or sector)] as the vq guest printed it."""
    found = []
    for line in out.splitlines():
        words = line.split()
        if len(words) > 5 and words[0] == "vq:" and words[2] in ("cpu", "disk"):
            found.append((words[2], int(words[3], 0), int(words[4]), int(words[6], 0)))
    return found


def turns():
    trace = tap.path("vq.vmb")
    done = record(trace, "vq", *watch("vq"))
    expect(done.status == OK, done.err)
    want = told(done.out)
    expect(len(want) >= 15, done.out)
    start, size = (int(x, 0) for x in ranges("vq")["page"].split("+"))
    got = []
    for row in rows("history", trace, ranges("vq")["page"]):
        if row.get("origin") == "vcpu" and "bytes" in row:
            value = int.from_bytes(bytes.fromhex(row["bytes"]), "little")
            got.append(("cpu", int(row["gpa"], 16), row["len"], value))
            expect(row["precision"] == "byte", row)
        elif row.get("origin") == "virtqueue" and "bytes" in row:
            expect((row["precision"], row["dev"]) == ("range", "virtio-blk#0"), row)
            got.append(("disk", int(row.get("write_gpa", row["gpa"]), 16),
                        row.get("write_len", row["len"]), row["sector"]))
    # The guest tells what lies in the page; a request may reach beyond it.
    inside = [w for w in want if w[1] < start + size and w[1] + w[2] > start]
    expect(got == inside, f"the guest: {inside}\nthe ledger: {got}")
    # The bytes that the device delivered are those of the disk.
    with open(f"{GUESTS}/vq.img", "rb") as image:
        disk = image.read()
    for row in rows("history", trace, ranges("vq")["page"]):
        if row.get("origin") == "virtqueue" and "bytes" in row:
            at = row["sector"] * 512 + int(row["gpa"], 16) - int(row.get("write_gpa", row["gpa"]), 16)
            data = bytes.fromhex(row["bytes"])
            expect(disk[at:at + len(data)] == data, f"sector {row['sector']}")


def hostile():
    """PUSHA, ENTER, far CALL, a real-mode interrupt: the guest finds all of its stack, and the ledger
    holds what KVM dropped. kvmclock's page is opened, and says so."""
    trace = tap.path("hostile.vmb")
    done = record(trace, "hostile", *watch("hostile"))
    expect(done.status == OK and "all good" in done.out, done.out + done.err)
    facts = info(trace)
    changes = {row["what"]: row for row in facts["changes"]}
    expect("stores done for KVM" in changes and "pages opened" in changes, changes)
    expect(int(facts["meta"]["count.superseded"]) >= 10, facts["meta"])
    row = who(trace, ranges("hostile")["clock"].split("+")[0] + "+8")[0]
    expect((row["verdict"], row["why"]) == ("UNKNOWN", "kvm-writes"), row)
    # PUSHA: eight stores by one instruction, each four bytes.
    pushes = {}
    for row in rows("history", trace, ranges("hostile")["stack"]):
        if row.get("insn") == "60" and row.get("origin") == "vcpu":
            pushes.setdefault(row["t_ns"], []).append(int(row["gpa"], 16))
    expect(pushes and all(len(v) == 8 for v in pushes.values()), pushes)
    for places in pushes.values():
        expect(sorted(places) == list(range(min(places), min(places) + 32, 4)), places)


def page_tables():
    """A watch over the guest's own page tables: opened, reported, the guest unharmed."""
    trace = tap.path("tables.vmb")
    done = record(trace, "stores-small", "--watch", "0x9000+0x8000", *watch("stores"))
    expect(done.status == OK and ": ok" in done.out, done.out + done.err)
    row = who(trace, "0x9000+8")[0]
    expect((row["verdict"], row["why"]) == ("UNKNOWN", "page-table"), row)


def demo():
    """make demo, and then every damaged byte: who, and what was there."""
    done = subprocess.run(["sh", os.path.join(TOP, "tests/demo.sh")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, stdin=subprocess.DEVNULL, text=True)
    expect(done.returncode in (0, 3), done.stderr)
    for text in ("WRITTEN-BY", "cell_draw", "cells.c:", "rip", "->", "vCPU 0", "instruction"):
        expect(text in done.stdout, f"no {text!r} in: {done.stdout}")
    trace = os.path.join(TOP, os.environ.get("B", "build"), "demo.vmb")
    module = ranges("console")["module"]
    base = int(module.split("+")[0], 0)
    with open(f"{GUESTS}/module.good", "rb") as a, open(f"{GUESTS}/module.bad", "rb") as b:
        good, bad = a.read(), b.read()
    damaged = [i for i in range(len(good)) if good[i] != bad[i]]
    # Of the 35 places that are written those that the good copy did not hold already.
    expect(len(damaged) > 20 and damaged[0] == 0x3ac08, damaged)
    first = None
    for row in rows("who", trace, f"{base + 0x3ac00:#x}+112", "--symbols", f"{GUESTS}/console.elf"):
        for i in range(row["len"]):
            at = int(row["gpa"], 16) + i - base
            expect(row["verdict"] == "WRITTEN-BY", row)
            expect(int(row["bytes"][2 * i:2 * i + 2], 16) == bad[at], f"{at:#x}: {row}")
            if at in damaged:
                expect(row["origin"] == "vcpu" and row["symbol"].startswith("cell_draw+"), row)
                expect("cells.c:" in row["src"], row)
                expect(int(row["old"][2 * i:2 * i + 2], 16) == good[at], f"{at:#x}: {row}")
                first = min(first or row["t_ns"], row["t_ns"])
    for moment, content in ((None, bad), (first - 1, good)):
        args = [VMBLAME, "show", trace, module, "--raw"]
        raw = subprocess.run(args + (["--at", f"{moment}ns"] if moment else []), check=True,
                             stdout=subprocess.PIPE).stdout
        expect(raw == content, f"the module at {moment}")


tap.attempt("virtio-blk and the processor in turns: order, place, bytes", turns)
tap.attempt("several stores by one instruction; kvmclock's page", hostile)
tap.attempt("page tables in a watched range are opened", page_tables)
tap.attempt("the demo names the writer of every damaged byte", demo)
tap.end()
