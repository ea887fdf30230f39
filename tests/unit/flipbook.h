/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flipbook: a small random trace, the list of its writes as a film should show them (one within
 * each page), and memory played from that list in the plainest way.
 */
#ifndef VMBLAME_TEST_FLIPBOOK_H
#define VMBLAME_TEST_FLIPBOOK_H

#include "scribe.h"

#include <stdlib.h>

#include "replay/film.h"
#include "tests/unit/random_event.h"

#define FLIP_BASE   0x10000ull
#define FLIP_PAGES  4u
#define FLIP_BYTES  (FLIP_PAGES * 4096u)
#define FLIP_END    (FLIP_BASE + FLIP_BYTES)
#define FLIP_LEN    48u /* bytes of a write at most */
#define FLIP_WRITES 4000u

struct flip_write {
	struct moment at;
	u64 gpa, pc, since_ns;
	u32 len;
	enum origin origin;
	u8 bytes[FLIP_LEN];
};

struct flipbook {
	struct scribe s;
	bool zeroed; /* memory is compared */
	u64 seed;
	size_t n;
	struct flip_write writes[FLIP_WRITES];
};

struct flip_memory {
	u8 bytes[FLIP_BYTES];
	bool known[FLIP_BYTES];
	bool touched[FLIP_PAGES];
};

static inline u64 flip_random(struct flipbook *b, u64 n)
{
	return random_next(&b->seed) % n;
}

/* Enters a write, cut at pages. */
static inline void flip_note(struct flipbook *b, struct flip_write w, u64 seq)
{
	const u8 *bytes = w.bytes;

	w.at = (struct moment){b->s.t_ns, seq};
	for (u64 at = w.gpa, end = w.gpa + w.len, stop; at < end; at = stop) {
		struct flip_write *to = &b->writes[b->n++];

		stop = (at | 4095) + 1 < end ? (at | 4095) + 1 : end;
		assert_true(b->n <= FLIP_WRITES);
		*to = w;
		to->gpa = at;
		to->len = (u32)(stop - at);
		memmove(to->bytes, bytes + (at - w.gpa), to->len);
	}
}

/* Few places and few values, so that they meet: around the pages' ends, and one within a page. */
static inline u64 flip_place(struct flipbook *b)
{
	const u64 page = flip_random(b, FLIP_PAGES);

	if (page && flip_random(b, 3))
		return FLIP_BASE + page * 4096 - 24 + flip_random(b, 40);
	return FLIP_BASE + page * 4096 + 64 + flip_random(b, 24);
}

static inline void flip_fill(struct flipbook *b, struct flip_write *w)
{
	static const u8 some[] = {0, 0, 'a', 'a', 'a', 'b'};

	for (u32 i = 0; i < w->len; i++)
		w->bytes[i] = some[flip_random(b, sizeof(some))];
	if (w->gpa + w->len > FLIP_END)
		w->gpa = FLIP_END - w->len;
}

static inline void flip_store(struct flipbook *b)
{
	struct flip_write w = {.gpa = flip_place(b), .origin = ORIGIN_VCPU};
	u64 value;

	w.len = 1u << flip_random(b, 4);
	w.pc = 0x1000 + 16 * flip_random(b, 6);
	if ((w.gpa & 4095) + w.len > 4096)
		w.gpa = (w.gpa | 4095) + 1 - w.len;
	flip_fill(b, &w);
	memcpy(&value, w.bytes, sizeof(value));
	flip_note(
		b, w,
		scribe_put_store(&b->s, w.gpa, (u8)w.len, value & bytes_mask(w.len), w.pc, false));
}

static inline void flip_mmio(struct flipbook *b)
{
	struct flip_write w = {.gpa = flip_place(b), .origin = ORIGIN_VCPU, .pc = 0x7000};
	struct event_mmio ev = {
		.write = 1, .done = MMIO_DONE_EXITED, .cs_base = 0x4000, .rip = 0x3000};

	w.len = 1u << flip_random(b, 4);
	flip_fill(b, &w);
	ev.gpa = w.gpa;
	ev.len = (u8)w.len;
	memcpy(ev.bytes, w.bytes, w.len);
	const u64 seq = scribe_put(&b->s, &ev.h, EVENT_mmio);
	flip_note(b, w, seq);
}

static inline void flip_unseen(struct flipbook *b)
{
	struct flip_write w = {
		.gpa = flip_place(b), .origin = ORIGIN_UNSEEN, .since_ns = b->s.t_ns / 2};
	struct event_unseen ev = {.t0_ns = w.since_ns};

	w.len = 1 + (u32)flip_random(b, FLIP_LEN);
	flip_fill(b, &w);
	ev.gpa = w.gpa;
	ev.len = (u16)w.len;
	memcpy(ev.data, w.bytes, w.len);
	const u64 seq = scribe_put(&b->s, &ev.h, EVENT_unseen);
	flip_note(b, w, seq);
}

static inline void flip_content(struct flipbook *b, enum content_why why)
{
	struct flip_write w = {.gpa = flip_place(b)};
	struct event_content ev = {.why = (u8)why};

	w.origin = why == CONTENT_WHY_DEVICE ? ORIGIN_VIRTQUEUE : ORIGIN_NONE;
	w.len = 1 + (u32)flip_random(b, FLIP_LEN);
	flip_fill(b, &w);
	ev.gpa = w.gpa;
	ev.len = (u16)w.len;
	memcpy(ev.data, w.bytes, w.len);
	const u64 seq = scribe_put(&b->s, &ev.h, EVENT_content);
	flip_note(b, w, seq);
}

/* About n events; scribe_end(&b->s) it. */
static inline struct flipbook *flip_make(u64 seed, size_t n, bool zeroed)
{
	struct flipbook *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->seed = seed * 0x9e3779b97f4a7c15ull | 1;
	b->zeroed = zeroed;
	scribe_begin_full(&b->s);
	scribe_watch(&b->s, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		flip_content(b, CONTENT_WHY_START);
	if (zeroed)
		scribe_compared(&b->s, 0, UINT64_MAX, 0, 0);
	for (size_t i = 0; i < n; i++) {
		const u64 what = flip_random(b, 16);

		if (what < 10)
			for (u64 k = 1 + flip_random(b, 6); k; k--)
				flip_store(b);
		else if (what < 12)
			scribe_tick(&b->s);
		else if (what < 13)
			flip_mmio(b);
		else if (what < 15)
			flip_unseen(b);
		else
			flip_content(b, flip_random(b, 2) ? CONTENT_WHY_DEVICE : CONTENT_WHY_MARK);
	}
	scribe_read(&b->s);
	return b;
}

static inline void flip_free(struct flipbook *b)
{
	scribe_end(&b->s);
	free(b);
}

static inline void flip_do(struct flip_memory *m, const struct flip_write *w)
{
	memcpy(m->bytes + (w->gpa - FLIP_BASE), w->bytes, w->len);
	memset(m->known + (w->gpa - FLIP_BASE), true, w->len);
	m->touched[(w->gpa - FLIP_BASE) / 4096] = true;
}

/* Memory as of the limit. */
static inline void flip_play(const struct flipbook *b, struct moment limit, struct flip_memory *m)
{
	memset(m, 0, sizeof(*m));
	memset(m->known, b->zeroed, sizeof(m->known));
	for (size_t i = 0; i < b->n && moment_before(b->writes[i].at, limit); i++)
		flip_do(m, &b->writes[i]);
}

/* A moment about which writes lie, often in the midst of many of one time. */
static inline struct moment flip_moment(struct flipbook *b)
{
	struct moment at = b->writes[flip_random(b, b->n)].at;

	at.seq += flip_random(b, 2);
	return at;
}

#endif
