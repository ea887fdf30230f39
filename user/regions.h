/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sparse store of bytes by 64-bit address: regions of 2 MiB, made when they are first asked for,
 * of zeroes; what is not touched takes no memory.
 */
#ifndef VMBLAME_REGIONS_H
#define VMBLAME_REGIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

#define REGION_BYTES (2u << 20)

struct region {
	u64 start;  /* a multiple of REGION_BYTES */
	u8 *bytes;  /* REGION_BYTES; NULL: free */
	void *more; /* regions.more_size bytes of the caller's, zeroes at first */
};

struct regions {
	size_t more_size;
	size_t n, max;
	struct region *at; /* a hash, at most half full; its regions move when one is made */
};

/* 0 or -ENOMEM. */
int regions_open(struct regions *r, size_t more_size);
void regions_close(struct regions *r);
/* The region that holds the address; NULL when there is none and none is to be made, or no memory
 * for it. */
struct region *regions_find(struct regions *r, u64 address, bool make);

#endif
