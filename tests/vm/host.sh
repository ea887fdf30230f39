#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The nested host's first process once it has its root: mounts what a host has mounted, loads KVM, runs
# the command with its output on the launcher's ports, says how it ended, and switches off.
. /run/vm/settings
vm=/run/vm
export PATH=$vm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root USER=root LOGNAME=root TERM=dumb LANG=C.UTF-8

must() {
	"$@" && return
	echo "vm: host: failed: $*" >/dev/kmsg
	"$vm/busybox" poweroff -f
}

# The modules come without an index for any modprobe but busybox's.
for tool in modprobe rmmod insmod lsmod; do
	ln -s "$vm/busybox" "$vm/bin/$tool"
done
echo "$vm/bin/modprobe" >/proc/sys/kernel/modprobe
must mkdir -p /lib/modules /dev/pts /dev/shm
must "$vm/busybox" mount --bind "$modules" /lib/modules
must "$vm/busybox" mount -t devpts devpts /dev/pts -o mode=620,ptmxmode=666
must "$vm/busybox" mount -t tmpfs shm /dev/shm -o mode=1777
"$vm/busybox" mount -t tracefs tracefs /sys/kernel/tracing
"$vm/busybox" mount -t debugfs debugfs /sys/kernel/debug
"$vm/busybox" mount -t bpf bpf /sys/fs/bpf
"$vm/busybox" mount -t cgroup2 cgroup2 /sys/fs/cgroup
"$vm/busybox" ip link set lo up
"$vm/busybox" hostname vm
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
n=0
while [ $n -lt "$outs" ]; do
	eval "place=\$out$n"
	must mkdir -p "$place"
	must "$vm/busybox" mount -t virtiofs "out$n" "$place"
	n=$((n + 1))
done

# With huge pages a guest whose memory slots are split inside its kernel's image hangs: the emulated
# nested paging's doing.
echo never >/sys/kernel/mm/transparent_hugepage/enabled
must modprobe kvm-amd "npt=$npt"

for port in /sys/class/virtio-ports/vport*; do
	read -r name <"$port/name"
	eval "port_$name=/dev/${port##*/}"
done
# A port can be opened once: the command gets pipes.
mkfifo "$vm/out" "$vm/err"
cat <"$vm/out" >"$port_out" &
copy_out=$!
cat <"$vm/err" >"$port_err" &
copy_err=$!
echo begin >"$port_control"
cd "$directory" || cd /
"$vm/busybox" setsid /bin/sh "$vm/command" </dev/null >"$vm/out" 2>"$vm/err"
status=$?

# What it left running would hold its output open. Kernel threads have no program.
for process in /proc/[0-9]*; do
	pid=${process##*/}
	case $pid in
	1 | $$ | "$copy_out" | "$copy_err") continue ;;
	esac
	[ -n "$(readlink "$process/exe")" ] && kill -9 "$pid"
done
wait "$copy_out" "$copy_err"
echo "exit $status" >"$port_control"
# poweroff -f waits for no file system: what was written below --out is on the other side already.
"$vm/busybox" sync
"$vm/busybox" poweroff -f
