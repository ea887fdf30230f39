// SPDX-License-Identifier: GPL-2.0-or-later
/* The loop over a trace's events, for programs that end when it fails. */
#include "stores_each.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "formats/chunk.h"

void die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

struct reader *each_open(const char *path)
{
	struct reader *r;
	char err[512];

	if (reader_open(&r, path, err, sizeof(err)))
		die("trace", err);
	return r;
}

void each_run(struct reader *r, unsigned streams, each_fn *fn, void *arg)
{
	const struct cursor_spec spec = {.streams = streams, .bulk = true};
	char err[512];

	if (reader_each(r, &spec, fn, arg, NULL, err, sizeof(err)))
		die("trace", err);
}

u64 each_index_bytes(const char *path)
{
	FILE *const f = fopen(path, "r");
	struct trailer t;

	if (!f || fseek(f, -(long)sizeof(t), SEEK_END) || fread(&t, sizeof(t), 1, f) != 1)
		die(path, "no trailer");
	fclose(f);
	return t.file_bytes - t.index_off;
}
