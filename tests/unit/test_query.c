/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verdicts: who wrote these bytes, and when nobody may be named. */
#include "scribe.h"

#include <stdlib.h>

#include "replay/query.h"

/* Runs and answers as text, one run after the other:
 *	1000+4 WRITTEN-BY #3 aaaa<....; 1004+4 INITIAL -;
 * The writer's (or last seen) number; its bytes; after '<' those before. */
struct text {
	char buf[2048];
	size_t used;
};

static void print(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->used += (size_t)vsnprintf(t->buf + t->used, sizeof(t->buf) - t->used, fmt, ap);
	va_end(ap);
	assert_true(t->used < sizeof(t->buf));
}

static int take(void *arg, const struct run *run)
{
	struct text *t = arg;
	const int len = (int)(run->end - run->gpa);

	print(t, "%llx+%d", (unsigned long long)run->gpa, len);
	for (unsigned i = 0; i < run->nanswers; i++) {
		const struct answer *a = &run->answers[i];

		print(t, " %s", verdict_name(a->verdict));
		if (a->why == WHY_NOT_WATCHED)
			print(t, " not-watched");
		else if (a->why == WHY_NO_PROBE)
			print(t, " no-probe");
		else if (a->why == WHY_PAGE_TABLE)
			print(t, " page-table");
		else if (a->why == WHY_VHOST)
			print(t, " vhost");
		if (a->write)
			print(t, " #%llu", (unsigned long long)a->write->at.seq);
		if (a->bytes)
			print(t, " %.*s", len, (const char *)a->bytes);
		if (a->old)
			print(t, "<%.*s", len, (const char *)a->old);
		if (a->lost)
			print(t, " lost %llu", (unsigned long long)a->lost);
	}
	print(t, "; ");
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

static void last_writer_of_each_byte(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED); /* 3 */
	scribe_store(&s, 0x1002, "bbbb", MMIO_DONE_EXITED); /* 4 */
	scribe_store(&s, 0x1003, "cc", MMIO_DONE_EXITED);   /* 5 */
	scribe_read(&s);
	who(&s, 0x1000, 8,
	    "1000+2 WRITTEN-BY #3 aa; 1002+1 WRITTEN-BY #4 b<a; 1003+2 WRITTEN-BY #5 cc<bb; "
	    "1005+1 WRITTEN-BY #4 b; 1006+2 INITIAL; ");
	scribe_end(&s);
}

static int unconfirmed(void *arg, const struct run *run)
{
	bool *found = arg;

	assert_int_equal(run->answers[0].verdict, VERDICT_INITIAL);
	*found = strstr(run->answers[0].detail, "no later look") != NULL;
	return 0;
}

/* INITIAL says so when nothing but silence speaks for it: one look is no comparison, two are. */
static void initial_tells_whether_a_look_confirms_it(void **state)
{
	for (int looks = 0; looks <= 2; looks++) {
		const struct query q = {0x1000, 0x1004, MOMENT_END, 1};
		struct scribe s;
		char err[256] = "";
		bool found;

		(void)state;
		scribe_begin(&s);
		scribe_watch(&s, 0x1000, 0x1000);
		if (looks > 0)
			scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "....");
		if (looks > 1)
			scribe_content(&s, CONTENT_WHY_END, 0, 0x1000, "....");
		scribe_read(&s);
		assert_int_equal(query_run(s.reader, s.state, &q, unconfirmed, &found, NULL, err,
					   sizeof(err)),
				 0);
		assert_int_equal(found, looks < 2);
		scribe_end(&s);
	}
}

static void bytes_with_the_same_answer_are_one_run(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "....");
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1004, "....");
	scribe_store(&s, 0x1001, "aaaaaa", MMIO_DONE_EXITED);
	scribe_read(&s);
	who(&s, 0x1000, 8,
	    "1000+1 INITIAL .; 1001+6 WRITTEN-BY #5 aaaaaa<......; 1007+1 INITIAL .; ");
	who(&s, 0x1002, 3, "1002+3 WRITTEN-BY #5 aaa<...; ");
	scribe_end(&s);
}

static void before_a_time_and_the_last_n(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED); /* 3 */
	scribe_store(&s, 0x1000, "b", MMIO_DONE_EXITED); /* 4 */
	scribe_store(&s, 0x1000, "c", MMIO_DONE_EXITED); /* 5 */
	scribe_read(&s);
	ask(&s, 0x1000, 1, (struct moment){5000, 5}, 1, "1000+1 WRITTEN-BY #4 b<a; ");
	ask(&s, 0x1000, 1, (struct moment){3000, 0}, 1, "1000+1 INITIAL; ");
	ask(&s, 0x1000, 1, MOMENT_END, 2, "1000+1 WRITTEN-BY #5 c<b WRITTEN-BY #4 b<a; ");
	ask(&s, 0x1000, 1, MOMENT_END, 9,
	    "1000+1 WRITTEN-BY #5 c<b WRITTEN-BY #4 b<a WRITTEN-BY #3 a INITIAL; ");
	scribe_end(&s);
}

static void unwatched_is_unknown(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_transfer(&s, 1, 0, 0x5000, 2); /* 3, 4 */
	scribe_read(&s);
	who(&s, 0x3000, 4, "3000+4 UNKNOWN not-watched; ");
	who(&s, 0xfff, 2, "fff+1 UNKNOWN not-watched; 1000+1 INITIAL; ");
	who(&s, 0x5000, 3, "5000+2 UNKNOWN not-watched #4; 5002+1 UNKNOWN not-watched; ");
	scribe_end(&s);
}

static void a_store_before_the_watch_is_a_candidate(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_cover(&s, ORIGIN_VIRTQUEUE, true, WHY_NONE, 0, 0);
	scribe_transfer(&s, 1, 0, 0x1000, 2); /* 2, 3 */
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	scribe_read(&s);
	who(&s, 0x1000, 3, "1000+2 UNKNOWN not-watched #3; 1002+1 INITIAL; ");
	scribe_end(&s);
}

static void a_gap_after_the_write(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aa", MMIO_DONE_EXITED);		      /* 3 */
	scribe_cover(&s, ORIGIN_VCPU, false, WHY_PAGE_TABLE, 0x1000, 0x1000); /* 4 */
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);	      /* 5 */
	scribe_store(&s, 0x1001, "b", MMIO_DONE_EXITED);		      /* 6 */
	scribe_read(&s);
	who(&s, 0x1000, 3,
	    "1000+1 UNKNOWN page-table #3 a; 1001+1 WRITTEN-BY #6 b; 1002+1 UNKNOWN page-table; ");
	ask(&s, 0x1000, 2, (struct moment){4000, 4}, 1, "1000+2 WRITTEN-BY #3 aa; ");
	scribe_end(&s);
}

static void without_the_device_probe_nobody_is_named(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED); /* 2 */
	scribe_read(&s);
	who(&s, 0x1000, 2, "1000+1 UNKNOWN no-probe #2 a; 1001+1 UNKNOWN no-probe; ");
	scribe_end(&s);
}

static void losses_hide_writers(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED);		  /* 3, at 3000 */
	scribe_loss(&s, 5, 3500, 3600, 0x1001, 0x1003, 1 << ORIGIN_VCPU); /* 4 */
	scribe_store(&s, 0x1002, "b", MMIO_DONE_EXITED);		  /* 5 */
	scribe_read(&s);
	who(&s, 0x1000, 5,
	    "1000+1 WRITTEN-BY #3 a; 1001+1 LOST #3 a lost 5; 1002+1 WRITTEN-BY #5 b; "
	    "1003+1 WRITTEN-BY #3 a; 1004+1 INITIAL; ");
	ask(&s, 0x1001, 1, (struct moment){3400, 0}, 1, "1001+1 WRITTEN-BY #3 a; ");
	scribe_end(&s);
}

static void a_loss_of_unknown_place_touches_all_that_is_watched(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_loss(&s, 5, 2500, 2600, 0, 0, 1 << ORIGIN_VCPU);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED); /* 4 */
	scribe_read(&s);
	who(&s, 0xfff, 3,
	    "fff+1 UNKNOWN not-watched; 1000+1 WRITTEN-BY #4 a; 1001+1 LOST lost 5; ");
	scribe_end(&s);
}

static void a_look_that_disagrees(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "........");
	scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED); /* 4 */
	scribe_content(&s, CONTENT_WHY_END, 0, 0x1000, "aaXa..Y.");
	scribe_read(&s);
	who(&s, 0x1000, 8,
	    "1000+2 WRITTEN-BY #4 aa<..; 1002+1 UNKNOWN no-probe #4 a<.; "
	    "1003+1 WRITTEN-BY #4 a<.; 1004+2 INITIAL ..; 1006+1 UNKNOWN no-probe; "
	    "1007+1 INITIAL .; ");
	scribe_end(&s);
}

static void unexplained_only_when_all_were_observed(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	for (unsigned o = ORIGIN_VCPU; o < ORIGIN_UNSEEN; o++)
		scribe_cover(&s, o, true, WHY_NONE, 0, 0);
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "..");
	scribe_content(&s, CONTENT_WHY_END, 0, 0x1000, ".X");
	scribe_read(&s);
	who(&s, 0x1000, 2, "1000+1 INITIAL .; 1001+1 UNEXPLAINED; ");
	scribe_end(&s);
}

static void device_writes_and_their_bytes(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);
	scribe_store(&s, 0x1000, "a", MMIO_DONE_EXITED);	   /* 3 */
	scribe_transfer(&s, 1, 7, 0x1000, 4);			   /* 4, 5 */
	scribe_content(&s, CONTENT_WHY_DEVICE, 1, 0x1000, "disk"); /* 6 */
	scribe_transfer(&s, 2, 8, 0x1002, 4);			   /* 7, 8: not captured */
	scribe_read(&s);
	who(&s, 0x1000, 7,
	    "1000+1 WRITTEN-BY #5 d<a; 1001+1 WRITTEN-BY #5 i; 1002+2 WRITTEN-BY #8<sk; "
	    "1004+2 WRITTEN-BY #8; 1006+1 INITIAL; ");
	scribe_end(&s);
}

static void used_rings_are_written_unseen(void **state)
{
	struct event_vq_rings rings = {.desc = 0x1000, .avail = 0x1020, .used = 0x2000};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	scribe_put(&s, &rings.h, EVENT_vq_rings);	  /* 3 */
	scribe_store(&s, 0x2000, "aa", MMIO_DONE_EXITED); /* 4 */
	rings.desc = 0;
	scribe_put(&s, &rings.h, EVENT_vq_rings);	 /* 5: taken down */
	scribe_store(&s, 0x2001, "b", MMIO_DONE_EXITED); /* 6 */
	scribe_read(&s);
	who(&s, 0x2000, 3,
	    "2000+1 UNKNOWN no-probe #4 a; 2001+1 WRITTEN-BY #6 b; "
	    "2002+1 UNKNOWN no-probe; ");
	who(&s, 0x2016, 1, "2016+1 INITIAL; ");
	scribe_end(&s);
}

static void what_vhost_may_write_names_nobody(void **state)
{
	struct event_vq_rings rings = {.desc = 0x8000,
				       .avail = 0x8100,
				       .used = 0x9000,
				       .size = 4,
				       .backend = QUEUE_BACKEND_VHOST};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);			      /* 1, 2 */
	scribe_cover(&s, ORIGIN_VHOST, true, WHY_NONE, 0, 0);	      /* 3 */
	scribe_content(&s, CONTENT_WHY_START, 0, 0x1000, "........"); /* 4 */
	scribe_store(&s, 0x1000, "aabbccdd", MMIO_DONE_EXITED);	      /* 5 */
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_VHOST, 0, 0);	      /* 6 */
	scribe_put(&s, &rings.h, EVENT_vq_rings);		      /* 7 */
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_VHOST, 0x1002, 2);  /* 8: a buffer */
	scribe_store(&s, 0x1003, "x", MMIO_DONE_EXITED);	      /* 9 */
	scribe_content(&s, CONTENT_WHY_MARK, 0, 0x1000, "aabxcczz");  /* 10 */
	scribe_cover(&s, ORIGIN_VHOST, true, WHY_NONE, 0, 0);	      /* 11 */
	scribe_store(&s, 0x1003, "y", MMIO_DONE_EXITED);	      /* 12 */
	scribe_read(&s);
	/* A buffer although its bytes are the same; other bytes; the same bytes, looked at; what
	 * was never given to it, after it had ended. */
	who(&s, 0x1000, 8,
	    "1000+2 WRITTEN-BY #5 aa<..; 1002+1 UNKNOWN vhost #5 b<.; 1003+1 WRITTEN-BY #12 y; "
	    "1004+2 WRITTEN-BY #5 cc<..; 1006+2 UNKNOWN vhost #5 dd<..; ");
	/* Before there was a look. */
	ask(&s, 0x1000, 2, (struct moment){9500, 0}, 1, "1000+2 UNKNOWN vhost #5 aa<..; ");
	ask(&s, 0x1000, 2, (struct moment){5500, 0}, 1, "1000+2 WRITTEN-BY #5 aa<..; ");
	scribe_end(&s);
}

static void without_a_probe_for_vhost_nobody_is_named(void **state)
{
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0x1000, 0x1000);			   /* 1, 2 */
	scribe_cover(&s, ORIGIN_VHOST, false, WHY_NO_PROBE, 0, 0); /* 3 */
	scribe_store(&s, 0x1000, "aa", MMIO_DONE_EXITED);	   /* 4 */
	scribe_content(&s, CONTENT_WHY_END, 0, 0x1000, "aa");	   /* 5 */
	scribe_read(&s);
	who(&s, 0x1000, 2, "1000+2 UNKNOWN no-probe #4 aa; ");
	scribe_end(&s);
}

/* Taking away any one class's coverage never turns one name into another. */
static void removing_a_probe_only_removes_claims(void **state)
{
	(void)state;
	for (unsigned without = ORIGIN_VCPU; without <= ORIGIN_VIRTQUEUE; without++) {
		struct text t = {.used = 0};
		struct scribe s;
		char err[256];
		const struct query q = {0x1000, 0x1010, MOMENT_END, 1};

		scribe_begin(&s);
		if (without != ORIGIN_VIRTQUEUE)
			scribe_cover(&s, ORIGIN_VIRTQUEUE, true, WHY_NONE, 0, 0);
		else
			scribe_cover(&s, ORIGIN_VIRTQUEUE, false, WHY_NO_PROBE, 0, 0);
		if (without != ORIGIN_VCPU)
			scribe_cover(&s, ORIGIN_VCPU, true, WHY_NONE, 0x1000, 0x1000);
		else
			scribe_cover(&s, ORIGIN_VCPU, false, WHY_NO_PROBE, 0x1000, 0x1000);
		if (without != ORIGIN_VCPU)
			scribe_store(&s, 0x1000, "aaaa", MMIO_DONE_EXITED);
		if (without != ORIGIN_VIRTQUEUE)
			scribe_transfer(&s, 1, 0, 0x1002, 4);
		scribe_read(&s);
		assert_int_equal(query_run(s.reader, s.state, &q, take, &t, NULL, err, sizeof(err)),
				 0);
		assert_null(strstr(t.buf, "WRITTEN-BY"));
		assert_null(strstr(t.buf, "INITIAL"));
		assert_non_null(strstr(t.buf, "no-probe"));
		scribe_end(&s);
	}
}

static void questions_out_of_bounds_are_refused(void **state)
{
	static const struct query bad[] = {
		{0x1000, 0x1000, {1, 1}, 1},	     {0x1000, 0x0fff, {1, 1}, 1},
		{0, QUERY_BYTES_MAX + 1, {1, 1}, 1}, {0, 1, {1, 1}, 0},
		{0, 1, {1, 1}, QUERY_N_MAX + 1},
	};
	struct scribe s;

	(void)state;
	scribe_begin(&s);
	scribe_read(&s);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char err[256] = "";

		assert_true(query_run(s.reader, s.state, &bad[i], take, NULL, NULL, err,
				      sizeof(err)) < 0);
		assert_string_not_equal(err, "");
	}
	scribe_end(&s);
}

static void one_page_reads_only_its_chunks(void **state)
{
	const struct query q = {0x9000, 0x9001, MOMENT_END, 1};
	struct query_stats stats;
	struct scribe s;
	struct text t = {.used = 0};
	char err[256];

	(void)state;
	scribe_begin(&s);
	scribe_watch(&s, 0, 0);
	for (unsigned i = 0; i < 64 * 20; i++)
		scribe_store(&s, i == 640 ? 0x9000 : 0x1000 + i % 8, "a", MMIO_DONE_EXITED);
	scribe_read(&s);
	assert_int_equal(query_run(s.reader, s.state, &q, take, &t, &stats, err, sizeof(err)), 0);
	assert_string_equal(t.buf, "9000+1 WRITTEN-BY #643 a; ");
	assert_true(reader_info(s.reader)->nchunks >= 20);
	assert_true(stats.chunks_read <= 2);
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_writer_of_each_byte),
		cmocka_unit_test(initial_tells_whether_a_look_confirms_it),
		cmocka_unit_test(bytes_with_the_same_answer_are_one_run),
		cmocka_unit_test(before_a_time_and_the_last_n),
		cmocka_unit_test(unwatched_is_unknown),
		cmocka_unit_test(a_store_before_the_watch_is_a_candidate),
		cmocka_unit_test(a_gap_after_the_write),
		cmocka_unit_test(without_the_device_probe_nobody_is_named),
		cmocka_unit_test(losses_hide_writers),
		cmocka_unit_test(a_loss_of_unknown_place_touches_all_that_is_watched),
		cmocka_unit_test(a_look_that_disagrees),
		cmocka_unit_test(unexplained_only_when_all_were_observed),
		cmocka_unit_test(device_writes_and_their_bytes),
		cmocka_unit_test(used_rings_are_written_unseen),
		cmocka_unit_test(what_vhost_may_write_names_nobody),
		cmocka_unit_test(without_a_probe_for_vhost_nobody_is_named),
		cmocka_unit_test(removing_a_probe_only_removes_claims),
		cmocka_unit_test(questions_out_of_bounds_are_refused),
		cmocka_unit_test(one_page_reads_only_its_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
