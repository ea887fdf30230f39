#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Decodes a trace with nothing but docs/format.md and the tables of docs/events.md to go by: the
second reader that keeps the first one, and the document, honest. It is slow and checks everything.

    decoder.py FILE             the events in order, as `vmblame export --format json` writes them
    decoder.py --recover FILE   goes on past damage
    decoder.py --chunks FILE    one line a chunk: where, what, how much, which events and pages

Exit status 0, also for a file that is cut; 1 when something is damaged or the file is refused.
"""
import argparse
import heapq
import json
import os
import re
import struct
import sys
from collections import namedtuple

import xxhash
import zstandard

FILE_MAGIC = bytes.fromhex("8f564d420d0a1a0a")
CHUNK_MAGIC = bytes.fromhex("8f6368756e6b0d0a")
TRAILER_MAGIC = bytes.fromhex("8f696e6465780d0a")
EVENTS, META, INDEX = 1, 2, 3
STREAMS = "state", "activity", "content"
NUMBER, WORD, BLOB, SITE = 0, 1, 2, 3
MAX_EVENTS = 131072
U64 = 2**64 - 1

Chunk = namedtuple("Chunk", "magic off size raw_bytes pages_bytes events type stream zero16 zero32 "
                   "seq_min seq_max t_min t_max lost body_checksum checksum")
CHUNK = struct.Struct("<8sQIIIIBBHIQQQQQQQ")
Row = namedtuple("Row", "off size events type stream zero16 pages_bytes "
                 "seq_min seq_max t_min t_max lost")
ROW = struct.Struct("<QIIBBHIQQQQQ")
Field = namedtuple("Field", "name width size count codec shown")     # size: elements, 0 for one value
Column = namedtuple("Column", "form misses literals")


class Damage(Exception):
    pass


def need(condition, text):
    if not condition:
        raise Damage(text)


class Bytes:
    """Reads forward through bytes and never past their end."""
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        need(n <= self.left(), "bytes are missing")
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for i in range(10):
            byte = self.u8()
            value |= (byte & 0x7f) << 7 * i
            if byte < 0x80:
                break
        need(byte < 0x80 and value <= U64, "a varint is too long")
        return value


def checksum(data):
    return xxhash.xxh64_intdigest(data)


def unzigzag(z):
    return (z >> 1) ^ -(z & 1)


# The tables of events.md.

def read_tables(path):
    """({number: (name, stream, fields)}, {enumeration: {number: name}}, header fields)"""
    kinds, enums, fields, names = {}, {}, [], {}
    with open(path, encoding="utf-8") as text:
        for line in text:
            if match := re.match(r"## (\d+) `(\w+)`", line):
                number, name, fields = int(match[1]), match[2], []
            elif match := re.match(r"Stream (\w+):", line):
                kinds[number] = name, STREAMS.index(match[1]), fields
            elif match := re.match(r"\| `(\w+)` \| u(\d+)(?:\[(\d+)\], counted by `(\w+)`)? \| (\w+) "
                                   r"\| (\w+) \|", line):
                fields.append(Field(match[1], int(match[2]) // 8, int(match[3] or 0), match[4],
                                    match[5], match[6]))
            elif match := re.match(r"## (\w+)", line):
                names = enums[match[1]] = {}
            elif match := re.match(r"\| (\d+) \| (.*) \|", line):
                names[int(match[1])] = match[2]
    return kinds, enums


# The container: chunks, page sets, blocks, index.

def chunk_at(data, off):
    """The header that stands there, None when there is no valid one."""
    if off + CHUNK.size > len(data):
        return None
    raw = data[off:off + CHUNK.size]
    head = Chunk(*CHUNK.unpack(raw))
    good = (head.magic == CHUNK_MAGIC and head.checksum == checksum(raw[:-8]) and head.off == off and
            CHUNK.size + head.pages_bytes <= head.size <= 72 << 20 and
            head.raw_bytes <= 64 << 20 and head.pages_bytes <= 4 << 20 and
            (head.type == EVENTS or head.stream == head.seq_min == head.seq_max == head.t_min ==
             head.t_max == head.lost == 0))
    if good and head.type == EVENTS:
        good = (head.stream < len(STREAMS) and 1 <= head.events <= MAX_EVENTS and
                head.seq_min + head.events - 1 <= head.seq_max)
    return head if good else None


def chunk_body(data, head):
    """(page set, blocks) of a chunk, checked."""
    body = data[head.off + CHUNK.size:head.off + head.size]
    need(len(body) == head.size - CHUNK.size, "a chunk is cut")
    need(checksum(body) == head.body_checksum, "a chunk's checksum is wrong")
    pages, body = body[:head.pages_bytes], Bytes(body[head.pages_bytes:])
    nblocks = body.varint()
    need(nblocks == (19 if head.type == EVENTS else 1), "a chunk has too few or too many blocks")
    sizes = [(body.varint(), body.varint()) for _ in range(nblocks)]
    need(sum(raw for raw, _ in sizes) == head.raw_bytes, "blocks do not add up to raw_bytes")
    blocks = []
    for raw, stored in sizes:
        need(stored <= raw, "a block is longer than what it holds")
        block = body.take(stored)
        if stored < raw:
            try:
                need(zstandard.frame_content_size(block) in (-1, raw), "a frame has another size")
                block = zstandard.ZstdDecompressor().decompress(block, max_output_size=raw)
            except zstandard.ZstdError as error:
                raise Damage(f"zstd: {error}") from None
            need(len(block) == raw, "a frame has another size")
        blocks.append(block)
    need(body.left() == 0, "bytes after the last block")
    return pages, blocks


def page_runs(data):
    runs, at, data = [], 0, Bytes(data)
    while data.left():
        start = at + data.varint()
        at = start + data.varint() + 1
        need(at <= 1 << 52, "a page number is too high")
        runs.append((start, at))
    return runs


def read_facts(block):
    facts, block = {}, Bytes(block)
    while block.left():
        key, value = (bytes(block.take(block.varint())) for _ in range(2))
        need(1 <= len(key) <= 255 and len(value) <= 1 << 20 and b"\0" not in key + value, "a bad fact")
        facts[key.decode()] = value.decode()
    return facts


def read_header(data):
    if data[:8] != FILE_MAGIC[:len(data)]:
        raise Damage("offset 0: not a vmblame trace")
    need(len(data) >= 72, "offset 0: the file header is cut")
    major, _, _, _, incompat = struct.unpack_from("<HHIQQ", data, 8)
    need(major <= 1, "offset 0: made by a newer version")
    need(struct.unpack_from("<Q", data, 64)[0] == checksum(data[:64]), "offset 0: bad checksum")
    need(incompat == 0, "offset 0: has features that this program does not know")


def read_index(data):
    """The rows of the index in file order with their page sets; None when there is no trailer."""
    if len(data) < 72 + 40 or data[-40:-32] != TRAILER_MAGIC:
        return None
    off, file_bytes, nchunks, check = struct.unpack_from("<QQQQ", data, len(data) - 32)
    if check != checksum(data[-40:-8]) or file_bytes != len(data):
        return None
    rows = []
    while off != len(data) - 40:
        head = chunk_at(data, off)
        need(head and head.type == INDEX, f"offset {off}: the index is damaged")
        block = Bytes(chunk_body(data, head)[1][0])
        for _ in range(head.events):
            row = Row(*ROW.unpack(block.take(ROW.size)))
            rows.append((row, block.take(row.pages_bytes)))
        need(block.left() == 0, f"offset {off}: bytes after the last row of the index")
        off += head.size
    need(len(rows) == nchunks, "the index has too few or too many rows")
    return rows


def scan(data):
    """(chunks found without an index, offset where the file is cut, damage met on the way)"""
    chunks, damage, off = [], [], 72
    while off < len(data):
        head = chunk_at(data, off)
        if head is None:
            found = data.find(CHUNK_MAGIC, off + 1)
            while found >= 0 and chunk_at(data, found) is None:
                found = data.find(CHUNK_MAGIC, found + 1)
            if found < 0:
                break
            damage.append(f"offset {off}: no chunk stands here")
            off = found
            continue
        if off + head.size > len(data):
            break
        chunks.append(head)
        off += head.size
    return chunks, off, damage


# The events of a chunk.

def read_column(block, n):
    """Column with misses by event: numbers for forms 0 and 3, None where the event is a hit."""
    form = block.u8()
    need(form <= SITE, "a column has an unknown form")
    at, missed, misses = 0, [], [None] * n
    for _ in range(block.varint() if form != BLOB else 0):
        at += block.varint()
        count = block.varint()
        need(1 <= count <= n and at + count <= n, "a column is too long")
        missed.extend(range(at, at + count))
        at += count
    literals = None
    if form in (NUMBER, SITE) and missed:
        nplanes = block.u8()
        need(1 <= nplanes <= 8, "a column has too few or too many planes")
        planes = [block.take(len(missed)) for _ in range(nplanes)]
        for i, z in zip(missed, zip(*planes)):
            misses[i] = unzigzag(int.from_bytes(z, "little"))
    elif form in (WORD, BLOB):
        for i in missed:
            misses[i] = True
        literals = block.varint()
    return Column(form, misses, literals)


def header_columns(block, head):
    """kind, seq, tid, tseq, vcpu and boot of each event, as six lists."""
    n, mask16, mask32 = head.events, 0xffff, 0xffffffff
    columns = [read_column(block, n) for _ in range(6)]
    need(all(column.form == NUMBER for column in columns), "a header column has another form")
    follows, slots, rows = {}, {}, []
    kind = tid = tseq = vcpu = boot = 0
    seq = head.seq_min - 1
    for dkind, dseq, dtid, dtseq, dvcpu, dboot in zip(*(column.misses for column in columns)):
        before = kind
        kind = follows.get(kind, kind) + (dkind or 0) & mask16
        follows[before] = kind
        last, seq = seq, seq + 1 + (dseq or 0) & U64
        need(seq > last, "sequence numbers do not rise")
        tid = tid + (dtid or 0) & mask32
        slot = (tid * 0x9e3779b1 & mask32) >> 24
        tseq, vcpu = slots.get(slot, (tseq, vcpu))
        tseq, vcpu = tseq + 1 + (dtseq or 0) & mask32, vcpu + (dvcpu or 0) & mask16
        slots[slot] = tseq, vcpu
        boot = boot + (dboot or 0) & mask32
        rows.append((kind, seq, tid, tseq, vcpu, boot))
    need(seq == head.seq_max, "the last sequence number is wrong")
    return list(zip(*rows))


def rip_slot(rip):
    return (rip * 0x9e3779b97f4a7c15 & U64) >> 52


def rip_column(column):
    follows, rip, rips = {}, 0, []
    for miss in column.misses:
        slot = rip_slot(rip)
        rip = follows.get(slot, rip) + (miss or 0) & U64
        follows[slot] = rip
        rips.append(rip)
    return rips


def site_column(column, field, first, sites, counts, literals):
    """Values of one column; first is the number of its first element, counts those of the array."""
    word = column.form == WORD
    width = min(8, field.size - first) if word else field.width
    mask = (1 << 8 * width) - 1
    last, steps, values, before, value = {}, {}, [], None, 0
    for i, (site, miss) in enumerate(zip(sites, column.misses)):
        if site not in last:
            last[site] = last.get(before, 0)
            steps[site] = 0, 0
        old = last[site]
        step, candidate = steps[site]
        value = old + step & mask if field.codec == "STRIDE" else old
        if word:
            there = min(max(counts[i] - first, 0), width)
            value &= (1 << 8 * there) - 1
            if miss:
                value = int.from_bytes(literals.take(there), "little")
        else:
            if counts and first >= counts[i]:
                value = 0
            if miss is not None:
                value = value + miss & mask
        if field.codec == "STRIDE":
            moved = value - old & mask
            if moved != step:
                steps[site] = moved if moved == candidate else step, moved
        last[site] = value
        before = site
        values.append(value)
    return values


def columns_of(field):
    """[(form, number of the first element)] of a field, as the document's table tells."""
    if field.codec == "NEXT":
        return [(SITE, 0)]
    if field.codec == "BLOB":
        return [(BLOB, 0)]
    if field.size and field.width == 1:
        return [(WORD, i) for i in range(0, field.size, 8)]
    return [(NUMBER, i) for i in range(field.size or 1)]


def kind_events(block, literals, n, fields):
    """(sites, {field: values}) of the n events of a kind."""
    ncolumns = block.varint()
    columns_bytes = block.varint()
    literals = Bytes(literals.take(block.varint()))
    block = Bytes(block.take(columns_bytes))
    columns = [read_column(block, n) for _ in range(ncolumns)]
    need(block.left() == 0, "bytes after a kind's columns")
    sites, values = [0] * n, {}
    for column in columns:
        if column.form == SITE:
            rips = rip_column(column)
            sites = [rip_slot(rip) for rip in rips]
    columns = iter(columns)
    for field in fields:
        counts = values.get(field.count)
        need(not counts or max(counts) <= field.size, "a count is above the size of its array")
        parts = []
        for form, first in columns_of(field):
            column = next(columns, None)
            if column is None:
                parts.append([b""] * n if form == BLOB else [0] * n)
                continue
            need(column.form == form, "a column has another form than its field")
            own = Bytes(literals.take(column.literals or 0))
            if form == SITE:
                parts.append(rips)
            elif form == BLOB:
                parts.append([own.take(count) for count in counts])
            else:
                parts.append(site_column(column, field, first, sites, counts, own))
            need(own.left() == 0, "literals are left over")
        if field.codec == "BLOB" or not field.size:
            values[field.name] = parts[0]
        elif field.width == 1:
            values[field.name] = [b"".join(word.to_bytes(8, "little") for word in words)[:count]
                                  for count, *words in zip(counts, *parts)]
        else:
            values[field.name] = [list(items[:count]) for count, *items in zip(counts, *parts)]
    return sites, values


class Times:
    """What a site remembers of its times."""
    def __init__(self, other):
        self.steps, self.noise = (list(other.steps), other.noise) if other else ([0] * 5, 0)


def decode_times(events, blocks):
    """The times of events, given as (kind, site), in order."""
    bits, nbits, bit_at = int.from_bytes(blocks[2], "little"), 8 * len(blocks[2]), 0
    tokens = [Bytes(block) for block in blocks[3:]]
    sites, before, now, times = {}, {}, 0, []
    # Big integers shift slowly: the bits are taken from windows of 64 bits and more.
    window = lambda at: int.from_bytes(blocks[2][at >> 3:(at >> 3) + 9], "little") >> (at & 7)
    for kind, site in events:
        if (kind, site) not in sites:
            sites[kind, site] = Times(before.get(kind))
        memory = before[kind] = sites[kind, site]
        z = tokens[min(memory.noise.bit_length(), 15)].u8()
        need(z <= 251, "a time's token is too high")
        if z >= 8:
            low = (z - 4) // 4
            need(bit_at + low <= nbits, "bits of the times are missing")
            z = (4 + z % 4 << low) + (window(bit_at) & (1 << low) - 1)
            bit_at += low
        step = sorted(memory.steps)[2] + unzigzag(z)
        now = now + step & U64
        memory.steps = memory.steps[1:] + [(step + 2**63 & U64) - 2**63]
        memory.noise += 16 * min(z, 1023) - memory.noise >> 2
        times.append(now)
    need(not any(token.left() for token in tokens), "times are left over")
    need(nbits - bit_at < 8 and bits >> bit_at == 0, "bits of the times are left over")
    return times


def chunk_events(data, head, kinds):
    """[(seq, kind, t_ns, boot, tid, tseq, vcpu, {field: value})] of a chunk, and its page set."""
    pages, blocks = chunk_body(data, head)
    block, literals = Bytes(blocks[0]), Bytes(blocks[1])
    header = header_columns(block, head)
    of_kind, last = {}, 0
    nkinds = block.varint()
    need(nkinds <= 64, "a chunk has too many kinds")
    for _ in range(nkinds):
        kind, n = block.varint(), block.varint()
        need(last < kind <= 255 and n == header[0].count(kind), "a kind has another count")
        _, stream, fields = kinds.get(kind, ("", head.stream, ()))
        need(stream == head.stream, "a kind is in another stream")
        sites, values = kind_events(block, literals, n, fields)
        of_kind[kind] = iter(zip(sites, zip(*values.values()) if values else [()] * n)), tuple(values)
        last = kind
    need(block.left() == literals.left() == 0, "bytes are left over")
    need(of_kind.keys() == set(header[0]), "a kind is missing")
    bodies = [next(of_kind[kind][0]) for kind in header[0]]
    times = decode_times([(kind, site) for kind, (site, _) in zip(header[0], bodies)], blocks)
    events = [(seq, kind, t_ns, boot, tid, tseq, vcpu, dict(zip(of_kind[kind][1], values)))
              for kind, seq, tid, tseq, vcpu, boot, t_ns, (_, values) in zip(*header, times, bodies)]
    check_summary(head, events, kinds, pages)
    return events


def check_summary(head, events, kinds, pages):
    """What the chunk's header and page set say of its events is true."""
    times = [event[2] for event in events]
    need((min(times), max(times)) == (head.t_min, head.t_max), "t_min or t_max is wrong")
    need(pages == b"" or head.stream != 0, "a chunk of states has pages")
    lost, touched = 0, []
    for _, kind, *_, fields in events:
        name = kinds.get(kind, ("",))[0]
        if name == "lost":
            lost += fields["count"]
        elif name in ("mmio", "vq_sg", "content") and fields["len"]:
            touched.append((fields["gpa"] >> 12, (fields["gpa"] + fields["len"] - 1 >> 12) + 1))
    need(lost & U64 == head.lost, "lost is wrong")
    runs = []
    for start, end in sorted(touched):
        if runs and start <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((start, end))
    need(all(kind in kinds for _, kind, *_ in events) is False or page_runs(pages) == runs,
         "the page set is wrong")
