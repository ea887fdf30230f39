// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Decodes stores. Nothing in the body is trusted: each column is read against its end, each site
 * against their number, and each store must lie within a mapped page.
 */
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "pages.h"
#include "stores_model.h"

/* A place that maps pages: gpa less gva, and these. */
#define MAP_VALID 1ull
#define MAP_SMM	  2ull
#define MAP_DELTA (~0xfffull)

/* The columns' places and ends. */
struct columns {
	const u8 *at[STORES_BLOCKS], *end[STORES_BLOCKS];
};

struct stores_decoder {
	struct store v[STORES_BATCH];
	struct store_site *sites;
	u32 nsites, entered; /* those of the chunk, and those that have stored */
	u32 at, n;	     /* stores given, and in all */
	u32 told;	     /* the store before which something is told next; n: nothing more */
	u64 seq_max;
	struct stores now; /* what holds */
	bool raced;	   /* of the next store alone */
	struct span aside;
	struct columns columns;
	const char *why;
	u64 map[STORES_MAPS];
	struct stores_model model;
};

int stores_decoder_open(struct stores_decoder **out)
{
	struct stores_decoder *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);

	if (!d)
		return -ENOMEM;
	d->sites = malloc(STORES_SITES * sizeof(*d->sites));
	if (!d->sites) {
		free(d);
		return -ENOMEM;
	}
	d->at = d->n = 0;
	*out = d;
	return 0;
}

void stores_decoder_close(struct stores_decoder *d)
{
	if (!d)
		return;
	free(d->sites);
	free(d);
}

static int bad(struct stores_decoder *d, const char *why)
{
	d->why = why;
	return -EBADMSG;
}

static int sites_read(struct stores_decoder *d, struct span s)
{
	u64 pc = 0;

	for (d->nsites = d->entered = 0; span_left(&s); d->nsites++) {
		pc += unzigzag(span_varint(&s));
		const u8 what = span_u8(&s);

		if (s.bad || what >> 7 || d->nsites == STORES_SITES)
			return bad(d, "a chunk's sites are malformed");
		d->sites[d->nsites] = (struct store_site){
			.pc = pc, .size = (u8)(1 << (what & 3)), .part = what >> 2};
	}
	return 0;
}

/* Before which store something is told next. */
static int told_next(struct stores_decoder *d)
{
	if (!span_left(&d->aside)) {
		d->told = d->n;
		return 0;
	}
	const u64 gap = span_varint(&d->aside);

	if (d->aside.bad || gap > d->n - d->at)
		return bad(d, "what is told beside the stores is malformed");
	d->told = d->at + (u32)gap;
	return 0;
}

static int told_take(struct stores_decoder *d)
{
	struct span *s = &d->aside;
	u64 *map, x;

	switch (span_varint(s)) {
	case ASIDE_TIME:
		d->now.t_ns += span_varint(s);
		break;
	case ASIDE_THREAD:
		d->now.tid = (u32)span_varint(s);
		d->now.vcpu = (u16)span_varint(s);
		break;
	case ASIDE_MAP:
		x = span_varint(s);
		if (x >> 1 >= STORES_MAPS)
			return bad(d, "a page is mapped through a place that there is not");
		map = &d->map[x >> 1];
		*map = ((*map + (unzigzag(span_varint(s)) << PAGE_BITS)) & MAP_DELTA) | MAP_VALID |
		       (x & 1 ? MAP_SMM : 0);
		break;
	case ASIDE_SEQ:
		d->now.seq += span_varint(s);
		break;
	case ASIDE_RACED:
		d->raced = true;
		break;
	default:
		return bad(d, "a kind of remark beside the stores that there is not");
	}
	return s->bad ? bad(d, "what is told beside the stores is cut") : told_next(d);
}

static inline bool varint_take(struct columns *c, unsigned block, u64 *v)
{
	const u8 *p = c->at[block], *end = c->end[block];
	u64 x = 0;

	for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
		const u8 byte = *p++;

		if (shift == 63 && byte > 1)
			return false;
		x |= (u64)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			c->at[block] = p;
			*v = x;
			return true;
		}
	}
	return false;
}

static inline bool bytes_take(struct columns *c, unsigned block, unsigned n, u64 *v)
{
	if (c->end[block] - c->at[block] < (ptrdiff_t)n)
		return false;
	*v = load_le(c->at[block], n);
	c->at[block] += n;
	return true;
}

static inline bool gva_decode(const struct stores_now *now, const struct site_memory *s,
			      unsigned code, struct columns *c, u64 *gva)
{
	u64 z;

	switch (code) {
	case GVA_AHEAD:
		*gva = now->gva + s->ahead;
		return true;
	case GVA_STRIDE:
		*gva = s->gva + s->stride;
		return true;
	case GVA_SAME:
		*gva = s->gva;
		return true;
	case GVA_STEP:
		if (!varint_take(c, STORES_STEP, &z))
			return false;
		*gva = s->gva + unzigzag(z);
		return true;
	case GVA_SIDE:
		if (!varint_take(c, STORES_SIDE, &z))
			return false;
		*gva = now->gva + unzigzag(z);
		return true;
	default:
		return false;
	}
}

static inline bool value_decode(const struct stores_now *now, const struct site_memory *s,
				unsigned code, u64 gva, u64 held, struct columns *c, u64 *value)
{
	u64 z;

	switch (code) {
	case VALUE_SAME:
		*value = s->value;
		break;
	case VALUE_HELD:
		*value = held;
		break;
	case VALUE_STRIDE:
		*value = s->value + s->value_stride;
		break;
	case VALUE_GVA:
		*value = gva + s->value_gva;
		break;
	case VALUE_PREV:
		*value = now->value;
		break;
	case VALUE_NEAR1:
		if (!bytes_take(c, STORES_NEAR1, 1, &z))
			return false;
		*value = s->value + unzigzag(z);
		break;
	case VALUE_NEAR2:
		if (!bytes_take(c, STORES_NEAR2, 2, &z))
			return false;
		*value = s->value + unzigzag(z);
		break;
	default:
		if (!bytes_take(c, STORES_VALUE1 + __builtin_ctz(s->size), s->size, value))
			return false;
	}
	*value &= ~0ull >> (64 - 8 * s->size);
	return true;
}

/* The next n stores, between which nothing is told. */
static int stretch(struct stores_decoder *d, u32 n)
{
	struct stores_model *m = &d->model;
	struct stores_now now = m->now;
	struct columns c = d->columns;

	for (u32 i = 0; i < n; i++) {
		const u8 code = *c.at[STORES_CODES]++;
		u64 x, gva, value;
		u32 site;

		switch (code & 3) {
		case SITE_PATH:
			site = m->paths[now.path];
			break;
		case SITE_NEXT:
			site = m->sites[now.last].next;
			break;
		case SITE_KNOWN:
			if (!bytes_take(&c, STORES_KNOWN, 2, &x))
				return bad(d, "a column of stores is cut");
			site = (u32)x;
			break;
		default:
			site = d->entered;
			if (site >= d->nsites)
				return bad(d, "a store of a site that there is not");
			model_site(m, &now, d->entered++, d->sites[site].size);
		}
		if (site >= d->entered)
			return bad(d, "a store of a site that there is not");
		struct site_memory *s = &m->sites[site];
		if (!code) { /* as often as not: all was foreseen */
			gva = now.gva + s->ahead;
			value = s->value;
		} else if (!gva_decode(&now, s, code >> 2 & 7, &c, &gva)) {
			return bad(d, "a store's address is malformed");
		}
		u64 *held = model_held(m, gva, s->size);
		if (code && !value_decode(&now, s, code >> 5, gva, *held, &c, &value))
			return bad(d, "a column of stores is cut");
		const u64 map = d->map[stores_map_slot(gva)];
		if (!(map & MAP_VALID) || (gva & 0xfff) + s->size > 0x1000)
			return bad(d, "a store to a page that is not mapped");
		d->v[i] = (struct store){
			.gva = gva,
			.gpa = gva + (map & MAP_DELTA),
			.value = value,
			.site = (u16)site,
			.size = s->size,
			.smm = (map & MAP_SMM) != 0,
		};
		model_went(m, &now, site);
		model_stored(&now, s, gva, value, held);
	}
	m->now = now;
	d->columns = c;
	return 0;
}

int stores_begin(struct stores_decoder *d, const struct chunk_head *h,
		 const struct span blocks[STORES_BLOCKS], const char **why)
{
	*why = "a chunk's stores are not as many as its header says";
	d->n = d->at = 0;
	d->raced = false;
	if (!h->events || h->events > STORES_MAX || !h->seq_min ||
	    span_left(&blocks[STORES_CODES]) != h->events)
		return -EBADMSG;
	d->n = h->events;
	d->seq_max = h->seq_max;
	d->now = (struct stores){.v = d->v, .sites = d->sites, .seq = h->seq_min, .t_ns = h->t_min};
	d->aside = blocks[STORES_ASIDE];
	for (unsigned b = 0; b < STORES_BLOCKS; b++) {
		d->columns.at[b] = blocks[b].p;
		d->columns.end[b] = blocks[b].end;
	}
	memset(d->map, 0, sizeof(d->map));
	model_begin(&d->model);
	const int err = sites_read(d, blocks[STORES_SITE]) ?: told_next(d);
	if (err) {
		d->n = 0;
		*why = d->why;
	}
	return err;
}

int stores_next(struct stores_decoder *d, struct stores *out, const char **why)
{
	int err = 0;

	while (!err && d->at == d->told && d->at < d->n)
		err = told_take(d);
	if (!err && d->at == d->n) {
		if (!d->n || d->now.seq == d->seq_max + 1)
			return 0;
		err = bad(d, "a chunk's last store is not the one its header names");
	}
	const u32 left = d->told - d->at, n = left < STORES_BATCH ? left : STORES_BATCH;
	if (!err)
		err = stretch(d, n);
	if (err) {
		d->n = d->at = 0;
		*why = d->why;
		return err;
	}
	d->v[0].raced = d->raced;
	d->raced = false;
	*out = d->now;
	out->n = n;
	d->at += n;
	d->now.seq += n;
	return 1;
}

u32 stores_words_sum(struct span pages, struct span words)
{
	return (u32)XXH64(words.p, span_left(&words), XXH64(pages.p, span_left(&pages), 0));
}

/* The words of a page at `start` that lie in [gpa,end), of those that are touched. */
static bool words_clip(const u8 *bits, u64 start, u64 gpa, u64 end, u64 *words)
{
	const unsigned first = gpa > start ? (gpa - start) >> 3 : 0;
	const unsigned last =
		end - start < 1 << PAGE_BITS ? (end - start - 1) >> 3 : STORES_PAGE_WORDS - 1;
	u64 any = 0;

	for (unsigned i = 0; i < STORES_PAGE_WORDS / 64; i++) {
		words[i] = load_le(bits + 8 * i, 8);
		if (i < first / 64 || i > last / 64)
			words[i] = 0;
		if (i == first / 64)
			words[i] &= ~0ull << first % 64;
		if (i == last / 64)
			words[i] &= ~0ull >> (63 - last % 64);
		any |= words[i];
	}
	return any;
}

bool stores_words_touch(struct span pages, struct span words, u64 gpa, u64 end,
			bool (*wants)(void *arg, u64 gpa, const u64 *words), void *arg)
{
	u64 page = 0, clipped[STORES_PAGE_WORDS / 64];

	if (end <= gpa)
		return false;
	while (span_left(&pages)) {
		const u64 gap = span_varint(&pages), more = span_varint(&pages);

		if (pages.bad)
			return true;
		page += gap;
		for (u64 i = 0; i <= more; i++, page++) {
			const u8 *bits = span_take(&words, STORES_PAGE_BYTES);
			const u64 start = page << PAGE_BITS;

			if (!bits)
				return true;
			if (start >= end || (start | ((1 << PAGE_BITS) - 1)) < gpa)
				continue;
			if (words_clip(bits, start, gpa, end, clipped) &&
			    (!wants || wants(arg, start, clipped)))
				return true;
		}
	}
	return false;
}
