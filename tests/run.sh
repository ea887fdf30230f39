#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs test programs one after the other and counts. Each prints one line a test, in the manner of the
# Test Anything Protocol: "ok ...", "not ok ...", "ok ... # SKIP why"; and for what this host cannot
# run "# not applicable: NAME: why", which is listed and not counted (exit status 77: all of it, for
# what the last line says). What else it prints is shown only when something failed. A program that
# fails without saying so counts as one failure.
#
# TEST_TIMEOUT: seconds that a program has.
#
#	tests/run.sh PROGRAM...		the last line is: N passed, N failed, N skipped
set -u

export CMOCKA_MESSAGE_OUTPUT=TAP
TEST_TIMEOUT=${TEST_TIMEOUT:-1500}
passed=0 failed=0 skipped=0
log=$(mktemp)
child=
trap 'rm -f "$log"' EXIT
# timeout passes it on to all that the program started.
trap '[ -z "$child" ] || { kill "$child" && wait "$child"; }; exit 143' HUP INT TERM
# A test that hangs is a failure, not a CI that hangs.
for program in "$@"; do
	start=$(date +%s)
	timeout -k 10 "$TEST_TIMEOUT" "$program" >"$log" 2>&1 </dev/null &
	child=$!
	wait "$child"
	status=$?
	child=
	if [ $status -eq 77 ]; then
		echo "# not applicable: $program: $(tail -n 1 "$log")" >>"$log"
		status=0
	fi
	s=$(grep -cE '^ok .*# SKIP' "$log")
	p=$(grep -cE '^ok ' "$log")
	f=$(grep -cE '^not ok ' "$log")
	p=$((p - s))
	[ $status -ne 0 ] && [ "$f" -eq 0 ] && f=1
	[ $((p + f + s)) -eq 0 ] && ! grep -q '^# not applicable: ' "$log" && f=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '%-44s %4d passed %3d failed %3d skipped %4d s\n' "$program" "$p" "$f" "$s" \
		$(($(date +%s) - start))
	grep -E '^# not applicable: ' "$log" | sed 's/^# /  /'
	if [ "$f" -ne 0 ]; then
		echo "--- $program: exit status $status"
		tail -n "${TEST_TAIL:-60}" "$log"
		echo "---"
	elif [ "$s" -ne 0 ]; then
		grep -E '^ok .*# SKIP' "$log"
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
