#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages mode: what memory held at marks and at the end, next to what QEMU saved then."""

from live import Tap, Whole, expect, qemu

tap = Tap()
MIB = 1 << 20
RAM = 0, 64 * MIB


def run_marked(name, guest, stages, more, store):
    args = qemu(guest, *more, exit_device=False)
    with Whole(tap.path(name), args, RAM, mode="pages") as running:
        for text in stages:
            running.console.wait(text, 120)
            running.mark()
        running.end()
        expect(": ok" in running.console.text(), running.console.text())
        store.append(running)


def guest_marked(guest, stages, *more):
    done = []
    if not tap.attempt(f"{guest}: runs, and stands still at marks", run_marked, guest, guest, stages,
                       more, done):
        return
    for moment in done[0].saved:
        tap.attempt(f"{guest}: {moment}: all of RAM is what pmemsave says", done[0].show, moment)


guest_marked("stores", ("operations",))
tap.end()
