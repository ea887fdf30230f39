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

struct scribe {
	int fd; /* a second descriptor of the memfd */
	struct writer *writer;
	u64 t_ns;
	struct reader *reader;
	struct state *state;
};

static inline void scribe_begin(struct scribe *s)
{
	const struct writer_opts opts = {.chunk_events = 64};

	*s = (struct scribe){.fd = memfd_create("trace", MFD_CLOEXEC)};
	assert_true(s->fd >= 0);
	assert_int_equal(writer_open(&s->writer, dup(s->fd), &opts), 0);
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
