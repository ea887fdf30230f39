// SPDX-License-Identifier: GPL-2.0-or-later
/* A VMM with hardware of its own is known by what it has open. */
#include "user/vfio.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void by_what_is_open(void **state)
{
	char top[] = "/tmp/vmblame-test.XXXXXX", path[64];
	static const char *const parts[] = {"", "/dev", "/dev/vfio"};

	(void)state;
	assert_non_null(mkdtemp(top));
	for (size_t i = 1; i < 3; i++) {
		snprintf(path, sizeof(path), "%s%s", top, parts[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	snprintf(path, sizeof(path), "%s/dev/vfio/7", top);
	assert_false(vfio_used(getpid()));
	const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_true(vfio_used(getpid()));
	close(fd);
	assert_false(vfio_used(getpid()));
	unlink(path);
	for (size_t i = 3; i-- > 0;) {
		snprintf(path, sizeof(path), "%s%s", top, parts[i]);
		rmdir(path);
	}
}

static void who_is_not_there_has_none(void **state)
{
	(void)state;
	assert_false(vfio_used(0x7ffffff0));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_what_is_open),
		cmocka_unit_test(who_is_not_there_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
