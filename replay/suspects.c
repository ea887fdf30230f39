// SPDX-License-Identifier: GPL-2.0-or-later
/* Goes through what happened in the window; windows are an epoch long, most of the time. */
#include "suspects.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_MASK 0xfffull

static const bool kinds[EVENT_MAX] = {
	[EVENT_page_fault] = true, [EVENT_fast_fault] = true, [EVENT_dirty] = true,
	[EVENT_vq_sg] = true,	   [EVENT_vq_push] = true,
};

/* The fault that a thread is in. Where faults are told by linear address (shadow paging), the page
 * that was stored to is the last one that KVM marks in it: before come the tables that it sets
 * accessed and dirty bits in, FNAME(walk_addr_generic) in arch/x86/kvm/mmu/paging_tmpl.h. */
struct fault {
	u32 tid;
	bool linear;
	struct suspect *marked; /* by the last mark in it */
};

#define FAULTS 64 /* by the thread's number */

struct search {
	struct suspects *out;
	const struct state *state;
	const struct suspicion *of;
	struct fault faults[FAULTS];
};

static struct suspect *add(struct suspects *s, const struct suspect *one)
{
	if (s->n == SUSPECTS_MAX) {
		s->more++;
		return NULL;
	}
	s->list[s->n] = *one;
	return &s->list[s->n++];
}

static enum suspect_kind fault_kind(u64 error)
{
	if (error & FAULT_GUEST_WALK)
		return SUSPECT_WALK;
	return error & FAULT_STORE ? SUSPECT_STORE : SUSPECT_LOAD;
}

/* A fault, or a mark, that was told of this one already: one store makes a fault, and KVM marks the
 * page on its behalf. */
static struct suspect *same_access(struct suspects *s, const struct event *h, u64 rip)
{
	for (size_t i = s->n; i--;) {
		struct suspect *one = &s->list[i];

		if (one->vcpu != VCPU_NONE && one->tid == h->tid && one->vcpu == h->vcpu)
			return one->rip == rip ? one : NULL;
	}
	return NULL;
}

#define VCPU_SUSPECT(s, k, ev, seq_)                                                \
	add(s, &(struct suspect){.kind = (k),                                       \
				 .at = {(ev)->h.t_ns, seq_},                        \
				 .vcpu = (ev)->h.vcpu,                              \
				 .tid = (ev)->h.tid,                                \
				 .rip_known = (ev)->rip != 0 || (ev)->cs_base != 0, \
				 .rip = (ev)->rip,                                  \
				 .cs_base = (ev)->cs_base,                          \
				 .cr3 = (ev)->cr3,                                  \
				 .cpl = (ev)->cpl})

static void take_fault(struct search *search, const struct event_page_fault *f, u64 seq)
{
	struct suspects *s = search->out;

	search->faults[f->h.tid % FAULTS] = (struct fault){f->h.tid, f->linear, NULL};
	if (!f->linear && (f->gpa & ~PAGE_MASK) == s->page)
		VCPU_SUSPECT(s, fault_kind(f->error), f, seq);
}

static void take_dirty(struct search *search, const struct event_dirty *d, u64 seq)
{
	struct suspects *s = search->out;
	struct fault *fault = &search->faults[d->h.tid % FAULTS];
	const bool here = (d->gpa & ~PAGE_MASK) == s->page && !d->as;
	struct suspect *marked = NULL;

	if (here && d->h.vcpu == VCPU_NONE)
		VCPU_SUSPECT(s, SUSPECT_KVM, d, seq);
	else if (here && !d->error)
		VCPU_SUSPECT(s, SUSPECT_MARK, d, seq);
	else if (here && !same_access(s, &d->h, d->rip))
		marked = VCPU_SUSPECT(s, fault_kind(d->error), d, seq);
	if (!d->error || fault->tid != d->h.tid || !fault->linear)
		return;
	if (fault->marked)
		fault->marked->kind = SUSPECT_WALK;
	fault->marked = marked;
}

static void take_transfer(struct search *search, const struct event_vq_sg *sg, u64 seq)
{
	struct suspects *s = search->out;
	const u64 sg_end = sg->gpa + sg->len;

	if (!sg->write || sg_end < sg->gpa || sg->gpa > (s->page | PAGE_MASK) || sg_end <= s->page)
		return;
	add(s, &(struct suspect){
		       .kind = SUSPECT_DEVICE,
		       .at = {sg->h.t_ns, seq},
		       .vcpu = VCPU_NONE,
		       .tid = sg->h.tid,
		       .gpa = sg->gpa,
		       .end = sg_end,
		       .bytes = sg->gpa < search->of->end && search->of->gpa < sg_end,
		       .request = {.at = {sg->h.t_ns, seq},
				   .req = sg->req,
				   .dev = sg->dev,
				   .queue = sg->queue},
	       });
}

static void take_push(struct search *search, const struct event_vq_push *push, u64 seq)
{
	struct suspects *s = search->out;
	const struct moment at = {push->h.t_ns, seq};

	for (size_t i = 0; i < search->state->nrings; i++) {
		const struct ring *ring = &search->state->rings[i];

		if (ring->dev != push->dev || ring->queue != push->queue || ring->backend ||
		    moment_before(at, ring->from) || moment_before(ring->until, at) ||
		    ring->gpa > (s->page | PAGE_MASK) || ring->end <= s->page)
			continue;
		add(s, &(struct suspect){
			       .kind = SUSPECT_RING,
			       .at = at,
			       .vcpu = VCPU_NONE,
			       .tid = push->h.tid,
			       .gpa = ring->gpa,
			       .end = ring->end,
			       .bytes = ring->gpa < search->of->end && search->of->gpa < ring->end,
			       .request = {.at = at,
					   .req = push->req,
					   .dev = push->dev,
					   .queue = push->queue},
		       });
	}
}

static void take(struct search *search, const struct event *ev, u64 seq)
{
	const struct event_fast_fault *fast = (const struct event_fast_fault *)ev;

	switch (ev->kind) {
	case EVENT_page_fault:
		take_fault(search, (const struct event_page_fault *)ev, seq);
		break;
	case EVENT_fast_fault:
		if ((fast->gpa & ~PAGE_MASK) == search->out->page &&
		    !same_access(search->out, ev, fast->rip))
			VCPU_SUSPECT(search->out, fault_kind(fast->error), fast, seq);
		break;
	case EVENT_dirty:
		take_dirty(search, (const struct event_dirty *)ev, seq);
		break;
	case EVENT_vq_push:
		take_push(search, (const struct event_vq_push *)ev, seq);
		break;
	case EVENT_vq_sg:
		take_transfer(search, (const struct event_vq_sg *)ev, seq);
		break;
	default:
		break;
	}
}

/* A device beside the bytes comes last. */
static int rank(const struct suspect *s)
{
	const bool device = s->kind == SUSPECT_DEVICE || s->kind == SUSPECT_RING;

	return device && !s->bytes ? SUSPECT_KVM + 1 : (int)s->kind;
}

/* Devices that wrote the bytes; then who stored; then the others; in the order of time each. */
static int order(const void *a, const void *b)
{
	const struct suspect *x = a, *y = b;
	const int kx = rank(x), ky = rank(y);

	if (kx != ky)
		return kx - ky;
	return moment_before(x->at, y->at) ? -1 : moment_before(y->at, x->at);
}

/* Since when an event counts. */
static u64 window_start(const struct suspicion *of, unsigned kind)
{
	return kind == EVENT_vq_sg || kind == EVENT_vq_push ? of->since_ns : of->log_ns;
}

static int each(void *arg, const struct event *ev, u64 seq, const struct stores *stores)
{
	struct search *search = arg;

	(void)stores;
	if (ev->t_ns > window_start(search->of, ev->kind) && ev->t_ns <= search->of->at.t_ns)
		take(search, ev, seq);
	return 0;
}

int suspects_find(struct suspects *out, struct reader *r, const struct state *state,
		  const struct suspicion *of, char *err, size_t err_size)
{
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_ACTIVITY,
		.t_min = of->since_ns < of->log_ns ? of->since_ns : of->log_ns,
		.t_max = of->at.t_ns == UINT64_MAX ? UINT64_MAX : of->at.t_ns + 1,
		.kinds = kinds,
	};
	struct search search = {.out = out, .state = state, .of = of};

	*out = (struct suspects){
		.page = of->gpa & ~PAGE_MASK, .since_ns = of->since_ns, .at = of->at};
	const int ret = reader_each(r, &spec, each, &search, NULL, err, err_size);
	qsort(out->list, out->n, sizeof(out->list[0]), order);
	return ret;
}
