/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A column: one field of many events, of which only the misses are kept, that is the values which
 * were not as predicted. Hits cost nothing; misses are told by runs.
 *
 *	form       u8       enum column_form
 *	npairs     varint
 *	  hits     varint   events as predicted, then
 *	  misses   varint   events that are not; 1 or more     (npairs times; all later events are
 *hits) numbers:   planes   u8, 1..8, absent without misses; then for each plane, lowest byte first,
 *	                    one byte of zigzag(value - prediction) of each miss
 *	words:     literals varint, how many bytes the misses take in the literals, which lie
 *elsewhere blobs:     literals varint; no pairs: every event has its bytes there
 */
#ifndef VMBLAME_COLUMN_H
#define VMBLAME_COLUMN_H

#include "wire.h"

enum column_form {
	COLUMN_NUMBER,
	COLUMN_WORD, /* eight bytes of a byte array */
	COLUMN_BLOB, /* a byte array as it is */
	COLUMN_SITE, /* a number of eight bytes that selects the site: rip */
};

struct column_writer {
	enum column_form form;
	u32 npairs;
	u32 next;	  /* event after the run that is open */
	u32 hits, misses; /* the run that is open */
	u64 max;
	struct buf pairs;
	struct buf values; /* u64 each; of words and blobs the bytes */
};

/* Event number `at` (rising) was not as predicted. */
void column_miss(struct column_writer *c, u32 at, u64 z);
void column_miss_bytes(struct column_writer *c, u32 at, const void *bytes, size_t n);
/* Appends the column to `fields`, its bytes to `literals`, and empties it for the next chunk. */
void column_flush(struct column_writer *c, struct buf *fields, struct buf *literals);
void column_writer_free(struct column_writer *c);

struct column_reader {
	enum column_form form;
	u32 next;      /* event of the next miss; UINT32_MAX when there is none */
	u32 left;      /* misses left in this run */
	u32 npairs;    /* pairs left */
	u32 at, nmiss; /* misses taken, and of all */
	u32 nplanes;
	struct span pairs;
	const u8 *planes;
	u64 nliterals;
	struct span literals;
};

/* Parses one column of n events from `fields`. False when it is not well-formed. Its literals are
 * to be set (c->literals) before column_take_bytes() is called. */
bool column_open(struct column_reader *c, struct span *fields, u32 n);
/* The miss at c->next: its number, or its n bytes (NULL: too few). Moves c->next on. */
u64 column_take(struct column_reader *c);
const u8 *column_take_bytes(struct column_reader *c, size_t n);

#endif
