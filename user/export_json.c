/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exports events as JSON, one object a line. */
#include "export.h"

#include "formats/print.h"

static int json_begin(struct export *x)
{
	(void)x;
	return 0;
}

static int json_line(struct export *x, const struct event *ev, u64 seq)
{
	print_event_json(x->out, ev, seq);
	return 0;
}

static int json_done(struct export *x)
{
	(void)x;
	return 0;
}

static void json_end_all(struct export *x)
{
	(void)x;
}

const struct export_ops export_json = {
	.name = "json",
	.help = "one JSON object a line",
	.open = json_begin,
	.event = json_line,
	.finish = json_done,
	.close = json_end_all,
};
