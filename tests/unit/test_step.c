// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Times: exact whatever they are, and about one byte each where they are regular.
 */
#include "formats/step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define N 20000

static u64 steps[N];

static size_t round_trip(void)
{
	struct step_writer w = {0};
	struct step_reader r = {0};
	struct step ws = {0}, rs = {0};
	size_t size;

	for (size_t i = 0; i < N; i++)
		step_put(&w, &ws, steps[i]);
	step_flush(&w);
	size = w.bits.len;
	r.bits = span_of(w.bits.data, w.bits.len);
	for (unsigned i = 0; i < STEP_CLASSES; i++) {
		r.tokens[i] = span_of(w.tokens[i].data, w.tokens[i].len);
		size += w.tokens[i].len;
	}
	for (size_t i = 0; i < N; i++)
		assert_true(step_take(&r, &rs) == steps[i]);
	assert_false(r.bad);
	assert_true(span_left(&r.bits) == 0);
	step_writer_free(&w);
	return size;
}

static void test_regular(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++)
		steps[i] = 555;
	assert_true(round_trip() <= N + 8);
}

static void test_jitter(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++)
		steps[i] = 540 + (u64)(rand() % 32) + (i % 100 ? 0 : 5000);
	assert_true(round_trip() < N * 3 / 2);
}

static void test_any(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++) {
		steps[i] = (u64)rand() << 40 ^ (u64)rand() << 20 ^ (u64)rand();
		steps[i] = (steps[i] * 0x9e3779b97f4a7c15ull) >> rand() % 64;
		if (i % 3 == 0)
			steps[i] = 0 - steps[i];
	}
	steps[5] = ~0ull;
	steps[6] = 1ull << 63;
	steps[7] = 0;
	round_trip();
}

static void test_median(void **state)
{
	const struct step s = {.last = {5, (u64)-7, 100, 3, 4}};
	const struct step t = {.last = {1, 1, 1, 9, 9}};

	(void)state;
	assert_int_equal(step_predict(&s), 4);
	assert_int_equal(step_predict(&t), 1);
}

static void test_cut(void **state)
{
	struct step_reader r = {.tokens[0] = span_of("\x40", 1)};
	struct step_reader high = {.tokens[0] = span_of("\xff", 1),
				   .bits = span_of("0123456789", 10)};
	struct step s = {0};

	(void)state;
	step_take(&r, &s);
	assert_true(r.bad);
	s = (struct step){0};
	step_take(&high, &s);
	assert_true(high.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regular), cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_any),	cmocka_unit_test(test_median),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
