// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode: copies of pages by guest-physical address, as a reader of the trace makes them of it;
 * and what differs from them.
 *
 * What devices left may become known only after pages were copied that were written later. So a
 * page that was copied waits, whole, for its place in the order of time (merge.h), as what devices
 * left does. Only there it is compared with the copy, which is by then all that comes before it in
 * the trace, and becomes a `version`: its delta and its sum hold for whoever reads the trace.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "formats/delta.h"
#include "user/record_pages.h"

/* A page's content is told as a whole again after so many deltas, or bytes of them. */
#define KEYFRAME_DELTAS 64
#define KEYFRAME_BYTES	16384
#define READS_MAX	16 /* of a page that is being written */
#define MANY		32 /* pages that are better asked for first */

static const u8 zeroes[PAGE];

static u64 page_of(u64 gpa)
{
	return gpa & ~(u64)(PAGE - 1);
}

/* The copy of the page that holds gpa, and what is known of it. NULL: there is none. */
static u8 *copy_of(struct record_pages *p, u64 gpa, bool make, struct page_state **state)
{
	struct region *region = regions_find(&p->copies, gpa, make);

	if (!region)
		return NULL;
	*state = (struct page_state *)region->more + (gpa - region->start) / PAGE;
	return region->bytes + (page_of(gpa) - region->start);
}

/* To the order of time. Until then `data` is the page. In p->version, since to clear all of an
 * event takes longer than most deltas. */
static void page_put(struct record *r, const struct copy *copy, u64 since_ns, const u8 *page)
{
	struct event_version *ev = &r->log->version;

	ev->h = (struct event){.t_ns = copy->t_ns, .kind = EVENT_version, .vcpu = VCPU_NONE};
	ev->gpa = copy->gpa;
	ev->t0_ns = since_ns;
	ev->log_ns = copy->log_ns;
	ev->how = copy->how;
	ev->torn = copy->torn;
	ev->sum = 0;
	ev->len = PAGE;
	memcpy(ev->data, page, PAGE);
	record_take(r, &ev->h);
}

static struct event_content content_of(u64 t_ns, u64 gpa, const u8 *page, enum content_why why)
{
	struct event_content ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_content, .vcpu = VCPU_NONE},
		.gpa = gpa,
		.why = why,
		.len = PAGE,
	};

	memcpy(ev.data, page, PAGE);
	return ev;
}

const struct page_state *copies_state(struct record *r, u64 gpa)
{
	struct page_state *state;

	return copy_of(r->log, gpa, false, &state) ? state : NULL;
}

int copies_put(struct record *r, struct copy *copy, const u8 *now)
{
	struct record_pages *p = r->log;
	struct page_state *state;
	const u8 *was = copy_of(p, copy->gpa, now != NULL, &state);

	if (!was)
		return now ? -ENOMEM : 0; /* never written: zeroes */
	u64 since_ns = state->since_ns > p->exact_ns ? state->since_ns : p->exact_ns;

	if (state->hva && state->hva != copy->hva)
		copy->how = VERSION_HOW_MAP;
	if (copy->how == VERSION_HOW_SCRUB && p->scrub.whole_ns > since_ns)
		since_ns = p->scrub.whole_ns;
	now = now ? now : zeroes;
	state->hva = copy->hva;
	state->since_ns = copy->t0_ns;
	state->until_ns = copy->t_ns;
	state->log_ns = copy->log_ns = p->log_ns;
	/* While something waits, that is not yet what this will be compared with; what was copied
	 * too late is told again. */
	state->same = !state->waiting && (p->begun || !p->late) && !memcmp(was, now, PAGE);
	if (state->same)
		return 0;
	if (p->begun) {
		copies_devices_open(r, copy->gpa, copy->hva, since_ns, copy->t_ns);
		page_put(r, copy, since_ns, now);
	} else {
		const struct event_content ev =
			content_of(copy->t_ns, copy->gpa, now, CONTENT_WHY_START);

		record_take(r, &ev.h);
	}
	return 0;
}

/* The same of a page that may differ though nobody is known to have written to it. What waits to be
 * told of the page is not in its copy yet. */
static int page_take(struct record *r, struct copy *copy, const u8 *now)
{
	struct page_state *state = NULL;
	const u8 *was = copy_of(r->log, copy->gpa, false, &state);

	if (copy->how != VERSION_HOW_SCRUB || (state && state->hva && state->hva != copy->hva))
		return copies_put(r, copy, now);
	if (state && state->waiting) {
		if (!r->log->held && !r->log->ending)
			return 0;
		copy->how = VERSION_HOW_PASS;
		return copies_put(r, copy, now);
	}
	if (memcmp(was ? was : zeroes, now ? now : zeroes, PAGE))
		return scrub_doubt(r, copy, now ? now : zeroes);
	return was ? copies_put(r, copy, now) : 0;
}

/* What a device left, earlier than a copy of the page that found nothing new, and said nothing: it
 * is to be told after all what the page was then. */
static void page_again(struct record *r, const struct event_content *ev)
{
	struct page_state *state;
	const u8 *page = copy_of(r->log, ev->gpa, false, &state);
	const u64 off = ev->gpa & (PAGE - 1);

	if (!page || !state->same || ev->h.t_ns >= state->until_ns || ev->len > PAGE - off ||
	    !memcmp(page + off, ev->data, ev->len))
		return;
	state->same = false;
	const struct copy copy = {
		.gpa = page_of(ev->gpa),
		.t_ns = state->until_ns,
		.log_ns = state->log_ns,
		.how = VERSION_HOW_DEVICE,
	};
	page_put(r, &copy, ev->h.t_ns, page);
}

/* Whether the page's content is to be recorded. */
static bool wanted(const struct record *r, u64 gpa)
{
	for (size_t i = 0; i < r->opts->nram; i++)
		if (gpa >= r->opts->ram[i].gpa && gpa < r->opts->ram[i].end)
			return true;
	return !r->opts->nram;
}

/* Of the pages of [gpa, gpa + len), so many more things wait, or fewer. */
static void waiting(struct record *r, u64 gpa, u64 len, int more)
{
	struct page_state *state;

	for (u64 at = page_of(gpa); len && at < gpa + len; at += PAGE)
		if (wanted(r, at) && copy_of(r->log, at, true, &state) &&
		    (more > 0 || state->waiting))
			state->waiting += (u32)more;
}

void copies_content(struct record *r, const struct event_content *ev)
{
	if (ev->len > sizeof(ev->data) || ev->gpa > UINT64_MAX - PAGE - ev->len)
		return;
	if (ev->why == CONTENT_WHY_DEVICE)
		page_again(r, ev);
	waiting(r, ev->gpa, ev->len, 1);
}

void copies_version(struct record *r, const struct event_version *ev)
{
	waiting(r, ev->gpa, PAGE, 1);
}

/* Its place in the order of time has come. */
static int version_keep(struct record *r, const struct event_version *waited, bool within)
{
	struct record_pages *p = r->log;
	const u64 gpa = waited->gpa;
	struct page_state *state;
	const u8 *now = waited->data;
	u8 *was = copy_of(p, gpa, true, &state);

	if (!was)
		return -ENOMEM;
	waiting(r, gpa, PAGE, -1);
	if (!within || !memcmp(was, now, PAGE))
		return 0;
	struct event_version *ev = &p->version;
	memcpy(ev, waited, offsetof(struct event_version, data));
	ev->sum = delta_sum(now);
	_Static_assert(sizeof(ev->data) == DELTA_MAX, "any delta fits");
	ev->len = (u16)delta_make(was, now, ev->data);
	memcpy(was, now, PAGE);
	p->versions++;
	state->bytes += ev->len;
	int err = record_write(r, &ev->h);
	if (!err && (++state->deltas >= KEYFRAME_DELTAS || state->bytes >= KEYFRAME_BYTES)) {
		const struct event_content keyframe =
			content_of(ev->h.t_ns, gpa, now, CONTENT_WHY_KEYFRAME);

		err = record_write(r, &keyframe.h);
		state->deltas = state->bytes = 0;
	}
	return err;
}

static int content_keep(struct record *r, const struct event_content *ev, bool within)
{
	const u64 end = ev->gpa + ev->len;

	if (ev->len <= sizeof(ev->data) && ev->gpa <= UINT64_MAX - PAGE - ev->len) {
		waiting(r, ev->gpa, ev->len, -1);
		for (u64 at = ev->gpa, stop; within && at < end; at = stop) {
			struct page_state *state;
			u8 *page = copy_of(r->log, at, wanted(r, at), &state);

			stop = page_of(at) + PAGE < end ? page_of(at) + PAGE : end;
			if (!page && wanted(r, at))
				return -ENOMEM;
			if (page)
				memcpy(page + (at - page_of(at)), ev->data + (at - ev->gpa),
				       stop - at);
		}
	}
	return within ? record_write(r, &ev->h) : 0;
}

int record_pages_keep(struct record *r, const struct event *ev, bool within)
{
	if (ev->kind == EVENT_version)
		return version_keep(r, (const struct event_version *)ev, within);
	return content_keep(r, (const struct event_content *)ev, within);
}

/*
 * Copies the pages that wait. A page that two reads in a row find the same was so between them
 * (unless bytes changed and changed back): a page that really was. Who writes all the time is read
 * again, and at last taken as it is.
 */
int copies_flush(struct record *r)
{
	struct record_pages *p = r->log;
	struct copy copy = {.t0_ns = record_now(r)};
	u64 twice[2 * WAITING];
	int err = 0;

	for (size_t i = 0; i < p->n; i++)
		twice[2 * i] = twice[2 * i + 1] = p->hva[i];
	if (p->n)
		err = vmm_memory_read(&p->memory, twice, 2 * p->n, p->window[0][0]);
	copy.t_ns = record_now(r);
	p->copied += p->n;
	for (size_t i = 0; i < p->n && !err; i++) {
		u8(*reads)[PAGE] = p->window[i];

		copy.gpa = p->gpa[i];
		copy.hva = p->hva[i];
		copy.how = p->how[i];
		copy.torn = memcmp(reads[0], reads[1], PAGE);
		for (int n = 0; copy.torn && n < READS_MAX && !err; n++) {
			err = vmm_memory_read(&p->memory, twice + 2 * i, 2, reads[0]);
			copy.t_ns = record_now(r);
			copy.torn = memcmp(reads[0], reads[1], PAGE);
		}
		p->torn += copy.torn;
		if (!err)
			err = page_take(r, &copy, reads[1]);
	}
	p->n = 0;
	return err;
}

int copies_add(struct record *r, u64 gpa, u64 hva, u8 how)
{
	struct record_pages *p = r->log;
	int err = p->n == WAITING ? copies_flush(r) : 0;

	p->gpa[p->n] = gpa;
	p->hva[p->n] = hva;
	p->how[p->n++] = how;
	return err;
}

static int page_or_zeroes(struct record *r, const struct ram *ram, u64 off, u8 how, bool touched)
{
	struct copy copy = {.gpa = ram->gpa + off, .hva = ram->hva + off, .how = how};

	if (touched)
		return copies_add(r, copy.gpa, copy.hva, how);
	copy.t0_ns = copy.t_ns = record_now(r);
	return page_take(r, &copy, NULL);
}

/* Bytes [from, to) of a slot. Pages that were never touched are zeroes, and not read: that would
 * fill the holes of memory that is shared. A log may begin with all pages in it, but does not name
 * a few of those. */
int copies_range(struct record *r, const struct ram *ram, u64 from, u64 to, u8 how)
{
	struct record_pages *p = r->log;
	int err = 0;

	for (u64 step; from < to && !err; from += step * PAGE) {
		bool touched[VMM_WINDOW_MAX];

		step = (to - from) / PAGE;
		if (step > VMM_WINDOW_MAX)
			step = VMM_WINDOW_MAX;
		memset(touched, true, sizeof(touched));
		if (step >= MANY || how != VERSION_HOW_LOG)
			vmm_memory_touched(&p->memory, ram->hva + from, step, touched);
		for (u64 k = 0; k < step && !err; k++)
			err = page_or_zeroes(r, ram, from + k * PAGE, how, touched[k]);
		link_beat(r->link);
	}
	return err;
}

/* [hva, hva + n pages), wherever the guest sees it. */
int copies_add_run(struct record *r, u64 hva, u64 n, u8 how)
{
	const struct record_pages *p = r->log;
	const u64 end = hva + n * PAGE;
	int err = 0;

	for (size_t i = 0; i < p->nram && !err; i++) {
		const struct ram *ram = &p->ram[i];
		const u64 from = hva > ram->hva ? hva : ram->hva;
		const u64 to = end < ram->hva + ram->size ? end : ram->hva + ram->size;

		if (from < to)
			err = copies_range(r, ram, from - ram->hva, to - ram->hva, how);
	}
	return err;
}

int copies_pass(struct record *r, u8 how)
{
	const struct record_pages *p = r->log;
	int err = 0;

	for (size_t i = 0; i < p->nram && !err; i++)
		err = copies_range(r, &p->ram[i], 0, p->ram[i].size, how);
	return err ? err : copies_flush(r);
}
