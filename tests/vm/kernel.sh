#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetches Debian's kernels for the nested hosts and prints the directory of each: boot/vmlinuz-V and
# lib/modules/V, modules uncompressed. What is prepared is kept in build/kernels (or VMBLAME_KERNELS),
# with a link by version, and replaced when the archive has a newer one.
#
#	tests/vm/kernel.sh VERSION...		6.1, 6.12; 6.1-amd64 (that with the drivers of real
#						machines); exit status 1 when there is no such kernel
set -u
cd "$(dirname "$0")/../.." || exit 1
cache=${VMBLAME_KERNELS:-$PWD/build/kernels}

fail() {
	echo "vm: $*" >&2
	exit 1
}

# newest VERSION: PACKAGE_ITSVERSION, as apt knows it now. Debian 12 has 6.1, and 6.12 beside it.
newest() {
	number=${1%-amd64} flavour=cloud-
	[ "$number" = "$1" ] || flavour=
	dots=$(printf %s "$number" | sed 's/\./\\./g')
	package=$(apt-cache pkgnames "linux-image-$number." 2>/dev/null |
		grep -E "^linux-image-$dots\.[0-9.]+(-[0-9]+|\+deb[0-9]+)-${flavour}amd64-unsigned\$" |
		sort -V | tail -n 1)
	[ -n "$package" ] || return 1
	apt-cache show --no-all-versions "$package" | sed -n "s/^Version: /${package}_/p"
}

# is_whole DIR: was moved into place when it was complete.
is_whole() {
	[ -e "$1/complete" ]
}

# prepare PACKAGE_ITSVERSION: downloads, unpacks aside, then renames.
prepare() {
	aside=$(mktemp -d "$cache/.new.XXXXXX") || return 1
	chmod 755 "$aside"
	(
		cd "$aside" || exit 1
		apt-get -q download "${1%_*}=${1##*_}" || exit 1
		dpkg-deb -x ./*.deb . && rm -f ./*.deb || exit 1
		# usr/lib where /usr is merged in the package already
		[ -d lib/modules ] || mv usr/lib lib || exit 1
		rm -rf usr
		find lib/modules -name '*.ko.xz' -exec xz -d {} + || exit 1
		version=$(ls lib/modules) && [ -e "boot/vmlinuz-$version" ] || exit 1
		busybox depmod -b . "$version" && [ -s "lib/modules/$version/modules.dep" ] || exit 1
		: >complete
	) >"$aside.log" 2>&1
	prepared=$?
	[ $prepared -eq 0 ] && rm -rf "${cache:?}/$1" && mv "$aside" "$cache/$1" || {
		prepared=1
		tail -n 5 "$aside.log" >&2
	}
	rm -rf "$aside" "$aside.log"
	return $prepared
}

# get VERSION: prints the directory. Where apt's lists are older than the archive a package may be gone
# from it: then they are updated, once.
get() {
	link=$cache/$1
	for try in 1 2; do
		found=$(newest "$1")
		[ -n "$found" ] && is_whole "$cache/$found" && break
		[ -n "$found" ] && prepare "$found" && break
		found=
		[ $try = 1 ] && apt-get -q update >/dev/null 2>&1
	done
	if [ -z "$found" ]; then
		is_whole "$link" || return 1
		echo "vm: no newer kernel $1 to be had: $(readlink "$link") it is" >&2
	elif [ "$(readlink "$link" 2>/dev/null)" != "$found" ]; then
		older=$(readlink "$link" 2>/dev/null)
		ln -sfn "$found" "$link.new" && mv -T "$link.new" "$link" || return 1
		[ -z "$older" ] || rm -rf "${cache:?}/${older:?}"
	fi
	echo "$cache/$(readlink "$link")"
}

[ $# -gt 0 ] || fail "usage: tests/vm/kernel.sh VERSION..."
for tool in apt-cache apt-get dpkg-deb busybox xz flock; do
	command -v $tool >/dev/null || fail "$tool is missing: tests/deps.sh test vm"
done
mkdir -p "$cache" || exit 1
exec 9>"$cache/lock" && flock 9 || exit 1
# What an interrupted run left; nobody else is at it, by the lock.
rm -rf "$cache"/.new.*
for version in "$@"; do
	case ${version%-amd64} in
	*[!0-9.]* | .* | *. | "") fail "no kernel version: '$version'" ;;
	esac
	get "$version" || fail "no kernel $version: neither from the archive nor kept in $cache"
done
