#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The VMM's life as seen from the command line: what cannot be run, exit statuses, the output file.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "record's files and exit statuses"

mkdir "$tmp/here" && cd "$tmp/here" || exit 1
mkdir "$tmp/dir" && printf '#!/bin/sh\n' >"$tmp/plain" && printf 'nonsense' >"$tmp/noexec" &&
	printf '#!/nowhere/interpreter\n' >"$tmp/badshebang" && chmod 755 "$tmp/noexec" "$tmp/badshebang"
ln -s "$tmp/nowhere" "$tmp/dangling"

# refused_untouched STATUS PATTERN VMM...: with every way to name the trace; nothing is left or lost.
refused_untouched() {
	status_want=$1 pattern_want=$2
	shift 2
	rm -f ./*
	refused "$status_want" "$pattern_want" "$VMBLAME" record -- "$@" && [ -z "$(ls)" ] || { ls; return 1; }
	refused "$status_want" "$pattern_want" "$VMBLAME" record -o new.vmb -- "$@" && [ -z "$(ls)" ] || return 1
	printf older >vmblame.vmb && printf oldest >vmblame.vmb.old && printf mine >mine.vmb
	refused "$status_want" "$pattern_want" "$VMBLAME" record -- "$@" || return 1
	[ "$(cat vmblame.vmb)" = older ] || { echo "vmblame.vmb is not as it was"; ls; return 1; }
	[ "$(cat vmblame.vmb.old)" = oldest ] || { echo "vmblame.vmb.old is not as it was"; ls; return 1; }
	refused "$status_want" "$pattern_want" "$VMBLAME" record --force -o mine.vmb -- "$@" || return 1
	[ "$(cat mine.vmb)" = mine ] || { echo "mine.vmb was destroyed for nothing"; return 1; }
}
check "a VMM that does not exist: 127" refused_untouched 127 "no-such-vmm" no-such-vmm -m 64
check "a VMM that does not exist, a path: 127" refused_untouched 127 "No such file" "$tmp/nowhere"
check "a VMM below what is no directory" refused_untouched 126 "Not a directory" "$tmp/plain/qemu"
check "an empty name: 127" refused_untouched 127 "." ""
check "a dangling link: 127" refused_untouched 127 "No such file" "$tmp/dangling"
check "not executable: 126" refused_untouched 126 "Permission denied" "$tmp/plain"
check "a directory: 126" refused_untouched 126 "Permission denied\|Is a directory" "$tmp/dir"
check "no program in it: 126" refused_untouched 126 "noexec" "$tmp/noexec"
check "a script whose interpreter is missing: 127" refused_untouched 127 "badshebang" "$tmp/badshebang"
rm -f ./*

passes() {
	pass_want=$1
	shift
	rm -f ./*
	run "$pass_want" "$VMBLAME" record "$@" && summary && whole vmblame.vmb
}
check "exit 0 is passed through" passes 0 -- true
check "exit 7" passes 7 -- sh -c 'exit 7'
check "exit 125 of the VMM's own" passes 125 -- sh -c 'exit 125'
check "exit 255" passes 255 -- sh -c 'exit 255'
check "killed by SIGKILL: 137" passes 137 -- sh -c 'kill -9 $$'
check "killed by SIGSEGV: 139" passes 139 -- sh -c 'ulimit -c 0; kill -SEGV $$'
check "killed by SIGTERM: 143" passes 143 -- sh -c 'kill $$'
no_vm_told() {
	rm -f ./*
	run 0 "$VMBLAME" record -- true && grep -q 'no KVM virtual machine' "$tmp/err"
}
check "a VMM that makes no VM: the summary says so" no_vm_told
quiet() { rm -f ./* && quiet_run 7 "$VMBLAME" record -q -- sh -c 'exit 7' && whole vmblame.vmb; }
check "-q: no closing lines" quiet
arguments() {
	rm -f ./*
	run 0 "$VMBLAME" record -q -- printf '<%s>' 'a b' '' -o --force -- '*' &&
		[ "$(cat "$tmp/out")" = '<a b><><-o><--force><--><*>' ]
}
check "the VMM's arguments arrive as they are" arguments
in_info() {
	"$VMBLAME" info >"$tmp/info" && grep -qF "'<%s>' 'a b' '' -o --force -- '*'" "$tmp/info"
}
check "and are in info as a shell would take them" in_info
environment() {
	rm -f ./*
	FOO='a b' run 0 "$VMBLAME" record -q -- sh -c 'printf "%s|%s|%s|%s" "$FOO" "$PWD" "$(umask)" "$(ulimit -n)"' &&
		[ "$(cat "$tmp/out")" = "a b|$PWD|$(umask)|$(ulimit -n)" ] || { cat "$tmp/out"; return 1; }
}
check "environment, directory, umask, limits are the caller's" environment
open_fds() { sed -n 's/.* \([0-9]*\) -> .*/\1/p' "$tmp/out" | sort -n | tr '\n' ' '; }
descriptors() {
	rm -f ./*
	run 0 ls -l /proc/self/fd && without=$(open_fds) &&
		run 0 "$VMBLAME" record -q -- ls -l /proc/self/fd && with=$(open_fds) || return 1
	[ "$with" = "$without" ] || { echo "$with, not $without"; return 1; }
	exec 7<"$VMBLAME"
	run 0 "$VMBLAME" record -q -o seven.vmb -- ls -l /proc/self/fd/7
	seven=$?
	exec 7<&-
	return $seven
}
check "no descriptor of ours leaks, none of the caller's is missing" descriptors
signals() {
	rm -f ./*
	run 0 "$VMBLAME" record -q -- sh -c 'grep -E "^Sig(Blk|Ign)" /proc/self/status' || return 1
	cp "$tmp/out" "$tmp/with"
	sh -c 'grep -E "^Sig(Blk|Ign)" /proc/self/status' </dev/null >"$tmp/without"
	diff "$tmp/without" "$tmp/with"
}
check "signals are as the caller has them" signals

# The output file.
mode_of() { stat -c %a "$1"; }
rotate() {
	rm -f ./*
	run 0 "$VMBLAME" record -q -- true && run 0 "$VMBLAME" record -q -- sh -c ': second' &&
		run 0 "$VMBLAME" record -q -- sh -c ': third' || return 1
	[ "$(ls | tr '\n' ' ')" = "vmblame.vmb vmblame.vmb.old " ] && whole vmblame.vmb.old &&
		"$VMBLAME" info | grep -q third && "$VMBLAME" info vmblame.vmb.old | grep -q second
}
check "an older vmblame.vmb becomes vmblame.vmb.old" rotate
mode() { [ "$(mode_of vmblame.vmb)" = 600 ]; }
check "the file is 0600" mode
mode_umask() {
	rm -f ./*
	(umask 0 && "$VMBLAME" record -q -o o.vmb -- true) && [ "$(mode_of o.vmb)" = 600 ]
}
check "whatever the umask" mode_umask
exists() {
	rm -f ./*
	printf 'someone else'"'"'s work' >o.vmb
	chmod 644 o.vmb
	touch -d 2001-01-01 o.vmb
	stat -c '%i %a %s %y' o.vmb >"$tmp/stat"
	refused 125 "o.vmb.*--force" "$VMBLAME" record -o o.vmb -- touch ran &&
		[ "$(stat -c '%i %a %s %y' o.vmb)" = "$(cat "$tmp/stat")" ] && [ ! -e ran ]
}
check "-o on a file that exists: 125, kept byte for byte, the VMM not run" exists
force() {
	run 0 "$VMBLAME" record -q --force -o o.vmb -- true && whole o.vmb && [ "$(mode_of o.vmb)" = 600 ]
}
check "--force overwrites it, 0600" force
force_new() { run 0 "$VMBLAME" record -q --force -o new.vmb -- true && whole new.vmb; }
check "--force without a file there" force_new
symlink() {
	rm -f ./*
	printf mine >victim && ln -s victim o.vmb
	run 0 "$VMBLAME" record -q --force -o o.vmb -- true
	[ "$(cat victim)" = mine ]
}
check "--force does not write through a link" symlink
dangling() {
	rm -f ./*
	ln -s elsewhere o.vmb
	"$VMBLAME" record -q -o o.vmb -- true >/dev/null 2>"$tmp/err"
	[ $? -eq 125 ] && one_line && [ ! -e elsewhere ]
}
check "-o on a dangling link: refused, nothing made behind it" dangling
rm -f ./*
refuses "-o in a directory that does not exist: 125" 125 "nowhere/o.vmb.*No such file" \
	"$VMBLAME" record -o nowhere/o.vmb -- touch ran
refuses "-o on a directory: 125" 125 "directory" "$VMBLAME" record -o "$tmp/dir" -- touch ran
refuses "-o on a directory with --force: 125" 125 "directory" "$VMBLAME" record --force -o "$tmp/dir" -- touch ran
check "none of those ran the VMM" test ! -e ran -a -d "$tmp/dir"
default_is_directory() {
	rm -rf ./* && mkdir vmblame.vmb && mkdir vmblame.vmb.old && : >vmblame.vmb.old/x
	refused 125 "vmblame.vmb" "$VMBLAME" record -- touch ran
	directory_status=$?
	[ -d vmblame.vmb ] && [ ! -e ran ] && rm -rf ./* && return $directory_status
}
check "vmblame.vmb is a directory that cannot be moved: 125" default_is_directory

# Nowhere to write to: one clear error and 125. What is seen at once stops the VMM from being run, like
# any other -o that cannot be written; when it comes later the guest finishes.
firmware_make || not_ok "the guest's firmware"
many=$(printf '%2000s' | tr ' ' w)mq
full() {
	record_told "$many" -o /dev/full $1 -- $QEMU $SERIAL
	full_status=$?
	[ $full_status -eq 125 ] && [ "$(grep -c 'No space left' "$tmp/err")" = 1 ] && [ -c /dev/full ] &&
		[ "$(grep -c '^vmblame:' "$tmp/err")" -le 4 ] || {
		echo "exit $full_status"
		cat "$tmp/err"
		return 1
	}
	[ ! -s "$tmp/out" ] || [ "$(grep -c wrote "$tmp/out")" = 2000 ] || { tail -n 3 "$tmp/out"; return 1; }
}
check "-o /dev/full: one error, 125" full
check "-o /dev/full with --watch" full "--watch $WATCH"
# finished STATUS MESSAGE: 125, the message once, and the guest did all of its work.
finished() {
	[ "$1" -eq 125 ] && [ "$(grep -c wrote "$tmp/out")" = 2000 ] && grep -q milestone "$tmp/out" &&
		[ "$(grep -c "$2" "$tmp/err")" = 1 ] && grep -q 'the VM goes on' "$tmp/err" && return 0
	echo "exit $1"
	tail -n 3 "$tmp/out"
	cat "$tmp/err"
	return 1
}
if unshare -m true 2>/dev/null; then
	small_disk() {
		mkdir -p "$tmp/small"
		printf %s "$many" | timeout $((60 * SLOW)) unshare -m sh -c \
			'mount -t tmpfs -o size=4k none "$1"; shift; exec "$@"' sh "$tmp/small" \
			"$VMBLAME" record -o "$tmp/small/o.vmb" --ring-size 64K -- $QEMU $SERIAL \
			>"$tmp/out" 2>"$tmp/err"
		finished $? "No space left"
	}
	check "a disk that fills up: the same" small_disk
	limit() {
		rm -f ./*
		{
			printf %s "$many" | (ulimit -f 2; exec timeout $((60 * SLOW)) "$VMBLAME" record -o limited.vmb \
				--watch $WATCH -- $QEMU $SERIAL) 2>"$tmp/err"
			echo $? >"$tmp/status"
		} | cat >"$tmp/out"
		limit_status=$(cat "$tmp/status")
		finished $limit_status "File too large"
	}
	check "a file size limit: the same" limit
fi
closed_output() {
	rm -f ./*
	mkfifo out.fifo
	head -c 10 <out.fifo >/dev/null &
	record_told "$many" --force -o out.fifo -- $QEMU $SERIAL
	closed_status=$?
	wait $!
	finished $closed_status "Broken pipe"
}
check "an output that is closed at the other end: the guest finishes, 125" closed_output
stderr_closed() {
	rm -f ./*
	printf 'wq' | timeout $((60 * SLOW)) "$VMBLAME" record -o o.vmb -- $QEMU $SERIAL >"$tmp/out" 2>&-
	[ $? -eq 33 ] && grep -q wrote "$tmp/out" && whole o.vmb
}
check "stderr closed: the messages do not end up in the trace" stderr_closed
stderr_full() {
	rm -f ./*
	printf 'wq' | timeout $((60 * SLOW)) "$VMBLAME" record -o o.vmb -- $QEMU $SERIAL >"$tmp/out" 2>/dev/full
	[ $? -eq 33 ] && grep -q wrote "$tmp/out" && whole o.vmb
}
check "stderr on a full device: the recording does not mind" stderr_full
stdin_closed() {
	rm -f ./*
	"$VMBLAME" record -o o.vmb -- sh -c 'ls /proc/self/fd' <&- >"$tmp/out" 2>"$tmp/err" && whole o.vmb
}
check "stdin closed" stdin_closed
finish
