#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Where output goes: files that exist, full disks, closed and broken pipes, colour.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

T=$tmp/t.vmb
answers_make "$T" || { not_ok "gen_answers"; finish; }

# full COMMAND...: with stdout on a full device: exit 1 and one line.
full() {
	"$@" >/dev/full 2>"$tmp/err" </dev/null
	status=$?
	[ $status -eq 1 ] && one_line && grep -q 'No space left' "$tmp/err" || {
		echo "exit $status"
		cat "$tmp/err"
		return 1
	}
}
closed() {
	"$@" 2>"$tmp/err" </dev/null >&-
	status=$?
	[ $status -eq 1 ] && one_line || { echo "exit $status"; cat "$tmp/err"; return 1; }
}
for command in $READERS; do
	check "$command: stdout on a full device" full reader $command "$T"
	check "$command: stdout closed" closed reader $command "$T"
	stdin_closed() { reader $command "$T" >"$tmp/a" 2>"$tmp/err" <&-; [ ! -s "$tmp/err" ] && [ -s "$tmp/a" ]; }
	[ $command = history ] || check "$command: stdin closed" stdin_closed
done
check "who --json: stdout on a full device" full "$VMBLAME" who --json "$T" 0x1000+256
check "show --raw: stdout on a full device" full "$VMBLAME" show --raw "$T" 0x1008+8
check "manual: stdout on a full device" full "$VMBLAME" manual
check "completion: stdout on a full device" full "$VMBLAME" completion bash
check "check: stdout on a full device" full "$VMBLAME" check
check "help: stdout on a full device" full "$VMBLAME" help
check "who -h: stdout on a full device" full "$VMBLAME" who -h
check "--version: stdout on a full device" full "$VMBLAME" --version

all_closed() {
	for command in $READERS; do
		reader $command "$T" <&- >&- 2>&-
		[ $? -eq 1 ] || { echo "$command: exit $?"; return 1; }
	done
	answers_make "$tmp/again.vmb" && cp "$T" "$tmp/copy.vmb" && [ "$(stat -c %s "$T")" = \
		"$(stat -c %s "$tmp/again.vmb")" ]
}
check "everything closed: exit 1, the trace as it was" all_closed

broken_pipe() {
	# head goes away at once: the command ends with an error of its own, not by a signal.
	{
		"$VMBLAME" show "$T" --raw --fill 0 0..16M 2>"$tmp/err"
		echo $? >"$tmp/status"
	} | head -c 10 >/dev/null
	[ "$(cat "$tmp/status")" = 1 ] && one_line && grep -q 'Broken pipe' "$tmp/err"
}
check "a reader that goes away: one line, exit 1" broken_pipe

# export -o
X=$tmp/x.json
export_to() { "$VMBLAME" export "$T" --format json "$@"; }
export_file() {
	quiet_run 0 export_to -o "$X" && [ ! -s "$tmp/out" ] && export_to >"$tmp/stdout.json" &&
		cmp "$X" "$tmp/stdout.json"
}
check "export -o FILE: the same as on stdout" export_file
export_dash() { export_to -o - | cmp - "$tmp/stdout.json"; }
check "export -o -: stdout" export_dash
export_exists() {
	printf mine >"$X"
	refused 1 "x.json.*--force" export_to -o "$X" && [ "$(cat "$X")" = mine ]
}
check "export -o on a file that exists: refused, the file kept" export_exists
export_force() { quiet_run 0 export_to -o "$X" --force && cmp "$X" "$tmp/stdout.json"; }
check "export -o --force" export_force
export_bad_trace() {
	printf mine >"$X"
	run 1 "$VMBLAME" export "$tmp/missing.vmb" --force -o "$X" && one_line && [ "$(cat "$X")" = mine ]
}
check "export --force of a trace that is not there: the file kept" export_bad_trace
refuses "export -o in a directory that does not exist" 1 "nowhere" export_to -o "$tmp/nowhere/x.json"
refuses "export -o on a directory" 1 "Is a directory" export_to --force -o "$tmp"
refuses "export -o on a full device" 1 "No space left" export_to -o /dev/full
itself() {
	cp "$T" "$tmp/itself.vmb"
	run 1 "$VMBLAME" export "$tmp/itself.vmb" --force -o "$tmp/itself.vmb"
	cmp "$T" "$tmp/itself.vmb"
}
check "export --force onto the trace itself: not destroyed" itself

# Colour only on a terminal, and NO_COLOR is obeyed.
coloured() { grep -q "$(printf '\033')\\[" "$1"; }
unset NO_COLOR
no_colour_in_pipe() {
	for command in $READERS; do
		reader $command "$T" 2>&1 | cat >"$tmp/out"
		! coloured "$tmp/out" || { echo $command; return 1; }
	done
}
check "no colour in a pipe" no_colour_in_pipe
if command -v script >/dev/null; then
	on_terminal() { script -qec "'$VMBLAME' $*" /dev/null </dev/null >"$tmp/tty"; }
	colour_on_terminal() { on_terminal who "$T" 0x1008+8 && coloured "$tmp/tty"; }
	check "colour on a terminal" colour_on_terminal
	no_color() { NO_COLOR=1 on_terminal who "$T" 0x1008+8 && ! coloured "$tmp/tty"; }
	check "NO_COLOR on a terminal" no_color
	empty_no_color() { NO_COLOR= on_terminal who "$T" 0x1008+8 && coloured "$tmp/tty"; }
	check "an empty NO_COLOR does not count" empty_no_color
	json_on_terminal() { on_terminal who --json "$T" 0x1008+8 && ! coloured "$tmp/tty"; }
	check "no colour in JSON on a terminal" json_on_terminal
else
	skip "colour on a terminal" "script (bsdutils)"
fi
finish
