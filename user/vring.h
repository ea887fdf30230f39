/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A split virtqueue seen from outside: which memory its driver lets the device write. Guests are
 * hostile: every index and length is checked, and no walk is longer than a table can be.
 */
#ifndef VMBLAME_VRING_H
#define VMBLAME_VRING_H

#include <stdbool.h>

#include "user/guestram.h"

#define VRING_SIZE_MAX 1024 /* descriptors: QEMU's VIRTQUEUE_MAX_SIZE */

/* Virtio 1.2 section 2.7: flags, idx, one 8-byte element a descriptor, avail_event. */
#define VRING_USED_BYTES(size) (4 + 8 * (u64)(size) + 2)
#define VRING_DESC_BYTES(size) (16 * (u64)(size))

struct vring {
	u64 desc, avail, used; /* gpa */
	u32 size;	       /* descriptors, a power of two */
	u16 seen;	       /* requests made available before this index have been followed */
	bool begun;
};

/*
 * Calls fn with each piece of guest memory that the device may write for the requests that the
 * driver has made available since the last call; the first call takes all that the ring holds, old
 * ones too. Returns how many requests were followed; -EAGAIN when the ring could not be read, which
 * changes nothing; -EOVERFLOW when some were overwritten before they could be followed (the others
 * were); or -EINVAL when the ring is none or some of its descriptors cannot be followed.
 */
int vring_follow(struct vring *v, const struct guestram *g,
		 void (*fn)(void *arg, u64 gpa, u64 bytes), void *arg);

#endif
