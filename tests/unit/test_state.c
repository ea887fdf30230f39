/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state: devices, rings, marks, and where a cut file stops being complete. */
#include "scribe.h"

#include <errno.h>

#include "chunks.h"

static void devices_have_names(void **state)
{
	struct event_vq_device device = {.dev = 3, .device_id = VIRTIO_ID_BLK};
	struct scribe s;
	char name[32];

	(void)state;
	scribe_begin(&s);
	scribe_put(&s, &device.h, EVENT_vq_device);
	scribe_read(&s);
	assert_string_equal(state_device_name(s.state, 3, name, sizeof(name)), "virtio-blk#3");
	assert_string_equal(state_device_name(s.state, 4, name, sizeof(name)), "virtio#4");
	assert_int_equal(state_device_id(s.state, 4), VIRTIO_ID_NONE);
	scribe_end(&s);
}

static void rings_last_until_they_move(void **state)
{
	struct event_vq_rings rings = {.desc = 0x1000, .avail = 0x1800, .used = 0x2000};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 1: 128 descriptors */
	rings.used = 0x8000;
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 2 */
	scribe_read(&s);
	const struct moment one = {1000, 1}, two = {2000, 2};
	assert_non_null(state_ring(s.state, 0x2000, one, two));
	assert_non_null(state_ring(s.state, 0x2000 + 4 + 8 * 128 + 1, one, two));
	assert_null(state_ring(s.state, 0x2000 + 4 + 8 * 128 + 2, one, two));
	assert_null(state_ring(s.state, 0x2000, two, MOMENT_END));
	assert_null(state_ring(s.state, 0x8000, one, two));
	assert_non_null(state_ring(s.state, 0x8000, two, MOMENT_END));
	scribe_end(&s);
}

static void who_serves_a_queue_is_known(void **state)
{
	struct event_vq_rings rings = {
		.desc = 0x1000, .avail = 0x9000, .used = 0x2000, .size = 4, .queue = 1};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 1 */
	rings.backend = QUEUE_BACKEND_VHOST;
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 2 */
	rings.backend = QUEUE_BACKEND_VMM;
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 3 */
	rings = (struct event_vq_rings){.queue = QUEUE_ALL, .backend = QUEUE_BACKEND_VHOST_USER};
	scribe_put(&s, &rings.h, EVENT_vq_rings); /* 4 */
	scribe_read(&s);
	const struct moment one = {1000, 1}, two = {2000, 2}, three = {3000, 3}, four = {4000, 4};
	assert_null(state_vhost(s.state, 0x2000, MOMENT_START, one));
	assert_null(state_vhost(s.state, 0x2000, one, two));
	assert_int_equal(state_vhost(s.state, 0x2000, two, three)->queue, 1);
	assert_int_equal(state_vhost(s.state, 0x9999, two, three)->backend, QUEUE_BACKEND_VHOST);
	assert_null(state_vhost(s.state, 0x2000, three, four));
	assert_int_equal(state_vhost(s.state, 0x2000, three, MOMENT_END)->queue, QUEUE_ALL);
	/* The size is told: 4 + 8 * 4 + 2 bytes. */
	assert_non_null(state_ring(s.state, 0x2025, MOMENT_START, MOMENT_END));
	assert_null(state_ring(s.state, 0x2026, MOMENT_START, MOMENT_END));
	scribe_end(&s);
}

static void marks_are_found_by_name(void **state)
{
	struct event_mark mark = {.name_len = 5, .name = "panic"};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_put(&s, &mark.h, EVENT_mark);
	scribe_put(&s, &mark.h, EVENT_mark);
	scribe_read(&s);
	assert_non_null(state_mark(s.state, "panic"));
	assert_int_equal(state_mark(s.state, "panic")->at.seq, 1);
	assert_null(state_mark(s.state, "pani"));
	scribe_end(&s);
}

static void an_event_has_its_moment(void **state)
{
	struct scribe s;
	struct moment at;

	(void)state;
	scribe_begin(&s);
	for (unsigned i = 0; i < 200; i++)
		scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);
	scribe_read(&s);
	assert_int_equal(event_moment(s.reader, 150, &at), 0);
	assert_int_equal(at.t_ns, 150000);
	assert_int_equal(at.seq, 150);
	assert_int_equal(event_moment(s.reader, 0, &at), -ENOENT);
	assert_int_equal(event_moment(s.reader, 201, &at), -ENOENT);
	scribe_end(&s);
}

/* Cuts the file behind its chunk of index n - 1. */
static void cut_after(struct scribe *s, size_t n)
{
	size_t all;
	struct chunk_info *chunks = chunks_of(s->reader, &all);
	const off_t size = (off_t)(chunks[n - 1].off + chunks[n - 1].size);
	char path[64], err[256];

	free(chunks);
	state_free(s->state);
	reader_close(s->reader);
	s->state = NULL;
	s->reader = NULL;
	assert_int_equal(ftruncate(s->fd, size), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	assert_int_equal(reader_open(&s->reader, path, err, sizeof(err)), 0);
	assert_int_equal(state_load(&s->state, s->reader, err, sizeof(err)), 0);
}

static void a_cut_file_answers_as_of_its_first_gap(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);
	assert_int_equal(writer_seal(s.writer), 0);
	/* A rare event between many others: its chunk is sealed last, and is cut off. */
	for (unsigned i = 0; i < 32; i++)
		scribe_store(&s, 0x1000, "b", MMIO_DONE_EXITED);
	const u64 gap = scribe_cover(&s, ORIGIN_VCPU, false, WHY_STALLED, 0, 0);
	for (unsigned i = 0; i < 48; i++)
		scribe_store(&s, 0x1000, "c", MMIO_DONE_EXITED);
	scribe_read(&s);
	assert_true(moment_is_end(s.state->end));

	size_t n = 0, all;
	struct chunk_info *chunks = chunks_of(s.reader, &all);
	while (n < all && !(chunks[n].stream == STREAM_STATE && chunks[n].seq_max == gap))
		n++;
	assert_true(n > 0 && n < all);
	assert_true(chunks[n - 1].seq_max > gap);
	free(chunks);
	cut_after(&s, n);
	assert_false(moment_is_end(s.state->end));
	assert_int_equal(s.state->end.seq, gap);
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_have_names),
		cmocka_unit_test(rings_last_until_they_move),
		cmocka_unit_test(who_serves_a_queue_is_known),
		cmocka_unit_test(marks_are_found_by_name),
		cmocka_unit_test(an_event_has_its_moment),
		cmocka_unit_test(a_cut_file_answers_as_of_its_first_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
