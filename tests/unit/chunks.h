/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunks of a trace's streams, in file order. */
#ifndef TESTS_UNIT_CHUNKS_H
#define TESTS_UNIT_CHUNKS_H

#include <stdlib.h>

#include "scribe.h"

static inline int chunk_order(const void *a, const void *b)
{
	const struct chunk_info *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* The caller frees them. */
static inline struct chunk_info *chunks_of(struct reader *r, size_t *n)
{
	struct chunk_info *all = calloc(reader_info(r)->nchunks + 1, sizeof(*all));

	assert_non_null(all);
	*n = 0;
	for (unsigned s = 0; s < STREAM_MAX; s++)
		for (size_t i = 0; i < reader_chunks(r, s); i++)
			assert_int_equal(reader_chunk_info(r, s, i, &all[(*n)++]), 0);
	qsort(all, *n, sizeof(*all), chunk_order);
	return all;
}

#endif
