/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays the ledger forward. Entries wait in a queue for the captures of their bytes and for the
 * requests behind them, then leave it in order, each telling what it replaced.
 */
#include "history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "shadow.h"

#define QUEUE_MAX    4096
#define QUEUE_STAYS  256 /* entries that may still get captures when the queue is emptied */
#define QUEUE_BYTES  (64u << 20)
#define TRANSFER_MAX (16u << 20) /* of one transfer; beyond, its bytes are left out */
#define CAPTURES_MAX 256	 /* that wait for their transfer */
#define ACTIVE_MAX   64
#define COVERS_MAX   1024     /* with more of them all is played */
#define CAPTURE_NS   10000000 /* a capture lies no further ahead of its transfer */

struct queued {
	bool is_write;
	struct write write; /* .at, .gpa and .end of a look too */
	u64 gpa, end;	    /* clipped */
	u8 *bytes;	    /* end - gpa, or NULL */
	u64 missing;	    /* bytes not captured yet */
};

struct capture {
	struct moment at;
	u64 req, gpa, end;
	u8 *bytes;
};

struct player {
	struct reader *reader;
	const struct state *state;
	const struct history *h;
	int (*fn)(void *arg, const struct history_item *item);
	void *arg;
	struct coverage coverage; /* clipped */
	struct shadow shadow;
	struct queued *queue; /* QUEUE_MAX */
	size_t nqueue;
	u64 queue_bytes;
	struct capture *captures; /* ring of CAPTURES_MAX */
	size_t ncaptures;
	size_t next_cover, next_loss;
	struct loss active[ACTIVE_MAX]; /* losses that span the present moment */
	size_t nactive;
	u8 *old; /* scratch */
	size_t old_max;
};

static bool within(const struct history *h, struct moment at)
{
	return !moment_before(at, h->from) && moment_before(at, h->limit);
}

static int state_emit(struct player *p, const struct event *ev, struct moment at)
{
	if (!within(p->h, at))
		return 0;
	return p->fn(p->arg, &(struct history_item){.event = ev, .seq = at.seq});
}

/* Many losses at once are as good as one that spans them. */
static void active_add(struct player *p, const struct loss *loss)
{
	if (p->nactive < ACTIVE_MAX) {
		p->active[p->nactive++] = *loss;
		return;
	}
	struct loss *last = &p->active[ACTIVE_MAX - 1];
	if (loss->gpa < last->gpa)
		last->gpa = loss->gpa;
	if (loss->end > last->end)
		last->end = loss->end;
	if (loss->ev.t1_ns > last->ev.t1_ns)
		last->ev.t1_ns = loss->ev.t1_ns;
}

/* Tells of the covers and losses up to a moment, in order, and forgets what they put in doubt. */
static int advance(struct player *p, struct moment to)
{
	const struct coverage *c = &p->coverage;
	int ret = 0;

	while (!ret) {
		const struct cover *cover =
			p->next_cover < c->ncovers ? &c->covers[p->next_cover] : NULL;
		const struct loss *loss =
			p->next_loss < c->nlosses ? &c->losses[p->next_loss] : NULL;

		if (cover && !moment_before(cover->at, to))
			cover = NULL;
		if (loss && loss->ev.t0_ns > to.t_ns)
			loss = NULL;
		if (!cover && !loss)
			break;
		if (cover && (!loss || cover->at.t_ns <= loss->ev.t0_ns)) {
			p->next_cover++;
			if (!cover->ev.on && cover->ev.why != WHY_NO_RAM)
				shadow_forget(&p->shadow, cover->gpa, cover->end);
			ret = state_emit(p, &cover->ev.h, cover->at);
		} else {
			p->next_loss++;
			shadow_forget(&p->shadow, loss->gpa, loss->end);
			active_add(p, loss);
			ret = state_emit(p, &loss->ev.h,
					 (struct moment){loss->ev.t0_ns, loss->at.seq});
		}
	}
	size_t n = 0;
	for (size_t i = 0; i < p->nactive; i++) {
		if (p->active[i].ev.t1_ns >= to.t_ns)
			p->active[n++] = p->active[i];
	}
	p->nactive = n;
	return ret;
}

/* End of the bytes from gpa on that share their coverage, at most end. */
static u64 coverage_until(const struct coverage *c, u64 gpa, u64 end)
{
	for (size_t i = 0; i < c->ncovers; i++) {
		if (c->covers[i].gpa > gpa && c->covers[i].gpa < end)
			end = c->covers[i].gpa;
		if (c->covers[i].end > gpa && c->covers[i].end < end)
			end = c->covers[i].end;
	}
	return end;
}

/* Whether what a byte was left with is known until an entry tells of another: every class of writer
 * that can change it is observed. */
static bool holds(const struct player *p, u64 gpa, struct moment at)
{
	return coverage_on(&p->coverage, ORIGIN_VCPU, gpa, gpa + 1, at) &&
	       coverage_on(&p->coverage, ORIGIN_VIRTQUEUE, gpa, gpa + 1, at) &&
	       !coverage_blind(&p->coverage, ORIGIN_VHOST, gpa, at, MOMENT_END).level;
}

/* Forgets what may change without an entry of its own. */
static void forget_doubtful(struct player *p, u64 gpa, u64 end)
{
	for (size_t i = 0; i < p->nactive; i++)
		shadow_forget(&p->shadow, p->active[i].gpa, p->active[i].end);
	for (size_t i = 0; i < p->state->nrings; i++) {
		const struct ring *ring = &p->state->rings[i];

		if (ring->gpa < end && gpa < ring->end)
			shadow_forget(&p->shadow, ring->gpa, ring->end);
	}
}

/* Remembers what the entry left. */
static int remember(struct player *p, const struct queued *q)
{
	int err = 0;

	shadow_forget(&p->shadow, q->gpa, q->end);
	if (!q->bytes || q->missing)
		return 0;
	for (u64 gpa = q->gpa, end; gpa < q->end && !err; gpa = end) {
		end = coverage_until(&p->coverage, gpa, q->end);
		if (holds(p, gpa, q->write.at))
			err = shadow_set(&p->shadow, gpa, end, q->bytes + (gpa - q->gpa));
	}
	forget_doubtful(p, q->gpa, q->end);
	return err;
}

static int queued_emit(struct player *p, struct queued *q)
{
	const size_t len = q->end - q->gpa;
	int ret = advance(p, q->write.at);
	bool old = false;

	if (ret)
		return ret;
	if (q->is_write && within(p->h, q->write.at)) {
		if (p->shadow.pages && len > p->old_max) {
			u8 *bigger = realloc(p->old, len);
			if (!bigger)
				return -ENOMEM;
			p->old = bigger;
			p->old_max = len;
		}
		old = p->shadow.pages && shadow_get(&p->shadow, q->gpa, q->end, p->old);
		const struct history_item item = {
			.write = &q->write,
			.gpa = q->gpa,
			.end = q->end,
			.bytes = q->missing ? NULL : q->bytes,
			.old = old ? p->old : NULL,
		};
		ret = p->fn(p->arg, &item);
	}
	return ret ? ret : remember(p, q);
}

static int queue_requests(struct player *p, size_t n)
{
	struct request *requests = malloc((n + 1) * sizeof(*requests));
	size_t count = 0;

	if (!requests)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (p->queue[i].is_write && p->queue[i].write.origin == ORIGIN_VIRTQUEUE)
			requests[count++] = p->queue[i].write.request;
	}
	const int err = ledger_requests(p->reader, requests, count);
	for (size_t i = 0, k = 0; !err && k < count && i < n; i++) {
		struct write *w = &p->queue[i].write;

		if (!p->queue[i].is_write || w->origin != ORIGIN_VIRTQUEUE)
			continue;
		/* Sorted by moment now; the queue nearly is: look around. */
		for (size_t at = 0; at < count; at++) {
			if (requests[(k + at) % count].at.seq == w->at.seq) {
				w->request = requests[(k + at) % count];
				break;
			}
		}
		k++;
	}
	free(requests);
	return err;
}

/* Lets the first n entries go. */
static int queue_drain(struct player *p, size_t n)
{
	int ret = queue_requests(p, n);

	for (size_t i = 0; i < n; i++) {
		if (!ret)
			ret = queued_emit(p, &p->queue[i]);
		if (p->queue[i].bytes)
			p->queue_bytes -= p->queue[i].end - p->queue[i].gpa;
		free(p->queue[i].bytes);
	}
	p->nqueue -= n;
	memmove(p->queue, p->queue + n, p->nqueue * sizeof(*p->queue));
	return ret;
}

/* Copies what of [gpa,end) a queued transfer still misses. */
static void queued_fill(struct queued *q, u64 gpa, u64 end, const u8 *bytes)
{
	const u64 to = end < q->end ? end : q->end;
	u8 *filled;

	if (!q->bytes || !q->missing)
		return;
	filled = q->bytes + (q->end - q->gpa);
	for (u64 at = gpa > q->gpa ? gpa : q->gpa; at < to; at++) {
		const u64 i = at - q->gpa;

		if (filled[i])
			continue;
		filled[i] = 1;
		q->bytes[i] = bytes[at - gpa];
		q->missing--;
	}
}

static bool capture_belongs(const struct write *w, u64 req, struct moment at)
{
	return w->origin == ORIGIN_VIRTQUEUE && w->request.req == req &&
	       (req || w->at.t_ns == at.t_ns);
}

static int capture_take(struct player *p, const struct entry *e, u64 gpa, u64 end)
{
	const u8 *bytes = e->bytes + (gpa - e->gpa);

	for (size_t i = 0; i < p->nqueue; i++) {
		if (p->queue[i].is_write && capture_belongs(&p->queue[i].write, e->req, e->at))
			queued_fill(&p->queue[i], gpa, end, bytes);
	}
	struct capture *c = &p->captures[p->ncaptures++ % CAPTURES_MAX];
	free(c->bytes);
	*c = (struct capture){.at = e->at, .req = e->req, .gpa = gpa, .end = end};
	c->bytes = malloc(end - gpa);
	if (!c->bytes)
		return -ENOMEM;
	memcpy(c->bytes, bytes, end - gpa);
	return 0;
}

static int queue_take(struct player *p, const struct entry *e, u64 gpa, u64 end)
{
	if (p->nqueue == QUEUE_MAX || p->queue_bytes > QUEUE_BYTES) {
		const size_t n = p->nqueue > 2 * QUEUE_STAYS ? p->nqueue - QUEUE_STAYS : p->nqueue;
		const int ret = queue_drain(p, n);

		if (ret)
			return ret;
	}
	struct queued *q = &p->queue[p->nqueue];
	*q = (struct queued){
		.is_write = entry_is_write(e), .write = entry_write(e), .gpa = gpa, .end = end};
	/* Behind nothing that waits, whose bytes are there, does not wait. */
	if (!p->nqueue && e->bytes) {
		q->bytes = (u8 *)(uintptr_t)e->bytes + (gpa - e->gpa);
		return queued_emit(p, q);
	}
	if (e->bytes || end - gpa <= TRANSFER_MAX) {
		q->bytes = calloc(end - gpa, 2);
		if (!q->bytes)
			return -ENOMEM;
		p->queue_bytes += end - gpa;
	}
	p->nqueue++;
	if (e->bytes) {
		memcpy(q->bytes, e->bytes + (gpa - e->gpa), end - gpa);
		return 0;
	}
	q->missing = end - gpa;
	for (size_t i = 0; i < p->ncaptures && i < CAPTURES_MAX; i++) {
		const struct capture *c = &p->captures[i];

		if (capture_belongs(&q->write, c->req, c->at))
			queued_fill(q, c->gpa, c->end, c->bytes);
	}
	return 0;
}

/* What the range held at a moment, so that nothing before it need be played. */
static int begin_at(struct player *p, struct moment at, char *err, size_t err_size)
{
	const u64 gpa = p->h->gpa, end = p->h->end;
	u8 *data = malloc(end - gpa);
	bool *known = malloc((end - gpa) * sizeof(*known)), any = false;
	int ret = data && known ? advance(p, at) : -ENOMEM;

	for (u64 from = gpa; from < end && !ret && !any;
	     from = coverage_until(&p->coverage, from, end))
		any = holds(p, from, at);
	if (any)
		ret = memory_read(p->reader, p->state, gpa, end - gpa, at, data, known, err,
				  err_size);
	for (u64 from = gpa, to; any && from < end && !ret; from = to) {
		to = coverage_until(&p->coverage, from, end);
		if (!holds(p, from, at))
			continue;
		for (u64 i = from, n; i < to && !ret; i += n) {
			for (n = 1; i + n < to && known[i + n - gpa] == known[i - gpa]; n++)
				;
			if (known[i - gpa])
				ret = shadow_set(&p->shadow, i, i + n, data + (i - gpa));
		}
	}
	free(data);
	free(known);
	forget_doubtful(p, gpa, end);
	return ret;
}

static int player_run(struct player *p, char *err, size_t err_size)
{
	struct ledger_spec spec = {.gpa = p->h->gpa, .end = p->h->end, .limit = p->h->limit};
	struct ledger *l = NULL;
	struct entry e;
	int ret = 0;

	if (p->h->from.t_ns > CAPTURE_NS && p->h->end - p->h->gpa <= MEMORY_WINDOW_MAX &&
	    p->coverage.ncovers <= COVERS_MAX) {
		spec.from = (struct moment){p->h->from.t_ns - CAPTURE_NS, 0};
		ret = begin_at(p, spec.from, err, err_size);
	}
	if (!ret)
		ret = ledger_open(&l, p->reader, &p->coverage, &spec);
	if (ret)
		return ret;
	while (!ret) {
		const int more = ledger_next(l, &e);

		if (more != 1) {
			ret = more;
			if (ret < 0)
				snprintf(err, err_size, "%s", ledger_message(l));
			break;
		}
		const u64 gpa = e.gpa > p->h->gpa ? e.gpa : p->h->gpa;
		const u64 end = e.end < p->h->end ? e.end : p->h->end;
		ret = e.kind == ENTRY_CAPTURE ? capture_take(p, &e, gpa, end)
					      : queue_take(p, &e, gpa, end);
	}
	ledger_close(l);
	/* What was read before the damage is told nonetheless. */
	const int drained = queue_drain(p, p->nqueue);
	if (!ret)
		ret = drained;
	return ret ? ret : advance(p, p->h->limit);
}

int history_run(struct reader *r, const struct state *s, const struct history *h,
		int (*fn)(void *arg, const struct history_item *item), void *arg, char *err,
		size_t err_size)
{
	struct player *p = calloc(1, sizeof(*p));
	int ret = p ? 0 : -ENOMEM;

	err[0] = 0;
	if (p) {
		*p = (struct player){.reader = r, .state = s, .h = h, .fn = fn, .arg = arg};
		p->queue = malloc(QUEUE_MAX * sizeof(*p->queue));
		p->captures = calloc(CAPTURES_MAX, sizeof(*p->captures));
		if (!p->queue || !p->captures)
			ret = -ENOMEM;
		if (!ret)
			ret = shadow_init(&p->shadow, h->gpa, h->end, HISTORY_OLD_MAX);
		if (!ret)
			ret = coverage_clip(&s->coverage, h->gpa, h->end, &p->coverage);
		if (!ret)
			ret = player_run(p, err, err_size);
		for (size_t i = 0; p->captures && i < CAPTURES_MAX; i++)
			free(p->captures[i].bytes);
		coverage_free(&p->coverage);
		shadow_free(&p->shadow);
		free(p->captures);
		free(p->queue);
		free(p->old);
		free(p);
	}
	if (ret < 0 && !err[0])
		snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	return ret;
}
