#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The kernels that are kept: a whole one is taken as it is, a half-prepared one never.
. "$(dirname "$0")/../lib.sh"
[ "$(id -u)" = 0 ] || { not_applicable "Debian's kernels" "needs root"; finish; }
command -v dpkg-deb >/dev/null || { not_applicable "Debian's kernels" "they come by apt"; finish; }

get() { sh tests/vm/kernel.sh "$@"; }
whole() {
	version=$(ls "$1/lib/modules") && [ -s "$1/boot/vmlinuz-$version" ] &&
		[ -s "$1/lib/modules/$version/modules.dep" ] &&
		[ -s "$1/lib/modules/$version/kernel/arch/x86/kvm/kvm-amd.ko" ] || { ls -R "$1" | head -30; return 1; }
}
kept() {
	run 0 get 6.1 && whole "$(cat "$tmp/out")"
}
check "a kernel: its image, its modules, uncompressed" kept
directory=$(cat "$tmp/out")
again() {
	stat -c '%i %Z' "$directory/complete" >"$tmp/before" && run 0 get 6.1 &&
		[ "$(cat "$tmp/out")" = "$directory" ] && stat -c '%i %Z' "$directory/complete" | diff "$tmp/before" -
}
check "is prepared once" again

# A cache of our own, in which the preparation was cut short, twice.
export VMBLAME_KERNELS="$tmp/kernels"
mkdir -p "$VMBLAME_KERNELS/.new.abc/boot" "$VMBLAME_KERNELS/${directory##*/}/boot"
: >"$VMBLAME_KERNELS/${directory##*/}/boot/vmlinuz-half"
ln -s "${directory##*/}" "$VMBLAME_KERNELS/6.1"
half() {
	run 0 get 6.1 && [ "$(cat "$tmp/out")" = "$VMBLAME_KERNELS/${directory##*/}" ] &&
		whole "$(cat "$tmp/out")" && [ ! -e "$(cat "$tmp/out")/boot/vmlinuz-half" ]
}
check "a half-prepared one is not taken for whole" half
left() { [ "$(ls -A "$VMBLAME_KERNELS" | wc -l)" -eq 3 ] || { ls -lA "$VMBLAME_KERNELS"; return 1; }; }
check "nothing else is left there" left
# One by a name that the archive does not have: it is older, and goes when the newer has come.
older() {
	mv "$VMBLAME_KERNELS/${directory##*/}" "$VMBLAME_KERNELS/older" && ln -sfn older "$VMBLAME_KERNELS/6.1" &&
		ln -s "$directory" "$VMBLAME_KERNELS/${directory##*/}" && run 0 get 6.1 &&
		[ "$(readlink "$VMBLAME_KERNELS/6.1")" = "${directory##*/}" ] && [ ! -e "$VMBLAME_KERNELS/older" ]
}
check "an older one goes when there is a newer" older
no_such() { run 1 get 1.0 && grep -q '^vm: no kernel 1.0' "$tmp/err"; }
check "a version that does not exist: 1" no_such
odd() { run 1 get ../6.1 && grep -q '^vm: no kernel version' "$tmp/err"; }
check "what is no version: 1" odd
finish
