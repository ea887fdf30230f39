// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Queues that vhost serves: it writes guest RAM unseen, so what it may write is told as not
 * observed: the used rings, and every buffer that the driver is seen to give it. Elsewhere it is
 * told only that vhost runs, and the reader asks for a later look before it believes a write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/gpaset.h"
#include "user/record_state.h"
#include "user/vring.h"

#define DEV_UNKNOWN UINT32_MAX
#define QUEUES_MAX  1024
#define TOLD_MAX    65536	 /* cover events of one recording: every question reads them all */
#define GPA_END	    (1ull << 52) /* of all memory that a processor can address */

struct vhost_queue {
	u32 dev;
	u16 queue;
	u8 backend;
	struct vring ring;
};

struct record_vhost {
	struct vhost_queue queues[QUEUES_MAX];
	size_t nqueues;
	struct gpaset told; /* as not observed */
	size_t ntold;
	bool all;   /* everything is */
	bool stuck; /* for good: who stops could not be told */
	u8 backend; /* who may have written: the first that ran */
};

static enum why why_of(u8 backend)
{
	return backend == QUEUE_BACKEND_VHOST_USER ? WHY_VHOST_USER : WHY_VHOST;
}

static void cover(struct record *r, u64 t_ns, bool on, enum why why, u64 gpa, u64 size)
{
	struct event_cover ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_cover, .vcpu = VCPU_NONE},
		.origin = ORIGIN_VHOST,
		.on = on,
		.why = why,
		.gpa = gpa,
		.size = size,
	};

	record_take(r, &ev.h);
}

/* Everything, byte for byte: not as a mere possibility, which gpa 0 and size 0 stand for. */
static void tell_all(struct record *r, u64 t_ns)
{
	if (r->vhost->all)
		return;
	r->vhost->all = true;
	cover(r, t_ns, false, why_of(r->vhost->backend), 0, GPA_END);
}

static void tell(struct record *r, u64 t_ns, u8 backend, u64 gpa, u64 size)
{
	struct record_vhost *v = r->vhost;

	if (v->all || !size)
		return;
	if (size > UINT64_MAX - gpa)
		size = UINT64_MAX - gpa;
	if (!gpaset_add(&v->told, gpa, gpa + size))
		return;
	cover(r, t_ns, false, why_of(backend), gpa, size);
	v->stuck |= v->ntold++ == TOLD_MAX;
	if (v->told.n == GPASET_MAX || v->stuck)
		tell_all(r, t_ns);
}

struct found {
	struct record *r;
	u64 t_ns;
	u8 backend;
};

/* Where bytes are watched, only those can have an answer to spoil. */
static void buffer(void *arg, u64 gpa, u64 bytes)
{
	const struct found *f = arg;
	const u64 end = bytes > UINT64_MAX - gpa ? UINT64_MAX : gpa + bytes;

	if (!f->r->npages)
		tell(f->r, f->t_ns, f->backend, gpa, end - gpa);
	for (size_t i = 0; i < f->r->opts->nasked; i++) {
		const struct gpa_range *asked = &f->r->opts->asked[i];
		const u64 from = asked->gpa > gpa ? asked->gpa : gpa;
		const u64 to = asked->end < end ? asked->end : end;

		if (from < to)
			tell(f->r, f->t_ns, f->backend, from, to - from);
	}
}

void record_vhost_look(struct record *r)
{
	struct record_vhost *v = r->vhost;

	for (size_t i = 0; v && i < v->nqueues && !v->all; i++) {
		struct vhost_queue *q = &v->queues[i];
		struct found found = {r, record_now(r), q->backend};
		const int ret = vring_follow(&q->ring, &r->ram, buffer, &found);

		/* What could not be followed lies anywhere. */
		if (ret == -EINVAL)
			tell_all(r, found.t_ns);
	}
}

static struct vhost_queue *find(struct record_vhost *v, const struct event_vq_rings *ev)
{
	for (size_t i = 0; i < v->nqueues; i++)
		if (v->queues[i].dev == ev->dev && v->queues[i].queue == ev->queue)
			return &v->queues[i];
	return NULL;
}

static void runs(struct record *r, const struct event_vq_rings *ev)
{
	struct record_vhost *v = r->vhost;
	struct vhost_queue *q = find(v, ev);

	if (!v->nqueues && !v->stuck) {
		v->backend = ev->backend;
		cover(r, ev->h.t_ns, false, why_of(ev->backend), 0, 0);
	}
	if (!q && v->nqueues < QUEUES_MAX)
		q = &v->queues[v->nqueues++];
	v->stuck |= !q || ev->dev == DEV_UNKNOWN;
	if (!q || ev->queue == QUEUE_ALL || !ev->desc || r->ram.mem_fd < 0) {
		tell_all(r, ev->h.t_ns);
		if (!q)
			return;
	}
	*q = (struct vhost_queue){
		.dev = ev->dev,
		.queue = ev->queue,
		.backend = ev->backend,
		.ring = {.desc = ev->desc, .avail = ev->avail, .used = ev->used, .size = ev->size},
	};
	const u32 size = ev->size ? ev->size : VRING_SIZE_MAX;
	tell(r, ev->h.t_ns, ev->backend, ev->used, VRING_USED_BYTES(size));
	/* Another process may have been given a packed ring, which the device writes. */
	if (ev->backend != QUEUE_BACKEND_VHOST)
		tell(r, ev->h.t_ns, ev->backend, ev->desc, VRING_DESC_BYTES(size));
	if (!ev->size)
		tell_all(r, ev->h.t_ns);
}

static void stops(struct record *r, const struct event_vq_rings *ev)
{
	struct record_vhost *v = r->vhost;
	struct vhost_queue *q = find(v, ev);

	if (!q)
		return;
	*q = v->queues[--v->nqueues];
	if (v->nqueues || v->stuck)
		return;
	v->told.n = 0;
	v->all = false;
	cover(r, ev->h.t_ns, true, WHY_NONE, 0, 0);
}

void record_vhost_rings(struct record *r, const struct event_vq_rings *ev)
{
	r->vhost_blind |= ev->backend != QUEUE_BACKEND_VMM;
	if (ev->backend && !r->vhost)
		r->vhost = calloc(1, sizeof(*r->vhost));
	if (!r->vhost) {
		/* Without memory to keep track with, nothing is known. */
		if (ev->backend)
			cover(r, ev->h.t_ns, false, why_of(ev->backend), 0, GPA_END);
		return;
	}
	/* Requests given to it so far are followed before their rings are forgotten. */
	if (!ev->backend)
		record_vhost_look(r);
	if (ev->backend)
		runs(r, ev);
	else
		stops(r, ev);
}

void record_vhost_begin(struct record *r)
{
	struct probe_state states[PROBES_MAX];
	const size_t n = source_bpf_probes(r->bpf, states, PROBES_MAX);
	bool seen = true;

	/* A VMM that lacks the function has no vhost. */
	for (size_t i = 0; i < n; i++)
		if (states[i].origin == ORIGIN_VHOST && states[i].how <= PROBE_HOW_OFF &&
		    states[i].err != ENOENT)
			seen = false;
	r->vhost_blind |= !seen;
	cover(r, record_now(r), seen, seen ? WHY_NONE : WHY_NO_PROBE, 0, 0);
}
