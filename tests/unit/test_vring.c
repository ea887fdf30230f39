// SPDX-License-Identifier: GPL-2.0-or-later
/* vring.c: what a driver lets the device write, from honest and from hostile rings. */
#include "user/vring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM_GPA	  0x10000
#define SIZE	  4
#define DESC_OFF  0
#define AVAIL_OFF 0x100
#define TABLE_OFF 0x200 /* an indirect table */

#define NEXT	 1
#define WRITE	 2
#define INDIRECT 4

static u8 ram[4096] __attribute__((aligned(4096)));
static struct guestram guest;

struct found {
	char text[256];
};

static void take(void *arg, u64 gpa, u64 bytes)
{
	struct found *f = arg;
	const size_t len = strlen(f->text);

	snprintf(f->text + len, sizeof(f->text) - len, "%llx+%llx ", (unsigned long long)gpa,
		 (unsigned long long)bytes);
}

static void desc(unsigned table_off, unsigned n, u64 gpa, u32 bytes, u16 flags, u16 next)
{
	u8 *d = ram + table_off + 16 * n;

	memcpy(d, &gpa, 8);
	memcpy(d + 8, &bytes, 4);
	memcpy(d + 12, &flags, 2);
	memcpy(d + 14, &next, 2);
}

/* The driver makes a request available: the idx-th since the beginning. */
static void post(u16 idx, u16 head)
{
	const u16 after = (u16)(idx + 1);

	memcpy(ram + AVAIL_OFF + 4 + 2 * (idx % SIZE), &head, 2);
	memcpy(ram + AVAIL_OFF + 2, &after, 2);
}

static struct vring begin(void)
{
	memset(ram, 0, sizeof(ram));
	return (struct vring){
		.desc = RAM_GPA + DESC_OFF, .avail = RAM_GPA + AVAIL_OFF, .size = SIZE};
}

static void follows(struct vring *v, int ret, const char *expected)
{
	struct found f = {""};

	assert_int_equal(vring_follow(v, &guest, take, &f), ret);
	assert_string_equal(f.text, expected);
}

static void what_the_device_may_write(void **state)
{
	struct vring v = begin();

	(void)state;
	desc(DESC_OFF, 0, 0xa000, 16, NEXT, 1);
	desc(DESC_OFF, 1, 0xb000, 512, NEXT | WRITE, 3);
	desc(DESC_OFF, 3, 0xc000, 1, WRITE, 0);
	follows(&v, SIZE, "b000+200 c000+1 b000+200 c000+1 b000+200 c000+1 b000+200 c000+1 ");
	follows(&v, 0, "");
	post(0, 0);
	follows(&v, 1, "b000+200 c000+1 ");
	follows(&v, 0, "");
	desc(DESC_OFF, 2, 0xd000, 8, WRITE, 0);
	post(1, 2);
	post(2, 3);
	follows(&v, 2, "c000+1 d000+8 ");
}

static void a_ring_that_is_full_at_first(void **state)
{
	struct vring v = begin();

	(void)state;
	for (u16 i = 0; i < SIZE; i++) {
		desc(DESC_OFF, i, 0xa000u + 0x1000 * i, 64, WRITE, 0);
		post((u16)(65534 + i), i);
	}
	/* The index has wrapped. */
	follows(&v, SIZE, "d000+40 c000+40 b000+40 a000+40 ");
}

static void tables_are_followed_once(void **state)
{
	struct vring v = begin();

	(void)state;
	follows(&v, SIZE, "");
	desc(DESC_OFF, 1, RAM_GPA + TABLE_OFF, 2 * 16, INDIRECT, 0);
	desc(TABLE_OFF, 0, 0xa000, 8, NEXT | WRITE, 1);
	desc(TABLE_OFF, 1, 0xb000, 8, WRITE, 0);
	post(0, 1);
	follows(&v, 1, "a000+8 b000+8 ");
	/* Not a table within a table. */
	desc(TABLE_OFF, 1, 0xb000, 8, WRITE | INDIRECT, 0);
	post(1, 1);
	follows(&v, 1, "a000+8 b000+8 ");
}

static void more_than_the_ring_holds(void **state)
{
	struct vring v = begin();

	(void)state;
	follows(&v, SIZE, "");
	desc(DESC_OFF, 1, 0xa000, 8, WRITE, 0);
	for (u16 i = 0; i < SIZE + 1; i++)
		post(i, 1);
	follows(&v, -EOVERFLOW, "a000+8 a000+8 a000+8 a000+8 ");
	follows(&v, 0, "");
}

static void hostile_rings_end(void **state)
{
	struct vring v = begin();

	(void)state;
	follows(&v, SIZE, "");
	desc(DESC_OFF, 0, 0xa000, 8, NEXT, 0); /* in a circle */
	post(0, 0);
	follows(&v, -EINVAL, "");
	post(1, SIZE); /* beyond the table */
	follows(&v, -EINVAL, "");
	desc(DESC_OFF, 1, 0xdead0000, 64, INDIRECT, 0); /* where there is no memory */
	post(2, 1);
	follows(&v, -EINVAL, "");
	desc(DESC_OFF, 1, RAM_GPA, UINT32_MAX, INDIRECT, 0); /* too large */
	post(3, 1);
	follows(&v, -EINVAL, "");
	desc(DESC_OFF, 1, UINT64_MAX - 1, UINT32_MAX, WRITE, 0); /* across the end */
	post(4, 1);
	follows(&v, 1, "fffffffffffffffe+ffffffff ");
	v.size = 3;
	follows(&v, -EINVAL, "");
	v.size = 2 * VRING_SIZE_MAX;
	follows(&v, -EINVAL, "");
}

static void a_ring_that_cannot_be_read_now(void **state)
{
	struct vring v = begin();

	(void)state;
	follows(&v, SIZE, "");
	desc(DESC_OFF, 1, 0xa000, 8, WRITE, 0);
	post(0, 1);
	v.avail = 0x90000;
	follows(&v, -EAGAIN, "");
	v.avail = RAM_GPA + AVAIL_OFF;
	follows(&v, 1, "a000+8 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_device_may_write),
		cmocka_unit_test(a_ring_that_is_full_at_first),
		cmocka_unit_test(tables_are_followed_once),
		cmocka_unit_test(more_than_the_ring_holds),
		cmocka_unit_test(hostile_rings_end),
		cmocka_unit_test(a_ring_that_cannot_be_read_now),
	};

	guest.mem_fd = guestram_open(getpid(), getuid());
	if (guest.mem_fd < 0 || guestram_map(&guest, RAM_GPA, sizeof(ram), (uintptr_t)ram))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
