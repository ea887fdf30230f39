# SPDX-License-Identifier: GPL-2.0-or-later
"""What the live tests share: TAP lines, running guests under the recorder, asking the trace."""
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
VMBLAME = os.path.join(BUILD, "vmblame")
GUESTS = os.path.join(BUILD, "guests")
HOST = os.environ.get("VMBLAME_HOST", "")  # the nested host's name (tests/vm), "" on real ones
NESTED = bool(HOST)
SLOW = float(os.environ.get("VMBLAME_SLOW", "1"))  # how many times longer all may take here
OK, FOUND_WRONG = 33, 35  # isa-debug-exit statuses of the guests


def sized(full, nested):
    """How much of something to do: all of it, or what a nested host has the time for."""
    return nested if NESTED else full


def back_end():
    """KVM's: "pvm" (emulates its guests here), "svm npt=1", "svm npt=0", "vmx"."""
    if os.path.exists("/sys/module/kvm_pvm"):
        return "pvm"
    path = "/sys/module/kvm_amd/parameters/npt"
    if os.path.exists(path):
        with open(path, encoding="ascii") as npt:
            return f"svm npt={int(npt.read().strip() in 'Y1')}"
    return "vmx"


class Tap:
    """ok and not ok lines; leaves with the right exit status."""

    def __init__(self):
        self.number = 0
        self.failed = False
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        self.tmp = tempfile.mkdtemp(prefix="vmblame-live.")
        atexit.register(shutil.rmtree, self.tmp, ignore_errors=True)
        lacks = self.lacks()
        if lacks:
            self.not_applicable("everything", "needs " + lacks)
            self.end()

    @staticmethod
    def lacks():
        if os.geteuid():
            return "root"
        for path in ("/dev/kvm", "/sys/kernel/btf/vmlinux"):
            if not os.access(path, os.R_OK):
                return path
        if not shutil.which("qemu-system-x86_64"):
            return "qemu-system-x86_64"
        return None

    def ok(self, name, passed, why=""):
        self.number += 1
        self.failed |= not passed
        print(("ok" if passed else "not ok"), self.number, "-", name, flush=True)
        if not passed and why:
            print("# " + str(why).replace("\n", "\n# "), flush=True)
        return passed

    def skip(self, name, why):
        self.number += 1
        print(f"ok {self.number} - {name} # SKIP {why}", flush=True)

    @staticmethod
    def not_applicable(name, why):
        """A test that this host cannot run, whatever is installed on it: listed, not counted."""
        print(f"# not applicable: {name}: {why}", flush=True)

    def attempt(self, name, function, *args):
        """Passes when the function returns; what it raises is the reason why not."""
        try:
            function(*args)
        except Exception as error:  # pylint: disable=broad-except
            return self.ok(name, False, f"{type(error).__name__}: {error}")
        return self.ok(name, True)

    def path(self, name):
        return os.path.join(self.tmp, name)

    def end(self):
        print(f"1..{self.number}", flush=True)
        sys.exit(self.failed)


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def qemu(guest, *more, serial="stdio", exit_device=True):
    """The command line for one of the guests of tests/guests."""
    args = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "64",
            "-no-reboot", "-serial", serial, "-drive",
            f"if=none,id=d,format=raw,readonly=on,file={GUESTS}/{guest}.img",
            "-device", "virtio-blk-pci,drive=d"]
    if exit_device:
        args += ["-device", "isa-debug-exit,iobase=0x501,iosize=2"]
    return args + list(more)


def ranges(guest):
    """What NAME.addr says: {name: "GPA+BYTES"}"""
    found = {}
    with open(f"{GUESTS}/{guest}.addr", encoding="ascii") as lines:
        for line in lines:
            name, gpa, size = line.split()
            found[name] = gpa + size
    return found


def record_args(trace, *options):
    return [VMBLAME, "record", "-o", trace, "--force", *options, "--"]


class Run:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


def run(args, timeout=120, **more):
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout * SLOW, check=False, **more)
    return Run(done.returncode, done.stdout.decode(errors="replace"),
               done.stderr.decode(errors="replace"))


def record(trace, guest, *options, qemu_more=(), **more):
    return run(record_args(trace, *options) + qemu(guest, *qemu_more), **more)


def watch(guest):
    args = []
    for text in ranges(guest).values():
        args += ["--watch", text]
    return args


def rows(*args, statuses=(0, 3)):
    """The JSON lines of a reading command."""
    done = run([VMBLAME, *args, "--json"])
    expect(done.status in statuses, f"{' '.join(args)}: status {done.status}: {done.err}")
    return [json.loads(line) for line in done.out.splitlines()]


def who(trace, text):
    return rows("who", trace, text)


def info(trace):
    return rows("info", trace)[0]


def truth(guest):
    """[(gpa, len, bytes, rip), ...] as tests/guests/stores_truth.c wrote them."""
    found = []
    with open(f"{GUESTS}/{guest}.truth", encoding="ascii") as lines:
        for line in lines:
            _, gpa, length, data, rip, _ = line.split()
            found.append((int(gpa, 16), int(length), data, int(rip, 16)))
    return found


def ledger(trace, texts):
    """What history says that vCPUs did, in order, in the form of truth()."""
    writes = []
    for text in texts:
        for row in rows("history", trace, text):
            if row.get("origin") == "vcpu" and "bytes" in row and "rip" in row:
                writes.append((row["seq"], int(row["gpa"], 16), row["len"], row["bytes"],
                               int(row["rip"], 16)))
    writes.sort(key=lambda w: w[0])
    return [w[1:] for w in writes]


def last_writers(writes):
    """{gpa: (byte, rip)} after all of the truth."""
    last = {}
    for gpa, length, data, rip in writes:
        for i in range(length):
            last[gpa + i] = (data[2 * i:2 * i + 2], rip)
    return last


class Qmp:
    """As much of QMP as the tests need."""

    def __init__(self, path, process, seconds=30):
        end = time.monotonic() + seconds * SLOW
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                expect(process.poll() is None and time.monotonic() < end, "no QMP socket")
                time.sleep(0.01)
        self.socket.settimeout(120 * SLOW)
        self.lines = self.socket.makefile("r")
        self.events = []
        self.lines.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        message = {"execute": command, "arguments": arguments}
        self.socket.sendall(json.dumps(message).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "event" in answer:
                self.events.append(answer["event"])
            else:
                expect("return" in answer, answer)
                return answer["return"]

    def wait(self, *events):
        while not set(events) & set(self.events):
            answer = json.loads(self.lines.readline())
            if "event" in answer:
                self.events.append(answer["event"])
