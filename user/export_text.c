/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exports events as lines of text. */
#include "export.h"

#include "formats/print.h"

static int text_open(struct export *x)
{
	(void)x;
	return 0;
}

static int text_event(struct export *x, const struct event *ev, u64 seq)
{
	print_event_text(x->out, ev, seq);
	return 0;
}

static int text_finish(struct export *x)
{
	(void)x;
	return 0;
}

static void text_close(struct export *x)
{
	(void)x;
}

const struct export_ops export_text = {
	.name = "text",
	.help = "one line an event",
	.open = text_open,
	.event = text_event,
	.finish = text_finish,
	.close = text_close,
};
