// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Cursors: one lane a stream, each with at most one chunk decoded; the lane whose event has the
 * next sequence number gives it. A lane's chunk is decoded only when its turn has come.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "decode.h"
#include "desc.h"
#include "pages.h"
#include "probe.h"
#include "reader_file.h"
#include "stores.h"

#define RANGE_PAGES 16
#define PAGE_LANES  8 /* so many pages may be asked for at once by pages */

struct lane {
	struct reader *r; /* whose chunks they are: the trace's, or those by pages */
	unsigned stream;
	u64 gpa, gpa_end; /* what is asked for of them, when the cursor is paged */
	bool wanted, loaded;
	size_t next;		 /* chunk to look at: an index, backward one more than it */
	struct chunk_info chunk; /* that is loaded, or will be */
	u64 key;		 /* sequence number of the next event, or a bound for it */
	u32 left;		 /* events of the loaded chunk not yet given */
	struct decoded events;
	struct picked
		*picked; /* of the stores stream, in place of `events`: those that are wanted */
	u32 npicked, picked_max;
};

struct picked {
	u64 seq;
	struct event_store ev;
};

struct cursor {
	struct reader *r;
	struct cursor_spec spec;
	bool kinds[EVENT_MAX];
	bool paged; /* there is a page filter */
	bool told_gap, told_cut, ended;
	struct lane
		lanes[STREAM_MAX + PAGE_LANES]; /* behind the streams': stores of one page each */
	unsigned nlanes;
	struct lane *given; /* whose event the caller holds */
	struct decoder *decoder;
	struct stores_decoder *stores; /* when that stream is wanted */
	struct stores batch;	       /* in bulk: the next stores */
	struct probe *probe;	       /* when paged */
	ZSTD_DCtx *zstd;
	struct buf chunk, words;
	void *scratch;
	u64 nread;
	char message[512];
};

/* Whether a chunk of stores touches what is asked for: its first bytes tell. True when in doubt. */
static bool words_wanted(struct cursor *c, const struct lane *l)
{
	struct chunk_head h;
	struct span pages, words;

	return reader_first_block(l->r, l->chunk.off, &c->chunk, &c->words, c->zstd, &h, &pages,
				  &words) ||
	       h.words_sum != stores_words_sum(pages, words) ||
	       stores_words_touch(pages, words, l->gpa, l->gpa_end, c->spec.wants,
				  c->spec.wants_arg);
}

/* Whether any word of a short range matters still; long ranges are not gone through. */
static bool range_wanted(const struct cursor *c, const struct lane *l)
{
	static const u64 all[STORES_PAGE_WORDS / 64] = {~0ull, ~0ull, ~0ull, ~0ull,
							~0ull, ~0ull, ~0ull, ~0ull};
	const u64 first = l->gpa >> PAGE_BITS, last = (l->gpa_end - 1) >> PAGE_BITS;

	if (!c->spec.wants || last - first >= RANGE_PAGES)
		return true;
	for (u64 page = first; page <= last; page++)
		if (c->spec.wants(c->spec.wants_arg, page << PAGE_BITS, all))
			return true;
	return false;
}

static bool chunk_wanted(struct cursor *c, struct lane *l, size_t i)
{
	const struct chunk_info *info = &l->chunk;

	if (info->t_max < c->spec.t_min || (c->spec.t_max && info->t_min > c->spec.t_max))
		return false;
	if (!c->paged || l->stream == STREAM_STATE)
		return true;
	if (!reader_chunk_touches(l->r, l->stream, i, l->gpa, l->gpa_end))
		return false;
	return l->stream != STREAM_STORES || (range_wanted(c, l) && words_wanted(c, l));
}

/* Finds the lane's next chunk, without reading it. False when there is none. */
static bool lane_seek(struct cursor *c, struct lane *l)
{
	const size_t n = reader_chunks(l->r, l->stream);
	struct cursor_spec spec = c->spec;
	size_t first = 0, end = 0; /* of the part that was looked at last */

	spec.gpa = l->gpa;
	spec.gpa_end = l->gpa_end;
	while (c->spec.backward ? l->next > 0 : l->next < n) {
		const size_t i = c->spec.backward ? l->next - 1 : l->next;

		if ((i < first || i >= end) &&
		    reader_part_misses(l->r, l->stream, i, &spec, &first, &end)) {
			l->next = c->spec.backward ? first : end;
			continue;
		}
		l->next = c->spec.backward ? i : i + 1;
		if (reader_chunk_info(l->r, l->stream, i, &l->chunk)) {
			/* They stand for the chunks that cannot be found. */
			l->chunk = reader_part_info(l->r, l->stream, i);
			l->next = c->spec.backward ? first : end;
			l->loaded = false;
			l->key = c->spec.backward ? l->chunk.seq_max : l->chunk.seq_min;
			return true;
		}
		if (!chunk_wanted(c, l, i))
			continue;
		l->loaded = false;
		l->key = c->spec.backward ? l->chunk.seq_max : l->chunk.seq_min;
		return true;
	}
	l->wanted = false;
	return false;
}

static u32 lane_index(const struct cursor *c, const struct lane *l)
{
	const u32 n = l->stream == STREAM_STORES ? l->npicked : l->events.n;

	return c->spec.backward ? l->left - 1 : n - l->left;
}

static bool event_wanted(const struct cursor *c, const struct lane *l, const struct event *ev)
{
	u64 gpa, end;

	if (!c->kinds[ev->kind] || ev->t_ns < c->spec.t_min ||
	    (c->spec.t_max && ev->t_ns > c->spec.t_max))
		return false;
	if (!c->paged || l->stream == STREAM_STATE)
		return true;
	/* An empty range touches nothing. */
	return event_range(ev, &gpa, &end) && gpa < end && gpa < c->spec.gpa_end &&
	       c->spec.gpa < end;
}

/* Moves over events that are not wanted; sets the key. False when the chunk is used up. */
static bool lane_skip(const struct cursor *c, struct lane *l)
{
	if (l->stream == STREAM_STORES && c->spec.bulk)
		return l->left;
	if (l->stream == STREAM_STORES) {
		if (l->left)
			l->key = l->picked[lane_index(c, l)].seq;
		return l->left;
	}
	for (; l->left; l->left--) {
		const u32 i = lane_index(c, l);

		if (event_wanted(c, l, decoded_peek(&l->events, i))) {
			l->key = decoded_seq(&l->events, i);
			return true;
		}
	}
	return false;
}

static void cursor_complain(struct cursor *c, const struct reader *r, u64 off, const char *why)
{
	snprintf(c->message, sizeof(c->message), "%s: offset %llu: %s", r->path,
		 (unsigned long long)off, why);
}

/* Decodes a chunk's events; none when a look at the addresses says that none is wanted. */
static int chunk_events(struct cursor *c, struct lane *l, const struct chunk_head *h,
			const char **why)
{
	struct span blocks[BLOCKS];
	struct buf *raw = &l->events.raw;
	int err = 0;

	l->events.n = 0;
	if (c->paged && l->stream != STREAM_STATE) {
		err = chunk_decode(h, c->chunk.data, raw, blocks, BLOCKS, 1ull << BLOCK_FIELDS,
				   c->zstd, why);
		if (!err && !probe_run(c->probe, blocks[BLOCK_FIELDS], h->events, c->spec.gpa,
				       c->spec.gpa_end))
			return 0;
	}
	if (!err)
		err = chunk_decode(h, c->chunk.data, raw, blocks, BLOCKS, CHUNK_ALL_BLOCKS, c->zstd,
				   why);
	if (!err)
		err = decoder_run(c->decoder, blocks, h->events, h->seq_min, &l->events, why);
	if (!err && l->events.seq_last != h->seq_max) {
		*why = "a chunk's last event is not the one its header names";
		err = -EBADMSG;
	}
	return err;
}

static bool picked_add(struct lane *l, const struct stores *s, const struct store *v)
{
	const struct store_site *site = &s->sites[v->site];

	if (l->npicked == l->picked_max) {
		const u32 max = l->picked_max ? 2 * l->picked_max : 1024;
		struct picked *more = realloc(l->picked, max * sizeof(*more));

		if (!more)
			return false;
		l->picked = more;
		l->picked_max = max;
	}
	struct picked *p = &l->picked[l->npicked++];
	*p = (struct picked){
		.seq = s->seq + (u64)(v - s->v),
		.ev =
			{
				.h =
					{
						.t_ns = s->t_ns,
						.tid = s->tid,
						.kind = EVENT_store,
						.vcpu = s->vcpu,
						.boot = BOOT_UNKNOWN,
					},
				.gpa = v->gpa,
				.gva = v->gva,
				.pc = site->pc,
				.smm = v->smm,
				.raced = v->raced,
				.part = site->part,
				.len = v->size,
			},
	};
	store_le(p->ev.bytes, v->value, 8);
	return true;
}

/* The stores of a chunk that are wanted. */
static int chunk_stores(struct cursor *c, struct lane *l, const struct chunk_head *h,
			const char **why)
{
	struct span blocks[STORES_BLOCKS];
	struct stores s;
	int ret;

	l->npicked = 0;
	ret = chunk_decode(h, c->chunk.data, &l->events.raw, blocks, STORES_BLOCKS,
			   CHUNK_ALL_BLOCKS, c->zstd, why);
	if (!ret)
		ret = stores_begin(c->stores, h, blocks, why);
	if (ret || c->spec.bulk)
		return ret;
	while ((ret = stores_next(c->stores, &s, why)) > 0) {
		if (s.t_ns < c->spec.t_min || (c->spec.t_max && s.t_ns > c->spec.t_max))
			continue;
		for (const struct store *v = s.v; v < s.v + s.n; v++)
			if ((!c->paged ||
			     (v->gpa < l->gpa_end && v->gpa + (v->size - 1) >= l->gpa)) &&
			    !picked_add(l, &s, v))
				return -ENOMEM;
	}
	return ret;
}

/* Reads and decodes the lane's chunk. CURSOR_MORE when it could. */
static enum cursor_status lane_load(struct cursor *c, struct lane *l)
{
	const struct chunk_info *info = &l->chunk;
	const char *why = "this chunk was damaged when the file was scanned";
	struct chunk_head h = {0};
	int err = -EBADMSG;

	l->left = 0;
	l->loaded = true;
	c->nread++;
	if (!info->events)
		why = l->r->is_by_page
			      ? "the index is damaged; vmblame index --force makes this file again"
			      : "the index is damaged: chunks cannot be found";
	if (!info->damaged)
		err = reader_chunk(l->r, info->off, info->size, &c->chunk, &h, &why);
	if (!err && (!chunk_stream_valid(h.type, h.stream) || h.stream != info->stream)) {
		why = "a chunk is not as the index says";
		err = -EBADMSG;
	}
	if (!err)
		err = l->stream == STREAM_STORES ? chunk_stores(c, l, &h, &why)
						 : chunk_events(c, l, &h, &why);
	if (!err && l->stream == STREAM_STORES && c->spec.bulk) {
		err = stores_next(c->stores, &c->batch, &why);
		l->left = err > 0;
		l->key = c->batch.seq;
		if (err >= 0)
			return CURSOR_MORE;
	}
	if (!err) {
		l->left = l->stream == STREAM_STORES ? l->npicked : l->events.n;
		return CURSOR_MORE;
	}
	if (err == -EBADMSG || err == -ENODATA) {
		cursor_complain(c, l->r, info->off, why);
		return CURSOR_CORRUPT;
	}
	cursor_complain(c, l->r, info->off, strerror(-err));
	c->ended = true;
	return CURSOR_IO;
}

static void lane_open(struct cursor *c, struct reader *r, unsigned stream, u64 gpa, u64 gpa_end)
{
	struct lane *l = &c->lanes[c->nlanes++];

	*l = (struct lane){
		.r = r, .stream = stream, .gpa = gpa, .gpa_end = gpa_end, .wanted = true};
	l->next = c->spec.backward ? reader_chunks(r, stream) : 0;
	lane_seek(c, l);
}

/* Where stores lie by pages, too, a few pages are read there: each of them has its stores in order.
 */
static bool lanes_by_page(struct cursor *c)
{
	const u64 gpa = c->spec.gpa, end = c->spec.gpa_end;

	if (!c->r->by_page || !c->paged || c->spec.bulk || end <= gpa ||
	    ((end - 1) >> PAGE_BITS) - (gpa >> PAGE_BITS) >= PAGE_LANES)
		return false;
	for (u64 at = gpa, next; at < end; at = next) {
		next = (at | ((1u << PAGE_BITS) - 1)) + 1;
		if (!next || next > end)
			next = end;
		lane_open(c, c->r->by_page, STREAM_STORES, at, next);
	}
	return true;
}

int cursor_open(struct cursor **out, struct reader *r, const struct cursor_spec *spec)
{
	struct cursor *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->r = r;
	c->spec = *spec;
	c->paged = spec->gpa || spec->gpa_end;
	for (unsigned k = 0; k < EVENT_MAX; k++)
		c->kinds[k] = spec->kinds ? spec->kinds[k] : true;
	c->zstd = ZSTD_createDCtx();
	c->scratch = calloc(1, event_size_max());
	if (!c->zstd || !c->scratch || decoder_open(&c->decoder) ||
	    stores_decoder_open(&c->stores) || (c->paged && probe_open(&c->probe))) {
		cursor_close(c);
		return -ENOMEM;
	}
	for (unsigned s = 0; s < STREAM_MAX; s++) {
		if ((spec->streams && !(spec->streams >> s & 1)) ||
		    (s == STREAM_STORES && (!c->kinds[EVENT_store] || lanes_by_page(c))))
			continue;
		lane_open(c, r, s, spec->gpa, spec->gpa_end);
	}
	*out = c;
	return 0;
}

static struct lane *lane_first(struct cursor *c)
{
	struct lane *first = NULL;

	for (unsigned i = 0; i < c->nlanes; i++) {
		struct lane *l = &c->lanes[i];

		if (l->wanted &&
		    (!first || (c->spec.backward ? l->key > first->key : l->key < first->key)))
			first = l;
	}
	return first;
}

/* All lanes are at their end. */
static enum cursor_status cursor_end(struct cursor *c)
{
	if (c->r->gap && !c->told_gap) {
		c->told_gap = true;
		cursor_complain(c, c->r, c->r->gap_off, "bytes that belong to no chunk");
		return CURSOR_CORRUPT;
	}
	if (c->r->info.truncated && !c->told_cut) {
		c->told_cut = true;
		cursor_complain(c, c->r, c->r->info.whole_bytes, "the file is cut here");
		return CURSOR_TRUNCATED;
	}
	return CURSOR_END;
}

/* The next stores of a chunk that is being given in bulk. */
static enum cursor_status lane_batch(struct cursor *c, struct lane *l)
{
	const char *why = NULL;
	const int more = stores_next(c->stores, &c->batch, &why);

	c->given = NULL;
	l->left = more > 0;
	l->key = c->batch.seq;
	if (more > 0)
		return CURSOR_MORE;
	if (more < 0)
		cursor_complain(c, l->r, l->chunk.off, why);
	lane_seek(c, l);
	return more < 0 ? CURSOR_CORRUPT : CURSOR_MORE;
}

const struct stores *cursor_stores(const struct cursor *c)
{
	return &c->batch;
}

enum cursor_status cursor_next(struct cursor *c, const struct event **ev, u64 *seq)
{
	struct lane *l = c->given;

	/* The event that was given last is done with only now. */
	if (l && l->stream == STREAM_STORES && c->spec.bulk) {
		const enum cursor_status status = lane_batch(c, l);

		if (status != CURSOR_MORE)
			return status;
	} else if (l && !lane_skip(c, l)) {
		lane_seek(c, l);
	}
	c->given = NULL;
	while (!c->ended && (l = lane_first(c))) {
		if (!l->loaded) {
			const enum cursor_status status = lane_load(c, l);

			if (status != CURSOR_MORE) {
				lane_seek(c, l);
				return status;
			}
			if (!lane_skip(c, l))
				lane_seek(c, l);
			continue;
		}
		if (l->stream == STREAM_STORES && c->spec.bulk) {
			c->given = l;
			return CURSOR_STORES;
		}
		*ev = l->stream == STREAM_STORES
			      ? &l->picked[lane_index(c, l)].ev.h
			      : decoded_event(&l->events, lane_index(c, l), c->scratch);
		*seq = l->key;
		l->left--;
		c->given = l;
		return CURSOR_MORE;
	}
	return c->ended ? CURSOR_END : cursor_end(c);
}

u64 cursor_chunks_read(const struct cursor *c)
{
	return c->nread;
}

const char *cursor_message(const struct cursor *c)
{
	return c->message;
}

void cursor_close(struct cursor *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->nlanes; i++) {
		decoded_free(&c->lanes[i].events);
		free(c->lanes[i].picked);
	}
	stores_decoder_close(c->stores);
	decoder_close(c->decoder);
	probe_close(c->probe);
	ZSTD_freeDCtx(c->zstd);
	buf_free(&c->chunk);
	buf_free(&c->words);
	free(c->scratch);
	free(c);
}
