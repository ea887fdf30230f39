#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Serves a directory to a nested host, from a mount namespace of its own that goes with it. For "/"
# also what other disks hold below it: a checkout or /tmp may be one.
#
#	share.sh VIRTIOFSD SOCKET_FD SOURCE MOUNT ro|rw
set -eu
daemon=$1 fd=$2 source=$3 mount=$4 how=$5

if [ "$how" = ro ]; then
	# Before we add to it. Field 5 is the place, the one after " - " the kind of file system.
	others=$(sed -nE 's/^([^ ]+ ){4}([^ ]+) .* - ([^ ]+) .*/\3 \2/p' /proc/self/mountinfo |
		grep -E '^(ext[234]|xfs|btrfs|zfs|f2fs|overlay|tmpfs|nfs4?|9p|virtiofs|fuse[^ ]*|vfat|iso9660) /.' |
		grep -vE ' /(proc|sys|dev|run)(/|$)' | cut -d ' ' -f 2)
	mount --bind "$source" "$mount"
	mount -o remount,ro,bind "$mount"
	for place in $others; do
		place=$(printf '%b' "$(printf %s "$place" | sed 's/\\\([0-7]\{3\}\)/\\0\1/g')")
		# One that another covers, or that may not be bound, is not worth failing for.
		mount --bind "$place" "$mount$place" 2>/dev/null &&
			mount -o remount,ro,bind "$mount$place" || :
	done
	source=$mount
fi
# Nothing here changes meanwhile that it must see; what it may write, others may read at once.
cache=always
[ "$how" = ro ] || cache=auto
exec "$daemon" --fd="$fd" -o source="$source" -o cache=$cache -o sandbox=chroot -o xattr -o log_level=err
