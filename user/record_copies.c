// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode: copies of pages by guest-physical address, as a reader of the trace makes them of it;
 * and what differs from them now.
 */
#include <errno.h>
#include <string.h>

#include "formats/delta.h"
#include "user/record_pages.h"

/* A page's content is told as a whole again after so many deltas, or bytes of them. */
#define KEYFRAME_DELTAS 64
#define KEYFRAME_BYTES	16384
#define READS_MAX	16 /* of a page that is being written */
#define MANY		32 /* pages that are better asked for first */

static const u8 zeroes[PAGE];

static void content_put(struct record *r, u64 t_ns, u64 gpa, const u8 *bytes, enum content_why why)
{
	struct event_content ev = {
		.h = {.t_ns = t_ns, .kind = EVENT_content, .vcpu = VCPU_NONE},
		.gpa = gpa,
		.why = why,
		.len = PAGE,
	};

	memcpy(ev.data, bytes, PAGE);
	record_take(r, &ev.h);
}

const struct page_state *copies_state(struct record *r, u64 gpa)
{
	struct region *region = regions_find(&r->log->copies, gpa, false);

	return region ? (struct page_state *)region->more + (gpa - region->start) / PAGE : NULL;
}

int copies_put(struct record *r, const struct copy *copy, const u8 *now)
{
	struct record_pages *p = r->log;
	const u64 gpa = copy->gpa;
	struct region *region = regions_find(&p->copies, gpa, now != NULL);
	u8 how = copy->how;

	if (!region)
		return now ? -ENOMEM : 0; /* never written: zeroes */
	u8 *was = region->bytes + (gpa - region->start);
	struct page_state *state = (struct page_state *)region->more + (gpa - region->start) / PAGE;
	u64 since_ns = state->since_ns > p->exact_ns ? state->since_ns : p->exact_ns;

	if (state->hva && state->hva != copy->hva)
		how = VERSION_HOW_MAP;
	if (how == VERSION_HOW_SCRUB && p->scrub.whole_ns > since_ns)
		since_ns = p->scrub.whole_ns;
	now = now ? now : zeroes;
	state->hva = copy->hva;
	state->since_ns = copy->t0_ns;
	state->until_ns = copy->t_ns;
	if (!memcmp(was, now, PAGE))
		return 0;
	if (!p->begun) {
		content_put(r, copy->t_ns, gpa, now, CONTENT_WHY_START);
	} else {
		struct event_version ev = {
			.h = {.t_ns = copy->t_ns, .kind = EVENT_version, .vcpu = VCPU_NONE},
			.gpa = gpa,
			.t0_ns = since_ns,
			.log_ns = p->log_ns,
			.how = how,
			.torn = copy->torn,
			.sum = delta_sum(now),
		};
		_Static_assert(sizeof(ev.data) == DELTA_MAX, "any delta fits");
		ev.len = (u16)delta_make(was, now, ev.data);
		record_take(r, &ev.h);
		p->versions++;
		state->bytes += ev.len;
		if (++state->deltas >= KEYFRAME_DELTAS || state->bytes >= KEYFRAME_BYTES) {
			content_put(r, copy->t_ns, gpa, now, CONTENT_WHY_KEYFRAME);
			state->deltas = state->bytes = 0;
		}
	}
	memcpy(was, now, PAGE);
	return 0;
}

/* The same of one that may differ though nobody is known to have written. */
static int page_take(struct record *r, const struct copy *copy, const u8 *now)
{
	const struct region *region = regions_find(&r->log->copies, copy->gpa, false);
	const struct page_state *state = copies_state(r, copy->gpa);

	if (copy->how != VERSION_HOW_SCRUB || (state && state->hva && state->hva != copy->hva))
		return copies_put(r, copy, now);
	if (memcmp(region ? region->bytes + (copy->gpa - region->start) : zeroes,
		   now ? now : zeroes, PAGE))
		return scrub_doubt(r, copy, now ? now : zeroes);
	return region ? copies_put(r, copy, now) : 0;
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

/* Bytes [from, to) of a slot. A log may begin with all pages in it: of many, those that were never
 * touched are zeroes, and not read. */
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
		if (step >= MANY)
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

static bool in_ram(const struct record_pages *p, u64 gpa)
{
	for (size_t i = 0; i < p->nram; i++)
		if (gpa - p->ram[i].gpa < p->ram[i].size)
			return true;
	return false;
}

/* What a device left is in the trace: the copy is to be as a reader has it. A page that was copied
 * later than that, but before it was known, is told once more. */
void copies_device_bytes(struct record *r, const struct event_content *ev)
{
	struct record_pages *p = r->log;
	const u64 gpa = ev->gpa, off = gpa & (PAGE - 1);
	struct region *region = in_ram(p, gpa) ? regions_find(&p->copies, gpa, true) : NULL;

	if (!region || !p->begun || ev->len > PAGE - off)
		return;
	u8 *page = region->bytes + (gpa - off - region->start);
	const struct page_state *state =
		(struct page_state *)region->more + (gpa - region->start) / PAGE;

	if (ev->h.t_ns >= state->until_ns)
		memcpy(page + off, ev->data, ev->len);
	else if (memcmp(page + off, ev->data, ev->len))
		content_put(r, state->until_ns, gpa - off, page, CONTENT_WHY_KEYFRAME);
}

int copies_pass(struct record *r, u8 how)
{
	const struct record_pages *p = r->log;
	int err = 0;

	for (size_t i = 0; i < p->nram && !err; i++)
		err = copies_range(r, &p->ram[i], 0, p->ram[i].size, how);
	return err ? err : copies_flush(r);
}
