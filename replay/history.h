/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every write that touches a range, in order, with what changed; and between them where events were
 * lost and where the watch began or ended. Streams: memory is bounded whatever the trace.
 */
#ifndef VMBLAME_HISTORY_H
#define VMBLAME_HISTORY_H

#include "query.h"

struct history_item {
	const struct event *event; /* a `cover` or `lost` event; the rest is not set */
	u64 seq;		   /* its number */

	const struct write *write;
	u64 gpa, end;	 /* the write, clipped to the range */
	const u8 *bytes; /* end - gpa; NULL when they were not captured */
	const u8 *old;	 /* end - gpa; NULL when not known */
};

struct history {
	u64 gpa, end;
	struct moment from, limit; /* half-open */
};

/* Ranges up to this size tell what was there before. */
#define HISTORY_OLD_MAX (64ull << 20)

/* Calls fn for each item until it returns non-zero; returns that, 0, or -errno with a line in err.
 */
int history_run(struct reader *r, const struct state *s, const struct history *h,
		int (*fn)(void *arg, const struct history_item *item), void *arg, char *err,
		size_t err_size);

#endif
