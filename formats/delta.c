// SPDX-License-Identifier: GPL-2.0-or-later
/* Deltas of pages: found by words of 8 bytes, told by bytes. */
#include "delta.h"

#include <string.h>
#include <xxhash.h>

static u64 word_at(const u8 *page, u32 at)
{
	u64 word;

	memcpy(&word, page + at, sizeof(word));
	return word;
}

/* The first byte from `at` on that differs (or, with `same`, does not); DELTA_PAGE: none. */
static u32 seek(const u8 *was, const u8 *now, u32 at, bool same)
{
	while (at < DELTA_PAGE) {
		if (!(at & 7)) {
			u64 x = word_at(was, at) ^ word_at(now, at);

			/* The lowest byte of x that is zero, by its top bit. */
			if (same)
				x = (x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull;
			if (x)
				return at + (u32)__builtin_ctzll(x) / 8;
			at += 8;
		} else if ((was[at] == now[at]) == same) {
			return at;
		} else {
			at++;
		}
	}
	return DELTA_PAGE;
}

static u8 *put(u8 *out, u32 value)
{
	for (; value >= 0x80; value >>= 7)
		*out++ = (u8)(value | 0x80);
	*out++ = (u8)value;
	return out;
}

size_t delta_make(const u8 *was, const u8 *now, u8 *out)
{
	u8 *to = out;
	u32 end = 0;

	for (u32 at; (at = seek(was, now, end, false)) < DELTA_PAGE;) {
		const u32 stop = seek(was, now, at, true), len = stop - at;

		to = put(to, at - end);
		to = put(to, len - 1);
		memcpy(to, now + at, len);
		to += len;
		end = stop;
	}
	return (size_t)(to - out);
}

static bool get(struct delta *d, u32 *value)
{
	*value = 0;
	for (u32 shift = 0; d->at < d->stop && shift < 14; shift += 7) {
		const u8 b = *d->at++;

		*value |= (u32)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	return false;
}

bool delta_next(struct delta *d)
{
	const u32 end = d->off + d->len;
	u32 gap, more;

	if (d->at == d->stop || !get(d, &gap) || !get(d, &more) || gap >= DELTA_PAGE - end ||
	    more >= DELTA_PAGE - end - gap || more >= (size_t)(d->stop - d->at))
		return false;
	d->off = end + gap;
	d->len = more + 1;
	d->bytes = d->at;
	d->at += d->len;
	return true;
}

u32 delta_sum(const u8 *page)
{
	return (u32)XXH3_64bits(page, DELTA_PAGE);
}
