# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the aarch64 `stores` guests on plain QEMU, emulated, with and without LSE, and compares RAM
with what stores_truth says it should hold.

check_stores.py DIR [NAME...]: DIR is where `make guests-aarch64` put them.
"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from check import Qmp, ranges  # noqa: E402

NAMES = ["stores", "stores-small"]
CPUS = {"cortex-a57": "", "max": "-lse"}  # and what the truth's name ends in
QEMU = "qemu-system-aarch64 -M virt -m 64 -nodefaults -display none -no-reboot -no-shutdown -S"


def check(folder, name, cpu):
    """None when all is well, else what is not."""
    with tempfile.TemporaryDirectory() as tmp:
        serial, qmp_path = os.path.join(tmp, "serial"), os.path.join(tmp, "qmp")
        vm = subprocess.Popen(
            QEMU.split()
            + ["-cpu", cpu, "-kernel", os.path.join(folder, name + ".elf")]
            + ["-serial", "file:" + serial, "-qmp", "unix:%s,server=on,wait=off" % qmp_path]
        )
        try:
            qmp = Qmp(qmp_path)
            qmp.call("cont")
            qmp.wait("SHUTDOWN")
            with open(serial) as f:
                printed = f.read()
            if ": ok\n" not in printed:
                return "printed:\n" + printed
            for letter, (gpa, size) in ranges(folder, name).items():
                saved = os.path.join(tmp, "ram")
                want = "%s%s.range-%s" % (name, CPUS[cpu], letter.lower())
                qmp.call("pmemsave", val=gpa, size=size, filename=saved)
                with open(saved, "rb") as ram, open(os.path.join(folder, want), "rb") as truth:
                    if ram.read() != truth.read():
                        return "%s: RAM at %#x is not what %s says" % (letter, gpa, want)
            return None
        except (OSError, EOFError, RuntimeError) as err:
            return str(err)
        finally:
            vm.kill()
            vm.wait()


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: check_stores.py DIR [NAME...]")
    runs = [(name, cpu) for name in sys.argv[2:] or NAMES for cpu in CPUS]
    failed = 0
    for name, cpu in runs:
        wrong = check(sys.argv[1], name, cpu)
        failed += wrong is not None
        verdict = "ok" if wrong is None else "FAILED: " + wrong
        print("guest aarch64/%s on %s: %s" % (name, cpu, verdict), flush=True)
    print("%d passed, %d failed, 0 skipped" % (len(runs) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
