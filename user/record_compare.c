// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Full mode: comparing the guest's memory with what the stores that were seen make of it. The vCPUs
 * stand still, or halt; what is found counts only when no store came in meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/races.h"
#include "user/record_full.h"

/* Comparing takes this part of the time at most, and comes no more often than that. */
#define COMPARE_SHARE  30
#define COMPARE_MIN_NS 20000000ull
/* vCPUs that have not stopped by then do not store: they halt. */
#define PARK_NS 20000000ull

/* Why nobody was seen. Accessed and dirty bits, in an entry that is present, are what the walk of a
 * page table sets: 8 bytes, aligned, so that all of the entry is at hand. */
static enum why guess(const struct full *f, const struct replica_difference *d)
{
	const size_t off = d->gpa & 7;
	u64 now, was;

	if (f->dropped != f->dropped_then)
		return WHY_NO_PROBE; /* it may have been one of the stores that were lost */
	if (d->len + off <= 8) {
		memcpy(&now, d->now - off, 8);
		memcpy(&was, d->was - off, 8);
		if ((was & 1) && !((now ^ was) & ~0x60ull) && !(was & ~now & 0x60))
			return WHY_PAGE_TABLE;
	}
	if (f->races && races_since(f->races, f->compared_pass, (u64)(uintptr_t)d->was, d->len))
		return WHY_MULTI_VCPU; /* the other one may have come last */
	return WHY_EMULATOR;
}

static int on_difference(void *arg, const struct replica_difference *d)
{
	struct full *f = arg;

	if (f->nfound == f->found_max) {
		const size_t max = f->found_max ? 2 * f->found_max : 256;
		struct found *more = realloc(f->found, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		f->found = more;
		f->found_max = max;
	}
	f->found[f->nfound++] =
		(struct found){d->gpa, d->len, d->hidden, guess(f, d), f->bytes.len};
	buf_put(&f->bytes, d->now, d->len);
	return f->bytes.failed ? -ENOMEM : 0;
}

/* Takes over what a comparison found. */
static int found_keep(struct full *f)
{
	int err = 0;

	for (size_t i = 0; i < f->nfound && !err; i++) {
		const struct found *d = &f->found[i];
		u8 *page = replica_page(f->replica, d->gpa & ~0xfffull, d->hidden);

		if (page)
			memcpy(page + (d->gpa & 0xfff), f->bytes.data + d->at, d->len);
		if (d->hidden)
			continue; /* another address space: nothing there can be asked for */
		if (f->stage == STAGE_BEGIN) {
			struct event_content ev = {
				.h = {.kind = EVENT_content, .vcpu = VCPU_NONE},
				.gpa = d->gpa,
				.why = CONTENT_WHY_START,
				.len = d->len,
			};
			memcpy(ev.data, f->bytes.data + d->at, d->len);
			err = full_put(f, &ev.h);
		} else {
			struct event_unseen ev = {
				.h = {.kind = EVENT_unseen, .vcpu = VCPU_NONE},
				.gpa = d->gpa,
				.t0_ns = f->compared_ns,
				.why = d->why,
				.len = d->len,
			};
			memcpy(ev.data, f->bytes.data + d->at, d->len);
			err = full_put(f, &ev.h);
			f->differed += d->len;
		}
	}
	return err;
}

/* All of RAM, or each part of it that was asked for. */
static int compared_put(struct full *f, u64 differed)
{
	size_t n;
	const struct replica_part *parts = replica_parts(f->replica, &n);
	struct event_compared ev = {
		.h = {.kind = EVENT_compared, .vcpu = VCPU_NONE},
		.t0_ns = f->compared_ns,
		.differed = differed,
	};
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		if (parts[i].hidden)
			continue;
		if (!f->r->npages && parts[i].gpa + parts[i].size > ev.size)
			ev.size = parts[i].gpa + parts[i].size;
		if (!f->r->npages)
			continue;
		ev.gpa = parts[i].gpa;
		ev.size = parts[i].size;
		err = full_put(f, &ev.h);
	}
	return err || f->r->npages ? err : full_put(f, &ev.h);
}

/* Moments with a name; known: memory was compared then. */
static int marks(struct full *f, bool known)
{
	struct mark_due due;
	int err = 0;

	while (!err && record_marks_next(f->r, &due)) {
		struct event_mark ev = mark_event(due.name, 0);

		err = full_put(f, &ev.h);
		if (!err)
			record_marks_done(&due, f->t_ns, known);
	}
	return err;
}

/* The vCPUs stand still, or do not store. False when one did: once more, then. */
bool compare(struct full *f)
{
	const u64 began = record_now(f->r);

	f->nfound = f->bytes.len = 0;
	/* Behind a wrapper the VMM is not the process that was started. */
	const pid_t thread = (pid_t)rings_thread(f->rings, 0);
	const s64 differed =
		replica_compare(f->replica, thread ? thread : f->vmm, on_difference, f, NULL);
	if (differed < 0) {
		record_say("cannot compare the guest's memory: %s: what devices wrote is not "
			   "known",
			   strerror((int)-differed));
		full_cover(f, ORIGIN_VIRTQUEUE, false, WHY_NO_PROBE, 0, 0);
		f->compared_ns = UINT64_MAX;
		const int put = marks(f, false);
		if (put)
			full_give_up(f, put);
		return true;
	}
	if (!f->ended && full_drain(f) > 0)
		return false;
	if (f->failed)
		return true;
	if (f->stage == STAGE_BEGIN)
		full_begin(f);
	int err = found_keep(f);
	/* Behind what was found, ahead of the comparison: it holds at the mark already. */
	if (!err)
		err = marks(f, true);
	if (!err)
		err = compared_put(f, (u64)differed);
	if (err)
		full_give_up(f, err);
	f->compared_ns = f->t_ns;
	f->dropped_then = f->dropped;
	f->compared_pass = f->pass;
	f->compare_cost = record_now(f->r) - began;
	f->comparisons++;
	return true;
}

static bool compare_due(const struct full *f)
{
	const u64 wait = COMPARE_SHARE * f->compare_cost;

	if (f->stage == STAGE_BEGIN)
		return f->r->from_hit;
	if (f->until_hit || f->r->marks.ndue)
		return true;
	return f->compared_ns != UINT64_MAX &&
	       record_now(f->r) - f->compared_ns > (wait > COMPARE_MIN_NS ? wait : COMPARE_MIN_NS);
}

/* Asks the vCPUs to stop where a comparison is due, and compares once they have. */
void compare_step(struct full *f)
{
	if (!f->parked_ns) {
		if (!compare_due(f))
			return;
		rings_park(f->rings);
		f->parked_ns = record_now(f->r);
	}
	const bool parked = rings_parked(f->rings);
	if (!f->mapped ||
	    (!parked && (f->stage == STAGE_BEGIN || record_now(f->r) - f->parked_ns < PARK_NS)))
		return;
	if (full_drain(f) < 0 || !compare(f) || f->failed)
		return;
	f->stage = STAGE_RUN;
	f->parked_ns = 0;
	if (f->until_hit && !f->failed)
		full_until(f);
	else if (!f->failed)
		rings_unpark(f->rings);
}
