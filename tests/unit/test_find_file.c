/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the blocks of a file were, and from when until when. */
#include "scribe.h"

#include <errno.h>

#include "replay/find.h"

#define BLOCKS 6u /* 0, 1 and 4 are alike; 3 is zero; 5 has TAIL bytes */
#define TAIL   100u
#define SIZE   (5 * FIND_BLOCK + TAIL)

static u8 file[BLOCKS * FIND_BLOCK]; /* zeros behind the tail */

static int file_make(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		file[i] = (u8)((i / FIND_BLOCK + 1) * 37 + i % 253);
	memcpy(file + FIND_BLOCK, file, FIND_BLOCK);
	memcpy(file + 4 * FIND_BLOCK, file, FIND_BLOCK);
	memset(file + 3 * FIND_BLOCK, 0, FIND_BLOCK);
	return 0;
}

struct text {
	char buf[2048];
	size_t used;
};

static int note(void *arg, const struct found *f)
{
	struct text *t = arg;

	t->used +=
		(size_t)snprintf(t->buf + t->used, sizeof(t->buf) - t->used, "%llx=%llx+%x #%llu..",
				 (unsigned long long)f->gpa, (unsigned long long)f->off, f->len,
				 (unsigned long long)f->from.seq);
	if (!moment_is_end(f->until))
		t->used += (size_t)snprintf(t->buf + t->used, sizeof(t->buf) - t->used, "#%llu",
					    (unsigned long long)f->until.seq);
	t->used += (size_t)snprintf(t->buf + t->used, sizeof(t->buf) - t->used, "; ");
	assert_true(t->used < sizeof(t->buf));
	return 0;
}

static void look(struct scribe *s, struct find_spec spec, u64 size, const char *expected)
{
	struct text t = {.used = 0};
	char err[256] = "";
	u64 zeros = 99;

	spec.max = 1000;
	spec.fn = note;
	spec.arg = &t;
	if (find_file(s->reader, s->state, &spec, file, size, &zeros, err, sizeof(err)))
		fail_msg("%s", err);
	assert_string_equal(t.buf, expected);
	assert_int_equal(zeros, size > 3 * FIND_BLOCK);
}

static void finds(struct scribe *s, const char *expected)
{
	look(s, (struct find_spec){.end = UINT64_MAX, .limit = MOMENT_END}, SIZE, expected);
}

static void begun(struct scribe *s, bool compared)
{
	scribe_begin_full(s);
	scribe_cover(s, ORIGIN_VCPU, true, WHY_NONE, 0, 0); /* 1 */
	if (compared)
		scribe_compared(s, 0, UINT64_MAX, 0, 0); /* 2 */
	else
		scribe_mark(s, "no comparison");
}

/* A part of the file comes into memory, by a device. */
static u64 put_part(struct scribe *s, u64 gpa, u64 off, u16 len)
{
	struct event_unseen ev = {.gpa = gpa, .why = WHY_EMULATOR, .len = len};

	memcpy(ev.data, file + off, len);
	return scribe_put(s, &ev.h, EVENT_unseen);
}

static u64 put_block(struct scribe *s, u64 gpa, unsigned block)
{
	return put_part(s, gpa, block * FIND_BLOCK, FIND_BLOCK);
}

static void scattered_and_duplicated(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	put_block(&s, 0x9000, 2); /* 3 */
	put_block(&s, 0x3000, 0); /* 4: blocks 0, 1, 4 */
	put_block(&s, 0x7000, 2); /* 5 */
	put_block(&s, 0x7000, 3); /* 6: zeros */
	put_block(&s, 0x5800, 2); /* 7: not at a page: nowhere */
	scribe_read(&s);
	finds(&s, "7000=2000+1000 #5..#6; 9000=2000+1000 #3..; 3000=0+1000 #4..; "
		  "3000=1000+1000 #4..; 3000=4000+1000 #4..; ");
	scribe_end(&s);
}

static void damaged_and_repaired(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	put_block(&s, 0x3000, 2);			  /* 3 */
	put_block(&s, 0x3000, 2);			  /* 4: as it is */
	scribe_ram(&s, 0x3800, "damage!!");		  /* 5 */
	scribe_ram(&s, 0x3800, "more....");		  /* 6 */
	put_part(&s, 0x3800, 2 * FIND_BLOCK + 0x800, 8);  /* 7: whole again */
	scribe_ram(&s, 0x3fff, "x");			  /* 8 */
	put_part(&s, 0x3ff0, 2 * FIND_BLOCK + 0xff0, 16); /* 9 */
	scribe_ram(&s, 0x4000, "y");			  /* 10: the next page */
	scribe_read(&s);
	finds(&s, "3000=2000+1000 #3..#5; 3000=2000+1000 #7..#8; 3000=2000+1000 #9..; ");
	scribe_end(&s);
}

/* By pieces that come in any order, and cross pages. */
static void piece_by_piece(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	put_part(&s, 0x3800, 2 * FIND_BLOCK + 0x800, 0x800); /* 3 */
	put_part(&s, 0x2c00, 2 * FIND_BLOCK - 0x400, 0x800); /* 4 */
	put_part(&s, 0x3400, 2 * FIND_BLOCK + 0x400, 0x400); /* 5 */
	scribe_read(&s);
	finds(&s, "3000=2000+1000 #5..; ");
	scribe_end(&s);
}

static void a_partial_last_block(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	put_part(&s, 0x3000, 5 * FIND_BLOCK, TAIL - 1); /* 3 */
	put_part(&s, 0x3000, 5 * FIND_BLOCK, TAIL);	/* 4 */
	scribe_ram(&s, 0x3000, "x");			/* 5 */
	put_part(&s, 0x3000, 5 * FIND_BLOCK, 1);	/* 6 */
	scribe_read(&s);
	finds(&s, "3000=5000+64 #4..#5; 3000=5000+64 #6..; ");
	/* Too little to be told by. */
	look(&s, (struct find_spec){.end = UINT64_MAX, .limit = MOMENT_END}, 5 * FIND_BLOCK + 63,
	     "");
	scribe_end(&s);
	begun(&s, false);
	put_part(&s, 0x3000, 5 * FIND_BLOCK, TAIL); /* 3: what follows is not known, nor asked */
	scribe_read(&s);
	finds(&s, "3000=5000+64 #3..; ");
	scribe_end(&s);
}

/* A block's zeros may come last, to where nothing was known. */
static void unknown_bytes_are_no_zeros(void **state)
{
	struct scribe s;

	(void)state;
	memset(file + 2 * FIND_BLOCK + 0x800, 0, 0x800);
	begun(&s, false);
	put_part(&s, 0x3000, 2 * FIND_BLOCK, 0x800);	     /* 3 */
	put_part(&s, 0x3800, 2 * FIND_BLOCK + 0x800, 0x7ff); /* 4 */
	scribe_read(&s);
	finds(&s, "");
	scribe_end(&s);
	begun(&s, false);
	put_part(&s, 0x3000, 2 * FIND_BLOCK, 0x800);	     /* 3 */
	put_part(&s, 0x3800, 2 * FIND_BLOCK + 0x800, 0x800); /* 4 */
	put_part(&s, 0x3800, 2 * FIND_BLOCK + 0x800, 0x800); /* 5: as it is */
	scribe_ram(&s, 0x3fff, "x");			     /* 6 */
	scribe_read(&s);
	finds(&s, "3000=2000+1000 #4..#6; ");
	scribe_end(&s);
	begun(&s, true);
	put_part(&s, 0x3000, 2 * FIND_BLOCK, 0x800); /* 3 */
	scribe_read(&s);
	finds(&s, "3000=2000+1000 #3..; ");
	scribe_end(&s);
	file_make(NULL);
}

static void ranges_and_limits(void **state)
{
	struct scribe s;

	(void)state;
	begun(&s, true);
	put_block(&s, 0x3000, 2);    /* 3, at 3000 */
	put_block(&s, 0x4000, 2);    /* 4 */
	scribe_ram(&s, 0x3000, "x"); /* 5 */
	put_block(&s, 0x5000, 2);    /* 6 */
	scribe_read(&s);
	look(&s, (struct find_spec){.gpa = 0x4000, .end = 0x5000, .limit = MOMENT_END}, SIZE,
	     "4000=2000+1000 #4..; ");
	look(&s, (struct find_spec){.end = UINT64_MAX, .limit = {5000, 5}}, SIZE,
	     "3000=2000+1000 #3..; 4000=2000+1000 #4..; ");
	look(&s, (struct find_spec){.end = UINT64_MAX, .limit = {5000, 6}}, SIZE,
	     "3000=2000+1000 #3..#5; 4000=2000+1000 #4..; ");
	look(&s, (struct find_spec){.end = UINT64_MAX, .limit = MOMENT_START}, SIZE, "");
	scribe_end(&s);
}

static void too_many(void **state)
{
	struct text t = {.used = 0};
	const struct find_spec spec = {
		.end = UINT64_MAX, .limit = MOMENT_END, .max = 2, .fn = note, .arg = &t};
	struct scribe s;
	char err[256] = "";
	u64 zeros;

	(void)state;
	begun(&s, true);
	put_block(&s, 0x3000, 0); /* three at once */
	scribe_read(&s);
	assert_int_equal(find_file(s.reader, s.state, &spec, file, SIZE, &zeros, err, sizeof(err)),
			 -E2BIG);
	assert_non_null(strstr(err, "more than 2"));
	scribe_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scattered_and_duplicated),
		cmocka_unit_test(damaged_and_repaired),
		cmocka_unit_test(piece_by_piece),
		cmocka_unit_test(a_partial_last_block),
		cmocka_unit_test(unknown_bytes_are_no_zeros),
		cmocka_unit_test(ranges_and_limits),
		cmocka_unit_test(too_many),
	};

	return cmocka_run_group_tests(tests, file_make, NULL);
}
