// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prints all that the reader makes of a trace: what golden files are compared with.
 *
 *	dump_trace FILE [backward]
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

int main(int argc, char **argv)
{
	const struct cursor_spec spec = {.backward = argc > 2 && strcmp(argv[2], "backward") == 0};
	struct reader *r;
	struct cursor *c;
	const struct event *ev;
	enum cursor_status status;
	char err[256];
	u64 seq;

	if (argc < 2) {
		fprintf(stderr, "usage: dump_trace FILE [backward]\n");
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
		if (status == CURSOR_MORE)
			print_event_json(stdout, ev, seq);
		else
			printf("status %d: %s\n", status, cursor_message(c));
	}
	cursor_close(c);
	reader_close(r);
	return 0;
}
