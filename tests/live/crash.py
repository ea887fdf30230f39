#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash-safe: whatever becomes of the recorder or its file, the guest finishes its work, and what was
sealed before can be read. KILLS sets how often the recorder is killed (20; on nested hosts 4),
SEED when."""
import os
import random
import select
import signal
import subprocess
import threading
import time

from live import (OK, SLOW, Tap, expect, info, ledger, qemu, ranges, record_args, run, sized, truth,
                  unwritable, VMBLAME, watch, who)

tap = Tap()
KILLS = int(os.environ.get("KILLS", sized("20", "4")))
SEED = int(os.environ.get("SEED", str(random.randrange(10**6))))
GUEST = "stores-small"
LOOP = "stores-crash"  # spreads its stores over some seconds, so that a kill falls between them
want = truth(LOOP)


def wait_end(pid, seconds):
    """Waits for a process that need not be our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    ended = poll.poll(seconds * SLOW * 1000)
    os.close(fd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    expect(ended, f"the VMM had not ended after {seconds} s")


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds * SLOW
    while not condition():
        expect(time.monotonic() < end, what)
        time.sleep(0.002)


def storing(serial):
    return os.path.exists(serial) and b"operations" in open(serial, "rb").read()


def killed(number, after, results):
    trace, serial, pid = (tap.path(f"{name}{number}") for name in ("trace", "serial", "pid"))
    args = record_args(trace, *watch("stores")) + qemu(
        LOOP, "-pidfile", pid, serial="file:" + serial)
    try:
        with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as recorder:
            wait_for(lambda: recorder.poll() is not None or
                     (os.path.exists(pid) and os.path.getsize(pid)), 60, "QEMU did not start")
            vmm = int(open(pid, encoding="ascii").read() or "0")
            if number % 2:  # every other moment counts from the first store on
                wait_for(lambda: recorder.poll() is not None or storing(serial), 60, "no stores")
            try:
                recorder.wait(after)
            except subprocess.TimeoutExpired:
                recorder.kill()
            wait_end(vmm, 60)
        text = open(serial, encoding="ascii", errors="replace").read()
        expect(": ok" in text, f"killed after {after:.3f} s, the guest printed: {text!r}")
        done = run([VMBLAME, "info", trace])
        expect(done.status == 0, done.err)
        got = ledger(trace, ranges("stores").values())
        expect(got == want[:len(got)], "what was sealed is not how the guest began")
        results.append((number, None, len(got)))
    except Exception as error:  # pylint: disable=broad-except
        results.append((number, error, 0))
    for path in (trace, serial, pid):
        if os.path.exists(path):
            os.unlink(path)


def kill_recorders():
    """Two at a time; the moment is drawn over the whole life of the guest."""
    draw = random.Random(SEED)
    moments = [(n, draw.uniform(0.0, 4.0)) for n in range(KILLS)]
    results, lock = [], threading.Lock()

    def worker():
        while True:
            with lock:
                if not moments:
                    return
                number, after = moments.pop()
            killed(number, after, results)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bad = [(n, e) for n, e, _ in results if e]
    kept = sorted(k for _, _, k in results)
    expect(len(results) == KILLS and not bad, f"SEED={SEED}: {bad}")
    print(f"# stores kept: {kept}")
    expect(KILLS < 20 or kept[-1] > 0, f"SEED={SEED}: no kill fell among the stores")


def vmm_killed():
    """SIGKILL for QEMU in the midst of its stores: the recorder says so, and has all up to there."""
    trace, serial, pid = (tap.path("vmm-" + name) for name in ("trace", "serial", "pid"))
    args = record_args(trace, *watch("stores")) + qemu(
        LOOP, "-pidfile", pid, serial="file:" + serial)
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as recorder:
        wait_for(lambda: recorder.poll() is not None or storing(serial), 60, "no stores")
        os.kill(int(open(pid, encoding="ascii").read()), signal.SIGKILL)
        err = recorder.communicate(timeout=60 * SLOW)[1]
    expect(recorder.returncode == 128 + signal.SIGKILL, recorder.returncode)
    expect("lost 0" in err, err)
    expect(not info(trace)["truncated"], "truncated")
    got = ledger(trace, ranges("stores").values())
    expect(got == want[:len(got)], "what was kept is not how the guest began")


def stopped():
    """A recorder that stands still (SIGSTOP) lets the guest go; it can tell so afterwards."""
    trace, serial, pid = tap.path("trace"), tap.path("serial"), tap.path("pid")
    args = record_args(trace, *watch("stores")) + qemu(
        LOOP, "-pidfile", pid, serial="file:" + serial)
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as recorder:
        wait_for(lambda: os.path.exists(pid) and os.path.getsize(pid), 60, "QEMU did not start")
        wait_for(lambda: storing(serial), 60, "the guest did not start")
        recorder.send_signal(signal.SIGSTOP)
        vmm = int(open(pid, encoding="ascii").read())
        try:
            # QEMU is the recorder's child: it stays a zombie until the recorder goes on.
            wait_for(lambda: ": ok" in open(serial, encoding="ascii").read(), 120,
                     "the guest did not finish")
            wait_end(vmm, 60)
        finally:
            recorder.send_signal(signal.SIGCONT)
        err = recorder.communicate(timeout=60 * SLOW)[1].decode()
    expect(recorder.returncode == OK, err)
    got = ledger(trace, ranges("stores").values())
    expect(got == want[:len(got)] and got, f"{len(got)} stores kept")
    if len(got) < len(want):
        answers = {row["verdict"] for text in ranges("stores").values()
                   for row in who(trace, text)}
        expect("WRITTEN-BY" not in answers or "UNKNOWN" in answers, answers)



tap.attempt(f"{KILLS} times the recorder is killed: the guest finishes, the trace opens",
            kill_recorders)
tap.attempt("QEMU is killed: the trace is whole up to there", vmm_killed)
unwritable(tap, lambda trace: record_args(trace, "-q", *watch("stores")) + qemu(GUEST), "16k")
tap.attempt("a recorder that stands still: the watch comes off, the guest finishes", stopped)
tap.end()
