/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmblame diff: what changed in memory between two moments. */
#include "commands.h"

#include <inttypes.h>
#include <string.h>

#include "formats/desc.h"
#include "formats/print.h"
#include "progress.h"
#include "replay/diff.h"
#include "symbols.h"
#include "trace.h"
#include "view.h"

#define PAGES_MAX 65536u

struct args {
	bool json, touched;
	const char *in;
	struct option_list symbols;
};

const struct option cmd_diff_options[] = {
	OPTION_TEXT(0, "in", "RANGE", struct args, in, "only in this range of memory"),
	OPTION_FLAG(0, "touched", struct args, touched,
		    "pages that were written and hold what they held, too"),
	OPTION_LIST(0, "symbols", "FILE[@BASE]", struct args, symbols,
		    "name the guest's code by this ELF file; may be repeated"),
	OPTION_FLAG(0, "json", struct args, json, "one JSON object a line"),
	OPTION_END,
};

struct printer {
	const struct symbols *symbols;
	bool json;
	u64 pages, bytes;
};

static void writer_text(const struct printer *p, const struct diff_writer *w, char *buf,
			size_t size)
{
	struct symbol symbol;

	if (w->origin != ORIGIN_VCPU)
		snprintf(buf, size, "%s",
			 w->origin == ORIGIN_NONE ? "writers not seen" : origin_name(w->origin));
	else if (symbols_find(p->symbols, w->pc, &symbol))
		snprintf(buf, size, "%s", symbol.name);
	else
		snprintf(buf, size, "0x%" PRIx64, w->pc);
}

static void page_json(const struct printer *p, const struct diff_page *d)
{
	struct json j = {.f = stdout};
	struct symbol symbol;

	json_open(&j, NULL, '{');
	json_u64(&j, "v", 1);
	json_hex(&j, "gpa", d->gpa);
	json_u64(&j, "changed", d->changed);
	json_u64(&j, "writes", d->writes);
	if (d->changed) {
		json_hex(&j, "first", d->gpa + d->first);
		json_hex(&j, "end", d->gpa + d->end);
		json_bytes(&j, "old", d->was + d->first, d->end - d->first);
		json_bytes(&j, "bytes", d->now + d->first, d->end - d->first);
	}
	json_u64(&j, "t_ns", d->last.t_ns);
	json_open(&j, "candidates", '[');
	for (unsigned i = 0; i < d->nwriters; i++) {
		json_open(&j, NULL, '{');
		json_str(&j, "origin", origin_name(d->writers[i].origin));
		if (d->writers[i].origin == ORIGIN_VCPU) {
			json_hex(&j, "rip", d->writers[i].pc);
			if (symbols_find(p->symbols, d->writers[i].pc, &symbol))
				json_str(&j, "symbol", symbol.name);
		}
		json_u64(&j, "writes", d->writers[i].writes);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	json_end(&j);
}

static int show(void *arg, const struct diff_page *d)
{
	struct printer *p = arg;
	char by[256];

	progress_end();
	p->pages += d->changed > 0;
	p->bytes += d->changed;
	if (p->json) {
		page_json(p, d);
		return ferror(stdout) ? 1 : 0;
	}
	printf("0x%" PRIx64 "  %4u bytes changed, %" PRIu64 " writes", d->gpa, d->changed,
	       d->writes);
	for (unsigned i = 0; i < d->nwriters; i++) {
		writer_text(p, &d->writers[i], by, sizeof(by));
		printf("%s%s", i ? ", " : " by ", by);
	}
	putchar('\n');
	return ferror(stdout) ? 1 : 0;
}

int cmd_diff(int argc, char **argv)
{
	struct args args = {0};
	struct operands operands;
	struct range range = {0, UINT64_MAX};
	struct diff_spec spec = {.pages_max = PAGES_MAX, .progress = progress_show};
	const char *path;
	char err[512];
	int ret;

	const enum options_status status = options_parse(argc, argv, &args, &operands);
	if (status != OPTIONS_OK)
		return status == OPTIONS_HELP ? 0 : 2;
	if (operands.n < 2)
		return usage_error(argv[0], "between which two moments? [FILE] T1 T2");
	const char *until = operands.v[--operands.n], *from = operands.v[--operands.n];
	ret = operands_file(argv[0], &operands, &path);
	if (ret)
		return ret;
	if (args.in && (ret = range_parse(args.in, &range)))
		return usage_error(argv[0], "--in %s: %s", args.in, range_complaint(ret));
	CLEANUP(symbols_cleanup) struct symbols *symbols = NULL;
	for (unsigned i = 0; i < args.symbols.n; i++) {
		if (symbols_add(&symbols, args.symbols.v[i], err, sizeof(err)))
			return fail("%s", err);
	}
	CLEANUP(trace_cleanup) struct trace trace = {0};
	if (trace_open(&trace, path))
		return 1;
	ret = trace_moment(&trace, argv[0], from, true, &spec.from);
	if (!ret)
		ret = trace_moment(&trace, argv[0], until, true, &spec.until);
	if (ret)
		return ret;
	if (moment_before(spec.until, spec.from))
		return usage_error(argv[0], "%s lies before %s", until, from);
	struct printer p = {.symbols = symbols, .json = args.json};
	spec.gpa = range.gpa;
	spec.end = range.end;
	spec.touched = args.touched;
	spec.fn = show;
	spec.arg = &p;
	ret = diff_run(trace.reader, trace.state, &spec, err, sizeof(err));
	progress_end();
	if (ret < 0)
		return fail("%s", err);
	if (!args.json)
		printf("%" PRIu64 " pages, %" PRIu64 " bytes\n", p.pages, p.bytes);
	return output_finish(0);
}
