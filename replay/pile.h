/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pile: the newest entries of a window of addresses, newest first, collected by one backward
 * walk that stops as soon as every byte has as many writers as were asked for. Bounded in memory.
 */
#ifndef VMBLAME_PILE_H
#define VMBLAME_PILE_H

#include "query.h"

struct kept {
	enum entry_kind kind;
	u8 look; /* enum content_why */
	struct moment at;
	u64 gpa, end;	 /* clipped to the window */
	u64 req;	 /* transfer, capture */
	size_t write;	 /* store, transfer: index in pile.writes */
	const u8 *bytes; /* from gpa on; NULL for a transfer */
};

struct pile {
	u64 gpa, end;
	struct coverage coverage; /* clipped to the window */
	struct kept *kept;	  /* newest first */
	size_t nkept, kept_max;
	struct write *writes;
	size_t nwrites, writes_max;
	/* Where stores went between the moment asked for and the next comparison of memory: what
	 * that would have shown of other writers, they covered up; and what it did show, where that
	 * may have come before the moment. Sorted, joined. */
	struct later {
		u64 gpa, end;
	} * later;
	size_t nlater, later_max;
	size_t bytes; /* of memory held */
	u64 chunks_read;
};

/* Collects. 0; -E2BIG when it would take too much memory (ask for a smaller window); or -errno with
 * a line in err. pile_free() it in any case. */
int pile_collect(struct pile *p, struct reader *r, const struct state *s,
		 const struct query *window, char *err, size_t err_size);
void pile_free(struct pile *p);

/* Boundaries within [p->gpa,p->end]: between two neighbours every byte is touched by the same
 * entries, covers, losses and rings. *out is sorted, without doubles, the caller frees it. */
int pile_cuts(const struct pile *p, const struct state *s, u64 **out, size_t *n);

#endif
