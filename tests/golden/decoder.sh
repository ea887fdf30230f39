#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Two readers, one of them written from docs/format.md alone, must make the same of every trace:
# golden and damaged ones, a long one, one cut at many places, a recording of a real guest.
set -u
. "$(dirname "$0")/../lib.sh"
decoder=tests/golden/decoder.py
synthetic=$B/tests/gen/gen_synthetic
golden=$B/tests/gen/gen_golden
kinds=tests/golden/kinds.vmb

/usr/bin/python3 -c 'import xxhash, zstandard' 2>/dev/null || {
	skip "the second reader" "needs python3-xxhash and python3-zstandard"
	finish
}

# offset FILE: where in the trace the first message says that something is wrong.
offset() {
	sed -n '/ offset [0-9]/{s/.* offset \([0-9]*\):.*/\1/p;q;}' "$1"
}

# same FILE: the same events to the byte, the same status, and trouble at the same place.
same() {
	"$VMBLAME" export "$1" --format json >"$tmp/one" 2>"$tmp/one.err" </dev/null
	one=$?
	$decoder "$1" >"$tmp/two" 2>"$tmp/two.err"
	two=$?
	[ $one -le 1 ] && [ $one -eq $two ] && cmp "$tmp/one" "$tmp/two" &&
		[ "$(offset "$tmp/one.err")" = "$(offset "$tmp/two.err")" ] && return 0
	echo "exit status $one and $two"
	cat "$tmp/one.err" "$tmp/two.err"
	diff "$tmp/one" "$tmp/two" | head -4
	return 1
}

# recovers NAME: --recover finds the events that NAME.expected has.
recovers() {
	grep '^events' "tests/golden/$1.expected" >"$tmp/expected"
	$decoder --recover "tests/golden/$1.vmb" 2>"$tmp/two.err" |
		sed 's/^{"v":1,"seq":\([0-9]*\),.*/\1/' | awk '
			NR > 1 && $1 != last + 1 { print "events " first ".." last }
			NR == 1 || $1 != last + 1 { first = $1 }
			{ last = $1 }
			END { print "events " first ".." last }' | diff "$tmp/expected" -
}

# cut_is_same FILE BYTES: same, of the beginning of a trace.
cut_is_same() {
	head -c "$2" "$1" >"$tmp/cut.vmb"
	same "$tmp/cut.vmb"
}

synthetic_is_same() {
	"$synthetic" "$tmp/synthetic.vmb" 200000 && same "$tmp/synthetic.vmb" &&
		[ "$(wc -l <"$tmp/two")" -ge 200000 ]
}

stores_are_same() {
	"$golden" "$tmp" 50000 && same "$tmp/stores.vmb" &&
		[ "$(grep -c '"event":"store"' "$tmp/two")" -ge 50000 ]
}

record_guest() {
	"$VMBLAME" record -q -o "$tmp/live.vmb" --watch 0x1000000+65536 --watch 0x1234c38+9001 -- \
		qemu-system-x86_64 -accel kvm -nodefaults -display none -m 64 -no-reboot -serial stdio \
		-drive if=none,id=d,format=raw,readonly=on,file="$GUESTS/stores-small.img" \
		-device virtio-blk-pci,drive=d -device isa-debug-exit,iobase=0x501,iosize=2 </dev/null
	[ $? -eq 33 ]
}

live_is_same() {
	same "$tmp/live.vmb" && [ "$(grep -c '"event":"mmio"' "$tmp/two")" -ge 2000 ] &&
		grep -q '"event":"content"' "$tmp/two" && grep -q '"event":"vq_sg"' "$tmp/two"
}

for trace in tests/golden/*.vmb; do
	check "two readers: $(basename "$trace")" same "$trace"
done

# sums FILE: both readers find the same versions whose pages have other sums than they say.
sums() {
	$decoder --sums "$1" >"$tmp/two" 2>"$tmp/two.err"
	two=$?
	"$VMBLAME" verify --json -n 100000 "$1" >"$tmp/one" 2>"$tmp/one.err"
	one=$?
	[ $one -eq $two ] || { echo "exit status $one and $two"; cat "$tmp/two.err"; return 1; }
	sed -n 's/.*"what":"sum","seq":\([0-9]*\),.*/#\1/p; s/.*"versions":\([0-9]*\),.*/\1 versions/p' \
		"$tmp/one" | diff - "$tmp/two"
}
check "two readers: the sums of versions" sums tests/golden/versions.vmb
check "two readers: a wrong sum" sums tests/golden/wrong-sum.vmb
one_wrong() { [ "$(grep -c '^#' "$tmp/two")" -ge 1 ]; }
check "two readers: it is found" one_wrong
for name in cut damaged-body damaged-index; do
	check "recovered: $name" recovers $name
done

cat >"$tmp/chunks" <<-END
	72 +112 meta 1
	184 +176 events 1 state #1..#1 4000..4000 ns, 0 pages, 0 lost
	360 +243 events 3 activity #2..#4 5000..6114 ns, 1 pages, 0 lost
	vm.args = qemu
END
$decoder --chunks tests/golden/tiny.vmb >"$tmp/two"
check "chunks of the document's example" diff "$tmp/chunks" "$tmp/two"

# Within and after headers, bodies, index and trailer of $kinds (decoder.py --chunks tells where).
for bytes in 0 5 71 72 80 168 192 600 1449 1450 2000 4174 4380 4381 4500 4718 4757; do
	check "two readers: kinds cut at $bytes" cut_is_same $kinds $bytes
done
for bytes in 700 1000 1954 1955 2500 3000 4307 4308 4400 4600 4782; do
	check "two readers: stores cut at $bytes" cut_is_same tests/golden/stores.vmb $bytes
done

if [ -x "$synthetic" ]; then
	check "two readers: 200,000 events" synthetic_is_same
else
	skip "two readers: 200,000 events" "$synthetic is not built"
fi

if [ -x "$golden" ]; then
	check "two readers: 50,000 stores" stores_are_same
else
	skip "two readers: 50,000 stores" "$golden is not built"
fi

if lacks=$(live_lacks); then
	not_applicable "two readers: a recording" "needs $lacks"
elif [ ! -e "$GUESTS/stores-small.img" ]; then
	skip "two readers: a recording" "needs make guests"
else
	check "a guest is recorded" record_guest
	check "two readers: a recording" live_is_same
	for part in 2 3 5; do
		check "two readers: 1/$part of a recording" \
			cut_is_same "$tmp/live.vmb" $(($(wc -c <"$tmp/live.vmb") / part))
	done
fi
finish
