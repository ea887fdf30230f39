#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# When a recording starts, when it ends, and what becomes of the VM then.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "--from, --until and --then"
firmware_make || { not_ok "the guest's firmware"; finish; }
R=$tmp/r.vmb

begin() {
	guest_begin "$VMBLAME" record -o "$R" --force "$@" -- $QEMU $SERIAL
	guest_says 1 ready
}
# words: the values stored to the first watched word, in order.
words() {
	"$VMBLAME" history --json "$R" 0x10000+4 2>/dev/null | /usr/bin/python3 -c '
import json, sys
print(*[int.from_bytes(bytes.fromhex(w["bytes"]), "little") for w in map(json.loads, sys.stdin)
        if w.get("origin") == "vcpu" and "event" not in w])'
}
has_words() {
	[ "$(words)" = "$1" ] || { echo "stores: $(words), not $1"; return 1; }
}
# A chunk is sealed each second: what the file says of an unfinished recording is soon up to date.
watching() {
	"$VMBLAME" info "$R" 2>/dev/null | grep -q 'vcpu *seen 0x10000\.\.0x10040'
}
closed_lines() { grep -q '^vmblame: .*: kept ' "$tmp/guest.err"; }

from_console() {
	begin --watch $WATCH --from 'console:milestone [0-9]+$' || return 1
	guest_told w && guest_says 1 wrote && guest_told m && guest_says 1 milestone &&
		wait_for watching && guest_told wq && guest_ended 33 && whole "$R" && has_words 2
}
check "--from console:REGEX: what was stored before is not there, what comes after is" from_console
initial() {
	run 0 "$VMBLAME" show --raw --at 0 "$R" 0x10000+4
	[ $? -ne 0 ] || return 1
	# What was there when it began is what the first recorded store found.
	"$VMBLAME" who --json "$R" 0x10000+4 | grep -q '"old":"01000000"'
}
check "and the bytes before are those of the start" initial
from_reset() {
	begin --watch $WATCH --from reset || return 1
	guest_told w && guest_says 1 wrote && guest_told r && guest_says 2 ready && wait_for watching &&
		guest_told wq && guest_ended 33 && whole "$R" && has_words 2
}
check "--from reset" from_reset
from_seconds() {
	begin --watch $WATCH --from 0.3 || return 1
	wait_for watching && guest_told wq && guest_ended 33 && whole "$R" && has_words 1 || return 1
	"$VMBLAME" info --json "$R" | /usr/bin/python3 -c '
import json, sys
on = [c["t_ns"] for c in json.load(sys.stdin)["coverage"] if c["on"] and c["origin"] == "vcpu"]
assert on and min(on) >= 300000000, on'
}
check "--from SECONDS: nothing is said to be seen before" from_seconds
from_exit() {
	begin --watch $WATCH --from exit || return 1
	guest_told wwq && guest_ended 33 && whole "$R" && has_words ""
	run 3 "$VMBLAME" who "$R" 0x10000+4 && grep -q UNKNOWN "$tmp/out"
}
check "--from exit: nothing was observed, and nothing is claimed" from_exit
never() {
	begin --watch $WATCH --from console:never || return 1
	guest_told wwq && guest_ended 33 && summary && whole "$R" || return 1
	run 3 "$VMBLAME" who "$R" 0x10000+4 && grep -q UNKNOWN "$tmp/out"
}
check "--from an event that never comes: the same" never

until_console() {
	begin --watch $WATCH --until 'console:^milestone' || return 1
	guest_told w && guest_says 1 wrote && guest_told m && wait_for closed_lines || return 1
	whole "$R" || { echo "not whole while the VM runs on"; return 1; }
	guest_told ww && guest_says 3 wrote && guest_told q && guest_ended 33 && has_words 1
}
check "--until console:REGEX: the trace is whole at once, the VM runs on" until_console
once() { [ "$(grep -c 'kept' "$tmp/guest.err")" = 1 ]; }
check "the closing lines come once" once
after_the_end() {
	# After the end nothing was seen: the last store known is not claimed to be the last.
	run 0 "$VMBLAME" who "$R" 0x10000+4 && grep -q '01 00 00 00' "$tmp/out"
}
check "who answers as of the end" after_the_end
no_slots_left() {
	begin --watch $WATCH --until 'console:^milestone' || return 1
	guest_told m && wait_for closed_lines || return 1
	# Ordinary RAM again: 20,000 stores take no time to speak of.
	many=$(printf '%1250s' | tr ' ' w)
	guest_told "$many" && guest_says 1250 wrote && guest_told q && guest_ended 33 && has_words ""
}
check "after it, what was watched is ordinary memory" no_slots_left
until_reset() {
	begin --watch $WATCH --until reset || return 1
	guest_told w && guest_says 1 wrote && guest_told r && guest_says 2 ready &&
		wait_for closed_lines && guest_told wq && guest_ended 33 && whole "$R" && has_words 1
}
check "--until reset" until_reset
until_before() {
	# The end comes before there is a VM: it is left alone.
	guest_begin "$VMBLAME" record -o "$R" --force --watch $WATCH --until 0.05 -- \
		sh -c "echo waiting; read -r go; exec $(echo $QEMU $SERIAL)"
	wait_for closed_lines && guest_told 'go
' && guest_says 1 ready && guest_told wwq && guest_ended 33 && whole "$R" && has_words "" && once
}
check "--until comes before there is a VM" until_before
until_exit() {
	begin --watch $WATCH --until exit || return 1
	guest_told wwq && guest_ended 33 && summary && whole "$R" && has_words "1 2"
}
check "--until exit: all of it" until_exit
until_seconds() {
	begin --watch $WATCH --until 0.2 || return 1
	wait_for closed_lines && guest_told wq && guest_ended 33 && whole "$R" && has_words "" || return 1
	"$VMBLAME" info --json "$R" | /usr/bin/python3 -c '
import json, sys
assert json.load(sys.stdin)["duration_ns"] >= 200000000'
}
check "--until SECONDS" until_seconds
between() {
	begin --watch $WATCH --from console:milestone --until 'console:^interrupt' || return 1
	guest_told w && guest_says 1 wrote && guest_told m && wait_for watching && guest_told w &&
		guest_says 2 wrote && guest_told "$(printf '\003')" && wait_for closed_lines &&
		guest_told wq && guest_ended 33 && whole "$R" && has_words 2
}
check "--from and --until: what lies between" between
until_first() {
	# The end before the start: nothing, and no claim.
	begin --watch $WATCH --from console:interrupt --until console:milestone || return 1
	guest_told mw && guest_says 1 wrote && guest_told "$(printf '\003')" &&
		guest_says 1 interrupt && guest_told wq && guest_ended 33 && summary
}
check "--until comes before --from: the recording is not confused" until_first
end_at_wrote() {
	# The event that ends it is in it, nothing after it is.
	begin --mode events --until 'console:^wrote' || return 1
	guest_told w && wait_for closed_lines && guest_told mq && guest_ended 33 &&
		"$VMBLAME" export --kinds pio --format json "$R" >"$tmp/pio" || return 1
	/usr/bin/python3 - "$tmp/pio" <<-'EOF'
		import json, sys
		out = b"".join(bytes.fromhex(e["bytes"]) for e in map(json.loads, open(sys.argv[1]))
		               if e["port"] == "0x3f8" and e["write"])
		assert out == b"ready\nwrote", out
	EOF
}
check "--until console: the console up to the match, not a byte more" end_at_wrote

killed() {
	begin --watch $WATCH --until console:milestone --then kill || return 1
	qemu=$(qemu_of $guest)
	guest_told wm && guest_ended 0 && gone "$qemu" && summary && whole "$R" && has_words 1
}
check "--then kill: QEMU ends in order, its status is passed through" killed
killed_no_vm() {
	run 143 "$VMBLAME" record -o "$R" --force --until 0.1 --then kill -- sleep 100 && summary && whole "$R"
}
check "--then kill with a VMM that made no VM: 143" killed_no_vm
state_of() { sed 's/.*) \(.\).*/\1/' "/proc/$1/stat"; }
stopped() { [ "$(state_of "$1")" = T ]; }
paused() {
	begin --watch $WATCH --until console:milestone --then pause || return 1
	qemu=$(qemu_of $guest)
	guest_told wm && wait_for closed_lines && wait_for stopped "$qemu" && whole "$R" && has_words 1 &&
		kill -0 $guest || return 1
	guest_told w
	stopped "$qemu" && kill -CONT "$qemu" && guest_says 2 wrote && guest_told q && guest_ended 33
}
check "--then pause: QEMU is stopped, and goes on by SIGCONT" paused
paused_then_term() {
	begin --until console:milestone --then pause || return 1
	qemu=$(qemu_of $guest)
	guest_told m && wait_for stopped "$qemu" && kill $guest && kill -CONT "$qemu" && guest_ended 0
}
check "--then pause: SIGTERM still ends it" paused_then_term
continued() {
	begin --until console:milestone --then continue || return 1
	guest_told m && wait_for closed_lines && guest_told wq && guest_ended 33
}
check "--then continue" continued
finish
