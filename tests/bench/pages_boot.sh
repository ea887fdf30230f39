#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# pages_boot.sh INITRD DIRECTORY: on a nested host, a Linux boot under pages mode, to
# DIRECTORY/boot.vmb.
#
# Its one processor is emulated, and compares and compresses a hundred times slower than a real one.
# So the recorder goes before the guest, which runs while that sleeps: an epoch is 10 ms of the
# guest's time, or less.
set -eu
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
kernel=$(ls "$VMBLAME_KERNELS"/6.1/boot/vmlinuz-* | tail -1)
chrt -f 10 "$B/vmblame" record --user root --force --mode pages --epoch 10ms -o "$2/boot.vmb" -- \
	chrt -o 0 qemu-system-x86_64 -accel kvm -nodefaults -display none -m 256 -no-reboot -serial stdio \
	-kernel "$kernel" -initrd "$1" \
	-append "console=ttyS0 quiet nokaslr nohz=off panic=-1" >"$2/console" </dev/null
grep -q '^@end' "$2/console"
