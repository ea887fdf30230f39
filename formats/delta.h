/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between two copies of a page, as `version` events hold it (docs/format.md, section
 * 7): runs of bytes that differ, with no byte between them that does not. A run is a varint, the
 * bytes since the end of the one before (the first: since the start of the page); a varint, its
 * bytes less one; and its bytes.
 */
#ifndef VMBLAME_DELTA_H
#define VMBLAME_DELTA_H

#include <stdbool.h>
#include <stddef.h>

#include "event.h"

#define DELTA_PAGE 4096u
/* Every other byte differs: 2,048 runs of three bytes, but the first two of the page. */
#define DELTA_MAX 6144u

/* Writes what makes `was` into `now` (DELTA_PAGE bytes each) to out, which has room for DELTA_MAX.
 * Returns its size, 0 when they are the same. */
size_t delta_make(const u8 *was, const u8 *now, u8 *out);

/* The sum of a page (DELTA_PAGE bytes) that its `version` carries: whoever applies the deltas can
 * tell that he has what was copied. */
u32 delta_sum(const u8 *page);

struct delta {
	const u8 *at, *stop;
	/* The run: bytes [off, off + len) of the page. */
	u32 off, len;
	const u8 *bytes;
};

static inline struct delta delta_open(const u8 *data, size_t size)
{
	return (struct delta){.at = data, .stop = data + size};
}

/* The next run. False at the end, and at the first that is malformed. */
bool delta_next(struct delta *d);

#endif
