/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The index: for each chunk of the file a row with what its header says, and its page set.
 */
#ifndef VMBLAME_INDEX_H
#define VMBLAME_INDEX_H

#include "chunk.h"
#include "reader.h"

/* An index chunk is sealed when its rows take this much, */
#define INDEX_BLOCK_BYTES (8u << 20)
/* or are so many, when it is one that is read later. */
#define INDEX_ROWS 512u
/* The most that one of those may have. */
#define INDEX_ROWS_MAX 4096u

/* Appends the row of a chunk that was written. */
void index_put(struct buf *rows, const struct chunk_head *h, const struct buf *pages);

/* What a row says of its chunk. */
struct chunk_info index_chunk(const struct index_row *row);

/* Takes the next row from `rows`; its pages point into them. False when there is none, or
 * (rows->bad) when the row is not one of a chunk that lies in [*off,end). *off becomes its end. */
bool index_take(struct span *rows, u64 *off, u64 end, struct index_row *row, struct span *pages);

#endif
