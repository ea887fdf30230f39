// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Goes through the stores once. They are held by groups of pages, in slabs of a pool; when the pool
 * is used up the group that holds most goes to the file, as chunks of its own. A page that fills a
 * chunk nearly alone is a group from then on, so that its neighbours' chunks are not full of it.
 */
#include "by_page.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pages.h"
#include "reader_file.h"
#include "stores.h"
#include "writer.h"

#define MEMORY	     (96u << 20)
#define SLAB_STORES  128u
#define GROUPS_ABOUT 8192u
#define OWN_SHARE    2 /* a page that has one in so many stores of a chunk gets its own group */
#define NONE	     UINT32_MAX

struct held {
	u64 gva, value, page, seq, t_ns; /* page: gpa >> 12 */
	u32 site, tid;
	u16 vcpu;
	u8 smm, raced;
};

struct slab {
	struct held v[SLAB_STORES];
	u32 n, next; /* slab, or NONE */
};

/* A set of pages whose stores are held together. */
struct group {
	u64 key; /* page | OWN, or page >> group_bits; ~0: free place of the table */
	u32 first, last;
	u32 n;
};
#define GROUP_FREE ~0ull
#define GROUP_OWN  (1ull << 63)

/* A site of the file, by what it is. */
struct site_place {
	struct store_site site; /* size 0: free */
	u32 id;
};

struct by_page {
	struct writer *writer;
	struct stores_encoder *encoder;
	struct slab *slabs;
	u32 nslabs, spare; /* spare: the first of those that are free */
	struct group *groups;
	size_t ngroups, max_groups; /* max: a power of two, of places */
	unsigned group_bits;	    /* of pages in a group */
	struct site_place *sites;
	size_t nsites, max_sites;
	struct {
		struct store_site site;
		u32 id;
	} * recent; /* by a chunk's numbers */
	/* What the encoder was told. */
	struct {
		u64 gva, page;
		u8 smm;
		bool told;
	} map[STORES_MAPS];
	struct by_page_stats stats;
};

static size_t hash(u64 a, u64 b)
{
	return (size_t)((a ^ b * 0xff51afd7ed558ccdull) * 0x9e3779b97f4a7c15ull >> 20);
}

static void by_page_free(struct by_page *b)
{
	free(b->slabs);
	free(b->groups);
	free(b->sites);
	free(b->recent);
	free(b);
}

static struct group *group_place(struct group *groups, size_t max, u64 key)
{
	size_t i = hash(key, 0) & (max - 1);

	while (groups[i].key != GROUP_FREE && groups[i].key != key)
		i = (i + 1) & (max - 1);
	return &groups[i];
}

static struct group *groups_make(size_t max)
{
	struct group *groups = malloc(max * sizeof(*groups));

	for (size_t i = 0; groups && i < max; i++)
		groups[i].key = GROUP_FREE;
	return groups;
}

static struct group *group_get(struct by_page *b, u64 key)
{
	struct group *g = group_place(b->groups, b->max_groups, key);

	if (g->key == key)
		return g;
	if (2 * b->ngroups >= b->max_groups) {
		struct group *more = groups_make(2 * b->max_groups);

		if (!more)
			return NULL;
		for (size_t i = 0; i < b->max_groups; i++)
			if (b->groups[i].key != GROUP_FREE)
				*group_place(more, 2 * b->max_groups, b->groups[i].key) =
					b->groups[i];
		free(b->groups);
		b->groups = more;
		b->max_groups *= 2;
		g = group_place(b->groups, b->max_groups, key);
	}
	*g = (struct group){.key = key, .first = NONE, .last = NONE};
	b->ngroups++;
	return g;
}

/* The group of a page. */
static struct group *group_of(struct by_page *b, u64 page)
{
	const struct group *own = group_place(b->groups, b->max_groups, page | GROUP_OWN);

	return own->key != GROUP_FREE ? (struct group *)own : group_get(b, page >> b->group_bits);
}

static struct site_place *site_place(struct site_place *sites, size_t max,
				     const struct store_site *site)
{
	size_t i = hash(site->pc, (u64)site->size << 8 | site->part) & (max - 1);

	while (sites[i].site.size &&
	       (sites[i].site.pc != site->pc || sites[i].site.size != site->size ||
		sites[i].site.part != site->part))
		i = (i + 1) & (max - 1);
	return &sites[i];
}

/* The number of a site in this file; negative without memory, or with too many of them. */
static s64 site_number(struct by_page *b, const struct store_site *site)
{
	struct site_place *p = site_place(b->sites, b->max_sites, site);

	if (p->site.size)
		return p->id;
	if (b->nsites == STORES_SITE_IDS)
		return -E2BIG;
	if (2 * b->nsites >= b->max_sites) {
		struct site_place *more = calloc(2 * b->max_sites, sizeof(*more));

		if (!more)
			return -ENOMEM;
		for (size_t i = 0; i < b->max_sites; i++)
			if (b->sites[i].site.size)
				*site_place(more, 2 * b->max_sites, &b->sites[i].site) =
					b->sites[i];
		free(b->sites);
		b->sites = more;
		b->max_sites *= 2;
		p = site_place(b->sites, b->max_sites, site);
	}
	*p = (struct site_place){*site, (u32)b->nsites};
	const int err = stores_site(b->encoder, p->id, site);
	return err ? err : (s64)b->nsites++;
}

/* Stores that follow one another, of the same time and thread, to the encoder. */
static int run_put(struct by_page *b, const struct held *v, u32 n)
{
	struct store_raw raw[SLAB_STORES];

	stores_time(b->encoder, v->t_ns);
	stores_thread(b->encoder, v->tid, v->vcpu);
	if (v->raced)
		stores_raced(b->encoder);
	for (u32 i = 0; i < n; i++)
		raw[i] =
			(struct store_raw){.gva = v[i].gva, .value = v[i].value, .site = v[i].site};
	for (u32 done = 0; done < n;) {
		const long got = stores_put(b->encoder, 0, raw + done, n - done, v->seq + done);

		if (got < 0)
			return (int)got;
		done += (u32)got;
		if (stores_full(b->encoder)) {
			const int err = writer_seal(b->writer);

			if (err)
				return err;
		} else if (!got) {
			return -EINVAL;
		}
	}
	return 0;
}

static int map_tell(struct by_page *b, const struct held *v)
{
	const u64 page = v->gva >> PAGE_BITS;
	const u32 slot = stores_map_slot(v->gva);

	if (b->map[slot].told && b->map[slot].gva == page && b->map[slot].page == v->page &&
	    b->map[slot].smm == v->smm)
		return 0;
	b->map[slot].told = true;
	b->map[slot].gva = page;
	b->map[slot].page = v->page;
	b->map[slot].smm = v->smm;
	return stores_map(b->encoder, 0, page << PAGE_BITS, v->page << PAGE_BITS, v->smm);
}

static bool maps_alike(const struct held *a, const struct held *b)
{
	return a->gva >> PAGE_BITS == b->gva >> PAGE_BITS && a->page == b->page && a->smm == b->smm;
}

/* A run must not map a place anew; a page of its own needs no telling. */
static u32 run_length(const struct held *v, u32 n)
{
	u32 i = 1;

	while (i < n && !v[i].raced && v[i].seq == v->seq + i && v[i].t_ns == v->t_ns &&
	       v[i].tid == v->tid && v[i].vcpu == v->vcpu && maps_alike(v, &v[i]))
		i++;
	return i;
}

/* Pages that have a good part of a chunk for themselves are groups from now on. */
static int group_split(struct by_page *b, const struct group *g)
{
	u32 count = 0;
	u64 page = 0;

	/* Boyer and Moore's vote: the page that has more than half of them, if one does. */
	for (u32 s = g->first; s != NONE; s = b->slabs[s].next)
		for (u32 i = 0; i < b->slabs[s].n; i++) {
			const u64 other = b->slabs[s].v[i].page;

			if (!count)
				page = other;
			count = other == page ? count + 1 : count - 1;
		}
	if (!count)
		return 0;
	count = 0;
	for (u32 s = g->first; s != NONE; s = b->slabs[s].next)
		for (u32 i = 0; i < b->slabs[s].n; i++)
			count += b->slabs[s].v[i].page == page;
	return OWN_SHARE * count <= g->n || group_get(b, page | GROUP_OWN) ? 0 : -ENOMEM;
}

/* Writes what a group holds, as chunks. */
static int group_flush(struct by_page *b, u64 key)
{
	struct group *g = group_place(b->groups, b->max_groups, key);
	int err = 0;

	for (u32 s = g->first, next; s != NONE && !err; s = next) {
		const struct slab *slab = &b->slabs[s];

		next = slab->next;
		for (u32 i = 0, n; i < slab->n && !err; i += n) {
			n = run_length(&slab->v[i], slab->n - i);
			err = map_tell(b, &slab->v[i]);
			if (!err)
				err = run_put(b, &slab->v[i], n);
		}
	}
	if (!err)
		err = writer_seal(b->writer);
	const bool large = g->n >= STORES_MAX / 2 && !(key & GROUP_OWN);
	const struct group had = *g;
	if (!err && large)
		err = group_split(b, &had);
	g = group_place(b->groups, b->max_groups, key);
	if (g->last != NONE) {
		b->slabs[g->last].next = b->spare;
		b->spare = g->first;
	}
	g->first = g->last = NONE;
	g->n = 0;
	return err;
}

static int key_order(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a & ~GROUP_OWN, y = *(const u64 *)b & ~GROUP_OWN;

	return x < y ? -1 : x > y;
}

/* Writes the groups that hold so many stores, at least 1, and more. */
static int groups_flush(struct by_page *b, u32 least)
{
	u64 *keys = malloc((b->ngroups + 1) * sizeof(*keys));
	size_t n = 0;
	int err = keys ? 0 : -ENOMEM;

	for (size_t i = 0; keys && i < b->max_groups; i++)
		if (b->groups[i].key != GROUP_FREE && b->groups[i].n >= least)
			keys[n++] = b->groups[i].key;
	if (keys)
		qsort(keys, n, sizeof(*keys), key_order);
	for (size_t i = 0; i < n && !err; i++)
		err = group_flush(b, keys[i]);
	free(keys);
	return err;
}

/* Makes room: the group that holds most goes, and those with half as much and more. */
static int room_make(struct by_page *b)
{
	u32 most = 1;

	for (size_t i = 0; i < b->max_groups; i++)
		if (b->groups[i].key != GROUP_FREE && b->groups[i].n > most)
			most = b->groups[i].n;
	return groups_flush(b, (most + 1) / 2);
}

static int store_hold(struct by_page *b, const struct stores *s, u32 i, u32 site)
{
	const struct store *v = &s->v[i];
	const u64 page = v->gpa >> PAGE_BITS;
	struct group *g = group_of(b, page);

	if (!g)
		return -ENOMEM;
	if (g->n == STORES_MAX) {
		const int err = group_flush(b, g->key);

		g = err ? NULL : group_of(b, page);
		if (!g)
			return err ? err : -ENOMEM;
	}
	if (g->last == NONE || b->slabs[g->last].n == SLAB_STORES) {
		if (b->spare == NONE) {
			const int err = room_make(b);

			if (err)
				return err;
			g = group_of(b, page); /* it may have been this */
			if (!g)
				return -ENOMEM;
		}
		const u32 slab = b->spare;

		b->spare = b->slabs[slab].next;
		b->slabs[slab].n = 0;
		b->slabs[slab].next = NONE;
		if (g->last == NONE)
			g->first = slab;
		else
			b->slabs[g->last].next = slab;
		g->last = slab;
	}
	struct slab *slab = &b->slabs[g->last];
	slab->v[slab->n++] = (struct held){
		.gva = v->gva,
		.value = v->value,
		.page = page,
		.seq = s->seq + i,
		.t_ns = s->t_ns,
		.site = site,
		.tid = s->tid,
		.vcpu = s->vcpu,
		.smm = v->smm,
		.raced = v->raced,
	};
	g->n++;
	return 0;
}

static int stores_hold(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct by_page *b = arg;

	(void)ev, (void)seq;
	for (u32 i = 0; i < s->n; i++) {
		const u32 local = s->v[i].site;
		const struct store_site *site = &s->sites[local];

		if (b->recent[local].site.pc != site->pc ||
		    b->recent[local].site.size != site->size ||
		    b->recent[local].site.part != site->part) {
			const s64 id = site_number(b, site);

			if (id < 0)
				return (int)id;
			b->recent[local].site = *site;
			b->recent[local].id = (u32)id;
		}
		const int err = store_hold(b, s, i, b->recent[local].id);

		if (err)
			return err;
	}
	b->stats.stores += s->n;
	return 0;
}

/* Groups of pages that were written to, at most GROUPS_ABOUT of them, by making them larger. */
struct extent {
	struct by_page *b;
	u64 *seen; /* GROUPS_PLACES, an open hash of groups plus 1 */
	size_t n;
};
#define GROUPS_PLACES (4 * GROUPS_ABOUT)

static void extent_add(struct extent *x, u64 group)
{
	size_t i = hash(group, 1) & (GROUPS_PLACES - 1);

	while (x->seen[i] && x->seen[i] != group + 1)
		i = (i + 1) & (GROUPS_PLACES - 1);
	x->n += !x->seen[i];
	x->seen[i] = group + 1;
}

static void extent_widen(struct extent *x)
{
	u64 *was = malloc(GROUPS_PLACES * sizeof(*was));

	x->b->group_bits++;
	if (!was)
		return;
	memcpy(was, x->seen, GROUPS_PLACES * sizeof(*was));
	memset(x->seen, 0, GROUPS_PLACES * sizeof(*was));
	x->n = 0;
	for (size_t i = 0; i < GROUPS_PLACES; i++)
		if (was[i])
			extent_add(x, (was[i] - 1) >> 1);
	free(was);
}

static void extent_run(void *arg, u64 start, u64 end)
{
	struct extent *x = arg;

	while ((end - 1) >> x->b->group_bits > (start >> x->b->group_bits) + GROUPS_ABOUT)
		extent_widen(x);
	for (u64 page = start; page < end;
	     page = ((page >> x->b->group_bits) + 1) << x->b->group_bits) {
		extent_add(x, page >> x->b->group_bits);
		if (x->n > GROUPS_ABOUT)
			extent_widen(x);
	}
}

static int groups_measure(struct by_page *b, struct reader *r)
{
	struct extent x = {b, calloc(GROUPS_PLACES, sizeof(u64)), 0};

	b->group_bits = 4;
	for (size_t i = 0; x.seen && i < reader_chunks(r, STREAM_STORES); i++)
		reader_chunk_pages(r, STREAM_STORES, i, extent_run, &x);
	free(x.seen);
	return x.seen ? 0 : -ENOMEM;
}

void by_page_of(const struct reader *r, char *buf, size_t size)
{
	const struct trace_info *info = reader_info(r);
	size_t at = 0;

	for (unsigned i = 0; i < sizeof(r->uuid) && at + 3 < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%02x", r->uuid[i]);
	snprintf(buf + at, size - at, " %" PRIu64 " %" PRIu64, info->file_bytes, info->events);
}

static int by_page_open(struct by_page **out, struct reader *r, const struct by_page_opts *opts)
{
	struct by_page *b = calloc(1, sizeof(*b));
	const size_t memory = opts->memory ? opts->memory : MEMORY;

	if (!b)
		return -ENOMEM;
	b->nslabs = (u32)(memory / sizeof(*b->slabs)) + 4;
	b->max_groups = 2 * GROUPS_ABOUT;
	b->max_sites = 1u << 16;
	b->slabs = malloc(b->nslabs * sizeof(*b->slabs));
	b->groups = groups_make(b->max_groups);
	b->sites = calloc(b->max_sites, sizeof(*b->sites));
	b->recent = calloc(STORES_SITES, sizeof(*b->recent));
	if (!b->slabs || !b->groups || !b->sites || !b->recent) {
		by_page_free(b);
		return -ENOMEM;
	}
	for (u32 i = 0; i < b->nslabs; i++)
		b->slabs[i].next = i + 1 < b->nslabs ? i + 1 : NONE;
	const int err = groups_measure(b, r);

	if (err)
		by_page_free(b);
	else
		*out = b;
	return err;
}

int by_page_write(struct reader *r, int fd, const struct by_page_opts *opts,
		  struct by_page_stats *stats, char *err, size_t err_size)
{
	const struct trace_info *info = reader_info(r);
	const struct writer_opts wopts = {.start_mono_ns = info->start_mono_ns,
					  .start_real_ns = info->start_real_ns,
					  .stores = true,
					  .by_page = true};
	const struct cursor_spec spec = {.streams = 1u << STREAM_STORES, .bulk = true};
	struct by_page *b = NULL;
	char of[128];
	int ret = 0;

	*stats = (struct by_page_stats){0};
	err[0] = '\0';
	if (!reader_chunks(r, STREAM_STORES)) {
		snprintf(err, err_size, "there are no stores in it");
		ret = -ENODATA;
	} else if (info->damaged || info->truncated) {
		snprintf(err, err_size, "%s", reader_message(r) ?: "it is damaged");
		ret = -EBADMSG;
	} else {
		ret = by_page_open(&b, r, opts);
	}
	if (ret)
		close(fd);
	else
		ret = writer_open(&b->writer, fd, &wopts);
	if (!ret) {
		b->encoder = writer_stores(b->writer);
		by_page_of(r, of, sizeof(of));
		ret = b->encoder ? writer_meta(b->writer, BY_PAGE_OF, of) : -ENOMEM;
	}
	if (!ret)
		ret = reader_each(r, &spec, stores_hold, b, opts->progress, err, err_size);
	if (!ret)
		ret = groups_flush(b, 1);
	if (b && b->writer) {
		struct writer *w = b->writer;
		const u64 chunks = writer_stats(w)->chunks, bytes = writer_stats(w)->bytes;
		/* What it could not write down is worth nothing. */
		const int closed = writer_close(w);

		*stats = b->stats;
		stats->chunks = chunks;
		stats->bytes = bytes;
		ret = ret ? ret : closed;
	}
	if (b)
		by_page_free(b);
	if (ret && !err[0])
		snprintf(err, err_size, "%s", strerror(-ret));
	return ret;
}
