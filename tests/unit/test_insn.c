/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions are read in the mode that the processor was in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "user/insn.h"

static void modes_matter(void **state)
{
	/* One encoding, three meanings. */
	static const u8 bytes[] = {0x48, 0x89, 0x07};
	char text[128];

	(void)state;
	assert_true(insn_format(CPU_MODE_PROT64, bytes, 3, 0x1000, text, sizeof(text)));
	assert_string_equal(text, "mov [rdi], rax");
	assert_true(insn_format(CPU_MODE_PROT32, bytes, 3, 0x1000, text, sizeof(text)));
	assert_string_equal(text, "dec eax");
	assert_true(insn_format(CPU_MODE_REAL, bytes, 3, 0x1000, text, sizeof(text)));
	assert_string_equal(text, "dec ax");
	assert_true(insn_format(CPU_MODE_PROT16, bytes, 3, 0x1000, text, sizeof(text)));
	assert_string_equal(text, "dec ax");
}

static void what_is_no_instruction_is_refused(void **state)
{
	static const u8 bytes[] = {0x0f, 0xff, 0xff, 0x48};
	char text[128] = "x";

	(void)state;
	assert_false(insn_format(CPU_MODE_UNKNOWN, bytes, 4, 0, text, sizeof(text)));
	assert_string_equal(text, "");
	assert_false(insn_format(200, bytes, 4, 0, text, sizeof(text)));
	assert_false(insn_format(CPU_MODE_PROT64, bytes, 0, 0, text, sizeof(text)));
	assert_false(insn_format(CPU_MODE_PROT64, bytes + 3, 1, 0, text, sizeof(text)));
	assert_false(insn_format(CPU_MODE_PROT64, bytes, 4, 0, text, 0));
}

static void a_small_buffer_is_filled_and_ended(void **state)
{
	static const u8 bytes[] = {0x48, 0x89, 0x07};
	char text[6];

	(void)state;
	assert_true(insn_format(CPU_MODE_PROT64, bytes, 3, 0, text, sizeof(text)));
	assert_string_equal(text, "mov [");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_matter),
		cmocka_unit_test(what_is_no_instruction_is_refused),
		cmocka_unit_test(a_small_buffer_is_filled_and_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
