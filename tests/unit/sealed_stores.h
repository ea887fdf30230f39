/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chunk of stores between the encoder and the decoder. Each block has memory of its own, so that
 * a sanitizer sees its end.
 */
#ifndef VMBLAME_TEST_SEALED_STORES_H
#define VMBLAME_TEST_SEALED_STORES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "formats/stores.h"

struct sealed {
	struct chunk_head h;
	struct span pages, blocks[STORES_BLOCKS];
};

static inline struct span span_copy(const void *data, size_t n)
{
	u8 *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	if (n)
		memcpy(copy, data, n);
	return span_of(copy, n);
}

static inline void seal(struct stores_encoder *enc, struct sealed *s)
{
	const struct buf *blocks[STORES_BLOCKS];
	struct buf pages = {0};

	s->h = (struct chunk_head){0};
	assert_int_equal(stores_seal(enc, &s->h, &pages, blocks), 0);
	s->pages = span_copy(pages.data, pages.len);
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		s->blocks[b] = span_copy(blocks[b]->data, blocks[b]->len);
	buf_free(&pages);
	stores_reset(enc);
}

static inline void sealed_free(struct sealed *s)
{
	free((void *)s->pages.p);
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		free((void *)s->blocks[b].p);
}

#endif
