#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Observe: what each probe counted against what the `tally` guest did. A probe that attaches and stays
silent where it should speak fails, and so does a difference to the table in docs/observability.md.

observe.py --merge: writes that table from what the hosts left in $B/observability."""
import collections
import glob
import json
import os
import platform
import re
import subprocess
import sys

from live import (BUILD, OK, Qmp, SLOW, TOP, Tap, VMBLAME, back_end, expect, info, qemu, ranges,
                  record_args)

DOC = os.path.join(TOP, "docs/observability.md")
RESULTS = os.path.join(BUILD, "observability")
COLUMNS = ["6.18 pvm", "6.1 svm npt=1", "6.12 svm npt=1", "6.12 svm npt=0"]
RING = 4096  # entries
PVM, NPT, SHADOW = "pvm", "svm npt=1", "svm npt=0"

with open(os.path.join(TOP, "tests/guests/tally_layout.h"), encoding="ascii") as layout:
    DID = {name: int(value, 0) for name, value in
           re.findall(r"#define (\w+)\s+(0x\w+|\d+)", layout.read())}


class Facts:
    """What the trace holds."""

    def __init__(self, trace):
        self.trace = trace
        self.info = info(trace)
        self.probes = {p["name"]: p for p in self.info["probes"]}
        self.kinds = {}

    def events(self, kind, **want):
        if kind not in self.kinds:
            out = subprocess.run([VMBLAME, "export", self.trace, "--format", "json", "--kinds", kind],
                                 stdout=subprocess.PIPE, check=True, text=True).stdout
            self.kinds[kind] = [e for e in map(json.loads, out.splitlines()) if e["event"] == kind]
        return [e for e in self.kinds[kind] if all(e.get(k) == v for k, v in want.items())]

    def fired(self, name):
        return self.probes[name]["fired"]

    def inside(self, kind, area):
        """[(page, event)] of one of the guest's areas."""
        start = DID[area + "_GPA"]
        end = start + DID[area + "_PAGES"] * 4096
        found = [(int(event["gva" if event.get("linear") else "gpa"], 16) & ~4095, event)
                 for event in self.events(kind)]
        return [(page, event) for page, event in found if start <= page < end]

    def pages(self, kind, area):
        """{page: how many events}"""
        return collections.Counter(page for page, _ in self.inside(kind, area))


# A rule: facts -> (what was counted, what happened), equal where it is exact.

def stores(facts):
    at = [e for e in facts.events("mmio", write=1) if int(e["gpa"], 16) == DID["MMIO_GPA"]]
    return len(at), DID["MMIO_STORES"]


def loads(facts):
    at = [e for e in facts.events("mmio", write=0) if int(e["gpa"], 16) == DID["MMIO_GPA"]]
    return len(at), DID["MMIO_LOADS"]


def mmio(facts):
    return [stores(facts), loads(facts)]


def ports(facts):
    at = [e for e in facts.events("pio") if int(e["port"], 16) == DID["TALLY_PORT"]]
    return [(len([e for e in at if e["write"]]), DID["PORT_WRITES"]),
            (len([e for e in at if not e["write"]]), DID["PORT_READS"])]


def watched(facts):
    """Stores that were requested and done."""
    at = [e for e in facts.events("mmio", write=1, done="exited")
          if DID["WATCHED_GPA"] <= int(e["gpa"], 16) < DID["WATCHED_GPA"] + 4096]
    return [(len(at), DID["WATCHED_STORES"])]


def disk(kind):
    def rule(facts):
        sectors = [int.from_bytes(bytes.fromhex(e["header"])[8:16], "little")
                   for e in facts.events(kind)]
        mine = [s for s in sectors if
                DID["DISK_SECTOR"] <= s < DID["DISK_SECTOR"] + DID["DISK_REQUESTS"]]
        return [(len(mine), DID["DISK_REQUESTS"]), (len(set(mine)), DID["DISK_REQUESTS"])]
    return rule


def fires(kind, name, least=1):
    """Each time that it ran is an event, and there are some."""
    def rule(facts):
        count = len(facts.events(kind))
        return [(facts.fired(name), count), (count >= least, True)]
    return rule


def some(name, least=1):
    return lambda facts: [(facts.fired(name) >= least, True)]


def resets(facts):
    """SeaBIOS answers each reset of the guest's with one of its own."""
    return [(len(facts.events("reset")), facts.info["boots"] - 1),
            (len(facts.events("reset", reason="guest-reset")), 2 * DID["TALLY_RESETS"])]


def reset_requests(facts):
    return [(len(facts.events("reset_request", reason="guest-reset")), 2 * DID["TALLY_RESETS"])]


def first_touches(facts):
    """One fault a page, a load's without the store bit. The guest's addresses are physical."""
    found = []
    for area, bit in (("LOADED", 0), ("STORED", 2)):
        faults = facts.inside("page_fault", area)
        for _, event in faults:
            expect(int(event["error"], 16) & 2 == bit, f"{area}: {event}")
        found += [(len({page for page, _ in faults}), DID[area + "_PAGES"]),
                  (len(faults), DID[area + "_PAGES"])]
    return found


def mapped(facts):
    """An entry for each page that was touched; more when one is changed again."""
    found = []
    for area in ("LOADED", "STORED"):
        found.append((len(facts.pages("spte", area)), DID[area + "_PAGES"]))
    return found


def nothing_wrong(facts):
    """It looks at every entry that is made, and finds none to tell of."""
    return [(len(facts.events("mapped_writable")), 0)]


def dirtied(kind):
    """One epoch: each page once, though it was stored to over and over."""
    def rule(facts):
        pages = facts.pages(kind, "DIRTY")
        return [(len(pages), DID["DIRTY_PAGES"]), (sum(pages.values()), DID["DIRTY_PAGES"])]
    return rule


def pushed(facts):
    """By the ring: all of the pages, again after each time that QEMU empties it."""
    return [(facts.fired("mmu__dirty_ring"), len(facts.events("dirty", via="ring"))),
            (len(facts.pages("dirty", "DIRTY")), DID["DIRTY_PAGES"])]


def touched(kind):
    def rule(facts):
        return [(len(facts.pages(kind, "DIRTY")), DID["DIRTY_PAGES"])]
    return rule


EXACT, LEAST, NEVER, LACKS = "exact", "at least", "cannot fire here", "unavailable"
NO_VHOST = (NEVER, "no vhost device")
NO_FAULT = (NEVER, "the guest is emulated, nothing faults in KVM's MMU")

# probe: (what happened, {back end, or "" for all others: (relation, rule or reason)})
RULES = {
    "core__sched_process_fork": ("QEMU starts no process", {"": (NEVER, "QEMU starts no process")}),
    "exits__kvm_mmio": ("{MMIO_STORES} stores and {MMIO_LOADS} loads where no RAM is",
                        {"": (EXACT, mmio)}),
    "exits__kvm_pio": ("{PORT_WRITES} port writes and {PORT_READS} reads", {"": (EXACT, ports)}),
    "exits__kvm_userspace_exit": ("{WATCHED_STORES} stores to a watched page", {"": (EXACT, watched)}),
    "exits__kvm_inj_exception": ("no exception", {"": (NEVER, "the guest makes no exception")}),
    "machine__qemu_system_reset": ("a reset ({TALLY_RESETS}), doubled by SeaBIOS",
                                   {"": (EXACT, resets)}),
    "machine__qemu_system_reset_request": ("the same, asked for", {"": (EXACT, reset_requests)}),
    "machine__qemu_system_guest_panicked": ("no panic", {"": (NEVER, "no panic")}),
    "machine__qemu_system_guest_crashloaded": ("no panic", {"": (NEVER, "no panic")}),
    "machine__kvm_userspace_exit": ("no triple fault", {"": (NEVER, "no triple fault")}),
    "machine__kvm_vm_ioctl": ("memory slots set", {"": (LEAST, some("machine__kvm_vm_ioctl", 10))}),
    "virtqueue__virtio_init": ("one virtio device",
                               {"": (EXACT, fires("vq_device", "virtqueue__virtio_init"))}),
    "virtqueue__virtio_add_queue": ("its queue", {"": (LEAST, some("virtqueue__virtio_add_queue"))}),
    "virtqueue__virtio_add_queue_ret": ("its queue",
                                        {"": (LEAST, some("virtqueue__virtio_add_queue_ret"))}),
    "virtqueue__virtio_queue_set_rings": ("SeaBIOS sets the queue up, each boot", {
        "": (LEAST, some("virtqueue__virtio_queue_set_rings", 1 + DID["TALLY_RESETS"]))}),
    "virtqueue__virtio_queue_set_addr": ("the guest sets it up, by the older interface",
                                         {"": (LEAST, some("virtqueue__virtio_queue_set_addr"))}),
    "virtqueue__virtqueue_pop": ("{DISK_REQUESTS} requests", {
        "": (LEAST, some("virtqueue__virtqueue_pop", DID["DISK_REQUESTS"]))}),
    "virtqueue__virtqueue_pop_ret": ("{DISK_REQUESTS} requests taken", {"": (EXACT, disk("vq_pop"))}),
    "virtqueue__virtqueue_push": ("{DISK_REQUESTS} requests completed", {"": (EXACT, disk("vq_push"))}),
    "virtqueue__virtqueue_fill": ("virtqueue_push() calls it", {
        "": (LEAST, some("virtqueue__virtqueue_fill", DID["DISK_REQUESTS"]))}),
    "virtqueue__virtio_notify": ("disks notify by irqfd", {"": (NEVER, "disks notify by irqfd")}),
    "virtqueue__virtio_notify_irqfd": ("{DISK_REQUESTS} requests completed", {
        "": (LEAST, some("virtqueue__virtio_notify_irqfd", DID["DISK_REQUESTS"]))}),
    "virtqueue__virtio_error": ("no error", {"": (NEVER, "the guest breaks no rule")}),
    "vhost__vhost_dev_init": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_dev_start": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_dev_start_ret": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_virtqueue_start": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_device_iotlb_miss": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_virtqueue_stop": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_dev_stop": ("no vhost", {"": NO_VHOST}),
    "vhost__vhost_dev_stop_ret": ("no vhost", {"": NO_VHOST}),
    "mmu__page_fault": ("{LOADED_PAGES} pages first loaded from, {STORED_PAGES} first stored to",
                        {PVM: NO_FAULT, "": (EXACT, first_touches)}),
    "mmu__fast_fault": ("{DIRTY_PAGES} pages dirtied in one epoch",
                        {PVM: NO_FAULT, "": (LEAST, touched("fast_fault"))}),
    "mmu__spte_tdp": ("the touched pages mapped",
                      {PVM: NO_FAULT, NPT: (LEAST, mapped), SHADOW: (NEVER, "shadow paging")}),
    "mmu__spte_shadow": ("the touched pages mapped",
                         {PVM: NO_FAULT, NPT: (NEVER, "two-dimensional paging"),
                          SHADOW: (LEAST, mapped)}),
    "mmu__mapped_writable": ("nothing mapped wrongly",
                             {PVM: NO_FAULT, "": (EXACT, nothing_wrong)}),
    "mmu__zap_range": ("memory slots and QEMU's memory change",
                       {"": (LEAST, some("mmu__zap_range"))}),
    "mmu__zap_page": ("memory slots change", {NPT: (NEVER, "two-dimensional paging"),
                                              "": (LEAST, some("mmu__zap_page"))}),
    "mmu__dirty_log": ("{DIRTY_PAGES} pages dirtied in one epoch",
                       {PVM: (LACKS, "no fentry, no kprobes"), "": (EXACT, dirtied("dirty"))}),
    "mmu__dirty_ring": ("{DIRTY_PAGES} pages dirtied, with a dirty ring",
                        {PVM: (NEVER, "its dirty rings fill and are not emptied"),
                         "": (LEAST, pushed)}),
    "tables__page_fault": ("no page table in a watched page",
                           {"": (NEVER, "the guest has no page tables")}),
    "tables__shadow_page": ("no page table in a watched page",
                            {"": (NEVER, "the guest has no page tables")}),
}


def vmm(name, happens, least=0, silent=""):
    name = "vmm__" + name
    RULES[name] = happens, {"": (LEAST, some(name, least)) if least else (NEVER, silent)}


vmm("address_space_write", "devices' registers", 1)
vmm("address_space_rw", "{MMIO_STORES} stores and {MMIO_LOADS} loads where no RAM is",
    DID["MMIO_STORES"] + DID["MMIO_LOADS"])
vmm("address_space_set", "fw_cfg fills memory", 1)
vmm("cpu_physical_memory_rw", "the machine is made", 1)
vmm("address_space_write_rom", "the machine is made", 1)
vmm("cpu_memory_rw_debug", "no debugger", silent="no debugger")
vmm("cpu_get_phys_page_attrs_debug_ret", "no debugger", silent="no debugger")
vmm("address_space_map", "{DISK_REQUESTS} requests", DID["DISK_REQUESTS"])
vmm("address_space_map_ret", "{DISK_REQUESTS} requests", DID["DISK_REQUESTS"])
vmm("address_space_unmap", "{DISK_REQUESTS} requests", DID["DISK_REQUESTS"])
vmm("address_space_stw_le_cached_slow", "no virtual IOMMU", silent="no virtual IOMMU")
for word in ("stb", "stw_le", "stl_le", "stq_le"):
    vmm("address_space_" + word, "no interrupt by a message", silent="no interrupt by a message")
vmm("memory_region_set_dirty", "the machine is made", 1)
vmm("ram_block_discard_range", "no balloon", silent="no balloon")
vmm("qemu_loadvm_state", "no loadvm", silent="no loadvm")
vmm("cpu_synchronize_all_post_init", "the machine is made", 1)
vmm("qemu_system_reset", "a reset ({TALLY_RESETS}), doubled by SeaBIOS", 1 + 2 * DID["TALLY_RESETS"])
vmm("cpu_synchronize_all_post_reset", "the same, done", 1 + 2 * DID["TALLY_RESETS"])

tap = None


def host():
    return ".".join(platform.release().split(".")[:2]) + " " + back_end()


def record(name, accel, mode, *options):
    """The guest under probes; dirty logging is QEMU's own, for one epoch."""
    trace, sock = tap.path(name + ".vmb"), tap.path("qmp")
    command = [accel if a == "kvm" else a
               for a in qemu("tally", "-qmp", f"unix:{sock},server=on,wait=off")
               if a != "-no-reboot"]
    args = record_args(trace, *options) + command
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        qmp = Qmp(sock, process)
        told = ""
        for line in process.stdout:
            told += line
            if "over and over" in line:
                break
        expect("over and over" in told, told)
        qmp("calc-dirty-rate", **{"calc-time": 1, "mode": mode})
        while qmp("query-dirty-rate")["status"] != "measured":
            pass
        more, err = process.communicate("q", timeout=60 * SLOW)
        expect(process.returncode == OK and "tally: done" in more, told + more + err)
    found = Facts(trace)
    expect(found.info["lost"] == 0, f"{found.info['lost']} lost")
    return found


def compare(facts, name):
    """The table's cell for what this probe did; raises when that is not what it should."""
    probe = facts.probes[name]
    rules = RULES[name][1]
    relation, rule = rules.get(back_end(), rules.get(""))
    if relation == LACKS:
        expect(probe["how"] == "unavailable", f"{name}: {probe}, but: {rule}")
        return f"unavailable: {rule}"
    expect(probe["how"] not in ("unavailable", "off"), f"{name} is {probe['how']}: {probe}")
    if relation == NEVER:
        expect(probe["fired"] == 0, f"{name} fired {probe['fired']} times, but: {rule}")
        return f"{probe['how']}, silent: {rule}"
    expect(probe["fired"] > 0, f"{name} is attached and never fired")
    pairs = rule(facts)
    if relation == EXACT:
        expect(all(a == b for a, b in pairs), f"{name}: counted and happened: {pairs}")
    else:
        expect(all(a >= b for a, b in pairs), f"{name}: counted less than happened: {pairs}")
    return f"{probe['how']}, {relation}"


def table(lines):
    """{column: {probe: cell}} of the document."""
    found = {column: {} for column in COLUMNS}
    for line in lines:
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) == 2 + len(COLUMNS) and cells[0].startswith("`"):
            for column, cell in zip(COLUMNS, cells[2:]):
                found[column][cells[0].strip("`")] = cell
    return found


def committed():
    try:
        with open(DOC, encoding="ascii") as doc:
            return table(doc)
    except FileNotFoundError:
        return table([])


def results_path(name):
    return os.path.join(RESULTS, name.replace(" ", "-") + ".txt")


def write_results(cells):
    os.makedirs(RESULTS, exist_ok=True)
    with open(results_path(host()), "w", encoding="ascii") as results:
        results.write(f"{host()}\n")
        for name, cell in cells.items():
            results.write(f"{name}|{cell}\n")


def merge():
    columns = committed()
    for path in glob.glob(os.path.join(RESULTS, "*.txt")):
        with open(path, encoding="ascii") as results:
            name, *lines = results.read().splitlines()
        if name in columns:
            columns[name] = dict(line.split("|", 1) for line in lines)
    with open(DOC, "w", encoding="ascii") as doc:
        doc.write("# What each probe sees, by host\n\n"
                  "A test guest does each thing a known number of times; this table says how what a "
                  "probe counted\ncompares. It is written by `tests/live/observe.py --merge` from runs "
                  "on each host, and a run whose\nresult differs from it fails.\n\n"
                  "- **exact**: counted as often as it happened\n"
                  "- **at least**: counted that often or more; others do it too\n"
                  "- **silent**: attached, and rightly never fired; why\n"
                  "- **unavailable**: cannot be attached; why\n\n"
                  "`pvm` is a KVM that emulates guests rather than entering them; `npt=1` and `npt=0` "
                  "are SVM with\ntwo-dimensional and with shadow paging. VMX was never tested.\n\n")
        doc.write("| probe | what happens | " + " | ".join(COLUMNS) + " |\n")
        doc.write("|---|---|" + "---|" * len(COLUMNS) + "\n")
        for name, (happens, _) in RULES.items():
            cells = [columns[c].get(name, "not run") for c in COLUMNS]
            doc.write(f"| `{name}` | {happens.format(**DID)} | " + " | ".join(cells) + " |\n")


def main():
    global tap
    if sys.argv[1:] == ["--merge"]:
        merge()
        return
    tap = Tap()
    facts, by_ring = None, None

    def run_guest():
        nonlocal facts
        facts = record("tally", "kvm", "dirty-bitmap", "--with", "mmu", "--with", "vmm",
                       "--watch", ranges("tally")["watched"])

    def run_with_ring():
        nonlocal by_ring
        by_ring = record("ring", f"kvm,dirty-ring-size={RING}", "dirty-ring", "--mode", "events", "--with",
                         "mmu__dirty_ring")

    ran = tap.attempt("the guest runs with every probe on, and nothing is lost", run_guest)
    if back_end() == PVM:
        by_ring = facts
    else:
        ran &= tap.attempt("it runs with a dirty ring", run_with_ring)
    if ran:
        cells, known = {}, committed().get(host())
        tap.attempt("there is a rule for every probe", lambda: expect(
            set(facts.probes) == set(RULES), set(facts.probes) ^ set(RULES)))
        for name in RULES:
            if name in facts.probes:
                held = by_ring if name == "mmu__dirty_ring" else facts
                tap.attempt(name, lambda n=name, f=held: cells.__setitem__(n, compare(f, n)))
        width = max(map(len, cells), default=0)
        for name, cell in cells.items():
            print(f"# {name:{width}} {facts.fired(name):7} {cell}")
        write_results(cells)
        if known is not None:
            differ = {n: (known.get(n), c) for n, c in cells.items() if known.get(n) != c}
            tap.ok("docs/observability.md says the same", not differ, differ)
        else:
            tap.not_applicable("docs/observability.md says the same", f"it has no column {host()}")
    tap.end()


main()
