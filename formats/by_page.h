/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stores of a trace once more, by pages: chunks that hold what a group of pages was written,
 * and little else, over a long time. In a file beside the trace, with `.pages` behind its name,
 * whose chunks overlap in their numbers; a cursor that is asked for a few pages reads them in place
 * of the trace's. docs/format.md, section 6.
 */
#ifndef VMBLAME_BY_PAGE_H
#define VMBLAME_BY_PAGE_H

#include "reader.h"

#define BY_PAGE_SUFFIX ".pages"
/* The fact by which a file says whose stores it holds. */
#define BY_PAGE_OF "stores.of"

struct by_page_opts {
	size_t memory; /* bytes of stores that are held at once; 0: 96 MiB */
	/* Called now and then; may be NULL. */
	void (*progress)(u64 done, u64 all);
};

struct by_page_stats {
	u64 stores, chunks, bytes;
};

/* Writes the file to fd, and closes that. 0; or -errno, with a line in err: -ENODATA when the trace
 * has no stores, -EBADMSG when it is damaged or cut short. */
int by_page_write(struct reader *r, int fd, const struct by_page_opts *opts,
		  struct by_page_stats *stats, char *err, size_t err_size);

/* "UUID BYTES EVENTS" of a trace: what BY_PAGE_OF says. */
void by_page_of(const struct reader *r, char *buf, size_t size);

#endif
