#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Full mode: QEMU's TCG runs the guest, and every store of every vCPU is in the trace. What it holds
is what the guests say that they did and what QEMU finds in RAM, of all of a Linux too; devices' writes
are found, and put down to nobody; no end of the recorder's is the guest's. Needs neither KVM nor BPF
nor root. PARTS (stores guests devices crash user linux) chooses among them."""
import concurrent.futures
import ctypes
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

from live import (BUILD, GUESTS, OK, SLOW, TOP, VMBLAME, Whole, Gdb, Tap, expect, info, qemu,
                  ranges, record_args, rows, run, smp_command, smp_image, truth,
                  unwritable, who)

PARTS = os.environ.get("PARTS", "stores guests devices crash user linux").split()
MIB = 1 << 20
SINGLE, MULTI = "tcg,thread=single", "tcg,thread=multi"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
VGA = 0xa0000, 0xc0000
TABLES_MAPPED = 0x1900000  # tests/guests/tables_layout.h
VQ_STORES = 12
PR_SET_CHILD_SUBREAPER = 36
BOOT = "console=ttyS0 nokaslr panic=-1 init_on_alloc=0 cryptomgr.notests"  # fewer stores to read
STAGES = ("Memory: ", "Run /init", "@sum")  # of a boot, where it is marked


def lacks():
    for tool in ("qemu-system-x86_64", "busybox", "cpio"):
        if not shutil.which(tool):
            return tool
    return None


tap = Tap(lacks)
workers = concurrent.futures.ThreadPoolExecutor(2)


def command(guest, *more, accel=SINGLE, **how):
    return qemu(guest, *more, accel=accel, **how)


def record(name, guest, *more, options=(), before=(), **how):
    trace = tap.path(name + ".vmb")
    done = run([*before, *record_args(trace, "--mode", "full", *options),
                *command(guest, *more, **how)])
    return trace, done


def export(trace, text, kinds):
    done = run([VMBLAME, "export", trace, "--format", "json", "--range", text, "--kinds", kinds])
    expect(done.status == 0, done.err)
    return [row for row in map(json.loads, done.out.splitlines()) if row["event"] in kinds]


def whole_stores(trace, texts):
    """What history says that vCPUs stored, in order, in the form of truth(). What was told in parts
    (of an access wider than 8 bytes, or into two pages) is one store again, as far as its parts lie
    side by side."""
    parts, found = {}, []
    for text in texts:
        parts.update((row["seq"], row["part"]) for row in export(trace, text, "store"))
        found += [row for row in rows("history", trace, text) if row.get("origin") == "vcpu" and
                  "bytes" in row]
    found.sort(key=lambda row: row["seq"])
    joined, last = [], None
    for row in found:
        expect(row["seq"] in parts and row["precision"] == "byte", row)
        gpa, rip, part = int(row["gpa"], 16), int(row["rip"], 16), parts[row["seq"]]
        if (last and part and last == (row["seq"] - 1, part - 1) and joined[-1][3] == rip and
                joined[-1][0] + joined[-1][1] == gpa):
            gpa, length, data, rip = joined[-1]
            joined[-1] = (gpa, length + row["len"], data + row["bytes"], rip)
        else:
            joined.append((gpa, row["len"], row["bytes"], rip))
        last = row["seq"], part
    return joined


def same_stores(want, got, complete=True):
    for number, (a, b) in enumerate(zip(want, got)):
        expect(a == b, f"store {number}: the guest did {a}, the trace says {b}")
    expect(len(want) == len(got) if complete else len(got) <= len(want),
           f"{len(want)} stores, {len(got)} in the trace")


# The stores guest, and what it is known to have done.

def stores_run(store):
    gpa, size = 0, 64 * MIB
    with Whole(tap.path("stores"), command("stores", exit_device=False), (gpa, size)) as guest:
        guest.end()
        expect(": ok" in guest.console.text(), guest.console.text())
        store.append(guest)


def stores_ledger(guest):
    want = truth("stores")
    expect(len(want) >= 100000, "the guest makes too few stores")
    same_stores(want, whole_stores(guest.trace, ranges("stores").values()))


def stores_who(guest):
    """Every byte of both ranges."""
    last = {}
    for gpa, length, data, rip in truth("stores"):
        for i in range(length):
            last[gpa + i] = (data[2 * i:2 * i + 2], rip)
    named = 0
    for text in ranges("stores").values():
        for row in who(guest.trace, text):
            for i in range(row["len"]):
                at = int(row["gpa"], 16) + i
                if at not in last:
                    expect(row["verdict"] == "INITIAL", f"{at:#x}: {row}")
                    continue
                expect(row["verdict"] == "WRITTEN-BY", f"{at:#x}: {row}")
                said = row["bytes"][2 * i:2 * i + 2], int(row["rip"], 16)
                expect(said == last[at], f"{at:#x}: {last[at]}, not {said}")
                named += 1
    expect(named == len(last), f"{named} bytes of {len(last)}")


def stores_find(guest):
    """Numbers that the guest stored once: there from their store until the first one that changes
    them."""
    text = ranges("stores")["A"]
    writes = [row for row in rows("history", guest.trace, text) if "bytes" in row]
    values = [row["bytes"] for row in writes if row["len"] == 8]
    once = [n for n, row in enumerate(writes) if row["len"] == 8 and
            values.count(row["bytes"]) == 1][::max(1, len(values) // 12)][:6]
    expect(len(once) >= 4, f"only {len(once)} numbers are stored once")
    ended = 0
    for n in once:
        gpa, data = int(writes[n]["gpa"], 16), bytes.fromhex(writes[n]["bytes"])
        until, now = None, bytearray(data)
        for row in writes[n + 1:]:
            at = int(row["gpa"], 16) - gpa
            for i, byte in enumerate(bytes.fromhex(row["bytes"])):
                if 0 <= at + i < 8:
                    now[at + i] = byte
            if now != data:
                until = row["seq"]
                break
        found = [row for row in rows("find", guest.trace, "--in", text,
                                     f"u64:{int.from_bytes(data, 'little'):#x}")
                 if int(row["gpa"], 16) == gpa]
        said = [(row["seq"], row.get("until_seq"), row["origin"], row["rip"]) for row in found]
        expect(said == [(writes[n]["seq"], until, "vcpu", writes[n]["rip"])],
               f"{data.hex()} at {gpa:#x}, #{writes[n]['seq']} to #{until}: {said}")
        ended += until is not None
    expect(ended, "none was ever overwritten")


def stores_only():
    """Byte by byte what the guest did to two pages, one of them asked for by one byte; of others
    nothing is known. A store into the next page is told as far as it is asked for."""
    start = int(re.match(r"\w+", ranges("stores")["A"])[0], 16)
    pages = [start & ~4095, (start & ~4095) + 8192]
    trace, done = record("only", "stores", options=["--only", f"{pages[0]:#x}+4K",
                                                    "--only", f"{pages[1] + 77:#x}"])
    expect(done.status == OK and ": ok" in done.out, f"status {done.status}: {done.out}{done.err}")
    want, got, cut = [], [], 0
    for gpa, length, data, rip in truth("stores"):
        inside = [(at, byte, rip) for at, byte in enumerate(bytes.fromhex(data), gpa)
                  if at & ~4095 in pages]
        want += inside
        cut += 0 < len(inside) < length
    told = [row for page in pages for row in rows("history", trace, f"{page:#x}+4K")
            if row.get("origin") == "vcpu" and "bytes" in row]
    for row in sorted(told, key=lambda row: row["seq"]):
        got += [(at, byte, int(row["rip"], 16))
                for at, byte in enumerate(bytes.fromhex(row["bytes"]), int(row["gpa"], 16))]
    expect(cut, "no store reaches beyond the pages")
    expect(got == want, f"{len(want)} bytes were stored there, {len(got)} are told of")
    expect(info(trace)["kinds"]["store"] <= len(want), "stores elsewhere were kept")
    other, = who(trace, f"{pages[0] + 4096:#x}+4K")
    expect((other["verdict"], other["why"]) == ("UNKNOWN", "not-watched"), other)


def stores():
    tap.attempt("stores: --only tells of what was asked for, to the byte", stores_only)
    done = []
    if not tap.attempt("stores: the guest runs through and its RAM can be saved", stores_run, done):
        return
    guest = done[0]
    tap.attempt("stores: history is what the guest did, store by store", stores_ledger, guest)
    tap.attempt("stores: nothing was lost", lambda: expect(info(guest.trace)["lost"] == 0, "lost"))
    tap.attempt("stores: show of all of RAM is what pmemsave says", guest.show, "end")
    tap.attempt("stores: who names the last writer of every byte", stores_who, guest)
    tap.attempt("stores: find tells when a number was there", stores_find, guest)


# Guests that look after themselves.

def good(guest, accel):
    trace, done = record(f"{guest}-{accel[-5:]}", guest, "-smp", "2", accel=accel)
    last = {"wide": "0 bad: all good", "smp": "smp: all good", "tables": "tables: ok"}[guest]
    expect(done.status == OK and last in done.out, f"status {done.status}: {done.out}{done.err}")
    expect(info(trace)["lost"] == 0, info(trace)["lost"])
    return trace, done


def smp_counts(trace, done):
    """The counter's stores by each of the operations: one more each time, each vCPU its share."""
    word, count = ranges("smp")["word"], 1000
    stored = {}
    for row in rows("history", trace, word):
        if row.get("origin") == "vcpu" and "bytes" in row and int(row["gpa"], 16) % 16 == 0:
            expect(row["order"] == "exact", row)
            stored.setdefault(int(row["rip"], 16), []).append(
                (int.from_bytes(bytes.fromhex(row["bytes"])[:8], "little"), row["vcpu"]))
    said = dict(re.findall(r"smp: (\w+) started, rip (\w+)", done.out))
    for op in ("inc", "xadd", "cmpxchg"):
        got = stored[int(said[op], 0)][:2 * count]
        expect([value for value, _ in got] == list(range(1, 2 * count + 1)), f"{op}: {got[:20]}")
        for vcpu in (0, 1):
            expect(sum(v == vcpu for _, v in got) == count, f"{op}: vCPU {vcpu}")


def tables_marked(trace):
    """The entries as the guest stored them; what the walks set in them is nobody's store."""
    start, size = (int(n, 0) for n in ranges("tables")["tables"].split("+"))
    for n in range(size // 4096):
        entry = start + n * 4096 + 8 * (17 + n)
        text = f"{entry:#x}+8"
        got = [row["bytes"] for row in rows("history", trace, text) if row.get("origin") == "vcpu" and
               "bytes" in row]
        want = (TABLES_MAPPED + n * 4096 | 3).to_bytes(8, "little").hex()
        expect(got == [want], f"{entry:#x}: {got}, not {want}")
        low, *rest = who(trace, text)
        expect((low["verdict"], low.get("why"), low["len"]) == ("UNKNOWN", "page-table", 1), low)
        expect(all(row["verdict"] == "WRITTEN-BY" for row in rest), rest)


def guests():
    for guest in ("wide", "smp", "tables"):
        for accel in (SINGLE, MULTI):
            traces = []
            if not tap.attempt(f"{guest}, {accel}: the guest finds all well",
                               lambda g=guest, a=accel, t=traces: t.append(good(g, a))):
                continue
            if guest == "smp" and accel == SINGLE:
                tap.attempt("smp: each vCPU's stores, in one order", smp_counts, *traces[0])
            elif guest == "smp":
                tap.attempt("smp: several threads' stores to a word are in order, or raced", races)
            elif guest == "tables":
                tap.attempt(f"tables, {accel}: what walks set is seen, and is no store",
                            tables_marked, traces[0][0])


def races_marked(trace):
    said = [row["what"] for row in info(trace)["changes"]]
    expect(said == ["vCPUs storing at once: races are marked"], said)


def races():
    """A counter that two vCPUs step up at once. A store that did not race came after all that are
    told of before it: the number that it left is larger than theirs."""
    count = 20000
    path = smp_image(tap.path("races.img"), ("inc",), count, 2)
    trace = tap.path("races.vmb")
    done = run([*record_args(trace, "--mode", "full"), *smp_command(path, 2, accel=MULTI)])
    expect(done.status == OK and "smp: all good" in done.out, done.out + done.err)
    races_marked(trace)
    rip = int(re.search(r"smp: inc started, rip (\w+)", done.out)[1], 0)
    told = [row for row in rows("history", trace, ranges("smp")["word"])
            if row.get("origin") == "vcpu" and "bytes" in row and int(row["rip"], 16) == rip]
    expect(len(told) == 2 * count, f"{len(told)} stores")
    greatest, switches, raced = 0, 0, sum(row["order"] == "racy" for row in told)
    for n, row in enumerate(told):
        value = int.from_bytes(bytes.fromhex(row["bytes"])[:8], "little")
        expect(row["order"] == "racy" or value > greatest, f"store {n}: {value}, then {row}")
        greatest = max(greatest, value)
        switches += n > 0 and row["vcpu"] != told[n - 1]["vcpu"]
    expect(greatest == 2 * count, greatest)
    expect(raced < 2 * count, "all of them are said to have raced")
    print(f"# {raced} of {2 * count} raced; {switches} times another vCPU's turn")


# Devices.

def symbol(elf, name):
    return int(re.search(rf"^(\w+) \w {name}$", run(["nm", f"{GUESTS}/{elf}"]).out, re.M)[1], 16)


def devices_run(store):
    """Stopped ahead of each store of the processor's to the page, with a comparison there: so it is
    known between which of them the disk wrote."""
    path = tap.path("gdb")
    start, size = (int(n, 0) for n in ranges("vq")["page"].split("+"))
    with Whole(tap.path("vq"), command("vq", "-S", "-gdb", f"unix:{path},server=on,wait=off",
                                      exit_device=False), (start, size)) as guest:
        gdb = Gdb(path)
        expect(gdb("?")[0] in "TS", "not stopped")
        expect(gdb(f"Z1,{symbol('vq.elf', 'vq_store'):x},1") == "OK", "no breakpoint")
        for _ in range(VQ_STORES):
            expect(gdb("c")[0] in "TS", "not stopped")
            guest.mark_stopped()
            # QEMU does not go on from a breakpoint by itself.
            expect(gdb("s")[0] in "TS", "no single step")
        gdb("D")
        guest.end()
        expect("vq: page as expected: ok" in guest.console.text(), guest.console.text())
        store.append(guest)


def devices_told(guest):
    """[(mark, "cpu" or "disk", offset, bytes)]: the mark is the one that came next; the disk's
    bytes are those of the guest's image."""
    start, told, stores, disks = guest.ram[0], [], 0, 0
    with open(f"{GUESTS}/vq.img", "rb") as image:
        disk = image.read()
    for line in guest.console.text().splitlines():
        words = line.split()
        if len(words) > 5 and words[0] == "vq:" and words[2] in ("cpu", "disk"):
            stores += words[2] == "cpu"
            # Two stores around each request; a mark ahead of each store.
            disks += words[2] == "disk"
            off, length, what = int(words[3], 0) - start, int(words[4]), int(words[6], 0)
            told.append((f"mark-{stores + 1}" if stores < VQ_STORES else "end", words[2], off,
                         what.to_bytes(4, "little") if words[2] == "cpu" else
                         disk[what * 512:what * 512 + length]))
    expect((stores, disks) == (VQ_STORES, VQ_STORES // 2), told)
    return told


def devices_who(guest):
    """At each mark: every byte of the page. What the disk wrote without changing it is not to be
    found."""
    start, size = guest.ram
    told, rip = devices_told(guest), symbol("vq.elf", "vq_store")
    moments = {row["name"]: row["t_ns"] for row in export(guest.trace, f"{start:#x}+{size}", "mark")}
    writers, now = [None] * size, bytearray(size)
    for name in [f"mark-{n + 1}" for n in range(VQ_STORES)] + ["end"]:
        for _, by, off, data in (write for write in told if write[0] == name):
            for at, byte in enumerate(data[:size - off], off):
                if by == "cpu" or now[at] != byte:
                    writers[at] = by, name
                now[at] = byte
        expect(now == guest.memory(name), f"{name}: the page is not what the guest says")
        before, found = [] if name == "end" else ["--before", "mark:" + name], [0, 0]
        for row in rows("who", guest.trace, f"{start:#x}+{size}", *before):
            for i in range(row["len"]):
                at = int(row["gpa"], 16) + i - start
                by, when = writers[at] or (None, None)
                why = f"{name}: {start + at:#x}: {by} before {when}: {row}"
                if by == "cpu":
                    found[0] += 1
                    expect(row["verdict"] == "WRITTEN-BY" and row["origin"] == "vcpu" and
                           0 <= int(row["rip"], 16) - rip < 32, why)
                    expect(bytes.fromhex(row["bytes"])[i] == now[at], why)
                elif by == "disk":
                    found[1] += 1
                    expect((row["verdict"], row.get("why")) == ("UNKNOWN", "emulator"), why)
                    one, = row["candidates"]
                    expect(one["origin"] == "unseen" and bytes.fromhex(one["bytes"])[i] == now[at],
                           why)
                    expect(one["t_end_ns"] <= moments.get(when, one["t_end_ns"]), why)
                    earlier = f"mark-{int(when[5:]) - 1}"
                    expect(one["t_end_ns"] > moments.get(earlier, 0), why)
                else:
                    expect(row["verdict"] == "INITIAL", why)
        expect(name != "end" or (found[0] > 20 and found[1] > 2000), found)


def devices():
    done = []
    if not tap.attempt("vq: stopped and compared at each store", devices_run, done):
        return
    guest = done[0]
    for name in ("mark-3", "mark-8", "end"):
        tap.attempt(f"vq: show at {name} is what pmemsave says", guest.show, name)
    tap.attempt("vq: what the disk wrote is put down to nobody, what the processor wrote to it",
                devices_who, guest)


# Ends that are not the guest's.

def adopt():
    """A VMM whose recorder dies becomes our child, so that its exit status can be had."""
    expect(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "prctl")


def vmm_status(guest):
    """Of a VMM that was adopted."""
    end = time.monotonic() + 60 * SLOW
    while time.monotonic() < end:
        try:
            pid, status = os.waitpid(guest.pid, os.WNOHANG)
        except ChildProcessError:
            # It came to its end just ahead of its recorder, which had its status.
            guest.console.thread.join()
            return OK
        if pid:
            guest.console.thread.join()
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise AssertionError("the VMM goes on for ever")


def running(name, *more):
    return Whole(tap.path(name), command("stores", *more), (0, 4096))


def in_the_midst(name):
    """Stopped at the first of some store or other."""
    path = tap.path(name + ".gdb")
    guest = running(name, "-S", "-gdb", f"unix:{path},server=on,wait=off")
    try:
        gdb, at = Gdb(path), symbol("stores.elf", "store_rep_stosl_down")
        expect(gdb("?")[0] in "TS" and gdb(f"Z1,{at:x},1") == "OK", "no breakpoint")
        expect(gdb("c")[0] in "TS" and gdb(f"z1,{at:x},1") == "OK", "not stopped there")
    except BaseException:
        guest.__exit__()
        raise
    return guest, gdb


def sealed(guest):
    """Waits until some of the stores can be read."""
    end = time.monotonic() + 30 * SLOW
    while not any(row.get("origin") == "vcpu" and "bytes" in row
                  for row in rows("history", guest.trace, ranges("stores")["A"])):
        expect(time.monotonic() < end, "nothing is sealed")
        time.sleep(0.1)


def prefix(guest):
    """How many stores were kept: the first ones of the guest's."""
    got = whole_stores(guest.trace, ranges("stores").values())
    want = truth("stores")
    # A store may be cut off between its parts.
    if got and len(got[-1][2]) < len(want[len(got) - 1][2]):
        got.pop()
    same_stores(want, got, complete=False)
    return len(got)


def recorder_killed():
    """By SIGKILL: the VM goes on to its own end, and the file holds how it began."""
    guest, gdb = in_the_midst("midst")
    with guest:
        sealed(guest)
        guest.process.kill()
        guest.process.wait()
        gdb("D")
        status = vmm_status(guest)
        expect(status == OK and ": ok" in guest.console.text(), f"{status}: {guest.console.text()}")
    expect(info(guest.trace)["truncated"], "not cut short")
    kept = prefix(guest)
    expect(kept, "no store was kept")
    print(f"# {kept} stores kept")


def recorder_killed_anytime():
    """While the firmware runs, the guest begins, stores, ends: one a tenth of a second."""
    for n in range(6):
        with running(f"anytime{n}") as guest:
            try:
                guest.process.wait(n / 10)
            except subprocess.TimeoutExpired:
                guest.process.kill()
                guest.process.wait()
                status = vmm_status(guest)
                expect(status == OK and ": ok" in guest.console.text(),
                       f"after {n / 10} s: {status}: {guest.console.text()}")
                prefix(guest)


def until():
    """Recording ends ahead of the VM, which goes on as if there had been none."""
    for n in range(6):
        trace, done = record(f"until{n}", "stores", options=("--until", f"0.{n + 1}"))
        expect(done.status == OK and ": ok" in done.out, f"0.{n + 1} s: {done.status}: {done.err}")
        expect(not info(trace)["truncated"], "truncated")


def vmm_killed():
    guest, _ = in_the_midst("vmm")
    with guest:
        os.kill(guest.pid, signal.SIGKILL)
        guest.process.wait(60 * SLOW)
        guest.err.thread.join()
        expect(guest.process.returncode == 128 + signal.SIGKILL, guest.process.returncode)
        expect("lost 0" in guest.err.text(), guest.err.text())
    expect(not info(guest.trace)["truncated"], "truncated")
    expect(prefix(guest), "no store was kept")


def crash():
    adopt()
    tap.attempt("the recorder is killed in the midst of the stores: the VM finishes, the file opens",
                recorder_killed)
    tap.attempt("the recorder is killed at any time", recorder_killed_anytime)
    tap.attempt("--until: the VM goes on", until)
    tap.attempt("QEMU is killed: the trace is whole up to there", vmm_killed)
    unwritable(tap, lambda trace: record_args(trace, "--mode", "full", "-q") + command("stores"),
               "64k")


def unprivileged():
    """What was built, and a guest, where anybody can read them; the trace in the user's own folder."""
    public, own = tap.path("public"), tap.path("own")
    os.chmod(tap.tmp, 0o755)
    for path in (public, own):
        os.mkdir(path, 0o755)
    for name in ("vmblame", "vmblame-plugin.so"):
        shutil.copy(os.path.join(BUILD, name), public)
    image, trace = shutil.copy(f"{GUESTS}/stores.img", public), os.path.join(own, "t.vmb")
    before = []
    if os.geteuid() == 0:
        os.chown(own, 65534, 65534)
        before = NOBODY
    done = run([*before, os.path.join(public, "vmblame"), *record_args(trace, "--mode", "full")[1:],
                *command("stores", image=image)])
    expect(done.status == OK and ": ok" in done.out, f"{done.status}: {done.out}{done.err}")
    expect(os.stat(trace).st_uid == (os.geteuid() or 65534), "whose file is it?")
    same_stores(truth("stores"), whole_stores(trace, ranges("stores").values()))
    # Devices' writes too: comparing needs no privileges.
    page = min(row["gpa"] for row in export(trace, "0..64M", "unseen"))
    expect(who(trace, page)[0]["verdict"] == "UNKNOWN", page)


# Linux.

def kernel():
    found = glob.glob(os.path.join(os.environ.get("VMBLAME_KERNELS", f"{TOP}/build/kernels"),
                                   "6.1/boot/vmlinuz-*"))
    if not found:
        directory = run([f"{TOP}/tests/vm/kernel.sh", "6.1"], timeout=300).out.strip()
        found = glob.glob(f"{directory}/boot/vmlinuz-*") if directory else []
    return found[-1] if found else None


def boot(name, image, initrd, accel, vcpus, stages, more, store):
    began = time.monotonic()
    args = ["qemu-system-x86_64", "-accel", accel, "-nodefaults", "-display", "none", "-m", "128",
            "-smp", str(vcpus), "-no-reboot", "-serial", "stdio", "-kernel", image, "-initrd",
            initrd, "-append", BOOT, *more]
    with Whole(tap.path(name), args, (0, 128 * MIB), VGA if "VGA" in more else None) as guest:
        for text in stages:
            guest.console.wait(text, 120)
            guest.mark()
        guest.end_linux()
        store.append(guest)
    marks = "".join(f", {mark} {took:.3f} s" for mark, took in guest.took.items())
    print(f"# {name}: {time.monotonic() - began:.1f} s{marks}; {guest.err.all[-2].strip()}")


def shown(guest, name, job):
    took = job.result()
    print(f"# {os.path.basename(guest.path)}: show of all of RAM at {name}: {took:.1f} s")


def linux_diff(guest, since, until):
    """Between two marks: just the pages that QEMU found changed, with their bytes."""
    a, b = guest.memory(since), guest.memory(until)
    changed = {n for n in range(0, len(a), 4096) if a[n:n + 4096] != b[n:n + 4096]}
    got = rows("diff", guest.trace, "mark:" + since, "mark:" + until)
    expect(changed and {int(row["gpa"], 16) for row in got} == changed,
           f"{len(changed)} pages changed, diff has {len(got)}")
    for row in got:
        gpa, first, end = (int(row[key], 16) for key in ("gpa", "first", "end"))
        expect((a[first:end].hex(), b[first:end].hex()) == (row["old"], row["bytes"]), row["gpa"])
        expect(sum(x != y for x, y in zip(a[gpa:gpa + 4096], b[gpa:gpa + 4096])) == row["changed"],
               row["gpa"])


def linux_find(guest, path):
    """Every block of the initrd, where the loader put it; at each mark it is there or not."""
    with open(path, "rb") as file:
        data = file.read()
    marks = [(row["seq"], row["name"], guest.memory(row["name"]))
             for row in export(guest.trace, "0..128M", "mark")]
    got = rows("find", guest.trace, "--file", path)
    expect({row["file_off"] for row in got} == set(range(0, len(data), 4096)), "blocks are missing")
    stayed = [0, 0]
    for row in got:
        gpa, off = int(row["gpa"], 16), row["file_off"]
        for seq, name, memory in marks:
            there = row["seq"] < seq < row.get("until_seq", seq + 1)
            other = any(o["seq"] < seq < o.get("until_seq", seq + 1) for o in got
                        if (o["gpa"], o["file_off"]) == (row["gpa"], off))
            same = memory[gpa:gpa + row["len"]] == data[off:off + row["len"]]
            expect(same == (there or other), f"{name}: {gpa:#x}, block {off:#x}: {row}")
            stayed[there] += 1
    expect(all(stayed), f"at the marks: {stayed}")


def smm(guest):
    """SMRAM lies behind VGA's window, where nobody else can reach it."""
    text = f"{VGA[0]:#x}..{VGA[1]:#x}"
    expect(any(row["smm"] for row in export(guest.trace, text, "store")), "no store in SMM")
    for row in who(guest.trace, text):
        expect((row["verdict"], row.get("why")) == ("UNKNOWN", "no-ram"), row)


def linux_one(name, image, initrd, accel, vcpus, stages=(), more=()):
    done = []
    if not tap.attempt(f"{name}: Linux boots to power-off", boot, name, image, initrd, accel, vcpus,
                       stages, more, done):
        return
    guest = done[0]
    jobs = {moment: workers.submit(guest.show, moment) for moment in guest.saved}
    for moment, job in jobs.items():
        tap.attempt(f"{name}: {moment}: all of RAM is what pmemsave says", shown, guest, moment, job)
    if accel == MULTI:
        tap.attempt(f"{name}: races are marked", races_marked, guest.trace)
    if name == "linux-1":
        tap.attempt("diff between two marks is what pmemsave says", linux_diff, guest, "mark-2",
                    "mark-3")
        tap.attempt("find --file finds the initrd, as long as it was there", linux_find, guest,
                    initrd)
    if more:
        tap.attempt("q35: what SMM stores is no RAM's", smm, guest)
    for path in (guest.trace, *guest.saved.values()):
        os.unlink(path)


def linux():
    image = kernel()
    if not image:
        tap.skip("a Linux guest", "no Debian kernel 6.1: tests/vm/kernel.sh 6.1 fetches it")
        return
    initrd = tap.path("initrd")
    subprocess.run([os.path.join(TOP, "tests/guests/linux/mkinitrd.sh"), initrd], check=True)
    linux_one("linux-1", image, initrd, SINGLE, 1, STAGES)
    linux_one("linux-2", image, initrd, SINGLE, 2, STAGES)
    linux_one("linux-q35", image, initrd, SINGLE, 1, more=["-M", "q35", "-device", "VGA"])
    linux_one("linux-multi", image, initrd, MULTI, 2)


if "stores" in PARTS:
    stores()
if "guests" in PARTS:
    guests()
if "devices" in PARTS:
    devices()
if "crash" in PARTS:
    crash()
if "user" in PARTS:
    tap.attempt("an ordinary user needs no more", unprivileged)
if "linux" in PARTS:
    linux()
tap.end()
