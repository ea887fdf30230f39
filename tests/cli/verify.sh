#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# verify: traces that agree with themselves and those that do not; memory next to dumps of it.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

T=$GOLDEN/versions.vmb
verify() { "$VMBLAME" verify "$@"; }

# says STATUS TEXT COMMAND...: exits like that, nothing on stderr, and this is in what it prints.
says() {
	says_status=$1 says_text=$2
	shift 2
	quiet_run "$says_status" "$@" || return 1
	grep -qF -e "$says_text" "$tmp/out" && return 0
	echo "no '$says_text' in:"
	cat "$tmp/out"
	return 1
}

# --- a trace and itself ---
check "a good trace" says 0 \
	"3149 bytes, 4 chunks, 76 events, 3 pages, 60 versions, 3 keyframes, 2 comparisons: all agree" \
	verify "$T"
for name in tiny stos kinds mmu stores; do
	check "golden: $name" says 0 ": all agree" verify "$GOLDEN/$name.vmb"
done
check "stores: comparisons are counted" says 0 "332 events, 6 comparisons: all agree" \
	verify "$GOLDEN/stores.vmb"

wrong_sum() {
	says 1 "#40  page 0x0: the version's sum is 0x114134dc, that of the page played up to it 0x0f5d13f7" \
		verify "$GOLDEN/wrong-sum.vmb" && grep -q ': 12 disagree$' "$tmp/out"
}
check "a wrong byte in a delta: where" wrong_sum
max() {
	says 1 "... and 10 more" verify --max 2 "$GOLDEN/wrong-sum.vmb" &&
		[ "$(grep -c 'event #' "$tmp/out")" = 2 ] && grep -q ': 12 disagree$' "$tmp/out"
}
check "--max: a list with an end, and the count of all" max
none_listed() { says 1 "... and 12 more" verify -n 0 "$GOLDEN/wrong-sum.vmb" && ! grep -q 'event #' "$tmp/out"; }
check "--max 0: the count alone" none_listed
json() {
	run 1 verify --json "$GOLDEN/wrong-sum.vmb" && /usr/bin/python3 - "$tmp/out" <<-'END'
		import json, sys
		rows = [json.loads(line) for line in open(sys.argv[1])]
		assert all(row["v"] == 1 for row in rows)
		assert rows[0] == {"v": 1, "what": "sum", "seq": 40, "t_ns": 32465, "gpa": "0x0",
		                   "want": 0x114134dc, "got": 0x0f5d13f7}, rows[0]
		last = rows.pop()
		assert last["what"] == "all" and last["versions"] == 60 and last["keyframes"] == 3, last
		assert last["problems"]["sum"] == len(rows) == 12 and last["problems"]["chunk"] == 0, last
	END
}
check "--json" json

# header FILE BYTE: as $T, but the header of its last chunk says another t_max, with the right
# checksum; the index says what it said. BYTE "pages": another page in its set instead.
header() {
	/usr/bin/python3 - "$T" "$1" "$2" <<-'END'
		import struct, sys, xxhash
		data = bytearray(open(sys.argv[1], "rb").read())
		index, = struct.unpack_from("<Q", data, len(data) - 32)
		off = 72
		while off != index:
		    at = off
		    off += struct.unpack_from("<I", data, at + 16)[0]
		size = off - at
		data[at + (96 if sys.argv[3] == "pages" else 64)] ^= 1
		struct.pack_into("<Q", data, at + 80, xxhash.xxh64_intdigest(data[at + 96:at + size]))
		struct.pack_into("<Q", data, at + 88, xxhash.xxh64_intdigest(data[at:at + 88]))
		open(sys.argv[2], "wb").write(data)
	END
}
if /usr/bin/python3 -c 'import xxhash' 2>/dev/null; then
	header "$tmp/header.vmb" t_max && header "$tmp/pages.vmb" pages
	check "a header that the index does not repeat" says 1 "the index says otherwise of this chunk" \
		verify "$tmp/header.vmb"
	check "where: the file and the offset" says 1 "$tmp/header.vmb: offset " verify "$tmp/header.vmb"
	check "pages that the index does not repeat" says 1 "the index has other pages of this chunk" \
		verify "$tmp/pages.vmb"
	chunk_json() {
		run 1 verify --json "$tmp/header.vmb" &&
			grep -q '^{"v":1,"what":"chunk","offset":[0-9]*,"detail":"the index says' "$tmp/out"
	}
	check "--json: of a chunk" chunk_json
else
	skip "headers that are wrong" "python3-xxhash"
fi

# --- files that cannot be ---
refuses "a trace that is not there" 1 "No such file" verify "$tmp/missing.vmb"
refuses "a foreign file" 1 "not a vmblame trace" verify "$GOLDEN/foreign.vmb"
refuses "a newer file" 1 "newer" verify "$GOLDEN/newer.vmb"
refuses "a damaged chunk of a scanned file" 1 "offset [0-9]*: a chunk's checksum is wrong" \
	verify "$GOLDEN/damaged-body.vmb"
refuses "a damaged index" 1 "offset [0-9]*: the index is damaged" verify "$GOLDEN/damaged-index.vmb"
damaged_chunk() {
	cp "$T" "$tmp/damaged.vmb"
	printf '\377\377' | dd of="$tmp/damaged.vmb" bs=1 seek=1500 conv=notrunc status=none
	refused 1 "damaged.vmb: offset [0-9]*: a chunk's checksum is wrong" verify "$tmp/damaged.vmb"
}
check "a damaged chunk" damaged_chunk
cut() {
	head -c 2500 "$T" >"$tmp/cut.vmb"
	run 0 verify "$tmp/cut.vmb" && one_line && grep -q 'warning: .*cut.vmb: offset .*cut here' "$tmp/err" &&
		grep -q ' versions, .*: all agree$' "$tmp/out"
}
check "a cut trace: a warning, and what is whole is looked at" cut
cut_and_wrong() {
	head -c 2500 "$GOLDEN/wrong-sum.vmb" >"$tmp/cut.vmb"
	run 1 verify "$tmp/cut.vmb" && one_line && grep -q '#40  page 0x0' "$tmp/out"
}
check "a cut trace that does not agree" cut_and_wrong
size=$(stat -c %s "$T")
every_cut() {
	at=0
	while [ $at -lt "$size" ]; do
		head -c $at "$T" >"$tmp/c.vmb"
		verify "$tmp/c.vmb" >"$tmp/out" 2>"$tmp/err"
		status=$?
		[ $status -eq $((at < 72)) ] && one_line || { echo "cut at $at: $status"; return 1; }
		at=$((at + 53))
	done
}
check "cut anywhere: what is whole agrees" every_cut
every_damage() {
	at=0
	while [ $at -lt "$size" ]; do
		/usr/bin/python3 -c 'import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[int(sys.argv[3])] ^= 0x55
open(sys.argv[2], "wb").write(data)' "$T" "$tmp/d.vmb" $at
		verify "$tmp/d.vmb" >"$tmp/out" 2>"$tmp/err"
		status=$?
		# The trailer's: as if it were cut there.
		[ $status -eq 1 ] || { [ $status -eq 0 ] && grep -q warning "$tmp/err"; } || {
			echo "damaged at $at: $status"
			return 1
		}
		[ "$(wc -l <"$tmp/err")" -le 1 ] || return 1
		at=$((at + 61))
	done
}
check "damaged anywhere: never a good trace" every_damage

# --- the stores by pages beside it ---
by_page() {
	cp "$GOLDEN/stores.vmb" "$tmp/s.vmb"
	"$VMBLAME" index -q "$tmp/s.vmb" && says 0 ": all agree" verify "$tmp/s.vmb" || return 1
	plain=$(verify "$GOLDEN/stores.vmb" | sed 's/ .*//')
	[ "$(sed 's/ .*//' "$tmp/out")" -eq $((plain + $(stat -c %s "$tmp/s.vmb.pages") - 72 - 40)) ] || {
		echo "not all of s.vmb.pages was read"
		cat "$tmp/out"
	}
}
check "the stores by pages are looked at, too" by_page
by_page_damaged() {
	printf '\377' | dd of="$tmp/s.vmb.pages" bs=1 seek=400 conv=notrunc status=none
	says 1 "$tmp/s.vmb.pages: offset " verify "$tmp/s.vmb"
}
check "and found damaged" by_page_damaged

# --- memory and a dump ---
"$VMBLAME" show "$T" 0+16K --raw >"$tmp/ram" && "$VMBLAME" show "$T" 0+16K --raw --at half >"$tmp/half" ||
	not_ok "show --raw"
ram() { verify "$T" --ram "$@"; }
check "a dump that is the same" says 0 "ram: 16384 bytes are equal, 0 differ, 0 are not known" \
	ram "$tmp/ram"
check "--at a mark" says 0 "16384 bytes are equal" ram "$tmp/half" --at half
check "--at an event" says 0 "16384 bytes are equal" ram "$tmp/ram" --at '#76'
not_then() {
	run 1 ram "$tmp/half" && ! run 1 ram "$tmp/half" --at half && run 1 ram "$tmp/ram" --at half
}
check "--at: another moment differs" not_then
cp "$tmp/ram" "$tmp/other"
printf 'XYZ' | dd of="$tmp/other" bs=1 seek=12800 conv=notrunc status=none # a page of zeroes
printf 'Q' | dd of="$tmp/other" bs=1 seek=16383 conv=notrunc status=none
cat >"$tmp/expected" <<END
0x3200+3  trace 00 00 00  dump 58 59 5a
0x3fff+1  trace 00  dump 51
$tmp/other: 16380 bytes are equal, 4 differ, 0 are not known
who wrote there: vmblame who $T 0x3200+3
END
differs() { quiet_run 1 ram "$tmp/other" && diff "$tmp/expected" "$tmp/out"; }
check "bytes that differ: where, what, and how to go on" differs
differs_json() {
	run 1 ram "$tmp/other" --json && cat >"$tmp/expected" <<-'END' && diff "$tmp/expected" "$tmp/out"
		{"v":1,"what":"differs","gpa":"0x3200","len":3,"trace":"000000","dump":"58595a"}
		{"v":1,"what":"differs","gpa":"0x3fff","len":1,"trace":"00","dump":"51"}
		{"v":1,"what":"ram","equal":16380,"differ":4,"unknown":0,"runs":2}
	END
}
check "--ram --json" differs_json
differs_max() { says 1 "... and 1 more" ram "$tmp/other" -n 1 && [ "$(grep -c '  dump ' "$tmp/out")" = 1 ]; }
check "--ram --max" differs_max
the_hint() {
	run 1 ram "$tmp/other" --at half && $(sed -n "s|^who wrote there: vmblame|$VMBLAME|p" "$tmp/out") >"$tmp/who" &&
		grep -q INITIAL "$tmp/who"
}
check "what it says to go on with can be run" the_hint
long_run() {
	head -c 5000 /dev/zero | tr '\0' 'z' >"$tmp/z"
	says 1 "0x0+5000  trace " ram "$tmp/z" && grep -q 'dump 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a 7a \.\.\.$' "$tmp/out"
}
check "a long run, across pages, is one" long_run
short() { head -c 5000 "$tmp/ram" >"$tmp/short" && says 0 "5000 bytes are equal, 0 differ, 0 are not known" ram "$tmp/short"; }
check "a dump of the first part" short
beyond() {
	cp "$tmp/ram" "$tmp/beyond" && printf '\0\0\0' >>"$tmp/beyond"
	says 3 "16384 bytes are equal, 0 differ, 3 are not known" ram "$tmp/beyond"
}
check "bytes beyond what was recorded are not known: exit 3" beyond
unknown_and_differ() { cat "$tmp/other" "$tmp/z" >"$tmp/both" && says 1 "4 differ, 5000 are not known" ram "$tmp/both"; }
check "something differs, and something is not known: exit 1" unknown_and_differ
sparse() {
	cp "$tmp/ram" "$tmp/sparse" && truncate -s 64G "$tmp/sparse" || return 0
	says 3 "16384 bytes are equal, 0 differ, 68719460352 are not known" \
		sh -c 'ulimit -v 400000; exec timeout 60 "$@"' sh "$VMBLAME" verify "$T" --ram "$tmp/sparse"
}
case ${EXTRA_CFLAGS-} in
*sanitize*) not_applicable "a sparse dump of 64 GiB" "sanitizers take the memory" ;;
*) check "a sparse dump of 64 GiB: in little time and memory" sparse ;;
esac

# core FILE TYPE NAME...: an ELF file of that type whose segments are those parts of $tmp/ram, each
# ADDRESS+LENGTH.
core() {
	/usr/bin/python3 - "$tmp/ram" "$@" <<-'END'
		import struct, sys
		ram, to, kind = open(sys.argv[1], "rb").read(), sys.argv[2], int(sys.argv[3])
		parts = [tuple(int(n, 0) for n in part.split("+")) for part in sys.argv[4:]]
		off, heads, data = 64 + 56 * (len(parts) + 1), b"", b""
		heads += struct.pack("<IIQQQQQQ", 4, 0, off, 0, 0, 0, 0, 4)  # PT_NOTE
		for gpa, size in parts:
		    heads += struct.pack("<IIQQQQQQ", 1, 7, off + len(data), gpa | 0xffff << 48, gpa,
		                         size, size, 0)
		    data += ram[gpa:gpa + size].ljust(size, b"\0")
		head = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
		    "<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, 0, 0, 64, 56, len(parts) + 1, 0, 0, 0)
		open(to, "wb").write(head + heads + data)
	END
}
core_parts() {
	core "$tmp/core" 4 0x2000+0x2000 0+0x1000 && says 0 "12288 bytes are equal, 0 differ, 0 are not known" ram "$tmp/core"
}
check "an ELF core" core_parts
core_twice() { core "$tmp/core" 4 0+0x2000 0x1000+0x3000 0x1000+0x1000 && says 0 " 16384 bytes are equal" ram "$tmp/core"; }
check "an ELF core that has memory twice: once" core_twice
core_differs() {
	core "$tmp/core" 4 0x1000+0x1000 && printf '!' | dd of="$tmp/core" bs=1 seek=$((64 + 56 * 2 + 3)) conv=notrunc status=none
	says 1 "0x1003+1  trace 41  dump 21" ram "$tmp/core"
}
check "an ELF core that differs: where, by physical address" core_differs
no_core() { core "$tmp/core" 2 0+0x1000 && refused 1 "core: an ELF file, but not a core" ram "$tmp/core"; }
check "an ELF file that is no core" no_core
cut_core() {
	core "$tmp/core" 4 0+0x2000 && truncate -s 6000 "$tmp/core" && refused 1 "core: an ELF core that is cut short" ram "$tmp/core"
}
check "an ELF core that is cut" cut_core
empty_core() { core "$tmp/core" 4 && refused 1 "core: an ELF core without memory" ram "$tmp/core"; }
check "an ELF core without memory" empty_core
high_core() {
	core "$tmp/core" 4 0xfffffffffffffff0+0x20 && refused 1 "core: an ELF core with a segment past all addresses" ram "$tmp/core"
}
check "an ELF core past the end of all addresses" high_core
torn_core() {
	core "$tmp/core" 4 0+0x1000 && head -c 80 "$tmp/core" >"$tmp/torn" && refused 1 "torn: an ELF core " ram "$tmp/torn" &&
		head -c 20 "$tmp/core" >"$tmp/torn" && refused 1 "torn: an ELF " ram "$tmp/torn"
}
check "an ELF core whose header is cut" torn_core
kdump() { printf 'KDUMP   and more' >"$tmp/kdump" && refused 1 "kdump: a compressed dump" ram "$tmp/kdump"; }
check "a compressed dump" kdump

refuses "a dump that is not there" 1 "nowhere: No such file" ram "$tmp/nowhere"
refuses "a dump that is a directory" 1 "Is a directory" ram "$tmp"
refuses "a dump that is a device" 1 "null: not a regular file" ram /dev/null
: >"$tmp/empty"
refuses "an empty dump" 1 "empty: empty" ram "$tmp/empty"
unreadable() {
	public_copy
	cp "$T" "$tmp/public/t.vmb" && cp "$tmp/ram" "$tmp/public/ram" && chmod 644 "$tmp/public/t.vmb" &&
		chmod 000 "$tmp/public/ram"
	refused 1 "ram: Permission denied" nobody "$tmp/public/vmblame" verify "$tmp/public/t.vmb" --ram "$tmp/public/ram"
}
check "a dump that may not be read" unreadable
refuses "--ram with a mark that is not there" 1 "neither a time nor a mark" ram "$tmp/ram" --at nowhere
refuses "--at without --ram" 2 "--at goes with --ram" verify "$T" --at half
refuses "--max that is no number" 2 "--max x: expected a number" verify "$T" --max x
refuses "too many operands" 2 "too many" verify "$T" "$T"
cut_ram() {
	head -c 2500 "$T" >"$tmp/cut.vmb"
	verify "$tmp/cut.vmb" --ram "$tmp/ram" >"$tmp/out" 2>"$tmp/err"
	[ $? -le 3 ] && one_line && grep -q 'answers are as of event' "$tmp/err" && grep -q ' are not known$' "$tmp/out"
}
check "--ram of a cut trace: a warning, as of where it is cut" cut_ram
events() { says 3 "0 bytes are equal, 0 differ, 16384 are not known" verify "$GOLDEN/tiny.vmb" --ram "$tmp/ram"; }
check "a trace that does not know memory: exit 3" events
finish
