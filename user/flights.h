/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the VMM may be writing at this moment: pages that it was seen to be about to write, or has
 * written since they were last copied, and memory that its devices have mapped.
 *
 * Addresses and sizes are bytes, times nanoseconds from the start of the recording. Events come
 * ring by ring: the end of a mapping may be told before its beginning.
 */
#ifndef VMBLAME_FLIGHTS_H
#define VMBLAME_FLIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/event.h"

#define FLIGHT_PAGE  4096u
#define FLIGHT_PAGES 16384
#define FLIGHT_HASH  4096
#define FLIGHT_MAPS  4096

struct flight_map {
	u64 hva, size;
	u64 t_ns; /* when it was made; n < 0: when it ended */
	int n;	  /* how often it is mapped; less than 0: ends that came before their beginning */
};

struct flights {
	struct flight_page {
		u64 gpa, until_ns;
	} page[FLIGHT_PAGES];
	size_t npages;
	u16 first[FLIGHT_HASH], next[FLIGHT_PAGES]; /* numbers of pages, plus 1 */
	struct flight_map map[FLIGHT_MAPS];
	size_t nmaps;
	u64 beyond;   /* mappings that there was no room for, and that have not ended */
	u64 left_out; /* how many there ever were */
	bool lost;    /* events were: what is mapped is not known any more */
};

/* The pages of [gpa,end) are to be copied once more at least, and until a time. False when there is
 * no room for all of them. */
bool flights_add(struct flights *f, u64 gpa, u64 end, u64 until_ns);
/* Whether a page of [gpa,end) is. */
bool flights_has(const struct flights *f, u64 gpa, u64 end);
/* All were copied by a copy that began at t0_ns. */
void flights_copied(struct flights *f, u64 t0_ns);

/* Memory that a device may write to, from now on; no more. */
void flights_map(struct flights *f, u64 hva, u64 size, u64 t_ns);
void flights_unmap(struct flights *f, u64 hva, u64 size, u64 t_ns);
/* How many mappings there are now. */
u64 flights_open(const struct flights *f);
/* The next mapping from number *i on that touches [hva,end), or NULL; *i moves behind it. */
const struct flight_map *flights_mapped(const struct flights *f, size_t *i, u64 hva, u64 end);

#endif
