#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One boot of the guest that dirties pages at a pace (tests/guests/dirty.c), and what its fixed
work takes at each pace under each contender.

    dirty_guest.py [-r EPOCH] [-o TRACE] [-s SECONDS] calibrate|WHO[,WHO...] PERCENT:PAUSE...

calibrate prints PERCENT:PAUSE such that the guest, alone, dirties PERCENT of 512 MiB each second of
its vCPU's CPU time; the PAUSE given does not matter then. Else a line for each contender and pace:

    WHO PERCENT WALL_S VCPU_S BESIDE_S SYNCS

seconds of wall time, of the vCPU's thread, of all other threads that took part; and how often the
dirty log was read. WHO is nothing; calc, sample (calc-dirty-rate by dirty-bitmap and by
page-sampling, again and again), migrate (to a pipe that is read a little more slowly than the guest
dirties, so that it never ends); or, under the recorder (-r), record."""
import argparse
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
from live import BUILD, GUESTS, SLOW, Qmp, VMBLAME  # noqa: E402

PAGE = 4096
ALL_PAGES = (512 << 20) // PAGE  # what percentages are of
SENT_PAGES = 0x1df00000 // PAGE  # what has content: all but the first 32 MiB and the last
PAGE_SENT = PAGE + 8  # bytes of one in a migration stream
TURN_S = 0.001
FIRST_PASS = 200 << 20  # bytes a second
LOOK_S = 0.05  # how often a contender is looked after
# What a migration may send, of what is dirtied; less after each that came to its end.
SLOWER = (0.7, 0.5, 0.35, 0.2, 0.1)
VCPU_CPU, OTHER_CPU = (1, 0) if os.cpu_count() > 1 else (0, 0)
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    pass


class Ended(Exception):
    """The migration came to its end."""


def pages_a_second(percent):
    return ALL_PAGES * percent / 100


def pages_a_turn(percent):
    return max(1, round(pages_a_second(percent) * TURN_S))


def thread_s(tid):
    with open(f"/proc/{tid}/schedstat", encoding="ascii") as stat:
        return int(stat.read().split()[0]) / 1e9


def family_s(pid):
    """CPU time of a process and its descendants, those that are gone included."""
    total = 0
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            total = sum(int(n) for n in stat.read().rsplit(")", 1)[1].split()[11:15]) / TICKS
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/children", encoding="ascii") as children:
                total += sum(family_s(child) for child in children.read().split())
    except OSError:
        pass
    return total


class Guest:
    def __init__(self, directory, epoch, trace):
        sock = os.path.join(directory, "qmp")
        args = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none",
                "-m", "512", "-no-reboot", "-chardev", "stdio,id=s,signal=off", "-serial", "chardev:s",
                "-qmp", f"unix:{sock},server=on,wait=off", "-drive",
                f"if=none,id=d,format=raw,readonly=on,file={GUESTS}/dirty.img",
                "-device", "virtio-blk-pci,drive=d"]
        if epoch:
            args = [VMBLAME, "record", "--user", "root", "--force", "--mode", "pages", "--epoch",
                    epoch, "-o", trace, "--"] + args
        os.sched_setaffinity(0, {OTHER_CPU})
        self.err = open(os.path.join(directory, "err"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.err)
        self.text = b""
        self.qmp = Qmp(sock, self.process)
        self.vcpu = self.qmp("query-cpus-fast")[0]["thread-id"]
        os.sched_setaffinity(self.vcpu, {VCPU_CPU})

    def wait(self, text, look=lambda: None, seconds=120):
        """For a line on its console, looking after the contender meanwhile. When it came."""
        end = time.monotonic() + seconds * SLOW
        while True:
            at = self.text.find(text.encode())
            if at >= 0:
                self.text = self.text[at + len(text):]
                return time.monotonic()
            if time.monotonic() > end:
                raise Failed(f"the guest did not say {text}: {self.text!r}")
            if select.select([self.process.stdout], [], [], LOOK_S)[0]:
                more = os.read(self.process.stdout.fileno(), 4096)
                if not more:
                    raise Failed("the guest is gone: " + self.said())
                self.text += more
            else:
                look()

    def said(self):
        self.err.seek(0)
        return self.err.read()

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def beside_s(self):
        """All but the vCPU."""
        return family_s(self.process.pid) - thread_s(self.vcpu)

    def end(self):
        self.say("0 0 0\n")
        if self.process.wait(60 * SLOW):
            raise Failed(self.said())

    def kill(self):
        """At most the recorder is left to do its work: the guest goes with its console."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60 * SLOW)


class Nothing:
    """Nobody does anything."""

    def __init__(self, guest, percent, attempt):
        self.guest, self.percent, self.attempt = guest, percent, attempt

    def start(self):
        """And waits until it is settled, by looking."""

    def look(self):
        """Now and then."""

    def syncs(self):
        return 0

    def stop(self):
        """All as it was."""


class Calc(Nothing):
    mode, syncs_each = "dirty-bitmap", 2

    def start(self):
        self.count = 0
        self.again()

    def again(self):
        arguments = {"calc-time": 1}
        if self.mode:
            arguments["mode"] = self.mode
        self.guest.qmp("calc-dirty-rate", **arguments)
        self.count += 1

    def look(self):
        if self.guest.qmp("query-dirty-rate")["status"] != "measuring":
            self.again()

    def syncs(self):
        return self.count * self.syncs_each

    def stop(self):
        while self.guest.qmp("query-dirty-rate")["status"] == "measuring":
            time.sleep(LOOK_S)


class Sample(Calc):
    mode, syncs_each = None, 0


class Migrate(Nothing):
    def info(self):
        return self.guest.qmp("query-migrate")

    def syncs(self):
        return self.info()["ram"]["dirty-sync-count"]

    def start(self):
        qmp = self.guest.qmp
        rate = pages_a_second(self.percent) * PAGE_SENT * SLOWER[self.attempt]
        # It ends when what is left takes 1 ms: less than the guest dirties in the first pass.
        qmp("migrate-set-parameters", **{"downtime-limit": 1, "max-bandwidth": FIRST_PASS})
        # All of it, then slowly.
        qmp("migrate", uri=f"exec:exec {BUILD}/tests/bench/paced_reader "
            f"{int(SENT_PAGES * PAGE_SENT * 0.998)} {int(rate)}")
        while self.info().get("ram", {}).get("dirty-sync-count", 0) < 3:
            self.look()
            time.sleep(LOOK_S)

    def look(self):
        status = self.info()["status"]
        if status == "completed":
            self.guest.qmp("cont")
            raise Ended
        if status not in ("setup", "active"):
            raise Failed(f"migration: {status}")

    def stop(self):
        self.guest.qmp("migrate_cancel")
        while self.info()["status"] in ("active", "cancelling"):
            time.sleep(LOOK_S)


class Record(Nothing):
    """Its epochs are in the trace; asked when it is written."""


WHO = {"nothing": Nothing, "calc": Calc, "sample": Sample, "migrate": Migrate, "record": Record}


def work(guest, who, pages, pause, turns):
    """One line's work under a contender: (begin, end, vCPU's seconds, others', log read)."""
    ended = []

    def look():
        """What comes to its end too early still has the guest's lines to be waited for."""
        try:
            if not ended:
                who.look()
        except Ended as error:
            ended.append(error)

    guest.say(f"{pages} {pause} {turns}\n")
    try:
        who.start()
    except Ended as error:
        ended.append(error)
    guest.say("g")
    begin = guest.wait("dirty: begin\r\n", look)
    vcpu, beside, syncs = thread_s(guest.vcpu), guest.beside_s(), who.syncs()
    end = guest.wait("dirty: end\r\n", look)
    done = (begin, end, thread_s(guest.vcpu) - vcpu, guest.beside_s() - beside, who.syncs() - syncs)
    guest.wait("dirty: ready\r\n", look)
    if ended:
        raise ended[0]
    who.stop()
    return done


def calibrate(guest, percent):
    """The pause with which a turn takes its share of the second, from two others."""
    pages = pages_a_turn(percent)
    target = pages / pages_a_second(percent)

    def turn_s(pause):
        turns, best = 400, []
        for _ in range(3):
            # Not wall time, which others' load would lengthen.
            vcpu_s = work(guest, Nothing(guest, percent, 0), pages, pause, turns)[2]
            best.append(vcpu_s / turns)
        return sorted(best)[1]

    short, long = 20, 400
    a, b = turn_s(short), turn_s(long)
    pause = short + (target - a) * (long - short) / (b - a)
    if pause < 1:
        raise Failed(f"this machine does not dirty {percent} % a second: "
                     f"{pages / a:.0f} pages at most")
    return max(1, round(pause))


def measure(guest, name, percent, pause, seconds):
    turns = round(seconds * pages_a_second(percent) / pages_a_turn(percent))
    for attempt in range(len(SLOWER)):
        who = WHO[name](guest, percent, attempt)
        try:
            return work(guest, who, pages_a_turn(percent), pause, turns)
        except Ended:
            pass
    raise Failed(f"{name}: it always comes to its end at {percent} %")


def epochs(trace, spans):
    """How many epochs of the trace were in each of those times."""
    args = [f"{int(begin * 1e9)}:{int(end * 1e9)}" for begin, end in spans]
    told = subprocess.run([f"{BUILD}/tests/bench/pages_look", "epochs", trace, *args], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return [int(n) for n in told.split()]


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-r", dest="epoch")
    parser.add_argument("-o", dest="trace", default="/dev/null")
    parser.add_argument("-s", dest="seconds", type=float, default=3)
    parser.add_argument("who")
    parser.add_argument("paces", nargs="+")
    args = parser.parse_args()
    args.who = args.who.split(",")
    args.paces = [(float(percent), int(pause)) for percent, pause in
                  (re.fullmatch(r"([\d.]+):(\d+)", pace).groups() for pace in args.paces)]
    return args


def main():
    args = arguments()
    rows = []
    with tempfile.TemporaryDirectory(prefix="vmblame-bench.") as directory:
        guest = Guest(directory, args.epoch, args.trace)
        try:
            guest.wait("dirty: ready\r\n")
            if args.who == ["calibrate"]:
                print(*(f"{percent:g}:{calibrate(guest, percent)}" for percent, _ in args.paces))
            else:
                rows = [(name, percent, *measure(guest, name, percent, pause, args.seconds))
                        for percent, pause in args.paces for name in args.who]
            guest.end()
        except BaseException:
            guest.kill()
            raise
    counts = [row[-1] for row in rows]
    if args.epoch:
        counts = epochs(args.trace, [row[2:4] for row in rows])
    for (name, percent, begin, end, vcpu, beside, _), count in zip(rows, counts):
        print(f"{name} {percent:g} {end - begin:.4f} {vcpu:.4f} {beside:.2f} {count}")


try:
    main()
except (Failed, AssertionError, OSError, subprocess.SubprocessError) as error:
    sys.exit(f"dirty_guest: {error}")
