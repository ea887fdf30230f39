/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scribe: small traces for tests, event by event, through the real writer into a memfd. */
#ifndef VMBLAME_TEST_SCRIBE_H
#define VMBLAME_TEST_SCRIBE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/reader.h"
#include "formats/writer.h"
#include "replay/state.h"

#define SCRIBE_SITES 64u

struct scribe {
	int fd; /* a second descriptor of the memfd */
	struct writer *writer;
	u64 t_ns;
	struct store_site sites[SCRIBE_SITES]; /* told of: their numbers are the indices */
	u32 nsites;
	struct reader *reader;
	struct state *state;
};

static inline void scribe_open(struct scribe *s, bool stores)
{
	const struct writer_opts opts = {.chunk_events = 64, .stores = stores};

	*s = (struct scribe){.fd = memfd_create("trace", MFD_CLOEXEC)};
	assert_true(s->fd >= 0);
	assert_int_equal(writer_open(&s->writer, dup(s->fd), &opts), 0);
}

static inline void scribe_begin(struct scribe *s)
{
	scribe_open(s, false);
}

/* A trace of full mode: every store of the vCPUs is seen. */
static inline void scribe_begin_full(struct scribe *s)
{
	scribe_open(s, true);
}

/* Stamps and writes an event, one microsecond after the one before; returns its number. */
static inline u64 scribe_put(struct scribe *s, struct event *ev, unsigned kind)
{
	u64 seq = 0;

	s->t_ns += 1000;
	ev->t_ns = s->t_ns;
	ev->kind = (u16)kind;
	assert_int_equal(writer_put(s->writer, ev, &seq), 0);
	return seq;
}

static inline u64 scribe_cover(struct scribe *s, enum origin origin, bool on, enum why why, u64 gpa,
			       u64 size)
{
	struct event_cover ev = {
		.origin = (u8)origin, .on = on, .why = (u8)why, .gpa = gpa, .size = size};

	return scribe_put(s, &ev.h, EVENT_cover);
}

/* Both classes that a recorder observes. */
static inline void scribe_watch(struct scribe *s, u64 gpa, u64 size)
{
	scribe_cover(s, ORIGIN_VIRTQUEUE, true, WHY_NONE, 0, 0);
	scribe_cover(s, ORIGIN_VCPU, true, WHY_NONE, gpa, size);
}

static inline u64 scribe_store(struct scribe *s, u64 gpa, const char *bytes, enum mmio_done done)
{
	struct event_mmio ev = {
		.gpa = gpa, .len = (u8)strlen(bytes), .write = 1, .done = (u8)done, .rip = gpa};

	memcpy(ev.bytes, bytes, ev.len);
	return scribe_put(s, &ev.h, EVENT_mmio);
}

static inline u32 scribe_site(struct scribe *s, u64 pc, u8 size)
{
	u32 id = 0;

	while (id < s->nsites && (s->sites[id].pc != pc || s->sites[id].size != size))
		id++;
	if (id == s->nsites) {
		assert_true(id < SCRIBE_SITES);
		s->sites[s->nsites++] = (struct store_site){.pc = pc, .size = size};
		assert_int_equal(stores_site(writer_stores(s->writer), id, &s->sites[id]), 0);
	}
	return id;
}

/* A store of the stores stream, by the instruction at pc; returns its number. Within one page; it
 * has the time of the event before it: a moment's stores, up to scribe_tick(). */
static inline u64 scribe_put_store(struct scribe *s, u64 gpa, u8 size, u64 value, u64 pc, bool smm)
{
	const u64 high = 0xffff888000000000ull + ((u64)smm << 40);
	const struct store_raw raw = {
		.gva = gpa + high, .value = value, .site = scribe_site(s, pc, size)};
	struct stores_encoder *e = writer_stores(s->writer);

	assert_non_null(e);
	assert_int_equal(stores_map(e, 0, raw.gva & ~0xfffull, gpa & ~0xfffull, smm), 0);
	stores_time(e, s->t_ns);
	stores_thread(e, 4711, 0);
	assert_int_equal(writer_put_stores(s->writer, 0, &raw, 1), 0);
	return writer_stats(s->writer)->events;
}

static inline void scribe_tick(struct scribe *s)
{
	s->t_ns += 1000;
}

/* The text's bytes (1, 2, 4 or 8), one microsecond after what was before. */
static inline u64 scribe_ram(struct scribe *s, u64 gpa, const char *bytes)
{
	const u8 size = (u8)strlen(bytes);
	u64 value = 0;

	assert_true(size <= sizeof(value));
	memcpy(&value, bytes, size);
	scribe_tick(s);
	return scribe_put_store(s, gpa, size, value, 0x400000 + size, false);
}

static inline u64 scribe_unseen(struct scribe *s, enum why why, u64 t0_ns, u64 gpa,
				const char *bytes)
{
	struct event_unseen ev = {
		.gpa = gpa, .t0_ns = t0_ns, .why = (u8)why, .len = (u16)strlen(bytes)};

	memcpy(ev.data, bytes, ev.len);
	return scribe_put(s, &ev.h, EVENT_unseen);
}

static inline u64 scribe_compared(struct scribe *s, u64 gpa, u64 size, u64 t0_ns, u64 differed)
{
	struct event_compared ev = {.gpa = gpa, .size = size, .t0_ns = t0_ns, .differed = differed};

	return scribe_put(s, &ev.h, EVENT_compared);
}

static inline u64 scribe_mark(struct scribe *s, const char *name)
{
	struct event_mark ev = {.name_len = (u8)strlen(name)};

	memcpy(ev.name, name, ev.name_len);
	return scribe_put(s, &ev.h, EVENT_mark);
}

static inline u64 scribe_content(struct scribe *s, enum content_why why, u64 req, u64 gpa,
				 const char *bytes)
{
	struct event_content ev = {
		.gpa = gpa, .why = (u8)why, .req = req, .len = (u16)strlen(bytes)};

	memcpy(ev.data, bytes, ev.len);
	return scribe_put(s, &ev.h, EVENT_content);
}

/* A virtio-blk read of `sector` that fills [gpa, gpa + len); returns the segment's number. */
static inline u64 scribe_transfer(struct scribe *s, u64 req, u64 sector, u64 gpa, u32 len)
{
	struct event_vq_push push = {.req = req, .written = len + 1, .nin = 2, .head_len = 16};
	struct event_vq_sg sg = {.req = req, .write = 1, .gpa = gpa, .len = len};

	memcpy(push.header + 8, &sector, sizeof(sector));
	scribe_put(s, &push.h, EVENT_vq_push);
	s->t_ns -= 1000; /* one moment */
	return scribe_put(s, &sg.h, EVENT_vq_sg);
}

static inline u64 scribe_loss(struct scribe *s, u64 count, u64 t0, u64 t1, u64 gpa, u64 end,
			      u16 origins)
{
	struct event_lost ev = {.ring = 0,
				.count = count,
				.t0_ns = t0,
				.t1_ns = t1,
				.gpa = gpa,
				.gpa_end = end,
				.origins = origins};

	return scribe_put(s, &ev.h, EVENT_lost);
}

/* Closes the writer, opens reader and state. */
static inline void scribe_read(struct scribe *s)
{
	char path[64], err[256] = "";

	assert_int_equal(writer_close(s->writer), 0);
	s->writer = NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	if (reader_open(&s->reader, path, err, sizeof(err)))
		fail_msg("%s", err);
	if (state_load(&s->state, s->reader, err, sizeof(err)))
		fail_msg("%s", err);
}

static inline void scribe_end(struct scribe *s)
{
	state_free(s->state);
	reader_close(s->reader);
	close(s->fd);
}

#endif
