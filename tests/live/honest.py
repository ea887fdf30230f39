#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Honest: losses are counted and answered as LOST; a probe that is missing makes answers UNKNOWN,
never another name. Set PROBES=all to leave out each probe in turn, else some at random (SEED)."""
import os
import random

from live import (OK, Tap, expect, info, last_writers, ranges, record, rows, sized, truth,
                  watch, who)

tap = Tap()
# Of the VMM's, those that tell when something ends, or more exactly where.
SILENT = ("_debug_ret", "_post_init", "_post_reset")
GUEST = sized("stores", "stores-middle")
MMIO_ONLY = []
for row in rows("check", statuses=(0, 1)):
    if row["what"] == "probe" and row["name"] not in (
            "core__sched_process_fork", "exits__kvm_mmio", "exits__kvm_userspace_exit",
            "exits__kvm_inj_exception"):
        MMIO_ONLY += ["--without", row["name"]]
PROBES = [r["name"] for r in rows("check", statuses=(0, 1)) if r["what"] == "probe"]


def check_answers(trace, texts, last, allowed):
    """Each WRITTEN-BY is right; returns the verdicts that were given."""
    seen = set()
    for text in texts:
        for row in who(trace, text):
            seen.add(row["verdict"])
            for i in range(row["len"]):
                at = int(row["gpa"], 16) + i
                if row["verdict"] == "WRITTEN-BY":
                    said = row["bytes"][2 * i:2 * i + 2], int(row.get("rip", "0"), 16)
                    expect(said == last.get(at), f"{at:#x}: {last.get(at)}, not {said}")
                elif at in last:
                    expect(row["verdict"] in allowed, f"{at:#x}: {row}")
    return seen


def count_losses():
    """Kept and lost accesses together are as many as without loss."""
    full, tiny = tap.path("full.vmb"), tap.path("tiny.vmb")
    for path, options in ((full, []), (tiny, ["--ring-size", "4K"])):
        done = record(path, GUEST, *options, *MMIO_ONLY, *watch("stores"))
        expect(done.status == OK and ": ok" in done.out, done.err)
    a, b = info(full), info(tiny)
    expect(a["lost"] == 0, f"{a['lost']} lost with a large ring")
    expect(a["origins"]["vcpu"] == len(truth(GUEST)), a["origins"])
    expect(b["lost"] > 0, "the tiny ring lost nothing: the test cannot see what it is for")
    kept = b["kinds"]["mmio"]
    expect(kept + b["lost"] == a["kinds"]["mmio"],
           f"{kept} kept + {b['lost']} lost is not {a['kinds']['mmio']}")
    spans = b["losses"]
    expect(sum(s["count"] for s in spans) == b["lost"], "the losses' counts do not add up")
    expect(all(s["t0_ns"] <= s["t1_ns"] for s in spans), "a loss without a time span")


def lossy_answers():
    """With a virtqueue probe missing nothing could be WRITTEN-BY, so all of them are there."""
    trace = tap.path("lossy.vmb")
    done = record(trace, GUEST, "--ring-size", "4K", *watch("stores"))
    expect(done.status == OK, done.err)
    seen = check_answers(trace, ranges("stores").values(), last_writers(truth(GUEST)), {"LOST"})
    expect("LOST" in seen, f"only {seen}")
    row = who(trace, "0x3000000+8")[0]
    expect((row["verdict"], row["why"]) == ("UNKNOWN", "not-watched"), row)



def answers_by_byte(trace, text):
    found = {}
    for row in who(trace, text):
        for i in range(row["len"]):
            byte = row.get("bytes", "")[2 * i:2 * i + 2]
            found[int(row["gpa"], 16) + i] = (row["verdict"], row.get("origin"), row.get("rip"),
                                              byte)
    return found


def without_in_pages(probe, guest):
    """Neither the VMM nor its devices are observed then, whatever the other probes tell."""
    trace = tap.path("pages.vmb")
    done = record(trace, guest, "--mode", "pages", "--without", probe)
    expect(done.status == OK, done.err)
    for text in ranges(guest).values():
        for row in who(trace, text):
            expect(not {"dma", "vmm"} & set(row.get("covers", ())), row)
            expect(row["verdict"] != "UNEXPLAINED", row)


def without(probe, guest, before):
    trace = tap.path("without.vmb")
    done = record(trace, guest, "--without", probe, *watch(guest))
    expect(done.status == OK, done.err)
    for text in ranges(guest).values():
        for at, answer in answers_by_byte(trace, text).items():
            expect(answer[0] in ("UNKNOWN", "LOST") or answer == before[at],
                   f"{at:#x}: {before[at]} became {answer}")


def baseline(guest):
    trace = tap.path("with.vmb")
    done = record(trace, guest, *watch(guest))
    expect(done.status == OK, done.err)
    found = {}
    for text in ranges(guest).values():
        found.update(answers_by_byte(trace, text))
    expect(any(a[0] == "WRITTEN-BY" for a in found.values()), "nothing to compare")
    return found


tap.attempt("kept and lost accesses add up to what the guest did", count_losses)
tap.attempt("with losses, answers are right or LOST", lossy_answers)
names = PROBES
if os.environ.get("PROBES") != "all":
    seed = int(os.environ.get("SEED", str(random.randrange(10**6))))
    print(f"# SEED={seed}")
    names = random.Random(seed).sample(PROBES, sized(7, 1))
    for important in ("exits__kvm_mmio", "virtqueue__virtqueue_push", "vmm__address_space_rw"):
        if important not in names:
            names.append(important)
before_vq = baseline("vq")
for name in names:
    if name.startswith("vmm__") and not name.endswith(SILENT):
        tap.attempt(f"without {name} the VMM is not observed", without_in_pages, name, "vq")
    else:
        tap.attempt(f"without {name} no answer names another writer", without, name, "vq", before_vq)
tap.end()
