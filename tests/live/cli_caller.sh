#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Whom the VMM runs as, and whom the trace belongs to: the caller, sudo or not.
. "$(dirname "$0")/../lib.sh"
. tests/live/cli_guest.inc
lacks_skip "the caller of sudo"
firmware_make || { not_ok "the guest's firmware"; finish; }
public_copy
mkdir "$tmp/here" && chmod 777 "$tmp/here" && cd "$tmp/here" || exit 1
V=$tmp/public/vmblame
unset SUDO_UID SUDO_GID SUDO_USER DOAS_USER

owner() { stat -c '%u:%g %a' "$1"; }
# prints WANT COMMAND...: what it prints on stdout.
prints() {
	print_want=$1
	shift
	rm -f ./*
	run 0 "$@" || return 1
	[ "$(cat "$tmp/out")" = "$print_want" ] || { echo "'$(cat "$tmp/out")', not '$print_want'"; return 1; }
}
owned() { [ "$(owner "$1")" = "$2" ] || { owner "$1"; return 1; }; }
ids='echo $(id -u) $(id -g) $(id -G)'

as_root() { prints "0 0" "$V" record -q -- sh -c 'echo $(id -u) $(id -g)' && owned vmblame.vmb "0:0 600"; }
check "without sudo: as it is" as_root
as_sudo() {
	prints "65534 65534 65534" env SUDO_UID=65534 SUDO_GID=65534 SUDO_USER=nobody "$V" record -q -- sh -c "$ids" &&
		owned vmblame.vmb "65534:65534 600"
}
check "under sudo: the VMM runs as the caller, the trace is the caller's, 0600" as_sudo
unnamed() {
	prints "1234 1235 1235" env SUDO_UID=1234 SUDO_GID=1235 "$V" record -q -o o.vmb -- sh -c "$ids" &&
		owned o.vmb "1234:1235 600"
}
check "a caller without a name: its group is SUDO_GID, none of root's are left" unnamed
no_gid() {
	prints "" env SUDO_UID=1234 "$V" record -q -o o.vmb -- sh -c 'id -G | grep -w 0; :'
}
check "without SUDO_GID: none of root's groups either" no_gid
powerless() {
	prints "CapInh: 0000000000000000 CapPrm: 0000000000000000 CapEff: 0000000000000000 CapAmb: 0000000000000000" \
		env SUDO_UID=65534 SUDO_GID=65534 "$V" record -q -- \
		sh -c 'echo $(grep -E "^Cap(Inh|Prm|Eff|Amb)" /proc/self/status)'
}
check "no capability is left to it" powerless
no_way_back() {
	prints "Uid: 1234 1234 1234 1234 Gid: 1235 1235 1235 1235" \
		env SUDO_UID=1234 SUDO_GID=1235 "$V" record -q -- sh -c 'echo $(grep -E "^[UG]id" /proc/self/status)'
}
check "real, effective, saved and file system ids" no_way_back
sudo_as_root() { prints "0" env SUDO_UID=0 SUDO_GID=0 SUDO_USER=root "$V" record -q -- id -u; }
check "root by sudo from root" sudo_as_root
for uid in "" abc -1 4294967295 99999999999999999999 "65534 " 0x10; do
	malformed() { prints 0 env SUDO_UID="$uid" "$V" record -q -- id -u; }
	check "SUDO_UID='$uid' names nobody" malformed
done
doas() {
	prints "65534" env DOAS_USER=nobody "$V" record -q -- id -u && owned vmblame.vmb "65534:65534 600"
}
check "doas likewise" doas
not_for_others() {
	rm -f ./*
	run 125 nobody env SUDO_UID=0 "$V" record -- id -u && one_line
}
check "SUDO_UID gives nobody else anything" not_for_others

user() {
	prints "65534 65534" "$V" record -q --user nobody -- sh -c 'echo $(id -u) $(id -g)' &&
		owned vmblame.vmb "0:0 600"
}
check "--user NAME: the VMM as NAME, the trace still the caller's" user
user_over_sudo() {
	prints "0" env SUDO_UID=65534 SUDO_GID=65534 "$V" record -q --user root -- id -u &&
		owned vmblame.vmb "65534:65534 600"
}
check "--user root under sudo" user_over_sudo
rm -f ./*
refuses "--user that does not exist: 125" 125 "no-such-user" "$V" record --user no-such-user -- true
refuses "--user by one who is not root" 2 "root" nobody "$V" record --user root -- true
check "nothing was made by those" test -z "$(ls)"
replaced() {
	rm -f ./* && echo older >vmblame.vmb && chmod 644 vmblame.vmb
	run 0 env SUDO_UID=65534 SUDO_GID=65534 "$V" record -q -- true && owned vmblame.vmb "65534:65534 600" &&
		owned vmblame.vmb.old "0:0 644"
}
check "a trace that replaces another is the caller's too" replaced
forced() {
	rm -f ./* && echo older >o.vmb && chmod 644 o.vmb
	run 0 env SUDO_UID=65534 SUDO_GID=65534 "$V" record -q --force -o o.vmb -- true &&
		owned o.vmb "65534:65534 600"
}
check "with --force too" forced
cannot_execute() {
	rm -f ./*
	printf '#!/bin/sh\n' >"$tmp/public/mine" && chmod 700 "$tmp/public/mine"
	refused 126 "mine.*Permission denied" env SUDO_UID=65534 SUDO_GID=65534 "$V" record -- "$tmp/public/mine" &&
		[ -z "$(ls)" ]
}
check "a VMM that the caller may not run: 126" cannot_execute
agent_unreadable() {
	rm -f ./*
	mkdir "$tmp/private" && cp "$tmp"/public/* "$tmp/private/" && chmod 700 "$tmp/private"
	refused 125 "libvmblame-agent.so" env SUDO_UID=65534 SUDO_GID=65534 "$tmp/private/vmblame" \
		record --watch $WATCH -- true && [ -z "$(ls)" ]
}
check "an agent that the caller may not read: 125" agent_unreadable
no_agent() {
	rm -f ./*
	mkdir "$tmp/alone" && cp "$VMBLAME" "$tmp/alone/"
	refused 125 "libvmblame-agent.so" "$tmp/alone/vmblame" record --watch $WATCH -- true && [ -z "$(ls)" ]
}
check "no agent beside the program: 125" no_agent

# Supplementary groups, and a VM of the caller's: in a mount namespace whose /etc/group has a group
# with the caller in it, which /dev/kvm belongs to.
if ! unshare -m true 2>/dev/null; then
	skip "the caller's groups" "mount namespaces"
	finish
fi
cp /etc/group "$tmp/group" && echo "vmblame-kvm:x:54321:nobody" >>"$tmp/group" && chmod 644 "$tmp/group"
mknod "$tmp/kvm" c 10 232 && chown 0:54321 "$tmp/kvm" && chmod 660 "$tmp/kvm"
cat >"$tmp/in-group" <<-'EOF'
	mount --bind "$1/group" /etc/group && mount --bind "$1/kvm" /dev/kvm || exit 99
	shift
	exec env SUDO_UID=65534 SUDO_GID=65534 SUDO_USER=nobody "$@"
EOF
in_group() { unshare -m sh "$tmp/in-group" "$tmp" "$@"; }
groups() { prints "65534 65534 65534 54321" in_group "$V" record -q -- sh -c "$ids"; }
check "the caller's supplementary groups (kvm)" groups
if in_group setpriv --reuid=65534 --regid=65534 --groups=54321 -- sh -c ': <>/dev/kvm' 2>/dev/null; then
	as_caller() {
		rm -f ./*
		printf wwq | in_group timeout $((60 * SLOW)) "$V" record --watch $WATCH -o o.vmb -- $QEMU $SERIAL \
			>"$tmp/out" 2>"$tmp/err"
		[ $? -eq 33 ] && summary && owned o.vmb "65534:65534 600" && whole o.vmb &&
			"$V" who o.vmb 0x10000+4 | grep -q WRITTEN-BY || { cat "$tmp/out" "$tmp/err"; return 1; }
	}
	check "a recording with --watch, QEMU as the caller in the group of /dev/kvm" as_caller
	until_kill() {
		rm -f ./*
		guest_begin in_group "$V" record --watch $WATCH -o o.vmb --until console:milestone --then kill \
			-- $QEMU $SERIAL
		guest_says 1 ready && guest_told wm && guest_ended 0 && whole o.vmb && owned o.vmb "65534:65534 600"
	}
	check "--until --then kill for the caller's QEMU" until_kill
	caller_reads() { nobody "$V" info "$tmp/here/o.vmb" >/dev/null; }
	check "the caller reads the trace without sudo" caller_reads
else
	skip "a recording as the caller" "device files in $tmp"
fi
if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	real_sudo() {
		# sudo by root: SUDO_UID is 0.
		prints 0 sudo -n "$V" record -q -- id -u && owned vmblame.vmb "0:0 600"
	}
	check "by sudo itself" real_sudo
else
	skip "by sudo itself" "sudo"
fi
finish
