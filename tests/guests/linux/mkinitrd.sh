#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs the Linux guest's initrd: busybox and init.	mkinitrd.sh OUTPUT
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
# The same bytes each time: what lies where does not depend on who packed it, or when.
find "$tree" -exec touch -h -d @0 {} +
cd "$tree"
find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0 | gzip -n9 >"$out"
