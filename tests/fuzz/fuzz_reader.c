// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer entry: any bytes as a trace, through reader, cursors and printers. Unless a bit of the
 * UUID says otherwise, checksums are put right first, so that what lies behind them is reached.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "formats/check.h"
#include "formats/chunk.h"
#include "formats/print.h"
#include "formats/reader.h"

#define PRINTED_MAX 500
#define READ_MAX    20000

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void sums_fix(u8 *data, size_t size)
{
	struct file_head file;
	struct trailer t;
	size_t off = sizeof(file);

	if (size < sizeof(file))
		return;
	memcpy(&file, data, sizeof(file));
	file_head_seal(&file);
	memcpy(data, &file, sizeof(file));
	while (size - off >= sizeof(struct chunk_head)) {
		struct chunk_head h;

		memcpy(&h, data + off, sizeof(h));
		if (memcmp(h.magic, CHUNK_MAGIC, MAGIC_BYTES) != 0 || h.size < sizeof(h))
			break;
		if (h.size > size - off)
			h.size = (u32)(size - off);
		h.off = off;
		h.body_checksum = XXH64(data + off + sizeof(h), h.size - sizeof(h), 0);
		h.checksum = XXH64(&h, sizeof(h) - sizeof(u64), 0);
		memcpy(data + off, &h, sizeof(h));
		off += h.size;
	}
	if (size - off != sizeof(t))
		return;
	memcpy(&t, data + off, sizeof(t));
	t.file_bytes = size;
	trailer_seal(&t);
	memcpy(data + off, &t, sizeof(t));
}

static int meta_touch(void *arg, const char *key, const char *value)
{
	*(size_t *)arg += strlen(key) + strlen(value);
	return 0;
}

static void cursor_run(struct reader *r, const struct cursor_spec *spec, FILE *out)
{
	struct cursor *c;
	const struct event *ev;
	enum cursor_status status;
	u64 seq;

	if (cursor_open(&c, r, spec))
		return;
	for (unsigned n = 0; (status = cursor_next(c, &ev, &seq)) != CURSOR_END && n < READ_MAX;
	     n++) {
		if (status != CURSOR_MORE || n >= PRINTED_MAX)
			continue;
		print_event_text(out, ev, seq);
		print_event_json(out, ev, seq);
	}
	cursor_close(c);
}

static int problem_touch(void *arg, u64 off, const char *what)
{
	*(size_t *)arg += off + strlen(what);
	return 0;
}

static void check_run(struct reader *r, size_t *touched)
{
	struct check_counts counts;
	u64 bytes = 0;
	char err[256];
	struct check *c;

	check_index(r, false, problem_touch, touched, &bytes);
	if (check_open(&c, r, problem_touch, touched))
		return;
	if (!reader_each(r, &(struct cursor_spec){.bulk = true}, check_take, c, NULL, err,
			 sizeof(err)))
		check_end(c, &counts);
	check_close(c);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static FILE *out;
	struct reader *r;
	char path[64], err[256];
	size_t touched = 0;
	const int fd = memfd_create("trace", 0);
	u8 *copy = malloc(size + 1);

	if (!out)
		out = fopen("/dev/null", "w");
	if (fd < 0 || !copy || !out)
		abort();
	memcpy(copy, data, size);
	if (size > 48 && !(data[48] & 1))
		sums_fix(copy, size);
	if (write(fd, copy, size) != (ssize_t)size)
		abort();
	free(copy);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!reader_open(&r, path, err, sizeof(err))) {
		reader_meta_each(r, meta_touch, &touched);
		cursor_run(r, &(struct cursor_spec){0}, out);
		cursor_run(r,
			   &(struct cursor_spec){.backward = true,
						 .gpa = 0xb8000,
						 .gpa_end = 0x100000000000,
						 .t_min = 10},
			   out);
		check_run(r, &touched);
		reader_close(r);
	}
	close(fd);
	return 0;
}
