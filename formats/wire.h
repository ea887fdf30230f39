/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes on their way to and from the file: a growing buffer, a bounded reader, varints (LEB128, at
 * most ten bytes), zigzag, and little-endian loads and stores. Both sides have a sticky error.
 */
#ifndef VMBLAME_WIRE_H
#define VMBLAME_WIRE_H

#include <stdbool.h>
#include <string.h>

#include "event.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian, and so are we");

struct buf {
	u8 *data;
	size_t len, cap;
	bool failed; /* out of memory: what is in it is not to be used */
};

bool buf_grow(struct buf *b, size_t n);

/* Makes room for n more bytes. False (and b->failed) when there is no memory. */
static inline bool buf_reserve(struct buf *b, size_t n)
{
	return (!b->failed && n <= b->cap - b->len) || buf_grow(b, n);
}

void buf_put(struct buf *b, const void *data, size_t n);
void buf_varint(struct buf *b, u64 v);
void buf_free(struct buf *b); /* and ready for use again */

static inline void buf_u8(struct buf *b, u8 v)
{
	if (b->len < b->cap || buf_reserve(b, 1))
		b->data[b->len++] = v;
}

/* What is left to read of some bytes. After an overrun `bad` is set and everything reads as zero.
 */
struct span {
	const u8 *p, *end;
	bool bad;
};

u64 span_varint(struct span *s);

static inline u8 span_u8(struct span *s)
{
	if (s->p < s->end)
		return *s->p++;
	s->bad = true;
	return 0;
}

/* The next n bytes, or NULL. */
const u8 *span_take(struct span *s, u64 n);

static inline struct span span_of(const void *data, size_t n)
{
	return (struct span){.p = data, .end = n ? (const u8 *)data + n : data};
}

static inline size_t span_left(const struct span *s)
{
	return (size_t)(s->end - s->p);
}

static inline u64 zigzag(u64 v)
{
	return (v << 1) ^ (0 - (v >> 63));
}

static inline u64 unzigzag(u64 z)
{
	return (z >> 1) ^ (0 - (z & 1));
}

/* Low n bytes; n of 8 and more: all. */
static inline u64 bytes_mask(unsigned n)
{
	return n >= 8 ? ~0ull : (1ull << (8 * n)) - 1;
}

/* Up to 8 bytes as a little-endian number, and back. */
static inline u64 load_le(const void *p, unsigned n)
{
	u64 v = 0;

	switch (n) {
	case 8:
		memcpy(&v, p, 8);
		return v;
	case 4:
		memcpy(&v, p, 4);
		return v;
	case 2:
		memcpy(&v, p, 2);
		return v;
	case 1:
		return *(const u8 *)p;
	default:
		memcpy(&v, p, n < 8 ? n : 8);
		return v;
	}
}

static inline void store_le(void *p, u64 v, unsigned n)
{
	switch (n) {
	case 8:
		memcpy(p, &v, 8);
		break;
	case 4:
		memcpy(p, &v, 4);
		break;
	case 2:
		memcpy(p, &v, 2);
		break;
	case 1:
		*(u8 *)p = (u8)v;
		break;
	default:
		memcpy(p, &v, n < 8 ? n : 8);
	}
}

#endif
