#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exact: the ledger of a watched guest is what the guest did, store by store, and the bytes at the
end are what QEMU's pmemsave finds."""
import subprocess

from live import (OK, Qmp, SLOW, Tap, VMBLAME, expect, info, ledger, qemu, ranges, record,
                  record_args, rows, run, sized, truth, watch, who)

tap = Tap()
GUEST, LEAST = sized(("stores", 100000), ("stores-middle", 15000))
trace = tap.path("stores.vmb")
saved = {name: tap.path(name) for name in ranges("stores")}


def record_and_save():
    """The guest stays stopped at its end, so that QEMU can say what its RAM holds."""
    sock = tap.path("qmp")
    args = record_args(trace, *watch("stores")) + qemu(
        GUEST, "-no-shutdown", "-qmp", f"unix:{sock},server=on,wait=off", exit_device=False)
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        qmp = Qmp(sock, process)
        qmp.wait("SHUTDOWN")
        for name, text in ranges("stores").items():
            gpa, size = text.split("+")
            qmp("pmemsave", val=int(gpa, 0), size=int(size, 0), filename=saved[name])
        qmp("quit")
        out, err = process.communicate(timeout=60 * SLOW)
        expect(process.returncode == 0, err.decode())
        expect(b": ok" in out, out.decode())


def compare_ledger():
    want, got = truth(GUEST), ledger(trace, ranges("stores").values())
    expect(len(want) >= LEAST, "the guest makes too few stores")
    for number, (a, b) in enumerate(zip(want, got)):
        expect(a == b, f"write {number}: the guest did {a}, the ledger says {b}")
    expect(len(want) == len(got), f"{len(want)} stores, {len(got)} in the ledger")


def compare_show():
    for name, text in ranges("stores").items():
        out = tap.path("raw")
        with open(out, "wb") as raw:
            subprocess.run([VMBLAME, "show", trace, text, "--raw"], stdout=raw, check=True)
        with open(out, "rb") as a, open(saved[name], "rb") as b:
            expect(a.read() == b.read(), f"range {name} differs from pmemsave")


def compare_who():
    """Every byte's last writer, over both ranges, against the truth."""
    last = {}
    for gpa, length, data, rip in truth(GUEST):
        for i in range(length):
            last[gpa + i] = (data[2 * i:2 * i + 2], rip)
    for text in ranges("stores").values():
        for row in who(trace, text):
            for i in range(row["len"]):
                at = int(row["gpa"], 16) + i
                if at in last:
                    expect(row["verdict"] == "WRITTEN-BY", f"{at:#x}: {row}")
                    said = row["bytes"][2 * i:2 * i + 2], int(row["rip"], 16)
                    expect(said == last[at], f"{at:#x}: {last[at]}, not {said}")
                else:
                    expect(row["verdict"] == "INITIAL", f"{at:#x}: {row}")


def not_watched():
    row = who(trace, "0x3000000+8")[0]
    expect((row["verdict"], row["why"]) == ("UNKNOWN", "not-watched"), row)
    expect(run([VMBLAME, "who", trace, "0x3000000+8"]).status == 3, "exit status is not 3")


def whole_pages():
    """With --whole-pages the rest of the pages of range B is told of too."""
    path = tap.path("whole.vmb")
    done = record(path, "stores-small", "--whole-pages", *watch("stores"))
    expect(done.status == OK, done.err)
    outside = [r for r in rows("history", path, "0x1234000+0xc38") if r.get("origin") == "vcpu"]
    expect(outside, "no store outside the range asked for")
    path = tap.path("part.vmb")
    record(path, "stores-small", *watch("stores"))
    outside = [r for r in rows("history", path, "0x1234000+0xc38") if r.get("origin") == "vcpu"]
    # One that straddles the edge is kept whole.
    expect(all(int(r.get("write_gpa", r["gpa"]), 16) + r.get("write_len", r["len"]) > 0x1234c38
               for r in outside), outside[:1])


tap.attempt("the watched guest runs through and its RAM can be saved", record_and_save)
tap.attempt("history is what the guest did, store by store", compare_ledger)
tap.attempt("nothing was lost", lambda: expect(info(trace)["lost"] == 0, info(trace)["lost"]))
tap.attempt("show at the end is what pmemsave says", compare_show)
tap.attempt("who names the last writer of every byte", compare_who)
tap.attempt("what was not watched is UNKNOWN", not_watched)
tap.attempt("--whole-pages reports the rest of the pages", whole_pages)
tap.end()
