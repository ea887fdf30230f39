# SPDX-License-Identifier: GPL-2.0-or-later
"""Section 4 of docs/format.md: the stores of a chunk."""
import struct
import xxhash
from decoder_chunks import Bytes, chunk_body, need, page_runs
from decoder_events import M64, Event, unzigzag

WORDS, SITES, ASIDE, CODES, KNOWN, STEP, SIDE, PLAIN, NEAR8, NEAR16 = 0, 1, 2, 3, 4, 5, 6, 7, 11, 12
TIME, THREAD, MAP, NUMBERS, RACED = range(5)
BOOT_UNKNOWN = 0xffffffff


class Site:
    """One access of one instruction, and what its last store left to be predicted from."""
    def __init__(self, pc, size, part):
        self.pc, self.size, self.part = pc, size, part
        self.stored, self.then = False, None  # then: the site that stored after this one
        self.gva = self.stride = self.ahead = self.value = self.vstride = self.over = 0


def read_sites(block):
    sites, pc = [], 0
    while block.left():
        pc = pc + unzigzag(block.varint()) & M64
        shape = block.u8()
        need(shape < 0x80, "a site's shape has an unknown bit")
        sites.append(Site(pc, 1 << (shape & 3), shape >> 2))
    need(len(sites) <= 65535, "too many sites")
    return sites


def read_aside(block, head):
    """{number of a store: [(kind, what it says)]}"""
    remarks, at = {}, 0
    while block.left():
        at += block.varint()
        kind = block.varint()
        need(at <= head.events, "a remark behind the last store")
        need(kind <= RACED, "a remark of an unknown kind")
        says = [block.varint() for _ in range({THREAD: 2, MAP: 2, RACED: 0}.get(kind, 1))]
        remarks.setdefault(at, []).append((kind, says))
    return remarks


class Model:
    """Codes to sites, addresses and values; section 4 from "Codes" on."""
    def __init__(self, sites, blocks):
        self.blocks, self.sites, self.fresh = blocks, sites, iter(sites)
        self.number = {site: i for i, site in enumerate(sites)}
        self.paths, self.path, self.site = {}, 0, None
        self.p = self.q = 0
        self.held = {}

    def next_site(self, code):
        if code == 3:
            site = next(self.fresh, None)
            need(site, "a store by a site that is not listed")
            site.stored, site.gva = True, self.p
        elif code == 2:
            number = int.from_bytes(self.blocks[KNOWN].take(2), "little")
            need(number < len(self.sites), "a store by a site that is not listed")
            site = self.sites[number]
        elif code == 1:
            site = self.site and self.site.then
        else:
            site = self.paths.get(self.path)
        need(site and site.stored, "a store by a site that has not stored")
        self.paths[self.path] = site
        if self.site:
            self.site.then = site
        number = self.number[site]
        self.path = (self.path << 5 ^ number ^ number << 7) & 0x1fff
        self.site = site
        return site

    def next_address(self, site, code):
        need(code <= 4, "an address of an unknown form")
        if code == 0:
            address = self.p + site.ahead
        elif code == 1:
            address = site.gva + site.stride
        elif code == 2:
            address = site.gva
        elif code == 3:
            address = site.gva + unzigzag(self.blocks[STEP].varint())
        else:
            address = self.p + unzigzag(self.blocks[SIDE].varint())
        address &= M64
        site.ahead, site.stride = address - self.p & M64, address - site.gva & M64
        site.gva = self.p = address
        return address

    def next_value(self, site, address, code):
        place = ((9 * address + site.size) * 0x9e3779b97f4a7c15 & M64) >> 54
        if code == 0:
            value = site.value
        elif code == 1:
            value = self.held.get(place, 0)
        elif code == 2:
            value = site.value + site.vstride
        elif code == 3:
            value = address + site.over
        elif code == 4:
            value = self.q
        elif code == 5:
            value = site.value + unzigzag(self.blocks[NEAR8].u8())
        elif code == 6:
            value = site.value + unzigzag(int.from_bytes(self.blocks[NEAR16].take(2), "little"))
        else:
            plain = self.blocks[PLAIN + site.size.bit_length() - 1]
            value = int.from_bytes(plain.take(site.size), "little")
        value &= (1 << 8 * site.size) - 1
        site.vstride, site.over = value - site.value & M64, value - address & M64
        site.value = self.held[place] = self.q = value
        return value


def chunk_stores(data, off, kind):
    """The stores of a chunk as events of the kind whose number that is."""
    head, pages, blocks = chunk_body(data, off)
    blocks = [Bytes(block) for block in blocks]
    need(blocks[CODES].left() == head.events, "not a code for each store")
    model = Model(read_sites(blocks[SITES]), blocks)
    remarks, maps, events = read_aside(blocks[ASIDE], head), {}, []
    seq, t_ns, tid, vcpu = head.seq_min, head.t_min, 0, 0
    for i in range(head.events + 1):
        for what, says in remarks.get(i, ()):
            if what == TIME:
                t_ns += says[0]
            elif what == THREAD:
                tid, vcpu = says
            elif what == MAP:
                need(says[0] >> 1 < 4096, "a map of no place")
                delta, _ = maps.get(says[0] >> 1, (0, 0))
                maps[says[0] >> 1] = delta + unzigzag(says[1]), says[0] & 1
            elif what == NUMBERS:
                seq += says[0]
        need(t_ns <= M64 and seq <= M64, "a time or a sequence number is too large")
        need(tid < 1 << 32 and vcpu < 1 << 16, "a thread's number is too large")
        if i == head.events:
            break
        code = blocks[CODES].u8()
        site = model.next_site(code & 3)
        gva = model.next_address(site, code >> 2 & 7)
        value = model.next_value(site, gva, code >> 5)
        place = (gva >> 12 ^ gva >> 24) & 4095
        need(place in maps, "a store at a place that is not mapped")
        need((gva & 4095) + site.size <= 4096, "a store reaches beyond its page")
        delta, smm = maps[place]
        events.append(Event(seq, kind, t_ns, BOOT_UNKNOWN, tid, 0, vcpu, {
            "gpa": gva + 4096 * delta & M64, "gva": gva, "pc": site.pc, "smm": smm,
            "raced": int((RACED, []) in remarks.get(i, ())), "part": site.part, "len": site.size, "bytes": struct.pack("<Q", value)[:site.size]}))
        seq += 1
    need(events[-1].seq == head.seq_max, "the last sequence number is wrong")
    need(next(model.fresh, None) is None, "a site that stores nothing")
    need(not any(block.left() for block in blocks[SITES:]), "bytes are left over")
    check_summary(head, pages, blocks[WORDS], events)
    return events


def check_summary(head, page_set, words, events):
    """What the chunk's header, page set and words say of its stores is true."""
    need((events[0].t_ns, events[-1].t_ns) == (head.t_min, head.t_max), "t_min or t_max is wrong")
    need(head.lost == 0, "lost is wrong")
    touched = {}
    for values in (event.values for event in events):
        page, first = values["gpa"] >> 12, (values["gpa"] & 4095) >> 3
        for word in range(first, ((values["gpa"] & 4095) + values["len"] - 1 >> 3) + 1):
            touched[page] = touched.get(page, 0) | 1 << word
    pages = sorted(touched)
    need([page for a, b in page_runs(page_set) for page in range(a, b)] == pages, "the page set is wrong")
    need(words.data == b"".join(touched[page].to_bytes(64, "little") for page in pages),
         "the words are wrong")
    need(head.words_sum == xxhash.xxh64_intdigest(words.data, xxhash.xxh64_intdigest(page_set)) &
         0xffffffff, "the sum of the words is wrong")
