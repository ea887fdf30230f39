// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages mode: the scrub. A slice of memory after each epoch is compared with its copies: what
 * differs, and is in no log and of no device, was written past all of them.
 *
 * A difference is a doubt at first. The store of a vCPU is in the next log, but where KVM emulates
 * it marks the page after it wrote to it; a device's is told of, but its event may be on its way.
 * So a doubt waits for several harvests, and is put aside as soon as the page is copied for another
 * reason. While the vCPUs stand still, and their log has been read, it need not wait.
 */
#include <string.h>

#include "user/record_pages.h"

#define WAIT_NS	      200000000ull
#define WAIT_HARVESTS 3
#define SLICE_MAX     (4u << 20) /* bytes at once */

int scrub_doubt(struct record *r, const struct copy *copy, const u8 *now)
{
	struct record_pages *p = r->log;
	struct scrub *s = &p->scrub;

	if (s->n == DOUBTS) {
		const int err = p->held || p->ending ? scrub_settle(r) : 0;

		if (err)
			return err;
	}
	if (s->n == DOUBTS) { /* the next time round */
		s->whole_ns = s->turn_ns = 0;
		return 0;
	}
	for (size_t i = 0; i < s->n; i++)
		if (s->doubt[i].copy.gpa == copy->gpa)
			return 0;
	s->doubt[s->n] = (struct doubt){.copy = *copy, .harvests = p->epochs};
	memcpy(s->doubt[s->n++].bytes, now, PAGE);
	return 0;
}

/* Found again, and nobody did it. */
static int silent(struct record *r, const struct doubt *d, const u8 *now, u64 t_ns)
{
	struct scrub *s = &r->log->scrub;
	struct copy copy = d->copy;

	if (s->nsilent < SILENT_TOLD)
		s->silent[s->nsilent] = copy.gpa;
	s->nsilent++;
	copy.how = VERSION_HOW_SCRUB;
	if (memcmp(now, d->bytes, PAGE)) {
		/* It was seen, and is gone again. */
		const int err = copies_put(r, &copy, d->bytes);
		if (err)
			return err;
	}
	copy.t0_ns = copy.t_ns = t_ns;
	return copies_put(r, &copy, now);
}

/* *gone: it is no doubt any more. */
static int doubt_settle(struct record *r, struct doubt *d, bool still, bool *gone)
{
	const struct record_pages *p = r->log;
	const struct page_state *state = copies_state(r, d->copy.gpa);
	const u64 t_ns = record_now(r);
	u8 now[PAGE];

	*gone = state && state->since_ns >= d->copy.t0_ns;
	if (*gone)
		return 0;
	if (!still &&
	    (p->epochs - d->harvests < WAIT_HARVESTS || p->next_log_ns < d->copy.t_ns + WAIT_NS))
		return 0;
	if (record_pages_in_flight(r, d->copy.gpa, d->copy.gpa + PAGE)) {
		*gone = still;
		if (!still)
			return 0;
		d->copy.how = VERSION_HOW_DEVICE;
		return copies_put(r, &d->copy, d->bytes);
	}
	if (still) {
		*gone = true;
		return silent(r, d, d->bytes, d->copy.t_ns);
	}
	const int err = vmm_memory_read(&p->memory, &d->copy.hva, 1, now);
	if (err)
		return err;
	*gone = true;
	return silent(r, d, now, t_ns);
}

int scrub_settle(struct record *r)
{
	struct record_pages *p = r->log;
	struct scrub *s = &p->scrub;
	const bool still = p->held || p->ending;
	size_t kept = 0;
	int err = 0;

	if (s->n && still)
		record_drain(r);
	for (size_t i = 0; i < s->n; i++) {
		bool gone = true;

		if (!err)
			err = doubt_settle(r, &s->doubt[i], still, &gone);
		if (!gone)
			s->doubt[kept++] = s->doubt[i];
	}
	s->n = kept;
	return err;
}

/* Up to `bytes` from where it stood; all of RAM once at most. */
static int slice(struct record *r, u64 bytes)
{
	struct record_pages *p = r->log;
	struct scrub *s = &p->scrub;
	int err = 0;

	for (size_t turns = 0; bytes && turns <= p->nram && p->nram && !err; turns++) {
		const struct ram *ram = &p->ram[s->slot % p->nram];
		const u64 left = s->off < ram->size ? ram->size - s->off : 0;
		const u64 some = bytes < left ? bytes : left;

		if (some)
			err = copies_range(r, ram, s->off, s->off + some, VERSION_HOW_SCRUB);
		bytes -= some;
		s->off += some;
		s->compared += some;
		if (s->off >= ram->size) {
			s->off = 0;
			s->slot = (s->slot + 1) % p->nram;
		}
		if (!s->slot && !s->off) {
			s->whole_ns = s->turn_ns;
			s->turn_ns = record_now(r);
		}
	}
	return err ? err : copies_flush(r);
}

int scrub_step(struct record *r)
{
	struct record_pages *p = r->log;
	struct scrub *s = &p->scrub;
	const u64 now_ns = record_now(r);
	const u64 since_ns = s->then_ns ? now_ns - s->then_ns : 0;
	u64 bytes = (u64)((double)r->opts->scrub_rate * (double)since_ns / 1e9) & ~(u64)(PAGE - 1);
	const int err = scrub_settle(r);

	if (err || !r->opts->scrub_rate)
		return err;
	if (bytes || !s->then_ns)
		s->then_ns = now_ns;
	return slice(r, bytes < SLICE_MAX ? bytes : SLICE_MAX);
}
