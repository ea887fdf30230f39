#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A host on which nothing can be recorded: no root, no /dev/kvm, no BTF. The real files are never
# touched: a private mount namespace hides them.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc

public_copy
mkdir "$tmp/here"
chmod 777 "$tmp/here"
cd "$tmp/here" || exit 1
printf 'an older trace' >vmblame.vmb
printf 'mine' >mine.vmb
chmod 666 ./*.vmb

untouched() {
	[ "$(ls | tr '\n' ' ')" = "mine.vmb vmblame.vmb " ] || { ls -la; return 1; }
	[ "$(cat vmblame.vmb mine.vmb)" = "an older tracemine" ]
}

# cannot NAME PATTERN COMMAND...: `COMMAND vmblame record ...` fails with 125 and one line, in every
# way that a trace may be named, and touches nothing.
cannot() {
	label=$1 cannot_pattern=$2
	shift 2
	all() {
		refused 125 "$cannot_pattern" "$@" "$tmp/public/vmblame" record -- echo ran &&
			refused 125 "$cannot_pattern" "$@" "$tmp/public/vmblame" record -o new.vmb -- echo ran &&
			refused 125 "$cannot_pattern" "$@" "$tmp/public/vmblame" record --force -o mine.vmb \
				--watch 1M+16 -- echo ran &&
			untouched
	}
	check "$label" all "$@"
}

# hidden FILE COMMAND...: with something else in FILE's place.
hide_kvm='mount -t tmpfs none /dev && exec "$@"'
hide_btf='mount -t tmpfs none /sys/kernel/btf && exec "$@"'

if [ -r /sys/kernel/btf/vmlinux ] && [ -e /dev/kvm ]; then
	cannot "record without root" "root" nobody
else
	skip "record without root" "this host has no BTF or no /dev/kvm"
fi

as_nobody_reads() {
	cp "$GOLDEN/stos.vmb" "$tmp/public/" && chmod a+r "$tmp/public/stos.vmb"
	nobody "$tmp/public/vmblame" history "$tmp/public/stos.vmb" 0xb8000+16 >"$tmp/by-nobody" &&
		"$VMBLAME" history "$GOLDEN/stos.vmb" 0xb8000+16 | cmp - "$tmp/by-nobody"
}
check "reading needs no rights" as_nobody_reads

check_nobody() {
	nobody "$tmp/public/vmblame" check >"$tmp/out" 2>"$tmp/err"
	[ $? -eq 1 ] && [ ! -s "$tmp/err" ] && grep -q '^host *root *no .*need' "$tmp/out" &&
		grep -q '^mode *watch *no ' "$tmp/out" && grep -q '^mode *events *no ' "$tmp/out"
}
check "check without root says what would change it, and exits 1" check_nobody

check_json() {
	nobody "$tmp/public/vmblame" check --json >"$tmp/out" 2>"$tmp/err"
	/usr/bin/python3 - "$tmp/out" <<-'EOF'
		import json, sys
		names = set()
		for line in open(sys.argv[1]):
		    o = json.loads(line)
		    assert o["v"] == 1 and type(o["what"]) is str and type(o["name"]) is str, o
		    assert type(o["available"]) is bool and type(o.get("detail", "")) is str, o
		    assert o["available"] or o.get("detail"), ("not available, and not why", o)
		    names.add((o["what"], o["name"]))
		for mode in "events", "pages", "watch", "full":
		    assert ("mode", mode) in names, mode
	EOF
}
check "check --json: an object a line, a reason for whatever is not there" check_json

# Orphans of check would become ours.
leaves_nothing() {
	mount_before=$(cat /proc/self/mounts)
	/usr/bin/python3 - "$VMBLAME" <<-'EOF'
		import ctypes, os, subprocess, sys
		ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
		done = subprocess.run([sys.argv[1], "check"], stdout=subprocess.PIPE, check=False)
		assert b"Modes of record" in done.stdout, done.stdout
		try:
		    sys.exit(f"left behind: {os.waitpid(-1, os.WNOHANG)}")
		except ChildProcessError:
		    pass
	EOF
	[ $? -eq 0 ] && [ "$(cat /proc/self/mounts)" = "$mount_before" ] && untouched
}
check "check leaves no process, mount or file behind" leaves_nothing

other_vmm() {
	"$VMBLAME" check /bin/sh >"$tmp/out" 2>"$tmp/err"
	[ $? -le 1 ] && [ ! -s "$tmp/err" ] && grep -q '^vmm *.*sh  *yes' "$tmp/out" || return 1
	[ "$(id -u)" != 0 ] || grep -q '^probe *virtqueue__virtqueue_push *no .*there is none' "$tmp/out"
}
if [ "$(id -u)" = 0 ] && { [ ! -r /sys/kernel/btf/vmlinux ] || ! "$VMBLAME" check | grep -q '^host *BPF *yes'; }; then
	skip "check of a program without QEMU's functions" "this host has no BPF"
else
	check "check of a program without QEMU's functions" other_vmm
fi

if [ "$(id -u)" != 0 ] || ! unshare -m true 2>/dev/null; then
	skip "record without /dev/kvm" "root and mount namespaces"
	skip "record without BTF" "root and mount namespaces"
	finish
fi

if [ -r /sys/kernel/btf/vmlinux ]; then
	cannot "record without /dev/kvm" "/dev/kvm" unshare -m sh -c "$hide_kvm" sh
	cannot "record --watch without /dev/kvm" "/dev/kvm" unshare -m sh -c "$hide_kvm" sh
else
	skip "record without /dev/kvm" "this host has no BTF"
fi
cannot "record without BTF" "BTF" unshare -m sh -c "$hide_btf" sh

check_without() {
	unshare -m sh -c "$1" sh "$VMBLAME" check >"$tmp/out" 2>"$tmp/err"
	[ $? -eq 1 ] && [ ! -s "$tmp/err" ] && grep -q "$2" "$tmp/out" &&
		grep -q '^mode *watch *no ' "$tmp/out" || { cat "$tmp/out" "$tmp/err"; return 1; }
}
check "check without /dev/kvm" check_without "$hide_kvm" '^host */dev/kvm *no *[A-Z]'
check "check without BTF" check_without "$hide_btf" '^host *BTF *no .*CONFIG_DEBUG_INFO_BTF'

reads_without() { unshare -m sh -c "$hide_kvm" sh "$VMBLAME" info "$GOLDEN/stos.vmb" >/dev/null; }
check "reading needs no /dev/kvm" reads_without
[ -e /dev/kvm ] && ok "/dev/kvm is still there" || not_ok "/dev/kvm is still there"
finish
