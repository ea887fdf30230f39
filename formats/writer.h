/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a trace file, append-only: header, chunks as they fill, index and trailer at the end.
 *
 * Events are given in time order (a late one is kept, and marked by its own time); each gets the
 * next sequence number. A chunk is sealed, that is written whole with one write(), when it is full
 * or when writer_seal() asks. After an error (disk full) the writer stays in that state: every
 * later call returns the same error and the file ends after the last whole chunk.
 */
#ifndef VMBLAME_WRITER_H
#define VMBLAME_WRITER_H

#include "stores.h"

struct writer;

struct writer_opts {
	u64 start_mono_ns; /* CLOCK_MONOTONIC at the start: what t_ns counts from */
	u64 start_real_ns; /* CLOCK_REALTIME at the same moment */
	u32 chunk_events;  /* events in a chunk at most; 0: 65536 */
	int level;	   /* zstd level; 0: 3 */
	bool stores;	   /* there will be stores: a reader must know them */
	bool by_page;	   /* and nothing else: by_page.h */
};

struct writer_stats {
	u64 events, chunks, lost, bytes; /* bytes: of the file so far */
	u64 kinds[EVENT_MAX];		 /* events of each kind */
	u64 last_ns;			 /* greatest t_ns */
};

/* Takes fd over (writer_close closes it). Writes the file header. 0 or -errno. */
int writer_open(struct writer **out, int fd, const struct writer_opts *opts);

/* Copies the event. ev->t_ns counts from start_mono_ns. -EINVAL for a kind that is not in the table
 * or a count that exceeds its array. *seq (may be NULL) receives the sequence number, from 1. */
int writer_put(struct writer *w, const struct event *ev, u64 *seq);

/* Stores take a way of their own. This one is told of sites, mappings, times and threads, all of
 * which hold for what is put next; a time is not less than that of any event put before. NULL
 * without memory. */
struct stores_encoder *writer_stores(struct writer *w);
/* Numbers and writes stores of one lane. 0; -EINVAL for one of an unknown site or page. */
int writer_put_stores(struct writer *w, unsigned lane, const struct store_raw *stores, size_t n);

/* How hard chunks of stores are compressed from now on: 1 unless told; 3 takes 2 % less room and
 * half as long again. */
void writer_stores_level(struct writer *w, int level);

/* A fact about the recording; the last value of a key holds. Text, UTF-8, no NUL, at most 1 MiB. */
int writer_meta(struct writer *w, const char *key, const char *value);

/* Seals every open chunk that is not empty. */
int writer_seal(struct writer *w);

const struct writer_stats *writer_stats(const struct writer *w);

/* What the file is called in its header: 16 bytes, random. */
const u8 *writer_uuid(const struct writer *w);

/* Seals, writes index and trailer, closes. Frees w whatever happens; NULL is fine. The first error
 * that the writer met, or 0. */
int writer_close(struct writer *w);

#endif
