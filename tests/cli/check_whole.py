#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""As check_json.py, for the commands that look at all of memory.

    check_whole.py find|find_file|diff|who|hot < LINES
"""
import check_json
from check_json import WRITE, address, in_hex, need, number, text

FOUND = dict(WRITE, origin=check_json.one_of(check_json.ORIGINS + ["none"]), until_seq=number,
             until_ns=number, file_off=number)
PAGE = {"gpa": address, "changed": number, "writes": number, "first": address, "end": address,
        "old": in_hex, "bytes": in_hex, "t_ns": number}
HOT = {"rip": address, "gpa": address, "bytes": number, "writes": number, "symbol": text}


def find(o):
    check_json.fields(o, FOUND)
    for key in "gpa", "len", "seq", "t_ns", "origin":
        need(key in o, f"no {key}")
    need(("until_seq" in o) == ("until_ns" in o), "until_seq without until_ns, or the reverse")
    need("until_seq" not in o or o["until_seq"] >= o["seq"], "it ended before it began")
    need((o["origin"] == "vcpu") == ("rip" in o) == ("vcpu" in o), "a rip is a vCPU's")


def find_file(o):
    find(o)
    need(o["file_off"] % 4096 == 0 and 0 < o["len"] <= 4096, "no block")


def diff(o):
    check_json.fields(o, PAGE)
    for key in "gpa", "changed", "writes", "t_ns", "candidates":
        need(key in o, f"no {key}")
    need(int(o["gpa"], 16) % 4096 == 0, "no page")
    for key in "first", "end", "old", "bytes":
        need((key in o) == (o["changed"] > 0), f"{key}, or not")
    if o["changed"]:
        n = int(o["end"], 16) - int(o["first"], 16)
        need(o["changed"] <= n and len(o["old"]) == len(o["bytes"]) == 2 * n, "bytes and range")
        need(o["old"][:2] != o["bytes"][:2] and o["old"][-2:] != o["bytes"][-2:], "ends that are equal")
    for c in o["candidates"]:
        need(c["origin"] in check_json.ORIGINS and number(c["writes"]), f"candidate {c}")
        need(("rip" in c) == (c["origin"] == "vcpu"), f"candidate {c}")


def who(o, as_promised=check_json.who):
    """In full mode resets are not observed, and of a store there is its linear address alone."""
    for w in [o] + o.get("candidates", []):
        need("boot" not in w and "cs_base" not in w and "cr3" not in w, "what nobody saw")
        w["boot"] = 0
        if w.get("origin") == "vcpu":
            w["cs_base"] = w["cr3"] = "0x0"
    as_promised(o)


def hot(o):
    check_json.info(o)
    need(number(o.get("bytes_stored")), "bytes_stored")
    for name, key in ("hot_instructions", "rip"), ("hot_pages", "gpa"):
        for item in o[name]:
            check_json.fields(item, HOT)
            need(key in item and item["writes"] > 0, f"{name}: {item}")
        counts = [item["bytes"] for item in o[name]]
        need(counts == sorted(counts, reverse=True), f"{name}: not the hottest first")


for test in find, find_file, diff, who, hot:
    setattr(check_json, test.__name__, test)
check_json.main()
