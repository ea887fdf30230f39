/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The film: every write of a trace in order, to all of RAM or a part of it, up to a moment. */
#include "flipbook.h"

#include <errno.h>

#include "chunks.h"

#define ALL .end = UINT64_MAX

static struct film *play(struct scribe *s, const struct film_spec *spec)
{
	struct film *f;
	char err[256] = "";

	if (film_play(&f, s->reader, s->state, spec, err, sizeof(err)))
		fail_msg("%s", err);
	return f;
}

static void go_on(struct film *f, const struct film_spec *spec)
{
	char err[256] = "";

	if (film_go_on(f, spec, err, sizeof(err)))
		fail_msg("%s", err);
}

/* The film's memory in [from,end) is that of the flipbook as of a moment. */
static void is_as_of(const struct film *f, const struct flipbook *b, struct moment at, u64 from,
		     u64 end)
{
	static struct flip_memory m;
	u8 byte;

	flip_play(b, at, &m);
	for (u64 gpa = from; gpa < end; gpa++) {
		const u64 i = gpa - FLIP_BASE;
		const bool known = film_read(f, gpa, &byte, 1);

		if (known != m.known[i] || (known && byte != m.bytes[i]))
			fail_msg("0x%llx: %d %02x, not %d %02x", (unsigned long long)gpa, known,
				 known ? byte : 0, m.known[i], m.bytes[i]);
	}
}

struct watcher {
	const struct flipbook *b;
	struct flip_memory memory;
	size_t next;
	bool within; /* between before and after */
};

static void page_as_expected(const struct watcher *w, const struct film_page *p)
{
	assert_int_equal(p->gpa % FILM_PAGE, 0);
	assert_memory_equal(p->bytes, w->memory.bytes + (p->gpa - FLIP_BASE), FILM_PAGE);
	assert_int_equal(!p->known, w->b->zeroed);
}

static int before(void *arg, const struct film_page *p, const struct film_write *w)
{
	struct watcher *x = arg;

	assert_false(x->within);
	x->within = true;
	assert_int_equal(w->gpa & ~4095ull, p->gpa);
	page_as_expected(x, p);
	return 0;
}

static int after(void *arg, struct film_page *p, const struct film_write *w)
{
	struct watcher *x = arg;
	const struct flip_write *e = &x->b->writes[x->next++];

	assert_true(x->within && x->next <= x->b->n);
	x->within = false;
	assert_int_equal(w->at.t_ns, e->at.t_ns);
	assert_int_equal(w->at.seq, e->at.seq);
	assert_int_equal(w->gpa, e->gpa);
	assert_int_equal(w->len, e->len);
	assert_memory_equal(w->bytes, e->bytes, e->len);
	assert_int_equal(w->origin, e->origin);
	assert_int_equal(w->pc, e->pc);
	assert_int_equal(w->since_ns, e->since_ns);
	flip_do(&x->memory, e);
	page_as_expected(x, p);
	return 0;
}

static void every_write_in_order(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 20; seed++) {
		struct flipbook *b = flip_make(seed, 300, seed % 2);
		static struct watcher x;
		const struct film_spec spec = {ALL, .limit = MOMENT_END, .before = before,
					       .after = after, .arg = &x};

		memset(&x, 0, sizeof(x));
		x.b = b;
		struct film *f = play(&b->s, &spec);
		assert_int_equal(x.next, b->n);
		is_as_of(f, b, MOMENT_END, FLIP_BASE, FLIP_END);
		film_close(f);
		flip_free(b);
	}
}

/* Limits fall into batches of stores that share a time; going on loses none and does none twice. */
static void limits_and_going_on(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 20; seed++) {
		struct flipbook *b = flip_make(seed + 100, 200, seed % 2);
		static struct watcher x;
		struct film_spec spec = {ALL, .limit = MOMENT_START, .before = before,
					 .after = after, .arg = &x};

		memset(&x, 0, sizeof(x));
		x.b = b;
		struct film *f = play(&b->s, &spec);
		assert_int_equal(x.next, 0);
		while (x.next < b->n) {
			/* Some writes on: to, or behind, one of a batch. */
			const size_t to = x.next + flip_random(b, 5);

			spec.limit = to < b->n ? b->writes[to].at : MOMENT_END;
			if (to < b->n && flip_random(b, 4) == 0)
				spec.limit.seq++;
			go_on(f, &spec);
			is_as_of(f, b, spec.limit, FLIP_BASE, FLIP_END);
			assert_true(x.next == b->n ||
				    !moment_before(b->writes[x.next].at, spec.limit));
			assert_true(!x.next || moment_before(b->writes[x.next - 1].at, spec.limit));
		}
		go_on(f, &spec);
		film_close(f);
		flip_free(b);
	}
}

static void an_earlier_limit_changes_nothing(void **state)
{
	struct flipbook *b = flip_make(7, 100, true);
	struct film_spec spec = {ALL, .limit = b->writes[b->n / 2].at};
	const struct moment stood = spec.limit;

	(void)state;
	struct film *f = play(&b->s, &spec);
	spec.limit = b->writes[b->n / 4].at;
	go_on(f, &spec);
	is_as_of(f, b, stood, FLIP_BASE, FLIP_END);
	film_close(f);
	flip_free(b);
}

/* The pages that a range touches are played whole, no others. */
static void a_range_plays_the_pages_that_touch_it(void **state)
{
	static const struct {
		u64 gpa, end, first, stop;
	} ranges[] = {
		{0x11000, 0x12000, 0x11000, 0x12000},	 {0x11008, 0x11010, 0x11000, 0x12000},
		{0x11fff, 0x12001, 0x11000, 0x13000},	 {0, 0x10001, 0x10000, 0x11000},
		{0x13ff8, UINT64_MAX, 0x13000, 0x14000},
	};

	(void)state;
	for (u64 seed = 1; seed <= 5; seed++) {
		struct flipbook *b = flip_make(seed + 200, 300, seed % 2);

		for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
			const struct film_spec spec = {
				.gpa = ranges[i].gpa, .end = ranges[i].end, .limit = MOMENT_END};
			struct film *f = play(&b->s, &spec);

			is_as_of(f, b, MOMENT_END, ranges[i].first, ranges[i].stop);
			for (size_t k = 0; k < film_pages(f); k++)
				assert_in_range(film_page_number(f, k)->gpa, ranges[i].first,
						ranges[i].stop - 1);
			film_close(f);
		}
		flip_free(b);
	}
}

/* An event that reaches into the range from the page before it brings its later bytes. */
static void what_crosses_into_the_range(void **state)
{
	const struct film_spec spec = {.gpa = 0x2000, .end = 0x3000, .limit = MOMENT_END};
	struct scribe s;
	u8 got[4] = "";

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1ffc, "abcdEFGH");
	scribe_read(&s);
	struct film *f = play(&s, &spec);
	assert_true(film_read(f, 0x2000, got, 4));
	assert_memory_equal(got, "EFGH", 4);
	assert_null(film_page(f, 0x1000));
	film_close(f);
	scribe_end(&s);
}

/* Addresses come from strangers: the last page of all is a page like any other. */
static void the_top_of_the_address_space(void **state)
{
	const struct film_spec spec = {ALL, .limit = MOMENT_END, .pages_max = 8};
	struct scribe s;
	u8 got[4] = "";

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);
	scribe_content(&s, CONTENT_WHY_START, 0, UINT64_MAX - 15, "abcd");
	scribe_content(&s, CONTENT_WHY_START, 0, UINT64_MAX - 1, "wraps");
	scribe_unseen(&s, WHY_EMULATOR, 0, UINT64_MAX - 15, "A");
	scribe_put_store(&s, UINT64_MAX - 14, 1, 'B', 0x40, false);
	scribe_read(&s);
	struct film *f = play(&s, &spec);
	assert_int_equal(film_pages(f), 1);
	assert_true(film_read(f, UINT64_MAX - 15, got, 4));
	assert_memory_equal(got, "ABcd", 4);
	film_close(f);
	scribe_end(&s);
}

static void what_was_never_written(void **state)
{
	const struct film_spec spec = {ALL, .limit = MOMENT_END};
	u8 got[8];

	(void)state;
	for (int compared = 0; compared < 2; compared++) {
		struct scribe s;

		scribe_begin_full(&s);
		scribe_watch(&s, 0, 0);
		scribe_content(&s, CONTENT_WHY_START, 0, 0x1ffc, "ab");
		if (compared)
			scribe_compared(&s, 0, 0x100000, 0, 0);
		scribe_read(&s);
		struct film *f = play(&s, &spec);
		memset(got, 0xee, sizeof(got));
		assert_int_equal(film_read(f, 0x1ffe, got, 4),
				 compared); /* into a page never seen */
		if (compared)
			assert_memory_equal(got, "\0\0\0\0", 4);
		assert_int_equal(film_read(f, 0x5000, got, 8), compared);
		assert_true(film_read(f, 0x1ffc, got, 2));
		assert_memory_equal(got, "ab", 2);
		assert_null(film_page(f, 0x5000));
		film_close(f);
		scribe_end(&s);
	}
}

static void what_is_no_write_to_ram(void **state)
{
	const struct film_spec spec = {ALL, .limit = MOMENT_END};
	struct event_mmio load = {
		.gpa = 0x1000, .len = 4, .done = MMIO_DONE_EXITED, .bytes = "load"};
	struct scribe s;

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_put(&s, &load.h, EVENT_mmio);
	scribe_store(&s, 0x1000, "asked", MMIO_DONE_REQUESTED);
	scribe_store(&s, 0x1000, "value", MMIO_DONE_UNREAD);
	scribe_store(&s, 0x9000, "dev", MMIO_DONE_EXITED); /* a device's register */
	scribe_tick(&s);
	scribe_put_store(&s, 0x1000, 4, 0x12345678, 0x40, true); /* SMM's memory */
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "");
	scribe_read(&s);
	struct film *f = play(&s, &spec);
	assert_int_equal(film_pages(f), 0);
	film_close(f);
	scribe_end(&s);
}

static int stop_at_third(void *arg, struct film_page *p, const struct film_write *w)
{
	unsigned *n = arg;

	(void)p;
	(void)w;
	return ++*n == 3 ? 42 : 0;
}

static void a_function_ends_it(void **state)
{
	struct flipbook *b = flip_make(3, 100, true);
	unsigned n = 0;
	const struct film_spec spec = {ALL, .limit = MOMENT_END, .after = stop_at_third, .arg = &n};
	struct film *f = NULL;
	char err[256] = "";

	(void)state;
	assert_int_equal(film_play(&f, b->s.reader, b->s.state, &spec, err, sizeof(err)), 42);
	assert_int_equal(n, 3);
	assert_non_null(f);
	film_close(f);
	film_close(NULL);
	flip_free(b);
}

static void no_more_pages_than_allowed(void **state)
{
	struct flipbook *b = flip_make(4, 300, true);
	struct film_spec spec = {ALL, .limit = MOMENT_END, .pages_max = FLIP_PAGES - 1};
	struct film *f = NULL;
	char err[256] = "";

	(void)state;
	assert_int_equal(film_play(&f, b->s.reader, b->s.state, &spec, err, sizeof(err)), -E2BIG);
	assert_non_null(strstr(err, "more memory"));
	assert_int_equal(film_pages(f), FLIP_PAGES - 1);
	film_close(f);
	spec.pages_max = FLIP_PAGES;
	film_close(play(&b->s, &spec));
	flip_free(b);
}

/* More pages than the tables begin with. */
static void many_pages(void **state)
{
	const struct film_spec spec = {ALL, .limit = MOMENT_END};
	struct scribe s;

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);
	for (u64 i = 0; i < 3000; i++)
		scribe_put_store(&s, i * i * 4096 + i, 4, i, 0x40, false);
	scribe_read(&s);
	struct film *f = play(&s, &spec);
	assert_int_equal(film_pages(f), 3000);
	for (u64 i = 0; i < 3000; i++) {
		u32 value;

		assert_true(film_read(f, i * i * 4096 + i, (u8 *)&value, 4));
		assert_int_equal(value, i);
		assert_int_equal(film_page_number(f, i)->user, 0);
	}
	film_close(f);
	scribe_end(&s);
}

static void a_damaged_chunk_is_an_error(void **state)
{
	struct flipbook *b = flip_make(5, 300, true);
	const struct film_spec spec = {ALL, .limit = MOMENT_END};
	struct film *f = NULL;
	char err[256] = "";
	struct chunk_info c;
	u8 byte;

	(void)state;
	for (size_t i = 0; !reader_chunk_info(b->s.reader, STREAM_STORES, i, &c); i++) {
		const off_t at = (off_t)(c.off + c.size - 9);

		assert_int_equal(pread(b->s.fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(b->s.fd, &byte, 1, at), 1);
	}
	assert_int_equal(film_play(&f, b->s.reader, b->s.state, &spec, err, sizeof(err)), -EBADMSG);
	assert_non_null(strstr(err, "offset"));
	film_close(f);
	flip_free(b);
}

/* What a cut file still has is played. */
static void a_cut_file_is_played_as_far_as_it_goes(void **state)
{
	struct flipbook *b = flip_make(6, 300, true);
	size_t n;
	struct chunk_info *chunks = chunks_of(b->s.reader, &n);
	const u64 cut = chunks[n / 2].off;
	const struct film_spec spec = {ALL, .limit = MOMENT_END};
	char path[64], err[256] = "";

	(void)state;
	free(chunks);
	state_free(b->s.state);
	reader_close(b->s.reader);
	b->s.state = NULL;
	b->s.reader = NULL;
	assert_int_equal(ftruncate(b->s.fd, (off_t)cut), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", b->s.fd);
	if (reader_open(&b->s.reader, path, err, sizeof(err)) ||
	    state_load(&b->s.state, b->s.reader, err, sizeof(err)))
		fail_msg("%s", err);
	assert_true(reader_info(b->s.reader)->truncated);
	film_close(play(&b->s, &spec));
	flip_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_write_in_order),
		cmocka_unit_test(limits_and_going_on),
		cmocka_unit_test(an_earlier_limit_changes_nothing),
		cmocka_unit_test(a_range_plays_the_pages_that_touch_it),
		cmocka_unit_test(what_crosses_into_the_range),
		cmocka_unit_test(the_top_of_the_address_space),
		cmocka_unit_test(what_was_never_written),
		cmocka_unit_test(what_is_no_write_to_ram),
		cmocka_unit_test(a_function_ends_it),
		cmocka_unit_test(no_more_pages_than_allowed),
		cmocka_unit_test(many_pages),
		cmocka_unit_test(a_damaged_chunk_is_an_error),
		cmocka_unit_test(a_cut_file_is_played_as_far_as_it_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
