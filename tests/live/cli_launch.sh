#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Ways to start QEMU: daemons, wrappers, sandboxes; and VMMs that cannot be watched.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "ways to start QEMU"
firmware_make || { not_ok "the guest's firmware"; finish; }
R=$tmp/r.vmb
fresh() { rm -f "$R"; }

# recorded STATUS: the guest wrote twice and QEMU ended like that; all of it is in the trace.
recorded() {
	[ "$2" -eq "$1" ] && [ "$(grep -c wrote "$tmp/out")" = 2 ] && summary && whole "$R" &&
		"$VMBLAME" who --json "$R" 0x10000+4 | grep -q '"bytes":"02000000"' && return 0
	echo "exit $2, not $1"
	cat "$tmp/out" "$tmp/err"
	return 1
}
plain() { fresh; record_told wwq --watch $WATCH -o "$R" -- $QEMU $SERIAL; recorded 33 $?; }
check "QEMU itself" plain
absolute() {
	fresh
	record_told wwq --watch $WATCH -o "$R" -- "$(command -v qemu-system-x86_64)" ${QEMU#qemu-system-x86_64} $SERIAL
	recorded 33 $?
}
check "by its path" absolute
cat >"$tmp/wrapper" <<-'EOF'
	#!/bin/sh
	"$@"
	echo "QEMU: $?"
	exit 5
EOF
chmod 755 "$tmp/wrapper"
wrapper() {
	fresh
	record_told wwq --watch $WATCH -o "$R" -- "$tmp/wrapper" $QEMU $SERIAL
	wrapper_status=$?
	grep -q '^QEMU: 33$' "$tmp/out" && recorded 5 $wrapper_status
}
check "a wrapper that runs it: the wrapper's status" wrapper
wrapper_execs() { fresh; record_told wwq --watch $WATCH -o "$R" -- env nice -n 1 $QEMU $SERIAL; recorded 33 $?; }
check "a wrapper that becomes it" wrapper_execs
wrapper_zero() {
	fresh
	record_told wwq --watch $WATCH -o "$R" -- sh -c '"$@"; exit 0' sh $QEMU $SERIAL
	recorded 0 $?
}
check "a wrapper that says all was well" wrapper_zero
sandbox() {
	fresh
	record_told wwq --watch $WATCH -o "$R" -- $QEMU $SERIAL \
		-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
	recorded 33 $?
}
check "-sandbox on, everything denied" sandbox
events() {
	fresh
	record_told wwq --mode events -o "$R" -- $QEMU $SERIAL
	[ $? -eq 33 ] && summary && whole "$R" && run 3 "$VMBLAME" who "$R" 0x10000+4 &&
		grep -q 'UNKNOWN not-watched' "$tmp/out"
}
check "--mode events: guest stores are UNKNOWN not-watched" events
pages() {
	fresh
	record_told wwq -o "$R" -- $QEMU $SERIAL
	[ $? -eq 33 ] && summary && whole "$R" && grep -q 'record.mode *pages' "$tmp/out" &&
		run 0 "$VMBLAME" who "$R" 0x10000+1 && grep -q CANDIDATES "$tmp/out"
}
check "without --mode and --watch: pages" pages
preloads() {
	fresh
	library=$(ldconfig -p | sed -n 's/.* => \(.*\/libz\.so.*\)/\1/p' | head -n 1)
	[ -n "$library" ] || library=$(ldconfig -p | sed -n 's/.* => \(.*\/libm\.so.*\)/\1/p' | head -n 1)
	LD_PRELOAD=$library run 0 "$VMBLAME" record -q --watch $WATCH -o "$R" -- sh -c 'echo "$LD_PRELOAD"' &&
		grep -q "^[^:]*libvmblame-agent.so[: ]$library\$" "$tmp/out" || { cat "$tmp/out"; return 1; }
}
check "the caller's own LD_PRELOAD stays" preloads

daemonize() {
	fresh
	rm -f "$tmp/pid" "$tmp"/serial.*
	mkfifo "$tmp/serial.in" "$tmp/serial.out"
	cat "$tmp/serial.out" >"$tmp/guest.out" &
	cat=$!
	"$VMBLAME" record --watch $WATCH -o "$R" -- $QEMU -daemonize -pidfile "$tmp/pid" \
		-serial "pipe:$tmp/serial" </dev/null >"$tmp/daemon.out" 2>"$tmp/err" &
	guest=$!
	exec 9<>"$tmp/serial.in"
	wait_for test -s "$tmp/pid" && guest_says 1 ready || return 1
	kill -0 $guest || { echo "the recorder did not stay"; return 1; }
	qemu=$(cat "$tmp/pid")
	guest_told ww && guest_says 2 wrote && kill -0 $guest && kill -0 "$qemu" || return 1
	guest_told q
	cp "$tmp/err" "$tmp/guest.err"
	wait_for gone $guest || { kill -9 $guest "$qemu"; return 1; }
	exec 9>&-
	wait $guest
	daemon_status=$?
	wait $cat
	cp "$tmp/guest.out" "$tmp/out"
	recorded 33 $daemon_status && gone "$qemu"
}
check "-daemonize: the recorder stays until the daemon ends, and has its status" daemonize
daemonize_fails() {
	fresh
	run 1 "$VMBLAME" record --watch $WATCH -o "$R" -- $QEMU -daemonize -serial "pipe:$tmp/nowhere/x"
}
check "-daemonize that fails: its status" daemonize_fails
bad_option() { fresh; run 1 "$VMBLAME" record --watch $WATCH -o "$R" -- $QEMU -no-such-option && whole "$R"; }
check "QEMU that refuses its command line: its status, a whole trace" bad_option

# VMMs that cannot be watched.
# unwatchable PATTERN VMM...: 125, one line with the pattern, nothing left; without --watch it runs.
unwatchable() {
	fresh
	refused 125 "$1" "$VMBLAME" record --watch $WATCH -o "$R" -- "$2" && [ ! -e "$R" ] || return 1
	refused 125 "--mode pages cannot be used: .*$1" "$VMBLAME" record --mode pages -o "$R" -- "$2" ||
		return 1
	run 4 "$VMBLAME" record -q -o "$R" -- "$2" && one_line && grep -q "events mode.*$1" "$tmp/err" &&
		whole "$R" && grep -q 'record.mode *events' "$tmp/out"
}
cp "$MADE/four" "$MADE/four_static" "$MADE/four_static_pie" "$tmp/" || exit 1
check "statically linked: refused with --watch" unwatchable "static" "$tmp/four_static"
check "static-pie as well" unwatchable "static" "$tmp/four_static_pie"
cp "$tmp/four" "$tmp/setuid" && chown nobody "$tmp/setuid" && chmod u+s,a+rx "$tmp/setuid"
cp "$tmp/four" "$tmp/setgid" && chgrp 65534 "$tmp/setgid" && chmod g+s,a+rx "$tmp/setgid"
chmod 755 "$tmp"
check "set-uid: refused with --watch" unwatchable "set-uid\|setuid\|set-user" "$tmp/setuid"
check "set-gid: refused with --watch" unwatchable "set-gid\|set-uid\|setgid\|set-group" "$tmp/setgid"
if command -v setcap >/dev/null && cp "$tmp/four" "$tmp/caps" && setcap cap_net_raw+ep "$tmp/caps" 2>/dev/null; then
	check "with capabilities of its own: refused with --watch" unwatchable "capabilit" "$tmp/caps"
else
	skip "with capabilities of its own" "setcap (libcap2-bin)"
fi

two_vcpus() {
	fresh
	record_told wwq --watch $WATCH -o "$R" "$@" -- $QEMU $SERIAL -smp 2
	smp_status=$?
	[ $smp_status -eq 33 ] && whole "$R" && run 0 "$VMBLAME" who "$R" 0x10000+4 --json || {
		echo "exit $smp_status"
		cat "$tmp/out" "$tmp/err"
		return 1
	}
}
two_vcpus_turns() {
	two_vcpus && grep -q '"order":"exact"' "$tmp/out" &&
		"$VMBLAME" info "$R" | grep -q 'what vCPUs taking turns'
}
check "-smp 2 with --watch: they take turns, and it is said" two_vcpus_turns
two_vcpus_racy() {
	two_vcpus --racy && grep -q '"order":"racy"' "$tmp/out" &&
		"$VMBLAME" info "$R" | grep -q 'what order of stores uncertain'
}
check "-smp 2 with --watch and --racy: the order is said to be uncertain" two_vcpus_racy
two_vcpus_events() { fresh; record_told wwq -o "$R" -- $QEMU $SERIAL -smp 2; [ $? -eq 33 ] && whole "$R"; }
check "-smp 2 without --watch runs" two_vcpus_events
tcg() {
	fresh
	record_told wwq --watch $WATCH -o "$R" -- $(echo "$QEMU" | sed 's/-accel kvm/-accel tcg/') $SERIAL
	tcg_status=$?
	grep -q 'no KVM virtual machine' "$tmp/err" || { echo "exit $tcg_status"; cat "$tmp/err"; return 1; }
	run 3 "$VMBLAME" who "$R" 0x10000+4 && grep -q UNKNOWN "$tmp/out"
}
check "QEMU without KVM: it is said, and nothing is claimed" tcg
outside() {
	# A range where the guest has no RAM: nothing to watch, and no harm.
	fresh
	record_told wwq --watch 0x80000000+4096 -o "$R" -- $QEMU $SERIAL
	[ $? -eq 33 ] && whole "$R" && run 3 "$VMBLAME" who "$R" 0x80000000+4 && grep -q UNKNOWN "$tmp/out"
}
check "a range without RAM: no harm, UNKNOWN" outside
finish
