// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The writer: one open chunk a stream, each sealed with one write(); facts, index and trailer. The
 * first error sticks, and the file is cut back to its last whole chunk.
 */
#include "writer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "decode.h"
#include "desc.h"
#include "index.h"
#include "pages.h"

#define CHUNK_EVENTS_DEFAULT 65536u
#define CHUNK_BYTES	     (8u << 20) /* a chunk is sealed when its body may have grown to this */
#define META_BYTES	     (64u << 10)
#define META_VALUE_MAX	     (1u << 20)
#define META_KEY_MAX	     255u
#define STORES_LEVEL	     1

struct open_chunk {
	struct encoder *encoder;
	struct pages *pages;
	struct chunk_head head;
};

struct writer {
	int fd;
	int err; /* sticks */
	u32 chunk_events;
	int level;
	u64 seq; /* of the last event */
	ZSTD_CCtx *zstd;
	struct open_chunk open[STREAM_MAX];
	struct stores_encoder *stores;
	bool may_store; /* the file's header says so */
	int stores_level;
	struct buf metas;
	u32 nmetas;
	struct buf rows[STREAM_MAX]; /* of the index; those of facts are with the state's */
	struct buf out;
	struct writer_stats stats;
	u8 uuid[16];
};

/* All of it, or an error; what was half-written is cut off again where the file permits. */
static int file_write(struct writer *w, const void *data, size_t n)
{
	const u8 *p = data;

	for (size_t left = n; left > 0;) {
		const ssize_t got = write(w->fd, p, left);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			w->err = got < 0 ? -errno : -EIO;
			if (ftruncate(w->fd, (off_t)w->stats.bytes) < 0)
				return w->err; /* a pipe, say: nothing more can be done */
			return w->err;
		}
		p += got;
		left -= (size_t)got;
	}
	w->stats.bytes += n;
	return 0;
}

static void writer_free(struct writer *w)
{
	for (unsigned i = 0; i < STREAM_MAX; i++) {
		encoder_close(w->open[i].encoder);
		pages_close(w->open[i].pages);
	}
	stores_encoder_close(w->stores);
	buf_free(&w->metas);
	for (unsigned i = 0; i < STREAM_MAX; i++)
		buf_free(&w->rows[i]);
	buf_free(&w->out);
	ZSTD_freeCCtx(w->zstd);
	close(w->fd);
	free(w);
}

int writer_open(struct writer **out, int fd, const struct writer_opts *opts)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (!w) {
		close(fd);
		return -ENOMEM;
	}
	w->fd = fd;
	w->may_store = opts->stores;
	w->stores_level = STORES_LEVEL;
	w->level = opts->level ? opts->level : 3;
	w->chunk_events = opts->chunk_events ? opts->chunk_events : CHUNK_EVENTS_DEFAULT;
	if (w->chunk_events > DECODE_EVENTS)
		w->chunk_events = DECODE_EVENTS;
	w->zstd = ZSTD_createCCtx();
	struct file_head head = {
		.version_major = VERSION_MAJOR,
		.version_minor = VERSION_MINOR,
		.start_mono_ns = opts->start_mono_ns,
		.start_real_ns = opts->start_real_ns,
		.incompat = (opts->stores ? INCOMPAT_STORES : 0) |
			    (opts->by_page ? INCOMPAT_BY_PAGE : 0),
	};

	if (!w->zstd || getrandom(head.uuid, sizeof(head.uuid), 0) != sizeof(head.uuid)) {
		writer_free(w);
		return -ENOMEM;
	}
	head.uuid[6] = (head.uuid[6] & 0x0f) | 0x40;
	head.uuid[8] = (head.uuid[8] & 0x3f) | 0x80;
	file_head_seal(&head);
	memcpy(w->uuid, head.uuid, sizeof(w->uuid));
	const int err = file_write(w, &head, sizeof(head));

	if (err) {
		writer_free(w);
		return err;
	}
	*out = w;
	return 0;
}

/* Compresses and writes a chunk whose head the caller has begun; its row goes to the index. */
static int chunk_write(struct writer *w, struct chunk_head *h, const struct buf *pages,
		       const struct buf *const *blocks, unsigned nblocks)
{
	const int level = h->type == CHUNK_STORES ? w->stores_level : w->level;

	h->off = w->stats.bytes;
	w->out.len = 0;
	w->err = chunk_encode(&w->out, h, pages, blocks, nblocks, w->zstd, level);
	if (w->err)
		return w->err;
	if (file_write(w, w->out.data, w->out.len))
		return w->err;
	if (h->type != CHUNK_INDEX) {
		w->stats.chunks++;
		index_put(&w->rows[h->type == CHUNK_META ? STREAM_STATE : h->stream], h, pages);
	}
	return 0;
}

static int metas_seal(struct writer *w)
{
	const struct buf *block = &w->metas;
	struct chunk_head head = {.type = CHUNK_META, .events = w->nmetas};

	if (w->err || w->nmetas == 0)
		return w->err;
	if (w->metas.failed)
		return w->err = -ENOMEM;
	chunk_write(w, &head, NULL, &block, 1);
	w->metas.len = 0;
	w->nmetas = 0;
	return w->err;
}

static int stream_seal(struct writer *w, unsigned stream)
{
	struct open_chunk *c = &w->open[stream];
	const struct buf *blocks[BLOCKS];
	struct buf pages = {0};

	if (w->err || !c->encoder || encoder_events(c->encoder) == 0)
		return w->err;
	if (metas_seal(w))
		return w->err;
	pages_flush(c->pages, &pages);
	w->err = encoder_seal(c->encoder, blocks);
	if (!w->err) {
		c->head.type = CHUNK_EVENTS;
		c->head.stream = (u8)stream;
		c->head.events = encoder_events(c->encoder);
		chunk_write(w, &c->head, &pages, blocks, BLOCKS);
	}
	encoder_reset(c->encoder);
	c->head = (struct chunk_head){0};
	buf_free(&pages);
	return w->err;
}

static int stores_seal_chunk(struct writer *w)
{
	const struct buf *blocks[STORES_BLOCKS];
	struct chunk_head head = {0};
	struct buf pages = {0};

	if (w->err || !w->stores || !stores_count(w->stores))
		return w->err;
	if (metas_seal(w))
		return w->err;
	w->err = stores_seal(w->stores, &head, &pages, blocks);
	if (!w->err)
		chunk_write(w, &head, &pages, blocks, STORES_BLOCKS);
	stores_reset(w->stores);
	buf_free(&pages);
	return w->err;
}

static int stream_open(struct open_chunk *c)
{
	const int err = encoder_open(&c->encoder);

	return err ? err : pages_open(&c->pages);
}

static void head_update(struct chunk_head *h, const struct event *ev, u64 seq)
{
	if (h->seq_min == 0) {
		h->seq_min = seq;
		h->t_min = h->t_max = ev->t_ns;
	}
	h->seq_max = seq;
	if (ev->t_ns < h->t_min)
		h->t_min = ev->t_ns;
	if (ev->t_ns > h->t_max)
		h->t_max = ev->t_ns;
	if (ev->kind == EVENT_lost)
		h->lost += ((const struct event_lost *)ev)->count;
}

int writer_put(struct writer *w, const struct event *ev, u64 *seq)
{
	const struct event_desc *desc = event_desc(ev->kind);
	u64 gpa, end;

	if (w->err)
		return w->err;
	if (!desc || desc->stream == STREAM_STORES)
		return -EINVAL;
	struct open_chunk *c = &w->open[desc->stream];

	if (!c->pages && (w->err = stream_open(c)))
		return w->err;
	const int err = encoder_put(c->encoder, ev, w->seq + 1);

	if (err == -EINVAL)
		return err;
	w->err = err;
	if (!w->err && desc->stream != STREAM_STATE && event_range(ev, &gpa, &end))
		w->err = pages_add(c->pages, gpa, end);
	if (w->err)
		return w->err;
	w->seq++;
	if (seq)
		*seq = w->seq;
	head_update(&c->head, ev, w->seq);
	w->stats.events++;
	w->stats.kinds[ev->kind]++;
	if (ev->t_ns > w->stats.last_ns)
		w->stats.last_ns = ev->t_ns;
	if (ev->kind == EVENT_lost)
		w->stats.lost += ((const struct event_lost *)ev)->count;
	if (encoder_events(c->encoder) >= w->chunk_events ||
	    encoder_size(c->encoder) >= CHUNK_BYTES)
		return stream_seal(w, desc->stream);
	return 0;
}

struct stores_encoder *writer_stores(struct writer *w)
{
	if (!w->may_store || (!w->stores && stores_encoder_open(&w->stores)))
		return NULL;
	return w->stores;
}

int writer_put_stores(struct writer *w, unsigned lane, const struct store_raw *stores, size_t n)
{
	while (n && !w->err) {
		const long got =
			w->stores ? stores_put(w->stores, lane, stores, n, w->seq + 1) : -EINVAL;

		if (got == -EINVAL)
			return -EINVAL;
		if (got < 0)
			return w->err = (int)got;
		w->seq += (u64)got;
		w->stats.events += (u64)got;
		w->stats.kinds[EVENT_store] += (u64)got;
		stores += got;
		n -= (size_t)got;
		if (stores_full(w->stores))
			stores_seal_chunk(w);
	}
	return w->err;
}

void writer_stores_level(struct writer *w, int level)
{
	w->stores_level = level;
}

int writer_meta(struct writer *w, const char *key, const char *value)
{
	const size_t key_len = strlen(key), value_len = strlen(value);

	if (w->err)
		return w->err;
	if (key_len == 0 || key_len > META_KEY_MAX || value_len > META_VALUE_MAX)
		return -EINVAL;
	buf_varint(&w->metas, key_len);
	buf_put(&w->metas, key, key_len);
	buf_varint(&w->metas, value_len);
	buf_put(&w->metas, value, value_len);
	w->nmetas++;
	return w->metas.len >= META_BYTES ? metas_seal(w) : 0;
}

int writer_seal(struct writer *w)
{
	metas_seal(w);
	for (unsigned i = 0; i < STREAM_MAX; i++)
		stream_seal(w, i);
	return stores_seal_chunk(w);
}

const struct writer_stats *writer_stats(const struct writer *w)
{
	return &w->stats;
}

const u8 *writer_uuid(const struct writer *w)
{
	return w->uuid;
}

/* Rows of the index from `from` on that make one chunk: their bytes. *h says what they have in
 * common, *pages which pages they touch; both only where that is asked for. */
static size_t rows_cut(const struct buf *rows, size_t from, struct chunk_head *h,
		       struct pages *pages)
{
	size_t len = 0, sets = 0;

	for (; from + len < rows->len && len < INDEX_BLOCK_BYTES &&
	       (!pages || h->events < INDEX_ROWS);
	     h->events++) {
		struct index_row row;

		memcpy(&row, rows->data + from + len, sizeof(row));
		sets += row.pages_bytes;
		if (pages && h->events && sets > CHUNK_PAGES_MAX)
			break; /* what joins them takes no more than they do */
		len += sizeof(row);
		if (pages) {
			if (!h->events || row.t_min < h->t_min)
				h->t_min = row.t_min;
			if (row.t_max > h->t_max)
				h->t_max = row.t_max;
			if (!h->events)
				h->seq_min = row.seq_min;
			h->seq_max = row.seq_max;
			h->lost += row.lost;
			h->stream = row.stream;
			if (pages_join(pages, span_of(rows->data + from + len, row.pages_bytes)))
				return 0;
		}
		len += row.pages_bytes;
	}
	return len;
}

/* A stream's part of the index. The state is read whole by every question, and facts when the file
 * is opened: their rows are, too, so that nothing of them need be known before. */
static int stream_index(struct writer *w, unsigned stream)
{
	const struct buf *rows = &w->rows[stream];
	struct pages *pages = NULL;
	struct buf set = {0};

	if (rows->failed || (stream != STREAM_STATE && pages_open(&pages)))
		w->err = -ENOMEM;
	for (size_t from = 0; from < rows->len && !w->err;) {
		struct chunk_head head = {.type = CHUNK_INDEX};
		struct buf part = {.data = rows->data + from};
		const struct buf *block = &part;

		part.len = rows_cut(rows, from, &head, pages);
		if (!part.len) {
			w->err = -ENOMEM;
			break;
		}
		from += part.len;
		set.len = 0;
		if (pages) {
			pages_flush(pages, &set);
			head.words_sum =
				stores_words_sum(span_of(set.data, set.len), span_of("", 0));
		}
		chunk_write(w, &head, &set, &block, 1);
	}
	buf_free(&set);
	pages_close(pages);
	return w->err;
}

static int index_write(struct writer *w)
{
	struct trailer trailer = {.index_off = w->stats.bytes, .nchunks = w->stats.chunks};

	for (unsigned i = 0; i < STREAM_MAX && !w->err; i++)
		stream_index(w, i);
	if (w->err)
		return w->err;
	trailer.file_bytes = w->stats.bytes + sizeof(trailer);
	trailer_seal(&trailer);
	return file_write(w, &trailer, sizeof(trailer));
}

int writer_close(struct writer *w)
{
	if (!w)
		return 0;
	if (!writer_seal(w))
		index_write(w);
	const int err = w->err;

	writer_free(w);
	return err;
}
