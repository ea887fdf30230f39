// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Plays the film and looks at what each write completes or breaks.
 *
 * Bytes: only around the write, and only when a byte that changed is one of theirs. Blocks: each
 * page has a sum over its words, each times a number of its place, which a write changes by the
 * words that it changes; a page whose sum is a block's is compared with it.
 */
#include "find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/wire.h"

#define WORDS	   (FILM_PAGE / 8)
#define NONE	   UINT32_MAX
#define BLOOM_BITS 20
#define TAIL_MIN   64u

/* What is there now. */
struct present {
	struct found found;
	u32 next; /* in the same page, or free */
	bool used;
};

struct find {
	const struct find_spec *spec;
	struct film *film; /* set once it plays: see film_now() */
	struct present *present;
	u32 npresent, present_max, free;
	u64 nfound;
	bool changed; /* by the write at hand */
	const u8 *bytes;
	size_t n;
	bool wanted[256];
	/* Blocks. */
	const u8 *file;
	u64 size;
	u64 *sums;   /* hash of sums */
	u32 *blocks; /* with the first block of that sum; NONE: none */
	u32 *same;   /* the next block of the same sum, or NONE */
	size_t nsums;
	u64 factors[WORDS];
	u8 *bloom;
	u64 before; /* the words of the write, summed up, before it */
};

/* A page's list begins in page->user (plus 1) for values; in `at` for blocks, whose page->user is
 * the sum. */
static int present_add(struct find *f, const struct found *found, u32 next, u32 *out)
{
	u32 i = f->free;

	if (++f->nfound > f->spec->max)
		return -E2BIG;
	if (i != NONE) {
		f->free = f->present[i].next;
	} else {
		if (f->npresent == f->present_max) {
			const u32 max = f->present_max ? 2 * f->present_max : 64;
			struct present *more = realloc(f->present, max * sizeof(*more));

			if (!more)
				return -ENOMEM;
			f->present = more;
			f->present_max = max;
		}
		i = f->npresent++;
	}
	f->present[i] = (struct present){.found = *found, .next = next, .used = true};
	*out = i;
	return 0;
}

static int present_end(struct find *f, u32 i, struct moment at)
{
	struct present *p = &f->present[i];
	const struct found found = p->found;

	p->used = false;
	p->next = f->free;
	f->free = i;
	struct found ended = found;
	ended.until = at;
	return f->spec->fn(f->spec->arg, &ended);
}

static int before_value(void *arg, const struct film_page *p, const struct film_write *w)
{
	struct find *f = arg;

	f->changed = memcmp(p->bytes + w->gpa % FILM_PAGE, w->bytes, w->len) || p->known;
	return 0;
}

/* Those of the page that the write broke. */
static int values_break(struct find *f, struct film_page *p, const struct film_write *w)
{
	u8 now[FIND_BYTES_MAX];
	u32 before = NONE;

	for (u32 i = (u32)p->user - 1, next; i != NONE; i = next) {
		const u64 gpa = f->present[i].found.gpa;

		next = f->present[i].next;
		if (gpa >= w->gpa + w->len || gpa + f->n <= w->gpa ||
		    (film_read(f->film, gpa, now, f->n) && !memcmp(now, f->bytes, f->n))) {
			before = i;
			continue;
		}
		if (before == NONE)
			p->user = (u64)next + 1;
		else
			f->present[before].next = next;
		if (next == NONE && before == NONE)
			p->user = 0;
		const int ret = present_end(f, i, w->at);
		if (ret)
			return ret;
	}
	return 0;
}

static bool value_present(const struct find *f, const struct film_page *p, u64 gpa)
{
	for (u32 i = p ? (u32)p->user - 1 : NONE; i != NONE; i = f->present[i].next)
		if (f->present[i].found.gpa == gpa)
			return true;
	return false;
}

static int value_found(struct find *f, u64 gpa, const struct film_write *w)
{
	struct film_page *page = film_page(f->film, gpa),
			 *last = film_page(f->film, gpa + f->n - 1);
	const struct found found = {
		.gpa = gpa, .len = (u32)f->n, .from = w->at, .until = MOMENT_END, .by = *w};
	u32 i;

	if (gpa + f->n <= f->spec->gpa || gpa >= f->spec->end || value_present(f, page, gpa) ||
	    (last != page && value_present(f, last, gpa)))
		return 0;
	/* Its first bytes may be zeros of a page that nobody wrote to. */
	if (!page)
		page = last;
	const int err = present_add(f, &found, (u32)page->user - 1, &i);
	if (!err)
		page->user = (u64)i + 1;
	return err;
}

/* Around the write, as far as a value reaches that it touches. */
static int values_look(struct find *f, const struct film_write *w)
{
	u8 window[FILM_PAGE + 2 * FIND_BYTES_MAX];
	const u64 from = w->gpa > f->n - 1 ? w->gpa - (f->n - 1) : 0;
	const u64 end = w->gpa + w->len + f->n - 1;
	int err = 0;

	if (film_read(f->film, from, window, end - from)) {
		const u8 *p = window, *stop = window + (end - from);

		for (; !err && (p = memmem(p, (size_t)(stop - p), f->bytes, f->n)); p++)
			err = value_found(f, from + (u64)(p - window), w);
		return err;
	}
	/* Not all of it is known. */
	for (u64 gpa = from; gpa + f->n <= end && !err; gpa++)
		if (film_read(f->film, gpa, window, f->n) && !memcmp(window, f->bytes, f->n))
			err = value_found(f, gpa, w);
	return err;
}

static int neighbour_break(struct find *f, u64 gpa, const struct film_write *w)
{
	struct film_page *p = film_page(f->film, gpa);

	return p && p->user ? values_break(f, p, w) : 0;
}

static int after_value(void *arg, struct film_page *p, const struct film_write *w)
{
	struct find *f = arg;
	int ret = 0;

	if (!f->changed)
		return 0;
	if (p->user)
		ret = values_break(f, p, w);
	/* One that lies in two pages is noted with either. */
	if (!ret && w->gpa % FILM_PAGE < f->n - 1)
		ret = neighbour_break(f, w->gpa - FILM_PAGE, w);
	if (!ret && w->gpa % FILM_PAGE + w->len + f->n - 1 > FILM_PAGE)
		ret = neighbour_break(f, w->gpa + FILM_PAGE, w);
	for (u32 i = 0; i < w->len && !ret; i++)
		if (f->wanted[w->bytes[i]])
			return values_look(f, w);
	return ret;
}

static u64 words_sum(const struct find *f, const struct film_page *p, const struct film_write *w)
{
	const size_t from = w->gpa % FILM_PAGE / 8, to = ((w->gpa % FILM_PAGE) + w->len - 1) / 8;
	u64 sum = 0;

	for (size_t i = from; i <= to; i++)
		sum += load_le(p->bytes + 8 * i, 8) * f->factors[i];
	return sum;
}

static int before_block(void *arg, const struct film_page *p, const struct film_write *w)
{
	struct find *f = arg;

	f->before = words_sum(f, p, w);
	return 0;
}

static size_t sum_place(const struct find *f, u64 sum)
{
	size_t i = sum * 0x9e3779b97f4a7c15ull >> 32 & (f->nsums - 1);

	while (f->blocks[i] != NONE && f->sums[i] != sum)
		i = (i + 1) & (f->nsums - 1);
	return i;
}

static u32 block_len(const struct find *f, u32 block)
{
	const u64 left = f->size - (u64)block * FIND_BLOCK;

	return left < FIND_BLOCK ? (u32)left : FIND_BLOCK;
}

static int blocks_break(struct find *f, u64 gpa, struct moment at)
{
	int ret = 0;

	for (u32 i = 0; i < f->npresent && !ret; i++)
		if (f->present[i].used && f->present[i].found.gpa == gpa)
			ret = present_end(f, i, at);
	return ret;
}

#define HELD_FLAG 1ull /* of page->user: a block is present; the sum has this bit cleared */

static int after_block(void *arg, struct film_page *p, const struct film_write *w)
{
	struct find *f = arg;
	const u64 after = words_sum(f, p, w), was = p->user;
	int ret = 0;

	/* Zeros may be news where nothing was known. */
	if (after == f->before && (!p->known || was & HELD_FLAG))
		return 0;
	/* The factors are even: the lowest bit of the sum is free. */
	p->user = (was & ~HELD_FLAG) + after - f->before;
	if (was & HELD_FLAG)
		ret = blocks_break(f, p->gpa, w->at);
	const u64 sum = p->user;
	if (ret || !(f->bloom[sum >> (64 - BLOOM_BITS) >> 3] >> (sum >> (64 - BLOOM_BITS) & 7) & 1))
		return ret;
	const size_t place = sum_place(f, sum);
	for (u32 b = f->blocks[place]; b != NONE && !ret; b = f->same[b]) {
		const u32 len = block_len(f, b);
		const struct found found = {
			.gpa = p->gpa,
			.off = (u64)b * FIND_BLOCK,
			.len = len,
			.from = w->at,
			.until = MOMENT_END,
			.by = *w,
		};
		u32 i;

		u8 now[FIND_BLOCK];

		if (!film_read(f->film, p->gpa, now, len) ||
		    memcmp(now, f->file + (u64)b * FIND_BLOCK, len))
			continue;
		p->user |= HELD_FLAG;
		ret = present_add(f, &found, NONE, &i);
	}
	return ret;
}

static int finish(struct find *f, int ret)
{
	for (u32 i = 0; i < f->npresent && !ret; i++)
		if (f->present[i].used)
			ret = f->spec->fn(f->spec->arg, &f->present[i].found);
	free(f->present);
	return ret;
}

static int play(struct find *f, struct reader *r, const struct state *s, struct film_spec *film,
		char *err, size_t err_size)
{
	const struct moment limit = film->limit;

	/* The functions look at the film: it must be there before it plays. */
	const u64 more = f->n ? f->n - 1 : 0; /* a value may reach out of the range */
	film->gpa = f->spec->gpa > more ? f->spec->gpa - more : 0;
	film->end = f->spec->end < UINT64_MAX - more ? f->spec->end + more : UINT64_MAX;
	film->pages_max = f->spec->pages_max;
	film->progress = f->spec->progress;
	film->limit = MOMENT_START;
	int ret = film_play(&f->film, r, s, film, err, err_size);
	film->limit = limit;
	if (!ret)
		ret = film_go_on(f->film, film, err, err_size);
	if (ret == -E2BIG && f->nfound > f->spec->max)
		snprintf(err, err_size, "found more than %llu times",
			 (unsigned long long)f->spec->max);
	ret = finish(f, ret);
	film_close(f->film);
	return ret;
}

int find_bytes(struct reader *r, const struct state *s, const struct find_spec *spec,
	       const u8 *bytes, size_t n, char *err, size_t err_size)
{
	struct find f = {.spec = spec, .bytes = bytes, .n = n, .free = NONE};
	struct film_spec film = {
		.limit = spec->limit, .before = before_value, .after = after_value, .arg = &f};

	if (!n || n > FIND_BYTES_MAX) {
		snprintf(err, err_size, "1 to %u bytes can be looked for", FIND_BYTES_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		f.wanted[bytes[i]] = true;
	return play(&f, r, s, &film, err, err_size);
}

static bool all_zero(const u8 *p, size_t n)
{
	return !*p && !memcmp(p, p + 1, n - 1);
}

static int blocks_enter(struct find *f, u64 *zeros)
{
	const u64 n = (f->size + FIND_BLOCK - 1) / FIND_BLOCK;
	u64 seed = 1;

	for (size_t i = 0; i < WORDS; i++) {
		/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
		 * 2014) */
		u64 x = seed += 0x9e3779b97f4a7c15ull;

		x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
		x = (x ^ x >> 27) * 0x94d049bb133111ebull;
		f->factors[i] = (x ^ x >> 31) << 1;
	}
	for (f->nsums = 1024; f->nsums < 4 * n; f->nsums *= 2)
		;
	f->sums = malloc(f->nsums * sizeof(*f->sums));
	f->blocks = malloc(f->nsums * sizeof(*f->blocks));
	f->same = malloc((n + 1) * sizeof(*f->same));
	f->bloom = calloc(1, (1u << BLOOM_BITS) / 8);
	if (!f->sums || !f->blocks || !f->same || !f->bloom)
		return -ENOMEM;
	memset(f->blocks, 0xff, f->nsums * sizeof(*f->blocks));
	for (u64 b = n; b-- > 0;) {
		u8 block[FIND_BLOCK] = {0};
		const u32 len = block_len(f, (u32)b);
		u64 sum = 0;

		if (len < TAIL_MIN && len < FIND_BLOCK)
			continue;
		memcpy(block, f->file + b * FIND_BLOCK, len);
		if (all_zero(block, sizeof(block))) {
			++*zeros;
			continue;
		}
		for (size_t i = 0; i < WORDS; i++)
			sum += load_le(block + 8 * i, 8) * f->factors[i];
		const size_t place = sum_place(f, sum);
		f->sums[place] = sum;
		f->same[b] = f->blocks[place];
		f->blocks[place] = (u32)b;
		f->bloom[sum >> (64 - BLOOM_BITS) >> 3] |=
			(u8)(1 << (sum >> (64 - BLOOM_BITS) & 7));
	}
	return 0;
}

int find_file(struct reader *r, const struct state *s, const struct find_spec *spec, const u8 *file,
	      u64 size, u64 *zeros, char *err, size_t err_size)
{
	struct find f = {.spec = spec, .file = file, .size = size, .free = NONE};
	struct film_spec film = {
		.limit = spec->limit, .before = before_block, .after = after_block, .arg = &f};
	int ret = -EINVAL;

	*zeros = 0;
	if (size / FIND_BLOCK >= NONE - 1)
		snprintf(err, err_size, "the file is too large");
	else
		ret = blocks_enter(&f, zeros);
	if (ret == -ENOMEM)
		snprintf(err, err_size, "out of memory");
	if (!ret)
		ret = play(&f, r, s, &film, err, err_size);
	free(f.sums);
	free(f.blocks);
	free(f.same);
	free(f.bloom);
	return ret;
}
