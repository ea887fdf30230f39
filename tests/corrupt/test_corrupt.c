// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A small trace cut at every byte and damaged at every byte: opened or refused, never a crash,
 * never an event that was not recorded. Named corruptions stand in corrupt.def.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/check.h"
#include "formats/reader.h"
#include "tests/unit/random_event.h"

static const char *golden = "tests/golden";
static char path[64];
static u8 bytes[1 << 20];
static size_t nbytes;
static union any_event *events; /* of the whole trace: number i + 1 is at i */
static size_t nevents;

static void trace_write(const void *data, size_t n)
{
	const int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static void trace_load(const char *name)
{
	char from[256];

	snprintf(from, sizeof(from), "%s/%s", golden, name);
	FILE *f = fopen(from, "rb");

	if (!f)
		fail_msg("%s: %s", from, strerror(errno));
	nbytes = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
}

static void events_load(void)
{
	struct reader *r;
	struct cursor *c;
	const struct event *ev;
	char err[256];
	u64 seq;

	trace_write(bytes, nbytes);
	assert_int_equal(reader_open(&r, path, err, sizeof(err)), 0);
	events = calloc(reader_info(r)->events, sizeof(*events));
	assert_int_equal(cursor_open(&c, r, &(struct cursor_spec){0}), 0);
	for (nevents = 0; cursor_next(c, &ev, &seq) == CURSOR_MORE; nevents++)
		memcpy(&events[nevents], ev, event_desc(ev->kind)->size);
	assert_int_equal(nevents, reader_info(r)->events);
	cursor_close(c);
	reader_close(r);
}

static void events_free(void)
{
	free(events);
	events = NULL;
}

/* Reads what is at `path`; every event must be one of the whole trace's. How many came. */
static size_t events_check(const struct reader *r, bool *told)
{
	struct cursor *c;
	const struct event *ev;
	enum cursor_status status;
	size_t n = 0;
	u64 seq;

	assert_int_equal(cursor_open(&c, (struct reader *)r, &(struct cursor_spec){0}), 0);
	while ((status = cursor_next(c, &ev, &seq)) != CURSOR_END) {
		assert_int_not_equal(status, CURSOR_IO);
		if (status != CURSOR_MORE) {
			*told = true;
			assert_true(strlen(cursor_message(c)) > 0);
			continue;
		}
		assert_in_range(seq, 1, nevents);
		assert_true(event_equal(ev, &events[seq - 1].h));
		n++;
	}
	cursor_close(c);
	return n;
}

static void cut_everywhere(const char *name)
{
	size_t before = 0;

	trace_load(name);
	events_load();
	for (size_t size = 0; size < nbytes; size++) {
		struct reader *r;
		char err[256] = "";
		bool told = false;

		trace_write(bytes, size);
		const int code = reader_open(&r, path, err, sizeof(err));

		if (code) {
			assert_true(code == -EPROTO || code == -EBADMSG);
			assert_true(size < 72);
			assert_non_null(strstr(err, path));
			continue;
		}
		assert_true(reader_info(r)->truncated);
		assert_false(reader_info(r)->damaged);
		assert_true(reader_info(r)->whole_bytes <= size);
		assert_non_null(reader_message(r));
		const size_t n = events_check(r, &told);

		assert_true(told);
		assert_int_equal(n, reader_info(r)->events);
		assert_true(n >= before);
		before = n;
		reader_close(r);
	}
	assert_int_equal(before, nevents);
	events_free();
}

static void test_cut_everywhere(void **state)
{
	(void)state;
	cut_everywhere("kinds.vmb");
	cut_everywhere("stores.vmb");
	cut_everywhere("versions.vmb");
}

static int count_problem(void *arg, u64 off, const char *what)
{
	assert_true(off < nbytes && strlen(what) > 0);
	(*(size_t *)arg)++;
	return 0;
}

/* What check.h finds, and damage that it meets on the way. */
static size_t problems(struct reader *r)
{
	struct check_counts counts;
	size_t n = 0;
	u64 read = 0;
	char err[256];
	struct check *c;

	assert_int_equal(check_index(r, false, count_problem, &n, &read), 0);
	assert_int_equal(check_open(&c, r, count_problem, &n), 0);
	if (reader_each(r, &(struct cursor_spec){.bulk = true}, check_take, c, NULL, err,
			sizeof(err)))
		n++;
	else if (!n)
		assert_int_equal(check_end(c, &counts), 0);
	check_close(c);
	return n;
}

static void flip_everywhere(u8 mask)
{
	for (size_t i = 0; i < nbytes; i++) {
		struct reader *r;
		char err[256];
		bool told = false;

		bytes[i] ^= mask;
		trace_write(bytes, nbytes);
		if (reader_open(&r, path, err, sizeof(err)) == 0) {
			/* No damage goes unnoticed when events are missing. */
			const size_t n = events_check(r, &told);

			assert_true(n == nevents || told);
			/* And none at all when all is looked at. */
			assert_true(problems(r) || reader_message(r));
			reader_close(r);
		} else {
			assert_true(i < 72);
		}
		bytes[i] ^= mask;
	}
}

/* Nor is there any in a whole file. */
static void test_no_problem(void **state)
{
	static const char *const names[] = {"tiny.vmb", "stos.vmb",   "kinds.vmb",
					    "mmu.vmb",	"stores.vmb", "versions.vmb"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct reader *r;
		char err[256];

		trace_load(names[i]);
		trace_write(bytes, nbytes);
		assert_int_equal(reader_open(&r, path, err, sizeof(err)), 0);
		assert_int_equal(problems(r), 0);
		reader_close(r);
	}
}

static void test_flip_everywhere(void **state)
{
	(void)state;
	trace_load("stos.vmb");
	events_load();
	flip_everywhere(0xff);
	flip_everywhere(0x01);
	events_free();
	trace_load("stores.vmb");
	events_load();
	flip_everywhere(0xff);
	events_free();
	trace_load("versions.vmb");
	events_load();
	flip_everywhere(0xff);
	events_free();
	trace_load("tiny.vmb");
	events_load();
	flip_everywhere(0x80);
	flip_everywhere(0x10);
	events_free();
}

/* What a reader says: the refusal, the message of the file, or the cursor's. */
static void corruption_say(char *said, size_t size)
{
	struct reader *r;
	struct cursor *c;
	const struct event *ev;
	enum cursor_status status;
	u64 seq;

	if (reader_open(&r, path, said, size))
		return;
	snprintf(said, size, "%s", reader_message(r) ? reader_message(r) : "nothing");
	assert_int_equal(cursor_open(&c, r, &(struct cursor_spec){0}), 0);
	while ((status = cursor_next(c, &ev, &seq)) != CURSOR_END)
		if (status == CURSOR_CORRUPT && !reader_message(r))
			snprintf(said, size, "%s", cursor_message(c));
	cursor_close(c);
	reader_close(r);
}

static void test_named(void **state)
{
	static const struct {
		const char *name;
		size_t off;
		u8 byte;
		const char *message;
	} table[] = {
#define CORRUPT(name, off, byte, message) {name, off, byte, message},
#include "corrupt.def"
	};

	(void)state;
	trace_load("tiny.vmb");
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		char said[600], want[600];
		const u8 old = bytes[table[i].off];

		assert_int_not_equal(old, table[i].byte);
		bytes[table[i].off] = table[i].byte;
		trace_write(bytes, nbytes);
		bytes[table[i].off] = old;
		corruption_say(said, sizeof(said));
		snprintf(want, sizeof(want), "%s: %s", path, table[i].message);
		if (strcmp(said, want) != 0)
			fail_msg("%s: said \"%s\", not \"%s\"", table[i].name, said, want);
	}
}

/* Bytes after the trailer are damage, not a longer trace. */
static void test_appended(void **state)
{
	struct reader *r;
	char err[256];
	bool told = false;

	(void)state;
	trace_load("tiny.vmb");
	events_load();
	memset(bytes + nbytes, 0, 200);
	trace_write(bytes, nbytes + 200);
	assert_int_equal(reader_open(&r, path, err, sizeof(err)), 0);
	assert_true(reader_info(r)->damaged);
	assert_int_equal(events_check(r, &told), nevents);
	assert_true(told);
	reader_close(r);
	events_free();
}

static int setup(void **state)
{
	(void)state;
	strcpy(path, "/tmp/vmblame-corrupt-XXXXXX");
	const int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_everywhere),	cmocka_unit_test(test_no_problem),
		cmocka_unit_test(test_flip_everywhere), cmocka_unit_test(test_named),
		cmocka_unit_test(test_appended),
	};

	if (argc > 1)
		golden = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
