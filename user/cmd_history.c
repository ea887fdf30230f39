/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame history: every write that touches a range, in order. */
#include "commands.h"

#include "formats/print.h"
#include "replay/history.h"
#include "symbols.h"
#include "trace.h"
#include "view.h"
#include "view_suspects.h"

struct args {
	bool json;
	const char *from, *to;
	struct option_list symbols;
};

const struct option cmd_history_options[] = {
	OPTION_TEXT(0, "from", "T", struct args, from, "from time T on (the beginning)"),
	OPTION_TEXT(0, "to", "T", struct args, to, "before time T (the end)"),
	OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols,
		    "name the guest's code by this ELF file; may be repeated"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

struct printer {
	struct view view;
	struct view_suspects suspects;
	u64 shown; /* the version whose suspects were */
	bool json;
};

static int show_item(void *arg, const struct history_item *item)
{
	struct printer *s = arg;
	const struct view_write w = {item->write, item->gpa, item->end, item->bytes, item->old};

	if (item->event && s->json) {
		print_event_json(stdout, item->event, item->seq);
	} else if (item->event) {
		print_event_text(stdout, item->event, item->seq);
	} else if (s->json) {
		struct json j = {.f = stdout};

		json_open(&j, NULL, '{');
		json_u64(&j, "v", 1);
		view_json(&j, &s->view, &w);
		const struct suspects *suspects = view_suspects(&s->suspects, &w);
		if (suspects) {
			json_open(&j, "candidates", '[');
			view_suspects_json(&j, &s->view, suspects);
			json_close(&j, ']');
		}
		json_close(&j, '}');
		json_end(&j);
	} else {
		view_line(stdout, &s->view, &w);
		const struct suspects *suspects = view_suspects(&s->suspects, &w);
		if (suspects && s->shown != item->write->at.seq) /* once for all that changed */
			view_suspects_text(stdout, &s->view, suspects);
		s->shown = item->write->at.seq;
	}
	return ferror(stdout) ? 1 : 0;
}

int cmd_history(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct history h = {0};
	struct range range;
	const char *path;
	char err[512];

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	int ret = operands_range(argv[0], &operands, &path, &range);
	if (ret)
		return ret;
	CLEANUP(symbols_cleanup) struct symbols *symbols = NULL;
	for (unsigned i = 0; i < args.symbols.n; i++) {
		if (symbols_add(&symbols, args.symbols.v[i], err, sizeof(err)))
			return fail("%s", err);
	}
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	h.gpa = range.gpa;
	h.end = range.end;
	h.limit = MOMENT_END;
	if (args.from)
		ret = trace_moment(&trace, argv[0], args.from, false, &h.from);
	if (!ret && args.to)
		ret = trace_moment(&trace, argv[0], args.to, false, &h.limit);
	if (ret)
		return ret;
	struct printer s = {
		.view = {trace.state, symbols, !args.json && colour_wanted(stdout)},
		.json = args.json,
	};
	s.suspects = (struct view_suspects){
		.view = &s.view, .reader = trace.reader, .gpa = h.gpa, .end = h.end};
	ret = history_run(trace.reader, trace.state, &h, show_item, &s, err, sizeof(err));
	view_suspects_close(&s.suspects);
	if (ret < 0)
		return fail("%s", err);
	return output_finish(0);
}
