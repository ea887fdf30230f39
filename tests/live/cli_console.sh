#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The console passes through untouched, and signals go where they would have gone.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "the console and signals"
firmware_make || { not_ok "the guest's firmware"; finish; }
R=$tmp/r.vmb

bytes() {
	head -c 3000000 "$VMBLAME" >"$tmp/bytes"
	head -c 1000000 /dev/urandom >>"$tmp/bytes"
	"$VMBLAME" record -q -o "$R" --force -- cat <"$tmp/bytes" >"$tmp/back" 2>"$tmp/err" &&
		cmp "$tmp/bytes" "$tmp/back" && [ ! -s "$tmp/err" ]
}
check "stdin to stdout, byte for byte" bytes
to_stderr() {
	run 3 "$VMBLAME" record -q -o "$R" --force -- sh -c 'printf "no newline" >&2; exit 3' &&
		[ ! -s "$tmp/out" ] && [ "$(cat "$tmp/err")" = "no newline" ]
}
check "the VMM's stderr" to_stderr
nothing_on_stdout() { run 0 "$VMBLAME" record -o "$R" --force -- true && [ ! -s "$tmp/out" ]; }
check "nothing of ours on stdout" nothing_on_stdout
stdin_closed() {
	"$VMBLAME" record -q -o "$R" --force -- sh -c '[ ! -e /proc/self/fd/0 ]' <&- >"$tmp/out" 2>"$tmp/err"
}
check "a closed stdin is closed for the VMM" stdin_closed
stdout_closed() {
	"$VMBLAME" record -q -o "$R" --force -- sh -c '[ ! -e /proc/self/fd/1 ]' >&- 2>"$tmp/err" </dev/null &&
		whole "$R"
}
check "a closed stdout too" stdout_closed
rest_of_stdin() {
	# What the VMM does not read is left to who comes next.
	printf 'one\ntwo\n' >"$tmp/two"
	(
		"$VMBLAME" record -q -o "$R" --force -- true
		cat
	) <"$tmp/two" | cmp - "$tmp/two"
}
check "stdin is not read by us" rest_of_stdin

serial() {
	printf wmq | timeout $((60 * SLOW)) "$VMBLAME" record -q --watch $WATCH -o "$R" --force -- $QEMU $SERIAL \
		>"$tmp/with" 2>"$tmp/err"
	[ $? -eq 33 ] && printf wmq | $QEMU $SERIAL >"$tmp/without" 2>/dev/null
	cmp "$tmp/with" "$tmp/without" && grep -q '^milestone 42$' "$tmp/with"
}
check "a guest's serial port, both ways" serial

# On a terminal.
terminal() {
	/usr/bin/python3 tests/cli/terminal.py "$@" >"$tmp/tty" 2>&1
}
is_terminal() {
	terminal -- "$VMBLAME" record -q -o "$R" --force -- sh -c 'test -t 0 && test -t 1 && test -t 2 && tty'
}
check "the VMM has the terminal" is_terminal
modes() {
	terminal -- sh -c 'before=$(stty -g); '"'$VMBLAME'"' record -q -o "$1" --force -- true; [ "$(stty -g)" = "$before" ]' \
		sh "$R"
}
check "the terminal's modes stay" modes
foreground() {
	# A background process group that reads its terminal is stopped: the VMM must be in the foreground.
	terminal 'send:hello\n' 'expect:got hello' -- "$VMBLAME" record -q -o "$R" --force -- \
		sh -c 'read line; echo "got $line"'
}
check "the VMM may read the terminal" foreground
ctrl_c_to_guest() {
	terminal expect:ready 'send:\x03' expect:interrupt 'send:w' expect:wrote 'send:q' -- \
		"$VMBLAME" record --watch $WATCH -o "$R" --force -- $QEMU -serial mon:stdio
	ctrl_status=$?
	[ $ctrl_status -eq 33 ] || { echo "exit $ctrl_status"; cat "$tmp/tty"; return 1; }
	whole "$R" && "$VMBLAME" who "$R" 0x10000+4 | grep -q WRITTEN-BY
}
check "Ctrl-C under -serial mon:stdio goes to the guest" ctrl_c_to_guest
ctrl_c_to_qemu() {
	terminal expect:ready send:w expect:wrote 'send:\x03' 'expect:vmblame: .*kept' -- \
		"$VMBLAME" record --watch $WATCH -o "$R" --force -- $QEMU -serial stdio
	ctrl_status=$?
	[ $ctrl_status -eq 0 ] || { echo "exit $ctrl_status"; cat "$tmp/tty"; return 1; }
	whole "$R" && "$VMBLAME" who "$R" 0x10000+4 | grep -q WRITTEN-BY
}
check "Ctrl-C under -serial stdio ends QEMU, and the recording with it" ctrl_c_to_qemu
ctrl_c_ignored() {
	terminal expect:begun 'send:\x03' 'send:go on\n' 'expect:heard go on' 'expect:vmblame: .*kept' -- \
		"$VMBLAME" record -o "$R" --force -- \
		sh -c 'trap "" INT; echo begun; read line; echo "heard $line"; exit 9'
	ctrl_status=$?
	[ $ctrl_status -eq 9 ] && whole "$R" || { echo "exit $ctrl_status"; cat "$tmp/tty"; return 1; }
}
check "Ctrl-C does not end the recorder before the VMM" ctrl_c_ignored
ctrl_backslash() {
	terminal expect:begun 'send:\x1c' 'send:go on\n' 'expect:heard go on' 'expect:vmblame: .*kept' -- \
		"$VMBLAME" record -o "$R" --force -- \
		sh -c 'trap "" QUIT; echo begun; read line; echo "heard $line"; exit 9'
	[ $? -eq 9 ] && whole "$R" || { cat "$tmp/tty"; return 1; }
}
check "nor does Ctrl-\\" ctrl_backslash
ctrl_c_death() {
	terminal expect:begun 'send:\x03' 'expect:vmblame: .*kept' -- \
		"$VMBLAME" record -o "$R" --force -- sh -c 'echo begun; exec sleep 100'
	ctrl_status=$?
	[ $ctrl_status -eq 130 ] && whole "$R" || { echo "exit $ctrl_status"; cat "$tmp/tty"; return 1; }
}
check "Ctrl-C that kills the VMM: 130, and a whole trace" ctrl_c_death

own_line() {
	terminal expect:ready send:oq 'expect:open\r\nvmblame: .*kept' -- \
		"$VMBLAME" record -o "$R" --force -- $QEMU -serial stdio
	[ $? -eq 33 ] || { cat "$tmp/tty"; return 1; }
	terminal expect:ready send:wq 'expect:wrote\r*\nvmblame: .*kept' -- \
		"$VMBLAME" record -o "$R" --force -- $QEMU -serial stdio
	[ $? -eq 33 ] || { cat "$tmp/tty"; return 1; }
}
check "our lines begin a line of their own where the guest left one open" own_line

# Signals to the recorder alone.
for signal in TERM INT HUP; do
	passed_on() {
		guest_begin "$VMBLAME" record --watch $WATCH -o "$R" --force -- $QEMU $SERIAL
		guest_says 1 ready && guest_told w && guest_says 1 wrote || return 1
		qemu=$(qemu_of $guest)
		[ -n "$qemu" ] && kill -s $signal $guest
		guest_ended 0 && gone "$qemu" && summary && whole "$R" &&
			"$VMBLAME" who "$R" 0x10000+4 | grep -q WRITTEN-BY
	}
	check "SIG$signal to the recorder ends the VMM; the trace is whole" passed_on
done
passed_to_any() {
	guest_begin "$VMBLAME" record -o "$R" --force -- sh -c 'trap "kill \$!; echo term; exit 11" TERM
		sleep 100 &
		echo ready; wait'
	guest_says 1 ready && kill $guest && guest_ended 11 && said 1 term
}
check "SIGTERM reaches a VMM that has made no VM" passed_to_any
finish
