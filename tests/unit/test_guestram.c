// SPDX-License-Identifier: GPL-2.0-or-later
/* guestram.c: parts that come, go and overlap; reads of a process, here our own. */
#include "user/guestram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static u8 ram[4 * 4096] __attribute__((aligned(4096)));

static void fill(void)
{
	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (u8)(i * 31 + i / 4096);
}

static void test_read_across_parts(void **state)
{
	struct guestram g = {.pid = getpid()};
	u8 buf[8192];

	(void)state;
	fill();
	/* Two parts that touch, the other way round in the VMM. */
	assert_int_equal(guestram_map(&g, 0x10000, 4096, (uintptr_t)ram + 8192), 0);
	assert_int_equal(guestram_map(&g, 0x11000, 4096, (uintptr_t)ram), 0);
	assert_int_equal(guestram_read(&g, 0x10800, buf, 4096), 4096);
	assert_memory_equal(buf, ram + 8192 + 2048, 2048);
	assert_memory_equal(buf + 2048, ram, 2048);
	assert_int_equal(guestram_read(&g, 0x11800, buf, 4096), 2048);
	assert_int_equal(guestram_read(&g, 0x20000, buf, 1), -ENXIO);
}

static void test_unmap_splits(void **state)
{
	struct guestram g = {.pid = getpid()};
	u8 byte;

	(void)state;
	fill();
	assert_int_equal(guestram_map(&g, 0x10000, sizeof(ram), (uintptr_t)ram), 0);
	guestram_unmap(&g, 0x11000, 0x1000);
	assert_int_equal(g.n, 2);
	assert_int_equal(guestram_read(&g, 0x10fff, &byte, 1), 1);
	assert_int_equal(byte, ram[0xfff]);
	assert_int_equal(guestram_read(&g, 0x11000, &byte, 1), -ENXIO);
	assert_int_equal(guestram_read(&g, 0x12000, &byte, 1), 1);
	assert_int_equal(byte, ram[0x2000]);
	guestram_unmap(&g, 0, UINT64_MAX);
	assert_int_equal(g.n, 0);
}

static void test_map_replaces(void **state)
{
	struct guestram g = {.pid = getpid()};
	u8 byte;

	(void)state;
	fill();
	assert_int_equal(guestram_map(&g, 0x10000, 4096, (uintptr_t)ram), 0);
	assert_int_equal(guestram_map(&g, 0x10000, 4096, (uintptr_t)ram + 4096), 0);
	assert_int_equal(g.n, 1);
	assert_int_equal(guestram_read(&g, 0x10010, &byte, 1), 1);
	assert_int_equal(byte, ram[4096 + 16]);
	assert_int_equal(guestram_map(&g, UINT64_MAX - 10, 4096, 0), -EINVAL);
}

static void test_full(void **state)
{
	struct guestram g = {.pid = getpid()};

	(void)state;
	for (u64 i = 0; i < GUESTRAM_PARTS; i++)
		assert_int_equal(guestram_map(&g, i * 8192, 4096, 4096), 0);
	assert_int_equal(guestram_map(&g, GUESTRAM_PARTS * 8192ull, 4096, 4096), -ENOSPC);
	/* A hole in the middle of a part needs a place that is not there: no overrun. */
	guestram_unmap(&g, 100, 50);
	assert_in_range(g.n, GUESTRAM_PARTS - 1, GUESTRAM_PARTS);
}

static int count(void *arg, const struct event *ev)
{
	const struct event_content *c = (const struct event_content *)ev;
	u64 *total = arg;

	assert_int_equal(ev->kind, EVENT_content);
	assert_int_equal(c->why, CONTENT_WHY_END);
	assert_memory_equal(c->data, ram + (c->gpa - 0x10000), c->len);
	assert_int_equal(c->gpa >> 12, (c->gpa + c->len - 1) >> 12);
	*total += c->len;
	return 0;
}

static void test_look(void **state)
{
	struct guestram g = {.pid = getpid()};
	u64 total = 0;

	(void)state;
	fill();
	assert_int_equal(guestram_map(&g, 0x10000, 8192, (uintptr_t)ram), 0);
	assert_int_equal(guestram_look(&g, 0x10c38, 0x11004, 7, CONTENT_WHY_END, count, &total),
			 0x11004 - 0x10c38);
	assert_int_equal(total, 0x11004 - 0x10c38);
	/* What is not there is left out. */
	total = 0;
	assert_int_equal(guestram_look(&g, 0x11000, 0x14000, 7, CONTENT_WHY_END, count, &total),
			 4096);
}

static void test_process_gone(void **state)
{
	struct guestram g = {.pid = 0x7ffffff0};
	u8 byte;

	(void)state;
	assert_int_equal(guestram_map(&g, 0, 4096, 4096), 0);
	assert_int_equal(guestram_read(&g, 0, &byte, 1), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_across_parts),
		cmocka_unit_test(test_unmap_splits),
		cmocka_unit_test(test_map_replaces),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_process_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
