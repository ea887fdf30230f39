#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# RANGE: what is one, what is none, for every command that takes one.
. "$(dirname "$0")/../lib.sh"
. tests/cli/cli.inc
T=$GOLDEN/stos.vmb

# What each spelling means, told by the first and the last address of a dump.
means() {
	run 0 "$VMBLAME" show "$T" "$1" && grep -q "^$2 " "$tmp/out" || return 1
	[ "$(tail -n 1 "$tmp/out")" = "$3" ] || { tail -n 1 "$tmp/out"; return 1; }
}
a=00000000000b8000
check "START..END" means 0xb8000..0xb8010 $a 00000000000b8010
check "START+LEN" means 0xb8000+0x10 $a 00000000000b8010
check "START+LEN, a decimal length" means 0xb8000+16 $a 00000000000b8010
check "START: one byte" means 0xb8000 $a 00000000000b8001
check "capital hex" means 0XB8000+0X10 $a 00000000000b8010
check "suffix K" means 736K+16 $a 00000000000b8010
check "suffix k" means 736k..0xb8010 $a 00000000000b8010
check "suffix KiB" means 736KiB+16 $a 00000000000b8010
check "suffix M" means 1M+1 0000000000100000 0000000000100001
check "suffix G" means 1G+1 0000000040000000 0000000040000001
check "at the top of the address space" means 0xfffffffffffffffe..0xffffffffffffffff \
	fffffffffffffffe ffffffffffffffff

BAD="nonsense 0x 0xg 0x1000.. ..0x1000 0x1000+ +16 0x1000+0 0x2000..0x1000 0x1000..0x1000
0x1000...0x2000 0x1000-0x2000 0x1000:16 0x1000+16+16 0x1000..0x2000..0x3000 -1 -0x1000 1e6 0x1000+-1
0x10000000000000000 0xffffffffffffffff 0xffffffffffffffff+1 0xfffffffffffffff0+0x20 18446744073709551616
0x1000+18446744073709551615 17179869184G 1Q 1KK 1Ki 0x1000K 1.5M 0x1000,0x2000 12a 1000h ٣"

# An argument that begins with a dash is an unknown option: refused as well.
for range in $BAD "" " " " 0x1000" "0x1000 " "0x1000 +16" "0x1000
"; do
	shown=$(printf '%s' "$range" | tr '\n' '$')
	every_command() {
		for command in who history show; do
			refused 2 . "$VMBLAME" "$command" "$T" "$range" || return 1
			refused 2 . "$VMBLAME" "$command" "$range" || return 1
		done
		refused 2 . "$VMBLAME" export "$T" --range "$range" || return 1
		refused 2 . "$VMBLAME" record -o "$tmp/t.vmb" --watch "$range" -- true || return 1
		[ ! -e "$tmp/t.vmb" ]
	}
	check "refused by every command: '$shown'" every_command
done

told() { refused 2 "0x2000..0x1000" "$VMBLAME" who "$T" 0x2000..0x1000; }
check "the message repeats the range" told
refuses "record: a --watch beyond 52 bits of address" 2 "0x10000000000000+16" \
	"$VMBLAME" record --watch 0x10000000000000+16 -- true
refuses "who: a range too large to answer byte by byte" 2 "large" "$VMBLAME" who "$T" 0..1G
large_show() { "$VMBLAME" show "$T" 0..4M >"$tmp/out" && [ "$(wc -l <"$tmp/out")" = 3 ]; }
check "show: equal lines become a star" large_show
history_all() {
	answers_make "$tmp/answers.vmb" &&
		run 0 "$VMBLAME" history "$tmp/answers.vmb" 0..0xffffffffffffffff &&
		[ "$(grep -cE ' (vCPU 0 at|virtio-blk#0 queue) ' "$tmp/out")" = 7 ]
}
check "history: the whole address space" history_all
many_watches() {
	set --
	n=0
	while [ $n -lt 70 ]; do
		n=$((n + 1))
		set -- "$@" --watch "$((n * 2))M+1"
	done
	refused 2 "watch" "$VMBLAME" record "$@" -- true
}
check "record: more --watch ranges than there is room for" many_watches
finish
