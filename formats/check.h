/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a file says the same twice: the index what the headers of the chunks say, these what
 * their events are. The reader believes both as long as they have the right checksums, so that it
 * may pass over what it is not asked for.
 */
#ifndef VMBLAME_CHECK_H
#define VMBLAME_CHECK_H

#include "reader.h"

/* What is wrong with the chunk at `off`. The text lives during the call. Returns 0 to go on. */
typedef int check_fn(void *arg, u64 off, const char *what);

/* Goes through the index and the headers and page sets of all chunks, those of other types than
 * this version knows as a whole. A file without an index has none that could be wrong. With
 * by_page, the file beside the trace (reader_by_page()): all of its chunks' checksums, too. Adds
 * the bytes that were read to *bytes. 0, what fn returned, or -errno. */
int check_index(struct reader *r, bool by_page, check_fn *fn, void *arg, u64 *bytes);

/* Compares the events of each chunk with what its header says of them. */
struct check;

struct check_counts {
	u64 chunks, events;
	u64 unknown; /* events of kinds that this version does not know */
};

int check_open(struct check **out, struct reader *r, check_fn *fn, void *arg); /* 0 or -ENOMEM */
void check_close(struct check *c);					       /* NULL is fine */
/* The next of all events, or stores in bulk, in the order of a cursor that gives all there are; an
 * each_fn, arg being the struct check. 0, what fn returned, or -errno. */
int check_take(void *arg, const struct event *ev, u64 seq, const struct stores *s);
/* There are no more. As above. */
int check_end(struct check *c, struct check_counts *counts);

#endif
