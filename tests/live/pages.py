#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages mode: what memory held at marks and at the end, next to what QEMU saved then; each version of a
page next to what the guest is known to have made of it; and who is said to have opened it."""
import collections
import contextlib
import json
import os
import signal
import subprocess
import time
import zlib

from live import (OK, SLOW, Tap, ThreadStopped, VMBLAME, Whole, back_end, expect, info, qemu, ranges, record_args,
                  rows, run, sized, smp_command, smp_image, truth, unwritable, who)

tap = Tap()
EMULATED = back_end() == "pvm"  # no faults
MIB = 1 << 20
RAM = 0, 64 * MIB
PAGE = 4096
STORE = 2  # of a fault's error code
LATE_NS = 10 ** 10  # AGENT_START_NS of user/agent.h
FLAG = int(ranges("smp")["flag"].split("+")[0], 16)


def export(trace, text, kinds):
    done = run([VMBLAME, "export", trace, "--format", "json", "--range", text, "--kinds", kinds])
    expect(done.status == 0, done.err)
    return [row for row in map(json.loads, done.out.splitlines()) if row["event"] in kinds]


def run_marked(name, guest, stages, more, store):
    args = qemu(guest, *more, exit_device=False)
    with Whole(tap.path(name), args, RAM, mode="pages") as running:
        for text in stages:
            running.console.wait(text, 120)
            running.mark()
        running.end()
        expect(": ok" in running.console.text(), running.console.text())
        store.append(running)


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def runs(data):
    """[(offset, bytes)] of a delta: docs/format.md, section 7."""
    at = end = 0
    while at < len(data):
        gap, at = varint(data, at)
        more, at = varint(data, at)
        yield end + gap, data[at:at + more + 1]
        end += gap + more + 1
        at += more + 1


def pieces(text):
    """(page, first, end): the range's bytes in each page."""
    start, size = (int(n, 0) for n in text.split("+"))
    for page in range(start & ~(PAGE - 1), start + size, PAGE):
        yield page, max(start - page, 0), min(start + size - page, PAGE)


def states(stores, page, first, end):
    """Checksums of those bytes, from zeroes on, after each store to them: {checksum: [after store n of
    the page]}, and the page's stores' instructions."""
    data, sums, rips = bytearray(PAGE), collections.defaultdict(list), []
    sums[zlib.crc32(data[first:end])].append(0)
    for gpa, length, text, rip in stores:
        if gpa + length <= page + first or gpa >= page + end:
            continue
        for at, byte in enumerate(bytes.fromhex(text), gpa - page):
            if first <= at < end:
                data[at] = byte
        rips.append(rip)
        sums[zlib.crc32(data[first:end])].append(len(rips))
    return sums, rips


def versions_real(guest, least=50, name_of="stores"):
    """Each is as the guest had made it at some time, and they come in order."""
    stores, count = truth(name_of), 0
    for name, text in ranges("stores").items():
        told = collections.defaultdict(list)
        for row in export(guest.trace, text, "version,content"):
            told[int(row["gpa"], 16) & ~(PAGE - 1)].append(row)
        for page, first, end in pieces(text):
            sums, _ = states(stores, page, first, end)
            data, after = bytearray(PAGE), 0
            for row in sorted(told[page], key=lambda row: row["seq"]):
                if row["event"] == "content":
                    expect(row["why"] != "keyframe" or bytes.fromhex(row["data"]) == data, row["seq"])
                    continue
                expect(row["t0_ns"] <= row["t_ns"] and not row["torn"], row)
                for at, put in runs(bytes.fromhex(row["data"])):
                    data[at:at + len(put)] = put
                held = [n for n in sums[zlib.crc32(data[first:end])] if n >= after]
                expect(held, f"{name}, page {page:#x}: #{row['seq']} is no state that it had")
                after = held[0]
                count += 1
    expect(count >= least, f"{count} versions")
    print(f"# {count} versions")


def faults_right(guest):
    """The instructions of the write faults are those of stores to the page, in their order."""
    stores, count = truth("stores"), 0
    for row in export(guest.trace, "0+64M", "page_fault"):
        told = int(row["gpa"], 16) & ~(PAGE - 1)
        expect(row["linear"] or told, row)
    for name, text in ranges("stores").items():
        told = collections.defaultdict(list)
        for row in rows("history", guest.trace, text):
            for one in row.get("candidates", ()):
                if "first_store_rip" in one:
                    told[int(row["gpa"], 16) & ~(PAGE - 1)].append(
                        (one["seq"], int(one["first_store_rip"], 16)))
        for page, first, end in pieces(text):
            if (first, end) != (0, PAGE):
                continue  # others store there, too
            _, rips = states(stores, page, first, end)
            at = 0
            for seq, rip in sorted(set(told[page])):
                expect(rip in rips[at:], f"{name}, page {page:#x}: #{seq}, {rip:#x} stored nothing")
                # The same store may fault again, when the log is read before it is made.
                at += rips[at:].index(rip)
                count += 1
    expect(count > 30, f"{count} faults")
    print(f"# {count} write faults")


def nobody_named(guest):
    """Pages are what is seen: no store of a vCPU's has a writer, and says so."""
    verdicts = collections.Counter()
    for text in ranges("stores").values():
        for row in who(guest.trace, text):
            verdicts[row["verdict"]] += row["len"]
            if row["verdict"] == "CANDIDATES":
                expect(row["precision"] == "page" and row["t_ns"] < row["t_end_ns"], row)
                named = [one for one in row["candidates"] if "first_store_rip" in one]
                expect(bool(named) != EMULATED, row)
    expect(set(verdicts) <= {"CANDIDATES", "INITIAL"} and verdicts["CANDIDATES"] > 10000, verdicts)


def loads_blame_nobody():
    """Pages that the guest only loads from: no version, and nobody wrote."""
    trace = tap.path("tally.vmb")
    args = [a for a in qemu("tally") if a != "-no-reboot"]
    with subprocess.Popen(record_args(trace, "--mode", "pages") + args, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "over and over" in line:
                break
        out, err = process.communicate("q", timeout=60 * SLOW)
    expect(process.returncode == OK and "tally: done" in out, out + err)
    loaded = "0x2000000+256K"
    expect(not export(trace, loaded, "version"), "versions of pages that nobody stored to")
    answers = who(trace, loaded)
    expect({row["verdict"] for row in answers} == {"INITIAL"}, answers)
    verdicts = {row["verdict"] for row in who(trace, "0x2400000+4")}
    expect("CANDIDATES" in verdicts, verdicts)


def marked():
    done = []
    if not tap.attempt("stores: runs, and stands still at a mark", run_marked, "stores", "stores",
                       ("operations",), (), done):
        return
    for moment in done[0].saved:
        tap.attempt(f"stores: {moment}: all of RAM is what pmemsave says", done[0].show, moment)
    tap.attempt("stores: verify finds all as it is recorded, and as pmemsave says", done[0].verify)
    tap.attempt("stores: each version is a state that the page had", versions_real, done[0])
    if EMULATED:
        tap.not_applicable("first_store_rip", "KVM emulates the guest: nothing faults")
    else:
        tap.attempt("stores: first_store_rip is that of a store to the page", faults_right, done[0])
    tap.attempt("stores: candidates, and nobody else", nobody_named, done[0])


def recorder_stands_still(store):
    """The guest goes on, and what it did meanwhile is one window."""
    args = qemu("stores", exit_device=False)
    with Whole(tap.path("still"), args, RAM, mode="pages") as running:
        running.console.wait("operations", 120)
        running.process.send_signal(signal.SIGSTOP)
        running.console.wait(": ok", 120)
        running.process.send_signal(signal.SIGCONT)
        running.end()
        store.append(running)


def begins_late(store):
    """The recorder has not copied memory when the agent lets the guest go: nothing is claimed of the time before."""
    args = qemu("stores", "-S", exit_device=False)
    with Whole(tap.path("late"), args, RAM, mode="pages") as running:
        running.process.send_signal(signal.SIGSTOP)
        running.qmp("cont")
        running.console.wait("operations", 120)
        running.process.send_signal(signal.SIGCONT)
        running.err.wait("it began meanwhile", 60)
        running.console.wait(": ok", 120)
        running.end()
        store.append(running)
    begun = [row["t_ns"] for row in info(running.trace)["coverage"] if row["origin"] == "vcpu" and row["on"]]
    moments = [row for row in export(running.trace, "0+64M", "content") if row["why"] == "start"]
    expect(begun and moments and min(begun) >= LATE_NS, (begun, len(moments)))
    for row in export(running.trace, "0+64M", "version"):
        expect(row["t_ns"] >= min(begun) and row["t0_ns"] >= LATE_NS, row)


def begun_from(store):
    """With --from in the midst of it: all is known from then on."""
    args = qemu("stores", exit_device=False)
    with Whole(tap.path("from"), args, RAM, mode="pages", options=("--from", "console:operations")) as running:
        running.console.wait("operations", 120)
        running.mark()
        running.end()
        store.append(running)


def agent_stands_still(store):
    """Its thread alone, longer than either side waits for the other; a mark then says that it is not exact."""
    args = qemu("stores", exit_device=False)
    with Whole(tap.path("stalled"), args, RAM, mode="pages") as running:
        running.console.wait("operations", 120)
        with ThreadStopped(running.pid, "vmblame"):
            running.console.wait(": ok", 120)
            done = run([VMBLAME, "mark", "--json", running.trace, "stalled"])
            expect(done.status == 0 and not json.loads(done.out)["exact"], done.out + done.err)
        running.end()
        expect("the vCPUs did not stop" in running.err.text(), running.err.text())
        store.append(running)


def recorder_killed():
    """The guest goes on, and the trace is whole up to there."""
    args = qemu("stores-loop", exit_device=False)
    with Whole(tap.path("killed"), args, RAM, mode="pages") as running:
        running.console.wait("operations", 120)
        while not export(running.trace, ranges("stores")["A"], "version"):
            time.sleep(0.1)
        running.process.kill()
        running.console.wait(": ok", 120)
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait(60 * SLOW)
    expect(run([VMBLAME, "verify", running.trace]).status == 0, "verify")
    versions_real(running, 20, "stores-loop")
    expect(info(running.trace)["truncated"], "the trace says that it is whole")


def gap():
    done = []
    if tap.attempt("the recorder stands still: the guest goes on", recorder_stands_still, done):
        tap.attempt("still: the end is what pmemsave says", done[0].show, "end")
        tap.attempt("still: verify finds all as it is recorded, and as pmemsave says", done[0].verify)
        tap.attempt("still: each version is a state that the page had", versions_real, done[0], 10)
    done = []
    if tap.attempt("memory is copied late: the guest goes on, and nothing is claimed of before", begins_late, done):
        tap.attempt("late: verify finds all as it is recorded, and as pmemsave says", done[0].verify)
        tap.attempt("late: the end is what pmemsave says", done[0].show, "end")
    done = []
    if tap.attempt("--from a line on the console", begun_from, done):
        for moment in done[0].saved:
            tap.attempt(f"--from: {moment}: all of RAM is what pmemsave says", done[0].show, moment)
        tap.attempt("--from: verify finds all as it is recorded, and as pmemsave says", done[0].verify)
    done = []
    if tap.attempt("the agent's thread stands still: the guest goes on", agent_stands_still, done):
        tap.attempt("stalled: the end is what pmemsave says", done[0].show, "end")
        tap.attempt("stalled: verify finds all as it is recorded, and as pmemsave says", done[0].verify)
        tap.attempt("stalled: each version is a state that the page had", versions_real, done[0], 10)
    tap.attempt("the recorder is killed: the guest goes on, the trace is true", recorder_killed)


def two_vcpus():
    """They store to one word in turn, vCPU n the numbers that n is the rest of less one: nobody is credited with
    another's, and where only one of them is known the answer says that there may be others."""
    trace, image = tap.path("two.vmb"), smp_image(tap.path("two.img"), ("spin",), 1, 2, sized(20000, 300))
    done = run(record_args(trace, "--mode", "pages", "--epoch", "10ms") + smp_command(image, 2), 300)
    expect(done.status == OK and ": ok" in done.out, done.out + done.err)
    word, several, told, before = bytearray(8), 0, 0, 0
    for row in rows("history", trace, f"{FLAG:#x}+8"):
        if row.get("candidates") is None:
            continue
        data, at = bytes.fromhex(row["bytes"]), int(row["gpa"], 16) - FLAG
        word[at:at + len(data)] = data
        value = int.from_bytes(word, "little")
        several += value > before + 1
        before = value
        opened = {one["vcpu"] for one in row["candidates"] if one["how"] in ("store-fault", "load-fault")}
        told += len(opened) == 1
        expect([one for one in row["candidates"] if one["how"] == "unseen-store"], row)
    answer = who(trace, f"{FLAG:#x}+1")[0]
    expect(answer["verdict"] == "CANDIDATES" and answer["precision"] == "page", answer)
    expect(several > 3 and (told > 3) != EMULATED, f"{several} windows with stores of both, {told} with one fault")


def back_end_whole(name, *options):
    """All of RAM at the end, wherever it comes from; holes stay holes."""
    args = qemu("stores", *options, exit_device=False)
    with Whole(tap.path(name), args, RAM, mode="pages") as running:
        running.console.wait("operations", 120)
        done = run([VMBLAME, "mark", running.trace, "one"])  # pmemsave would fill them
        expect(done.status == 0, done.err)
        fds = f"/proc/{running.pid}/fd"
        held = [os.stat(f"{fds}/{fd}") for fd in os.listdir(fds)
                if "memory-backend-memfd" in os.readlink(f"{fds}/{fd}")]
        for memory in held:
            expect(memory.st_blocks * 512 < RAM[1] / 4, f"{memory.st_blocks * 512} bytes of it are there")
        running.end()
    running.show("end")
    running.verify()
    expect(bool(held) == ("memfd" in " ".join(options)), held)


@contextlib.contextmanager
def huge_pages(n):
    """So many more of 2 MiB, for a while; whether there are."""
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    if not os.path.exists(path):
        yield False
        return
    with open(path, encoding="ascii") as text:
        before = int(text.read())

    def reserve(number):
        with open(path, "r+", encoding="ascii") as text:
            text.write(str(number))
        with open(path, encoding="ascii") as text:
            return int(text.read())

    try:
        yield reserve(before + n) == before + n
    finally:
        reserve(before)


def back_ends():
    shared = os.path.join("/dev/shm", f"vmblame-test-{os.getpid()}")
    tap.attempt("RAM in a memfd: exact, and its holes are not filled", back_end_whole, "memfd", "-object",
                "memory-backend-memfd,id=m,size=64M,share=on", "-machine", "pc,memory-backend=m")
    tap.attempt("RAM in a file: exact", back_end_whole, "file", "-object",
                f"memory-backend-file,id=m,size=64M,share=on,mem-path={shared}", "-machine",
                "pc,memory-backend=m")
    if os.path.exists(shared):
        os.unlink(shared)
    with huge_pages(40) as there:
        if there:
            tap.attempt("RAM in huge pages: exact, and its holes are not filled", back_end_whole, "huge",
                        "-object", "memory-backend-memfd,id=m,size=64M,share=on,hugetlb=on,hugetlbsize=2M",
                        "-machine", "pc,memory-backend=m")
        else:
            tap.not_applicable("RAM in huge pages", "this host has no 80 MiB of them")
    nodes = []
    for n in range(2):
        nodes += ["-object", f"memory-backend-ram,id=m{n},size=32M", "-numa", f"node,memdev=m{n}"]
    tap.attempt("RAM of two NUMA nodes: exact", back_end_whole, "numa", *nodes)


marked()
tap.attempt("two vCPUs, one word: whoever opened the page is not all there is", two_vcpus)
back_ends()
gap()
unwritable(tap, lambda trace: record_args(trace, "--mode", "pages", "-q") + qemu("stores"), "64k")
tap.attempt("pages that are only loaded from: nobody", loads_blame_nobody)
tap.end()
