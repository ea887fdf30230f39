#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables in watched pages, and interrupts' frames: each page is opened the moment it is used, the
instruction at hand does what it would have done, and the answers say why nothing is known of the page
any more."""
import os

from live import OK, Tap, expect, info, qemu, ranges, record, rows, run, who

TABLES, MAPPED, PAGE, OPS = 0x1800000, 0x1900000, 4096, 16
ENTERED = any(os.path.isdir("/sys/module/" + name) for name in ("kvm_amd", "kvm_intel"))

tap = Tap()
trace = tap.path("tables.vmb")
WATCH = ["--watch", ranges("tables")["tables"]]


def unrecorded():
    done = run(qemu("tables"))
    expect(done.status == OK, done.out)


def recorded():
    done = record(trace, "tables", *WATCH)
    expect(done.status == OK and "tables: ok" in done.out, done.out + done.err)
    expect(not ENTERED or "missing" not in done.out, done.out)


def entries():
    """The guest's own stores of the entries, and nothing else: what KVM mistook for stores to the
    tables was none."""
    found = [(int(r["gpa"], 16), r["bytes"]) for r in rows("history", trace, WATCH[1])
             if r.get("origin") == "vcpu" and "rip" in r]
    want = [(TABLES + n * PAGE + 8 * (17 + n), (MAPPED + n * PAGE | 3).to_bytes(8, "little").hex())
            for n in range(OPS)]
    expect(found == want, f"{found} is not {want}")


def frames():
    """An interrupt's frame that goes to a watched page: what KVM emulates meanwhile is neither lost
    nor done twice, nothing comes where interrupts are off; each page is opened."""
    stacks = ranges("frames")["stacks"]
    done = record(trace, "frames", "--watch", stacks)
    expect(done.status == OK and "frames: all good" in done.out, done.out + done.err)
    changes = info(trace)["changes"]
    pages = sum(row["count"] for row in changes if row["what"] == "pages opened")
    expect(pages == int(stacks.split("+")[1], 0) // PAGE, changes)
    for row in who(trace, stacks):
        expect((row["verdict"], row.get("why")) == ("UNKNOWN", "emulation"), row)


def opened():
    for row in who(trace, WATCH[1]):
        expect((row["verdict"], row.get("why")) == ("UNKNOWN", "page-table"), row)
    fired = {p["name"]: p["fired"] for p in info(trace)["probes"]}
    expect(fired["tables__page_fault"] + fired["tables__shadow_page"] >= OPS, fired)


tap.attempt("the guest uses its page tables unrecorded", unrecorded)
tap.attempt("it does the same with them in watched pages", recorded)
tap.attempt("the ledger holds the stores to the tables, and no other", entries)
if ENTERED:
    tap.attempt("each table is opened and answered UNKNOWN page-table", opened)
    tap.attempt("interrupts' frames in watched pages: nothing lost, nothing done twice", frames)
else:
    tap.not_applicable("each table is opened", "KVM's back end here emulates the guest")
    tap.not_applicable("interrupts' frames", "KVM writes them itself there, and loses them")
tap.end()
