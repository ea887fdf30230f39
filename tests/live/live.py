# SPDX-License-Identifier: GPL-2.0-or-later
"""What the live tests share: TAP lines, running guests under the recorder, asking the trace."""
import atexit
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
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

    def __init__(self, lacks=None):
        self.number = 0
        self.failed = False
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        self.tmp = tempfile.mkdtemp(prefix="vmblame-live.")
        atexit.register(shutil.rmtree, self.tmp, ignore_errors=True)
        lacks = (lacks or self.lacks)()
        if lacks:
            self.not_applicable("everything", "needs " + lacks)
            self.end()

    @staticmethod
    def lacks():
        """What watching a guest of KVM's needs, and is not there."""
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


def qemu(guest, *more, serial="stdio", exit_device=True, accel="kvm", image=None):
    """The command line for one of the guests of tests/guests."""
    image = image or f"{GUESTS}/{guest}.img"
    args = ["qemu-system-x86_64", "-accel", accel, "-nodefaults", "-display", "none", "-m", "64",
            "-no-reboot", "-serial", serial, "-drive",
            f"if=none,id=d,format=raw,readonly=on,file={image}",
            "-device", "virtio-blk-pci,drive=d"]
    if exit_device:
        args += ["-device", "isa-debug-exit,iobase=0x501,iosize=2"]
    return args + list(more)


def unwritable(tap, command, size):
    """Traces that cannot be written, on a disk of this size and to a pipe that is closed: one line of
    ours says so, the guest finishes. command(trace) is what records a guest that says ": ok"."""

    def refused(trace, before=()):
        done = run([*before, *command(trace)])
        ours = [line for line in done.err.splitlines() if line.startswith("vmblame: ")]
        expect(": ok" in done.out, f"the guest: {done.out!r} {done.err!r}")
        expect(done.status == 125, f"status {done.status}: {done.err}")
        expect(len(ours) == 1, f"not one clear line: {done.err}")

    def disk_full():
        """A file system of its own, in a mount namespace that goes with it."""
        place = tap.path("small")
        os.mkdir(place)
        refused(os.path.join(place, "t.vmb"),
                ["unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c",
                 f'mount -t tmpfs -o size={size} none {place} && exec "$@"', "sh"])

    def closed_output():
        """The reader goes away after the first bytes."""
        pipe = tap.path("pipe")
        os.mkfifo(pipe)

        def read_some():
            with open(pipe, "rb") as reader:
                reader.read(16)

        thread = threading.Thread(target=read_some, daemon=True)
        thread.start()
        refused(pipe)
        thread.join()

    tap.attempt("a full disk: one error, the guest finishes", disk_full)
    tap.attempt("an output that is closed: one error, the guest finishes", closed_output)


# tests/guests/smp_layout.h
SMP_OPS = ("inc", "xadd", "cmpxchg", "cmpxchg8b", "cmpxchg16b", "ipi", "spin", "spin_free")


def smp_image(path, ops, count, vcpus, rounds=20, parked=0):
    """The smp guest with these settings in its boot sector."""
    with open(f"{GUESTS}/smp.img", "rb") as original:
        data = bytearray(original.read())
    mask = sum(1 << SMP_OPS.index(op) for op in ops)
    data[0x1f0:0x1fc] = struct.pack("<IHBBBxxx", count, rounds, vcpus, parked, mask)
    with open(path, "wb") as changed:
        changed.write(data)
    return path


def smp_command(path, vcpus, *more, **how):
    return [a if not a.startswith("if=none") else f"if=none,id=d,format=raw,readonly=on,file={path}"
            for a in qemu("smp", "-smp", str(vcpus), *more, **how)]


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
        self.socket = self.connect(path, process, seconds)
        self.socket.settimeout(120 * SLOW)
        self.lines = self.socket.makefile("r")
        self.events = []
        self.lines.readline()
        self("qmp_capabilities")

    @staticmethod
    def connect(path, process, seconds=30):
        """To a socket that this process will listen on."""
        end = time.monotonic() + seconds * SLOW
        while True:
            found = socket.socket(socket.AF_UNIX)
            try:
                found.connect(path)
                return found
            except OSError:
                found.close()
                expect(process.poll() is None and time.monotonic() < end, f"nobody listens on {path}")
                time.sleep(0.01)

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


class Gdb:
    """As much of gdb's remote protocol as the test needs."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * SLOW)
        self.socket.connect(path)
        self.data = b""
        # That it stopped may be told of itself; so this is not the first answer.
        self.socket.sendall(b"$qSupported#37")
        while "PacketSize" not in self.answer():
            pass

    def __call__(self, text, answered=True):
        self.socket.sendall(f"${text}#{sum(text.encode()) & 255:02x}".encode())
        return self.answer() if answered else None

    def answer(self):
        while True:
            match = re.search(rb"\$([^#]*)#..", self.data)
            if match:
                self.data = self.data[match.end():]
                self.socket.sendall(b"+")
                return match.group(1).decode()
            more = self.socket.recv(4096)
            expect(more, "gdbstub went away")
            self.data += more

    def rip(self):
        """The 17th of the 64-bit registers."""
        return int.from_bytes(bytes.fromhex(self("g")[16 * 16:17 * 16]), "little")


class Lines:
    """What a process says on a pipe, taken as it comes, so that the process never waits for us."""

    def __init__(self, pipe):
        self.all, self.seen, self.found, self.ended = [], 0, None, False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, args=(pipe,), daemon=True)
        self.thread.start()

    def read(self, pipe):
        for line in pipe:
            with self.changed:
                self.all.append(line.decode(errors="replace"))
                self.changed.notify()
        with self.changed:
            self.ended = True
            self.changed.notify()

    def find(self, text):
        """Looks through what came since the last one that was found."""
        while self.seen < len(self.all):
            self.seen += 1
            if text in self.all[self.seen - 1]:
                self.found = self.all[self.seen - 1]
                break
        return self.found

    def wait(self, text, seconds=60):
        """The next line that contains this text."""
        with self.changed:
            self.found = None
            self.changed.wait_for(lambda: self.find(text) or self.ended, seconds * SLOW)
            expect(self.found, f"no {text!r} in: {self.text()[-2000:]}")
            return self.found

    def text(self):
        return "".join(self.all)


class ThreadStopped:
    """While in it, that thread of another process stands still, and no other."""
    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # PTRACE_*, linux/ptrace.h
    WALL = 0x40000000

    def __init__(self, pid, name):
        tasks = f"/proc/{pid}/task"
        found = [int(tid) for tid in os.listdir(tasks) if self.name_of(f"{tasks}/{tid}") == name]
        expect(len(found) == 1, f"{len(found)} threads named {name}")
        self.tid = found[0]
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p

    @staticmethod
    def name_of(task):
        with open(task + "/comm", encoding="ascii") as comm:
            return comm.read().strip()

    def call(self, request):
        expect(self.ptrace(request, self.tid, None, None) == 0, os.strerror(ctypes.get_errno()))

    def __enter__(self):
        self.call(self.SEIZE)
        self.call(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self.call(self.DETACH)


class Whole:
    """A guest that is recorded with all of its memory, is spoken to by QMP and stays at its end. What
    memory held is saved at each mark, and at the end, as QEMU says it: {name: path}."""

    def __init__(self, path, command, ram, hole=None, mode="full", options=()):
        self.trace, self.ram, self.path = path + ".vmb", ram, path
        self.hole = hole or (0, 0)  # what is no RAM of it, as offsets
        self.saved, self.took = {}, {}
        sock = path + ".qmp"
        self.process = subprocess.Popen(
            record_args(self.trace, "--mode", mode, *options) + command +
            ["-no-shutdown", "-qmp", f"unix:{sock},server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.console, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        try:
            self.qmp = Qmp(sock, self.process)
        except BaseException:
            self.process.terminate()
            raise
        credentials = self.qmp.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("3i", credentials)[0]

    def save(self, name):
        gpa, size = self.ram
        self.saved[name] = f"{self.path}.{name}"
        self.qmp("pmemsave", val=gpa, size=size, filename=self.saved[name])

    def mark(self):
        """In the midst of it; the guest does not go on between the mark and what QEMU says."""
        self.qmp("stop")
        self.mark_stopped()
        self.qmp("cont")

    def mark_stopped(self):
        """Of a guest that stands still."""
        name, began = f"mark-{len(self.took) + 1}", time.monotonic()
        self.process.send_signal(signal.SIGUSR1)
        self.err.wait(f"vmblame: {name} at ")
        self.took[name] = time.monotonic() - began
        self.save(name)

    def end(self, seconds=120):
        self.qmp.socket.settimeout(seconds * SLOW)
        self.qmp.wait("SHUTDOWN")
        self.save("end")
        self.qmp("quit")
        expect(self.process.wait(60 * SLOW) == 0, self.err.text())
        self.err.thread.join()
        self.console.thread.join()

    def end_linux(self):
        """Of a guest of tests/guests/linux: it found all well, and nothing of it was lost."""
        self.end()
        for text in ("@sum", "@end"):
            expect(text in self.console.text(), self.console.text()[-2000:])
        expect("@damage" not in self.console.text(), "its memory is damaged")
        expect("lost 0" in self.err.text(), self.err.text())

    def memory(self, name):
        with open(self.saved[name], "rb") as saved:
            return saved.read()

    def show(self, name):
        """Reads it all from the trace, and compares: nothing but the hole may be unknown. Returns how
        long that took."""
        gpa, size = self.ram
        began = time.monotonic()
        at = [] if name == "end" else ["--at", "mark:" + name]
        shown = subprocess.run(
            [VMBLAME, "show", self.trace, f"{gpa:#x}+{size}", "--raw", "--fill", "0x55", *at],
            stdout=subprocess.PIPE, check=True, timeout=300 * SLOW).stdout
        took, want = time.monotonic() - began, self.memory(name)
        begin, end = self.hole
        want = want[:begin] + b"\x55" * (end - begin) + want[end:]
        if shown != want:
            pages = [n for n in range(0, size, 4096) if shown[n:n + 4096] != want[n:n + 4096]]
            at = next(n for n in range(pages[0], size) if shown[n:n + 1] != want[n:n + 1])
            raise AssertionError(f"{name}: {len(pages)} pages differ from pmemsave: "
                                 f"{[hex(gpa + n) for n in pages[:8]]}; first {gpa + at:#x}: "
                                 f"{shown[at:at + 16].hex()}, not {want[at:at + 16].hex()}")
        return took

    def verify(self):
        """The trace agrees with itself, and with each dump."""
        done = run([VMBLAME, "verify", self.trace])
        expect(done.status == 0, done.out + done.err)
        for name, saved in self.saved.items():
            at = [] if name == "end" else ["--at", "mark:" + name]
            done = run([VMBLAME, "verify", self.trace, "--ram", saved, *at])
            expect(done.status in (0, 3), done.out + done.err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """The recorder's end is not the VM's: a test that failed ends that itself."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            try:
                self.process.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
