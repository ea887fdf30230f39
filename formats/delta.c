// SPDX-License-Identifier: GPL-2.0-or-later
/* Deltas of pages: found as a bit for each byte, told by runs of them. */
#include "delta.h"

#include <string.h>
#include <xxhash.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LINE  64u
#define LINES (DELTA_PAGE / LINE)

/* What lies so far ahead is asked for: one reads more slowly than memcmp() otherwise. */
#define AHEAD 1024

/* Of each line: bit i is 1 where byte i differs. */
#ifdef __SSE2__
static u64 same_16(const u8 *was, const u8 *now)
{
	return (u64)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)was),
						     _mm_loadu_si128((const __m128i *)now)));
}

static void find(const u8 *was, const u8 *now, u64 *differs)
{
	for (u32 i = 0; i < LINES; i++, was += LINE, now += LINE) {
		__builtin_prefetch(was + AHEAD);
		__builtin_prefetch(now + AHEAD);
		differs[i] =
			~(same_16(was, now) | same_16(was + 16, now + 16) << 16 |
			  same_16(was + 32, now + 32) << 32 | same_16(was + 48, now + 48) << 48);
	}
}

#else
static void find(const u8 *was, const u8 *now, u64 *differs)
{
	memset(differs, 0, LINES * sizeof(*differs));
	for (u32 i = 0; i < DELTA_PAGE; i++)
		differs[i / LINE] |= (u64)(was[i] != now[i]) << i % LINE;
}
#endif

/* Where runs begin and end, in turn. Returns how many there are. */
static u32 find_edges(const u64 *differs, u16 *edge)
{
	u64 before = 0;
	u32 n = 0;

	for (u32 i = 0; i < LINES; i++) {
		for (u64 e = differs[i] ^ (differs[i] << 1 | before); e; e &= e - 1)
			edge[n++] = (u16)(i * LINE + (u32)__builtin_ctzll(e));
		before = differs[i] >> (LINE - 1);
	}
	if (before)
		edge[n++] = DELTA_PAGE;
	return n;
}

static u8 *put(u8 *out, u32 value)
{
	for (; value >= 0x80; value >>= 7)
		*out++ = (u8)(value | 0x80);
	*out++ = (u8)value;
	return out;
}

/* By lines, as a call of memcpy() takes longer than most runs, and a copy to odd addresses by
 * REP MOVSB, which it may choose, than any. `room`: a line may be read and written behind a short
 * one. */
static void bytes_put(u8 *to, const u8 *from, u32 len, bool room)
{
	if (len < LINE && room) {
		memcpy(to, from, LINE);
		return;
	}
	if (len < LINE) {
		memcpy(to, from, len);
		return;
	}
	for (u32 i = 0; i < len - LINE; i += LINE)
		memcpy(to + i, from + i, LINE);
	memcpy(to + len - LINE, from + len - LINE, LINE);
}

size_t delta_make(const u8 *was, const u8 *now, u8 *out)
{
	u64 differs[LINES];
	u16 edge[DELTA_PAGE + 1];
	u8 *to = out;

	find(was, now, differs);
	const u32 n = find_edges(differs, edge);
	for (u32 i = 0, end = 0; i < n; i += 2) {
		const u32 at = edge[i], stop = edge[i + 1], len = stop - at;

		to = put(to, at - end);
		to = put(to, len - 1);
		bytes_put(to, now + at, len,
			  at <= DELTA_PAGE - LINE && to <= out + DELTA_MAX - LINE);
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
