# SPDX-License-Identifier: GPL-2.0-or-later
"""Sections 1 and 2 of docs/format.md: file header, chunks, page sets, blocks, facts, index."""
import re
import struct
from collections import namedtuple
import xxhash
import zstandard

FILE_MAGIC = bytes.fromhex("8f564d420d0a1a0a")
CHUNK_MAGIC = bytes.fromhex("8f6368756e6b0d0a")
TRAILER_MAGIC = bytes.fromhex("8f696e6465780d0a")
EVENTS, META, INDEX, STORES = 1, 2, 3, 4
BLOCKS = {EVENTS: 19, META: 1, INDEX: 1, STORES: 13}
STREAMS = "state", "activity", "content", "stores"
KNOWN_FEATURES = 1  # chunks of stores
Chunk = namedtuple("Chunk", "magic off size raw_bytes pages_bytes events type stream zero16 words_sum "
                   "seq_min seq_max t_min t_max lost body_checksum checksum")
CHUNK = struct.Struct("<8sQIIIIBBHI7Q")
Row = namedtuple("Row", "off size events type stream zero16 pages_bytes "
                 "seq_min seq_max t_min t_max lost")
ROW = struct.Struct("<QIIBBHI5Q")


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
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7f) << shift
            shift += 7
            need(shift <= 70 and value < 1 << 64, "a varint is too long")
            if byte < 0x80:
                return value


def chunk_at(data, off):
    """The header that stands there, None when there is no valid one."""
    raw = data[off:off + CHUNK.size]
    if len(raw) < CHUNK.size:
        return None
    head = Chunk(*CHUNK.unpack(raw))
    good = (head.magic == CHUNK_MAGIC and head.checksum == xxhash.xxh64_intdigest(raw[:-8]) and
            head.off == off and CHUNK.size + head.pages_bytes <= head.size <= 72 << 20 and
            head.raw_bytes <= 64 << 20 and head.pages_bytes <= 4 << 20)
    if head.type in (EVENTS, STORES):
        good = good and 1 <= head.events <= 131072 and (
            head.stream < 3 if head.type == EVENTS else head.stream == 3)
    return head if good else None


def chunk_body(data, off):
    """(header, page set, blocks) of the chunk that stands there, checked."""
    head = chunk_at(data, off)
    need(head, "no valid chunk header")
    body = data[off + CHUNK.size:off + head.size]
    need(xxhash.xxh64_intdigest(body) == head.body_checksum, "a chunk's checksum is wrong")
    pages, body, blocks = body[:head.pages_bytes], Bytes(body[head.pages_bytes:]), []
    nblocks = body.varint() if head.type in BLOCKS else 0
    need(nblocks == BLOCKS.get(head.type, 0), "wrong number of blocks")
    for raw, stored in [(body.varint(), body.varint()) for _ in range(nblocks)]:
        need(stored <= raw <= head.raw_bytes, "a block's size is wrong")
        block = body.take(stored)
        if stored < raw:
            try:
                block = zstandard.ZstdDecompressor().decompress(block, max_output_size=raw)
            except zstandard.ZstdError as error:
                raise Damage(error) from None
        need(len(block) == raw, "a block has another size")
        blocks.append(block)
    need(nblocks == 0 or sum(map(len, blocks)) == head.raw_bytes, "raw_bytes is wrong")
    need(nblocks == 0 or body.left() == 0, "bytes after the last block")
    return head, pages, blocks


def page_runs(data):
    runs, end, data = [], 0, Bytes(data)
    while data.left():
        start = end + data.varint()
        end = start + data.varint() + 1
        need(end <= 1 << 52, "a page number is too high")
        runs.append((start, end))
    return runs


def read_facts(data, chunks, damage):
    facts = {}
    for chunk in (chunk for chunk in chunks if chunk.type == META):
        try:
            block = Bytes(chunk_body(data, chunk.off)[2][0])
            while block.left():
                key, value = block.take(block.varint()), block.take(block.varint())
                need(1 <= len(key) <= 255 and len(value) <= 1 << 20, "a fact is too long")
                need(b"\0" not in key + value, "a fact has a NUL")
                facts[key.decode()] = value.decode()
        except (Damage, UnicodeDecodeError) as error:
            damage(f"offset {chunk.off}: {error}")
    return facts


def read_header(data):
    need(data[:8] == FILE_MAGIC[:len(data)], "offset 0: not a vmblame trace")
    need(len(data) >= 72, "offset 0: cut within its header")
    major, _, _, _, incompat = struct.unpack_from("<HHIQQ", data, 8)
    need(major <= 1, "offset 0: made by a newer version")
    need(struct.unpack_from("<Q", data, 64)[0] == xxhash.xxh64_intdigest(data[:64]),
         "offset 0: the header's checksum is wrong")
    need(incompat & ~KNOWN_FEATURES == 0, "offset 0: has features that this program does not know")


def page_numbers(data):
    return {page for start, end in page_runs(data) for page in range(start, end)}


def same_header(head, pages, rows, sets):
    """Whether an index chunk's header tells of its rows what they have in common."""
    need(not head.seq_max or (
        all(row.stream == head.stream and row.type in (EVENTS, STORES) for row in rows) and
        [head.seq_min, head.seq_max] == [rows[0].seq_min, rows[-1].seq_max] and
        head.t_min == min(row.t_min for row in rows) and
        head.t_max == max(row.t_max for row in rows) and
        head.lost == sum(row.lost for row in rows) & (1 << 64) - 1 and
        page_numbers(pages) == set().union(*map(page_numbers, sets)) and
        head.words_sum == xxhash.xxh64_intdigest(b"", xxhash.xxh64_intdigest(pages)) & 0xffffffff),
         "an index chunk's header is not as its rows")


def read_index(data):
    """The chunks in file order as rows of the index; None when there is no good trailer."""
    if len(data) < 72 + 40 or data[-40:-32] != TRAILER_MAGIC:
        return None
    off, file_bytes, nchunks, check = struct.unpack("<QQQQ", data[-32:])
    if check != xxhash.xxh64_intdigest(data[-40:-8]) or file_bytes != len(data):
        return None
    index_off, chunks, expected = off, [], 72
    try:
        while off != len(data) - 40:
            head, union, blocks = chunk_body(data, off)
            need(head.type == INDEX, "this chunk is not of the index")
            block, off, rows, sets = Bytes(blocks[0]), off + head.size, [], []
            for _ in range(head.events):
                row = Row(*ROW.unpack(block.take(ROW.size)))
                pages, there = block.take(row.pages_bytes), chunk_at(data, row.off)
                need(not rows or row.off > rows[-1].off, "rows are in disorder")
                rows.append(row)
                sets.append(pages)
                same = not there or row == Row(*(getattr(there, name) for name in Row._fields))
                need(same and data[row.off + 96:][:row.pages_bytes] == pages, "a row is wrong")
            need(block.left() == 0, "bytes after the last row")
            same_header(head, union, rows, sets)
            chunks += rows
        chunks.sort(key=lambda row: row.off)
        for row in chunks:
            need(row.off == expected, "chunks do not follow one another")
            expected = row.off + row.size
        need(len(chunks) == nchunks and expected == index_off, "rows are missing")
    except Damage as error:
        raise Damage(f"offset {off}: the index is damaged: {error}") from None
    return chunks


def scan(data, damage):
    """Without an index: the good chunks in file order, and the offset where the file is cut."""
    chunks, off = [], 72
    while len(data) - off >= CHUNK.size:
        head = chunk_at(data, off)
        if head is None:
            damage(f"offset {off}: no valid chunk header")
            found = [match.start() for match in re.finditer(re.escape(CHUNK_MAGIC), data[off + 1:])]
            found = [off + 1 + at for at in found if chunk_at(data, off + 1 + at)]
            if not found:
                break
            off = found[0]
        elif off + head.size > len(data):
            break
        else:
            try:
                chunk_body(data, off)
                chunks.append(head)
            except Damage as error:
                damage(f"offset {off}: {error}")
            off += head.size
    return chunks, off
