// SPDX-License-Identifier: GPL-2.0-or-later
/* flights.c: pages that are to be copied, and memory that devices have mapped. */
#include "user/flights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HVA 0x7f0000001200ull

static struct flights *f;

static int begin(void **state)
{
	(void)state;
	f = calloc(1, sizeof(*f));
	return !f;
}

static int end(void **state)
{
	(void)state;
	free(f);
	return 0;
}

static bool mapped(u64 hva, u64 stop)
{
	size_t i = 0;

	return flights_mapped(f, &i, hva, stop);
}

static void pages_go_once_they_are_copied(void **state)
{
	(void)state;
	assert_true(flights_add(f, 0x1ff0, 0x2010, 0));
	assert_true(flights_add(f, 0x5000, 0x5001, 100));
	assert_true(flights_add(f, 0x5800, 0x5801, 50)); /* the later time counts */
	assert_int_equal(f->npages, 3);
	assert_true(flights_has(f, 0x2fff, 0x3000));
	assert_false(flights_has(f, 0x3000, 0x5000));
	assert_true(flights_has(f, 0, 0x100000));
	assert_false(flights_has(f, 0x6000, 0x100000));
	flights_copied(f, 60);
	assert_false(flights_has(f, 0x1000, 0x3000));
	assert_true(flights_has(f, 0x5fff, 0x6000));
	flights_copied(f, 101);
	assert_int_equal(f->npages, 0);
}

static void too_many_pages(void **state)
{
	(void)state;
	assert_true(flights_add(f, 0, (u64)FLIGHT_PAGES * FLIGHT_PAGE, 0));
	assert_true(flights_add(f, 0x3000, 0x4000, 0));
	assert_false(flights_add(f, (u64)FLIGHT_PAGES * FLIGHT_PAGE, UINT64_MAX, 0));
	flights_copied(f, 1);
	assert_true(flights_add(f, UINT64_MAX - 1, UINT64_MAX, 0));
}

static void a_mapping_lasts_until_its_end(void **state)
{
	(void)state;
	flights_map(f, HVA, 512, 10);
	flights_map(f, HVA, 512, 11);
	assert_true(mapped(HVA + 511, HVA + 512));
	assert_true(mapped(0, HVA + 1));
	assert_false(mapped(HVA + 512, UINT64_MAX));
	assert_false(mapped(0, HVA));
	flights_unmap(f, HVA, 512, 12);
	assert_true(mapped(HVA, HVA + 1));
	flights_unmap(f, HVA, 100, 13); /* another size than it was made with */
	assert_false(mapped(HVA, HVA + 1));
	assert_int_equal(f->nmaps, 0);
}

/* Each CPU's ring is drained by itself. */
static void an_end_may_be_told_first(void **state)
{
	(void)state;
	flights_unmap(f, HVA, 512, 20);
	assert_false(mapped(HVA, HVA + 1));
	flights_map(f, HVA, 512, 10);
	assert_false(mapped(HVA, HVA + 1));
	assert_int_equal(f->nmaps, 0);
}

/* Its beginning was before the recording, or lost: the next mapping there is none of its. */
static void an_end_without_a_beginning(void **state)
{
	(void)state;
	flights_unmap(f, HVA, 512, 20);
	flights_map(f, HVA, 512, 30);
	assert_true(mapped(HVA, HVA + 1));
	flights_unmap(f, HVA, 512, 40);
	flights_unmap(f, HVA, 512, 50);
	assert_int_equal(f->nmaps, 1);
	flights_copied(f, 2000000000);
	assert_int_equal(f->nmaps, 0);
}

static void too_many_mappings(void **state)
{
	(void)state;
	for (u64 i = 0; i <= FLIGHT_MAPS; i++)
		flights_map(f, HVA + i * 4096, 512, i);
	assert_int_equal(f->beyond, 1);
	assert_int_equal(f->left_out, 1);
	flights_unmap(f, HVA, 512, 9000);
	assert_int_equal(f->beyond, 1);
	flights_unmap(f, HVA + FLIGHT_MAPS * 4096ull, 512, 9000);
	assert_int_equal(f->beyond, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_go_once_they_are_copied, begin, end),
		cmocka_unit_test_setup_teardown(too_many_pages, begin, end),
		cmocka_unit_test_setup_teardown(a_mapping_lasts_until_its_end, begin, end),
		cmocka_unit_test_setup_teardown(an_end_may_be_told_first, begin, end),
		cmocka_unit_test_setup_teardown(an_end_without_a_beginning, begin, end),
		cmocka_unit_test_setup_teardown(too_many_mappings, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
