#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Files that are no trace, or no whole one: one line that says what and where, exit 1, never a crash;
# of a truncated one a warning, and the answer from what is whole.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

T=$tmp/whole.vmb
answers_make "$T" || { not_ok "gen_answers"; finish; }
size=$(stat -c %s "$T")

# Each reading command refuses $1 with one line that has $2 in it and names the file.
refused_by_all() {
	for command in $READERS; do
		run 1 reader $command "$1" && one_line || { echo "$command"; return 1; }
		grep -q -e "$2" "$tmp/err" || { echo "$command: no '$2':"; cat "$tmp/err"; return 1; }
		grep -qF "$(basename "$1")" "$tmp/err" || { echo "which file?"; cat "$tmp/err"; return 1; }
		[ ! -s "$tmp/out" ] || { echo "$command: something on stdout"; return 1; }
	done
}

# changed OFFSET BYTES NAME: the whole trace with those bytes (printf notation) at OFFSET.
changed() {
	cp "$T" "$tmp/$3"
	printf "$2" | dd of="$tmp/$3" bs=1 seek="$1" conv=notrunc status=none
}

check "a trace that is not there" refused_by_all "$tmp/missing.vmb" "No such file"
mkdir "$tmp/directory.vmb"
check "a directory" refused_by_all "$tmp/directory.vmb" "[Dd]irectory"
: >"$tmp/empty.vmb"
check "an empty file" refused_by_all "$tmp/empty.vmb" "."
check "a file that is a directory of" refused_by_all "$T/inside.vmb" "Not a directory"
for n in 1 7 8 71; do
	head -c $n "$T" >"$tmp/short$n.vmb"
	check "a header of $n bytes" refused_by_all "$tmp/short$n.vmb" "."
done
check "a foreign file" refused_by_all "tests/cli/traces.sh" "."
head -c 100000 /dev/zero >"$tmp/zeros.vmb"
check "a file of zeros" refused_by_all "$tmp/zeros.vmb" "."
check "a program" refused_by_all "$VMBLAME" "."
changed 8 '\002' wrong-sum.vmb
check "a header that is damaged" refused_by_all "$tmp/wrong-sum.vmb" "."
if [ -e "$GOLDEN/newer.vmb" ]; then
	check "golden: foreign" refused_by_all "$GOLDEN/foreign.vmb" "."
	check "golden: newer" refused_by_all "$GOLDEN/newer.vmb" "."
fi

# A newer version, with a checksum that holds.
newer() {
	/usr/bin/python3 - "$T" "$1" "$2" "$3" "$4" <<-'EOF'
		import struct, sys, xxhash
		whole, to, off, fmt, value = sys.argv[1:]
		b = bytearray(open(whole, "rb").read())
		struct.pack_into(fmt, b, int(off), int(value))
		struct.pack_into("<Q", b, 64, xxhash.xxh64(bytes(b[:64]), seed=0).intdigest())
		open(to, "wb").write(b)
	EOF
}
if /usr/bin/python3 -c 'import xxhash' 2>/dev/null; then
	newer "$tmp/newer.vmb" 8 '<H' 2 && newer "$tmp/feature.vmb" 24 '<Q' 2 &&
		newer "$tmp/minor.vmb" 10 '<H' 99 && newer "$tmp/compat.vmb" 16 '<Q' 1
	check "a trace from a newer version: it says so" refused_by_all "$tmp/newer.vmb" "newer\|version 2"
	check "a feature that must not be ignored" refused_by_all "$tmp/feature.vmb" "newer\|feature"
	check "a newer minor version is read" quiet_run 0 "$VMBLAME" who "$tmp/minor.vmb" 0x1008+8
	check "a feature that may be ignored" quiet_run 0 "$VMBLAME" who "$tmp/compat.vmb" 0x1008+8
else
	skip "a trace from a newer version" "python3-xxhash"
fi

unreadable() {
	public_copy
	cp "$T" "$tmp/public/secret.vmb" && chmod 000 "$tmp/public/secret.vmb"
	refused 1 "secret.vmb.*Permission denied" nobody "$tmp/public/vmblame" info "$tmp/public/secret.vmb"
}
check "a trace that may not be read" unreadable
fifo() {
	mkfifo "$tmp/fifo.vmb"
	timeout 10 "$VMBLAME" info "$tmp/fifo.vmb" >"$tmp/out" 2>"$tmp/err"
	[ $? -eq 1 ] && one_line
}
check "a pipe as a trace does not block" fifo
check "a device as a trace" refused_by_all /dev/null "null"

# Cut short: a warning, and the answer.
head -c $((size - 1)) "$T" >"$tmp/cut.vmb"
cut_answers() {
	run 0 "$VMBLAME" who "$tmp/cut.vmb" 0x1008+8 && grep -q 'WRITTEN-BY' "$tmp/out" &&
		one_line && grep -q 'warning.*cut.vmb' "$tmp/err"
}
check "a trace without its last byte: a warning and the answer" cut_answers
cut_by_all() {
	for command in $READERS; do
		reader $command "$tmp/cut.vmb" >"$tmp/out" 2>"$tmp/err"
		case $command:$? in who:3 | info:0 | history:0 | show:0 | verify:0 | export:0) ;; *)
			echo "$command: exit $?"
			return 1 ;;
		esac
		one_line && grep -q warning "$tmp/err" || return 1
	done
	"$VMBLAME" info "$tmp/cut.vmb" 2>/dev/null | grep -q 'cut short' &&
		"$VMBLAME" info --json "$tmp/cut.vmb" 2>/dev/null | grep -q '"truncated":true'
}
check "a truncated trace: every command warns in one line" cut_by_all
json_of_cut() {
	"$VMBLAME" who --json "$tmp/cut.vmb" 0x1008+8 2>/dev/null |
		/usr/bin/python3 tests/cli/check_json.py who
}
check "the warning does not get into the data" json_of_cut
header_only() {
	head -c 72 "$T" >"$tmp/header.vmb"
	run 3 "$VMBLAME" who "$tmp/header.vmb" 0x1008+8 && grep -q UNKNOWN "$tmp/out" &&
		one_line && grep -q warning "$tmp/err"
}
check "a header alone: a warning, UNKNOWN" header_only

# At every 7th length, and at every 5th byte with another value: an answer or a word, never a crash.
sane() {
	# The status of a crash is above 128, of a failed sanitizer 1 with many lines.
	[ "$1" -le 3 ] && { [ "$1" -ne 1 ] || one_line; } && [ "$(wc -l <"$tmp/err")" -le 1 ]
}
every_cut() {
	at=0
	while [ $at -lt "$size" ]; do
		head -c $at "$T" >"$tmp/c.vmb"
		"$VMBLAME" who "$tmp/c.vmb" 0x1000..0x1110 >"$tmp/out" 2>"$tmp/err"
		sane $? || { echo "cut at $at"; cat "$tmp/err"; return 1; }
		at=$((at + 7))
	done
}
check "cut anywhere: refused or answered" every_cut
every_damage() {
	at=0
	while [ $at -lt "$size" ]; do
		changed $at '\377' d.vmb
		"$VMBLAME" who "$tmp/d.vmb" 0x1000..0x1110 >"$tmp/out" 2>"$tmp/err"
		sane $? || { echo "damaged at $at"; cat "$tmp/err"; return 1; }
		at=$((at + 5))
	done
}
check "damaged anywhere: refused or answered" every_damage
damaged_body() {
	run 1 "$VMBLAME" info "$GOLDEN/damaged-body.vmb" && one_line && grep -q 'offset [0-9]' "$tmp/err"
}
check "golden: a damaged chunk: where it is" damaged_body
finish
