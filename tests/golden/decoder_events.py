# SPDX-License-Identifier: GPL-2.0-or-later
"""Section 3 of docs/format.md: the events of a chunk."""
import re
import struct
from collections import namedtuple
from decoder_chunks import STREAMS, Bytes, chunk_body, need, page_runs

NUMBER, WORD, BLOB, SITE = 0, 1, 2, 3
M16, M32, M64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
Field = namedtuple("Field", "name width size count codec shown")  # size: elements, 0 for one value
Event = namedtuple("Event", "seq kind t_ns boot tid tseq vcpu values")


def unzigzag(z):
    return (z >> 1) ^ -(z & 1)


def read_tables(path):
    """({number: (name, stream, fields)}, {enumeration: {number: name}}) of events.md"""
    kinds, enums, fields, names = {}, {}, [], {}
    with open(path, encoding="utf-8") as text:
        for line in text:
            if match := re.match(r"## (\d+) `(\w+)`", line):
                number, name, fields = int(match[1]), match[2], []
            elif match := re.match(r"Stream (\w+):", line):
                kinds[number] = name, STREAMS.index(match[1]), fields
            elif match := re.match(r"\| `(\w+)` \| u(\d+)(?:\[(\d+)\], counted by `(\w+)`)?"
                                   r" \| (\w+) \| (\w+) \|", line):
                name_, bits, size, count, codec, shown = match.groups()
                fields.append(Field(name_, int(bits) // 8, int(size or 0), count, codec, shown))
            elif match := re.match(r"## (\w+)", line):
                names = enums[match[1]] = {}
            elif match := re.match(r"\| (\d+) \| (.*) \|", line):
                names[int(match[1])] = match[2]
    return kinds, enums


class Column:
    """Misses by event: None where it is a hit, else a number (forms 0 and 3) or True (form 1)."""
    def __init__(self, block, literals, n):
        self.form, at, missed = block.u8(), 0, []
        need(self.form <= SITE, "a column has an unknown form")
        for _ in range(block.varint() if self.form != BLOB else 0):
            at += block.varint()
            count = block.varint()
            need(1 <= count <= n - at, "a column is too long")
            missed.extend(range(at, at + count))
            at += count
        self.misses, self.literals, numbers = [None] * n, Bytes(b""), [True] * len(missed)
        if self.form in (WORD, BLOB):
            self.literals = Bytes(literals.take(block.varint()))
        elif missed:
            nplanes = block.u8()
            need(1 <= nplanes <= 8, "a column has too few or too many planes")
            planes = [block.take(len(missed)) for _ in range(nplanes)]
            numbers = [unzigzag(int.from_bytes(z, "little")) for z in zip(*planes)]
        for i, number in zip(missed, numbers):
            self.misses[i] = number


def read_header_fields(block, head):
    """(kind, seq, tid, tseq, vcpu, boot) of each event"""
    columns = [Column(block, Bytes(b""), head.events) for _ in range(6)]
    need(all(column.form == NUMBER for column in columns), "a header column has another form")
    follows, slots, rows = {}, {}, []
    kind = tid = tseq = vcpu = boot = 0
    seq = head.seq_min - 1
    for dkind, dseq, dtid, dtseq, dvcpu, dboot in zip(*(column.misses for column in columns)):
        last, kind = kind, follows.get(kind, kind) + (dkind or 0) & M16
        follows[last] = kind
        last, seq = seq, seq + 1 + (dseq or 0) & M64
        need(seq > last, "sequence numbers do not rise")
        tid = tid + (dtid or 0) & M32
        slot = (tid * 0x9e3779b1 & M32) >> 24
        tseq, vcpu = slots.get(slot, (tseq, vcpu))
        tseq, vcpu = tseq + 1 + (dtseq or 0) & M32, vcpu + (dvcpu or 0) & M16
        slots[slot] = tseq, vcpu
        boot = boot + (dboot or 0) & M32
        rows.append((kind, seq, tid, tseq, vcpu, boot))
    need(seq == head.seq_max, "the last sequence number is wrong")
    return rows


def slot_of(rip):
    return (rip * 0x9e3779b97f4a7c15 & M64) >> 52


def rip_values(column):
    follows, rip, rips = {}, 0, []
    for miss in column.misses:
        last, rip = rip, follows.get(slot_of(rip), rip) + (miss or 0) & M64
        follows[slot_of(last)] = rip
        rips.append(rip)
    return rips


def site_values(column, field, first, sites, counts):
    """Values of a column of form 0 or 1; first is its first element, counts those of its array."""
    width = min(8, field.size - first) if column.form == WORD else field.width
    mask, stride = (1 << 8 * width) - 1, field.codec == "STRIDE"
    last, steps, values, before = {}, {}, [], None
    for i, (site, miss) in enumerate(zip(sites, column.misses)):
        if site not in last:
            last[site], steps[site] = last.get(before, 0), (0, 0)
        old, (step, candidate) = last[site], steps[site]
        value = old + step & mask if stride else old
        there = min(max(counts[i] - first, 0), width) if counts else width
        if column.form == WORD:
            value &= (1 << 8 * there) - 1
            if miss:
                value = int.from_bytes(column.literals.take(there), "little")
        else:
            value = value if there else 0
            need(not miss or there, "a value past the end of its array")
            value = value + (miss or 0) & mask
        if stride and (moved := value - old & mask) != step:
            steps[site] = moved if moved == candidate else step, moved
        last[site], before = value, site
        values.append(value)
    return values


def columns_of(field):
    """[(form, number of the first element)]"""
    if field.codec in ("NEXT", "BLOB"):
        return [(SITE if field.codec == "NEXT" else BLOB, 0)]
    if field.size and field.width == 1:
        return [(WORD, i) for i in range(0, field.size, 8)]
    return [(NUMBER, i) for i in range(field.size or 1)]


def read_kind(block, literals, n, fields):
    """[(site, {field: value})] of the n events of a kind."""
    ncolumns, size, nliterals = block.varint(), block.varint(), block.varint()
    block, literals = Bytes(block.take(size)), Bytes(literals.take(nliterals))
    columns = [Column(block, literals, n) for _ in range(ncolumns)]
    need(block.left() == literals.left() == 0, "bytes after a kind's columns")
    rips = [rip_values(column) for column in columns if column.form == SITE] or [[0] * n]
    need(len(rips) == 1, "a kind has two columns of sites")
    sites, columns, values = [slot_of(rip) for rip in rips[0]], iter(columns), {}
    for field in fields:
        counts, parts = values.get(field.count), []
        need(not counts or max(counts) <= field.size, "a count is above the size of its array")
        for form, first in columns_of(field):
            column = next(columns, None)
            need(column is None or column.form == form, "a column has another form than its field")
            if column is None:
                parts.append([bytes(count) for count in counts] if form == BLOB else [0] * n)
            elif form == SITE:
                parts.append(rips[0])
            elif form == BLOB:
                parts.append([column.literals.take(count) for count in counts])
            else:
                parts.append(site_values(column, field, first, sites, counts))
            need(column is None or column.literals.left() == 0, "literals are left over")
        values[field.name] = parts[0]
        if field.size and field.width > 1:
            values[field.name] = [row[:count] for count, row in zip(counts, zip(*parts))]
        elif field.size and field.codec != "BLOB":
            words = struct.Struct(f"<{len(parts)}Q")
            values[field.name] = [words.pack(*row)[:n] for n, row in zip(counts, zip(*parts))]
    rows = zip(*values.values()) if values else [()] * n
    return [(site, dict(zip(values, row))) for site, row in zip(sites, rows)]


def read_times(events, blocks):
    """The times of events that are told by (kind, site)."""
    bits, at, tokens = blocks[2] + bytes(9), 0, [Bytes(block) for block in blocks[3:]]
    sites, before, t_ns, times = {}, {}, 0, []
    for kind, site in events:
        steps, noise = sites.get((kind, site)) or before.get(kind) or ((0,) * 5, 0)
        z = tokens[min(noise.bit_length(), 15)].u8()
        need(z <= 251, "a time's token is too high")
        if z >= 8:
            low, window = (z - 4) // 4, int.from_bytes(bits[at >> 3:(at >> 3) + 9], "little")
            z = (4 + z % 4 << low) + (window >> (at & 7) & (1 << low) - 1)
            at += low
        step = sorted(steps)[2] + unzigzag(z)
        step = (step + (1 << 63) & M64) - (1 << 63)
        t_ns = t_ns + step & M64
        times.append(t_ns)
        noise += 16 * min(z, 1023) - noise >> 2
        sites[kind, site] = before[kind] = (*steps[1:], step), noise
    need((at + 7) // 8 == len(blocks[2]), "bits of the times are missing or left over")
    need(at % 8 == 0 or blocks[2][-1] >> at % 8 == 0, "the last bits are not filled with zeros")
    need(not any(token.left() for token in tokens), "tokens of the times are left over")
    return times


def chunk_events(data, off, kinds):
    head, pages, blocks = chunk_body(data, off)
    block, literals, of_kind, last = Bytes(blocks[0]), Bytes(blocks[1]), {}, 0
    header = read_header_fields(block, head)
    nkinds = block.varint()
    need(nkinds <= 64, "a chunk has too many kinds")
    for _ in range(nkinds):
        kind, n = block.varint(), block.varint()
        need(last < kind <= 255, "kinds do not rise")
        need(1 <= n == sum(row[0] == kind for row in header), "a kind's events are miscounted")
        _, stream, fields = kinds.get(kind, (None, head.stream, ()))
        need(stream == head.stream, "a kind is in another stream")
        of_kind[kind] = iter(read_kind(block, literals, n, fields))
        last = kind
    need(block.left() == literals.left() == 0, "bytes are left over")
    need(of_kind.keys() == {row[0] for row in header}, "a kind is missing")
    bodies = [next(of_kind[row[0]]) for row in header]
    times = read_times([(row[0], site) for row, (site, _) in zip(header, bodies)], blocks)
    need((min(times), max(times)) == (head.t_min, head.t_max), "t_min or t_max is wrong")
    events = [Event(seq, kind, t_ns, boot, tid, tseq, vcpu, values) for
              (kind, seq, tid, tseq, vcpu, boot), t_ns, (_, values) in zip(header, times, bodies)]
    if all(kind in kinds for kind in of_kind):
        check_summary(head, page_runs(pages), [(kinds[e.kind][0], e.values) for e in events])
    return events


def check_summary(head, pages, events):
    """What the chunk's header and page set say of its events is true."""
    lost = sum(values["count"] for name, values in events if name == "lost")
    need(lost & M64 == head.lost, "lost is wrong")
    touched = sorted([(values["gpa"] >> 12, (values["gpa"] + values["len"] - 1 >> 12) + 1)
                      for name, values in events
                      if name in ("mmio", "vq_sg", "content", "unseen") and values["len"]] +
                     [(values["gpa"] >> 12, (values["gpa"] >> 12) + 1)
                      for name, values in events if name == "version"])
    runs = []
    for start, end in touched:
        if runs and start <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((start, end))
    need(pages == runs, "the page set is wrong")
