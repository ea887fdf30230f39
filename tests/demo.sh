#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# make demo: records a boot that fails because a module in RAM is damaged, then asks who damaged it.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
G=$B/guests
vmblame=$B/vmblame
trace=$B/demo.vmb

# With KVM and BPF a range is watched; without them QEMU's own emulation tells of every store.
if "$vmblame" check >"$B/check.txt" 2>&1; then
	mode=watch
elif grep -q '^mode  *full  *yes' "$B/check.txt"; then
	mode=full
	echo "No KVM, or no BPF: see vmblame check. The guest is emulated, and all its stores are recorded."
else
	echo "This machine cannot run the demo; vmblame check says:"
	grep -E '^(host|vmm|mode) .* no ' "$B/check.txt" || cat "$B/check.txt"
	exit 1
fi
mode=${DEMO_MODE:-$mode}
show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

read -r _ gpa size <"$G/console.addr"
module=$gpa$size
echo "A guest loads a module from its disk to $module, and finds it damaged."
if [ $mode = full ]; then
	set -- --mode full
	accel=tcg
else
	set -- --watch "$module"
	accel=kvm
fi
show "$vmblame" record -o "$trace" --force "$@" -- \
	qemu-system-x86_64 -accel $accel -nodefaults -display none -m 64 -no-reboot -serial stdio \
	-drive "if=none,id=d,format=raw,readonly=on,file=$G/console.img" \
	-device virtio-blk-pci,drive=d -device isa-debug-exit,iobase=0x501,iosize=2
echo "(exit status $?: the guest gave up)"

# Where the file that was loaded and the memory at the end differ.
"$vmblame" show "$trace" "$module" --raw >"$B/module.end" || exit 1
damage=$(cmp -l "$G/module.good" "$B/module.end" | awk 'NR == 1 { first = $1 } { n++; last = $1 }
	END { printf "%d %d %d", n, first - 1, last }')
set -- $damage
echo
echo "$1 bytes of the module differ from the file, between offset $2 and $3."
echo "Who wrote the first row of them?"
show "$vmblame" who "$trace" "$(printf '0x%x+8' $((gpa + $2)))" --symbols "$G/console.elf"
