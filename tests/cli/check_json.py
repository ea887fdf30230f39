#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks JSON of vmblame against what the command line promises: an object a line, "v":1 in each,
each field of its type, bytes that cover the range exactly.

    check_json.py who|history|show|export|info|check < LINES
"""
import json
import re
import sys

VERDICTS = "WRITTEN-BY CANDIDATES UNEXPLAINED INITIAL NOT-WRITTEN UNKNOWN LOST".split()
ORIGINS = "vcpu virtqueue dma vmm kvm vhost map unseen".split()


class Wrong(Exception):
    pass


def need(true, what):
    if not true:
        raise Wrong(what)


def number(v):
    return type(v) is int and v >= 0


def address(v):
    return type(v) is str and re.fullmatch("0x(0|[1-9a-f][0-9a-f]{0,15})", v)


def in_hex(v):
    return type(v) is str and re.fullmatch("([0-9a-f]{2})+", v)


def text(v):
    return type(v) is str and v != ""


def one_of(words):
    return lambda v: v in words


def many(kind):
    return lambda v: type(v) is list and all(kind(x) for x in v)


# The promised fields of a write; types never change within a "v".
WRITE = {
    "seq": number, "t_ns": number, "t_end_ns": number, "boot": number, "gpa": address,
    "len": number, "bytes": in_hex, "old": in_hex, "origin": one_of(ORIGINS),
    "precision": one_of(["byte", "range", "page"]), "order": text, "vcpu": number,
    "rip": address, "cs_base": address, "cr3": address, "cpl": number, "insn": in_hex,
    "stack": many(address), "dev": text, "queue": number, "req": number, "sector": number,
    "host_tid": number, "symbol": text, "src": text, "actor": text, "write_gpa": address,
    "write_len": number,
}
ANSWER = {
    "verdict": one_of(VERDICTS), "rank": number, "why": text, "detail": text, "lost": number,
    "candidates": many(lambda v: type(v) is dict), "covers": many(one_of(ORIGINS)),
}


def fields(o, table):
    for key, value in o.items():
        if key in table:
            need(table[key](value), f"{key}: {value!r}")


def covers_range(o):
    for key in "bytes", "old":
        if key in o:
            need(len(o[key]) == 2 * o["len"], f"{key} does not cover the range")
    need(("write_gpa" in o) == ("write_len" in o), "write_gpa without write_len, or the reverse")
    if "write_gpa" in o:
        start, whole = int(o["gpa"], 16), int(o["write_gpa"], 16)
        need(whole <= start and start + o["len"] <= whole + o["write_len"],
             "what was clipped is not part of the whole")


def write(o):
    for key in "seq", "t_ns", "boot", "gpa", "len", "origin", "precision", "actor":
        need(key in o, f"a write without {key}")
    if o["origin"] == "vcpu":
        for key in "vcpu", "rip", "cs_base", "cr3", "order":
            need(key in o, f"a vCPU's write without {key}")
        need("dev" not in o, "a vCPU's write with a device")
    if o["origin"] == "virtqueue":
        for key in "dev", "queue", "req":
            need(key in o, f"a device's write without {key}")
        need("rip" not in o, "a device's write with a rip")
    covers_range(o)


def who(o):
    fields(o, WRITE)
    fields(o, ANSWER)
    for key in "verdict", "gpa", "len":
        need(key in o, f"no {key}")
    if o["verdict"] == "WRITTEN-BY":
        write(o)
    else:
        covers_range(o)
    if o["verdict"] == "UNKNOWN":
        need("why" in o, "UNKNOWN without a why")
    if o["verdict"] == "LOST":
        need(o.get("lost", 0) > 0, "LOST without how many")
    for c in o.get("candidates", []):
        fields(c, WRITE)
        write(c)


def history(o):
    fields(o, WRITE)
    if "event" not in o:
        write(o)


def show(o):
    fields(o, WRITE)
    need(type(o.get("known")) is bool and "gpa" in o and "len" in o, "no gpa, len or known")
    need(o["known"] == ("bytes" in o), "known and bytes do not agree")
    covers_range(o)


def export(o):
    need(text(o.get("event")), "no event")
    for key in "seq", "t_ns", "boot":
        need(number(o.get(key)), f"{key}: {o.get(key)!r}")
    for key in "gpa", "rip", "cr3", "cs_base", "rsp", "rbp", "hva":
        need(key not in o or address(o[key]), f"{key}: {o.get(key)!r}")
    for key in "bytes", "insn", "data", "header":
        need(key not in o or o[key] == "" or in_hex(o[key]), f"{key}: {o.get(key)!r}")


def info(o):
    for key in "events", "lost", "file_bytes", "duration_ns", "boots":
        need(number(o.get(key)), f"{key}: {o.get(key)!r}")
    need(type(o.get("truncated")) is bool, "truncated")
    need(type(o.get("event_bytes")) in (int, float), "event_bytes")
    need(type(o.get("meta")) is dict and all(type(v) is str for v in o["meta"].values()), "meta")
    for key in "kinds", "origins":
        need(type(o.get(key)) is dict and all(number(v) for v in o[key].values()), key)
    for key in "coverage", "losses", "probes", "changes":
        need(many(lambda v: type(v) is dict)(o.get(key)), key)
    for cover in o["coverage"]:
        need(text(cover["origin"]) and type(cover["on"]) is bool and number(cover["t_ns"]),
             f"coverage {cover}")
    for loss in o["losses"]:
        need(number(loss["count"]) and number(loss["t0_ns"]) and number(loss["t1_ns"]), f"loss {loss}")


def check(o):
    need(text(o.get("what")) and text(o.get("name")), "no what or name")
    need(type(o.get("available")) is bool, "available")
    need(o["available"] or text(o.get("detail")), "not available, and not why")
    need(o["what"] in ("host", "version", "kvm", "vmm", "probe", "writer", "mode"), "what")
    need(("how" in o) == (o["what"] == "probe" and o["available"]), "how a probe is attached")
    if "how" in o:
        need(o["how"] in ("tracepoint", "fentry", "kprobe", "uprobe", "uretprobe"), "how")
        need(text(o.get("target")), "target")
        need(("cost_ns" in o) == (o["how"] in ("uprobe", "uretprobe")), "what a hit costs")
        need("cost_ns" not in o or number(o["cost_ns"]), "cost_ns")


def no_twice(pairs):
    need(len({k for k, v in pairs}) == len(pairs), f"a key twice: {[k for k, v in pairs]}")
    return dict(pairs)


def main():
    test = globals()[sys.argv[1]]
    count = 0
    for line in sys.stdin.buffer:
        count += 1
        try:
            need(line.endswith(b"\n"), "the last line has no end")
            o = json.loads(line.decode("utf-8"), object_pairs_hook=no_twice)
            need(type(o) is dict and o.get("v") == 1, "no object with v 1")
            test(o)
        except (Wrong, ValueError, KeyError) as wrong:
            sys.exit(f"line {count}: {wrong!r}\n{line[:300]!r}")
    if not count:
        sys.exit("no lines")


if __name__ == "__main__":
    main()
