/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a trace agrees with itself: all of it is read and played, each `version` and keyframe is
 * compared with what was played up to it, each chunk with its header, the index with the chunks.
 * Damage that a checksum shows is an error, no disagreement.
 */
#ifndef VMBLAME_VERIFY_H
#define VMBLAME_VERIFY_H

#include "state.h"

enum verify_what {
	VERIFY_SUM,	 /* of a page, after a version */
	VERIFY_DELTA,	 /* of a version: malformed */
	VERIFY_KEYFRAME, /* it is not what the versions before it make of the page */
	VERIFY_COMPARED, /* more was found changed than the comparison says */
	VERIFY_CHUNK,	 /* its header or the index */
	VERIFY_WHATS
};

struct verify_problem {
	enum verify_what what;
	struct moment at; /* not of VERIFY_CHUNK */
	u64 gpa;	  /* the page; of a keyframe the first byte that differs */
	u64 want, got;	  /* the sum as recorded, and as it comes out; bytes of a comparison */
	u64 off;	  /* VERIFY_CHUNK: in the file, */
	const char *text; /* and what is wrong there */
	bool by_page;	  /* the file beside the trace is meant */
};

struct verify_counts {
	u64 bytes, chunks, events;
	u64 unknown;			   /* events of kinds that this version does not know */
	u64 pages;			   /* that were played; in full mode none need be */
	u64 versions, unsummed, keyframes; /* compared; versions without a sum, which were not */
	u64 comparisons;		   /* of full mode */
	u64 problems[VERIFY_WHATS];
};

struct verify_spec {
	/* Returns 0 to go on. */
	int (*problem)(void *arg, const struct verify_problem *p);
	void *arg;
	u64 pages_max; /* of memory; 0: no bound */
	void (*progress)(u64 done, u64 all);
};

/* 0, what problem() returned, or -errno with a line in err; -EBADMSG: damaged; -E2BIG: more pages
 * than pages_max. A cut file is looked at as far as it goes. */
int verify_run(struct reader *r, const struct state *s, const struct verify_spec *spec,
	       struct verify_counts *counts, char *err, size_t err_size);

#endif
