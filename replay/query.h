/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who wrote these bytes? For each byte of a range the last writers before a moment, with a verdict
 * on how sure that is; bytes with the same answer come as one run.
 */
#ifndef VMBLAME_QUERY_H
#define VMBLAME_QUERY_H

#include "ledger.h"

enum verdict {
	VERDICT_WRITTEN_BY,
	VERDICT_CANDIDATES,
	VERDICT_UNEXPLAINED,
	VERDICT_INITIAL,
	VERDICT_NOT_WRITTEN,
	VERDICT_UNKNOWN,
	VERDICT_LOST,
	VERDICT_MAX
};
const char *verdict_name(enum verdict verdict);

struct answer {
	enum verdict verdict;
	enum why why;
	const struct write *write; /* the writer; of UNKNOWN and LOST the last one seen; or NULL */
	u16 covers;		   /* bits 1 << origin: observed throughout, from the write on */
	u64 lost;		   /* events dropped that may hide a write */
	const u8 *bytes;	   /* what the write left, of the run's length; or NULL */
	const u8 *old;		   /* what was there before; or NULL */
	char detail[320];	   /* one sentence or two, or empty */
};

/* Bytes with the same answers. */
struct run {
	u64 gpa, end;
	unsigned nanswers;	/* at least 1; only the last may be other than WRITTEN-BY */
	struct answer *answers; /* newest first */
};

struct query {
	u64 gpa, end;	     /* at most QUERY_BYTES_MAX */
	struct moment limit; /* writers before it */
	unsigned n;	     /* answers a byte, 1 to QUERY_N_MAX */
};

#define QUERY_BYTES_MAX (64ull << 20)
#define QUERY_N_MAX	1000

struct query_stats {
	u64 chunks_read;
};

/* Calls fn for each run in the order of addresses until it returns non-zero. A run and what it
 * points to live for the call only. 0, what fn returned, or -errno with a line in err: -E2BIG when
 * the range holds more than can be kept in memory. stats may be NULL. */
int query_run(struct reader *r, const struct state *s, const struct query *q,
	      int (*fn)(void *arg, const struct run *run), void *arg, struct query_stats *stats,
	      char *err, size_t err_size);

#endif
