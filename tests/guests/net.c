// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A virtio-net card by the legacy PCI interface (virtio 1.1, "Legacy Interface"), receiving only:
 * buffers that the processor has filled are handed over, "net: ready" is said, and the first frame
 * of type NET_ETHERTYPE is told of: "net: frame GPA LEN", the virtio header included.
 */
#include "guest.h"
#include "legacy.h"
#include "net_layout.h"

#define NET_ETHERTYPE  0xb588u /* 0x88b5, for experiments, as it lies in memory */
#define NET_FILL       0xa5a5a5a5u
#define VIRTIO_NET_PCI 0x10001af4u
#define NET_HEADER     10 /* struct virtio_net_hdr without merged buffers */

void net_fill(u32 gpa, u32 value);

/* The one instruction of this guest that stores to the buffers. */
__attribute__((noinline)) void net_fill(u32 gpa, u32 value)
{
	*(volatile u32 *)(uintptr_t)gpa = value;
}

unsigned guest_main(void)
{
	u16 seen = 0;

	serial_text("vmblame test guest: net\n");
	for (u32 at = 0; at < NET_BUFFERS_BYTES; at += 4)
		net_fill(NET_BUFFERS_GPA + at, NET_FILL);
	net_fill(NET_STAMP_GPA, NET_FILL);

	const u16 io = pci_find(VIRTIO_NET_PCI, "no virtio-net card on PCI bus 0");

	legacy_reset(io);

	volatile struct used *used = legacy_queue(io, NET_RINGS_GPA, NET_RINGS_BYTES, NET_BUFFERS,
						  NET_BUFFERS_GPA, NET_BUFFER_BYTES, DESC_WRITE);

	legacy_go(io);
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
