#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Full mode on a boot of Debian's 6.1 kernel under TCG: how much slower it gets, what a store takes in
# the file and to encode and decode, how long questions take, and whether that grows with the trace.
#
#	ROUNDS	of what takes seconds (3)
#	QUESTIONS	how often each of the others is asked (5)
#	SCALE	how many times as large the other trace is (10); 0: none
#	TEXT=0	leaves out the text log, which takes a minute
set -eu
. "$(dirname "$0")/lib.sh"

ROUNDS=${ROUNDS:-3}
QUESTIONS=${QUESTIONS:-5}
SCALE=${SCALE:-10}
TEXT=${TEXT:-1}
LIMIT=900 # seconds, for one program
trace=$tmp/boot.vmb
big=$tmp/big.vmb

kernel=$(sh tests/vm/kernel.sh 6.1)
set -- "$kernel"/boot/vmlinuz-*
kernel=$1
initrd=$tmp/initrd
sh tests/guests/linux/mkinitrd.sh "$initrd"

# boot [COMMAND... ] qemu [ARGUMENTS...]: a boot, QEMU run by COMMAND. "WALL CPU" in seconds, of all
# that takes part, goes to $tmp/took.
boot() {
	before=
	while [ "$1" != qemu ]; do
		before="$before $1"
		shift
	done
	shift
	# shellcheck disable=SC2086
	/usr/bin/time -o "$tmp/time" -f '%e %U %S' timeout --foreground -k 5 $LIMIT $before \
		qemu-system-x86_64 -accel tcg,thread=single -M pc -m 256 -nodefaults -display none \
		-serial "file:$tmp/serial" -no-reboot -kernel "$kernel" -initrd "$initrd" \
		-append "console=ttyS0 nokaslr panic=-1" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &&
		grep -q '^@end' "$tmp/serial" || { cat "$tmp/out" "$tmp/err" >&2; die "no boot"; }
	awk '{ print $1, $2 + $3 }' "$tmp/time" >"$tmp/took"
}

plugin() { # ARGUMENTS
	boot qemu -plugin "$HELP/store_plugin.so,$1"
}

run_none() { boot qemu; }
run_empty() { plugin mode=empty; }
run_naive() { plugin mode=naive,out=/dev/null; }
run_vmblame() {
	rm -f "$trace"
	boot "$VMBLAME" record --mode full --force -o "$trace" -- qemu
	cp "$tmp/err" "$tmp/said"
}

# 1. Rounds of all of them; each by the run without any of the same round.
i=0
while [ "$i" -lt "$ROUNDS" ]; do
	i=$((i + 1))
	order="none empty naive vmblame"
	[ $((i % 2)) -eq 1 ] || order="vmblame naive empty none"
	for who in $order; do
		"run_$who"
		cat "$tmp/took" >>"$tmp/$who.s"
	done
done
for who in vmblame:2.5 empty:- naive:-; do
	name=${who%:*}
	paste "$tmp/$name.s" "$tmp/none.s" | awk '{ print $1 / $3 }' >"$tmp/ratio"
	case $name in
	vmblame) row "full mode: a boot / without a plugin" "${who#*:}" ;;
	*) row "  a plugin that is $name / without" "${who#*:}" ;;
	esac <"$tmp/ratio"
done
paste "$tmp/vmblame.s" "$tmp/none.s" | awk '{ print $2 / $4 }' |
	row "full mode: CPU time of a boot / without" -
plugin "mode=count,out=$tmp/count"
read -r counted loads <"$tmp/count"
# seconds WHO: wall time, and CPU time.
seconds() {
	set -- $(cut -d' ' -f1 "$tmp/$1.s" | spread) $(cut -d' ' -f2 "$tmp/$1.s" | spread)
	echo "$2 s ($1 to $3), CPU $6 s ($5 to $7)"
}
note "full: Debian's $(basename "$kernel") boots under TCG, $ROUNDS rounds, in $(seconds none):" \
	"$counted stores and $loads loads, of any size, by a plugin that counts."
note "  recorded: $(seconds vmblame). $(sed -n '1s/.*kept/kept/p' "$tmp/said")"
note "  an empty callback: $(seconds empty). 32-byte structs to /dev/null: $(seconds naive). QEMU before" \
	"9.0 calls both at loads, too."

# 2. The size, of the last round's trace.
timeout --foreground -k 5 $LIMIT "$HELP/stores_zstd" "$trace" >"$tmp/size"
set -- $(cat "$tmp/size")
sampled=$1 zstd_bytes=$2 stores=$3 bytes=$4 index=$5
calc "$bytes / $stores" | row "full mode: bytes in the file per store" 0.85
calc "$bytes / ($stores * ($counted + $loads) / $counted)" |
	row "full mode: bytes in the file per access" 0.85
calc "$bytes / $stores / ($zstd_bytes / $sampled)" | row "  the same / structs of 32 bytes, zstd -3" -
calc "100 * $index / $bytes" | row "full mode: index, % of the file" 5
note "  the file has $bytes bytes, $index of index; zstd -3 makes" \
	"$(calc "$zstd_bytes / $sampled") bytes of a store of 32 ($sampled stores looked at)"

# 3. The codec.
i=0
while [ "$i" -lt "$ROUNDS" ]; do
	i=$((i + 1))
	timeout --foreground -k 5 $LIMIT "$HELP/stores_codec" "$trace" >>"$tmp/codec"
done
cut -d' ' -f2 "$tmp/codec" | row "full mode: encode a store, ns" 20
cut -d' ' -f1 "$tmp/codec" | row "full mode: decode a store, ns" 10

# 4. Questions, the file not in the page cache.
eval "$(timeout --foreground -k 5 $LIMIT "$HELP/stores_pick" "$trace")"
note "  pages by writes: hottest $hottest ($hottest_n), one of the 100 hottest $hundred ($hundred_n)," \
	"median $median ($median_n), once $once, never $never; $pages were written"
note "  asked of by their byte written last: $hundred_byte, $median_byte, $once_byte"
note "  bytes of the hottest page: hot $hot_byte ($hot_byte_n writes), cold $cold_byte ($cold_byte_n)"


# cold FILE QUESTION ARGUMENTS...: one run. Milliseconds go to standard output, KiB to $tmp/kib.
cold() {
	file=$1 question=$2
	shift 2
	timeout --foreground -k 5 $LIMIT "$HELP/run_cold" -e 3 "$file" "$VMBLAME" "$question" "$file" "$@" \
		>"$tmp/run" || die "$question $*: no answer"
	cut -d' ' -f2 "$tmp/run" >"$tmp/kib"
	cut -d' ' -f1 "$tmp/run"
}

# ask NAME LIMIT_MS UNIT QUESTION ARGUMENTS...: a row; UNIT is how many ms it counts in.
ask() {
	name=$1 limit=$2 unit=$3 rounds=$QUESTIONS
	[ "$unit" = 1 ] || rounds=$ROUNDS
	shift 3
	: >"$tmp/runs"
	i=0
	while [ "$i" -lt "$rounds" ]; do
		i=$((i + 1))
		cold "$trace" "$@" >>"$tmp/runs"
		awk '{ print $1 / 1024 }' "$tmp/kib" >>"$tmp/rss.$1"
	done
	awk -v unit="$unit" '{ print $1 / unit }' "$tmp/runs" | row "$name" "$limit"
}

ask "who, cold, ms: hottest page, hot byte" 100 1 who "$hot_byte"
ask "who, cold, ms: hottest page, cold byte" 100 1 who "$cold_byte"
ask "who, cold, ms: hottest page, all of it" - 1 who "$hottest+4K"
ask "who, cold, ms: one of the 100 hottest" 100 1 who "$hundred_byte"
ask "who, cold, ms: median page" 100 1 who "$median_byte"
ask "who, cold, ms: page written once" 100 1 who "$once_byte"
ask "who, cold, ms: page never written" 100 1 who "$never_byte"

# Times by the stores before them, half of all and 99 %: the guest sleeps in the end.
for at in middle late; do
	for page in hottest hundred median once never; do
		eval "ask \"show, cold, ms: $page, $at\" 300 1 show \$$page+4K --at \${${at}_ns}ns"
	done
done
ask "show, cold, ms: hundred, by number" 300 1 show "$hundred+4K" --at "#$((stores / 2))"

# histories [SUFFIX OF THE ROWS]
histories() {
	for page in hottest hundred median once never; do
		eval "gpa=\$$page"
		lines=$("$VMBLAME" history "$trace" "$gpa+4K" | wc -l)
		if [ "$lines" -gt 1000000 ]; then
			ask "history$1, cold, us a line: $page" - "$(calc "$lines / 1000")" history "$gpa+4K"
			note "  history$1 of $page: $lines lines," \
				"$(spread <"$tmp/runs" | cut -d' ' -f2) ms (target: 300)"
		else
			ask "history$1, cold, ms: $page, $lines lines" 300 1 history "$gpa+4K"
		fi
	done
}
histories ""

ask "find, cold, s: u64 of text" 30 1000 find "u64:$number"
ask "find, cold, s: u64 that is a pointer" 30 1000 find -n 1000000000 "u64:$pointer"
ask "find, cold, s: the initrd's blocks" 30 1000 find --file "$initrd"
for question in who show history find; do
	row "$question, MiB resident, at most" 300 <"$tmp/rss.$question"
done

# The same of the stores by pages.
timeout --foreground -k 5 $LIMIT /usr/bin/time -o "$tmp/time" -f '%e %M' "$VMBLAME" index -q "$trace"
read -r seconds kib <"$tmp/time"
echo "$seconds" | row "index: seconds" -
calc "$kib / 1024" | row "index, MiB resident" 300
calc "$(stat -c %s "$trace.pages") / $bytes" | row "index: its size / the trace's" -
histories " by pages"
ask "who by pages, cold, ms: median page" 100 1 who "$median_byte"
ask "show by pages, cold, ms: hundred, middle" 300 1 show "$hundred+4K" --at "${middle_ns}ns"
rm "$trace.pages"

# Beside the question for the cold byte: a text log of the same boot, and grep.
if [ "$TEXT" != 0 ]; then
	mkfifo "$tmp/fifo"
	zstd -q -1 -c <"$tmp/fifo" >"$tmp/log.zst" &
	plugin "mode=text,out=$tmp/fifo"
	wait $!
	rm "$tmp/fifo"
	# shellcheck disable=SC2016
	echo 'zstd -q -dc "$1" | grep -F "$2" | tail -1' >"$tmp/grep.sh"
	timeout --foreground -k 5 $LIMIT "$HELP/run_cold" -e 1 "$tmp/log.zst" sh "$tmp/grep.sh" "$tmp/log.zst" \
		"$cold_gva" >"$tmp/run"
	note "  a text log of stores (vcpu, pc, address, size) through zstd -1: a boot takes" \
		"$(cut -d' ' -f1 "$tmp/took") s, the log $(stat -c %s "$tmp/log.zst") bytes;" \
		"zstd -dc LOG | grep ADDRESS | tail -1: $(calc "$(cut -d' ' -f1 "$tmp/run") / 1000") s"
	rm "$tmp/log.zst"
fi

# 5. The same again and again, as one trace; the last time it is asked for.
[ "$SCALE" != 0 ] || exit 0
timeout --foreground -k 5 $LIMIT "$HELP/stores_scale" "$trace" "$SCALE" "$big" >"$tmp/stores"
note "  $SCALE times the boot: $(cat "$tmp/stores") stores, $(stat -c %s "$tmp/big.vmb") bytes"

# grow NAME LIMIT QUESTION ARGUMENTS... -- ARGUMENTS OF THE BIG ONE...: time and memory, as ratios.
grow() {
	name=$1 limit=$2 question=$3
	shift 3
	small=
	while [ "$1" != -- ]; do
		small="$small $1"
		shift
	done
	shift
	: >"$tmp/time" && : >"$tmp/memory"
	i=0
	while [ "$i" -lt "$QUESTIONS" ]; do
		i=$((i + 1))
		# shellcheck disable=SC2086
		small_ms=$(cold "$trace" "$question" $small)
		small_kib=$(cat "$tmp/kib")
		big_ms=$(cold "$big" "$question" "$@")
		calc "$big_ms / $small_ms" >>"$tmp/time"
		calc "$(cat "$tmp/kib") / $small_kib" >>"$tmp/memory"
		echo >>"$tmp/time"
		echo >>"$tmp/memory"
	done
	row "$name, time" "$limit" <"$tmp/time"
	row "$name, memory" 1.1 <"$tmp/memory"
}

last_ns=$(((end_ns + 1) * (SCALE - 1)))
times="x$SCALE"
for page in hundred median once never; do
	eval "gpa=\$$page byte=\$${page}_byte"
	grow "$times, who: $page" 1.5 who "$byte" -- "$byte"
	grow "$times, show: $page" 1.5 show "$gpa+4K" --at "${middle_ns}ns" -- "$gpa+4K" \
		--at "$((last_ns + middle_ns))ns"
	grow "$times, history: $page" 1.5 history "$gpa+4K" -- "$gpa+4K" --from "${last_ns}ns"
done
grow "$times, who: hottest, cold byte" 1.5 who "$cold_byte" -- "$cold_byte"
grow "$times, show: hottest" 1.5 show "$hottest+4K" --at "${late_ns}ns" -- "$hottest+4K" \
	--at "$((last_ns + late_ns))ns"
grow "$times, who: hottest, hot byte" 1.5 who "$hot_byte" -- "$hot_byte"
rm "$big"
