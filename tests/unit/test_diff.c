/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What changed between two moments: against two memories played in the plainest way. */
#include "flipbook.h"

#include <errno.h>

#include "replay/diff.h"

#define WRITERS 16

/* What the flipbook says of a page between two moments. */
struct page {
	u32 changed, first, end;
	u64 writes;
	struct moment last;
	struct diff_writer writers[WRITERS];
	unsigned nwriters;
};

struct expected {
	struct flip_memory was, now;
	struct page pages[FLIP_PAGES];
	bool touched;
	u64 gpa, end;  /* pages within */
	unsigned next; /* page to be told of */
	unsigned told;
};

static void writer_count(struct page *p, const struct flip_write *w)
{
	unsigned i = 0;

	if (w->origin == ORIGIN_NONE)
		return;
	p->writes++;
	while (i < p->nwriters && (p->writers[i].origin != w->origin || p->writers[i].pc != w->pc))
		i++;
	assert_true(i < WRITERS);
	if (i == p->nwriters)
		p->writers[p->nwriters++] = (struct diff_writer){w->origin, w->pc, 0};
	p->writers[i].writes++;
}

static void expect(const struct flipbook *b, struct moment from, struct moment until,
		   struct expected *e)
{
	memset(e->pages, 0, sizeof(e->pages));
	e->next = e->told = 0;
	flip_play(b, from, &e->was);
	flip_play(b, until, &e->now);
	for (u32 i = 0; i < FLIP_BYTES; i++) {
		struct page *p = &e->pages[i / 4096];

		/* What was not known before cannot be said to have changed. */
		if (!e->was.known[i] || e->was.bytes[i] == e->now.bytes[i])
			continue;
		if (!p->changed++)
			p->first = i % 4096;
		p->end = i % 4096 + 1;
	}
	for (size_t i = 0; i < b->n; i++) {
		const struct flip_write *w = &b->writes[i];
		struct page *p = &e->pages[(w->gpa - FLIP_BASE) / 4096];

		if (moment_before(w->at, from) || !moment_before(w->at, until))
			continue;
		p->last = w->at;
		writer_count(p, w);
	}
}

static bool page_wanted(const struct expected *e, unsigned i)
{
	const struct page *p = &e->pages[i];
	const u64 gpa = FLIP_BASE + i * 4096;

	return gpa < e->end && gpa + 4096 > e->gpa && (p->changed || (e->touched && p->writes));
}

/* Exact counts where there are few writers; else lower bounds, and whoever wrote a fifth is there.
 */
static void writers_hold(const struct diff_page *d, const struct page *p)
{
	assert_in_range(d->nwriters, 0, DIFF_WRITERS);
	for (unsigned i = 1; i < d->nwriters; i++)
		assert_true(d->writers[i - 1].writes >= d->writers[i].writes);
	if (p->nwriters <= DIFF_WRITERS)
		assert_int_equal(d->nwriters, p->nwriters);
	for (unsigned i = 0; i < p->nwriters; i++) {
		const struct diff_writer *w = &p->writers[i];
		u64 told = 0;

		for (unsigned k = 0; k < d->nwriters; k++)
			if (d->writers[k].origin == w->origin && d->writers[k].pc == w->pc)
				told += d->writers[k].writes;
		assert_in_range(told, p->nwriters <= DIFF_WRITERS ? w->writes : 0, w->writes);
		if (5 * w->writes > p->writes)
			assert_true(told > 0);
	}
}

static int take(void *arg, const struct diff_page *d)
{
	struct expected *e = arg;

	while (e->next < FLIP_PAGES && !page_wanted(e, e->next))
		e->next++;
	assert_true(e->next < FLIP_PAGES);
	const struct page *p = &e->pages[e->next];
	const u32 at = e->next * 4096;

	assert_int_equal(d->gpa, FLIP_BASE + at);
	assert_int_equal(d->changed, p->changed);
	assert_int_equal(d->writes, p->writes);
	if (p->changed) {
		assert_int_equal(d->first, p->first);
		assert_int_equal(d->end, p->end);
	}
	assert_int_equal(d->last.seq, p->last.seq);
	assert_memory_equal(d->now, e->now.bytes + at, 4096);
	assert_memory_equal(d->was, e->was.bytes + at, 4096);
	writers_hold(d, p);
	e->next++;
	e->told++;
	return 0;
}

static unsigned compare(struct flipbook *b, struct diff_spec spec, struct expected *e)
{
	char err[256] = "";

	expect(b, spec.from, spec.until, e);
	e->touched = spec.touched;
	e->gpa = spec.gpa;
	e->end = spec.end;
	spec.fn = take;
	spec.arg = e;
	if (diff_run(b->s.reader, b->s.state, &spec, err, sizeof(err)))
		fail_msg("%s", err);
	while (e->next < FLIP_PAGES)
		assert_false(page_wanted(e, e->next++));
	return e->told;
}

static void as_two_brute_forces_say(void **state)
{
	static struct expected e;
	unsigned told = 0;

	(void)state;
	for (u64 seed = 1; seed <= 25; seed++) {
		struct flipbook *b = flip_make(seed + 500, 200, seed % 2);

		for (unsigned i = 0; i < 20; i++) {
			struct moment from = flip_moment(b), until = flip_moment(b);

			if (moment_before(until, from))
				from = until;
			if (i == 0)
				from = MOMENT_START;
			if (i < 2)
				until = MOMENT_END;
			const struct diff_spec spec = {.end = UINT64_MAX,
						       .from = from,
						       .until = until,
						       .touched = i % 3 == 0};
			told += compare(b, spec, &e);
		}
		flip_free(b);
	}
	assert_true(told > 200);
}

static void in_a_range(void **state)
{
	static struct expected e;

	(void)state;
	for (u64 seed = 1; seed <= 8; seed++) {
		struct flipbook *b = flip_make(seed + 600, 200, true);
		struct diff_spec spec = {.until = MOMENT_END, .from = b->writes[b->n / 2].at};

		for (unsigned i = 0; i < FLIP_PAGES; i++) {
			spec.gpa = FLIP_BASE + i * 4096;
			spec.end = spec.gpa + 4096;
			assert_int_equal(compare(b, spec, &e), 1);
			spec.end += 4096;
			compare(b, spec, &e);
		}
		flip_free(b);
	}
}

static int count(void *arg, const struct diff_page *d)
{
	unsigned *n = arg;

	(void)d;
	return ++*n == 2 ? 55 : 0;
}

static void the_same_moment_twice(void **state)
{
	struct flipbook *b = flip_make(9, 100, true);
	const struct moment at = b->writes[b->n / 2].at;
	unsigned n = 0;
	const struct diff_spec spec = {.end = UINT64_MAX,
				       .from = at,
				       .until = at,
				       .touched = true,
				       .fn = count,
				       .arg = &n};
	char err[256] = "";

	(void)state;
	assert_int_equal(diff_run(b->s.reader, b->s.state, &spec, err, sizeof(err)), 0);
	assert_int_equal(n, 0);
	flip_free(b);
}

static void written_and_as_it_was(void **state)
{
	struct scribe s;
	unsigned n = 0;
	char err[256] = "";

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);
	scribe_compared(&s, 0, UINT64_MAX, 0, 0);
	scribe_ram(&s, 0x1000, "a"); /* 4 */
	scribe_ram(&s, 0x1000, "b");
	scribe_ram(&s, 0x1000, "a"); /* 6 */
	scribe_read(&s);
	struct diff_spec spec = {
		.end = UINT64_MAX, .from = {4000, 5}, .until = MOMENT_END, .fn = count, .arg = &n};
	assert_int_equal(diff_run(s.reader, s.state, &spec, err, sizeof(err)), 0);
	assert_int_equal(n, 0);
	spec.touched = true;
	assert_int_equal(diff_run(s.reader, s.state, &spec, err, sizeof(err)), 0);
	assert_int_equal(n, 1);
	scribe_end(&s);
}

/* A first look at memory that nobody compared tells what is there, not that it changed. */
static void a_first_look_is_no_change(void **state)
{
	struct scribe s;
	unsigned n = 0;
	char err[256] = "";

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "what was there");
	scribe_read(&s);
	const struct diff_spec spec = {
		.end = UINT64_MAX, .until = MOMENT_END, .fn = count, .arg = &n};
	assert_int_equal(diff_run(s.reader, s.state, &spec, err, sizeof(err)), 0);
	assert_int_equal(n, 0);
	scribe_end(&s);
}

static void stopped_and_too_large(void **state)
{
	struct flipbook *b = flip_make(11, 300, true);
	unsigned n = 0;
	struct diff_spec spec = {
		.end = UINT64_MAX, .until = MOMENT_END, .touched = true, .fn = count, .arg = &n};
	char err[256] = "";

	(void)state;
	assert_int_equal(diff_run(b->s.reader, b->s.state, &spec, err, sizeof(err)), 55);
	assert_int_equal(n, 2);
	spec.pages_max = 2;
	n = 0;
	assert_int_equal(diff_run(b->s.reader, b->s.state, &spec, err, sizeof(err)), -E2BIG);
	assert_int_equal(n, 0);
	assert_string_not_equal(err, "");
	flip_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_two_brute_forces_say),
		cmocka_unit_test(in_a_range),
		cmocka_unit_test(the_same_moment_twice),
		cmocka_unit_test(written_and_as_it_was),
		cmocka_unit_test(a_first_look_is_no_change),
		cmocka_unit_test(stopped_and_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
