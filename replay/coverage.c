/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers questions about coverage by walking a short list of changes, newest first. Callers that
 * ask often clip the list to their range once.
 */
#include "coverage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The classes that write; ORIGIN_NONE is not one. */
#define WRITERS ((u16)~1u)

static int array_grow(void **array, size_t *max, size_t n, size_t size)
{
	if (n < *max)
		return 0;
	const size_t wanted = *max ? 2 * *max : 16;
	void *bigger = realloc(*array, wanted * size);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*max = wanted;
	return 0;
}

static u64 range_end(u64 gpa, u64 size)
{
	if (!gpa && !size)
		return UINT64_MAX;
	return size > UINT64_MAX - gpa ? UINT64_MAX : gpa + size;
}

int coverage_add(struct coverage *c, const struct event_cover *ev, u64 seq)
{
	if (c->ncovers >= COVERAGE_MAX)
		return -E2BIG;
	const int err =
		array_grow((void **)&c->covers, &c->covers_max, c->ncovers, sizeof(*c->covers));
	if (err)
		return err;
	c->covers[c->ncovers++] = (struct cover){
		.at = {ev->h.t_ns, seq},
		.gpa = ev->gpa,
		.end = range_end(ev->gpa, ev->size),
		.ev = *ev,
	};
	return 0;
}

/* A span may come from a damaged or hostile trace: widen what makes no sense, never narrow it. */
static struct loss loss_of(const struct event_lost *ev, u64 seq)
{
	struct loss loss = {.at = {ev->h.t_ns, seq}, .gpa = ev->gpa, .end = ev->gpa_end, .ev = *ev};

	if ((!loss.gpa && !loss.end) || loss.end <= loss.gpa) {
		loss.gpa = 0;
		loss.end = UINT64_MAX;
	}
	if (loss.ev.t1_ns < loss.ev.t0_ns) {
		loss.ev.t0_ns = 0;
		loss.ev.t1_ns = UINT64_MAX;
	}
	if (!loss.ev.origins)
		loss.ev.origins = WRITERS;
	return loss;
}

int coverage_add_loss(struct coverage *c, const struct event_lost *ev, u64 seq)
{
	const struct loss loss = loss_of(ev, seq);

	if (c->nlosses >= COVERAGE_MAX) {
		struct loss *last = &c->losses[c->nlosses - 1];

		if (loss.gpa < last->gpa)
			last->gpa = loss.gpa;
		if (loss.end > last->end)
			last->end = loss.end;
		if (loss.ev.t0_ns < last->ev.t0_ns)
			last->ev.t0_ns = loss.ev.t0_ns;
		if (loss.ev.t1_ns > last->ev.t1_ns)
			last->ev.t1_ns = loss.ev.t1_ns;
		last->ev.count += loss.ev.count;
		last->ev.origins |= loss.ev.origins;
		return 0;
	}
	const int err =
		array_grow((void **)&c->losses, &c->losses_max, c->nlosses, sizeof(*c->losses));
	if (err)
		return err;
	c->losses[c->nlosses++] = loss;
	return 0;
}

static int cover_order(const void *a, const void *b)
{
	const struct cover *x = a, *y = b;

	return moment_before(x->at, y->at) ? -1 : moment_before(y->at, x->at);
}

static int loss_order(const void *a, const void *b)
{
	const struct loss *x = a, *y = b;

	if (x->ev.t0_ns != y->ev.t0_ns)
		return x->ev.t0_ns < y->ev.t0_ns ? -1 : 1;
	return moment_before(x->at, y->at) ? -1 : moment_before(y->at, x->at);
}

void coverage_sort(struct coverage *c)
{
	if (c->ncovers)
		qsort(c->covers, c->ncovers, sizeof(*c->covers), cover_order);
	if (c->nlosses)
		qsort(c->losses, c->nlosses, sizeof(*c->losses), loss_order);
}

void coverage_free(struct coverage *c)
{
	free(c->covers);
	free(c->losses);
	*c = (struct coverage){0};
}

int coverage_clip(const struct coverage *from, u64 gpa, u64 end, struct coverage *out)
{
	int err = 0;

	*out = (struct coverage){0};
	for (size_t i = 0; i < from->ncovers && !err; i++) {
		if (from->covers[i].gpa >= end || from->covers[i].end <= gpa)
			continue;
		err = array_grow((void **)&out->covers, &out->covers_max, out->ncovers,
				 sizeof(*out->covers));
		if (!err)
			out->covers[out->ncovers++] = from->covers[i];
	}
	for (size_t i = 0; i < from->nlosses && !err; i++) {
		if (from->losses[i].gpa >= end || from->losses[i].end <= gpa)
			continue;
		err = array_grow((void **)&out->losses, &out->losses_max, out->nlosses,
				 sizeof(*out->losses));
		if (!err)
			out->losses[out->nlosses++] = from->losses[i];
	}
	if (err)
		coverage_free(out);
	return err;
}

/* Number of covers at or before a moment. */
static size_t covers_until(const struct coverage *c, struct moment at)
{
	size_t lo = 0, hi = c->ncovers;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (moment_before(at, c->covers[mid].at))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Among the first n covers, newest first, what settles each byte; parts left over go down the list.
 */
static bool on_among(const struct coverage *c, size_t n, enum origin origin, u64 gpa, u64 end)
{
	while (n && gpa < end) {
		const struct cover *cover = &c->covers[--n];

		if (cover->ev.origin != origin || cover->gpa >= end || cover->end <= gpa)
			continue;
		if (cover->ev.on)
			return true;
		if (cover->gpa > gpa && cover->end < end) {
			if (on_among(c, n, origin, gpa, cover->gpa))
				return true;
			gpa = cover->end;
		} else if (cover->gpa > gpa) {
			end = cover->gpa;
		} else {
			gpa = cover->end;
		}
	}
	return false;
}

bool coverage_on(const struct coverage *c, enum origin origin, u64 gpa, u64 end, struct moment at)
{
	return on_among(c, covers_until(c, at), origin, gpa, end);
}

bool coverage_on_within(const struct coverage *c, enum origin origin, u64 gpa, u64 t0_ns, u64 t1_ns)
{
	size_t n = covers_until(c, (struct moment){t1_ns, UINT64_MAX});

	while (n) {
		const struct cover *cover = &c->covers[--n];

		if (cover->ev.origin != origin || cover->gpa > gpa || cover->end <= gpa)
			continue;
		if (cover->ev.on)
			return true;
		if (cover->at.t_ns < t0_ns)
			return false;
	}
	return false;
}

/* What silence of a class means where no event speaks of it. */
static enum why why_default(enum origin origin)
{
	return origin == ORIGIN_VCPU ? WHY_NOT_WATCHED : WHY_NO_PROBE;
}

struct horizon coverage_horizon(const struct coverage *c, enum origin origin, u64 gpa,
				struct moment limit)
{
	struct horizon h = {.first = true, .since = limit, .why = why_default(origin)};
	bool broken = false;

	for (size_t n = c->ncovers; n-- > 0;) {
		const struct cover *cover = &c->covers[n];

		if (cover->ev.origin != origin || cover->gpa > gpa || cover->end <= gpa ||
		    !moment_before(cover->at, limit))
			continue;
		if (cover->ev.on && broken) {
			h.first = false;
			break;
		}
		if (cover->ev.on) {
			h.on = true;
			h.since = cover->at;
		} else if (!h.on && cover->ev.why == WHY_ENDED && moment_is_end(limit)) {
			continue;
		} else if (h.on && cover->ev.why == WHY_NO_RAM) {
			continue;
		} else if (!broken) {
			broken = true;
			h.off = cover->at;
			if (cover->ev.why != WHY_NONE)
				h.why = cover->ev.why;
		}
	}
	return h;
}

static enum blind_level blind_level(const struct event_cover *ev)
{
	if (ev->on)
		return BLIND_NOT;
	return !ev->gpa && !ev->size && ev->why != WHY_NO_PROBE ? BLIND_MAYBE : BLIND_HERE;
}

struct blind coverage_blind(const struct coverage *c, enum origin origin, u64 gpa,
			    struct moment from, struct moment limit)
{
	struct blind now = {.level = BLIND_NOT, .until = MOMENT_END}, worst = now;

	for (size_t i = 0; i < c->ncovers; i++) {
		const struct cover *cover = &c->covers[i];
		const enum blind_level level = blind_level(&cover->ev);

		if (cover->ev.origin != origin || cover->gpa > gpa || cover->end <= gpa)
			continue;
		if (!moment_before(cover->at, limit))
			break;
		/* That it runs takes nothing back of what it may write. */
		if (level != BLIND_MAYBE || now.level < BLIND_MAYBE)
			now = (struct blind){level, cover->ev.why, cover->at, MOMENT_END};
		if (moment_before(cover->at, from) || now.level >= worst.level)
			worst = now;
		else if (moment_is_end(worst.until))
			worst.until = cover->at;
	}
	return worst;
}

void coverage_losses(const struct coverage *c, u64 gpa, struct moment from, struct moment limit,
		     struct losses *out)
{
	*out = (struct losses){.t0_ns = UINT64_MAX, .gpa = UINT64_MAX};
	for (size_t i = 0; i < c->nlosses; i++) {
		const struct loss *loss = &c->losses[i];
		u16 origins = 0;

		if (loss->ev.t0_ns > limit.t_ns)
			break;
		if (loss->ev.t1_ns < from.t_ns || loss->gpa > gpa || loss->end <= gpa)
			continue;
		for (unsigned o = ORIGIN_VCPU; o < ORIGIN_MAX; o++) {
			if (loss->ev.origins & 1u << o &&
			    coverage_on_within(c, o, gpa, loss->ev.t0_ns, loss->ev.t1_ns))
				origins |= (u16)(1u << o);
		}
		if (!origins)
			continue;
		out->count += loss->ev.count ? loss->ev.count : 1;
		out->origins |= origins;
		if (loss->ev.t0_ns < out->t0_ns)
			out->t0_ns = loss->ev.t0_ns;
		if (loss->ev.t1_ns > out->t1_ns)
			out->t1_ns = loss->ev.t1_ns;
		if (loss->gpa < out->gpa)
			out->gpa = loss->gpa;
		if (loss->end > out->end)
			out->end = loss->end;
	}
}
