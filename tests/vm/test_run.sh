#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The launcher of nested hosts: what it passes through, what it says when a run cannot finish, and that
# it leaves nothing behind.
. "$(dirname "$0")/../lib.sh"
RUN=$PWD/tests/vm/run
KERNEL=6.12
mkdir "$tmp/scratch"
export B TMPDIR="$tmp/scratch"

[ "$(id -u)" = 0 ] || { not_applicable "nested hosts" "needs root"; finish; }
command -v dpkg-deb >/dev/null || { not_applicable "nested hosts" "Debian's kernels come by apt"; finish; }

# clean: no process, mount or file of a nested host is left. Ours have $tmp in their command lines.
clean() {
	[ -z "$(ls -A "$tmp/scratch")" ] || { ls -R "$tmp/scratch"; return 1; }
	! grep -F "$tmp/scratch" /proc/mounts || return 1
	! pgrep -af "$tmp/scratch/vmblame-vm" || return 1
}
# ends STATUS PATTERN ARGUMENTS...: the launcher does, with such a line of its own; nothing is left.
ends() {
	ends_pattern=$2
	ends_want=$1
	shift 2
	run "$ends_want" "$RUN" "$@" || return 1
	grep -q "^vm: .*$ends_pattern" "$tmp/err" || { echo "no '$ends_pattern':"; cat "$tmp/err"; return 1; }
	clean
}

through() {
	run 7 "$RUN" $KERNEL -- sh -c 'echo "to stdout"; echo "to stderr" >&2; exit 7' || return 1
	[ "$(cat "$tmp/out")" = "to stdout" ] && [ "$(cat "$tmp/err")" = "to stderr" ] && clean || {
		cat "$tmp/out" "$tmp/err"
		return 1
	}
}
check "exit status, stdout and stderr are passed through, each by itself" through
# One boot for what can be seen from the inside.
cat >"$tmp/inside" <<-'EOF'
	#!/bin/sh
	printf '<%s>' "$@"; echo
	echo "kernel $(uname -r)"
	echo "npt $(cat /sys/module/kvm_amd/parameters/npt)"
	echo "thp $(cat /sys/kernel/mm/transparent_hugepage/enabled)"
	echo "directory $PWD"
	echo "host $VMBLAME_HOST slow $VMBLAME_SLOW B $B given $GIVEN"
	echo "stdin $(wc -c)"
	echo gone >"$0.new" && echo "written $(cat "$0.new")"
	echo kept >"$KEEP/kept"
	[ -w /dev/kvm ] && echo kvm
	tail -f /dev/null &
	head -c 3000000 /dev/zero | tr '\0' x
EOF
chmod 755 "$tmp/inside"
inside() {
	mkdir "$tmp/keep"
	GIVEN='a b' run 0 "$RUN" --env GIVEN --env "KEEP=$tmp/keep" --out "$tmp/keep" $KERNEL:npt=0 -- \
		"$tmp/inside" 'a b' '' '*' && cp "$tmp/out" "$tmp/told" && clean
}
check "a command that leaves a process behind ends all the same" inside
has() { grep -qxF -e "$1" "$tmp/told" || { head -c 2000 "$tmp/told"; return 1; }; }
check "arguments arrive as they are" has '<a b><><*>'
check "the kernel asked for" grep -q "^kernel $(echo $KERNEL | sed 's/\./\\./')\\." "$tmp/told"
check "shadow paging when asked for" has "npt N"
check "no transparent huge pages" has "thp always madvise [never]"
check "the same directory" has "directory $PWD"
check "its name, its pace, the variables passed on" \
	has "host $KERNEL-npt0 slow ${VMBLAME_SLOW:-8} B $B given a b"
check "stdin is empty" has "stdin 0"
check "KVM is there" has "kvm"
check "all of a long output" test "$(tail -n 1 "$tmp/told" | wc -c)" -eq 3000000
check "it may write wherever it likes" has "written gone"
check "and that is gone" test ! -e "$tmp/inside.new"
check "but for --out" test "$(cat "$tmp/keep/kept")" = kept

# begin SCRIPT OPTIONS...: a nested host runs it, after it has said so. $launcher is the launcher's process.
begin() {
	begin_script=$1
	shift
	: >"$tmp/begun"
	"$RUN" "$@" $KERNEL -- sh -c "echo begun; $begin_script" >"$tmp/begun" 2>"$tmp/err" &
	launcher=$!
	begin_left=1200
	until grep -q begun "$tmp/begun"; do
		begin_left=$((begin_left - 1))
		[ $begin_left -gt 0 ] && kill -0 $launcher || { cat "$tmp/err"; return 1; }
		sleep 0.1
	done
}
stays='exec tail -f /dev/null'

# What it said before has arrived when it panics: a pipe's contents go with the kernel.
panics() {
	mkdir "$tmp/go"
	begin "until [ -e '$tmp/go/now' ]; do :; done; echo c >/proc/sysrq-trigger" --out "$tmp/go" || return 1
	: >"$tmp/go/now"
	wait $launcher
	[ $? -eq 125 ] && grep -q '^vm: .*ended under the command' "$tmp/err" &&
		grep -q '^vm: kernel.log: .*Kernel panic' "$tmp/err" && clean || { cat "$tmp/err"; return 1; }
}
check "a nested kernel that panics: 125, and the end of its log" panics
hangs() {
	ends 124 "not done after 40 s" --timeout 40 $KERNEL -- \
		sh -c 'echo before; echo "<1>hanging now" >/dev/kmsg; exec tail -f /dev/null' &&
		grep -q '^vm: kernel.log: .*hanging now' "$tmp/err" && [ "$(cat "$tmp/out")" = before ]
}
check "a command that hangs: 124, and the end of the kernel's log" hangs
check "a command that cannot be run: 127" run 127 "$RUN" $KERNEL -- no-such-command
check "no such kernel: 125" ends 125 "no kernel 1.0" 1.0 -- true
check "no such host: 125" ends 125 "no such host: '6.12:npt=2'" 6.12:npt=2 -- true
check "no command: 125" ends 125 "no command" $KERNEL --
check "no such option: 125" ends 125 "unrecognized" --no-such-option $KERNEL -- true
help() { run 0 "$RUN" -h && grep -q -e '--timeout' "$tmp/out" && grep -q ' 125 ' "$tmp/out"; }
check "-h" help

# SIGINT is ignored in what a shell without job control puts into the background: that comes by Ctrl-C.
for signal in TERM HUP; do
	signalled() {
		begin "$stays" && kill -s $signal $launcher
		wait $launcher
		signal_status=$?
		[ "$(kill -l $signal_status)" = $signal ] || { echo "status $signal_status"; return 1; }
		clean
	}
	check "SIG$signal: nothing is left" signalled
done
interrupted() {
	/usr/bin/python3 tests/cli/terminal.py expect:begun 'send:\x03' -- \
		"$RUN" $KERNEL -- sh -c "echo begun; $stays" >"$tmp/tty" 2>&1
	[ $? -eq 130 ] && clean || { cat "$tmp/tty"; return 1; }
}
check "Ctrl-C: nothing is left" interrupted
daemon_dies() {
	begin "$stays" || return 1
	kill "$(pgrep -f "virtiofsd.*source=$tmp/scratch/vmblame-vm[^/]*/root ")"
	wait $launcher
	[ $? -eq 125 ] && grep -q '^vm: ' "$tmp/err" && clean || { cat "$tmp/err"; return 1; }
}
check "virtiofsd dies: 125" daemon_dies
killed() {
	begin "$stays" || return 1
	qemu=$(pgrep -f "qemu-system.*$tmp/scratch/vmblame-vm") && kill -9 $launcher || return 1
	wait $launcher
	# The kernel ends them; that they are gone is a matter of moments.
	wait_gone() { ! pgrep -f "$tmp/scratch/vmblame-vm" >/dev/null; }
	tail --pid="$qemu" -f /dev/null
	killed_left=100
	until wait_gone; do
		killed_left=$((killed_left - 1))
		[ $killed_left -gt 0 ] || { pgrep -af "$tmp/scratch/vmblame-vm"; return 1; }
		sleep 0.1
	done
	! grep -F "$tmp/scratch" /proc/mounts
}
check "SIGKILL: no process and no mount is left" killed
finish
