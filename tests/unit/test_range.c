/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ranges, sizes and times as people type them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "user/range.h"

#define MAX UINT64_MAX

static void ranges(void **state)
{
	static const struct {
		const char *text;
		int err;
		u64 gpa, end;
	} rows[] = {
		{"0x1f3ac08+8", 0, 0x1f3ac08, 0x1f3ac10},
		{"0x1000..0x2000", 0, 0x1000, 0x2000},
		{"0X10..0x20", 0, 0x10, 0x20},
		{"4K+4K", 0, 4096, 8192},
		{"4k..1M", 0, 4096, 1 << 20},
		{"1MiB+1kB", 0, 1 << 20, (1 << 20) + 1024},
		{"4096", 0, 4096, 4097},
		{"0..16G", 0, 0, 16ull << 30},
		{"0+1", 0, 0, 1},
		{"0xfffffffffffffffe", 0, MAX - 1, MAX},
		{"0xffffffffffffffff", -ERANGE, 0, 0},
		{"0xffffffffffffffff+1", -ERANGE, 0, 0},
		{"0xfffffffffffffff0+15", 0, MAX - 15, MAX},
		{"1..1", -ERANGE, 0, 0},
		{"2..1", -ERANGE, 0, 0},
		{"1+0", -ERANGE, 0, 0},
		{"18446744073709551616", -ERANGE, 0, 0},
		{"0x10000000000000000+1", -ERANGE, 0, 0},
		{"99999999999G+1", -ERANGE, 0, 0},
		{"", -EINVAL, 0, 0},
		{"0x", -EINVAL, 0, 0},
		{"0x1..", -EINVAL, 0, 0},
		{"0x1.0x2", -EINVAL, 0, 0},
		{"..5", -EINVAL, 0, 0},
		{"+5", -EINVAL, 0, 0},
		{"-5..5", -EINVAL, 0, 0},
		{"0x10K", -EINVAL, 0, 0},
		{"10 ", -EINVAL, 0, 0},
		{" 10", -EINVAL, 0, 0},
		{"10Q", -EINVAL, 0, 0},
		{"1..2..3", -EINVAL, 0, 0},
		{"1+2+3", -EINVAL, 0, 0},
		{"boot.vmb", -EINVAL, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct range r = {0};

		if (range_parse(rows[i].text, &r) != rows[i].err || r.gpa != rows[i].gpa ||
		    r.end != rows[i].end)
			fail_msg("%s: %d 0x%llx..0x%llx", rows[i].text,
				 range_parse(rows[i].text, &r), (unsigned long long)r.gpa,
				 (unsigned long long)r.end);
	}
}

static void times(void **state)
{
	static const struct {
		const char *text;
		enum when_kind kind;
		u64 value;
	} rows[] = {
		{"12.5s", WHEN_TIME, 12500000000},
		{"300ms", WHEN_TIME, 300000000},
		{"40us", WHEN_TIME, 40000},
		{"7ns", WHEN_TIME, 7},
		{"1.5us", WHEN_TIME, 1500},
		{"2", WHEN_TIME, 2000000000},
		{"0.000000001", WHEN_TIME, 1},
		{"0.0000000019", WHEN_TIME, 1},
		{"2min", WHEN_TIME, 120000000000},
		{"#42", WHEN_EVENT, 42},
		{"#", WHEN_MARK, 0},
		{"#4x", WHEN_MARK, 0},
		{"panic", WHEN_MARK, 0},
		{"mark:12s", WHEN_MARK, 0},
		{"1.", WHEN_MARK, 0},
		{"12 s", WHEN_MARK, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct when w = {0};

		assert_int_equal(when_parse(rows[i].text, &w), 0);
		if (w.kind != rows[i].kind || (w.kind == WHEN_TIME && w.t_ns != rows[i].value) ||
		    (w.kind == WHEN_EVENT && w.seq != rows[i].value))
			fail_msg("%s", rows[i].text);
	}
	struct when w;
	assert_int_equal(when_parse("", &w), -EINVAL);
	assert_int_equal(when_parse("99999999999999s", &w), -ERANGE);
	assert_int_equal(when_parse("#99999999999999999999", &w), -ERANGE);
	assert_int_equal(when_parse("mark:12s", &w), 0);
	assert_string_equal(w.mark, "12s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
