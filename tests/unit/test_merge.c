// SPDX-License-Identifier: GPL-2.0-or-later
/* merge.c: order of time, of threads, and of arrival; what waits and what leaves. */
#include "user/merge.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sink {
	u64 t_ns[20000];
	u32 tseq[20000];
	size_t n;
	int fail_at; /* -1: never */
};

static int take(void *arg, const struct event *ev)
{
	struct sink *s = arg;

	if (s->fail_at >= 0 && s->n == (size_t)s->fail_at)
		return -EIO;
	s->t_ns[s->n] = ev->t_ns;
	s->tseq[s->n++] = ev->tseq;
	return 0;
}

static void put(struct merge *m, u64 t_ns, u32 tseq, u16 kind)
{
	struct event_content ev = {.h = {.t_ns = t_ns, .tseq = tseq, .kind = kind}};

	assert_int_equal(merge_put(m, &ev.h), 0);
}

static void test_time_order(void **state)
{
	struct sink s = {.fail_at = -1};
	struct merge *m;

	(void)state;
	assert_int_equal(merge_open(&m), 0);
	put(m, 30, 1, EVENT_mmio);
	put(m, 10, 2, EVENT_content);
	put(m, 20, 3, EVENT_pio);
	assert_int_equal(merge_flush(m, 25, take, &s), 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.tseq[0], 2);
	assert_int_equal(s.tseq[1], 3);
	put(m, 27, 4, EVENT_mark);
	assert_int_equal(merge_flush(m, UINT64_MAX, take, &s), 0);
	assert_int_equal(s.n, 4);
	assert_int_equal(s.tseq[2], 4);
	assert_int_equal(s.tseq[3], 1);
	merge_close(m);
}

/* Events of one thread that share a time stay in the order in which they came. */
static void test_same_time_stable(void **state)
{
	struct sink s = {.fail_at = -1};
	struct merge *m;

	(void)state;
	assert_int_equal(merge_open(&m), 0);
	for (u32 i = 0; i < 1000; i++)
		put(m, 5, i, EVENT_mmio);
	assert_int_equal(merge_flush(m, 5, take, &s), 0);
	assert_int_equal(s.n, 1000);
	for (u32 i = 0; i < 1000; i++)
		assert_int_equal(s.tseq[i], i);
	merge_close(m);
}

/* Rounds of puts and partial flushes: nothing is lost, doubled or out of order. */
static void test_many_rounds(void **state)
{
	struct sink *s = calloc(1, sizeof(*s));
	struct merge *m;
	u32 n = 0;

	(void)state;
	s->fail_at = -1;
	srand(1);
	assert_int_equal(merge_open(&m), 0);
	for (u64 round = 1; round <= 100; round++) {
		for (int i = 0; i < 100; i++)
			put(m, round * 1000 + (u64)(rand() % 1500), ++n,
			    i % 7 ? EVENT_mmio : EVENT_content);
		assert_int_equal(merge_flush(m, round * 1000, take, s), 0);
	}
	assert_int_equal(merge_flush(m, UINT64_MAX, take, s), 0);
	assert_int_equal(s->n, n);
	u64 sum = 0;
	for (u32 i = 0; i < n; i++) {
		sum += s->tseq[i];
		if (i)
			assert_true(s->t_ns[i] >= s->t_ns[i - 1]);
	}
	assert_int_equal(sum, (u64)n * (n + 1) / 2);
	merge_close(m);
	free(s);
}

static void test_sink_fails(void **state)
{
	struct sink s = {.fail_at = 1};
	struct merge *m;

	(void)state;
	assert_int_equal(merge_open(&m), 0);
	put(m, 1, 1, EVENT_mmio);
	put(m, 2, 2, EVENT_mmio);
	put(m, 3, 3, EVENT_mmio);
	assert_int_equal(merge_flush(m, UINT64_MAX, take, &s), -EIO);
	assert_int_equal(s.n, 1);
	merge_close(m);
}

static int take_blob(void *arg, const struct event *ev)
{
	const struct event_version *v = (const struct event_version *)ev;
	size_t *n = arg;

	assert_int_equal(v->gpa, ev->t_ns * 4096);
	assert_int_equal(v->len, ev->t_ns % sizeof(v->data));
	for (u16 i = 0; i < v->len; i++)
		assert_int_equal(v->data[i], (u8)(ev->t_ns + i));
	++*n;
	return 0;
}

/* Of a blob what is used is kept, of each length and in any order, and moves along. */
static void test_blobs(void **state)
{
	static struct event_version ev = {.h = {.kind = EVENT_version}};
	struct merge *m;
	size_t n = 0;

	(void)state;
	assert_int_equal(merge_open(&m), 0);
	for (u64 i = 0; i < 3000; i++) {
		const u64 t_ns = i ^ 3;

		ev.h.t_ns = t_ns;
		ev.gpa = t_ns * 4096;
		ev.len = (u16)(t_ns % sizeof(ev.data));
		for (u16 k = 0; k < ev.len; k++)
			ev.data[k] = (u8)(t_ns + k);
		assert_int_equal(merge_put(m, &ev.h), 0);
		if (i % 16 == 15)
			assert_int_equal(merge_flush(m, i - 8, take_blob, &n), 0);
	}
	assert_int_equal(merge_flush(m, UINT64_MAX, take_blob, &n), 0);
	assert_int_equal(n, 3000);
	merge_close(m);
}

static void test_unknown_kind(void **state)
{
	struct event ev = {.kind = 0xfff0};
	struct merge *m;

	(void)state;
	assert_int_equal(merge_open(&m), 0);
	assert_int_equal(merge_put(m, &ev), -EINVAL);
	merge_close(m);
	merge_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_order),   cmocka_unit_test(test_same_time_stable),
		cmocka_unit_test(test_many_rounds),  cmocka_unit_test(test_sink_fails),
		cmocka_unit_test(test_unknown_kind), cmocka_unit_test(test_blobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
