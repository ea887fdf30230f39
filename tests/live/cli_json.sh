#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# JSON of real recordings, line by line, against what is promised; and check on a host that can record.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "JSON of real recordings"
R=$tmp/r.vmb

check_all() {
	run 0 "$VMBLAME" check --json && /usr/bin/python3 tests/cli/check_json.py check <"$tmp/out"
}
check "check: everything is there, exit 0; its JSON" check_all
modes() {
	run 0 "$VMBLAME" check && grep -q '^mode *events *yes' "$tmp/out" && grep -q '^mode *watch *yes' "$tmp/out" &&
		grep -q '^mode *pages *yes' "$tmp/out"
}
check "check: which modes there are" modes
no_vmm() {
	run 1 "$VMBLAME" check --vmm no-such-vmm && grep -q '^vmm *no-such-vmm *no' "$tmp/out" &&
		grep -q 'uprobe virtqueue_pop: not tried, for want of a VMM; ' "$tmp/out" &&
		! grep -q Success "$tmp/out"
}
check "check --vmm that does not exist: exit 1" no_vmm
again() { "$VMBLAME" check >"$tmp/once" && "$VMBLAME" check >"$tmp/twice" && cmp "$tmp/once" "$tmp/twice"; }
check "check changes nothing: twice the same" again

# watched IMAGE STATUS: records it with all the ranges of its .addr file watched.
watched() {
	image=$GUESTS/$1
	set -- "$2" $(awk '{ print "--watch", $2 $3 }' "$GUESTS/${3:-$1}.addr")
	watched_want=$1
	shift
	timeout $((100 * SLOW)) "$VMBLAME" record --force -o "$R" "$@" -- qemu-system-x86_64 -accel kvm -nodefaults \
		-display none -m 64 -no-reboot -serial stdio -device isa-debug-exit,iobase=0x501,iosize=2 \
		-drive "if=none,id=d,format=raw,readonly=on,file=$image.img" -device virtio-blk-pci,drive=d \
		>"$tmp/out" 2>"$tmp/err" </dev/null
	watched_status=$?
	[ $watched_status -eq "$watched_want" ] && summary && whole "$R" || {
		echo "exit $watched_status"
		tail -n 3 "$tmp/out"
		cat "$tmp/err"
		return 1
	}
}
# holds COMMAND RANGE...: its JSON is as promised, for each range.
holds() {
	holds_command=$1
	shift
	for range in "$@"; do
		case $holds_command in
		info | export) range= ;;
		esac
		[ $holds_command = export ] && format="--format json" || format=--json
		"$VMBLAME" $holds_command $format "$R" $range >"$tmp/json" || [ $? -eq 3 ] || return 1
		/usr/bin/python3 tests/cli/check_json.py $holds_command <"$tmp/json" || {
			echo "$holds_command $range"
			return 1
		}
	done
}

if [ -e "$GUESTS/vq.img" ]; then
	check "a guest whose page a disk and a processor write" watched vq 33
	for command in who history show info export; do
		check "vq: $command" holds $command $(awk '{ print $2 $3 }' "$GUESTS/vq.addr") 0x1000+4096
	done
	both() {
		"$VMBLAME" history --json "$R" "$(awk '{ print $2 $3; exit }' "$GUESTS/vq.addr")" >"$tmp/json"
		grep -q '"origin":"vcpu"' "$tmp/json" && grep -q '"origin":"virtqueue".*"sector":' "$tmp/json"
	}
	check "vq: both classes of writer, and the sector" both
else
	skip "a guest whose page a disk and a processor write" "make guests"
fi
if [ -e "$GUESTS/stores-small.img" ]; then
	check "a guest of 2,000 stores" watched stores-small 33 stores
	for command in who history show info export; do
		check "stores-small: $command" holds $command $(awk '{ print $2 $3 }' "$GUESTS/stores.addr")
	done
	symbols() {
		"$VMBLAME" who --json --symbols "$GUESTS/stores.elf" "$R" 0x1000000+256 >"$tmp/json" &&
			/usr/bin/python3 tests/cli/check_json.py who <"$tmp/json" && grep -q '"symbol":"' "$tmp/json" &&
			grep -q '"src":"[^"]*:[0-9]' "$tmp/json"
	}
	check "stores-small: symbol and src" symbols
	cut() {
		head -c 9000 "$R" >"$tmp/cut.vmb"
		"$VMBLAME" history --json "$tmp/cut.vmb" 0x1000000+0x10000 >"$tmp/json" 2>"$tmp/err" &&
			one_line && grep -q warning "$tmp/err" && {
			[ ! -s "$tmp/json" ] || /usr/bin/python3 tests/cli/check_json.py history <"$tmp/json"
		}
	}
	check "stores-small, cut short: a warning, and JSON from what is whole" cut
else
	skip "a guest of 2,000 stores" "make guests"
fi
finish
