// SPDX-License-Identifier: GPL-2.0-or-later
/* Notes of what happened to some pages, by page and in the order of time. */
#include "suspects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MASK 0xfffull
#define NOTES_MAX 1000000u
#define ANYWHERE  (~PAGE_MASK) /* the page of notes that are of none */

static const bool kinds[EVENT_MAX] = {
	[EVENT_page_fault] = true, [EVENT_fast_fault] = true, [EVENT_dirty] = true,
	[EVENT_vq_sg] = true,	   [EVENT_vq_push] = true,    [EVENT_vq_pop] = true,
	[EVENT_vmm_write] = true,
};

struct note {
	u64 page;
	bool follows; /* on a fault, which was told already where it was told at all */
	struct suspect suspect;
};

/* The fault that a thread is in. Where faults are told by linear address (shadow paging), the page
 * that was stored to is the last one that KVM marks in it: before come the tables that it sets
 * accessed and dirty bits in, FNAME(walk_addr_generic) in arch/x86/kvm/mmu/paging_tmpl.h. */
struct fault {
	u32 tid;
	bool linear;
	size_t marked; /* by the last mark in it: a note's number plus 1 */
};

#define FAULTS 64 /* by the thread's number */

struct suspects_book {
	const struct state *state;
	u64 gpa, end, since_ns;
	struct note *notes;
	size_t n, max;
	u64 more;
	struct fault faults[FAULTS];
};

/* The note's number plus 1; 0: there is no room. */
static size_t note(struct suspects_book *b, u64 page, bool follows, const struct suspect *suspect)
{
	if (b->n == b->max && b->n < NOTES_MAX) {
		const size_t max = b->max ? 2 * b->max : 256;
		struct note *notes = realloc(b->notes, max * sizeof(*notes));

		if (notes) {
			b->notes = notes;
			b->max = max;
		}
	}
	if (b->n == b->max || b->n >= NOTES_MAX) {
		b->more++;
		return 0;
	}
	b->notes[b->n++] = (struct note){page & ~PAGE_MASK, follows, *suspect};
	return b->n;
}

static bool wanted(const struct suspects_book *b, u64 gpa)
{
	return (gpa | PAGE_MASK) >= b->gpa && (gpa & ~PAGE_MASK) < b->end;
}

static enum suspect_kind fault_kind(u64 error)
{
	if (error & FAULT_GUEST_WALK)
		return SUSPECT_WALK;
	return error & FAULT_STORE ? SUSPECT_STORE : SUSPECT_LOAD;
}

#define VCPU_NOTE(b, follows, k, ev, seq_)                                        \
	note(b, (ev)->gpa, follows,                                               \
	     &(struct suspect){.kind = (k),                                       \
			       .at = {(ev)->h.t_ns, seq_},                        \
			       .vcpu = (ev)->h.vcpu,                              \
			       .tid = (ev)->h.tid,                                \
			       .rip_known = (ev)->rip != 0 || (ev)->cs_base != 0, \
			       .rip = (ev)->rip,                                  \
			       .cs_base = (ev)->cs_base,                          \
			       .cr3 = (ev)->cr3,                                  \
			       .cpl = (ev)->cpl})

static void take_fault(struct suspects_book *b, const struct event_page_fault *f, u64 seq)
{
	b->faults[f->h.tid % FAULTS] = (struct fault){f->h.tid, f->linear, 0};
	if (!f->linear && wanted(b, f->gpa))
		VCPU_NOTE(b, false, fault_kind(f->error), f, seq);
}

static void take_dirty(struct suspects_book *b, const struct event_dirty *d, u64 seq)
{
	struct fault *fault = &b->faults[d->h.tid % FAULTS];
	size_t marked = 0;

	if (wanted(b, d->gpa) && !d->as) {
		if (d->h.vcpu == VCPU_NONE)
			VCPU_NOTE(b, false, SUSPECT_KVM, d, seq);
		else if (!d->error)
			VCPU_NOTE(b, false, SUSPECT_MARK, d, seq);
		else
			marked = VCPU_NOTE(b, true, fault_kind(d->error), d, seq);
	}
	if (!d->error || fault->tid != d->h.tid || !fault->linear)
		return;
	if (fault->marked)
		b->notes[fault->marked - 1].suspect.kind = SUSPECT_WALK;
	fault->marked = marked;
}

/* In each of the pages. */
static void device_note(struct suspects_book *b, u64 gpa, u64 end, struct suspect *suspect)
{
	suspect->vcpu = VCPU_NONE;
	suspect->gpa = gpa;
	suspect->end = end;
	suspect->request.at = suspect->at;
	const u64 from = gpa > b->gpa ? gpa : b->gpa & ~PAGE_MASK;
	const u64 to = end < b->end ? end : (b->end | PAGE_MASK);

	for (u64 page = from & ~PAGE_MASK; page < to && wanted(b, page); page += PAGE_MASK + 1)
		note(b, page, false, suspect);
}

static void take_transfer(struct suspects_book *b, const struct event_vq_sg *sg, u64 seq)
{
	struct suspect suspect = {
		.kind = SUSPECT_DEVICE,
		.at = {sg->h.t_ns, seq},
		.tid = sg->h.tid,
		.request = {.req = sg->req, .dev = sg->dev, .queue = sg->queue},
	};

	if (sg->write && sg->gpa + sg->len > sg->gpa)
		device_note(b, sg->gpa, sg->gpa + sg->len, &suspect);
}

static void take_request(struct suspects_book *b, struct suspect suspect)
{
	const struct request request = suspect.request;

	for (size_t i = 0; i < b->state->nrings; i++) {
		const struct ring *ring = &b->state->rings[i];

		if (ring->dev == request.dev && ring->queue == request.queue && !ring->backend &&
		    !moment_before(suspect.at, ring->from) &&
		    !moment_before(ring->until, suspect.at))
			device_note(b, ring->gpa, ring->end, &suspect);
	}
}

/* With a request that it takes, or has completed, a device writes to its used ring. */
#define REQUEST(ev, seq_)                             \
	((struct suspect){.kind = SUSPECT_RING,       \
			  .at = {(ev)->h.t_ns, seq_}, \
			  .tid = (ev)->h.tid,         \
			  .request = {.req = (ev)->req, .dev = (ev)->dev, .queue = (ev)->queue}})

/* What a device may write to, or what the VMM writes. */
static void take_vmm_write(struct suspects_book *b, const struct event_vmm_write *w, u64 seq)
{
	const bool open = w->phase == VMM_PHASE_OPENED || w->phase == VMM_PHASE_OPEN;
	const u64 len = open ? w->span : w->len;
	struct suspect suspect = {
		.kind = SUSPECT_VMM,
		.at = {w->h.t_ns, seq},
		.tid = w->h.tid,
		.site = w->site,
		.phase = w->phase,
	};

	if (w->placed && w->gpa + len > w->gpa) {
		device_note(b, w->gpa, w->gpa + len, &suspect);
		return;
	}
	if (w->placed || w->hva) /* nothing, or not in the guest's memory */
		return;
	suspect.kind = SUSPECT_VMM_SOMEWHERE;
	suspect.vcpu = VCPU_NONE;
	note(b, ANYWHERE, false, &suspect);
}

static int take(void *arg, const struct event *ev, u64 seq, const struct stores *stores)
{
	const struct event_fast_fault *fast = (const struct event_fast_fault *)ev;
	struct suspects_book *b = arg;
	struct suspect suspect;

	(void)stores;
	if (ev->t_ns <= b->since_ns && b->since_ns)
		return 0;
	switch (ev->kind) {
	case EVENT_page_fault:
		take_fault(b, (const struct event_page_fault *)ev, seq);
		break;
	case EVENT_fast_fault:
		if (wanted(b, fast->gpa))
			VCPU_NOTE(b, true, fault_kind(fast->error), fast, seq);
		break;
	case EVENT_dirty:
		take_dirty(b, (const struct event_dirty *)ev, seq);
		break;
	case EVENT_vq_push:
		take_request(b, REQUEST((const struct event_vq_push *)ev, seq));
		break;
	case EVENT_vq_pop:
		suspect = REQUEST((const struct event_vq_pop *)ev, seq);
		suspect.taken = true;
		take_request(b, suspect);
		break;
	case EVENT_vmm_write:
		take_vmm_write(b, (const struct event_vmm_write *)ev, seq);
		break;
	case EVENT_vq_sg:
		take_transfer(b, (const struct event_vq_sg *)ev, seq);
		break;
	default:
		break;
	}
	return 0;
}

static int note_order(const void *a, const void *b)
{
	const struct note *x = a, *y = b;

	if (x->page != y->page)
		return x->page < y->page ? -1 : 1;
	return moment_before(x->suspect.at, y->suspect.at)
		       ? -1
		       : moment_before(y->suspect.at, x->suspect.at);
}

static u64 before(u64 t_ns, u64 by_ns)
{
	return t_ns > by_ns ? t_ns - by_ns : 0;
}

int suspects_read(struct suspects_book **out, struct reader *r, const struct state *state, u64 gpa,
		  u64 end, u64 since_ns, u64 until_ns, char *err, size_t err_size)
{
	const struct cursor_spec spec = {
		.streams = 1u << STREAM_ACTIVITY,
		.t_min = before(since_ns, VMM_LATE_NS),
		.t_max = until_ns ? until_ns : 1,
		.kinds = kinds,
	};
	struct suspects_book *b = calloc(1, sizeof(*b));

	*out = b;
	if (!b) {
		snprintf(err, err_size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	b->state = state;
	b->gpa = gpa;
	b->end = end;
	b->since_ns = spec.t_min;
	const int ret = reader_each(r, &spec, take, b, NULL, err, err_size);

	if (b->n)
		qsort(b->notes, b->n, sizeof(*b->notes), note_order);
	return ret;
}

void suspects_close(struct suspects_book *b)
{
	if (b)
		free(b->notes);
	free(b);
}

/* The first note of the page after a time. */
static size_t first_note(const struct suspects_book *b, u64 page, u64 after_ns)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		const struct note *at = &b->notes[mid];

		if (at->page < page || (at->page == page && at->suspect.at.t_ns <= after_ns))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* A mark, or a fault without KVM's lock, of a fault that was told of: one store makes all of them.
 */
static bool told(const struct suspects *s, const struct suspect *one)
{
	for (size_t i = s->n; i--;) {
		const struct suspect *other = &s->list[i];

		if (other->vcpu != VCPU_NONE && other->tid == one->tid && other->vcpu == one->vcpu)
			return other->rip == one->rip;
	}
	return false;
}

static bool is_vmm(const struct suspect *s)
{
	return s->kind == SUSPECT_VMM || s->kind == SUSPECT_VMM_SOMEWHERE;
}

/* Told of with its place. */
static bool is_placed(const struct suspect *s)
{
	return s->kind == SUSPECT_DEVICE || s->kind == SUSPECT_RING || s->kind == SUSPECT_VMM;
}

/* Who wrote beside the bytes comes last. */
static int rank(const struct suspect *s)
{
	return is_placed(s) && !s->bytes ? SUSPECT_VMM_SOMEWHERE + 1 : (int)s->kind;
}

/*
 * Who wrote the bytes: devices, the VMM, by calls that named them; then who stored to the page, as
 * its fault names no more than that; then the others; in the order of time each.
 */
static int order(const void *a, const void *b)
{
	const struct suspect *x = a, *y = b;

	if (rank(x) != rank(y))
		return rank(x) - rank(y);
	return moment_before(x->at, y->at) ? -1 : moment_before(y->at, x->at);
}

/* A mapping is told of as it begins and as it ends, and its device's transfer may be, too; a
 * request as it is taken and as it is completed. */
static bool told_better(const struct suspects *s, const struct suspect *one)
{
	if (!one->taken && (one->site != VMM_SITE_MAP || one->kind != SUSPECT_VMM))
		return false;
	for (size_t i = 0; i < s->n; i++) {
		const struct suspect *other = &s->list[i];

		if (other->gpa != one->gpa)
			continue;
		if (one->taken) {
			if (other->kind == SUSPECT_RING && !other->taken &&
			    other->request.req == one->request.req)
				return true;
			continue;
		}
		if (other->kind == SUSPECT_DEVICE)
			return true;
		if (other->kind == SUSPECT_VMM && other->phase == VMM_PHASE_CLOSED &&
		    one->phase != VMM_PHASE_CLOSED && !moment_before(other->at, one->at))
			return true;
	}
	return false;
}

static void drop_told(struct suspects *s)
{
	bool drop[SUSPECTS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		drop[i] = told_better(s, &s->list[i]);
	for (size_t i = 0; i < s->n; i++)
		if (!drop[i])
			s->list[n++] = s->list[i];
	s->n = n;
}

/* Since when one counts: a write, or what opened the page. What the VMM was about to write may have
 * come after the window began. */
static u64 counts_since(const struct suspect *s, const struct suspicion *of)
{
	if (is_vmm(s) && s->phase == VMM_PHASE_ABOUT && (s->bytes || s->kind != SUSPECT_VMM))
		return before(of->since_ns, VMM_LATE_NS);
	if (is_vmm(s) && s->phase == VMM_PHASE_DONE)
		return before(of->since_ns, VMM_SLACK_NS);
	return is_placed(s) || is_vmm(s) ? of->since_ns : of->log_ns;
}

/* The VMM's writes to one place come by the dozen: the last one stands for them. */
static struct suspect *told_before(struct suspects *s, const struct suspect *one)
{
	for (size_t i = 0; i < s->n; i++) {
		struct suspect *other = &s->list[i];

		if (other->kind == one->kind && other->site == one->site &&
		    other->phase == one->phase && other->gpa == one->gpa && other->end == one->end)
			return other;
	}
	return NULL;
}

static void find_in(const struct suspects_book *b, u64 page, const struct suspicion *of,
		    struct suspects *out)
{
	const u64 start =
		before(of->since_ns < of->log_ns ? of->since_ns : of->log_ns, VMM_LATE_NS);

	for (size_t i = first_note(b, page, start); i < b->n; i++) {
		const struct note *at = &b->notes[i];
		struct suspect one = at->suspect;

		if (at->page != page || one.at.t_ns > of->at.t_ns)
			break;
		one.bytes = is_placed(&one) && one.gpa < of->end && of->gpa < one.end;
		if (one.at.t_ns <= counts_since(&one, of) || (at->follows && told(out, &one)))
			continue;
		struct suspect *again = is_vmm(&one) ? told_before(out, &one) : NULL;

		if (again)
			*again = one;
		else if (out->n < SUSPECTS_MAX)
			out->list[out->n++] = one;
		else
			out->more++;
	}
}

void suspects_find(const struct suspects_book *b, const struct suspicion *of, struct suspects *out)
{
	*out = (struct suspects){.more = b->more};
	find_in(b, of->gpa & ~PAGE_MASK, of, out);
	find_in(b, ANYWHERE, of, out);
	drop_told(out);
	qsort(out->list, out->n, sizeof(out->list[0]), order);
}

enum origin suspect_origin(const struct suspect *s)
{
	static const enum origin origins[] = {
		[SUSPECT_RING] = ORIGIN_VIRTQUEUE,    [SUSPECT_DEVICE] = ORIGIN_VIRTQUEUE,
		[SUSPECT_VMM] = ORIGIN_VMM,	      [SUSPECT_STORE] = ORIGIN_VCPU,
		[SUSPECT_LOAD] = ORIGIN_VCPU,	      [SUSPECT_WALK] = ORIGIN_KVM,
		[SUSPECT_MARK] = ORIGIN_KVM,	      [SUSPECT_KVM] = ORIGIN_KVM,
		[SUSPECT_VMM_SOMEWHERE] = ORIGIN_VMM,
	};

	/* A device's, of which only that it had the memory mapped is known. */
	return s->kind == SUSPECT_VMM && s->site == VMM_SITE_MAP ? ORIGIN_DMA : origins[s->kind];
}

enum origin suspects_class(const struct suspects *s, const struct write *w, u16 covers)
{
	const u16 vcpu = 1u << ORIGIN_VCPU | 1u << ORIGIN_KVM;
	const u16 all = (1u << ORIGIN_UNSEEN) - (1u << ORIGIN_VCPU);
	u16 classes = 0;

	if ((covers & all) != all || s->more)
		return ORIGIN_NONE;
	for (size_t i = 0; i < s->n; i++)
		classes |= (u16)(1u << suspect_origin(&s->list[i]));
	/* KVM's log has it: a vCPU stored, or KVM did, whether that was told of or not. */
	if (w->version_how == VERSION_HOW_LOG && !(classes & vcpu))
		return ORIGIN_NONE;
	for (enum origin o = ORIGIN_VCPU; o < ORIGIN_UNSEEN; o++)
		if (classes == 1u << o)
			return o;
	return ORIGIN_NONE;
}
