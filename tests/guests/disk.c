// SPDX-License-Identifier: GPL-2.0-or-later
/* A virtio-blk driver for the legacy PCI interface (virtio 1.1, "Legacy Interface"), polled. */
#include "disk.h"

#define PCI_CONFIG_ADDR 0xcf8
#define PCI_CONFIG_DATA 0xcfc
#define PCI_COMMAND	0x04
#define PCI_BAR0	0x10
#define PCI_IO_MASTER	0x5 /* I/O space, bus master */
#define VIRTIO_BLK_PCI	0x10011af4

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

#define DESC_NEXT	   1
#define DESC_WRITE	   2
#define AVAIL_NO_INTERRUPT 1
#define QUEUE_SIZE_MAX	   256
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

struct blk_header {
	u32 type; /* 0: read */
	u32 reserved;
	u64 sector;
};

/* Descriptors, then avail; used on the next page boundary. Room for a queue of QUEUE_SIZE_MAX. */
u8 disk_rings[3 * RING_PAGE] __attribute__((aligned(RING_PAGE)));

static struct {
	u16 io;
	u16 size;
	volatile struct desc *desc;
	volatile struct avail *avail;
	volatile struct used *used;
} disk;

static struct blk_header header;
static volatile u8 status;

static u32 pci_read(u32 device, u32 reg)
{
	out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | reg);
	return in32(PCI_CONFIG_DATA);
}

static void pci_write(u32 device, u32 reg, u32 value)
{
	out32(PCI_CONFIG_ADDR, 0x80000000u | device << 11 | reg);
	out32(PCI_CONFIG_DATA, value);
}

static u32 disk_find(void)
{
	for (u32 device = 0; device < 32; device++)
		if (pci_read(device, 0) == VIRTIO_BLK_PCI)
			return device;
	guest_panic("no virtio-blk disk on PCI bus 0");
}

void disk_init(void)
{
	const u32 device = disk_find();

	pci_write(device, PCI_COMMAND, pci_read(device, PCI_COMMAND) | PCI_IO_MASTER);
	disk.io = (u16)(pci_read(device, PCI_BAR0) & ~3u);
	out8(disk.io + REG_STATUS, 0);
	out8(disk.io + REG_STATUS, STATUS_ACKNOWLEDGE);
	out8(disk.io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	out32(disk.io + REG_GUEST_FEATURES, 0);
	out16(disk.io + REG_QUEUE_SELECT, 0);
	disk.size = in16(disk.io + REG_QUEUE_SIZE);
	if (!disk.size || disk.size > QUEUE_SIZE_MAX)
		guest_panic("virtio-blk queue of a size that does not fit");

	const u32 avail_off = disk.size * sizeof(struct desc);
	const u32 avail_end = avail_off + sizeof(struct avail) + disk.size * sizeof(u16) + 2;

	disk.desc = (volatile struct desc *)disk_rings;
	disk.avail = (volatile struct avail *)(disk_rings + avail_off);
	disk.used = (volatile struct used *)(disk_rings +
					     ((avail_end + RING_PAGE - 1) & ~(RING_PAGE - 1)));
	disk.avail->flags = AVAIL_NO_INTERRUPT;
	out32(disk.io + REG_QUEUE_PFN, (u32)(uintptr_t)disk_rings / RING_PAGE);
	out8(disk.io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
}

static void desc_set(u16 n, u32 gpa, u32 len, u16 flags)
{
	volatile struct desc *desc = &disk.desc[n];

	desc->gpa = gpa;
	desc->len = len;
	desc->flags = flags;
	desc->next = (u16)(n + 1);
}

void disk_read(u64 sector, u32 gpa, u32 sectors)
{
	header.type = 0;
	header.sector = sector;
	status = 0xff;
	desc_set(0, (u32)(uintptr_t)&header, sizeof(header), DESC_NEXT);
	desc_set(1, gpa, sectors * SECTOR_BYTES, DESC_NEXT | DESC_WRITE);
	desc_set(2, (u32)(uintptr_t)&status, 1, DESC_WRITE);

	const u16 idx = disk.avail->idx;

	disk.avail->ring[idx & (disk.size - 1)] = 0;
	barrier();
	disk.avail->idx = (u16)(idx + 1);
	barrier();
	out16(disk.io + REG_QUEUE_NOTIFY, 0);
	for (u32 polls = 0; disk.used->idx != (u16)(idx + 1); polls++)
		if (polls == POLLS_MAX)
			guest_panic("a disk read does not end");
	barrier();
	if (status)
		guest_panic("a disk read failed");
}

void disk_read_all(u64 sector, u32 gpa, u32 sectors)
{
	while (sectors) {
		const u32 now = sectors < DISK_REQUEST_SECTORS ? sectors : DISK_REQUEST_SECTORS;

		disk_read(sector, gpa, now);
		sector += now;
		gpa += now * SECTOR_BYTES;
		sectors -= now;
	}
}

extern const u8 payload_sector[]; /* the linker script's; its address is the number */

u64 payload_data_sector(void)
{
	return (uintptr_t)payload_sector + 1;
}

void payload_open(struct payload *payload)
{
	disk_read(payload_data_sector() - 1, (u32)(uintptr_t)payload, 1);
	if (payload->magic != PAYLOAD_MAGIC)
		guest_panic("no payload on the disk");
}
