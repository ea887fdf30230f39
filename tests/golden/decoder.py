#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Decodes a trace with nothing to go by but docs/format.md and the tables of docs/events.md: the
second reader, which keeps the first one and the document honest. It is slow and checks everything.

    decoder.py FILE             the events in order, as `vmblame export --format json` writes them
    decoder.py --recover FILE   goes on past damage
    decoder.py --chunks FILE    one line a chunk, then the facts
    decoder.py --sums FILE      plays the versions of pages, one line for each whose sum is wrong

Exit status 0, also for a file that is cut; 1 when something is damaged, a sum is
wrong or the file is refused.
"""
import argparse
import heapq
import os
import sys
from collections import defaultdict
import xxhash
sys.dont_write_bytecode = True
from decoder_chunks import (CHUNK, EVENTS, INDEX, META, STORES, STREAMS, Damage, need, page_runs,
                            read_facts, read_header, read_index, scan)
from decoder_events import chunk_events, read_tables
from decoder_stores import chunk_stores

PAGE = 4096


def stream_events(data, chunks, kinds):
    """The events of a stream's chunks; in place of a damaged chunk (its first number, message)."""
    last, store = 0, next(number for number, (name, *_) in kinds.items() if name == "store")
    for chunk in chunks:
        try:
            need(chunk.seq_min > last, "chunks of a stream are out of order")
            last = chunk.seq_max
            if chunk.type == STORES:
                yield from chunk_stores(data, chunk.off, store)
            else:
                yield from chunk_events(data, chunk.off, kinds)
        except Damage as error:
            yield chunk.seq_min, f"offset {chunk.off}: {error}"


def json_text(data):
    """Up to the first NUL; bytes that are not UTF-8 become U+FFFD one by one."""
    special = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    text = data.split(b"\0")[0].decode(errors="surrogateescape")
    return '"' + "".join(special.get(c) or (f"\\u{ord(c):04x}" if c < " " or c == "\x7f" else
                         "\\ufffd" if "\ud800" <= c <= "\udfff" else c) for c in text) + '"'


def json_fields(fields, enums):
    """[(name, what writes its value)] of the fields that are shown."""
    how = {"decimal": str, "ns": str, "text": json_text, "bytes": lambda value: f'"{value.hex()}"',
           "hex": '"{:#x}"'.format, "gpa": '"{:#x}"'.format, "gva": '"{:#x}"'.format}
    for name, names in enums.items():
        how[name] = lambda value, names=names: f'"{names[value]}"' if value in names else str(value)
    shown = [field for field in fields if field.name not in {f.count for f in fields} - {"len"}]
    return [(field.name, how[field.shown] if not field.size or field.width == 1 else
             lambda values, one=how[field.shown]: f"[{','.join(map(one, values))}]")
            for field in shown]


def print_events(events, kinds, enums, damage):
    shown = {number: json_fields(fields, enums) for number, (_, _, fields) in kinds.items()}
    for event in events:
        if len(event) == 2:
            damage(event[1])
        elif event.kind in kinds:
            boot = f',"boot":{event.boot}' if event.boot != 0xffffffff else ""
            vcpu = f',"vcpu":{event.vcpu}' if event.vcpu != 0xffff else ""
            values = "".join(f',"{name}":{write(event.values[name])}'
                             for name, write in shown[event.kind]
                             if event.values[name] not in (b"", ()))
            print(f'{{"v":1,"seq":{event.seq},"event":"{kinds[event.kind][0]}","t_ns":{event.t_ns}'
                  f'{boot},"tid":{event.tid},"tseq":{event.tseq}{vcpu}{values}}}')


def print_chunks(data, chunks):
    for chunk in chunks:
        what = {EVENTS: "events", META: "meta", INDEX: "index", STORES: "stores"}.get(chunk.type)
        line = f"{chunk.off} +{chunk.size} {what or 'unknown'} {chunk.events}"
        if chunk.type in (EVENTS, STORES):
            pages = page_runs(data[chunk.off + CHUNK.size:][:chunk.pages_bytes])
            line += (f" {STREAMS[chunk.stream]} #{chunk.seq_min}..#{chunk.seq_max} {chunk.t_min}.."
                     f"{chunk.t_max} ns, {sum(b - a for a, b in pages)} pages, {chunk.lost} lost")
        print(line)


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def delta_apply(page, data):
    """Section 7."""
    at = end = 0
    while at < len(data):
        gap, at = varint(data, at)
        more, at = varint(data, at)
        run = data[at:at + more + 1]
        start = end + gap
        end, at = start + len(run), at + len(run)
        need(len(run) == more + 1 and end <= PAGE, "a delta is malformed")
        need(all(a != b for a, b in zip(page[start:end], run)), "a byte of a delta changes nothing")
        page[start:end] = run


def print_sums(events, kinds, damage):
    """How many versions there are; those whose page has another sum than they say."""
    pages, count, wrong = defaultdict(lambda: bytearray(PAGE)), 0, 0
    for event in events:
        if len(event) == 2:
            damage(event[1])
            continue
        name, values = kinds[event.kind][0] if event.kind in kinds else None, event.values
        if name == "content":
            for at, byte in enumerate(values["data"], values["gpa"]):
                pages[at // PAGE][at % PAGE] = byte
        elif name == "version":
            page = pages[values["gpa"] // PAGE]
            delta_apply(page, values["data"])
            count += 1
            if xxhash.xxh3_64_intdigest(bytes(page)) & 0xffffffff != values["sum"]:
                print(f"#{event.seq}")
                wrong += 1
    print(f"{count} versions")
    return wrong


def main():
    parser = argparse.ArgumentParser(description="Decodes a trace by docs/format.md.")
    parser.add_argument("--recover", action="store_true", help="go on past damage")
    parser.add_argument("--chunks", action="store_true", help="list the chunks and facts")
    parser.add_argument("--sums", action="store_true", help="check the sums of the versions")
    parser.add_argument("file")
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    kinds, enums = read_tables(os.path.join(here, "../../docs/events.md"))
    with open(args.file, "rb") as file:
        data = file.read()
    damages = []
    sys.stdout.reconfigure(encoding="utf-8")

    def say(text):
        sys.stdout.flush()
        print(f"decoder: {args.file}: {text}", file=sys.stderr)

    def damage(text):
        need(args.recover, text)
        damages.append(say(text))

    try:
        read_header(data)
        chunks = cut = None
        try:
            chunks = read_index(data)
        except Damage as error:
            damage(error)
        if chunks is None:
            chunks, cut = scan(data, damage)
        facts = read_facts(data, chunks, damage)
        if cut is not None and not damages:
            say(f"offset {cut}: cut here")
        if args.chunks:
            print_chunks(data, chunks)
            print(*(f"{key} = {value}" for key, value in facts.items()), sep="\n")
            return 1 if damages else 0
        streams = [[chunk for chunk in chunks if chunk.type in (EVENTS, STORES) and
                    chunk.stream == stream] for stream in range(len(STREAMS))]
        events = heapq.merge(*(stream_events(data, stream, kinds) for stream in streams),
                             key=lambda event: event[0])
        if args.sums:
            return 1 if print_sums(events, kinds, damage) or damages else 0
        print_events(events, kinds, enums, damage)
    except Damage as error:
        say(error)
        return 1
    return 1 if damages else 0


if __name__ == "__main__":
    sys.exit(main())
