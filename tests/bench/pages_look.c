// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a recording in pages mode has in it.
 *
 *	pages_look triples FILE		each run of bytes of each version, in order: u64 page, u16
 *					offset, u16 length, little-endian, and the bytes
 *	pages_look columns FILE		the same runs as one array of each: pages, offsets, lengths,
 *					then all the bytes
 *	pages_look epochs FILE T0:T1...	in how many epochs between those times (CLOCK_MONOTONIC, ns)
 *					pages changed: a number a line
 *	pages_look streams FILE		bytes and events of the chunks of each stream, and
 *					of the index and the rest; bytes and events of each kind of
 *					content, before compression
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/delta.h"
#include "formats/desc.h"
#include "stores_each.h"

struct array {
	u8 *at;
	size_t n, room;
};

static struct array pages, offsets, lengths, contents;
static u64 kept[EVENT_MAX][2]; /* bytes of content, events */

static void array_put(struct array *a, const void *bytes, size_t n)
{
	if (a->n + n > a->room) {
		a->room = 2 * (a->n + n);
		a->at = realloc(a->at, a->room);
		if (!a->at)
			die("memory", "none left");
	}
	memcpy(a->at + a->n, bytes, n);
	a->n += n;
}

static void out(const void *bytes, size_t n)
{
	if (fwrite(bytes, 1, n, stdout) != n)
		die("standard output", "cannot be written");
}

static int on_triple(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	const struct event_version *v = (const struct event_version *)ev;
	const bool columns = *(const bool *)arg;

	(void)seq, (void)s;
	if (!ev || ev->kind != EVENT_version)
		return 0;
	for (struct delta d = delta_open(v->data, v->len); delta_next(&d);) {
		const u16 off = (u16)d.off, len = (u16)d.len;

		array_put(&pages, &v->gpa, sizeof(v->gpa));
		array_put(columns ? &offsets : &pages, &off, sizeof(off));
		array_put(columns ? &lengths : &pages, &len, sizeof(len));
		array_put(columns ? &contents : &pages, d.bytes, d.len);
		if (columns)
			continue;
		out(pages.at, pages.n);
		pages.n = 0;
	}
	return 0;
}

static int triples(struct reader *r, bool columns)
{
	each_run(r, 1u << STREAM_CONTENT, on_triple, &columns);
	if (columns) {
		out(pages.at, pages.n);
		out(offsets.at, offsets.n);
		out(lengths.at, lengths.n);
		out(contents.at, contents.n);
	}
	return fflush(stdout) != 0;
}

/* --- epochs --- */

struct time_span {
	u64 t0, t1; /* ns from the start */
	u64 log_ns, epochs;
};

struct spans {
	struct time_span *at;
	int n;
};

static int on_version(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	const struct event_version *v = (const struct event_version *)ev;
	const struct spans *spans = arg;

	(void)seq, (void)s;
	if (!ev || ev->kind != EVENT_version)
		return 0;
	for (struct time_span *p = spans->at; p < spans->at + spans->n; p++) {
		if (ev->t_ns < p->t0 || ev->t_ns > p->t1 || v->log_ns == p->log_ns)
			continue;
		p->log_ns = v->log_ns;
		p->epochs++;
	}
	return 0;
}

static int epochs(struct reader *r, int n, char **texts)
{
	const u64 start = reader_info(r)->start_mono_ns;
	struct spans spans = {.at = calloc((size_t)n + 1, sizeof(struct time_span)), .n = n};

	if (!spans.at)
		return 1;
	for (int i = 0; i < n; i++) {
		char *end;
		const u64 t0 = strtoull(texts[i], &end, 0);

		if (*end != ':')
			die(texts[i], "not T0:T1");
		spans.at[i] = (struct time_span){.t0 = t0 > start ? t0 - start : 0,
						 .t1 = strtoull(end + 1, NULL, 0) - start};
	}
	each_run(r, 1u << STREAM_CONTENT, on_version, &spans);
	for (int i = 0; i < n; i++)
		printf("%llu\n", (unsigned long long)spans.at[i].epochs);
	free(spans.at);
	return 0;
}

/* --- streams --- */

static int on_content(void *arg, const struct event *ev, u64 seq, const struct stores *s)
{
	(void)arg, (void)seq, (void)s;
	if (!ev)
		return 0;
	if (ev->kind == EVENT_content)
		kept[ev->kind][0] += ((const struct event_content *)ev)->len;
	else if (ev->kind == EVENT_version)
		kept[ev->kind][0] += ((const struct event_version *)ev)->len;
	kept[ev->kind][1]++;
	return 0;
}

static int streams(struct reader *r)
{
	u64 rest = reader_info(r)->file_bytes;

	for (unsigned stream = 0; stream < STREAM_MAX; stream++) {
		u64 bytes = 0, events = 0;

		for (size_t i = 0; i < reader_chunks(r, (enum stream)stream); i++) {
			struct chunk_info chunk;

			if (reader_chunk_info(r, (enum stream)stream, i, &chunk))
				die("a chunk", "cannot be found");
			bytes += chunk.size;
			events += chunk.events;
		}
		rest -= bytes;
		printf("stream %s %llu %llu\n", stream_name(stream), (unsigned long long)bytes,
		       (unsigned long long)events);
	}
	printf("stream rest %llu 0\n", (unsigned long long)rest);
	each_run(r, 0, on_content, NULL);
	for (unsigned k = 0; k < EVENT_MAX; k++)
		if (kept[k][1])
			printf("kind %s %llu %llu\n", event_desc(k)->name,
			       (unsigned long long)kept[k][0], (unsigned long long)kept[k][1]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage", "pages_look triples|columns|epochs|streams FILE [T0:T1...]");
	struct reader *r = each_open(argv[2]);
	int failed;

	if (strcmp(argv[1], "epochs") == 0)
		failed = epochs(r, argc - 3, argv + 3);
	else if (strcmp(argv[1], "streams") == 0)
		failed = streams(r);
	else
		failed = triples(r, strcmp(argv[1], "columns") == 0);
	reader_close(r);
	return failed;
}
