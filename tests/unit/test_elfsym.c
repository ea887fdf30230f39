// SPDX-License-Identifier: GPL-2.0-or-later
/* elfsym.c: functions of this very program, in .symtab and in a separate debug file. */
#include "user/elfsym.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int elfsym_landmark(int x);

__attribute__((noinline)) int elfsym_landmark(int x)
{
	return x * 3 + 1;
}

int elfsym_landmark_data = 7;

static void find_in(const char *path)
{
	struct elfsym syms[] = {{.name = "elfsym_landmark"}, {.name = "no_such_function_here"}};

	assert_int_equal(elfsym_find(path, syms, 2), 0);
	assert_true(syms[0].file_off != 0);
	assert_memory_equal(syms[0].first, (const void *)elfsym_landmark, sizeof(syms[0].first));
	assert_true(syms[1].file_off == 0);
}

static void test_symtab(void **state)
{
	(void)state;
	find_in("/proc/self/exe");
}

/* strip leaves no .symtab; the debug file beside it is found by .gnu_debuglink. */
static void test_debug_file(void **state)
{
	char dir[] = "/tmp/vmblame-elfsym.XXXXXX", command[1024], path[256];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof(command),
		 "cp /proc/%d/exe %s/prog && cd %s && objcopy --remove-section .note.gnu.build-id "
		 "prog "
		 "&& objcopy --only-keep-debug prog prog.debug && strip prog && "
		 "objcopy --add-gnu-debuglink=prog.debug prog && mkdir .debug && mv prog.debug "
		 ".debug/",
		 (int)getpid(), dir, dir);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/prog", dir);
	find_in(path);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void test_not_elf(void **state)
{
	struct elfsym sym = {.name = "x"};

	(void)state;
	assert_int_equal(elfsym_find("/etc/passwd", &sym, 1), -ENOEXEC);
	assert_int_equal(elfsym_find("/no/such/file", &sym, 1), -ENOENT);
}

/* A variable, where the process has it; a function of that name would be no variable. */
static void test_data(void **state)
{
	struct elfsym syms[] = {{.name = "elfsym_landmark_data", .data = true},
				{.name = "elfsym_landmark", .data = true},
				{.name = "elfsym_landmark_data"}};
	u64 bias;

	(void)state;
	assert_int_equal(elfsym_find("/proc/self/exe", syms, 3), 0);
	assert_int_equal(elfsym_bias("/proc/self/exe", getpid(), &bias), 0);
	assert_true(syms[0].vaddr != 0 && !syms[0].file_off);
	assert_true((u64)(uintptr_t)&elfsym_landmark_data == syms[0].vaddr + bias);
	assert_true(!syms[1].vaddr && !syms[2].vaddr);
	assert_int_equal(elfsym_bias("/proc/self/exe", -1, &bias), -ENOENT);
	assert_int_equal(elfsym_bias("/etc/passwd", getpid(), &bias), -ENOEXEC);
}

static void test_build_id(void **state)
{
	char id[130];

	(void)state;
	assert_int_equal(elfsym_build_id("/proc/self/exe", id, sizeof(id)), 0);
	assert_true(strlen(id) == 0 || strlen(id) == 40);
	assert_int_equal(strspn(id, "0123456789abcdef"), strlen(id));
}

static void test_no_preload(void **state)
{
	(void)state;
	assert_null(elfsym_no_preload("/proc/self/exe"));
	assert_null(elfsym_no_preload("/etc/passwd")); /* as good as a script */
}

static void test_cheap(void **state)
{
	static const u8 endbr[8] = {0xf3, 0x0f, 0x1e, 0xfa}, push[8] = {0x55},
			rex_push[8] = {0x41, 0x57};
	static const u8 sub[8] = {0x48, 0x83, 0xec, 0x08};

	(void)state;
	assert_true(elfsym_cheap(endbr));
	assert_true(elfsym_cheap(push));
	assert_true(elfsym_cheap(rex_push));
	assert_false(elfsym_cheap(sub));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_symtab),	 cmocka_unit_test(test_debug_file),
		cmocka_unit_test(test_data),	 cmocka_unit_test(test_not_elf),
		cmocka_unit_test(test_build_id), cmocka_unit_test(test_no_preload),
		cmocka_unit_test(test_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
