/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instructions, and to which pages, wrote most: every store of a trace counted.
 */
#ifndef VMBLAME_HOT_H
#define VMBLAME_HOT_H

#include <stdlib.h>

#include "formats/reader.h"

struct hot_item {
	u64 key; /* linear address of an instruction; or guest-physical address of a page */
	u64 writes, bytes;
};

struct hot {
	struct hot_item *pcs, *pages; /* most bytes first */
	size_t npcs, npages;
	u64 writes, bytes;
};

/* 0 or -errno with a line in err. progress as in replay/film.h. */
int hot_take(struct hot *h, struct reader *r, void (*progress)(u64 done, u64 all), char *err,
	     size_t err_size);

static inline void hot_cleanup(struct hot *h)
{
	free(h->pcs);
	free(h->pages);
}

#endif
