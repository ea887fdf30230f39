#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A trapped store in watch mode against the same exit with no tracing. A guest stores to a watched
# page in a tight loop; both runs have the agent's read-only slot, one has every probe on, one none.
# CPU time of the VMM's process (all threads) from the guest's first line to its last, so that
# booting is not in it; pairs in alternating order.
set -eu
. "$(dirname "$0")/lib.sh"

PAIRS=${BENCH_PAIRS:-7}
STORES=${BENCH_TRAPPED:-200000}
GPA=0x1900000

# The guest's count is a 32-bit number at 0x1f4 of its image.
cp "$GUESTS/mmioloop-ram.img" "$tmp/loop.img"
printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((STORES & 255)) $((STORES >> 8 & 255)) \
	$((STORES >> 16 & 255)) $((STORES >> 24 & 255)))" |
	dd of="$tmp/loop.img" bs=1 seek=$((0x1f4)) conv=notrunc status=none

without_all=$(probes_except)

# loop NAME RECORD-OPTIONS...: nanoseconds a store, to $tmp/now.
loop() {
	name=$1
	shift
	rm -f "$tmp/cpu"
	taskset -c "$TRACER_CPU" "$VMBLAME" record -q --user root --force -o "$tmp/$name.vmb" "$@" -- \
		"$HELP/until_text" -k -o "$tmp/cpu" -f "mmioloop: 0x" -t "mmioloop: done" \
		taskset -c "$VCPU_CPU" \
		qemu-system-x86_64 -accel kvm -nodefaults -display none -m 64 -no-reboot -no-shutdown \
		-chardev stdio,id=s,signal=off -serial chardev:s \
		-drive "if=none,id=d,format=raw,readonly=on,file=$tmp/loop.img" \
		-device virtio-blk-pci,drive=d >"$tmp/console" 2>"$tmp/err" </dev/null || :
	[ -s "$tmp/cpu" ] || { tail -5 "$tmp/err" >&2; die "the guest did not get to its end ($name)"; }
	grep -q "$STORES stores" "$tmp/console" || die "the guest does not make $STORES stores"
	awk -v n="$STORES" '{ print $1 / n }' "$tmp/cpu" >"$tmp/now"
	cat "$tmp/now" >>"$tmp/$name.ns"
}

with() {
	loop with --watch $GPA+4096
	"$VMBLAME" info --json "$tmp/with.vmb" >"$tmp/info"
	[ "$(json_number "$tmp/info" mmio)" -ge "$STORES" ] ||
		[ "$(json_number "$tmp/info" lost)" -gt 0 ] || die "watching saw no stores"
	json_number "$tmp/info" lost >>"$tmp/lost"
}

without() {
	loop without $without_all --watch $GPA+4096
}

i=0
while [ $i -lt "$PAIRS" ]; do
	if [ $((i % 2)) -eq 0 ]; then
		with
		without
	else
		without
		with
	fi
	i=$((i + 1))
done
paste "$tmp/with.ns" "$tmp/without.ns" | awk '{ print $1 / $2 }' |
	row "a trapped store / the same exit untraced" 1.15

set -- $(spread <"$tmp/with.ns")
with_ns=$(printf '%.0f ns (%.0f to %.0f)' "$2" "$1" "$3")
set -- $(spread <"$tmp/without.ns")
note "watch: $STORES stores to one page, $PAIRS pairs, CPU time of the VMM a store: traced" \
	"$with_ns," \
	"untraced $(printf '%.0f ns (%.0f to %.0f)' "$2" "$1" "$3"); lost" \
	"in all: $(awk '{ n += $1 } END { print n }' "$tmp/lost")"
# Is it really the same exit? As many as the guest made stores.
loop plain_slot $without_all --watch 0x1800000+4096
note "  the same loop to an unwatched page, no exit: $(printf %.0f "$(cat "$tmp/now")") ns a store"
