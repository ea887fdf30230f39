#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs the Linux guest's initrd: busybox and init; with them modules of a kernel (kernel.sh), and what
# these need, for insmod in the order of their names.
#
#	mkinitrd.sh OUTPUT [KERNEL MODULE...]
set -eu
out=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
busybox=$(command -v busybox)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/bin" "$tree/dev"
cp "$busybox" "$tree/bin/busybox"
cp "$here/init" "$tree/init"
chmod 755 "$tree/init" "$tree/bin/busybox"
if [ $# -gt 1 ]; then
	modules=$(echo "$2"/lib/modules/*)
	shift 2
	mkdir "$tree/modules"
	n=100
	# modules.dep: what a module needs comes behind it, the first of it last.
	for module; do
		sed -n "s|^\(.*/$module\.ko\): *|\1 |p" "$modules/modules.dep" | tr ' ' '\n' | tac
	done | awk 'NF && !seen[$0]++' | while read -r path; do
		n=$((n + 1))
		cp "$modules/$path" "$tree/modules/$n-${path##*/}"
	done
	for module; do
		ls "$tree"/modules/*-"$module".ko >/dev/null
	done
fi
# The same bytes each time: what lies where does not depend on who packed it, or when.
find "$tree" -exec touch -h -d @0 {} +
cd "$tree"
find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0 | gzip -n9 >"$out"
