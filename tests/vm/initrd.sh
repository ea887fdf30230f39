#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Packs what a nested host starts from: busybox, the modules that its root needs, init, and what the
# launcher put into DIR.
#
#	initrd.sh DIR MODULES		makes DIR/initrd from DIR/settings and DIR/command
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 modules=$2

mkdir "$dir/initrd.d" "$dir/initrd.d/bin" "$dir/initrd.d/modules"
cp "$(command -v busybox)" "$dir/initrd.d/bin/busybox"
cp "$here/init" "$here/host.sh" "$dir/settings" "$dir/command" "$dir/initrd.d/"
chmod 755 "$dir/initrd.d/init"
# Each after what it needs; modules.dep names that last to first. One that is built in is not there.
for name in virtio_pci virtio_console virtiofs overlay; do
	line=$(grep -E "/$name\.ko:" "$modules/modules.dep") || continue
	for file in $(echo "$line" | tr -d : | tr ' ' '\n' | tac); do
		[ -e "$dir/initrd.d/modules/${file##*/}" ] && continue
		cp "$modules/$file" "$dir/initrd.d/modules/"
		echo "${file##*/}" >>"$dir/initrd.d/modules/order"
	done
done
(cd "$dir/initrd.d" && find . | cpio -o -H newc --quiet) >"$dir/initrd"
rm -r "$dir/initrd.d"
