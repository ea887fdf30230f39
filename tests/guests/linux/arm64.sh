#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches Debian's kernel and busybox for arm64, packs busybox and init into an initrd, and prints the
# paths of kernel and initrd. What was fetched is kept in OUTDIR: remove that for a newer kernel.
#
#	tests/guests/linux/arm64.sh OUTDIR
#
# apt works here on lists of its own, with the system's sources and keys: the system's packages, lists
# and architectures stay as they are.
set -u
here=$(cd "$(dirname "$0")" && pwd)

fail() {
	echo "arm64: $*" >&2
	exit 1
}

# fetch DIR: the newest kernel as DIR/vmlinuz and the newest busybox as DIR/bin/busybox.
fetch() (
	cd "$1" && mkdir -p apt/lists/partial apt/archives/partial && : >apt/status || exit 1
	cat >apt/conf <<EOF || exit 1
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
Dir::State "$1/apt";
Dir::State::status "$1/apt/status";
Dir::Cache "$1/apt";
EOF
	export APT_CONFIG="$1/apt/conf"
	# A source that has nothing for arm64 may fail.
	apt-get -q update || echo "going on with the sources that there are"
	kernel=$(apt-cache show --no-all-versions linux-image-cloud-arm64 |
		sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
	[ -n "$kernel" ] || {
		echo "apt's sources have no linux-image-cloud-arm64"
		exit 1
	}
	apt-get -q download "$kernel" busybox-static || exit 1
	for package in ./*.deb; do
		dpkg-deb -x "$package" tree || exit 1
	done
	mkdir bin && mv "tree/boot/vmlinuz-${kernel#linux-image-}" vmlinuz || exit 1
	mv tree/bin/busybox bin || mv tree/usr/bin/busybox bin || exit 1
	rm -rf apt tree
	for package in ./*.deb; do
		basename "$package"
		rm -f "$package"
	done >packages
)

[ $# -eq 1 ] || fail "usage: tests/guests/linux/arm64.sh OUTDIR"
for tool in apt-cache apt-get dpkg-deb cpio gzip flock; do
	command -v $tool >/dev/null || fail "$tool is missing: tests/deps.sh test vm"
done
mkdir -p "$1" && out=$(realpath "$1") || exit 1
exec 9>"$out/lock" && flock 9 || exit 1
# What an interrupted run left; nobody else is at it, by the lock.
rm -rf "$out"/.new.*
if [ ! -d "$out/fetched" ]; then
	aside=$(mktemp -d "$out/.new.XXXXXX") && chmod 755 "$aside" || exit 1
	if ! fetch "$aside" >"$aside.log" 2>&1 || ! mv -T "$aside" "$out/fetched"; then
		tail -n 5 "$aside.log" >&2
		rm -rf "$aside" "$aside.log"
		fail "no kernel for arm64: neither from the archive nor kept in $out"
	fi
	rm -f "$aside.log"
fi
# mkinitrd.sh packs the busybox that it finds.
PATH="$out/fetched/bin:$PATH" "$here/mkinitrd.sh" "$out/.new.initrd" &&
	mv -T "$out/.new.initrd" "$out/initrd" || fail "could not pack the initrd"
echo "$out/fetched/vmlinuz"
echo "$out/initrd"
