// SPDX-License-Identifier: GPL-2.0-or-later
/* Deltas of pages: what is made of two pages turns the one into the other, and touches no byte that
 * is the same in both; whatever else is read ends within the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/delta.h"

static u8 was[DELTA_PAGE], now[DELTA_PAGE], out[DELTA_MAX];

static size_t turns(void)
{
	u8 page[DELTA_PAGE];
	const size_t n = delta_make(was, now, out);
	struct delta d = delta_open(out, n);
	u32 end = 0;

	assert_in_range(n, 0, DELTA_MAX);
	memcpy(page, was, sizeof(page));
	while (delta_next(&d)) {
		assert_true(d.len && (d.off > end || !end));
		for (u32 i = 0; i < d.len; i++) {
			assert_int_not_equal(page[d.off + i], d.bytes[i]);
			page[d.off + i] = d.bytes[i];
		}
		end = d.off + d.len;
	}
	assert_ptr_equal(d.at, d.stop);
	assert_memory_equal(page, now, sizeof(page));
	return n;
}

static void test_same(void **state)
{
	(void)state;
	memset(was, 7, sizeof(was));
	memcpy(now, was, sizeof(now));
	assert_int_equal(turns(), 0);
}

static void test_edges(void **state)
{
	static const u32 at[] = {0,  1,	 7,   8,   9,	 15,   16,   44,  63,
				 64, 65, 127, 128, 4087, 4088, 4094, 4095};

	(void)state;
	memset(was, 0, sizeof(was));
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (u32 len = 1; at[i] + len <= DELTA_PAGE && len < 20; len++) {
			memset(now, 0, sizeof(now));
			memset(now + at[i], 0xff, len);
			assert_int_equal(turns(), len + 2 + (at[i] >= 128));
		}
}

/* All of it, every other byte, the first and the last. */
static void test_most(void **state)
{
	(void)state;
	memset(was, 0, sizeof(was));
	memset(now, 1, sizeof(now));
	assert_int_equal(turns(), DELTA_PAGE + 3);
	memset(now, 0, sizeof(now));
	for (u32 i = 0; i < DELTA_PAGE; i += 2)
		now[i] = 1;
	assert_int_equal(turns(), DELTA_MAX);
	memset(now, 0, sizeof(now));
	now[0] = now[DELTA_PAGE - 1] = 1;
	assert_int_equal(turns(), 3 + 4);
}

static void test_random(void **state)
{
	(void)state;
	srand(1);
	for (int round = 0; round < 3000; round++) {
		const int share = 1 << rand() % 12;

		for (u32 i = 0; i < DELTA_PAGE; i++) {
			was[i] = (u8)rand();
			now[i] = rand() % share ? was[i] : (u8)rand();
		}
		turns();
	}
}

/* What a hostile trace has. */
static void test_malformed(void **state)
{
	static const struct {
		size_t n;
		u8 data[8];
		u32 runs;
	} wrong[] = {
		{1, {0}, 0},			     /* no length */
		{2, {0, 0}, 0},			     /* no byte */
		{3, {0, 1, 9}, 0},		     /* one of two bytes */
		{3, {0x80, 0x20, 0}, 0},	     /* begins at 4096 */
		{5, {0xff, 0x1f, 1, 9, 9}, 0},	     /* ends at 4097 */
		{4, {0xff, 0xff, 0x7f, 0}, 0},	     /* too long a number */
		{6, {1, 0, 9, 0xff, 0x1f, 0}, 1},    /* the second one begins beyond */
		{8, {1, 0, 9, 0xfd, 0x1f, 0, 9}, 2}, /* what follows has no place */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct delta d = delta_open(wrong[i].data, wrong[i].n);
		u32 runs = 0;

		while (delta_next(&d)) {
			assert_true(d.off + d.len <= DELTA_PAGE);
			runs++;
		}
		assert_int_equal(runs, wrong[i].runs);
	}
	srand(2);
	for (int round = 0; round < 200000; round++) {
		u8 data[40];
		struct delta d = delta_open(data, (size_t)rand() % sizeof(data));

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (u8)rand();
		while (delta_next(&d))
			assert_true(d.off + d.len <= DELTA_PAGE && d.bytes + d.len <= d.stop);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),	  cmocka_unit_test(test_edges),
		cmocka_unit_test(test_most),	  cmocka_unit_test(test_random),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
