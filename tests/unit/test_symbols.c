/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Symbols, by the one ELF file that is always there: this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <elf.h>

#include "user/symbols.h"

extern const char __executable_start[];

int landmark(int x);

__attribute__((noinline)) int landmark(int x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

static u64 in_file(const void *p)
{
	return (u64)((const char *)p - __executable_start);
}

static char self[256];

static void a_name_an_offset_a_line(void **state)
{
	struct symbols *s = NULL;
	struct symbol symbol;
	char err[256] = "";

	(void)state;
	if (symbols_add(&s, self, err, sizeof(err)))
		fail_msg("%s", err);
	assert_true(symbols_find(s, in_file(landmark), &symbol));
	assert_string_equal(symbol.name, "landmark");
	assert_non_null(strstr(symbol.src, "test_symbols.c:"));
	assert_true(symbols_find(s, in_file(landmark) + 1, &symbol));
	assert_string_equal(symbol.name, "landmark+0x1");
	symbols_close(s);
}

static void a_base_moves_everything(void **state)
{
	const u64 base = 0x7f0000000000;
	struct symbols *s = NULL;
	struct symbol symbol;
	char spec[300], err[256] = "";

	(void)state;
	snprintf(spec, sizeof(spec), "%s@0x%llx", self, (unsigned long long)base);
	if (symbols_add(&s, spec, err, sizeof(err)))
		fail_msg("%s", err);
	assert_true(symbols_find(s, base + in_file(landmark), &symbol));
	assert_string_equal(symbol.name, "landmark");
	assert_false(symbols_find(s, in_file(landmark), &symbol));
	symbols_close(s);
}

static void several_files_are_asked_in_turn(void **state)
{
	const u64 base = 0x7f0000000000;
	struct symbols *s = NULL;
	struct symbol symbol;
	char spec[300], err[256] = "";

	(void)state;
	snprintf(spec, sizeof(spec), "%s@0x%llx", self, (unsigned long long)base);
	assert_int_equal(symbols_add(&s, spec, err, sizeof(err)), 0);
	assert_int_equal(symbols_add(&s, self, err, sizeof(err)), 0);
	assert_true(symbols_find(s, in_file(landmark), &symbol));
	assert_true(symbols_find(s, base + in_file(landmark), &symbol));
	symbols_close(s);
}

static void nothing_is_found_outside(void **state)
{
	struct symbols *s = NULL;
	struct symbol symbol;
	char err[256] = "";

	(void)state;
	assert_false(symbols_find(NULL, 0x1000, &symbol));
	assert_int_equal(symbols_add(&s, self, err, sizeof(err)), 0);
	assert_false(symbols_find(s, UINT64_MAX, &symbol));
	assert_false(symbols_find(s, 1ull << 40, &symbol));
	symbols_close(s);
}

static void what_is_no_elf_file_is_refused(void **state)
{
	static const char *const specs[] = {
		"/nonexistent", "/dev/null", "/etc/passwd", "/nonexistent@0x1000", "", "@", "/"};
	struct symbols *s = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		char err[256] = "";

		assert_true(symbols_add(&s, specs[i], err, sizeof(err)) < 0);
		assert_string_not_equal(err, "");
		assert_null(strchr(err, '\n'));
	}
	symbols_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_an_offset_a_line),
		cmocka_unit_test(a_base_moves_everything),
		cmocka_unit_test(several_files_are_asked_in_turn),
		cmocka_unit_test(nothing_is_found_outside),
		cmocka_unit_test(what_is_no_elf_file_is_refused),
	};
	const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	return n < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
