// SPDX-License-Identifier: GPL-2.0-or-later
/* gpaset.c: ranges that join, against a map of bytes; and a set that is full. */
#include "user/gpaset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES 512

static struct gpaset set;

/* The set says what the map says, in order, and no two ranges touch. */
static void agrees(const bool *map)
{
	bool said[BYTES] = {false};

	for (size_t i = 0; i < set.n; i++) {
		assert_true(set.range[i].gpa < set.range[i].end && set.range[i].end <= BYTES);
		assert_true(!i || set.range[i - 1].end < set.range[i].gpa);
		for (u64 at = set.range[i].gpa; at < set.range[i].end; at++)
			said[at] = true;
	}
	assert_memory_equal(said, map, sizeof(said));
}

static void ranges_join(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 50; seed++) {
		bool map[BYTES] = {false};

		srand(seed);
		set.n = 0;
		for (unsigned round = 0; round < 60; round++) {
			const u64 gpa = (u64)rand() % (BYTES - 16);
			const u64 end = gpa + 1 + (u64)rand() % 16;
			bool fresh = false;

			for (u64 at = gpa; at < end; at++) {
				fresh |= !map[at];
				map[at] = true;
			}
			assert_int_equal(gpaset_add(&set, gpa, end), fresh);
			agrees(map);
		}
	}
}

static void the_top_of_the_address_space(void **state)
{
	(void)state;
	set.n = 0;
	assert_true(gpaset_add(&set, UINT64_MAX - 1, UINT64_MAX));
	assert_false(gpaset_add(&set, UINT64_MAX - 1, UINT64_MAX));
	assert_true(gpaset_add(&set, 0, UINT64_MAX));
	assert_int_equal(set.n, 1);
}

static void a_full_set(void **state)
{
	(void)state;
	set.n = 0;
	for (u64 i = 0; i < GPASET_MAX; i++)
		assert_true(gpaset_add(&set, 16 * i, 16 * i + 8));
	assert_int_equal(set.n, GPASET_MAX);
	assert_true(gpaset_add(&set, 16ull * GPASET_MAX, 16ull * GPASET_MAX + 8));
	assert_int_equal(set.n, GPASET_MAX);
	assert_true(gpaset_add(&set, 8, 16)); /* joins two */
	assert_int_equal(set.n, GPASET_MAX - 1);
	assert_true(gpaset_add(&set, 16ull * GPASET_MAX, 16ull * GPASET_MAX + 8));
	assert_int_equal(set.n, GPASET_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_join),
		cmocka_unit_test(the_top_of_the_address_space),
		cmocka_unit_test(a_full_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
