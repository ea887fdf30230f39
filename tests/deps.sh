#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the Debian packages that are missing: for the build and the demo; with "test" for the tests
# too, with "vm" for those on nested hosts, with "bench" for what we are measured against.
set -eu

build="gcc libc6-dev make clang bpftool libbpf-dev libelf-dev libdw-dev libzstd-dev libxxhash-dev
libroaring-dev libcap-dev libzydis-dev linux-libc-dev"
demo="qemu-system-x86 seabios"
test="libcmocka-dev libjansson-dev clang-format cppcheck libclang-rt-14-dev python3 python3-zstandard
python3-xxhash pyflakes3 binutils util-linux bsdextrautils libcap2-bin libc-bin procps sudo mandoc qemu-system-arm
gcc-aarch64-linux-gnu"
vm="busybox-static cpio xz-utils qemu-system-common util-linux python3"
bench="trace-cmd linux-perf bpftrace zstd time util-linux"

wanted="$build $demo"
for set in "$@"; do
	case $set in
	test) wanted="$wanted $test" ;;
	vm) wanted="$wanted $vm" ;;
	bench) wanted="$wanted $bench" ;;
	esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "vmblame needs what these Debian packages hold:" $wanted
	exit 0
fi
missing=
for package in $wanted; do
	dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^.i' ||
		missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for try in 1 2 3; do
	if { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install \
		-y --no-install-recommends $missing; } >"$log" 2>&1; then
		exit 0
	fi
done
tail -20 "$log" >&2
echo "vmblame: could not install:$missing" >&2
exit 1
