# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every guest on plain QEMU with KVM, untraced, and compares RAM with what it should hold.

check.py DIR [NAME...]: DIR is where `make guests` put the images. A guest runs without a debug
exit device and under -no-shutdown, so that it stays when it is done and its RAM can be saved.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 120

# name: (a line that must be printed, then files of what RAM must hold, by range name)
GUESTS = {
    "console": (": BAD", {"module": "module.bad"}),
    "stores": (": ok", {"A": "stores.range-a", "B": "stores.range-b"}),
    "stores-small": (": ok", {"A": "stores-small.range-a", "B": "stores-small.range-b"}),
    "stores-loop": (": ok", {"A": "stores-loop.range-a", "B": "stores-loop.range-b"}),
    "mmioloop": ("mmioloop: done", {}),
    "mmioloop-ram": ("mmioloop: done", {}),
    "vq": ("vq: page as expected: ok", {}),
    "hostile": ("hostile: all good", {}),
}


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        for _ in range(100):
            try:
                self.sock.connect(path)
                break
            except OSError:
                time.sleep(0.1)
        self.lines = self.sock.makefile("r")
        self.lines.readline()
        self.events = []
        self.call("qmp_capabilities")

    def read(self):
        line = self.lines.readline()
        if not line:
            raise EOFError("QEMU went away")
        return json.loads(line)

    def call(self, command, **arguments):
        message = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer["event"])
            elif "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            else:
                return answer["return"]

    def wait(self, event):
        while event not in self.events:
            self.events.append(self.read().get("event"))


def ranges(folder, name):
    found = {}
    path = os.path.join(folder, name.split("-")[0] + ".addr")
    if os.path.exists(path):
        with open(path) as lines:
            for line in lines:
                range_name, gpa, size = line.split()
                found[range_name] = int(gpa, 0), int(size, 0)
    return found


def check(folder, name):
    """None when all is well, else what is not."""
    line, files = GUESTS[name]
    image = os.path.join(folder, name + ".img")
    with tempfile.TemporaryDirectory() as tmp:
        serial, qmp_path = os.path.join(tmp, "serial"), os.path.join(tmp, "qmp")
        vm = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "64"]
            + ["-no-reboot", "-no-shutdown", "-serial", "file:" + serial]
            + ["-qmp", "unix:%s,server=on,wait=off" % qmp_path]
            + ["-drive", "if=none,id=d,format=raw,readonly=on,file=" + image]
            + ["-device", "virtio-blk-pci,drive=d"],
            stderr=subprocess.PIPE,
        )
        try:
            qmp = Qmp(qmp_path)
            qmp.wait("SHUTDOWN")
            with open(serial) as f:
                printed = f.read()
            if line not in printed:
                return "printed:\n" + printed
            where = ranges(folder, name)
            for range_name, file_name in files.items():
                gpa, size = where[range_name]
                saved = os.path.join(tmp, "ram")
                qmp.call("pmemsave", val=gpa, size=size, filename=saved)
                with open(saved, "rb") as ram, open(os.path.join(folder, file_name), "rb") as want:
                    if ram.read() != want.read():
                        return "%s: RAM at %#x is not what %s says" % (range_name, gpa, file_name)
            return None
        except (OSError, EOFError, RuntimeError) as err:
            return str(err)
        finally:
            vm.kill()
            vm.wait()


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: check.py DIR [NAME...]")
    names = sys.argv[2:] or list(GUESTS)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("guests: not applicable: /dev/kvm cannot be opened")
        print("0 passed, 0 failed, %d skipped" % len(names))
        return 0
    failed = 0
    for name in names:
        wrong = check(sys.argv[1], name)
        failed += wrong is not None
        print("guest %s: %s" % (name, "ok" if wrong is None else "FAILED: " + wrong), flush=True)
    print("%d passed, %d failed, 0 skipped" % (len(names) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
