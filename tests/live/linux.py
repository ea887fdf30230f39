#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Linux under --watch, on one and on two vCPUs: Debian's kernel and a busybox initrd boot to
power-off while pages of the kernel's are watched, told from ordinary ones by the probes alone:
ordinary memory exactly as QEMU finds it, page tables and what KVM itself writes opened and said to
be, and the guest none the worse; a kernel that panics. VCPUS and PARTS (pages, initrd, panic)
choose among them; of nested hosts the first has all of them, the others one for each number of
vCPUs, without TEST_ALL."""
import glob
import os
import re
import subprocess

from live import HOST, NESTED, SLOW, TOP, Qmp, Tap, VMBLAME, expect, info, record_args, who

KERNEL_BASE = 0xffffffff80000000  # where the kernel's image maps physical address 0, with nokaslr
PAGE = 4096
PARTS = os.environ.get("PARTS", "pages initrd panic").split()
ALL = not NESTED or HOST == "6.12-npt1" or os.environ.get("TEST_ALL")
BOOT_S = 60
INITRD_PAGES = 16
ORDINARY = {"kernel data": "init_uts_ns", "counters": "jiffies_64"}
TABLES = {"page tables": "init_top_pgt"}
KVM_WRITES = {"kvmclock": "hv_clock_boot"}
PER_CPU = ("steal_time", "apf_reason", "kvm_apic_eoi")  # KVM writes these, one for each vCPU
# What a host whose processor is itself emulated makes any guest say now and then.
HOST_TOO_SLOW = re.compile(r"APIC calibration|Lost \d+ RTC|clocksource|hrtimer: interrupt took|"
                           r"perf: interrupt took|timekeeping|TSC|tsc")


def guest_kernel():
    directory = os.environ.get("VMBLAME_KERNELS", os.path.join(TOP, "build", "kernels"))
    found = sorted(glob.glob(os.path.join(directory, "6.1", "boot", "vmlinuz-*")))
    return found[-1] if found else None


def cannot():
    """Why this host cannot run a Linux guest in reasonable time."""
    if not any(os.path.isdir("/sys/module/" + name) for name in ("kvm_amd", "kvm_intel")):
        return "KVM's back end here emulates such a guest instruction by instruction"
    if not guest_kernel():
        return "no Debian kernel 6.1: tests/vm/kernel.sh 6.1 fetches it"
    return None


class Said:
    """What the guest said on its console."""

    def __init__(self, text):
        lines = [line.strip() for line in text.splitlines()]
        self.text = text
        self.symbols, self.times, self.rest = {}, {}, {}
        self.warnings = set()
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "@symbol":
                name, address = rest.split()
                self.symbols[name] = int(address, 16)
            elif word == "@time":
                name, uptime, date = rest.split()
                self.times[name] = float(uptime), int(date)
            elif word == "@warning":
                if not HOST_TOO_SLOW.search(rest):
                    rest = re.sub(r"^\[ *[\d.]+\] *", "", rest)
                    self.warnings.add(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", rest))
            elif word.startswith("@"):
                self.rest[word[1:]] = rest

    def page(self, name):
        return (self.symbols[name] - KERNEL_BASE) // PAGE * PAGE

    def initrd(self):
        """Pages from its middle: the kernel fills what it frees, eight bytes at a time, and on an
        emulated processor all of it would take longer than its watchdog bears. What is freed first
        or last is soon a stack, of which a trapped tick never comes to the end there."""
        begin, end = (int(address, 16) for address in self.rest["initrd"].split())
        first = (begin + end) // 2 // PAGE * PAGE
        return first, first + INITRD_PAGES * PAGE


class Boot:
    """One boot to its end, which the console tells as @`last`; memory is saved where
    `save` says {name: (gpa, end)}."""

    def __init__(self, name, vcpus, options=None, save=None, last="end"):
        self.trace = tap.path(name + ".vmb")
        self.saved = {}
        sock = tap.path(name + ".qmp")
        args = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m",
                "256", "-smp", str(vcpus), "-no-reboot", "-no-shutdown", "-serial", "stdio",
                "-kernel", guest_kernel(), "-initrd", initrd, "-append",
                f"console=ttyS0 quiet nokaslr nohz=off panic=-1 vmblame.symbols vmblame.last={last}",
                "-qmp", f"unix:{sock},server=on,wait=off"]
        if options is not None:
            args = record_args(self.trace, *options) + args
        console = tap.path(name + ".console")
        with open(console, "wb") as out, subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE) as process:
            try:
                self.follow(process, sock, save or {})
                err = process.communicate(timeout=60 * SLOW)[1]
            except BaseException:
                process.terminate()
                print("# " + self.read(console)[-2000:].replace("\n", "\n# "), flush=True)
                raise
        expect(process.returncode == 0, err.decode(errors="replace"))
        self.said = Said(self.read(console))
        expect(last in self.said.rest, self.said.text[-2000:])

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def follow(self, process, sock, save):
        qmp = Qmp(sock, process)
        qmp.socket.settimeout(BOOT_S * SLOW)
        qmp.wait("SHUTDOWN")
        for number, (name, (gpa, end)) in enumerate(save.items()):
            path = f"{self.trace}.{number}"
            qmp("pmemsave", val=gpa, size=end - gpa, filename=path)
            with open(path, "rb") as saved:
                self.saved[name] = saved.read()
        self.gs = [int(base, 16) for base in re.findall(
            r"^GS =\w+ (\w+)", qmp("human-monitor-command", **{"command-line":
                                                               "info registers -a"}), re.M)]
        qmp("quit")


def unharmed(boot, plain):
    """Nothing new in its log, its own checks are good, time went on."""
    said = boot.said
    expect("damage" not in said.rest, said.rest.get("damage"))
    expect(said.rest["sum"] == plain.said.rest["sum"], "the guest computed something else")
    expect(said.rest["begin"] == plain.said.rest["begin"], said.rest["begin"])
    new = said.warnings - plain.said.warnings
    expect(not new, "new in the guest's log: " + "; ".join(sorted(new)))
    expect(said.rest["clocksource"] == plain.said.rest["clocksource"] == "kvm-clock",
           said.rest["clocksource"])
    before = None
    for name in ("begin", "1", "2", "3", "end"):
        uptime, date = said.times[name]
        if before:
            expect(uptime > before[0] and date >= before[1], f"time stood still before {name}")
        if name in ("2", "3"):
            expect(uptime - before[0] >= 0.09, f"a sleep of 0.1 s took {uptime - before[0]:.2f} s")
        before = uptime, date
    uptime, date = (b - a for a, b in zip(said.times["begin"], said.times["end"]))
    # A process is started between the two looks, which takes its time on a slow host.
    expect(abs(date - uptime) < 2 + uptime / 20, f"clocks parted: {said.times}")


def vcpu_writes(trace, text):
    """(gpa, bytes) in order. By hand: there may be hundreds of thousands."""
    found = re.compile(r'"gpa":"(0x[0-9a-f]+)","len":\d+,"bytes":"([0-9a-f]+)".*"origin":"vcpu"')
    with subprocess.Popen([VMBLAME, "history", trace, text, "--json"], text=True,
                          stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            write = found.search(line)
            if write:
                yield int(write[1], 16), bytes.fromhex(write[2])
    expect(process.returncode == 0, f"history: status {process.returncode}")


def exact(boot, name, gpa, end, replays):
    """show at the end is what QEMU saved; so are the writes of the history, one upon the other."""
    saved, text = boot.saved[name], f"{gpa:#x}..{end:#x}"
    shown = subprocess.run([VMBLAME, "show", boot.trace, text, "--raw"], stdout=subprocess.PIPE,
                           check=True).stdout
    expect(shown == saved, f"show differs from pmemsave, first at {first_difference(shown, saved)}")
    replayed, touched = bytearray(len(saved)), bytearray(len(saved))
    for at, data in vcpu_writes(boot.trace, text):
        replayed[at - gpa:at - gpa + len(data)] = data
        touched[at - gpa:at - gpa + len(data)] = b"\1" * len(data)
    expect(sum(touched) >= replays, f"only {sum(touched)} bytes were written")
    for at, byte in enumerate(saved):
        expect(not touched[at] or replayed[at] == byte,
               f"{gpa + at:#x} is {byte:02x}, the last write there was {replayed[at]:02x}")
    if replays >= PAGE:
        expect(replayed == saved, "the history leaves something out")


def initrd_exact(boot, gpa, end):
    """Of memory that the loader filled and the kernel then used for this and that: show is what
    QEMU saved, and no byte with a writer differs from what that wrote."""
    saved, text = boot.saved["initrd"], f"{gpa:#x}..{end:#x}"
    shown = subprocess.run([VMBLAME, "show", boot.trace, text, "--raw"], stdout=subprocess.PIPE,
                           check=True).stdout
    expect(shown == saved, f"show differs from pmemsave, first at {first_difference(shown, saved)}")
    written = 0
    for row in who(boot.trace, text):
        expect(row["verdict"] in ("WRITTEN-BY", "INITIAL") or row.get("why"), row)
        if row["verdict"] == "WRITTEN-BY":
            at, data = int(row["gpa"], 16) - gpa, bytes.fromhex(row["bytes"])
            expect(saved[at:at + len(data)] == data, row)
            written += len(data)
    expect(written >= PAGE, f"only {written} bytes have a writer")


def first_difference(a, b):
    return next((hex(i) for i, (x, y) in enumerate(zip(a, b)) if x != y), "their lengths")


def opened(boot, gpa, why, origin="vcpu"):
    """Everything on that page is UNKNOWN for that reason, and the recording says when it was."""
    for row in who(boot.trace, f"{gpa:#x}+{PAGE}"):
        expect((row["verdict"], row.get("why")) == ("UNKNOWN", why), row)
    found = [c for c in info(boot.trace)["coverage"] if c["origin"] == origin and not c["on"] and
             c.get("why") == why and int(c["gpa"], 16) <= gpa < int(c["gpa_end"], 16)]
    expect(found, f"{gpa:#x} was not opened for {why}")


def per_cpu_pages(plain):
    """{page: what is on it} of what KVM writes for each vCPU. GS is the base of its variables."""
    found = {}
    for number, base in enumerate(plain.gs):
        for name in PER_CPU:
            page = (base - plain.direct_map + plain.said.symbols[name]) // PAGE * PAGE
            found.setdefault(page, f"{name} of vCPU {number}")
    return found


def watch(*ranges):
    options = []
    for gpa, end in ranges:
        options += ["--watch", f"{gpa:#x}..{end:#x}"]
    return options


def hardest(plain, vcpus):
    """Everything but the initrd in one boot."""
    said = plain.said
    ordinary = {name: said.page(symbol) for name, symbol in ORDINARY.items()}
    tables = {name: said.page(symbol) for name, symbol in TABLES.items()}
    written = {name: said.page(symbol) for name, symbol in KVM_WRITES.items()}
    per_cpu = {page: name for page, name in per_cpu_pages(plain).items()}
    pages = [*ordinary.values(), *tables.values(), *written.values(), *per_cpu]
    boots = []

    def boot():
        save = {name: (gpa, gpa + PAGE) for name, gpa in ordinary.items()}
        boots.append(Boot(f"pages{vcpus}", vcpus, watch(*((p, p + PAGE) for p in pages)),
                          save))

    if not tap.attempt(f"{vcpus} vCPU: Linux boots to power-off with its pages watched", boot):
        return
    done = boots[0]
    tap.attempt(f"{vcpus} vCPU: it is unharmed", unharmed, done, plain)
    tap.attempt(f"{vcpus} vCPU: nothing was lost",
                lambda: expect(info(done.trace)["lost"] == 0, "lost"))
    for name, gpa in ordinary.items():
        tap.attempt(f"{vcpus} vCPU: {name}: exactly what pmemsave finds", exact, done, name, gpa,
                    gpa + PAGE, PAGE)
    for name, gpa in tables.items():
        tap.attempt(f"{vcpus} vCPU: {name}: opened", opened, done, gpa, "page-table")
    for name, gpa in [*written.items(), *((name, page) for page, name in per_cpu.items())]:
        tap.attempt(f"{vcpus} vCPU: {name}: opened", opened, done, gpa, "kvm-writes")


def initrd_watched(plain, vcpus):
    """The initrd: unpacked, then freed, which fills it, and used for whatever the kernel likes."""
    gpa, end = plain.said.initrd()
    boots = []

    def boot():
        boots.append(Boot(f"initrd{vcpus}", vcpus, watch((gpa, end)), {"initrd": (gpa, end)}))

    if not tap.attempt(f"{vcpus} vCPU: Linux boots with its initrd watched", boot):
        return
    tap.attempt(f"{vcpus} vCPU: it is unharmed with its initrd watched", unharmed, boots[0], plain)
    tap.attempt(f"{vcpus} vCPU: the initrd's memory: exactly what pmemsave finds", initrd_exact,
                boots[0], gpa, end)


def panics(plain):
    """A kernel that panics: the trace is whole up to there."""
    gpa = plain.said.page(ORDINARY["counters"])
    boot = Boot("panic", 1, watch((gpa, gpa + PAGE)), {"counters": (gpa, gpa + PAGE)}, "panic")
    expect("Kernel panic" in boot.said.text, boot.said.text[-2000:])
    found = info(boot.trace)
    expect(not found["truncated"] and not found["lost"], found)
    exact(boot, "counters", gpa, gpa + PAGE, PAGE)


tap = Tap()
if cannot():
    tap.not_applicable("a Linux guest", cannot())
    tap.end()
initrd = tap.path("initrd")
subprocess.run([os.path.join(TOP, "tests/guests/linux/mkinitrd.sh"), initrd], check=True)
for count in (int(n) for n in os.environ.get("VCPUS", "1 2").split()):
    plain_boots = []
    if tap.attempt(f"{count} vCPU: Linux boots unrecorded",
                   lambda n=count: plain_boots.append(Boot(f"plain{n}", n))):
        plain_boots[0].direct_map = 0xffff888000000000
        if "pages" in PARTS and (ALL or count > 1):
            hardest(plain_boots[0], count)
        if "initrd" in PARTS and (ALL or count == 1):
            initrd_watched(plain_boots[0], count)
        if "panic" in PARTS and count == 1:
            tap.attempt("a kernel that panics: all is there up to its end", panics, plain_boots[0])
tap.end()
