// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A virtio-net card by the legacy PCI interface (virtio 1.1, "Legacy Interface"), receiving only:
 * buffers that the processor has filled are handed over, "net: ready" is said, and the first frame
 * of type NET_ETHERTYPE is told of: "net: frame GPA LEN", the virtio header included.
 */
#include "guest.h"
#include "net_layout.h"

#define NET_ETHERTYPE 0xb588u /* 0x88b5, for experiments, as it lies in memory */
#define NET_FILL      0xa5a5a5a5u
#define NET_HEADER    10 /* struct virtio_net_hdr without merged buffers */

#define PCI_CONFIG_ADDR 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_COMMAND	0x04
#define PCI_BAR0	0x10
#define PCI_IO_MASTER	0x5 /* I/O space, bus master */
#define VIRTIO_NET_PCI	0x10001af4

/* Registers in BAR0. */
#define REG_GUEST_FEATURES 0x04
#define REG_QUEUE_PFN	   0x08
#define REG_QUEUE_SIZE	   0x0c
#define REG_QUEUE_SELECT   0x0e
#define REG_QUEUE_NOTIFY   0x10
#define REG_STATUS	   0x12

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER	   2
#define STATUS_DRIVER_OK   4

#define DESC_WRITE	   2
#define AVAIL_NO_INTERRUPT 1
#define RING_PAGE	   4096u
#define POLLS_MAX	   2000000000u

struct desc {
	u64 gpa;
	u32 len;
	u16 flags;
	u16 next;
};

struct avail {
	u16 flags;
	u16 idx;
	u16 ring[];
};

struct used {
	u16 flags;
	u16 idx;
	struct {
		u32 id;
		u32 len;
	} ring[];
};

static u32 pci_read(u32 device, u32 reg)
{
	out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | reg);
	return in32(PCI_CONFIG_DATA);
}

static u16 net_find(void)
{
	for (u32 device = 0; device < 32; device++) {
		if (pci_read(device, 0) != VIRTIO_NET_PCI)
			continue;
		const u32 command = pci_read(device, PCI_COMMAND) | PCI_IO_MASTER;

		out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | PCI_COMMAND);
		out32(PCI_CONFIG_DATA, command);
		return (u16)(pci_read(device, PCI_BAR0) & ~3u);
	}
	guest_panic("no virtio-net card on PCI bus 0");
}

void net_fill(u32 gpa, u32 value);

/* The one instruction of this guest that stores to the buffers. */
__attribute__((noinline)) void net_fill(u32 gpa, u32 value)
{
	*(volatile u32 *)(uintptr_t)gpa = value;
}

static volatile struct used *queue_start(u16 io)
{
	volatile struct desc *desc = (volatile struct desc *)NET_RINGS_GPA;

	out16(io + REG_QUEUE_SELECT, 0);

	const u16 size = in16(io + REG_QUEUE_SIZE);
	const u32 avail_off = size * sizeof(*desc);
	const u32 used_off = (avail_off + 6 + 2u * size + RING_PAGE - 1) & ~(RING_PAGE - 1);
	volatile struct avail *avail = (volatile struct avail *)(NET_RINGS_GPA + avail_off);

	if (size < NET_BUFFERS || used_off + 6 + 8u * size > NET_RINGS_BYTES)
		guest_panic("virtio-net queue of a size that does not fit");
	out32(io + REG_QUEUE_PFN, NET_RINGS_GPA / RING_PAGE);
	for (u16 i = 0; i < NET_BUFFERS; i++) {
		desc[i].gpa = NET_BUFFERS_GPA + i * NET_BUFFER_BYTES;
		desc[i].len = NET_BUFFER_BYTES;
		desc[i].flags = DESC_WRITE;
		avail->ring[i] = i;
	}
	avail->flags = AVAIL_NO_INTERRUPT;
	barrier();
	avail->idx = NET_BUFFERS;
	return (volatile struct used *)(NET_RINGS_GPA + used_off);
}

unsigned guest_main(void)
{
	u16 seen = 0;

	serial_text("vmblame test guest: net\n");
	for (u32 at = 0; at < NET_BUFFERS_BYTES; at += 4)
		net_fill(NET_BUFFERS_GPA + at, NET_FILL);
	net_fill(NET_STAMP_GPA, NET_FILL);

	const u16 io = net_find();

	out8(io + REG_STATUS, 0);
	out8(io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	out32(io + REG_GUEST_FEATURES, 0);

	volatile struct used *used = queue_start(io);

	out8(io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
	out16(io + REG_QUEUE_NOTIFY, 0);
	net_fill(NET_STAMP_GPA + 4, NET_FILL);
	serial_text("net: ready\n");
	for (u32 polls = 0; polls < POLLS_MAX; polls++) {
		if (used->idx == seen)
			continue;
		barrier();

		const u32 id = used->ring[seen].id, len = used->ring[seen].len;
		const u32 gpa = NET_BUFFERS_GPA + id * NET_BUFFER_BYTES;

		if (*(const u16 *)(uintptr_t)(gpa + NET_HEADER + 12) == NET_ETHERTYPE) {
			serial_text("net: frame 0x");
			serial_hex(gpa, 8);
			serial_char(' ');
			serial_dec(len);
			serial_char('\n');
			return GUEST_OK;
		}
		if (++seen == NET_BUFFERS)
			guest_panic("other frames took all buffers");
	}
	guest_panic("no frame came");
}
