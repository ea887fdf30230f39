/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a value was, or the blocks of a file, and from when until when: against the plainest
 * replay. */
#include "flipbook.h"

#include <errno.h>

#include "replay/find.h"

#define FOUND_MAX 20000u

struct list {
	size_t n, max;
	struct found f[FOUND_MAX];
};

static struct list got, want;

static int note(void *arg, const struct found *f)
{
	struct list *l = arg;

	assert_true(l->n < FOUND_MAX);
	assert_false(l->n && moment_before(f->until, l->f[l->n - 1].until));
	l->f[l->n++] = *f;
	return 0;
}

static int order(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	const u64 xs[] = {x->gpa, x->from.seq, x->until.seq, x->off};
	const u64 ys[] = {y->gpa, y->from.seq, y->until.seq, y->off};

	for (unsigned i = 0; i < 4; i++)
		if (xs[i] != ys[i])
			return xs[i] < ys[i] ? -1 : 1;
	return 0;
}

static void lists_equal(u64 seed)
{
	qsort(got.f, got.n, sizeof(got.f[0]), order);
	qsort(want.f, want.n, sizeof(want.f[0]), order);
	for (size_t i = 0; i < got.n || i < want.n; i++) {
		const struct found *g = i < got.n ? &got.f[i] : NULL,
				   *w = i < want.n ? &want.f[i] : NULL;

		if (g && w && !order(g, w)) {
			assert_int_equal(g->len, w->len);
			assert_int_equal(g->from.t_ns, w->from.t_ns);
			assert_int_equal(g->until.t_ns, w->until.t_ns);
			assert_int_equal(g->by.at.seq, w->by.at.seq);
			assert_int_equal(g->by.gpa, w->by.gpa);
			assert_int_equal(g->by.origin, w->by.origin);
			assert_int_equal(g->by.pc, w->by.pc);
			continue;
		}
		const bool extra = g && (!w || order(g, w) < 0);
		const struct found *odd = extra ? g : w;
		fail_msg("seed %llu: %s 0x%llx from #%llu until #%llu", (unsigned long long)seed,
			 extra ? "found but not there:" : "there but not found:",
			 (unsigned long long)odd->gpa, (unsigned long long)odd->from.seq,
			 (unsigned long long)odd->until.seq);
	}
}

struct there {
	struct moment from;
	struct flip_write by;
	bool now;
};

static bool holds(const struct flip_memory *m, u64 i, const u8 *bytes, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (!m->known[i + k] || m->bytes[i + k] != bytes[k])
			return false;
	return true;
}

static void want_add(u64 gpa, size_t n, const struct there *t, struct moment until)
{
	want.f[want.n++] = (struct found){
		.gpa = gpa,
		.len = (u32)n,
		.from = t->from,
		.until = until,
		.by = {.at = t->by.at, .gpa = t->by.gpa, .origin = t->by.origin, .pc = t->by.pc}};
	assert_true(want.n < FOUND_MAX);
}

/* Every place after every write. */
static void brute(const struct flipbook *b, const struct find_spec *spec, const u8 *bytes, size_t n)
{
	static struct flip_memory m;
	static struct there there[FLIP_BYTES];

	want.n = 0;
	memset(there, 0, sizeof(there));
	flip_play(b, MOMENT_START, &m);
	for (size_t w = 0; w < b->n && moment_before(b->writes[w].at, spec->limit); w++) {
		const struct flip_write *write = &b->writes[w];
		const u64 at = write->gpa - FLIP_BASE;

		flip_do(&m, write);
		for (u64 i = at > n - 1 ? at - (n - 1) : 0;
		     i < at + write->len && i + n <= FLIP_BYTES; i++) {
			const bool now = holds(&m, i, bytes, n);
			const u64 gpa = FLIP_BASE + i;

			if (gpa + n <= spec->gpa || gpa >= spec->end || now == there[i].now)
				continue;
			if (!now)
				want_add(gpa, n, &there[i], write->at);
			there[i] = (struct there){write->at, *write, now};
		}
	}
	for (u64 i = 0; i < FLIP_BYTES; i++)
		if (there[i].now)
			want_add(FLIP_BASE + i, n, &there[i], MOMENT_END);
}

static size_t compare(struct flipbook *b, struct find_spec spec, const u8 *bytes, size_t n,
		      u64 seed)
{
	char err[256] = "";

	got.n = 0;
	spec.max = FOUND_MAX;
	spec.fn = note;
	spec.arg = &got;
	if (find_bytes(b->s.reader, b->s.state, &spec, bytes, n, err, sizeof(err)))
		fail_msg("%s", err);
	brute(b, &spec, bytes, n);
	lists_equal(seed);
	return want.n;
}

static const struct value {
	const char *bytes;
	size_t n;
} values[] = {
	{"a", 1},	    {"aa", 2},	 {"aba", 3},	 {"ab\0\0", 4},		 {"\0\0a", 3},
	{"\0\0\0\0a\0", 6}, {"b\0a", 3}, {"aaaaaaa", 7}, {"a\0\0\0\0\0\0\0", 8},
};
#define NVALUES (sizeof(values) / sizeof(values[0]))

static void values_as_brute_force_finds_them(void **state)
{
	size_t found = 0;

	(void)state;
	for (u64 seed = 1; seed <= 30; seed++) {
		struct flipbook *b = flip_make(seed, 250, seed % 2);

		for (size_t i = 0; i < NVALUES; i++)
			found += compare(b,
					 (struct find_spec){.end = UINT64_MAX, .limit = MOMENT_END},
					 (const u8 *)values[i].bytes, values[i].n, seed);
		/* Where bytes that were never written are not known, zeros are a value, too. */
		if (!b->zeroed)
			found += compare(b,
					 (struct find_spec){.end = UINT64_MAX, .limit = MOMENT_END},
					 (const u8 *)"\0\0\0", 3, seed);
		flip_free(b);
	}
	assert_in_range(found, 5000, 10000000);
}

static void values_before_a_moment(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 20; seed++) {
		struct flipbook *b = flip_make(seed + 300, 150, seed % 2);

		for (size_t i = 0; i < NVALUES; i++)
			compare(b, (struct find_spec){.end = UINT64_MAX, .limit = flip_moment(b)},
				(const u8 *)values[i].bytes, values[i].n, seed);
		flip_free(b);
	}
}

/* Values that touch the range, with all their bytes as they are, within it or not. */
static void values_that_touch_a_range(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 20; seed++) {
		struct flipbook *b = flip_make(seed + 400, 150, seed % 2);

		for (size_t i = 0; i < NVALUES; i++) {
			struct find_spec spec = {.gpa = flip_place(b), .limit = MOMENT_END};

			if (i % 3 == 0)
				spec.gpa = (spec.gpa + 4095) & ~4095ull;
			spec.end = i % 2 ? spec.gpa + 4096 : spec.gpa + 1 + flip_random(b, 40);
			compare(b, spec, (const u8 *)values[i].bytes, values[i].n, seed);
		}
		flip_free(b);
	}
}

/* In text: "1ffe #3..#5; 2000 #4..; " */
static const char *list_text(void)
{
	static char text[2048];
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < got.n; i++) {
		const struct found *f = &got.f[i];

		used += (size_t)snprintf(text + used, sizeof(text) - used, "%llx",
					 (unsigned long long)f->gpa);
		if (f->off || f->len > 64)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "=%llx+%x",
						 (unsigned long long)f->off, f->len);
		used += (size_t)snprintf(text + used, sizeof(text) - used, " #%llu..",
					 (unsigned long long)f->from.seq);
		if (!moment_is_end(f->until))
			used += (size_t)snprintf(text + used, sizeof(text) - used, "#%llu",
						 (unsigned long long)f->until.seq);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "; ");
		assert_true(used < sizeof(text));
	}
	return text;
}

static const struct find_spec everywhere = {
	.end = UINT64_MAX, .limit = MOMENT_END, .max = FOUND_MAX, .fn = note, .arg = &got};

static void finds(struct scribe *s, const char *bytes, size_t n, const char *expected)
{
	char err[256] = "";

	got.n = 0;
	if (find_bytes(s->reader, s->state, &everywhere, (const u8 *)bytes, n, err, sizeof(err)))
		fail_msg("%s", err);
	assert_string_equal(list_text(), expected);
}

static void begun(struct scribe *s, bool compared)
{
	scribe_begin_full(s);
	scribe_cover(s, ORIGIN_VCPU, true, WHY_NONE, 0, 0); /* 1 */
	if (compared)
		scribe_compared(s, 0, UINT64_MAX, 0, 0); /* 2 */
	else
		scribe_mark(s, "no comparison");
}

static void appears_vanishes_reappears(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "abcd"); /* 3 */
	scribe_ram(&s, 0x1003, "X");				  /* 4 */
	scribe_ram(&s, 0x1003, "d");				  /* 5 */
	scribe_ram(&s, 0x1000, "ab");				  /* 6: nothing new */
	scribe_unseen(&s, WHY_EMULATOR, 0, 0x1001, "Y");	  /* 7 */
	scribe_unseen(&s, WHY_EMULATOR, 0, 0x1001, "b");	  /* 8 */
	scribe_read(&s);
	finds(&s, "abcd", 4, "1000 #3..#4; 1000 #5..#7; 1000 #8..; ");
	assert_int_equal(got.f[0].by.origin, ORIGIN_NONE);
	assert_int_equal(got.f[1].by.origin, ORIGIN_VCPU);
	assert_int_equal(got.f[1].by.pc, 0x400001);
	assert_int_equal(got.f[1].by.vcpu, 0);
	assert_int_equal(got.f[2].by.origin, ORIGIN_UNSEEN);
	scribe_end(&s);
}

/* Its first bytes lie in a page that nobody ever wrote to. */
static void zeros_of_an_untouched_page_count(void **state)
{
	for (int compared = 0; compared < 2; compared++) {
		struct scribe s;

		(void)state;
		begun(&s, compared);
		scribe_ram(&s, 0x2000, "abcd");			 /* 3 */
		scribe_ram(&s, 0x4ffc, "efgh");			 /* 4 */
		scribe_ram(&s, 0x1fff, "X");			 /* 5 */
		scribe_ram(&s, 0x1fff, "Y");			 /* 6 */
		scribe_put_store(&s, 0x1fff, 1, 0, 0x40, false); /* 7 */
		scribe_ram(&s, 0x2000, "abcd");			 /* 8 */
		scribe_read(&s);
		finds(&s, "\0ab", 3, compared ? "1fff #3..#5; 1fff #7..; " : "1fff #7..; ");
		finds(&s, "gh\0", 3, compared ? "4ffe #4..; " : "");
		scribe_end(&s);
	}
}

static void unknown_bytes_never_match(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, false);
	scribe_ram(&s, 0x1000, "ab");			 /* 3 */
	scribe_put_store(&s, 0x1003, 1, 0, 0x40, false); /* 4 */
	scribe_read(&s);
	finds(&s, "ab\0", 3, "");
	finds(&s, "b\0\0", 3, "");
	finds(&s, "\0", 1, "1003 #4..; ");
	scribe_end(&s);
	begun(&s, true);
	scribe_ram(&s, 0x1000, "ab"); /* 3 */
	scribe_read(&s);
	finds(&s, "ab\0", 3, "1000 #3..; ");
	finds(&s, "b\0\0", 3, "1001 #3..; ");
	scribe_end(&s);
}

static void overlapping_values(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1ffd, "aaaaa"); /* 3 */
	scribe_ram(&s, 0x1fff, "b");				   /* 4 */
	scribe_read(&s);
	finds(&s, "aa", 2, "1fff #3..#4; 1ffe #3..#4; 1ffd #3..; 2000 #3..; ");
	scribe_end(&s);
}

static void a_long_value(void **state)
{
	static char value[FIND_BYTES_MAX + 1];
	struct event_unseen ev = {.gpa = 0x1c00, .len = FIND_BYTES_MAX};
	struct scribe s;
	char err[256] = "";

	(void)state;
	begun(&s, true);
	for (size_t i = 0; i < FIND_BYTES_MAX; i++)
		value[i] = (char)(1 + i % 251);
	memcpy(ev.data, value, FIND_BYTES_MAX);
	scribe_put(&s, &ev.h, EVENT_unseen); /* 3 */
	scribe_ram(&s, 0x23ff, "\xff");	     /* 4: its last byte */
	scribe_read(&s);
	finds(&s, value, FIND_BYTES_MAX, "1c00=0+800 #3..#4; ");
	assert_int_equal(find_bytes(s.reader, s.state, &everywhere, (u8 *)value, FIND_BYTES_MAX + 1,
				    err, sizeof(err)),
			 -EINVAL);
	assert_int_equal(
		find_bytes(s.reader, s.state, &everywhere, (u8 *)value, 0, err, sizeof(err)),
		-EINVAL);
	assert_string_not_equal(err, "");
	scribe_end(&s);
}

static int stop(void *arg, const struct found *f)
{
	(void)f;
	return ++*(int *)arg == 2 ? 77 : 0;
}

static void too_many_and_enough(void **state)
{
	struct find_spec spec = everywhere;
	struct scribe s;
	char err[256] = "";
	int n = 0;

	(void)state;
	begun(&s, true);
	for (unsigned i = 0; i < 10; i++)
		scribe_ram(&s, 0x1000 + 16 * i, "zz");
	scribe_read(&s);
	got.n = 0;
	spec.max = 10;
	assert_int_equal(find_bytes(s.reader, s.state, &spec, (u8 *)"zz", 2, err, sizeof(err)), 0);
	assert_int_equal(got.n, 10);
	spec.max = 9;
	got.n = 0;
	assert_int_equal(find_bytes(s.reader, s.state, &spec, (u8 *)"zz", 2, err, sizeof(err)),
			 -E2BIG);
	assert_non_null(strstr(err, "more than 9"));
	spec.max = 10;
	spec.fn = stop;
	spec.arg = &n;
	assert_int_equal(find_bytes(s.reader, s.state, &spec, (u8 *)"zz", 2, err, sizeof(err)), 77);
	assert_int_equal(n, 2);
	spec.pages_max = 1;
	spec.gpa = 0x1000;
	spec.fn = note;
	spec.arg = &got;
	got.n = 0;
	assert_int_equal(find_bytes(s.reader, s.state, &spec, (u8 *)"zz", 2, err, sizeof(err)), 0);
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_as_brute_force_finds_them),
		cmocka_unit_test(values_before_a_moment),
		cmocka_unit_test(values_that_touch_a_range),
		cmocka_unit_test(appears_vanishes_reappears),
		cmocka_unit_test(zeros_of_an_untouched_page_count),
		cmocka_unit_test(unknown_bytes_never_match),
		cmocka_unit_test(overlapping_values),
		cmocka_unit_test(a_long_value),
		cmocka_unit_test(too_many_and_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
