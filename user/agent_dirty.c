// SPDX-License-Identifier: GPL-2.0-or-later
/* Dirty logs of split slots: gathered from the pieces, and cleared in them. */
#include "agent_dirty.h"

#include "agent_plan.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64

static u64 words_for(u64 bits)
{
	return (bits + WORD_BITS - 1) / WORD_BITS;
}

/* n in 1..64 bits from any position. */
static u64 bits_read(const u64 *src, u64 from, u64 n)
{
	u64 shift = from % WORD_BITS, v = src[from / WORD_BITS] >> shift;

	if (shift + n > WORD_BITS)
		v |= src[from / WORD_BITS + 1] << (WORD_BITS - shift);
	return n == WORD_BITS ? v : v & ((1ull << n) - 1);
}

void dirty_bits_or(u64 *dst, u64 to, const u64 *src, u64 from, u64 n)
{
	while (n) {
		u64 k = min_u64(n, WORD_BITS - to % WORD_BITS);

		dst[to / WORD_BITS] |= bits_read(src, from, k) << to % WORD_BITS;
		to += k;
		from += k;
		n -= k;
	}
}

int dirty_scratch_grow(struct dirty_scratch *scratch, size_t nwords)
{
	void *map;

	if (nwords <= scratch->nwords)
		return 0;
	map = mmap(NULL, nwords * sizeof(u64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	if (scratch->words)
		munmap(scratch->words, scratch->nwords * sizeof(u64));
	scratch->words = map;
	scratch->nwords = nwords;
	return 0;
}

int dirty_get(struct slots *t, struct slot *s, u32 id, const struct dirty_ops *ops, void *ctx,
	      struct dirty_scratch *scratch, u64 *bitmap)
{
	struct piece whole;
	u32 n;
	const struct piece *p = slots_pieces(t, s, id, &whole, &n);
	u64 npages = s->size / SLOTS_PAGE;
	int err = 0;

	if (!s->split) {
		err = ops->get(ctx, id, bitmap);
	} else {
		memset(bitmap, 0, words_for(npages) * sizeof(u64));
		for (u32 i = 0; i < n && !err; i++) {
			u64 count = p[i].size / SLOTS_PAGE;

			err = dirty_scratch_grow(scratch, words_for(count));
			if (!err)
				err = ops->get(ctx, p[i].id, scratch->words);
			if (!err)
				dirty_bits_or(bitmap, (p[i].gpa - s->gpa) / SLOTS_PAGE,
					      scratch->words, 0, count);
		}
	}
	if (err || !s->all_dirty)
		return err;
	s->all_dirty = 0;
	memset(bitmap, 0xff, npages / 8);
	for (u64 bit = npages & ~7ull; bit < npages; bit++)
		bitmap[bit / WORD_BITS] |= 1ull << bit % WORD_BITS;
	return 0;
}

int dirty_clear(struct slots *t, struct slot *s, u32 id, const struct dirty_ops *ops, void *ctx,
		struct dirty_scratch *scratch, u64 first, u32 npages, const u64 *bitmap)
{
	struct piece whole;
	u32 n;
	const struct piece *p = slots_pieces(t, s, id, &whole, &n);
	u64 total = s->size / SLOTS_PAGE, end = first + npages;

	if (!s->split)
		return ops->clear(ctx, id, first, npages, bitmap);
	if (first % WORD_BITS || first > total || npages > total - first ||
	    (npages < total - first && npages % WORD_BITS))
		return -EINVAL;
	for (u32 i = 0; i < n; i++) {
		u64 base = (p[i].gpa - s->gpa) / SLOTS_PAGE, count = p[i].size / SLOTS_PAGE;
		u64 from = max_u64(first, base), to = min_u64(end, base + count);
		u64 aligned, aligned_end;
		int err;

		if (from >= to)
			continue;
		aligned = (from - base) / WORD_BITS * WORD_BITS;
		aligned_end = min_u64(words_for(to - base) * WORD_BITS, count);
		err = dirty_scratch_grow(scratch, words_for(aligned_end - aligned));
		if (err)
			return err;
		memset(scratch->words, 0, words_for(aligned_end - aligned) * sizeof(u64));
		dirty_bits_or(scratch->words, from - base - aligned, bitmap, from - first,
			      to - from);
		err = ops->clear(ctx, p[i].id, aligned, (u32)(aligned_end - aligned),
				 scratch->words);
		if (err)
			return err;
	}
	return 0;
}
