/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that is compared: writers that nobody saw, what a comparison confirms, and what a later
 * store covers up. Every event takes a microsecond: number N is at N us.
 */
#include "scribe.h"

#include <stdlib.h>

#include "formats/desc.h"
#include "replay/memory.h"
#include "replay/query.h"

struct text {
	char buf[2048];
	size_t used;
};

/* "1000+4 WRITTEN-BY #3 aaaa<....; " */
static int take(void *arg, const struct run *run)
{
	struct text *t = arg;
	const int len = (int)(run->end - run->gpa);

#define PRINT(...) \
	(t->used += (size_t)snprintf(t->buf + t->used, sizeof(t->buf) - t->used, __VA_ARGS__))
	PRINT("%llx+%d", (unsigned long long)run->gpa, len);
	for (unsigned i = 0; i < run->nanswers; i++) {
		const struct answer *a = &run->answers[i];

		PRINT(" %s", verdict_name(a->verdict));
		if (a->why)
			PRINT(" %s", why_name(a->why));
		if (a->write)
			PRINT(" #%llu", (unsigned long long)a->write->at.seq);
		if (a->bytes && a->verdict != VERDICT_INITIAL)
			PRINT(" %.*s", len, (const char *)a->bytes);
		if (a->old)
			PRINT("<%.*s", len, (const char *)a->old);
	}
	PRINT("; ");
#undef PRINT
	assert_true(t->used < sizeof(t->buf));
	return 0;
}

static void ask(struct scribe *s, u64 gpa, u64 len, struct moment limit, unsigned n,
		const char *expected)
{
	const struct query q = {gpa, gpa + len, limit, n};
	struct text t = {.used = 0};
	char err[256] = "";

	if (query_run(s->reader, s->state, &q, take, &t, NULL, err, sizeof(err)))
		fail_msg("%s", err);
	assert_string_equal(t.buf, expected);
}

static void who(struct scribe *s, u64 gpa, u64 len, const char *expected)
{
	ask(s, gpa, len, MOMENT_END, 1, expected);
}

/* Before event number seq. */
static struct moment at(u64 seq)
{
	return (struct moment){seq * 1000, seq};
}

/* Full mode: stores are seen (1), devices are not; compared at the beginning (2). */
static void begun(struct scribe *s)
{
	scribe_begin_full(s);
	scribe_cover(s, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	scribe_compared(s, 0, 0x100000, 0, 0);
}

static int window(void *arg, const struct run *run)
{
	const struct answer *a = &run->answers[0];

	(void)arg;
	assert_int_equal(a->verdict, VERDICT_UNKNOWN);
	assert_int_equal(a->write->origin, ORIGIN_UNSEEN);
	assert_int_equal(a->write->since_ns, 2000);
	assert_int_equal(a->write->at.t_ns, 4000);
	assert_int_equal(a->write->why, a->why);
	assert_non_null(strstr(a->detail, "between 0.000002000 s and 0.000004000 s"));
	return 0;
}

static void a_byte_whose_last_write_is_unseen(void **state)
{
	static const enum why whys[] = {WHY_EMULATOR, WHY_PAGE_TABLE, WHY_EMULATION};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const struct query q = {0x1001, 0x1003, MOMENT_END, 1};
		struct scribe s;
		char err[256] = "", expected[128];

		begun(&s);
		scribe_ram(&s, 0x1000, "aaaa");			/* 3 */
		scribe_unseen(&s, whys[i], 2000, 0x1001, "uu"); /* 4 */
		scribe_compared(&s, 0, 0x100000, 2000, 2);	/* 5 */
		scribe_read(&s);
		snprintf(
			expected, sizeof(expected),
			"1000+1 WRITTEN-BY #3 a; 1001+2 UNKNOWN %s #4 uu; 1003+1 WRITTEN-BY #3 a; ",
			why_name(whys[i]));
		who(&s, 0x1000, 4, expected);
		if (query_run(s.reader, s.state, &q, window, NULL, NULL, err, sizeof(err)))
			fail_msg("%s", err);
		scribe_end(&s);
	}
}

static void a_store_counts_once_memory_was_compared(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_unseen(&s, WHY_EMULATOR, 2000, 0x1000, "uuuu"); /* 3 */
	scribe_compared(&s, 0, 0x100000, 2000, 4);	       /* 4 */
	scribe_ram(&s, 0x1000, "bb");			       /* 5 */
	scribe_compared(&s, 0, 0x100000, 4000, 0);	       /* 6 */
	scribe_ram(&s, 0x1001, "c");			       /* 7: never compared */
	scribe_read(&s);
	who(&s, 0x1000, 4,
	    "1000+1 WRITTEN-BY #5 b; 1001+1 UNKNOWN no-probe #7 c; 1002+2 UNKNOWN emulator #3 "
	    "uu; ");
	scribe_end(&s);
}

static void or_when_the_class_was_observed(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);	      /* 1, 2 */
	scribe_ram(&s, 0x1000, "ab"); /* 3 */
	scribe_read(&s);
	who(&s, 0x1000, 2, "1000+2 WRITTEN-BY #3 ab; ");
	scribe_end(&s);
	scribe_begin_full(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0, 0); /* 1 */
	scribe_ram(&s, 0x1000, "ab");			     /* 2 */
	scribe_read(&s);
	who(&s, 0x1000, 2, "1000+2 UNKNOWN no-probe #2 ab; ");
	scribe_end(&s);
}

/* The comparison after T must not be covered up by a store after T. */
static void before_a_moment(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0x1000, "aaaa");		   /* 3 */
	scribe_mark(&s, "T");			   /* 4 */
	scribe_ram(&s, 0x1002, "b");		   /* 5 */
	scribe_compared(&s, 0, 0x100000, 2000, 0); /* 6 */
	scribe_ram(&s, 0x1003, "c");		   /* 7 */
	scribe_compared(&s, 0, 0x100000, 6000, 0); /* 8 */
	scribe_read(&s);
	ask(&s, 0x1000, 4, at(4), 1,
	    "1000+2 WRITTEN-BY #3 aa; 1002+1 UNKNOWN no-probe #3 a; 1003+1 WRITTEN-BY #3 a; ");
	/* At the comparison itself; and behind it nothing else was stored to these. */
	ask(&s, 0x1000, 4, at(6), 1,
	    "1000+2 WRITTEN-BY #3 aa; 1002+1 WRITTEN-BY #5 b; 1003+1 WRITTEN-BY #3 a; ");
	ask(&s, 0x1000, 4, at(7), 1,
	    "1000+2 WRITTEN-BY #3 aa; 1002+1 WRITTEN-BY #5 b; 1003+1 UNKNOWN no-probe #3 a; ");
	who(&s, 0x1000, 4,
	    "1000+2 WRITTEN-BY #3 aa; 1002+1 WRITTEN-BY #5 b; 1003+1 WRITTEN-BY #7 c; ");
	scribe_end(&s);
}

static void before_a_moment_without_a_comparison_after_it(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0x1000, "a"); /* 3 */
	scribe_mark(&s, "T");	     /* 4 */
	scribe_read(&s);
	ask(&s, 0x1000, 1, at(4), 1, "1000+1 UNKNOWN no-probe #3 a; ");
	scribe_end(&s);
}

/* What a comparison found happened somewhere in its window: before T as well as after it. */
static void an_unseen_write_whose_window_holds_the_moment(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0x1000, "aaaa");			     /* 3 */
	scribe_mark(&s, "T");				     /* 4 */
	scribe_unseen(&s, WHY_EMULATOR, 2000, 0x1001, "uu"); /* 5 */
	scribe_compared(&s, 0, 0x100000, 2000, 2);	     /* 6 */
	scribe_unseen(&s, WHY_EMULATOR, 6000, 0x1003, "v");  /* 7: not before it was compared */
	scribe_compared(&s, 0, 0x100000, 6000, 1);	     /* 8 */
	scribe_read(&s);
	ask(&s, 0x1000, 1, at(4), 1, "1000+1 WRITTEN-BY #3 a; ");
	ask(&s, 0x1001, 2, at(4), 1, "1001+2 UNKNOWN no-probe #3 aa; ");
	ask(&s, 0x1003, 1, at(4), 1, "1003+1 WRITTEN-BY #3 a; ");
	ask(&s, 0x1003, 1, at(6), 1, "1003+1 WRITTEN-BY #3 a; ");
	scribe_end(&s);
}

/* What was compared speaks for itself alone. */
static void comparisons_of_parts(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin_full(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0, 0); /* 1 */
	scribe_ram(&s, 0x1ffe, "aa");			     /* 2 */
	scribe_ram(&s, 0x2000, "aa");			     /* 3 */
	scribe_mark(&s, "T");				     /* 4 */
	scribe_ram(&s, 0x2001, "b");			     /* 5 */
	scribe_compared(&s, 0x2000, 0x1000, 0, 0);	     /* 6 */
	scribe_read(&s);
	ask(&s, 0x1ffe, 2, at(4), 1, "1ffe+2 UNKNOWN no-probe #2 aa; ");
	ask(&s, 0x2000, 2, at(4), 1, "2000+1 WRITTEN-BY #3 a; 2001+1 UNKNOWN no-probe #3 a; ");
	scribe_end(&s);
}

static void older_writers_behind_an_unseen_one(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0x1000, "a");			    /* 3 */
	scribe_unseen(&s, WHY_EMULATOR, 2000, 0x1000, "u"); /* 4 */
	scribe_compared(&s, 0, 0x100000, 2000, 1);	    /* 5 */
	scribe_ram(&s, 0x1000, "b");			    /* 6 */
	scribe_compared(&s, 0, 0x100000, 5000, 0);	    /* 7 */
	scribe_read(&s);
	ask(&s, 0x1000, 1, MOMENT_END, 3, "1000+1 WRITTEN-BY #6 b UNKNOWN emulator #4 u; ");
	scribe_end(&s);
}

static void never_written(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0x1000, "a"); /* 3 */
	scribe_compared(&s, 0, 0x100000, 2000, 0);
	scribe_read(&s);
	who(&s, 0x1001, 2, "1001+2 INITIAL; ");
	scribe_end(&s);
	scribe_begin_full(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0, 0);
	scribe_ram(&s, 0x1000, "a");
	scribe_read(&s);
	who(&s, 0x1001, 2, "1001+2 UNKNOWN no-probe; ");
	scribe_end(&s);
}

/* Behind SMM's address space there is other memory. */
static void smm_stores_to_other_memory(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s);
	scribe_ram(&s, 0xa0000, "a"); /* 3 */
	scribe_tick(&s);
	scribe_put_store(&s, 0xa0000, 1, 'S', 0x40, true); /* 4 */
	scribe_compared(&s, 0, 0x100000, 2000, 0);
	scribe_read(&s);
	who(&s, 0xa0000, 1, "a0000+1 WRITTEN-BY #3 a; ");
	scribe_end(&s);
}

/* What [gpa, gpa + strlen(expected)) held; '?': not known, '0': a zero. */
static void holds(struct scribe *s, u64 gpa, struct moment limit, const char *expected)
{
	const size_t len = strlen(expected);
	char text[64] = "", err[256] = "";
	bool known[64];
	u8 data[64];

	if (memory_read(s->reader, s->state, gpa, len, limit, data, known, err, sizeof(err)))
		fail_msg("%s", err);
	for (size_t i = 0; i < len; i++)
		text[i] = !known[i] ? '?' : data[i] ? (char)data[i] : '0';
	assert_string_equal(text, expected);
}

static void memory_of_full_mode(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin_full(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0, 0);	  /* 1 */
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "...."); /* 2 */
	scribe_compared(&s, 0, 0x100000, 0, 4);			  /* 3 */
	scribe_ram(&s, 0x1002, "aaaa");				  /* 4 */
	scribe_unseen(&s, WHY_EMULATOR, 3000, 0x1003, "uu");	  /* 5 */
	scribe_compared(&s, 0, 0x100000, 3000, 2);		  /* 6 */
	scribe_read(&s);
	holds(&s, 0xffe, MOMENT_END, "00..auua00");
	holds(&s, 0x8000, MOMENT_END, "00");
	holds(&s, 0xffe, at(4), "00....0000");
	scribe_end(&s);
	scribe_begin_full(&s);
	scribe_watch(&s, 0, 0);
	scribe_ram(&s, 0x1000, "ab");
	scribe_read(&s);
	holds(&s, 0xfff, MOMENT_END, "?ab?");
	scribe_end(&s);
}

static void the_comparison_of_a_byte(void **state)
{
	struct scribe s;
	const struct comparison *c;

	(void)state;
	scribe_begin_full(&s);
	scribe_compared(&s, 0x1000, 0x1000, 0, 0);     /* 1 */
	scribe_compared(&s, 0x2000, 0x1000, 0, 0);     /* 2 */
	scribe_compared(&s, 0x1000, UINT64_MAX, 0, 0); /* 3 */
	scribe_read(&s);
	assert_int_equal(s.state->ncomparisons, 3);
	assert_null(state_comparison(s.state, 0xfff, MOMENT_START));
	c = state_comparison(s.state, 0x1fff, MOMENT_START);
	assert_int_equal(c->at.seq, 1);
	c = state_comparison(s.state, 0x1fff, at(1));
	assert_int_equal(c->at.seq, 1);
	c = state_comparison(s.state, 0x1fff, at(2));
	assert_int_equal(c->at.seq, 3);
	assert_int_equal(c->end, UINT64_MAX);
	c = state_comparison(s.state, 0x2000, MOMENT_START);
	assert_int_equal(c->at.seq, 2);
	c = state_comparison(s.state, 0x2000, MOMENT_END);
	assert_int_equal(c->at.seq, 3);
	assert_null(state_comparison(s.state, 0x2000, at(4)));
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_byte_whose_last_write_is_unseen),
		cmocka_unit_test(a_store_counts_once_memory_was_compared),
		cmocka_unit_test(or_when_the_class_was_observed),
		cmocka_unit_test(before_a_moment),
		cmocka_unit_test(before_a_moment_without_a_comparison_after_it),
		cmocka_unit_test(an_unseen_write_whose_window_holds_the_moment),
		cmocka_unit_test(comparisons_of_parts),
		cmocka_unit_test(older_writers_behind_an_unseen_one),
		cmocka_unit_test(never_written),
		cmocka_unit_test(smm_stores_to_other_memory),
		cmocka_unit_test(memory_of_full_mode),
		cmocka_unit_test(the_comparison_of_a_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
