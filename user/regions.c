// SPDX-License-Identifier: GPL-2.0-or-later
/* Regions in an open hash of their starts. */
#include "user/regions.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

int regions_open(struct regions *r, size_t more_size)
{
	*r = (struct regions){.more_size = more_size, .max = 256};
	r->at = calloc(r->max, sizeof(*r->at));
	return r->at ? 0 : -ENOMEM;
}

void regions_close(struct regions *r)
{
	for (size_t i = 0; r->at && i < r->max; i++)
		if (r->at[i].bytes) {
			munmap(r->at[i].bytes, REGION_BYTES);
			free(r->at[i].more);
		}
	free(r->at);
	r->at = NULL;
}

static struct region *place(struct region *at, size_t max, u64 start)
{
	size_t i = (start / REGION_BYTES) * 0x9e3779b97f4a7c15ull >> 32 & (max - 1);

	while (at[i].bytes && at[i].start != start)
		i = (i + 1) & (max - 1);
	return &at[i];
}

static bool grow(struct regions *r)
{
	struct region *more = calloc(2 * r->max, sizeof(*more));

	if (!more)
		return false;
	for (size_t i = 0; i < r->max; i++)
		if (r->at[i].bytes)
			*place(more, 2 * r->max, r->at[i].start) = r->at[i];
	free(r->at);
	r->at = more;
	r->max *= 2;
	return true;
}

struct region *regions_find(struct regions *r, u64 address, bool make)
{
	const u64 start = address & ~(u64)(REGION_BYTES - 1);
	struct region *region = place(r->at, r->max, start);

	if (region->bytes || !make)
		return region->bytes ? region : NULL;
	if (2 * r->n >= r->max && !grow(r))
		return NULL;
	void *more = r->more_size ? calloc(1, r->more_size) : NULL;
	u8 *bytes = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (bytes == MAP_FAILED || (r->more_size && !more)) {
		free(more);
		if (bytes != MAP_FAILED)
			munmap(bytes, REGION_BYTES);
		return NULL;
	}
	region = place(r->at, r->max, start);
	*region = (struct region){start, bytes, more};
	r->n++;
	return region;
}
