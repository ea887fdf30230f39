// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether a trace agrees with itself: what is wrong is found, once, and what is right is not. */
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "scribe.h"

#include "formats/chunk.h"
#include "formats/delta.h"
#include "replay/verify.h"

struct found {
	struct verify_problem first;
	char text[200];
	unsigned n, stop_at; /* 0: never */
};

static u8 page[DELTA_PAGE], was[DELTA_PAGE];

static int problem(void *arg, const struct verify_problem *p)
{
	struct found *f = arg;

	if (!f->n++) {
		f->first = *p;
		snprintf(f->text, sizeof(f->text), "%s", p->text ? p->text : "");
	}
	return f->n == f->stop_at ? 77 : 0;
}

static int verify(struct scribe *s, struct found *f, struct verify_counts *counts)
{
	const struct verify_spec spec = {.problem = problem, .arg = f};
	char err[256] = "";
	const int ret = verify_run(s->reader, s->state, &spec, counts, err, sizeof(err));

	if (ret < 0)
		fail_msg("%s", err);
	return ret;
}

static void begin(struct scribe *s)
{
	memset(page, 0, sizeof(page));
	scribe_begin(s);
	scribe_watch(s, 0, 0);
	scribe_compared(s, 0, 0x100000, 0, 0);
}

/* The page becomes what it is now, from what it was. */
static u64 put_version(struct scribe *s, u64 gpa, u32 sum, int break_at)
{
	struct event_version ev = {.gpa = gpa, .t0_ns = s->t_ns, .sum = sum};

	ev.len = (u16)delta_make(was, page, ev.data);
	if (break_at >= 0)
		ev.data[break_at] ^= 0x40;
	memcpy(was, page, sizeof(was));
	return scribe_put(s, &ev.h, EVENT_version);
}

static u64 put_keyframe(struct scribe *s, u64 gpa, const u8 *bytes)
{
	struct event_content ev = {.gpa = gpa, .why = CONTENT_WHY_KEYFRAME, .len = DELTA_PAGE};

	memcpy(ev.data, bytes, DELTA_PAGE);
	return scribe_put(s, &ev.h, EVENT_content);
}

static void put_device(struct scribe *s, u64 gpa, const char *bytes)
{
	struct event_content ev = {
		.gpa = gpa, .why = CONTENT_WHY_DEVICE, .len = (u16)strlen(bytes)};

	memcpy(ev.data, bytes, ev.len);
	scribe_put(s, &ev.h, EVENT_content);
}

static void what_is_right(void **state)
{
	struct verify_counts c;
	struct found f = {0};
	struct scribe s;

	(void)state;
	begin(&s);
	memset(was, 0, sizeof(was));
	memcpy(page + 100, "versions", 8);
	put_version(&s, 0x3000, delta_sum(page), -1);
	put_device(&s, 0x3ffe, "device"); /* into the next page, too */
	memcpy(was + 0xffe, "de", 2);
	memcpy(page + 0xffe, "de", 2);
	page[100] = 'V';
	put_version(&s, 0x3000, delta_sum(page), -1);
	put_keyframe(&s, 0x3000, page);
	put_version(&s, 0x3000, delta_sum(page), -1); /* nothing changed */
	page[101] = 'E';
	put_version(&s, 0x3000, 0, -1); /* from a time when there were no sums */
	scribe_read(&s);
	assert_int_equal(verify(&s, &f, &c), 0);
	assert_int_equal(f.n, 0);
	assert_int_equal(c.versions, 3);
	assert_int_equal(c.unsummed, 1);
	assert_int_equal(c.keyframes, 1);
	assert_int_equal(c.pages, 2);
	assert_int_equal(c.events, reader_info(s.reader)->events);
	assert_int_equal(c.bytes, reader_info(s.reader)->file_bytes);
	scribe_end(&s);
}

/* A version with these faults; what is said of it. */
static void one_wrong(u32 sum_xor, int break_at, enum verify_what what)
{
	struct verify_counts c;
	struct found f = {0};
	struct scribe s;

	begin(&s);
	memset(was, 0, sizeof(was));
	memcpy(page + 100, "versions", 8);
	put_version(&s, 0x3000, delta_sum(page), -1);
	page[5] = 1;
	const u64 seq = put_version(&s, 0x3000, sum_xor ? delta_sum(page) ^ sum_xor : 0, break_at);
	scribe_read(&s);
	assert_int_equal(verify(&s, &f, &c), 0);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.first.what, what);
	assert_int_equal(f.first.at.seq, seq);
	assert_int_equal(f.first.gpa, 0x3000);
	assert_int_equal(c.problems[what], 1);
	scribe_end(&s);
}

static void a_sum_that_is_wrong(void **state)
{
	(void)state;
	one_wrong(1, -1, VERIFY_SUM);
	one_wrong(0x80000000, -1, VERIFY_SUM);
}

/* Where no sum tells, the form of the delta does. */
static void a_delta_that_is_malformed(void **state)
{
	(void)state;
	one_wrong(0, 1, VERIFY_DELTA); /* the run is longer than the data */
}

static void a_version_of_no_page(void **state)
{
	static const u64 places[] = {0x3008, UINT64_MAX & ~0xfffull};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct verify_counts c;
		struct found f = {0};
		struct scribe s;

		begin(&s);
		put_version(&s, places[i], delta_sum(page), -1);
		scribe_read(&s);
		assert_int_equal(verify(&s, &f, &c), 0);
		assert_int_equal(f.n, 1);
		assert_int_equal(f.first.what, VERIFY_DELTA);
		assert_int_equal(f.first.gpa, places[i]);
		scribe_end(&s);
	}
}

static void a_keyframe_that_says_otherwise(void **state)
{
	struct verify_counts c;
	struct found f = {0};
	struct scribe s;

	(void)state;
	begin(&s);
	memset(was, 0, sizeof(was));
	memcpy(page + 100, "versions", 8);
	put_version(&s, 0x3000, delta_sum(page), -1);
	page[107] = 'S';
	const u64 seq = put_keyframe(&s, 0x3000, page);
	/* What follows it is right again. */
	memcpy(was, page, sizeof(was));
	page[0] = 1;
	put_version(&s, 0x3000, delta_sum(page), -1);
	scribe_read(&s);
	assert_int_equal(verify(&s, &f, &c), 0);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.first.what, VERIFY_KEYFRAME);
	assert_int_equal(f.first.at.seq, seq);
	assert_int_equal(f.first.gpa, 0x3000 + 107);
	assert_int_equal(f.first.want, 'S');
	assert_int_equal(f.first.got, 's');
	scribe_end(&s);
}

static void more_unseen_than_compared(void **state)
{
	struct verify_counts c;
	struct scribe s;

	(void)state;
	for (u64 differed = 2; differed <= 4; differed++) {
		struct found f = {0};

		scribe_begin_full(&s);
		scribe_watch(&s, 0, 0);
		scribe_unseen(&s, WHY_EMULATOR, 0, 0x1000, "abc");
		scribe_compared(&s, 0, 0x100000, 0, differed);
		scribe_compared(&s, 0, 0x100000, 0, 0);
		scribe_read(&s);
		assert_int_equal(verify(&s, &f, &c), 0);
		assert_int_equal(f.n, differed < 3);
		assert_int_equal(c.problems[VERIFY_COMPARED], f.n);
		assert_int_equal(c.comparisons, 2);
		scribe_end(&s);
	}
}

/* Stores are a part of what a page holds, for whoever tells of both. */
static void stores_between_versions(void **state)
{
	(void)state;
	for (int wrong = 0; wrong < 2; wrong++) {
		struct verify_counts c;
		struct found f = {0};
		struct scribe s;

		memset(was, 0, sizeof(was));
		memset(page, 0, sizeof(page));
		scribe_begin_full(&s);
		scribe_watch(&s, 0, 0);
		scribe_compared(&s, 0, 0x100000, 0, 0);
		scribe_put_store(&s, 0x3010, 1, 'b', 0x40, false);
		scribe_tick(&s);
		was[0x10] = page[0x10] = 'b';
		page[5] = 1;
		put_version(&s, 0x3000, delta_sum(page) ^ (u32)wrong, -1);
		scribe_read(&s);
		assert_int_equal(verify(&s, &f, &c), 0);
		assert_int_equal(f.n, wrong);
		assert_int_equal(c.versions, 1);
		assert_int_equal(c.pages, 1);
		scribe_end(&s);
	}
}

static void problem_ends_it(void **state)
{
	struct verify_counts c;
	struct found f = {.stop_at = 2};
	struct scribe s;

	(void)state;
	begin(&s);
	for (unsigned i = 0; i < 5; i++)
		put_version(&s, 0x1000 * i, 1, -1);
	scribe_read(&s);
	assert_int_equal(verify(&s, &f, &c), 77);
	assert_int_equal(f.n, 2);
	scribe_end(&s);
}

/* Changes a byte of the first chunk of a stream, in its header or its set of pages; its own
 * checksums are right again, and the row of the index that repeats it stays as it was. */
static void chunk_change(struct scribe *s, enum stream stream, size_t off)
{
	static u8 chunk[1 << 16];
	struct chunk_info info;
	struct chunk_head h;

	assert_int_equal(reader_chunk_info(s->reader, stream, 0, &info), 0);
	assert_true(info.size <= sizeof(chunk) && off < info.size);
	assert_int_equal(pread(s->fd, chunk, info.size, (off_t)info.off), info.size);
	chunk[off]++;
	memcpy(&h, chunk, sizeof(h));
	h.body_checksum = XXH64(chunk + sizeof(h), info.size - sizeof(h), 0);
	h.checksum = XXH64(&h, sizeof(h) - sizeof(u64), 0);
	memcpy(chunk, &h, sizeof(h));
	assert_int_equal(pwrite(s->fd, chunk, info.size, (off_t)info.off), info.size);
}

/* The file without its index: what the headers say is all there is. */
static void index_cut(struct scribe *s)
{
	struct trailer t;
	char path[64], err[256] = "";
	const off_t size = lseek(s->fd, 0, SEEK_END);

	assert_int_equal(pread(s->fd, &t, sizeof(t), size - (off_t)sizeof(t)), sizeof(t));
	state_free(s->state);
	reader_close(s->reader);
	s->state = NULL;
	s->reader = NULL;
	assert_int_equal(ftruncate(s->fd, (off_t)t.index_off), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
	if (reader_open(&s->reader, path, err, sizeof(err)) ||
	    state_load(&s->state, s->reader, err, sizeof(err)))
		fail_msg("%s", err);
}

static void two_versions(struct scribe *s)
{
	begin(s);
	memset(was, 0, sizeof(was));
	put_version(s, 0x3000, delta_sum(page), -1);
	put_version(s, 0x4000, delta_sum(page), -1);
}

static void a_header_that_its_events_do_not_bear_out(void **state)
{
	static const struct {
		size_t off;
		const char *text;
	} changes[] = {
		{offsetof(struct chunk_head, t_min), "the chunk's header says t_min"},
		{offsetof(struct chunk_head, t_max), "the chunk's header says t_max"},
		{offsetof(struct chunk_head, lost), "the chunk's header says lost 1, its events 0"},
		{sizeof(struct chunk_head), "the chunk's set lacks page 0x3000, which event #4"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct verify_counts c;
		struct found f = {0};
		struct scribe s;

		two_versions(&s);
		scribe_read(&s);
		chunk_change(&s, STREAM_CONTENT, changes[i].off);
		index_cut(&s);
		assert_int_equal(verify(&s, &f, &c), 0);
		assert_int_equal(f.n, 1);
		assert_int_equal(f.first.what, VERIFY_CHUNK);
		if (!strstr(f.text, changes[i].text))
			fail_msg("'%s', not '%s'", f.text, changes[i].text);
		scribe_end(&s);
	}
}

static void a_cut_file_agrees(void **state)
{
	struct verify_counts c;
	struct found f = {0};
	struct scribe s;

	(void)state;
	two_versions(&s);
	scribe_read(&s);
	index_cut(&s);
	assert_true(reader_info(s.reader)->truncated);
	assert_int_equal(verify(&s, &f, &c), 0);
	assert_int_equal(f.n, 0);
	assert_int_equal(c.versions, 2);
	scribe_end(&s);
}

/* Stores: their pages and words. */
static void stores_and_their_words(void **state)
{
	(void)state;
	for (int wrong = 0; wrong < 2; wrong++) {
		struct verify_counts c;
		struct found f = {0};
		struct scribe s;

		scribe_begin_full(&s);
		scribe_watch(&s, 0, 0);
		for (u64 i = 0; i < 600; i++)
			scribe_put_store(&s, 0x2000 + i * 40 % 0x1ff8, 8, i, 0x40, false);
		scribe_read(&s);
		if (wrong)
			chunk_change(&s, STREAM_STORES, sizeof(struct chunk_head));
		index_cut(&s);
		assert_int_equal(verify(&s, &f, &c), 0);
		assert_int_equal(f.n, wrong);
		if (wrong && !strstr(f.text, "the chunk's set of pages, or of words, is malformed"))
			fail_msg("%s", f.text);
		scribe_end(&s);
	}
}

static void a_header_that_says_otherwise(void **state)
{
	static const size_t offs[] = {
		offsetof(struct chunk_head, t_min), offsetof(struct chunk_head, t_max),
		offsetof(struct chunk_head, lost), offsetof(struct chunk_head, seq_min)};

	(void)state;
	for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		struct verify_counts c;
		struct found f = {0};
		struct scribe s;

		two_versions(&s);
		scribe_read(&s);
		chunk_change(&s, STREAM_CONTENT, offs[i]);
		const struct verify_spec spec = {.problem = problem, .arg = &f};
		char err[256] = "";
		const int ret = verify_run(s.reader, s.state, &spec, &c, err, sizeof(err));

		/* The number of the first event is what the others are counted from. */
		assert_true(ret == 0 || (ret == -EBADMSG && strstr(err, "offset")));
		assert_true(f.n >= 1);
		assert_int_equal(f.first.what, VERIFY_CHUNK);
		assert_string_equal(f.text, "the index says otherwise of this chunk");
		scribe_end(&s);
	}
}

/* A page more than the pages it may hold. */
static void no_more_pages_than_allowed(void **state)
{
	const struct verify_spec spec = {.problem = problem, .pages_max = 4};
	struct verify_counts c;
	struct scribe s;
	char err[256] = "";

	(void)state;
	begin(&s);
	for (unsigned i = 0; i < 5; i++)
		put_version(&s, 0x1000 * i, delta_sum(page), -1);
	scribe_read(&s);
	assert_int_equal(verify_run(s.reader, s.state, &spec, &c, err, sizeof(err)), -E2BIG);
	assert_non_null(strstr(err, "more memory"));
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right),
		cmocka_unit_test(a_sum_that_is_wrong),
		cmocka_unit_test(a_delta_that_is_malformed),
		cmocka_unit_test(a_version_of_no_page),
		cmocka_unit_test(a_keyframe_that_says_otherwise),
		cmocka_unit_test(more_unseen_than_compared),
		cmocka_unit_test(stores_between_versions),
		cmocka_unit_test(problem_ends_it),
		cmocka_unit_test(a_header_that_says_otherwise),
		cmocka_unit_test(a_header_that_its_events_do_not_bear_out),
		cmocka_unit_test(a_cut_file_agrees),
		cmocka_unit_test(stores_and_their_words),
		cmocka_unit_test(no_more_pages_than_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
