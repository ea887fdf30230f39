// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Growing buffers and bounded readers of bytes.
 */
#include "wire.h"

#include <stdlib.h>

bool buf_grow(struct buf *b, size_t n)
{
	if (b->failed)
		return false;
	if (n <= b->cap - b->len)
		return true;
	size_t cap = b->cap ? b->cap : 256;

	while (cap - b->len < n) {
		if (cap > SIZE_MAX / 2) {
			b->failed = true;
			return false;
		}
		cap *= 2;
	}
	u8 *data = realloc(b->data, cap);

	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_put(struct buf *b, const void *data, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->len, data, n);
	b->len += n;
}

void buf_varint(struct buf *b, u64 v)
{
	for (; v >= 0x80; v >>= 7)
		buf_u8(b, (u8)(v | 0x80));
	buf_u8(b, (u8)v);
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

u64 span_varint(struct span *s)
{
	u64 v = 0;

	for (unsigned shift = 0; shift < 64 && s->p < s->end; shift += 7) {
		const u8 byte = *s->p++;

		if (shift == 63 && byte > 1)
			break;
		v |= (u64)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return v;
	}
	s->bad = true;
	s->p = s->end;
	return 0;
}

const u8 *span_take(struct span *s, u64 n)
{
	if (n > span_left(s)) {
		s->bad = true;
		s->p = s->end;
		return NULL;
	}
	const u8 *p = s->p;

	s->p += n;
	return p;
}
