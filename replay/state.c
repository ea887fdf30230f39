/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the STATE stream forward once. Bounded: each list holds at most STATE_MAX entries, and a
 * trace with more is refused rather than half believed.
 */
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/desc.h"

#define STATE_MAX 1000000

/* Virtio 1.2 section 2.7: flags, idx, one 8-byte element a descriptor, avail_event. */
#define USED_BYTES(qsize) (4 + 8 * (u64)(qsize) + 2)
#define QSIZE_ASSUMED	  1024

static int list_room(void **list, size_t *max, size_t n, size_t size)
{
	if (n < *max)
		return 0;
	if (n >= STATE_MAX)
		return -E2BIG;
	const size_t wanted = *max ? 2 * *max : 8;
	void *bigger = realloc(*list, wanted * size);
	if (!bigger)
		return -ENOMEM;
	*list = bigger;
	*max = wanted;
	return 0;
}

static int device_add(struct state *s, const struct event_vq_device *ev)
{
	for (size_t i = 0; i < s->ndevices; i++) {
		if (s->devices[i].dev == ev->dev) {
			s->devices[i].device_id = ev->device_id;
			return 0;
		}
	}
	const int err =
		list_room((void **)&s->devices, &s->devices_max, s->ndevices, sizeof(*s->devices));
	if (err)
		return err;
	s->devices[s->ndevices++] = (struct device){ev->dev, ev->device_id};
	return 0;
}

/* The available ring follows the descriptors, 16 bytes each, so where they are laid out in one
 * piece the distance bounds the queue's size. */
static u64 ring_bytes(const struct event_vq_rings *ev)
{
	u64 qsize = ev->size ? ev->size : QSIZE_ASSUMED;

	if (!ev->size && ev->avail > ev->desc && (ev->avail - ev->desc) / 16 < qsize)
		qsize = (ev->avail - ev->desc) / 16;
	return USED_BYTES(qsize);
}

static int ring_add(struct state *s, const struct event_vq_rings *ev, u64 seq)
{
	const struct moment at = {ev->h.t_ns, seq};

	for (size_t i = s->nrings; i-- > 0;) {
		struct ring *ring = &s->rings[i];

		if (ring->dev != ev->dev || ring->queue != ev->queue)
			continue;
		if (moment_is_end(ring->until))
			ring->until = at;
		break;
	}
	if (!ev->backend && (!ev->desc || !ev->used))
		return 0;
	const int err = list_room((void **)&s->rings, &s->rings_max, s->nrings, sizeof(*s->rings));
	if (err)
		return err;
	const u64 size = ev->used ? ring_bytes(ev) : 0;
	s->rings[s->nrings++] = (struct ring){
		.from = at,
		.until = MOMENT_END,
		.dev = ev->dev,
		.queue = ev->queue,
		.backend = ev->backend,
		.gpa = ev->used,
		.end = ev->used > UINT64_MAX - size ? UINT64_MAX : ev->used + size,
	};
	return 0;
}

static int mark_add(struct state *s, const struct event_mark *ev, u64 seq)
{
	const int err = list_room((void **)&s->marks, &s->marks_max, s->nmarks, sizeof(*s->marks));
	if (err)
		return err;
	struct mark *mark = &s->marks[s->nmarks++];
	*mark = (struct mark){.at = {ev->h.t_ns, seq}};
	const size_t len = ev->name_len < sizeof(ev->name) ? ev->name_len : sizeof(ev->name);
	memcpy(mark->name, ev->name, len);
	return 0;
}

static int comparison_add(struct state *s, const struct event_compared *ev, u64 seq)
{
	const int err = list_room((void **)&s->comparisons, &s->comparisons_max, s->ncomparisons,
				  sizeof(*s->comparisons));

	if (err)
		return err;
	s->comparisons[s->ncomparisons++] = (struct comparison){
		.at = {ev->h.t_ns, seq},
		.gpa = ev->gpa,
		.end = ev->gpa > UINT64_MAX - ev->size ? UINT64_MAX : ev->gpa + ev->size,
	};
	return 0;
}

const struct comparison *state_comparison(const struct state *s, u64 gpa, struct moment from)
{
	if (moment_is_end(from))
		return state_comparison_before(s, gpa, from);
	for (size_t i = 0; i < s->ncomparisons; i++) {
		const struct comparison *c = &s->comparisons[i];

		if (gpa >= c->gpa && gpa < c->end && !moment_before(c->at, from))
			return c;
	}
	return NULL;
}

const struct comparison *state_comparison_before(const struct state *s, u64 gpa,
						 struct moment limit)
{
	for (size_t i = s->ncomparisons; i--;) {
		const struct comparison *c = &s->comparisons[i];

		if (gpa >= c->gpa && gpa < c->end && moment_before(c->at, limit))
			return c;
	}
	return NULL;
}

static int state_take(struct state *s, const struct event *ev, u64 seq)
{
	switch (ev->kind) {
	case EVENT_cover:
		return coverage_add(&s->coverage, (const struct event_cover *)ev, seq);
	case EVENT_lost:
		return coverage_add_loss(&s->coverage, (const struct event_lost *)ev, seq);
	case EVENT_vq_device:
		return device_add(s, (const struct event_vq_device *)ev);
	case EVENT_vq_rings:
		return ring_add(s, (const struct event_vq_rings *)ev, seq);
	case EVENT_change:
		s->racy |= ((const struct event_change *)ev)->what == CHANGE_WHAT_ORDER_RACY;
		return 0;
	case EVENT_compared:
		return comparison_add(s, (const struct event_compared *)ev, seq);
	case EVENT_mark:
		return mark_add(s, (const struct event_mark *)ev, seq);
	default:
		return 0;
	}
}

/* In a cut file the streams may end at different events. Where the sum of the events falls short of
 * the highest number, finds the first one that is missing: it lies behind the end of some stream.
 */
static int whole_until(struct reader *r, struct moment *end)
{
	const struct trace_info *info = reader_info(r);
	u64 highest = 0, ends[STREAM_MAX] = {0};

	if (!info->truncated)
		return 0;
	for (unsigned s = 0; s < STREAM_MAX; s++) {
		struct chunk_info chunk;

		for (size_t i = 0; !reader_chunk_info(r, s, i, &chunk); i++) {
			if (chunk.seq_max > highest)
				highest = chunk.seq_max;
			if (chunk.t_max > ends[s])
				ends[s] = chunk.t_max;
		}
	}
	if (info->events >= highest)
		return 0;

	struct cursor_spec spec = {.t_min = UINT64_MAX};
	for (unsigned i = 0; i < STREAM_MAX; i++) {
		if (ends[i] < spec.t_min)
			spec.t_min = ends[i];
	}
	struct cursor *c = NULL;
	const int err = cursor_open(&c, r, &spec);
	if (err)
		return err;
	const struct event *ev;
	enum cursor_status status;
	u64 seq, next = spec.t_min ? 0 : 1;
	while ((status = cursor_next(c, &ev, &seq)) == CURSOR_MORE || status == CURSOR_TRUNCATED) {
		if (status == CURSOR_TRUNCATED)
			continue;
		if (next && seq != next) {
			*end = (struct moment){ev->t_ns, next};
			break;
		}
		next = seq + 1;
	}
	cursor_close(c);
	return 0;
}

static int state_each(void *arg, const struct event *ev, u64 seq, const struct stores *stores)
{
	(void)stores;
	return state_take(arg, ev, seq);
}

int state_load(struct state **out, struct reader *r, char *err, size_t err_size)
{
	const struct cursor_spec spec = {.streams = 1u << STREAM_STATE};
	struct state *s = calloc(1, sizeof(*s));

	if (!s) {
		snprintf(err, err_size, "out of memory");
		return -ENOMEM;
	}
	s->end = MOMENT_END;
	int ret = reader_each(r, &spec, state_each, s, NULL, err, err_size);
	if (ret == -E2BIG)
		snprintf(err, err_size, "more changes of state than can be held");
	if (!ret) {
		coverage_sort(&s->coverage);
		ret = whole_until(r, &s->end);
		if (ret)
			snprintf(err, err_size, "cannot read the trace: %s", strerror(-ret));
	}
	if (ret) {
		state_free(s);
		return ret;
	}
	*out = s;
	return 0;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	coverage_free(&s->coverage);
	free(s->devices);
	free(s->rings);
	free(s->marks);
	free(s->comparisons);
	free(s);
}

u16 state_device_id(const struct state *s, u32 dev)
{
	for (size_t i = 0; i < s->ndevices; i++) {
		if (s->devices[i].dev == dev)
			return s->devices[i].device_id;
	}
	return VIRTIO_ID_NONE;
}

#define VIRTIO_NAME(num, name, text) {num, text},
static const struct enum_name virtio_names[] = {ENUM_VIRTIO_ID(VIRTIO_NAME){0, NULL}};
#undef VIRTIO_NAME

const char *state_device_name(const struct state *s, u32 dev, char *buf, size_t size)
{
	const char *type = enum_name(virtio_names, state_device_id(s, dev));

	if (dev == UINT32_MAX)
		snprintf(buf, size, "virtio#?");
	else
		snprintf(buf, size, "%s#%u", type ? type : "virtio", dev);
	return buf;
}

const struct mark *state_mark(const struct state *s, const char *name)
{
	for (size_t i = 0; i < s->nmarks; i++) {
		if (!strcmp(s->marks[i].name, name))
			return &s->marks[i];
	}
	return NULL;
}

const struct ring *state_ring(const struct state *s, u64 gpa, struct moment from,
			      struct moment limit)
{
	for (size_t i = s->nrings; i-- > 0;) {
		const struct ring *ring = &s->rings[i];

		if (ring->gpa <= gpa && gpa < ring->end && moment_before(ring->from, limit) &&
		    moment_before(from, ring->until))
			return ring;
	}
	return NULL;
}

const struct ring *state_vhost(const struct state *s, u64 gpa, struct moment from,
			       struct moment limit)
{
	const struct ring *found = NULL;

	for (size_t i = s->nrings; i-- > 0;) {
		const struct ring *ring = &s->rings[i];

		if (!ring->backend || !moment_before(ring->from, limit) ||
		    !moment_before(from, ring->until))
			continue;
		if (ring->gpa <= gpa && gpa < ring->end)
			return ring;
		if (!found)
			found = ring;
	}
	return found;
}

int event_moment(struct reader *r, u64 seq, struct moment *out)
{
	for (unsigned s = 0; s < STREAM_MAX; s++) {
		struct chunk_info chunk;
		int err = reader_chunk_of(r, seq, s, &chunk);

		if (err == -ENOENT)
			continue;
		if (err)
			return err;
		const struct cursor_spec spec = {
			.streams = 1u << s,
			.t_min = chunk.t_min,
			.t_max = chunk.t_max,
		};
		struct cursor *c = NULL;
		err = cursor_open(&c, r, &spec);
		if (err)
			return err;
		const struct event *ev;
		enum cursor_status status;
		u64 at = 0;
		while ((status = cursor_next(c, &ev, &at)) == CURSOR_MORE && at < seq)
			;
		if (status == CURSOR_MORE && at == seq) {
			*out = (struct moment){ev->t_ns, seq};
			cursor_close(c);
			return 0;
		}
		cursor_close(c);
		if (status == CURSOR_CORRUPT || status == CURSOR_IO)
			return -EBADMSG;
	}
	return -ENOENT;
}
