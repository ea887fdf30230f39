// SPDX-License-Identifier: GPL-2.0-or-later
/* guestram.c: parts that come, go and overlap; reads of a process, here our own. */
#include "user/guestram.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static u8 ram[4 * 4096] __attribute__((aligned(4096)));

static int self;

static void fill(void)
{
	for (size_t i = 0; i < sizeof(ram); i++)
		ram[i] = (u8)(i * 31 + i / 4096);
}

static void test_read_across_parts(void **state)
{
	struct guestram g = {.mem_fd = self};
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
	struct guestram g = {.mem_fd = self};
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
	struct guestram g = {.mem_fd = self};
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
	struct guestram g = {.mem_fd = self};

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
	struct guestram g = {.mem_fd = self};
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
	pid_t child = fork();
	struct guestram g = {.mem_fd = guestram_open(child, getuid())};
	u8 byte;

	(void)state;
	if (!child) {
		pause();
		_exit(0);
	}
	fill();
	assert_true(g.mem_fd >= 0);
	assert_int_equal(guestram_map(&g, 0, sizeof(ram), (uintptr_t)ram), 0);
	assert_int_equal(guestram_read(&g, 0, &byte, 1), 1);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(guestram_read(&g, 0, &byte, 1), -ESRCH);
	close(g.mem_fd);
	assert_int_equal(guestram_open(child, getuid()), -ENOENT);
}

/* What it executes may be a set-uid program, whose memory is nobody's business. */
static void test_process_executes(void **state)
{
	int go[2];
	(void)state;
	assert_int_equal(pipe(go), 0);
	pid_t child = fork();
	if (!child) {
		char c;

		if (read(go[0], &c, 1) == 1)
			execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	struct guestram g = {.mem_fd = guestram_open(child, getuid())};
	u8 byte;

	fill();
	assert_int_equal(guestram_map(&g, 0, sizeof(ram), (uintptr_t)ram), 0);
	assert_int_equal(guestram_read(&g, 0, &byte, 1), 1);
	assert_int_equal(write(go[1], "g", 1), 1);
	for (int i = 0; i < 500 && guestram_read(&g, 0, &byte, 1) == 1; i++)
		usleep(10000);
	assert_int_equal(guestram_read(&g, 0, &byte, 1), -ESRCH);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(g.mem_fd);
	close(go[0]);
	close(go[1]);
}

static void test_other_owner(void **state)
{
	(void)state;
	assert_int_equal(guestram_open(getpid(), getuid() + 1), -EPERM);
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
		cmocka_unit_test(test_process_executes),
		cmocka_unit_test(test_other_owner),
	};

	self = guestram_open(getpid(), getuid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
