#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What recording one MMIO event costs the vCPU thread, against perf, trace-cmd and bpftrace. In each
# round the trigger runs alone before and after each tracer; cost is with the tracer, less the mean
# of those two. The trigger sits on one CPU, what the tracers run of their own on another; each
# tracer has a buffer of 8 MiB a CPU, and time to empty it: what is lost costs another price.
set -eu
. "$(dirname "$0")/lib.sh"

ROUNDS=${BENCH_ROUNDS:-13}
STORES=${BENCH_STORES:-200000}
PAUSE_MS=10 # before each batch of 5,000 stores
STORES_BPFTRACE=$((STORES / 10))
trigger_line='^[0-9.]+ [0-9.]+ [0-9]+$'
on_tracer_cpu="taskset -c $TRACER_CPU"

trigger() { # STORES
	echo "$HELP/mmio_trigger -c $VCPU_CPU -p $PAUSE_MS $1"
}

# Each runs the trigger and leaves its line in $tmp/line and the number of events kept in $tmp/kept.
run_none() {
	$(trigger "$STORES") >"$tmp/line" 2>"$tmp/err"
}

run_vmblame() {
	$on_tracer_cpu "$VMBLAME" record -q --user root --mode events --force -o "$tmp/v.vmb" -- \
		$(trigger "$STORES") >"$tmp/line" 2>"$tmp/err" &&
		"$VMBLAME" info --json "$tmp/v.vmb" >"$tmp/info" &&
		json_number "$tmp/info" mmio >"$tmp/kept"
}

run_perf() {
	$on_tracer_cpu perf record -q -m 8M -e kvm:kvm_mmio -o "$tmp/perf.data" -- \
		$(trigger "$STORES") >"$tmp/line" 2>"$tmp/err" &&
		perf report -i "$tmp/perf.data" --stats 2>/dev/null |
		awk '/SAMPLE events/ { print $3; exit }' >"$tmp/kept"
}

run_trace_cmd() {
	$on_tracer_cpu "$BENCH/trace_cmd.sh" record -b 8192 -e kvm:kvm_mmio -o "$tmp/trace.dat" \
		$(trigger "$STORES") >"$tmp/out" 2>"$tmp/err" &&
		grep -E "$trigger_line" "$tmp/out" >"$tmp/line" &&
		trace-cmd report "$tmp/trace.dat" 2>/dev/null |
		grep -c 'mmio_trigger.*kvm_mmio:' >"$tmp/kept"
}

# It prints into a file; the trigger's line comes on its standard output.
run_bpftrace() {
	BPFTRACE_PERF_RB_PAGES=2048 $on_tracer_cpu bpftrace -o "$tmp/bpftrace.out" \
		-e 'tracepoint:kvm:kvm_mmio { printf("%d %lx %lx\n", args->len, args->gpa, args->val); }' \
		-c "$(trigger $STORES_BPFTRACE)" >"$tmp/out" 2>"$tmp/err" &&
		grep -E "$trigger_line" "$tmp/out" >"$tmp/line" &&
		grep -cE '^2 b[0-9a-f]+ [0-9a-f]+$' "$tmp/bpftrace.out" >"$tmp/kept"
}

# measure WHO: adds "MEDIAN_NS MEAN_NS" to $tmp/WHO, and what was lost to $tmp/WHO.lost.
measure() {
	rm -f "$tmp/line" "$tmp/kept"
	"run_$1" || { cat "$tmp/err" >&2; die "$1 could not record the trigger"; }
	read -r median _ made <"$tmp/line" || die "$1: no figure from the trigger"
	echo "$median" >"$tmp/now"
	[ "$1" != none ] || return 0
	read -r kept <"$tmp/kept" || die "$1: does not say how many events it kept"
	echo "$((made - kept)) $made" >>"$tmp/$1.lost"
}

# once WHO: its cost, with a run alone before and after it.
once() {
	before=$alone
	measure "$1"
	with=$(cat "$tmp/now")
	measure none
	alone=$(cat "$tmp/now")
	echo "$alone" >>"$tmp/none.ns"
	cost=$(calc "$with - ($before + $alone) / 2")
	echo "$cost" >>"$tmp/$1.ns"
}

tracers="vmblame perf trace_cmd bpftrace"
measure none
alone=$(cat "$tmp/now")
i=0
while [ $i -lt "$ROUNDS" ]; do
	order=$tracers
	[ $((i % 2)) -eq 0 ] || order="bpftrace trace_cmd perf vmblame"
	for who in $order; do
		once $who
	done
	i=$((i + 1))
done

for who in trace_cmd:0.4 perf:0.3 bpftrace:0.03; do
	name=${who%:*}
	paste "$tmp/vmblame.ns" "$tmp/$name.ns" | awk '$2 > 0 { print $1 / $2 }' |
		row "cost of an MMIO event / $(echo "$name" | tr _ -)" "${who#*:}"
done

set -- $(spread <"$tmp/none.ns")
note "MMIO event: $STORES stores a run ($STORES_BPFTRACE for bpftrace), $ROUNDS rounds; CPU time of" \
	"the vCPU thread, the median of bursts of 5,000 stores, $PAUSE_MS ms apart."
note "  an untraced store takes $2 ns ($1 to $3); tracers add, and lost in all rounds:"
for who in $tracers; do
	set -- $(spread <"$tmp/$who.ns")
	note "$(awk -v who="$(echo "$who" | tr _ -)" -v a="$1" -v m="$2" -v b="$3" '
		{ lost += $1 > 0 ? $1 : 0; made += $2 }
		END { printf "    %-10s %7.0f ns (%.0f to %.0f)   %d of %d", who, m, a, b, lost, made }
		' "$tmp/$who.lost")"
done

# The BPF program's own time, in a run of its own: the statistics cost something themselves.
stats=/proc/sys/kernel/bpf_stats_enabled
was=$(cat $stats)
trap 'echo "$was" >$stats; rm -rf "$tmp"' EXIT
echo 1 >$stats
run_vmblame &
recorder=$!
best=0 best_ns=0
while kill -0 $recorder 2>/dev/null; do
	sleep 0.1
	bpftool -j prog show name exits__kvm_mmio >"$tmp/progs" 2>/dev/null || continue
	cnt=$(json_number "$tmp/progs" run_cnt)
	ns=$(json_number "$tmp/progs" run_time_ns)
	[ "${cnt:-0}" -le "$best" ] || best=$cnt best_ns=$ns
done
wait $recorder
echo "$was" >$stats
if [ "$best" -gt 0 ]; then
	note "  BPF statistics (kernel.bpf_stats_enabled): exits__kvm_mmio ran $best times," \
		"$(calc "int($best_ns / $best)") ns each, the clock read twice included"
else
	note "  BPF statistics: bpftool showed no run of exits__kvm_mmio"
fi
