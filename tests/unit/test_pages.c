// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page sets: what was added is found, nothing else, and malformed sets rule nothing out.
 */
#include "formats/pages.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_pages(void **state)
{
	struct pages *p;
	struct buf b = {0};

	(void)state;
	assert_int_equal(pages_open(&p), 0);
	assert_int_equal(pages_add(p, 0x1000, 0x1001), 0);
	assert_int_equal(pages_add(p, 0x2fff, 0x3001), 0);
	assert_int_equal(pages_add(p, 0x5000, 0x5000), 0); /* nothing */
	assert_int_equal(pages_add(p, 0xfffffffffffff000ull, ~0ull), 0);
	assert_int_equal(pages_add(p, 0xffffffffffeull, 0x100000001000ull),
			 0); /* over 2^32 pages */
	pages_flush(p, &b);
	const struct span set = span_of(b.data, b.len);

	assert_true(pages_valid(set));
	assert_false(pages_touch(set, 0, 0x1000));
	assert_true(pages_touch(set, 0xfff, 0x1001));
	assert_true(pages_touch(set, 0x1800, 0x1801));
	assert_true(pages_touch(set, 0x3fff, 0x4000));
	assert_false(pages_touch(set, 0x4000, 0xffffff0000));
	assert_false(pages_touch(set, 0x1000, 0x1000));
	assert_true(pages_touch(set, 0xffffffff000ull, 0xffffffff001ull));
	assert_true(pages_touch(set, 0x100000000000ull, 0x100000000001ull));
	assert_false(pages_touch(set, 0x100000001000ull, 0xffffffffffffe000ull));
	assert_true(pages_touch(set, 0xffffffffffffffffull - 1, ~0ull));
	/* Emptied by the flush. */
	b.len = 0;
	pages_flush(p, &b);
	assert_int_equal(b.len, 0);
	pages_close(p);
	buf_free(&b);
}

static void test_malformed(void **state)
{
	static const char *const sets[] = {"\x05", "\x80", "\x01\xff",
					   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01",
					   "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"};

	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
		const struct span set = span_of(sets[i], strlen(sets[i]));

		assert_false(pages_valid(set));
		assert_true(pages_touch(set, 0x7000, 0x8000));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
