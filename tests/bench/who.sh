#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `who` on a synthetic trace of 25 million events, its pages dropped from the page cache, in a fresh
# process: time and memory. Beside it what one would do without: search a compressed text log.
set -eu
. "$(dirname "$0")/lib.sh"

EVENTS=${BENCH_EVENTS:-25000000}
ROUNDS=${BENCH_WHO_ROUNDS:-7}
SAMPLE=1000000

"$HELP/gen_synthetic" "$tmp/big.vmb" "$EVENTS" >"$tmp/gen" || die "gen_synthetic failed"
note "who: $EVENTS synthetic events, $(stat -c %s "$tmp/big.vmb") bytes; $ROUNDS cold runs each." \
	"Written at $(sed 's/.*, //' "$tmp/gen")."

# ask NAME RANGE [ROUNDS]: one row of milliseconds.
ask() {
	rm -f "$tmp/runs"
	i=0
	while [ $i -lt "${3:-$ROUNDS}" ]; do
		i=$((i + 1))
		"$HELP/run_cold" -e 3 "$tmp/big.vmb" "$VMBLAME" who "$tmp/big.vmb" "$2" >>"$tmp/runs" ||
			die "who $2: no answer"
	done
	cut -d' ' -f2 "$tmp/runs" | awk '{ print $1 / 1024 }' >>"$tmp/rss"
	cut -d' ' -f1 "$tmp/runs" | row "who, cold, ms: $1" 50
	status=0
	"$VMBLAME" who --json "$tmp/big.vmb" "$2" >"$tmp/json" 2>"$tmp/err" || status=$?
	note "  $2 ($1): exit status $status, $(grep -o '"verdict":"[A-Z-]*"' "$tmp/json" | head -1)"
}

ask "a page often written" 0x2000100
ask "8 KiB often written" 0x2000000+8K
ask "a byte written once" 0x7fff0123
ask "a page never written" 0x7f000000
ask "a device's register" 0xfebf0000 3
row "who, MiB resident, all of these" 100 <"$tmp/rss"

# The same question to a text log, on a sample, in proportion.
"$HELP/gen_synthetic" "$tmp/small.vmb" $SAMPLE >/dev/null
"$VMBLAME" export --format text "$tmp/small.vmb" | zstd -q -3 -c >"$tmp/log.zst" ||
	die "export failed"
cat >"$tmp/grep.sh" <<'END'
zstd -q -dc "$1" | grep -F 0x7fff0123 | tail -1
END
i=0
while [ $i -lt 3 ]; do
	i=$((i + 1))
	"$HELP/run_cold" -e 1 "$tmp/log.zst" sh "$tmp/grep.sh" "$tmp/log.zst" >>"$tmp/grep.runs"
done
set -- $(awk -v n="$EVENTS" -v s=$SAMPLE '{ print $1 * n / s / 1000 }' "$tmp/grep.runs" | spread)
note "  zstd -dc LOG | grep ADDRESS | tail -1 on a text log: $2 s (a sample of $SAMPLE events, in" \
	"proportion; $(stat -c %s "$tmp/log.zst") bytes compressed)"
