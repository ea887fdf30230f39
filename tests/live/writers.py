#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU itself writes to guest RAM, past KVM's log of dirty pages: a disk by AHCI, VGA, a balloon, a
debugger, loadvm, a reset. Each changed page is found by the next harvest, not by a look at all of
memory, and has the writer among its candidates; memory is what QEMU says that it is."""
import time

from live import (GUESTS, SLOW, Gdb, Tap, VMBLAME, Whole, expect, info, ranges, record_args, rows, run, who)

tap = Tap()
MIB = 1 << 20
RAM = 0, 64 * MIB
ROM = 0xfffc0010  # in the BIOS
LOADED = 0x1c02000  # what a loader puts there at each reset
FREE = int(ranges("balloon")["free"].split("+")[0], 0)
GO = int(ranges("balloon")["go"].split("+")[0], 0)
BALLOONED = ranges("balloon")["pages"]
WORD = "c0ffee42"


def command(gdb, *more):
    """A disk by AHCI, from which a snapshot can be loaded; VGA; a balloon; a loader."""
    with open(tap.path("loaded"), "wb") as loaded:
        loaded.write(b"loaded" * 8)
    return ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "64",
            "-serial", "stdio", "-vga", "std", "-device", "ahci,id=ahci", "-drive",
            f"if=none,id=d,format=raw,snapshot=on,file={GUESTS}/balloon.img", "-device",
            "ide-hd,drive=d,bus=ahci.0", "-device", "virtio-balloon-pci", "-device",
            f"loader,file={tap.path('loaded')},addr={LOADED:#x},force-raw=on", "-gdb", f"unix:{gdb},server=on,wait=off", *more]


def versions(trace, gpa):
    """What history says of a range of a trace that is still being written. After a mark or savevm
    KVM's log may begin with all pages in it: then that is what has the page compared."""
    return run([VMBLAME, "history", trace, f"{gpa:#x}+8", "--json"]).out.count("found changed")


def poke(running, gdb, gpa, data):
    """As a debugger does. The harvest has found it when the trace has one version more."""
    before = versions(running.trace, gpa)
    said = gdb(f"M{gpa:x},{len(data) // 2:x}:{data}")
    expect(said == "OK", said)
    awaited(running, gpa, before)


def awaited(running, gpa, before):
    end = time.monotonic() + 60 * SLOW
    while versions(running.trace, gpa) == before:
        expect(time.monotonic() < end, f"{gpa:#x}: no harvest found it changed: " + run(
            [VMBLAME, "history", running.trace, f"{gpa:#x}+8"]).out)
        time.sleep(0.1)


def monitor(running, line):
    said = running.qmp("human-monitor-command", **{"command-line": line})
    expect(not said, said)


def scenario(store):
    sock = tap.path("gdb")
    with Whole(tap.path("writers"), command(sock), RAM, hole=(0xa0000, 0xc0000), mode="pages") as running:
        store.append(running)
        running.console.wait("balloon: filled", 120)
        awaited(running, int(BALLOONED.split("+")[0], 0), 0)
        gdb = Gdb(sock)
        poke(running, gdb, GO, "01")
        gdb("D")
        gdb.socket.close()
        running.console.wait("balloon: ready", 120)
        gdb = Gdb(sock)  # the guest stands still from here on
        poke(running, gdb, FREE + 16, WORD)
        running.mark_stopped()
        monitor(running, "savevm one")
        poke(running, gdb, FREE + 16, "00112233")
        before = versions(running.trace, FREE + 16)
        monitor(running, "loadvm one")
        awaited(running, FREE + 16, before)
        running.mark_stopped()
        poke(running, gdb, ROM, WORD)
        poke(running, gdb, LOADED, WORD)
        before = versions(running.trace, LOADED)
        running.qmp("system_reset")
        awaited(running, LOADED, before)
        running.save("end")
        running.qmp("quit")
        expect(running.process.wait(60 * SLOW) == 0, running.err.text())
        running.err.thread.join()
        expect("lost 0" in running.err.text(), running.err.text())


def suspects(trace, text):
    """Candidates of the versions of a range, the last version first."""
    return [row["candidates"] for row in rows("history", trace, text) if "candidates" in row][::-1]


def named(candidates, site, **fields):
    return [one for one in candidates if one.get("site") == site and
            all(one.get(key) == value for key, value in fields.items())]


def disk_read(trace):
    """The boot sector: by DMA to where it lies, or to a buffer of the firmware's."""
    found = [one for row in rows("history", trace, "0+64M") if "candidates" in row
             for one in row["candidates"] if one.get("origin") == "dma"]
    closed = [one for one in found if one["how"] == "unmapped"]
    expect(closed and all(one["site"] == "address_space_map" for one in found), found[:3])
    expect(any(one["len"] >= 512 for one in closed), closed[:5])
    # What AHCI tells of its commands it writes to memory that it has mapped all the while.
    expect([one for one in found if one["how"] == "mapped"], "no page that stayed mapped")
    told = run([VMBLAME, "history", trace, "0+64M"])
    expect(told.status == 0 and "address_space_map" in told.out, told.out[-500:] + told.err)


def screen(trace):
    found = [one for row in rows("history", trace, "0xfd000000+4096") if "candidates" in row
             for one in row["candidates"]]
    expect(named(found, "memory_region_set_dirty", origin="vmm", how="vmm-write"), found[:3])


def balloon(trace):
    start, size = (int(n, 0) for n in BALLOONED.split("+"))
    for page in range(start, start + size, 4096):
        row = who(trace, f"{page:#x}+4")[0]
        found = suspects(trace, f"{page:#x}+4")
        expect(row["verdict"] == "CANDIDATES", row)
        expect(any(named(one, "ram_block_discard_range", gpa=f"{page:#x}", len=4096) for one in found),
               found)


def debugger(trace):
    found = suspects(trace, f"{FREE + 16:#x}+4")
    expect(any(named(one, "cpu_memory_rw_debug", gpa=f"{FREE + 16:#x}", len=4) for one in found), found)
    actors = [row.get("actor") for row in rows("history", trace, f"{FREE + 16:#x}+4")]
    expect("found changed (device)" in actors, actors)
    beside = suspects(trace, f"{FREE + 4096:#x}+4")
    expect(not beside, beside)


def snapshot(trace):
    found = suspects(trace, f"{FREE + 16:#x}+4")
    expect(named(found[0], "loadvm", how="vmm-somewhere"), found)


def reset(trace):
    found = suspects(trace, f"{LOADED:#x}+4")
    expect(len(found) == 2, found)
    expect(named(found[0], "address_space_write_rom", gpa=f"{LOADED:#x}"), found)
    expect(named(found[0], "reset", how="vmm-somewhere"), found)
    for gpa, candidates in ((ROM, suspects(trace, f"{ROM:#x}+4")[0]), (LOADED, found[1])):
        expect(named(candidates, "cpu_memory_rw_debug", gpa=f"{gpa:#x}", len=4), candidates)


def observed(trace):
    """Both classes, and neither where one of the functions is not probed."""
    covers = {row["origin"] for row in info(trace)["coverage"] if row["on"]}
    expect({"dma", "vmm"} <= covers, covers)
    for probe in ("vmm__address_space_unmap", "vmm__memory_region_set_dirty"):
        other = tap.path("without.vmb")
        done = run(record_args(other, "--mode", "pages", "--until", "1s", "--then", "kill", "--force",
                               "--without", probe) + command(tap.path("gdb2"), "-S"))
        expect("dma, vmm" in done.err, done.err)
        covers = {row["origin"] for row in info(other)["coverage"] if row["on"]}
        expect(not {"dma", "vmm"} & covers, covers)


def all_of_it():
    done = []
    if not tap.attempt("QEMU writes: each time a harvest finds it", scenario, done):
        return
    for moment in done[0].saved:
        tap.attempt(f"{moment}: all of RAM is what pmemsave says", done[0].show, moment)
    trace = done[0].trace
    tap.attempt("AHCI: memory that it had mapped", disk_read, trace)
    tap.attempt("VGA: its memory", screen, trace)
    tap.attempt("a balloon: the pages that it took", balloon, trace)
    tap.attempt("a debugger: the bytes that it wrote", debugger, trace)
    tap.attempt("loadvm", snapshot, trace)
    tap.attempt("a reset: what was loaded is restored; a ROM that a debugger wrote", reset, trace)
    tap.attempt("observed, unless a probe is missing", observed, trace)


all_of_it()
tap.end()
