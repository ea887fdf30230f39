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

#ifdef __SSE2__
/* Of 16 bytes: 0xff where they are the same. */
static __m128i same_16(const u8 *was, const u8 *now)
{
	return _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)was),
			      _mm_loadu_si128((const __m128i *)now));
}

static u64 bits_16(__m128i bytes)
{
	return (u64)_mm_movemask_epi8(bytes);
}
#endif

/* Of 64 bytes: bit i is 1 where byte i differs. */
static u64 line_differs(const u8 *was, const u8 *now)
{
#ifdef __SSE2__
	const __m128i a = same_16(was, now), b = same_16(was + 16, now + 16),
		      c = same_16(was + 32, now + 32), d = same_16(was + 48, now + 48);

	if (bits_16(_mm_and_si128(_mm_and_si128(a, b), _mm_and_si128(c, d))) == 0xffff)
		return 0;
	return ~(bits_16(a) | bits_16(b) << 16 | bits_16(c) << 32 | bits_16(d) << 48);
#else
	u64 differs = 0;

	if (!memcmp(was, now, LINE))
		return 0;
	for (u32 i = 0; i < LINE; i++)
		differs |= (u64)(was[i] != now[i]) << i;
	return differs;
#endif
}

/* The first byte from `at` on, below DELTA_PAGE, whose bit is 1 (with flip ~0: 0); DELTA_PAGE:
 * none. */
static u32 seek(const u64 *differs, u32 at, u64 flip)
{
	u32 line = at / LINE;
	u64 left = (differs[line] ^ flip) & ~0ull << at % LINE;

	while (!left) {
		if (++line == LINES)
			return DELTA_PAGE;
		left = differs[line] ^ flip;
	}
	return line * LINE + (u32)__builtin_ctzll(left);
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
	u64 differs[LINES];
	u8 *to = out;

	for (u32 i = 0; i < LINES; i++)
		differs[i] = line_differs(was + i * LINE, now + i * LINE);
	for (u32 at, end = 0; end < DELTA_PAGE && (at = seek(differs, end, 0)) < DELTA_PAGE;) {
		const u32 stop = seek(differs, at, ~0ull), len = stop - at;

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
