// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The headers of the chunks against their events, which come in the order of their numbers: those
 * of a stream chunk after chunk.
 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desc.h"
#include "pages.h"
#include "reader_file.h"
#include "stores.h"

struct run {
	u64 start, end; /* pages */
	size_t words;	/* of its first page, in the block of words */
};

/* The chunk of a stream whose events come. */
struct tally {
	size_t next; /* chunk of the stream */
	bool open, told;
	struct chunk_info info;
	u64 n, t_min, t_max, lost;
	struct run *runs;
	size_t nruns, runs_max;
	const struct run *last; /* that was looked up last */
	struct buf head, raw;
	struct span words; /* of stores */
};

struct check {
	struct reader *r;
	check_fn *fn;
	void *arg;
	ZSTD_DCtx *zstd;
	struct tally tallies[STREAM_MAX];
	struct check_counts counts;
	u64 last_seq;
};

int check_open(struct check **out, struct reader *r, check_fn *fn, void *arg)
{
	struct check *c = calloc(1, sizeof(*c));

	*out = c;
	if (!c)
		return -ENOMEM;
	c->r = r;
	c->fn = fn;
	c->arg = arg;
	c->zstd = ZSTD_createDCtx();
	if (c->zstd)
		return 0;
	check_close(c);
	*out = NULL;
	return -ENOMEM;
}

void check_close(struct check *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < STREAM_MAX; i++) {
		free(c->tallies[i].runs);
		buf_free(&c->tallies[i].head);
		buf_free(&c->tallies[i].raw);
	}
	ZSTD_freeDCtx(c->zstd);
	free(c);
}

/* Once a chunk: what is wrong with one event is wrong with many. */
static int tell(struct check *c, struct tally *t, const char *what)
{
	if (t->told)
		return 0;
	t->told = true;
	return c->fn(c->arg, t->info.off, what);
}

static int tell_number(struct check *c, struct tally *t, const char *what, u64 said, u64 found)
{
	char text[160];

	snprintf(text, sizeof(text), "the chunk's header says %s %llu, its events %llu", what,
		 (unsigned long long)said, (unsigned long long)found);
	return tell(c, t, text);
}

struct runs_arg {
	struct tally *t;
	size_t words;
	bool failed;
};

static void run_put(void *arg, u64 start, u64 end)
{
	struct runs_arg *a = arg;
	struct tally *t = a->t;

	if (t->nruns == t->runs_max) {
		const size_t max = t->runs_max ? 2 * t->runs_max : 64;
		struct run *more = realloc(t->runs, max * sizeof(*more));

		a->failed |= !more;
		if (!more)
			return;
		t->runs = more;
		t->runs_max = max;
	}
	t->runs[t->nruns++] = (struct run){start, end, a->words};
	a->words += end - start;
}

/* The page set of the chunk, and the words of one of stores. */
static int set_load(struct check *c, struct tally *t)
{
	struct runs_arg arg = {.t = t};
	struct chunk_head h;
	struct span pages;
	int err;

	t->nruns = 0;
	t->last = NULL;
	t->words = span_of("", 0);
	if (t->info.stream == STREAM_STORES) {
		err = reader_first_block(c->r, t->info.off, &t->head, &t->raw, c->zstd, &h, &pages,
					 &t->words);
		if (!err && h.words_sum != stores_words_sum(pages, t->words))
			err = -EBADMSG;
	} else {
		err = reader_pread(c->r, &h, sizeof(h), t->info.off);
		t->head.len = 0;
		if (!err && h.pages_bytes > CHUNK_PAGES_MAX)
			err = -EBADMSG;
		if (!err && !buf_reserve(&t->head, h.pages_bytes + 1))
			err = -ENOMEM;
		if (!err)
			err = reader_pread(c->r, t->head.data, h.pages_bytes,
					   t->info.off + sizeof(h));
		pages = span_of(t->head.data, err ? 0 : h.pages_bytes);
	}
	if (err == -EBADMSG || err == -ENODATA)
		return tell(c, t, "the chunk's set of pages, or of words, is malformed");
	if (err)
		return err;
	pages_each(pages, run_put, &arg);
	if (t->info.stream == STREAM_STORES &&
	    span_left(&t->words) != arg.words * STORES_PAGE_BYTES)
		return tell(c, t, "the chunk's words are not those of its pages");
	return arg.failed ? -ENOMEM : 0;
}

static int tally_close(struct check *c, struct tally *t)
{
	const u64 said = t->info.events;
	int ret = 0;

	if (!t->open)
		return 0;
	t->open = false;
	c->counts.chunks++;
	c->counts.events += t->n;
	if (t->n > said)
		return tell_number(c, t, "events", said, t->n);
	/* Kinds that this version does not know have a part in the rest. */
	c->counts.unknown += said - t->n;
	if (t->n < said)
		return 0;
	if (t->t_min != t->info.t_min)
		ret = tell_number(c, t, "t_min", t->info.t_min, t->t_min);
	if (!ret && t->t_max != t->info.t_max)
		ret = tell_number(c, t, "t_max", t->info.t_max, t->t_max);
	if (!ret && t->lost != t->info.lost)
		ret = tell_number(c, t, "lost", t->info.lost, t->lost);
	return ret;
}

/* Goes on to the chunk that has this number. */
static int tally_seek(struct check *c, struct tally *t, enum stream stream, u64 seq)
{
	int err = 0;

	while (!err && (!t->open || seq > t->info.seq_max)) {
		err = tally_close(c, t);
		if (!err)
			err = reader_chunk_info(c->r, stream, t->next, &t->info);
		if (err)
			break;
		t->next++;
		t->open = true;
		t->told = false;
		t->n = t->t_max = t->lost = 0;
		t->t_min = UINT64_MAX;
		if (seq <= t->info.seq_max)
			err = set_load(c, t);
	}
	return err;
}

static const struct run *run_of(struct tally *t, u64 page)
{
	size_t lo = 0, hi = t->nruns;

	if (t->last && page >= t->last->start && page < t->last->end)
		return t->last;
	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (t->runs[mid].end <= page)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nruns || t->runs[lo].start > page)
		return NULL;
	return t->last = &t->runs[lo];
}

static int pages_check(struct check *c, struct tally *t, const struct event *ev, u64 seq)
{
	char text[128];
	u64 gpa, end;

	if (t->info.stream == STREAM_STATE || !event_range(ev, &gpa, &end) || gpa >= end)
		return 0;
	for (u64 page = gpa >> PAGE_BITS; page <= (end - 1) >> PAGE_BITS;) {
		const struct run *run = run_of(t, page);

		if (!run) {
			snprintf(text, sizeof(text),
				 "the chunk's set lacks page 0x%llx, which event #%llu touches",
				 (unsigned long long)(page << PAGE_BITS), (unsigned long long)seq);
			return tell(c, t, text);
		}
		page = run->end;
	}
	return 0;
}

static bool store_in_words(struct tally *t, const struct store *v)
{
	const u64 page = v->gpa >> PAGE_BITS;
	const struct run *run = run_of(t, page);
	const u32 first = (v->gpa & 4095) / 8, last = ((v->gpa & 4095) + v->size - 1) / 8;

	if (!run)
		return false;
	const size_t off = (run->words + (page - run->start)) * STORES_PAGE_BYTES;

	if (off + STORES_PAGE_BYTES > span_left(&t->words))
		return false;
	const u8 *bits = t->words.p + off;

	return (bits[first / 8] >> first % 8 & 1) &&
	       (last / 8 >= STORES_PAGE_BYTES || (bits[last / 8] >> last % 8 & 1));
}

static int stores_check(struct check *c, struct tally *t, const struct stores *s)
{
	char text[128];

	for (u32 i = 0; i < s->n && !t->told; i++) {
		if (store_in_words(t, &s->v[i]))
			continue;
		snprintf(text, sizeof(text),
			 "the chunk's words lack 0x%llx, which store #%llu touches",
			 (unsigned long long)s->v[i].gpa, (unsigned long long)(s->seq + i));
		return tell(c, t, text);
	}
	return 0;
}

int check_take(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	struct check *c = arg;
	const enum stream stream = s ? STREAM_STORES : event_desc(ev->kind)->stream;
	struct tally *t = &c->tallies[stream];
	const u64 t_ns = s ? s->t_ns : ev->t_ns, first = s ? s->seq : seq;
	int ret = tally_seek(c, t, stream, first);

	if (ret)
		return ret;
	if (first < t->info.seq_min || first <= c->last_seq)
		ret = tell(c, t, "the numbers of the events are in disorder");
	c->last_seq = s ? s->seq + s->n - 1 : seq;
	t->n += s ? s->n : 1;
	t->t_min = t_ns < t->t_min ? t_ns : t->t_min;
	t->t_max = t_ns > t->t_max ? t_ns : t->t_max;
	if (!s && ev->kind == EVENT_lost)
		t->lost += ((const struct event_lost *)ev)->count;
	if (ret)
		return ret;
	return s ? stores_check(c, t, s) : pages_check(c, t, ev, seq);
}

int check_end(struct check *c, struct check_counts *counts)
{
	int ret = 0;

	for (unsigned i = 0; i < STREAM_MAX && !ret; i++) {
		struct tally *t = &c->tallies[i];

		/* Chunks without an event of a kind that is known, too. */
		while (!ret && t->next < reader_chunks(c->r, i))
			ret = tally_seek(c, t, i, t->open ? t->info.seq_max + 1 : 0);
		if (!ret)
			ret = tally_close(c, t);
	}
	*counts = c->counts;
	return ret;
}
