#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Moments with a name: what the guest does, what --mark and --exact wait for, `vmblame mark`.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "--mark, --exact and vmblame mark"
firmware_make || { not_ok "the guest's firmware"; finish; }
R=$tmp/r.vmb
DEVICES="-device pvpanic -action panic=none"

begin() {
	guest_begin "$VMBLAME" record -o "$R" --force "$@" -- $QEMU $SERIAL $DEVICES
	guest_says 1 ready
}
# marks NAME...: the trace has these marks, in this order.
marks() {
	"$VMBLAME" export --kinds mark --format json "$R" 2>/dev/null | /usr/bin/python3 -c '
import json, sys
told = [e["name"] for e in map(json.loads, sys.stdin)]
sys.exit(told != sys.argv[1:] and str(told))' "$@"
}
# held VALUE [T]: the word that the guest counts in, then; at the end.
held() {
	[ "$("$VMBLAME" show --raw ${2+--at "$2"} "$R" 0x10000+4 | od -An -tu4 | tr -d ' ')" = "$1" ] ||
		{ "$VMBLAME" show ${2+--at "$2"} "$R" 0x10000+4; return 1; }
}

guest_does() {
	begin || return 1
	guest_told p && guest_says 1 panicked && guest_told t && guest_says 2 ready && guest_told r &&
		guest_says 3 ready && guest_told q && guest_ended 33 && whole "$R" || return 1
	marks panic-1 triple-fault-1 reset-1 reset-2
}
check "a panic, a triple fault, resets: marked by themselves" guest_does
events_too() {
	begin --mode events || return 1
	guest_told p && guest_says 1 panicked && guest_told q && guest_ended 33 && marks panic-1
}
check "in events mode as well" events_too
asked_for() {
	begin --mark 'console:^(wrote|mile)' --mark reset || return 1
	guest_told wm && guest_says 1 milestone && guest_told r && guest_says 2 ready && guest_told w && guest_says 2 wrote &&
		guest_told q && guest_ended 33 && marks console-1 console-2 reset-1 console-3
}
check "--mark console:REGEX: once a line; --mark reset: not twice" asked_for
exact() {
	begin --exact 'console:^wrote' --exact reset || return 1
	guest_told w && wait_for grep -q 'console-1-exact at' "$tmp/guest.err" &&
		guest_told w && wait_for grep -q 'console-2-exact at' "$tmp/guest.err" &&
		guest_told r && wait_for grep -q 'reset-1-exact at' "$tmp/guest.err" &&
		guest_says 2 ready && guest_told wq && guest_ended 33 && whole "$R" || return 1
	! grep 'not exact' "$tmp/err" || return 1
	held 1 console-1-exact && held 2 console-2-exact && held 2 reset-1-exact && held 3
}
check "--exact: memory as of then, and how late that was" exact
lag() { grep -q 'console-1-exact at [0-9.]* s, [0-9.]* ms late$' "$tmp/guest.err"; }
check "the lag is printed" lag
by_time() {
	begin --exact 0.01 || return 1
	wait_for grep -q 'time-1-exact at' "$tmp/guest.err" && guest_told q && guest_ended 33 &&
		marks time-1 time-1-exact
}
check "--exact SECONDS" by_time

named() {
	begin || return 1
	guest_told w && guest_says 1 wrote && run 0 "$VMBLAME" mark "$R" one &&
		grep -q '^one at [0-9.]* s: memory is known' "$tmp/out" || return 1
	guest_told w && guest_says 2 wrote && run 0 "$VMBLAME" mark --json "$R" two.b || return 1
	/usr/bin/python3 -c '
import json, sys
m = json.load(open(sys.argv[1]))
assert m["v"] == 1 and m["mark"] == "two.b" and m["exact"] is True and m["t_ns"] > m["lag_ns"] > 0, m
' "$tmp/out" || return 1
	refused 1 "there is a mark one already" "$VMBLAME" mark "$R" one || return 1
	guest_told wq && guest_ended 33 && marks one two.b && held 1 one && held 2 two.b &&
		held 3
}
check "vmblame mark NAME: memory as of then; the same name twice is refused" named
default_file() {
	mkdir "$tmp/here" && cd "$tmp/here" || return 1
	guest_begin "$VMBLAME" record -- $QEMU $SERIAL $DEVICES
	guest_says 1 ready && run 0 "$VMBLAME" mark there && guest_told q && guest_ended 33
	default_status=$?
	R=$tmp/here/vmblame.vmb
	[ $default_status -eq 0 ] && marks there
}
check "vmblame mark without a FILE" default_file
cd "$OLDPWD" 2>/dev/null
R=$tmp/r.vmb
until_mark() {
	begin --until mark:enough || return 1
	guest_told w && guest_says 1 wrote && run 0 "$VMBLAME" mark "$R" not-yet &&
		run 0 "$VMBLAME" mark "$R" enough && wait_for grep -q ': kept' "$tmp/guest.err" &&
		whole "$R" && grep -q 'ms after --until' "$tmp/guest.err" || return 1
	refused 1 "no recording to it runs" "$VMBLAME" mark "$R" more || return 1
	guest_told wq && guest_ended 33 && held 1
}
check "--until mark:NAME, and a mark after the end" until_mark
until_panic() {
	begin --until panic --then kill || return 1
	guest_told wp && guest_ended 0 && whole "$R" && held 1 && marks panic-1
}
check "--until panic --then kill" until_panic
until_triple() {
	begin --until triple-fault || return 1
	guest_told w && guest_says 1 wrote && guest_told t && guest_says 2 ready &&
		wait_for grep -q ': kept' "$tmp/guest.err" && guest_told wq && guest_ended 33 && held 1
}
check "--until triple-fault" until_triple
watching() {
	begin --watch $WATCH || return 1
	guest_told w && guest_says 1 wrote && run 0 "$VMBLAME" mark --json "$R" here &&
		grep -q '"exact":false' "$tmp/out" && kill -USR1 $guest &&
		wait_for grep -q 'mark-1 at' "$tmp/guest.err" && guest_told q && guest_ended 33 &&
		marks here mark-1 && held 1 here
}
check "with --watch: what is watched is looked at" watching
in_full() {
	guest_begin "$VMBLAME" record --mode full -o "$R" --force --mark 0.01 -- \
		$(echo "$QEMU" | sed 's/-accel kvm/-accel tcg/') $SERIAL
	guest_says 1 ready && guest_told w && guest_says 1 wrote && run 0 "$VMBLAME" mark "$R" one &&
		guest_told wq && guest_ended 33 && marks time-1 one && held 1 one && held 2
}
check "in full mode" in_full
public_copy
others() {
	begin || return 1
	chmod 644 "$R" && refused 1 "only its own user and root" nobody "$tmp/public/vmblame" mark "$R" theirs &&
		guest_told q && guest_ended 33 && marks
}
check "another user's mark is not heard" others
early() {
	begin --from console:never || return 1
	refused 1 "it has not begun" "$VMBLAME" mark "$R" early && guest_told q && guest_ended 33
}
check "before --from there is nothing to mark" early
a_part() {
	begin --ram 0x10000+4 --shadow-max 1M || return 1
	guest_told w && guest_says 1 wrote && guest_told q && guest_ended 33 && held 1 &&
		run 3 "$VMBLAME" who "$R" 0x20000+4 && grep -q 'UNKNOWN' "$tmp/out"
}
check "--ram RANGE: its pages, and no others" a_part
no_room() {
	"$VMBLAME" record -o "$R.none" --shadow-max 1M -- $QEMU $SERIAL >"$tmp/out" 2>"$tmp/err" </dev/null
	[ $? -eq 125 ] && grep -q 'more than the 1.0 MiB of --shadow-max' "$tmp/err" && [ ! -s "$tmp/out" ]
}
check "--shadow-max: copies may take more, and the guest is not started" no_room
huge() {
	guest_begin "$VMBLAME" record -o "$R" --force --ram 0x10000+4 --ram 100G+4K -- $QEMU $SERIAL -m 160G \
		-object memory-backend-ram,id=m,size=160G,reserve=off -machine pc,memory-backend=m
	guest_says 1 ready && guest_told w && guest_says 1 wrote && guest_told q && guest_ended 33 || return 1
	grep -q '0x1900000000 is more than can be followed' "$tmp/err" && held 1 &&
		run 3 "$VMBLAME" who "$R" 100G+4 && grep -q 'UNKNOWN not-watched' "$tmp/out"
}
check "a guest with more memory than can be followed: what is not known is said" huge

refuses "a file that is none" 1 "not a vmblame trace" "$VMBLAME" mark "$0" here
refuses "a file that is not there" 1 "No such file" "$VMBLAME" mark "$tmp/none.vmb" here
refuses "a name that is none" 2 "a mark's name is a letter" "$VMBLAME" mark "$R" 12s
refuses "no name" 2 "NAME" "$VMBLAME" mark
refuses "one word too many" 2 "NAME" "$VMBLAME" mark "$R" here there
finish
