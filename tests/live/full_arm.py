#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Full mode, aarch64: the stores guest with and without LSE, store by store, but for what QEMU 7.2's
plugins are not told, or are told wrongly; a Linux from its first instruction to power-off. Needs
neither KVM nor BPF nor root."""
import collections
import concurrent.futures
import os
import shutil
import time

from live import GUESTS, TOP, Whole, Tap, expect, info, rows, run, who

MIB = 1 << 20
RAM = 0x40000000  # of -M virt
ARM = os.path.join(GUESTS, "aarch64")
ARM64 = os.environ.get("VMBLAME_ARM64", os.path.join(TOP, "build", "arm64"))  # what arm64.sh fetched
CPUS = {"cortex-a57": "stores", "max": "stores-lse"}  # and the truth's name


def lacks():
    if not shutil.which("qemu-system-aarch64"):
        return "qemu-system-aarch64"
    if not os.path.exists(f"{ARM}/stores.elf"):
        return "the guests of `make guests-aarch64`"
    return None


tap = Tap(lacks)


def command(cpu, mib, *more):
    return ["qemu-system-aarch64", "-M", "virt", "-cpu", cpu, "-accel", "tcg,thread=single", "-m",
            str(mib), "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", *more]


def truth(name):
    """[(pc, symbol, [(gpa, byte), ...])] of each store, in memory order."""
    found = []
    with open(f"{ARM}/{name}.truth", encoding="ascii") as lines:
        for line in lines:
            index, gpa, _, data, pc, symbol = line.split()
            if not found or found[-1][0] != index:
                found.append((index, int(pc, 16), symbol, []))
            found[-1][3].extend((int(gpa, 16) + i, b) for i, b in enumerate(bytes.fromhex(data)))
    return [store[1:] for store in found]


def ranges():
    with open(f"{ARM}/stores.addr", encoding="ascii") as lines:
        return ["".join(line.split()[1:]) for line in lines]


class Replay:
    """What history says, put beside the truth. QEMU 7.2 tells plugins of each part of what an
    instruction stores; of the parts ahead of a fault, which come again after it; of a comparison that
    failed as of a store of what was there; and of DC ZVA not at all."""

    def __init__(self, name, trace):
        self.stores = truth(name)
        self.runs = collections.deque()  # [pc, [(gpa, byte), ...]] of parts one behind the other
        self.last = {}  # gpa: (byte, pc) by the last store that was told of
        self.zeroed = set()  # gpa, since then by DC ZVA
        self.failed = self.again = 0
        found = [row for text in ranges() for row in rows("history", trace, text)
                 if row.get("origin") == "vcpu" and "bytes" in row]
        seq = None
        for row in sorted(found, key=lambda row: row["seq"]):
            gpa, pc = int(row["gpa"], 16), int(row["rip"], 16)
            if row["seq"] - 1 != seq or self.runs[-1][0] != pc:
                self.runs.append([pc, []])
            self.runs[-1][1].extend((gpa + i, b) for i, b in enumerate(bytes.fromhex(row["bytes"])))
            seq = row["seq"]

    def set(self, pc, data):
        self.last.update((gpa, (byte, pc)) for gpa, byte in data)
        self.zeroed.difference_update(gpa for gpa, _ in data)

    def holds(self, gpa):
        return 0 if gpa in self.zeroed or gpa not in self.last else self.last[gpa][0]

    def skip_failed(self, pcs, now, last=True):
        """Comparisons that failed, up to what comes now. What those instructions did besides must be
        the truth's, at the last chance to look for it."""
        while self.runs and self.runs[0][0] in pcs and tuple(self.runs[0]) != now:
            pc, data = self.runs[0]
            if not all(self.holds(gpa) == byte for gpa, byte in data):
                expect(not last, f"neither a store nor what was there: {pc:#x}: {data}")
                return
            self.runs.popleft()
            self.set(pc, data)
            self.failed += 1

    def check(self):
        compares = {pc for pc, symbol, _ in self.stores if symbol.startswith("store_cas")}
        for pc, symbol, data in self.stores:
            self.skip_failed(compares, (pc, data), symbol != "store_zva")
            if symbol == "store_zva":
                self.zeroed.update(gpa for gpa, _ in data)
                continue
            got = []
            while len(got) < len(data) and self.runs and self.runs[0][0] == pc:
                part = self.runs.popleft()[1]
                # Behind a fault it begins again; behind a comparison of memory it goes on.
                goes_on = data[len(got):len(got) + len(part)] == part
                self.again += bool(got) and not goes_on
                got = got + part if goes_on else part
            expect(got == data, f"{symbol}, {pc:#x}: the guest did {data}, the trace says {got}")
            self.set(pc, data)
        self.skip_failed(compares, None)
        expect(not self.runs, f"more than the guest did: {self.runs[:3] if self.runs else ''}")


def stores_run(cpu, store):
    """The guest tells by its last line whether it found all well."""
    with Whole(tap.path(cpu), command(cpu, 64, "-kernel", f"{ARM}/stores.elf"),
              (RAM, 64 * MIB)) as guest:
        guest.end()
        expect(": ok" in guest.console.text(), guest.console.text())
        store.append(guest)


def replayed(cpu, guest, store):
    replay = Replay(CPUS[cpu], guest.trace)
    expect(len(replay.stores) > 15000, "the guest makes too few stores")
    replay.check()
    expect(replay.failed == 0 or cpu == "max", f"{replay.failed} comparisons")
    print(f"# {cpu}: {len(replay.stores)} stores, {replay.failed} comparisons that failed, "
          f"{replay.again} that faulted in the middle")
    store.append(replay)


def writers(guest, replay):
    """Every byte: its last store's instruction; or nobody, where DC ZVA changed what that left."""
    zeroed = 0
    for text in ranges():
        for row in who(guest.trace, text):
            for i in range(row["len"]):
                gpa = int(row["gpa"], 16) + i
                byte, pc = replay.last.get(gpa, (0, None))
                why = f"{gpa:#x}: {byte:02x} by {pc or 0:#x}, zeroed: {gpa in replay.zeroed}: {row}"
                if gpa in replay.zeroed and byte:
                    zeroed += 1
                    expect((row["verdict"], row.get("why")) == ("UNKNOWN", "emulator"), why)
                    expect(row["candidates"][0]["origin"] == "unseen", why)
                    expect(row["candidates"][0]["bytes"][2 * i:2 * i + 2] == "00", why)
                elif pc is None:
                    expect(row["verdict"] == "INITIAL", why)
                else:
                    expect(row["verdict"] == "WRITTEN-BY", why)
                    said = int(row["bytes"][2 * i:2 * i + 2], 16), int(row["rip"], 16)
                    expect(said == (byte, pc), why)
    expect(zeroed > 100, f"DC ZVA changed {zeroed} bytes")


def stores(cpu):
    done, compared = [], []
    if not tap.attempt(f"{cpu}: the stores guest runs through", stores_run, cpu, done):
        return
    guest = done[0]
    tap.attempt(f"{cpu}: nothing was lost", lambda: expect(info(guest.trace)["lost"] == 0, "lost"))
    tap.attempt(f"{cpu}: show of all of RAM is what pmemsave says", guest.show, "end")
    if tap.attempt(f"{cpu}: history is what the guest did, store by store", replayed, cpu, guest,
                   compared):
        tap.attempt(f"{cpu}: who names the last writer of every byte", writers, guest, compared[0])


def boot(image, initrd, store):
    began = time.monotonic()
    args = command("cortex-a57", 128, "-kernel", image, "-initrd", initrd, "-append",
                   "console=ttyAMA0 nokaslr panic=-1 init_on_alloc=0 cryptomgr.notests")
    with Whole(tap.path("linux"), args, (RAM, 128 * MIB)) as guest:
        guest.console.wait("@begin", 120)
        guest.mark()
        guest.end_linux()
        store.append(guest)
    print(f"# linux: {time.monotonic() - began:.1f} s; {guest.err.all[-2].strip()}")


def shown(guest, name, job):
    print(f"# linux: show of all of RAM at {name}: {job.result():.1f} s")


def linux():
    fetched = run([f"{TOP}/tests/guests/linux/arm64.sh", ARM64], timeout=300)
    if fetched.status:
        tap.skip("a Linux guest", fetched.err.strip())
        return
    done = []
    if not tap.attempt("Linux boots to power-off", boot, *fetched.out.split(), done):
        return
    with concurrent.futures.ThreadPoolExecutor(2) as workers:
        jobs = {name: workers.submit(done[0].show, name) for name in done[0].saved}
        for name, job in jobs.items():
            tap.attempt(f"Linux, {name}: all of RAM is what pmemsave says", shown, done[0], name, job)


for processor in CPUS:
    stores(processor)
linux()
tap.end()
