/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guests' virtio-blk driver: the first virtio-blk device on PCI bus 0 that has the legacy
 * interface (QEMU's default), one request at a time, polled. The rings are the symbol `disk_rings`.
 * Every failure is a guest_panic().
 */
#ifndef GUESTS_DISK_H
#define GUESTS_DISK_H

#include "guest.h"
#include "payload.h"

#define DISK_REQUEST_SECTORS 128u /* disk_read_all() asks for no more at once */

void disk_init(void);
/* One request: the device writes `sectors` sectors from `sector` on to guest-physical `gpa`. */
void disk_read(u64 sector, u32 gpa, u32 sectors);
/* As many requests as it takes, each of DISK_REQUEST_SECTORS but the last. */
void disk_read_all(u64 sector, u32 gpa, u32 sectors);

/* Reads and checks the payload's header. */
void payload_open(struct payload *payload);
u64 payload_data_sector(void);
static inline u32 payload_sectors(const struct payload *payload)
{
	return (payload->bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
}

#endif
