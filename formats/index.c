// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rows of the index.
 */
#include "index.h"

void index_put(struct buf *rows, const struct chunk_head *h, const struct buf *pages)
{
	const struct index_row row = {
		.off = h->off,
		.size = h->size,
		.events = h->events,
		.type = h->type,
		.stream = h->stream,
		.pages_bytes = h->pages_bytes,
		.seq_min = h->seq_min,
		.seq_max = h->seq_max,
		.t_min = h->t_min,
		.t_max = h->t_max,
		.lost = h->lost,
	};

	buf_put(rows, &row, sizeof(row));
	if (pages)
		buf_put(rows, pages->data, pages->len);
}

struct chunk_info index_chunk(const struct index_row *row)
{
	return (struct chunk_info){
		.off = row->off,
		.size = row->size,
		.events = row->events,
		.stream = row->stream,
		.t_min = row->t_min,
		.t_max = row->t_max,
		.seq_min = row->seq_min,
		.seq_max = row->seq_max,
		.lost = row->lost,
	};
}

bool index_take(struct span *rows, u64 *off, u64 end, struct index_row *row, struct span *pages)
{
	if (span_left(rows) == 0)
		return false;
	const u8 *bytes = span_take(rows, sizeof(*row));

	if (!bytes)
		return false;
	memcpy(row, bytes, sizeof(*row));
	const u8 *set = span_take(rows, row->pages_bytes);

	if (!set || row->off < *off || row->size < sizeof(struct chunk_head) ||
	    row->size > CHUNK_SIZE_MAX || row->off > end || row->size > end - row->off ||
	    row->pages_bytes > row->size - sizeof(struct chunk_head)) {
		rows->bad = true;
		return false;
	}
	*pages = span_of(set, row->pages_bytes);
	*off = row->off + row->size;
	return true;
}
