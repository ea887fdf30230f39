#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs the parts of the benchmark and prints their figures as one table, next to what is aimed at.
#
#	tests/bench/bench.sh [PART...]		cost size who watch full pages; all without arguments
#
# A target that is missed is no failure: figures depend on the machine and on who else uses it. The
# exit status is 1 when something could not be measured.
set -u
cd "$(dirname "$0")/../.." || exit 1
export B="${B:-build}" LC_ALL=C
[ $# -gt 0 ] || set -- cost size who watch full pages

for need in /dev/kvm /sys/kernel/btf/vmlinux; do
	[ -r $need ] || { echo "bench: no $need" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "bench: root is needed" >&2; exit 1; }
for tool in qemu-system-x86_64 perf trace-cmd bpftrace bpftool zstd taskset unshare busybox cpio; do
	PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || {
		echo "bench: $tool is missing (tests/deps.sh bench vm)" >&2
		exit 1
	}
done

# perf and bpftrace want tracefs, and mount it for good when it is not there: so all of this happens in
# a mount namespace of its own, which goes with it.
if [ -z "${BENCH_NAMESPACE-}" ]; then
	exec env BENCH_NAMESPACE=1 unshare -m --propagation private sh "tests/bench/bench.sh" "$@"
fi
[ -e /sys/kernel/tracing/tracing_on ] || mount -t tracefs tracefs /sys/kernel/tracing || exit 1

work=$(mktemp -d "${TMPDIR:-/var/tmp}/vmblame-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
child=
trap '[ -z "$child" ] || { kill -TERM "$child"; wait "$child"; }; exit 130' INT TERM HUP
export ROWS="$work/rows" NOTES="$work/notes" PATH="$PATH:/usr/sbin:/sbin"
: >"$ROWS"
: >"$NOTES"
failed=

for part; do
	start=$(date +%s)
	echo "bench: $part" >&2
	# In the background, so that a signal is acted on at once: what a part changes it puts back.
	sh "tests/bench/$part.sh" </dev/null &
	child=$!
	wait $child || failed="$failed $part"
	child=
	echo "bench: $part took $(($(date +%s) - start)) s" >&2
done

table() {
	awk -F '\t' 'BEGIN {
		printf "%-42s %9s %9s %9s %4s %8s\n", "", "min", "median", "max", "n", "target"
	}
	{
		limit = $6 == "-" ? "" : "<= " $6
		met = $6 == "-" ? "" : $3 <= $6 + 0 ? "met" : "missed"
		printf "%-42s %9.4g %9.4g %9.4g %4d %8s  %s\n", $1, $2, $3, $4, $5, limit, met
	}' "$ROWS"
}

{
	echo "$("$B/vmblame" --version 2>/dev/null), $(date -u '+%F %H:%M UTC')"
	echo "Linux $(uname -r), $(nproc) CPUs," \
		"$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), load $(cut -d' ' -f1-3 /proc/loadavg)"
	echo "$(qemu-system-x86_64 --version | head -1); $(perf --version); trace-cmd" \
		"$(trace-cmd --version 2>/dev/null | sed -n 's/^trace-cmd version \([0-9.]*\).*/\1/p');" \
		"$(bpftrace --version)"
	echo
	table
	echo
	cat "$NOTES"
	[ -z "$failed" ] || echo "NOT MEASURED:$failed"
} | tee "$B/bench.txt"
[ -z "$failed" ]
