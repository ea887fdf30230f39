/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The set of guest pages that the events of a chunk touch. In the file it is a list of runs in
 * rising order, each two varints: the gap since the end of the run before it (the first: since page
 * 0), and the pages of the run, less one.
 */
#ifndef VMBLAME_PAGES_H
#define VMBLAME_PAGES_H

#include "wire.h"

#define PAGE_BITS 12
#define PAGES_END (1ull << (64 - PAGE_BITS)) /* one past the last page */

struct pages;

int pages_open(struct pages **out);
void pages_close(struct pages *p); /* NULL is fine */
/* Adds the pages of [gpa,end). 0 or -ENOMEM. */
int pages_add(struct pages *p, u64 gpa, u64 end);
/* Adds a set as pages_flush() writes it; what is malformed ends it. 0 or -ENOMEM. */
int pages_join(struct pages *p, struct span set);
/* Appends the set as runs and empties it. */
void pages_flush(struct pages *p, struct buf *out);

/* Whether some page of [gpa,end) is in the set; true also when the set is malformed, since then
 * nothing can be ruled out. */
bool pages_touch(struct span set, u64 gpa, u64 end);
bool pages_valid(struct span set);
/* Calls fn for each run [start,end) of pages, until the set is malformed. */
void pages_each(struct span set, void (*fn)(void *arg, u64 start, u64 end), void *arg);

#endif
