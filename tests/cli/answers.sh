#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The reading commands on a trace with an answer of every kind: verdicts, exit codes, JSON.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

T=$tmp/answers.vmb
answers_make "$T" || { not_ok "gen_answers"; finish; }
cp "$T" "$tmp/before.vmb"

# verdict RANGE STATUS LINE OPTION...: the first line of a one-run answer.
verdict() {
	range=$1 verdict_status=$2 first=$3
	shift 3
	quiet_run "$verdict_status" "$VMBLAME" who "$T" "$range" "$@" || return 1
	[ "$(head -n 1 "$tmp/out")" = "$first" ] || { head -n 1 "$tmp/out"; return 1; }
}
check "WRITTEN-BY a vCPU, exit 0" verdict 0x1008+8 0 "0x1008..0x1010 (8 bytes)  WRITTEN-BY"
check "WRITTEN-BY a device, exit 0" verdict 0x1040+32 0 "0x1040..0x1060 (32 bytes)  WRITTEN-BY"
check "WRITTEN-BY a device, bytes not captured" verdict 0x1080+16 0 \
	"0x1080..0x1090 (16 bytes)  WRITTEN-BY"
check "INITIAL, exit 0" verdict 0x1000+8 0 "0x1000..0x1008 (8 bytes)  INITIAL"
check "UNKNOWN not-watched, exit 3" verdict 0x7000+8 3 "0x7000..0x7008 (8 bytes)  UNKNOWN not-watched"
check "UNKNOWN page-table, exit 3" verdict 0x3000+8 3 "0x3000..0x3008 (8 bytes)  UNKNOWN page-table"
check "LOST, exit 3" verdict 0x5000+8 3 "0x5000..0x5008 (8 bytes)  LOST"
check "one byte without an answer among many: exit 3" verdict 0x1008..0x1110 3 \
	"0x1008..0x1010 (8 bytes)  WRITTEN-BY"
check "--json exits like text" sh -c '"$1" who --json "$2" 0x7000 >/dev/null; [ $? = 3 ]' sh "$VMBLAME" "$T"

who_says() {
	who_range=$1
	shift
	"$VMBLAME" who "$T" "$who_range" "$@" >"$tmp/out" || [ $? -eq 3 ] || return 1
	cat "$tmp/out"
}
the_store() {
	who_says 0x1008+8 >"$tmp/text"
	for what in "rip 0xffffffff81000100" "vCPU 0" "88 77 66 55 44 33 22 11" "mov" "0.000009000 s" \
		"event #9" "41 41 41 41 41 41 41 41 ->"; do
		grep -qF "$what" "$tmp/text" || { echo "no $what in:"; cat "$tmp/text"; return 1; }
	done
}
check "a store: time, bytes before and after, code" the_store
the_sector() { who_says 0x1040+32 | grep -q 'virtio-blk.* sector 77'; }
check "a transfer: device and sector" the_sector
the_loss() { who_says 0x5000 | grep -q '12 events'; }
check "a loss: how many" the_loss

# rips OPTION...: of the answers about 0x1010, in order.
rips() {
	"$VMBLAME" who --json "$T" 0x1010+4 "$@" | /usr/bin/python3 -c '
import json, sys
print(*[json.loads(l).get("bytes") or json.loads(l)["verdict"] for l in sys.stdin])'
}
gives() {
	given=$1
	shift
	got=$("$@")
	[ "$got" = "$given" ] || { echo "$got, not $given"; return 1; }
}
check "-n 1" gives "03000000" rips -n 1
check "-n 2: the last first" gives "03000000 02000000" rips -n 2
check "-n 9: no more than there are" gives "03000000 02000000 01000000" rips -n 3
check "--before a mark" gives "01000000" rips --before milestone
check "--before mark:NAME" gives "01000000" rips --before mark:milestone
check "--before an event: without it" gives "02000000" rips --before '#23'
check "--before a time in us" gives "02000000" rips --before 20us
check "--before a time in s" gives "02000000" rips --before 0.00002s
check "--before a time without a unit" gives "02000000" rips --before 0.00002
check "--before everything" gives "UNKNOWN" rips --before 0

shows() {
	shown=$1
	shift
	quiet_run 0 "$VMBLAME" show "$T" --raw "$@" || return 1
	got=$(od -An -v -tx1 "$tmp/out" | tr -d ' \n')
	[ "$got" = "$shown" ] || { echo "$got, not $shown"; return 1; }
}
check "show --raw" shows 03000000 0x1010+4
check "show --raw --at an event: with it" shows 02000000 0x1010+4 --at '#12'
check "show --raw --at a mark" shows 01000000 0x1010+4 --at milestone
check "show --raw --fill" shows 42424242ffffffffffff 0x10fc..0x1106 --fill 0xff
check "show --raw --fill, decimal" shows 0000 0x7000+2 --fill 0
refuses_raw() {
	refused 1 "0x1080" "$VMBLAME" show "$T" --raw 0x1000..0x1108
}
check "show --raw of what is not known, without --fill: the address, and not a byte" refuses_raw
unknown_is_not_zero() {
	quiet_run 0 "$VMBLAME" show "$T" 0x7000+4 && grep -q '^0000000000007000  ?? ?? ?? ??  ' "$tmp/out"
}
check "show: bytes never observed are ??" unknown_is_not_zero

history_lines() {
	quiet_run 0 "$VMBLAME" history "$T" 0x1010+4 && grep -c '0x1010+4' "$tmp/out"
}
check "history: every write, in order" gives 3 history_lines
history_bytes() {
	"$VMBLAME" history --json "$T" 0x1010+4 | /usr/bin/python3 -c '
import json, sys
print(*[w["old"] + ">" + w["bytes"] for w in map(json.loads, sys.stdin) if "event" not in w])'
}
check "history: bytes before and after" gives \
	"41414141>01000000 01000000>02000000 02000000>03000000" history_bytes

for range in 0x1000..0x1110 0x3000..0x3010 0x5000..0x5010 0x7000 0..64K; do
	for command in who history show; do
		json_holds() {
			"$VMBLAME" $command --json "$T" $range >"$tmp/json" || [ $? -eq 3 ] || return 1
			[ -s "$tmp/json" ] || [ "$command $range" = "history 0x7000" ] || return 1
			[ ! -s "$tmp/json" ] || /usr/bin/python3 tests/cli/check_json.py $command <"$tmp/json"
		}
		check "$command --json $range holds what is promised" json_holds
	done
done
for trace in "$T" "$GOLDEN/kinds.vmb" "$GOLDEN/stos.vmb"; do
	name=$(basename "$trace")
	info_holds() { "$VMBLAME" info --json "$trace" | /usr/bin/python3 tests/cli/check_json.py info; }
	check "info --json of $name holds what is promised" info_holds
	export_holds() {
		"$VMBLAME" export --format json "$trace" >"$tmp/json" &&
			/usr/bin/python3 tests/cli/check_json.py export <"$tmp/json" || return 1
		"$VMBLAME" info --json "$trace" >"$tmp/info" || return 1
		/usr/bin/python3 -c '
import json, sys
assert json.load(open(sys.argv[1]))["events"] == sum(1 for _ in open(sys.argv[2], "rb"))' \
			"$tmp/info" "$tmp/json"
	}
	check "export --format json of $name: every event" export_holds
	export_text() {
		[ "$("$VMBLAME" export "$trace" | wc -l)" = "$(wc -l <"$tmp/json")" ]
	}
	check "export --format text of $name: a line each" export_text
done
runs_cover() {
	"$VMBLAME" who --json "$T" 0x1000..0x1110 | /usr/bin/python3 -c '
import json, sys
at = 0x1000
for o in map(json.loads, sys.stdin):
    assert int(o["gpa"], 16) == at, o
    at += o["len"]
assert at == 0x1110'
}
check "who --json: runs follow one another without a gap" runs_cover

loss_in_info() {
	"$VMBLAME" info "$T" | grep -q 'lost 12' && "$VMBLAME" info "$T" | grep -q '0x5000..0x5100'
}
check "info shows the loss" loss_in_info
args_in_info() { "$VMBLAME" info "$T" | grep -qF "qemu-system-x86_64 -name 'two words'"; }
check "info shows the VMM's command line" args_in_info

export_filter() {
	"$VMBLAME" export "$T" "$@" --format json | /usr/bin/python3 -c '
import json, sys
print(*[str(o["seq"]) + o["event"] for o in map(json.loads, sys.stdin)])'
}
check "export --kinds" gives "13vq_pop 14vq_push 17vq_pop 18vq_push" export_filter --kinds vq_pop,vq_push
check "export --range: accesses within" gives "9mmio" export_filter --range 0x1008+8 --kinds mmio
check "export --from --to" gives "10mmio 11mark" export_filter --from '#10' --to '#12'
default_file() {
	mkdir -p "$tmp/default" && cp "$T" "$tmp/default/vmblame.vmb" && cd "$tmp/default" || return 1
	quiet_run 0 "$VMBLAME" who 0x1008+8 && quiet_run 0 "$VMBLAME" info &&
		quiet_run 0 "$VMBLAME" history 0x1008+8 && quiet_run 0 "$VMBLAME" show 0x1008+8 &&
		quiet_run 0 "$VMBLAME" export
	ret=$?
	cd - >/dev/null && return $ret
}
check "without FILE: ./vmblame.vmb" default_file
check "reading changes nothing" cmp "$T" "$tmp/before.vmb"
finish
