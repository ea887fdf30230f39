// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages that were never touched are told from those that were, and stay untouched. */
#include "user/vmm_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES 64u

static struct vmm_memory memory;

/* Pages 3 and 40 hold something, and are all that is read. */
static void two_touched(u8 *at, bool told)
{
	const u64 hva = (uintptr_t)at;
	bool touched[PAGES];
	u8 page[VMM_PAGE];

	at[3 * VMM_PAGE + 5] = 1;
	at[40 * VMM_PAGE] = 2;
	vmm_memory_touched(&memory, hva, PAGES, touched);
	for (size_t i = 0; i < PAGES; i++)
		assert_int_equal(touched[i], !told || i == 3 || i == 40);
	/* From the middle on. */
	vmm_memory_touched(&memory, hva + 40 * VMM_PAGE, 2, touched);
	assert_true(touched[0]);
	assert_int_equal(touched[1], !told);
	assert_int_equal(vmm_memory_read(&memory, &(u64){hva + 40 * VMM_PAGE}, 1, page), 0);
	assert_int_equal(page[0], 2);
}

static void anonymous_memory(void **state)
{
	u8 *at = mmap(NULL, PAGES * VMM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);

	(void)state;
	assert_true(at != MAP_FAILED);
	madvise(at, PAGES * VMM_PAGE, MADV_NOHUGEPAGE);
	two_touched(at, true);
	munmap(at, PAGES * VMM_PAGE);
}

/* Its holes; the mapping begins somewhere within the file. */
static void a_shared_file(void **state)
{
	const int fd = memfd_create("ram", MFD_CLOEXEC);
	struct stat before, after;

	(void)state;
	assert_int_equal(ftruncate(fd, 2 * PAGES * VMM_PAGE), 0);
	u8 *at = mmap(NULL, PAGES * VMM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      PAGES * VMM_PAGE);
	assert_true(at != MAP_FAILED);
	at[3 * VMM_PAGE] = at[40 * VMM_PAGE] = 1;
	fstat(fd, &before);
	two_touched(at, true);
	fstat(fd, &after);
	assert_int_equal(before.st_blocks, after.st_blocks);
	munmap(at, PAGES * VMM_PAGE);
	close(fd);
}

/* Its own pages are not those of the file: nothing is told. */
static void a_private_mapping_of_a_file(void **state)
{
	const int fd = memfd_create("rom", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(fd, PAGES * VMM_PAGE), 0);
	u8 *at = mmap(NULL, PAGES * VMM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_true(at != MAP_FAILED);
	two_touched(at, false);
	munmap(at, PAGES * VMM_PAGE);
	close(fd);
}

static int begin(void **state)
{
	(void)state;
	vmm_memory_open(&memory, getpid());
	return memory.pagemap < 0 || !memory.maps;
}

static int end(void **state)
{
	(void)state;
	vmm_memory_close(&memory);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(anonymous_memory, begin, end),
		cmocka_unit_test_setup_teardown(a_shared_file, begin, end),
		cmocka_unit_test_setup_teardown(a_private_mapping_of_a_file, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
