#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command on a terminal of its own and talks to it.

    terminal.py STEP... -- COMMAND ARGS...

STEP is `expect:REGEX` (waits until it is printed, after what earlier steps matched), `send:TEXT`
(with \\x03 and the like) or `gone:REGEX` (waits until no process of the terminal's foreground group
has such a command line). What the command prints goes to stdout; the exit status is the command's,
128+N when signal N killed it, 99 when a step waited in vain.
"""
import os
import pty
import re
import select
import sys
import time

TIMEOUT_S = 30 * float(os.environ.get("VMBLAME_SLOW", "1"))


class Terminal:
    def __init__(self, command):
        self.seen = b""
        self.at = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def pump(self, wait_s):
        """Takes what is printed; False at the end."""
        if not select.select([self.fd], [], [], wait_s)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += data
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return data != b""

    def expect(self, regex):
        end = time.monotonic() + TIMEOUT_S
        open_ = True
        while True:
            found = re.search(regex.encode(), self.seen[self.at:])
            if found:
                self.at += found.end()
                return True
            if not open_ or time.monotonic() > end:
                return False
            open_ = self.pump(0.1)

    def send(self, text):
        os.write(self.fd, text.encode().decode("unicode_escape").encode("latin-1"))
        return True

    def gone(self, regex):
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            group = os.tcgetpgrp(self.fd)
            if not any(re.search(regex, c) for c in commands(group)):
                return True
            self.pump(0.05)
        return False

    def finish(self):
        end = time.monotonic() + TIMEOUT_S
        while self.pump(0.1) and time.monotonic() < end:
            pass
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            time.sleep(0.02)
        return None


def commands(group):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(pid)) == group:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    yield f.read().replace(b"\0", b" ").decode("latin-1")
        except OSError:
            continue


def main():
    split = sys.argv.index("--")
    term = Terminal(sys.argv[split + 1:])
    for step in sys.argv[1:split]:
        verb, _, text = step.partition(":")
        if not {"expect": term.expect, "send": term.send, "gone": term.gone}[verb](text):
            print(f"\nterminal.py: in vain: {step}")
            os.killpg(os.getpgid(term.pid), 9)
            return 99
    status = term.finish()
    if status is None:
        print("\nterminal.py: it does not end")
        os.killpg(os.getpgid(term.pid), 9)
        return 99
    return status


if __name__ == "__main__":
    sys.exit(main())
