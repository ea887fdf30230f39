// SPDX-License-Identifier: GPL-2.0-or-later
/* The index against the headers and page sets of the chunks. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>

#include "index.h"
#include "pages.h"
#include "reader_file.h"
#include "stores.h"

struct place {
	u64 off, size;
};

struct walk {
	const struct reader *r;
	bool bodies;
	check_fn *fn;
	void *arg;
	struct buf index, rows, set, body;
	ZSTD_DCtx *zstd;
	struct place *places;
	size_t nplaces, places_max;
	bool broken; /* the rest of it cannot be gone through */
	u64 bytes;
};

/* What the header of an index chunk tells of its rows. */
struct common {
	struct chunk_head h;
	struct pages *pages;
	bool mixed; /* rows of other streams or types */
};

static int place_put(struct walk *w, u64 off, u64 size)
{
	if (w->nplaces == w->places_max) {
		const size_t max = w->places_max ? 2 * w->places_max : 1024;
		struct place *more = realloc(w->places, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		w->places = more;
		w->places_max = max;
	}
	w->places[w->nplaces++] = (struct place){off, size};
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static bool row_same(const struct index_row *row, const struct chunk_head *h)
{
	return row->size == h->size && row->events == h->events && row->type == h->type &&
	       row->stream == h->stream && row->pages_bytes == h->pages_bytes &&
	       row->seq_min == h->seq_min && row->seq_max == h->seq_max && row->t_min == h->t_min &&
	       row->t_max == h->t_max && row->lost == h->lost;
}

/* Whether nobody else reads this chunk as a whole. */
static bool body_wanted(const struct walk *w, const struct chunk_head *h)
{
	return w->bodies ||
	       (h->type != CHUNK_EVENTS && h->type != CHUNK_STORES && h->type != CHUNK_META);
}

static int row_check(struct walk *w, const struct index_row *row, struct span pages)
{
	const char *why = "a chunk is cut";
	struct chunk_head h;
	int err = reader_pread(w->r, &h, sizeof(h), row->off);

	if (!err && !chunk_head_valid(&h, row->off, &why))
		err = -EBADMSG;
	if (err)
		return err == -EBADMSG || err == -ENODATA ? w->fn(w->arg, row->off, why) : err;
	w->bytes += sizeof(h);
	if (!row_same(row, &h))
		return w->fn(w->arg, row->off, "the index says otherwise of this chunk");
	w->set.len = 0;
	if (!buf_reserve(&w->set, h.pages_bytes + 1))
		return -ENOMEM;
	err = reader_pread(w->r, w->set.data, h.pages_bytes, row->off + sizeof(h));
	if (err)
		return err == -ENODATA ? w->fn(w->arg, row->off, "a chunk is cut") : err;
	if (memcmp(w->set.data, pages.p, h.pages_bytes))
		return w->fn(w->arg, row->off, "the index has other pages of this chunk");
	if (!pages_valid(pages))
		return w->fn(w->arg, row->off, "the chunk's set of pages is malformed");
	if (!body_wanted(w, &h))
		return 0;
	err = reader_chunk(w->r, row->off, row->size, &w->body, &h, &why);
	w->bytes += h.size;
	return err == -EBADMSG || err == -ENODATA ? w->fn(w->arg, row->off, why) : err;
}

static int common_add(struct common *c, const struct index_row *row, struct span pages, u32 n)
{
	struct chunk_head *h = &c->h;

	if (!n) {
		h->seq_min = row->seq_min;
		h->t_min = row->t_min;
		h->stream = row->stream;
	}
	c->mixed |= row->stream != h->stream ||
		    (row->type != CHUNK_EVENTS && row->type != CHUNK_STORES);
	h->seq_max = row->seq_max;
	h->t_min = row->t_min < h->t_min ? row->t_min : h->t_min;
	h->t_max = row->t_max > h->t_max ? row->t_max : h->t_max;
	h->lost += row->lost;
	return pages_join(c->pages, pages);
}

static bool common_same(struct common *c, const struct chunk_head *h, const u8 *body)
{
	struct buf set = {0};
	bool same = !c->mixed && c->h.seq_min == h->seq_min && c->h.seq_max == h->seq_max &&
		    c->h.t_min == h->t_min && c->h.t_max == h->t_max && c->h.lost == h->lost &&
		    c->h.stream == h->stream;

	pages_flush(c->pages, &set);
	same = same && set.len == h->pages_bytes && (!set.len || !memcmp(set.data, body, set.len));
	buf_free(&set);
	return same;
}

/* An index chunk; *off becomes its end. */
static int part_check(struct walk *w, u64 *off, u64 index_off)
{
	struct common common = {0};
	struct chunk_head h;
	struct index_row row;
	struct span rows, pages;
	const char *why;
	const u64 at = *off;
	u64 next = sizeof(struct file_head);
	u32 n = 0;
	int err = reader_chunk(w->r, at, 0, &w->index, &h, &why);

	if (!err)
		err = chunk_decode(&h, w->index.data, &w->rows, &rows, 1, CHUNK_ALL_BLOCKS, w->zstd,
				   &why);
	if (err) {
		w->broken = true;
		return err == -EBADMSG || err == -ENODATA ? w->fn(w->arg, at, why) : err;
	}
	*off += h.size;
	w->bytes += h.size;
	err = pages_open(&common.pages);
	for (; !err && index_take(&rows, &next, index_off, &row, &pages); n++) {
		err = place_put(w, row.off, row.size);
		if (!err)
			err = common_add(&common, &row, pages, n);
		if (!err)
			err = row_check(w, &row, pages);
	}
	if (!err && (rows.bad || n != h.events))
		err = w->fn(w->arg, at, "a row of the index is malformed");
	if (!err && h.seq_max && !common_same(&common, &h, w->index.data))
		err = w->fn(w->arg, at, "the header of a part of the index is not as its rows");
	pages_close(common.pages);
	return err;
}

/* Each chunk once, with nothing between them. */
static int places_check(struct walk *w, const struct trailer *t)
{
	u64 expected = sizeof(struct file_head);

	if (w->nplaces)
		qsort(w->places, w->nplaces, sizeof(*w->places), by_off);
	for (size_t i = 0; i < w->nplaces; i++) {
		if (w->places[i].off != expected)
			return w->fn(w->arg, expected, "the index does not have this chunk once");
		expected += w->places[i].size;
	}
	if (expected != t->index_off)
		return w->fn(w->arg, expected, "the index does not have this chunk once");
	if (w->nplaces != t->nchunks)
		return w->fn(w->arg, t->file_bytes - sizeof(*t),
			     "the trailer says that there are more chunks, or fewer");
	return 0;
}

static int walk_run(struct walk *w)
{
	const u64 size = w->r->info.file_bytes;
	struct trailer t;
	int err = 0;

	if (w->r->info.truncated)
		return 0;
	err = reader_pread(w->r, &t, sizeof(t), size - sizeof(t));
	if (err)
		return err;
	if (!trailer_valid(&t, size))
		return w->fn(w->arg, size - sizeof(t), "the trailer is malformed");
	for (u64 off = t.index_off; !err && !w->broken && off < size - sizeof(t);)
		err = part_check(w, &off, t.index_off);
	if (!err && !w->broken)
		err = places_check(w, &t);
	return err;
}

int check_index(struct reader *r, bool by_page, check_fn *fn, void *arg, u64 *bytes)
{
	struct walk w = {.r = by_page ? r->by_page : r, .bodies = by_page, .fn = fn, .arg = arg};

	if (!w.r)
		return 0;
	w.zstd = ZSTD_createDCtx();
	const int err = w.zstd ? walk_run(&w) : -ENOMEM;
	ZSTD_freeDCtx(w.zstd);
	buf_free(&w.index);
	buf_free(&w.rows);
	buf_free(&w.set);
	buf_free(&w.body);
	free(w.places);
	*bytes += w.bytes;
	return err;
}
