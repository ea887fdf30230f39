// SPDX-License-Identifier: GPL-2.0-or-later
/* Races: what two threads' rings tell of the order of their stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/random_event.h"
#include "user/races.h"

#define AT 0x1000ull

static struct races *begun(u32 since)
{
	struct races *r = NULL;

	assert_int_equal(races_open(&r, since), 0);
	return r;
}

static void what_is_far_apart_did_not_race(void **state)
{
	struct races *r = begun(1);

	(void)state;
	assert_false(races_store(r, 0, 9, 10, AT, 8));
	/* Another thread, which had told of a store two passes later. */
	assert_false(races_store(r, 1, 12, 12, AT, 8));
	/* The first again, whose store before it was in that pass, too. */
	assert_true(races_store(r, 0, 12, 12, AT, 8));
	assert_true(races_store(r, 1, 13, 13, AT, 8));
	assert_true(races_store(r, 0, 14, 14, AT, 8));
	/* A thread's own stores are in order. */
	assert_false(races_store(r, 0, 15, 15, AT, 8));
	assert_false(races_store(r, 0, 15, 15, AT, 8));
	/* It may have been under way since long ago. */
	assert_true(races_store(r, 1, 16, 30, AT, 8));
	assert_false(races_store(r, 1, 30, 30, AT, 8));
	assert_true(races_since(r, 30, AT, 1));
	assert_true(races_since(r, 30, AT - 64, 65));
	assert_false(races_since(r, 31, AT, 8));
	assert_false(races_since(r, 30, AT + 8, 8));
	races_close(r);
}

static void what_came_before_is_not_known(void **state)
{
	struct races *r = begun(5);

	(void)state;
	assert_true(races_store(r, 1, 0, 5, AT, 4));
	assert_true(races_store(r, 0, 6, 6, AT + 64, 4));
	assert_false(races_store(r, 0, 7, 7, AT + 64, 4));
	races_close(r);
}

static void a_store_into_two_words_races_in_either(void **state)
{
	struct races *r = begun(1);

	(void)state;
	assert_false(races_store(r, 0, 10, 10, AT + 8, 1));
	assert_false(races_store(r, 1, 10, 10, AT + 4, 4));
	assert_true(races_store(r, 1, 10, 10, AT + 5, 4));
	races_close(r);
}

/* Against a model that knows each word: nothing that raced is passed over. */
static void none_is_passed_over(void **state)
{
	static u32 last[64][3]; /* the pass of each ring's last store to a word */
	struct races *r = begun(2);
	u32 before[3] = {0}, pass = 2, raced = 0, more = 0;
	u64 seed = 88172645463325252ull;

	(void)state;
	memset(last, 0, sizeof(last));
	for (u32 i = 0; i < 200000; i++) {
		const u32 ring = random_next(&seed) % 3, word = random_next(&seed) % 64;
		bool must = before[ring] < 4;

		pass += random_next(&seed) % 8 == 0 ? random_next(&seed) % 4 : 0;
		for (u32 other = 0; other < 3; other++)
			must |= other != ring && last[word][other] &&
				before[ring] < last[word][other] + 2;
		const bool said = races_store(r, ring, before[ring], pass, AT + 8 * word, 8);
		assert_true(said || !must);
		raced += must;
		more += said && !must;
		last[word][ring] = before[ring] = pass;
	}
	assert_in_range(raced, 1000, 199000);
	assert_in_range(more, 0, raced / 2);
	races_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_far_apart_did_not_race),
		cmocka_unit_test(what_came_before_is_not_known),
		cmocka_unit_test(a_store_into_two_words_races_in_either),
		cmocka_unit_test(none_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
