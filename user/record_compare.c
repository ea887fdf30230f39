// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Full mode: comparing the guest's memory with what the stores that were seen make of it. The vCPUs
 * stand still, or halt; what is found counts only when no store came in meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/record_full.h"

/* Comparing takes this part of the time at most, and comes no more often than that. */
#define COMPARE_SHARE  30
#define COMPARE_MIN_NS 20000000ull
/* vCPUs that have not stopped by then do not store: they halt. */
#define PARK_NS 20000000ull

/* Accessed and dirty, in a present entry: what the walk of a page table sets. */
static bool marks_used(const struct replica_difference *d, size_t at, const u8 *now, const u8 *was)
{
	(void)d;
	(void)at;
	u64 x, y;

	memcpy(&x, now, 8);
	memcpy(&y, was, 8);
	return (y & 1) && !((x ^ y) & ~0x60ull) && !(y & ~x & 0x60);
}

static enum why guess(const struct replica_difference *d)
{
	/* Within the entry that holds the byte: 8 bytes, aligned; both lie within the page. */
	const size_t off = d->gpa & 7;

	if (d->len + off > 8)
		return WHY_EMULATOR;
	return marks_used(d, off, d->now - off, d->was - off) ? WHY_PAGE_TABLE : WHY_EMULATOR;
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
	f->found[f->nfound++] = (struct found){d->gpa, d->len, d->hidden, guess(d), f->bytes.len};
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

static int compared_put(struct full *f, u64 differed)
{
	size_t n;
	const struct replica_part *parts = replica_parts(f->replica, &n);
	struct event_compared ev = {
		.h = {.kind = EVENT_compared, .vcpu = VCPU_NONE},
		.t0_ns = f->compared_ns,
		.differed = differed,
	};

	for (size_t i = 0; i < n; i++)
		if (!parts[i].hidden && parts[i].gpa + parts[i].size > ev.size)
			ev.size = parts[i].gpa + parts[i].size;
	return full_put(f, &ev.h);
}

/* A moment with a name; what memory holds is known exactly then. */
static int mark(struct full *f)
{
	struct event_mark ev = {.h = {.kind = EVENT_mark, .vcpu = VCPU_NONE}};

	ev.name_len = (u8)snprintf((char *)ev.name, sizeof(ev.name), "mark-%u", ++f->marks);
	const int err = full_put(f, &ev.h);
	if (!err)
		record_say("mark-%u at %.6f s", f->marks, (double)f->t_ns / 1e9);
	return err;
}

static int marks(struct full *f)
{
	int err = 0;

	while (!err && f->marks < f->marks_due)
		err = mark(f);
	return err;
}

/* The vCPUs stand still, or do not store. False when one did: once more, then. */
bool compare(struct full *f)
{
	const u64 began = full_mono_ns();
	u64 read = 0;

	f->nfound = f->bytes.len = 0;
	/* Behind a wrapper the VMM is not the process that was started. */
	const pid_t thread = (pid_t)rings_thread(f->rings, 0);
	const s64 differed =
		replica_compare(f->replica, thread ? thread : f->vmm, on_difference, f, &read);
	if (differed < 0) {
		record_say("cannot compare the guest's memory: %s: what devices wrote is not "
			   "known",
			   strerror((int)-differed));
		full_cover(f, ORIGIN_VIRTQUEUE, false, WHY_NO_PROBE, 0, 0);
		f->compared_ns = UINT64_MAX;
		const int put = marks(f);
		if (put)
			full_give_up(f, put);
		return true;
	}
	if (!f->ended && full_drain(f) > 0)
		return false;
	if (f->failed)
		return true;
	int err = found_keep(f);
	/* Behind what was found, ahead of the comparison: it holds at the mark already. */
	if (!err)
		err = marks(f);
	if (!err)
		err = compared_put(f, (u64)differed);
	if (err)
		full_give_up(f, err);
	f->compared_ns = f->t_ns;
	f->compare_cost = full_mono_ns() - began;
	f->comparisons++;
	return true;
}

static bool compare_due(const struct full *f)
{
	const u64 wait = COMPARE_SHARE * f->compare_cost;

	if (f->stage == STAGE_BEGIN)
		return f->from_hit;
	if (f->until_hit || f->marks_due > f->marks)
		return true;
	return f->compared_ns != UINT64_MAX &&
	       record_now(f->r) - f->compared_ns > (wait > COMPARE_MIN_NS ? wait : COMPARE_MIN_NS);
}

/* Asks the vCPUs to stop where a comparison is due, and compares once they have. */
void compare_step(struct full *f)
{
	size_t nparts;

	if (!f->parked_ns) {
		if (!compare_due(f))
			return;
		rings_park(f->rings);
		f->parked_ns = full_mono_ns();
	}
	const bool parked = rings_parked(f->rings);
	replica_parts(f->replica, &nparts);
	if (!nparts ||
	    (!parked && (f->stage == STAGE_BEGIN || full_mono_ns() - f->parked_ns < PARK_NS)))
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
