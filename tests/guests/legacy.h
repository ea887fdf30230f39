/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio devices by the legacy PCI interface (virtio 1.1, "Legacy Interface"), with one queue that
 * is given out once.
 */
#ifndef GUESTS_LEGACY_H
#define GUESTS_LEGACY_H

#include "guest.h"

#define PCI_CONFIG_ADDR 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_COMMAND	0x04
#define PCI_BAR0	0x10
#define PCI_IO_MASTER	0x5 /* I/O space, bus master */

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

static inline u32 pci_read(u32 device, u32 reg)
{
	out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | reg);
	return in32(PCI_CONFIG_DATA);
}

/* The I/O ports of the first device on bus 0 with this vendor and device number; missing: what to
 * say when there is none. */
static inline u16 pci_find(u32 id, const char *missing)
{
	for (u32 device = 0; device < 32; device++) {
		if (pci_read(device, 0) != id)
			continue;
		const u32 command = pci_read(device, PCI_COMMAND) | PCI_IO_MASTER;

		out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | PCI_COMMAND);
		out32(PCI_CONFIG_DATA, command);
		return (u16)(pci_read(device, PCI_BAR0) & ~3u);
	}
	guest_panic(missing);
}

static inline void legacy_reset(u16 io)
{
	out8(io + REG_STATUS, 0);
	out8(io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	out32(io + REG_GUEST_FEATURES, 0);
}

/* Queue 0 with its rings at a page, of `bytes` at most: n buffers of len bytes from gpa on are the
 * device's once legacy_go() is called. */
static inline volatile struct used *legacy_queue(u16 io, u32 rings, u32 bytes, u16 n, u32 gpa,
						 u32 len, u16 flags)
{
	volatile struct desc *desc = (volatile struct desc *)(uintptr_t)rings;

	out16(io + REG_QUEUE_SELECT, 0);

	const u16 size = in16(io + REG_QUEUE_SIZE);
	const u32 avail_off = size * sizeof(*desc);
	const u32 used_off = (avail_off + 6 + 2u * size + RING_PAGE - 1) & ~(RING_PAGE - 1);
	volatile struct avail *avail = (volatile struct avail *)(uintptr_t)(rings + avail_off);

	if (size < n || used_off + 6 + 8u * size > bytes)
		guest_panic("a virtio queue of a size that does not fit");
	out32(io + REG_QUEUE_PFN, rings / RING_PAGE);
	for (u16 i = 0; i < n; i++) {
		desc[i].gpa = gpa + i * len;
		desc[i].len = len;
		desc[i].flags = flags;
		avail->ring[i] = i;
	}
	avail->flags = AVAIL_NO_INTERRUPT;
	barrier();
	avail->idx = n;
	return (volatile struct used *)(uintptr_t)(rings + used_off);
}

static inline void legacy_go(u16 io)
{
	out8(io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
	out16(io + REG_QUEUE_NOTIFY, 0);
}

#endif
