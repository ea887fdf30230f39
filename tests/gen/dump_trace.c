// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints all that the reader makes of a trace: what golden files are compared with.
 *
 *	dump_trace FILE [backward] [brief]
 *
 * With "brief" events are told by their numbers alone.
 */
#include <stdio.h>
#include <string.h>

#include "formats/print.h"
#include "formats/reader.h"

static int meta_print(void *arg, const char *key, const char *value)
{
	struct json *j = arg;

	json_str(j, key, value);
	return 0;
}

static void info_print(const struct reader *r)
{
	const struct trace_info *info = reader_info(r);
	struct json j = {.f = stdout};

	json_open(&j, NULL, '{');
	json_u64(&j, "events", info->events);
	json_u64(&j, "chunks", info->nchunks);
	json_u64(&j, "lost", info->lost);
	json_u64(&j, "t_end_ns", info->t_end_ns);
	json_u64(&j, "start_real_ns", info->start_real_ns);
	json_bool(&j, "truncated", info->truncated);
	json_bool(&j, "damaged", info->damaged);
	if (reader_message(r))
		json_str(&j, "message", reader_message(r));
	json_open(&j, "meta", '{');
	reader_meta_each(r, meta_print, &j);
	json_close(&j, '}');
	json_close(&j, '}');
	json_end(&j);
}

/* Prints numbers as runs: a call with 0 ends the line. */
static void brief_print(u64 seq)
{
	static u64 first, last;

	if (first && (seq == last + 1 || seq == last - 1) && seq) {
		last = seq;
		return;
	}
	if (first)
		printf("events %llu..%llu\n", (unsigned long long)first, (unsigned long long)last);
	first = last = seq;
}

static bool has_word(int argc, char **argv, const char *word)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], word) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct cursor_spec spec = {.backward = has_word(argc, argv, "backward")};
	const bool brief = has_word(argc, argv, "brief");
	struct reader *r;
	struct cursor *c;
	const struct event *ev;
	enum cursor_status status;
	char err[256];
	u64 seq;

	if (argc < 2) {
		fprintf(stderr, "usage: dump_trace FILE [backward] [brief]\n");
		return 2;
	}
	const int code = reader_open(&r, argv[1], err, sizeof(err));

	if (code) {
		printf("refused: %s (%s)\n", err, strerror(-code));
		return 1;
	}
	info_print(r);
	if (cursor_open(&c, r, &spec))
		return 1;
	while ((status = cursor_next(c, &ev, &seq)) != CURSOR_END) {
		if (status == CURSOR_MORE && brief) {
			brief_print(seq);
		} else if (status == CURSOR_MORE) {
			print_event_json(stdout, ev, seq);
		} else {
			brief_print(0);
			printf("status %d: %s\n", status, cursor_message(c));
		}
	}
	brief_print(0);
	cursor_close(c);
	reader_close(r);
	return 0;
}
