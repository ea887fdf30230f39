// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Encodes stores. The columns are arrays as large as a chunk can make them, so that the inner loop
 * checks nothing; of what is never used the kernel gives us no memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "pages.h"
#include "stores_model.h"

#define HUGE_PAGE  ((size_t)2 << 20)
#define MAP_VALID  1ull
#define MAP_SMM	   2ull
#define MAP_FLAGS  0xfffull
#define MAP_UNTOLD MAP_FLAGS

/* Bytes of a column that one store may take. */
static const u8 block_room[STORES_BLOCKS] = {
	[STORES_CODES] = 1,  [STORES_KNOWN] = 2,  [STORES_STEP] = 10,  [STORES_SIDE] = 10,
	[STORES_VALUE1] = 1, [STORES_VALUE2] = 2, [STORES_VALUE4] = 4, [STORES_VALUE8] = 8,
	[STORES_NEAR1] = 1,  [STORES_NEAR2] = 2,
};
#define ROOM_SLACK 16 /* values are copied by eight bytes */

/* A site of the recording, and which of the chunk it is. */
struct known_site {
	struct store_site site;
	u32 chunk; /* the chunk in which `local` holds; 0: no such site */
	u16 local;
};

struct touched {
	u64 page; /* gpa >> 12 */
	u64 words[STORES_PAGE_WORDS / 64];
};

/* A place that maps pages: the page that it maps now, and what was told of it last. */
struct told {
	u64 key;     /* told_key(), or TOLD_NONE */
	u64 map;     /* or MAP_UNTOLD */
	u32 touched; /* index in touched[], of where that page lies */
};
#define TOLD_NONE (~0ull)

static inline u64 told_key(unsigned lane, u64 gva)
{
	return gva >> PAGE_BITS | (u64)lane << (64 - PAGE_BITS);
}

struct stores_encoder {
	struct buf blocks[STORES_BLOCKS];
	struct known_site *ids;
	u32 nids;
	u64 *maps[STORES_LANES]; /* STORES_MAPS of each: gpa less gva, and MAP_ flags */

	/* Of the chunk. */
	u32 chunk; /* its number, from 1 */
	u32 n, nsites;
	u32 aside_at; /* the store before which something was told last */
	u64 pc;	      /* of the site that came last */
	u64 seq_min, seq_next, seq_max;
	u64 t_min, t_told, t_max, t_ns; /* t_max, seq_max: of the last store taken */
	u32 tid, tid_told;
	u16 vcpu, vcpu_told;
	bool raced;		       /* the next store */
	struct told told[STORES_MAPS]; /* in this chunk */
	struct touched *touched;
	u32 ntouched, touched_max;
	u32 *places; /* hash of pages: index in touched[] plus 1 */
	u32 nplaces; /* a power of two */
	struct pages *pages;
	struct stores_model model;
};

int stores_encoder_open(struct stores_encoder **out)
{
	const size_t size = (sizeof(struct stores_encoder) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	struct stores_encoder *e = aligned_alloc(HUGE_PAGE, size);

	if (!e)
		return -ENOMEM;
	madvise(e, size, MADV_HUGEPAGE); /* it is used all over: the TLB's misses are a tenth */
	memset(e, 0, sizeof(*e));
	e->nplaces = 1024;
	e->places = calloc(e->nplaces, sizeof(*e->places));
	bool whole = e->places && !pages_open(&e->pages);
	for (unsigned b = 0; b < STORES_BLOCKS && whole; b++)
		whole = buf_reserve(&e->blocks[b], (size_t)block_room[b] * STORES_MAX + ROOM_SLACK);
	if (!whole) {
		stores_encoder_close(e);
		return -ENOMEM;
	}
	stores_reset(e);
	*out = e;
	return 0;
}

void stores_encoder_close(struct stores_encoder *e)
{
	if (!e)
		return;
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		buf_free(&e->blocks[b]);
	for (unsigned i = 0; i < STORES_LANES; i++)
		free(e->maps[i]);
	pages_close(e->pages);
	free(e->ids);
	free(e->touched);
	free(e->places);
	free(e);
}

void stores_reset(struct stores_encoder *e)
{
	e->chunk++;
	e->n = e->nsites = e->aside_at = e->ntouched = 0;
	e->pc = 0;
	e->tid_told = e->vcpu_told = 0;
	for (unsigned i = 0; i < STORES_MAPS; i++)
		e->told[i] = (struct told){.key = TOLD_NONE, .map = MAP_UNTOLD};
	memset(e->places, 0, e->nplaces * sizeof(*e->places));
	for (unsigned b = 0; b < STORES_BLOCKS; b++)
		e->blocks[b].len = 0;
	model_begin(&e->model);
}

int stores_site(struct stores_encoder *e, u32 id, const struct store_site *site)
{
	if (id >= STORES_SITE_IDS || site->part > 31 ||
	    (site->size != 1 && site->size != 2 && site->size != 4 && site->size != 8))
		return -EINVAL;
	if (id >= e->nids) {
		u32 more = e->nids ? e->nids : 4096;

		while (more <= id)
			more *= 2;
		struct known_site *ids = realloc(e->ids, more * sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		memset(ids + e->nids, 0, (more - e->nids) * sizeof(*ids));
		e->ids = ids;
		e->nids = more;
	}
	e->ids[id] = (struct known_site){.site = *site, .local = SITE_NONE};
	return 0;
}

int stores_map(struct stores_encoder *e, unsigned lane, u64 gva, u64 gpa, bool smm)
{
	if (lane >= STORES_LANES || (gva | gpa) & MAP_FLAGS)
		return -EINVAL;
	if (!e->maps[lane]) {
		e->maps[lane] = calloc(STORES_MAPS, sizeof(u64));
		if (!e->maps[lane])
			return -ENOMEM;
	}
	e->maps[lane][stores_map_slot(gva)] = (gpa - gva) | MAP_VALID | (smm ? MAP_SMM : 0);
	e->told[stores_map_slot(gva)].key = TOLD_NONE;
	return 0;
}

void stores_time(struct stores_encoder *e, u64 t_ns)
{
	e->t_ns = t_ns;
}

void stores_thread(struct stores_encoder *e, u32 tid, u16 vcpu)
{
	e->tid = tid;
	e->vcpu = vcpu;
}

void stores_raced(struct stores_encoder *e)
{
	e->raced = true;
}

static void aside(struct stores_encoder *e, enum stores_aside what)
{
	buf_varint(&e->blocks[STORES_ASIDE], e->n - e->aside_at);
	buf_varint(&e->blocks[STORES_ASIDE], what);
	e->aside_at = e->n;
}

/* Before a store, or several in a row: what changed since the last one. */
static void tell(struct stores_encoder *e, u64 seq)
{
	struct buf *b = &e->blocks[STORES_ASIDE];

	if (!e->n) {
		e->seq_min = e->seq_next = seq;
		e->t_min = e->t_told = e->t_ns;
	}
	if (e->t_ns != e->t_told) {
		aside(e, ASIDE_TIME);
		buf_varint(b, e->t_ns - e->t_told);
		e->t_told = e->t_ns;
	}
	if (e->tid != e->tid_told || e->vcpu != e->vcpu_told) {
		aside(e, ASIDE_THREAD);
		buf_varint(b, e->tid);
		buf_varint(b, e->vcpu);
		e->tid_told = e->tid;
		e->vcpu_told = e->vcpu;
	}
	if (seq != e->seq_next) {
		aside(e, ASIDE_SEQ);
		buf_varint(b, seq - e->seq_next);
		e->seq_next = seq;
	}
	if (e->raced)
		aside(e, ASIDE_RACED);
	e->raced = false;
}

static u32 page_place(const struct stores_encoder *e, u64 page)
{
	return (u32)(page * 0x9e3779b97f4a7c15ull >> 32) & (e->nplaces - 1);
}

static bool places_grow(struct stores_encoder *e)
{
	u32 *places = calloc(2 * e->nplaces, sizeof(*places));

	if (!places)
		return false;
	free(e->places);
	e->places = places;
	e->nplaces *= 2;
	for (u32 i = 0; i < e->ntouched; i++) {
		u32 at = page_place(e, e->touched[i].page);

		while (e->places[at])
			at = (at + 1) & (e->nplaces - 1);
		e->places[at] = i + 1;
	}
	return true;
}

/* Index of a page in touched[], or UINT32_MAX when there is no memory. */
static u32 page_touched(struct stores_encoder *e, u64 page)
{
	u32 at = page_place(e, page);

	for (; e->places[at]; at = (at + 1) & (e->nplaces - 1))
		if (e->touched[e->places[at] - 1].page == page)
			return e->places[at] - 1;
	if (e->ntouched == e->touched_max) {
		const u32 max = e->touched_max ? 2 * e->touched_max : 256;
		struct touched *more = realloc(e->touched, max * sizeof(*more));

		if (!more)
			return UINT32_MAX;
		e->touched = more;
		e->touched_max = max;
	}
	if (2 * e->ntouched >= e->nplaces) {
		if (!places_grow(e))
			return UINT32_MAX;
		at = page_place(e, page);
		while (e->places[at])
			at = (at + 1) & (e->nplaces - 1);
	}
	e->touched[e->ntouched] = (struct touched){.page = page};
	e->places[at] = ++e->ntouched;
	return e->ntouched - 1;
}

/* A page's first store in the chunk, or the first that lies elsewhere. */
static int map_tell(struct stores_encoder *e, unsigned lane, u64 gva)
{
	const u32 slot = stores_map_slot(gva);
	const u64 map = e->maps[lane][slot];
	struct told *told = &e->told[slot];
	const u64 was = told->map & ~MAP_FLAGS;

	if (!(map & MAP_VALID))
		return -EINVAL;
	const u32 touched = page_touched(e, (gva + (map & ~MAP_FLAGS)) >> PAGE_BITS);
	if (touched == UINT32_MAX)
		return -ENOMEM;
	if (map != told->map) {
		aside(e, ASIDE_MAP);
		buf_varint(&e->blocks[STORES_ASIDE], (u64)slot << 1 | !!(map & MAP_SMM));
		buf_varint(&e->blocks[STORES_ASIDE],
			   zigzag((u64)((s64)((map & ~MAP_FLAGS) - was) >> PAGE_BITS)));
		told->map = map;
	}
	told->key = told_key(lane, gva);
	told->touched = touched;
	return 0;
}

/* The chunk's number of a site that is new in it; SITE_NONE when there is none such or no room. */
static u32 site_enter(struct stores_encoder *e, const struct stores_now *now, struct known_site *k)
{
	struct buf *b = &e->blocks[STORES_SITE];

	if (!k->site.size || e->nsites == STORES_SITES)
		return SITE_NONE;
	buf_varint(b, zigzag(k->site.pc - e->pc));
	buf_u8(b, (u8)(k->site.part << 2 | __builtin_ctz(k->site.size)));
	e->pc = k->site.pc;
	k->chunk = e->chunk;
	k->local = (u16)e->nsites;
	model_site(&e->model, now, e->nsites, k->site.size);
	return e->nsites++;
}

/* The ends of the columns, in registers as far as they go. */
struct ends {
	u8 *at[STORES_BLOCKS];
};

static inline u8 *varint_put(u8 *p, u64 v)
{
	while (v >= 0x80) {
		*p++ = (u8)v | 0x80;
		v >>= 7;
	}
	*p++ = (u8)v;
	return p;
}

static inline unsigned gva_encode(const struct stores_now *now, const struct site_memory *s,
				  u64 gva, struct ends *ends)
{
	const u64 step = gva - s->gva, side = gva - now->gva;

	if (side == s->ahead)
		return GVA_AHEAD;
	if (step == s->stride)
		return GVA_STRIDE;
	if (!step)
		return GVA_SAME;
	const u64 z = zigzag(step), y = zigzag(side);
	if (z <= y) {
		ends->at[STORES_STEP] = varint_put(ends->at[STORES_STEP], z);
		return GVA_STEP;
	}
	ends->at[STORES_SIDE] = varint_put(ends->at[STORES_SIDE], y);
	return GVA_SIDE;
}

static inline unsigned value_encode(const struct stores_now *now, const struct site_memory *s,
				    u64 gva, u64 value, u64 mask, u64 held, struct ends *ends)
{
	if (value == s->value)
		return VALUE_SAME;
	if (value == (held & mask))
		return VALUE_HELD;
	if (value == ((s->value + s->value_stride) & mask))
		return VALUE_STRIDE;
	if (value == ((gva + s->value_gva) & mask))
		return VALUE_GVA;
	if (value == (now->value & mask))
		return VALUE_PREV;
	const u64 z = zigzag(value - s->value);
	if (z < 1u << 8 && s->size > 2) {
		*ends->at[STORES_NEAR1]++ = (u8)z;
		return VALUE_NEAR1;
	}
	if (z < 1u << 16 && s->size > 2) {
		store_le(ends->at[STORES_NEAR2], z, 2);
		ends->at[STORES_NEAR2] += 2;
		return VALUE_NEAR2;
	}
	u8 **to = &ends->at[STORES_VALUE1 + __builtin_ctz(s->size)];
	store_le(*to, value, 8);
	*to += s->size;
	return VALUE_PLAIN;
}

/* One store. False, and *err where it is wrong: it is not taken, since the chunk is full. */
static inline bool store_put(struct stores_encoder *e, struct stores_now *now, unsigned lane,
			     const struct store_raw *raw, struct ends *ends, long *err)
{
	struct stores_model *m = &e->model;
	const u64 gva = raw->gva;
	const u32 slot = stores_map_slot(gva);
	const struct told *told = &e->told[slot];
	unsigned code = SITE_KNOWN;

	*err = -EINVAL;
	if (raw->site >= e->nids)
		return false;
	struct known_site *k = &e->ids[raw->site];
	const unsigned size = k->site.size, at = gva & 0xfff;
	if (!size || at + size > 1u << PAGE_BITS)
		return false;
	*err = 0;
	if (k->chunk != e->chunk && e->nsites == STORES_SITES)
		return false;
	if (told->key != told_key(lane, gva)) {
		*err = map_tell(e, lane, gva);
		if (*err)
			return false;
	}
	if (k->chunk != e->chunk) {
		if (site_enter(e, now, k) == SITE_NONE)
			return false;
		code = SITE_NEW;
	} else if (m->paths[now->path] == k->local) {
		code = SITE_PATH;
	} else if (m->sites[now->last].next == k->local) {
		code = SITE_NEXT;
	} else {
		store_le(ends->at[STORES_KNOWN], k->local, 2);
		ends->at[STORES_KNOWN] += 2;
	}
	struct site_memory *s = &m->sites[k->local];
	const u64 mask = ~0ull >> (64 - 8 * size), value = raw->value & mask;
	u64 *held = model_held(m, gva, (u8)size);
	u64 *words = e->touched[told->touched].words;

	words[at >> 9] |= 1ull << (at >> 3 & 63);
	if ((at & 7) + size > 8)
		words[(at + 7) >> 9] |= 1ull << ((at + 7) >> 3 & 63);
	code |= gva_encode(now, s, gva, ends) << 2;
	code |= value_encode(now, s, gva, value, mask, *held, ends) << 5;
	*ends->at[STORES_CODES]++ = (u8)code;
	model_went(m, now, k->local);
	model_stored(now, s, gva, value, held);
	e->n++;
	return true;
}

long stores_put(struct stores_encoder *e, unsigned lane, const struct store_raw *raw, size_t n,
		u64 seq)
{
	struct stores_now now = e->model.now;
	struct ends ends;
	long err = 0;
	size_t i = 0;

	if (lane >= STORES_LANES || !e->maps[lane])
		return -EINVAL;
	if (n > STORES_MAX - e->n)
		n = STORES_MAX - e->n;
	if (!n)
		return 0;
	tell(e, seq);
	for (unsigned b = STORES_CODES; b < STORES_BLOCKS; b++)
		ends.at[b] = e->blocks[b].data + e->blocks[b].len;
	while (i < n && store_put(e, &now, lane, &raw[i], &ends, &err))
		i++;
	for (unsigned b = STORES_CODES; b < STORES_BLOCKS; b++)
		e->blocks[b].len = (size_t)(ends.at[b] - e->blocks[b].data);
	e->model.now = now;
	e->seq_next += i;
	if (i) {
		e->seq_max = e->seq_next - 1;
		e->t_max = e->t_told;
	}
	return i ? (long)i : err;
}

u32 stores_count(const struct stores_encoder *e)
{
	return e->n;
}

bool stores_full(const struct stores_encoder *e)
{
	return e->n == STORES_MAX || e->nsites == STORES_SITES;
}

static int touched_order(const void *a, const void *b)
{
	const struct touched *x = a, *y = b;

	return x->page < y->page ? -1 : x->page > y->page;
}

int stores_seal(struct stores_encoder *e, struct chunk_head *h, struct buf *pages,
		const struct buf *blocks[STORES_BLOCKS])
{
	qsort(e->touched, e->ntouched, sizeof(*e->touched), touched_order);
	for (u32 i = 0; i < e->ntouched; i++) {
		const struct touched *t = &e->touched[i];
		const u64 gpa = t->page << PAGE_BITS;

		if (pages_add(e->pages, gpa, gpa + 1))
			return -ENOMEM;
		buf_put(&e->blocks[STORES_WORDS], t->words, sizeof(t->words));
	}
	pages_flush(e->pages, pages);
	h->words_sum = stores_words_sum(
		span_of(pages->data, pages->len),
		span_of(e->blocks[STORES_WORDS].data, e->blocks[STORES_WORDS].len));
	h->type = CHUNK_STORES;
	h->stream = STREAM_STORES;
	h->events = e->n;
	h->seq_min = e->seq_min;
	h->seq_max = e->seq_max;
	h->t_min = e->t_min;
	h->t_max = e->t_max;
	for (unsigned b = 0; b < STORES_BLOCKS; b++) {
		blocks[b] = &e->blocks[b];
		if (e->blocks[b].failed)
			return -ENOMEM;
	}
	return pages->failed ? -ENOMEM : 0;
}
