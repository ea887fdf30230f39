/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads a trace file. Opening reads the header, the trailer and the index; a file without an index
 * (the recorder was killed, the file was cut) is scanned chunk by chunk instead, up to the last
 * whole one. No byte of the file is trusted: every length is checked, and damage is an answer, not
 * a crash.
 */
#ifndef VMBLAME_READER_H
#define VMBLAME_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "event.h"

struct reader;

/* What is known of a chunk without reading it. */
struct chunk_info {
	u64 off;  /* in the file, bytes */
	u32 size; /* with its header, bytes */
	u32 events;
	enum stream stream;
	u64 t_min, t_max; /* ns, both inclusive */
	u64 seq_min, seq_max;
	u64 lost;     /* events counted as lost by its `lost` events */
	bool damaged; /* found damaged while scanning; its events are in no sum. A file with an
		       * index is not scanned: there damage shows when a cursor gets to it */
};

struct trace_info {
	u64 start_real_ns; /* CLOCK_REALTIME at t_ns 0 */
	u64 start_mono_ns;
	u16 version_major, version_minor;
	u64 file_bytes;
	u64 whole_bytes;  /* up to here the file is whole */
	bool truncated;	  /* no trailer: recorder killed, or the file cut */
	bool damaged;	  /* a chunk's checksum or form was wrong; see reader_message() */
	u64 events, lost; /* sums over the chunks */
	u64 t_end_ns;	  /* greatest t_max */
	size_t nchunks;
};

/* 0, or -errno with a line in `err` that names the file, the offset and the reason (no newline).
 * -ENOENT and the like from open(2); -EPROTO: not a trace file; -EPROTONOSUPPORT: made by a newer
 * version; -EBADMSG: damaged beyond use. A truncated file opens. */
int reader_open(struct reader **out, const char *path, char *err, size_t err_size);
void reader_close(struct reader *r); /* NULL is fine */
/* What the file is called in its header, 16 bytes; of one that is still being written, too. Errors
 * as above. */
int reader_uuid(const char *path, u8 *uuid, char *err, size_t err_size);
/* Whether the stores by pages (by_page.h) lie beside the trace and are used. When not, *why is NULL
 * where there are none, else the reason. */
bool reader_by_page(const struct reader *r, const char **why);
const struct trace_info *reader_info(const struct reader *r);
/* The chunks of a stream, in file order. */
size_t reader_chunks(const struct reader *r, enum stream stream);
/* The i-th of them. 0; -ENOENT: there is none; -EBADMSG: nor can it be found, since the index is
 * damaged; -EIO, -ENOMEM. */
int reader_chunk_info(struct reader *r, enum stream stream, size_t i, struct chunk_info *out);
/* The one of a stream in whose range of numbers seq lies. As above. */
int reader_chunk_of(struct reader *r, u64 seq, enum stream stream, struct chunk_info *out);
/* Whether events of the trace touch [gpa,end), as far as can be told without reading them: true
 * when in doubt. */
bool reader_touches(struct reader *r, u64 gpa, u64 end);
/* What is wrong with a truncated or damaged file, or NULL. Lives as long as the reader. */
const char *reader_message(const struct reader *r);
/* The last value of a key, or NULL. */
const char *reader_meta(const struct reader *r, const char *key);
/* Calls fn for each key in the order first written, until it returns non-zero; returns that. */
int reader_meta_each(const struct reader *r,
		     int (*fn)(void *arg, const char *key, const char *value), void *arg);

enum cursor_status {
	CURSOR_MORE,	  /* *ev was set */
	CURSOR_END,	  /* no more events */
	CURSOR_TRUNCATED, /* no more: the file is cut here; told once, before CURSOR_END */
	CURSOR_CORRUPT,	  /* a chunk was damaged and skipped; the cursor goes on */
	CURSOR_IO,	  /* read error; the cursor is at its end */
	CURSOR_STORES,	  /* see cursor_spec.bulk */
};

struct cursor_spec {
	unsigned streams;  /* bits 1 << STREAM_x; 0: all */
	u64 gpa, gpa_end;  /* only events whose range (event_range()) touches [gpa,gpa_end),
			    * and STATE events; both 0: no such filter. Chunks whose page set
			    * misses the range are not read. */
	u64 t_min, t_max;  /* ns, inclusive; t_max 0: no end */
	bool backward;	   /* newest first */
	const bool *kinds; /* EVENT_MAX entries, true for those wanted; NULL: all */
	/* With a range, of stores: whether stores to these 8-byte words of a page (bit i % 64 of
	 * words[i / 64], of 512) still matter to the caller. NULL: all do. */
	bool (*wants)(void *arg, u64 gpa, const u64 *words);
	void *wants_arg;
	bool bulk; /* forward only: stores come as many as follow one another, with the status
		    * CURSOR_STORES, by cursor_stores(); all of a chunk that is read do,
		    * whatever page or time was asked for */
};

struct cursor;
/* Merges the streams in the order of their sequence numbers. The reader must outlive it. 0 or
 * -errno. */
int cursor_open(struct cursor **out, struct reader *r, const struct cursor_spec *spec);
/* *ev lives until the next call; *seq is its number in the trace, from 1. */
enum cursor_status cursor_next(struct cursor *c, const struct event **ev, u64 *seq);
struct stores;
/* After CURSOR_STORES; they live until the next call. */
const struct stores *cursor_stores(const struct cursor *c);
/* An event, or, of a cursor in bulk, stores: the other is NULL. */
typedef int each_fn(void *arg, const struct event *ev, u64 seq, const struct stores *s);
/* Calls fn for all that a cursor gives, in order, until it returns non-zero; returns that; 0; or
 * -errno with a line in err, -EBADMSG at damage. A cut file ends where it is cut. progress, now and
 * then, may be NULL. */
int reader_each(struct reader *r, const struct cursor_spec *spec, each_fn *fn, void *arg,
		void (*progress)(u64 done, u64 all), char *err, size_t err_size);
/* Chunks that were decoded so far: what a test of the page index looks at. */
u64 cursor_chunks_read(const struct cursor *c);
/* For CURSOR_CORRUPT and CURSOR_IO: file, offset, reason. */
const char *cursor_message(const struct cursor *c);
void cursor_close(struct cursor *c);

#endif
