#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The commands that look at all of memory, on a small trace of full mode (gen_whole.c says what is in
# it): find, diff, who --file, info --hot.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

T=$tmp/whole.vmb F=$tmp/file
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -I. ${EXTRA_CFLAGS-} -o "$tmp/gen_whole" tests/cli/gen_whole.c \
	"$B/libformats.a" -lzstd -lxxhash -lroaring && "$tmp/gen_whole" "$T" "$F" ||
	{ not_ok "gen_whole"; finish; }
cp "$T" "$tmp/before.vmb"

# prints STATUS TEXT COMMAND...: exits like that, nothing on stderr, and prints this.
prints() {
	prints_status=$1 prints_text=$2
	shift 2
	quiet_run "$prints_status" "$@" || return 1
	printf '%s' "$prints_text" | diff - "$tmp/out"
}
find_in() { "$VMBLAME" find "$T" "$@"; }
middle="0x2020+4  from 0.000006000 s until 0.000010000 s  vCPU 0 at 0x401020
0x2020+4  from 0.000011000 s until the end  vCPU 0 at 0x401050
"
crossing="0x2ffc+8  from 0.000008000 s until the end  vCPU 0 at 0x401030
"
hello="0x1006+5  from 0.000002000 s until the end  there from the beginning
"
check "find u8:" prints 0 "0x2000+1  from 0.000004000 s until the end  vCPU 0 at 0x401000
" find_in --in 0x2000+1 u8:0x5a
check "find u16:" prints 0 "0x2010+2  from 0.000005000 s until the end  vCPU 0 at 0x401010
" find_in --in 0x2000..0x3000 u16:0x1234
check "find u16:, decimal" prints 0 "0x2010+2  from 0.000005000 s until the end  vCPU 0 at 0x401010
" find_in --in 0x2000..0x3000 u16:4660
check "find u32: it was there, was gone, and came again" prints 0 "$middle" find_in u32:0xdeadbeef
check "find u64: across two pages" prints 0 "$crossing" find_in u64:0x1122334455667788
check "find hex:" prints 0 "$middle" find_in hex:efbeadde
check "find hex: with spaces and capitals" prints 0 "$middle" find_in "hex: EF be AD de"
check "find text:" prints 0 "$hello" find_in text:world
check "find: what was unseen" prints 0 \
	"0x9001+4  from 0.000013000 s until the end  unseen
" find_in --in 0x9001+1 "hex:$(od -An -tx1 -j4097 -N4 "$F")"
check "find: not there, exit 3" prints 3 "" find_in text:nowhere
check "find: not yet there" prints 3 "" find_in --to 5us u16:0x1234
check "find --to: until then" prints 0 \
	"0x2020+4  from 0.000006000 s until the end  vCPU 0 at 0x401020
" find_in --to middle u32:0xdeadbeef
check "find --to an event" prints 0 "$middle" find_in --to '#12' u32:0xdeadbeef
check "find --in: beside it" prints 3 "" find_in --in 0x3004+64 u64:0x1122334455667788
check "find --in: a range that it begins before" prints 0 "$crossing" \
	find_in --in 0x3000+1 u64:0x1122334455667788
check "find --in: a range that it ends behind" prints 0 "$crossing" \
	find_in --in 0x2ff0..0x3000 u64:0x1122334455667788
check "find: as many as --max" prints 0 "$middle" find_in --max 2 u32:0xdeadbeef
too_many() {
	run 1 find_in --max 1 u32:0xdeadbeef && one_line && grep -q "more than 1 times" "$tmp/err"
}
check "find: more than --max" too_many

blocks="file+0x0..0x1000  0x8000+4096  from 0.000012000 s until 0.000017000 s  unseen
file+0x1000..0x2000  0x9000+4096  from 0.000013000 s until the end  unseen
file+0x4000..0x40c8  0xc000+200  from 0.000015000 s until the end  unseen
(1 blocks of the file are zero, and were not looked for)
"
check "find --file" prints 0 "$blocks" find_in --file "$F"
check "find --file --in" prints 0 "$(echo "$blocks" | sed -n '2p;4p')
" find_in --file "$F" --in 0x9000+4K
check "find --file --to" prints 3 "(1 blocks of the file are zero, and were not looked for)
" find_in --file "$F" --to middle
other_file() {
	seq 5000 >"$tmp/other"
	prints 3 "" find_in --file "$tmp/other"
}
check "find --file: a file that was never there, exit 3" other_file

# valid CHECK STATUS COMMAND...: JSON as promised.
valid() {
	valid_check=$1 valid_status=$2
	shift 2
	quiet_run "$valid_status" "$@" && /usr/bin/python3 tests/cli/check_whole.py "$valid_check" <"$tmp/out"
}
for value in u8:0x5a u16:0x1234 u32:0xdeadbeef u64:0x1122334455667788 text:hello u8:0; do
	check "find --json $value" valid find 0 find_in --json --max 100000 "$value"
done
check "find --json --file" valid find_file 0 find_in --json --file "$F"
check "find --json: nothing is no line" prints 3 "" find_in --json text:nowhere

diff_in() { "$VMBLAME" diff "$T" "$@"; }
check "diff of two marks" prints 0 \
	"0x8000  4096 bytes changed, 2 writes by unseen, 0x402000
0x9000  4096 bytes changed, 1 writes by unseen
0xa000  4096 bytes changed, 1 writes by unseen
0xc000   200 bytes changed, 1 writes by unseen
4 pages, 12488 bytes
" sh -c '"$1" diff "$2" middle end | sed "s/^\(0x[89a]000\)  40[0-9][0-9]/\1  4096/;s/, 12[0-9]* bytes/, 12488 bytes/"' \
	sh "$VMBLAME" "$T"
check "diff: around one store" prints 0 "0x2000     1 bytes changed, 1 writes by 0x401000
1 pages, 1 bytes
" diff_in '#3' '#4'
check "diff: none" prints 0 "0 pages, 0 bytes
" diff_in '#9' '#9'
check "diff: written, and as it was" prints 0 "0 pages, 0 bytes
" diff_in '#9' '#11'
check "diff --touched" prints 0 "0x2000     0 bytes changed, 2 writes by 0x401040, 0x401050
0 pages, 0 bytes
" sh -c '"$1" diff --touched "$2" "#9" "#11" | sed "s/by 0x401050, 0x401040/by 0x401040, 0x401050/"' \
	sh "$VMBLAME" "$T"
check "diff --in" prints 0 "0x3000     4 bytes changed, 1 writes by 0x401030
1 pages, 4 bytes
" diff_in --in 0x3000+4K 0 end
for options in "" "--touched" "--in 0x9000+4K"; do
	check "diff --json $options" valid diff 0 diff_in --json $options '#9' '#17'
done
check "diff --json --touched of a page that is as it was" valid diff 0 diff_in --json --touched '#9' '#11'

# answer OFFSET+LEN STATUS FIRST SECOND: the first two lines of who --file.
answer() {
	quiet_run "$2" "$VMBLAME" who --file "$F@$1" "$T" || return 1
	printf '%s\n%s\n' "$3" "$4" >"$tmp/want"
	head -n 2 "$tmp/out" | diff "$tmp/want" -
}
check "who --file: a byte that a store damaged" answer 0x10+1 0 "file+0x10 lay at 0x8010:" \
	"0x8010..0x8011 (1 byte)  WRITTEN-BY"
check "who --file: as it came" answer 0x1004+8 3 "file+0x1004 lay at 0x9004:" \
	"0x9004..0x900c (8 bytes)  UNKNOWN emulator"
check "who --file: a block that never was as the file has it" answer 0x2123+1 3 \
	"file+0x2123 lay at 0xa123, by its neighbours:" "0xa123..0xa124 (1 byte)  UNKNOWN emulator"
check "who --file: the last byte" answer 0x40c7+1 3 "file+0x40c7 lay at 0xc0c7:" \
	"0xc0c7..0xc0c8 (1 byte)  UNKNOWN emulator"
file_parts() {
	run 3 "$VMBLAME" who --file "$F@0xf00..0x2100" "$T" &&
		[ "$(grep -c '^file+.* lay at' "$tmp/out")" = 2 ]
}
check "who --file: two parts, one of them inferred" file_parts
check "who --file --json" valid who 3 "$VMBLAME" who --json --file "$F@0..0x40c8" "$T"
file_before() { refused 1 "never in memory" "$VMBLAME" who --file "$F@0x10+1" --before middle "$T"; }
check "who --file --before it was there" file_before

hot_says() { "$VMBLAME" info --hot 3 "$T" >"$tmp/out" && grep -q "0x401030" "$tmp/out"; }
check "info --hot" hot_says
check "info --hot --json" valid hot 0 "$VMBLAME" info --json --hot 100 "$T"
hot_counts() {
	/usr/bin/python3 -c '
import json, sys
o = json.load(open(sys.argv[1]))
assert o["bytes_stored"] == 1 + 2 + 4 + 4 + 4 + 4 + 4 + 1, o["bytes_stored"]
assert o["hot_instructions"][0] == {"rip": "0x401030", "bytes": 8, "writes": 2}, o
assert o["hot_pages"][0] == {"gpa": "0x2000", "bytes": 19, "writes": 6}, o
assert len(o["hot_instructions"]) == 7 and len(o["hot_pages"]) == 3' "$tmp/out"
}
check "info --hot --json: what was stored" hot_counts
hot_one() {
	"$VMBLAME" info --json --hot 1 "$T" | /usr/bin/python3 -c '
import json, sys
o = json.load(sys.stdin)
assert len(o["hot_instructions"]) == len(o["hot_pages"]) == 1'
}
check "info --hot 1 --json" hot_one

for value in "" 5 u8 u8: u8:256 u16:65536 u32:0x100000000 u64:0x10000000000000000 u12:1 u8:-1 u8:x u: \
	u8x:1 hex: "hex: " hex:1 hex:123 hex:zz hex:0x12 hex:-1 hex:+1 text: word; do
	refuses "find: refused: '$value'" 2 . "$VMBLAME" find "$T" "$value"
done
refuses "find: without a value" 2 "find what" "$VMBLAME" find
refuses "find: two traces" 2 "operand" "$VMBLAME" find "$T" "$T" u8:1
refuses "find: --file and a value" 2 "operand" "$VMBLAME" find --file "$F" "$T" u8:1
refuses "find: a bad --in" 2 "in" "$VMBLAME" find --in nonsense "$T" u8:1
refuses "find: --max 0" 2 "max" "$VMBLAME" find --max 0 "$T" u8:1
refuses "find: --max many" 2 "max" "$VMBLAME" find --max many "$T" u8:1
refuses "find: --to no mark" 1 "mark" "$VMBLAME" find --to nowhere "$T" u8:1
refuses "find: --to no event" 1 "no event" "$VMBLAME" find --to '#999' "$T" u8:1
refuses "find: no such file" 1 "No such file" "$VMBLAME" find --file "$tmp/none" "$T"
refuses "find: a directory" 1 "regular" "$VMBLAME" find --file "$tmp" "$T"
refuses "find: an empty file" 1 "empty" "$VMBLAME" find --file /dev/null "$T"
long_text() { refused 2 . "$VMBLAME" find "$T" "text:$(head -c 2049 /dev/zero | tr '\0' x)"; }
check "find: a text of 2049 bytes" long_text
refuses "diff: one moment" 2 "two moments" "$VMBLAME" diff 1us
refuses "diff: none" 2 "two moments" "$VMBLAME" diff
refuses "diff: the wrong way" 2 "before" "$VMBLAME" diff "$T" 9us 3us
refuses "diff: a bad --in" 2 "in" "$VMBLAME" diff --in 5..4 "$T" 1us 2us
refuses "diff: no such mark" 1 "mark" "$VMBLAME" diff "$T" 1us nowhere
for place in "$F" "@0+1" "$F@" "$F@x" "$F@0+0" "$F@0x40c8+1" "$F@0..0x10000"; do
	refuses "who --file ${place#"$tmp"}" 2 . "$VMBLAME" who --file "$place" "$T"
done
refuses "who --file: no such file" 1 "No such file" "$VMBLAME" who --file "$tmp/none@0+1" "$T"
refuses "who --file and a range" 2 "operand" "$VMBLAME" who --file "$F@0+1" "$T" 0x1000
refuses "info --hot 0" 2 "hot" "$VMBLAME" info --hot 0 "$T"
refuses "info --hot x" 2 "hot" "$VMBLAME" info --hot x "$T"

# whole COMMAND...: each of these commands, on the trace $W.
whole() {
	"$@" "$VMBLAME" find "$W" u32:0xdeadbeef && "$@" "$VMBLAME" find "$W" --file "$F" &&
		"$@" "$VMBLAME" diff "$W" '#3' 9us && "$@" "$VMBLAME" info --hot 3 "$W" &&
		"$@" "$VMBLAME" find --json "$W" u32:0xdeadbeef
}
# Every length: never a crash, never silence about what is missing.
cut_ends() {
	timeout 20 "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status -le 3 ] && [ $status -ne 2 ] || { echo "exit status $status: $*"; return 1; }
	grep -q '^vmblame: ' "$tmp/err" || { echo "nothing said: $*"; return 1; }
}
cut_anywhere() {
	size=$(stat -c %s "$T") W=$tmp/cut.vmb at=1
	while [ $at -lt "$size" ]; do
		head -c $at "$T" >"$W"
		whole cut_ends || { echo "cut at $at of $size"; return 1; }
		at=$((at + 97))
	done
}
check "cut traces" cut_anywhere
# Where some stream was cut off before others: nothing behind the moment that the answers are as of.
cut_as_of() {
	size=$(stat -c %s "$T") W=$tmp/cut.vmb at=1 seen=0
	while [ $at -lt "$size" ]; do
		head -c $at "$T" >"$W"
		at=$((at + 97))
		"$VMBLAME" find --json --max 1000000 "$W" u8:0xef >"$tmp/out" 2>"$tmp/err"
		as_of=$(sed -n 's/.*answers are as of event #\([0-9]*\).*/\1/p' "$tmp/err")
		[ -n "$as_of" ] || continue
		/usr/bin/python3 -c '
import json, sys
late = [o for o in map(json.loads, sys.stdin) if max(o["seq"], o.get("until_seq", 0)) >= int(sys.argv[1])]
assert not late, late' "$as_of" <"$tmp/out" || return 1
		seen=$((seen + 1))
	done
	[ $seen -gt 0 ] || { echo "no such cut"; return 1; }
}
check "find: cut traces answer as of where they are whole" cut_as_of
flipped_ends() {
	timeout 20 "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status -le 3 ] && [ $status -ne 2 ] || { echo "exit status $status: $*"; return 1; }
}
flipped_anywhere() {
	size=$(stat -c %s "$T") W=$tmp/flip.vmb at=8
	while [ $at -lt "$size" ]; do
		cp "$T" "$W"
		printf '\125' | dd of="$W" bs=1 seek=$at conv=notrunc status=none
		whole flipped_ends || { echo "another byte at $at"; return 1; }
		at=$((at + 89))
	done
}
check "damaged traces" flipped_anywhere

full_out() { "$@" >/dev/full 2>"$tmp/err"; [ $? = 1 ] && one_line; }
closed_out() { "$@" >&- 2>"$tmp/err"; [ $? = 1 ] && one_line; }
W=$T
check "standard output on a full disk" whole full_out
check "standard output closed" whole closed_out
# By pages: the same answers, and what does not fit is said.
answers() {
	for range in 0x2000+4K 0x2020+4 0x1006+5 0x2ff0..0x3010 0x8000+8K 0x7000+1; do
		for question in who history show; do
			"$VMBLAME" $question "$T" $range || [ $? = 3 ] || return 1
			"$VMBLAME" $question --json "$T" $range || [ $? = 3 ] || return 1
		done
	done >"$tmp/answers.$1" 2>&1
	"$VMBLAME" show "$T" 0x2000+4K --at middle >>"$tmp/answers.$1" 2>&1
}
same_answers() { answers by_page && diff "$tmp/answers.plain" "$tmp/answers.by_page"; }
answers plain
indexed() {
	run 0 "$VMBLAME" index "$T" && one_line && [ ! -s "$tmp/out" ] &&
		grep -q "whole.vmb.pages: [0-9]* stores by pages" "$tmp/err" &&
		[ "$(stat -c %a "$T.pages")" = 600 ] && [ "$(ls "$T".*)" = "$T.pages" ]
}
check "index" indexed
again() { run 0 "$VMBLAME" index "$T" && one_line && grep -q "there already" "$tmp/err"; }
check "index: again" again
check "index --force -q" quiet_run 0 "$VMBLAME" index --force -q "$T"
check "index: the same answers" same_answers
check "index: the other file is no trace" \
	refused 1 "no trace, but the stores of one by pages" "$VMBLAME" who "$T.pages" 0x2000+8
stale() {
	printf X | dd of="$T.pages" bs=1 seek=3 conv=notrunc status=none
	run "$1" "$VMBLAME" who "$T" 0x2020+4 && grep -q "whole.vmb.pages: it cannot be read" "$tmp/err" &&
		"$VMBLAME" index -q "$T" 2>/dev/null && same_answers
}
check "index: one that is damaged is said, and made again" stale 0
rm "$T.pages"
mkdir "$tmp/sealed" && cp "$T" "$tmp/sealed/" && mkdir "$tmp/sealed/whole.vmb.pages"
check "index: where it cannot be" refused 1 "sealed/whole.vmb.pages: Is a directory" \
	"$VMBLAME" index --force "$tmp/sealed/whole.vmb"
check "index: nothing is left behind" \
	[ "$(ls "$tmp/sealed" | tr '\n' ' ')" = "whole.vmb whole.vmb.pages " ]
check "index: no stores" refused 1 "there are no stores in it" "$VMBLAME" index tests/golden/tiny.vmb
check "reading changes nothing" cmp "$T" "$tmp/before.vmb"
finish
