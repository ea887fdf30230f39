# SPDX-License-Identifier: GPL-2.0-or-later
# What the shell tests share: ok/not ok lines, a scratch directory, the programs under test.
# Source it with `. "$(dirname "$0")/../lib.sh"`; the working directory is the top of the tree.

cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
VMBLAME=$PWD/$B/vmblame
GUESTS=$PWD/$B/guests
# How many times longer all may take here, set by the launcher of nested hosts; and its host's name.
SLOW=${VMBLAME_SLOW:-1}
HOST=${VMBLAME_HOST-}
export NO_COLOR=1
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmblame-test.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 143' HUP TERM
test_number=0
test_failed=0

ok() {
	test_number=$((test_number + 1))
	echo "ok $test_number - $*"
}

not_ok() {
	test_number=$((test_number + 1))
	test_failed=1
	echo "not ok $test_number - $*"
}

skip() {
	test_number=$((test_number + 1))
	echo "ok $test_number - $1 # SKIP $2"
}

# not_applicable NAME WHY: a test that this host cannot run, whatever is installed: listed, not counted.
not_applicable() {
	echo "# not applicable: $1: $2"
}

# check NAME COMMAND...: passes when the command does; shows its output when not.
check() {
	name=$1
	shift
	if "$@" >"$tmp/check.log" 2>&1; then
		ok "$name"
	else
		not_ok "$name"
		sed 's/^/# /' "$tmp/check.log" | tail -20
	fi
}

# run STATUS COMMAND...: runs with output to $tmp/out and $tmp/err; true when it exits like that.
run() {
	want=$1
	shift
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	[ "$status" -eq "$want" ] && return 0
	echo "exit status $status, not $want: $*"
	tail -n 5 "$tmp/out" "$tmp/err"
	return 1
}

# one_line: exactly one line on stderr, and it is ours.
one_line() {
	[ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q '^vmblame: ' "$tmp/err" && return 0
	echo "stderr is not one line of ours:"
	cat "$tmp/err"
	return 1
}

finish() {
	echo "1..$test_number"
	exit "$test_failed"
}

# What a live test needs; says what is missing.
live_lacks() {
	[ "$(id -u)" = 0 ] || { echo "root"; return 0; }
	[ -w /dev/kvm ] || { echo "/dev/kvm"; return 0; }
	[ -r /sys/kernel/btf/vmlinux ] || { echo "BTF"; return 0; }
	command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64"; return 0; }
	return 1
}
