#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# File size per MMIO event (time in ns, RIP and value among what it holds) on a SeaBIOS boot with a
# VGA, from the first instruction until the firmware says "No bootable", against what trace-cmd's
# per-CPU data of the same boot take compressed by zstd.
set -eu
. "$(dirname "$0")/lib.sh"

ROUNDS=${BENCH_SIZE_ROUNDS:-3}
on_tracer_cpu="taskset -c $TRACER_CPU"

# boot_run TRACER...: the boot under a tracer; the guest's console is in $tmp/console.
boot_run() {
	rm -f "$tmp/boot"
	"$@" "$HELP/until_text" -k -o "$tmp/boot" -t "No bootable" taskset -c "$VCPU_CPU" \
		qemu-system-x86_64 -accel kvm -m 64 -nodefaults -display none -vga std \
		-chardev stdio,id=d,signal=off -device isa-debugcon,iobase=0x402,chardev=d \
		>"$tmp/console" 2>"$tmp/err" </dev/null || :
	[ -s "$tmp/boot" ] || { tail -5 "$tmp/err" >&2; die "the boot did not get to its end"; }
}

# The probe of forks makes no events; without it the VMM, a grandchild, would not be followed.
only_mmio=$(probes_except exits__kvm_mmio core__sched_process_fork)
i=0
while [ $i -lt "$ROUNDS" ]; do
	i=$((i + 1))

	# Nothing but kvm_mmio on: the whole file, header, index, coverage and all, by its events.
	boot_run $on_tracer_cpu "$VMBLAME" record -q --user root --mode events --force $only_mmio \
		-o "$tmp/mmio.vmb" --
	"$VMBLAME" info --json "$tmp/mmio.vmb" >"$tmp/info"
	ours_n=$(json_number "$tmp/info" mmio)
	lost=$(json_number "$tmp/info" lost)
	ours=$(calc "$(stat -c %s "$tmp/mmio.vmb") / $ours_n")
	echo "$ours" >>"$tmp/ours"

	# trace-cmd's payload: what it says its per-CPU data take, once compressed by itself (zstd) and
	# once by zstd -3; the smaller counts. It records every guest of the machine, so a round in which
	# others made events too is run again. (The few more are loads, told of twice.)
	for try in 1 2 3 4; do
		boot_run $on_tracer_cpu "$BENCH/trace_cmd.sh" record -q --compression none -b 8192 \
			-e kvm:kvm_mmio -o "$tmp/plain.dat"
		theirs_n=$(trace-cmd report "$tmp/plain.dat" 2>/dev/null | grep -c 'kvm_mmio:') || :
		[ "$theirs_n" -gt $((ours_n * 105 / 100)) ] || break
	done
	[ "$theirs_n" -le $((ours_n * 105 / 100)) ] || [ "$try" -lt 4 ] ||
		note "size: other guests ran, and are among trace-cmd's events"
	trace-cmd report --stat "$tmp/plain.dat" 2>/dev/null >"$tmp/stat"
	: >"$tmp/payload"
	awk '/^CPU[0-9]+ data recorded at offset=/ { sub(/.*=/, ""); off = $1 }
		/bytes in size/ && off != "" { print off, $1; off = "" }' "$tmp/stat" >"$tmp/parts"
	while read -r off bytes; do
		[ "$bytes" -eq 0 ] || tail -c +$((off + 1)) "$tmp/plain.dat" | head -c "$bytes" \
			>>"$tmp/payload"
	done <"$tmp/parts"
	[ -s "$tmp/payload" ] || die "trace-cmd recorded nothing of the boot"
	plain=$(calc "$(stat -c %s "$tmp/payload") / $theirs_n")
	zstd3=$(calc "$(zstd -3 -q -c "$tmp/payload" | wc -c) / $theirs_n")
	own=$(trace-cmd convert --compression zstd -i "$tmp/plain.dat" -o "$tmp/zstd.dat" 2>&1 |
		awk -v n="$theirs_n" '/bytes in size \(/ { b += $1 } END { if (b) print b / n }') || :
	rm -f "$tmp/zstd.dat"
	own=${own:-$zstd3} # a trace-cmd without compression
	theirs=$(calc "$zstd3 < $own ? $zstd3 : $own")
	echo "$theirs" >>"$tmp/theirs"
	calc "$ours / $theirs" >>"$tmp/ratio"
	echo >>"$tmp/ratio"
done

row "bytes in the file per MMIO event" 1.3 <"$tmp/ours"
row "the same / trace-cmd's payload, zstd" 0.35 <"$tmp/ratio"

# As recorded without any option, for comparison.
boot_run $on_tracer_cpu "$VMBLAME" record -q --user root --mode events --force -o "$tmp/all.vmb" --
"$VMBLAME" info --json "$tmp/all.vmb" >"$tmp/info"
note "size: SeaBIOS boot to \"No bootable\", $ROUNDS times each. Ours is the whole file, with" \
	"only exits__kvm_mmio on: $ours_n events, $lost lost."
note "  trace-cmd's payload is its per-CPU data without its header ($theirs_n events):" \
	"$plain bytes an event, by zstd -3 $zstd3, by its own zstd $own; the smaller counts."
note "  with every probe on: $(stat -c %s "$tmp/all.vmb") bytes," \
	"$(json_number "$tmp/info" events)" \
	"events ($(json_number "$tmp/info" mmio) mmio, $(json_number "$tmp/info" pio) pio)," \
	"$(json_number "$tmp/info" event_bytes) bytes an event"
