// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is written is read: every kind, every filter, both directions, with and without an index.
 */
#include "formats/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/reader.h"
#include "tests/unit/random_event.h"

#define NEVENTS 6000

static char path[64];
static union any_event *events;
static size_t nevents;

static struct writer *begin(u32 chunk_events)
{
	const struct writer_opts opts = {
		.start_mono_ns = 12345, .start_real_ns = 67890, .chunk_events = chunk_events};
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct writer *w;

	assert_true(fd >= 0);
	assert_int_equal(writer_open(&w, fd, &opts), 0);
	return w;
}

static struct reader *open_trace(void)
{
	struct reader *r;
	char err[256];

	if (reader_open(&r, path, err, sizeof(err)))
		fail_msg("%s", err);
	return r;
}

/* Events of all kinds, interleaved. */
static int setup(void **state)
{
	static union any_event last[EVENT_MAX];
	u64 seed = 88172645463325252ull, t_ns = 0;

	(void)state;
	strcpy(path, "/tmp/vmblame-test-XXXXXX");
	const int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	nevents = NEVENTS;
	events = calloc(nevents, sizeof(*events));
	for (size_t i = 0; i < nevents; i++) {
		unsigned kind = 1 + (unsigned)(random_next(&seed) % (EVENT_MAX - 1));

		if (random_next(&seed) % 2 || (kind == EVENT_content && random_next(&seed) % 4) ||
		    kind == EVENT_store)
			kind = EVENT_mmio;
		random_event(&seed, kind, &last[kind]);
		t_ns += last[kind].h.t_ns % 977;
		events[i] = last[kind];
		events[i].h.t_ns = t_ns;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(events);
	return unlink(path);
}

static void write_all(u32 chunk_events)
{
	struct writer *w = begin(chunk_events);

	assert_int_equal(writer_meta(w, "b", "first"), 0);
	assert_int_equal(writer_meta(w, "a", "text"), 0);
	for (size_t i = 0; i < nevents; i++) {
		u64 seq = 0;

		assert_int_equal(writer_put(w, &events[i].h, &seq), 0);
		assert_int_equal(seq, i + 1);
	}
	assert_int_equal(writer_meta(w, "b", "last"), 0);
	assert_int_equal(writer_stats(w)->events, nevents);
	assert_int_equal(writer_close(w), 0);
}

static bool wanted(const struct cursor_spec *s, size_t i)
{
	const struct event *ev = &events[i].h;
	const struct event_desc *d = event_desc(ev->kind);
	u64 gpa, end;

	if (s->streams && !(s->streams >> d->stream & 1))
		return false;
	if (ev->t_ns < s->t_min || (s->t_max && ev->t_ns > s->t_max))
		return false;
	if (s->kinds && !s->kinds[ev->kind])
		return false;
	if ((!s->gpa && !s->gpa_end) || d->stream == STREAM_STATE)
		return true;
	return event_range(ev, &gpa, &end) && gpa < end && gpa < s->gpa_end && s->gpa < end;
}

static void check_cursor(struct reader *r, const struct cursor_spec *spec)
{
	struct cursor *c;
	const struct event *ev;
	size_t i = spec->backward ? nevents : 0;
	u64 seq;

	assert_int_equal(cursor_open(&c, r, spec), 0);
	for (;;) {
		while (spec->backward ? i > 0 && !wanted(spec, i - 1)
				      : i < nevents && !wanted(spec, i))
			i += spec->backward ? -1 : 1;
		const enum cursor_status status = cursor_next(c, &ev, &seq);

		if (i == (spec->backward ? 0 : nevents)) {
			assert_int_equal(status, CURSOR_END);
			break;
		}
		assert_int_equal(status, CURSOR_MORE);
		i -= spec->backward;
		assert_int_equal(seq, i + 1);
		assert_true(event_equal(ev, &events[i].h));
		i += !spec->backward;
	}
	assert_int_equal(cursor_next(c, &ev, &seq), CURSOR_END);
	cursor_close(c);
}

static void check_filters(struct reader *r)
{
	static const bool kinds[EVENT_MAX] = {[EVENT_mmio] = true, [EVENT_reset] = true};
	const u64 middle = events[nevents / 2].h.t_ns;
	const struct event_mmio *mmio = NULL;

	for (size_t i = 0; i < nevents; i++)
		if (events[i].h.kind == EVENT_mmio && events[i].mmio.len)
			mmio = &events[i].mmio;
	assert_non_null(mmio);
	for (int back = 0; back < 2; back++) {
		check_cursor(r, &(struct cursor_spec){.backward = back});
		check_cursor(r, &(struct cursor_spec){.backward = back, .streams = 1});
		check_cursor(r, &(struct cursor_spec){.backward = back, .streams = 6});
		check_cursor(r, &(struct cursor_spec){.backward = back, .kinds = kinds});
		check_cursor(r, &(struct cursor_spec){.backward = back, .t_min = middle});
		check_cursor(r, &(struct cursor_spec){.backward = back, .t_max = middle});
		check_cursor(r, &(struct cursor_spec){.backward = back,
						      .gpa = mmio->gpa,
						      .gpa_end = mmio->gpa + 1});
		check_cursor(r,
			     &(struct cursor_spec){.backward = back, .gpa = 1, .gpa_end = ~0ull});
	}
}

static void test_all_kinds(void **state)
{
	(void)state;
	for (u32 chunk = 1; chunk < 20000; chunk = chunk * 7 + 30) {
		write_all(chunk);
		struct reader *r = open_trace();

		assert_int_equal(reader_info(r)->events, nevents);
		assert_int_equal(reader_info(r)->start_mono_ns, 12345);
		assert_int_equal(reader_info(r)->start_real_ns, 67890);
		assert_false(reader_info(r)->truncated);
		assert_false(reader_info(r)->damaged);
		assert_null(reader_message(r));
		assert_string_equal(reader_meta(r, "a"), "text");
		assert_string_equal(reader_meta(r, "b"), "last");
		assert_null(reader_meta(r, "c"));
		check_filters(r);
		reader_close(r);
	}
}

/* Without its trailer the file is scanned, and says the same. */
static void test_scan(void **state)
{
	struct stat st;
	const struct event *ev;
	struct cursor *c;
	enum cursor_status status;
	size_t n = 0;
	u64 seq;

	(void)state;
	write_all(500);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 1), 0);
	struct reader *r = open_trace();

	assert_true(reader_info(r)->truncated);
	assert_false(reader_info(r)->damaged);
	assert_int_equal(reader_info(r)->events, nevents);
	assert_string_equal(reader_meta(r, "b"), "last");
	assert_int_equal(cursor_open(&c, r, &(struct cursor_spec){0}), 0);
	while ((status = cursor_next(c, &ev, &seq)) == CURSOR_MORE)
		n++;
	assert_int_equal(n, nevents);
	assert_int_equal(status, CURSOR_TRUNCATED);
	assert_int_equal(cursor_next(c, &ev, &seq), CURSOR_END);
	cursor_close(c);
	reader_close(r);
}

static void test_page_index(void **state)
{
	struct writer *w = begin(100);
	struct event_mmio ev = {.h.kind = EVENT_mmio, .len = 8};
	const struct event *got;
	struct cursor *c;
	u64 seq;

	(void)state;
	for (u64 i = 0; i < 10000; i++) {
		ev.gpa = i / 100 << 12 | i % 100 * 8;
		ev.h.t_ns = i;
		assert_int_equal(writer_put(w, &ev.h, NULL), 0);
	}
	assert_int_equal(writer_close(w), 0);
	struct reader *r = open_trace();

	assert_int_equal(reader_info(r)->nchunks, 100);
	assert_int_equal(
		cursor_open(&c, r, &(struct cursor_spec){.gpa = 0x42000, .gpa_end = 0x42001}), 0);
	assert_int_equal(cursor_next(c, &got, &seq), CURSOR_MORE);
	assert_int_equal(seq, 6601);
	assert_int_equal(cursor_next(c, &got, &seq), CURSOR_END);
	assert_int_equal(cursor_chunks_read(c), 1);
	cursor_close(c);
	reader_close(r);
}

static void test_bad_events_refused(void **state)
{
	struct writer *w = begin(0);
	struct event unknown = {.kind = EVENT_MAX};
	struct event_mmio mmio = {.h.kind = EVENT_mmio, .len = 17};
	struct event_store store = {.h.kind = EVENT_store, .len = 8};
	u64 seq;

	(void)state;
	assert_int_equal(writer_put(w, &unknown, NULL), -EINVAL);
	assert_int_equal(writer_put(w, &mmio.h, NULL), -EINVAL);
	assert_int_equal(writer_put(w, &store.h, NULL), -EINVAL); /* has a way of its own */
	mmio.len = 8;
	assert_int_equal(writer_put(w, &mmio.h, &seq), 0);
	assert_int_equal(seq, 1);
	assert_int_equal(writer_meta(w, "", "x"), -EINVAL);
	assert_int_equal(writer_close(w), 0);
}

static void test_error_sticks(void **state)
{
	const struct writer_opts opts = {.chunk_events = 1};
	struct event_mmio mmio = {.h.kind = EVENT_mmio, .len = 8};
	struct writer *w;
	const int fd = open("/dev/full", O_WRONLY);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(writer_open(&w, fd, &opts), -ENOSPC);
	w = begin(1);
	assert_int_equal(writer_put(w, &mmio.h, NULL), 0);
	const int other = open("/dev/full", O_WRONLY);

	assert_true(other >= 0);
	/* The writer's descriptor is the one opened before it. */
	assert_true(dup2(other, other - 1) == other - 1);
	close(other);
	assert_int_equal(writer_put(w, &mmio.h, NULL), -ENOSPC);
	assert_int_equal(writer_put(w, &mmio.h, NULL), -ENOSPC);
	assert_int_equal(writer_seal(w), -ENOSPC);
	assert_int_equal(writer_close(w), -ENOSPC);
}

static void test_lost_counted(void **state)
{
	struct writer *w = begin(0);
	const struct event_lost lost = {.h.kind = EVENT_lost, .count = 41};

	(void)state;
	assert_int_equal(writer_put(w, &lost.h, NULL), 0);
	assert_int_equal(writer_put(w, &lost.h, NULL), 0);
	assert_int_equal(writer_close(w), 0);
	struct reader *r = open_trace();

	assert_int_equal(reader_info(r)->lost, 82);
	reader_close(r);
}

/* A late event keeps its time; the order stays that of writer_put(). */
static void test_late_event(void **state)
{
	struct event_mark mark = {.h.kind = EVENT_mark, .name_len = 1, .name = "x"};
	static const u64 times[] = {1000, 10, ~0ull, 0};
	struct writer *w = begin(0);
	struct cursor *c;
	const struct event *ev;
	u64 seq;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		mark.h.t_ns = times[i];
		assert_int_equal(writer_put(w, &mark.h, NULL), 0);
	}
	assert_int_equal(writer_close(w), 0);
	struct reader *r = open_trace();
	struct chunk_info chunk;

	assert_int_equal(reader_chunk_info(r, STREAM_STATE, 0, &chunk), 0);
	assert_int_equal(chunk.t_min, 0);
	assert_int_equal(cursor_open(&c, r, &(struct cursor_spec){0}), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(cursor_next(c, &ev, &seq), CURSOR_MORE);
		assert_int_equal(ev->t_ns, times[i]);
	}
	cursor_close(c);
	reader_close(r);
}

static void test_empty_trace(void **state)
{
	const struct event *ev;
	struct cursor *c;
	u64 seq;

	(void)state;
	assert_int_equal(writer_close(begin(0)), 0);
	struct reader *r = open_trace();

	assert_int_equal(reader_info(r)->events, 0);
	assert_false(reader_info(r)->truncated);
	assert_int_equal(cursor_open(&c, r, &(struct cursor_spec){0}), 0);
	assert_int_equal(cursor_next(c, &ev, &seq), CURSOR_END);
	cursor_close(c);
	reader_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),    cmocka_unit_test(test_scan),
		cmocka_unit_test(test_page_index),   cmocka_unit_test(test_bad_events_refused),
		cmocka_unit_test(test_error_sticks), cmocka_unit_test(test_lost_counted),
		cmocka_unit_test(test_late_event),   cmocka_unit_test(test_empty_trace),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
