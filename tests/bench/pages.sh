#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Pages mode: what a guest that dirties 1, 10 and 50 % of 512 MiB each second is slowed down by,
# next to QEMU's calc-dirty-rate and a live migration; how fast pages are compared; and the trace of
# a Linux boot, on a nested host, next to zstd.
#
#	BENCH_PAGES_ROUNDS	of the first (5)
#	BENCH_PAGES_SECONDS	that the guest's work takes each time (3)
#	BENCH_PAGES_HOST	the nested host (6.12); none: leaves the boot out
set -eu
. "$(dirname "$0")/lib.sh"

ROUNDS=${BENCH_PAGES_ROUNDS:-5}
SECONDS_EACH=${BENCH_PAGES_SECONDS:-3}
HOST=${BENCH_PAGES_HOST:-6.12}
RATES="1 10 50"
LIMIT=900 # seconds, for one program

# guest ARGUMENTS...: a boot of the guest; what it says goes to $tmp/said.
guest() {
	timeout --foreground -k 5 $LIMIT python3 "$BENCH/dirty_guest.py" -s "$SECONDS_EACH" "$@" \
		>"$tmp/said" || die "the guest that dirties pages: no figures"
}

# 1. Overhead. A round is a boot with nothing and QEMU's own one after the other, and recorded boots:
# at the default epoch, and for each rate at one that reads the log as often as migration did.
guest calibrate $(printf '%s:1 ' $RATES)
paces=$(cat "$tmp/said")

pace() { # PERCENT
	for pace in $paces; do
		[ "${pace%:*}" != "$1" ] || echo "$pace"
	done
}

plain() {
	guest nothing,calc,sample,migrate $paces
	cat "$tmp/said" >>"$tmp/round"
}

recorded() { # NAME EPOCH PACE...
	name=$1 epoch=$2
	shift 2
	guest -r "$epoch" -o "$tmp/pages.vmb" record "$@"
	sed "s/^record/$name/" "$tmp/said" >>"$tmp/round"
}

# From one round's migration to the next round's epoch: ms.
matched() { # PERCENT
	awk -v percent="$1" '$1 == "migrate" && $2 == percent {
		ms = $6 ? 1000 * $3 / $6 : 10000
		print (ms < 10000 ? int(ms) : 10000) "ms" }' "$tmp/round" | tail -1
}

: >"$tmp/all"
i=0
while [ $i -lt "$ROUNDS" ]; do
	: >"$tmp/round"
	[ $((i % 2)) -eq 0 ] || recorded pages 10ms $paces
	plain
	for rate in $RATES; do
		recorded matched "$(matched "$rate")" "$(pace "$rate")"
	done
	[ $((i % 2)) -eq 1 ] || recorded pages 10ms $paces
	cat "$tmp/round" >>"$tmp/all"
	i=$((i + 1))
done

# ratio WHO TO PERCENT COLUMN: of each round.
ratio() {
	awk -v who="$1" -v to="$2" -v percent="$3" -v column="$4" '
		$2 != percent { next }
		$1 == who { a[++na] = $column }
		$1 == to { b[++nb] = $column }
		END { for (i = 1; i <= na && i <= nb; i++) print a[i] / b[i] }' "$tmp/all"
}

for rate in $RATES; do
	limit=-
	[ "$rate" != 1 ] || limit=1.1
	ratio pages nothing "$rate" 3 | row "pages, $rate % a second / nothing" $limit
	ratio pages migrate "$rate" 3 | row "  the same / migration" 1
	ratio matched migrate "$rate" 3 | row "  with as many dirty syncs / migration" 1
	ratio matched nothing "$rate" 3 | row "  with as many dirty syncs / nothing" -
	ratio migrate nothing "$rate" 3 | row "  migration / nothing" -
	ratio calc nothing "$rate" 3 | row "  calc-dirty-rate, dirty-bitmap / nothing" -
	ratio sample nothing "$rate" 3 | row "  calc-dirty-rate, page-sampling / nothing" -
	ratio pages nothing "$rate" 4 | row "  pages / nothing, the vCPU's CPU time" -
	ratio migrate nothing "$rate" 4 | row "  migration / nothing, the vCPU's CPU time" -
done

# middle WHO PERCENT EXPRESSION: the median over the rounds.
middle() {
	awk -v who="$1" -v percent="$2" "\$1 == who && \$2 == percent { print $3 }" "$tmp/all" |
		spread | cut -d' ' -f2
}

note "pages: a guest with 512 MiB stores four bytes to each of so many pages a second, one after the" \
	"other through 479 MiB; the wall time of the same work, about $SECONDS_EACH s, $ROUNDS rounds."
note "  dirty syncs a second (how often the log is read), and CPU of all threads but the vCPU's, in %"
note "  of a processor; migration to a pipe that is read at 0.7 of the rate, its first pass done:"
for rate in $RATES; do
	line="   "
	for who in pages matched migrate calc; do
		line="$line $who $(middle $who "$rate" '$6 / $3')/s $(middle $who "$rate" '100 * $5 / $3') %;"
	done
	note "$line at $rate %, where nothing takes $(middle nothing "$rate" '$3') s"
done

# 2. Compare and diff: the recorder's code next to memcmp() over as many bytes, both read whole.
i=0
while [ $i -lt 3 ]; do
	i=$((i + 1))
	timeout --foreground -k 5 $LIMIT "$HELP/pages_diff" >>"$tmp/diff"
done
while read -r kind limit name; do
	awk -v kind="$kind" '$1 == kind { print $2 / $3 }' "$tmp/diff" | row "memcmp's speed / diff's: $name" "$limit"
done <<END
same 1.25 pages that are the same
few 1.25 4 bytes differ
some 1.25 8 times 8 bytes differ
half 1.25 every other 64 bytes
all 1.25 all bytes differ
END
awk '$1 == "same" { print $2 / $4 }' "$tmp/diff" | row "memcmp's speed / the recorder's: same" 1.25
awk '$1 == "few" { print $2 / $4 }' "$tmp/diff" | row "  4 bytes differ, with sum and copy" -
gbs() { # KIND COLUMN
	awk -v kind="$1" -v column="$2" '$1 == kind { print $column }' "$tmp/diff" | spread | cut -d' ' -f2
}
note "compare and diff, from memory, GB/s of one page of each pair: memcmp of pages that are the same" \
	"$(gbs same 2), delta_make of these $(gbs same 3); of pages of which 4 bytes differ $(gbs few 3)," \
	"8 times 8 bytes $(gbs some 3), every other 64 bytes $(gbs half 3), all $(gbs all 3)." \
	"A ratio of 1.25 is 0.8 of memcmp's speed."
note "  memcmp over those pages themselves, which it leaves at the first byte that differs: $(gbs few 5)," \
	"$(gbs some 5), $(gbs half 5), $(gbs all 5); what the recorder does with a page that differs" \
	"(compare, sum, delta, copy): $(gbs few 4), $(gbs some 4), $(gbs half 4), $(gbs all 4)"

# 3. A Linux boot. It runs under KVM where that does not emulate it: on a nested host.
[ "$HOST" != none ] || exit 0
sh tests/guests/linux/mkinitrd.sh "$tmp/initrd"
mkdir "$tmp/out"
timeout --foreground -k 5 $LIMIT tests/vm/run -t $((LIMIT - 50)) -o "$tmp/out" "$HOST" -- \
	sh tests/bench/pages_boot.sh "$tmp/initrd" "$tmp/out" >"$tmp/vm" 2>&1 </dev/null ||
	{ tail -5 "$tmp/vm" >&2; die "Linux did not boot on the nested host"; }
trace=$tmp/out/boot.vmb
"$HELP/pages_look" streams "$trace" >"$tmp/streams"
bytes=$(stat -c %s "$trace")
theirs=$("$HELP/pages_look" triples "$trace" | zstd -3 -q -c | wc -c)
columns=$("$HELP/pages_look" columns "$trace" | zstd -3 -q -c | wc -c)
raw=$("$HELP/pages_look" triples "$trace" | wc -c)
calc "$bytes / $theirs" | row "pages, a Linux boot: trace / zstd of triples" 1.2
calc "$bytes / $columns" | row "  the same / zstd of them by columns" -
stream() { # NAME
	awk -v name="$1" '$1 == "stream" && $2 == name { print $3 }' "$tmp/streams"
}
kind() { # NAME COLUMN
	awk -v name="$1" -v column="$2" '$1 == "kind" && $2 == name { print $column; n = 1 }
		END { if (!n) print 0 }' "$tmp/streams"
}
note "a Linux boot (Debian's 6.1, 256 MiB) on a nested host to power-off:" \
	"$(sed -n 's/.*vmblame: \(.* versions of pages.*\)/\1/p' "$tmp/vm")"
note "  the trace has $bytes bytes: content $(stream content), activity $(stream activity)," \
	"state $(stream state), the rest $(stream rest); zstd -3 of the triples (page, offset, length" \
	"and bytes of each run that changed; $raw bytes) $theirs, of the same as four arrays $columns"
note "  before compression: $(kind version 4) deltas of $(kind version 3) bytes, $(kind content 4)" \
	"contents (as it began, keyframes) of $(kind content 3) bytes;" \
	"$(kind page_fault 4) faults, $(kind fast_fault 4) without the lock, $(kind dirty 4) dirty marks"
