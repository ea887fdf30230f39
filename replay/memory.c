/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One walk from the moment backward: the first entry that holds a byte settles it, for good or,
 * when its bytes were not captured or are no longer to be trusted, as unknown.
 */
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/delta.h"

/* Transfers whose captures may still come, at most; bytes of further ones are not known. */
#define PENDING_MAX 2048

enum cell {
	CELL_OPEN,    /* nothing found yet */
	CELL_KNOWN,   /* settled */
	CELL_UNKNOWN, /* settled too */
	CELL_PENDING, /* written by a transfer whose capture has not come yet */
};

/* Addresses over which entries are to be believed from the same moment on. */
struct span {
	u64 gpa, end;
	struct moment since; /* MOMENT_END: never */
};

struct pending {
	struct moment at;
	u64 req, gpa, end;
};

struct image {
	u64 gpa, end;
	struct moment limit;
	u8 *data;
	u8 *cells;   /* enum cell, one a byte */
	size_t open; /* cells that are open or pending */
	struct span *spans;
	size_t nspans;
	struct pending *pending; /* PENDING_MAX, newest transfer first */
	size_t npending;
	const struct state *state;
};

static int u64_order(const void *a, const void *b)
{
	const u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static struct moment moment_max(struct moment a, struct moment b)
{
	return moment_before(a, b) ? b : a;
}

/* From when on nothing can have written the byte unseen until the limit. */
static struct moment trusted_since(const struct coverage *c, const struct state *s, u64 gpa,
				   struct moment limit)
{
	const struct horizon vcpu = coverage_horizon(c, ORIGIN_VCPU, gpa, limit);
	const struct horizon virtqueue = coverage_horizon(c, ORIGIN_VIRTQUEUE, gpa, limit);
	struct losses losses;
	struct moment since;

	/* Where memory is compared, what devices wrote comes with the comparison after it. */
	const bool compared = state_comparison(s, gpa, limit);

	if (!vcpu.on || (!virtqueue.on && !compared))
		return MOMENT_END;
	since = compared ? vcpu.since : moment_max(vcpu.since, virtqueue.since);
	const struct comparison *last = state_comparison_before(s, gpa, limit);
	coverage_losses(c, gpa, last ? last->at : MOMENT_START, limit, &losses);
	if (losses.count)
		since = moment_max(since, (struct moment){losses.t1_ns, UINT64_MAX});
	const struct blind vhost = coverage_blind(c, ORIGIN_VHOST, gpa, since, limit);
	if (vhost.level == BLIND_HERE)
		since = vhost.until;
	/* What is written to a used ring comes with a comparison, too. */
	const struct ring *ring = compared ? NULL : state_ring(s, gpa, since, limit);
	return ring ? moment_max(since, ring->until) : since;
}

static int spans_build(struct image *m, const struct state *s)
{
	struct coverage c;
	int err = coverage_clip(&s->coverage, m->gpa, m->end, &c);

	if (err)
		return err;
	const size_t max = 2 * (1 + c.ncovers + c.nlosses + s->nrings + s->ncomparisons);
	u64 *cuts = malloc(max * sizeof(*cuts));
	m->spans = malloc(max * sizeof(*m->spans));
	if (!cuts || !m->spans) {
		free(cuts);
		coverage_free(&c);
		return -ENOMEM;
	}
	size_t n = 0;
	cuts[n++] = m->gpa;
	cuts[n++] = m->end;
	for (size_t i = 0; i < c.ncovers; i++) {
		cuts[n++] = c.covers[i].gpa;
		cuts[n++] = c.covers[i].end;
	}
	for (size_t i = 0; i < c.nlosses; i++) {
		cuts[n++] = c.losses[i].gpa;
		cuts[n++] = c.losses[i].end;
	}
	for (size_t i = 0; i < s->nrings; i++) {
		cuts[n++] = s->rings[i].gpa;
		cuts[n++] = s->rings[i].end;
	}
	for (size_t i = 0; i < s->ncomparisons; i++) {
		const struct comparison *one = &s->comparisons[i];

		if (one->gpa > m->gpa && one->gpa < m->end) /* most are of all memory */
			cuts[n++] = one->gpa;
		if (one->end > m->gpa && one->end < m->end)
			cuts[n++] = one->end;
	}
	qsort(cuts, n, sizeof(*cuts), u64_order);
	u64 at = m->gpa;
	for (size_t i = 0; i < n; i++) {
		if (cuts[i] <= at || cuts[i] > m->end)
			continue;
		m->spans[m->nspans++] =
			(struct span){at, cuts[i], trusted_since(&c, s, at, m->limit)};
		at = cuts[i];
	}
	free(cuts);
	coverage_free(&c);
	return 0;
}

static const struct span *span_of(const struct image *m, u64 gpa)
{
	size_t lo = 0, hi = m->nspans;

	while (hi - lo > 1) {
		const size_t mid = lo + (hi - lo) / 2;

		if (m->spans[mid].gpa <= gpa)
			lo = mid;
		else
			hi = mid;
	}
	return &m->spans[lo];
}

/* Of a store that raced what it left is known only once memory was compared again. */
static bool raced(const struct image *m, const struct entry *e)
{
	if (e->kind != ENTRY_STORE || e->ev->kind != EVENT_store ||
	    !((const struct event_store *)e->ev)->raced)
		return false;
	const struct comparison *c = state_comparison(m->state, e->gpa, e->at);

	if (!c)
		return true;
	/* A mark is put where memory is compared, ahead of what tells so. */
	for (size_t i = 0; i < m->state->nmarks; i++) {
		const struct moment at = m->state->marks[i].at;

		if (!moment_before(at, e->at) && !moment_before(m->limit, at))
			return false;
	}
	return moment_before(m->limit, c->at);
}

static void cell_settle(struct image *m, size_t i, const struct entry *e, bool trusted)
{
	m->open--;
	m->cells[i] = trusted ? CELL_KNOWN : CELL_UNKNOWN;
	if (trusted)
		m->data[i] = e->bytes[m->gpa + i - e->gpa];
}

/* Whether the capture belongs to the transfer that left the byte pending: the newest that holds it.
 */
static bool capture_awaited(const struct image *m, const struct entry *e, u64 gpa)
{
	for (size_t i = 0; i < m->npending; i++) {
		const struct pending *p = &m->pending[i];

		if (p->gpa <= gpa && gpa < p->end)
			return p->req == e->req && (p->req || p->at.t_ns == e->at.t_ns);
	}
	return false;
}

static void image_take(struct image *m, const struct entry *e)
{
	const u64 gpa = e->gpa > m->gpa ? e->gpa : m->gpa;
	const u64 end = e->end < m->end ? e->end : m->end;
	const bool final =
		e->kind == ENTRY_LOOK && e->look == CONTENT_WHY_END && moment_is_end(m->limit);
	const struct span *span = NULL;
	const bool doubtful = raced(m, e);
	bool trusted = false, pending = false;

	for (u64 at = gpa; at < end; at++) {
		const size_t i = at - m->gpa;
		const enum cell cell = m->cells[i];

		if (cell == CELL_KNOWN || cell == CELL_UNKNOWN)
			continue;
		if (cell == CELL_PENDING &&
		    !(e->kind == ENTRY_CAPTURE && capture_awaited(m, e, at)))
			continue;
		if (!span || at >= span->end) {
			span = span_of(m, at);
			trusted = final || e->at.t_ns == m->limit.t_ns ||
				  !moment_before(e->at, span->since);
			trusted = trusted && !doubtful;
		}
		if (e->kind != ENTRY_TRANSFER || !trusted || m->npending == PENDING_MAX) {
			cell_settle(m, i, e, trusted && e->bytes);
			continue;
		}
		m->cells[i] = CELL_PENDING;
		pending = true;
	}
	if (pending)
		m->pending[m->npending++] = (struct pending){e->at, e->req, gpa, end};
}

/* Where memory is compared, all that was not zero at the beginning was told of then. */
static void image_zero(struct image *m, const struct state *s)
{
	const struct span *span = NULL;

	for (size_t i = 0; s->ncomparisons && m->open && i < m->end - m->gpa; i++) {
		const u64 at = m->gpa + i;

		if (m->cells[i] != CELL_OPEN)
			continue;
		if (!span || at >= span->end)
			span = span_of(m, at);
		if (moment_is_end(span->since))
			continue;
		m->open--;
		m->cells[i] = CELL_KNOWN;
	}
}

/* Words whose bytes are all settled need no earlier stores. */
static bool image_wants(void *arg, u64 gpa, const u64 *words)
{
	const struct image *m = arg;

	for (u64 i = 0; i < 4096; i++) {
		const u64 at = gpa + i;

		if (!(words[i / 512] >> i / 8 % 64 & 1)) {
			i |= 7;
			continue;
		}
		if (at >= m->gpa && at < m->end &&
		    (m->cells[at - m->gpa] == CELL_OPEN || m->cells[at - m->gpa] == CELL_PENDING))
			return true;
	}
	return false;
}

static int image_walk(struct image *m, struct reader *r, const struct state *s, char *err,
		      size_t err_size)
{
	const struct ledger_spec spec = {
		.gpa = m->gpa,
		.end = m->end,
		.limit = m->limit,
		.backward = true,
		.wants = image_wants,
		.wants_arg = m,
	};
	struct ledger *l = NULL;
	int ret = ledger_open(&l, r, &s->coverage, &spec);
	struct entry e;

	if (ret) {
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
		return ret;
	}
	while (m->open && (ret = ledger_next(l, &e)) == 1)
		image_take(m, &e);
	if (!ret)
		image_zero(m, s);
	if (ret < 0)
		snprintf(err, err_size, "%s", ledger_message(l));
	ledger_close(l);
	return ret < 0 ? ret : 0;
}

int memory_read(struct reader *r, const struct state *s, u64 gpa, size_t len, struct moment limit,
		u8 *data, bool *known, char *err, size_t err_size)
{
	struct image m = {.gpa = gpa,
			  .end = gpa + len,
			  .limit = limit,
			  .data = data,
			  .open = len,
			  .state = s};

	memset(data, 0, len);
	memset(known, 0, len * sizeof(*known));
	if (!len || len > MEMORY_WINDOW_MAX || gpa > UINT64_MAX - len) {
		snprintf(err, err_size, "not a window of memory");
		return -EINVAL;
	}
	m.cells = calloc(len, 1);
	m.pending = malloc(PENDING_MAX * sizeof(*m.pending));
	int ret = m.cells && m.pending ? spans_build(&m, s) : -ENOMEM;
	if (ret)
		snprintf(err, err_size, "%s", strerror(-ret));
	else
		ret = image_walk(&m, r, s, err, err_size);
	for (size_t i = 0; !ret && i < len; i++)
		known[i] = m.cells[i] == CELL_KNOWN;
	free(m.cells);
	free(m.pending);
	free(m.spans);
	return ret;
}

int memory_untouched(const struct state *s, u64 gpa, u64 end, struct moment limit, u64 *known)
{
	struct image m = {.gpa = gpa, .end = end, .limit = limit, .state = s};

	*known = 0;
	if (!s->ncomparisons || gpa >= end)
		return 0;
	const int err = spans_build(&m, s);
	for (size_t i = 0; !err && i < m.nspans; i++)
		if (!moment_is_end(m.spans[i].since))
			*known += m.spans[i].end - m.spans[i].gpa;
	free(m.spans);
	return err;
}

struct doubts {
	u64 gpa, end;
	struct moment limit;
	bool *known;
};

static int doubts_take(void *arg, const struct event *ev, u64 seq, const struct stores *stores)
{
	const struct event_version *v = (const struct event_version *)ev;
	const struct doubts *d = arg;
	struct delta delta;

	(void)stores;
	if (!v || moment_before((struct moment){ev->t_ns, seq}, d->limit) ||
	    v->t0_ns >= d->limit.t_ns || v->len > sizeof(v->data))
		return 0;
	for (delta = delta_open(v->data, v->len); delta_next(&delta);) {
		const u64 gpa = v->gpa + delta.off, end = gpa + delta.len;

		for (u64 at = gpa > d->gpa ? gpa : d->gpa; at < end && at < d->end; at++)
			d->known[at - d->gpa] = false;
	}
	return 0;
}

int memory_show(struct reader *r, const struct state *s, u64 gpa, size_t len, struct moment limit,
		u8 *data, bool *known, char *err, size_t err_size)
{
	static const bool versions[EVENT_MAX] = {[EVENT_version] = true};
	/* Windows do not reach over a comparison of all memory. */
	const struct comparison *next = state_comparison(s, gpa, limit);
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_CONTENT,
		.gpa = gpa,
		.gpa_end = gpa + len,
		.t_min = limit.t_ns,
		.t_max = next && !moment_before(next->at, limit) ? next->at.t_ns : 0,
		.kinds = versions,
	};
	struct doubts doubts = {gpa, gpa + len, limit, known};
	int ret = memory_read(r, s, gpa, len, limit, data, known, err, err_size);

	if (!ret && !moment_is_end(limit))
		ret = reader_each(r, &spec, doubts_take, &doubts, NULL, err, err_size);
	for (size_t i = 0; !ret && i < len; i++)
		data[i] = known[i] ? data[i] : 0;
	return ret;
}
