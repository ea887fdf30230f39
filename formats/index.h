/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The index: for each chunk of the file a row with what its header says, and its page set.
 */
#ifndef VMBLAME_INDEX_H
#define VMBLAME_INDEX_H

#include "chunk.h"

/* An index chunk is sealed when its rows take this much; a trace may have several. */
#define INDEX_BLOCK_BYTES (8u << 20)

/* Appends the row of a chunk that was written. */
void index_put(struct buf *rows, const struct chunk_head *h, const struct buf *pages);

/* Takes the next row from `rows`; its pages point into them. False when there is none, or
 * (rows->bad) when the row is not one of a chunk that lies in [*off,end). *off becomes its end. */
bool index_take(struct span *rows, u64 *off, u64 end, struct index_row *row, struct span *pages);

#endif
