// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page sets: bitmaps while a chunk is being filled, one for each 2^32 pages; runs in the file.
 */
#include "pages.h"

#include <errno.h>
#include <roaring/roaring.h>
#include <stdlib.h>

struct part {
	u64 high; /* page >> 32 */
	roaring_bitmap_t *low;
};

struct pages {
	struct part *parts; /* rising */
	size_t nparts;
	u64 last; /* the page added last; most events touch it again */
};

int pages_open(struct pages **out)
{
	struct pages *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->last = PAGES_END;
	*out = p;
	return 0;
}

static void pages_clear(struct pages *p)
{
	for (size_t i = 0; i < p->nparts; i++)
		roaring_bitmap_free(p->parts[i].low);
	free(p->parts);
	p->parts = NULL;
	p->nparts = 0;
	p->last = PAGES_END;
}

void pages_close(struct pages *p)
{
	if (!p)
		return;
	pages_clear(p);
	free(p);
}

static roaring_bitmap_t *pages_part(struct pages *p, u64 high)
{
	size_t i = 0;

	while (i < p->nparts && p->parts[i].high < high)
		i++;
	if (i < p->nparts && p->parts[i].high == high)
		return p->parts[i].low;
	struct part *parts = realloc(p->parts, (p->nparts + 1) * sizeof(*parts));

	if (!parts)
		return NULL;
	p->parts = parts;
	roaring_bitmap_t *low = roaring_bitmap_create();

	if (!low)
		return NULL;
	memmove(parts + i + 1, parts + i, (p->nparts - i) * sizeof(*parts));
	parts[i] = (struct part){high, low};
	p->nparts++;
	return low;
}

int pages_add(struct pages *p, u64 gpa, u64 end)
{
	if (end <= gpa)
		return 0;
	const u64 last = (end - 1) >> PAGE_BITS;

	for (u64 page = gpa >> PAGE_BITS; page <= last;) {
		if (page == last && page == p->last)
			return 0;
		const u64 high = page >> 32, limit = (high + 1) << 32;
		const u64 stop = last + 1 < limit ? last + 1 : limit;
		roaring_bitmap_t *low = pages_part(p, high);

		if (!low)
			return -ENOMEM;
		if (stop - page == 1)
			roaring_bitmap_add(low, (u32)page);
		else
			roaring_bitmap_add_range(low, page & UINT32_MAX,
						 (page & UINT32_MAX) + stop - page);
		page = stop;
	}
	p->last = last;
	return 0;
}

struct runs {
	u64 end;	/* of the run before */
	u64 start, len; /* the open run, when len */
	u64 high;
	struct buf *out;
};

static void run_put(struct runs *r)
{
	if (r->len == 0)
		return;
	buf_varint(r->out, r->start - r->end);
	buf_varint(r->out, r->len - 1);
	r->end = r->start + r->len;
	r->len = 0;
}

static bool runs_page(u32 low, void *arg)
{
	struct runs *r = arg;
	const u64 page = r->high << 32 | low;

	if (r->len == 0 || r->start + r->len != page) {
		run_put(r);
		r->start = page;
	}
	r->len++;
	return true;
}

void pages_flush(struct pages *p, struct buf *out)
{
	struct runs r = {.out = out};

	for (size_t i = 0; i < p->nparts; i++) {
		r.high = p->parts[i].high;
		roaring_iterate(p->parts[i].low, runs_page, &r);
	}
	run_put(&r);
	pages_clear(p);
}

/* The next run [*start,*end), pages. False at the end, or (set->bad) when it is malformed. */
static bool run_get(struct span *set, u64 *start, u64 *end)
{
	if (span_left(set) == 0)
		return false;
	const u64 gap = span_varint(set), more = span_varint(set);

	if (set->bad || gap >= PAGES_END - *end || more >= PAGES_END - *end - gap) {
		set->bad = true;
		return false;
	}
	*start = *end + gap;
	*end = *start + more + 1;
	return true;
}

int pages_join(struct pages *p, struct span set)
{
	u64 start = 0, end = 0;
	int err = 0;

	while (!err && run_get(&set, &start, &end))
		err = pages_add(p, start << PAGE_BITS, (end << PAGE_BITS) - 1);
	return err;
}

bool pages_touch(struct span set, u64 gpa, u64 end)
{
	u64 start = 0, stop = 0;

	if (end <= gpa)
		return false;
	const u64 first = gpa >> PAGE_BITS, last = (end - 1) >> PAGE_BITS;

	while (run_get(&set, &start, &stop)) {
		if (start > last)
			return false;
		if (stop > first)
			return true;
	}
	return set.bad;
}

void pages_each(struct span set, void (*fn)(void *arg, u64 start, u64 end), void *arg)
{
	u64 start = 0, end = 0;

	while (run_get(&set, &start, &end))
		fn(arg, start, end);
}

bool pages_valid(struct span set)
{
	u64 start = 0, stop = 0;

	while (run_get(&set, &start, &stop))
		;
	return !set.bad;
}
