/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What changed in guest memory between two moments, page by page.
 */
#ifndef VMBLAME_DIFF_H
#define VMBLAME_DIFF_H

#include "film.h"

#define DIFF_WRITERS 4

/* Who wrote to a page: an instruction, or what was found changed. */
struct diff_writer {
	enum origin origin; /* ORIGIN_NONE: the page was found changed, by whom is not known */
	u64 pc;		    /* ORIGIN_VCPU */
	u64 writes;
};

struct diff_page {
	u64 gpa;
	u32 changed;	/* bytes that differ at the end */
	u64 writes;	/* between the two moments, whatever they changed */
	u32 first, end; /* the bytes that differ lie within [first,end) of the page */
	const u8 *was, *now;
	struct moment last; /* the last write */
	/* The busiest, most writes first; counted at the page by a few counters, so that the counts
	 * of many writers are lower bounds. */
	struct diff_writer writers[DIFF_WRITERS];
	unsigned nwriters;
};

struct diff_spec {
	u64 gpa, end;
	struct moment from, until;
	bool touched; /* pages that were written and are as they were, too */
	u64 pages_max;
	void (*progress)(u64 done, u64 all);
	int (*fn)(void *arg, const struct diff_page *p); /* by address; not 0 ends it */
	void *arg;
};

/* 0, what fn returned, or -errno with a line in err. */
int diff_run(struct reader *r, const struct state *s, const struct diff_spec *spec, char *err,
	     size_t err_size);

#endif
