#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that changes past everybody: bytes put into the VMM's memory from outside, bits that flip. Each is
found, with a window that it lies in, and nothing else is."""
import collections
import json
import random
import subprocess
import time

from live import OK, SLOW, Lines, Tap, Qmp, VMBLAME, expect, info, qemu, record_args, run, sized, who

tap = Tap()
MIB = 1 << 20
RAM = 64 * MIB
PAGE = 4096
POKES = sized(1000, 100)
DIRTY = 0x2800000, 32  # tests/guests/tally_layout.h: a word of each page is stored to all the time
QUIET = 0x3000000, 0x3800000  # memory that the guest does not use


def poke_places(rng):
    """Places that are written once each: in pages that the guest does not use, and behind the words that it
    stores to all the time."""
    places = set()
    while len(places) < POKES:
        if rng.random() < 0.1:
            at = DIRTY[0] + PAGE * rng.randrange(DIRTY[1]) + rng.randrange(64, PAGE)
        else:
            at = rng.randrange(*QUIET)
        places.add(at)
    places = list(places)
    rng.shuffle(places)
    return places


class Guest:
    """The tally guest in the state in which it stores to the same pages all the time, until it is told."""

    def __init__(self, name, *options):
        self.trace, sock = tap.path(name + ".vmb"), tap.path(name + ".qmp")
        args = [a for a in qemu("tally", "-qmp", f"unix:{sock},server=on,wait=off") if a != "-no-reboot"]
        self.process = subprocess.Popen(record_args(self.trace, *options) + args, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.console, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        self.qmp = Qmp(sock, self.process)
        self.console.wait("over and over", 120)
        with open(f"/proc/{self.vmm()}/maps", encoding="ascii") as maps:
            spans = [[int(n, 16) for n in line.split()[0].split("-")] for line in maps]
        self.hva = next(start for start, end in spans if end - start == RAM)
        self.memory = open(f"/proc/{self.vmm()}/mem", "r+b", buffering=0)

    def vmm(self):
        return int(run(["pgrep", "-P", str(self.process.pid)]).out.split()[0])

    def peek(self, gpa, size=1):
        self.memory.seek(self.hva + gpa)
        return self.memory.read(size)

    def poke(self, gpa, data):
        """When it was not there yet, and when it was, on the recorder's clock."""
        before = time.monotonic_ns()
        self.memory.seek(self.hva + gpa)
        self.memory.write(data)
        return before, time.monotonic_ns()

    def mark(self, name):
        done = run([VMBLAME, "mark", self.trace, name])
        expect(done.status == 0, done.err)

    def end(self):
        self.process.stdin.write(b"q")
        self.process.stdin.flush()
        expect(self.process.wait(120 * SLOW) == OK, self.err.text())
        self.err.thread.join()
        self.memory.close()


def versions(trace):
    done = run([VMBLAME, "export", trace, "--format", "json", "--kinds", "version"])
    expect(done.status == 0, done.err)
    return [row for row in map(json.loads, done.out.splitlines()) if row["event"] == "version"]


def pokes(store):
    """A thousand of them while the guest runs; a bit of the byte each."""
    guest, rng = Guest("pokes", "--scrub", "2G"), random.Random(5)
    made = {}
    for gpa in poke_places(rng):
        byte = bytes([guest.peek(gpa)[0] ^ 1 << rng.randrange(8)])
        made[gpa] = (byte, *guest.poke(gpa, byte))
    guest.mark("poked")
    guest.end()
    store.extend((guest, made))


def pokes_found(guest, made):
    start = info(guest.trace)["start_mono_ns"]
    for gpa, (byte, before, after) in made.items():
        answers = who(guest.trace, f"{gpa:#x}+1")
        expect(len(answers) == 1, answers)
        answer = answers[0]
        expect(answer.get("bytes") == byte.hex(), (hex(gpa), byte.hex(), answer))
        expect(answer["t_ns"] <= after - start and before - start <= answer["t_end_ns"],
               (hex(gpa), before - start, after - start, answer))
        dirty = DIRTY[0] <= gpa < DIRTY[0] + DIRTY[1] * PAGE
        expect(dirty or answer["verdict"] == "UNEXPLAINED", (hex(gpa), answer))
        expect(answer["verdict"] in ("UNEXPLAINED", "CANDIDATES"), answer)


def nothing_else(guest, made):
    pages = {gpa & ~(PAGE - 1) for gpa in made}
    told = collections.Counter(int(row["gpa"], 16) for row in versions(guest.trace) if row["how"] == "scrub")
    expect(set(told) <= pages, [hex(gpa) for gpa in set(told) - pages])
    expect("changes of pages that nobody was seen to make" in guest.err.text(), guest.err.text())


def there_and_back():
    """Nobody says that a byte was not written which changed, and changed back."""
    guest = Guest("back", "--scrub", "1M")
    gpa = QUIET[0] + 123
    was = guest.peek(gpa)
    guest.poke(gpa, b"\xa5")
    guest.poke(gpa, was)
    guest.end()
    answer, = who(guest.trace, f"{gpa:#x}+1")
    expect(answer["verdict"] == "INITIAL" and "whenever memory was compared" in answer["detail"], answer)


def undisturbed(*options):
    guest = Guest("quiet", "--scrub", "2G", *options)
    guest.mark("before")
    end = time.monotonic() + sized(5, 20)
    while time.monotonic() < end:
        guest.mark(f"at-{time.monotonic_ns()}")
    guest.end()
    expect("nobody was seen" not in guest.err.text(), guest.err.text())
    expect(not [row for row in versions(guest.trace) if row["how"] == "scrub"], "false reports")


found = []
if tap.attempt(f"{POKES} pokes while the guest runs", pokes, found):
    tap.attempt("each is found, in a window that it lies in", pokes_found, *found)
    tap.attempt("and nothing else", nothing_else, *found)
tap.attempt("X, Y, X between two scrubs: nobody says that it was not written", there_and_back)
tap.attempt("left alone, nothing is reported", undisturbed)
tap.end()
