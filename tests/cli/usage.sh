#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Commands, options and help: what is accepted, what is refused, and where it is said.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

COMMANDS="record check who history show info verify export completion manual"

no_arguments() {
	run 2 "$VMBLAME" && [ ! -s "$tmp/out" ] && grep -q '^usage: vmblame COMMAND' "$tmp/err"
}
check "no command: the help on stderr, exit 2" no_arguments

help_overview() {
	quiet_run 0 "$VMBLAME" "$1" || return 1
	for command in $COMMANDS; do
		grep -q "^  $command " "$tmp/out" || { echo "$command is missing"; return 1; }
	done
}
check "help: every command, on stdout" help_overview help
check "--help: the same" help_overview --help
check "-h: the same" help_overview -h

version() {
	quiet_run 0 "$VMBLAME" --version &&
		grep -qE '^vmblame [0-9]+\.[0-9]+\.[0-9]+$' "$tmp/out" && [ "$(wc -l <"$tmp/out")" = 1 ]
}
check "--version: one line" version

for command in $COMMANDS; do
	help_command() {
		quiet_run 0 "$VMBLAME" "$command" -h && grep -q "^usage: vmblame $command" "$tmp/out" ||
			return 1
		cp "$tmp/out" "$tmp/short"
		quiet_run 0 "$VMBLAME" "$command" --help && cmp "$tmp/short" "$tmp/out" || return 1
		quiet_run 0 "$VMBLAME" help "$command" && cmp "$tmp/short" "$tmp/out" || return 1
		! awk 'length > 100 { print "too long: " $0; found = 1 } END { exit !found }' "$tmp/out"
	}
	check "$command: -h, --help and help $command say the same" help_command
	refuses "$command: an unknown option" 2 "no such option: --nonsense" \
		"$VMBLAME" "$command" --nonsense
	refuses "$command: an unknown letter" 2 "no such option: -Z" "$VMBLAME" "$command" -Z
done

for command in $READERS; do
	json_in_help() { "$VMBLAME" "$command" -h | grep -q -e json; }
	check "$command: its help tells of JSON" json_in_help
done
exits_in_help() {
	"$VMBLAME" record -h | grep -q '125' && "$VMBLAME" record -h | grep -q '127' &&
		"$VMBLAME" who -h | grep -q '3 when'
}
check "the exit codes are in the help of record and who" exits_in_help

refuses "an unknown command" 2 "no such command: whom" "$VMBLAME" whom
refuses "an empty command" 2 "no such command" "$VMBLAME" ""
refuses "an unknown option before the command" 2 "." "$VMBLAME" --nonsense
refuses "help for an unknown command" 2 "no such command: whom" "$VMBLAME" help whom

refuses "an option without its value" 2 "-n\|--count" "$VMBLAME" who 0x1000 -n
refuses "an option without its value (long)" 2 "--before" "$VMBLAME" who 0x1000 --before
refuses "a value for a flag" 2 "--json" "$VMBLAME" who --json=yes 0x1000
refuses "who: no range" 2 "RANGE" "$VMBLAME" who
refuses "history: no range" 2 "RANGE" "$VMBLAME" history
refuses "show: no range" 2 "RANGE" "$VMBLAME" show
refuses "who: too many operands" 2 "too many" "$VMBLAME" who a.vmb 0x1000 0x2000
refuses "info: too many operands" 2 "too many" "$VMBLAME" info a.vmb b.vmb
refuses "export: too many operands" 2 "too many" "$VMBLAME" export a.vmb b.vmb
refuses "check: two operands" 2 "operand" "$VMBLAME" check a b
refuses "manual: an operand" 2 "operand" "$VMBLAME" manual me
refuses "completion: no shell" 2 "bash" "$VMBLAME" completion
refuses "completion: an unknown shell" 2 "bash" "$VMBLAME" completion ksh

T=$GOLDEN/stos.vmb
for n in 0 -1 1x '' 99999999999999999999 1.5; do
	refuses "who: -n '$n'" 2 "-n" "$VMBLAME" who "$T" 0xb8000 -n "$n"
done
for t in '' '#' '#x' '#-1' -1s 1e9; do
	bad_time() { refused 2 . "$VMBLAME" who "$T" 0xb8000 --before "$t" ||
		refused 1 . "$VMBLAME" who "$T" 0xb8000 --before "$t"; }
	check "who: --before '$t' is refused in one line" bad_time
done
refuses "who: a mark that is not there" 1 "neither a time nor a mark" \
	"$VMBLAME" who "$T" 0xb8000 --before nowhere
refuses "show: --at a mark that is not there" 1 "neither a time nor a mark" \
	"$VMBLAME" show "$T" 0xb8000 --at nowhere
refuses "who: an event beyond the last" 1 "no event #99999999" \
	"$VMBLAME" who "$T" 0xb8000 --before '#99999999'
refuses "show: --raw with --json" 2 "exclude" "$VMBLAME" show "$T" --raw --json 0xb8000
refuses "show: --fill without --raw" 2 "--raw" "$VMBLAME" show "$T" --fill 0 0xb8000
for byte in 256 0x100 -1 x ''; do
	refuses "show: --fill '$byte'" 2 "not a byte" "$VMBLAME" show "$T" --raw --fill "$byte" 0xb8000
done
refuses "export: an unknown format" 2 "no such format: xml" "$VMBLAME" export "$T" --format xml
refuses "export: an unknown kind" 2 "no such kind" "$VMBLAME" export "$T" --kinds mmio,nonsense
refuses "who: --symbols that is not there" 1 "nowhere.elf" \
	"$VMBLAME" who "$T" 0xb8000 --symbols "$tmp/nowhere.elf"
refuses "who: --symbols that is no ELF file" 1 "usage.sh" \
	"$VMBLAME" who "$T" 0xb8000 --symbols tests/cli/usage.sh

# Options may come before, behind and among the operands, long ones with = or a blank.
spellings() {
	"$VMBLAME" who "$T" 0xb8000+2 -n 2 --json >"$tmp/a" || [ $? -eq 3 ]
	for line in "who --json -n 2 $T 0xb8000+2" "who -n2 $T --json 0xb8000+2" \
		"who --count=2 $T 0xb8000+2 --json" "who $T --count 2 0xb8000+2 --json"; do
		"$VMBLAME" $line >"$tmp/b" 2>&1
		cmp "$tmp/a" "$tmp/b" || { echo "differs: $line"; return 1; }
	done
}
check "options in any place and spelling" spellings
finish
