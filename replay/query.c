/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A question is answered window by window: collect the newest entries, cut the window where they
 * begin and end, judge each piece, merge neighbours with the same answers.
 */
#include "query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "pile.h"

#define WINDOW_BYTES (8u << 20)

static const char *const verdict_names[VERDICT_MAX] = {
	[VERDICT_WRITTEN_BY] = "WRITTEN-BY",
	[VERDICT_CANDIDATES] = "CANDIDATES",
	[VERDICT_UNEXPLAINED] = "UNEXPLAINED",
	[VERDICT_INITIAL] = "INITIAL",
	[VERDICT_NOT_WRITTEN] = "NOT-WRITTEN",
	[VERDICT_UNKNOWN] = "UNKNOWN",
	[VERDICT_LOST] = "LOST",
};

const char *verdict_name(enum verdict verdict)
{
	return verdict < VERDICT_MAX ? verdict_names[verdict] : "?";
}

/* The bytes of a run, answer by answer, as it grows. */
struct bytes {
	u8 *data;
	size_t size, max;
};

/* A run being built. */
struct builder {
	unsigned n; /* answers asked for */
	struct run run;
	struct bytes *bytes, *old; /* n of each */
	struct answer *next;	   /* answers of the piece at hand */
	int (*fn)(void *arg, const struct run *run);
	void *arg;
};

static int bytes_add(struct bytes *b, const u8 *data, size_t size)
{
	if (b->max - b->size < size) {
		const size_t wanted = 2 * b->max + size + 64;
		u8 *bigger = realloc(b->data, wanted);

		if (!bigger)
			return -ENOMEM;
		b->data = bigger;
		b->max = wanted;
	}
	memcpy(b->data + b->size, data, size);
	b->size += size;
	return 0;
}

static int builder_init(struct builder *b, unsigned n, int (*fn)(void *, const struct run *),
			void *arg)
{
	*b = (struct builder){.n = n, .fn = fn, .arg = arg};
	b->run.answers = calloc(n, sizeof(*b->run.answers));
	b->next = calloc(n, sizeof(*b->next));
	b->bytes = calloc(n, sizeof(*b->bytes));
	b->old = calloc(n, sizeof(*b->old));
	return b->run.answers && b->next && b->bytes && b->old ? 0 : -ENOMEM;
}

static void builder_free(struct builder *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (b->bytes)
			free(b->bytes[i].data);
		if (b->old)
			free(b->old[i].data);
	}
	free(b->bytes);
	free(b->old);
	free(b->next);
	free(b->run.answers);
}

static int builder_flush(struct builder *b)
{
	struct run *run = &b->run;

	if (!run->nanswers)
		return 0;
	for (unsigned i = 0; i < run->nanswers; i++) {
		struct answer *a = &run->answers[i];

		a->bytes = a->bytes ? b->bytes[i].data : NULL;
		a->old = a->old ? b->old[i].data : NULL;
	}
	const int ret = b->fn(b->arg, run);
	run->nanswers = 0;
	return ret;
}

static bool answer_same(const struct answer *a, const struct answer *b)
{
	return a->verdict == b->verdict && a->why == b->why && a->write == b->write &&
	       a->covers == b->covers && a->lost == b->lost && !a->bytes == !b->bytes &&
	       !a->old == !b->old && !strcmp(a->detail, b->detail);
}

static bool builder_continues(const struct builder *b, u64 gpa, unsigned nanswers)
{
	if (b->run.nanswers != nanswers || b->run.end != gpa)
		return false;
	for (unsigned i = 0; i < nanswers; i++) {
		if (!answer_same(&b->run.answers[i], &b->next[i]))
			return false;
	}
	return true;
}

/* Takes b->next for [gpa,end). */
static int builder_add(struct builder *b, u64 gpa, u64 end, unsigned nanswers)
{
	if (!builder_continues(b, gpa, nanswers)) {
		const int ret = builder_flush(b);

		if (ret)
			return ret;
		b->run.gpa = gpa;
		b->run.nanswers = nanswers;
		memcpy(b->run.answers, b->next, nanswers * sizeof(*b->next));
		for (unsigned i = 0; i < nanswers; i++)
			b->bytes[i].size = b->old[i].size = 0;
	}
	b->run.end = end;
	for (unsigned i = 0; i < nanswers; i++) {
		int err = 0;

		if (b->next[i].bytes)
			err = bytes_add(&b->bytes[i], b->next[i].bytes, end - gpa);
		if (!err && b->next[i].old)
			err = bytes_add(&b->old[i], b->next[i].old, end - gpa);
		if (err)
			return err;
	}
	return 0;
}

/* Entries by where they start, for the sweep. */
static int start_order(const void *a, const void *b, void *arg)
{
	const struct kept *kept = arg;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;

	if (kept[x].gpa != kept[y].gpa)
		return kept[x].gpa < kept[y].gpa ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* The entries that hold the sweep's place, newest first. */
struct sweep {
	const struct pile *pile;
	size_t *by_start; /* pile->nkept indices */
	size_t next;	  /* in by_start */
	size_t *active;
	size_t nactive;
};

static void sweep_to(struct sweep *s, u64 gpa)
{
	const struct kept *kept = s->pile->kept;
	size_t n = 0;

	for (size_t i = 0; i < s->nactive; i++) {
		if (kept[s->active[i]].end > gpa)
			s->active[n++] = s->active[i];
	}
	s->nactive = n;
	for (; s->next < s->pile->nkept && kept[s->by_start[s->next]].gpa <= gpa; s->next++) {
		const size_t index = s->by_start[s->next];
		size_t at = s->nactive;

		if (kept[index].end <= gpa)
			continue;
		while (at && s->active[at - 1] > index)
			at--;
		memmove(s->active + at + 1, s->active + at, (s->nactive - at) * sizeof(*s->active));
		s->active[at] = index;
		s->nactive++;
	}
}

static int piece_answer(struct builder *b, struct piece *piece, struct moment limit)
{
	const u64 end = piece->end;
	unsigned n = piece_judge(piece, limit, b->next, b->n);

	if (n)
		return builder_add(b, piece->gpa, end, n);
	for (int ret = 0; piece->gpa < end; piece->gpa++) {
		piece->end = piece->gpa + 1;
		n = piece_judge(piece, limit, b->next, b->n);
		ret = builder_add(b, piece->gpa, piece->end, n);
		if (ret)
			return ret;
	}
	return 0;
}

static int pile_answer(const struct pile *p, const struct state *s, const struct query *q,
		       struct builder *b)
{
	u64 *cuts = NULL;
	size_t ncuts = 0;
	struct sweep sweep = {.pile = p};
	int ret = pile_cuts(p, s, &cuts, &ncuts);

	sweep.by_start = malloc((p->nkept + 1) * sizeof(size_t));
	sweep.active = malloc((p->nkept + 1) * sizeof(size_t));
	if (!ret && (!sweep.by_start || !sweep.active))
		ret = -ENOMEM;
	if (!ret) {
		for (size_t i = 0; i < p->nkept; i++)
			sweep.by_start[i] = i;
		qsort_r(sweep.by_start, p->nkept, sizeof(size_t), start_order, p->kept);
	}
	for (size_t i = 0; !ret && i + 1 < ncuts; i++) {
		sweep_to(&sweep, cuts[i]);
		struct piece piece = {p, s, cuts[i], cuts[i + 1], sweep.active, sweep.nactive};
		ret = piece_answer(b, &piece, q->limit);
	}
	if (!ret)
		ret = builder_flush(b);
	free(cuts);
	free(sweep.by_start);
	free(sweep.active);
	return ret;
}

static int request_by_seq(const void *key, const void *item)
{
	const struct write *w = key;
	const struct request *request = item;

	return moment_before(w->at, request->at) ? -1 : moment_before(request->at, w->at);
}

/* Looks up the requests behind the device writes of the pile. */
static int pile_requests(struct pile *p, struct reader *r)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nwrites; i++)
		n += p->writes[i].origin == ORIGIN_VIRTQUEUE;
	if (!n)
		return 0;
	struct request *requests = malloc(n * sizeof(*requests));
	if (!requests)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < p->nwrites; i++) {
		if (p->writes[i].origin == ORIGIN_VIRTQUEUE)
			requests[n++] = p->writes[i].request;
	}
	const int err = ledger_requests(r, requests, n);
	for (size_t i = 0; !err && i < p->nwrites; i++) {
		struct write *w = &p->writes[i];
		const struct request *found =
			w->origin != ORIGIN_VIRTQUEUE
				? NULL
				: bsearch(w, requests, n, sizeof(*requests), request_by_seq);

		if (found)
			w->request = *found;
	}
	free(requests);
	return err;
}

static int window_run(struct reader *r, const struct state *s, const struct query *window,
		      struct builder *b, struct query_stats *stats, char *err, size_t err_size)
{
	struct pile p;
	int ret = pile_collect(&p, r, s, window, err, err_size);

	if (!ret) {
		ret = pile_requests(&p, r);
		if (!ret)
			ret = pile_answer(&p, s, window, b);
		if (ret < 0)
			snprintf(err, err_size, "cannot answer: %s", strerror(-ret));
	}
	if (stats)
		stats->chunks_read += p.chunks_read;
	b->run.nanswers = 0;
	pile_free(&p);
	return ret;
}

int query_run(struct reader *r, const struct state *s, const struct query *q,
	      int (*fn)(void *arg, const struct run *run), void *arg, struct query_stats *stats,
	      char *err, size_t err_size)
{
	struct builder b;
	u64 size = WINDOW_BYTES;

	if (q->end <= q->gpa || q->end - q->gpa > QUERY_BYTES_MAX || !q->n || q->n > QUERY_N_MAX) {
		snprintf(err, err_size, "at most %llu MiB and %d writers can be asked for at once",
			 QUERY_BYTES_MAX >> 20, QUERY_N_MAX);
		return -EINVAL;
	}
	int ret = builder_init(&b, q->n, fn, arg);
	if (ret)
		snprintf(err, err_size, "out of memory");
	if (stats)
		*stats = (struct query_stats){0};
	for (u64 gpa = q->gpa; !ret && gpa < q->end;) {
		struct query window = *q;

		window.gpa = gpa;
		window.end = q->end - gpa > size ? gpa + size : q->end;
		ret = window_run(r, s, &window, &b, stats, err, err_size);
		if (ret == -E2BIG && window.end - window.gpa > 1) {
			size = (window.end - window.gpa) / 2;
			ret = 0;
			continue;
		}
		if (ret == -E2BIG)
			snprintf(err, err_size, "too many events touch 0x%llx to be held in memory",
				 (unsigned long long)gpa);
		gpa = window.end;
	}
	builder_free(&b);
	return ret;
}
