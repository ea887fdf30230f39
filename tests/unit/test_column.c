// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Columns: hits cost nothing, misses come back, malformed ones are refused.
 */
#include "formats/column.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_all_hits(void **state)
{
	struct column_writer w = {.form = COLUMN_NUMBER};
	struct buf fields = {0}, literals = {0};
	struct column_reader r;

	(void)state;
	column_flush(&w, &fields, &literals);
	assert_int_equal(fields.len, 2);
	struct span s = span_of(fields.data, fields.len);

	assert_true(column_open(&r, &s, 1000));
	assert_int_equal(r.next, UINT32_MAX);
	buf_free(&fields);
	column_writer_free(&w);
}

static void test_numbers(void **state)
{
	struct column_writer w = {.form = COLUMN_NUMBER};
	struct buf fields = {0}, literals = {0};
	struct column_reader r;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		fields.len = 0;
		for (u32 i = 0; i < 5000; i++)
			if (i % 7 == 3 || i % 100 < 5)
				column_miss(&w, i, i == 3003 ? ~0ull : i * 3 + 1);
		column_flush(&w, &fields, &literals);
		struct span s = span_of(fields.data, fields.len);

		assert_true(column_open(&r, &s, 5000));
		assert_int_equal(span_left(&s), 0);
		for (u32 i = 0; i < 5000; i++) {
			const bool miss = i % 7 == 3 || i % 100 < 5;
			/* Short runs of hits may have been filled with misses of 0. */
			const u64 z = r.next == i ? column_take(&r) : 0;

			assert_true(z == (!miss ? 0 : i == 3003 ? ~0ull : i * 3 + 1));
		}
		assert_int_equal(r.next, UINT32_MAX);
	}
	buf_free(&fields);
	column_writer_free(&w);
}

static void test_words(void **state)
{
	struct column_writer w = {.form = COLUMN_WORD};
	struct buf fields = {0}, literals = {0};
	struct column_reader r;

	(void)state;
	column_miss_bytes(&w, 0, "abc", 3);
	column_miss_bytes(&w, 5, "defghijk", 8);
	column_flush(&w, &fields, &literals);
	assert_int_equal(literals.len, 11);
	struct span s = span_of(fields.data, fields.len);

	assert_true(column_open(&r, &s, 6));
	assert_int_equal(r.nliterals, 11);
	r.literals = span_of(literals.data, literals.len);
	assert_int_equal(r.next, 0);
	assert_memory_equal(column_take_bytes(&r, 3), "abc", 3);
	assert_int_equal(r.next, 5);
	assert_memory_equal(column_take_bytes(&r, 8), "defghijk", 8);
	assert_int_equal(r.next, UINT32_MAX);
	assert_null(column_take_bytes(&(struct column_reader){.form = COLUMN_BLOB}, 1));
	buf_free(&fields);
	buf_free(&literals);
	column_writer_free(&w);
}

static void test_malformed(void **state)
{
	static const struct {
		u8 bytes[8];
		size_t n;
	} columns[] = {
		{{9, 0}, 2},		       /* no such form */
		{{0}, 1},		       /* no pairs */
		{{0, 1, 0, 0, 1}, 5},	       /* a run of no misses */
		{{0, 1, 10, 1, 1, 7}, 6},      /* past the last event */
		{{0, 1, 0, 11, 1, 7}, 6},      /* more misses than events */
		{{0, 11}, 2},		       /* more pairs than events */
		{{0, 1, 0, 1, 0}, 5},	       /* no planes */
		{{0, 1, 0, 1, 9}, 5},	       /* too many */
		{{0, 1, 0, 2, 2, 1, 1, 1}, 8}, /* planes cut */
		{{1, 1, 0, 1}, 4},	       /* no length of literals */
		{{0, 0x80, 0x80}, 3},	       /* a varint cut */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++) {
		struct span s = span_of(columns[i].bytes, columns[i].n);
		struct column_reader r;

		assert_false(column_open(&r, &s, 10));
	}
}

static void test_varints(void **state)
{
	static const u64 values[] = {0, 1, 127, 128, 300, 1ull << 35, ~0ull >> 1, ~0ull};
	struct buf b = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		buf_varint(&b, values[i]);
	struct span s = span_of(b.data, b.len);

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		assert_true(span_varint(&s) == values[i]);
		assert_true(unzigzag(zigzag(values[i])) == values[i]);
	}
	assert_false(s.bad);
	assert_int_equal(span_varint(&s), 0);
	assert_true(s.bad);
	/* Eleven bytes, and ten with a 65th bit. */
	struct span eleven = span_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	struct span wide = span_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);

	span_varint(&eleven);
	span_varint(&wide);
	assert_true(eleven.bad);
	assert_true(wide.bad);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_hits), cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_words),	 cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_varints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
