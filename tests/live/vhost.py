#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vhost and vhost-user: what the kernel or another process writes past QEMU is UNKNOWN, with the
device's name, and never a vCPU's; what they were never given keeps its writer.

vhost.py [user|net]: one of the two only."""
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

from live import (GUESTS, OK, SLOW, Tap, expect, info, qemu, ranges, record, record_args, run,
                  watch, who)

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ETHERTYPE = 0x88B5
LOADED = "0x8000+512"  # what the boot sector read from the disk

tap = Tap()


def modprobe(*modules):
    """They may be there but not loaded; where they are built in or missing, so be it."""
    tool = ["modprobe"] if shutil.which("modprobe") else ["busybox", "modprobe"]
    for module in modules:
        try:
            subprocess.run([*tool, module], check=False, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        except OSError:
            return


def opens(path):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        return True
    except OSError:
        return False


def verdicts(trace, text):
    return {(row["verdict"], row.get("why"), row.get("origin")) for row in who(trace, text)}


# vhost-user: a disk that another process serves. SeaBIOS drives it.

class Disk:
    """qemu-storage-daemon; it is ready when it answers."""

    def __init__(self, image):
        self.path = tap.path("disk.sock")
        self.process = subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev",
             f"driver=file,node-name=d,read-only=on,filename={image}", "--export",
             f"type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={self.path}",
             "--chardev", "stdio,id=m", "--monitor", "chardev=m"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        self.process.stdout.readline()
        self.process.stdin.write('{"execute": "qmp_capabilities"}\n')
        self.process.stdin.flush()
        expect("return" in self.process.stdout.readline(), "no storage daemon")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


def small_guest():
    """One that only has to be loaded: a thousand stores, elsewhere."""
    path = tap.path("loop.img")
    with open(f"{GUESTS}/mmioloop-ram.img", "rb") as image:
        data = bytearray(image.read())
    data[0x1f4:0x1f8] = struct.pack("<I", 1000)
    with open(path, "wb") as image:
        image.write(data)
    return path


def by_vhost_user(trace, *options):
    machine = ["qemu-system-x86_64", "-accel", "kvm", "-nodefaults", "-display", "none", "-m", "64",
               "-no-reboot", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
               "-object", "memory-backend-memfd,id=m,size=64M,share=on", "-machine",
               "memory-backend=m", "-device", "vhost-user-blk-pci,chardev=c,num-queues=1"]
    with Disk(small_guest()) as disk:
        done = run(record_args(trace, "--watch", LOADED, *options) + machine +
                   ["-chardev", f"socket,id=c,path={disk.path}"])
    expect(done.status == OK and "mmioloop: done" in done.out, done.out + done.err)
    return done


def vhost_user():
    trace = tap.path("user.vmb")
    done = by_vhost_user(trace)
    expect("vhost" in done.err.split("not observed:")[1].splitlines()[0], done.err)
    queues = info(trace)["vhost"]
    expect({(q["dev"], q["queue"], q["backend"]) for q in queues} ==
           {("virtio-blk#0", 0, "vhost-user")}, queues)
    expect(verdicts(trace, LOADED) == {("UNKNOWN", "vhost-user", None)}, verdicts(trace, LOADED))
    for row in who(trace, f"{queues[0]['used']}+8"):
        expect(row["verdict"] == "UNKNOWN" and row["why"] == "vhost-user" and
               "used ring of virtio-blk#0 queue 0" in row["detail"], row)


def by_qemu():
    """The same disk in QEMU: the test above is about vhost-user, not about disks."""
    trace = tap.path("qemu.vmb")
    done = record(trace, "mmioloop-ram", "--watch", LOADED)
    expect(done.status == OK, done.err)
    expect(verdicts(trace, LOADED) == {("WRITTEN-BY", None, "virtqueue")}, verdicts(trace, LOADED))
    expect(info(trace)["vhost"] == [], info(trace)["vhost"])


def vhost_user_without(probe):
    trace = tap.path("without.vmb")
    by_vhost_user(trace, "--without", probe)
    for verdict, why, _ in verdicts(trace, LOADED):
        expect(verdict == "UNKNOWN" and why in ("vhost", "vhost-user", "no-probe"), (verdict, why))


# vhost in the kernel: a network card, and a frame from the host.

class Network:
    """A tap device, and a socket to send through it."""

    def __init__(self):
        self.name = f"vb{os.getpid()}"
        self.tun = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", self.name.encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(self.tun, TUNSETIFF, request)
        try:
            with open(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6", "w",
                      encoding="ascii") as f:
                f.write("1")  # the host says nothing of its own then
        except OSError:
            pass
        with socket.socket() as s:
            flags = struct.unpack_from("H", fcntl.ioctl(
                s, SIOCGIFFLAGS, struct.pack("16sH22x", self.name.encode(), 0)), 16)[0]
            fcntl.ioctl(s, SIOCSIFFLAGS,
                        struct.pack("16sH22x", self.name.encode(), flags | IFF_UP))

    def send(self, frame):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind((self.name, 0))
            s.send(frame)

    def close(self):
        os.close(self.tun)


def received(trace, *options):
    """Records the guest until it has its frame; the frame and where it lies."""
    net = Network()
    frame = bytes(range(0x40, 0x4c)) + struct.pack(">H", ETHERTYPE) + bytes(range(200)) + bytes(50)
    args = qemu("net", "-netdev", f"tap,id=n,fd={net.tun},vhost=on,vhostforce=on", "-device",
                "virtio-net-pci,netdev=n,romfile=")
    err = tap.path("err")
    try:
        with open(err, "w", encoding="utf-8") as err_file:
            process = subprocess.Popen(
                record_args(trace, *watch("net"), *options) + args, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=err_file, text=True, pass_fds=[net.tun])
        out = ""
        for line in process.stdout:
            out += line
            if "net: ready" in line:
                net.send(frame)
        status = process.wait(120 * SLOW)
    finally:
        net.close()
    with open(err, encoding="utf-8") as f:
        said = f.read()
    expect(status == OK, f"{status}: {out}{said}")
    words = [line for line in out.splitlines() if "net: frame" in line][0].split()
    expect(int(words[3]) == 10 + len(frame), out)
    return int(words[2], 0), 10 + len(frame)


def vhost_net():
    trace = tap.path("net.vmb")
    gpa, size = received(trace)
    queues = info(trace)["vhost"]
    expect([(q["dev"].split("#")[0], q["queue"], q["backend"]) for q in queues] ==
           [("virtio-net", 0, "vhost")], queues)
    rings = int(ranges("net")["rings"].split("+")[0], 0)
    expect(int(queues[0]["used"], 16) == rings + 0x2000, queues)
    for text in (f"{gpa:#x}+{size}", f"{queues[0]['used']}+12", ranges("net")["buffers"]):
        expect(verdicts(trace, text) == {("UNKNOWN", "vhost", None)} or
               {v[:2] for v in verdicts(trace, text)} == {("UNKNOWN", "vhost")},
               f"{text}: {verdicts(trace, text)}")
    for row in who(trace, f"{queues[0]['used']}+12"):
        expect(f"used ring of {queues[0]['dev']} queue 0" in row["detail"], row)
    # What the driver never gave away is still the processor's: descriptors, and other memory.
    for text in (ranges("net")["stamp"], f"{rings:#x}+14"):
        expect(verdicts(trace, text) == {("WRITTEN-BY", None, "vcpu")}, verdicts(trace, text))


def user_tests():
    tap.attempt("a disk in QEMU: its bytes are WRITTEN-BY virtqueue", by_qemu)
    if not shutil.which("qemu-storage-daemon"):
        tap.skip("vhost-user", "needs qemu-storage-daemon")
        return
    tap.attempt("vhost-user: loaded bytes and used ring are UNKNOWN vhost-user", vhost_user)
    for name in ("vhost__vhost_dev_start", "vhost__vhost_virtqueue_start",
                 "virtqueue__virtio_queue_set_rings"):
        tap.attempt(f"vhost-user without {name}: nothing else is named", vhost_user_without, name)


def net_tests():
    modprobe("vhost_net", "tun")
    if not opens("/dev/vhost-net"):
        tap.not_applicable("vhost", "no vhost on this host")
    elif not opens("/dev/net/tun"):
        tap.not_applicable("vhost", "no tap devices on this host")
    else:
        tap.attempt("vhost: a received frame and the used ring are UNKNOWN vhost", vhost_net)


if "net" not in sys.argv[1:]:
    user_tests()
if "user" not in sys.argv[1:]:
    net_tests()
tap.end()
