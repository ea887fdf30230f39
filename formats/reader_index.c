// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rows of the chunks, stream by stream, in parts. Those that an index chunk holds are read when
 * somebody asks for one of them, and forgotten again when many others were: of an index that is not
 * needed only the headers and page sets are looked at. Rows found otherwise stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "index.h"
#include "pages.h"
#include "reader_file.h"
#include "stores.h"

#define LOADED_MAX  (1u << 20) /* bytes of rows that are kept: of some ten parts */
#define AHEAD_BYTES (1u << 20)
#define REBUILT_MAX 16 /* parts that are found out again: each goes through all of the file */
/* An index up to this size is read at once, so that damage shows. */
#define EAGER_BYTES (16u << 10)

static void part_forget(struct reader *r, struct reader_part *p)
{
	r->loaded -= p->bytes;
	p->bytes = 0;
	p->nrows = p->cap = 0;
	free(p->rows);
	p->rows = NULL;
	buf_free(&p->pages);
}

void reader_rows_free(struct reader *r)
{
	for (unsigned s = 0; s < STREAM_MAX; s++) {
		struct reader_rows *rows = &r->rows[s];

		for (size_t i = 0; i < rows->nparts; i++)
			part_forget(r, &rows->parts[i]);
		free(rows->parts);
		*rows = (struct reader_rows){0};
	}
	r->sets.len = 0;
}

static struct reader_part *part_new(struct reader *r, unsigned stream)
{
	struct reader_rows *rows = &r->rows[stream];

	if (rows->nparts == rows->cap) {
		const size_t cap = rows->cap ? 2 * rows->cap : 8;
		struct reader_part *parts = realloc(rows->parts, cap * sizeof(*parts));

		if (!parts)
			return NULL;
		rows->parts = parts;
		rows->cap = cap;
	}
	struct reader_part *p = &rows->parts[rows->nparts++];
	*p = (struct reader_part){.first = rows->n, .t_min = UINT64_MAX, .seq_min = UINT64_MAX};
	return p;
}

/* A row more. Page sets are kept up to READER_PAGES_MAX; beyond it they are read from their chunks.
 */
static int part_put(struct reader *r, struct reader_part *p, const struct chunk_info *info,
		    struct span pages)
{
	const size_t npages = span_left(&pages);

	if (p->nrows == p->cap) {
		const size_t cap = p->cap ? 2 * p->cap : 64;
		struct reader_row *more = realloc(p->rows, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->bytes += (cap - p->cap) * sizeof(*more);
		r->loaded += (cap - p->cap) * sizeof(*more);
		p->rows = more;
		p->cap = cap;
	}
	struct reader_row *row = &p->rows[p->nrows];
	*row = (struct reader_row){.info = *info, .off = p->pages.len, .size = (u32)npages};
	if (r->loaded < READER_PAGES_MAX && npages < READER_PAGES_MAX - r->loaded &&
	    !info->damaged) {
		buf_put(&p->pages, pages.p, npages);
		if (p->pages.failed)
			return -ENOMEM;
		p->bytes += npages;
		r->loaded += npages;
		row->kept = true;
	}
	p->nrows++;
	return 0;
}

int reader_add(struct reader *r, const struct chunk_info *info, struct span pages)
{
	struct reader_rows *rows = &r->rows[info->stream];
	struct reader_part *p = rows->nparts ? &rows->parts[rows->nparts - 1] : NULL;

	if (!p || p->size)
		p = part_new(r, info->stream);
	const int err = p ? part_put(r, p, info, pages) : -ENOMEM;
	if (err)
		return err;
	p->n++;
	rows->n++;
	if (info->t_min < p->t_min)
		p->t_min = info->t_min;
	if (info->t_max > p->t_max)
		p->t_max = info->t_max;
	if (info->seq_min < p->seq_min)
		p->seq_min = info->seq_min;
	if (info->seq_max > p->seq_max)
		p->seq_max = info->seq_max;
	r->info.nchunks++;
	if (info->damaged)
		return 0;
	r->info.events += info->events;
	r->info.lost += info->lost;
	if (info->t_max > r->info.t_end_ns)
		r->info.t_end_ns = info->t_max;
	return 0;
}

static int row_add(struct reader *r, const struct index_row *row, struct span pages)
{
	const struct chunk_info info = index_chunk(row);

	if (row->type == CHUNK_META)
		return reader_metas(r, row->off, row->size);
	if (row->type != CHUNK_EVENTS && row->type != CHUNK_STORES)
		return 0; /* of a later version */
	if (!chunk_stream_valid(row->type, row->stream))
		return reader_unknown_stream(r, row->off);
	return reader_add(r, &info, pages);
}

/* Reads the index chunk at off and unpacks its rows into *raw. */
static int rows_read(struct reader *r, u64 off, u32 size, struct buf *raw, struct span *rows)
{
	struct chunk_head h = {0};
	const char *why;
	int err = reader_chunk(r, off, size, &r->chunk, &h, &why);

	if (!err && h.type != CHUNK_INDEX)
		err = -EBADMSG;
	if (!err)
		err = chunk_decode(&h, r->chunk.data, raw, rows, 1, CHUNK_ALL_BLOCKS, r->zstd,
				   &why);
	return err == -ENODATA ? -EBADMSG : err;
}

/* Takes the rows of an index chunk at once. */
static int index_now(struct reader *r, u64 off, u64 limit)
{
	u64 next = sizeof(struct file_head);
	struct span rows = {0}, pages;
	struct index_row row;
	struct buf raw = {0};
	int err = rows_read(r, off, 0, &raw, &rows);

	/* Facts are read on the way, through r->chunk and r->raw. */
	while (!err && index_take(&rows, &next, limit, &row, &pages))
		err = row_add(r, &row, pages);
	if (!err && rows.bad)
		err = -EBADMSG;
	buf_free(&raw);
	return err;
}

/* Keeps the page set of an index chunk, which joins those of its rows. */
static int part_set(struct reader *r, struct reader_part *p, const struct chunk_head *h)
{
	const size_t at = r->sets.len;

	if (h->pages_bytes > READER_PAGES_MAX - at)
		return 0;
	if (!buf_reserve(&r->sets, h->pages_bytes + 1))
		return -ENOMEM;
	const int err = reader_pread(r, r->sets.data + at, h->pages_bytes, h->off + sizeof(*h));
	const struct span set = span_of(r->sets.data + at, h->pages_bytes);

	if (err)
		return err;
	if (h->words_sum != stores_words_sum(set, span_of("", 0)))
		return -EBADMSG;
	r->sets.len += h->pages_bytes;
	p->set_off = at;
	p->set_size = h->pages_bytes;
	p->has_set = true;
	return 0;
}

/* Notes an index chunk; its rows are read when they are asked for. */
static int index_later(struct reader *r, const struct chunk_head *h)
{
	if (h->stream >= STREAM_MAX || h->events > INDEX_ROWS_MAX)
		return -EBADMSG;
	struct reader_part *p = part_new(r, h->stream);

	if (!p)
		return -ENOMEM;
	p->off = h->off;
	p->size = h->size;
	p->n = h->events;
	p->t_min = h->t_min;
	p->t_max = h->t_max;
	p->seq_min = h->seq_min;
	p->seq_max = h->seq_max;
	r->rows[h->stream].n += p->n;
	r->info.nchunks += p->n;
	r->info.lost += h->lost;
	if (h->t_max > r->info.t_end_ns)
		r->info.t_end_ns = h->t_max;
	return part_set(r, p, h);
}

/* The rows of a part, as its index chunk has them. */
static int part_read(struct reader *r, unsigned stream, struct reader_part *p)
{
	u64 next = sizeof(struct file_head);
	struct span rows = {0}, pages;
	struct index_row row;
	struct buf raw = {0};
	int err = rows_read(r, p->off, p->size, &raw, &rows);

	while (!err && index_take(&rows, &next, r->index_off, &row, &pages)) {
		const struct chunk_info info = index_chunk(&row);

		err = !chunk_stream_valid(row.type, row.stream) || row.stream != stream
			      ? -EBADMSG
			      : part_put(r, p, &info, pages);
	}
	if (!err && (rows.bad || p->nrows != p->n))
		err = -EBADMSG;
	buf_free(&raw);
	return err;
}

/* The same from the headers of the chunks, one after another through all of the file. */
static int part_rebuild(struct reader *r, unsigned stream, struct reader_part *p)
{
	const char *why;

	for (u64 off = sizeof(struct file_head); off < r->index_off;) {
		struct chunk_head h;
		int err = reader_pread(r, &h, sizeof(h), off);

		if (!err && !chunk_head_valid(&h, off, &why))
			err = -EBADMSG;
		if (!err && chunk_stream_valid(h.type, h.stream) && h.stream == stream &&
		    (h.type == CHUNK_EVENTS || h.type == CHUNK_STORES) && h.seq_min >= p->seq_min &&
		    h.seq_max <= p->seq_max) {
			const struct chunk_info info = chunk_info_of(&h);

			err = part_put(r, p, &info, span_of("", 0));
			if (!err)
				p->rows[p->nrows - 1].unsure = true;
		}
		if (err)
			return err;
		off += h.size;
	}
	return p->nrows == p->n ? 0 : -EBADMSG;
}

/* Forgets what was used longest ago, but not this. */
static void parts_trim(struct reader *r, const struct reader_part *except)
{
	while (r->loaded > LOADED_MAX) {
		struct reader_part *oldest = NULL;

		for (unsigned s = 0; s < STREAM_MAX; s++)
			for (size_t i = 0; i < r->rows[s].nparts; i++) {
				struct reader_part *p = &r->rows[s].parts[i];

				if (p->size && p->rows && p != except &&
				    (!oldest || p->used < oldest->used))
					oldest = p;
			}
		if (!oldest)
			return;
		part_forget(r, oldest);
	}
}

static int part_load(struct reader *r, unsigned stream, struct reader_part *p, bool rebuild)
{
	p->used = ++r->clock;
	if (p->bad)
		return -EBADMSG;
	if (!p->size || p->rows)
		return 0;
	int err = part_read(r, stream, p);
	if (err == -EBADMSG && rebuild) {
		part_forget(r, p);
		r->info.damaged = true;
		reader_complain(r, p->off, "the index is damaged");
		/* Chunks by pages overlap in their numbers: they are not told apart by these. */
		if (!r->is_by_page && r->rebuilt++ < REBUILT_MAX)
			err = part_rebuild(r, stream, p);
		if (!err)
			p->size = 0; /* it stays */
		p->bad = err == -EBADMSG;
	}
	if (err)
		part_forget(r, p);
	else
		parts_trim(r, p);
	return err;
}

/* What is too small to be worth it is read at once. */
static int parts_now(struct reader *r)
{
	int err = 0;

	for (unsigned s = 0; s < STREAM_MAX && !err; s++)
		for (size_t i = 0; i < r->rows[s].nparts && !err; i++)
			err = part_load(r, s, &r->rows[s].parts[i], false);
	return err;
}

/* Of rows that were not read the numbers tell: they are given without gaps. */
static void events_count(struct reader *r)
{
	bool later = false;
	u64 last = 0;

	for (unsigned s = 0; s < STREAM_MAX; s++)
		for (size_t i = 0; i < r->rows[s].nparts; i++) {
			const struct reader_part *p = &r->rows[s].parts[i];

			later |= p->size > 0;
			last = p->seq_max > last ? p->seq_max : last;
		}
	if (later)
		r->info.events = last;
}

int reader_index(struct reader *r, u64 off, u64 end)
{
	const bool small = end - off <= EAGER_BYTES;

	r->index_off = off;
	posix_fadvise(r->fd, (off_t)off, AHEAD_BYTES, POSIX_FADV_WILLNEED);
	while (off < end) {
		struct chunk_head h;
		const char *why;
		int err = reader_pread(r, &h, sizeof(h), off);

		if (!err && (!chunk_head_valid(&h, off, &why) || h.type != CHUNK_INDEX ||
			     h.size > end - off))
			err = -EBADMSG;
		if (!err)
			err = h.seq_max ? index_later(r, &h) : index_now(r, off, r->index_off);
		if (err)
			return err == -ENODATA ? -EBADMSG : err;
		off += h.size;
	}
	if (off != end)
		return -EBADMSG;
	events_count(r);
	return small ? parts_now(r) : 0;
}

static struct reader_part *part_of(struct reader_rows *rows, size_t i)
{
	size_t lo = 0, hi = rows->nparts;

	while (hi - lo > 1) {
		const size_t mid = lo + (hi - lo) / 2;

		if (rows->parts[mid].first <= i)
			lo = mid;
		else
			hi = mid;
	}
	return &rows->parts[lo];
}

size_t reader_chunks(const struct reader *r, enum stream stream)
{
	return r->rows[stream].n;
}

static int row_at(struct reader *r, enum stream stream, size_t i, struct reader_part **part,
		  struct reader_row **row)
{
	*part = part_of(&r->rows[stream], i);
	const int err = part_load(r, stream, *part, true);

	if (!err)
		*row = &(*part)->rows[i - (*part)->first];
	return err;
}

int reader_chunk_info(struct reader *r, enum stream stream, size_t i, struct chunk_info *out)
{
	struct reader_part *p;
	struct reader_row *row;

	if (i >= r->rows[stream].n)
		return -ENOENT;
	const int err = row_at(r, stream, i, &p, &row);
	if (!err)
		*out = row->info;
	return err;
}

bool reader_chunk_touches(struct reader *r, enum stream stream, size_t i, u64 gpa, u64 end)
{
	struct reader_part *p;
	struct reader_row *row;
	struct buf set = {0};
	bool touches = true;

	if (row_at(r, stream, i, &p, &row) || row->unsure)
		return true;
	if (row->kept && row->size == 0)
		return false;
	if (row->kept)
		return pages_touch(span_of(p->pages.data + row->off, row->size), gpa, end);
	if (buf_reserve(&set, row->size + 1) &&
	    !reader_pread(r, set.data, row->size, row->info.off + sizeof(struct chunk_head)))
		touches = pages_touch(span_of(set.data, row->size), gpa, end);
	buf_free(&set);
	return touches;
}

void reader_chunk_pages(struct reader *r, enum stream stream, size_t i,
			void (*fn)(void *arg, u64 start, u64 end), void *arg)
{
	struct reader_part *p;
	struct reader_row *row;

	if (!row_at(r, stream, i, &p, &row) && row->kept)
		pages_each(span_of(p->pages.data + row->off, row->size), fn, arg);
}

struct chunk_info reader_part_info(struct reader *r, enum stream stream, size_t i)
{
	const struct reader_part *p = part_of(&r->rows[stream], i);

	return (struct chunk_info){
		.off = p->off,
		.stream = stream,
		.t_min = p->t_min,
		.t_max = p->t_max,
		.seq_min = p->seq_min,
		.seq_max = p->seq_max,
		.damaged = true,
	};
}

bool reader_part_misses(struct reader *r, enum stream stream, size_t i,
			const struct cursor_spec *spec, size_t *first, size_t *end)
{
	const struct reader_part *p = part_of(&r->rows[stream], i);

	*first = p->first;
	*end = p->first + p->n;
	if (!p->size)
		return false;
	return p->t_max < spec->t_min || (spec->t_max && p->t_min > spec->t_max) ||
	       ((spec->gpa || spec->gpa_end) && stream != STREAM_STATE && p->has_set &&
		!pages_touch(span_of(r->sets.data + p->set_off, p->set_size), spec->gpa,
			     spec->gpa_end));
}

bool reader_touches(struct reader *r, u64 gpa, u64 end)
{
	const struct cursor_spec spec = {.gpa = gpa, .gpa_end = end};

	for (unsigned s = 0; s < STREAM_MAX; s++) {
		size_t first = 0, stop = 0; /* of the part that was looked at last */

		for (size_t i = 0; s != STREAM_STATE && i < r->rows[s].n; i++) {
			if ((i < first || i >= stop) &&
			    reader_part_misses(r, s, i, &spec, &first, &stop))
				i = stop - 1;
			else if (reader_chunk_touches(r, s, i, gpa, end))
				return true;
		}
	}
	return false;
}

int reader_chunk_of(struct reader *r, u64 seq, enum stream stream, struct chunk_info *out)
{
	struct reader_rows *rows = &r->rows[stream];

	for (size_t i = 0; i < rows->nparts; i++) {
		struct reader_part *p = &rows->parts[i];

		if (seq < p->seq_min || seq > p->seq_max)
			continue;
		const int err = part_load(r, stream, p, true);

		if (err)
			return err;
		for (size_t k = 0; k < p->nrows; k++)
			if (seq >= p->rows[k].info.seq_min && seq <= p->rows[k].info.seq_max) {
				*out = p->rows[k].info;
				return 0;
			}
	}
	return -ENOENT;
}
